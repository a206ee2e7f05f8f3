//! The relays elsewhere: whether each answers a ping of the ng protocol.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{Findings, Scene};
use crate::config::{Relay, RelayPlace};

/// Between two sendings.
const PATIENCE: Duration = Duration::from_secs(1);
const SENDINGS: usize = 3;

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("relay");
    let nodes = match scene.config.media.relay {
        Relay::InProcess => {
            findings.good("it is in the gateway itself");
            return findings;
        }
        Relay::Off => {
            let what = "there is none: no browser can talk to a phone";
            findings.warn(what, "media.relay = \"internal\", unless only ends of one kind call each other");
            return findings;
        }
        Relay::Several => &scene.config.media.relays.nodes,
    };
    for node in nodes {
        let RelayPlace::Ng(address) = node.place else { continue };
        match ping(address).await {
            Ok(true) => findings.good(format!("{address} (set {}) answers", node.set)),
            Ok(false) => findings.fault(
                format!("{address} (set {}) answers, but not with pong", node.set),
                "is it a relay that speaks ng?",
            ),
            Err(error) => findings.fault(
                format!("{address} (set {}) does not answer: {error}", node.set),
                "is it up, does its listen-ng name this address, and does a firewall let UDP through?",
            ),
        }
    }
    findings
}

/// Whether it says pong.
async fn ping(address: SocketAddr) -> std::io::Result<bool> {
    let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    let cookie = format!("{:016x} ", rand::random::<u64>());
    let mut buffer = [0; 1_500];
    for _ in 0..SENDINGS {
        socket.send(format!("{cookie}d7:command4:pinge").as_bytes()).await?;
        if let Ok(received) = timeout(PATIENCE, socket.recv(&mut buffer)).await {
            let answer = &buffer[..received?];
            return Ok(answer
                .strip_prefix(cookie.as_bytes())
                .is_some_and(|body| body.windows(6).any(|w| w == b"4:pong")));
        }
    }
    Err(std::io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::super::{Level, Options};
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_relay_is_asked_for_a_pong() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = relay.local_addr().unwrap();
        let config = Config::parse(&format!("[media]\nrelay = \"udp:{address}\"\n"), "x.toml").unwrap();
        let options = Options::default();
        let scene = Scene::bare(&config, &options);
        for (body, expected) in [("d6:result4:ponge", Level::Good), ("d6:result5:errore", Level::Fault)] {
            let (found, ()) = tokio::join!(look(&scene), async {
                let mut buffer = [0; 100];
                let (len, from) = relay.recv_from(&mut buffer).await.unwrap();
                let cookie = std::str::from_utf8(&buffer[..len]).unwrap().split_once(' ').unwrap().0;
                relay.send_to(format!("{cookie} {body}").as_bytes(), from).await.unwrap();
            });
            assert_eq!(found.list[0].level, expected, "{found:?}");
        }
        drop(relay);
        let found = look(&scene).await.list.remove(0);
        assert_eq!(found.level, Level::Fault, "{found:?}");
    }
}
