//! Sockets: bytes come in on them and go to the worker of their call; what the workers send goes out on them.
#![allow(clippy::result_large_err, reason = "an error is the message itself, which goes another way")]

mod admission;
mod counters;
mod flows;
pub mod fuzz;
mod listen;
mod outbox;
mod peer_name;
mod proxy_protocol;
mod socket;
mod stream;
mod udp;
mod web;
mod websocket;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use signaling_core::acl::Acl;
use signaling_core::flow::{ConnectionId, Destination, Flow, Protocol};
use tokio::runtime::Handle;

use self::admission::Admission;
use self::counters::Counters;
pub use self::counters::{Traffic, TransportStats};
pub use self::flows::OpenConnection;
use self::flows::{Flows, Queued, Unsent};
pub use self::listen::{BindError, Bound, Listener, StreamListener};
pub(crate) use self::outbox::Outbox;
use self::socket::Movable;
pub use self::udp::{UdpListener, UdpReader};
pub use self::web::{HttpPeer, Origins, WebSettings};
use crate::config::Limits;
use crate::worker::{WorkerId, Workers};

/// Every socket of the process, shared by listeners (which put connections in) and workers (which send).
#[derive(Debug)]
pub struct Transport {
    flows: Flows,
    udp: Vec<UdpListener>,
    /// Who is not heard at all.
    acl: Arc<Acl>,
    connections: Arc<Admission>,
    handshakes: Arc<Admission>,
    limits: Limits,
    ping: Ping,
    workers: Arc<Workers>,
    client: Arc<rustls::ClientConfig>,
    runtime: Handle,
    counters: Arc<Counters>,
}

/// The WebSocket keep-alive.
#[derive(Debug, Clone, Copy)]
pub struct Ping {
    /// Time between pings.
    pub interval: Duration,
    /// Pings in a row that may stay unanswered.
    pub missed: u32,
}

impl Transport {
    /// The sockets of this process; connections are served on the threads of `workers`, and by `runtime` while these do not run.
    #[must_use]
    pub fn new(
        limits: Limits,
        ping: Ping,
        udp: Vec<UdpListener>,
        workers: Arc<Workers>,
        client: Arc<rustls::ClientConfig>,
        acl: Arc<Acl>,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            acl,
            flows: Flows::default(),
            udp,
            connections: Admission::new(
                limits.connections,
                limits.connections_per_source,
                limits.ipv6_prefix,
            ),
            handshakes: Admission::new(limits.handshakes, limits.handshakes_per_source, limits.ipv6_prefix),
            limits,
            ping,
            workers,
            client,
            runtime,
            counters: Arc::default(),
        })
    }

    /// Where `worker` reads datagrams. Must be called within its runtime.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub(crate) fn datagrams(&self, worker: WorkerId) -> std::io::Result<Vec<UdpReader>> {
        self.udp.iter().map(|socket| socket.reader(worker, Arc::clone(&self.counters))).collect()
    }

    fn dispatch(self: &Arc<Self>, destination: Destination, queued: Queued) {
        let unsent = match destination {
            Destination::Flow(flow) => match flow.connection {
                Some(connection) => self.queue(connection, queued).err(),
                None => self.send_datagram(Some(flow.local), flow.remote, queued).err(),
            },
            Destination::Address { protocol: Protocol::Udp, remote } => {
                self.send_datagram(None, remote, queued).err()
            }
            Destination::Address { protocol, remote } => self.send_to_address(protocol, remote, queued).err(),
        };
        if let Some(queued) = unsent {
            self.undelivered(queued);
        }
    }

    /// Closes one connection, if it is still open.
    pub fn close_connection(&self, connection: ConnectionId) {
        self.flows.close(connection);
    }

    /// Sends a message by its other way, if it has one, or tells its worker.
    fn undelivered(self: &Arc<Self>, mut queued: Queued) {
        match queued.fallback.take() {
            Some(fallback) => self.dispatch(fallback, queued),
            None => self.workers.send_failed(queued.worker, queued.token),
        }
    }

    fn queue(&self, connection: ConnectionId, queued: Queued) -> Result<(), Queued> {
        self.flows.send(connection, queued).map_err(|unsent| match unsent {
            Unsent::Gone(queued) => queued,
            Unsent::Slow(queued) => {
                self.counters.slow_readers.add("connections closed: their peers do not read");
                queued
            }
        })
    }

    /// The mailboxes into which it delivers.
    pub(crate) fn workers(&self) -> Arc<Workers> {
        Arc::clone(&self.workers)
    }

    /// The runtime on the thread of `worker`; without workers, in tests, that of this process.
    fn runtime_of(&self, worker: WorkerId) -> &Handle {
        self.workers.runtime(worker).unwrap_or(&self.runtime)
    }

    /// Has `stream` served on the thread of `host`.
    fn settle<S: Movable, F: Future<Output = ()> + Send + 'static>(
        &self,
        host: WorkerId,
        mut stream: S,
        serve: impl FnOnce(S) -> F + Send + 'static,
    ) {
        self.runtime_of(host).spawn(async move {
            match stream.settle() {
                Ok(()) => serve(stream).await,
                Err(error) => tracing::warn!(%error, "connection given up"),
            }
        });
    }

    /// Closes every connection.
    pub fn close(&self) {
        self.flows.close_all();
    }

    /// Open SIP connections: streams and WebSockets.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.flows.len()
    }

    /// Those connections.
    #[must_use]
    pub fn connections(&self) -> Vec<OpenConnection> {
        self.flows.list()
    }

    /// From the socket of `local`, or the one by which the kernel would go to `remote`.
    fn send_datagram(
        &self,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        queued: Queued,
    ) -> Result<(), Queued> {
        let Some(socket) = self.udp_socket(local, remote.ip()) else { return Err(queued) };
        match self.udp[socket].send(queued.worker, &queued.bytes, remote) {
            Err(error) if self.unsent(remote, &error) => Err(queued),
            Err(_) => Ok(()),
            Ok(()) => {
                self.counters.of(Protocol::Udp).sent(1, queued.bytes.len());
                if let Some(hep) = self.workers.hep() {
                    hep.sent(Protocol::Udp, self.udp[socket].local(), remote, &queued.bytes);
                }
                Ok(())
            }
        }
    }

    /// A message was written on a connection.
    fn written(&self, flow: &Flow, bytes: &Bytes) {
        self.counters.of(flow.protocol).sent(1, bytes.len());
        if let Some(hep) = self.workers.hep() {
            hep.sent(flow.protocol, flow.local, flow.remote, bytes);
        }
    }

    /// What has been carried, refused and lost so far.
    #[must_use]
    pub fn stats(&self) -> TransportStats {
        self.counters.read(self.connection_count(), self.workers.dropped())
    }

    fn udp_socket(&self, local: Option<SocketAddr>, remote: IpAddr) -> Option<usize> {
        let all = || self.udp.iter().map(UdpListener::local).enumerate();
        if let Some((own, _)) = all().find(|(_, address)| Some(*address) == local) {
            return Some(own);
        }
        let family = || all().filter(|(_, address)| address.is_ipv4() == remote.is_ipv4());
        let mut same_family = family().map(|(socket, _)| socket);
        let (first, second) = (same_family.next(), same_family.next());
        if second.is_none() {
            return first;
        }
        let route = crate::host::route_to(remote);
        family().find(|(_, address)| Some(address.ip()) == route).map(|(socket, _)| socket).or(first)
    }

    /// Over an open connection, or a new one when the peer can be dialled.
    fn send_to_address(
        self: &Arc<Self>,
        protocol: Protocol,
        remote: SocketAddr,
        queued: Queued,
    ) -> Result<(), Queued> {
        let name = if protocol == Protocol::Tls { peer_name::of(&queued.bytes) } else { None };
        let queued = match self.flows.find(protocol, remote, name.as_deref()) {
            Some(connection) => {
                // A connection that was used before may be dead without anybody having noticed: then another one is opened.
                let address = Destination::Address { protocol, remote };
                let own = queued.fallback;
                let fallback = own.or((!protocol.is_websocket()).then_some(address));
                match self.queue(connection, Queued { fallback, ..queued }) {
                    Ok(()) => return Ok(()),
                    Err(queued) => Queued { fallback: own, ..queued },
                }
            }
            None => queued,
        };
        if protocol.is_websocket() {
            return Err(queued);
        }
        let Some(permit) = self.connections.admit(remote.ip()) else {
            self.counters.refused_connections.add("connections refused: too many");
            return Err(queued);
        };
        let host = queued.worker;
        let registration = self.flows.open_to(protocol, remote, self.limits.send_queue, name.clone());
        let sent = self.queue(registration.id(), queued);
        let transport = Arc::clone(self);
        // Where its call lives.
        self.runtime_of(host).spawn(async move {
            let _permit = permit;
            stream::dial(transport, host, registration, protocol, remote, name).await;
        });
        sent
    }
}
