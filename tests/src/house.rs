//! What stands between a page and its phones: our gateway, or one half of it and the other half of the world that exists.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::baresip::Account;
use crate::chromium::Chromium;
use crate::gateway::{DOMAIN, Gateway};
use crate::page::Page;
use crate::peers::{Flags, KamailioFront, NgRelay, NgTap};
use crate::subject::{Kamailio, Setup};

/// The domain of the registrar behind our edge.
const BEHIND: &str = "pbx.test";

/// The proxy, the relay, and whoever has the accounts.
#[derive(Debug)]
pub struct House {
    /// The gateway. Before a Kamailio it lends its page and its certificate, and takes no part in the calls.
    pub gateway: Gateway,
    proxy: Proxy,
    /// The relay in a process of its own, and who listens to what it is told.
    relay: Option<(NgRelay, NgTap)>,
}

#[derive(Debug)]
enum Proxy {
    /// The gateway.
    Ours,
    /// A Kamailio.
    Kamailio(KamailioFront),
    /// The gateway for pages, with a Kamailio behind it that has the accounts and the phones.
    Edge(Kamailio),
}

impl From<Gateway> for House {
    /// Our gateway, which does it all.
    fn from(gateway: Gateway) -> Self {
        Self { gateway, proxy: Proxy::Ours, relay: None }
    }
}

impl House {
    /// Our proxy, with Debian's rtpengine as its relay.
    pub async fn over_rtpengine() -> Result<Self> {
        let relay = NgRelay::rtpengine().await?;
        let tap = NgTap::start(relay.ng).await?;
        let gateway = Gateway::start_with_relay(tap.address).await?;
        Ok(Self { gateway, proxy: Proxy::Ours, relay: Some((relay, tap)) })
    }

    /// Our relay, with Debian's Kamailio as its proxy, which gives it these flags.
    pub async fn behind_kamailio(flags: Flags) -> Result<Self> {
        let gateway = Gateway::start().await?;
        let relay = NgRelay::causeway().await?;
        let tap = NgTap::start(relay.ng).await?;
        let kamailio = KamailioFront::start(tap.address, flags, &gateway.certificates()).await?;
        Ok(Self { gateway, proxy: Proxy::Kamailio(kamailio), relay: Some((relay, tap)) })
    }

    /// Our gateway as the edge of a domain whose registrar is Kamailio: pages are registered there by way of us, phones at
    /// Kamailio itself, and neither have an account with us.
    pub async fn before_a_registrar() -> Result<Self> {
        let kamailio = Kamailio::start(Setup { domain: BEHIND, ..Setup::default() }).await?;
        let edge = format!("[edge]\ndomains = [\"{BEHIND}=sip:{}\"]\n", kamailio.address());
        let gateway = Gateway::start_with(&edge).await?;
        Ok(Self { gateway, proxy: Proxy::Edge(kamailio), relay: None })
    }

    /// An account here; each user has one. A Kamailio has its own password for all of them.
    pub fn account(&self, user: &str, password: &str) -> Result<Account> {
        match &self.proxy {
            Proxy::Ours => self.gateway.account(user, password),
            Proxy::Kamailio(_) => {
                let password = KamailioFront::PASSWORD.to_owned();
                Ok(Account { user: user.to_owned(), password, domain: DOMAIN.to_owned() })
            }
            Proxy::Edge(kamailio) => Ok(kamailio.account(user)),
        }
    }

    /// Where phones over `udp`, `tcp` or `tls` send their messages.
    #[must_use]
    pub fn proxy(&self, transport: &str) -> SocketAddr {
        match (&self.proxy, transport) {
            (Proxy::Ours, "tls") => SocketAddr::new(self.gateway.address, self.gateway.tls),
            (Proxy::Ours, _) => self.gateway.proxy(),
            (Proxy::Kamailio(kamailio), "tls") => kamailio.tls(),
            (Proxy::Kamailio(kamailio), _) => kamailio.proxy(),
            (Proxy::Edge(kamailio), _) => kamailio.address(),
        }
    }

    /// Opens the page and signs in; waits for the registration.
    pub async fn page(&self, browser: &Chromium, account: &Account) -> Result<Page> {
        let Proxy::Kamailio(kamailio) = &self.proxy else {
            return Page::registered(browser, &self.gateway, account).await;
        };
        let page = Page::open_for(browser, &self.gateway.page_url(), &kamailio.websocket_url()).await?;
        page.sign_in(account).await?;
        page.registration("registered").await?;
        Ok(page)
    }

    /// After the calls: none is left over, and nobody has complained about anybody.
    pub async fn is_content(&self) -> Result<()> {
        let Some((relay, tap)) = &self.relay else { return Ok(()) };
        relay.is_idle().await?;
        tap.no_complaint()?;
        let Proxy::Kamailio(kamailio) = &self.proxy else { return Ok(()) };
        let calls = self.gateway.log();
        ensure!(!calls.iter().any(|line| line.contains("INVITE")), "the gateway had a part in it: {calls:?}");
        let log = kamailio.log();
        let bad: Vec<_> =
            log.iter().filter(|line| line.contains("ERROR:") || line.contains("rtpengine")).collect();
        ensure!(bad.is_empty(), "Kamailio complains: {bad:?}");
        let log = relay.log();
        let bad: Vec<_> = log.iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        ensure!(bad.is_empty(), "the relay complains: {bad:?}");
        Ok(())
    }

    /// What everybody here has said, for the message of a test that failed.
    #[must_use]
    pub fn report(&self) -> String {
        let mut lines = self.gateway.log();
        match &self.proxy {
            Proxy::Ours => {}
            Proxy::Kamailio(kamailio) => lines.extend(kamailio.log()),
            Proxy::Edge(kamailio) => lines.extend(kamailio.log()),
        }
        if let Some((relay, tap)) = &self.relay {
            lines.extend(tap.said());
            lines.extend(relay.log());
        }
        lines.join("\n")
    }
}
