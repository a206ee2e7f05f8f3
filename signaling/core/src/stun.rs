//! The answer to a STUN Binding request on a SIP flow: the keep-alive of user agents on datagrams (RFC 5626 §4.4.2,
//! RFC 8489). It tells the peer where it is seen, and nothing is kept of it.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
const HEADER: usize = 20;

/// The answer to `datagram` from `remote`; `None` when it is no Binding request. No SIP message begins with a zero.
#[must_use]
pub fn answer(datagram: &[u8], remote: SocketAddr) -> Option<Bytes> {
    let (header, attributes) = datagram.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let request = header[..2] == BINDING_REQUEST && header[4..8] == COOKIE && length == attributes.len();
    if !request || length % 4 != 0 {
        return None;
    }
    let (transaction, ip) = (&header[4..HEADER], remote.ip().to_canonical());
    let port = remote.port().to_be_bytes();
    let mut mapped = vec![0, if ip.is_ipv4() { 1 } else { 2 }, port[0] ^ COOKIE[0], port[1] ^ COOKIE[1]];
    // The address under the cookie and, where it is longer, the transaction ID (RFC 8489 §14.2).
    let masked = |octets: &[u8]| octets.iter().zip(transaction).map(|(a, b)| a ^ b).collect::<Vec<_>>();
    mapped.extend(match ip {
        IpAddr::V4(ip) => masked(&ip.octets()),
        IpAddr::V6(ip) => masked(&ip.octets()),
    });
    let mut response = Vec::with_capacity(HEADER + 4 + mapped.len());
    response.extend(BINDING_SUCCESS);
    response.extend([0, 4 + mapped.len() as u8]);
    response.extend(transaction);
    response.extend(XOR_MAPPED_ADDRESS);
    response.extend([0, mapped.len() as u8]);
    response.extend(mapped);
    Some(response.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend(*b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae");
        datagram.extend(attributes);
        datagram
    }

    /// The addresses of RFC 5769 §2.2 and §2.3 under the transaction ID that stands there.
    #[test]
    fn the_mapped_address_is_that_of_the_rfc() {
        let v4 = answer(&request(&[]), "192.0.2.1:32853".parse().expect("address")).expect("an answer");
        assert_eq!(v4[..4], [1, 1, 0, 12]);
        assert_eq!(v4[4..20], request(&[])[4..20]);
        assert_eq!(v4[20..], *b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
        let v6 =
            answer(&request(&[]), "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().expect("address"));
        assert_eq!(
            v6.expect("an answer")[20..],
            *b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"
        );
    }

    #[test]
    fn whatever_else_is_no_request() {
        let remote = "192.0.2.1:1".parse().expect("address");
        assert!(answer(&request(&[0x80, 0x22, 0, 0]), remote).is_some(), "attributes change nothing");
        let mut other = request(&[]);
        other[1] = 0x11;
        for datagram in
            [&[][..], &[0; 19], &[0; 20], &other, &request(&[1])[..21], b"OPTIONS sip:a@b SIP/2.0\r\n"]
        {
            assert_eq!(answer(datagram, remote), None);
        }
    }
}
