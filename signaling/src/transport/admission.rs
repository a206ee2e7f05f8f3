//! How many at a time, in all and from one source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signaling_core::flow::subscriber;

/// Counts what is held. Each counted thing holds a [`Permit`].
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    limit_per_source: usize,
    ipv6_prefix: u8,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    sources: HashMap<IpAddr, usize>,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    source: IpAddr,
}

impl Admission {
    /// So many places in all, and from one subscriber; `ipv6_prefix` bits of an IPv6 address are one.
    pub(super) fn new(limit: usize, limit_per_source: usize, ipv6_prefix: u8) -> Arc<Self> {
        Arc::new(Self { limit, limit_per_source, ipv6_prefix, held: Mutex::default() })
    }

    /// A place for `source`; `None` when there is none left.
    pub(super) fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Permit> {
        self.admit_up_to(source, self.limit_per_source)
    }

    /// The same for one that stands for many others.
    pub(super) fn admit_any(self: &Arc<Self>, source: IpAddr) -> Option<Permit> {
        self.admit_up_to(source, usize::MAX)
    }

    fn admit_up_to(self: &Arc<Self>, source: IpAddr, limit_per_source: usize) -> Option<Permit> {
        let source = subscriber(source, self.ipv6_prefix);
        let mut held = self.lock();
        if held.total >= self.limit {
            return None;
        }
        let from_source = held.sources.entry(source).or_default();
        if *from_source >= limit_per_source {
            return None;
        }
        *from_source += 1;
        held.total += 1;
        Some(Permit { admission: Arc::clone(self), source })
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.admission.lock();
        held.total -= 1;
        if let Some(from_source) = held.sources.get_mut(&self.source) {
            *from_source -= 1;
            if *from_source == 0 {
                held.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_places_come_back() {
        let admission = Admission::new(3, 2, 64);
        let admit = |source: &str| admission.admit(source.parse().unwrap());
        let a1 = admit("192.0.2.1").unwrap();
        let _a2 = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none(), "two of one source");
        let b1 = admit("2001:db8::1").unwrap();
        assert!(admit("198.51.100.1").is_none(), "three in all");
        drop(a1);
        let _b2 = admit("2001:db8::2:1").unwrap();
        drop(b1);
        assert!(admit("192.0.2.1").is_some());
        assert_eq!(admission.lock().sources.len(), 2, "sources that hold nothing are forgotten");
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let admission = Admission::new(9, 1, 64);
        let _one = admission.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(admission.admit("2001:db8::ffff:ffff:1".parse().unwrap()).is_none());
        assert!(admission.admit("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
