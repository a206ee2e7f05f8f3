//! RFC 7616 §3: the scheme, with MD5. The other algorithms are in RFC 8760.

use anyhow::{Context, Result};
use e2e::digest::{Client, parameter};
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::subject::Subject;

/// A REGISTER that asks for the bindings and changes nothing, with these credentials; the answer.
async fn register(phone: &mut Phone, credentials: Option<&str>) -> Result<Message> {
    let mut request = phone.query();
    if let Some(credentials) = credentials {
        set(&mut request, "Authorization", credentials.into());
    }
    phone.transact_once(&request).await
}

/// The challenge of a REGISTER without credentials.
async fn challenge(phone: &mut Phone) -> Result<String> {
    let refusal = register(phone, None).await?;
    assert_eq!(refusal.status(), Some(401), "{refusal}");
    Ok(refusal.header("WWW-Authenticate").to_owned())
}

fn answer(phone: &Phone, challenge: &str, password: &str, nc: u32) -> Result<String> {
    let uri = format!("sip:{}", phone.account.domain);
    Client { user: &phone.account.user, password, method: "REGISTER", uri: &uri, nc }.answer(challenge)
}

fn right(phone: &Phone, challenge: &str, nc: u32) -> Result<String> {
    answer(phone, challenge, &phone.account.password, nc)
}

/// §3.3: realm, nonce and qop stand in every challenge, quoted, the algorithm without quotes, and each nonce is another.
#[tokio::test]
async fn a_challenge_has_its_parameters() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let (one, other) = (challenge(&mut phone).await?, challenge(&mut phone).await?);
    assert!(one.starts_with("Digest ") && !one.contains("algorithm=\""), "{one}");
    for quoted in ["realm=\"causeway.test\"", "nonce=\"", "qop=\"auth\""] {
        assert!(one.contains(quoted), "{quoted} in {one}");
    }
    assert!(!one.contains("stale=true"), "{one}");
    assert_ne!(parameter(&one, "nonce"), parameter(&other, "nonce"));
    Ok(())
}

/// §3.4: the right answer opens, a wrong one is challenged again without a word about the nonce.
#[tokio::test]
async fn the_password_decides() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let first = challenge(&mut phone).await?;
    let wrong = answer(&phone, &first, "guess", 1)?;
    let refusal = register(&mut phone, Some(&wrong)).await?;
    assert_eq!(refusal.status(), Some(401), "{refusal}");
    assert!(!refusal.header("WWW-Authenticate").contains("stale=true"), "{refusal}");
    let right = right(&phone, refusal.header("WWW-Authenticate"), 1)?;
    assert_eq!(register(&mut phone, Some(&right)).await?.status(), Some(200));
    Ok(())
}

/// §3.4.5, §5.5: a nonce may be used again with the next count, and each count once. A repetition is stale: the password was
/// right, so nobody has to be asked for it.
///
/// Kamailio refuses the repetition without that word.
#[tokio::test]
async fn each_count_of_a_nonce_is_good_once() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let first = challenge(&mut phone).await?;
    let (one, two) = (right(&phone, &first, 1)?, right(&phone, &first, 2)?);
    assert_eq!(register(&mut phone, Some(&one)).await?.status(), Some(200));
    assert_eq!(register(&mut phone, Some(&two)).await?.status(), Some(200));
    let replayed = register(&mut phone, Some(&two)).await?;
    assert_eq!(replayed.status(), Some(401), "{replayed}");
    let next = replayed.header("WWW-Authenticate");
    let expected = (!subject.is_kamailio()).then_some("true");
    assert_eq!(parameter(next, "stale").as_deref(), expected, "{next}");
    assert_ne!(parameter(next, "nonce"), parameter(&first, "nonce"));
    let again = right(&phone, next, 1)?;
    assert_eq!(register(&mut phone, Some(&again)).await?.status(), Some(200));
    Ok(())
}

/// §3.3, stale: a replay with a wrong password is no stale nonce but a wrong password.
#[tokio::test]
async fn stale_is_for_those_who_know_the_password() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let first = challenge(&mut phone).await?;
    let one = right(&phone, &first, 1)?;
    assert_eq!(register(&mut phone, Some(&one)).await?.status(), Some(200));
    let wrong = answer(&phone, &first, "guess", 1)?;
    let refusal = register(&mut phone, Some(&wrong)).await?;
    assert_eq!(refusal.status(), Some(401), "{refusal}");
    assert!(!refusal.header("WWW-Authenticate").contains("stale=true"), "{refusal}");
    Ok(())
}

/// §5.4: a nonce that the server has not made proves nothing, however right the rest.
#[tokio::test]
async fn a_nonce_of_ones_own_proves_nothing() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let first = challenge(&mut phone).await?;
    let nonce = parameter(&first, "nonce").context("a nonce")?;
    let flipped: String = nonce.chars().rev().collect();
    for forged in [flipped.as_str(), "dcd98b7102dd2f0e8b11d0f600bfb0c093", "x"] {
        let value = right(&phone, &first.replace(&nonce, forged), 1)?;
        let refusal = register(&mut phone, Some(&value)).await?;
        assert_eq!(refusal.status(), Some(401), "{forged}: {refusal}");
    }
    Ok(())
}

/// §3.4: whoever has no account hears what one hears who has got his password wrong: nobody learns who has one.
#[tokio::test]
async fn an_unknown_user_is_told_what_a_wrong_password_is_told() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let mut texts = Vec::new();
    for user in ["alice", "zelda"] {
        phone.account.user = user.into();
        let first = challenge(&mut phone).await?;
        let wrong = answer(&phone, &first, "guess", 1)?;
        let refusal = register(&mut phone, Some(&wrong)).await?;
        let nonce = parameter(refusal.header("WWW-Authenticate"), "nonce").context("a nonce")?;
        let fields = refusal.headers.iter().filter(|(name, _)| {
            !["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|own| name.eq_ignore_ascii_case(own))
        });
        let fields: Vec<String> =
            fields.map(|(name, value)| format!("{name}: {}", value.replace(&nonce, "N"))).collect();
        texts.push((refusal.start.clone(), fields));
    }
    assert_eq!(texts[0], texts[1]);
    Ok(())
}

/// §3.4: a parameter that is missing or improper is answered with a 4xx, and never with success: 400 where that is what is
/// wrong, a new challenge where the client has chosen what was not offered.
///
/// Kamailio says 400 to none of them: it challenges again, or does not look at the algorithm that the client says it used.
#[tokio::test]
async fn half_credentials_are_refused() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let cases: [(&str, &str, u16, u16); 10] = [
        ("username=\"alice\", ", "", 400, 401),
        ("nc=00000001, ", "", 400, 401),
        ("nc=00000001", "nc=1", 400, 401),
        (", cnonce=\"0a4f113b\"", "", 400, 401),
        ("response=\"", "response=\"zz", 400, 401),
        ("response=\"", "x=\"", 400, 401),
        ("uri=\"sip:causeway.test\", ", "", 400, 401),
        ("qop=auth,", "qop=auth-int,", 401, 401),
        ("algorithm=MD5", "algorithm=SHA3", 401, 200),
        ("algorithm=MD5", "algorithm=SHA-256", 400, 200),
    ];
    for (whole, broken, ours, kamailio) in cases {
        let first = challenge(&mut phone).await?;
        let value = right(&phone, &first, 1)?;
        assert!(value.contains(whole), "{whole} in {value}");
        let refusal = register(&mut phone, Some(&value.replace(whole, broken))).await?;
        let expected = if subject.is_kamailio() { kamailio } else { ours };
        assert_eq!(refusal.status(), Some(expected), "{whole} → {broken}: {refusal}");
    }
    Ok(())
}

/// §3.4: unknown parameters are ignored, the order is free, and white space and folding may stand around commas.
#[tokio::test]
async fn credentials_may_look_otherwise() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for round in 0..4 {
        let first = challenge(&mut phone).await?;
        let value = right(&phone, &first, 1)?;
        let (_, parameters) = value.split_once(' ').context("parameters")?;
        let mut parts: Vec<&str> = parameters.split(", ").collect();
        let value = match round {
            0 => {
                parts.reverse();
                format!("Digest {}", parts.join(", "))
            }
            1 => format!("Digest {}", parts.join(" ,\r\n  ")),
            2 => format!("digest {}, opaque=\"\", auth-param=\"with, comma\"", parts.join(",")),
            _ => format!("Digest {}", parameters.replace("algorithm=MD5", "algorithm=\"md5\"")),
        };
        assert_eq!(register(&mut phone, Some(&value)).await?.status(), Some(200), "{value}");
    }
    Ok(())
}

/// §3.4, username*: the extended notation, decoded. A proxy whose accounts are ASCII has no need of it, but a client may
/// use it for any name.
///
/// Kamailio does not know it: it challenges again.
#[tokio::test]
async fn a_user_name_may_be_extended() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let first = challenge(&mut phone).await?;
    let value = right(&phone, &first, 1)?.replace("username=\"alice\"", "username*=UTF-8''%61lice");
    let expected = if subject.is_kamailio() { 401 } else { 200 };
    assert_eq!(register(&mut phone, Some(&value)).await?.status(), Some(expected));
    Ok(())
}

/// RFC 3261 §22.2, §22.3: the credentials for another realm on the way are left alone, ours are found behind them and not
/// passed on.
#[tokio::test]
async fn credentials_are_found_by_their_realm() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.phone("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let other = "Digest username=\"alice\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:b\", response=\"00\"";
    let aor = bob.aor();
    let mut request = alice.request("MESSAGE", &aor, &aor);
    request.headers.push(("Proxy-Authorization".into(), other.into()));
    let refusal = alice.transact_once(&request).await?;
    assert_eq!(refusal.status(), Some(407), "{refusal}");
    alice.authorize(&mut request, refusal.header("Proxy-Authenticate"), "Proxy-Authorization");
    alice.send(&request).await?;
    let passed = bob.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
    assert_eq!(passed.all("Proxy-Authorization").collect::<Vec<_>>(), [other]);
    bob.answer(&passed, 200, "OK", "b", "").await?;
    let answer = alice.receive("an answer", |m| m.status() == Some(200)).await?;
    assert_eq!(answer.header("Call-ID"), request.header("Call-ID"));
    Ok(())
}
