//! The calls and the minutes of a day that users have at the telephone network: see [`crate::tolls`].
//!
//! Whoever has none left hears 403: the same request would hear it again, and another server of ours would say nothing else, which
//! is what 503 would have him find out.

use super::limits::gateways;
use super::{Incoming, Target, Verdict};
use crate::event::Event;
use crate::message::{Method, Name, StatusCode};
use crate::profiles::Seat;
use crate::tolls::{self, Toll};
use crate::world::World;

/// Counts a call that goes to a gateway, or says that it may not.
pub fn admit(world: &World, incoming: &mut Incoming, targets: Vec<Target>) -> Verdict {
    let tables = world.tables();
    let limits = &tables.policy.tolls;
    // One that comes through here again on its way is counted already.
    let begins = *incoming.method() == Method::Invite && !incoming.is_in_dialog() && !incoming.spirals;
    if limits.is_off() || !begins {
        return Verdict::Relay(targets);
    }
    let mut seats: Vec<Seat> =
        gateways(tables.policy.pstn.as_ref(), &targets).into_iter().map(tolls::of_gateway).collect();
    if seats.is_empty() {
        return Verdict::Relay(targets);
    }
    let caller = match &incoming.user {
        Some(user) => world.location_key(user),
        // A trunk that shows no name.
        None => incoming.flow.remote.ip().to_canonical().to_string(),
    };
    seats.insert(0, tolls::of_user(&caller));
    let toll = Toll { seats, aor: incoming.user.clone() };
    match world.tolls.begin(limits.zone.day(world.unix_now()), &tables.allowances(&toll)) {
        Ok(()) => {
            incoming.toll = Some(toll);
            Verdict::Relay(targets)
        }
        Err((seat, reached)) => {
            world.stats.borrow_mut().toll_refused += 1;
            let (call_id, source) = (incoming.message.call_id().to_owned(), incoming.flow.remote);
            world.tell(Event::TollReached { call_id, source: Some(source), seat, reached });
            let headers = [(Name::Reason, "Q.850;cause=21;text=\"limit of the day reached\"".to_owned())];
            let reason = format!("Limit Of The Day Reached ({})", reached.as_str());
            incoming.refuse_with(world, StatusCode::FORBIDDEN, &reason, &headers)
        }
    }
}
