//! RFC 3261 §8: General User Agent Behavior, as far as a server answers by itself.

use std::time::Duration;

use anyhow::Result;
use e2e::phone::set;
use e2e::subject::Subject;

/// §8.2.6.2: Via, From, Call-ID and CSeq come back as they were, and To gets a tag.
#[tokio::test]
async fn a_response_repeats_the_fields_of_its_request() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    let response = phone.transact(request.clone()).await?;
    assert_eq!(response.status(), Some(200), "{response}");
    for name in ["From", "Call-ID", "CSeq"] {
        assert_eq!(response.header(name), request.header(name), "{name}");
    }
    assert_eq!(response.parameter("Via", "branch"), request.parameter("Via", "branch"));
    assert_eq!(response.address("To"), request.address("To"));
    assert!(
        response.parameter("To", "tag").is_some_and(|tag| !tag.is_empty()),
        "no tag in {}",
        response.header("To")
    );
    Ok(())
}

/// §8.2.6.2: the tag is the same in every response to the same request.
#[tokio::test]
async fn a_repeated_request_gets_the_same_tag() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    let first = phone.transact(request.clone()).await?;
    let second = phone.transact(request).await?;
    assert_eq!(first.parameter("To", "tag"), second.parameter("To", "tag"));
    Ok(())
}

/// §8.1.1: a request without one of the six mandatory fields is refused with 400 or dropped, never served.
#[tokio::test]
async fn a_request_without_a_mandatory_field_is_not_served() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for name in ["From", "To", "Call-ID", "CSeq"] {
        let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
        request.headers.retain(|(field, _)| field != name);
        phone.send(&request).await?;
        let answer =
            phone.receive_within("an answer", Duration::from_millis(300), |m| m.status().is_some()).await;
        assert!(answer.as_ref().map_or(true, |m| m.status() == Some(400)), "without {name}: {answer:?}");
    }
    // It is still there.
    let request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    assert_eq!(phone.transact(request).await?.status(), Some(200));
    Ok(())
}

/// §8.1.1.5: CSeq names the method of the request.
#[tokio::test]
async fn a_cseq_of_another_method_is_refused() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    set(&mut request, "CSeq", "1 INFO".into());
    phone.send(&request).await?;
    let answer = phone.receive_within("an answer", Duration::from_secs(2), |m| m.status().is_some()).await;
    assert!(answer.as_ref().map_or(true, |m| m.status() == Some(400)), "{answer:?}");
    Ok(())
}

/// §22.1, §22.3: a REGISTER without credentials gets 401 and WWW-Authenticate, a call 407 and Proxy-Authenticate, both with a
/// realm and a nonce.
#[tokio::test]
async fn requests_of_users_are_challenged() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let aor = phone.aor();
    for (method, uri, status, field) in [
        ("REGISTER", "sip:causeway.test", 401, "WWW-Authenticate"),
        ("MESSAGE", "sip:bob@causeway.test", 407, "Proxy-Authenticate"),
    ] {
        let mut request = phone.request(method, uri, &aor);
        request.headers.push(("Contact".into(), format!("<{}>", phone.contact())));
        phone.send(&request).await?;
        let response =
            phone.receive("a challenge", |m| m.status() >= Some(200) && m.cseq().1 == method).await?;
        assert_eq!(response.status(), Some(status), "{response}");
        let challenge = response.header(field);
        assert!(
            challenge.starts_with("Digest ")
                && challenge.contains("realm=\"")
                && challenge.contains("nonce=\"")
        );
    }
    Ok(())
}
