//! Keys between ends that do not press them alike, each way that an end may press to each way that the other may hear.

use std::time::Duration;

use super::bed::settings;
use super::mirror::{A, B, Ng, Sent};
use crate::codec::g711::{decode_ulaw, encode_ulaw};
use crate::command::{Command, Ends, Exchange, Keys, LegKind, PlayDtmf, Reply, Side};
use crate::dtmf::{self, Detector, Digit, EventGenerator, Listener, Tone};
use crate::engine::EventKind;
use crate::packet::Packet;
use crate::rtp::Header;

const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\n";
const SILENCE: u8 = 0xff;
const LENGTH: Duration = Duration::from_millis(100);

/// How a key is pressed or heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Event,
    Tone,
    /// By SIP, which has the relay press it, or is told of it.
    Info,
}

struct Call {
    ng: Ng,
    number: u16,
    timestamp: u32,
    heard: Vec<(Header, Vec<u8>)>,
    told: Vec<(String, u8)>,
}

fn description(end: &str, events: bool) -> String {
    let text = super::mirror::sdp(end, "RTP/AVP", if events { EVENTS } else { "" });
    if events { text.replace("RTP/AVP 0\r\n", "RTP/AVP 0 101\r\n") } else { text }
}

impl Call {
    /// A and B, two phones; whether each has telephone-event, and what is known of it.
    fn new(a: (bool, Keys), b: (bool, Keys)) -> Self {
        let mut ng = Ng::new(settings());
        let side = |keys| Side { kind: Some(LegKind::Legacy), keys, ..Side::default() };
        let wish = move |from: Keys, to: Keys| {
            move |exchange: &mut Exchange| {
                exchange.transcoding = true;
                (exchange.sender, exchange.receiver) = (side(from), side(to));
            }
        };
        let offered = ng.exchange(true, B, &description(A, a.0), wish(a.1, b.1));
        // Who has telephone-event takes what it is offered, and no more.
        let takes = b.0 && offered.media[0].codecs.iter().any(crate::sdp::Codec::is_dtmf);
        ng.exchange(false, A, &description(B, takes), wish(b.1, a.1));
        Self { ng, number: 0, timestamp: 0, heard: Vec::new(), told: Vec::new() }
    }

    fn note(&mut self, sent: Vec<Sent>) {
        for (_, to, octets) in sent.into_iter().filter(|(_, to, _)| to.to_string() == B) {
            let header = Header::parse(&octets).unwrap_or_else(|_| panic!("RTP to {to}"));
            let payload = header.payload(&octets).expect("a payload").to_vec();
            self.heard.push((header, payload));
        }
        while let Some(event) = self.ng.engine.poll_event() {
            if let EventKind::Dtmf(key) = event.kind {
                self.told.push((event.tag, key));
            }
        }
    }

    /// A says something for 20 ms; an event has a timestamp of its own.
    fn say(&mut self, payload_type: u8, timestamp: Option<u32>, payload: &[u8]) {
        self.number += 1;
        self.timestamp += 160;
        let mut packet = Packet::new();
        let header = Header::new(payload_type, self.number, timestamp.unwrap_or(self.timestamp), 7);
        header.start(&mut packet, payload).expect("it fits");
        let sent = self.ng.say(A, packet.as_slice());
        self.note(sent);
        let sent = self.ng.pass(Duration::from_millis(20));
        self.note(sent);
    }

    fn silence(&mut self, packets: usize) {
        (0..packets).for_each(|_| self.say(0, None, &[SILENCE; 160]));
    }

    fn press(&mut self, by: By, code: u8) {
        match by {
            By::Event => {
                let start = self.timestamp + 160;
                let mut generator = EventGenerator::new(code, 10, LENGTH, 8000);
                while let Some(packet) = generator.next_packet() {
                    self.say(101, Some(start), &packet.event.to_bytes());
                }
            }
            By::Tone => {
                let tone = Tone::new(code, 10).expect("a key");
                for packet in 0..5 {
                    let sample = |at: u32| encode_ulaw(tone.sample(160 * packet + at, 8000));
                    self.say(0, None, &(0..160).map(sample).collect::<Vec<u8>>());
                }
            }
            By::Info => {
                let digit = Digit { code, volume: 10, duration: LENGTH, pause: LENGTH };
                let ends =
                    Ends { call_id: "ng".to_owned(), from_tag: Some("a".to_owned()), ..Ends::default() };
                let play = Command::PlayDtmf(PlayDtmf { ends, digit, warnings: Vec::new() });
                let now = self.ng.now;
                assert!(matches!(self.ng.engine.handle_command(now, &play), Reply::Done { .. }));
            }
        }
        self.silence(15);
    }

    /// The keys that reach B as telephone-events, and those that it hears as tones.
    fn keys(&self) -> [Vec<u8>; 2] {
        let mut detector = Detector::new(8000);
        let mut listener = Listener::new(8000).expect("a listener");
        let (mut events, mut tones, mut before) = (Vec::new(), Vec::new(), None);
        for (header, payload) in &self.heard {
            if header.payload_type == 101 {
                let event = dtmf::Event::parse(payload).expect("an event");
                events.extend(detector.on_packet(self.ng.now, header, event).map(|key| key.code));
                continue;
            }
            listener.listen(&payload.iter().map(|octet| decode_ulaw(*octet)).collect::<Vec<_>>());
            let now = listener.sounding().map(|key| key.code);
            tones.extend(now.filter(|_| before != now));
            before = now;
        }
        [events, tones]
    }
}

#[test]
fn keys_reach_the_other_end_however_each_has_them() {
    let (agreed, keys) = (Keys::Agreed, [5, 11, 0]);
    for (a, by, b, to) in [
        ((true, agreed), By::Event, (true, agreed), By::Event),
        ((true, agreed), By::Event, (true, Keys::Tones), By::Tone),
        ((true, agreed), By::Event, (false, Keys::Told), By::Info),
        ((true, agreed), By::Event, (true, Keys::Told), By::Info),
        ((false, agreed), By::Tone, (false, agreed), By::Tone),
        ((false, agreed), By::Tone, (true, Keys::Events), By::Event),
        ((true, Keys::Tones), By::Tone, (true, agreed), By::Event),
        ((false, agreed), By::Tone, (false, Keys::Told), By::Info),
        ((false, agreed), By::Info, (false, agreed), By::Tone),
        ((true, agreed), By::Info, (true, agreed), By::Event),
        ((false, Keys::Told), By::Info, (true, agreed), By::Event),
        ((true, agreed), By::Info, (true, Keys::Tones), By::Tone),
    ] {
        let mut call = Call::new(a, b);
        call.silence(5);
        keys.iter().for_each(|key| call.press(by, *key));
        let what = format!("{a:?} by {by:?} to {b:?} as {to:?}");
        let [events, tones] = call.keys();
        let told: Vec<u8> = call.told.iter().map(|(_, key)| *key).collect();
        assert!(call.told.iter().all(|(tag, _)| tag == "a"), "{what}");
        match to {
            // A tone has begun before it is known for one.
            By::Event if by == By::Tone => assert_eq!(&events[..], &keys[..], "{what}"),
            By::Event => assert_eq!((&events[..], &tones[..]), (&keys[..], &[][..]), "{what}"),
            By::Tone => assert_eq!((&events[..], &tones[..]), (&[][..], &keys[..]), "{what}"),
            By::Info => {
                assert_eq!((&told[..], &events[..]), (&keys[..], &[][..]), "{what}");
            }
        }
        // One stream, whatever was put into it.
        for pair in call.heard.windows(2) {
            let step = pair[1].0.sequence_number.wrapping_sub(pair[0].0.sequence_number);
            assert_eq!((step, pair[1].0.ssrc), (1, pair[0].0.ssrc), "{what}");
        }
    }
}

#[test]
fn without_a_wish_nothing_is_added() {
    for (transcoding, keys) in [(false, Keys::Events), (true, Keys::Agreed)] {
        let mut ng = Ng::new(settings());
        let offered = ng.exchange(true, B, &description(A, false), |exchange| {
            let side = Side { kind: Some(LegKind::Legacy), keys, ..Side::default() };
            exchange.transcoding = transcoding;
            (exchange.sender, exchange.receiver) = (side.clone(), side);
        });
        assert!(!offered.media[0].codecs.iter().any(crate::sdp::Codec::is_dtmf));
    }
}
