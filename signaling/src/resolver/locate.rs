//! Which servers a URI leads to: RFC 3263 §4 over any source of records, with the order of RFC 2782. No name server is
//! known here, and the randomness is given.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::{join, join_all};
use signaling_core::flow::Protocol;
use signaling_core::outside::Lookup;

use super::order;

/// Records looked at in one answer: what a hostile zone can make us do is bounded.
const MAX_RECORDS: usize = 64;
/// Addresses tried for one request.
pub(super) const MAX_ADDRESSES: usize = 8;

/// A source of records. What is not there is an empty list; an error is a name server that did not tell.
pub(super) trait Zone: Sync {
    /// The NAPTR records of `name` (RFC 3403).
    fn naptr(&self, name: &str) -> impl Future<Output = Result<Vec<Naptr>, String>> + Send;
    /// The SRV records of `name` (RFC 2782).
    fn srv(&self, name: &str) -> impl Future<Output = Result<Vec<Srv>, String>> + Send;
    /// The A and AAAA records of `name`.
    fn addresses(&self, name: &str) -> impl Future<Output = Result<Vec<IpAddr>, String>> + Send;
    /// Our address on the way to `remote` (RFC 6724 §5); `None` when no route leads there.
    fn source(&self, remote: IpAddr) -> Option<IpAddr>;
}

/// A NAPTR record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// The lower, the sooner.
    pub order: u16,
    /// The same among those of one order.
    pub preference: u16,
    /// `s`: the replacement is the name of SRV records.
    pub flags: String,
    /// Such as `SIP+D2U`.
    pub service: String,
    /// What is asked for next.
    pub replacement: String,
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// The lower, the sooner.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Empty when the service is decidedly not there (RFC 2782).
    pub target: String,
}

/// What this process can send over.
#[derive(Debug, Clone, Default)]
pub struct Reach(Vec<(Protocol, bool)>);

impl Reach {
    /// What the listeners at these addresses make possible.
    #[must_use]
    pub fn of(listeners: impl IntoIterator<Item = (Protocol, SocketAddr)>) -> Self {
        Self(listeners.into_iter().map(|(protocol, address)| (protocol, address.is_ipv4())).collect())
    }

    fn speaks(&self, protocol: Protocol) -> bool {
        self.0.iter().any(|(ours, _)| *ours == protocol)
    }

    fn covers(&self, protocol: Protocol, ip: IpAddr) -> bool {
        self.0.contains(&(protocol, ip.is_ipv4()))
    }
}

/// SRV names by transport, in order of preference.
type Services = Vec<(Protocol, String)>;

/// The servers of `lookup`, best first. `draw(n)` is a random number from 0 to n.
pub(super) async fn locate(
    zone: &impl Zone,
    lookup: Lookup<'_>,
    reach: &Reach,
    try_naptr: bool,
    mut draw: impl FnMut(u32) -> u32,
) -> Result<Vec<(Protocol, SocketAddr)>, String> {
    let fallback = lookup.transport.unwrap_or(if lookup.secure { Protocol::Tls } else { Protocol::Udp });
    // RFC 3263 §4.2: with a port, no SRV.
    if let Some(port) = lookup.port {
        return addresses(zone, lookup.target, fallback, port, reach).await;
    }
    let (answers, naptr) = services(zone, lookup, reach, try_naptr).await;
    let mut targets: Vec<(Protocol, Srv)> = Vec::new();
    let (mut denied, mut failure) = (Vec::new(), None);
    for (protocol, answer) in answers {
        match answer {
            Ok(records) => {
                let (there, absent): (Vec<_>, Vec<_>) =
                    records.into_iter().take(MAX_RECORDS).partition(|record| !record.target.is_empty());
                denied.extend((there.is_empty() && !absent.is_empty()).then_some(protocol));
                targets.extend(by_weight(there, &mut draw).into_iter().map(|record| (protocol, record)));
            }
            Err(error) => failure = Some(error),
        }
    }
    targets.truncate(MAX_ADDRESSES);
    if targets.is_empty() {
        // A zone that names services by NAPTR, or says that this one is not there, does not mean its own address.
        return match failure.filter(|_| naptr) {
            Some(failure) => Err(failure),
            None if denied.contains(&fallback) => Err(format!("{}: no such service", lookup.target)),
            None => addresses(zone, lookup.target, fallback, default_port(fallback), reach).await,
        };
    }
    let found = targets
        .iter()
        .map(|(protocol, record)| addresses(zone, &record.target, *protocol, record.port, reach));
    gather(join_all(found).await)
}

/// What the SRV names of the transports in question hold, best transport first, and whether NAPTR chose them
/// (RFC 3263 §4.1). Most domains have no NAPTR and the caller waits, so NAPTR and the usual names are asked together.
async fn services(
    zone: &impl Zone,
    lookup: Lookup<'_>,
    reach: &Reach,
    try_naptr: bool,
) -> (Vec<(Protocol, Result<Vec<Srv>, String>)>, bool) {
    let usual: Services = match lookup.transport {
        Some(protocol) => vec![(protocol, service_name(protocol, lookup.target))],
        None => [Protocol::Udp, Protocol::Tcp, Protocol::Tls]
            .into_iter()
            .filter(|protocol| reach.speaks(*protocol) && (!lookup.secure || *protocol == Protocol::Tls))
            .map(|protocol| (protocol, service_name(protocol, lookup.target)))
            .collect(),
    };
    if lookup.transport.is_some() || !try_naptr {
        return (ask(zone, usual).await, false);
    }
    let (naptr, answers) = join(zone.naptr(lookup.target), ask(zone, usual)).await;
    let chosen = chosen(naptr.unwrap_or_default(), lookup.secure, reach);
    if chosen.is_empty() { (answers, false) } else { (ask(zone, chosen).await, true) }
}

async fn ask(zone: &impl Zone, services: Services) -> Vec<(Protocol, Result<Vec<Srv>, String>)> {
    join_all(services.into_iter().map(async |(protocol, name)| (protocol, zone.srv(&name).await))).await
}

/// The services of NAPTR records that we can use, in their order (RFC 3263 §4.1).
fn chosen(mut records: Vec<Naptr>, secure: bool, reach: &Reach) -> Services {
    records.truncate(MAX_RECORDS);
    records.sort_by_key(|record| (record.order, record.preference));
    let usable = records.into_iter().filter_map(|record| {
        let protocol = match record.service.to_ascii_uppercase().as_str() {
            "SIP+D2U" if !secure => Protocol::Udp,
            "SIP+D2T" if !secure => Protocol::Tcp,
            "SIPS+D2T" => Protocol::Tls,
            _ => return None,
        };
        let srv = record.flags.eq_ignore_ascii_case("s") && !record.replacement.is_empty();
        (srv && reach.speaks(protocol)).then_some((protocol, record.replacement))
    });
    usable.take(MAX_ADDRESSES).collect()
}

/// The addresses of one host that we can send to, in the order of RFC 6724.
async fn addresses(
    zone: &impl Zone,
    host: &str,
    protocol: Protocol,
    port: u16,
    reach: &Reach,
) -> Result<Vec<(Protocol, SocketAddr)>, String> {
    let found = zone.addresses(host).await?;
    let usable: Vec<IpAddr> =
        found.into_iter().take(MAX_RECORDS).filter(|ip| port != 0 && reach.covers(protocol, *ip)).collect();
    if usable.is_empty() {
        return Err(format!("{host}: no address that can be reached over {protocol}"));
    }
    let ordered = order::by_destination(usable, |ip| zone.source(ip));
    let places = ordered.into_iter().map(|ip| (protocol, SocketAddr::new(ip, port)));
    Ok(places.take(MAX_ADDRESSES).collect())
}

/// One list of many, each place once.
fn gather(
    found: Vec<Result<Vec<(Protocol, SocketAddr)>, String>>,
) -> Result<Vec<(Protocol, SocketAddr)>, String> {
    let (mut places, mut failure) = (Vec::new(), String::new());
    for result in found {
        match result {
            Ok(some) => {
                for place in some {
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
            }
            Err(error) => failure = error,
        }
    }
    places.truncate(MAX_ADDRESSES);
    if places.is_empty() { Err(failure) } else { Ok(places) }
}

fn service_name(protocol: Protocol, host: &str) -> String {
    match protocol {
        Protocol::Udp => format!("_sip._udp.{host}"),
        Protocol::Tcp | Protocol::Ws => format!("_sip._tcp.{host}"),
        Protocol::Tls | Protocol::Wss => format!("_sips._tcp.{host}"),
    }
}

const fn default_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Udp | Protocol::Tcp => 5060,
        Protocol::Tls => 5061,
        Protocol::Ws => 80,
        Protocol::Wss => 443,
    }
}

/// The order of RFC 2782: by priority, and among equals drawn by weight.
fn by_weight(mut records: Vec<Srv>, mut draw: impl FnMut(u32) -> u32) -> Vec<Srv> {
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let group = records.iter().take_while(|record| record.priority == priority);
        let total = group.clone().map(|record| u32::from(record.weight)).sum();
        let drawn = draw(total);
        let mut sum = 0;
        let chosen = group.clone().position(|record| {
            sum += u32::from(record.weight);
            sum >= drawn
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;
