//! RFC 3261 §18.1.1: Sending requests. Only ours is judged: requests to other domains are no part of Kamailio's configuration
//! here.

use anyhow::{Result, ensure};
use e2e::gateway::Gateway;
use e2e::phone::Phone;
use e2e::sip::Message;
use e2e::wire::Wire;
use tokio::net::TcpListener;

/// Alice, who has an account, and a user agent elsewhere that listens over UDP.
async fn scene() -> Result<(Gateway, Phone, Phone)> {
    let gateway = Gateway::start().await?;
    let alice = Phone::new(gateway.account("alice", "long-words-5")?, gateway.proxy()).await?;
    let far = Phone::new(alice.account.clone(), gateway.proxy()).await?;
    Ok((gateway, alice, far))
}

/// A message longer than any datagram should be.
fn long(alice: &mut Phone, uri: &str) -> Message {
    let mut message = alice.request("MESSAGE", uri, uri);
    message.headers.push(("Content-Type".into(), "text/plain".into()));
    message.body = "long words ".repeat(150);
    message
}

/// What comes to `far` over UDP when `uri` is written to.
async fn over_udp(alice: &mut Phone, far: &mut Phone, uri: &str) -> Result<Message> {
    let message = long(alice, uri);
    let (answer, request) = tokio::join!(alice.transact(message), async {
        let request = far.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
        // The phones of these tests know long names only.
        let mut request = request;
        for (name, _) in &mut request.headers {
            let long = [("v", "Via"), ("f", "From"), ("t", "To"), ("i", "Call-ID")];
            if let Some((_, long)) = long.iter().find(|(short, _)| short == name) {
                *name = (*long).into();
            }
        }
        far.answer(&request, 200, "OK", "far", "").await?;
        anyhow::Ok(request)
    });
    ensure!(answer?.status() == Some(200));
    request
}

/// A request of more than 1300 bytes goes over TCP, and its Via says so.
#[tokio::test]
async fn a_long_request_goes_over_tcp() -> Result<()> {
    let (_gateway, mut alice, mut far) = scene().await?;
    let listener = TcpListener::bind(far.local()).await?;
    let uri = format!("sip:x@{}", far.local());
    let message = long(&mut alice, &uri);
    let (answer, request) = tokio::join!(alice.transact(message), async {
        let mut wire = Wire::accept(&listener).await?;
        let request = wire.receive().await?;
        wire.send(far.response(&request, 200, "OK", "far").to_string()).await?;
        anyhow::Ok(request)
    });
    ensure!(answer?.status() == Some(200));
    assert!(request?.header("Via").starts_with("SIP/2.0/TCP "));
    Ok(())
}

/// Whoever refuses TCP gets it over UDP, as those of RFC 2543 need it; and a request whose URI demands UDP goes so at once.
#[tokio::test]
async fn who_refuses_tcp_gets_it_over_udp() -> Result<()> {
    let (_gateway, mut alice, mut far) = scene().await?;
    for more in ["", "", ";transport=udp"] {
        let uri = format!("sip:x@{}{more}", far.local());
        let request = over_udp(&mut alice, &mut far, &uri).await?;
        assert!(request.header("Via").starts_with("SIP/2.0/UDP "), "{request}");
        assert_eq!(request.body, "long words ".repeat(150));
    }
    Ok(())
}
