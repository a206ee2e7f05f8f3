//! What is learnt of a gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::{DISABLED, Gateway, INACTIVE, NewState, PROBING, Settings, TRYING, lock};

/// How long it holds that a gateway has asked for less, where it does not say (RFC 7339 §4.3).
const VALIDITY: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct State {
    /// [`INACTIVE`], [`TRYING`], [`DISABLED`], [`PROBING`].
    flags: AtomicU32,
    /// Failures, or answers while it is inactive, in a row.
    row: AtomicU32,
    /// Whether a question waits for its answer.
    asked: AtomicBool,
    calls: AtomicU32,
    latency: Mutex<Latency>,
    /// How much less it has asked for, in per cent, and above these eight bits until when: in milliseconds since `origin`.
    reduction: AtomicU64,
    /// When it has asked for less for the first time.
    origin: OnceLock<Instant>,
}

/// How long questions took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// How many were answered.
    pub count: u32,
    /// On the average.
    pub average: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Where what is newer counts more.
    pub estimate: f64,
    /// The longest.
    pub longest: f64,
    /// How many had no answer.
    pub timeouts: u32,
    /// Sum of the squares of the differences from the average (Welford).
    squares: f64,
}

impl State {
    /// With an estimate of the latency in milliseconds.
    pub(super) const fn new(flags: u32, estimate: f64) -> Self {
        Self {
            flags: AtomicU32::new(flags),
            row: AtomicU32::new(0),
            asked: AtomicBool::new(false),
            calls: AtomicU32::new(0),
            latency: Mutex::new(Latency {
                count: 0,
                average: 0.0,
                deviation: 0.0,
                estimate,
                longest: 0.0,
                timeouts: 0,
                squares: 0.0,
            }),
            reduction: AtomicU64::new(0),
            origin: OnceLock::new(),
        }
    }

    /// Whether requests go there.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & (INACTIVE | DISABLED) == 0
    }

    /// The two letters of `dispatcher.list`.
    #[must_use]
    pub fn letters(&self) -> String {
        let flags = self.flags.load(Ordering::Relaxed);
        let first = match flags {
            _ if flags & INACTIVE != 0 => 'I',
            _ if flags & DISABLED != 0 => 'D',
            _ if flags & TRYING != 0 => 'T',
            _ => 'A',
        };
        format!("{first}{}", if flags & PROBING == 0 { 'X' } else { 'P' })
    }

    /// Calls that are there now.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How long its answers take.
    #[must_use]
    pub fn latency(&self) -> Latency {
        *lock(&self.latency)
    }

    pub(super) fn set(&self, NewState { flags }: NewState) {
        self.flags.store(flags, Ordering::Relaxed);
        self.row.store(0, Ordering::Relaxed);
    }

    fn is_to_be_asked(&self, all: bool) -> bool {
        let wanted = !self.has(DISABLED) && (all || self.has(PROBING));
        wanted && !self.asked.swap(true, Ordering::Relaxed)
    }

    /// It has answered a question after so long.
    pub fn answered(&self, settings: &Settings, after: Duration) {
        lock(&self.latency).note(after.as_secs_f64() * 1000.0, settings.latency_estimator_alpha);
        self.lives(settings);
    }

    /// It has asked for so many per cent less (RFC 7339 §4.2).
    pub fn reduce(&self, now: Instant, percent: u32, validity: Option<Duration>) {
        let origin = *self.origin.get_or_init(|| now);
        let until = now.saturating_duration_since(origin) + validity.unwrap_or(VALIDITY);
        let until = u64::try_from(until.as_millis()).unwrap_or(0).min(u64::MAX >> 8);
        self.reduction.store(until << 8 | u64::from(percent.min(100)), Ordering::Relaxed);
    }

    /// How many per cent less it is to have now.
    #[must_use]
    pub fn reduction(&self, now: Instant) -> u32 {
        let Some(origin) = self.origin.get() else { return 0 };
        let (asked, passed) =
            (self.reduction.load(Ordering::Relaxed), now.saturating_duration_since(*origin));
        if passed.as_millis() >= u128::from(asked >> 8) { 0 } else { u32::from(asked as u8) }
    }

    /// A question had no answer, or one that says that it cannot serve.
    pub fn unanswered(&self, settings: &Settings) {
        lock(&self.latency).timeouts += 1;
        self.failed(settings);
    }

    fn lives(&self, settings: &Settings) {
        if self.has(DISABLED) {
            return;
        }
        if !self.has(INACTIVE) {
            self.row.store(0, Ordering::Relaxed);
            return self.change(TRYING | if settings.ping_all { 0 } else { PROBING }, 0);
        }
        if self.row.fetch_add(1, Ordering::Relaxed) + 1 >= settings.inactive_threshold {
            self.row.store(0, Ordering::Relaxed);
            self.change(INACTIVE | TRYING | if settings.ping_all { 0 } else { PROBING }, 0);
        }
    }

    /// A request, or a question, has got nowhere. Without questions nobody would take it back, so that it then stays as it is.
    pub fn failed(&self, settings: &Settings) {
        if settings.ping_interval.is_zero() || self.has(DISABLED) {
            return;
        }
        if self.has(INACTIVE) {
            return self.row.store(0, Ordering::Relaxed);
        }
        if self.row.fetch_add(1, Ordering::Relaxed) + 1 >= settings.probing_threshold {
            self.row.store(0, Ordering::Relaxed);
            self.change(TRYING, INACTIVE | PROBING);
        } else {
            self.change(0, TRYING | PROBING);
        }
    }

    fn change(&self, remove: u32, add: u32) {
        let changed = |flags: u32| Some((flags & !remove) | add);
        // Always something: the closure never declines.
        let _ = self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag == flag
    }
}

impl Latency {
    /// `alpha` is the weight of what was before in the estimate.
    fn note(&mut self, millis: f64, alpha: f64) {
        self.count = self.count.saturating_add(1);
        let before = self.average;
        self.average += (millis - before) / f64::from(self.count);
        self.squares += (millis - before) * (millis - self.average);
        self.deviation = (self.squares / f64::from(self.count)).sqrt();
        let first = self.count == 1 && self.estimate == 0.0;
        self.estimate = if first { millis } else { alpha * self.estimate + (1.0 - alpha) * millis };
        self.longest = self.longest.max(millis);
    }
}

/// A question to a gateway, on its way or waiting for its answer. There is no other one while this is kept.
#[derive(Debug)]
pub struct Question(Arc<Gateway>);

impl Question {
    /// One to `gateway`, if it is to be asked and is not being asked.
    pub(super) fn to(gateway: &Arc<Gateway>, all: bool) -> Option<Self> {
        gateway.state.is_to_be_asked(all).then(|| Self(Arc::clone(gateway)))
    }

    /// Whom it is for.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.0
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.state.asked.store(false, Ordering::Relaxed);
    }
}

/// A call at a gateway, for as long as this is kept.
#[derive(Debug)]
pub struct Load(Arc<Gateway>);

impl Load {
    /// One more.
    #[must_use]
    pub fn new(gateway: &Arc<Gateway>) -> Self {
        gateway.state.calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(gateway))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.state.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
