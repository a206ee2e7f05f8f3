//! A moment that threads tell each other without a lock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What moments are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment to the millisecond, or none, which is what there is at first.
#[derive(Debug, Default)]
pub(crate) struct Moment(AtomicU64);

impl Moment {
    /// The moment, if there is one.
    pub(crate) fn get(&self) -> Option<Instant> {
        instant(self.0.load(Ordering::Acquire))
    }

    /// Puts another in its place, and returns what there was.
    pub(crate) fn swap(&self, moment: Option<Instant>) -> Option<Instant> {
        instant(self.0.swap(number(moment), Ordering::AcqRel))
    }

    /// The same if it is still `known`, as [`Moment::get`] has told it. Whether it was: of several at once it is for one.
    pub(crate) fn replace(&self, known: Option<Instant>, moment: Option<Instant>) -> bool {
        let exchanged =
            self.0.compare_exchange(number(known), number(moment), Ordering::AcqRel, Ordering::Acquire);
        exchanged.is_ok()
    }
}

/// Milliseconds, and one more: nothing is none.
fn number(moment: Option<Instant>) -> u64 {
    moment.map_or(0, |moment| {
        let since = moment.saturating_duration_since(*EPOCH).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX - 1) + 1
    })
}

fn instant(number: u64) -> Option<Instant> {
    number.checked_sub(1).and_then(|millis| EPOCH.checked_add(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_to_the_millisecond_and_taken_by_one() {
        let (moment, now) = (Moment::default(), *EPOCH + Duration::from_micros(1500));
        assert_eq!(moment.get(), None);
        assert!(moment.replace(None, Some(now)) && !moment.replace(None, Some(now)));
        let told = moment.get().unwrap();
        assert_eq!(told, *EPOCH + Duration::from_millis(1));
        let later = now + Duration::from_secs(3600);
        assert!(moment.replace(Some(told), Some(later)));
        assert_eq!(moment.swap(None).unwrap().saturating_duration_since(told), Duration::from_secs(3600));
        assert_eq!(moment.get(), None);
    }
}
