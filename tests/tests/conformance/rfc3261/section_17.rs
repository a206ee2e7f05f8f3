//! RFC 3261 §17: Transactions, as seen from the network. The timers themselves run in virtual time in `sim.rs`.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::phone::{Phone, ack_of_refusal};
use e2e::sip::Message;
use e2e::subject::Subject;

use crate::pair::{place_call, rung};

/// §17.1.1.2: over UDP an INVITE is repeated after T1, then after twice that (timer A), and no more once something came.
#[tokio::test]
async fn an_unanswered_invite_is_repeated() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let _invite = place_call(&mut alice, &bob.aor()).await?;
    let mut times = Vec::new();
    let mut copies = Vec::new();
    for n in 0..3 {
        copies.push(bob.receive(&format!("copy {n}"), |m| m.method() == Some("INVITE")).await?);
        times.push(Instant::now());
    }
    assert!(copies.windows(2).all(|pair| pair[0] == pair[1]), "a retransmission is the same message");
    let (first, second) = (times[1] - times[0], times[2] - times[1]);
    assert!(about(first, 500) && about(second, 1000), "{first:?}, {second:?}");
    bob.answer(&copies[0], 180, "Ringing", "b1", "").await?;
    alice.receive("ringing", |m| m.status() == Some(180)).await?;
    let more = bob
        .receive_within("another copy", Duration::from_millis(2500), |m| m.method() == Some("INVITE"))
        .await;
    assert!(more.is_err(), "repeated after a provisional response");
    Ok(())
}

/// §17.2.1: a repeated INVITE gets the latest provisional response again and is not forwarded twice.
#[tokio::test]
async fn a_repeated_invite_is_answered_not_forwarded() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let invite = place_call(&mut alice, &bob.aor()).await?;
    let invited = rung(&mut bob).await?;
    bob.answer(&invited, 180, "Ringing", "b1", "").await?;
    alice.receive("ringing", |m| m.status() == Some(180)).await?;
    alice.send(&invite).await?;
    alice.receive("ringing again", |m| m.status() == Some(180)).await?;
    assert!(bob.drain().await?.iter().all(|m| m.method() != Some("INVITE")), "forwarded twice");
    Ok(())
}

/// §17.2.1: the caller hears 100 at once, so that it stops repeating.
#[tokio::test]
async fn an_invite_gets_trying_at_once() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let bob = subject.registered("bob").await?;
    place_call(&mut alice, &bob.aor()).await?;
    let trying = alice.receive_within("100", Duration::from_millis(450), |m| m.status() == Some(100)).await?;
    // §8.2.6.2: a 100 may go without a tag, and so it does not make a dialog.
    assert_eq!(trying.cseq().1, "INVITE");
    Ok(())
}

/// §17.1.1.3: a refusal is acknowledged by the proxy itself, in the same transaction, each time it comes.
#[tokio::test]
async fn a_refusal_is_acknowledged_each_time() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    place_call(&mut alice, &bob.aor()).await?;
    let invited = rung(&mut bob).await?;
    for n in 0..3 {
        bob.answer(&invited, 486, "Busy Here", "b1", "").await?;
        let ack = bob.receive(&format!("ACK {n}"), |m| m.method() == Some("ACK")).await?;
        assert_eq!(ack.uri(), invited.uri());
        assert_eq!(ack.parameter("Via", "branch"), invited.parameter("Via", "branch"));
        assert_eq!(ack.all("Via").flat_map(|v| v.split(',')).count(), 1, "{ack}");
        assert_eq!(ack.parameter("To", "tag"), Some("b1"));
        assert_eq!(ack.cseq(), (invited.cseq().0, "ACK"));
        assert_eq!(ack.header("From"), invited.header("From"));
        assert_eq!(ack.header("Call-ID"), invited.header("Call-ID"));
    }
    Ok(())
}

/// §17.2.1: over UDP a refusal is repeated until its ACK comes (timer G), and not after.
#[tokio::test]
async fn a_refusal_is_repeated_until_acknowledged() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let invite = place_call(&mut alice, &bob.aor()).await?;
    let invited = rung(&mut bob).await?;
    bob.answer(&invited, 486, "Busy Here", "b1", "").await?;
    let mut times = Vec::new();
    let mut busy = None;
    for n in 0..3 {
        busy = Some(alice.receive(&format!("copy {n}"), |m| m.status() == Some(486)).await?);
        times.push(Instant::now());
    }
    let (first, second) = (times[1] - times[0], times[2] - times[1]);
    assert!(about(first, 500) && about(second, 1000), "{first:?}, {second:?}");
    alice.send(&ack_of_refusal(&invite, &busy.unwrap_or(invited))).await?;
    let more =
        alice.receive_within("another copy", Duration::from_millis(2500), |m| m.status() == Some(486)).await;
    assert!(more.is_err(), "repeated after the ACK");
    assert!(
        bob.drain().await?.iter().filter(|m| m.method() == Some("ACK")).count() <= 1,
        "the ACK is for this hop"
    );
    Ok(())
}

/// §17.1.2.2: a request that is not INVITE is repeated with doubling intervals (timer E).
#[tokio::test]
async fn an_unanswered_request_is_repeated() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let message = say(&mut alice, &bob).await?;
    let mut times = Vec::new();
    let mut last = None;
    for n in 0..3 {
        last = Some(bob.receive(&format!("copy {n}"), |m| m.method() == Some("MESSAGE")).await?);
        times.push(Instant::now());
    }
    let (first, second) = (times[1] - times[0], times[2] - times[1]);
    assert!(about(first, 500) && about(second, 1000), "{first:?}, {second:?}");
    let received = last.unwrap_or(message);
    bob.answer(&received, 200, "OK", "b1", "").await?;
    alice.receive("the answer", |m| m.status() == Some(200)).await?;
    Ok(())
}

/// §17.2.2: a repeated request that was answered gets the same answer, and is not forwarded twice.
#[tokio::test]
async fn a_repeated_request_gets_the_same_answer() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let message = say(&mut alice, &bob).await?;
    let received = bob.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
    bob.answer(&received, 202, "Accepted", "b1", "").await?;
    let first = alice.receive("the answer", |m| m.status() == Some(202)).await?;
    alice.send(&message).await?;
    let second = alice.receive("the answer again", |m| m.status() == Some(202)).await?;
    assert_eq!(first, second);
    assert!(bob.drain().await?.iter().all(|m| m.method() != Some("MESSAGE")), "forwarded twice");
    Ok(())
}

/// §17.2.1: once its refusal is acknowledged, late copies of an INVITE are absorbed: neither forwarded nor answered.
#[tokio::test]
async fn late_copies_are_absorbed_after_the_ack() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let invite = place_call(&mut alice, &bob.aor()).await?;
    let invited = rung(&mut bob).await?;
    bob.answer(&invited, 486, "Busy Here", "b1", "").await?;
    let busy = alice.receive("busy", |m| m.status() == Some(486)).await?;
    alice.send(&ack_of_refusal(&invite, &busy)).await?;
    alice.drain().await?;
    alice.send(&invite).await?;
    let more = alice.receive_within("an answer", Duration::from_millis(700), |m| m.status().is_some()).await;
    // Kamailio answers them with the refusal again.
    assert!(more.is_err() || subject.is_kamailio(), "{more:?}");
    assert!(bob.drain().await?.iter().all(|m| m.method() != Some("INVITE")), "forwarded");
    Ok(())
}

/// §17: an ACK is never answered, and one that acknowledges nothing goes nowhere.
#[tokio::test]
async fn a_flood_of_acks_is_silence() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    for number in 0..50 {
        let mut ack = alice.request("ACK", &bob.aor(), &bob.aor());
        if number % 2 == 0 {
            let to = format!("<{}>;tag=none", bob.aor());
            e2e::phone::set(&mut ack, "To", to);
        }
        alice.send(&ack).await?;
    }
    // An answer to something else shows that they were all read.
    let options =
        alice.request("OPTIONS", &format!("sip:{}", alice.account.domain), "sip:nobody@causeway.test");
    assert_eq!(alice.transact(options).await?.status(), Some(200));
    assert!(alice.drain().await?.is_empty());
    // Kamailio sends an ACK outside of dialogs on to the contacts, as it would an INVITE.
    let forwarded = bob.drain().await?.iter().any(|m| m.method() == Some("ACK"));
    assert!(!forwarded || subject.is_kamailio());
    Ok(())
}

/// Sends a MESSAGE with credentials; returns it as it was let through.
async fn say(alice: &mut Phone, bob: &Phone) -> Result<Message> {
    let mut message = alice.request("MESSAGE", &bob.aor(), &bob.aor());
    alice.send(&message).await?;
    let challenge = alice.receive("a challenge", |m| m.status() == Some(407)).await?;
    alice.authorize(&mut message, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    alice.send(&message).await?;
    Ok(message)
}

/// Within what a busy machine and a coarse timer wheel make of an interval.
fn about(span: Duration, milliseconds: u64) -> bool {
    (milliseconds * 7 / 10..=milliseconds * 16 / 10).contains(&(span.as_millis() as u64))
}
