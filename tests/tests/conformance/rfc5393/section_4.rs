//! RFC 5393 §4: Updates to RFC 3261, loop detection.

use anyhow::Result;
use e2e::subject::Subject;

/// §4.2.1: a request that a branch leads back unchanged is a loop: 482, and nothing is forwarded again. Kamailio detects no
/// loops; there only Max-Forwards ends them.
#[tokio::test]
async fn a_request_that_comes_back_is_a_loop() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut mirror = subject.phone("bob").await?;
    // A contact that is an address of this domain again, with the port so that it is not refused for it.
    let again = format!("sip:bob@{}:{}", mirror.account.domain, subject.proxy().port());
    let domain = format!("sip:{}", mirror.account.domain);
    let mut register = mirror.request("REGISTER", &domain, &mirror.aor());
    register.headers.push(("Contact".into(), format!("<{again}>;expires=300")));
    assert_eq!(mirror.transact(register).await?.status(), Some(200));
    if subject.is_kamailio() {
        return Ok(());
    }
    let mut message = alice.request("MESSAGE", &again, &again);
    alice.send(&message).await?;
    let challenge = alice.receive("a challenge", |m| m.status() == Some(407)).await?;
    alice.authorize(&mut message, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    alice.send(&message).await?;
    let came = mirror.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
    let mut back = came.clone();
    let via = mirror.request("MESSAGE", &again, &again).header("Via").to_owned();
    back.headers.insert(0, ("Via".into(), via.clone()));
    mirror.send(&back).await?;
    let detected = mirror.receive("the answer", |m| m.status() >= Some(200)).await?;
    assert_eq!(detected.status(), Some(482), "{detected}");
    mirror.answer(&came, 482, "Loop Detected", "m1", "").await?;
    let refusal = alice.receive("the answer", |m| m.status() >= Some(200)).await?;
    assert_eq!(refusal.status(), Some(482), "{refusal}");
    assert!(mirror.drain().await?.iter().all(|m| m.method() != Some("MESSAGE")), "once around is enough");
    Ok(())
}
