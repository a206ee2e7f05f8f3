//! What keeps alarms from being many, for whoever attacks causes them: the same one once in a while, so many in a second.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use signaling_core::bounded::Bounded;
use signaling_core::event::Event;
use signaling_core::shards::Shards;

use super::kind::Kind;

/// Alarms of one second that are told.
const A_SECOND: u64 = 20;
/// Alarms of a part that are remembered, so that they are not told again.
const REMEMBERED: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    interval: Duration,
    /// What was told lately.
    recent: Shards<Bounded<u64, Recent>>,
    /// The second, and how many there were in it.
    rate: AtomicU64,
    start: Instant,
}

/// One that was told.
#[derive(Debug)]
struct Recent {
    /// It is not told again before.
    until: Instant,
    /// How often it was raised since.
    again: u64,
}

impl Gate {
    /// One that lets the same alarm through every `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, recent: Shards::default(), rate: AtomicU64::new(0), start: Instant::now() }
    }

    /// Whether this is to be told: it was not for a while. How often it was raised meanwhile.
    pub(super) fn is_due(&self, now: Instant, subject: u64) -> Option<u64> {
        let mut part = self.recent.at(subject);
        let fresh = || Recent { until: now, again: 0 };
        let known = part.entry(subject, REMEMBERED, now, |known| known.until <= now, fresh);
        // One that is not remembered is told each time, as far as the rate allows.
        let Some(known) = known else { return Some(0) };
        if now < known.until {
            known.again += 1;
            return None;
        }
        known.until = now + self.interval;
        Some(std::mem::take(&mut known.again))
    }

    /// Whether there may be one more in this second.
    pub(super) fn has_rate(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.start).as_secs() << 16;
        let more = |rate: u64| match rate & !0xffff == second {
            true => (rate & 0xffff < A_SECOND).then_some(rate + 1),
            false => Some(second | 1),
        };
        self.rate.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// What makes two alarms the same: the kind, and who it is about.
pub(super) fn subject(kind: Kind, event: &Event) -> u64 {
    // Nobody can aim at one: it is looked up in parts by a hash of the process anyway.
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    match event {
        Event::AuthFailed { user, .. } | Event::UserFlooded { user, .. } => HASHER.hash_one((kind, user)),
        Event::Flooded { source, .. } | Event::Dropped { source, .. } => {
            HASHER.hash_one((kind, source.ip().to_canonical()))
        }
        Event::Barred { user, source, .. } => HASHER.hash_one((kind, user, source.ip().to_canonical())),
        Event::TollReached { seat, .. } => HASHER.hash_one((kind, seat)),
        _ => HASHER.hash_one(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while_and_so_many_in_a_second() {
        let gate = Gate::new(Duration::from_secs(60));
        let now = Instant::now();
        assert_eq!([gate.is_due(now, 1), gate.is_due(now, 1), gate.is_due(now, 2)], [Some(0), None, Some(0)]);
        assert_eq!(gate.is_due(now + gate.interval, 1), Some(1), "how often it was raised meanwhile");
        for subject in 0..300_000 {
            assert!(gate.is_due(now, subject << 6 | 7).is_some());
        }
        assert!(gate.recent.each().all(|part| part.len() <= REMEMBERED));
        let told = (0..1000).filter(|_| gate.has_rate(now + Duration::from_secs(5))).count();
        assert_eq!(told as u64, A_SECOND);
        assert!(gate.has_rate(now + Duration::from_secs(6)));
    }
}
