//! RFC 3262 §5: The Offer/Answer Model and PRACK.

use anyhow::Result;
use e2e::phone::Dialog;

use crate::pair::{Pair, SDP, exchange};

const RELIABLE: [(&str, &str); 2] = [("Require", "100rel"), ("RSeq", "1")];

/// The INVITE has no offer, the reliable response makes one, the PRACK answers it; the 200 and the ACK have no more to say.
#[tokio::test]
async fn an_offer_in_a_reliable_response_is_answered_in_its_prack() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[("Supported", "100rel")], "").await?;
    assert_eq!(invited.body, "");
    let progress = pair.respond(&invited, 183, &RELIABLE, SDP).await?;
    assert!(progress.body.contains("m=audio"), "{progress}");
    let mut dialog = Dialog::of_caller(&invite, &progress);
    let mut prack = dialog.request_with_sdp(&mut pair.alice, "PRACK", SDP);
    prack.headers.push(("RAck".into(), format!("1 {} INVITE", progress.cseq().0)));
    let (arrived, response) = exchange(&mut pair.alice, &mut pair.bob, prack, (200, &[], "")).await?;
    assert!(arrived.body.contains("m=audio"), "{arrived}");
    assert_eq!(response.body, "");
    assert_eq!(pair.respond(&invited, 200, &[], "").await?.body, "");
    Ok(())
}

/// A further offer in the PRACK is answered in its 200.
#[tokio::test]
async fn an_offer_in_a_prack_is_answered_in_its_200() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[("Supported", "100rel")], SDP).await?;
    let progress = pair.respond(&invited, 183, &RELIABLE, SDP).await?;
    let mut dialog = Dialog::of_caller(&invite, &progress);
    let moved = SDP.replace("- 1 1 IN", "- 1 2 IN").replace("40000", "42000");
    let mut prack = dialog.request_with_sdp(&mut pair.alice, "PRACK", &moved);
    prack.headers.push(("RAck".into(), format!("1 {} INVITE", progress.cseq().0)));
    let (arrived, response) = exchange(&mut pair.alice, &mut pair.bob, prack, (200, &[], SDP)).await?;
    assert!(arrived.body.contains("m=audio") && response.body.contains("m=audio"), "{arrived}\n{response}");
    Ok(())
}
