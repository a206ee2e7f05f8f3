//! SIP over UDP: one local address has one socket per signalling thread, which reads and writes on it itself. The kernel
//! gives all datagrams of one peer to one of them, so most messages meet no other thread.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};

use bytes::Bytes;
use signaling_core::flow::{Flow, Inbound, Protocol};
use socket2::{Domain, Socket, Type};
use tokio::io::ReadBuf;

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
    pub(super) fn reader(&self, worker: WorkerId) -> io::Result<UdpReader> {
        let socket = tokio::net::UdpSocket::from_std(self.of(worker).try_clone()?)?;
        Ok(UdpReader { local: self.local, socket, buffer: vec![0; MAX_DATAGRAM] })
    }

    fn of(&self, worker: WorkerId) -> &UdpSocket {
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
    buffer: Vec<u8>,
}

impl UdpReader {
    /// The next datagram; `None` for one that holds no message.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        let received = std::task::ready!(self.socket.poll_recv_from(cx, &mut buffer));
        Poll::Ready(match received {
            Ok(remote) => inbound(self.local, remote, buffer.filled()),
            // An ICMP error of an earlier send; the socket is good.
            Err(error) => {
                tracing::trace!(local = %self.local, %error, "UDP receive");
                None
            }
        })
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

    #[tokio::test]
    async fn an_address_belongs_to_one_gateway_and_all_its_workers() {
        let one = UdpListener::bind("sip.udp", "127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert!(UdpListener::bind("sip.udp", one.local(), 3).is_err(), "a second gateway");
        let mut readers: Vec<_> = (0..3).map(|worker| one.reader(WorkerId(worker)).unwrap()).collect();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.send_to(b"\r\n\r\n", one.local()).unwrap();
        phone.send_to(b"OPTIONS", one.local()).unwrap();
        let received = poll_fn(|cx| {
            let polled = readers.iter_mut().find_map(|reader| match reader.poll_receive(cx) {
                Poll::Ready(received) => Some(received),
                Poll::Pending => None,
            });
            polled.map_or(Poll::Pending, Poll::Ready)
        });
        assert!(received.await.is_none(), "a keep-alive is no message");
        let received = poll_fn(|cx| {
            readers
                .iter_mut()
                .map(|reader| reader.poll_receive(cx))
                .find(Poll::is_ready)
                .unwrap_or(Poll::Pending)
        });
        let inbound = received.await.unwrap();
        assert_eq!((&inbound.bytes[..], inbound.flow.local), (&b"OPTIONS"[..], one.local()));
        assert_eq!(inbound.flow.remote, phone.local_addr().unwrap());
        one.send(WorkerId(2), b"SIP/2.0 200 OK", inbound.flow.remote).unwrap();
        let mut answer = [0; 32];
        let (length, from) = phone.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..length], from), (&b"SIP/2.0 200 OK"[..], one.local()));
    }
}
