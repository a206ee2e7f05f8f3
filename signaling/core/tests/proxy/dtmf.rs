//! Keys in INFO: they pass, are pressed in the media, or are made of what the relay has heard.

use std::time::Duration;

use signaling_core::outside::{Keys, MediaError};
use signaling_core::settings::Dtmf;

use crate::pair::{both, established};
use crate::testbed::{Asked, Bed, Dialog, Phone, browser_sdp, legacy_sdp, settings};
use crate::webrtc::within;

const KEY: &str = "Signal=5\r\nDuration=250\r\n";

/// A call of the page `bob` to the phone `alice`; whoever is named has keys so.
fn call(ends: &[(&str, Keys)]) -> (Bed, [Phone; 2], [Dialog; 2]) {
    let mut settings = settings();
    settings.dtmf = Dtmf { ends: ends.iter().map(|(name, keys)| ((*name).to_owned(), *keys)).collect() };
    let mut bed = Bed::with(&["alice", "bob"], settings, Vec::new());
    let (alice, mut bob) = both(&mut bed);
    let sdp = [browser_sdp("bob"), legacy_sdp("alice")];
    let (b, a) = established(&mut bed, &mut bob, &alice, "call-1", [&sdp[0], &sdp[1]]);
    (bed, [alice, bob], [a, b])
}

fn sounds(bed: &Bed) -> Vec<String> {
    bed.media.sounds.borrow().clone()
}

#[test]
fn a_key_that_its_receiver_refuses_is_pressed_in_the_media() {
    for (code, unheard, heard) in [
        (200, false, 200),
        (415, false, 200),
        (405, false, 200),
        (501, false, 200),
        (415, true, 415),
        (481, false, 481),
    ] {
        let (mut bed, [alice, mut bob], [_, mut b]) = call(&[]);
        *bed.media.refuse.borrow_mut() = unheard.then(|| MediaError::Unavailable("no such end".into()));
        let info = b.request(&mut bob, "INFO", "", KEY);
        bed.send(&bob.flow, &info);
        let arrived = bed.expect(&alice.flow, "INFO ");
        assert_eq!(arrived.body(), KEY);
        bed.send(&alice.flow, &alice.reply(&arrived, code, "Whatever", ""));
        bed.expect(&bob.flow, &format!("SIP/2.0 {heard} "));
        let pressed = (heard != code).then(|| format!("call-1: press 5 for {}, 250 ms", bob.tag));
        assert_eq!(sounds(&bed), Vec::from_iter(pressed), "{code}");
    }
}

#[test]
fn another_refused_info_is_none_of_keys() {
    let (mut bed, [alice, mut bob], [_, mut b]) = call(&[]);
    let info = b.request(&mut bob, "INFO", "", "");
    bed.send(&bob.flow, &info);
    let arrived = bed.expect(&alice.flow, "INFO ");
    bed.send(&alice.flow, &alice.reply(&arrived, 415, "Unsupported Media Type", ""));
    bed.expect(&bob.flow, "SIP/2.0 415 ");
    assert_eq!(sounds(&bed), [] as [&str; 0]);
}

#[test]
fn whoever_has_keys_in_media_gets_no_info() {
    for ends in
        [[("alice", Keys::Events)], [("alice", Keys::Tones)], [("bob", Keys::Info)], [("*", Keys::Events)]]
    {
        let (mut bed, [alice, mut bob], [mut a, mut b]) = call(&ends);
        let info = b.request(&mut bob, "INFO", "", KEY);
        bed.send(&bob.flow, &info);
        bed.expect(&bob.flow, "SIP/2.0 200 ");
        bed.expect_silence();
        assert_eq!(sounds(&bed), [format!("call-1: press 5 for {}, 250 ms", bob.tag)], "{ends:?}");
        // A page takes keys from INFO alone.
        let mut alice = alice;
        within(&mut bed, &mut alice, &bob, &mut a, "INFO", [KEY, ""]);
        // What the relay cannot do the receiver may.
        *bed.media.refuse.borrow_mut() = Some(MediaError::Unavailable("no such end".into()));
        within(&mut bed, &mut bob, &alice, &mut b, "INFO", [KEY, ""]);
    }
}

#[test]
fn the_relay_is_told_how_each_end_has_keys() {
    let (bed, ..) = call(&[("alice", Keys::Info), ("203.0.113.9", Keys::Tones)]);
    for asked in bed.media.log.borrow().iter() {
        let (from, to) = match asked {
            Asked::Offer(exchange) => (exchange.from.keys, exchange.to.keys),
            Asked::Answer(exchange) => (exchange.to.keys, exchange.from.keys),
            Asked::Delete { .. } => continue,
        };
        assert_eq!((from, to), (Keys::Tones, Keys::Info));
    }
}

#[test]
fn a_key_that_the_relay_has_heard_is_an_info() {
    let (mut bed, [mut alice, mut bob], [mut a, mut b]) = call(&[("alice", Keys::Info)]);
    bed.proxy.handle_key(bed.now, "call-1", &bob.tag, 11);
    bed.drain();
    let info = bed.expect(&alice.flow, "INFO ");
    assert_eq!((info.uri(), info.body()), (alice.contact.as_str(), "Signal=#\r\nDuration=160\r\n"));
    assert_eq!(info.header("Content-Type"), "application/dtmf-relay");
    assert!(
        info.header("From").contains(&bob.tag) && info.header("Contact").contains("alias="),
        "{}",
        info.text
    );
    bed.send(&alice.flow, &alice.reply(&info, 200, "OK", ""));
    bed.expect_silence();
    // Those of the other way, of another call and of nobody are for nobody.
    for (call_id, tag) in
        [("call-1", alice.tag.as_str()), ("call-2", &bob.tag), ("call-1", "x"), ("call-1", "")]
    {
        bed.proxy.handle_key(bed.now, call_id, tag, 1);
        bed.drain();
        bed.expect_silence();
    }
    // Its own numbers go on behind ours.
    let (held, _) =
        within(&mut bed, &mut bob, &alice, &mut b, "INVITE", [&browser_sdp("bob"), &legacy_sdp("alice")]);
    let number = |sip: &crate::testbed::Sip| {
        sip.header("CSeq").split(' ').next().and_then(|it| it.parse::<u32>().ok())
    };
    assert!(number(&held) > number(&info), "{} {}", held.header("CSeq"), info.header("CSeq"));
    within(&mut bed, &mut alice, &bob, &mut a, "INFO", [KEY, ""]);
    // The end that refuses loses a key, and no more.
    bed.proxy.handle_key(bed.now, "call-1", &bob.tag, 3);
    bed.drain();
    let info = bed.expect(&alice.flow, "INFO ");
    bed.send(&alice.flow, &alice.reply(&info, 415, "Unsupported Media Type", ""));
    bed.expect_silence();
    within(&mut bed, &mut bob, &alice, &mut b, "BYE", ["", ""]);
    bed.proxy.handle_key(bed.now, "call-1", &bob.tag, 3);
    bed.drain();
    bed.expect_silence();
}

#[test]
fn keys_wait_for_a_call_that_agrees_and_not_for_ever() {
    let (mut bed, [alice, mut bob], [_, mut b]) = call(&[("alice", Keys::Info)]);
    let hold = b.request(&mut bob, "INVITE", "", &browser_sdp("bob"));
    bed.send(&bob.flow, &hold);
    bed.expect(&bob.flow, "SIP/2.0 100 ");
    let held = bed.expect(&alice.flow, "INVITE ");
    for key in [1, 2] {
        bed.proxy.handle_key(bed.now, "call-1", &bob.tag, key);
        bed.drain();
    }
    bed.expect_silence();
    bed.send(&alice.flow, &alice.reply(&held, 200, "OK", &legacy_sdp("alice")));
    bed.expect(&bob.flow, "SIP/2.0 200 ");
    let ack = b.request(&mut bob, "ACK", "", "");
    bed.send(&bob.flow, &ack);
    bed.expect(&alice.flow, "ACK ");
    bed.advance(Duration::from_millis(300));
    for key in ["1", "2"] {
        let info = bed.expect(&alice.flow, "INFO ");
        assert!(info.body().starts_with(&format!("Signal={key}\r\n")), "{}", info.text);
        bed.send(&alice.flow, &alice.reply(&info, 200, "OK", ""));
    }
    // An end that takes long to answer is asked nothing meanwhile, and later nobody wants to know.
    let hold = b.request(&mut bob, "INVITE", "", &browser_sdp("bob"));
    bed.send(&bob.flow, &hold);
    let held = bed.expect(&alice.flow, "INVITE ");
    bed.send(&alice.flow, &alice.reply(&held, 180, "Ringing", ""));
    bed.discard();
    bed.proxy.handle_key(bed.now, "call-1", &bob.tag, 4);
    bed.advance(Duration::from_secs(6));
    bed.send(&alice.flow, &alice.reply(&held, 200, "OK", &legacy_sdp("alice")));
    let ack = b.request(&mut bob, "ACK", "", "");
    bed.send(&bob.flow, &ack);
    bed.discard();
    bed.advance(Duration::from_secs(2));
    assert!(bed.try_receive(&alice.flow).is_none_or(|sip| !sip.text.starts_with("INFO ")));
}
