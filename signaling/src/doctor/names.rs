//! What name servers say of the domain (RFC 3263): whether phones that know nothing but its name find this host.

use std::net::IpAddr;

use hickory_resolver::proto::rr::RecordType;

use super::{Findings, Scene};
use crate::config::Listen;
use crate::resolver::{Dns, Kind, Reach, Record};

/// Services whose SRV records phones ask for, and the port that they try without one.
const SERVICES: [(&str, u16); 3] = [("_sip._udp", 5060), ("_sip._tcp", 5060), ("_sips._tcp", 5061)];

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("dns");
    let domain = scene.domain.as_str();
    if domain.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        findings.good(format!("the domain is an address, {domain}: there is nothing to ask"));
        return findings;
    }
    match ask(scene).await {
        Ok((addresses, announced)) => judge(scene, &addresses, announced, &mut findings),
        Err(error) => findings.skip(error, "a name server that answers, in dns.servers or of the host"),
    }
    findings
}

/// The addresses of the domain, and the ports of each of [`SERVICES`].
async fn ask(scene: &Scene<'_>) -> Result<(Vec<IpAddr>, [Vec<u16>; SERVICES.len()]), String> {
    let (domain, dns) = (&scene.domain, Dns::new(&scene.config.dns, Reach::of(std::iter::empty())));
    let mut addresses = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        let found = dns.look_up(Kind::Address(kind), domain).await?.records;
        addresses.extend(found.into_iter().filter_map(address));
    }
    let mut announced = SERVICES.map(|_| Vec::new());
    for ((service, _), ports) in SERVICES.iter().zip(&mut announced) {
        let found = dns.look_up(Kind::Srv, &format!("{service}.{domain}")).await?.records;
        ports.extend(
            found
                .iter()
                .filter_map(|record| if let Record::Srv(srv) = record { Some(srv.port) } else { None }),
        );
    }
    Ok((addresses, announced))
}

fn judge(
    scene: &Scene<'_>,
    addresses: &[IpAddr],
    services: [Vec<u16>; SERVICES.len()],
    findings: &mut Findings,
) {
    let (config, domain) = (scene.config, &scene.domain);
    let announced: usize = services.iter().map(Vec::len).sum();
    if addresses.is_empty() && announced == 0 {
        return findings.warn(
            format!("{domain} has neither an address nor SRV records: phones need this host as their proxy"),
            "an A record of this name, or the host's address as the proxy in each phone",
        );
    }
    let listeners = [config.udp, config.tcp, config.tls];
    for (((service, default), listen), ports) in SERVICES.iter().zip(listeners).zip(&services) {
        if let Some((what, cure)) = service_fault(service, listen, *default, ports) {
            findings.warn(what, cure);
        }
    }
    let ours = |ip: &&IpAddr| scene.is_own(**ip) || config.advertised == Some(**ip);
    match addresses.iter().find(ours) {
        Some(ip) => findings.good(format!("{domain} is {ip}, which is this host; {announced} SRV records")),
        None if addresses.is_empty() => {
            findings.good(format!("{domain} has no address of its own, and {announced} SRV records"))
        }
        None => findings.warn(
            format!(
                "{domain} is {}, which is neither an address of this host nor advertised",
                list(addresses)
            ),
            "set the A record right, or network.advertised, where a router is in between",
        ),
    }
}

/// What is wrong with what the SRV records of a service say; without any, phones try the default port.
fn service_fault(service: &str, listen: Listen, default: u16, announced: &[u16]) -> Option<(String, String)> {
    let port = match listen {
        Listen::Off if announced.is_empty() => return None,
        Listen::Off => {
            return Some((
                format!("{service} is announced, and nobody listens here"),
                "take its SRV record out".into(),
            ));
        }
        Listen::Every(port) => port,
        Listen::One(address) => address.port(),
    };
    let record = format!("an SRV record {service} with port {port}");
    match announced {
        [] if port == default => None,
        [] => Some((
            format!("{service} has no SRV record: phones try port {default}, and this host has {port}"),
            record,
        )),
        ports if ports.contains(&port) => None,
        ports => {
            Some((format!("{service} is announced at port {ports:?}, and this host has {port}"), record))
        }
    }
}

fn address(record: Record) -> Option<IpAddr> {
    if let Record::Address(ip) = record { Some(ip) } else { None }
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_where_it_is_announced() {
        let fault = |listen: &str, ports: &[u16]| {
            service_fault("_sip._udp", listen.parse().unwrap(), 5060, ports).map(|(what, _)| what)
        };
        assert_eq!(fault("*:5060", &[]), None);
        assert_eq!(fault("*:5070", &[5060, 5070]), None);
        assert_eq!(fault("off", &[]), None);
        assert!(fault("*:5070", &[]).unwrap().contains("phones try port 5060"));
        assert!(fault("*:5070", &[5060]).unwrap().contains("at port [5060]"));
        assert!(fault("off", &[5060]).unwrap().contains("nobody listens"));
    }
}
