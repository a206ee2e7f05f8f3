//! Who of the domains behind us (`crate::step::edge`) is on which connection. Their registrars have the bindings; what is known
//! here ends with the connection, and serves the calls that its owner has over it.

use std::collections::HashMap;

use super::{Location, Peer};
use crate::flow::{ConnectionId, Flow};
use crate::shards::Shards;

/// Users of one connection that are remembered.
const MOST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Edges {
    connections: Shards<HashMap<ConnectionId, Vec<EdgeUser>>>,
    flows: Shards<HashMap<EdgeUser, Flow>>,
}

/// An instance of a user of such a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EdgeUser {
    /// `user@domain`.
    pub aor: Box<str>,
    /// Its `+sip.instance`, lower case; where it has none, its Contact URI.
    pub instance: Box<str>,
}

impl Location {
    /// A registrar behind us has let `user` register over `flow`; datagrams need no such thing, for whoever sends them is found
    /// where he was.
    pub fn note_edge(&self, user: EdgeUser, flow: Flow) {
        let Some(connection) = flow.connection else { return };
        let mut connections = self.edges.connections.of(&connection);
        let users = connections.entry(connection).or_default();
        if !users.contains(&user) {
            if users.len() == MOST {
                return;
            }
            users.push(user.clone());
        }
        // Under the lock of the connection: its end takes this away again.
        self.edges.flows.of(&user).insert(user, flow);
    }

    /// The user who has registered over `flow` behind us.
    #[must_use]
    pub fn edge_user(&self, flow: &Flow) -> Option<EdgeUser> {
        let connection = flow.connection?;
        self.edges.connections.of(&connection).get(&connection)?.last().cloned()
    }

    /// Where such a user is now.
    #[must_use]
    pub fn edge_flow(&self, aor: &str, peer: &Peer<'_>) -> Option<Flow> {
        let instance = if peer.instance.is_empty() { peer.contact } else { peer.instance };
        let user = EdgeUser { aor: aor.into(), instance: instance.to_ascii_lowercase().into() };
        self.edges.flows.of(&user).get(&user).copied()
    }

    /// Nobody is on this connection any more.
    pub(super) fn forget_edge(&self, connection: ConnectionId) {
        let users = self.edges.connections.of(&connection).remove(&connection);
        for user in users.unwrap_or_default() {
            let mut flows = self.edges.flows.of(&user);
            if flows.get(&user).is_some_and(|flow| flow.connection == Some(connection)) {
                flows.remove(&user);
            }
        }
    }
}
