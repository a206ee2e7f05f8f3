//! `core.health` and `core.drain`: what watches over the gateway asks, and what replaces it does first.

use std::time::{Duration, Instant};

use serde_json::json;

use super::jsonrpc::Answer;
use super::methods::{Args, Outcome};
use super::{Control, busy};
use crate::health::{self, Drain};

/// Nobody waits longer than a day.
const LONGEST: u64 = 86_400;

pub(super) async fn health(control: &Control) -> Outcome {
    let calls = health::drain(&control.health, &control.workers).await;
    let found = control.health.found();
    Ok(Answer::Value(json!({
        "live": found.is_live(),
        "ready": found.is_ready(),
        "draining": control.health.is_draining(),
        "calls": calls,
        "faults": found.faults,
        "not_ready": found.unready,
        "notes": found.notes,
        "pid": std::process::id(),
    })))
}

pub(super) async fn drain(control: &Control, args: Args) -> Outcome {
    let seconds = |place| -> Result<Option<Duration>, _> {
        let seconds = args.optional_number::<u64>(place)?;
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.min(LONGEST))))
    };
    let (timeout, at_least, now) = (seconds(0)?, seconds(1)?, Instant::now());
    let not_before = now + at_least.unwrap_or_default();
    control.health.drain(Drain { not_before, until: timeout.map(|timeout| now + timeout) });
    answer(control).await
}

pub(super) async fn drain_cancel(control: &Control) -> Outcome {
    control.health.resume();
    answer(control).await
}

/// When it is said, every signalling thread does it.
async fn answer(control: &Control) -> Outcome {
    let calls = health::drain(&control.health, &control.workers).await.ok_or_else(busy)?;
    Ok(Answer::Value(json!({
        "draining": control.health.is_draining(),
        "calls": calls,
        "pid": std::process::id(),
    })))
}
