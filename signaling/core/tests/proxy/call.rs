//! Calls between legacy phones.

use std::time::Duration;

use signaling_core::event::{EndCause, Event};
use signaling_core::outside::MediaError;
use signaling_core::settings::{Settings, Tm};

use crate::pair::ringing;
use crate::testbed::{Bed, Dialog, Phone, Sip, ack_of, cancel_of, legacy_sdp, settings};

/// Two registered phones.
fn two(bed: &mut Bed) -> (Phone, Phone) {
    let mut alice = Phone::legacy(bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(bed, "bob", "198.51.100.8:5060");
    alice.register(bed);
    bob.register(bed);
    (alice, bob)
}

#[test]
fn two_phones_call_and_hang_up() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE sip:bob@198.51.100.8:5060 SIP/2.0");
    assert!(
        offered.body().ends_with("a=x-relay:offer Legacy Legacy ".to_owned().as_str())
            || offered.body().contains("x-relay:offer")
    );
    assert_eq!(offered.header("Max-Forwards"), "68");
    assert_eq!(
        offered.headers("Proxy-Authorization"),
        Vec::<&str>::new(),
        "the proof was for the proxy alone"
    );
    assert_eq!(offered.values("Record-Route").len(), 1);

    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert!(answered.body().contains("a=x-relay:answer"));
    assert_eq!(answered.values("Via").len(), 1);

    let mut caller = Dialog::of_caller(&invite, &answered);
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    let acked = bed.expect(&bob.flow, "ACK sip:bob@198.51.100.8:5060 SIP/2.0");
    assert!(acked.headers("Route").is_empty());
    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let hung_up = bed.expect(&bob.flow, "BYE ");
    bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.expect_silence();
    assert!(bed.media.is_clean(), "{:?}", bed.media.open);
    assert_eq!(bed.proxy.calls(), 0);
}

fn told(bed: &Bed, wanted: impl Fn(&Event) -> bool) -> bool {
    bed.events.iter().any(wanted)
}

#[test]
fn a_busy_callee_frees_everything() {
    for (code, reason, expected) in
        [(486, "Busy Here", 486), (603, "Decline", 603), (503, "Later", 500), (302, "Moved", 302)]
    {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, bob) = two(&mut bed);
        let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
        bed.send(&bob.flow, &bob.reply(&offered, code, reason, ""));
        bed.expect(&bob.flow, "ACK ");
        let refused = bed.receive(&alice.flow);
        assert_eq!(refused.code(), expected);
        bed.send(&alice.flow, &ack_of(&invite.text, &refused));
        bed.expect_silence();
        assert!(bed.media.is_clean());
        assert_eq!(bed.proxy.calls(), 0);
        assert!(told(&bed, |event| matches!(event, Event::CallFailed { code, .. } if *code == expected)));
        bed.advance(Duration::from_secs(60));
        assert_eq!(bed.proxy.transaction_stats().current, 0, "nothing is left of it");
    }
}

#[test]
fn nobody_there_and_nobody_known() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    for (uri, code) in [
        ("sip:bob@sip.example", 480),
        ("sip:carol@sip.example", 404),
        ("sip:sip.example", 484),
        ("sip:bob@192.0.2.1:5060", 480),
    ] {
        let request = alice.request(
            "INVITE",
            uri,
            &format!("call-{uri}"),
            "Contact: <sip:a@198.51.100.7:5060>\r\n",
            "",
        );
        let (again, refused) = alice.authorize(&mut bed, &request);
        assert_eq!(refused.code(), code, "{uri}");
        bed.send(&alice.flow, &ack_of(&again, &refused));
    }
    bed.expect_silence();
    assert!(bed.media.log.borrow().is_empty());
}

#[test]
fn the_caller_gives_up() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&bob.flow, "CANCEL ");
    bed.send(&bob.flow, &bob.reply(&cancel, 200, "OK", ""));
    bed.send(&bob.flow, &bob.reply(&offered, 487, "Request Terminated", ""));
    bed.expect(&bob.flow, "ACK ");
    let terminated = bed.expect(&alice.flow, "SIP/2.0 487 ");
    bed.send(&alice.flow, &ack_of(&invite.text, &terminated));
    bed.expect_silence();
    assert!(bed.media.is_clean());
    bed.send(&alice.flow, &cancel_of(&invite).replace("z9hG4bK", "z9hG4bKother"));
    bed.expect(&alice.flow, "SIP/2.0 481 ");
}

#[test]
fn a_200_that_crosses_the_cancel_wins() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    bed.expect(&bob.flow, "CANCEL ");
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 OK");
    assert!(answered.header("CSeq").ends_with("INVITE"));
    let mut caller = Dialog::of_caller(&invite, &answered);
    for method in ["ACK", "BYE"] {
        let request = caller.request(&mut alice, method, "", "");
        bed.send(&alice.flow, &request);
        bed.expect(&bob.flow, method);
    }
    assert!(bed.media.is_clean());
}

#[test]
fn a_silent_callee_is_408() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    bed.advance(Duration::from_secs(31));
    let mut copies = 0;
    while bed.try_receive(&bob.flow).is_some() {
        copies += 1;
    }
    assert!(copies > 4, "repeated over UDP, {copies}");
    bed.expect(&alice.flow, "SIP/2.0 408 ");
    assert!(bed.media.is_clean());
}

#[test]
fn a_callee_that_rings_for_ever_is_cancelled() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (_, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    bed.advance(Duration::from_secs(121));
    let cancel = bed.expect(&bob.flow, "CANCEL ");
    bed.send(&bob.flow, &bob.reply(&cancel, 200, "OK", ""));
    bed.send(&bob.flow, &bob.reply(&offered, 487, "Request Terminated", ""));
    bed.expect(&alice.flow, "SIP/2.0 408 ");
    assert!(bed.media.is_clean());
}

#[test]
fn one_branch_fails_and_the_other_answers() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let mut desk = Phone::legacy(&mut bed, "bob", "198.51.100.9:5060");
    desk.register(&mut bed);
    alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let first = bed.expect(&bob.flow, "INVITE ");
    let second = bed.expect(&desk.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&first, 486, "Busy Here", ""));
    bed.expect(&bob.flow, "ACK ");
    bed.expect_silence();
    assert_eq!(bed.media.open.borrow().len(), 1);
    bed.send(&desk.flow, &desk.reply(&second, 200, "OK", &legacy_sdp("desk")));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.expect_silence();
    assert_eq!(bed.media.open.borrow().len(), 1);
}

#[test]
fn the_best_of_several_failures_goes_back() {
    for (codes, best) in [([486, 480], 486), ([408, 404], 404), ([500, 486], 486), ([486, 603], 603)] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, bob) = two(&mut bed);
        let mut desk = Phone::legacy(&mut bed, "bob", "198.51.100.9:5060");
        desk.register(&mut bed);
        alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
        for (phone, code) in [(&bob, codes[0]), (&desk, codes[1])] {
            let invite = bed.expect(&phone.flow, "INVITE ");
            bed.send(&phone.flow, &phone.reply(&invite, code, "No", ""));
            bed.expect(&phone.flow, "ACK ");
        }
        assert_eq!(bed.receive(&alice.flow).code(), best);
        assert!(bed.media.is_clean());
    }
}

#[test]
fn lost_packets_are_made_good() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let lost = bed.expect(&bob.flow, "INVITE ");
    bed.advance(Duration::from_millis(500));
    let offered = bed.expect(&bob.flow, "INVITE ");
    assert_eq!(lost, offered);
    bed.send(&alice.flow, &invite.text);
    bed.expect(&alice.flow, "SIP/2.0 100 ");
    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer);
    let lost = bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.advance(Duration::from_millis(500));
    bed.send(&bob.flow, &answer);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_eq!(lost, answered, "a repeated 200 is translated as before");
    let mut caller = Dialog::of_caller(&invite, &answered);
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    let lost = bed.expect(&bob.flow, "ACK ");
    bed.send(&alice.flow, &ack);
    assert_eq!(bed.expect(&bob.flow, "ACK "), lost);
    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    bed.expect(&bob.flow, "BYE ");
    bed.advance(Duration::from_millis(500));
    let hung_up = bed.expect(&bob.flow, "BYE ");
    bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.send(&alice.flow, &bye);
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.expect_silence();
    assert!(bed.media.is_clean());
    bed.advance(Duration::from_secs(60));
    assert_eq!(bed.proxy.transaction_stats().current, 0);
}

#[test]
fn the_end_of_the_gateway_ends_every_call() {
    let mut bed = Bed::new(&["alice", "bob", "carol", "dave"]);
    let (mut alice, bob) = two(&mut bed);
    let mut carol = Phone::legacy(&mut bed, "carol", "198.51.100.10:5060");
    let mut dave = Phone::legacy(&mut bed, "dave", "198.51.100.11:5060");
    carol.register(&mut bed);
    dave.register(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let mut caller = Dialog::of_caller(&invite, &answered);
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect(&bob.flow, "ACK ");
    carol.invite(&mut bed, &dave.aor(), "call-2", &legacy_sdp("carol"));
    let early = bed.expect(&dave.flow, "INVITE ");
    bed.send(&dave.flow, &dave.reply(&early, 180, "Ringing", ""));
    bed.expect(&carol.flow, "SIP/2.0 180 ");

    bed.begin_shutdown();
    assert!(!bed.proxy.is_idle());
    bed.expect(&dave.flow, "CANCEL ");
    bed.expect(&carol.flow, "SIP/2.0 503 ");
    for (phone, other) in [(&alice, &bob), (&bob, &alice)] {
        let bye = bed.expect(&phone.flow, "BYE ");
        assert_eq!(bye.uri(), phone.contact);
        assert_eq!((bye.tag("To"), bye.tag("From")), (phone.tag.as_str(), other.tag.as_str()));
        bed.send(&phone.flow, &phone.reply(&bye, 200, "OK", ""));
    }
    assert!(bed.proxy.is_idle());
    assert!(bed.media.is_clean());
    assert!(told(
        &bed,
        |event| matches!(event, Event::CallEnded(record) if record.cause == EndCause::Shutdown)
    ));
    let late = alice.request("INVITE", &bob.aor(), "call-3", "", "");
    bed.send(&alice.flow, &late);
    bed.expect(&alice.flow, "SIP/2.0 503 ");
}

#[test]
fn a_refused_sdp_is_told_to_its_sender() {
    for (error, code) in [
        (MediaError::NotAcceptable("no audio".into()), 488),
        (MediaError::Full("ports".into()), 503),
        (MediaError::NoRelay("all gone".into()), 503),
        (MediaError::Unavailable("gone".into()), 500),
    ] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, bob) = two(&mut bed);
        *bed.media.refuse.borrow_mut() = Some(error);
        let request = alice.request("INVITE", &bob.aor(), "call-1", "", &legacy_sdp("alice"));
        let refused = alice.authorized(&mut bed, &request);
        assert_eq!(refused.code(), code);
        assert_eq!(refused.headers("Retry-After").is_empty(), code != 503);
        assert_eq!(bed.proxy.stats().media_refusals, 1);
        bed.expect_silence();
    }
}

#[test]
fn a_refused_answer_hangs_up_on_the_callee() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (_, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    *bed.media.refuse.borrow_mut() = Some(MediaError::NotAcceptable("no audio".into()));
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    bed.expect(&bob.flow, "ACK ");
    bed.expect(&bob.flow, "BYE ");
    bed.expect(&alice.flow, "SIP/2.0 488 ");
    assert!(bed.media.is_clean());
}

#[test]
fn a_session_that_nobody_refreshes_ends() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer.replace("Contact:", "Session-Expires: 90;refresher=uas\r\nContact:"));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_eq!(answered.header("Session-Expires"), "90;refresher=uas");
    let mut caller = Dialog::of_caller(&invite, &answered);
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect(&bob.flow, "ACK ");
    bed.advance(Duration::from_secs(80));
    let update = caller.request(&mut alice, "UPDATE", "Session-Expires: 90\r\n", "");
    bed.send(&alice.flow, &update);
    let refresh = bed.expect(&bob.flow, "UPDATE ");
    let refreshed = bob.reply(&refresh, 200, "OK", "");
    bed.send(&bob.flow, &refreshed.replace("Contact:", "Session-Expires: 90;refresher=uac\r\nContact:"));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.advance(Duration::from_secs(110));
    bed.expect_silence();
    bed.advance(Duration::from_secs(20));
    bed.expect(&alice.flow, "BYE ");
    bed.expect(&bob.flow, "BYE ");
    assert!(bed.media.is_clean());
    assert!(told(
        &bed,
        |event| matches!(event, Event::CallEnded(record) if record.cause == EndCause::SessionExpired)
    ));
}

#[test]
fn the_same_call_by_another_way_is_merged() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (invite, _) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    bed.send(&alice.flow, &invite.text.replace("z9hG4bK-", "z9hG4bK-by-another-way-"));
    bed.expect(&alice.flow, "SIP/2.0 482 ");
    bed.expect_silence();
    assert!(!bed.media.is_clean(), "the call goes on");
}

#[test]
fn a_call_without_media_is_hung_up_on() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (_, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    bed.proxy.handle_media_timeout(bed.now, "call-1");
    bed.drain();
    assert_eq!(bed.proxy.calls(), 1, "what rings needs no media yet");
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.proxy.handle_media_timeout(bed.now, "another");
    bed.proxy.handle_media_timeout(bed.now, "call-1");
    bed.drain();
    bed.expect(&alice.flow, "BYE sip:alice@");
    bed.expect(&bob.flow, "BYE sip:bob@");
    bed.expect_silence();
    assert_eq!(bed.proxy.calls(), 0);
    assert!(told(
        &bed,
        |event| matches!(event, Event::CallEnded(record) if record.cause == EndCause::MediaTimeout)
    ));
}

/// Two phones answer at once: the caller ends the second dialog (RFC 3261 §13.2.2.4) and keeps the first.
#[test]
fn the_end_of_a_late_answer_leaves_the_call() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let mut desk = Phone::legacy(&mut bed, "bob", "198.51.100.9:5062");
    desk.register(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let mut dialogs = Vec::new();
    for phone in [&bob, &desk] {
        let offered = bed.expect(&phone.flow, "INVITE ");
        bed.send(&phone.flow, &phone.reply(&offered, 200, "OK", &legacy_sdp("bob")));
        let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
        dialogs.push(Dialog::of_caller(&invite, &answered));
    }
    for method in ["ACK", "BYE"] {
        let request = dialogs[1].request(&mut alice, method, "", "");
        bed.send(&alice.flow, &request);
        let ended = bed.expect(&desk.flow, method);
        if method == "BYE" {
            bed.send(&desk.flow, &desk.reply(&ended, 200, "OK", ""));
            bed.expect(&alice.flow, "SIP/2.0 200 ");
        }
    }
    assert_eq!(bed.proxy.calls(), 1);
    assert!(!bed.media.is_clean(), "the call goes on");
    let bye = dialogs[0].request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    bed.expect(&bob.flow, "BYE ");
    assert!(bed.media.is_clean());
    assert_eq!(bed.proxy.calls(), 0);
}

/// The caller hangs up while another phone answers, whether he has heard of that answer or not: he knows of one call alone, so
/// the other answer is acknowledged and ended here.
#[test]
fn an_answer_that_crosses_the_end_of_the_call_is_ended() {
    for heard in [false, true] {
        let (mut bed, [mut alice, bob, mut desk], [invite, first, second]) = forked(Tm::default());
        desk.tag = "tag-desk".into();
        bed.send(&bob.flow, &bob.reply(&first, 200, "OK", &legacy_sdp("bob")));
        let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
        let cancel = bed.expect(&desk.flow, "CANCEL ");
        bed.send(&desk.flow, &desk.reply(&cancel, 200, "OK", ""));
        let mut dialog = Dialog::of_caller(&invite, &answered);
        let late = desk.reply(&second, 200, "OK", &legacy_sdp("desk"));
        let mut hang_up = |bed: &mut Bed, alice: &mut Phone| {
            let bye = dialog.request(alice, "BYE", "", "");
            bed.send(&alice.flow, &bye);
            let ended = bed.expect(&bob.flow, "BYE ");
            bed.send(&bob.flow, &bob.reply(&ended, 200, "OK", ""));
            bed.expect(&alice.flow, "SIP/2.0 200 ");
        };
        if !heard {
            hang_up(&mut bed, &mut alice);
        }
        bed.send(&desk.flow, &late);
        if heard {
            assert_eq!(bed.expect(&alice.flow, "SIP/2.0 200 ").tag("To"), desk.tag);
            hang_up(&mut bed, &mut alice);
        }
        let ack = bed.expect(&desk.flow, "ACK ");
        assert_eq!(ack.header("CSeq"), invite.header("CSeq").replace("INVITE", "ACK"));
        assert_eq!((ack.tag("To"), ack.tag("From")), (desk.tag.as_str(), alice.tag.as_str()));
        let bye = bed.expect(&desk.flow, "BYE ");
        bed.send(&desk.flow, &desk.reply(&bye, 200, "OK", ""));
        // The ACK was lost: once more, and no other BYE.
        bed.send(&desk.flow, &late);
        bed.expect(&desk.flow, "ACK ");
        bed.expect_silence();
        bed.advance(Duration::from_secs(60));
        let stats = bed.proxy.transaction_stats();
        assert_eq!((stats.current, stats.created), (0, stats.freed));
    }
}

#[test]
fn a_strict_router_and_an_outbound_proxy_before_us() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("alice"));
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let mut caller = Dialog::of_caller(&invite, &answered);
    // Our URI in the Request-URI, the target behind the routes (RFC 3261 §16.4).
    let (target, route) = (caller.target.clone(), caller.routes[0].clone());
    caller.target = route.trim_matches(['<', '>']).to_owned();
    caller.routes = vec![format!("<{target}>")];
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    let acked = bed.expect(&bob.flow, "ACK sip:bob@198.51.100.8:5060 SIP/2.0");
    assert!(acked.headers("Route").is_empty());
    // A phone with us as its outbound proxy may name us once more.
    caller.target = target;
    caller.routes = vec!["<sip:192.0.2.1:5060;lr>".to_owned(), route];
    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let hung_up = bed.expect(&bob.flow, "BYE sip:bob@198.51.100.8:5060 SIP/2.0");
    assert!(hung_up.headers("Route").is_empty());
}

/// Two phones of bob, called by alice under `tm`, both ringing.
fn forked(tm: Tm) -> (Bed, [Phone; 3], [Sip; 3]) {
    let mut bed = Bed::with(&["alice", "bob"], Settings { tm, ..settings() }, Vec::new());
    let (mut alice, bob) = two(&mut bed);
    let mut desk = Phone::legacy(&mut bed, "bob", "198.51.100.9:5060");
    desk.register(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = [&bob, &desk].map(|phone| {
        let offered = bed.expect(&phone.flow, "INVITE ");
        bed.send(&phone.flow, &phone.reply(&offered, 180, "Ringing", ""));
        bed.expect(&alice.flow, "SIP/2.0 180 ");
        offered
    });
    let [first, second] = offered;
    (bed, [alice, bob, desk], [invite, first, second])
}

/// RFC 3326: a phone is told why it stops ringing.
#[test]
fn a_cancel_says_why() {
    let answered = "SIP;cause=200;text=\"Call completed elsewhere\"";
    for (told, code, reason) in [
        (true, 200, vec![answered]),
        (true, 603, vec!["SIP;cause=603;text=\"Decline\""]),
        (false, 200, vec![]),
    ] {
        let tm = Tm { local_cancel_reason: told, ..Tm::default() };
        let (mut bed, [_, bob, desk], [_, offered, _]) = forked(tm);
        let sdp = if code == 200 { legacy_sdp("bob") } else { String::new() };
        bed.send(&bob.flow, &bob.reply(&offered, code, "Decline", &sdp));
        assert_eq!(bed.expect(&desk.flow, "CANCEL ").headers("Reason"), reason);
    }
    for (e2e_cancel_reason, count) in [(true, 2), (false, 0)] {
        let (mut bed, [alice, bob, desk], [invite, ..]) = forked(Tm { e2e_cancel_reason, ..Tm::default() });
        let reasons = "Reason: SIP;cause=487\r\nReason: Q.850;cause=16\r\nCSeq:";
        bed.send(&alice.flow, &cancel_of(&invite).replace("CSeq:", reasons));
        for phone in [bob, desk] {
            assert_eq!(bed.expect(&phone.flow, "CANCEL ").headers("Reason").len(), count);
        }
    }
}

/// RFC 3261 §16.7 step 5: a 6xx ends every branch; an operator may have it otherwise.
#[test]
fn a_6xx_ends_the_search_unless_disabled() {
    for (disable_6xx_block, best) in [(false, 603), (true, 486)] {
        let (mut bed, [alice, bob, desk], [_, first, second]) =
            forked(Tm { disable_6xx_block, ..Tm::default() });
        bed.send(&bob.flow, &bob.reply(&first, 603, "Decline", ""));
        bed.expect(&bob.flow, "ACK ");
        if !disable_6xx_block {
            bed.expect(&desk.flow, "CANCEL ");
        }
        bed.expect_silence();
        bed.send(&desk.flow, &desk.reply(&second, 486, "Busy Here", ""));
        assert_eq!(bed.receive(&alice.flow).code(), best);
        assert!(bed.media.is_clean());
    }
}

/// RFC 3261 §16.7 steps 6 and 7.
#[test]
fn challenges_are_gathered_and_503_is_500() {
    for (aggregate_challenges, count) in [(true, [1, 1]), (false, [1, 0])] {
        let (mut bed, [alice, bob, desk], [_, first, second]) =
            forked(Tm { aggregate_challenges, ..Tm::default() });
        let www = bob
            .reply(&first, 401, "Unauthorized", "")
            .replace("CSeq:", "WWW-Authenticate: Digest realm=\"a\"\r\nCSeq:");
        let proxy = desk
            .reply(&second, 407, "Proxy", "")
            .replace("CSeq:", "Proxy-Authenticate: Digest realm=\"b\"\r\nCSeq:");
        bed.send(&bob.flow, &www);
        bed.send(&desk.flow, &proxy);
        let refused = bed.expect(&alice.flow, "SIP/2.0 401 ");
        let found = ["WWW-Authenticate", "Proxy-Authenticate"].map(|name| refused.headers(name).len());
        assert_eq!(found, count);
    }
    for (remap_503_500, code) in [(true, 500), (false, 503)] {
        let (mut bed, [alice, bob, desk], [_, first, second]) = forked(Tm { remap_503_500, ..Tm::default() });
        for (phone, offered) in [(bob, first), (desk, second)] {
            bed.send(&phone.flow, &phone.reply(&offered, 503, "Service Unavailable", ""));
        }
        assert_eq!(bed.receive(&alice.flow).code(), code);
    }
}

#[test]
fn without_noisy_ctimer_a_silent_callee_leaves_the_caller_to_himself() {
    let tm = Tm { noisy_ctimer: false, ..Tm::default() };
    let mut bed = Bed::with(&["alice", "bob"], Settings { tm, ..settings() }, Vec::new());
    let (mut alice, bob) = two(&mut bed);
    alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    bed.advance(Duration::from_secs(60));
    assert!(bed.try_receive(&alice.flow).is_none());
    assert!(bed.media.is_clean());
    assert_eq!((bed.proxy.calls(), bed.proxy.transaction_stats().current), (0, 0));
    // One that has replied is worth telling of.
    alice.invite(&mut bed, &bob.aor(), "call-2", &legacy_sdp("alice"));
    let offered = std::iter::from_fn(|| bed.try_receive(&bob.flow)).last().expect("the call");
    bed.send(&bob.flow, &bob.reply(&offered, 100, "Trying", ""));
    bed.advance(Duration::from_secs(160));
    bed.expect(&alice.flow, "SIP/2.0 408 ");
}

#[test]
fn a_hundred_and_a_cancel_of_nothing_are_as_configured() {
    let tm = Tm { auto_inv_100: false, drop_unmatched_cancel: true, ..Tm::default() };
    let mut bed = Bed::with(&["alice", "bob"], Settings { tm, ..settings() }, Vec::new());
    let (mut alice, bob) = two(&mut bed);
    let invite =
        alice.request("INVITE", &bob.aor(), "call-1", "Contact: <sip:alice@198.51.100.7:5060>\r\n", "");
    let challenge = {
        bed.send(&alice.flow, &invite);
        bed.expect(&alice.flow, "SIP/2.0 407 ")
    };
    let again = alice.with_credentials(&invite, &challenge);
    bed.send(&alice.flow, &ack_of(&invite, &challenge));
    bed.send(&alice.flow, &again);
    bed.expect(&bob.flow, "INVITE ");
    let never = Sip { text: again.replace("z9hG4bK", "z9hG4bKother") };
    bed.send(&alice.flow, &cancel_of(&never));
    bed.advance(Duration::from_millis(400));
    bed.expect_silence();
    assert!(bed.try_receive(&alice.flow).is_none(), "neither 100 nor 481");

    let tm = Tm { auto_inv_100_reason: "one moment".into(), ..Tm::default() };
    let mut bed = Bed::with(&["alice", "bob"], Settings { tm, ..settings() }, Vec::new());
    let (mut alice, bob) = two(&mut bed);
    let request =
        alice.request("INVITE", &bob.aor(), "call-1", "Contact: <sip:alice@198.51.100.7:5060>\r\n", "");
    assert_eq!(alice.authorized(&mut bed, &request).start_line(), "SIP/2.0 100 one moment");
}
