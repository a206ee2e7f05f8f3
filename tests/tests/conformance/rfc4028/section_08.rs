//! RFC 4028 §8: Proxy Behavior. Kamailio as it is set up here has no session timer of its own (that is its module `sst`),
//! which §8 allows: it passes what it does not look at.

use anyhow::Result;
use e2e::phone::{Dialog, ack_of_refusal};

use crate::pair::{Pair, SDP, exchange};

const TIMER: (&str, &str) = ("Supported", "timer");

/// §8.1: below the minimum a client that knows session timers hears 422 with Min-SE, which is 90 at least.
#[tokio::test]
async fn a_session_that_is_too_short_is_refused() -> Result<()> {
    let mut pair = Pair::new().await?;
    if pair.subject.is_kamailio() {
        let (_, invited) = pair.invite(&[TIMER, ("Session-Expires", "60")], SDP).await?;
        assert_eq!(invited.header("Session-Expires"), "60", "without the module sst it passes");
        return Ok(());
    }
    let invite = pair.prepared(&[TIMER, ("Session-Expires", "60")], SDP).await?;
    let refusal = pair.alice.transact(invite.clone()).await?;
    assert_eq!(refusal.status(), Some(422), "{refusal}");
    let least: u32 = refusal.header("Min-SE").parse()?;
    assert!(least >= 90, "{refusal}");
    pair.alice.send(&ack_of_refusal(&invite, &refusal)).await?;
    // With what it was told it gets through (§7.4).
    let least = least.to_string();
    let (_, invited) = pair.invite(&[TIMER, ("Session-Expires", &least), ("Min-SE", &least)], SDP).await?;
    assert_eq!((invited.header("Session-Expires"), invited.header("Min-SE")), (&*least, &*least));
    Ok(())
}

/// §8.1: a client that would not understand the 422 gets a longer session instead.
#[tokio::test]
async fn a_session_of_a_client_without_timers_is_made_longer() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[("Session-Expires", "60;refresher=uas")], SDP).await?;
    let (expires, least) = (invited.header("Session-Expires"), invited.header("Min-SE"));
    let expected =
        if pair.subject.is_kamailio() { ("60;refresher=uas", "") } else { ("90;refresher=uas", "90") };
    assert_eq!((expires, least), expected, "the refresher is nobody's to change");
    Ok(())
}

/// §8.1: what is long enough passes as it is: never longer, Min-SE and refresher untouched, and nothing is added where
/// nothing was.
#[tokio::test]
async fn a_session_that_is_long_enough_passes() -> Result<()> {
    let mut pair = Pair::new().await?;
    let asked = [TIMER, ("Session-Expires", "1800;refresher=uac"), ("Min-SE", "120")];
    let (_, invited) = pair.invite(&asked, SDP).await?;
    assert_eq!(invited.header("Session-Expires"), "1800;refresher=uac");
    assert_eq!((invited.header("Min-SE"), invited.header("Supported")), ("120", "timer"));
    let mut second = Pair::new().await?;
    let (_, invited) = second.invite(&[TIMER], SDP).await?;
    assert_eq!(invited.header("Min-SE"), "");
    Ok(())
}

/// §8.2: a callee that says nothing does not know timers; the caller who does is made the refresher, in Session-Expires and
/// in Require.
#[tokio::test]
async fn a_caller_alone_with_its_timer_refreshes() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[TIMER, ("Session-Expires", "120")], SDP).await?;
    let ok = pair.respond(&invited, 200, &[], SDP).await?;
    if pair.subject.is_kamailio() {
        assert_eq!(ok.header("Session-Expires"), "", "without the module sst nobody asked for a timer");
        return Ok(());
    }
    assert_eq!((ok.header("Session-Expires"), ok.header("Require")), ("120;refresher=uac", "timer"), "{ok}");
    // And so it is with each refresh (§8.2), UPDATE or re-INVITE.
    let mut dialog = Dialog::of_caller(&invite, &ok);
    let ack = dialog.request(&mut pair.alice, "ACK");
    pair.alice.send(&ack).await?;
    let mut update = dialog.request(&mut pair.alice, "UPDATE");
    update
        .headers
        .extend([TIMER, ("Session-Expires", "120;refresher=uac")].map(|(n, v)| (n.into(), v.into())));
    let (_, ok) = exchange(&mut pair.alice, &mut pair.bob, update, (200, &[], "")).await?;
    assert_eq!(ok.header("Session-Expires"), "120;refresher=uac", "{ok}");
    Ok(())
}

/// §8.2: what the callee says is not changed; a caller without timers hears nothing of them.
#[tokio::test]
async fn the_callees_word_is_final() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[TIMER, ("Session-Expires", "120")], SDP).await?;
    let says = [("Require", "timer"), ("Session-Expires", "100;refresher=uas")];
    let ok = pair.respond(&invited, 200, &says, SDP).await?;
    assert_eq!((ok.header("Session-Expires"), ok.header("Require")), ("100;refresher=uas", "timer"), "{ok}");
    let mut second = Pair::new().await?;
    let (_, invited) = second.invite(&[("Session-Expires", "120")], SDP).await?;
    let ok = second.respond(&invited, 200, &[], SDP).await?;
    assert_eq!((ok.header("Session-Expires"), ok.header("Require")), ("", ""), "{ok}");
    Ok(())
}

/// 422 of the callee passes with its Min-SE (§7.3).
#[tokio::test]
async fn a_422_of_the_callee_passes() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[TIMER, ("Session-Expires", "120")], SDP).await?;
    let refusal = pair.respond(&invited, 422, &[("Min-SE", "600")], "").await?;
    assert_eq!(refusal.header("Min-SE"), "600");
    Ok(())
}
