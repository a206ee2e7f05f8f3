//! Whether the listeners are free for a gateway that is to start, or answer where one runs.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Findings, Scene, stun, tls};
use crate::config::Listen;

/// How long a connection and a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listener: its key, what it speaks, and where.
struct Door {
    key: &'static str,
    kind: Kind,
    listen: Listen,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Udp,
    Tcp,
    Tls,
}

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("ports");
    let config = scene.config;
    let doors = [
        Door { key: "sip.udp", kind: Kind::Udp, listen: config.udp },
        Door { key: "sip.tcp", kind: Kind::Tcp, listen: config.tcp },
        Door { key: "sip.tls", kind: Kind::Tls, listen: config.tls },
        Door { key: "https.listen", kind: Kind::Tls, listen: config.https },
        Door { key: "https.websocket", kind: Kind::Tcp, listen: config.websocket },
    ];
    let mut well = Vec::new();
    for door in doors.iter().filter(|door| door.listen != Listen::Off) {
        let result = match &scene.running {
            Some(_) => answers(door, scene).await,
            None => is_free(door, scene),
        };
        match result {
            Ok(()) => well.push(format!("{} {}", door.key, door.listen)),
            Err(error) => {
                let what = format!("{}: {error:#}", door.key);
                let cure = match scene.running {
                    Some(_) => {
                        "restart the gateway, if the configuration has changed since it was started; look at its log"
                    }
                    None => "stop what listens there, or choose another port",
                };
                findings.fault(what, cure);
            }
        }
    }
    if !well.is_empty() {
        let state = if scene.running.is_some() { "answer here" } else { "are free" };
        findings.good(format!(
            "{state}: {} (whether a firewall lets others in is to be tried from elsewhere)",
            well.join(", ")
        ));
    }
    findings
}

/// Where a listener is reached from this host.
pub(super) fn reached(listen: Listen, scene: &Scene<'_>) -> Option<SocketAddr> {
    listen.addresses(&[scene.primary()]).into_iter().next()
}

async fn answers(door: &Door, scene: &Scene<'_>) -> anyhow::Result<()> {
    let address = reached(door.listen, scene).context("it has no address of this host")?;
    let answered = async {
        if door.kind == Kind::Udp {
            let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).await?;
            return stun::ask(&socket, address).await.map(drop);
        }
        let stream = TcpStream::connect(address).await?;
        if door.kind == Kind::Tls {
            TlsConnector::from(tls::client()?)
                .connect(tls::name(&scene.domain)?, stream)
                .await
                .context("TLS")?;
        }
        Ok(())
    };
    timeout(PATIENCE, answered).await.context("no answer").flatten().with_context(|| address.to_string())
}

fn is_free(door: &Door, scene: &Scene<'_>) -> anyhow::Result<()> {
    for address in door.listen.addresses(&scene.addresses) {
        let bound = match door.kind {
            Kind::Udp => std::net::UdpSocket::bind(address).map(drop),
            Kind::Tcp | Kind::Tls => TcpListener::bind(address).map(drop),
        };
        bound.map_err(|error| {
            let mut why = format!("{address}: {error}");
            if error.kind() == std::io::ErrorKind::AddrInUse
                && let Some(holder) = holder(Path::new("/proc"), door.kind == Kind::Udp, address.port())
            {
                let _ = write!(why, ", by {holder}");
            }
            anyhow::Error::msg(why)
        })?;
    }
    Ok(())
}

/// The program that has a port, as `name (pid)`; `None` where this user may not see it.
fn holder(proc: &Path, udp: bool, port: u16) -> Option<String> {
    let tables: [&str; 2] = if udp { ["net/udp", "net/udp6"] } else { ["net/tcp", "net/tcp6"] };
    let tables = tables.iter().filter_map(|table| std::fs::read_to_string(proc.join(table)).ok());
    let sockets: Vec<String> = tables.flat_map(|table| inodes(&table, udp, port)).collect();
    for process in std::fs::read_dir(proc).ok()?.flatten() {
        // Not by the names under which a process finds itself there.
        if process.file_name().as_encoded_bytes().iter().any(|byte| !byte.is_ascii_digit()) {
            continue;
        }
        let files = process.path().join("fd");
        let mut files = std::fs::read_dir(files).into_iter().flatten().flatten();
        let has = files.any(|file| {
            let target = std::fs::read_link(file.path()).unwrap_or_default();
            sockets.iter().any(|inode| target.as_os_str() == format!("socket:[{inode}]").as_str())
        });
        if has {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} ({})", name.trim(), process.file_name().display()));
        }
    }
    None
}

/// The inodes of sockets at a port in `/proc/net/tcp` and its like, listening ones of TCP.
fn inodes(table: &str, udp: bool, port: u16) -> Vec<String> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let here = u16::from_str_radix(local, 16).ok()? == port && (udp || *fields.get(3)? == "0A");
        here.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    table.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Level, Options};
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn who_has_a_port_is_named() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let (udp, tcp) = (taken.local_addr().unwrap(), listening.local_addr().unwrap());
        let text = format!(
            "[sip]\nudp = \"{udp}\"\ntcp = \"{tcp}\"\ntls = \"off\"\n[https]\nlisten = \"127.0.0.1:0\"\n"
        );
        let config = Config::parse(&text, "x.toml").unwrap();
        let options = Options::default();
        let scene = Scene::bare(&config, &options);
        let found = look(&scene).await.list;
        let holder = format!("({})", std::process::id());
        for (finding, key) in found.iter().zip(["sip.udp", "sip.tcp"]) {
            assert!(finding.what.starts_with(key) && finding.what.ends_with(&holder), "{finding:?}");
            assert_eq!(finding.level, Level::Fault);
        }
        assert_eq!((found.len(), found[2].level), (3, Level::Good), "{found:?}");
    }

    #[test]
    fn a_row_of_the_kernel_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:13C4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
                     1: 0100007F:13C4 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";
        assert_eq!(inodes(table, false, 5060), ["4711"]);
        assert_eq!(inodes(table, true, 5060), ["4711", "4712"]);
        assert!(inodes(table, false, 5061).is_empty());
    }
}
