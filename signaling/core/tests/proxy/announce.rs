//! Callers who hear in sound why they are refused, as early media, before the code.

use std::time::Duration;

use signaling_core::event::Event;
use signaling_core::outside::MediaError;

use crate::pair::both;
use crate::testbed::{Bed, DOMAIN, Dialog, Phone, Sip, ack_of, browser_sdp, cancel_of, legacy_sdp, settings};

/// How long the relay of these tests plays.
const LENGTH: Duration = Duration::from_secs(3);
/// What comes before.
const LEAD: Duration = Duration::from_millis(800);

fn bed(codes: &[u16]) -> Bed {
    bed_that_answers(codes, &[])
}

/// One that answers these callers first.
fn bed_that_answers(codes: &[u16], users: &[&str]) -> Bed {
    let mut settings = settings();
    settings.sounds.answered = users.iter().map(|user| (*user).to_owned()).collect();
    settings.sounds.announcements = codes.iter().map(|code| (*code, format!("{code}.wav"))).collect();
    Bed::with(&["alice", "bob"], settings, Vec::new())
}

fn invite(phone: &mut Phone, uri: &str, more: &str, sdp: &str) -> String {
    let more = format!("Contact: <{}>\r\n{more}", phone.contact);
    phone.request("INVITE", uri, "call-1", &more, sdp)
}

fn nobody() -> String {
    format!("sip:nobody@{DOMAIN}")
}

fn sounds(bed: &Bed) -> Vec<String> {
    bed.media.sounds.borrow().clone()
}

/// The caller has an answer of nobody's; what follows is the sound, and then the code.
fn told(bed: &mut Bed, alice: &Phone, request: &str, early: &Sip, code: u16) {
    assert_eq!(early.code(), 183, "{}", early.text);
    assert!(early.header("Contact").starts_with("<sip:announcement@") && !early.tag("To").is_empty());
    assert!(early.body().contains("m=audio 9 RTP/AVP 0\r\n"), "{}", early.text);
    assert!(early.body().contains("x-relay:answer Legacy Legacy"), "{}", early.text);
    assert_eq!(sounds(bed), [] as [&str; 0], "its loudspeaker is not open yet");
    bed.advance(LEAD);
    assert_eq!(sounds(bed), [format!("call-1: announce {code}.wav to {}", alice.tag)]);
    bed.advance(LENGTH - Duration::from_millis(1));
    bed.expect_silence();
    assert!(!bed.media.is_clean());
    bed.advance(Duration::from_millis(1));
    let last = bed.expect(&alice.flow, &format!("SIP/2.0 {code} "));
    bed.send(&alice.flow, &ack_of(request, &last));
    bed.expect_silence();
    assert!(bed.media.is_clean());
    assert_eq!(bed.proxy.stats().announcements, 1);
}

#[test]
fn a_caller_of_nobody_hears_so() {
    let mut bed = bed(&[404]);
    let (mut alice, _) = both(&mut bed);
    let request = invite(&mut alice, &nobody(), "", &legacy_sdp("alice"));
    let (request, early) = alice.authorize(&mut bed, &request);
    told(&mut bed, &alice, &request, &early, 404);
}

#[test]
fn a_busy_callee_is_announced_when_all_branches_have_failed() {
    let mut bed = bed(&[404, 486]);
    let (mut alice, bob) = both(&mut bed);
    let request = invite(&mut alice, &bob.aor(), "", &legacy_sdp("alice"));
    let (request, trying) = alice.authorize(&mut bed, &request);
    assert_eq!(trying.code(), 100);
    let offered = bed.expect(&bob.flow, "INVITE ");
    bed.send(&bob.flow, &bob.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&bob.flow, &bob.reply(&offered, 486, "Busy Here", ""));
    bed.expect(&bob.flow, "ACK ");
    let early = bed.receive(&alice.flow);
    told(&mut bed, &alice, &request, &early, 486);
    let failed = bed.events.iter().filter(|event| matches!(event, Event::CallFailed { code: 486, .. }));
    assert_eq!(failed.count(), 1);
}

/// A browser takes the first SDP for the answer and no other; the sound comes by that one.
#[test]
fn whoever_has_heard_early_media_hears_the_sound_at_once() {
    let mut bed = bed(&[480]);
    let (alice, mut bob) = both(&mut bed);
    let request = invite(&mut bob, &alice.aor(), "", &browser_sdp("bob"));
    let (request, trying) = bob.authorize(&mut bed, &request);
    assert_eq!(trying.code(), 100);
    let offered = bed.expect(&alice.flow, "INVITE ");
    bed.send(&alice.flow, &alice.reply(&offered, 183, "Session Progress", &legacy_sdp("alice")));
    assert!(bed.expect(&bob.flow, "SIP/2.0 183 ").body().contains("o=alice"));
    bed.send(&alice.flow, &alice.reply(&offered, 480, "Temporarily Unavailable", ""));
    bed.expect(&alice.flow, "ACK ");
    bed.expect_silence();
    assert_eq!(sounds(&bed), [format!("call-1: announce 480.wav to {}", bob.tag)]);
    bed.advance(LENGTH);
    let last = bed.expect(&bob.flow, "SIP/2.0 480 ");
    bed.send(&bob.flow, &ack_of(&request, &last));
    assert!(bed.media.is_clean());
}

#[test]
fn a_caller_who_gives_up_hears_487_and_no_more() {
    for wait in [Duration::ZERO, LEAD] {
        let mut bed = bed(&[404]);
        let (mut alice, _) = both(&mut bed);
        let request = invite(&mut alice, &nobody(), "", &legacy_sdp("alice"));
        let (request, early) = alice.authorize(&mut bed, &request);
        assert_eq!(early.code(), 183);
        bed.advance(wait);
        let invite = Sip { text: request.clone() };
        bed.send(&alice.flow, &cancel_of(&invite));
        bed.expect(&alice.flow, "SIP/2.0 200 ");
        let last = bed.expect(&alice.flow, "SIP/2.0 487 ");
        bed.send(&alice.flow, &ack_of(&request, &last));
        assert!(bed.media.is_clean());
        bed.advance(LENGTH + LEAD);
        bed.expect_silence();
    }
}

#[test]
fn what_cannot_be_played_is_left_out() {
    for what in ["no offer", "100rel", "another code", "no room", "no sound", "a stranger"] {
        let mut bed = bed(if what == "another code" { &[486] } else { &[404] });
        let (mut alice, _) = both(&mut bed);
        if what == "no room" {
            *bed.media.refuse.borrow_mut() = Some(MediaError::Full("ports".into()));
        }
        let more = if what == "100rel" { "Require: 100rel\r\nSupported: 100rel\r\n" } else { "" };
        let sdp = match what {
            "no offer" => String::new(),
            "no sound" => {
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=video 4000 RTP/AVP 96\r\n".to_owned()
            }
            _ => legacy_sdp("alice"),
        };
        let request = invite(&mut alice, &nobody(), more, &sdp);
        if what == "a stranger" {
            // Nobody has asked who he is, for he claims nothing: no port is opened for him.
            let from = format!("From: <{}>", alice.aor());
            bed.send(&alice.flow, &request.replace(&from, "From: <sip:carol@elsewhere.example>"));
            bed.expect(&alice.flow, "SIP/2.0 404 ");
        } else {
            assert_eq!(alice.authorized(&mut bed, &request).code(), 404, "{what}");
        }
        assert!(bed.media.is_clean(), "{what}");
        assert_eq!(sounds(&bed), [] as [&str; 0], "{what}");
    }
}

#[test]
fn a_missing_file_and_the_end_of_everything_cut_it_short() {
    for what in ["no file", "shutdown"] {
        let mut bed = bed(&[404]);
        let (mut alice, _) = both(&mut bed);
        let request = invite(&mut alice, &nobody(), "", &legacy_sdp("alice"));
        assert_eq!(alice.authorized(&mut bed, &request).code(), 183);
        if what == "shutdown" {
            bed.proxy.begin_shutdown(bed.now);
            bed.drain();
        } else {
            *bed.media.refuse.borrow_mut() = Some(MediaError::Unavailable("no such file".into()));
            bed.advance(LEAD);
        }
        bed.expect(&alice.flow, "SIP/2.0 404 ");
        assert!(bed.media.is_clean());
    }
}

/// Alice calls nobody and is answered: her dialog, and the 200.
fn answered(bed: &mut Bed, alice: &mut Phone) -> (Dialog, Sip) {
    let request = invite(alice, &nobody(), "", &legacy_sdp("alice"));
    let (request, ok) = alice.authorize(bed, &request);
    assert_eq!(ok.code(), 200, "{}", ok.text);
    assert!(ok.header("Contact").starts_with("<sip:announcement@"), "{}", ok.text);
    assert!(ok.body().contains("x-relay:answer Legacy Legacy"), "{}", ok.text);
    (Dialog::of_caller(&Sip { text: request }, &ok), ok)
}

fn acknowledge(bed: &mut Bed, alice: &mut Phone, dialog: &mut Dialog) {
    let ack = dialog.request(alice, "ACK", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect_silence();
}

/// The last word of the gateway: a BYE that says why.
fn hung_up_on(bed: &mut Bed, alice: &Phone, dialog: &Dialog) {
    let bye = bed.expect(&alice.flow, "BYE ");
    assert_eq!((bye.uri(), bye.tag("From")), (alice.contact.as_str(), dialog.remote_tag().as_str()));
    assert_eq!(bye.header("Reason"), "SIP;cause=404;text=\"Not Found\", Q.850;cause=1", "{}", bye.text);
    assert!(bed.media.is_clean());
    bed.send(&alice.flow, &alice.reply(&bye, 200, "OK", ""));
    bed.expect_silence();
}

#[test]
fn a_caller_who_plays_no_early_media_is_answered_and_hung_up_on() {
    for name in ["alice", "198.51.100.7", "*"] {
        let mut bed = bed_that_answers(&[404], &[name]);
        let (mut alice, _) = both(&mut bed);
        let (mut dialog, ok) = answered(&mut bed, &mut alice);
        // The 200 is repeated until its ACK is here.
        for wait in [500, 1000] {
            bed.advance(Duration::from_millis(wait - 1));
            bed.expect_silence();
            bed.advance(Duration::from_millis(1));
            assert_eq!(bed.expect(&alice.flow, "SIP/2.0 200 ").text, ok.text);
        }
        acknowledge(&mut bed, &mut alice, &mut dialog);
        acknowledge(&mut bed, &mut alice, &mut dialog);
        assert_eq!(sounds(&bed), [] as [&str; 0]);
        bed.advance(LEAD);
        assert_eq!(sounds(&bed), [format!("call-1: announce 404.wav to {}", alice.tag)]);
        bed.advance(LENGTH - Duration::from_millis(1));
        bed.expect_silence();
        bed.advance(Duration::from_millis(1));
        hung_up_on(&mut bed, &alice, &dialog);
        assert_eq!(bed.proxy.calls(), 0);
        bed.advance(Duration::from_secs(60));
        bed.expect_silence();
    }
}

#[test]
fn a_caller_in_an_announcement_is_in_a_call() {
    let mut bed = bed_that_answers(&[404], &["alice"]);
    let (mut alice, _) = both(&mut bed);
    let (mut dialog, _) = answered(&mut bed, &mut alice);
    acknowledge(&mut bed, &mut alice, &mut dialog);
    bed.advance(LEAD);
    for (method, code) in [("INVITE", 488), ("UPDATE", 488), ("OPTIONS", 200), ("INFO", 200), ("REFER", 405)]
    {
        let request = dialog.request(&mut alice, method, "", "");
        bed.send(&alice.flow, &request);
        let answer = bed.expect(&alice.flow, &format!("SIP/2.0 {code} "));
        if method == "INVITE" {
            bed.send(&alice.flow, &ack_of(&request, &answer));
        }
    }
    // Somebody else who has guessed a part is not in it.
    let mut stranger = dialog.request(&mut alice, "BYE", "", "");
    stranger = stranger.replace(&alice.tag, "another");
    bed.send(&alice.flow, &stranger);
    assert_ne!(bed.receive(&alice.flow).code(), 200);
    let bye = dialog.request(&mut alice, "BYE", "", "");
    bed.send(&alice.flow, &bye);
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert!(bed.media.is_clean());
    bed.advance(LENGTH + LEAD);
    bed.expect_silence();
}

#[test]
fn an_answered_caller_hears_a_bye_in_any_case() {
    for what in ["no ACK", "no file", "shutdown"] {
        let mut bed = bed_that_answers(&[404], &["alice"]);
        let (mut alice, _) = both(&mut bed);
        let (mut dialog, _) = answered(&mut bed, &mut alice);
        match what {
            "no ACK" => {
                bed.advance(Duration::from_millis(31_900));
                while let Some(repeated) = bed.try_receive(&alice.flow) {
                    assert_eq!(repeated.code(), 200, "{}", repeated.text);
                }
                bed.advance(Duration::from_millis(100));
            }
            "no file" => {
                acknowledge(&mut bed, &mut alice, &mut dialog);
                *bed.media.refuse.borrow_mut() = Some(MediaError::Unavailable("no such file".into()));
                bed.advance(LEAD);
            }
            _ => {
                bed.proxy.begin_shutdown(bed.now);
                bed.drain();
            }
        }
        hung_up_on(&mut bed, &alice, &dialog);
        assert_eq!(sounds(&bed), [] as [&str; 0]);
    }
}

/// What would not work with an answer is as it is without.
#[test]
fn not_every_caller_can_be_answered() {
    for (user, more, code) in [("bob", "", 183), ("alice", "Require: timer\r\nSupported: timer\r\n", 183)] {
        let mut bed = bed_that_answers(&[404], &[user]);
        let (mut alice, _) = both(&mut bed);
        let request = invite(&mut alice, &nobody(), more, &legacy_sdp("alice"));
        assert_eq!(alice.authorize(&mut bed, &request).1.code(), code, "{user} {more}");
    }
    let mut bed = bed_that_answers(&[404], &["alice"]);
    let (mut alice, _) = both(&mut bed);
    *bed.media.refuse.borrow_mut() = Some(MediaError::Full("ports".into()));
    let request = invite(&mut alice, &nobody(), "", &legacy_sdp("alice"));
    assert_eq!(alice.authorized(&mut bed, &request).code(), 404);
}

/// A browser that has heard early media has its answer.
#[test]
fn a_browser_with_early_media_is_told_by_it() {
    let mut bed = bed_that_answers(&[480], &["bob"]);
    let (alice, mut bob) = both(&mut bed);
    let request = invite(&mut bob, &alice.aor(), "", &browser_sdp("bob"));
    let (request, _) = bob.authorize(&mut bed, &request);
    let offered = bed.expect(&alice.flow, "INVITE ");
    bed.send(&alice.flow, &alice.reply(&offered, 183, "Session Progress", &legacy_sdp("alice")));
    bed.expect(&bob.flow, "SIP/2.0 183 ");
    bed.send(&alice.flow, &alice.reply(&offered, 480, "Temporarily Unavailable", ""));
    bed.expect(&alice.flow, "ACK ");
    bed.advance(LENGTH);
    let last = bed.expect(&bob.flow, "SIP/2.0 480 ");
    bed.send(&bob.flow, &ack_of(&request, &last));
    assert!(bed.media.is_clean());
}
