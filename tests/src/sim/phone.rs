//! A simulated phone: registers, calls, answers, holds and hangs up as RFC 3261 §8 to §13 say, and survives every loss.

mod early;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media_core::command::LegKind;
use signaling_core::flow::{ConnectionId, Protocol};

pub use self::early::Manners;
use super::audio::Audio;
use super::transaction::{Client, Server};
use super::{DOMAIN, GATEWAY};
use crate::digest;
use crate::sip::{Message, address};

/// What a phone does with an incoming call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// Rings, then answers after so long.
    Answer(Duration),
    /// Refuses after so long with this code.
    Refuse(Duration, u16),
    /// Rings until the caller gives up.
    Ring,
    /// Says nothing at all.
    Silent,
}

/// How a call ended for one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was answered, and this end hung up.
    HungUp,
    /// It was answered, and the other end hung up.
    HungUpByPeer,
    /// It was not answered: the caller sees this code, the callee has sent it.
    Refused(u16),
    /// The callee was told that the caller gave up.
    Cancelled,
    /// No final response came in time.
    TimedOut,
    /// The 200 was never acknowledged, so the callee hung up (RFC 3261 §13.3.1.4).
    NoAck,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// This end calls.
    Calling,
    /// This end is called.
    Ringing,
    /// Answered.
    Active,
}

/// The call of a phone.
#[derive(Debug)]
pub struct Call {
    /// Its Call-ID.
    pub id: String,
    /// Where it stands.
    pub phase: Phase,
    dialog: Option<Dialog>,
    /// The dialog before the answer, of the callee who rang first (RFC 3261 §12.1).
    early: Option<Dialog>,
    /// The RSeq acknowledged last (RFC 3262).
    rseq: Option<u32>,
    /// The answer that an early response has given.
    answer: Option<String>,
    /// The INVITE's branch: that of a client transaction at the caller, of a server transaction at the callee.
    branch: String,
    cancelled: bool,
    answer_at: Option<(Instant, u16)>,
    hang_up_at: Option<Instant>,
}

/// One end of a dialog (RFC 3261 §12.1).
#[derive(Debug, Clone)]
struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
}

/// When and for how long a phone registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registration {
    /// The lifetime asked for, in seconds; 0 when it does not register.
    pub expires: u32,
    /// When to do it again.
    pub refresh_at: Option<Instant>,
    /// How often it was granted.
    pub granted: usize,
    /// The last refusal other than a challenge, or 408 for none at all.
    pub refused: Option<u16>,
}

/// See the module.
#[allow(missing_debug_implementations)]
pub struct Phone {
    /// Its user name; the password is `secret-` with it.
    pub user: String,
    /// Its transport.
    pub protocol: Protocol,
    /// Where it sends SIP from.
    pub address: SocketAddr,
    /// Its stream.
    pub connection: Option<ConnectionId>,
    /// Its Contact URI.
    pub contact: String,
    /// What makes it another one than the other browsers of its user.
    pub instance: String,
    /// How much it wants to be called, for its REGISTER; empty says nothing.
    pub q: &'static str,
    /// What it does when called.
    pub callee: Callee,
    /// What it does otherwise than most.
    pub manners: Manners,
    /// Hears nothing and does nothing of its own any more.
    pub deaf: bool,
    /// Messages to send.
    pub out: Vec<String>,
    /// Its registration.
    pub registration: Registration,
    /// Its call.
    pub call: Option<Call>,
    /// Calls that are over.
    pub ends: Vec<End>,
    /// Final responses to requests that are no call: method and code, 408 when none came.
    pub answers: Vec<(String, u16)>,
    /// Requests other than INVITE, ACK, BYE and CANCEL that came to it.
    pub requests: Vec<Message>,
    /// Its ear and mouth.
    pub audio: Audio,
    clients: Vec<Client>,
    servers: Vec<Server>,
    /// ACKs of 2xx, by Call-ID, CSeq number and To.
    acks: Vec<(String, u32, String, String)>,
    tag: String,
    cseq: u32,
    sequence: u32,
}

impl Phone {
    /// A phone that does nothing yet and would answer after a second.
    #[must_use]
    pub fn new(
        user: &str,
        kind: LegKind,
        address: SocketAddr,
        connection: Option<ConnectionId>,
        seed: u64,
    ) -> Self {
        let (protocol, contact) = match kind {
            LegKind::Browser => (Protocol::Wss, format!("sip:k{user}@df7jal23ls0d.invalid;transport=ws")),
            LegKind::Legacy => (Protocol::Udp, format!("sip:{user}@{address}")),
        };
        Self {
            user: user.to_owned(),
            protocol,
            address,
            connection,
            contact,
            instance: user.to_owned(),
            q: "",
            callee: Callee::Answer(Duration::from_secs(1)),
            manners: Manners::default(),
            deaf: false,
            out: Vec::new(),
            registration: Registration::default(),
            call: None,
            ends: Vec::new(),
            answers: Vec::new(),
            requests: Vec::new(),
            audio: Audio::new(kind, SocketAddr::new(address.ip(), 4000), seed),
            clients: Vec::new(),
            servers: Vec::new(),
            acks: Vec::new(),
            tag: format!("t{seed:x}-{user}"),
            cseq: 1,
            sequence: 0,
        }
    }

    /// Registers for `expires` seconds, again at each half of it; 0 unregisters.
    pub fn register(&mut self, now: Instant, expires: u32) {
        self.registration.expires = expires;
        self.registration.refresh_at = None;
        let parameters = match self.protocol.is_websocket() {
            true => format!(";reg-id=1;+sip.instance=\"<urn:uuid:{}>\"", self.instance),
            false => String::new(),
        };
        let q = if self.q.is_empty() { String::new() } else { format!(";q={}", self.q) };
        let supported = if parameters.is_empty() { "" } else { "Supported: path,gruu,outbound\r\n" };
        let more = format!("Contact: <{}>{parameters}{q};expires={expires}\r\n{supported}", self.contact);
        let call_id = format!("reg-{}", self.user);
        let uri = format!("sip:{DOMAIN}");
        let text = self.request("REGISTER", &uri, &call_id, &more, "");
        self.start(now, text);
    }

    /// Calls `user`, and hangs up `talk` after the answer.
    pub fn invite(&mut self, now: Instant, user: &str, call_id: &str, talk: Option<Duration>) {
        assert!(self.call.is_none(), "one call at a time");
        let more = format!("Contact: <{}>\r\n{}", self.contact, self.manners.headers());
        let sdp = if self.manners.offerless { String::new() } else { self.audio.offer() };
        let text = self.request("INVITE", &format!("sip:{user}@{DOMAIN}"), call_id, &more, &sdp);
        self.call = Some(Call {
            id: call_id.to_owned(),
            phase: Phase::Calling,
            dialog: None,
            early: None,
            rseq: None,
            answer: None,
            branch: String::new(),
            cancelled: false,
            answer_at: None,
            hang_up_at: talk.map(|talk| now + talk),
        });
        let branch = self.start(now, text);
        self.call.iter_mut().for_each(|call| call.branch.clone_from(&branch));
    }

    /// Sends a request outside of any call; its final response goes to [`Phone::answers`].
    pub fn ask(&mut self, now: Instant, method: &str, user: &str, call_id: &str) {
        let text = self.request(method, &format!("sip:{user}@{DOMAIN}"), call_id, "", "");
        self.start(now, text);
    }

    /// Gives up a call that is not answered: at once after a provisional response, else with the first one
    /// (RFC 3261 §9.1).
    pub fn cancel(&mut self, now: Instant) {
        let Some(call) = self.call.as_mut().filter(|call| call.phase == Phase::Calling) else { return };
        call.cancelled = true;
        let branch = call.branch.clone();
        let invite = self.clients.iter().find(|client| client.branch() == branch && client.provisional);
        let Some(invite) = invite.filter(|invite| !invite.done) else { return };
        let known = self.clients.iter().any(|c| c.branch() == branch && c.request.method() == Some("CANCEL"));
        if !known {
            let text = of_invite("CANCEL", &invite.request, invite.request.header("To"));
            self.start(now, text);
        }
    }

    /// Hangs up.
    pub fn hang_up(&mut self, now: Instant) {
        let Some(call) = self.call.take() else { return };
        if call.phase != Phase::Active {
            self.call = Some(call);
            return self.cancel(now);
        }
        if let Some(mut dialog) = call.dialog {
            let bye = self.within(&mut dialog, "BYE", "");
            self.start(now, bye);
        }
        self.over(End::HungUp);
    }

    /// Offers `direction` anew: `sendonly` holds the call, `sendrecv` resumes it.
    pub fn reinvite(&mut self, now: Instant, direction: &'static str) {
        self.audio.direction = direction;
        let sdp = if self.manners.offerless { String::new() } else { self.audio.offer() };
        let Some(mut dialog) = self.call.as_mut().and_then(|call| call.dialog.take()) else { return };
        let text = self.within(&mut dialog, "INVITE", &sdp);
        self.call.iter_mut().for_each(|call| call.dialog = Some(dialog.clone()));
        self.start(now, text);
    }

    /// Whether its call is answered.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.phase == Phase::Active)
    }

    /// Whether a request of its own has no final response yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.clients.iter().any(|client| !client.done)
    }

    /// When [`Phone::handle_timeout`] has something to do.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let audio = self.audio.poll_timeout();
        if self.deaf {
            return None;
        }
        let clients = self.clients.iter().map(Client::poll_timeout);
        let servers = self.servers.iter().map(Server::poll_timeout);
        let answer = self.call.as_ref().and_then(|call| Some(call.answer_at?.0));
        let hang_up = self.call.as_ref().and_then(|call| call.hang_up_at);
        let own = [audio, answer, hang_up, self.registration.refresh_at];
        clients.chain(servers).chain(own.into_iter().flatten()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deaf {
            return;
        }
        self.audio.handle_timeout(now);
        if self.registration.refresh_at.is_some_and(|at| at <= now) {
            self.register(now, self.registration.expires);
        }
        if let Some((_, code)) = self.call.as_mut().and_then(|c| c.answer_at.take_if(|(at, _)| *at <= now)) {
            self.decide(now, code);
        }
        if let Some(call) = self.call.as_mut()
            && call.hang_up_at.take_if(|at| *at <= now).is_some()
        {
            self.hang_up(now);
        }
        let repeated: Vec<String> = self
            .clients
            .iter_mut()
            .filter_map(|client| client.repeat(now))
            .chain(self.servers.iter_mut().filter_map(|server| server.repeat(now)))
            .collect();
        self.out.extend(repeated);
        let (over, clients): (Vec<Client>, _) =
            std::mem::take(&mut self.clients).into_iter().partition(|client| client.is_over(now));
        self.clients = clients;
        for client in over.into_iter().filter(|client| !client.done) {
            self.unanswered(now, &client);
        }
        let (over, servers): (Vec<Server>, _) =
            std::mem::take(&mut self.servers).into_iter().partition(|server| server.is_over(now));
        self.servers = servers;
        for server in over {
            self.unacknowledged(now, &server);
        }
    }

    /// A message came.
    pub fn handle_message(&mut self, now: Instant, message: Message) {
        if self.deaf {
            return;
        }
        match message.status() {
            Some(code) => self.response(now, code, &message),
            None => self.request_came(now, message),
        }
    }

    // The caller's side.

    fn response(&mut self, now: Instant, code: u16, response: &Message) {
        let (number, method) = response.cseq();
        let branch = response.parameter("Via", "branch").unwrap_or_default();
        let same = |c: &&mut Client| c.branch() == branch && c.request.cseq().1 == method;
        let Some(client) = self.clients.iter_mut().find(same) else {
            return self.late_answer(now, code, response, number, method == "INVITE");
        };
        if code < 200 {
            client.progress(now);
            if self.call.as_ref().is_some_and(|call| call.cancelled && call.branch == branch) {
                self.cancel(now);
            } else if client.is_invite() {
                self.progressed(now, code, response);
            }
            return;
        }
        if client.done {
            let ack = client.ack.clone();
            self.out.extend(ack);
            return self.late_answer(now, code, response, number, method == "INVITE");
        }
        client.finish(now);
        let request = client.request.clone();
        if client.is_invite() && code >= 300 {
            let ack = of_invite("ACK", &request, response.header("To"));
            client.ack = Some(ack.clone());
            self.out.push(ack);
        }
        let challenged =
            request.header("Authorization").is_empty() && request.header("Proxy-Authorization").is_empty();
        if matches!(code, 401 | 407) && challenged {
            return self.authorize(now, &request, response);
        }
        self.final_response(now, code, &request, response);
    }

    /// A 2xx that no transaction waits for is acknowledged again, or ended when it is of another branch or too late
    /// (RFC 3261 §13.2.2.4).
    fn late_answer(&mut self, now: Instant, code: u16, response: &Message, number: u32, invite: bool) {
        if !invite || !(200..300).contains(&code) {
            return;
        }
        let (call_id, to) = (response.header("Call-ID"), response.header("To"));
        let known = self.acks.iter().find(|(id, cseq, tag, _)| id == call_id && *cseq == number && tag == to);
        if let Some((.., ack)) = known {
            self.out.push(ack.clone());
            return;
        }
        let mut dialog = Dialog::of_caller(response, number);
        self.acknowledge(&mut dialog, "");
        let bye = self.within(&mut dialog, "BYE", "");
        self.start(now, bye);
    }

    fn authorize(&mut self, now: Instant, request: &Message, challenge: &Message) {
        let (asked, given) = match challenge.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let (method, uri) = (request.method().unwrap_or_default(), request.uri().unwrap_or_default());
        let password = format!("secret-{}", self.user);
        let client = digest::Client { user: &self.user, password: &password, method, uri, nc: 1 };
        let value = client.answer(challenge.header(asked)).expect("a challenge that can be answered");
        let mut again = request.clone();
        let (number, branch) = (self.cseq, self.branch());
        self.cseq += 1;
        again.headers.retain(|(name, _)| name != "Via" && name != "CSeq");
        again.headers.insert(0, ("Via".to_owned(), self.via(&branch)));
        again.headers.push(("CSeq".to_owned(), format!("{number} {method}")));
        again.headers.push((given.to_owned(), value));
        let old = request.parameter("Via", "branch");
        if let Some(call) = self.call.as_mut().filter(|call| Some(call.branch.as_str()) == old) {
            call.branch.clone_from(&branch);
        }
        self.start(now, again.to_string());
    }

    fn final_response(&mut self, now: Instant, code: u16, request: &Message, response: &Message) {
        match request.method().unwrap_or_default() {
            "REGISTER" => self.registered(now, code),
            "INVITE" if code < 300 => self.answered(now, request, response),
            "INVITE" if request.parameter("To", "tag").is_none() => {
                if self.call.as_ref().is_some_and(|call| call.id == request.header("Call-ID")) {
                    self.over(End::Refused(code));
                }
            }
            method => {
                if method == "UPDATE" && code < 300 && !response.body.is_empty() {
                    self.audio.answered(now, &response.body);
                }
                self.answers.push((method.to_owned(), code));
            }
        }
    }

    fn registered(&mut self, now: Instant, code: u16) {
        if code != 200 {
            self.registration.refused = Some(code);
            return;
        }
        self.registration.granted += 1;
        let half = Duration::from_secs(u64::from(self.registration.expires / 2));
        self.registration.refresh_at = (self.registration.expires > 0).then(|| now + half);
    }

    fn answered(&mut self, now: Instant, request: &Message, response: &Message) {
        let fresh = request.parameter("To", "tag").is_none();
        let ours = self.call.as_ref().is_some_and(|call| call.id == request.header("Call-ID"));
        if fresh {
            let mut dialog = Dialog::of_caller(response, request.cseq().0);
            let answer = if ours { self.settle(now, request, response) } else { String::new() };
            self.acknowledge(&mut dialog, &answer);
            if !ours {
                let bye = self.within(&mut dialog, "BYE", "");
                self.start(now, bye);
                return;
            }
            let Some(call) = self.call.as_mut() else { return };
            // PRACK and UPDATE have numbers of their own before the answer.
            dialog.cseq = dialog.cseq.max(call.early.take().map_or(0, |early| early.cseq));
            (call.phase, call.dialog) = (Phase::Active, Some(dialog));
            if call.cancelled {
                self.hang_up(now);
            }
        } else if ours {
            let Some(mut dialog) = self.call.as_mut().and_then(|call| call.dialog.take()) else { return };
            dialog.cseq = request.cseq().0;
            let answer = self.settle(now, request, response);
            self.acknowledge(&mut dialog, &answer);
            self.call.iter_mut().for_each(|call| call.dialog = Some(dialog.clone()));
            self.answers.push(("INVITE".to_owned(), 200));
        }
    }

    fn acknowledge(&mut self, dialog: &mut Dialog, answer: &str) {
        let ack = self.within(dialog, "ACK", answer);
        self.acks.push((dialog.call_id.clone(), dialog.cseq, dialog.remote.clone(), ack.clone()));
        if self.acks.len() > 8 {
            self.acks.remove(0);
        }
        self.out.push(ack);
    }

    fn unanswered(&mut self, now: Instant, client: &Client) {
        let method = client.request.method().unwrap_or_default();
        match method {
            "REGISTER" => {
                self.registration.refused = Some(408);
                // RFC 3261 leaves the moment of another try to the phone.
                self.registration.refresh_at =
                    (self.registration.expires > 0).then(|| now + Duration::from_secs(5));
            }
            "INVITE" if client.request.parameter("To", "tag").is_none() => {
                if self.call.as_ref().is_some_and(|call| call.id == client.request.header("Call-ID")) {
                    self.over(End::TimedOut);
                }
            }
            _ => self.answers.push((method.to_owned(), 408)),
        }
    }

    // The callee's side.

    fn request_came(&mut self, now: Instant, request: Message) {
        let method = request.method().unwrap_or_default().to_owned();
        let branch = request.parameter("Via", "branch").unwrap_or_default().to_owned();
        if method == "ACK" {
            let of = |s: &&mut Server| {
                s.is_invite()
                    && s.request.header("Call-ID") == request.header("Call-ID")
                    && s.request.cseq().0 == request.cseq().0
                    && (s.code < 300 || s.branch() == branch)
            };
            if let Some(server) = self.servers.iter_mut().find(of) {
                let first = !std::mem::replace(&mut server.acknowledged, true);
                server.acknowledge();
                if first && server.code < 300 && !request.body.is_empty() {
                    self.audio.answered(now, &request.body);
                }
            }
            return;
        }
        let known = self.servers.iter().find(|s| s.branch() == branch && s.request.method() == Some(&method));
        if let Some(server) = known {
            self.out.extend(server.response.clone());
            return;
        }
        self.servers.push(Server::new(now, request.clone()));
        let at = self.servers.len() - 1;
        match method.as_str() {
            "INVITE" if request.parameter("To", "tag").is_some() => self.reoffered(now, at),
            "INVITE" => self.called(now, at),
            "CANCEL" => self.given_up(now, at),
            "BYE" => {
                let ours = self.call.as_ref().is_some_and(|call| call.id == request.header("Call-ID"));
                self.respond(now, at, if ours { 200 } else { 481 }, "");
                if ours {
                    self.over(End::HungUpByPeer);
                }
            }
            _ => {
                self.requests.push(request);
                self.asked(now, at, &method);
            }
        }
    }

    fn called(&mut self, now: Instant, at: usize) {
        if self.callee == Callee::Silent {
            self.servers.pop();
            return;
        }
        if self.call.is_some() {
            return self.respond(now, at, 486, "");
        }
        let request = &self.servers[at].request;
        let answer_at = match self.callee {
            Callee::Answer(after) => Some((now + after, 200)),
            Callee::Refuse(after, code) => Some((now + after, code)),
            Callee::Ring | Callee::Silent => None,
        };
        self.call = Some(Call {
            id: request.header("Call-ID").to_owned(),
            phase: Phase::Ringing,
            dialog: None,
            early: Some(Dialog::of_callee(request, &self.tag)),
            rseq: None,
            answer: None,
            branch: self.servers[at].branch().to_owned(),
            cancelled: false,
            answer_at,
            hang_up_at: None,
        });
        self.ring(now, at);
    }

    fn decide(&mut self, now: Instant, code: u16) {
        let Some(branch) = self.call.as_ref().map(|call| call.branch.clone()) else { return };
        let Some(at) = self.servers.iter().position(|s| s.is_invite() && s.branch() == branch) else {
            return;
        };
        if code >= 300 {
            self.respond(now, at, code, "");
            return self.over(End::Refused(code));
        }
        let answer = match self.call.as_mut().and_then(|call| call.answer.take()) {
            Some(answer) => answer,
            None => self.describe_in_response(now, at),
        };
        self.respond(now, at, code, &answer);
        if let Some(call) = self.call.as_mut() {
            (call.phase, call.dialog) = (Phase::Active, call.early.take());
        }
    }

    fn reoffered(&mut self, now: Instant, at: usize) {
        let request = self.servers[at].request.clone();
        let ours = self.call.as_ref().is_some_and(|call| call.id == request.header("Call-ID"));
        if !ours {
            return self.respond(now, at, 481, "");
        }
        if self.is_offering() {
            return self.respond(now, at, 491, "");
        }
        if self.manners.refuses > 0 {
            return self.respond(now, at, self.manners.refuses, "");
        }
        let answer = self.describe_in_response(now, at);
        self.respond(now, at, 200, &answer);
    }

    fn given_up(&mut self, now: Instant, at: usize) {
        let branch = self.servers[at].branch().to_owned();
        let invite = self.servers.iter().position(|s| s.is_invite() && s.branch() == branch);
        self.respond(now, at, if invite.is_some() { 200 } else { 481 }, "");
        if let Some(invite) = invite.filter(|at| self.servers[*at].code < 200) {
            self.respond(now, invite, 487, "");
            self.over(End::Cancelled);
        }
    }

    /// The deadline of a server transaction passed.
    fn unacknowledged(&mut self, now: Instant, server: &Server) {
        if !server.is_invite() || server.acknowledged || !(200..300).contains(&server.code) {
            return;
        }
        let ours = |call: &&mut Call| call.id == server.request.header("Call-ID");
        if let Some(mut dialog) = self.call.as_mut().filter(ours).and_then(|call| call.dialog.take()) {
            let bye = self.within(&mut dialog, "BYE", "");
            self.start(now, bye);
            self.over(End::NoAck);
        }
    }

    fn respond(&mut self, now: Instant, at: usize, code: u16, body: &str) {
        let request = &self.servers[at].request;
        let mut text = format!("SIP/2.0 {code} Because\r\n");
        for name in ["Via", "Record-Route"] {
            for value in request.all(name) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let to = request.header("To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={}", self.tag) };
        let _ = write!(
            text,
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <{}>\r\n{}",
            request.header("From"),
            request.header("Call-ID"),
            request.header("CSeq"),
            self.contact,
            end_of(body),
        );
        let reliable = self.protocol.is_reliable();
        self.servers[at].respond(now, code, text.clone(), reliable);
        self.out.push(text);
    }

    fn over(&mut self, end: End) {
        self.call = None;
        self.ends.push(end);
        self.audio.hang_up();
    }

    // Requests.

    fn start(&mut self, now: Instant, text: String) -> String {
        let client = Client::new(now, text.clone(), self.protocol.is_reliable());
        let branch = client.branch().to_owned();
        self.clients.push(client);
        self.out.push(text);
        branch
    }

    fn branch(&mut self) -> String {
        self.sequence += 1;
        format!("z9hG4bK{}x{}", self.tag, self.sequence)
    }

    fn via(&self, branch: &str) -> String {
        match self.protocol.is_websocket() {
            true => format!("SIP/2.0/{} df7jal23ls0d.invalid;branch={branch}", self.protocol),
            false => format!("SIP/2.0/{} {};branch={branch}", self.protocol, self.address),
        }
    }

    fn request(&mut self, method: &str, uri: &str, call_id: &str, more: &str, body: &str) -> String {
        let (branch, cseq) = (self.branch(), self.cseq);
        self.cseq += 1;
        let own = format!("sip:{}@{DOMAIN}", self.user);
        let to = if method == "REGISTER" { &own } else { uri };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nTo: <{to}>\r\nFrom: <{own}>;tag={}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}{}",
            self.via(&branch),
            self.tag,
            end_of(body)
        )
    }

    fn within(&mut self, dialog: &mut Dialog, method: &str, body: &str) -> String {
        self.within_with(dialog, method, "", body)
    }

    fn within_with(&mut self, dialog: &mut Dialog, method: &str, more: &str, body: &str) -> String {
        if method != "ACK" {
            dialog.cseq += 1;
        }
        let branch = self.branch();
        let routes: String = dialog.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        format!(
            "{method} {} SIP/2.0\r\nVia: {}\r\n{routes}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {} {method}\r\nContact: <{}>\r\n{more}{}",
            dialog.target,
            self.via(&branch),
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.cseq,
            self.contact,
            end_of(body)
        )
    }
}

impl Dialog {
    fn of_caller(response: &Message, cseq: u32) -> Self {
        let mut routes = record_routes(response);
        routes.reverse();
        Self {
            call_id: response.header("Call-ID").to_owned(),
            local: response.header("From").to_owned(),
            remote: response.header("To").to_owned(),
            target: address(response.header("Contact")).to_owned(),
            routes,
            cseq,
        }
    }

    fn of_callee(request: &Message, tag: &str) -> Self {
        Self {
            call_id: request.header("Call-ID").to_owned(),
            local: format!("{};tag={tag}", request.header("To")),
            remote: request.header("From").to_owned(),
            target: address(request.header("Contact")).to_owned(),
            routes: record_routes(request),
            cseq: 1000,
        }
    }
}

fn record_routes(message: &Message) -> Vec<String> {
    message
        .all("Record-Route")
        .flat_map(|line| line.split(',').map(|route| route.trim().to_owned()))
        .collect()
}

/// The ACK of a final response other than 2xx (RFC 3261 §17.1.1.3), or a CANCEL (§9.1).
fn of_invite(method: &str, invite: &Message, to: &str) -> String {
    format!(
        "{method} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n\
         Content-Length: 0\r\n\r\n",
        invite.uri().unwrap_or_default(),
        invite.header("Via"),
        invite.header("From"),
        invite.header("Call-ID"),
        invite.cseq().0
    )
}

/// The last header fields and the body.
fn end_of(body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Where a phone's `protocol` reaches the proxy.
#[must_use]
pub fn proxy_address(protocol: Protocol) -> SocketAddr {
    let port = if protocol.is_websocket() { 8443 } else { 5060 };
    SocketAddr::new(GATEWAY, port)
}
