//! Two offers at once (RFC 3261 §14.2, RFC 3311 §5.2).
//!
//! Between two ends the relay has one offer at a time, as they have themselves. Two that cross are refused by both ends; but
//! where one of them is late, its receiver may have forgotten by then that its own was refused, and take it. So the one that
//! comes here second goes no further: it hears the 491 that the other end owes it.

use std::ops::ControlFlow;

use super::{Incoming, Verdict, media};
use crate::message::{Method, Request, StatusCode};
use crate::world::World;

/// Lets an offer within a dialog pass unless one of the other end has no answer yet.
pub fn claim(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    if !offers(&incoming.message) {
        return ControlFlow::Continue(());
    }
    let Some(claim) = claim_of(&incoming.message) else { return ControlFlow::Continue(()) };
    let mut calls = world.calls.borrow_mut();
    let Some(call) = calls.find_mut(incoming.call_id(), &claim.0) else {
        return ControlFlow::Continue(());
    };
    // A third party of a call that was forked is somebody else's partner.
    let partner = |tag: &str| incoming.message.to_tag() == Some(tag);
    if call.offering.as_ref().is_some_and(|(tag, _)| partner(tag)) {
        drop(calls);
        return ControlFlow::Break(incoming.refuse(world, StatusCode::REQUEST_PENDING, ""));
    }
    call.offering = Some(claim);
    ControlFlow::Continue(())
}

/// The request has its final response, or never will.
pub fn release(world: &World, incoming: &Incoming) {
    if !incoming.is_in_dialog() || !offers(&incoming.message) {
        return;
    }
    let Some(claim) = claim_of(&incoming.message) else { return };
    let mut calls = world.calls.borrow_mut();
    if let Some(call) = calls.find_mut(incoming.call_id(), &claim.0) {
        call.offering.take_if(|offering| *offering == claim);
    }
}

/// Whether a request offers; an INVITE without SDP has the other end do it, and takes as long.
fn offers(request: &Request) -> bool {
    match request.method() {
        Method::Invite => true,
        Method::Update => media::sdp_of(request).is_some(),
        _ => false,
    }
}

/// Whose it is, and which.
fn claim_of(request: &Request) -> Option<(String, u32)> {
    Some((request.from_tag()?.to_owned(), request.cseq().ok()?.number))
}
