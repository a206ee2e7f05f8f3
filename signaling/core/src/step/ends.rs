//! The ends of a call, by what their messages show: the caller of an INVITE, and both ends of a call that this process did not
//! see begin.

use std::sync::Arc;

use super::{Incoming, Target, edge, media, nat};
use crate::alias;
use crate::dialog::{AckWatch, Call, EarlyOffer, End};
use crate::event::Parties;
use crate::flow::{Destination, Flow, Protocol};
use crate::message::header::{NameAddr, RecordRoute, Route};
use crate::message::{Fields, Method, Name, Uri};
use crate::outside::LegKind;
use crate::topology::call_id::came_masked;
use crate::world::World;

/// The end that has sent a request; `kind` is what its media showed.
#[must_use]
pub fn sender(world: &World, incoming: &Incoming, kind: Option<LegKind>) -> End {
    let message = &incoming.message;
    let (aor, instance) = match &incoming.user {
        Some(user) => (Some(user.clone()), instance_of(world, incoming)),
        None => of_edge(world, &incoming.flow),
    };
    let keys = world.settings.dtmf.of(aor.as_deref(), Some(incoming.flow.remote.ip()));
    End {
        tag: message.from_tag().unwrap_or_default().to_owned(),
        address: text(message, Name::From),
        target: nat::contact_uri(message).unwrap_or_default(),
        routes: record_routes(message).collect(),
        destination: Some(Destination::Flow(incoming.flow)),
        lost: None,
        local: incoming.flow.local,
        protocol: incoming.flow.protocol,
        instance,
        aor,
        kind: kind.unwrap_or_else(|| kind_by(incoming.flow.protocol)),
        keys,
        relayed: None,
        cseq: message.cseq().map_or(0, |cseq| cseq.number),
        branch: String::new(),
        prack: !incoming.flow.protocol.is_websocket() || message.has_token(Name::Supported, "100rel"),
        said: media::sdp_of(message),
        early_offer: EarlyOffer::None,
        cseq_lag: 0,
        update: message.has_token(Name::Allow, Method::Update.as_str()),
        refer: may_refer(message),
        renewed: false,
        music: false,
        knows_masked: came_masked(message),
        silent: 0,
    }
}

/// A call that begins now with `incoming`, to `to`, for people; `to_user`: it goes to a user of ours.
pub fn call(world: &World, incoming: &Incoming, caller: End, to: String, to_user: bool) -> Call {
    let message = &incoming.message;
    Call {
        serial: 0,
        call_id: incoming.call_id().to_owned(),
        seal: incoming.seal(world).to_owned(),
        from: person(message, Name::From),
        to,
        parties: Arc::new(parties(incoming, to_user)),
        caller,
        callees: Vec::new(),
        cseq: message.cseq().map_or(0, |cseq| cseq.number),
        started: world.now(),
        started_at: world.unix_now(),
        answered: None,
        answered_at: 0,
        expires: world.now() + world.settings.dialog.default_timeout,
        rung: false,
        offered_in_answer: None,
        acked: None,
        offering: None,
        ack: AckWatch::default(),
        session: None,
        timed: false,
        seats: None,
        revived: false,
        toll: None,
        counted: None,
        load: None,
        asked: None,
    }
}

/// Takes up a call that this process did not see begin: of before a restart, or of another node. `incoming` is a request within
/// it that goes to `target`, which nobody but us can have named, and may agree on media anew. It counts as answered, and is told of
/// once the other end has agreed.
pub fn revive(world: &World, incoming: &Incoming, target: &Target) {
    let message = &incoming.message;
    let kind = media::caller_leg(world, incoming, media::sdp_of(message).as_ref()).kind;
    let caller = End { said: None, ..sender(world, incoming, Some(kind)) };
    let callee = receiver(world, incoming, target, &caller);
    let mut call = call(world, incoming, caller, person(message, Name::To), target.aor.is_some());
    call.cseq = call.caller.cseq;
    call.callees.push(callee);
    (call.answered, call.answered_at) = (Some(call.started), call.started_at);
    (call.rung, call.revived) = (true, true);
    world.calls.borrow_mut().insert(call);
}

/// The end that a request within a dialog goes to.
fn receiver(world: &World, incoming: &Incoming, target: &Target, sender: &End) -> End {
    let (protocol, remote) = match target.destination {
        Destination::Flow(flow) => (flow.protocol, flow.remote),
        Destination::Address { protocol, remote } => (protocol, remote),
    };
    let routes = incoming.message.all::<Route<'_>>().flatten();
    End {
        tag: incoming.message.to_tag().unwrap_or_default().to_owned(),
        address: text(&incoming.message, Name::To),
        target: target.uri.as_str().to_owned(),
        routes: routes.map(|route| format!("<{}>", route.uri_text())).collect(),
        destination: Some(target.destination),
        local: target.local,
        protocol,
        instance: target.instance.clone(),
        keys: world.settings.dtmf.of(target.aor.as_deref(), Some(remote.ip())),
        aor: target.aor.clone(),
        kind: kind_by(protocol),
        cseq: 0,
        prack: target.prack,
        // What it can do is not known.
        update: false,
        refer: false,
        knows_masked: !sender.knows_masked,
        ..sender.clone()
    }
}

/// What accounting tells of a call; `to_user`: it goes to a user of ours.
#[must_use]
pub fn parties(incoming: &Incoming, to_user: bool) -> Parties {
    let message = &incoming.message;
    let of = |name| message.raw(name).and_then(|value| NameAddr::parse("address", value).ok()?.uri().ok());
    let user = |uri: &Uri| uri.user_decoded().unwrap_or_default().into_owned();
    let (from, to, uri) = (of(Name::From), of(Name::To), message.uri().ok());
    Parties {
        from_tag: message.from_tag().unwrap_or_default().to_owned(),
        src_user: from.as_ref().map(user).unwrap_or_default(),
        src_domain: from.map(|uri| uri.host().to_owned()).unwrap_or_default(),
        src_ip: incoming.flow.remote.ip(),
        dst_ouser: to.as_ref().map(user).unwrap_or_default(),
        dst_user: uri.map(user).unwrap_or_default(),
        dst_domain: uri.map(|uri| uri.host().to_owned()).unwrap_or_default(),
        to_user,
    }
}

/// The instance of the caller, if it has registered over the flow on which it calls.
fn instance_of(world: &World, incoming: &Incoming) -> Box<str> {
    let key = incoming.user.as_deref().map(|user| world.location_key(user));
    key.and_then(|key| world.location.instance_on(&key, &incoming.flow, world.unix_now())).unwrap_or_default()
}

/// The user at the other end of a flow, and its instance, when his registrar stands behind us.
pub(crate) fn of_edge(world: &World, flow: &Flow) -> (Option<String>, Box<str>) {
    edge::user_on(world, flow).map(|(aor, instance)| (Some(aor), instance)).unwrap_or_default()
}

const fn kind_by(protocol: Protocol) -> LegKind {
    if protocol.is_websocket() { LegKind::Browser } else { LegKind::Legacy }
}

/// The value of a header, for people and dialogs.
pub(crate) fn text(message: &Fields, name: Name<'_>) -> String {
    message.raw(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// Whether the sender may take a REFER.
pub(crate) fn may_refer(message: &Fields) -> bool {
    !message.contains(Name::Allow) || message.has_token(Name::Allow, Method::Refer.as_str())
}

/// The Record-Route values as they stand.
pub(crate) fn record_routes(message: &Fields) -> impl Iterator<Item = String> + '_ {
    message.all::<RecordRoute<'_>>().flatten().map(|route| format!("<{}>", route.uri_text()))
}

/// `user@host` of an address header, for people.
pub(crate) fn person(message: &Fields, name: Name<'_>) -> String {
    let address = message.raw(name).and_then(|value| NameAddr::parse("address", value).ok());
    address.and_then(|address| address.uri().ok()).map(|uri| plain(&uri)).unwrap_or_default()
}

/// The same of a URI.
pub(crate) fn plain(uri: &Uri) -> String {
    match uri.user() {
        Some(user) => format!("{user}@{}", uri.host()),
        None => alias::strip(uri.host()),
    }
}
