//! A call whose relay is gone moves to another one by re-INVITEs of the gateway's own (RFC 3725 §4.1).

use std::time::Duration;

use signaling_core::event::Event;
use signaling_core::outside::MediaError;

use crate::pair::{both, established};
use crate::testbed::{Asked, Bed, Dialog, Phone, Sip, ack_of, browser_sdp, legacy_sdp, settings};
use crate::webrtc::within;

fn number(sip: &Sip) -> u32 {
    sip.header("CSeq").split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// A phone calls a browser, and the relay of the call is lost.
fn lost(bed: &mut Bed) -> (Phone, Phone, Dialog, Dialog) {
    let (mut alice, bob) = both(bed);
    let (caller, callee) =
        established(bed, &mut alice, &bob, "call-1", [&legacy_sdp("alice"), &browser_sdp("bob")]);
    bed.media.log.borrow_mut().clear();
    bed.proxy.handle_relay_lost(bed.now, "call-1");
    bed.drain();
    (alice, bob, caller, callee)
}

/// The phone offers, the browser is offered what the relay makes of it.
fn offered(bed: &mut Bed, alice: &Phone, bob: &Phone) -> (Sip, Sip) {
    let asked = bed.expect(&alice.flow, "INVITE ");
    assert_eq!(asked.body(), "", "the phone is asked for an offer");
    bed.send(&alice.flow, &alice.reply(&asked, 100, "Trying", ""));
    bed.send(&alice.flow, &alice.reply(&asked, 200, "OK", &legacy_sdp("alice-again")));
    let offered = bed.expect(&bob.flow, "INVITE ");
    assert!(
        offered.body().contains("o=alice-again") && offered.body().contains("x-relay:offer Legacy Browser -")
    );
    (asked, offered)
}

/// The browser answers: both hear an ACK, the phone's with the answer.
fn agreed(bed: &mut Bed, alice: &Phone, bob: &Phone, offered: &Sip) {
    bed.send(&bob.flow, &bob.reply(offered, 200, "OK", &browser_sdp("bob-again")));
    let acknowledged = bed.expect(&bob.flow, "ACK ");
    assert_eq!((acknowledged.body(), number(&acknowledged)), ("", number(offered)));
    let answer = bed.expect(&alice.flow, "ACK ");
    assert!(
        answer.body().contains("o=bob-again") && answer.body().contains("x-relay:answer Browser Legacy -")
    );
    bed.expect_silence();
}

#[test]
fn both_ends_exchange_offer_and_answer_anew() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, mut bob, mut caller, mut callee) = lost(&mut bed);
    let (asked, offer) = offered(&mut bed, &alice, &bob);
    // In the name of the other end, within the dialog.
    assert_eq!((asked.tag("From"), asked.tag("To")), (offer.tag("To"), offer.tag("From")));
    assert!(asked.header("Contact").contains("bob") || asked.header("Contact").contains(".invalid"));
    agreed(&mut bed, &alice, &bob, &offer);
    {
        let log = bed.media.log.borrow();
        let [Asked::Offer(offer), Asked::Answer(answer)] = &log[..] else { panic!("an offer and an answer") };
        assert_eq!(offer.offerer_tag, answer.offerer_tag);
        assert_eq!(offer.answerer_tag, answer.answerer_tag);
        assert_eq!((&offer.branch, offer.offerer_tag.as_str()), (&None, asked.tag("To")));
    }
    assert!(
        bed.events
            .iter()
            .any(|event| matches!(event, Event::CallReanchored { call_id } if call_id == "call-1"))
    );
    // The numbers that this has cost are made up for.
    let (request, _) = within(
        &mut bed,
        &mut alice,
        &bob,
        &mut caller,
        "INVITE",
        [&legacy_sdp("alice"), &browser_sdp("bob")],
    );
    assert!(number(&request) > number(&offer));
    let bye = callee.request(&mut bob, "BYE", "", "");
    bed.send(&bob.flow, &bye);
    let heard = bed.expect(&alice.flow, "BYE ");
    assert!(number(&heard) > number(&asked));
}

#[test]
fn a_repeated_answer_hears_the_same_ack() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (alice, bob, ..) = lost(&mut bed);
    let (asked, offer) = offered(&mut bed, &alice, &bob);
    let first = alice.reply(&asked, 200, "OK", &legacy_sdp("alice-again"));
    // The relay, or the browser, takes its time: no second offer, no ACK before there is an answer.
    bed.send(&alice.flow, &first);
    bed.expect_silence();
    agreed(&mut bed, &alice, &bob, &offer);
    bed.send(&alice.flow, &first);
    assert!(bed.expect(&alice.flow, "ACK ").body().contains("o=bob-again"));
    bed.send(&bob.flow, &bob.reply(&offer, 200, "OK", &browser_sdp("bob-again")));
    bed.expect(&bob.flow, "ACK ");
    bed.expect_silence();
    assert_eq!(bed.media.log.borrow().len(), 2, "and nothing is agreed twice");
}

#[test]
fn an_end_that_is_busy_is_asked_again() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (alice, bob, ..) = lost(&mut bed);
    let asked = bed.expect(&alice.flow, "INVITE ");
    let pending = alice.reply(&asked, 491, "Request Pending", "");
    bed.send(&alice.flow, &pending);
    bed.expect(&alice.flow, "ACK ");
    bed.expect_silence();
    bed.advance(Duration::from_secs(3));
    let (again, offer) = offered(&mut bed, &alice, &bob);
    assert!(number(&again) > number(&asked));
    bed.send(&bob.flow, &bob.reply(&offer, 491, "Request Pending", ""));
    bed.expect(&bob.flow, "ACK ");
    bed.advance(Duration::from_secs(3));
    let repeated = bed.expect(&bob.flow, "INVITE ");
    assert_eq!(repeated.body(), offer.body());
    agreed(&mut bed, &alice, &bob, &repeated);
    assert_eq!(bed.proxy.calls(), 1);
}

#[test]
fn a_phone_that_makes_no_offer_is_offered_one() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (alice, bob, ..) = lost(&mut bed);
    let asked = bed.expect(&alice.flow, "INVITE ");
    bed.send(&alice.flow, &alice.reply(&asked, 488, "Not Acceptable Here", ""));
    bed.expect(&alice.flow, "ACK ");
    let asked = bed.expect(&bob.flow, "INVITE ");
    assert_eq!(asked.body(), "");
    bed.send(&bob.flow, &bob.reply(&asked, 200, "OK", &browser_sdp("bob-again")));
    let offer = bed.expect(&alice.flow, "INVITE ");
    assert!(offer.body().contains("x-relay:offer Browser Legacy"));
    bed.send(&alice.flow, &alice.reply(&offer, 200, "OK", &legacy_sdp("alice-again")));
    bed.expect(&alice.flow, "ACK ");
    assert!(bed.expect(&bob.flow, "ACK ").body().contains("x-relay:answer Legacy Browser"));
    bed.expect_silence();
}

#[test]
fn a_call_that_cannot_be_moved_is_hung_up_on() {
    for refusal in [Some(488), Some(481), None] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let (alice, bob, ..) = lost(&mut bed);
        match refusal {
            Some(code) => {
                let (_, offer) = offered(&mut bed, &alice, &bob);
                bed.send(&bob.flow, &bob.reply(&offer, code, "No", ""));
                bed.expect(&bob.flow, "ACK ");
            }
            // No relay takes it.
            None => {
                *bed.media.refuse.borrow_mut() = Some(MediaError::Unavailable("gone".into()));
                let asked = bed.expect(&alice.flow, "INVITE ");
                bed.send(&alice.flow, &alice.reply(&asked, 200, "OK", &legacy_sdp("alice-again")));
            }
        }
        // Its 2xx is acknowledged all the same.
        bed.expect(&alice.flow, "ACK ");
        let byes = [bed.expect(&alice.flow, "BYE "), bed.expect(&bob.flow, "BYE ")];
        assert!(byes.iter().all(|bye| number(bye) > 1));
        bed.expect_silence();
        assert_eq!(bed.proxy.calls(), 0);
    }
}

#[test]
fn what_is_under_way_goes_first() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob) = both(&mut bed);
    let sdp = [&legacy_sdp("alice")[..], &browser_sdp("bob")];
    let (mut caller, _) = established(&mut bed, &mut alice, &bob, "call-1", sdp);
    let hold = caller.request(&mut alice, "INVITE", "", &legacy_sdp("alice"));
    bed.send(&alice.flow, &hold);
    bed.expect(&alice.flow, "SIP/2.0 100 ");
    let arrived = bed.expect(&bob.flow, "INVITE ");
    bed.proxy.handle_relay_lost(bed.now, "call-1");
    bed.proxy.handle_relay_lost(bed.now, "another");
    bed.drain();
    bed.expect_silence();
    let refused = bob.reply(&arrived, 488, "Not Acceptable Here", "");
    bed.send(&bob.flow, &refused);
    bed.expect(&bob.flow, "ACK ");
    let heard = bed.expect(&alice.flow, "SIP/2.0 488 ");
    bed.send(&alice.flow, &ack_of(&hold, &heard));
    bed.advance(Duration::from_secs(3));
    let (_, offer) = offered(&mut bed, &alice, &bob);
    agreed(&mut bed, &alice, &bob, &offer);
}

#[test]
fn a_hang_up_meanwhile_is_the_end() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let (mut alice, bob, mut caller, _) = lost(&mut bed);
    let asked = bed.expect(&alice.flow, "INVITE ");
    let bye = caller.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    let heard = bed.expect(&bob.flow, "BYE ");
    bed.send(&bob.flow, &bob.reply(&heard, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.send(&alice.flow, &alice.reply(&asked, 200, "OK", &legacy_sdp("alice-again")));
    bed.expect(&alice.flow, "ACK ");
    bed.expect_silence();
    assert_eq!(bed.proxy.calls(), 0);
    assert!(bed.media.is_clean(), "nothing is opened for what is over");
}

#[test]
fn the_next_relay_goes_on_recording() {
    let mut settings = settings();
    settings.sounds.record_users.push("bob".into());
    let mut bed = Bed::with(&["alice", "bob"], settings, Vec::new());
    let (alice, bob, ..) = lost(&mut bed);
    bed.media.sounds.borrow_mut().clear();
    let (_, offer) = offered(&mut bed, &alice, &bob);
    agreed(&mut bed, &alice, &bob, &offer);
    assert_eq!(*bed.media.sounds.borrow(), [format!("call-1: record {}", alice.tag)]);
}
