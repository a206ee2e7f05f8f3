//! Brings packets into the order in which they were sent, without holding back a stream that is in order.
//!
//! Only behind a gap packets wait: until the missing one comes, or has had its time. Where a controller or the operator
//! asks for it, a [`Playout`] holds back more than that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::sequence::distance;

/// How long packets behind a gap wait for what is missing. Networks that reorder do so by less than a packet's time.
const PATIENCE: Duration = Duration::from_millis(20);

/// The most packets that wait.
const MAX_WAITING: usize = 8;

/// As far ahead, or behind, it is another stream (RFC 3550 A.1).
const MAX_DROPOUT: i16 = 3000;
const MAX_MISORDER: i16 = 100;

/// A packet whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InOrder<T> {
    /// The packet.
    pub packet: T,
    /// How many before it never came; `None` when it begins a stream.
    pub lost: Option<u16>,
}

/// Orders the packets of one stream.
#[derive(Debug)]
pub struct Sequencer<T> {
    next: Option<u16>,
    waiting: Vec<(u16, Instant, T)>,
}

impl<T> Default for Sequencer<T> {
    fn default() -> Self {
        Self { next: None, waiting: Vec::with_capacity(MAX_WAITING) }
    }
}

impl<T> Sequencer<T> {
    /// Takes the packet with `number`. Gives it back when its turn is over: it is late, or was there already.
    pub fn put(&mut self, now: Instant, number: u16, packet: T) -> Option<T> {
        let ahead = self.next.map_or(0, |next| distance(number, next));
        if !(-MAX_MISORDER..MAX_DROPOUT).contains(&ahead) {
            // What waits belongs to the stream that ended.
            self.next = None;
            let last = self.waiting.pop().map(|(.., packet)| packet);
            self.waiting.clear();
            self.waiting.push((number, now, packet));
            return last;
        }
        if ahead < 0 || self.waiting.iter().any(|(known, ..)| *known == number) {
            return Some(packet);
        }
        self.waiting.push((number, now, packet));
        None
    }

    /// The next packet whose turn it is.
    pub fn pop(&mut self, now: Instant) -> Option<InOrder<T>> {
        let base = self.next.or_else(|| self.waiting.first().map(|(number, ..)| *number))?;
        let first = (0..self.waiting.len()).min_by_key(|at| distance(self.waiting[*at].0, base))?;
        let number = self.waiting[first].0;
        let lost = self.next.map(|next| number.wrapping_sub(next));
        let patient = self.waiting.len() < MAX_WAITING && self.poll_timeout().is_some_and(|at| now < at);
        if lost.is_some_and(|lost| lost > 0) && patient {
            return None;
        }
        let (.., packet) = self.waiting.swap_remove(first);
        self.next = Some(number.wrapping_add(1));
        Some(InOrder { packet, lost })
    }

    /// When packets that wait have waited enough.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, at, _)| *at + PATIENCE).min()
    }

    /// Forgets the stream: the next packet begins one. Gives what waited.
    pub fn restart(&mut self) -> impl Iterator<Item = T> + '_ {
        self.next = None;
        self.waiting.drain(..).map(|(.., packet)| packet)
    }
}

/// Packets of one stream that are held at most; the oldest goes on before its time.
const MAX_HELD: usize = 600;

/// Timestamps this far from the arrivals are those of a sender that began anew.
const ANEW: Duration = Duration::from_secs(1);

/// By the how manieth part the allowance for unevenness shrinks with every packet that does not need it, and by which the
/// sender's clock is followed.
const SHRINK: u32 = 256;

/// Where the sender's time line lies on ours.
#[derive(Debug, Clone, Copy)]
struct Base {
    /// When a packet of `timestamp` would be there that met no delay but that of the way.
    at: Instant,
    timestamp: u32,
    clock: u32,
}

/// Gives the packets of a stream back at the pace at which they were sent, later by a fixed delay.
#[derive(Debug)]
pub struct Playout<T> {
    delay: Duration,
    /// The most unevenness of arrivals that is evened out.
    most: Duration,
    /// So much is at present.
    spare: Duration,
    base: Option<Base>,
    /// With the time that each has without the delay.
    held: VecDeque<(Instant, T)>,
}

impl<T> Default for Playout<T> {
    fn default() -> Self {
        let (delay, most, spare) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Self { delay, most, spare, base: None, held: VecDeque::new() }
    }
}

impl<T> Playout<T> {
    /// Holds everything for `delay`, also what is held already, and evens out arrivals that are up to `most` late.
    pub fn set(&mut self, delay: Duration, most: Duration) {
        (self.delay, self.most) = (delay, most);
    }

    /// Takes a packet. `clock` is that of its timestamp, Hz. `stands`: its timestamp says nothing of its time, as that of a
    /// telephone-event (RFC 4733 §2.2.1).
    pub fn put(&mut self, now: Instant, timestamp: u32, clock: u32, stands: bool, packet: T) {
        let due = match self.most.is_zero() {
            true => now,
            false if stands => now + self.spare,
            false => self.due(now, timestamp, clock.max(1)),
        };
        // What stands still comes behind what came before it.
        let later = |(at, _): &&(Instant, T)| if stands { false } else { *at > due };
        let at = self.held.len() - self.held.iter().rev().take_while(later).count();
        let due = self.held.back().map_or(due, |(last, _)| if stands { due.max(*last) } else { due });
        self.held.insert(at, (due, packet));
    }

    /// When the packet is to go on.
    fn due(&mut self, now: Instant, timestamp: u32, clock: u32) -> Instant {
        let base = self.base.filter(|base| base.clock == clock);
        let Some((expected, base)) = base.and_then(|base| Some((expected(base, timestamp)?, base))) else {
            return self.begin(now, timestamp, clock);
        };
        let late = now.saturating_duration_since(expected);
        if late > ANEW || expected.saturating_duration_since(now) > ANEW {
            return self.begin(now, timestamp, clock);
        }
        // Who is early met less delay than any before; and a clock that is slow is followed.
        let at = expected.min(now) + late / SHRINK;
        self.base = Some(Base { at, timestamp, ..base });
        self.spare = (self.spare - self.spare / SHRINK).max(late).min(self.most);
        expected.min(now) + self.spare
    }

    fn begin(&mut self, now: Instant, timestamp: u32, clock: u32) -> Instant {
        self.base = Some(Base { at: now, timestamp, clock });
        self.spare = Duration::ZERO;
        now
    }

    /// The next packet whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let due = self.poll_timeout().is_some_and(|at| at <= now) || self.held.len() > MAX_HELD;
        if due { self.held.pop_front().map(|(_, packet)| packet) } else { None }
    }

    /// When [`Playout::pop`] gives the next one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held.front().map(|(at, _)| *at + self.delay)
    }
}

/// When a packet of `timestamp` would be there; `None` where it is no neighbour of the base's.
fn expected(base: Base, timestamp: u32) -> Option<Instant> {
    let ahead = timestamp.wrapping_sub(base.timestamp).cast_signed();
    let time = Duration::from_micros(u64::from(ahead.unsigned_abs()) * 1_000_000 / u64::from(base.clock));
    if time > 60 * ANEW {
        return None;
    }
    if ahead < 0 { base.at.checked_sub(time) } else { base.at.checked_add(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts numbers in at their milliseconds; what comes out, with what was lost before it, and what was given back.
    fn order(arrivals: &[(u64, u16)]) -> (Vec<(u16, u16)>, Vec<u16>) {
        let start = crate::testing::start();
        let (mut sequencer, mut out, mut back) = (Sequencer::default(), Vec::new(), Vec::new());
        for (at, number) in arrivals {
            let now = start + Duration::from_millis(*at);
            while sequencer.poll_timeout().is_some_and(|at| at <= now)
                && let Some(it) = sequencer.pop(now)
            {
                out.push((it.packet, it.lost.unwrap_or(0)));
            }
            back.extend(sequencer.put(now, *number, *number));
            while let Some(it) = sequencer.pop(now) {
                out.push((it.packet, it.lost.unwrap_or(0)));
            }
        }
        (out, back)
    }

    #[test]
    fn packets_take_their_turns() {
        for (arrivals, expected, back) in [
            (vec![(0, 5), (20, 6), (40, 7)], vec![(5, 0), (6, 0), (7, 0)], vec![]),
            (vec![(0, 5), (20, 7), (25, 6)], vec![(5, 0), (6, 0), (7, 0)], vec![]),
            (vec![(0, 65_534), (20, 0), (25, 65_535)], vec![(65_534, 0), (65_535, 0), (0, 0)], vec![]),
            // Lost: the next waits no longer than one packet's time.
            (vec![(0, 5), (20, 7), (40, 8)], vec![(5, 0), (7, 1), (8, 0)], vec![]),
            (vec![(0, 5), (20, 8), (40, 6), (41, 9)], vec![(5, 0), (8, 2), (9, 0)], vec![6]),
            // Twice the same.
            (vec![(0, 5), (1, 5), (20, 7), (21, 7), (22, 6)], vec![(5, 0), (6, 0), (7, 0)], vec![5, 7]),
            // Another stream under the same name.
            (vec![(0, 5), (20, 40_000), (40, 40_001)], vec![(5, 0), (40_000, 0), (40_001, 0)], vec![]),
        ] {
            assert_eq!(order(&arrivals), (expected, back), "{arrivals:?}");
        }
    }

    #[test]
    fn no_more_wait_than_the_bound() {
        let now = crate::testing::start();
        let mut sequencer = Sequencer::default();
        sequencer.put(now, 0, 0);
        assert!(sequencer.pop(now).is_some());
        for number in 2..2 + MAX_WAITING as u16 {
            assert_eq!(sequencer.pop(now), None);
            assert_eq!(sequencer.put(now, number, number), None);
        }
        assert_eq!(sequencer.pop(now), Some(InOrder { packet: 2, lost: Some(1) }));
        assert_eq!(sequencer.restart().count(), MAX_WAITING - 1);
    }

    /// Plays packets out: each at its millisecond with its number and timestamp. What goes on, when.
    fn play(playout: &mut Playout<u16>, arrivals: &[(u64, u16, u32)]) -> Vec<(u64, u16)> {
        let start = crate::testing::start();
        let mut out = Vec::new();
        let mut drain = |playout: &mut Playout<u16>, until: Instant| {
            while let Some(at) = playout.poll_timeout().filter(|at| *at <= until) {
                let number = playout.pop(at).expect("due");
                out.push((at.saturating_duration_since(start).as_millis() as u64, number));
            }
        };
        for (at, number, timestamp) in arrivals {
            let now = start + Duration::from_millis(*at);
            drain(playout, now);
            playout.put(now, *timestamp, 8000, false, *number);
        }
        drain(playout, start + Duration::from_secs(3600));
        out
    }

    #[test]
    fn uneven_arrivals_go_on_evenly() {
        let mut playout = Playout::default();
        playout.set(Duration::ZERO, Duration::from_millis(200));
        // Up to 60 ms late, some overtaking others.
        let late = [0, 13, 60, 22, 5, 0, 41, 59, 8, 30];
        let mut arrivals: Vec<(u64, u16, u32)> = (0..500u32)
            .map(|n| (u64::from(n) * 20 + late[n as usize % 10], n as u16, (n * 160).wrapping_sub(8000)))
            .collect();
        arrivals.sort();
        let out = play(&mut playout, &arrivals);
        let steady = &out[50..];
        for pair in steady.windows(2) {
            assert_eq!(pair[1].1, pair[0].1 + 1, "in order");
            assert!((17..=23).contains(&(pair[1].0 - pair[0].0)), "{pair:?}");
        }
        // No later than the latest need be.
        assert!(steady.iter().all(|(at, n)| (at - u64::from(*n) * 20) <= 64));
    }

    #[test]
    fn a_clock_that_is_slow_or_fast_is_followed() {
        for drift in [-1i64, 1] {
            let mut playout = Playout::default();
            playout.set(Duration::ZERO, Duration::from_millis(200));
            // One millisecond in two seconds: 500 parts in a million.
            let arrivals: Vec<(u64, u16, u32)> = (0..60_000i64)
                .map(|n| ((100_000 + n * 20 + drift * (n / 100)) as u64, n as u16, n as u32 * 160))
                .collect();
            let out = play(&mut playout, &arrivals);
            for ((arrived, ..), (left, _)) in arrivals.iter().zip(&out) {
                assert!(left - arrived <= 10, "{arrived} {left}");
            }
        }
    }

    #[test]
    fn a_fixed_delay_is_exact_and_ends_at_once() {
        let mut playout = Playout::default();
        playout.set(Duration::from_millis(100), Duration::ZERO);
        let out = play(&mut playout, &[(0, 1, 0), (20, 2, 160), (25, 3, 7), (26, 3, 7)]);
        assert_eq!(out, [(100, 1), (120, 2), (125, 3), (126, 3)], "as it came, twice what came twice");
        let now = crate::testing::start();
        (0..5).for_each(|n| playout.put(now, n, 8000, false, n as u16));
        assert_eq!(playout.pop(now), None);
        playout.set(Duration::ZERO, Duration::ZERO);
        let flushed: Vec<u16> = std::iter::from_fn(|| playout.pop(now)).collect();
        assert_eq!(flushed, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_stream_that_begins_anew_is_not_held_up() {
        let mut playout = Playout::default();
        playout.set(Duration::ZERO, Duration::from_millis(200));
        let out = play(&mut playout, &[(0, 1, 0), (20, 2, 160), (40, 3, 1 << 31), (60, 4, (1 << 31) + 160)]);
        assert_eq!(out, [(0, 1), (20, 2), (40, 3), (60, 4)]);
        let now = crate::testing::start();
        // Events stand still on the time line and stay behind what came before them.
        playout.put(now, 0, 8000, false, 1);
        for n in 2..5 {
            playout.put(now + Duration::from_millis(u64::from(n) * 20), 160, 8000, true, n);
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(std::iter::from_fn(|| playout.pop(later)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn no_more_is_held_than_the_bound() {
        let now = crate::testing::start();
        let mut playout = Playout::default();
        playout.set(Duration::from_secs(10), Duration::ZERO);
        let mut out = 0;
        for n in 0..5000u16 {
            playout.put(now, u32::from(n), 8000, false, n);
            out += usize::from(playout.pop(now).is_some());
        }
        assert_eq!(out, 5000 - MAX_HELD);
    }
}
