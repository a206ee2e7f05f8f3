//! The simulated test bed: phones and browsers, the proxy, the relay and the network between them, in one thread and
//! virtual time.
//!
//! Nothing waits: the world jumps to the next moment at which anything happens, so thirty seconds of protocol take a
//! millisecond, and a seed gives the same run every time. The phones share no code with the gateway's SIP, so that the
//! two check each other.

pub mod audio;
pub mod network;
pub mod outside;
pub mod phone;
pub mod relay;
pub mod transaction;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::command::LegKind;
use media_core::engine;
use media_core::packet::Packet;
use signaling_core::event::Event;
use signaling_core::flow::{ConnectionId, Destination, Flow, Inbound, Outbound, Protocol, SendToken};
use signaling_core::location::Location;
use signaling_core::outside::{Account, Outside};
use signaling_core::proxy::Proxy;
use signaling_core::settings::{Listener, Settings};

use self::network::{Flight, Link, Network, SipFlight};
use self::outside::{MemoryStore, NoNames, SharedStore};
use self::phone::{Phone, proxy_address};
use self::relay::{Door, Relay};
use crate::sip::Message;

/// The SIP domain of the world.
pub const DOMAIN: &str = "sim.test";
/// Where proxy and relay are.
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Wall clock at the start of every run, in seconds since 1970.
const EPOCH: u64 = 1_700_000_000;
/// More steps than anything can have to do at one moment.
const LIVELOCK: usize = 1_000_000;

/// A SIP message as it was sent, lost ones included.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Since the start of the run.
    pub at: Duration,
    /// The phone at the other end of the proxy.
    pub phone: usize,
    /// Whether it went to the proxy.
    pub to_proxy: bool,
    /// Whether it was lost.
    pub lost: bool,
    /// What.
    pub message: Message,
}

/// The whole of it.
#[allow(missing_debug_implementations)]
pub struct World {
    /// The proxy under test.
    pub proxy: Proxy,
    /// The relay under test.
    pub relay: Rc<Relay>,
    /// Its bindings.
    pub location: Arc<Location>,
    /// Accounts, and bindings at rest.
    pub store: Rc<MemoryStore>,
    /// The network.
    pub network: Network,
    /// All phones, in the order of [`World::phone`] and [`World::browser`].
    pub phones: Vec<Phone>,
    /// Every SIP message so far, while [`World::recording`].
    pub seen: Vec<Seen>,
    /// Whether [`World::seen`] and the events grow.
    pub recording: bool,
    /// What the proxy told.
    pub events: Vec<Event>,
    /// Messages of the proxy that the phones, who know UTF-8 alone, could not read.
    pub unreadable: usize,
    /// What the relay told.
    pub media_events: Vec<engine::Event>,
    now: Instant,
    start: Instant,
    by_ip: HashMap<IpAddr, usize>,
    /// When each phone wants to be woken.
    wakes: BTreeSet<(Instant, usize)>,
    woken_at: Vec<Option<Instant>>,
    closed: Vec<ConnectionId>,
    /// Streams opened by [`World::reopen`].
    streams: u64,
}

impl World {
    /// An empty world; `seed` decides everything that is random in it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    /// The same with other settings of the proxy than the defaults.
    #[must_use]
    pub fn with(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let now = Instant::now();
        let mut octets = [7; 32];
        octets[..8].copy_from_slice(&seed.to_be_bytes());
        let relay = Relay::new(octets, now, Duration::from_secs(EPOCH));
        let (location, store) = (Arc::new(Location::new()), Rc::new(MemoryStore::default()));
        let outside = Outside {
            store: Box::new(SharedStore(Rc::clone(&store))),
            media: Box::new(Door(Rc::clone(&relay))),
            resolver: Box::new(NoNames),
        };
        let proxy = Proxy::new(Arc::new(settings), Arc::clone(&location), outside, octets, now, EPOCH);
        Self {
            proxy,
            relay,
            location,
            store,
            network: Network::new(seed),
            phones: Vec::new(),
            seen: Vec::new(),
            recording: true,
            events: Vec::new(),
            unreadable: 0,
            media_events: Vec::new(),
            now,
            start: now,
            by_ip: HashMap::new(),
            wakes: BTreeSet::new(),
            woken_at: Vec::new(),
            closed: Vec::new(),
            streams: 0,
        }
    }

    /// Adds a legacy phone on UDP; returns its number.
    pub fn phone(&mut self, user: &str) -> usize {
        self.add(user, LegKind::Legacy)
    }

    /// Adds a browser on WSS; returns its number.
    pub fn browser(&mut self, user: &str) -> usize {
        self.add(user, LegKind::Browser)
    }

    /// Registers all phones on whatever network there is, and waits for it.
    ///
    /// # Panics
    /// When one is refused or gets no answer for a minute.
    pub fn register_all(&mut self) {
        for phone in 0..self.phones.len() {
            self.act(phone, |phone, now| phone.register(now, 3600));
        }
        // Looked at now and then: there may be thousands of them.
        let all = |world: &Self| world.phones.iter().all(|phone| phone.registration.granted > 0);
        let done = (0..60).any(|_| {
            self.run(Duration::from_secs(1));
            all(self)
        });
        assert!(done, "not registered\n{}", self.ladder());
    }

    /// A world with the legacy phones `alice` (0) and `bob` (1), registered.
    #[must_use]
    pub fn of_two(seed: u64) -> Self {
        Self::of_kinds(seed, LegKind::Legacy, LegKind::Legacy)
    }

    /// The same with ends of any kind.
    #[must_use]
    pub fn of_kinds(seed: u64, alice: LegKind, bob: LegKind) -> Self {
        let mut world = Self::new(seed);
        world.add("alice", alice);
        world.add("bob", bob);
        world.register_all();
        world.seen.clear();
        world
    }

    /// Has a phone do something.
    pub fn act<T>(&mut self, phone: usize, what: impl FnOnce(&mut Phone, Instant) -> T) -> T {
        let result = what(&mut self.phones[phone], self.now);
        self.empty(phone);
        self.reschedule(phone);
        self.settle_gateway();
        result
    }

    /// Sends a message from a phone that the phone itself knows nothing of.
    pub fn inject(&mut self, phone: usize, text: &str) {
        self.act(phone, |phone, _| phone.out.push(text.to_owned()));
    }

    /// The same for bytes that need not be text.
    pub fn inject_bytes(&mut self, phone: usize, bytes: Bytes) {
        let Phone { protocol, address, connection, .. } = self.phones[phone];
        let (token, to_proxy) = (SendToken(0), true);
        self.launch(SipFlight { protocol, phone: address, to_proxy, connection, token, bytes });
    }

    /// Cuts a phone's stream.
    pub fn cut(&mut self, phone: usize) {
        let Some(connection) = self.phones[phone].connection.take() else { return };
        self.closed.push(connection);
        self.proxy.handle_flow_closed(self.now, connection);
        self.settle_gateway();
    }

    /// Has a phone open another stream, as after a change of network. What the gateway sends over the old one goes nowhere,
    /// and nobody tells it so before [`World::time_out`].
    pub fn reopen(&mut self, phone: usize) -> ConnectionId {
        self.streams += 1;
        let stream = ConnectionId(1_000_000 + self.streams);
        self.phones[phone].connection.replace(stream).expect("a phone with a stream")
    }

    /// The gateway finds out that a stream is dead.
    pub fn time_out(&mut self, connection: ConnectionId) {
        self.closed.push(connection);
        self.proxy.handle_flow_closed(self.now, connection);
        self.settle_gateway();
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The virtual clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets the world live for `span`.
    pub fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Lets the world live until `done`, at most for `limit`; returns whether it was.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let (end, mut steps, mut last) = (self.now + limit, 0, self.now);
        self.settle_phones();
        loop {
            if done(self) {
                return true;
            }
            let Some(next) = self.next_moment().filter(|next| *next <= end) else {
                self.now = end;
                return false;
            };
            // A timer in the past fires now; time never goes back.
            self.now = next.max(self.now);
            self.relay.now.set(self.now);
            steps = if self.now == last { steps + 1 } else { 0 };
            last = self.now;
            assert!(steps < LIVELOCK, "somebody wakes up for nothing, for ever, at {:?}", self.elapsed());
            self.step();
        }
    }

    /// The times at which the proxy sent to `phone` what `wanted` holds for.
    pub fn sent_to(&self, phone: usize, wanted: impl Fn(&Message) -> bool) -> Vec<Duration> {
        let seen = self.seen.iter().filter(|seen| seen.phone == phone && !seen.to_proxy);
        seen.filter(|seen| wanted(&seen.message)).map(|seen| seen.at).collect()
    }

    /// What was said, a line per message, for a test that failed.
    #[must_use]
    pub fn ladder(&self) -> String {
        let line = |seen: &Seen| {
            let arrow = if seen.to_proxy { "->" } else { "<-" };
            let lost = if seen.lost { "   LOST" } else { "" };
            let user = &self.phones[seen.phone].user;
            let (at, message) = (seen.at.as_secs_f64(), &seen.message);
            format!("{at:9.3} {user} {arrow} {} ({}){lost}", message.start, message.header("CSeq"))
        };
        self.seen.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Alice, who is number 0, calls Bob, who is number 1, over a fair network; returns once both have heard each other speak.
    ///
    /// # Panics
    /// One of them hears nothing within ten seconds.
    pub fn talk(&mut self) {
        self.talk_from(0);
    }

    /// The same of the phone with this place.
    ///
    /// # Panics
    /// As [`World::talk`].
    pub fn talk_from(&mut self, caller: usize) {
        self.be_fair();
        self.phones.iter_mut().for_each(|phone| phone.audio.talking = true);
        let callee = self.phones[1 - caller].user.clone();
        self.act(caller, |phone, now| phone.invite(now, &callee, "call-1", None));
        let heard = |world: &Self| world.phones[..2].iter().all(|phone| !phone.audio.heard.is_empty());
        assert!(self.run_until(Duration::from_secs(10), heard), "silence\n{}", self.ladder());
    }

    /// From now on nothing is lost, and everything takes 10 ms.
    pub fn be_fair(&mut self) {
        let fair = Link { latency: Duration::from_millis(10), ..Link::default() };
        (self.network.sip, self.network.media) = (fair, fair);
    }

    /// Plays a call to its end, whatever became of it, and what is late over a fair network. Returns the number of SIP
    /// datagrams sent since they were `before`, without the late ones.
    pub fn play_out(&mut self, before: usize) -> usize {
        self.run_until(Duration::from_secs(400), |world| {
            world.phones.iter().all(|phone| phone.call.is_none())
        });
        let datagrams = self.network.sip_datagrams - before;
        self.network.lose_nothing();
        self.be_fair();
        self.run(Duration::from_secs(300));
        datagrams
    }

    /// Tells the proxy to stop, as Ctrl-C does.
    pub fn shut_down(&mut self) {
        self.proxy.begin_shutdown(self.now);
        self.settle_gateway();
    }

    /// Fails unless nothing is left of any call: no transaction, no call, no media, no port.
    ///
    /// # Panics
    /// That is what it is for.
    pub fn assert_nothing_left(&self, what: &str) {
        self.assert_gateway_is_clean(what);
        assert!(self.phones.iter().all(|phone| phone.call.is_none()), "{what}\n{}", self.ladder());
    }

    /// The same, but phones may still believe in a call whose end they were not told.
    ///
    /// # Panics
    /// That is what it is for.
    pub fn assert_gateway_is_clean(&self, what: &str) {
        let transactions = self.proxy.transaction_stats();
        let media = self.relay.stats();
        let left = [
            ("unreadable messages", self.unreadable),
            ("calls of the proxy", self.proxy.calls()),
            ("transactions", transactions.current as usize),
            ("transactions created and not freed", (transactions.created - transactions.freed) as usize),
            ("calls of the relay", (media.calls_created - media.calls_ended) as usize),
            ("legs of the relay", (media.legs_opened - media.legs_closed) as usize),
            ("sockets of the relay", self.relay.sockets.count() - self.relay.idle_sockets),
        ];
        let left: Vec<_> = left.into_iter().filter(|(_, count)| *count > 0).collect();
        assert!(left.is_empty(), "{what}: left behind: {left:?}\n{}", self.ladder());
    }

    /// Puts a phone into the world; its number. It is not registered yet.
    pub fn add(&mut self, user: &str, kind: LegKind) -> usize {
        let number = self.phones.len();
        let ip = IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 1, 1).to_bits() + number as u32));
        let connection = (kind == LegKind::Browser).then_some(ConnectionId(number as u64 + 1));
        self.phones.push(Phone::new(user, kind, SocketAddr::new(ip, 5060), connection, number as u64 + 1));
        self.by_ip.insert(ip, number);
        self.woken_at.push(None);
        let account = Account::of_password(user, DOMAIN, &format!("secret-{user}"));
        self.store.accounts.borrow_mut().insert(user.to_owned(), Arc::new(account));
        number
    }

    fn next_moment(&self) -> Option<Instant> {
        let phone = self.wakes.first().map(|(at, _)| *at);
        let relay = self.relay.engine.borrow().poll_timeout();
        [self.network.poll_timeout(), self.proxy.poll_timeout(), relay, phone].into_iter().flatten().min()
    }

    /// Does one thing that is due: the network before the proxy before the relay before the phones.
    fn step(&mut self) {
        let now = self.now;
        let mut touched = None;
        if let Some(flight) = self.network.arrived(now) {
            touched = self.deliver(flight);
        } else if self.proxy.poll_timeout().is_some_and(|at| at <= now) {
            self.proxy.handle_timeout(now);
        } else if self.relay.engine.borrow().poll_timeout().is_some_and(|at| at <= now) {
            self.relay.engine.borrow_mut().handle_timeout(now);
        } else if let Some((_, phone)) = self.wakes.first().copied() {
            self.phones[phone].handle_timeout(now);
            touched = Some(phone);
        }
        if let Some(phone) = touched {
            self.empty(phone);
            self.reschedule(phone);
        }
        self.settle_gateway();
    }

    fn deliver(&mut self, flight: Flight) -> Option<usize> {
        let now = self.now;
        match flight {
            Flight::Sip(SipFlight { protocol, phone: remote, to_proxy: true, connection, bytes, .. }) => {
                let flow = Flow { protocol, local: proxy_address(protocol), remote, connection };
                self.proxy.handle_inbound(now, Inbound { flow, bytes });
                None
            }
            Flight::Sip(flight) => {
                let number = *self.by_ip.get(&flight.phone.ip())?;
                // A stream that its phone has left leads nowhere.
                if flight.connection.is_some_and(|stream| Some(stream) != self.phones[number].connection) {
                    return None;
                }
                match Message::parse(&flight.bytes) {
                    Ok(message) => self.phones[number].handle_message(now, message),
                    Err(_) => self.unreadable += 1,
                }
                Some(number)
            }
            Flight::Media { from, to, bytes } if to.ip() == GATEWAY => {
                let socket = self.relay.sockets.at(to.port())?;
                let mut packet = Packet::new();
                packet.fill(&bytes).expect("it fits");
                self.relay.engine.borrow_mut().handle_datagram(now, socket, from, packet);
                None
            }
            Flight::Media { from, to, bytes } => {
                let number = *self.by_ip.get(&to.ip())?;
                self.phones[number].audio.handle_datagram(now, from, &bytes);
                Some(number)
            }
        }
    }

    /// Takes what tests have made phones say and want.
    fn settle_phones(&mut self) {
        for phone in 0..self.phones.len() {
            self.empty(phone);
            self.reschedule(phone);
        }
        self.settle_gateway();
    }

    /// Drains the gateway until it has nothing left to say at this moment.
    fn settle_gateway(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            self.proxy.poll_routes(self.now, &mut context);
            let mut moved = false;
            while let Some(outbound) = self.proxy.poll_transmit() {
                moved = true;
                self.carry(outbound);
            }
            while let Some(event) = self.proxy.poll_event() {
                if self.recording {
                    self.events.push(event);
                }
            }
            let mut engine = self.relay.engine.borrow_mut();
            while let Some(transmit) = engine.poll_transmit() {
                let bytes = transmit.packet.as_slice().to_vec();
                if let Some(port) = self.relay.sockets.port(transmit.socket) {
                    let from = SocketAddr::new(GATEWAY, port);
                    self.network.send_media(self.now, transmit.to, from, transmit.to, bytes);
                }
                engine.io().1.put(transmit.packet);
            }
            let told = self.media_events.len();
            self.media_events.extend(std::iter::from_fn(|| engine.poll_event()));
            // The proxy may ask the relay for something.
            drop(engine);
            for event in &self.media_events[told..] {
                match event.kind {
                    engine::EventKind::MediaTimeout => {
                        moved = true;
                        self.proxy.handle_media_timeout(self.now, &event.call_id);
                    }
                    engine::EventKind::Dtmf(code) => {
                        moved = true;
                        self.proxy.handle_key(self.now, &event.call_id, &event.tag, code);
                    }
                    _ => {}
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// A message of the proxy goes on its way.
    fn carry(&mut self, outbound: Outbound) {
        let way = |destination| {
            let (protocol, remote, connection) = match destination {
                Destination::Flow(flow) => (flow.protocol, flow.remote, flow.connection),
                Destination::Address { protocol, remote } => (protocol, remote, None),
            };
            let gone = connection.is_some_and(|connection| self.closed.contains(&connection));
            let there = !gone && (connection.is_some() || !protocol.is_websocket());
            there.then_some((protocol, remote, connection))
        };
        let found = way(outbound.destination).or_else(|| way(outbound.fallback?));
        let Some((protocol, remote, connection)) = found else {
            return self.proxy.handle_send_failure(self.now, outbound.token);
        };
        let (token, bytes) = (outbound.token, outbound.bytes);
        self.launch(SipFlight { protocol, phone: remote, to_proxy: false, connection, token, bytes });
    }

    /// What a phone wants to say goes on its way.
    fn empty(&mut self, number: usize) {
        let phone = &mut self.phones[number];
        let (protocol, remote, connection) = (phone.protocol, phone.address, phone.connection);
        let messages = std::mem::take(&mut phone.out);
        let (own, media) = (phone.audio.address, std::mem::take(&mut phone.audio.out));
        for text in messages {
            let (token, bytes) = (SendToken(0), Bytes::from(text));
            if protocol == Protocol::Udp || connection.is_some() {
                self.launch(SipFlight { protocol, phone: remote, to_proxy: true, connection, token, bytes });
            }
        }
        for (to, bytes) in media {
            self.network.send_media(self.now, own, own, to, bytes);
        }
    }

    fn launch(&mut self, flight: SipFlight) {
        let (to_proxy, ip, bytes) = (flight.to_proxy, flight.phone.ip(), flight.bytes.clone());
        let arrives = self.network.send_sip(self.now, flight);
        if let (true, Some(&phone)) = (self.recording, self.by_ip.get(&ip)) {
            // A test may inject what is no SIP.
            let Ok(message) = Message::parse(&bytes) else { return };
            self.seen.push(Seen { at: self.elapsed(), phone, to_proxy, lost: !arrives, message });
        }
    }

    fn reschedule(&mut self, phone: usize) {
        let wanted = self.phones[phone].poll_timeout();
        if wanted == self.woken_at[phone] {
            return;
        }
        if let Some(old) = self.woken_at[phone].take() {
            self.wakes.remove(&(old, phone));
        }
        if let Some(at) = wanted {
            self.wakes.insert((at, phone));
            self.woken_at[phone] = Some(at);
        }
    }
}

fn settings() -> Settings {
    let listener = |protocol| Listener { protocol, addr: proxy_address(protocol), advertised: None };
    Settings {
        domains: vec![DOMAIN.to_owned()],
        listeners: vec![listener(Protocol::Udp), listener(Protocol::Wss)],
        ..Settings::default()
    }
}
