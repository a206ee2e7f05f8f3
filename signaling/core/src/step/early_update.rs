//! UPDATE before the call is answered (RFC 3311), toward a browser: JsSIP refuses it with 403, so it is answered here.
//!
//! What the browser would say is known: what it has said before. The relay takes the new description of the other end, and
//! the browser's ICE, DTLS and formats stay as they are.

use std::ops::ControlFlow;

use super::{Incoming, Verdict, in_dialog, media, session_timer};
use crate::dialog::End;
use crate::message::{Method, Name, Response, StatusCode};
use crate::world::World;

/// Ends the route of an UPDATE in an early dialog with a browser.
pub async fn answer(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    if *incoming.method() != Method::Update {
        return ControlFlow::Continue(());
    }
    let Some(browser) = early_browser(world, incoming) else { return ControlFlow::Continue(()) };
    ControlFlow::Break(match reply(world, incoming, &browser).await {
        Ok(response) => Verdict::Reply(Box::new(response)),
        Err((status, reason)) => refuse(world, incoming, status, reason),
    })
}

/// The 200 to a PRACK or an UPDATE in an early dialog, with the answer to its offer if it has one.
pub async fn reply(
    world: &World,
    incoming: &Incoming,
    browser: &End,
) -> Result<Response, (StatusCode, &'static str)> {
    let mut response = incoming.answer(world, StatusCode::OK, "", &[]);
    if let Some(offer) = media::sdp_of(&incoming.message) {
        let Some(said) = browser.said.clone() else { return Err(unanswered(world, incoming)) };
        let answer = media::answer_again(world, incoming, offer, said).await?;
        response.set_body(media::SDP, answer);
    }
    if *incoming.method() == Method::Update {
        in_dialog::renew_target(world, incoming);
        if let Some(contact) = in_dialog::contact_of(world, browser) {
            response.push(Name::Contact, contact);
        }
        session_timer::complete(&incoming.message, &mut response);
    }
    Ok(response)
}

/// An answer in the making. After 500 its sender waits for up to ten seconds (RFC 3311 §5.2).
pub fn refuse(world: &World, incoming: &Incoming, status: StatusCode, reason: &str) -> Verdict {
    let seconds = world.with_rng(|rng| rand::RngExt::random_range(rng, 0..=10u32));
    let retry = [(Name::RetryAfter, seconds.to_string())];
    let headers = if status == StatusCode::SERVER_INTERNAL_ERROR { &retry[..] } else { &[] };
    incoming.refuse_with(world, status, reason, headers)
}

/// An offer while the last one has no answer: 491 when it was the browser's, 500 when it was its sender's (RFC 3311 §5.2).
fn unanswered(world: &World, incoming: &Incoming) -> (StatusCode, &'static str) {
    let calls = world.calls.borrow();
    let from = incoming.message.from_tag().unwrap_or_default();
    let by_caller = calls.find(incoming.call_id(), from).is_some_and(|call| call.caller.tag == from);
    if by_caller { (StatusCode::SERVER_INTERNAL_ERROR, "") } else { (StatusCode::REQUEST_PENDING, "") }
}

/// The browser to which a request in an early dialog goes.
#[must_use]
pub fn early_browser(world: &World, incoming: &Incoming) -> Option<End> {
    let calls = world.calls.borrow();
    let (from, to) = (incoming.message.from_tag()?, incoming.message.to_tag()?);
    let call = calls.find(incoming.call_id(), to).filter(|call| call.answered.is_none())?;
    call.end(from)?;
    let end = call.end(to).filter(|end| end.protocol.is_websocket())?;
    // A caller has described itself, but there is no session before a callee has answered that.
    let described = if call.caller.tag == to { call.end(from)?.said.is_some() } else { true };
    let said = end.said.clone().filter(|_| described);
    Some(End { said, ..end.clone() })
}
