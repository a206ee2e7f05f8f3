//! The instruments themselves: before a gateway is judged by them, each must hear and see what is certainly there.

use std::time::Duration;

use anyhow::Result;
use e2e::baresip::{Baresip, expect_digits};
use e2e::chromium::Chromium;
use e2e::page::Page;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A browser's microphone plays the tone, and the page's ear gives back its pitch.
#[tokio::test]
async fn chromium_hears_its_own_microphone() -> Result<()> {
    let server = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = server.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let body = "<!doctype html><audio data-testid=remote-audio autoplay></audio>";
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let browser = Chromium::start(523.0, None).await?;
    let page = Page::in_tab(browser.tab().await?).await?;
    page.tab.navigate(&format!("http://localhost:{port}/")).await?;
    page.until("the audio element", "find('remote-audio')").await?;
    page.run("find('remote-audio').srcObject = await navigator.mediaDevices.getUserMedia({ audio: true });")
        .await?;
    page.hears(523.0).await?;
    page.run("find('remote-audio').srcObject.getAudioTracks()[0].enabled = false;").await?;
    page.hears_nothing().await
}

/// Two phones call each other without anything between: tone, DTMF and hang-up are seen by the controls.
#[tokio::test]
async fn baresip_hears_baresip() -> Result<()> {
    let (mut callee, uri) = Baresip::direct("callee", 880.0).await?;
    let (mut caller, _) = Baresip::direct("caller", 440.0).await?;
    caller.dial(&uri).await?;
    callee.event("CALL_INCOMING").await?;
    callee.accept().await?;
    caller.event("CALL_ESTABLISHED").await?;
    callee.hears(440.0).await?;
    caller.hears(880.0).await?;
    caller.press('5').await?;
    expect_digits(&callee, 0, "5").await?;
    assert!(caller.listen(Duration::from_millis(200)).await?.is(880.0));
    callee.hang_up().await?;
    caller.event("CALL_CLOSED").await.map(drop)
}
