//! Where responses go (RFC 3261 §18.2.2).

use signaling_core::flow::Protocol;

use crate::testbed::{Bed, Phone};

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
