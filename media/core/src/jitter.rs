//! Brings packets into the order in which they were sent, without holding back a stream that is in order.
//!
//! Only behind a gap packets wait: until the missing one comes, or has had its time.

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
}
