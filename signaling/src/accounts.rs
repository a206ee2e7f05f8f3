//! The `user` commands, and the hashes that accounts are kept as.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};
use rand::RngExt as _;
use signaling_core::digest;
use signaling_core::outside::Account;

use crate::store::Database;

/// Letters and digits that nobody mistakes for another when reading them off a screen.
const CLEAR: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A password that is easy to type on a phone: 14 characters of 32 are 70 bits.
#[must_use]
pub fn fresh_password() -> String {
    let mut rng = rand::rng();
    (0..14).map(|_| char::from(CLEAR[rng.random_range(0..CLEAR.len())])).collect()
}

/// Sets the password of an account, which is made if missing. Only hashes are kept.
///
/// # Errors
/// The name or password cannot be used, or the database does not answer.
pub async fn set_password(
    database: &Database,
    username: &str,
    domain: &str,
    password: &str,
) -> anyhow::Result<()> {
    check_username(username)?;
    if password.is_empty() || password.len() > 128 || password.chars().any(char::is_control) {
        bail!("a password has 1 to 128 characters and no control characters");
    }
    let account = Account::of_password(username, domain, password);
    // Kamailio's ha1b: the hash for phones that give user@domain as user name.
    let ha1b = ha1(&format!("{username}@{domain}"), domain, password);
    database.put_account(&account, &ha1b).await
}

/// `user add`: refuses an account that is there.
///
/// # Errors
/// It is there, or as [`set_password`].
pub async fn add(database: &Database, username: &str, domain: &str, password: &str) -> anyhow::Result<()> {
    if database.get_account(username, domain).await?.is_some() {
        bail!(
            "{username}@{domain} is there already; to change its password: causeway user passwd {username}"
        );
    }
    set_password(database, username, domain, password).await
}

/// `user passwd`: refuses an account that is not there.
///
/// # Errors
/// It is not there, or as [`set_password`].
pub async fn change(database: &Database, username: &str, domain: &str, password: &str) -> anyhow::Result<()> {
    if database.get_account(username, domain).await?.is_none() {
        bail!("there is no {username}@{domain}");
    }
    set_password(database, username, domain, password).await
}

/// `user remove`.
///
/// # Errors
/// It is not there, or the database does not answer.
pub async fn remove(database: &Database, username: &str, domain: &str) -> anyhow::Result<()> {
    if !database.remove_account(username, domain).await? {
        bail!("there is no {username}@{domain}");
    }
    Ok(())
}

/// The first line of standard input. Passwords are not taken from the command line, which every user of the host can see.
///
/// # Errors
/// Standard input ends or cannot be read.
pub fn read_password() -> anyhow::Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        tracing::debug!("reading a password from the terminal");
        eprint_prompt();
    }
    let mut line = String::new();
    input.lock().read_line(&mut line).context("standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password: give one line on standard input");
    }
    Ok(password.to_owned())
}

#[allow(clippy::print_stderr, reason = "a prompt is not a log line")]
fn eprint_prompt() {
    eprint!("Password (shown as you type): ");
}

/// Kamailio's `ha1` column: lower-case hexadecimal MD5 of `username:realm:password` (RFC 7616 §3.4.2).
fn ha1(username: &str, realm: &str, password: &str) -> String {
    digest::ha1(digest::HashFunction::Md5, username, realm, password)
}

/// The user names that need no escaping in a SIP URI (`unreserved` of RFC 3261 §25.1, and `+` for telephone numbers).
fn check_username(username: &str) -> anyhow::Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(&byte);
    if username.is_empty() || username.len() > 64 || !username.bytes().all(allowed) {
        bail!("a user name has 1 to 64 of the characters A-Z a-z 0-9 - _ . ! ~ * ' ( ) +");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DbMode;

    #[tokio::test]
    async fn life_of_an_account() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        add(&database, "alice", "example.com", "one").await.unwrap();
        let first = database.get_account("alice", "example.com").await.unwrap().unwrap().ha1.clone();
        assert_eq!(first, ha1("alice", "example.com", "one"));
        assert!(add(&database, "alice", "example.com", "two").await.is_err());
        change(&database, "alice", "example.com", "two").await.unwrap();
        assert_ne!(database.get_account("alice", "example.com").await.unwrap().unwrap().ha1, first);
        assert!(change(&database, "bob", "example.com", "x").await.is_err());
        remove(&database, "alice", "example.com").await.unwrap();
        assert!(remove(&database, "alice", "example.com").await.is_err());
        for name in ["", "a b", "a@b", "a;b", &"x".repeat(65)] {
            assert!(add(&database, name, "example.com", "x").await.is_err(), "{name:?}");
        }
        for password in ["", "a\nb"] {
            assert!(add(&database, "carol", "example.com", password).await.is_err(), "{password:?}");
        }
    }

    /// The example of RFC 2617 §3.5 by its parts.
    #[test]
    fn ha1_of_the_rfc() {
        let hash = ha1("Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(hash, "939e7578ed9e3c518a452acee763bce9");
    }

    #[test]
    fn passwords_differ_and_are_easy_to_read() {
        let (one, two) = (fresh_password(), fresh_password());
        assert_ne!(one, two);
        assert!(one.len() == 14 && !one.contains(['0', 'o', '1', 'l']));
    }
}
