//! The two transforms, a stream cipher with HMAC-SHA1 (RFC 3711 §4) and AEAD (RFC 7714), on one packet in place.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroize;

use super::hmac::{DIGEST_LEN, HmacSha1};
use super::key::{Label, MasterKey, apply_counter_mode, counter_mode};
use super::{Error, Profile};
use crate::packet::{Full, Packet};

/// Octets of the GCM tag (RFC 7714 §13.1).
const GCM_TAG: usize = 16;
/// Octets of an RTCP header with its sender's SSRC, which stay in the clear (RFC 3711 §3.4).
const RTCP_CLEAR: usize = 8;
/// Octets of the E flag and the SRTCP index.
const RTCP_INDEX: usize = 4;
/// The E flag: the packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED: u32 = 0x8000_0000;

/// What encrypts under HMAC-SHA1.
pub(super) enum Cipher {
    /// Counter mode (RFC 3711 §4.1.1, RFC 6188).
    Counter(Box<EncryptingKey>),
    /// f8 mode (RFC 3711 §4.1.2): the key, and the key masked with the salt.
    F8 { key: Box<EncryptingKey>, masked: Box<EncryptingKey> },
    /// None (RFC 3711 §4.1.3).
    Null,
}

/// The session keys of one direction for RTP, or those for RTCP.
pub(super) enum Transform {
    /// A stream cipher and HMAC-SHA1; `flag` is the E flag of SRTCP.
    Cm { cipher: Cipher, salt: [u8; 14], mac: HmacSha1, tag_len: usize, flag: u32 },
    /// Galois/Counter mode.
    Gcm { key: LessSafeKey, salt: [u8; 12] },
}

impl Transform {
    /// The session keys for RTP.
    pub(super) fn for_rtp(master: &MasterKey) -> Self {
        let labels = [Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt];
        let without = master.without();
        let tag_len = if without.rtp_authentication { 0 } else { master.profile().rtp_overhead() };
        Self::derive(master, labels, tag_len, !without.rtp_encryption)
    }

    /// The session keys for RTCP; with HMAC-SHA1 its tag always has 80 bits.
    pub(super) fn for_rtcp(master: &MasterKey) -> Self {
        let labels = [Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt];
        Self::derive(master, labels, 10, !master.without().rtcp_encryption)
    }

    fn derive(
        master: &MasterKey,
        [encryption, authentication, salting]: [Label; 3],
        tag_len: usize,
        encrypted: bool,
    ) -> Self {
        let mut key = [0; 32];
        let key = &mut key[..master.profile().key_len()];
        master.derive(encryption, key);
        let transform = match master.profile() {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                let mut salt = [0; 12];
                master.derive(salting, &mut salt);
                let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
                let unbound =
                    UnboundKey::new(algorithm, key).expect("the length of an AES key comes from its profile");
                Self::Gcm { key: LessSafeKey::new(unbound), salt }
            }
            profile => {
                let mut salt = [0; 14];
                master.derive(salting, &mut salt);
                let mut mac_key = [0; DIGEST_LEN];
                master.derive(authentication, &mut mac_key);
                let mac = HmacSha1::new(&mac_key);
                mac_key.zeroize();
                let cipher = if encrypted { Cipher::new(profile, key, &salt) } else { Cipher::Null };
                Self::Cm { cipher, salt, mac, tag_len, flag: if encrypted { ENCRYPTED } else { 0 } }
            }
        };
        key.zeroize();
        transform
    }

    /// The E flag of SRTCP (RFC 3711 §3.4).
    const fn flag(&self) -> u32 {
        match self {
            Self::Cm { flag, .. } => *flag,
            Self::Gcm { .. } => ENCRYPTED,
        }
    }

    /// Octets added to an RTP packet.
    const fn tag_len(&self) -> usize {
        match self {
            Self::Cm { tag_len, .. } => *tag_len,
            Self::Gcm { .. } => GCM_TAG,
        }
    }

    /// Octets behind the identifier of the key: of HMAC-SHA1 the tag (RFC 3711 §3.1), of GCM none (RFC 7714 §8.2).
    pub(super) const fn behind_mki(&self) -> usize {
        match self {
            Self::Cm { tag_len, .. } => *tag_len,
            Self::Gcm { .. } => 0,
        }
    }

    /// Encrypts an RTP packet behind its header of `header_len` octets and adds the tag.
    pub(super) fn protect_rtp(
        &self,
        packet: &mut Packet,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), Full> {
        let plain_len = packet.len();
        packet.grow(self.tag_len())?;
        let (data, tag) = packet.as_mut_slice().split_at_mut(plain_len);
        match self {
            Self::Cm { cipher, salt, mac, .. } => {
                cipher.apply_rtp(data, header_len, salt, ssrc, index);
                copy_cut(&mac.digest(data, &rollover_counter(index)), tag);
            }
            Self::Gcm { key, salt } => {
                let (header, payload) = data.split_at_mut(header_len);
                seal(key, nonce(salt, ssrc, index), header, payload, tag);
            }
        }
        Ok(())
    }

    /// Authenticates and decrypts an RTP packet and removes the tag. After an error the content is unspecified.
    pub(super) fn unprotect_rtp(
        &self,
        packet: &mut Packet,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), Error> {
        let plain_len = packet.len().checked_sub(self.tag_len()).filter(|len| *len >= header_len);
        let plain_len = plain_len.ok_or(Error::Malformed)?;
        let (data, tag) = packet.as_mut_slice().split_at_mut(plain_len);
        match self {
            Self::Cm { cipher, salt, mac, .. } => {
                check_cut(&mac.digest(data, &rollover_counter(index)), tag)?;
                cipher.apply_rtp(data, header_len, salt, ssrc, index);
            }
            Self::Gcm { key, salt } => {
                let (header, payload) = data.split_at_mut(header_len);
                open(key, nonce(salt, ssrc, index), header, payload, tag)?;
            }
        }
        packet.truncate(plain_len);
        Ok(())
    }

    /// Encrypts a compound RTCP packet, whose first 8 octets must be there, and adds tag and index.
    pub(super) fn protect_rtcp(&self, packet: &mut Packet, ssrc: u32, index: u32) -> Result<(), Full> {
        let plain_len = packet.len();
        let word = (self.flag() | index).to_be_bytes();
        packet.grow(self.tag_len() + RTCP_INDEX)?;
        let (data, trailer) = packet.as_mut_slice().split_at_mut(plain_len);
        match self {
            Self::Cm { cipher, salt, mac, .. } => {
                cipher.apply_rtcp(data, salt, ssrc, index, word);
                let (index, tag) = trailer.split_at_mut(RTCP_INDEX);
                index.copy_from_slice(&word);
                copy_cut(&mac.digest(data, &word), tag);
            }
            Self::Gcm { key, salt } => {
                let (header, payload) = data.split_at_mut(RTCP_CLEAR);
                let (tag, index_word) = trailer.split_at_mut(GCM_TAG);
                index_word.copy_from_slice(&word);
                seal(key, nonce(salt, ssrc, u64::from(index)), &aad(header, word), payload, tag);
            }
        }
        Ok(())
    }

    /// The SRTCP index that `packet` carries.
    ///
    /// A packet whose E flag says otherwise than was agreed is refused.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, Error> {
        let trailer = self.tag_len() + RTCP_INDEX;
        let trailer =
            packet.len().checked_sub(trailer).filter(|plain| *plain >= RTCP_CLEAR).map(|at| &packet[at..]);
        let trailer = trailer.ok_or(Error::Malformed)?;
        let word = match self {
            Self::Cm { .. } => trailer.first_chunk(),
            Self::Gcm { .. } => trailer.last_chunk(),
        };
        let word = u32::from_be_bytes(*word.ok_or(Error::Malformed)?);
        if word & ENCRYPTED != self.flag() { Err(Error::Unencrypted) } else { Ok(word & !ENCRYPTED) }
    }

    /// Authenticates and decrypts a compound RTCP packet that [`Transform::rtcp_index`] accepted, and removes tag and
    /// index. After an error the content is unspecified.
    pub(super) fn unprotect_rtcp(&self, packet: &mut Packet, ssrc: u32, index: u32) -> Result<(), Error> {
        let plain_len = packet.len().checked_sub(self.tag_len() + RTCP_INDEX).ok_or(Error::Malformed)?;
        if plain_len < RTCP_CLEAR {
            return Err(Error::Malformed);
        }
        let word = (self.flag() | index).to_be_bytes();
        let (data, trailer) = packet.as_mut_slice().split_at_mut(plain_len);
        match self {
            Self::Cm { cipher, salt, mac, .. } => {
                check_cut(&mac.digest(data, &word), &trailer[RTCP_INDEX..])?;
                cipher.apply_rtcp(data, salt, ssrc, index, word);
            }
            Self::Gcm { key, salt } => {
                let (header, payload) = data.split_at_mut(RTCP_CLEAR);
                let nonce = nonce(salt, ssrc, u64::from(index));
                open(key, nonce, &aad(header, word), payload, &trailer[..GCM_TAG])?;
            }
        }
        packet.truncate(plain_len);
        Ok(())
    }
}

impl Drop for Transform {
    fn drop(&mut self) {
        // The keys themselves are wiped by their own types.
        match self {
            Self::Cm { salt, .. } => salt.zeroize(),
            Self::Gcm { salt, .. } => salt.zeroize(),
        }
    }
}

impl Cipher {
    fn new(profile: Profile, key: &[u8], salt: &[u8; 14]) -> Self {
        match profile {
            Profile::NullHmacSha1_80 | Profile::NullHmacSha1_32 => Self::Null,
            Profile::F8HmacSha1_80 | Profile::F8HmacSha1_32 => {
                // RFC 3711 §4.1.2.1: the salt, filled up with 0x55.
                let mut masked = [0x55; 16];
                masked[..salt.len()].copy_from_slice(salt);
                masked.iter_mut().zip(key).for_each(|(mask, key)| *mask ^= key);
                let it =
                    Self::F8 { key: Box::new(counter_mode(key)), masked: Box::new(counter_mode(&masked)) };
                masked.zeroize();
                it
            }
            _ => Self::Counter(Box::new(counter_mode(key))),
        }
    }

    /// Encrypts or decrypts an RTP packet behind its header; `index` is rollover counter and sequence number.
    fn apply_rtp(&self, packet: &mut [u8], header_len: usize, salt: &[u8; 14], ssrc: u32, index: u64) {
        let Some((header, payload)) = packet.split_at_mut_checked(header_len) else { return };
        match self {
            Self::Counter(key) => apply_counter_mode(key, counter(salt, ssrc, index), payload),
            Self::F8 { key, masked } => {
                // RFC 3711 §4.1.2.2: the fixed header without its first octet, and the rollover counter.
                let mut iv = [0; 16];
                iv[1..12].copy_from_slice(&header[1..12]);
                iv[12..].copy_from_slice(&rollover_counter(index));
                apply_f8(key, masked, iv, payload);
            }
            Self::Null => {}
        }
    }

    /// Encrypts or decrypts an RTCP packet behind its first 8 octets; `word` is E flag and index.
    fn apply_rtcp(&self, packet: &mut [u8], salt: &[u8; 14], ssrc: u32, index: u32, word: [u8; 4]) {
        let Some((header, payload)) = packet.split_at_mut_checked(RTCP_CLEAR) else { return };
        match self {
            Self::Counter(key) => apply_counter_mode(key, counter(salt, ssrc, u64::from(index)), payload),
            Self::F8 { key, masked } => {
                // RFC 3711 §4.1.2.3.
                let mut iv = [0; 16];
                iv[4..8].copy_from_slice(&word);
                iv[8..].copy_from_slice(header);
                apply_f8(key, masked, iv, payload);
            }
            Self::Null => {}
        }
    }
}

/// One block through AES: the first block of the key stream that begins at it.
fn encrypt_block(key: &EncryptingKey, block: [u8; 16]) -> [u8; 16] {
    let mut out = [0; 16];
    apply_counter_mode(key, block, &mut out);
    out
}

/// Adds the f8 key stream of RFC 3711 §4.1.2.1 to `data`.
fn apply_f8(key: &EncryptingKey, masked: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) {
    let iv = u128::from_be_bytes(encrypt_block(masked, iv));
    let mut stream = 0;
    for (number, block) in (0..).zip(data.chunks_mut(16)) {
        let next = encrypt_block(key, (iv ^ number ^ stream).to_be_bytes());
        block.iter_mut().zip(next).for_each(|(octet, key)| *octet ^= key);
        stream = u128::from_be_bytes(next);
    }
}

/// The initial counter block: (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16), RFC 3711 §4.1.1.
fn counter(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    let mixed = u128::from_be_bytes(iv) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
    mixed.to_be_bytes()
}

/// The nonce of RFC 7714 §8.1 (RTP: rollover counter and sequence number are the index) and §9.1 (RTCP).
fn nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut iv = *salt;
    iv[2..6].iter_mut().zip(ssrc.to_be_bytes()).for_each(|(v, s)| *v ^= s);
    iv[6..].iter_mut().zip(&index.to_be_bytes()[2..]).for_each(|(v, i)| *v ^= i);
    Nonce::assume_unique_for_key(iv)
}

/// The rollover counter, which is authenticated though not sent (RFC 3711 §4.2).
fn rollover_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// What RFC 7714 §9.2 authenticates of an encrypted RTCP packet: its first 8 octets, and E flag with index.
fn aad(header: &[u8], word: [u8; 4]) -> [u8; RTCP_CLEAR + RTCP_INDEX] {
    let mut aad = [0; RTCP_CLEAR + RTCP_INDEX];
    aad[..RTCP_CLEAR].copy_from_slice(header);
    aad[RTCP_CLEAR..].copy_from_slice(&word);
    aad
}

/// Copies as much of the digest as the tag has room for.
fn copy_cut(digest: &[u8; DIGEST_LEN], tag: &mut [u8]) {
    tag.copy_from_slice(&digest[..tag.len()]);
}

fn check_cut(digest: &[u8; DIGEST_LEN], tag: &[u8]) -> Result<(), Error> {
    verify_slices_are_equal(&digest[..tag.len()], tag).map_err(|_| Error::Authentication)
}

fn seal(key: &LessSafeKey, nonce: Nonce, aad: &[u8], payload: &mut [u8], tag: &mut [u8]) {
    // Fails only for more than 2^36 octets, which no packet has; were it to, nothing in the clear may leave.
    match key.seal_in_place_separate_tag(nonce, Aad::from(aad), payload) {
        Ok(sealed) => tag.copy_from_slice(sealed.as_ref()),
        Err(_) => payload.fill(0),
    }
}

fn open(key: &LessSafeKey, nonce: Nonce, aad: &[u8], payload: &mut [u8], tag: &[u8]) -> Result<(), Error> {
    key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, payload)
        .map(|_plain| ())
        .map_err(|_| Error::Authentication)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.1, whose salt of 32 bits is filled up as the mask is.
    #[test]
    fn f8_mode_of_rfc_3711() {
        let key = hex::decode("234829008467be186c3de14aae72d62c").unwrap();
        let mut salt = [0x55; 14];
        salt[..4].copy_from_slice(&hex::decode("32f2870d").unwrap());
        let cipher = Cipher::new(Profile::F8HmacSha1_80, &key, &salt);
        let mut packet = hex::decode("806e5cba50681de55c621599").unwrap();
        packet.extend_from_slice(b"pseudorandomness is the next best thing");
        let plain = packet.clone();
        cipher.apply_rtp(&mut packet, 12, &salt, 0x5c62_1599, 0xd462_564a << 16 | 0x5cba);
        assert_eq!(
            hex::encode(&packet[12..]),
            "019ce7a26e7854014a6366aa95d4eefd1ad4172a14f9faf455b7f1d4b62bd08f562c0eef7c4802"
        );
        cipher.apply_rtp(&mut packet, 12, &salt, 0x5c62_1599, 0xd462_564a << 16 | 0x5cba);
        assert_eq!(packet, plain);
    }
}
