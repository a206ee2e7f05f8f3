//! RFC 5393 §5: Max-Breadth, which Kamailio does not know: it passes the header as it came.

use anyhow::Result;
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::subject::Subject;

/// Sends a MESSAGE with this Max-Breadth to bob's phones and has each of them accept it: the answer, and what arrived.
async fn ask(
    alice: &mut Phone,
    breadth: Option<&str>,
    phones: &mut [Phone],
) -> Result<(Message, Vec<String>)> {
    let bob = format!("sip:bob@{}", alice.account.domain);
    let mut message = alice.request("MESSAGE", &bob, &bob);
    if let Some(breadth) = breadth {
        set(&mut message, "Max-Breadth", breadth.to_owned());
    }
    let call_id = message.header("Call-ID").to_owned();
    let ours = |m: &Message| m.status() >= Some(200) && m.header("Call-ID") == call_id;
    alice.send(&message).await?;
    let first = alice.receive("an answer", ours).await?;
    if first.status() != Some(407) {
        return Ok((first, Vec::new()));
    }
    alice.authorize(&mut message, first.header("Proxy-Authenticate"), "Proxy-Authorization");
    alice.send(&message).await?;
    let mut shares = Vec::new();
    let mut arrived = Vec::new();
    for phone in phones.iter_mut() {
        let came = phone.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
        assert_eq!(came.all("Max-Breadth").count(), 1, "a single value: {came}");
        shares.push(came.header("Max-Breadth").to_owned());
        arrived.push(came);
    }
    for (phone, came) in phones.iter_mut().zip(&arrived) {
        phone.answer(came, 200, "OK", "b1", "").await?;
    }
    Ok((alice.receive("the answer", |m| ours(m) && m.status() == Some(200)).await?, shares))
}

/// §5.3.3: a request without the header gets 60, and no branch gets more than its part of what came.
#[tokio::test]
async fn the_branches_share_what_came() -> Result<()> {
    let subject = Subject::start().await?;
    if subject.is_kamailio() {
        return Ok(());
    }
    let mut alice = subject.registered("alice").await?;
    let desk = subject.registered("bob").await?;
    let sofa = Phone::registered(desk.account.clone(), subject.proxy()).await?;
    let mut phones = [desk, sofa];
    for (breadth, shares) in
        [(None, ["30", "30"]), (Some("7"), ["4", "3"]), (Some("4000"), ["30", "30"]), (Some("2"), ["1", "1"])]
    {
        let (_, mut came) = ask(&mut alice, breadth, &mut phones).await?;
        came.sort_by(|a, b| b.cmp(a));
        assert_eq!(came, shares, "{breadth:?}");
    }
    Ok(())
}

/// §5.3.3: with no breadth left there is no branch: 440.
#[tokio::test]
async fn no_breadth_is_refused() -> Result<()> {
    let subject = Subject::start().await?;
    if subject.is_kamailio() {
        return Ok(());
    }
    let mut alice = subject.registered("alice").await?;
    let mut phones = [subject.registered("bob").await?];
    let (answer, _) = ask(&mut alice, Some("0"), &mut phones).await?;
    assert_eq!(answer.status(), Some(440), "{answer}");
    assert!(phones[0].drain().await?.iter().all(|m| m.method() != Some("MESSAGE")));
    Ok(())
}
