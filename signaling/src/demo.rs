//! `--demo`: two accounts that are there at once, and the one screen that tells a person everything.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use signaling_core::flow::Protocol;

use crate::accounts;
use crate::certs::write_secret;
use crate::store::Database;
use crate::transport::Bound;

/// A demo account: for whom it is, and its password in clear, which is kept in a file for its owner only, since the
/// database keeps hashes.
#[derive(Clone, PartialEq, Eq)]
pub struct DemoAccount {
    /// The user part.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for DemoAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DemoAccount").field("username", &self.username).finish_non_exhaustive()
    }
}

const NAMES: [&str; 2] = ["alice", "bob"];

/// The demo accounts of `directory`, made at the first start; the same ones at every other.
///
/// # Errors
/// The data directory or the database cannot be written.
pub async fn accounts(
    directory: &Path,
    database: &Database,
    domain: &str,
) -> anyhow::Result<[DemoAccount; 2]> {
    let path = directory.join("demo-accounts");
    let kept = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let accounts = NAMES.map(|name| {
        let password = kept.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        DemoAccount {
            username: name.to_owned(),
            password: password.map_or_else(accounts::fresh_password, ToOwned::to_owned),
        }
    });
    let text: String = accounts.iter().map(|a| format!("{} {}\n", a.username, a.password)).collect();
    if text != kept {
        write_secret(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
    }
    // The domain may be the host's address, which changes: the hashes are made for the one in use.
    for account in &accounts {
        accounts::set_password(database, &account.username, domain, &account.password).await?;
    }
    Ok(accounts)
}

/// What the screen tells.
#[derive(Debug)]
pub struct Screen<'a> {
    /// The SIP domain.
    pub domain: &'a str,
    /// Every listener, those of the primary address first.
    pub bound: &'a [Bound],
    /// Where others reach this host, when that is none of its own addresses.
    pub advertised: Option<IpAddr>,
    /// Whether the CA must be installed.
    pub local_ca: bool,
    /// The accounts; empty without `--demo`.
    pub accounts: &'a [DemoAccount],
}

impl Screen<'_> {
    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("\n  Causeway {} is running.  Ctrl-C ends it.\n\n", env!("CARGO_PKG_VERSION"));
        let pages = self.pages();
        for (number, page) in pages.iter().enumerate() {
            let label = if number == 0 { "Page" } else { "" };
            let _ = writeln!(text, "  {label:<16}{page}/");
        }
        if let (true, Some(page)) = (self.local_ca, pages.first()) {
            let _ = writeln!(text, "  {:<16}{page}/ca.crt", "CA certificate");
            let _ = writeln!(
                text,
                "  {:<16}Install it, or accept the browser's warning once, to trust the page.",
                ""
            );
        }
        if let [first, second] = self.accounts {
            let _ =
                writeln!(text, "\n  In the page: sign in as {}  password {}", first.username, first.password);
            let _ = writeln!(text, "\n  In X-Lite, baresip or any SIP phone");
            for (field, value) in self.phone_fields(second) {
                let _ = writeln!(text, "    {field:<20}{value}");
            }
            let _ = writeln!(
                text,
                "\n  Then call {} from the page, or {} from the phone.",
                second.username, first.username
            );
        }
        text
    }

    fn phone_fields(&self, account: &DemoAccount) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("User name", account.username.clone()),
            ("Password", account.password.clone()),
            ("Authorization name", account.username.clone()),
            ("Domain", self.domain.to_owned()),
        ];
        let proxy = |protocol| self.reached(protocol).next();
        if let Some(address) = proxy(Protocol::Udp).or_else(|| proxy(Protocol::Tcp)) {
            fields.push(("Proxy", address.to_string()));
        }
        let transports: Vec<String> = [Protocol::Udp, Protocol::Tcp, Protocol::Tls]
            .into_iter()
            .filter_map(|protocol| Some((protocol, proxy(protocol)?)))
            .map(|(protocol, address)| format!("{protocol} (port {})", address.port()))
            .collect();
        fields.push(("Transport", transports.join(", ")));
        fields
    }

    fn pages(&self) -> Vec<String> {
        let url = |scheme, address: SocketAddr| format!("{scheme}://{address}");
        let secure = self.reached(Protocol::Wss).map(|address| url("https", address));
        let plain = self.reached(Protocol::Ws).map(|address| url("http", address));
        let mut pages: Vec<String> = secure.chain(plain).take(4).collect();
        // A browser on this host takes the short name.
        if let Some(port) =
            self.bound.iter().find(|bound| bound.protocol == Protocol::Wss).map(|b| b.address.port())
        {
            pages.push(format!("https://localhost:{port}"));
        }
        pages
    }

    /// The addresses by which others reach the listeners of `protocol`: loopback only when there is nothing else.
    fn reached(&self, protocol: Protocol) -> impl Iterator<Item = SocketAddr> + '_ {
        let of_protocol =
            move || self.bound.iter().filter(move |bound| bound.protocol == protocol).map(|b| b.address);
        let only_loopback = of_protocol().all(|address| address.ip().is_loopback());
        let advertised = self.advertised.into_iter().filter_map(move |ip| {
            of_protocol()
                .find(|address| only_loopback || !address.ip().is_loopback())
                .map(|address| SocketAddr::new(ip, address.port()))
        });
        let own = of_protocol().filter(move |address| only_loopback || !address.ip().is_loopback());
        advertised.chain(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DbMode;

    #[tokio::test]
    async fn accounts_stay_the_same_over_a_restart_and_in_another_domain() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        let first = accounts(directory.path(), &database, "192.0.2.1").await.unwrap();
        let second = accounts(directory.path(), &database, "192.0.2.2").await.unwrap();
        assert_eq!(first, second);
        assert_ne!(first[0].password, first[1].password);
        assert_eq!(database.accounts().await.unwrap().len(), 4);
        let mode = std::fs::metadata(directory.path().join("demo-accounts")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn screen_has_all_that_a_person_types() {
        let bound = |protocol, address: &str| Bound { protocol, address: address.parse().unwrap() };
        let accounts =
            NAMES.map(|name| DemoAccount { username: name.into(), password: format!("{name}-secret") });
        let bounds = [
            bound(Protocol::Udp, "192.0.2.1:5060"),
            bound(Protocol::Udp, "127.0.0.1:5060"),
            bound(Protocol::Tcp, "192.0.2.1:5060"),
            bound(Protocol::Wss, "192.0.2.1:8443"),
            bound(Protocol::Wss, "127.0.0.1:8443"),
        ];
        let screen = Screen {
            domain: "192.0.2.1",
            bound: &bounds,
            advertised: None,
            local_ca: true,
            accounts: &accounts,
        };
        let text = screen.text();
        for part in [
            "https://192.0.2.1:8443/\n",
            "https://localhost:8443/\n",
            "https://192.0.2.1:8443/ca.crt",
            "alice-secret",
            "bob-secret",
            "Domain              192.0.2.1\n",
            "Proxy               192.0.2.1:5060\n",
            "UDP (port 5060), TCP (port 5060)",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("127.0.0.1"), "{text}");
        let behind_nat = Screen { advertised: Some("203.0.113.9".parse().unwrap()), ..screen };
        assert!(behind_nat.text().contains("Proxy               203.0.113.9:5060\n"));
    }
}
