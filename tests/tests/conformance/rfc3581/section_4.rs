//! RFC 3581 §4: Server behavior.

use std::net::SocketAddr;

use anyhow::Result;
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::subject::Subject;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The answer to an OPTIONS with this Via from a socket of our own, and where it came from.
async fn answered(phone: &mut Phone, socket: &UdpSocket, via: String) -> Result<(Message, SocketAddr)> {
    let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    set(&mut request, "Via", via);
    socket.send_to(request.to_string().as_bytes(), phone.proxy).await?;
    let mut buffer = vec![0; 65_536];
    let (length, from) = timeout(e2e::wait::PATIENCE, socket.recv_from(&mut buffer)).await??;
    Ok((Message::parse(&buffer[..length])?, from))
}

/// With `rport` the response says where the request came from, `received` included even when the host is right, and goes back
/// there, from the very address and port to which the request was sent: anything else would not pass the NAT.
#[tokio::test]
async fn the_response_goes_back_the_way_it_came() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let socket = UdpSocket::bind((subject.proxy().ip(), 0)).await?;
    let (ip, port) = (socket.local_addr()?.ip(), socket.local_addr()?.port());
    for (n, (sent_by, rport)) in [
        (format!("{ip}:{port}"), ";rport"),
        (format!("{ip}:9"), ";rport"),
        ("10.9.8.7".into(), ";rport"),
        ("nat.invalid:1".into(), ";rport;ttl=1"),
    ]
    .into_iter()
    .enumerate()
    {
        let via = format!("SIP/2.0/UDP {sent_by};branch=z9hG4bK3581{n}{rport}");
        let (response, from) = answered(&mut phone, &socket, via).await?;
        assert_eq!(response.status(), Some(200));
        assert_eq!(response.parameter("Via", "rport"), Some(port.to_string().as_str()), "{sent_by}");
        // Kamailio adds it only where the host of sent-by is another one.
        if !(subject.is_kamailio() && sent_by.starts_with(&ip.to_string())) {
            assert_eq!(response.parameter("Via", "received"), Some(ip.to_string().as_str()), "{sent_by}");
        }
        assert_eq!(from, subject.proxy());
    }
    Ok(())
}
