//! HMAC-SHA1 (RFC 2104) with the two padded key blocks hashed once, when the key is set: a tag then costs the blocks of
//! the packet and one more.

use sha1::block_api::compress;
use zeroize::Zeroize;

const BLOCK: usize = 64;
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// Octets of a whole SHA-1 digest.
pub(super) const DIGEST_LEN: usize = 20;

/// A keyed HMAC-SHA1.
pub(super) struct HmacSha1 {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl HmacSha1 {
    /// `key` is at most one block (64 octets); SRTP's is 20 (RFC 3711 §5.2).
    pub(super) fn new(key: &[u8; DIGEST_LEN]) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            let mut state = INITIAL;
            compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The digest of `data` followed by `suffix` (at most 4 octets: the rollover counter of RFC 3711 §4.2).
    pub(super) fn digest(&self, data: &[u8], suffix: &[u8]) -> [u8; DIGEST_LEN] {
        debug_assert!(suffix.len() <= 4);
        let mut state = self.inner;
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        compress(&mut state, blocks);

        let mut tail = [[0u8; BLOCK]; 2];
        let flat = tail.as_flattened_mut();
        let used = rest.len() + suffix.len();
        flat[..rest.len()].copy_from_slice(rest);
        flat[rest.len()..used].copy_from_slice(suffix);
        flat[used] = 0x80;
        // The 0x80 and the 64-bit length must fit behind the data (FIPS 180-4 §5.1.1).
        let count = if used + 9 <= BLOCK { 1 } else { 2 };
        let bits = (BLOCK + data.len() + suffix.len()) as u64 * 8;
        flat[count * BLOCK - 8..count * BLOCK].copy_from_slice(&bits.to_be_bytes());
        compress(&mut state, &tail[..count]);

        let mut last = [0; BLOCK];
        last[..DIGEST_LEN].copy_from_slice(&to_bytes(state));
        last[DIGEST_LEN] = 0x80;
        last[BLOCK - 8..].copy_from_slice(&((BLOCK + DIGEST_LEN) as u64 * 8).to_be_bytes());
        let mut state = self.outer;
        compress(&mut state, &[last]);
        to_bytes(state)
    }
}

impl Drop for HmacSha1 {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

fn to_bytes(state: [u32; 5]) -> [u8; DIGEST_LEN] {
    let mut out = [0; DIGEST_LEN];
    out.chunks_exact_mut(4).zip(state).for_each(|(o, word)| o.copy_from_slice(&word.to_be_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202 §3, test case 1: the key of 20 octets.
    #[test]
    fn digest_of_rfc_2202() {
        let mac = HmacSha1::new(&[0x0b; 20]);
        assert_eq!(hex::encode(mac.digest(b"Hi There", b"")), "b617318655057264e28bc0b6fb378c8ef146be00");
        assert_eq!(mac.digest(b"Hi T", b"here"), mac.digest(b"Hi There", b""));
    }

    #[test]
    fn agrees_with_aws_lc_at_every_length() {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[7; 20]);
        let mac = HmacSha1::new(&[7; 20]);
        let data: Vec<u8> = (0..300).map(|i| i as u8).collect();
        for len in 0..data.len() {
            for suffix in [&b""[..], b"roc!"] {
                let joined = [&data[..len], suffix].concat();
                let expected = aws_lc_rs::hmac::sign(&key, &joined);
                assert_eq!(&mac.digest(&data[..len], suffix), expected.as_ref(), "{len} octets");
            }
        }
    }
}
