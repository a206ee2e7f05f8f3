//! RFC 5923 §5 and §9: whose connection may be used for what. Only ours is judged: requests to other domains are no part of
//! Kamailio's configuration here.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::gateway::Gateway;
use e2e::phone::{Phone, set};
use e2e::wire::Wire;
use tokio::net::TcpListener;

/// A gateway and Alice who has an account there.
async fn scene() -> Result<(Gateway, Phone)> {
    let gateway = Gateway::start().await?;
    let alice = Phone::new(gateway.account("alice", "reuse-me-1")?, gateway.proxy()).await?;
    Ok((gateway, alice))
}

/// Sends a message to `uri`, which `wire` answers.
async fn message(alice: &mut Phone, uri: &str, wire: &mut Wire) -> Result<()> {
    let request = alice.request("MESSAGE", uri, uri);
    let mut far = Phone::new(alice.account.clone(), alice.proxy).await?;
    let (answer, served) = tokio::join!(alice.transact(request), async {
        let request = wire.receive_where(|m| m.method() == Some("MESSAGE")).await?;
        wire.send(far.response(&request, 200, "OK", "far").to_string()).await
    });
    served?;
    ensure!(answer?.status() == Some(200));
    Ok(())
}

/// Requests to one place share a connection; when it is gone, another one is opened.
#[tokio::test]
async fn requests_to_one_place_share_a_connection() -> Result<()> {
    let (_gateway, mut alice) = scene().await?;
    let listener = TcpListener::bind((alice.proxy.ip(), 0)).await?;
    let uri = format!("sip:x@{};transport=tcp", listener.local_addr()?);
    let request = alice.request("MESSAGE", &uri, &uri);
    let mut far = Phone::new(alice.account.clone(), alice.proxy).await?;
    let (answer, wire) = tokio::join!(alice.transact(request), async {
        let mut wire = Wire::accept(&listener).await?;
        let request = wire.receive().await?;
        wire.send(far.response(&request, 200, "OK", "far").to_string()).await?;
        anyhow::Ok(wire)
    });
    ensure!(answer?.status() == Some(200));
    let mut wire = wire?;
    for _ in 0..3 {
        message(&mut alice, &uri, &mut wire).await?;
    }
    wire.reset()?;
    let request = alice.request("MESSAGE", &uri, &uri);
    let (answer, served) = tokio::join!(alice.transact(request), async {
        let mut wire = Wire::accept(&listener).await?;
        let request = wire.receive().await?;
        wire.send(far.response(&request, 200, "OK", "far").to_string()).await
    });
    served?;
    ensure!(answer?.status() == Some(200));
    Ok(())
}

/// §5, §9.3: an `alias` is a claim, and only a certificate proves it. From a peer without one it moves nothing: whoever says
/// that he is somebody else's address and port does not get the requests for there.
#[tokio::test]
async fn an_alias_that_nobody_proves_diverts_nothing() -> Result<()> {
    let (gateway, mut alice) = scene().await?;
    let victim = TcpListener::bind((alice.proxy.ip(), 0)).await?;
    let mut thief = Wire::connect(gateway.proxy()).await?;
    let mut claim = alice.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    let via = format!("SIP/2.0/TCP {};branch=z9hG4bKthief;alias", victim.local_addr()?);
    set(&mut claim, "Via", via);
    thief.send(claim.to_string()).await?;
    ensure!(thief.receive().await?.status() == Some(200));
    let uri = format!("sip:x@{};transport=tcp", victim.local_addr()?);
    let request = alice.request("MESSAGE", &uri, &uri);
    let mut far = Phone::new(alice.account.clone(), alice.proxy).await?;
    let (answer, served) = tokio::join!(alice.transact(request), async {
        let mut wire = Wire::accept(&victim).await?;
        let request = wire.receive().await?;
        wire.send(far.response(&request, 200, "OK", "far").to_string()).await
    });
    served?;
    ensure!(answer?.status() == Some(200));
    assert!(thief.is_silent(Duration::from_millis(100)).await);
    Ok(())
}
