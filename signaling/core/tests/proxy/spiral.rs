//! Requests that come through here more than once (RFC 3261 §6, §16.3 step 4; RFC 5393): a loop is refused, a spiral is a call
//! of its own each time, with media of its own.

use signaling_core::flow::Protocol;

use crate::testbed::{Bed, Dialog, Phone, Sip, ack_of, browser_sdp, legacy_sdp};

const MIDDLE: &str = "<sip:203.0.113.5:5060;lr>";

/// A proxy of another domain, at the address of `elsewhere.example`, that sends calls for `pbx` back to bob.
fn elsewhere(bed: &mut Bed) -> Phone {
    let flow = bed.flow(Protocol::Udp, "203.0.113.5:5060");
    Phone::on(flow, "pbx", "sip:pbx@203.0.113.5:5060".into())
}

/// What a proxy makes of a request: its Via on top, its Record-Route, its own Route off, and another target.
fn onward(middle: &mut Phone, request: &Sip, target: Option<&str>) -> String {
    let branch = middle.branch();
    let mut text = request.text.replacen("Via:", &format!("Via: {}\r\nVia:", middle.via(&branch)), 1);
    if let Some(target) = target {
        // The fake relay leaves an SDP what it is; a real one has made it that of a phone.
        let (head, body) = (text.replacen(request.uri(), target, 1), legacy_sdp("relay"));
        let head = head.split_once("\r\n\r\n").map_or("", |(head, _)| head);
        let length = format!("Content-Length: {}", request.body().len());
        text = format!("{}\r\n\r\n{body}", head.replace(&length, &format!("Content-Length: {}", body.len())));
    }
    if request.method() == "INVITE" {
        text = text.replacen("Record-Route:", &format!("Record-Route: {MIDDLE}\r\nRecord-Route:"), 1);
    }
    text.replacen(&format!("Route: {MIDDLE}\r\n"), "", usize::from(request.method() != "INVITE"))
}

/// Sends that back to us.
fn send_on(bed: &mut Bed, middle: &mut Phone, request: &Sip, target: Option<&str>) {
    let text = onward(middle, request, target);
    bed.send(&middle.flow, &text);
}

/// What it makes of a response: its Via off.
fn back(response: &Sip) -> String {
    let via = format!("Via: {}\r\n", response.headers("Via")[0]);
    response.text.replacen(&via, "", 1)
}

/// Alice calls a number of elsewhere, which is bob's here: two calls of ours, and media that are bridged in each of them. Requests
/// of the dialog come by both, from both ends.
#[test]
fn a_spiral_is_a_call_each_time() {
    for browser in [false, true] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let mut alice = Phone::browser(&mut bed, "alice", "203.0.113.9:41000");
        let mut bob = match browser {
            true => Phone::browser(&mut bed, "bob", "203.0.113.10:42000"),
            false => Phone::legacy(&mut bed, "bob", "198.51.100.8:5060"),
        };
        alice.register(&mut bed);
        bob.register(&mut bed);
        let mut middle = elsewhere(&mut bed);
        let invite = alice.invite(&mut bed, "sip:49@elsewhere.example", "call-1", &browser_sdp("alice"));
        let passing = bed.expect(&middle.flow, "INVITE sip:49@elsewhere.example ");
        send_on(&mut bed, &mut middle, &passing, Some("sip:bob@sip.example"));
        bed.expect(&middle.flow, "SIP/2.0 100 ");
        let offered = bed.expect(&bob.flow, "INVITE ");
        assert_eq!(offered.values("Record-Route").len(), if browser { 5 } else { 4 });
        let kinds = if browser { "Legacy Browser" } else { "Legacy Legacy" };
        assert!(offered.body().contains(&format!("offer {kinds}")), "{}", offered.body());
        assert_eq!(bed.media.open.borrow().len(), 2);
        assert_eq!(bed.proxy.calls(), 2);
        let said = if browser { browser_sdp("bob") } else { legacy_sdp("bob") };
        for (code, reason, body) in [(180, "Ringing", ""), (200, "OK", said.as_str())] {
            bed.send(&bob.flow, &bob.reply(&offered, code, reason, body));
            let passing = bed.receive(&middle.flow);
            assert_eq!(passing.code(), code);
            bed.send(&middle.flow, &back(&passing));
        }
        bed.expect(&alice.flow, "SIP/2.0 180 ");
        let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
        assert!(answered.body().contains("answer Legacy Browser"), "{}", answered.body());
        let mut to_bob = Dialog::of_caller(&invite, &answered);
        let answer = bob.reply(&offered, 200, "OK", "");
        let mut to_alice = Dialog::of_callee(&offered, &Sip { text: answer });
        let ack = to_bob.request(&mut alice, "ACK", "", "");
        bed.send(&alice.flow, &ack);
        let passing = bed.expect(&middle.flow, "ACK ");
        send_on(&mut bed, &mut middle, &passing, None);
        assert_eq!(bed.expect(&bob.flow, "ACK ").uri(), bob.contact);
        // Both ways, and through both calls.
        let info = to_alice.request(&mut bob, "INFO", "", "Signal=1");
        bed.send(&bob.flow, &info);
        let passing = bed.expect(&middle.flow, "INFO ");
        send_on(&mut bed, &mut middle, &passing, None);
        let arrived = bed.expect(&alice.flow, "INFO ");
        assert_eq!(arrived.uri(), alice.contact);
        bed.send(&alice.flow, &alice.reply(&arrived, 200, "OK", ""));
        let passing = bed.expect(&middle.flow, "SIP/2.0 200 ");
        bed.send(&middle.flow, &back(&passing));
        bed.expect(&bob.flow, "SIP/2.0 200 ");
        let bye = to_bob.request(&mut alice, "BYE", "", "");
        bed.send(&alice.flow, &bye);
        let passing = bed.expect(&middle.flow, "BYE ");
        assert_eq!((bed.proxy.calls(), bed.media.open.borrow().len()), (1, 1));
        send_on(&mut bed, &mut middle, &passing, None);
        let ended = bed.expect(&bob.flow, "BYE ");
        assert!(ended.headers("Route").is_empty());
        assert!(bed.media.is_clean());
        assert_eq!(bed.proxy.calls(), 0);
    }
}

/// It comes back as it went, and for ever.
#[test]
fn a_loop_is_refused() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.register(&mut bed);
    let mut middle = elsewhere(&mut bed);
    let invite = alice.invite(&mut bed, "sip:49@elsewhere.example", "call-1", &legacy_sdp("alice"));
    let passing = bed.expect(&middle.flow, "INVITE ");
    let looped = onward(&mut middle, &passing, None);
    bed.send(&middle.flow, &looped);
    let refused = bed.expect(&middle.flow, "SIP/2.0 482 Loop Detected");
    bed.send(&middle.flow, &ack_of(&looped, &refused));
    bed.send(&middle.flow, &middle.reply(&passing, 482, "Loop Detected", ""));
    bed.expect(&middle.flow, "ACK ");
    let refused = bed.expect(&alice.flow, "SIP/2.0 482 ");
    bed.send(&alice.flow, &ack_of(&invite.text, &refused));
    bed.expect_silence();
    assert!(bed.media.is_clean());
}

/// Whoever has a call of ours in his hands may send it to users of ours; not elsewhere in the name of the caller, and nothing
/// else in that name.
#[test]
fn a_spiral_is_no_free_ride() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.register(&mut bed);
    let mut middle = elsewhere(&mut bed);
    alice.invite(&mut bed, "sip:49@elsewhere.example", "call-1", &legacy_sdp("alice"));
    let passing = bed.expect(&middle.flow, "INVITE ");
    let onward = onward(&mut middle, &passing, Some("sip:1@pair.example"));
    bed.send(&middle.flow, &onward);
    bed.expect(&middle.flow, "SIP/2.0 403 Not relaying");
    for (from, to) in [("CSeq: 4 ", "CSeq: 5 "), (alice.tag.as_str(), "another"), ("call-1", "call-2")] {
        let branch = middle.branch();
        let made_up = onward.replacen("sip:1@pair.example", "sip:bob@sip.example", 1).replace(from, to);
        let top = made_up.lines().nth(1).expect("a Via").to_owned();
        bed.send(&middle.flow, &made_up.replacen(&top, &format!("Via: {}", middle.via(&branch)), 1));
        let refused = bed.receive(&middle.flow);
        assert_eq!(refused.code(), if from.starts_with("CSeq") { 482 } else { 407 }, "{from}");
    }
}

/// A proxy before us forks to two of our users: two targets, two calls.
#[test]
fn a_fork_before_us_is_two_calls() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let mut middle = elsewhere(&mut bed);
    let contact = format!("Contact: <{}>\r\n", middle.contact);
    let invite = middle.request("INVITE", &alice.aor(), "call-1", &contact, &legacy_sdp("x"));
    let invite = invite.replace("From: <sip:pbx@sip.example>", "From: <sip:pbx@elsewhere.example>");
    bed.send(&middle.flow, &invite);
    bed.expect(&middle.flow, "SIP/2.0 100 ");
    let branch = middle.branch();
    let (old, new) = (Sip { text: invite.clone() }.header("Via").to_owned(), middle.via(&branch));
    let second = invite.replacen(&alice.aor(), &bob.aor(), 1).replace(&old, &new);
    bed.send(&middle.flow, &second);
    bed.expect(&middle.flow, "SIP/2.0 100 ");
    let mut dialogs = [&alice, &bob].map(|phone| {
        let offered = bed.expect(&phone.flow, "INVITE ");
        bed.send(&phone.flow, &phone.reply(&offered, 200, "OK", &legacy_sdp("y")));
        let answered = bed.expect(&middle.flow, "SIP/2.0 200 ");
        Dialog::of_caller(&Sip { text: invite.clone() }, &answered)
    });
    assert_eq!((bed.proxy.calls(), bed.media.open.borrow().len()), (2, 2));
    for (phone, dialog) in [&alice, &bob].into_iter().zip(&mut dialogs) {
        for method in ["ACK", "BYE"] {
            let request = dialog.request(&mut middle, method, "", "");
            bed.send(&middle.flow, &request);
            bed.expect(&phone.flow, method);
        }
    }
    assert!(bed.media.is_clean());
    assert_eq!(bed.proxy.calls(), 0);
}
