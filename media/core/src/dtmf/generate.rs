//! Makes the packets of one key: for a key that came by INFO, and for `play DTMF`.

use std::time::Duration;

use super::Event;
use super::segment::Segmenter;

/// The time between two packets of an event (RFC 4733 §2.5.1.2 recommends the spacing of the audio; 20 ms is common to
/// all legs).
pub const PACKET_TIME: Duration = Duration::from_millis(20);

/// Shorter is not recognised by many receivers (ITU-T Q.24).
const SHORTEST: Duration = Duration::from_millis(40);
/// Longer than any key press that is meant as one.
const LONGEST: Duration = Duration::from_secs(8);
/// The last packet is sent three times (RFC 4733 §2.5.1.4).
const END_PACKETS: u8 = 3;

/// One packet of an event, to be sent [`PACKET_TIME`] after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// The marker bit: on the first packet only.
    pub marker: bool,
    /// To be added to the timestamp at which the event began: 0 but for the later segments of a long event.
    pub timestamp_offset: u32,
    /// The payload.
    pub event: Event,
}

/// Makes the packets of one key press.
#[derive(Debug, Clone)]
pub struct EventGenerator {
    code: u8,
    volume: u8,
    total: u64,
    step: u64,
    reported: u64,
    ends_left: u8,
    segmenter: Segmenter,
}

impl EventGenerator {
    /// An event `code` of `volume` dBm0 below 0 (10 is usual) that lasts `duration`, brought within 40 ms to 8 s, at a
    /// clock of `clock_rate` Hz (0 is taken as 8000).
    #[must_use]
    pub fn new(code: u8, volume: u8, duration: Duration, clock_rate: u32) -> Self {
        let rate = u64::from(if clock_rate == 0 { 8000 } else { clock_rate });
        let units = |time: Duration| (time.as_millis() as u64 * rate / 1000).max(1);
        Self {
            code,
            volume,
            total: units(duration.clamp(SHORTEST, LONGEST)),
            step: units(PACKET_TIME),
            reported: 0,
            ends_left: END_PACKETS,
            segmenter: Segmenter::default(),
        }
    }

    /// The next packet; `None` when the event is over.
    pub fn next_packet(&mut self) -> Option<EventPacket> {
        let marker = self.reported == 0;
        self.reported = (self.reported + self.step).min(self.total);
        let end = self.reported == self.total;
        if end {
            self.ends_left = self.ends_left.checked_sub(1)?;
        }
        let (offset, duration) = self.segmenter.place(self.reported, end);
        let event = Event { code: self.code, end, volume: self.volume, duration };
        Some(EventPacket { marker, timestamp_offset: offset as u32, event })
    }

    /// The units of the whole event: the stream's timestamp goes on behind them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(millis: u64, rate: u32) -> Vec<EventPacket> {
        let mut generator = EventGenerator::new(3, 10, Duration::from_millis(millis), rate);
        std::iter::from_fn(|| generator.next_packet()).collect()
    }

    #[test]
    fn marker_first_duration_grows_end_three_times() {
        let packets = all(90, 8000);
        let durations: Vec<_> = packets.iter().map(|p| (p.marker, p.event.duration, p.event.end)).collect();
        assert_eq!(
            durations,
            [
                (true, 160, false),
                (false, 320, false),
                (false, 480, false),
                (false, 640, false),
                (false, 720, true),
                (false, 720, true),
                (false, 720, true)
            ]
        );
        assert!(packets.iter().all(|p| p.timestamp_offset == 0 && p.event.code == 3 && p.event.volume == 10));
    }

    #[test]
    fn the_duration_is_brought_within_bounds() {
        assert_eq!(all(0, 8000).last().map(|p| p.event.duration), Some(320));
        assert_eq!(all(u64::MAX / 2, 8000).last().map(|p| p.event.duration), Some(64_000));
        assert_eq!(all(u64::MAX / 2, 8000).len(), 402);
        assert!(all(100, u32::MAX).len() < 10);
        assert_eq!(all(100, 1).len(), 3);
    }

    #[test]
    fn a_long_press_at_48000_is_segmented() {
        let packets = all(6000, 48_000);
        let last = packets.last().unwrap();
        assert_eq!(last.timestamp_offset, 4 * 65_535);
        assert_eq!(u32::from(last.event.duration), 288_000 - 4 * 65_535);
        assert_eq!(packets.iter().filter(|p| p.event.end).count(), 3);
    }
}
