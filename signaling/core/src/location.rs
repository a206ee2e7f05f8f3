//! Who is where: the bindings of all addresses of record (RFC 3261 §10), shared by all workers.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::flow::{ConnectionId, Destination, Flow, Protocol};
use crate::message::Uri;
use crate::outside::StoredBinding;

/// A shard is locked for a look-up or an update and never across a wait, so a few of them keep workers apart.
const SHARDS: usize = 64;

/// The binding table. Keys are addresses of record as `user@domain`.
#[derive(Debug)]
pub struct Location {
    shards: Vec<Mutex<HashMap<String, Record>>>,
    /// Which addresses of record live on a connection, so that its end touches only them.
    connections: Mutex<HashMap<ConnectionId, HashSet<String>>>,
    hasher: RandomState,
}

/// The bindings of one address of record.
#[derive(Debug, Default)]
struct Record {
    bindings: Vec<Binding>,
    /// Counts the changes, so that a writer to the store sees when it was overtaken.
    version: u64,
}

/// One contact of an address of record.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// What is kept over a restart.
    pub stored: StoredBinding,
    /// Our end of the flow of the REGISTER; `None` for one loaded from the store.
    pub local: Option<SocketAddr>,
    /// The connection of the REGISTER; `None` for datagrams, and for one loaded from the store.
    pub connection: Option<ConnectionId>,
}

/// A REGISTER, as far as the table is concerned.
#[derive(Debug, Clone)]
pub struct Registration {
    /// `user@domain`.
    pub aor: String,
    /// Its Call-ID and CSeq number order the updates (RFC 3261 §10.3 step 7).
    pub call_id: String,
    /// See there.
    pub cseq: u32,
    /// Where it came from.
    pub flow: Flow,
    /// Its contacts.
    pub changes: Changes,
    /// Contacts an address of record may have.
    pub max_contacts: usize,
}

/// What a REGISTER wants done.
#[derive(Debug, Clone)]
pub enum Changes {
    /// `Contact: *` with `Expires: 0`: everything goes.
    RemoveAll,
    /// One entry per Contact; one whose `expires_at` is not after now is removed.
    Each(Vec<StoredBinding>),
}

/// Why a REGISTER changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// An update with a higher CSeq of the same Call-ID has come before.
    OutOfOrder,
    /// There would be more contacts than allowed.
    TooManyContacts,
}

/// What a REGISTER did.
#[derive(Debug, Clone)]
pub struct Updated {
    /// All bindings after it.
    pub bindings: Vec<Binding>,
    /// For [`Location::is_current`].
    pub version: u64,
    /// Those that it added or renewed.
    pub registered: Vec<StoredBinding>,
    /// Those that it removed, or replaced because the same instance has come over another flow.
    pub removed: Vec<StoredBinding>,
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
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            connections: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Takes what was kept by the store, at start. UDP contacts are reachable again at once; those of a WebSocket
    /// are not until their owner comes back, for nobody can dial a browser.
    pub fn load(&self, rows: Vec<(String, StoredBinding)>) {
        for (aor, stored) in rows {
            let mut shard = self.shard(&aor);
            let record = shard.entry(aor).or_default();
            record.bindings.retain(|binding| !binding.stored.names_same_contact(&stored));
            record.bindings.push(Binding { stored, local: None, connection: None });
            record.version += 1;
        }
    }

    /// Applies a REGISTER whole or not at all (RFC 3261 §10.3 steps 6 and 7).
    pub fn update(&self, registration: Registration, unix_now: u64) -> Result<Updated, Rejected> {
        let Registration { aor, call_id, cseq, flow, changes, max_contacts } = registration;
        let mut shard = self.shard(&aor);
        let record = shard.entry(aor.clone()).or_default();
        let mut bindings: Vec<Binding> = record.alive(unix_now).cloned().collect();
        let overtaken = |old: &Binding| old.stored.call_id == call_id && old.stored.cseq >= cseq;
        let (mut registered, mut removed) = (Vec::new(), Vec::new());
        match changes {
            Changes::RemoveAll => {
                if bindings.iter().any(overtaken) {
                    return Err(Rejected::OutOfOrder);
                }
                removed.extend(bindings.drain(..).map(|binding| binding.stored));
            }
            Changes::Each(contacts) => {
                for stored in contacts {
                    let known =
                        bindings.iter().position(|binding| binding.stored.names_same_contact(&stored));
                    let old = match known {
                        Some(at) if overtaken(&bindings[at]) => return Err(Rejected::OutOfOrder),
                        Some(at) => Some(bindings.remove(at).stored),
                        None => None,
                    };
                    if stored.expires_at <= unix_now {
                        removed.extend(old);
                        continue;
                    }
                    removed.extend(old.filter(|old| old.contact != stored.contact));
                    registered.push(stored.clone());
                    bindings.push(Binding { stored, local: Some(flow.local), connection: flow.connection });
                }
            }
        }
        if bindings.len() > max_contacts && !registered.is_empty() {
            return Err(Rejected::TooManyContacts);
        }
        // An emptied record keeps its version until the next sweep of `expire`: a writer may still hold it.
        record.version += 1;
        record.bindings.clone_from(&bindings);
        let version = record.version;
        drop(shard);
        if let Some(connection) = flow.connection.filter(|_| !registered.is_empty()) {
            self.lock_connections().entry(connection).or_default().insert(aor);
        }
        Ok(Updated { bindings, version, registered, removed })
    }

    /// The bindings of `aor` that have not run out, most wanted first (RFC 3261 §16.6: descending `q`).
    #[must_use]
    pub fn bindings(&self, aor: &str, unix_now: u64) -> Vec<Binding> {
        let shard = self.shard(aor);
        let mut bindings: Vec<Binding> =
            shard.get(aor).map(|record| record.alive(unix_now).cloned().collect()).unwrap_or_default();
        bindings.sort_by_key(|binding| std::cmp::Reverse(binding.stored.q));
        bindings
    }

    /// The present bindings and their version, for a writer to the store.
    #[must_use]
    pub fn snapshot(&self, aor: &str, unix_now: u64) -> (Vec<StoredBinding>, u64) {
        let shard = self.shard(aor);
        shard.get(aor).map_or_else(Default::default, |record| {
            (record.alive(unix_now).map(|binding| binding.stored.clone()).collect(), record.version)
        })
    }

    /// Whether nothing has changed since `version`.
    #[must_use]
    pub fn is_current(&self, aor: &str, version: u64) -> bool {
        self.shard(aor).get(aor).is_none_or(|record| record.version == version)
    }

    /// Removes the bindings that only `connection` led to, and returns them with their addresses of record. TCP and TLS
    /// phones can be dialled at their Contact, so theirs stay.
    pub fn connection_lost(&self, connection: ConnectionId) -> Vec<(String, StoredBinding)> {
        let aors = self.lock_connections().remove(&connection).unwrap_or_default();
        let mut lost = Vec::new();
        for aor in aors {
            let mut shard = self.shard(&aor);
            let Some(record) = shard.get_mut(&aor) else { continue };
            let before = lost.len();
            for mut binding in std::mem::take(&mut record.bindings) {
                if binding.connection != Some(connection) {
                    record.bindings.push(binding);
                } else if binding.stored.protocol.is_websocket() {
                    lost.push((aor.clone(), binding.stored));
                } else {
                    binding.connection = None;
                    record.bindings.push(binding);
                }
            }
            if lost.len() > before {
                record.version += 1;
            }
        }
        lost
    }

    /// Removes and returns the bindings that have run out. Each is returned once, to whichever worker asks first.
    pub fn expire(&self, unix_now: u64) -> Vec<(String, StoredBinding)> {
        let mut expired = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            for (aor, record) in shard.iter_mut() {
                let before = expired.len();
                for binding in record.bindings.extract_if(.., |binding| binding.stored.expires_at <= unix_now)
                {
                    expired.push((aor.clone(), binding.stored));
                }
                record.version += u64::from(expired.len() > before);
            }
            shard.retain(|_, record| !record.bindings.is_empty());
        }
        expired
    }

    /// Where the instance that registered the Contact URI `contact` is now: a browser that lost its WebSocket comes
    /// back with the same Contact over another one, and its dialogs go on there.
    #[must_use]
    pub fn flow_of(&self, aor: &str, contact: &str, unix_now: u64) -> Option<Flow> {
        let shard = self.shard(aor);
        let record = shard.get(aor)?;
        record
            .alive(unix_now)
            .find(|binding| same_contact(&binding.stored.contact, contact))
            .and_then(Binding::flow)
    }

    /// Addresses of record with a binding, and bindings, for the statistics.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        self.shards.iter().map(lock).fold((0, 0), |(users, contacts), shard| {
            let registered = shard.values().filter(|record| !record.bindings.is_empty());
            (
                users + registered.clone().count(),
                contacts + registered.map(|record| record.bindings.len()).sum::<usize>(),
            )
        })
    }

    fn shard(&self, aor: &str) -> MutexGuard<'_, HashMap<String, Record>> {
        #[allow(clippy::cast_possible_truncation)]
        let index = self.hasher.hash_one(aor) as usize % SHARDS;
        lock(&self.shards[index])
    }

    fn lock_connections(&self) -> MutexGuard<'_, HashMap<ConnectionId, HashSet<String>>> {
        lock(&self.connections)
    }
}

impl Record {
    fn alive(&self, unix_now: u64) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().filter(move |binding| binding.stored.expires_at > unix_now)
    }
}

impl Binding {
    /// The flow of the REGISTER while it can still be used.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        let local = self.local?;
        let flow = Flow {
            protocol: self.stored.protocol,
            local,
            remote: self.stored.received,
            connection: self.connection,
        };
        (flow.protocol == Protocol::Udp || flow.connection.is_some()).then_some(flow)
    }

    /// Where to send: over the flow of the REGISTER, else for a phone to the address it came from. `None` when only a
    /// connection that is gone led there, and when the Contact has to be dialled (TCP, TLS).
    #[must_use]
    pub fn destination(&self) -> Option<Destination> {
        if let Some(flow) = self.flow() {
            return Some(Destination::Flow(flow));
        }
        (self.stored.protocol == Protocol::Udp)
            .then_some(Destination::Address { protocol: Protocol::Udp, remote: self.stored.received })
    }
}

impl StoredBinding {
    /// Whether a REGISTER with `other` renews this binding: the same instance and reg-id (RFC 5626 §6), else the
    /// same URI (RFC 3261 §10.3 step 7).
    #[must_use]
    pub fn names_same_contact(&self, other: &Self) -> bool {
        if self.reg_id != 0 && other.reg_id != 0 && !self.instance.is_empty() {
            return self.instance == other.instance && self.reg_id == other.reg_id;
        }
        same_contact(&self.contact, &other.contact)
    }
}

/// Whether two Contact URIs are one (RFC 3261 §10.3 step 7, §19.1.4). A parameter that only one of them has does not part
/// them: JsSIP says `;ob` in the Contact of a call and not in that of its REGISTER.
fn same_contact(a: &str, b: &str) -> bool {
    a == b || Uri::parse(a).is_ok_and(|a| Uri::parse(b).is_ok_and(|b| a.is_equivalent(&b)))
}

/// A poisoned shard is one whose holder panicked between two whole assignments: its contents are good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;
    const AOR: &str = "alice@sip.example";

    fn flow(protocol: Protocol, port: u16, connection: u64) -> Flow {
        Flow {
            protocol,
            local: "192.0.2.1:5060".parse().expect("address"),
            remote: SocketAddr::from(([198, 51, 100, 7], port)),
            connection: protocol.is_reliable().then_some(ConnectionId(connection)),
        }
    }

    fn contact(uri: &str, flow: Flow, expires: u64) -> StoredBinding {
        StoredBinding {
            ruid: format!("ruid-{uri}"),
            contact: uri.to_owned(),
            received: flow.remote,
            protocol: flow.protocol,
            path: String::new(),
            expires_at: NOW + expires,
            q: 1000,
            call_id: "c1".into(),
            cseq: 1,
            user_agent: String::new(),
            instance: String::new(),
            reg_id: 0,
            methods: u32::MAX,
        }
    }

    fn register(location: &Location, flow: Flow, contacts: Vec<StoredBinding>) -> Result<Updated, Rejected> {
        let (call_id, cseq) = contacts.first().map_or(("c1".into(), 1), |c| (c.call_id.clone(), c.cseq));
        let changes = Changes::Each(contacts);
        location.update(Registration { aor: AOR.into(), call_id, cseq, flow, changes, max_contacts: 3 }, NOW)
    }

    fn uris(location: &Location, at: u64) -> Vec<String> {
        location.bindings(AOR, at).into_iter().map(|binding| binding.stored.contact).collect()
    }

    #[test]
    fn several_contacts_are_kept_in_order_of_preference() {
        let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
        let low = StoredBinding { q: 100, ..contact("sip:a@198.51.100.7", udp, 60) };
        let high = StoredBinding { q: 900, ..contact("sip:a@198.51.100.8", udp, 120) };
        register(&location, udp, vec![low, high]).expect("two contacts");
        assert_eq!(uris(&location, NOW), ["sip:a@198.51.100.8", "sip:a@198.51.100.7"]);
        assert_eq!(uris(&location, NOW + 60), ["sip:a@198.51.100.8"]);
        assert_eq!(location.count(), (1, 2));
        let expired = location.expire(NOW + 60);
        assert_eq!(expired.len(), 1);
        assert_eq!(location.expire(NOW + 60).len(), 0, "each is returned once");
        assert_eq!(location.expire(NOW + 120).len(), 1);
        assert_eq!(location.count(), (0, 0));
    }

    #[test]
    fn an_update_is_applied_whole_or_not_at_all() {
        let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
        let first = StoredBinding { cseq: 5, ..contact("sip:a@198.51.100.7", udp, 60) };
        register(&location, udp, vec![first.clone()]).expect("first");
        let late = StoredBinding { cseq: 4, expires_at: NOW + 900, ..contact("sip:b@198.51.100.9", udp, 60) };
        let stale = StoredBinding { cseq: 4, ..first.clone() };
        assert_eq!(register(&location, udp, vec![late, stale]).err(), Some(Rejected::OutOfOrder));
        assert_eq!(uris(&location, NOW), ["sip:a@198.51.100.7"]);
        let many = (0..3).map(|n| contact(&format!("sip:x{n}@198.51.100.7"), udp, 60)).collect();
        assert_eq!(register(&location, udp, many).err(), Some(Rejected::TooManyContacts));
        assert_eq!(uris(&location, NOW), ["sip:a@198.51.100.7"]);
    }

    #[test]
    fn a_contact_leaves_by_expires_0_or_by_the_star() {
        let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
        let a = contact("sip:a@198.51.100.7", udp, 60);
        let b = contact("sip:b@198.51.100.7", udp, 60);
        register(&location, udp, vec![a.clone(), b]).expect("registered");
        let gone = StoredBinding { expires_at: NOW, cseq: 2, ..a };
        let updated = register(&location, udp, vec![gone]).expect("unregistered");
        assert_eq!((updated.registered.len(), updated.removed.len(), updated.bindings.len()), (0, 1, 1));
        let everything = Registration {
            aor: AOR.into(),
            call_id: "c1".into(),
            cseq: 3,
            flow: udp,
            changes: Changes::RemoveAll,
            max_contacts: 3,
        };
        assert_eq!(location.update(everything, NOW).expect("star").removed.len(), 1);
        assert!(uris(&location, NOW).is_empty());
    }

    #[test]
    fn the_same_instance_replaces_its_binding() {
        let location = Location::new();
        let (old, new) = (flow(Protocol::Wss, 40001, 1), flow(Protocol::Wss, 40002, 2));
        let browser = |uri, flow, call_id: &str| StoredBinding {
            instance: "<urn:uuid:1>".into(),
            reg_id: 1,
            call_id: call_id.into(),
            ..contact(uri, flow, 600)
        };
        register(&location, old, vec![browser("sip:x@a.invalid;transport=ws", old, "c1")])
            .expect("first page");
        let updated = register(&location, new, vec![browser("sip:y@b.invalid;transport=ws", new, "c2")])
            .expect("again");
        assert_eq!((updated.bindings.len(), updated.removed.len()), (1, 1));
        assert!(location.connection_lost(ConnectionId(1)).is_empty(), "the old flow holds nothing any more");
        assert_eq!(location.flow_of(AOR, "sip:y@b.invalid;transport=ws", NOW), Some(new));
        assert_eq!(location.connection_lost(ConnectionId(2)).len(), 1);
        assert!(uris(&location, NOW).is_empty());
    }

    #[test]
    fn a_lost_connection_leaves_phones_that_can_be_dialled() {
        let location = Location::new();
        let (wss, tcp, udp) =
            (flow(Protocol::Wss, 1, 1), flow(Protocol::Tcp, 2, 2), flow(Protocol::Udp, 3, 0));
        for (uri, flow) in
            [("sip:w@a.invalid", wss), ("sip:t@198.51.100.7;transport=tcp", tcp), ("sip:u@1.2.3.4", udp)]
        {
            register(&location, flow, vec![contact(uri, flow, 60)]).expect("registered");
        }
        assert_eq!(location.connection_lost(ConnectionId(1)).len(), 1);
        assert!(location.connection_lost(ConnectionId(2)).is_empty());
        let left = location.bindings(AOR, NOW);
        assert_eq!(left.len(), 2);
        assert_eq!(left[0].destination(), None, "its connection is gone: dial the Contact");
        assert_eq!(left[1].destination(), Some(Destination::Flow(udp)));
    }

    #[test]
    fn after_a_restart_phones_are_reachable_and_browsers_are_not() {
        let location = Location::new();
        let (wss, udp) = (flow(Protocol::Wss, 1, 1), flow(Protocol::Udp, 3, 0));
        location.load(vec![
            (AOR.into(), contact("sip:w@a.invalid;transport=ws", wss, 60)),
            (AOR.into(), contact("sip:u@198.51.100.7", udp, 60)),
        ]);
        let reachable: Vec<_> = location.bindings(AOR, NOW).iter().map(Binding::destination).collect();
        let phone = Destination::Address { protocol: Protocol::Udp, remote: udp.remote };
        assert_eq!(reachable, [None, Some(phone)]);
    }

    #[test]
    fn a_writer_sees_that_it_was_overtaken() {
        let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
        let first = register(&location, udp, vec![contact("sip:a@1.2.3.4", udp, 60)]).expect("first");
        assert!(location.is_current(AOR, first.version));
        register(&location, udp, vec![contact("sip:b@1.2.3.4", udp, 60)]).expect("second");
        assert!(!location.is_current(AOR, first.version));
        assert_eq!(location.snapshot(AOR, NOW).0.len(), 2);
    }
}
