//! Nonces that need no memory, and the memory of those that were used.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a nonce, and of them those of its stamp. It is as short as it can be, for it stands in answers to whom nobody knows.
const NONCE: usize = 21;
const STAMP: usize = 11;
/// Digits of a nonce in base64.
const DIGITS: usize = NONCE * 4 / 3;

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    /// Made here, for this realm, and not too old.
    Fresh(Stamp),
    /// Made with our key, but too long ago, by another worker or before a restart: good for `stale=true` and nothing else.
    Stale,
    /// Nobody with our key made it for this realm.
    Foreign,
}

/// Names a nonce: seconds since 1970 in 32 bits, who made it, and a running number in 24 bits. In the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp([u8; STAMP]);

impl Stamp {
    fn birth(&self) -> u64 {
        let mut seconds = [0; 4];
        seconds.copy_from_slice(&self.0[..4]);
        u32::from_be_bytes(seconds).into()
    }
}

/// Makes nonces and knows its own again: stamp and 80 bits of an HMAC of it, in base64.
pub(super) struct Mint {
    /// HMAC-SHA-256 (RFC 2104) under the key, its two hashes as they are before the text.
    inner: Sha256,
    outer: Sha256,
    /// Tells this worker's nonces from those of others with the same key.
    origin: [u8; 4],
    made: u32,
    expire: Duration,
}

impl Mint {
    pub(super) fn new(key: [u8; 32], origin: [u8; 4], expire: Duration) -> Self {
        let padded = |with: u8| {
            let pad: [u8; 64] = std::array::from_fn(|at| key.get(at).copied().unwrap_or_default() ^ with);
            Sha256::new_with_prefix(pad)
        };
        Self { inner: padded(0x36), outer: padded(0x5c), origin, made: 0, expire }
    }

    /// Seconds since 1970 before which a nonce is too old.
    pub(super) const fn oldest(&self, unix_now: u64) -> u64 {
        unix_now.saturating_sub(self.expire.as_secs())
    }

    pub(super) fn make(&mut self, unix_now: u64, realm: &str) -> String {
        self.made = self.made.wrapping_add(1);
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&u32::try_from(unix_now).unwrap_or(u32::MAX).to_be_bytes());
        nonce[4..8].copy_from_slice(&self.origin);
        nonce[8..STAMP].copy_from_slice(&self.made.to_be_bytes()[1..]);
        let seal = self.sign(&nonce[..STAMP], realm);
        nonce[STAMP..].copy_from_slice(&seal[..NONCE - STAMP]);
        URL_SAFE_NO_PAD.encode(nonce)
    }

    pub(super) fn open(&self, unix_now: u64, nonce: &str, realm: &str) -> Nonce {
        let mut bytes = [0; NONCE];
        if nonce.len() != DIGITS || URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).is_err() {
            return Nonce::Foreign;
        }
        let mut stamp = [0; STAMP];
        stamp.copy_from_slice(&bytes[..STAMP]);
        if !bool::from(bytes[STAMP..].ct_eq(&self.sign(&stamp, realm)[..NONCE - STAMP])) {
            return Nonce::Foreign;
        }
        let (ours, stamp) = (stamp[4..8] == self.origin, Stamp(stamp));
        let in_time = (self.oldest(unix_now)..=unix_now).contains(&stamp.birth());
        if ours && in_time { Nonce::Fresh(stamp) } else { Nonce::Stale }
    }

    fn sign(&self, stamp: &[u8], realm: &str) -> [u8; 32] {
        let inner = self.inner.clone().chain_update(stamp).chain_update(realm).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }
}

/// Which counts of which nonces were used, for as long as the nonces are good, and for a bounded number of them.
pub(super) struct Used {
    windows: BTreeMap<Stamp, Window>,
    capacity: usize,
    /// Nonces up to this one were forgotten for want of room, and so are stale.
    forgotten: Stamp,
}

impl Used {
    pub(super) const fn new(capacity: usize) -> Self {
        Self { windows: BTreeMap::new(), capacity, forgotten: Stamp([0; STAMP]) }
    }

    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// Notes the use of a nonce; `false` when it was used so before, or may have been. Without a count a nonce is good for
    /// one request: nothing else would tell a repetition.
    pub(super) fn mark(&mut self, stamp: Stamp, count: Option<u32>, oldest: u64) -> bool {
        while self.windows.first_key_value().is_some_and(|(stamp, _)| stamp.birth() < oldest) {
            self.windows.pop_first();
        }
        if stamp <= self.forgotten {
            return false;
        }
        let window = self.windows.entry(stamp).or_default();
        let fresh = match count {
            Some(count) => window.mark(count),
            None => window.highest == 0 && window.mark(u32::MAX),
        };
        if self.windows.len() > self.capacity
            && let Some((oldest, _)) = self.windows.pop_first()
        {
            self.forgotten = oldest;
        }
        fresh
    }
}

/// Which counts of a nonce were seen: the highest, and the 64 up to it. Requests may overtake each other a little.
#[derive(Debug, Default)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

impl Window {
    /// `false` when `count` was seen, or lies too far back to know.
    fn mark(&mut self, count: u32) -> bool {
        if count > self.highest {
            let shift = count - self.highest;
            self.seen = if shift < 64 { self.seen << shift } else { 0 } | 1;
            self.highest = count;
            return true;
        }
        let back = self.highest - count;
        let fresh = count > 0 && back < 64 && self.seen & (1 << back) == 0;
        if fresh {
            self.seen |= 1 << back;
        }
        fresh
    }
}
