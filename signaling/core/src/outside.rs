//! The doors: every trait through which the core asks the world. One page.
//!
//! Futures are `?Send`: a signaling worker is one thread, and a request's route is a local task there.

mod stored_binding;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

pub use self::stored_binding::{BindingRow, SharedText, StoredBinding};
use crate::digest::{self, HashFunction};
use crate::flow::Protocol;
pub use crate::settings::Keys;
use crate::tables::Tables;
use crate::topology::topos::HiddenEnd;

/// What the world offers to one worker.
#[allow(missing_debug_implementations)]
pub struct Outside {
    /// Accounts and persistent registrations.
    pub store: Box<dyn Store>,
    /// The media relay, ours or any that speaks ng.
    pub media: Box<dyn MediaControl>,
    /// Names to addresses.
    pub resolver: Box<dyn Resolver>,
}

/// Why a door stayed shut. The text is for the log, never for the wire.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Accounts and registrations at rest.
pub trait Store {
    /// The account of `username` in `domain`; `None` when there is none.
    fn account<'a>(
        &'a self,
        username: &'a str,
        domain: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Arc<Account>>, Unavailable>>;

    /// What requests are routed by now. Asked of each of them, so that it is not waited for.
    fn tables(&self) -> Arc<Tables> {
        Arc::default()
    }

    /// Keeps the bindings of one address of record in place of those kept before. An empty `bindings` forgets it.
    /// Returns once the row is durable, so that a 200 to REGISTER is a promise kept over a restart; or when the store does not
    /// answer at all and keeps it for later.
    fn save_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>>;

    /// The same where nothing has changed since these bindings were saved last but when some of them end, and by which request they
    /// were renewed: what nearly every REGISTER does. A store need write no more than that.
    fn renew_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        self.save_bindings(aor, bindings)
    }

    /// A user of whom there need be no account has registered: he is known from now on.
    fn note_user(&self, aor: &str) {
        let _ = aor;
    }

    /// Whether [`Store::note_user`] was told of this one, be it by a process before this one.
    fn is_known_user(&self, aor: &str) -> bool {
        let _ = aor;
        false
    }

    /// Keeps an end of a dialog that is hidden from the other one, in place of what was kept under its name. It is not waited for:
    /// what is lost is the way there after a restart.
    fn save_hidden(&self, end: HiddenEnd) {
        let _ = end;
    }

    /// Forgets those with these names, unless somebody else has kept them longer than until the time beside each.
    fn forget_hidden(&self, names: Vec<(String, u64)>) {
        let _ = names;
    }

    /// All ends of the dialog to which the one with this name belongs, by whomever they were kept. Empty when there is none.
    fn hidden<'a>(&'a self, uuid: &'a str) -> LocalBoxFuture<'a, Result<Vec<HiddenEnd>, Unavailable>> {
        let _ = uuid;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Whether others change the bindings too, so that [`Store::bindings`] is asked before each use of them (mode 3 of Kamailio's
    /// `db_mode`).
    fn shares_bindings(&self) -> bool {
        false
    }

    /// The bindings of one address of record as they are kept now; `None` when those that were saved last are still on their way.
    fn bindings<'a>(
        &'a self,
        aor: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<StoredBinding>>, Unavailable>> {
        let _ = aor;
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What authentication needs to know of a user. Never logged.
#[derive(Clone)]
pub struct Account {
    /// The user part of the address of record.
    pub username: String,
    /// Its domain, which is also the digest realm.
    pub domain: String,
    /// Lower-case hexadecimal MD5 of `username:realm:password` (RFC 7616 §3.4.2), Kamailio's `ha1` column.
    pub ha1: String,
    /// The same by SHA-256; empty for an account that another program made.
    pub ha1_sha256: String,
    /// The same by SHA-512/256; empty likewise.
    pub ha1_sha512_256: String,
}

impl Account {
    /// The account of whoever knows `password`.
    #[must_use]
    pub fn of_password(username: &str, domain: &str, password: &str) -> Self {
        let ha1 = |hash| digest::ha1(hash, username, domain, password);
        Self {
            username: username.to_owned(),
            domain: domain.to_owned(),
            ha1: ha1(HashFunction::Md5),
            ha1_sha256: ha1(HashFunction::Sha256),
            ha1_sha512_256: ha1(HashFunction::Sha512_256),
        }
    }

    /// The hash that proofs made with `hash` are checked by; `None` when it was never stored.
    #[must_use]
    pub fn ha1_by(&self, hash: HashFunction) -> Option<&str> {
        let ha1 = match hash {
            HashFunction::Md5 => &self.ha1,
            HashFunction::Sha256 => &self.ha1_sha256,
            HashFunction::Sha512_256 => &self.ha1_sha512_256,
        };
        (ha1.len() == hash.hex_len()).then_some(ha1.as_str())
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("username", &self.username)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// What of a URI says where its server is (RFC 3263 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// RFC 3263's TARGET: the `maddr` parameter, else the host. Lower case, never a literal address, never under `.invalid`.
    pub target: &'a str,
    /// The port that the URI names. With it, no SRV is asked for.
    pub port: Option<u16>,
    /// The transport that the URI names; a secure URI names TLS where it says TCP.
    pub transport: Option<Protocol>,
    /// Whether it is a `sips` URI: only TLS will do.
    pub secure: bool,
}

/// Names to addresses (RFC 3263).
pub trait Resolver {
    /// Where the server is, best first: the later ones are for when the earlier ones fail (RFC 3263 §4.3). Only transports
    /// and address families that this process has listeners for.
    fn resolve<'a>(
        &'a self,
        lookup: Lookup<'a>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>>;

    /// Our address on the way to `remote`, as the routing table has it: what Via, Record-Route and SDP say when a
    /// listener is bound to a wildcard and the peer has not reached us first. `None` when it is not known.
    fn local_address(&self, remote: IpAddr) -> Option<IpAddr> {
        let _ = remote;
        None
    }

    /// The country that an address is registered in, by its code (ISO 3166-1 alpha-2, upper case). `None` when it is not known.
    /// Asked before a request is looked at any further, so that it is not waited for.
    fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        let _ = address;
        None
    }
}

/// What kind of endpoint a leg is; it follows from its transport and its SDP, never from a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegKind {
    /// ICE, DTLS-SRTP, rtcp-mux, BUNDLE: a WebRTC browser.
    Browser,
    /// Plain RTP/AVP with its own RTCP port.
    Legacy,
}

/// One end of a call as the relay sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLeg {
    /// What it is.
    pub kind: LegKind,
    /// Our address on the interface by which this end is reached: what the SDP sent to it announces.
    pub local: IpAddr,
    /// Where its signalling comes from.
    pub signalling_source: Option<IpAddr>,
    /// How it has keys.
    pub keys: Keys,
}

/// An SDP offer or answer on its way through.
#[derive(Debug, Clone)]
pub struct MediaExchange {
    /// Call-ID of the dialog.
    pub call_id: String,
    /// Tag of the end that makes the *offer* of this exchange.
    pub offerer_tag: String,
    /// Tag of the end that answers, once it is known.
    pub answerer_tag: Option<String>,
    /// Names the branch of a forked INVITE. Each branch has its own ports and credentials towards its callee, while
    /// the caller sees one and the same answer. The same value in offer and answer; `None` in dialogs.
    pub branch: Option<String>,
    /// The end from which `sdp` comes.
    pub from: MediaLeg,
    /// The end to which the reply's SDP goes.
    pub to: MediaLeg,
    /// The SDP as received.
    pub sdp: Bytes,
}

/// What the relay refused, and in whose words.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MediaError {
    /// The SDP cannot be used: 488 to its sender.
    #[error("SDP refused: {0}")]
    NotAcceptable(String),
    /// The relay is full: 503 with Retry-After.
    #[error("relay is full: {0}")]
    Full(String),
    /// No relay answers: 503 with Retry-After.
    #[error("{0}")]
    NoRelay(String),
    /// The relay knows no such call, or cannot do what it should: 500.
    #[error("relay unavailable: {0}")]
    Unavailable(String),
}

/// The media relay.
pub trait MediaControl {
    /// Takes an offer, opens what it needs, and returns the SDP for the other end.
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>>;

    /// Takes the answer of an earlier offer and returns the SDP for the offerer.
    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>>;

    /// Says what is in `file`, a path at the relay, to the end with this tag: once, or until it is stopped. The end then hears
    /// nothing else. What cannot be played is for the log; the call goes on. Replies are not waited for.
    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool);

    /// As [`MediaControl::play`], once; how long it takes.
    fn announce<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>>;

    /// Stops what is played to an end.
    fn stop(&self, call_id: &str, tag: &str);

    /// Presses a key in place of the end with this tag: whoever it talks to hears it, as that end hears keys in media. `code` is the
    /// event number of RFC 4733 §3.2, 0 to 15.
    fn press<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        code: u8,
        duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>>;

    /// Records a call from now on to its end.
    fn record(&self, call_id: &str, from_tag: &str);

    /// Ends a whole call (`branch` is `None`) or one branch of it. An unknown call is no error. Replies are not waited for.
    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>);
}
