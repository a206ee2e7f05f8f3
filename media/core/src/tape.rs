//! A recording in the making: what both sides of a call say, decoded and laid side by side on one time line.
//!
//! It is told packets as they came, out of order and with gaps, and gives samples once no packet can change them any more.

mod ear;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::ear::Ear;
use crate::codec::Format;
use crate::rtp::Header;

/// Samples per second.
pub const RATE: u32 = 16_000;

/// What lies so far back is not changed any more.
const WINDOW: Duration = Duration::from_secs(1);

/// A stream whose time line is so far from the clock is put back on it.
const DRIFT: i64 = RATE as i64;

/// Frames that are given at once.
const CHUNK: usize = 4096;

/// Sources of one side that are decoded at the same time; more than any call has.
const MAX_SOURCES: usize = 8;

/// One stream of a side.
struct Source {
    ssrc: u32,
    heard: Instant,
    ear: Ear,
    /// From its time line to that of the recording.
    offset: Option<i64>,
}

/// What one side says.
#[derive(Default)]
struct Side {
    sources: Vec<Source>,
    /// From the frame that is given next.
    samples: VecDeque<i16>,
}

/// Two sides of a call. Side 0 is the caller.
pub struct Tape {
    start: Instant,
    /// Frames that were given.
    given: u64,
    sides: [Side; 2],
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("given", &self.given).finish_non_exhaustive()
    }
}

impl Tape {
    /// Begins now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { start: now, given: 0, sides: Default::default() }
    }

    /// Takes an RTP packet that a side sent at `now`.
    pub fn take(&mut self, now: Instant, side: usize, format: Format, header: Header, payload: &[u8]) {
        let arrival = self.frame(now);
        let (given, side) = (self.given, &mut self.sides[side.min(1)]);
        let Some(at) = side.source(now, format, &header) else { return };
        let Side { sources, samples } = side;
        let Some(source) = sources.get_mut(at) else { return };
        source.heard = now;
        let offset = &mut source.offset;
        source.ear.take(now, format, header, payload, &mut |timestamp, sound| {
            let at = i64::from(timestamp);
            let place = offset.map_or(i64::MAX, |offset| at + offset);
            let due = arrival as i64 - (sound.len() / 2) as i64;
            let place = if (place.saturating_sub(due)).abs() > DRIFT {
                *offset = Some(due - at);
                due
            } else {
                place
            };
            lay(samples, place - given as i64, sound);
        });
    }

    /// Gives what will not change any more, as frames of one sample of either side.
    pub fn give(&mut self, now: Instant, give: &mut dyn FnMut(&[[i16; 2]])) {
        let until = now.checked_sub(WINDOW).map_or(0, |until| self.frame(until));
        self.give_until(until, give);
    }

    /// Gives all the rest up to `now`.
    pub fn finish(&mut self, now: Instant, give: &mut dyn FnMut(&[[i16; 2]])) {
        self.give_until(self.frame(now), give);
    }

    fn give_until(&mut self, until: u64, give: &mut dyn FnMut(&[[i16; 2]])) {
        let mut frames = Vec::with_capacity(CHUNK);
        while self.given < until {
            let count = usize::try_from(until - self.given).unwrap_or(CHUNK).min(CHUNK);
            frames.clear();
            frames.extend(
                (0..count)
                    .map(|_| [0, 1].map(|side: usize| self.sides[side].samples.pop_front().unwrap_or(0))),
            );
            self.given += count as u64;
            give(&frames);
        }
    }

    /// Where a moment lies on the recording.
    fn frame(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.start).as_micros();
        u64::try_from(micros * u128::from(RATE) / 1_000_000).unwrap_or(u64::MAX)
    }
}

impl Side {
    /// The place of the stream that a packet belongs to; `None` when its codec cannot be decoded.
    fn source(&mut self, now: Instant, format: Format, header: &Header) -> Option<usize> {
        if let Some(at) = self.sources.iter().position(|source| source.ssrc == header.ssrc) {
            return Some(at);
        }
        let ear = Ear::new(format, RATE)?;
        if self.sources.len() >= MAX_SOURCES {
            let oldest = (0..self.sources.len()).min_by_key(|at| self.sources[*at].heard)?;
            self.sources.swap_remove(oldest);
        }
        self.sources.push(Source { ssrc: header.ssrc, heard: now, ear, offset: None });
        Some(self.sources.len() - 1)
    }
}

/// Adds linear sound, most significant octet first, at a place of the samples to come; what lies before them is late.
fn lay(samples: &mut VecDeque<i16>, place: i64, sound: &[u8]) {
    let late = usize::try_from(-place).unwrap_or(0);
    let start = usize::try_from(place).unwrap_or(0);
    let heard = sound.chunks_exact(2).skip(late);
    let end = start + heard.len();
    if samples.len() < end {
        samples.resize(end, 0);
    }
    for (sample, octets) in samples.iter_mut().skip(start).zip(heard) {
        *sample = sample.saturating_add(i16::from_be_bytes([octets[0], octets[1]]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Coding, OpusParameters, g711};

    const PCMU: Format = Format {
        coding: Coding::Pcmu,
        clock: 8000,
        ptime: 20,
        opus: OpusParameters {
            fec: false,
            dtx: false,
            constant_bit_rate: false,
            max_playback_rate: 48_000,
            max_average_bit_rate: 510_000,
        },
    };

    fn tone(at: u32, frequency: f64) -> Vec<u8> {
        let sample = |at: u32| {
            let turn = 2.0 * std::f64::consts::PI * frequency * f64::from(at) / 8000.0;
            g711::encode_ulaw((turn.sin() * 10_000.0) as i16)
        };
        (at..at + 160).map(sample).collect()
    }

    fn power(samples: &[i16], frequency: f64) -> f64 {
        let turn = 2.0 * std::f64::consts::PI * frequency / f64::from(RATE);
        let part = |wave: fn(f64) -> f64| {
            samples.iter().enumerate().map(|(at, it)| f64::from(*it) * wave(turn * at as f64)).sum::<f64>()
        };
        part(f64::cos).hypot(part(f64::sin)) * 2.0 / samples.len() as f64
    }

    struct Bench {
        tape: Tape,
        start: Instant,
        frames: Vec<[i16; 2]>,
    }

    impl Bench {
        fn new() -> Self {
            let start = crate::testing::start();
            Self { tape: Tape::new(start), start, frames: Vec::new() }
        }

        fn say(&mut self, millis: u64, side: usize, number: u32, ssrc: u32, frequency: f64) {
            let now = self.start + Duration::from_millis(millis);
            let timestamp = number.wrapping_mul(160).wrapping_add(u32::MAX - 8000);
            let header = Header::new(0, number as u16, timestamp, ssrc);
            self.tape.take(now, side, PCMU, header, &tone(number * 160, frequency));
            let frames = &mut self.frames;
            self.tape.give(now, &mut |more| frames.extend_from_slice(more));
        }

        fn finish(mut self, millis: u64) -> [Vec<i16>; 2] {
            let frames = &mut self.frames;
            let now = self.start + Duration::from_millis(millis);
            self.tape.finish(now, &mut |more| frames.extend_from_slice(more));
            [0, 1].map(|side| self.frames.iter().map(|frame| frame[side]).collect())
        }
    }

    #[test]
    fn each_side_is_heard_on_its_own_at_its_time() {
        let mut bench = Bench::new();
        for number in 0..100 {
            let millis = u64::from(number) * 20;
            bench.say(millis + 20, 0, number, 1, 400.0);
            if number >= 50 {
                bench.say(millis + 20, 1, number, 2, 1000.0);
            }
        }
        let [caller, callee] = bench.finish(2000);
        assert_eq!((caller.len(), callee.len()), (32_000, 32_000));
        assert!((power(&caller[4000..28_000], 400.0) - 10_000.0).abs() < 300.0);
        assert!(power(&caller[4000..28_000], 1000.0) < 50.0);
        assert!(callee[..15_000].iter().all(|sample| *sample == 0), "before it spoke");
        assert!((power(&callee[18_000..28_000], 1000.0) - 10_000.0).abs() < 300.0);
    }

    #[test]
    fn what_is_out_of_order_late_or_lost_leaves_the_time_line_alone() {
        let mut bench = Bench::new();
        for number in (0..200u32).filter(|number| number % 10 != 7) {
            // Every tenth changes its place with the one behind it.
            let number = match number % 10 {
                2 => number + 1,
                3 => number - 1,
                _ => number,
            };
            bench.say(u64::from(number) * 20 + 20, 0, number, 1, 400.0);
        }
        let [caller, _] = bench.finish(4000);
        assert_eq!(caller.len(), 64_000);
        assert!((power(&caller[4000..60_000], 400.0) - 10_000.0).abs() < 1500.0);
    }

    #[test]
    fn two_of_a_side_are_mixed_and_hostile_timestamps_go_nowhere() {
        let mut bench = Bench::new();
        for number in 0..150u32 {
            let millis = u64::from(number) * 20 + 20;
            bench.say(millis, 1, number, 1, 400.0);
            bench.say(millis, 1, number, 2, 1000.0);
            // A stream that leaps 25 s with each packet, under many names.
            bench.say(millis, 0, number.wrapping_mul(1250), number % 20, 700.0);
            assert!(bench.tape.sides.iter().all(|side| side.samples.len() < 4 * RATE as usize));
            assert!(bench.tape.sides.iter().all(|side| side.sources.len() <= MAX_SOURCES));
        }
        let [_, callee] = bench.finish(3000);
        for frequency in [400.0, 1000.0] {
            assert!((power(&callee[4000..44_000], frequency) - 10_000.0).abs() < 500.0, "{frequency}");
        }
    }

    #[test]
    fn a_long_silence_is_given_in_pieces() {
        let mut bench = Bench::new();
        bench.say(20, 0, 0, 1, 400.0);
        let mut most = 0;
        let mut all = 0;
        let hour = bench.start + Duration::from_secs(3600);
        bench.tape.finish(hour, &mut |frames| {
            most = most.max(frames.len());
            all += frames.len();
        });
        assert_eq!((most, all), (CHUNK, 3600 * RATE as usize));
    }
}
