//! The relay of the simulated world: a real engine on sockets that are only numbers, and the proxy's door to it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use media_core::command::{
    Cause, Command, Delete, Digit, Ends, Exchange, Keys, LegKind, Play, PlayDtmf, Record, Recording, Replace,
    Reply, Side, Source, StopMedia, WavClip,
};
use media_core::dtls::Certificate;
use media_core::engine::{Engine, Settings};
use media_core::sockets::{OpenError, SocketId, SocketUse, Sockets};
use media_core::stats::Stats;
use signaling_core::outside::{self, MediaControl, MediaError, MediaExchange, MediaLeg};

/// Sockets that are only numbers.
#[derive(Debug, Clone, Default)]
pub struct FakeSockets(Rc<RefCell<Open>>);

#[derive(Debug, Default)]
struct Open {
    by_id: BTreeMap<u32, u16>,
    by_port: BTreeMap<u16, u32>,
    next: u32,
    free: Vec<u32>,
}

impl FakeSockets {
    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.borrow().by_id.len()
    }

    /// The socket bound to `port`.
    #[must_use]
    pub fn at(&self, port: u16) -> Option<SocketId> {
        self.0.borrow().by_port.get(&port).copied().map(SocketId)
    }

    /// The port of an open socket; `None` when it was closed meanwhile.
    #[must_use]
    pub fn port(&self, socket: SocketId) -> Option<u16> {
        self.0.borrow().by_id.get(&socket.0).copied()
    }
}

impl Sockets for FakeSockets {
    fn open(&mut self, local: SocketAddr, _: SocketUse) -> Result<(SocketId, SocketAddr), OpenError> {
        if local.is_ipv6() {
            return Err(OpenError::Failed("this world has IPv4 alone".to_owned()));
        }
        let mut open = self.0.borrow_mut();
        if open.by_port.contains_key(&local.port()) {
            return Err(OpenError::InUse);
        }
        let id = match open.free.pop() {
            Some(id) => id,
            None => {
                open.next += 1;
                open.next - 1
            }
        };
        open.by_id.insert(id, local.port());
        open.by_port.insert(local.port(), id);
        Ok((SocketId(id), local))
    }

    fn close(&mut self, socket: SocketId) {
        let mut open = self.0.borrow_mut();
        let port = open.by_id.remove(&socket.0).expect("the engine closes what it has opened, once");
        open.by_port.remove(&port);
        open.free.push(socket.0);
    }

    fn mark(&mut self, _: SocketId, _: Option<u8>) {
        // All of this network is served alike.
    }

    fn route_to(&mut self, _: SocketAddr) -> Option<IpAddr> {
        Some(super::GATEWAY)
    }
}

/// The engine, shared by the world and the proxy's door.
#[allow(missing_debug_implementations)]
pub struct Relay {
    /// The engine itself.
    pub engine: RefCell<Engine<FakeSockets>>,
    /// Its sockets.
    pub sockets: FakeSockets,
    /// The time, told by the world before it wakes anybody.
    pub now: Cell<Instant>,
    /// Sockets open before the first call.
    pub idle_sockets: usize,
    /// Exchanges that were refused, and in which words.
    pub refused: RefCell<Vec<String>>,
    /// The same of what was to be played.
    pub unheard: RefCell<Vec<String>>,
    /// What can be played, by name.
    pub sounds: RefCell<Vec<(String, Arc<WavClip>)>>,
}

impl Relay {
    /// A relay with the ports 30000 to 40000.
    #[must_use]
    pub fn new(seed: [u8; 32], now: Instant, unix_now: Duration) -> Rc<Self> {
        let settings = Settings {
            share: (0, 1),
            port_min: 30_000,
            port_max: 40_000,
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
            keys_apart: media_core::screen::APART,
            max_packet_rate: 5_000,
            tell_rtcp: false,
            silent_timeout: Duration::from_secs(3600),
        };
        let sockets = FakeSockets::default();
        let engine = Engine::new(settings, sockets.clone(), seed, now, unix_now).expect("an engine");
        let idle_sockets = sockets.count();
        let (refused, unheard, sounds) = (RefCell::default(), RefCell::default(), RefCell::default());
        let (engine, now) = (RefCell::new(engine), Cell::new(now));
        Rc::new(Self { engine, sockets, now, idle_sockets, refused, unheard, sounds })
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.borrow().stats().clone()
    }

    fn exchange(&self, command: &Command) -> Result<Bytes, MediaError> {
        let result = match self.engine.borrow_mut().handle_command(self.now.get(), command) {
            Reply::Sdp { sdp, .. } => return Ok(sdp),
            Reply::Error(failure) => match failure.cause {
                Cause::NotAcceptable | Cause::Malformed => MediaError::NotAcceptable(failure.reason),
                Cause::Full => MediaError::Full(failure.reason),
                _ => MediaError::Unavailable(failure.reason),
            },
            other => MediaError::Unavailable(format!("no SDP: {other:?}")),
        };
        self.refused.borrow_mut().push(result.to_string());
        Err(result)
    }
}

/// A certificate of the simulated world; making keys is slow, so all have the same.
#[must_use]
pub fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    let make = || {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        let certificate = params.self_signed(&key).expect("a certificate");
        Certificate::new(certificate.der().to_vec(), key.serialize_der())
    };
    CERTIFICATE.get_or_init(make).clone()
}

/// The door: the words of signaling become those of the relay, as the gateway's own in-process link has it.
#[allow(missing_debug_implementations)]
pub struct Door(pub Rc<Relay>);

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
        transcoding: true,
        ..Exchange::default()
    })
}

fn side(leg: MediaLeg) -> Side {
    let kind = match leg.kind {
        outside::LegKind::Browser => LegKind::Browser,
        outside::LegKind::Legacy => LegKind::Legacy,
    };
    let keys = match leg.keys {
        outside::Keys::Agreed => Keys::Agreed,
        outside::Keys::Events => Keys::Events,
        outside::Keys::Tones => Keys::Tones,
        outside::Keys::Info => Keys::Told,
    };
    Side { kind: Some(kind), announce: Some(leg.local), keys, ..Side::default() }
}

fn end(call_id: &str, tag: &str) -> Ends {
    Ends { call_id: call_id.to_owned(), from_tag: Some(tag.to_owned()), ..Ends::default() }
}

impl Door {
    /// What is refused is told; an end that wants no sound cannot hear music.
    fn ask(&self, command: &Command) {
        if let Reply::Error(failure) = self.0.engine.borrow_mut().handle_command(self.0.now.get(), command) {
            self.0.unheard.borrow_mut().push(failure.reason);
        }
    }
}

impl Door {
    fn playing(&self, call_id: &str, tag: &str, file: &str, forever: bool) -> Command {
        let source = match self.0.sounds.borrow().iter().find(|(name, _)| name == file) {
            Some((_, clip)) => Source::Clip(Arc::clone(clip)),
            None => panic!("there is no sound {file}"),
        };
        Command::Play(Box::new(Play {
            ends: end(call_id, tag),
            source,
            times: (!forever).then_some(1),
            start: Duration::ZERO,
            limit: None,
            warnings: Vec::new(),
        }))
    }
}

impl MediaControl for Door {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        ready(self.0.exchange(&Command::Offer(words(exchange)))).boxed_local()
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        ready(self.0.exchange(&Command::Answer(words(exchange)))).boxed_local()
    }

    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        self.ask(&self.playing(call_id, tag, file, forever));
    }

    fn announce<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        let play = self.playing(call_id, tag, file, false);
        let reply = self.0.engine.borrow_mut().handle_command(self.0.now.get(), &play);
        let length = match reply {
            Reply::Playing { duration, .. } => Ok(duration),
            other => Err(MediaError::Unavailable(format!("{other:?}"))),
        };
        ready(length).boxed_local()
    }

    fn press<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        code: u8,
        duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        let pause = Duration::from_millis(60);
        let digit = Digit { code, volume: 10, duration, pause };
        let press = PlayDtmf { ends: end(call_id, tag), digit, warnings: Vec::new() };
        let press = Command::PlayDtmf(press);
        let result = match self.0.engine.borrow_mut().handle_command(self.0.now.get(), &press) {
            Reply::Error(failure) => Err(MediaError::Unavailable(failure.reason)),
            _ => Ok(()),
        };
        ready(result).boxed_local()
    }

    fn stop(&self, call_id: &str, tag: &str) {
        self.ask(&Command::StopMedia(StopMedia { ends: end(call_id, tag), warnings: Vec::new() }));
    }

    fn record(&self, call_id: &str, _: &str) {
        let call_id = call_id.to_owned();
        let (what, metadata, warnings) = (Recording::Start, None, Vec::new());
        self.ask(&Command::Record(Record { call_id, what, metadata, warnings }));
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        let delete = Delete {
            call_id: call_id.to_owned(),
            from_tag: branch.map(|_| from_tag.to_owned()),
            via_branch: branch.map(ToOwned::to_owned),
            fast: true,
            ..Delete::default()
        };
        self.0.engine.borrow_mut().handle_command(self.0.now.get(), &Command::Delete(delete));
    }
}
