//! Where a listener listens, as a person writes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A listener: nowhere, on every address of the host, or on one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listen {
    /// `off`
    #[default]
    Off,
    /// `*:PORT`
    Every(u16),
    /// `ADDRESS:PORT`
    One(SocketAddr),
}

impl Listen {
    /// The addresses to bind, where `*` stands for `every`, and so does a wildcard address for those of its family: a
    /// datagram must be known to have reached one address.
    #[must_use]
    pub fn addresses(self, every: &[IpAddr]) -> Vec<SocketAddr> {
        match self {
            Self::Off => Vec::new(),
            Self::Every(port) => every.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
            Self::One(address) if address.ip().is_unspecified() && !every.is_empty() => {
                let family = every.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
                family.map(|ip| SocketAddr::new(*ip, address.port())).collect()
            }
            Self::One(address) => vec![address],
        }
    }
}

impl FromStr for Listen {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(port) = text.strip_prefix("*:") {
            return port.parse().map(Self::Every).map_err(|_| ());
        }
        text.parse().map(Self::One).map_err(|_| ())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(port) => write!(f, "*:{port}"),
            Self::One(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_become_addresses() {
        let every: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).to_vec();
        for (text, expected) in [
            ("off", ""),
            ("*:5060", "192.0.2.1:5060 [2001:db8::1]:5060"),
            ("0.0.0.0:5060", "192.0.2.1:5060"),
            ("[::]:5060", "[2001:db8::1]:5060"),
            ("198.51.100.1:1", "198.51.100.1:1"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
            let bound: Vec<String> = listen.addresses(&every).iter().map(ToString::to_string).collect();
            assert_eq!(bound.join(" "), expected);
        }
        for text in ["", "5060", "*", "*:x", "*:65536", "host:5060", "192.0.2.1"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
