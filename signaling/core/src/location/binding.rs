//! One contact of an address of record.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Gone;
use crate::event::Expiry;
use crate::flow::{ConnectionId, Destination, Flow, Protocol};
use crate::message::{Uri, Values};
use crate::outside::StoredBinding;
use crate::settings::MatchingMode;

/// One contact of an address of record.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// What is kept over a restart.
    pub stored: Arc<StoredBinding>,
    /// The connection of the REGISTER; `None` for datagrams, for one loaded from the store, and when it is gone.
    pub(super) connection: Option<ConnectionId>,
    /// Its connection is gone, and it ends at this second (since 1970) unless its owner comes back.
    held_until: Option<NonZeroU32>,
    /// When it was heard of last, by a REGISTER or the answer to a keep-alive, in seconds since 1970.
    heard_at: u32,
    /// See [`StoredBinding::is_nated`].
    nated: bool,
}

/// One end of a call, as far as the table is concerned: see [`super::Location::flow_of`].
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its `+sip.instance`; empty when it is not known.
    pub instance: &'a str,
    /// Its Contact URI, which counts when there is no instance.
    pub contact: &'a str,
    /// The flow over which it was heard.
    pub flow: Option<Flow>,
}

impl Peer<'_> {
    /// Whether `binding` is one of its. Another instance of the same user is another one, whatever its Contact.
    pub(super) fn owns(&self, binding: &StoredBinding) -> bool {
        if self.instance.is_empty() {
            same_contact(binding.contact(), self.contact)
        } else {
            binding.instance().eq_ignore_ascii_case(self.instance)
        }
    }
}

impl Binding {
    /// A binding that was registered over `connection`, or loaded, at `unix_now`.
    #[must_use]
    pub fn new(stored: Arc<StoredBinding>, connection: Option<ConnectionId>, unix_now: u64) -> Self {
        let nated = stored.is_nated();
        Self { stored, connection, held_until: None, heard_at: second(unix_now), nated }
    }

    /// A binding that takes the place of `old`, registered over `connection`.
    pub(super) fn in_place_of(
        old: &Self,
        stored: Arc<StoredBinding>,
        connection: Option<ConnectionId>,
        unix_now: u64,
    ) -> Self {
        let (was, is) = (&old.stored, &stored);
        let unmoved = was.contact() == is.contact()
            && was.received() == is.received()
            && was.protocol() == is.protocol();
        let nated = if unmoved { old.nated } else { is.is_nated() };
        Self { stored, connection, held_until: None, heard_at: second(unix_now), nated }
    }

    /// The same with what is stored of it now.
    pub(super) fn renewed(self, stored: Arc<StoredBinding>) -> Self {
        let nated = stored.is_nated();
        Self { stored, nated, ..self }
    }

    /// The flow of the REGISTER while it can still be used.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        let stored = &*self.stored;
        // The flow of a REGISTER that came through other proxies is theirs.
        if !stored.path().is_empty() {
            return None;
        }
        let (protocol, local, remote) = (stored.protocol(), stored.local()?, stored.received());
        let flow = Flow { protocol, local, remote, connection: self.connection };
        (protocol == Protocol::Udp || flow.connection.is_some()).then_some(flow)
    }

    /// Where to send: over the flow of the REGISTER, else for a phone to the address it came from. `None` when only a
    /// connection that is gone led there, and when the Contact has to be dialled (TCP, TLS).
    #[must_use]
    pub fn destination(&self) -> Option<Destination> {
        if let Some(flow) = self.flow() {
            return Some(Destination::Flow(flow));
        }
        let remote = self.stored.received();
        let datagrams = self.stored.protocol() == Protocol::Udp;
        datagrams.then_some(Destination::Address { protocol: Protocol::Udp, remote })
    }

    /// Whether it cannot be reached because its connection is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.connection.is_none() && self.stored.path().is_empty() && !self.stored.can_be_dialled()
    }

    /// Whether its flow is one that a peer behind a NAT has opened.
    #[must_use]
    pub fn is_nated(&self) -> bool {
        self.nated
    }

    /// When it was heard of last, by a REGISTER or the answer to a keep-alive, in seconds since 1970.
    #[must_use]
    pub fn heard_at(&self) -> u64 {
        self.heard_at.into()
    }

    /// Its connection, as long as that is open.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Whether nothing was heard of it for `seconds`.
    pub(super) fn is_silent(&self, seconds: u64, unix_now: u64) -> bool {
        unix_now.saturating_sub(self.heard_at.into()) > seconds
    }

    /// It has said something.
    pub(super) fn hear(&mut self, unix_now: u64) {
        self.heard_at = second(unix_now);
    }

    /// Its connection is gone: it waits for its owner until `until`.
    pub(super) fn hold(&mut self, until: u64) {
        self.held_until = NonZeroU32::new(second(until));
    }

    /// When it ends, in seconds since 1970.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        let held_until = self.held_until.map_or(u64::MAX, |until| until.get().into());
        self.stored.expires_at().min(held_until)
    }

    pub(super) fn gone(self, aor: &Arc<str>, unix_now: u64) -> Gone {
        let cause =
            if self.stored.expires_at() <= unix_now { Expiry::TimedOut } else { Expiry::ConnectionLost };
        Gone { aor: Arc::clone(aor), stored: self.stored, cause, held: false, connection: self.connection }
    }
}

impl StoredBinding {
    /// Whether a REGISTER with `other` renews this binding: the same instance and reg-id (RFC 5626 §6), else what `mode`
    /// says.
    #[must_use]
    pub fn names_same_contact(&self, other: &Self, mode: MatchingMode) -> bool {
        let call_id = || self.call_id() == other.call_id();
        let contact = || same_contact(self.contact(), other.contact());
        if !self.instance().is_empty() && !other.instance().is_empty() {
            // Two contacts without reg-id in one request are two, although RFC 5626 names them alike.
            let named_alike = self.reg_id() != 0 || !(call_id() && self.cseq() == other.cseq());
            return self.instance().eq_ignore_ascii_case(other.instance())
                && self.reg_id() == other.reg_id()
                && (named_alike || contact());
        }
        match mode {
            MatchingMode::Contact => contact(),
            MatchingMode::ContactCallId => call_id() && contact(),
            MatchingMode::ContactPath => self.path() == other.path() && contact(),
            MatchingMode::CallId => call_id(),
        }
    }

    /// Whether its Contact leads there without the flow of the REGISTER: not to a browser, nor behind a NAT.
    #[must_use]
    pub fn can_be_dialled(&self) -> bool {
        match self.protocol() {
            Protocol::Udp => true,
            Protocol::Ws | Protocol::Wss => false,
            Protocol::Tcp | Protocol::Tls => {
                let host = Uri::parse(self.contact()).ok().map(|uri| uri.host_ip());
                host.is_some_and(|host| host.is_none_or(|host| host == self.received().ip()))
            }
        }
    }

    /// Whether it was seen elsewhere than its Contact says.
    #[must_use]
    pub fn is_nated(&self) -> bool {
        let Ok(uri) = Uri::parse(self.contact()) else { return true };
        let port = uri.port().unwrap_or(if self.protocol() == Protocol::Tls { 5061 } else { 5060 });
        let elsewhere = |host| host != self.received().ip() || port != self.received().port();
        self.protocol().is_websocket() || uri.host_ip().is_some_and(elsewhere)
    }

    /// Kamailio's `received`: a SIP URI of where it was seen.
    #[must_use]
    pub fn received_uri(&self) -> String {
        match self.protocol() {
            Protocol::Udp => format!("sip:{}", self.received()),
            // A URI knows no `wss` (RFC 7118 §5.4).
            Protocol::Ws | Protocol::Wss => format!("sip:{};transport=ws", self.received()),
            Protocol::Tcp => format!("sip:{};transport=tcp", self.received()),
            Protocol::Tls => format!("sip:{};transport=tls", self.received()),
        }
    }

    /// The Path as Route values, topmost first.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        let values = Values::new(self.path().as_bytes(), true);
        values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }
}

/// Whether two Contact URIs are one (RFC 3261 §10.3 step 7, §19.1.4). A parameter that only one of them has does not part
/// them: JsSIP says `;ob` in the Contact of a call and not in that of its REGISTER.
fn same_contact(a: &str, b: &str) -> bool {
    a == b || Uri::parse(a).is_ok_and(|a| Uri::parse(b).is_ok_and(|b| a.is_equivalent(&b)))
}

/// A second since 1970, of which there are enough until 2106.
fn second(unix: u64) -> u32 {
    u32::try_from(unix).unwrap_or(u32::MAX)
}
