//! The scene of most interop tests: a gateway, a browser with the page, and a legacy phone, each with an account and a tone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::baresip::{Account, Baresip};
use crate::chromium::Chromium;
use crate::gateway::Gateway;
use crate::page::Page;
use crate::phone::{Audio, Phone, hear_ulaw};
use crate::sip::Sdp;

/// What the browser's microphone plays, in Hz. No harmonic of it is near the phone's.
pub const BROWSER_TONE: f64 = 440.0;
/// What the phone plays.
pub const PHONE_TONE: f64 = 1000.0;

/// A page (`alice`) and a phone (`bob`), both registered.
#[derive(Debug)]
pub struct Scene {
    /// The page.
    pub page: Page,
    /// The phone.
    pub phone: Baresip,
    /// The browser in which the page is.
    pub browser: Chromium,
    /// Account of the page.
    pub alice: Account,
    /// Account of the phone.
    pub bob: Account,
    /// The gateway between them.
    pub gateway: Gateway,
}

impl Scene {
    /// Sets it up.
    pub async fn set() -> Result<Self> {
        Self::set_at(Gateway::start().await?).await
    }

    /// The same at a gateway that runs.
    pub async fn set_at(gateway: Gateway) -> Result<Self> {
        Self::set_with(gateway, "").await
    }

    /// The same with a phone that has one codec alone, as `PCMA/8000/1`.
    pub async fn set_with(gateway: Gateway, codec: &str) -> Result<Self> {
        let alice = gateway.account("alice", "page-of-alice-1")?;
        let bob = gateway.account("bob", "phone-of-bob-2")?;
        let phone = Baresip::registered_with(&bob, gateway.proxy(), "udp", PHONE_TONE, codec).await?;
        let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
        let page = Page::registered(&browser, &gateway, &alice).await?;
        Ok(Self { page, phone, browser, alice, bob, gateway })
    }

    /// The page calls the phone, and the phone answers.
    pub async fn page_calls_phone(&mut self) -> Result<()> {
        let mark = self.phone.mark();
        self.page.dial("bob", false).await?;
        self.phone.event_after(mark, "CALL_INCOMING").await?;
        self.page.call(&["ringing"]).await?;
        self.phone.accept().await?;
        self.phone.event_after(mark, "CALL_ESTABLISHED").await?;
        self.page.call(&["connected"]).await
    }

    /// The phone calls the page, and the page answers.
    pub async fn phone_calls_page(&mut self) -> Result<()> {
        let mark = self.phone.mark();
        self.phone.dial(&format!("sip:alice@{}", self.alice.domain)).await?;
        self.page.shown("incoming").await?;
        self.phone.event_after(mark, "CALL_RINGING").await?;
        self.page.answer().await?;
        self.phone.event_after(mark, "CALL_ESTABLISHED").await?;
        self.page.call(&["connected"]).await
    }

    /// Both ends hear each other's tone, at the right pitch.
    pub async fn both_hear(&self) -> Result<()> {
        tokio::try_join!(self.phone.hears(BROWSER_TONE), self.page.hears(PHONE_TONE)).map(drop)
    }

    /// The page puts the call on hold, hears nothing meanwhile, and takes it back; both hear each other again.
    pub async fn page_holds_and_resumes(&self) -> Result<()> {
        self.page.click("hold").await?;
        self.page.hold_is("local").await?;
        self.page.hears_nothing().await?;
        self.page.click("hold").await?;
        self.page.hold_is("none").await?;
        self.both_go_on().await
    }

    /// The same after a re-INVITE, when the phone's ears are closed: it goes on receiving, and the page hears it.
    pub async fn both_go_on(&self) -> Result<()> {
        tokio::try_join!(self.phone.goes_on_receiving(), self.page.hears(PHONE_TONE)).map(drop)
    }
}

/// A page and a scripted phone, both registered.
#[derive(Debug)]
pub struct Ends {
    /// The page (`alice`).
    pub page: Page,
    /// The phone (`carol`).
    pub phone: Phone,
    /// Its audio.
    pub audio: Audio,
    /// The gateway between them.
    pub gateway: Gateway,
    _browser: Chromium,
}

impl Ends {
    /// Sets them up.
    pub async fn new() -> Result<Self> {
        let gateway = Gateway::start().await?;
        let alice = gateway.account("alice", "page-of-alice-1")?;
        let carol = gateway.account("carol", "phone-of-carol-3")?;
        let phone = Phone::registered(carol, gateway.proxy()).await?;
        let audio = Audio::open(phone.local().ip()).await?;
        let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
        let page = Page::registered(&browser, &gateway, &alice).await?;
        Ok(Self { page, phone, audio, gateway, _browser: browser })
    }

    /// Tone in, same tone out, both ways; `ours` is what the phone was told last.
    pub async fn both_hear(&mut self, ours: &Sdp) -> Result<()> {
        let (packets, heard) = tokio::join!(
            self.audio.speak(ours, PHONE_TONE, Duration::from_secs(6)),
            self.page.hears(PHONE_TONE)
        );
        heard?;
        let packets = packets?;
        let heard = hear_ulaw(&packets[packets.len() / 2..]);
        ensure!(heard.is(BROWSER_TONE), "{heard:?} in {} packets", packets.len());
        Ok(())
    }

    /// The latest SDP the page got from the far end.
    pub async fn page_got(&self, kind: &str) -> Result<(Sdp, Sdp)> {
        let all = self.page.descriptions().await?;
        let last = |side: &str, kind: &str| {
            let found = all.iter().rev().find(|(k, t, _)| k == side && t == kind);
            found.with_context(|| format!("no {side} {kind}")).and_then(|(.., sdp)| Sdp::parse(sdp))
        };
        let own = if kind == "answer" { "offer" } else { "answer" };
        Ok((last("remote", kind)?, last("local", own)?))
    }
}
