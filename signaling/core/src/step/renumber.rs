//! CSeq numbers of dialogs in which this gateway has spoken in an end's name (RFC 3261 §12.2.1.1).
//!
//! The other end has seen numbers that the end itself does not know of: what the end sends later goes on with higher ones, and
//! responses come back to it with its own.

use super::Incoming;
use crate::message::header::RAck;
use crate::message::{Name, Request, Response};
use crate::world::World;

/// Raises the number of a request of a dialog by as much as its sender lags behind.
pub fn raise(world: &World, incoming: &Incoming, message: &mut Request) {
    let (Some(from), Some(_)) = (message.from_tag(), message.to_tag()) else { return };
    let calls = world.calls.borrow();
    let end = calls.find(incoming.call_id(), from).and_then(|call| call.end(from));
    let Some(lag) = end.map(|end| end.cseq_lag).filter(|lag| *lag > 0) else { return };
    drop(calls);
    let Ok(cseq) = message.cseq() else { return };
    let value = format!("{} {}", cseq.number.saturating_add(lag), cseq.method);
    message.set(Name::CSeq, value);
    if let Ok(Some(rack)) = message.get::<RAck>() {
        let value = format!("{} {} {}", rack.rseq, rack.cseq.saturating_add(lag), rack.method);
        message.set(Name::RAck, value);
    }
}

/// Gives a response the number of the request as its sender knows it.
pub fn restore(incoming: &Incoming, response: &mut Response) {
    if let Some(cseq) = incoming.message.raw(Name::CSeq).filter(|cseq| response.raw(Name::CSeq) != Some(cseq))
    {
        response.set(Name::CSeq, cseq);
    }
}
