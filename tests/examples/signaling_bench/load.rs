//! The load: phones over UDP at a steady rate, and browsers over WSS. One thread; nothing is sent twice. A busy machine loses a
//! datagram now and then; when more than one operation in a hundred stays without its answer, the figures mean nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use md5::{Digest as _, Md5};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// The accounts of the port with digest.
pub(crate) const USERS: u32 = 40;
/// The password of each.
pub(crate) const PASSWORD: &str = "one-for-all-9";
/// Operations begun in a second.
const REGISTERS: u32 = 2000;
const CALLS: u32 = 500;
/// How long the next answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\n\
                   a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

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

fn register_from(socket: &UdpSocket, server: SocketAddr, digest: bool, count: u32) -> Result<()> {
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
    let mut pace = Pace::new(socket, server, count, REGISTERS)?;
    let mut done = 0;
    while done < count && !pace.is_over() {
        pace.begin(|number| text(number, 1, ""))?;
        let Some(answer) = pace.receive()? else { continue };
        let number = field(&answer, "Call-ID").trim_start_matches('r').parse::<u32>()?;
        match answer.get(8..11) {
            Some("200") => done += 1,
            Some("401") if digest => {
                let name = user(number % USERS);
                let challenge = field(&answer, "WWW-Authenticate");
                let proof = proof(challenge, &name, "REGISTER", "sip:bench.test");
                socket.send_to(text(number, 2, &format!("Authorization: {proof}\r\n")).as_bytes(), server)?;
            }
            _ => bail!("REGISTER answered by {}", answer.lines().next().unwrap_or_default()),
        }
    }
    check("REGISTER", done, count)
}

/// A phone under which a thousand users are registered.
pub(crate) fn callee(server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(("127.0.0.73", 0))?;
    register_from(&socket, server, false, 1000)?;
    Ok(socket)
}

/// `count` calls: INVITE, 180, 200, ACK, BYE, 200.
pub(crate) fn calls(server: SocketAddr, callee: &UdpSocket, count: u32) -> Result<()> {
    callee.set_nonblocking(true)?;
    let socket = UdpSocket::bind(("127.0.0.72", 0))?;
    let (local, answering) = (socket.local_addr()?, callee.local_addr()?);
    let via = format!("UDP {local}");
    let invite = |number: u32| {
        let to = format!("sip:{}@bench.test", user(number % 1000));
        let more = format!("Contact: <sip:caller@{local}>\r\nContent-Type: application/sdp\r\n");
        request("INVITE", &to, &via, &format!("c{number}"), "caller", &format!("<{to}>"), 1, &more, SDP)
    };
    let mut pace = Pace::new(&socket, server, count, CALLS)?;
    let (mut done, mut buffer) = (0, vec![0; 65_535]);
    while done < count && !pace.is_over() {
        pace.begin(invite)?;
        while let Ok((length, from)) = callee.recv_from(&mut buffer) {
            for answer in answers(std::str::from_utf8(&buffer[..length])?, answering) {
                callee.send_to(answer.as_bytes(), from)?;
            }
        }
        let Some(answer) = pace.receive()? else { continue };
        if answer.get(8..9) == Some("1") {
            continue;
        }
        ensure!(
            answer.get(8..11) == Some("200"),
            "call answered by {}",
            answer.lines().next().unwrap_or_default()
        );
        if field(&answer, "CSeq").ends_with("BYE") {
            done += 1;
            continue;
        }
        let target = field(&answer, "Contact").trim_matches(['<', '>']).to_owned();
        let routes: String =
            all(&answer, "Record-Route").rev().map(|route| format!("Route: {route}\r\n")).collect();
        let (call_id, to) = (field(&answer, "Call-ID"), field(&answer, "To"));
        for (method, cseq) in [("ACK", 1), ("BYE", 2)] {
            let text = request(method, &target, &via, call_id, "caller", to, cseq, &routes, "");
            socket.send_to(text.as_bytes(), server)?;
        }
    }
    check("calls", done, count)
}

fn check(what: &str, done: u32, count: u32) -> Result<()> {
    let lost = count - done;
    ensure!(lost * 100 <= count, "{lost} of {count} {what} without an answer");
    if lost > 0 {
        println!("{lost} of {count} {what} without an answer");
    }
    Ok(())
}

/// What a phone says to a request.
fn answers(request: &str, local: SocketAddr) -> Vec<String> {
    let answer = |status: &str, body: &str| {
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
    };
    match request.split(' ').next() {
        Some("INVITE") => vec![answer("180 Ringing", ""), answer("200 OK", SDP)],
        Some("BYE") => vec![answer("200 OK", "")],
        _ => Vec::new(),
    }
}

/// Begins operations at a steady rate and takes what comes back.
struct Pace<'a> {
    socket: &'a UdpSocket,
    server: SocketAddr,
    started: Instant,
    begun: u32,
    count: u32,
    rate: u32,
    heard: Instant,
    buffer: Vec<u8>,
}

impl<'a> Pace<'a> {
    fn new(socket: &'a UdpSocket, server: SocketAddr, count: u32, rate: u32) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_micros(200)))?;
        let now = Instant::now();
        Ok(Self { socket, server, started: now, begun: 0, count, rate, heard: now, buffer: vec![0; 65_535] })
    }

    /// Sends the first request of every operation whose time has come.
    fn begin(&mut self, first: impl Fn(u32) -> String) -> Result<()> {
        while self.begun < self.count
            && self.started.elapsed() >= Duration::from_secs(1) * self.begun / self.rate
        {
            self.socket.send_to(first(self.begun).as_bytes(), self.server)?;
            self.begun += 1;
        }
        Ok(())
    }

    /// Whether nothing more is to be expected.
    fn is_over(&self) -> bool {
        self.begun == self.count && self.heard.elapsed() > PATIENCE
    }

    /// The next answer, if one comes within a moment.
    fn receive(&mut self) -> Result<Option<String>> {
        match self.socket.recv_from(&mut self.buffer) {
            Ok((length, _)) => {
                self.heard = Instant::now();
                Ok(Some(String::from_utf8_lossy(&self.buffer[..length]).into_owned()))
            }
            Err(_) => Ok(None),
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of a request")]
fn request(
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
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{run}{call_id}{cseq}{method};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{from}@bench.test>;tag=f{call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
         {more}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn all<'a>(message: &'a str, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
    message.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn field<'a>(message: &'a str, name: &'a str) -> &'a str {
    all(message, name).next().unwrap_or_default()
}

/// The value of an Authorization header (RFC 7616 §3.4), by MD5.
fn proof(challenge: &str, user: &str, method: &str, uri: &str) -> String {
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

/// A browser's connection.
pub(crate) type Browser = StreamOwned<ClientConnection, TcpStream>;

/// `count` WebSockets over TLS, one after the other.
pub(crate) fn connect(server: SocketAddr, count: u32) -> Result<Vec<Browser>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let config = Arc::new(config);
    (0..count).map(|_| connect_one(server, &config)).collect()
}

fn connect_one(server: SocketAddr, config: &Arc<ClientConfig>) -> Result<Browser> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("bench.test")?)?;
    let mut browser = StreamOwned::new(connection, stream);
    write!(
        browser,
        "GET /ws HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        browser.read_exact(&mut byte).context("WebSocket handshake")?;
        head.push(byte[0]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "no WebSocket: {}", String::from_utf8_lossy(&head));
    Ok(browser)
}

/// Registers one user on each connection.
pub(crate) fn register_browsers(browsers: &mut [Browser]) -> Result<()> {
    for (number, browser) in (0..).zip(browsers) {
        let name = user(5000 + number);
        let more = format!("Contact: <sip:{name}@x{number}.invalid;transport=ws>\r\nExpires: 600\r\n");
        let (via, call_id) = (format!("WSS x{number}.invalid"), format!("w{number}"));
        let to = format!("<sip:{name}@bench.test>");
        let text = request("REGISTER", "sip:bench.test", &via, &call_id, &name, &to, 1, &more, "");
        // One text frame with a mask of zeros (RFC 6455 §5.2).
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(u16::try_from(text.len())?.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        browser.write_all(&frame)?;
        let mut head = [0; 4];
        browser.read_exact(&mut head)?;
        ensure!(head[0] & 15 <= 2 && head[1] == 126, "an answer of the usual length in one frame");
        let mut answer = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        browser.read_exact(&mut answer)?;
        ensure!(answer.starts_with(b"SIP/2.0 200"), "REGISTER refused: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Trusts whoever answers: the certificate is made for the run.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
