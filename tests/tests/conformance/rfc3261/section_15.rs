//! RFC 3261 §15: Terminating a Session.

use anyhow::Result;
use e2e::phone::{Dialog, Phone, ack_of_refusal};
use e2e::sip::Message;

use crate::pair::{Pair, SDP, exchange, respond};

/// §15.1: either end hangs up; whatever the other says to it is told.
#[tokio::test]
async fn either_end_hangs_up() -> Result<()> {
    for status in [200, 481] {
        for side in 0..2 {
            let mut pair = Pair::new().await?;
            let mut call = pair.answered().await?;
            if side == 0 {
                let bye = call.caller.request(&mut pair.alice, "BYE");
                exchange(&mut pair.alice, &mut pair.bob, bye, (status, &[], "")).await?;
            } else {
                let bye = call.callee.request(&mut pair.bob, "BYE");
                exchange(&mut pair.bob, &mut pair.alice, bye, (status, &[], "")).await?;
            }
        }
    }
    Ok(())
}

/// §15: the caller may end an early dialog by BYE. The callee refuses the INVITE, and its caller hears of it.
#[tokio::test]
async fn a_caller_ends_an_early_dialog_by_bye() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (invite, invited) = pair.invite(&[], SDP).await?;
    let ringing = pair.respond(&invited, 180, &[], "").await?;
    let mut dialog = Dialog::of_caller(&invite, &ringing);
    let bye = dialog.request(&mut pair.alice, "BYE");
    exchange(&mut pair.alice, &mut pair.bob, bye, (200, &[], "")).await?;
    let refusal = pair.respond(&invited, 487, &[], "").await?;
    pair.alice.send(&ack_of_refusal(&invite, &refusal)).await?;
    pair.bob.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    Ok(())
}

/// §15.1.2: a BYE for a dialog that nobody has is 481; a proxy that was never on its way may say 404.
#[tokio::test]
async fn a_bye_for_nothing_is_refused() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut bye = pair.alice.request("BYE", &pair.bob.contact(), &pair.bob.aor());
    let to = format!("{};tag=nobody", bye.header("To"));
    e2e::phone::set(&mut bye, "To", to);
    let answer = pair.alice.transact(bye).await?;
    assert!(matches!(answer.status(), Some(404 | 481)), "{answer}");
    Ok(())
}

/// Both hang up in the same moment: each BYE arrives and is answered, by the other end or by whoever knows that it is over.
#[tokio::test]
async fn both_hang_up_at_once() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    let by_alice = call.caller.request(&mut pair.alice, "BYE");
    let by_bob = call.callee.request(&mut pair.bob, "BYE");
    // It knows no calls, and passes the second one too.
    let passes_both = pair.subject.is_kamailio();
    let (alice, bob) = tokio::join!(
        hang_up(&mut pair.alice, &by_alice, passes_both),
        hang_up(&mut pair.bob, &by_bob, passes_both)
    );
    let heard = [alice?, bob?];
    assert!(heard.contains(&200) && heard.iter().all(|status| matches!(status, 200 | 481)), "{heard:?}");
    Ok(())
}

/// Sends `bye`, answers that of the other end, and tells what came of its own. Which of the two is first is chance.
async fn hang_up(phone: &mut Phone, bye: &Message, passes_both: bool) -> Result<u16> {
    phone.send(bye).await?;
    let (mut answer, mut called) = (None, false);
    loop {
        let about_bye = |m: &Message| m.cseq().1 == "BYE";
        let message = phone.receive("a BYE or its answer", about_bye).await?;
        match message.status() {
            Some(status) => answer = Some(status),
            None => {
                respond(phone, &message, 200, &[], "").await?;
                called = true;
            }
        }
        match answer {
            Some(status) if called || (status == 200 && !passes_both) => return Ok(status),
            _ => {}
        }
    }
}
