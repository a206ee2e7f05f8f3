//! Names to addresses by RFC 3263: NAPTR when nothing is given, then SRV, then A and AAAA.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::{ResolverBuilder, TokioResolver};
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
    resolver: Option<TokioResolver>,
}

impl Dns {
    /// Reads the system's configuration. Must be called within the runtime that will ask. A host without name servers, such as
    /// a bare container, still carries calls between its own users: there every look-up fails.
    #[must_use]
    pub fn system() -> Self {
        let system = TokioResolver::builder_tokio().map_err(anyhow::Error::from).and_then(Self::build);
        system.unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "no name servers: only addresses can be called");
            Self { resolver: None }
        })
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> anyhow::Result<Self> {
        let options = builder.options_mut();
        options.timeout = Duration::from_secs(1);
        options.attempts = 2;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self { resolver: Some(builder.build()?) })
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
        if let Some(resolver) = &self.resolver
            && let Ok(lookup) =
                resolver.lookup(absolute(host), hickory_resolver::proto::rr::RecordType::NAPTR).await
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
        let Some(resolver) = &self.resolver else { return Vec::new() };
        let Ok(lookup) = resolver.srv_lookup(absolute(service)).await else { return Vec::new() };
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
        let resolver = self.resolver.as_ref().ok_or("no name servers")?;
        let lookup = resolver.lookup_ip(absolute(host)).await.map_err(|error| format!("{host}: {error}"))?;
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

    fn local_address(&self, remote: IpAddr) -> Option<IpAddr> {
        crate::host::route_to(remote)
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
    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::NAPTR;
    use hickory_resolver::proto::rr::{Name, Record};

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

    /// A zone, served over UDP to whoever asks; everything else does not exist.
    async fn serve(zone: Vec<(&'static str, RData)>) -> Dns {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let asked = query.queries[0].clone();
                let mut reply = Message::response(query.metadata.id, OpCode::Query);
                reply.add_query(asked.clone());
                for (name, data) in &zone {
                    if asked.name() == &name.parse::<Name>().unwrap()
                        && asked.query_type() == data.record_type()
                    {
                        reply.add_answer(Record::from_rdata(asked.name().clone(), 60, data.clone()));
                    }
                }
                if reply.answers.is_empty() {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let mut server = NameServerConfig::udp([127, 0, 0, 1].into());
        server.connections[0].port = port;
        let config = ResolverConfig::from_name_servers(vec![server]);
        Dns::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())).unwrap()
    }

    /// RFC 3263 §4, case by case.
    #[tokio::test]
    async fn transport_port_and_address_follow_from_what_is_given() {
        let name = |name: &str| name.parse::<Name>().unwrap();
        let a = |last| RData::A(std::net::Ipv4Addr::new(192, 0, 2, last).into());
        let naptr = |order, service: &str, to: &str| {
            RData::NAPTR(NAPTR::new(
                order,
                1,
                b"s"[..].into(),
                service.as_bytes().into(),
                [].into(),
                name(to),
            ))
        };
        let dns = serve(vec![
            ("plain.example.", a(1)),
            ("srv.example.", a(2)),
            ("_sip._udp.srv.example.", RData::SRV(SRV::new(1, 1, 5070, name("a.srv.example.")))),
            ("_sip._tcp.srv.example.", RData::SRV(SRV::new(1, 1, 5071, name("b.srv.example.")))),
            ("a.srv.example.", a(3)),
            ("b.srv.example.", a(4)),
            ("naptr.example.", naptr(20, "SIP+D2U", "_sip._udp.srv.example.")),
            ("naptr.example.", naptr(10, "SIP+D2T", "_sip._tcp.srv.example.")),
            ("naptr.example.", naptr(5, "smtp", "mail.example.")),
            ("_sip._udp.none.example.", RData::SRV(SRV::new(0, 0, 0, Name::root()))),
            ("none.example.", a(5)),
        ])
        .await;
        let (udp, tcp, tls) = (Protocol::Udp, Protocol::Tcp, Protocol::Tls);
        type Found<'a> = &'a [(Protocol, &'a str)];
        let table: [(&str, Option<u16>, Option<Protocol>, Found<'_>); 8] = [
            ("plain.example", Some(5090), None, &[(udp, "192.0.2.1:5090")]),
            ("plain.example", Some(5090), Some(tcp), &[(tcp, "192.0.2.1:5090")]),
            ("plain.example", None, None, &[(udp, "192.0.2.1:5060")]),
            ("plain.example", None, Some(tls), &[(tls, "192.0.2.1:5061")]),
            ("srv.example", None, Some(tcp), &[(tcp, "192.0.2.4:5071")]),
            ("srv.example", None, None, &[(udp, "192.0.2.3:5070"), (tcp, "192.0.2.4:5071")]),
            ("naptr.example", None, None, &[(tcp, "192.0.2.4:5071"), (udp, "192.0.2.3:5070")]),
            ("srv.example", Some(5060), Some(udp), &[(udp, "192.0.2.2:5060")]),
        ];
        for (host, port, protocol, expected) in table {
            let expected: Vec<(Protocol, SocketAddr)> =
                expected.iter().map(|(protocol, address)| (*protocol, address.parse().unwrap())).collect();
            assert_eq!(
                dns.resolve(host, port, protocol).await.unwrap(),
                expected,
                "{host} {port:?} {protocol:?}"
            );
        }
        assert!(dns.resolve("nowhere.example", None, None).await.is_err());
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let found = Dns::system().resolve("localhost", Some(5070), Some(Protocol::Tcp)).await.unwrap();
        assert!(found.contains(&(Protocol::Tcp, "127.0.0.1:5070".parse().unwrap())), "{found:?}");
    }
}
