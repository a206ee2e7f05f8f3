//! RFC 8898 §2: how a token is presented, and what becomes of it.
//!
//! Kamailio has no such scheme in what challenges for it; it is asked for digest all the same, which is all that is judged of it.

use anyhow::Result;
use e2e::digest::parameter;
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::subject::{Setup, Subject};
use e2e::tokens;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CONFIGURATION: &str = "[jwt]\nsecret = \"0123456789abcdef0123456789abcdef\"\nissuer = \"https://app.example\"\n\
     audience = [\"sip\"]\nauthz_server = \"https://login.example/\"\n\
     [auth_ephemeral]\nsecret = [\"shared with the web application\"]\n";

async fn subject() -> Result<Subject> {
    Subject::start_as(Setup { more: CONFIGURATION, ..Setup::default() }).await
}

/// A REGISTER that changes nothing, with a token of these claims.
async fn present(phone: &mut Phone, claims: &str) -> Result<Message> {
    let mut request = phone.query();
    set(&mut request, "Authorization", format!("Bearer {}", tokens::jwt(SECRET, claims)));
    phone.transact_once(&request).await
}

fn of_bearer(answer: &Message) -> Option<String> {
    answer.all("WWW-Authenticate").find(|value| value.starts_with("Bearer ")).map(str::to_owned)
}

/// §2.2, §4: who comes with nothing is told where tokens are to be had, once, beside digest.
#[tokio::test]
async fn a_challenge_says_where_tokens_are_to_be_had() -> Result<()> {
    let subject = subject().await?;
    let mut phone = subject.phone("alice").await?;
    let query = phone.query();
    let refusal = phone.transact_once(&query).await?;
    assert_eq!(refusal.status(), Some(401), "{refusal}");
    assert!(refusal.all("WWW-Authenticate").any(|value| value.starts_with("Digest ")), "{refusal}");
    if subject.is_kamailio() {
        return Ok(());
    }
    let challenge = of_bearer(&refusal).unwrap_or_default();
    assert_eq!(parameter(&challenge, "realm"), Some(phone.account.domain.clone()), "{refusal}");
    assert_eq!(parameter(&challenge, "authz_server").as_deref(), Some("https://login.example/"));
    assert_eq!(parameter(&challenge, "error"), None, "{challenge}");
    Ok(())
}

/// §2.1.2: a token in the first request is all that it takes; the claims are judged (RFC 7519 §4.1).
#[tokio::test]
async fn a_good_token_registers_and_no_other() -> Result<()> {
    let subject = subject().await?;
    let mut phone = subject.phone("alice").await?;
    let claims = |issuer: &str, audience: &str, user: &str, end: u64| {
        format!(r#"{{"iss": "{issuer}", "aud": "{audience}", "sub": "{user}", "exp": {end}}}"#)
    };
    let (app, later) = ("https://app.example", tokens::now() + 600);
    let table = [
        (claims(app, "sip", "alice", later), 200),
        (claims(app, "sip", "alice", 1_300_819_380), 401),
        (claims("https://other.example", "sip", "alice", later), 401),
        (claims(app, "mail", "alice", later), 401),
        (claims(app, "sip", "bob", later), 403),
        (format!(r#"{{"iss": "{app}", "aud": "sip", "sub": "alice"}}"#), 401),
    ];
    for (claims, status) in table {
        let answer = present(&mut phone, &claims).await?;
        let status = if subject.is_kamailio() { 401 } else { status };
        assert_eq!(answer.status(), Some(status), "{claims}: {answer}");
        if status == 401 && !subject.is_kamailio() {
            let challenge = of_bearer(&answer).unwrap_or_default();
            assert_eq!(parameter(&challenge, "error").as_deref(), Some("invalid_token"), "{answer}");
        }
    }
    Ok(())
}

/// RFC 8725 §2.1: neither "none" nor the signature of another key is one.
#[tokio::test]
async fn a_forged_token_is_none() -> Result<()> {
    let subject = subject().await?;
    let mut phone = subject.phone("alice").await?;
    let claims = format!(
        r#"{{"iss": "https://app.example", "aud": "sip", "sub": "alice", "exp": {}}}"#,
        tokens::now() + 600
    );
    let good = tokens::jwt(SECRET, &claims);
    let unsigned = tokens::unsigned("none", &claims);
    for token in [
        tokens::jwt("ffffffffffffffffffffffffffffffff", &claims),
        format!("{unsigned}."),
        format!("{unsigned}.{}", good.rsplit('.').next().unwrap_or_default()),
        good.replacen('.', "", 1),
        good[..good.len() - 1].to_owned(),
        "....".to_owned(),
        "x".repeat(9000),
    ] {
        let mut request = phone.query();
        set(&mut request, "Authorization", format!("Bearer {token}"));
        let answer = phone.transact_once(&request).await?;
        assert_eq!(answer.status(), Some(401), "{token}: {answer}");
    }
    Ok(())
}

/// A phone that has only digest signs in with credentials that are good for a while, as TURN servers take them.
#[tokio::test]
async fn credentials_for_a_while_are_spoken_by_digest() -> Result<()> {
    let subject = subject().await?;
    let mut phone = subject.phone("alice").await?;
    for (until, secret, status) in [
        (tokens::now() + 600, "shared with the web application", 200),
        (tokens::now() + 600, "not shared with anybody at all", 401),
        (1_300_819_380, "shared with the web application", 401),
    ] {
        let (login, password) = tokens::ephemeral(secret, until, "alice");
        let query = phone.query();
        let refusal = phone.transact_once(&query).await?;
        let uri = format!("sip:{}", phone.account.domain);
        let client =
            e2e::digest::Client { user: &login, password: &password, method: "REGISTER", uri: &uri, nc: 1 };
        let mut request = phone.query();
        set(&mut request, "Authorization", client.answer(refusal.header("WWW-Authenticate"))?);
        let answer = phone.transact_once(&request).await?;
        let status = if subject.is_kamailio() { 401 } else { status };
        assert_eq!(answer.status(), Some(status), "{login}: {answer}");
    }
    Ok(())
}
