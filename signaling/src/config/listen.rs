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
    /// The addresses to bind, where `*` stands for `every`.
    #[must_use]
    pub fn addresses(self, every: &[IpAddr]) -> Vec<SocketAddr> {
        match self {
            Self::Off => Vec::new(),
            Self::Every(port) => every.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
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
