//! A sender with PCMU, with and without telephone-events, packet by packet.

use super::*;
use crate::codec::g711;
use crate::sdp::Codec;

const SOUND: u8 = 0;
const EVENTS: u8 = 101;

/// A packet as it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// What the sender said.
    Own,
    Silence,
    /// Sound that is not its own, by its loudest of a few frequencies.
    Tone(u16),
    /// An event: key, end, duration, and how often.
    Event(u8, bool, u16, u8),
}

/// The line of one sender.
struct Bed {
    screen: Screen,
    usage: Usage,
    now: Instant,
    packet: u32,
    /// What was heard and has not gone on, and the numbers of what has.
    held: Vec<(Packet, Header, Content)>,
    numbers: Vec<u16>,
}

const OWN: u8 = 0x33;
const FREQUENCIES: [u16; 9] = [400, 697, 770, 852, 941, 1209, 1336, 1477, 1633];

fn format() -> Format {
    Format::of(&Codec::new(0, "PCMU", 8000, 1), Some(20)).expect("PCMU")
}

impl Bed {
    fn new(wish: &Screening, events: bool, held: u64) -> Self {
        let usage = Usage {
            events: events.then_some((EVENTS, 8000)),
            sound: Some((SOUND, format())),
            held: Duration::from_millis(held),
        };
        let (screen, now) = (Screen::new(wish, APART), crate::testing::start());
        Self { screen, usage, now, packet: 0, held: Vec::new(), numbers: Vec::new() }
    }

    fn timestamp(&self) -> u32 {
        3000 + 160 * self.packet
    }

    /// The next packet comes.
    fn hear(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut packet = Packet::new();
        let header = Header::new(payload_type, 1000 + self.packet as u16, timestamp, 7);
        header.start(&mut packet, payload).expect("it fits");
        let content = if payload_type == EVENTS { Content::Event(8000) } else { Content::Sound(format()) };
        self.screen.hear(self.now, &header, &packet, content, &self.usage, 3);
        self.held.push((packet, header, content));
        self.packet += 1;
        self.now += Duration::from_millis(20);
    }

    /// The oldest that is held goes on.
    fn go(&mut self) -> Option<Went> {
        let (mut packet, mut header, content) = self.held.remove(0);
        let own = packet.as_slice()[12..].to_vec();
        let times = self.screen.pass(&mut packet, &mut header, content, &self.usage);
        self.numbers.extend((0..times).map(|at| header.sequence_number.wrapping_add(u16::from(at))));
        let payload = Header::parse(packet.as_slice()).ok()?.payload(packet.as_slice()).ok()?.to_vec();
        if times == 0 {
            return None;
        }
        if header.payload_type == EVENTS {
            let event = Event::parse(&payload)?;
            return Some(Went::Event(event.code, event.end, event.duration, times));
        }
        assert_eq!((times, payload.len()), (1, 160));
        if payload == own {
            return Some(Went::Own);
        }
        if payload.iter().all(|octet| *octet == 0xff) {
            return Some(Went::Silence);
        }
        let pcm: Vec<i16> = payload.iter().map(|octet| g711::decode_ulaw(*octet)).collect();
        let loudness =
            |hertz: &u16| (crate::testing::tone_above_rest(&pcm, f64::from(*hertz), 8000) * 100.0) as i32;
        FREQUENCIES.into_iter().max_by_key(loudness).map(Went::Tone)
    }

    fn sound(&mut self) -> Option<Went> {
        self.hear(SOUND, self.timestamp(), &[OWN; 160]);
        self.go()
    }

    /// A key held for `packets`, each of which goes on at once.
    fn press(&mut self, code: u8, packets: u16) -> Vec<Option<Went>> {
        let began = self.timestamp();
        let packet = |at: u16| Event { code, end: at == packets, volume: 10, duration: 160 * at };
        (1..=packets)
            .map(|at| {
                self.hear(EVENTS, began, &packet(at).to_bytes());
                self.go()
            })
            .collect()
    }

    /// As [`Bed::press`], as tones in the sound.
    fn dial(&mut self, code: u8, packets: u32) -> Vec<Option<Went>> {
        let tone = Tone::new(code, 10).expect("a key");
        (0..packets)
            .map(|at| {
                let octets: Vec<u8> =
                    (0..160).map(|it| g711::encode_ulaw(tone.sample(160 * at + it, 8000))).collect();
                self.hear(SOUND, self.timestamp(), &octets);
                self.go()
            })
            .collect()
    }
}

fn wish(mode: Mode) -> Screening {
    Screening { mode, ..Screening::default() }
}

fn some<const N: usize>(all: [Went; N]) -> Vec<Option<Went>> {
    all.map(Some).to_vec()
}

#[test]
fn each_mode_with_events() {
    use Went::*;
    let key =
        |code| some([Event(code, false, 160, 1), Event(code, false, 320, 1), Event(code, true, 480, 1)]);
    for (mode, expected, behind) in [
        (Mode::Off, key(5), Own),
        (Mode::Drop, vec![None; 3], Own),
        (Mode::Silence, some([Silence; 3]), Own),
        (Mode::Tone, some([Tone(400); 3]), Own),
        (Mode::Key(0), key(0), Own),
        (Mode::Key(11), key(11), Own),
        (Mode::Random, key(3), Own),
    ] {
        let mut bed = Bed::new(&wish(mode), true, 0);
        let dropped = if mode == Mode::Drop { 3 } else { 0 };
        assert_eq!(bed.sound(), Some(Own));
        assert_eq!(bed.press(5, 3), expected, "{mode:?}");
        if dropped == 0 {
            assert_eq!(bed.sound(), Some(behind), "{mode:?}");
        } else {
            bed.hear(SOUND, bed.timestamp(), &[OWN; 160]);
            let (mut packet, mut header, content) = bed.held.remove(0);
            assert_eq!(bed.screen.pass(&mut packet, &mut header, content, &bed.usage), 1);
            assert_eq!(header.sequence_number, 1001, "no gap where the key was");
        }
    }
}

#[test]
fn each_mode_without_events() {
    use Went::*;
    for (mode, instead) in [
        (Mode::Silence, Silence),
        (Mode::Tone, Tone(400)),
        (Mode::Key(0), Tone(941)),
        (Mode::Random, Tone(697)),
    ] {
        // With something held back, none of the key is heard.
        let mut bed = Bed::new(&wish(mode), false, 60);
        (0..3).for_each(|_| bed.hear(SOUND, bed.timestamp(), &[OWN; 160]));
        let mut went = bed.dial(5, 4);
        went.extend((0..10).map(|_| bed.sound()));
        let put = went.iter().filter(|it| **it != Some(Own)).collect::<Vec<_>>();
        let is_put =
            |it: &&Option<Went>| matches!((instead, it), (Silence, Some(Silence)) | (Tone(_), Some(Tone(_))));
        assert!(put.len() >= 7 && put.iter().all(is_put), "{mode:?}: {went:?}");
        assert_eq!(went.last(), Some(&Some(Own)), "{mode:?}");
        // No sequence of packets shows where the key was.
        assert!(bed.numbers.iter().zip(1000..).all(|(number, expected)| *number == expected));
    }
    let mut bed = Bed::new(&wish(Mode::Drop), false, 60);
    (0..3).for_each(|_| bed.hear(SOUND, bed.timestamp(), &[OWN; 160]));
    bed.dial(5, 4);
    assert!((0..4).all(|_| bed.sound() == Some(Own)), "drop is about events");
}

#[test]
fn sound_around_an_event_that_is_held_back_goes_too() {
    use Went::*;
    let mut bed = Bed::new(&wish(Mode::Key(0)), true, 40);
    (0..2).for_each(|_| bed.hear(SOUND, bed.timestamp(), &[OWN; 160]));
    let went = bed.press(5, 2);
    assert_eq!(
        went,
        some([Silence, Silence]),
        "what lies before the key is silent, should it be in it as well"
    );
    let behind: Vec<_> = (0..6).map(|_| bed.sound()).collect();
    let zero = [Event(0, false, 160, 1), Event(0, true, 320, 1)];
    assert_eq!(behind, some([zero[0], zero[1], Silence, Silence, Own, Own]));
}

#[test]
fn keys_are_said_later() {
    use Went::*;
    for events in [true, false] {
        let wish = Screening { delay: Duration::from_millis(60), ..Screening::default() };
        let mut bed = Bed::new(&wish, events, 0);
        assert_eq!(bed.sound(), Some(Own));
        if events {
            let began = bed.numbers.len();
            assert_eq!(bed.press(9, 2), some([Silence, Silence]));
            let behind: Vec<_> = (0..5).map(|_| bed.sound()).collect();
            let said = [Event(9, false, 160, 1), Event(9, false, 320, 1), Event(9, true, 480, 3)];
            assert_eq!(behind[..4], some([Own, said[0], said[1], said[2]]));
            // Those behind the three ends have moved up by two.
            assert_eq!(behind[4], None.or(Some(Own)), "{:?}", bed.numbers);
            assert_eq!(bed.numbers[began..], [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009]);
        } else {
            let mut went = bed.dial(9, 3);
            went.extend((0..8).map(|_| bed.sound()));
            let tones: Vec<usize> =
                (3..11).filter(|at| matches!(went[*at], Some(Tone(852 | 1477)))).collect();
            assert!(tones.len() >= 2 && tones.windows(2).all(|two| two[1] == two[0] + 1), "{went:?}");
            assert_eq!(went.last(), Some(&Some(Own)));
        }
    }
}

#[test]
fn ends_that_come_again_leave_no_gap() {
    let mut bed = Bed::new(&wish(Mode::Silence), true, 0);
    bed.press(5, 3);
    let event = Event { code: 5, end: true, volume: 10, duration: 480 };
    for _ in 0..2 {
        bed.hear(EVENTS, 3000, &event.to_bytes());
        assert_eq!(bed.go(), None);
    }
    bed.hear(SOUND, 3480, &[OWN; 160]);
    let (mut packet, mut header, content) = bed.held.remove(0);
    assert_eq!(bed.screen.pass(&mut packet, &mut header, content, &bed.usage), 1);
    assert_eq!((header.sequence_number, header.timestamp), (1003, 3480));
}

fn trigger() -> Trigger {
    Trigger { keys: vec![11, 11], mode: Mode::Tone, end: vec![10], ..Trigger::default() }
}

/// What becomes of keys pressed one after the other, `apart` packets between them.
fn modes(trigger: Trigger, keys: &[u8], apart: u32) -> Vec<Mode> {
    modes_within(APART, trigger, keys, apart)
}

/// The same where keys further apart than `limit` are no sequence.
fn modes_within(limit: Duration, trigger: Trigger, keys: &[u8], apart: u32) -> Vec<Mode> {
    let wish = Screening { trigger: Some(trigger), ..Screening::default() };
    let mut bed = Bed::new(&wish, true, 0);
    bed.screen = Screen::new(&wish, limit);
    let mode = |bed: &mut Bed, key: u8| {
        let went = bed.press(key, 2);
        (0..3).for_each(|_| {
            bed.hear(SOUND, bed.timestamp(), &[OWN; 160]);
            bed.held.clear();
        });
        (bed.packet, bed.now) = (bed.packet + apart, bed.now + Duration::from_millis(20) * apart);
        match went[0] {
            Some(Went::Event(code, ..)) if code == key => Mode::Off,
            Some(Went::Event(code, ..)) => Mode::Key(code),
            Some(Went::Silence) => Mode::Silence,
            Some(Went::Tone(_)) => Mode::Tone,
            _ => Mode::Drop,
        }
    };
    keys.iter().map(|key| mode(&mut bed, *key)).collect()
}

#[test]
fn how_far_keys_of_a_trigger_may_be_apart_is_a_setting() {
    for (limit, second) in [(300, Mode::Tone), (200, Mode::Off)] {
        let modes = modes_within(Duration::from_millis(limit), trigger(), &[11, 11], 8);
        assert_eq!(modes, [Mode::Off, second], "{limit} ms for keys 260 ms apart");
    }
}

#[test]
fn triggers_begin_and_end_a_mode() {
    use Mode::{Off, Silence, Tone};
    assert_eq!(
        modes(trigger(), &[11, 1, 11, 11, 5, 6, 10, 7], 3),
        [Off, Off, Off, Tone, Tone, Tone, Off, Off]
    );
    let then = Trigger { then: Silence, ..trigger() };
    assert_eq!(modes(then, &[11, 11, 5, 10, 7], 3), [Off, Tone, Tone, Silence, Silence]);
    let most = Trigger { most: Some(2), ..trigger() };
    assert_eq!(
        modes(most, &[11, 11, 5, 6, 7], 3),
        [Off, Tone, Tone, Tone, Off],
        "the last of them is covered"
    );
    let longest = Trigger { longest: Some(Duration::from_secs(1)), ..trigger() };
    assert_eq!(modes(longest, &[11, 11, 5, 6], 50), [Off, Tone, Off, Off]);
    // Too far apart to belong together: more than 2.5 s.
    assert_eq!(modes(trigger(), &[11, 11, 5], 150), [Off, Off, Off]);
}

#[test]
fn a_change_of_mind_holds_for_keys_under_way() {
    let mut bed = Bed::new(&wish(Mode::Off), true, 0);
    assert_eq!(bed.press(5, 2).last(), Some(&Some(Went::Event(5, true, 320, 1))));
    bed.hear(EVENTS, bed.timestamp(), &Event { code: 6, end: false, volume: 10, duration: 160 }.to_bytes());
    bed.screen.set(&wish(Mode::Key(0)));
    assert_eq!(bed.go(), Some(Went::Event(0, false, 160, 1)));
    bed.screen.set(&Screening::default());
    assert!(bed.screen.is_idle());
}

#[test]
fn nothing_makes_it_panic_or_grow() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    for mode in [Mode::Off, Mode::Silence, Mode::Tone, Mode::Random, Mode::Key(15)] {
        let delay = Duration::from_millis(rng.next_u64() % 3 * 70);
        let mut bed = Bed::new(&Screening { delay, trigger: Some(trigger()), ..wish(mode) }, true, 40);
        for _ in 0..5000 {
            let r = rng.next_u64();
            let timestamp = if r & 3 == 0 { (r >> 32) as u32 } else { bed.timestamp() };
            let mut packet = Packet::new();
            let len = (r >> 8) as usize % 200;
            let payload: Vec<u8> = (0..len).map(|at| (r >> (at % 56)) as u8).collect();
            let payload_type = if r & 4 == 0 { SOUND } else { EVENTS };
            let mut header = Header::new(payload_type, (r >> 16) as u16, timestamp, 7);
            header.start(&mut packet, &payload).expect("it fits");
            let clock = [0, 1, 8000, u32::MAX][(r >> 60) as usize % 4];
            let content = if r & 4 == 0 { Content::Sound(format()) } else { Content::Event(clock) };
            bed.screen.hear(bed.now, &header, &packet, content, &bed.usage, r as u8);
            assert!(bed.screen.pass(&mut packet, &mut header, content, &bed.usage) <= END_PACKETS);
            bed.packet += 1;
            bed.now += Duration::from_millis(20);
        }
    }
}
