//! Each half alone in the world that exists: our proxy with a real rtpengine for its media, and our relay behind a real
//! Kamailio. Every call is proved by content, as in `interop_call`.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use e2e::baresip::{Account, Baresip, expect_digits};
use e2e::chromium::Chromium;
use e2e::gateway::{DOMAIN, Gateway};
use e2e::page::Page;
use e2e::peers::{Flags, KamailioFront, NgRelay, NgTap};
use e2e::phone::{Audio, Dialog, Phone};
use e2e::scene::{BROWSER_TONE, PHONE_TONE, Scene};
use e2e::sip::Sdp;
use e2e::subject::{Kamailio, Setup};
use e2e::wait::PATIENCE;

/// What the second phone plays. No harmonic of it is near another tone.
const OTHER_PHONE_TONE: f64 = 620.0;

/// Our proxy with rtpengine: page and phone call each other, and either hangs up.
#[tokio::test]
async fn rtpengine_joins_page_and_phone() -> Result<()> {
    let rtpengine = NgRelay::rtpengine().await?;
    let tap = NgTap::start(rtpengine.ng).await?;
    let mut scene = Scene::set_at(Gateway::start_with_relay(tap.address).await?).await?;
    call_both_ways(&mut scene).await?;
    tap.no_complaint()?;
    rtpengine.is_idle().await
}

/// Our proxy with rtpengine: the other kinds of calls.
#[tokio::test]
async fn rtpengine_carries_the_other_calls_too() -> Result<()> {
    let rtpengine = NgRelay::rtpengine().await?;
    let tap = NgTap::start(rtpengine.ng).await?;
    let mut scene = Scene::set_at(Gateway::start_with_relay(tap.address).await?).await?;
    let carol = scene.gateway.account("carol", "phone-of-carol-3")?;
    let proxy = scene.gateway.proxy();
    let called = match other_calls(&mut scene).await {
        Ok(()) => early_media(&mut scene, carol, proxy).await,
        failed => failed,
    };
    called.map_err(|error| error.context(tap.said().join("\n")))?;
    rtpengine.is_idle().await
}

/// Our proxy with rtpengine: two phones.
#[tokio::test]
async fn rtpengine_joins_two_phones() -> Result<()> {
    let rtpengine = NgRelay::rtpengine().await?;
    let tap = NgTap::start(rtpengine.ng).await?;
    let gateway = Gateway::start_with_relay(tap.address).await?;
    let bob = gateway.account("bob", "phone-of-bob-2")?;
    let carol = gateway.account("carol", "phone-of-carol-3")?;
    let (bob, carol) = tokio::try_join!(
        Baresip::registered(&bob, gateway.proxy(), "udp", PHONE_TONE),
        Baresip::registered(&carol, gateway.proxy(), "udp", OTHER_PHONE_TONE)
    )?;
    phones_call(bob, carol).await?;
    tap.no_complaint()?;
    rtpengine.is_idle().await
}

/// Our gateway as the edge of a domain whose registrar is Kamailio: the page is registered there by way of us, the phone at
/// Kamailio itself, and neither has an account with us.
#[tokio::test]
async fn kamailio_is_the_registrar_behind_our_edge() -> Result<()> {
    let kamailio = Kamailio::start(Setup { domain: "pbx.test", ..Setup::default() }).await?;
    let edge = format!("[edge]\ndomains = [\"pbx.test=sip:{}\"]\n", kamailio.address());
    let gateway = Gateway::start_with(&edge).await?;
    let (alice, bob) = (kamailio.account("alice"), kamailio.account("bob"));
    let phone = Baresip::registered(&bob, kamailio.address(), "udp", PHONE_TONE).await?;
    let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
    let page = Page::registered(&browser, &gateway, &alice).await?;
    let mut scene = Scene { page, phone, browser, alice, bob, gateway };
    let called = call_both_ways(&mut scene).await;
    called.map_err(|error| {
        error.context(format!("{}\n{}", kamailio.log().join("\n"), scene.gateway.log().join("\n")))
    })
}

/// What the documentation of Kamailio's module and most configurations found in the field say.
const USUAL: Flags = Flags {
    to_browser: "replace-origin replace-session-connection trust-address ICE=force DTLS=passive rtcp-mux-offer \
        generate-mid SDES-off UDP/TLS/RTP/SAVPF",
    to_phone: "replace-origin replace-session-connection trust-address ICE=remove rtcp-mux-demux RTP/AVP",
};

/// The same in the other spelling, with what forking needs.
const SPELT_OUT: Flags = Flags {
    to_browser: "via-branch=auto replace-origin ICE=force DTLS=passive rtcp-mux-offer rtcp-mux-require \
        no-rtcp-attribute transport-protocol=UDP/TLS/RTP/SAVPF",
    to_phone: "via-branch=auto replace-origin ICE=remove rtcp-mux-demux transport-protocol=RTP/AVP",
};

/// Our relay behind Kamailio: page and phone call each other, and either hangs up.
#[tokio::test]
async fn kamailio_joins_page_and_phone_by_our_relay() -> Result<()> {
    behind_kamailio(USUAL, false).await
}

/// Our relay behind Kamailio: the other kinds of calls.
#[tokio::test]
async fn kamailio_has_the_other_calls_by_our_relay_too() -> Result<()> {
    behind_kamailio(USUAL, true).await
}

/// The same with other flags for the same wishes.
#[tokio::test]
async fn kamailio_may_spell_its_flags_out() -> Result<()> {
    behind_kamailio(SPELT_OUT, false).await
}

/// Our relay behind Kamailio: two phones.
#[tokio::test]
async fn kamailio_joins_two_phones_by_our_relay() -> Result<()> {
    let gateway = Gateway::start().await?;
    let relay = NgRelay::causeway().await?;
    let tap = NgTap::start(relay.ng).await?;
    let kamailio = KamailioFront::start(tap.address, USUAL, &gateway.certificates()).await?;
    let (bob, carol) = (account("bob"), account("carol"));
    let (bob, carol) = tokio::try_join!(
        Baresip::registered(&bob, kamailio.proxy(), "udp", PHONE_TONE),
        Baresip::registered(&carol, kamailio.proxy(), "udp", OTHER_PHONE_TONE)
    )?;
    phones_call(bob, carol).await?;
    content_with(&kamailio, &relay, &tap).await
}

/// The gateway lends its page and its certificate here; it takes no part in the calls.
async fn behind_kamailio(flags: Flags, others: bool) -> Result<()> {
    let gateway = Gateway::start().await?;
    let relay = NgRelay::causeway().await?;
    let tap = NgTap::start(relay.ng).await?;
    let kamailio = KamailioFront::start(tap.address, flags, &gateway.certificates()).await?;
    let (alice, bob) = (account("alice"), account("bob"));
    let phone = Baresip::registered(&bob, kamailio.proxy(), "udp", PHONE_TONE).await?;
    let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
    let page = Page::open_for(&browser, &gateway.page_url(), &kamailio.websocket_url()).await?;
    page.sign_in(&alice).await?;
    page.registration("registered").await?;
    let mut scene = Scene { page, phone, browser, alice, bob, gateway };
    let called = match others {
        true => match other_calls(&mut scene).await {
            Ok(()) => early_media(&mut scene, account("carol"), kamailio.proxy()).await,
            failed => failed,
        },
        false => call_both_ways(&mut scene).await,
    };
    called.map_err(|error| {
        error.context(format!("{}\n{}", kamailio.log().join("\n"), tap.said().join("\n")))
    })?;
    ensure!(!scene.gateway.log().iter().any(|line| line.contains("INVITE")), "the gateway had a part in it");
    if others {
        // A call that was given up is deleted by every side that hears of it.
        return relay.is_idle().await;
    }
    content_with(&kamailio, &relay, &tap).await
}

fn account(user: &str) -> Account {
    Account { user: user.into(), password: KamailioFront::PASSWORD.into(), domain: DOMAIN.into() }
}

/// Nobody complained about anybody, and nothing is left over.
async fn content_with(kamailio: &KamailioFront, relay: &NgRelay, tap: &NgTap) -> Result<()> {
    relay.is_idle().await?;
    tap.no_complaint()?;
    let log = kamailio.log();
    let bad: Vec<_> =
        log.iter().filter(|line| line.contains("ERROR:") || line.contains("rtpengine")).collect();
    ensure!(bad.is_empty(), "Kamailio complains: {bad:?}");
    let log = relay.log();
    let bad: Vec<_> = log.iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    ensure!(bad.is_empty(), "the relay complains: {bad:?}");
    Ok(())
}

/// The page calls and hangs up; the phone calls and hangs up. Hold in between, as it is a second offer with other directions.
async fn call_both_ways(scene: &mut Scene) -> Result<()> {
    let mark = scene.phone.mark();
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await?;

    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.page_holds_and_resumes().await?;
    scene.phone.hang_up().await?;
    scene.page.call_over(None).await
}

/// The calls of `interop_call` beside those: keys, hold by the phone, video that the phone has not, a caller who gives up, at
/// either end, and one who is refused.
async fn other_calls(scene: &mut Scene) -> Result<()> {
    let mark = scene.phone.mark();
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    for key in ["dtmf-pad-1", "dtmf-pad-5", "dtmf-pad-hash"] {
        scene.page.click(key).await?;
    }
    expect_digits(&scene.phone, "15#").await?;
    scene.phone.command("hold", "").await?;
    scene.page.hold_is("remote").await?;
    scene.phone.command("resume", "").await?;
    scene.page.hold_is("none").await?;
    scene.both_go_on().await?;
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await?;

    let mark = scene.phone.mark();
    scene.page.dial("bob", true).await?;
    scene.phone.event_after(mark, "CALL_INCOMING").await?;
    scene.phone.accept().await?;
    scene.page.call(&["connected"]).await?;
    scene.both_hear().await?;
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await?;

    let mark = scene.phone.mark();
    scene.page.dial("bob", false).await?;
    scene.phone.event_after(mark, "CALL_INCOMING").await?;
    scene.page.call(&["ringing"]).await?;
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await?;

    let mark = scene.phone.mark();
    scene.phone.dial(&format!("sip:alice@{DOMAIN}")).await?;
    scene.page.shown("incoming").await?;
    scene.phone.hang_up().await?;
    scene.page.hidden("incoming").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;

    let mark = scene.phone.mark();
    scene.page.dial("bob", false).await?;
    scene.phone.event_after(mark, "CALL_INCOMING").await?;
    scene.phone.hang_up().await?;
    scene.page.call_over(Some("busy")).await
}

/// The page hears what a phone says before it answers.
async fn early_media(scene: &mut Scene, carol: Account, proxy: SocketAddr) -> Result<()> {
    let mut carol = Phone::registered(carol, proxy).await?;
    let mut audio = Audio::open(carol.local().ip()).await?;
    scene.page.dial("carol", false).await?;
    let invite = carol.receive("the call", |m| m.method() == Some("INVITE")).await?;
    let offer = Sdp::parse(&invite.body)?;
    let sdp = audio.sdp(1, "sendrecv")?;
    carol.answer(&invite, 183, "Session Progress", "c1", &sdp).await?;
    tokio::select! {
        heard = scene.page.hears(PHONE_TONE) => heard?,
        spoken = audio.speak(&offer, PHONE_TONE, PATIENCE) => {
            spoken?;
            anyhow::bail!("no early media at the page\n{}", scene.page.report().await);
        }
    }
    carol.answer(&invite, 200, "OK", "c1", &sdp).await?;
    carol.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    scene.page.call(&["connected"]).await?;
    let bye = Dialog::of_callee(&invite, "c1").request(&mut carol, "BYE");
    ensure!(carol.transact(bye).await?.status() == Some(200));
    scene.page.call_over(None).await
}

/// Bob calls Carol, who answers; both hear each other; Carol hangs up. Then the other way round.
async fn phones_call(mut bob: Baresip, mut carol: Baresip) -> Result<()> {
    let marks = (bob.mark(), carol.mark());
    bob.dial(&format!("sip:carol@{DOMAIN}")).await?;
    carol.event_after(marks.1, "CALL_INCOMING").await?;
    carol.accept().await?;
    tokio::try_join!(bob.hears(OTHER_PHONE_TONE), carol.hears(PHONE_TONE))?;
    carol.hang_up().await?;
    bob.event_after(marks.0, "CALL_CLOSED").await?;

    let marks = (bob.mark(), carol.mark());
    carol.dial(&format!("sip:bob@{DOMAIN}")).await?;
    bob.event_after(marks.0, "CALL_INCOMING").await?;
    bob.accept().await?;
    tokio::try_join!(bob.hears(OTHER_PHONE_TONE), carol.hears(PHONE_TONE))?;
    carol.hang_up().await?;
    bob.event_after(marks.0, "CALL_CLOSED").await.map(drop)
}
