//! The datagrams that one turn of a worker has caused: they leave together at its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use signaling_core::flow::{Destination, Outbound, Protocol};

use super::Transport;
use super::flows::Queued;
use super::udp::{BATCH, Sender};
use crate::worker::WorkerId;

/// A worker's own.
#[derive(Debug)]
pub(crate) struct Outbox {
    worker: WorkerId,
    sender: Sender,
    waiting: Vec<Datagram>,
}

#[derive(Debug)]
struct Datagram {
    /// Which of the listeners sends it.
    socket: usize,
    remote: SocketAddr,
    queued: Queued,
}

impl Outbox {
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self { worker, sender: Sender::new(), waiting: Vec::with_capacity(BATCH) }
    }
}

impl Transport {
    /// Sends a message of the worker of `outbox`, which learns of a failure through its mailbox. Never waits. A datagram may
    /// stay in `outbox` until that is flushed.
    pub(crate) fn send(self: &Arc<Self>, outbox: &mut Outbox, outbound: Outbound) {
        let Outbound { destination, fallback, bytes, token } = outbound;
        let queued = Queued { fallback, bytes, token, worker: outbox.worker };
        let (local, remote) = match destination {
            Destination::Flow(flow) if flow.connection.is_none() => (Some(flow.local), flow.remote),
            Destination::Address { protocol: Protocol::Udp, remote } => (None, remote),
            _ => return self.dispatch(destination, queued),
        };
        let Some(socket) = self.udp_socket(local, remote.ip()) else { return self.undelivered(queued) };
        outbox.waiting.push(Datagram { socket, remote, queued });
        if outbox.waiting.len() == BATCH {
            self.flush(outbox);
        }
    }

    /// Sends what waits in `outbox`.
    pub(crate) fn flush(self: &Arc<Self>, outbox: &mut Outbox) {
        let Outbox { worker, sender, waiting } = outbox;
        let (mut rest, mut failed) = (waiting.as_slice(), Vec::new());
        let traffic = self.counters.of(Protocol::Udp);
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|datagram| datagram.socket == first.socket);
            let same = same.map(|datagram| (datagram.remote, &*datagram.queued.bytes));
            let sent = match sender.send(self.udp[first.socket].of(*worker), same) {
                Ok(sent) => {
                    let bytes = rest.iter().take(sent).map(|datagram| datagram.queued.bytes.len()).sum();
                    traffic.sent(sent, bytes);
                    if let Some(hep) = self.workers.hep() {
                        for datagram in &rest[..sent] {
                            let local = self.udp[datagram.socket].local();
                            hep.sent(Protocol::Udp, local, datagram.remote, &datagram.queued.bytes);
                        }
                    }
                    sent
                }
                Err(error) => {
                    failed.extend(self.unsent(first.remote, &error).then(|| first.queued.clone()));
                    1
                }
            };
            rest = rest.get(sent.max(1)..).unwrap_or_default();
        }
        waiting.clear();
        for queued in failed {
            self.undelivered(queued);
        }
    }

    /// The kernel has not taken a datagram. Whether its sender has to know: a full buffer loses it as a wire would.
    pub(super) fn unsent(&self, remote: SocketAddr, error: &io::Error) -> bool {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.counters.unsent_datagrams.add("datagrams not taken by the kernel");
            return false;
        }
        tracing::debug!(%remote, %error, "datagram not sent");
        true
    }
}
