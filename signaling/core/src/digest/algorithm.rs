//! The hashes of digest authentication (RFC 7616 §3.3, RFC 8760 §2.1).

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

use crate::message::digits::push_hex;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HashFunction {
    /// RFC 1321, obsolete, and all that most phones and JsSIP know.
    #[default]
    Md5,
    /// FIPS 180-4.
    Sha256,
    /// SHA-512/256 of FIPS 180-4; `SHA-512-256` in the registry.
    Sha512_256,
}

impl HashFunction {
    /// Lower-case hexadecimal hash of `parts` joined by colons.
    pub(super) fn hex(self, parts: &[&str]) -> String {
        match self {
            Self::Md5 => hex_of::<Md5>(parts),
            Self::Sha256 => hex_of::<Sha256>(parts),
            Self::Sha512_256 => hex_of::<Sha512_256>(parts),
        }
    }

    /// Length of a hash in hexadecimal digits (RFC 8760 §2.2).
    #[must_use]
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 | Self::Sha512_256 => 64,
        }
    }
}

fn hex_of<D: Digest>(parts: &[&str]) -> String {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    let hash = hash.finalize();
    let mut text = String::with_capacity(2 * hash.len());
    push_hex(&mut text, &hash);
    text
}

/// A value of the `algorithm` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Algorithm {
    /// The hash function.
    pub hash: HashFunction,
    /// The `-sess` variant: the key is hashed once more with the two nonces (RFC 7616 §3.4.2).
    pub session: bool,
}

impl Algorithm {
    /// `MD5`, the only one that JsSIP takes: it gives up on a challenge that names another.
    pub const MD5: Self = Self { hash: HashFunction::Md5, session: false };
    /// `MD5-sess`.
    pub const MD5_SESS: Self = Self { hash: HashFunction::Md5, session: true };
    /// `SHA-256`.
    pub const SHA_256: Self = Self { hash: HashFunction::Sha256, session: false };
    /// `SHA-256-sess`.
    pub const SHA_256_SESS: Self = Self { hash: HashFunction::Sha256, session: true };
    /// `SHA-512-256`.
    pub const SHA_512_256: Self = Self { hash: HashFunction::Sha512_256, session: false };
    /// `SHA-512-256-sess`.
    pub const SHA_512_256_SESS: Self = Self { hash: HashFunction::Sha512_256, session: true };

    /// All that are spoken.
    pub const ALL: [Self; 6] = [
        Self::MD5,
        Self::MD5_SESS,
        Self::SHA_256,
        Self::SHA_256_SESS,
        Self::SHA_512_256,
        Self::SHA_512_256_SESS,
    ];

    /// As in the registry of RFC 7616 §6.1.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match (self.hash, self.session) {
            (HashFunction::Md5, false) => "MD5",
            (HashFunction::Md5, true) => "MD5-sess",
            (HashFunction::Sha256, false) => "SHA-256",
            (HashFunction::Sha256, true) => "SHA-256-sess",
            (HashFunction::Sha512_256, false) => "SHA-512-256",
            (HashFunction::Sha512_256, true) => "SHA-512-256-sess",
        }
    }

    /// The inverse, without regard to case; an absent parameter means MD5 (RFC 7616 §3.3). `None` for an unknown one.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::MD5) };
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
    }
}
