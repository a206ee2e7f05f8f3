//! A relay, two phones and the network between them, in virtual time and one thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::call::plan::*;
use crate::command::LegKind;
use crate::demux::{Kind, classify};
use crate::dtls::{Certificate, Dtls, DtlsConfig, DtlsEvent, Fingerprint};
use crate::engine::transports::Provider;
use crate::engine::{Engine, Event, Settings};
use crate::ice::{Credentials, IceAgent, IceEvent};
use crate::packet::Packet;
use crate::rtp::Header;
use crate::sdp;
use crate::sockets::{OpenError, SocketId, SocketUse, Sockets};
use crate::srtp::SrtpContext;

pub(super) const RELAY: &str = "198.51.100.1";

/// Sockets that are only numbers.
#[derive(Clone, Default)]
pub(super) struct FakeSockets(Rc<RefCell<BTreeMap<u32, SocketAddr>>>, Rc<RefCell<BTreeMap<u32, u8>>>);

impl FakeSockets {
    pub(super) fn open_count(&self) -> usize {
        self.0.borrow().len()
    }

    pub(super) fn at(&self, port: u16) -> Option<SocketId> {
        self.0.borrow().iter().find(|(_, address)| address.port() == port).map(|(id, _)| SocketId(*id))
    }

    /// The socket of this number in one address family.
    pub(super) fn at_family(&self, port: u16, ipv6: bool) -> Option<SocketId> {
        let open = self.0.borrow();
        let found = open.iter().find(|(_, it)| it.port() == port && it.is_ipv6() == ipv6);
        found.map(|(id, _)| SocketId(*id))
    }

    pub(super) fn port(&self, socket: SocketId) -> u16 {
        self.0.borrow()[&socket.0].port()
    }

    /// The types of service of those that were given one.
    pub(super) fn marks(&self) -> Vec<u8> {
        self.1.borrow().values().copied().collect()
    }
}

impl Sockets for FakeSockets {
    fn open(&mut self, local: SocketAddr, _kind: SocketUse) -> Result<(SocketId, SocketAddr), OpenError> {
        let mut open = self.0.borrow_mut();
        let same = |it: &SocketAddr| it.port() == local.port() && it.is_ipv6() == local.is_ipv6();
        if open.values().any(same) {
            return Err(OpenError::InUse);
        }
        let id = (0..).find(|id| !open.contains_key(id)).expect("a number");
        open.insert(id, local);
        Ok((SocketId(id), local))
    }

    fn close(&mut self, socket: SocketId) {
        self.0.borrow_mut().remove(&socket.0).expect("it was open");
        self.1.borrow_mut().remove(&socket.0);
    }

    fn mark(&mut self, socket: SocketId, tos: Option<u8>) {
        assert!(self.0.borrow().contains_key(&socket.0), "it is open");
        let mut marks = self.1.borrow_mut();
        match tos {
            Some(tos) => marks.insert(socket.0, tos),
            None => marks.remove(&socket.0),
        };
    }

    fn route_to(&mut self, _peer: SocketAddr) -> Option<IpAddr> {
        Some(RELAY.parse().expect("an address"))
    }
}

pub(super) fn certificate() -> Certificate {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    let certificate = params.self_signed(&key).expect("a certificate");
    Certificate::new(certificate.der().to_vec(), key.serialize_der())
}

/// An RTP packet as a phone heard it.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

/// A browser or a legacy phone.
pub(super) struct Phone {
    pub(super) kind: LegKind,
    /// Where it sends RTP from.
    pub(super) address: SocketAddr,
    /// What its SDP says; another than `address` behind a NAT.
    pub(super) announced: SocketAddr,
    /// Where its signalling comes from.
    pub(super) signalled_from: Option<IpAddr>,
    pub(super) credentials: Credentials,
    pub(super) certificate: Certificate,
    /// What its SDP says of its certificate.
    pub(super) fingerprint: Vec<u8>,
    pub(super) ice: Option<IceAgent>,
    pub(super) dtls: Option<Dtls>,
    pub(super) srtp: Option<SrtpContext>,
    pub(super) selected: Option<SocketAddr>,
    pub(super) heard: Vec<Heard>,
    pub(super) heard_rtcp: Vec<Vec<u8>>,
    pub(super) key: Option<usize>,
    pub(super) relay_port: u16,
    pub(super) ssrc: u32,
    pub(super) sequence_number: u16,
    pub(super) timestamp: u32,
}

impl Phone {
    fn new(kind: LegKind, address: &str, rng: &mut StdRng) -> Phone {
        let address: SocketAddr = address.parse().expect("an address");
        let certificate = certificate();
        Phone {
            kind,
            address,
            announced: address,
            signalled_from: None,
            credentials: Credentials::random(rng),
            fingerprint: certificate.digest().to_vec(),
            certificate,
            ice: None,
            dtls: None,
            srtp: None,
            selected: None,
            heard: Vec::new(),
            heard_rtcp: Vec::new(),
            key: None,
            relay_port: 0,
            ssrc: rng.random(),
            sequence_number: rng.random::<u16>() & 0x7fff,
            timestamp: rng.random(),
        }
    }

    pub(super) fn payloads(&self) -> Vec<Vec<u8>> {
        self.heard.iter().map(|heard| heard.payload.clone()).collect()
    }
}

/// A datagram on its way.
struct Flight {
    at: Instant,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    octets: Vec<u8>,
}

/// How bad the network is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// Of 100 datagrams, so many are lost.
    pub(super) loss: u32,
    /// Up to so many milliseconds more, which reorders.
    pub(super) jitter: u64,
}

pub(super) struct Bed {
    pub(super) engine: Engine<FakeSockets>,
    pub(super) sockets: FakeSockets,
    pub(super) now: Instant,
    pub(super) phones: [Phone; 2],
    pub(super) events: Vec<Event>,
    /// What the writer of recordings gets.
    pub(super) recorded: Vec<crate::command::Recorded>,
    pub(super) weather: Weather,
    /// What the ends say they understand.
    pub(super) feedback: Vec<Feedback>,
    /// In what the relay itself may speak to the ends.
    pub(super) hears: Option<Hears>,
    /// Whether keys are told that the ends press as tones.
    pub(super) ears: [bool; 2],
    /// What the line carries.
    pub(super) media: MediaKind,
    pub(super) call: usize,
    pub(super) rng: StdRng,
    dtls_config: DtlsConfig,
    flights: Vec<Flight>,
    order: u64,
}

pub(super) fn settings() -> Settings {
    Settings {
        share: (0, 1),
        port_min: 30_000,
        port_max: 30_101,
        interfaces: Vec::new(),
        certificate: certificate(),
        dtls_12_only: false,
        ice_lite: false,
        media_timeout: Duration::from_secs(60),
        offer_timeout: Duration::from_secs(3600),
        final_timeout: Duration::ZERO,
        software_id: "relay".into(),
        silence: Default::default(),
        jitter_buffer: 0,
        keys_apart: crate::screen::APART,
        max_packet_rate: 0,
        tell_rtcp: false,
        silent_timeout: Duration::from_secs(3600),
    }
}

/// PCMU, and telephone-event.
pub(super) fn pcmu() -> Hears {
    let codecs = [sdp::Codec::new(0, "PCMU", 8000, 1), sdp::Codec::new(101, "telephone-event", 8000, 1)];
    Hears::of(&codecs, None).expect("it is known")
}

/// PCMU both ways, and telephone-event.
pub(super) fn voice() -> FlowPlan {
    let map = |from, to, payload| PayloadMap { from, to, from_clock: 8000, to_clock: 8000, payload };
    FlowPlan {
        transparent: false,
        unread: false,
        open: true,
        payloads: vec![map(0, 0, Payload::Media), map(101, 101, Payload::Dtmf)],
        extensions: vec![],
    }
}

impl Bed {
    pub(super) fn new(a: LegKind, b: LegKind, seed: u64) -> Bed {
        Bed::with_settings(a, b, seed, settings())
    }

    pub(super) fn with_settings(a: LegKind, b: LegKind, seed: u64, settings: Settings) -> Bed {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = crate::testing::start();
        let sockets = FakeSockets::default();
        let dtls_config = DtlsConfig::new(settings.dtls_12_only).expect("a configuration");
        let mut engine =
            Engine::new(settings, sockets.clone(), rng.random(), now, Duration::from_secs(1_700_000_000))
                .expect("an engine");
        let call = engine.new_call(now, "call-1");
        let phones = [Phone::new(a, "192.0.2.1:4000", &mut rng), Phone::new(b, "203.0.113.2:5000", &mut rng)];
        Bed {
            engine,
            sockets,
            now,
            phones,
            events: Vec::new(),
            recorded: Vec::new(),
            weather: Weather::default(),
            feedback: Vec::new(),
            hears: Some(pcmu()),
            ears: [false; 2],
            media: MediaKind::Audio,
            call,
            rng,
            dtls_config,
            flights: Vec::new(),
            order: 0,
        }
    }

    /// Opens both legs and puts `flow` into effect in both directions.
    pub(super) fn connect(&mut self) {
        self.connect_with([voice(), voice()], true);
    }

    pub(super) fn connect_with(&mut self, flows: [FlowPlan; 2], signalled_by_b: bool) {
        for side in 0..2 {
            self.open_leg(side, false);
        }
        self.apply(flows, signalled_by_b);
        for side in 0..2 {
            self.start_browser(side);
        }
    }

    /// Asks the engine for the leg, as a session does.
    pub(super) fn open_leg(&mut self, side: usize, restart_ice: bool) {
        let request = LegRequest {
            kind: self.phones[side].kind,
            announce: None,
            interface: None,
            family: None,
            restart_ice,
        };
        let mut provider = Provider { engine: &mut self.engine, call: self.call, now: self.now };
        let id = LegId(side as u32);
        let local = provider.leg(id, &request).expect("a leg");
        let media = provider.media(id, 0, self.media).expect("a line");
        let key =
            self.engine.calls[self.call].legs.iter().find(|(leg, _)| *leg == id).expect("it is there").1;
        let phone = &mut self.phones[side];
        phone.key = Some(key);
        phone.relay_port = media.port;
        if let Some(secure) = local.secure {
            let relay = Credentials { ufrag: secure.ufrag, pwd: secure.pwd };
            // The relay answers the first browser and offers to the second.
            let controlling = side == 0;
            if phone.ice.is_none() || restart_ice {
                let mut ice = IceAgent::new(&phone.credentials, phone.address, controlling, false, 7)
                    .expect("an agent");
                ice.set_remote_credentials(self.now, &relay);
                for candidate in &secure.candidates {
                    ice.add_remote_candidate(&candidate.to_string());
                }
                phone.ice = Some(ice);
            }
        }
    }

    fn start_browser(&mut self, side: usize) {
        let relay_digest = self.engine.settings.certificate.digest().to_vec();
        let phone = &mut self.phones[side];
        if phone.kind == LegKind::Browser && phone.dtls.is_none() {
            let mut dtls = Dtls::new(&self.dtls_config, &phone.certificate, role(side), self.now);
            dtls.set_fingerprints(&[Fingerprint { hash: "SHA-256".to_owned(), digest: relay_digest }]);
            phone.dtls = Some(dtls);
        }
    }

    pub(super) fn plan(&self, flows: [FlowPlan; 2]) -> MediaPlan {
        let legs = [0, 1].map(|side| {
            let phone = &self.phones[side];
            let browser = phone.kind == LegKind::Browser;
            LegPlan {
                id: LegId(side as u32),
                kind: phone.kind,
                ice: browser.then(|| RemoteIce {
                    ufrag: phone.credentials.ufrag.clone(),
                    pwd: phone.credentials.pwd.clone(),
                    candidates: Vec::new(),
                    lite: false,
                    end_of_candidates: true,
                }),
                dtls: browser.then(|| RemoteDtls {
                    fingerprints: vec![sdp::Fingerprint {
                        algorithm: "sha-256".to_owned(),
                        digest: phone.fingerprint.clone(),
                    }],
                    role: if side == 0 { DtlsRole::Client } else { DtlsRole::Server },
                }),
                controlling: side == 1,
            }
        });
        let ends = [0, 1].map(|side| {
            let phone = &self.phones[side];
            let rtcp = SocketAddr::new(phone.announced.ip(), phone.announced.port() + 1);
            LineEnd {
                protection: Protection::None,
                ice: None,
                index: 0,
                remote: (phone.kind == LegKind::Legacy)
                    .then_some(RemoteAddress { rtp: phone.announced, rtcp }),
                wants: true,
                sends: true,
                mid: None,
                ssrcs: Vec::new(),
                payload_types: vec![0, 101],
                feedback: self.feedback.clone(),
                rtcp_mux: phone.kind == LegKind::Browser,
                ptime: None,
                signalled_from: phone.signalled_from,
                is_private: phone.announced.ip() != phone.address.ip(),
                learn: true,
                strict_source: true,
                hears: self.hears,
                speaks: self.hears.iter().map(|hears| (hears.payload_type, hears.format)).collect(),
                manners: Default::default(),
                ear: self.ears[side],
            }
        });
        MediaPlan {
            legs,
            lines: vec![LinePlan { kind: self.media, rtcp_passes: false, ends, flows, echoes: [None, None] }],
            answered: true,
        }
    }

    pub(super) fn apply(&mut self, flows: [FlowPlan; 2], signalled_by_b: bool) {
        // As a command does: with it the silence begins anew.
        self.engine.calls[self.call].last_rtp = self.now;
        let plan = self.plan(flows);
        self.engine.apply(self.now, self.call, &plan, usize::from(signalled_by_b));
        self.drain();
    }

    /// Lets `duration` pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.drain();
            let next = self.next_event().filter(|at| *at <= end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            self.deliver_due();
            if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
                self.engine.handle_timeout(self.now);
            }
            for side in 0..2 {
                self.phone_timeout(side);
            }
        }
        self.now = end;
    }

    fn next_event(&mut self) -> Option<Instant> {
        let phones = self.phones.iter_mut().flat_map(|phone| {
            let ice = phone.ice.as_mut().and_then(IceAgent::poll_timeout);
            let dtls = phone.dtls.as_ref().filter(|_| phone.selected.is_some()).and_then(Dtls::poll_timeout);
            [ice, dtls]
        });
        let flights = self.flights.iter().map(|flight| flight.at).min();
        phones.chain([flights, self.engine.poll_timeout()]).flatten().min()
    }

    fn phone_timeout(&mut self, side: usize) {
        let now = self.now;
        let phone = &mut self.phones[side];
        if let Some(ice) = phone.ice.as_mut()
            && ice.poll_timeout().is_some_and(|at| at <= now)
        {
            ice.handle_timeout(now);
        }
        if let Some(dtls) = phone.dtls.as_mut()
            && phone.selected.is_some()
            && dtls.poll_timeout().is_none_or(|at| at <= now)
        {
            dtls.handle_timeout(now);
        }
    }

    /// Everything that waits to be sent goes on its way.
    pub(super) fn drain(&mut self) {
        let relay: IpAddr = RELAY.parse().expect("an address");
        while let Some(transmit) = self.engine.poll_transmit() {
            let from = SocketAddr::new(relay, self.sockets.port(transmit.socket));
            self.launch(from, transmit.to, transmit.packet.as_slice().to_vec());
        }
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
        while let Some(recorded) = self.engine.poll_recorded() {
            self.recorded.push(recorded);
        }
        for side in 0..2 {
            self.drain_phone(side);
        }
    }

    fn drain_phone(&mut self, side: usize) {
        let mut sent = Vec::new();
        let now = self.now;
        let phone = &mut self.phones[side];
        let from = phone.address;
        if let Some(ice) = phone.ice.as_mut() {
            while let Some(event) = ice.poll_event() {
                if let IceEvent::Selected(to) = event {
                    phone.selected = Some(to);
                    if let Some(dtls) = phone.dtls.as_mut() {
                        dtls.handle_timeout(now);
                    }
                }
            }
            while let Some((to, octets)) = ice.poll_transmit() {
                sent.push((to, octets));
            }
        }
        if let (Some(dtls), Some(to)) = (phone.dtls.as_mut(), phone.selected) {
            while let Some(event) = dtls.poll(|record| sent.push((to, record.to_vec()))) {
                if let DtlsEvent::Connected((local, remote)) = event {
                    phone.srtp = Some(SrtpContext::new(&local, &remote));
                }
            }
        }
        for (to, octets) in sent {
            self.launch(from, to, octets);
        }
    }

    pub(super) fn launch(&mut self, from: SocketAddr, to: SocketAddr, octets: Vec<u8>) {
        if self.rng.random_range(0..100) < self.weather.loss {
            return;
        }
        let delay =
            5 + if self.weather.jitter == 0 { 0 } else { self.rng.random_range(0..self.weather.jitter) };
        self.order += 1;
        let at = self.now + Duration::from_millis(delay);
        self.flights.push(Flight { at, order: self.order, from, to, octets });
    }

    fn deliver_due(&mut self) {
        let now = self.now;
        let (mut due, later): (Vec<Flight>, Vec<Flight>) =
            std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.at <= now);
        self.flights = later;
        due.sort_by_key(|flight| (flight.at, flight.order));
        for flight in due {
            self.arrive(flight.from, flight.to, &flight.octets);
        }
    }

    /// A datagram reaches its destination now.
    pub(super) fn arrive(&mut self, from: SocketAddr, to: SocketAddr, octets: &[u8]) {
        if to.ip() == RELAY.parse::<IpAddr>().expect("an address") {
            if let Some(socket) = self.sockets.at(to.port()) {
                let mut packet = Packet::new();
                packet.fill(octets).expect("it fits");
                self.engine.handle_datagram(self.now, socket, from, packet);
            }
        } else if let Some(side) = self.phones.iter().position(|phone| phone.address.ip() == to.ip()) {
            self.hear(side, from, octets);
        }
    }

    fn hear(&mut self, side: usize, from: SocketAddr, octets: &[u8]) {
        let now = self.now;
        let phone = &mut self.phones[side];
        match classify(octets) {
            Kind::Stun => {
                if let Some(ice) = phone.ice.as_mut() {
                    ice.handle_datagram(now, from, octets);
                }
            }
            Kind::Dtls => {
                if let Some(dtls) = phone.dtls.as_mut() {
                    dtls.handle_datagram(now, octets);
                }
            }
            kind @ (Kind::Rtp | Kind::Rtcp) => {
                let mut packet = Packet::new();
                packet.fill(octets).expect("it fits");
                if phone.kind == LegKind::Browser {
                    let Some(srtp) = phone.srtp.as_mut() else { return };
                    let opened = if kind == Kind::Rtp {
                        srtp.unprotect(&mut packet)
                    } else {
                        srtp.unprotect_rtcp(&mut packet)
                    };
                    opened.expect("what the relay sends is authentic");
                }
                if kind == Kind::Rtcp {
                    phone.heard_rtcp.push(packet.as_slice().to_vec());
                    return;
                }
                let header = Header::parse(packet.as_slice()).expect("RTP");
                let payload = header.payload(packet.as_slice()).expect("a payload").to_vec();
                phone.heard.push(Heard { header, payload });
            }
            Kind::Unknown => panic!("the relay sent something unknown"),
        }
    }

    /// The phone says `payload`.
    pub(super) fn say(&mut self, side: usize, payload_type: u8, payload: &[u8]) {
        let phone = &mut self.phones[side];
        phone.sequence_number = phone.sequence_number.wrapping_add(1);
        phone.timestamp = phone.timestamp.wrapping_add(160);
        let header = Header::new(payload_type, phone.sequence_number, phone.timestamp, phone.ssrc);
        let mut packet = Packet::new();
        header.start(&mut packet, payload).expect("it fits");
        self.send_rtp(side, packet);
    }

    pub(super) fn send_rtp(&mut self, side: usize, mut packet: Packet) {
        let phone = &mut self.phones[side];
        if let Some(srtp) = phone.srtp.as_mut() {
            srtp.protect(&mut packet).expect("protected");
        } else if phone.kind == LegKind::Browser {
            return;
        }
        let to = SocketAddr::new(RELAY.parse().expect("an address"), phone.relay_port);
        let from = phone.address;
        self.launch(from, to, packet.as_slice().to_vec());
    }

    /// From where a browser's media comes; a legacy phone's RTCP port is the next one, here and there.
    pub(super) fn send_rtcp(&mut self, side: usize, mut packet: Packet) {
        let phone = &mut self.phones[side];
        let mut to = SocketAddr::new(RELAY.parse().expect("an address"), phone.relay_port);
        let mut from = phone.address;
        if let Some(srtp) = phone.srtp.as_mut() {
            srtp.protect_rtcp(&mut packet).expect("protected");
        } else {
            to.set_port(to.port() + 1);
            from.set_port(from.port() + 1);
        }
        self.launch(from, to, packet.as_slice().to_vec());
    }

    /// Both phones speak for `count` packets, 20 ms apart; every packet says who and which.
    pub(super) fn talk(&mut self, count: u8) {
        for number in 0..count {
            for side in 0..2 {
                self.say(side, 0, &speech(side, number));
            }
            self.run(Duration::from_millis(20));
        }
        self.run(Duration::from_millis(100));
    }

    /// Waits until all browsers have their keys, at most `limit`.
    pub(super) fn settle(&mut self, limit: Duration) {
        let end = self.now + limit;
        let ready = |bed: &Bed| {
            bed.phones.iter().all(|phone| {
                phone.kind == LegKind::Legacy
                    || (phone.srtp.is_some()
                        && phone
                            .key
                            .and_then(|key| bed.engine.paths.legs[key].secure.as_ref()?.srtp.as_ref())
                            .is_some())
            })
        };
        while !ready(self) {
            assert!(self.now < end, "not connected in time: {:?}", self.events);
            self.run(Duration::from_millis(10));
        }
    }
}

fn role(side: usize) -> crate::srtp::DtlsRole {
    if side == 0 { crate::srtp::DtlsRole::Server } else { crate::srtp::DtlsRole::Client }
}

pub(super) fn speech(side: usize, number: u8) -> Vec<u8> {
    (0..160u8)
        .map(|octet| octet.wrapping_mul(3).wrapping_add(number).wrapping_add(side as u8 * 100))
        .collect()
}
