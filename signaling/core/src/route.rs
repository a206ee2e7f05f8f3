//! The table of contents of the proxy: what happens to a request, to a response, and to a failure, in this order. Read it
//! as `kamailio.cfg` is read.
//!
//! Before it, `step::guard` looks at the bytes, the parser at the message, and the transaction table absorbs
//! retransmissions, matches CANCEL and ACK, and sends the 100. After it, `step::relay` makes the branches and
//! `step::media` their offers.

use std::ops::ControlFlow;

use crate::event::Untaken;
use crate::flow::Flow;
use crate::message::{Name, Response, StatusCode};
use crate::step::{
    Incoming, Target, Verdict, auth, barred, dial, dispatch, edge, in_dialog, limits, location, media, nat,
    outbound, registrar, sanity, session_timer, tolls, voicemail,
};
use crate::world::World;

/// Decides on a request.
pub async fn request(world: &World, incoming: &mut Incoming) -> Verdict {
    match steps(world, incoming).await {
        ControlFlow::Break(Verdict::Relay(targets)) => admit(world, incoming, targets).await,
        ControlFlow::Break(verdict) => verdict,
        // The user is not there.
        ControlFlow::Continue(()) => incoming.refuse(world, StatusCode::TEMPORARILY_UNAVAILABLE, ""),
    }
}

/// Whether what has somewhere to go may go there.
async fn admit(world: &World, incoming: &mut Incoming, targets: Vec<Target>) -> Verdict {
    // A number that is not for everybody: 403.
    if let Some(refusal) = barred::check(world, incoming, &targets) {
        return refusal;
    }
    // Too many calls: 486, 503.
    match limits::admit(world, incoming, targets).await {
        // Too many of the day to the telephone network: 403.
        Verdict::Relay(targets) => tolls::admit(world, incoming, targets),
        verdict => verdict,
    }
}

async fn steps(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    // Malformed, looping, too many hops: 400, 416, 420, 482, 483.
    sanity::check(world, incoming)?;
    // Identities that nobody has checked.
    auth::strip_identities(incoming);
    // A token, which is for us alone.
    auth::bearer::take(world, incoming);
    // A Contact that misleads gets an alias.
    nat::detect(world, incoming)?;
    // With a To tag: along the route set, or 404.
    in_dialog::route(world, incoming).await?;
    // OPTIONS to ourselves.
    location::keepalive(world, incoming)?;
    // What belongs to a domain with its registrar behind us, and what comes from there.
    edge::forward(world, incoming).await?;
    // Whoever claims a local address proves it: 401, 407, 403.
    auth::authenticate(world, incoming).await?;
    // A session that is too short: 422.
    session_timer::check(world, incoming)?;
    // For another domain: there, or 403 "Not relaying".
    outbound::relay(world, incoming).await?;
    // REGISTER ends here.
    registrar::save(world, incoming).await?;
    // Everything else is for a user of ours.
    to_user(world, incoming).await
}

/// Finds whom a request for one of our domains is for.
async fn to_user(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    // No user: 484.
    location::require_user(world, incoming)?;
    // What a short number of the caller means, and an alias; perhaps elsewhere.
    dial::speed_dial(world, incoming)?;
    dial::alias(world, incoming).await?;
    // A telephone number: to the gateway there, or 403 "Not Allowed".
    dial::pstn(world, incoming).await?;
    // A user behind gateways: to the one whose turn it is, or 404 "No destination".
    dispatch::to_set(world, incoming).await?;
    // To every contact of the user that can be reached; 404, 405.
    location::lookup(world, incoming).await?;
    // No such user: 404.
    location::require_account(world, incoming).await?;
    // To voicemail.
    voicemail::divert(world, incoming, Untaken::Offline).await
}

/// Decides on an INVITE of ours, for a transfer: it goes where its user, if there is one, could call, and a stranger could else.
pub async fn transferred(world: &World, incoming: &mut Incoming) -> Verdict {
    match transferred_steps(world, incoming).await {
        ControlFlow::Break(Verdict::Relay(targets)) => admit(world, incoming, targets).await,
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(()) => incoming.refuse(world, StatusCode::TEMPORARILY_UNAVAILABLE, ""),
    }
}

/// As in [`steps`], without what asks the sender for his password.
async fn transferred_steps(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    sanity::check(world, incoming)?;
    edge::forward(world, incoming).await?;
    outbound::relay(world, incoming).await?;
    to_user(world, incoming).await
}

/// Treats a response, our Via already removed, that came over `flow` from a branch with `session`, from the user agent itself if
/// that is the next hop. An error is what the caller hears in its place.
pub async fn response(
    world: &World,
    flow: &Flow,
    next_hop: bool,
    session: Option<&mut media::Session>,
    response: &mut Response,
) -> Result<(), (StatusCode, &'static str)> {
    // The callee's Contact may mislead as the caller's does; that of a redirection is for the caller alone. One that cannot
    // be read is the caller's to judge.
    let makes_target = !response.status().is_final() || response.status().is_success();
    if makes_target && next_hop && nat::add_contact_alias(world, response, flow).is_err() {
        tracing::debug!(call_id = response.call_id(), "response with an unreadable Contact");
    }
    match session {
        Some(session) => media::answer(world, session, response).await,
        None => Ok(()),
    }
}

/// Treats a call that every branch has failed: `best` of the final responses goes back to the caller, or the call goes
/// elsewhere, under the Request-URI that it came with. `diverted`: it has gone elsewhere before. A call that was given up,
/// or refused by a 6xx, never comes here.
pub async fn failure(world: &World, incoming: &Incoming, best: Response, diverted: bool) -> Verdict {
    match elsewhere(world, incoming, &best, diverted).await {
        ControlFlow::Break(verdict) => verdict,
        ControlFlow::Continue(()) => Verdict::Reply(Box::new(refusal(world, best))),
    }
}

async fn elsewhere(
    world: &World,
    incoming: &Incoming,
    best: &Response,
    diverted: bool,
) -> ControlFlow<Verdict> {
    // A redirection is not for the caller to see, where that is set.
    if best.status().class() == 3 && world.tables().policy.block_3xx {
        return ControlFlow::Break(incoming.refuse(world, StatusCode::NOT_FOUND, "Not found"));
    }
    if diverted {
        return ControlFlow::Continue(());
    }
    // Busy, no answer, not reachable: to voicemail.
    match voicemail::untaken(best.status()) {
        Some(why) => voicemail::divert(world, incoming, why).await,
        None => ControlFlow::Continue(()),
    }
}

/// The final response as the caller hears it. What the relay holds is freed with it. A redirection goes back to the caller,
/// who knows whether to follow it.
#[must_use]
pub fn refusal(world: &World, mut best: Response) -> Response {
    // That one server has no time does not mean that this domain has none (RFC 3261 §16.7 step 6).
    if world.settings.tm.remap_503_500 && best.status() == StatusCode::SERVICE_UNAVAILABLE {
        best.set_status(StatusCode::SERVER_INTERNAL_ERROR, None);
        best.remove(Name::RetryAfter);
    }
    best
}
