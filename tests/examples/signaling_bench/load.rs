//! The load: operations at a steady rate. One thread; nothing is sent twice. A busy machine loses a datagram now and then; when
//! more than one operation in a hundred stays without its answer or is refused, the figures mean nothing.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use md5::{Digest as _, Md5};

/// The accounts of the port with digest.
pub(crate) const USERS: u32 = 40;
/// The password of each.
pub(crate) const PASSWORD: &str = "one-for-all-9";
/// Operations begun in a second.
pub(crate) const REGISTERS: u32 = 2000;
/// How long the next answer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The name of an account.
pub(crate) fn user(number: u32) -> String {
    format!("u{number:04}")
}

/// A question whether the server is there.
pub(crate) fn options(from: SocketAddr) -> String {
    request(
        "OPTIONS",
        "sip:bench.test",
        &format!("UDP {from}"),
        "ping",
        "ping",
        "<sip:bench.test>",
        1,
        "",
        "",
    )
}

/// `count` REGISTERs, each of another Call-ID.
pub(crate) fn register(server: SocketAddr, digest: bool, count: u32) -> Result<()> {
    register_from(&UdpSocket::bind(("127.0.0.72", 0))?, server, digest, count)
}

pub(crate) fn register_from(socket: &UdpSocket, server: SocketAddr, digest: bool, count: u32) -> Result<()> {
    let local = socket.local_addr()?;
    let text = |number: u32, cseq: u32, more: &str| {
        let name = user(if digest { number % USERS } else { number % 1000 });
        let contact = format!("Contact: <sip:{name}@{local}>\r\nExpires: 600\r\n{more}");
        let to = format!("<sip:{name}@bench.test>");
        let call_id = format!("r{number}");
        request(
            "REGISTER",
            "sip:bench.test",
            &format!("UDP {local}"),
            &call_id,
            &name,
            &to,
            cseq,
            &contact,
            "",
        )
    };
    socket.set_read_timeout(Some(Duration::from_micros(200)))?;
    let (mut pace, mut done, mut refused, mut buffer) = (Pace::new(count, REGISTERS), 0, 0, vec![0; 65_535]);
    while done + refused < count && !pace.is_over() {
        while let Some(number) = pace.begin() {
            socket.send_to(text(number, 1, "").as_bytes(), server)?;
        }
        let Some((answer, _)) = receive(socket, &mut buffer) else { continue };
        pace.heard();
        let number = field(&answer, "Call-ID").trim_start_matches('r').parse::<u32>()?;
        match answer.get(8..11) {
            Some("200") => done += 1,
            Some("401") if digest => {
                let name = user(number % USERS);
                let challenge = field(&answer, "WWW-Authenticate");
                let proof = proof(challenge, &name, "REGISTER", "sip:bench.test");
                socket.send_to(text(number, 2, &format!("Authorization: {proof}\r\n")).as_bytes(), server)?;
            }
            // A server that is kept from its work by others says so.
            Some("503") => refused += 1,
            _ => bail!("REGISTER answered by {}", answer.lines().next().unwrap_or_default()),
        }
    }
    check("REGISTER", done, count)
}

pub(crate) fn check(what: &str, done: u32, count: u32) -> Result<()> {
    let lost = count - done;
    ensure!(lost * 100 <= count, "{lost} of {count} {what} without an answer, or refused");
    if lost > 0 {
        println!("{lost} of {count} {what} without an answer, or refused");
    }
    Ok(())
}

/// Begins operations at a steady rate, and knows when nothing more is to be expected.
pub(crate) struct Pace {
    started: Instant,
    begun: u32,
    count: u32,
    rate: u32,
    heard: Instant,
}

impl Pace {
    pub(crate) fn new(count: u32, rate: u32) -> Self {
        let now = Instant::now();
        Self { started: now, begun: 0, count, rate, heard: now }
    }

    /// The next operation whose time has come.
    pub(crate) fn begin(&mut self) -> Option<u32> {
        let due = self.begun < self.count
            && self.started.elapsed() >= Duration::from_secs(1) * self.begun / self.rate;
        due.then(|| {
            self.begun += 1;
            self.begun - 1
        })
    }

    /// Something has come.
    pub(crate) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.begun == self.count && self.heard.elapsed() > PATIENCE
    }
}

/// The next datagram, if one comes within a moment.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(String, SocketAddr)> {
    let (length, from) = socket.recv_from(buffer).ok()?;
    Some((String::from_utf8_lossy(&buffer[..length]).into_owned(), from))
}

#[allow(clippy::too_many_arguments, reason = "the parts of a request")]
pub(crate) fn request(
    method: &str,
    uri: &str,
    via: &str,
    call_id: &str,
    from: &str,
    to: &str,
    cseq: u32,
    more: &str,
    body: &str,
) -> String {
    let length = body.len();
    // Of no earlier run: a server may still remember those.
    let run = std::process::id();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{run}.{call_id}.{cseq}.{method};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{from}@bench.test>;tag=f{call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
         {more}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// What a phone at `local` says to a request.
pub(crate) fn answer(request: &str, local: SocketAddr, status: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
        all(request, name).for_each(|value| text.push_str(&format!("{name}: {value}\r\n")));
    }
    let to = field(request, "To");
    let tag = if to.contains(";tag=") { "" } else { ";tag=callee" };
    let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let length = body.len();
    text + &format!(
        "To: {to}{tag}\r\nContact: <sip:callee@{local}>\r\n{content}Content-Length: {length}\r\n\r\n{body}"
    )
}

pub(crate) fn all<'a>(message: &'a str, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
    message.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
}

pub(crate) fn field<'a>(message: &'a str, name: &'a str) -> &'a str {
    all(message, name).next().unwrap_or_default()
}

/// The value of an Authorization header (RFC 7616 §3.4), by MD5.
pub(crate) fn proof(challenge: &str, user: &str, method: &str, uri: &str) -> String {
    let of = |name: &str| challenge.split(&format!("{name}=\"")).nth(1)?.split('"').next();
    let (realm, nonce) = (of("realm").unwrap_or_default(), of("nonce").unwrap_or_default());
    let hash = |text: String| hex::encode(Md5::digest(text));
    let (ha1, ha2) = (hash(format!("{user}:{realm}:{PASSWORD}")), hash(format!("{method}:{uri}")));
    let response = hash(format!("{ha1}:{nonce}:00000001:0a4f113b:auth:{ha2}"));
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"0a4f113b\""
    )
}
