//! A client's answer to a challenge.

use super::{Algorithm, ha1, response};
use crate::message::Method;
use crate::message::header::Challenge;

/// Who answers, and for what request.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The user.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
    /// The method of the request.
    pub method: &'a Method,
    /// Its request-URI.
    pub uri: &'a str,
    /// The client's own random text, without quotes.
    pub cnonce: &'a str,
    /// How often the nonce was used, this time included.
    pub count: u32,
}

impl Answer<'_> {
    /// The value of the Authorization or Proxy-Authorization header; `None` when the challenge lacks realm or nonce, or
    /// names an unknown algorithm: the next challenge may be answered then (RFC 8760 §2.4).
    #[must_use]
    pub fn to(&self, challenge: &Challenge<'_>) -> Option<String> {
        let (realm, nonce) = (challenge.realm()?, challenge.nonce()?);
        let algorithm = Algorithm::parse(challenge.algorithm().as_deref())?;
        let ha1 = ha1(algorithm.hash, self.username, &realm, self.password);
        let has_auth = |qop: &str| qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth"));
        let nc = format!("{:08x}", self.count);
        let counted = challenge.qop().is_some_and(|qop| has_auth(&qop)).then_some((nc.as_str(), "auth"));
        let proof = response(algorithm, &ha1, self.method.as_str(), self.uri, &nonce, self.cnonce, counted);
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{proof}\", algorithm={}",
            quoted(self.username),
            quoted(&realm),
            quoted(&nonce),
            quoted(self.uri),
            algorithm.as_str()
        );
        if let Some((nc, qop)) = counted {
            value.push_str(&format!(", qop={qop}, nc={nc}"));
        }
        if counted.is_some() || algorithm.session {
            value.push_str(&format!(", cnonce={}", quoted(self.cnonce)));
        }
        if let Some(opaque) = challenge.opaque() {
            value.push_str(&format!(", opaque={}", quoted(&opaque)));
        }
        Some(value)
    }
}

/// `text` as a quoted string (RFC 3261 §25.1).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
