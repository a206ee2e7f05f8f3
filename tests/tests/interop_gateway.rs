//! The gateway by itself: what it serves, how it starts, stops, and starts again.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::phone::Phone;

/// Page, CA certificate, health and the page's settings share one origin.
#[tokio::test]
async fn one_origin_serves_everything() -> Result<()> {
    let gateway = Gateway::start().await?;
    let page = gateway.get("/").await?;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<script"), "{page}");
    for path in ["/ca.pem", "/ca.crt"] {
        assert!(gateway.get(path).await?.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(gateway.get("/ca.pem").await?.contains("BEGIN CERTIFICATE"));
    let settings = gateway.get("/api/page").await?;
    let body = settings.split_once("\r\n\r\n").context("no body")?.1;
    let settings: serde_json::Value = serde_json::from_str(body.trim())?;
    assert_eq!(settings["domain"], DOMAIN);
    assert!(gateway.get("/no-such-page").await?.starts_with("HTTP/1.1 404"));
    Ok(())
}

/// Ctrl-C ends it within five seconds; accounts and registrations are there again after a restart.
#[tokio::test]
async fn a_restart_keeps_accounts_and_registrations() -> Result<()> {
    let mut gateway = Gateway::start().await?;
    let alice = gateway.account("alice", "first-light-12")?;
    let bob = gateway.account("bob", "second-light-34")?;
    let mut callee = Phone::registered(bob, gateway.proxy()).await?;
    let took = gateway.stop().await?;
    assert!(took < Duration::from_secs(5), "{took:?}");
    gateway.start_again().await?;
    let mut caller = Phone::registered(alice, gateway.proxy()).await?;
    let message = caller.request("MESSAGE", &callee.aor(), &callee.aor());
    let (answer, received) = tokio::join!(caller.transact(message), async {
        let received = callee.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
        callee.answer(&received, 200, "OK", "b1", "").await?;
        anyhow::Ok(())
    });
    received?;
    assert_eq!(answer?.status(), Some(200));
    Ok(())
}

/// A port in use stops the start, and the message names it.
#[tokio::test]
async fn a_port_in_use_is_named() -> Result<()> {
    let gateway = Gateway::start().await?;
    let refused =
        gateway.command(&["run"], "").err().context("a second gateway on the same ports started")?;
    let text = format!("{refused:#}");
    let ports = [gateway.sip, gateway.tls, gateway.https, gateway.websocket, gateway.ng];
    assert!(ports.iter().any(|port| text.contains(&port.to_string())), "{text}");
    Ok(())
}

/// A wrong key stops the start with file and line.
#[tokio::test]
async fn a_wrong_key_is_named() -> Result<()> {
    let refused = Gateway::start_with("[log]\nlevle = \"info\"\n").await.err().context("it started")?;
    let text = format!("{refused:#}");
    assert!(text.contains("causeway.toml") && text.contains("line ") && text.contains("log.levle"), "{text}");
    Ok(())
}

/// A wrong password stays refused, and the log says from where it came, but not what it was.
#[tokio::test]
async fn a_wrong_password_is_refused_and_logged() -> Result<()> {
    let mut gateway = Gateway::start().await?;
    let mut account = gateway.account("alice", "the-right-one-1")?;
    account.password = "the-wrong-one-2".into();
    let mut phone = Phone::new(account, gateway.proxy()).await?;
    for _ in 0..3 {
        let answer = phone.register(300).await?;
        assert!(matches!(answer.status(), Some(401 | 403)), "{answer}");
    }
    let source = phone.local().ip().to_string();
    gateway.logs(&["alice", &source]).await?;
    let log = gateway.log().join("\n");
    assert!(!log.contains("the-right-one-1") && !log.contains("the-wrong-one-2"));
    Ok(())
}
