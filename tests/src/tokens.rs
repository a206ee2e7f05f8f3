//! Tokens and credentials as a web application makes them, by code that shares nothing with the gateway's.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A token of these claims, signed by HS256 (RFC 7515 §3.1).
#[must_use]
pub fn jwt(secret: &str, claims: &str) -> String {
    let text = unsigned("HS256", claims);
    let signature = URL_SAFE_NO_PAD.encode(hmac::<Sha256>(secret.as_bytes(), text.as_bytes()));
    format!("{text}.{signature}")
}

/// What is signed of a token.
#[must_use]
pub fn unsigned(algorithm: &str, claims: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// User name and password that are good until then, as for a TURN server.
#[must_use]
pub fn ephemeral(secret: &str, until: u64, user: &str) -> (String, String) {
    let name = format!("{until}:{user}");
    let password = STANDARD.encode(hmac::<Sha1>(secret.as_bytes(), name.as_bytes()));
    (name, password)
}

/// RFC 2104, for keys of at most 64 bytes.
fn hmac<D: Digest>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded =
        |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or_default() ^ with).collect() };
    let inner = D::new().chain_update(padded(0x36)).chain_update(text).finalize();
    D::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3 and RFC 2202 §3, test case 2 of both.
    #[test]
    fn the_vectors_come_out() {
        let text = b"what do ya want for nothing?";
        assert_eq!(
            hex::encode(hmac::<Sha256>(b"Jefe", text)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(hex::encode(hmac::<Sha1>(b"Jefe", text)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }
}
