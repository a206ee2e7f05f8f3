//! Flow tokens (RFC 5626 §5.2): a flow, enciphered and sealed, for others to carry in the user part of a Record-Route URI of
//! ours. Whoever brings it back shows where we said that the way leads, and can neither read nor change it.

use std::net::{IpAddr, SocketAddr};

use crate::flow::{ConnectionId, Flow, Protocol};
use crate::secret::Secret;

/// The token of `flow` for what `purpose` names, and for nothing else.
#[must_use]
pub fn make(secret: &Secret, purpose: &str, flow: &Flow) -> String {
    let mut plain = vec![flow.protocol.alias_digit()];
    plain.extend(flow.connection.map_or(0, |ConnectionId(number)| number).to_be_bytes());
    for address in [flow.local, flow.remote] {
        match address.ip() {
            IpAddr::V4(ip) => plain.extend(std::iter::once(4).chain(ip.octets())),
            IpAddr::V6(ip) => plain.extend(std::iter::once(16).chain(ip.octets())),
        }
        plain.extend(address.port().to_be_bytes());
    }
    secret.wrap(&label(purpose), &plain)
}

/// The flow of a token that was made for `purpose`; `None` for anything else.
#[must_use]
pub fn read(secret: &Secret, purpose: &str, token: &str) -> Option<Flow> {
    let plain = secret.unwrap(&label(purpose), token)?;
    let mut rest = plain.as_slice();
    let protocol = Protocol::from_alias_digit(take::<1>(&mut rest)?[0])?;
    let number = u64::from_be_bytes(take(&mut rest)?);
    let (local, remote) = (address(&mut rest)?, address(&mut rest)?);
    let connection = (number != 0).then_some(ConnectionId(number));
    rest.is_empty().then_some(Flow { protocol, local, remote, connection })
}

fn label(purpose: &str) -> String {
    format!("flow {purpose}")
}

fn address(rest: &mut &[u8]) -> Option<SocketAddr> {
    let ip = match take::<1>(rest)?[0] {
        4 => IpAddr::from(take::<4>(rest)?),
        16 => IpAddr::from(take::<16>(rest)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(take(rest)?)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_flow_for_its_purpose() {
        let secret = Secret([5; 32]);
        for (protocol, remote, connection) in [
            (Protocol::Wss, "203.0.113.9:41000", Some(ConnectionId(u64::MAX))),
            (Protocol::Tcp, "[2001:db8::9]:5060", Some(ConnectionId(1))),
            (Protocol::Udp, "198.51.100.7:5060", None),
        ] {
            let local = "192.0.2.1:8443".parse().expect("address");
            let flow = Flow { protocol, local, remote: remote.parse().expect("address"), connection };
            let token = make(&secret, "dialog-1", &flow);
            assert!(!token.contains("203.0.113"), "{token}");
            assert_eq!(read(&secret, "dialog-1", &token), Some(flow));
            assert_eq!(read(&secret, "dialog-2", &token), None, "it is no key to other dialogs");
            assert_eq!(read(&Secret([6; 32]), "dialog-1", &token), None);
        }
        for made_up in ["", "alice", &secret.wrap("flow x", b""), &secret.wrap("flow x", &[6; 40])] {
            assert_eq!(read(&secret, "x", made_up), None, "{made_up}");
        }
    }
}
