//! Names to addresses by RFC 3263. `locate` decides, `order` is RFC 6724, and here are the name servers: one cache for
//! all workers, bounded in size, in age, and in how long and how many ask at once.

mod locate;
mod order;
mod silence;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use rand::RngExt as _;
use rand::SeedableRng as _;
use signaling_core::flow::Protocol;
use signaling_core::outside::{Lookup, Resolver, Unavailable};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use self::locate::Reach;
pub use self::locate::{Naptr, Srv};
use self::locate::{Zone, locate};
use self::silence::Silence;
use crate::config;
use crate::countries::Countries;

/// Look-ups of all workers at a time; the others wait for their turn within their time.
const AT_ONCE: usize = 256;

/// The name servers, asked with a cache in between. Clones share it.
#[derive(Clone, Debug)]
pub struct Dns {
    servers: Arc<Servers>,
    countries: Option<Countries>,
    runtime: Handle,
}

#[derive(Debug)]
struct Servers {
    /// `None` on a host without name servers.
    resolver: Option<TokioResolver>,
    reach: Reach,
    try_naptr: bool,
    /// A caller waits for this in silence, so it stays below the phone's own patience.
    deadline: Duration,
    turns: Semaphore,
    silence: Silence,
}

impl Dns {
    /// Asks the servers of `settings`, or those of the system, for what can be sent over `reach`. Must be called within the
    /// runtime that is to ask. A host without name servers, such as a bare container, still carries calls between its own
    /// users: there every look-up fails.
    #[must_use]
    pub fn new(settings: &config::Dns, reach: Reach) -> Self {
        let resolver = builder(&settings.servers)
            .and_then(|builder| build(builder, settings))
            .inspect_err(|error| {
                let error = format!("{error:#}");
                tracing::warn!(error, "no name servers: only addresses can be called");
            })
            .ok();
        // Two questions in a row, each to be asked again.
        let deadline = settings.retr_time * (settings.retr_no + 1) * 2;
        let servers = Servers {
            resolver,
            reach,
            try_naptr: settings.try_naptr,
            deadline,
            turns: Semaphore::new(AT_ONCE),
            silence: Silence::default(),
        };
        Self { servers: Arc::new(servers), countries: None, runtime: Handle::current() }
    }

    /// Knows the countries of addresses too.
    #[must_use]
    pub fn with_countries(self, countries: Option<Countries>) -> Self {
        Self { countries, ..self }
    }
}

fn builder(servers: &[SocketAddr]) -> anyhow::Result<ResolverBuilder<TokioRuntimeProvider>> {
    if servers.is_empty() {
        return Ok(TokioResolver::builder_tokio()?);
    }
    let servers = servers.iter().map(|address| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        for connection in &mut server.connections {
            connection.port = address.port();
        }
        server
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
}

fn build(
    mut builder: ResolverBuilder<TokioRuntimeProvider>,
    settings: &config::Dns,
) -> anyhow::Result<TokioResolver> {
    let options = builder.options_mut();
    options.timeout = settings.retr_time;
    options.attempts = usize::try_from(settings.retr_no)?;
    options.cache_size = settings.cache_size;
    options.positive_max_ttl = Some(settings.cache_max_ttl);
    options.negative_max_ttl = Some(settings.cache_negative_ttl);
    options.ip_strategy =
        if settings.try_ipv6 { LookupIpStrategy::Ipv4AndIpv6 } else { LookupIpStrategy::Ipv4Only };
    Ok(builder.build()?)
}

/// What can be asked for by [`Dns::look_up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Addresses.
    Address(RecordType),
    /// Servers (RFC 2782).
    Srv,
    /// Transports (RFC 3263 §4.1).
    Naptr,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its kind says")]
pub enum Record {
    Address(IpAddr),
    Srv(Srv),
    Naptr(Naptr),
}

/// What is found under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// None when there is no such name.
    pub records: Vec<Record>,
    /// Seconds until it is asked for again.
    pub expires: u64,
}

impl Kind {
    /// Those that there are.
    pub const NAMES: [&'static str; 4] = ["A", "AAAA", "SRV", "NAPTR"];

    /// The one of this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "A" => Self::Address(RecordType::A),
            "AAAA" => Self::Address(RecordType::AAAA),
            "SRV" => Self::Srv,
            "NAPTR" => Self::Naptr,
            _ => return None,
        })
    }

    const fn record_type(self) -> RecordType {
        match self {
            Self::Address(kind) => kind,
            Self::Srv => RecordType::SRV,
            Self::Naptr => RecordType::NAPTR,
        }
    }
}

impl Dns {
    /// The records of a name, for an operator who wonders.
    ///
    /// # Errors
    /// There are no name servers, or they do not answer in time.
    pub async fn look_up(&self, kind: Kind, name: &str) -> Result<Records, String> {
        let servers = &self.servers;
        let resolver = servers.resolver.as_ref().ok_or("no name servers")?;
        let asked =
            tokio::time::timeout(servers.deadline, resolver.lookup(absolute(name), kind.record_type()));
        match asked.await {
            Err(_) => Err(format!("{name}: name servers do not answer in time")),
            Ok(Ok(found)) => {
                let records = found.answers().iter().filter_map(|record| read(&record.data)).collect();
                let left = found.valid_until().saturating_duration_since(Instant::now());
                Ok(Records { records, expires: left.as_secs() })
            }
            Ok(Err(error)) => nothing(name, &error).map(|records| Records { records, expires: 0 }),
        }
    }

    /// Forgets what name servers have said.
    pub fn forget(&self) {
        if let Some(resolver) = &self.servers.resolver {
            resolver.clear_cache();
        }
    }
}

fn read(data: &RData) -> Option<Record> {
    match data {
        RData::A(address) => Some(Record::Address(address.0.into())),
        RData::AAAA(address) => Some(Record::Address(address.0.into())),
        RData::SRV(_) => srv(data).map(Record::Srv),
        RData::NAPTR(_) => naptr(data).map(Record::Naptr),
        _ => None,
    }
}

fn naptr(data: &RData) -> Option<Naptr> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match data {
        RData::NAPTR(naptr) => Some(Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            replacement: host_of(&naptr.replacement),
        }),
        _ => None,
    }
}

fn srv(data: &RData) -> Option<Srv> {
    match data {
        RData::SRV(srv) => Some(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: host_of(&srv.target),
        }),
        _ => None,
    }
}

impl Resolver for Dns {
    fn resolve<'a>(
        &'a self,
        lookup: Lookup<'a>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>> {
        let (servers, target) = (Arc::clone(&self.servers), lookup.target.to_owned());
        let Lookup { port, transport, secure, .. } = lookup;
        // The sockets of the name servers live on the runtime that asks, whatever becomes of a worker.
        let asking = self.runtime.spawn(async move {
            let lookup = Lookup { target: &target, port, transport, secure };
            servers.find(lookup).await
        });
        Box::pin(async move {
            let found = asking.await.unwrap_or_else(|error| Err(error.to_string()));
            found.map_err(Unavailable)
        })
    }

    fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        self.countries.as_ref()?.of(address)
    }

    fn local_address(&self, remote: IpAddr) -> Option<IpAddr> {
        crate::host::route_to(remote)
    }
}

impl Servers {
    async fn find(&self, lookup: Lookup<'_>) -> Result<Vec<(Protocol, SocketAddr)>, String> {
        let late = || format!("{}: name servers do not answer in time", lookup.target);
        let find = async {
            let _turn = self.turns.acquire().await.map_err(|error| error.to_string())?;
            let mut rng = rand::rngs::StdRng::from_rng(&mut rand::rng());
            let draw = |total| rng.random_range(0..=total);
            locate(self, lookup, &self.reach, self.try_naptr, draw).await
        };
        // While the servers are silent a caller hears so at once, unless the answer is in the cache.
        let patience = self.silence.patience(Instant::now(), self.deadline);
        let found = tokio::time::timeout(patience, find).await;
        match &found {
            Ok(Ok(_)) => self.silence.broken(),
            Err(_) if patience == self.deadline => self.silence.began(Instant::now()),
            _ => {}
        }
        found.unwrap_or_else(|_| Err(late()))
    }

    async fn records<T: Send>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T> + Send,
    ) -> Result<Vec<T>, String> {
        let resolver = self.resolver.as_ref().ok_or("no name servers")?;
        match resolver.lookup(absolute(name), kind).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| read(&record.data)).collect()),
            Err(error) => nothing(name, &error),
        }
    }
}

impl Zone for Servers {
    async fn naptr(&self, name: &str) -> Result<Vec<Naptr>, String> {
        self.records(name, RecordType::NAPTR, naptr).await
    }

    async fn srv(&self, name: &str) -> Result<Vec<Srv>, String> {
        self.records(name, RecordType::SRV, srv).await
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let resolver = self.resolver.as_ref().ok_or("no name servers")?;
        match resolver.lookup_ip(absolute(name)).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) => nothing(name, &error),
        }
    }

    fn source(&self, remote: IpAddr) -> Option<IpAddr> {
        crate::host::route_to(remote)
    }
}

/// A name that is not there is an answer; a server that says nothing is none.
fn nothing<T>(name: &str, error: &NetError) -> Result<Vec<T>, String> {
    if error.is_no_records_found() { Ok(Vec::new()) } else { Err(format!("{name}: {error}")) }
}

/// With a final dot no search list of the host is tried: a SIP domain is always whole.
fn absolute(host: &str) -> String {
    if host.ends_with('.') || host == "localhost" { host.to_owned() } else { format!("{host}.") }
}

/// A name as text; empty for the root.
fn host_of(name: &hickory_resolver::proto::rr::Name) -> String {
    if name.is_root() { String::new() } else { name.to_utf8() }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
