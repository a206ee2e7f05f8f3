//! `dlg.*`: calls. The first number of a call is that of its worker, the second its own there.

use serde_json::{Value, json};
use signaling_core::dialog::{Call, header_call_id};
use signaling_core::message::build::random_call_id;
use signaling_core::profiles::{Profile, Seat};
use signaling_core::proxy::control::{Dialog, DialogEnd, State};

use super::Control;
use super::core::proto;
use super::jsonrpc::{Answer, Fault};
use super::methods::{Args, Outcome};

/// The calls of all workers that are `wanted`, each with the number of its worker, the oldest first.
pub(super) async fn calls(
    control: &Control,
    wanted: impl Fn(&Call) -> bool + Clone + Send + 'static,
) -> Result<Vec<(usize, Dialog)>, Fault> {
    let workers = control.ask(move |proxy, now| proxy.dialogs(now, &wanted)).await?;
    let numbered = workers.into_iter().enumerate();
    let mut all: Vec<_> =
        numbered.flat_map(|(worker, calls)| calls.into_iter().map(move |call| (worker, call))).collect();
    all.sort_by_key(|(worker, call)| (call.started_at, *worker, call.serial));
    Ok(all)
}

/// Of Kamailio's fields all but those that are bits of its own.
pub(super) fn shown((worker, call): &(usize, Dialog), now: u64) -> Value {
    let left = call.left.as_secs();
    json!({
        "h_entry": worker,
        "h_id": call.serial,
        "call-id": call.call_id,
        "from_uri": call.from_uri,
        "to_uri": call.to_uri,
        "state": call.state as u8,
        "start_ts": call.answered_at,
        "init_ts": call.started_at,
        "end_ts": 0,
        "duration": call.duration.as_secs(),
        "timeout": if call.answered_at > 0 { now + left } else { 0 },
        "lifetime": call.duration.as_secs() + left,
        "caller": end(Some(&call.caller)),
        "callee": end(call.callee.as_ref()),
        "profiles": call.profiles.iter().map(profile).collect::<Vec<_>>(),
        "variables": [],
    })
}

/// One without a value is its name, one with it an object.
fn profile((profile, value): &Seat) -> Value {
    match &**value {
        "" => json!(profile.as_str()),
        value => json!({ profile.as_str(): value }),
    }
}

fn end(end: Option<&DialogEnd>) -> Value {
    json!({
        "tag": end.map(|end| &end.tag),
        "contact": end.map(|end| &end.contact),
        "cseq": end.map(|end| end.cseq.to_string()),
        "route_set": end.map(|end| &end.route_set),
        "socket": end.map(|end| format!("{}:{}", proto(end.socket.0), end.socket.1)),
    })
}

pub(super) async fn list(control: &Control) -> Outcome {
    let now = crate::store::unix_now();
    let calls = calls(control, |_| true).await?;
    Ok(Answer::Value(Value::Array(calls.iter().map(|call| shown(call, now)).collect())))
}

pub(super) async fn briefing(control: &Control) -> Outcome {
    let row = |(worker, call): &(usize, Dialog)| {
        json!({
            "h_entry": worker,
            "h_id": call.serial,
            "from_uri": call.from_uri,
            "to_uri": call.to_uri,
            "call-id": call.call_id,
            "from_tag": call.caller.tag,
            "to_tag": call.callee.as_ref().map(|callee| &callee.tag),
        })
    };
    let calls = calls(control, |_| true).await?;
    Ok(Answer::Value(Value::Array(calls.iter().map(row).collect())))
}

pub(super) async fn stats_active(control: &Control) -> Outcome {
    let calls = calls(control, |_| true).await?;
    let count = |state| calls.iter().filter(|(_, call)| call.state == state).count();
    Ok(Answer::Value(json!({
        "starting": count(State::Unconfirmed),
        "connecting": count(State::Early),
        "answering": count(State::ConfirmedNoAck),
        "ongoing": count(State::Confirmed),
        "all": calls.len(),
    })))
}

/// Whether a call has this Call-ID and, where they are said, these tags.
fn has(args: &Args) -> Result<impl Fn(&Call) -> bool + Clone + Send + 'static, Fault> {
    let (call_id, from, to) = (args.text(0)?, args.optional(1)?, args.optional(2)?);
    Ok(move |call: &Call| {
        let callee = |tag: &String| call.callees.iter().any(|callee| callee.tag == *tag);
        header_call_id(&call.call_id) == call_id
            && from.as_ref().is_none_or(|tag| call.caller.tag == *tag)
            && to.as_ref().is_none_or(callee)
    })
}

pub(super) async fn dlg_list(control: &Control, args: Args) -> Outcome {
    let calls = calls(control, has(&args)?).await?;
    let now = crate::store::unix_now();
    Ok(Answer::Value(calls.first().map_or_else(|| json!({}), |call| shown(call, now))))
}

pub(super) async fn is_alive(control: &Control, args: Args) -> Outcome {
    let calls = calls(control, has(&args)?).await?;
    let (_, call) = calls.first().ok_or_else(not_found)?;
    Ok(Answer::Value(json!({ "state": call.state as u8 })))
}

pub(super) async fn terminate_dlg(control: &Control, args: Args) -> Outcome {
    let wanted = has(&args)?;
    let ended = control.ask(move |proxy, now| proxy.end_calls(now, &wanted)).await?;
    outcome(ended.into_iter().sum())
}

pub(super) async fn end_dlg(control: &Control, args: Args) -> Outcome {
    let (worker, serial): (usize, u64) = (args.number(0)?, args.number(1)?);
    if worker >= control.workers.count() {
        return Err(not_found());
    }
    let wanted = move |call: &Call| call.serial == serial;
    outcome(control.ask_one(worker, move |proxy, now| proxy.end_calls(now, wanted)).await?)
}

/// Begins it; what comes of it is seen in the calls.
pub(super) async fn bridge_dlg(control: &Control, args: Args) -> Outcome {
    let (first, second) = (args.text(0)?, args.text(1)?);
    if !matches!(args.optional(2)?.as_deref(), None | Some("" | "." | "_none" | "_none_")) {
        return Err(Fault::new(
            400,
            "there is no outbound proxy but the routes of the configuration: say \".\"",
        ));
    }
    let offer = args.optional(3)?.filter(|body| !matches!(&**body, "" | "." | "_none" | "_none_"));
    let call_id = random_call_id(&mut rand::rng());
    let worker = control.workers.worker_of_call(&call_id);
    let begun = control.ask_one(worker, move |proxy, now| {
        proxy.bridge(now, &call_id, [&first, &second], offer.map(Into::into))
    });
    match begun.await? {
        Ok(()) => Ok(Answer::Value(json!({}))),
        Err(error) => Err(Fault::new(500, error.to_string())),
    }
}

fn outcome(ended: usize) -> Outcome {
    if ended == 0 { Err(not_found()) } else { Ok(Answer::Value(json!({}))) }
}

fn profile_of(args: &Args) -> Result<(Profile, Option<String>), Fault> {
    let name = args.text(0)?;
    let profile =
        Profile::named(&name).ok_or_else(|| Fault::new(404, format!("Profile not found: {name}")))?;
    Ok((profile, args.optional(1)?))
}

pub(super) fn profile_get_size(control: &Control, args: Args) -> Outcome {
    let (profile, value) = profile_of(&args)?;
    Ok(Answer::Value(json!(control.profiles.size(profile, value.as_deref()))))
}

pub(super) async fn profile_list(control: &Control, args: Args) -> Outcome {
    let (profile, value) = profile_of(&args)?;
    let now = crate::store::unix_now();
    let mut calls = calls(control, |_| true).await?;
    let counted =
        |(known, of): &Seat| *known == profile && value.as_ref().is_none_or(|value| **of == **value);
    calls.retain(|(_, call)| call.profiles.iter().any(counted));
    Ok(Answer::Value(Value::Array(calls.iter().map(|call| shown(call, now)).collect())))
}

fn not_found() -> Fault {
    Fault::new(404, "Dialog not found")
}
