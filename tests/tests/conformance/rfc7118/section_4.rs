//! RFC 7118 §4: The WebSocket SIP sub-protocol.

use std::net::SocketAddr;

use anyhow::Result;
use e2e::gateway::Gateway;
use e2e::wire::{WebSocket, Wire};

/// §4.1: the client offers the sub-protocol `sip`, among others if it likes; the server confirms it, and without it there is
/// no WebSocket.
#[tokio::test]
async fn the_sub_protocol_is_agreed_on() -> Result<()> {
    let gateway = Gateway::start().await?;
    let address = SocketAddr::new(gateway.address, gateway.websocket);
    for (fields, accepted) in [
        ("Sec-WebSocket-Protocol: sip\r\n", true),
        ("Sec-WebSocket-Protocol: chat, sip\r\n", true),
        ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: sip\r\n", true),
        ("Sec-WebSocket-Protocol: sips\r\n", false),
        ("Sec-WebSocket-Protocol: chat\r\n", false),
        ("", false),
    ] {
        let upgraded = WebSocket::upgrade(Wire::connect(address).await?, fields).await;
        match upgraded {
            Ok(_) => assert!(accepted, "{fields}"),
            Err(error) => {
                assert!(!accepted && error.to_string().starts_with("HTTP/1.1 400 "), "{fields}: {error}")
            }
        }
    }
    Ok(())
}
