//! Transactions: the four machines of RFC 3261 §17 with the corrections of RFC 6026, and the table that owns them.
//!
//! [`Table`] is polled: after each `handle_*` and each command, drain [`Table::poll_transmit`] and
//! [`Table::poll_event`], and come back at [`Table::poll_timeout`]. The transaction user (the proxy) never sees a
//! retransmission, and a response given to [`Table::respond`] is repeated for as long as it takes.

mod answered;
mod client;
mod client_invite;
mod effect;
mod matching;
mod server;
mod server_invite;
mod stats;
mod table;
mod timer;

use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

pub use stats::{Branches, Stats};
pub use table::{Kind, Listed, Opening, SentBy, Table};
pub use timer::{Patience, Timer, Timers};

use crate::flow::Flow;
use crate::message::{Request, Response};
use crate::settings::CancelBMethod;

/// How a table behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The timers.
    pub timers: Timers,
    /// When a 100 answers an INVITE by itself (Kamailio's `auto_inv_100`).
    pub trying: Trying,
    /// Its reason phrase (Kamailio's `auto_inv_100_reason`).
    pub trying_reason: String,
    /// How a branch is cancelled that has not replied at all.
    pub cancel_b_method: CancelBMethod,
    /// What begins the names of headers that go from an INVITE into its CANCEL and negative ACK; empty for none.
    pub ac_extra_hdrs: String,
    /// Transactions at once; beyond it requests are refused with 503.
    pub max_transactions: usize,
    /// Bytes of the requests that began them; beyond it the same. Long requests cannot make the number above a way to
    /// fill the memory: a transaction holds about one copy of its request and one of its last response.
    pub max_bytes: usize,
    /// Seconds of Retry-After in that 503.
    pub retry_after: u32,
    /// Send responses to the source port even when the client did not ask for it by `rport` (RFC 3581): needed by
    /// phones behind NAT that do not know of it.
    pub force_rport: bool,
}

/// When an INVITE is answered with 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trying {
    /// With its arrival, as `tm` does: the client stops retransmitting soonest.
    AtOnce,
    /// Unless the user answers before; RFC 3261 §17.2.1 names 200 ms.
    After(Duration),
    /// Only when the user does it.
    Never,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timers: Timers::default(),
            trying: Trying::AtOnce,
            trying_reason: "trying -- your call is important to us".into(),
            cancel_b_method: CancelBMethod::default(),
            ac_extra_hdrs: String::new(),
            max_transactions: 100_000,
            max_bytes: 256 << 20,
            retry_after: 10,
            force_rport: true,
        }
    }
}

/// A server transaction. Never used twice: a stale one names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u64);

/// A client transaction. Never used twice: a stale one names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// A map by the ids of transactions: nobody outside chooses those, so that one multiplication is hash enough.
pub type IdMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// The same without values.
pub type IdSet<K> = std::collections::HashSet<K, BuildHasherDefault<IdHasher>>;

/// See [`IdMap`].
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio: slot and serial number both reach the high bits, and the turn brings those to the low ones.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What the transaction user learns.
#[derive(Debug)]
pub enum Event {
    /// A request that begins a server transaction: answer it with [`Table::respond`]. Its topmost Via has `received` and
    /// `rport` filled in. `merged`: another transaction serves the same request by another way (RFC 3261 §8.2.2.2); a
    /// user agent server answers 482, a proxy may go on.
    Request {
        /// To answer with.
        id: ServerId,
        /// Where it came from.
        flow: Flow,
        /// The request.
        request: Request,
        /// See above.
        merged: bool,
    },
    /// A CANCEL, itself to be answered by `id` with 200, or with 481 when it matched no INVITE (RFC 3261 §9.2).
    Cancel {
        /// The CANCEL's own transaction.
        id: ServerId,
        /// The INVITE it concerns, if that is there.
        invite: Option<ServerId>,
        /// Where it came from.
        flow: Flow,
        /// The CANCEL.
        request: Request,
    },
    /// An ACK that concerns a 2xx: to be sent on along the dialog. An ACK to another final response is absorbed.
    Ack {
        /// The INVITE, in the rare case that the ACK has its branch.
        invite: Option<ServerId>,
        /// Where it came from.
        flow: Flow,
        /// The ACK.
        request: Request,
    },
    /// A response, its topmost Via still being ours.
    Response {
        /// The transaction; `None` for a stray one, such as a 2xx after timer M (RFC 3261 §16.7 step 1).
        id: Option<ClientId>,
        /// Where it came from.
        flow: Flow,
        /// The response.
        response: Response,
    },
    /// A client transaction got no final response in time. Treat it as 408 (RFC 3261 §8.1.3.1). After [`Timer::C`] and
    /// (while provisional responses were there) [`Timer::Lifetime`] the transaction still exists: cancel it
    /// (RFC 3261 §16.8), its 487 or a last `Timeout` with [`Timer::B`] comes later.
    Timeout {
        /// The transaction.
        id: ClientId,
        /// What ran out.
        timer: Timer,
    },
    /// A client transaction could not send. Treat it as 503 (RFC 3261 §8.1.3.1).
    TransportError {
        /// The transaction, gone by now.
        id: ClientId,
    },
    /// No ACK came ([`Timer::H`]), or an INVITE was not answered ([`Timer::Lifetime`]: answer it 408), or another request
    /// was not (gone by now).
    ServerTimeout {
        /// The transaction.
        id: ServerId,
        /// What ran out.
        timer: Timer,
    },
    /// A response could not be sent; the transaction stays and absorbs (RFC 6026 §7.1).
    ServerTransportError {
        /// The transaction.
        id: ServerId,
    },
    /// A server transaction is gone.
    ServerTerminated {
        /// The transaction.
        id: ServerId,
    },
    /// A client transaction is gone.
    ClientTerminated {
        /// The transaction.
        id: ClientId,
    },
}

/// What [`Table::cancel`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// Nothing: a final response is there, a CANCEL is under way already, or it is no INVITE.
    No,
    /// The CANCEL is sent, or will be with the first provisional response.
    Yes,
    /// Nothing was ever heard of the branch, and nothing is sent any more: it counts as answered 487
    /// ([`CancelBMethod::Stop`]). A provisional response that comes after all is answered with the CANCEL.
    Unheard,
}

/// Why [`Table::request`] took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// [`Config::max_transactions`] or [`Config::max_bytes`] is reached: 503.
    #[error("too many transactions")]
    Full,
    /// The request has no topmost Via with a branch, or no CSeq.
    #[error("request has no branch")]
    NoBranch,
    /// A transaction with this branch and method exists.
    #[error("branch is in use")]
    BranchInUse,
}

/// What becomes of an ACK that matched a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acked {
    Absorb,
    Deliver,
}

#[cfg(test)]
mod tests;
