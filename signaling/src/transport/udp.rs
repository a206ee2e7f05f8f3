//! SIP over UDP: one socket per local address, so that a message's local address is known and replies leave from it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use signaling_core::flow::{Flow, Inbound, Protocol};
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;

use super::listen::BindError;
use crate::worker::Workers;

/// The largest datagram there can be.
const MAX_DATAGRAM: usize = 65_535;
/// Room for a burst of requests while a worker is busy; the kernel gives what its own limit allows.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Datagrams taken in a row before other tasks of the runtime get their turn.
const BATCH: usize = 64;

/// One bound socket.
#[derive(Debug)]
pub struct UdpListener {
    local: SocketAddr,
    readable: tokio::net::UdpSocket,
    /// The same socket, for workers to send on without asking the runtime.
    sender: UdpSocket,
}

impl UdpListener {
    /// Binds `address`; `setting` names it in the error. Must be called within a runtime.
    ///
    /// # Errors
    /// The address is in use, not of this host, or not permitted.
    pub fn bind(setting: &'static str, address: SocketAddr) -> Result<Arc<Self>, BindError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            socket.bind(&address.into())?;
            let sender: UdpSocket = socket.into();
            let readable = tokio::net::UdpSocket::from_std(sender.try_clone()?)?;
            Ok(Arc::new(Self { local: sender.local_addr()?, readable, sender }))
        };
        bind().map_err(|error| BindError { setting, address, error })
    }

    /// The address it is bound to.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn send(&self, bytes: &[u8], remote: SocketAddr) -> std::io::Result<()> {
        self.sender.send_to(bytes, remote).map(|_| ())
    }

    /// Hands every datagram to its worker, for ever.
    pub(super) async fn receive(self: Arc<Self>, workers: Arc<Workers>) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            if let Err(error) = self.readable.ready(Interest::READABLE).await {
                tracing::error!(local = %self.local, %error, "UDP socket lost");
                return;
            }
            for _ in 0..BATCH {
                match self.readable.try_recv_from(&mut buffer) {
                    Ok((length, remote)) => self.deliver(&buffer[..length], remote, &workers),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier send; the socket is good.
                    Err(error) => tracing::trace!(local = %self.local, %error, "UDP receive"),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn deliver(&self, datagram: &[u8], remote: SocketAddr, workers: &Workers) {
        // Phones keep their NAT open with CRLF or a few zeros.
        if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) {
            return;
        }
        let flow = Flow { protocol: Protocol::Udp, local: self.local, remote, connection: None };
        workers.deliver_datagram(Inbound { flow, bytes: Bytes::copy_from_slice(datagram) });
    }
}
