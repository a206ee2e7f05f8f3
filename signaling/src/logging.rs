//! Log lines: text for people, JSON for machines, both on standard error, so that standard output stays the screen.

use std::sync::OnceLock;

use anyhow::Context as _;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Log;

/// What may be said, for the whole process as the log is.
static FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging for the whole process.
///
/// # Errors
/// The filter is not one, or logging runs already.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let (filter, handle) = Layer::new(filter(log)?);
    let registry = tracing_subscriber::registry().with(filter).with(dependencies());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if log.json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(lines.with_ansi(colours)).try_init()
    }
    .context("logging")?;
    // The log starts once.
    let _ = FILTER.set(handle);
    Ok(())
}

/// What `log.level` says.
///
/// # Errors
/// It is no filter.
pub fn filter(log: &Log) -> anyhow::Result<Targets> {
    log.filter.parse().context("log.level")
}

/// Has so much be said from now on, if this program writes the log.
pub fn set(filter: Targets) {
    if let Some(Err(error)) = FILTER.get().map(|handle| handle.reload(filter)) {
        tracing::error!(%error, "log.level not taken up");
    }
}

/// How much is said, by Kamailio's numbers: 3 debug, 2 info, 0 warnings, -1 errors.
///
/// # Errors
/// This program does not write the log.
pub fn debug() -> anyhow::Result<i32> {
    let filter = FILTER.get().context("the log is not this program's")?;
    let level = filter
        .with_current(|targets| targets.iter().map(|(_, level)| level).chain(targets.default_level()).max());
    Ok(match level?.unwrap_or(LevelFilter::OFF) {
        level if level >= LevelFilter::DEBUG => 3,
        LevelFilter::INFO => 2,
        LevelFilter::WARN => 0,
        _ => -1,
    })
}

/// Has so much be said from now on, whatever `log.level` says.
///
/// # Errors
/// As [`debug`].
pub fn set_debug(level: i32) -> anyhow::Result<()> {
    let filter = FILTER.get().context("the log is not this program's")?;
    let level = match level {
        3.. => LevelFilter::DEBUG,
        1..=2 => LevelFilter::INFO,
        0 => LevelFilter::WARN,
        ..0 => LevelFilter::ERROR,
    };
    Ok(filter.reload(Targets::new().with_default(level))?)
}

/// What dependencies may say, whatever `log.level` asks for. Below info they write what no log may hold: a WebSocket
/// library its frames, and with them credentials and nonces; an ICE agent its passwords.
fn dependencies() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_targets(
        ["causeway", "media", "media_core", "signaling_core"].map(|own| (own, LevelFilter::TRACE)),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lines").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn dependencies_keep_their_messages_to_themselves_at_any_level() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry()
            .with("trace".parse::<Targets>().expect("a filter"))
            .with(dependencies())
            .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "tungstenite::protocol", "frame with a nonce");
            tracing::debug!(target: "is::agent", "credentials");
            tracing::warn!(target: "hyper::server", "a warning of a dependency");
            tracing::trace!(target: "media_core::ice", "our own trace");
            tracing::trace!(target: "causeway::transport", "our own transport");
        });
        let text = String::from_utf8(lines.0.lock().expect("lines").clone()).expect("text");
        assert!(!text.contains("nonce") && !text.contains("credentials"), "{text}");
        for kept in ["a warning of a dependency", "our own trace", "our own transport"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
