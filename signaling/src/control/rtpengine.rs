//! `rtpengine.*`: the relay.

use serde_json::{Value, json};

use super::Control;
use super::jsonrpc::{Answer, Fault};
use super::methods::{Args, Outcome};
use crate::media_link::RelayStatus;

/// The relays that the first parameter means, each with its place.
async fn meant(control: &Control, args: &Args) -> Result<Vec<(usize, RelayStatus)>, Fault> {
    let asked = args.optional(0)?.unwrap_or_else(|| "all".into());
    let relays = control.media.relays().await.into_iter().enumerate();
    let relays: Vec<_> = relays.filter(|(_, relay)| asked == "all" || asked == relay.url).collect();
    if relays.is_empty() { Err(Fault::new(404, "Instance not found (no match)")) } else { Ok(relays) }
}

pub(super) async fn show(control: &Control, args: Args) -> Outcome {
    let rows = meant(control, &args).await?.into_iter().map(|(index, relay)| {
        let (disabled, recheck) =
            (u8::from(relay.disabled.is_some()), relay.disabled.map_or(0, |left| left.as_secs()));
        json!({
            "url": relay.url, "set": relay.set, "index": index, "weight": relay.weight,
            "disabled": disabled, "recheck_ticks": recheck,
        })
    });
    Ok(Answer::Value(rows.collect()))
}

pub(super) async fn ping(control: &Control, args: Args) -> Outcome {
    let mut rows = Vec::new();
    for (_, relay) in meant(control, &args).await? {
        let status = if control.media.ping(&relay.url).await { "success" } else { "fail" };
        rows.push(json!({ "url": relay.url, "status": status }));
    }
    // One is told of by itself.
    Ok(Answer::Value(if rows.len() == 1 { rows.remove(0) } else { Value::Array(rows) }))
}

pub(super) async fn hash_total(control: &Control) -> Outcome {
    let calls: u64 = control.media.relays().await.iter().map(|relay| relay.calls).sum();
    Ok(Answer::Value(Value::from(calls)))
}
