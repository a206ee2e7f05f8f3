//! What happens, as others hear of it: the stream of events over HTTPS.

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::support::{get, read_until};

/// Asks for the stream; the connection, and what has come up to `end`.
async fn listen(
    bench: &Bench,
    token: &str,
    path: &str,
    more: &str,
    end: &str,
) -> (impl AsyncRead + AsyncWrite + use<>, String) {
    let mut stream = bench.tls(Protocol::Wss).await;
    let asked = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let text = read_until(&mut stream, end).await;
    (stream, text)
}

fn contact(aor: &str) -> Value {
    json!({"table": "location", "aor": aor, "contact": "sip:dave@192.0.2.9", "expires": 600, "q": 1})
}

/// The payload of the next packet for a Homer that begins like this, and its addresses: source and destination.
async fn captured(homer: &UdpSocket, begin: &str) -> (String, u16, u16) {
    loop {
        let mut buffer = vec![0; 65_536];
        let received = tokio::time::timeout(PATIENCE, homer.recv(&mut buffer));
        let length = received.await.unwrap_or_else(|_| panic!("{begin} did not come")).unwrap();
        let word = |at: usize| u16::from_be_bytes([buffer[at], buffer[at + 1]]);
        assert!(buffer.starts_with(b"HEP3") && usize::from(word(4)) == length);
        let (mut at, mut found) = (6, (String::new(), 0, 0));
        while at < length {
            let end = at + usize::from(word(at + 4));
            match word(at + 2) {
                7 => found.1 = word(at + 6),
                8 => found.2 = word(at + 6),
                15 => found.0 = String::from_utf8_lossy(&buffer[at + 6..end]).into_owned(),
                _ => {}
            }
            at = end;
        }
        if found.0.starts_with(begin) {
            return found;
        }
    }
}

/// Over datagrams and over a WebSocket: what came and what was sent, with the right ends.
#[tokio::test]
async fn a_homer_hears_every_message_and_prometheus_asks_without_a_token_where_it_may() {
    let homer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let place = homer.local_addr().unwrap();
    let extra = format!("{OPEN}siptrace.duplicate_uri = \"sip:{place}\"\nmetrics.listen = \"127.0.0.1:0\"\n");
    let bench = Bench::start(&extra).await;
    let phone = Phone::registered(&bench, "bob").await;
    let (ours, its) = (bench.address(Protocol::Udp).port(), phone.socket.local_addr().unwrap().port());
    let (text, from, to) = captured(&homer, "REGISTER ").await;
    assert!(text.contains("Call-ID: reg-bob\r\n") && (from, to) == (its, ours), "{from} {to} {text}");
    let (text, from, to) = captured(&homer, "SIP/2.0 200 ").await;
    assert!(text.contains("Call-ID: reg-bob\r\n") && (from, to) == (ours, its), "{from} {to} {text}");
    let mut stream = bench.tcp(Protocol::Tcp).await;
    let local = stream.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:sip.example SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bK-o\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@sip.example>;tag=1\r\nTo: <sip:sip.example>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(options.as_bytes()).await.unwrap();
    let (ours, its) = (bench.address(Protocol::Tcp).port(), local.port());
    let (_, from, to) = captured(&homer, "OPTIONS ").await;
    assert_eq!((from, to), (its, ours));
    let (_, from, to) = captured(&homer, "SIP/2.0 200 ").await;
    assert_eq!((from, to), (ours, its));
    let metrics = tokio::net::TcpStream::connect(bench.gateway.metrics_address().unwrap()).await.unwrap();
    let text = http(metrics, &get("/metrics")).await;
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.contains("causeway_registrations{transport=\"udp\"} 1\n"),
        "{text}"
    );
    let other = tokio::net::TcpStream::connect(bench.gateway.metrics_address().unwrap()).await.unwrap();
    assert!(http(other, &get("/rpc")).await.starts_with("HTTP/1.1 404 "), "nothing else is there");
    bench.gateway.stop().await.unwrap();
}

/// The events of a text, as names and JSON.
fn told(text: &str) -> Vec<(String, Value)> {
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(ToOwned::to_owned)
    };
    let event = |event: &str| {
        let data = serde_json::from_str(&field(event, "data:")?).expect("JSON");
        Some((field(event, "event:")?, data))
    };
    text.replace('\r', "").split("\n\n").filter_map(event).collect()
}

#[tokio::test]
async fn what_happens_is_read_along_and_nothing_is_missed_by_who_comes_back() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let refused = http(bench.tls(Protocol::Wss).await, &get("/events")).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let token = Tokens::of(bench.directory.path()).add("console").unwrap();
    for wrong in ["?kinds=registered,nothing", "?other=1"] {
        let (_, refused) =
            listen(&bench, &token, &format!("/events{wrong}"), "Connection: close\r\n", "").await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    }
    let (mut reader, begin) = listen(
        &bench,
        &token,
        "/events?kinds=registered,unregistered,registration_expired",
        "",
        ": causeway",
    )
    .await;
    assert!(
        begin.starts_with("HTTP/1.1 200 ") && begin.contains("content-type: text/event-stream"),
        "{begin}"
    );
    client.ask("ul.add", contact("dave@sip.example")).await;
    let text = read_until(&mut reader, "}\n\n").await;
    let [(event, data)] = &told(&text)[..] else { panic!("{text}") };
    assert_eq!((&**event, &data["aor"]), ("registered", &json!("dave@sip.example")));
    let id = data["id"].as_str().unwrap();
    assert!(text.contains(&format!("id: {id}\n")), "{text}");
    drop(reader);
    client.ask("ul.rm", json!(["location", "dave@sip.example"])).await;
    let back = format!("Last-Event-ID: {id}\r\n");
    let (_, text) = listen(&bench, &token, "/events", &back, "removed by command").await;
    assert!(
        text.contains("event: registration_expired\n") && !text.contains("event: registered\n"),
        "{text}"
    );
    let (_, text) =
        listen(&bench, &token, "/events", "Last-Event-ID: 00000000-9\r\n", "removed by command").await;
    assert!(text.contains("event: missed\ndata: {\"restarted\":true}\n"), "{text}");
    let (mut last, _) = listen(&bench, &token, "/events", "Connection: close\r\n", ": causeway").await;
    bench.gateway.stop().await.unwrap();
    // The end of the gateway is the end of the stream.
    read_until(&mut last, "").await;
}
