//! Section `[acme]`: certificates from an ACME server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Config, Listen};

/// Section `[acme]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Acme {
    pub domains: Vec<String>,
    pub directory: String,
    pub contact: Vec<String>,
    pub challenge: Challenge,
    pub http: Listen,
    pub eab_kid: Option<String>,
    pub eab_hmac_key: Option<HmacKey>,
    pub ca_list: Option<PathBuf>,
    pub retry: Duration,
}

impl Acme {
    /// What no key can say alone.
    pub(super) fn check(&self, config: &Config) -> Result<(), String> {
        if self.eab_kid.is_some() != self.eab_hmac_key.is_some() {
            return Err("acme.eab_kid and acme.eab_hmac_key go together: set both or none".into());
        }
        if self.domains.is_empty() {
            return Ok(());
        }
        if config.certificate.is_some() {
            return Err("acme.domains and certificate.chain are two ways to a certificate: take one".into());
        }
        let unreachable = config.https == Listen::Off
            && (self.challenge == Challenge::TlsAlpn01 || self.http == Listen::Off);
        if unreachable {
            return Err("acme.domains needs https.listen, or acme.http with the challenge http-01".into());
        }
        Ok(())
    }
}

/// How an ACME server sees that a name is ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Challenge {
    /// A connection under TLS (RFC 8737).
    #[default]
    TlsAlpn01,
    /// A request over plain HTTP (RFC 8555 §8.3).
    Http01,
}

/// A key that no log shows.
#[derive(Clone)]
pub struct HmacKey(Vec<u8>);

impl HmacKey {
    /// Its octets.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for HmacKey {
    fn from(key: Vec<u8>) -> Self {
        Self(key)
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey")
    }
}
