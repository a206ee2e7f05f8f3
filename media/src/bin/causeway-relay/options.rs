//! The options of the command line, which are the keys of the configuration file: rtpengine's, each declared once.
//!
//! Help, manual page, parser and configuration file come from [`declared::OPTIONS`]. An option of rtpengine that has no meaning here
//! is accepted with one warning where it cannot change what callers hear, and refused where it would.

mod declared;
mod help;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::path::PathBuf;
use std::time::Duration;

use media::{ForwardingConfig, RecordingConfig, RelayConfig};

use self::declared::{OPTIONS, SUBSYSTEM};
use self::help::{help, manual};
use self::written::{config, printed, words};
use Effect::{Always, Refuse, Set, Warn};

/// What the relay is started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Of the relay itself.
    pub(crate) relay: RelayConfig,
    /// Of recordings; none without a directory.
    recording: Option<RecordingConfig>,
    /// Where sound is forwarded to; nowhere without an address.
    forwarding: Option<ForwardingConfig>,
    /// Where the process number is written.
    pub(crate) pidfile: Option<PathBuf>,
    /// The level of the log, syslog's 0 to 7.
    pub(crate) log_level: u8,
    /// No times in the log.
    /// Whether log lines are JSON.
    pub(crate) log_json: bool,
    pub(crate) no_log_timestamps: bool,
    /// To be told, once each.
    pub(crate) warnings: Vec<String>,
    /// Whether an option said so: other ports than rtpengine's defaults are then left alone.
    seen: Vec<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        let relay = RelayConfig {
            delete_delay: Duration::from_secs(30),
            // In rtpengine's place, for those who look for its name.
            software_id: concat!("rtpengine-causeway-", env!("CARGO_PKG_VERSION")).replace('.', "-"),
            ..RelayConfig::default()
        };
        Self {
            relay,
            recording: None,
            forwarding: None,
            pidfile: None,
            log_level: 6,
            log_json: false,
            no_log_timestamps: false,
            warnings: Vec::new(),
            seen: Vec::new(),
        }
    }
}

impl Settings {
    /// Whether an option is there for the first time.
    fn is_first(&self, long: &str) -> bool {
        self.seen.iter().filter(|seen| **seen == long).count() == 1
    }
}

/// What an option does.
#[derive(Clone, Copy)]
enum Effect {
    /// Takes its value, or an empty one where it has none.
    Set(fn(&mut Settings, &str) -> Result<(), String>),
    /// Says what is always so here.
    Always,
    /// Cannot change what callers hear: one warning, with the reason.
    Warn(&'static str),
    /// Would change it: refused, with the reason.
    Refuse(&'static str),
}

/// One option.
struct Opt {
    long: &'static str,
    short: Option<char>,
    /// What stands for its value; empty where it takes none.
    value: &'static str,
    meaning: &'static str,
    effect: Effect,
}

const fn opt(
    long: &'static str,
    short: Option<char>,
    value: &'static str,
    meaning: &'static str,
    effect: Effect,
) -> Opt {
    Opt { long, short, value, meaning, effect }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Start.
    Run(Box<Settings>),
    /// Print this and end.
    Print(String),
}

/// Reads the command line, without the program's name, and the configuration file it names. `read` reads a file.
///
/// # Errors
/// A sentence that names the option.
pub(crate) fn parse(
    arguments: &[String],
    read: impl Fn(&str) -> Result<String, String>,
) -> Result<Wanted, String> {
    let words = words(arguments)?;
    let value =
        |long: &str| words.iter().rev().find(|(opt, _)| opt.long == long).map(|(_, value)| value.as_str());
    let mut settings = Settings::default();
    if let Some(opt) = arguments.iter().find_map(|word| printed(word)).filter(|_| words.is_empty()) {
        return Ok(Wanted::Print(match opt.long {
            "help" => help(),
            "man" => manual(),
            "codecs" => media::codecs().map(|name| format!("{name}\n")).collect(),
            _ => format!("causeway-relay {}\n", env!("CARGO_PKG_VERSION")),
        }));
    }
    if let Some(file) = value("config-file").filter(|file| *file != "none") {
        let section = value("config-section").unwrap_or("rtpengine");
        // What stands on the command line replaces what stands in the file.
        let said = |long: &str| words.iter().any(|(opt, _)| opt.long == long);
        for (opt, value) in config(&read(file)?, section, file)? {
            if !said(opt.long) {
                apply(&mut settings, opt, &value).map_err(|error| format!("{file}: {error}"))?;
            }
        }
    }
    for (opt, value) in &words {
        apply(&mut settings, opt, value)?;
    }
    match settings.recording.take() {
        Some(recording) if recording.directory.as_os_str().is_empty() => {
            settings.warnings.push("nothing is recorded without recording-dir".to_owned());
        }
        recording => settings.relay.recording = recording,
    }
    match settings.forwarding.take() {
        Some(forwarding) if forwarding.to.port() == 0 => {
            settings.warnings.push("nothing is forwarded without tls-send-to or tcp-send-to".to_owned());
        }
        forwarding => settings.relay.forwarding = forwarding,
    }
    Ok(Wanted::Run(Box::new(settings)))
}

fn apply(settings: &mut Settings, opt: &'static Opt, value: &str) -> Result<(), String> {
    let first = !settings.seen.contains(&opt.long);
    settings.seen.push(opt.long);
    match opt.effect {
        Set(set) => set(settings, value).map_err(|error| format!("{}: {error}", opt.long)),
        Refuse(reason) => Err(format!("{} is not possible: {reason}", opt.long)),
        Warn(reason) if first => {
            settings.warnings.push(format!("{} has no effect: {reason}", opt.long));
            Ok(())
        }
        Warn(_) | Always => Ok(()),
    }
}

fn find(name: &str) -> Option<&'static Opt> {
    let is_level = name.strip_prefix("log-level-").is_some_and(|name| !name.is_empty());
    if is_level { Some(&SUBSYSTEM) } else { OPTIONS.iter().find(|opt| opt.long == name) }
}
