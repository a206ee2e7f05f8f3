//! Events that last longer than 16 bits of duration can say: 1.365 s at 48000 Hz. They are sent as contiguous segments,
//! each beginning where the one before ended (RFC 4733 §2.5.1.3).

use super::Event;
use crate::rtp::Header;

/// The longest duration of one segment.
const LONGEST: u64 = 0xffff;

/// How far behind the border a sender may begin the next segment: more than the 120 ms of the longest Opus packet.
const LATE_BORDER: u32 = 0x2000;

/// Cuts the growing duration of one outgoing event into segments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Segmenter {
    /// Where the current segment begins, in units since the event began.
    offset: u64,
    last: u64,
}

impl Segmenter {
    /// Where the packet that reports `total` units belongs: the offset of its segment and the duration in it.
    ///
    /// The packet that crosses a border reports the full segment first, so that the far end knows where the next one
    /// begins; one with the E bit cannot wait.
    pub(crate) fn place(&mut self, total: u64, end: bool) -> (u64, u16) {
        let total = total.max(self.offset);
        if total - self.offset > LONGEST {
            if self.last < LONGEST && !end {
                self.last = LONGEST;
                return (self.offset, LONGEST as u16);
            }
            self.offset += (total - self.offset - 1) / LONGEST * LONGEST;
        }
        self.last = total - self.offset;
        (self.offset, self.last as u16)
    }
}

/// How a packet stands to the event that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Another report of it, or of its next segment.
    Same,
    /// The first seen of another event.
    New,
    /// A late report of an event before it.
    Stale,
}

/// One incoming event with all its segments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    ssrc: u32,
    pub(crate) code: u8,
    /// Timestamp of the current segment.
    timestamp: u32,
    /// Units in the segments before it.
    before: u64,
    /// The longest duration reported of the current segment.
    longest: u16,
    pub(crate) volume: u8,
    pub(crate) ended: bool,
}

impl Incoming {
    pub(crate) const fn new(header: &Header, event: Event) -> Self {
        Self {
            ssrc: header.ssrc,
            code: event.code,
            timestamp: header.timestamp,
            before: 0,
            longest: event.duration,
            volume: event.volume,
            ended: event.end,
        }
    }

    /// How a packet relates to this event; `stale` is the age in timestamp units up to which a packet is late rather
    /// than of a sender that began anew.
    pub(crate) fn relation(&self, header: &Header, event: Event, stale: u32) -> Relation {
        let ahead = header.timestamp.wrapping_sub(self.timestamp);
        if header.ssrc != self.ssrc {
            Relation::New
        } else if ahead == 0 {
            if event.code == self.code { Relation::Same } else { Relation::New }
        } else if ahead.wrapping_neg() <= stale {
            Relation::Stale
        } else if self.continues(header, event, ahead) {
            Relation::Same
        } else {
            Relation::New
        }
    }

    /// The next segment: no marker, and it begins where the last one ended or could at most. A segment that is far from
    /// full has none: there the ends of one press and the beginning of the next were lost.
    ///
    /// Chromium begins a segment at the packet after the border instead of on it, and may set the E bit on the full
    /// one before.
    fn continues(&self, header: &Header, event: Event, ahead: u32) -> bool {
        let full = u64::from(self.longest) == LONGEST;
        let going_on = full || (!self.ended && self.longest > u16::MAX / 2);
        let borders = u32::from(self.longest)..=LONGEST as u32 + LATE_BORDER;
        event.code == self.code && going_on && !header.marker && borders.contains(&ahead)
    }

    /// Takes a packet of [`Relation::Same`] and returns the units that it reports since the event began.
    pub(crate) fn update(&mut self, header: &Header, event: Event) -> u64 {
        let ahead = header.timestamp.wrapping_sub(self.timestamp);
        if ahead != 0 {
            self.before = self.before.saturating_add(u64::from(ahead));
            self.timestamp = header.timestamp;
            self.longest = 0;
        }
        self.longest = self.longest.max(event.duration);
        self.volume = event.volume;
        self.ended |= event.end;
        self.before.saturating_add(u64::from(event.duration))
    }

    /// Units since the event began, as far as reported.
    pub(crate) const fn total(&self) -> u64 {
        self.before.saturating_add(self.longest as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_events_stay_whole() {
        let mut s = Segmenter::default();
        assert_eq!(
            [s.place(960, false), s.place(65_535, false), s.place(65_535, true)],
            [(0, 960), (0, 65_535), (0, 65_535)]
        );
    }

    #[test]
    fn the_border_is_reported_before_the_next_segment() {
        let mut s = Segmenter::default();
        assert_eq!(s.place(65_280, false), (0, 65_280));
        assert_eq!(s.place(66_240, false), (0, 65_535));
        assert_eq!(s.place(67_200, false), (65_535, 1665));
        assert_eq!(s.place(67_200, true), (65_535, 1665));
    }

    #[test]
    fn an_end_behind_the_border_does_not_wait() {
        let mut s = Segmenter::default();
        s.place(65_280, false);
        assert_eq!(s.place(66_240, true), (65_535, 705));
        assert_eq!(s.place(66_240, true), (65_535, 705));
        // A report that was overtaken cannot go back into the segment before.
        assert_eq!(s.place(60_000, true), (65_535, 0));
    }

    #[test]
    fn lost_packets_may_skip_segments() {
        let mut s = Segmenter::default();
        assert_eq!(s.place(200_000, true), (196_605, 3395));
        assert_eq!(s.place(262_140, true), (196_605, 65_535));
        assert_eq!(s.place(u64::MAX, true).1, (u64::MAX - s.offset) as u16);
    }
}
