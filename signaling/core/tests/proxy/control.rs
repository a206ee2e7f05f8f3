//! What an operator asks and has done, limits of calls, and keep-alive within them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use signaling_core::event::{EndCause, Event};
use signaling_core::profiles::{Limits, Profile};
use signaling_core::proxy::control::State;
use signaling_core::settings::{self, Settings, Voicemail};
use signaling_core::tables::{Policy, Pstn, Tables, Through};

use crate::testbed::{Bed, Dialog, Phone, Sip, ack_of, legacy_sdp, settings};

const SECOND: Duration = Duration::from_secs(1);

fn with_limits(limits: Limits) -> Bed {
    let bed = Bed::new(&["alice", "bob", "carol"]);
    let pstn = Pstn {
        through: Through::Gateway { host: "203.0.113.50".into(), port: Some(5080) },
        pattern: Regex::new("^00[1-9]").expect("a pattern"),
        groups: Vec::new(),
    };
    let groups = HashMap::from([("alice@sip.example".to_owned(), HashSet::from(["sales".to_owned()]))]);
    let policy = Policy { limits, pstn: Some(pstn), ..Policy::default() };
    *bed.store.tables.borrow_mut() = Arc::new(Tables { policy, groups, ..Tables::default() });
    bed
}

fn phones(bed: &mut Bed) -> [Phone; 3] {
    [("alice", 7), ("bob", 8), ("carol", 9)].map(|(user, host)| {
        let mut phone = Phone::legacy(bed, user, &format!("198.51.100.{host}:5060"));
        phone.register(bed);
        phone
    })
}

/// A call that is answered and acknowledged: the dialogs of its two ends.
fn call(bed: &mut Bed, caller: &mut Phone, callee: &Phone, call_id: &str) -> (Dialog, Dialog) {
    let invite = caller.invite(bed, &callee.aor(), call_id, &legacy_sdp("caller"));
    let offered = bed.expect(&callee.flow, "INVITE ");
    let answer = callee.reply(&offered, 200, "OK", &legacy_sdp("callee"));
    bed.send(&callee.flow, &answer);
    let answered = bed.expect(&caller.flow, "SIP/2.0 200 ");
    let mut dialog = Dialog::of_caller(&invite, &answered);
    let ack = dialog.request(caller, "ACK", "", "");
    bed.send(&caller.flow, &ack);
    bed.expect(&callee.flow, "ACK ");
    (dialog, Dialog::of_callee(&offered, &Sip { text: answer }))
}

/// A call that is refused: the refusal, which is acknowledged.
fn refused(bed: &mut Bed, caller: &mut Phone, uri: &str, call_id: &str) -> Sip {
    let more = format!("Contact: <{}>\r\n", caller.contact);
    let request = caller.request("INVITE", uri, call_id, &more, &legacy_sdp("caller"));
    let (invite, refusal) = caller.authorize(bed, &request);
    bed.send(&caller.flow, &ack_of(&invite, &refusal));
    refusal
}

fn ended(bed: &Bed, cause: EndCause) -> bool {
    bed.events.iter().any(|event| matches!(event, Event::CallEnded(record) if record.cause == cause))
}

/// As the article shows: 1 while it is set up, waiting while it lingers, and nothing at the end.
#[test]
fn a_relayed_transaction_is_one_and_leaves_nothing() {
    let mut bed = Bed::new(&["alice", "bob", "carol"]);
    let [mut alice, bob, _] = phones(&mut bed);
    bed.advance(SECOND * 60);
    let stats = |bed: &Bed| bed.proxy.transaction_stats().without_branches();
    let before = stats(&bed);
    assert_eq!((before.current, before.created), (0, before.freed));
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    // The INVITE without credentials is absorbed for a while.
    bed.advance(SECOND * 6);
    let during = stats(&bed);
    assert_eq!((during.current, during.waiting, during.total_local), (1, 0, before.total_local));
    let listed = bed.proxy.transactions(bed.now);
    assert_eq!((listed.len(), listed[0].outgoings, listed[0].method.as_str()), (1, 1, "INVITE"));
    assert!(listed[0].is_server && listed[0].from.contains("alice") && listed[0].call_id == "call-1");
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let waiting = stats(&bed);
    assert_eq!((waiting.current, waiting.waiting), (1, 1));
    let mut dialog = Dialog::of_caller(&invite, &answered);
    let ack = dialog.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.advance(SECOND * 40);
    let after = stats(&bed);
    assert_eq!((after.current, after.waiting, after.created), (0, 0, after.freed));
    // A BYE of ours is a transaction of our own.
    bed.discard();
    assert_eq!(bed.proxy.end_calls(bed.now, |_| true), 1);
    bed.drain();
    let own = stats(&bed);
    assert_eq!((own.current, own.total_local), (2, before.total_local + 2));
    let listed = bed.proxy.transactions(bed.now);
    assert!(listed.iter().all(|own| !own.is_server && own.method == "BYE" && own.call_id == "call-1"));
    bed.advance(SECOND * 40);
    let end = stats(&bed);
    assert_eq!((end.current, end.waiting, end.created), (0, 0, end.freed));
    assert_eq!(bed.proxy.transaction_stats().branches.created, bed.proxy.transaction_stats().branches.freed);
}

#[test]
fn a_call_is_shown_and_ended_by_command_however_far_it_has_come() {
    let mut bed = Bed::new(&["alice", "bob", "carol"]);
    let [mut alice, bob, _] = phones(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "ringing", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE ");
    let state = |bed: &Bed| bed.proxy.dialogs(bed.now, |_| true)[0].state;
    assert_eq!(state(&bed), State::Unconfirmed);
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    assert_eq!(state(&bed), State::Early);
    assert_eq!(bed.proxy.end_calls(bed.now, |call| call.call_id == "another"), 0);
    assert_eq!(bed.proxy.end_calls(bed.now, |call| call.call_id == "ringing"), 1);
    bed.drain();
    let refused = bed.expect(&alice.flow, "SIP/2.0 487 ");
    assert_eq!(refused.header("Reason"), "SIP;cause=487;text=\"ended by command\"");
    bed.send(&alice.flow, &ack_of(&invite.text, &refused));
    let cancel = bed.expect(&bob.flow, "CANCEL ");
    assert_eq!(cancel.header("Reason"), "SIP;cause=487;text=\"ended by command\"");
    bed.send(&bob.flow, &bob.reply(&cancel, 200, "OK", ""));
    bed.send(&bob.flow, &bob.reply(&offered, 487, "Request Terminated", ""));
    assert!(bed.media.is_clean());
    bed.discard();

    call(&mut bed, &mut alice, &bob, "talking");
    bed.advance(SECOND * 10);
    let shown = bed.proxy.dialogs(bed.now, |_| true);
    let (shown, callee) = (&shown[0], shown[0].callee.as_ref().expect("a callee"));
    assert_eq!((shown.state, shown.duration, shown.left), (State::Confirmed, SECOND * 10, SECOND * 43_190));
    assert_eq!((shown.from_uri.as_str(), callee.tag.as_str()), ("sip:alice@sip.example", bob.tag.as_str()));
    assert_eq!(bed.proxy.end_calls(bed.now, |_| true), 1);
    bed.drain();
    for phone in [&alice, &bob] {
        let bye = bed.expect(&phone.flow, "BYE ");
        assert_eq!(bye.header("Reason"), "SIP;cause=487;text=\"ended by command\"");
    }
    assert!(ended(&bed, EndCause::Command) && bed.proxy.calls() == 0 && bed.media.is_clean());
}

#[test]
fn a_callee_with_enough_calls_is_busy() {
    let mut bed = with_limits(Limits { user: 1, ..Limits::default() });
    let [mut alice, bob, mut carol] = phones(&mut bed);
    let (mut dialog, _) = call(&mut bed, &mut alice, &bob, "first");
    let busy = refused(&mut bed, &mut carol, &bob.aor(), "second");
    assert_eq!(busy.code(), 486);
    assert_eq!(busy.header("Reason"), "Q.850;cause=17;text=\"user busy: too many calls\"");
    bed.expect_silence();
    assert_eq!((bed.proxy.calls(), bed.proxy.stats().limited_calls), (1, 1));
    // In a call nothing is counted again.
    let again = dialog.request(&mut alice, "INVITE", "", &legacy_sdp("alice"));
    bed.send(&alice.flow, &again);
    let offered = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    bed.expect(&alice.flow, "SIP/2.0 100 ");
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let ack = dialog.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect(&bob.flow, "ACK ");
    let bye = dialog.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let hung_up = bed.expect(&bob.flow, "BYE ");
    bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    // A call that nobody takes gives its places back as well.
    for call_id in ["third", "fourth"] {
        let invite = carol.invite(&mut bed, &bob.aor(), call_id, &legacy_sdp("carol"));
        let offered = bed.expect(&bob.flow, "INVITE ");
        bed.send(&bob.flow, &bob.reply(&offered, 603, "Decline", ""));
        bed.expect(&bob.flow, "ACK ");
        let declined = bed.expect(&carol.flow, "SIP/2.0 603 ");
        bed.send(&carol.flow, &ack_of(&invite.text, &declined));
    }
    assert!(bed.media.is_clean());
}

#[test]
fn a_busy_callee_has_his_voicemail() {
    let voicemail = Some(Voicemail { host: "203.0.113.60".into(), port: 5060 });
    let mut bed = Bed::with(&["alice", "bob", "carol"], Settings { voicemail, ..settings() }, Vec::new());
    let policy = Policy { limits: Limits { user: 1, ..Limits::default() }, ..Policy::default() };
    *bed.store.tables.borrow_mut() = Arc::new(Tables { policy, ..Tables::default() });
    let [mut alice, bob, mut carol] = phones(&mut bed);
    call(&mut bed, &mut alice, &bob, "first");
    carol.invite(&mut bed, &bob.aor(), "second", &legacy_sdp("carol"));
    let server = bed.flow(signaling_core::flow::Protocol::Udp, "203.0.113.60:5060");
    bed.expect(&server, "INVITE sip:bob@203.0.113.60:5060 ");
    bed.expect_silence();
}

/// Of the caller, of his group, to the gateway, and of all: each is want of room, and says of what.
#[test]
fn want_of_room_is_503_with_the_time_to_wait() {
    let sales = HashMap::from([("sales".to_owned(), 1)]);
    for (limits, second, expected) in [
        (Limits { groups: sales, ..Limits::default() }, "alice", "Too many calls (group sales)"),
        (Limits { gateway: 1, ..Limits::default() }, "carol", "Too many calls (gateway 203.0.113.50)"),
        (Limits { all: 1, ..Limits::default() }, "carol", "Too many calls (all)"),
        (Limits { user: 1, ..Limits::default() }, "alice", "Too many calls (user alice@sip.example)"),
    ] {
        let mut bed = with_limits(limits);
        let [mut alice, _, mut carol] = phones(&mut bed);
        let gateway = bed.flow(signaling_core::flow::Protocol::Udp, "203.0.113.50:5080");
        let first = alice.invite(&mut bed, "sip:0049301@sip.example", "first", &legacy_sdp("alice"));
        let offered = bed.expect(&gateway, "INVITE sip:0049301@203.0.113.50:5080 ");
        let caller = if second == "alice" { &mut alice } else { &mut carol };
        let refused = refused(&mut bed, caller, "sip:0049302@sip.example", "second");
        assert_eq!(refused.start_line(), format!("SIP/2.0 503 {expected}"));
        assert_eq!(refused.header("Retry-After"), "10");
        assert!(refused.header("Reason").starts_with("Q.850;cause=34;"), "{}", refused.text);
        // What is over makes room.
        let answerer = Phone::on(gateway, "0049301", "sip:0049301@203.0.113.50:5080".into());
        bed.send(&gateway, &answerer.reply(&offered, 404, "Not Found", ""));
        bed.expect(&gateway, "ACK ");
        let over = bed.expect(&alice.flow, "SIP/2.0 404 ");
        bed.send(&alice.flow, &ack_of(&first.text, &over));
        let caller = if second == "alice" { &mut alice } else { &mut carol };
        caller.invite(&mut bed, "sip:0049303@sip.example", "third", &legacy_sdp(second));
        bed.expect(&gateway, "INVITE sip:0049303@");
        let shown = bed.proxy.dialogs(bed.now, |_| true);
        assert!(shown[0].profiles.contains(&(Profile::Gateway, "203.0.113.50".into())), "{shown:?}");
    }
}

fn keeping_alive(limit: u32) -> Bed {
    let dialog = settings::Dialog {
        ka_timer: SECOND * 5,
        ka_interval: SECOND * 30,
        ka_failed_limit: limit,
        ..settings::Dialog::default()
    };
    Bed::with(&["alice", "bob", "carol"], Settings { dialog, ..settings() }, Vec::new())
}

/// Both ends are asked in turns, whoever answers anything is there, and their own numbers go on as if nothing had been.
#[test]
fn ends_that_answer_keep_their_call() {
    let mut bed = keeping_alive(1);
    let [mut alice, bob, _] = phones(&mut bed);
    let (mut dialog, _) = call(&mut bed, &mut alice, &bob, "call-1");
    // For half a minute the INVITE may be repeated; nothing comes between.
    bed.advance(SECOND * 30);
    bed.expect_silence();
    bed.advance(SECOND * 5);
    let mut numbers = Vec::new();
    for round in 0..3 {
        for (phone, code) in [(&alice, 200), (&bob, 501)] {
            let asked = bed.expect(&phone.flow, "OPTIONS ");
            assert_eq!(asked.header("Call-ID"), "call-1");
            numbers.push(asked.header("CSeq").to_owned());
            bed.send(&phone.flow, &phone.reply(&asked, code, "Whatever", ""));
        }
        bed.expect_silence();
        bed.advance(SECOND * 30);
        assert_eq!(bed.proxy.calls(), 1, "{round}");
    }
    numbers.dedup();
    assert_eq!(numbers.len(), 6, "each question has a number of its own: {numbers:?}");
    bed.discard();
    let bye = dialog.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let hung_up = bed.expect(&bob.flow, "BYE ");
    let number: u32 =
        hung_up.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    let last: u32 = numbers[4].split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(number > last, "bob has seen {last}, and hears {number}");
    bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let own = bye.lines().find(|line| line.starts_with("CSeq: ")).expect("a CSeq");
    assert_eq!(format!("CSeq: {}", answered.header("CSeq")), own, "alice knows nothing of it");
}

#[test]
fn an_end_that_is_gone_ends_its_call() {
    for (limit, code, rounds) in [(1, Some(481), 1), (2, Some(481), 2), (1, None, 1)] {
        let mut bed = keeping_alive(limit);
        let [mut alice, bob, _] = phones(&mut bed);
        call(&mut bed, &mut alice, &bob, "call-1");
        bed.advance(SECOND * 35);
        for round in 0..rounds {
            assert_eq!(bed.proxy.calls(), 1, "{round}");
            let asked = bed.expect(&alice.flow, "OPTIONS ");
            bed.send(&alice.flow, &alice.reply(&asked, 200, "OK", ""));
            let asked = bed.expect(&bob.flow, "OPTIONS ");
            if let Some(code) = code {
                bed.send(&bob.flow, &bob.reply(&asked, code, "Call Does Not Exist", ""));
            }
            if round + 1 < rounds {
                bed.advance(SECOND * 30);
            }
        }
        if code.is_none() {
            bed.advance(SECOND * 29);
            assert_eq!(bed.proxy.calls(), 1, "it may only be slow");
            bed.advance(SECOND * 4);
        }
        let bye = loop {
            let message = bed.receive(&alice.flow);
            if message.method() == "BYE" {
                break message;
            }
        };
        assert_eq!(bye.header("Reason"), "SIP;cause=408;text=\"keep-alive not answered\"");
        assert!(
            ended(&bed, EndCause::KeepAlive) && bed.proxy.calls() == 0 && bed.media.is_clean(),
            "{code:?}"
        );
        assert_eq!(bed.proxy.stats().expired_calls, 1);
    }
}

#[test]
fn no_call_is_longer_than_the_longest() {
    let dialog = settings::Dialog { default_timeout: SECOND * 600, ..settings::Dialog::default() };
    let mut bed = Bed::with(&["alice", "bob", "carol"], Settings { dialog, ..settings() }, Vec::new());
    let [mut alice, bob, _] = phones(&mut bed);
    call(&mut bed, &mut alice, &bob, "call-1");
    bed.advance(SECOND * 595);
    assert_eq!(bed.proxy.calls(), 1);
    bed.discard();
    bed.advance(SECOND * 11);
    for phone in [&alice, &bob] {
        let bye = bed.expect(&phone.flow, "BYE ");
        assert_eq!(bye.header("Reason"), "SIP;cause=408;text=\"longest duration reached\"");
    }
    assert!(ended(&bed, EndCause::TooLong));
}
