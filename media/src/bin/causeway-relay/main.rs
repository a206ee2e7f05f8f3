//! The relay alone, behind Kamailio, OpenSIPS or anything else that speaks rtpengine's ng protocol.

mod options;

use std::io::Write as _;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use media::Relay;
use tracing_subscriber::EnvFilter;

use crate::options::{Settings, Wanted};

/// The signal that asked to stop; 0 before.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal: libc::c_int) {
    SIGNAL.store(signal, Ordering::Release);
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let read = |file: &str| std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    match options::parse(&arguments, read).map_err(anyhow::Error::msg)? {
        Wanted::Print(text) => std::io::stdout().write_all(text.as_bytes()).context("printing")?,
        Wanted::Run(settings) => run(*settings)?,
    }
    Ok(())
}

fn run(settings: Settings) -> anyhow::Result<()> {
    log(&settings);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    media::stop_signals(remember).context("installing the signal handlers")?;
    let relay = Relay::start(settings.relay).context("starting the relay")?;
    if let Some(file) = &settings.pidfile {
        std::fs::write(file, format!("{}\n", std::process::id()))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    tracing::info!(ng = ?relay.ng_address(), "ready");
    notify("READY=1");
    while SIGNAL.load(Ordering::Acquire) == 0 {
        // A signal ends the sleep early.
        std::thread::park_timeout(Duration::from_millis(200));
    }
    notify("STOPPING=1");
    relay.shutdown();
    if let Some(file) = &settings.pidfile
        && let Err(error) = std::fs::remove_file(file)
    {
        tracing::warn!(%error, "the pid file stays");
    }
    tracing::info!("stopped");
    Ok(())
}

/// The log goes to standard error; syslog's levels 0 to 3 are one here.
fn log(settings: &Settings) {
    let level = match settings.log_level {
        0..=3 => "error",
        4 => "warn",
        5 | 6 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.no_log_timestamps {
        true => log.without_time().init(),
        false => log.init(),
    }
}

/// Tells systemd (`Type=notify`); without it nothing listens.
fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text = path.to_string_lossy();
    let address = match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = sent {
        tracing::warn!(%error, "systemd was not told");
    }
}
