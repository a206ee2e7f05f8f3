//! SIP over UDP: one local address has one socket per signalling thread, which reads and writes on it itself. The kernel
//! gives all datagrams of one peer to one of them, so most messages meet no other thread.

mod batch;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use signaling_core::flow::{Flow, Inbound, Protocol};
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;

pub(super) use self::batch::{BATCH, Sender};
use super::counters::Counters;
use super::listen::BindError;
use crate::worker::WorkerId;

/// The largest datagram there can be.
const MAX_DATAGRAM: usize = 65_535;
/// Room for a burst of requests while a worker is busy; the kernel gives what its own limit allows.
const RECEIVE_BUFFER: usize = 4 << 20;

/// One bound address.
#[derive(Debug)]
pub struct UdpListener {
    local: SocketAddr,
    /// One for each worker.
    sockets: Box<[UdpSocket]>,
}

impl UdpListener {
    /// Binds `address` for `workers` threads; `setting` names it in the error.
    ///
    /// # Errors
    /// The address is in use, not of this host, or not permitted.
    pub fn bind(setting: &'static str, address: SocketAddr, workers: usize) -> Result<Self, BindError> {
        let bind = || {
            // The first one is bound for itself, so that a second gateway is refused; then it lets the others in.
            let first = socket(address)?;
            first.bind(&address.into())?;
            first.set_reuse_port(workers > 1)?;
            let first: UdpSocket = first.into();
            let local = first.local_addr()?;
            let mut sockets = vec![first];
            while sockets.len() < workers {
                let next = socket(local)?;
                next.set_reuse_port(true)?;
                next.bind(&local.into())?;
                sockets.push(next.into());
            }
            Ok(Self { local, sockets: sockets.into() })
        };
        bind().map_err(|error| BindError { setting, address, error })
    }

    /// The address it is bound to.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn send(&self, worker: WorkerId, bytes: &[u8], remote: SocketAddr) -> io::Result<()> {
        self.of(worker).send_to(bytes, remote).map(|_| ())
    }

    /// The reading end of `worker`. Must be called within its runtime.
    pub(super) fn reader(&self, worker: WorkerId, counters: Arc<Counters>) -> io::Result<UdpReader> {
        let socket = tokio::net::UdpSocket::from_std(self.of(worker).try_clone()?)?;
        Ok(UdpReader { local: self.local, socket, receiver: batch::Receiver::new(), counters })
    }

    /// The socket on which `worker` reads and writes.
    pub(super) fn of(&self, worker: WorkerId) -> &UdpSocket {
        &self.sockets[worker.0 % self.sockets.len()]
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    Ok(socket)
}

/// Where a worker reads the datagrams of one local address.
#[derive(Debug)]
pub struct UdpReader {
    local: SocketAddr,
    socket: tokio::net::UdpSocket,
    receiver: batch::Receiver,
    counters: Arc<Counters>,
}

impl UdpReader {
    /// Gives `take` the messages among the next few datagrams, and returns how many datagrams those were.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(Inbound),
    ) -> Poll<usize> {
        let Self { local, socket, receiver, counters } = self;
        if let Err(error) = ready!(socket.poll_recv_ready(cx)) {
            tracing::error!(%local, %error, "UDP socket");
            return Poll::Pending;
        }
        let (mut count, mut bytes) = (0, 0);
        let received = socket.try_io(Interest::READABLE, || {
            count = receiver.receive(socket, |remote, datagram| {
                bytes += datagram.len();
                inbound(*local, remote, datagram).into_iter().for_each(&mut take);
            })?;
            // Fewer than there is room for: the socket is empty, and the next one that comes wakes this worker.
            if count < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        counters.of(Protocol::Udp).received(count, bytes);
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // An ICMP error of an earlier send; the socket is good.
                tracing::trace!(%local, %error, "UDP receive");
                Poll::Ready(1)
            }
            Err(_) if count == 0 => match socket.poll_recv_ready(cx) {
                // Not ready any more: this has left the waker.
                Poll::Pending => Poll::Pending,
                Poll::Ready(_) => Poll::Ready(0),
            },
            _ => Poll::Ready(count),
        }
    }
}

/// Phones keep their NAT open with CRLF or a few zeros; those are no messages.
fn inbound(local: SocketAddr, remote: SocketAddr, datagram: &[u8]) -> Option<Inbound> {
    if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) {
        return None;
    }
    let flow = Flow { protocol: Protocol::Udp, local, remote, connection: None };
    Some(Inbound { flow, bytes: Bytes::copy_from_slice(datagram) })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn bound(workers: usize) -> UdpListener {
        UdpListener::bind("sip.udp", "127.0.0.1:0".parse().unwrap(), workers).unwrap()
    }

    /// The next messages of any of `readers`, until there are `count` datagrams.
    async fn receive(readers: &mut [UdpReader], count: usize) -> Vec<Inbound> {
        let (mut datagrams, mut messages) = (0, Vec::new());
        poll_fn(|cx| {
            for reader in &mut *readers {
                while let Poll::Ready(more) = reader.poll_receive(cx, |inbound| messages.push(inbound)) {
                    datagrams += more;
                }
            }
            if datagrams < count { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        messages
    }

    #[tokio::test]
    async fn an_address_belongs_to_one_gateway_and_all_its_workers() {
        let one = bound(3);
        assert!(UdpListener::bind("sip.udp", one.local(), 3).is_err(), "a second gateway");
        let mut readers: Vec<_> =
            (0..3).map(|worker| one.reader(WorkerId(worker), Arc::default()).unwrap()).collect();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.send_to(b"\r\n\r\n", one.local()).unwrap();
        phone.send_to(b"OPTIONS", one.local()).unwrap();
        let messages = receive(&mut readers, 2).await;
        assert_eq!(messages.len(), 1, "a keep-alive is no message");
        let inbound = &messages[0];
        assert_eq!((&inbound.bytes[..], inbound.flow.local), (&b"OPTIONS"[..], one.local()));
        assert_eq!(inbound.flow.remote, phone.local_addr().unwrap());
        one.send(WorkerId(2), b"SIP/2.0 200 OK", inbound.flow.remote).unwrap();
        let mut answer = [0; 32];
        let (length, from) = phone.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..length], from), (&b"SIP/2.0 200 OK"[..], one.local()));
    }

    #[tokio::test]
    async fn more_than_a_batch_comes_whole_and_in_order_and_each_is_woken_for() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(one) = UdpListener::bind("sip.udp", address.parse().unwrap(), 1) else {
                assert!(address.starts_with('['), "a host without IPv6 has IPv4");
                continue;
            };
            let mut readers = [one.reader(WorkerId(0), Arc::default()).unwrap()];
            let phone = UdpSocket::bind(address).unwrap();
            for count in [1, BATCH - 1, BATCH, 1, 2 * BATCH + 3, 0, 1] {
                let texts: Vec<String> = (0..count).map(|n| format!("{n}{}", "x".repeat(97 * n))).collect();
                for text in &texts {
                    phone.send_to(text.as_bytes(), one.local()).unwrap();
                }
                let messages = receive(&mut readers, count).await;
                assert_eq!(
                    messages.iter().map(|m| String::from_utf8_lossy(&m.bytes)).collect::<Vec<_>>(),
                    texts
                );
                assert!(messages.iter().all(|m| m.flow.remote == phone.local_addr().unwrap()));
            }
        }
    }
}
