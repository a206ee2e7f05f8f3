//! REFER, Replaces and Join (RFC 3515, RFC 3891, RFC 3911): the identifiers of dialogs and the Contacts in them arrive as they
//! were, and lead where they should.

use signaling_core::flow::Protocol;

use crate::pair::established;
use crate::testbed::{Bed, Dialog, Phone, Sip, browser_sdp, legacy_sdp};

/// A registered phone behind a NAT: its Contact is a private address.
fn behind_nat(bed: &mut Bed, user: &str, remote: &str) -> Phone {
    let flow = bed.flow(Protocol::Udp, remote);
    let mut phone = Phone::on(flow, user, format!("sip:{user}@10.0.0.5:5060"));
    phone.register(bed);
    phone
}

/// The dialog as Refer-To has it.
fn replaces(phone: &Phone, other: &Phone, call_id: &str) -> String {
    format!("Replaces={call_id}%3Bto-tag%3D{}%3Bfrom-tag%3D{}", other.tag, phone.tag)
}

#[test]
fn a_refer_and_its_notifications_pass_as_they_are() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let (mut a, mut b) =
        established(&mut bed, &mut alice, &bob, "call-1", [&legacy_sdp("a"), &browser_sdp("b")]);
    let headers = "Refer-To: \"C\" <sip:carol@elsewhere.example?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n\
                   Referred-By: <sip:alice@sip.example>\r\nRefer-Sub: false\r\nSupported: norefersub, replaces\r\n";
    for browser_refers in [false, true] {
        let (from, to, end, other) = if browser_refers {
            (&mut bob, &mut alice, &mut b, &mut a)
        } else {
            (&mut alice, &mut bob, &mut a, &mut b)
        };
        let refer = end.request(from, "REFER", headers, "");
        bed.send(&from.flow, &refer);
        let arrived = bed.expect(&to.flow, "REFER ");
        for line in headers.lines() {
            assert!(arrived.text.contains(&format!("\r\n{line}\r\n")), "{}", arrived.text);
        }
        bed.send(
            &to.flow,
            &to.reply(&arrived, 202, "Accepted", "").replacen("Contact:", "Refer-Sub: false\r\nContact:", 1),
        );
        assert_eq!(bed.expect(&from.flow, "SIP/2.0 202 ").header("Refer-Sub"), "false");
        let headers = "Event: refer;id=2\r\nSubscription-State: active;expires=60\r\nContent-Type: message/sipfrag;version=2.0\r\n";
        let notify = other.request(to, "NOTIFY", headers, "");
        bed.send(
            &to.flow,
            &notify.replace("Content-Length: 0\r\n\r\n", "Content-Length: 20\r\n\r\nSIP/2.0 180 Ringing\r\n"),
        );
        let arrived = bed.expect(&from.flow, "NOTIFY ");
        assert_eq!((arrived.header("Event"), arrived.body()), ("refer;id=2", "SIP/2.0 180 Ringing\r"));
        bed.send(&from.flow, &from.reply(&arrived, 200, "OK", ""));
        bed.expect(&to.flow, "SIP/2.0 200 ");
    }
}

/// Attended transfer (RFC 5589 §7): Alice, in calls with Bob and with Carol, sends Bob to Carol. All that he is told of her
/// is the Contact that Alice has seen: of a browser, and of a phone behind a NAT.
#[test]
fn the_contact_in_refer_to_leads_to_its_owner() {
    for (header, bob_is_browser, carol_is_browser) in
        [("Replaces", true, false), ("Replaces", false, true), ("Join", true, true), ("Join", false, false)]
    {
        let mut bed = Bed::new(&["alice", "bob", "carol"]);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
        alice.register(&mut bed);
        let mut bob = match bob_is_browser {
            true => Phone::browser(&mut bed, "bob", "203.0.113.9:41000"),
            false => Phone::legacy(&mut bed, "bob", "198.51.100.8:5060"),
        };
        bob.register(&mut bed);
        let mut carol = match carol_is_browser {
            true => Phone::browser(&mut bed, "carol", "203.0.113.10:42000"),
            false => behind_nat(&mut bed, "carol", "198.51.100.77:6200"),
        };
        carol.register(&mut bed);
        let (mut to_bob, _) =
            established(&mut bed, &mut alice, &bob, "call-1", [&legacy_sdp("a"), &legacy_sdp("b")]);
        let (to_carol, _) =
            established(&mut bed, &mut alice, &carol, "call-2", [&legacy_sdp("a"), &legacy_sdp("c")]);
        let dialog = replaces(&alice, &carol, "call-2").replace("Replaces", header);
        let refer =
            to_bob.request(&mut alice, "REFER", &format!("Refer-To: <{}?{dialog}>\r\n", to_carol.target), "");
        bed.send(&alice.flow, &refer);
        let arrived = bed.expect(&bob.flow, "REFER ");
        let refer_to = arrived.header("Refer-To").trim_matches(['<', '>']).to_owned();
        let (uri, dialog) = refer_to.split_once('?').expect("a URI and headers");
        let value = dialog.split_once('=').map(|(_, value)| value.replace("%3B", ";").replace("%3D", "="));
        let more = format!(
            "Contact: <{}>\r\n{header}: {}\r\nRequire: {}\r\n",
            bob.contact,
            value.expect("a value"),
            header.to_lowercase()
        );
        let invite = bob.request("INVITE", uri, "call-3", &more, &legacy_sdp("b"));
        let (_, trying) = bob.authorize(&mut bed, &invite);
        assert_eq!(trying.code(), 100, "{}", trying.text);
        let arrived = bed.expect(&carol.flow, "INVITE ");
        assert_eq!(arrived.uri(), carol.contact, "the alias is taken off");
        assert_eq!(arrived.header(header), format!("call-2;to-tag={};from-tag={}", carol.tag, alice.tag));
        assert_eq!(arrived.header("Require"), header.to_lowercase());
        let kinds = if carol_is_browser { "Legacy Browser" } else { "Legacy Legacy" };
        assert!(arrived.body().contains(&format!("x-relay:offer {kinds}")), "{}", arrived.body());
        bed.send(&carol.flow, &carol.reply(&arrived, 200, "OK", &legacy_sdp("c")));
        let answered = bed.expect(&bob.flow, "SIP/2.0 200 ");
        let mut to_carol = Dialog::of_caller(&Sip { text: invite }, &answered);
        to_carol.cseq += 1;
        for method in ["ACK", "BYE"] {
            let request = to_carol.request(&mut bob, method, "", "");
            bed.send(&bob.flow, &request);
            bed.expect(&carol.flow, method);
        }
    }
}

/// An alias that nobody has shown leads nowhere else than an address would: not for strangers, and to no browser that is gone.
#[test]
fn an_alias_is_followed_for_proved_users_alone() {
    let mut bed = Bed::new(&["alice", "carol"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut carol = Phone::browser(&mut bed, "carol", "203.0.113.10:42000");
    alice.register(&mut bed);
    carol.register(&mut bed);
    let uri = format!("{};alias=203.0.113.10~42000~6", carol.contact);
    let mut eve = Phone::legacy(&mut bed, "eve", "198.51.100.66:5060");
    let invite = eve.request("INVITE", &uri, "call-1", "Contact: <sip:e@198.51.100.66>\r\n", "");
    bed.send(&eve.flow, &invite.replace("sip:eve@sip.example", "sip:eve@evil.example"));
    bed.expect(&eve.flow, "SIP/2.0 403 Not relaying");
    let more = format!("Contact: <{}>\r\n", alice.contact);
    for (alias, code) in
        [("203.0.113.10~42000~6", 480), ("203.0.113.10~42000~9", 400), ("203.0.113.10~0~1", 400)]
    {
        if code == 480 {
            bed.close(&carol.flow);
        }
        let uri = format!("{};alias={alias}", carol.contact);
        let invite = alice.request("INVITE", &uri, &format!("call-{alias}"), &more, "");
        assert_eq!(
            alice.authorized(&mut bed, &invite).code(),
            if code == 480 { 100 } else { code },
            "{alias}"
        );
        if code == 480 {
            bed.expect(&alice.flow, "SIP/2.0 480 ");
        }
    }
}

/// JsSIP uses the GRUU that its registration was given as the Contact of its calls (RFC 5627 §4.4): no alias is needed then, and
/// whoever is sent there reaches that browser and no other one of the same user, over whatever connection it has by then.
#[test]
fn the_gruu_in_refer_to_leads_to_its_instance() {
    let mut bed = Bed::new(&["alice", "bob", "carol"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    let mut carol = Phone::browser(&mut bed, "carol", "203.0.113.10:42000");
    alice.register(&mut bed);
    bob.register(&mut bed);
    let registered = carol.register(&mut bed);
    let gruu = crate::testbed::quoted(registered.header("Contact"), "pub-gruu").expect("a GRUU");
    let at = std::mem::replace(&mut carol.contact, gruu.clone());
    let (to_carol, _) =
        established(&mut bed, &mut alice, &carol, "call-1", [&legacy_sdp("a"), &browser_sdp("c")]);
    assert_eq!(to_carol.target, gruu, "a GRUU needs no alias");
    // She comes back over another connection, and another page of hers registers too.
    bed.close(&carol.flow);
    carol.flow = bed.flow(Protocol::Wss, "203.0.113.10:42999");
    carol.contact = at.clone();
    carol.register(&mut bed);
    let mut other = Phone::browser(&mut bed, "carol", "203.0.113.11:43000");
    other.contact = "sip:other@x8f2m1c9.invalid;transport=ws".into();
    other.contact_params = ";reg-id=1;+sip.instance=\"<urn:uuid:other>\"".into();
    other.register(&mut bed);
    let more = format!(
        "Contact: <{}>\r\nReplaces: call-1;to-tag={};from-tag={}\r\n",
        bob.contact, carol.tag, alice.tag
    );
    let invite = bob.request("INVITE", &to_carol.target, "call-2", &more, &legacy_sdp("b"));
    let (_, trying) = bob.authorize(&mut bed, &invite);
    assert_eq!(trying.code(), 100, "{}", trying.text);
    let arrived = bed.expect(&carol.flow, "INVITE ");
    assert_eq!(arrived.uri(), at);
    assert!(arrived.header("Replaces").starts_with("call-1;"));
    bed.expect_silence();
}
