//! The doors of control over real sockets: TCP, HTTP, HTTPS, WebSocket and the command line of `rtpengine-ctl`.

#[path = "support/prometheus.rs"]
mod prometheus;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use media::{LogLevel, Relay, RelayConfig};
use media_core::command::LegKind::Legacy;
use support::{Phone, certificate};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// Nothing here takes so long but what never comes.
const PATIENCE: Duration = Duration::from_secs(20);

fn any() -> Vec<SocketAddr> {
    vec!["127.0.0.1:0".parse().expect("an address")]
}

/// The log level that the command line set last.
static LEVEL: AtomicU8 = AtomicU8::new(6);

fn relay() -> Relay {
    support::relay(RelayConfig {
        listen_tcp_ng: any(),
        listen_http: any(),
        listen_cli: any(),
        log_level: Some(LogLevel {
            start: 6,
            set: |level| {
                LEVEL.store(level, Ordering::Relaxed);
                Ok(())
            },
        }),
        ..RelayConfig::default()
    })
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// Everything until the peer closes. A reset is an end too: the peer has not read what was sent after its farewell.
fn rest(stream: &mut impl Read) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// What comes until it ends in `end`.
fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let mut octet = [0];
    while !all.ends_with(end.as_bytes()) {
        stream
            .read_exact(&mut octet)
            .unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&all)));
        all.push(octet[0]);
    }
    String::from_utf8(all).expect("text")
}

/// One HTTP request on a connection of its own: status, head and body.
fn http(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = connect(address);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    // It may be refused before all of it is there.
    let _ = stream.write_all(body.as_bytes());
    answer(&rest(&mut stream))
}

fn answer(text: &str) -> (u16, String, String) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = http(address, "GET", path, "", "");
    (status, body)
}

/// One command at the command line.
fn cli(relay: &Relay, command: &str) -> String {
    let mut stream = connect(relay.cli_addresses()[0]);
    stream.write_all(format!("{command}\n").as_bytes()).expect("sent");
    rest(&mut stream)
}

/// An offer of a phone, with its cookie.
fn offer(cookie: &str, call_id: &str) -> String {
    let sdp = Phone::new(Legacy, &certificate(), 1).sdp(true);
    format!(
        "{cookie} d7:call-id{}:{call_id}7:command5:offer8:from-tag1:a3:sdp{}:{sdp}e",
        call_id.len(),
        sdp.len()
    )
}

const NG: &str = "Content-Type: application/x-rtpengine-ng\r\n";

#[test]
fn ng_over_tcp_is_cut_by_its_dictionaries() {
    let relay = relay();
    let mut stream = connect(relay.tcp_ng_addresses()[0]);
    stream.write_all(b"t1 d7:command4:pinget2 {\"command\":\"ping\"}").expect("sent");
    let both = until(&mut stream, "}");
    for reply in ["t1 d6:result4:ponge", "t2 {\"result\":\"pong\"}"] {
        assert!(both.contains(reply), "{both}");
    }
    for piece in ["t3", " d7:com", "mand4:p", "inge"] {
        stream.write_all(piece.as_bytes()).expect("sent");
        stream.flush().expect("sent");
    }
    assert_eq!(until(&mut stream, "ponge"), "t3 d6:result4:ponge");
    stream.write_all(b"t4 d7:command4:wakee").expect("sent");
    assert_eq!(until(&mut stream, "errore"), "t4 d12:error-reason21:unknown command: wake6:result5:errore");
    relay.shutdown();
}

#[test]
fn what_cannot_be_cut_is_answered_and_ends_the_stream() {
    let relay = relay();
    for (sent, expected) in [
        ("t5 d3:abcx", "t5 d12:error-reason31:bencode has an unexpected octet"),
        ("t6 hello", "t6 d12:error-reason28:the message is no dictionary"),
        (&"x".repeat(400), ""),
        ("GET / HTTP/1.1\r\n\r\n", "GET d12:error-reason28:the message is no dictionary"),
    ] {
        let mut stream = connect(relay.tcp_ng_addresses()[0]);
        stream.write_all(sent.as_bytes()).expect("sent");
        let reply = rest(&mut stream);
        assert!(reply.starts_with(expected) && reply.is_empty() == expected.is_empty(), "{sent}: {reply}");
    }
    let (_, metrics) = get(relay.http_addresses()[0], "/metrics");
    assert!(metrics.contains("rtpengine_dropped_messages_total 4\n"), "{metrics}");
    relay.shutdown();
}

#[test]
fn all_doors_share_one_cache_of_cookies() {
    let relay = relay();
    let offer = offer("c1", "shared");
    let mut stream = connect(relay.tcp_ng_addresses()[0]);
    stream.write_all(offer.as_bytes()).expect("sent");
    let first = until(&mut stream, "2:oke");
    assert!(first.contains("m=audio"), "{first}");
    // Over another connection, and through another door: the same reply, and no port opened twice.
    let mut other = connect(relay.tcp_ng_addresses()[0]);
    other.write_all(offer.as_bytes()).expect("sent");
    assert_eq!(until(&mut other, "2:oke"), first);
    let (status, head, body) = http(relay.http_addresses()[0], "POST", "/ng", NG, &offer);
    assert_eq!((status, body), (200, first));
    assert!(head.contains("content-type: application/x-rtpengine-ng"), "{head}");
    let used = |relay: &Relay| cli(relay, "list interfaces").lines().nth(2).map(str::to_owned);
    let before = used(&relay);
    let (_, _, fresh) = http(relay.http_addresses()[0], "POST", "/ng", NG, &offer.replacen("c1", "c2", 1));
    assert!(fresh.starts_with("c2 ") && fresh.contains("m=audio"), "{fresh}");
    assert_eq!(used(&relay), before, "a repeated offer of the same call takes no other ports either");
    relay.shutdown();
}

#[test]
fn http_has_rtpengines_paths() {
    let relay = relay();
    let address = relay.http_addresses()[0];
    assert_eq!(get(address, "/ping"), (200, "pong\n".to_owned()));
    assert_eq!(http(address, "POST", "/ping", "", "").2, "pong\n");
    assert_eq!(http(address, "POST", "/ng", NG, "h1 d7:command4:pinge").2, "h1 d6:result4:ponge");
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    assert_eq!(http(address, "POST", "/ng", json, r#"h2 {"command":"ping"}"#).2, r#"h2 {"result":"pong"}"#);
    let (status, head, body) = http(address, "POST", "/ng-plain", json, r#"{"command":"ping"}"#);
    assert_eq!((status, body.as_str()), (200, r#"{"result":"pong"}"#));
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(http(address, "POST", "/ng-plain", NG, "d7:command4:pinge").2, "d6:result4:ponge");
    assert!(http(address, "POST", "/ng-plain", NG, "i5e").2.contains("error-reason"));
    let (status, body) = get(address, "/cli/list%20numsessions");
    assert!(
        status == 200 && body.starts_with("Current sessions own: 0\nCurrent sessions foreign: 0\n"),
        "{body}"
    );
    for (method, path, headers, body, status) in [
        ("GET", "/", "", "", 404),
        ("GET", "/ng", "", "", 405),
        ("DELETE", "/ping", "", "", 405),
        ("POST", "/ng", "", "h3 d7:command4:pinge", 415),
        ("POST", "/ng", "Content-Type: text/plain\r\n", "h3 d7:command4:pinge", 415),
        ("POST", "/ng", NG, "without", 400),
        ("POST", "/ng", NG, "", 400),
        ("POST", "/ng", NG, &"x".repeat(300 * 1024), 413),
        ("GET", &format!("/cli/{}", "x".repeat(2000)), "", "", 414),
        ("GET", "/cli/terminate%20all", "Origin: http://evil.example\r\n", "", 403),
        ("GET", "/cli/terminate%20all", "Sec-Fetch-Site: cross-site\r\n", "", 403),
    ] {
        assert_eq!(http(address, method, path, headers, body).0, status, "{method} {path} {headers}");
    }
    relay.shutdown();
}

#[test]
fn https_is_http_over_tls() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["relay".to_owned()]).expect("a name");
    let own = params.self_signed(&key).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("https.pem");
    // The key may stand behind the certificate.
    std::fs::write(&file, format!("{}{}", own.pem(), key.serialize_pem())).expect("written");
    let relay = support::relay(RelayConfig {
        listen_https: any(),
        https_cert: Some(file.clone()),
        ..RelayConfig::default()
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "relay".try_into().expect("a name");
    let client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let address = relay.https_addresses()[0];
    let mut stream = rustls::StreamOwned::new(client, connect(address));
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").expect("sent");
    assert_eq!(answer(&rest(&mut stream)).2, "pong\n");
    // Whoever speaks no TLS is closed.
    let mut plain = connect(address);
    plain.write_all(b"GET /ping HTTP/1.1\r\n\r\n").expect("sent");
    assert!(!rest(&mut plain).contains("pong"));
    relay.shutdown();

    let missing = RelayConfig {
        listen_https: any(),
        https_cert: Some(folder.path().join("none.pem")),
        listen_ng: None,
        ..RelayConfig::default()
    };
    let error = Relay::start(missing).expect_err("there is no such file");
    assert!(error.to_string().contains("none.pem"), "{error}");
}

/// A WebSocket with one of rtpengine's sub-protocols; the status where it is refused.
fn websocket(address: SocketAddr, protocol: &str, origin: Option<&str>) -> Result<WebSocket<TcpStream>, u16> {
    let mut request = format!("ws://{address}/").into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().expect("a header"));
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().expect("a header"));
    }
    match tungstenite::client(request, connect(address)) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(error) => panic!("{error}"),
    }
}

/// Sends a message and returns the answer, which is binary.
fn talk(socket: &mut WebSocket<TcpStream>, message: Message) -> String {
    socket.send(message).expect("sent");
    loop {
        match socket.read().expect("an answer") {
            Message::Binary(octets) => return String::from_utf8(octets.to_vec()).expect("text"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn websockets_speak_rtpengines_sub_protocols() {
    let relay = relay();
    let address = relay.http_addresses()[0];
    let mut ng = websocket(address, "ng.rtpengine.com", None).expect("a WebSocket");
    assert_eq!(talk(&mut ng, Message::text("w1 d7:command4:pinge")), "w1 d6:result4:ponge");
    assert_eq!(talk(&mut ng, Message::binary(&b"w2 {\"command\":\"ping\"}"[..])), "w2 {\"result\":\"pong\"}");
    let first = talk(&mut ng, Message::text(offer("w3", "ws")));
    assert_eq!(http(address, "POST", "/ng", NG, &offer("w3", "ws")).2, first, "the cache is shared");
    let mut plain = websocket(address, "x, ng-plain.rtpengine.com", None).expect("a WebSocket");
    assert_eq!(talk(&mut plain, Message::text("d7:command4:pinge")), "d6:result4:ponge");
    let mut line = websocket(address, "cli.rtpengine.com", None).expect("a WebSocket");
    assert_eq!(talk(&mut line, Message::text("list timeout")), "TIMEOUT=60\n");
    assert_eq!(talk(&mut line, Message::text("x".repeat(2000))), "the command is too long\n");
    let mut echo = websocket(address, "echo.rtpengine.com", None).expect("a WebSocket");
    assert_eq!(talk(&mut echo, Message::text("abc")), "abc");
    assert_eq!(websocket(address, "sip", None).map(drop), Err(400));
    assert_eq!(websocket(address, "ng.rtpengine.com", Some("http://evil.example")).map(drop), Err(403));
    // Without a cookie there is no answer; the next command has one.
    ng.send(Message::text("no-cookie")).expect("sent");
    assert_eq!(talk(&mut ng, Message::text("w4 d7:command4:pinge")), "w4 d6:result4:ponge");
    relay.shutdown();
}

#[test]
fn the_command_line_has_rtpengine_ctls_verbs() {
    let relay = relay();
    let mut stream = connect(relay.tcp_ng_addresses()[0]);
    stream.write_all(offer("l1", "line-1").as_bytes()).expect("sent");
    until(&mut stream, "2:oke");
    let from = stream.local_addr().expect("an address");
    let list = cli(&relay, "list sessions all");
    assert!(list.starts_with(&format!("callid: {:>60} | deletionmark:  no | created:", "line-1")), "{list}");
    assert!(list.ends_with(&format!("| proxy:{from} | redis_keyspace:-1 | foreign:no\n")), "{list}");
    assert_eq!(cli(&relay, "list sessions own"), list);
    assert_eq!(cli(&relay, "list sessions foreign"), "No foreign sessions on this media relay.\n");
    let info = cli(&relay, "list sessions line-1");
    for part in [
        "\ncallid: line-1\ndeletionmark: no\n",
        "foreign: no\n\n--- Tag 'a', type: FROM_TAG, label ''",
        "------ Media #1 (audio over RTP/AVP) using unknown codec\n-------- Port ",
    ] {
        assert!(info.contains(part), "{part:?} in {info}");
    }
    assert_eq!(cli(&relay, "call line-1 info").lines().count(), info.lines().count());
    for (command, expected) in [
        ("list maxsessions", "Maximum sessions configured on rtpengine: -1\n"),
        ("set maxsessions 1", "Success setting maxsessions to 1\n"),
        ("get maxsessions", "Maximum sessions configured on rtpengine: 1\n"),
        ("set maxsessions -2", "Fail setting maxsessions to -2; either positive or -1 values allowed\n"),
        ("set maxsessions many", "Fail setting maxsessions to many; no digists found\n"),
        ("set timeout 77", "Success setting timeout to 77\n"),
        ("list timeout", "TIMEOUT=77\n"),
        ("list silenttimeout", "SILENT_TIMEOUT=3600\n"),
        ("set finaltimeout 5000", "Success setting timeout to 5000\n"),
        ("list finaltimeout", "FINAL_TIMEOUT=5000\n"),
        ("list offertimeout", "OFFER_TIMEOUT=3600\n"),
        ("set deletedelay 3", "Success setting delete-delay to 3\n"),
        ("list deletedelay", "3\n"),
        ("set loglevel 7", "Success setting loglevel to 7\n"),
        ("list loglevel", "core = 7\n"),
        (
            "params diff",
            "log-level-core: 6 => 7\nmax-sessions: -1 => 1\ntimeout: 60 => 77\nfinal-timeout: 0 => 5000\ndelete-delay: 0 => 3\n",
        ),
        ("list moon", "Unknown or incomplete command::moon\n"),
        ("moon", "Unknown or incomplete command::moon\n"),
        ("list", "More parameters required.\n"),
        ("set timeout", "More parameters required.\n"),
        ("terminate moon", "\nCall Id not found (moon).\n\n"),
        ("list sessions moon", "\nCall ID not found (moon).\n\n"),
        ("call moon info", "No such call 'moon'\n"),
        ("list transcoders", "No stats entries\n"),
    ] {
        assert_eq!(cli(&relay, command), expected, "{command}");
    }
    assert_eq!(LEVEL.load(Ordering::Relaxed), 7);
    // The limit is in force.
    stream.write_all(offer("l2", "line-2").as_bytes()).expect("sent");
    assert!(until(&mut stream, "errore").contains("too many calls"));
    assert_eq!(cli(&relay, "params revert"), "");
    assert_eq!(cli(&relay, "params diff"), "");
    assert!(
        cli(&relay, "help").contains("\tterminate\n") && cli(&relay, "list help").contains("\tnumsessions\n")
    );
    assert!(cli(&relay, "list maxopenfiles").starts_with("Maximum open-files configured on rtpengine: "));
    assert!(cli(&relay, "list numsessions").starts_with("Current sessions own: 1\n"));
    assert_eq!(
        cli(&relay, "terminate line-1"),
        "\nCall Id (line-1) successfully terminated by operator.\n\n"
    );
    assert_eq!(cli(&relay, "list sessions all"), "No sessions on this media relay.\n");
    stream.write_all(offer("l3", "line-3").as_bytes()).expect("sent");
    until(&mut stream, "2:oke");
    assert_eq!(cli(&relay, "terminate all"), "All calls terminated by operator.\n");
    let totals = cli(&relay, "list totals");
    for line in [
        " Owned sessions                                  :0\n",
        " Total managed sessions                          :2\n",
        " Total forced terminated sessions                :2\n",
        " Total rejected sessions                         :1\n",
    ] {
        assert!(totals.contains(line), "{line:?} in {totals}");
    }
    relay.shutdown();
}

/// What rtpengine's `statistics` have, by its documentation and its answers.
const STATISTICS: [(&str, &str); 5] = [
    (
        "currentstatistics",
        "sessionsown sessionsforeign sessionstotal transcodedmedia packetrate_user byterate_user errorrate_user \
         packetrate_kernel byterate_kernel errorrate_kernel packetrate byterate errorrate media_userspace media_kernel \
         media_mixed",
    ),
    (
        "totalstatistics",
        "uptime managedsessions rejectedsessions timeoutsessions silenttimeoutsessions finaltimeoutsessions \
         offertimeoutsessions regularterminatedsessions forcedterminatedsessions relayedpackets_user \
         relayedpacketerrors_user relayedbytes_user relayedpackets_kernel relayedpacketerrors_kernel \
         relayedbytes_kernel relayedpackets relayedpacketerrors relayedbytes zerowaystreams onewaystreams \
         avgcallduration totalcallsduration totalcallsduration2 totalcallsduration_stddev",
    ),
    ("mos", "mos_total mos2_total mos_samples_total mos_average mos_stddev"),
    (
        "voip_metrics",
        "jitter_total jitter2_total jitter_samples_total jitter_average jitter_stddev rtt_e2e_total rtt_e2e2_total \
         rtt_e2e_samples_total rtt_e2e_average rtt_e2e_stddev rtt_dsct_total packetloss_total packetloss_average",
    ),
    (
        "controlstatistics",
        "proxies totalpingcount totaloffercount totalanswercount totaldeletecount totalunsubcount",
    ),
];

#[test]
fn statistics_have_rtpengines_names_at_every_door() {
    let relay = relay();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let ask = |message: &str| {
        socket.send_to(message.as_bytes(), relay.ng_address().expect("ng is on")).expect("sent");
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer).expect("a reply");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    };
    ask("s1 d7:command4:pinge");
    ask(&offer("s2", "stat"));
    ask("s3 d7:command4:wakee");
    let reply = ask(r#"s4 {"command":"statistics"}"#);
    let json: serde_json::Value = serde_json::from_str(reply.trim_start_matches("s4 ")).expect("JSON");
    let line: serde_json::Value = serde_json::from_str(&cli(&relay, "list jsonstats")).expect("JSON");
    for statistics in [&json["statistics"], &line] {
        for (section, keys) in STATISTICS {
            for key in keys.split_whitespace() {
                assert!(statistics[section].get(key).is_some(), "{section}.{key} in {statistics}");
            }
        }
        let proxy = &statistics["controlstatistics"]["proxies"][0];
        assert_eq!((&proxy["proxy"], &proxy["pingcount"]), (&"127.0.0.1".into(), &1.into()), "{proxy}");
        assert_eq!((&proxy["offercount"], &proxy["errorcount"]), (&1.into(), &1.into()), "{proxy}");
        assert_eq!(statistics["currentstatistics"]["sessionsown"], 1);
        let ports = &statistics["interfaces"][0]["ports"];
        assert_eq!(
            ports["totals"].as_u64(),
            ports["free"].as_u64().zip(ports["used"].as_u64()).map(|(a, b)| a + b)
        );
    }
    assert_eq!(json["statistics"]["mos"]["mos_average"], "0.000000", "ng has numbers with a point as text");
    let (status, metrics) = get(relay.http_addresses()[0], "/metrics");
    assert_eq!(status, 200);
    for line in [
        "# TYPE rtpengine_sessions gauge\n",
        "rtpengine_sessions{type=\"own\"} 1\n",
        "rtpengine_closed_sessions_total{reason=\"timeout\"} 0\n",
        "rtpengine_requests_total{proxy=\"127.0.0.1\",request=\"offer\"} 1\n",
        "# TYPE rtpengine_mos_total counter\n",
        "rtpengine_ports_used{name=\"default\",address=\"0.0.0.0\"} ",
    ] {
        assert!(metrics.contains(line), "{line:?} in {metrics}");
    }
    let told = prometheus::read(&metrics);
    assert!(told.keys().all(|name| name.starts_with("rtpengine_")), "{:?}", told.keys());
    relay.shutdown();
}

#[test]
fn any_octets_at_a_door_leave_the_others_alone() {
    let relay = relay();
    let doors = [relay.tcp_ng_addresses()[0], relay.http_addresses()[0], relay.cli_addresses()[0]];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..60 {
        let length = random() % 3000;
        let octets: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        let begin: &[u8] = [&b"c d"[..], b"POST /ng HTTP/1.1\r\n", b"list ", b"", b"c {\"a\":"][round % 5];
        let mut stream = match round % 4 {
            // Behind the upgrade too.
            3 => websocket(doors[1], "ng.rtpengine.com", None).expect("a WebSocket").into_inner(),
            door => connect(doors[door]),
        };
        // A door may close while more is on its way.
        let _ = stream.write_all(&[begin, &octets, b"\n"].concat());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(&mut stream);
    }
    assert_eq!(get(relay.http_addresses()[0], "/ping").1, "pong\n");
    assert_eq!(cli(&relay, "list timeout"), "TIMEOUT=60\n");
    let mut stream = connect(relay.tcp_ng_addresses()[0]);
    stream.write_all(b"x1 d7:command4:pinge").expect("sent");
    assert_eq!(until(&mut stream, "ponge"), "x1 d6:result4:ponge");
    relay.shutdown();
}

#[test]
fn closing_takes_no_time_whoever_is_connected() {
    let relay = relay();
    let _half = connect(relay.tcp_ng_addresses()[0]).write_all(b"c d7:com");
    let _idle = [relay.http_addresses()[0], relay.cli_addresses()[0]].map(connect);
    let _socket = websocket(relay.http_addresses()[0], "ng.rtpengine.com", None).expect("a WebSocket");
    let address = relay.tcp_ng_addresses()[0];
    relay.shutdown();
    assert!(TcpStream::connect(address).is_err(), "the port is free");
}
