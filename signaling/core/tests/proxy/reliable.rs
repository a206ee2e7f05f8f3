//! Reliable provisional responses (RFC 3262): between phones that know them, and for a caller who requires them of a
//! browser, which does not.

use std::time::Duration;

use crate::pair::{both, call, with};
use crate::testbed::{Bed, Dialog, Phone, Sip, browser_sdp, legacy_sdp};

const MILLISECOND: Duration = Duration::from_millis(1);

fn prack(dialog: &mut Dialog, phone: &mut Phone, rseq: &str, cseq: u32, sdp: &str) -> String {
    dialog.request(phone, "PRACK", &format!("RAck: {rseq} {cseq} INVITE\r\n"), sdp)
}

fn cseq(message: &Sip) -> u32 {
    message.header("CSeq").split(' ').next().and_then(|number| number.parse().ok()).expect("CSeq")
}

#[test]
fn phones_that_know_it_have_it_end_to_end() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", &legacy_sdp("a"));
    assert_eq!(offered.header("Require"), "100rel");
    let reliable =
        with(&bob.reply(&offered, 183, "Progress", &legacy_sdp("b")), "Require: 100rel\r\nRSeq: 7\r\n");
    bed.send(&bob.flow, &reliable);
    let early = bed.expect(&alice.flow, "SIP/2.0 183 ");
    assert_eq!((early.header("RSeq"), early.header("Require")), ("7", "100rel"));
    let mut dialog = Dialog::of_caller(&invite, &early);
    // A further offer in the PRACK is answered in its 200 (RFC 3262 §5), both through the relay.
    let request = prack(&mut dialog, &mut alice, "7", cseq(&invite), &legacy_sdp("again"));
    bed.send(&alice.flow, &request);
    let arrived = bed.expect(&bob.flow, "PRACK sip:bob@198.51.100.8:5060 ");
    assert_eq!(arrived.header("RAck"), format!("7 {} INVITE", cseq(&invite)));
    assert!(
        arrived.body().contains("o=again") && arrived.body().contains("x-relay:offer"),
        "{}",
        arrived.body()
    );
    bed.send(&bob.flow, &bob.reply(&arrived, 200, "OK", &legacy_sdp("b2")));
    assert!(bed.expect(&alice.flow, "SIP/2.0 200 ").body().contains("x-relay:answer"));
    // What the 200 repeats is agreed on already: the relay is not asked again.
    let asked = bed.media.log.borrow().len();
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("b2")));
    assert_eq!(bed.expect(&alice.flow, "SIP/2.0 200 ").body(), early.body());
    assert_eq!(bed.media.log.borrow().len(), asked);
    let bye = dialog.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    bed.expect(&bob.flow, "BYE ");
    assert!(bed.media.is_clean());
}

#[test]
fn an_offer_in_a_reliable_response_is_answered_in_its_prack() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Supported: 100rel\r\n", "");
    let reliable =
        with(&bob.reply(&offered, 183, "Progress", &legacy_sdp("b")), "Require: 100rel\r\nRSeq: 1\r\n");
    bed.send(&bob.flow, &reliable);
    let early = bed.expect(&alice.flow, "SIP/2.0 183 ");
    assert!(early.body().contains("x-relay:offer Legacy Legacy z9hG4bK"), "{}", early.body());
    let mut dialog = Dialog::of_caller(&invite, &early);
    let request = prack(&mut dialog, &mut alice, "1", cseq(&invite), &legacy_sdp("a"));
    bed.send(&alice.flow, &request);
    let arrived = bed.expect(&bob.flow, "PRACK ");
    assert!(arrived.body().contains("x-relay:answer Legacy Legacy z9hG4bK"), "{}", arrived.body());
    bed.send(&bob.flow, &bob.reply(&arrived, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let asked = bed.media.log.borrow().len();
    let ack = dialog.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect(&bob.flow, "ACK ");
    assert_eq!(bed.media.log.borrow().len(), asked);
}

/// Supported only: the browser need not know, and nobody is promised anything.
#[test]
fn a_browser_is_never_told_of_it() {
    for (more, kept) in [
        ("Supported: 100rel, timer\r\n", vec!["timer"]),
        ("Require: 100rel\r\nSupported: 100rel\r\nSupported: replaces\r\n", vec!["replaces"]),
    ] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, bob) = both(&mut bed);
        let (_, offered) = call(&mut bed, &mut alice, &bob, more, &legacy_sdp("a"));
        assert!(offered.headers("Require").is_empty(), "{}", offered.text);
        assert_eq!(offered.values("Supported"), kept);
        if !more.contains("Require") {
            bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
            let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
            assert!(ringing.headers("RSeq").is_empty());
            bed.advance(Duration::from_secs(5));
            bed.expect_silence();
        }
    }
}

/// A WebSocket client that lists PRACK in the Allow of its REGISTER is taken at its word.
#[test]
fn a_browser_that_knows_it_has_it_end_to_end() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let text = bob.register_text(600).replacen("Contact:", "Allow: INVITE, ACK, PRACK, BYE\r\nContact:", 1);
    bob.authorized(&mut bed, &text);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", &legacy_sdp("a"));
    assert_eq!(offered.header("Require"), "100rel");
    bed.send(&bob.flow, &with(&bob.reply(&offered, 180, "Ringing", ""), "Require: 100rel\r\nRSeq: 5\r\n"));
    let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
    let mut dialog = Dialog::of_caller(&invite, &ringing);
    let request = prack(&mut dialog, &mut alice, "5", cseq(&invite), "");
    bed.send(&alice.flow, &request);
    bed.expect(&bob.flow, "PRACK ");
}

#[test]
fn the_ringing_of_a_browser_is_made_reliable() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", &legacy_sdp("a"));
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
    assert_eq!(ringing.header("Require"), "100rel");
    let rseq: u32 = ringing.header("RSeq").parse().expect("a number");
    assert!((1..=i32::MAX.cast_unsigned()).contains(&rseq));
    // T1, then doubled (RFC 3262 §3).
    for pause in [500, 1000, 2000, 4000] {
        bed.advance(MILLISECOND * (pause - 1));
        bed.expect_silence();
        bed.advance(MILLISECOND);
        assert_eq!(bed.expect(&alice.flow, "SIP/2.0 180 "), ringing);
    }
    let mut dialog = Dialog::of_caller(&invite, &ringing);
    // What fits nothing is 481 and changes nothing.
    let wrong = [
        (rseq + 1, cseq(&invite), "INVITE"),
        (rseq, cseq(&invite) + 1, "INVITE"),
        (rseq, cseq(&invite), "UPDATE"),
    ];
    for (rseq, cseq, method) in wrong {
        let request = dialog.request(&mut alice, "PRACK", &format!("RAck: {rseq} {cseq} {method}\r\n"), "");
        bed.send(&alice.flow, &request);
        bed.expect(&alice.flow, "SIP/2.0 481 ");
    }
    let request = prack(&mut dialog, &mut alice, &rseq.to_string(), cseq(&invite), "");
    bed.send(&alice.flow, &request);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert!(answered.header("CSeq").ends_with(" PRACK"));
    bed.send(&alice.flow, &request);
    assert_eq!(bed.expect(&alice.flow, "SIP/2.0 200 "), answered, "a repeated PRACK is no other one");
    let again = prack(&mut dialog, &mut alice, &rseq.to_string(), cseq(&invite), "");
    bed.send(&alice.flow, &again);
    bed.expect(&alice.flow, "SIP/2.0 481 ");
    bed.advance(Duration::from_secs(20));
    bed.expect_silence();
    // The next one has the next number.
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    let next = bed.expect(&alice.flow, "SIP/2.0 180 ");
    assert_eq!(next.header("RSeq"), (rseq + 1).to_string());
    // Without SDP the answer need not wait for the PRACK, and nothing is sent again after it.
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &browser_sdp("b")));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.advance(Duration::from_secs(3));
    bed.expect_silence();
    let late = prack(&mut dialog, &mut alice, &(rseq + 1).to_string(), cseq(&invite), "");
    bed.send(&alice.flow, &late);
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let ack = dialog.request(&mut alice, "ACK", "", "").replacen(
        &format!("CSeq: {} ACK", dialog.cseq),
        &format!("CSeq: {} ACK", cseq(&invite)),
        1,
    );
    bed.send(&alice.flow, &ack);
    bed.expect(&bob.flow, "ACK ");
    let bye = dialog.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    bed.expect(&bob.flow, "BYE ");
    assert!(bed.media.is_clean());
    bed.advance(Duration::from_secs(90));
    assert_eq!(bed.proxy.transaction_stats().current, 0);
}

/// One at a time (RFC 3262 §3): what comes before the PRACK waits for it.
#[test]
fn responses_wait_for_each_other_and_the_answer_for_sdp() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", &legacy_sdp("a"));
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&bob.flow, &bob.reply(&offered, 183, "Progress", &browser_sdp("b")));
    bed.expect_silence();
    let mut dialog = Dialog::of_caller(&invite, &ringing);
    let request = prack(&mut dialog, &mut alice, ringing.header("RSeq"), cseq(&invite), "");
    bed.send(&alice.flow, &request);
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let progress = bed.expect(&alice.flow, "SIP/2.0 183 ");
    assert!(progress.body().contains("x-relay:answer"));
    // The 200 waits, and so does its repetition.
    let answer = bob.reply(&offered, 200, "OK", &browser_sdp("b"));
    bed.send(&bob.flow, &answer);
    bed.send(&bob.flow, &answer);
    bed.expect_silence();
    // The PRACK offers something else: the browser's answer is known (RFC 3262 §5).
    let request =
        prack(&mut dialog, &mut alice, progress.header("RSeq"), cseq(&invite), &legacy_sdp("other"));
    bed.send(&alice.flow, &request);
    let mut codes = [bed.receive(&alice.flow), bed.receive(&alice.flow)];
    codes.sort_by_key(|response| response.header("CSeq").ends_with("INVITE"));
    let [pracked, answered] = codes;
    assert!(pracked.header("CSeq").ends_with(" PRACK") && pracked.code() == 200, "{}", pracked.text);
    assert!(pracked.body().contains("x-relay:answer Browser Legacy"), "{}", pracked.body());
    assert_eq!((answered.code(), answered.body()), (200, progress.body()));
    bed.expect_silence();
}

#[test]
fn without_a_prack_the_call_is_ended() {
    for answered in [false, true] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, bob) = both(&mut bed);
        let (_, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", &legacy_sdp("a"));
        bed.send(&bob.flow, &bob.reply(&offered, 183, "Progress", &browser_sdp("b")));
        if answered {
            bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &browser_sdp("b")));
        }
        bed.advance(Duration::from_millis(31_900));
        let mut copies = 0;
        while let Some(copy) = bed.try_receive(&alice.flow) {
            assert_eq!(copy.code(), 183);
            copies += 1;
        }
        assert_eq!(copies, 7, "0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s");
        bed.advance(Duration::from_millis(200));
        assert_eq!(bed.receive(&alice.flow).code(), 504);
        if answered {
            bed.expect(&bob.flow, "ACK ");
            bed.expect(&bob.flow, "BYE ");
        } else {
            bed.expect(&bob.flow, "CANCEL ");
        }
        assert!(bed.media.is_clean());
        assert_eq!(bed.proxy.calls(), 0);
        bed.discard();
        bed.advance(Duration::from_secs(300));
        assert_eq!(bed.proxy.transaction_stats().current, 0);
    }
}

/// A browser for each q, all of them bob's.
fn browsers(bed: &mut Bed, qs: [&str; 2]) -> [Phone; 2] {
    let mut number = 0;
    qs.map(|q| {
        number += 1;
        let mut phone = Phone::browser(bed, "bob", &format!("203.0.113.9:4100{number}"));
        phone.contact = format!("sip:bob{number}@df7jal23ls0d.invalid;transport=ws");
        phone.contact_params = format!(";q={q};reg-id=1;+sip.instance=\"<urn:uuid:{number}>\"");
        phone.tag = format!("tag-{number}");
        phone.register(bed);
        phone
    })
}

/// What a branch has said that has failed since is nobody's concern any more: the next one rings for as long as it likes. A late
/// PRACK for it is answered all the same.
#[test]
fn the_ringing_of_a_failed_branch_ends_nothing() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.register(&mut bed);
    let [first, second] = browsers(&mut bed, ["1", "0.5"]);
    let (invite, offered) = call(&mut bed, &mut alice, &first, "Require: 100rel\r\n", &legacy_sdp("a"));
    bed.send(&first.flow, &first.reply(&offered, 180, "Ringing", ""));
    let rang = bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&first.flow, &first.reply(&offered, 486, "Busy Here", ""));
    bed.expect(&first.flow, "ACK ");
    let offered = bed.expect(&second.flow, "INVITE ");
    bed.send(&second.flow, &second.reply(&offered, 180, "Ringing", ""));
    let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
    let mut dialog = Dialog::of_caller(&invite, &ringing);
    let request = prack(&mut dialog, &mut alice, ringing.header("RSeq"), cseq(&invite), "");
    bed.send(&alice.flow, &request);
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.advance(Duration::from_secs(25));
    bed.expect_silence();
    let mut over = Dialog::of_caller(&invite, &rang);
    over.cseq = dialog.cseq;
    let request = prack(&mut over, &mut alice, rang.header("RSeq"), cseq(&invite), "");
    bed.send(&alice.flow, &request);
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.advance(Duration::from_secs(25));
    bed.expect_silence();
    bed.send(&second.flow, &second.reply(&offered, 200, "OK", &browser_sdp("b")));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
}

/// Of two browsers that ring at once the caller hears one alone: the other one's branch ends after 64·T1, or its answer waits
/// for a PRACK in vain, and the call goes on.
#[test]
fn without_a_prack_the_branch_is_ended_and_no_other() {
    for answered in [false, true] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
        alice.register(&mut bed);
        let [deaf, heard] = browsers(&mut bed, ["1", "1"]);
        let (invite, to_deaf) = call(&mut bed, &mut alice, &deaf, "Require: 100rel\r\n", &legacy_sdp("a"));
        let to_heard = bed.expect(&heard.flow, "INVITE ");
        bed.send(&deaf.flow, &deaf.reply(&to_deaf, 183, "Progress", &browser_sdp("b")));
        if answered {
            bed.send(&deaf.flow, &deaf.reply(&to_deaf, 200, "OK", &browser_sdp("b")));
        }
        bed.send(&heard.flow, &heard.reply(&to_heard, 180, "Ringing", ""));
        bed.expect(&alice.flow, "SIP/2.0 183 ");
        let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
        let mut dialog = Dialog::of_caller(&invite, &ringing);
        let request = prack(&mut dialog, &mut alice, ringing.header("RSeq"), cseq(&invite), "");
        bed.send(&alice.flow, &request);
        bed.advance(Duration::from_secs(33));
        bed.discard_but(&deaf.flow);
        if answered {
            bed.expect(&deaf.flow, "ACK ");
            bed.expect(&deaf.flow, "BYE ");
        } else {
            bed.expect(&deaf.flow, "CANCEL ");
            bed.send(&deaf.flow, &deaf.reply(&to_deaf, 487, "Request Terminated", ""));
            bed.expect(&deaf.flow, "ACK ");
        }
        bed.discard();
        bed.send(&heard.flow, &heard.reply(&to_heard, 200, "OK", &browser_sdp("b")));
        let answer = bed.expect(&alice.flow, "SIP/2.0 200 ");
        assert_eq!(answer.tag("To"), heard.tag);
        bed.expect_silence();
    }
}

/// The caller gives up, or the callee refuses: nothing is sent again.
#[test]
fn a_refusal_ends_the_waiting() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", &legacy_sdp("a"));
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
    bed.expect(&bob.flow, "ACK ");
    let refused = bed.expect(&alice.flow, "SIP/2.0 486 ");
    assert!(refused.headers("RSeq").is_empty());
    bed.send(&alice.flow, &crate::testbed::ack_of(&invite.text, &refused));
    bed.advance(Duration::from_secs(40));
    bed.expect_silence();
}

/// Without an offer the first reliable response would have to bring one (RFC 3262 §5); the browser's is in its 200.
#[test]
fn a_call_without_offer_hears_of_the_offer_first() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", "");
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect_silence();
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &browser_sdp("b")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert!(answered.body().contains("x-relay:offer Browser Legacy"), "{}", answered.body());
    let mut dialog = Dialog::of_caller(&invite, &answered);
    let ack = dialog.request(&mut alice, "ACK", "", &legacy_sdp("a"));
    bed.send(&alice.flow, &ack);
    assert!(bed.expect(&bob.flow, "ACK ").body().contains("x-relay:answer Legacy Browser"));
}

/// Somebody who knows the Call-ID alone cannot stop the repetitions.
#[test]
fn a_strangers_prack_is_not_taken() {
    let mut bed = Bed::new(&["alice", "bob", "eve"]);
    let (mut alice, bob) = both(&mut bed);
    let mut eve = Phone::legacy(&mut bed, "eve", "198.51.100.66:5060");
    let (invite, offered) = call(&mut bed, &mut alice, &bob, "Require: 100rel\r\n", &legacy_sdp("a"));
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    let ringing = bed.expect(&alice.flow, "SIP/2.0 180 ");
    let mut dialog = Dialog::of_caller(&invite, &ringing);
    let request = prack(&mut dialog, &mut eve, ringing.header("RSeq"), cseq(&invite), "");
    bed.send(&eve.flow, &request.replace(&alice.tag, "another"));
    assert_eq!(bed.receive(&eve.flow).code(), 404);
    bed.advance(MILLISECOND * 500);
    bed.expect(&alice.flow, "SIP/2.0 180 ");
}
