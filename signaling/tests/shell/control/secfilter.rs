//! `secfilter.*`, the countries of addresses, and the counters for Prometheus.

#[path = "../../../../tests/src/mmdb.rs"]
#[allow(unreachable_pub, dead_code, reason = "the end-to-end tests use the file too")]
mod mmdb;
#[path = "../../../../media/tests/support/prometheus.rs"]
#[allow(dead_code, reason = "the tests of the relay use the file too")]
mod prometheus;

use std::net::SocketAddr;
use std::path::Path;

use causeway::gateway::Gateway;

use causeway::metrics::defined::ALL;

use super::*;
use crate::support::{config, get};

/// Somebody on UDP, without a name.
struct Stranger {
    socket: UdpSocket,
    asked: usize,
}

impl Stranger {
    async fn at(gateway: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(gateway).await.unwrap();
        Self { socket, asked: 0 }
    }

    /// Whether an OPTIONS with this User-Agent is answered; one that is not is counted.
    async fn is_heard(&mut self, agent: &str, client: &mut Client) -> bool {
        self.asked += 1;
        let (local, number) = (self.socket.local_addr().unwrap(), self.asked);
        let text = format!(
            "OPTIONS sip:sip.example SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-o{number}\r\n\
             From: <sip:eve@evil.example>;tag=1\r\nTo: <sip:sip.example>\r\nCall-ID: o-{number}-{}\r\n\
             CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n",
            local.port()
        );
        let before = dropped_requests(client).await;
        self.socket.send(text.as_bytes()).await.unwrap();
        let answer = async {
            let mut buffer = [0; 2048];
            loop {
                let received = self.socket.recv(&mut buffer);
                match tokio::time::timeout(std::time::Duration::from_millis(20), received).await {
                    Ok(length) => return buffer[..length.unwrap()].starts_with(b"SIP/2.0 200 "),
                    Err(_) if dropped_requests(client).await > before => return false,
                    Err(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer, or none that is counted")
    }
}

async fn dropped_requests(client: &mut Client) -> u64 {
    client.ask("cnt.get", json!(["core", "drop_requests"])).await.as_u64().unwrap()
}

async fn dropped(client: &mut Client, name: &str) -> u64 {
    client.ask("secfilter.stats", json!([])).await[name].as_u64().unwrap()
}

#[tokio::test]
async fn lists_are_shown_changed_and_counted() {
    let bench = Bench::start("pike.reqs_density_per_unit = 0\n").await;
    let mut client = Client::connect(&bench).await;
    let mut eve = Stranger::at(bench.address(Protocol::Udp)).await;
    let none = json!({"blacklisted": [], "whitelisted": []});
    assert_eq!(client.ask("secfilter.print", json!(["ua"])).await, json!({"ua": none}));
    assert!(eve.is_heard("BadPhone/1.0", &mut client).await);
    for (method, params, answer) in [
        ("secfilter.add_bl", json!(["ua", "BadPhone"]), "Values (ua, BadPhone) inserted into blacklist"),
        ("secfilter.add_bl", json!(["country", "kp"]), "Values (country, kp) inserted into blacklist"),
        (
            "secfilter.add_wl",
            json!(["ip", "192.0.2.0/24"]),
            "Values (ip, 192.0.2.0/24) inserted into whitelist",
        ),
        ("secfilter.add_dst", json!([555_123]), "Values (dst, 555123) inserted into blacklist destinations"),
    ] {
        assert_eq!(client.ask(method, params.clone()).await, answer);
        let (code, again) = client.refused(method, params).await;
        assert!(code == 500 && again.contains("it is there already"), "{again}");
    }
    let shown = client.ask("secfilter.print", json!([])).await;
    assert_eq!(keys(&shown), ["ua", "country", "domain", "ip", "user", "dst"]);
    assert_eq!(shown["ua"], json!({"blacklisted": ["BadPhone"], "whitelisted": []}));
    assert_eq!(shown["ip"]["whitelisted"], json!(["192.0.2.0/24"]));
    assert_eq!(shown["dst"], json!({"blacklisted": ["555123"]}));
    assert!(!eve.is_heard("badphone/1.1", &mut client).await, "at once");
    assert_eq!(dropped(&mut client, "bl_ua").await, 1);
    client.ask("secfilter.stats_reset", json!([])).await;
    assert_eq!(dropped(&mut client, "bl_ua").await, 0);
    let removed = client.ask("secfilter.del_bl", json!(["ua", "BadPhone"])).await;
    assert_eq!(removed, "Values (ua, BadPhone) removed from blacklist");
    assert!(eve.is_heard("BadPhone/1.2", &mut client).await);
    client.ask("secfilter.del_dst", json!(["555123"])).await;
    client.ask("secfilter.del_wl", json!(["ip", "192.0.2.0/24"])).await;
    for (method, params, code) in [
        ("secfilter.del_bl", json!(["ua", "BadPhone"]), 500),
        ("secfilter.add_bl", json!(["shoe", "x"]), -32602),
        ("secfilter.add_bl", json!(["ip", "x"]), -32602),
        ("secfilter.add_bl", json!(["country", "Germany"]), -32602),
        ("secfilter.add_wl", json!(["dst", "1"]), -32602),
        ("secfilter.add_bl", json!(["ua", "x".repeat(65)]), 500),
        ("secfilter.print", json!(["shoe"]), -32602),
    ] {
        assert_eq!(client.refused(method, params.clone()).await.0, code, "{method} {params}");
    }
    assert_eq!(client.ask("secfilter.reload", json!([])).await, "Data reloaded");
}

fn write_countries(path: &Path, of_here: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, mmdb::countries(&[("127.0.0.0/8", of_here), ("::1/128", of_here)])).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// A country that is not heard, by a file that is replaced while the gateway runs; one that is broken ends a start, and changes
/// nothing later.
#[tokio::test]
async fn countries_are_those_of_the_file() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let file = directory.path().join("countries.mmdb");
    let extra = format!("pike.reqs_density_per_unit = 0\ngeoip2.path = {file:?}\n");
    for (bytes, what) in [(None, "No such file"), (Some("no database"), "no database of MaxMind's format")] {
        if let Some(bytes) = bytes {
            std::fs::write(&file, bytes).unwrap();
        }
        let error = format!("{:#}", Gateway::start(config(&directory, &extra)).await.expect_err("no start"));
        assert!(error.contains("geoip2.path") && error.contains(what), "{error}");
    }
    write_countries(&file, "XA");
    let bench = Bench::start_in(std::sync::Arc::clone(&directory), &extra).await;
    let mut client = Client::connect(&bench).await;
    let mut eve = Stranger::at(bench.address(Protocol::Udp)).await;
    assert!(eve.is_heard("a", &mut client).await);
    client.ask("secfilter.add_bl", json!(["country", "xa"])).await;
    assert!(!eve.is_heard("a", &mut client).await);
    assert_eq!(dropped(&mut client, "bl_country").await, 1);
    std::fs::write(directory.path().join("x"), "broken").unwrap();
    std::fs::rename(directory.path().join("x"), &file).unwrap();
    let (code, error) = client.refused("secfilter.reload", json!([])).await;
    assert!(code == 500 && error.contains("no database of MaxMind's format"), "{error}");
    assert!(!eve.is_heard("a", &mut client).await, "the old one counts");
    write_countries(&file, "XB");
    assert_eq!(client.ask("secfilter.reload", json!([])).await, "Data reloaded");
    assert!(eve.is_heard("a", &mut client).await);
}

/// For those who may use `/rpc`: each counter with a sentence and its kind.
#[tokio::test]
async fn counters_are_there_for_prometheus() {
    let bench = Bench::start("pike.reqs_density_per_unit = 0\n").await;
    let mut client = Client::connect(&bench).await;
    let mut eve = Stranger::at(bench.address(Protocol::Udp)).await;
    assert!(!eve.is_heard("sipvicious", &mut client).await);
    let refused = http(bench.tls(Protocol::Wss).await, &get("/metrics")).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let token = Tokens::of(bench.directory.path()).add("prometheus").unwrap();
    let asked = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let answer = http(bench.tls(Protocol::Wss).await, &asked).await;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    for line in [
        "# HELP causeway_alarms_total Alarms raised, by what they are about.",
        "# TYPE causeway_build_info gauge",
        "# TYPE causeway_alarms_total counter",
        "causeway_alarms_total{kind=\"secfilter\"} 1",
        "causeway_alarms_total{kind=\"toll\"} 0",
        "causeway_events_lost_total{way=\"webhook\"} 0",
        "# TYPE causeway_calls gauge",
        "causeway_sip_dropped_total{reason=\"scanner\"} 1",
        "causeway_secfilter_matches_total{list=\"black\",what=\"ua\"} 0",
        "causeway_registrations{transport=\"wss\"} 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
    let told = prometheus::read(text);
    // The relay of this gateway is elsewhere.
    let of_relay = |name: &str| {
        let measured =
            ["causeway_call_mos", "causeway_call_jitter_seconds", "causeway_call_packet_loss_ratio"];
        measured.contains(&name) || (name.starts_with("causeway_media_") && !name.contains("_commands_"))
    };
    for metric in ALL {
        assert_eq!(told.contains_key(metric.name), !of_relay(metric.name), "{}", metric.name);
    }
}
