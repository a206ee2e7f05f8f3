//! From an address of record to where its owner is.

use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, local_aor, outbound};
use crate::event::Event;
use crate::location::Binding;
use crate::message::header::NameAddr;
use crate::message::{Method, Name, StatusCode, Uri};
use crate::world::World;

/// OPTIONS without a user is a question to ourselves: whether we are alive. Phones and monitors ask it often, and no
/// account is at stake, so it is answered before anybody is asked for a password.
pub fn keepalive(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let ours = incoming.message.uri().is_ok_and(|uri| {
        uri.user().is_none_or(str::is_empty) && world.settings.local_domain(uri.host()).is_some()
    });
    if *incoming.method() != Method::Options || !ours {
        return ControlFlow::Continue(());
    }
    let allow =
        "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, REFER, NOTIFY, SUBSCRIBE, MESSAGE";
    let response = incoming.answer(world, StatusCode::OK, "Keepalive", &[(Name::Allow, allow.to_owned())]);
    ControlFlow::Break(Verdict::Reply(Box::new(response)))
}

/// A request for this domain needs a user.
pub fn require_user(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let uri = incoming.message.uri();
    if uri.as_ref().is_ok_and(|uri| uri.user().is_some_and(|user| !user.is_empty())) {
        return ControlFlow::Continue(());
    }
    ControlFlow::Break(incoming.refuse(world, StatusCode::ADDRESS_INCOMPLETE, "Address Incomplete"))
}

/// Sends the request to every contact of its address of record (RFC 3261 §16.5).
///
/// Kamailio answers 404 to whatever has no binding. A caller is better served by knowing whether to try again: 404
/// is for a user who does not exist, 480 for one who is not there now (RFC 3261 §21.4.5, §21.4.18).
pub async fn lookup(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let refuse = |status, reason| ControlFlow::Break(incoming.refuse(world, status, reason));
    let Some(aor) = incoming.message.uri().ok().and_then(|uri| local_aor(world, &uri)) else {
        return refuse(StatusCode::NOT_FOUND, "Not Found");
    };
    // There is no presence server to take it, and a phone is none (FEATURES F4).
    if *incoming.method() == Method::Publish {
        return refuse(StatusCode::NOT_FOUND, "Not here");
    }
    let bindings = world.location.bindings(&aor, world.unix_now());
    let supporting: Vec<&Binding> =
        bindings.iter().filter(|binding| supports(binding, incoming.method())).collect();
    if supporting.is_empty() && !bindings.is_empty() {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    }
    let mut targets = Vec::with_capacity(supporting.len());
    for binding in supporting.into_iter().take(world.settings.limits.max_branches) {
        if let Some(mut target) = target(world, binding).await {
            target.aor = Some(aor.clone());
            targets.push(target);
        }
    }
    if !targets.is_empty() {
        return ControlFlow::Break(Verdict::Relay(targets));
    }
    let (user, domain) = aor.rsplit_once('@').unwrap_or_default();
    match world.outside.store.account(user, domain).await {
        Ok(Some(_)) => refuse(StatusCode::TEMPORARILY_UNAVAILABLE, ""),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "Not Found"),
        Err(error) => {
            let what = format!("account of {aor}: {error}");
            world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
            refuse(StatusCode::SERVER_INTERNAL_ERROR, "")
        }
    }
}

/// Whether the contact takes this method. One that the mask does not know is tried.
fn supports(binding: &Binding, method: &Method) -> bool {
    super::registrar::method_bit(method.as_str()).is_none_or(|bit| binding.stored.methods & bit != 0)
}

/// How to reach a binding: by its Path, over its flow, or by dialling its Contact. `None` when it is gone.
pub(super) async fn target(world: &World, binding: &Binding) -> Option<Target> {
    let uri = Uri::parse(&binding.stored.contact).ok()?.as_request_uri();
    if !binding.stored.path.is_empty() {
        let routes: Vec<String> = crate::message::Values::new(binding.stored.path.as_bytes(), true)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect();
        let first = NameAddr::parse("Path", routes.first()?.as_bytes()).ok()?.uri().ok()?;
        let hops = outbound::next_hops(world, &first).await;
        return Some(Target { routes, ..Target::by_way_of(world, uri, hops)? });
    }
    let target = match binding.destination() {
        Some(destination) => Target::new(world, uri, destination),
        None if binding.stored.protocol.is_websocket() => return None,
        None => {
            let hops = outbound::next_hops(world, &uri).await;
            Target::by_way_of(world, uri, hops)?
        }
    };
    let prack = target.prack || says_prack(binding.stored.methods);
    Some(Target { prack, ..target })
}

/// Whether a contact has listed PRACK in its Allow; the mask of one without Allow is all ones.
fn says_prack(methods: u32) -> bool {
    methods != u32::MAX && super::registrar::method_bit("PRACK").is_some_and(|bit| methods & bit != 0)
}
