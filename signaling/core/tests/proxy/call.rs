//! Calls between legacy phones.

use crate::testbed::{Bed, Dialog, Phone, legacy_sdp};

/// Two registered phones.
fn two(bed: &mut Bed) -> (Phone, Phone) {
    let mut alice = Phone::legacy(bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(bed, "bob", "198.51.100.8:5060");
    alice.register(bed);
    bob.register(bed);
    (alice, bob)
}

#[test]
fn two_phones_call_and_hang_up() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = two(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE sip:bob@198.51.100.8:5060 SIP/2.0");
    assert!(
        offered.body().ends_with("a=x-relay:offer Legacy Legacy ".to_owned().as_str())
            || offered.body().contains("x-relay:offer")
    );
    assert_eq!(offered.header("Max-Forwards"), "68");
    assert_eq!(
        offered.headers("Proxy-Authorization"),
        Vec::<&str>::new(),
        "the proof was for the proxy alone"
    );
    assert_eq!(offered.values("Record-Route").len(), 1);

    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    let answer = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    bed.send(&bob.flow, &answer);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert!(answered.body().contains("a=x-relay:answer"));
    assert_eq!(answered.values("Via").len(), 1);

    let mut caller = Dialog::of_caller(&invite, &answered);
    let ack = caller.request(&mut alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    let acked = bed.expect(&bob.flow, "ACK sip:bob@198.51.100.8:5060 SIP/2.0");
    assert!(acked.headers("Route").is_empty());
    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let hung_up = bed.expect(&bob.flow, "BYE ");
    bed.send(&bob.flow, &bob.reply(&hung_up, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.expect_silence();
    assert!(bed.media.is_clean(), "{:?}", bed.media.open);
    assert_eq!(bed.proxy.calls(), 0);
}
