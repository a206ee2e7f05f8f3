//! What a machine asks of the table that owns it.

use std::time::Duration;

use bytes::Bytes;

use super::timer::Timer;

#[derive(Debug)]
pub(super) enum Effect {
    Send(Bytes),
    Set(Timer, Duration),
    Clear(Timer),
    /// Tells the user.
    Timeout(Timer),
    /// This final response is what retransmissions hear once the transaction is gone, until timer J.
    Remember(Bytes),
    Terminate,
}

/// The effects of one step, in order.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) list: Vec<Effect>,
}

impl Effects {
    pub(super) fn send(&mut self, bytes: Bytes) {
        self.list.push(Effect::Send(bytes));
    }

    pub(super) fn set(&mut self, timer: Timer, after: Duration) {
        self.list.push(Effect::Set(timer, after));
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.list.push(Effect::Clear(timer));
    }

    pub(super) fn timeout(&mut self, timer: Timer) {
        self.list.push(Effect::Timeout(timer));
    }

    pub(super) fn remember(&mut self, bytes: Bytes) {
        self.list.push(Effect::Remember(bytes));
    }

    pub(super) fn terminate(&mut self) {
        self.list.push(Effect::Terminate);
    }

    /// Ends after `after`, or at once over a reliable transport, where no retransmissions need absorbing.
    pub(super) fn linger(&mut self, timer: Timer, after: Duration, reliable: bool) {
        if reliable {
            self.terminate();
        } else {
            self.set(timer, after);
        }
    }
}
