//! A proxy in virtual time, and phones that write and read SIP as plain text: nothing of the proxy's own parser is
//! used here, so that the two check each other. `tests/sim` builds on this file too.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use md5::{Digest as _, Md5};
use signaling_core::event::Event;
use signaling_core::flow::{ConnectionId, Destination, Flow, Inbound, Outbound, Protocol};
use signaling_core::location::Location;
use signaling_core::outside::{
    Account, Lookup, MediaControl, MediaError, MediaExchange, Outside, Resolver, Store, StoredBinding,
    Unavailable,
};
use signaling_core::proxy::Proxy;
use signaling_core::settings::{Listener, Settings};
use signaling_core::tables::Tables;

/// The domain of all accounts of the bed.
pub const DOMAIN: &str = "sip.example";
/// The wall clock at the start of each test, seconds since 1970.
pub const UNIX_START: u64 = 1_800_000_000;
/// Where the proxy answers; port 5060 is UDP and TCP, 5061 TLS, 8080 WS, 8443 WSS.
pub const PROXY_IP: [u8; 4] = [192, 0, 2, 1];

/// The proxy, its surroundings, and everything in flight.
pub struct Bed {
    /// The worker under test.
    pub proxy: Proxy,
    /// Virtual time.
    pub now: Instant,
    start: Instant,
    /// Accounts and saved bindings.
    pub store: Rc<MemoryStore>,
    /// The fake relay.
    pub media: Rc<FakeMedia>,
    /// The bindings.
    pub location: Arc<Location>,
    /// Everything the proxy has told.
    pub events: Vec<Event>,
    /// What the proxy sent, by the protocol and address of the receiver, and not yet looked at.
    inboxes: HashMap<(Protocol, SocketAddr), VecDeque<Sip>>,
    /// Where nothing can be sent.
    pub unreachable: Vec<(Protocol, SocketAddr)>,
    /// Connections that are closed: what is sent there fails.
    closed: Vec<ConnectionId>,
    /// Open connections by the peer's address.
    connections: HashMap<(Protocol, SocketAddr), ConnectionId>,
    next_connection: u64,
}

impl Bed {
    /// A bed with the given users, each with the password `secret-<user>`.
    pub fn new(users: &[&str]) -> Self {
        Self::with(users, settings(), Vec::new())
    }

    /// A bed with other settings and bindings that the store kept.
    pub fn with(users: &[&str], settings: Settings, kept: Vec<(String, StoredBinding)>) -> Self {
        Self::make(users, settings, kept, [7; 32])
    }

    /// A bed whose worker has other secrets.
    pub fn with_seed(users: &[&str], settings: Settings, seed: [u8; 32]) -> Self {
        Self::make(users, settings, Vec::new(), seed)
    }

    fn make(users: &[&str], settings: Settings, kept: Vec<(String, StoredBinding)>, seed: [u8; 32]) -> Self {
        let store = Rc::new(MemoryStore::default());
        for user in users {
            let account = Account::of_password(user, DOMAIN, &password(user));
            store.accounts.borrow_mut().insert((*user).to_owned(), Arc::new(account));
        }
        let media = Rc::new(FakeMedia::default());
        let location = Arc::new(Location::new());
        location.load(kept, UNIX_START);
        let outside = Outside {
            store: Box::new(Shared(Rc::clone(&store))),
            media: Box::new(Shared(Rc::clone(&media))),
            resolver: Box::new(FakeResolver),
        };
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let proxy = Proxy::new(Arc::new(settings), Arc::clone(&location), outside, seed, now, UNIX_START);
        Self {
            proxy,
            now,
            start: now,
            store,
            media,
            location,
            events: Vec::new(),
            inboxes: HashMap::new(),
            unreachable: Vec::new(),
            closed: Vec::new(),
            connections: HashMap::new(),
            next_connection: 1,
        }
    }

    /// Opens a flow from `remote` to the proxy.
    pub fn flow(&mut self, protocol: Protocol, remote: &str) -> Flow {
        let remote: SocketAddr = remote.parse().expect("address");
        let connection = protocol.is_reliable().then(|| {
            let id = ConnectionId(self.next_connection);
            self.next_connection += 1;
            self.connections.insert((protocol, remote), id);
            id
        });
        let local = SocketAddr::new(IpAddr::from(PROXY_IP), port_of(protocol));
        Flow { protocol, local, remote, connection }
    }

    /// Closes a flow's connection.
    pub fn close(&mut self, flow: &Flow) {
        let connection = flow.connection.expect("a stream");
        self.closed.push(connection);
        self.connections.remove(&(flow.protocol, flow.remote));
        self.proxy.handle_flow_closed(self.now, connection);
        self.drain();
    }

    /// Delivers a message to the proxy and lets it finish what it can.
    pub fn send(&mut self, flow: &Flow, text: &str) {
        self.send_bytes(flow, text.as_bytes());
    }

    /// The same for bytes that need not be text.
    pub fn send_bytes(&mut self, flow: &Flow, bytes: &[u8]) {
        let inbound = Inbound { flow: *flow, bytes: Bytes::copy_from_slice(bytes) };
        self.proxy.handle_inbound(self.now, inbound);
        self.drain();
    }

    /// The next message for `flow`; fails the test when there is none.
    #[track_caller]
    pub fn receive(&mut self, flow: &Flow) -> Sip {
        let message = self.try_receive(flow);
        message.unwrap_or_else(|| panic!("nothing came for {} {}", flow.protocol, flow.remote))
    }

    /// The next message for `flow`, which must start with `start`.
    #[track_caller]
    pub fn expect(&mut self, flow: &Flow, start: &str) -> Sip {
        let message = self.receive(flow);
        assert!(message.text.starts_with(start), "expected {start}, got:\n{}", message.text);
        message
    }

    /// The next message for `flow`, if there is one.
    pub fn try_receive(&mut self, flow: &Flow) -> Option<Sip> {
        self.inboxes.get_mut(&(flow.protocol, flow.remote))?.pop_front()
    }

    /// Fails the test when anything has been sent that was not looked at.
    #[track_caller]
    pub fn expect_silence(&self) {
        for ((protocol, remote), inbox) in &self.inboxes {
            if let Some(message) = inbox.front() {
                panic!("unexpected for {protocol} {remote}:\n{}", message.text);
            }
        }
    }

    /// Whether anything has been sent that was not looked at.
    pub fn is_anything_sent(&self) -> bool {
        self.inboxes.values().any(|inbox| !inbox.is_empty())
    }

    /// Forgets what is in flight.
    pub fn discard(&mut self) {
        self.inboxes.clear();
    }

    /// Forgets what is in flight to others than `flow`.
    pub fn discard_but(&mut self, flow: &Flow) {
        self.inboxes.retain(|receiver, _| *receiver == (flow.protocol, flow.remote));
    }

    /// Lets time pass, and every timer fire at its own moment.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(next) = self.proxy.poll_timeout().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.proxy.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Time since the start of the test.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Tells the proxy to stop.
    pub fn begin_shutdown(&mut self) {
        self.proxy.begin_shutdown(self.now);
        self.drain();
    }

    /// Moves everything that can move without time passing.
    pub fn drain(&mut self) {
        loop {
            self.proxy.poll_routes(self.now, &mut Context::from_waker(Waker::noop()));
            let mut moved = false;
            while let Some(outbound) = self.proxy.poll_transmit() {
                moved = true;
                self.carry(outbound);
            }
            while let Some(event) = self.proxy.poll_event() {
                self.events.push(event);
            }
            if !moved {
                return;
            }
        }
    }

    fn carry(&mut self, outbound: Outbound) {
        let way = |destination| {
            let (protocol, remote, connection) = match destination {
                Destination::Flow(flow) => (flow.protocol, flow.remote, flow.connection),
                Destination::Address { protocol, remote } => {
                    (protocol, remote, self.connections.get(&(protocol, remote)).copied())
                }
            };
            let gone = connection.is_some_and(|id| self.closed.contains(&id))
                || self.unreachable.contains(&(protocol, remote));
            (!gone && (connection.is_some() || !protocol.is_websocket())).then_some((protocol, remote))
        };
        let found = way(outbound.destination).or_else(|| way(outbound.fallback?));
        let Some((protocol, remote)) = found else {
            return self.proxy.handle_send_failure(self.now, outbound.token);
        };
        let text = String::from_utf8(outbound.bytes.to_vec()).expect("the tests speak UTF-8");
        self.inboxes.entry((protocol, remote)).or_default().push_back(Sip { text });
    }
}

/// Settings with all five transports and the defaults of everything else.
pub fn settings() -> Settings {
    let listener = |protocol| Listener {
        protocol,
        addr: SocketAddr::new(IpAddr::from(PROXY_IP), port_of(protocol)),
        advertised: None,
    };
    let all = [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];
    Settings {
        domains: vec![DOMAIN.to_owned()],
        listeners: all.into_iter().map(listener).collect(),
        ..Settings::default()
    }
}

/// The port of a listener of the bed.
pub fn port_of(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Udp | Protocol::Tcp => 5060,
        Protocol::Tls => 5061,
        Protocol::Ws => 8080,
        Protocol::Wss => 8443,
    }
}

/// The password of `user` on the bed.
pub fn password(user: &str) -> String {
    format!("secret-{user}")
}

/// A SIP message as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sip {
    /// All of it.
    pub text: String,
}

impl Sip {
    /// The first line.
    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start_line().split(' ').next().unwrap_or_default()
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        self.start_line().split(' ').nth(1).unwrap_or_default()
    }

    /// The code of a response.
    pub fn code(&self) -> u16 {
        self.start_line().split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// The first value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let values = self.headers(name);
        values.first().copied().unwrap_or_else(|| panic!("no {name} in:\n{}", self.text))
    }

    /// All lines of a header, in order, as they stand.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// All values of a header whose lines may hold several.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers(name).into_iter().flat_map(|line| line.split(',').map(str::trim)).collect()
    }

    /// The body.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// A parameter's value within a header value.
    pub fn tag(&self, header: &str) -> &str {
        self.header(header).split(";tag=").nth(1).map_or("", |tag| tag.split(';').next().unwrap_or_default())
    }
}

/// The URI of a name-addr.
pub fn uri_of(value: &str) -> &str {
    value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
}

/// A user agent: builds what it sends from what it received, as RFC 3261 §8 and §12 say.
#[derive(Debug, Clone)]
pub struct Phone {
    /// Its user name.
    pub user: String,
    /// What it calls itself in credentials.
    pub login: String,
    /// Its password.
    pub password: String,
    /// Its way to the proxy.
    pub flow: Flow,
    /// Its Contact URI.
    pub contact: String,
    /// Its tag in every dialog.
    pub tag: String,
    /// Parameters of its Contact header in REGISTER.
    pub contact_params: String,
    /// CSeq of its next request outside of dialogs.
    pub cseq: u32,
    sequence: u32,
}

impl Phone {
    /// A legacy phone on UDP whose Contact is its true address.
    pub fn legacy(bed: &mut Bed, user: &str, remote: &str) -> Self {
        let flow = bed.flow(Protocol::Udp, remote);
        Self::on(flow, user, format!("sip:{user}@{remote}"))
    }

    /// A browser on WSS with a Contact that means nothing.
    pub fn browser(bed: &mut Bed, user: &str, remote: &str) -> Self {
        let flow = bed.flow(Protocol::Wss, remote);
        let mut phone = Self::on(flow, user, format!("sip:k{user}@df7jal23ls0d.invalid;transport=ws"));
        phone.contact_params = format!(";reg-id=1;+sip.instance=\"<urn:uuid:{user}>\"");
        phone
    }

    /// Any phone.
    pub fn on(flow: Flow, user: &str, contact: String) -> Self {
        let tag = format!("tag-{user}-{}", flow.remote.port());
        let contact_params = String::new();
        Self {
            user: user.to_owned(),
            login: user.to_owned(),
            password: password(user),
            flow,
            contact,
            tag,
            contact_params,
            cseq: 1,
            sequence: 0,
        }
    }

    /// Its address of record as a URI.
    pub fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    /// A branch never used before by this phone.
    pub fn branch(&mut self) -> String {
        self.sequence += 1;
        format!("z9hG4bK-{}-{}-{}", self.user, self.flow.remote.port(), self.sequence)
    }

    /// Its Via with the given branch.
    pub fn via(&self, branch: &str) -> String {
        let host = if self.flow.protocol.is_websocket() {
            "df7jal23ls0d.invalid".to_owned()
        } else {
            self.flow.remote.to_string()
        };
        format!("SIP/2.0/{} {host};branch={branch}", self.flow.protocol)
    }

    /// A request outside of any dialog. `more` are whole header lines.
    pub fn request(&mut self, method: &str, uri: &str, call_id: &str, more: &str, body: &str) -> String {
        let (via, cseq) = (self.branch(), self.cseq);
        self.cseq += 1;
        let (via, aor, tag) = (self.via(&via), self.aor(), self.tag.clone());
        let to = if method == "REGISTER" { aor.clone() } else { uri.to_owned() };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 69\r\nTo: <{to}>\r\nFrom: <{aor}>;tag={tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}{}Content-Length: {}\r\n\r\n{body}",
            content_type(body),
            body.len()
        )
    }

    /// Sends a request again with credentials for the challenge it met.
    pub fn with_credentials(&mut self, request: &str, challenge: &Sip) -> String {
        let (header, answer) = match challenge.code() {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let credentials = self.credentials(challenge.header(header), request);
        let sip = Sip { text: request.to_owned() };
        let cseq: u32 = sip.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("CSeq");
        let old_via = sip.header("Via").to_owned();
        let branch = self.branch();
        self.cseq = self.cseq.max(cseq + 2);
        request
            .replace(&format!("CSeq: {cseq} "), &format!("CSeq: {} ", cseq + 1))
            .replace(&old_via, &self.via(&branch))
            .replacen("Call-ID:", &format!("{answer}: {credentials}\r\nCall-ID:"), 1)
    }

    /// The credentials for a challenge (RFC 7616 §3.4.1 with qop=auth).
    pub fn credentials(&self, challenge: &str, request: &str) -> String {
        let sip = Sip { text: request.to_owned() };
        let param = |name: &str| quoted(challenge, name).unwrap_or_default();
        let (realm, nonce, uri) = (param("realm"), param("nonce"), sip.uri());
        let ha1 = md5_hex(&format!("{}:{realm}:{}", self.login, self.password));
        let ha2 = md5_hex(&format!("{}:{uri}", sip.method()));
        let (nc, cnonce) = ("00000001", "0a4f113b");
        let response = md5_hex(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"));
        format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, qop=auth, nc={nc}, cnonce=\"{cnonce}\"",
            self.login
        )
    }

    /// The REGISTER of this phone.
    pub fn register_text(&mut self, expires: u32) -> String {
        let supported = if self.contact_params.is_empty() { "" } else { "Supported: path,gruu,outbound\r\n" };
        let (contact, params) = (&self.contact, &self.contact_params);
        let more = format!("Contact: <{contact}>{params};expires={expires}\r\n{supported}");
        let call_id = format!("reg-{}-{}", self.user, self.flow.remote.port());
        self.request("REGISTER", &format!("sip:{DOMAIN}"), &call_id, &more, "")
    }

    /// Registers, with the challenge on the way; returns the 200.
    #[track_caller]
    pub fn register(&mut self, bed: &mut Bed) -> Sip {
        let request = self.register_text(600);
        self.authorized(bed, &request)
    }

    /// Sends a request, answers the challenge, returns the first reply after it.
    #[track_caller]
    pub fn authorized(&mut self, bed: &mut Bed, request: &str) -> Sip {
        let (_, reply) = self.authorize(bed, request);
        reply
    }

    /// Sends a request and answers the challenge; what comes of it is the caller's to look at.
    #[track_caller]
    pub fn authorize_only(&mut self, bed: &mut Bed, request: &str) {
        bed.send(&self.flow, request);
        let challenge = bed.receive(&self.flow);
        assert!(matches!(challenge.code(), 401 | 407), "no challenge but:\n{}", challenge.text);
        let again = self.with_credentials(request, &challenge);
        bed.send(&self.flow, &again);
    }

    /// The same, and the request as it was let through.
    #[track_caller]
    pub fn authorize(&mut self, bed: &mut Bed, request: &str) -> (String, Sip) {
        bed.send(&self.flow, request);
        let mut challenge = bed.receive(&self.flow);
        if challenge.code() == 100 {
            challenge = bed.receive(&self.flow);
        }
        assert!(matches!(challenge.code(), 401 | 407), "no challenge but:\n{}", challenge.text);
        if request.starts_with("INVITE") {
            let ack = ack_of(request, &challenge);
            bed.send(&self.flow, &ack);
        }
        let again = self.with_credentials(request, &challenge);
        bed.send(&self.flow, &again);
        let reply = bed.receive(&self.flow);
        (again, reply)
    }

    /// Calls `uri` up to the 100; returns the INVITE as it was let through.
    #[track_caller]
    pub fn invite(&mut self, bed: &mut Bed, uri: &str, call_id: &str, sdp: &str) -> Sip {
        let more = format!("Contact: <{}>\r\nSupported: timer\r\n", self.contact);
        let request = self.request("INVITE", uri, call_id, &more, sdp);
        let (text, trying) = self.authorize(bed, &request);
        assert_eq!(trying.code(), 100, "expected 100:\n{}", trying.text);
        Sip { text }
    }

    /// A reply to `request`. Replies of one phone have one tag.
    pub fn reply(&self, request: &Sip, code: u16, reason: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {code} {reason}\r\n");
        for name in ["Via", "Record-Route"] {
            for value in request.headers(name) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let to = request.header("To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={}", self.tag) };
        let _ = write!(
            text,
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <{}>\r\n{}Content-Length: {}\r\n\r\n{body}",
            request.header("From"),
            request.header("Call-ID"),
            request.header("CSeq"),
            self.contact,
            content_type(body),
            body.len()
        );
        text
    }
}

/// One end of a dialog (RFC 3261 §12.1).
#[derive(Debug, Clone)]
pub struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    /// The other end's Contact as this end sees it.
    pub target: String,
    /// The route set, in the order of the Route headers.
    pub routes: Vec<String>,
    /// CSeq of the last request sent.
    pub cseq: u32,
}

impl Dialog {
    /// The other end's tag.
    pub fn remote_tag(&self) -> String {
        self.remote.rsplit_once("tag=").expect("a tag").1.to_owned()
    }

    /// The caller's end, from its INVITE and the response.
    pub fn of_caller(invite: &Sip, response: &Sip) -> Self {
        let mut routes: Vec<String> =
            response.values("Record-Route").into_iter().map(str::to_owned).collect();
        routes.reverse();
        Self {
            call_id: invite.header("Call-ID").to_owned(),
            local: response.header("From").to_owned(),
            remote: response.header("To").to_owned(),
            target: uri_of(response.header("Contact")).to_owned(),
            routes,
            cseq: invite.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("CSeq"),
        }
    }

    /// The callee's end, from the INVITE it got and the response it gave.
    pub fn of_callee(invite: &Sip, response: &Sip) -> Self {
        Self {
            call_id: invite.header("Call-ID").to_owned(),
            local: response.header("To").to_owned(),
            remote: response.header("From").to_owned(),
            target: uri_of(invite.header("Contact")).to_owned(),
            routes: invite.values("Record-Route").into_iter().map(str::to_owned).collect(),
            cseq: 100,
        }
    }

    /// A request of this dialog. An ACK repeats the CSeq number (RFC 3261 §13.2.2.4).
    pub fn request(&mut self, phone: &mut Phone, method: &str, more: &str, body: &str) -> String {
        if method != "ACK" {
            self.cseq += 1;
        }
        let branch = phone.branch();
        let mut text = format!("{method} {} SIP/2.0\r\nVia: {}\r\n", self.target, phone.via(&branch));
        for route in &self.routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        let _ = write!(
            text,
            "Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nContact: <{}>\r\n{more}{}\
             Content-Length: {}\r\n\r\n{body}",
            self.local,
            self.remote,
            self.call_id,
            self.cseq,
            phone.contact,
            content_type(body),
            body.len()
        );
        text
    }
}

/// The ACK of a negative reply (RFC 3261 §17.1.1.3), or a CANCEL when `method` says so.
pub fn of_invite(method: &str, invite: &str, to: &str) -> String {
    let sip = Sip { text: invite.to_owned() };
    let cseq = sip.header("CSeq").split(' ').next().unwrap_or_default();
    format!(
        "{method} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Content-Length: 0\r\n\r\n",
        sip.uri(),
        sip.header("Via"),
        sip.header("From"),
        sip.header("Call-ID"),
    )
}

/// The ACK of a negative reply.
pub fn ack_of(invite: &str, reply: &Sip) -> String {
    of_invite("ACK", invite, reply.header("To"))
}

/// The CANCEL of an INVITE.
pub fn cancel_of(invite: &Sip) -> String {
    of_invite("CANCEL", &invite.text, invite.header("To"))
}

fn content_type(body: &str) -> &'static str {
    match body {
        "" => "",
        body if body.starts_with("Signal") => "Content-Type: application/dtmf-relay\r\n",
        body if body.starts_with("v=0") => "Content-Type: application/sdp\r\n",
        _ => "Content-Type: text/plain\r\n",
    }
}

/// An SDP of a phone. The fake relay only tags it.
pub fn legacy_sdp(who: &str) -> String {
    format!(
        "v=0\r\no={who} 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// An SDP of a browser.
pub fn browser_sdp(who: &str) -> String {
    format!(
        "v=0\r\no={who} 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\na=rtpmap:111 opus/48000/2\r\n"
    )
}

/// A parameter of a challenge.
pub fn quoted(value: &str, name: &str) -> Option<String> {
    let start = value.find(&format!("{name}=\""))? + name.len() + 2;
    value[start..].split('"').next().map(str::to_owned)
}

/// Lower-case hexadecimal MD5.
pub fn md5_hex(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}

/// Accounts and bindings in memory.
#[derive(Default)]
pub struct MemoryStore {
    /// By user name.
    pub accounts: RefCell<BTreeMap<String, Arc<Account>>>,
    /// By address of record.
    pub bindings: RefCell<BTreeMap<String, Vec<Arc<StoredBinding>>>>,
    /// While set, nothing can be read or saved.
    pub broken: RefCell<bool>,
    /// While set, no bindings can be saved or read.
    pub unsaved: Cell<bool>,
    /// Whether others change the bindings too.
    pub shared: Cell<bool>,
    /// What requests are routed by.
    pub tables: RefCell<Arc<Tables>>,
    /// Who has registered without an account.
    pub known: RefCell<Vec<String>>,
}

/// A door that the test holds too.
struct Shared<T>(Rc<T>);

impl Store for Shared<MemoryStore> {
    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.0.tables.borrow())
    }

    fn account<'a>(
        &'a self,
        username: &'a str,
        domain: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Arc<Account>>, Unavailable>> {
        let found = match *self.0.broken.borrow() {
            true => Err(Unavailable("the disk is on fire".into())),
            false => {
                Ok(self.0.accounts.borrow().get(username).filter(|account| account.domain == domain).cloned())
            }
        };
        ready(found).boxed_local()
    }

    fn save_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        if *self.0.broken.borrow() || self.0.unsaved.get() {
            return ready(Err(Unavailable("the disk is on fire".into()))).boxed_local();
        }
        self.0.bindings.borrow_mut().insert(aor.to_owned(), bindings.to_vec());
        ready(Ok(())).boxed_local()
    }

    fn note_user(&self, aor: &str) {
        self.0.known.borrow_mut().push(aor.to_owned());
    }

    fn is_known_user(&self, aor: &str) -> bool {
        self.0.known.borrow().iter().any(|known| known == aor)
    }

    fn shares_bindings(&self) -> bool {
        self.0.shared.get()
    }

    fn bindings<'a>(
        &'a self,
        aor: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<StoredBinding>>, Unavailable>> {
        if *self.0.broken.borrow() || self.0.unsaved.get() {
            return ready(Err(Unavailable("the disk is on fire".into()))).boxed_local();
        }
        let kept = self.0.bindings.borrow();
        let rows = kept.get(aor).into_iter().flatten().map(|stored| (**stored).clone());
        ready(Ok(Some(rows.collect()))).boxed_local()
    }
}

/// What the fake relay was asked.
#[derive(Debug, Clone)]
pub enum Asked {
    /// An offer.
    Offer(MediaExchange),
    /// An answer.
    Answer(MediaExchange),
    /// The end of a call (`branch` is `None`) or of a branch.
    Delete {
        /// Call-ID.
        call_id: String,
        /// The offerer's tag.
        from_tag: String,
        /// The branch.
        branch: Option<String>,
    },
}

/// A relay that puts an `a=x-relay` line at the end of each SDP and remembers everything.
#[derive(Default)]
pub struct FakeMedia {
    /// Everything asked, in order.
    pub log: RefCell<Vec<Asked>>,
    /// Sessions open now: call and branch.
    pub open: RefCell<Vec<(String, Option<String>)>>,
    /// What was played, stopped and recorded, in order.
    pub sounds: RefCell<Vec<String>>,
    /// While set, every exchange fails with it.
    pub refuse: RefCell<Option<MediaError>>,
}

impl FakeMedia {
    fn exchange(&self, kind: &str, exchange: &MediaExchange) -> Result<Bytes, MediaError> {
        if let Some(error) = self.refuse.borrow().clone() {
            return Err(error);
        }
        let branch = exchange.branch.as_deref().unwrap_or("-");
        let (from, to) = (exchange.from.kind, exchange.to.kind);
        let mut sdp = exchange.sdp.to_vec();
        sdp.extend_from_slice(format!("a=x-relay:{kind} {from:?} {to:?} {branch}\r\n").as_bytes());
        Ok(sdp.into())
    }

    /// Offers and deletes so far, as numbers.
    pub fn offers(&self) -> usize {
        self.log.borrow().iter().filter(|asked| matches!(asked, Asked::Offer(_))).count()
    }

    /// Whether nothing is left open.
    pub fn is_clean(&self) -> bool {
        self.open.borrow().is_empty()
    }
}

impl MediaControl for Shared<FakeMedia> {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        let result = self.0.exchange("offer", &exchange);
        if result.is_ok() {
            let session = (exchange.call_id.clone(), exchange.branch.clone());
            if !self.0.open.borrow().contains(&session) {
                self.0.open.borrow_mut().push(session);
            }
        }
        self.0.log.borrow_mut().push(Asked::Offer(exchange));
        ready(result).boxed_local()
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        let result = self.0.exchange("answer", &exchange);
        self.0.log.borrow_mut().push(Asked::Answer(exchange));
        ready(result).boxed_local()
    }

    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        let how = if forever { "for ever" } else { "once" };
        self.0.sounds.borrow_mut().push(format!("{call_id}: play {file} to {tag} {how}"));
    }

    fn announce<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        let refused = self.0.refuse.borrow().clone();
        if refused.is_none() {
            self.0.sounds.borrow_mut().push(format!("{call_id}: announce {file} to {tag}"));
        }
        ready(refused.map_or(Ok(Duration::from_secs(3)), Err)).boxed_local()
    }

    fn press<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        code: u8,
        duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        let refused = self.0.refuse.borrow().clone();
        if refused.is_none() {
            let millis = duration.as_millis();
            self.0.sounds.borrow_mut().push(format!("{call_id}: press {code} for {tag}, {millis} ms"));
        }
        ready(refused.map_or(Ok(()), Err)).boxed_local()
    }

    fn stop(&self, call_id: &str, tag: &str) {
        self.0.sounds.borrow_mut().push(format!("{call_id}: stop {tag}"));
    }

    fn record(&self, call_id: &str, from_tag: &str) {
        self.0.sounds.borrow_mut().push(format!("{call_id}: record {from_tag}"));
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        self.0
            .open
            .borrow_mut()
            .retain(|(call, open)| call != call_id || (branch.is_some() && open.as_deref() != branch));
        self.0.log.borrow_mut().push(Asked::Delete {
            call_id: call_id.to_owned(),
            from_tag: from_tag.to_owned(),
            branch: branch.map(str::to_owned),
        });
    }
}

/// Knows two names.
struct FakeResolver;

impl Resolver for FakeResolver {
    fn resolve<'a>(
        &'a self,
        lookup: Lookup<'a>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>> {
        assert!(!lookup.target.ends_with(".invalid"), "a browser's host was looked up");
        let found = match lookup.target {
            "elsewhere.example" => {
                let remote = SocketAddr::from(([203, 0, 113, 5], lookup.port.unwrap_or(5060)));
                Ok(vec![(lookup.transport.unwrap_or(Protocol::Udp), remote)])
            }
            // Two addresses, the better one first.
            "pair.example" => Ok([5, 6]
                .map(|last| {
                    let remote = SocketAddr::from(([203, 0, 113, last], lookup.port.unwrap_or(5060)));
                    (lookup.transport.unwrap_or(Protocol::Udp), remote)
                })
                .to_vec()),
            other => Err(Unavailable(format!("no such name: {other}"))),
        };
        ready(found).boxed_local()
    }
}
