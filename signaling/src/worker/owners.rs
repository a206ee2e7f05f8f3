//! Which worker a call lives on.
//!
//! The worker whose socket has brought the first message of a Call-ID keeps what belongs to it, so that most messages meet no
//! other thread. All workers look it up here, and find what is not here (because it has begun when there was no room, or is
//! long over) by the hash of its Call-ID: so nothing that somebody sends can make two of them believe in the same call.

use std::collections::{HashMap, VecDeque};
use std::sync::MutexGuard;

use signaling_core::shards::Shards;

/// Call-IDs at a time. A flood of more of them is shared out by their hashes.
const CAPACITY: usize = 1 << 17;
/// The longest Call-ID that is kept.
const LONGEST: usize = 256;
/// After this many seconds without a message it is asked whether there is still anything of a Call-ID: longer than any
/// transaction.
const IDLE: u32 = 240;

/// The owners of all Call-IDs in use. Times are seconds since any moment.
#[derive(Debug)]
pub(super) struct Owners {
    shards: Shards<Shard>,
    workers: usize,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Shard {
    owners: HashMap<u64, Owner, Hashed>,
    /// Until then what begins is given to the worker of its hash, as what has begun without room was.
    full_until: u32,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    worker: u32,
    /// When there was a message last.
    heard: u32,
}

/// The keys are hashes.
type Hashed = std::hash::BuildHasherDefault<Identity>;

#[derive(Debug, Default)]
struct Identity(u64);

impl std::hash::Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a key is one number");
    }

    fn write_u64(&mut self, number: u64) {
        // The low bits choose the shard.
        self.0 = number.rotate_right(16);
    }
}

impl Owners {
    pub(super) fn new(workers: usize) -> Self {
        Self::with_capacity(workers, CAPACITY)
    }

    fn with_capacity(workers: usize, capacity: usize) -> Self {
        let capacity = capacity.div_ceil(Shards::<Shard>::COUNT);
        Self { shards: Shards::default(), workers, capacity }
    }

    /// The worker that has taken it.
    pub(super) fn find(&self, now: u32, call_id: &[u8]) -> Option<usize> {
        let (hash, mut shard) = self.shard(call_id);
        shard.find(now, hash)
    }

    /// The worker of what may begin now: `taker`, unless somebody has it. Whether it does begin, and [`Kept::keep`] is to be told.
    pub(super) fn begin(&self, now: u32, call_id: &[u8], taker: usize) -> (usize, bool) {
        let (hash, mut shard) = self.shard(call_id);
        if let Some(worker) = shard.find(now, hash) {
            return (worker, false);
        }
        if shard.owners.len() >= self.capacity {
            shard.full_until = now.saturating_add(IDLE);
        }
        if shard.full_until > now || call_id.len() > LONGEST {
            return (self.by_hash(hash), false);
        }
        let worker = u32::try_from(taker).unwrap_or_default();
        shard.owners.insert(hash, Owner { worker, heard: now });
        (taker, true)
    }

    /// The worker of a Call-ID that nobody has taken.
    pub(super) fn of_nobody(&self, call_id: &[u8]) -> usize {
        self.by_hash(self.shards.hash(call_id))
    }

    /// There is nothing of a Call-ID any more.
    pub(super) fn forget(&self, call_id: &[u8]) {
        let (hash, mut shard) = self.shard(call_id);
        shard.owners.remove(&hash);
    }

    /// The same unless there was a message lately; whether it is forgotten.
    fn forget_silent(&self, now: u32, call_id: &[u8]) -> bool {
        let (hash, mut shard) = self.shard(call_id);
        let silent = shard.owners.get(&hash).is_none_or(|owner| now.saturating_sub(owner.heard) >= IDLE);
        if silent {
            shard.owners.remove(&hash);
        }
        silent
    }

    fn shard(&self, call_id: &[u8]) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.shards.hash(call_id);
        (hash, self.shards.at(hash))
    }

    fn by_hash(&self, hash: u64) -> usize {
        usize::try_from((hash >> 32) % self.workers as u64).unwrap_or_default()
    }
}

impl Shard {
    fn find(&mut self, now: u32, hash: u64) -> Option<usize> {
        let owner = self.owners.get_mut(&hash)?;
        owner.heard = owner.heard.max(now);
        Some(owner.worker as usize)
    }
}

/// The Call-IDs that one worker owns, each with the time at which to look whether it is over.
#[derive(Debug, Default)]
pub(super) struct Kept {
    due: VecDeque<(u32, Box<[u8]>)>,
}

impl Kept {
    /// A Call-ID is this worker's from now on.
    pub(super) fn keep(&mut self, now: u32, call_id: &[u8]) {
        self.due.push_back((now.saturating_add(IDLE), call_id.into()));
    }

    /// Forgets what is over. `is_there` tells whether there is a call of a Call-ID, however silent.
    pub(super) fn tidy(&mut self, now: u32, owners: &Owners, is_there: impl Fn(&str) -> bool) {
        while self.due.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, call_id)) = self.due.pop_front() else { return };
            let there = std::str::from_utf8(&call_id).is_ok_and(&is_there);
            if there || !owners.forget_silent(now, &call_id) {
                self.due.push_back((now.saturating_add(IDLE), call_id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: usize = Shards::<Shard>::COUNT;

    #[test]
    fn who_takes_a_call_first_has_it_until_it_is_over() {
        let (owners, mut kept) = (Owners::new(4), Kept::default());
        for number in 0..100_u32 {
            let (call_id, taker) = (format!("call-{number}"), number as usize % 4);
            assert_eq!(owners.begin(0, call_id.as_bytes(), taker), (taker, true));
            assert_eq!(owners.begin(1, call_id.as_bytes(), 3), (taker, false), "it has begun");
            assert_eq!(owners.find(1, call_id.as_bytes()), Some(taker));
            kept.keep(0, call_id.as_bytes());
        }
        kept.tidy(IDLE, &owners, |_| false);
        assert_eq!(kept.due.len(), 100, "there was a message in the second second");
        kept.tidy(2 * IDLE, &owners, |call_id| call_id == "call-7");
        assert_eq!(kept.due.len(), 1, "all but a call that stands are forgotten");
        assert_eq!(owners.find(2 * IDLE, b"call-7"), Some(3), "the owner is still the same");
        assert_eq!(owners.begin(2 * IDLE, b"call-8", 1), (1, true), "it may begin elsewhere");
        kept.tidy(3 * IDLE, &owners, |_| false);
        assert!(kept.due.is_empty());
    }

    #[test]
    fn without_room_everybody_finds_the_same_worker() {
        let owners = Owners::with_capacity(3, SHARDS);
        let call_ids: Vec<String> = (0..1000).map(|number| format!("flood-{number}")).collect();
        let begun: Vec<_> = call_ids.iter().map(|id| owners.begin(0, id.as_bytes(), 1)).collect();
        for (call_id, (worker, _)) in call_ids.iter().zip(&begun) {
            let found = owners.find(1, call_id.as_bytes());
            assert_eq!(found.unwrap_or_else(|| owners.of_nobody(call_id.as_bytes())), *worker, "{call_id}");
        }
        let held = begun.iter().filter(|(_, begun)| *begun).count();
        assert!(held <= SHARDS, "{held} are held");
        let (late, _) = begun.iter().enumerate().rfind(|(_, (_, begun))| !begun).unwrap();
        for call_id in &call_ids {
            owners.forget(call_id.as_bytes());
        }
        let worker = begun[late].0;
        assert_eq!(owners.begin(IDLE - 1, call_ids[late].as_bytes(), 0), (worker, false), "again");
    }

    #[test]
    fn a_long_call_id_is_not_kept() {
        let (owners, call_id) = (Owners::new(2), [b'x'; LONGEST + 1]);
        let (worker, begun) = owners.begin(0, &call_id, 0);
        assert!(!begun);
        assert_eq!(owners.begin(0, &call_id, 1), (worker, false));
    }

    #[test]
    fn what_could_not_be_delivered_is_anybodys() {
        let owners = Owners::new(2);
        assert_eq!(owners.begin(0, b"a", 0), (0, true));
        owners.forget(b"a");
        assert_eq!(owners.begin(0, b"a", 1), (1, true));
    }
}
