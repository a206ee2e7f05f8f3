//! RFC 3311 §5: UPDATE Handling, as it comes through a proxy.

use anyhow::Result;
use e2e::phone::Dialog;

use crate::pair::{Pair, SDP, TAG, exchange};

fn version(number: u32) -> String {
    SDP.replace("- 1 1 IN", &format!("- 1 {number} IN"))
}

/// §5.1: in an early dialog whose first offer is answered, both ends may offer anew; the answer is in the 200. Without SDP
/// it refreshes, and no SDP appears.
#[tokio::test]
async fn an_update_passes_in_an_early_dialog() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[("Supported", "100rel")], SDP).await?;
    let progress = pair.respond(&invited, 183, &[("Require", "100rel"), ("RSeq", "1")], SDP).await?;
    let mut caller = Dialog::of_caller(&invite, &progress);
    let mut prack = caller.request(&mut pair.alice, "PRACK");
    prack.headers.push(("RAck".into(), format!("1 {} INVITE", progress.cseq().0)));
    exchange(&mut pair.alice, &mut pair.bob, prack, (200, &[], "")).await?;
    let mut callee = Dialog::of_callee(&invited, TAG);

    let update = caller.request_with_sdp(&mut pair.alice, "UPDATE", &version(2));
    let answer = version(2);
    let (arrived, ok) = exchange(&mut pair.alice, &mut pair.bob, update, (200, &[], &answer)).await?;
    assert!(arrived.body.contains("m=audio") && ok.body.contains("m=audio"), "{arrived}\n{ok}");
    let update = callee.request_with_sdp(&mut pair.bob, "UPDATE", &version(3));
    let answer = version(3);
    let (arrived, ok) = exchange(&mut pair.bob, &mut pair.alice, update, (200, &[], &answer)).await?;
    assert!(arrived.body.contains("m=audio") && ok.body.contains("m=audio"), "{arrived}\n{ok}");
    let update = callee.request(&mut pair.bob, "UPDATE");
    let (arrived, ok) = exchange(&mut pair.bob, &mut pair.alice, update, (200, &[], "")).await?;
    assert!(arrived.body.is_empty() && ok.body.is_empty());
    // The call is answered all the same, and by the same dialog.
    let ok = pair.respond(&invited, 200, &[], "").await?;
    assert_eq!(ok.parameter("To", "tag"), Some(TAG));
    Ok(())
}

/// §5.2: 491 and 500 with Retry-After are told as they are, and the dialog goes on.
#[tokio::test]
async fn a_refused_update_changes_nothing() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    for (status, more) in [(491, &[][..]), (500, &[("Retry-After", "7")][..]), (504, &[][..])] {
        let update = call.caller.request_with_sdp(&mut pair.alice, "UPDATE", &version(2));
        let (_, refusal) = exchange(&mut pair.alice, &mut pair.bob, update, (status, more, "")).await?;
        let expected = if status == 500 { "7" } else { "" };
        assert_eq!(refusal.header("Retry-After"), expected, "{refusal}");
    }
    let update = call.caller.request_with_sdp(&mut pair.alice, "UPDATE", &version(3));
    let (_, ok) = exchange(&mut pair.alice, &mut pair.bob, update, (200, &[], SDP)).await?;
    assert!(ok.body.contains("m=audio"), "{ok}");
    let bye = call.callee.request(&mut pair.bob, "BYE");
    exchange(&mut pair.bob, &mut pair.alice, bye, (200, &[], "")).await?;
    Ok(())
}
