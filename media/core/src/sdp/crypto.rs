//! `a=crypto` (RFC 4568 §9): a suite and its key, as text.

use std::fmt;

/// One `a=crypto` line.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Names the line in an answer.
    pub tag: u32,
    /// The suite's name as written.
    pub suite: String,
    /// Base64 of key and salt. A secret.
    pub key: String,
    /// The value of `|2^31` and the like.
    pub lifetime: Option<String>,
    /// Whether a master key identifier is used (RFC 3711 §3.1), as written: `1:4`.
    pub mki: Option<String>,
    /// Session parameters: `UNENCRYPTED_SRTP` …
    pub parameters: Vec<String>,
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto").field("tag", &self.tag).field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Crypto {
    /// The value of an `a=crypto` line: `1 AES_CM_128_HMAC_SHA1_80 inline:…|2^20|1:4`. `None` when it has no inline key.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok().filter(|tag| *tag <= 999_999_999)?;
        let suite = words.next().filter(|suite| suite.len() <= 64)?.to_owned();
        // Of several keys the first is used: the others need identifiers.
        let mut parts = words.next()?.strip_prefix("inline:")?.split(';').next()?.split('|');
        let key = parts.next().filter(|key| (1..=128).contains(&key.len()))?.to_owned();
        let (mut lifetime, mut mki) = (None, None);
        for part in parts.take(2) {
            *(if part.contains(':') { &mut mki } else { &mut lifetime }) = Some(part.to_owned());
        }
        let parameters = words.take(8).map(str::to_owned).collect();
        Some(Self { tag, suite, key, lifetime, mki, parameters })
    }
}

impl fmt::Display for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} inline:{}", self.tag, self.suite, self.key)?;
        self.lifetime.iter().chain(&self.mki).try_for_each(|part| write!(f, "|{part}"))?;
        self.parameters.iter().try_for_each(|parameter| write!(f, " {parameter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_rfc_4568() {
        for text in [
            "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32",
            "2 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj UNENCRYPTED_SRTP",
            "3 F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|1:4",
        ] {
            assert_eq!(Crypto::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "1", "x A inline:k", "1 A", "1 A prompt", "1 A inline:", "9999999999 A inline:k"] {
            assert_eq!(Crypto::parse(bad), None, "{bad}");
        }
        let shown = format!("{:?}", Crypto::parse("1 A inline:secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
