//! Calls of ends that are no browsers, led over ng: what passes, how it is protected, and what re-offers leave as it is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::bed::{FakeSockets, certificate, settings};
use crate::command::{
    Cause, Command, Delete, Dtls as DtlsWish, Exchange, Gate, Gated, Ice, Reply, TransportProtocol,
};
use crate::dtls::{Certificate, Dtls, DtlsConfig, DtlsEvent, Fingerprint};
use crate::engine::{Engine, EventKind, Interface, Settings};
use crate::ice::{Credentials, IceAgent, IceEvent};
use crate::packet::Packet;
use crate::rtp::Header;
use crate::sdp::{Crypto, Description};
use crate::srtp::{DtlsRole, MasterKey, Profile, SrtpContext};

pub(super) const A: &str = "192.0.2.1:4000";
pub(super) const B: &str = "203.0.113.2:5000";

/// A controller, and the network around the relay.
pub(super) struct Ng {
    pub(super) engine: Engine<FakeSockets>,
    pub(super) sockets: FakeSockets,
    pub(super) now: Instant,
    /// Our port towards each end.
    pub(super) ports: HashMap<&'static str, u16>,
}

/// What left the relay: from which port, to where, what.
pub(super) type Sent = (u16, SocketAddr, Vec<u8>);

pub(super) fn sdp(end: &str, protocol: &str, lines: &str) -> String {
    let (ip, port) = end.rsplit_once(':').expect("an address");
    let lines = lines.replace('\n', "\r\n");
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {protocol} 0\r\n{lines}"
    )
}

impl Ng {
    pub(super) fn new(settings: Settings) -> Ng {
        let sockets = FakeSockets::default();
        let now = crate::testing::start();
        let seed = rand::RngExt::random(&mut StdRng::seed_from_u64(1));
        let engine = Engine::new(settings, sockets.clone(), seed, now, Duration::ZERO).expect("an engine");
        Ng { engine, sockets, now, ports: HashMap::new() }
    }

    pub(super) fn command(&mut self, offer: bool, sdp: &str, wish: impl FnOnce(&mut Exchange)) -> Reply {
        let mut exchange = Exchange {
            call_id: "ng".to_owned(),
            from_tag: "a".to_owned(),
            to_tag: (!offer).then(|| "b".to_owned()),
            sdp: sdp.to_owned().into_bytes().into(),
            ..Exchange::default()
        };
        exchange.flags.trust_address = true;
        wish(&mut exchange);
        let exchange = Box::new(exchange);
        let command = if offer { Command::Offer(exchange) } else { Command::Answer(exchange) };
        self.engine.handle_command(self.now, &command)
    }

    /// What the other end gets; `to` is that end.
    pub(super) fn exchange(
        &mut self,
        offer: bool,
        to: &'static str,
        sdp: &str,
        wish: impl FnOnce(&mut Exchange),
    ) -> Description {
        match self.command(offer, sdp, wish) {
            Reply::Sdp { sdp, .. } => {
                let description = Description::parse(sdp).expect("SDP");
                self.ports.insert(to, description.media[0].port);
                description
            }
            other => panic!("no SDP: {other:?}"),
        }
    }

    /// An offer of A and the answer of B; what B and A get.
    pub(super) fn call(
        &mut self,
        [offer, answer]: [&str; 2],
        wish: impl Fn(&mut Exchange),
    ) -> [Description; 2] {
        [self.exchange(true, B, offer, &wish), self.exchange(false, A, answer, |_| {})]
    }

    pub(super) fn send(&mut self, port: u16, from: SocketAddr, octets: &[u8]) -> Vec<Sent> {
        let mut packet = Packet::new();
        packet.fill(octets).expect("it fits");
        let socket = self.sockets.at_family(port, from.is_ipv6()).expect("open");
        self.engine.handle_datagram(self.now, socket, from, packet);
        self.sent()
    }

    /// What `end` says to the port that it was told.
    pub(super) fn say(&mut self, end: &'static str, octets: &[u8]) -> Vec<Sent> {
        self.send(self.ports[end], end.parse().expect("an address"), octets)
    }

    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let sent = std::iter::from_fn(|| self.engine.poll_transmit());
        let sent: Vec<Sent> =
            sent.map(|it| (self.sockets.port(it.socket), it.to, it.packet.as_slice().to_vec())).collect();
        sent
    }

    pub(super) fn events(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.engine.poll_event()).map(|event| event.kind).collect()
    }

    pub(super) fn pass(&mut self, time: Duration) -> Vec<Sent> {
        self.now += time;
        self.engine.handle_timeout(self.now);
        self.sent()
    }
}

pub(super) fn rtp(payload_type: u8, sequence_number: u16) -> Vec<u8> {
    let mut packet = Packet::new();
    Header::new(payload_type, sequence_number, 160, 0x1234).start(&mut packet, b"hello").expect("it fits");
    packet.as_slice().to_vec()
}

pub(super) fn protect(srtp: &mut SrtpContext, octets: &[u8]) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.fill(octets).expect("it fits");
    srtp.protect(&mut packet).expect("protected");
    packet.as_slice().to_vec()
}

pub(super) fn unprotect(srtp: &mut SrtpContext, octets: &[u8]) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.fill(octets).expect("it fits");
    srtp.unprotect(&mut packet).expect("authentic");
    packet.as_slice().to_vec()
}

/// The far end of a line with keys: `ours` is what it wrote, `theirs` what the relay did.
pub(super) fn context(ours: &str, theirs: &Crypto) -> SrtpContext {
    let profile = Profile::from_sdes_name(&theirs.suite).expect("known");
    let key = |text: &str| MasterKey::from_sdes(profile, text).expect("a key");
    SrtpContext::new(&key(ours), &key(&theirs.key))
}

#[test]
fn packets_keep_their_names_and_numbers_and_rtcp_passes() {
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |_| {});
    // Out of order, twice, under a payload type that nobody named: all of it is the ends' business.
    for (payload_type, number) in [(0, 65_000), (0, 3), (0, 3), (99, 40_000)] {
        let packet = rtp(payload_type, number);
        assert_eq!(ng.say(A, &packet), [(ng.ports[B], B.parse().unwrap(), packet.clone())]);
        assert_eq!(ng.say(B, &packet), [(ng.ports[A], A.parse().unwrap(), packet)]);
    }
    let report = [0x80, 201, 0, 1, 0, 0, 0x12, 0x34];
    let from = "192.0.2.1:4001".parse().unwrap();
    let to = "203.0.113.2:5001".parse().unwrap();
    assert_eq!(ng.send(ng.ports[A] + 1, from, &report), [(ng.ports[B] + 1, to, report.to_vec())]);
    assert_eq!(ng.pass(Duration::from_secs(20)), [], "and the relay adds none");
}

#[test]
fn a_stranger_is_not_heard_and_not_spoken_to() {
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |_| {});
    ng.say(A, &rtp(0, 1));
    assert_eq!(ng.send(ng.ports[A], "198.51.100.9:9".parse().unwrap(), &rtp(0, 2)), []);
    assert_eq!(ng.say(B, &rtp(0, 1))[0].1, A.parse().unwrap());
}

#[test]
fn sdes_on_one_side_with_every_suite() {
    for profile in Profile::ALL {
        let mut ng = Ng::new(settings());
        let offer = ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| {
            it.transport_protocol = Some(TransportProtocol::RtpSavp);
            it.dtls = Some(DtlsWish::Off);
            it.sdes.only = vec![profile.sdes_name().to_owned()];
        });
        let [ours] = offer.media[0].crypto.as_slice() else { panic!("one suite: {offer:?}") };
        let mut rng = StdRng::seed_from_u64(5);
        let key = MasterKey::generate(profile, &mut rng).to_sdes();
        let answer = format!("a=crypto:{} {} inline:{key}\n", ours.tag, ours.suite);
        let heard = ng.exchange(false, A, &sdp(B, "RTP/SAVP", &answer), |_| {});
        assert_eq!(heard.media[0].protocol, "RTP/AVP");
        assert!(heard.media[0].crypto.is_empty());

        let mut b = context(&key, ours);
        let sent = ng.say(A, &rtp(0, 65_535));
        assert_ne!(sent[0].2, rtp(0, 65_535), "{profile:?}");
        assert_eq!(unprotect(&mut b, &sent[0].2), rtp(0, 65_535));
        assert_eq!(ng.say(B, &protect(&mut b, &rtp(0, 7)))[0].2, rtp(0, 7));
        assert_eq!(ng.say(B, &rtp(0, 8)), [], "nothing passes unprotected");

        // A re-INVITE with the same keys goes on counting.
        let offer = ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| {
            it.dtls = Some(DtlsWish::Off);
            it.sdes.only = vec![profile.sdes_name().to_owned()];
        });
        assert_eq!(offer.media[0].crypto, std::slice::from_ref(ours));
        ng.exchange(false, A, &sdp(B, "RTP/SAVP", &answer), |_| {});
        assert_eq!(unprotect(&mut b, &ng.say(A, &rtp(0, 0))[0].2), rtp(0, 0), "after the wrap");
    }
}

/// RFC 4568 §6.3: what a phone does without is agreed on line by line; without authentication only where the controller says so.
#[test]
fn session_parameters_are_agreed_on() {
    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let call = |parameters: &str, wish: &dyn Fn(&mut Exchange)| {
        let mut ng = Ng::new(settings());
        let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{parameters}\n");
        ng.exchange(true, B, &sdp(A, "RTP/SAVP", &crypto), |it| {
            (it.transport_protocol, it.dtls) = (Some(TransportProtocol::RtpAvp), Some(DtlsWish::Off));
            wish(it);
        });
        let answer = ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |it| it.dtls = Some(DtlsWish::Off));
        (answer.media[0].crypto.first().map(|crypto| crypto.parameters.join(" ")), ng)
    };
    for parameters in ["", " UNENCRYPTED_SRTP", " UNENCRYPTED_SRTCP", " UNENCRYPTED_SRTP UNENCRYPTED_SRTCP"] {
        let (told, mut ng) = call(parameters, &|_| {});
        assert_eq!(told.as_deref(), Some(parameters.trim()));
        let sent = &ng.say(B, &rtp(0, 1))[0].2;
        let clear = parameters.contains("UNENCRYPTED_SRTP ") || parameters.ends_with("UNENCRYPTED_SRTP");
        assert_eq!(sent.starts_with(&rtp(0, 1)), clear, "{parameters}");
        assert_eq!(sent.len(), rtp(0, 1).len() + 10, "it has its tag");
    }
    let (told, mut ng) = call(" UNAUTHENTICATED_SRTP", &|_| {});
    assert_eq!((told, ng.say(B, &rtp(0, 1))), (None, vec![]), "nobody has asked for that");
    let (told, mut ng) = call(" UNAUTHENTICATED_SRTP", &|it| it.sdes.unauthenticated_srtp = Some(true));
    assert_eq!(told.as_deref(), Some("UNAUTHENTICATED_SRTP"));
    assert_eq!(ng.say(B, &rtp(0, 1))[0].2.len(), rtp(0, 1).len());

    // Towards an end that is offered keys of ours: as the controller says, and as is answered.
    let mut ng = Ng::new(settings());
    let offer = ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| {
        (it.transport_protocol, it.dtls) = (Some(TransportProtocol::RtpSavp), Some(DtlsWish::Off));
        it.sdes.unencrypted_srtcp = Some(true);
    });
    let all = &offer.media[0].crypto;
    assert!(all.len() > 2);
    for crypto in all {
        let expected = if crypto.suite.starts_with("AEAD") { 0 } else { 1 };
        assert_eq!(crypto.parameters.len(), expected, "{}", crypto.suite);
    }
    let ours = all.iter().find(|crypto| crypto.suite == "AES_CM_128_HMAC_SHA1_80").unwrap();
    let answer =
        |parameters: &str| format!("a=crypto:{} {} inline:{KEY}{parameters}\n", ours.tag, ours.suite);
    let refused = ng.command(false, &sdp(B, "RTP/SAVP", &answer("")), |_| {});
    assert!(matches!(refused, Reply::Error(_)), "an answer without it means another call: {refused:?}");
    ng.exchange(false, A, &sdp(B, "RTP/SAVP", &answer(" UNENCRYPTED_SRTCP")), |_| {});
    assert_eq!(ng.say(A, &rtp(0, 1)).len(), 1);
}

/// A DTLS end on one port.
pub(super) struct Secure {
    pub(super) certificate: Certificate,
    pub(super) dtls: Dtls,
    pub(super) srtp: Option<SrtpContext>,
}

impl Secure {
    pub(super) fn new(now: Instant, role: DtlsRole) -> Secure {
        let certificate = certificate();
        let dtls = Dtls::new(&DtlsConfig::new(false).expect("a configuration"), &certificate, role, now);
        Secure { certificate, dtls, srtp: None }
    }

    pub(super) fn lines(&self, setup: &str) -> String {
        format!("a=setup:{setup}\na=fingerprint:sha-256 {}\n", self.certificate.fingerprint())
    }

    pub(super) fn expect(&mut self, description: &Description) {
        let print = &description.media[0].fingerprints[0];
        self.dtls
            .set_fingerprints(&[Fingerprint { hash: print.algorithm.clone(), digest: print.digest.clone() }]);
    }

    /// Takes a record of the relay and returns its own.
    pub(super) fn take(&mut self, now: Instant, record: &[u8]) -> Vec<Vec<u8>> {
        assert!(self.dtls.handle_datagram(now, record).is_none());
        let mut out = Vec::new();
        while let Some(event) = self.dtls.poll(|record| out.push(record.to_vec())) {
            match event {
                DtlsEvent::Connected((send, receive)) => self.srtp = Some(SrtpContext::new(&send, &receive)),
                DtlsEvent::Failed(why) => panic!("{why}"),
                DtlsEvent::Closed => panic!("closed"),
            }
        }
        out
    }
}

/// A is a DTLS gateway without ICE, B a plain phone: connects them.
pub(super) fn dtls_call(ng: &mut Ng, a: &mut Secure) {
    let offer = sdp(A, "UDP/TLS/RTP/SAVP", &a.lines("actpass"));
    let [_, answer] = ng.call([&offer, &sdp(B, "RTP/AVP", "")], |it| {
        it.transport_protocol = Some(TransportProtocol::RtpAvp);
    });
    a.expect(&answer);
    let mut records = ng.sent();
    for _ in 0..50 {
        if a.srtp.is_some() && ng.events().contains(&EventKind::DtlsConnected) {
            return;
        }
        let mut next = Vec::new();
        for (_, to, record) in std::mem::take(&mut records) {
            assert_eq!(to, A.parse().unwrap());
            for own in a.take(ng.now, &record) {
                next.extend(ng.say(A, &own));
            }
        }
        records = next;
    }
    panic!("no association");
}

#[test]
fn dtls_without_ice() {
    let mut ng = Ng::new(settings());
    let mut a = Secure::new(ng.now, DtlsRole::Server);
    dtls_call(&mut ng, &mut a);
    let srtp = a.srtp.as_mut().unwrap();
    assert_eq!(ng.say(A, &protect(srtp, &rtp(0, 1)))[0].2, rtp(0, 1));
    assert_eq!(unprotect(srtp, &ng.say(B, &rtp(0, 9))[0].2), rtp(0, 9));
    assert_eq!(ng.say(A, &rtp(0, 2)), []);
}

#[test]
fn ice_on_own_ports_of_both_families() {
    let interface = |address: &str| Interface {
        name: "default".to_owned(),
        address: address.parse().unwrap(),
        advertised: address.parse().unwrap(),
    };
    let interfaces = vec![interface("198.51.100.1"), interface("2001:db8::1")];
    let mut ng = Ng::new(Settings { interfaces, ..settings() });
    let offer = ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| it.ice = Some(Ice::Force));
    let ours = offer.media[0].ice.clone().expect("ICE");
    let shown: Vec<_> = ours.candidates.iter().map(|it| (it.component, it.address.is_ipv6())).collect();
    assert_eq!(shown, [(1, false), (1, true), (2, false), (2, true)]);

    let peer: SocketAddr = "[2001:db8::99]:6000".parse().unwrap();
    let credentials = Credentials::random(&mut StdRng::seed_from_u64(3));
    let mut agent = IceAgent::new(&credentials, peer, false, false, 7).expect("an agent");
    let lines = format!("a=ice-ufrag:{}\na=ice-pwd:{}\n", credentials.ufrag, credentials.pwd);
    ng.exchange(false, A, &sdp(B, "RTP/AVP", &lines), |_| {});
    agent.set_remote_credentials(ng.now, &Credentials { ufrag: ours.ufrag, pwd: ours.pwd });
    for candidate in ours.candidates.iter().filter(|it| it.component == 1 && it.address.is_ipv6()) {
        agent.add_remote_candidate(&candidate.to_string());
    }
    let mut selected = false;
    let mut inbox: Vec<Sent> = Vec::new();
    for _ in 0..400 {
        ng.now += Duration::from_millis(20);
        agent.handle_timeout(ng.now);
        for (_, to, octets) in std::mem::take(&mut inbox).into_iter().filter(|(_, to, _)| *to == peer) {
            let from = SocketAddr::new("2001:db8::1".parse().unwrap(), ng.ports[B]);
            assert_eq!(to, peer);
            agent.handle_datagram(ng.now, from, &octets);
        }
        while let Some((to, octets)) = agent.poll_transmit() {
            assert_eq!(to.port(), ng.ports[B]);
            inbox.extend(ng.send(ng.ports[B], peer, &octets));
        }
        ng.engine.handle_timeout(ng.now);
        inbox.extend(ng.sent());
        selected |=
            std::iter::from_fn(|| agent.poll_event()).any(|event| matches!(event, IceEvent::Selected(_)));
        if selected && ng.say(A, &rtp(0, 1)).iter().any(|(_, to, _)| *to == peer) {
            break;
        }
    }
    let sent = ng.say(A, &rtp(0, 2));
    assert_eq!((sent[0].1, sent[0].2.clone()), (peer, rtp(0, 2)), "by the family that ICE selected");
    assert_eq!(ng.send(ng.ports[B], peer, &rtp(0, 3))[0].1, A.parse().unwrap());
    let sockets = ng.sockets.open_count();
    ng.engine.handle_command(ng.now, &Command::Delete(Delete { call_id: "ng".into(), ..Delete::default() }));
    assert_eq!(ng.sockets.open_count(), sockets - 6, "a pair for A, two for B");
}

pub(super) fn whole(what: Gated, closed: bool) -> Gate {
    Gate {
        call_id: "ng".to_owned(),
        from_tag: None,
        label: None,
        address: None,
        all: false,
        what,
        closed: Some(closed),
        screening: None,
        delay: None,
        warnings: Vec::new(),
    }
}

#[test]
fn a_call_is_held_back_beside_its_ends() {
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |_| {});
    let command = |ng: &mut Ng, gate: Gate| {
        let reply = ng.engine.handle_command(ng.now, &Command::Gate(gate));
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    };
    let passes = |ng: &mut Ng| [A, B].map(|end| !ng.say(end, &rtp(0, 1)).is_empty());
    let address = || Some(B.parse::<SocketAddr>().unwrap().ip());
    command(&mut ng, Gate { address: address(), ..whole(Gated::Media, true) });
    assert_eq!(passes(&mut ng), [true, false], "the end of this address");
    command(&mut ng, whole(Gated::Media, true));
    assert_eq!(passes(&mut ng), [false, false]);
    // An end that comes later is in the call too.
    let d = "198.51.100.4:7000";
    ng.exchange(true, d, &sdp(A, "RTP/AVP", ""), |it| it.via_branch = Some("2".to_owned()));
    ng.exchange(false, A, &sdp(d, "RTP/AVP", ""), |it| {
        (it.via_branch, it.to_tag) = (Some("2".to_owned()), Some("d".to_owned()));
    });
    assert_eq!(ng.say(d, &rtp(0, 1)), []);
    command(&mut ng, whole(Gated::Media, false));
    assert_eq!(ng.say(B, &rtp(0, 2)), [], "what was held back for its own sake stays so");
    command(&mut ng, Gate { all: true, ..whole(Gated::Media, false) });
    assert!(!ng.say(d, &rtp(0, 3)).is_empty());
    ng.pass(Duration::from_secs(2));
    assert!(!ng.say(B, &rtp(0, 4)).is_empty());
}

#[test]
fn what_an_end_sends_is_held_back_and_let_pass_again() {
    let mut ng = Ng::new(settings());
    let events = "a=rtpmap:101 telephone-event/8000\n";
    let lines = |end: &str| sdp(end, "RTP/AVP", events).replace("AVP 0", "AVP 0 101 18");
    ng.call([&lines(A), &lines(B)], |_| {});
    let gate = |ng: &mut Ng, what, closed| {
        let from_tag = Some("a".to_owned());
        let gate = Gate { from_tag, ..whole(what, closed) };
        ng.engine.handle_command(ng.now, &Command::Gate(gate))
    };
    let event = || {
        let mut event = rtp(101, 9);
        event.truncate(12);
        event.extend_from_slice(&[5, 10, 0, 160]);
        event
    };
    // What is held back, then whether sound, its silence, G.729 and events of A pass.
    for (what, passes) in [
        (Gated::Dtmf, [true, true, true, false]),
        (Gated::Media, [false, false, false, true]),
        (Gated::Sound, [true, false, false, true]),
    ] {
        assert_eq!(gate(&mut ng, what, true), Reply::Done { warnings: Vec::new() });
        let sound = ng.say(A, &rtp(0, 1));
        let others = [ng.say(A, &rtp(18, 2)), ng.say(A, &event())];
        let heard = sound.first().map(|sent| sent.2[12..].to_vec());
        let is =
            [heard.is_some(), heard == Some(b"hello".to_vec()), !others[0].is_empty(), !others[1].is_empty()];
        assert_eq!(is, passes, "{what:?}");
        if what == Gated::Sound {
            assert_eq!(heard, Some(vec![0xff; 5]));
        }
        assert_eq!(ng.say(B, &rtp(0, 1)).len(), 1, "the other way is open");
        gate(&mut ng, what, false);
        assert_eq!(ng.say(A, &rtp(0, 3))[0].2, rtp(0, 3));
    }
    let nobody = Gate { from_tag: Some("z".to_owned()), ..whole(Gated::Media, true) };
    let reply = ng.engine.handle_command(ng.now, &Command::Gate(nobody));
    assert!(matches!(&reply, Reply::Error(failure) if failure.cause == Cause::UnknownCall), "{reply:?}");
}

#[test]
fn what_an_end_sends_goes_on_later_where_that_is_wished() {
    let ms = Duration::from_millis;
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |it| it.delay = Some(ms(60)));
    assert_eq!(ng.say(A, &rtp(0, 1)), []);
    assert_eq!(ng.say(B, &rtp(0, 1)).len(), 1, "the other way is not delayed");
    assert_eq!(ng.pass(ms(20)), []);
    assert_eq!(ng.say(A, &rtp(0, 2)), []);
    let sent: Vec<_> = [ng.pass(ms(39)), ng.pass(ms(1)), ng.pass(ms(20))].concat();
    assert_eq!(sent.iter().map(|sent| sent.2.clone()).collect::<Vec<_>>(), [rtp(0, 1), rtp(0, 2)]);
    assert_eq!(ng.say(A, &rtp(0, 3)), []);
    // The end of it lets go what is still held.
    let gate = Gate {
        from_tag: Some("a".to_owned()),
        closed: None,
        delay: Some(Duration::ZERO),
        ..whole(Gated::Dtmf, false)
    };
    ng.engine.handle_command(ng.now, &Command::Gate(gate));
    assert_eq!(ng.sent()[0].2, rtp(0, 3));
    assert_eq!(ng.say(A, &rtp(0, 4)).len(), 1);
    // A call that ends takes what is held with it.
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |it| it.delay = Some(ms(60)));
    assert_eq!(ng.say(A, &rtp(0, 5)), []);
    ng.engine.handle_command(ng.now, &Command::Delete(Delete { call_id: "ng".into(), ..Delete::default() }));
    assert_eq!(ng.pass(ms(1000)), []);
}

#[test]
fn attributes_are_edited_once_and_stay_attributes() {
    let mut ng = Ng::new(settings());
    let Reply::Sdp { sdp, .. } = ng.command(true, &sdp(A, "RTP/AVP", "a=x-old:1\na=x-gone\n"), |it| {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        it.sdp_attr.audio.substitute = vec![pair("x-old:1", "x-new"), pair("x-new", "x-old:1")];
        it.sdp_attr.audio.remove = vec!["x-gone".to_owned(), "sendrecv".to_owned()];
        it.sdp_attr.audio.add = vec!["x-added".to_owned()];
        it.sdp_attr.global.add = vec!["x-session".to_owned()];
    }) else {
        panic!("no SDP")
    };
    let text = String::from_utf8(sdp.to_vec()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("a=")).collect();
    let port = format!("a=rtcp:{}", Description::parse(sdp).unwrap().media[0].port + 1);
    assert_eq!(lines, ["a=x-session", "a=x-new", "a=rtpmap:0 PCMU/8000", port.as_str(), "a=x-added"]);
}

#[test]
fn t38_passes_untouched() {
    let mut ng = Ng::new(settings());
    let image = |end: &str| sdp(end, "x", "").replace("m=audio", "m=image").replace("x 0", "udptl t38");
    let [offer, _] = ng.call([&image(A), &image(B)], |_| {});
    assert_eq!((offer.media[0].protocol.as_str(), offer.media[0].rtcp), ("udptl", None));
    let fax = [0, 0, 1, 0, 0, 1, 1, 0];
    assert_eq!(ng.say(A, &fax), [(ng.ports[B], B.parse().unwrap(), fax.to_vec())]);
    assert_eq!(ng.say(B, &fax), [(ng.ports[A], A.parse().unwrap(), fax.to_vec())]);
    assert_eq!(ng.send(ng.ports[A], "198.51.100.9:9".parse().unwrap(), &fax), []);
}

#[test]
fn hostile_descriptions_are_refused_and_leave_nothing() {
    let mut ng = Ng::new(settings());
    let sockets = ng.sockets.open_count();
    let long = format!("a=x:{}\n", "y".repeat(1 << 20));
    for sdp in [
        sdp(A, "RTP/AVP", &"m=audio 9 RTP/AVP 0\n".repeat(10_000)),
        sdp(A, "RTP/AVP", &long),
        sdp(A, "RTP/AVP", &"a=candidate:1 1 udp 1 192.0.2.1 9 typ host\n".repeat(10_000)),
        String::new(),
    ] {
        let reply = ng.command(true, &sdp, |_| {});
        assert!(
            matches!(&reply, Reply::Error(failure) if failure.cause == Cause::NotAcceptable),
            "{reply:?}"
        );
    }
    assert_eq!((ng.sockets.open_count(), ng.engine.call_count()), (sockets, 0));
}

/// Messages of a controller, with octets changed: an error or an answer, no harm, and nothing left when all is deleted.
#[test]
fn mutated_messages_do_no_harm() {
    use rand::RngExt as _;
    let mut rng = StdRng::seed_from_u64(11);
    let mut ng = Ng::new(settings());
    let sockets = ng.sockets.open_count();
    let keys = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\n\
        a=ice-ufrag:abcdefgh\na=ice-pwd:0123456789012345678901\na=candidate:1 1 UDP 1 192.0.2.1 4000 typ host\n";
    let message = |command: &str, end: &str, more: &str| {
        let sdp = sdp(end, "RTP/SAVP", keys).replace("\r\n", "\\r\\n");
        format!(
            r#"7 {{"command":"{command}","call-id":"ng","from-tag":"a","to-tag":"b","sdp":"{sdp}",{more}"ICE":"force"}}"#
        )
    };
    let seeds = [
        message(
            "offer",
            A,
            r#""transport protocol":"RTP/AVP","codec":{"strip":["all"],"transcode":["PCMA"]},"#,
        ),
        message(
            "offer",
            A,
            r#""flags":["loop protect","strict source"],"rtcp-mux":["require"],"SDES":["pad"],"#,
        ),
        message(
            "answer",
            B,
            r#""OSRTP":["accept"],"sdp-attr":{"audio":{"add":["x"],"substitute":[["y","z"]]}},"#,
        ),
        message("delete", B, r#""delete delay":1,"#),
        message("publish", A, ""),
        message("subscribe request", A, r#""flags":["all","SIPREC"],"SDES":["pad"],"#),
        message("subscribe answer", B, r#""flags":["allow transcoding"],"#),
        message("unsubscribe", B, ""),
        message("connect", B, ""),
        message("silence media", B, ""),
        message("block DTMF", B, r##""trigger":"12#","DTMF-security-trigger":"tone","DTMF-delay":60,"volume":9,"##),
        message("query", B, ""),
        // The same in bencode.
        "7 d7:call-id2:ng7:command5:offer5:flagsl12:loop protecte8:from-tag1:a8:rtcp-muxl7:requiree3:sdp87:v=0\r\n\
            o=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\ne"
            .to_owned(),
        "7 d7:call-id2:ng5:codecd5:stripl3:alle9:transcodel4:PCMAee7:command10:block DTMF13:DTMF-security6:random\
            8:from-tag1:ae"
            .to_owned(),
    ];
    let mut understood = 0;
    for round in 0..4_000 {
        let mut octets = seeds[round % seeds.len()].clone().into_bytes();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..octets.len());
            octets[at] = rng.random();
        }
        let Ok(message) = crate::ng::decode(&octets) else { continue };
        understood += 1;
        let reply = ng.engine.handle_command(ng.now, &message.command);
        assert!(!crate::ng::encode(&message.cookie, &reply, message.encoding).is_empty());
        assert!(!matches!(&reply, Reply::Error(failure) if failure.cause == Cause::Internal), "{reply:?}");
        ng.pass(Duration::from_millis(10));
    }
    assert!(understood > 1_000, "{understood}");
    let Reply::Calls(calls) = ng.engine.handle_command(ng.now, &Command::List { limit: 10_000 }) else {
        panic!("no list")
    };
    for call_id in calls {
        ng.engine.handle_command(ng.now, &Command::Delete(Delete { call_id, ..Delete::default() }));
    }
    assert_eq!((ng.engine.call_count(), ng.sockets.open_count()), (0, sockets));
}

#[test]
fn a_description_that_comes_round_is_left_alone() {
    let mut ng = Ng::new(settings());
    let Reply::Sdp { sdp: first, .. } =
        ng.command(true, &sdp(A, "RTP/AVP", ""), |it| it.flags.loop_protect = true)
    else {
        panic!("no SDP")
    };
    let sockets = ng.sockets.open_count();
    let text = String::from_utf8(first.to_vec()).unwrap();
    let Reply::Sdp { sdp: second, .. } = ng.command(true, &text, |it| {
        (it.flags.loop_protect, it.from_tag) = (true, "c".to_owned());
    }) else {
        panic!("no SDP")
    };
    assert_eq!((second, ng.sockets.open_count()), (first, sockets));
}

#[test]
fn a_deleted_call_lives_on_for_its_delay_and_comes_back_with_an_offer() {
    let mut ng = Ng::new(settings());
    let sockets = ng.sockets.open_count();
    let call = |ng: &mut Ng| ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |_| {});
    call(&mut ng);
    let delete = || {
        Command::Delete(Delete {
            call_id: "ng".to_owned(),
            delay: Duration::from_secs(30),
            ..Delete::default()
        })
    };
    ng.engine.handle_command(ng.now, &delete());
    ng.pass(Duration::from_secs(29));
    assert_eq!(ng.say(A, &rtp(0, 1)).len(), 1);
    call(&mut ng);
    ng.pass(Duration::from_secs(29));
    assert_eq!(ng.engine.call_count(), 1, "it is wanted again");
    ng.engine.handle_command(ng.now, &delete());
    ng.pass(Duration::from_secs(31));
    assert_eq!((ng.engine.call_count(), ng.sockets.open_count()), (0, sockets));
}

#[test]
fn calls_end_that_nobody_answers_and_those_that_are_too_old() {
    let limits = Settings {
        offer_timeout: Duration::from_secs(40),
        final_timeout: Duration::from_secs(300),
        ..settings()
    };
    let mut ng = Ng::new(limits);
    ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |_| {});
    ng.pass(Duration::from_secs(39));
    assert_eq!(ng.engine.call_count(), 1);
    ng.pass(Duration::from_secs(2));
    assert_eq!(ng.engine.call_count(), 0);
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |_| {});
    for number in 0..30 {
        assert_eq!(ng.engine.call_count(), 1, "{number}");
        ng.say(A, &rtp(0, number));
        ng.pass(Duration::from_secs(10));
    }
    assert_eq!(ng.engine.call_count(), 0);
}
