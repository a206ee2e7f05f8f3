//! Whole conversations with the proxy, written by the input: calls, answers, dialogs, registrations, and transfers that know the
//! tags, routes and aliases that the proxy has given out, and are wrong in one place or two. So the paths are walked that no
//! message out of the blue can reach: along Record-Route and alias, through the relay's offers and answers, and back.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use media_core::command::LegKind;
use signaling_core::settings::Referral;

use crate::sim::World;
use crate::sip::{Message, address};

/// Steps of one conversation.
const STEPS: usize = 24;
/// Conversations in one world.
const CONVERSATIONS: usize = 25;
/// After so long even a call that nobody ends is over.
const LONGEST: Duration = Duration::from_secs(45_000);

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const METHODS: [&str; 14] = [
    "ACK",
    "BYE",
    "INVITE",
    "UPDATE",
    "INFO",
    "PRACK",
    "REFER",
    "NOTIFY",
    "MESSAGE",
    "SUBSCRIBE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "X-ANY",
];
const CODES: [u16; 16] = [100, 180, 183, 199, 200, 200, 200, 202, 302, 401, 407, 486, 487, 491, 503, 603];
const SDP: [&str; 6] = [
    "",
    "v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
    "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=sendonly\r\nm=video 0 RTP/AVP 96\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\na=setup:actpass\r\na=rtpmap:111 opus/48000/2\r\n",
    "v=0\r\nm=audio\r\n",
    "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 65535 RTP/AVP 0\r\na=inactive\r\n",
];
/// Header lines that mean something to somebody.
const LINES: [&str; 20] = [
    "Require: 100rel",
    "Supported: 100rel, timer, outbound, gruu, path",
    "RSeq: 1",
    "RAck: 1 1 INVITE",
    "Session-Expires: 90;refresher=uac",
    "Session-Expires: 90;refresher=uas",
    "Refer-To: <sip:carol@sim.test>",
    "Refer-To: <sip:dave@sim.test?Replaces=c0%3Bto-tag%3D1%3Bfrom-tag%3D2>",
    "Refer-Sub: false",
    "Event: refer",
    "Subscription-State: active;expires=60",
    "Max-Breadth: 1",
    "Max-Forwards: 0",
    "Expires: 0",
    "Reason: SIP;cause=200",
    "Allow: INVITE, ACK, BYE, UPDATE",
    "Route: <sip:192.0.2.1;lr>",
    "Record-Route: <sip:10.0.1.2;lr>",
    "Contact: <sip:bob@10.0.1.2:5060;alias=10.0.1.2~5060~1>",
    "Via: SIP/2.0/UDP 10.0.1.1;branch=z9hG4bKmore",
];

/// What an input decides, octet by octet; when it is used up, all that is left to decide is 0.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn of<'t, T>(&mut self, things: &'t [T]) -> Option<&'t T> {
        let at = self.next();
        (!things.is_empty()).then(|| &things[at % things.len()])
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() % end.max(1)
    }
}

/// A conversation goes on without end or fault, each message of it is answered by a bounded number, and when all have been silent
/// for long enough nothing is left of it: no transaction, no call, no port of the relay.
pub fn dialogue(input: &[u8]) {
    thread_local!(static WORLD: RefCell<Option<(World, usize)>> = const { RefCell::new(None) });
    WORLD.with_borrow_mut(|kept| {
        let (mut world, count) = kept.take().unwrap_or_else(|| (world(), 0));
        world.seen.clear();
        let mut conversation =
            Conversation { world, choices: Choices(input), serial: count * 1000, said: Vec::new() };
        for _ in 0..STEPS {
            if conversation.choices.0.is_empty() {
                break;
            }
            conversation.step();
        }
        let mut world = conversation.world;
        if count < CONVERSATIONS {
            *kept = Some((world, count + 1));
            return;
        }
        world.recording = false;
        world.run(LONGEST);
        world.unreadable = 0;
        world.assert_gateway_is_clean("after a long silence");
        assert!(world.location.count().1 <= 80, "contacts are bounded");
    });
}

/// Two phones and two browsers, whose users are whom they say, and none of whom says anything that is not written.
fn world() -> World {
    let mut world = World::with(1, |settings| {
        settings.auth.required = false;
        settings.refer = Referral::Terminate;
        settings.pike.reqs_density_per_unit = 0;
        settings.nathelper.natping_interval = Duration::ZERO;
    });
    for (user, kind) in
        USERS.into_iter().zip([LegKind::Legacy, LegKind::Legacy, LegKind::Browser, LegKind::Browser])
    {
        world.add(user, kind);
    }
    world.register_all();
    world.phones.iter_mut().for_each(|phone| phone.deaf = true);
    world
}

struct Conversation<'a> {
    world: World,
    choices: Choices<'a>,
    serial: usize,
    /// Who has said what.
    said: Vec<(usize, String)>,
}

impl Conversation<'_> {
    fn step(&mut self) {
        let phone = self.choices.below(USERS.len());
        match self.choices.below(16) {
            0..3 => {
                let text = self.invite(phone);
                self.say(phone, text);
            }
            3..8 => self.answer(phone),
            8..12 => self.within(phone),
            12 => self.repeat(),
            13 => {
                let spans = [1, 200, 700, 5000, 40_000, 200_000, 600_000];
                let span = *self.choices.of(&spans).unwrap_or(&1);
                self.world.run(Duration::from_millis(span));
            }
            14 if phone >= 2 => {
                self.world.reopen(phone);
                self.register(phone);
            }
            _ => self.register(phone),
        }
    }

    /// Sends a message with what the input has changed in it.
    fn say(&mut self, phone: usize, text: String) {
        let text = self.changed(text);
        let before = self.world.seen.len();
        if self.world.phones[phone].connection.is_none() && phone >= 2 {
            return;
        }
        self.world.inject_bytes(phone, Bytes::from(text.clone()));
        self.world.run(Duration::from_millis(1));
        let answers = self.world.seen.len() - before;
        assert!(answers <= 60, "{answers} messages for one:\n{text}");
        self.said.push((phone, text));
        if self.said.len() > 16 {
            self.said.remove(0);
        }
    }

    fn name(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}{}", self.serial)
    }

    fn via(&mut self, phone: usize) -> String {
        let (branch, phone) = (self.name("z9hG4bKd"), &self.world.phones[phone]);
        format!("Via: SIP/2.0/{} {};branch={branch}\r\n", phone.protocol, phone.address)
    }

    fn invite(&mut self, phone: usize) -> String {
        let (to, sdp) = (*self.choices.of(&USERS).unwrap_or(&"bob"), *self.choices.of(&SDP).unwrap_or(&""));
        let (call, via) = (self.name("c"), self.via(phone));
        let (from, contact) = (USERS[phone], self.world.phones[phone].contact.clone());
        format!(
            "INVITE sip:{to}@sim.test SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: <sip:{from}@sim.test>;tag=f{call}\r\n\
             To: <sip:{to}@sim.test>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\nContact: <{contact}>\r\n{}",
            body(sdp)
        )
    }

    fn register(&mut self, phone: usize) {
        let (call, via) = (self.name("r"), self.via(phone));
        let (user, contact) = (USERS[phone], self.world.phones[phone].contact.clone());
        let expires = *self.choices.of(&["600", "600", "0", "60", "4294967295"]).unwrap_or(&"600");
        let text = format!(
            "REGISTER sip:sim.test SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: <sip:{user}@sim.test>;tag=f{call}\r\n\
             To: <sip:{user}@sim.test>\r\nCall-ID: {call}\r\nCSeq: 1 REGISTER\r\n\
             Contact: <{contact}>;expires={expires};reg-id=1;+sip.instance=\"<urn:uuid:{user}>\"\r\n\
             Supported: path,gruu,outbound\r\n{}",
            body("")
        );
        self.say(phone, text);
    }

    /// Answers one of the last requests that a phone was sent.
    fn answer(&mut self, phone: usize) {
        let sent = self.sent_to(phone, |message| message.status().is_none());
        let back = self.choices.below(3);
        let Some(request) = sent.into_iter().rev().nth(back) else { return };
        let code = *self.choices.of(&CODES).unwrap_or(&200);
        let sdp = *self.choices.of(&SDP).unwrap_or(&"");
        let tag = ["", "b", "c"][self.choices.below(3)];
        let mut text = format!("SIP/2.0 {code} Said\r\n");
        for name in ["Via", "Record-Route"] {
            for value in request.all(name) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let to = request.header("To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag=t{phone}{tag}") };
        let _ = write!(
            text,
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <{}>\r\n{}",
            request.header("From"),
            request.header("Call-ID"),
            request.header("CSeq"),
            self.world.phones[phone].contact,
            body(sdp)
        );
        self.say(phone, text);
    }

    /// A request in a dialog that a phone knows, or to a transaction of it.
    fn within(&mut self, phone: usize) {
        let known = self.sent_to(phone, |message| {
            let invite = message.cseq().1 == "INVITE";
            invite && message.status().is_none_or(|status| (101..400).contains(&status))
        });
        let back = self.choices.below(3);
        let Some(known) = known.into_iter().rev().nth(back) else { return };
        let method = *self.choices.of(&METHODS).unwrap_or(&"BYE");
        let caller = known.status().is_some();
        let (mut local, mut remote) = (known.header("From").to_owned(), known.header("To").to_owned());
        let mut routes: Vec<&str> = known.all("Record-Route").collect();
        if caller {
            routes.reverse();
        } else {
            std::mem::swap(&mut local, &mut remote);
            if !local.contains(";tag=") {
                let _ = write!(local, ";tag=t{phone}");
            }
        }
        let number = 1 + self.choices.below(4);
        let (via, sdp) = (self.via(phone), *self.choices.of(&SDP).unwrap_or(&""));
        let target = address(known.header("Contact"));
        let mut text = format!("{method} {target} SIP/2.0\r\n{via}");
        for route in routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        let _ = write!(
            text,
            "Max-Forwards: 70\r\nFrom: {local}\r\nTo: {remote}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\nContact: <{}>\r\n{}",
            known.header("Call-ID"),
            self.world.phones[phone].contact,
            body(sdp)
        );
        if method == "REFER" {
            text = text.replacen("Contact:", "Refer-To: <sip:dave@sim.test>\r\nContact:", 1);
        }
        self.say(phone, text);
    }

    /// Something is said again, perhaps by somebody else, or as its own CANCEL or ACK.
    fn repeat(&mut self) {
        let Some((phone, text)) = self.choices.of(&self.said).cloned() else { return };
        let (phone, text) = match self.choices.below(5) {
            0 => (self.choices.below(USERS.len()), text),
            1 => (phone, text.replacen("INVITE ", "CANCEL ", 1).replacen(" INVITE\r\n", " CANCEL\r\n", 1)),
            2 => (phone, text.replacen("INVITE ", "ACK ", 1).replacen(" INVITE\r\n", " ACK\r\n", 1)),
            _ => (phone, text),
        };
        self.say(phone, text);
    }

    fn sent_to(&self, phone: usize, wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
        let seen = self.world.seen.iter().filter(|seen| seen.phone == phone && !seen.to_proxy);
        seen.map(|seen| &seen.message).filter(|message| wanted(message)).cloned().collect()
    }

    /// Most messages are right; some lack a line, have one too many, or one with something else in it.
    fn changed(&mut self, text: String) -> String {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        for _ in 0..2 {
            let at = self.choices.below(lines.len());
            match self.choices.below(12) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[at].clone()),
                2..5 => {
                    let line = *self.choices.of(&LINES).unwrap_or(&"");
                    lines.insert(at.max(1), line.to_owned());
                }
                5 => {
                    let octet = self.choices.below(128) as u8;
                    let line = &mut lines[at];
                    let place = octet as usize % (line.len() + 1);
                    if line.is_char_boundary(place) {
                        line.insert(place, char::from(octet));
                    }
                }
                6 => {
                    let keep = self.choices.next();
                    let line = &mut lines[at];
                    let place = keep % (line.len() + 1);
                    if line.is_char_boundary(place) {
                        line.truncate(place);
                    }
                }
                _ => {}
            }
            if lines.is_empty() {
                break;
            }
        }
        format!("{}\r\n\r\n{body}", lines.join("\r\n"))
    }
}

fn body(sdp: &str) -> String {
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len())
}
