//! Where media is received, and what is announced for it.

use std::net::IpAddr;
use std::str::FromStr;

/// One interface, spelt as rtpengine's `--interface`: `[NAME/]ADDRESS[!ADVERTISED]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The name that `direction` and the like refer to; `default` when none is given.
    pub name: String,
    /// The local address bound to.
    pub address: IpAddr,
    /// What SDP and candidates announce, where it is another: a 1:1 NAT.
    pub advertised: Option<IpAddr>,
}

/// An `--interface` that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "interface {0:?}: expected [NAME/]ADDRESS[!ADVERTISED], with IP addresses or the name of a network device"
)]
pub struct BadInterface(String);

impl Interface {
    pub(crate) fn to_core(&self) -> media_core::engine::Interface {
        media_core::engine::Interface {
            name: self.name.clone(),
            address: self.address,
            advertised: self.advertised.unwrap_or(self.address),
        }
    }
}

impl Interface {
    /// As [`FromStr`], but the name of a device stands for all its addresses, IPv4 before IPv6.
    ///
    /// # Errors
    /// [`BadInterface`].
    pub fn parse_all(text: &str) -> Result<Vec<Self>, BadInterface> {
        let first: Self = text.parse()?;
        let rest = text.split_once('/').map_or(text, |(_, rest)| rest);
        let device = Some(rest).filter(|rest| ip(rest).is_none() && !rest.contains('!'));
        let Some(device) = device else { return Ok(vec![first]) };
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let devices = if_addrs::get_if_addrs().map_err(|_| BadInterface(text.to_owned()))?;
        let own = devices.iter().filter(|it| it.name == device).map(if_addrs::Interface::ip);
        let mut all: Vec<IpAddr> = own.filter(|ip| !link_local(ip)).collect();
        all.sort_by_key(IpAddr::is_ipv6);
        Ok(all.into_iter().map(|address| Self { address, ..first.clone() }).collect())
    }
}

impl FromStr for Interface {
    type Err = BadInterface;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadInterface(text.to_owned());
        let (name, rest) = text.split_once('/').unwrap_or(("default", text));
        let (address, advertised) = match rest.split_once('!') {
            Some((address, advertised)) => (address, Some(ip(advertised).ok_or_else(bad)?)),
            None => (rest, None),
        };
        let address = ip(address).or_else(|| device_address(address)).ok_or_else(bad)?;
        if name.is_empty() || advertised.is_some_and(|ip| ip.is_ipv4() != address.is_ipv4()) {
            return Err(bad());
        }
        Ok(Interface { name: name.to_owned(), address, advertised })
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The first address of a network device, IPv4 before IPv6.
fn device_address(name: &str) -> Option<IpAddr> {
    let devices = if_addrs::get_if_addrs().ok()?;
    let addresses = || devices.iter().filter(|device| device.name == name).map(if_addrs::Interface::ip);
    addresses().find(IpAddr::is_ipv4).or_else(|| addresses().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_spellings_of_rtpengine() {
        for (text, name, address, advertised) in [
            ("10.0.0.1", "default", "10.0.0.1", None),
            ("10.0.0.1!203.0.113.5", "default", "10.0.0.1", Some("203.0.113.5")),
            ("pub/10.0.0.1!203.0.113.5", "pub", "10.0.0.1", Some("203.0.113.5")),
            ("int/2001:db8::1", "int", "2001:db8::1", None),
            ("[2001:db8::1]", "default", "2001:db8::1", None),
            ("lo", "default", "127.0.0.1", None),
        ] {
            let expected = Interface {
                name: name.to_owned(),
                address: address.parse().unwrap(),
                advertised: advertised.map(|ip| ip.parse().unwrap()),
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "no-such-device-0", "10.0.0.1!", "/10.0.0.1", "10.0.0.1!2001:db8::1", "pub/"] {
            assert!(text.parse::<Interface>().is_err(), "{text}");
        }
    }
}
