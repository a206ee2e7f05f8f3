//! Whether the time is right: nonces, tokens and certificates go by it, and so does who reads the records of calls.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use tokio::net::UdpSocket;
use tokio::process::Command;

use super::Findings;

/// How long anybody may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// What records and tokens bear, and what certificates of phones and nonces do not.
const NOTICEABLE: f64 = 1.0;
const HARMFUL: f64 = 30.0;
/// No gateway of this kind ran before: 2026-01-01.
const TOO_EARLY: Duration = Duration::from_secs(1_767_225_600);
/// Seconds from 1900 to 1970 (RFC 5905 §6).
const ERA: f64 = 2_208_988_800.0;

pub(super) async fn look(ntp: Option<&str>) -> Findings {
    let mut findings = Findings::of("clock");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if since < TOO_EARLY {
        findings.fault("it is years behind: no certificate is valid yet", "set it, and run an NTP client");
        return findings;
    }
    if let Some(server) = ntp {
        match offset(server).await {
            Ok(offset) => judge(server, offset, &mut findings),
            Err(error) => findings
                .skip(format!("{server}: {error:#}"), "another time server, or UDP port 123 open to it"),
        }
        return findings;
    }
    match synchronized().await {
        Some(true) => findings.good("it is kept right by a time server"),
        Some(false) => findings.warn("nobody keeps it right", "timedatectl set-ntp true, or chrony"),
        None => findings.skip(
            "whether anybody keeps it right is not known here",
            "--ntp pool.ntp.org asks a time server",
        ),
    }
    findings
}

fn judge(server: &str, offset: f64, findings: &mut Findings) {
    let what =
        format!("it is {:.3} s {} {server}", offset.abs(), if offset > 0.0 { "behind" } else { "ahead of" });
    let cure = "timedatectl set-ntp true, or chrony";
    match offset.abs() {
        off if off < NOTICEABLE => findings.good(what),
        off if off < HARMFUL => findings.warn(what, cure),
        _ => findings.fault(what, cure),
    }
}

/// What systemd knows, where there is systemd.
async fn synchronized() -> Option<bool> {
    let mut command = Command::new("timedatectl");
    // It would tell systemd of its own end, as if it were the gateway.
    command.env_remove("NOTIFY_SOCKET");
    command.args(["show", "--property=NTPSynchronized", "--value"]).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    match output.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// How many seconds this host is behind a time server (RFC 5905 §8, as SNTP asks).
async fn offset(server: &str) -> anyhow::Result<f64> {
    let place = if server.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{server}]:123")
    } else {
        server.to_owned()
    };
    let place = if place.contains(':') { place } else { format!("{place}:123") };
    let asked = async {
        let address = tokio::net::lookup_host(&place).await?.next().context("no address")?;
        let any: std::net::SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        let mut request = [0; 48];
        // Version 4, client.
        request[0] = 0o43;
        let sent = now();
        request[40..].copy_from_slice(&stamp(sent));
        socket.send(&request).await?;
        let mut answer = [0; 48];
        let len = socket.recv(&mut answer).await?;
        let received = now();
        ensure!(len == 48 && answer[0] & 7 == 4, "what answers is no time server");
        ensure!(answer[24..32] == request[40..], "the answer belongs to another question");
        ensure!((1..16).contains(&answer[1]), "it does not know the time itself");
        let there = |at: usize| seconds(&answer[at..at + 8]);
        Ok(((there(32) - sent) + (there(40) - received)) / 2.0)
    };
    tokio::time::timeout(PATIENCE, asked).await.context("no answer")?
}

/// Seconds since 1900.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() + ERA
}

/// A timestamp of RFC 5905 §6: 32 bits of seconds, 32 of their parts.
fn stamp(seconds: f64) -> [u8; 8] {
    ((seconds * 4_294_967_296.0) as u64).to_be_bytes()
}

fn seconds(stamp: &[u8]) -> f64 {
    let bits = stamp.iter().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
    bits as f64 / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    /// A time server that is so many seconds ahead, or does something else with its answer.
    async fn server(ahead: f64, spoil: fn(&mut [u8])) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let place = socket.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut request = [0; 48];
            let (_, from) = socket.recv_from(&mut request).await.unwrap();
            let mut answer = [0; 48];
            (answer[0], answer[1]) = (0o44, 2);
            answer[24..32].copy_from_slice(&request[40..]);
            answer[32..40].copy_from_slice(&stamp(now() + ahead));
            answer[40..].copy_from_slice(&stamp(now() + ahead));
            spoil(&mut answer);
            socket.send_to(&answer, from).await.unwrap();
        });
        place
    }

    #[tokio::test]
    async fn a_time_server_says_how_far_off_it_is() {
        for (ahead, level, word) in [
            (0.0, Level::Good, ""),
            (5.0, Level::Warning, "5.0"),
            (-5.0, Level::Warning, "ahead"),
            (3_600.0, Level::Fault, "behind"),
        ] {
            let place = server(ahead, |_| {}).await;
            let found = look(Some(&place)).await.list.remove(0);
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.what.contains(word), "{found:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_says_nothing_is_not_believed() {
        let spoilers: [fn(&mut [u8]); 3] =
            [|answer| answer[24] ^= 1, |answer| answer[1] = 0, |answer| answer[0] = 0o43];
        for spoil in spoilers {
            let place = server(3_600.0, spoil).await;
            let found = look(Some(&place)).await.list.remove(0);
            assert_eq!(found.level, Level::Skipped, "{found:?}");
        }
    }
}
