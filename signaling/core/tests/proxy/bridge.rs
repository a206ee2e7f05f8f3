//! Two who are called and joined because an operator says so (Kamailio's `dlg.bridge_dlg`).

use std::time::Duration;

use signaling_core::flow::Protocol;
use signaling_core::proxy::NotBridged;

use crate::pair::with;
use crate::testbed::{Bed, Dialog, Phone, Sip, ack_of, browser_sdp, legacy_sdp};

const CALL: &str = "bridged-1";
const PARTIES: [&str; 2] = ["sip:bob@sip.example", "<sip:carol@sip.example>"];

struct Scene {
    bed: Bed,
    bob: Phone,
    carol: Phone,
}

fn sdp(phone: &Phone) -> String {
    if phone.flow.protocol == Protocol::Wss { browser_sdp(&phone.user) } else { legacy_sdp(&phone.user) }
}

impl Scene {
    /// Bob and Carol, and which of them is a browser.
    fn of(browsers: [bool; 2]) -> Self {
        let mut bed = Bed::new(&["bob", "carol"]);
        let [bob, carol] =
            [("bob", browsers[0], 2), ("carol", browsers[1], 3)].map(|(user, browser, number)| {
                let mut phone = match browser {
                    true => Phone::browser(&mut bed, user, &format!("203.0.113.{number}:41000")),
                    false => Phone::legacy(&mut bed, user, &format!("198.51.100.{number}:5060")),
                };
                phone.register(&mut bed);
                phone
            });
        Self { bed, bob, carol }
    }

    /// The operator bridges the two: the INVITE to Bob.
    #[track_caller]
    fn bridge(&mut self) -> Sip {
        self.bed.proxy.bridge(self.bed.now, CALL, PARTIES, None).expect("to be begun");
        self.bed.drain();
        self.bed.expect(&self.bob.flow, "INVITE ")
    }

    /// Bob answers, and hears the ACK: his end of the dialog, and the INVITE to Carol.
    #[track_caller]
    fn bob_answers(&mut self, invite: &Sip) -> (Dialog, Sip) {
        let ok = self.bob.reply(invite, 200, "OK", &sdp(&self.bob));
        self.bed.send(&self.bob.flow, &ok);
        self.bed.expect(&self.bob.flow, "ACK ");
        let asked = self.bed.expect(&self.carol.flow, "INVITE ");
        assert_eq!(asked.body(), "", "she offers");
        assert!(asked.header("From").starts_with("<sip:bob@sip.example>;tag="), "{}", asked.text);
        (Dialog::of_callee(invite, &Sip { text: ok }), asked)
    }

    /// Everybody has hung up, and nothing is left.
    #[track_caller]
    fn assert_over(mut self) {
        self.bed.expect_silence();
        assert!(self.bed.media.is_clean(), "{:?}", self.bed.media.open.borrow());
        assert_eq!(self.bed.proxy.calls(), 0);
        self.bed.advance(Duration::from_secs(300));
        self.bed.expect_silence();
        let stats = self.bed.proxy.transaction_stats();
        assert_eq!((stats.current, stats.created - stats.freed), (0, 0));
    }
}

#[test]
fn the_first_waits_on_hold_and_the_two_are_joined() {
    for number in 0..8 {
        let [bob, carol, bob_leaves] = [1, 2, 4].map(|bit| number & bit != 0);
        let mut scene = Scene::of([bob, carol]);
        let invite = scene.bridge();
        assert!(invite.header("From").starts_with("<sip:carol@sip.example>;tag="), "{}", invite.text);
        assert!(invite.body().contains("a=sendonly"), "{}", invite.body());
        let (mut b, asked) = scene.bob_answers(&invite);
        let ok = scene.carol.reply(&asked, 200, "OK", &sdp(&scene.carol));
        scene.bed.send(&scene.carol.flow, &ok);
        let mut c = Dialog::of_callee(&asked, &Sip { text: ok });
        let offered = scene.bed.expect(&scene.bob.flow, "INVITE ");
        assert!(offered.body().contains("o=carol"), "{}", offered.body());
        let ok = scene.bob.reply(&offered, 200, "OK", &sdp(&scene.bob));
        scene.bed.send(&scene.bob.flow, &ok);
        assert_eq!(scene.bed.expect(&scene.bob.flow, "ACK ").body(), "");
        let ack = scene.bed.expect(&scene.carol.flow, "ACK ");
        assert!(ack.body().contains("o=bob"), "{}", ack.body());
        assert_eq!(scene.bed.proxy.calls(), 2, "each with the gateway");

        let info = b.request(&mut scene.bob, "INFO", "X-Key: value\r\n", "Signal=5");
        scene.bed.send(&scene.bob.flow, &info);
        let there = scene.bed.expect(&scene.carol.flow, "INFO ");
        assert_eq!((there.body(), there.header("X-Key")), ("Signal=5", "value"));
        let reply = scene.carol.reply(&there, 200, "Fine", "");
        scene.bed.send(&scene.carol.flow, &with(&reply, "X-Answer: yes\r\n"));
        assert_eq!(scene.bed.expect(&scene.bob.flow, "SIP/2.0 200 ").header("X-Answer"), "yes");

        let (from, to, dialog) = match bob_leaves {
            true => (&mut scene.bob, &scene.carol, &mut b),
            false => (&mut scene.carol, &scene.bob, &mut c),
        };
        let bye = dialog.request(from, "BYE", "", "");
        scene.bed.send(&from.flow, &bye);
        scene.bed.expect(&from.flow, "SIP/2.0 200 ");
        let there = scene.bed.expect(&to.flow, "BYE ");
        scene.bed.send(&to.flow, &to.reply(&there, 200, "OK", ""));
        scene.assert_over();
    }
}

#[test]
fn a_first_who_is_not_to_be_had_is_all() {
    let mut scene = Scene::of([false; 2]);
    let invite = scene.bridge();
    let busy = scene.bob.reply(&invite, 486, "Busy Here", "");
    scene.bed.send(&scene.bob.flow, &busy);
    scene.bed.expect(&scene.bob.flow, "ACK ");
    scene.assert_over();

    // One who never answers.
    let mut scene = Scene::of([false; 2]);
    let invite = scene.bridge();
    scene.bed.send(&scene.bob.flow, &scene.bob.reply(&invite, 180, "Ringing", ""));
    scene.bed.advance(Duration::from_secs(400));
    let cancel = scene.bed.expect(&scene.bob.flow, "CANCEL ");
    scene.bed.send(&scene.bob.flow, &scene.bob.reply(&cancel, 200, "OK", ""));
    scene.bed.discard();
    scene.bed.send(&scene.bob.flow, &scene.bob.reply(&invite, 487, "Request Terminated", ""));
    scene.bed.discard();
    scene.assert_over();
}

#[test]
fn the_first_is_let_go_when_the_second_refuses() {
    let mut scene = Scene::of([true, false]);
    let invite = scene.bridge();
    let (_, asked) = scene.bob_answers(&invite);
    let busy = scene.carol.reply(&asked, 486, "Busy Here", "");
    scene.bed.send(&scene.carol.flow, &busy);
    scene.bed.expect(&scene.carol.flow, "ACK ");
    let bye = scene.bed.expect(&scene.bob.flow, "BYE ");
    scene.bed.send(&scene.bob.flow, &scene.bob.reply(&bye, 200, "OK", ""));
    scene.assert_over();
}

#[test]
fn a_first_who_leaves_ends_the_call_to_the_second() {
    let mut scene = Scene::of([false; 2]);
    let invite = scene.bridge();
    let (mut b, asked) = scene.bob_answers(&invite);
    scene.bed.send(&scene.carol.flow, &scene.carol.reply(&asked, 180, "Ringing", ""));
    let bye = b.request(&mut scene.bob, "BYE", "", "");
    scene.bed.send(&scene.bob.flow, &bye);
    scene.bed.expect(&scene.bob.flow, "SIP/2.0 200 ");
    let cancel = scene.bed.expect(&scene.carol.flow, "CANCEL ");
    scene.bed.send(&scene.carol.flow, &scene.carol.reply(&cancel, 200, "OK", ""));
    scene.bed.send(&scene.carol.flow, &scene.carol.reply(&asked, 487, "Request Terminated", ""));
    scene.bed.expect(&scene.carol.flow, "ACK ");
    scene.assert_over();
}

/// An operator's own offer takes the place of the hold.
#[test]
fn the_first_hears_what_the_operator_offers() {
    let mut scene = Scene::of([false; 2]);
    let offer = legacy_sdp("operator");
    scene.bed.proxy.bridge(scene.bed.now, CALL, PARTIES, Some(offer.into())).expect("to be begun");
    scene.bed.drain();
    let invite = scene.bed.expect(&scene.bob.flow, "INVITE ");
    assert!(invite.body().contains("o=operator"), "{}", invite.body());
    assert_eq!(scene.bed.proxy.end_calls(scene.bed.now, |call| call.call_id == CALL), 1);
    scene.bed.drain();
    scene.bed.send(&scene.bob.flow, &scene.bob.reply(&invite, 180, "Ringing", ""));
    let cancel = scene.bed.expect(&scene.bob.flow, "CANCEL ");
    scene.bed.send(&scene.bob.flow, &scene.bob.reply(&cancel, 200, "OK", ""));
    let terminated = scene.bob.reply(&invite, 487, "Request Terminated", "");
    scene.bed.send(&scene.bob.flow, &terminated);
    scene.bed.expect(&scene.bob.flow, "ACK ");
    scene.assert_over();
}

#[test]
fn who_cannot_be_called_is_refused_at_once() {
    let mut scene = Scene::of([false; 2]);
    for parties in [["bob", PARTIES[1]], [PARTIES[0], "tel:+491"], ["sip:sip.example", PARTIES[1]]] {
        let refused = scene.bed.proxy.bridge(scene.bed.now, CALL, parties, None);
        assert_eq!(refused, Err(NotBridged::Uri), "{parties:?}");
    }
    // Neither is a user of ours: nobody is there on whose account the call could be.
    let strangers = ["sip:a@elsewhere.example", "sip:b@elsewhere.example"];
    scene.bed.proxy.bridge(scene.bed.now, CALL, strangers, None).expect("to be begun");
    scene.bed.drain();
    scene.bed.proxy.set_draining(true);
    assert_eq!(scene.bed.proxy.bridge(scene.bed.now, "2", PARTIES, None), Err(NotBridged::Busy));
    scene.assert_over();
}

/// Nobody is charged with what he has not asked for: the request for elsewhere is on the account of the other party.
#[test]
fn a_stranger_is_called_on_the_account_of_the_other() {
    let mut scene = Scene::of([false; 2]);
    let elsewhere = scene.bed.flow(Protocol::Udp, "203.0.113.77:5060");
    let parties = ["sip:dave@203.0.113.77", PARTIES[0]];
    scene.bed.proxy.bridge(scene.bed.now, CALL, parties, None).expect("to be begun");
    scene.bed.drain();
    let invite = scene.bed.expect(&elsewhere, "INVITE sip:dave@203.0.113.77");
    let dave = Phone::legacy(&mut scene.bed, "dave", "203.0.113.77:5060");
    let busy = dave.reply(&invite, 486, "Busy Here", "");
    scene.bed.send(&elsewhere, &busy);
    let ack = scene.bed.expect(&elsewhere, "ACK ");
    assert_eq!(
        ack.header("CSeq"),
        ack_of(&invite.text, &Sip { text: busy })
            .lines()
            .find_map(|line| line.strip_prefix("CSeq: "))
            .expect("CSeq")
    );
    scene.assert_over();
}
