//! When to refuse what is new, so that what was begun can be finished.
//!
//! A queue that is served later than it fills only makes everybody wait: past the patience of the callers, who ask again,
//! all work is for nothing. So the sign of overload is the time that a message has waited. A stall of the machine is none:
//! what has piled up in it is soon done. Only when messages keep coming out late are new requests refused, which costs a
//! small part of serving them.

use std::time::{Duration, Instant};

/// How long messages must keep coming out late. Shorter than it, a burst is worked off; longer, callers ask again.
const INTERVAL: Duration = Duration::from_millis(100);

/// Watches one worker's queue.
#[derive(Debug)]
pub struct Overload {
    max_delay: Duration,
    /// Since when every message has come out late.
    late_since: Option<Instant>,
    refusing: bool,
}

/// What a message's wait shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// There is time for all.
    Normal,
    /// From now on new requests are refused.
    Begins,
    /// They still are.
    Lasts,
    /// They are served again.
    Ends,
}

impl Overload {
    /// Refuses when messages wait for longer than `max_delay`.
    #[must_use]
    pub const fn new(max_delay: Duration) -> Self {
        Self { max_delay, late_since: None, refusing: false }
    }

    /// Whether new requests are refused.
    #[must_use]
    pub const fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// A message has `waited` until `now`.
    pub fn note(&mut self, now: Instant, waited: Duration) -> Load {
        if waited < self.max_delay {
            self.late_since = None;
            return if std::mem::take(&mut self.refusing) { Load::Ends } else { Load::Normal };
        }
        let since = *self.late_since.get_or_insert(now);
        match (self.refusing, now.saturating_duration_since(since) >= INTERVAL) {
            (true, _) => Load::Lasts,
            (false, true) => {
                self.refusing = true;
                Load::Begins
            }
            (false, false) => Load::Normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_late_is_refused() {
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut overload = Overload::new(ms(500));
        let mut note = |at, waited| overload.note(start + ms(at), ms(waited));
        // A stall: all at once, and then no more.
        assert_eq!(note(1000, 900), Load::Normal);
        assert_eq!(note(1050, 800), Load::Normal);
        assert_eq!(note(1090, 100), Load::Normal);
        // Load that stays.
        assert_eq!(note(2000, 500), Load::Normal);
        assert_eq!(note(2099, 600), Load::Normal);
        assert_eq!(note(2100, 600), Load::Begins);
        assert_eq!(note(2101, 600), Load::Lasts);
        assert_eq!(note(2500, 499), Load::Ends);
        assert_eq!(note(2501, 600), Load::Normal);
    }
}
