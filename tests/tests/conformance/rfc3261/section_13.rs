//! RFC 3261 §13: Initiating a Session, as it comes through a proxy.

use anyhow::Result;
use e2e::phone::{Dialog, Phone};

use crate::pair::{Pair, SDP, exchange, respond};

/// §13.2.1: an INVITE without an offer is answered with one, whose answer the ACK brings.
#[tokio::test]
async fn an_offer_in_the_answer_is_answered_in_the_ack() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[], "").await?;
    assert_eq!(invited.body, "");
    let ok = pair.respond(&invited, 200, &[], SDP).await?;
    assert!(ok.body.contains("m=audio"), "{ok}");
    let mut dialog = Dialog::of_caller(&invite, &ok);
    let ack = dialog.request_with_sdp(&mut pair.alice, "ACK", SDP);
    for _ in 0..2 {
        pair.alice.send(&ack).await?;
        let arrived = pair.bob.receive("the ACK", |m| m.method() == Some("ACK")).await?;
        assert!(arrived.body.contains("m=audio"), "{arrived}");
        assert!(arrived.uri().is_some_and(|uri| uri.starts_with(&pair.bob.contact())), "{arrived}");
    }
    Ok(())
}

/// §13.3.1.4: until the ACK each 200 of the callee reaches the caller, and each ACK of the caller the callee: both are end
/// to end.
#[tokio::test]
async fn every_200_and_every_ack_pass() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[], SDP).await?;
    let first = pair.respond(&invited, 200, &[], SDP).await?;
    let mut dialog = Dialog::of_caller(&invite, &first);
    let ack = dialog.request(&mut pair.alice, "ACK");
    for _ in 0..3 {
        let again = pair.respond(&invited, 200, &[], SDP).await?;
        assert_eq!(again.body, first.body);
        pair.alice.send(&ack).await?;
        pair.bob.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    }
    Ok(())
}

/// §13.2.2.4: two phones answer; each makes a dialog of its own, in which the caller acknowledges, and ends the one that it
/// does not want.
#[tokio::test]
async fn two_answers_make_two_dialogs() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut sofa = Phone::registered(pair.bob.account.clone(), pair.subject.proxy()).await?;
    let (invite, at_desk) = pair.invite(&[], SDP).await?;
    let at_sofa = sofa.receive("the call", |m| m.method() == Some("INVITE")).await?;
    let of =
        |tag| move |m: &e2e::sip::Message| m.status() == Some(200) && m.parameter("To", "tag") == Some(tag);
    respond(&mut pair.bob, &at_desk, 200, &[], SDP).await?;
    let first = pair.alice.receive("the first 200", of("b1")).await?;
    sofa.answer(&at_sofa, 200, "OK", "s1", SDP).await?;
    let second = pair.alice.receive("the second 200", of("s1")).await?;
    for (ok, phone) in [(second, &mut sofa), (first, &mut pair.bob)] {
        let mut dialog = Dialog::of_caller(&invite, &ok);
        let ack = dialog.request(&mut pair.alice, "ACK");
        pair.alice.send(&ack).await?;
        phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
        let bye = dialog.request(&mut pair.alice, "BYE");
        exchange(&mut pair.alice, phone, bye, (200, &[], "")).await?;
    }
    Ok(())
}

/// §13.2.2.1: provisional responses of every kind pass, with what they say.
#[tokio::test]
async fn provisional_responses_pass() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[], SDP).await?;
    for status in [180, 181, 182, 183, 199] {
        let response = pair.respond(&invited, status, &[("X-Queue", "3 before you")], "").await?;
        assert_eq!(response.header("X-Queue"), "3 before you");
    }
    Ok(())
}
