//! The two transforms, counter mode with HMAC-SHA1 (RFC 3711 §4) and AEAD (RFC 7714), on one packet in place.

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

/// The session keys of one direction for RTP, or those for RTCP.
pub(super) enum Transform {
    /// Counter mode and HMAC-SHA1.
    Cm { key: Box<EncryptingKey>, salt: [u8; 14], mac: HmacSha1, tag_len: usize },
    /// Galois/Counter mode.
    Gcm { key: LessSafeKey, salt: [u8; 12] },
}

impl Transform {
    /// The session keys for RTP.
    pub(super) fn for_rtp(master: &MasterKey) -> Self {
        let labels = [Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt];
        let tag_len = if master.profile() == Profile::Aes128CmHmacSha1_32 { 4 } else { 10 };
        Self::derive(master, labels, tag_len)
    }

    /// The session keys for RTCP; its tag has 80 bits in both counter mode profiles.
    pub(super) fn for_rtcp(master: &MasterKey) -> Self {
        Self::derive(master, [Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt], 10)
    }

    fn derive(master: &MasterKey, [encryption, authentication, salting]: [Label; 3], tag_len: usize) -> Self {
        let mut key = [0; 32];
        let key = &mut key[..master.profile().key_len()];
        master.derive(encryption, key);
        let transform = match master.profile() {
            Profile::Aes128CmHmacSha1_80 | Profile::Aes128CmHmacSha1_32 => {
                let mut salt = [0; 14];
                master.derive(salting, &mut salt);
                let mut mac_key = [0; DIGEST_LEN];
                master.derive(authentication, &mut mac_key);
                let mac = HmacSha1::new(&mac_key);
                mac_key.zeroize();
                Self::Cm { key: Box::new(counter_mode(key)), salt, mac, tag_len }
            }
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                let mut salt = [0; 12];
                master.derive(salting, &mut salt);
                let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
                let unbound =
                    UnboundKey::new(algorithm, key).expect("the length of an AES key comes from its profile");
                Self::Gcm { key: LessSafeKey::new(unbound), salt }
            }
        };
        key.zeroize();
        transform
    }

    /// Octets added to an RTP packet.
    const fn tag_len(&self) -> usize {
        match self {
            Self::Cm { tag_len, .. } => *tag_len,
            Self::Gcm { .. } => GCM_TAG,
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
            Self::Cm { key, salt, mac, .. } => {
                apply_counter_mode(key, counter(salt, ssrc, index), &mut data[header_len..]);
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
            Self::Cm { key, salt, mac, .. } => {
                check_cut(&mac.digest(data, &rollover_counter(index)), tag)?;
                apply_counter_mode(key, counter(salt, ssrc, index), &mut data[header_len..]);
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
        let word = (ENCRYPTED | index).to_be_bytes();
        packet.grow(self.tag_len() + RTCP_INDEX)?;
        let (data, trailer) = packet.as_mut_slice().split_at_mut(plain_len);
        match self {
            Self::Cm { key, salt, mac, .. } => {
                apply_counter_mode(key, counter(salt, ssrc, u64::from(index)), &mut data[RTCP_CLEAR..]);
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
    /// A packet without the E flag is refused: no profile spoken here turns encryption off.
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
        if word & ENCRYPTED == 0 { Err(Error::Unencrypted) } else { Ok(word & !ENCRYPTED) }
    }

    /// Authenticates and decrypts a compound RTCP packet that [`Transform::rtcp_index`] accepted, and removes tag and
    /// index. After an error the content is unspecified.
    pub(super) fn unprotect_rtcp(&self, packet: &mut Packet, ssrc: u32, index: u32) -> Result<(), Error> {
        let plain_len = packet.len().checked_sub(self.tag_len() + RTCP_INDEX).ok_or(Error::Malformed)?;
        if plain_len < RTCP_CLEAR {
            return Err(Error::Malformed);
        }
        let word = (ENCRYPTED | index).to_be_bytes();
        let (data, trailer) = packet.as_mut_slice().split_at_mut(plain_len);
        match self {
            Self::Cm { key, salt, mac, .. } => {
                check_cut(&mac.digest(data, &word), &trailer[RTCP_INDEX..])?;
                apply_counter_mode(key, counter(salt, ssrc, u64::from(index)), &mut data[RTCP_CLEAR..]);
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
