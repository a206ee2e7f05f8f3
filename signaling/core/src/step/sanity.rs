//! Request validation (RFC 3261 §16.3). What the parser has refused never comes here: another version, missing headers or
//! ones that stand twice, a Via or CSeq that is none, a CSeq of another method, a Content-Length that lies, too much of
//! anything.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::{Incoming, Verdict, edge};
use crate::message::header::{Authorization, Expires, From, Header as _, Route, To, Via, decimal};
use crate::message::{Method, Name, Param, Request, StatusCode, Uri};
use crate::settings::{OutboundMode, Sanity};
use crate::step::relay::{self, BRANCH_PREFIX};
use crate::world::World;

/// Checks what a proxy must check, and counts the hop.
pub fn check(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    well_formed(world, incoming)?;
    hop(world, incoming)?;
    breadth(world, incoming)?;
    match came_back(world, incoming) {
        CameBack::No => {}
        CameBack::Spiral => {
            incoming.spirals = true;
            incoming.begin_pass(world);
        }
        CameBack::Loop => return refuse(world, incoming, StatusCode::LOOP_DETECTED, ""),
    }
    if is_merged(world, incoming) {
        return refuse(world, incoming, StatusCode::LOOP_DETECTED, "Merged Request");
    }
    require(world, incoming)
}

fn refuse(world: &World, incoming: &Incoming, status: StatusCode, reason: &str) -> ControlFlow<Verdict> {
    ControlFlow::Break(incoming.refuse(world, status, reason))
}

/// The checks of Kamailio's `sanity` module that the parser leaves, with its answers.
fn well_formed(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let (sanity, message) = (&world.settings.sanity, &incoming.message);
    let parties = Parties { from: message.from_header().ok(), to: message.to_header().ok() };
    let malformed =
        |reason| ControlFlow::Break(incoming.refuse_malformed(world, StatusCode::BAD_REQUEST, reason));
    match message.uri() {
        Ok(uri) if !uri.is_sip() && sanity.checks(Sanity::SCHEME) => {
            let (status, reason) =
                (StatusCode::UNSUPPORTED_URI_SCHEME, "Unsupported URI Scheme in Request URI");
            return ControlFlow::Break(incoming.refuse_malformed(world, status, reason));
        }
        Ok(_) => {}
        Err(_) => {
            world.stats.borrow_mut().bad_uris += 1;
            return malformed("Bad Request URI");
        }
    }
    let claims = match parties.read(sanity, *message.method() == Method::Register) {
        Ok(claims) => claims,
        Err(reason) => {
            world.stats.borrow_mut().bad_uris += 1;
            return malformed(reason);
        }
    };
    match message.get::<Expires>() {
        Err(_) if !sanity.checks(Sanity::EXPIRES) => {}
        Err(_) if message.raw(Name::Expires).is_some_and(<[u8]>::is_empty) => {
            return malformed("Missing number in Expires header");
        }
        Err(_) => return malformed("Expires value is illegal"),
        Ok(_) => {}
    }
    if sanity.checks(Sanity::TAGS) && parties.have_two_tags() {
        return malformed("Multiple Tags in From or To");
    }
    if sanity.checks(Sanity::DIGEST | Sanity::AUTHORIZATION) && has_bad_credentials(sanity, message) {
        return malformed("Bad Credentials");
    }
    if sanity.checks(Sanity::RFC3261) && !is_of_rfc3261(message) {
        return malformed("Not of RFC 3261");
    }
    incoming.claims = claims;
    ControlFlow::Continue(())
}

/// From and To, which all of this is asked of.
struct Parties<'a> {
    from: Option<From<'a>>,
    to: Option<To<'a>>,
}

impl Parties<'_> {
    /// Whom the request says it is from, or what is wrong with a URI. That of To is the address of record of a REGISTER
    /// (RFC 3261 §10.2).
    fn read(&self, sanity: &Sanity, register: bool) -> Result<Option<Uri>, &'static str> {
        let wanted = |bit| sanity.checks(Sanity::URIS) && sanity.uri_checks & bit != 0;
        let from = self.from.and_then(|from| from.uri().ok());
        if wanted(2) && from.is_none() {
            return Err("Bad From URI");
        }
        match self.to.and_then(|to| to.uri().ok()) {
            None if register || wanted(4) => Err("Bad To URI"),
            Some(to) if register && !to.is_sip() => Err("An address of record is a SIP URI"),
            to => Ok(if register { to } else { from }),
        }
    }

    fn have_two_tags(&self) -> bool {
        let is_tag = |param: &Param<'_>| param.name.eq_ignore_ascii_case("tag");
        let params = [self.from.map(|from| from.params()), self.to.map(|to| to.params())];
        // Behind most there is nothing but a tag.
        let mut longer = params.into_iter().flatten().filter(|params| params.as_str().contains(';'));
        longer.any(|params| params.iter().filter(is_tag).count() > 1)
    }
}

fn has_bad_credentials(sanity: &Sanity, message: &Request) -> bool {
    let is_bad = |value: &[u8]| match Authorization::parse(value) {
        Ok(Authorization(digest)) => !digest.has_all(&["username", "nonce", "response"]),
        Err(_) => {
            let is_digest = value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Digest"));
            is_digest || sanity.checks(Sanity::DIGEST)
        }
    };
    let names = [Name::Authorization, Name::ProxyAuthorization];
    names.into_iter().flat_map(|name| message.values(name)).any(is_bad)
}

fn is_of_rfc3261(message: &Request) -> bool {
    let mut routes = message.all::<Route<'_>>().map(|route| route.ok()?.uri().ok());
    message.top_via().is_ok_and(|via| via.cookie_branch().is_some())
        && routes.all(|uri| uri.is_some_and(|uri| uri.is_loose_router()))
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
        || first().is_some_and(|call| call.seal == incoming.seal(world))
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
    incoming.hops = left;
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
    let mut proof = None;
    let mut found = CameBack::No;
    for via in incoming.message.values(Name::Via) {
        let via = world.topoh().map_or(Cow::Borrowed(via), |topoh| topoh.plain_via(via));
        if memchr::memmem::find(&via, BRANCH_PREFIX.as_bytes()).is_none() {
            continue;
        }
        let branch = Via::parse(&via).ok().and_then(|via| via.branch()?.strip_prefix(BRANCH_PREFIX));
        let Some(branch) = branch else { continue };
        if branch.starts_with(incoming.seal(world)) {
            return CameBack::Loop;
        }
        if !incoming.is_in_dialog() {
            let proof = proof.get_or_insert_with(|| relay::proof_of_passage(world, &incoming.message));
            let passed =
                branch.get(incoming.seal(world).len()..).is_some_and(|rest| rest.starts_with(&**proof));
            found = if passed { CameBack::Spiral } else { found };
        }
    }
    found
}

/// Proxy-Require: nothing that could be asked of a proxy is known here, but what the operator knows of (RFC 3261 §16.3 step 5).
/// Require is for the user agent, which the registrar is for a REGISTER (§10.3 step 2).
fn require(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let sanity = &world.settings.sanity;
    if sanity.checks(Sanity::PROXY_REQUIRE) {
        let known: Vec<&str> = sanity.proxy_require.iter().map(String::as_str).collect();
        understand(world, incoming, Name::ProxyRequire, &known)?;
    }
    let elsewhere = || incoming.message.uri().is_ok_and(|uri| edge::is_edge(world, uri));
    if *incoming.method() != Method::Register || elsewhere() {
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
