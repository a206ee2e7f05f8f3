//! What name servers say of the domain (RFC 3263): whether phones that know nothing but its name find this host.

use std::net::IpAddr;

use super::{Findings, Scene};
use crate::config::Listen;
use crate::resolver::{Dns, Kind, Reach, Record};

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("dns");
    let domain = scene.domain.as_str();
    if domain.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        findings.good(format!("the domain is an address, {domain}: there is nothing to ask"));
        return findings;
    }
    let dns = Dns::new(&scene.config.dns, Reach::of(std::iter::empty()));
    let ask = async |kind: &str, name: &str| match Kind::named(kind) {
        Some(kind) => dns.look_up(kind, name).await.map(|found| found.records),
        None => Ok(Vec::new()),
    };
    let (v4, v6) = tokio::join!(ask("A", domain), ask("AAAA", domain));
    let addresses: Vec<IpAddr> = match v4 {
        Ok(v4) => v4.into_iter().chain(v6.unwrap_or_default()).filter_map(address).collect(),
        Err(error) => {
            findings.skip(error, "a name server that answers, in dns.servers or of the host");
            return findings;
        }
    };
    let config = scene.config;
    let ours = |ip: &IpAddr| scene.is_own(*ip) || config.advertised == Some(*ip);
    let services =
        [("_sip._udp", config.udp, 5060), ("_sip._tcp", config.tcp, 5060), ("_sips._tcp", config.tls, 5061)];
    let mut announced = 0;
    for (service, listen, default) in services {
        let records = ask("SRV", &format!("{service}.{domain}")).await.unwrap_or_default();
        let ports: Vec<u16> = records
            .iter()
            .filter_map(|record| if let Record::Srv(srv) = record { Some(srv.port) } else { None })
            .collect();
        announced += ports.len();
        if let Some((what, cure)) = service_fault(service, listen, default, &ports) {
            findings.warn(what, cure);
        }
    }
    match addresses.iter().find(|ip| ours(ip)) {
        Some(ip) => findings.good(format!("{domain} is {ip}, which is this host; {announced} SRV records")),
        None if addresses.is_empty() && announced == 0 => findings.warn(
            format!("{domain} has neither an address nor SRV records: phones need this host as their proxy"),
            "an A record of this name, or the host's address as the proxy in each phone",
        ),
        None if addresses.is_empty() => {
            findings.good(format!("{domain} has no address of its own, and {announced} SRV records"))
        }
        None => findings.warn(
            format!(
                "{domain} is {}, which is neither an address of this host nor advertised",
                list(&addresses)
            ),
            "set the A record right, or network.advertised, where a router is in between",
        ),
    }
    findings
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
