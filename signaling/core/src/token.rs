//! What a web application signs its users in with, so that it need not know their SIP passwords: signed tokens (JWT, RFC 7519)
//! and credentials that are good for a while ([`ephemeral`]).
//!
//! A key is of one algorithm and verifies no other, so that no token can have a public key taken for a secret, or no
//! signature for one. What a token must say beside its signature is in [`Tokens`].

pub mod ephemeral;
pub mod key;

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

pub use self::key::{Key, NamedKey};

/// A token longer than this is none: it travels in each request.
const LONGEST: usize = 8192;

/// Whose tokens count, and for what.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// What they are signed with; one of these will do.
    pub keys: Vec<NamedKey>,
    /// What the claim `iss` must say; `None` for anything.
    pub issuer: Option<String>,
    /// One of these must be among what the claim `aud` says.
    pub audience: Vec<String>,
    /// Whether a token without `aud` is for us (RFC 7519 §4.1.3 leaves that to the issuer).
    pub audience_optional: bool,
    /// The claim that names the user: `alice`, `alice@DOMAIN` or `sip:alice@DOMAIN`.
    pub user_claim: String,
    /// Seconds that the clocks of issuer and gateway may differ.
    pub leeway: u64,
    /// Where tokens are to be had, for those who have none (`authz_server` of RFC 8898 §4).
    pub authz_server: Option<String>,
}

/// Whom a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// The domain, if it names one.
    pub domain: Option<String>,
    /// When the token ends, in seconds since 1970, leeway included.
    pub until: u64,
}

/// Why a token proves nothing. All mean the same to whoever has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// It is no JWS in compact form with claims as JSON.
    Malformed,
    /// It is signed in no way that a key of ours is for, or not at all.
    Algorithm,
    /// It is signed by somebody else.
    Signature,
    /// It has ended, or says no end.
    Expired,
    /// It has not begun.
    NotYet,
    /// It was issued by another.
    Issuer,
    /// It was issued for another.
    Audience,
    /// It names no user.
    User,
}

impl Invalid {
    /// Words for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed token",
            Self::Algorithm => "token signed in a way that no key is for",
            Self::Signature => "token with a wrong signature",
            Self::Expired => "token that has ended",
            Self::NotYet => "token that has not begun",
            Self::Issuer => "token of another issuer",
            Self::Audience => "token for another audience",
            Self::User => "token without a user",
        }
    }
}

/// What of a JOSE header counts (RFC 7515 §4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood, of which we know none.
    crit: Option<Value>,
}

/// The claims of RFC 7519 §4.1 that count, and all others.
#[derive(Deserialize)]
struct Claims {
    iss: Option<Value>,
    aud: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

impl Tokens {
    /// Whom `token` names, if it proves that at `unix_now`. What is cheap to see is seen first, but nothing is believed before the
    /// signature.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn verify(&self, token: &str, unix_now: u64) -> Result<Identity, Invalid> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Invalid::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Invalid::Malformed)?;
        if token.len() > LONGEST || payload.contains('.') {
            return Err(Invalid::Malformed);
        }
        let header: Header = json(header)?;
        if header.crit.is_some() {
            return Err(Invalid::Malformed);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Invalid::Malformed)?;
        self.verify_signature(&header, signed.as_bytes(), &signature)?;
        self.judge(json(payload)?, unix_now)
    }

    /// By the keys with the name that the token gives, or by all where none has it: an issuer of one key need not name it.
    fn verify_signature(&self, header: &Header, signed: &[u8], signature: &[u8]) -> Result<(), Invalid> {
        let named = |key: &&NamedKey| header.kid.is_some() && key.id == header.kid;
        let any_named = self.keys.iter().any(|key| named(&key));
        let mut fitting = self.keys.iter().filter(|key| {
            let unnamed = !any_named && (key.id.is_none() || header.kid.is_none());
            (named(key) || unnamed) && key.key.algorithm() == header.alg
        });
        let mut verdict = Err(Invalid::Algorithm);
        if fitting.any(|key| {
            let right: Result<(), Unspecified> = key.key.verify(signed, signature);
            verdict = Err(Invalid::Signature);
            right.is_ok()
        }) {
            verdict = Ok(());
        }
        verdict
    }

    fn judge(&self, claims: Claims, unix_now: u64) -> Result<Identity, Invalid> {
        let until = claims.exp.as_ref().and_then(seconds).ok_or(Invalid::Expired)?;
        let until = until.saturating_add(self.leeway);
        if until <= unix_now {
            return Err(Invalid::Expired);
        }
        if let Some(from) = &claims.nbf
            && seconds(from).is_none_or(|from| from > unix_now.saturating_add(self.leeway))
        {
            return Err(Invalid::NotYet);
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let issuer = claims.iss.as_ref().and_then(text);
        if self.issuer.is_some() && self.issuer != issuer {
            return Err(Invalid::Issuer);
        }
        let is_for_us = match &claims.aud {
            None => self.audience_optional,
            Some(Value::Array(all)) => all.iter().filter_map(text).any(|one| self.audience.contains(&one)),
            Some(one) => text(one).is_some_and(|one| self.audience.contains(&one)),
        };
        if !is_for_us {
            return Err(Invalid::Audience);
        }
        let user = match &*self.user_claim {
            "iss" => issuer,
            other => claims.others.get(other).and_then(text),
        };
        identity(&user.ok_or(Invalid::User)?, until)
    }
}

fn identity(text: &str, until: u64) -> Result<Identity, Invalid> {
    let bare = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")).unwrap_or(text);
    let (user, domain) = match bare.rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain.to_ascii_lowercase())),
        None => (bare, None),
    };
    if user.is_empty() || domain.as_deref() == Some("") {
        return Err(Invalid::User);
    }
    Ok(Identity { user: user.to_owned(), domain, until })
}

/// A NumericDate (RFC 7519 §2): it may have a fraction.
fn seconds(value: &Value) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let whole = |number: f64| (number >= 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Invalid> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Invalid::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Invalid::Malformed)
}

#[cfg(test)]
mod tests;
