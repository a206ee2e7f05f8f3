//! The key of this installation and what is made with it: seals that nobody else can set, and texts that nobody else can
//! read. Nothing is kept for either, so that handing them out costs no memory.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes of a seal within a wrapped text: forging one takes 2^79 tries on average.
const TAG: usize = 10;

/// A key that all workers share and that outlives a restart. Never logged.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Another key for another purpose, from which this one cannot be found.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        let mut key = [0; 32];
        for (half, number) in key.chunks_mut(16).zip([b"0", b"1"]) {
            half.copy_from_slice(&self.seal("derive", [purpose.as_bytes(), number]));
        }
        Self(key)
    }

    /// A hash of `parts` that only the owner of the key can make; `label` keeps its uses apart. It is half of a SHA-256,
    /// which gives away no state to go on from.
    #[must_use]
    pub fn seal<'a>(&self, label: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        for part in std::iter::once(label.as_bytes()).chain(parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut seal = [0; 16];
        seal.copy_from_slice(&hash.finalize()[..16]);
        seal
    }

    /// `plain` enciphered and sealed, in the letters of a SIP user part (URL-safe base64). The seal is the cipher's
    /// starting value (as in RFC 5297), so equal texts give equal ones: put something random in front where that tells.
    #[must_use]
    pub fn wrap(&self, label: &str, plain: &[u8]) -> String {
        let tag = self.seal(label, [plain]);
        let mut text = tag[..TAG].to_vec();
        text.extend_from_slice(plain);
        let (tag, body) = text.split_at_mut(TAG);
        self.cipher(label, tag, body);
        URL_SAFE_NO_PAD.encode(&text)
    }

    /// What [`Secret::wrap`] was given; `None` for anything that it did not make.
    #[must_use]
    pub fn unwrap(&self, label: &str, text: &str) -> Option<Vec<u8>> {
        let mut text = URL_SAFE_NO_PAD.decode(text).ok().filter(|text| text.len() >= TAG)?;
        let mut plain = text.split_off(TAG);
        self.cipher(label, &text, &mut plain);
        let tag = self.seal(label, [plain.as_slice()]);
        bool::from(tag[..TAG].ct_eq(&text)).then_some(plain)
    }

    /// Adds the key stream of `tag`; doing it twice undoes it.
    fn cipher(&self, label: &str, tag: &[u8], body: &mut [u8]) {
        for (number, block) in body.chunks_mut(16).enumerate() {
            let number = (number as u64).to_be_bytes();
            let stream = self.seal("stream", [label.as_bytes(), tag, &number]);
            block.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_is_unwrapped_by_the_same_key_and_label() {
        let (secret, other) = (Secret([1; 32]), Secret([2; 32]));
        for length in [0, 1, 15, 16, 17, 200] {
            let plain = vec![0x61; length];
            let text = secret.wrap("gruu", &plain);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            assert_eq!(secret.unwrap("gruu", &text), Some(plain), "{length}");
            assert_eq!(secret.unwrap("flow", &text), None);
            assert_eq!(other.unwrap("gruu", &text), None);
        }
    }

    #[test]
    fn no_changed_text_is_taken() {
        let secret = Secret([1; 32]);
        let text = secret.wrap("gruu", b"alice@sip.example");
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("text");
            assert_eq!(secret.unwrap("gruu", &other), None, "{at}");
            assert_eq!(secret.unwrap("gruu", &text[..at]), None, "{at}");
        }
        assert_eq!(format!("{secret:?}"), "Secret", "no log shows it");
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        let secret = Secret([1; 32]);
        let seal = |parts: [&[u8]; 2]| secret.seal("x", parts);
        assert_ne!(seal([b"ab", b"c"]), seal([b"a", b"bc"]));
        assert_eq!(seal([b"ab", b"c"]), seal([b"ab", b"c"]));
        assert_ne!(secret.derive("a"), secret.derive("b"));
        assert_eq!(secret.derive("a"), secret.derive("a"));
    }
}
