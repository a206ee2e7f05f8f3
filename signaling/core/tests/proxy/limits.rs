//! Settings of the registrar, the forwarding and the limits that no other story turns on.

use std::time::Duration;

use signaling_core::flow::Protocol;
use signaling_core::settings::{Blst, Settings};

use crate::testbed::{Bed, Phone, Sip, legacy_sdp, settings};

const SECOND: Duration = Duration::from_secs(1);

fn bed(change: impl FnOnce(&mut Settings)) -> Bed {
    let mut settings = settings();
    change(&mut settings);
    Bed::with(&["alice", "bob"], settings, Vec::new())
}

/// Bob on three phones: of q 0.9, of none, and of 0.1.
fn three(bed: &mut Bed) -> [Phone; 3] {
    [";q=0.9", "", ";q=0.1"].map(|q| {
        let number = 2 + q.len() + usize::from(q.ends_with('9'));
        let mut phone = Phone::legacy(bed, "bob", &format!("198.51.100.{number}:5060"));
        phone.contact_params = q.to_owned();
        phone.register(bed);
        phone
    })
}

/// `append_branches` and `max_branches`: who is rung, and `default_q`: in whose place a contact stands that says nothing.
#[test]
fn so_many_contacts_are_rung_and_the_most_wanted_ones() {
    for (append_branches, max_branches, default_q, rung) in [
        (true, 12, 0, [true, true, true]),
        (true, 2, 500, [true, true, false]),
        (true, 2, 0, [true, false, true]),
        (true, 1, 1000, [false, true, false]),
        (false, 12, 0, [true, false, false]),
    ] {
        let mut bed = bed(|settings| {
            settings.tm.serial_forking = false;
            settings.registrar.append_branches = append_branches;
            settings.registrar.default_q = default_q;
            settings.limits.max_branches = max_branches;
        });
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.1:5060");
        let phones = three(&mut bed);
        alice.invite(&mut bed, &phones[0].aor(), "call-1", &legacy_sdp("alice"));
        let heard = phones.each_ref().map(|phone| bed.try_receive(&phone.flow).is_some());
        assert_eq!(heard, rung, "{append_branches} {max_branches} {default_q}");
    }
}

/// `default_q` is what is not said; `received_param` says where a phone was seen.
#[test]
fn a_contact_is_shown_as_configured() {
    for (default_q, received_param) in [(0, "received"), (700, "seen"), (0, "")] {
        let mut bed = bed(|settings| {
            settings.registrar.default_q = default_q;
            settings.registrar.received_param = received_param.into();
        });
        let flow = bed.flow(Protocol::Udp, "198.51.100.9:6000");
        let mut phone = Phone::on(flow, "bob", "sip:bob@10.0.0.5:5060".into());
        let shown = phone.register(&mut bed).header("Contact").to_owned();
        let seen = format!(";{received_param}=\"sip:198.51.100.9:6000\"");
        assert_eq!(shown.contains(&seen), !received_param.is_empty(), "{shown}");
        assert!(!shown.contains(";q="), "{shown}");
        phone.contact_params = ";q=0.7".into();
        let shown = phone.register(&mut bed).header("Contact").to_owned();
        assert_eq!(shown.contains(";q=0.700"), default_q != 700, "{shown}");
    }
}

#[test]
fn a_contact_may_be_so_long() {
    for (length, code) in [(40, 200), (41, 400)] {
        let mut bed = bed(|settings| settings.registrar.contact_max_size = 40);
        let flow = bed.flow(Protocol::Udp, "198.51.100.9:5060");
        let contact = format!("sip:bob@198.51.100.9:5060;x={}", "y".repeat(length - 28));
        assert_eq!(contact.len(), length);
        let mut phone = Phone::on(flow, "bob", contact);
        assert_eq!(phone.register(&mut bed).code(), code);
    }
}

/// A Path that names this process leads past it, where that is set.
#[test]
fn a_path_of_our_own_is_left_out_when_told_to() {
    for path_check_local in [true, false] {
        let mut bed = bed(|settings| settings.registrar.path_check_local = path_check_local);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.1:5060");
        let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.2:5060");
        let path = "Path: <sip:192.0.2.1:5060;lr>\r\nSupported: path\r\nContact:";
        let register = bob.register_text(600).replacen("Contact:", path, 1);
        assert_eq!(bob.authorized(&mut bed, &register).code(), 200);
        alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
        let here = bed.flow(Protocol::Udp, "192.0.2.1:5060");
        let there = if path_check_local { bob.flow } else { here };
        let invite = bed.expect(&there, "INVITE ");
        assert_eq!(invite.headers("Route").is_empty(), path_check_local);
    }
}

#[test]
fn a_message_may_be_so_long_and_go_so_far() {
    let mut bed = bed(|settings| {
        settings.limits.max_message_size = 2000;
        settings.limits.max_forwards = 33;
    });
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.1:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.2:5060");
    bob.register(&mut bed);
    let request = alice.request("MESSAGE", &bob.aor(), "far", "", "hello");
    let (again, _) = {
        let request = request.replace("Max-Forwards: 69\r\n", "");
        bed.send(&alice.flow, &request);
        let challenge = bed.receive(&alice.flow);
        let again = alice.with_credentials(&request, &challenge);
        bed.send(&alice.flow, &again);
        (again, challenge)
    };
    assert!(!again.contains("Max-Forwards"));
    let there = bed.expect(&bob.flow, "MESSAGE ");
    assert_eq!(there.header("Max-Forwards"), "33");
    bed.send(&bob.flow, &bob.reply(&there, 200, "OK", ""));
    bed.discard();
    let long = alice.request("MESSAGE", &bob.aor(), "long", "", &"x".repeat(2000));
    bed.send(&alice.flow, &long);
    bed.expect_silence();
    assert_eq!(bed.proxy.stats().oversized, 1);
}

/// Which time-outs put a server on the list, and which requests are kept from one that is on it.
#[test]
fn the_blocklist_is_for_the_methods_that_it_is_told() {
    let (invite, message) = (1, 1 << 11);
    for (methods_add, silent_to, methods_lookup, then, blocked) in [
        (invite, "INVITE", !8, "MESSAGE", true),
        (invite, "MESSAGE", !8, "MESSAGE", false),
        (message, "MESSAGE", !8, "INVITE", true),
        (invite, "INVITE", invite, "MESSAGE", false),
        (invite, "INVITE", message, "MESSAGE", true),
        (0, "INVITE", u32::MAX, "INVITE", false),
    ] {
        let blst = Blst { use_dst_blocklist: true, methods_add, methods_lookup, ..Blst::default() };
        let mut bed = bed(|settings| settings.blst = blst);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.1:5060");
        let server = bed.flow(Protocol::Udp, "203.0.113.5:5060");
        let ask = |bed: &mut Bed, alice: &mut Phone, method: &str, call_id: &str| -> Vec<Sip> {
            let more = format!("Contact: <{}>\r\n", alice.contact);
            let request = alice.request(method, "sip:x@elsewhere.example", call_id, &more, "");
            alice.authorize_only(bed, &request);
            std::iter::from_fn(|| bed.try_receive(&server)).collect()
        };
        assert_eq!(ask(&mut bed, &mut alice, silent_to, "call-1").len(), 1);
        bed.advance(SECOND * 33);
        bed.discard();
        let sent = ask(&mut bed, &mut alice, then, "call-2");
        assert_eq!(sent.is_empty(), blocked, "{methods_add} {silent_to} {methods_lookup} {then}");
    }
}

/// Whoever shows a certificate of his own where he dials offers by `alias` to be reached over that connection (RFC 5923 §8.1).
#[test]
fn a_connection_with_a_certificate_is_offered_for_reuse() {
    for (tls_alias, transport, offered) in
        [(true, "tls", true), (true, "tcp", false), (true, "udp", false), (false, "tls", false)]
    {
        let mut bed = bed(|settings| settings.tls_alias = tls_alias);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.1:5060");
        let protocol = match transport {
            "tls" => Protocol::Tls,
            "tcp" => Protocol::Tcp,
            _ => Protocol::Udp,
        };
        let server = bed.flow(protocol, "203.0.113.5:5060");
        let uri = format!("sip:x@elsewhere.example;transport={transport}");
        let request = alice.request("MESSAGE", &uri, "call-1", "", "hello");
        alice.authorize_only(&mut bed, &request);
        let sent = bed.expect(&server, "MESSAGE ");
        assert_eq!(sent.headers("Via")[0].ends_with(";alias"), offered, "{}", sent.headers("Via")[0]);
    }
}
