//! The simulated test bed: two phones, the proxy, the relay and the network between them, in one thread and virtual time.
//!
//! Nothing waits: the bed jumps to the next moment at which anything happens, so thirty seconds of protocol take a
//! millisecond, and a seed gives the same run every time.

pub mod network;
pub mod phone;
mod relay;

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use signaling_core::event::Event;
use signaling_core::flow::{Destination, Flow, Inbound, Protocol};
use signaling_core::location::Location;
use signaling_core::outside::{Account, Outside, Resolver, Store, StoredBinding, Unavailable};
use signaling_core::proxy::Proxy;
use signaling_core::settings::{Listener, Settings};

use self::network::{Datagram, Network, Weather};
use self::phone::SimPhone;
use self::relay::{MediaLink, SimRelay};
use crate::sip::Message;

/// The SIP domain of the bed.
pub const DOMAIN: &str = "sim.test";
/// Where the proxy and the relay are.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The proxy's SIP socket.
pub const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(GATEWAY), 5060);
/// Every account's password.
pub const PASSWORD: &str = "virtual";

/// Wall clock at the start of every run, in seconds since 1970.
const EPOCH: u64 = 1_700_000_000;

/// A SIP message seen on the wire, lost ones included.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Since the start of the run.
    pub at: Duration,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What.
    pub message: Message,
}

/// The whole bed.
#[allow(missing_debug_implementations)]
pub struct World {
    /// What the network does to datagrams.
    pub network: Network,
    /// The phones: 0 is `alice`, 1 is `bob`.
    pub phones: [SimPhone; 2],
    /// Every SIP message sent so far.
    pub seen: Vec<Seen>,
    /// What the proxy reported.
    pub events: Vec<Event>,
    proxy: Proxy,
    relay: Rc<RefCell<SimRelay>>,
    clock: Rc<Cell<Instant>>,
    start: Instant,
}

impl World {
    /// A bed with both phones registered and a fair network.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_weather(seed, Weather::default())
    }

    /// The same with a network of another kind.
    #[must_use]
    pub fn with_weather(seed: u64, weather: Weather) -> Self {
        let start = Instant::now();
        let clock = Rc::new(Cell::new(start));
        let phones = [("alice", 10), ("bob", 20)].map(|(name, host)| {
            SimPhone::new(name, SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 5060)))
        });
        let location = Arc::new(Location::new());
        location.load(phones.iter().map(binding).collect());
        let mut octets = [7; 32];
        octets[..8].copy_from_slice(&seed.to_be_bytes());
        let relay = Rc::new(RefCell::new(SimRelay::new(octets, start, Duration::from_secs(EPOCH))));
        let media = MediaLink { relay: Rc::clone(&relay), clock: Rc::clone(&clock) };
        let outside =
            Outside { store: Box::new(Accounts), media: Box::new(media), resolver: Box::new(NoNames) };
        let proxy = Proxy::new(Arc::new(settings()), location, outside, octets, start, EPOCH);
        let network = Network::new(seed, weather);
        Self { network, phones, seen: Vec::new(), events: Vec::new(), proxy, relay, clock, start }
    }

    /// The virtual clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.get()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.get() - self.start
    }

    /// Lets the bed live for `span`.
    pub fn run(&mut self, span: Duration) {
        let end = self.clock.get() + span;
        self.run_until(end, |_| false);
    }

    /// Lets the bed live until `done`, at most for `limit`; whether it was done.
    pub fn run_while(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.clock.get() + limit;
        self.run_until(end, &mut done)
    }

    /// Ends all calls as Ctrl-C does.
    pub fn shut_down(&mut self) {
        self.proxy.begin_shutdown(self.clock.get());
        self.settle();
    }

    /// Whether the proxy has nothing left to say after [`World::shut_down`].
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.proxy.is_idle()
    }

    /// Sockets that the relay holds for calls.
    #[must_use]
    pub fn relay_sockets(&self) -> usize {
        self.relay.borrow().sockets_of_calls()
    }

    /// The times at which `from` sent messages for which `wanted` holds.
    pub fn times(&self, from: SocketAddr, wanted: impl Fn(&Message) -> bool) -> Vec<Duration> {
        self.seen
            .iter()
            .filter(|seen| seen.from == from && wanted(&seen.message))
            .map(|seen| seen.at)
            .collect()
    }

    /// What was said, a line per message, for a test that failed.
    #[must_use]
    pub fn ladder(&self) -> String {
        let line = |seen: &Seen| {
            format!("{:9.3} {} -> {}  {}", seen.at.as_secs_f64(), seen.from, seen.to, seen.message.start)
        };
        self.seen.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn run_until(&mut self, end: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            let Some(next) = self.next_moment().filter(|next| *next <= end) else {
                self.clock.set(end);
                return false;
            };
            // A timer in the past fires now; time never goes back.
            let now = next.max(self.clock.get());
            self.clock.set(now);
            while let Some(datagram) = self.network.arrived(now) {
                self.deliver(now, datagram);
            }
            if self.proxy.poll_timeout().is_some_and(|at| at <= now) {
                self.proxy.handle_timeout(now);
            }
            if self.relay.borrow().poll_timeout().is_some_and(|at| at <= now) {
                self.relay.borrow_mut().handle_timeout(now);
            }
            for phone in &mut self.phones {
                phone.handle_timeout(now);
            }
        }
    }

    fn next_moment(&self) -> Option<Instant> {
        let phones = self.phones.iter().filter_map(SimPhone::poll_timeout);
        let others =
            [self.network.next_arrival(), self.proxy.poll_timeout(), self.relay.borrow().poll_timeout()];
        others.into_iter().flatten().chain(phones).min()
    }

    fn deliver(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { from, to, bytes } = datagram;
        if to == PROXY {
            let flow = Flow { protocol: Protocol::Udp, local: PROXY, remote: from, connection: None };
            self.proxy.handle_inbound(now, Inbound { flow, bytes: Bytes::from(bytes) });
        } else if to.ip() == PROXY.ip() {
            self.relay.borrow_mut().handle_datagram(now, from, to, &bytes);
        } else if let Some(phone) = self.phones.iter_mut().find(|phone| phone.address.ip() == to.ip()) {
            phone.handle_datagram(now, to, &bytes);
        }
    }

    /// Drains everybody until nobody has anything left to say at this moment.
    fn settle(&mut self) {
        let now = self.clock.get();
        let mut context = Context::from_waker(Waker::noop());
        loop {
            self.proxy.poll_routes(now, &mut context);
            let mut sent = Vec::new();
            while let Some(outbound) = self.proxy.poll_transmit() {
                let to = match outbound.destination {
                    Destination::Flow(flow) => flow.remote,
                    Destination::Address { remote, .. } => remote,
                };
                sent.push(Datagram { from: PROXY, to, bytes: outbound.bytes.to_vec() });
            }
            self.events.extend(std::iter::from_fn(|| self.proxy.poll_event()));
            sent.extend(self.relay.borrow_mut().transmits());
            for phone in &mut self.phones {
                sent.extend(phone.transmits());
            }
            if sent.is_empty() {
                return;
            }
            for datagram in sent {
                if datagram.to.port() == 5060
                    && let Ok(message) = Message::parse(&datagram.bytes)
                {
                    let Datagram { from, to, .. } = datagram;
                    self.seen.push(Seen { at: now - self.start, from, to, message });
                }
                self.network.send(now, datagram);
            }
        }
    }
}

fn settings() -> Settings {
    let listener = Listener { protocol: Protocol::Udp, addr: PROXY, advertised: None };
    Settings { domains: vec![DOMAIN.into()], listeners: vec![listener], ..Settings::default() }
}

fn binding(phone: &SimPhone) -> (String, StoredBinding) {
    let stored = StoredBinding {
        ruid: format!("sim-{}", phone.name),
        contact: format!("sip:{}@{}", phone.name, phone.address),
        received: phone.address,
        protocol: Protocol::Udp,
        path: String::new(),
        expires_at: EPOCH + 86_400,
        q: 1000,
        call_id: format!("registration-{}", phone.name),
        cseq: 1,
        user_agent: String::new(),
        instance: String::new(),
        reg_id: 0,
        methods: u32::MAX,
    };
    (format!("{}@{DOMAIN}", phone.name), stored)
}

/// A store in which everybody has the same password.
struct Accounts;

impl Store for Accounts {
    fn account<'a>(
        &'a self,
        username: &'a str,
        domain: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Account>, Unavailable>> {
        let account = (["alice", "bob"].contains(&username) && domain == DOMAIN).then(|| Account {
            username: username.to_owned(),
            domain: domain.to_owned(),
            ha1: crate::sip::ha1(username, domain, PASSWORD),
        });
        Box::pin(ready(Ok(account)))
    }

    fn save_bindings<'a>(
        &'a self,
        _aor: &'a str,
        _bindings: &'a [StoredBinding],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(ready(Ok(())))
    }
}

/// Nothing here needs a name.
struct NoNames;

impl Resolver for NoNames {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        _port: Option<u16>,
        _protocol: Option<Protocol>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>> {
        Box::pin(ready(Err(Unavailable(format!("no name is known here, not {host}")))))
    }
}
