//! The server transaction of every method but INVITE and ACK (RFC 3261 §17.2.2).

use bytes::Bytes;

use super::effect::Effects;
use super::timer::{Timer, Timers};
use crate::message::StatusCode;

/// Trying until there is a `last`, then Proceeding; Completed is what [`super::answered`] does.
#[derive(Debug)]
pub(super) struct Server {
    reliable: bool,
    /// The last provisional response, replayed byte for byte.
    last: Option<Bytes>,
}

impl Server {
    pub(super) fn start(reliable: bool, timers: &Timers, effects: &mut Effects) -> Self {
        effects.set(Timer::Lifetime, timers.max_noninv_lifetime);
        Self { reliable, last: None }
    }

    pub(super) fn on_retransmission(&self, effects: &mut Effects) {
        if let Some(last) = &self.last {
            effects.send(last.clone());
        }
    }

    /// Sends a response of the user.
    pub(super) fn respond(&mut self, status: StatusCode, bytes: Bytes, effects: &mut Effects) {
        if status.is_provisional() {
            self.last = Some(bytes.clone());
            return effects.send(bytes);
        }
        effects.send(bytes.clone());
        if !self.reliable {
            effects.remember(bytes);
        }
        effects.terminate();
    }

    pub(super) fn on_timer(&self, timer: Timer, effects: &mut Effects) {
        // Too late for any answer: the client has given up (RFC 4320 §4.2 forbids a late 408).
        if timer == Timer::Lifetime {
            effects.timeout(Timer::Lifetime);
            effects.terminate();
        }
    }

    /// The last response.
    pub(super) fn message(&self) -> Option<Bytes> {
        self.last.clone()
    }
}
