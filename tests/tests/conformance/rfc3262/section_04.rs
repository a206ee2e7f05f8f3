//! RFC 3262 §4: UAC Behavior: PRACK within the early dialog.

use anyhow::Result;
use e2e::phone::Dialog;

use crate::pair::{Pair, SDP, exchange};

/// PRACK goes by the route set of the early dialog to the callee's Contact and its response comes back; a refusal of it too.
#[tokio::test]
async fn a_prack_goes_by_the_route_of_the_early_dialog() -> Result<()> {
    for status in [200, 481] {
        let mut pair = Pair::new().await?;
        let (invite, invited) = pair.invite(&[("Supported", "100rel")], SDP).await?;
        let reliable = [("Require", "100rel"), ("RSeq", "7")];
        let progress = pair.respond(&invited, 183, &reliable, SDP).await?;
        let mut dialog = Dialog::of_caller(&invite, &progress);
        let mut prack = dialog.request(&mut pair.alice, "PRACK");
        let rack = format!("7 {} INVITE", progress.cseq().0);
        prack.headers.push(("RAck".into(), rack.clone()));
        let (arrived, _) = exchange(&mut pair.alice, &mut pair.bob, prack, (status, &[], "")).await?;
        assert_eq!(arrived.header("RAck"), rack);
        assert!(arrived.uri().is_some_and(|uri| uri.starts_with(&pair.bob.contact())), "{arrived}");
        assert_eq!(arrived.all("Route").count(), 0, "the proxy's own routes are gone: {arrived}");
        let ok = pair.respond(&invited, 200, &[], SDP).await?;
        assert_eq!(ok.parameter("To", "tag"), progress.parameter("To", "tag"));
    }
    Ok(())
}
