//! Requests within a dialog (RFC 3261 §16.12): along the route set, both ways, never challenged.
//!
//! They are let through because they carry the Record-Route that this worker wrote for just this dialog: its `did` is a
//! hash that nobody else can make. A To tag and a Route of one's own invention lead nowhere, so this is no open relay.

use std::ops::ControlFlow;

use super::relay::dialog_seal;
use super::{Incoming, Target, Verdict, nat, outbound};
use crate::alias::{self, Alias};
use crate::dialog::End;
use crate::flow::Destination;
use crate::message::header::Route;
use crate::message::{Method, Name, StatusCode, Uri};
use crate::world::World;

/// Ends the route of every request with a To tag.
pub async fn route(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    if !incoming.is_in_dialog() {
        return match incoming.method() {
            Method::Ack => ControlFlow::Break(Verdict::Absorb),
            Method::Bye | Method::Prack => {
                ControlFlow::Break(incoming.refuse(world, StatusCode::CALL_DOES_NOT_EXIST, ""))
            }
            _ => ControlFlow::Continue(()),
        };
    }
    if !remove_own_routes(world, incoming) {
        return ControlFlow::Break(incoming.refuse(world, StatusCode::NOT_FOUND, "Not here"));
    }
    note_sender(world, incoming);
    ControlFlow::Break(match target(world, incoming).await {
        Ok(target) => Verdict::Relay(vec![target]),
        Err((status, reason)) => incoming.refuse(world, status, reason),
    })
}

/// Takes our one or two Routes off the top (RFC 3261 §16.4). `false` when there is none.
fn remove_own_routes(world: &World, incoming: &mut Incoming) -> bool {
    let mut found = false;
    for _ in 0..2 {
        let top = incoming.message.get::<Route<'_>>().ok().flatten().and_then(|route| route.uri().ok());
        if !top.is_some_and(|uri| is_own(world, incoming, &uri)) {
            break;
        }
        incoming.message.remove_first_value(Name::Route);
        found = true;
    }
    found
}

/// Whether this worker wrote the URI into a Record-Route of this dialog.
fn is_own(world: &World, incoming: &Incoming, uri: &Uri) -> bool {
    let call_id = incoming.message.call_id();
    let tags = [incoming.message.from_tag(), incoming.message.to_tag()];
    uri.param("did")
        .is_some_and(|did| tags.into_iter().flatten().any(|tag| dialog_seal(world, call_id, tag) == did))
}

/// A peer that speaks within a call is reached where it was heard last: a browser may have come back over another
/// WebSocket. Its target and CSeq are renewed with it (RFC 3261 §12.2.2).
fn note_sender(world: &World, incoming: &Incoming) {
    let Some(tag) = incoming.message.from_tag() else { return };
    let mut calls = world.calls.borrow_mut();
    let Some(call) = calls.find_mut(incoming.message.call_id(), tag) else { return };
    let Some(end) = call.end_mut(tag) else { return };
    end.cseq = end.cseq.max(incoming.message.cseq().map_or(0, |cseq| cseq.number));
    if end.routes.is_empty() && end.protocol == incoming.flow.protocol {
        end.destination = Some(Destination::Flow(incoming.flow));
        end.lost = None;
        end.local = incoming.flow.local;
    }
    let refreshes = matches!(incoming.method(), Method::Invite | Method::Update);
    if let Some(target) = nat::contact_uri(&incoming.message).filter(|_| refreshes) {
        end.target = target;
    }
}

/// The next hop: the next Route, else the peer's flow, else the alias, else the Request-URI.
async fn target(world: &World, incoming: &Incoming) -> Result<Target, (StatusCode, &'static str)> {
    let bad = (StatusCode::BAD_REQUEST, "Bad Request");
    let taken = alias::take(incoming.message.uri_text()).map_err(|_| bad)?;
    let (uri, alias) = match taken {
        Some((uri, alias)) => (Uri::parse(&uri).map_err(|_| bad)?, Some(alias)),
        None => (incoming.message.uri().map_err(|_| bad)?, None),
    };
    let next = incoming.message.get::<Route<'_>>().ok().flatten().and_then(|route| route.uri().ok());
    if let Some(next) = next {
        let destination = outbound::next_hop(world, &next).await;
        return destination.map(|destination| Target::new(world, uri, destination)).ok_or(GONE);
    }
    let peer = peer(world, incoming);
    if let Some(destination) = peer.as_ref().and_then(|peer| destination_of(world, peer, &uri, alias)) {
        let aor = peer.and_then(|peer| peer.aor);
        return Ok(Target { aor, ..Target::new(world, uri, destination) });
    }
    let destination = match alias {
        Some(Alias { protocol, remote }) if peer.is_none() => Some(Destination::Address { protocol, remote }),
        Some(alias) if alias.protocol.is_websocket() => None,
        _ => outbound::next_hop(world, &uri).await,
    };
    destination.map(|destination| Target::new(world, uri, destination)).ok_or(GONE)
}

/// The peer was there and is not now.
const GONE: (StatusCode, &str) = (StatusCode::TEMPORARILY_UNAVAILABLE, "");

/// The end of the call that the request is for.
fn peer(world: &World, incoming: &Incoming) -> Option<End> {
    let calls = world.calls.borrow();
    let to = incoming.message.to_tag()?;
    calls.find(incoming.message.call_id(), to)?.end(to).cloned()
}

/// The flow of a peer, if the request is for its Contact; the flow over which the same Contact has registered since when
/// that is gone (FEATURES: a browser that comes back keeps its dialogs).
fn destination_of(world: &World, peer: &End, uri: &Uri, alias: Option<Alias>) -> Option<Destination> {
    if !peer.routes.is_empty() {
        return None;
    }
    if let Some(destination) = peer.destination {
        let fits = match destination {
            Destination::Flow(flow) => {
                alias.is_none_or(|alias| alias.fits(&flow) || alias.protocol == flow.protocol)
            }
            Destination::Address { .. } => alias.is_none(),
        };
        // Without an alias the URI says the truth, and may say a new one since the last target refresh.
        let named = alias.is_some() || uri.host_ip().is_none() || peer.target == uri.as_str();
        return (fits && named).then_some(destination);
    }
    let aor = peer.aor.as_deref()?;
    world.location.flow_of(aor, &peer.target, world.unix_now()).map(Destination::Flow)
}
