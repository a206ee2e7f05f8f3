//! The order in which the addresses of one host are tried (RFC 6724 §6), as far as a proxy can tell: rules 1, 2, 5, 6
//! and 8. Rule 9 would undo the turns by which name servers spread the load.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

/// Puts `addresses` in order; `source` is the address from which we would send to one, `None` without a route.
pub(super) fn by_destination(
    mut addresses: Vec<IpAddr>,
    source: impl Fn(IpAddr) -> Option<IpAddr>,
) -> Vec<IpAddr> {
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|ip| {
            let from = source(*ip);
            let (precedence, label) = policy(*ip);
            (
                from.is_none(),
                from.is_some_and(|from| scope(from) != scope(*ip)),
                from.is_some_and(|from| policy(from).1 != label),
                Reverse(precedence),
                scope(*ip),
            )
        });
    }
    addresses
}

/// Precedence and label of the default policy table (RFC 6724 §2.1).
fn policy(ip: IpAddr) -> (u8, u8) {
    let IpAddr::V6(ip) = ip else { return (35, 4) };
    match ip.segments() {
        _ if ip.is_loopback() => (50, 0),
        [0, 0, 0, 0, 0, 0xffff, ..] => (35, 4),
        [0, 0, 0, 0, 0, 0, ..] => (1, 3),
        [0x2001, 0, ..] => (5, 5),
        [0x2002, ..] => (30, 2),
        [0x3ffe, ..] => (1, 12),
        [first, ..] if first & 0xffc0 == 0xfec0 => (1, 11),
        [first, ..] if first & 0xfe00 == 0xfc00 => (3, 13),
        _ => (40, 1),
    }
}

/// The scope (RFC 6724 §3.1, §3.2): 2 link-local, 5 site-local, 14 global.
fn scope(ip: IpAddr) -> u8 {
    const LINK_LOCAL: u8 = 2;
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() => LINK_LOCAL,
        IpAddr::V4(_) => 14,
        IpAddr::V6(ip) => scope_v6(ip),
    }
}

fn scope_v6(ip: Ipv6Addr) -> u8 {
    let first = ip.segments()[0];
    match ip {
        ip if ip.is_loopback() || first & 0xffc0 == 0xfe80 => 2,
        ip if ip.is_multicast() => (first & 0xf) as u8,
        _ if first & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6724 §10.2 that these rules decide.
    #[test]
    fn examples_of_the_rfc() {
        let table: [(&str, &str, &str); 8] = [
            // destinations and the source towards each, then the order
            (
                "2001:db8:1::1=2001:db8:1::2 198.51.100.121=169.254.13.78",
                "2001:db8:1::1 198.51.100.121",
                "scope",
            ),
            ("2001:db8:1::1=fe80::1 198.51.100.121=198.51.100.117", "198.51.100.121 2001:db8:1::1", "scope"),
            ("2001:db8:1::1=2001:db8:1::2 10.1.2.3=10.1.2.4", "2001:db8:1::1 10.1.2.3", "precedence"),
            ("2001:db8:1::1=2001:db8:1::2 fe80::1=fe80::2", "fe80::1 2001:db8:1::1", "smaller scope"),
            (
                "2002:c633:6401::1=2002:c633:6401::2 2001:db8:1::1=fe80::2",
                "2002:c633:6401::1 2001:db8:1::1",
                "label",
            ),
            (
                "2002:c633:6401::1=2002:c633:6401::2 2001:db8:1::1=2001:db8:1::2",
                "2001:db8:1::1 2002:c633:6401::1",
                "precedence",
            ),
            ("2001:db8::1= 192.0.2.1=192.0.2.9", "192.0.2.1 2001:db8::1", "no IPv6 route"),
            (
                "2001:db8::1=fd00::2 192.0.2.1=192.168.0.2",
                "192.0.2.1 2001:db8::1",
                "a local IPv6 network only",
            ),
        ];
        for (given, expected, why) in table {
            let pairs: Vec<(IpAddr, Option<IpAddr>)> = given
                .split(' ')
                .map(|pair| {
                    let (to, from) = pair.split_once('=').unwrap();
                    (to.parse().unwrap(), from.parse().ok())
                })
                .collect();
            let source = |ip| pairs.iter().find(|(to, _)| *to == ip).and_then(|(_, from)| *from);
            let ordered = by_destination(pairs.iter().rev().map(|(to, _)| *to).collect(), source);
            let ordered: Vec<String> = ordered.iter().map(ToString::to_string).collect();
            assert_eq!(ordered.join(" "), expected, "{why}");
        }
    }

    #[test]
    fn equals_keep_the_order_of_the_name_server() {
        let addresses: Vec<IpAddr> =
            ["192.0.2.3", "192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(by_destination(addresses.clone(), |_| "192.0.2.9".parse().ok()), addresses);
    }
}
