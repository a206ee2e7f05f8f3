//! Recognises the keys in a stream of event packets and tells each once.

use std::time::{Duration, Instant};

use super::Event;
use super::segment::{Incoming, Relation};
use crate::rtp::Header;

/// After this long without a packet the event is over: its ends were lost. Senders repeat at most every 50 ms.
const SILENCE: Duration = Duration::from_millis(250);

/// A key that was pressed and let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Event code; [`super::digit_of`] gives the key.
    pub code: u8,
    /// Power in dBm0 below 0.
    pub volume: u8,
    /// How long it was held, as far as the packets told.
    pub duration: Duration,
}

/// Recognises keys in the telephone-events of one received stream.
#[derive(Debug, Clone)]
pub struct Detector {
    clock_rate: u32,
    current: Option<Incoming>,
    last_packet: Option<Instant>,
}

impl Detector {
    /// `clock_rate` in Hz is that of the telephone-event (0 is taken as 8000).
    #[must_use]
    pub const fn new(clock_rate: u32) -> Self {
        let clock_rate = if clock_rate == 0 { 8000 } else { clock_rate };
        Self { clock_rate, current: None, last_packet: None }
    }

    /// Takes an event packet as received, before it is rewritten. Gives the keys that are finished by it: that of an
    /// event without end that another one follows, and its own at its first end.
    pub fn on_packet(
        &mut self,
        now: Instant,
        header: &Header,
        event: Event,
    ) -> impl Iterator<Item = Finished> + use<> {
        let stale = self.clock_rate.saturating_mul(5).min(i32::MAX as u32);
        let relation =
            self.current.as_ref().map_or(Relation::New, |current| current.relation(header, event, stale));
        let mut finished = [None, None];
        match (relation, &mut self.current) {
            (Relation::Same, Some(current)) => {
                let was_ended = current.ended;
                current.update(header, event);
                finished[1] = (!was_ended && event.end).then(|| finish(current, self.clock_rate));
                self.last_packet = Some(now);
            }
            (Relation::Stale, _) => {}
            (_, current) => {
                let before = current.replace(Incoming::new(header, event));
                finished[0] = before.filter(|before| !before.ended).map(|b| finish(&b, self.clock_rate));
                finished[1] =
                    current.as_ref().filter(|_| event.end).map(|current| finish(current, self.clock_rate));
                self.last_packet = Some(now);
            }
        }
        finished.into_iter().flatten()
    }

    /// When [`Detector::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let current = self.current.as_ref()?;
        if current.ended { None } else { self.last_packet.map(|at| at + SILENCE) }
    }

    /// Gives the key of an event whose ends were all lost.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Finished> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return None;
        }
        let current = self.current.as_mut()?;
        current.ended = true;
        Some(finish(current, self.clock_rate))
    }
}

fn finish(event: &Incoming, clock_rate: u32) -> Finished {
    let duration = Duration::from_secs_f64(event.total() as f64 / f64::from(clock_rate));
    Finished { code: event.code, volume: event.volume, duration }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
mod tests {
    use super::super::EventGenerator;
    use super::*;

    fn press(
        detector: &mut Detector,
        now: Instant,
        code: u8,
        start: u32,
        millis: u64,
        lose: impl Fn(usize) -> bool,
    ) -> Vec<Finished> {
        let mut generator = EventGenerator::new(code, 10, Duration::from_millis(millis), 48_000);
        let packets = std::iter::from_fn(|| generator.next_packet());
        let mut all = Vec::new();
        for (n, p) in packets.enumerate().filter(|(n, _)| !lose(*n)) {
            let mut header = Header::new(101, n as u16, start.wrapping_add(p.timestamp_offset), 1);
            header.marker = p.marker;
            all.extend(detector.on_packet(now + Duration::from_millis(20) * n as u32, &header, p.event));
        }
        all
    }

    fn finished(code: u8, millis: u64) -> Finished {
        Finished { code, volume: 10, duration: Duration::from_millis(millis) }
    }

    #[test]
    fn each_key_is_told_once() {
        let mut d = Detector::new(48_000);
        let now = Instant::now();
        assert_eq!(press(&mut d, now, 1, 0, 100, |_| false), [finished(1, 100)]);
        assert_eq!(press(&mut d, now, 1, 9600, 100, |_| false), [finished(1, 100)], "the same key again");
        assert_eq!(press(&mut d, now, 2, 20_000, 6000, |_| false), [finished(2, 6000)], "five segments");
        assert_eq!(d.poll_timeout(), None);
    }

    #[test]
    fn loss_of_all_but_one_packet_is_enough() {
        let now = Instant::now();
        for kept in 0..7 {
            let mut d = Detector::new(48_000);
            let mut all = press(&mut d, now, 7, 0, 100, |n| n != kept);
            if kept < 4 {
                assert!(all.is_empty());
                let at = d.poll_timeout().unwrap();
                assert_eq!(d.handle_timeout(at - Duration::from_millis(1)), None);
                all.extend(d.handle_timeout(at));
                assert_eq!(d.handle_timeout(at), None);
            }
            assert_eq!(all.len(), 1, "packet {kept}");
            assert_eq!(all[0].code, 7);
        }
    }

    #[test]
    fn an_event_without_end_is_finished_by_the_next() {
        let mut d = Detector::new(48_000);
        let now = Instant::now();
        assert_eq!(press(&mut d, now, 1, 0, 100, |n| n >= 4), []);
        assert_eq!(press(&mut d, now, 2, 9600, 100, |n| n < 4), [finished(1, 80), finished(2, 100)]);
    }

    #[test]
    fn late_packets_tell_nothing() {
        let mut d = Detector::new(48_000);
        let now = Instant::now();
        press(&mut d, now, 1, 0, 100, |_| false);
        press(&mut d, now, 2, 9600, 100, |_| false);
        assert_eq!(press(&mut d, now, 1, 0, 100, |_| false), []);
    }
}
