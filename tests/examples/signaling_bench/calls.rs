//! Calls: INVITE, 180, 200, ACK, BYE, 200.

use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::browser::{Browser, Talking};
use crate::load::{Pace, all, answer, check, field, receive, register_from, request, user};

/// Calls begun in a second.
const CALLS: u32 = 500;
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\n\
                   a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

/// What a browser offers, without the lines that nobody here looks at.
const BROWSER_SDP: &str = "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS s\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 8 0 101\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:0123456789abcdef01234567\r\na=ice-options:trickle\r\na=fingerprint:sha-256 \
    A0:A1:A2:A3:A4:A5:A6:A7:A8:A9:AA:AB:AC:AD:AE:AF:B0:B1:B2:B3:B4:B5:B6:B7:B8:B9:BA:BB:BC:BD:BE:BF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=ssrc:1 cname:c\r\n\
    a=candidate:1 1 udp 2122260223 127.0.0.72 50000 typ host\r\n";

/// Who calls.
pub(crate) enum Caller {
    /// A phone over UDP, and the server's address.
    Phone(UdpSocket, SocketAddr),
    /// Browsers in turn.
    Browsers(Vec<Talking>),
}

impl Caller {
    pub(crate) fn phone(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.72", 0))?;
        socket.set_read_timeout(Some(Duration::from_micros(200)))?;
        Ok(Self::Phone(socket, server))
    }

    pub(crate) fn browsers(browsers: Vec<Browser>) -> Self {
        Self::Browsers(browsers.into_iter().map(Talking::new).collect())
    }

    fn via(&self, number: usize) -> Result<String> {
        Ok(match self {
            Self::Phone(socket, _) => format!("UDP {}", socket.local_addr()?),
            Self::Browsers(all) => format!("WSS x{}.invalid", number % all.len()),
        })
    }

    fn invite(&self, number: usize) -> Result<String> {
        let to = format!("sip:{}@bench.test", user(u32::try_from(number % 1000)?));
        let (contact, sdp) = match self {
            Self::Phone(socket, _) => (format!("sip:caller@{}", socket.local_addr()?), SDP),
            Self::Browsers(all) => {
                (format!("sip:caller@x{}.invalid;transport=ws", number % all.len()), BROWSER_SDP)
            }
        };
        let more = format!("Contact: <{contact}>\r\nContent-Type: application/sdp\r\n");
        let (via, call_id) = (self.via(number)?, format!("c{number}"));
        Ok(request("INVITE", &to, &via, &call_id, "caller", &format!("<{to}>"), 1, &more, sdp))
    }

    fn send(&mut self, number: usize, text: &str) -> Result<()> {
        match self {
            Self::Phone(socket, server) => _ = socket.send_to(text.as_bytes(), *server)?,
            Self::Browsers(all) => {
                let next = number % all.len();
                all[next].send(text)?;
            }
        }
        Ok(())
    }

    /// What has come, within a moment.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Vec<String>> {
        match self {
            Self::Phone(socket, _) => Ok(receive(socket, buffer).map(|(text, _)| text).into_iter().collect()),
            Self::Browsers(all) => {
                let mut messages = Vec::new();
                for browser in all {
                    while let Some(message) = browser.receive()? {
                        messages.push(message);
                    }
                }
                if messages.is_empty() {
                    std::thread::sleep(Duration::from_micros(100));
                }
                Ok(messages)
            }
        }
    }
}

/// A phone under which a thousand users are registered.
pub(crate) fn callee(server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(("127.0.0.73", 0))?;
    register_from(&socket, server, false, 1000)?;
    Ok(socket)
}

/// Calls to `callee` with these numbers, which no other calls of the caller may have.
pub(crate) fn calls(caller: &mut Caller, callee: &UdpSocket, numbers: Range<u32>) -> Result<()> {
    let count = numbers.end - numbers.start;
    callee.set_nonblocking(true)?;
    let answering = callee.local_addr()?;
    let mut pace = Pace::new(count, CALLS);
    let (mut done, mut refused, mut buffer) = (0, 0, vec![0; 65_535]);
    while done + refused < count && !pace.is_over() {
        while let Some(number) = pace.begin() {
            let number = (numbers.start + number) as usize;
            let invite = caller.invite(number)?;
            caller.send(number, &invite)?;
        }
        while let Some((request, from)) = receive(callee, &mut buffer) {
            for answer in answers(&request, answering) {
                callee.send_to(answer.as_bytes(), from)?;
            }
        }
        for answer in caller.receive(&mut buffer)? {
            pace.heard();
            match go_on(caller, &answer)? {
                Step::On => {}
                Step::Over => done += 1,
                Step::Refused => refused += 1,
            }
        }
    }
    check("calls", done, count)
}

/// What an answer means for its call.
enum Step {
    On,
    Over,
    Refused,
}

/// Does what follows from an answer.
fn go_on(caller: &mut Caller, answer: &str) -> Result<Step> {
    if answer.get(8..9) == Some("1") {
        return Ok(Step::On);
    }
    let code = answer.get(8..11).unwrap_or_default();
    if code == "200" && field(answer, "CSeq").ends_with("BYE") {
        return Ok(Step::Over);
    }
    let (call_id, to) = (field(answer, "Call-ID"), field(answer, "To"));
    let number: usize = call_id.trim_start_matches('c').parse()?;
    let via = caller.via(number)?;
    // A server that is kept from its work by others says so.
    if code == "503" && field(answer, "CSeq").ends_with("INVITE") {
        let target = to.split('>').next().unwrap_or_default().trim_start_matches('<');
        let ack = request("ACK", target, &via, call_id, "caller", to, 1, "", "");
        // RFC 3261 §17.1.1.3: it has the branch of the INVITE.
        caller.send(number, &ack.replacen(".1.ACK;", ".1.INVITE;", 1))?;
        return Ok(Step::Refused);
    }
    ensure!(code == "200", "call answered by {}", answer.lines().next().unwrap_or_default());
    let target = field(answer, "Contact").trim_matches(['<', '>']);
    let routes: String =
        all(answer, "Record-Route").rev().map(|route| format!("Route: {route}\r\n")).collect();
    for (method, cseq) in [("ACK", 1), ("BYE", 2)] {
        caller.send(number, &request(method, target, &via, call_id, "caller", to, cseq, &routes, ""))?;
    }
    Ok(Step::On)
}

/// What the callee says to a request.
fn answers(request: &str, local: SocketAddr) -> Vec<String> {
    match request.split(' ').next() {
        Some("INVITE") => {
            vec![answer(request, local, "180 Ringing", ""), answer(request, local, "200 OK", SDP)]
        }
        Some("BYE") => vec![answer(request, local, "200 OK", "")],
        _ => Vec::new(),
    }
}
