//! The server transaction of every method but INVITE and ACK (RFC 3261 §17.2.2).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::effect::Effects;
use super::timer::{Timer, Timers};
use crate::message::StatusCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
}

#[derive(Debug)]
pub(super) struct Server {
    state: State,
    reliable: bool,
    /// The last response sent, replayed byte for byte.
    last: Option<Bytes>,
    created: Instant,
}

impl Server {
    pub(super) fn start(now: Instant, reliable: bool, timers: &Timers, effects: &mut Effects) -> Self {
        effects.set(Timer::Lifetime, timers.max_noninv_lifetime);
        Self { state: State::Trying, reliable, last: None, created: now }
    }

    pub(super) fn on_retransmission(&self, effects: &mut Effects) {
        if let Some(last) = &self.last {
            effects.send(last.clone());
        }
    }

    /// Sends a response of the user; `false` when it comes too late.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        status: StatusCode,
        bytes: Bytes,
        timers: &Timers,
        effects: &mut Effects,
    ) -> bool {
        if self.state == State::Completed {
            return false;
        }
        self.last = Some(bytes.clone());
        effects.send(bytes);
        if status.is_provisional() {
            self.state = State::Proceeding;
            return true;
        }
        self.state = State::Completed;
        effects.clear(Timer::Lifetime);
        effects.linger(Timer::J, self.rest_of_life(now, timers), self.reliable);
        true
    }

    /// Timer J: RFC 3261 says 64·T1 from the answer. The client stops 64·T1 after its first transmission, so that
    /// nothing is lost by counting from the beginning, and memory stays within `max_noninv_lifetime + wt_timer`.
    fn rest_of_life(&self, now: Instant, timers: &Timers) -> Duration {
        let age = now.saturating_duration_since(self.created);
        timers.max_noninv_lifetime.saturating_sub(age).max(timers.wt_timer)
    }

    pub(super) fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        match timer {
            // Too late for any answer: the client has given up (RFC 4320 §4.2 forbids a late 408).
            Timer::Lifetime => {
                effects.timeout(Timer::Lifetime);
                effects.terminate();
            }
            Timer::J => effects.terminate(),
            _ => {}
        }
    }
}
