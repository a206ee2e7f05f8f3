//! RFC 3261 §17 and RFC 6026 in virtual time.

mod bounds;
mod client;
mod lossy;
mod matching;
mod server;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::flow::{ConnectionId, Destination, Flow, Protocol, SendToken};
use crate::message::build::Reply;
use crate::message::{Message, Method, Name, StatusCode};

/// One table between a client and a server, with a clock that is turned by hand.
struct Bed {
    table: Table,
    start: Instant,
    now: Instant,
    flow: Flow,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn flow(protocol: Protocol) -> Flow {
    let connection = protocol.is_reliable().then_some(ConnectionId(7));
    Flow { protocol, local: addr("192.0.2.1:5060"), remote: addr("192.0.2.9:5062"), connection }
}

impl Bed {
    fn new(protocol: Protocol) -> Self {
        Self::with(protocol, Config::default())
    }

    #[allow(clippy::disallowed_methods, reason = "an arbitrary origin; nothing depends on it")]
    fn with(protocol: Protocol, config: Config) -> Self {
        let start = Instant::now();
        Self { table: Table::new(config), start, now: start, flow: flow(protocol) }
    }

    fn receive(&mut self, text: &str) {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        self.table.handle_message(self.now, self.flow, message);
    }

    /// Runs the clock for `ms`, and notes what is sent when (milliseconds since the start).
    fn run(&mut self, ms: u64) -> Vec<(u64, String)> {
        let end = self.now + Duration::from_millis(ms);
        let mut sent = self.sent();
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.table.handle_timeout(at);
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }

    fn sent(&mut self) -> Vec<(u64, String)> {
        let at = self.now.duration_since(self.start).as_millis() as u64;
        std::iter::from_fn(|| self.table.poll_transmit())
            .map(|out| (at, String::from_utf8(out.bytes.to_vec()).unwrap()))
            .collect()
    }

    fn times(&mut self, ms: u64) -> Vec<u64> {
        self.run(ms).into_iter().map(|(at, _)| at).collect()
    }

    /// First words of what was sent: `INVITE`, `200`.
    fn words(&mut self) -> Vec<String> {
        self.sent().into_iter().map(|(_, text)| word(&text)).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.table.poll_event()).collect()
    }

    fn server(&mut self, text: &str) -> (ServerId, Request) {
        self.receive(text);
        match self.events().pop() {
            Some(Event::Request { id, request, .. } | Event::Cancel { id, request, .. }) => (id, request),
            other => panic!("{other:?}"),
        }
    }

    fn client(&mut self, text: &str) -> ClientId {
        let Message::Request(request) = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
        else {
            panic!("a request")
        };
        self.table.request(self.now, request, Destination::Flow(self.flow)).unwrap()
    }

    fn respond(&mut self, id: ServerId, request: &Request, status: StatusCode) -> bool {
        let response = Reply::new(request, status).to_tag("ours").build();
        self.table.respond(self.now, id, &response)
    }

    /// Nothing is left: the leak test of `tm.stats`.
    fn assert_clean(&mut self) {
        self.run(600_000);
        let stats = self.table.stats();
        assert_eq!((stats.current, stats.waiting), (0, 0), "{stats:?}");
        assert_eq!(stats.created, stats.freed);
        assert!(self.table.is_clean());
    }
}

fn word(text: &str) -> String {
    let mut words = text.split(' ');
    match words.next() {
        Some("SIP/2.0") => words.next().unwrap_or_default().to_owned(),
        other => other.unwrap_or_default().to_owned(),
    }
}

fn request(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nRoute: <sip:p1.example.com;lr>\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn invite() -> String {
    request("INVITE", "z9hG4bK1")
}

fn ack(branch: &str, to_tag: &str) -> String {
    let text = request("ACK", branch);
    text.replace("To: <sip:bob@example.com>", &format!("To: <sip:bob@example.com>;tag={to_tag}"))
}

fn response(status: &str, method: &str, branch: &str) -> String {
    format!(
        "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch={branch};rport\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>;tag=b\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}
