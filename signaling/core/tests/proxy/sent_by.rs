//! Where responses go (RFC 3261 §18.2.2).

use signaling_core::flow::Protocol;

use crate::testbed::{Bed, Phone, ack_of, legacy_sdp};

/// `maddr` comes before `rport` where it names the sender himself, at the port of sent-by; a third party hears nothing, be it a
/// group. It says nothing on a stream, whose connection is the way.
#[test]
fn maddr_sends_nothing_to_third_parties() {
    for (protocol, more, expected) in [
        (Protocol::Udp, ";maddr=198.51.100.1;rport", "198.51.100.1:5090"),
        (Protocol::Udp, ";maddr=203.0.113.77;rport", "198.51.100.1:40000"),
        (Protocol::Udp, ";maddr=224.2.0.1;rport", "198.51.100.1:40000"),
        (Protocol::Udp, ";maddr=[2001:db8::1]", "198.51.100.1:40000"),
        (Protocol::Udp, ";maddr=name.example", "198.51.100.1:40000"),
        (Protocol::Udp, ";rport", "198.51.100.1:40000"),
        (Protocol::Tcp, ";maddr=203.0.113.77", "198.51.100.1:40000"),
    ] {
        let mut bed = Bed::new(&[]);
        let flow = bed.flow(protocol, "198.51.100.1:40000");
        let mut alice = Phone::on(flow, "alice", "sip:alice@198.51.100.1".into());
        let options = alice.request("OPTIONS", "sip:sip.example", "maddr", "", "");
        let via = format!("SIP/2.0/{protocol} 198.51.100.1:5090;branch=z9hG4bKmaddr{more}");
        let old = format!("SIP/2.0/{protocol} 198.51.100.1:40000;branch=z9hG4bK-alice-40000-1");
        assert!(options.contains(&old), "{options}");
        bed.send(&alice.flow, &options.replace(&old, &via));
        let there = bed.flow(protocol, expected);
        bed.expect(&there, "SIP/2.0 200 ");
        bed.expect_silence();
    }
}

/// The connection of a caller is gone, and nobody takes one at the port of his sent-by: the name in it is looked up
/// (RFC 3263 §5), once. A browser's name leads nowhere, and an address is no name.
#[test]
fn a_name_in_sent_by_is_looked_up_when_all_else_fails() {
    for (sent_by, found) in [
        ("elsewhere.example", Some("203.0.113.5:5060")),
        ("elsewhere.example:5080", Some("203.0.113.5:5080")),
        ("nowhere.example", None),
        ("x.invalid", None),
        ("203.0.113.5", None),
    ] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let flow = bed.flow(Protocol::Tcp, "198.51.100.1:40000");
        let mut alice = Phone::on(flow, "alice", "sip:alice@198.51.100.1;transport=tcp".into());
        let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
        bob.register(&mut bed);
        let more = format!("Contact: <{}>\r\n", alice.contact);
        let invite = alice.request("INVITE", &bob.aor(), "call-1", &more, &legacy_sdp("alice"));
        bed.send(&alice.flow, &invite);
        let challenge = bed.receive(&alice.flow);
        bed.send(&alice.flow, &ack_of(&invite, &challenge));
        let again = alice.with_credentials(&invite, &challenge).replacen("198.51.100.1:40000", sent_by, 1);
        bed.send(&alice.flow, &again);
        bed.expect(&alice.flow, "SIP/2.0 100 ");
        let arrived = bed.expect(&bob.flow, "INVITE ");
        bed.close(&alice.flow);
        for port in [5060, 5080] {
            bed.unreachable.push((Protocol::Tcp, std::net::SocketAddr::from(([198, 51, 100, 1], port))));
        }
        bed.send(&bob.flow, &bob.reply(&arrived, 486, "Busy Here", ""));
        bed.expect(&bob.flow, "ACK ");
        if let Some(found) = found {
            let there = bed.flow(Protocol::Tcp, found);
            bed.expect(&there, "SIP/2.0 486 ");
        }
        bed.expect_silence();
    }
}
