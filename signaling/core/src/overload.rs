//! When to refuse what is new, so that what was begun can be finished.
//!
//! A queue that is served later than it fills only makes everybody wait: past the patience of the callers, who ask again,
//! all work is for nothing. So the sign of overload is the time that a message has waited. A stall of the machine is none:
//! what has piled up in it is soon done. Only when messages keep coming out late are new requests refused, which costs a
//! small part of serving them. Those that wait for the database are counted as well ([`Door`]).

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long messages must keep coming out late. Shorter than it, a burst is worked off; longer, callers ask again.
const INTERVAL: Duration = Duration::from_millis(100);

/// Requests before a door for which it is not worth asking how long they will wait.
const FEW: usize = 64;

/// Watches one worker's queue.
#[derive(Debug)]
pub struct Overload {
    max_delay: Duration,
    /// Since when every message has come out late.
    late_since: Option<Instant>,
    late: bool,
}

impl Overload {
    /// Late is what waits for longer than `max_delay`.
    #[must_use]
    pub const fn new(max_delay: Duration) -> Self {
        Self { max_delay, late_since: None, late: false }
    }

    /// A message has `waited` until `now`.
    pub fn note(&mut self, now: Instant, waited: Duration) {
        if waited < self.max_delay {
            (self.late_since, self.late) = (None, false);
            return;
        }
        let since = *self.late_since.get_or_insert(now);
        self.late |= now.saturating_duration_since(since) >= INTERVAL;
    }

    /// Whether messages keep coming out late.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.late
    }

    /// Whether one who joins the line before `door` would wait too long.
    #[must_use]
    pub fn is_too_long(&self, door: &Door) -> bool {
        door.pending.get() >= FEW && door.expected() > self.max_delay
    }
}

/// How long the line before a door of [`crate::outside`] is, told by those who have come through: by the time that a long wait
/// shows in itself, the line has grown for just as long.
#[derive(Debug, Default)]
pub struct Door {
    pending: Cell<usize>,
    /// What each of the line costs those behind, on average.
    each: Cell<Duration>,
}

impl Door {
    /// Waits for `answer`, which others ask for as well. `now` tells the time.
    pub async fn pass<T>(&self, now: impl Fn() -> Instant, answer: impl Future<Output = T>) -> T {
        let (ahead, begun) = (self.pending.get(), now());
        self.pending.set(ahead + 1);
        let answer = answer.await;
        self.pending.set(self.pending.get().saturating_sub(1));
        let waited = now().saturating_duration_since(begun);
        let each = waited / u32::try_from(ahead + 1).unwrap_or(u32::MAX);
        self.each.set((7 * self.each.get() + each) / 8);
        answer
    }

    /// How long the next one will wait.
    fn expected(&self) -> Duration {
        self.each.get() * u32::try_from(self.pending.get() + 1).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::task::Poll;

    use futures_util::FutureExt as _;

    use super::*;

    /// An answer that is there once it is set.
    async fn until(answered: &Cell<bool>) {
        poll_fn(|_| if answered.get() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)]
        Instant::now()
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_what_stays_late_is_overload() {
        let start = start();
        let mut overload = Overload::new(ms(500));
        let mut note = |at, waited| {
            overload.note(start + ms(at), ms(waited));
            overload.is_late()
        };
        // A stall: all at once, and then no more.
        assert!(!note(1000, 900) && !note(1050, 800) && !note(1090, 100));
        // Load that stays.
        assert!(!note(2000, 500) && !note(2099, 600));
        assert!(note(2100, 600) && note(2101, 600));
        assert!(!note(2500, 499) && !note(2501, 600));
    }

    #[test]
    fn a_long_line_is_seen_while_it_grows() {
        let (start, time) = (start(), Cell::new(0));
        let now = || start + ms(time.get());
        let (overload, door) = (Overload::new(ms(500)), Door::default());
        // One that is slow by itself is no line.
        let answered = Cell::new(false);
        let mut waiting = Box::pin(door.pass(now, until(&answered)));
        assert!(waiting.as_mut().now_or_never().is_none());
        time.set(3000);
        answered.set(true);
        assert!(waiting.as_mut().now_or_never().is_some());
        assert!(!overload.is_too_long(&door));
        // A hundred wait, and one comes through every 10 ms: whoever joins them waits for a second.
        let answers = vec![Cell::new(false); 100];
        let mut line: VecDeque<_> =
            answers.iter().map(|answer| Box::pin(door.pass(now, until(answer)))).collect();
        for one in &mut line {
            assert!(one.as_mut().now_or_never().is_none());
        }
        for answer in answers.iter().take(30) {
            time.set(time.get() + 10);
            answer.set(true);
            assert!(line.pop_front().unwrap().as_mut().now_or_never().is_some());
        }
        assert!(overload.is_too_long(&door), "{door:?}");
        for answer in answers.iter().skip(30).take(50) {
            time.set(time.get() + 10);
            answer.set(true);
            assert!(line.pop_front().unwrap().as_mut().now_or_never().is_some());
        }
        assert!(!overload.is_too_long(&door), "few are left: {door:?}");
    }
}
