//! A proxy in virtual time, and phones that write and read SIP as plain text: nothing of the proxy's own parser is
//! used here, so that the two check each other.

#[path = "testbed/messages.rs"]
mod messages;
#[path = "testbed/outside.rs"]
mod outside;
#[path = "testbed/phone.rs"]
mod phone;
#[path = "testbed/relay.rs"]
mod relay;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use signaling_core::event::Event;
use signaling_core::flow::{ConnectionId, Destination, Flow, Inbound, Outbound, Protocol};
use signaling_core::location::Location;
use signaling_core::outside::{
    Account, Lookup, MediaControl, MediaError, MediaExchange, Outside, Resolver, Store, StoredBinding,
    Unavailable,
};
use signaling_core::proxy::Proxy;
use signaling_core::settings::{Listener, Settings};
use signaling_core::tables::Tables;
use signaling_core::topology::topos::HiddenEnd;

pub use self::messages::*;
pub use self::outside::MemoryStore;
use self::outside::{FakeResolver, Shared};
pub use self::phone::{Dialog, Phone};
pub use self::relay::{Asked, FakeMedia};

/// The domain of all accounts of the bed.
pub const DOMAIN: &str = "sip.example";
/// The wall clock at the start of each test, seconds since 1970.
pub const UNIX_START: u64 = 1_800_000_000;
/// Where the proxy answers; port 5060 is UDP and TCP, 5061 TLS, 8080 WS, 8443 WSS.
pub const PROXY_IP: [u8; 4] = [192, 0, 2, 1];

/// The proxy, its surroundings, and everything in flight.
pub struct Bed {
    /// The worker under test.
    pub proxy: Proxy,
    /// Virtual time.
    pub now: Instant,
    start: Instant,
    /// Accounts and saved bindings.
    pub store: Rc<MemoryStore>,
    /// The fake relay.
    pub media: Rc<FakeMedia>,
    /// The bindings.
    pub location: Arc<Location>,
    /// Everything the proxy has told.
    pub events: Vec<Event>,
    /// What the proxy sent, by the protocol and address of the receiver, and not yet looked at.
    inboxes: HashMap<(Protocol, SocketAddr), VecDeque<Sip>>,
    /// Where nothing can be sent.
    pub unreachable: Vec<(Protocol, SocketAddr)>,
    /// Connections that are closed: what is sent there fails.
    closed: Vec<ConnectionId>,
    /// Open connections by the peer's address.
    connections: HashMap<(Protocol, SocketAddr), ConnectionId>,
    next_connection: u64,
}

impl Bed {
    /// A bed with the given users, each with the password `secret-<user>`.
    pub fn new(users: &[&str]) -> Self {
        Self::with(users, settings(), Vec::new())
    }

    /// A bed with other settings and bindings that the store kept.
    pub fn with(users: &[&str], settings: Settings, kept: Vec<(String, StoredBinding)>) -> Self {
        Self::make(users, settings, kept, [7; 32])
    }

    /// A bed whose worker has other secrets.
    pub fn with_seed(users: &[&str], settings: Settings, seed: [u8; 32]) -> Self {
        Self::make(users, settings, Vec::new(), seed)
    }

    fn make(users: &[&str], settings: Settings, kept: Vec<(String, StoredBinding)>, seed: [u8; 32]) -> Self {
        let store = Rc::new(MemoryStore::default());
        for user in users {
            let account = Account::of_password(user, DOMAIN, &password(user));
            store.accounts.borrow_mut().insert((*user).to_owned(), Arc::new(account));
        }
        let media = Rc::new(FakeMedia::default());
        let location = Arc::new(Location::new());
        location.load(kept, UNIX_START);
        let outside = Outside {
            store: Box::new(Shared(Rc::clone(&store))),
            media: Box::new(Shared(Rc::clone(&media))),
            resolver: Box::new(FakeResolver),
        };
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let proxy = Proxy::new(Arc::new(settings), Arc::clone(&location), outside, seed, now, UNIX_START);
        Self {
            proxy,
            now,
            start: now,
            store,
            media,
            location,
            events: Vec::new(),
            inboxes: HashMap::new(),
            unreachable: Vec::new(),
            closed: Vec::new(),
            connections: HashMap::new(),
            next_connection: 1,
        }
    }

    /// Opens a flow from `remote` to the proxy.
    pub fn flow(&mut self, protocol: Protocol, remote: &str) -> Flow {
        let remote: SocketAddr = remote.parse().expect("address");
        let connection = protocol.is_reliable().then(|| {
            let id = ConnectionId(self.next_connection);
            self.next_connection += 1;
            self.connections.insert((protocol, remote), id);
            id
        });
        let local = SocketAddr::new(IpAddr::from(PROXY_IP), port_of(protocol));
        Flow { protocol, local, remote, connection }
    }

    /// Closes a flow's connection.
    pub fn close(&mut self, flow: &Flow) {
        let connection = flow.connection.expect("a stream");
        self.closed.push(connection);
        self.connections.remove(&(flow.protocol, flow.remote));
        self.proxy.handle_flow_closed(self.now, connection);
        self.drain();
    }

    /// Delivers a message to the proxy and lets it finish what it can.
    pub fn send(&mut self, flow: &Flow, text: &str) {
        self.send_bytes(flow, text.as_bytes());
    }

    /// The same for bytes that need not be text.
    pub fn send_bytes(&mut self, flow: &Flow, bytes: &[u8]) {
        let inbound = Inbound { flow: *flow, bytes: Bytes::copy_from_slice(bytes) };
        self.proxy.handle_inbound(self.now, inbound);
        self.drain();
    }

    /// The next message for `flow`; fails the test when there is none.
    #[track_caller]
    pub fn receive(&mut self, flow: &Flow) -> Sip {
        let message = self.try_receive(flow);
        message.unwrap_or_else(|| panic!("nothing came for {} {}", flow.protocol, flow.remote))
    }

    /// The next message for `flow`, which must start with `start`.
    #[track_caller]
    pub fn expect(&mut self, flow: &Flow, start: &str) -> Sip {
        let message = self.receive(flow);
        assert!(message.text.starts_with(start), "expected {start}, got:\n{}", message.text);
        message
    }

    /// The next message for `flow`, if there is one.
    pub fn try_receive(&mut self, flow: &Flow) -> Option<Sip> {
        self.inboxes.get_mut(&(flow.protocol, flow.remote))?.pop_front()
    }

    /// Fails the test when anything has been sent that was not looked at.
    #[track_caller]
    pub fn expect_silence(&self) {
        for ((protocol, remote), inbox) in &self.inboxes {
            if let Some(message) = inbox.front() {
                panic!("unexpected for {protocol} {remote}:\n{}", message.text);
            }
        }
    }

    /// Whether anything has been sent that was not looked at.
    pub fn is_anything_sent(&self) -> bool {
        self.inboxes.values().any(|inbox| !inbox.is_empty())
    }

    /// Forgets what is in flight.
    pub fn discard(&mut self) {
        self.inboxes.clear();
    }

    /// Forgets what is in flight to others than `flow`.
    pub fn discard_but(&mut self, flow: &Flow) {
        self.inboxes.retain(|receiver, _| *receiver == (flow.protocol, flow.remote));
    }

    /// Lets time pass, and every timer fire at its own moment.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(next) = self.proxy.poll_timeout().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.proxy.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Time since the start of the test.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Tells the proxy to stop.
    pub fn begin_shutdown(&mut self) {
        self.proxy.begin_shutdown(self.now);
        self.drain();
    }

    /// Moves everything that can move without time passing.
    pub fn drain(&mut self) {
        loop {
            self.proxy.poll_routes(self.now, &mut Context::from_waker(Waker::noop()));
            let mut moved = false;
            while let Some(outbound) = self.proxy.poll_transmit() {
                moved = true;
                self.carry(outbound);
            }
            while let Some(event) = self.proxy.poll_event() {
                self.events.push(event);
            }
            if !moved {
                return;
            }
        }
    }

    fn carry(&mut self, outbound: Outbound) {
        let way = |destination| {
            let (protocol, remote, connection) = match destination {
                Destination::Flow(flow) => (flow.protocol, flow.remote, flow.connection),
                Destination::Address { protocol, remote } => {
                    (protocol, remote, self.connections.get(&(protocol, remote)).copied())
                }
            };
            let gone = connection.is_some_and(|id| self.closed.contains(&id))
                || self.unreachable.contains(&(protocol, remote));
            (!gone && (connection.is_some() || !protocol.is_websocket())).then_some((protocol, remote))
        };
        let found = way(outbound.destination).or_else(|| way(outbound.fallback?));
        let Some((protocol, remote)) = found else {
            return self.proxy.handle_send_failure(self.now, outbound.token);
        };
        let text = String::from_utf8(outbound.bytes.to_vec()).expect("the tests speak UTF-8");
        self.inboxes.entry((protocol, remote)).or_default().push_back(Sip { text });
    }
}

/// Settings with all five transports and the defaults of everything else.
pub fn settings() -> Settings {
    let listener = |protocol| Listener {
        protocol,
        addr: SocketAddr::new(IpAddr::from(PROXY_IP), port_of(protocol)),
        advertised: None,
    };
    let all = [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];
    Settings {
        domains: vec![DOMAIN.to_owned()],
        listeners: all.into_iter().map(listener).collect(),
        ..Settings::default()
    }
}

/// The port of a listener of the bed.
pub fn port_of(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Udp | Protocol::Tcp => 5060,
        Protocol::Tls => 5061,
        Protocol::Ws => 8080,
        Protocol::Wss => 8443,
    }
}

/// The password of `user` on the bed.
pub fn password(user: &str) -> String {
    format!("secret-{user}")
}
