//! The INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §8.4).

use std::time::Duration;

use bytes::Bytes;

use super::effect::Effects;
use super::timer::{Patience, Timer, Timers, t1_times_64};
use super::{Cancelled, Config};
use crate::message::{Name, Request, Response, StatusCode, build};
use crate::settings::CancelBMethod;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    /// A final reply other than 2xx came and was acknowledged.
    Completed,
    /// A 2xx came; each goes to the user (RFC 6026).
    Accepted,
}

/// How far a CANCEL has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cancel {
    No,
    /// To be sent with these Reasons and the first provisional reply: before it, the CANCEL could overtake the INVITE
    /// (RFC 3261 §9.1).
    Wanted(Vec<Box<str>>),
    Sent,
}

#[derive(Debug)]
pub(super) struct ClientInvite {
    state: State,
    reliable: bool,
    /// As sent: ACK and CANCEL are built from it.
    request: Request,
    bytes: Bytes,
    /// The ACK, sent again with each retransmission of the final reply.
    ack: Bytes,
    interval: Duration,
    cancel: Cancel,
    patience: Patience,
    /// The highest code of the provisional replies so far.
    highest: u16,
}

impl ClientInvite {
    pub(super) fn start(
        request: Request,
        reliable: bool,
        timers: &Timers,
        patience: Patience,
        effects: &mut Effects,
    ) -> Self {
        let bytes = request.to_bytes();
        effects.send(bytes.clone());
        if !reliable {
            effects.set(Timer::A, timers.retr_timer1);
        }
        effects.set(Timer::B, patience.fr_timer);
        effects.set(Timer::Lifetime, patience.max_lifetime);
        let interval = timers.retr_timer1;
        let (state, ack, cancel) = (State::Calling, Bytes::new(), Cancel::No);
        Self { state, reliable, request, bytes, ack, interval, cancel, patience, highest: 0 }
    }

    /// Whether the user is to see `response`.
    pub(super) fn on_response(
        &mut self,
        response: &Response,
        config: &Config,
        effects: &mut Effects,
    ) -> bool {
        let (status, timers) = (response.status(), &config.timers);
        match self.state {
            State::Calling | State::Proceeding if status.is_provisional() => {
                self.proceed(status, effects);
                true
            }
            State::Calling | State::Proceeding => {
                for timer in [Timer::A, Timer::B, Timer::C, Timer::Lifetime] {
                    effects.clear(timer);
                }
                if status.is_success() {
                    self.state = State::Accepted;
                    effects.set(Timer::M, t1_times_64(timers));
                } else {
                    self.state = State::Completed;
                    self.ack = build::ack(&self.request, response, &config.ac_extra_hdrs).to_bytes();
                    effects.send(self.ack.clone());
                    effects.linger(Timer::D, t1_times_64(timers), self.reliable);
                }
                true
            }
            State::Completed => {
                if status.is_final() && !status.is_success() {
                    effects.send(self.ack.clone());
                }
                false
            }
            State::Accepted => status.is_success(),
        }
    }

    fn proceed(&mut self, status: StatusCode, effects: &mut Effects) {
        let first = self.state == State::Calling;
        self.state = State::Proceeding;
        if first {
            effects.clear(Timer::A);
            effects.clear(Timer::B);
        }
        let higher = status.code() > self.highest;
        self.highest = self.highest.max(status.code());
        let restarts = higher || (self.patience.restart_fr_on_each_reply && status != StatusCode::TRYING);
        // Once cancelled, ringing must not keep the branch alive (RFC 3261 §9.1).
        if self.cancel == Cancel::No && (first || restarts) {
            effects.set(Timer::C, self.patience.fr_inv_timer);
        }
    }

    pub(super) fn on_timer(&mut self, timer: Timer, timers: &Timers, effects: &mut Effects) {
        match timer {
            Timer::A if self.state == State::Calling => {
                effects.send(self.bytes.clone());
                self.interval *= 2;
                effects.set(Timer::A, self.interval);
            }
            Timer::B => {
                effects.timeout(Timer::B);
                effects.terminate();
            }
            // The user cancels; if he does not, or no 487 comes, B ends it.
            Timer::C | Timer::Lifetime if self.state == State::Proceeding => {
                effects.clear(Timer::C);
                effects.clear(Timer::Lifetime);
                effects.set(Timer::B, t1_times_64(timers));
                effects.timeout(timer);
            }
            Timer::Lifetime => {
                effects.timeout(Timer::Lifetime);
                effects.terminate();
            }
            Timer::D | Timer::M => effects.terminate(),
            _ => {}
        }
    }

    /// Asks for a CANCEL.
    pub(super) fn want_cancel(
        &mut self,
        reasons: &[&str],
        config: &Config,
        effects: &mut Effects,
    ) -> Cancelled {
        if !matches!(self.state, State::Calling | State::Proceeding) || self.cancel != Cancel::No {
            return Cancelled::No;
        }
        self.cancel = Cancel::Wanted(reasons.iter().map(|&reason| reason.into()).collect());
        if self.state == State::Proceeding || config.cancel_b_method == CancelBMethod::Wait {
            return Cancelled::Yes;
        }
        effects.clear(Timer::A);
        match config.cancel_b_method {
            CancelBMethod::Stop => Cancelled::Unheard,
            CancelBMethod::Wait | CancelBMethod::AtOnce => Cancelled::Yes,
        }
    }

    /// The CANCEL, when it is wanted and may be sent now.
    pub(super) fn take_cancel(&mut self, config: &Config, effects: &mut Effects) -> Option<Request> {
        let Cancel::Wanted(reasons) = &self.cancel else { return None };
        let may = match self.state {
            State::Calling => config.cancel_b_method == CancelBMethod::AtOnce,
            state => state == State::Proceeding,
        };
        if !may {
            return None;
        }
        let mut cancel = build::cancel(&self.request, &config.ac_extra_hdrs);
        for reason in reasons {
            cancel.push(Name::Reason, reason.as_bytes());
        }
        self.cancel = Cancel::Sent;
        effects.clear(Timer::C);
        effects.set(Timer::B, t1_times_64(&config.timers));
        Some(cancel)
    }

    /// The request as it was sent.
    pub(super) fn message(&self) -> Bytes {
        self.bytes.clone()
    }
}
