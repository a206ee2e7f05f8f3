//! What all workers share, in parts: each has a lock of its own, which is held for a look-up or a change and never across a wait,
//! so that a few of them keep workers apart.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts.
const PARTS: usize = 64;

/// See the module. What belongs to a key is in one part.
#[derive(Debug)]
pub struct Shards<T> {
    parts: Box<[Mutex<T>]>,
    /// Seeded per process, so that nobody can aim keys at one part.
    hasher: RandomState,
}

impl<T: Default> Default for Shards<T> {
    fn default() -> Self {
        Self::with(T::default)
    }
}

impl<T> Shards<T> {
    /// How many parts there are.
    pub const COUNT: usize = PARTS;

    /// Each part is made by `make`.
    pub fn with(make: impl FnMut() -> T) -> Self {
        let parts = std::iter::repeat_with(make).take(PARTS).map(Mutex::new).collect();
        Self { parts, hasher: RandomState::new() }
    }

    /// The part of `key`.
    pub fn of<K: Hash + ?Sized>(&self, key: &K) -> MutexGuard<'_, T> {
        self.at(self.hash(key))
    }

    /// The hash of `key`.
    #[must_use]
    pub fn hash<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The part of a key by its hash, whose lowest bits say which it is.
    pub fn at(&self, hash: u64) -> MutexGuard<'_, T> {
        lock(&self.parts[(hash % PARTS as u64) as usize])
    }

    /// All parts, one after the other: what changes meanwhile is seen or is not.
    pub fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.parts.iter().map(lock)
    }
}

/// A holder that panicked has left a whole part: each change is one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_key_is_in_one_part_and_keys_are_in_many() {
        let shards = Shards::<HashMap<u32, u32>>::default();
        for key in 0..1000 {
            assert_eq!(shards.of(&key).insert(key, 2 * key), None);
        }
        assert!((0..1000).all(|key| shards.of(&key).get(&key) == Some(&(2 * key))));
        let sizes: Vec<usize> = shards.each().map(|part| part.len()).collect();
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (PARTS, 1000));
        assert!(sizes.iter().all(|size| *size < 100), "{sizes:?}");
    }

    #[test]
    fn a_held_part_keeps_nobody_from_the_others() {
        let shards = Shards::<u32>::default();
        let held = shards.at(0);
        *shards.at(1) += 1;
        drop(held);
        assert_eq!(shards.each().map(|part| *part).sum::<u32>(), 1);
    }
}
