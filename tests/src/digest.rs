//! Digest authentication as the scripted peers do it: plain, by code that shares nothing with the gateway's.

use anyhow::{Context, Result, bail};
use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

/// A client that answers one challenge for one request.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The user.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
    /// The method of the request.
    pub method: &'a str,
    /// Its Request-URI.
    pub uri: &'a str,
    /// The use of the nonce, from 1.
    pub nc: u32,
}

impl Client<'_> {
    /// The value of the Authorization or Proxy-Authorization field (RFC 7616 §3.4).
    pub fn answer(&self, challenge: &str) -> Result<String> {
        let realm = parameter(challenge, "realm").context("a challenge without realm")?;
        let nonce = parameter(challenge, "nonce").context("a challenge without nonce")?;
        let algorithm = parameter(challenge, "algorithm").unwrap_or_else(|| "MD5".into());
        let qop = parameter(challenge, "qop").unwrap_or_default();
        let (nc, cnonce) = (format!("{:08x}", self.nc), "0a4f113b");
        let mut key = hash(&algorithm, &format!("{}:{realm}:{}", self.user, self.password))?;
        if algorithm.ends_with("-sess") {
            key = hash(&algorithm, &format!("{key}:{nonce}:{cnonce}"))?;
        }
        let ha2 = hash(&algorithm, &format!("{}:{}", self.method, self.uri))?;
        let start = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", algorithm={algorithm}",
            self.user, self.uri
        );
        if qop.split(',').any(|one| one.trim() == "auth") {
            let response = hash(&algorithm, &format!("{key}:{nonce}:{nc}:{cnonce}:auth:{ha2}"))?;
            return Ok(format!("{start}, response=\"{response}\", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        let response = hash(&algorithm, &format!("{key}:{nonce}:{ha2}"))?;
        Ok(format!("{start}, response=\"{response}\", cnonce=\"{cnonce}\""))
    }
}

/// A parameter of a challenge or of credentials, without quotes.
#[must_use]
pub fn parameter(value: &str, name: &str) -> Option<String> {
    let (_, parameters) = value.split_once(' ')?;
    let mut quoted = false;
    let parts = parameters.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.into_iter().find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches('"').to_owned())
    })
}

/// Lower-case hexadecimal hash by the function that an algorithm names (RFC 8760 §2.1).
pub fn hash(algorithm: &str, text: &str) -> Result<String> {
    Ok(match algorithm.trim_end_matches("-sess") {
        "MD5" => hex::encode(Md5::digest(text)),
        "SHA-256" => hex::encode(Sha256::digest(text)),
        "SHA-512-256" => hex::encode(Sha512_256::digest(text)),
        _ => bail!("algorithm {algorithm}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 §3.5 and RFC 7616 §3.9.1 have other client nonces, so only the parts that have none are compared.
    #[test]
    fn the_parts_of_the_examples_come_out() {
        let md5 = |text: &str| hash("MD5", text).unwrap();
        assert_eq!(md5("Mufasa:testrealm@host.com:Circle Of Life"), "939e7578ed9e3c518a452acee763bce9");
        assert_eq!(md5("GET:/dir/index.html"), "39aff3a2bab6126f332b942af96d3366");
        // RFC 7616 §3.9.2 by its erratum 4897.
        let user = hash("SHA-512-256", "J\u{e4}s\u{f8}n Doe:api@example.org").unwrap();
        assert_eq!(user, "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b");
        assert!(hash("SHA-1", "").is_err());
    }

    #[test]
    fn a_challenge_is_answered() {
        let client = Client { user: "u", password: "p", method: "REGISTER", uri: "sip:x", nc: 2 };
        let answer = client.answer("Digest realm=\"r, s\", nonce=\"n\"").unwrap();
        let (ha1, ha2) = (hash("MD5", "u:r, s:p").unwrap(), hash("MD5", "REGISTER:sip:x").unwrap());
        assert_eq!(parameter(&answer, "response"), hash("MD5", &format!("{ha1}:n:{ha2}")).ok());
        let answer = client.answer("Digest realm=\"r\", nonce=\"n\", qop=\"auth-int,auth\"").unwrap();
        assert_eq!(parameter(&answer, "nc").as_deref(), Some("00000002"));
    }
}
