//! What this host is called and by which addresses it is reached.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Every usable address of this host, the one that leads out first and loopback last. Link-local IPv6 addresses are left
/// out: they mean nothing without a zone, which neither SIP nor SDP can carry.
///
/// # Errors
/// The operating system does not list its interfaces.
pub fn addresses() -> std::io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()?
        .into_iter()
        .filter(|interface| !(interface.is_link_local() && interface.ip().is_ipv6()))
        .map(|interface| interface.ip())
        .collect();
    let primary = [route_to(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))), route_to(DOCUMENTATION_V6)];
    addresses.sort_by_key(|ip| {
        let rank = primary.iter().position(|primary| *primary == Some(*ip)).unwrap_or(primary.len());
        (ip.is_loopback(), rank, ip.is_ipv6(), *ip)
    });
    addresses.dedup();
    Ok(addresses)
}

/// 2001:db8::1, an address of the documentation network (RFC 3849) that follows the default route.
const DOCUMENTATION_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The local address from which the kernel would send to `remote`. No packet is sent: connecting a datagram socket only looks
/// the route up.
#[must_use]
pub fn route_to(remote: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = if remote.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((remote, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// The host's name, lower case; `None` when it has none but `localhost`.
#[must_use]
pub fn name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.ok()?.trim().to_ascii_lowercase();
    let valid = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    (valid && name != "localhost").then_some(name)
}

/// Raises the soft limit of open files to the hard one, and returns it. The soft limit is 1024 on most systems, for programs
/// that use `select`; here every connection and every media port is a file.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "limit of open files not raised");
            current.unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_comes_after_all_others() {
        let addresses = addresses().unwrap();
        let first_loopback = addresses.iter().position(|ip| ip.is_loopback()).expect("a loopback address");
        assert!(addresses[first_loopback..].iter().all(|ip| ip.is_loopback()));
    }

    #[test]
    fn the_way_to_loopback_is_loopback() {
        assert_eq!(route_to([127, 0, 0, 1].into()), Some([127, 0, 0, 1].into()));
    }
}
