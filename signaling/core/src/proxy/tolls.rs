//! The time of calls to the telephone network, of which there is so much a day: see [`crate::tolls`].

use std::time::{Duration, Instant};

use super::Proxy;
use crate::dialog::Call;
use crate::event::{EndCause, Event};
use crate::profiles::Seat;
use crate::tolls::Reached;

/// How often it is looked how long they last.
const TICK: Duration = Duration::from_secs(1);

impl Proxy {
    /// A call begins whose time counts.
    pub(super) fn expect_tolls(&mut self) {
        self.next_toll.get_or_insert(self.world.now() + TICK);
    }

    /// Counts what calls have lasted, and ends those of whom the time of the day is used up.
    pub(super) fn count_tolls(&mut self) {
        let now = self.world.now();
        if self.next_toll.is_none_or(|next| next > now) {
            return;
        }
        let (mut counted, mut over) = (false, Vec::new());
        self.world.calls.borrow_mut().each(|call| {
            counted |= call.toll.is_some();
            if let Some(seat) = self.count_toll(call, now) {
                over.push((call.call_id.clone(), call.caller.tag.clone(), seat));
            }
            call.counted = call.answered.map(|_| now);
        });
        self.next_toll = counted.then_some(now + TICK);
        for (call_id, tag, seat) in over {
            let Some(call) = self.world.calls.borrow_mut().remove(&call_id, &tag) else { continue };
            self.world.stats.borrow_mut().toll_ended += 1;
            self.world.tell(Event::TollReached { call_id, source: None, seat, reached: Reached::Minutes });
            self.end_both(&call, EndCause::TollReached);
        }
    }

    /// Counts what a call has lasted since it was counted last; of whom the time is used up by that.
    pub(super) fn count_toll(&self, call: &Call, now: Instant) -> Option<Seat> {
        let (toll, answered) = (call.toll.as_ref()?, call.answered?);
        let time = now.saturating_duration_since(call.counted.unwrap_or(answered));
        let tables = self.world.tables();
        // What began before midnight is of the day before.
        let day = tables.policy.tolls.zone.day(self.world.unix_now().saturating_sub(time.as_secs()));
        let mut over = None;
        for (seat, allowance) in tables.allowances(toll) {
            if self.world.tolls.spend(day, &seat, allowance, time) {
                over = over.or(Some(seat));
            }
        }
        over
    }
}
