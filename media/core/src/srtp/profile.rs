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
}

impl Profile {
    /// All profiles, the cheapest and strongest first: the order in which they are offered.
    pub const ALL: [Self; 4] =
        [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmHmacSha1_80, Self::Aes128CmHmacSha1_32];

    /// Octets of the master key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::Aes128CmHmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of the master salt.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::Aes128CmHmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Octets that protection adds to an RTP packet.
    #[must_use]
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 => 10,
            Self::Aes128CmHmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Octets that protection adds to an RTCP packet: the tag and the 4 octets of the SRTCP index.
    #[must_use]
    pub const fn rtcp_overhead(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::Aes128CmHmacSha1_32 => 10 + 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16 + 4,
        }
    }

    /// Octets of keying material that the DTLS exporter is asked for (RFC 5764 §4.2): both keys, both salts.
    #[must_use]
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// The number in the `use_srtp` extension (RFC 5764 §4.1.2, RFC 7714 §14.2).
    #[must_use]
    pub const fn dtls_number(self) -> u16 {
        match self {
            Self::Aes128CmHmacSha1_80 => 0x0001,
            Self::Aes128CmHmacSha1_32 => 0x0002,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// The inverse of [`Profile::dtls_number`].
    #[must_use]
    pub fn from_dtls_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.dtls_number() == number)
    }

    /// The name in `a=crypto` (RFC 4568 §6.2, RFC 7714 §14.1).
    #[must_use]
    pub const fn sdes_name(self) -> &'static str {
        match self {
            Self::Aes128CmHmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmHmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The inverse of [`Profile::sdes_name`], any case.
    #[must_use]
    pub fn from_sdes_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.sdes_name().eq_ignore_ascii_case(name))
    }
}
