//! Many datagrams at one call of the kernel (recvmmsg, sendmmsg).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

use super::MAX_DATAGRAM;

/// Datagrams at a call. What a worker reads it handles before it reads again, so more would only wait in another place.
pub(in crate::transport) const BATCH: usize = 16;

/// Reads from one socket.
#[derive(Debug)]
pub(in crate::transport) struct Receiver {
    /// The kernel gives pages to what is written alone.
    buffers: [Box<[u8]>; BATCH],
    headers: MultiHeaders<SockaddrStorage>,
}

impl Receiver {
    pub(in crate::transport) fn new() -> Self {
        let buffers = std::array::from_fn(|_| vec![0; MAX_DATAGRAM].into());
        Self { buffers, headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Gives `take` what has come, up to [`BATCH`] datagrams, and returns how many those were. Never waits.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there are none, and what an earlier datagram has met.
    pub(in crate::transport) fn receive(
        &mut self,
        socket: &impl AsRawFd,
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<usize> {
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        for datagram in received {
            count += 1;
            if let Some(source) = datagram.address.as_ref().and_then(address) {
                take(source, datagram.iovs().next().unwrap_or_default());
            }
        }
        Ok(count)
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::from(*address));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
}

/// Writes to any socket.
#[derive(Debug)]
pub(in crate::transport) struct Sender {
    headers: MultiHeaders<SockaddrStorage>,
}

impl Sender {
    pub(in crate::transport) fn new() -> Self {
        Self { headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Sends the first of `datagrams`, up to [`BATCH`] of them and as many as the kernel takes, and returns how many those
    /// were. Never waits.
    ///
    /// # Errors
    /// What the first one has met; none is sent then.
    pub(in crate::transport) fn send<'a>(
        &mut self,
        socket: &impl AsRawFd,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> io::Result<usize> {
        let (addresses, slices): (Vec<_>, Vec<_>) = datagrams
            .take(BATCH)
            .map(|(remote, bytes)| (Some(SockaddrStorage::from(remote)), [IoSlice::new(bytes)]))
            .unzip();
        let (control, flags): ([ControlMessage<'_>; 0], _) = ([], MsgFlags::MSG_DONTWAIT);
        let sent = sendmmsg(socket.as_raw_fd(), &mut self.headers, &slices, &addresses, control, flags)?;
        Ok(sent.count())
    }
}
