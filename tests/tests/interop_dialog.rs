//! What the gateway does on behalf of a real browser: reliable provisional responses, calls without an offer, UPDATE.

use anyhow::{Result, ensure};
use e2e::gateway::DOMAIN;
use e2e::phone::{Dialog, ack_of_refusal};
use e2e::scene::Ends;
use e2e::sip::{Message, Sdp};

/// The phone calls the page with these headers more, up to its ringing: the INVITE as it was let through, and the last
/// response.
async fn rung(ends: &mut Ends, more: &[(&str, &str)], sdp: &str, ringing: bool) -> Result<Message> {
    let mut invite = ends.phone.invite(&format!("sip:alice@{DOMAIN}"), sdp);
    invite.headers.retain(|(name, _)| name != "Content-Type" || !sdp.is_empty());
    invite.headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    ends.phone.send(&invite).await?;
    let challenge = ends.phone.receive("a challenge", |m| m.status() == Some(407)).await?;
    ends.phone.send(&ack_of_refusal(&invite, &challenge)).await?;
    ends.phone.authorize(&mut invite, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    ends.phone.send(&invite).await?;
    ends.page.shown("incoming").await?;
    if ringing { ends.phone.receive("ringing", |m| m.status() == Some(180)).await } else { Ok(invite) }
}

/// The page answers; the 200.
async fn answered(ends: &mut Ends) -> Result<Message> {
    ends.page.answer().await?;
    ends.phone.receive("the answer", |m| m.status() == Some(200) && m.cseq().1 == "INVITE").await
}

/// A phone, or a carrier, that requires 100rel gets it, though JsSIP has none.
#[tokio::test]
async fn a_caller_requires_reliable_responses_of_the_page() -> Result<()> {
    let mut ends = Ends::new().await?;
    let sdp = ends.audio.sdp(1, "sendrecv")?;
    let ringing = rung(&mut ends, &[("Require", "100rel"), ("Supported", "100rel")], &sdp, true).await?;
    ensure!(ringing.header("Require") == "100rel" && !ringing.header("RSeq").is_empty(), "{ringing}");
    let again = ends.phone.receive("the repetition", |m| m.status() == Some(180)).await?;
    ensure!(again == ringing, "{again}");
    let mut dialog = Dialog::of_caller(&ringing, &ringing);
    let mut prack = dialog.request(&mut ends.phone, "PRACK");
    let rack = format!("{} {} INVITE", ringing.header("RSeq"), ringing.cseq().0);
    prack.headers.push(("RAck".into(), rack));
    let ok = ends.phone.transact(prack).await?;
    ensure!(ok.status() == Some(200), "{ok}");
    let ok = answered(&mut ends).await?;
    let answer = Sdp::parse(&ok.body)?;
    let mut dialog = Dialog::of_caller(&ringing, &ok);
    let ack = dialog.request(&mut ends.phone, "ACK");
    ends.phone.send(&ack).await?;
    ends.page.call(&["connected"]).await?;
    ends.both_hear(&answer).await
}

/// A call, and then a re-INVITE, without an offer: the page offers all that it has, and takes the answer of the ACK. Then
/// UPDATE with an offer, which JsSIP answers in a call.
#[tokio::test]
async fn a_call_without_an_offer_to_the_page() -> Result<()> {
    let mut ends = Ends::new().await?;
    let invite = rung(&mut ends, &[], "", false).await?;
    let ok = answered(&mut ends).await?;
    let offer = Sdp::parse(&ok.body)?;
    let formats = |sdp: &Sdp| sdp.codecs(0).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    ensure!(formats(&offer).iter().any(|name| name == "PCMU/8000"), "{offer:?}");
    let mut dialog = Dialog::of_caller(&invite, &ok);
    let sdp = ends.audio.sdp(1, "sendrecv")?;
    let ack = dialog.request_with_sdp(&mut ends.phone, "ACK", &sdp);
    ends.phone.send(&ack).await?;
    ends.page.call(&["connected"]).await?;
    ends.both_hear(&offer).await?;

    let reinvite = dialog.request(&mut ends.phone, "INVITE");
    let ok = ends.phone.transact(reinvite).await?;
    ensure!(ok.status() == Some(200), "{ok}");
    let full = Sdp::parse(&ok.body)?;
    ensure!(formats(&full) == formats(&offer), "all of it again, not what is in use: {full:?}");
    ensure!(full.m_line(0)[1] == offer.m_line(0)[1], "the same port for the whole call");
    let sdp = ends.audio.sdp(2, "sendrecv")?;
    let ack = dialog.request_with_sdp(&mut ends.phone, "ACK", &sdp);
    ends.phone.send(&ack).await?;
    ends.both_hear(&full).await?;

    let sdp = ends.audio.sdp(3, "sendrecv")?;
    let update = dialog.request_with_sdp(&mut ends.phone, "UPDATE", &sdp);
    let ok = ends.phone.transact(update).await?;
    ensure!(ok.status() == Some(200), "{ok}");
    ends.both_hear(&Sdp::parse(&ok.body)?).await
}
