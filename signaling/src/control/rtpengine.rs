//! `rtpengine.*`: the relay.

use serde_json::{Value, json};

use super::Control;
use super::jsonrpc::{Answer, Fault};
use super::methods::{Args, Outcome};

/// Whether the first parameter means the relay in use.
fn meant(control: &Control, args: &Args) -> Result<String, Fault> {
    let asked = args.optional(0)?.unwrap_or_else(|| "all".into());
    match control.media.url() {
        Some(url) if asked == "all" || asked == url => Ok(url),
        _ => Err(Fault::new(404, "Instance not found (no match)")),
    }
}

pub(super) fn show(control: &Control, args: Args) -> Outcome {
    let url = meant(control, &args)?;
    let row = json!({ "url": url, "set": 0, "index": 0, "weight": 1, "disabled": 0, "recheck_ticks": 0 });
    Ok(Answer::Value(json!([row])))
}

pub(super) async fn ping(control: &Control, args: Args) -> Outcome {
    let url = meant(control, &args)?;
    let status = if control.media.ping().await { "success" } else { "fail" };
    Ok(Answer::Value(json!({ "url": url, "status": status })))
}

pub(super) async fn hash_total(control: &Control) -> Outcome {
    match control.media.calls().await {
        Some(calls) => Ok(Answer::Value(Value::from(calls))),
        None => Err(Fault::new(500, "the relay is not of this process")),
    }
}
