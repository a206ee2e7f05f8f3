//! From what was dialled to what is meant: short numbers, aliases, and telephone numbers.

use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, auth, dispatch, local_aor, outbound};
use crate::dispatcher::Gateway;
use crate::event::Event;
use crate::message::{Method, StatusCode, Uri};
use crate::tables::Through;
use crate::world::World;

/// Aliases of aliases that are followed.
const CHAIN: usize = 4;

/// Puts the URI that the caller has for a short number of two digits in the place of that number.
pub fn speed_dial(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let Some(caller) = incoming.user.clone() else { return ControlFlow::Continue(()) };
    let tables = world.tables();
    if tables.speed_dial.is_empty() {
        return ControlFlow::Continue(());
    }
    let Ok(uri) = incoming.message.uri() else { return ControlFlow::Continue(()) };
    let digits = uri.user().filter(|user| user.len() == 2 && user.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(digits) = digits.map(str::to_owned) else { return ControlFlow::Continue(()) };
    if let Some(Ok(target)) = tables.speed_dial.get(&(caller, digits)).map(|uri| Uri::parse(uri)) {
        incoming.message.set_uri(&target);
    }
    ControlFlow::Continue(())
}

/// Puts what an alias stands for in its place. What lies elsewhere is gone to, for the operator has said so.
pub async fn alias(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let tables = world.tables();
    for _ in 0..CHAIN {
        let Some(aor) = incoming.message.uri().ok().and_then(|uri| local_aor(world, uri)) else { break };
        let Some((user, domain)) = aor.rsplit_once('@') else { break };
        let Some(target) = tables.alias(user, domain) else { break };
        let Ok(uri) = Uri::parse(&format!("sip:{target}")) else { break };
        incoming.message.set_uri(&uri);
    }
    outbound::elsewhere(world, incoming).await
}

/// Sends a telephone number to the gateway of the telephone network: for users of ours only, and where their groups say which
/// numbers are for whom, for those.
pub async fn pstn(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    let tables = world.tables();
    let Some(pstn) = &tables.policy.pstn else { return ControlFlow::Continue(()) };
    let Ok(uri) = incoming.message.uri() else { return ControlFlow::Continue(()) };
    let number = uri.user().unwrap_or_default();
    if !matches!(incoming.method(), Method::Invite | Method::Message) || !pstn.pattern.is_match(number) {
        return ControlFlow::Continue(());
    }
    let refuse = |reason| ControlFlow::Break(incoming.refuse(world, StatusCode::FORBIDDEN, reason));
    if !auth::is_known(incoming) {
        return refuse("Not Allowed");
    }
    if let (Some(group), Some(caller)) = (pstn.group_of(number), &incoming.user)
        && !tables.is_in(caller, group)
    {
        return refuse("Forbidden");
    }
    ControlFlow::Break(match &pstn.through {
        Through::Gateway { host, port } => to_gateway(world, incoming, number, host, *port).await,
        Through::Set(set) => {
            let uri = |gateway: &Gateway| gateway.target.as_request_uri().with_user(Some(number)).ok();
            dispatch::send(world, incoming, *set, uri).await
        }
    })
}

async fn to_gateway(
    world: &World,
    incoming: &Incoming,
    number: &str,
    name: &str,
    port: Option<u16>,
) -> Verdict {
    let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let uri = Uri::parse(&format!("sip:{number}@{host}{port}"));
    let target = match uri {
        Ok(uri) => Target::by_way_of(world, uri.clone(), outbound::next_hops(world, &uri).await),
        Err(_) => None,
    };
    match target {
        Some(target) => Verdict::Relay(vec![target]),
        None => {
            let what = format!("no way to the gateway of the telephone network, {name}");
            world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
            incoming.refuse(world, StatusCode::SERVICE_UNAVAILABLE, "")
        }
    }
}
