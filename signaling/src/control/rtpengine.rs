//! `rtpengine.*`: the relay.

use serde_json::{Value, json};

use super::Control;
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use crate::media_link::RelayStatus;

/// The relays that the first parameter means, each with its place.
async fn meant(control: &Control, args: &Args) -> Result<Vec<(usize, RelayStatus)>, Fault> {
    let asked = args.optional(0)?.unwrap_or_else(|| "all".into());
    let relays = control.media.relays().await.into_iter().enumerate();
    let relays: Vec<_> = relays.filter(|(_, relay)| asked == "all" || asked == relay.url).collect();
    if relays.is_empty() { Err(Fault::new(404, "Instance not found")) } else { Ok(relays) }
}

pub(super) async fn show(control: &Control, args: Args) -> Outcome {
    let rows = meant(control, &args).await?.into_iter().map(|(index, relay)| {
        let (disabled, recheck) = match relay.disabled {
            _ if relay.put_aside => (json!("1(permanent)"), json!("N/A")),
            Some(left) => (json!(1), json!(left.as_secs())),
            None => (json!(0), json!(0)),
        };
        json!({
            "url": relay.url, "set": relay.set, "index": index, "weight": relay.weight,
            "disabled": disabled, "recheck_ticks": recheck,
        })
    });
    Ok(Answer::Value(rows.collect()))
}

/// One answer, whomever it is about; `all` fails when one of them does.
fn status(args: &Args, word: &str) -> Outcome {
    let url = args.optional(0)?.unwrap_or_else(|| "all".into());
    Ok(Answer::Value(json!({ "url": url, "status": word })))
}

pub(super) async fn ping(control: &Control, args: Args) -> Outcome {
    let mut all_answer = true;
    for (_, relay) in meant(control, &args).await? {
        all_answer &= control.media.ping(&relay.url).await;
    }
    status(&args, if all_answer { "success" } else { "fail" })
}

/// A relay that is taken back is pinged first, and one that does not answer is left alone for a while, as at any time.
pub(super) async fn enable(control: &Control, args: Args) -> Outcome {
    let enable = match args.number::<u8>(1)? {
        1 => true,
        0 => false,
        _ => return Err(Fault::new(INVALID_PARAMS, "0 or 1 is wanted")),
    };
    let mut all_answer = true;
    for (_, relay) in meant(control, &args).await? {
        if !control.media.put_aside(&relay.url, !enable) && !enable {
            return Err(Fault::new(400, "the only relay cannot be taken out of use"));
        }
        all_answer &= !enable || control.media.ping(&relay.url).await;
    }
    match (enable, all_answer) {
        (false, _) => status(&args, "disable"),
        (true, true) => status(&args, "success"),
        (true, false) => status(&args, "fail"),
    }
}

pub(super) async fn hash_total(control: &Control) -> Outcome {
    let calls: u64 = control.media.relays().await.iter().map(|relay| relay.calls).sum();
    Ok(Answer::Value(Value::from(calls)))
}
