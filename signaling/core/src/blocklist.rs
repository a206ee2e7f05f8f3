//! Destinations that have failed lately (Kamailio's `dst_blocklist`): all workers share one list, in parts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::flow::Protocol;
use crate::shards::Shards;

/// More than this many destinations are not remembered: a list that grows is a way to fill the memory.
const MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Blocklist {
    until: Shards<HashMap<Key, Instant>>,
    /// How many there are, so that nobody looks while there is none.
    count: AtomicUsize,
}

type Key = (Protocol, SocketAddr);

impl Blocklist {
    /// Blocks a destination for `span` from `now` on, or for longer if it is blocked for longer.
    pub fn add(&self, now: Instant, protocol: Protocol, remote: SocketAddr, span: Duration) {
        let key = (protocol, remote);
        let (mut part, most) = (self.until.of(&key), MAX / Shards::<()>::COUNT);
        let before = part.len();
        if before >= most {
            part.retain(|_, end| *end > now);
        }
        if part.len() < most || part.contains_key(&key) {
            let end = part.entry(key).or_insert(now);
            *end = (*end).max(now + span);
        }
        // It wraps, as the count does: some may have gone.
        self.count.fetch_add(part.len().wrapping_sub(before), Ordering::AcqRel);
    }

    /// Whether a destination is blocked.
    #[must_use]
    pub fn blocks(&self, now: Instant, protocol: Protocol, remote: SocketAddr) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let key = (protocol, remote);
        let mut part = self.until.of(&key);
        match part.get(&key) {
            Some(end) if *end > now => true,
            Some(_) => {
                part.remove(&key);
                self.count.fetch_sub(1, Ordering::AcqRel);
                false
            }
            None => false,
        }
    }

    /// All that is blocked, in no order, and for how long still.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<(Protocol, SocketAddr, Duration)> {
        let left = |(key, end): (&Key, &Instant)| {
            end.checked_duration_since(now).filter(|left| !left.is_zero()).map(|left| (key.0, key.1, left))
        };
        self.until.each().flat_map(|part| part.iter().filter_map(left).collect::<Vec<_>>()).collect()
    }

    /// Blocks nothing any more.
    pub fn clear(&self) {
        for mut part in self.until.each() {
            self.count.fetch_sub(part.len(), Ordering::AcqRel);
            part.clear();
        }
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
        for number in 0..3 * MAX {
            list.add(now, Protocol::Udp, remote(number), second);
        }
        assert!(list.list(now).len() <= MAX);
        let left_out = (0..3 * MAX).map(remote).find(|remote| !list.blocks(now, Protocol::Udp, *remote));
        let left_out = left_out.expect("one without room");
        list.add(now + second, Protocol::Udp, left_out, second);
        assert!(list.blocks(now + second, Protocol::Udp, left_out), "what is over makes room");
        list.clear();
        assert!(!list.blocks(now + second, Protocol::Udp, left_out) && list.list(now).is_empty());
        assert_eq!(list.count.load(Ordering::Relaxed), 0);
    }
}
