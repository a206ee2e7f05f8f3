//! Two legacy phones, one of them on IPv6: the relay joins them like any other two.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::gateway::Gateway;
use e2e::phone::{Audio, Dialog, Phone, hear_ulaw};
use e2e::scene::{BROWSER_TONE, PHONE_TONE};
use e2e::sip::Sdp;

/// IPv4 calls IPv6: both get an SDP of their own family, hear each other, and a digit passes as RFC 4733.
#[tokio::test]
async fn ipv4_calls_ipv6() -> Result<()> {
    let gateway = Gateway::start().await?;
    let here = SocketAddr::from((Ipv6Addr::LOCALHOST, gateway.sip));
    let mut old = Phone::registered(gateway.account("old", "version-four-4")?, gateway.proxy()).await?;
    let mut new =
        Phone::registered(gateway.account("new", "version-six-6")?, here).await.context("over IPv6")?;
    let mut old_audio = Audio::open(old.local().ip()).await?;
    let mut new_audio = Audio::open(new.local().ip()).await?;

    let invite = old.invite(&new.aor(), &old_audio.sdp(1, "sendrecv")?);
    let answer = new_audio.sdp(1, "sendrecv")?;
    let (ok, invited) = tokio::join!(old.transact(invite.clone()), async {
        let invited = new.receive("the call", |m| m.method() == Some("INVITE")).await?;
        new.answer(&invited, 180, "Ringing", "n1", "").await?;
        new.answer(&invited, 200, "OK", "n1", &answer).await?;
        anyhow::Ok(invited)
    });
    let (ok, invited) = (ok?, invited?);
    ensure!(ok.status() == Some(200), "{ok}");
    let (to_new, to_old) = (Sdp::parse(&invited.body)?, Sdp::parse(&ok.body)?);
    ensure!(to_new.lines("c=").all(|line| line.starts_with("c=IN IP6 ")), "{to_new:?}");
    ensure!(to_old.lines("c=").all(|line| line.starts_with("c=IN IP4 ")), "{to_old:?}");
    let mut dialog = Dialog::of_caller(&invite, &ok);
    let ack = dialog.request(&mut old, "ACK");
    old.send(&ack).await?;
    new.receive("the ACK", |m| m.method() == Some("ACK")).await?;

    let span = Duration::from_secs(2);
    let (at_old, at_new) = tokio::try_join!(
        old_audio.speak(&to_old, BROWSER_TONE, span),
        new_audio.speak(&to_new, PHONE_TONE, span)
    )?;
    let (heard_old, heard_new) = (hear_ulaw(&at_old), hear_ulaw(&at_new));
    ensure!(heard_old.is(PHONE_TONE) && heard_new.is(BROWSER_TONE), "{heard_old:?}, {heard_new:?}");

    old_audio.press(&to_old, 101, 7).await?;
    let event = e2e::wait::until_now("digit 7", Duration::from_secs(5), || {
        new_audio.received().into_iter().find(|packet| packet.len() == 16 && packet[1] & 0x7f == 101)
    });
    ensure!(event.await?[12] == 7, "another digit");

    let mut callee = Dialog::of_callee(&invited, "n1");
    let bye = callee.request(&mut new, "BYE");
    let (answer, received) = tokio::join!(new.transact(bye), async {
        let received = old.receive("the BYE", |m| m.method() == Some("BYE")).await?;
        old.answer(&received, 200, "OK", "o1", "").await
    });
    received?;
    ensure!(answer?.status() == Some(200));
    Ok(())
}
