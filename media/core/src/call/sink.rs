//! What one line of a leg is sent: one SSRC, one sequence and one timeline, whoever speaks.
//!
//! Browsers and, worse, old phones stumble when any of the three jumps (hold, transfer, another branch of a fork). So a
//! change of the source only changes two offsets here.

use std::time::Instant;

use rand::{Rng, RngExt};

use crate::call::plan::PayloadMap;
use crate::rtp::Header;
use crate::rtp::sequence::is_newer;

/// Names a source of packets: the leg's slot, the line's place there, and the SSRC.
pub type Source = (usize, usize, u32);

/// See the module.
#[derive(Debug)]
pub struct Sink {
    /// The SSRC of all that is sent.
    pub ssrc: u32,
    /// RTP packets sent.
    pub packets: u64,
    /// Octets of payload sent (RFC 3550 §6.4.1 counts no headers).
    pub octets: u64,
    source: Option<Source>,
    /// Where the sequence begins.
    first: (u16, u32),
    sequence_offset: u16,
    timestamp_offset: u32,
    last: Option<Last>,
}

/// The newest packet sent.
#[derive(Debug, Clone, Copy)]
struct Last {
    sequence_number: u16,
    timestamp: u32,
    clock: u32,
    at: Instant,
}

/// How much of a timeline passes in `elapsed` (never more than an hour: then nobody remembers).
fn ticks(from: Instant, to: Instant, clock: u32) -> u32 {
    let micros = to.saturating_duration_since(from).as_micros().min(3_600_000_000);
    (micros * u128::from(clock) / 1_000_000) as u32
}

impl Sink {
    /// A sink that has sent nothing. Sequence and timestamp begin at random (RFC 3550 §5.1), the sequence in the lower
    /// half, so that a lost first packet cannot hide a wrap from an SRTP receiver (RFC 3711 §3.3.1).
    pub fn new(ssrc: u32, rng: &mut impl Rng) -> Sink {
        Sink {
            ssrc,
            packets: 0,
            octets: 0,
            source: None,
            first: (rng.random::<u16>() & 0x7fff, rng.random()),
            sequence_offset: 0,
            timestamp_offset: 0,
            last: None,
        }
    }

    /// Whether `source` is the one whose packets were sent last.
    pub fn hears(&self, source: Source) -> bool {
        self.source == Some(source)
    }

    /// Gives `header` of a packet from `source` its place in the outgoing stream. Reordered packets keep their order
    /// relative to each other.
    pub fn renumber(&mut self, now: Instant, source: Source, header: &mut Header, map: &PayloadMap) {
        if self.source != Some(source) {
            self.switch(now, header, map);
            self.source = Some(source);
        }
        header.ssrc = self.ssrc;
        header.payload_type = map.to;
        header.sequence_number = header.sequence_number.wrapping_add(self.sequence_offset);
        header.timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        let newest = self.last.is_none_or(|last| is_newer(header.sequence_number, last.sequence_number));
        if newest {
            self.last = Some(Last {
                sequence_number: header.sequence_number,
                timestamp: header.timestamp,
                clock: map.to_clock,
                at: now,
            });
        }
    }

    /// Chooses the offsets so that the next packet follows the last one, at its distance in time.
    fn switch(&mut self, now: Instant, header: &mut Header, map: &PayloadMap) {
        let (next, timestamp) = match self.last {
            None => self.first,
            Some(last) => {
                let elapsed = ticks(last.at, now, map.to_clock).max(1);
                (last.sequence_number.wrapping_add(1), last.timestamp.wrapping_add(elapsed))
            }
        };
        self.sequence_offset = next.wrapping_sub(header.sequence_number);
        self.timestamp_offset = timestamp.wrapping_sub(header.timestamp);
        // RFC 3551 §4.1: the marker is where a receiver may adapt its playout delay.
        header.marker = true;
    }

    /// Makes room for one packet more than the source sends, and returns the number of that packet.
    pub fn insert(&mut self, before: &mut Header) -> u16 {
        let number = before.sequence_number;
        self.sequence_offset = self.sequence_offset.wrapping_add(1);
        before.sequence_number = number.wrapping_add(1);
        number
    }

    /// Counts a packet that was sent with `payload` octets.
    pub fn sent(&mut self, payload: usize) {
        self.packets += 1;
        self.octets += payload as u64;
    }

    /// The sequence number the source used for what was sent as `number`: a NACK goes back that way.
    pub fn original_sequence(&self, number: u16) -> u16 {
        number.wrapping_sub(self.sequence_offset)
    }

    /// The source whose packets were sent last.
    pub fn source(&self) -> Option<Source> {
        self.source
    }

    /// The timestamp that belongs to `now`, for a sender report; `None` when nothing was sent yet.
    pub fn timestamp_at(&self, now: Instant) -> Option<u32> {
        self.last.map(|last| last.timestamp.wrapping_add(ticks(last.at, now, last.clock)))
    }

    /// When the newest packet was sent.
    pub fn last_sent(&self) -> Option<Instant> {
        self.last.map(|last| last.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::plan::Payload;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::time::Duration;

    const MAP: PayloadMap =
        PayloadMap { from: 0, to: 8, from_clock: 8000, to_clock: 8000, payload: Payload::Media };

    fn sink() -> Sink {
        Sink::new(77, &mut StdRng::seed_from_u64(3))
    }

    #[test]
    fn keeps_one_stream_when_the_source_changes() {
        let mut sink = sink();
        let start = crate::testing::start();
        let mut first = Header::new(0, 65535, u32::MAX - 10, 1);
        sink.renumber(start, (0, 0, 1), &mut first, &MAP);
        let mut second = Header::new(0, 0, 149, 1);
        sink.renumber(start + Duration::from_millis(20), (0, 0, 1), &mut second, &MAP);
        assert_eq!(second.sequence_number, first.sequence_number.wrapping_add(1));
        assert_eq!(second.timestamp, first.timestamp.wrapping_add(160));
        assert_eq!((second.ssrc, second.payload_type), (77, 8));

        let mut other = Header::new(0, 9000, 5, 2);
        sink.renumber(start + Duration::from_millis(120), (4, 0, 2), &mut other, &MAP);
        assert_eq!(other.sequence_number, second.sequence_number.wrapping_add(1));
        assert_eq!(other.timestamp, second.timestamp.wrapping_add(800), "100 ms later");
        assert!(other.marker);
        assert!(sink.hears((4, 0, 2)) && !sink.hears((0, 0, 1)));
    }

    #[test]
    fn reordered_packets_keep_their_places() {
        let mut sink = sink();
        let now = crate::testing::start();
        let numbers: Vec<u16> = [10, 12, 11, 13]
            .into_iter()
            .map(|number| {
                let mut header = Header::new(0, number, 0, 1);
                sink.renumber(now, (0, 0, 1), &mut header, &MAP);
                header.sequence_number
            })
            .collect();
        let first = numbers[0];
        assert_eq!(numbers, [first, first.wrapping_add(2), first.wrapping_add(1), first.wrapping_add(3)]);
        assert_eq!(sink.original_sequence(first), 10);
    }

    #[test]
    fn an_inserted_packet_moves_the_following() {
        let mut sink = sink();
        let now = crate::testing::start();
        let mut header = Header::new(0, 10, 0, 1);
        sink.renumber(now, (0, 0, 1), &mut header, &MAP);
        let number = header.sequence_number;
        assert_eq!(sink.insert(&mut header), number);
        assert_eq!(header.sequence_number, number.wrapping_add(1));
        let mut next = Header::new(0, 11, 160, 1);
        sink.renumber(now, (0, 0, 1), &mut next, &MAP);
        assert_eq!(next.sequence_number, number.wrapping_add(2));
    }
}
