//! Carries the events of a received stream to one sink with another payload type and clock.

use super::segment::{Incoming, Relation, Segmenter};
use super::{Event, PAYLOAD_LEN};
use crate::packet::Packet;
use crate::rtp::Header;

/// Why an event packet does not go on: count it and drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Shorter than an event.
    #[error("not a telephone-event")]
    Malformed,
    /// Of an event before the current one: at the far end it would ring the key again.
    #[error("a late packet of an earlier event")]
    Stale,
}

/// Rewrites the telephone-events of one received stream for one sink. Packets of one event keep one timestamp per
/// segment, however the stream around it is renumbered.
#[derive(Debug, Clone)]
pub struct EventRewriter {
    payload_type: u8,
    rate_in: u32,
    rate_out: u32,
    current: Option<Outgoing>,
}

#[derive(Debug, Clone)]
struct Outgoing {
    incoming: Incoming,
    timestamp: u32,
    segmenter: Segmenter,
}

impl EventRewriter {
    /// `payload_type` is the sink's number for telephone-event; the rates are those of its clock at the source and at
    /// the sink, in Hz (0 is taken as 8000).
    #[must_use]
    pub const fn new(payload_type: u8, rate_in: u32, rate_out: u32) -> Self {
        let rate_in = if rate_in == 0 { 8000 } else { rate_in };
        let rate_out = if rate_out == 0 { 8000 } else { rate_out };
        Self { payload_type, rate_in, rate_out, current: None }
    }

    /// Rewrites `packet`, whose header was read as `header` (with the source's SSRC and timestamp): marker, payload type
    /// and timestamp in `header` and in the packet, duration in the payload. Octets behind the event are cut off.
    ///
    /// `timestamp` is where the sink's time line has this packet (for the same clock: the source's timestamp plus
    /// the sink's offset; otherwise see [`crate::rtp::clock::ClockMap`]). Of each event the first one given is kept.
    /// SSRC and sequence number are the caller's, before or after.
    ///
    /// # Errors
    /// [`Unusable`], with the packet unchanged.
    pub fn rewrite(
        &mut self,
        packet: &mut Packet,
        header: &mut Header,
        timestamp: u32,
    ) -> Result<Event, Unusable> {
        let at = header.header_len();
        let payload = packet.as_mut_slice().get_mut(at..at + PAYLOAD_LEN).ok_or(Unusable::Malformed)?;
        let event = Event::parse(payload).ok_or(Unusable::Malformed)?;
        let (first, total) = self.follow(header, event, timestamp)?;
        let total = u64::try_from(u128::from(total) * u128::from(self.rate_out) / u128::from(self.rate_in))
            .unwrap_or(u64::MAX);
        // `follow` leaves an event behind whenever it succeeds.
        let current = self.current.as_mut().ok_or(Unusable::Malformed)?;
        let (offset, duration) = current.segmenter.place(total, event.end);

        let rewritten = Event { duration, ..event };
        payload.copy_from_slice(&rewritten.to_bytes());
        header.marker = first;
        header.payload_type = self.payload_type;
        header.timestamp = current.timestamp.wrapping_add(offset as u32);
        header.write(packet.as_mut_slice());
        packet.truncate(at + PAYLOAD_LEN);
        // The padding is cut off with the rest.
        if let Some(octet) = packet.as_mut_slice().first_mut() {
            *octet &= !0x20;
        }
        Ok(rewritten)
    }

    /// Whether an event is going on: the sink should then send no audio of the same source (RFC 4733 §2.5.1.2 lets
    /// both be sent, but many phones play both).
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.current.as_ref().is_some_and(|current| !current.incoming.ended)
    }

    /// Whether the packet is the first of its event, and the units since the event began.
    fn follow(&mut self, header: &Header, event: Event, timestamp: u32) -> Result<(bool, u64), Unusable> {
        // Five seconds: longer than any network holds a packet back.
        let stale = self.rate_in.saturating_mul(5).min(i32::MAX as u32);
        if let Some(current) = &mut self.current {
            match current.incoming.relation(header, event, stale) {
                Relation::Same => return Ok((false, current.incoming.update(header, event))),
                Relation::Stale => return Err(Unusable::Stale),
                Relation::New => {}
            }
        }
        let incoming = Incoming::new(header, event);
        self.current = Some(Outgoing { incoming, timestamp, segmenter: Segmenter::default() });
        Ok((true, incoming.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventGenerator;
    use super::*;
    use std::time::Duration;

    fn packet(header: Header, event: Event) -> (Packet, Header) {
        let mut packet = Packet::new();
        header.start(&mut packet, &event.to_bytes()).unwrap();
        let header = Header::parse(packet.as_slice()).unwrap();
        (packet, header)
    }

    /// Sends one key of `duration` through a rewriter and returns (marker, timestamp, event) of each packet.
    fn carry(
        rewriter: &mut EventRewriter,
        rate_in: u32,
        start: u32,
        out: u32,
        duration: Duration,
    ) -> Vec<(bool, u32, Event)> {
        let mut generator = EventGenerator::new(5, 10, duration, rate_in);
        let mut all = Vec::new();
        while let Some(p) = generator.next_packet() {
            let mut header = Header::new(101, all.len() as u16, start.wrapping_add(p.timestamp_offset), 1);
            header.marker = p.marker;
            let (mut packet, mut header) = packet(header, p.event);
            let event = rewriter.rewrite(&mut packet, &mut header, out + all.len() as u32).unwrap();
            let written = Header::parse(packet.as_slice()).unwrap();
            assert_eq!(Event::parse(written.payload(packet.as_slice()).unwrap()), Some(event));
            assert_eq!((written.payload_type, written), (126, header));
            all.push((written.marker, written.timestamp, event));
        }
        all
    }

    #[test]
    fn rescales_down_with_one_timestamp() {
        let mut rewriter = EventRewriter::new(126, 48_000, 8000);
        let all = carry(&mut rewriter, 48_000, 4_294_967_000, 77, Duration::from_millis(100));
        let durations: Vec<_> = all.iter().map(|(_, _, e)| (e.duration, e.end)).collect();
        assert_eq!(
            durations,
            [(160, false), (320, false), (480, false), (640, false), (800, true), (800, true), (800, true)]
        );
        assert!(
            all.iter().all(|(_, timestamp, event)| *timestamp == 77 && event.code == 5 && event.volume == 10)
        );
        assert_eq!(all.iter().filter(|(marker, ..)| *marker).count(), 1);
        assert!(all[0].0 && !rewriter.is_active());
    }

    #[test]
    fn splits_a_long_event_towards_the_faster_clock() {
        let mut rewriter = EventRewriter::new(126, 8000, 48_000);
        let all = carry(&mut rewriter, 8000, 0, 1000, Duration::from_secs(4));
        let mut segments: Vec<u32> = all.iter().map(|(_, timestamp, _)| *timestamp).collect();
        segments.dedup();
        assert_eq!(segments, [1000, 1000 + 65_535, 1000 + 2 * 65_535]);
        for segment in &segments[..2] {
            let last = all.iter().rev().find(|(_, timestamp, _)| timestamp == segment).unwrap().2;
            assert_eq!((last.duration, last.end), (65_535, false), "only the last segment ends");
        }
        let ends: Vec<_> = all.iter().filter(|(.., event)| event.end).collect();
        assert_eq!(ends.len(), 3);
        assert!(
            ends.iter().all(|(_, t, e)| *t == segments[2] && u32::from(e.duration) == 192_000 - 2 * 65_535)
        );
        assert_eq!(all.iter().filter(|(marker, ..)| *marker).count(), 1);
    }

    #[test]
    fn joins_the_segments_of_the_faster_clock() {
        let mut rewriter = EventRewriter::new(126, 48_000, 8000);
        let all = carry(&mut rewriter, 48_000, 5, 9, Duration::from_secs(6));
        assert!(all.iter().all(|(_, timestamp, _)| *timestamp == 9));
        assert_eq!(all.last().map(|(.., event)| (event.duration, event.end)), Some((48_000, true)));
        assert!(all.is_sorted_by_key(|(.., event)| event.duration));
        assert_eq!(all.iter().filter(|(marker, ..)| *marker).count(), 1);
    }

    /// At the border Chromium reports the full segment, then begins the next one at the current timestamp.
    #[test]
    fn joins_the_segments_of_chromium() {
        for end_at_the_border in [false, true] {
            let mut rewriter = EventRewriter::new(126, 48_000, 8000);
            let reports: [(u32, u16, bool); 6] = [
                (0, 64_320, false),
                (0, 65_280, false),
                (0, 65_535, end_at_the_border),
                (66_240, 705, end_at_the_border),
                (66_240, 960, true),
                (66_240, 960, true),
            ];
            let mut durations = Vec::new();
            for (n, (timestamp, duration, end)) in reports.into_iter().enumerate() {
                let mut header = Header::new(110, n as u16, timestamp, 1);
                header.marker = n == 0;
                let event = Event { code: 9, end, volume: 10, duration };
                let (mut p, mut header) = packet(header, event);
                durations.push(rewriter.rewrite(&mut p, &mut header, 500 + timestamp / 6).unwrap().duration);
                assert_eq!((header.timestamp, header.marker), (500, n == 0));
            }
            assert_eq!(durations, [10_720, 10_880, 10_922, 11_157, 11_200, 11_200]);
        }
    }

    #[test]
    fn the_next_key_has_its_own_timestamp_and_late_ends_are_dropped() {
        let mut rewriter = EventRewriter::new(126, 8000, 8000);
        carry(&mut rewriter, 8000, 1000, 1000, Duration::from_millis(60));
        let all = carry(&mut rewriter, 8000, 3000, 3000, Duration::from_millis(60));
        assert!(all[0].0 && all.iter().all(|(_, timestamp, _)| *timestamp == 3000));
        let late = Event { code: 5, end: true, volume: 10, duration: 480 };
        let (mut p, mut header) = packet(Header::new(101, 9, 1000, 1), late);
        let before = p.as_slice().to_vec();
        assert_eq!(rewriter.rewrite(&mut p, &mut header, 1000), Err(Unusable::Stale));
        assert_eq!(p.as_slice(), before);
        // A sender that began anew is not late.
        let (mut p, mut header) = packet(Header::new(101, 9, 1000, 2), late);
        assert!(rewriter.rewrite(&mut p, &mut header, 1000).is_ok());
    }

    #[test]
    fn a_lost_first_packet_still_gives_a_marker() {
        let mut rewriter = EventRewriter::new(126, 8000, 8000);
        let event = Event { code: 1, end: false, volume: 0, duration: 320 };
        let (mut p, mut header) = packet(Header::new(101, 2, 7, 1), event);
        rewriter.rewrite(&mut p, &mut header, 7).unwrap();
        assert!(header.marker && rewriter.is_active());
    }

    #[test]
    fn too_short_is_refused_and_padding_goes() {
        let mut rewriter = EventRewriter::new(126, 8000, 8000);
        let mut short = Packet::new();
        Header::new(101, 1, 1, 1).start(&mut short, &[1, 2, 3]).unwrap();
        let mut header = Header::parse(short.as_slice()).unwrap();
        assert_eq!(rewriter.rewrite(&mut short, &mut header, 1), Err(Unusable::Malformed));
        let mut padded = Packet::new();
        Header::new(101, 1, 1, 1).start(&mut padded, &[1, 0, 0, 160, 0, 0, 0, 4]).unwrap();
        padded.as_mut_slice()[0] |= 0x20;
        let mut header = Header::parse(padded.as_slice()).unwrap();
        rewriter.rewrite(&mut padded, &mut header, 1).unwrap();
        assert_eq!(padded.as_slice()[0], 0x80);
        assert_eq!(padded.len(), 16);
    }

    #[test]
    fn every_random_event_is_survived() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(3);
        for (rate_in, rate_out) in [(48_000, 8000), (8000, 48_000), (0, u32::MAX), (u32::MAX, 1)] {
            let mut rewriter = EventRewriter::new(126, rate_in, rate_out);
            for _ in 0..20_000 {
                let r = rng.next_u64();
                let event =
                    Event { code: (r & 1) as u8, end: r & 14 == 14, volume: 0, duration: (r >> 8) as u16 };
                let timestamp = if r & 16 == 0 { (r >> 32) as u32 } else { (r >> 60) as u32 * 65_535 };
                let (mut p, mut header) = packet(Header::new(101, 0, timestamp, 1), event);
                let _any = rewriter.rewrite(&mut p, &mut header, timestamp);
            }
        }
    }
}
