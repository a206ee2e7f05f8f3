//! Keys that change what becomes of keys (ng `trigger`, `trigger-end`).

use std::time::{Duration, Instant};

use super::Mode;

/// Keys further apart than this are no sequence, unless the relay is set otherwise (`dtmf-digit-delay`).
pub const APART: Duration = Duration::from_millis(2500);

/// What begins a mode, and what ends it. Keys are event codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trigger {
    /// These, one after the other, begin it.
    pub keys: Vec<u8>,
    /// Which mode (ng `DTMF-security-trigger`).
    pub mode: Mode,
    /// These end it (ng `trigger-end`); with none, no keys do.
    pub end: Vec<u8>,
    /// What comes then (ng `DTMF-security-trigger-end`).
    pub then: Mode,
    /// It ends after so long at the latest (ng `trigger-end-time`).
    pub longest: Option<Duration>,
    /// It ends behind so many keys at the latest (ng `trigger-end-digits`).
    pub most: Option<u32>,
}

/// What follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    /// What becomes of it.
    pub(super) now: Mode,
    /// What becomes of those behind it.
    pub(super) then: Mode,
    /// There is nothing more to wait for.
    pub(super) is_over: bool,
}

/// A trigger and how far it is.
#[derive(Debug)]
pub(super) struct Armed {
    trigger: Trigger,
    /// Keys further apart are no sequence.
    apart: Duration,
    /// The keys heard last, and the timestamp of the newest.
    recent: Vec<u8>,
    last: Option<u32>,
    /// Since when the mode is on.
    since: Option<Instant>,
    count: u32,
}

impl Armed {
    pub(super) fn new(trigger: Trigger, apart: Duration) -> Self {
        Self { trigger, apart, recent: Vec::new(), last: None, since: None, count: 0 }
    }

    /// The mode behind it.
    pub(super) fn after(&self) -> Mode {
        self.trigger.then
    }

    /// Whether its time has run out.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let end =
            self.since.zip(self.trigger.longest).and_then(|(since, longest)| since.checked_add(longest));
        end.is_some_and(|end| end <= now)
    }

    /// Takes a key pressed at `timestamp` on a clock of `clock` Hz, in `mode`.
    pub(super) fn press(&mut self, now: Instant, code: u8, timestamp: u32, clock: u32, mode: Mode) -> Heard {
        let apart = self.last.replace(timestamp).map_or(0, |last| timestamp.wrapping_sub(last));
        if u128::from(apart) * 1000 > self.apart.as_millis() * u128::from(clock.max(1)) {
            self.recent.clear();
        }
        let wanted = if self.since.is_some() { &self.trigger.end } else { &self.trigger.keys };
        if self.recent.len() >= wanted.len().max(1) {
            self.recent.remove(0);
        }
        self.recent.push(code);
        let is_match = !wanted.is_empty() && self.recent == *wanted;
        if self.since.is_none() {
            if !is_match {
                return Heard { now: mode, then: mode, is_over: false };
            }
            self.recent.clear();
            self.since = Some(now);
            return Heard { now: self.trigger.mode, then: self.trigger.mode, is_over: false };
        }
        self.count += 1;
        match (is_match, self.trigger.most) {
            (true, _) => Heard { now: self.trigger.then, then: self.trigger.then, is_over: true },
            // The last of them is one of them.
            (_, Some(most)) if self.count >= most => {
                Heard { now: mode, then: self.trigger.then, is_over: true }
            }
            _ => Heard { now: mode, then: mode, is_over: false },
        }
    }
}
