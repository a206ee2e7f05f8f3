//! Keys put into a running stream of sound: each packet of it is asked what becomes of it.
//!
//! The stream's own timestamps are the clock, so keys and sound never overlap, whatever the network did to their order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::tone::Tone;
use super::{Event, PACKET_TIME};

/// Keys that wait for their turn.
const MAX_QUEUED: usize = 64;

/// A stream that is silent for so long will not carry the key: its packets are then made by the clock.
const PATIENCE: Duration = Duration::from_millis(60);

/// The last packet is sent three times (RFC 4733 §2.5.1.4).
pub const END_PACKETS: u8 = 3;

/// One key to be pressed (ng `play DTMF`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// Event code, 0 to 15.
    pub code: u8,
    /// dB below full scale, 0 to 63.
    pub volume: u8,
    /// How long it is held.
    pub duration: Duration,
    /// Before the next one.
    pub pause: Duration,
}

/// What takes the place of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// The first of its event.
    pub marker: bool,
    /// The event's timestamp.
    pub timestamp: u32,
    /// The payload; at its end it goes out [`END_PACKETS`] times.
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// No key is under way.
    Idle,
    /// It is held since this timestamp.
    Held(Digit, u32),
    /// It was let go at this timestamp.
    Paused(Digit, u32),
}

/// The keys that are put into one stream.
#[derive(Debug)]
pub struct Injection {
    queue: VecDeque<Digit>,
    state: State,
    /// As tones, not as events.
    in_band: bool,
    clock: u32,
    /// When the clock takes over.
    due: Instant,
    /// The timestamp of the packet that came last.
    newest: u32,
}

impl Injection {
    /// For a stream of `clock` Hz that is at `timestamp`.
    #[must_use]
    pub fn new(now: Instant, in_band: bool, clock: u32, timestamp: u32) -> Self {
        let (queue, state) = (VecDeque::new(), State::Idle);
        Self { queue, state, in_band, clock: clock.max(1000), due: now + PATIENCE, newest: timestamp }
    }

    /// Presses a key when those before it are through; false when too many wait.
    pub fn push(&mut self, digit: Digit) -> bool {
        let room = self.queue.len() < MAX_QUEUED;
        if room {
            self.queue.push_back(digit);
        }
        room
    }

    /// Whether keys are put in as tones.
    #[must_use]
    pub const fn is_in_band(&self) -> bool {
        self.in_band
    }

    /// Whether there is nothing left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Idle && self.queue.is_empty()
    }

    /// When the clock must make the next packet of an event; `None` for tones, which need a stream.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.in_band && !self.is_over()).then_some(self.due)
    }

    /// The timestamp at which the clock's next packet lies.
    #[must_use]
    pub const fn next_timestamp(&self) -> u32 {
        self.newest.wrapping_add(self.units(PACKET_TIME))
    }

    /// What takes the place of a packet at `timestamp` that lasts `units`; `None` when it passes.
    pub fn event(&mut self, now: Instant, timestamp: u32, units: u32, by_clock: bool) -> Option<Said> {
        self.newest = timestamp;
        self.due = now + if by_clock { PACKET_TIME } else { PATIENCE };
        let (digit, start) = self.held_at(timestamp)?;
        let gone = timestamp.wrapping_sub(start);
        let end = gone >= self.units(digit.duration);
        if end {
            self.state = State::Paused(digit, timestamp);
        }
        let duration = u16::try_from(gone.saturating_add(units)).unwrap_or(u16::MAX);
        let event = Event { code: digit.code, end, volume: digit.volume, duration };
        Some(Said { marker: gone == 0, timestamp: start, event })
    }

    /// The sample that takes the place of the one at `timestamp`; `None` when that passes.
    pub fn sample(&mut self, timestamp: u32) -> Option<i16> {
        let (digit, start) = match self.held_at(timestamp) {
            Some(held) => held,
            // Tones of two keys must not run together, nor into what else is said.
            None => return matches!(self.state, State::Paused(..)).then_some(0),
        };
        let gone = timestamp.wrapping_sub(start);
        if gone >= self.units(digit.duration) {
            self.state = State::Paused(digit, timestamp);
            return Some(0);
        }
        Some(Tone::new(digit.code, digit.volume).map_or(0, |tone| tone.sample(gone, self.clock)))
    }

    /// The key that is held at `timestamp`, and since when.
    fn held_at(&mut self, timestamp: u32) -> Option<(Digit, u32)> {
        match self.state {
            State::Held(digit, start) if self.is_plausible(timestamp, start) => return Some((digit, start)),
            // Another source began: its time line is its own.
            State::Held(digit, _) => {
                self.state = State::Held(digit, timestamp);
                return Some((digit, timestamp));
            }
            State::Paused(digit, since) if timestamp.wrapping_sub(since) < self.units(digit.pause) => {
                return None;
            }
            State::Paused(..) | State::Idle => self.state = State::Idle,
        }
        let digit = self.queue.pop_front()?;
        self.state = State::Held(digit, timestamp);
        Some((digit, timestamp))
    }

    fn is_plausible(&self, timestamp: u32, start: u32) -> bool {
        timestamp.wrapping_sub(start) < self.clock.saturating_mul(30)
    }

    const fn units(&self, time: Duration) -> u32 {
        (time.as_millis() as u64 * self.clock as u64 / 1000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn digit(code: u8, millis: u64, pause: u64) -> Digit {
        Digit {
            code,
            volume: 10,
            duration: Duration::from_millis(millis),
            pause: Duration::from_millis(pause),
        }
    }

    /// What becomes of packets of 20 ms: the code and duration of the event, and whether it ends; 0 for sound.
    fn events(digits: &[Digit], packets: u32) -> Vec<(u8, u16, bool)> {
        let now = crate::testing::start();
        let mut injection = Injection::new(now, false, 8000, 0);
        digits.iter().for_each(|digit| assert!(injection.push(*digit)));
        let start = u32::MAX - 500;
        let said: Vec<_> = (0..packets)
            .map(|at| match injection.event(now, start.wrapping_add(160 * at), 160, false) {
                Some(said) => (said.event.code, said.event.duration, said.event.end),
                None => (255, 0, false),
            })
            .collect();
        assert!(injection.is_over());
        said
    }

    #[test]
    fn an_event_takes_the_place_of_sound_and_ends_behind_its_duration() {
        let sound = (255, 0, false);
        let held = |code| (1..=5).map(move |at| (code, 160 * at, false));
        let expected: Vec<_> = held(1)
            .chain([(1, 960, true)])
            .chain([sound; 4])
            .chain(held(11))
            .chain([(11, 960, true)])
            .chain([sound; 6])
            .collect();
        assert_eq!(events(&[digit(1, 100, 100), digit(11, 100, 100)], 22), expected);
    }

    #[test]
    fn a_tone_is_exact_to_the_sample() {
        let mut injection = Injection::new(crate::testing::start(), true, 8000, 0);
        injection.push(digit(5, 120, 110));
        let said: Vec<_> = (0..2000).map(|at| injection.sample(at)).collect();
        let tone = Tone::new(5, 10).unwrap();
        assert!((0..960).all(|at| said[at as usize] == Some(tone.sample(at, 8000))));
        assert!((960..1840).all(|at| said[at] == Some(0)));
        assert!((1840..2000).all(|at| said[at].is_none()));
        assert!(injection.is_over());
    }

    #[test]
    fn a_source_that_begins_anew_lets_the_key_go_all_the_same() {
        let now = crate::testing::start();
        let mut injection = Injection::new(now, false, 8000, 0);
        injection.push(digit(5, 100, 100));
        assert!(injection.event(now, 1000, 160, false).is_some());
        let mut said = Vec::new();
        for at in 0..20 {
            said.extend(injection.event(now, 900_000_000 + 160 * at, 160, false));
        }
        assert_eq!(said.iter().filter(|it| it.event.end).count(), 1);
        assert!(injection.is_over());
    }

    #[test]
    fn keys_are_bounded_and_the_clock_waits_for_the_stream() {
        let now = crate::testing::start();
        let mut injection = Injection::new(now, false, 8000, 0);
        assert_eq!(injection.poll_timeout(), None);
        let taken = (0..2 * MAX_QUEUED).filter(|_| injection.push(digit(1, 100, 100))).count();
        assert_eq!((taken, injection.poll_timeout()), (MAX_QUEUED, Some(now + PATIENCE)));
        injection.event(now, 0, 160, false);
        assert_eq!(injection.poll_timeout(), Some(now + PATIENCE));
        injection.event(now, injection.next_timestamp(), 160, true);
        assert_eq!(injection.poll_timeout(), Some(now + PACKET_TIME));
    }
}
