//! What every step of a route may use: one worker's settings, doors, clock, randomness and calls.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::acl::Acl;
use crate::blocklist::Blocklist;
use crate::dialog::Calls;
use crate::digest::Authenticator;
use crate::event::Event;
use crate::flow::{Destination, Protocol};
use crate::guesses::Guesses;
use crate::location::{Location, Shared};
use crate::message::digits::push_hex;
use crate::message::{Name, Request, build};
use crate::outside::{Account, Outside, SharedText, Unavailable};
use crate::overload::Door;
use crate::profiles::Profiles;
use crate::secret::Secret;
use crate::settings::{Settings, normal_host};
use crate::sources::Sources;
use crate::stats::Stats;
use crate::tables::Tables;
use crate::tolls::Tolls;
use crate::topology::Topoh;
use crate::topology::topos::Topos;

/// Nonces whose use counts are remembered.
const NONCES: usize = 65_536;

/// Addresses of ours whose text is kept.
const SENT_BYS: usize = 32;

/// Places without TCP that are remembered, and for how long.
const REFUSALS: usize = 1024;
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// See the module.
#[allow(missing_debug_implementations)]
pub struct World {
    /// What the operator chose.
    pub settings: Arc<Settings>,
    /// The bindings of all workers.
    pub location: Arc<Location>,
    /// Destinations that have failed lately.
    pub blocklist: Arc<Blocklist>,
    /// Who is not heard at all.
    pub acl: Arc<Acl>,
    /// Who sends too much.
    pub sources: Arc<Sources>,
    /// How many calls there are, of whom and to where.
    pub profiles: Arc<Profiles>,
    /// What users have spent of the day at the telephone network.
    pub tolls: Arc<Tolls>,
    /// Who guesses passwords.
    pub guesses: Arc<Guesses>,
    /// Where what is hidden from peers is kept; `None`: it is not hidden, or in what they carry themselves.
    pub topos: Option<Arc<Topos>>,
    /// The doors.
    pub outside: Outside,
    /// The calls of this worker.
    pub calls: RefCell<Calls>,
    /// Judge of credentials.
    pub authenticator: RefCell<Authenticator>,
    /// Counters.
    pub stats: RefCell<Stats>,
    /// The line before the accounts of the store.
    pub accounts: Door,
    /// What the bindings that this worker makes have in common.
    shared: RefCell<Shared>,
    /// Places that do not take TCP, and until when that is believed.
    no_tcp: RefCell<HashMap<SocketAddr, Instant>>,
    /// Our addresses as peers are to write them, for every message says one or two of these few.
    sent_bys: RefCell<Vec<(Protocol, SocketAddr, Rc<str>)>>,
    events: RefCell<VecDeque<Event>>,
    rng: RefCell<StdRng>,
    /// Keys the hashes that others must not be able to make.
    secret: [u8; 32],
    now: Cell<Instant>,
    start: Instant,
    unix_start: u64,
}

impl World {
    /// See [`crate::proxy::Proxy::new`].
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        location: Arc<Location>,
        outside: Outside,
        seed: [u8; 32],
        now: Instant,
        unix_now: u64,
    ) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let (mut secret, mut nonce_key) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut secret);
        rng.fill_bytes(&mut nonce_key);
        let nonce_key = settings.auth.secret.as_ref().map_or(nonce_key, |secret| secret.0);
        let mut origin = [0; 4];
        rng.fill_bytes(&mut origin);
        let authenticator = Authenticator::new(nonce_key, origin, settings.auth.nonce_expire, NONCES);
        Self {
            settings,
            location,
            blocklist: Arc::default(),
            acl: Arc::default(),
            sources: Arc::default(),
            guesses: Arc::default(),
            profiles: Arc::default(),
            tolls: Arc::default(),
            topos: None,
            outside,
            calls: RefCell::default(),
            authenticator: RefCell::new(authenticator),
            stats: RefCell::default(),
            accounts: Door::default(),
            shared: RefCell::default(),
            no_tcp: RefCell::default(),
            sent_bys: RefCell::default(),
            events: RefCell::default(),
            rng: RefCell::new(rng),
            secret,
            now: Cell::new(now),
            start: now,
            unix_start: unix_now,
        }
    }

    /// See [`crate::proxy::Proxy::with_seals`].
    pub fn set_seals(&mut self, secret: &Secret) {
        self.secret = secret.0;
    }

    /// What masks and unmasks messages, if anything does.
    #[must_use]
    pub fn topoh(&self) -> Option<&Topoh> {
        self.topos.as_deref().map(Topos::topoh).or(self.settings.topoh.as_ref())
    }

    /// Sets the clock; it never goes back.
    pub fn set_now(&self, now: Instant) {
        self.now.set(now.max(self.now.get()));
    }

    /// The time told last.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// The wall clock, seconds since 1970.
    #[must_use]
    pub fn unix_now(&self) -> u64 {
        self.unix_start + self.now.get().saturating_duration_since(self.start).as_secs()
    }

    /// The account of `username` in `domain`, as the store has it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn account(&self, username: &str, domain: &str) -> Result<Option<Arc<Account>>, Unavailable> {
        self.accounts.pass(|| self.now(), self.outside.store.account(username, domain)).await
    }

    /// Has the bindings of `aor` be those of the store, where others change them too. A store that does not answer leaves those
    /// that are known.
    pub async fn refresh(&self, aor: &str) {
        let store = &self.outside.store;
        if !store.shares_bindings() {
            return;
        }
        // That it does not answer is told by the store itself.
        let Ok(Some(mut rows)) = store.bindings(aor).await else { return };
        for row in &mut rows {
            let protocol = row.protocol();
            let is_ours = |local: SocketAddr| {
                self.settings.listeners.iter().any(|listener| {
                    let ip = listener.addr.ip();
                    let reached = ip == local.ip() || ip.is_unspecified();
                    listener.protocol == protocol && listener.addr.port() == local.port() && reached
                })
            };
            if !row.local().is_some_and(is_ours) {
                row.forget_local();
            }
        }
        self.location.refresh(aor, rows, self.unix_now());
    }

    /// What requests are routed by.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables> {
        self.outside.store.tables()
    }

    /// The domain of ours that `host` means: one of the settings ([`Settings::local_domain`]), or one of the tables.
    #[must_use]
    pub fn local_domain(&self, host: &str) -> Option<String> {
        let of_settings = self.settings.local_domain(host).map(ToOwned::to_owned);
        of_settings.or_else(|| self.tables().is_domain(host).then(|| normal_host(host)))
    }

    /// Whether `host` and `port` are where a listener answers, on any of its names ([`Settings::is_myself`]), those of the
    /// tables included.
    #[must_use]
    pub fn is_myself(&self, host: &str, port: Option<u16>) -> bool {
        let home = || self.settings.domains.first().map_or("localhost", String::as_str);
        self.settings.is_myself(host, port)
            || (self.tables().is_domain(host) && self.settings.is_myself(home(), port))
    }

    /// A User-Agent and an address of ours, as many bindings share them.
    #[must_use]
    pub fn share(&self, user_agent: &str, local: SocketAddr) -> (SharedText, Arc<SocketAddr>) {
        let mut shared = self.shared.borrow_mut();
        (shared.text(user_agent), shared.address(local))
    }

    /// Gives up what no binding shares any more.
    pub fn tidy(&self) {
        self.shared.borrow_mut().tidy();
    }

    /// Whether TCP was refused at `remote` lately.
    #[must_use]
    pub fn refuses_tcp(&self, remote: SocketAddr) -> bool {
        self.no_tcp.borrow().get(&remote).is_some_and(|until| *until > self.now())
    }

    /// TCP was refused at `remote`: for a while long requests go there in datagrams at once.
    pub fn note_tcp_refusal(&self, remote: SocketAddr) {
        let (now, mut refusals) = (self.now(), self.no_tcp.borrow_mut());
        if refusals.len() >= REFUSALS {
            refusals.retain(|_, until| *until > now);
        }
        if refusals.len() < REFUSALS {
            refusals.insert(remote, now + REFUSED_FOR);
        }
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn unix_millis(&self) -> u64 {
        let since = self.now.get().saturating_duration_since(self.start).as_millis();
        self.unix_start * 1000 + u64::try_from(since).unwrap_or(u64::MAX / 2)
    }

    /// Notes an event.
    pub fn tell(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
    }

    /// Takes the oldest event.
    #[must_use]
    pub fn next_event(&self) -> Option<Event> {
        self.events.borrow_mut().pop_front()
    }

    /// A fresh tag.
    #[must_use]
    pub fn tag(&self) -> String {
        build::random_tag(&mut *self.rng.borrow_mut())
    }

    /// Says in a request of ours who makes it, unless it says so itself.
    pub fn sign(&self, request: &mut Request) {
        if let Some(agent) = &self.settings.user_agent_header
            && !request.contains(Name::UserAgent)
        {
            request.push(Name::UserAgent, agent);
        }
    }

    /// The tag of answers to `request` that is the same for each copy of it.
    #[must_use]
    pub fn tag_of(&self, request: &Request) -> String {
        // Nothing depends on it but that nobody else answers by it: no dialog begins with these.
        let mut hash = DefaultHasher::new();
        hash.write(&self.secret);
        hash.write(request.raw(Name::Via).unwrap_or_default());
        hash.write(request.call_id().as_bytes());
        build::tag_of(hash.finish())
    }

    /// Uses the randomness.
    pub fn with_rng<T>(&self, f: impl FnOnce(&mut StdRng) -> T) -> T {
        f(&mut self.rng.borrow_mut())
    }

    /// A hash of `parts` that nobody else can make, but workers with the same key: 16 hexadecimal digits.
    #[must_use]
    pub fn seal<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut seal = String::with_capacity(16);
        push_hex(&mut seal, &hash.finalize()[..8]);
        seal
    }

    /// An address of record as [`Location`] knows it (Kamailio's `case_sensitive`).
    #[must_use]
    pub fn location_key(&self, aor: &str) -> String {
        let is_lower = || aor.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        if self.settings.registrar.case_sensitive || is_lower() { aor.to_owned() } else { aor.to_lowercase() }
    }

    /// The address by which we reach `destination`, and by which its answers reach us.
    #[must_use]
    pub fn local_of(&self, destination: &Destination) -> SocketAddr {
        match *destination {
            Destination::Flow(flow) => flow.local,
            Destination::Address { protocol, remote } => self.local_towards(protocol, remote.ip()),
        }
    }

    fn local_towards(&self, protocol: Protocol, remote: IpAddr) -> SocketAddr {
        let bound = self.settings.listener(protocol, remote).map(|listener| listener.addr);
        let bound = bound.unwrap_or_else(|| SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 5060));
        if !bound.ip().is_unspecified() {
            return bound;
        }
        let ip = self.outside.resolver.local_address(remote).unwrap_or(bound.ip());
        SocketAddr::new(ip, bound.port())
    }

    /// `host:port` of ours as peers are to write it: the advertised name of the listener at `local`, else `local`.
    #[must_use]
    pub fn sent_by(&self, protocol: Protocol, local: SocketAddr) -> Rc<str> {
        let mut known = self.sent_bys.borrow_mut();
        if let Some((_, _, text)) = known.iter().find(|(of, at, _)| (*of, *at) == (protocol, local)) {
            return Rc::clone(text);
        }
        let text: Rc<str> = self.make_sent_by(protocol, local).into();
        if known.len() < SENT_BYS {
            known.push((protocol, local, Rc::clone(&text)));
        }
        text
    }

    fn make_sent_by(&self, protocol: Protocol, local: SocketAddr) -> String {
        let here = |addr: SocketAddr| {
            addr.port() == local.port() && (addr.ip() == local.ip() || addr.ip().is_unspecified())
        };
        let listener = self
            .settings
            .listeners
            .iter()
            .find(|listener| listener.protocol == protocol && here(listener.addr));
        match listener.and_then(|listener| listener.advertised.as_ref()) {
            Some((host, port)) if normal_host(host).contains(':') => {
                format!("[{}]:{port}", normal_host(host))
            }
            Some((host, port)) => format!("{host}:{port}"),
            None => local.to_string(),
        }
    }
}
