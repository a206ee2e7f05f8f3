//! What the proxy does not do: relay for strangers, loop, believe, look up browsers, fall over.

use std::time::Duration;

use signaling_core::flow::Protocol;
use signaling_core::outside::StoredBinding;

use crate::testbed::{Bed, DOMAIN, Dialog, Phone, Sip, UNIX_START, legacy_sdp, settings};

/// A stranger's request.
fn stranger(method: &str, uri: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.66:5060;branch=z9hG4bK-{}\r\n\
         From: <sip:eve@evil.example>;tag=e\r\nTo: <sip:victim@{DOMAIN}>\r\nCall-ID: evil\r\nCSeq: 1 {method}\r\n{more}\
         User-Agent: Anything that has a long name/1.0\r\nContent-Length: 0\r\n\r\n",
        crate::testbed::md5_hex(&format!("{method} {uri} {more}"))
    )
}

/// Nothing in a stranger's request leads it to anybody but a user of ours: not maddr, not Routes, not an alias that says where a
/// browser is.
#[test]
fn strangers_find_no_way_around() {
    let mut bed = Bed::new(&["alice"]);
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    for (request, answer) in [
        (stranger("MESSAGE", "sip:a@203.0.113.1;maddr=203.0.113.6", ""), "SIP/2.0 403 Not relaying"),
        (stranger("MESSAGE", "sip:alice@sip.example;maddr=203.0.113.6", ""), "SIP/2.0 480 "),
        (
            stranger("MESSAGE", "sip:a@elsewhere.example", "Route: <sip:203.0.113.5;lr>\r\n"),
            "SIP/2.0 403 Not relaying",
        ),
        (
            stranger(
                "MESSAGE",
                "sip:alice@sip.example",
                "Route: <sip:192.0.2.1;lr>, <sip:203.0.113.5;lr>\r\n",
            ),
            "SIP/2.0 480 ",
        ),
        (stranger("MESSAGE", "sip:a@b;alias=203.0.113.9~41000~6", ""), "SIP/2.0 403 Not relaying"),
    ] {
        bed.send(&eve, &request);
        bed.expect(&eve, answer);
    }
    bed.expect_silence();
}

#[test]
fn strangers_are_told_no() {
    let mut bed = Bed::new(&["alice"]);
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    let to_tag =
        |text: String| text.replace(&format!("<sip:victim@{DOMAIN}>"), "<sip:victim@sip.example>;tag=v");
    for (index, (request, answer)) in [
        (stranger("MESSAGE", "sip:a@elsewhere.example", ""), "SIP/2.0 403 Not relaying"),
        (stranger("MESSAGE", "sip:a@203.0.113.1", ""), "SIP/2.0 403 Not relaying"),
        (stranger("MESSAGE", "sip:a@x.invalid", ""), "SIP/2.0 403 Not relaying"),
        (stranger("REFER", "sip:alice@sip.example", ""), "SIP/2.0 403 Not relaying"),
        (stranger("NOTIFY", "sip:alice@sip.example", ""), "SIP/2.0 403 Not relaying"),
        (stranger("OPTIONS", "sip:sip.example", ""), "SIP/2.0 200 Keepalive"),
        (stranger("MESSAGE", "sip:sip.example", ""), "SIP/2.0 484 Address Incomplete"),
        (stranger("MESSAGE", "tel:+4930", ""), "SIP/2.0 416 "),
        (stranger("MESSAGE", "sip:a@sip.example", "Max-Forwards: 0\r\n"), "SIP/2.0 483 Too Many Hops"),
        (stranger("MESSAGE", "sip:a@sip.example", "Proxy-Require: magic\r\n"), "SIP/2.0 420 "),
        (stranger("MESSAGE", "sip:alice@sip.example", ""), "SIP/2.0 480 "),
        (stranger("BYE", "sip:alice@sip.example", ""), "SIP/2.0 481 "),
        (to_tag(stranger("BYE", "sip:a@203.0.113.1", "")), "SIP/2.0 404 Not here"),
        (
            to_tag(stranger(
                "BYE",
                "sip:a@203.0.113.1",
                "Route: <sip:192.0.2.1;lr;did=0123456789abcdef>\r\n",
            )),
            "SIP/2.0 404 Not here",
        ),
        (
            to_tag(stranger("INFO", "sip:a@b;alias=203.0.113.9~1~1", "Route: <sip:192.0.2.1;lr>\r\n")),
            "SIP/2.0 404 Not here",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        bed.send(&eve, &request.replace("z9hG4bK-", &format!("z9hG4bK-{index}-")));
        bed.expect(&eve, answer);
    }
    let ack = to_tag(stranger("ACK", "sip:a@203.0.113.1", "Route: <sip:192.0.2.1;lr>\r\n"));
    bed.send(&eve, &ack);
    bed.expect_silence();
}

#[test]
fn a_claimed_local_sender_is_challenged() {
    let mut bed = Bed::new(&["alice"]);
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    let request =
        stranger("MESSAGE", "sip:alice@sip.example", "Max-Forwards: 70\r\nContent-Type: text/plain\r\n")
            .replace("eve@evil.example", "alice@sip.example");
    bed.send(&eve, &request);
    let challenge = bed.expect(&eve, "SIP/2.0 407 ");
    assert!(challenge.header("Proxy-Authenticate").starts_with("Digest "));
}

/// Phones show these in place of From.
#[test]
fn nobody_says_who_he_is_beside_from() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.register(&mut bed);
    let names = ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"];
    let more: String =
        names.iter().map(|name| format!("{name}: \"The bank\" <sip:bank@sip.example>\r\n")).collect();
    let request = alice.request("MESSAGE", &bob.aor(), "m-1", &more, "hi");
    bed.send(&alice.flow, &request);
    let challenge = bed.receive(&alice.flow);
    let again = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &again);
    let passed = bed.expect(&bob.flow, "MESSAGE ");
    for name in names {
        assert!(passed.headers(name).is_empty(), "{name}");
    }
}

#[test]
fn a_user_may_call_elsewhere() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.invite(&mut bed, "sip:carol@elsewhere.example", "call-1", &legacy_sdp("alice"));
    let elsewhere = bed.flow(Protocol::Udp, "203.0.113.5:5060");
    bed.expect(&elsewhere, "INVITE sip:carol@elsewhere.example SIP/2.0");
    for (uri, code) in [
        ("sip:c@nowhere.example", 478),
        ("sip:c@browser.invalid", 478),
        ("sip:c@browser.invalid;transport=ws", 478),
    ] {
        let request = alice.request("MESSAGE", uri, &format!("m-{uri}"), "", "hi");
        assert_eq!(alice.authorized(&mut bed, &request).code(), code, "{uri}");
    }
}

#[test]
fn a_contact_that_leads_back_here_is_a_loop() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.contact = "sip:bob@192.0.2.1:5060".into();
    let us = bed.flow(Protocol::Udp, "192.0.2.1:5060");
    bob.register(&mut bed);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let request = alice.request("MESSAGE", &bob.aor(), "m-1", "", "hi");
    let mut bytes = {
        bed.send(&alice.flow, &request);
        let challenge = bed.receive(&alice.flow);
        let again = alice
            .with_credentials(&request, &challenge)
            .replace("From: <sip:alice@sip.example>", "From: <sip:a@x>");
        bed.send(&alice.flow, &again);
        bed.expect(&us, "MESSAGE sip:bob@192.0.2.1:5060")
    };
    for _ in 0..2 {
        bed.send(&us, &bytes.text.clone());
        let Some(next) = bed.try_receive(&us) else { break };
        bytes = next;
    }
    assert!(bytes.text.starts_with("SIP/2.0 482 "), "{}", bytes.text);
}

#[test]
fn bindings_survive_a_restart_and_browsers_come_back() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let kept: Vec<(String, StoredBinding)> = bed
        .store
        .bindings
        .borrow()
        .iter()
        .flat_map(|(aor, bindings)| {
            bindings.iter().map(|binding| (aor.clone(), StoredBinding::clone(binding)))
        })
        .collect();
    assert_eq!(kept.len(), 2);

    let mut bed = Bed::with(&["alice", "bob"], settings(), kept);
    let mut carol = Phone::browser(&mut bed, "bob", "203.0.113.9:50000");
    carol.contact = "sip:new@fresh.invalid;transport=ws".into();
    let text = carol.request("MESSAGE", "sip:bob@sip.example", "m-1", "", "hi");
    assert_eq!(carol.authorized(&mut bed, &text).code(), 480, "a browser of before cannot be dialled");
    let text = carol.request("MESSAGE", "sip:alice@sip.example", "m-2", "", "hi");
    bed.send(&carol.flow, &text);
    let challenge = bed.receive(&carol.flow);
    let again = carol.with_credentials(&text, &challenge);
    bed.send(&carol.flow, &again);
    let passed = bed.expect(&alice.flow, "MESSAGE sip:alice@198.51.100.7:5060 ");
    assert!(passed.header("Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"));
    carol.register(&mut bed);
    assert_eq!(
        bed.location.bindings("bob@sip.example", UNIX_START).len(),
        1,
        "the instance replaces its old binding"
    );
}

#[test]
fn nothing_that_comes_makes_it_fall() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let request = bob.request(
        "INVITE",
        &alice.aor(),
        "call-1",
        "Contact: <sip:k@x.invalid;transport=ws>\r\n",
        &legacy_sdp("b"),
    );
    bed.send(&bob.flow, &request);
    let challenge = bed.receive(&bob.flow);
    let good = bob.with_credentials(&request, &challenge);
    for end in 0..good.len() {
        bed.send_bytes(&bob.flow, &good.as_bytes()[..end]);
    }
    let mut bytes = good.clone().into_bytes();
    for at in 0..bytes.len() {
        let old = bytes[at];
        for new in [0, b' ', b';', b'<', b'\n', 0xff, old ^ 1] {
            bytes[at] = new;
            bed.proxy.handle_inbound(
                bed.now,
                signaling_core::flow::Inbound {
                    flow: bob.flow,
                    bytes: bytes::Bytes::copy_from_slice(&bytes),
                },
            );
        }
        bytes[at] = old;
    }
    bed.proxy.poll_routes(bed.now, &mut std::task::Context::from_waker(std::task::Waker::noop()));
    while bed.proxy.poll_transmit().is_some() {}
    bed.discard();
    bed.send(&bob.flow, &"x".repeat(100_000));
    bed.send(&bob.flow, "\r\n\r\n");
    assert_eq!(bed.proxy.stats().oversized, 1);
    bed.discard();
    bed.advance(Duration::from_secs(300));
    assert!(bed.media.is_clean(), "{:?}", bed.media.open);
    assert_eq!(bed.proxy.transaction_stats().current, 0);
    assert_eq!(bed.proxy.calls(), 0);
}

/// A stranger who rings a user is given the Record-Route of that call: it must lead nowhere else.
#[test]
fn a_call_is_no_way_to_other_places() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.register(&mut bed);
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    let contact = "Contact: <sip:eve@198.51.100.66>\r\n";
    bed.send(&eve, &stranger("INVITE", "sip:alice@sip.example", contact));
    bed.expect(&eve, "SIP/2.0 100 ");
    let offered = bed.expect(&alice.flow, "INVITE ");
    bed.send(&alice.flow, &alice.reply(&offered, 180, "Ringing", ""));
    let ringing = bed.expect(&eve, "SIP/2.0 180 ");
    let route = format!("Route: {}\r\n", ringing.header("Record-Route"));
    let beyond = format!("{route}Route: <sip:203.0.113.5;lr>\r\n");
    let known = format!("<sip:victim@{DOMAIN}>;tag={}", alice.tag);
    let unknown = format!("<sip:victim@{DOMAIN}>;tag=forged");
    let flood = "sip:a@10.0.0.1;alias=203.0.113.9~53~1";
    for (index, (method, uri, routes, to, call_id, code)) in [
        ("INVITE", "sip:0900@203.0.113.5", &route, &unknown, "evil", 481),
        ("MESSAGE", "sip:0900@203.0.113.5", &route, &unknown, "evil", 481),
        ("NOTIFY", flood, &route, &unknown, "evil", 481),
        ("INVITE", "sip:0900@203.0.113.5", &route, &known, "evil", 403),
        ("INVITE", "sip:a@203.0.113.5;maddr=203.0.113.6", &route, &known, "evil", 403),
        ("INFO", "sip:alice@198.51.100.7:5060;maddr=203.0.113.5", &route, &known, "evil", 403),
        ("MESSAGE", "sip:0900@203.0.113.5", &beyond, &known, "evil", 403),
        ("MESSAGE", "sip:0900@203.0.113.5", &route, &known, "another", 404),
    ]
    .into_iter()
    .enumerate()
    {
        let text = stranger(method, uri, routes)
            .replace(&format!("To: <sip:victim@{DOMAIN}>"), &format!("To: {to}"))
            .replace("Call-ID: evil", &format!("Call-ID: {call_id}"))
            .replace("CSeq: 1 ", &format!("CSeq: {} ", index + 2))
            .replace("z9hG4bK-", &format!("z9hG4bK-{index}-"));
        bed.send(&eve, &text);
        let mut reply = bed.receive(&eve);
        if reply.code() == 100 {
            reply = bed.receive(&eve);
        }
        assert_eq!(reply.code(), code, "{text}");
        let place = bed.flow(Protocol::Udp, "203.0.113.5:5060");
        assert_eq!(bed.try_receive(&place), None);
    }
    bed.expect_silence();
}

/// After a SUBSCRIBE of a user, NOTIFY comes to the contact that he has registered, and nowhere else without a proof.
#[test]
fn a_subscription_leads_to_registered_contacts_alone() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let more = format!("Contact: <{};ob>\r\nEvent: dialog\r\n", bob.contact);
    let request = bob.request("SUBSCRIBE", &alice.aor(), "sub-1", &more, "");
    bed.send(&bob.flow, &request);
    let challenge = bed.receive(&bob.flow);
    let again = bob.with_credentials(&request, &challenge);
    bed.send(&bob.flow, &again);
    let subscribe = bed.expect(&alice.flow, "SUBSCRIBE ");
    let accepted = alice.reply(&subscribe, 200, "OK", "");
    bed.send(&alice.flow, &accepted);
    bed.expect(&bob.flow, "SIP/2.0 200 ");
    let mut dialog = Dialog::of_callee(&subscribe, &Sip { text: accepted });
    let notify = dialog.request(&mut alice, "NOTIFY", "Event: dialog\r\n", "");
    bed.send(&alice.flow, &notify);
    let notify = bed.expect(&bob.flow, "NOTIFY ");
    assert_eq!(notify.uri(), format!("{};ob", bob.contact));
    dialog.target = "sip:b@203.0.113.5;alias=203.0.113.9~53~1".into();
    let astray = dialog.request(&mut alice, "NOTIFY", "Event: dialog\r\n", "");
    bed.send(&alice.flow, &astray);
    bed.expect(&alice.flow, "SIP/2.0 407 ");
    bed.expect_silence();
}
