//! A browser on WSS and a phone on UDP: alias, double Record-Route, in-dialog requests both ways.

use std::time::Duration;

use signaling_core::flow::Protocol;

use crate::pair::{both, established};
use crate::testbed::{Bed, Dialog, Phone, Sip, browser_sdp, legacy_sdp};

/// Sends a request within the dialog, answers it with 200, returns it as it arrived and the answer as it arrived.
#[track_caller]
pub(crate) fn within(
    bed: &mut Bed,
    from: &mut Phone,
    to: &Phone,
    end: &mut Dialog,
    method: &str,
    body: [&str; 2],
) -> (Sip, Sip) {
    let request = end.request(from, method, "", body[0]);
    bed.send(&from.flow, &request);
    if method == "INVITE" {
        bed.expect(&from.flow, "SIP/2.0 100 ");
    }
    let arrived = bed.expect(&to.flow, method);
    assert_eq!(arrived.uri(), to.contact, "the alias is taken off");
    assert!(arrived.headers("Route").is_empty(), "our own Routes are taken off");
    bed.send(&to.flow, &to.reply(&arrived, 200, "OK", body[1]));
    let answered = bed.expect(&from.flow, "SIP/2.0 200 ");
    if method == "INVITE" {
        let ack = end.request(from, "ACK", "", "");
        bed.send(&from.flow, &ack);
        bed.expect(&to.flow, "ACK ");
    }
    (arrived, answered)
}

fn all_requests_pass(browser_calls: bool) {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (legacy, browser) = (legacy_sdp("alice"), browser_sdp("bob"));
    let (mut a, mut b) = if browser_calls {
        let (b, a) = established(&mut bed, &mut bob, &alice, "call-1", [&browser, &legacy]);
        (a, b)
    } else {
        established(&mut bed, &mut alice, &bob, "call-1", [&legacy, &browser])
    };
    assert!(a.target.ends_with(";alias=203.0.113.9~41000~6"), "{}", a.target);
    assert_eq!(b.target, alice.contact, "a phone that says the truth needs no alias");
    assert_eq!((a.routes.len(), b.routes.len()), (2, 2));
    assert!(a.routes[0].starts_with("<sip:192.0.2.1:5060;r2=on;lr;"), "{}", a.routes[0]);
    assert!(b.routes[0].starts_with("<sip:192.0.2.1:8443;transport=ws;r2=on;lr;"), "{}", b.routes[0]);

    let (held, _) = within(&mut bed, &mut bob, &alice, &mut b, "INVITE", [&browser, &legacy]);
    assert!(held.body().contains("a=x-relay:offer Browser Legacy -"), "{}", held.body());
    let (held, answered) = within(&mut bed, &mut alice, &bob, &mut a, "INVITE", [&legacy, &browser]);
    assert!(held.body().contains("a=x-relay:offer Legacy Browser -"));
    assert!(answered.body().contains("a=x-relay:answer Browser Legacy -"));
    let dtmf = "Signal=5\r\nDuration=160\r\n";
    let (info, _) = within(&mut bed, &mut bob, &alice, &mut b, "INFO", [dtmf, ""]);
    assert_eq!((info.header("Content-Type"), info.body()), ("application/dtmf-relay", dtmf));
    for method in ["UPDATE", "REFER", "NOTIFY", "MESSAGE", "OPTIONS"] {
        within(&mut bed, &mut alice, &bob, &mut a, method, ["", ""]);
        within(&mut bed, &mut bob, &alice, &mut b, method, ["", ""]);
    }
    within(&mut bed, &mut bob, &alice, &mut b, "BYE", ["", ""]);
    bed.expect_silence();
    assert!(bed.media.is_clean());
    assert_eq!(bed.proxy.calls(), 0);
}

#[test]
fn a_phone_calls_a_browser() {
    all_requests_pass(false);
}

#[test]
fn a_browser_calls_a_phone() {
    all_requests_pass(true);
}

#[test]
fn the_legs_are_what_transport_and_sdp_say() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE sip:kbob@df7jal23ls0d.invalid;transport=ws SIP/2.0");
    assert!(offered.body().contains("a=x-relay:offer Legacy Browser z9hG4bK"), "{}", offered.body());
    assert!(offered.header("Via").starts_with("SIP/2.0/WSS 192.0.2.1:8443;branch=z9hG4bK"));
    bed.send(&bob.flow, &bob.reply(&offered, 183, "Progress", &browser_sdp("bob")));
    let early = bed.expect(&alice.flow, "SIP/2.0 183 ");
    assert!(early.body().contains("a=x-relay:answer Browser Legacy"));
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &browser_sdp("bob")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_eq!(early.body(), answered.body(), "the same answer is translated once");
    assert_eq!(bed.media.log.borrow().len(), 2);
    assert_eq!(invite.header("Call-ID"), answered.header("Call-ID"));
}

#[test]
fn an_offer_in_the_answer_is_answered_in_the_ack() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", "");
    let offered = bed.expect(&bob.flow, "INVITE ");
    assert_eq!(offered.body(), "");
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &browser_sdp("bob")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert!(answered.body().contains("a=x-relay:offer Browser Legacy z9hG4bK"), "{}", answered.body());
    let mut caller = Dialog::of_caller(&invite, &answered);
    let ack = caller.request(&mut alice, "ACK", "", &legacy_sdp("alice"));
    bed.send(&alice.flow, &ack);
    let acked = bed.expect(&bob.flow, "ACK ");
    assert!(acked.body().contains("a=x-relay:answer Legacy Browser z9hG4bK"), "{}", acked.body());
    let asked = bed.media.log.borrow().len();
    bed.send(&alice.flow, &ack);
    assert_eq!(bed.expect(&bob.flow, "ACK "), acked, "a repeated ACK goes on as the first one did");
    assert_eq!(bed.media.log.borrow().len(), asked);
    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    assert!(bed.media.is_clean());
}

#[test]
fn a_browser_that_comes_back_keeps_its_call() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (mut a, mut b) =
        established(&mut bed, &mut alice, &bob, "call-1", [&legacy_sdp("a"), &browser_sdp("b")]);
    let old = bob.flow;
    bed.close(&old);
    let info = a.request(&mut alice, "INFO", "", "Signal=1\r\n");
    bed.send(&alice.flow, &info);
    bed.expect(&alice.flow, "SIP/2.0 480 ");

    bob.flow = bed.flow(Protocol::Wss, "203.0.113.9:42222");
    bob.register(&mut bed);
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=1\r\n", ""]);
    within(&mut bed, &mut bob, &alice, &mut b, "INVITE", [&browser_sdp("b"), &legacy_sdp("a")]);
    within(&mut bed, &mut alice, &bob, &mut a, "BYE", ["", ""]);
    assert!(bed.media.is_clean());
}

#[test]
fn a_browser_that_is_gone_is_not_there() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    bed.close(&bob.flow);
    let request = alice.request("INVITE", &bob.aor(), "call-1", "", &legacy_sdp("a"));
    let (_, reply) = alice.authorize(&mut bed, &request);
    assert_eq!(reply.code(), 480);
    assert_eq!(bed.media.offers(), 0);
}

#[test]
fn two_pages_ring_and_one_answers() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let mut second = Phone::browser(&mut bed, "bob", "203.0.113.10:41001");
    second.contact = "sip:kbob@x8f2m1c9.invalid;transport=ws".into();
    second.contact_params = ";reg-id=1;+sip.instance=\"<urn:uuid:second>\"".into();
    second.register(&mut bed);
    alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let first_invite = bed.expect(&bob.flow, "INVITE ");
    let second_invite = bed.expect(&second.flow, "INVITE ");
    assert_ne!(first_invite.header("Via"), second_invite.header("Via"));
    assert_ne!(first_invite.body(), second_invite.body(), "each has its own offer");
    bed.send(&bob.flow, &bob.reply(&first_invite, 180, "Ringing", ""));
    bed.send(&second.flow, &second.reply(&second_invite, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&second.flow, &second.reply(&second_invite, 200, "OK", &browser_sdp("second")));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&bob.flow, "CANCEL ");
    assert!(cancel.header("Reason").contains("Call completed elsewhere"));
    assert_eq!(cancel.header("Via"), first_invite.header("Via"));
    bed.send(&bob.flow, &bob.reply(&cancel, 200, "OK", ""));
    bed.send(&bob.flow, &bob.reply(&first_invite, 487, "Request Terminated", ""));
    bed.expect(&bob.flow, "ACK ");
    bed.expect_silence();
    assert_eq!(bed.media.open.borrow().len(), 1, "the branch that lost is freed");
}

#[test]
fn two_browsers_share_one_record_route() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (_, mut bob) = both(&mut bed);
    let mut alice = Phone::browser(&mut bed, "alice", "203.0.113.20:43000");
    alice.register(&mut bed);
    // The phone of the same user is switched off.
    let mut phone = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    phone.cseq = 50;
    let gone = phone.register_text(0);
    phone.authorized(&mut bed, &gone);
    let (mut b, mut a) =
        established(&mut bed, &mut bob, &alice, "call-1", [&browser_sdp("b"), &browser_sdp("a")]);
    assert_eq!((a.routes.len(), b.routes.len()), (1, 1));
    within(&mut bed, &mut alice, &bob, &mut a, "INVITE", [&browser_sdp("a"), &browser_sdp("b")]);
    within(&mut bed, &mut bob, &alice, &mut b, "BYE", ["", ""]);
    assert!(bed.media.is_clean());
}

#[test]
fn a_second_early_answer_is_kept_from_a_browser() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (alice, mut bob) = both(&mut bed);
    let mut desk = Phone::legacy(&mut bed, "alice", "198.51.100.17:5060");
    desk.register(&mut bed);
    bob.invite(&mut bed, &alice.aor(), "call-1", &browser_sdp("bob"));
    let first = bed.expect(&alice.flow, "INVITE ");
    let second = bed.expect(&desk.flow, "INVITE ");
    bed.send(&alice.flow, &alice.reply(&first, 183, "Progress", &legacy_sdp("alice")));
    assert!(bed.expect(&bob.flow, "SIP/2.0 183 ").body().contains("x-relay:answer"));
    bed.send(&desk.flow, &desk.reply(&second, 183, "Progress", &legacy_sdp("desk")));
    assert_eq!(bed.expect(&bob.flow, "SIP/2.0 183 ").body(), "", "JsSIP would take it for another answer");
    bed.send(&desk.flow, &desk.reply(&second, 200, "OK", &legacy_sdp("desk")));
    assert!(bed.expect(&bob.flow, "SIP/2.0 200 ").body().contains("x-relay:answer"));
    bed.expect(&alice.flow, "CANCEL ");
}

#[test]
fn a_browser_that_does_not_come_back_is_hung_up_on() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    established(&mut bed, &mut alice, &bob, "call-1", [&legacy_sdp("a"), &browser_sdp("b")]);
    bed.close(&bob.flow);
    bed.advance(Duration::from_secs(59));
    bed.expect_silence();
    assert!(!bed.media.is_clean());
    bed.advance(Duration::from_secs(10));
    bed.expect(&alice.flow, "BYE sip:alice@198.51.100.7:5060 ");
    assert!(bed.media.is_clean());
    assert_eq!(bed.proxy.calls(), 0);
}

#[test]
fn a_browser_that_came_back_is_not() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    established(&mut bed, &mut alice, &bob, "call-1", [&legacy_sdp("a"), &browser_sdp("b")]);
    bed.close(&bob.flow);
    bed.advance(Duration::from_secs(30));
    bob.flow = bed.flow(Protocol::Wss, "203.0.113.9:42222");
    bob.register(&mut bed);
    bed.advance(Duration::from_secs(300));
    bed.expect_silence();
    assert_eq!(bed.proxy.calls(), 1);
}

/// JsSIP ends by itself what is not answered yet; another one may come back to it.
#[test]
fn a_browser_that_vanishes_while_calling_has_given_up() {
    for (agent, patient) in [("User-Agent: JsSIP 3.13.8\r\n", false), ("", true)] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (alice, mut bob) = both(&mut bed);
        let more = format!("Contact: <{}>\r\n{agent}", bob.contact);
        let request = bob.request("INVITE", &alice.aor(), "call-1", &more, &browser_sdp("b"));
        bob.authorize(&mut bed, &request);
        let offered = bed.expect(&alice.flow, "INVITE ");
        bed.send(&alice.flow, &alice.reply(&offered, 180, "Ringing", ""));
        bed.expect(&bob.flow, "SIP/2.0 180 ");
        bed.close(&bob.flow);
        let mut waited = 0;
        let cancel = loop {
            match bed.try_receive(&alice.flow) {
                Some(cancel) => break cancel,
                None => bed.advance(Duration::from_millis(500)),
            }
            waited += 1;
        };
        assert!(cancel.text.starts_with("CANCEL ") && (waited > 0) == patient && waited <= 22, "{waited}");
        bed.send(&alice.flow, &alice.reply(&cancel, 200, "OK", ""));
        bed.send(&alice.flow, &alice.reply(&offered, 487, "Request Terminated", ""));
        bed.expect(&alice.flow, "ACK ");
        bed.expect_silence();
        assert!(bed.media.is_clean());
        assert_eq!(bed.proxy.calls(), 0);
    }
}

/// JsSIP marks the Contact of a dialog with `;ob` (RFC 5626 §4.3), that of its REGISTER not.
#[test]
fn a_browser_whose_dialog_has_ob_comes_back() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let registered = std::mem::take(&mut bob.contact);
    bob.contact = format!("{registered};ob");
    let (_, mut a) = established(&mut bed, &mut bob, &alice, "call-1", [&browser_sdp("b"), &legacy_sdp("a")]);
    let old = bob.flow;
    bed.close(&old);
    bob.flow = bed.flow(Protocol::Wss, "203.0.113.9:42222");
    bob.contact = registered;
    bob.register(&mut bed);
    bob.contact.push_str(";ob");
    within(&mut bed, &mut alice, &bob, &mut a, "BYE", ["", ""]);
    assert!(bed.media.is_clean());
}
