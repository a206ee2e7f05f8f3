//! When an ACME server is asked: early enough before a certificate ends, and the more seldom the more often it has failed.

use std::time::Duration;

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 3600);
/// A server that asks for a longer one has not meant it.
const LONGEST_RETRY_AFTER: i64 = 7 * 86_400;

/// The count of failures, and what follows from it. Times are seconds since 1970.
#[derive(Debug)]
pub(super) struct Schedule {
    retry: Duration,
    failures: u32,
}

impl Schedule {
    /// The first pause after a failure is `retry`.
    pub(super) fn new(retry: Duration) -> Self {
        Self { retry, failures: 0 }
    }

    /// When a certificate is to be renewed: with a third of its time left.
    pub(super) fn renewal(not_before: i64, not_after: i64) -> i64 {
        not_after - (not_after - not_before) / 3
    }

    /// It went well.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It did not: when to try again. `not_before` is what the server has said of it.
    pub(super) fn failed(&mut self, now: i64, not_before: Option<i64>) -> i64 {
        let pause = self.retry.saturating_mul(1 << self.failures.min(20)).min(LONGEST_PAUSE.max(self.retry));
        self.failures += 1;
        let own = now + i64::try_from(pause.as_secs()).unwrap_or(LONGEST_RETRY_AFTER);
        not_before.map_or(own, |said| own.max(said.min(now + LONGEST_RETRY_AFTER)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_with_a_third_left() {
        assert_eq!(Schedule::renewal(0, 90 * 86_400), 60 * 86_400);
        assert_eq!(Schedule::renewal(1000, 1012), 1008);
    }

    #[test]
    fn pauses_grow_and_the_server_is_heard() {
        let mut schedule = Schedule::new(Duration::from_secs(300));
        assert_eq!([0; 4].map(|_| schedule.failed(1000, None)), [1300, 1600, 2200, 3400]);
        assert_eq!(schedule.failed(0, Some(7200)), 7200);
        assert_eq!(schedule.failed(0, Some(60)), 9600);
        assert_eq!(schedule.failed(0, Some(i64::MAX)), LONGEST_RETRY_AFTER);
        assert_eq!([0; 40].map(|_| schedule.failed(0, None))[39], 12 * 3600);
        schedule.succeeded();
        assert_eq!(schedule.failed(0, None), 300);
        assert_eq!(Schedule::new(Duration::from_secs(86_400)).failed(0, None), 86_400);
    }
}
