//! A scripted legacy phone on plain UDP sockets: it says exactly what the test has it say and keeps all that it is told.
//!
//! A real phone is the better witness, but none sends a broken message, a DTMF INFO or a lost ACK on demand.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::baresip::Account;
use crate::digest::Client;
use crate::sip::{Message, Sdp};
use crate::tone::{self, Heard};
use crate::wait::PATIENCE;

/// A phone with one SIP socket.
#[derive(Debug)]
pub struct Phone {
    socket: UdpSocket,
    /// Its account.
    pub account: Account,
    /// Where it sends everything that has no route.
    pub proxy: SocketAddr,
    local: SocketAddr,
    /// Received and not asked for yet.
    unread: VecDeque<Message>,
    /// Every message received, retransmissions included.
    pub received: Vec<Message>,
    serial: u64,
}

impl Phone {
    /// A phone that is not registered.
    pub async fn new(account: Account, proxy: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(proxy.ip(), 0)).await?;
        let local = socket.local_addr()?;
        let unread = VecDeque::new();
        Ok(Self {
            socket,
            account,
            proxy,
            local,
            unread,
            received: Vec::new(),
            serial: u64::from(local.port()) << 32,
        })
    }

    /// A phone that is registered.
    pub async fn registered(account: Account, proxy: SocketAddr) -> Result<Self> {
        let mut phone = Self::new(account, proxy).await?;
        let answer = phone.register(300).await?;
        match answer.status() {
            Some(200) => Ok(phone),
            _ => bail!("not registered: {answer}"),
        }
    }

    /// Registers for `expires` seconds, password included when asked; the last answer.
    pub async fn register(&mut self, expires: u32) -> Result<Message> {
        let domain = format!("sip:{}", self.account.domain);
        let mut request = self.request("REGISTER", &domain, &self.aor());
        request.headers.push(("Contact".into(), format!("<{}>;expires={expires}", self.contact())));
        self.transact(request).await
    }

    /// Writes to `other`, who is to receive it and says 200.
    pub async fn writes_to(&mut self, other: &mut Self) -> Result<()> {
        let message = self.request("MESSAGE", &other.aor(), &other.aor());
        let receive = async {
            let received = other.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
            other.answer(&received, 200, "OK", "b1", "").await
        };
        let (answer, received) = tokio::join!(self.transact(message), receive);
        received?;
        let answer = answer?;
        anyhow::ensure!(answer.status() == Some(200), "{answer}");
        Ok(())
    }

    /// A REGISTER that asks for the bindings and changes none. All of a phone have one Call-ID (RFC 3261 §10.2).
    pub fn query(&mut self) -> Message {
        let domain = format!("sip:{}", self.account.domain);
        let mut request = self.request("REGISTER", &domain, &self.aor());
        set(&mut request, "Call-ID", format!("query@{}", self.local));
        let number = self.serial & 0xffff_ffff;
        set(&mut request, "CSeq", format!("{number} REGISTER"));
        request
    }

    /// Its address of record.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.account.user, self.account.domain)
    }

    /// Where it can be reached.
    #[must_use]
    pub fn contact(&self) -> String {
        format!("sip:{}@{}", self.account.user, self.local)
    }

    /// The address of its SIP socket.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// A new request outside of dialogs, from this phone's account to `to`.
    pub fn request(&mut self, method: &str, uri: &str, to: &str) -> Message {
        let (via, tag, call) = (self.via(), self.unique(), self.unique());
        let headers = [
            ("Via", via),
            ("Max-Forwards", "70".into()),
            ("From", format!("<{}>;tag={tag}", self.aor())),
            ("To", format!("<{to}>")),
            ("Call-ID", format!("{call}@{}", self.local.ip())),
            ("CSeq", format!("1 {method}")),
            ("User-Agent", "scripted phone".into()),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Message { start: format!("{method} {uri} SIP/2.0"), headers, body: String::new() }
    }

    /// An INVITE with an SDP.
    pub fn invite(&mut self, to: &str, sdp: &str) -> Message {
        let mut request = self.request("INVITE", to, to);
        request.headers.push(("Contact".into(), format!("<{}>", self.contact())));
        request.headers.push(("Content-Type".into(), "application/sdp".into()));
        request.body = sdp.to_owned();
        request
    }

    /// Sends a message to the proxy.
    pub async fn send(&self, message: &Message) -> Result<()> {
        self.send_bytes(message.to_string().as_bytes()).await
    }

    /// Sends anything to the proxy.
    pub async fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.socket.send_to(bytes, self.proxy).await?;
        Ok(())
    }

    /// The next message for which `wanted` holds; others are kept for later.
    pub async fn receive(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Result<Message> {
        self.receive_within(what, PATIENCE, wanted).await
    }

    /// The same with a limit of one's own.
    pub async fn receive_within(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<Message> {
        if let Some(at) = self.unread.iter().position(&wanted) {
            return self.unread.remove(at).context("gone");
        }
        let deadline = Instant::now() + limit;
        loop {
            let Some(message) = self.next(deadline).await? else {
                let seen: Vec<_> = self.received.iter().map(|m| m.start.as_str()).collect();
                bail!("waited {} s in vain for {what}; received so far: {seen:?}", limit.as_secs_f32());
            };
            if wanted(&message) {
                return Ok(message);
            }
            self.unread.push_back(message);
        }
    }

    /// Sends a request until a final response comes, retransmitting as RFC 3261 §17.1 asks; answers one challenge.
    /// The final response to an INVITE is acknowledged only when it is not a 2xx.
    pub async fn transact(&mut self, mut request: Message) -> Result<Message> {
        let response = self.transact_once(&request).await?;
        let (challenge, answer) = match response.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            Some(407) => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return Ok(response),
        };
        self.authorize(&mut request, response.header(challenge), answer);
        self.transact_once(&request).await
    }

    /// Makes `request` the next attempt: credentials for `challenge`, the next CSeq and a new branch (RFC 3261 §22.2).
    pub fn authorize(&mut self, request: &mut Message, challenge: &str, field: &str) {
        let method = request.method().unwrap_or_default().to_owned();
        let uri = request.uri().unwrap_or_default().to_owned();
        let (user, password) = (&self.account.user, &self.account.password);
        let client = Client { user, password, method: &method, uri: &uri, nc: 1 };
        // A challenge that cannot be answered is one that the peer sends again, and the test says so.
        let credentials = client.answer(challenge).unwrap_or_default();
        request.headers.push((field.into(), credentials));
        let next = request.cseq().0 + 1;
        set(request, "CSeq", format!("{next} {method}"));
        let via = self.via();
        set(request, "Via", via);
    }

    /// The same without an answer to a challenge.
    pub async fn transact_once(&mut self, request: &Message) -> Result<Message> {
        let method = request.method().unwrap_or_default().to_owned();
        let branch = request.parameter("Via", "branch").unwrap_or_default().to_owned();
        let ours = |m: &Message| {
            m.status().is_some() && m.parameter("Via", "branch") == Some(&branch) && m.cseq().1 == method
        };
        let (mut pause, mut provisional) = (Duration::from_millis(500), false);
        let deadline = Instant::now() + PATIENCE;
        self.send(request).await?;
        let response = loop {
            match self.receive_within(&format!("a response to {method}"), pause, ours).await {
                Ok(response) if response.status() >= Some(200) => break response,
                Ok(_) => provisional = true,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) if provisional && method == "INVITE" => {}
                Err(_) => {
                    self.send(request).await?;
                    pause = (pause * 2).min(Duration::from_secs(4));
                }
            }
        };
        if method == "INVITE" && response.status() >= Some(300) {
            self.send(&ack_of_refusal(request, &response)).await?;
        }
        Ok(response)
    }

    /// A response to a received request.
    pub fn response(&mut self, request: &Message, status: u16, reason: &str, to_tag: &str) -> Message {
        let mut headers: Vec<(String, String)> = Vec::new();
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in request.all(name) {
                let tagged = name == "To" && request.parameter("To", "tag").is_none() && status > 100;
                let tag = if tagged { format!(";tag={to_tag}") } else { String::new() };
                headers.push((name.into(), format!("{value}{tag}")));
            }
        }
        if status < 300 {
            headers.push(("Contact".into(), format!("<{}>", self.contact())));
        }
        Message { start: format!("SIP/2.0 {status} {reason}"), headers, body: String::new() }
    }

    /// Answers a received request with an SDP or nothing.
    pub async fn answer(
        &mut self,
        request: &Message,
        status: u16,
        reason: &str,
        tag: &str,
        sdp: &str,
    ) -> Result<()> {
        let mut response = self.response(request, status, reason, tag);
        if !sdp.is_empty() {
            response.headers.push(("Content-Type".into(), "application/sdp".into()));
            response.body = sdp.to_owned();
        }
        self.send(&response).await
    }

    /// The next datagram as it came, keep-alives left out.
    pub async fn receive_bytes(&mut self) -> Result<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer).await?;
            if !is_keepalive(&buffer[..length]) {
                return Ok(buffer[..length].to_vec());
            }
        }
    }

    /// What is left of the messages received and not asked for; waits for none.
    pub async fn drain(&mut self) -> Result<Vec<Message>> {
        while let Some(message) = self.next(Instant::now() + Duration::from_millis(50)).await? {
            self.unread.push_back(message);
        }
        Ok(self.unread.drain(..).collect())
    }

    /// A word that this phone never used before.
    pub fn unique(&mut self) -> String {
        self.serial += 1;
        format!("{:x}", self.serial)
    }

    /// A Via with a branch of its own (RFC 3261 §8.1.1.7).
    fn via(&mut self) -> String {
        let branch = self.unique();
        format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", self.local)
    }

    async fn next(&mut self, deadline: Instant) -> Result<Option<Message>> {
        let mut buffer = vec![0; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(received) = timeout(left, self.socket.recv_from(&mut buffer)).await else {
                return Ok(None);
            };
            let Ok((length, _)) = received else { continue };
            if is_keepalive(&buffer[..length]) {
                continue;
            }
            let message = Message::parse(&buffer[..length])?;
            self.received.push(message.clone());
            return Ok(Some(message));
        }
    }
}

/// CRLF keep-alives and NAT pings of a few bytes are no messages (RFC 5626 §3.5.1).
fn is_keepalive(datagram: &[u8]) -> bool {
    datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// One end's view of a dialog (RFC 3261 §12).
#[derive(Debug, Clone)]
pub struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
}

impl Dialog {
    /// The caller's view, from the INVITE sent and the response that made the dialog (RFC 3261 §12.1.2).
    #[must_use]
    pub fn of_caller(invite: &Message, response: &Message) -> Self {
        let mut routes: Vec<String> = response.all("Record-Route").flat_map(split_list).collect();
        routes.reverse();
        Self {
            call_id: response.header("Call-ID").into(),
            local: invite.header("From").into(),
            remote: response.header("To").into(),
            target: response.address("Contact").into(),
            routes,
            // A challenge may have come between, and the INVITE that was answered is a later one.
            cseq: response.cseq().0,
        }
    }

    /// The callee's view, from the INVITE received and the tag given (RFC 3261 §12.1.1).
    #[must_use]
    pub fn of_callee(invite: &Message, tag: &str) -> Self {
        Self {
            call_id: invite.header("Call-ID").into(),
            local: format!("{};tag={tag}", invite.header("To")),
            remote: invite.header("From").into(),
            target: invite.address("Contact").into(),
            routes: invite.all("Record-Route").flat_map(split_list).collect(),
            cseq: 0,
        }
    }

    /// The next request of this dialog. Every router is taken for a loose one (RFC 3261 §12.2.1.1).
    pub fn request(&mut self, phone: &mut Phone, method: &str) -> Message {
        if method != "ACK" {
            self.cseq += 1;
        }
        let mut headers = vec![("Via".to_owned(), phone.via()), ("Max-Forwards".to_owned(), "70".to_owned())];
        headers.extend(self.routes.iter().map(|route| ("Route".to_owned(), route.clone())));
        headers.extend([
            ("From".to_owned(), self.local.clone()),
            ("To".to_owned(), self.remote.clone()),
            ("Call-ID".to_owned(), self.call_id.clone()),
            ("CSeq".to_owned(), format!("{} {method}", self.cseq)),
            ("Contact".to_owned(), format!("<{}>", phone.contact())),
        ]);
        Message { start: format!("{method} {} SIP/2.0", self.target), headers, body: String::new() }
    }

    /// The same with an SDP.
    pub fn request_with_sdp(&mut self, phone: &mut Phone, method: &str, sdp: &str) -> Message {
        let mut request = self.request(phone, method);
        request.headers.push(("Content-Type".into(), "application/sdp".into()));
        request.body = sdp.to_owned();
        request
    }
}

/// The ACK of a final response that is not a 2xx (RFC 3261 §17.1.1.3).
#[must_use]
pub fn ack_of_refusal(invite: &Message, response: &Message) -> Message {
    let mut ack = invite.clone();
    ack.start = ack.start.replacen("INVITE", "ACK", 1);
    ack.headers.retain(|(name, _)| {
        ["Via", "Max-Forwards", "From", "Call-ID", "Route"].iter().any(|kept| name.eq_ignore_ascii_case(kept))
    });
    ack.headers.push(("To".into(), response.header("To").into()));
    ack.headers.push(("CSeq".into(), format!("{} ACK", invite.cseq().0)));
    ack.body.clear();
    ack
}

/// Replaces the first field of this name, or adds it.
pub fn set(message: &mut Message, name: &str, value: String) {
    match message.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
        Some((_, old)) => *old = value,
        None => message.headers.push((name.into(), value)),
    }
}

fn split_list(value: &str) -> Vec<String> {
    value.split(',').map(|part| part.trim().to_owned()).collect()
}

/// The audio side of a scripted phone: an even RTP port and the RTCP port above it.
#[derive(Debug)]
pub struct Audio {
    rtp: UdpSocket,
    /// Held so that nobody else gets what is sent there.
    rtcp: UdpSocket,
    sequence: u16,
    timestamp: u32,
}

impl Audio {
    /// Opens a pair of ports on `address`.
    pub async fn open(address: IpAddr) -> Result<Self> {
        for _ in 0..200 {
            let rtp = UdpSocket::bind(SocketAddr::new(address, 0)).await?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 1 || port == u16::MAX {
                continue;
            }
            if let Ok(rtcp) = UdpSocket::bind(SocketAddr::new(address, port + 1)).await {
                return Ok(Self { rtp, rtcp, sequence: 1, timestamp: 160 });
            }
        }
        bail!("no even and odd pair of ports")
    }

    /// Where RTP is received.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.rtp.local_addr()?)
    }

    /// An SDP as an old phone writes it: PCMU, PCMA and telephone-event, nothing of WebRTC.
    pub fn sdp(&self, version: u32, direction: &str) -> Result<String> {
        let local = self.local()?;
        let (family, ip, port) = (if local.is_ipv4() { "IP4" } else { "IP6" }, local.ip(), local.port());
        Ok(format!(
            "v=0\r\no=phone 4711 {version} IN {family} {ip}\r\ns=call\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na={direction}\r\n"
        ))
    }

    /// Sends `span` of a tone as PCMU to where `sdp` wants its first section, in real time, and returns all RTP
    /// packets that came in meanwhile.
    pub async fn speak(&mut self, sdp: &Sdp, frequency: f64, span: Duration) -> Result<Vec<Vec<u8>>> {
        let target = target(sdp)?;
        let packets = (span.as_millis() / 20) as usize;
        let samples: Vec<i16> = tone::tone(frequency, 8000, packets * 160).collect();
        let mut heard = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for frame in samples.chunks_exact(160) {
            ticks.tick().await;
            let payload: Vec<u8> = frame.iter().map(|sample| to_ulaw(*sample)).collect();
            self.send(target, 0, false, self.timestamp, &payload).await?;
            self.timestamp = self.timestamp.wrapping_add(160);
            heard.extend(self.received());
        }
        Ok(heard)
    }

    /// Sends one DTMF digit as RFC 4733 §2.5.1 describes: 100 ms, three packets with the end bit.
    pub async fn press(&mut self, sdp: &Sdp, payload_type: u8, event: u8) -> Result<()> {
        let target = target(sdp)?;
        let start = self.timestamp;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for n in 1..=7u16 {
            ticks.tick().await;
            let end = if n >= 5 { 0x80 } else { 0 };
            let duration = (n.min(5) * 160).to_be_bytes();
            self.send(target, payload_type, n == 1, start, &[event, end | 10, duration[0], duration[1]])
                .await?;
        }
        self.timestamp = start.wrapping_add(7 * 160);
        Ok(())
    }

    /// How many packets it has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        u64::from(self.sequence.wrapping_sub(1))
    }

    /// All packets that wait to be read.
    pub fn received(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = self.rtp.try_recv(&mut buffer) {
            packets.push(buffer[..length].to_vec());
        }
        packets
    }

    /// The RTCP packets that wait to be read.
    pub fn received_rtcp(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = self.rtcp.try_recv(&mut buffer) {
            packets.push(buffer[..length].to_vec());
        }
        packets
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
    ) -> Result<()> {
        let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&SSRC.to_be_bytes());
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.rtp.send_to(&packet, to).await?;
        Ok(())
    }
}

const SSRC: u32 = 0x1234_5678;

/// Where an SDP wants the packets of its first section.
pub fn target(sdp: &Sdp) -> Result<SocketAddr> {
    let port = sdp.m_line(0).get(1).and_then(|port| port.parse().ok()).context("no port in m=")?;
    let section = sdp.media.first().into_iter().flatten();
    let line =
        section.chain(&sdp.session).find_map(|line| line.strip_prefix("c=IN IP")).context("no c= line")?;
    let ip = line.split(' ').nth(1).and_then(|ip| ip.parse().ok()).context("no address in c=")?;
    Ok(SocketAddr::new(ip, port))
}

/// What the PCMU packets among `packets` sound like.
#[must_use]
pub fn hear_ulaw(packets: &[Vec<u8>]) -> Heard {
    let samples: Vec<i16> = packets
        .iter()
        .filter(|packet| packet.len() > 12 && packet[1] & 0x7f == 0)
        .flat_map(|packet| packet[12..].iter().map(|byte| from_ulaw(*byte)))
        .collect();
    tone::hear(&samples, 8000)
}

/// ITU-T G.711 µ-law: sign, three bits of segment, four of step, all inverted; 14-bit range.
#[must_use]
pub fn to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs() >> 2).min(8158) + 33;
    let segment = (31 - magnitude.leading_zeros() as i32) - 5;
    let step = (magnitude >> (segment + 1)) & 0x0f;
    !(sign | (segment << 4 | step) as u8)
}

/// The inverse of [`to_ulaw`], up to rounding.
#[must_use]
pub fn from_ulaw(byte: u8) -> i16 {
    let bits = !byte;
    let (segment, step) = (i32::from(bits >> 4 & 7), i32::from(bits & 0x0f));
    let magnitude = (((step << 1) + 33) << segment) - 33;
    let sample = (magnitude << 2) as i16;
    if bits & 0x80 != 0 { -sample } else { sample }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulaw_keeps_the_sound() {
        // ITU-T G.711 table 2a: the ends of the range and zero.
        assert_eq!((to_ulaw(0), to_ulaw(32_767), to_ulaw(-32_768)), (0xff, 0x80, 0x00));
        assert_eq!((from_ulaw(0xff), from_ulaw(0x80), from_ulaw(0x00)), (0, 32_124, -32_124));
        for byte in 0..=255u8 {
            // There are two zeros; the negative one comes back as the positive one.
            assert!(to_ulaw(from_ulaw(byte)) == byte || byte == 0x7f);
        }
    }

    #[test]
    fn a_dialog_routes_by_what_was_recorded() {
        let text = "SIP/2.0 200 OK\r\nRecord-Route: <sip:a;lr>, <sip:b;lr>\r\nRecord-Route: <sip:c;lr>\r\n\
                    To: <sip:x>;tag=t\r\nContact: <sip:x@h>\r\nCSeq: 1 INVITE\r\n\r\n";
        let ok = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(Dialog::of_caller(&ok, &ok).routes, ["<sip:c;lr>", "<sip:b;lr>", "<sip:a;lr>"]);
        assert_eq!(Dialog::of_callee(&ok, "t").routes, ["<sip:a;lr>", "<sip:b;lr>", "<sip:c;lr>"]);
    }
}
