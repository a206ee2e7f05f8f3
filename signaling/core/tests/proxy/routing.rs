//! Routing by tables: further domains, aliases, short numbers, the telephone network, trusted sources, redirections.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use regex::Regex;
use signaling_core::flow::Protocol;
use signaling_core::tables::{Address, Policy, Pstn, Tables, Through};

use crate::testbed::{Bed, Phone, legacy_sdp};

fn bed(tables: Tables) -> Bed {
    let bed = Bed::new(&["alice", "bob"]);
    *bed.store.tables.borrow_mut() = Arc::new(tables);
    bed
}

fn two(bed: &mut Bed) -> (Phone, Phone) {
    let mut alice = Phone::legacy(bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(bed, "bob", "198.51.100.8:5060");
    alice.register(bed);
    bob.register(bed);
    (alice, bob)
}

fn pstn() -> Pstn {
    Pstn {
        through: Through::Gateway { host: "203.0.113.50".into(), port: Some(5080) },
        pattern: Regex::new("^(\\+|00)[1-9][0-9]{3,20}$").unwrap(),
        groups: vec![("int".into(), Regex::new("^00").unwrap())],
    }
}

#[test]
fn aliases_and_short_numbers_lead_to_users() {
    let tables = Tables {
        domains: HashSet::from(["branch.example".into()]),
        aliases: HashMap::from([
            ("sales@sip.example".into(), "team@sip.example".into()),
            ("team".into(), "bob@sip.example".into()),
        ]),
        speed_dial: HashMap::from([(
            ("alice@sip.example".into(), "42".into()),
            "sip:sales@sip.example".into(),
        )]),
        ..Tables::default()
    };
    let mut bed = bed(tables);
    let (mut alice, bob) = two(&mut bed);
    for (number, dialled) in
        ["sip:Sales@sip.example", "sip:42@sip.example", "sip:team@branch.example"].iter().enumerate()
    {
        alice.invite(&mut bed, dialled, &format!("call-{number}"), &legacy_sdp("alice"));
        let offered = bed.expect(&bob.flow, "INVITE sip:bob@198.51.100.8:5060 SIP/2.0");
        bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
        bed.expect(&bob.flow, "ACK ");
        bed.expect(&alice.flow, "SIP/2.0 486 ");
    }
    bed.expect_silence();
    // The short number is alice's own.
    let mut carol = Phone::legacy(&mut bed, "bob", "198.51.100.9:5060");
    refused(&mut carol, &mut bed, "sip:42@sip.example", "404 ");
}

/// Two aliases of each other lead nowhere, and do so soon.
#[test]
fn aliases_in_a_ring_end() {
    let ring = [("a@sip.example", "b@sip.example"), ("b@sip.example", "a@sip.example")];
    let aliases = ring.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
    let mut bed = bed(Tables { aliases, ..Tables::default() });
    let (mut alice, _) = two(&mut bed);
    refused(&mut alice, &mut bed, "sip:a@sip.example", "404 ");
}

#[test]
fn telephone_numbers_are_for_users_and_their_groups() {
    let policy = Policy { pstn: Some(pstn()), ..Policy::default() };
    let groups = HashMap::from([("bob@sip.example".into(), HashSet::from(["int".into()]))]);
    let mut bed = bed(Tables { policy, groups, ..Tables::default() });
    let (mut alice, mut bob) = two(&mut bed);
    let gateway = bed.flow(Protocol::Udp, "203.0.113.50:5080");
    alice.invite(&mut bed, "sip:+4930123456@sip.example", "call-1", &legacy_sdp("alice"));
    bed.expect(&gateway, "INVITE sip:+4930123456@203.0.113.50:5080 SIP/2.0");
    refused(&mut alice, &mut bed, "sip:004930123456@sip.example", "403 Forbidden");
    bob.invite(&mut bed, "sip:004930123456@sip.example", "call-3", &legacy_sdp("bob"));
    bed.expect(&gateway, "INVITE sip:004930123456@203.0.113.50:5080 SIP/2.0");
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    bed.send(&eve, &stranger("INVITE", "sip:+4930123456@sip.example", "e1"));
    bed.expect(&eve, "SIP/2.0 403 Not Allowed");
}

/// A carrier's requests need no password, and may go where those of users may; those of its neighbour may not.
#[test]
fn trusted_sources_need_no_password() {
    let addresses = vec![Address { group: 1, ip: "198.51.100.66".parse().unwrap(), mask: 32, port: 0 }];
    let mut bed = bed(Tables { addresses, ..Tables::default() });
    let (_, bob) = two(&mut bed);
    let (carrier, neighbour) =
        (bed.flow(Protocol::Udp, "198.51.100.66:5060"), bed.flow(Protocol::Udp, "198.51.100.67:5060"));
    let other = bed.flow(Protocol::Udp, "203.0.113.1:5060");
    bed.send(&carrier, &stranger("MESSAGE", "sip:x@203.0.113.1", "c1"));
    bed.expect(&other, "MESSAGE sip:x@203.0.113.1 SIP/2.0");
    bed.send(&neighbour, &stranger("MESSAGE", "sip:x@203.0.113.1", "n1"));
    bed.expect(&neighbour, "SIP/2.0 403 Not relaying");
    let as_user = |call_id| {
        stranger("MESSAGE", "sip:bob@sip.example", call_id).replace("eve@evil.example", "alice@sip.example")
    };
    bed.send(&carrier, &as_user("c2"));
    bed.expect(&bob.flow, "MESSAGE sip:bob@198.51.100.8:5060 SIP/2.0");
    bed.send(&neighbour, &as_user("n2"));
    bed.expect(&neighbour, "SIP/2.0 407 ");
    // Nobody registers in another's name.
    bed.send(&carrier, &stranger("REGISTER", "sip:sip.example", "c3").replace("victim@", "alice@"));
    bed.expect(&carrier, "SIP/2.0 401 ");
}

#[test]
fn redirections_are_kept_from_the_caller_where_that_is_set() {
    for (block_3xx, heard) in [(false, "SIP/2.0 302 "), (true, "SIP/2.0 404 Not found")] {
        let policy = Policy { block_3xx, ..Policy::default() };
        let mut bed = bed(Tables { policy, ..Tables::default() });
        let (mut alice, bob) = two(&mut bed);
        alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
        let offered = bed.expect(&bob.flow, "INVITE ");
        bed.send(&bob.flow, &bob.reply(&offered, 302, "Moved Temporarily", ""));
        bed.expect(&bob.flow, "ACK ");
        bed.expect(&alice.flow, heard);
    }
}

/// Calls `uri`, and hears `answer` at once.
#[track_caller]
fn refused(phone: &mut Phone, bed: &mut Bed, uri: &str, answer: &str) {
    let request = phone.request("INVITE", uri, &format!("refused-{}", phone.user), "", &legacy_sdp("x"));
    let reply = phone.authorized(bed, &request);
    assert!(reply.start_line().starts_with(&format!("SIP/2.0 {answer}")), "{}", reply.start_line());
}

/// A request of somebody from elsewhere.
fn stranger(method: &str, uri: &str, call_id: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.66:5060;branch=z9hG4bK-{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:eve@evil.example>;tag=e\r\nTo: <sip:victim@sip.example>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContact: <sip:eve@198.51.100.66:5060>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A GRUU leads back by itself, be its domain one of the settings or of the table; one of elsewhere does not.
#[test]
fn a_gruu_of_a_further_domain_needs_no_alias() {
    let tables = Tables { domains: HashSet::from(["branch.example".into()]), ..Tables::default() };
    let mut bed = bed(tables);
    let (mut alice, bob) = two(&mut bed);
    for (domain, aliased) in [("sip.example", false), ("branch.example", false), ("far.example", true)] {
        alice.contact = format!("sip:alice@{domain};gr=urn:uuid:1");
        alice.invite(&mut bed, &bob.aor(), domain, &legacy_sdp("alice"));
        let offered = bed.expect(&bob.flow, "INVITE ");
        assert_eq!(offered.header("Contact").contains(";alias="), aliased, "{}", offered.header("Contact"));
        bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
        bed.discard();
    }
}

/// Kamailio's `db_mode` 3: what another gateway has written is seen at the next use, and while the store does not answer, what
/// was seen last counts.
#[test]
fn bindings_that_others_change_are_asked_for() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let aor = "bob@sip.example";
    let ring = |bed: &mut Bed, alice: &mut Phone, number: u32| {
        let request = alice.request("MESSAGE", &bob.aor(), &format!("m-{number}"), "", "hi");
        alice.authorize_only(bed, &request);
        let Some(received) = bed.try_receive(&bob.flow) else {
            bed.expect(&alice.flow, "SIP/2.0 480 ");
            return false;
        };
        bed.send(&bob.flow, &bob.reply(&received, 200, "OK", ""));
        bed.expect(&alice.flow, "SIP/2.0 200 ");
        true
    };
    let row = bed.store.bindings.borrow_mut().remove(aor).expect("a row");
    assert!(ring(&mut bed, &mut alice, 1), "what is known counts");
    bed.store.shared.set(true);
    assert!(!ring(&mut bed, &mut alice, 2), "another has removed it");
    bed.store.bindings.borrow_mut().insert(aor.to_owned(), row);
    assert!(ring(&mut bed, &mut alice, 3), "another has registered it");
    bed.store.bindings.borrow_mut().clear();
    bed.store.unsaved.set(true);
    assert!(ring(&mut bed, &mut alice, 4), "the store is gone");
    bed.store.unsaved.set(false);
    let again = alice.register(&mut bed);
    assert_eq!(again.values("Contact").len(), 1, "{}", again.text);
}
