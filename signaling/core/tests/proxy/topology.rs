//! Topology hiding: what the ends of a call see of each other, and that it hinders nothing.

use signaling_core::flow::{Flow, Protocol};
use signaling_core::secret::Secret;
use signaling_core::settings::Settings;
use signaling_core::topology::Topoh;

use crate::testbed::{Bed, Dialog, Phone, Sip, legacy_sdp, settings};

fn bed() -> Bed {
    let topoh = Some(Topoh::new(Secret([5; 32])));
    Bed::with(&["alice", "bob"], Settings { topoh, ..settings() }, Vec::new())
}

/// The header section does not tell where the other end is.
#[track_caller]
fn assert_hidden(message: &Sip, addresses: &[&str]) {
    let head = message.text.split("\r\n\r\n").next().unwrap_or_default();
    for address in addresses {
        assert!(!head.contains(address), "{address} is in:\n{head}");
    }
}

/// An INVITE of alice as it comes through two proxies of hers.
fn behind_proxies(invite: &str) -> String {
    invite.replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-p2\r\nVia: SIP/2.0/TCP 10.1.1.1;branch=z9hG4bK-p1\r\nVia: ",
        1,
    )
    .replacen("From: ", "Record-Route: <sip:10.1.1.2;lr>, <sip:10.1.1.1;lr>\r\nFrom: ", 1)
}

/// A call with requests both ways, from a browser to a phone.
#[test]
fn the_ends_of_a_call_do_not_see_where_the_other_is() {
    let mut bed = bed();
    let mut alice = Phone::browser(&mut bed, "alice", "203.0.113.9:41000");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    // A phone behind a NAT, whose own network is nobody's business.
    bob.contact = "sip:bob@10.9.9.8:5060".into();
    alice.register(&mut bed);
    bob.register(&mut bed);
    let (of_alice, of_bob) = (["203.0.113.9", "df7jal23ls0d"], ["198.51.100.8", "10.9.9.8"]);

    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE sip:bob@10.9.9.8:5060 SIP/2.0");
    assert_hidden(&offered, &of_alice);
    assert_eq!(offered.values("Via").len(), 2);
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    assert_hidden(&bed.expect(&alice.flow, "SIP/2.0 180 "), &of_bob);
    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_hidden(&answered, &of_bob);
    assert_eq!(
        answered.header("Via"),
        Sip { text: invite.text.clone() }.header("Via").to_owned() + ";rport=41000;received=203.0.113.9"
    );

    let mut caller = Dialog::of_caller(&invite, &answered);
    let mut callee = Dialog::of_callee(&offered, &Sip { text: answer });
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    let acked = bed.expect(&bob.flow, "ACK sip:bob@10.9.9.8:5060 SIP/2.0");
    assert_hidden(&acked, &of_alice);

    let again = callee.request(&mut bob, "INVITE", "", &legacy_sdp("bob"));
    bed.send(&bob.flow, &again);
    bed.expect(&bob.flow, "SIP/2.0 100 ");
    let offered = bed.expect(&alice.flow, &format!("INVITE {} SIP/2.0", alice.contact));
    assert_hidden(&offered, &of_bob);
    bed.send(&alice.flow, &alice.reply(&offered, 200, "OK", &legacy_sdp("alice")));
    let answered = bed.expect(&bob.flow, "SIP/2.0 200 ");
    assert_hidden(&answered, &of_alice);
    let ack = callee.request(&mut bob, "ACK", "", "");
    bed.send(&bob.flow, &ack);
    bed.expect(&alice.flow, &format!("ACK {} SIP/2.0", alice.contact));

    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let hung_up = bed.expect(&bob.flow, "BYE sip:bob@10.9.9.8:5060 SIP/2.0");
    assert_hidden(&hung_up, &of_alice);
    bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.expect_silence();
    assert_eq!(bed.proxy.calls(), 0);
    assert!(bed.media.is_clean(), "{:?}", bed.media.open);
}

/// The proxies of the caller are hidden from the callee, and found again on the way back.
#[test]
fn a_route_set_comes_back_as_it_was() {
    let mut bed = bed();
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.register(&mut bed);
    let proxy: Flow = bed.flow(Protocol::Udp, "198.51.100.7:5060");
    let mut alice = Phone::on(proxy, "alice", "sip:alice@10.1.1.9".into());
    let more = "Contact: <sip:alice@10.1.1.9>\r\n";
    let invite = alice.request("INVITE", &bob.aor(), "call-1", more, &legacy_sdp("alice"));
    let invite = behind_proxies(&invite).replace("alice@sip.example", "alice@carrier.example");
    bed.send(&proxy, &invite);
    bed.expect(&proxy, "SIP/2.0 100 ");
    let offered = bed.expect(&bob.flow, "INVITE ");
    let of_alice = ["198.51.100.7", "10.1.1."];
    assert_hidden(&offered, &of_alice);
    assert_eq!((offered.values("Via").len(), offered.values("Record-Route").len()), (4, 3));

    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer);
    let answered = bed.expect(&proxy, "SIP/2.0 200 ");
    assert_eq!(answered.values("Via").len(), 3);
    assert!(answered.values("Via")[1].starts_with("SIP/2.0/TCP 10.1.1.1;"), "{}", answered.text);
    assert_eq!(answered.values("Record-Route")[1..], ["<sip:10.1.1.2;lr>", "<sip:10.1.1.1;lr>"]);
    assert_hidden(&answered, &["198.51.100.8"]);
    let ack = Dialog::of_caller(&Sip { text: invite }, &answered).request(&mut alice, "ACK", "", "");
    bed.send(&proxy, &ack.replacen("Route: <sip:10.1.1.1;lr>\r\nRoute: <sip:10.1.1.2;lr>\r\n", "", 1));
    bed.expect(&bob.flow, "ACK sip:bob@198.51.100.8:5060 SIP/2.0");

    let bye = Dialog::of_callee(&offered, &Sip { text: answer }).request(&mut bob, "BYE", "", "");
    assert_hidden(&Sip { text: bye.clone() }, &of_alice);
    bed.send(&bob.flow, &bye);
    let first = bed.flow(Protocol::Udp, "10.1.1.2:5060");
    let hung_up = bed.expect(&first, "BYE sip:alice@10.1.1.9 SIP/2.0");
    assert_eq!(hung_up.values("Route"), ["<sip:10.1.1.2;lr>", "<sip:10.1.1.1;lr>"]);
    assert_hidden(&hung_up, &["198.51.100.8"]);
}

/// A request that comes back to us in masks is known again: it is a loop all the same (RFC 3261 §16.3 step 4).
#[test]
fn a_loop_is_seen_behind_the_masks() {
    let mut bed = bed();
    let us = bed.flow(Protocol::Udp, "192.0.2.1:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.contact = "sip:bob@192.0.2.1:5060".into();
    bob.register(&mut bed);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let request = alice.request("MESSAGE", &bob.aor(), "m-1", "", "hi");
    let request = request.replace("alice@sip.example", "alice@carrier.example");
    bed.send(&alice.flow, &request);
    let mut bytes = bed.expect(&us, "MESSAGE sip:bob@192.0.2.1:5060");
    for _ in 0..3 {
        bed.send(&us, &bytes.text.clone());
        let Some(next) = bed.try_receive(&us) else { break };
        bytes = next;
    }
    assert!(bytes.text.starts_with("SIP/2.0 482 "), "{}", bytes.text);
}
