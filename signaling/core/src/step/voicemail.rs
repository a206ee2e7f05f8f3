//! Calls that nobody takes go to the voicemail server, if there is one: its user is offline, is busy, or does not answer.

use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, local_aor, outbound};
use crate::event::{Event, Untaken};
use crate::gruu;
use crate::message::{Method, StatusCode, Uri};
use crate::world::World;

/// Why a call was not taken, if a final response says so; anything else is for the caller to hear.
#[must_use]
pub const fn untaken(status: StatusCode) -> Option<Untaken> {
    match status {
        StatusCode::BUSY_HERE => Some(Untaken::Busy),
        StatusCode::REQUEST_TIMEOUT => Some(Untaken::NoAnswer),
        StatusCode::TEMPORARILY_UNAVAILABLE => Some(Untaken::Offline),
        _ => None,
    }
}

/// Sends a call or a subscription of a local user there, under the name that was dialled. Goes on along the route when
/// there is no server, or no way to it.
pub async fn divert(world: &World, incoming: &Incoming, why: Untaken) -> ControlFlow<Verdict> {
    let Some(voicemail) = &world.settings.voicemail else { return ControlFlow::Continue(()) };
    if !matches!(incoming.method(), Method::Invite | Method::Subscribe) || incoming.is_in_dialog() {
        return ControlFlow::Continue(());
    }
    let Ok(dialled) = incoming.message.uri() else { return ControlFlow::Continue(()) };
    let Some(aor) = local_aor(world, dialled) else { return ControlFlow::Continue(()) };
    // A GRUU means one phone and nobody in its place (RFC 5627 §3.1).
    if gruu::read(&world.settings.secret, dialled).is_some() {
        return ControlFlow::Continue(());
    }
    let user = dialled.user().unwrap_or_default();
    let host =
        if voicemail.host.contains(':') { format!("[{}]", voicemail.host) } else { voicemail.host.clone() };
    let Ok(uri) = Uri::parse(&format!("sip:{user}@{host}:{}", voicemail.port)) else {
        return ControlFlow::Continue(());
    };
    let call_id = incoming.message.call_id().to_owned();
    match Target::by_way_of(world, uri.clone(), outbound::next_hops(world, &uri).await) {
        Some(target) => {
            world.tell(Event::CallDiverted { call_id, aor, why });
            ControlFlow::Break(Verdict::Relay(vec![target]))
        }
        None => {
            let what = format!("no way to the voicemail server {}", voicemail.host);
            world.tell(Event::OutsideFailed { call_id, what });
            ControlFlow::Continue(())
        }
    }
}
