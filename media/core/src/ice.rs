//! One end of ICE (RFC 8445) for one transport: the crate `is` behind a type of our own, so that it can be replaced.
//!
//! Always one component, and one local candidate per address family: the announced address of the port. Peer-reflexive candidates
//! are the normal case, since browsers hide their addresses behind `.local` names (which are passed over here).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgentEvent, IceConnectionState, IceCreds, Protocol};
use rand::{Rng, RngExt};

use crate::stun;

/// How many remote addresses one generation of credentials may bring. A peer that owns the password could otherwise
/// grow the check list without end.
const MAX_SOURCES: usize = 32;

/// Candidates taken out of one description; browsers with many interfaces send about twenty.
const MAX_REMOTE_CANDIDATES: usize = 32;

/// The candidate pairs an agent checks (RFC 8445 §6.1.2.5 allows a smaller limit than its 100).
const MAX_PAIRS: usize = 40;

/// Username fragment and password of one end (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `a=ice-ufrag`: 4 to 256 characters, no secret.
    pub ufrag: String,
    /// `a=ice-pwd`: 22 to 256 characters; never logged.
    pub pwd: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Fresh credentials: 47 bits of ufrag, 154 of password (RFC 8445 §5.3 asks for 24 and 128).
    pub fn random(rng: &mut impl Rng) -> Credentials {
        Credentials { ufrag: random_ice_chars(rng, 8), pwd: random_ice_chars(rng, 26) }
    }

    fn as_is(&self) -> IceCreds {
        IceCreds { ufrag: self.ufrag.clone(), pass: self.pwd.clone() }
    }
}

/// The states worth telling (a summary of RFC 8445 §6.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceState {
    /// Nothing is known of the peer yet, or its addresses are being tried.
    Checking,
    /// There is a valid, nominated pair.
    Connected,
    /// Every pair failed or went silent. It may come back.
    Disconnected,
}

/// What an agent has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IceEvent {
    /// Send media to this address from now on.
    Selected(SocketAddr),
    /// The state changed.
    State(IceState),
}

/// One ICE agent.
#[derive(Debug)]
pub struct IceAgent {
    inner: is::IceAgent,
    /// The announced address; the peer's checks are treated as sent to it, whatever address mapping lies between.
    local: SocketAddr,
    /// Further addresses of ours.
    locals: Vec<SocketAddr>,
    sources: Vec<SocketAddr>,
    remote: Option<Credentials>,
    /// Our password, which protects answers to checks.
    password: String,
    /// SOFTWARE of what is sent (RFC 8489 §14.14); empty for none.
    software: Arc<str>,
    state: IceState,
}

impl IceAgent {
    /// An agent with one local candidate, `local`. `lite` makes it only answer checks (RFC 8445 §2.5).
    /// Returns `None` when `local` can be no candidate (unspecified, multicast, link-local IPv4).
    pub fn new(
        credentials: &Credentials,
        local: SocketAddr,
        controlling: bool,
        lite: bool,
        tie_breaker: u64,
    ) -> Option<IceAgent> {
        let candidate = Candidate::host(local, Protocol::Udp).ok()?;
        let mut inner = is::IceAgent::new(credentials.as_is());
        inner.set_ice_lite(lite);
        inner.set_controlling(controlling);
        inner.set_control_tie_breaker(tie_breaker);
        inner.set_max_candidate_pairs(MAX_PAIRS);
        inner.add_local_candidate(candidate)?;
        Some(IceAgent {
            inner,
            local,
            locals: Vec::new(),
            sources: Vec::new(),
            remote: None,
            password: credentials.pwd.clone(),
            software: "".into(),
            state: IceState::Checking,
        })
    }

    /// Says what the software is called in every message from now on.
    pub fn with_software(mut self, software: &Arc<str>) -> IceAgent {
        self.software = Arc::clone(software);
        self
    }

    /// Adds a further address of ours, of less priority than the first.
    pub fn add_local(&mut self, local: SocketAddr) {
        if let Ok(candidate) = Candidate::host(local, Protocol::Udp) {
            let _ = self.inner.add_local_candidate(candidate);
            self.locals.push(local);
        }
    }

    /// Tells the peer's credentials and starts the checks. Credentials that differ from those before restart ICE towards
    /// it (RFC 8445 §9), which the caller has to prepare with [`IceAgent::restart`].
    pub fn set_remote_credentials(&mut self, now: Instant, remote: &Credentials) {
        if self.remote.as_ref() != Some(remote) {
            self.remote = Some(remote.clone());
            self.inner.set_remote_credentials(remote.as_is());
        }
        self.inner.handle_timeout(now);
    }

    /// The peer's credentials, once told.
    pub fn remote_credentials(&self) -> Option<&Credentials> {
        self.remote.as_ref()
    }

    /// Takes part in the role decision of RFC 8445 §6.1.1.
    pub fn set_controlling(&mut self, controlling: bool) {
        self.inner.set_controlling(controlling);
    }

    /// Adds a candidate, given as the value of an `a=candidate` line (RFC 8839 §5.1). Passed over: names instead of
    /// addresses (mDNS), components other than 1, transports other than UDP, and whatever cannot be parsed.
    pub fn add_remote_candidate(&mut self, value: &str) {
        let Ok(candidate) = Candidate::from_sdp_string(&format!("candidate:{value}")) else { return };
        if candidate.proto() != Protocol::Udp
            || self.inner.remote_candidates().count() >= MAX_REMOTE_CANDIDATES
        {
            return;
        }
        self.inner.add_remote_candidate(candidate);
    }

    /// Begins a new generation with new local credentials (RFC 8445 §9). Media may flow on over the old pair meanwhile.
    pub fn restart(&mut self, credentials: &Credentials) {
        self.inner.ice_restart(credentials.as_is(), true);
        self.remote = None;
        self.password.clone_from(&credentials.pwd);
        self.sources.clear();
    }

    /// Takes a STUN datagram; false when it is unreadable, is not meant for this agent or its integrity does not hold, in
    /// which case nothing changed.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> bool {
        let Ok(message) = StunMessage::parse(datagram) else { return false };
        if !self.inner.accepts_message(&message) {
            return false;
        }
        if !self.sources.contains(&source) {
            if self.sources.len() >= MAX_SOURCES {
                return false;
            }
            self.sources.push(source);
        }
        let same = |local: &&SocketAddr| local.is_ipv6() == source.is_ipv6();
        let destination =
            *Some(&self.local).filter(same).or(self.locals.iter().find(same)).unwrap_or(&self.local);
        let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
        self.inner.handle_packet(now, packet)
    }

    /// Whether the peer has sent an authentic check or answer from `source` in this generation of credentials.
    pub fn has_proved(&self, source: SocketAddr) -> bool {
        self.sources.contains(&source)
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
    }

    /// The next moment [`IceAgent::handle_timeout`] has something to do.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    /// The next STUN message to send and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let transmit = self.inner.poll_transmit()?;
        let datagram: Vec<u8> = transmit.contents.into();
        // A request is protected by the password of who gets it, a response by that of who sends it (RFC 8445 §7.1.2).
        let key = match stun::is_request(&datagram) {
            true => self.remote.as_ref().map(|remote| remote.pwd.as_str()),
            false => Some(self.password.as_str()),
        };
        let named = key.filter(|_| !self.software.is_empty());
        let named = named.and_then(|key| stun::with_software(&datagram, &self.software, key.as_bytes()));
        Some((transmit.destination, named.unwrap_or(datagram)))
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        while let Some(event) = self.inner.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { destination, .. } => {
                    return Some(IceEvent::Selected(destination));
                }
                IceAgentEvent::IceConnectionStateChange(state) => {
                    let state = summary(state);
                    if state != self.state {
                        self.state = state;
                        return Some(IceEvent::State(state));
                    }
                }
                IceAgentEvent::DiscoveredRecv { .. } | IceAgentEvent::IceRestart(_) => {}
            }
        }
        None
    }

    /// The state last told by [`IceEvent::State`].
    pub fn state(&self) -> IceState {
        self.state
    }

    /// Round-trip time of the last check on the selected pair.
    pub fn round_trip(&self) -> Option<Duration> {
        self.inner.nominated_pair_rtt()
    }
}

fn summary(state: IceConnectionState) -> IceState {
    match state {
        IceConnectionState::New | IceConnectionState::Checking => IceState::Checking,
        IceConnectionState::Connected | IceConnectionState::Completed => IceState::Connected,
        IceConnectionState::Disconnected => IceState::Disconnected,
    }
}

/// `len` random letters and digits, of the `ice-char` alphabet (RFC 8839 §5.4).
fn random_ice_chars(rng: &mut impl Rng, len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..len).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
