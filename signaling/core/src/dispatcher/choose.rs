//! Which gateway of a set a request goes to, by the numbers of Kamailio's `ds_select_dst`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Gateway, Set};

/// How one is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// 0: by the Call-ID.
    CallId,
    /// 1: by the From URI.
    From,
    /// 2: by the To URI.
    To,
    /// 3: by the Request-URI.
    RequestUri,
    /// 4: one after the other.
    #[default]
    RoundRobin,
    /// 5: by the user that has proved who he is; without one, one after the other.
    User,
    /// 6: by chance.
    Random,
    /// 8: the one of the highest priority.
    Priority,
    /// 9: by chance, with the shares `weight`.
    Weight,
    /// 10: the one with the fewest calls, `maxload` at most.
    Load,
    /// 11: by chance, with the shares `rweight`.
    RelativeWeight,
    /// 12: all of them at once.
    Parallel,
    /// 13: the one that answers soonest.
    Latency,
}

impl Algorithm {
    /// By Kamailio's number; `None` for one that is not known here.
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::CallId,
            1 => Self::From,
            2 => Self::To,
            3 => Self::RequestUri,
            4 => Self::RoundRobin,
            5 => Self::User,
            6 => Self::Random,
            8 => Self::Priority,
            9 => Self::Weight,
            10 => Self::Load,
            11 => Self::RelativeWeight,
            12 => Self::Parallel,
            13 => Self::Latency,
            _ => return None,
        })
    }
}

/// What a choice may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Of the request.
    pub call_id: &'a str,
    /// The URI of From.
    pub from: &'a str,
    /// The URI of To.
    pub to: &'a str,
    /// Likewise.
    pub request_uri: &'a str,
    /// The address of record of whoever has proved it.
    pub user: Option<&'a str>,
    /// A number by chance.
    pub random: u32,
}

/// See [`super::Dispatcher::select`].
pub(super) fn order(set: &Set, algorithm: Algorithm, key: &Key<'_>) -> Vec<Arc<Gateway>> {
    let all = &set.gateways;
    if algorithm == Algorithm::Load {
        return by_load(all);
    }
    let first = match algorithm {
        Algorithm::CallId => hashed(key.call_id),
        Algorithm::From => hashed(key.from),
        Algorithm::To => hashed(key.to),
        Algorithm::RequestUri => hashed(key.request_uri),
        Algorithm::User => key.user.map_or_else(|| turn(set), hashed),
        Algorithm::RoundRobin => turn(set),
        Algorithm::Random => key.random as usize,
        Algorithm::Weight => by_share(all, key.random, |gateway| gateway.attrs.weight),
        Algorithm::RelativeWeight => by_share(all, key.random, |gateway| gateway.attrs.rweight),
        Algorithm::Latency => return by_latency(all),
        Algorithm::Priority | Algorithm::Parallel | Algorithm::Load => 0,
    };
    // The others follow in their order, around the end.
    let places = (0..all.len()).map(|step| (first % all.len() + step) % all.len());
    usable(places.map(|place| &all[place]))
}

fn usable<'a>(gateways: impl Iterator<Item = &'a Arc<Gateway>>) -> Vec<Arc<Gateway>> {
    gateways.filter(|gateway| gateway.state.is_usable()).cloned().collect()
}

/// The same for the same text as long as the set is the same.
fn hashed(text: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    (hasher.finish() >> 32) as usize
}

/// Those that are out of use have no turn, so that nobody has two.
fn turn(set: &Set) -> usize {
    let places: Vec<usize> =
        (0..set.gateways.len()).filter(|place| set.gateways[*place].state.is_usable()).collect();
    let turn = set.turn.fetch_add(1, Ordering::Relaxed);
    if places.is_empty() { 0 } else { places[turn % places.len()] }
}

/// The place of one by its share of those that are usable; without any shares, the first.
fn by_share(all: &[Arc<Gateway>], random: u32, share: impl Fn(&Gateway) -> u32) -> usize {
    let shares = all.iter().map(|gateway| if gateway.state.is_usable() { share(gateway) } else { 0 });
    let total: u64 = shares.clone().map(u64::from).sum();
    if total == 0 {
        return 0;
    }
    let mut left = u64::from(random) % total;
    for (place, share) in shares.enumerate() {
        if left < u64::from(share) {
            return place;
        }
        left -= u64::from(share);
    }
    0
}

fn by_load(all: &[Arc<Gateway>]) -> Vec<Arc<Gateway>> {
    let mut open = usable(all.iter());
    open.retain(|gateway| gateway.attrs.maxload == 0 || gateway.state.calls() < gateway.attrs.maxload);
    open.sort_by_key(|gateway| gateway.state.calls());
    open
}

fn by_latency(all: &[Arc<Gateway>]) -> Vec<Arc<Gateway>> {
    let mut open = usable(all.iter());
    open.sort_by(|one, other| one.state.latency().estimate.total_cmp(&other.state.latency().estimate));
    open
}
