//! What a REGISTER does to the bindings of an address of record (RFC 3261 §10.3 steps 6 and 7).

use std::sync::Arc;

use super::Binding;
use crate::flow::Flow;
use crate::outside::{BindingRow, StoredBinding};
use crate::settings::MatchingMode;

/// A REGISTER, as far as the table is concerned.
#[derive(Debug, Clone)]
pub struct Registration<'a> {
    /// `user@domain`.
    pub aor: &'a str,
    /// Its Call-ID and CSeq number order the updates (RFC 3261 §10.3 step 7).
    pub call_id: &'a str,
    /// See there.
    pub cseq: u32,
    /// Where it came from.
    pub flow: Flow,
    /// Its contacts.
    pub changes: Changes,
    /// What the operator chose.
    pub rules: Rules,
}

/// The settings that an update follows.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Contacts an address of record may have.
    pub max_contacts: usize,
    /// What makes two contacts the same.
    pub matching_mode: MatchingMode,
    /// For so many seconds the same CSeq is a repetition.
    pub cseq_delay: u64,
}

/// What a REGISTER wants done.
#[derive(Debug, Clone)]
pub enum Changes {
    /// `Contact: *` with `Expires: 0`: everything goes.
    RemoveAll,
    /// One entry per Contact, with our end of the flow; one whose `expires_at` is not after now is removed.
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
    pub bindings: Vec<Arc<StoredBinding>>,
    /// For [`super::Location::is_current`].
    pub version: u64,
    /// What to go back to when `bindings` cannot be kept: see [`super::Location::restore`].
    pub before: Vec<Binding>,
    /// Which bindings it touched.
    pub outcome: Outcome,
    /// Whether it has done no more than [`crate::outside::Store::renew_bindings`] is for.
    pub renewal: bool,
}

/// The bindings that a REGISTER touched.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Those that it added or renewed.
    pub registered: Vec<Arc<StoredBinding>>,
    /// Those that it removed.
    pub removed: Vec<Arc<StoredBinding>>,
    /// Those in whose place the same instance has put another Contact.
    pub replaced: Vec<Arc<StoredBinding>>,
}

impl Outcome {
    /// Whether all of `before` is still there, and nothing else has changed but when some of it ends.
    pub(super) fn is_renewal(&self, before: &[Binding], after: &[Arc<StoredBinding>]) -> bool {
        let renews = |new: &Arc<StoredBinding>| {
            let old = before.iter().find(|old| old.stored.ruid() == new.ruid());
            old.is_some_and(|old| old.stored.is_renewed_by(new))
        };
        before.len() == after.len()
            && self.removed.is_empty()
            && self.replaced.is_empty()
            && self.registered.iter().all(renews)
    }
}

/// The bindings after a REGISTER on `before`.
pub(super) fn apply(
    registration: &Registration<'_>,
    before: &[Binding],
    unix_now: u64,
) -> Result<(Vec<Binding>, Outcome), Rejected> {
    let Registration { call_id, cseq, flow, changes, rules, .. } = registration;
    let mut bindings: Vec<Binding> = before.iter().filter(|old| old.ends_at() > unix_now).cloned().collect();
    let (mut outcome, mut added) = (Outcome::default(), 0);
    let contacts = match changes {
        Changes::RemoveAll => {
            let overtaken = |old: &Binding| old.stored.call_id() == *call_id && old.stored.cseq() >= *cseq;
            if bindings.iter().any(overtaken) {
                return Err(Rejected::OutOfOrder);
            }
            outcome.removed = bindings.drain(..).map(|binding| binding.stored).collect();
            return Ok((bindings, outcome));
        }
        Changes::Each(contacts) => contacts,
    };
    for wanted in contacts {
        let same = |old: &Binding| old.stored.names_same_contact(wanted, rules.matching_mode);
        let known = bindings.iter().position(same);
        if let Some(old) = known.map(|at| &*bindings[at].stored)
            && old.call_id() == *call_id
            && old.cseq() >= *cseq
        {
            if old.cseq() == *cseq && old.last_modified() + rules.cseq_delay > unix_now {
                continue;
            }
            return Err(Rejected::OutOfOrder);
        }
        let old = known.map(|at| bindings.remove(at));
        if wanted.expires_at() <= unix_now {
            outcome.removed.extend(old.map(|old| old.stored));
            continue;
        }
        added += usize::from(old.is_none());
        let ruid = old.as_ref().map_or(wanted.ruid(), |old| old.stored.ruid());
        let row = BindingRow { ruid, ..wanted.row() };
        let stored = Arc::new(StoredBinding::from(row));
        outcome.registered.push(Arc::clone(&stored));
        bindings.push(match &old {
            Some(old) => Binding::in_place_of(old, stored, flow.connection, unix_now),
            None => Binding::new(stored, flow.connection, unix_now),
        });
        let replaced = old.map(|old| old.stored).filter(|old| old.contact() != wanted.contact());
        outcome.replaced.extend(replaced);
    }
    if added > 0 && bindings.len() > rules.max_contacts {
        return Err(Rejected::TooManyContacts);
    }
    Ok((bindings, outcome))
}
