//! The relay's engine in the bed, and the door through which the proxy reaches it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use media_core::command::{Cause, Command, Delete, Exchange, LegKind, Replace, Reply, Side};
use media_core::dtls::Certificate;
use media_core::engine::{Engine, Settings};
use media_core::sockets::{OpenError, SocketId, SocketUse, Sockets};
use signaling_core::outside::{self, MediaControl, MediaError, MediaExchange, MediaLeg};

use super::GATEWAY;
use super::network::Datagram;

/// The engine with sockets that are only numbers.
pub(super) struct SimRelay {
    engine: Engine<Numbers>,
    sockets: Numbers,
    shared: usize,
}

impl SimRelay {
    pub(super) fn new(seed: [u8; 32], now: Instant, unix_now: Duration) -> Self {
        let sockets = Numbers::default();
        let engine = Engine::new(settings(), sockets.clone(), seed, now, unix_now)
            .unwrap_or_else(|error| panic!("the relay does not start: {error}"));
        let shared = sockets.0.borrow().len();
        Self { engine, sockets, shared }
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let Some(socket) = self.sockets.at(to.port()) else { return };
        let mut packet = self.engine.io().1.take();
        match packet.fill(bytes) {
            Ok(()) => self.engine.handle_datagram(now, socket, from, packet),
            Err(_) => self.engine.io().1.put(packet),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    pub(super) fn transmits(&mut self) -> Vec<Datagram> {
        let mut sent = Vec::new();
        while let Some(transmit) = self.engine.poll_transmit() {
            if let Some(port) = self.sockets.port(transmit.socket) {
                let from = SocketAddr::new(GATEWAY.into(), port);
                sent.push(Datagram { from, to: transmit.to, bytes: transmit.packet.as_slice().to_vec() });
            }
            self.engine.io().1.put(transmit.packet);
        }
        while self.engine.poll_event().is_some() {}
        sent
    }

    /// Sockets beyond the shared ones.
    pub(super) fn sockets_of_calls(&self) -> usize {
        self.sockets.0.borrow().len() - self.shared
    }
}

fn settings() -> Settings {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .unwrap_or_else(|e| panic!("no key: {e}"));
    let certificate = rcgen::CertificateParams::new(Vec::new())
        .and_then(|params| params.self_signed(&key))
        .unwrap_or_else(|error| panic!("no certificate: {error}"));
    Settings {
        share: (0, 1),
        port_min: 30_000,
        port_max: 30_199,
        interfaces: Vec::new(),
        certificate: Certificate::new(certificate.der().to_vec(), key.serialize_der()),
        dtls_12_only: false,
        ice_lite: false,
        media_timeout: Duration::from_secs(60),
        silent_timeout: Duration::from_secs(3600),
    }
}

#[derive(Clone, Default)]
struct Numbers(Rc<RefCell<BTreeMap<u32, SocketAddr>>>);

impl Numbers {
    fn at(&self, port: u16) -> Option<SocketId> {
        self.0.borrow().iter().find(|(_, address)| address.port() == port).map(|(id, _)| SocketId(*id))
    }

    fn port(&self, socket: SocketId) -> Option<u16> {
        self.0.borrow().get(&socket.0).map(SocketAddr::port)
    }
}

impl Sockets for Numbers {
    fn open(&mut self, local: SocketAddr, _use: SocketUse) -> Result<(SocketId, SocketAddr), OpenError> {
        let mut open = self.0.borrow_mut();
        if open.values().any(|other| other.port() == local.port() && other.is_ipv4() == local.is_ipv4()) {
            return Err(OpenError::InUse);
        }
        let id = (0..).find(|id| !open.contains_key(id)).unwrap_or(u32::MAX);
        open.insert(id, local);
        Ok((SocketId(id), local))
    }

    fn close(&mut self, socket: SocketId) {
        self.0.borrow_mut().remove(&socket.0);
    }

    fn route_to(&mut self, _peer: SocketAddr) -> Option<IpAddr> {
        Some(GATEWAY.into())
    }
}

/// What the proxy calls; the relay answers within the same moment.
pub(super) struct MediaLink {
    pub(super) relay: Rc<RefCell<SimRelay>>,
    pub(super) clock: Rc<Cell<Instant>>,
}

impl MediaLink {
    fn execute(&self, command: &Command) -> Result<Bytes, MediaError> {
        match self.relay.borrow_mut().engine.handle_command(self.clock.get(), command) {
            Reply::Sdp { sdp, .. } => Ok(sdp),
            Reply::Error(failure) if failure.cause == Cause::NotAcceptable => {
                Err(MediaError::NotAcceptable(failure.reason))
            }
            Reply::Error(failure) if failure.cause == Cause::Full => Err(MediaError::Full(failure.reason)),
            other => Err(MediaError::Unavailable(format!("{other:?}"))),
        }
    }
}

impl MediaControl for MediaLink {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(ready(self.execute(&Command::Offer(words(exchange)))))
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(ready(self.execute(&Command::Answer(words(exchange)))))
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        let delete = Delete {
            call_id: call_id.to_owned(),
            from_tag: branch.map(|_| from_tag.to_owned()),
            via_branch: branch.map(str::to_owned),
            fast: true,
            ..Delete::default()
        };
        self.relay.borrow_mut().engine.handle_command(self.clock.get(), &Command::Delete(delete));
    }
}

fn words(exchange: MediaExchange) -> Box<Exchange> {
    Box::new(Exchange {
        call_id: exchange.call_id,
        from_tag: exchange.offerer_tag,
        to_tag: exchange.answerer_tag,
        via_branch: exchange.branch,
        sdp: exchange.sdp,
        sender: side(exchange.from),
        receiver: side(exchange.to),
        received_from: exchange.from.signalling_source,
        replace: Replace::ALL,
        ..Exchange::default()
    })
}

fn side(leg: MediaLeg) -> Side {
    let kind = match leg.kind {
        outside::LegKind::Browser => LegKind::Browser,
        outside::LegKind::Legacy => LegKind::Legacy,
    };
    Side { kind: Some(kind), announce: Some(leg.local), ..Side::default() }
}
