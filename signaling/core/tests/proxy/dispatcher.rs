//! Gateways of the table `dispatcher`: for telephone numbers, for users behind them, one after the other, and left alone while they
//! do not answer.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use signaling_core::dispatcher::{Algorithm, Dispatcher, Known, Row, Settings as Pings, Variables};
use signaling_core::flow::{Flow, Protocol};
use signaling_core::profiles::{Limits, Profile};
use signaling_core::settings::Settings;
use signaling_core::tables::{Policy, Pstn, Tables, Through};

use crate::testbed::{Bed, Dialog, Phone, Sip, ack_of, legacy_sdp, settings};

const SECOND: Duration = Duration::from_secs(1);
const NUMBER: &str = "sip:+4930123456@sip.example";

fn row(set: i64, number: u8, priority: i64, attrs: &str) -> Row {
    Row { set, destination: format!("sip:203.0.113.{number}:5080"), flags: 0, priority, attrs: attrs.into() }
}

fn tables(rows: Vec<Row>, algorithm: Algorithm, known: &Arc<Known>) -> Tables {
    let pattern = Regex::new("^\\+").expect("a pattern");
    let policy = Policy {
        pstn: Some(Pstn { through: Through::Set(1), pattern, groups: Vec::new() }),
        dispatched: vec![(2, Regex::new("^room-").expect("a pattern"))],
        algorithm,
        limits: Limits { gateway: 2, ..Limits::default() },
        ..Policy::default()
    };
    let dispatcher = Dispatcher::new(rows, Arc::clone(known), |row| panic!("{row:?}"));
    Tables { policy, dispatcher: Arc::new(dispatcher), ..Tables::default() }
}

fn bed(rows: Vec<Row>, algorithm: Algorithm, pings: Pings) -> Bed {
    let mut settings: Settings = settings();
    settings.dispatcher = pings;
    settings.timers.fr_timer = 4 * SECOND;
    let bed = Bed::with(&["alice", "bob"], settings, Vec::new());
    *bed.store.tables.borrow_mut() = Arc::new(tables(rows, algorithm, &Arc::default()));
    bed
}

fn pair(bed: &mut Bed) -> [Flow; 2] {
    [1, 2].map(|number| bed.flow(Protocol::Udp, &format!("203.0.113.{number}:5080")))
}

fn letters(bed: &Bed) -> Vec<String> {
    let tables = bed.store.tables.borrow().clone();
    tables.dispatcher.sets[&1].gateways.iter().map(|gateway| gateway.state.letters()).collect()
}

fn calls(bed: &Bed) -> Vec<u32> {
    let tables = bed.store.tables.borrow().clone();
    tables.dispatcher.sets[&1].gateways.iter().map(|gateway| gateway.state.calls()).collect()
}

/// What a gateway says to a request, in the words of a phone.
fn reply(gateway: &Flow, request: &Sip, code: u16, reason: &str, body: &str) -> String {
    let uri = format!("sip:gw@{}", gateway.remote);
    Phone::on(*gateway, "gw", uri).reply(request, code, reason, body)
}

/// 500, 503 and silence lead to the next one; any other refusal is the caller's.
#[test]
fn a_number_goes_to_the_next_gateway_when_one_fails() {
    for (code, reason) in [(500, "Server Internal Error"), (503, "Service Unavailable"), (0, "")] {
        let mut bed = bed(vec![row(1, 1, 9, ""), row(1, 2, 0, "")], Algorithm::Priority, Pings::default());
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
        let [first, second] = pair(&mut bed);
        alice.invite(&mut bed, NUMBER, "call-1", &legacy_sdp("alice"));
        let invite = bed.expect(&first, "INVITE sip:+4930123456@203.0.113.1:5080 SIP/2.0");
        assert_eq!(calls(&bed), [1, 0]);
        if code == 0 {
            bed.advance(5 * SECOND);
        } else {
            bed.send(&first, &reply(&first, &invite, code, reason, ""));
        }
        let invite = bed.expect(&second, "INVITE sip:+4930123456@203.0.113.2:5080 SIP/2.0");
        assert_eq!(calls(&bed), [0, 1], "{code}");
        assert_eq!(letters(&bed), ["AX", "AX"], "nobody would ask them whether they are back");
        bed.send(&second, &reply(&second, &invite, 486, "Busy Here", ""));
        bed.expect(&alice.flow, "SIP/2.0 486 ");
        assert_eq!(calls(&bed), [0, 0]);
    }
}

#[test]
fn calls_are_spread_and_counted_at_their_gateways() {
    let mut bed = bed(vec![row(1, 1, 9, "maxload=1"), row(1, 2, 0, "")], Algorithm::Load, Pings::default());
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let [first, second] = pair(&mut bed);
    let invite = alice.invite(&mut bed, NUMBER, "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&first, "INVITE ");
    bed.send(&first, &reply(&first, &offered, 200, "OK", &legacy_sdp("gw")));
    let answer = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let mut dialog = Dialog::of_caller(&invite, &answer);
    let ack = dialog.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect(&first, "ACK ");
    for number in 2..=3 {
        alice.invite(&mut bed, NUMBER, &format!("call-{number}"), &legacy_sdp("alice"));
        bed.expect(&second, "INVITE ");
    }
    assert_eq!(calls(&bed), [1, 2]);
    assert_eq!(bed.proxy.dialogs(bed.now, |_| true).len(), 3);
    // The limit of calls to a gateway holds for each of them.
    let request = alice.request("INVITE", NUMBER, "call-4", "", &legacy_sdp("alice"));
    let refused = alice.authorized(&mut bed, &request);
    assert!(
        refused.start_line().contains("503 Too many calls (gateway sip:203.0.113.2:5080)"),
        "{}",
        refused.text
    );
    let seat = (Profile::Gateway, "sip:203.0.113.1:5080".into());
    assert!(bed.proxy.dialogs(bed.now, |_| true).iter().any(|call| call.profiles.contains(&seat)));
    let bye = dialog.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    bed.expect(&first, "BYE ");
    assert_eq!(calls(&bed), [0, 2]);
}

/// A user behind a set: his name stays in the Request-URI. Without a gateway: 404 "No destination".
#[test]
fn users_behind_a_set_are_reached_through_it() {
    let rows = vec![row(2, 1, 0, ""), row(2, 2, 0, "")];
    let mut bed = bed(rows, Algorithm::RoundRobin, Pings::default());
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let gateways = pair(&mut bed);
    for (number, gateway) in gateways.iter().chain(&gateways).enumerate() {
        let request = alice.request("MESSAGE", "sip:room-7@sip.example", &format!("m{number}"), "", "hi");
        alice.authorize_only(&mut bed, &request);
        let received = bed.expect(gateway, "MESSAGE sip:room-7@sip.example SIP/2.0");
        bed.send(gateway, &reply(gateway, &received, 200, "OK", ""));
        bed.expect(&alice.flow, "SIP/2.0 200 ");
    }
    for uri in [NUMBER, "sip:room-8@sip.example"] {
        if uri != NUMBER {
            let none = tables(Vec::new(), Algorithm::RoundRobin, &Arc::default());
            *bed.store.tables.borrow_mut() = Arc::new(none);
        }
        let request = alice.request("INVITE", uri, uri, "", &legacy_sdp("alice"));
        let refused = alice.authorized(&mut bed, &request);
        assert_eq!(refused.start_line(), "SIP/2.0 404 No destination", "{uri}");
        let ack = ack_of(&request, &refused);
        bed.send(&alice.flow, &ack);
    }
}

#[test]
fn all_gateways_ring_at_once_where_that_is_said() {
    let mut bed = bed(vec![row(1, 1, 9, ""), row(1, 2, 0, "")], Algorithm::Parallel, Pings::default());
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let gateways = pair(&mut bed);
    alice.invite(&mut bed, NUMBER, "call-1", &legacy_sdp("alice"));
    for gateway in gateways {
        bed.expect(&gateway, "INVITE ");
    }
}

/// One that does not answer is out of use until it answers a question; one that an operator has disabled is not asked.
#[test]
fn gateways_are_asked_whether_they_are_there() {
    let mut rows = vec![row(1, 1, 9, "ping_from=sip:probe@x.example"), row(1, 2, 0, "")];
    rows.push(Row { flags: signaling_core::dispatcher::DISABLED, ..row(1, 3, 0, "") });
    let pings = Pings { ping_interval: 10 * SECOND, reply_codes: vec![404], ..Pings::default() };
    let mut bed = bed(rows, Algorithm::Priority, pings);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let [first, second] = pair(&mut bed);
    bed.advance(11 * SECOND);
    bed.expect_silence();
    alice.invite(&mut bed, NUMBER, "call-1", &legacy_sdp("alice"));
    bed.expect(&first, "INVITE ");
    bed.advance(5 * SECOND);
    let invite = bed.expect(&second, "INVITE ");
    bed.send(&second, &reply(&second, &invite, 486, "Busy Here", ""));
    assert_eq!(letters(&bed), ["IP", "AX", "DX"]);
    bed.discard();
    alice.invite(&mut bed, NUMBER, "call-2", &legacy_sdp("alice"));
    let invite = bed.expect(&second, "INVITE ");
    bed.send(&second, &reply(&second, &invite, 486, "Busy Here", ""));
    bed.discard();
    bed.advance(6 * SECOND);
    let question = bed.expect(&first, "OPTIONS sip:203.0.113.1:5080 SIP/2.0");
    assert!(question.header("From").starts_with("<sip:probe@x.example>;tag="), "{}", question.text);
    bed.advance(SECOND);
    bed.send(&first, &reply(&first, &question, 503, "Service Unavailable", ""));
    assert_eq!(letters(&bed), ["IP", "AX", "DX"], "it says that it cannot");
    bed.discard();
    bed.advance(8 * SECOND);
    let question = bed.expect(&first, "OPTIONS ");
    bed.send(&first, &reply(&first, &question, 404, "Not Found", ""));
    assert_eq!(letters(&bed), ["AX", "AX", "DX"]);
    let tables = bed.store.tables.borrow().clone();
    let latency = tables.dispatcher.sets[&1].gateways[0].state.latency();
    assert_eq!((latency.count, latency.timeouts), (1, 1));
    bed.discard();
    bed.advance(30 * SECOND);
    bed.expect_silence();
}

/// A gateway that asks for less (RFC 7339) has less, and is told in the Via that it may.
#[test]
fn a_gateway_that_asks_for_less_is_passed_over() {
    let mut bed = bed(vec![row(1, 1, 0, ""), row(1, 2, 0, "")], Algorithm::Overload, Pings::default());
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let gateways = pair(&mut bed);
    for number in 0..6 {
        let invite = alice.invite(&mut bed, NUMBER, &format!("call-{number}"), &legacy_sdp("alice"));
        let place = if number == 0 { 0 } else { 1 };
        let heard = bed.expect(&gateways[place], "INVITE ");
        assert!(heard.values("Via")[0].contains(";oc;oc-algo=\"loss\""), "{}", heard.text);
        let busy = reply(&gateways[place], &heard, 486, "Busy Here", "");
        let asks = if number == 0 { busy.replacen(";oc;", ";oc=100;oc-validity=60000;", 1) } else { busy };
        bed.send(&gateways[place], &asks);
        let refused = bed.expect(&alice.flow, "SIP/2.0 486 ");
        bed.send(&alice.flow, &ack_of(&invite.text, &refused));
        bed.expect(&gateways[place], "ACK ");
        bed.discard();
    }
}

/// Algorithm 7: whoever is the same for `hash_pvar` has the same gateway, whomever he calls.
#[test]
fn whoever_is_the_same_has_the_same_gateway() {
    let mut bed = bed(vec![row(1, 1, 0, ""), row(1, 2, 0, "")], Algorithm::Variables, Pings::default());
    let mut now = (**bed.store.tables.borrow()).clone();
    now.policy.limits = Limits::default();
    now.policy.hash_pvar = Variables::parse("$fU@$si").expect("variables");
    *bed.store.tables.borrow_mut() = Arc::new(now);
    let gateways = pair(&mut bed);
    let mut places = std::collections::BTreeSet::new();
    for source in 0..8 {
        let mut alice = Phone::legacy(&mut bed, "alice", &format!("198.51.100.{}:5060", 20 + source));
        let mut of_source = std::collections::BTreeSet::new();
        for number in 0..3 {
            let uri = format!("sip:+493012345{number}@sip.example");
            alice.invite(&mut bed, &uri, &format!("call-{source}-{number}"), &legacy_sdp("alice"));
            let place = usize::from(bed.try_receive(&gateways[0]).is_none());
            of_source.insert(place);
            bed.discard();
        }
        assert_eq!(of_source.len(), 1, "from {source}");
        places.extend(of_source);
    }
    assert_eq!(places.len(), 2, "and each has its part");
}
