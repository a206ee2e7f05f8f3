//! RFC 3261 §12: Dialogs.

use anyhow::Result;
use e2e::phone::Dialog;

use crate::pair::{Pair, SDP, exchange};

/// §12.1: the INVITE carries Record-Route and Contact, the response brings both back, so that the two ends have the same
/// route set in opposite orders.
#[tokio::test]
async fn both_ends_get_the_same_route_set() -> Result<()> {
    let mut pair = Pair::new().await?;
    let call = pair.answered().await?;
    let routes = |message: &e2e::sip::Message| -> Vec<String> {
        message
            .all("Record-Route")
            .flat_map(|line| line.split(',').map(|r| r.trim().to_owned()).collect::<Vec<_>>())
            .collect()
    };
    assert!(!routes(&call.ok).is_empty());
    assert_eq!(routes(&call.invited), routes(&call.ok));
    assert!(call.invited.address("Contact").starts_with(&pair.alice.contact()), "{}", call.invited);
    assert!(call.ok.address("Contact").starts_with(&pair.bob.contact()), "{}", call.ok);
    Ok(())
}

/// §12.2.1.1: requests of either end arrive with their own CSeq, tags and Call-ID, at the Contact of the other.
#[tokio::test]
async fn requests_of_both_ends_arrive_unchanged() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    for _ in 0..3 {
        let info = call.caller.request(&mut pair.alice, "INFO");
        let (arrived, _) = exchange(&mut pair.alice, &mut pair.bob, info.clone(), (200, &[], "")).await?;
        for name in ["Call-ID", "CSeq", "From", "To"] {
            assert_eq!(arrived.header(name), info.header(name), "{name}");
        }
        assert!(arrived.uri().is_some_and(|uri| uri.starts_with(&pair.bob.contact())), "{arrived}");
        let info = call.callee.request(&mut pair.bob, "INFO");
        let (arrived, _) = exchange(&mut pair.bob, &mut pair.alice, info, (200, &[], "")).await?;
        assert!(arrived.uri().is_some_and(|uri| uri.starts_with(&pair.alice.contact())), "{arrived}");
    }
    Ok(())
}

/// §12.1.2: an early dialog takes requests both ways as well.
#[tokio::test]
async fn an_early_dialog_is_one() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[], SDP).await?;
    let ringing = pair.respond(&invited, 180, &[], "").await?;
    let mut caller = Dialog::of_caller(&invite, &ringing);
    let mut callee = Dialog::of_callee(&invited, crate::pair::TAG);
    let info = caller.request(&mut pair.alice, "INFO");
    exchange(&mut pair.alice, &mut pair.bob, info, (200, &[], "")).await?;
    let info = callee.request(&mut pair.bob, "INFO");
    exchange(&mut pair.bob, &mut pair.alice, info, (200, &[], "")).await?;
    Ok(())
}

/// §12.2.2: a request of a dialog that the other end does not know is its 481; one whose route never led here is no relayed
/// one at all.
#[tokio::test]
async fn an_unknown_dialog_is_refused() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    let info = call.caller.request(&mut pair.alice, "INFO");
    exchange(&mut pair.alice, &mut pair.bob, info, (481, &[], "")).await?;
    let mut stray = pair.alice.request("INFO", &pair.bob.contact(), &pair.bob.aor());
    let to = format!("{};tag=nobody", stray.header("To"));
    e2e::phone::set(&mut stray, "To", to);
    let answer = pair.alice.transact(stray).await?;
    assert!(matches!(answer.status(), Some(404 | 481)), "{answer}");
    Ok(())
}
