//! Credentials that are good for a while, as TURN servers take them (draft-uberti-behave-turn-rest): the user name is
//! `EXPIRY:NAME`, with the end in seconds since 1970, and the password is the base64 of its HMAC-SHA1 by a secret that the
//! web application and the gateway share. The phone proves the password by digest, as any other; nothing is stored.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::{HashFunction, ha1};

/// The secrets that count: several, for a change of them (Kamailio's `secret` of `auth_ephemeral`, which may be said again).
#[derive(Clone, Default)]
pub struct Ephemeral(Vec<hmac::Key>);

/// Without the secrets.
impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ephemeral({})", self.0.len())
    }
}

/// A user name that has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Username<'a> {
    /// When it ends, in seconds since 1970.
    pub until: u64,
    /// Who it is.
    pub user: &'a str,
}

impl<'a> Username<'a> {
    /// Reads `EXPIRY:NAME`; `None` for any other name.
    #[must_use]
    pub fn parse(username: &'a str) -> Option<Self> {
        let (until, user) = username.split_once(':')?;
        let digits = !until.is_empty() && until.bytes().all(|byte| byte.is_ascii_digit());
        let until = until.parse().ok().filter(|_| digits && !user.is_empty())?;
        Some(Self { until, user })
    }
}

impl Ephemeral {
    /// These secrets, the one in use first.
    #[must_use]
    pub fn new(secrets: &[String]) -> Self {
        let key = |secret: &String| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        Self(secrets.iter().map(key).collect())
    }

    /// Whether no such credentials are taken.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to be known of the password of `username` in `realm` to check a proof by `hash`, for each secret.
    pub fn ha1s(&self, hash: HashFunction, username: &str, realm: &str) -> impl Iterator<Item = String> {
        let password = move |key| STANDARD.encode(hmac::sign(key, username.as_bytes()));
        self.0.iter().map(move |key| ha1(hash, username, realm, &password(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_end() {
        let table = [
            ("1700000000:alice", Some((1_700_000_000, "alice"))),
            ("17:a:b", Some((17, "a:b"))),
            ("alice", None),
            ("alice:17", None),
            ("17:", None),
            (":alice", None),
            ("+17:alice", None),
            ("99999999999999999999999:alice", None),
        ];
        for (text, expected) in table {
            let parsed = Username::parse(text).map(|name| (name.until, name.user));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    /// The password of RFC 2202 §3 test case 2: key "Jefe".
    #[test]
    fn the_password_is_the_hmac_of_the_name() {
        let name = "what do ya want for nothing?";
        let ephemeral = Ephemeral::new(&["Jefe".to_owned(), "other".to_owned()]);
        let password = STANDARD.encode(hex::decode("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79").expect("hex"));
        let hashes: Vec<_> = ephemeral.ha1s(HashFunction::Md5, name, "example.com").collect();
        assert_eq!(hashes.len(), 2);
        assert_eq!(hashes[0], ha1(HashFunction::Md5, name, "example.com", &password));
        assert_ne!(hashes[1], hashes[0]);
        assert_eq!(format!("{ephemeral:?}"), "Ephemeral(2)", "no log shows it");
    }
}
