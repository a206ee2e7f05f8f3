//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22): challenges, proofs, and the calculator of a client.
//!
//! Nothing is kept for a challenge, so that a flood of them costs no memory: a nonce is a stamp under an HMAC. Only a
//! nonce that was used with a right password is remembered, to see each `nc` once.
//!
//! What of the RFCs is left out, and why:
//! * `auth-int` is not offered: application-level gateways on the way rewrite bodies, and the proof would fail for good users.
//! * `userhash` is not offered: From and To say the name in clear anyway (RFC 7616 §3.4.4 lets the server decide).
//! * Authentication-Info, which RFC 7616 §3.5 permits and does not ask for, is not sent: a nonce lives for less than a
//!   registration, so that `nextnonce` would be stale before its use.

mod algorithm;
mod client;
mod nonce;

use std::borrow::Cow;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::message::Method;
use crate::message::header::Credentials;

pub use algorithm::{Algorithm, HashFunction};
pub use client::Answer;
pub use nonce::{Nonce, Stamp};

/// Why credentials prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The password is right, the nonce too old, or used with this `nc` before: challenge with `stale=true`.
    #[error("nonce is stale")]
    Stale,
    /// The password is wrong, or nobody with our key made the nonce.
    #[error("wrong response")]
    Wrong,
    /// An algorithm or a quality of protection that no challenge of ours offers: another challenge.
    #[error("{0} was not offered")]
    NotOffered(&'static str),
    /// A parameter is missing, doubled or malformed (RFC 7616 §3.4): 400.
    #[error("credentials: {0}")]
    Malformed(&'static str),
}

/// Credentials taken apart, everything that a proof needs there.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof<'a> {
    /// The user who claims to be one.
    pub username: Cow<'a, str>,
    /// The nonce, as challenged.
    pub nonce: Cow<'a, str>,
    /// The algorithm used.
    pub algorithm: Algorithm,
    uri: Cow<'a, str>,
    response: Cow<'a, str>,
    cnonce: Cow<'a, str>,
    /// `nc` as written and as a number, and `qop` as written; `None` for RFC 2069 clients.
    counted: Option<(Cow<'a, str>, u32, Cow<'a, str>)>,
}

impl std::fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("username", &self.username).finish_non_exhaustive()
    }
}

impl<'a> Proof<'a> {
    /// Takes credentials for `realm` apart; `None` when they are for another.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] or [`Refusal::NotOffered`]; nothing is said about the password.
    pub fn of(credentials: &Credentials<'a>, realm: &str) -> Option<Result<Self, Refusal>> {
        let parts = Parts::of(credentials);
        (parts.realm.as_deref() == Some(realm)).then(|| Self::of_parts(parts))
    }

    fn of_parts(parts: Parts<'a>) -> Result<Self, Refusal> {
        if parts.doubled {
            return Err(Refusal::Malformed("a parameter stands twice"));
        }
        if parts.userhash.is_some_and(|userhash| userhash.eq_ignore_ascii_case("true")) {
            return Err(Refusal::NotOffered("userhash"));
        }
        let algorithm =
            Algorithm::parse(parts.algorithm.as_deref()).ok_or(Refusal::NotOffered("algorithm"))?;
        let missing = Refusal::Malformed;
        let response = parts.response.ok_or(missing("no response"))?;
        let is_hash =
            response.len() == algorithm.hash.hex_len() && response.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash {
            return Err(Refusal::Malformed("response is not of the algorithm's hexadecimal digits"));
        }
        let username = match (parts.username, parts.username_star) {
            (Some(username), None) => username,
            (None, Some(encoded)) => {
                ext_value(&encoded).ok_or(missing("username* is no UTF-8 ext-value"))?.into()
            }
            (None, None) => return Err(missing("no username")),
            (Some(_), Some(_)) => return Err(missing("username and username*")),
        };
        let counted = match parts.qop {
            // RFC 3261 §22.4 item 8 lets old clients leave it out; RFC 8760 §2.6 asks for it with the newer algorithms.
            None if algorithm == Algorithm::MD5 => None,
            None => return Err(missing("no qop")),
            Some(qop) if !qop.eq_ignore_ascii_case("auth") => return Err(Refusal::NotOffered("qop")),
            Some(qop) => {
                let nc = parts.nc.ok_or(missing("no nc"))?;
                let digits = nc.len() == 8 && nc.bytes().all(|byte| byte.is_ascii_hexdigit());
                let count = u32::from_str_radix(&nc, 16).ok().filter(|_| digits);
                Some((nc, count.ok_or(missing("nc is not of eight hexadecimal digits"))?, qop))
            }
        };
        if counted.is_some() && parts.cnonce.is_none() {
            return Err(missing("no cnonce"));
        }
        Ok(Self {
            username,
            nonce: parts.nonce.ok_or(missing("no nonce"))?,
            algorithm,
            uri: parts.uri.ok_or(missing("no uri"))?,
            response,
            cnonce: parts.cnonce.unwrap_or_default(),
            counted,
        })
    }
}

/// The parameters of credentials.
#[derive(Default)]
struct Parts<'a> {
    realm: Option<Cow<'a, str>>,
    username: Option<Cow<'a, str>>,
    username_star: Option<Cow<'a, str>>,
    userhash: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
    response: Option<Cow<'a, str>>,
    algorithm: Option<Cow<'a, str>>,
    cnonce: Option<Cow<'a, str>>,
    qop: Option<Cow<'a, str>>,
    nc: Option<Cow<'a, str>>,
    /// Whether one of them stands there again.
    doubled: bool,
}

impl<'a> Parts<'a> {
    fn of(credentials: &Credentials<'a>) -> Self {
        let mut parts = Self::default();
        for (name, value) in credentials.params() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let place = match () {
                () if is("realm") => &mut parts.realm,
                () if is("username") => &mut parts.username,
                () if is("username*") => &mut parts.username_star,
                () if is("userhash") => &mut parts.userhash,
                () if is("nonce") => &mut parts.nonce,
                () if is("uri") => &mut parts.uri,
                () if is("response") => &mut parts.response,
                () if is("algorithm") => &mut parts.algorithm,
                () if is("cnonce") => &mut parts.cnonce,
                () if is("qop") => &mut parts.qop,
                () if is("nc") => &mut parts.nc,
                // opaque is of no use; others are to be ignored (RFC 7616 §3.4).
                () => continue,
            };
            parts.doubled |= place.is_some();
            place.get_or_insert(value);
        }
        parts
    }
}

/// `UTF-8'language'text` with `%HH` (RFC 5987 §3.2).
fn ext_value(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    let plain = crate::message::uri::percent_decoded(encoded);
    charset.eq_ignore_ascii_case("UTF-8").then(|| String::from_utf8(plain).ok()).flatten()
}

/// Makes challenges and judges proofs. Each worker has its own.
pub struct Authenticator {
    mint: nonce::Mint,
    used: nonce::Used,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// `key` signs the nonces, which are good for `nonce_expire`. Workers that share a key have each their own `origin`: a
    /// nonce is good where it was made, since only there its uses are counted, and stale elsewhere. Uses of at most
    /// `capacity` nonces are remembered.
    #[must_use]
    pub fn new(key: [u8; 32], origin: [u8; 4], nonce_expire: Duration, capacity: usize) -> Self {
        Self { mint: nonce::Mint::new(key, origin, nonce_expire), used: nonce::Used::new(capacity) }
    }

    /// The values of the WWW-Authenticate or Proxy-Authenticate headers, one per algorithm and in that order, which is the
    /// order of preference (RFC 8760 §2.3). `unix_now` is in seconds since 1970. `realm` must hold no quote, as domains
    /// do not.
    #[must_use]
    pub fn challenges(
        &mut self,
        unix_now: u64,
        realm: &str,
        algorithms: &[Algorithm],
        stale: bool,
    ) -> Vec<String> {
        let nonce = self.mint.make(unix_now, realm);
        let stale = if stale { ", stale=true" } else { "" };
        let (realm, nonce) = (["Digest realm=\"", realm].concat(), ["\", nonce=\"", &nonce].concat());
        let one = |algorithm: &Algorithm| {
            [&*realm, &*nonce, "\", algorithm=", algorithm.as_str(), ", qop=\"auth\"", stale].concat()
        };
        algorithms.iter().map(one).collect()
    }

    /// What a nonce is worth, known without any account: one that is foreign is not worth looking for the account.
    #[must_use]
    pub fn nonce(&self, unix_now: u64, nonce: &str, realm: &str) -> Nonce {
        self.mint.open(unix_now, nonce, realm)
    }

    /// Judges `proof` for a request of `method`; `nonce` is what [`Authenticator::nonce`] says of its nonce. `ha1` is the hexadecimal hash of `username:realm:password` by the
    /// proof's algorithm. The `uri` parameter is part of the proof, but not compared with the request-URI, which proxies on
    /// the way may have rewritten (RFC 3261 §22.4 item 5).
    ///
    /// # Errors
    /// [`Refusal::Wrong`] or [`Refusal::Stale`].
    pub fn verify(
        &mut self,
        unix_now: u64,
        proof: &Proof<'_>,
        nonce: Nonce,
        method: &Method,
        ha1: &str,
    ) -> Result<(), Refusal> {
        if nonce == Nonce::Foreign {
            return Err(Refusal::Wrong);
        }
        let counted = proof.counted.as_ref().map(|(nc, _, qop)| (nc.as_ref(), qop.as_ref()));
        let (uri, cnonce) = (proof.uri.as_ref(), proof.cnonce.as_ref());
        let right = response(proof.algorithm, ha1, method.as_str(), uri, &proof.nonce, cnonce, counted);
        let given = proof.response.to_ascii_lowercase();
        if !bool::from(right.as_bytes().ct_eq(given.as_bytes())) {
            return Err(Refusal::Wrong);
        }
        let Nonce::Fresh(stamp) = nonce else { return Err(Refusal::Stale) };
        let count = proof.counted.as_ref().map(|(_, count, _)| *count);
        let fresh = self.used.mark(stamp, count, self.mint.oldest(unix_now));
        if fresh { Ok(()) } else { Err(Refusal::Stale) }
    }
}

/// The right response (RFC 7616 §3.4.1); `counted` is `nc` and `qop`, absent for RFC 2069 clients.
fn response(
    algorithm: Algorithm,
    ha1: &str,
    method: &str,
    uri: &str,
    nonce: &str,
    cnonce: &str,
    counted: Option<(&str, &str)>,
) -> String {
    let hash = algorithm.hash;
    let key: Cow<'_, str> =
        if algorithm.session { hash.hex(&[ha1, nonce, cnonce]).into() } else { ha1.into() };
    let ha2 = hash.hex(&[method, uri]);
    match counted {
        Some((nc, qop)) => hash.hex(&[&key, nonce, nc, cnonce, qop, &ha2]),
        None => hash.hex(&[&key, nonce, &ha2]),
    }
}

/// What is stored of a password: the hexadecimal hash of `username:realm:password`, Kamailio's `ha1` column for MD5.
#[must_use]
pub fn ha1(hash: HashFunction, username: &str, realm: &str, password: &str) -> String {
    hash.hex(&[username, realm, password])
}

#[cfg(test)]
#[path = "digest/tests.rs"]
mod tests;
