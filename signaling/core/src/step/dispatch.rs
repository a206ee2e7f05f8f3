//! To the gateways of a set (Kamailio's `ds_select_dst`).

use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, outbound};
use crate::dispatcher::{Algorithm, Gateway, Key, Variable};
use crate::event::Event;
use crate::message::header::NameAddr;
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
    let variables = match algorithm {
        Algorithm::Variables => tables.policy.hash_pvar.said(|name| variable(incoming, name)),
        _ => String::new(),
    };
    for gateway in tables.dispatcher.select(set, algorithm, &key(world, incoming, &variables)) {
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
fn key<'a>(world: &World, incoming: &'a Incoming, variables: &'a str) -> Key<'a> {
    let message = &incoming.message;
    // A tag is of one call; what is before it is of its user.
    let bare = |name| text(incoming, name).split(";tag=").next().unwrap_or_default();
    Key {
        call_id: message.call_id(),
        from: bare(Name::From),
        to: bare(Name::To),
        request_uri: message.uri_text(),
        user: incoming.user.as_deref(),
        variables,
        random: world.with_rng(rand::Rng::next_u32),
        now: world.now(),
    }
}

fn text<'a>(incoming: &'a Incoming, name: Name<'static>) -> &'a str {
    std::str::from_utf8(incoming.message.raw(name).unwrap_or_default()).unwrap_or_default()
}

/// What a pseudo-variable is in a request.
fn variable(incoming: &Incoming, variable: Variable) -> String {
    let message = &incoming.message;
    let address = |name| {
        NameAddr::parse("address", text(incoming, name).as_bytes()).ok().map(|a| a.uri_text().to_owned())
    };
    let (from, to) = (|| address(Name::From).unwrap_or_default(), || address(Name::To).unwrap_or_default());
    let parsed = |uri: &str| Uri::parse(uri).ok();
    let user = |uri: &str| {
        parsed(uri).and_then(|uri| uri.user_decoded().map(|user| user.into_owned())).unwrap_or_default()
    };
    let host = |uri: &str| parsed(uri).map(|uri| uri.host().to_lowercase()).unwrap_or_default();
    match variable {
        Variable::CallId => message.call_id().to_owned(),
        Variable::From => from(),
        Variable::FromUser => user(&from()),
        Variable::FromDomain => host(&from()),
        Variable::To => to(),
        Variable::ToUser => user(&to()),
        Variable::ToDomain => host(&to()),
        Variable::Uri => message.uri_text().to_owned(),
        Variable::UriUser => user(message.uri_text()),
        Variable::UriDomain => host(message.uri_text()),
        Variable::SourceAddress => incoming.flow.remote.ip().to_string(),
        Variable::SourcePort => incoming.flow.remote.port().to_string(),
        Variable::User => {
            let aor = incoming.user.as_deref().unwrap_or_default();
            aor.rsplit_once('@').map_or(aor, |(user, _)| user).to_owned()
        }
        Variable::UserAgent => text(incoming, Name::UserAgent).to_owned(),
    }
}
