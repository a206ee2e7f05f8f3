//! Master keys from DTLS and SDES, and the session keys derived from them (RFC 3711 §4.3, RFC 7714 §11).

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rand::Rng;
use zeroize::Zeroize;

use super::Profile;

const MAX_KEY: usize = 32;
const MAX_SALT: usize = 14;

/// Some phones leave the padding of RFC 4568 §9.2 out.
const SDES_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why keying material cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the length that the profile asks for.
    #[error("keying material has the wrong length for the profile")]
    Length,
    /// Not base64 (RFC 4648 §4).
    #[error("the inline key is not base64")]
    Base64,
}

/// Which end of the DTLS handshake this host was (RFC 5764 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// `a=setup:active`: it sends with the client write key.
    Client,
    /// `a=setup:passive`: it sends with the server write key.
    Server,
}

/// A master key and master salt with the profile they are for. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct MasterKey {
    profile: Profile,
    key: [u8; MAX_KEY],
    salt: [u8; MAX_SALT],
    /// The identifier that packets carry; empty for none.
    mki: Box<[u8]>,
    /// What is left out.
    without: Without,
}

/// Protection that both ends agreed to do without (RFC 4568 §6.3.2 and §6.3.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Without {
    /// `UNENCRYPTED_SRTP`.
    pub(super) rtp_encryption: bool,
    /// `UNENCRYPTED_SRTCP`.
    pub(super) rtcp_encryption: bool,
    /// `UNAUTHENTICATED_SRTP`.
    pub(super) rtp_authentication: bool,
}

impl MasterKey {
    fn blank(profile: Profile) -> Self {
        let (key, salt) = ([0; MAX_KEY], [0; MAX_SALT]);
        Self { profile, key, salt, mki: Box::default(), without: Without::default() }
    }

    /// A key and salt of exactly the profile's lengths.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return Err(KeyError::Length);
        }
        let mut this = Self::blank(profile);
        this.key[..key.len()].copy_from_slice(key);
        this.salt[..salt.len()].copy_from_slice(salt);
        Ok(this)
    }

    /// The two keys in what the DTLS exporter gave (RFC 5764 §4.2: client key, server key, client salt, server salt):
    /// first the one to send with, then the one to receive with.
    ///
    /// # Errors
    /// [`KeyError::Length`] when there are fewer than [`Profile::keying_material_len`] octets.
    pub fn from_dtls(profile: Profile, material: &[u8], role: DtlsRole) -> Result<(Self, Self), KeyError> {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        let keys = material.get(..2 * key).ok_or(KeyError::Length)?;
        let salts = material.get(2 * key..2 * (key + salt)).ok_or(KeyError::Length)?;
        let client = Self::new(profile, &keys[..key], &salts[..salt])?;
        let server = Self::new(profile, &keys[key..], &salts[salt..])?;
        Ok(match role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        })
    }

    /// The base64 part of `a=crypto:… inline:` (RFC 4568 §6.1: key and salt joined), without `|lifetime|MKI`.
    ///
    /// # Errors
    /// [`KeyError::Base64`] or [`KeyError::Length`].
    pub fn from_sdes(profile: Profile, inline: &str) -> Result<Self, KeyError> {
        // One octet more than the longest, so that a longer key is seen as such.
        let mut joined = [0; MAX_KEY + MAX_SALT + 1];
        if inline.len() > 64 {
            return Err(KeyError::Length);
        }
        let decoded = SDES_BASE64.decode_slice(inline, &mut joined).map_err(|error| match error {
            base64::DecodeSliceError::OutputSliceTooSmall => KeyError::Length,
            base64::DecodeSliceError::DecodeError(_) => KeyError::Base64,
        });
        let key = decoded.and_then(|len| {
            let (key, salt) = joined[..len].split_at_checked(profile.key_len()).ok_or(KeyError::Length)?;
            Self::new(profile, key, salt)
        });
        joined.zeroize();
        key
    }

    /// The same key with the identifier that RFC 4568 §6.1 writes as `VALUE:LENGTH`, which its packets carry (RFC 3711 §3.1).
    /// `None` for what is no such: a value that does not fit its length, or a length of more than 128 octets.
    #[must_use]
    pub fn with_mki(mut self, text: &str) -> Option<Self> {
        let (value, len) = text.split_once(':')?;
        let (value, len) = (value.parse::<u128>().ok()?, len.parse::<usize>().ok()?);
        if !(1..=128).contains(&len) {
            return None;
        }
        let octets = value.to_be_bytes();
        let (over, fits) = octets.split_at(octets.len().saturating_sub(len));
        if over.iter().any(|octet| *octet != 0) {
            return None;
        }
        let mut mki = vec![0; len - fits.len()];
        mki.extend_from_slice(fits);
        self.mki = mki.into();
        Some(self)
    }

    /// The same key under the session parameters of an `a=crypto` line. `None` where they want something that is not done here, as
    /// with AEAD, which has nothing to leave out.
    #[must_use]
    pub fn with_parameters<T: AsRef<str>>(mut self, parameters: &[T]) -> Option<Self> {
        for parameter in parameters {
            match parameter.as_ref() {
                "UNENCRYPTED_SRTP" => self.without.rtp_encryption = true,
                "UNENCRYPTED_SRTCP" => self.without.rtcp_encryption = true,
                "UNAUTHENTICATED_SRTP" => self.without.rtp_authentication = true,
                // RFC 4568 §6.3.6: advice about the size of the replay window.
                hint if hint.starts_with("WSH=") => {}
                _ => return None,
            }
        }
        let aead = matches!(self.profile, Profile::AeadAes128Gcm | Profile::AeadAes256Gcm);
        (!aead || self.without == Without::default()).then_some(self)
    }

    /// What is left out.
    pub(super) const fn without(&self) -> Without {
        self.without
    }

    /// The identifier that packets carry; empty for none.
    #[must_use]
    pub fn mki(&self) -> &[u8] {
        &self.mki
    }

    /// A fresh key for `a=crypto`; `rng` must be a cryptographic one.
    pub fn generate(profile: Profile, rng: &mut impl Rng) -> Self {
        let mut this = Self::blank(profile);
        rng.fill_bytes(&mut this.key[..profile.key_len()]);
        rng.fill_bytes(&mut this.salt[..profile.salt_len()]);
        this
    }

    /// The base64 form of [`MasterKey::from_sdes`], with padding. It is a secret.
    #[must_use]
    pub fn to_sdes(&self) -> String {
        let mut joined = [0; MAX_KEY + MAX_SALT];
        let (key, salt) = (self.profile.key_len(), self.profile.salt_len());
        joined[..key].copy_from_slice(&self.key[..key]);
        joined[key..key + salt].copy_from_slice(&self.salt[..salt]);
        let inline = SDES_BASE64.encode(&joined[..key + salt]);
        joined.zeroize();
        inline
    }

    /// The profile that the key is for.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Master key and master salt, for the oracle.
    #[cfg(test)]
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.key[..self.profile.key_len()], &self.salt[..self.profile.salt_len()])
    }

    /// Whether both are the same key for the same profile; takes the same time wherever they differ.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        use aws_lc_rs::constant_time::verify_slices_are_equal as same;
        let key = same(&self.key, &other.key).is_ok();
        let salt = same(&self.salt, &other.salt).is_ok();
        let agreed = (self.profile, &self.mki, self.without) == (other.profile, &other.mki, other.without);
        agreed && key && salt
    }

    /// Fills `out` (at most 32 octets) with the key stream of AES-CM that RFC 3711 §4.3.3 and RFC 6188 §3 take session
    /// keys from, at a key derivation rate of 0. A 96-bit salt stands left of two zero octets (RFC 7714 §11).
    pub(super) fn derive(&self, label: Label, out: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..MAX_SALT].copy_from_slice(&self.salt);
        iv[7] ^= label as u8;
        out.fill(0);
        let master = counter_mode(&self.key[..self.profile.key_len()]);
        apply_counter_mode(&master, iv, out);
        iv.zeroize();
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// What a session key is for (RFC 3711 §4.3.2).
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// AES in counter mode, with the key schedule made once. `key` is 16, 24 or 32 octets, by construction of the callers.
pub(super) fn counter_mode(key: &[u8]) -> EncryptingKey {
    let algorithm = match key.len() {
        32 => &AES_256,
        24 => &AES_192,
        _ => &AES_128,
    };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .expect("the length of an AES key comes from its profile")
}

/// Adds the key stream that begins at `iv` to `data`.
pub(super) fn apply_counter_mode(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    // Counter mode takes every length, and the context is the one it asks for: it cannot fail.
    let done = key.less_safe_encrypt(data, context);
    debug_assert!(done.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn derives_the_session_keys_of_rfc_3711() {
        let key = hex::decode("e1f97a0d3e018be0d64fa32c06de4139").unwrap();
        let salt = hex::decode("0ec675ad498afeebb6960b3aabe6").unwrap();
        let master = MasterKey::new(Profile::Aes128CmHmacSha1_80, &key, &salt).unwrap();
        for (label, expected) in [
            (Label::RtpEncryption, "c61e7a93744f39ee10734afe3ff7a087"),
            (Label::RtpSalt, "30cbbc08863d8c85d49db34a9ae1"),
            (Label::RtpAuthentication, "cebe321f6ff7716b6fd4ab49af256a156d38baa4"),
        ] {
            let mut out = vec![0xaa; expected.len() / 2];
            master.derive(label, &mut out);
            assert_eq!(hex::encode(out), expected, "{label:?}");
        }
    }

    /// RFC 3711 appendix B.2: the key stream at the beginning and around the last block.
    #[test]
    fn counter_mode_of_rfc_3711() {
        let key = counter_mode(&hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap());
        let mut iv: [u8; 16] = hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000").unwrap().try_into().unwrap();
        let mut stream = [0; 48];
        apply_counter_mode(&key, iv, &mut stream);
        assert_eq!(
            hex::encode(stream),
            "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
        );
        iv[14..].copy_from_slice(&0xfeffu16.to_be_bytes());
        let mut stream = [0; 48];
        apply_counter_mode(&key, iv, &mut stream);
        assert_eq!(
            hex::encode(stream),
            "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44"
        );
    }

    /// RFC 6188 §7.2: the AES-256 key derivation, which AEAD_AES_256_GCM uses with a shorter salt.
    #[test]
    fn derives_with_a_256_bit_key() {
        let key = hex::decode("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6").unwrap();
        let salt: [u8; 14] = hex::decode("3b04803de51ee7c96423ab5b78d2").unwrap().try_into().unwrap();
        let mut master = MasterKey::new(Profile::AeadAes256Gcm, &key, &salt[..12]).unwrap();
        master.salt = salt;
        let mut out = [0; 32];
        master.derive(Label::RtpEncryption, &mut out);
        assert_eq!(hex::encode(out), "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4");
        let mut out = [0; 14];
        master.derive(Label::RtpSalt, &mut out);
        assert_eq!(hex::encode(out), "fa31791685ca444a9e07c6c64e93");
    }

    #[test]
    fn splits_the_dtls_material_by_role() {
        for profile in Profile::ALL {
            let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
            let (key, salt) = (profile.key_len(), profile.salt_len());
            let client =
                MasterKey::new(profile, &material[..key], &material[2 * key..2 * key + salt]).unwrap();
            let (send, receive) = MasterKey::from_dtls(profile, &material, DtlsRole::Client).unwrap();
            assert!(send.is_same(&client) && !receive.is_same(&client));
            let (send, receive) = MasterKey::from_dtls(profile, &material, DtlsRole::Server).unwrap();
            assert!(receive.is_same(&client) && !send.is_same(&client));
            for len in 0..material.len() {
                assert!(MasterKey::from_dtls(profile, &material[..len], DtlsRole::Client).is_err());
            }
        }
    }

    #[test]
    fn sdes_keys_survive_the_round_trip() {
        // RFC 4568 §6.1's example key.
        let inline = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
        let key = MasterKey::from_sdes(Profile::Aes128CmHmacSha1_80, inline).unwrap();
        assert_eq!(key.to_sdes(), inline);
        assert_eq!(MasterKey::from_sdes(Profile::AeadAes128Gcm, inline).unwrap_err(), KeyError::Length);
        let mut rng = super::super::tests::rng(1);
        for profile in Profile::ALL {
            let key = MasterKey::generate(profile, &mut rng);
            let inline = key.to_sdes();
            assert!(MasterKey::from_sdes(profile, &inline).unwrap().is_same(&key));
            assert!(MasterKey::from_sdes(profile, inline.trim_end_matches('=')).unwrap().is_same(&key));
            assert!(MasterKey::from_sdes(profile, &inline[1..]).is_err());
        }
        for bad in ["", "=", "not base64 at all!", &"A".repeat(62), &"A".repeat(64), &"A".repeat(70_000)] {
            assert!(MasterKey::from_sdes(Profile::AeadAes256Gcm, bad).is_err(), "{} octets", bad.len());
        }
    }

    #[test]
    fn identifiers_of_rfc_4568() {
        let key = |mki: &str| {
            MasterKey::generate(Profile::AeadAes128Gcm, &mut super::super::tests::rng(2)).with_mki(mki)
        };
        assert_eq!(key("1:4").unwrap().mki(), [0, 0, 0, 1]);
        assert_eq!(key("258:2").unwrap().mki(), [1, 2]);
        assert_eq!(key("1:32").unwrap().mki().len(), 32);
        assert!(!key("1:4").unwrap().is_same(&key("2:4").unwrap()));
        for bad in ["", "1", "1:0", "1:129", "256:1", "-1:4", "x:4", "1:x"] {
            assert!(key(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let key = MasterKey::generate(Profile::AeadAes128Gcm, &mut super::super::tests::rng(2));
        assert_eq!(format!("{key:?}"), "MasterKey { profile: AeadAes128Gcm, .. }");
    }
}
