//! The page's own troubles: wrong passwords, untrusted certificates, reloads, lost WebSockets; and its pictures.

use anyhow::{Context, Result};
use e2e::chromium::Chromium;
use e2e::gateway::Gateway;
use e2e::page::Page;
use e2e::scene::{BROWSER_TONE, Scene};
use e2e::tokens;

/// A wrong password is called by its name, refused, and logged with the address it came from.
#[tokio::test]
async fn a_wrong_password_is_told() -> Result<()> {
    let mut gateway = Gateway::start().await?;
    let mut alice = gateway.account("alice", "the-right-one-1")?;
    let right = alice.password.clone();
    alice.password = "the-wrong-one-2".into();
    let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
    let page = Page::open(&browser, &gateway).await?;
    page.sign_in(&alice).await?;
    page.registration("failed").await?;
    page.problem("wrong-password").await?;
    let source = gateway.address.to_string();
    gateway.logs(&["alice", &source]).await?;
    alice.password = right;
    page.sign_in(&alice).await?;
    page.registration("registered").await
}

/// A web application signs its user in: no account, no password, and the address keeps no token. A later one takes its place;
/// one that has ended is told.
#[tokio::test]
async fn a_web_application_signs_its_user_in() -> Result<()> {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let gateway = Gateway::start_with(&format!("[jwt]\nsecret = \"{SECRET}\"\n")).await?;
    let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
    let token = |until: u64| tokens::jwt(SECRET, &format!(r#"{{"sub": "carol", "exp": {until}}}"#));
    let url = |token: &str| format!("{}#token={token}", gateway.page_url());
    let page = Page::in_tab(browser.tab().await?).await?;
    page.tab.navigate(&url(&token(tokens::now() + 600))).await?;
    page.registration("registered").await?;
    let rows = gateway.command(&["registrations", "show", "carol"], "")?;
    assert!(rows.lines().count() == 2 && rows.contains("carol"), "{rows}");
    page.until("an address without the token", "location.hash === ''").await?;
    // A reload signs in again, and so does a later token.
    page.tab.command("Page.reload", serde_json::json!({})).await?;
    page.registration("registered").await?;
    let later = format!("location.hash = 'token={}', true", token(tokens::now() + 1200));
    page.until("the page to take a later token", &later).await?;
    page.until("an address without the token", "location.hash === ''").await?;
    page.registration("registered").await?;
    let old = Page::in_tab(browser.tab().await?).await?;
    old.tab.navigate(&url(&token(tokens::now() - 60))).await?;
    old.problem("token-refused").await
}

/// Without the CA imported the browser refuses the page: trust comes from the certificate and from nothing else.
#[tokio::test]
async fn an_untrusted_certificate_is_refused() -> Result<()> {
    let gateway = Gateway::start().await?;
    let browser = Chromium::start(BROWSER_TONE, None).await?;
    let refused = browser.tab().await?.navigate(&gateway.page_url()).await.err().context("it was trusted")?;
    assert!(format!("{refused:#}").contains("ERR_CERT_AUTHORITY_INVALID"), "{refused:#}");
    Ok(())
}

/// A reload in a call ends the call, and the page registers again by itself and can call again.
#[tokio::test]
async fn a_reload_registers_again() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    let mark = scene.phone.mark();
    scene.page.tab.command("Page.reload", serde_json::json!({})).await?;
    scene.page.registration("registered").await?;
    scene.phone.hang_up().await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await
}

/// The WebSocket is cut: the page says so, comes back by itself, and is reached again; a call in progress goes on.
#[tokio::test]
async fn a_cut_websocket_comes_back() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page.set_online(false).await?;
    scene.page.registration("lost").await?;
    scene.page.set_online(true).await?;
    scene.page.registration("registered").await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.page.set_online(false).await?;
    scene.page.registration("lost").await?;
    scene.page.set_online(true).await?;
    scene.page.registration("registered").await?;
    scene.both_hear().await?;
    let mark = scene.phone.mark();
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await.map(drop)
}

/// The pictures of the page: signed out, registered and in a call; wide and phone-sized, dark and light.
#[tokio::test]
async fn pictures_are_taken() -> Result<()> {
    let mut scene = Scene::set().await?;
    let signed_out = Page::open(&scene.browser, &scene.house.gateway).await?;
    pictures(&signed_out, "signed-out").await?;
    signed_out.tab.close().await?;
    pictures(&scene.page, "registered").await?;
    // So that the list of calls has something to show.
    scene.page_calls_phone().await?;
    let mark = scene.phone.mark();
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.page.until("the quality of the call", "find('quality')?.dataset.grade").await?;
    pictures(&scene.page, "call").await
}

async fn pictures(page: &Page, state: &str) -> Result<()> {
    for (size, width, height) in [("wide", 1280, 900), ("phone", 390, 844)] {
        for scheme in ["dark", "light"] {
            page.look(width, height, scheme).await?;
            page.screenshot(&format!("{state}-{size}-{scheme}"), scheme).await?;
        }
    }
    Ok(())
}
