//! One worker's whole world: messages in, messages out, and the time at which to wake it.
//!
//! Four kinds of methods. `handle_*` takes what came in, `poll_*` gives what must go out, `begin_shutdown` commands,
//! `is_idle` tells. After any of them the caller runs `poll_routes`, drains `poll_transmit` and `poll_event`, then waits
//! until `poll_timeout`, the next message, or a wake-up of the context given to `poll_routes`.

mod acks;
mod announce;
mod begin;
mod calls;
pub mod control;
mod dispatch;
mod drain;
pub mod errand;
mod forking;
mod hiding;
mod keepalive;
mod keys;
mod natping;
mod reanchor;
mod refresh;
mod reliable;
mod responses;
mod room;
mod shutdown;
mod strangers;
mod takeover;
mod tolls;
mod transfer;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;

use crate::acl::Acl;
use crate::blocklist::Blocklist;
use crate::dialog::{Call, End};
use crate::dispatcher::Question;
use crate::event::{EndCause, Event, Expiry};
use crate::flow::{ConnectionId, Destination, Flow, Inbound, Outbound, Protocol, SendToken};
use crate::fork::Fork;
use crate::guesses::Guesses;
use crate::location::{Gone, Location};
use crate::message::{
    Limits, Message, Method, Name, ParseError, ParseErrorKind, Request, Response, StatusCode,
};
use crate::outside::{Lookup, Outside, Unavailable};
use crate::overload::Overload;
use crate::profiles::Profiles;
use crate::secret::Secret;
use crate::settings::Settings;
use crate::sources::Sources;
use crate::stats::Stats;
use crate::step::relay::Branch;
use crate::step::{Incoming, Target, Verdict, glare, guard, in_dialog, media, sanity};
use crate::stun;
use crate::tolls::Tolls;
use crate::topology::topos::{HiddenEnd, Topos};
use crate::transaction::{self, Cancelled, ClientId, IdMap, IdSet, SentBy, ServerId, Table, Timer, Trying};
use crate::world::World;

pub use self::transfer::NotBridged;

/// When an INVITE hears 100 that is still on the route (RFC 3261 §17.2.1); one that is relayed hears it at once. What we
/// refuse ourselves needs none, and a forged source hears one message for the one it was forged on.
const TRYING: Duration = Duration::from_millis(200);

/// How often bindings that have run out are looked for. They stop counting at their second; this only tidies up.
const SWEEP: Duration = Duration::from_secs(5);

/// How long a browser has to come back to its call over another connection: JsSIP tries again after up to 30 s.
const RETURN: Duration = Duration::from_secs(60);

/// The proxy and registrar of one worker thread. A call lives here from its INVITE to its BYE.
#[allow(missing_debug_implementations)]
pub struct Proxy {
    world: Rc<World>,
    table: Table,
    /// Requests, responses and writes that wait for [`Outside`].
    routes: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    /// Those that have not been looked at yet; most wait for nothing.
    begun: VecDeque<LocalBoxFuture<'static, Done>>,
    servers: IdMap<ServerId, Server>,
    clients: IdMap<ClientId, (ServerId, usize)>,
    /// BYEs of our own that have no final response yet.
    byes: IdSet<ClientId>,
    /// UPDATEs of our own that have no final response yet.
    refreshes: IdMap<ClientId, refresh::Refresh>,
    /// Keep-alive requests of our own that have no final response yet.
    keepalives: IdMap<ClientId, keepalive::Asked>,
    /// Keys for ends that have them as INFO.
    keys: keys::Keys,
    /// Calls whose callers are told why they are refused.
    announcements: announce::Announcements,
    /// Calls that move to another relay.
    moves: reanchor::Moves,
    /// Questions to gateways.
    questions: dispatch::Questions,
    /// Provisional responses that wait for their PRACK.
    reliable: reliable::Reliable,
    /// Ends of calls being set up that may come back over another connection.
    awaited: takeover::Awaited,
    /// Transfers that are carried out here.
    transfers: transfer::Transfers,
    /// Requests of operators.
    errands: errand::Errands,
    /// Connections that nobody needs any more.
    closing: VecDeque<ConnectionId>,
    /// Whether new calls are refused, so that this process can be replaced once those that there are have ended.
    draining: bool,
    /// Set by [`Proxy::begin_shutdown`]: when to stop waiting.
    stopping: Option<Instant>,
    next_sweep: Instant,
    /// When what is hidden of calls is renewed next, in seconds since 1970.
    next_renewal: u64,
    /// Requests that wait for what the store knows of their targets.
    sought: usize,
    /// When the next contacts are to be asked; `None` while there are none.
    next_ping: Option<Instant>,
    /// When it is looked next whether calls are still there; `None` for never.
    next_keepalive: Option<Instant>,
    /// When the time of calls to the telephone network is counted next; `None` while it need not be.
    next_toll: Option<Instant>,
    overload: Overload,
    /// Requests refused since [`Event::Overloaded`]; `None` while there is time for all.
    refused: Option<u64>,
}

/// What becomes of a server transaction.
enum Server {
    /// Its request is on the route. An INVITE may be answered meanwhile.
    Routing(Option<Box<Incoming>>),
    /// Answered, or given up, while it was there.
    Ended,
    /// It was relayed.
    Relaying(Box<Fork>),
}

/// What a route future brings back.
/// Whether a message is read as it comes, or after the store was asked about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    First,
    Again,
}

enum Done {
    Sought { inbound: Inbound, ends: Result<Vec<HiddenEnd>, Unavailable> },
    Request { server: Option<ServerId>, incoming: Box<Incoming>, outcome: Outcome },
    Response(Box<responses::Treated>),
    Prepared(Box<forking::Prepared>),
    Failed { server: ServerId, verdict: Verdict },
    Located { server: ServerId, places: Vec<Destination> },
    Moved(reanchor::Made),
    Question { question: Question, hop: Option<Destination> },
    Announced(announce::Announced),
    Saved { aor: String, result: Result<(), Unavailable> },
}

enum Outcome {
    Reply(Box<Response>),
    /// The first branches, and the targets that come after them.
    Relay(Vec<Branch>, VecDeque<Vec<Target>>),
    Absorb,
}

impl Proxy {
    /// A worker that knows no call yet. `seed` is secret and different in every worker; `unix_now` is the wall-clock
    /// time at `now`, in seconds since 1970.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        location: Arc<Location>,
        outside: Outside,
        seed: [u8; 32],
        now: Instant,
        unix_now: u64,
    ) -> Self {
        let tm = settings.tm.clone();
        let config = transaction::Config {
            timers: settings.timers,
            trying: if tm.auto_inv_100 { Trying::After(TRYING) } else { Trying::Never },
            trying_reason: tm.auto_inv_100_reason,
            cancel_b_method: tm.cancel_b_method,
            ac_extra_hdrs: tm.ac_extra_hdrs,
            retry_after: settings.limits.retry_after,
            ..Default::default()
        };
        let max_delay = settings.limits.max_delay;
        let world = World::new(settings, location, outside, seed, now, unix_now);
        Self {
            next_keepalive: Self::first_keepalive(&world),
            questions: dispatch::Questions::new(&world),
            world: Rc::new(world),
            table: Table::new(config),
            routes: FuturesUnordered::new(),
            begun: VecDeque::new(),
            servers: IdMap::default(),
            clients: IdMap::default(),
            byes: IdSet::default(),
            refreshes: IdMap::default(),
            keepalives: IdMap::default(),
            keys: keys::Keys::default(),
            announcements: announce::Announcements::default(),
            moves: reanchor::Moves::default(),
            reliable: reliable::Reliable::default(),
            awaited: takeover::Awaited::default(),
            transfers: transfer::Transfers::default(),
            errands: errand::Errands::default(),
            closing: VecDeque::new(),
            draining: false,
            stopping: None,
            next_sweep: now + SWEEP,
            next_renewal: unix_now,
            sought: 0,
            next_ping: None,
            next_toll: None,
            overload: Overload::new(max_delay),
            refused: None,
        }
    }

    /// Uses a list of failed destinations that other workers use too. To be called before anything is relayed; without it
    /// this worker has a list of its own.
    #[must_use]
    pub fn with_blocklist(mut self, blocklist: Arc<Blocklist>) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.blocklist = blocklist;
        }
        self
    }

    /// The same for the key of what others carry for us, such as the `did` of a Record-Route: so that any worker knows what
    /// another one has said in a dialog of which nothing is kept.
    #[must_use]
    pub fn with_seals(mut self, secret: &Secret) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.set_seals(secret);
        }
        self
    }

    /// The same for the counts of what comes from each source.
    #[must_use]
    pub fn with_sources(mut self, sources: Arc<Sources>) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.sources = sources;
        }
        self
    }

    /// The same for who is not heard at all.
    #[must_use]
    pub fn with_acl(mut self, acl: Arc<Acl>) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.acl = acl;
        }
        self
    }

    /// The same for how many calls there are.
    #[must_use]
    pub fn with_profiles(mut self, profiles: Arc<Profiles>) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.profiles = profiles;
        }
        self
    }

    /// The same for what was spent of the day.
    #[must_use]
    pub fn with_tolls(mut self, tolls: Arc<Tolls>) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.tolls = tolls;
        }
        self
    }

    /// The same for who guesses passwords.
    #[must_use]
    pub fn with_guesses(mut self, guesses: Arc<Guesses>) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.guesses = guesses;
        }
        self
    }

    /// Has what is hidden from peers kept there, in place of [`Settings::topoh`].
    #[must_use]
    pub fn with_topos(mut self, topos: Option<Arc<Topos>>) -> Self {
        if let Some(world) = Rc::get_mut(&mut self.world) {
            world.topos = topos;
        }
        self
    }

    /// A message came.
    pub fn handle_inbound(&mut self, now: Instant, inbound: Inbound) {
        self.world.set_now(now);
        self.take(inbound);
    }

    /// A message came that has waited for its turn behind all others. When such messages keep waiting too long, those that
    /// begin something are refused, so that what has begun goes on.
    pub fn handle_delayed(&mut self, now: Instant, waited: Duration, inbound: Inbound) {
        self.world.set_now(now);
        self.overload.note(now, waited);
        self.take(inbound);
    }

    fn take(&mut self, inbound: Inbound) {
        self.note_load();
        let Inbound { flow, bytes } = &inbound;
        if flow.is_agent() || !guard::admit(&self.world, flow, bytes) {
            return;
        }
        if flow.protocol == Protocol::Udp
            && let Some(answer) = stun::answer(bytes, flow.remote)
        {
            // Whoever keeps a flow open has registered over it (RFC 5626 §4.4.2).
            if self.may_hear(flow, bytes, &answer) {
                self.world.stats.borrow_mut().keepalives += 1;
                self.table.send(Destination::Flow(*flow), answer);
            }
            return;
        }
        self.read(inbound, Reading::First);
    }

    fn read(&mut self, inbound: Inbound, reading: Reading) {
        let now = self.world.now();
        let mut parsed = Message::parse_with(inbound.bytes.clone(), &self.parse_limits());
        if reading == Reading::First {
            self.count_arrival(&parsed);
            if let Ok(message) = &parsed
                && self.seek(&inbound, message).is_some()
            {
                return self.settle();
            }
        }
        if let Ok(message) = &mut parsed {
            self.unmask(message);
        }
        match parsed {
            Ok(Message::Request(request)) if guard::is_hostile(&self.world, &inbound.flow, &request) => {}
            Ok(Message::Request(request)) if self.comes_while_draining(&request) => {
                self.world.stats.borrow_mut().drained += 1;
                self.table.refuse(&inbound.flow, request);
            }
            Ok(Message::Request(request)) if self.has_no_room(&request) => {
                self.refuse(&inbound.flow, request);
            }
            Ok(Message::Request(request)) => self.meet(inbound.flow, request),
            Ok(message) => self.table.handle_message(now, inbound.flow, message),
            Err(error) => self.answer_malformed(&inbound.flow, &error),
        }
        self.settle();
    }

    fn count_arrival(&self, parsed: &Result<Message, ParseError>) {
        let mut stats = self.world.stats.borrow_mut();
        match parsed {
            Ok(Message::Request(request)) => stats.rcv_requests.note(request.method()),
            Ok(Message::Response(response)) => stats.rcv_replies.note(response.status()),
            Err(error) => {
                stats.malformed += 1;
                stats.err_requests += u64::from(error.request.is_some());
                stats.bad_uris += u64::from(matches!(error.kind, ParseErrorKind::UriTooLong { .. }));
            }
        }
    }

    fn answer_malformed(&mut self, flow: &Flow, error: &ParseError) {
        let (Some(request), Some(mut response)) = (&error.request, error.response(&self.world.tag())) else {
            return;
        };
        if guard::is_hostile(&self.world, flow, request)
            || (self.may_be_forged(flow) && !self.fits_stranger(request, &mut response))
        {
            return;
        }
        self.world.stats.borrow_mut().answered.note(response.status());
        self.table.send_response(flow, request, &response);
        self.world.tell(Event::Malformed {
            source: flow.remote,
            method: request.method().to_string(),
            call_id: request.call_id().to_owned(),
            code: response.status().code(),
            what: error.kind.to_string(),
        });
    }

    /// An [`Outbound`] with this token could not be sent.
    pub fn handle_send_failure(&mut self, now: Instant, token: SendToken) {
        self.world.set_now(now);
        self.table.handle_send_failure(token);
        self.settle();
    }

    /// A connection closed. Every worker is told of every connection.
    pub fn handle_flow_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.world.set_now(now);
        self.follow_from(connection);
        self.world.calls.borrow_mut().connection_lost(connection, now);
        self.caller_lost(connection);
        let (usrloc, unix_now) = (&self.world.settings.usrloc, self.world.unix_now());
        let lost = self.world.location.connection_lost(connection, usrloc, unix_now);
        self.forget(lost);
        self.hold_ringing(connection);
        self.table.handle_flow_closed(connection);
        self.settle();
    }

    /// The relay has heard nothing of a call for too long and has given its ports back: both ends hear a BYE, for one that
    /// is still there would wait in silence.
    pub fn handle_media_timeout(&mut self, now: Instant, call_id: &str) {
        self.world.set_now(now);
        let silent = self.world.calls.borrow_mut().take_answered(call_id);
        for call in silent {
            self.end_both(&call, EndCause::MediaTimeout);
        }
        self.settle();
    }

    /// The time of [`Proxy::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.world.set_now(now);
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            let expired = self.world.location.expire(self.world.unix_now());
            self.forget(expired);
            self.world.tidy();
            self.tidy_hidden();
            self.end_dead_calls();
            self.end_awaited();
            self.watch_acks();
            self.refresh_sessions();
            self.end_old_transfers();
            self.end_old_errands();
        }
        self.natping();
        self.keep_alive();
        self.count_tolls();
        self.ask_gateways();
        self.repeat_reliable();
        self.ask_again();
        self.go_on_announcing();
        self.pass_waiting_keys();
        self.table.handle_timeout(now);
        self.settle();
    }

    /// Advances the requests that wait for [`Outside`].
    pub fn poll_routes(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.world.set_now(now);
        while let Poll::Ready(Some(done)) = self.routes.poll_next_unpin(cx) {
            self.carry_out(done);
            self.settle();
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Outbound> {
        let outbound = self.transfers.poll_transmit().or_else(|| self.table.poll_transmit())?;
        Some(self.masked(outbound))
    }

    fn parse_limits(&self) -> Limits {
        Limits { message: self.world.settings.limits.max_message_size, ..Limits::default() }
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.world.next_event()
    }

    /// The next connection to close: the last binding over it has run out (Kamailio's `close_expired_tcp`).
    pub fn poll_close(&mut self) -> Option<ConnectionId> {
        self.closing.pop_front()
    }

    /// When to call [`Proxy::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stop = self.stopping.filter(|stop| *stop > self.world.now());
        let due = [
            self.table.poll_timeout(),
            self.reliable.poll_timeout(),
            self.moves.poll_timeout(),
            self.keys.poll_timeout(),
            self.announcements.poll_timeout(),
            Some(self.next_sweep),
            self.next_ping,
            self.next_keepalive,
            self.next_toll,
            self.questions.next,
            stop,
        ];
        due.into_iter().flatten().min()
    }

    /// After [`Proxy::begin_shutdown`]: whether all has been said, or waited for long enough.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.stopping.is_some_and(|stop| self.byes.is_empty() || self.world.now() >= stop)
    }

    /// The worker's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.world.stats.borrow()
    }

    /// What users have spent of the day at the telephone network.
    #[must_use]
    pub fn tolls(&self) -> Arc<Tolls> {
        Arc::clone(&self.world.tolls)
    }

    /// The counters of its transactions.
    #[must_use]
    pub fn transaction_stats(&self) -> transaction::Stats {
        self.table.stats()
    }

    /// Calls that this worker has now, ringing ones included.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.world.calls.borrow().len()
    }

    /// Whether this worker has a call of this Call-ID, be it ringing or answered.
    #[must_use]
    pub fn has_call(&self, call_id: &str) -> bool {
        self.world.calls.borrow().has(call_id)
    }

    /// Takes everything that the transactions have to say, and goes on with what that begins until it has to wait.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.table.poll_event() {
                self.handle_event(event);
            }
            let Some(mut work) = self.begun.pop_front() else {
                if self.hear_agents() {
                    continue;
                }
                return;
            };
            match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => self.carry_out(done),
                // `poll_routes` asks again, with a context that is woken.
                Poll::Pending => self.routes.push(work),
            }
        }
    }

    fn carry_out(&mut self, done: Done) {
        match done {
            Done::Request { server, incoming, outcome } => self.routed(server, *incoming, outcome),
            Done::Response(treated) => self.treated(*treated),
            Done::Prepared(prepared) => self.prepared(*prepared),
            Done::Failed { server, verdict } => self.failed(server, verdict),
            Done::Sought { inbound, ends } => self.sought(inbound, ends),
            Done::Moved(made) => self.made(made),
            Done::Question { question, hop } => self.ask_gateway(question, hop),
            Done::Announced(announced) => self.announced(announced),
            Done::Located { server, places } => {
                self.table.readdress_server(self.world.now(), server, &places);
            }
            Done::Saved { aor, result } => {
                if let Err(error) = result {
                    let what = format!("bindings of {aor}: {error}");
                    self.world.tell(Event::OutsideFailed { call_id: String::new(), what });
                }
            }
        }
    }

    fn handle_event(&mut self, event: transaction::Event) {
        match event {
            transaction::Event::Request { id, flow, request, merged } => {
                self.begin(Some(id), flow, request, merged);
            }
            transaction::Event::Ack { flow, request, .. } => self.begin(None, flow, request, false),
            transaction::Event::Cancel { id, invite, flow, request } => {
                if let Some(invite) = invite.filter(|_| flow.connection.is_some()) {
                    self.table.move_server(invite, flow);
                }
                self.cancelled(id, invite, &flow, &request)
            }
            transaction::Event::Response { id, flow, response } => self.arrived(id, flow, response),
            transaction::Event::Timeout { id, timer } => self.timed_out(id, timer),
            transaction::Event::TransportError { id } => self.unreachable(id),
            transaction::Event::ServerTimeout { id, timer } => self.server_timed_out(id, timer),
            transaction::Event::ServerTransportError { id } => self.locate_sender(id),
            transaction::Event::ServerTerminated { id } => self.server_gone(id),
            transaction::Event::ClientTerminated { id } => {
                self.clients.remove(&id);
                self.byes.remove(&id);
                self.refreshes.remove(&id);
                self.keepalives.remove(&id);
                self.keys.forget(id);
                self.question_failed(id);
                self.noticed(Some(id), None);
                self.moves.forget(id);
                self.awaited.forget_callee(id);
            }
        }
    }

    /// A response has got nowhere: the name that its receiver has put in Via may lead to it (RFC 3263 §5).
    fn locate_sender(&mut self, server: ServerId) {
        let Some(SentBy { protocol, host, port }) = self.table.take_sent_by(server) else { return };
        let world = Rc::clone(&self.world);
        let locate = async move {
            let lookup = Lookup { target: &host, port, transport: Some(protocol), secure: false };
            let places = world.outside.resolver.resolve(lookup).await.unwrap_or_default();
            let place = |(protocol, remote)| Destination::Address { protocol, remote };
            Done::Located { server, places: places.into_iter().map(place).collect() }
        };
        self.routes.push(locate.boxed_local());
    }

    /// Carries out what the route has decided.
    fn routed(&mut self, server: Option<ServerId>, incoming: Incoming, outcome: Outcome) {
        let now = self.world.now();
        let Some(server) = server else {
            if let Outcome::Relay(branches, _) = outcome {
                self.note_ack(&incoming);
                self.world.stats.borrow_mut().fwd_requests += branches.len() as u64;
                for branch in branches {
                    self.table.send(branch.target.destination, branch.message.to_bytes());
                }
            } else {
                self.world.stats.borrow_mut().strays += 1;
            }
            return;
        };
        if *incoming.method() == Method::Bye {
            self.hung_up(&incoming, &outcome);
        }
        match self.servers.remove(&server) {
            Some(Server::Routing(_)) => {}
            // Given up by its sender meanwhile.
            _ => {
                glare::release(&self.world, &incoming);
                return self.free_media(&incoming, &outcome);
            }
        }
        let outcome = match outcome {
            // The other one was on the route as well, and is through by now.
            Outcome::Relay(..) if sanity::is_merged(&self.world, &incoming) => {
                self.free_media(&incoming, &outcome);
                let status = StatusCode::LOOP_DETECTED;
                Outcome::Reply(Box::new(incoming.answer(&self.world, status, "Merged Request", &[])))
            }
            outcome => outcome,
        };
        match outcome {
            Outcome::Reply(mut response) => {
                glare::release(&self.world, &incoming);
                if !incoming.trusted && self.may_be_forged(&incoming.flow) {
                    self.table.doubt(server);
                    if !self.fits_stranger(&incoming.message, &mut response) {
                        return self.table.abandon(server);
                    }
                }
                if *incoming.method() == Method::Invite {
                    // A CANCEL that comes too late is one of something.
                    self.servers.insert(server, Server::Ended);
                    if self.announce(server, &incoming, &response) {
                        return;
                    }
                }
                self.world.stats.borrow_mut().answered.note(response.status());
                self.table.respond(now, server, &response);
            }
            Outcome::Relay(branches, steps) => {
                if !incoming.trusted && self.may_be_forged(&incoming.flow) {
                    self.table.doubt(server);
                }
                self.relay(server, incoming, branches, steps);
            }
            Outcome::Absorb => self.table.abandon(server),
        }
    }

    /// CANCEL (RFC 3261 §9.2, §16.10).
    fn cancelled(&mut self, id: ServerId, invite: Option<ServerId>, flow: &Flow, cancel: &Request) {
        let now = self.world.now();
        let is_known = invite.is_some_and(|invite| self.servers.contains_key(&invite));
        if !is_known && self.world.settings.tm.drop_unmatched_cancel {
            return self.table.abandon(id);
        }
        let status = if is_known { StatusCode::OK } else { StatusCode::CALL_DOES_NOT_EXIST };
        let tag = self.world.tag();
        let mut reply = crate::message::build::Reply::new(cancel, status).to_tag(&tag).build();
        if self.may_be_forged(flow) && !self.fits_stranger(cancel, &mut reply) {
            self.table.abandon(id);
        } else {
            self.table.respond(now, id, &reply);
        }
        let Some((invite, server)) = invite.and_then(|invite| Some((invite, self.servers.get_mut(&invite)?)))
        else {
            return;
        };
        match server {
            _ if self.announcements.is_open(invite) => {
                self.end_announcement(invite, Some(StatusCode::REQUEST_TERMINATED));
            }
            Server::Routing(Some(incoming)) => {
                let terminated = incoming.answer(&self.world, StatusCode::REQUEST_TERMINATED, "", &[]);
                *server = Server::Ended;
                self.table.respond(now, invite, &terminated);
            }
            Server::Relaying(fork) if fork.answered.is_none() && !fork.done => {
                fork.cancelled = true;
                // Why the caller gave up goes on to the callee (RFC 3326).
                let reasons =
                    cancel.raw_all(Name::Reason).filter_map(|reason| std::str::from_utf8(reason).ok());
                let reasons: Vec<&str> =
                    reasons.filter(|_| self.world.settings.tm.e2e_cancel_reason).collect();
                self.cancel_legs(invite, None, &reasons);
            }
            Server::Routing(None) | Server::Relaying(_) | Server::Ended => {}
        }
    }

    /// Cancels every branch that has no final response, except one.
    fn cancel_legs(&mut self, server: ServerId, except: Option<usize>, reasons: &[&str]) {
        self.follow(server);
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        let legs = fork.legs.iter().enumerate();
        let open = legs.filter(|(index, leg)| Some(*index) != except && leg.last.is_none());
        let open: Vec<_> = open.filter_map(|(index, leg)| Some((index, leg.client?))).collect();
        for (leg, client) in open {
            if self.table.cancel(self.world.now(), client, reasons) == Cancelled::Unheard {
                self.leg_failed(server, leg, StatusCode::REQUEST_TERMINATED, "");
            }
        }
    }

    /// No answer to an INVITE within its longest life: 408.
    fn server_timed_out(&mut self, id: ServerId, timer: Timer) {
        if timer != Timer::Lifetime {
            return;
        }
        let now = self.world.now();
        if self.end_announcement(id, None) {
            return;
        }
        match self.servers.get_mut(&id) {
            Some(Server::Routing(Some(incoming))) => {
                let response = incoming.answer(&self.world, StatusCode::REQUEST_TIMEOUT, "", &[]);
                self.servers.insert(id, Server::Ended);
                self.table.respond(now, id, &response);
            }
            Some(Server::Relaying(fork)) if !fork.done && fork.answered.is_none() => {
                let response = fork.incoming.answer(&self.world, StatusCode::REQUEST_TIMEOUT, "", &[]);
                self.fail(id, &response);
                self.cancel_legs(id, None, &[]);
            }
            _ => {}
        }
    }

    fn server_gone(&mut self, id: ServerId) {
        self.awaited.forget_caller(id);
        self.forget_pracks(id);
        self.forget_announcement(id);
        let Some(server) = self.servers.remove(&id) else { return };
        if let Server::Relaying(fork) = server {
            glare::release(&self.world, &fork.incoming);
            for client in fork.legs.iter().filter_map(|leg| leg.client) {
                self.clients.remove(&client);
            }
            let message = &fork.incoming.message;
            if !fork.done && *message.method() == Method::Invite && message.to_tag().is_none() {
                let from_tag = message.from_tag().unwrap_or_default();
                media::delete(&self.world, fork.incoming.call_id(), from_tag, None);
                self.world.calls.borrow_mut().remove(fork.incoming.call_id(), from_tag);
            }
        }
    }

    /// Tells of bindings that are gone, and has the store forget them.
    fn forget(&mut self, gone: Vec<Gone>) {
        for Gone { aor, stored, cause, held, connection } in gone {
            let (transport, source) = (stored.protocol(), stored.received());
            let (aor, contact) = (aor.to_string(), stored.contact().to_owned());
            if held {
                self.world.tell(Event::Held { aor, contact, transport, source });
                continue;
            }
            self.world.stats.borrow_mut().expired_contacts += u64::from(cause == Expiry::TimedOut);
            self.world.tell(Event::Expired { aor: aor.clone(), contact, transport, source, cause });
            if self.world.settings.usrloc.close_expired_tcp {
                self.closing.extend(connection);
            }
            self.save_bindings(aor);
        }
    }

    /// Has the store keep the bindings of an address of record as they are when their turn comes.
    fn save_bindings(&mut self, aor: String) {
        let world = Rc::clone(&self.world);
        let write = async move {
            let (bindings, _) = world.location.snapshot(&aor, world.unix_now());
            let result = world.outside.store.save_bindings(&aor, &bindings).await;
            Done::Saved { aor, result }
        };
        self.begun.push_back(write.boxed_local());
    }

    /// Calls that nobody will end: their session has expired, or a browser in them has not come back.
    fn end_dead_calls(&mut self) {
        let now = self.world.now();
        let world = Rc::clone(&self.world);
        let follow = |end: &mut End| in_dialog::follow(&world, end);
        let expired = self.world.calls.borrow_mut().take_expired(now);
        let lost = match now.checked_sub(RETURN) {
            Some(since) => self.world.calls.borrow_mut().take_lost(since, follow),
            None => Vec::new(),
        };
        let cause = |call: &Call| if call.timed { EndCause::SessionExpired } else { EndCause::TooLong };
        let expired = expired.into_iter().map(|call| (cause(&call), call)).map(|(cause, call)| (call, cause));
        for (call, cause) in expired.chain(lost.into_iter().map(|call| (call, EndCause::ConnectionLost))) {
            self.end_both(&call, cause);
        }
    }

    /// What the relay has prepared for a request that goes nowhere.
    fn free_media(&self, incoming: &Incoming, outcome: &Outcome) {
        let prepared = matches!(outcome, Outcome::Relay(..)) && *incoming.method() == Method::Invite;
        if prepared && !incoming.is_in_dialog() {
            let from_tag = incoming.message.from_tag().unwrap_or_default();
            media::delete(&self.world, incoming.call_id(), from_tag, None);
        }
    }

    /// A BYE ends the call, whatever the other end says to it (RFC 3261 §15).
    fn hung_up(&mut self, incoming: &Incoming, outcome: &Outcome) {
        let along_the_dialog = match outcome {
            Outcome::Relay(..) => true,
            Outcome::Reply(response) => response.status() == StatusCode::TEMPORARILY_UNAVAILABLE,
            Outcome::Absorb => false,
        };
        let tags = incoming.message.from_tag().zip(incoming.message.to_tag());
        let Some((from, to)) = tags.filter(|_| along_the_dialog) else { return };
        let call_id = incoming.call_id();
        let mut calls = self.world.calls.borrow_mut();
        let Some(call) = calls.find_mut(call_id, from).filter(|call| call.answered.is_some()) else { return };
        let by_caller = call.caller.tag == from;
        let callee = if by_caller { to } else { from };
        if !call.is_answerer(callee) {
            // One that answered too late; the call goes on.
            call.callees.retain(|end| end.tag != callee);
            return;
        }
        drop(calls);
        self.end_call(call_id, from, if by_caller { EndCause::CallerBye } else { EndCause::CalleeBye });
    }
}
