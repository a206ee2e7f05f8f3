//! Sockets in bulk: the only place with system calls of its own, and the only one with `unsafe`.
//!
//! It knows no protocol. [`batch`] is what runs: epoll, `recvmmsg` and `sendmmsg` on the shared port, plain calls on the
//! sockets of single legs, where a datagram is alone anyway and batching calls gain nothing. [`plain`] does the same with
//! one safe call per datagram and is the oracle in the tests.

pub mod batch;
pub mod plain;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use media_core::packet::{Packet, Pool};
use media_core::sockets::{OpenError, SocketId, SocketUse, Sockets};
use socket2::{Domain, Protocol, Socket, Type};

/// Receive buffer asked for on a shared port: a second of 4000 packets/s.
const SHARED_BUFFER: usize = 4 << 20;

/// Receive buffer of a single leg: the kernel's accounting takes about 800 octets a voice packet.
const LEG_BUFFER: usize = 128 << 10;

/// What one worker does with its sockets.
pub trait Backend: Sockets + Sized {
    /// A back end without sockets.
    fn new() -> io::Result<Self>;

    /// Type of service (IPv4) or traffic class (IPv6) of what sockets opened from now on send.
    fn set_tos(&mut self, tos: u8);

    /// Something by which another thread ends [`Backend::wait`].
    fn waker(&self) -> io::Result<Waker>;

    /// Waits until a datagram can be read, the waker was called, or `timeout` is over (`None`: for ever).
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// The next datagram that [`Backend::wait`] found; `None` when it is time to wait again.
    fn receive(&mut self, pool: &mut Pool) -> Option<(SocketId, SocketAddr, Packet)>;

    /// Sends a datagram, at the latest at the next [`Backend::flush`]. UDP promises nothing: what the kernel refuses is
    /// counted and lost.
    fn send(&mut self, socket: SocketId, to: SocketAddr, packet: Packet, pool: &mut Pool);

    /// Sends what waits.
    fn flush(&mut self, pool: &mut Pool);

    /// Datagrams the kernel refused to send.
    fn send_errors(&self) -> u64;
}

/// Ends the [`Backend::wait`] of its back end, from any thread.
#[derive(Debug)]
pub struct Waker(std::fs::File);

impl Waker {
    /// Wakes.
    pub fn wake(&self) {
        // The counter of an eventfd only refuses when it is full, and then the wake-up is already on its way.
        let _ = io::Write::write(&mut &self.0, &1u64.to_ne_bytes());
    }
}

/// Opens a non-blocking UDP socket.
fn open_socket(local: SocketAddr, kind: SocketUse, tos: u8) -> Result<UdpSocket, OpenError> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP)).map_err(failed)?;
    if local.is_ipv6() {
        // Otherwise IPv4 peers would show up as mapped addresses, and the IPv4 port of the same number would be taken.
        socket.set_only_v6(true).map_err(failed)?;
    }
    socket.set_nonblocking(true).map_err(failed)?;
    let buffer = match kind {
        SocketUse::Shared => SHARED_BUFFER,
        SocketUse::Leg => LEG_BUFFER,
    };
    // The kernel cuts this to its limit (net.core.rmem_max) by itself; a smaller buffer is no reason to refuse a call.
    let _ = socket.set_recv_buffer_size(buffer);
    if tos != 0 {
        match local.is_ipv6() {
            true => socket.set_tclass_v6(u32::from(tos)),
            false => socket.set_tos_v4(u32::from(tos)),
        }
        .map_err(failed)?;
    }
    socket.bind(&local.into()).map_err(failed)?;
    Ok(socket.into())
}

/// Sets the type of service or traffic class of what a socket sends from now on. A call is worth more than its priority:
/// where the system refuses, the log says so.
fn mark(socket: &UdpSocket, tos: u8) {
    let reference = socket2::SockRef::from(socket);
    let marked = socket.local_addr().and_then(|local| match local.is_ipv6() {
        true => reference.set_tclass_v6(u32::from(tos)),
        false => reference.set_tos_v4(u32::from(tos)),
    });
    if let Err(error) = marked {
        tracing::warn!(%error, tos, "packets are not marked");
    }
}

fn failed(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => OpenError::InUse,
        _ => OpenError::Failed(error.to_string()),
    }
}

/// The source address the kernel would choose towards `peer`: connecting a datagram socket looks up the route and sends
/// nothing.
pub(crate) fn route_to(peer: SocketAddr) -> Option<IpAddr> {
    let any = SocketAddr::new(if peer.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() }, 0);
    let socket = UdpSocket::bind(any).ok()?;
    // Port 0 is no destination; any other serves.
    socket.connect(SocketAddr::new(peer.ip(), peer.port().max(1))).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// An eventfd, for the back ends' wakers.
fn eventfd() -> io::Result<std::fs::File> {
    use std::os::fd::FromRawFd;
    // SAFETY: no pointers; the result is checked before it is used.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` has just been opened and nobody else owns it.
    Ok(unsafe { std::fs::File::from_raw_fd(fd) })
}

/// Installs `handler` for `signals`.
pub(crate) fn on_signals(signals: &[libc::c_int], handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    for signal in signals {
        // SAFETY: the handler has the type the kernel calls, and lives as long as the program.
        let before = unsafe { libc::signal(*signal, handler as *const () as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// For the calls that wait to the nanosecond.
fn timespec(timeout: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    }
}

/// Milliseconds for epoll and poll: rounded up, so that a wait never ends before its timer is due; -1 is for ever.
fn wait_millis(timeout: Option<Duration>) -> i32 {
    match timeout {
        None => -1,
        Some(timeout) => i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
    }
}

#[cfg(test)]
mod tests;
