//! RFC 3261 §14: Modifying an Existing Session.

use anyhow::Result;
use e2e::phone::{Dialog, Phone};

use crate::pair::{Call, Pair, SDP, exchange, respond};

fn version(number: u32) -> String {
    SDP.replace("- 1 1 IN", &format!("- 1 {number} IN"))
}

/// A re-INVITE of one end that the other takes; what arrived.
async fn reinvite(
    from: &mut Phone,
    to: &mut Phone,
    dialog: &mut Dialog,
    sdp: [&str; 2],
) -> Result<[e2e::sip::Message; 2]> {
    let request = match sdp[0] {
        "" => dialog.request(from, "INVITE"),
        offer => dialog.request_with_sdp(from, "INVITE", offer),
    };
    let number = request.cseq().0;
    let (arrived, ok) = exchange(from, to, request, (200, &[], sdp[1])).await?;
    let ack = match sdp[0] {
        "" => dialog.request_with_sdp(from, "ACK", SDP),
        _ => dialog.request(from, "ACK"),
    };
    from.send(&ack).await?;
    to.receive("the ACK", |m| m.method() == Some("ACK") && m.cseq().0 == number).await?;
    Ok([arrived, ok])
}

async fn hang_up(pair: &mut Pair, call: &mut Call) -> Result<()> {
    let bye = call.caller.request(&mut pair.alice, "BYE");
    exchange(&mut pair.alice, &mut pair.bob, bye, (200, &[], "")).await?;
    Ok(())
}

/// §14.1, §14.2: both ends may offer anew, with the answer in the 200, or have the other offer, with the answer in the ACK.
#[tokio::test]
async fn a_session_is_changed_by_either_end() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    let (two, three) = (version(2), version(3));
    for sdp in [[two.as_str(), two.as_str()], ["", three.as_str()]] {
        for side in 0..2 {
            let [arrived, ok] = match side {
                0 => reinvite(&mut pair.alice, &mut pair.bob, &mut call.caller, sdp).await?,
                _ => reinvite(&mut pair.bob, &mut pair.alice, &mut call.callee, sdp).await?,
            };
            assert_eq!(arrived.body.contains("m=audio"), !sdp[0].is_empty(), "{arrived}");
            assert!(ok.body.contains("m=audio"), "{ok}");
        }
    }
    hang_up(&mut pair, &mut call).await
}

/// §14.1: a refusal leaves the session and the dialog as they are; 491 and 488 are told to whoever asked.
#[tokio::test]
async fn a_refused_change_changes_nothing() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    for status in [488, 491, 606] {
        let request = call.caller.request_with_sdp(&mut pair.alice, "INVITE", &version(2));
        exchange(&mut pair.alice, &mut pair.bob, request, (status, &[], "")).await?;
        pair.bob.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    }
    let two = version(3);
    reinvite(&mut pair.bob, &mut pair.alice, &mut call.callee, [&two, &two]).await?;
    hang_up(&mut pair, &mut call).await
}

/// §14.2: both ask at once and both hear 491; after a while one asks again, and is heard. A proxy with a relay may say it
/// for the end that owes it, since the relay holds one offer at a time; one without passes both.
#[tokio::test]
async fn glare_is_settled() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    let by_alice = call.caller.request_with_sdp(&mut pair.alice, "INVITE", &version(2));
    let by_bob = call.callee.request_with_sdp(&mut pair.bob, "INVITE", &version(2));
    pair.alice.send(&by_alice).await?;
    let offer = |number: u32| {
        move |m: &e2e::sip::Message| {
            m.method() == Some("INVITE") && m.cseq().0 == number && m.parameter("To", "tag").is_some()
        }
    };
    let arrived = pair.bob.receive("Alice's offer", offer(by_alice.cseq().0)).await?;
    pair.bob.send(&by_bob).await?;
    if pair.subject.is_kamailio() {
        let arrived = pair.alice.receive("Bob's offer", offer(by_bob.cseq().0)).await?;
        respond(&mut pair.alice, &arrived, 491, &[], "").await?;
    }
    let cseq = by_bob.cseq();
    let refusal = pair.bob.receive("491", |m| m.status() == Some(491) && m.cseq() == cseq).await?;
    pair.bob.send(&e2e::phone::ack_of_refusal(&by_bob, &refusal)).await?;
    respond(&mut pair.bob, &arrived, 491, &[], "").await?;
    let cseq = by_alice.cseq();
    let refusal = pair.alice.receive("491", |m| m.status() == Some(491) && m.cseq() == cseq).await?;
    pair.alice.send(&e2e::phone::ack_of_refusal(&by_alice, &refusal)).await?;
    let three = version(3);
    let [_, ok] = reinvite(&mut pair.bob, &mut pair.alice, &mut call.callee, [&three, &three]).await?;
    assert!(ok.body.contains("m=audio"), "{ok}");
    hang_up(&mut pair, &mut call).await
}
