//! The address under which others reach this host, the NAT on the way, and whether the way leads back in (hairpin).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{Findings, Scene, stun};

/// How long a packet may take to come back through the router.
const HAIRPIN: Duration = Duration::from_secs(1);

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("address");
    let primary = scene.primary();
    let advertised = scene.config.advertised.filter(|ip| !scene.is_own(*ip));
    match advertised {
        Some(ip) if is_private(ip) => findings.warn(
            format!("network.advertised is {ip}, which nobody outside can reach, and none of this host"),
            "the address that the router has outside, or none",
        ),
        Some(ip) => findings.good(format!("advertised is {ip}; this host is {primary}")),
        None => findings.good(format!("this host is {primary}, and says so")),
    }
    if scene.options.stun.is_empty() {
        if advertised.is_none() && is_private(primary) {
            let what = format!("where others see this host is not known, and {primary} is private");
            let how = "where all phones and browsers are in this network nothing is wrong; else --stun HOST:PORT, twice, says what to set";
            findings.skip(what, how);
        }
        return findings;
    }
    match see(scene, primary, &mut findings).await {
        Ok(seen) => judge(primary, advertised, seen, &mut findings),
        Err(error) => findings.skip(format!("{error:#}"), "another STUN server, or UDP open to it"),
    }
    findings
}

/// What STUN servers have said.
struct Seen {
    by: Vec<SocketAddr>,
    /// Whether a packet to where we are seen comes back in; `None` where no router is in between.
    hairpin: Option<bool>,
}

async fn see(scene: &Scene<'_>, primary: IpAddr, findings: &mut Findings) -> anyhow::Result<Seen> {
    let socket = UdpSocket::bind((primary, 0)).await?;
    let mut by = Vec::new();
    for server in &scene.options.stun {
        let seen = async { stun::ask(&socket, stun::find(server, primary.is_ipv4()).await?).await };
        match seen.await {
            Ok(seen) => by.push(seen),
            Err(error) => {
                findings.skip(format!("{server}: {error:#}"), "another STUN server, or UDP open to it")
            }
        }
    }
    anyhow::ensure!(!by.is_empty(), "no STUN server has answered");
    let own = socket.local_addr()?;
    let hairpin = match by[0] == own {
        true => None,
        false => Some(comes_back(&socket, primary, by[0]).await?),
    };
    Ok(Seen { by, hairpin })
}

/// Whether what another port sends to `mapped` reaches `socket`.
async fn comes_back(socket: &UdpSocket, primary: IpAddr, mapped: SocketAddr) -> anyhow::Result<bool> {
    let other = UdpSocket::bind((primary, 0)).await?;
    let probe: [u8; 16] = rand::random();
    if other.send_to(&probe, mapped).await.is_err() {
        return Ok(false);
    }
    let mut buffer = [0; 100];
    let heard = async {
        while let Ok((len, _)) = socket.recv_from(&mut buffer).await {
            if buffer[..len] == probe {
                return true;
            }
        }
        false
    };
    Ok(timeout(HAIRPIN, heard).await.unwrap_or(false))
}

fn judge(primary: IpAddr, advertised: Option<IpAddr>, seen: Seen, findings: &mut Findings) {
    let Seen { by, hairpin } = seen;
    let outside = by[0].ip();
    match advertised {
        Some(ip) if ip == outside => findings.good(format!("STUN servers see this host at {ip}, too")),
        Some(ip) => findings.fault(
            format!(
                "network.advertised is {ip}, and STUN servers see this host at {outside}: no media will come"
            ),
            format!("network.advertised = \"{outside}\""),
        ),
        None if outside == primary => findings.good("no NAT is on the way"),
        None => findings.fault(
            format!("others see this host at {outside}, and are told {primary}: no media comes from outside"),
            format!("network.advertised = \"{outside}\", and the ports forwarded on the router"),
        ),
    }
    if outside != primary {
        let ports: Vec<u16> = by.iter().map(SocketAddr::port).collect();
        let moves = by.iter().any(|seen| *seen != by[0]);
        match (by.len(), moves) {
            (1, _) => findings.skip("the kind of NAT is not known", "a second --stun tells it"),
            (_, false) => findings.good("the NAT keeps one port for all (endpoint-independent mapping)"),
            (_, true) => findings.warn(
                format!("the NAT takes another port for each peer (address-dependent mapping: {ports:?})"),
                "forward the ports of signalling and media on the router, one to one",
            ),
        }
    }
    match hairpin {
        None => {}
        Some(true) => findings.good("the router lets packets from inside back in (hairpin)"),
        Some(false) => findings.warn(
            "the router does not let packets from inside back in (no hairpin): who is in this network does not reach the advertised address",
            "give phones and browsers of this network the inner address, and a name server of their own that says it",
        ),
    }
}

/// Whether nobody outside reaches it (RFC 1918, 6598, 4193, 3927, loopback).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Level, Options};
    use super::*;
    use crate::config::Config;

    async fn found(advertised: &str, servers: &[SocketAddr]) -> Vec<(Level, String)> {
        let config = Config::parse(&format!("[network]\nadvertised = \"{advertised}\"\n"), "x.toml").unwrap();
        let stun = servers.iter().map(ToString::to_string).collect();
        let options = Options { stun, ..Options::default() };
        let scene = Scene::bare(&config, &options);
        look(&scene).await.list.into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    fn has(found: &[(Level, String)], level: Level, words: &str) {
        assert!(found.iter().any(|(l, what)| *l == level && what.contains(words)), "{words}: {found:?}");
    }

    #[tokio::test]
    async fn what_stun_servers_see_is_held_against_what_is_advertised() {
        let outside: IpAddr = "192.0.2.9".parse().unwrap();
        let own = IpAddr::from([127, 0, 0, 1]);
        let (cone, symmetric) =
            (stun::tests::server(outside, 0).await, stun::tests::server(outside, 7).await);
        let here = stun::tests::server(own, 0).await;

        let right = found("192.0.2.9", &[cone, cone]).await;
        has(&right, Level::Good, "STUN servers see this host at 192.0.2.9, too");
        has(&right, Level::Good, "endpoint-independent");
        has(&right, Level::Warning, "no hairpin");
        assert!(right.iter().all(|(level, _)| *level != Level::Fault), "{right:?}");
        has(&found("192.0.2.8", &[cone]).await, Level::Fault, "see this host at 192.0.2.9");
        has(&found("", &[cone]).await, Level::Fault, "are told 127.0.0.1");
        has(&found("192.0.2.9", &[cone, symmetric]).await, Level::Warning, "address-dependent");
        has(&found("", &[here]).await, Level::Good, "no NAT");
        has(&found("", &[]).await, Level::Skipped, "127.0.0.1 is private");
        has(&found("10.0.0.9", &[]).await, Level::Warning, "nobody outside can reach");
    }

    #[test]
    fn private_addresses_are_known() {
        for (ip, private) in [
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("198.51.100.1", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }
}
