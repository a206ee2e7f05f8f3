//! The open connections, by number and by peer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use signaling_core::flow::{ConnectionId, Destination, Protocol, SendToken};
use signaling_core::shards::Shards;
use tokio::sync::{Notify, mpsc};

use crate::worker::WorkerId;

/// A message on its way out, and what becomes of it if it does not get there.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) bytes: Bytes,
    /// Where it goes then.
    pub(super) fallback: Option<Destination>,
    /// Who wants to know when that fails as well.
    pub(super) token: SendToken,
    pub(super) worker: WorkerId,
}

/// Why a message was not queued.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The connection is gone.
    Gone(Queued),
    /// Its peer does not read.
    Slow(Queued),
}

/// The table; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows {
    table: Arc<Table>,
}

/// Whoever holds a part of one kind takes none but of a kind further below.
#[derive(Debug)]
struct Table {
    /// The number of the newest connection. The first one is drawn: others carry numbers for us (RFC 5626 §5.2), and those of
    /// before a restart are nobody's.
    last: AtomicU64,
    connections: Shards<HashMap<ConnectionId, Connection>>,
    peers: Shards<HashMap<Peer, ConnectionId>>,
    /// Connections of TLS clients that have proved to be who they are, by where they say that they listen and by each of their
    /// names (RFC 5923 §8.2).
    aliases: Shards<HashMap<Alias, ConnectionId>>,
    /// How many those are, so that nobody looks for one where there is none.
    alias_count: AtomicUsize,
}

type Peer = (Protocol, SocketAddr);
type Alias = (SocketAddr, Box<str>);

impl Default for Table {
    fn default() -> Self {
        let last = AtomicU64::new(rand::random::<u64>() >> 1);
        let (connections, peers, aliases) = (Shards::default(), Shards::default(), Shards::default());
        Self { last, connections, peers, aliases, alias_count: AtomicUsize::new(0) }
    }
}

#[derive(Debug)]
struct Connection {
    protocol: Protocol,
    remote: SocketAddr,
    queue: mpsc::Sender<Queued>,
    /// Bytes in it.
    waiting: Arc<AtomicUsize>,
    close: Arc<Notify>,
    /// Whom its peer has proved to be, of one that we dialled by name.
    name: Option<Box<str>>,
    /// Its places among the aliases.
    aliases: Vec<Alias>,
}

/// What an operator sees of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenConnection {
    /// Its number.
    pub id: ConnectionId,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Its peer.
    pub remote: SocketAddr,
    /// Bytes of messages that wait to be written.
    pub queued_bytes: usize,
}

/// A connection's own end: what it is to write, and its place in the table, which ends with it.
#[derive(Debug)]
pub(super) struct Registration {
    id: ConnectionId,
    peer: Peer,
    /// What is to be written.
    queue: mpsc::Receiver<Queued>,
    waiting: Arc<AtomicUsize>,
    /// Told when the connection must end.
    pub(super) close: Arc<Notify>,
    flows: Flows,
}

impl Flows {
    /// Enters a connection to `remote` whose queue holds `capacity` messages.
    pub(super) fn open(&self, protocol: Protocol, remote: SocketAddr, capacity: usize) -> Registration {
        self.open_to(protocol, remote, capacity, None)
    }

    /// The same for a connection that will only come about when its peer proves to be `name`.
    pub(super) fn open_to(
        &self,
        protocol: Protocol,
        remote: SocketAddr,
        capacity: usize,
        name: Option<Box<str>>,
    ) -> Registration {
        let (sender, queue) = mpsc::channel(capacity);
        let (close, waiting) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let id = ConnectionId(self.table.last.fetch_add(1, Ordering::Relaxed) + 1);
        let connection = Connection {
            protocol,
            remote,
            queue: sender,
            waiting: Arc::clone(&waiting),
            close: Arc::clone(&close),
            name,
            aliases: Vec::new(),
        };
        let peer = (protocol, remote);
        self.table.connections.of(&id).insert(id, connection);
        self.table.peers.of(&peer).insert(peer, id);
        Registration { id, peer, queue, waiting, close, flows: self.clone() }
    }

    /// Queues a message, or gives it back when the connection is gone. A full queue means a peer that does not read: its
    /// connection is closed, for the memory is ours and the time is the call's.
    pub(super) fn send(&self, connection: ConnectionId, queued: Queued) -> Result<(), Unsent> {
        let connections = self.table.connections.of(&connection);
        let Some(connection) = connections.get(&connection) else { return Err(Unsent::Gone(queued)) };
        let size = queued.bytes.len();
        // Before it is taken out.
        connection.waiting.fetch_add(size, Ordering::Relaxed);
        connection.queue.try_send(queued).map_err(|error| {
            connection.waiting.fetch_sub(size, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(queued) => {
                    connection.close.notify_one();
                    Unsent::Slow(queued)
                }
                mpsc::error::TrySendError::Closed(queued) => Unsent::Gone(queued),
            }
        })
    }

    /// The newest open connection to `remote`, unless its peer has proved to be somebody else than `name`: what is for one
    /// domain does not go to another that shares the address (RFC 5922 §7.1). A connection that the peer has opened is its own
    /// proof: who is behind it is there. Without one, that of a peer who has proved to be whoever listens there.
    pub(super) fn find(
        &self,
        protocol: Protocol,
        remote: SocketAddr,
        name: Option<&str>,
    ) -> Option<ConnectionId> {
        let (table, peer) = (&*self.table, (protocol, remote));
        let newest = table.peers.of(&peer).get(&peer).copied();
        let Some(id) = newest else {
            if protocol != Protocol::Tls || table.alias_count.load(Ordering::Relaxed) == 0 {
                return None;
            }
            let name = name.map_or_else(|| remote.ip().to_string().into(), Into::into);
            let alias = (remote, name);
            return table.aliases.of(&alias).get(&alias).copied();
        };
        let connections = table.connections.of(&id);
        let other = connections.get(&id)?.name.as_deref().is_some_and(|proved| name != Some(proved));
        (!other).then_some(id)
    }

    /// What is for `names` at `listening` goes over `connection`, whose peer has proved to be them (RFC 5923 §8.2).
    pub(super) fn alias(&self, connection: ConnectionId, listening: SocketAddr, names: &[Box<str>]) {
        let mut connections = self.table.connections.of(&connection);
        let Some(entry) = connections.get_mut(&connection) else { return };
        // One sent-by, however often it is said.
        if !entry.aliases.is_empty() {
            return;
        }
        entry.aliases = names.iter().map(|name| (listening, name.clone())).collect();
        for alias in &entry.aliases {
            if self.table.aliases.of(alias).insert(alias.clone(), connection).is_none() {
                self.table.alias_count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn close(&self, connection: ConnectionId) {
        if let Some(connection) = self.table.connections.of(&connection).get(&connection) {
            connection.close.notify_one();
        }
    }

    pub(super) fn close_all(&self) {
        for part in self.table.connections.each() {
            part.values().for_each(|connection| connection.close.notify_one());
        }
    }

    /// All of them, the oldest first.
    pub(super) fn list(&self) -> Vec<OpenConnection> {
        let open = |(id, connection): (&ConnectionId, &Connection)| OpenConnection {
            id: *id,
            protocol: connection.protocol,
            remote: connection.remote,
            queued_bytes: connection.waiting.load(Ordering::Relaxed),
        };
        let mut list = Vec::new();
        for part in self.table.connections.each() {
            list.extend(part.iter().map(open));
        }
        list.sort_by_key(|open| open.id.0);
        list
    }

    pub(super) fn len(&self) -> usize {
        self.table.connections.each().map(|part| part.len()).sum()
    }
}

impl Registration {
    /// The connection's number.
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The next message to be written; `None` when there will be none.
    pub(super) async fn next(&mut self) -> Option<Queued> {
        let queued = self.queue.recv().await?;
        self.waiting.fetch_sub(queued.bytes.len(), Ordering::Relaxed);
        Some(queued)
    }

    /// Leaves the table, and returns what was queued and not written.
    pub(super) fn end(mut self) -> Vec<Queued> {
        self.leave();
        self.queue.close();
        let mut left = Vec::new();
        while let Ok(queued) = self.queue.try_recv() {
            left.push(queued);
        }
        left
    }

    fn leave(&self) {
        let table = &*self.flows.table;
        let connection = table.connections.of(&self.id).remove(&self.id);
        for alias in connection.into_iter().flat_map(|connection| connection.aliases) {
            let mut aliases = table.aliases.of(&alias);
            if aliases.get(&alias) == Some(&self.id) {
                aliases.remove(&alias);
                table.alias_count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let mut peers = table.peers.of(&self.peer);
        if peers.get(&self.peer) == Some(&self.id) {
            peers.remove(&self.peer);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(token: u64) -> Queued {
        Queued {
            fallback: None,
            bytes: Bytes::from_static(b"x"),
            token: SendToken(token),
            worker: WorkerId(0),
        }
    }

    #[test]
    fn a_message_reaches_its_connection_until_that_is_gone() {
        let flows = Flows::default();
        let remote = "192.0.2.1:5060".parse().unwrap();
        let mut open = flows.open(Protocol::Tcp, remote, 2);
        assert_eq!(flows.find(Protocol::Tcp, remote, None), Some(open.id()));
        assert_eq!(flows.find(Protocol::Tls, remote, None), None);
        flows.send(open.id(), queued(1)).unwrap();
        assert_eq!(open.queue.try_recv().unwrap().token, SendToken(1));
        flows.send(open.id(), queued(2)).unwrap();
        let id = open.id();
        let left: Vec<_> = open.end().into_iter().map(|queued| queued.token).collect();
        assert_eq!(left, [SendToken(2)], "what was not written is given back");
        assert!(flows.send(id, queued(3)).is_err());
        assert_eq!((flows.find(Protocol::Tcp, remote, None), flows.len()), (None, 0));
    }

    #[test]
    fn a_proved_name_is_not_another() {
        let flows = Flows::default();
        let remote = "192.0.2.1:5061".parse().unwrap();
        let open = flows.open_to(Protocol::Tls, remote, 1, Some("far.example".into()));
        let find = |name| flows.find(Protocol::Tls, remote, name);
        assert_eq!(find(Some("far.example")), Some(open.id()));
        assert_eq!((find(Some("other.example")), find(None)), (None, None));
        drop(open);
        let opened_by_peer = flows.open(Protocol::Tls, remote, 1);
        assert_eq!(find(Some("far.example")), Some(opened_by_peer.id()));
    }

    #[test]
    fn an_alias_is_for_those_whom_its_peer_has_proved_to_be() {
        let flows = Flows::default();
        let [client, listening] = ["192.0.2.1:40000", "192.0.2.1:5061"].map(|at| at.parse().unwrap());
        let open = |names: &[&str]| {
            let open = flows.open(Protocol::Tls, client, 1);
            let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
            flows.alias(open.id(), listening, &names);
            open
        };
        let find = |name| flows.find(Protocol::Tls, listening, name);
        let first = open(&["far.example", "192.0.2.1"]);
        assert_eq!((find(Some("far.example")), find(None)), (Some(first.id()), Some(first.id())));
        assert_eq!((find(Some("other.example")), flows.find(Protocol::Tcp, listening, None)), (None, None));
        let other = open(&["other.example"]);
        assert_eq!(find(Some("far.example")), Some(first.id()), "another takes nothing away");
        let again = open(&["far.example"]);
        drop(first);
        assert_eq!((find(Some("far.example")), find(None)), (Some(again.id()), None));
        drop((other, again));
        let left = flows.table.aliases.each().map(|part| part.len()).sum::<usize>();
        assert_eq!((left, flows.table.alias_count.load(Ordering::Relaxed)), (0, 0));
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_to_go() {
        let flows = Flows::default();
        let open = flows.open(Protocol::Wss, "192.0.2.1:1".parse().unwrap(), 1);
        flows.send(open.id(), queued(1)).unwrap();
        assert!(flows.send(open.id(), queued(2)).is_err());
        open.close.notified().await;
        flows.close(open.id());
        open.close.notified().await;
    }

    #[test]
    fn the_end_of_an_old_connection_leaves_the_newer_one_of_its_peer() {
        let flows = Flows::default();
        let remote = "192.0.2.1:5060".parse().unwrap();
        let old = flows.open(Protocol::Tcp, remote, 1);
        let new = flows.open(Protocol::Tcp, remote, 1);
        drop(old);
        assert_eq!(flows.find(Protocol::Tcp, remote, None), Some(new.id()));
    }
}
