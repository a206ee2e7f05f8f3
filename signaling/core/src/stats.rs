//! Counters, a leaf. Those of transactions are in [`crate::transaction::Stats`].

/// What a worker has counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Messages received.
    pub received: u64,
    /// Messages too long, dropped before parsing.
    pub oversized: u64,
    /// Messages of sources that send too much, dropped before parsing.
    pub flooded: u64,
    /// Messages that did not parse (Kamailio's `bad_msg_hdr`), answered where possible.
    pub malformed: u64,
    /// Keep-alives: messages of nothing but line ends.
    pub keepalives: u64,
    /// Responses that belong to no transaction, and ACKs that lead nowhere: dropped.
    pub strays: u64,
    /// Requests refused by a step.
    pub refused: u64,
    /// Requests sent over TCP because they are too long for a datagram.
    pub tcp_for_size: u64,
    /// Requests too long for a datagram that were sent in one all the same: IP fragments, which many networks lose.
    pub fragmented: u64,
    /// New requests refused with 503 for want of time or room.
    pub overload: u64,
    /// REGISTER requests answered with 200 (Kamailio's `accepted_regs`).
    pub accepted_regs: u64,
    /// REGISTER requests refused (Kamailio's `rejected_regs`).
    pub rejected_regs: u64,
    /// Contacts asked whether they are still there.
    pub natpings: u64,
    /// Their answers.
    pub natpings_answered: u64,
    /// Credentials refused.
    pub auth_failures: u64,
    /// Calls let through.
    pub calls: u64,
    /// Offers given to the relay.
    pub media_offers: u64,
    /// Sessions and branches deleted at the relay.
    pub media_deletes: u64,
}
