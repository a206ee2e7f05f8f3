//! The transactions of one worker: matching, timers, sending.

mod listing;
mod opening;

use std::collections::{BTreeSet, VecDeque, hash_map};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;

pub use self::listing::{Kind, Listed};
pub use self::opening::Opening;
use super::answered::{Answer, Answered};
use super::client::Client;
use super::client_invite::ClientInvite;
use super::effect::{Effect, Effects};
use super::matching::{Key, KeyMap, Keys, is_rfc2543};
use super::server::Server;
use super::server_invite::ServerInvite;
use super::timer::{Patience, Timer, TimerQueue};
use super::{Acked, Cancelled, ClientId, Config, Event, RequestError, ServerId, Stats};
use crate::flow::{ConnectionId, Destination, Flow, Outbound, Protocol, SendToken};
use crate::message::build::Reply;
use crate::message::header::Via;
use crate::message::uri::host_ip;
use crate::message::{Message, Method, Name, Request, Response, StatusCode, terse};
use crate::settings::normal_host;

/// What the To tags of responses without a transaction begin with.
const STATELESS_TAG: &str = "cw503.";

/// All transactions of one worker.
#[derive(Debug)]
pub struct Table {
    config: Config,
    entries: Slab<Entry>,
    /// Serial number of the last transaction: with the slot it makes an id that is never used twice.
    serial: u32,
    keys: Keys,
    servers: KeyMap<u64>,
    clients: KeyMap<u64>,
    /// How many server transactions share a merge key.
    merged: KeyMap<u32>,
    answered: Answered,
    /// Client transactions over a connection, to end them with it.
    by_connection: BTreeSet<(ConnectionId, u64)>,
    timers: TimerQueue,
    effects: Effects,
    /// Sum of [`Entry::size`].
    held: usize,
    transmits: VecDeque<Outbound>,
    events: VecDeque<Event>,
    stats: Stats,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    machine: Machine,
    destination: Destination,
    /// Where a response goes when its connection is gone (RFC 3261 §18.2.2).
    fallback: Option<Destination>,
    /// Where responses may go when both are gone: the name in sent-by, once (RFC 3263 §5).
    sent_by: Option<Box<SentBy>>,
    key: Key,
    merge_key: Option<Key>,
    /// To tag of the final response, by which the ACK of an RFC 2543 client is matched.
    response_tag: Option<String>,
    /// A CANCEL of our own: the user hears nothing of it.
    silent: bool,
    /// A client transaction that carries a server transaction on.
    branch: bool,
    answered: bool,
    /// Bytes of the request.
    size: usize,
    deadlines: Vec<(Timer, Instant)>,
}

/// The sent-by of a Via that is a name, and the transport of the Via.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentBy {
    /// The transport.
    pub protocol: Protocol,
    /// The name, lower case.
    pub host: String,
    /// The port, where one is said.
    pub port: Option<u16>,
}

/// Why a client transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// The user sends a request of its own.
    Own,
    /// It carries a server transaction on.
    Branch,
    /// It cancels one that does.
    Cancel,
}

#[derive(Debug)]
enum Machine {
    ClientInvite(Box<ClientInvite>),
    Client(Client),
    ServerInvite(ServerInvite),
    Server(Server),
}

impl Machine {
    const fn is_client(&self) -> bool {
        matches!(self, Self::ClientInvite(_) | Self::Client(_))
    }
}

/// What the transport brings.
impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let answered = Answered::new(config.max_bytes / 4);
        Self {
            config,
            entries: Slab::new(),
            serial: 0,
            keys: Keys::default(),
            servers: KeyMap::default(),
            clients: KeyMap::default(),
            merged: KeyMap::default(),
            answered,
            by_connection: BTreeSet::new(),
            timers: TimerQueue::default(),
            effects: Effects::default(),
            held: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes a message that came over `flow`: absorbs and answers retransmissions, makes an [`Event`] of the rest.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        match message {
            Message::Request(request) => self.handle_request(now, flow, request),
            Message::Response(response) => self.handle_response(now, flow, response),
        }
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.answered.poll_timeout().is_some_and(|due| due <= now) {
            self.answered.expire(now);
        }
        while let Some((id, timer)) = self.timers.pop_due(now) {
            let Some(slot) = self.slot(id) else { continue };
            let (entry, effects) = (&mut self.entries[slot], &mut self.effects);
            entry.deadlines.retain(|(set, _)| *set != timer);
            let timers = &self.config.timers;
            match &mut entry.machine {
                Machine::ClientInvite(machine) => machine.on_timer(timer, timers, effects),
                Machine::Client(machine) => machine.on_timer(timer, timers, effects),
                Machine::ServerInvite(machine) => machine.on_timer(timer, timers, effects),
                Machine::Server(machine) => machine.on_timer(timer, effects),
            }
            match timer {
                Timer::A | Timer::E | Timer::G => self.stats.retransmissions += 1,
                Timer::Trying => self.stats.rpl_generated += 1,
                _ => {}
            }
            self.apply(now, id);
        }
    }

    /// An [`Outbound`] with this token could not be sent.
    pub fn handle_send_failure(&mut self, token: SendToken) {
        let Some(slot) = self.slot(token.0) else { return };
        if self.entries[slot].machine.is_client() {
            self.fail_client(token.0);
        } else {
            self.events.push_back(Event::ServerTransportError { id: ServerId(token.0) });
        }
    }

    /// A connection is gone: client transactions that wait for a response on it end now, with
    /// [`Event::TransportError`]. Those that were answered linger on.
    pub fn handle_flow_closed(&mut self, connection: ConnectionId) {
        let range = (connection, 0)..=(connection, u64::MAX);
        let ids: Vec<u64> = self.by_connection.range(range).map(|&(_, id)| id).collect();
        for id in ids {
            if self.slot(id).is_some_and(|slot| !self.entries[slot].answered) {
                self.fail_client(id);
            }
        }
    }

    fn fail_client(&mut self, id: u64) {
        let silent = self.slot(id).is_none_or(|slot| self.entries[slot].silent);
        if !silent {
            self.events.push_back(Event::TransportError { id: ClientId(id) });
        }
        self.terminate(id);
    }

    fn handle_request(&mut self, now: Instant, flow: Flow, mut request: Request) {
        if *request.method() == Method::Ack {
            return self.handle_ack(now, flow, request);
        }
        let invite = match request.method() {
            Method::Cancel => {
                let key = self.keys.server(&request, &Method::Invite, request.to_tag());
                key.ok().and_then(|key| self.servers.get(&key).copied())
            }
            _ => None,
        };
        let Some(opening) = self.open(now, &flow, &mut request) else { return };
        let (id, merged) = self.begin_server(now, opening, &request);
        self.events.push_back(match request.method() {
            Method::Cancel => Event::Cancel { id, invite: invite.map(ServerId), flow, request },
            _ => Event::Request { id, flow, request, merged },
        });
    }

    /// The transaction, and whether another one serves the same request.
    fn begin_server(&mut self, now: Instant, opening: Opening, request: &Request) -> (ServerId, bool) {
        if *request.method() != Method::Invite {
            return (self.begin(now, opening), false);
        }
        let timers = &self.config.timers;
        let mut trying = Reply::new(request, StatusCode::TRYING).reason(&self.config.trying_reason).build();
        if !opening.reliable() {
            // Whose address the request has is not known yet. A 100 needs nothing that an INVITE has not.
            terse::shorten(&mut trying, request, request.received_len());
        }
        if self.config.trying == super::Trying::AtOnce {
            self.stats.rpl_generated += 1;
        }
        let machine = ServerInvite::start(
            trying.to_bytes(),
            self.config.trying,
            opening.reliable(),
            timers,
            &mut self.effects,
        );
        let merge_key = self.keys.merged(request);
        let serving = merge_key.map(|key| {
            let count = self.merged.entry(key).or_default();
            *count += 1;
            *count
        });
        let id = self.insert_server(now, opening, Machine::ServerInvite(machine), merge_key);
        (id, serving.is_some_and(|count| count > 1))
    }

    fn handle_retransmission(&mut self, now: Instant, id: u64) {
        let Some(slot) = self.slot(id) else { return };
        match &self.entries[slot].machine {
            Machine::ServerInvite(machine) => machine.on_retransmission(&mut self.effects),
            Machine::Server(machine) => machine.on_retransmission(&mut self.effects),
            Machine::ClientInvite(_) | Machine::Client(_) => {}
        }
        self.stats.retransmissions += self.effects.list.len() as u64;
        self.apply(now, id);
    }

    fn handle_ack(&mut self, now: Instant, flow: Flow, mut request: Request) {
        let id = self.find_acked(&request);
        if request.stamp_source(flow.remote, self.config.force_rport).is_err() {
            return;
        }
        let acked = id.and_then(|id| self.slot(id)).and_then(|slot| match &mut self.entries[slot].machine {
            Machine::ServerInvite(machine) => Some(machine.on_ack(&self.config.timers, &mut self.effects)),
            _ => None,
        });
        if let Some(id) = id {
            self.apply(now, id);
        }
        // The ACK to a refusal of ours that had no transaction.
        let stateless = request.to_tag().is_some_and(|tag| tag.starts_with(STATELESS_TAG));
        if acked != Some(Acked::Absorb) && !(id.is_none() && stateless) {
            self.events.push_back(Event::Ack { invite: id.map(ServerId), flow, request });
        }
    }

    /// The INVITE that an ACK belongs to.
    fn find_acked(&self, ack: &Request) -> Option<u64> {
        let find = |to_tag| self.servers.get(&self.keys.server(ack, &Method::Invite, to_tag).ok()?).copied();
        if !is_rfc2543(ack) {
            return find(None);
        }
        // The INVITE had no To tag, or that of its dialog.
        let id = find(None).or_else(|| find(ack.to_tag()))?;
        let sent = self.entries[self.slot(id)?].response_tag.as_deref();
        (sent == ack.to_tag()).then_some(id)
    }

    fn handle_response(&mut self, now: Instant, flow: Flow, response: Response) {
        self.stats.rpl_received += 1;
        let id = self.keys.client(&response).and_then(|key| self.clients.get(&key).copied());
        let Some((id, slot)) = id.and_then(|id| Some((id, self.slot(id)?))) else {
            return self.events.push_back(Event::Response { id: None, flow, response });
        };
        let (entry, effects, config) = (&mut self.entries[slot], &mut self.effects, &self.config);
        let mut cancel = None;
        let deliver = match &mut entry.machine {
            Machine::ClientInvite(machine) => {
                let deliver = machine.on_response(&response, config, effects);
                cancel = machine.take_cancel(config, effects);
                deliver
            }
            Machine::Client(machine) => machine.on_response(&response, &config.timers, effects),
            Machine::ServerInvite(_) | Machine::Server(_) => return,
        };
        if response.status().is_final() && !std::mem::replace(&mut entry.answered, true) {
            self.stats.waiting += 1;
            self.stats.branches.waiting += u64::from(entry.branch);
        }
        let (silent, destination) = (entry.silent, entry.destination);
        if deliver && !silent {
            self.events.push_back(Event::Response { id: Some(ClientId(id)), flow, response });
        }
        self.apply(now, id);
        if let Some(cancel) = cancel {
            self.send_cancel(now, cancel, destination);
        }
    }
}

/// What the user asks.
impl Table {
    /// Answers a server transaction. `false` when it is gone or finally answered: the response is not sent. (Further 2xx
    /// to an INVITE are, for the user repeats them, RFC 6026 §7.1.)
    pub fn respond(&mut self, now: Instant, id: ServerId, response: &Response) -> bool {
        let Some(slot) = self.slot(id.0) else { return false };
        let (status, bytes) = (response.status(), response.to_bytes());
        let (entry, effects, timers) = (&mut self.entries[slot], &mut self.effects, &self.config.timers);
        let sent = match &mut entry.machine {
            Machine::ServerInvite(machine) => machine.respond(status, bytes, timers, effects),
            Machine::Server(machine) => {
                machine.respond(status, bytes, effects);
                true
            }
            Machine::ClientInvite(_) | Machine::Client(_) => false,
        };
        if sent && status.is_final() && !std::mem::replace(&mut entry.answered, true) {
            if matches!(entry.machine, Machine::ServerInvite(_)) {
                entry.response_tag = response.to_tag().map(str::to_owned);
            }
            self.stats.waiting += 1;
            self.stats.answered[usize::from(status.class()) - 2] += 1;
        }
        self.apply(now, id.0);
        sent
    }

    /// Nobody knows whether the client of an INVITE is where it says (RFC 3261 §8.2.7, §26.3.2.4): what is said first to it is said
    /// once if it is a refusal, and again only when it is asked for; a later one, or a 2xx, is repeated a few times only.
    pub fn doubt(&mut self, id: ServerId) {
        if let Some(slot) = self.slot(id.0)
            && let Machine::ServerInvite(machine) = &mut self.entries[slot].machine
        {
            machine.doubt();
        }
    }

    /// Answers a request with 503 and Retry-After, without a transaction: it costs little, whatever comes in numbers.
    pub fn refuse(&mut self, flow: &Flow, mut request: Request) {
        if request.stamp_source(flow.remote, self.config.force_rport).is_ok() {
            self.turn_away(flow, &request);
        }
    }

    fn turn_away(&mut self, flow: &Flow, request: &Request) {
        if *request.method() == Method::Ack {
            return;
        }
        self.stats.refused += 1;
        self.stats.rpl_generated += 1;
        // The same for each retransmission (RFC 3261 §8.2.7).
        let branch = request.top_via().ok().and_then(|via| via.branch()).unwrap_or_default();
        let tag = format!("{STATELESS_TAG}{}", branch.get(..branch.len().min(64)).unwrap_or_default());
        let mut reply = Reply::new(request, StatusCode::SERVICE_UNAVAILABLE)
            .header(Name::RetryAfter, self.config.retry_after.to_string())
            .to_tag(&tag)
            .build();
        // Whoever has no room has none to find out who is there.
        if flow.protocol.is_reliable() || terse::shorten(&mut reply, request, request.received_len()) {
            self.send_response(flow, request, &reply);
        }
    }

    /// Whether a transaction serves this request already: it is a retransmission.
    #[must_use]
    pub fn serves(&self, request: &Request) -> bool {
        let key = self.keys.server(request, request.method(), request.to_tag());
        key.is_ok_and(|key| self.servers.contains_key(&key) || self.answered.get(&key).is_some())
    }

    /// Sends the 100 that [`super::Trying::After`] holds back: from now on it will take time.
    pub fn send_trying(&mut self, now: Instant, id: ServerId) {
        let Some(slot) = self.slot(id.0) else { return };
        if let Machine::ServerInvite(machine) = &mut self.entries[slot].machine
            && machine.send_trying(&mut self.effects)
        {
            self.stats.rpl_generated += 1;
        }
        self.apply(now, id.0);
    }

    /// Begins a client transaction: `request` has its topmost Via with a fresh branch. Not for ACK; see [`Table::send`].
    ///
    /// # Errors
    /// When the table is full or the branch cannot name a transaction.
    pub fn request(
        &mut self,
        now: Instant,
        request: Request,
        destination: Destination,
    ) -> Result<ClientId, RequestError> {
        if self.is_full(request.written_len()) {
            return Err(RequestError::Full);
        }
        let patience = Patience::of(request.method(), &self.config.timers);
        self.begin_client(now, request, destination, patience, Begun::Own)
    }

    /// The same for a branch of a request that is relayed, with a patience of its own.
    ///
    /// # Errors
    /// As [`Table::request`].
    pub fn request_with(
        &mut self,
        now: Instant,
        request: Request,
        destination: Destination,
        patience: Patience,
    ) -> Result<ClientId, RequestError> {
        if self.is_full(request.written_len()) {
            return Err(RequestError::Full);
        }
        self.begin_client(now, request, destination, patience, Begun::Branch)
    }

    /// Cancels an INVITE client transaction: at once after a provisional response, with the first one before that
    /// (RFC 3261 §9.1), or as [`Config::cancel_b_method`] says. `reasons` become Reason headers (RFC 3326). The CANCEL's own
    /// response is absorbed; the INVITE's 487 comes as [`Event::Response`].
    pub fn cancel(&mut self, now: Instant, id: ClientId, reasons: &[&str]) -> Cancelled {
        let Some(slot) = self.slot(id.0) else { return Cancelled::No };
        let entry = &mut self.entries[slot];
        let Machine::ClientInvite(machine) = &mut entry.machine else { return Cancelled::No };
        let cancelled = machine.want_cancel(reasons, &self.config, &mut self.effects);
        let cancel = machine.take_cancel(&self.config, &mut self.effects);
        let destination = entry.destination;
        self.apply(now, id.0);
        if let Some(cancel) = cancel {
            self.send_cancel(now, cancel, destination);
        }
        cancelled
    }

    /// The peer of a server transaction has come back over another stream: what it is yet to hear goes there.
    pub fn move_server(&mut self, id: ServerId, flow: Flow) {
        if let Some(slot) = self.slot(id.0) {
            let entry = &mut self.entries[slot];
            (entry.destination, entry.fallback) = (Destination::Flow(flow), None);
        }
    }

    /// The name to look up after [`Event::ServerTransportError`] (RFC 3263 §5); each transaction has it once.
    pub fn take_sent_by(&mut self, id: ServerId) -> Option<SentBy> {
        let slot = self.slot(id.0)?;
        self.entries[slot].sent_by.take().map(|sent_by| *sent_by)
    }

    /// What the peer of a server transaction is yet to hear goes to the first of `places`, else to the second. What was said
    /// last is said again there; a 2xx to an INVITE is repeated by whoever gave it.
    pub fn readdress_server(&mut self, now: Instant, id: ServerId, places: &[Destination]) {
        if let (Some(slot), Some(first)) = (self.slot(id.0), places.first()) {
            let entry = &mut self.entries[slot];
            (entry.destination, entry.fallback) = (*first, places.get(1).copied());
            self.handle_retransmission(now, id.0);
        }
    }

    /// The same for a client transaction: CANCEL, and the ACK to a refusal, go there.
    pub fn move_client(&mut self, id: ClientId, flow: Flow) {
        self.hold_client(id);
        let Some(slot) = self.slot(id.0) else { return };
        self.entries[slot].destination = Destination::Flow(flow);
        if let Some(connection) = flow.connection {
            self.by_connection.insert((connection, id.0));
        }
    }

    /// The end of its connection will not end this client transaction, for its peer may come back over another one.
    pub fn hold_client(&mut self, id: ClientId) {
        let Some(slot) = self.slot(id.0) else { return };
        if let Destination::Flow(Flow { connection: Some(connection), .. }) = self.entries[slot].destination {
            self.by_connection.remove(&(connection, id.0));
        }
    }

    /// Whether a client transaction is held, and would else have ended with `connection`.
    #[must_use]
    pub fn is_held(&self, id: ClientId, connection: ConnectionId) -> bool {
        self.slot(id.0).is_some_and(|slot| {
            let over = matches!(self.entries[slot].destination,
                Destination::Flow(flow) if flow.connection == Some(connection));
            over && !self.by_connection.contains(&(connection, id.0))
        })
    }

    /// Ends a client transaction without a word.
    pub fn drop_client(&mut self, id: ClientId) {
        self.terminate(id.0);
    }

    /// Forgets a server transaction that nobody will answer. Its client hears nothing more.
    pub fn abandon(&mut self, id: ServerId) {
        self.terminate(id.0);
    }

    /// Sends bytes without a transaction: an ACK to a 2xx, a response passed on statelessly.
    pub fn send(&mut self, destination: Destination, bytes: Bytes) {
        self.transmits.push_back(Outbound { destination, fallback: None, bytes, token: SendToken(0) });
    }

    /// Answers `request`, which came over `flow`, without a transaction (RFC 3261 §8.2.7).
    pub fn send_response(&mut self, flow: &Flow, request: &Request, response: &Response) {
        self.stats.rpl_sent += 1;
        let (destination, fallback) = match request.top_via() {
            Ok(via) => response_destination(flow, &via, self.config.force_rport),
            Err(_) => (Destination::Flow(*flow), None),
        };
        let bytes = response.to_bytes();
        self.transmits.push_back(Outbound { destination, fallback, bytes, token: SendToken(0) });
    }
}

/// What comes out.
impl Table {
    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Outbound> {
        self.transmits.pop_front()
    }

    /// The next thing the user has to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Table::handle_timeout`] is next needed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.answered.poll_timeout()).min()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { current: self.entries.len() as u64, ..self.stats }
    }

    /// Whether no transaction is left and everything was polled.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
            && self.answered.len() == 0
            && self.transmits.is_empty()
            && self.events.is_empty()
    }

    #[cfg(test)]
    pub(super) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.servers.is_empty()
            && self.clients.is_empty()
            && self.merged.is_empty()
            && self.by_connection.is_empty()
            && self.held == 0
            && self.answered.len() == 0
            && self.timers.len() == 0
    }
}

/// The inside.
impl Table {
    fn begin_client(
        &mut self,
        now: Instant,
        request: Request,
        destination: Destination,
        patience: Patience,
        begun: Begun,
    ) -> Result<ClientId, RequestError> {
        let key = self.keys.client(&request).ok_or(RequestError::NoBranch)?;
        if self.clients.contains_key(&key) {
            return Err(RequestError::BranchInUse);
        }
        let (protocol, connection) = match &destination {
            Destination::Flow(flow) => (flow.protocol, flow.connection),
            Destination::Address { protocol, .. } => (*protocol, None),
        };
        let size = request.written_len();
        let (reliable, timers, effects) = (protocol.is_reliable(), &self.config.timers, &mut self.effects);
        let machine = if *request.method() == Method::Invite {
            let machine = ClientInvite::start(request, reliable, timers, patience, effects);
            Machine::ClientInvite(Box::new(machine))
        } else {
            Machine::Client(Client::start(&request, reliable, timers, patience, effects))
        };
        self.stats.total_local += 1;
        let id = self.insert(Entry {
            id: 0,
            machine,
            destination,
            fallback: None,
            sent_by: None,
            key,
            merge_key: None,
            response_tag: None,
            silent: begun == Begun::Cancel,
            branch: begun != Begun::Own,
            answered: false,
            size,
            deadlines: Vec::with_capacity(3),
        });
        self.clients.insert(key, id);
        if let Some(connection) = connection {
            self.by_connection.insert((connection, id));
        }
        self.apply(now, id);
        Ok(ClientId(id))
    }

    /// Whether there is no room for another request of `size` bytes.
    fn is_full(&self, size: usize) -> bool {
        self.entries.len() >= self.config.max_transactions || self.held + size > self.config.max_bytes
    }

    fn send_cancel(&mut self, now: Instant, cancel: Request, destination: Destination) {
        // It comes on top of the limit: refusing to cancel would keep more alive than it. It can fail only when a user
        // has sent a CANCEL with this branch himself, and then that one serves.
        let patience = Patience::of(cancel.method(), &self.config.timers);
        let _ = self.begin_client(now, cancel, destination, patience, Begun::Cancel);
    }

    fn insert(&mut self, mut entry: Entry) -> u64 {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let vacant = self.entries.vacant_entry();
        let id = u64::from(self.serial) << 32 | vacant.key() as u64;
        entry.id = id;
        self.held += entry.size;
        self.stats.branches.created += u64::from(entry.branch);
        vacant.insert(entry);
        self.stats.created += 1;
        self.stats.total += 1;
        id
    }

    /// The slot of `id`, unless it is stale.
    fn slot(&self, id: u64) -> Option<usize> {
        let slot = (id & u64::from(u32::MAX)) as usize;
        self.entries.get(slot).filter(|entry| entry.id == id).map(|_| slot)
    }

    /// Carries out what a machine asked for.
    fn apply(&mut self, now: Instant, id: u64) {
        let mut list = std::mem::take(&mut self.effects.list);
        for effect in list.drain(..) {
            let Some(slot) = self.slot(id) else { break };
            match effect {
                Effect::Send(bytes) => self.transmit(slot, bytes),
                Effect::Set(timer, after) => {
                    self.clear_timer(slot, timer);
                    // At least a millisecond, lest a setting of 0 makes the timer loop spin.
                    let at = now + after.max(Duration::from_millis(1));
                    self.entries[slot].deadlines.push((timer, at));
                    self.timers.insert(at, id, timer);
                }
                Effect::Clear(timer) => self.clear_timer(slot, timer),
                Effect::Timeout(timer) => self.report_timeout(slot, timer),
                Effect::Remember(bytes) => self.remember(now, slot, bytes),
                Effect::Terminate => self.terminate(id),
            }
        }
        self.effects.list = list;
        self.effects.list.clear();
    }

    fn remember(&mut self, now: Instant, slot: usize, bytes: Bytes) {
        let entry = &self.entries[slot];
        let (key, answer) = (entry.key, Answer { bytes, destination: entry.destination });
        self.keep_answer(now, key, answer);
    }

    /// Timer J is as long as retransmissions may come: 64·T1 (RFC 3261 §17.2.2).
    fn keep_answer(&mut self, now: Instant, key: Key, answer: Answer) {
        let stay = self.config.timers.max_noninv_lifetime.max(self.config.timers.wt_timer);
        self.answered.insert(key, answer, now + stay);
    }

    fn transmit(&mut self, slot: usize, bytes: Bytes) {
        let entry = &self.entries[slot];
        if !entry.machine.is_client() {
            self.stats.rpl_sent += 1;
        }
        self.transmits.push_back(Outbound {
            destination: entry.destination,
            fallback: entry.fallback,
            bytes,
            token: SendToken(entry.id),
        });
    }

    fn clear_timer(&mut self, slot: usize, timer: Timer) {
        let entry = &mut self.entries[slot];
        if let Some(at) = entry.deadlines.iter().position(|(set, _)| *set == timer) {
            let (timer, deadline) = entry.deadlines.swap_remove(at);
            self.timers.remove(deadline, entry.id, timer);
        }
    }

    fn report_timeout(&mut self, slot: usize, timer: Timer) {
        let entry = &self.entries[slot];
        if entry.silent {
            return;
        }
        self.events.push_back(if entry.machine.is_client() {
            Event::Timeout { id: ClientId(entry.id), timer }
        } else {
            Event::ServerTimeout { id: ServerId(entry.id), timer }
        });
    }

    fn terminate(&mut self, id: u64) {
        let Some(slot) = self.slot(id) else { return };
        let entry = self.entries.remove(slot);
        self.held -= entry.size;
        for (timer, at) in &entry.deadlines {
            self.timers.remove(*at, id, *timer);
        }
        if entry.machine.is_client() {
            self.clients.remove(&entry.key);
            if let Destination::Flow(Flow { connection: Some(connection), .. }) = entry.destination {
                self.by_connection.remove(&(connection, id));
            }
        } else {
            self.servers.remove(&entry.key);
        }
        if let Some(key) = entry.merge_key
            && let hash_map::Entry::Occupied(mut count) = self.merged.entry(key)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.stats.freed += 1;
        self.stats.waiting -= u64::from(entry.answered);
        self.stats.branches.freed += u64::from(entry.branch);
        self.stats.branches.waiting -= u64::from(entry.branch && entry.answered);
        if !entry.silent {
            self.events.push_back(if entry.machine.is_client() {
                Event::ClientTerminated { id: ClientId(id) }
            } else {
                Event::ServerTerminated { id: ServerId(id) }
            });
        }
    }
}

/// The sent-by of a request, if it is a name that may lead to its sender. Whoever came over a WebSocket cannot be dialled.
fn sent_by(flow: &Flow, via: &Via<'_>) -> Option<Box<SentBy>> {
    if flow.protocol.is_websocket() || host_ip(via.host()).is_some() {
        return None;
    }
    let host = normal_host(via.host());
    let is_name = host.parse::<IpAddr>().is_err() && host != "invalid" && !host.ends_with(".invalid");
    is_name.then(|| Box::new(SentBy { protocol: flow.protocol, host, port: via.port() }))
}

/// Where responses to the request with this Via go, as its sender wrote it (RFC 3261 §18.2.2, RFC 3581 §4), and where instead when
/// a connection is gone.
fn response_destination(flow: &Flow, via: &Via<'_>, force_rport: bool) -> (Destination, Option<Destination>) {
    let to_port = |port| SocketAddr::new(flow.remote.ip(), port);
    match flow.protocol {
        Protocol::Udp => {
            let remote = if via.maddr() == Some(flow.remote.ip()) {
                // Another place that `maddr` names would hear what it has not asked for, from us: nothing is sent to it, and
                // nobody who knows it can come by multicast, which is not listened to (RFC 3261 §18.2.2).
                to_port(via.port().unwrap_or(5060))
            } else if force_rport || via.params().contains("rport") {
                flow.remote
            } else {
                // The answer goes to the port that sent-by names, from the socket the request came to.
                to_port(via.port().unwrap_or(5060))
            };
            (Destination::Flow(Flow { remote, ..*flow }), None)
        }
        protocol @ (Protocol::Tcp | Protocol::Tls) => {
            let default = if protocol == Protocol::Tls { 5061 } else { 5060 };
            let remote = to_port(via.port().unwrap_or(default));
            (Destination::Flow(*flow), Some(Destination::Address { protocol, remote }))
        }
        Protocol::Ws | Protocol::Wss => (Destination::Flow(*flow), None),
    }
}
