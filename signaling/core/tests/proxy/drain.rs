//! A gateway that is about to be replaced: calls go on, and none begins.

use crate::pair::{both, established, ringing};
use crate::testbed::{Bed, Phone, browser_sdp, legacy_sdp};
use crate::webrtc::within;

#[test]
fn new_calls_hear_503_while_the_others_go_on_to_their_end() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob) = both(&mut bed);
    let sdps = [&*legacy_sdp("a"), &*browser_sdp("b")];
    let (mut a, mut b) = established(&mut bed, &mut alice, &bob, "call-1", sdps);
    bed.proxy.set_draining(true);
    assert_eq!(bed.proxy.unfinished_calls(), 1);

    let more = format!("Contact: <{}>\r\n", alice.contact);
    let invite = alice.request("INVITE", &bob.aor(), "call-2", &more, sdps[0]);
    for _ in 0..2 {
        bed.send(&alice.flow, &invite);
        let refusal = bed.expect(&alice.flow, "SIP/2.0 503 ");
        assert_eq!(refusal.header("Retry-After"), "10", "and the same for its retransmission");
    }
    bed.expect_silence();
    assert_eq!((bed.proxy.stats().drained, bed.proxy.stats().overload), (2, 0));

    // Whoever is registered stays so, and what belongs to the call passes.
    bob.register(&mut bed);
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=1\r\n", ""]);
    within(&mut bed, &mut bob, &alice, &mut b, "INVITE", [sdps[1], sdps[0]]);
    // An attended transfer is about a call that there is.
    let headers = format!("{more}Replaces: call-1;to-tag=x;from-tag=y\r\n");
    let invite = alice.request("INVITE", &bob.aor(), "call-3", &headers, sdps[0]);
    let (_, trying) = alice.authorize(&mut bed, &invite);
    assert_eq!(trying.code(), 100);
    let arrived = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&arrived, 486, "Busy Here", ""));
    bed.discard();

    within(&mut bed, &mut alice, &bob, &mut a, "BYE", ["", ""]);
    assert_eq!(bed.proxy.unfinished_calls(), 0);
}

#[test]
fn a_call_that_rings_is_one_that_goes_on_and_calls_can_be_taken_again() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let (invite, offered) = ringing(&mut bed, &mut alice, &bob, &legacy_sdp("a"));
    bed.proxy.set_draining(true);
    bed.send(&alice.flow, &invite.text);
    assert_eq!(bed.receive(&alice.flow).code(), 180, "a retransmission of what has begun");
    bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
    bed.discard();
    assert_eq!(bed.proxy.unfinished_calls(), 0);

    bed.proxy.set_draining(false);
    let mut carol = Phone::legacy(&mut bed, "alice", "198.51.100.8:5060");
    carol.invite(&mut bed, &bob.aor(), "call-9", &legacy_sdp("c"));
    bed.expect(&bob.flow, "INVITE ");
}
