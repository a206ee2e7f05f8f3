//! The protection profiles that are spoken, with their numbers and names.

/// How a stream is encrypted and authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// AES-128 in counter mode, HMAC-SHA1 cut to 80 bits (RFC 3711, RFC 4568 §6.2.1).
    Aes128CmHmacSha1_80,
    /// The same with 32 bits on RTP; SRTCP keeps 80 (RFC 4568 §6.2.2, RFC 5764 §4.1.2).
    Aes128CmHmacSha1_32,
    /// AES-128 in Galois/Counter mode (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois/Counter mode (RFC 7714).
    AeadAes256Gcm,
    /// AES-192 in counter mode with 80 bits (RFC 6188).
    Aes192CmHmacSha1_80,
    /// The same with 32 bits on RTP.
    Aes192CmHmacSha1_32,
    /// AES-256 in counter mode with 80 bits (RFC 6188).
    Aes256CmHmacSha1_80,
    /// The same with 32 bits on RTP.
    Aes256CmHmacSha1_32,
    /// AES-128 in f8 mode with 80 bits (RFC 3711 §4.1.2, RFC 4568 §6.2.3).
    F8HmacSha1_80,
    /// The same with 32 bits on RTP.
    F8HmacSha1_32,
    /// Authenticated only (RFC 3711 §4.1.3): for controllers that ask for it, and offered last.
    NullHmacSha1_80,
    /// The same with 32 bits on RTP.
    NullHmacSha1_32,
}

impl Profile {
    /// The profiles of DTLS-SRTP, the cheapest and strongest first: the order in which they are offered.
    pub const DTLS: [Self; 4] =
        [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmHmacSha1_80, Self::Aes128CmHmacSha1_32];

    /// All profiles, which are those of SDES, in rtpengine's order.
    pub const ALL: [Self; 12] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes256CmHmacSha1_80,
        Self::Aes256CmHmacSha1_32,
        Self::Aes192CmHmacSha1_80,
        Self::Aes192CmHmacSha1_32,
        Self::Aes128CmHmacSha1_80,
        Self::Aes128CmHmacSha1_32,
        Self::F8HmacSha1_80,
        Self::F8HmacSha1_32,
        Self::NullHmacSha1_80,
        Self::NullHmacSha1_32,
    ];

    /// Octets of the master key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 => 32,
            Self::Aes192CmHmacSha1_80 | Self::Aes192CmHmacSha1_32 => 24,
            _ => 16,
        }
    }

    /// Octets of the master salt.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Whether encryption and authentication are one (RFC 7714).
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }

    /// Octets that protection adds to an RTP packet.
    #[must_use]
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmHmacSha1_32
            | Self::Aes192CmHmacSha1_32
            | Self::Aes256CmHmacSha1_32
            | Self::F8HmacSha1_32
            | Self::NullHmacSha1_32 => 4,
            _ => 10,
        }
    }

    /// Octets that protection adds to an RTCP packet: the tag and the 4 octets of the SRTCP index.
    #[must_use]
    pub const fn rtcp_overhead(self) -> usize {
        if self.is_aead() { 16 + 4 } else { 10 + 4 }
    }

    /// Octets of keying material that the DTLS exporter is asked for (RFC 5764 §4.2): both keys, both salts.
    #[must_use]
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// The number in the `use_srtp` extension (RFC 5764 §4.1.2, RFC 7714 §14.2); `None` for those of SDES alone.
    #[must_use]
    pub const fn dtls_number(self) -> Option<u16> {
        Some(match self {
            Self::Aes128CmHmacSha1_80 => 0x0001,
            Self::Aes128CmHmacSha1_32 => 0x0002,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
            _ => return None,
        })
    }

    /// The inverse of [`Profile::dtls_number`].
    #[must_use]
    pub fn from_dtls_number(number: u16) -> Option<Self> {
        Self::DTLS.into_iter().find(|profile| profile.dtls_number() == Some(number))
    }

    /// The name in `a=crypto` (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.1).
    #[must_use]
    pub const fn sdes_name(self) -> &'static str {
        match self {
            Self::Aes128CmHmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmHmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::Aes192CmHmacSha1_80 => "AES_192_CM_HMAC_SHA1_80",
            Self::Aes192CmHmacSha1_32 => "AES_192_CM_HMAC_SHA1_32",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::F8HmacSha1_80 => "F8_128_HMAC_SHA1_80",
            Self::F8HmacSha1_32 => "F8_128_HMAC_SHA1_32",
            Self::NullHmacSha1_80 => "NULL_HMAC_SHA1_80",
            Self::NullHmacSha1_32 => "NULL_HMAC_SHA1_32",
        }
    }

    /// The inverse of [`Profile::sdes_name`], any case.
    #[must_use]
    pub fn from_sdes_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.sdes_name().eq_ignore_ascii_case(name))
    }
}
