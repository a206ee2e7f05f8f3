//! The other doors of the proxy: accounts and bindings in memory, and names that all lead nowhere.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use signaling_core::flow::Protocol;
use signaling_core::outside::{Account, Lookup, Resolver, Store, StoredBinding, Unavailable};

/// Accounts and bindings.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// By user name.
    pub accounts: RefCell<HashMap<String, Arc<Account>>>,
    /// By address of record; only those that have any.
    pub bindings: RefCell<BTreeMap<String, Vec<Arc<StoredBinding>>>>,
}

/// The store as the proxy holds it.
#[derive(Debug)]
pub struct SharedStore(pub Rc<MemoryStore>);

impl Store for SharedStore {
    fn account<'a>(
        &'a self,
        username: &'a str,
        domain: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Arc<Account>>, Unavailable>> {
        let accounts = self.0.accounts.borrow();
        let found = accounts.get(username).filter(|account| account.domain == domain).cloned();
        ready(Ok(found)).boxed_local()
    }

    fn save_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        let mut kept = self.0.bindings.borrow_mut();
        if bindings.is_empty() {
            kept.remove(aor);
        } else {
            kept.insert(aor.to_owned(), bindings.to_vec());
        }
        ready(Ok(())).boxed_local()
    }
}

/// Knows no name: every address of the simulated world is literal.
#[derive(Debug)]
pub struct NoNames;

impl Resolver for NoNames {
    fn resolve<'a>(
        &'a self,
        lookup: Lookup<'a>,
    ) -> LocalBoxFuture<'a, Result<Vec<(Protocol, SocketAddr)>, Unavailable>> {
        ready(Err(Unavailable(format!("no such name: {}", lookup.target)))).boxed_local()
    }
}
