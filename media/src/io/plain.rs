//! The slow, obvious back end: one safe call per datagram. The oracle for [`super::batch`].

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use media_core::packet::{Packet, Pool};
use media_core::sockets::{OpenError, SocketId, SocketUse, Sockets};
use slab::Slab;

use super::{Backend, Waker};

/// See the module.
#[derive(Debug)]
pub struct PlainBackend {
    sockets: Slab<UdpSocket>,
    wake: File,
    /// The sockets still to be read in this round.
    ready: Vec<usize>,
    send_errors: u64,
    tos: u8,
}

impl Sockets for PlainBackend {
    fn open(&mut self, local: SocketAddr, kind: SocketUse) -> Result<(SocketId, SocketAddr), OpenError> {
        let socket = super::open_socket(local, kind, self.tos)?;
        let bound = socket.local_addr().map_err(super::failed)?;
        let id = self.sockets.insert(socket);
        Ok((
            SocketId(u32::try_from(id).map_err(|_| OpenError::Failed("too many sockets".to_owned()))?),
            bound,
        ))
    }

    fn close(&mut self, socket: SocketId) {
        self.sockets.try_remove(socket.0 as usize);
    }

    fn mark(&mut self, socket: SocketId, tos: Option<u8>) {
        if let Some(socket) = self.sockets.get(socket.0 as usize) {
            super::mark(socket, tos.unwrap_or(self.tos));
        }
    }

    fn route_to(&mut self, peer: SocketAddr) -> Option<IpAddr> {
        super::route_to(peer)
    }
}

impl Backend for PlainBackend {
    fn new() -> io::Result<Self> {
        Ok(PlainBackend {
            sockets: Slab::new(),
            wake: super::eventfd()?,
            ready: Vec::new(),
            send_errors: 0,
            tos: 0,
        })
    }

    fn set_tos(&mut self, tos: u8) {
        self.tos = tos;
    }

    fn waker(&self) -> io::Result<Waker> {
        Ok(Waker(self.wake.try_clone()?))
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let wake = libc::pollfd { fd: self.wake.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut entries = vec![wake];
        let mut keys = Vec::with_capacity(self.sockets.len());
        for (key, socket) in &self.sockets {
            entries.push(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 });
            keys.push(key);
        }
        // SAFETY: `entries` is a live, exclusively borrowed array of as many pollfd as said.
        let count = unsafe {
            libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, super::wait_millis(timeout))
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        let _ = self.wake.read(&mut [0u8; 8]);
        self.ready = entries
            .iter()
            .skip(1)
            .zip(keys)
            .filter(|(entry, _)| entry.revents != 0)
            .map(|(_, key)| key)
            .collect();
        Ok(())
    }

    fn receive(&mut self, pool: &mut Pool) -> Option<(SocketId, SocketAddr, Packet)> {
        while let Some(&key) = self.ready.last() {
            let mut packet = pool.take();
            if let Some(socket) = self.sockets.get(key)
                && let Ok((len, source)) = socket.recv_from(packet.receive_space())
            {
                packet.set_received(len);
                return Some((SocketId(key as u32), source, packet));
            }
            pool.put(packet);
            self.ready.pop();
        }
        None
    }

    fn send(&mut self, socket: SocketId, to: SocketAddr, packet: Packet, pool: &mut Pool) {
        if let Some(socket) = self.sockets.get(socket.0 as usize)
            && socket.send_to(packet.as_slice(), to).is_err()
        {
            self.send_errors += 1;
        }
        pool.put(packet);
    }

    fn flush(&mut self, _pool: &mut Pool) {}

    fn send_errors(&self) -> u64 {
        self.send_errors
    }
}
