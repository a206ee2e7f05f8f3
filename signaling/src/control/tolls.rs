//! `tolls.*`: what users and gateways have spent of the day at the telephone network.

use serde_json::{Value, json};
use signaling_core::profiles::{Profile, Seat};
use signaling_core::tolls::{Spent, Toll, of_gateway, of_user};

use super::Control;
use super::jsonrpc::{Answer, Fault};
use super::methods::{Args, Outcome};
use crate::store::unix_now;

/// All of today, or what is said of one.
pub(super) fn list(control: &Control, args: Args) -> Outcome {
    let wanted = args.optional(0)?;
    let tables = control.database.routing();
    let today = tables.policy.tolls.zone.day(unix_now());
    let row = |(seat, spent): (Seat, Spent)| {
        let aor = (seat.0 == Profile::User).then(|| seat.1.to_string());
        let may = tables.allowances(&Toll { seats: vec![seat.clone()], aor });
        let (calls, minutes) = may.first().map_or((0, 0), |(_, may)| (may.calls, may.minutes));
        json!({
            "profile": seat.0.as_str(),
            "value": seat.1,
            "calls": spent.calls,
            "calls_per_day": calls,
            "minutes": minutes_of(spent.milliseconds),
            "minutes_per_day": minutes,
        })
    };
    let mut all = control.tolls.list(today);
    all.retain(|((_, value), _)| wanted.as_deref().is_none_or(|wanted| **value == *wanted));
    Ok(Answer::Value(all.into_iter().map(row).collect()))
}

/// With one decimal.
fn minutes_of(milliseconds: u64) -> Value {
    json!((milliseconds / 6000) as f64 / 10.0)
}

/// Forgets what one has spent today, or all.
pub(super) fn reset(control: &Control, args: Args) -> Outcome {
    let value = args.text(0)?;
    if value == "all" {
        control.tolls.reset_all();
        return Ok(Answer::Value(json!("Ok. All reset.")));
    }
    let known = [of_user(&value), of_gateway(&value)].map(|seat| control.tolls.reset(&seat));
    match known.contains(&true) {
        true => Ok(Answer::Value(json!(format!("Ok. {value} reset.")))),
        false => Err(Fault::new(404, format!("{value} has spent nothing"))),
    }
}
