//! Keys that are kept from the other end over ng.

use std::time::Duration;

use super::bed::settings;
use super::mirror::{A, B, Ng, Sent, sdp, whole};
use crate::codec::g711;
use crate::command::{Command, Gate, Gated, Mode, Reply, Screening};
use crate::dtmf::Tone;
use crate::packet::Packet;
use crate::rtp::Header;

const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\n";

fn lines(end: &str) -> String {
    sdp(end, "RTP/AVP", EVENTS).replace("AVP 0", "AVP 0 101")
}

fn packet(payload_type: u8, number: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = Packet::new();
    Header::new(payload_type, number, timestamp, 7).start(&mut packet, payload).expect("it fits");
    packet.as_slice().to_vec()
}

fn command(ng: &mut Ng, gate: Gate) {
    let reply = ng.engine.handle_command(ng.now, &Command::Gate(gate));
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

fn screened(from: Option<&str>, mode: Mode) -> Gate {
    let screening = Some(Box::new(Screening { mode, ..Screening::default() }));
    Gate { screening, from_tag: from.map(str::to_owned), ..whole(Gated::Dtmf, false) }
}

/// Payload type, number, timestamp and first octet of the one packet that was sent.
fn one(sent: &[Sent]) -> (u8, u16, u32, u8) {
    assert_eq!(sent.len(), 1, "{sent:?}");
    let header = Header::parse(&sent[0].2).expect("RTP");
    (header.payload_type, header.sequence_number, header.timestamp, sent[0].2[12])
}

#[test]
fn an_end_hears_something_else_than_the_keys_of_the_other() {
    let mut ng = Ng::new(settings());
    ng.call([&lines(A), &lines(B)], |_| {});
    assert_eq!(one(&ng.say(A, &packet(0, 1, 160, &[0x33; 160]))), (0, 1, 160, 0x33));
    command(&mut ng, screened(Some("a"), Mode::Key(0)));
    assert_eq!(one(&ng.say(A, &packet(101, 2, 320, &[5, 10, 0, 160]))), (101, 2, 320, 0));
    assert_eq!(one(&ng.say(B, &packet(101, 2, 320, &[5, 10, 0, 160]))), (101, 2, 320, 5), "the other way");
    command(&mut ng, screened(Some("a"), Mode::Silence));
    assert_eq!(one(&ng.say(A, &packet(101, 3, 320, &[5, 0x8a, 1, 64]))), (0, 3, 320, 0xff));
    // The end of the key comes again, but says nothing more.
    assert_eq!(ng.say(A, &packet(101, 4, 320, &[5, 0x8a, 1, 64])), []);
    command(&mut ng, whole(Gated::Dtmf, false));
    assert_eq!(one(&ng.say(A, &packet(101, 5, 960, &[6, 10, 0, 160]))).0, 0, "its own wish stays");
    command(&mut ng, Gate { all: true, ..whole(Gated::Dtmf, false) });
    assert_eq!(one(&ng.say(A, &packet(101, 6, 1920, &[7, 10, 0, 160]))), (101, 5, 1920, 7), "no gap");
}

#[test]
fn a_whole_call_is_screened_with_whoever_comes() {
    let mut ng = Ng::new(settings());
    ng.call([&lines(A), &lines(B)], |_| {});
    command(&mut ng, screened(None, Mode::Key(9)));
    for end in [A, B] {
        assert_eq!(one(&ng.say(end, &packet(101, 1, 160, &[5, 10, 0, 160]))), (101, 1, 160, 9));
    }
    let d = "198.51.100.4:7000";
    ng.exchange(true, d, &lines(A), |it| it.via_branch = Some("2".to_owned()));
    ng.exchange(false, A, &lines(d), |it| {
        (it.via_branch, it.to_tag) = (Some("2".to_owned()), Some("d".to_owned()));
    });
    ng.pass(Duration::from_secs(2));
    assert_eq!(one(&ng.say(d, &packet(101, 1, 160, &[5, 10, 0, 160]))).3, 9);
}

#[test]
fn with_a_delay_what_came_before_the_key_is_replaced_too() {
    let ms = Duration::from_millis;
    let mut ng = Ng::new(settings());
    ng.call([&lines(A), &lines(B)], |_| {});
    command(&mut ng, Gate { delay: Some(ms(60)), ..screened(Some("a"), Mode::Tone) });
    let mut heard = Vec::new();
    for at in 0..9u16 {
        let timestamp = 160 * u32::from(at);
        heard.extend(match at {
            3 => ng.say(A, &packet(101, at, timestamp, &[5, 0x8a, 0, 160])),
            _ => ng.say(A, &packet(0, at, timestamp, &[0x33; 160])),
        });
        heard.extend(ng.pass(ms(20)));
    }
    heard.extend(ng.pass(ms(60)));
    heard.extend(ng.pass(ms(20)));
    let own: Vec<bool> = heard.iter().map(|sent| one(std::slice::from_ref(sent)).3 == 0x33).collect();
    // The first had gone on when the key came; of the others those within 60 ms of it are replaced.
    assert_eq!(own, [true, false, false, false, false, false, false, true, true]);
    let numbers: Vec<u16> = heard.iter().map(|sent| one(std::slice::from_ref(sent)).1).collect();
    assert_eq!(numbers, (0..9).collect::<Vec<_>>());
}

#[test]
fn what_is_put_in_is_written_in_the_listeners_law_at_once() {
    let mut ng = Ng::new(settings());
    let answer = lines(B).replace("AVP 0 ", "AVP 8 ");
    ng.call([&lines(A), &answer], |it| it.codec.transcode = vec!["PCMA".to_owned()]);
    let (hertz, volume) = (440, 7);
    let screening = Screening { mode: Mode::Tone, hertz, volume, ..Screening::default() };
    command(&mut ng, Gate { screening: Some(Box::new(screening)), ..screened(Some("a"), Mode::Tone) });
    let sent = ng.say(A, &packet(101, 1, 160, &[5, 0x8a, 0, 160]));
    assert_eq!(one(&sent).0, 8);
    let tone = Tone::single(hertz, volume);
    let samples: Vec<i16> = (160..320).map(|at| tone.sample(at, 8000)).collect();
    let direct: Vec<u8> = samples.iter().map(|it| g711::encode_alaw(*it)).collect();
    let mut round: Vec<u8> = samples.iter().map(|it| g711::encode_ulaw(*it)).collect();
    g711::ulaw_to_alaw(&mut round);
    assert_ne!(round, direct, "or it would not matter");
    assert_eq!(sent[0].2[12..], direct);
    // What A itself says is converted octet by octet.
    let mut own = [0x33];
    g711::ulaw_to_alaw(&mut own);
    assert_eq!(one(&ng.say(A, &packet(0, 2, 960, &[0x33; 160]))).3, own[0]);
}
