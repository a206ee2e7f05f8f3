//! SIP through the whole gateway: every transport, accounts, and what a restart keeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use causeway::accounts;
use causeway::transport::Traffic;
use futures_util::{SinkExt as _, StreamExt as _};
use signaling_core::digest::Answer;
use signaling_core::flow::Protocol;
use signaling_core::message::Method;
use signaling_core::message::header::{Header as _, WwwAuthenticate};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{Bench, PATIENCE, read_until};

/// A peer on one transport.
pub(crate) enum Peer {
    Udp(UdpSocket),
    Stream(Box<dyn Stream>),
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Peer {
    pub(crate) async fn connect(bench: &Bench, protocol: Protocol) -> Self {
        let stream: Box<dyn Stream> = match protocol {
            Protocol::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                socket.connect(bench.address(protocol)).await.unwrap();
                return Self::Udp(socket);
            }
            Protocol::Tcp | Protocol::Ws => Box::new(bench.tcp(protocol).await),
            Protocol::Tls | Protocol::Wss => Box::new(bench.tls(protocol).await),
        };
        if !protocol.is_websocket() {
            return Self::Stream(stream);
        }
        let mut request = "ws://sip.example/ws".into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Self::WebSocket(Box::new(socket))
    }

    async fn ask(&mut self, message: &str) -> String {
        tokio::time::timeout(PATIENCE, self.exchange(message)).await.expect("a reply")
    }

    async fn exchange(&mut self, message: &str) -> String {
        match self {
            Self::Udp(socket) => {
                socket.send(message.as_bytes()).await.unwrap();
                let mut buffer = vec![0; 65_535];
                let length = socket.recv(&mut buffer).await.unwrap();
                String::from_utf8(buffer[..length].to_vec()).unwrap()
            }
            Self::Stream(stream) => {
                stream.write_all(message.as_bytes()).await.unwrap();
                read_until(stream, "\r\n\r\n").await
            }
            Self::WebSocket(socket) => {
                socket.send(Message::text(message)).await.unwrap();
                loop {
                    if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                        return text.to_string();
                    }
                }
            }
        }
    }
}

/// No two requests of these tests are one transaction.
static NEXT: AtomicU32 = AtomicU32::new(1);

fn request(protocol: Protocol, method: &str, from: &str, fields: &str) -> String {
    let token = protocol.via_token();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{method} sip:sip.example SIP/2.0\r\nVia: SIP/2.0/{token} host.invalid;branch=z9hG4bK{token}{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <{from}>;tag=1\r\nTo: <{from}>\r\n\
         Call-ID: {token}-{from}@host.invalid\r\nCSeq: {number} {method}\r\n{fields}Content-Length: 0\r\n\r\n"
    )
}

/// Registers as carol; the status line of the last reply, and that reply.
pub(crate) async fn register(peer: &mut Peer, protocol: Protocol, password: &str, fields: &str) -> String {
    let challenged = peer.ask(&request(protocol, "REGISTER", CAROL, fields)).await;
    assert!(challenged.starts_with("SIP/2.0 401 "), "{challenged}");
    let challenge = challenged.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: ")).unwrap();
    let challenge = WwwAuthenticate::parse(challenge.as_bytes()).unwrap().0;
    let answer = Answer {
        username: "carol",
        password,
        method: &Method::Register,
        uri: "sip:sip.example",
        cnonce: "c0ffee",
        count: 1,
    };
    let fields = format!("Authorization: {}\r\n{fields}", answer.to(&challenge).unwrap());
    peer.ask(&request(protocol, "REGISTER", CAROL, &fields)).await
}

const CAROL: &str = "sip:carol@sip.example";
/// Somebody of another domain, who may ask whether we are there.
const STRANGER: &str = "sip:eve@elsewhere.example";
const ALL: [Protocol; 5] = [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];

#[tokio::test]
async fn options_is_answered_on_every_transport() {
    let bench = Bench::start("").await;
    for protocol in ALL {
        let mut peer = Peer::connect(&bench, protocol).await;
        let reply = peer.ask(&request(protocol, "OPTIONS", STRANGER, "")).await;
        assert!(reply.starts_with("SIP/2.0 200 "), "{protocol}: {reply}");
        assert!(reply.contains(";received=127.0.0.1") && reply.contains(";rport="), "{protocol}: {reply}");
    }
}

#[tokio::test]
async fn what_each_transport_carries_is_counted() {
    let bench = Bench::start("").await;
    let mut peers = Vec::new();
    for protocol in ALL {
        let mut peer = Peer::connect(&bench, protocol).await;
        let request = request(protocol, "OPTIONS", STRANGER, "");
        let reply = peer.ask(&request).await;
        let expected = Traffic {
            connections: u64::from(protocol.is_reliable()),
            received: 1,
            received_bytes: request.len() as u64,
            sent: 1,
            sent_bytes: reply.len() as u64,
        };
        // A reply may be here before its writer has counted it.
        let counted = async {
            while bench.gateway.transport_stats().traffic(protocol) != expected {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, counted).await;
        assert!(in_time.is_ok(), "{protocol}: {:?}", bench.gateway.transport_stats());
        peers.push(peer);
    }
    let stats = bench.gateway.transport_stats();
    assert_eq!((stats.open_connections, stats.refused_connections, stats.dropped_datagrams), (4, 0, 0));
}

#[tokio::test]
async fn a_registration_needs_the_password_and_survives_a_restart() {
    let bench = Bench::start("").await;
    accounts::add(bench.gateway.database(), "carol", "sip.example", "right").await.unwrap();
    let contact = "Contact: <sip:carol@192.0.2.7:5062>;expires=600\r\n";
    let mut peer = Peer::connect(&bench, Protocol::Udp).await;
    let refused = register(&mut peer, Protocol::Udp, "wrong", contact).await;
    assert!(refused.starts_with("SIP/2.0 401 ") || refused.starts_with("SIP/2.0 403 "), "{refused}");
    for protocol in ALL {
        let mut peer = Peer::connect(&bench, protocol).await;
        let contact = format!("Contact: <sip:carol@{protocol}.invalid>;expires=600\r\n");
        let accepted = register(&mut peer, protocol, "right", &contact).await;
        assert!(accepted.starts_with("SIP/2.0 200 "), "{protocol}: {accepted}");
        let kept = bench.gateway.database().registrations(0, "sip.example").await.unwrap();
        let host = format!("carol@{protocol}.invalid");
        assert!(kept.iter().any(|(_, binding)| binding.contact().contains(&host)), "durable before the 200");
    }
    let directory = Arc::clone(&bench.directory);
    bench.gateway.stop().await.unwrap();

    let bench = Bench::start_in(directory, "").await;
    let mut peer = Peer::connect(&bench, Protocol::Udp).await;
    let asked = register(&mut peer, Protocol::Udp, "right", "").await;
    assert!(asked.contains("carol@UDP.invalid"), "{asked}");
}

#[tokio::test]
async fn garbage_ends_nothing() {
    let bench = Bench::start("").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = bench.address(Protocol::Udp);
    for bytes in [&b""[..], b"\r\n\r\n", b"\0", b"hello", b"INVITE sip:x SIP/2.0\r\n\r\n", &[0xFF; 60_000]] {
        socket.send_to(bytes, address).await.unwrap();
    }
    for protocol in [Protocol::Ws, Protocol::Wss] {
        let mut peer = Peer::connect(&bench, protocol).await;
        let Peer::WebSocket(socket) = &mut peer else { panic!("a WebSocket") };
        for message in [Message::text("hello"), Message::Binary(vec![0xFF; 1000].into()), Message::text("")] {
            socket.send(message).await.unwrap();
        }
        // Refusals of the garbage may come first.
        let mut reply = peer.ask(&request(protocol, "OPTIONS", STRANGER, "")).await;
        while reply.starts_with("SIP/2.0 400 ") {
            reply = peer.ask(&request(protocol, "OPTIONS", STRANGER, "")).await;
        }
        assert!(reply.starts_with("SIP/2.0 200 "), "{reply}");
    }
    let mut peer = Peer::connect(&bench, Protocol::Udp).await;
    let reply = peer.ask(&request(Protocol::Udp, "OPTIONS", STRANGER, "")).await;
    assert!(reply.starts_with("SIP/2.0 200 "), "{reply}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let bench = Bench::start("limits.send_queue = 8\n").await;
    let mut stream = bench.tcp(Protocol::Tcp).await;
    let flood = async {
        loop {
            let ask =
                request(Protocol::Tcp, "OPTIONS", STRANGER, &format!("X-Long: {}\r\n", "a".repeat(8000)));
            if stream.write_all(ask.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(3 * PATIENCE, flood).await.expect("closed although it still writes");
    let mut other = Peer::connect(&bench, Protocol::Tcp).await;
    let reply = other.ask(&request(Protocol::Tcp, "OPTIONS", STRANGER, "")).await;
    assert!(reply.starts_with("SIP/2.0 200 "), "{reply}");
}

/// Two phones and what they say in a dialog.
struct Pair {
    alice: UdpSocket,
    bob: UdpSocket,
    number: usize,
}

impl Pair {
    async fn new(bench: &Bench, number: usize) -> Self {
        let [alice, bob] =
            [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
        for socket in [&alice, &bob] {
            socket.connect(bench.address(Protocol::Udp)).await.unwrap();
        }
        Self { alice, bob, number }
    }

    fn text(&self, start: &str, sender: &UdpSocket, from: &str, to: &str, fields: &str) -> String {
        let (method, local) = (start.split(' ').next().unwrap(), sender.local_addr().unwrap());
        let branch = NEXT.fetch_add(1, Ordering::Relaxed);
        format!(
            "{start} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
             To: {to}\r\nCall-ID: pair-{}\r\nCSeq: {branch} {method}\r\nContact: <sip:x@{local}>\r\n{fields}Content-Length: 0\r\n\r\n",
            self.number
        )
    }
}

async fn hear(socket: &UdpSocket, start: &str) -> String {
    let mut buffer = vec![0; 65_535];
    let hearing = async {
        loop {
            let length = socket.recv(&mut buffer).await.unwrap();
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            // Somebody who asks whether a phone is there, or says a thing twice, is passed over.
            if text.starts_with(start) {
                return text;
            }
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("{start:?} is not heard"))
}

/// The 200 to a request, with the tag `bob`.
fn ok(request: &str) -> String {
    let copied = ["Via: ", "Record-Route: ", "From: ", "Call-ID: ", "CSeq: "];
    let copied = request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let copied: String = copied.map(|line| format!("{line}\r\n")).collect();
    let to = field(request, "To: ");
    let tag = if to.contains(";tag=") { "" } else { ";tag=bob" };
    format!(
        "SIP/2.0 200 OK\r\n{copied}To: {to}{tag}\r\nExpires: 60\r\nContact: <sip:bob@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(name)).unwrap()
}

/// Which worker reads what a phone sends is the kernel's choice; whatever it is, there is one dialog.
#[tokio::test]
async fn a_dialog_is_one_whichever_worker_hears_its_ends() {
    let bench = Bench::start("auth.required = false\n").await;
    for number in 0..16 {
        let pair = Pair::new(&bench, number).await;
        let (alice, bob) = (&pair.alice, &pair.bob);
        let [from, to] =
            [format!("<sip:alice{number}@sip.example>"), format!("<sip:bob{number}@sip.example>")];
        bob.send(pair.text("REGISTER sip:sip.example", bob, &format!("{to};tag=r"), &to, "").as_bytes())
            .await
            .unwrap();
        hear(bob, "SIP/2.0 200 ").await;
        let (start, caller) = (format!("SUBSCRIBE sip:bob{number}@sip.example"), format!("{from};tag=alice"));
        let subscribe = pair.text(&start, alice, &caller, &to, "Event: dialog\r\nExpires: 60\r\n");
        alice.send(subscribe.as_bytes()).await.unwrap();
        let asked = hear(bob, "SUBSCRIBE ").await;
        bob.send(ok(&asked).as_bytes()).await.unwrap();
        let answered = hear(alice, "SIP/2.0 200 ").await;
        let route = format!(
            "Route: {}\r\nEvent: dialog\r\nSubscription-State: active\r\n",
            field(&asked, "Record-Route: ")
        );
        let (start, callee) =
            (format!("NOTIFY sip:x@{}", alice.local_addr().unwrap()), field(&answered, "To: "));
        bob.send(pair.text(&start, bob, callee, &caller, &route).as_bytes()).await.unwrap();
        let notified = hear(alice, "NOTIFY ").await;
        alice.send(ok(&notified).as_bytes()).await.unwrap();
        hear(bob, "SIP/2.0 200 ").await;
    }
    bench.gateway.stop().await.unwrap();
}
