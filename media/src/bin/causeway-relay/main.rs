//! The relay alone, behind Kamailio, OpenSIPS or anything else that speaks rtpengine's ng protocol.

mod options;

use std::io::Write as _;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use media::{Command, LogLevel, Relay, Reply};
use sd_notify::NotifyState;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

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

fn run(mut settings: Settings) -> anyhow::Result<()> {
    log(&settings);
    settings.relay.log_level = Some(LogLevel { start: settings.log_level, set: set_log_level });
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    media::stop_signals(remember).context("installing the signal handlers")?;
    let relay = Relay::start(settings.relay).context("starting the relay")?;
    if let Some(file) = &settings.pidfile {
        std::fs::write(file, format!("{}\n", std::process::id()))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    tracing::info!(
        ng = ?relay.ng_address(),
        tcp_ng = ?relay.tcp_ng_addresses(),
        http = ?relay.http_addresses(),
        https = ?relay.https_addresses(),
        cli = ?relay.cli_addresses(),
        "ready"
    );
    notify(NotifyState::Ready);
    let mut watchdog = sd_notify::watchdog_enabled().map(Watchdog::new);
    while SIGNAL.load(Ordering::Acquire) == 0 {
        // A signal ends the sleep early.
        std::thread::park_timeout(Duration::from_millis(200));
        if let Some(watchdog) = &mut watchdog {
            watchdog.turn(&relay);
        }
    }
    notify(NotifyState::Stopping);
    relay.shutdown();
    if let Some(file) = &settings.pidfile
        && let Err(error) = std::fs::remove_file(file)
    {
        tracing::warn!(%error, "the pid file stays");
    }
    tracing::info!("stopped");
    Ok(())
}

/// The filter of the log, to be changed by the command line.
static LOG: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The log goes to standard error.
fn log(settings: &Settings) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| level_name(settings.log_level).into());
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(filter);
    match (settings.log_json, settings.no_log_timestamps) {
        (true, true) => log.with(lines.json().flatten_event(true).without_time()).init(),
        (true, false) => log.with(lines.json().flatten_event(true)).init(),
        (false, true) => log.with(lines.without_time()).init(),
        (false, false) => log.with(lines).init(),
    }
    // The log is set up once.
    LOG.get_or_init(|| handle);
}

/// Syslog's levels 0 to 3 are one here.
const fn level_name(level: u8) -> &'static str {
    match level {
        0..=3 => "error",
        4 => "warn",
        5 | 6 => "info",
        _ => "debug",
    }
}

fn set_log_level(level: u8) -> Result<(), String> {
    let handle = LOG.get().ok_or("there is no log")?;
    handle.reload(EnvFilter::new(level_name(level))).map_err(|error| error.to_string())
}

/// Keeps systemd's watchdog quiet for as long as every thread of the relay answers.
struct Watchdog {
    period: Duration,
    next: Instant,
    asked: Option<Pin<Box<dyn Future<Output = Reply>>>>,
}

impl Watchdog {
    /// `limit` is what systemd allows between two signs of life.
    fn new(limit: Duration) -> Self {
        Self { period: limit / 3, next: Instant::now(), asked: None }
    }

    /// Asks when it is time, and tells when all have answered.
    fn turn(&mut self, relay: &Relay) {
        if self.asked.is_none() && Instant::now() >= self.next {
            self.asked = Some(Box::pin(relay.execute(Command::List { limit: 0 })));
        }
        if let Some(Reply::Calls(_)) = self.asked.as_mut().and_then(|asked| asked.as_mut().now_or_never()) {
            notify(NotifyState::Watchdog);
            (self.asked, self.next) = (None, Instant::now() + self.period);
        }
    }
}

/// Tells systemd (`Type=notify`); without it nobody is told.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd was not told");
    }
}
