//! RFC 5627 §5: Registrar and proxy behaviour.

use anyhow::{Context, Result};
use e2e::phone::Phone;
use e2e::sip::Message;
use e2e::subject::Subject;

use crate::registering::{bindings, parameter, register};

/// Registers `phone` as the instance `number`; its public and its temporary GRUU.
async fn gruus(phone: &mut Phone, number: u32, call_id: Option<&str>) -> Result<(String, String)> {
    let instance = format!("urn:uuid:00000000-0000-1000-8000-{number:012}");
    let contact = format!("<{}>;+sip.instance=\"<{instance}>\"", phone.contact());
    let answer = register(phone, call_id, &[("Contact", &*contact), ("Supported", "gruu")]).await?;
    let bindings = bindings(&answer);
    let own = bindings.iter().find(|binding| binding.contains(&instance)).context("the binding")?;
    let public = parameter(own, "pub-gruu").with_context(|| format!("pub-gruu in {own}"))?;
    let temporary = parameter(own, "temp-gruu").with_context(|| format!("temp-gruu in {own}"))?;
    Ok((public, temporary))
}

/// Sends a MESSAGE to `uri`: which of `phones` it came to, else the status that came back.
async fn ask(from: &mut Phone, phones: [&mut Phone; 2], uri: &str) -> Result<Result<usize, Option<u16>>> {
    let request = from.request("MESSAGE", uri, uri);
    let is_message = |message: &Message| message.method() == Some("MESSAGE");
    let [first, second] = phones;
    let (number, phone, message) = tokio::select! {
        answer = from.transact(request) => return Ok(Err(answer?.status())),
        message = first.receive("MESSAGE", is_message) => (0, first, message?),
        message = second.receive("MESSAGE", is_message) => (1, second, message?),
    };
    assert_eq!(message.uri(), Some(&*phone.contact()), "it has to find itself there");
    phone.answer(&message, 200, "OK", "x", "").await?;
    Ok(Ok(number))
}

/// §5.4: a GRUU, public or temporary, reaches its instance and no other one of the user.
#[tokio::test]
async fn a_gruu_reaches_its_instance_alone() -> Result<()> {
    let subject = Subject::start().await?;
    let mut first = subject.phone("alice").await?;
    let mut second = Phone::new(first.account.clone(), subject.proxy()).await?;
    let mut bob = subject.registered("bob").await?;
    let of_first = gruus(&mut first, 1, None).await?;
    let of_second = gruus(&mut second, 2, None).await?;
    assert!(of_first.0.starts_with(&format!("{};gr=urn:uuid:", first.aor())), "{of_first:?}");
    assert!(of_first.1.ends_with(";gr") && !of_first.1.contains("alice"), "{of_first:?}");
    for (uri, expected) in [(&of_first.0, 0), (&of_first.1, 0), (&of_second.0, 1), (&of_second.1, 1)] {
        let reached = ask(&mut bob, [&mut first, &mut second], uri).await?;
        assert_eq!(reached, Ok(expected), "{uri}");
    }
    Ok(())
}

/// §5.1: who does not say that it knows of GRUUs is given none.
#[tokio::test]
async fn gruus_are_given_to_those_who_ask() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let contact = format!("<{}>;+sip.instance=\"<urn:uuid:1>\"", phone.contact());
    let answer = register(&mut phone, None, &[("Contact", &*contact)]).await?;
    assert!(answer.status() == Some(200) && !answer.to_string().contains("gruu"), "{answer}");
    Ok(())
}

/// §5.4: 480 for an instance that is not there now, 404 for a GRUU that means nobody. (Kamailio says 404 to both.)
#[tokio::test]
async fn a_gruu_that_leads_nowhere_is_told_apart() -> Result<()> {
    let subject = Subject::start().await?;
    let mut first = subject.phone("alice").await?;
    let mut second = Phone::new(first.account.clone(), subject.proxy()).await?;
    let mut bob = subject.registered("bob").await?;
    let (public, temporary) = gruus(&mut first, 1, None).await?;
    gruus(&mut second, 2, None).await?;
    let gone = format!("<{}>;expires=0", first.contact());
    assert_eq!(register(&mut first, None, &[("Contact", &*gone)]).await?.status(), Some(200));
    let absent = if subject.is_kamailio() { 404 } else { 480 };
    let domain = first.account.domain.clone();
    for (uri, status) in [(public, absent), (temporary, 404), (format!("sip:made-up@{domain};gr"), 404)] {
        let reached = ask(&mut bob, [&mut first, &mut second], &uri).await?;
        assert_eq!(reached, Err(Some(status)), "{uri}");
    }
    Ok(())
}

/// §3.2, §5.1: temporary GRUUs are made anew with each registration, stay while it is renewed, and end when the instance
/// registers with another Call-ID. (Kamailio lets them live as long as the binding.)
#[tokio::test]
async fn temporary_gruus_end_with_their_registration() -> Result<()> {
    let subject = Subject::start().await?;
    let mut first = subject.phone("alice").await?;
    let mut second = Phone::new(first.account.clone(), subject.proxy()).await?;
    let mut bob = subject.registered("bob").await?;
    let (_, old) = gruus(&mut first, 1, Some("one")).await?;
    let (_, new) = gruus(&mut first, 1, Some("one")).await?;
    for uri in [&old, &new] {
        assert_eq!(ask(&mut bob, [&mut first, &mut second], uri).await?, Ok(0), "{uri}");
    }
    gruus(&mut first, 1, Some("two")).await?;
    if !subject.is_kamailio() {
        assert_ne!(old, new);
        for uri in [&old, &new] {
            assert_eq!(ask(&mut bob, [&mut first, &mut second], uri).await?, Err(Some(404)), "{uri}");
        }
    }
    Ok(())
}
