//! Lists of who is not heard, and numbers that are not for everybody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use regex::Regex;
use signaling_core::event::{Barred, Event, Hostility};
use signaling_core::flow::Protocol;
use signaling_core::secfilter::{Kind, Lists, Premium, Rule, Side};
use signaling_core::settings::Pike;
use signaling_core::tables::{Policy, Pstn, Tables, Through};

use crate::testbed::{Bed, Phone, ack_of, legacy_sdp, settings};

fn lists(rules: &[(Side, Kind, &str)], exact: bool) -> Lists {
    let rules = rules.iter().map(|(side, kind, data)| Rule::new(*side, *kind, data).expect("a rule"));
    Lists::new(rules, exact)
}

fn bed(rules: &[(Side, Kind, &str)]) -> Bed {
    let bed = Bed::with(&["alice", "bob"], settings(), Vec::new());
    *bed.store.tables.borrow_mut() = Arc::new(Tables { secfilter: lists(rules, true), ..Tables::default() });
    bed
}

/// An OPTIONS of somebody.
fn options(from: &str, to: &str, contact: &str, agent: &str, number: usize) -> String {
    format!(
        "OPTIONS sip:sip.example SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.66:5060;branch=z9hG4bK-{number}\r\n\
         From: {from};tag=1\r\nTo: {to}\r\nCall-ID: o-{number}\r\nCSeq: 1 OPTIONS\r\nContact: {contact}\r\n\
         User-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Rules, a source, From, To, Contact and User-Agent, and what is found on a list, with its counter.
type Case<'a> = (&'a [(Side, Kind, &'a str)], &'a str, [&'a str; 4], Option<(Kind, &'a str)>);

/// Each kind of list, in each header, and the white one before the black one.
#[test]
fn whoever_is_on_a_black_list_hears_nothing() {
    use Kind::{Country, Domain, Ip, User, UserAgent};
    use Side::{Black, White};
    let (v4, v6) = ("198.51.100.66:5060", "[2001:db8:b::1]:5060");
    let (eve, us, at) = ("<sip:eve@evil.example>", "<sip:x@sip.example>", "<sip:eve@198.51.100.66>");
    let table: [Case<'_>; 24] = [
        (&[(Black, UserAgent, "bad")], v4, [eve, us, at, "BadPhone/1"], Some((UserAgent, "bl_ua"))),
        (&[(Black, UserAgent, "bad")], v4, [eve, us, at, "a BadPhone"], None),
        (&[(White, UserAgent, "badphone"), (Black, UserAgent, "bad")], v4, [eve, us, at, "BadPhone/1"], None),
        // The table knows a program better than the list of the configuration.
        (&[(White, UserAgent, "sipsak")], v4, [eve, us, at, "sipsak 0.9"], None),
        (&[(Black, Country, "xa")], v4, [eve, us, at, "a"], Some((Country, "bl_country"))),
        (&[(Black, Country, "XB")], v4, [eve, us, at, "a"], None),
        (&[(Black, Country, "XB")], v6, [eve, us, at, "a"], Some((Country, "bl_country"))),
        (&[(White, Country, "XA")], v4, [eve, us, at, "sipsak"], Some((UserAgent, ""))),
        (&[(Black, Country, "XA"), (White, Ip, "198.51.100.66")], v4, [eve, us, at, "sipsak"], None),
        (&[(Black, Ip, "198.51.100.0/24")], v4, [eve, us, at, "a"], Some((Ip, "bl_ip"))),
        (&[(Black, Ip, "2001:db8:b::/48")], v6, [eve, us, at, "a"], Some((Ip, "bl_ip"))),
        (&[(Black, Ip, "2001:db8:c::/48")], v6, [eve, us, at, "a"], None),
        (&[(Black, Domain, "evil.")], v4, [eve, us, at, "a"], Some((Domain, "bl_from_domain"))),
        (&[(Black, Domain, "evil")], v4, [us, eve, at, "a"], Some((Domain, "bl_to_domain"))),
        (&[(Black, Domain, "EVIL.example")], v4, [us, us, eve, "a"], Some((Domain, "bl_contact_domain"))),
        (&[(Black, Domain, "evil"), (White, Domain, "evil.example")], v4, [eve, us, at, "a"], None),
        (&[(Black, Domain, "example")], v4, [eve, us, at, "a"], None),
        (&[(Black, User, "eve")], v4, [eve, us, at, "a"], Some((User, "bl_from_user"))),
        (&[(Black, User, "EV")], v4, [us, eve, us, "a"], Some((User, "bl_to_user"))),
        (&[(Black, User, "eve")], v4, [us, us, at, "a"], Some((User, "bl_contact_user"))),
        (&[(Black, User, "%65")], v4, [eve, us, at, "a"], None),
        (&[(Black, User, "eve")], v4, ["<sip:%65ve@b>", us, us, "a"], Some((User, "bl_from_user"))),
        (
            &[(Black, User, "the dev")],
            v4,
            ["\"The Devil\" <sip:a@b>", us, at, "a"],
            Some((User, "bl_from_name")),
        ),
        (&[(Black, User, "e"), (White, User, "eve")], v4, [eve, us, us, "a"], None),
    ];
    for (number, (rules, source, [from, to, contact, agent], found)) in table.into_iter().enumerate() {
        let mut bed = bed(rules);
        let flow = bed.flow(Protocol::Udp, source);
        bed.send(&flow, &options(from, to, contact, agent, number));
        let heard = bed.try_receive(&flow).is_some();
        assert_eq!(heard, found.is_none(), "{number}: {rules:?} {source} {from} {to} {contact} {agent}");
        let told: Vec<_> = bed
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Dropped { why, .. } => Some(*why),
                _ => None,
            })
            .collect();
        let expected = match found {
            None => vec![],
            Some((_, "")) => vec![Hostility::Scanner],
            Some((kind, _)) => vec![Hostility::Listed(kind)],
        };
        assert_eq!(told, expected, "{number}");
        if let Some((_, counter)) = found.filter(|(_, counter)| !counter.is_empty()) {
            assert_eq!(bed.proxy.stats().listed.sum(|name| name == counter), 1, "{number}");
        }
    }
}

/// `pike.exempt`: what is known there is not looked at.
#[test]
fn exempt_sources_are_on_no_list() {
    let exempt = vec!["198.51.100.66".parse().expect("a network")];
    let pike = Pike { exempt, ..Pike::default() };
    let mut bed = Bed::with(&[], signaling_core::settings::Settings { pike, ..settings() }, Vec::new());
    let secfilter = lists(&[(Side::Black, Kind::Ip, "198.51.100.0/24")], true);
    *bed.store.tables.borrow_mut() = Arc::new(Tables { secfilter, ..Tables::default() });
    for (source, heard) in [("198.51.100.66:5060", true), ("198.51.100.67:5060", false)] {
        let flow = bed.flow(Protocol::Udp, source);
        bed.send(&flow, &options("<sip:a@b>", "<sip:a@b>", "<sip:a@b>", "x", usize::from(heard)));
        assert_eq!(bed.try_receive(&flow).is_some(), heard, "{source}");
    }
}

/// A gateway at 203.0.113.50, alice in the group, and these rules.
fn with_gateway(rules: &[(Side, Kind, &str)], exact: bool, premium: &[&str]) -> Bed {
    let bed = Bed::new(&["alice", "bob"]);
    let pstn = Pstn {
        through: Through::Gateway { host: "203.0.113.50".into(), port: None },
        pattern: Regex::new("^(\\+|0)[0-9]{3,20}$").expect("a pattern"),
        groups: Vec::new(),
    };
    let premium = Premium::new(premium.iter().map(|p| (*p).into()).collect(), "premium".into());
    let policy = Policy { pstn: Some(pstn), premium, dst_exact_match: exact, ..Policy::default() };
    let groups = HashMap::from([("alice@sip.example".to_owned(), HashSet::from(["premium".to_owned()]))]);
    let secfilter = lists(rules, exact);
    *bed.store.tables.borrow_mut() = Arc::new(Tables { policy, groups, secfilter, ..Tables::default() });
    bed
}

/// Who calls what, by call or message, and why he may not.
#[test]
fn numbers_that_are_not_for_everybody_are_403() {
    let barred = [(Side::Black, Kind::Destination, "+4930666"), (Side::Black, Kind::Destination, "anna")];
    let list = ["881", "979", "0900"];
    let bed = || with_gateway(&barred, true, &list);
    for (user, method, uri, why) in [
        ("bob", "INVITE", "sip:+88123456@sip.example", Some(Barred::Premium)),
        ("bob", "MESSAGE", "sip:0097912345@sip.example", Some(Barred::Premium)),
        ("bob", "INVITE", "sip:0900123456@sip.example", Some(Barred::Premium)),
        ("bob", "INVITE", "sip:+9791@elsewhere.example", Some(Barred::Premium)),
        ("bob", "INVITE", "sip:%2B9791@elsewhere.example", Some(Barred::Premium)),
        ("bob", "INVITE", "sip:979@elsewhere.example", None),
        ("bob", "INVITE", "sip:+4988123456@sip.example", None),
        ("alice", "INVITE", "sip:+88123456@sip.example", None),
        ("alice", "INVITE", "sip:004930666@sip.example", Some(Barred::Listed)),
        ("bob", "INVITE", "sip:anna@elsewhere.example", Some(Barred::Listed)),
        ("bob", "INVITE", "sip:0049306661@sip.example", None),
    ] {
        let mut bed = bed();
        let mut phone = Phone::legacy(&mut bed, user, "198.51.100.7:5060");
        let (gateway, there) =
            (bed.flow(Protocol::Udp, "203.0.113.50:5060"), bed.flow(Protocol::Udp, "203.0.113.5:5060"));
        let more = format!("Contact: <{}>\r\n", phone.contact);
        let request = phone.request(method, uri, "call-1", &more, &legacy_sdp(user));
        if why.is_none() {
            phone.authorize_only(&mut bed, &request);
            let sent = [&gateway, &there].map(|flow| bed.try_receive(flow).is_some());
            assert!(sent.contains(&true), "{user} {uri}");
            continue;
        }
        let (sent, refusal) = phone.authorize(&mut bed, &request);
        assert_eq!(refusal.start_line(), "SIP/2.0 403 Forbidden", "{user} {uri}");
        assert_eq!(refusal.header("Reason"), "Q.850;cause=21;text=\"destination barred\"");
        if method == "INVITE" {
            bed.send(&phone.flow, &ack_of(&sent, &refusal));
        }
        let told = bed.events.iter().find_map(|event| match event {
            Event::Barred { user, number, why, .. } => Some((user.clone(), number.clone(), *why)),
            _ => None,
        });
        let (of, number, because) = told.unwrap_or_else(|| panic!("{uri}: nobody is told"));
        assert_eq!((of, Some(because)), (format!("{user}@sip.example"), why), "{uri}");
        assert!(uri.replace("%2B", "+").contains(&number), "{uri} {number}");
        assert_eq!((bed.proxy.stats().barred, bed.proxy.calls()), (1, 0), "{uri}");
        bed.expect_silence();
    }
}

/// `dst_exact_match` 0: what begins with an entry. The name of a user of ours may be on the list too.
#[test]
fn destinations_may_be_beginnings() {
    for (exact, barred) in [(true, false), (false, true)] {
        let mut bed = with_gateway(&[(Side::Black, Kind::Destination, "al")], exact, &[]);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
        let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
        alice.register(&mut bed);
        let request = bob.request("MESSAGE", &alice.aor(), "m", "", "hello");
        bob.authorize_only(&mut bed, &request);
        assert_eq!(bed.try_receive(&alice.flow).is_none(), barred);
    }
}
