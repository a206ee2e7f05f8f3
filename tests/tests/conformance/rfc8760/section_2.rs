//! RFC 8760 §2: algorithms, their order, and what is asked of both sides.

use anyhow::{Context, Result};
use e2e::digest::{Client, parameter};
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::subject::{Setup, Subject};

const ALL: [&str; 6] = ["SHA-512-256", "SHA-256", "MD5", "SHA-512-256-sess", "SHA-256-sess", "MD5-sess"];

async fn subject(algorithms: &[&str]) -> Result<Subject> {
    // Many challenges are a long answer to the short request of a phone that nobody knows yet.
    let more = "[limits]\nstranger_percent = 1000\n";
    Subject::start_as(Setup { algorithms, more, ..Setup::default() }).await
}

/// A REGISTER that changes nothing, with these more fields; the answer.
async fn register(phone: &mut Phone, more: &[(&str, &str)]) -> Result<Message> {
    let mut request = phone.query();
    for (name, value) in more {
        set(&mut request, name, (*value).to_owned());
    }
    phone.transact_once(&request).await
}

fn algorithms(refusal: &Message) -> Vec<String> {
    refusal.all("WWW-Authenticate").filter_map(|value| parameter(value, "algorithm")).collect()
}

fn answer(phone: &Phone, challenge: &str) -> Result<String> {
    let uri = format!("sip:{}", phone.account.domain);
    let (user, password) = (&phone.account.user, &phone.account.password);
    Client { user, password, method: "REGISTER", uri: &uri, nc: 1 }.answer(challenge)
}

/// §2.3: one challenge for each algorithm, each in a field of its own, the most preferred on top; §2.6: each offers qop.
///
/// Kamailio offers one algorithm at a time.
#[tokio::test]
async fn challenges_stand_in_the_order_of_preference() -> Result<()> {
    let subject = subject(&["SHA-256", "SHA-512-256", "MD5"]).await?;
    let mut phone = subject.phone("alice").await?;
    let refusal = register(&mut phone, &[]).await?;
    let expected: &[&str] =
        if subject.is_kamailio() { &["SHA-256"] } else { &["SHA-256", "SHA-512-256", "MD5"] };
    assert_eq!(algorithms(&refusal), expected, "{refusal}");
    for value in refusal.all("WWW-Authenticate") {
        assert_eq!(parameter(value, "qop").as_deref(), Some("auth"), "{value}");
        assert_eq!(parameter(value, "realm").as_deref(), Some("causeway.test"), "{value}");
    }
    Ok(())
}

/// §2.1, §2.2, §2.4: whichever of the offered algorithms the client chooses, its answer counts; a response of the wrong
/// length never does.
#[tokio::test]
async fn every_algorithm_is_spoken() -> Result<()> {
    let names: &[&str] = if Subject::is_kamailio_chosen() { &["SHA-256"] } else { &ALL };
    let subject = subject(names).await?;
    let mut phone = subject.phone("alice").await?;
    for name in names {
        let wrong = credentials(&mut phone, name).await?;
        let response = parameter(&wrong, "response").context("a response")?;
        assert_eq!(response.len(), if name.starts_with("MD5") { 32 } else { 64 }, "{name}");
        let wrong = wrong.replace(&response, &response[1..]);
        let refused = register(&mut phone, &[("Authorization", &wrong)]).await?;
        assert!(refused.status() >= Some(400), "{name}: {refused}");
        let right = credentials(&mut phone, name).await?;
        let taken = register(&mut phone, &[("Authorization", &right)]).await?;
        assert_eq!(taken.status(), Some(200), "{name}: {taken}");
    }
    Ok(())
}

/// The answer to a fresh challenge of this algorithm.
async fn credentials(phone: &mut Phone, algorithm: &str) -> Result<String> {
    let refusal = register(phone, &[]).await?;
    let wanted = |value: &&str| parameter(value, "algorithm").as_deref() == Some(algorithm);
    let challenge =
        refusal.all("WWW-Authenticate").find(wanted).with_context(|| format!("no {algorithm}"))?;
    answer(phone, challenge)
}

/// §2.3: an algorithm that the server's policy leaves out is not taken, even with the right password.
#[tokio::test]
async fn an_algorithm_that_is_not_offered_is_not_taken() -> Result<()> {
    let subject = subject(&["SHA-256"]).await?;
    let mut phone = subject.phone("alice").await?;
    let refusal = register(&mut phone, &[]).await?;
    let challenge = refusal.header("WWW-Authenticate").replace("algorithm=SHA-256", "algorithm=MD5");
    let value = answer(&phone, &challenge)?;
    let refused = register(&mut phone, &[("Authorization", &value)]).await?;
    assert_eq!(
        (refused.status(), algorithms(&refused)),
        (Some(401), vec!["SHA-256".to_owned()]),
        "{refused}"
    );
    Ok(())
}

/// §2.6: with an algorithm newer than MD5 the client sends qop and cnonce.
///
/// Kamailio takes the answer without.
#[tokio::test]
async fn qop_is_not_left_out_with_the_newer_algorithms() -> Result<()> {
    let subject = subject(&["SHA-256"]).await?;
    let mut phone = subject.phone("alice").await?;
    let refusal = register(&mut phone, &[]).await?;
    let without = refusal.header("WWW-Authenticate").replace("qop=\"auth\"", "x=\"y\"");
    let value = answer(&phone, &without)?;
    let refused = register(&mut phone, &[("Authorization", &value)]).await?;
    let expected = if subject.is_kamailio() { 200 } else { 400 };
    assert_eq!(refused.status(), Some(expected), "{refused}");
    Ok(())
}

/// §2.3 leaves the policy to the server: JsSIP gives up on a challenge that names another algorithm than MD5, even beside
/// one that does, and is challenged with MD5 alone.
#[tokio::test]
async fn a_client_that_knows_md5_alone_is_offered_nothing_else() -> Result<()> {
    let subject = subject(&["SHA-256", "MD5"]).await?;
    let mut phone = subject.phone("alice").await?;
    let refusal = register(&mut phone, &[("User-Agent", "JsSIP 3.13.8")]).await?;
    // Kamailio has one algorithm for all.
    let expected = if subject.is_kamailio() { "SHA-256" } else { "MD5" };
    assert_eq!(algorithms(&refusal), [expected], "{refusal}");
    Ok(())
}

/// §2, and RFC 3261 §22.3: a proxy does the same with 407.
#[tokio::test]
async fn a_proxy_does_the_same() -> Result<()> {
    let subject = subject(&["SHA-256"]).await?;
    let mut alice = subject.phone("alice").await?;
    // The account's hashes are there, its bindings are not.
    let aor = alice.aor();
    let mut request = alice.request("MESSAGE", &aor, &aor);
    let refusal = alice.transact_once(&request).await?;
    assert_eq!(refusal.status(), Some(407), "{refusal}");
    let challenge = refusal.header("Proxy-Authenticate").to_owned();
    assert_eq!(parameter(&challenge, "algorithm").as_deref(), Some("SHA-256"));
    alice.authorize(&mut request, &challenge, "Proxy-Authorization");
    let answer = alice.transact_once(&request).await?;
    // Not there now; Kamailio says 404 to whatever has no binding.
    let expected = if subject.is_kamailio() { 404 } else { 480 };
    assert_eq!(answer.status(), Some(expected), "{answer}");
    Ok(())
}
