//! `causeway health` and `causeway drain`: for whatever starts, watches and replaces gateways.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::ask::{self, NoGateway};
use crate::config::Config;

/// Between two questions whether it still runs.
const POLL: Duration = Duration::from_millis(250);

/// What the running gateway says of itself, for people or as JSON, and whether all is well. With `ready` it is also asked whether
/// it is to be given calls.
///
/// # Errors
/// As [`ask::call`].
pub fn health(config: &Config, ready: bool, json: bool) -> anyhow::Result<(String, bool)> {
    let health = ask::call(config, "core.health", &[])?;
    let is = |name: &str| health[name].as_bool() == Some(true);
    let well = is("live") && (!ready || is("ready"));
    if json {
        return Ok((format!("{health:#}\n"), well));
    }
    let mut text = if well { "ok\n".to_owned() } else { String::new() };
    for (kind, list) in [("fault", "faults"), ("not ready", "not_ready"), ("note", "notes")] {
        let sentences = health[list].as_array().into_iter().flatten().filter_map(Value::as_str);
        text.extend(sentences.map(|sentence| format!("{kind}: {sentence}\n")));
    }
    Ok((text, well))
}

/// Has the gateway take no new calls, and stop when the last one has ended; `say` is told how many are left whenever that has
/// changed. Returns when it has stopped, or at once unless `wait`.
///
/// # Errors
/// As [`ask::call`]; or somebody has had it take calls again.
pub fn drain(
    config: &Config,
    timeout: Option<u64>,
    at_least: u64,
    wait: bool,
    mut say: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let at_least = at_least.to_string();
    let limit = timeout.map_or(Value::Null, Value::from);
    let begun = ask::call_with(config, "core.drain", vec![limit, Value::from(at_least)])?;
    let mut known = begun["calls"].clone();
    say(&format!("draining: calls left: {known}\n"))?;
    if !wait {
        return Ok(());
    }
    loop {
        std::thread::sleep(POLL);
        let now = match ask::call(config, "core.health", &[]) {
            Ok(now) => now,
            Err(error) if error.is::<NoGateway>() => break,
            // It has stopped within the question, or is about to.
            Err(error) if error.is::<crate::control::Fault>() => return Err(error).context("core.health"),
            Err(_) => continue,
        };
        if now["pid"] != begun["pid"] {
            break;
        }
        if now["draining"] != true {
            bail!("the gateway takes calls again: somebody has told it so");
        }
        if now["calls"] != known {
            known = now["calls"].clone();
            say(&format!("calls left: {known}\n"))?;
        }
    }
    say("stopped\n")
}
