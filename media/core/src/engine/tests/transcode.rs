//! Calls whose ends share no codec: what the one says the other hears, by content.

use super::*;
use crate::codec::{Coding, Encode, Format};
use crate::dtmf::{self, EventGenerator};
use crate::sdp::Codec;
use crate::testing::{tone, tone_above_rest};

/// A codec as an end names it, in packets of `ptime` milliseconds, and its telephone-event.
#[derive(Debug, Clone, Copy)]
struct Spoken {
    payload_type: u8,
    format: Format,
    event: (u8, u32),
}

fn spoken(rtpmap: &str, ptime: u16, event: (u8, u32)) -> Spoken {
    let codec = Codec::parse_rtpmap(rtpmap).expect("an rtpmap");
    let format = Format::of(&codec, Some(ptime)).expect("a format");
    Spoken { payload_type: codec.payload_type, format, event }
}

fn opus() -> Spoken {
    spoken("111 opus/48000/2", 20, (110, 48_000))
}

fn pcmu() -> Spoken {
    spoken("0 PCMU/8000", 20, (101, 8000))
}

fn flow(from: Spoken, to: Spoken) -> FlowPlan {
    let sound = PayloadMap {
        from: from.payload_type,
        to: to.payload_type,
        from_clock: from.format.clock,
        to_clock: to.format.clock,
        payload: Payload::Transcode { from: from.format, to: to.format, along: Default::default() },
    };
    let events = PayloadMap {
        from: from.event.0,
        to: to.event.0,
        from_clock: from.event.1,
        to_clock: to.event.1,
        payload: Payload::Dtmf,
    };
    let mut payloads = vec![sound, events];
    payloads.sort_by_key(|map| map.from);
    FlowPlan { open: true, payloads, ..FlowPlan::default() }
}

/// Somebody who plays a tone.
struct Player {
    side: usize,
    spoken: Spoken,
    encoder: Box<dyn Encode>,
    rate: u32,
    hertz: f64,
    said: usize,
}

impl Player {
    fn new(side: usize, spoken: Spoken, hertz: f64) -> Player {
        let rate = spoken.format.rate().unwrap_or(48_000);
        let encoder = spoken.format.encoder(rate).expect("an encoder");
        Player { side, spoken, encoder, rate, hertz, said: 0 }
    }

    fn play(&mut self, bed: &mut Bed) {
        let samples = self.rate as usize * usize::from(self.spoken.format.ptime) / 1000;
        let pcm = tone(self.hertz, self.rate, 8000.0, self.said + samples);
        let mut payload = [0; 1500];
        let len = self.encoder.encode(&pcm[self.said..], &mut payload).expect("a payload");
        self.said += samples;
        let (number, timestamp) = self.advance(bed);
        let ssrc = bed.phones[self.side].ssrc;
        let header = Header::new(self.spoken.payload_type, number, timestamp, ssrc);
        let mut packet = Packet::new();
        header.start(&mut packet, &payload[..len]).expect("it fits");
        bed.send_rtp(self.side, packet);
    }

    fn advance(&self, bed: &mut Bed) -> (u16, u32) {
        let phone = &mut bed.phones[self.side];
        phone.sequence_number = phone.sequence_number.wrapping_add(1);
        let timestamp = phone.timestamp;
        let step = self.spoken.format.clock * u32::from(self.spoken.format.ptime) / 1000;
        phone.timestamp = timestamp.wrapping_add(step);
        (phone.sequence_number, timestamp)
    }
}

fn call(kinds: (LegKind, LegKind), ends: [Spoken; 2], seed: u64) -> Bed {
    let mut bed = Bed::new(kinds.0, kinds.1, seed);
    bed.connect_with([flow(ends[0], ends[1]), flow(ends[1], ends[0])], true);
    bed.settle(Duration::from_secs(5));
    bed
}

/// Both play for `millis`.
fn play(bed: &mut Bed, players: &mut [Player; 2], millis: u64) {
    for at in (0..millis).step_by(10) {
        for player in players.iter_mut().filter(|it| at % u64::from(it.spoken.format.ptime) == 0) {
            player.play(bed);
        }
        bed.run(Duration::from_millis(10));
    }
    bed.run(Duration::from_millis(100));
}

/// What a side hears of the sound, each packet at its timestamp.
fn heard(bed: &Bed, side: usize, spoken: Spoken) -> (u32, Vec<i16>) {
    let rate = spoken.format.rate().unwrap_or(48_000);
    let mut decoder = spoken.format.decoder(rate).expect("a decoder");
    let mut pcm = vec![0; rate as usize / 4];
    let mut all: Vec<i16> = Vec::new();
    let packets = || bed.phones[side].heard.iter().filter(|it| it.header.payload_type == spoken.payload_type);
    let first = packets().next().expect("something was heard").header.timestamp;
    for packet in packets() {
        let at = u64::from(packet.header.timestamp.wrapping_sub(first)) * u64::from(rate);
        let at = (at / u64::from(spoken.format.clock)) as usize;
        assert!(all.len() <= at, "timestamps overlap");
        // What was lost on the way to the listener is made up, as a listener does: else a predicting codec hums on.
        let heard = all.len();
        all.resize(at, 0);
        if heard > 0 {
            decoder.conceal(Some(&packet.payload), &mut all[heard..]);
        }
        let len = decoder.decode(&packet.payload, &mut pcm).expect("samples");
        all.extend_from_slice(&pcm[..len]);
    }
    (rate, all)
}

fn assert_tone(bed: &Bed, side: usize, spoken: Spoken, hertz: f64, least: f64) {
    let (rate, all) = heard(bed, side, spoken);
    let above = tone_above_rest(&all[all.len() - rate as usize * 8 / 10..], hertz, rate);
    assert!(above >= least, "side {side}, {:?}: {above:.1} dB", spoken.format.coding);
}

fn assert_one_stream(bed: &Bed, side: usize) {
    let headers: Vec<_> = bed.phones[side].heard.iter().map(|heard| heard.header).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1), "side {side}");
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
    }
    // Its sender marks nothing, and nothing is left out (RFC 3551 §4.1).
    assert!(headers.iter().all(|header| !header.marker), "no gap");
}

#[test]
fn ends_without_a_common_codec_hear_each_other() {
    let narrow = (101, 8000);
    for (browser, phone) in [
        (opus(), pcmu()),
        (opus(), spoken("8 PCMA/8000", 30, narrow)),
        (opus(), spoken("9 G722/8000", 20, narrow)),
        (opus(), spoken("97 L16/16000", 20, narrow)),
        (spoken("0 PCMU/8000", 20, narrow), spoken("9 G722/8000", 40, narrow)),
        (spoken("9 G722/8000", 20, narrow), spoken("8 PCMA/8000", 60, narrow)),
    ] {
        let mut bed = call((Browser, Legacy), [browser, phone], 41);
        let mut players = [Player::new(0, browser, 1004.0), Player::new(1, phone, 620.0)];
        play(&mut bed, &mut players, 2000);
        assert_tone(&bed, 1, phone, 1004.0, 28.0);
        assert_tone(&bed, 0, browser, 620.0, 20.0);
        assert_one_stream(&bed, 0);
        assert_one_stream(&bed, 1);
        let Reply::Numbers(numbers) = bed.engine.handle_command(bed.now, &Command::Statistics) else {
            panic!("no statistics");
        };
        assert_eq!(numbers.transcoded_media, 2);
        let sent = bed.phones.iter().map(|phone| phone.heard.len() as u64).sum::<u64>();
        assert_eq!(bed.engine.stats().transcoded, sent);
    }
}

#[test]
fn loss_and_reordering_are_no_more_than_that() {
    let mut bed = call((Browser, Legacy), [opus(), pcmu()], 43);
    bed.weather = Weather { loss: 3, jitter: 30 };
    let mut players = [Player::new(0, opus(), 1004.0), Player::new(1, pcmu(), 620.0)];
    play(&mut bed, &mut players, 10_000);
    bed.weather = Weather::default();
    bed.run(Duration::from_secs(1));
    play(&mut bed, &mut players, 1000);
    let stats = bed.engine.stats().clone();
    assert!(stats.concealed > 5 && stats.concealed < 80, "{}", stats.concealed);
    for (side, spoken, hertz) in [(1, pcmu(), 1004.0), (0, opus(), 620.0)] {
        let mut packets: Vec<_> = bed.phones[side].heard.clone();
        let first = packets[0].header.timestamp;
        packets.sort_by_key(|packet| packet.header.timestamp.wrapping_sub(first).cast_signed());
        bed.phones[side].heard = packets;
        let (rate, all) = heard(&bed, side, spoken);
        let last = &all[all.len() - rate as usize * 8 / 10..];
        let above = tone_above_rest(last, hertz, rate);
        assert!(above > 20.0, "side {side}: {above:.1} dB when the weather is fine again");
    }
}

#[test]
fn keys_pass_between_the_sound() {
    let mut bed = call((Browser, Legacy), [opus(), pcmu()], 47);
    let mut players = [Player::new(0, opus(), 1004.0), Player::new(1, pcmu(), 620.0)];
    play(&mut bed, &mut players, 500);
    let start = bed.phones[0].timestamp;
    let mut generator = EventGenerator::new(7, 10, Duration::from_millis(160), 48_000);
    while let Some(event) = generator.next_packet() {
        let (number, _) = players[0].advance(&mut bed);
        let timestamp = start.wrapping_add(event.timestamp_offset);
        let mut header = Header::new(110, number, timestamp, bed.phones[0].ssrc);
        header.marker = event.marker;
        let mut packet = Packet::new();
        header.start(&mut packet, &event.event.to_bytes()).expect("it fits");
        bed.send_rtp(0, packet);
        bed.run(Duration::from_millis(20));
    }
    play(&mut bed, &mut players, 500);
    let headers: Vec<_> = bed.phones[1].heard.iter().map(|heard| heard.header).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
    }
    let first = headers[0].timestamp;
    let events: Vec<_> =
        bed.phones[1].heard.iter().filter(|heard| heard.header.payload_type == 101).collect();
    assert!(events.iter().all(|event| event.header.timestamp.wrapping_sub(first) == 4000), "half a second");
    let last = dtmf::Event::parse(&events.last().expect("events").payload);
    assert_eq!(last.map(|event| (event.code, event.end, event.duration)), Some((7, true, 1280)));
    let after = headers.iter().rev().take(25).next_back().expect("sound").timestamp.wrapping_sub(first);
    assert_eq!(
        after,
        4000 + (8 + 2) * 160,
        "behind the eight packets of the event and the two that said it again"
    );
    let told = bed.events.iter().any(|event| event.kind == EventKind::Dtmf(7));
    assert!(told);
}

#[test]
fn a_renewed_agreement_is_not_heard() {
    let mut bed = call((Browser, Legacy), [opus(), pcmu()], 53);
    let mut players = [Player::new(0, opus(), 1004.0), Player::new(1, pcmu(), 620.0)];
    let flows = || [flow(opus(), pcmu()), flow(pcmu(), opus())];
    for _ in 0..5 {
        for _ in 0..25 {
            players.iter_mut().for_each(|player| player.play(&mut bed));
            bed.run(Duration::from_millis(20));
        }
        bed.apply(flows(), true);
    }
    assert_tone(&bed, 1, pcmu(), 1004.0, 28.0);
    assert_tone(&bed, 0, opus(), 620.0, 20.0);
    assert_one_stream(&bed, 1);
    // Another packet time, and then a codec that needs no transcoding: still one stream.
    let slow = spoken("0 PCMU/8000", 40, (101, 8000));
    bed.apply([flow(opus(), slow), flow(pcmu(), opus())], true);
    play(&mut bed, &mut players, 500);
    bed.apply([voice(), flow(pcmu(), opus())], true);
    let mut plain = Player { said: 0, ..Player::new(0, pcmu(), 1004.0) };
    (0..10).for_each(|_| {
        plain.play(&mut bed);
        bed.run(Duration::from_millis(20));
    });
    let headers: Vec<_> = bed.phones[1].heard.iter().map(|heard| heard.header).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
        assert!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) <= 2400, "{pair:?}");
    }
    assert_eq!(slow.format.coding, Coding::Pcmu);
    let long = bed.phones[1].heard.iter().filter(|heard| heard.payload.len() == 320).count();
    assert!((11..=13).contains(&long), "{long} packets of 40 ms");
}

#[test]
fn a_browser_that_changes_its_ssrc_goes_on() {
    let mut bed = call((Browser, Legacy), [opus(), pcmu()], 59);
    let mut players = [Player::new(0, opus(), 1004.0), Player::new(1, pcmu(), 620.0)];
    play(&mut bed, &mut players, 600);
    bed.phones[0].ssrc ^= 0x5555;
    bed.phones[0].sequence_number = 9;
    bed.phones[0].timestamp = 77;
    play(&mut bed, &mut players, 1500);
    let headers: Vec<_> = bed.phones[1].heard.iter().map(|heard| heard.header).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert!((160..=1280).contains(&pair[1].timestamp.wrapping_sub(pair[0].timestamp)), "{pair:?}");
    }
    assert_tone(&bed, 1, pcmu(), 1004.0, 28.0);
}

#[test]
fn no_payload_breaks_a_transcoded_call() {
    let mut bed = call((Browser, Legacy), [opus(), pcmu()], 61);
    for round in 0..400u32 {
        let len = bed.rng.random_range(0..1200);
        let payload: Vec<u8> = (0..len).map(|_| bed.rng.random()).collect();
        let phone = &mut bed.phones[0];
        phone.sequence_number = phone.sequence_number.wrapping_add(if round % 7 == 0 { 3 } else { 1 });
        phone.timestamp = phone.timestamp.wrapping_add(if round % 50 == 0 { 1 << 29 } else { 960 });
        let payload_type = if round % 5 == 0 { 110 } else { 111 };
        let header = Header::new(payload_type, phone.sequence_number, phone.timestamp, phone.ssrc);
        let mut packet = Packet::new();
        header.start(&mut packet, &payload).expect("it fits");
        bed.send_rtp(0, packet);
        bed.run(Duration::from_millis(20));
    }
    let mut players = [Player::new(0, opus(), 1004.0), Player::new(1, pcmu(), 620.0)];
    bed.phones[1].heard.clear();
    play(&mut bed, &mut players, 1500);
    assert_tone(&bed, 1, pcmu(), 1004.0, 28.0);
}
