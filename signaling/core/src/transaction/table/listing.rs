//! What an operator sees of the transactions there are (Kamailio's `tm.list`).

use std::time::Instant;

use bytes::Bytes;

use super::{ClientId, Machine, ServerId, Table};

/// A transaction, as far as the table knows of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its place in the table.
    pub slot: u32,
    /// Its number: no two transactions of a table have the same one.
    pub serial: u32,
    /// What it is.
    pub kind: Kind,
    /// Whether its final response was sent or has come.
    pub answered: bool,
    /// A message of it; `None` while nothing was sent.
    pub message: Option<Bytes>,
    /// When the last of its timers goes off.
    pub ends: Option<Instant>,
}

/// What a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody has asked us.
    Server(ServerId),
    /// We ask, for somebody or on our own.
    Client(ClientId),
}

impl Table {
    /// All transactions but those that carry a server transaction on: those are part of it.
    pub fn list(&self) -> impl Iterator<Item = Listed> {
        self.entries.iter().filter(|(_, entry)| !entry.branch).map(|(_, entry)| Listed {
            slot: (entry.id & u64::from(u32::MAX)) as u32,
            serial: (entry.id >> 32) as u32,
            kind: if entry.machine.is_client() {
                Kind::Client(ClientId(entry.id))
            } else {
                Kind::Server(ServerId(entry.id))
            },
            answered: entry.answered,
            message: match &entry.machine {
                Machine::ClientInvite(machine) => Some(machine.message()),
                Machine::Client(machine) => Some(machine.message()),
                Machine::ServerInvite(machine) => machine.message(),
                Machine::Server(machine) => machine.message(),
            },
            ends: entry.deadlines.iter().map(|(_, at)| *at).max(),
        })
    }
}
