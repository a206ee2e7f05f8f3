//! Names to addresses by RFC 3263: NAPTR when nothing is given, then SRV, then A and AAAA.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use rand::RngExt as _;
use signaling_core::flow::Protocol;
use signaling_core::outside::{Resolver, Unavailable};

/// A caller waits for this in silence, so it stays far below the phone's own patience.
const DEADLINE: Duration = Duration::from_secs(3);
/// Addresses tried for one request.
const MAX_ADDRESSES: usize = 8;

/// The system's name servers, asked with a cache in between.
#[derive(Clone, Debug)]
pub struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// Reads the system's configuration. Must be called within the runtime that will ask.
    ///
    /// # Errors
    /// `/etc/resolv.conf` cannot be read or understood.
    pub fn system() -> anyhow::Result<Self> {
        let mut builder = TokioResolver::builder_tokio()?;
        let options = builder.options_mut();
        options.timeout = Duration::from_secs(1);
        options.attempts = 2;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self { resolver: builder.build()? })
    }

    async fn find(
        &self,
        host: &str,
        port: Option<u16>,
        protocol: Option<Protocol>,
    ) -> Result<Vec<(Protocol, SocketAddr)>, String> {
        // RFC 3263 §4.2: with a port, no SRV; without a transport UDP is the default (§4.1).
        if let Some(port) = port {
            let protocol = protocol.unwrap_or(Protocol::Udp);
            return Ok(self.addresses(host, port).await?.map(|address| (protocol, address)).collect());
        }
        let services = match protocol {
            Some(protocol) => vec![(protocol, service_name(protocol, host))],
            None => self.services(host).await,
        };
        let mut found = Vec::new();
        for (protocol, service) in services {
            for target in self.targets(&service).await {
                let Ok(addresses) = self.addresses(&target.target.to_utf8(), target.port).await else {
                    continue;
                };
                found.extend(addresses.map(|address| (protocol, address)));
                if found.len() >= MAX_ADDRESSES {
                    found.truncate(MAX_ADDRESSES);
                    return Ok(found);
                }
            }
        }
        if found.is_empty() {
            let protocol = protocol.unwrap_or(Protocol::Udp);
            found = self
                .addresses(host, default_port(protocol))
                .await?
                .map(|address| (protocol, address))
                .collect();
        }
        Ok(found)
    }

    /// The SRV names of `host` in the order of its NAPTR records, or of our own taste when it has none.
    async fn services(&self, host: &str) -> Vec<(Protocol, String)> {
        let mut records: Vec<(u16, u16, Protocol, String)> = Vec::new();
        if let Ok(lookup) =
            self.resolver.lookup(absolute(host), hickory_resolver::proto::rr::RecordType::NAPTR).await
        {
            for record in lookup.answers() {
                let RData::NAPTR(naptr) = &record.data else { continue };
                let protocol = match naptr.services.to_ascii_uppercase().as_slice() {
                    b"SIP+D2U" => Protocol::Udp,
                    b"SIP+D2T" => Protocol::Tcp,
                    b"SIPS+D2T" => Protocol::Tls,
                    _ => continue,
                };
                if naptr.flags.eq_ignore_ascii_case(b"s") {
                    records.push((naptr.order, naptr.preference, protocol, naptr.replacement.to_utf8()));
                }
            }
        }
        if records.is_empty() {
            return [Protocol::Udp, Protocol::Tcp]
                .map(|protocol| (protocol, service_name(protocol, host)))
                .to_vec();
        }
        records.sort_by_key(|record| (record.0, record.1));
        records.into_iter().take(MAX_ADDRESSES).map(|(_, _, protocol, name)| (protocol, name)).collect()
    }

    async fn targets(&self, service: &str) -> Vec<SRV> {
        let Ok(lookup) = self.resolver.srv_lookup(absolute(service)).await else { return Vec::new() };
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            // A target of "." says that the service is decidedly not there (RFC 2782).
            RData::SRV(srv) if !srv.target.is_root() => Some(srv.clone()),
            _ => None,
        });
        let mut rng = rand::rng();
        by_weight(records.take(64).collect(), |total| rng.random_range(0..=total))
    }

    async fn addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<impl Iterator<Item = SocketAddr> + use<>, String> {
        let lookup =
            self.resolver.lookup_ip(absolute(host)).await.map_err(|error| format!("{host}: {error}"))?;
        let addresses: Vec<IpAddr> = lookup.iter().take(MAX_ADDRESSES).collect();
        Ok(addresses.into_iter().map(move |ip| SocketAddr::new(ip, port)))
    }
}

impl Resolver for Dns {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: Option<u16>,
        protocol: Option<Protocol>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>> {
        Box::pin(async move {
            match tokio::time::timeout(DEADLINE, self.find(host, port, protocol)).await {
                Ok(found) => found.map_err(Unavailable),
                Err(_) => Err(Unavailable(format!("{host}: name servers do not answer in time"))),
            }
        })
    }
}

/// With a final dot no search list of the host is tried: a SIP domain is always whole.
fn absolute(host: &str) -> String {
    if host.ends_with('.') || host == "localhost" { host.to_owned() } else { format!("{host}.") }
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

/// The order of RFC 2782: by priority, and among equals drawn by weight. `draw(n)` is a number from 0 to n.
fn by_weight(mut records: Vec<SRV>, mut draw: impl FnMut(u32) -> u32) -> Vec<SRV> {
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
mod tests {
    use super::*;

    #[test]
    fn srv_order_follows_priority_then_the_draw() {
        let srv = |priority, weight, port| SRV::new(priority, weight, port, "x.example.".parse().unwrap());
        let records = vec![srv(20, 0, 1), srv(10, 60, 2), srv(10, 40, 3), srv(10, 0, 4)];
        let ports = |draw: fn(u32) -> u32| -> Vec<u16> {
            by_weight(records.clone(), draw).into_iter().map(|record| record.port).collect()
        };
        assert_eq!(ports(|_| 0), [4, 3, 2, 1]);
        assert_eq!(ports(|total| total), [2, 3, 4, 1]);
        assert!(by_weight(Vec::new(), |_| 0).is_empty());
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let Ok(dns) = Dns::system() else { return };
        let found = dns.resolve("localhost", Some(5070), Some(Protocol::Tcp)).await.unwrap();
        assert!(found.contains(&(Protocol::Tcp, "127.0.0.1:5070".parse().unwrap())), "{found:?}");
    }
}
