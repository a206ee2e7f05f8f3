//! Microseconds of a worker per operation, without sockets: `cargo run --release -p signaling-core --example proxy_bench`.
//!
//! The clock is virtual: operations follow each other at a steady rate, so that the timers of those before fall due among
//! them as they do in life. An argument names the one operation to measure, a second one says how many figures are taken of it, for
//! a profiler: `valgrind --tool=callgrind` with 3 and with 1 of them tells how many instructions two figures are.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a stopwatch for people")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use signaling_core::digest::Answer;
use signaling_core::flow::{Flow, Inbound, Protocol};
use signaling_core::location::Location;
use signaling_core::message::header::{Header as _, WwwAuthenticate};
use signaling_core::message::{Message, Method, Name, Response};
use signaling_core::outside::{
    Account, Lookup, MediaControl, MediaError, MediaExchange, Outside, Resolver, Store, StoredBinding,
    Unavailable,
};
use signaling_core::proxy::Proxy;
use signaling_core::settings::{Listener, Settings};
use signaling_core::tables::Tables;

const DOMAIN: &str = "bench.test";
const PASSWORD: &str = "one-for-all-9";
const USERS: u32 = 1000;
/// Operations in one figure; the best of several figures counts, for a busy machine only ever makes them worse.
const OPERATIONS: u32 = 2000;
const FIGURES: u32 = 60;
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\n\
                   a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

fn main() {
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("register") {
        let mut bench = Bench::new(false, 2000);
        measure("REGISTER", |number| register(&mut bench, number));
    }
    if wanted("digest") {
        let mut bench = Bench::new(true, 2000);
        measure("REGISTER with digest", |number| register_with_digest(&mut bench, number));
    }
    if wanted("options") {
        let mut bench = Bench::new(false, 2000);
        measure("OPTIONS", |number| options(&mut bench, number));
    }
    if wanted("call") {
        let mut bench = Bench::new(false, 500);
        (0..USERS).for_each(|number| register(&mut bench, number));
        measure("call", |number| call(&mut bench, number));
    }
}

fn measure(what: &str, mut operation: impl FnMut(u32)) {
    let (mut best, mut all) = (f64::MAX, 0.0);
    let figures = std::env::args().nth(2).map_or(FIGURES, |figures| figures.parse().expect("a number"));
    for figure in 0..figures {
        let start = Instant::now();
        for number in 0..OPERATIONS {
            operation(figure * OPERATIONS + number);
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(OPERATIONS);
        best = best.min(each);
        all += each;
    }
    println!("{what:<24}{best:>8.2} us at best, {:>8.2} us on average", all / f64::from(figures));
}

/// A proxy and the time.
struct Bench {
    proxy: Proxy,
    now: Instant,
    pace: Duration,
    caller: Flow,
    callee: Flow,
}

impl Bench {
    fn new(required: bool, rate: u32) -> Self {
        let local: SocketAddr = "127.0.0.71:5060".parse().expect("address");
        let mut settings = Settings {
            domains: vec![DOMAIN.to_owned()],
            listeners: vec![Listener { protocol: Protocol::Udp, addr: local, advertised: None }],
            ..Settings::default()
        };
        settings.auth.required = required;
        let outside = Outside {
            store: Box::new(OneAccount(
                Arc::new(Account::of_password("u", DOMAIN, PASSWORD)),
                Arc::default(),
            )),
            media: Box::new(Direct),
            resolver: Box::new(Nobody),
        };
        let now = Instant::now();
        let flow = |remote: &str| Flow {
            protocol: Protocol::Udp,
            local,
            remote: remote.parse().expect("address"),
            connection: None,
        };
        Self {
            proxy: Proxy::new(
                Arc::new(settings),
                Arc::new(Location::new()),
                outside,
                [7; 32],
                now,
                1_800_000_000,
            ),
            now,
            pace: Duration::from_secs(1) / rate,
            caller: flow("127.0.0.72:5062"),
            callee: flow("127.0.0.73:5064"),
        }
    }

    /// Lets time pass until the next operation.
    fn step(&mut self) {
        self.now += self.pace;
        if self.proxy.poll_timeout().is_some_and(|deadline| deadline <= self.now) {
            self.proxy.handle_timeout(self.now);
        }
    }

    /// Has the proxy take a message as a worker does; what it sends.
    fn take(&mut self, flow: Flow, text: String) -> Vec<Bytes> {
        self.proxy.handle_inbound(self.now, Inbound { flow, bytes: text.into() });
        self.proxy.poll_routes(self.now, &mut Context::from_waker(Waker::noop()));
        let sent = std::iter::from_fn(|| self.proxy.poll_transmit()).map(|outbound| outbound.bytes).collect();
        while self.proxy.poll_event().is_some() {}
        sent
    }
}

fn register(bench: &mut Bench, number: u32) {
    bench.step();
    let sent = bench.take(bench.caller, register_text(number, 1, &format!("u{}", number % USERS), ""));
    assert!(sent[0].starts_with(b"SIP/2.0 200"), "{:?}", sent[0]);
}

fn register_with_digest(bench: &mut Bench, number: u32) {
    bench.step();
    let sent = bench.take(bench.caller, register_text(number, 1, "u", ""));
    let challenged = response(&sent[0]);
    let challenge = challenged.raw(Name::WwwAuthenticate).expect("a challenge");
    let challenge = WwwAuthenticate::parse(challenge).expect("a challenge").0;
    let answer = Answer {
        username: "u",
        password: PASSWORD,
        method: &Method::Register,
        uri: "sip:bench.test",
        cnonce: "0a4f113b",
        count: 1,
    };
    let proof = answer.to(&challenge).expect("an answer");
    let sent =
        bench.take(bench.caller, register_text(number, 2, "u", &format!("Authorization: {proof}\r\n")));
    assert!(sent[0].starts_with(b"SIP/2.0 200"), "{:?}", sent[0]);
}

fn register_text(number: u32, cseq: u32, user: &str, more: &str) -> String {
    format!(
        "REGISTER sip:bench.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.72:5062;branch=z9hG4bK1234r{number}{cseq}REGISTER;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{user}@bench.test>;tag=fr{number}\r\nTo: <sip:{user}@bench.test>\r\nCall-ID: r{number}\r\n\
         CSeq: {cseq} REGISTER\r\nContact: <sip:{user}@127.0.0.72:5062>\r\nExpires: 600\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

fn options(bench: &mut Bench, number: u32) {
    bench.step();
    let text = request("OPTIONS", "sip:bench.test", number, 1, "<sip:bench.test>", "");
    let sent = bench.take(bench.caller, text);
    assert!(sent[0].starts_with(b"SIP/2.0 200"), "{:?}", sent[0]);
}

/// INVITE, 100, 180, 200, ACK, BYE, 200.
fn call(bench: &mut Bench, number: u32) {
    bench.step();
    let user = number % USERS;
    let to = format!("sip:u{user}@bench.test");
    let body =
        format!("Contact: <sip:caller@127.0.0.72:5062>\r\nContent-Type: application/sdp\r\n\u{0}{SDP}");
    let sent = bench.take(bench.caller, request("INVITE", &to, number, 1, &format!("<{to}>"), &body));
    let invite = sent.last().expect("an INVITE").clone();
    bench.take(bench.callee, answer(&invite, "180 Ringing", ""));
    let sent = bench.take(bench.callee, answer(&invite, "200 OK", SDP));
    let ok = response(&sent[0]);
    let text = |name| ok.text(name).expect("a header").to_owned();
    let target = text(Name::Contact);
    let more = format!("Route: {}\r\n", text(Name::RecordRoute));
    let target = target.trim_matches(['<', '>']);
    let sent = bench.take(bench.caller, request("ACK", target, number, 1, &text(Name::To), &more));
    assert!(sent[0].starts_with(b"ACK "), "{:?}", sent[0]);
    let sent = bench.take(bench.caller, request("BYE", target, number, 2, &text(Name::To), &more));
    let sent = bench.take(bench.callee, answer(&sent[0], "200 OK", ""));
    assert!(sent[0].starts_with(b"SIP/2.0 200"), "{:?}", sent[0]);
}

/// `more` are headers, and behind a zero byte a body.
fn request(method: &str, uri: &str, number: u32, cseq: u32, to: &str, more: &str) -> String {
    let (more, body) = more.split_once('\u{0}').unwrap_or((more, ""));
    let length = body.len();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.72:5062;branch=z9hG4bK1234c{number}{cseq}{method};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:caller@bench.test>;tag=fc{number}\r\nTo: {to}\r\nCall-ID: c{number}\r\n\
         CSeq: {cseq} {method}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// What the callee says to a request.
fn answer(request: &Bytes, status: &str, body: &str) -> String {
    let request = std::str::from_utf8(request).expect("text");
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.split("\r\n").take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if matches!(name, "Via" | "Record-Route" | "From" | "Call-ID" | "CSeq") {
            text.push_str(line);
            text.push_str("\r\n");
        } else if name == "To" {
            text.push_str(line);
            text.push_str(if line.contains(";tag=") { "\r\n" } else { ";tag=callee\r\n" });
        }
    }
    let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let length = body.len();
    text + &format!(
        "Contact: <sip:callee@127.0.0.73:5064>\r\n{content}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn response(bytes: &Bytes) -> Response {
    match Message::parse(bytes.clone()) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

/// A store that knows one account and keeps nothing.
struct OneAccount(Arc<Account>, Arc<Tables>);

impl Store for OneAccount {
    fn account<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Arc<Account>>, Unavailable>> {
        ready(Ok(Some(self.0.clone()))).boxed_local()
    }

    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.1)
    }

    fn save_bindings<'a>(
        &'a self,
        _: &'a str,
        _: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        ready(Ok(())).boxed_local()
    }
}

/// No relay: media goes directly.
struct Direct;

impl MediaControl for Direct {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        ready(Ok(exchange.sdp)).boxed_local()
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        ready(Ok(exchange.sdp)).boxed_local()
    }

    fn delete(&self, _: &str, _: &str, _: Option<&str>) {}

    fn play(&self, _: &str, _: &str, _: &str, _: bool) {}

    fn announce<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        ready(Err(MediaError::Unavailable("no sounds here".into()))).boxed_local()
    }

    fn stop(&self, _: &str, _: &str) {}

    fn press<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: u8,
        _: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        ready(Err(MediaError::Unavailable("no sounds here".into()))).boxed_local()
    }

    fn record(&self, _: &str, _: &str) {}
}

/// Knows no name.
struct Nobody;

impl Resolver for Nobody {
    fn resolve<'a>(
        &'a self,
        _: Lookup<'a>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>> {
        ready(Err(Unavailable("no names here".into()))).boxed_local()
    }
}
