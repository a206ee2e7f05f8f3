//! Destinations that have failed lately (Kamailio's `dst_blocklist`): all workers share one list.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::flow::Protocol;

/// More than this many destinations are not remembered: a list that grows is a way to fill the memory.
const MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Blocklist {
    until: Mutex<HashMap<(Protocol, SocketAddr), Instant>>,
    /// How many there are, so that nobody waits for the lock while there is none.
    count: AtomicUsize,
}

impl Blocklist {
    /// Blocks a destination for `span` from `now` on, or for longer if it is blocked for longer.
    pub fn add(&self, now: Instant, protocol: Protocol, remote: SocketAddr, span: Duration) {
        let mut until = self.lock();
        if until.len() >= MAX {
            until.retain(|_, end| *end > now);
        }
        if until.len() < MAX || until.contains_key(&(protocol, remote)) {
            let end = until.entry((protocol, remote)).or_insert(now);
            *end = (*end).max(now + span);
        }
        self.count.store(until.len(), Ordering::Release);
    }

    /// Whether a destination is blocked.
    #[must_use]
    pub fn blocks(&self, now: Instant, protocol: Protocol, remote: SocketAddr) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut until = self.lock();
        match until.get(&(protocol, remote)) {
            Some(end) if *end > now => true,
            Some(_) => {
                until.remove(&(protocol, remote));
                self.count.store(until.len(), Ordering::Release);
                false
            }
            None => false,
        }
    }

    /// All that is blocked, in no order, and for how long still.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<(Protocol, SocketAddr, Duration)> {
        let left = |(key, end): (&(Protocol, SocketAddr), &Instant)| {
            end.checked_duration_since(now).filter(|left| !left.is_zero()).map(|left| (key.0, key.1, left))
        };
        self.lock().iter().filter_map(left).collect()
    }

    /// Blocks nothing any more.
    pub fn clear(&self) {
        let mut until = self.lock();
        until.clear();
        self.count.store(0, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Protocol, SocketAddr), Instant>> {
        // A holder that panicked has left a whole map.
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "an arbitrary origin; nothing depends on it")]
    fn a_destination_is_blocked_until_its_time_is_over_and_the_list_is_bounded() {
        let (list, now) = (Blocklist::default(), Instant::now());
        let remote = |number: usize| SocketAddr::from(([192, 0, 2, 1], number as u16));
        let second = Duration::from_secs(1);
        list.add(now, Protocol::Udp, remote(1), second * 5);
        list.add(now, Protocol::Udp, remote(1), second);
        assert!(list.blocks(now + second * 4, Protocol::Udp, remote(1)));
        assert_eq!(list.list(now + second), [(Protocol::Udp, remote(1), second * 4)]);
        assert!(!list.blocks(now, Protocol::Tcp, remote(1)) && !list.blocks(now, Protocol::Udp, remote(2)));
        assert!(!list.blocks(now + second * 5, Protocol::Udp, remote(1)));
        assert_eq!(list.count.load(Ordering::Relaxed), 0);
        for number in 0..MAX + 10 {
            list.add(now, Protocol::Udp, remote(number), second);
        }
        assert_eq!(list.lock().len(), MAX);
        assert!(!list.blocks(now, Protocol::Udp, remote(MAX + 1)));
        list.add(now + second, Protocol::Udp, remote(MAX + 1), second);
        assert!(list.blocks(now + second, Protocol::Udp, remote(MAX + 1)), "what is over makes room");
        list.clear();
        assert!(!list.blocks(now + second, Protocol::Udp, remote(MAX + 1)) && list.list(now).is_empty());
    }
}
