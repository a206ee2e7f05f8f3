//! Topology hiding with a store: what the ends of a call see of each other, that it hinders nothing, and that it is not forgotten.

use std::sync::Arc;
use std::time::Duration;

use signaling_core::event::Event;
use signaling_core::flow::Protocol;
use signaling_core::secret::Secret;
use signaling_core::settings::Settings;
use signaling_core::topology::Topoh;
use signaling_core::topology::topos::{Params, Topos};

use crate::testbed::{
    Bed, Dialog, Phone, Sip, UNIX_START, ack_of, browser_sdp, cancel_of, legacy_sdp, settings, uri_of,
};

const SEALS: Secret = Secret([6; 32]);
const USERS: [&str; 3] = ["alice", "bob", "carol"];

fn topoh() -> Topoh {
    Topoh::new(Secret([5; 32]))
}

fn bed() -> Bed {
    over(&Bed::new(&USERS), Some(Arc::new(Topos::new(Params::default(), topoh()))), settings())
}

/// What comes after a bed: another process with what the store has kept, and the same keys.
fn over(before: &Bed, topos: Option<Arc<Topos>>, settings: Settings) -> Bed {
    let bindings = before.store.bindings.borrow();
    let kept = bindings.iter().flat_map(|(aor, list)| list.iter().map(|one| (aor.clone(), (**one).clone())));
    let mut bed = Bed::with(&USERS, settings, kept.collect());
    bed.proxy = bed.proxy.with_topos(topos).with_seals(&SEALS);
    bed
}

/// The same after a restart.
fn restarted(before: &Bed) -> Bed {
    let topos = Topos::new(Params::default(), topoh());
    topos.load(before.store.hidden.borrow().values().cloned(), UNIX_START);
    over(before, Some(Arc::new(topos)), settings())
}

/// Only the proxy itself is to be seen: one Via, no route, and a Contact that names the proxy.
#[track_caller]
fn assert_stripped(message: &Sip, addresses: &[&str]) {
    let head = message.text.split("\r\n\r\n").next().unwrap_or_default();
    for address in addresses {
        assert!(!head.contains(address), "{address} is in:\n{head}");
    }
    assert_eq!(message.headers("Record-Route"), [""; 0], "{head}");
    if !message.text.starts_with("SIP/2.0 ") {
        assert_eq!(message.values("Via").len(), 1, "{head}");
    }
    for contact in message.values("Contact") {
        let uri = uri_of(contact);
        assert!(uri.contains("tpsh-") && uri.contains("@192.0.2.1:"), "{head}");
    }
}

/// A browser and a phone behind a NAT, registered.
fn browser_and_phone(bed: &mut Bed) -> (Phone, Phone) {
    let mut alice = Phone::browser(bed, "alice", "203.0.113.9:41000");
    let mut bob = Phone::legacy(bed, "bob", "198.51.100.8:5060");
    bob.contact = "sip:bob@10.9.9.8:5060".into();
    alice.register(bed);
    bob.register(bed);
    (alice, bob)
}

const OF_ALICE: [&str; 2] = ["203.0.113.9", "df7jal23ls0d"];
const OF_BOB: [&str; 2] = ["198.51.100.8", "10.9.9.8"];

/// Alice has called and bob has answered: her end and his.
fn answered_call(bed: &mut Bed, alice: &mut Phone, bob: &mut Phone) -> (Dialog, Dialog) {
    let invite = alice.invite(bed, &bob.aor(), "call-1", &browser_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE sip:bob@10.9.9.8:5060 SIP/2.0");
    assert_stripped(&offered, &OF_ALICE);
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    assert_stripped(&bed.expect(&alice.flow, "SIP/2.0 180 "), &OF_BOB);
    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_stripped(&answered, &OF_BOB);
    let via = Sip { text: invite.text.clone() }.header("Via").to_owned();
    assert_eq!(answered.header("Via"), via + ";rport=41000;received=203.0.113.9");
    let mut caller = Dialog::of_caller(&invite, &answered);
    let callee = Dialog::of_callee(&offered, &Sip { text: answer });
    let ack = caller.request(alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    assert_stripped(&bed.expect(&bob.flow, "ACK sip:bob@10.9.9.8:5060 SIP/2.0"), &OF_ALICE);
    (caller, callee)
}

#[track_caller]
fn assert_over(bed: &mut Bed) {
    bed.expect_silence();
    assert_eq!(bed.proxy.calls(), 0);
    assert!(bed.media.is_clean(), "{:?}", bed.media.open);
}

/// Requests both ways, from a browser to a phone: re-INVITE, INFO, REFER, and BYE from either end.
#[test]
fn nothing_of_an_end_is_seen_by_the_other_one() {
    for by_caller in [true, false] {
        let mut bed = bed();
        let (mut alice, mut bob) = browser_and_phone(&mut bed);
        let (mut caller, mut callee) = answered_call(&mut bed, &mut alice, &mut bob);

        let again = callee.request(&mut bob, "INVITE", "", &legacy_sdp("bob"));
        bed.send(&bob.flow, &again);
        bed.expect(&bob.flow, "SIP/2.0 100 ");
        let offered = bed.expect(&alice.flow, &format!("INVITE {} SIP/2.0", alice.contact));
        assert_stripped(&offered, &OF_BOB);
        bed.send(&alice.flow, &alice.reply(&offered, 200, "OK", &browser_sdp("alice")));
        let answered = bed.expect(&bob.flow, "SIP/2.0 200 ");
        assert_stripped(&answered, &OF_ALICE);
        assert_eq!(uri_of(answered.header("Contact")), callee.target, "her name stays the same");
        let ack = callee.request(&mut bob, "ACK", "", "");
        bed.send(&bob.flow, &ack);
        bed.expect(&alice.flow, &format!("ACK {} SIP/2.0", alice.contact));

        for (method, more) in [("INFO", ""), ("REFER", "Refer-To: <sip:carol@sip.example>\r\n")] {
            let request = caller.request(&mut alice, method, more, "");
            bed.send(&alice.flow, &request);
            let heard = bed.expect(&bob.flow, &format!("{method} sip:bob@10.9.9.8:5060 SIP/2.0"));
            assert_stripped(&heard, &OF_ALICE);
            bed.send(&bob.flow, &bob.reply(&heard, 202, "Accepted", ""));
            assert_stripped(&bed.expect(&alice.flow, "SIP/2.0 202 "), &OF_BOB);
        }

        let bye = if by_caller {
            caller.request(&mut alice, "BYE", "", "")
        } else {
            callee.request(&mut bob, "BYE", "", "")
        };
        let (from, to) = if by_caller { (&alice, &bob) } else { (&bob, &alice) };
        bed.send(&from.flow, &bye);
        let hung_up = bed.expect(&to.flow, &format!("BYE {} SIP/2.0", to.contact));
        assert_stripped(&hung_up, if by_caller { &OF_ALICE } else { &OF_BOB });
        bed.send(&to.flow, &to.reply(&hung_up, 200, "OK", ""));
        bed.expect(&from.flow, "SIP/2.0 200 ");
        assert_over(&mut bed);
    }
}

/// An end that moves by a re-INVITE is found at its new Contact; when the other end refuses that, at the old one, which is all that
/// it knows (RFC 3261 §12.2.2, §14.1).
#[test]
fn an_end_that_moves_is_found_where_the_other_end_believes_it() {
    let mut bed = bed();
    let (mut alice, mut bob) = browser_and_phone(&mut bed);
    let (mut caller, mut callee) = answered_call(&mut bed, &mut alice, &mut bob);
    let mut names = vec![(caller.target.clone(), bob.contact.clone())];
    for (contact, code) in [("sip:bob@10.9.9.8:5062", 488), ("sip:bob@10.9.9.8:5064", 200)] {
        bob.contact = contact.into();
        let again = callee.request(&mut bob, "INVITE", "", &legacy_sdp("bob"));
        bed.send(&bob.flow, &again);
        bed.expect(&bob.flow, "SIP/2.0 100 ");
        let offered = bed.expect(&alice.flow, "INVITE ");
        names.push((uri_of(offered.header("Contact")).to_owned(), contact.to_owned()));
        let sdp = if code == 200 { browser_sdp("alice") } else { String::new() };
        bed.send(&alice.flow, &alice.reply(&offered, code, "Said", &sdp));
        bed.expect(&bob.flow, &format!("SIP/2.0 {code} "));
        let ack = callee.request(&mut bob, "ACK", "", "");
        bed.send(&bob.flow, &if code == 200 { ack } else { ack_of(&again, &Sip { text: again.clone() }) });
        bed.discard();
    }
    for (name, contact) in names {
        caller.target = name;
        let info = caller.request(&mut alice, "INFO", "", "");
        bed.send(&alice.flow, &info);
        bed.expect(&bob.flow, &format!("INFO {contact} SIP/2.0"));
        bed.discard();
    }
}

/// PRACK and CANCEL in an early dialog, and an answer of each of two phones that ring.
#[test]
fn forks_and_early_dialogs_are_kept_apart() {
    let mut bed = bed();
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.contact = "sip:alice@10.1.1.9:5060".into();
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    let mut desk = Phone::on(bed.flow(Protocol::Tcp, "198.51.100.9:40000"), "bob", "sip:bob@10.9.9.9".into());
    desk.tag = "desk".into();
    bob.register(&mut bed);
    desk.register(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let at_bob = bed.expect(&bob.flow, "INVITE ");
    let at_desk = bed.expect(&desk.flow, "INVITE ");
    assert_stripped(&at_bob, &["198.51.100.7", "10.1.1.9"]);
    assert_stripped(&at_desk, &["198.51.100.7", "10.1.1.9"]);
    assert!(at_desk.header("Contact").contains(";transport=tcp>"), "{}", at_desk.text);

    let ringing = bob.reply(&at_bob, 183, "Progress", "").replacen(
        "Contact:",
        "Require: 100rel\r\nRSeq: 7\r\nContact:",
        1,
    );
    bed.send(&bob.flow, &ringing);
    let early = bed.expect(&alice.flow, "SIP/2.0 183 ");
    assert_stripped(&early, &["198.51.100.8"]);
    let cseq = invite.header("CSeq").split(' ').next().expect("a number").to_owned();
    let mut of_bob = Dialog::of_caller(&invite, &early);
    let prack = of_bob.request(&mut alice, "PRACK", &format!("RAck: 7 {cseq} INVITE\r\n"), "");
    bed.send(&alice.flow, &prack);
    let pracked = bed.expect(&bob.flow, "PRACK sip:bob@198.51.100.8:5060 ");
    bed.send(&bob.flow, &bob.reply(&pracked, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");

    let answer = desk.reply(&at_desk, 200, "OK", &legacy_sdp("bob"));
    bed.send(&desk.flow, &answer);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_stripped(&answered, &["198.51.100.9", "10.9.9.9"]);
    let cancel = bed.expect(&bob.flow, "CANCEL ");
    assert_stripped(&cancel, &["198.51.100.7"]);
    bed.send(&bob.flow, &bob.reply(&cancel, 200, "OK", ""));
    bed.send(&bob.flow, &bob.reply(&at_bob, 487, "Request Terminated", ""));
    assert_stripped(&bed.expect(&bob.flow, "ACK "), &["198.51.100.7"]);
    let mut caller = Dialog::of_caller(&invite, &answered);
    assert_ne!(caller.target, of_bob.target);
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect(&desk.flow, "ACK sip:bob@10.9.9.9 ");
    let bye = Dialog::of_callee(&at_desk, &Sip { text: answer }).request(&mut desk, "BYE", "", "");
    bed.send(&desk.flow, &bye);
    let hung_up = bed.expect(&alice.flow, "BYE sip:alice@10.1.1.9:5060 ");
    bed.send(&alice.flow, &alice.reply(&hung_up, 200, "OK", ""));
    bed.expect(&desk.flow, "SIP/2.0 200 ");
    assert_over(&mut bed);
}

/// The caller gives up before anybody answers.
#[test]
fn a_cancelled_call_is_over_on_both_sides() {
    let mut bed = bed();
    let (mut alice, bob) = browser_and_phone(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &browser_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&bob.flow, "CANCEL sip:bob@10.9.9.8:5060 ");
    assert_eq!(cancel.header("Via"), offered.header("Via"));
    bed.send(&bob.flow, &bob.reply(&cancel, 200, "OK", ""));
    bed.send(&bob.flow, &bob.reply(&offered, 487, "Request Terminated", ""));
    bed.expect(&bob.flow, "ACK ");
    let refused = bed.expect(&alice.flow, "SIP/2.0 487 ");
    bed.send(&alice.flow, &ack_of(&invite.text, &refused));
    assert_over(&mut bed);
    assert!(bed.store.hidden.borrow().values().all(|end| !end.peer_tag.is_empty()), "no half of a dialog");
}

/// The proxies of each side are seen by that side alone, and gone through by the requests of both.
#[test]
fn proxies_of_a_side_are_seen_by_that_side_alone() {
    let mut bed = bed();
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.register(&mut bed);
    let proxy = bed.flow(Protocol::Udp, "198.51.100.7:5060");
    let mut alice = Phone::on(proxy, "alice", "sip:alice@10.1.1.9".into());
    let more = "Contact: <sip:alice@10.1.1.9>\r\nRecord-Route: <sip:10.1.1.2;lr>, <sip:10.1.1.1;lr>\r\n";
    let invite = alice.request("INVITE", &bob.aor(), "call-1", more, &legacy_sdp("alice"));
    let invite = invite.replace("alice@sip.example", "alice@carrier.example").replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-p2\r\nVia: SIP/2.0/TCP 10.1.1.1;branch=z9hG4bK-p1\r\nVia: ",
        1,
    );
    bed.send(&proxy, &invite);
    bed.expect(&proxy, "SIP/2.0 100 ");
    let offered = bed.expect(&bob.flow, "INVITE ");
    assert_stripped(&offered, &["198.51.100.7", "10.1.1."]);
    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer);
    let answered = bed.expect(&proxy, "SIP/2.0 200 ");
    assert_eq!(answered.values("Via").len(), 3);
    assert!(answered.values("Via")[1].starts_with("SIP/2.0/TCP 10.1.1.1;"), "{}", answered.text);
    assert_eq!(answered.values("Record-Route"), ["<sip:10.1.1.2;lr>", "<sip:10.1.1.1;lr>"]);
    let mut caller = Dialog::of_caller(&Sip { text: invite }, &answered);
    caller.routes.clear();
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&proxy, &ack);
    bed.expect(&bob.flow, "ACK sip:bob@198.51.100.8:5060 SIP/2.0");
    let bye = Dialog::of_callee(&offered, &Sip { text: answer }).request(&mut bob, "BYE", "", "");
    bed.send(&bob.flow, &bye);
    let first = bed.flow(Protocol::Udp, "10.1.1.2:5060");
    let hung_up = bed.expect(&first, "BYE sip:alice@10.1.1.9 SIP/2.0");
    assert_eq!(hung_up.values("Route"), ["<sip:10.1.1.2;lr>", "<sip:10.1.1.1;lr>"]);
    assert_eq!(hung_up.values("Via").len(), 1);
}

/// What one end knows of a dialog opens no other one, nor the dialog to anybody else.
#[test]
fn a_name_is_good_in_its_own_dialog_alone() {
    let mut bed = bed();
    let (mut alice, mut bob) = browser_and_phone(&mut bed);
    let (caller, _) = answered_call(&mut bed, &mut alice, &mut bob);
    let mut carol = Phone::legacy(&mut bed, "carol", "198.51.100.66:5060");
    for (call_id, to) in [("call-2", bob.tag.as_str()), ("call-1", "another")] {
        let bye = carol.request("BYE", &caller.target, call_id, "", "");
        let bye =
            bye.replacen(&format!("To: <{}>", caller.target), &format!("To: <{}>;tag={to}", bob.aor()), 1);
        bed.send(&carol.flow, &bye);
        let refused = bed.receive(&carol.flow);
        assert_eq!(refused.code(), 404, "{}", refused.text);
        bed.expect_silence();
    }
}

/// After a restart both ends can hang up, and agree on their media anew: the relay of then is gone with what it knew.
#[test]
fn after_a_restart_a_call_goes_on() {
    for (by_caller, renewed_by_caller) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut before = bed();
        let (mut alice, mut bob) = browser_and_phone(&mut before);
        let (mut caller, mut callee) = answered_call(&mut before, &mut alice, &mut bob);
        assert_eq!(before.store.hidden.borrow().len(), 2);

        let mut bed = restarted(&before);
        // The browser comes back over another connection.
        alice.flow = bed.flow(Protocol::Wss, "203.0.113.9:41999");
        alice.register(&mut bed);
        {
            let (from, to) = if renewed_by_caller { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
            let (dialog, sdps) = match renewed_by_caller {
                true => (&mut caller, [browser_sdp("alice"), legacy_sdp("bob")]),
                false => (&mut callee, [legacy_sdp("bob"), browser_sdp("alice")]),
            };
            let again = dialog.request(from, "INVITE", "", &sdps[0]);
            bed.send(&from.flow, &again);
            bed.expect(&from.flow, "SIP/2.0 100 ");
            let offered = bed.expect(&to.flow, &format!("INVITE {} SIP/2.0", to.contact));
            assert_stripped(&offered, if renewed_by_caller { &OF_ALICE } else { &OF_BOB });
            assert!(offered.text.contains("a=x-relay:offer "), "{}", offered.text);
            bed.send(&to.flow, &to.reply(&offered, 200, "OK", &sdps[1]));
            let answered = bed.expect(&from.flow, "SIP/2.0 200 ");
            assert_stripped(&answered, if renewed_by_caller { &OF_BOB } else { &OF_ALICE });
            assert!(answered.text.contains("a=x-relay:answer "), "{}", answered.text);
            let ack = dialog.request(from, "ACK", "", "");
            bed.send(&from.flow, &ack);
            bed.expect(&to.flow, &format!("ACK {} SIP/2.0", to.contact));
        }
        assert_eq!((bed.proxy.calls(), bed.media.open.borrow().len()), (1, 1));
        let told = |wanted: fn(&Event) -> bool| bed.events.iter().filter(|event| wanted(event)).count();
        assert_eq!(told(|event| matches!(event, Event::CallInvited { .. } | Event::CallAnswered { .. })), 2);
        let (bye, from, to) = if by_caller {
            (caller.request(&mut alice, "BYE", "", ""), &alice, &bob)
        } else {
            (callee.request(&mut bob, "BYE", "", ""), &bob, &alice)
        };
        bed.send(&from.flow, &bye);
        let hung_up = bed.expect(&to.flow, &format!("BYE {} SIP/2.0", to.contact));
        assert_stripped(&hung_up, if by_caller { &OF_ALICE } else { &OF_BOB });
        bed.send(&to.flow, &to.reply(&hung_up, 200, "OK", ""));
        bed.expect(&from.flow, "SIP/2.0 200 ");
        assert_over(&mut bed);
        assert!(bed.events.iter().any(|event| matches!(event, Event::CallEnded(_))));
    }
}

/// A re-INVITE of a call that the other end knows nothing of leaves nothing, and one that it refuses leaves the call as it is.
#[test]
fn after_a_restart_a_call_that_is_gone_is_gone() {
    for code in [481, 488] {
        let mut before = bed();
        let (mut alice, mut bob) = browser_and_phone(&mut before);
        let (_, mut callee) = answered_call(&mut before, &mut alice, &mut bob);
        let mut bed = restarted(&before);
        alice.flow = bed.flow(Protocol::Wss, "203.0.113.9:41999");
        alice.register(&mut bed);
        let again = callee.request(&mut bob, "INVITE", "", &legacy_sdp("bob"));
        bed.send(&bob.flow, &again);
        bed.expect(&bob.flow, "SIP/2.0 100 ");
        let offered = bed.expect(&alice.flow, "INVITE ");
        bed.send(&alice.flow, &alice.reply(&offered, code, "Said", ""));
        bed.expect(&alice.flow, "ACK ");
        let refused = bed.expect(&bob.flow, &format!("SIP/2.0 {code} "));
        bed.send(&bob.flow, &ack_of(&again, &refused));
        assert_eq!(bed.proxy.calls(), usize::from(code == 488));
        let bye = callee.request(&mut bob, "BYE", "", "");
        bed.send(&bob.flow, &bye);
        let hung_up = bed.expect(&alice.flow, "BYE ");
        bed.send(&alice.flow, &alice.reply(&hung_up, 200, "OK", ""));
        bed.expect(&bob.flow, "SIP/2.0 200 ");
        assert_over(&mut bed);
        assert!(!bed.events.iter().any(|event| matches!(event, Event::CallEnded(_))), "it was never told of");
    }
}

/// Another gateway with the same store and key: what it does not know it is told by the store, once for a dialog, and serves both
/// ends from then on. While the store does not answer it knows nothing.
#[test]
fn another_gateway_of_the_same_store_serves_the_call() {
    for broken in [false, true] {
        let mut before = bed();
        let (mut alice, mut bob) = browser_and_phone(&mut before);
        let (mut caller, mut callee) = answered_call(&mut before, &mut alice, &mut bob);
        let mut bed = over(&before, Some(Arc::new(Topos::new(Params::default(), topoh()))), settings());
        *bed.store.hidden.borrow_mut() = before.store.hidden.borrow().clone();
        alice.flow = bed.flow(Protocol::Wss, "203.0.113.9:41999");
        alice.register(&mut bed);
        *bed.store.broken.borrow_mut() = broken;
        let info = callee.request(&mut bob, "INFO", "", "");
        bed.send(&bob.flow, &info);
        if broken {
            assert_eq!(bed.receive(&bob.flow).code(), 404);
            assert!(bed.events.iter().any(|event| matches!(event, Event::OutsideFailed { .. })));
            continue;
        }
        let heard = bed.expect(&alice.flow, &format!("INFO {} SIP/2.0", alice.contact));
        assert_stripped(&heard, &OF_BOB);
        bed.send(&alice.flow, &alice.reply(&heard, 200, "OK", ""));
        bed.expect(&bob.flow, "SIP/2.0 200 ");
        // Her end has come with his.
        let bye = caller.request(&mut alice, "BYE", "", "");
        bed.send(&alice.flow, &bye);
        let hung_up = bed.expect(&bob.flow, "BYE sip:bob@10.9.9.8:5060 ");
        bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
        bed.expect(&alice.flow, "SIP/2.0 200 ");
        assert_eq!(bed.store.hidden_asked.get(), 1);
        // A name that nobody has given.
        let (at, name) = (caller.target.find("tpsh-").expect("a name"), caller.target.clone());
        caller.target = format!("{}00000000{}", &name[..at + 5], &name[at + 13..]);
        let forged = caller.request(&mut alice, "BYE", "", "");
        bed.send(&alice.flow, &forged);
        assert_eq!(bed.receive(&alice.flow).code(), 404);
        assert_eq!(bed.store.hidden_asked.get(), 2);
    }
}

/// Masks need no store: another process with the same key, be it after a restart or another node, leads BYEs both ways.
#[test]
fn whoever_has_the_key_leads_both_ends_of_a_masked_call() {
    for by_caller in [true, false] {
        let masked = || Settings { topoh: Some(topoh()), ..settings() };
        let mut before = over(&Bed::new(&USERS), None, masked());
        let mut alice = Phone::legacy(&mut before, "alice", "198.51.100.7:5060");
        let mut bob = Phone::legacy(&mut before, "bob", "198.51.100.8:5060");
        bob.contact = "sip:bob@10.9.9.8:5060".into();
        alice.register(&mut before);
        bob.register(&mut before);
        let invite = alice.invite(&mut before, &bob.aor(), "call-1", &legacy_sdp("alice"));
        let offered = before.expect(&bob.flow, "INVITE ");
        let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
        before.send(&bob.flow, &answer);
        let answered = before.expect(&alice.flow, "SIP/2.0 200 ");
        let mut caller = Dialog::of_caller(&invite, &answered);
        let mut callee = Dialog::of_callee(&offered, &Sip { text: answer });

        let mut bed = over(&before, None, masked());
        let (bye, from, to) = if by_caller {
            (caller.request(&mut alice, "BYE", "", ""), &alice, &bob)
        } else {
            (callee.request(&mut bob, "BYE", "", ""), &bob, &alice)
        };
        bed.send(&from.flow, &bye);
        let hung_up = bed.expect(&to.flow, &format!("BYE {} SIP/2.0", to.contact));
        bed.send(&to.flow, &to.reply(&hung_up, 200, "OK", ""));
        bed.expect(&from.flow, "SIP/2.0 200 ");
        bed.expect_silence();

        // A URI that nobody here has masked is followed by nobody.
        let mut other = over(&before, None, masked());
        let forged = caller.request(&mut alice, "BYE", "", "");
        let forged = forged.replacen(&caller.target, "sip:bob@198.51.100.99:5060", 1);
        other.send(&alice.flow, &forged);
        assert_eq!(other.receive(&alice.flow).code(), 481);
        other.expect_silence();
    }
}

/// A long call is not forgotten while it lasts, and what is over is.
#[test]
fn a_call_is_kept_as_long_as_it_lasts() {
    let mut bed = bed();
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.contact = "sip:bob@10.9.9.8:5060".into();
    alice.register(&mut bed);
    bob.register(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let mut caller = Dialog::of_caller(&invite, &answered);
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.discard();
    bed.advance(Duration::from_secs(5 * 3600));
    bed.discard();
    let known: Vec<u64> = bed.store.hidden.borrow().values().map(|end| end.until).collect();
    assert!(known.len() == 2 && known.iter().all(|until| *until > UNIX_START + 5 * 3600), "{known:?}");
    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let hung_up = bed.expect(&bob.flow, "BYE sip:bob@10.9.9.8:5060 ");
    bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
    bed.advance(Duration::from_secs(600));
    assert!(bed.store.hidden.borrow().is_empty(), "{:?}", bed.store.hidden);
}

/// Both ways of hiding, with Call-IDs that tell nothing either.
fn beds_with_other_call_ids() -> [Bed; 2] {
    let masks = || Topoh { mask_callid: true, ..topoh() };
    let stored = Some(Arc::new(Topos::new(Params::default(), masks())));
    let settings_of = |topoh| Settings { topoh, ..settings() };
    let before = || Bed::new(&USERS);
    [over(&before(), None, settings_of(Some(masks()))), over(&before(), stored, settings())]
}

/// The ends know the call by different Call-IDs, the relay and the records by the caller's; requests both ways, and what this
/// gateway says of its own accord.
#[test]
fn each_end_knows_the_call_by_its_own_call_id() {
    let endings = ["caller", "callee", "gateway"];
    for (mut bed, ending) in
        endings.into_iter().flat_map(|ending| beds_with_other_call_ids().map(|bed| (bed, ending)))
    {
        let (mut alice, mut bob) = browser_and_phone(&mut bed);
        let invite = alice.invite(&mut bed, &bob.aor(), "x@203.0.113.9", &browser_sdp("alice"));
        let offered = bed.expect(&bob.flow, "INVITE ");
        let masked = offered.header("Call-ID").to_owned();
        assert!(masked.starts_with("!!:") && !offered.text.contains("203.0.113.9"), "{}", offered.text);
        let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
        bed.send(&bob.flow, &answer);
        let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
        assert_eq!(answered.header("Call-ID"), "x@203.0.113.9");
        assert!(bed.media.open.borrow().iter().all(|(call_id, ..)| call_id == "x@203.0.113.9"));
        let mut caller = Dialog::of_caller(&invite, &answered);
        let mut callee = Dialog::of_callee(&offered, &Sip { text: answer });
        let ack = caller.request(&mut alice, "ACK", "", "");
        bed.send(&alice.flow, &ack);
        assert_eq!(bed.expect(&bob.flow, "ACK ").header("Call-ID"), masked);

        let again = callee.request(&mut bob, "INVITE", "", &legacy_sdp("bob"));
        bed.send(&bob.flow, &again);
        let trying = bed.expect(&bob.flow, "SIP/2.0 100 ");
        assert_eq!(trying.header("Call-ID"), masked, "what we say ourselves, too");
        assert!(!trying.text.contains("x-masked"), "{}", trying.text);
        let offered = bed.expect(&alice.flow, "INVITE ");
        assert_eq!(offered.header("Call-ID"), "x@203.0.113.9");
        // Given up: CANCEL and ACK have nothing but the branch to know it by.
        bed.send(&bob.flow, &cancel_of(&Sip { text: again.clone() }));
        assert_eq!(bed.expect(&bob.flow, "SIP/2.0 200 ").header("Call-ID"), masked);
        bed.send(&alice.flow, &alice.reply(&offered, 180, "Ringing", ""));
        assert_eq!(bed.expect(&bob.flow, "SIP/2.0 180 ").header("Call-ID"), masked);
        let cancel = bed.expect(&alice.flow, "CANCEL ");
        assert_eq!(cancel.header("Call-ID"), "x@203.0.113.9");
        bed.send(&alice.flow, &alice.reply(&cancel, 200, "OK", ""));
        bed.send(&alice.flow, &alice.reply(&offered, 487, "Request Terminated", ""));
        assert_eq!(bed.expect(&alice.flow, "ACK ").header("Call-ID"), "x@203.0.113.9");
        let refused = bed.expect(&bob.flow, "SIP/2.0 487 ");
        assert_eq!(refused.header("Call-ID"), masked);
        bed.send(&bob.flow, &ack_of(&again, &refused));

        let (from, to, known) = match ending {
            "caller" => (&alice, &bob, &*masked),
            _ => (&bob, &alice, "x@203.0.113.9"),
        };
        match ending {
            "gateway" => {
                bed.begin_shutdown();
                assert_eq!(bed.expect(&alice.flow, "BYE ").header("Call-ID"), "x@203.0.113.9");
                assert_eq!(bed.expect(&bob.flow, "BYE ").header("Call-ID"), masked);
                continue;
            }
            "caller" => {
                let bye = caller.request(&mut alice.clone(), "BYE", "", "");
                bed.send(&alice.flow, &bye);
            }
            _ => {
                let bye = callee.request(&mut bob.clone(), "BYE", "", "");
                bed.send(&bob.flow, &bye);
            }
        }
        let hung_up = bed.expect(&to.flow, &format!("BYE {} SIP/2.0", to.contact));
        assert_eq!(hung_up.header("Call-ID"), known);
        bed.send(&to.flow, &to.reply(&hung_up, 200, "OK", ""));
        bed.expect(&from.flow, "SIP/2.0 200 ");
        assert_over(&mut bed);
    }
}
