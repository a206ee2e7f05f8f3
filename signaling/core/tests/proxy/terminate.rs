//! REFER carried out by the gateway (RFC 3515, RFC 5589 §6) for an end that cannot: the target is called in its name, and the two
//! are joined.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use signaling_core::event::Event;
use signaling_core::flow::Protocol;
use signaling_core::secfilter::Premium;
use signaling_core::settings::{Referral, Settings};
use signaling_core::tables::{Policy, Pstn, Tables, Through};

use crate::pair::{established, with};
use crate::testbed::{Bed, Dialog, Phone, Sip, browser_sdp, legacy_sdp, settings};

/// Alice, who transfers, in a call with Bob, who cannot; and Carol.
struct Scene {
    bed: Bed,
    alice: Phone,
    bob: Phone,
    carol: Phone,
    /// Alice's end of her call with Bob, and his.
    a: Dialog,
    b: Dialog,
}

fn phone(bed: &mut Bed, user: &str, browser: bool, number: u16) -> Phone {
    let mut phone = match browser {
        true => Phone::browser(bed, user, &format!("203.0.113.{number}:41000")),
        false => Phone::legacy(bed, user, &format!("198.51.100.{number}:5060")),
    };
    phone.register(bed);
    phone
}

fn sdp(phone: &Phone) -> String {
    if phone.flow.protocol == Protocol::Wss { browser_sdp(&phone.user) } else { legacy_sdp(&phone.user) }
}

impl Scene {
    /// Who is a browser. Alice has called Bob, or he her.
    fn of([alice, bob, carol]: [bool; 3], alice_calls: bool) -> Self {
        let settings = Settings { refer: Referral::Terminate, ..settings() };
        let mut bed = Bed::with(&["alice", "bob", "carol"], settings, Vec::new());
        let mut alice = phone(&mut bed, "alice", alice, 1);
        let mut bob = phone(&mut bed, "bob", bob, 2);
        let carol = phone(&mut bed, "carol", carol, 3);
        let (a, b) = if alice_calls {
            let bodies = [sdp(&alice), sdp(&bob)];
            established(&mut bed, &mut alice, &bob, "call-1", [&bodies[0], &bodies[1]])
        } else {
            let bodies = [sdp(&bob), sdp(&alice)];
            let (b, a) = established(&mut bed, &mut bob, &alice, "call-1", [&bodies[0], &bodies[1]]);
            (a, b)
        };
        Self { bed, alice, bob, carol, a, b }
    }

    fn phones() -> Self {
        Self::of([false; 3], true)
    }

    /// Alice sends a REFER and hears this.
    #[track_caller]
    fn refer(&mut self, more: &str, heard: &str) -> Sip {
        let refer = self.a.request(&mut self.alice, "REFER", more, "");
        self.bed.send(&self.alice.flow, &refer);
        self.bed.expect(&self.alice.flow, heard)
    }

    /// Alice sends Bob to Carol, whom the INVITE reaches.
    #[track_caller]
    fn transfer(&mut self) -> Sip {
        self.refer("Refer-To: <sip:carol@sip.example>\r\n", "SIP/2.0 202 ");
        self.told("100 Trying", false);
        self.bed.expect(&self.carol.flow, "INVITE ")
    }

    /// Alice is told this, and says that she has heard.
    #[track_caller]
    fn told(&mut self, line: &str, last: bool) {
        let notify = self.bed.expect(&self.alice.flow, "NOTIFY ");
        assert_eq!(notify.body(), format!("SIP/2.0 {line}\r\n"));
        assert_eq!(notify.header("Event"), format!("refer;id={}", self.a.cseq));
        let state = if last { "terminated;reason=noresource" } else { "active;expires=180" };
        assert_eq!(notify.header("Subscription-State"), state);
        assert_eq!((notify.tag("From"), notify.tag("To")), (&*self.bob.tag, &*self.alice.tag));
        let reply = self.alice.reply(&notify, 200, "OK", "");
        self.bed.send(&self.alice.flow, &reply);
    }

    /// Carol answers; Bob is asked to talk to her.
    #[track_caller]
    fn carol_answers(&mut self, invite: &Sip) -> (Dialog, Sip) {
        let ok = self.carol.reply(invite, 200, "OK", &sdp(&self.carol));
        self.bed.send(&self.carol.flow, &ok);
        let asked = self.bed.expect(&self.bob.flow, "INVITE ");
        assert_eq!((asked.tag("From"), asked.tag("To")), (&*self.alice.tag, &*self.bob.tag));
        assert!(asked.body().contains("o=carol"), "{}", asked.body());
        (Dialog::of_callee(invite, &Sip { text: ok }), asked)
    }

    /// Bob agrees: both hear an ACK, and Carol the answer.
    #[track_caller]
    fn bob_agrees(&mut self, asked: &Sip) {
        let ok = self.bob.reply(asked, 200, "OK", &sdp(&self.bob));
        self.bed.send(&self.bob.flow, &ok);
        assert_eq!(self.bed.expect(&self.bob.flow, "ACK ").body(), "");
        let ack = self.bed.expect(&self.carol.flow, "ACK ");
        assert!(ack.body().contains("o=bob"), "{}", ack.body());
    }

    /// A request of `from`, with that body, arrives at the other one, and the answer goes back.
    #[track_caller]
    fn passes(&mut self, from_bob: bool, c: &mut Dialog, method: &str, body: &str) -> Sip {
        let (from, to, dialog) = if from_bob {
            (&mut self.bob, &self.carol, &mut self.b)
        } else {
            (&mut self.carol, &self.bob, c)
        };
        let request = dialog.request(from, method, "X-Key: value\r\n", body);
        self.bed.send(&from.flow, &request);
        let mut there = self.bed.receive(&to.flow);
        assert!(there.text.starts_with(method), "{}", there.text);
        assert!(there.body().starts_with(body) && there.header("X-Key") == "value", "{}", there.text);
        let reply = to.reply(&there, 200, "Fine", if method == "INVITE" { body } else { "" });
        self.bed.send(&to.flow, &with(&reply, "X-Answer: yes\r\n"));
        there = self.bed.receive(&from.flow);
        if there.code() == 100 {
            there = self.bed.receive(&from.flow);
        }
        assert_eq!((there.start_line(), there.header("X-Answer")), ("SIP/2.0 200 Fine", "yes"));
        there
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

    /// Whoever is named hangs up on the other.
    #[track_caller]
    fn hangs_up(&mut self, bob: bool, c: &mut Dialog) {
        let (from, to, dialog) =
            if bob { (&mut self.bob, &self.carol, &mut self.b) } else { (&mut self.carol, &self.bob, c) };
        let bye = dialog.request(from, "BYE", "", "");
        self.bed.send(&from.flow, &bye);
        self.bed.expect(&from.flow, "SIP/2.0 200 ");
        let there = self.bed.expect(&to.flow, "BYE ");
        self.bed.send(&to.flow, &to.reply(&there, 200, "OK", ""));
    }

    /// Alice and Bob talk as before, and hang up.
    #[track_caller]
    fn go_on_as_before(mut self) {
        let info = self.a.request(&mut self.alice, "INFO", "", "Signal=1");
        self.bed.send(&self.alice.flow, &info);
        let there = self.bed.expect(&self.bob.flow, "INFO ");
        self.bed.send(&self.bob.flow, &self.bob.reply(&there, 200, "OK", ""));
        self.bed.expect(&self.alice.flow, "SIP/2.0 200 ");
        let bye = self.b.request(&mut self.bob, "BYE", "", "");
        self.bed.send(&self.bob.flow, &bye);
        let there = self.bed.expect(&self.alice.flow, "BYE ");
        self.bed.send(&self.alice.flow, &self.alice.reply(&there, 200, "OK", ""));
        self.bed.expect(&self.bob.flow, "SIP/2.0 200 ");
        self.assert_over();
    }
}

#[test]
fn the_target_is_called_and_the_two_are_joined() {
    for number in (0..16).filter(|number| number & 3 != 3) {
        let [alice, bob, carol, alice_calls] = [1, 2, 4, 8].map(|bit| number & bit != 0);
        let mut scene = Scene::of([alice, bob, carol], alice_calls);
        let invite = scene.transfer();
        assert_eq!(invite.body(), "", "the target offers");
        assert!(invite.header("From").starts_with("<sip:bob@sip.example>;tag="), "{}", invite.text);
        assert!(invite.header("Referred-By").contains("sip:alice@sip.example"), "{}", invite.text);
        assert!(scene.bed.try_receive(&scene.bob.flow).is_none(), "he need not know");
        let ringing = scene.carol.reply(&invite, 180, "Ringing", "");
        scene.bed.send(&scene.carol.flow, &ringing);
        scene.told("180 Ringing", false);
        let (mut c, asked) = scene.carol_answers(&invite);
        scene.bob_agrees(&asked);
        scene.told("200 OK", true);
        let bye = scene.bed.expect(&scene.alice.flow, "BYE ");
        let reply = scene.alice.reply(&bye, 200, "OK", "");
        scene.bed.send(&scene.alice.flow, &reply);
        scene.bed.expect_silence();

        for from_bob in [true, false] {
            scene.passes(from_bob, &mut c, "INFO", "Signal=5");
            scene.passes(from_bob, &mut c, "INVITE", &legacy_sdp("again"));
            let (from, to, dialog) = if from_bob {
                (&mut scene.bob, &scene.carol, &mut scene.b)
            } else {
                (&mut scene.carol, &scene.bob, &mut c)
            };
            let ack = dialog.request(from, "ACK", "", "");
            scene.bed.send(&from.flow, &ack);
            scene.bed.expect(&to.flow, "ACK ");
        }
        scene.hangs_up(alice_calls, &mut c);
        scene.assert_over();
    }
}

/// RFC 5589 §6.1: the referrer may leave at once. Until there is somebody to talk to, the transferee's call is kept.
#[test]
fn the_referrer_may_leave_at_once() {
    for answers in [true, false] {
        let mut scene = Scene::phones();
        let invite = scene.transfer();
        let bye = scene.a.request(&mut scene.alice, "BYE", "", "");
        scene.bed.send(&scene.alice.flow, &bye);
        scene.bed.expect(&scene.alice.flow, "SIP/2.0 200 ");
        scene.bed.expect_silence();
        if answers {
            let (mut c, asked) = scene.carol_answers(&invite);
            scene.bob_agrees(&asked);
            scene.bed.expect_silence();
            scene.passes(true, &mut c, "MESSAGE", "hello");
            scene.hangs_up(true, &mut c);
        } else {
            let busy = scene.carol.reply(&invite, 486, "Busy Here", "");
            scene.bed.send(&scene.carol.flow, &busy);
            scene.bed.expect(&scene.carol.flow, "ACK ");
            let bye = scene.bed.expect(&scene.bob.flow, "BYE ");
            scene.bed.send(&scene.bob.flow, &scene.bob.reply(&bye, 200, "OK", ""));
        }
        scene.assert_over();
    }
}

#[test]
fn a_transfer_that_fails_changes_nothing() {
    let mut scene = Scene::phones();
    let invite = scene.transfer();
    let busy = scene.carol.reply(&invite, 486, "Busy Here", "");
    scene.bed.send(&scene.carol.flow, &busy);
    scene.bed.expect(&scene.carol.flow, "ACK ");
    scene.told("486 Busy Here", true);
    // And another one may be tried.
    scene.refer("Refer-To: <sip:nobody@sip.example>\r\n", "SIP/2.0 202 ");
    scene.told("100 Trying", false);
    scene.told("404 Not Found", true);
    scene.go_on_as_before();
}

#[test]
fn a_transferee_who_will_not_talk_to_the_target_keeps_his_call() {
    for alice_is_browser in [false, true] {
        let mut scene = Scene::of([alice_is_browser, false, false], true);
        let invite = scene.transfer();
        let (_, asked) = scene.carol_answers(&invite);
        scene.bed.send(&scene.bob.flow, &scene.bob.reply(&asked, 488, "Not Acceptable Here", ""));
        scene.bed.expect(&scene.bob.flow, "ACK ");
        scene.bed.expect(&scene.carol.flow, "ACK ");
        let bye = scene.bed.expect(&scene.carol.flow, "BYE ");
        scene.bed.send(&scene.carol.flow, &scene.carol.reply(&bye, 200, "OK", ""));
        scene.told("488 Not Acceptable Here", true);
        scene.go_on_as_before();
    }
}

/// The target stops ringing, or is hung up on when it answers all the same.
#[test]
fn a_transferee_who_hangs_up_ends_the_transfer() {
    for crosses in [false, true] {
        let mut scene = Scene::phones();
        let invite = scene.transfer();
        let ringing = scene.carol.reply(&invite, 180, "Ringing", "");
        scene.bed.send(&scene.carol.flow, &ringing);
        scene.told("180 Ringing", false);
        let bye = scene.b.request(&mut scene.bob, "BYE", "", "");
        scene.bed.send(&scene.bob.flow, &bye);
        let there = scene.bed.expect(&scene.alice.flow, "BYE ");
        scene.bed.send(&scene.alice.flow, &scene.alice.reply(&there, 200, "OK", ""));
        scene.bed.expect(&scene.bob.flow, "SIP/2.0 200 ");
        let cancel = scene.bed.expect(&scene.carol.flow, "CANCEL ");
        if crosses {
            let ok = scene.carol.reply(&invite, 200, "OK", &sdp(&scene.carol));
            scene.bed.send(&scene.carol.flow, &ok);
            scene.bed.expect(&scene.carol.flow, "ACK ");
            let bye = scene.bed.expect(&scene.carol.flow, "BYE ");
            scene.bed.send(&scene.carol.flow, &scene.carol.reply(&bye, 200, "OK", ""));
        } else {
            let over = scene.carol.reply(&invite, 487, "Request Terminated", "");
            scene.bed.send(&scene.carol.flow, &over);
            scene.bed.expect(&scene.carol.flow, "ACK ");
        }
        scene.bed.send(&scene.carol.flow, &scene.carol.reply(&cancel, 200, "OK", ""));
        scene.assert_over();
    }
}

/// Attended (RFC 5589 §7), and without a word about it (RFC 4488); a lost ACK is made good.
#[test]
fn a_dialog_is_replaced_and_nobody_is_told() {
    let mut scene = Scene::phones();
    let refer = "Refer-To: <sip:carol@sip.example?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\nRefer-Sub: false\r\n";
    let accepted = scene.refer(refer, "SIP/2.0 202 ");
    assert_eq!(accepted.header("Refer-Sub"), "false");
    let invite = scene.bed.expect(&scene.carol.flow, "INVITE ");
    assert_eq!(invite.header("Replaces"), "x@y;to-tag=1;from-tag=2");
    assert_eq!(invite.header("Require"), "replaces");
    let (mut c, asked) = scene.carol_answers(&invite);
    scene.bob_agrees(&asked);
    scene.bed.expect(&scene.alice.flow, "BYE ");
    for (phone, request) in [(&scene.bob, &asked), (&scene.carol, &invite)] {
        let again = phone.reply(request, 200, "OK", &sdp(phone));
        scene.bed.send(&phone.flow, &again);
        scene.bed.expect(&phone.flow, "ACK ");
    }
    scene.hangs_up(false, &mut c);
    scene.bed.advance(Duration::from_secs(40));
    scene.bed.discard();
    scene.assert_over();
}

/// On whose account: a user calls wherever he could, a stranger users of ours and nobody else, and so does whoever says that he is a
/// user from somewhere else.
#[test]
fn the_referrer_calls_where_he_could_call() {
    let elsewhere = "sip:5@elsewhere.example";
    for (stranger, moved, target, code) in [
        (false, false, elsewhere, 100),
        (true, false, elsewhere, 403),
        (false, true, elsewhere, 403),
        (true, false, "sip:carol@sip.example", 100),
    ] {
        let mut scene = Scene::phones();
        if stranger {
            let mut eve = Phone::legacy(&mut scene.bed, "eve", "198.51.100.66:5060");
            let more = format!("Contact: <{}>\r\n", eve.contact);
            let invite = eve.request("INVITE", "sip:bob@sip.example", "call-2", &more, &legacy_sdp("eve"));
            let invite = Sip { text: invite.replace("sip:eve@sip.example", "sip:eve@evil.example") };
            scene.bed.send(&eve.flow, &invite.text);
            let offered = scene.bed.expect(&scene.bob.flow, "INVITE ");
            scene.bed.send(&scene.bob.flow, &scene.bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
            scene.bed.expect(&eve.flow, "SIP/2.0 100 ");
            let answered = scene.bed.expect(&eve.flow, "SIP/2.0 200 ");
            scene.a = Dialog::of_caller(&invite, &answered);
            scene.alice = eve;
        } else if moved {
            scene.alice.flow = scene.bed.flow(Protocol::Udp, "198.51.100.66:5060");
        }
        scene.refer(&format!("Refer-To: <{target}>\r\n"), "SIP/2.0 202 ");
        scene.told("100 Trying", false);
        if code == 403 {
            scene.told("403 Not relaying", true);
        } else {
            let trunk = scene.bed.flow(Protocol::Udp, "203.0.113.5:5060");
            let there = if target == elsewhere { trunk } else { scene.carol.flow };
            scene.bed.expect(&there, "INVITE ");
        }
        scene.bed.expect_silence();
    }
}

/// Nor is a number that he may not call reached by way of a transfer: it is barred, for him who transfers as for whoever dials.
#[test]
fn a_barred_number_is_barred_to_a_transfer() {
    let pattern = Regex::new("^[+]").expect("a pattern");
    for (target, code) in [("+1900123456", 403), ("+4930123456", 100)] {
        let mut scene = Scene::phones();
        let pstn = Pstn {
            through: Through::Gateway { host: "203.0.113.50".into(), port: None },
            pattern: pattern.clone(),
            groups: Vec::new(),
        };
        let premium = Premium::new(vec!["1900".into()], "premium".into());
        let policy = Policy { pstn: Some(pstn), premium, ..Policy::default() };
        *scene.bed.store.tables.borrow_mut() = Arc::new(Tables { policy, ..Tables::default() });
        scene.refer(&format!("Refer-To: <sip:{target}@sip.example>\r\n"), "SIP/2.0 202 ");
        scene.told("100 Trying", false);
        if code == 403 {
            scene.told("403 Forbidden", true);
            let barred = |event: &Event| match event {
                Event::Barred { user, number, .. } => Some((user.clone(), number.clone())),
                _ => None,
            };
            let told: Vec<_> = scene.bed.events.iter().filter_map(barred).collect();
            assert_eq!(told, [("alice@sip.example".to_owned(), target.to_owned())]);
        } else {
            let gateway = scene.bed.flow(Protocol::Udp, "203.0.113.50:5060");
            scene.bed.expect(&gateway, "INVITE ");
        }
        scene.bed.expect_silence();
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let mut scene = Scene::phones();
    for (more, heard) in [
        ("", "SIP/2.0 400 Bad Refer-To"),
        ("Refer-To: <tel:+431>\r\n", "SIP/2.0 416 "),
        ("Refer-To: <sip:carol@sip.example;method=BYE>\r\n", "SIP/2.0 603 Not an INVITE"),
    ] {
        scene.refer(more, heard);
    }
    scene.transfer();
    scene.refer("Refer-To: <sip:alice@sip.example>\r\n", "SIP/2.0 491 ");
    scene.bed.expect_silence();
}

/// `auto` carries out what the other end says that it cannot.
#[test]
fn a_phone_that_knows_refer_does_it_itself() {
    for (allow, mode, here) in [
        ("Allow: INVITE, ACK, BYE\r\n", Referral::Auto, true),
        ("Allow: INVITE, ACK, BYE, REFER\r\n", Referral::Auto, false),
        ("", Referral::Auto, false),
        ("Allow: INVITE, ACK, BYE\r\n", Referral::Pass, false),
        ("Allow: INVITE, ACK, BYE, REFER\r\n", Referral::Terminate, true),
    ] {
        let settings = Settings { refer: mode, ..settings() };
        let mut bed = Bed::with(&["alice", "bob", "carol"], settings, Vec::new());
        let mut alice = phone(&mut bed, "alice", false, 1);
        let bob = phone(&mut bed, "bob", false, 2);
        let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
        let offered = bed.expect(&bob.flow, "INVITE ");
        bed.send(&bob.flow, &with(&bob.reply(&offered, 200, "OK", &legacy_sdp("bob")), allow));
        let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
        let mut dialog = Dialog::of_caller(&invite, &answered);
        let refer = dialog.request(&mut alice, "REFER", "Refer-To: <sip:carol@sip.example>\r\n", "");
        bed.send(&alice.flow, &refer);
        if here {
            bed.expect(&alice.flow, "SIP/2.0 202 ");
        }
        assert_eq!(bed.try_receive(&bob.flow).is_some(), !here, "{allow} {mode:?}");
    }
}

/// A browser that is to call somebody does it itself where the other end is one too.
#[test]
fn of_two_browsers_the_other_one_calls() {
    let mut scene = Scene::of([true, true, false], true);
    let refer = scene.a.request(&mut scene.alice, "REFER", "Refer-To: <sip:carol@sip.example>\r\n", "");
    scene.bed.send(&scene.alice.flow, &refer);
    scene.bed.expect(&scene.bob.flow, "REFER ");
}

/// Bob, transferred to Carol, sends her on to Alice in his turn.
#[test]
fn whoever_was_transferred_may_transfer() {
    let mut scene = Scene::phones();
    let invite = scene.transfer();
    let (mut c, asked) = scene.carol_answers(&invite);
    scene.bob_agrees(&asked);
    scene.told("200 OK", true);
    let bye = scene.bed.expect(&scene.alice.flow, "BYE ");
    scene.bed.send(&scene.alice.flow, &scene.alice.reply(&bye, 200, "OK", ""));
    let refer = scene.b.request(&mut scene.bob, "REFER", "Refer-To: <sip:alice@sip.example>\r\n", "");
    scene.bed.send(&scene.bob.flow, &refer);
    scene.bed.expect(&scene.bob.flow, "SIP/2.0 202 ");
    let invite = scene.bed.expect(&scene.alice.flow, "INVITE ");
    let ok = scene.alice.reply(&invite, 200, "OK", &legacy_sdp("alice"));
    scene.bed.send(&scene.alice.flow, &ok);
    let asked = scene.bed.expect(&scene.carol.flow, "INVITE ");
    scene.bed.send(&scene.carol.flow, &scene.carol.reply(&asked, 200, "OK", &legacy_sdp("carol")));
    scene.bed.expect(&scene.carol.flow, "ACK ");
    assert!(scene.bed.expect(&scene.alice.flow, "ACK ").body().contains("o=carol"));
    scene.bed.discard();
    let bye = c.request(&mut scene.carol, "BYE", "", "");
    scene.bed.send(&scene.carol.flow, &bye);
    scene.bed.expect(&scene.carol.flow, "SIP/2.0 200 ");
    scene.bed.expect(&scene.alice.flow, "BYE ");
    scene.bed.advance(Duration::from_secs(60));
    assert!(scene.bed.media.is_clean() && scene.bed.proxy.calls() == 0);
}
