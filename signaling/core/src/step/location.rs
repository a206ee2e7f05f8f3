//! From an address of record to where its owner is.

use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, local_aor, nat, outbound, sanity};
use crate::event::Event;
use crate::gruu::{self, Gruu};
use crate::location::Binding;
use crate::message::header::NameAddr;
use crate::message::{Method, Name, StatusCode, Uri};
use crate::outside::StoredBinding;
use crate::world::World;

/// OPTIONS without a user is a question to ourselves: whether we are alive. Phones and monitors ask it often, and no
/// account is at stake, so it is answered before anybody is asked for a password.
pub fn keepalive(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    if *incoming.method() != Method::Options {
        return ControlFlow::Continue(());
    }
    let ours = incoming
        .message
        .uri()
        .is_ok_and(|uri| uri.user().is_none_or(str::is_empty) && world.local_domain(uri.host()).is_some());
    if !ours {
        return ControlFlow::Continue(());
    }
    sanity::understand(world, incoming, Name::Require, &[])?;
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

/// Sends the request to every contact of its address of record that can be reached (RFC 3261 §16.5), or to the one instance
/// that its GRUU names (RFC 5627 §5.4). Goes on along the route when there is none.
pub async fn lookup(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let refuse = |status, reason| ControlFlow::Break(incoming.refuse(world, status, reason));
    if world.outside.store.shares_bindings()
        && let Some(aor) = incoming.message.uri().ok().and_then(|uri| local_aor(world, uri))
    {
        world.refresh(&world.location_key(&aor)).await;
    }
    let Some((aor, bindings)) = incoming.message.uri().ok().and_then(|uri| find(world, uri)) else {
        return refuse(StatusCode::NOT_FOUND, "Not Found");
    };
    // There is no presence server to take it, and a phone is none (FEATURES F4).
    if *incoming.method() == Method::Publish {
        return refuse(StatusCode::NOT_FOUND, "Not here");
    }
    let filtering = world.settings.registrar.method_filtering;
    let supporting = bindings.iter().filter(|binding| !filtering || supports(binding, incoming.method()));
    let supporting: Vec<Binding> = supporting.cloned().collect();
    if supporting.is_empty() && !bindings.is_empty() {
        // RFC 3261 §21.4.6: with the methods that would do.
        let mask = bindings.iter().fold(0, |mask, binding| mask | binding.stored.methods());
        let allow = [(Name::Allow, super::registrar::methods_of(mask).join(", "))];
        let (status, reason) = (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        return ControlFlow::Break(incoming.refuse_with(world, status, reason, &allow));
    }
    let targets = targets(world, &aor, supporting).await;
    if targets.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(Verdict::Relay(targets)) }
}

/// Ends the route of a request for a user who does not exist.
///
/// Kamailio answers 404 to whatever has no binding. A caller is better served by knowing whether to try again: 404
/// is for a user who does not exist, 480 for one who is not there now (RFC 3261 §21.4.5, §21.4.18).
pub async fn require_account(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let refuse = |status, reason| ControlFlow::Break(incoming.refuse(world, status, reason));
    let found = incoming.message.uri().ok().and_then(|uri| find(world, uri));
    let (aor, _) = found.unwrap_or_default();
    let (user, domain) = aor.rsplit_once('@').unwrap_or_default();
    match world.account(user, domain).await {
        Ok(Some(_)) => ControlFlow::Continue(()),
        // One who signs in with a token has no account, and yet is somebody.
        Ok(None) if world.outside.store.is_known_user(&world.location_key(&aor)) => ControlFlow::Continue(()),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "Not Found"),
        Err(error) => {
            let what = format!("account of {aor}: {error}");
            world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
            refuse(StatusCode::SERVER_INTERNAL_ERROR, "")
        }
    }
}

/// The address of record that a URI of ours means, and those of its bindings that it means, the one registered last at the
/// end. `None` when it means nobody: a foreign one, or a temporary GRUU whose registration has ended.
pub(super) fn find(world: &World, uri: &Uri) -> Option<(String, Vec<Binding>)> {
    let bindings = |aor: &str| world.location.bindings(&world.location_key(aor), world.unix_now());
    let secret = &world.settings.secret;
    match gruu::read(secret, uri) {
        None => {
            let aor = local_aor(world, uri)?;
            let bindings = bindings(&aor);
            Some((aor, bindings))
        }
        Some(Gruu::Public { instance }) => {
            let aor = local_aor(world, uri)?;
            let mut bindings = bindings(&aor);
            bindings.retain(|binding| binding.stored.instance().eq_ignore_ascii_case(&instance));
            Some((aor, bindings))
        }
        Some(Gruu::Temporary { aor, mark }) => {
            let mut bindings = bindings(&aor);
            bindings.retain(|Binding { stored, .. }| {
                let instance = stored.instance();
                !instance.is_empty() && gruu::mark(secret, instance, stored.call_id()) == mark
            });
            (!bindings.is_empty()).then_some((aor, bindings))
        }
        Some(Gruu::Unknown) => None,
    }
}

/// The Contact that stands behind a GRUU of ours, for the Request-URI of what goes there. `None` for other URIs, and when
/// nobody has registered it now.
#[must_use]
pub fn contact_of_gruu(world: &World, uri: &Uri) -> Option<Uri> {
    gruu::read(&world.settings.secret, uri)?;
    let (_, bindings) = find(world, uri)?;
    Some(Uri::parse(bindings.last()?.stored.contact()).ok()?.as_request_uri())
}

/// Where to send what is for all of `bindings`: one target for each user agent, most wanted first (RFC 3261 §16.6: descending
/// `q`). The flows of one instance are one user agent: the newest that is open is tried, then the others (RFC 5626 §7).
async fn targets(world: &World, aor: &str, bindings: Vec<Binding>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::with_capacity(bindings.len());
    for binding in bindings.into_iter().rev() {
        let Some(mut target) = target(world, aor, &binding).await else { continue };
        let same = |known: &&mut Target| {
            !target.instance.is_empty() && known.instance.eq_ignore_ascii_case(&target.instance)
        };
        match targets.iter_mut().find(same) {
            Some(first) => {
                let others = std::mem::take(&mut target.alternatives);
                first.alternatives.extend(std::iter::once(target).chain(others));
            }
            None => targets.push(target),
        }
    }
    targets.reverse();
    targets.sort_by_key(|target| std::cmp::Reverse(target.q));
    let most = if world.settings.registrar.append_branches { world.settings.limits.max_branches } else { 1 };
    targets.truncate(most);
    targets
}

/// Whether the contact takes this method. One that the mask does not know is tried.
fn supports(binding: &Binding, method: &Method) -> bool {
    super::registrar::method_bit(method.as_str()).is_none_or(|bit| binding.stored.methods() & bit != 0)
}

impl Target {
    /// The same for a binding of `aor`, reached by way of these proxies.
    fn of_user(mut self, aor: &str, routes: &[String], stored: &StoredBinding) -> Self {
        self.aor = Some(aor.to_owned());
        self.routes = routes.to_vec();
        self.q = stored.q();
        self.instance = stored.instance().into();
        self.prack |= says_prack(stored.methods());
        self.keeps_early = nat::keeps_early(Some(stored.user_agent()));
        let alternatives = std::mem::take(&mut self.alternatives).into_iter();
        self.alternatives = alternatives.map(|other| other.of_user(aor, routes, stored)).collect();
        self
    }
}

/// Whether a contact has listed PRACK in its Allow; the mask of one without Allow is all ones.
fn says_prack(methods: u32) -> bool {
    methods != u32::MAX && super::registrar::method_bit("PRACK").is_some_and(|bit| methods & bit != 0)
}

/// Whether a value of a Path names this process.
fn leads_here(world: &World, route: &str) -> bool {
    let uri = NameAddr::parse("Path", route.as_bytes()).ok().and_then(|route| route.uri().ok());
    uri.is_some_and(|uri| world.is_myself(uri.host(), uri.port()))
}

/// How to reach a binding of `aor`: by its Path, over its flow, or by dialling its Contact. `None` when it is gone.
pub(super) async fn target(world: &World, aor: &str, binding: &Binding) -> Option<Target> {
    let stored = &binding.stored;
    let uri = Uri::parse(stored.contact()).ok()?.as_request_uri();
    let mut routes = stored.routes();
    if world.settings.registrar.path_check_local {
        routes.retain(|route| !leads_here(world, route));
    }
    let hops = match routes.first() {
        Some(first) => {
            let first = NameAddr::parse("Path", first.as_bytes()).ok()?.uri().ok()?;
            outbound::next_hops(world, &first).await
        }
        None => match binding.destination() {
            Some(destination) => vec![destination],
            None if binding.is_lost() => return None,
            None => outbound::next_hops(world, &uri).await,
        },
    };
    Some(Target::by_way_of(world, uri, hops)?.of_user(aor, &routes, stored))
}
