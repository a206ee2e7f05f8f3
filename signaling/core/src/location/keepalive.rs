//! Whose turn it is to be asked whether he is still there (Kamailio's nathelper).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Binding, Gone, Location, Shard};
use crate::event::Expiry;
use crate::flow::{Flow, Protocol};
use crate::outside::StoredBinding;
use crate::settings::Nathelper;
use crate::shards::Shards;

/// The interval is cut into so many turns, so that no moment has to carry more than that part of all contacts.
const TURNS: u64 = 256;
/// Turns that are made up for when everybody was late.
const MISSED: u64 = 8;
/// Turns that a shard is met in.
const PARTS: u64 = TURNS / Shards::<Shard>::COUNT as u64;

/// Where the round stands.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The last turn that somebody has taken, counted from 1970.
    turn: AtomicU64,
    /// Whether there may be anybody to be asked.
    wanted: AtomicBool,
    /// Whether this round has met anybody.
    met: AtomicBool,
}

/// A contact to be asked.
#[derive(Debug, Clone)]
pub struct Ping {
    /// Its address of record.
    pub aor: Arc<str>,
    /// The binding.
    pub stored: Arc<StoredBinding>,
    /// The flow to keep open.
    pub flow: Flow,
}

impl Location {
    /// The time between two turns; `None` when nobody has to be asked.
    #[must_use]
    pub fn turn_length(&self, nathelper: &Nathelper) -> Option<Duration> {
        let some = !nathelper.natping_interval.is_zero() && self.round.wanted.load(Ordering::Relaxed);
        some.then(|| nathelper.natping_interval / TURNS as u32)
    }

    /// Takes the turns that are due at `unix_millis` and that no other worker has taken: the contacts to be asked now, and
    /// those that have answered nothing for too long and are removed.
    pub fn take_turns(&self, nathelper: &Nathelper, unix_millis: u64) -> (Vec<Ping>, Vec<Gone>) {
        let (mut pings, mut gone) = (Vec::new(), Vec::new());
        let interval = nathelper.natping_interval.as_millis() as u64;
        if interval == 0 {
            return (pings, gone);
        }
        let now =
            u64::try_from(u128::from(unix_millis) * u128::from(TURNS) / u128::from(interval)).unwrap_or(0);
        let before = self.round.turn.fetch_max(now, Ordering::Relaxed);
        // After a pause the round goes on from here: whoever was left out has his turn within the interval.
        for turn in (before + 1).max(now.saturating_sub(MISSED))..=now {
            self.take_turn(turn % TURNS, nathelper, unix_millis / 1000, &mut pings, &mut gone);
        }
        (pings, gone)
    }

    /// A contact has answered.
    pub fn heard(&self, aor: &str, ruid: &str, unix_now: u64) {
        let mut shard = self.shard(aor);
        let bindings = shard.records.get_mut(aor).map(|record| &mut record.bindings);
        if let Some(binding) = bindings.into_iter().flatten().find(|binding| binding.stored.ruid() == ruid) {
            binding.hear(unix_now);
        }
    }

    /// There is a contact that may have to be asked.
    pub(super) fn want_turns(&self, binding: &StoredBinding) {
        if binding.protocol() == Protocol::Udp {
            self.round.wanted.store(true, Ordering::Relaxed);
            self.round.met.store(true, Ordering::Relaxed);
        }
    }

    fn take_turn(
        &self,
        turn: u64,
        nathelper: &Nathelper,
        unix_now: u64,
        pings: &mut Vec<Ping>,
        gone: &mut Vec<Gone>,
    ) {
        if turn == 0 && !self.round.met.swap(false, Ordering::Relaxed) {
            self.round.wanted.store(false, Ordering::Relaxed);
        }
        let (shard, part) = (turn / PARTS, turn % PARTS);
        let (met, timeout) = (pings.len() + gone.len(), nathelper.keepalive_timeout.as_secs());
        let asked = |binding: &Binding| binding.is_asked(nathelper.ping_nated_only, unix_now);
        let silent = |binding: &Binding| timeout > 0 && binding.is_silent(timeout, unix_now);
        let mut shard = self.shards.at(shard);
        for (aor, record) in &mut shard.records {
            if self.part_of(aor) != part || !record.bindings.iter().any(asked) {
                continue;
            }
            for binding in record.bindings.iter().filter(|binding| asked(binding)) {
                let (aor, stored) = (Arc::clone(aor), Arc::clone(&binding.stored));
                if silent(binding) {
                    let cause = Expiry::Unanswered;
                    gone.push(Gone { aor, stored, cause, held: false, connection: None });
                } else if let Some(flow) = binding.flow() {
                    pings.push(Ping { aor, stored, flow });
                }
            }
            if record.bindings.iter().any(|binding| asked(binding) && silent(binding)) {
                let mut left = record.take();
                left.retain(|binding| !(asked(binding) && silent(binding)));
                record.put(left);
            }
        }
        if pings.len() + gone.len() > met {
            self.round.met.store(true, Ordering::Relaxed);
        }
    }

    fn part_of(&self, aor: &str) -> u64 {
        // The low bits have chosen the shard.
        (self.shards.hash(aor) >> 32) % PARTS
    }
}

impl Binding {
    /// Whether its flow is one of datagrams that somebody has to keep open.
    fn is_asked(&self, nated_only: bool, unix_now: u64) -> bool {
        self.stored.protocol() == Protocol::Udp
            && self.stored.expires_at() > unix_now
            && (self.is_nated() || !nated_only)
            && self.flow().is_some()
    }
}
