//! Certificates from a real ACME server (Pebble): got, shown, renewed and kept, while the gateway does its work.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use e2e::gateway::Gateway;
use e2e::pebble::{BINDING, NAME, Pebble, Wishes};
use e2e::ports::Ports;
use e2e::wait::{self, PATIENCE};
use e2e::wire::{WebSocket, Wire};
use serde_json::Value;

/// What the gateway says of its certificate.
fn told(gateway: &Gateway) -> Result<Value> {
    let rows: Value = serde_json::from_str(&gateway.command(&["rpc", "acme.list", "--json"], "")?)?;
    rows.get(0).cloned().context("no row")
}

/// Waits until what it says fits.
async fn until(
    gateway: &Gateway,
    pebble: &Pebble,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let look = || async { Ok(Some(told(gateway)?).filter(&fits)) };
    let found = wait::until(what, PATIENCE * 2, look).await;
    found.with_context(|| format!("{}\n{}", gateway.log().join("\n"), pebble.tail()))
}

fn page(gateway: &Gateway) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, gateway.https).into()
}

/// A server that is not there is no reason not to start; when it comes, so does the certificate, which is renewed by itself
/// while a browser stays signed in.
#[tokio::test]
async fn a_certificate_comes_and_is_renewed_under_a_live_connection() -> Result<()> {
    let mut pebble = Pebble::place().await?;
    let mut gateway = Gateway::start_with(&pebble.section()).await?;
    gateway.logs(&["that of the local CA is shown until it has issued one", NAME]).await?;
    gateway.logs(&["no certificate from the ACME server", "refused"]).await?;
    let alice = gateway.account("alice", "stays-signed-in-1")?;
    let mut browser = WebSocket::upgrade(
        Wire::of_tls(gateway.tls_connect(gateway.https).await?)?,
        "Sec-WebSocket-Protocol: sip\r\n",
    )
    .await?;
    assert_eq!(browser.register(&alice, 1).await?.status(), Some(200));

    // Nine seconds: with three of them left it is renewed.
    pebble.start(Wishes { tls: gateway.https, validity: 9, ..Wishes::default() }).await?;
    let first = until(&gateway, &pebble, "a certificate", |row| row["not_after"].is_i64()).await?;
    assert!(first["last_error"].is_null(), "{first}");
    let later = |row: &Value| row["not_after"].as_i64() > first["not_after"].as_i64();
    until(&gateway, &pebble, "another one", later).await?;
    assert_eq!(browser.register(&alice, 3).await?.status(), Some(200));
    Ok(())
}

/// By plain HTTP, for a server that takes nobody without an account of its operator's. The certificate is for whoever comes by
/// its name, others still see that of the local CA; both are there after a restart without the server.
#[tokio::test]
async fn a_bound_account_proves_by_http_and_is_kept() -> Result<()> {
    let (mut pebble, mut ports) = (Pebble::place().await?, Ports::take().await?);
    let port = ports.listener()?;
    let (kid, key) = BINDING;
    let section = format!(
        "{}challenge = \"http-01\"\nhttp = \"127.0.0.1:{port}\"\neab_kid = \"{kid}\"\neab_hmac_key = \"{key}\"\n",
        pebble.section()
    );
    let mut gateway = Gateway::start_with(&section).await?;
    pebble.start(Wishes { http: port, binding: true, ..Wishes::default() }).await?;
    until(&gateway, &pebble, "a certificate", |row| row["not_after"].is_i64()).await?;
    pebble.connect(page(&gateway)).await?;
    pebble.connect((Ipv4Addr::LOCALHOST, gateway.tls).into()).await?;
    assert!(gateway.get("/readyz").await?.starts_with("HTTP/1.1 200"), "by another name");
    assert!(gateway.get("/api/page").await?.contains("\"caCertificate\":null"));
    let account = || fs::read_to_string(gateway.certificates().join("../acme/account.json"));
    let before = account()?;

    // Asked for at once, with the account that there is.
    let first = told(&gateway)?;
    gateway.command(&["rpc", "acme.renew"], "")?;
    let later = |row: &Value| row["not_before"].as_i64() > first["not_before"].as_i64();
    let second = until(&gateway, &pebble, "another one", later).await?;
    assert_eq!(account()?, before);
    gateway.stop().await?;
    gateway.start_again().await?;
    assert_eq!(told(&gateway)?["not_before"], second["not_before"]);
    pebble.connect(page(&gateway)).await?;
    Ok(())
}

/// A name at which the server does not find the proof is told with what it has found, and all else goes on.
#[tokio::test]
async fn a_name_that_is_not_proved_is_told() -> Result<()> {
    let mut pebble = Pebble::place().await?;
    let mut gateway = Gateway::start_with(&pebble.section()).await?;
    // It looks where SIP is spoken, which proves nothing.
    pebble.start(Wishes { tls: gateway.tls, ..Wishes::default() }).await?;
    gateway.logs(&["no certificate from the ACME server", "not proved: gw.test", "again_in_seconds"]).await?;
    let row = told(&gateway)?;
    assert!(row["last_error"].as_str().is_some_and(|error| error.contains("gw.test")), "{row}");
    assert!(row["not_after"].is_null() && row["next_try"].is_i64(), "{row}");
    assert!(gateway.get("/readyz").await?.starts_with("HTTP/1.1 200"));
    Ok(())
}
