//! `causeway reload`: has the gateway that runs in a data directory read its tables and its configuration again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

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

/// Asks the process that runs there. What it makes of it is in its log.
///
/// # Errors
/// None runs there, or it belongs to somebody else.
pub fn ask(data_directory: &Path) -> anyhow::Result<()> {
    let path = pid_file(data_directory);
    let none = || format!("no gateway runs in {}", data_directory.display());
    let text = std::fs::read_to_string(&path).with_context(none)?;
    let number = text.trim().parse().ok();
    let pid = number.and_then(Pid::from_raw).with_context(|| format!("{}: no process", path.display()))?;
    // One that was killed has left its number behind, which anybody may have by now.
    let name = std::fs::read_to_string(format!("/proc/{}/comm", text.trim())).unwrap_or_default();
    ensure!(name.trim() == "causeway", none());
    kill_process(pid, Signal::HUP).with_context(|| format!("process {}", text.trim()))
}
