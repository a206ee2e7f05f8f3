//! When to refuse what is new, so that what was begun can be finished.
//!
//! A queue that is served later than it fills only makes everybody wait: past the patience of the callers, who ask again,
//! all work is for nothing. So the sign of overload is the time that a message has waited. A stall of the machine is none:
//! what has piled up in it is soon done. Only when messages keep coming out late are new requests refused, which costs a
//! small part of serving them.
//!
//! Under overload each request is judged by its own wait: one that comes out in time is served, one that comes out late is
//! refused, and each refusal lets those behind it come out sooner. So the wait settles at the limit, as much is served as
//! there is time for beside the refusals, and nobody is served who has asked again meanwhile. Those that wait for the
//! database are counted as well ([`Door`]).

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long messages must keep coming out late. Shorter than it, a burst is worked off; longer, callers ask again.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long none must come out late for all to be well again.
const CALM: Duration = Duration::from_secs(1);

/// So many late messages in a row are no accident, and so many requests before a door no handful.
const FEW: usize = 64;

/// Whoever waits for a door has been let in: so many times the limit is taken for it.
const AT_THE_DOOR: u32 = 5;

/// Watches one worker's queue.
#[derive(Debug)]
pub struct Overload {
    max_delay: Duration,
    /// Since when, and how often, every message has come out late.
    late: Option<(Instant, usize)>,
    /// Under overload: since when none has.
    in_time: Option<Instant>,
    overloaded: bool,
}

impl Overload {
    /// Late is what waits for `max_delay` or longer.
    #[must_use]
    pub const fn new(max_delay: Duration) -> Self {
        Self { max_delay, late: None, in_time: None, overloaded: false }
    }

    /// A message has `waited` until `now`.
    pub fn note(&mut self, now: Instant, waited: Duration) {
        if waited < self.max_delay {
            self.late = None;
            let since = *self.in_time.get_or_insert(now);
            self.overloaded &= now.saturating_duration_since(since) < CALM;
            return;
        }
        let (since, count) = self.late.unwrap_or((now, 0));
        (self.late, self.in_time) = (Some((since, count + 1)), None);
        self.overloaded |= count + 1 >= FEW && now.saturating_duration_since(since) >= INTERVAL;
    }

    /// Whether messages keep coming out late.
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Whether the message noted last is to be refused if it begins something.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.overloaded && self.late.is_some()
    }

    /// Whether one who joins the line before `door` would wait too long.
    #[must_use]
    pub fn is_too_long(&self, door: &Door) -> bool {
        door.pending.get() >= FEW && door.expected() > AT_THE_DOOR * self.max_delay
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
        let mut overload = Overload::new(ms(200));
        let mut note = |at: u64, waited, times: usize| {
            (0..times).for_each(|_| overload.note(start + ms(at), ms(waited)));
            (overload.is_overloaded(), overload.is_late())
        };
        // A stall: all at once, and then no more. A few that are late, however long.
        assert_eq!(note(1000, 900, 500), (false, false));
        assert_eq!(note(1090, 199, 1), (false, false));
        assert_eq!(note(2000, 300, 10), (false, false));
        assert_eq!(note(9000, 300, 10), (false, false));
        // Load that stays.
        assert_eq!(note(9001, 300, 44), (true, true));
        // What comes out in time is served, and nothing else before there was calm.
        assert_eq!(note(9010, 199, 1), (true, false));
        assert_eq!(note(9011, 200, 1), (true, true));
        assert_eq!(note(9500, 100, 1), (true, false));
        assert_eq!(note(10_499, 100, 9), (true, false));
        assert_eq!(note(10_500, 100, 1), (false, false));
        assert_eq!(note(10_501, 300, 63), (false, false));
    }

    #[test]
    fn a_long_line_is_seen_while_it_grows() {
        let (start, time) = (start(), Cell::new(0));
        let now = || start + ms(time.get());
        let (overload, door) = (Overload::new(ms(100)), Door::default());
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
