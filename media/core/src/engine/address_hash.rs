//! The one hash on the way of a packet: source address to leg.
//!
//! Two multiplications an address instead of SipHash's rounds, with random keys, so that a sender who chooses his ports
//! cannot make them collide. Only admitted addresses are ever inserted.

use std::hash::{BuildHasher, Hasher};

use rand::{Rng, RngExt};

/// Makes the hashers of one map.
#[derive(Clone)]
pub(super) struct AddressHash {
    start: u64,
    key: u64,
}

impl AddressHash {
    pub(super) fn new(rng: &mut impl Rng) -> AddressHash {
        // An even factor would lose the highest bit.
        AddressHash { start: rng.random(), key: rng.random::<u64>() | 1 }
    }
}

impl BuildHasher for AddressHash {
    type Hasher = State;

    fn build_hasher(&self) -> State {
        State { state: self.start, key: self.key }
    }
}

/// One hash under way.
pub(super) struct State {
    state: u64,
    key: u64,
}

impl State {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key);
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for State {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    /// Discriminants and lengths, which the other words of an address imply.
    fn write_usize(&mut self, _word: usize) {}

    fn finish(&self) -> u64 {
        // The map takes its control bits from the top and its bucket from the bottom.
        self.state ^ (self.state >> 32)
    }
}
