//! What the relay itself says.

use super::*;
use crate::call::plan::Hears;
use crate::codec::g711;
use crate::codec::wav;
use crate::command::{Ends, Play, PlayDtmf, Reply, Source, StopMedia};
use crate::dtmf::{self, Detector, Digit, Tone};

fn call(kinds: (LegKind, LegKind)) -> Bed {
    let mut bed = Bed::new(kinds.0, kinds.1, 41);
    bed.connect();
    bed.settle(Duration::from_secs(5));
    bed.talk(3);
    bed
}

/// Everybody: the bed's session has no tags.
fn all() -> Ends {
    Ends { call_id: "call-1".to_owned(), ..Ends::default() }
}

/// One end, by its address.
fn only(bed: &Bed, side: usize) -> Ends {
    Ends { address: Some(bed.phones[side].announced.ip()), ..all() }
}

fn wav_file(samples: &[i16]) -> bytes::Bytes {
    let octets: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    [&wav::header(1, 8000, octets.len() as u32)[..], &octets].concat().into()
}

fn sound() -> Vec<i16> {
    (0..800).map(|at| Tone::new(5, 10).expect("a key").sample(at, 8000)).collect()
}

fn play(bed: &mut Bed, ends: Ends, times: Option<u32>) -> Reply {
    let (start, limit) = (Duration::ZERO, None);
    let play = Play { ends, source: Source::Blob(wav_file(&sound())), times, start, limit, warnings: vec![] };
    let reply = bed.engine.handle_command(bed.now, &Command::Play(Box::new(play)));
    bed.drain();
    reply
}

fn press(bed: &mut Bed, side: usize, code: u8) {
    let digit =
        Digit { code, volume: 8, duration: Duration::from_millis(100), pause: Duration::from_millis(100) };
    // By its slot: the address of the end that presses.
    let command = Command::PlayDtmf(PlayDtmf { ends: only(bed, side), digit, warnings: vec![] });
    assert_eq!(bed.engine.handle_command(bed.now, &command), Reply::Done { warnings: vec![] });
    bed.drain();
}

/// As PCMU.
fn coded() -> Vec<u8> {
    sound().into_iter().map(g711::encode_ulaw).collect()
}

#[test]
fn an_end_hears_what_is_played_in_one_stream_with_the_rest() {
    for kinds in [(Legacy, Legacy), (Legacy, Browser), (Browser, Legacy)] {
        let mut bed = call(kinds);
        let side = usize::from(kinds.0 == Browser);
        let ends = only(&bed, side);
        let before = bed.phones[side].heard.len();
        let expected = Reply::Playing { duration: Duration::from_millis(100), warnings: vec![] };
        assert_eq!(play(&mut bed, ends, Some(1)), expected);
        bed.talk(5);
        bed.talk(3);
        let heard = &bed.phones[side].heard[before..];
        let played: Vec<u8> = heard[..5].iter().flat_map(|it| it.payload.clone()).collect();
        assert_eq!(played, coded(), "{kinds:?}");
        assert!(heard[0].header.marker && !heard[1].header.marker);
        let all = &bed.phones[side].heard;
        for pair in all.windows(2) {
            let [a, b] = [pair[0].header, pair[1].header];
            assert_eq!(b.sequence_number, a.sequence_number.wrapping_add(1));
            assert_eq!(a.ssrc, b.ssrc);
            assert!((1..2400).contains(&b.timestamp.wrapping_sub(a.timestamp)));
        }
        // What the other said meanwhile is not heard, what it said then is.
        assert_eq!(heard[5..].len(), 3, "{kinds:?}");
    }
}

/// RFC 3550 §6.4.1: whoever hears an announcement alone learns at its beginning how its time goes.
#[test]
fn a_report_comes_with_the_beginning() {
    let mut bed = call((Legacy, Legacy));
    let ends = only(&bed, 0);
    bed.phones[0].heard_rtcp.clear();
    play(&mut bed, ends, Some(1));
    bed.talk(1);
    let sender_reports = bed.phones[0].heard_rtcp.iter().filter(|packet| packet[1] == 200);
    assert_eq!(sender_reports.count(), 1);
}

#[test]
fn it_is_repeated_until_it_is_stopped() {
    let mut bed = call((Legacy, Legacy));
    let before = bed.phones[0].heard.len();
    let ends = only(&bed, 0);
    assert!(matches!(play(&mut bed, ends.clone(), None), Reply::Playing { .. }));
    bed.run(Duration::from_secs(2));
    let played = bed.phones[0].heard.len() - before;
    assert!((99..=101).contains(&played), "{played}");
    let stop = Command::StopMedia(StopMedia { ends, warnings: vec![] });
    assert_eq!(bed.engine.handle_command(bed.now, &stop), Reply::Done { warnings: vec![] });
    bed.run(Duration::from_secs(1));
    let more = bed.phones[0].heard.len() - before - played;
    assert!(more <= 1, "what was on its way: {more}");
    bed.talk(2);
    assert_eq!(bed.phones[0].heard.len() - before - played - more, 2);
}

#[test]
fn a_second_piece_takes_the_place_of_the_first() {
    let mut bed = call((Legacy, Legacy));
    let before = bed.phones[0].heard.len();
    let ends = only(&bed, 0);
    play(&mut bed, ends.clone(), None);
    bed.run(Duration::from_millis(50));
    play(&mut bed, ends, Some(1));
    bed.run(Duration::from_secs(1));
    let heard = &bed.phones[0].heard[before..];
    assert_eq!(heard.len(), 3 + 5);
    assert!(heard[3].header.marker && heard[3].payload == coded()[..160]);
    let numbers = heard
        .windows(2)
        .all(|it| it[1].header.sequence_number.wrapping_sub(it[0].header.sequence_number) == 1);
    assert!(numbers);
}

#[test]
fn a_browser_hears_it_from_the_beginning_once_it_is_connected() {
    let mut bed = Bed::new(Browser, Legacy, 42);
    bed.connect();
    let phone = bed.phones[1].announced.ip();
    play(&mut bed, all(), Some(1));
    assert!(bed.phones[0].srtp.is_none());
    bed.run(Duration::from_secs(2));
    let heard: Vec<u8> = bed.phones[0].heard.iter().flat_map(|it| it.payload.clone()).collect();
    assert_eq!(heard, coded());
    assert_eq!(bed.phones[1].heard.len(), 5, "{phone} at once");
}

#[test]
fn a_re_invite_leaves_the_music_and_a_hold_of_ours_ends_it() {
    let mut bed = call((Legacy, Legacy));
    let ends = only(&bed, 0);
    play(&mut bed, ends, None);
    bed.run(Duration::from_millis(100));
    bed.apply([voice(), voice()], false);
    let before = bed.phones[0].heard.len();
    bed.run(Duration::from_millis(200));
    assert_eq!(bed.phones[0].heard.len() - before, 10);
    // It wants no sound any more.
    bed.hears = None;
    bed.apply([voice(), voice()], false);
    bed.run(Duration::from_millis(100));
    let before = bed.phones[0].heard.len();
    bed.run(Duration::from_millis(200));
    assert_eq!(bed.phones[0].heard.len(), before);
}

#[test]
fn what_cannot_be_played_says_why_and_the_call_goes_on() {
    let mut bed = call((Legacy, Legacy));
    let refused = |bed: &mut Bed, ends: Ends, source: Source| {
        let play =
            Play { ends, source, times: Some(1), start: Duration::ZERO, limit: None, warnings: vec![] };
        match bed.engine.handle_command(bed.now, &Command::Play(Box::new(play))) {
            Reply::Error(failure) => failure.reason,
            other => panic!("{other:?}"),
        }
    };
    for (ends, source, reason) in [
        (all(), Source::Blob(bytes::Bytes::from_static(b"RIFF....")), "not a WAV file"),
        (all(), Source::Database, "db-id: there is no database of media here"),
        (Ends { call_id: "x".to_owned(), ..all() }, Source::Blob(wav_file(&[1])), "unknown call-id"),
        (
            Ends { address: "192.0.2.99".parse().ok(), ..all() },
            Source::Blob(wav_file(&[1])),
            "no such end in the call",
        ),
    ] {
        assert_eq!(refused(&mut bed, ends, source), reason);
    }
    bed.hears = None;
    bed.apply([voice(), voice()], true);
    assert!(refused(&mut bed, all(), Source::Blob(wav_file(&[1]))).contains("no such end wants sound"));
    let before = bed.phones[1].heard.len();
    bed.talk(3);
    assert_eq!(bed.phones[1].heard.len() - before, 3);
}

/// The keys phone 1 heard as events, with their packets.
fn keys(bed: &Bed, from: usize) -> (Vec<u8>, usize) {
    let mut detector = Detector::new(8000);
    let packets = bed.phones[1].heard[from..].iter().filter(|it| it.header.payload_type == 101);
    let (mut keys, mut count) = (Vec::new(), 0);
    for packet in packets {
        count += 1;
        let event = dtmf::Event::parse(&packet.payload).expect("an event");
        keys.extend(detector.on_packet(bed.now, &packet.header, event).map(|key| key.code));
    }
    (keys, count)
}

#[test]
fn keys_take_the_place_of_sound_or_are_made_by_the_clock() {
    for speaks in [true, false] {
        let mut bed = call((Legacy, Browser));
        let before = bed.phones[1].heard.len();
        press(&mut bed, 0, 7);
        press(&mut bed, 0, 11);
        if speaks {
            bed.talk(30);
        } else {
            bed.run(Duration::from_secs(1));
        }
        bed.talk(3);
        assert_eq!(keys(&bed, before), (vec![7, 11], 16), "speaks: {speaks}");
        let heard = &bed.phones[1].heard[before - 1..];
        let sound = heard.iter().filter(|it| it.header.payload_type == 0).count() - 1;
        assert_eq!(sound, if speaks { 30 + 3 - 12 } else { 3 });
        for pair in heard.windows(2) {
            let step = pair[1].header.sequence_number.wrapping_sub(pair[0].header.sequence_number);
            assert_eq!((step, pair[0].header.ssrc), (1, pair[1].header.ssrc), "speaks: {speaks}");
        }
    }
}

#[test]
fn without_telephone_event_a_key_is_a_tone() {
    for speaks in [true, false] {
        let mut bed = Bed::new(Legacy, Legacy, 43);
        bed.hears = bed.hears.map(|hears| Hears { events: None, ..hears });
        bed.connect();
        bed.talk(3);
        if !speaks {
            bed.run(Duration::from_secs(1));
        }
        let before = bed.phones[1].heard.len();
        press(&mut bed, 0, 5);
        if speaks {
            bed.talk(15);
        } else {
            bed.run(Duration::from_secs(1));
        }
        let heard: Vec<u8> = bed.phones[1].heard[before..].iter().flat_map(|it| it.payload.clone()).collect();
        let tone = |at: usize| {
            let window = &heard[at..at + 400];
            let samples: Vec<f64> = window.iter().map(|octet| f64::from(g711::decode_ulaw(*octet))).collect();
            [770.0, 1336.0, 697.0, 1477.0].map(|frequency: f64| {
                let turn = 2.0 * std::f64::consts::PI * frequency / 8000.0;
                let part = |wave: fn(f64) -> f64| {
                    samples.iter().enumerate().map(|(at, it)| it * wave(turn * at as f64)).sum::<f64>()
                };
                part(f64::cos).hypot(part(f64::sin)) / 200.0
            })
        };
        let [low, high, other, another] = tone(200);
        assert!(low > 5000.0 && high > 5000.0 && other < 1000.0 && another < 1000.0, "speaks: {speaks}");
        assert!(heard[900..1500].iter().all(|octet| *octet == 0xff), "a pause behind it");
        assert!(!speaks || heard.len() == 15 * 160);
    }
}
