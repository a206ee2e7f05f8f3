//! Keys of tokens, and sets of them (JWKS, RFC 7517 §5).

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256};
use aws_lc_rs::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The shortest secret of HS256 (RFC 7518 §3.2) and modulus of RS256 (§3.3), in bytes.
const SHORTEST_SECRET: usize = 32;
const SHORTEST_MODULUS: usize = 256;

/// A key, which is of one algorithm.
#[derive(Clone)]
pub enum Key {
    /// HS256: a secret that issuer and gateway share.
    Hs256(Box<hmac::Key>),
    /// RS256: modulus and exponent, without leading zeros.
    Rs256 {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// ES256: a point of P-256, uncompressed (SEC 1 §2.3.3).
    Es256(Vec<u8>),
}

/// Without the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

/// A key and what tokens call it.
#[derive(Debug, Clone)]
pub struct NamedKey {
    /// The `kid` of tokens signed with it; `None` for any.
    pub id: Option<String>,
    /// It.
    pub key: Key,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Entry>,
}

/// A key as RFC 7517 §4 and RFC 7518 §6 write it.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    k: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    /// A secret of HS256.
    ///
    /// # Errors
    /// It is shorter than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < SHORTEST_SECRET {
            return Err(format!("the secret is shorter than {SHORTEST_SECRET} bytes (RFC 7518 section 3.2)"));
        }
        Ok(Self::Hs256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret))))
    }

    /// A public key of RS256, its numbers big-endian.
    ///
    /// # Errors
    /// The modulus is shorter than 2048 bits.
    pub fn rs256(n: &[u8], e: &[u8]) -> Result<Self, String> {
        let bare = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let (n, e) = (bare(n), bare(e));
        if n.len() < SHORTEST_MODULUS || e.is_empty() {
            return Err("an RSA key has 2048 bits at least (RFC 7518 section 3.3)".to_owned());
        }
        Ok(Self::Rs256 { n, e })
    }

    /// A public key of ES256: an uncompressed point.
    ///
    /// # Errors
    /// It is no point of P-256.
    pub fn es256(point: &[u8]) -> Result<Self, String> {
        signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .map_err(|_| "no point of P-256".to_owned())?;
        Ok(Self::Es256(point.to_vec()))
    }

    /// Its algorithm, by its name of RFC 7518 §3.1.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256 { .. } => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    /// # Errors
    /// `signature` is not that of `message` by this key.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Unspecified> {
        match self {
            Self::Hs256(key) => hmac::verify(key, message, signature),
            Self::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Self::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
        }
    }
}

impl NamedKey {
    /// The keys of a set that verify what we know; others are passed over (RFC 7517 §5).
    ///
    /// # Errors
    /// It is no set, one of ours in it is broken, or there is none.
    pub fn of_set(text: &str) -> Result<Vec<Self>, String> {
        // What a parser says of a secret may repeat it.
        let set: Set = serde_json::from_str(text)
            .map_err(|error| format!("no JWK set (line {}, column {})", error.line(), error.column()))?;
        let mut keys = Vec::new();
        for (number, entry) in set.keys.iter().enumerate() {
            if let Some(key) = entry.key().map_err(|error| format!("key {}: {error}", number + 1))? {
                keys.push(Self { id: entry.kid.clone(), key });
            }
        }
        if keys.is_empty() {
            return Err("no key for HS256, RS256 or ES256 in it".to_owned());
        }
        Ok(keys)
    }
}

impl Entry {
    fn key(&self) -> Result<Option<Key>, String> {
        let part = |value: &Option<String>, name: &str| -> Result<Vec<u8>, String> {
            let text = value.as_ref().ok_or(format!("no {name}"))?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("{name} is no base64url"))
        };
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Ok(None);
        }
        let is_for = |algorithm: &str| self.alg.as_deref().is_none_or(|alg| alg == algorithm);
        Ok(Some(match &*self.kty {
            "oct" if is_for("HS256") => Key::hs256(&part(&self.k, "k")?)?,
            "RSA" if is_for("RS256") => Key::rs256(&part(&self.n, "n")?, &part(&self.e, "e")?)?,
            "EC" if is_for("ES256") && self.crv.as_deref() == Some("P-256") => {
                let (x, y) = (part(&self.x, "x")?, part(&self.y, "y")?);
                Key::es256(&[&[4], x.as_slice(), &y].concat())?
            }
            _ => return Ok(None),
        }))
    }
}
