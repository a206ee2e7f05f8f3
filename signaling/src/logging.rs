//! Log lines: text for people, JSON for machines, both on standard error, so that standard output stays the screen.

use anyhow::Context as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Log;

/// Starts logging for the whole process.
///
/// # Errors
/// The filter is not one, or logging runs already.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter: Targets = log.filter.parse().context("log.level")?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if log.json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(lines.with_ansi(colours)).try_init()
    }
    .context("logging")
}
