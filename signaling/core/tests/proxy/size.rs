//! Requests too long for a datagram (RFC 3261 §18.1.1).

use signaling_core::flow::{Flow, Protocol};

use crate::testbed::{Bed, Phone, Sip, legacy_sdp, settings};

/// Where `elsewhere.example` is.
const ELSEWHERE: &str = "203.0.113.5:5060";

/// An SDP with a comment of so many bytes.
fn long_sdp(bytes: usize) -> String {
    format!("{}a=x-note:{}\r\n", legacy_sdp("alice"), "y".repeat(bytes))
}

/// Alice, a phone with a flow, calls `uri`; what reaches `flow`.
fn call(bed: &mut Bed, uri: &str, bytes: usize, flow: &Flow) -> Sip {
    let mut alice = Phone::legacy(bed, "alice", "198.51.100.1:5060");
    let more = format!("Contact: <{}>\r\nSubject: Tea\r\n", alice.contact);
    let request = alice.request("INVITE", uri, "call-1", &more, &long_sdp(bytes));
    alice.authorize(bed, &request);
    bed.expect(flow, "INVITE ")
}

fn elsewhere(bed: &mut Bed, protocol: Protocol) -> Flow {
    Flow { connection: None, ..bed.flow(protocol, ELSEWHERE) }
}

#[test]
fn a_long_request_goes_over_tcp_where_the_target_leaves_the_choice() {
    let mut bed = Bed::new(&["alice"]);
    let tcp = elsewhere(&mut bed, Protocol::Tcp);
    let invite = call(&mut bed, "sip:x@elsewhere.example", 1200, &tcp);
    assert!(invite.text.len() > 1300);
    assert!(invite.headers("Via")[0].starts_with("SIP/2.0/TCP 192.0.2.1:5060;branch="), "{}", invite.text);
    let routes = invite.headers("Record-Route");
    assert!(routes[0].contains(";transport=tcp") && routes[0].contains(";r2=on"), "{routes:?}");
    assert!(!routes[1].contains(";transport="), "{routes:?}");
    assert_eq!(routes.len(), 2);
    assert_eq!(invite.headers("User-Agent").len(), 1, "nothing is left out");
    assert_eq!(bed.proxy.stats().tcp_for_size, 1);
}

#[test]
fn what_fits_in_compact_form_goes_so() {
    let mut bed = Bed::new(&["alice"]);
    let udp = elsewhere(&mut bed, Protocol::Udp);
    // How long it is in full.
    let full = call(&mut bed, "sip:x@elsewhere.example", 10, &udp);
    assert_eq!(full.headers("Via").len(), 2, "{}", full.text);
    let mut bed = Bed::new(&["alice"]);
    let room = 1300 - full.text.len();
    let invite = call(&mut bed, "sip:x@elsewhere.example", 10 + room + 20, &udp);
    assert!(invite.text.len() <= 1300, "{}", invite.text.len());
    for (compact, long) in [
        ("v", "Via"),
        ("f", "From"),
        ("t", "To"),
        ("i", "Call-ID"),
        ("m", "Contact"),
        ("l", "Content-Length"),
    ] {
        let in_full = invite.text.contains(&format!("\n{long}:"));
        assert!(!invite.headers(compact).is_empty() && !in_full, "{}", invite.text);
    }
    assert_eq!(invite.headers("s"), ["Tea"]);
    assert!(invite.body().starts_with(&long_sdp(10 + room + 20)), "the body is as it was");
}

#[test]
fn a_target_that_demands_udp_gets_it() {
    let mut bed = Bed::new(&["alice"]);
    let udp = elsewhere(&mut bed, Protocol::Udp);
    let invite = call(&mut bed, "sip:x@elsewhere.example;transport=udp", 1200, &udp);
    assert!(invite.headers("v")[0].starts_with("SIP/2.0/UDP "), "{}", invite.text);
    assert!(invite.headers("User-Agent").is_empty(), "left out: {}", invite.text);
    assert_eq!(invite.headers("s"), ["Tea"]);
    assert_eq!((bed.proxy.stats().tcp_for_size, bed.proxy.stats().fragmented), (0, 1));
}

#[test]
fn a_registered_phone_is_reached_over_its_flow_and_no_other_way() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.2:5060");
    bob.register(&mut bed);
    let invite = call(&mut bed, &bob.aor(), 1200, &bob.flow);
    assert!(invite.headers("v")[0].starts_with("SIP/2.0/UDP "), "{}", invite.text);
    assert_eq!(bed.proxy.stats().fragmented, 1);
}

#[test]
fn nothing_changes_without_a_limit() {
    let mut settings = settings();
    settings.udp.mtu = 0;
    let mut bed = Bed::with(&["alice"], settings, Vec::new());
    let udp = elsewhere(&mut bed, Protocol::Udp);
    let invite = call(&mut bed, "sip:x@elsewhere.example", 1200, &udp);
    assert_eq!((invite.headers("Via").len(), invite.headers("User-Agent").len()), (2, 1));
}

/// RFC 3261 §18.1.1: where TCP is refused the request goes in datagrams after all, and the next one does so at once.
#[test]
fn a_long_request_goes_in_datagrams_where_tcp_is_refused() {
    let mut bed = Bed::new(&["alice"]);
    bed.unreachable.push((Protocol::Tcp, ELSEWHERE.parse().expect("address")));
    let udp = elsewhere(&mut bed, Protocol::Udp);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.1:5060");
    for (call_id, tried) in [("call-1", 1), ("call-2", 1)] {
        alice.invite(&mut bed, "sip:x@elsewhere.example", call_id, &long_sdp(1200));
        let invite = bed.expect(&udp, "INVITE ");
        assert!(invite.headers("v")[0].starts_with("SIP/2.0/UDP "), "{}", invite.text);
        assert_eq!(bed.proxy.stats().tcp_for_size, tried);
    }
}
