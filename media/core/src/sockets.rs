//! The door through which the engine asks for ports. The shell opens real ones, tests hand out numbers.

use std::net::SocketAddr;

/// A socket as the shell knows it. Numbers are reused after [`Sockets::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// How a socket is used, for what the shell may optimise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketUse {
    /// All browser legs of a worker: thousands of datagrams waiting at once.
    Shared,
    /// One leg: a datagram at a time.
    Leg,
}

/// Why a port could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another socket holds it: try the next.
    #[error("address in use")]
    InUse,
    /// No descriptors, no permission, no such address: the next will not do better.
    #[error("{0}")]
    Failed(String),
}

/// UDP sockets.
pub trait Sockets {
    /// Opens a UDP socket bound to `local`; port 0 takes any. Returns it with the address it got.
    fn open(&mut self, local: SocketAddr, kind: SocketUse) -> Result<(SocketId, SocketAddr), OpenError>;

    /// Closes it. What waits in it is lost, and no datagram of it is delivered afterwards.
    fn close(&mut self, socket: SocketId);

    /// Sets the type of service (IPv4) or traffic class (IPv6) of what it sends; `None` for the one that all begin with.
    fn mark(&mut self, socket: SocketId, tos: Option<u8>);

    /// Our address on the route to `peer`, for legs whose announced address nobody gave.
    fn route_to(&mut self, peer: SocketAddr) -> Option<std::net::IpAddr>;
}
