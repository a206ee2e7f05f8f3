//! To the gateways of a set (Kamailio's `ds_select_dst`).

use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, outbound};
use crate::dispatcher::{Algorithm, Gateway, Key};
use crate::event::Event;
use crate::message::{Name, StatusCode, Uri};
use crate::world::World;

/// Sends a request for a user who is said to be behind a set there, under the Request-URI that it has.
pub async fn to_set(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let tables = world.tables();
    let Ok(uri) = incoming.message.uri() else { return ControlFlow::Continue(()) };
    let user = uri.user().unwrap_or_default();
    let found = tables.policy.dispatched.iter().find(|(_, pattern)| pattern.is_match(user));
    let Some((set, _)) = found else { return ControlFlow::Continue(()) };
    ControlFlow::Break(send(world, incoming, *set, |_| Some(uri.clone())).await)
}

/// Sends a request to the gateway of `set` whose turn it is, and to the others when that one fails; `uri` is the Request-URI that
/// each hears. 404 when there is none.
pub(super) async fn send(
    world: &World,
    incoming: &Incoming,
    set: i64,
    uri: impl Fn(&Gateway) -> Option<Uri>,
) -> Verdict {
    let tables = world.tables();
    let algorithm = tables.policy.algorithm;
    let mut targets = Vec::new();
    for gateway in tables.dispatcher.select(set, algorithm, &key(world, incoming)) {
        let hops = outbound::next_hops(world, &gateway.target).await;
        let target = uri(&gateway).and_then(|uri| Target::by_way_of(world, uri, hops));
        match target {
            Some(mut target) => {
                for way in std::iter::once(&mut target.gateway)
                    .chain(target.alternatives.iter_mut().map(|other| &mut other.gateway))
                {
                    *way = Some(gateway.clone());
                }
                targets.push(target);
            }
            None => {
                let call_id = incoming.message.call_id().to_owned();
                let what = format!("no way to {} of dispatcher set {set}", gateway.uri);
                world.tell(Event::OutsideFailed { call_id, what });
            }
        }
    }
    if algorithm == Algorithm::Parallel && !targets.is_empty() {
        targets.truncate(world.settings.limits.max_branches);
        return Verdict::Relay(targets);
    }
    let mut ways = targets.into_iter().flat_map(Target::into_ways);
    match ways.next() {
        Some(first) => Verdict::Relay(vec![Target { alternatives: ways.collect(), ..first }]),
        None => incoming.refuse(world, StatusCode::NOT_FOUND, "No destination"),
    }
}

/// What a choice depends on.
fn key<'a>(world: &World, incoming: &'a Incoming) -> Key<'a> {
    let message = &incoming.message;
    let address =
        |value: Option<&'a [u8]>| std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default();
    // A tag is of one call; what is before it is of its user.
    let bare = |value: &'a str| value.split(";tag=").next().unwrap_or_default();
    Key {
        call_id: message.call_id(),
        from: bare(address(message.raw(Name::From))),
        to: bare(address(message.raw(Name::To))),
        request_uri: message.uri_text(),
        user: incoming.user.as_deref(),
        random: world.with_rng(rand::Rng::next_u32),
    }
}
