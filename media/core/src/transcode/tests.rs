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
        let received =
            Received { format: self.from, timestamp, payload, lost: std::mem::take(&mut self.lost) };
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
        assert_eq!(bed.steps(), [160, 160, 160 + 4000, 160, 160], "half a second since the last packet");
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
