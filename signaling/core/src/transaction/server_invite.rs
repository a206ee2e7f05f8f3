//! The INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §8.5, §8.7).

use std::time::Duration;

use bytes::Bytes;

use super::effect::Effects;
use super::timer::{Timer, Timers, t1_times_64};
use super::{Acked, Trying};
use crate::message::StatusCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Proceeding,
    /// A final reply other than 2xx was sent and waits for its ACK.
    Completed,
    Confirmed,
    /// A 2xx was sent; the user repeats it until its ACK comes (RFC 6026).
    Accepted,
}

/// How often a final response is repeated to a client that may not be where it says.
const REPEATS: u8 = 3;

#[derive(Debug)]
pub(super) struct ServerInvite {
    state: State,
    reliable: bool,
    /// The automatic 100, until something else was sent.
    trying: Option<Bytes>,
    /// The last response sent, replayed byte for byte.
    last: Option<Bytes>,
    interval: Duration,
    /// See [`ServerInvite::doubt`].
    doubted: bool,
    /// Repetitions so far that nobody has asked for, to a client in doubt.
    repeated: u8,
}

impl ServerInvite {
    pub(super) fn start(
        trying: Bytes,
        when: Trying,
        reliable: bool,
        timers: &Timers,
        effects: &mut Effects,
    ) -> Self {
        let mut machine = Self {
            state: State::Proceeding,
            reliable,
            trying: Some(trying),
            last: None,
            interval: timers.retr_timer1,
            doubted: false,
            repeated: 0,
        };
        match when {
            Trying::AtOnce => _ = machine.send_trying(effects),
            Trying::After(delay) => effects.set(Timer::Trying, delay),
            Trying::Never => machine.trying = None,
        }
        // Its branches end before that; this one ends what nobody answers.
        effects.set(Timer::Lifetime, timers.max_inv_lifetime + timers.fr_timer);
        machine
    }

    /// Sends the 100 now, if it was to come later; whether it did.
    pub(super) fn send_trying(&mut self, effects: &mut Effects) -> bool {
        let Some(trying) = self.trying.take() else { return false };
        effects.clear(Timer::Trying);
        effects.send(trying.clone());
        self.last = Some(trying);
        true
    }

    /// The client may not be where it says: a refusal is not repeated until the request is, as long as nothing was said before, and
    /// else it, or a 2xx, [a few times](REPEATS) until there is an ACK.
    pub(super) const fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Whether a final response is repeated once more.
    const fn may_repeat(&mut self) -> bool {
        if self.doubted && self.repeated >= REPEATS {
            return false;
        }
        self.repeated = self.repeated.saturating_add(1);
        true
    }

    pub(super) fn on_retransmission(&self, effects: &mut Effects) {
        let replays = matches!(self.state, State::Proceeding | State::Completed);
        if let Some(last) = self.last.as_ref().filter(|_| replays) {
            effects.send(last.clone());
        }
    }

    pub(super) fn on_ack(&mut self, timers: &Timers, effects: &mut Effects) -> Acked {
        match self.state {
            State::Completed => {
                self.state = State::Confirmed;
                effects.clear(Timer::G);
                effects.clear(Timer::H);
                effects.linger(Timer::I, timers.wt_timer, self.reliable);
                Acked::Absorb
            }
            State::Accepted => {
                self.doubted = false;
                Acked::Deliver
            }
            State::Proceeding | State::Confirmed => Acked::Absorb,
        }
    }

    /// Sends a response of the user; `false` when it comes too late.
    pub(super) fn respond(
        &mut self,
        status: StatusCode,
        bytes: Bytes,
        timers: &Timers,
        effects: &mut Effects,
    ) -> bool {
        match self.state {
            State::Proceeding => {}
            State::Accepted if status.is_success() => {
                if self.may_repeat() {
                    effects.send(bytes);
                }
                return true;
            }
            _ => return false,
        }
        effects.clear(Timer::Trying);
        self.trying = None;
        // A challenge is said once (RFC 3261 §26.3.2.4), lest a forged source is sent eleven. The client that has heard
        // nothing yet asks again when it was lost.
        let once = self.last.is_none() && (self.doubted || matches!(status.code(), 401 | 407));
        effects.send(bytes.clone());
        self.last = Some(bytes);
        if status.is_provisional() {
            return true;
        }
        effects.clear(Timer::Lifetime);
        if status.is_success() {
            self.state = State::Accepted;
            // The user repeats 2xx; this machine never does.
            self.last = None;
            effects.set(Timer::L, t1_times_64(timers));
        } else {
            self.state = State::Completed;
            if !self.reliable && !once {
                effects.set(Timer::G, self.interval);
            }
            effects.set(Timer::H, timers.fr_timer);
        }
        true
    }

    pub(super) fn on_timer(&mut self, timer: Timer, timers: &Timers, effects: &mut Effects) {
        match timer {
            Timer::Trying if self.state == State::Proceeding => _ = self.send_trying(effects),
            Timer::G if self.state == State::Completed && self.may_repeat() => {
                self.on_retransmission(effects);
                self.interval = (self.interval * 2).min(timers.retr_timer2);
                effects.set(Timer::G, self.interval);
            }
            Timer::H => {
                effects.timeout(Timer::H);
                effects.terminate();
            }
            // The user may still answer 408; if he does not, H ends it.
            Timer::Lifetime if self.state == State::Proceeding => {
                effects.timeout(Timer::Lifetime);
                effects.set(Timer::H, timers.wt_timer);
            }
            Timer::I | Timer::L => effects.terminate(),
            _ => {}
        }
    }

    /// The last response, or the 100 that is held back.
    pub(super) fn message(&self) -> Option<Bytes> {
        self.last.clone().or_else(|| self.trying.clone())
    }
}
