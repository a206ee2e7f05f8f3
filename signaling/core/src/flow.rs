//! Where a message came from and where it goes: the words shared with the transports of the shell.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// A SIP transport, as named in the `transport` URI parameter and in Via (RFC 3261 §20.42, RFC 7118 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Datagrams (RFC 3261 §18).
    Udp,
    /// A plain stream.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// WebSocket over a plain stream (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
}

impl Protocol {
    /// The token of the Via header: `UDP`, `TCP`, `TLS`, `WS`, `WSS`.
    #[must_use]
    pub const fn via_token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Whether the transport itself retransmits, so that timers A, E and G stay off (RFC 3261 §17).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether the peer at the other end is a WebSocket client, in practice a browser.
    #[must_use]
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The digit of Kamailio's `;alias=IP~PORT~PROTO` contact parameter (4 is SCTP, which is not spoken here).
    #[must_use]
    pub const fn alias_digit(self) -> u8 {
        match self {
            Self::Udp => 1,
            Self::Tcp => 2,
            Self::Tls => 3,
            Self::Ws => 5,
            Self::Wss => 6,
        }
    }

    /// The inverse of [`Protocol::alias_digit`].
    #[must_use]
    pub const fn from_alias_digit(digit: u8) -> Option<Self> {
        match digit {
            1 => Some(Self::Udp),
            2 => Some(Self::Tcp),
            3 => Some(Self::Tls),
            5 => Some(Self::Ws),
            6 => Some(Self::Wss),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.via_token())
    }
}

/// One stream connection of this process. Numbers are never used twice, so a stale one reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A transport association (RFC 5626 §2): for datagrams the pair of addresses, for streams one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport spoken.
    pub protocol: Protocol,
    /// Our end. The address is the concrete one on which the peer reached us, never a wildcard.
    pub local: SocketAddr,
    /// The peer's end as seen here, which is behind any NAT the peer sits behind.
    pub remote: SocketAddr,
    /// The connection; `None` exactly for datagrams.
    pub connection: Option<ConnectionId>,
}

/// The port of the agents of this proxy: that of the discard protocol, from which nothing comes.
const AGENT_PORT: u16 = 9;

impl Flow {
    /// That of an agent of this proxy who is reached at the address `local` of ours, and over no network.
    #[must_use]
    pub const fn of_agent(local: SocketAddr) -> Self {
        let remote = SocketAddr::new(local.ip(), AGENT_PORT);
        Self { protocol: Protocol::Udp, local, remote, connection: None }
    }

    /// Whether it is one of those.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.remote.port() == AGENT_PORT
            && self.protocol == Protocol::Udp
            && self.remote.ip() == self.local.ip()
    }
}

/// How many bits of an IPv6 address one subscriber has, unless it is said otherwise: of the rest he can use what he likes, and as many
/// at once as he likes (RFC 4291 §2.5.1, RFC 6177).
pub const IPV6_PREFIX: u8 = 64;

/// What stands for the subscriber that `ip` belongs to: an IPv4 address, or the first `ipv6_prefix` bits of an IPv6 address.
#[must_use]
pub fn subscriber(ip: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let rest = 128 - u32::from(ipv6_prefix.min(128));
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::from((ip.to_bits() & mask).to_be_bytes())
        }
        ip => ip,
    }
}

/// A message as a transport delivers it: one datagram, one WebSocket message, or one framed part of a stream.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The flow on which it came.
    pub flow: Flow,
    /// The whole message.
    pub bytes: Bytes,
}

/// Where an [`Outbound`] message is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Over this flow and no other. When its connection is gone, sending fails; nothing is opened in its place.
    Flow(Flow),
    /// To this address: over an open connection to it if there is one, else a connection is opened (TCP and TLS
    /// only: a WebSocket client cannot be dialled).
    Address {
        /// The transport to use.
        protocol: Protocol,
        /// The peer.
        remote: SocketAddr,
    },
}

/// Names the sender of an [`Outbound`] message when sending fails; 0 is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SendToken(pub u64);

/// A message for a transport to send.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Where it goes.
    pub destination: Destination,
    /// Where it goes when that fails: a response whose connection is gone is sent to the port of sent-by (RFC 3261 §18.2.2).
    pub fallback: Option<Destination>,
    /// The whole message.
    pub bytes: Bytes,
    /// Given back when all has failed, so that a client transaction learns of it at once (RFC 3261 §18.4).
    pub token: SendToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_an_address_or_a_network() {
        for (ip, bits, network) in [
            ("192.0.2.7", 64, "192.0.2.7"),
            ("::ffff:192.0.2.7", 64, "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2ff:3:4:5:6", 56, "2001:db8:1:200::"),
            ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
            ("2001:db8::1", 0, "::"),
        ] {
            let of = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(subscriber(of(ip), bits), of(network), "{ip}/{bits}");
        }
    }
}
