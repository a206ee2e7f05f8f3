//! A table that anybody on the network can put keys into: it has room for so many, and what need not be remembered makes room when
//! it is full, once a second at most, so that a full one costs no more than any other.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How often a full table is swept.
const SWEEP: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Bounded<K, V> {
    entries: HashMap<K, V>,
    swept: Option<Instant>,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), swept: None }
    }
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    /// The value of a key; where there is none, what `fresh` makes, if there are fewer than `most` or some of them are idle.
    pub fn entry(
        &mut self,
        key: K,
        most: usize,
        now: Instant,
        is_idle: impl Fn(&V) -> bool,
        fresh: impl FnOnce() -> V,
    ) -> Option<&mut V> {
        if self.entries.len() >= most && !self.entries.contains_key(&key) {
            if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
                return None;
            }
            self.swept = Some(now);
            self.entries.retain(|_, value| !is_idle(value));
            if self.entries.len() >= most {
                return None;
            }
        }
        Some(self.entries.entry(key).or_insert_with(fresh))
    }

    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// The same, to be changed.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key)
    }

    /// Takes a value out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key)
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_full_table_is_swept_once_a_second() {
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let (mut table, looked) = (Bounded::<u32, bool>::default(), Cell::new(0));
        let mut put = |after: u64, key: u32, idle: bool| {
            let is_idle = |value: &bool| {
                looked.set(looked.get() + 1);
                *value
            };
            table.entry(key, 10, now + Duration::from_millis(after), is_idle, || idle).is_some()
        };
        assert!((0..10).all(|key| put(0, key, key == 3)));
        assert!(put(0, 5, false) && looked.get() == 0, "one that is there needs no room");
        assert!(put(0, 10, false) && looked.get() == 10);
        assert!((11..1000).all(|key| !put(999, key, false)) && looked.get() == 10);
        assert!(!put(1000, 11, false) && looked.get() == 20, "none is idle");
        assert_eq!((table.len(), table.get(&3), table.get(&10)), (10, None, Some(&false)));
    }
}
