//! Session timers as a proxy sees them (RFC 4028 §8). When a session runs out is in `proxy::calls`.

use std::ops::ControlFlow;

use super::{Incoming, Verdict, in_dialog, media};
use crate::message::header::{MinSe, SessionExpires};
use crate::message::{Method, Name, Request, Response, StatusCode};
use crate::world::World;

/// The option tag.
const OPTION: &str = "timer";

/// The shortest session there may be where nobody says another (RFC 4028 §5), in seconds.
const SHORTEST: u32 = 90;

/// Refuses a session that is too short with 422; for a client that does not know what that means, makes it longer
/// (RFC 4028 §8.1).
pub fn check(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    if !refreshes(incoming.method()) {
        return ControlFlow::Continue(());
    }
    let Ok(Some(session)) = incoming.message.get::<SessionExpires>() else {
        return ControlFlow::Continue(());
    };
    let least = world.settings.min_se.max(SHORTEST);
    if session.seconds >= least {
        return ControlFlow::Continue(());
    }
    if incoming.message.has_token(Name::Supported, OPTION) {
        let headers = [(Name::MinSe, least.to_string())];
        let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
        return ControlFlow::Break(incoming.refuse_with(world, status, "", &headers));
    }
    let message = &mut incoming.message;
    let asked = message.get::<MinSe>().ok().flatten().map_or(0, |MinSe(seconds)| seconds);
    let least = least.max(asked);
    message.set(Name::MinSe, least.to_string());
    let value = message.text(Name::SessionExpires).unwrap_or_default();
    let parameters = value.find(';').map_or("", |at| &value[at..]);
    let value = format!("{least}{parameters}");
    message.set(Name::SessionExpires, value);
    ControlFlow::Continue(())
}

/// The callee does not know session timers, the caller does: it is told to refresh (RFC 4028 §8.2).
pub fn complete(request: &Request, response: &mut Response) {
    let theirs = !refreshes(request.method()) || response.contains(Name::SessionExpires);
    if theirs || !request.has_token(Name::Supported, OPTION) {
        return;
    }
    let Ok(Some(session)) = request.get::<SessionExpires>() else { return };
    response.push(Name::SessionExpires, format!("{};refresher=uac", session.seconds));
    if !response.has_token(Name::Require, OPTION) {
        response.push(Name::Require, OPTION);
    }
}

/// The 200 in place of a refusal that means "I do not know UPDATE" to one that was a refresh and nothing else. JsSIP
/// refreshes by UPDATE whatever the phone says in Allow, and the session would end though both ends are there: whoever
/// answers is alive, and that is all a refresh asks (RFC 4028 §1).
#[must_use]
pub fn stand_in(world: &World, incoming: &Incoming, refusal: &Response) -> Option<Response> {
    let unknown = matches!(refusal.status().code(), 405 | 501);
    let refresh = *incoming.method() == Method::Update
        && incoming.is_in_dialog()
        && incoming.message.contains(Name::SessionExpires)
        && media::sdp_of(&incoming.message).is_none();
    if !unknown || !refresh {
        return None;
    }
    let mut response = incoming.answer(world, StatusCode::OK, "", &[]);
    let to = incoming.message.to_tag().unwrap_or_default();
    let calls = world.calls.borrow();
    let end = calls.find(incoming.call_id(), to).and_then(|call| call.end(to));
    if let Some(contact) = end.and_then(|end| in_dialog::contact_of(world, end)) {
        response.push(Name::Contact, contact);
    }
    complete(&incoming.message, &mut response);
    Some(response)
}

const fn refreshes(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}
