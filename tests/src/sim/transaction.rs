//! The transactions of a simulated phone (RFC 3261 §17), written apart from those of the gateway, so that the two check
//! each other.

use std::time::{Duration, Instant};

use crate::sip::Message;

/// RFC 3261 §17.1.1.1.
pub const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.2.
pub const T2: Duration = Duration::from_secs(4);
/// How long anything is repeated.
pub const T1_TIMES_64: Duration = Duration::from_secs(32);
/// How long a phone lets another one ring before it no longer believes in a final response.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A request that waits for its final response, or absorbs the repetitions of one.
#[derive(Debug)]
pub struct Client {
    /// The request.
    pub request: Message,
    /// Its bytes.
    pub text: String,
    /// The ACK of a final response other than 2xx, sent again for each repetition.
    pub ack: Option<String>,
    /// Whether a provisional response came.
    pub provisional: bool,
    /// Whether a final one came.
    pub done: bool,
    repeat: Option<(Instant, Duration)>,
    deadline: Instant,
}

impl Client {
    /// A request sent at `now`.
    #[must_use]
    pub fn new(now: Instant, text: String, reliable: bool) -> Self {
        let request = Message::parse(text.as_bytes()).expect("a phone writes SIP");
        let repeat = (!reliable).then_some((now + T1, T1));
        Self {
            request,
            text,
            ack: None,
            provisional: false,
            done: false,
            repeat,
            deadline: now + T1_TIMES_64,
        }
    }

    /// Its branch.
    #[must_use]
    pub fn branch(&self) -> &str {
        self.request.parameter("Via", "branch").unwrap_or_default()
    }

    /// Whether it is an INVITE.
    #[must_use]
    pub fn is_invite(&self) -> bool {
        self.request.method() == Some("INVITE")
    }

    /// A provisional response came.
    pub fn progress(&mut self, now: Instant) {
        self.provisional = true;
        if self.is_invite() {
            self.repeat = None;
            self.deadline = now + PATIENCE;
        } else if let Some((_, interval)) = self.repeat.as_mut() {
            *interval = T2;
        }
    }

    /// A final response came.
    pub fn finish(&mut self, now: Instant) {
        self.done = true;
        self.repeat = None;
        self.deadline = now + T1_TIMES_64;
    }

    /// When it has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.repeat.map_or(self.deadline, |(at, _)| at.min(self.deadline))
    }

    /// The request, if it is to be sent again.
    pub fn repeat(&mut self, now: Instant) -> Option<String> {
        let invite = self.is_invite();
        let (at, interval) = self.repeat.as_mut()?;
        if *at > now {
            return None;
        }
        *interval = if invite { *interval * 2 } else { (*interval * 2).min(T2) };
        *at = now + *interval;
        Some(self.text.clone())
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now
    }
}

/// A request received, with its last response.
#[derive(Debug)]
pub struct Server {
    /// The request.
    pub request: Message,
    /// The last response sent.
    pub response: Option<String>,
    /// Its code; 0 before the first.
    pub code: u16,
    /// Whether the ACK of a final response to INVITE came.
    pub acknowledged: bool,
    repeat: Option<(Instant, Duration)>,
    deadline: Instant,
}

impl Server {
    /// A request that came at `now`.
    #[must_use]
    pub fn new(now: Instant, request: Message) -> Self {
        Self {
            request,
            response: None,
            code: 0,
            acknowledged: false,
            repeat: None,
            deadline: now + PATIENCE + T1_TIMES_64,
        }
    }

    /// Its branch.
    #[must_use]
    pub fn branch(&self) -> &str {
        self.request.parameter("Via", "branch").unwrap_or_default()
    }

    /// Whether it is an INVITE.
    #[must_use]
    pub fn is_invite(&self) -> bool {
        self.request.method() == Some("INVITE")
    }

    /// A response is sent. Final ones to INVITE are repeated until the ACK: a 2xx over any transport (RFC 3261 §13.3.1.4),
    /// the others over datagrams alone (§17.2.1).
    pub fn respond(&mut self, now: Instant, code: u16, text: String, reliable: bool) {
        (self.code, self.response) = (code, Some(text));
        if code >= 200 {
            self.deadline = now + T1_TIMES_64;
            let repeated = self.is_invite() && (code < 300 || !reliable);
            self.repeat = repeated.then_some((now + T1, T1));
        }
    }

    /// The ACK came.
    pub fn acknowledge(&mut self) {
        self.acknowledged = true;
        self.repeat = None;
    }

    /// When it has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.repeat.map_or(self.deadline, |(at, _)| at.min(self.deadline))
    }

    /// The response, if it is to be sent again.
    pub fn repeat(&mut self, now: Instant) -> Option<String> {
        let (at, interval) = self.repeat.as_mut()?;
        if *at > now {
            return None;
        }
        *interval = (*interval * 2).min(T2);
        *at = now + *interval;
        self.response.clone()
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now
    }
}
