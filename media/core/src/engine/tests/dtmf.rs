//! Keys on their way between clocks.

use super::*;
use crate::dtmf::{self, Detector, EventGenerator, Finished};

/// PCMU, and telephone-event from one number and clock to another.
fn flow(from: (u8, u32), to: (u8, u32)) -> FlowPlan {
    let events =
        PayloadMap { from: from.0, to: to.0, from_clock: from.1, to_clock: to.1, payload: Payload::Dtmf };
    FlowPlan { payloads: vec![voice().payloads[0], events], ..voice() }
}

/// A call whose phone 0 has telephone-event at `a`, phone 1 at `b`.
fn call(kinds: (LegKind, LegKind), a: (u8, u32), b: (u8, u32)) -> Bed {
    let mut bed = Bed::new(kinds.0, kinds.1, 31);
    bed.connect_with([flow(a, b), flow(b, a)], true);
    bed.settle(Duration::from_secs(5));
    bed.talk(3);
    bed
}

/// Phone 0 presses a key, its events beginning at `start`; packets for which `lose` is true do not arrive.
fn press(bed: &mut Bed, format: (u8, u32), key: u8, start: u32, millis: u64, lose: impl Fn(bool) -> bool) {
    let mut generator = EventGenerator::new(key, 10, Duration::from_millis(millis), format.1);
    while let Some(event) = generator.next_packet() {
        let phone = &mut bed.phones[0];
        phone.sequence_number = phone.sequence_number.wrapping_add(1);
        phone.timestamp = phone.timestamp.wrapping_add(160);
        let timestamp = start.wrapping_add(event.timestamp_offset);
        let mut header = Header::new(format.0, phone.sequence_number, timestamp, phone.ssrc);
        header.marker = event.marker;
        let mut packet = Packet::new();
        header.start(&mut packet, &event.event.to_bytes()).expect("it fits");
        if !lose(event.event.end) {
            bed.send_rtp(0, packet);
        }
        bed.run(Duration::from_millis(20));
    }
    bed.talk(2);
}

/// An event packet.
type Sent = (Header, dtmf::Event);

/// The keys that phone 1 heard with payload type and clock `format`, and the packets.
fn heard(bed: &Bed, format: (u8, u32)) -> (Vec<(u8, Duration)>, Vec<Sent>) {
    let packets: Vec<Sent> = bed.phones[1]
        .heard
        .iter()
        .filter(|heard| heard.header.payload_type == format.0)
        .map(|heard| (heard.header, dtmf::Event::parse(&heard.payload).expect("an event")))
        .collect();
    let mut detector = Detector::new(format.1);
    let keys: Vec<Finished> = packets
        .iter()
        .flat_map(|(header, event)| detector.on_packet(bed.now, header, *event).collect::<Vec<_>>())
        .collect();
    (keys.into_iter().map(|key| (key.code, key.duration)).collect(), packets)
}

fn told(bed: &Bed) -> Vec<u8> {
    let keys = bed.events.iter().filter_map(|event| match event.kind {
        EventKind::Dtmf(key) => Some((event.leg, key)),
        _ => None,
    });
    keys.map(|(leg, key)| {
        assert_eq!(leg, 0);
        key
    })
    .collect()
}

const WIDE: (u8, u32) = (110, 48_000);
const NARROW: (u8, u32) = (101, 8000);

#[test]
fn keys_keep_their_length_between_clocks() {
    for (kinds, from, to) in [
        ((Browser, Legacy), WIDE, NARROW),
        ((Legacy, Browser), NARROW, WIDE),
        ((Browser, Browser), WIDE, WIDE),
        ((Legacy, Legacy), NARROW, NARROW),
    ] {
        let mut bed = call(kinds, from, to);
        let mut starts = Vec::new();
        for key in [1, 11, 0] {
            let before = bed.phones[1].heard.last().expect("audio").header.timestamp;
            let start = bed.phones[0].timestamp.wrapping_add(160);
            starts.push((before, bed.phones[0].timestamp, start));
            press(&mut bed, from, key, start, 200, |_| false);
        }
        let (keys, packets) = heard(&bed, to);
        let length = Duration::from_millis(200);
        assert_eq!(keys, [(1, length), (11, length), (0, length)]);
        assert_eq!(told(&bed), [1, 11, 0]);
        for (key, (before, last, start)) in [1, 11, 0].into_iter().zip(starts) {
            let of_key: Vec<_> = packets.iter().filter(|(_, event)| event.code == key).collect();
            // One timestamp, on the time line of the audio around it.
            let expected = before.wrapping_add(start.wrapping_sub(last));
            assert!(of_key.iter().all(|(header, _)| header.timestamp == expected));
            let markers: Vec<_> = of_key.iter().map(|(header, _)| header.marker).collect();
            assert_eq!(markers.iter().filter(|marker| **marker).count(), 1);
            assert!(markers[0]);
            assert_eq!(of_key.iter().filter(|(_, event)| event.end).count(), 3);
            let step = to.1 / 50;
            assert_eq!(u32::from(of_key[1].1.duration), 2 * step);
        }
        assert_continuous(&bed);
    }
}

/// Audio and events are one sequence, and the audio one time line.
fn assert_continuous(bed: &Bed) {
    let headers: Vec<_> = bed.phones[1].heard.iter().map(|heard| heard.header).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
    }
    let first = (bed.phones[1].heard[0].header.timestamp, headers.len());
    let audio = headers.iter().filter(|header| header.payload_type == 0);
    let offsets: Vec<u32> = audio.map(|header| header.timestamp.wrapping_sub(first.0)).collect();
    assert!(offsets.is_sorted() && offsets.iter().all(|offset| offset % 160 == 0), "{offsets:?}");
}

#[test]
fn events_on_a_time_line_of_their_own_come_at_their_distance() {
    for (kinds, from, to) in [((Browser, Legacy), WIDE, NARROW), ((Legacy, Browser), NARROW, WIDE)] {
        let mut bed = call(kinds, from, to);
        // Far from the audio's timestamps.
        let own = bed.phones[0].timestamp.wrapping_add(1 << 31);
        let before = bed.phones[1].heard.last().expect("audio").header.timestamp;
        press(&mut bed, from, 5, own, 100, |_| false);
        // The second begins a second later by the sender's clock, and arrives when it arrives.
        bed.talk(30);
        press(&mut bed, from, 6, own.wrapping_add(from.1), 100, |_| false);
        let (keys, packets) = heard(&bed, to);
        assert_eq!(keys.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [5, 6]);
        let stamp = |key| packets.iter().find(|(_, event)| event.code == key).expect("it").0.timestamp;
        assert!(stamp(5).wrapping_sub(before) < 4000, "near the audio");
        assert_eq!(stamp(6).wrapping_sub(stamp(5)), 8000, "on the audio's clock");
    }
}

#[test]
fn a_long_key_is_one_key() {
    for (kinds, from, to) in [((Browser, Legacy), WIDE, NARROW), ((Legacy, Browser), NARROW, WIDE)] {
        let mut bed = call(kinds, from, to);
        let start = bed.phones[0].timestamp.wrapping_add(160);
        press(&mut bed, from, 9, start, 4000, |_| false);
        let (keys, packets) = heard(&bed, to);
        assert_eq!(keys, [(9, Duration::from_secs(4))]);
        assert_eq!(told(&bed), [9], "once, however many segments");
        let mut segments: Vec<u32> = packets.iter().map(|(header, _)| header.timestamp).collect();
        segments.dedup();
        let count = if to == WIDE { 3 } else { 1 };
        assert_eq!(segments.len(), count);
        for pair in segments.windows(2) {
            assert_eq!(pair[1].wrapping_sub(pair[0]), 65_535, "each begins where the one before is full");
        }
        assert_eq!(packets.iter().filter(|(header, _)| header.marker).count(), 1);
        assert!(
            packets
                .iter()
                .filter(|(_, event)| event.end)
                .all(|(header, _)| Some(&header.timestamp) == segments.last()),
            "only the last segment ends"
        );
    }
}

#[test]
fn a_key_whose_ends_are_lost_is_told_after_a_silence() {
    let mut bed = call((Browser, Legacy), WIDE, NARROW);
    let start = bed.phones[0].timestamp.wrapping_add(160);
    press(&mut bed, WIDE, 3, start, 100, |end| end);
    bed.run(Duration::from_millis(300));
    assert_eq!(told(&bed), [3]);
    // Flash is no key.
    let start = bed.phones[0].timestamp.wrapping_add(16_000);
    press(&mut bed, WIDE, 16, start, 100, |_| false);
    assert_eq!(told(&bed), [3]);
}
