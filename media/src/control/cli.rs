//! The command line of `rtpengine-ctl`: its verbs, and answers in its words.
//!
//! Calls are all our own here, as there is no store that shares them between relays; verbs about such a store, and limits by
//! load, say so in one line.

use std::fmt::Write as _;
use std::sync::Arc;

use media_core::command::{CallReport, Command, Delete, MediaReport, Query, Reply, StreamReport, TagReport};

use super::{Control, Settings};
use crate::lock;

/// Longest command, octets.
pub(super) const MAX_LINE: usize = 1024;

const MORE: &str = "More parameters required.\n";

const VERBS: [&str; 12] = [
    "list",
    "terminate",
    "set",
    "get",
    "params",
    "ksadd",
    "ksrm",
    "kslist",
    "active",
    "standby",
    "debug",
    "call",
];
const LISTED: [&str; 24] = [
    "numsessions",
    "sessions",
    "totals",
    "counters",
    "maxopenfiles",
    "maxsessions",
    "maxcpu",
    "maxload",
    "maxbw",
    "timeout",
    "silenttimeout",
    "offertimeout",
    "finaltimeout",
    "loglevels",
    "loglevel",
    "redisallowederrors",
    "redisdisabletime",
    "redisconnecttimeout",
    "rediscmdtimeout",
    "controltos",
    "deletedelay",
    "interfaces",
    "jsonstats",
    "transcoders",
];
const SET: [&str; 16] = [
    "maxopenfiles",
    "maxsessions",
    "maxcpu",
    "maxload",
    "maxbw",
    "timeout",
    "silenttimeout",
    "offertimeout",
    "finaltimeout",
    "loglevel",
    "redisallowederrors",
    "redisdisabletime",
    "redisconnecttimeout",
    "rediscmdtimeout",
    "controltos",
    "deletedelay",
];

/// Executes one command; the answer is whole lines.
pub(super) async fn run(control: &Arc<Control>, line: &str) -> String {
    let (verb, rest) = split(line);
    match verb {
        "list" | "get" => list(control, rest).await,
        "set" => set(control, rest).await,
        "terminate" => terminate(control, rest).await,
        "call" => call(control, rest).await,
        "params" => params(control, rest).await,
        "ksadd" | "ksrm" | "kslist" | "active" | "standby" => no_store(),
        "debug" => "Calls are logged by their Call-ID at log level 7: set loglevel 7\n".to_owned(),
        "help" => help(&VERBS),
        _ => unknown(line),
    }
}

/// The first word, and what follows it.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(char::is_whitespace).map_or((line, ""), |(first, rest)| (first, rest.trim_start()))
}

fn help(words: &[&str]) -> String {
    let mut out = "Available sub-commands at this level:\n".to_owned();
    words.iter().for_each(|word| _ = writeln!(out, "\t{word}"));
    out
}

fn unknown(what: &str) -> String {
    format!("Unknown or incomplete command::{}\n", what.trim())
}

fn no_store() -> String {
    "There is no Redis here: all sessions are own\n".to_owned()
}

async fn list(control: &Arc<Control>, rest: &str) -> String {
    let (what, rest) = split(rest);
    let now = lock(&control.tuned).now;
    match what {
        "" => MORE.to_owned(),
        "help" => help(&LISTED),
        "numsessions" => numsessions(control).await,
        "sessions" => sessions(control, rest).await,
        "totals" => control.statistics().await.map_or_else(stopped, |statistics| statistics.text()),
        "jsonstats" => control.statistics().await.map_or_else(stopped, |statistics| statistics.json()),
        "counters" => counters(control).await,
        "maxopenfiles" => open_files(),
        "maxsessions" => format!("Maximum sessions configured on rtpengine: {}\n", now.max_sessions),
        "maxcpu" => "Maximum CPU usage configured on rtpengine: 0.0\n".to_owned(),
        "maxload" => "Maximum load average configured on rtpengine: 0.00\n".to_owned(),
        "maxbw" => "Maximum bandwidth configured on rtpengine: 0\n".to_owned(),
        "timeout" => format!("TIMEOUT={}\n", now.timeout),
        "silenttimeout" => format!("SILENT_TIMEOUT={}\n", now.silent_timeout),
        "offertimeout" => format!("OFFER_TIMEOUT={}\n", now.offer_timeout),
        "finaltimeout" => format!("FINAL_TIMEOUT={}\n", now.final_timeout),
        "loglevels" => "core - everything: the log has one level\n".to_owned(),
        "loglevel" if rest.is_empty() => format!("core = {}\n", now.log_level),
        "loglevel" => format!("{}\n", now.log_level),
        "deletedelay" => format!("{}\n", now.delete_delay),
        "controltos" => "0\n".to_owned(),
        "interfaces" => interfaces(control).await,
        "transcoders" => transcoders(control).await,
        what if what.starts_with("redis") && LISTED.contains(&what) => no_store(),
        _ => unknown(what),
    }
}

fn stopped() -> String {
    "The relay has stopped\n".to_owned()
}

async fn numbers(control: &Arc<Control>) -> Option<Box<media_core::stats::Numbers>> {
    control.relay()?.numbers().await
}

async fn numsessions(control: &Arc<Control>) -> String {
    let Some(numbers) = numbers(control).await else { return stopped() };
    let [v4, v6, mixed] = numbers.by_family;
    format!(
        "Current sessions own: {0}\nCurrent sessions foreign: 0\nCurrent sessions total: {0}\n\
         Current transcoded media: {1}\nCurrent sessions ipv4 only media: {v4}\n\
         Current sessions ipv6 only media: {v6}\nCurrent sessions ip mixed  media: {mixed}\n",
        numbers.sessions, numbers.transcoded_media
    )
}

async fn counters(control: &Arc<Control>) -> String {
    let Some(statistics) = control.statistics().await else { return stopped() };
    let rates = |line: &&str| line.contains(" per second (");
    let text = statistics.text();
    let lines: Vec<&str> = text.lines().filter(rates).collect();
    format!("\nCurrent per-second counters:\n\n{}\n", lines.join("\n"))
}

async fn transcoders(control: &Arc<Control>) -> String {
    match numbers(control).await {
        None => stopped(),
        Some(numbers) if numbers.transcoded_media == 0 => "No stats entries\n".to_owned(),
        Some(numbers) => format!("all: {} transcoders\n", numbers.transcoded_media),
    }
}

fn open_files() -> String {
    let pid = std::process::id();
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) => {
            format!("Maximum open-files configured on rtpengine: {limit}; cat /proc/{pid}/limits\n")
        }
        None => format!("Maximum open-files configured on rtpengine: infinite; cat /proc/{pid}/limits\n"),
    }
}

async fn interfaces(control: &Arc<Control>) -> String {
    let Some(numbers) = numbers(control).await else { return stopped() };
    let (total, used) = (numbers.ports_total, numbers.ports_total - numbers.ports_free);
    let share = used as f64 * 100.0 / total.max(1) as f64;
    let mut out = String::new();
    for (name, address) in control.interface_names() {
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        _ = write!(
            out,
            "Interface '{name}' address '{address}' ({family})\n Port range: {:5} - {:5}\n \
             Ports used: {used:5} / {total:5} ({share:5.1}%)\n Last port used: {:5}\n",
            control.ports.0, control.ports.1, numbers.port_last
        );
    }
    out
}

async fn sessions(control: &Arc<Control>, which: &str) -> String {
    match which {
        "" => MORE.to_owned(),
        "foreign" => "No foreign sessions on this media relay.\n".to_owned(),
        "all" | "own" => {
            let Some(relay) = control.relay() else { return stopped() };
            let Reply::Sessions(sessions) = relay.ask(Command::Sessions).await else { return stopped() };
            let mut out = String::new();
            for session in &sessions {
                _ = writeln!(
                    out,
                    "callid: {:>60} | deletionmark:{:>4} | created:{:>12} | proxy:{} | redis_keyspace:-1 | foreign:no",
                    session.call_id,
                    if session.ending { "yes" } else { "no" },
                    session.created,
                    session.proxy.map(|proxy| proxy.to_string()).unwrap_or_default()
                );
            }
            match (sessions.is_empty(), which) {
                (false, _) => out,
                (true, "all") => "No sessions on this media relay.\n".to_owned(),
                (true, _) => "No own sessions on this media relay.\n".to_owned(),
            }
        }
        call_id => match report(control, call_id).await {
            Some(report) => call_info(control, call_id, &report),
            None => format!("\nCall ID not found ({call_id}).\n\n"),
        },
    }
}

async fn report(control: &Arc<Control>, call_id: &str) -> Option<Box<CallReport>> {
    let query = Query { call_id: call_id.to_owned(), ..Query::default() };
    match control.relay()?.ask(Command::Query(query)).await {
        Reply::Call { report, .. } => report,
        _ => None,
    }
}

fn call_info(control: &Control, call_id: &str, report: &CallReport) -> String {
    let mut out = format!(
        "\ncallid: {call_id}\ndeletionmark: {}\ncreated: {}\nproxy: {}\ntos: {}\nlast_signal: {}\n\
         redis_keyspace: -1\nforeign: no\n\n",
        if report.ending { "yes" } else { "no" },
        report.created,
        report.proxy.map(|proxy| proxy.to_string()).unwrap_or_default(),
        control.tos,
        report.last_signal
    );
    report.tags.iter().for_each(|tag| tag_info(&mut out, report, tag));
    out.push('\n');
    out
}

fn tag_info(out: &mut String, report: &CallReport, tag: &TagReport) {
    _ = writeln!(
        out,
        "--- Tag '{}', type: {}, label '{}', branch '{}', callduration {}.{:06}",
        tag.tag,
        if tag.offerer { "FROM_TAG" } else { "TO_TAG" },
        tag.label.as_deref().unwrap_or_default(),
        tag.via_branch.as_deref().unwrap_or_default(),
        report.age.as_secs(),
        report.age.subsec_micros()
    );
    if let Some(peer) = &tag.in_dialogue_with {
        _ = writeln!(out, "---     subscribed to '{peer}'\n---     subscription of '{peer}'");
    }
    tag.medias.iter().for_each(|media| media_info(out, media));
}

fn media_info(out: &mut String, media: &MediaReport) {
    _ = writeln!(
        out,
        "------ Media #{} ({} over {}) using {}",
        media.index,
        media.media_type,
        media.protocol,
        media.codec.as_deref().unwrap_or("unknown codec")
    );
    for stream in &media.streams {
        let StreamReport { local_address, local_port, endpoint, stats, quality, last_packet, flags, .. } =
            stream;
        let local = local_address.map(|address| address.to_string()).unwrap_or_default();
        let remote = endpoint.map(|endpoint| endpoint.ip().to_string()).unwrap_or_default();
        let rtcp = flags.iter().any(|flag| flag == "RTCP") && !flags.iter().any(|flag| flag == "RTP");
        _ = writeln!(
            out,
            "-------- Port {local:>15}:{local_port:<5} <> {remote:>15}:{:<5}{}, SSRC {:x}, {} p, {} b, {} e, {last_packet} ts",
            endpoint.map_or(0, |endpoint| endpoint.port()),
            if rtcp { " (RTCP)" } else { "" },
            quality.map_or(0, |quality| quality.ssrc),
            stats.packets,
            stats.bytes,
            stats.errors
        );
    }
}

async fn terminate(control: &Arc<Control>, which: &str) -> String {
    let Some(relay) = control.relay() else { return stopped() };
    let delete = |call_id: &str| {
        relay.ask(Command::Delete(Delete {
            call_id: call_id.to_owned(),
            fast: true,
            forced: true,
            ..Delete::default()
        }))
    };
    match which {
        "" => MORE.to_owned(),
        "foreign" => "All foreign calls terminated by operator.\n".to_owned(),
        "all" | "own" => {
            let Reply::Sessions(sessions) = relay.ask(Command::Sessions).await else { return stopped() };
            for session in &sessions {
                delete(&session.call_id).await;
            }
            tracing::info!(calls = sessions.len(), "all calls terminated by operator");
            let own = if which == "own" { "own " } else { "" };
            format!("All {own}calls terminated by operator.\n")
        }
        call_id => {
            if report(control, call_id).await.is_none() {
                return format!("\nCall Id not found ({call_id}).\n\n");
            }
            delete(call_id).await;
            tracing::warn!(call_id, "call terminated by operator");
            format!("\nCall Id ({call_id}) successfully terminated by operator.\n\n")
        }
    }
}

async fn call(control: &Arc<Control>, rest: &str) -> String {
    let (call_id, rest) = split(rest);
    if call_id.is_empty() {
        return "No call ID specified\n".to_owned();
    }
    let Some(report) = report(control, call_id).await else { return format!("No such call '{call_id}'\n") };
    match split(rest) {
        ("help", _) => help(&["info", "terminate", "tag"]),
        ("info", _) => call_info(control, call_id, &report),
        ("terminate", _) => {
            terminate(control, call_id).await;
            format!("\nCall '{call_id}' terminated.\n\n")
        }
        ("tag", "") => MORE.to_owned(),
        ("tag", rest) => {
            let (name, verb) = split(rest);
            let Some(tag) = report.tags.iter().find(|tag| tag.tag == name) else {
                return format!("No such tag '{name}'\n");
            };
            let mut out = String::new();
            match verb {
                "info" => tag_info(&mut out, &report, tag),
                "help" => out = help(&["info"]),
                verb => out = unknown(verb),
            }
            out
        }
        (verb, _) => unknown(verb),
    }
}

/// One number of the settings by its name of `set`.
fn setting<'a>(settings: &'a mut Settings, name: &str) -> Option<&'a mut u64> {
    Some(match name {
        "timeout" => &mut settings.timeout,
        "silenttimeout" => &mut settings.silent_timeout,
        "offertimeout" => &mut settings.offer_timeout,
        "finaltimeout" => &mut settings.final_timeout,
        "deletedelay" => &mut settings.delete_delay,
        _ => return None,
    })
}

async fn set(control: &Arc<Control>, rest: &str) -> String {
    let (what, value) = split(rest);
    match (what, value) {
        ("", _) => MORE.to_owned(),
        ("help", _) => help(&SET),
        (what, "") if SET.contains(&what) => MORE.to_owned(),
        ("maxopenfiles", value) => set_open_files(value),
        ("maxsessions", value) => match value.parse::<i64>() {
            Ok(limit) if limit >= -1 => {
                control.tune(|settings| settings.max_sessions = limit).await;
                let disabled = if limit == -1 { "; disable feature" } else { "" };
                format!("Success setting maxsessions to {limit}{disabled}\n")
            }
            Ok(limit) => {
                format!("Fail setting maxsessions to {limit}; either positive or -1 values allowed\n")
            }
            Err(_) => format!("Fail setting maxsessions to {value}; no digists found\n"),
        },
        ("loglevel", value) => set_log_level(control, value).await,
        ("deletedelay", value) => match value.parse::<u32>() {
            Ok(seconds) => {
                control.tune(|settings| settings.delete_delay = seconds.into()).await;
                format!("Success setting delete-delay to {seconds}\n")
            }
            Err(_) => "Invalid delete-delay value\n".to_owned(),
        },
        ("timeout" | "silenttimeout" | "offertimeout" | "finaltimeout", value) => {
            match value.parse::<u32>().ok().filter(|seconds| *seconds < i32::MAX.cast_unsigned()) {
                Some(seconds) => {
                    let change = |settings: &mut Settings| {
                        setting(settings, what).into_iter().for_each(|it| *it = seconds.into());
                    };
                    control.tune(change).await;
                    format!("Success setting timeout to {seconds}\n")
                }
                None => format!("Fail setting timeout to {value}; no digists found\n"),
            }
        }
        (what, _) if what.starts_with("redis") && SET.contains(&what) => no_store(),
        (what, _) if SET.contains(&what) => format!("{what} has no effect here; the limit is maxsessions\n"),
        (what, _) => unknown(what),
    }
}

fn set_open_files(value: &str) -> String {
    /// Fewer would stop a relay that has calls.
    const LEAST: u64 = 1 << 16;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Ok(wanted) = value.parse::<u64>() else {
        return format!("Fail setting open_files to {value}; no digists found\n");
    };
    if wanted < LEAST {
        return format!("Fail setting open_files to {wanted}; can't set it under {LEAST}\n");
    }
    let maximum = getrlimit(Resource::Nofile).maximum.map(|maximum| maximum.max(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => {
            let pid = std::process::id();
            format!("Success setting open_files to {wanted}; cat /proc/{pid}/limits\n")
        }
        Err(error) => format!("Fail setting open_files to {wanted}; errno = {}\n", error.raw_os_error()),
    }
}

/// `set loglevel 7`, `set loglevel core 7`: there is one level for all subsystems.
async fn set_log_level(control: &Arc<Control>, value: &str) -> String {
    let number = value.rsplit(char::is_whitespace).next().unwrap_or_default();
    let Some(level) = number.parse::<u8>().ok().filter(|level| *level <= 7) else {
        return format!("Fail setting loglevel to {value}; 0 to 7\n");
    };
    let Some(log) = control.log_level else {
        return "The log level is that of the process around this relay\n".to_owned();
    };
    match (log.set)(level) {
        Ok(()) => {
            control.tune(|settings| settings.log_level = level).await;
            format!("Success setting loglevel to {level}\n")
        }
        Err(error) => format!("Fail setting loglevel to {level}; {error}\n"),
    }
}

async fn params(control: &Arc<Control>, rest: &str) -> String {
    let tuned = *lock(&control.tuned);
    match split(rest).0 {
        "" => MORE.to_owned(),
        "help" => help(&["start", "current", "diff", "revert"]),
        "start" => parameters(control, &tuned.start),
        "current" => parameters(control, &tuned.now),
        "diff" => {
            let pairs = named(&tuned.start).into_iter().zip(named(&tuned.now));
            let changed = pairs.filter(|(start, now)| start != now);
            changed.map(|((name, start), (_, now))| format!("{name}: {start} => {now}\n")).collect()
        }
        "revert" => {
            if let Some(log) = control.log_level
                && let Err(error) = (log.set)(tuned.start.log_level)
            {
                return format!("Fail setting loglevel; {error}\n");
            }
            control.tune(|settings| *settings = tuned.start).await;
            String::new()
        }
        what => unknown(what),
    }
}

fn named(settings: &Settings) -> [(&'static str, i64); 7] {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    [
        ("log-level-core", settings.log_level.into()),
        ("max-sessions", settings.max_sessions),
        ("timeout", number(settings.timeout)),
        ("silent-timeout", number(settings.silent_timeout)),
        ("final-timeout", number(settings.final_timeout)),
        ("offer-timeout", number(settings.offer_timeout)),
        ("delete-delay", number(settings.delete_delay)),
    ]
}

fn parameters(control: &Control, settings: &Settings) -> String {
    let mut out = String::new();
    named(settings).iter().for_each(|(name, value)| _ = writeln!(out, "{name} = {value}"));
    let Control { tos, workers, ports: (first, last), .. } = control;
    _ = write!(
        out,
        "table = -1\ntos = {tos}\nport-min = {first}\nport-max = {last}\nnum-threads = {workers}\n"
    );
    for (at, (name, address)) in control.interface_names().iter().enumerate() {
        _ = writeln!(out, "interface[{at}] = {name}\\{address} ");
    }
    out
}

impl Control {
    /// Name and address of each interface; without any, all addresses are one.
    pub(super) fn interface_names(&self) -> Vec<(String, String)> {
        if self.interfaces.is_empty() {
            return vec![("default".to_owned(), "0.0.0.0".to_owned())];
        }
        self.interfaces.iter().map(|it| (it.name.clone(), it.address.to_string())).collect()
    }
}
