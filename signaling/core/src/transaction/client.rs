//! The client transaction of every method but INVITE and ACK (RFC 3261 §17.1.2).

use std::time::Duration;

use bytes::Bytes;

use super::effect::Effects;
use super::timer::{Patience, Timer, Timers};
use crate::message::{Request, Response};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
}

#[derive(Debug)]
pub(super) struct Client {
    state: State,
    reliable: bool,
    bytes: Bytes,
    interval: Duration,
}

impl Client {
    pub(super) fn start(
        request: &Request,
        reliable: bool,
        timers: &Timers,
        patience: Patience,
        effects: &mut Effects,
    ) -> Self {
        let bytes = request.to_bytes();
        effects.send(bytes.clone());
        if !reliable {
            effects.set(Timer::E, timers.retr_timer1);
        }
        effects.set(Timer::F, patience.fr_timer.min(patience.max_lifetime));
        Self { state: State::Trying, reliable, bytes, interval: timers.retr_timer1 }
    }

    /// Whether the user is to see `response`.
    pub(super) fn on_response(
        &mut self,
        response: &Response,
        timers: &Timers,
        effects: &mut Effects,
    ) -> bool {
        if self.state == State::Completed {
            return false;
        }
        if response.status().is_provisional() {
            self.state = State::Proceeding;
            return true;
        }
        self.state = State::Completed;
        effects.clear(Timer::E);
        effects.clear(Timer::F);
        effects.linger(Timer::K, timers.wt_timer, self.reliable);
        true
    }

    pub(super) fn on_timer(&mut self, timer: Timer, timers: &Timers, effects: &mut Effects) {
        match timer {
            Timer::E if self.state != State::Completed => {
                effects.send(self.bytes.clone());
                self.interval = match self.state {
                    State::Trying => (self.interval * 2).min(timers.retr_timer2),
                    _ => timers.retr_timer2,
                };
                effects.set(Timer::E, self.interval);
            }
            Timer::F => {
                effects.timeout(Timer::F);
                effects.terminate();
            }
            Timer::K => effects.terminate(),
            _ => {}
        }
    }

    /// The request as it was sent.
    pub(super) fn message(&self) -> Bytes {
        self.bytes.clone()
    }
}
