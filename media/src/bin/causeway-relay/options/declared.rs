//! The table of options.

use std::time::Duration;

use super::values::{
    DAY, certificate, forward_to, forwarding, forwarding_rate, interface, learning, listen_ng, log_format,
    log_level, max_sessions, number, octets, ports, recording, recording_format, recording_method, seconds,
    signature, silence_detect, software_id, table, text,
};
use super::{Effect, Opt, opt};
use Effect::{Always, Refuse, Set, Warn};

const LOG: Effect = Warn("the log goes to standard error; its level is log-level");
const FOREGROUND: Effect = Always;
const NO_REDIS: Effect = Refuse("calls are not kept in Redis");
const NO_EXPORT: Effect = Warn("statistics are asked for over ng, and not sent");
const NO_DTX: Effect = Refuse("AMR is not known here");

/// Every option, in the order of the help.
pub(super) const OPTIONS: &[Opt] = &[
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
        "max-packet-rate",
        None,
        "INT",
        "packets an end of a call may send in a second; 0 for no limit (5000)",
        Set(|it, v| number(v).map(|n| it.relay.max_packet_rate = n)),
    ),
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
    opt(
        "log-format",
        None,
        "FORMAT",
        "json: a line of JSON each; default or parsable: text (default)",
        Set(log_format),
    ),
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
    opt(
        "tls-send-to",
        None,
        "IP:PORT",
        "the sound of start forwarding goes there over TLS: the metadata, a zero, then 16-bit samples",
        Set(|it, v| forward_to(it, v, true)),
    ),
    opt("tcp-send-to", None, "IP:PORT", "the same over bare TCP", Set(|it, v| forward_to(it, v, false))),
    opt("tls-resample", None, "INT", "so many samples per second (8000)", Set(forwarding_rate)),
    opt("tcp-resample", None, "INT", "so many samples per second (8000)", Set(forwarding_rate)),
    opt(
        "tls-send-ca",
        None,
        "FILE",
        "authorities that vouch for tls-send-to, in PEM; without it whoever answers is believed",
        Set(|it, v| {
            let file = text(v)?.into();
            forwarding(it).tls.get_or_insert_default().authorities = Some(file);
            Ok(())
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
        "milliseconds between keys of a trigger, at most (2500)",
        Set(|it, v| number::<u32>(v).map(|n| it.relay.keys_apart = Duration::from_millis(n.into()))),
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

/// rtpengine has a level per subsystem; the log here has one.
pub(super) const SUBSYSTEM: Opt =
    opt("log-level-SUBSYSTEM", None, "INT", "level of one subsystem", Warn("the log has one level"));

/// Those that have something printed in place of a start.
pub(super) const PRINTED: &[Opt] = &[
    opt("help", Some('h'), "", "print this", Always),
    opt("version", Some('v'), "", "print the version", Always),
    opt("man", None, "", "print the manual page", Always),
    opt("codecs", None, "", "print the formats that are converted", Always),
];
