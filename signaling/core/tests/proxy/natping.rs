//! Keep-alive of phones on datagrams: OPTIONS from us (Kamailio's nathelper), STUN from them (RFC 5626 §4.4.2).

use std::time::Duration;

use signaling_core::event::{Event, Expiry};
use signaling_core::settings::{Nathelper, Settings};

use crate::testbed::{Bed, DOMAIN, Phone, settings};

const INTERVAL: Duration = Duration::from_secs(30);

fn bed(users: &[&str], nathelper: Nathelper) -> Bed {
    Bed::with(users, Settings { nathelper, ..settings() }, Vec::new())
}

/// A registered phone that is seen elsewhere than its Contact says.
fn nated(bed: &mut Bed, user: &str, remote: &str) -> Phone {
    let mut phone = Phone::legacy(bed, user, remote);
    phone.contact = format!("sip:{user}@10.0.0.9:5060");
    phone.register(bed);
    phone
}

#[test]
fn a_phone_behind_a_nat_is_asked_once_an_interval() {
    let mut bed = bed(&["alice", "bob"], Nathelper::default());
    let alice = nated(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.register(&mut bed);
    for round in 1..=5 {
        bed.advance(INTERVAL + Duration::from_secs(6));
        let mut asked = 0;
        while let Some(options) = bed.try_receive(&alice.flow) {
            asked += 1;
            assert_eq!((options.method(), options.uri()), ("OPTIONS", "sip:alice@10.0.0.9:5060"));
            assert!(options.header("From").starts_with(&format!("<sip:pinger@{DOMAIN}>;tag=")));
            assert!(!options.header("Call-ID").contains("alice"), "nobody else has to know");
            bed.send(&alice.flow, &alice.reply(&options, 200, "OK", ""));
        }
        assert!((1..=2).contains(&asked), "round {round}: {asked}");
    }
    assert!(bed.try_receive(&bob.flow).is_none(), "its Contact is true, so nobody has to keep a NAT open");
    let stats = bed.proxy.stats();
    assert!(stats.natpings >= 5 && stats.natpings_answered == stats.natpings, "{stats:?}");
    assert_eq!(stats.strays, 0);
}

#[test]
fn everybody_is_asked_when_told_to_and_nobody_without_an_interval() {
    let all = Nathelper {
        ping_nated_only: false,
        sipping_from: Some("sip:x@y.example".into()),
        ..Nathelper::default()
    };
    let never = Nathelper { natping_interval: Duration::ZERO, ..all.clone() };
    for (nathelper, asked) in [(all, true), (never, false)] {
        let mut bed = bed(&["bob"], nathelper);
        let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
        bob.register(&mut bed);
        bed.advance(INTERVAL * 2);
        let options = bed.try_receive(&bob.flow);
        assert_eq!(options.is_some(), asked);
        assert!(options.is_none_or(|options| options.header("From").starts_with("<sip:x@y.example>;tag=")));
    }
}

/// Nothing is told by default of what asks.
#[test]
fn what_asks_says_who_it_is_where_it_shall() {
    for agent in [None, Some("Switchboard of Example".to_owned())] {
        let settings = Settings { user_agent_header: agent.clone(), ..settings() };
        let mut bed = Bed::with(&["alice"], settings, Vec::new());
        let alice = nated(&mut bed, "alice", "198.51.100.7:5060");
        bed.advance(INTERVAL + Duration::from_secs(6));
        let options = bed.try_receive(&alice.flow).expect("it is asked");
        assert_eq!(options.headers("User-Agent"), agent.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn many_are_spread_over_the_interval() {
    let users: Vec<String> = (0..200).map(|number| format!("u{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut bed = bed(&users, Nathelper::default());
    let phones: Vec<Phone> = (0..200_u8)
        .map(|number| nated(&mut bed, &format!("u{number}"), &format!("198.51.100.{number}:5060")))
        .collect();
    bed.advance(Duration::from_secs(6));
    bed.discard();
    let (mut most, mut all) = (0, 0);
    for _ in 0..INTERVAL.as_secs() {
        bed.advance(Duration::from_secs(1));
        let now = phones.iter().filter(|phone| bed.try_receive(&phone.flow).is_some()).count();
        (most, all) = (most.max(now), all + now);
    }
    assert!((190..=210).contains(&all), "each once: {all}");
    assert!(most <= 40, "not all at once: {most} in a second");
}

#[test]
fn a_phone_that_answers_nothing_is_given_up_when_told_to() {
    let nathelper = Nathelper { keepalive_timeout: Duration::from_secs(100), ..Nathelper::default() };
    let mut bed = bed(&["alice", "bob"], nathelper);
    let alice = nated(&mut bed, "alice", "198.51.100.7:5060");
    nated(&mut bed, "bob", "198.51.100.8:5060");
    for _ in 0..15 {
        bed.advance(Duration::from_secs(10));
        while let Some(options) = bed.try_receive(&alice.flow) {
            bed.send(&alice.flow, &alice.reply(&options, 404, "Not Found", ""));
        }
    }
    assert_eq!(bed.location.count(), (1, 1));
    let given_up = |event: &Event| matches!(event, Event::Expired { aor, cause: Expiry::Unanswered, .. } if aor == "bob@sip.example");
    assert!(bed.events.iter().any(given_up));
    assert!(bed.store.bindings.borrow()["bob@sip.example"].is_empty(), "nor after a restart");
}

#[test]
fn a_forged_answer_is_a_stray() {
    let mut bed = bed(&["alice"], Nathelper::default());
    let alice = nated(&mut bed, "alice", "198.51.100.7:5060");
    bed.advance(INTERVAL * 2);
    let options = bed.receive(&alice.flow);
    let forged =
        alice.reply(&options, 200, "OK", "").replace(options.header("Call-ID"), "AAAAAAAAAAAAAAAAAAAAAAAA");
    bed.send(&alice.flow, &forged);
    let stats = bed.proxy.stats();
    assert_eq!((stats.strays, stats.natpings_answered), (1, 0));
}
