//! UPDATE, session timers, refused offers and missing ACKs (RFC 3311, RFC 4028, RFC 6141).

use std::time::Duration;

use signaling_core::event::Event;
use signaling_core::flow::Protocol;
use signaling_core::settings::Sounds;

use crate::pair::{answer, both, call, with};
use crate::testbed::{Asked, Bed, Dialog, Phone, Sip, ack_of, browser_sdp, legacy_sdp, settings};

/// A call that is answered and acknowledged; both ends' dialogs and the 200 as it arrived.
fn answered(
    bed: &mut Bed,
    (caller, more): (&mut Phone, &str),
    (callee, says): (&Phone, &str),
    sdp: [&str; 2],
) -> (Dialog, Dialog, Sip) {
    let (invite, offered) = call(bed, caller, callee, more, sdp[0]);
    let ok = with(&callee.reply(&offered, 200, "OK", sdp[1]), says);
    answer(bed, (caller, &invite), (callee, &offered), ok)
}

/// A phone changes its media while a browser that it calls, or that calls it, rings: JsSIP would say 403, so the answer is
/// given here, from what the browser has said.
#[test]
fn an_early_update_is_answered_for_the_browser() {
    for browser_calls in [false, true] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, mut bob) = both(&mut bed);
        let (mut dialog, early) = if browser_calls {
            let (_, offered) = call(&mut bed, &mut bob, &alice, "", &browser_sdp("b"));
            let early = alice.reply(&offered, 183, "Progress", &legacy_sdp("a"));
            bed.send(&alice.flow, &early);
            let told = bed.expect(&bob.flow, "SIP/2.0 183 ");
            (Dialog::of_callee(&offered, &Sip { text: early }), (offered, told))
        } else {
            let (invite, offered) = call(&mut bed, &mut alice, &bob, "", &legacy_sdp("a"));
            bed.send(&bob.flow, &bob.reply(&offered, 183, "Progress", &browser_sdp("b")));
            let told = bed.expect(&alice.flow, "SIP/2.0 183 ");
            (Dialog::of_caller(&invite, &told), (offered, told))
        };
        let update = dialog.request(&mut alice, "UPDATE", "", &legacy_sdp("moved"));
        bed.send(&alice.flow, &update);
        let ok = bed.expect(&alice.flow, "SIP/2.0 200 ");
        assert!(ok.body().contains("x-relay:answer Browser Legacy z9hG4bK"), "{}", ok.body());
        assert!(ok.body().contains("o=b ") && ok.header("Contact").contains(";alias=203.0.113.9~41000~6"));
        bed.expect_silence();
        let log = bed.media.log.borrow().len();
        // Without SDP it refreshes, which a browser that rings has no use for.
        let update = dialog.request(&mut alice, "UPDATE", "", "");
        bed.send(&alice.flow, &update);
        assert_eq!(bed.expect(&alice.flow, "SIP/2.0 200 ").body(), "");
        assert_eq!(bed.media.log.borrow().len(), log);
        // The 200 to the INVITE brings nothing that is not agreed already, whatever it repeats.
        let (callee, caller, sdp) = if browser_calls {
            (&alice, &bob, legacy_sdp("moved"))
        } else {
            (&bob, &alice, browser_sdp("b"))
        };
        bed.send(&callee.flow, &callee.reply(&early.0, 200, "OK", &sdp));
        assert_eq!(bed.expect(&caller.flow, "SIP/2.0 200 ").body(), early.1.body());
        assert_eq!(bed.media.log.borrow().len(), log);
    }
}

/// RFC 3311 §5.2: an offer on top of one without answer is 491 when the other end has made that one, else 500.
#[test]
fn an_early_update_before_the_answer_is_refused() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "", &legacy_sdp("a"));
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
    let mut dialog = Dialog::of_caller(&invite, &ringing);
    let update = dialog.request(&mut alice, "UPDATE", "", &legacy_sdp("moved"));
    bed.send(&alice.flow, &update);
    let refused = bed.expect(&alice.flow, "SIP/2.0 500 ");
    assert!(refused.header("Retry-After").parse::<u32>().is_ok_and(|seconds| seconds <= 10));
    bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
    bed.discard();

    let request = bob.request(
        "INVITE",
        &alice.aor(),
        "call-2",
        &format!("Contact: <{}>\r\n", bob.contact),
        &browser_sdp("b"),
    );
    bob.authorize(&mut bed, &request);
    let offered = bed.expect(&alice.flow, "INVITE ");
    let early = alice.reply(&offered, 180, "Ringing", "");
    bed.send(&alice.flow, &early);
    bed.expect(&bob.flow, "SIP/2.0 180 ");
    let mut dialog = Dialog::of_callee(&offered, &Sip { text: early });
    let update = dialog.request(&mut alice, "UPDATE", "", &legacy_sdp("moved"));
    bed.send(&alice.flow, &update);
    bed.expect(&alice.flow, "SIP/2.0 491 ");
    bed.expect_silence();
}

/// Once the call is answered JsSIP takes UPDATE, and between phones it passes at any time.
#[test]
fn other_updates_pass() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (mut a, mut b, _) =
        answered(&mut bed, (&mut alice, ""), (&bob, ""), [&legacy_sdp("a"), &browser_sdp("b")]);
    for sdp in [legacy_sdp("moved"), String::new()] {
        let update = a.request(&mut alice, "UPDATE", "", &sdp);
        bed.send(&alice.flow, &update);
        let arrived = bed.expect(&bob.flow, "UPDATE ");
        assert_eq!(arrived.body().contains("x-relay:offer Legacy Browser -"), !sdp.is_empty());
        let answer = if sdp.is_empty() { String::new() } else { browser_sdp("b") };
        bed.send(&bob.flow, &bob.reply(&arrived, 200, "OK", &answer));
        let ok = bed.expect(&alice.flow, "SIP/2.0 200 ");
        assert_eq!(ok.body().contains("x-relay:answer Browser Legacy -"), !sdp.is_empty());
    }
    let update = b.request(&mut bob, "UPDATE", "", &browser_sdp("b"));
    bed.send(&bob.flow, &update);
    assert!(bed.expect(&alice.flow, "UPDATE ").body().contains("x-relay:offer Browser Legacy -"));
}

/// A refused re-INVITE: the refusal passes with all that it says, no answer reaches the relay, and the old Contact stays.
#[test]
fn a_refused_offer_changes_nothing() {
    for (code, more) in [(488, ""), (491, ""), (500, "Retry-After: 7\r\n")] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, mut bob) = both(&mut bed);
        let (mut a, mut b, _) =
            answered(&mut bed, (&mut alice, ""), (&bob, ""), [&legacy_sdp("a"), &browser_sdp("b")]);
        let contact = std::mem::replace(&mut alice.contact, "sip:alice@198.51.100.7:5099".into());
        let reinvite = a.request(&mut alice, "INVITE", "", &legacy_sdp("other"));
        bed.send(&alice.flow, &reinvite);
        bed.expect(&alice.flow, "SIP/2.0 100 ");
        let arrived = bed.expect(&bob.flow, "INVITE ");
        bed.send(&bob.flow, &with(&bob.reply(&arrived, code, "No", ""), more));
        bed.expect(&bob.flow, "ACK ");
        let refused = bed.receive(&alice.flow);
        assert_eq!(refused.code(), code);
        assert_eq!(refused.headers("Retry-After").len(), usize::from(!more.is_empty()));
        bed.send(&alice.flow, &ack_of(&reinvite, &refused));
        assert!(
            matches!(bed.media.log.borrow().last(), Some(Asked::Offer(_))),
            "nothing was agreed or freed"
        );
        alice.contact = contact;
        let bye = b.request(&mut bob, "BYE", "", "");
        bed.send(&bob.flow, &bye);
        bed.expect(&alice.flow, "BYE sip:alice@198.51.100.7:5060 ");
        assert!(bed.media.is_clean());
    }
}

/// Two offers that cross: the relay can hold one, so the second is refused here, by whatever method it comes. Whatever becomes
/// of the first, the next one passes (RFC 3261 §14.2, RFC 3311 §5.2).
#[test]
fn an_offer_that_crosses_another_is_refused() {
    for (first, second) in [("INVITE", "INVITE"), ("INVITE", "UPDATE"), ("UPDATE", "INVITE")] {
        for code in [200, 491] {
            let mut bed = Bed::new(&["alice", "bob"]);
            let (mut alice, mut bob) = both(&mut bed);
            let (mut a, mut b, _) =
                answered(&mut bed, (&mut alice, ""), (&bob, ""), [&legacy_sdp("a"), &browser_sdp("b")]);
            let request = a.request(&mut alice, first, "", &legacy_sdp("a2"));
            bed.send(&alice.flow, &request);
            let arrived = bed.expect(&bob.flow, first);
            let crossing = b.request(&mut bob, second, "", &browser_sdp("b2"));
            bed.send(&bob.flow, &crossing);
            let refused = bed.expect(&bob.flow, "SIP/2.0 491 ");
            if second == "INVITE" {
                bed.send(&bob.flow, &ack_of(&crossing, &refused));
            }
            let offers = bed.media.offers();
            // What offers nothing passes.
            let update = b.request(&mut bob, "UPDATE", "", "");
            bed.send(&bob.flow, &update);
            bed.discard();
            let sdp = if code == 200 { browser_sdp("b") } else { String::new() };
            bed.send(&bob.flow, &bob.reply(&arrived, code, "Done", &sdp));
            if first == "INVITE" && code == 491 {
                bed.expect(&bob.flow, "ACK ");
            }
            let done = bed.receive(&alice.flow);
            assert_eq!(done.code(), code, "{}", done.text);
            assert_eq!(bed.media.offers(), offers);
            let again = b.request(&mut bob, second, "", &browser_sdp("b3"));
            bed.send(&bob.flow, &again);
            assert!(bed.expect(&alice.flow, second).body().contains("x-relay:offer Browser Legacy"));
        }
    }
}

/// One that succeeds moves the Contact (RFC 3261 §12.2.2).
#[test]
fn an_accepted_offer_moves_the_contact() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (mut a, mut b, _) =
        answered(&mut bed, (&mut alice, ""), (&bob, ""), [&legacy_sdp("a"), &browser_sdp("b")]);
    let mut moved = Phone::on(
        bed.flow(Protocol::Udp, "198.51.100.7:5062"),
        "alice",
        "sip:alice@198.51.100.7:5062".into(),
    );
    moved.tag.clone_from(&alice.tag);
    let reinvite = a.request(&mut moved, "INVITE", "", &legacy_sdp("a"));
    bed.send(&moved.flow, &reinvite);
    bed.expect(&moved.flow, "SIP/2.0 100 ");
    let arrived = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&arrived, 200, "OK", &browser_sdp("b")));
    bed.expect(&moved.flow, "SIP/2.0 200 ");
    b.target.clone_from(&moved.contact);
    let bye = b.request(&mut bob, "BYE", "", "");
    bed.send(&bob.flow, &bye);
    bed.expect(&moved.flow, "BYE sip:alice@198.51.100.7:5062 ");
}

/// RFC 4028 §8.1: 422 where the client understands it, a longer session where it does not.
#[test]
fn a_session_that_is_too_short() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let contact = format!("Contact: <{}>\r\n", alice.contact);
    let more = format!("{contact}Supported: timer\r\nSession-Expires: 89\r\n");
    let request = alice.request("INVITE", &bob.aor(), "call-1", &more, &legacy_sdp("a"));
    let (again, refused) = alice.authorize(&mut bed, &request);
    assert_eq!((refused.code(), refused.header("Min-SE")), (422, "90"));
    bed.send(&alice.flow, &ack_of(&again, &refused));
    bed.expect_silence();
    assert!(bed.media.log.borrow().is_empty());
    for (headers, expires, least) in [
        ("Session-Expires: 60;refresher=uas\r\n", "90;refresher=uas", "90"),
        ("Session-Expires: 60\r\nMin-SE: 120\r\n", "120", "120"),
    ] {
        let (_, offered) = call(&mut bed, &mut alice, &bob, headers, &legacy_sdp("a"));
        assert_eq!((offered.header("Session-Expires"), offered.header("Min-SE")), (expires, least));
        bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
        bed.discard();
    }
    // What is long enough passes as it is.
    let headers = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\nMin-SE: 90\r\n";
    let (_, offered) = call(&mut bed, &mut alice, &bob, headers, &legacy_sdp("a"));
    assert_eq!((offered.header("Session-Expires"), offered.header("Min-SE")), ("90;refresher=uac", "90"));
}

/// RFC 4028 §8.2: the callee says nothing of a timer, so the caller who knows it is to refresh.
#[test]
fn the_end_that_knows_the_timer_refreshes() {
    let headers = "Supported: timer\r\nSession-Expires: 100\r\n";
    for (more, says, expected) in [
        (headers, "", Some("100;refresher=uac")),
        (headers, "Session-Expires: 95;refresher=uas\r\n", Some("95;refresher=uas")),
        ("Session-Expires: 100\r\n", "", None),
        ("Supported: timer\r\n", "", None),
    ] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, bob) = both(&mut bed);
        let (_, _, ok) =
            answered(&mut bed, (&mut alice, more), (&bob, says), [&legacy_sdp("a"), &browser_sdp("b")]);
        assert_eq!(ok.headers("Session-Expires").first().copied(), expected);
        assert_eq!(ok.values("Require").contains(&"timer"), expected.is_some() && says.is_empty());
        // And when nobody does, both ends are hung up on.
        bed.advance(Duration::from_secs(140));
        assert_eq!(bed.proxy.calls(), usize::from(expected.is_none()), "{more:?} {says:?}");
    }
}

/// JsSIP refreshes by UPDATE, and the phone has none: it is there all the same.
#[test]
fn a_phone_without_update_does_not_end_the_session() {
    for code in [405, 501] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (alice, mut bob) = both(&mut bed);
        let headers = "Supported: timer\r\nSession-Expires: 90\r\n";
        let (mut b, ..) =
            answered(&mut bed, (&mut bob, headers), (&alice, ""), [&browser_sdp("b"), &legacy_sdp("a")]);
        for _ in 0..4 {
            bed.advance(Duration::from_secs(45));
            let headers = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
            let update = b.request(&mut bob, "UPDATE", headers, "");
            bed.send(&bob.flow, &update);
            let arrived = bed.expect(&alice.flow, "UPDATE ");
            bed.send(&alice.flow, &alice.reply(&arrived, code, "What?", ""));
            let ok = bed.expect(&bob.flow, "SIP/2.0 200 ");
            assert_eq!(ok.header("Session-Expires"), "90;refresher=uac");
            assert_eq!(
                (ok.header("Require"), ok.header("Contact")),
                ("timer", "<sip:alice@198.51.100.7:5060;alias=198.51.100.7~5060~1>")
            );
        }
        assert_eq!(bed.proxy.calls(), 1);
        // An offer is another matter.
        let update = b.request(&mut bob, "UPDATE", "Session-Expires: 90\r\n", &browser_sdp("b"));
        bed.send(&bob.flow, &update);
        let arrived = bed.expect(&alice.flow, "UPDATE ");
        bed.send(&alice.flow, &alice.reply(&arrived, code, "What?", ""));
        assert_eq!(bed.receive(&bob.flow).code(), code);
        bed.advance(Duration::from_secs(130));
        assert_eq!(bed.proxy.calls(), 0, "silence ends it");
    }
}

/// 32 seconds after the 200 the callee hangs up; the log says what is known of the ACK.
#[test]
fn a_missing_ack_is_explained() {
    let said = |bed: &Bed| -> Vec<String> {
        let unacknowledged = |event: &Event| match event {
            Event::Unacknowledged { what, .. } => Some(what.clone()),
            _ => None,
        };
        bed.events.iter().filter_map(unacknowledged).collect()
    };
    for (case, expected) in [
        ("none", "no ACK came from UDP 198.51.100.7:5060 (Contact sip:alice@198.51.100.7:5060)"),
        (
            "astray",
            "the ACK of UDP 198.51.100.7:5060 (Contact sip:alice@198.51.100.7:5060) went astray: sip:bob@192.0.2.1 from",
        ),
        (
            "deaf",
            "the ACK was sent on to UDP 198.51.100.8:5060 (Contact sip:bob@198.51.100.8:5060), which repeats its 200",
        ),
        ("fine", ""),
    ] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
        let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
        alice.register(&mut bed);
        bob.register(&mut bed);
        let (invite, offered) = call(&mut bed, &mut alice, &bob, "", &legacy_sdp("a"));
        let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("b"));
        bed.send(&bob.flow, &answer);
        let ok = bed.expect(&alice.flow, "SIP/2.0 200 ");
        let mut dialog = Dialog::of_caller(&invite, &ok);
        if case == "astray" {
            (dialog.target, dialog.routes) = ("sip:bob@192.0.2.1".into(), Vec::new());
        }
        let ack = dialog.request(&mut alice, "ACK", "", "");
        for _ in 0..9 {
            if case != "none" {
                bed.send(&alice.flow, &ack);
            }
            bed.advance(Duration::from_secs(3));
            if case != "fine" {
                bed.send(&bob.flow, &answer);
            }
        }
        assert!(said(&bed).is_empty());
        let mut callee = Dialog::of_callee(&offered, &Sip { text: answer });
        if case == "none" {
            // It may hang up before the clock has struck.
            let bye = callee.request(&mut bob, "BYE", "", "");
            bed.send(&bob.flow, &bye);
        }
        bed.advance(Duration::from_secs(10));
        let lines = said(&bed);
        assert_eq!(lines.len(), usize::from(case != "fine"), "{case}: {lines:?}");
        assert!(lines.iter().all(|line| line.starts_with(expected)), "{case}: {lines:?}");
        bed.advance(Duration::from_secs(60));
        assert_eq!(said(&bed).len(), lines.len(), "once");
    }
}

const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, UPDATE\r\nSupported: timer\r\n";

/// A browser, who is to refresh every 90 seconds, and a phone that watches it.
fn timed(bed: &mut Bed, allow: &str) -> (Phone, Phone, Dialog, Dialog) {
    let (alice, mut bob) = both(bed);
    let (headers, says) =
        (format!("{allow}Session-Expires: 90\r\n"), format!("{ALLOW}Session-Expires: 90;refresher=uac\r\n"));
    let (b, a, _) =
        answered(bed, (&mut bob, &headers), (&alice, &says), [&browser_sdp("b"), &legacy_sdp("a")]);
    (alice, bob, a, b)
}

/// The refresher is late: it is asked, and the other end, which would hang up at 60 s, is refreshed in its name. Both ends
/// then count the numbers of the dialog as before, each its own.
#[test]
fn a_late_refresher_is_stood_in_for() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob, mut a, mut b) = timed(&mut bed, ALLOW);
    bed.advance(Duration::from_secs(52));
    bed.expect_silence();
    bed.advance(Duration::from_secs(6));
    let asked = bed.expect(&bob.flow, "UPDATE sip:kbob@df7jal23ls0d.invalid;transport=ws ");
    assert_eq!((asked.header("Session-Expires"), asked.header("Supported")), ("90;refresher=uas", "timer"));
    assert_eq!((asked.tag("From"), asked.tag("To")), (alice.tag.as_str(), bob.tag.as_str()));
    assert_eq!(asked.header("Contact"), "<sip:alice@198.51.100.7:5060;alias=198.51.100.7~5060~1>");
    bed.expect_silence();
    bed.send(&bob.flow, &bob.reply(&asked, 200, "OK", ""));
    let refresh = bed.expect(&alice.flow, "UPDATE sip:alice@198.51.100.7:5060 ");
    assert_eq!(refresh.header("Session-Expires"), "90;refresher=uac");
    assert_eq!(refresh.header("CSeq"), format!("{} UPDATE", b.cseq + 1));
    bed.send(&alice.flow, &alice.reply(&refresh, 200, "OK", ""));
    bed.expect_silence();

    let (at_alice, at_bob) = (alice.clone(), bob.clone());
    for (phone, other, end) in [(&mut bob, &at_alice, &mut b), (&mut alice, &at_bob, &mut a)] {
        let info = end.request(phone, "INFO", "", "");
        bed.send(&phone.flow, &info);
        let arrived = bed.expect(&other.flow, "INFO ");
        assert_eq!(arrived.header("CSeq"), format!("{} INFO", end.cseq + 1));
        bed.send(&other.flow, &other.reply(&arrived, 200, "OK", ""));
        assert_eq!(bed.expect(&phone.flow, "SIP/2.0 200 ").header("CSeq"), format!("{} INFO", end.cseq));
        let reinvite =
            end.request(phone, "INVITE", "Session-Expires: 90;refresher=uac\r\n", &legacy_sdp("x"));
        bed.send(&phone.flow, &reinvite);
        bed.expect(&phone.flow, "SIP/2.0 100 ");
        let arrived = bed.expect(&other.flow, "INVITE ");
        let answer = with(
            &other.reply(&arrived, 200, "OK", &legacy_sdp("y")),
            "Session-Expires: 90;refresher=uas\r\n",
        );
        bed.send(&other.flow, &answer);
        bed.expect(&phone.flow, "SIP/2.0 200 ");
        let ack = end.request(phone, "ACK", "", "");
        bed.send(&phone.flow, &ack);
        assert_eq!(bed.expect(&other.flow, "ACK ").header("CSeq"), format!("{} ACK", end.cseq + 1));
    }
    // The phone has made the browser the refresher again with its own re-INVITE; both are late now.
    bed.advance(Duration::from_secs(58));
    let asked = bed.expect(&bob.flow, "UPDATE ");
    assert_eq!(asked.header("CSeq"), format!("{} UPDATE", a.cseq + 2));
    bed.send(&bob.flow, &bob.reply(&asked, 501, "Not Implemented", ""));
    let refresh = bed.expect(&alice.flow, "UPDATE ");
    assert_eq!(refresh.header("CSeq"), format!("{} UPDATE", b.cseq + 2));
    bed.send(&alice.flow, &alice.reply(&refresh, 200, "OK", ""));
    assert_eq!(bed.proxy.calls(), 1);
    bed.begin_shutdown();
    assert_eq!(bed.expect(&alice.flow, "BYE ").header("CSeq"), format!("{} BYE", b.cseq + 3));
    assert_eq!(bed.expect(&bob.flow, "BYE ").header("CSeq"), format!("{} BYE", a.cseq + 3));
}

/// A refresher that is gone, or says that it knows nothing of the call, ends it at both ends; one that cannot be asked has
/// until the end of the session.
#[test]
fn a_dead_refresher_ends_the_session() {
    for (case, after) in [("481", 58), ("silent", 90), ("no UPDATE", 130), ("closed", 120)] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let allow =
            if case == "no UPDATE" { "Allow: INVITE, ACK, BYE\r\nSupported: timer\r\n" } else { ALLOW };
        let (alice, bob, ..) = timed(&mut bed, allow);
        if case == "closed" {
            bed.advance(Duration::from_secs(50));
            bed.close(&bob.flow);
        }
        bed.advance(Duration::from_secs(58) - Duration::from_secs(if case == "closed" { 50 } else { 0 }));
        if matches!(case, "481" | "silent") {
            let asked = bed.expect(&bob.flow, "UPDATE ");
            if case == "481" {
                bed.send(&bob.flow, &bob.reply(&asked, 481, "What call?", ""));
            }
        }
        if after > 58 {
            assert_eq!(bed.proxy.calls(), 1, "{case}");
            bed.expect_silence();
            bed.advance(Duration::from_secs(after - 58));
        }
        bed.expect(&alice.flow, "BYE ");
        assert_eq!(bed.proxy.calls(), 0, "{case}");
        assert!(bed.media.is_clean());
        bed.discard();
        bed.advance(Duration::from_secs(60));
        assert_eq!(bed.proxy.transaction_stats().current, 0, "{case}");
    }
}

/// The highest number that there is (RFC 3261 §8.1.1.5) makes nothing fall.
#[test]
fn a_number_at_its_end() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob, mut a, _) = timed(&mut bed, ALLOW);
    a.cseq = u32::MAX - 1;
    let info = a.request(&mut alice, "INFO", "", "");
    bed.send(&alice.flow, &info);
    let arrived = bed.expect(&bob.flow, "INFO ");
    bed.send(&bob.flow, &bob.reply(&arrived, 200, "OK", ""));
    bed.advance(Duration::from_secs(58));
    let asked = bed.expect(&bob.flow, "UPDATE ");
    assert_eq!(asked.header("CSeq"), format!("{} UPDATE", u32::MAX));
    bed.begin_shutdown();
}

/// A bed that has sounds, and in it an answered call of the phone alice and the browser bob.
fn sounding(record_users: &[&str]) -> (Bed, [Phone; 2], [Dialog; 2]) {
    let mut settings = settings();
    settings.sounds = Sounds {
        music_on_hold: Some("music".into()),
        recording_notice: Some("beep".into()),
        record_users: record_users.iter().map(|user| (*user).to_owned()).collect(),
        ..Sounds::default()
    };
    let mut bed = Bed::with(&["alice", "bob"], settings, Vec::new());
    let (mut alice, bob) = both(&mut bed);
    let sdps = [&*legacy_sdp("a"), &*browser_sdp("b")];
    let (a, b, _) = answered(&mut bed, (&mut alice, ""), (&bob, ""), sdps);
    (bed, [alice, bob], [a, b])
}

/// Whoever is held hears music until the call goes on; neither a refresh nor a refusal changes that.
#[test]
fn music_for_whoever_is_on_hold() {
    for holder in 0..2 {
        let (mut bed, mut phones, mut dialogs) = sounding(&[]);
        assert_eq!(*bed.media.sounds.borrow(), [""; 0]);
        let held = dialogs[holder].remote_tag();
        let play = format!("call-1: play music to {held} for ever");
        let stop = format!("call-1: stop {held}");
        for (code, directions, so_far) in [
            (200, ["sendonly", "recvonly"], vec![play.clone()]),
            (200, ["sendonly", "recvonly"], vec![play.clone()]),
            (491, ["sendrecv", ""], vec![play.clone()]),
            (200, ["sendrecv", "sendrecv"], vec![play.clone(), stop.clone()]),
            (200, ["sendrecv", "sendrecv"], vec![play.clone(), stop]),
        ] {
            let sdp = |side: usize, direction: &str| match side {
                0 => format!("{}a={direction}\r\n", legacy_sdp("a")),
                _ => format!("{}a={direction}\r\n", browser_sdp("b")),
            };
            let request =
                dialogs[holder].request(&mut phones[holder], "INVITE", "", &sdp(holder, directions[0]));
            let (holding, other) = (phones[holder].flow, phones[1 - holder].flow);
            bed.send(&holding, &request);
            bed.expect(&holding, "SIP/2.0 100 ");
            let arrived = bed.expect(&other, "INVITE ");
            let answer = if code == 200 { sdp(1 - holder, directions[1]) } else { String::new() };
            bed.send(&other, &phones[1 - holder].reply(&arrived, code, "Done", &answer));
            if code != 200 {
                bed.expect(&other, "ACK ");
            }
            let done = bed.receive(&holding);
            assert_eq!(done.code(), code);
            let ack = match code {
                200 => dialogs[holder].request(&mut phones[holder], "ACK", "", ""),
                _ => ack_of(&request, &done),
            };
            bed.send(&holding, &ack);
            bed.discard();
            assert_eq!(*bed.media.sounds.borrow(), so_far, "{holder} {directions:?}");
        }
    }
}

/// Calls of the users that the operator has named are recorded from the answer on, and both ends hear so.
#[test]
fn calls_are_recorded_by_user() {
    for (users, recorded) in
        [(&["bob"][..], true), (&["alice", "x"], true), (&["*"], true), (&["ali", "x"], false)]
    {
        let (bed, _, dialogs) = sounding(users);
        let [callee, caller] = [dialogs[0].remote_tag(), dialogs[1].remote_tag()];
        let expected = [
            format!("call-1: record {caller}"),
            format!("call-1: play beep to {caller} once"),
            format!("call-1: play beep to {callee} once"),
        ];
        assert_eq!(*bed.media.sounds.borrow(), if recorded { &expected[..] } else { &[] }, "{users:?}");
    }
}
