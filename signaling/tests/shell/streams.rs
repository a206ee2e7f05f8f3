//! SIP over TCP and TLS as a transport: keep-alive, wrong peers, limits, and the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Bench, closed, config, read_until, upgrade};
use causeway::gateway::Gateway;
use signaling_core::flow::Protocol;
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn double_crlf_is_answered_by_a_single_one() {
    let bench = Bench::start("").await;
    let mut tcp = bench.tcp(Protocol::Tcp).await;
    tcp.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut tcp, "\r\n").await, "\r\n");
    let mut tls = bench.tls(Protocol::Tls).await;
    tls.write_all(b"\r\n").await.unwrap();
    tls.write_all(b"\r\n").await.unwrap();
    assert_eq!(read_until(&mut tls, "\r\n").await, "\r\n");
}

#[tokio::test]
async fn who_speaks_something_else_is_closed() {
    let bench = Bench::start("").await;
    let endless = "OPTIONS sip:x SIP/2.0\r\nX: ".to_owned() + &"a".repeat(1 << 20);
    let lines = "OPTIONS sip:x SIP/2.0\r\n".to_owned() + &"X: y\r\n".repeat(200_000);
    for bytes in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
        "hello\r\n",
        "OPTIONS sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        "OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n",
        &endless,
        &lines,
    ] {
        let mut stream = bench.tcp(Protocol::Tcp).await;
        // The gateway may close before it has taken all.
        let _ = stream.write_all(bytes.as_bytes()).await;
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn idle_and_half_said_connections_are_closed() {
    let bench = Bench::start("limits.idle_timeout = 1\nlimits.header_timeout = 200\n").await;
    let mut idle = bench.tcp(Protocol::Tcp).await;
    let mut half = bench.tcp(Protocol::Tcp).await;
    half.write_all(b"OPTIONS sip:x SIP/2.0\r\nContent-Len").await.unwrap();
    closed(&mut half).await;
    closed(&mut idle).await;
}

#[tokio::test]
async fn a_port_in_use_stops_the_start_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_port = udp.local_addr().unwrap().port();
    for (key, port) in [("https.listen", port), ("sip.tcp", port), ("sip.tls", port), ("sip.udp", udp_port)] {
        let mut config = config(&directory, "");
        let listen = format!("127.0.0.1:{port}").parse().unwrap();
        match key {
            "https.listen" => config.https = listen,
            "sip.tcp" => config.tcp = listen,
            "sip.tls" => config.tls = listen,
            _ => config.udp = listen,
        }
        let error = format!("{:#}", Gateway::start(config).await.unwrap_err());
        for part in [key, "127.0.0.1", &port.to_string(), "another program uses this port"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn stop_ends_connections_and_frees_the_ports() {
    let bench = Bench::start("").await;
    let mut tcp = bench.tcp(Protocol::Tcp).await;
    let mut websocket = bench.tcp(Protocol::Ws).await;
    websocket.write_all(upgrade("Sec-WebSocket-Protocol: sip\r\n").as_bytes()).await.unwrap();
    read_until(&mut websocket, "\r\n\r\n").await;
    let (address, directory) = (bench.address(Protocol::Tcp), Arc::clone(&bench.directory));
    let begun = Instant::now();
    bench.gateway.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    closed(&mut tcp).await;
    assert!(closed(&mut websocket).await.starts_with('\u{FFFD}'), "a close frame (0x88)");
    let again = format!("sip.tcp = \"{address}\"\n");
    let mut config = config(&directory, "");
    config.tcp = address.to_string().parse().unwrap();
    Gateway::start(config).await.expect(&again);
}
