//! RFC 3326 §3.1: a proxy that cancels says why.

use anyhow::Result;
use e2e::phone::Phone;

use crate::pair::{Pair, SDP, cancel_of};

/// A phone that stops ringing because another one has answered is told so, and does not show a missed call.
#[tokio::test]
async fn a_call_completed_elsewhere_is_no_missed_call() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut sofa = Phone::registered(pair.bob.account.clone(), pair.subject.proxy()).await?;
    let (_, invited) = pair.invite(&[], SDP).await?;
    let at_sofa = sofa.receive("the call", |m| m.method() == Some("INVITE")).await?;
    sofa.answer(&at_sofa, 180, "Ringing", "s1", "").await?;
    pair.alice.receive("ringing", |m| m.status() == Some(180)).await?;
    pair.respond(&invited, 200, &[], SDP).await?;
    let cancel = sofa.receive("the CANCEL", |m| m.method() == Some("CANCEL")).await?;
    let reason = cancel.header("Reason").replace(' ', "");
    assert!(reason.starts_with("SIP;cause=200"), "{cancel}");
    assert!(cancel.header("Reason").contains("Call completed elsewhere"), "{cancel}");
    Ok(())
}

/// Why the caller gives up goes on to the callee.
#[tokio::test]
async fn the_reason_of_a_cancel_goes_on() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[], SDP).await?;
    pair.respond(&invited, 180, &[], "").await?;
    let mut cancel = cancel_of(&invite);
    cancel.headers.push(("Reason".into(), "SIP;cause=487;text=\"Had enough\"".into()));
    pair.alice.send(&cancel).await?;
    let cancelled = pair.bob.receive("the CANCEL", |m| m.method() == Some("CANCEL")).await?;
    assert!(cancelled.header("Reason").contains("Had enough"), "{cancelled}");
    Ok(())
}
