//! Request validation (RFC 3261 §16.3). What the parser has refused never comes here: another version, missing headers or
//! ones that stand twice, a Via or CSeq that is none, a CSeq of another method, a Content-Length that lies, too much of
//! anything.

use std::ops::ControlFlow;

use super::{Incoming, Verdict};
use crate::message::header::{Expires, Via, decimal};
use crate::message::{Method, Name, StatusCode};
use crate::settings::OutboundMode;
use crate::step::relay::BRANCH_PREFIX;
use crate::world::World;

/// The most branches that a request may be in at once; what RFC 5393 §5.3.3 recommends, and whatever it asks for.
pub const MAX_BREADTH: u32 = 60;

/// Checks what a proxy must check, and counts the hop.
pub fn check(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let refuse =
        |incoming: &Incoming, status, reason| ControlFlow::Break(incoming.refuse(world, status, reason));
    match incoming.message.uri() {
        Ok(uri) if uri.is_sip() => {}
        Ok(_) => return refuse(incoming, StatusCode::UNSUPPORTED_URI_SCHEME, ""),
        Err(_) => return refuse(incoming, StatusCode::BAD_REQUEST, "Bad Request-URI"),
    }
    let message = &incoming.message;
    let from = message.from_header().ok().and_then(|from| from.uri().ok());
    let to = message.to_header().ok().and_then(|to| to.uri().ok());
    let (Some(_), Some(to)) = (from, to) else {
        return refuse(incoming, StatusCode::BAD_REQUEST, "Bad From or To");
    };
    if *message.method() == Method::Register && !to.is_sip() {
        return refuse(incoming, StatusCode::BAD_REQUEST, "An address of record is a SIP URI");
    }
    if message.get::<Expires>().is_err() {
        return refuse(incoming, StatusCode::BAD_REQUEST, "Bad Expires");
    }
    hop(world, incoming)?;
    breadth(world, incoming)?;
    if is_loop(incoming) {
        return refuse(incoming, StatusCode::LOOP_DETECTED, "");
    }
    // The same INVITE by another way: a call has one route through here (RFC 3261 §8.2.2.2).
    let from_tag = incoming.message.from_tag().unwrap_or_default();
    let again = *incoming.method() == Method::Invite && !incoming.is_in_dialog();
    if again && world.calls.borrow().find(incoming.message.call_id(), from_tag).is_some() {
        return refuse(incoming, StatusCode::LOOP_DETECTED, "Merged Request");
    }
    require(world, incoming)
}

/// Max-Forwards: none left is 483, none there is given the default (RFC 3261 §16.3 step 3, §16.6 step 3).
fn hop(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let left = match incoming.message.max_forwards() {
        Some(0) => {
            return ControlFlow::Break(incoming.refuse(world, StatusCode::TOO_MANY_HOPS, "Too Many Hops"));
        }
        Some(left) => left - 1,
        None if incoming.message.contains(Name::MaxForwards) => {
            let reason = "Bad Max-Forwards";
            return ControlFlow::Break(incoming.refuse(world, StatusCode::BAD_REQUEST, reason));
        }
        None => world.settings.limits.max_forwards,
    };
    incoming.message.set(Name::MaxForwards, left.to_string());
    ControlFlow::Continue(())
}

/// Max-Breadth (RFC 5393 §5.3.3): none is the recommended one, more is no more than that. What may be in no branch at all
/// goes nowhere.
fn breadth(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let Some(value) = incoming.message.raw(Name::MaxBreadth) else { return ControlFlow::Continue(()) };
    let Some(asked) = decimal::<u64>(value) else {
        let reason = "Bad Max-Breadth";
        return ControlFlow::Break(incoming.refuse(world, StatusCode::BAD_REQUEST, reason));
    };
    incoming.breadth = u32::try_from(asked).unwrap_or(MAX_BREADTH).min(MAX_BREADTH);
    if incoming.breadth == 0 {
        return ControlFlow::Break(incoming.refuse(world, StatusCode::MAX_BREADTH_EXCEEDED, ""));
    }
    ControlFlow::Continue(())
}

/// A Via of ours for this very request, unchanged (RFC 3261 §16.3 step 4). A spiral has another Request-URI.
fn is_loop(incoming: &Incoming) -> bool {
    let branches = incoming.message.all::<Via<'_>>().flatten().filter_map(|via| via.branch());
    branches
        .filter_map(|branch| branch.strip_prefix(BRANCH_PREFIX))
        .any(|branch| branch.starts_with(&incoming.seal))
}

/// Proxy-Require: nothing that could be asked of a proxy is known here (RFC 3261 §16.3 step 5). Require is for the user
/// agent, which the registrar is for a REGISTER (§10.3 step 2).
fn require(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    understand(world, incoming, Name::ProxyRequire, &[])?;
    if *incoming.method() != Method::Register {
        return ControlFlow::Continue(());
    }
    let registrar = &world.settings.registrar;
    let known = [
        (registrar.use_path, "path"),
        (registrar.gruu_enabled, "gruu"),
        (registrar.outbound_mode != OutboundMode::Off, "outbound"),
    ];
    let known: Vec<&str> = known.into_iter().filter(|(on, _)| *on).map(|(_, option)| option).collect();
    understand(world, incoming, Name::Require, &known)
}

/// 420 with the options of the header `name` that are not among `known` (RFC 3261 §8.2.2.3).
pub(super) fn understand(
    world: &World,
    incoming: &Incoming,
    name: Name<'_>,
    known: &[&str],
) -> ControlFlow<Verdict> {
    let is_known = |option: &[u8]| known.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(option));
    let unknown: Vec<_> = incoming
        .message
        .values(name)
        .filter(|option| !option.is_empty() && !is_known(option))
        .map(String::from_utf8_lossy)
        .collect();
    if unknown.is_empty() {
        return ControlFlow::Continue(());
    }
    let headers = [(Name::Unsupported, unknown.join(", "))];
    ControlFlow::Break(incoming.refuse_with(world, StatusCode::BAD_EXTENSION, "", &headers))
}
