//! A user agent comes back over another connection: its calls go on (RFC 5626).

use std::time::Duration;

use signaling_core::flow::Protocol;
use signaling_core::settings::{Settings, Usrloc};

use crate::pair::{answer, both, established, ringing};
use crate::testbed::{Bed, Dialog, Phone, browser_sdp, cancel_of, legacy_sdp, settings};
use crate::webrtc::within;

/// The browser opens another WebSocket and registers; the old one stays as it was.
fn comes_back(bed: &mut Bed, browser: &mut Phone, remote: &str) {
    browser.flow = bed.flow(Protocol::Wss, remote);
    browser.register(bed);
}

/// Requests both ways, and a hang-up by `caller`.
fn goes_on(bed: &mut Bed, phones: [&mut Phone; 2], dialogs: [&mut Dialog; 2], sdps: [&str; 2]) {
    let [alice, bob] = phones;
    let [a, b] = dialogs;
    within(bed, alice, bob, a, "INFO", ["Signal=1\r\n", ""]);
    within(bed, bob, alice, b, "INFO", ["Signal=2\r\n", ""]);
    within(bed, bob, alice, b, "INVITE", [sdps[1], sdps[0]]);
    within(bed, alice, bob, a, "BYE", ["", ""]);
    bed.expect_silence();
    assert!(bed.media.is_clean());
}

#[test]
fn a_callee_is_followed_while_its_old_socket_is_silent() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let sdps = [&*legacy_sdp("a"), &*browser_sdp("b")];
    let (mut a, mut b) = established(&mut bed, &mut alice, &bob, "call-1", sdps);
    let old = bob.flow;
    comes_back(&mut bed, &mut bob, "203.0.113.9:42222");
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=0\r\n", ""]);
    bed.close(&old);
    goes_on(&mut bed, [&mut alice, &mut bob], [&mut a, &mut b], sdps);
}

#[test]
fn a_caller_is_followed_too() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let sdps = [&*browser_sdp("b"), &*legacy_sdp("a")];
    let (mut b, mut a) = established(&mut bed, &mut bob, &alice, "call-1", sdps);
    comes_back(&mut bed, &mut bob, "203.0.113.9:42222");
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=0\r\n", ""]);
    goes_on(&mut bed, [&mut bob, &mut alice], [&mut b, &mut a], sdps);
}

#[test]
fn both_ends_may_come_back() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::browser(&mut bed, "alice", "203.0.113.8:40001");
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:40002");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let sdps = [&*browser_sdp("a"), &*browser_sdp("b")];
    let (mut a, mut b) = established(&mut bed, &mut alice, &bob, "call-1", sdps);
    let old = (alice.flow, bob.flow);
    comes_back(&mut bed, &mut alice, "203.0.113.8:41001");
    bed.close(&old.1);
    comes_back(&mut bed, &mut bob, "203.0.113.9:41002");
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=0\r\n", ""]);
    bed.close(&old.0);
    goes_on(&mut bed, [&mut alice, &mut bob], [&mut a, &mut b], sdps);
}

#[test]
fn another_page_of_the_same_user_is_another() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let sdps = [&*legacy_sdp("a"), &*browser_sdp("b")];
    let (mut a, mut b) = established(&mut bed, &mut alice, &bob, "call-1", sdps);
    let mut other = bob.clone();
    other.flow = bed.flow(Protocol::Wss, "203.0.113.10:43333");
    other.contact_params = ";reg-id=1;+sip.instance=\"<urn:uuid:other>\"".into();
    other.register(&mut bed);
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=0\r\n", ""]);
    // It knows the dialog and says so: it still is not the one that talks.
    let mut theirs = b.clone();
    let info = theirs.request(&mut other, "INFO", "", "Signal=6\r\n");
    bed.send(&other.flow, &info);
    bed.discard();
    b.cseq = theirs.cseq;
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=0\r\n", ""]);
    bed.close(&bob.flow.clone());
    let info = a.request(&mut alice, "INFO", "", "Signal=1\r\n");
    bed.send(&alice.flow, &info);
    bed.expect(&alice.flow, "SIP/2.0 480 ");
    bed.expect_silence();
    comes_back(&mut bed, &mut bob, "203.0.113.9:42222");
    goes_on(&mut bed, [&mut alice, &mut bob], [&mut a, &mut b], sdps);
}

#[test]
fn a_ringing_callee_answers_over_its_new_socket() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("a"));
    bed.close(&bob.flow.clone());
    bed.expect_silence();
    comes_back(&mut bed, &mut bob, "203.0.113.9:42222");
    bed.advance(Duration::from_secs(20));
    let ok = bob.reply(&offered, 200, "OK", &browser_sdp("b"));
    let (mut a, mut b, _) = answer(&mut bed, (&mut alice, &invite), (&bob, &offered), ok);
    let sdps = [&*legacy_sdp("a"), &*browser_sdp("b")];
    goes_on(&mut bed, [&mut alice, &mut bob], [&mut a, &mut b], sdps);
}

#[test]
fn a_ringing_callee_is_cancelled_where_it_is_now() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("a"));
    let old = bob.flow;
    comes_back(&mut bed, &mut bob, "203.0.113.9:42222");
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&bob.flow, "CANCEL ");
    bed.close(&old);
    bed.send(&bob.flow, &bob.reply(&cancel, 200, "OK", ""));
    bed.send(&bob.flow, &bob.reply(&offered, 487, "Request Terminated", ""));
    bed.expect(&bob.flow, "ACK ");
    bed.expect(&alice.flow, "SIP/2.0 487 ");
    bed.expect_silence();
    assert!(bed.media.is_clean());
}

#[test]
fn a_ringing_callee_that_stays_away_is_not_there() {
    for (agent, at_once) in [("User-Agent: JsSIP 3.13.8\r\n", true), ("User-Agent: Other\r\n", false)] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (mut alice, mut bob) = both(&mut bed);
        let request = bob.register_text(600).replacen("Contact:", &format!("{agent}Contact:"), 1);
        bob.authorized(&mut bed, &request);
        ringing(&mut bed, &mut alice, &bob, &legacy_sdp("a"));
        bed.close(&bob.flow.clone());
        if !at_once {
            bed.expect_silence();
            bed.advance(Duration::from_secs(11));
        }
        bed.expect(&alice.flow, "SIP/2.0 480 ");
        assert!(bed.media.is_clean() && bed.proxy.calls() == 0, "{agent}");
    }
}

#[test]
fn a_caller_hears_the_answer_over_its_new_socket() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut bob, &alice, &browser_sdp("b"));
    bed.close(&bob.flow.clone());
    comes_back(&mut bed, &mut bob, "203.0.113.9:42222");
    bed.advance(Duration::from_secs(20));
    let ok = alice.reply(&offered, 200, "OK", &legacy_sdp("a"));
    let (mut b, mut a, _) = answer(&mut bed, (&mut bob, &invite), (&alice, &offered), ok);
    let sdps = [&*browser_sdp("b"), &*legacy_sdp("a")];
    goes_on(&mut bed, [&mut bob, &mut alice], [&mut b, &mut a], sdps);
}

#[test]
fn a_held_registration_is_unreachable_and_comes_back() {
    let usrloc = Usrloc { lost_tcp_grace: Duration::from_secs(30), ..Usrloc::default() };
    let mut bed = Bed::with(&["alice", "bob"], Settings { usrloc, ..settings() }, Vec::new());
    let (mut alice, mut bob) = both(&mut bed);
    let message = |bed: &mut Bed, alice: &mut Phone, id| {
        let text = alice.request("MESSAGE", "sip:bob@sip.example", id, "", "hi");
        alice.authorized(bed, &text)
    };
    bed.close(&bob.flow.clone());
    assert_eq!(message(&mut bed, &mut alice, "m-1").code(), 480);
    assert_eq!(bed.location.count(), (2, 2));
    bed.advance(Duration::from_secs(20));
    comes_back(&mut bed, &mut bob, "203.0.113.9:42222");
    bed.advance(Duration::from_secs(60));
    assert_eq!(bed.location.count(), (2, 2));
    bed.close(&bob.flow.clone());
    bed.advance(Duration::from_secs(36));
    assert_eq!(bed.location.count(), (1, 1));
}
