//! The options of the command line, which are the keys of the configuration file: rtpengine's, each declared once.
//!
//! Help, manual page, parser and configuration file come from [`OPTIONS`]. An option of rtpengine that has no meaning here
//! is accepted with one warning where it cannot change what callers hear, and refused where it would.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use media::{Interface, RecordingConfig, RecordingMethod, RelayConfig};

/// What the relay is started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Of the relay itself.
    pub(crate) relay: RelayConfig,
    /// Of recordings; none without a directory.
    recording: Option<RecordingConfig>,
    /// Where the process number is written.
    pub(crate) pidfile: Option<PathBuf>,
    /// The level of the log, syslog's 0 to 7.
    pub(crate) log_level: u8,
    /// No times in the log.
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
            pidfile: None,
            log_level: 6,
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

use Effect::{Always, Refuse, Set, Warn};

const LOG: Effect = Warn("the log goes to standard error; its level is log-level");
const FOREGROUND: Effect = Always;
const NO_REDIS: Effect = Refuse("calls are not kept in Redis");
const NO_EXPORT: Effect = Warn("statistics are asked for over ng, and not sent");
const NO_DTX: Effect = Refuse("AMR is not known here");

/// Every option, in the order of the help.
const OPTIONS: &[Opt] = &[
    opt(
        "interface",
        Some('i'),
        "[NAME/]IP[!IP]",
        "local address or device for media, with the one announced; repeatable",
        Set(interface),
    ),
    opt("listen-ng", Some('n'), "[IP:]PORT", "UDP port of the ng protocol", Set(listen_ng)),
    opt(
        "port-min",
        Some('m'),
        "INT",
        "lowest port for media (30000)",
        Set(|it, v| number(v).map(|n| it.relay.port_min = n)),
    ),
    opt(
        "port-max",
        Some('M'),
        "INT",
        "highest port for media (40000)",
        Set(|it, v| number(v).map(|n| it.relay.port_max = n)),
    ),
    opt(
        "num-threads",
        None,
        "INT",
        "worker threads; 0 is one per core",
        Set(|it, v| number(v).map(|n| it.relay.workers = n)),
    ),
    opt(
        "timeout",
        Some('o'),
        "SECS",
        "a call without media ends (60)",
        Set(|it, v| seconds(v).map(|s| it.relay.media_timeout = s)),
    ),
    opt(
        "silent-timeout",
        Some('s'),
        "SECS",
        "the same for a call on hold (3600)",
        Set(|it, v| seconds(v).map(|s| it.relay.silent_timeout = s)),
    ),
    opt(
        "offer-timeout",
        None,
        "SECS",
        "an offer without answer ends (3600)",
        Set(|it, v| seconds(v).map(|s| it.relay.offer_timeout = s)),
    ),
    opt(
        "final-timeout",
        Some('a'),
        "SECS",
        "every call ends (0: never)",
        Set(|it, v| seconds(v).map(|s| it.relay.final_timeout = s)),
    ),
    opt(
        "delete-delay",
        Some('d'),
        "SECS",
        "a deleted call is kept for so long (30)",
        Set(|it, v| seconds(v).map(|s| it.relay.delete_delay = s)),
    ),
    opt(
        "tos",
        Some('T'),
        "INT",
        "type of service of media packets (0)",
        Set(|it, v| number(v).map(|n| it.relay.tos = n)),
    ),
    opt("max-sessions", None, "INT", "further calls are refused; -1 for no limit", Set(max_sessions)),
    opt(
        "software-id",
        None,
        "STRING",
        "what the relay calls itself in STUN and SDP of its own (rtpengine-causeway-VERSION)",
        Set(software_id),
    ),
    opt(
        "ice-lite",
        None,
        "",
        "only answer ICE checks",
        Set(|it, _| {
            it.relay.ice_lite = true;
            Ok(())
        }),
    ),
    opt(
        "dtls-12",
        None,
        "",
        "refuse DTLS 1.3",
        Set(|it, _| {
            it.relay.dtls_12_only = true;
            Ok(())
        }),
    ),
    opt(
        "pidfile",
        Some('p'),
        "FILE",
        "write the process number there",
        Set(|it, v| text(v).map(|s| it.pidfile = Some(s.into()))),
    ),
    opt("log-level", Some('L'), "INT", "0 (emergencies) to 7 (debugging); 6", Set(log_level)),
    opt(
        "no-log-timestamps",
        None,
        "",
        "no times in the log",
        Set(|it, _| {
            it.no_log_timestamps = true;
            Ok(())
        }),
    ),
    opt("log-stderr", Some('E'), "", "log to standard error: always so", Always),
    opt("foreground", Some('f'), "", "do not go to the background: always so", FOREGROUND),
    opt("table", Some('t'), "INT", "kernel table; media is forwarded here", Set(table)),
    opt(
        "no-fallback",
        Some('F'),
        "",
        "only start with the kernel module",
        Refuse("there is no kernel module"),
    ),
    opt("reject-invalid-sdp", None, "", "refuse broken session descriptions: always so", Always),
    opt("config-file", None, "FILE", "read options from FILE; none for no file", Always),
    opt("config-section", None, "STRING", "the section of the file (rtpengine)", Always),
    opt("log-facility", None, "STRING", "syslog facility", LOG),
    opt("log-facility-cdr", None, "STRING", "syslog facility", LOG),
    opt("log-facility-rtcp", None, "STRING", "syslog facility", LOG),
    opt("log-facility-dtmf", None, "STRING", "syslog facility", LOG),
    opt("log-format", None, "STRING", "format of the log", LOG),
    opt("log-mark-prefix", None, "STRING", "mark of sensitive lines", LOG),
    opt("log-mark-suffix", None, "STRING", "mark of sensitive lines", LOG),
    opt("split-logs", None, "", "one line of log per line", LOG),
    opt("max-log-line-length", None, "INT", "break log lines", LOG),
    opt("log-srtp-keys", None, "", "write keys to the log", Warn("keys are never written to the log")),
    opt("debug-srtp", None, "", "write keys to the log", Warn("keys are never written to the log")),
    opt(
        "listen-cli",
        Some('c'),
        "[IP:]PORT",
        "TCP port of rtpengine-ctl; repeatable",
        Set(|it, v| ports(v).map(|all| it.relay.listen_cli.extend(all))),
    ),
    opt(
        "listen-udp",
        Some('u'),
        "[IP:]PORT",
        "control port of rtpproxy",
        Warn("rtpproxy's protocol is not spoken"),
    ),
    opt(
        "listen-tcp",
        Some('l'),
        "[IP:]PORT",
        "control port of rtpproxy",
        Warn("rtpproxy's protocol is not spoken"),
    ),
    opt(
        "listen-tcp-ng",
        Some('N'),
        "[IP:]PORT",
        "TCP port of the ng protocol; repeatable",
        Set(|it, v| ports(v).map(|all| it.relay.listen_tcp_ng.extend(all))),
    ),
    opt(
        "listen-http",
        None,
        "[IP:]PORT",
        "port of HTTP and WebSocket: /ng, /ping, /cli/COMMAND, /metrics; repeatable",
        Set(|it, v| ports(v).map(|all| it.relay.listen_http.extend(all))),
    ),
    opt(
        "listen-https",
        None,
        "[IP:]PORT",
        "the same over TLS; repeatable",
        Set(|it, v| ports(v).map(|all| it.relay.listen_https.extend(all))),
    ),
    opt(
        "https-cert",
        None,
        "FILE",
        "certificate of HTTPS, in PEM",
        Set(|it, v| text(v).map(|file| it.relay.https_cert = Some(file.into()))),
    ),
    opt(
        "https-key",
        None,
        "FILE",
        "key of HTTPS, in PEM; else it is in the file of the certificate",
        Set(|it, v| text(v).map(|file| it.relay.https_key = Some(file.into()))),
    ),
    opt(
        "http-threads",
        None,
        "INT",
        "threads for HTTP",
        Warn("one thread serves it, and the workers execute"),
    ),
    opt("thread-stack", None, "INT", "stack of a thread", Warn("threads take what they need")),
    opt("media-num-threads", None, "INT", "threads for playback", Warn("the workers do that")),
    opt("poller-per-thread", None, "", "one poller per thread: always so", Always),
    opt("scheduling", None, "STRING", "scheduling policy", Warn("let the service manager set it")),
    opt("priority", None, "INT", "scheduling priority", Warn("let the service manager set it")),
    opt("idle-scheduling", None, "STRING", "scheduling policy", Warn("let the service manager set it")),
    opt("idle-priority", None, "INT", "scheduling priority", Warn("let the service manager set it")),
    opt("socket-cpu-affinity", None, "INT", "processors of sockets", Warn("sockets are their worker's")),
    opt(
        "save-interface-ports",
        Some('S'),
        "",
        "ports on the first interface only",
        Warn("ports are opened where they are announced"),
    ),
    opt(
        "control-tos",
        None,
        "INT",
        "type of service of ng replies",
        Warn("replies go out as the system sends them"),
    ),
    opt("max-load", None, "FLOAT", "refuse calls above this load", Warn("the limit is max-sessions")),
    opt("max-cpu", None, "FLOAT", "refuse calls above this CPU use", Warn("the limit is max-sessions")),
    opt("max-bandwidth", None, "INT", "refuse calls above this bandwidth", Warn("the limit is max-sessions")),
    opt(
        "sip-source",
        None,
        "",
        "prefer the address of the signalling",
        Set(|it, _| {
            it.relay.sip_source = true;
            Ok(())
        }),
    ),
    opt(
        "dtls-passive",
        None,
        "",
        "prefer to be the DTLS server",
        Set(|it, _| {
            it.relay.dtls_passive = true;
            Ok(())
        }),
    ),
    opt("dtls-rsa-key-size", None, "INT", "size of an RSA key", Warn("the certificate is ECDSA P-256")),
    opt("dtls-cert-cipher", None, "STRING", "kind of certificate", Set(certificate)),
    opt("dtls-mtu", None, "INT", "size of DTLS records", Warn("records are cut at 1150 octets")),
    opt("dtls-ciphers", None, "STRING", "ciphers for DTLS", Refuse("the ciphers are those of the library")),
    opt("dtls-signature", None, "STRING", "hash of the fingerprint", Set(signature)),
    opt("endpoint-learning", None, "STRING", "how addresses are learnt", Set(learning)),
    opt("graphite", Some('g'), "IP:PORT", "send statistics there", NO_EXPORT),
    opt("graphite-interval", Some('G'), "INT", "seconds between them", NO_EXPORT),
    opt("graphite-prefix", None, "STRING", "before their names", NO_EXPORT),
    opt("graphite-timeout", None, "INT", "seconds", NO_EXPORT),
    opt("homer", None, "IP:PORT", "send RTCP there", NO_EXPORT),
    opt("homer-protocol", None, "STRING", "udp or tcp", NO_EXPORT),
    opt("homer-id", None, "INT", "capture id", NO_EXPORT),
    opt("mqtt-host", None, "HOST", "publish there", NO_EXPORT),
    opt("mqtt-port", None, "INT", "its port", NO_EXPORT),
    opt("mqtt-id", None, "STRING", "client id", NO_EXPORT),
    opt("mqtt-keepalive", None, "INT", "seconds", NO_EXPORT),
    opt("mqtt-user", None, "STRING", "user", NO_EXPORT),
    opt("mqtt-pass", None, "STRING", "password", NO_EXPORT),
    opt("mqtt-cafile", None, "FILE", "authority", NO_EXPORT),
    opt("mqtt-capath", None, "PATH", "authorities", NO_EXPORT),
    opt("mqtt-certfile", None, "FILE", "certificate", NO_EXPORT),
    opt("mqtt-keyfile", None, "FILE", "key", NO_EXPORT),
    opt("mqtt-publish-qos", None, "INT", "quality of service", NO_EXPORT),
    opt("mqtt-publish-topic", None, "STRING", "topic", NO_EXPORT),
    opt("mqtt-publish-interval", None, "INT", "milliseconds", NO_EXPORT),
    opt("mqtt-publish-scope", None, "STRING", "of messages", NO_EXPORT),
    opt("mos", None, "CQ|LQ", "how MOS is reckoned", NO_EXPORT),
    opt("b2b-url", Some('b'), "STRING", "XMLRPC address told of time-outs", NO_EXPORT),
    opt("xmlrpc-format", Some('x'), "INT", "its format", NO_EXPORT),
    opt("dtmf-log-dest", None, "IP:PORT", "send digits there", NO_EXPORT),
    opt("dtmf-log-ng-tcp", None, "", "send digits over ng", NO_EXPORT),
    opt("redis", Some('r'), "[PW@]IP:PORT/INT", "keep calls there", NO_REDIS),
    opt("redis-write", Some('w'), "[PW@]IP:PORT/INT", "keep calls there", NO_REDIS),
    opt("subscribe-keyspace", Some('k'), "INT …", "take calls over from there", NO_REDIS),
    opt("active-switchover", None, "", "take calls over by activity", NO_REDIS),
    opt("redis-num-threads", None, "INT", "threads", Warn("calls are not kept in Redis")),
    opt("redis-expires", None, "INT", "seconds", Warn("calls are not kept in Redis")),
    opt("no-redis-required", Some('q'), "", "start without Redis: always so", Always),
    opt("redis-allowed-errors", None, "INT", "errors", Warn("calls are not kept in Redis")),
    opt("redis-disable-time", None, "INT", "seconds", Warn("calls are not kept in Redis")),
    opt("redis-cmd-timeout", None, "INT", "milliseconds", Warn("calls are not kept in Redis")),
    opt("redis-connect-timeout", None, "INT", "milliseconds", Warn("calls are not kept in Redis")),
    opt("redis-delete-async", Some('y'), "", "delete in the background", Warn("calls are not kept in Redis")),
    opt("redis-delete-async-interval", None, "INT", "seconds", Warn("calls are not kept in Redis")),
    opt(
        "recording-dir",
        None,
        "DIR",
        "where recordings go; without it nothing is recorded",
        Set(|it, v| text(v).map(|s| recording(it).directory = s.into())),
    ),
    opt(
        "recording-method",
        None,
        "STRING",
        "pcap: captures; stereo, mixed, separate: WAV files with metadata in JSON (pcap)",
        Set(recording_method),
    ),
    opt(
        "recording-format",
        None,
        "raw|eth",
        "captures of IP packets, or with Ethernet headers (raw)",
        Set(recording_format),
    ),
    opt(
        "recording-max-size",
        None,
        "MB",
        "the oldest recordings go when there are more megabytes of them (0: no limit)",
        Set(|it, v| number::<u32>(v).map(|n| recording(it).max_octets = u64::from(n) * 1_000_000)),
    ),
    opt(
        "recording-max-days",
        None,
        "DAYS",
        "recordings go when they are so old (0: never)",
        Set(|it, v| {
            let day = Duration::from_secs(86_400);
            number::<u16>(v).map(|n| recording(it).max_age = day * u32::from(n))
        }),
    ),
    opt("iptables-chain", None, "STRING", "open ports in this chain", Refuse("the firewall is not changed")),
    opt("mysql-host", None, "HOST", "stored media", Warn("media is played from files and blobs")),
    opt("mysql-port", None, "INT", "its port", Warn("media is played from files and blobs")),
    opt("mysql-user", None, "STRING", "user", Warn("media is played from files and blobs")),
    opt("mysql-pass", None, "STRING", "password", Warn("media is played from files and blobs")),
    opt("mysql-query", None, "STRING", "query", Warn("media is played from files and blobs")),
    opt("dtmf-no-suppress", None, "", "audio goes on below digits: always so", Always),
    opt(
        "dtmf-digit-delay",
        None,
        "INT",
        "milliseconds between digits of a trigger",
        Warn("digits trigger nothing"),
    ),
    opt(
        "jitter-buffer",
        None,
        "INT",
        "so many packets of sound may be held back, to go on evenly (0)",
        Set(|it, v| {
            it.relay.jitter_buffer = number::<u16>(v)?.min(250);
            Ok(())
        }),
    ),
    opt("jb-clock-drift", None, "", "follow the source's clock: always so", Always),
    opt(
        "silence-detect",
        None,
        "FLOAT",
        "what stays below so many percent of the loudest is sent as comfort noise (0: never)",
        Set(silence_detect),
    ),
    opt(
        "cn-payload",
        None,
        "INT",
        "that comfort noise, RFC 3389; repeatable, or parted by ; (32)",
        Set(|it, v| {
            let anew = it.is_first("cn-payload");
            octets(&mut it.relay.silence.payload, v, anew)
        }),
    ),
    opt(
        "dtx-delay",
        None,
        "MS",
        "what a sender leaves out is filled so much later (0: where its codec says so)",
        Set(|it, v| {
            let delay = Duration::from_millis(number::<u32>(v)?.into());
            it.relay.silence.fill_after = Some(delay).filter(|delay| !delay.is_zero());
            Ok(())
        }),
    ),
    opt(
        "max-dtx",
        None,
        "SECS",
        "it is filled for so long (30; 0: as long as the call)",
        Set(|it, v| {
            let longest = u64::try_from(number::<i64>(v)?).ok().filter(|seconds| *seconds > 0);
            it.relay.silence.longest = Duration::from_secs(longest.unwrap_or(DAY).min(DAY));
            Ok(())
        }),
    ),
    opt(
        "dtx-cn-params",
        None,
        "INT",
        "by this comfort noise, as cn-payload (silence)",
        Set(|it, v| {
            let anew = it.is_first("dtx-cn-params");
            octets(&mut it.relay.silence.fill, v, anew)
        }),
    ),
    opt("dtx-buffer", None, "INT", "packets", Warn("what is filled is not kept back")),
    opt("dtx-lag", None, "MS", "milliseconds", Warn("what is filled is not kept back")),
    opt("dtx-shift", None, "MS", "milliseconds", Warn("what is filled is not kept back")),
    opt("amr-dtx", None, "STRING", "for AMR", NO_DTX),
    opt("janus-secret", None, "STRING", "of the Janus protocol", Warn("Janus's protocol is not spoken")),
];

/// The settings of recordings, begun with the first option that speaks of them.
fn recording(settings: &mut Settings) -> &mut RecordingConfig {
    settings.recording.get_or_insert_with(|| RecordingConfig {
        directory: PathBuf::new(),
        method: RecordingMethod::Pcap { ethernet: false },
        max_octets: 0,
        max_age: Duration::ZERO,
    })
}

fn recording_method(settings: &mut Settings, value: &str) -> Result<(), String> {
    let known = &mut recording(settings).method;
    *known = match value {
        // With the headers that recording-format asked for.
        "pcap" => return Ok(()),
        "stereo" => RecordingMethod::Stereo,
        "mixed" => RecordingMethod::Mixed,
        "separate" => RecordingMethod::Separate,
        "proc" => return Err("there is no kernel module; pcap, stereo, mixed and separate".to_owned()),
        _ => return Err(format!("{value:?} is none of pcap, stereo, mixed and separate")),
    };
    Ok(())
}

fn recording_format(settings: &mut Settings, value: &str) -> Result<(), String> {
    let ethernet = match value {
        "raw" => false,
        "eth" => true,
        _ => return Err(format!("{value:?} is neither raw nor eth")),
    };
    if let RecordingMethod::Pcap { ethernet: known } = &mut recording(settings).method {
        *known = ethernet;
    }
    Ok(())
}

fn text(value: &str) -> Result<String, String> {
    match value {
        "" => Err("a value is missing".to_owned()),
        value => Ok(value.to_owned()),
    }
}

fn number<N: std::str::FromStr>(value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{value:?} is no number that fits"))
}

fn seconds(value: &str) -> Result<Duration, String> {
    number::<u32>(value).map(|seconds| Duration::from_secs(seconds.into()))
}

/// No call is longer.
const DAY: u64 = 86_400;

fn silence_detect(settings: &mut Settings, value: &str) -> Result<(), String> {
    let percent = number::<f64>(value)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(format!("{value:?} is not between 0 and 100"));
    }
    let below = (percent / 100.0 * f64::from(i16::MAX)) as i16;
    settings.relay.silence.below = Some(below).filter(|_| percent > 0.0);
    Ok(())
}

/// Octets of comfort noise: of a repeated option, or of one with several parted by semicolons.
fn octets(octets: &mut Vec<u8>, value: &str, anew: bool) -> Result<(), String> {
    if anew {
        octets.clear();
    }
    for one in value.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        octets.push(number(one)?);
    }
    match octets.len() {
        1..=16 => Ok(()),
        _ => Err("one to sixteen octets are possible".to_owned()),
    }
}

fn interface(settings: &mut Settings, value: &str) -> Result<(), String> {
    for one in value.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        settings.relay.interfaces.extend(Interface::parse_all(one).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// `PORT`, `IP:PORT`, `[IP6]:PORT`, `localhost:PORT`.
fn address(value: &str) -> Option<SocketAddr> {
    if let Ok(port) = value.parse::<u16>() {
        return Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    if let Some(port) = value.strip_prefix("localhost:") {
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)));
    }
    value.parse().ok()
}

fn listen_ng(settings: &mut Settings, value: &str) -> Result<(), String> {
    let address = address(value).ok_or_else(|| format!("{value:?} is no [IP:]PORT"))?;
    settings.relay.listen_ng = Some(address);
    Ok(())
}

/// As rtpengine has it: letters, digits and hyphens, the last in place of all else.
fn software_id(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 64 {
        return Err("1 to 64 characters".to_owned());
    }
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    settings.relay.software_id = text.chars().map(plain).collect();
    Ok(())
}

/// Several, with `;` between them.
fn ports(value: &str) -> Result<Vec<SocketAddr>, String> {
    let words = value.split(';').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| address(word).ok_or_else(|| format!("{word:?} is no [IP:]PORT"))).collect()
}

fn max_sessions(settings: &mut Settings, value: &str) -> Result<(), String> {
    let limit: i64 = number(value)?;
    settings.relay.max_sessions = usize::try_from(limit).ok();
    Ok(())
}

fn log_level(settings: &mut Settings, value: &str) -> Result<(), String> {
    settings.log_level = number::<u8>(value).ok().filter(|level| *level <= 7).ok_or("0 to 7")?;
    Ok(())
}

fn table(settings: &mut Settings, value: &str) -> Result<(), String> {
    if number::<i64>(value)? >= 0 {
        settings
            .warnings
            .push("table: there is no kernel module; media is forwarded by this process".to_owned());
    }
    Ok(())
}

fn certificate(_: &mut Settings, value: &str) -> Result<(), String> {
    match value {
        "prime256v1" => Ok(()),
        _ => Err("the certificate is ECDSA P-256 (prime256v1)".to_owned()),
    }
}

fn signature(_: &mut Settings, value: &str) -> Result<(), String> {
    match value.to_ascii_lowercase().as_str() {
        "sha-256" => Ok(()),
        _ => Err("the certificate is signed with SHA-256".to_owned()),
    }
}

fn learning(settings: &mut Settings, value: &str) -> Result<(), String> {
    match value {
        "heuristic" => Ok(()),
        "delayed" | "immediate" => {
            settings.warnings.push("endpoint-learning: heuristic, which learns at least as well".to_owned());
            Ok(())
        }
        _ => Err("heuristic is possible, and the flag asymmetric per call".to_owned()),
    }
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
    if words.is_empty() && arguments.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Wanted::Print(help()));
    }
    if let Some(word) =
        arguments.iter().find(|word| ["--version", "-v", "--man", "--codecs"].contains(&word.as_str()))
    {
        return Ok(Wanted::Print(match word.as_str() {
            "--man" => manual(),
            "--codecs" => "PCMU\nPCMA\n".to_owned(),
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

/// rtpengine has a level per subsystem; the log here has one.
fn is_subsystem_level(name: &str) -> bool {
    name.strip_prefix("log-level-").is_some_and(|name| !name.is_empty())
}

const SUBSYSTEM: Opt =
    opt("log-level-SUBSYSTEM", None, "INT", "level of one subsystem", Warn("the log has one level"));

fn find(name: &str) -> Option<&'static Opt> {
    if is_subsystem_level(name) {
        return Some(&SUBSYSTEM);
    }
    OPTIONS.iter().find(|opt| opt.long == name)
}

/// `--long=value`, `--long value`, `-s value`, `-svalue`, `-fE`.
fn words(arguments: &[String]) -> Result<Vec<(&'static Opt, String)>, String> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if ["--help", "-h", "--version", "-v", "--man", "--codecs"].contains(&word.as_str()) {
            return Ok(Vec::new());
        }
        let mut next = |opt: &Opt| rest.next().cloned().ok_or_else(|| format!("{} wants a value", opt.long));
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let opt = find(name).ok_or_else(|| format!("there is no option --{name}"))?;
            let value = match value {
                Some(value) => value.to_owned(),
                None if opt.value.is_empty() => String::new(),
                None => next(opt)?,
            };
            found.push((opt, value));
            continue;
        }
        let shorts = word.strip_prefix('-').filter(|shorts| !shorts.is_empty());
        let mut shorts = shorts.ok_or_else(|| format!("{word:?} is no option"))?.chars();
        while let Some(short) = shorts.next() {
            let opt = OPTIONS.iter().find(|opt| opt.short == Some(short));
            let opt = opt.ok_or_else(|| format!("there is no option -{short}"))?;
            if opt.value.is_empty() {
                found.push((opt, String::new()));
                continue;
            }
            let attached = shorts.as_str().to_owned();
            found.push((opt, if attached.is_empty() { next(opt)? } else { attached }));
            break;
        }
    }
    Ok(found)
}

/// The keys of one section of a file: `key = value`, comments after `#` or `;` at the beginning of a line.
fn config(text: &str, section: &str, file: &str) -> Result<Vec<(&'static Opt, String)>, String> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            inside = name == section;
            continue;
        }
        if !inside {
            continue;
        }
        let at = |reason: &str| format!("{file}:{number}: {reason}");
        let (key, value) = line.split_once('=').ok_or_else(|| at("expected KEY = VALUE"))?;
        let opt = find(key.trim()).ok_or_else(|| at(&format!("there is no key {}", key.trim())))?;
        let value = value.trim();
        match (opt.value.is_empty(), value) {
            (false, value) => found.push((opt, value.to_owned())),
            (true, "true" | "yes" | "1") => found.push((opt, String::new())),
            (true, "false" | "no" | "0") => {}
            (true, _) => return Err(at("expected true or false")),
        }
    }
    Ok(found)
}

fn names(opt: &Opt) -> String {
    let short = opt.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let value = if opt.value.is_empty() { String::new() } else { format!("={}", opt.value) };
    format!("{short}--{}{value}", opt.long)
}

fn meaning(opt: &Opt) -> String {
    match opt.effect {
        Set(_) | Always => opt.meaning.to_owned(),
        Warn(reason) => format!("{} (no effect: {reason})", opt.meaning),
        Refuse(reason) => format!("{} (refused: {reason})", opt.meaning),
    }
}

/// What `--help` prints.
fn help() -> String {
    let mut out =
        "Media relay for WebRTC browsers and SIP phones, controlled by rtpengine's ng protocol.\n\n\
        Usage: causeway-relay [OPTION…]\n\n"
            .to_owned();
    for opt in OPTIONS.iter().chain([&SUBSYSTEM]) {
        let _ = writeln!(out, "  {:38} {}", names(opt), meaning(opt));
    }
    out.push_str("  -h, --help                             print this\n");
    out.push_str("  -v, --version                          print the version\n");
    out.push_str("      --man                              print the manual page\n");
    out.push_str("      --codecs                           print the formats that are converted\n");
    out
}

/// The manual page, for `man -l`.
fn manual() -> String {
    let escape = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let mut out = format!(
        ".TH CAUSEWAY-RELAY 8 \"\" \"causeway {}\"\n.SH NAME\ncauseway\\-relay \\- media relay for WebRTC and SIP\n\
         .SH SYNOPSIS\n.B causeway\\-relay\n[OPTION...]\n.SH DESCRIPTION\nRelays media between WebRTC browsers and SIP phones, \
         controlled by the ng protocol of rtpengine. Options are also keys of the file that \\fB\\-\\-config\\-file\\fR names.\n\
         .SH OPTIONS\n",
        env!("CARGO_PKG_VERSION")
    );
    for opt in OPTIONS.iter().chain([&SUBSYSTEM]) {
        let _ = writeln!(out, ".TP\n.B {}\n{}", escape(&names(opt)), escape(&meaning(opt)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recording_options() {
        let settings =
            run("--recording-dir=/tmp/r --recording-format=eth --recording-max-days 3", "").unwrap();
        let recording = settings.relay.recording.unwrap();
        assert_eq!(recording.directory, PathBuf::from("/tmp/r"));
        assert_eq!(recording.method, RecordingMethod::Pcap { ethernet: true });
        assert_eq!(recording.max_age, Duration::from_secs(3 * 86_400));
        let settings = run("--recording-method=stereo --recording-dir=/tmp/r", "").unwrap();
        assert_eq!(settings.relay.recording.unwrap().method, RecordingMethod::Stereo);
        let settings = run("--recording-method=pcap", "").unwrap();
        assert_eq!((settings.relay.recording, settings.warnings.len()), (None, 1));
        assert!(run("--recording-method=proc", "").unwrap_err().contains("kernel module"));
    }

    fn run(line: &str, file: &str) -> Result<Settings, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&arguments, |_| Ok(file.to_owned()))? {
            Wanted::Run(settings) => Ok(*settings),
            Wanted::Print(text) => Err(text),
        }
    }

    #[test]
    fn every_option_is_declared_once() {
        for (at, opt) in OPTIONS.iter().enumerate() {
            let before = &OPTIONS[..at];
            assert!(!before.iter().any(|other| other.long == opt.long), "{}", opt.long);
            assert!(
                opt.short.is_none() || !before.iter().any(|other| other.short == opt.short),
                "{}",
                opt.long
            );
            assert!(help().contains(opt.long) && manual().contains(&opt.long.replace('-', "\\-")));
        }
    }

    #[test]
    fn a_command_line_of_rtpengine() {
        let settings = run(
            "--config-file=none -t -1 -i 127.0.0.1 -i pub/127.0.0.2!203.0.113.5 -n 2223 -c 12345 -fE -L7 -u 2222 \
             --log-level-internals=7 --timeout 90 -m 20000 -M20999 --delete-delay=0 --tos 184",
            "",
        )
        .unwrap();
        let relay = &settings.relay;
        assert_eq!(relay.interfaces.len(), 2);
        assert_eq!((relay.interfaces[1].name.as_str(), settings.log_level), ("pub", 7));
        assert_eq!((relay.port_min, relay.port_max, relay.tos), (20_000, 20_999, 184));
        assert_eq!((relay.media_timeout.as_secs(), relay.delete_delay.as_secs()), (90, 0));
        assert_eq!(relay.listen_ng, Some("[::]:2223".parse().unwrap()));
        assert_eq!(relay.listen_cli, ["[::]:12345".parse().unwrap()]);
        assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let file = "# a comment\n[other]\ntimeout = 1\n[rtpengine]\ninterface = a/127.0.0.1;b/127.0.0.2\ntimeout = 70\n\
                    foreground = true\nno-fallback = false\nlisten-ng = localhost:2300\nmax-sessions = 9\n";
        let settings = run("--config-file=f -o 80", file).unwrap();
        assert_eq!((settings.relay.interfaces.len(), settings.relay.media_timeout.as_secs()), (2, 80));
        assert_eq!(settings.relay.listen_ng, Some("127.0.0.1:2300".parse().unwrap()));
        assert_eq!(settings.relay.max_sessions, Some(9));
        let settings = run("--config-file=f --config-section=other", file).unwrap();
        assert_eq!(settings.relay.media_timeout.as_secs(), 1);
    }

    #[test]
    fn the_doors_of_control() {
        let settings = run(
            "-N 127.0.0.1:2300 --listen-http=127.0.0.1:80;[::1]:81 --listen-http 82 --listen-https=127.0.0.1:443 \
             --https-cert=c.pem --https-key=k.pem",
            "",
        );
        let relay = settings.unwrap().relay;
        let text = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(&relay.listen_tcp_ng), ["127.0.0.1:2300"]);
        assert_eq!(text(&relay.listen_http), ["127.0.0.1:80", "[::1]:81", "[::]:82"]);
        assert_eq!(text(&relay.listen_https), ["127.0.0.1:443"]);
        assert_eq!((relay.https_cert, relay.https_key), (Some("c.pem".into()), Some("k.pem".into())));
    }

    #[test]
    fn what_is_refused_is_named() {
        for (line, file, reason) in [
            ("--moon", "", "there is no option --moon"),
            ("-Z", "", "there is no option -Z"),
            ("word", "", "\"word\" is no option"),
            ("--timeout", "", "timeout wants a value"),
            ("--timeout=x", "", "timeout: \"x\" is no number that fits"),
            ("--listen-http=x:y", "", "listen-http: \"x:y\" is no [IP:]PORT"),
            ("-F", "", "no-fallback is not possible: there is no kernel module"),
            ("--redis=127.0.0.1:6379/1", "", "redis is not possible: calls are not kept in Redis"),
            ("--config-file=f", "[rtpengine]\nmoon = 1\n", "f:2: there is no key moon"),
            ("--config-file=f", "[rtpengine]\nforeground = maybe\n", "f:2: expected true or false"),
            (
                "--config-file=f",
                "[rtpengine]\nport-min = 70000\n",
                "f: port-min: \"70000\" is no number that fits",
            ),
        ] {
            assert_eq!(run(line, file).unwrap_err(), reason, "{line}");
        }
        assert!(run("--help", "").unwrap_err().contains("--interface"));
    }

    #[test]
    fn the_name_told_to_others_is_plain() {
        let name = |line: &str| run(line, "").unwrap().relay.software_id;
        assert_eq!(name("--software-id=my/relay.1"), "my-relay-1");
        assert!(name("").starts_with("rtpengine-causeway-") && !name("").contains('.'));
        assert_eq!(run("--software-id=", "").unwrap_err(), "software-id: 1 to 64 characters");
    }
}
