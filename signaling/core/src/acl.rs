//! Who is heard at all, by address: two lists that an operator writes, as of old `hosts.allow` and `hosts.deny`. Whoever is on the
//! first is heard, whoever is on the second is not, and anybody else is. All workers share one, and so do the listeners.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::settings::Network;
use crate::shards::Shards;

/// See the module.
#[derive(Debug, Default)]
pub struct Acl {
    /// Whether there is anything on the second list: without that nobody waits for a lock.
    any: AtomicBool,
    /// The same in each part, so that workers do not wait for each other.
    lists: Shards<Arc<Lists>>,
}

/// What is on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// These are heard, whatever the other list says.
    pub allow: Vec<Network>,
    /// These are not.
    pub deny: Vec<Network>,
}

/// A line is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?} is no address and no network")]
pub struct BadLine {
    /// Its number, from 1 on.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

impl Acl {
    /// These lists count from now on.
    pub fn set(&self, lists: Lists) {
        let (any, lists) = (!lists.deny.is_empty(), Arc::new(lists));
        for mut part in self.lists.each() {
            *part = Arc::clone(&lists);
        }
        self.any.store(any, Ordering::Release);
    }

    /// Whether what comes from `ip` is not heard. This host always is.
    #[must_use]
    pub fn denies(&self, ip: IpAddr) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let ip = ip.to_canonical();
        let lists = Arc::clone(&self.lists.of(&ip));
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(ip));
        !ip.is_loopback() && !is_in(&lists.allow) && is_in(&lists.deny)
    }
}

/// Reads a list: an `ADDRESS` or `ADDRESS/BITS` a line, `ALL` for everybody; what follows a `#` is for people.
///
/// # Errors
/// The first line that is something else.
pub fn read(text: &str) -> Result<Vec<Network>, BadLine> {
    let mut list = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        match entry {
            "" => {}
            "ALL" => list.extend([Network::EVERY_IPV4, Network::EVERY_IPV6]),
            entry => {
                let bad = |_| BadLine { line: number + 1, text: entry.to_owned() };
                list.push(entry.parse().map_err(bad)?);
            }
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(allow: &str, deny: &str) -> Lists {
        Lists { allow: read(allow).expect("a list"), deny: read(deny).expect("a list") }
    }

    #[test]
    fn the_first_list_opens_what_the_second_one_closes() {
        let acl = Acl::default();
        let denied = |ip: &str| acl.denies(ip.parse().expect("an address"));
        assert!(!denied("198.51.100.66"), "without lists everybody is heard");
        acl.set(lists("192.0.2.0/24 # the office\n\n2001:db8::/32\n", "# all others\nALL\n"));
        for (ip, is_denied) in [
            ("192.0.2.7", false),
            ("::ffff:192.0.2.7", false),
            ("192.0.3.7", true),
            ("2001:db8::7", false),
            ("2001:db9::7", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(denied(ip), is_denied, "{ip}");
        }
        acl.set(lists("", "198.51.100.0/24"));
        assert!(denied("198.51.100.66") && !denied("192.0.3.7"));
        acl.set(Lists::default());
        assert!(!denied("198.51.100.66"));
    }

    #[test]
    fn a_line_that_is_no_network_is_named() {
        for (text, line, wrong) in [
            ("192.0.2.1\nexample.com\n", 2, "example.com"),
            ("192.0.2.1/33", 1, "192.0.2.1/33"),
            ("all", 1, "all"),
        ] {
            assert_eq!(read(text), Err(BadLine { line, text: wrong.into() }));
        }
    }
}
