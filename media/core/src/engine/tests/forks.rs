//! One caller, several branches: by SDP, through the commands.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::bed::{FakeSockets, settings};
use crate::command::{Command, Delete, Exchange, LegKind, Replace, Reply, Side};
use crate::engine::Engine;
use crate::packet::Packet;
use crate::rtp::Header;

const CALLER: &str = "192.0.2.1:4000";
const FIRST: &str = "203.0.113.1:5000";
const SECOND: &str = "203.0.113.2:6000";

struct Fork {
    engine: Engine<FakeSockets>,
    sockets: FakeSockets,
    now: Instant,
    /// Where the relay wants packets of each phone.
    relay_port: HashMap<&'static str, u16>,
    sequence_number: u16,
}

fn sdp(phone: &str) -> String {
    let (ip, port) = phone.split_once(':').expect("an address");
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    )
}

fn port_of(sdp: &[u8]) -> u16 {
    let text = std::str::from_utf8(sdp).expect("text");
    let line = text.lines().find(|line| line.starts_with("m=audio")).expect("audio");
    line.split(' ').nth(1).and_then(|port| port.parse().ok()).expect("a port")
}

impl Fork {
    fn new() -> Fork {
        let sockets = FakeSockets::default();
        let now = crate::testing::start();
        let seed = rand::RngExt::random(&mut StdRng::seed_from_u64(1));
        let engine = Engine::new(settings(), sockets.clone(), seed, now, Duration::ZERO).expect("an engine");
        let mut fork = Fork { engine, sockets, now, relay_port: HashMap::new(), sequence_number: 0 };
        for (phone, branch) in [(FIRST, "b1"), (SECOND, "b2")] {
            let offer = fork.exchange(true, CALLER, phone, branch);
            fork.relay_port.insert(phone, offer);
        }
        fork
    }

    /// Returns the port in the SDP that goes to the other end.
    fn exchange(&mut self, offer: bool, from: &'static str, to: &'static str, branch: &str) -> u16 {
        let legacy = || Side { kind: Some(LegKind::Legacy), ..Side::default() };
        let exchange = Box::new(Exchange {
            call_id: "fork".to_owned(),
            from_tag: "caller".to_owned(),
            to_tag: (!offer).then(|| format!("to-{branch}")),
            via_branch: Some(branch.to_owned()),
            sdp: sdp(from).into_bytes().into(),
            sender: legacy(),
            receiver: legacy(),
            replace: Replace::ALL,
            ..Exchange::default()
        });
        let command = if offer { Command::Offer(exchange) } else { Command::Answer(exchange) };
        match self.engine.handle_command(self.now, &command) {
            Reply::Sdp { sdp, .. } => {
                let port = port_of(&sdp);
                self.relay_port.insert(to, port);
                port
            }
            other => panic!("no SDP: {other:?}"),
        }
    }

    /// `phone` says something; returns who hears it.
    fn say(&mut self, phone: &'static str) -> Vec<SocketAddr> {
        self.sequence_number += 1;
        let mut packet = Packet::new();
        let ssrc = self.relay_port[phone].into();
        Header::new(0, self.sequence_number, 160, ssrc).start(&mut packet, b"hello").expect("it fits");
        let socket = self.sockets.at(self.relay_port[phone]).expect("open");
        self.engine.handle_datagram(self.now, socket, phone.parse().expect("an address"), packet);
        self.now += Duration::from_millis(20);
        let heard = std::iter::from_fn(|| self.engine.poll_transmit()).map(|transmit| transmit.to).collect();
        while self.engine.poll_event().is_some() {}
        heard
    }
}

fn at(phone: &str) -> Vec<SocketAddr> {
    vec![phone.parse().expect("an address")]
}

#[test]
fn the_branch_that_sends_is_heard_and_the_one_that_answers_takes_over() {
    let mut fork = Fork::new();
    let first = fork.exchange(false, FIRST, CALLER, "b1");
    assert_eq!(fork.say(FIRST), at(CALLER), "early media");
    assert_eq!(fork.say(CALLER), at(FIRST));
    let second = fork.exchange(false, SECOND, CALLER, "b2");
    assert_eq!(first, second, "the caller sees one and the same port");
    assert_eq!(fork.say(FIRST), at(CALLER), "until the other speaks");
    assert_eq!(fork.say(SECOND), at(CALLER), "who answered last is heard at once");
    assert_eq!(fork.say(FIRST), [], "and nobody else");
    assert_eq!(fork.say(CALLER), at(SECOND), "the caller speaks to whom it hears");

    let sockets = fork.sockets.open_count();
    let delete =
        Delete { call_id: "fork".to_owned(), via_branch: Some("b1".to_owned()), ..Delete::default() };
    fork.engine.handle_command(fork.now, &Command::Delete(delete));
    assert_eq!(fork.sockets.open_count(), sockets - 2, "the branch is freed, and only it");
    assert_eq!(fork.say(SECOND), at(CALLER));
    assert_eq!(fork.say(CALLER), at(SECOND));
    let delete = Delete { call_id: "fork".to_owned(), ..Delete::default() };
    fork.engine.handle_command(fork.now, &Command::Delete(delete));
    assert_eq!((fork.engine.calls.len(), fork.engine.paths.legs.len()), (0, 0));
    assert_eq!(fork.sockets.open_count(), 2, "the shared ports stay");
}

#[test]
fn a_silent_branch_gives_way() {
    let mut fork = Fork::new();
    fork.exchange(false, FIRST, CALLER, "b1");
    fork.exchange(false, SECOND, CALLER, "b2");
    assert_eq!(fork.say(SECOND), at(CALLER));
    assert_eq!(fork.say(FIRST), []);
    fork.now += Duration::from_secs(2);
    assert_eq!(fork.say(FIRST), at(CALLER));
}

#[test]
fn refused_offers_leave_nothing_behind() {
    let mut fork = Fork::new();
    let (calls, legs, sockets) =
        (fork.engine.calls.len(), fork.engine.paths.legs.len(), fork.sockets.open_count());
    for sdp in ["", "v=0", "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP\r\n"] {
        for call_id in ["fork", "other"] {
            let exchange = Exchange {
                call_id: call_id.to_owned(),
                from_tag: "caller".to_owned(),
                via_branch: Some("b9".to_owned()),
                sdp: sdp.as_bytes().to_vec().into(),
                ..Exchange::default()
            };
            let reply = fork.engine.handle_command(fork.now, &Command::Offer(Box::new(exchange)));
            assert!(matches!(reply, Reply::Error(_)), "{sdp:?}: {reply:?}");
        }
    }
    assert_eq!(
        (calls, legs, sockets),
        (fork.engine.calls.len(), fork.engine.paths.legs.len(), fork.sockets.open_count())
    );
}
