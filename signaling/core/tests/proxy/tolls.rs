//! Calls and minutes of a day at the telephone network.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use signaling_core::event::{EndCause, Event};
use signaling_core::flow::{Flow, Protocol};
use signaling_core::tables::{Policy, Pstn, Tables, Through};
use signaling_core::tolls::{Allowance, Limits, Reached, Tolls, of_gateway, of_user};

use crate::testbed::{Bed, Dialog, Phone, Sip, UNIX_START, ack_of, legacy_sdp};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

struct Scene {
    bed: Bed,
    alice: Phone,
    bob: Phone,
    gateway: Flow,
}

/// An answered call through the gateway.
struct Answered {
    caller: Dialog,
    callee: Phone,
}

fn of_user_of_day(calls: u32, minutes: u32) -> Limits {
    Limits { user: Allowance { calls, minutes }, ..Limits::default() }
}

impl Scene {
    fn new(tolls: Limits) -> Self {
        let mut bed = Bed::new(&["alice", "bob"]);
        let pstn = Pstn {
            through: Through::Gateway { host: "203.0.113.50".into(), port: None },
            pattern: Regex::new("^[+]").expect("a pattern"),
            groups: Vec::new(),
        };
        let policy = Policy { tolls, pstn: Some(pstn), ..Policy::default() };
        let groups = HashMap::from([("bob@sip.example".to_owned(), HashSet::from(["sales".to_owned()]))]);
        *bed.store.tables.borrow_mut() = Arc::new(Tables { policy, groups, ..Tables::default() });
        let [alice, bob] = [("alice", 7), ("bob", 8)].map(|(user, host)| {
            let mut phone = Phone::legacy(&mut bed, user, &format!("198.51.100.{host}:5060"));
            phone.register(&mut bed);
            phone
        });
        let gateway = bed.flow(Protocol::Udp, "203.0.113.50:5060");
        Self { bed, alice, bob, gateway }
    }

    fn caller(&mut self, user: &str) -> &mut Phone {
        if user == "alice" { &mut self.alice } else { &mut self.bob }
    }

    /// A call that the gateway answers.
    fn call(&mut self, user: &str, call_id: &str) -> Answered {
        let bed = &mut self.bed;
        let caller = if user == "alice" { &mut self.alice } else { &mut self.bob };
        let invite = caller.invite(bed, "sip:+4930123@sip.example", call_id, &legacy_sdp(user));
        let offered = bed.expect(&self.gateway, "INVITE sip:+4930123@203.0.113.50 ");
        let callee = Phone::on(self.gateway, "+4930123", "sip:+4930123@203.0.113.50".into());
        bed.send(&self.gateway, &callee.reply(&offered, 200, "OK", &legacy_sdp("gateway")));
        let answered = bed.expect(&caller.flow, "SIP/2.0 200 ");
        let mut dialog = Dialog::of_caller(&invite, &answered);
        let ack = dialog.request(caller, "ACK", "", "");
        bed.send(&caller.flow, &ack);
        bed.expect(&self.gateway, "ACK ");
        Answered { caller: dialog, callee }
    }

    fn hang_up(&mut self, user: &str, call: &mut Answered) {
        let bye = {
            let caller = self.caller(user);
            call.caller.request(caller, "BYE", "", "")
        };
        let flow = self.caller(user).flow;
        self.bed.send(&flow, &bye);
        let there = self.bed.expect(&self.gateway, "BYE ");
        self.bed.send(&self.gateway, &call.callee.reply(&there, 200, "OK", ""));
        self.bed.expect(&flow, "SIP/2.0 200 ");
    }

    /// A call that is refused.
    fn refused(&mut self, user: &str, call_id: &str) -> Sip {
        let bed = &mut self.bed;
        let caller = if user == "alice" { &mut self.alice } else { &mut self.bob };
        let more = format!("Contact: <{}>\r\n", caller.contact);
        let request = caller.request("INVITE", "sip:+4930123@sip.example", call_id, &more, &legacy_sdp(user));
        let (invite, refusal) = caller.authorize(bed, &request);
        bed.send(&caller.flow, &ack_of(&invite, &refusal));
        refusal
    }

    fn reached(&self) -> Vec<(String, bool, Reached)> {
        let of = |event: &Event| match event {
            Event::TollReached { seat, source, reached, .. } => {
                Some((seat.1.to_string(), source.is_some(), *reached))
            }
            _ => None,
        };
        self.bed.events.iter().filter_map(of).collect()
    }

    fn ended(&self) -> Vec<(EndCause, Duration)> {
        let of = |event: &Event| match event {
            Event::CallEnded(record) => Some((record.cause, record.duration)),
            _ => None,
        };
        self.bed.events.iter().filter_map(of).collect()
    }
}

/// The day after `UNIX_START` begins in so long (UTC).
fn until_midnight() -> Duration {
    Duration::from_secs(86_400 - UNIX_START % 86_400)
}

#[test]
fn so_many_calls_of_a_day_and_then_403_until_midnight() {
    let mut scene = Scene::new(of_user_of_day(2, 0));
    for number in 0..2 {
        let mut call = scene.call("alice", &format!("call-{number}"));
        scene.hang_up("alice", &mut call);
    }
    let refusal = scene.refused("alice", "third");
    assert_eq!(refusal.start_line(), "SIP/2.0 403 Limit Of The Day Reached (calls)");
    assert_eq!(refusal.header("Reason"), "Q.850;cause=21;text=\"limit of the day reached\"");
    assert!(refusal.headers("Retry-After").is_empty());
    assert_eq!(scene.reached(), [("alice@sip.example".to_owned(), true, Reached::Calls)]);
    assert_eq!(scene.bed.proxy.stats().toll_refused, 1);
    // Others have their own, and calls within the house cost nothing.
    let mut call = scene.call("bob", "bobs");
    scene.hang_up("bob", &mut call);
    let Scene { bed, alice, bob, .. } = &mut scene;
    alice.invite(bed, &bob.aor(), "inside", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
    bed.discard();
    bed.advance(until_midnight());
    bed.discard();
    scene.alice.register(&mut scene.bed);
    let mut call = scene.call("alice", "tomorrow");
    scene.hang_up("alice", &mut call);
}

#[test]
fn a_call_that_uses_the_minutes_up_is_ended_at_that_second() {
    let mut scene = Scene::new(of_user_of_day(0, 10));
    let mut first = scene.call("alice", "first");
    scene.bed.advance(MINUTE * 4);
    scene.bed.discard();
    scene.hang_up("alice", &mut first);
    let _second = scene.call("alice", "second");
    scene.bed.advance(MINUTE * 6 - SECOND);
    scene.bed.expect_silence();
    scene.bed.advance(SECOND);
    for flow in [scene.gateway, scene.alice.flow] {
        let bye = scene.bed.expect(&flow, "BYE ");
        assert_eq!(bye.header("Reason"), "SIP;cause=403;text=\"minutes of the day used up\"");
    }
    assert_eq!(scene.ended(), [(EndCause::CallerBye, MINUTE * 4), (EndCause::TollReached, MINUTE * 6)]);
    assert_eq!(scene.reached(), [("alice@sip.example".to_owned(), false, Reached::Minutes)]);
    let stats = scene.bed.proxy.stats();
    assert_eq!((stats.toll_ended, stats.expired_calls, scene.bed.proxy.calls()), (1, 1, 0));
    assert!(scene.bed.media.is_clean());
    scene.bed.discard();
    let refusal = scene.refused("alice", "third");
    assert_eq!(refusal.start_line(), "SIP/2.0 403 Limit Of The Day Reached (minutes)");
}

/// Two calls at once spend twice as fast, and end together; nobody else is touched.
#[test]
fn calls_at_once_add_up() {
    let mut scene = Scene::new(of_user_of_day(0, 10));
    let (_one, _other, _bobs) =
        (scene.call("alice", "one"), scene.call("alice", "other"), scene.call("bob", "bobs"));
    scene.bed.advance(MINUTE * 5);
    assert_eq!(scene.ended(), [(EndCause::TollReached, MINUTE * 5)], "that which took the last second");
    scene.bed.advance(SECOND);
    assert_eq!(scene.ended()[1], (EndCause::TollReached, MINUTE * 5 + SECOND));
    assert_eq!(scene.bed.proxy.calls(), 1, "bob's goes on");
}

/// What is spent on one worker is spent on all: calls are counted together, and minutes of calls on two of them end both.
#[test]
fn workers_share_what_is_spent() {
    let table = Arc::new(Tolls::default());
    let [mut one, mut other] = [0, 1].map(|_| {
        let mut scene = Scene::new(of_user_of_day(3, 10));
        scene.bed.proxy = scene.bed.proxy.with_tolls(Arc::clone(&table));
        scene
    });
    let mut first = one.call("alice", "first");
    one.hang_up("alice", &mut first);
    let (_there, _here) = (other.call("alice", "second"), one.call("alice", "third"));
    for (scene, call) in [(&mut one, "fourth"), (&mut other, "fifth")] {
        let refusal = scene.refused("alice", call);
        assert_eq!(refusal.start_line(), "SIP/2.0 403 Limit Of The Day Reached (calls)");
    }
    // Both clocks go on together, a second each in turn.
    for _ in 0..5 * 60 + 1 {
        one.bed.advance(SECOND);
        other.bed.advance(SECOND);
    }
    let ended =
        |scene: &Scene| scene.ended().iter().filter(|(cause, _)| *cause == EndCause::TollReached).count();
    assert_eq!((ended(&one), ended(&other)), (1, 1));
    assert_eq!((one.bed.proxy.calls(), other.bed.proxy.calls()), (0, 0));
}

/// What a call lasts before midnight is of the day before.
#[test]
fn a_call_over_midnight_spends_of_both_days() {
    let mut scene = Scene::new(of_user_of_day(0, 10));
    scene.bed.advance(until_midnight() - MINUTE * 9);
    scene.bed.discard();
    scene.alice.register(&mut scene.bed);
    let _call = scene.call("alice", "late");
    scene.bed.advance(MINUTE * 18);
    assert_eq!(scene.ended(), [], "nine minutes of each day");
    scene.bed.advance(MINUTE);
    assert_eq!(scene.ended(), [(EndCause::TollReached, MINUTE * 19)]);
}

/// A user's groups may have more, or less; a gateway has its own for all together.
#[test]
fn groups_and_gateways_have_limits_of_their_own() {
    let mut limits = of_user_of_day(1, 0);
    limits.calls_of_groups = HashMap::from([("sales".to_owned(), 3)]);
    limits.gateway = Allowance { calls: 3, minutes: 0 };
    let mut scene = Scene::new(limits);
    for (number, (user, refused)) in [
        ("alice", None),
        ("alice", Some("alice@sip.example")),
        ("bob", None),
        ("bob", None),
        ("bob", Some("203.0.113.50")),
    ]
    .into_iter()
    .enumerate()
    {
        let call_id = format!("call-{number}");
        match refused {
            None => {
                let mut call = scene.call(user, &call_id);
                scene.hang_up(user, &mut call);
            }
            Some(whose) => {
                let refusal = scene.refused(user, &call_id);
                assert!(refusal.start_line().contains("403 Limit Of The Day"), "{}", refusal.text);
                assert_eq!(scene.reached().pop().map(|(seat, ..)| seat), Some(whose.to_owned()));
            }
        }
    }
}

/// What was spent before counts from the first call on; what is taken back is free again.
#[test]
fn what_was_spent_is_known_and_may_be_forgiven() {
    let mut scene = Scene::new(of_user_of_day(5, 10));
    let tolls = scene.bed.proxy.tolls();
    let day = i64::try_from(UNIX_START / 86_400).expect("a day");
    let spent =
        |calls, minutes: u64| signaling_core::tolls::Spent { day, calls, milliseconds: minutes * 60_000 };
    tolls.load([(of_user("alice@sip.example"), spent(1, 9)), (of_user("bob@sip.example"), spent(5, 0))]);
    let _call = scene.call("alice", "first");
    scene.bed.advance(MINUTE);
    assert_eq!(scene.ended(), [(EndCause::TollReached, MINUTE)]);
    scene.bed.discard();
    assert_eq!(scene.refused("bob", "sixth").code(), 403);
    let expected = [
        (of_user("alice@sip.example"), spent(2, 10)),
        (of_user("bob@sip.example"), spent(5, 0)),
        (of_gateway("203.0.113.50"), spent(1, 1)),
    ];
    let mut listed = tolls.list(day);
    listed.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(listed, expected);
    assert!(tolls.reset(&of_user("bob@sip.example")));
    let mut call = scene.call("bob", "again");
    scene.hang_up("bob", &mut call);
}

/// Without limits nothing is counted, and nothing wakes anybody for it.
#[test]
fn no_limit_no_count() {
    let mut scene = Scene::new(Limits::default());
    let mut call = scene.call("alice", "first");
    scene.bed.advance(MINUTE * 30);
    scene.bed.discard();
    scene.hang_up("alice", &mut call);
    let day = i64::try_from(UNIX_START / 86_400).expect("a day");
    assert!(scene.bed.proxy.tolls().list(day).is_empty() && scene.reached().is_empty());
}
