//! RFC 3261 §18 over streams, with the keep-alive of RFC 5626 §4.4.1.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::subject::Subject;
use e2e::wait::PATIENCE;
use e2e::wire::Wire;
use tokio::net::TcpListener;

/// An OPTIONS of `phone` over TCP.
fn options(phone: &mut Phone, wire: &Wire) -> Message {
    let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    let branch = phone.unique();
    set(&mut request, "Via", format!("SIP/2.0/TCP {};branch=z9hG4bK{branch}", wire.local));
    request
}

async fn scene() -> Result<(Subject, Phone, Wire)> {
    let subject = Subject::start().await?;
    let phone = subject.phone("alice").await?;
    let wire = Wire::connect(subject.proxy()).await?;
    Ok((subject, phone, wire))
}

/// §18.3: Content-Length cuts the stream, wherever TCP happens to cut it.
#[tokio::test]
async fn a_message_may_be_split_at_any_byte() -> Result<()> {
    let (_subject, mut phone, mut wire) = scene().await?;
    let mut request = options(&mut phone, &wire);
    request.body = "hello\r\n\r\n".into();
    request.headers.push(("Content-Type".into(), "text/plain".into()));
    let text = request.to_string();
    for byte in text.as_bytes() {
        wire.send([*byte]).await?;
    }
    ensure!(wire.receive().await?.status() == Some(200));
    // In two halves, at every hundredth place and around what is peculiar: the end of the head and that of the body.
    let length = text.len();
    let places = (0..length).step_by(100).chain(length - 14..length);
    for at in places {
        let mut request = options(&mut phone, &wire);
        request.body = "hello\r\n\r\n".into();
        request.headers.push(("Content-Type".into(), "text/plain".into()));
        let text = request.to_string();
        let (first, second) = text.as_bytes().split_at(at.min(text.len()));
        wire.send(first).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        wire.send(second).await?;
        let response = wire.receive().await?;
        assert_eq!((response.status(), response.header("Call-ID")), (Some(200), request.header("Call-ID")));
    }
    Ok(())
}

/// §18.3: several messages in one segment are several messages.
#[tokio::test]
async fn messages_in_a_row_are_all_answered() -> Result<()> {
    let (_subject, mut phone, mut wire) = scene().await?;
    let requests: Vec<Message> = (0..20).map(|_| options(&mut phone, &wire)).collect();
    let text: String = requests.iter().map(ToString::to_string).collect::<Vec<_>>().join("\r\n");
    wire.send(text).await?;
    let mut answered = Vec::new();
    for _ in &requests {
        let response = wire.receive().await?;
        assert_eq!(response.status(), Some(200));
        answered.push(response.header("Call-ID").to_owned());
    }
    let mut asked: Vec<_> = requests.iter().map(|request| request.header("Call-ID").to_owned()).collect();
    asked.sort();
    answered.sort();
    assert_eq!(asked, answered);
    Ok(())
}

/// §18.3, §20.14: on a stream a length that lies, or none, leaves no way to find the next message: the connection ends, with or
/// without a refusal, and nobody else notices.
#[tokio::test]
async fn a_length_that_lies_costs_the_liar_his_connection() -> Result<()> {
    let (subject, mut phone, mut bystander) = scene().await?;
    for length in ["-1", "x", "99999999999999999999", "4000000000", "1, 2"] {
        let mut wire = Wire::connect(subject.proxy()).await?;
        let request = options(&mut phone, &wire).to_string();
        let lies = request.replace("Content-Length: 0", &format!("Content-Length: {length}"));
        // It may be closed before all is written.
        let _ = wire.send(lies).await;
        let _ = wire.send("OPTIONS sip:smuggled@causeway.test SIP/2.0\r\n\r\n").await;
        if subject.is_kamailio() {
            // Which keeps some of these open for as long as nothing more comes.
            continue;
        }
        let said = wire.closed().await?;
        assert!(
            said.is_empty() || said.starts_with("SIP/2.0 4") || said.starts_with("SIP/2.0 513"),
            "{length}: {said}"
        );
        assert!(!said.contains("SIP/2.0 200"), "{length}: {said}");
    }
    let request = options(&mut phone, &bystander);
    bystander.send(request.to_string()).await?;
    ensure!(bystander.receive().await?.status() == Some(200));
    Ok(())
}

/// RFC 5626 §4.4.1: a double CRLF is a ping, a single one the pong; a single CRLF between messages is nothing (§7.5).
#[tokio::test]
async fn a_double_line_end_is_answered_by_a_single_one() -> Result<()> {
    let (_subject, mut phone, mut wire) = scene().await?;
    for ping in [&["\r\n\r\n"][..], &["\r\n", "\r\n"], &["\r", "\n\r", "\n"]] {
        for part in ping {
            wire.send(part).await?;
        }
        assert_eq!(wire.bytes(2).await?, b"\r\n");
    }
    let request = options(&mut phone, &wire);
    wire.send(format!("\r\n{request}")).await?;
    ensure!(wire.receive().await?.status() == Some(200));
    assert!(wire.is_silent(Duration::from_millis(100)).await);
    Ok(())
}

/// §18.2.2: the response comes over the connection of its request, and when that is gone over a new one to the port of sent-by
/// at the address the request came from. (Kamailio 5.6 opens one only when it has noticed the end of the first in time.)
#[tokio::test]
async fn a_response_finds_its_way_when_its_connection_is_gone() -> Result<()> {
    let subject = Subject::start().await?;
    let (mut alice, mut bob) = (subject.phone("alice").await?, subject.registered("bob").await?);
    let listener = TcpListener::bind((subject.proxy().ip(), 0)).await?;
    let mut wire = Wire::connect(subject.proxy()).await?;
    let mut request = alice.request("MESSAGE", &bob.aor(), &bob.aor());
    let via = |branch: String| -> Result<String> {
        Ok(format!("SIP/2.0/TCP nat.invalid:{};branch=z9hG4bK{branch}", listener.local_addr()?.port()))
    };
    set(&mut request, "Via", via(alice.unique())?);
    wire.send(request.to_string()).await?;
    let challenge = wire.receive().await?;
    ensure!(challenge.status() == Some(407), "{challenge}");
    alice.authorize(&mut request, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    set(&mut request, "Via", via(alice.unique())?);
    wire.send(request.to_string()).await?;
    let message = bob.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
    wire.reset()?;
    bob.answer(&message, 200, "OK", "b1", "").await?;
    let limit = if subject.is_kamailio() { Duration::from_secs(1) } else { PATIENCE };
    let mut back = match tokio::time::timeout(limit, Wire::accept(&listener)).await {
        Err(_) if subject.is_kamailio() => return Ok(()),
        accepted => accepted??,
    };
    let response = back.receive().await?;
    assert_eq!((response.status(), response.header("Call-ID")), (Some(200), request.header("Call-ID")));
    Ok(())
}
