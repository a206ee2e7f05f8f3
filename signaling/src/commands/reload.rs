//! `causeway reload`: has the gateway that runs in a data directory read its tables and its configuration again.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::ask::{self, NoGateway};
use crate::config::Config;

/// Keys have changed that count from the next start on.
#[derive(Debug, thiserror::Error)]
#[error("these count from the next start on: {0}")]
pub struct NeedsRestart(String);

/// The file that says which process runs there.
#[must_use]
pub fn pid_file(data_directory: &Path) -> PathBuf {
    data_directory.join("causeway.pid")
}

/// Notes this process as the one that runs there.
///
/// # Errors
/// The file cannot be written.
pub fn note_process(data_directory: &Path) -> anyhow::Result<()> {
    let path = pid_file(data_directory);
    std::fs::write(&path, format!("{}\n", std::process::id())).with_context(|| path.display().to_string())
}

/// Asks the gateway that runs there, and returns the answer of `core.reload`. One without a control socket is asked by a signal:
/// then there is no answer but its log, and this is `null`.
///
/// # Errors
/// None runs there, it belongs to somebody else, or it says that nothing was taken up.
pub fn ask(config: &Config) -> anyhow::Result<Value> {
    match ask::call(config, "core.reload", &[]) {
        Err(error) if error.is::<NoGateway>() => match running(&config.data_directory) {
            Some(process) => {
                kill_process(process, Signal::HUP).with_context(|| format!("process {process:?}"))?;
                Ok(Value::Null)
            }
            None => Err(error),
        },
        answer => answer,
    }
}

/// The process that runs there. One that was killed has left its number behind, which anybody may have by now.
fn running(data_directory: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file(data_directory)).ok()?;
    let name = std::fs::read_to_string(format!("/proc/{}/comm", text.trim())).ok()?;
    (name.trim() == "causeway").then(|| Pid::from_raw(text.trim().parse().ok()?))?
}

/// What an answer says, for people.
#[must_use]
pub fn shown(answer: &Value) -> String {
    match names(answer, "taken_up") {
        _ if answer.is_null() => "asked by a signal: the log says what has become of it\n".to_owned(),
        names if names.is_empty() => "reloaded\n".to_owned(),
        names => format!("reloaded: {names}\n"),
    }
}

/// Whether all of it counts now.
///
/// # Errors
/// [`NeedsRestart`].
pub fn whole(answer: &Value) -> Result<(), NeedsRestart> {
    match names(answer, "need_restart") {
        names if names.is_empty() => Ok(()),
        names => Err(NeedsRestart(names)),
    }
}

fn names(answer: &Value, list: &str) -> String {
    let names: Vec<&str> = answer[list].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    names.join(" ")
}
