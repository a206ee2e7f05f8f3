//! Who is where: the bindings of all addresses of record (RFC 3261 §10), shared by all workers.

mod binding;
mod edge;
mod keepalive;
mod shared;
mod update;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

pub use self::binding::{Binding, Peer};
pub use self::edge::EdgeUser;
pub use self::keepalive::Ping;
pub use self::shared::Shared;
pub use self::update::{Changes, Outcome, Registration, Rejected, Rules, Updated};
use crate::event::Expiry;
use crate::flow::{ConnectionId, Flow};
use crate::outside::{BindingRow, StoredBinding};
use crate::settings::Usrloc;
use crate::shards::Shards;
/// The binding table. Keys are addresses of record as `user@domain`.
#[derive(Debug)]
pub struct Location {
    shards: Shards<Shard>,
    /// Which addresses of record live on a connection, so that its end touches only them.
    connections: Shards<HashMap<ConnectionId, Vec<Arc<str>>>>,
    edges: edge::Edges,
    round: keepalive::Round,
    /// The second of the last [`Location::expire`].
    swept: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    records: HashMap<Arc<str>, Record>,
    /// No binding here ends before this second.
    earliest: u64,
}

/// The bindings of one address of record.
#[derive(Debug, Default)]
struct Record {
    /// In the order in which they were registered last. Most have one.
    bindings: Box<[Binding]>,
    /// Counts the changes, so that a writer to the store sees when it was overtaken.
    version: u64,
}

/// A binding that is no more, or cannot be reached any more.
#[derive(Debug, Clone)]
pub struct Gone {
    /// Its address of record.
    pub aor: Arc<str>,
    /// What it was.
    pub stored: Arc<StoredBinding>,
    /// Why.
    pub cause: Expiry,
    /// Whether it is still there, for its owner to come back to.
    pub held: bool,
    /// The connection over which it was registered, when that is still open and carries nobody else: see
    /// [`Usrloc::close_expired_tcp`].
    pub connection: Option<ConnectionId>,
}

impl Default for Location {
    fn default() -> Self {
        Self::new()
    }
}

impl Location {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shards: Shards::with(|| Shard { records: HashMap::new(), earliest: u64::MAX }),
            connections: Shards::default(),
            edges: edge::Edges::default(),
            round: keepalive::Round::default(),
            swept: AtomicU64::new(0),
        }
    }

    /// Takes what was kept by the store, at start. UDP contacts are reachable again at once; those of a WebSocket
    /// are not until their owner comes back, for nobody can dial a browser.
    pub fn load(&self, rows: Vec<(String, StoredBinding)>, unix_now: u64) {
        let mut shared = Shared::default();
        for (aor, stored) in rows {
            let user_agent = shared.text(stored.user_agent());
            let local = stored.local().map(|local| shared.address(local));
            let row = BindingRow { user_agent: &user_agent, local: local.as_ref(), ..stored.row() };
            let stored = Arc::new(StoredBinding::from(row));
            self.want_turns(&stored);
            let mut shard = self.shard(&aor);
            shard.earliest = shard.earliest.min(stored.expires_at());
            let (_, record) = shard.record(&aor);
            let mut bindings = record.take();
            bindings.retain(|binding| binding.stored.ruid() != stored.ruid());
            bindings.push(Binding::new(stored, None, unix_now));
            record.put(bindings);
        }
    }

    /// Applies a REGISTER whole or not at all (RFC 3261 §10.3 steps 6 and 7).
    ///
    /// # Errors
    /// When it changes nothing.
    pub fn update(&self, registration: Registration<'_>, unix_now: u64) -> Result<Updated, Rejected> {
        let aor = registration.aor;
        let mut shard = self.shard(aor);
        let before = shard.records.get(aor).map(|record| record.bindings.to_vec()).unwrap_or_default();
        let (after, outcome) = update::apply(&registration, &before, unix_now)?;
        // An emptied record keeps its version until the next sweep of `expire`: a writer may still hold it.
        let (key, record) = shard.record(aor);
        record.put(after);
        let version = record.version;
        let bindings = record.stored(unix_now);
        let ends = outcome.registered.iter().map(|stored| stored.expires_at()).min();
        shard.earliest = shard.earliest.min(ends.unwrap_or(u64::MAX));
        outcome.registered.iter().for_each(|stored| self.want_turns(stored));
        drop(shard);
        if let Some(connection) = registration.flow.connection.filter(|_| !outcome.registered.is_empty()) {
            let mut connections = self.connections.of(&connection);
            // A browser has one address of record.
            let aors = connections.entry(connection).or_insert_with(|| Vec::with_capacity(1));
            if !aors.contains(&key) {
                aors.push(key);
            }
        }
        let renewal = outcome.is_renewal(&before, &bindings);
        Ok(Updated { bindings, version, before, outcome, renewal })
    }

    /// Undoes an update whose bindings could not be kept, unless something has changed since (RFC 3261 §10.3 step 7: all
    /// or none).
    pub fn restore(&self, aor: &str, before: Vec<Binding>, version: u64) {
        let mut shard = self.shard(aor);
        if let Some(record) = shard.records.get_mut(aor).filter(|record| record.version == version) {
            record.put(before);
        }
    }

    /// Takes what the store has of `aor` in place of what is known. A binding that is known keeps its connection, if it has one
    /// here. It counts as no change: whoever is writing has the last word.
    pub fn refresh(&self, aor: &str, rows: Vec<StoredBinding>, unix_now: u64) {
        let mut shard = self.shard(aor);
        if rows.is_empty() && !shard.records.contains_key(aor) {
            return;
        }
        let ends = rows.iter().map(StoredBinding::expires_at).min().unwrap_or(u64::MAX);
        shard.earliest = shard.earliest.min(ends);
        let (_, record) = shard.record(aor);
        let mut known = record.take();
        let renewed = rows.into_iter().map(|stored| {
            let stored = Arc::new(stored);
            match known.iter().position(|binding| binding.stored.ruid() == stored.ruid()) {
                Some(at) => known.swap_remove(at).renewed(stored),
                None => Binding::new(stored, None, unix_now),
            }
        });
        record.bindings = renewed.collect();
    }

    /// The bindings of `aor` that have not run out, in the order in which they were registered last.
    #[must_use]
    pub fn bindings(&self, aor: &str, unix_now: u64) -> Vec<Binding> {
        let shard = self.shard(aor);
        shard.records.get(aor).map(|record| record.alive(unix_now).cloned().collect()).unwrap_or_default()
    }

    /// The present bindings and their version, for a writer to the store.
    #[must_use]
    pub fn snapshot(&self, aor: &str, unix_now: u64) -> (Vec<Arc<StoredBinding>>, u64) {
        let shard = self.shard(aor);
        let record = shard.records.get(aor);
        record.map_or_else(Default::default, |record| (record.stored(unix_now), record.version))
    }

    /// Whether nothing has changed since `version`.
    #[must_use]
    pub fn is_current(&self, aor: &str, version: u64) -> bool {
        self.shard(aor).records.get(aor).is_none_or(|record| record.version == version)
    }

    /// A connection is gone. Returns the bindings that only it led to: they are removed, or held as
    /// [`Usrloc::lost_tcp_grace`] says. Those that can be dialled at their Contact stay.
    pub fn connection_lost(&self, connection: ConnectionId, usrloc: &Usrloc, unix_now: u64) -> Vec<Gone> {
        self.forget_edge(connection);
        let aors = self.connections.of(&connection).remove(&connection).unwrap_or_default();
        let (mut lost, grace) = (Vec::new(), usrloc.lost_tcp_grace.as_secs());
        for aor in aors {
            let mut shard = self.shard(&aor);
            let Some(record) = shard.records.get_mut(&aor) else { continue };
            let before = lost.len();
            let mut left = record.take();
            left.retain_mut(|binding| {
                if binding.connection != Some(connection) {
                    return true;
                }
                binding.connection = None;
                if binding.stored.can_be_dialled() || !usrloc.handle_lost_tcp {
                    return true;
                }
                binding.hold(unix_now + grace);
                let (cause, held) = (Expiry::ConnectionLost, grace > 0);
                let (aor, stored) = (Arc::clone(&aor), Arc::clone(&binding.stored));
                lost.push(Gone { aor, stored, cause, held, connection: None });
                held
            });
            if lost.len() > before {
                record.put(left);
                shard.earliest = shard.earliest.min(unix_now + grace);
            } else {
                record.bindings = left.into();
            }
        }
        lost
    }

    /// Removes and returns the bindings that have run out. Each is returned once, to whichever worker asks first.
    pub fn expire(&self, unix_now: u64) -> Vec<Gone> {
        let mut expired = Vec::new();
        if self.swept.swap(unix_now, Ordering::Relaxed) >= unix_now {
            return expired;
        }
        for mut shard in self.shards.each() {
            if shard.earliest <= unix_now {
                shard.expire(unix_now, &mut expired);
            }
        }
        for gone in &mut expired {
            gone.connection = gone.connection.filter(|connection| !self.carries_somebody(*connection));
        }
        expired
    }

    /// Where `peer` is now: a browser that lost its WebSocket comes back over another one, and its dialogs go on there.
    /// The flow over which it was known is kept while it is one of its flows. `None` when there is none.
    #[must_use]
    pub fn flow_of(&self, aor: &str, peer: &Peer<'_>, unix_now: u64) -> Option<Flow> {
        let shard = self.shard(aor);
        let flows = shard.records.get(aor)?.alive(unix_now).filter(|binding| peer.owns(&binding.stored));
        let flows: Vec<Flow> = flows.filter_map(Binding::flow).collect();
        flows.iter().copied().find(|flow| Some(*flow) == peer.flow).or(flows.last().copied())
    }

    /// The instance of a user that has registered over `flow`; empty when it has said none.
    #[must_use]
    pub fn instance_on(&self, aor: &str, flow: &Flow, unix_now: u64) -> Option<Box<str>> {
        let shard = self.shard(aor);
        let mut bindings = shard.records.get(aor)?.alive(unix_now);
        bindings
            .rfind(|binding| binding.flow() == Some(*flow))
            .map(|binding| binding.stored.instance().into())
    }

    /// Shows every address of record and its bindings, in no order. Bindings that change meanwhile are shown as they were or as
    /// they are; `visit` is called without any lock.
    pub fn visit(&self, unix_now: u64, mut visit: impl FnMut(&str, &[Binding])) {
        let alive = |record: &Record| record.alive(unix_now).cloned().collect();
        let records_of = |shard: MutexGuard<'_, Shard>| -> Vec<(Arc<str>, Vec<Binding>)> {
            shard.records.iter().map(|(aor, record)| (Arc::clone(aor), alive(record))).collect()
        };
        for records in self.shards.each().map(records_of) {
            for (aor, bindings) in records.iter().filter(|(_, bindings)| !bindings.is_empty()) {
                visit(aor, bindings);
            }
        }
    }

    /// Removes the bindings of an address of record, or the one with this Contact, by the word of an operator.
    pub fn remove(&self, aor: &str, contact: Option<&str>) -> Vec<Gone> {
        let mut shard = self.shard(aor);
        let Some((key, record)) = shard
            .records
            .get_key_value(aor)
            .map(|(key, _)| Arc::clone(key))
            .and_then(|key| Some((Arc::clone(&key), shard.records.get_mut(&key)?)))
        else {
            return Vec::new();
        };
        let wanted = |binding: &Binding| contact.is_none_or(|contact| binding.stored.contact() == contact);
        let (removed, left): (Vec<_>, Vec<_>) = record.take().into_iter().partition(wanted);
        record.put(left);
        let gone = |binding: Binding| Gone {
            aor: Arc::clone(&key),
            stored: binding.stored,
            cause: Expiry::Removed,
            held: false,
            connection: None,
        };
        removed.into_iter().map(gone).collect()
    }

    /// Addresses of record with a binding, and bindings, for the statistics.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        self.shards.each().fold((0, 0), |(users, contacts), shard| {
            let registered = shard.records.values().filter(|record| !record.bindings.is_empty());
            (
                users + registered.clone().count(),
                contacts + registered.map(|record| record.bindings.len()).sum::<usize>(),
            )
        })
    }

    /// Bindings by a property of theirs, for the statistics.
    #[must_use]
    pub fn count_by<K: Ord>(&self, property: impl Fn(&Binding) -> K) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        for shard in self.shards.each() {
            for binding in shard.records.values().flat_map(|record| &record.bindings) {
                *counts.entry(property(binding)).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Whether a binding is registered over `connection`.
    fn carries_somebody(&self, connection: ConnectionId) -> bool {
        let aors = self.connections.of(&connection).get(&connection).cloned().unwrap_or_default();
        aors.iter().any(|aor| {
            let shard = self.shard(aor);
            let mut bindings = shard.records.get(aor).into_iter().flat_map(|record| &record.bindings);
            bindings.any(|binding| binding.connection == Some(connection))
        })
    }

    fn shard(&self, aor: &str) -> MutexGuard<'_, Shard> {
        self.shards.of(aor)
    }
}

impl Shard {
    /// The record of `aor`, made when there is none, and the table's copy of its name.
    fn record(&mut self, aor: &str) -> (Arc<str>, &mut Record) {
        let known = self.records.get_key_value(aor).map(|(known, _)| Arc::clone(known));
        let key = known.unwrap_or_else(|| aor.into());
        (Arc::clone(&key), self.records.entry(key).or_default())
    }

    fn expire(&mut self, unix_now: u64, expired: &mut Vec<Gone>) {
        self.earliest = u64::MAX;
        for (aor, record) in &mut self.records {
            if record.bindings.iter().any(|binding| binding.ends_at() <= unix_now) {
                let ended = |binding: &Binding| binding.ends_at() <= unix_now;
                let (ended, left): (Vec<_>, Vec<_>) = record.take().into_iter().partition(ended);
                record.put(left);
                expired.extend(ended.into_iter().map(|binding| binding.gone(aor, unix_now)));
            }
            let ends = record.bindings.iter().map(Binding::ends_at).min();
            self.earliest = self.earliest.min(ends.unwrap_or(u64::MAX));
        }
        self.records.retain(|_, record| !record.bindings.is_empty());
        if self.records.len() < self.records.capacity() / 4 {
            self.records.shrink_to_fit();
        }
    }
}

impl Record {
    fn alive(&self, unix_now: u64) -> impl DoubleEndedIterator<Item = &Binding> {
        self.bindings.iter().filter(move |binding| binding.ends_at() > unix_now)
    }

    fn stored(&self, unix_now: u64) -> Vec<Arc<StoredBinding>> {
        self.alive(unix_now).map(|binding| Arc::clone(&binding.stored)).collect()
    }

    /// The bindings, to be changed and put back.
    fn take(&mut self) -> Vec<Binding> {
        std::mem::take(&mut self.bindings).into_vec()
    }

    fn put(&mut self, bindings: Vec<Binding>) {
        self.bindings = bindings.into();
        self.version += 1;
    }
}

#[cfg(test)]
mod tests;
