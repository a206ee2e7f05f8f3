//! Nonces that need no memory, and the memory of those that were used.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::message::digits::push_hex;

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

/// Names a nonce: seconds since 1970, who made it, and a running number. In the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp([u8; 16]);

impl Stamp {
    fn birth(&self) -> u64 {
        let mut seconds = [0; 8];
        seconds.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(seconds)
    }
}

/// Makes nonces and knows its own again: stamp and an HMAC of it, in hexadecimal digits.
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
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&unix_now.to_be_bytes());
        stamp[8..12].copy_from_slice(&self.origin);
        stamp[12..].copy_from_slice(&self.made.to_be_bytes());
        let mut nonce = String::with_capacity(64);
        push_hex(&mut nonce, &stamp);
        push_hex(&mut nonce, &self.sign(&stamp, realm)[..16]);
        nonce
    }

    pub(super) fn open(&self, unix_now: u64, nonce: &str, realm: &str) -> Nonce {
        let mut bytes = [0; 32];
        if nonce.len() != 64 || hex::decode_to_slice(nonce, &mut bytes).is_err() {
            return Nonce::Foreign;
        }
        let mut stamp = [0; 16];
        stamp.copy_from_slice(&bytes[..16]);
        if !bool::from(bytes[16..].ct_eq(&self.sign(&stamp, realm)[..16])) {
            return Nonce::Foreign;
        }
        let (ours, stamp) = (stamp[8..12] == self.origin, Stamp(stamp));
        let in_time = (self.oldest(unix_now)..=unix_now).contains(&stamp.birth());
        if ours && in_time { Nonce::Fresh(stamp) } else { Nonce::Stale }
    }

    fn sign(&self, stamp: &[u8; 16], realm: &str) -> [u8; 32] {
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
        Self { windows: BTreeMap::new(), capacity, forgotten: Stamp([0; 16]) }
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
