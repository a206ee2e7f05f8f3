//! Requests within a dialog (RFC 3261 §16.12): along the route set, both ways.
//!
//! They carry the Record-Route that a worker wrote for just this dialog: its `did` is a hash that nobody else can make.
//! That proves a party of the dialog and no more, for whoever calls a user of ours is given one. So it leads only where
//! the dialog does: to the other end of a call as we know it, or to a contact that a user of ours has registered. For
//! anything further the sender must be a proved user, who could go there with a new request as well. An alias that fits
//! none of these is a wish, not a way: believed, it would make us throw datagrams at anybody.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::relay::dialog_seal;
use super::{
    Incoming, Target, Verdict, auth, dtmf, early_update, ends, glare, location, media, nat, outbound,
    session_timer,
};
use crate::alias::{self, Alias};
use crate::dialog::End;
use crate::flow::{Destination, Flow};
use crate::flow_token;
use crate::location::Peer;
use crate::message::header::{NameAddr, Route};
use crate::message::{Method, Name, StatusCode, Uri};
use crate::settings::normal_host;
use crate::world::World;

/// Ends the route of every request with a To tag.
pub async fn route(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    if incoming.is_in_dialog() {
        // Its own piece of memory, so that what has no dialog, most of all, can do with a small one.
        return Box::pin(along(world, incoming)).await;
    }
    match incoming.method() {
        Method::Ack => ControlFlow::Break(Verdict::Absorb),
        Method::Bye | Method::Prack => {
            ControlFlow::Break(incoming.refuse(world, StatusCode::CALL_DOES_NOT_EXIST, ""))
        }
        _ => ControlFlow::Continue(()),
    }
}

async fn along(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let strict = undo_strict_routing(world, incoming);
    let routed = remove_own_routes(world, incoming);
    if routed.is_none() && !strict {
        return ControlFlow::Break(incoming.refuse(world, StatusCode::NOT_FOUND, "Not here"));
    }
    note_sender(world, incoming);
    session_timer::check(world, incoming)?;
    early_update::answer(world, incoming).await?;
    glare::claim(world, incoming)?;
    dtmf::press(world, incoming).await?;
    ControlFlow::Break(match target(world, incoming, routed.flatten()).await {
        Ok(target) => Verdict::Relay(vec![target]),
        Err(verdict) => verdict,
    })
}

/// A strict router before us has made our Route the Request-URI and put the target behind the last Route
/// (RFC 3261 §16.4). `false` when none has.
fn undo_strict_routing(world: &World, incoming: &mut Incoming) -> bool {
    let Ok(uri) = incoming.message.uri() else { return false };
    let Some(pass) = pass_of(world, incoming, uri) else { return false };
    let pass = pass.map(str::to_owned);
    let routes = incoming.message.values(Name::Route).count();
    let last = incoming.message.values(Name::Route).last();
    let Some(uri) = last.and_then(|last| NameAddr::parse("Route", last).ok()?.uri().ok()) else {
        return false;
    };
    incoming.message.remove_value(Name::Route, routes - 1);
    incoming.message.set_uri(&uri);
    incoming.set_pass(pass.as_deref());
    true
}

/// Takes our Routes off the top (RFC 3261 §16.4): the one or two of the dialog, and one that a phone has put before them
/// because we are its outbound proxy. Those of another pass are for later. `None` when none is of the dialog; else the flow
/// that the last of them names, which is the one on the other side (RFC 5626 §5.3).
fn remove_own_routes(world: &World, incoming: &mut Incoming) -> Option<Option<Flow>> {
    let mut found = None;
    for _ in 0..4 {
        let top = incoming.message.get::<Route<'_>>().ok().flatten().and_then(|route| route.uri().ok());
        let Some(top) = top else { break };
        let pass = pass_of(world, incoming, &top);
        let other = pass.is_some_and(|pass| found.is_some() && pass != incoming.pass());
        if other || (pass.is_none() && !world.is_myself(top.host(), top.port())) {
            break;
        }
        incoming.message.remove_first_value(Name::Route);
        if let Some(pass) = pass {
            incoming.set_pass(pass);
            let did = top.param("did").unwrap_or_default();
            let flow = top.user().and_then(|token| flow_token::read(&world.settings.secret, did, token));
            found = Some(flow.filter(|flow| *flow != incoming.flow));
        }
    }
    found
}

/// The pass in which the URI was written into a Record-Route of this dialog, if it was.
fn pass_of<'u>(world: &World, incoming: &Incoming, uri: &'u Uri) -> Option<Option<&'u str>> {
    let did = uri.param("did")?;
    let (seal, mark) = did.split_once('.').map_or((did, None), |(seal, mark)| (seal, Some(mark)));
    let call_id = incoming.message.call_id();
    let call_id = mark.map_or(Cow::Borrowed(call_id), |mark| format!("{call_id} {mark}").into());
    let mut tags = [incoming.message.from_tag(), incoming.message.to_tag()].into_iter().flatten();
    tags.any(|tag| dialog_seal(world, &call_id, tag) == seal).then_some(mark)
}

/// Takes our Routes off a request; whether one of them is of its dialog, as [`route`] asks.
pub fn is_sealed(world: &World, incoming: &mut Incoming) -> bool {
    remove_own_routes(world, incoming).is_some()
}

/// Notes the pass that a request of a dialog belongs to, for those who look at it before the route does.
pub fn note_pass(world: &World, incoming: &mut Incoming) {
    let routes = incoming.message.all::<Route<'_>>().flatten().filter_map(|route| route.uri().ok());
    let found = routes.take(2).find_map(|uri| Some(pass_of(world, incoming, &uri)?.map(str::to_owned)));
    if let Some(pass) = found {
        incoming.set_pass(pass.as_deref());
    }
}

/// A peer that speaks within a call is reached where it was heard last: a browser may have come back over another
/// WebSocket. Its CSeq is renewed with it (RFC 3261 §12.2.2), its target by a request that succeeds ([`renew_target`]).
pub fn note_sender(world: &World, incoming: &Incoming) {
    let (Some(tag), Some(to)) = (incoming.message.from_tag(), incoming.message.to_tag()) else { return };
    let mut calls = world.calls.borrow_mut();
    let Some(call) = calls.find_mut(incoming.call_id(), tag) else { return };
    // A phone that rang in vain knows the caller's tag and not that of whoever answered.
    if call.end(to).is_none() {
        return;
    }
    let Some(end) = call.end_mut(tag) else { return };
    end.cseq = end.cseq.max(incoming.message.cseq().map_or(0, |cseq| cseq.number));
    let alike = end.protocol == incoming.flow.protocol
        || (end.protocol.is_websocket() && incoming.flow.protocol.is_websocket());
    if end.routes.is_empty() && alike && !is_of_another(world, end, &incoming.flow) {
        end.move_to(incoming.flow);
    }
}

/// A re-INVITE or UPDATE has succeeded: its sender is to be found at its Contact (RFC 3261 §12.2.2, RFC 6141 §4).
pub fn renew_target(world: &World, incoming: &Incoming) {
    let request = &incoming.message;
    let mut calls = world.calls.borrow_mut();
    let from = request.from_tag().unwrap_or_default();
    let end = calls.find_mut(incoming.call_id(), from).and_then(|call| call.end_mut(from));
    if let Some((end, target)) = end.zip(nat::contact_uri(request)) {
        end.target = target;
    }
}

/// The Contact of an end as its own messages show it to the other one.
#[must_use]
pub fn contact_of(world: &World, end: &End) -> Option<String> {
    let is_gruu = Uri::parse(&end.target).is_ok_and(|uri| nat::is_own_gruu(world, &uri));
    let alias = match end.destination? {
        Destination::Flow(flow) if end.routes.is_empty() && !is_gruu => Some(Alias::of(&flow)),
        _ => None,
    };
    let uri = alias.map_or_else(|| end.target.clone(), |alias| alias::add(&end.target, alias));
    Some(format!("<{uri}>"))
}

/// Whether another instance of the same user has registered over `flow`: it may know of the dialog, for a forked INVITE came
/// to it too, and is not the one that is talking.
fn is_of_another(world: &World, end: &End, flow: &Flow) -> bool {
    let Some(aor) = end.aor.as_deref().filter(|_| !end.instance.is_empty()) else { return false };
    if end.destination == Some(Destination::Flow(*flow)) {
        return false;
    }
    let instance = world.location.instance_on(&world.location_key(aor), flow, world.unix_now());
    let behind = || world.location.edge_user(flow).filter(|user| *user.aor == *aor);
    let instance = instance.or_else(|| behind().map(|user| user.instance));
    instance.is_some_and(|instance| !instance.eq_ignore_ascii_case(&end.instance))
}

/// A user agent that has come back over another flow is reached there from now on, be the old one closed or only silent: its
/// instance has registered again. Without an instance the Contact tells a browser.
pub fn follow(world: &World, end: &mut End) {
    let flow = match end.destination {
        Some(Destination::Flow(flow)) => Some(flow),
        None => None,
        Some(Destination::Address { .. }) => return,
    };
    let known = !end.instance.is_empty() || end.protocol.is_websocket();
    let Some(aor) = end.aor.as_deref().filter(|_| known && end.routes.is_empty()) else { return };
    let peer = Peer { instance: &end.instance, contact: &end.target, flow };
    let now = world.location.flow_of(&world.location_key(aor), &peer, world.unix_now());
    let now = now.or_else(|| world.location.edge_flow(aor, &peer));
    if let Some(now) = now.filter(|now| Some(*now) != flow) {
        end.move_to(now);
    }
}

/// Where it goes, or what its sender hears.
async fn target(world: &World, incoming: &mut Incoming, flow: Option<Flow>) -> Result<Target, Verdict> {
    let bad = |incoming: &Incoming| incoming.refuse(world, StatusCode::BAD_REQUEST, "Bad Request-URI");
    let taken = alias::take(incoming.message.uri_text()).map_err(|_| bad(incoming))?;
    let (uri, alias) = match taken {
        Some((uri, alias)) => (Uri::parse(&uri).map_err(|_| bad(incoming))?, Some(alias)),
        None => (incoming.message.uri().map_err(|_| bad(incoming))?.clone(), None),
    };
    let next = incoming.message.get::<Route<'_>>().ok().flatten().and_then(|route| route.uri().ok());
    match peer(world, incoming) {
        Some(peer) => in_call(world, &peer, uri, alias, next)
            .await
            .map_err(|(status, reason)| incoming.refuse(world, status, reason)),
        None => {
            // The Contact that we gave to the sender names the flow as well.
            let flow = flow.filter(|flow| alias.is_none_or(|alias| alias.fits(flow)));
            beside_calls(world, incoming, uri, next, flow, alias).await
        }
    }
}

/// To the other end of a call: its next proxy, else its flow, else its Contact.
async fn in_call(
    world: &World,
    peer: &End,
    uri: Uri,
    alias: Option<Alias>,
    next: Option<Uri>,
) -> Result<Target, (StatusCode, &'static str)> {
    let known = |hop: &Uri, known: &str| Uri::parse(known).is_ok_and(|known| same_place(hop, &known));
    let hop = if let Some(next) = next {
        let first = peer.routes.first().and_then(|first| {
            let route = NameAddr::parse("Route", first.as_bytes()).ok()?;
            Some(route.uri_text().to_owned())
        });
        if !first.is_some_and(|first| known(&next, &first)) {
            return Err(ASTRAY);
        }
        next
    } else {
        if let Some(destination) = destination_of(peer, &uri, alias) {
            // The user agent has to find itself in the Request-URI (RFC 5627 §5.4).
            let uri = location::contact_of_gruu(world, &uri).unwrap_or(uri);
            let (aor, instance, prack) = (peer.aor.clone(), peer.instance.clone(), peer.prack);
            return Ok(Target { aor, instance, prack, ..Target::new(world, uri, destination) });
        }
        if alias.is_some_and(|alias| alias.protocol.is_websocket()) {
            return Err(GONE);
        }
        if !known(&uri, &peer.target) {
            return Err(if peer.protocol.is_websocket() { GONE } else { ASTRAY });
        }
        uri.clone()
    };
    let hops = outbound::next_hops(world, &hop).await;
    Target::by_way_of(world, uri, hops).ok_or(GONE)
}

/// Dialogs that are no calls (a SUBSCRIBE's, or what is left of one by REFER after the call, RFC 5057): to the contact that
/// the user in To has registered; a proved user goes anywhere.
async fn beside_calls(
    world: &World,
    incoming: &mut Incoming,
    uri: Uri,
    next: Option<Uri>,
    flow: Option<Flow>,
    alias: Option<Alias>,
) -> Result<Target, Verdict> {
    let (call_id, tag) = (incoming.call_id(), incoming.message.from_tag().unwrap_or_default());
    let of_calls = matches!(
        incoming.method(),
        Method::Invite | Method::Ack | Method::Bye | Method::Update | Method::Prack | Method::Info
    );
    let known = world.calls.borrow().find(call_id, tag).is_some();
    if of_calls && !known && incoming.message.has_proved_target() {
        let agrees = media::sdp_of(&incoming.message).is_some();
        let renews = *incoming.method() == Method::Invite || (agrees && *incoming.method() == Method::Update);
        if renews || !agrees {
            let target = forgotten(world, incoming, &uri, next, alias).await?;
            if renews {
                ends::revive(world, incoming, &target);
            }
            return Ok(target);
        }
    }
    if of_calls || known {
        return Err(incoming.refuse(world, StatusCode::CALL_DOES_NOT_EXIST, ""));
    }
    if let Some(target) = registered_target(world, incoming, &uri).await.filter(|_| next.is_none()) {
        return Ok(target);
    }
    // We have said ourselves, sealed for this dialog, that the way leads over this flow.
    if let Some(flow) = flow.filter(|_| next.is_none()) {
        let target = Target::new(world, uri, Destination::Flow(flow));
        return Ok(Target { by_token: true, ..target });
    }
    if let ControlFlow::Break(verdict) = auth::authenticate(world, incoming).await {
        return Err(verdict);
    }
    if incoming.user.is_none() {
        return Err(incoming.refuse(world, StatusCode::FORBIDDEN, "Not relaying"));
    }
    let hops = outbound::next_hops(world, next.as_ref().unwrap_or(&uri)).await;
    Target::by_way_of(world, uri, hops).ok_or_else(|| incoming.refuse(world, GONE.0, GONE.1))
}

/// A call of before a restart, or of another node with the same key or the same store: its ends go on talking to each other, for what
/// they say shows where we have said that the way leads. Its media is gone with the relay of then, and comes again with the next
/// offer.
async fn forgotten(
    world: &World,
    incoming: &Incoming,
    uri: &Uri,
    next: Option<Uri>,
    alias: Option<Alias>,
) -> Result<Target, Verdict> {
    if next.is_none() {
        if let Some(target) = registered_target(world, incoming, uri).await {
            return Ok(target);
        }
        if let Some(Alias { remote, protocol }) = alias.filter(|alias| !alias.protocol.is_websocket()) {
            return Ok(Target::new(world, uri.clone(), Destination::Address { protocol, remote }));
        }
    }
    let hops = outbound::next_hops(world, next.as_ref().unwrap_or(uri)).await;
    Target::by_way_of(world, uri.clone(), hops).ok_or_else(|| incoming.refuse(world, GONE.0, GONE.1))
}

/// The contact that the user in To has registered and that the request is for, by its URI or its GRUU.
async fn registered_target(world: &World, incoming: &Incoming, uri: &Uri) -> Option<Target> {
    let is_gruu = uri.params().contains("gr");
    let (aor, bindings) = if is_gruu {
        location::find(world, uri)?
    } else {
        let to = incoming.message.to_header().ok()?.uri().ok()?;
        let (aor, mut bindings) = location::find(world, &to)?;
        let named = |contact: &str| Uri::parse(contact).is_ok_and(|contact| contact.is_equivalent(uri));
        bindings.retain(|binding| named(binding.stored.contact()));
        (aor, bindings)
    };
    let mut target = location::target(world, &aor, bindings.last()?).await?;
    // It has to find itself in the Request-URI: as it wrote its Contact in the dialog, or in place of its GRUU.
    let uri = if is_gruu { target.uri.clone() } else { uri.clone() };
    for other in &mut target.alternatives {
        other.uri = uri.clone();
    }
    Some(Target { uri, ..target })
}

/// The peer was there and is not now.
const GONE: (StatusCode, &str) = (StatusCode::TEMPORARILY_UNAVAILABLE, "");

/// The request is for another place than the dialog's.
const ASTRAY: (StatusCode, &str) = (StatusCode::FORBIDDEN, "Not relaying");

/// Whether two URIs lead to one host and port.
fn same_place(a: &Uri, b: &Uri) -> bool {
    normal_host(a.host()) == normal_host(b.host())
        && a.port() == b.port()
        && a.param("maddr") == b.param("maddr")
}

/// The end of the call that the request is for, where it is now.
fn peer(world: &World, incoming: &Incoming) -> Option<End> {
    let mut calls = world.calls.borrow_mut();
    let to = incoming.message.to_tag()?;
    let end = calls.find_mut(incoming.call_id(), to)?.end_mut(to)?;
    follow(world, end);
    Some(end.clone())
}

/// The flow of a peer, if the request is for its Contact. An alias of the flow over which the peer was before is as good as
/// that of the present one: it stands in Contacts that others keep.
fn destination_of(peer: &End, uri: &Uri, alias: Option<Alias>) -> Option<Destination> {
    let destination = peer.destination.filter(|_| peer.routes.is_empty())?;
    let fits = match destination {
        // He has the place of whoever had that Contact.
        Destination::Flow(flow) if flow.is_agent() => return Some(destination),
        Destination::Flow(flow) => alias.is_none_or(|alias| {
            alias.protocol == flow.protocol || (alias.protocol.is_websocket() && flow.protocol.is_websocket())
        }),
        Destination::Address { .. } => alias.is_none(),
    };
    // Without an alias the URI says the truth, and may say a new one since the last target refresh.
    let named = alias.is_some() || uri.host_ip().is_none() || peer.target == uri.as_str();
    (fits && named).then_some(destination)
}
