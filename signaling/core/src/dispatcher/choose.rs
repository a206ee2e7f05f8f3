//! Which gateway of a set a request goes to, by the numbers of Kamailio's `ds_select_dst`.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

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
    /// 7: by what `hash_pvar` says.
    Variables,
    /// 8: the one of the highest priority.
    Priority,
    /// 9: by chance, with the shares `weight`.
    Weight,
    /// 10: the one with the fewest calls, `maxload` at most.
    Load,
    /// 11: by chance, with the shares `rweight`; one with `cc` has a smaller one the more it is congested.
    RelativeWeight,
    /// 12: all of them at once.
    Parallel,
    /// 13: those of the highest priority one after the other, where a slow answer lowers the priority.
    Latency,
    /// 14: those of the highest priority one after the other; the others only after them.
    RoundRobinSerial,
    /// 15: by priority, and among equals by chance with the shares `weight` (as RFC 2782 has it).
    PriorityWeight,
    /// 64: one after the other, and past those that have asked for less (RFC 7339).
    Overload,
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
            7 => Self::Variables,
            8 => Self::Priority,
            9 => Self::Weight,
            10 => Self::Load,
            11 => Self::RelativeWeight,
            12 => Self::Parallel,
            13 => Self::Latency,
            14 => Self::RoundRobinSerial,
            15 => Self::PriorityWeight,
            64 => Self::Overload,
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
    /// What `hash_pvar` says of the request.
    pub variables: &'a str,
    /// A number by chance.
    pub random: u32,
    /// The present.
    pub now: Instant,
}

/// See [`super::Dispatcher::select`].
pub(super) fn order(set: &Set, algorithm: Algorithm, key: &Key<'_>) -> Vec<Arc<Gateway>> {
    let all = &set.gateways;
    let first = match algorithm {
        Algorithm::CallId => hashed(key.call_id),
        Algorithm::From => hashed(key.from),
        Algorithm::To => hashed(key.to),
        Algorithm::RequestUri => hashed(key.request_uri),
        Algorithm::User => key.user.map_or_else(|| turn(set), hashed),
        Algorithm::RoundRobin => turn(set),
        Algorithm::Random => key.random as usize,
        Algorithm::Weight => by_share(all, key.random, |gateway| gateway.attrs.weight),
        Algorithm::Variables => hashed(key.variables),
        Algorithm::RelativeWeight => by_relative_weight(all, key.random),
        Algorithm::Load => return by_load(all),
        Algorithm::Latency => return in_turns(set, adjusted_priority),
        Algorithm::RoundRobinSerial => return in_turns(set, |gateway| gateway.priority),
        Algorithm::PriorityWeight => return by_priority_and_weight(all, key.random),
        Algorithm::Overload => return by_overload(set, key),
        Algorithm::Priority | Algorithm::Parallel => 0,
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

/// Those with the highest `rank` one after the other, and the rest behind them by falling rank.
fn in_turns(set: &Set, rank: impl Fn(&Gateway) -> i64) -> Vec<Arc<Gateway>> {
    let mut open = usable(set.gateways.iter());
    open.sort_by_cached_key(|gateway| Reverse(rank(gateway)));
    let Some(highest) = open.first().map(|gateway| rank(gateway)) else { return open };
    let equals = open.iter().take_while(|gateway| rank(gateway) == highest).count();
    let turn = set.turn.fetch_add(1, Ordering::Relaxed);
    open[..equals].rotate_left(turn % equals);
    open
}

/// The priority, lowered by one each time that the latency has as many milliseconds as it has points.
fn adjusted_priority(gateway: &Gateway) -> i64 {
    let latency = gateway.state.latency();
    let slow = if gateway.attrs.cc { congestion(gateway) } else { latency.estimate };
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds of an answer that had its time limit")]
    let slow = slow.max(0.0) as i64;
    gateway.priority - slow / gateway.priority.max(1)
}

/// How much longer than usual its answers take, in milliseconds.
fn congestion(gateway: &Gateway) -> f64 {
    let latency = gateway.state.latency();
    (latency.estimate - latency.average).max(0.0)
}

/// Where all of those that are judged by their congestion have more of it than their `weight` bears, those with less have more.
fn by_relative_weight(all: &[Arc<Gateway>], random: u32) -> usize {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds, and not below 0"
    )]
    let congested = |gateway: &Gateway| if gateway.attrs.cc { congestion(gateway) as u32 } else { 0 };
    let share = |gateway: &Gateway| {
        let congested = congested(gateway);
        let bears = congested == 0 || congested < gateway.attrs.weight;
        if bears { gateway.attrs.rweight.saturating_sub(congested) } else { 0 }
    };
    let in_use = || all.iter().filter(|gateway| gateway.state.is_usable());
    if in_use().any(|gateway| share(gateway) > 0) {
        return by_share(all, random, share);
    }
    let total = in_use().fold(0_u32, |total, gateway| total.saturating_add(congested(gateway)));
    by_share(all, random, |gateway| total - congested(gateway))
}

/// By falling priority; those of one priority are drawn one by one, with the chances `weight`.
fn by_priority_and_weight(all: &[Arc<Gateway>], random: u32) -> Vec<Arc<Gateway>> {
    let mut left = usable(all.iter());
    let (mut drawn, mut random) = (Vec::with_capacity(left.len()), random);
    while let Some(highest) = left.first().map(|gateway| gateway.priority) {
        let equals = left.iter().take_while(|gateway| gateway.priority == highest).count();
        let place = by_share(&left[..equals], random, |gateway| gateway.attrs.weight);
        drawn.push(left.remove(place));
        // Another number out of the one there is (Lehmer's, with the multiplier of Park and Miller).
        random = u32::try_from(u64::from(random.max(1)) * 48_271 % 0x7fff_ffff).unwrap_or(1);
    }
    drawn
}

/// Those that have not asked for less first. Of what is to be refused by all of them, somebody has to take it.
fn by_overload(set: &Set, key: &Key<'_>) -> Vec<Arc<Gateway>> {
    let mut open = in_turns(set, |_| 0);
    let percent = key.random % 100;
    let (mut taking, sparing): (Vec<_>, Vec<_>) =
        open.drain(..).partition(|gateway| percent >= gateway.state.reduction(key.now));
    taking.extend(sparing);
    taking
}
