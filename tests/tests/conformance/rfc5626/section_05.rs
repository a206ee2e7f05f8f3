//! RFC 5626 §5: Edge proxy procedures. Kamailio is the registrar of these tests and no edge, so ours alone is judged here.

use anyhow::{Context, Result};
use e2e::baresip::Account;
use e2e::gateway::{DOMAIN, Gateway, host_address};
use e2e::phone::Phone;
use e2e::sip::Message;
use e2e::subject::Subject;

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";

/// An edge of `pbx.test`, a phone of that domain, and its registrar.
async fn edge() -> Result<(Gateway, Phone, Phone)> {
    let account =
        |user: &str| Account { user: user.into(), password: String::new(), domain: "pbx.test".into() };
    // Its own port comes first, for the gateway is to know it.
    let mut registrar = Phone::new(account("registrar"), (host_address(), 5060).into()).await?;
    let edges = format!("[edge]\ndomains = [\"pbx.test=sip:{}\"]\n", registrar.local());
    let gateway = Gateway::start_for(DOMAIN, &edges).await?;
    registrar.proxy = gateway.proxy();
    let phone = Phone::new(account("carol"), gateway.proxy()).await?;
    Ok((gateway, phone, registrar))
}

/// A REGISTER with this Contact, answered by the registrar: as that one got it.
async fn register(phone: &mut Phone, registrar: &mut Phone, contact: &str) -> Result<Message> {
    let mut request = phone.request("REGISTER", "sip:pbx.test", &phone.aor());
    let lines = [("Contact", contact), ("Supported", "path, outbound")];
    request.headers.extend(lines.map(|(name, value)| (name.to_owned(), value.to_owned())));
    phone.send(&request).await?;
    let came = registrar.receive("the REGISTER", |m| m.method() == Some("REGISTER")).await?;
    registrar.answer(&came, 200, "OK", "r1", "").await?;
    phone.receive("the answer", |m| m.status() == Some(200)).await?;
    Ok(came)
}

/// §5.1: a Path of ours on top, with a token in its user part, and `ob` where the phone has named its flow. §5.3: what brings the
/// token back goes over that flow, whatever the Contact says.
#[tokio::test]
async fn the_path_leads_back_over_the_flow() -> Result<()> {
    if Subject::is_kamailio_chosen() {
        return Ok(());
    }
    let (gateway, mut phone, mut registrar) = edge().await?;
    let contact = "sip:carol@a1b2c3.invalid";
    let came = register(&mut phone, &mut registrar, &format!("<{contact}>;reg-id=1;{INSTANCE}")).await?;
    let path = came.header("Path").to_owned();
    assert!(path.contains(&format!("@{};", gateway.proxy())) && path.contains(";ob"), "{came}");
    assert!(path.contains(";lr"), "{came}");
    let plain = register(&mut phone, &mut registrar, &format!("<{contact}>")).await?;
    assert!(!plain.header("Path").contains(";ob"), "no flow is named: {plain}");

    let mut message = registrar.request("MESSAGE", contact, "sip:carol@pbx.test");
    message.headers.push(("Route".into(), path));
    registrar.send(&message).await?;
    let arrived = phone.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
    assert_eq!(arrived.uri(), Some(contact));
    assert!(arrived.header("Route").is_empty(), "{arrived}");
    phone.answer(&arrived, 200, "OK", "c1", "").await?;
    registrar.receive("the answer", |m| m.status() == Some(200)).await?;
    Ok(())
}

/// §5.2: a token that is not ours is none.
#[tokio::test]
async fn a_token_cannot_be_made_up() -> Result<()> {
    if Subject::is_kamailio_chosen() {
        return Ok(());
    }
    let (gateway, mut phone, mut registrar) = edge().await?;
    let contact = "sip:carol@a1b2c3.invalid";
    let came = register(&mut phone, &mut registrar, &format!("<{contact}>;reg-id=1;{INSTANCE}")).await?;
    let stranger = Account { user: "eve".into(), password: String::new(), domain: "evil.test".into() };
    let mut eve = Phone::new(stranger, gateway.proxy()).await?;
    let path = came.header("Path");
    let other = path.strip_prefix("<sip:").context("a Path")?;
    let first = if other.starts_with('b') { "c" } else { "b" };
    let mut message = eve.request("MESSAGE", contact, "sip:carol@pbx.test");
    message.headers.push(("Route".into(), format!("<sip:{first}{}", &other[1..])));
    eve.send(&message).await?;
    let answer = eve.receive("an answer", |m| m.status() >= Some(200)).await?;
    assert_eq!(answer.status(), Some(403), "{answer}");
    assert!(phone.drain().await?.iter().all(|m| m.method() != Some("MESSAGE")));
    Ok(())
}
