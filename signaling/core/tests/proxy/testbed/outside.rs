//! The world outside of the proxy but for its relay: a store in memory, and no name servers.

use super::*;

/// Accounts and bindings in memory.
#[derive(Default)]
pub struct MemoryStore {
    /// By user name.
    pub accounts: RefCell<BTreeMap<String, Arc<Account>>>,
    /// By address of record.
    pub bindings: RefCell<BTreeMap<String, Vec<Arc<StoredBinding>>>>,
    /// While set, nothing can be read or saved.
    pub broken: RefCell<bool>,
    /// While set, no bindings can be saved or read.
    pub unsaved: Cell<bool>,
    /// Whether others change the bindings too.
    pub shared: Cell<bool>,
    /// What requests are routed by.
    pub tables: RefCell<Arc<Tables>>,
    /// Who has registered without an account.
    pub known: RefCell<Vec<String>>,
    /// Ends of dialogs that are hidden, by their names.
    pub hidden: RefCell<BTreeMap<String, HiddenEnd>>,
    /// How often it was asked for them.
    pub hidden_asked: Cell<u32>,
}

/// A door that the test holds too.
pub(super) struct Shared<T>(pub(super) Rc<T>);

impl Store for Shared<MemoryStore> {
    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.0.tables.borrow())
    }

    fn account<'a>(
        &'a self,
        username: &'a str,
        domain: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Arc<Account>>, Unavailable>> {
        let found = match *self.0.broken.borrow() {
            true => Err(Unavailable("the disk is on fire".into())),
            false => {
                Ok(self.0.accounts.borrow().get(username).filter(|account| account.domain == domain).cloned())
            }
        };
        ready(found).boxed_local()
    }

    fn save_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        if *self.0.broken.borrow() || self.0.unsaved.get() {
            return ready(Err(Unavailable("the disk is on fire".into()))).boxed_local();
        }
        self.0.bindings.borrow_mut().insert(aor.to_owned(), bindings.to_vec());
        ready(Ok(())).boxed_local()
    }

    fn note_user(&self, aor: &str) {
        self.0.known.borrow_mut().push(aor.to_owned());
    }

    fn is_known_user(&self, aor: &str) -> bool {
        self.0.known.borrow().iter().any(|known| known == aor)
    }

    fn save_hidden(&self, end: HiddenEnd) {
        self.0.hidden.borrow_mut().insert(end.uuid.clone(), end);
    }

    fn forget_hidden(&self, names: Vec<(String, u64)>) {
        let mut hidden = self.0.hidden.borrow_mut();
        for (uuid, until) in names {
            if hidden.get(&uuid).is_some_and(|end| end.until <= until) {
                hidden.remove(&uuid);
            }
        }
    }

    fn hidden<'a>(&'a self, uuid: &'a str) -> LocalBoxFuture<'a, Result<Vec<HiddenEnd>, Unavailable>> {
        self.0.hidden_asked.set(self.0.hidden_asked.get() + 1);
        if *self.0.broken.borrow() {
            return ready(Err(Unavailable("the disk is on fire".into()))).boxed_local();
        }
        let kept = self.0.hidden.borrow();
        let call_id = kept.get(uuid).map(|end| &end.call_id);
        let ends = kept.values().filter(|end| Some(&end.call_id) == call_id).cloned().collect();
        ready(Ok(ends)).boxed_local()
    }

    fn shares_bindings(&self) -> bool {
        self.0.shared.get()
    }

    fn bindings<'a>(
        &'a self,
        aor: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<StoredBinding>>, Unavailable>> {
        if *self.0.broken.borrow() || self.0.unsaved.get() {
            return ready(Err(Unavailable("the disk is on fire".into()))).boxed_local();
        }
        let kept = self.0.bindings.borrow();
        let rows = kept.get(aor).into_iter().flatten().map(|stored| (**stored).clone());
        ready(Ok(Some(rows.collect()))).boxed_local()
    }
}

/// Knows two names.
pub(super) struct FakeResolver;

impl Resolver for FakeResolver {
    fn resolve<'a>(
        &'a self,
        lookup: Lookup<'a>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>> {
        assert!(!lookup.target.ends_with(".invalid"), "a browser's host was looked up");
        let found = match lookup.target {
            "elsewhere.example" => {
                let remote = SocketAddr::from(([203, 0, 113, 5], lookup.port.unwrap_or(5060)));
                Ok(vec![(lookup.transport.unwrap_or(Protocol::Udp), remote)])
            }
            // Two addresses, the better one first.
            "pair.example" => Ok([5, 6]
                .map(|last| {
                    let remote = SocketAddr::from(([203, 0, 113, last], lookup.port.unwrap_or(5060)));
                    (lookup.transport.unwrap_or(Protocol::Udp), remote)
                })
                .to_vec()),
            other => Err(Unavailable(format!("no such name: {other}"))),
        };
        ready(found).boxed_local()
    }

    fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        let text = address.to_string();
        let of = [("198.51.100.", "XA"), ("203.0.113.", "XB"), ("2001:db8:b:", "XB")];
        let country = of.into_iter().find(|(start, _)| text.starts_with(start))?.1;
        country.as_bytes().try_into().ok()
    }
}
