//! How many calls there may be at once: of a user, of a group, to the gateway of the telephone network, and in all.
//!
//! A callee with as many calls as he may have is busy: 486, or his voicemail. Any other limit is want of room here, which is
//! over in a while: 503 with Retry-After.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Incoming, Target, Verdict, voicemail};
use crate::event::Untaken;
use crate::message::{Method, Name, StatusCode};
use crate::profiles::{Profile, Seat};
use crate::tables::{Pstn, Through};
use crate::world::World;

/// Counts a call that goes to `targets`, or says why it may not be. What is no new call passes, and so does one that comes
/// through here again on its way: it is counted already.
pub async fn admit(world: &World, incoming: &mut Incoming, targets: Vec<Target>) -> Verdict {
    if *incoming.method() != Method::Invite || incoming.is_in_dialog() || incoming.pass().is_some() {
        return Verdict::Relay(targets);
    }
    let Err(full) = enter(world, incoming, &targets) else { return Verdict::Relay(targets) };
    world.stats.borrow_mut().limited_calls += 1;
    let called =
        |target: &Target| target.aor.as_deref().is_some_and(|aor| world.location_key(aor) == *full.1);
    if full.0 != Profile::User || !targets.iter().any(called) {
        return no_room(world, incoming, &full);
    }
    let targets = match voicemail::divert(world, incoming, Untaken::Busy).await {
        ControlFlow::Break(Verdict::Relay(targets)) => targets,
        ControlFlow::Break(verdict) => return verdict,
        ControlFlow::Continue(()) => return busy(world, incoming),
    };
    match enter(world, incoming, &targets) {
        Ok(()) => Verdict::Relay(targets),
        Err(full) => no_room(world, incoming, &full),
    }
}

/// Takes the places of a call.
fn enter(world: &World, incoming: &mut Incoming, targets: &[Target]) -> Result<(), Seat> {
    let tables = world.tables();
    let membership = world.profiles.enter(&tables.policy.limits, seats(world, incoming, targets))?;
    incoming.seats = Some(Arc::new(membership));
    Ok(())
}

/// What a call is counted under. Whoever calls himself is in two calls.
fn seats(world: &World, incoming: &Incoming, targets: &[Target]) -> Vec<Seat> {
    let tables = world.tables();
    let mut seats: Vec<Seat> = vec![(Profile::All, "".into())];
    if let Some(caller) = &incoming.user {
        seats.push((Profile::User, world.location_key(caller).into()));
        let groups = tables.groups.get(caller).into_iter().flatten();
        seats.extend(groups.map(|group| (Profile::Group, group.as_str().into())));
    }
    let mut callees: Vec<String> =
        targets.iter().filter_map(|target| Some(world.location_key(target.aor.as_deref()?))).collect();
    callees.sort_unstable();
    callees.dedup();
    seats.extend(callees.into_iter().map(|callee| (Profile::User, callee.into())));
    let gateways = gateways(tables.policy.pstn.as_ref(), targets);
    seats.extend(gateways.into_iter().map(|gateway| (Profile::Gateway, gateway.into())));
    seats
}

/// The gateways among these.
pub(super) fn gateways<'a>(pstn: Option<&'a Pstn>, targets: &'a [Target]) -> Vec<&'a str> {
    let mut gateways: Vec<&str> = targets.iter().filter_map(|target| gateway_of(pstn, target)).collect();
    gateways.dedup();
    gateways
}

/// The gateway that a target is: one of the table `dispatcher` by its URI, that of the telephone network by its name.
fn gateway_of<'a>(pstn: Option<&'a Pstn>, target: &'a Target) -> Option<&'a str> {
    if let Some(gateway) = &target.gateway {
        return Some(&gateway.uri);
    }
    let Some(Through::Gateway { host, .. }) = pstn.map(|pstn| &pstn.through) else { return None };
    let leads_there = target.aor.is_none() && target.uri.host().trim_matches(['[', ']']) == host;
    leads_there.then_some(host)
}

fn busy(world: &World, incoming: &Incoming) -> Verdict {
    let headers = [(Name::Reason, "Q.850;cause=17;text=\"user busy: too many calls\"".to_owned())];
    incoming.refuse_with(world, StatusCode::BUSY_HERE, "", &headers)
}

fn no_room(world: &World, incoming: &Incoming, (profile, value): &Seat) -> Verdict {
    let whose = if value.is_empty() { String::new() } else { format!(" {value}") };
    let reason = format!("Too many calls ({profile}{whose})");
    let headers = [
        (Name::RetryAfter, world.settings.limits.retry_after.to_string()),
        (Name::Reason, "Q.850;cause=34;text=\"no channel available\"".to_owned()),
    ];
    incoming.refuse_with(world, StatusCode::SERVICE_UNAVAILABLE, &reason, &headers)
}
