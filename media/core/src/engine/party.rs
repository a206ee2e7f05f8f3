//! Ends that are in no pair: publishers and subscribers.

use std::time::Instant;

use super::Engine;
use super::control::Said;
use crate::call::leg::{LegKey, Purpose, Route};
use crate::call::plan::{FlowPlan, Hearing, LegId, PartyPlan};
use crate::command::{Cause, Connect, Exchange, Reply, Unsubscribe};
use crate::sockets::Sockets;

impl<S: Sockets> Engine<S> {
    pub(super) fn publish(&mut self, now: Instant, exchange: &Exchange) -> Reply {
        let key = match self.call_of(now, exchange, true) {
            Ok(key) => key,
            Err(failure) => return Reply::Error(failure),
        };
        match self.think(now, key, |session, transports| session.publish(exchange, transports)) {
            Ok(published) => {
                if let Some(call) = self.calls.get_mut(key) {
                    call.answered = true;
                }
                self.apply_parties(now, key, Some(published.leg));
                Reply::Sdp { sdp: published.sdp, warnings: published.warnings }
            }
            Err(failure) => Reply::Error(failure),
        }
    }

    pub(super) fn subscribe_request(&mut self, now: Instant, exchange: &Exchange) -> Reply {
        let key = match self.call_of(now, exchange, false) {
            Ok(key) => key,
            Err(failure) => return Reply::Error(failure),
        };
        match self.think(now, key, |session, transports| session.subscribe_request(exchange, transports)) {
            Ok(subscription) => {
                self.apply_parties(now, key, None);
                Reply::Subscription(Box::new(subscription))
            }
            Err(failure) => Reply::Error(failure),
        }
    }

    pub(super) fn subscribe_answer(&mut self, now: Instant, exchange: &Exchange) -> Reply {
        let key = match self.call_of(now, exchange, false) {
            Ok(key) => key,
            Err(failure) => return Reply::Error(failure),
        };
        match self.think(now, key, |session, _| session.subscribe_answer(exchange)) {
            Ok(leg) => {
                self.apply_parties(now, key, Some(leg));
                Reply::Done { warnings: exchange.warnings.clone() }
            }
            Err(failure) => Reply::Error(failure),
        }
    }

    pub(super) fn unsubscribe(&mut self, now: Instant, unsubscribe: &Unsubscribe) -> Reply {
        let Some(&key) = self.by_id.get(unsubscribe.call_id.as_str()) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        let Some(call) = self.calls.get_mut(key) else {
            return Reply::error(Cause::Internal, "the call is gone");
        };
        let Some(gone) = call.session.unsubscribe(&unsubscribe.to_tag) else {
            return Reply::error(Cause::UnknownCall, "no subscription has this to-tag");
        };
        let leg = call.legs.iter().find(|(id, _)| *id == gone).map(|(_, key)| *key);
        leg.into_iter().for_each(|leg| self.remove_leg(now, leg));
        self.recount_speakers(key);
        Reply::Done { warnings: unsubscribe.warnings.clone() }
    }

    pub(super) fn connect(&mut self, now: Instant, connect: &Connect) -> Reply {
        let Some(&key) = self.by_id.get(connect.call_id.as_str()) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        match self.think(now, key, |session, _| session.connect(connect)) {
            Ok(connected) => {
                for (from, to) in connected.parted {
                    let find = |id: LegId| self.leg_of(key, id);
                    if let (Some(from), Some(to)) = (find(from), find(to)) {
                        self.forget_routes(from, to);
                        self.forget_routes(to, from);
                    }
                }
                self.apply(now, key, &connected.plan, 0);
                self.apply_parties(now, key, None);
                Reply::Done { warnings: connect.warnings.clone() }
            }
            Err(failure) => Reply::Error(failure),
        }
    }

    fn leg_of(&self, call: usize, id: LegId) -> Option<LegKey> {
        self.calls.get(call)?.legs.iter().find(|(leg, _)| *leg == id).map(|(_, key)| *key)
    }

    /// Makes the ends that are in no pair be what the session says. `signalled`: the description of this one has just come.
    pub(super) fn apply_parties(&mut self, now: Instant, call: usize, signalled: Option<LegId>) {
        let Some(entry) = self.calls.get(call) else { return };
        let plans = entry.session.party_plans();
        if plans.is_empty() {
            return;
        }
        for plan in &plans {
            self.apply_party(now, call, plan, signalled == Some(plan.leg));
        }
        self.recount_speakers(call);
    }

    fn apply_party(&mut self, now: Instant, call: usize, plan: &PartyPlan, signalled: bool) {
        let Some(key) = self.leg_of(call, plan.leg) else { return };
        let mut before = self.take_copies(call, key);
        for line in &plan.lines {
            let hears = line.hears.as_ref();
            let transparent = hears.is_some_and(|hearing| hearing.flow.transparent);
            let rtcp_passes = hears.is_some_and(|hearing| hearing.rtcp_passes);
            // Its port was told to a subscriber with the request, to a publisher with the answer.
            let said = Said { new: signalled, told: true };
            self.apply_end(now, key, &line.end, rtcp_passes, transparent, said);
            self.apply_own(now, key, &line.end, plan.controlling);
            if let Some(hearing) = hears {
                self.apply_hearing(call, (key, line.end.index), hearing, &mut before);
            }
        }
        self.drive(now, key);
    }

    /// Takes the routes that lead copies to a subscriber and its reports away, whose reports they are.
    fn take_copies(&mut self, call: usize, key: LegKey) -> Vec<(LegKey, usize, Route)> {
        let legs = self.calls.get(call).map(|call| call.legs.clone()).unwrap_or_default();
        let mut taken = Vec::new();
        for (_, from) in legs {
            let Some(leg) = self.paths.legs.get_mut(from) else { continue };
            for (index, line) in leg.lines.iter_mut().enumerate() {
                let Some(line) = line else { continue };
                let copies = line.routes.extract_if(.., |route| match route.purpose {
                    Purpose::Copy => route.leg == key,
                    Purpose::Reports => from == key,
                    Purpose::Talk => false,
                });
                taken.extend(copies.map(|route| (from, index, route)));
            }
        }
        taken
    }

    fn apply_hearing(
        &mut self,
        call: usize,
        (key, index): (LegKey, usize),
        hearing: &Hearing,
        before: &mut [(LegKey, usize, Route)],
    ) {
        let Some(source) = self.leg_of(call, hearing.source.0) else { return };
        let mut route = Route::new(key, index, &hearing.flow, Purpose::Copy, hearing.rtcp_passes);
        let same = before.iter_mut().find(|(from, line, route)| {
            (*from, *line, route.line, route.purpose) == (source, hearing.source.1, index, Purpose::Copy)
        });
        route.transcoding = same.and_then(|(.., route)| route.transcoding.take());
        if !route.open
            && let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index))
        {
            line.sink.interrupt();
        }
        let line = self.paths.legs.get_mut(source).and_then(|leg| leg.line_mut(hearing.source.1));
        if let Some(line) = line {
            line.routes.push(route);
        }
        if hearing.rtcp_returns
            && let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index))
        {
            let closed = FlowPlan::default();
            line.routes.push(Route::new(source, hearing.source.1, &closed, Purpose::Reports, true));
        }
    }
}
