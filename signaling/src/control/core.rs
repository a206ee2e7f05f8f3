//! `core.*`: the process and its sockets.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use signaling_core::flow::Protocol;

use super::Control;
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use crate::commands::listing::date;
use crate::store::{DbMode, unix_now};

const NAME: &str = concat!("causeway ", env!("CARGO_PKG_VERSION"));

/// Kamailio's modules whose work is done here.
const MODULES: &[&str] = &[
    "acc",
    "alias_db",
    "auth",
    "auth_db",
    "auth_ephemeral",
    "cfg_rpc",
    "corex",
    "counters",
    "ctl",
    "dialog",
    "dispatcher",
    "domain",
    "group",
    "htable",
    "jsonrpcs",
    "jwt",
    "kex",
    "maxfwd",
    "nathelper",
    "outbound",
    "path",
    "permissions",
    "pike",
    "registrar",
    "rr",
    "rtpengine",
    "sanity",
    "secfilter",
    "siputils",
    "sl",
    "speeddial",
    "stun",
    "tls",
    "tm",
    "tmx",
    "topoh",
    "usrloc",
    "websocket",
];

/// Those of Kamailio's that hold here.
const FLAGS: &str =
    "USE_TCP, USE_TLS, DISABLE_NAGLE, USE_DNS_CACHE, USE_DNS_FAILOVER, USE_NAPTR, USE_DST_BLOCKLIST";

pub(super) fn version() -> Outcome {
    Ok(Answer::Value(json!(format!("{NAME} ({}/{})", std::env::consts::ARCH, std::env::consts::OS))))
}

/// `compiled` is empty as in Debian's Kamailio: two builds of one source are the same.
pub(super) fn info() -> Outcome {
    Ok(Answer::Value(json!({
        "version": NAME,
        "id": option_env!("CAUSEWAY_COMMIT").unwrap_or("unknown"),
        "compiler": env!("CAUSEWAY_COMPILER"),
        "compiled": "",
        "flags": FLAGS,
    })))
}

pub(super) fn flags() -> Outcome {
    Ok(Answer::Value(json!(FLAGS)))
}

pub(super) fn modules() -> Outcome {
    Ok(Answer::Value(json!(MODULES)))
}

/// The switches of kamailio.cfg that the configuration amounts to.
pub(super) fn ppdefines(control: &Control) -> Outcome {
    let (settings, tables) = (&control.settings, control.database.routing());
    let secure = control.bound.iter().any(|bound| proto(bound.protocol) == "tls");
    let web = |bound: &crate::transport::Bound| matches!(bound.protocol, Protocol::Ws | Protocol::Wss);
    let switches = [
        ("WITH_AUTH", settings.auth.required),
        ("WITH_IPAUTH", true),
        ("WITH_USRLOCDB", control.database.mode() != DbMode::Memory),
        ("WITH_NAT", true),
        ("WITH_PSTN", tables.policy.pstn.is_some()),
        ("WITH_ALIASDB", true),
        ("WITH_SPEEDDIAL", true),
        ("WITH_MULTIDOMAIN", !tables.domains.is_empty()),
        ("WITH_TLS", secure),
        ("WITH_WEBSOCKETS", control.bound.iter().any(web)),
        ("WITH_ANTIFLOOD", settings.pike.reqs_density_per_unit > 0),
        ("WITH_BLOCK3XX", tables.policy.block_3xx),
        ("WITH_VOICEMAIL", settings.voicemail.is_some()),
        ("WITH_ACCDB", control.config.acc.db),
    ];
    let names = switches.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| json!(name));
    Ok(Answer::Value(names.collect()))
}

/// Numbers as they are given.
pub(super) fn printi(args: &Args) -> Outcome {
    let numbers: Result<Vec<i64>, Fault> = (0..args.count()).map(|place| args.number::<i64>(place)).collect();
    Ok(Answer::Value(json!(numbers?)))
}

/// Text as it is given.
pub(super) fn prints(args: &Args) -> Outcome {
    Ok(Answer::Value(json!(args.texts()?)))
}

/// Ends this process (15, 2) as its own signals do, or has it read its tables and its file again (1).
pub(super) fn kill(args: &Args) -> Outcome {
    use rustix::process::{Signal, getpid, kill_process};
    let signal = match args.optional_number::<i32>(0)? {
        None | Some(15) => Signal::TERM,
        Some(2) => Signal::INT,
        Some(1) => Signal::HUP,
        Some(_) => return Err(Fault::new(INVALID_PARAMS, "Invalid params: signal is none of 1, 2 and 15")),
    };
    kill_process(getpid(), signal).map_err(|error| Fault::new(500, error.to_string()))?;
    Ok(Answer::Value(json!({})))
}

pub(super) fn uptime(control: &Control) -> Outcome {
    let (started, unix) = control.started;
    Ok(Answer::Value(json!({
        "now": words(unix_now()),
        "up_since": words(unix),
        "uptime": Instant::now().saturating_duration_since(started).as_secs(),
    })))
}

/// Seconds since 1970 as C's `ctime` writes them, in UTC.
fn words(unix: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = date(i64::try_from(unix).unwrap_or(i64::MAX));
    let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
    let weekday = usize::try_from(unix / 86_400 % 7).ok().and_then(|day| DAYS.get(day));
    let (weekday, month) = (weekday.unwrap_or(&""), month.unwrap_or(&""));
    format!("{weekday} {month} {} {} {}", part(8..10), part(11..19), part(0..4))
}

pub(super) fn echo(args: Args) -> Outcome {
    Ok(Answer::Value(Value::Array(args.all())))
}

pub(super) fn arg() -> Outcome {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    Ok(Answer::Value(json!(words)))
}

pub(super) fn pwd() -> Outcome {
    let directory = std::env::current_dir().map_err(|error| Fault::new(500, error.to_string()))?;
    Ok(Answer::Value(json!([directory.to_string_lossy()])))
}

/// The threads, as far as `/proc` tells.
fn threads() -> Result<Vec<(u32, String)>, Fault> {
    let fault = |error: std::io::Error| Fault::new(500, format!("/proc/self/task: {error}"));
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        // One that has ended meanwhile has no name any more.
        let name = std::fs::read_to_string(path.join("comm"));
        threads.extend(number.zip(name.ok().map(|name| name.trim_end().to_owned())));
    }
    threads.sort_unstable();
    Ok(threads)
}

pub(super) fn ps() -> Outcome {
    let all = threads()?.into_iter().flat_map(|(number, name)| [json!(number), json!(name)]);
    Ok(Answer::Value(Value::Array(all.collect())))
}

pub(super) fn psx() -> Outcome {
    let row = |(index, (number, name))| json!({ "IDX": index, "PID": number, "DSC": name });
    Ok(Answer::Value(Value::Array(threads()?.into_iter().enumerate().map(row).collect())))
}

/// Memory in bytes.
pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) free: u64,
    pub(super) used: u64,
    pub(super) real_used: u64,
    pub(super) max_used: u64,
}

/// What the kernel says of the process, the host, and the container around it.
pub(super) fn memory() -> Result<Memory, Fault> {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|error| Fault::new(500, format!("{path}: {error}")))
    };
    let (own, host) = (read("/proc/self/status")?, read("/proc/meminfo")?);
    let (mut total, mut free) = (kilobytes(&host, "MemTotal"), kilobytes(&host, "MemAvailable"));
    let group = Path::new("/sys/fs/cgroup");
    let of_group = |name: &str| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    if let Some(limit) = of_group("memory.max").filter(|limit| *limit < total) {
        total = limit;
        free = free.min(limit.saturating_sub(of_group("memory.current").unwrap_or(0)));
    }
    let used = kilobytes(&own, "RssAnon");
    let (real_used, max_used) = (kilobytes(&own, "VmRSS"), kilobytes(&own, "VmHWM"));
    Ok(Memory { total, free, used, real_used, max_used })
}

/// The bytes of a line `NAME: NUMBER kB`; 0 when there is none.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}

pub(super) fn shmmem() -> Outcome {
    let Memory { total, free, used, real_used, max_used } = memory()?;
    Ok(Answer::Value(json!({
        "total": total,
        "free": free,
        "used": used,
        "real_used": real_used,
        "max_used": max_used,
    })))
}

/// As Kamailio names a transport: a WebSocket is a connection of TCP or TLS.
pub(super) const fn proto(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp | Protocol::Ws => "tcp",
        Protocol::Tls | Protocol::Wss => "tls",
    }
}

pub(super) fn sockets_list(control: &Control) -> Outcome {
    let socket = |bound: &crate::transport::Bound| {
        json!({ "socket": {
            "proto": proto(bound.protocol),
            "address": bound.address.ip().to_string(),
            "ipaddress": bound.address.ip().to_string(),
            "port": bound.address.port().to_string(),
            "mcast": "no",
            "mhomed": "no",
            "virtual": "no",
        } })
    };
    Ok(Answer::Value(Value::Array(control.bound.iter().map(socket).collect())))
}

/// The names that mean this gateway.
pub(super) fn names(control: &Control) -> Vec<String> {
    let (settings, tables) = (&control.settings, control.database.routing());
    let mut names: Vec<String> = settings.domains.iter().chain(&settings.aliases).cloned().collect();
    let mut more: Vec<String> = tables.domains.iter().cloned().collect();
    more.sort();
    names.extend(more);
    names
}

pub(super) fn aliases_list(control: &Control) -> Outcome {
    let alias = |name: String| json!({ "alias": { "proto": "*", "address": name, "port": "*" } });
    let aliases: Vec<Value> = names(control).into_iter().map(alias).collect();
    Ok(Answer::Value(json!({ "myself_callbacks": "no", "aliases": aliases })))
}

pub(super) fn tcp_info(control: &Control) -> Outcome {
    let open = control.transport.connections();
    let secure = open.iter().filter(|open| proto(open.protocol) == "tls").count();
    let most = control.config.limits.connections;
    Ok(Answer::Value(json!({
        "readers": tokio::runtime::Handle::current().metrics().num_workers(),
        "max_connections": most,
        "max_tls_connections": most,
        "opened_connections": open.len(),
        "opened_tls_connections": secure,
        "write_queued_bytes": open.iter().map(|open| open.queued_bytes).sum::<usize>(),
    })))
}

/// Of Kamailio's options those that are settings here.
pub(super) fn tcp_options(control: &Control) -> Outcome {
    let limits = &control.config.limits;
    Ok(Answer::Value(json!({
        "connect_timeout": limits.tcp_connect_timeout.as_secs(),
        "connection_lifetime": limits.idle_timeout.as_secs(),
        "max_connections(soft)": limits.connections,
        "max_tls_connections(soft)": limits.connections,
        "no_connect": 0,
        "async": 1,
        "conn_wq_max": limits.send_queue,
        "crlf_ping": 1,
    })))
}

pub(super) fn tcp_list(control: &Control) -> Outcome {
    let row = |open: crate::transport::OpenConnection| {
        json!({
            "id": open.id.0,
            "type": open.protocol.via_token(),
            "state": "CONN_OK",
            "src_ip": open.remote.ip().to_string(),
            "src_port": open.remote.port(),
            "write_queued_bytes": open.queued_bytes,
        })
    };
    Ok(Answer::Value(Value::Array(control.transport.connections().into_iter().map(row).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_c_does() {
        assert_eq!(words(0), "Thu Jan 01 00:00:00 1970");
        assert_eq!(words(1_795_813_313), "Fri Nov 27 21:01:53 2026");
        assert_eq!(words(951_782_400), "Tue Feb 29 00:00:00 2000");
    }

    #[test]
    fn memory_is_what_the_kernel_says() {
        let text = "VmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            (kilobytes(text, "VmRSS"), kilobytes(text, "VmHWM"), kilobytes(text, "Vm")),
            (1 << 20, 2 << 20, 0)
        );
        let memory = memory().unwrap();
        assert!(memory.real_used > 0 && memory.max_used >= memory.used && memory.total > memory.real_used);
    }

    #[test]
    fn this_thread_is_among_the_threads() {
        let name = std::thread::Builder::new().name("control-test".into());
        let seen = name.spawn(|| threads().unwrap()).unwrap().join().unwrap();
        assert!(seen.iter().any(|(_, name)| name == "control-test"), "{seen:?}");
    }
}
