//! What one line of a leg is sent: one SSRC, one sequence and one timeline, whoever speaks.
//!
//! Browsers and, worse, old phones stumble when any of the three jumps (hold, transfer, another branch of a fork). So a
//! change of the source only changes two offsets here.

use std::time::{Duration, Instant};

use crate::call::plan::{MediaKind, Payload, PayloadMap};
use crate::dtmf::{EventRewriter, Unusable};
use crate::packet::Packet;
use crate::rtp::Header;
use crate::rtp::clock::ClockMap;
use crate::rtp::sequence::{distance, is_newer};

/// Names a source of packets: the leg's slot, the line's place there, and the SSRC.
pub type Source = (usize, usize, u32);

/// See the module.
#[derive(Debug)]
pub struct Sink {
    /// The SSRC of all that is sent.
    pub ssrc: u32,
    kind: MediaKind,
    /// RTP packets sent.
    pub packets: u64,
    /// Octets of payload sent (RFC 3550 §6.4.1 counts no headers).
    pub octets: u64,
    source: Option<Source>,
    sequence_offset: u16,
    timestamp_offset: u32,
    last: Option<Last>,
    /// What a sender report of the source told: the moment and the outgoing timestamp of one sample.
    reference: Option<(Instant, u32)>,
    /// The events under way, and the payload type and clocks they were begun with.
    events: Option<((u8, u32, u32), EventRewriter)>,
    /// The time line of events that is not that of their source's audio, and the two clocks.
    event_clock: Option<((u32, u32), ClockMap)>,
    /// Whether the source's stream has reached the end since it last began or was interrupted.
    running: bool,
    /// Whether packets of the source were kept from the end since the last one that was not.
    interrupted: bool,
    /// Packets keep the names and numbers of their source.
    transparent: bool,
}

/// The newest packet sent.
#[derive(Debug, Clone, Copy)]
struct Last {
    sequence_number: u16,
    timestamp: u32,
    clock: u32,
    at: Instant,
}

/// Events of a source within this distance of its audio are on the audio's time line.
const EVENT_NEAR: Duration = Duration::from_millis(500);

/// As far ahead a packet is no longer one after losses (RFC 3550 A.1).
const MAX_DROPOUT: i16 = 3000;

/// As far behind it is no longer a late one (RFC 3550 A.1).
const MAX_MISORDER: i16 = 100;

/// A source whose numbers leap but whose timestamps are this near to what they should be keeps its time line.
const TIME_NEAR: Duration = Duration::from_secs(1);

/// A sender report that is this far from the packets is of a broken clock.
const REFERENCE_NEAR: Duration = Duration::from_secs(2);

/// After this long without a further one a sender report is forgotten: clocks drift.
const REFERENCE_AGE: Duration = Duration::from_secs(60);

/// How much of a timeline passes in `elapsed` (never more than an hour: then nobody remembers).
fn ticks(from: Instant, to: Instant, clock: u32) -> u32 {
    let micros = to.saturating_duration_since(from).as_micros().min(3_600_000_000);
    (micros * u128::from(clock) / 1_000_000) as u32
}

/// Whether two timestamps are less than `distance` apart.
fn near(a: u32, b: u32, clock: u32, distance: Duration) -> bool {
    let apart = u128::from(a.wrapping_sub(b).cast_signed().unsigned_abs());
    apart * 1000 < distance.as_millis() * u128::from(clock)
}

impl Sink {
    /// A sink that has sent nothing. Its first source keeps its numbers, which makes captures of both sides comparable;
    /// only a sequence that begins in the upper half is moved to the lower one, so that a lost first packet cannot hide a
    /// wrap from an SRTP receiver (RFC 3711 §3.3.1).
    pub fn new(ssrc: u32, kind: MediaKind) -> Sink {
        Sink {
            ssrc,
            kind,
            packets: 0,
            octets: 0,
            source: None,
            sequence_offset: 0,
            timestamp_offset: 0,
            last: None,
            reference: None,
            events: None,
            event_clock: None,
            running: false,
            interrupted: false,
            transparent: false,
        }
    }

    /// Leaves packets their SSRC, numbers and times from now on, or not: a controller of the ng protocol expects the
    /// one, whose ends send their own RTCP to each other.
    pub fn set_transparent(&mut self, transparent: bool) {
        if transparent && !self.transparent {
            (self.source, self.sequence_offset) = (None, 0);
        }
        self.transparent = transparent;
    }

    /// Whether packets keep what they came with.
    pub fn is_transparent(&self) -> bool {
        self.transparent
    }

    /// Says what the line carries from now on.
    pub fn set_kind(&mut self, kind: MediaKind) {
        self.kind = kind;
    }

    /// Says that the packets to come have numbers of another kind than those before, though their source is the same: it
    /// was passed on and is now transcoded, or the other way.
    pub fn forget_source(&mut self) {
        self.source = None;
    }

    /// Whether `source` is the one whose packets were sent last.
    pub fn hears(&self, source: Source) -> bool {
        self.source == Some(source)
    }

    /// Gives `header` of a packet from `source` its place in the outgoing stream. Reordered packets keep their order
    /// relative to each other.
    pub fn renumber(&mut self, now: Instant, source: Source, header: &mut Header, map: &PayloadMap) {
        if self.transparent {
            if self.source.replace(source) != Some(source) {
                self.sequence_offset = 0;
            }
            header.payload_type = map.to;
            // Packets of ours were put between those of the source.
            header.sequence_number = header.sequence_number.wrapping_add(self.sequence_offset);
            return self.note(now, header, map.to_clock, map.payload == Payload::Dtmf);
        }
        self.follow(now, source, header, map);
        header.ssrc = self.ssrc;
        header.payload_type = map.to;
        header.sequence_number = header.sequence_number.wrapping_add(self.sequence_offset);
        header.timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        self.note(now, header, map.to_clock, false);
    }

    /// Sees to it that the sequence numbers sent never leap, whatever the source does. A leap of half the circle, after a
    /// long hold or when a phone begins anew under its SSRC, would be a replay to SRTP (RFC 3711 §3.3.1): silence.
    fn follow(&mut self, now: Instant, source: Source, header: &mut Header, map: &PayloadMap) {
        let Some(last) = self.last.filter(|_| self.source == Some(source)) else {
            self.switch(now, header, map);
            self.source = Some(source);
            return;
        };
        let number = header.sequence_number.wrapping_add(self.sequence_offset);
        let ahead = distance(number, last.sequence_number);
        if !(-MAX_MISORDER..MAX_DROPOUT).contains(&ahead) {
            let timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
            let expected = last.timestamp.wrapping_add(ticks(last.at, now, last.clock));
            match last.clock == map.to_clock && near(timestamp, expected, last.clock, TIME_NEAR) {
                true => {
                    let next = last.sequence_number.wrapping_add(1);
                    self.sequence_offset = next.wrapping_sub(header.sequence_number);
                }
                false => self.switch(now, header, map),
            }
        } else if self.interrupted && ahead > 1 {
            // What the end was not to get it did not lose either.
            let next = last.sequence_number.wrapping_add(1);
            self.sequence_offset = next.wrapping_sub(header.sequence_number);
        }
        self.interrupted = false;
    }

    /// Chooses the offsets so that the next packet follows the last one, at its distance in time.
    fn switch(&mut self, now: Instant, header: &mut Header, map: &PayloadMap) {
        let (next, timestamp) = match self.last {
            None => (header.sequence_number & 0x7fff, header.timestamp),
            Some(last) => {
                let clock = if map.payload == Payload::Dtmf { last.clock } else { map.to_clock };
                let elapsed = ticks(last.at, now, clock).max(1);
                (last.sequence_number.wrapping_add(1), last.timestamp.wrapping_add(elapsed))
            }
        };
        self.sequence_offset = next.wrapping_sub(header.sequence_number);
        self.timestamp_offset = timestamp.wrapping_sub(header.timestamp);
        // RFC 3551 §4.1: the marker is where a receiver may adapt its playout delay. In video it ends a frame (§5).
        header.marker |= self.kind == MediaKind::Audio && self.last.is_some();
        self.reference = None;
        self.event_clock = None;
        self.running = false;
    }

    /// As [`Sink::renumber`], for a telephone-event (RFC 4733): its packets keep one timestamp, and its duration is
    /// carried over to the clock of this end. Writes `header` into `packet`.
    ///
    /// # Errors
    /// [`Unusable`]: too short, or a late packet of an earlier event; drop it.
    pub fn renumber_event(
        &mut self,
        now: Instant,
        source: Source,
        packet: &mut Packet,
        header: &mut Header,
        map: &PayloadMap,
    ) -> Result<(), Unusable> {
        self.follow(now, source, header, map);
        let key = (map.to, map.from_clock, map.to_clock);
        if self.events.as_ref().is_none_or(|(known, _)| *known != key) {
            self.events = Some((key, EventRewriter::new(map.to, map.from_clock, map.to_clock)));
        }
        let timestamp = self.event_timestamp(now, header.timestamp, map);
        if let Some((_, events)) = self.events.as_mut() {
            events.rewrite(packet, header, timestamp)?;
        }
        header.ssrc = self.ssrc;
        header.sequence_number = header.sequence_number.wrapping_add(self.sequence_offset);
        header.write(packet.as_mut_slice());
        self.note(now, header, map.to_clock, true);
        Ok(())
    }

    /// Where the sink's time line has an event packet of `timestamp`. Most senders count events on the time line of
    /// their audio, whatever clock the event's payload type has; others by that clock, from somewhere else.
    fn event_timestamp(&mut self, now: Instant, timestamp: u32, map: &PayloadMap) -> u32 {
        let on_audio = timestamp.wrapping_add(self.timestamp_offset);
        let Some(last) = self.last.filter(|_| map.from_clock != map.to_clock) else { return on_audio };
        let expected = last.timestamp.wrapping_add(ticks(last.at, now, last.clock));
        if near(on_audio, expected, last.clock, EVENT_NEAR) {
            return on_audio;
        }
        let clocks = (map.from_clock, last.clock);
        if let Some((known, events)) = self.event_clock.as_mut().filter(|(known, _)| *known == clocks) {
            let mapped = events.map(timestamp);
            if near(mapped, expected, known.1, EVENT_NEAR) {
                return mapped;
            }
        }
        self.event_clock = Some((clocks, ClockMap::new(clocks.0, clocks.1, timestamp, expected)));
        expected
    }

    /// Remembers the newest packet. An event's timestamp stands still, so the time line goes by what came before it.
    fn note(&mut self, now: Instant, header: &Header, clock: u32, event: bool) {
        let sequence_number = header.sequence_number;
        match &mut self.last {
            Some(last) if !is_newer(sequence_number, last.sequence_number) => {}
            Some(last) if event => last.sequence_number = sequence_number,
            last => *last = Some(Last { sequence_number, timestamp: header.timestamp, clock, at: now }),
        }
    }

    /// The SSRC of what is sent: its source's where packets keep that.
    pub fn sent_ssrc(&self) -> u32 {
        self.source.filter(|_| self.transparent).map_or(self.ssrc, |(.., ssrc)| ssrc)
    }

    /// The SSRC and number of a packet put behind all that were sent; the numbers of the source move up by one. `timestamp`
    /// and `clock` are its own, where it is the first.
    pub fn insert(&mut self, now: Instant, timestamp: u32, clock: u32) -> (u32, u16) {
        let first = Last { sequence_number: 0, timestamp, clock, at: now };
        let last = self.last.get_or_insert(first);
        last.sequence_number = last.sequence_number.wrapping_add(1);
        self.sequence_offset = self.sequence_offset.wrapping_add(1);
        let number = last.sequence_number;
        (self.sent_ssrc(), number)
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
        let last = self.last?;
        let young = |at: &Instant| now.saturating_duration_since(*at) < REFERENCE_AGE;
        let (at, timestamp) = self.reference.filter(|(at, _)| young(at)).unwrap_or((last.at, last.timestamp));
        Some(timestamp.wrapping_add(ticks(at, now, last.clock)))
    }

    /// Takes from a sender report of `source` that what was captured at `at` (not after now) has `timestamp` there. It
    /// keeps a peer's sound and picture together at the other end: packets alone tell when they arrived, not when
    /// they were captured. What does not fit the packets is ignored.
    pub fn set_reference(&mut self, source: Source, at: Instant, timestamp: u32) {
        let Some(last) = self.last.filter(|_| self.source == Some(source)) else { return };
        let timestamp = timestamp.wrapping_add(self.timestamp_offset);
        // As the report may be older than the last packet, both are moved to the later of the two moments.
        let reference = timestamp.wrapping_add(ticks(at, last.at, last.clock));
        let packets = last.timestamp.wrapping_add(ticks(last.at, at, last.clock));
        if near(reference, packets, last.clock, REFERENCE_NEAR) {
            self.reference = Some((at, timestamp));
        }
    }

    /// The clock of what is sent in Hz; 0 before the first packet.
    pub fn clock(&self) -> u32 {
        self.last.map_or(0, |last| last.clock)
    }

    /// Says that a packet was really sent; true for the first since the stream began, changed its source or was
    /// interrupted: the end then has no picture to build on.
    pub fn starts(&mut self) -> bool {
        !std::mem::replace(&mut self.running, true)
    }

    /// Says that the end misses a part of the stream from here on: hold, new keys, another branch that is heard.
    pub fn interrupt(&mut self) {
        self.running = false;
        self.interrupted = true;
    }

    /// When the newest packet was sent.
    pub fn last_sent(&self) -> Option<Instant> {
        self.last.map(|last| last.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: PayloadMap =
        PayloadMap { from: 0, to: 8, from_clock: 8000, to_clock: 8000, payload: Payload::Media };

    fn sink() -> Sink {
        Sink::new(77, MediaKind::Audio)
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
    fn what_is_put_between_moves_the_source_up() {
        for transparent in [false, true] {
            let mut sink = sink();
            sink.set_transparent(transparent);
            let now = crate::testing::start();
            let send = |sink: &mut Sink, number| {
                let mut header = Header::new(0, number, u32::from(number) * 160, 5);
                sink.renumber(now, (0, 0, 5), &mut header, &MAP);
                (header.ssrc, header.sequence_number)
            };
            let (ssrc, first) = send(&mut sink, 10);
            let between = sink.insert(now, 0, 8000);
            assert_eq!(between, (ssrc, first.wrapping_add(1)));
            assert_eq!(send(&mut sink, 11), (ssrc, first.wrapping_add(2)));
            assert_eq!(ssrc, if transparent { 5 } else { 77 });
        }
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
    fn a_leap_of_the_source_is_none_at_the_end() {
        let start = crate::testing::start();
        // What came last, what comes next, whether the way was closed between: how far apart they are sent.
        for (before, after, closed, apart) in [
            (10, 11, false, 1),
            (10, 14, false, 4),
            (10, 14, true, 1),
            (10, 9, true, -1),
            (10, 40_000, false, 1),
            (40_000, 10, false, 1),
            (65_530, 2_000, true, 1),
        ] {
            let mut sink = sink();
            let mut first = Header::new(0, before, 160, 1);
            sink.renumber(start, (0, 0, 1), &mut first, &MAP);
            if closed {
                sink.interrupt();
            }
            let mut next = Header::new(0, after, 320, 1);
            sink.renumber(start + Duration::from_millis(20), (0, 0, 1), &mut next, &MAP);
            assert_eq!(
                distance(next.sequence_number, first.sequence_number),
                apart,
                "{before} {after} {closed}"
            );
            assert_eq!(next.timestamp.wrapping_sub(first.timestamp), 160);
        }
    }

    #[test]
    fn numbers_that_begin_anew_leave_the_time_line_where_it_is() {
        let (mut sink, now) = (sink(), crate::testing::start());
        let mut sent = |number, timestamp| {
            let mut header = Header::new(0, number, timestamp, 1);
            sink.renumber(now, (0, 0, 1), &mut header, &MAP);
            (header.sequence_number, header.timestamp, header.marker)
        };
        let (first, time, _) = sent(2011, 5760);
        assert_eq!(sent(62_011, 5920), (first + 1, time + 160, false));
        assert_eq!(sent(62_012, 6080), (first + 2, time + 320, false));
        // With the timestamps gone as well, only the clock tells.
        assert_eq!(sent(9, 1_000_000), (first + 3, time + 321, true));
    }

    #[test]
    fn an_event_is_rescaled_and_audio_goes_on_behind_it() {
        let mut sink = sink();
        let start = crate::testing::start();
        let mut audio = Header::new(0, 10, 1600, 1);
        sink.renumber(start, (0, 0, 1), &mut audio, &MAP);
        let map =
            PayloadMap { from: 110, to: 101, from_clock: 48_000, to_clock: 8000, payload: Payload::Dtmf };
        let mut packet = Packet::new();
        Header::new(110, 11, 9_600, 1).start(&mut packet, &[5, 0x0a, 0x12, 0xc0]).expect("it fits");
        let mut event = Header::parse(packet.as_slice()).expect("RTP");
        let later = start + Duration::from_millis(20);
        sink.renumber_event(later, (0, 0, 1), &mut packet, &mut event, &map).expect("usable");
        let sent = Header::parse(packet.as_slice()).expect("RTP");
        assert_eq!(sent.timestamp, audio.timestamp.wrapping_add(160), "on the time line of this end");
        assert_eq!(sent.sequence_number, audio.sequence_number.wrapping_add(1));
        assert_eq!((sent.payload_type, sent.ssrc, sent.marker), (101, 77, true));
        assert_eq!(sent.payload(packet.as_slice()), Ok(&[5, 0x0a, 0x03, 0x20][..]), "4800 units are 800");
        let mut next = Header::new(0, 12, 1920, 1);
        sink.renumber(later, (0, 0, 1), &mut next, &MAP);
        assert_eq!(next.timestamp, audio.timestamp.wrapping_add(320));
    }
}
