//! Counters of Kamailio's `tm.stats`, under its names.

/// Totals since the start, but for the first two. With no transaction left, `created == freed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Transactions that exist. One over datagrams whose final response to another request than INVITE is merely remembered
    /// does not.
    pub current: u64,
    /// Those of them that were finally answered and linger to absorb late messages.
    pub waiting: u64,
    /// Server and client transactions ever made, `total_local` included.
    pub total: u64,
    /// Client transactions ever made.
    pub total_local: u64,
    /// Responses received.
    pub rpl_received: u64,
    /// Responses made by the table itself (100, 503).
    pub rpl_generated: u64,
    /// Responses sent, retransmissions included.
    pub rpl_sent: u64,
    /// Server transactions answered with 2xx, 3xx, 4xx, 5xx, 6xx.
    pub answered: [u64; 5],
    /// Transactions made.
    pub created: u64,
    /// Transactions gone.
    pub freed: u64,
    /// Requests and responses sent again by a timer or for a retransmission.
    pub retransmissions: u64,
    /// Requests refused with 503 because the table was full.
    pub refused: u64,
}
