//! Counters of Kamailio's `tm.stats`, under its names.

use std::ops::AddAssign;

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
    /// Those of the client transactions that carry a server transaction on. Kamailio counts them as part of it.
    pub branches: Branches,
}

/// Client transactions that are branches of a server transaction, its CANCELs included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Branches {
    /// Made.
    pub created: u64,
    /// Gone.
    pub freed: u64,
    /// Of those that exist, the ones that were finally answered.
    pub waiting: u64,
}

impl AddAssign for Stats {
    /// Adds those of another worker.
    fn add_assign(&mut self, other: Self) {
        self.current += other.current;
        self.waiting += other.waiting;
        self.total += other.total;
        self.total_local += other.total_local;
        self.rpl_received += other.rpl_received;
        self.rpl_generated += other.rpl_generated;
        self.rpl_sent += other.rpl_sent;
        self.answered.iter_mut().zip(other.answered).for_each(|(mine, theirs)| *mine += theirs);
        self.created += other.created;
        self.freed += other.freed;
        self.retransmissions += other.retransmissions;
        self.refused += other.refused;
        self.branches.created += other.branches.created;
        self.branches.freed += other.branches.freed;
        self.branches.waiting += other.branches.waiting;
    }
}

impl Stats {
    /// As Kamailio counts: a request that is relayed is one transaction, however many branches it has.
    #[must_use]
    pub fn without_branches(&self) -> Self {
        let Branches { created, freed, waiting } = self.branches;
        Self {
            current: self.current - (created - freed),
            waiting: self.waiting - waiting,
            total: self.total - created,
            total_local: self.total_local - created,
            created: self.created - created,
            freed: self.freed - freed,
            ..*self
        }
    }
}
