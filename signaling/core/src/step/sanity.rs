//! Request validation (RFC 3261 §16.3). What the parser has refused never comes here: another version, missing headers or
//! ones that stand twice, a Via or CSeq that is none, a CSeq of another method, a Content-Length that lies, too much of
//! anything.

use std::ops::ControlFlow;

use super::{Incoming, Verdict, edge};
use crate::message::header::{Expires, Via, decimal};
use crate::message::{Method, Name, StatusCode};
use crate::settings::OutboundMode;
use crate::step::relay::{self, BRANCH_PREFIX};
use crate::world::World;

/// Checks what a proxy must check, and counts the hop.
pub fn check(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let refuse =
        |incoming: &Incoming, status, reason| ControlFlow::Break(incoming.refuse(world, status, reason));
    match incoming.message.uri() {
        Ok(uri) if uri.is_sip() => {}
        Ok(_) => return refuse(incoming, StatusCode::UNSUPPORTED_URI_SCHEME, ""),
        Err(_) => {
            world.stats.borrow_mut().bad_uris += 1;
            return refuse(incoming, StatusCode::BAD_REQUEST, "Bad Request-URI");
        }
    }
    let message = &incoming.message;
    let from = message.from_header().ok().and_then(|from| from.uri().ok());
    let to = message.to_header().ok().and_then(|to| to.uri().ok());
    let (Some(_), Some(to)) = (from, to) else {
        world.stats.borrow_mut().bad_uris += 1;
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
    match came_back(world, incoming) {
        CameBack::No => {}
        CameBack::Spiral => {
            incoming.spirals = true;
            incoming.begin_pass();
        }
        CameBack::Loop => return refuse(incoming, StatusCode::LOOP_DETECTED, ""),
    }
    if is_merged(world, incoming) {
        return refuse(incoming, StatusCode::LOOP_DETECTED, "Merged Request");
    }
    require(world, incoming)
}

/// Whether a call of the same INVITE is here, which came by another way: a request for one target has one route through here
/// (RFC 3261 §8.2.2.2).
#[must_use]
pub fn is_merged(world: &World, incoming: &Incoming) -> bool {
    if *incoming.method() != Method::Invite || incoming.is_in_dialog() {
        return false;
    }
    let from_tag = incoming.message.from_tag().unwrap_or_default();
    let calls = world.calls.borrow();
    let first = || calls.find(incoming.message.call_id(), from_tag);
    calls.find(incoming.call_id(), from_tag).is_some()
        || first().is_some_and(|call| call.seal == incoming.seal)
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

/// Max-Breadth (RFC 5393 §5.3.3): none is the configured one, more is no more than that. What may be in no branch at all
/// goes nowhere.
fn breadth(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let Some(value) = incoming.message.raw(Name::MaxBreadth) else { return ControlFlow::Continue(()) };
    let Some(asked) = decimal::<u64>(value) else {
        let reason = "Bad Max-Breadth";
        return ControlFlow::Break(incoming.refuse(world, StatusCode::BAD_REQUEST, reason));
    };
    let most = world.settings.limits.max_breadth;
    incoming.breadth = u32::try_from(asked).unwrap_or(most).min(most);
    if incoming.breadth == 0 {
        return ControlFlow::Break(incoming.refuse(world, StatusCode::MAX_BREADTH_EXCEEDED, ""));
    }
    ControlFlow::Continue(())
}

/// Whether a request has been here before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CameBack {
    No,
    /// For another target: it goes on (RFC 3261 §6, §16.3 step 4).
    Spiral,
    /// Unchanged: it would come back for ever.
    Loop,
}

/// What the Vias of ours say that a request carries (RFC 3261 §16.3 step 4). Those of requests within dialogs prove no more
/// than a loop.
fn came_back(world: &World, incoming: &Incoming) -> CameBack {
    let vias = incoming.message.all::<Via<'_>>().flatten();
    let ours = vias.filter_map(|via| via.branch()?.strip_prefix(BRANCH_PREFIX));
    let mut proof = None;
    let mut found = CameBack::No;
    for branch in ours {
        if branch.starts_with(&incoming.seal) {
            return CameBack::Loop;
        }
        if !incoming.is_in_dialog() {
            let proof = proof.get_or_insert_with(|| relay::proof_of_passage(world, &incoming.message));
            let passed = branch.get(incoming.seal.len()..).is_some_and(|rest| rest.starts_with(&**proof));
            found = if passed { CameBack::Spiral } else { found };
        }
    }
    found
}

/// Proxy-Require: nothing that could be asked of a proxy is known here (RFC 3261 §16.3 step 5). Require is for the user
/// agent, which the registrar is for a REGISTER (§10.3 step 2).
fn require(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    understand(world, incoming, Name::ProxyRequire, &[])?;
    let elsewhere = incoming.message.uri().is_ok_and(|uri| edge::is_edge(world, &uri));
    if *incoming.method() != Method::Register || elsewhere {
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
