//! RFC 3262 §3: UAS Behavior, as it comes through a proxy.

use anyhow::Result;

use crate::pair::{Pair, SDP};

const RELIABLE: [(&str, &str); 2] = [("Require", "100rel"), ("RSeq", "988789")];

/// A reliable provisional response passes with its number and its SDP, and so does every repetition of it: the proxy adds no
/// reliability of its own between two ends that have it.
#[tokio::test]
async fn a_reliable_response_passes_each_time() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[("Supported", "100rel")], SDP).await?;
    assert_eq!(invited.header("Supported"), "100rel");
    for _ in 0..3 {
        let progress = pair.respond(&invited, 183, &RELIABLE, SDP).await?;
        assert_eq!((progress.header("RSeq"), progress.header("Require")), ("988789", "100rel"), "{progress}");
        assert!(progress.body.contains("m=audio"), "{progress}");
    }
    Ok(())
}

/// What is required of the callee is the callee's to refuse: the proxy has not looked.
#[tokio::test]
async fn a_requirement_reaches_the_callee() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[("Require", "100rel")], SDP).await?;
    assert_eq!(invited.header("Require"), "100rel");
    let refusal = pair.respond(&invited, 420, &[("Unsupported", "100rel")], "").await?;
    assert_eq!(refusal.header("Unsupported"), "100rel");
    Ok(())
}

/// 421 of a callee who insists passes with what it insists on.
#[tokio::test]
async fn a_callee_who_insists_is_heard() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[], SDP).await?;
    let refusal = pair.respond(&invited, 421, &[("Require", "100rel")], "").await?;
    assert_eq!(refusal.header("Require"), "100rel");
    Ok(())
}
