//! RFC 3261 §18: Transport.

use std::time::Duration;

use anyhow::Result;
use e2e::phone::set;
use e2e::sip::Message;
use e2e::subject::Subject;
use tokio::net::UdpSocket;

/// §18.2.1 and RFC 3581 §4: a sent-by that is not the source gets `received`, and `rport` is filled in; the response goes
/// to the source.
#[tokio::test]
async fn the_source_is_noted_and_answered() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    set(&mut request, "Via", "SIP/2.0/UDP behind.nat.invalid:5999;branch=z9hG4bKnat1;rport".into());
    phone.send(&request).await?;
    let response = phone.receive("the answer", |m| m.status() == Some(200)).await?;
    assert_eq!(response.parameter("Via", "received"), Some(phone.local().ip().to_string().as_str()));
    assert_eq!(response.parameter("Via", "rport"), Some(phone.local().port().to_string().as_str()));
    assert!(response.header("Via").contains("behind.nat.invalid:5999"), "{response}");
    Ok(())
}

/// §18.2.2: without rport the response goes to the source address, at the port of sent-by; or at the source port, as a
/// server behind which there are NATs chooses (Kamailio's `force_rport`). It goes nowhere else.
#[tokio::test]
async fn without_rport_the_source_address_is_answered() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let elsewhere = UdpSocket::bind((phone.local().ip(), 0)).await?;
    let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    set(&mut request, "Via", format!("SIP/2.0/UDP {};branch=z9hG4bKport1", elsewhere.local_addr()?));
    phone.send(&request).await?;
    let mut buffer = [0; 4096];
    let response = tokio::select! {
        received = elsewhere.recv_from(&mut buffer) => Message::parse(&buffer[..received?.0])?,
        received = phone.receive("the answer at the source port", |m| m.status().is_some()) => received?,
    };
    assert_eq!(response.status(), Some(200), "{response}");
    Ok(())
}

/// §18.3: what stands behind the body in a datagram is discarded. (Kamailio's sanity module refuses it with 400.)
#[tokio::test]
async fn bytes_behind_the_body_are_discarded() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    phone.send_bytes(format!("{request}rubbish behind\r\n\r\n").as_bytes()).await?;
    let expected = if subject.is_kamailio() { 400 } else { 200 };
    phone.receive("the answer", |m| m.status() == Some(expected)).await.map(drop)
}

/// §18.3: a datagram that ends before its body does is refused with 400, or dropped.
#[tokio::test]
async fn a_datagram_cut_short_is_not_served() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test").to_string();
    let cut = request.replace("Content-Length: 0", "Content-Length: 100");
    phone.send_bytes(cut.as_bytes()).await?;
    let answer =
        phone.receive_within("an answer", Duration::from_millis(500), |m| m.status().is_some()).await;
    assert!(answer.as_ref().map_or(true, |m| m.status() == Some(400)), "{answer:?}");
    Ok(())
}

/// §7.3.3 and §7.3.1: compact names, folded lines, and a message without Content-Length are understood over UDP.
/// (Kamailio 5.6 drops it: it does not read a folded CSeq.)
#[tokio::test]
async fn compact_and_folded_fields_are_understood() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let text = format!(
        "OPTIONS sip:causeway.test SIP/2.0\r\nv: SIP/2.0/UDP {};\r\n branch=z9hG4bKfold1;rport\r\nMax-Forwards: 70\r\n\
         f: <sip:alice@causeway.test>\r\n\t;tag=f1\r\nt: sip:causeway.test\r\ni: folded-1\r\nCSeq: 1\r\n OPTIONS\r\n\r\n",
        phone.local()
    );
    phone.send_bytes(text.as_bytes()).await?;
    let limit = Duration::from_secs(if subject.is_kamailio() { 1 } else { 20 });
    let answer = phone.receive_within("the answer", limit, |m| m.status().is_some()).await;
    if subject.is_kamailio() {
        assert!(answer.is_err(), "{answer:?}");
    } else {
        assert_eq!(answer?.status(), Some(200));
    }
    Ok(())
}
