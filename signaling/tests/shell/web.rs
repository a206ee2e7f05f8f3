//! What the HTTPS port does, for browsers and for those who mean it no good.

use crate::support::{Bench, PATIENCE, closed, get, http, read_until, upgrade};
use signaling_core::flow::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn pages_and_their_headers() {
    let bench = Bench::start("").await;
    let page = http(bench.tls(Protocol::Wss).await, &get("/")).await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    for header in
        ["content-security-policy: default-src 'self'", "x-content-type-options: nosniff", "text/html"]
    {
        assert!(page.contains(header), "{header} in {page}");
    }
    assert!(!page.contains("strict-transport-security"), "not under the local CA: {page}");
    assert!(http(bench.tls(Protocol::Wss).await, &get("/healthz")).await.ends_with("\r\n\r\nok\n"));
    let info = http(bench.tls(Protocol::Wss).await, &get("/api/page")).await;
    let expected = r#"{"name":"Causeway","domain":"sip.example","websocketPath":"/ws","caCertificate":"/ca.crt","iceServers":[],"tokenClaim":null}"#;
    assert!(info.ends_with(expected), "{info}");
    let pem = http(bench.tls(Protocol::Wss).await, &get("/ca.pem")).await;
    assert!(pem.ends_with(&bench.gateway.certificates().ca().unwrap().pem), "{pem}");
    let missing = http(bench.tls(Protocol::Wss).await, &get("/../../etc/passwd")).await;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    let posted =
        http(bench.tls(Protocol::Wss).await, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
}

#[tokio::test]
async fn an_own_certificate_is_shown_and_brings_strict_transport_security() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| directory.path().join(name));
    std::fs::write(&chain, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let settings = format!("certificate.chain = {chain:?}\ncertificate.private_key = {key:?}\n");
    let bench = Bench::start_in(directory, &settings).await;
    let trusting = |der| bench.tls_trusting(Protocol::Wss, der);
    let page = http(trusting(own.cert.der().clone()).await, &get("/")).await;
    assert!(page.contains("strict-transport-security: max-age=15552000\r\n"), "{page}");
    let ca = http(trusting(own.cert.der().clone()).await, &get("/ca.crt")).await;
    assert!(ca.starts_with("HTTP/1.1 404"), "{ca}");
}

#[tokio::test]
async fn plain_http_is_shown_the_way() {
    let bench = Bench::start("").await;
    let request = "GET /x?y=1 HTTP/1.1\r\nHost: gw.example:8443\r\n\r\n";
    let answer = http(bench.tcp(Protocol::Wss).await, request).await;
    assert!(answer.starts_with("HTTP/1.1 307"), "{answer}");
    assert!(answer.contains("location: https://gw.example:8443/x?y=1\r\n"), "{answer}");
}

#[tokio::test]
async fn websocket_needs_the_sub_protocol_and_a_fitting_origin() {
    let bench = Bench::start("").await;
    let table = [
        ("", "HTTP/1.1 400"),
        ("Sec-WebSocket-Protocol: chat\r\n", "HTTP/1.1 400"),
        ("Sec-WebSocket-Protocol: sip\r\nOrigin: https://evil.example\r\n", "HTTP/1.1 403"),
    ];
    for (fields, status) in table {
        let mut stream = bench.tls(Protocol::Wss).await;
        stream.write_all(upgrade(fields).as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\n").await;
        assert!(answer.starts_with(status), "{fields}: {answer}");
    }
    for fields in
        ["Sec-WebSocket-Protocol: sip\r\n", "Sec-WebSocket-Protocol: sip\r\nOrigin: https://gw.example\r\n"]
    {
        let mut stream = bench.tls(Protocol::Wss).await;
        stream.write_all(upgrade(fields).as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 switching protocols\r\n"), "{answer}");
        assert!(answer.contains("sec-websocket-protocol: sip\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_huge_header_is_refused_and_costs_no_memory() {
    let bench = Bench::start("").await;
    for big in [format!("X-Big: {}\r\n", "a".repeat(1 << 20)), "X: y\r\n".repeat(100_000)] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{big}\r\n");
        let answer = http(bench.tcp(Protocol::Ws).await, &request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000));
    let answer = http(bench.tcp(Protocol::Ws).await, &long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    for junk in ["\0\0\0\0\r\n\r\n", "OPTIONS sip:a SIP/2.0\r\n\r\n", "\x16\x03\x01\x02\0\x01\0"] {
        let mut stream = bench.tcp(Protocol::Ws).await;
        stream.write_all(junk.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = closed(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{junk:?}: {answer}");
    }
    assert!(http(bench.tcp(Protocol::Ws).await, &get("/healthz")).await.ends_with("ok\n"));
}

#[tokio::test]
async fn silent_and_slow_clients_are_closed() {
    let bench = Bench::start("limits.header_timeout = 300\nlimits.handshake_timeout = 300\n").await;
    let mut silent = bench.tcp(Protocol::Ws).await;
    let mut half = bench.tcp(Protocol::Ws).await;
    half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut kept = bench.tcp(Protocol::Ws).await;
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut half_open = bench.tcp(Protocol::Wss).await;
    half_open.write_all(b"\x16\x03\x01").await.unwrap();
    closed(&mut silent).await;
    closed(&mut half).await;
    assert!(
        closed(&mut kept).await.contains("ok\n"),
        "a kept connection ends when its next request does not come"
    );
    closed(&mut half_open).await;
}

#[tokio::test]
async fn half_open_handshakes_are_bounded() {
    let bench = Bench::start("limits.handshakes = 8\nlimits.handshake_timeout = 60000\n").await;
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(bench.tcp(Protocol::Wss).await);
    }
    let refused = async {
        let mut byte = [0];
        while waiting.len() > 8 {
            // A refused connection ends; one that waits for its handshake says nothing.
            waiting.retain(|stream| {
                stream.try_read(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
            });
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("all but eight are refused");
    assert_eq!(waiting.len(), 8, "eight may shake hands");
    drop(waiting);
    let again = async {
        // The places come back one by one.
        loop {
            let mut stream = bench.tcp(Protocol::Wss).await;
            if stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok()
                && closed(&mut stream).await.contains(" 307 ")
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a place for others");
    assert!(http(bench.tls(Protocol::Wss).await, &get("/healthz")).await.ends_with("ok\n"));
}

/// A ClientHello (RFC 5246 §7.4.1.2) of this version that offers one cipher suite.
fn client_hello(version: u16, suite: u16) -> Vec<u8> {
    // Point formats, the group x25519, and signatures by ECDSA and RSA with SHA-256.
    const EXTENSIONS: &[u8] =
        &[0, 11, 0, 2, 1, 0, 0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1];
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 2]);
    body.extend(suite.to_be_bytes());
    body.extend([1, 0, 0, u8::try_from(EXTENSIONS.len()).unwrap()]);
    body.extend(EXTENSIONS);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.append(&mut body);
    record
}

/// TLS 1.2 with forward secrecy and an AEAD is the least that is spoken (RFC 9325 §3.1.1, §4.1).
#[tokio::test]
async fn old_versions_and_weak_ciphers_are_refused() {
    let bench = Bench::start("").await;
    const TLS_1_0: u16 = 0x0301;
    const TLS_1_1: u16 = 0x0302;
    const TLS_1_2: u16 = 0x0303;
    const ECDHE_ECDSA_AES_128_GCM_SHA256: u16 = 0xc02b;
    for (version, suite, alert) in [
        (TLS_1_2, ECDHE_ECDSA_AES_128_GCM_SHA256, None),
        (TLS_1_1, ECDHE_ECDSA_AES_128_GCM_SHA256, Some(70)),
        (TLS_1_0, ECDHE_ECDSA_AES_128_GCM_SHA256, Some(70)),
        // Without forward secrecy, with CBC, and with RC4.
        (TLS_1_2, 0x009c, Some(40)),
        (TLS_1_2, 0xc009, Some(40)),
        (TLS_1_2, 0xc007, Some(40)),
    ] {
        let mut stream = bench.tcp(Protocol::Wss).await;
        stream.write_all(&client_hello(version, suite)).await.unwrap();
        let mut answer = [0; 7];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        match alert {
            None => assert_eq!((answer[0], answer[5]), (22, 2), "a ServerHello: {answer:?}"),
            Some(alert) => {
                assert_eq!((answer[0], answer[6]), (21, alert), "{version:x} {suite:x}: {answer:?}")
            }
        }
    }
}

#[tokio::test]
async fn connections_of_one_source_are_bounded() {
    let bench = Bench::start("limits.connections_per_source = 4\n").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = bench.tcp(Protocol::Ws).await;
        stream.write_all(upgrade("Sec-WebSocket-Protocol: sip\r\n").as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.contains(" 101 "));
        held.push(stream);
    }
    assert_eq!(closed(&mut bench.tcp(Protocol::Ws).await).await, "", "a WebSocket keeps its place");
    drop(held);
    let again =
        async { while !http(bench.tcp(Protocol::Ws).await, &get("/healthz")).await.ends_with("ok\n") {} };
    tokio::time::timeout(PATIENCE, again).await.expect("places come back");
}

#[tokio::test]
async fn a_websocket_that_answers_no_ping_is_closed() {
    let bench = Bench::start("https.ping_interval = 1\nhttps.missed_pongs = 1\n").await;
    let mut stream = bench.tcp(Protocol::Ws).await;
    stream.write_all(upgrade("Sec-WebSocket-Protocol: sip\r\n").as_bytes()).await.unwrap();
    let heard = closed(&mut stream).await;
    assert!(heard.contains(" 101 ") && heard.contains('\u{FFFD}'), "a ping (0x89) came: {heard:?}");
}

#[tokio::test]
async fn broken_frames_end_only_their_own_connection() {
    let bench = Bench::start("").await;
    let long = [&[0x81, 0xFF][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    for frame in [&b"\x81\x05hello"[..], b"\xF1\x80\0\0\0\0", b"\x83\x80\0\0\0\0", &long] {
        let mut stream = bench.tcp(Protocol::Ws).await;
        stream.write_all(upgrade("Sec-WebSocket-Protocol: sip\r\n").as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(frame).await.unwrap();
        closed(&mut stream).await;
    }
    assert!(http(bench.tcp(Protocol::Ws).await, &get("/healthz")).await.ends_with("ok\n"));
}

/// Whoever a reverse proxy names by the PROXY protocol is the peer; what comes from there without a header is closed, counted.
#[tokio::test]
async fn a_proxy_says_from_whom_connections_come() {
    let bench = Bench::start("network.proxy_protocol_from = [\"127.0.0.1\"]\n").await;
    for header in [
        &b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 8443\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x9c\x40\x20\xfb",
    ] {
        let mut stream = bench.tcp(Protocol::Tcp).await;
        stream.write_all(header).await.unwrap();
        let options = "OPTIONS sip:sip.example SIP/2.0\r\nVia: SIP/2.0/TCP 10.9.9.9:5060;branch=z9hG4bKp;rport\r\n\
                       From: <sip:a@sip.example>;tag=a\r\nTo: <sip:sip.example>\r\nCall-ID: p\r\nCSeq: 1 OPTIONS\r\n\
                       Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(options.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.contains("received=203.0.113.9") && answer.contains("rport=40000"), "{answer}");
    }
    // Within TLS all is as ever.
    let ca = bench.gateway.certificates().ca().unwrap().der.clone();
    let mut stream = bench.tcp(Protocol::Wss).await;
    stream.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
    let stream = bench.tls_over(stream, Protocol::Wss, ca.into()).await;
    assert!(http(stream, &get("/healthz")).await.ends_with("ok\n"));
    let refused = http(bench.tcp(Protocol::Ws).await, &get("/healthz")).await;
    assert_eq!(refused, "", "no header, no answer");
    assert_eq!(bench.gateway.transport_stats().bad_proxy_headers, 1);
}

/// Anybody else who begins with such a header has said nothing that counts.
#[tokio::test]
async fn a_stranger_does_not_say_from_whom_he_comes() {
    let bench = Bench::start("network.proxy_protocol_from = [\"127.0.0.2\"]\n").await;
    let header = "PROXY TCP4 203.0.113.9 192.0.2.1 40000 8443\r\n";
    let answer = http(bench.tcp(Protocol::Ws).await, &format!("{header}{}", get("/healthz"))).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(bench.gateway.transport_stats().bad_proxy_headers, 0);
    assert!(http(bench.tcp(Protocol::Ws).await, &get("/healthz")).await.ends_with("ok\n"));
}

/// Whom `acl.deny_file` names is not heard by way of a proxy either.
#[tokio::test]
async fn who_is_denied_is_denied_behind_a_proxy() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "203.0.113.0/24\n").unwrap();
    let settings = format!(
        "https.forwarded_from = [\"127.0.0.1\"]\nnetwork.proxy_protocol_from = [\"127.0.0.2\"]\nacl.deny_file = {:?}\n",
        file.path()
    );
    let bench = Bench::start(&settings).await;
    let forwarded =
        |from: &str| get("/healthz").replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {from}\r\n\r\n"));
    for (from, status) in [("203.0.113.9", " 403 "), ("198.51.100.9", " 200 ")] {
        let answer = http(bench.tcp(Protocol::Ws).await, &forwarded(from)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1{status}")), "{answer}");
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(bench.address(Protocol::Ws)).await.unwrap();
        let request = format!("PROXY TCP4 {from} 192.0.2.1 40000 8443\r\n{}", get("/healthz"));
        assert_eq!(http(stream, &request).await.is_empty(), status == " 403 ", "{from}");
    }
}

/// The same by X-Forwarded-For, of whom that is believed.
#[tokio::test]
async fn a_proxy_says_from_whom_requests_come() {
    for (trusted, address) in [("127.0.0.1", "203.0.113.9"), ("192.0.2.1", "127.0.0.1")] {
        // Half as many as are opened: each counts for its own source.
        let settings = format!("https.forwarded_from = [{trusted:?}]\nlimits.connections_per_source = 2\n");
        let bench = Bench::start(&settings).await;
        let mut stream = bench.tcp(Protocol::Ws).await;
        let fields = "Sec-WebSocket-Protocol: sip\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n";
        stream.write_all(upgrade(fields).as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.contains(" 101 "));
        let open = async {
            while bench.gateway.transport_stats().open_connections == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, open).await.expect("it is open");
        let call = r#"{"jsonrpc":"2.0","method":"core.tcp_list","id":1}"#;
        let answer = bench.gateway.control().answer(call.as_bytes(), "test").await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(&format!("\"src_ip\":\"{address}\"")), "{answer}");
    }
}
