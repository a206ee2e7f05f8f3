//! What an operator changes while calls go on: the domains, aliases, short numbers, trusted addresses and groups of the
//! database, and where telephone numbers go. One snapshot, swapped whole, so that a request sees no mixture of two.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use regex::Regex;

use crate::dispatcher::{Algorithm, Dispatcher, Variables};
use crate::flow::Flow;
use crate::profiles::{Limits, Profile, Seat};
use crate::secfilter::{Lists, Premium};
use crate::settings::normal_host;
use crate::token::Tokens;
use crate::token::ephemeral::Ephemeral;
use crate::tolls::{self, Allowance, Toll};

/// The group of `address` whose members are asked for no password (Kamailio's `allow_source_address`).
const TRUSTED_GROUP: u32 = 1;

/// See the module. Empty: no domain but those of the settings, and no special way for anything.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Further domains of ours, in lower case (table `domain`).
    pub domains: HashSet<String>,
    /// What an address of record stands for, by `user@domain` in lower case; without a domain for all of them (table
    /// `dbaliases`).
    pub aliases: HashMap<String, String>,
    /// URIs by the address of record of a caller and the digits that he dials (table `speed_dial`).
    pub speed_dial: HashMap<(String, String), String>,
    /// Sources by their addresses (table `address`).
    pub addresses: Vec<Address>,
    /// Sources by address, transport and URIs (table `trusted`).
    pub trusted: Vec<Trusted>,
    /// The groups of an address of record (table `grp`).
    pub groups: HashMap<String, HashSet<String>>,
    /// Gateways in sets (table `dispatcher`).
    pub dispatcher: Arc<Dispatcher>,
    /// Who is not heard, and what is not called (table `secfilter`).
    pub secfilter: Lists,
    /// What the configuration says of routing.
    pub policy: Policy,
}

/// What the configuration says of routing and of tokens, whose keys change from time to time.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Where telephone numbers go; `None`: they are users like others.
    pub pstn: Option<Pstn>,
    /// Users whose requests go to a set of the table `dispatcher`: the first pattern that fits counts.
    pub dispatched: Vec<(i64, Regex)>,
    /// How one of a set is chosen.
    pub algorithm: Algorithm,
    /// What algorithm 7 looks at (`hash_pvar`).
    pub hash_pvar: Variables,
    /// Whether a redirection of a callee is kept from the caller, who hears 404 (`WITH_BLOCK3XX` of the articles).
    pub block_3xx: bool,
    /// Whose tokens prove who somebody is; `None`: nobody's.
    pub tokens: Option<Tokens>,
    /// The secrets of credentials that are good for a while.
    pub ephemeral: Ephemeral,
    /// How many calls there may be at once.
    pub limits: Limits,
    /// How much of the telephone network a user may have of a day.
    pub tolls: tolls::Limits,
    /// Numbers that cost much.
    pub premium: Premium,
    /// Whether an entry of the list of destinations means itself alone (Kamailio's `dst_exact_match`).
    pub dst_exact_match: bool,
}

/// The way to the telephone network.
#[derive(Debug, Clone)]
pub struct Pstn {
    /// Through whom.
    pub through: Through,
    /// The users of a Request-URI that are telephone numbers.
    pub pattern: Regex,
    /// Who may call which of them: the first that fits counts, and a number that fits none is for every user of ours.
    pub groups: Vec<(String, Regex)>,
}

/// Through whom telephone numbers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Through {
    /// One gateway (`pstn.gw_ip` and `pstn.gw_port` of kamailio.cfg).
    Gateway {
        /// Its address or name.
        host: String,
        /// Its port; `None` for what its name says.
        port: Option<u16>,
    },
    /// Those of a set of the table `dispatcher`.
    Set(i64),
}

/// A row of `address`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What its members may do: 1 for not being asked for a password.
    pub group: u32,
    /// The address, or the beginning of some.
    pub ip: IpAddr,
    /// How many bits of it count.
    pub mask: u8,
    /// The port; 0 for any.
    pub port: u16,
}

/// A row of `trusted`.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// Where requests come from.
    pub ip: IpAddr,
    /// Over which transport, by its Via token in lower case; `None` for any.
    pub protocol: Option<String>,
    /// What their From URI is like; `None` for any.
    pub from: Option<Regex>,
    /// What their Request-URI is like; `None` for any.
    pub ruri: Option<Regex>,
}

impl Tables {
    /// Whether `host` is one of [`Tables::domains`].
    #[must_use]
    pub fn is_domain(&self, host: &str) -> bool {
        !self.domains.is_empty() && self.domains.contains(&normal_host(host))
    }

    /// What `user` of `domain` is an alias of.
    #[must_use]
    pub fn alias(&self, user: &str, domain: &str) -> Option<&str> {
        if self.aliases.is_empty() {
            return None;
        }
        let user = user.to_lowercase();
        let found = self.aliases.get(&format!("{user}@{domain}"));
        found.or_else(|| self.aliases.get(&user)).map(String::as_str)
    }

    /// Whether a request that came over `flow` need not prove whose it is.
    #[must_use]
    pub fn trusts(&self, flow: &Flow, from: &str, ruri: &str) -> bool {
        let remote = flow.remote;
        let by_address = self.addresses.iter().any(|address| {
            address.group == TRUSTED_GROUP
                && (address.port == 0 || address.port == remote.port())
                && within(remote.ip(), address.ip, address.mask)
        });
        by_address
            || self.trusted.iter().any(|trusted| {
                let protocol = trusted.protocol.as_deref();
                trusted.ip == remote.ip()
                    && protocol.is_none_or(|name| flow.protocol.via_token().eq_ignore_ascii_case(name))
                    && trusted.from.as_ref().is_none_or(|pattern| pattern.is_match(from))
                    && trusted.ruri.as_ref().is_none_or(|pattern| pattern.is_match(ruri))
            })
    }

    /// What a call is counted under for the day, and how much there may be of each.
    #[must_use]
    pub fn allowances(&self, toll: &Toll) -> Vec<(Seat, Allowance)> {
        let limits = &self.policy.tolls;
        let groups = toll.aor.as_ref().and_then(|aor| self.groups.get(aor)).into_iter().flatten();
        let of = |(profile, _): &Seat| match profile {
            Profile::Gateway => limits.gateway,
            _ => limits.of_user(groups.clone().map(String::as_str)),
        };
        toll.seats.iter().map(|seat| (seat.clone(), of(seat))).collect()
    }

    /// Whether `aor` is in `group`.
    #[must_use]
    pub fn is_in(&self, aor: &str, group: &str) -> bool {
        self.groups.get(aor).is_some_and(|groups| groups.contains(group))
    }
}

impl Pstn {
    /// The group that a caller of `number` must be in; `None` when every user of ours may call it.
    #[must_use]
    pub fn group_of(&self, number: &str) -> Option<&str> {
        self.groups.iter().find(|(_, pattern)| pattern.is_match(number)).map(|(group, _)| group.as_str())
    }
}

/// Whether the first `mask` bits of two addresses of one family are the same.
fn within(ip: IpAddr, net: IpAddr, mask: u8) -> bool {
    let same = |a: u128, b: u128, bits: u32| {
        let left = bits.saturating_sub(mask.into());
        a.checked_shr(left) == b.checked_shr(left)
    };
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => same(u32::from(ip).into(), u32::from(net).into(), 32),
        (IpAddr::V6(ip), IpAddr::V6(net)) => same(ip.into(), net.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Protocol;

    fn flow(remote: &str, protocol: Protocol) -> Flow {
        let local = "192.0.2.1:5060".parse().unwrap();
        Flow { protocol, local, remote: remote.parse().unwrap(), connection: None }
    }

    #[test]
    fn sources_are_trusted_by_mask_port_and_group() {
        let row = |group, ip: &str, mask, port| Address { group, ip: ip.parse().unwrap(), mask, port };
        let table = [
            (row(1, "198.51.100.0", 24, 0), true),
            (row(1, "198.51.100.7", 32, 5060), true),
            (row(1, "198.51.100.7", 32, 5061), false),
            (row(2, "198.51.100.7", 32, 0), false),
            (row(1, "198.51.101.0", 24, 0), false),
            (row(1, "0.0.0.0", 0, 0), true),
            (row(1, "::", 0, 0), false),
            (row(1, "198.51.100.6", 31, 0), true),
        ];
        for (address, expected) in table {
            let tables = Tables { addresses: vec![address.clone()], ..Tables::default() };
            assert_eq!(
                tables.trusts(&flow("198.51.100.7:5060", Protocol::Udp), "", ""),
                expected,
                "{address:?}"
            );
        }
        let six = Tables { addresses: vec![row(1, "2001:db8::", 32, 0)], ..Tables::default() };
        assert!(six.trusts(&flow("[2001:db8:9::1]:5060", Protocol::Tcp), "", ""));
        assert!(!six.trusts(&flow("[2001:db9::1]:5060", Protocol::Tcp), "", ""));
    }

    #[test]
    fn sources_are_trusted_by_transport_and_patterns() {
        let trusted = Trusted {
            ip: "198.51.100.7".parse().unwrap(),
            protocol: Some("tcp".into()),
            from: Some(Regex::new("^sip:.*@carrier\\.example$").unwrap()),
            ruri: None,
        };
        let tables = Tables { trusted: vec![trusted], ..Tables::default() };
        let from = "sip:+4930@carrier.example";
        assert!(tables.trusts(&flow("198.51.100.7:4000", Protocol::Tcp), from, "sip:x@y"));
        assert!(!tables.trusts(&flow("198.51.100.7:4000", Protocol::Udp), from, "sip:x@y"));
        assert!(!tables.trusts(&flow("198.51.100.8:4000", Protocol::Tcp), from, "sip:x@y"));
        assert!(!tables.trusts(
            &flow("198.51.100.7:4000", Protocol::Tcp),
            "sip:a@carrier.example.net",
            "sip:x@y"
        ));
    }
}
