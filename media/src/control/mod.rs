//! The doors of control: ng over UDP, TCP, HTTP and WebSocket, and the command line of `rtpengine-ctl`.
//!
//! Whatever brings a command, it is decoded by [`media_core::ng`], executed by [`Relay::submit`] and counted here, and all
//! doors share one cookie cache: a repeated command gets the reply it got before, and is not executed again.

mod callers;
mod cli;
mod cookies;
mod doors;
mod http;
mod line;
mod statistics;
mod stream;
mod udp;
mod websocket;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use media_core::command::{Cause, Command, Failure, Reply};
use media_core::ng::{self, DecodeError, Defaults, Encoding};

use self::callers::Callers;
use self::cookies::{CookieCache, Known};
pub(crate) use self::doors::{Doors, Kind};
use self::statistics::Rates;
pub(crate) use self::udp::UdpDoor;
use crate::{Inner, Interface, LogLevel, Relay, lock};

/// Takes the octets of a reply.
type Answer = Box<dyn FnOnce(Arc<[u8]>) + Send>;

/// A message that can have no answer: it had no cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dropped;

/// What all doors share.
pub(crate) struct Control {
    /// The doors must not keep alive the relay that owns them.
    relay: OnceLock<Weak<Inner>>,
    cookies: Mutex<CookieCache>,
    defaults: Mutex<Defaults>,
    callers: Mutex<Callers>,
    rates: Mutex<Rates>,
    /// Messages without a cookie, connections too many, requests that are none.
    dropped: AtomicU64,
    started: Instant,
    /// As configured; none for all addresses.
    interfaces: Vec<Interface>,
    ports: (u16, u16),
    workers: usize,
    tos: u8,
    tuned: Mutex<Tuned>,
    log_level: Option<LogLevel>,
}

/// The settings that can be changed while calls run, as they are, and as they were at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuned {
    now: Settings,
    start: Settings,
}

/// See [`Tuned`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    /// -1 for no limit.
    max_sessions: i64,
    timeout: u64,
    silent_timeout: u64,
    offer_timeout: u64,
    final_timeout: u64,
    delete_delay: u64,
    log_level: u8,
}

impl Control {
    /// For a relay that starts with `config`.
    pub(crate) fn new(config: &crate::RelayConfig) -> Self {
        let start = Settings {
            max_sessions: config.max_sessions.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX)),
            timeout: config.media_timeout.as_secs(),
            silent_timeout: config.silent_timeout.as_secs(),
            offer_timeout: config.offer_timeout.as_secs(),
            final_timeout: config.final_timeout.as_secs(),
            delete_delay: config.delete_delay.as_secs(),
            log_level: config.log_level.as_ref().map_or(6, |level| level.start),
        };
        Self {
            relay: OnceLock::new(),
            cookies: Mutex::default(),
            defaults: Mutex::new(Defaults {
                sip_source: config.sip_source,
                dtls_passive: config.dtls_passive,
                delete_delay: config.delete_delay,
            }),
            callers: Mutex::new(Callers::new(Instant::now())),
            rates: Mutex::default(),
            dropped: AtomicU64::new(0),
            started: Instant::now(),
            interfaces: config.interfaces.clone(),
            ports: (config.port_min, config.port_max),
            workers: config.workers,
            tos: config.tos,
            tuned: Mutex::new(Tuned { now: start, start }),
            log_level: config.log_level,
        }
    }

    /// Says whose doors they are, once.
    pub(crate) fn attach(&self, relay: Weak<Inner>) {
        if self.relay.set(relay).is_err() {
            tracing::error!("the doors belong to a relay already");
        }
    }

    fn relay(&self) -> Option<Relay> {
        self.relay.get()?.upgrade().map(|inner| Relay { inner })
    }

    fn drop_one(&self, source: SocketAddr, why: &str) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%source, why, "control message dropped");
    }

    /// Takes a message of `source`, with its cookie. `whom` tells apart those that may use one cookie for two commands: the
    /// address over UDP, the host where each command may have a connection of its own.
    fn message(
        self: &Arc<Self>,
        source: SocketAddr,
        whom: SocketAddr,
        message: &[u8],
        answer: Answer,
    ) -> Result<(), Dropped> {
        let defaults = *lock(&self.defaults);
        let request = match ng::decode_with(message, &defaults) {
            Ok(request) => request,
            Err(DecodeError::Refused { cookie, encoding, failure }) => {
                self.refused(source, &failure);
                answer(ng::encode(&cookie, &Reply::Error(failure), encoding).into());
                return Ok(());
            }
            Err(error @ DecodeError::NoCookie) => {
                self.drop_one(source, &error.to_string());
                return Err(Dropped);
            }
        };
        let key = (whom, request.cookie.clone());
        let known = lock(&self.cookies).begin(Instant::now(), key.clone(), answer);
        let answer = match known {
            Known::Fresh(answer) => answer,
            Known::Running => return Ok(()),
            Known::Done(answer, reply) => {
                answer(reply);
                return Ok(());
            }
        };
        let (control, encoding) = (Arc::clone(self), request.encoding);
        self.execute(source, request.command, move |reply| {
            let octets: Arc<[u8]> = ng::encode(&key.1, &reply, encoding).into();
            let waiting = lock(&control.cookies).finish(&key, &octets);
            waiting.into_iter().chain([answer]).for_each(|answer| answer(Arc::clone(&octets)));
        });
        Ok(())
    }

    /// The same without a cookie (`ng-plain`): nothing tells a repeated message from another one.
    fn plain(
        self: &Arc<Self>,
        source: SocketAddr,
        message: &[u8],
        answer: Box<dyn FnOnce(Vec<u8>, Encoding) + Send>,
    ) {
        let defaults = *lock(&self.defaults);
        match ng::decode_plain(message, &defaults) {
            Ok((command, encoding)) => self.execute(source, command, move |reply| {
                answer(ng::encode_plain(&reply, encoding), encoding);
            }),
            Err((failure, encoding)) => {
                self.refused(source, &failure);
                answer(ng::encode_plain(&Reply::Error(failure), encoding), encoding);
            }
        }
    }

    fn refused(&self, source: SocketAddr, failure: &Failure) {
        tracing::debug!(%source, %failure, "ng message refused");
        lock(&self.callers).error(source.ip());
    }

    /// Executes a command of `source` and counts it.
    fn execute(
        self: &Arc<Self>,
        source: SocketAddr,
        mut command: Command,
        done: impl FnOnce(Reply) + Send + 'static,
    ) {
        let Some(relay) = self.relay() else {
            return done(Reply::error(Cause::Internal, "the relay has stopped"));
        };
        if let Command::Offer(exchange) | Command::Answer(exchange) = &mut command {
            exchange.proxy = Some(source);
        }
        let (control, name, begun) = (Arc::clone(self), command.name().to_owned(), Instant::now());
        relay.submit(
            command,
            Box::new(move |reply| {
                let (took, failed) = (begun.elapsed(), matches!(reply, Reply::Error(_)));
                let sessions = control.relay().map_or(0, |relay| relay.calls());
                lock(&control.callers).note(Instant::now(), source.ip(), &name, took, failed, sessions);
                done(reply);
            }),
        );
    }

    /// Changes the settings of the relay; they are in force when this returns.
    async fn tune(&self, change: impl FnOnce(&mut Settings)) {
        let Some(relay) = self.relay() else { return };
        let now = {
            let mut tuned = lock(&self.tuned);
            change(&mut tuned.now);
            tuned.now
        };
        relay.limit_sessions(usize::try_from(now.max_sessions).ok());
        lock(&self.defaults).delete_delay = Duration::from_secs(now.delete_delay);
        let seconds = |value| Some(Duration::from_secs(value));
        let tuning = media_core::command::Tuning {
            media_timeout: seconds(now.timeout),
            silent_timeout: seconds(now.silent_timeout),
            offer_timeout: seconds(now.offer_timeout),
            final_timeout: seconds(now.final_timeout),
        };
        relay.execute(Command::Tune(tuning)).await;
    }
}
