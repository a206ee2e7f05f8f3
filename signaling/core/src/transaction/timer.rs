//! Every reason for which a transaction wakes up, and the queue they wait in.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::message::Method;
pub use crate::settings::Timers;

/// The timers of RFC 3261 §17 table 4, RFC 6026 §7, and two of ours. J is none of a transaction here: `answered` keeps the
/// responses of all that long. `T1` is `retr_timer1`, `T2` is `retr_timer2`,
/// `T4` is `wt_timer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// An INVITE over a datagram transport is sent again: T1, then doubled each time.
    A,
    /// An INVITE got no reply at all: `fr_timer`. After a CANCEL: no final reply within 64·T1 (RFC 3261 §9.1).
    B,
    /// An INVITE got no final reply after a provisional one: `fr_inv_timer`, anew with each 101 to 199 (§16.7 step 2), or
    /// only with those of a higher code (`restart_fr_on_each_reply`).
    C,
    /// Retransmissions of a final reply other than 2xx are acknowledged until then: 64·T1, at once over streams.
    D,
    /// Another request over a datagram transport is sent again: T1, doubled up to T2; T2 after a provisional reply.
    E,
    /// Another request got no final reply: `fr_timer`.
    F,
    /// A final reply to INVITE other than 2xx is sent again over a datagram transport: T1, doubled up to T2.
    G,
    /// The ACK to such a reply did not come: `fr_timer`.
    H,
    /// Retransmitted ACKs are absorbed until then: T4, at once over streams.
    I,
    /// Retransmitted final replies to another request are absorbed until then: T4, at once over streams.
    K,
    /// After a 2xx, retransmissions of the INVITE are absorbed until then: 64·T1 (RFC 6026 §7.1).
    L,
    /// Until then retransmitted 2xx and those of other branches go to the user: 64·T1 (RFC 6026 §7.2).
    M,
    /// The user has not answered an INVITE yet: time for a 100 (RFC 3261 §17.2.1, 200 ms).
    Trying,
    /// A transaction has become too old: `max_inv_lifetime`, `max_noninv_lifetime`.
    Lifetime,
}

/// How long one client transaction may take, where that is not what the timers say (Kamailio's `t_set_fr`,
/// `t_set_max_lifetime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Without any reply to an INVITE, without a final one to another request.
    pub fr_timer: Duration,
    /// Without a final reply to an INVITE, from a provisional one on.
    pub fr_inv_timer: Duration,
    /// See [`Timers::restart_fr_on_each_reply`].
    pub restart_fr_on_each_reply: bool,
    /// In all.
    pub max_lifetime: Duration,
}

impl Patience {
    /// As `timers` say it for a request of `method`.
    #[must_use]
    pub fn of(method: &Method, timers: &Timers) -> Self {
        let invite = *method == Method::Invite;
        Self {
            fr_timer: timers.fr_timer,
            fr_inv_timer: timers.fr_inv_timer,
            restart_fr_on_each_reply: timers.restart_fr_on_each_reply,
            max_lifetime: if invite { timers.max_inv_lifetime } else { timers.max_noninv_lifetime },
        }
    }
}

/// 64·T1: how long a message can travel in retransmissions.
pub(super) fn t1_times_64(timers: &Timers) -> Duration {
    timers.retr_timer1 * 64
}

/// Deadlines of all transactions of a table. Exact: a timer that is set anew leaves nothing behind, so that a flood of
/// provisional replies cannot make it grow.
#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    deadlines: BTreeSet<(Instant, u64, Timer)>,
}

impl TimerQueue {
    pub(super) fn insert(&mut self, at: Instant, owner: u64, timer: Timer) {
        self.deadlines.insert((at, owner, timer));
    }

    pub(super) fn remove(&mut self, at: Instant, owner: u64, timer: Timer) {
        self.deadlines.remove(&(at, owner, timer));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, ..)| at)
    }

    /// Takes out a timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(u64, Timer)> {
        self.deadlines.first().filter(|(at, ..)| *at <= now)?;
        self.deadlines.pop_first().map(|(_, owner, timer)| (owner, timer))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }
}
