//! What a person does after `make run`: read the screen, open the page, type the printed fields into both phones, call.

use anyhow::{Context, Result, ensure};
use e2e::baresip::{Account, Baresip};
use e2e::chromium::Chromium;
use e2e::gateway::Gateway;
use e2e::page::Page;
use e2e::scene::{BROWSER_TONE, PHONE_TONE};

/// The fields of the screen that `causeway run --demo` prints.
#[derive(Debug, PartialEq)]
struct Screen {
    page: String,
    ca: String,
    in_page: Account,
    in_phone: Account,
    proxy: String,
}

impl Screen {
    async fn read(gateway: &mut Gateway) -> Result<Self> {
        // The last line of the screen.
        gateway.logs(&["Then call"]).await?;
        let lines = gateway.log();
        let after = |label: &str| {
            let line = lines.iter().find(|line| line.trim_start().starts_with(label));
            line.map(|line| line.trim_start()[label.len()..].trim().to_owned())
                .with_context(|| format!("no {label} in {lines:?}"))
        };
        let domain = after("Domain ")?;
        let sign_in = after("In the page: sign in as")?;
        let (user, password) = sign_in.split_once(" password ").context("no password for the page")?;
        let account = |user: &str, password: &str| Account {
            user: user.trim().into(),
            password: password.trim().into(),
            domain: domain.clone(),
        };
        Ok(Self {
            page: after("Page ")?,
            ca: after("CA certificate ")?,
            in_page: account(user, password),
            in_phone: account(&after("User name ")?, &after("Password ")?),
            proxy: after("Proxy ")?,
        })
    }
}

/// With nothing but the screen, both phones sign in and call each other, with sound both ways; a second start prints the same
/// accounts.
#[tokio::test]
async fn the_screen_is_enough() -> Result<()> {
    let mut gateway = Gateway::start_demo().await?;
    let screen = Screen::read(&mut gateway).await?;
    ensure!(screen.page.ends_with(&format!(":{}/", gateway.https)), "{screen:?}");
    let path = screen.ca.rsplit('/').next().context("no path")?;
    ensure!(gateway.get(&format!("/{path}")).await?.starts_with("HTTP/1.1 200"), "{screen:?}");

    let mut phone = Baresip::registered(&screen.in_phone, screen.proxy.parse()?, "udp", PHONE_TONE).await?;
    let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
    let page = Page::open_at(&browser, &screen.page).await?;
    page.fill("sign-in-user", &screen.in_page.user).await?;
    page.fill("sign-in-password", &screen.in_page.password).await?;
    page.click("sign-in-submit").await?;
    page.registration("registered").await?;

    page.dial(&screen.in_phone.user, false).await?;
    phone.event("CALL_INCOMING").await?;
    phone.accept().await?;
    page.call(&["connected"]).await?;
    tokio::try_join!(phone.hears(BROWSER_TONE), page.hears(PHONE_TONE))?;
    page.click("hangup").await?;
    phone.event("CALL_CLOSED").await?;

    phone.dial(&format!("sip:{}@{}", screen.in_page.user, screen.in_page.domain)).await?;
    page.answer().await?;
    page.call(&["connected"]).await?;
    tokio::try_join!(phone.hears(BROWSER_TONE), page.hears(PHONE_TONE))?;
    phone.hang_up().await?;
    page.call_over(None).await?;

    gateway.stop().await?;
    gateway.start_again().await?;
    assert_eq!(Screen::read(&mut gateway).await?, screen);
    Ok(())
}
