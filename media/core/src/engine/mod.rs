//! One worker's whole world: its calls, their legs, its shared port.
//!
//! Something comes in by [`Engine::handle_datagram`], [`Engine::handle_command`] or [`Engine::handle_timeout`]; then
//! [`Engine::poll_transmit`] and [`Engine::poll_event`] are called until they return nothing, and
//! [`Engine::poll_timeout`] says when to come back. Nothing else touches the engine, so nothing in it is locked.

mod address_hash;
mod control;
mod datagram;
mod forwarding;
mod fragment;
mod numbers;
mod own;
mod party;
mod play;
mod playout;
mod recording;
mod report;
mod rtcp;
mod timer;
mod transports;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use slab::Slab;

use self::address_hash::AddressHash;
use crate::call::leg::{Forwarding, Gates, LegKey};
use crate::call::offer_answer::Session;
use crate::call::plan::LegId;
use crate::call::port_pool::PortPool;
use crate::command::{Delete, Forwarded, Recorded};
use crate::dtls::{Certificate, DtlsConfig, DtlsFailure};
use crate::forward::Paths;
pub use crate::forward::Transmit;
use crate::ice::IceState;
use crate::packet::Pool;
use crate::rtcp::ntp::NtpClock;
use crate::screen::Screening;
use crate::sockets::{OpenError, SocketId, SocketUse, Sockets};
use crate::stats::Stats;
use crate::stun::TransactionId;
use crate::transcode::Silence;

/// Buffers a worker keeps: more than two full batches each way.
const POOL: usize = 512;

/// Our ICE checks whose answers are waited for, over all legs of a worker.
const MAX_CHECKS: usize = 16_384;

/// Calls of one worker; each takes two sockets or more, so descriptors end first.
const MAX_CALLS: usize = 50_000;

/// What an engine is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `(index, count)`: this worker among its equals, for its share of the ports.
    pub share: (usize, usize),
    /// First UDP port of the range; the shared ports of all workers come first.
    pub port_min: u16,
    /// Last UDP port of the range.
    pub port_max: u16,
    /// Where media is received; empty for everywhere.
    pub interfaces: Vec<Interface>,
    /// Of this start.
    pub certificate: Certificate,
    /// Refuse DTLS 1.3.
    pub dtls_12_only: bool,
    /// Be a lite ICE agent (RFC 8445 §2.5).
    pub ice_lite: bool,
    /// A call without RTP for so long ends.
    pub media_timeout: Duration,
    /// The same for a call where no media is to flow.
    pub silent_timeout: Duration,
    /// The same for a call whose offer nobody has answered.
    pub offer_timeout: Duration,
    /// A call that is so old ends; zero for never.
    pub final_timeout: Duration,
    /// What the relay calls its software: `s=` of descriptions of its own, SOFTWARE of STUN (RFC 8489 §14.14).
    pub software_id: Arc<str>,
    /// What transcoders do about silence.
    pub silence: Silence,
    /// So many packets, 20 ms each, an uneven stream of sound may be held back to go on evenly; 0 for none.
    pub jitter_buffer: u16,
    /// Keys further apart are no sequence that could trigger anything (ng `trigger`).
    pub keys_apart: Duration,
    /// Packets an end of a call may send in a second; 0 for no limit.
    pub max_packet_rate: u32,
    /// Whether the RTCP of ends is told of: [`EventKind::Rtcp`].
    pub tell_rtcp: bool,
}

/// A local address and what is announced for it.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name in commands.
    pub name: String,
    /// Bound to.
    pub address: IpAddr,
    /// Announced.
    pub advertised: IpAddr,
}

/// Something happened in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The call.
    pub call_id: Arc<str>,
    /// Its end; numbers as the call's legs came.
    pub leg: u32,
    /// The tag of that end; empty before there is one.
    pub tag: String,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// ICE changed its state.
    Ice(IceState),
    /// The DTLS handshake is complete and the certificate is the announced one.
    DtlsConnected,
    /// There will be no media: why.
    DtlsFailed(DtlsFailure),
    /// The end closed its DTLS association, so no more media comes from it. A browser does so as it hangs up, often before
    /// its BYE is here.
    DtlsClosed,
    /// The end's first RTP packet arrived.
    FirstPacket,
    /// The end pressed a key (RFC 4733 event number, 0 to 15).
    Dtmf(u8),
    /// No RTP for too long: the call was ended.
    MediaTimeout,
    /// The end has sent a compound packet of RTCP.
    Rtcp(Box<Rtcp>),
}

/// RTCP of an end, in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtcp {
    /// Where it came from; port 0 where that is not known.
    pub from: SocketAddr,
    /// Where it came to.
    pub to: SocketAddr,
    /// All of it.
    pub octets: Box<[u8]>,
}

/// One call.
pub(crate) struct Call {
    id: Arc<str>,
    session: Session,
    legs: Vec<(LegId, LegKey)>,
    /// Seconds since 1970.
    created: u64,
    /// Seconds since 1970.
    last_signal: u64,
    /// When RTP last came, or the call began.
    last_rtp: Instant,
    /// Whether any route is open: else it is on hold.
    flowing: bool,
    /// Whether any offer was answered.
    answered: bool,
    /// When it began.
    begun: Instant,
    /// What was deleted and ends later (ng `delete delay`).
    ending: Vec<(Instant, Delete)>,
    /// The type of service of what its ends are sent, where the controller gave one.
    tos: Option<u8>,
    /// It was changed since its sockets were marked.
    is_tos_new: bool,
    /// Its recording.
    taped: Option<recording::Taped>,
    /// Its sound goes to the operator's receiver.
    forwarding: Option<Forwarding>,
    /// The controller's latest words about it.
    metadata: Option<Arc<str>>,
    /// What is held back of every end, also of those to come.
    gates: Gates,
    /// What becomes of the keys of every end, also of those to come.
    screening: Option<Box<Screening>>,
    /// Who began it over ng.
    proxy: Option<SocketAddr>,
    /// The same as `created`, microseconds within that second.
    created_micros: u32,
}

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    Shared,
    Line { leg: LegKey, line: usize, rtcp: bool },
}

/// A shared port.
#[derive(Debug, Clone, Copy)]
struct Shared {
    socket: SocketId,
    bind: IpAddr,
    port: u16,
}

/// See the module.
#[allow(missing_debug_implementations)]
pub struct Engine<S> {
    settings: Settings,
    sockets: S,
    rng: StdRng,
    dtls_config: DtlsConfig,
    /// The wall clock, for RTCP.
    ntp: NtpClock,
    /// The wall clock at `started`, since 1970: reports show it.
    unix_start: Duration,
    started: Instant,
    calls: Slab<Call>,
    by_id: HashMap<Arc<str>, usize>,
    paths: Paths,
    next_serial: u64,
    shared: Vec<Shared>,
    owners: Vec<Owner>,
    /// The shared ports' senders: admitted by STUN, gone with their leg.
    addresses: HashMap<SocketAddr, LegKey, AddressHash>,
    ufrags: HashMap<String, LegKey>,
    /// Transactions of our own checks.
    checks: HashMap<TransactionId, LegKey>,
    checks_in_order: VecDeque<TransactionId>,
    timers: BinaryHeap<Reverse<(Instant, LegKey, u64)>>,
    ports: PortPool,
    events: VecDeque<Event>,
    /// For the writer of recordings.
    recorded: VecDeque<Recorded>,
    /// For the operator's receiver.
    forwarded: VecDeque<Forwarded>,
    /// What we call ourselves, to know our own SDP again.
    instance: String,
}

impl<S: Sockets> Engine<S> {
    /// Opens the shared ports. `seed` is all the randomness there will be; `unix_now` is the wall clock at `now`.
    ///
    /// # Errors
    /// The port that could not be opened, or a setting of the DTLS library.
    pub fn new(
        settings: Settings,
        mut sockets: S,
        seed: [u8; 32],
        now: Instant,
        unix_now: Duration,
    ) -> Result<Engine<S>, OpenError> {
        let mut rng = StdRng::from_seed(seed);
        let dtls_config = DtlsConfig::new(settings.dtls_12_only)
            .map_err(|failure| OpenError::Failed(failure.to_string()))?;
        let (shared, first_pair) = open_shared(&mut sockets, &settings)?;
        let ports = PortPool::new(first_pair, settings.port_max, settings.share, &mut rng);
        let mut engine = Engine {
            sockets,
            dtls_config,
            ntp: NtpClock::new(now, unix_now),
            unix_start: unix_now,
            started: now,
            calls: Slab::new(),
            by_id: HashMap::new(),
            paths: Paths::new(POOL, settings.silence.clone()),
            next_serial: 0,
            shared: Vec::new(),
            owners: Vec::new(),
            addresses: HashMap::with_hasher(AddressHash::new(&mut rng)),
            ufrags: HashMap::new(),
            checks: HashMap::new(),
            checks_in_order: VecDeque::new(),
            timers: BinaryHeap::new(),
            ports,
            events: VecDeque::new(),
            recorded: VecDeque::new(),
            forwarded: VecDeque::new(),
            instance: format!("{:012x}", rng.random::<u64>() >> 16),
            rng,
            settings,
        };
        for shared in &shared {
            engine.set_owner(shared.socket, Owner::Shared);
        }
        engine.shared = shared;
        Ok(engine)
    }

    /// The sockets and the buffers, for the loop around the engine.
    pub fn io(&mut self) -> (&mut S, &mut Pool) {
        (&mut self.sockets, &mut self.paths.pool)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.paths.out.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many calls there are.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    /// When [`Engine::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// The port that carries the browser legs of `family`, for reports and tests.
    pub fn shared_port(&self) -> Option<u16> {
        self.shared.first().map(|shared| shared.port)
    }

    /// Counters of this worker.
    pub fn stats(&self) -> &Stats {
        &self.paths.stats
    }

    /// Seconds and fraction since 1970.
    fn unix(&self, now: Instant) -> Duration {
        self.unix_start + now.saturating_duration_since(self.started)
    }

    fn owner(&self, socket: SocketId) -> Owner {
        self.owners.get(socket.0 as usize).copied().unwrap_or(Owner::Nobody)
    }

    fn set_owner(&mut self, socket: SocketId, owner: Owner) {
        let at = socket.0 as usize;
        if at >= self.owners.len() {
            self.owners.resize(at + 1, Owner::Nobody);
        }
        self.owners[at] = owner;
    }

    fn tell(&mut self, leg: LegKey, kind: EventKind) {
        let Some(leg) = self.paths.legs.get(leg) else { return };
        let Some(call) = self.calls.get(leg.call) else { return };
        let call_id = Arc::clone(&call.id);
        match &kind {
            EventKind::DtlsFailed(why) => {
                tracing::warn!(call_id = &*call_id, leg = leg.id.0, %why, "DTLS failed")
            }
            EventKind::Dtmf(_) => tracing::debug!(call_id = &*call_id, leg = leg.id.0, "DTMF"),
            kind => tracing::info!(call_id = &*call_id, leg = leg.id.0, ?kind, "media"),
        }
        let tag = call.session.names(leg.id).tag.unwrap_or_default();
        self.events.push_back(Event { call_id, leg: leg.id.0, tag, kind });
    }
}

/// Opens one shared port on each interface, or one per family on all of them. Returns the first port that is left for
/// pairs.
fn open_shared<S: Sockets>(sockets: &mut S, settings: &Settings) -> Result<(Vec<Shared>, u16), OpenError> {
    let addresses: Vec<IpAddr> = if settings.interfaces.is_empty() {
        vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    } else {
        let mut seen: Vec<IpAddr> = settings.interfaces.iter().map(|interface| interface.address).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    let (index, count) = (settings.share.0 as u16, settings.share.1.max(1) as u16);
    let mut shared: Vec<Shared> = Vec::new();
    let mut wanted = settings.port_min.saturating_add(index);
    for bind in addresses {
        loop {
            match sockets.open(SocketAddr::new(bind, wanted), SocketUse::Shared) {
                Ok((socket, bound)) => {
                    shared.push(Shared { socket, bind, port: bound.port() });
                    break;
                }
                // Another program sits there: the next port of this worker's share serves as well.
                Err(OpenError::InUse) if wanted.saturating_add(count) < settings.port_max => wanted += count,
                // A host without IPv6 is no fault.
                Err(_) if bind == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !shared.is_empty() => break,
                Err(error) => {
                    return Err(OpenError::Failed(format!(
                        "media port {}: {error}",
                        SocketAddr::new(bind, wanted)
                    )));
                }
            }
        }
    }
    // The pairs begin at the same place for all workers, so that their shares do not overlap.
    Ok((shared, settings.port_min.saturating_add(count)))
}
