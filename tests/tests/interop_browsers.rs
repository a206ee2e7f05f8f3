//! Two browsers: sound and picture between them, and two pages on one account.

use anyhow::Result;
use e2e::baresip::Baresip;
use e2e::chromium::Chromium;
use e2e::gateway::{DOMAIN, Gateway};
use e2e::page::Page;
use e2e::scene::PHONE_TONE;
use e2e::wait::{self, PATIENCE};

/// Both hear the other's tone and decode the other's frames.
#[tokio::test]
async fn two_browsers_talk_and_see_each_other() -> Result<()> {
    let gateway = Gateway::start().await?;
    let (alice, bob) = (gateway.account("alice", "left-side-1")?, gateway.account("bob", "right-side-2")?);
    let left = Chromium::start(440.0, Some(&gateway.ca())).await?;
    let right = Chromium::start(700.0, Some(&gateway.ca())).await?;
    let caller = Page::registered(&left, &gateway, &alice).await?;
    let callee = Page::registered(&right, &gateway, &bob).await?;
    caller.dial("bob", true).await?;
    callee.shown("incoming").await?;
    callee.click("answer-video").await?;
    caller.call(&["connected"]).await?;
    callee.call(&["connected"]).await?;
    tokio::try_join!(caller.hears(700.0), callee.hears(440.0))?;
    tokio::try_join!(frames_flow(&caller), frames_flow(&callee))?;
    caller.click("hangup").await?;
    callee.call_over(None).await
}

/// Sound alone between browsers, hold and resume by the called one.
#[tokio::test]
async fn two_browsers_talk() -> Result<()> {
    let gateway = Gateway::start().await?;
    let (alice, bob) = (gateway.account("alice", "left-side-1")?, gateway.account("bob", "right-side-2")?);
    let left = Chromium::start(440.0, Some(&gateway.ca())).await?;
    let right = Chromium::start(700.0, Some(&gateway.ca())).await?;
    let caller = Page::registered(&left, &gateway, &alice).await?;
    let callee = Page::registered(&right, &gateway, &bob).await?;
    caller.dial("bob", false).await?;
    callee.answer().await?;
    tokio::try_join!(caller.hears(700.0), callee.hears(440.0))?;
    callee.click("hold").await?;
    caller.hold_is("remote").await?;
    callee.click("hold").await?;
    caller.hold_is("none").await?;
    tokio::try_join!(caller.hears(700.0), callee.hears(440.0))?;
    callee.click("hangup").await?;
    caller.call_over(None).await
}

/// Two pages on one account: both ring, one answers, the other stops, and the call is with the one that answered.
#[tokio::test]
async fn two_pages_on_one_account() -> Result<()> {
    let gateway = Gateway::start().await?;
    let (alice, bob) = (gateway.account("alice", "two-windows-1")?, gateway.account("bob", "one-phone-2")?);
    let browser = Chromium::start(440.0, Some(&gateway.ca())).await?;
    let desk = Page::registered(&browser, &gateway, &alice).await?;
    let sofa = Page::registered(&browser, &gateway, &alice).await?;
    let mut phone = Baresip::registered(&bob, gateway.proxy(), "udp", PHONE_TONE).await?;
    phone.dial(&format!("sip:alice@{DOMAIN}")).await?;
    desk.shown("incoming").await?;
    sofa.shown("incoming").await?;
    sofa.click("answer").await?;
    sofa.call(&["connected"]).await?;
    desk.hidden("incoming").await?;
    phone.event("CALL_ESTABLISHED").await?;
    tokio::try_join!(sofa.hears(PHONE_TONE), phone.hears(440.0))?;
    phone.hang_up().await?;
    sofa.call_over(None).await
}

/// Frames go on being decoded: not one picture, but a stream.
async fn frames_flow(page: &Page) -> Result<()> {
    let start = page.frames_decoded().await?;
    wait::until("30 more decoded frames", PATIENCE * 2, || async {
        Ok((page.frames_decoded().await? >= start + 30).then_some(()))
    })
    .await
}
