//! The scene of most interop tests: a gateway, a browser with the page, and a legacy phone, each with an account and a tone.

use anyhow::Result;

use crate::baresip::{Account, Baresip};
use crate::chromium::Chromium;
use crate::gateway::{DOMAIN, Gateway};
use crate::page::Page;

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
        let alice = gateway.account("alice", "page-of-alice-1")?;
        let bob = gateway.account("bob", "phone-of-bob-2")?;
        let phone = Baresip::registered(&bob, gateway.proxy(), "udp", PHONE_TONE).await?;
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
        self.phone.dial(&format!("sip:alice@{DOMAIN}")).await?;
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

    /// The same after a re-INVITE, when the phone's ears are closed: it goes on receiving, and the page hears it.
    pub async fn both_go_on(&self) -> Result<()> {
        tokio::try_join!(self.phone.goes_on_receiving(), self.page.hears(PHONE_TONE)).map(drop)
    }
}
