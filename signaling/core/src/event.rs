//! What happened: for the log, and later for metrics and call records. No secret is ever in here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::flow::Protocol;
use crate::profiles::Seat;
use crate::secfilter::Kind;
use crate::token::Invalid;
use crate::tolls::Reached;

/// Something a person may want to know about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A contact was bound, or its binding renewed.
    Registered {
        /// `user@domain`.
        aor: String,
        /// The Contact URI as registered.
        contact: String,
        /// The transport of the REGISTER.
        transport: Protocol,
        /// Where it came from.
        source: SocketAddr,
        /// Lifetime granted, in seconds.
        expires: u32,
        /// Whether it was bound before.
        renewed: bool,
    },
    /// A contact was removed by its owner.
    Unregistered {
        /// `user@domain`.
        aor: String,
        /// The Contact URI as registered.
        contact: String,
        /// The transport of the REGISTER.
        transport: Protocol,
        /// Where it came from.
        source: SocketAddr,
    },
    /// A binding has ended without being removed by its owner (Kamailio's `usrloc:contact-expired`).
    Expired {
        /// `user@domain`.
        aor: String,
        /// The Contact URI as registered.
        contact: String,
        /// The transport of the REGISTER.
        transport: Protocol,
        /// Where it came from.
        source: SocketAddr,
        /// Why.
        cause: Expiry,
    },
    /// A contact cannot be reached, for its connection was lost; its binding is held for a while.
    Held {
        /// `user@domain`.
        aor: String,
        /// The Contact URI as registered.
        contact: String,
        /// The transport of the REGISTER.
        transport: Protocol,
        /// Where it came from.
        source: SocketAddr,
    },
    /// Credentials were wrong, or those of somebody else.
    AuthFailed {
        /// Where the request came from.
        source: SocketAddr,
        /// The transport.
        transport: Protocol,
        /// The user name tried.
        user: String,
        /// The request's method.
        method: String,
        /// Its Call-ID.
        call_id: String,
        /// What was wrong.
        reason: AuthFailure,
    },
    /// A request was refused for being malformed or not wanted.
    Refused {
        /// Where it came from.
        source: SocketAddr,
        /// Its method.
        method: String,
        /// Its Call-ID, when it could be read.
        call_id: String,
        /// The reply's code.
        code: u16,
        /// The reply's reason phrase.
        reason: String,
    },
    /// A request was refused that is no proper one.
    Malformed {
        /// Where it came from.
        source: SocketAddr,
        /// Its method.
        method: String,
        /// Its Call-ID.
        call_id: String,
        /// The reply's code.
        code: u16,
        /// What is wrong with it.
        what: String,
    },
    /// A request was dropped without a word.
    Dropped {
        /// Where it came from.
        source: SocketAddr,
        /// Its method.
        method: String,
        /// Its Call-ID, when it could be read.
        call_id: String,
        /// Why.
        why: Hostility,
        /// The value that tells it, cut to 128 bytes.
        value: String,
    },
    /// A call was let through to its callee's contacts.
    CallInvited {
        /// Call-ID of the dialog.
        call_id: String,
        /// The caller's address, without scheme and parameters.
        from: String,
        /// The address called.
        to: String,
        /// Where the INVITE came from.
        source: SocketAddr,
        /// How many contacts are rung.
        branches: usize,
        /// The same for accounting.
        parties: Arc<Parties>,
        /// Seconds since 1970.
        at: u64,
    },
    /// The first contact rings.
    CallRinging {
        /// Call-ID of the dialog.
        call_id: String,
        /// 180 or 183.
        code: u16,
    },
    /// A contact answered.
    CallAnswered {
        /// Call-ID of the dialog.
        call_id: String,
        /// From the INVITE to the 200.
        after: Duration,
        /// Who calls whom.
        parties: Arc<Parties>,
        /// Who has answered.
        answerer: Answerer,
        /// Seconds since 1970.
        at: u64,
    },
    /// A call goes on through another relay.
    CallReanchored {
        /// Call-ID of the dialog.
        call_id: String,
    },
    /// The ACK of an answered call has not come, or not arrived: its callee hangs up 64·T1 after the 200, 32 s
    /// (RFC 3261 §13.3.1.4).
    Unacknowledged {
        /// Call-ID of the dialog.
        call_id: String,
        /// The caller's address.
        from: String,
        /// The address called.
        to: String,
        /// Since the 200.
        after: Duration,
        /// What is known of the cause.
        what: String,
    },
    /// A call, or a subscription, goes to the voicemail server.
    CallDiverted {
        /// Call-ID of the dialog.
        call_id: String,
        /// The user called.
        aor: String,
        /// Why he has not taken it.
        why: Untaken,
    },
    /// An answered call is over.
    CallEnded(CallRecord),
    /// A call was not answered.
    CallFailed {
        /// Call-ID of the dialog.
        call_id: String,
        /// The caller's address.
        from: String,
        /// The address called.
        to: String,
        /// The final reply's code: 487 when the caller gave up.
        code: u16,
        /// Its reason phrase.
        reason: String,
        /// Who calls whom.
        parties: Arc<Parties>,
        /// The To tag of that reply.
        to_tag: String,
        /// Seconds since 1970 at the INVITE.
        started_at: u64,
        /// The same at the final reply.
        at: u64,
    },
    /// A source has sent more than a phone does, and is not listened to for a while (Kamailio's pike).
    Flooded {
        /// It, by its last message.
        source: SocketAddr,
        /// The first word of that, which it has chosen; empty for what is no SIP.
        method: String,
        /// For how long.
        ban: Duration,
    },
    /// A user who has proved who he is has sent more than he may: the rest of the sampling period nothing is heard of him.
    UserFlooded {
        /// Where his last message came from.
        source: SocketAddr,
        /// The first word of that.
        method: String,
        /// `user@domain`.
        user: String,
    },
    /// A call or a message was refused for what it was for.
    Barred {
        /// Where it came from.
        source: SocketAddr,
        /// Its method.
        method: String,
        /// Its Call-ID.
        call_id: String,
        /// The address of record of its sender; empty for one that need not say.
        user: String,
        /// What was called.
        number: String,
        /// Why.
        why: Barred,
    },
    /// A user, or all of them at a gateway, may have no more of the telephone network for today: a call was refused, or ended.
    TollReached {
        /// Its Call-ID.
        call_id: String,
        /// Where it came from; `None` for one that went on, and was ended.
        source: Option<SocketAddr>,
        /// Whose limit it is.
        seat: Seat,
        /// Of what.
        reached: Reached,
    },
    /// Messages wait too long for this worker, or its requests for the store: from now on it refuses new ones with 503.
    Overloaded {
        /// Requests that wait for the store, a name server or the relay.
        pending: usize,
    },
    /// It serves all requests again.
    OverloadEnded {
        /// Requests refused meanwhile.
        refused: u64,
    },
    /// A relay does not answer, and is left alone for a while.
    RelayDown {
        /// As the configuration names it.
        relay: String,
    },
    /// It answers again.
    RelayUp {
        /// As the configuration names it.
        relay: String,
    },
    /// A door of [`crate::outside`] did not open.
    OutsideFailed {
        /// Call-ID of the request that needed it.
        call_id: String,
        /// What was asked, and the answer.
        what: String,
    },
}

/// What a request comes from that is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostility {
    /// A program that looks for open servers, by its User-Agent.
    Scanner,
    /// Somebody who tries SQL in a header.
    SqlInjection,
    /// Somebody, or something, that is on a list.
    Listed(Kind),
}

/// Why a number may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// It is on the list of destinations.
    Listed,
    /// It costs much, or is known for fraud.
    Premium,
}

impl Barred {
    /// Words for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Premium => "premium",
        }
    }
}

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untaken {
    /// No contact is registered, or none can be reached.
    Offline,
    /// Every contact is busy.
    Busy,
    /// Nobody has answered in time.
    NoAnswer,
}

impl Untaken {
    /// Words for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Busy => "busy",
            Self::NoAnswer => "no answer",
        }
    }
}

/// Why a binding ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It was not renewed in time.
    TimedOut,
    /// The connection that was the only way to it closed.
    ConnectionLost,
    /// The same instance has registered another Contact in its place.
    Replaced,
    /// It has answered no keep-alive for too long.
    Unanswered,
    /// An operator has removed it.
    Removed,
}

impl Expiry {
    /// Words for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "not renewed in time",
            Self::ConnectionLost => "connection lost",
            Self::Replaced => "replaced",
            Self::Unanswered => "keep-alive not answered",
            Self::Removed => "removed by command",
        }
    }
}

/// What was wrong with the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No such account.
    UnknownUser,
    /// The response does not fit the password.
    WrongPassword,
    /// Good credentials, but of another user than From or To says.
    UserMismatch,
    /// The header cannot be used: unknown algorithm, realm, nonce of somebody else, missing parts.
    Malformed,
    /// The nonce count went backwards: somebody repeats an old request.
    Replayed,
    /// There were too many wrong ones for this user, or from there: from now on none is looked at.
    BlockedNow,
    /// The same since before.
    Blocked,
    /// The time of the credentials is over.
    Ended,
    /// A token proves nothing.
    Token(Invalid),
}

impl AuthFailure {
    /// Words for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "no such user",
            Self::WrongPassword => "wrong password",
            Self::UserMismatch => "credentials of another user",
            Self::Malformed => "unusable credentials",
            Self::Replayed => "replayed credentials",
            Self::BlockedNow => "blocked from now on",
            Self::Blocked => "blocked",
            Self::Ended => "credentials that have ended",
            Self::Token(invalid) => invalid.as_str(),
        }
    }
}

/// Who calls whom, as it was at the INVITE: what Kamailio's `acc` writes of every call with the `db_extra` of the articles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parties {
    /// Tag of the caller.
    pub from_tag: String,
    /// User of the From URI (`$fU`).
    pub src_user: String,
    /// Its host (`$fd`).
    pub src_domain: String,
    /// Where the INVITE came from (`$si`).
    pub src_ip: IpAddr,
    /// User of the To URI: what was dialled (`$tU`).
    pub dst_ouser: String,
    /// User of the Request-URI as it was routed, aliases replaced, and before a contact took its place (`$rU`).
    pub dst_user: String,
    /// Its host (`$rd`).
    pub dst_domain: String,
    /// Whether it rang at contacts of a user of ours: when he does not answer, he has missed it.
    pub to_user: bool,
}

/// Who has answered a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answerer {
    /// His tag.
    pub to_tag: String,
    /// Where his signalling comes from, if that is known.
    pub dst_ip: Option<IpAddr>,
}

/// An answered call, looked back upon: what a CDR is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Call-ID of the dialog.
    pub call_id: String,
    /// The caller's address.
    pub from: String,
    /// The address called.
    pub to: String,
    /// Seconds since 1970 at the INVITE.
    pub started_at: u64,
    /// Seconds since 1970 at the 200.
    pub answered_at: u64,
    /// From the 200 to the end.
    pub duration: Duration,
    /// How it ended.
    pub cause: EndCause,
    /// Who called whom.
    pub parties: Arc<Parties>,
    /// Who had answered.
    pub answerer: Answerer,
}

/// How an answered call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// The caller hung up.
    CallerBye,
    /// The callee hung up.
    CalleeBye,
    /// A browser's connection was lost, and it did not come back.
    ConnectionLost,
    /// The gateway stops.
    Shutdown,
    /// The relay has heard nothing from either end for too long.
    MediaTimeout,
    /// Nobody refreshed the session (RFC 4028).
    SessionExpired,
    /// It has lasted as long as a call may.
    TooLong,
    /// An end has not answered the keep-alive requests of the gateway, or has not known the call any more.
    KeepAlive,
    /// An operator has ended it.
    Command,
    /// There is no time left for today at the telephone network.
    TollReached,
}

impl EndCause {
    /// Words for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallerBye => "caller hung up",
            Self::CalleeBye => "callee hung up",
            Self::ConnectionLost => "connection lost",
            Self::Shutdown => "gateway stops",
            Self::MediaTimeout => "no media",
            Self::SessionExpired => "session expired",
            Self::TooLong => "longest duration reached",
            Self::KeepAlive => "keep-alive not answered",
            Self::Command => "ended by command",
            Self::TollReached => "minutes of the day used up",
        }
    }

    /// What a BYE of ours says of it (RFC 3326).
    #[must_use]
    pub fn reason(self) -> String {
        let cause = match self {
            Self::CallerBye | Self::CalleeBye => 200,
            Self::ConnectionLost => 480,
            Self::Shutdown => 503,
            Self::MediaTimeout | Self::SessionExpired | Self::TooLong | Self::KeepAlive => 408,
            Self::Command => 487,
            Self::TollReached => 403,
        };
        format!("SIP;cause={cause};text=\"{}\"", self.as_str())
    }

    /// Whether the call has ended by itself.
    #[must_use]
    pub const fn is_expiry(self) -> bool {
        matches!(
            self,
            Self::MediaTimeout | Self::SessionExpired | Self::TooLong | Self::KeepAlive | Self::TollReached
        )
    }
}
