//! What goes in, what comes out: numbers, time and sound.

use super::*;
use crate::sdp::Codec;
use crate::testing::{start, tone, tone_above_rest};

fn format(rtpmap: &str, ptime: u16) -> Format {
    Format::of(&Codec::parse_rtpmap(rtpmap).expect("an rtpmap"), Some(ptime)).expect("a format")
}

const PCMU: &str = "0 PCMU/8000";
const PCMA: &str = "8 PCMA/8000";
const G722: &str = "9 G722/8000";
const L16: &str = "96 L16/16000";
const OPUS: &str = "111 opus/48000/2";

/// A sender, a transcoder, a listener, and the time.
struct Bed {
    now: Instant,
    from: Format,
    encoder: Box<dyn Encode>,
    rate: u32,
    said: usize,
    timestamp: u32,
    lost: u16,
    transcoder: Transcoder,
    out: Vec<(Instant, Made, Vec<u8>)>,
}

impl Bed {
    fn new(from: Format, to: Format) -> Self {
        let rate = from.rate().unwrap_or(48_000);
        Self {
            now: start(),
            from,
            encoder: from.encoder(rate).expect("an encoder"),
            rate,
            said: 0,
            timestamp: 0xffff_f000,
            lost: 0,
            transcoder: Transcoder::new(from, to).expect("a transcoder"),
            out: Vec::new(),
        }
    }

    fn packet(&self) -> usize {
        self.rate as usize * usize::from(self.from.ptime) / 1000
    }

    /// The sender says one packet of a tone; the packet may be lost.
    fn say(&mut self, hertz: f64, arrives: bool) {
        let packet = self.packet();
        let whole = tone(hertz, self.rate, 8000.0, self.said + packet);
        let pcm = &whole[self.said..];
        self.said += packet;
        let mut payload = [0; 1500];
        let len = self.encoder.encode(pcm, &mut payload).expect("a payload");
        self.receive(&payload[..len], arrives);
        self.pass(Duration::from_millis(u64::from(self.from.ptime)));
    }

    fn receive(&mut self, payload: &[u8], arrives: bool) {
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(units(u32::from(self.from.ptime), self.from.clock));
        if !arrives {
            self.lost += 1;
            return;
        }
        let received = Received {
            content: Content::Sound(self.from),
            timestamp,
            payload,
            lost: std::mem::take(&mut self.lost),
        };
        let (now, out) = (self.now, &mut self.out);
        self.transcoder.take(now, &received, &mut |made, payload| out.push((now, made, payload.to_vec())));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.transcoder.poll_timeout().filter(|at| *at <= end) {
            let out = &mut self.out;
            self.transcoder.handle_timeout(at, &mut |made, payload| out.push((at, made, payload.to_vec())));
        }
        self.now = end;
    }

    /// What the listener hears, at its codec's rate, every packet at its timestamp.
    fn heard(&self) -> (u32, Vec<i16>) {
        let to = self.transcoder.output();
        let rate = to.rate().unwrap_or(48_000);
        let mut decoder = to.decoder(rate).expect("a decoder");
        let mut pcm = vec![0; rate as usize / 4];
        let mut heard: Vec<i16> = Vec::new();
        let first = self.out.first().expect("something").1.timestamp;
        for (_, made, payload) in &self.out {
            let at = u64::from(made.timestamp.wrapping_sub(first)) * u64::from(rate) / u64::from(to.clock);
            let len = decoder.decode(payload, &mut pcm).expect("samples");
            heard.resize(heard.len().max(at as usize), 0);
            assert_eq!(heard.len(), at as usize, "no overlap");
            heard.extend_from_slice(&pcm[..len]);
        }
        (rate, heard)
    }

    fn assert_numbers_rise(&self) {
        for pair in self.out.windows(2) {
            assert_eq!(pair[1].1.sequence_number, pair[0].1.sequence_number.wrapping_add(1));
        }
    }

    fn steps(&self) -> Vec<u32> {
        self.out.windows(2).map(|pair| pair[1].1.timestamp.wrapping_sub(pair[0].1.timestamp)).collect()
    }
}

#[test]
fn a_tone_keeps_its_pitch_between_all_codecs_and_packet_times() {
    let ptimes = [(20, 20), (20, 40), (30, 20), (60, 20), (20, 60), (10, 30)];
    for (turn, from) in [PCMU, PCMA, G722, L16, OPUS].into_iter().enumerate() {
        for (other, to) in [PCMU, PCMA, G722, L16, OPUS].into_iter().enumerate() {
            let (ptime_in, ptime_out) = ptimes[(turn * 5 + other) % ptimes.len()];
            let mut bed = Bed::new(format(from, ptime_in), format(to, ptime_out));
            let ptime_out = bed.transcoder.output().ptime;
            for _ in 0..3000 / u32::from(bed.from.ptime) {
                bed.say(1004.0, true);
            }
            bed.assert_numbers_rise();
            let step = units(u32::from(ptime_out), bed.transcoder.output().clock);
            assert!(bed.steps().iter().all(|it| *it == step), "{from} to {to}: {step} {:?}", bed.steps());
            assert!(bed.out[0].1.marker && bed.out[1..].iter().all(|(_, made, _)| !made.marker));
            let (rate, heard) = bed.heard();
            // Nothing is held back but what is not a whole packet yet.
            let missing = 3 * rate as usize - heard.len();
            let packet = rate as usize * usize::from(ptime_out + bed.from.ptime) / 1000;
            assert!(missing <= packet, "{from} to {to}: {missing}");
            let above = tone_above_rest(&heard[rate as usize..], 1004.0, rate);
            assert!(above > 28.0, "{from} to {to}: {above:.1} dB");
        }
    }
}

#[test]
fn time_goes_on_over_losses() {
    for (from, to) in [(PCMU, OPUS), (OPUS, PCMU), (G722, PCMA), (OPUS, G722)] {
        let mut bed = Bed::new(format(from, 20), format(to, 20));
        for number in 0..150 {
            // One, three, and then fifteen packets.
            bed.say(404.0, !matches!(number, 30 | 60..63 | 90..105));
        }
        bed.assert_numbers_rise();
        let clock = bed.transcoder.output().clock;
        let packet = units(20, clock);
        let leaps: Vec<u32> = bed.steps().into_iter().filter(|step| *step != packet).collect();
        // 120 of the 300 ms are made up.
        assert_eq!(leaps, [packet + units(180, clock)], "{from} to {to}");
        assert_eq!(bed.out.iter().filter(|(_, made, _)| made.marker).count(), 2);
        let (rate, heard) = bed.heard();
        assert!(heard.len().abs_diff(3 * rate as usize) <= rate as usize / 25, "{from} to {to}");
        // Behind the last loss all is well again.
        let above = tone_above_rest(&heard[heard.len() - rate as usize / 2..], 404.0, rate);
        assert!(above > 25.0, "{from} to {to}: {above:.1} dB");
    }
}

#[test]
fn a_silence_of_the_sender_is_a_leap_with_a_marker() {
    let mut bed = Bed::new(format(PCMU, 30), format(G722, 20));
    (0..3).for_each(|_| bed.say(404.0, true));
    bed.timestamp = bed.timestamp.wrapping_add(8000);
    bed.pass(Duration::from_secs(1));
    (0..3).for_each(|_| bed.say(404.0, true));
    bed.assert_numbers_rise();
    // 90 ms are four packets and a half, made five by silence; the rest of the second is left out.
    let timestamps: Vec<u32> = bed.out.iter().map(|(_, made, _)| made.timestamp).collect();
    assert_eq!(timestamps, [0, 160, 320, 480, 640, 8720, 8880, 9040, 9200]);
    assert_eq!(
        bed.out.iter().map(|(_, made, _)| made.marker).collect::<Vec<_>>()[4..7],
        [false, true, false]
    );
}

#[test]
fn the_pause_of_opus_is_continuous_silence() {
    let mut bed = Bed::new(format(OPUS, 20), format(PCMU, 20));
    (0..40).for_each(|_| bed.say(404.0, true));
    (0..10).for_each(|_| bed.say(0.0, true));
    for _ in 0..3 {
        // What DTX sends every 400 ms: a table of contents and nothing.
        bed.receive(&[9 << 3], true);
        bed.pass(Duration::from_millis(400));
        bed.timestamp = bed.timestamp.wrapping_add(units(380, 48_000));
    }
    (0..50).for_each(|_| bed.say(404.0, true));
    bed.assert_numbers_rise();
    assert!(bed.steps().iter().all(|step| *step == 160), "{:?}", bed.steps());
    assert_eq!(bed.out.len(), 50 + 60 + 50, "as if nothing had been left out");
    for pair in bed.out.windows(2) {
        let apart = pair[1].0.saturating_duration_since(pair[0].0);
        assert!(apart <= Duration::from_millis(40), "{apart:?}");
    }
    let (_, heard) = bed.heard();
    let loudest = heard[9600..16_000].iter().map(|sample| sample.unsigned_abs()).max();
    assert!(loudest < Some(1000), "{loudest:?}");
}

#[test]
fn a_sender_that_is_gone_is_not_silent_for_ever() {
    let mut bed = Bed::new(format(OPUS, 20), format(PCMU, 20));
    (0..5).for_each(|_| bed.say(404.0, true));
    bed.receive(&[9 << 3], true);
    bed.pass(Duration::from_secs(60));
    assert_eq!(bed.transcoder.poll_timeout(), None);
    assert!((90..=106).contains(&bed.out.len()), "{}", bed.out.len());
}

#[test]
fn a_sender_that_begins_anew_leaps_by_the_time_that_passed() {
    for leap in [1 << 30, 3 << 30, 8000 * 3600] {
        let mut bed = Bed::new(format(PCMA, 20), format(PCMU, 20));
        (0..3).for_each(|_| bed.say(404.0, true));
        bed.timestamp = bed.timestamp.wrapping_add(leap);
        bed.pass(Duration::from_millis(480));
        (0..3).for_each(|_| bed.say(404.0, true));
        bed.assert_numbers_rise();
        assert_eq!(bed.steps(), [160, 160, 160 + 3840, 160, 160], "480 ms since the last was over");
    }
}

#[test]
fn a_hold_is_no_loss() {
    let mut bed = Bed::new(format(OPUS, 20), format(PCMU, 20));
    (0..10).for_each(|_| bed.say(404.0, true));
    (0..100).for_each(|_| bed.say(404.0, false));
    (0..10).for_each(|_| bed.say(404.0, true));
    bed.assert_numbers_rise();
    assert_eq!(bed.out.len(), 20, "nothing is made up for two seconds");
    assert_eq!(bed.steps()[9], 160 + 16_000);
}

#[test]
fn a_renewed_call_has_no_more_decoders() {
    let mut bed = Bed::new(format(OPUS, 20), format(PCMU, 20));
    for bits in 0..100 {
        bed.from.opus.max_average_bit_rate = 20_000 + bits;
        bed.say(404.0, true);
    }
    assert_eq!(bed.transcoder.inputs.len(), 1);
    assert_eq!(bed.out.len(), 100);
}

#[test]
fn what_passes_by_has_its_place_between() {
    let mut bed = Bed::new(format(OPUS, 20), format(PCMU, 30));
    (0..4).for_each(|_| bed.say(404.0, true));
    // 80 ms: two packets of 30 ms, and 20 ms that wait.
    let event = bed.transcoder.pass(bed.timestamp);
    assert_eq!((event.sequence_number, event.timestamp), (2, 640));
    assert_eq!(
        bed.transcoder.pass(bed.timestamp.wrapping_add(1 << 30)).timestamp,
        bed.timestamp.wrapping_add(1 << 30)
    );
    bed.timestamp = bed.timestamp.wrapping_add(4800);
    (0..3).for_each(|_| bed.say(404.0, true));
    let made: Vec<_> = bed.out.iter().map(|(_, made, _)| (made.sequence_number, made.timestamp)).collect();
    assert_eq!(made, [(0, 0), (1, 240), (4, 480), (5, 1440), (6, 1680)]);
}

#[test]
fn what_cannot_be_decoded_is_a_loss() {
    let mut bed = Bed::new(format(OPUS, 20), format(PCMU, 20));
    (0..20).for_each(|_| bed.say(404.0, true));
    // Code 3 with a frame count of 63.
    bed.receive(&[0xff, 63, 1, 2, 3], true);
    bed.receive(&[], true);
    bed.pass(Duration::from_millis(40));
    (0..20).for_each(|_| bed.say(404.0, true));
    bed.assert_numbers_rise();
    assert_eq!(bed.out.len(), 42);
    assert!(bed.steps().iter().all(|step| *step == 160));
}

/// A key on the sender's time line: `durations` in units of `clock`, the last of them its end.
fn press(bed: &mut Bed, clock: u32, code: u8, durations: &[u16]) {
    let timestamp = bed.timestamp;
    for (at, duration) in durations.iter().enumerate() {
        let event = Event { code, end: at + 1 == durations.len(), volume: 10, duration: *duration };
        let payload = event.to_bytes();
        let received = Received { content: Content::Event(clock), timestamp, payload: &payload, lost: 0 };
        let (now, out) = (bed.now, &mut bed.out);
        bed.transcoder.take(now, &received, &mut |made, payload| out.push((now, made, payload.to_vec())));
        bed.pass(Duration::from_millis(20));
    }
    let last = u64::from(durations.last().copied().unwrap_or(0));
    bed.timestamp = timestamp.wrapping_add((last * u64::from(bed.from.clock) / u64::from(clock)) as u32);
}

/// The keys in what the listener hears.
fn keys(bed: &Bed) -> Vec<u8> {
    let (rate, heard) = bed.heard();
    let mut listener = crate::dtmf::Listener::new(rate).expect("a rate");
    let (mut keys, mut before) = (Vec::new(), None);
    for packet in heard.chunks(rate as usize / 100) {
        listener.listen(packet);
        let now = listener.sounding();
        keys.extend(now.filter(|_| before.is_none()).map(|key| key.code));
        before = now;
    }
    keys
}

#[test]
fn events_are_heard_as_tones() {
    for (from, to, clock) in
        [(PCMU, PCMA, 8000), (PCMU, PCMU, 8000), (OPUS, PCMU, 48_000), (OPUS, G722, 8000), (PCMA, OPUS, 8000)]
    {
        let mut bed = Bed::new(format(from, 20), format(to, 20));
        for code in [1, 11, 1, 0] {
            (0..10).for_each(|_| bed.say(404.0, true));
            let unit = (clock / 50) as u16;
            // Two packets in the middle are lost, and the end comes three times.
            press(&mut bed, clock, code, &[unit, 2 * unit, 5 * unit, 6 * unit, 6 * unit, 6 * unit]);
        }
        (0..10).for_each(|_| bed.say(404.0, true));
        bed.assert_numbers_rise();
        let step = units(20, bed.transcoder.output().clock);
        assert!(bed.steps().iter().all(|it| *it == step), "{from} to {to}: {:?}", bed.steps());
        assert_eq!(keys(&bed), [1, 11, 1, 0], "{from} to {to}");
        assert!((50 + 4 * 6 - 1..=50 + 4 * 6).contains(&bed.out.len()), "{}", bed.out.len());
    }
}

#[test]
fn a_hostile_event_makes_no_flood() {
    let mut bed = Bed::new(format(PCMU, 20), format(PCMA, 20));
    bed.say(404.0, true);
    press(&mut bed, 8000, 1, &[u16::MAX]);
    assert!(bed.out.len() <= 1 + 13, "{}", bed.out.len());
    for at in 0..1000u32 {
        bed.timestamp = at.wrapping_mul(2_654_435_769);
        press(&mut bed, 8000, at as u8, &[at as u16]);
        press(&mut bed, 1, 255, &[1]);
    }
    bed.assert_numbers_rise();
}

/// A bed whose sender says tones of keys, which the transcoder tells by events, and silence, which it tells by noise.
fn listening(from: &str, to: &str) -> Bed {
    let mut bed = Bed::new(format(from, 20), format(to, 20));
    let silence = Silence { below: Some(40), payload: vec![52, 1], ..Silence::default() };
    let transcoder = Transcoder::new(bed.from, bed.transcoder.output()).expect("a transcoder");
    bed.transcoder = transcoder.with(&silence, true, true);
    bed
}

fn say_pcm(bed: &mut Bed, pcm: &[i16]) {
    for packet in pcm.chunks_exact(bed.packet()) {
        let mut payload = [0; 1500];
        let len = bed.encoder.encode(packet, &mut payload).expect("a payload");
        bed.receive(&payload[..len], true);
        bed.pass(Duration::from_millis(20));
    }
}

#[test]
fn tones_are_told_by_events_and_silence_by_noise() {
    for (from, to, clock) in [(PCMU, PCMA, 8000), (PCMU, OPUS, 48_000), (G722, PCMU, 8000)] {
        let mut bed = listening(from, to);
        let rate = bed.rate;
        let tone = Tone::new(5, 10).expect("a key");
        let samples = |millis: u32| rate * millis / 1000;
        let key: Vec<i16> = (0..samples(100)).map(|at| tone.sample(at, rate)).collect();
        let voice = crate::testing::tone(404.0, rate, 8000.0, samples(200) as usize);
        let pcm = [voice.clone(), key, voice, vec![0; samples(1000) as usize]].concat();
        say_pcm(&mut bed, &pcm);
        bed.assert_numbers_rise();
        let events: Vec<_> = bed.out.iter().filter(|(_, made, _)| made.kind == Kind::Event).collect();
        let parsed: Vec<Event> =
            events.iter().map(|(.., payload)| Event::parse(payload).expect("an event")).collect();
        let unit = units(20, clock);
        assert!(parsed.iter().all(|event| event.code == 5 && event.volume.abs_diff(10) <= 1), "{parsed:?}");
        assert_eq!(parsed.iter().filter(|event| event.end).count(), 3, "{from} to {to}: {parsed:?}");
        assert!(events.iter().all(|(_, made, _)| made.timestamp == events[0].1.timestamp));
        assert!(events[0].1.marker && events[1..].iter().all(|(_, made, _)| !made.marker));
        let durations: Vec<u32> = parsed.iter().map(|event| u32::from(event.duration)).collect();
        let grows = (1..=durations.len() as u32 - 2).map(|at| at * unit);
        assert_eq!(durations[..durations.len() - 2], grows.collect::<Vec<_>>());
        assert!((4..=7).contains(&(durations.len() - 2)), "{from} to {to}: {durations:?}");
        // Silence: at once, and again every 400 ms; nothing between.
        let noise: Vec<_> = bed.out.iter().filter(|(_, made, _)| made.kind == Kind::Noise).collect();
        assert_eq!(noise.len(), 3, "{from} to {to}");
        assert!(noise.iter().all(|(.., payload)| *payload == [52, 1]));
        assert_eq!(noise[1].1.timestamp.wrapping_sub(noise[0].1.timestamp), units(400, clock));
    }
}

#[test]
fn a_long_key_is_told_in_segments() {
    let mut bed = listening(PCMU, OPUS);
    let tone = Tone::new(9, 10).expect("a key");
    let pcm: Vec<i16> = (0..24_000).map(|at| tone.sample(at, 8000)).chain((0..1600).map(|_| 0)).collect();
    say_pcm(&mut bed, &pcm);
    let events: Vec<_> = bed.out.iter().filter(|(_, made, _)| made.kind == Kind::Event).collect();
    assert_eq!(events.iter().filter(|(_, made, _)| made.marker).count(), 1, "one key");
    let ends =
        events.iter().filter_map(|(.., payload)| Event::parse(payload)).filter(|event| event.end).count();
    assert_eq!(ends, 3);
    let mut starts: Vec<u32> = events.iter().map(|(_, made, _)| made.timestamp).collect();
    starts.dedup();
    assert_eq!(starts.len(), 3, "{starts:?}");
}

#[test]
fn comfort_noise_lasts_until_there_is_sound_again() {
    for to in [PCMA, OPUS] {
        let mut bed = Bed::new(format(PCMU, 20), format(to, 20));
        (0..10).for_each(|_| bed.say(404.0, true));
        let noise = Received {
            content: Content::Sound(Format::noise(8000)),
            timestamp: bed.timestamp,
            payload: &[40],
            lost: 0,
        };
        let (now, out) = (bed.now, &mut bed.out);
        bed.transcoder.take(now, &noise, &mut |made, payload| out.push((now, made, payload.to_vec())));
        bed.pass(Duration::from_secs(5));
        bed.timestamp = bed.timestamp.wrapping_add(40_000);
        (0..10).for_each(|_| bed.say(404.0, true));
        bed.assert_numbers_rise();
        let step = units(20, bed.transcoder.output().clock);
        assert!(bed.steps().iter().all(|it| *it == step), "{to}");
        assert!(bed.out.len().abs_diff(10 + 250 + 10) <= 2, "{}", bed.out.len());
        let (rate, heard) = bed.heard();
        let middle = &heard[rate as usize..4 * rate as usize];
        let power: f64 = middle.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>() / middle.len() as f64;
        let level = 20.0 * (power.sqrt() / 32_767.0).log10();
        assert!((level + 40.0).abs() < 3.0, "{to}: {level:.1} dBov");
    }
}

#[test]
fn what_a_sender_leaves_out_is_filled() {
    for (fill, loudest) in [(vec![], 0..=8), (vec![40u8], 100..=3000)] {
        let mut bed = Bed::new(format(PCMU, 20), format(PCMA, 20));
        let silence = Silence {
            fill_after: Some(Duration::from_millis(10)),
            longest: Duration::from_secs(2),
            fill,
            ..Silence::default()
        };
        let transcoder = Transcoder::new(bed.from, bed.transcoder.output()).expect("a transcoder");
        bed.transcoder = transcoder.with(&silence, false, false);
        (0..5).for_each(|_| bed.say(404.0, true));
        bed.pass(Duration::from_secs(1));
        bed.timestamp = bed.timestamp.wrapping_add(8000);
        (0..5).for_each(|_| bed.say(404.0, true));
        bed.assert_numbers_rise();
        assert!(bed.steps().iter().all(|it| *it == 160), "{:?}", bed.steps());
        assert_eq!(bed.out.len(), 60);
        let (_, heard) = bed.heard();
        let most = heard[1600..8000].iter().map(|it| i32::from(it.unsigned_abs())).max().expect("samples");
        assert!(loudest.contains(&most), "{most}");
        bed.pass(Duration::from_secs(60));
        assert!((60 + 98..=60 + 101).contains(&bed.out.len()), "{}", bed.out.len());
        assert_eq!(bed.transcoder.poll_timeout(), None);
    }
}

#[test]
fn nothing_is_made_up_of_what_was_said_before_a_key() {
    let mut bed = Bed::new(format(PCMU, 20), format(PCMA, 20));
    (0..10).for_each(|_| bed.say(404.0, true));
    press(&mut bed, 8000, 5, &[160, 320, 480]);
    let (before, last) = (bed.out.len(), bed.out.last().expect("a tone").1);
    bed.say(404.0, false);
    bed.say(404.0, true);
    let [(_, made, _)] = &bed.out[before..] else { panic!("one packet: {}", bed.out.len() - before) };
    assert_eq!((made.marker, made.timestamp.wrapping_sub(last.timestamp)), (true, 320));
    // A loss in what is said is made up as ever.
    bed.say(404.0, false);
    bed.say(404.0, true);
    assert_eq!(bed.out.len(), before + 3);
}
