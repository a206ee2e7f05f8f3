//! Who of the domains behind us (`crate::step::edge`) is on which connection. Their registrars have the bindings; what is known
//! here ends with the connection, and serves the calls that its owner has over it.

use std::collections::HashMap;

use super::{Location, Peer, lock};
use crate::flow::{ConnectionId, Flow};

/// Users of one connection that are remembered.
const MOST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Edges {
    connections: HashMap<ConnectionId, Vec<EdgeUser>>,
    flows: HashMap<EdgeUser, Flow>,
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
        let mut edges = lock(&self.edges);
        let users = edges.connections.entry(connection).or_default();
        if !users.contains(&user) {
            if users.len() == MOST {
                return;
            }
            users.push(user.clone());
        }
        edges.flows.insert(user, flow);
    }

    /// The user who has registered over `flow` behind us.
    #[must_use]
    pub fn edge_user(&self, flow: &Flow) -> Option<EdgeUser> {
        let edges = lock(&self.edges);
        edges.connections.get(&flow.connection?)?.last().cloned()
    }

    /// Where such a user is now.
    #[must_use]
    pub fn edge_flow(&self, aor: &str, peer: &Peer<'_>) -> Option<Flow> {
        let instance = if peer.instance.is_empty() { peer.contact } else { peer.instance };
        let user = EdgeUser { aor: aor.into(), instance: instance.to_ascii_lowercase().into() };
        lock(&self.edges).flows.get(&user).copied()
    }

    /// Nobody is on this connection any more.
    pub(super) fn forget_edge(&self, connection: ConnectionId) {
        let mut edges = lock(&self.edges);
        for user in edges.connections.remove(&connection).unwrap_or_default() {
            if edges.flows.get(&user).is_some_and(|flow| flow.connection == Some(connection)) {
                edges.flows.remove(&user);
            }
        }
    }
}
