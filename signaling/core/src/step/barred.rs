//! Numbers that are not for everybody: those of the list of destinations (Kamailio's `secf_check_dst`), and those that cost much,
//! which are for the members of a group.

use super::{Incoming, Target, Verdict};
use crate::event::{Barred, Event};
use crate::message::{Method, Name, StatusCode};
use crate::secfilter::Dialled;
use crate::tables::Tables;
use crate::world::World;

/// Refuses a call or a message to such a number: 403. `None`: it may go to `targets`.
pub fn check(world: &World, incoming: &Incoming, targets: &[Target]) -> Option<Verdict> {
    if !matches!(incoming.method(), Method::Invite | Method::Message) || incoming.is_in_dialog() {
        return None;
    }
    let tables = world.tables();
    let (number, why) = barred(&tables, incoming, targets)?;
    world.stats.borrow_mut().barred += 1;
    world.tell(Event::Barred {
        source: incoming.flow.remote,
        method: incoming.method().to_string(),
        call_id: incoming.message.call_id().to_owned(),
        user: incoming.user.clone().unwrap_or_default(),
        number,
        why,
    });
    let headers = [(Name::Reason, "Q.850;cause=21;text=\"destination barred\"".to_owned())];
    Some(incoming.refuse_with(world, StatusCode::FORBIDDEN, "", &headers))
}

/// What is called, where that may not be.
fn barred(tables: &Tables, incoming: &Incoming, targets: &[Target]) -> Option<(String, Barred)> {
    let asked = incoming.message.uri().ok();
    let outside = targets.iter().filter(|target| target.aor.is_none());
    // Of a user of ours it is not his contacts that are called, but he.
    let uris = asked.into_iter().chain(outside.clone().map(|target| &target.uri));
    let mut called = uris.filter_map(|uri| uri.user_decoded());
    if let Some(user) = called.find(|user| tables.secfilter.bars(user)) {
        return Some((user.into_owned(), Barred::Listed));
    }
    let premium = &tables.policy.premium;
    if premium.is_empty() || incoming.user.as_ref().is_some_and(|user| tables.is_in(user, &premium.group)) {
        return None;
    }
    let costs = |target: &Target| {
        let user = target.uri.user_decoded()?;
        premium.has(&Dialled::parse(&user)?).then(|| user.into_owned())
    };
    outside.into_iter().find_map(costs).map(|number| (number, Barred::Premium))
}
