//! Why a call ends after 32 seconds: its ACK has not come, or not arrived (RFC 3261 §13.3.1.4).
//!
//! The callee repeats its 200 for 64·T1 and hangs up. Nothing else can be seen at either end, and the cause is a Contact, a
//! Record-Route or a NAT between them; so what is known here is told in one line.

use std::time::{Duration, Instant};

use super::Proxy;
use crate::dialog::{AckWatch, Call, End};
use crate::event::Event;
use crate::flow::Destination;
use crate::message::Method;
use crate::step::Incoming;

/// A callee that hangs up sooner may have had another reason.
const SOON: Duration = Duration::from_secs(5);

/// So many repetitions of a 2xx after its ACK are no accident: the ACK was sent again after each of them.
const DEAF: u32 = 4;

impl AckWatch {
    /// The callee has sent its 2xx again.
    pub(super) fn note_repeated_answer(&mut self) {
        self.repeats = self.repeats.saturating_add(u32::from(self.passed.is_some()));
    }
}

impl Proxy {
    /// An ACK goes on to its callee.
    pub(super) fn note_ack(&self, incoming: &Incoming) {
        let message = &incoming.message;
        let tags = message.from_tag().zip(message.to_tag());
        let Some((from, to)) = tags.filter(|_| *incoming.method() == Method::Ack) else { return };
        let mut calls = self.world.calls.borrow_mut();
        if let Some(call) = calls.find_mut(incoming.call_id(), from).filter(|call| call.is_answerer(to)) {
            call.ack.passed.get_or_insert(self.world.now());
        }
    }

    /// Tells of calls whose callee is about to give up, once.
    pub(super) fn watch_acks(&mut self) {
        let (now, wait) = (self.world.now(), self.world.settings.timers.retr_timer1 * 64);
        let mut told = Vec::new();
        self.world.calls.borrow_mut().each(|call| {
            if call.answered.is_some_and(|answered| now >= answered + wait) {
                told.extend(verdict(call, now));
            }
        });
        told.into_iter().for_each(|event| self.world.tell(event));
    }

    /// The same of a call that is over before.
    pub(super) fn tell_of_ack(&self, call: &mut Call) {
        let now = self.world.now();
        if call.answered.is_some_and(|answered| now >= answered + SOON)
            && let Some(event) = verdict(call, now)
        {
            self.world.tell(event);
        }
    }
}

/// What is wrong with the ACK of a call, unless it was told before or nothing is.
fn verdict(call: &mut Call, now: Instant) -> Option<Event> {
    let callee = call.callees.first()?;
    let (caller, callee) = (place(&call.caller), place(callee));
    let what = match &call.ack {
        AckWatch { told: true, .. } => return None,
        AckWatch { passed: Some(_), repeats: DEAF.., .. } => format!(
            "the ACK was sent on to {callee}, which repeats its 200: it does not arrive there, or the Contact of the 200 is wrong"
        ),
        AckWatch { passed: Some(_), .. } => return None,
        AckWatch { stray: Some(stray), .. } => {
            format!(
                "the ACK of {caller} went astray: {stray}; it ignores the Contact or the Record-Route of the 200"
            )
        }
        AckWatch { .. } => format!(
            "no ACK came from {caller}: the 200 does not arrive there, or its Contact or Record-Route leads it elsewhere (NAT, SIP ALG)"
        ),
    };
    call.ack.told = true;
    let after = call.answered.map_or_else(Duration::default, |at| now.saturating_duration_since(at));
    Some(Event::Unacknowledged {
        call_id: call.call_id.clone(),
        from: call.from.clone(),
        to: call.to.clone(),
        after,
        what,
    })
}

/// Where an end is, and how it says it can be reached.
fn place(end: &End) -> String {
    match end.destination {
        Some(Destination::Flow(flow)) => {
            format!("{} {} (Contact {})", flow.protocol, flow.remote, end.target)
        }
        Some(Destination::Address { protocol, remote }) => {
            format!("{protocol} {remote} (Contact {})", end.target)
        }
        None => format!("{}, whose connection is gone", end.target),
    }
}
