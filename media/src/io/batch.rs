//! The back end that runs: one epoll per worker; many datagrams per call on the shared port, one on the others.

use std::fs::File;
use std::io::{self, Read};
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use media_core::packet::{Packet, Pool};
use media_core::sockets::{OpenError, SocketId, SocketUse, Sockets};
use slab::Slab;

use super::{Backend, Waker};

/// Datagrams per `recvmmsg` and `sendmmsg`.
const BATCH: usize = 32;

/// Sockets reported by one `epoll_wait`.
const EVENTS: usize = 256;

/// The waker's mark among the socket numbers.
const WAKE: u64 = u64::MAX;

/// See the module.
pub struct BatchBackend {
    epoll: OwnedFd,
    wake: File,
    sockets: Slab<Entry>,
    events: Box<[libc::epoll_event; EVENTS]>,
    /// The part of `events` that is still to be read.
    pending: std::ops::Range<usize>,
    /// What the last `recvmmsg` brought, last first.
    received: Vec<(SocketId, SocketAddr, Packet)>,
    /// The buffers `recvmmsg` reads into; those it filled are replaced.
    spare: Vec<Packet>,
    outgoing: Vec<(SocketId, SocketAddr, Packet)>,
    send_errors: u64,
    tos: u8,
    /// The kernel waits to the microsecond; one before 5.11, or a container's filter of system calls, to the millisecond.
    is_exact: bool,
}

struct Entry {
    socket: UdpSocket,
    kind: SocketUse,
}

impl std::fmt::Debug for BatchBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchBackend").field("sockets", &self.sockets.len()).finish_non_exhaustive()
    }
}

impl Sockets for BatchBackend {
    fn open(&mut self, local: SocketAddr, kind: SocketUse) -> Result<(SocketId, SocketAddr), OpenError> {
        let socket = super::open_socket(local, kind, self.tos)?;
        let bound = socket.local_addr().map_err(super::failed)?;
        let entry = self.sockets.vacant_entry();
        let key = u32::try_from(entry.key()).map_err(|_| OpenError::Failed("too many sockets".to_owned()))?;
        add_to_epoll(&self.epoll, socket.as_raw_fd(), u64::from(key)).map_err(super::failed)?;
        entry.insert(Entry { socket, kind });
        Ok((SocketId(key), bound))
    }

    fn close(&mut self, socket: SocketId) {
        // Closing the only descriptor takes it out of the epoll set. An event for it that was already fetched finds
        // nothing, or a later socket that has nothing to read.
        self.sockets.try_remove(socket.0 as usize);
        self.received.retain(|(id, ..)| *id != socket);
    }

    fn mark(&mut self, socket: SocketId, tos: Option<u8>) {
        // What waits was sent before.
        if let Some(entry) = self.sockets.get(socket.0 as usize) {
            super::mark(&entry.socket, tos.unwrap_or(self.tos));
        }
    }

    fn route_to(&mut self, peer: SocketAddr) -> Option<IpAddr> {
        super::route_to(peer)
    }
}

impl Backend for BatchBackend {
    fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it is used.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` has just been opened and nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let wake = super::eventfd()?;
        add_to_epoll(&epoll, wake.as_raw_fd(), WAKE)?;
        Ok(BatchBackend {
            epoll,
            wake,
            sockets: Slab::new(),
            events: Box::new([libc::epoll_event { events: 0, u64: 0 }; EVENTS]),
            pending: 0..0,
            received: Vec::with_capacity(BATCH),
            spare: Vec::with_capacity(BATCH),
            outgoing: Vec::with_capacity(BATCH),
            send_errors: 0,
            tos: 0,
            is_exact: true,
        })
    }

    fn set_tos(&mut self, tos: u8) {
        self.tos = tos;
    }

    fn waker(&self) -> io::Result<Waker> {
        Ok(Waker(self.wake.try_clone()?))
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.pending = 0..0;
        let waited = match self.is_exact {
            true => self.wait_exactly(timeout),
            false => self.wait_coarsely(timeout),
        };
        match waited {
            Ok(count) => self.pending = 0..count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if self.is_exact && is_unknown_call(&error) => {
                self.is_exact = false;
                return self.wait(timeout);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn receive(&mut self, pool: &mut Pool) -> Option<(SocketId, SocketAddr, Packet)> {
        loop {
            if let Some(received) = self.received.pop() {
                return Some(received);
            }
            let event = self.events[self.pending.next()?];
            let token = event.u64;
            if token == WAKE {
                let _ = self.wake.read(&mut [0u8; 8]);
                continue;
            }
            let id = SocketId(token as u32);
            let Some(entry) = self.sockets.get(token as usize) else { continue };
            match entry.kind {
                SocketUse::Shared => {
                    let fd = entry.socket.as_raw_fd();
                    // Level-triggered: what is left shows up in the next round, after commands and timers had their
                    // turn, so that a flood of one port stops nothing else.
                    receive_many(fd, id, pool, &mut self.spare, &mut self.received);
                }
                SocketUse::Leg => {
                    // Level-triggered: a second datagram of the same leg shows up in the next round.
                    if let Some((source, packet)) = receive_one(&entry.socket, pool) {
                        return Some((id, source, packet));
                    }
                }
            }
        }
    }

    fn send(&mut self, socket: SocketId, to: SocketAddr, packet: Packet, pool: &mut Pool) {
        let Some(entry) = self.sockets.get(socket.0 as usize) else { return pool.put(packet) };
        if entry.kind == SocketUse::Leg {
            if entry.socket.send_to(packet.as_slice(), to).is_err() {
                self.send_errors += 1;
            }
            return pool.put(packet);
        }
        self.outgoing.push((socket, to, packet));
        if self.outgoing.len() >= BATCH {
            self.flush(pool);
        }
    }

    fn flush(&mut self, pool: &mut Pool) {
        let mut start = 0;
        while start < self.outgoing.len() {
            let socket = self.outgoing[start].0;
            let run = self.outgoing[start..].iter().take_while(|(id, ..)| *id == socket).count();
            if let Some(entry) = self.sockets.get(socket.0 as usize) {
                self.send_errors += send_many(entry.socket.as_raw_fd(), &self.outgoing[start..start + run]);
            }
            start += run;
        }
        for (_, _, packet) in self.outgoing.drain(..) {
            pool.put(packet);
        }
    }

    fn send_errors(&self) -> u64 {
        self.send_errors
    }
}

impl BatchBackend {
    /// Waits by `epoll_pwait2`: held packets and tones go on when they are due, and not up to a millisecond later.
    fn wait_exactly(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(super::timespec);
        let until = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` is a live, exclusively borrowed array of EVENTS entries; `until` is null or points to `timeout`,
        // which outlives the call; no signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                until,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn wait_coarsely(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        // SAFETY: `events` is a live, exclusively borrowed array of EVENTS entries.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as i32,
                super::wait_millis(timeout),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

/// Whether the kernel, or what stands before it in a container, does not know a system call.
fn is_unknown_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

fn add_to_epoll(epoll: &OwnedFd, fd: i32, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
    // SAFETY: both descriptors are open, and `event` lives during the call, which copies it.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn receive_one(socket: &UdpSocket, pool: &mut Pool) -> Option<(SocketAddr, Packet)> {
    let mut packet = pool.take();
    match socket.recv_from(packet.receive_space()) {
        Ok((len, source)) => {
            packet.set_received(len);
            Some((source, packet))
        }
        // Nothing to read, or an ICMP error of an earlier send: either way no datagram.
        Err(_) => {
            pool.put(packet);
            None
        }
    }
}

/// Reads up to [`BATCH`] datagrams, last first into `received`.
fn receive_many(
    fd: i32,
    id: SocketId,
    pool: &mut Pool,
    packets: &mut Vec<Packet>,
    received: &mut Vec<(SocketId, SocketAddr, Packet)>,
) {
    while packets.len() < BATCH {
        packets.push(pool.take());
    }
    let mut addresses = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH];
    // SAFETY: all-zero is a valid iovec and a valid mmsghdr (null pointers, zero lengths).
    let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    for index in 0..BATCH {
        let space = packets[index].receive_space();
        vectors[index] = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
        let header = &mut headers[index].msg_hdr;
        header.msg_name = addresses[index].as_mut_ptr().cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &raw mut vectors[index];
        header.msg_iovlen = 1;
    }
    // SAFETY: every header points to one iovec and one address of these arrays, every iovec to the receive space of one
    // packet (a heap buffer that stays where it is); all of them outlive the call.
    let count = unsafe {
        libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
    };
    let count = usize::try_from(count).unwrap_or(0);
    // The last first: `received` is emptied from its end.
    for (index, mut packet) in packets.drain(..count).enumerate().rev() {
        packet.set_received(headers[index].msg_len as usize);
        // SAFETY: for the first `count` headers the kernel wrote `msg_namelen` octets of a socket address.
        match unsafe { read_address(addresses[index].as_ptr(), headers[index].msg_hdr.msg_namelen) } {
            Some(source) => received.push((id, source, packet)),
            None => pool.put(packet),
        }
    }
}

/// Sends all of `outgoing` over one socket; returns how many the kernel refused.
fn send_many(fd: i32, outgoing: &[(SocketId, SocketAddr, Packet)]) -> u64 {
    let mut refused = 0;
    for chunk in outgoing.chunks(BATCH) {
        // SAFETY: all-zero is a valid sockaddr_storage, iovec and mmsghdr.
        let mut addresses: [libc::sockaddr_storage; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (index, (_, to, packet)) in chunk.iter().enumerate() {
            let len = write_address(to, &mut addresses[index]);
            let octets = packet.as_slice();
            vectors[index] =
                libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = (&raw mut addresses[index]).cast();
            header.msg_namelen = len;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
        }
        let mut done = 0;
        while done < chunk.len() {
            // SAFETY: headers done..chunk.len() point to one iovec and one address of these arrays, every iovec to the
            // octets of one packet of `chunk`, which sendmsg only reads; all of them outlive the call.
            let count = unsafe {
                libc::sendmmsg(
                    fd,
                    headers[done..].as_mut_ptr(),
                    (chunk.len() - done) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(count) {
                Ok(count) if count > 0 => done += count,
                // The first of the rest was refused (no route, buffer full): the others may still go.
                _ => {
                    refused += 1;
                    done += 1;
                }
            }
        }
    }
    refused
}

/// # Safety
/// `storage` must hold `len` octets written by the kernel.
unsafe fn read_address(storage: *const libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    let len = len as usize;
    if len < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the family is the first field and was written, by the check above.
    let family = i32::from(unsafe { (*storage).ss_family });
    if family == libc::AF_INET && len >= size_of::<libc::sockaddr_in>() {
        // SAFETY: the family and the length say that it is a sockaddr_in; the storage is aligned for every kind.
        let address = unsafe { &*storage.cast::<libc::sockaddr_in>() };
        let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
        return Some(SocketAddr::new(ip.into(), u16::from_be(address.sin_port)));
    }
    if family == libc::AF_INET6 && len >= size_of::<libc::sockaddr_in6>() {
        // SAFETY: as above, for a sockaddr_in6.
        let address = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
        let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
        let port = u16::from_be(address.sin6_port);
        return Some(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into());
    }
    None
}

fn write_address(address: &SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage is large enough and aligned for every socket address.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}
