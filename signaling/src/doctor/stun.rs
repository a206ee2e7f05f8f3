//! Where a STUN server sees this host (RFC 8489 §2, RFC 5780 §4.3).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::RngExt as _;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Between two sendings (RFC 8489 §6.2.1), which double.
const RTO: Duration = Duration::from_millis(500);
const SENDINGS: u32 = 3;

const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const HEADER: usize = 20;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const SOFTWARE_TYPE: u16 = 0x8022;
/// A multiple of four octets, as attributes are.
const SOFTWARE: &[u8; 28] = b"causeway doctor: where am I?";

/// Where `server` sees `socket`.
pub(super) async fn ask(socket: &UdpSocket, server: SocketAddr) -> anyhow::Result<SocketAddr> {
    let transaction: [u8; 12] = rand::rng().random();
    let request = request(transaction);
    let mut buffer = [0; 1_500];
    for sending in 0..SENDINGS {
        socket.send_to(&request, server).await?;
        let answered = async {
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await?;
                if from == server
                    && let Some(mapped) = mapped(&buffer[..len], &transaction)
                {
                    return anyhow::Ok(mapped);
                }
            }
        };
        if let Ok(answer) = timeout(RTO * 2u32.pow(sending), answered).await {
            return answer;
        }
    }
    bail!("no answer")
}

/// A Binding request that says who asks: a server that sends nobody more than he has sent, as ours, answers one of this length.
fn request(transaction: [u8; 12]) -> Vec<u8> {
    let length = |octets: usize| (octets as u16).to_be_bytes();
    let attribute = [&SOFTWARE_TYPE.to_be_bytes()[..], &length(SOFTWARE.len()), SOFTWARE].concat();
    [&[0, 1][..], &length(attribute.len()), &COOKIE, &transaction, &attribute].concat()
}

/// The address of a STUN server in a family.
pub(super) async fn find(server: &str, is_ipv4: bool) -> anyhow::Result<SocketAddr> {
    let place = if server.contains(':') { server.to_owned() } else { format!("{server}:3478") };
    let found =
        timeout(RTO * 6, tokio::net::lookup_host(place)).await.context("name servers do not answer")??;
    found.into_iter().find(|address| address.is_ipv4() == is_ipv4).context("no address of this family")
}

/// The XOR-MAPPED-ADDRESS of a success response (RFC 8489 §14.2).
fn mapped(datagram: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let (header, mut rest) = datagram.split_at_checked(HEADER)?;
    if header[..2] != [1, 1] || header[4..8] != COOKIE || header[8..] != *transaction {
        return None;
    }
    loop {
        let (head, after) = rest.split_at_checked(4)?;
        let (kind, len) =
            (u16::from_be_bytes([head[0], head[1]]), usize::from(u16::from_be_bytes([head[2], head[3]])));
        let value = after.get(..len)?;
        if kind == XOR_MAPPED_ADDRESS {
            let port = u16::from_be_bytes([*value.get(2)? ^ COOKIE[0], *value.get(3)? ^ COOKIE[1]]);
            let mask = COOKIE.iter().chain(transaction);
            let octets: Vec<u8> = value[4..].iter().zip(mask).map(|(a, b)| a ^ b).collect();
            let v4 = <[u8; 4]>::try_from(&*octets).map(IpAddr::from);
            return Some(
                (v4.or_else(|_| <[u8; 16]>::try_from(&*octets).map(IpAddr::from)).ok()?, port).into(),
            );
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A STUN server that sees everybody at an address and at a port this much above his own.
    pub(in crate::doctor) async fn server(seen: IpAddr, above: u16) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 100];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let seen = SocketAddr::new(seen, from.port().wrapping_add(above));
                let answer = signaling_core::stun::answer(&buffer[..len], seen).unwrap();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_server_says_where_it_sees_us() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let own = socket.local_addr().unwrap().port();
        for seen in ["192.0.2.9", "2001:db8::9"] {
            let seen: IpAddr = seen.parse().unwrap();
            let server = server(seen, 3).await;
            assert_eq!(ask(&socket, server).await.unwrap(), (seen, own.wrapping_add(3)).into());
        }
    }

    #[test]
    fn whatever_else_comes_says_nothing() {
        let transaction = [7; 12];
        let request = request(transaction);
        let longest = signaling_core::stun::answer(&request, "[2001:db8::1]:5".parse().unwrap()).unwrap();
        assert!(
            longest.len() <= request.len(),
            "our own server answers no stranger with more than he has said"
        );
        let good = signaling_core::stun::answer(&request, "192.0.2.1:5".parse().unwrap()).unwrap();
        assert_eq!(mapped(&good, &transaction), Some("192.0.2.1:5".parse().unwrap()));
        assert_eq!(mapped(&good, &[8; 12]), None);
        for len in 0..good.len() {
            assert_eq!(mapped(&good[..len], &transaction), None, "{len}");
        }
        assert_eq!(mapped(&request, &transaction), None);
    }
}
