//! Name servers that say nothing: whoever calls meanwhile does not wait for them.

use std::time::{Duration, Instant};

use crate::moment::Moment;

/// How long they are taken to be silent after a look-up that had no answer in time. Then one look-up asks them with all its
/// patience, and while it waits the others still do not.
const LENGTH: Duration = Duration::from_secs(5);
/// What a look-up waits meanwhile: for the cache.
const SHORT: Duration = Duration::from_millis(50);

/// Since when nobody answers.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When to ask again; `None` while they answer.
    until: Moment,
}

impl Silence {
    /// How long a look-up may take that would wait for `whole`.
    pub(super) fn patience(&self, now: Instant, whole: Duration) -> Duration {
        match self.until.get() {
            None => whole,
            Some(end) if now < end => SHORT.min(whole),
            // One of those who come now asks for all.
            due => {
                if self.until.replace(due, Some(now + whole)) {
                    whole
                } else {
                    SHORT.min(whole)
                }
            }
        }
    }

    /// A look-up had no answer in all its time.
    pub(super) fn began(&self, now: Instant) {
        self.until.swap(Some(now + LENGTH));
    }

    /// There was an answer.
    pub(super) fn broken(&self) {
        self.until.swap(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_five_seconds_waits_for_silent_servers() {
        let (silence, start, whole) = (Silence::default(), Instant::now(), Duration::from_secs(4));
        let patience = |after: u64| silence.patience(start + Duration::from_secs(after), whole);
        assert_eq!((patience(0), patience(0)), (whole, whole), "they are heard");
        silence.began(start);
        assert_eq!((patience(0), patience(4)), (SHORT, SHORT));
        assert_eq!((patience(5), patience(5), patience(8)), (whole, SHORT, SHORT), "one asks again");
        silence.began(start + Duration::from_secs(9));
        assert_eq!((patience(13), patience(14)), (SHORT, whole));
        silence.broken();
        assert_eq!((patience(14), patience(15)), (whole, whole));
    }
}
