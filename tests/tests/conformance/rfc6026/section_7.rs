//! RFC 6026 §7: Server and client transactions after a 2xx.

use std::time::Duration;

use anyhow::Result;

use crate::pair::{Pair, SDP, respond};

/// §7.1: after a 2xx a repeated INVITE is absorbed: it is neither forwarded nor answered.
#[tokio::test]
async fn a_repeated_invite_is_absorbed_after_the_answer() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[], SDP).await?;
    pair.respond(&invited, 200, &[], SDP).await?;
    pair.alice.drain().await?;
    pair.alice.send(&invite).await?;
    let more =
        pair.alice.receive_within("an answer", Duration::from_millis(700), |m| m.status().is_some()).await;
    // Kamailio answers it with the 2xx again.
    assert!(more.is_err() || pair.subject.is_kamailio(), "{more:?}");
    assert!(pair.bob.drain().await?.iter().all(|m| m.method() != Some("INVITE")), "forwarded");
    Ok(())
}

/// §7.2: each retransmission of the 2xx goes back to the caller, for only the caller acknowledges it.
#[tokio::test]
async fn every_copy_of_the_answer_goes_back() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[], SDP).await?;
    let first = pair.respond(&invited, 200, &[], SDP).await?;
    for _ in 0..3 {
        let again = pair.respond(&invited, 200, &[], SDP).await?;
        assert_eq!(again.parameter("To", "tag"), first.parameter("To", "tag"));
    }
    assert!(
        pair.bob.drain().await?.iter().all(|m| m.method() != Some("ACK")),
        "the proxy acknowledges no 2xx"
    );
    Ok(())
}

/// §7.2: a 2xx with another tag, of a branch that was lost further on, goes back as well.
#[tokio::test]
async fn the_answer_of_another_fork_goes_back() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[], SDP).await?;
    pair.respond(&invited, 200, &[], SDP).await?;
    let mut other = invited.clone();
    other.headers.retain(|(name, _)| name != "To");
    other.headers.push(("To".into(), format!("{};tag=other", invited.header("To"))));
    respond(&mut pair.bob, &other, 200, &[], SDP).await?;
    pair.alice.receive("the second answer", |m| m.parameter("To", "tag") == Some("other")).await?;
    Ok(())
}
