//! The media relay: threads and sockets around `media-core`, which decides.
//!
//! [`Relay::start`] opens the ports, [`Relay::execute`] takes the commands of [`media_core::command`]; the same commands
//! come as bencode or JSON through the doors of `control`. A call lives on the worker given by the hash of its Call-ID, and
//! nothing of it is shared: no lock is on the way of a packet.

mod anyone;
mod certificate;
mod control;
mod forwarder;
pub mod hep;
pub mod interface;
pub mod io;
pub mod probe;
mod prompts;
mod record_writer;
mod worker;

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_channel::{mpsc, oneshot};
pub use media_core::codec::names as codecs;
use media_core::command::Cause;
pub use media_core::command::{self, Command, Reply};
use media_core::command::{Play, Record, Recording, Source, StopMedia};
use media_core::dtls::Certificate;
use media_core::engine::Settings;
pub use media_core::engine::{Event, EventKind};
pub use media_core::stats;
pub use media_core::transcode::Silence;
use rand::RngExt;

pub use crate::anyone::Anyone;
use crate::control::{Control, Doors, Kind, UdpDoor};
use crate::forwarder::Forwarder;
pub use crate::forwarder::{ForwardingConfig, ForwardingTls};
pub use crate::interface::Interface;
use crate::io::batch::BatchBackend;
use crate::io::plain::PlainBackend;
use crate::prompts::Prompts;
use crate::record_writer::RecordWriter;
pub use crate::record_writer::{RecordingConfig, RecordingMethod};
use crate::worker::{Job, Outlets, Worker};

/// So long recordings, and what is forwarded, may take to be complete when the relay ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Events kept for a reader that lags.
const EVENT_QUEUE: usize = 4096;

/// [`RelayConfig::max_packet_rate`] where nothing else is said: sound takes 50 to 100, a large picture some hundreds, and twice
/// that for a moment.
pub const MAX_PACKET_RATE: u32 = 5_000;

/// What a relay is started with.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Where media is received. The first is the default; none: all addresses, and each leg is announced the address on
    /// the route to its peer.
    pub interfaces: Vec<Interface>,
    /// First UDP port of the range. The shared ports of the workers come first.
    pub port_min: u16,
    /// Last UDP port of the range.
    pub port_max: u16,
    /// Threads; 0 is one per core.
    pub workers: usize,
    /// Where to serve the ng protocol over UDP; `None` for nowhere.
    pub listen_ng: Option<SocketAddr>,
    /// Where to serve the ng protocol over TCP.
    pub listen_tcp_ng: Vec<SocketAddr>,
    /// Where to serve HTTP and WebSocket.
    pub listen_http: Vec<SocketAddr>,
    /// Where to serve the same over TLS.
    pub listen_https: Vec<SocketAddr>,
    /// A PEM file with the certificate of HTTPS, followed by its intermediates.
    pub https_cert: Option<PathBuf>,
    /// A PEM file with the key of HTTPS; `None`: it is in the file of the certificate.
    pub https_key: Option<PathBuf>,
    /// Where to serve the command line of `rtpengine-ctl`.
    pub listen_cli: Vec<SocketAddr>,
    /// How the command line changes the level of the log, where it may.
    pub log_level: Option<LogLevel>,
    /// Refuse DTLS 1.3, for peers whose 1.3 is faulty.
    pub dtls_12_only: bool,
    /// Only answer ICE checks (RFC 8445 §2.5): right where the announced address is public.
    pub ice_lite: bool,
    /// A call without RTP for so long is reported and ended.
    pub media_timeout: Duration,
    /// The same for a call on hold.
    pub silent_timeout: Duration,
    /// A call whose offer nobody answers ends after so long.
    pub offer_timeout: Duration,
    /// Every call ends after so long; zero for never.
    pub final_timeout: Duration,
    /// What the relay calls its software in descriptions of its own and in STUN: letters, digits and hyphens.
    pub software_id: String,
    /// What is done about silence in sound that is transcoded.
    pub silence: Silence,
    /// So many packets, 20 ms each, an uneven stream of sound may be held back to go on evenly; 0 for none.
    pub jitter_buffer: u16,
    /// Keys further apart are no sequence that could trigger anything (ng `trigger`).
    pub keys_apart: Duration,
    /// A call deleted over ng is kept for so long, unless the message says otherwise.
    pub delete_delay: Duration,
    /// Type of service (IPv4) and traffic class (IPv6) of media packets.
    pub tos: u8,
    /// Calls at most; an offer that would begin another is refused. `None`: as many as fit.
    pub max_sessions: Option<usize>,
    /// Packets an end of a call may send in a second; those beyond are dropped and counted. 0 for no limit.
    pub max_packet_rate: u32,
    /// Over ng, a private address in SDP gives way to the one that signalling came from.
    pub sip_source: bool,
    /// Over ng, we are the DTLS server where we may choose.
    pub dtls_passive: bool,
    /// Whether the RTCP of ends is told of as events ([`EventKind::Rtcp`]).
    pub tell_rtcp: bool,
    /// How calls are recorded; `None`: none can be.
    pub recording: Option<RecordingConfig>,
    /// Where sound is forwarded to; `None`: it cannot be.
    pub forwarding: Option<ForwardingConfig>,
    /// The one-datagram-per-call back end, which is slow and simple.
    pub plain_io: bool,
}

impl Default for RelayConfig {
    fn default() -> Self {
        RelayConfig {
            interfaces: Vec::new(),
            port_min: 30_000,
            port_max: 40_000,
            workers: 0,
            listen_ng: Some(SocketAddr::from(([127, 0, 0, 1], 2223))),
            listen_tcp_ng: Vec::new(),
            listen_http: Vec::new(),
            listen_https: Vec::new(),
            https_cert: None,
            https_key: None,
            listen_cli: Vec::new(),
            log_level: None,
            dtls_12_only: false,
            ice_lite: false,
            media_timeout: Duration::from_secs(60),
            silent_timeout: Duration::from_secs(3600),
            offer_timeout: Duration::from_secs(3600),
            final_timeout: Duration::ZERO,
            software_id: concat!("causeway-", env!("CARGO_PKG_VERSION")).to_owned(),
            silence: Silence::default(),
            jitter_buffer: 0,
            keys_apart: media_core::screen::APART,
            delete_delay: Duration::ZERO,
            tos: 0,
            max_sessions: None,
            max_packet_rate: MAX_PACKET_RATE,
            sip_source: false,
            dtls_passive: false,
            tell_rtcp: false,
            recording: None,
            forwarding: None,
            plain_io: false,
        }
    }
}

/// The level of the log of the process around a relay, syslog's 0 to 7.
#[derive(Debug, Clone, Copy)]
pub struct LogLevel {
    /// As it is at the start.
    pub start: u8,
    /// Changes it.
    pub set: fn(u8) -> Result<(), String>,
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// A socket or a thread could not be opened; the text names it.
    #[error("{0}")]
    Sockets(String),
    /// The certificate could not be made.
    #[error("making the DTLS certificate: {0}")]
    Certificate(String),
}

/// A running relay. Clones are handles to the same one.
#[derive(Clone)]
pub struct Relay {
    inner: Arc<Inner>,
}

struct Inner {
    workers: Vec<Worker>,
    hasher: RandomState,
    threads: Mutex<Vec<JoinHandle<()>>>,
    events: Mutex<Option<mpsc::Receiver<Event>>>,
    prompts: Prompts,
    recorder: Option<RecordWriter>,
    forwarder: Option<Forwarder>,
    control: Arc<Control>,
    ng: Mutex<Option<UdpDoor>>,
    doors: Mutex<Option<Doors>>,
    /// `usize::MAX`: as many as fit.
    max_sessions: AtomicUsize,
}

impl Drop for Inner {
    /// The last handle is gone: nobody can give commands any more.
    fn drop(&mut self) {
        self.workers.iter().for_each(Worker::stop);
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("workers", &self.inner.workers.len()).finish_non_exhaustive()
    }
}

impl Relay {
    /// Opens the ports and starts the threads.
    ///
    /// # Errors
    /// [`StartError`], naming the port or the setting.
    pub fn start(config: RelayConfig) -> Result<Relay, StartError> {
        let count = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        let range = usize::from(config.port_max.saturating_sub(config.port_min));
        if range < 2 * count + 2 {
            return Err(StartError::Config(format!(
                "port range {}-{} is too small for {count} workers",
                config.port_min, config.port_max
            )));
        }
        let thread = |name: &str, error: std::io::Error| StartError::Sockets(format!("{name}: {error}"));
        let prompts = Prompts::start().map_err(|error| thread("the thread that reads files", error))?;
        let recorder = config.recording.clone().map(RecordWriter::start).transpose();
        let recorder = recorder.map_err(|error| thread("the thread that writes recordings", error))?;
        let forwarder = config.forwarding.as_ref().map(Forwarder::start).transpose()?;
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        let outlets = Outlets { events: sender, recorder: recorder.clone(), forwarder: forwarder.clone() };
        let (workers, threads) = start_workers(&config, count, &outlets)?;
        let relay = Relay {
            inner: Arc::new(Inner {
                workers,
                hasher: RandomState::new(),
                threads: Mutex::new(threads),
                events: Mutex::new(Some(receiver)),
                control: Arc::new(Control::new(&config)),
                ng: Mutex::new(None),
                prompts,
                recorder,
                forwarder,
                doors: Mutex::new(None),
                max_sessions: AtomicUsize::new(config.max_sessions.unwrap_or(usize::MAX)),
            }),
        };
        relay.open_doors(&config).inspect_err(|_| relay.shutdown())?;
        Ok(relay)
    }

    fn open_doors(&self, config: &RelayConfig) -> Result<(), StartError> {
        let control = &self.inner.control;
        control.attach(Arc::downgrade(&self.inner));
        let ng = config.listen_ng.map(|address| UdpDoor::open(address, control)).transpose()?;
        *lock(&self.inner.ng) = ng;
        *lock(&self.inner.doors) = Doors::open(config, control)?;
        Ok(())
    }

    /// Executes one command on the worker that owns its call. The future can be awaited by any executor; the command is
    /// already on its way when this returns.
    pub fn execute(&self, command: Command) -> impl Future<Output = Reply> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        // Nobody waits any more: the command was executed all the same.
        self.submit(command, Box::new(move |reply| drop(sender.send(reply))));
        async move { receiver.await.unwrap_or_else(|_| Reply::error(Cause::Internal, "the relay has stopped")) }
    }

    /// What happens in the calls, in the order of each worker. Can be taken once; without a reader events are dropped.
    pub fn events(&self) -> Option<mpsc::Receiver<Event>> {
        lock(&self.inner.events).take()
    }

    /// Where the ng protocol is served, if it is.
    pub fn ng_address(&self) -> Option<SocketAddr> {
        lock(&self.inner.ng).as_ref().map(UdpDoor::address)
    }

    /// Where the ng protocol is served over TCP.
    pub fn tcp_ng_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Kind::Ng)
    }

    /// Where HTTP is served.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Kind::Http)
    }

    /// Where HTTPS is served.
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Kind::Https)
    }

    /// Where the command line is served.
    pub fn cli_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Kind::Cli)
    }

    fn addresses(&self, kind: Kind) -> Vec<SocketAddr> {
        lock(&self.inner.doors).as_ref().map(|doors| doors.addresses(kind)).unwrap_or_default()
    }

    /// Ends all calls and threads; returns when they are gone and what was recorded and forwarded is out, at the latest
    /// after four seconds.
    pub fn shutdown(&self) {
        let (ng, doors) = (lock(&self.inner.ng).take(), lock(&self.inner.doors).take());
        ng.into_iter().for_each(UdpDoor::close);
        doors.into_iter().for_each(Doors::close);
        self.inner.workers.iter().for_each(Worker::stop);
        let threads = std::mem::take(&mut *lock(&self.inner.threads));
        let deadline = Instant::now() + Duration::from_secs(2);
        for thread in threads {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("a media worker panicked");
            }
        }
        // They have told of the end of every call by now.
        self.inner.recorder.iter().for_each(|recorder| recorder.finish(FAREWELL));
        self.inner.forwarder.iter().for_each(|forwarder| forwarder.finish(FAREWELL));
    }

    /// How many calls there are.
    pub(crate) fn calls(&self) -> usize {
        self.inner.workers.iter().map(Worker::calls).sum()
    }

    /// Calls at most from now on; `None`: as many as fit.
    pub(crate) fn limit_sessions(&self, limit: Option<usize>) {
        self.inner.max_sessions.store(limit.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// As [`Relay::execute`], but statistics come as numbers.
    pub(crate) fn ask(&self, command: Command) -> impl Future<Output = Reply> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        // Nobody waits any more: the command was executed all the same.
        self.hand_over(command, Box::new(move |reply| drop(sender.send(reply))));
        async move { receiver.await.unwrap_or_else(|_| Reply::error(Cause::Internal, "the relay has stopped")) }
    }

    /// Hands `command` to its worker; `done` runs on that worker's thread.
    pub(crate) fn submit(&self, command: Command, done: Box<dyn FnOnce(Reply) + Send>) {
        match command {
            Command::Statistics => {
                let control = Arc::clone(&self.inner.control);
                self.hand_over(command, Box::new(move |reply| done(control.statistics_reply(reply))));
            }
            command => self.hand_over(command, done),
        }
    }

    fn hand_over(&self, mut command: Command, done: Box<dyn FnOnce(Reply) + Send>) {
        if let Command::Offer(exchange) | Command::Publish(exchange) = &mut command {
            exchange.no_new_call = self.calls() >= self.inner.max_sessions.load(Ordering::Relaxed);
        }
        if let Command::Offer(exchange) | Command::Answer(exchange) = &mut command
            && self.inner.recorder.is_none()
            && exchange.record.take() == Some(true)
        {
            exchange.warnings.push("no effect here: record call, without recording-dir".to_owned());
        }
        match command {
            Command::Ping => done(Reply::Pong),
            Command::NotImplemented { name } => {
                done(Reply::error(Cause::NotImplemented, format!("unknown command: {name}")));
            }
            Command::List { .. } | Command::Statistics | Command::Sessions | Command::Tune(_) => {
                ask_all(Arc::clone(&self.inner), 0, command, None, done)
            }
            Command::Play(play) => self.play(play, done),
            Command::StopMedia(stop) => self.stop_media(stop, done),
            Command::Record(record) => self.record(record, done),
            Command::Forward(forward) if forward.on && self.inner.forwarder.is_none() => {
                let reason = "nothing is forwarded without tls-send-to or tcp-send-to";
                done(Reply::error(Cause::NotImplemented, reason));
            }
            command => self.inner.give(command, done),
        }
    }

    /// Looks whether a recording could be written before it begins: the controller hears it if not.
    fn record(&self, record: Record, done: Box<dyn FnOnce(Reply) + Send>) {
        let Some(recorder) = &self.inner.recorder else {
            return done(Reply::error(Cause::NotImplemented, "nothing is recorded without recording-dir"));
        };
        if record.what != Recording::Start {
            return self.inner.give(Command::Record(record), done);
        }
        let inner = Arc::downgrade(&self.inner);
        recorder.check(Box::new(move |room| match (room, inner.upgrade()) {
            (Ok(()), Some(inner)) => inner.give(Command::Record(record), done),
            (Err(reason), _) => done(Reply::error(Cause::Internal, format!("recording: {reason}"))),
            (_, None) => done(Reply::error(Cause::Internal, "the relay has stopped")),
        }));
    }

    /// What is still to be read is played first, and then stopped.
    fn stop_media(&self, stop: StopMedia, done: Box<dyn FnOnce(Reply) + Send>) {
        let inner = Arc::downgrade(&self.inner);
        self.inner.prompts.after(Box::new(move || match inner.upgrade() {
            Some(inner) => inner.give(Command::StopMedia(stop), done),
            None => done(Reply::error(Cause::Internal, "the relay has stopped")),
        }));
    }

    /// Has the file of a `play media` read before the worker hears of it, which must not wait for a disk.
    fn play(&self, mut play: Box<Play>, done: Box<dyn FnOnce(Reply) + Send>) {
        let Source::File(file) = &play.source else { return self.inner.give(Command::Play(play), done) };
        let (file, inner) = (file.clone(), Arc::downgrade(&self.inner));
        let read = move |clip| match (clip, inner.upgrade()) {
            (Ok(clip), Some(inner)) => {
                play.source = Source::Clip(clip);
                inner.give(Command::Play(play), done);
            }
            (Err(reason), _) => done(Reply::error(Cause::Malformed, reason)),
            (_, None) => done(Reply::error(Cause::Internal, "the relay has stopped")),
        };
        self.inner.prompts.read(&file, Box::new(read));
    }
}

/// Starts so many workers; when one cannot be, those before it end.
fn start_workers(
    config: &RelayConfig,
    count: usize,
    outlets: &Outlets,
) -> Result<(Vec<Worker>, Vec<JoinHandle<()>>), StartError> {
    let certificate = certificate::make()?;
    let mut workers = Vec::with_capacity(count);
    let mut threads = Vec::with_capacity(count);
    for index in 0..count {
        let settings = worker_settings(config, (index, count), certificate.clone());
        let (name, seed): (_, [u8; 32]) = (format!("media-{index}"), rand::rng().random());
        let started = match config.plain_io {
            true => Worker::start::<PlainBackend>(name, settings, config.tos, seed, outlets.clone()),
            false => Worker::start::<BatchBackend>(name, settings, config.tos, seed, outlets.clone()),
        };
        let (worker, thread) = started.inspect_err(|_| workers.iter().for_each(Worker::stop))?;
        workers.push(worker);
        threads.push(thread);
    }
    Ok((workers, threads))
}

fn worker_settings(config: &RelayConfig, share: (usize, usize), certificate: Certificate) -> Settings {
    Settings {
        share,
        port_min: config.port_min,
        port_max: config.port_max,
        interfaces: config.interfaces.iter().map(Interface::to_core).collect(),
        certificate,
        dtls_12_only: config.dtls_12_only,
        ice_lite: config.ice_lite,
        media_timeout: config.media_timeout,
        silent_timeout: config.silent_timeout,
        offer_timeout: config.offer_timeout,
        final_timeout: config.final_timeout,
        software_id: config.software_id.as_str().into(),
        silence: config.silence.clone(),
        jitter_buffer: config.jitter_buffer,
        keys_apart: config.keys_apart,
        max_packet_rate: config.max_packet_rate,
        tell_rtcp: config.tell_rtcp,
    }
}

impl Inner {
    /// Hands a command to the worker of its call.
    fn give(&self, command: Command, done: Box<dyn FnOnce(Reply) + Send>) {
        let hash = self.hasher.hash_one(command.call_id());
        let index = usize::try_from(hash % self.workers.len() as u64).unwrap_or(0);
        self.workers[index].submit(Job { command, done });
    }
}

/// Asks one worker after the other and puts the replies together.
fn ask_all(
    inner: Arc<Inner>,
    index: usize,
    command: Command,
    sum: Option<Reply>,
    done: Box<dyn FnOnce(Reply) + Send>,
) {
    let next = Arc::clone(&inner);
    let Some(worker) = inner.workers.get(index) else {
        return done(sum.unwrap_or(Reply::Pong));
    };
    let again = command.clone();
    let done = Box::new(move |reply| {
        let sum = match sum {
            None => reply,
            Some(sum) => join(sum, reply, &again),
        };
        ask_all(next, index + 1, again, Some(sum), done);
    });
    worker.submit(Job { command, done });
}

fn join(sum: Reply, reply: Reply, command: &Command) -> Reply {
    match (sum, reply) {
        (Reply::Calls(mut calls), Reply::Calls(more)) => {
            calls.extend(more);
            if let Command::List { limit } = command {
                calls.truncate(*limit);
            }
            Reply::Calls(calls)
        }
        (Reply::Numbers(mut sum), Reply::Numbers(more)) => {
            sum.add(&more);
            Reply::Numbers(sum)
        }
        (Reply::Sessions(mut sum), Reply::Sessions(more)) => {
            sum.extend(more);
            Reply::Sessions(sum)
        }
        (done @ Reply::Done { .. }, Reply::Done { .. }) => done,
        (error @ Reply::Error(_), _) | (_, error) => error,
    }
}

/// Calls `handler` for SIGINT and SIGTERM, for a program without an executor. It may do only what a signal handler may.
///
/// # Errors
/// What the kernel says.
pub fn stop_signals(handler: extern "C" fn(libc::c_int)) -> std::io::Result<()> {
    io::on_signals(&[libc::SIGINT, libc::SIGTERM], handler)
}

/// A panic of another thread leaves nothing half-done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
