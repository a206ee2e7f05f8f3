//! A legacy phone in virtual time: RFC 3261 as a user agent must do it, retransmissions included, and RTP at 20 ms.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::network::Datagram;
use super::{DOMAIN, PASSWORD, PROXY};
use crate::phone::{ack_of_refusal, set, target};
use crate::sip::{self, Message, Sdp, address};

/// RFC 3261 §17.1.1.1.
pub const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.2.
pub const T2: Duration = Duration::from_secs(4);

/// How a phone takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Rings for a while, then answers.
    Answers(Duration),
    /// Rings and refuses with this code.
    Refuses(u16),
    /// Rings for ever.
    Rings,
    /// Says nothing at all, to any request.
    Silent,
}

/// What a phone knows of the one call it is in.
#[derive(Debug, Clone)]
struct Call {
    invite: Message,
    /// As caller: the tag of the callee and where requests of the dialog go.
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
    media: Option<SocketAddr>,
    /// Caller: the ACK of the 2xx, for each time it comes.
    ack: Option<Message>,
    /// Callee: the latest response, for each time the INVITE comes.
    response: Option<Message>,
}

/// A message repeated until something stops it.
#[derive(Debug, Clone)]
struct Repeating {
    message: Message,
    next: Instant,
    pause: Duration,
    /// Longest pause; `None` for an INVITE request, whose pause keeps doubling.
    cap: Option<Duration>,
    until: Instant,
}

/// The phone.
#[derive(Debug)]
pub struct SimPhone {
    /// User part of its address of record.
    pub name: String,
    /// Its SIP socket; RTP is on port 4000 of the same host.
    pub address: SocketAddr,
    /// What it does with calls.
    pub manner: Manner,
    /// Final responses it got, to any request, each once.
    pub finals: Vec<(String, u16)>,
    /// Provisional responses it got to its INVITE, without 100.
    pub provisionals: Vec<u16>,
    /// Requests it got that are no retransmissions, by method.
    pub requests: Vec<String>,
    /// Whether its call is established: 2xx acknowledged, at this end.
    pub established: bool,
    /// Whether its call was ended by a BYE, of either end.
    pub over: bool,
    /// RTP payloads heard, by their number.
    pub heard: Vec<u32>,
    /// Speaks while this is set and its call is established.
    pub talking: bool,
    call: Option<Call>,
    repeating: Vec<Repeating>,
    /// The answer that a ringing phone will give, and when.
    to_answer: Option<Instant>,
    next_packet: Option<Instant>,
    spoken: u32,
    seen: Vec<(String, String)>,
    sent_to_requests: Vec<((String, String), Message)>,
    out: VecDeque<Datagram>,
    serial: u32,
}

impl SimPhone {
    /// A phone that answers at once.
    #[must_use]
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            manner: Manner::Answers(Duration::from_millis(200)),
            finals: Vec::new(),
            provisionals: Vec::new(),
            requests: Vec::new(),
            established: false,
            over: false,
            heard: Vec::new(),
            talking: true,
            call: None,
            repeating: Vec::new(),
            to_answer: None,
            next_packet: None,
            spoken: 0,
            seen: Vec::new(),
            sent_to_requests: Vec::new(),
            out: VecDeque::new(),
            serial: 0,
        }
    }

    /// Calls `user`; sent when the bed runs next.
    pub fn dial(&mut self, now: Instant, user: &str) {
        let mut invite = self.request("INVITE", &format!("sip:{user}@{DOMAIN}"));
        invite.headers.push(("Content-Type".into(), "application/sdp".into()));
        invite.body = self.sdp();
        self.call = Some(Call {
            local: invite.header("From").into(),
            remote: invite.header("To").into(),
            target: String::new(),
            routes: Vec::new(),
            cseq: 1,
            media: None,
            ack: None,
            response: None,
            invite: invite.clone(),
        });
        self.repeat(now, invite, None);
    }

    /// Sends a request outside of any dialog.
    pub fn ask(&mut self, now: Instant, method: &str, user: &str) {
        let request = self.request(method, &format!("sip:{user}@{DOMAIN}"));
        self.repeat(now, request, Some(T2));
    }

    /// Gives up the call that is being placed (RFC 3261 §9.1).
    pub fn cancel(&mut self, now: Instant) {
        let Some(call) = &self.call else { return };
        let mut cancel = call.invite.clone();
        cancel.start = cancel.start.replacen("INVITE", "CANCEL", 1);
        cancel
            .headers
            .retain(|(name, _)| !["Contact", "Content-Type", "Proxy-Authorization"].contains(&name.as_str()));
        let number = call.invite.cseq().0;
        set(&mut cancel, "CSeq", format!("{number} CANCEL"));
        cancel.body.clear();
        self.repeat(now, cancel, Some(T2));
    }

    /// Ends the established call.
    pub fn hang_up(&mut self, now: Instant) {
        self.over = true;
        if let Some(bye) = self.in_dialog("BYE") {
            self.repeat(now, bye, Some(T2));
        }
    }

    /// A datagram came to one of its sockets.
    pub fn handle_datagram(&mut self, now: Instant, to: SocketAddr, bytes: &[u8]) {
        if to.port() != self.address.port() {
            if to.port() == RTP_PORT && bytes.len() >= 16 && bytes[1] & 0x7f == 0 {
                self.heard.push(u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]));
            }
            return;
        }
        let Ok(message) = Message::parse(bytes) else { return };
        match message.status() {
            Some(status) => self.on_response(now, status, &message),
            None if self.manner == Manner::Silent => {}
            None => self.on_request(now, &message),
        }
    }

    /// Retransmits, answers and speaks what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.repeating.retain(|repeating| repeating.until > now);
        let mut due = Vec::new();
        for repeating in self.repeating.iter_mut().filter(|repeating| repeating.next <= now) {
            due.push(repeating.message.clone());
            repeating.pause = (repeating.pause * 2).min(repeating.cap.unwrap_or(Duration::MAX));
            repeating.next = now + repeating.pause;
        }
        for message in due {
            self.send(&message);
        }
        if self.to_answer.is_some_and(|at| at <= now) {
            self.to_answer = None;
            self.give_answer(now);
        }
        if self.next_packet.is_some_and(|at| at <= now) {
            self.speak();
            self.next_packet = (self.established && !self.over).then(|| now + Duration::from_millis(20));
        }
    }

    /// When it has something to do by itself.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let repeats = self.repeating.iter().map(|repeating| repeating.next.min(repeating.until));
        repeats.chain(self.to_answer).chain(self.next_packet).min()
    }

    /// What it sends now.
    pub fn transmits(&mut self) -> impl Iterator<Item = Datagram> + '_ {
        self.out.drain(..)
    }

    /// How many RTP packets it sent.
    #[must_use]
    pub fn spoken(&self) -> u32 {
        self.spoken
    }

    fn on_response(&mut self, now: Instant, status: u16, response: &Message) {
        let (number, method) = response.cseq();
        let method = method.to_owned();
        let branch = response.parameter("Via", "branch").unwrap_or_default().to_owned();
        let request = self.repeating.iter().position(|r| {
            r.message.parameter("Via", "branch") == Some(&branch) && r.message.cseq().1 == method
        });
        let first = request.is_some();
        if let Some(at) = request {
            if status >= 200 {
                self.repeating.remove(at);
            } else if method == "INVITE" {
                // §17.1.1.2: a provisional response ends retransmission; whether a final one comes is the caller's worry.
                self.repeating.remove(at);
            } else {
                self.repeating[at].pause = T2;
            }
        }
        if method == "INVITE" && self.call.as_ref().is_some_and(|call| call.invite.cseq().0 == number) {
            self.on_invite_response(now, status, response);
        } else if first && status >= 200 {
            if status == 407 && method != "BYE" {
                self.again_with_password(now, response, &method);
            } else {
                self.finals.push((method, status));
            }
        }
    }

    fn on_invite_response(&mut self, now: Instant, status: u16, response: &Message) {
        let Some(call) = self.call.clone() else { return };
        match status {
            100 => {}
            101..200 => self.provisionals.push(status),
            200..300 => {
                if call.ack.is_none() {
                    self.answered(response);
                    self.finals.push(("INVITE".into(), status));
                    self.begin_talk(now);
                }
                if let Some(ack) = self.call.as_ref().and_then(|call| call.ack.clone()) {
                    self.send(&ack);
                }
            }
            _ => {
                let ack = ack_of_refusal(&call.invite, response);
                self.send(&ack);
                if status == 407 {
                    self.again_with_password(now, response, "INVITE");
                } else if !self.finals.iter().any(|(method, _)| method == "INVITE") {
                    self.finals.push(("INVITE".into(), status));
                }
            }
        }
    }

    fn again_with_password(&mut self, now: Instant, response: &Message, method: &str) {
        let user =
            address(response.header("To")).trim_start_matches("sip:").split('@').next().unwrap_or_default();
        let mut request = match &self.call {
            Some(call) if method == "INVITE" => call.invite.clone(),
            _ => {
                let mut request = self.request(method, &format!("sip:{user}@{DOMAIN}"));
                for name in ["From", "Call-ID"] {
                    set(&mut request, name, response.header(name).to_owned());
                }
                request
            }
        };
        let uri = request.uri().unwrap_or_default().to_owned();
        let challenge = response.header("Proxy-Authenticate");
        let credentials = sip::authorization(challenge, method, &uri, &self.name, PASSWORD);
        request.headers.push(("Proxy-Authorization".into(), credentials));
        set(&mut request, "CSeq", format!("{} {method}", response.cseq().0 + 1));
        let via = self.via();
        set(&mut request, "Via", via);
        if let Some(call) = self.call.as_mut().filter(|_| method == "INVITE") {
            call.invite = request.clone();
            call.cseq = request.cseq().0;
        }
        let cap = (method != "INVITE").then_some(T2);
        self.repeat(now, request, cap);
    }

    fn answered(&mut self, response: &Message) {
        let Some(call) = &mut self.call else { return };
        call.remote = response.header("To").into();
        call.target = response.address("Contact").into();
        let routes: Vec<&str> = response.all("Record-Route").collect();
        call.routes = routes
            .join(",")
            .split(',')
            .rev()
            .map(|r| r.trim().to_owned())
            .filter(|r| !r.is_empty())
            .collect();
        call.media = Sdp::parse(&response.body).and_then(|sdp| target(&sdp)).ok();
        let ack = self.in_dialog("ACK");
        if let Some(call) = &mut self.call {
            call.ack = ack;
        }
    }

    fn on_request(&mut self, now: Instant, request: &Message) {
        let method = request.method().unwrap_or_default().to_owned();
        let key = (method.clone(), request.parameter("Via", "branch").unwrap_or_default().to_owned());
        if method == "ACK" {
            return self.on_ack(now, request);
        }
        if self.seen.contains(&key) {
            // §17.2: a retransmission gets the latest response again.
            let again = match &self.call {
                Some(call) if method == "INVITE" => call.response.clone(),
                _ => self
                    .sent_to_requests
                    .iter()
                    .find(|(other, _)| *other == key)
                    .map(|(_, response)| response.clone()),
            };
            return again.into_iter().for_each(|response| self.send(&response));
        }
        self.seen.push(key.clone());
        self.requests.push(method.clone());
        match method.as_str() {
            "INVITE" => self.on_invite(now, request),
            _ => {
                let response = self.response(request, 200, "OK");
                self.send(&response);
                self.sent_to_requests.push((key, response));
                if method == "BYE" {
                    self.over = true;
                    // §15.1.2: a BYE also ends the wait for an ACK.
                    self.repeating.retain(|repeating| repeating.message.status().is_none());
                }
                if method == "CANCEL" {
                    self.to_answer = None;
                    self.refuse(now, 487, "Request Terminated");
                }
            }
        }
    }

    fn on_invite(&mut self, now: Instant, invite: &Message) {
        let routes: Vec<&str> = invite.all("Record-Route").collect();
        self.call = Some(Call {
            local: format!("{};tag={}", invite.header("To"), self.name),
            remote: invite.header("From").into(),
            target: invite.address("Contact").into(),
            routes: routes
                .join(",")
                .split(',')
                .map(|r| r.trim().to_owned())
                .filter(|r| !r.is_empty())
                .collect(),
            cseq: 0,
            media: Sdp::parse(&invite.body).and_then(|sdp| target(&sdp)).ok(),
            ack: None,
            response: None,
            invite: invite.clone(),
        });
        let ringing = self.response(invite, 180, "Ringing");
        self.respond(ringing);
        match self.manner {
            Manner::Answers(after) => self.to_answer = Some(now + after),
            Manner::Refuses(_) => self.to_answer = Some(now),
            Manner::Rings | Manner::Silent => {}
        }
    }

    fn give_answer(&mut self, now: Instant) {
        let Some(call) = &self.call else { return };
        if let Manner::Refuses(code) = self.manner {
            return self.refuse(now, code, "Refused");
        }
        let invite = call.invite.clone();
        let mut ok = self.response(&invite, 200, "OK");
        ok.headers.push(("Content-Type".into(), "application/sdp".into()));
        ok.body = self.sdp();
        self.respond(ok.clone());
        // §13.3.1.4: until the ACK comes.
        self.repeating.push(Repeating {
            message: ok,
            next: now + T1,
            pause: T1,
            cap: Some(T2),
            until: now + T1 * 64,
        });
    }

    /// A refusal is repeated by timer G until its ACK (§17.2.1).
    fn refuse(&mut self, now: Instant, code: u16, reason: &str) {
        let Some(call) = &self.call else { return };
        if call.response.as_ref().and_then(Message::status) >= Some(200) {
            return;
        }
        let invite = call.invite.clone();
        let refusal = self.response(&invite, code, reason);
        self.respond(refusal.clone());
        self.repeating.push(Repeating {
            message: refusal,
            next: now + T1,
            pause: T1,
            cap: Some(T2),
            until: now + T1 * 64,
        });
    }

    fn on_ack(&mut self, now: Instant, ack: &Message) {
        let answer = |r: &Repeating| r.message.status().is_some() && r.message.cseq().0 == ack.cseq().0;
        let Some(at) = self.repeating.iter().position(answer) else { return };
        let status = self.repeating.remove(at).message.status();
        if status < Some(300) {
            self.begin_talk(now);
        }
    }

    fn begin_talk(&mut self, now: Instant) {
        self.established = true;
        if self.talking {
            self.next_packet = Some(now);
        }
    }

    fn speak(&mut self) {
        let Some(media) = self.call.as_ref().and_then(|call| call.media) else { return };
        if self.over {
            return;
        }
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&(self.spoken as u16).to_be_bytes());
        packet.extend_from_slice(&(self.spoken * 160).to_be_bytes());
        packet.extend_from_slice(&0xc0ff_ee00u32.to_be_bytes());
        packet.extend_from_slice(&self.spoken.to_be_bytes());
        packet.resize(12 + 160, 0xff);
        self.spoken += 1;
        self.out.push_back(Datagram {
            from: SocketAddr::new(self.address.ip(), RTP_PORT),
            to: media,
            bytes: packet,
        });
    }

    fn respond(&mut self, response: Message) {
        self.send(&response);
        if let Some(call) = &mut self.call {
            call.response = Some(response);
        }
    }

    fn response(&self, request: &Message, status: u16, reason: &str) -> Message {
        let mut headers = Vec::new();
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in request.all(name) {
                let tagged = name == "To" && request.parameter("To", "tag").is_none();
                let tag = if tagged { format!(";tag={}", self.name) } else { String::new() };
                headers.push((name.to_owned(), format!("{value}{tag}")));
            }
        }
        headers.push(("Contact".to_owned(), format!("<sip:{}@{}>", self.name, self.address)));
        Message { start: format!("SIP/2.0 {status} {reason}"), headers, body: String::new() }
    }

    fn request(&mut self, method: &str, uri: &str) -> Message {
        let via = self.via();
        let headers = [
            ("Via", via),
            ("Max-Forwards", "70".into()),
            ("From", format!("<sip:{}@{DOMAIN}>;tag={}{}", self.name, self.name, self.serial)),
            ("To", format!("<{uri}>")),
            ("Call-ID", format!("{}-{}", self.name, self.serial)),
            ("CSeq", format!("1 {method}")),
            ("Contact", format!("<sip:{}@{}>", self.name, self.address)),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Message { start: format!("{method} {uri} SIP/2.0"), headers, body: String::new() }
    }

    fn in_dialog(&mut self, method: &str) -> Option<Message> {
        let via = self.via();
        let call = self.call.as_mut()?;
        if method != "ACK" {
            call.cseq += 1;
        }
        let mut headers = vec![("Via".to_owned(), via), ("Max-Forwards".to_owned(), "70".to_owned())];
        headers.extend(call.routes.iter().map(|route| ("Route".to_owned(), route.clone())));
        headers.push(("From".to_owned(), call.local.clone()));
        headers.push(("To".to_owned(), call.remote.clone()));
        headers.push(("Call-ID".to_owned(), call.invite.header("Call-ID").to_owned()));
        headers.push(("CSeq".to_owned(), format!("{} {method}", call.cseq)));
        Some(Message { start: format!("{method} {} SIP/2.0", call.target), headers, body: String::new() })
    }

    fn via(&mut self) -> String {
        self.serial += 1;
        format!("SIP/2.0/UDP {};branch=z9hG4bK{}{};rport", self.address, self.name, self.serial)
    }

    fn sdp(&self) -> String {
        let ip = self.address.ip();
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {RTP_PORT} RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
        )
    }

    fn repeat(&mut self, now: Instant, message: Message, cap: Option<Duration>) {
        self.send(&message);
        self.repeating.push(Repeating { message, next: now + T1, pause: T1, cap, until: now + T1 * 64 });
    }

    fn send(&mut self, message: &Message) {
        self.out.push_back(Datagram {
            from: self.address,
            to: PROXY,
            bytes: message.to_string().into_bytes(),
        });
    }
}

const RTP_PORT: u16 = 4000;
