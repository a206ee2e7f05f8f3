//! The statistics of the whole relay, in rtpengine's names: one list, from which the dictionary of ng, the text and the JSON
//! of the command line and the metrics of Prometheus are written.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use media_core::command::{Command, Reply, Value};
use media_core::stats::{Faults, Numbers, QualityStats, Stats};

use super::Control;
use super::callers::{COMMANDS, Caller, Count, INTERVAL};
use crate::{Relay, lock};

/// Shortest time over which packets per second are reckoned.
const RATE_TIME: Duration = Duration::from_secs(1);

/// Packets, octets and errors per second, between two looks at the counters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    before: Option<(Instant, [u64; 3])>,
    per_second: [u64; 3],
}

impl Rates {
    /// The rates since the last look, at least a second ago; what is asked sooner gets those of before.
    fn look(&mut self, now: Instant, totals: [u64; 3]) -> [u64; 3] {
        let Some((at, before)) = self.before else {
            self.before = Some((now, totals));
            return self.per_second;
        };
        let passed = now.saturating_duration_since(at);
        if passed >= RATE_TIME {
            for ((rate, total), before) in self.per_second.iter_mut().zip(totals).zip(before) {
                *rate = (total.saturating_sub(before) as f64 / passed.as_secs_f64()).round() as u64;
            }
            self.before = Some((now, totals));
        }
        self.per_second
    }
}

/// What Prometheus says of metrics with several samples, and of those that people are not told of.
const HELP: &[(&str, &str)] = &[
    ("bytes_total", "Bytes of the RTP packets that were relayed"),
    ("closed_sessions_total", "Sessions that have ended, by reason"),
    ("dropped_datagrams_total", "Datagrams dropped on arrival, by reason"),
    ("errors_total", "Commands of a controller that had an error"),
    ("mediastreams", "Media streams, by where they are forwarded"),
    ("packet_errors_total", "RTP packets that could not be relayed"),
    ("packets_total", "RTP packets that were relayed"),
    ("ports", "Ports of an interface"),
    ("ports_free", "Ports of an interface that are free"),
    ("ports_used", "Ports of an interface that are in use"),
    ("request_seconds_total", "Time that commands of a controller have taken"),
    ("requests_total", "Commands of a controller"),
    ("sessions", "Sessions that there are"),
];

/// A number with its name for Prometheus: name, kind, labels.
type Prometheus = (&'static str, &'static str, String);

/// One entry of the list.
#[derive(Debug)]
enum Item {
    /// A dictionary or list begins: its key, its title.
    Open { key: String, title: String, list: bool },
    /// It ends.
    Close,
    /// A number or word: key, the same for people, value as JSON writes it.
    Metric {
        key: String,
        told: Option<(String, String)>,
        value: String,
        number: Option<u64>,
        prometheus: Option<Prometheus>,
    },
    /// For people only.
    Line(String),
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    items: Vec<Item>,
}

impl Control {
    /// The statistics now.
    pub(super) async fn statistics(&self) -> Option<Statistics> {
        let numbers = self.relay()?.numbers().await?;
        Some(self.list(&numbers))
    }

    /// The reply to ng's `statistics`, made of what the workers tell.
    pub(crate) fn statistics_reply(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Numbers(numbers) => Reply::Statistics(self.list(&numbers).dictionary()),
            other => other,
        }
    }

    fn list(&self, numbers: &Numbers) -> Statistics {
        let mut list = Statistics::default();
        list.current(self, numbers);
        list.total(numbers, self.started.elapsed());
        list.interval(self);
        list.open("mos", "MOS statistics:");
        list.sums("mos", "MOS", numbers.stats.quality.mos, numbers.stats.quality.samples);
        list.close();
        list.voip_metrics(&numbers.stats.quality);
        list.control(self);
        list.interfaces(self, numbers);
        list.items.push(Item::Open { key: "transcoders".into(), title: String::new(), list: true });
        list.close();
        list
    }
}

impl Relay {
    /// What all workers tell of themselves, added up; `None` when the relay has stopped.
    pub async fn numbers(&self) -> Option<Box<Numbers>> {
        match self.ask(Command::Statistics).await {
            Reply::Numbers(numbers) => Some(numbers),
            _ => None,
        }
    }
}

impl Statistics {
    fn open(&mut self, key: &str, title: &str) {
        self.items.push(Item::Open { key: key.to_owned(), title: title.to_owned(), list: false });
    }

    fn close(&mut self) {
        self.items.push(Item::Close);
    }

    fn number(&mut self, key: &str, text: &str, value: u64) -> &mut Self {
        let told = (!text.is_empty()).then(|| (text.to_owned(), value.to_string()));
        let (key, prometheus) = (key.to_owned(), None);
        self.items.push(Item::Metric {
            key,
            told,
            value: value.to_string(),
            number: Some(value),
            prometheus,
        });
        self
    }

    /// A number with a point, followed by `unit` for people.
    fn fraction(&mut self, key: &str, text: &str, value: f64, unit: &str) -> &mut Self {
        let value = format!("{value:.6}");
        let told = (!text.is_empty()).then(|| (text.to_owned(), format!("{value}{unit}")));
        let (key, number, prometheus) = (key.to_owned(), None, None);
        self.items.push(Item::Metric { key, told, value, number, prometheus });
        self
    }

    fn word(&mut self, key: &str, value: &str) {
        let (key, value) = (key.to_owned(), serde_json::Value::from(value).to_string());
        self.items.push(Item::Metric { key, told: None, value, number: None, prometheus: None });
    }

    /// Names the metric before for Prometheus.
    fn as_metric(&mut self, name: &'static str, kind: &'static str, labels: impl Into<String>) {
        if let Some(Item::Metric { prometheus, .. }) = self.items.last_mut() {
            *prometheus = Some((name, kind, labels.into()));
        }
    }

    fn current(&mut self, control: &Control, numbers: &Numbers) {
        let stats = &numbers.stats;
        let totals = [stats.forwarded, stats.forwarded_octets, stats.dropped];
        let [packets, octets, errors] = lock(&control.rates).look(Instant::now(), totals);
        self.open("currentstatistics", "Statistics over currently running sessions:");
        self.number("sessionsown", "Owned sessions", numbers.sessions).as_metric(
            "sessions",
            "gauge",
            "type=\"own\"",
        );
        // Calls of other relays come through a shared store, which there is none of.
        self.number("sessionsforeign", "Foreign sessions", 0).as_metric(
            "sessions",
            "gauge",
            "type=\"foreign\"",
        );
        self.number("sessionstotal", "Total sessions", numbers.sessions);
        self.number("transcodedmedia", "Transcoded media", numbers.transcoded_media).as_metric(
            "transcoded_media",
            "gauge",
            "",
        );
        for (key, text, value) in [
            ("packetrate", "Packets per second", packets),
            ("byterate", "Bytes per second", octets),
            ("errorrate", "Errors per second", errors),
        ] {
            // All media is forwarded by this process.
            self.number(&format!("{key}_user"), &format!("{text} (userspace)"), value);
            self.number(&format!("{key}_kernel"), &format!("{text} (kernel)"), 0);
            self.number(key, &format!("{text} (total)"), value);
        }
        for (key, text, kind, value) in [
            ("media_userspace", "Userspace-only media streams", "userspace", numbers.media_streams),
            ("media_kernel", "Kernel-only media streams", "kernel", 0),
            ("media_mixed", "Mixed kernel/userspace media streams", "mixed", 0),
        ] {
            self.number(key, text, value).as_metric("mediastreams", "gauge", format!("type=\"{kind}\""));
        }
        self.close();
    }

    fn total(&mut self, numbers: &Numbers, uptime: Duration) {
        let stats = &numbers.stats;
        self.open("totalstatistics", "Total statistics (does not include current running sessions):");
        let seconds = uptime.as_secs();
        self.items.push(Item::Metric {
            key: "uptime".into(),
            told: Some(("Uptime of rtpengine".into(), format!("{seconds} seconds"))),
            value: seconds.to_string(),
            number: None,
            prometheus: Some(("uptime_seconds", "gauge", String::new())),
        });
        self.number("managedsessions", "Total managed sessions", stats.calls_ended).as_metric(
            "sessions_total",
            "counter",
            "",
        );
        self.closed(stats);
        let relayed = [
            ("relayedpackets", "Total relayed packets", "packets_total", stats.forwarded),
            ("relayedpacketerrors", "Total relayed packet errors", "packet_errors_total", stats.dropped),
            ("relayedbytes", "Total relayed bytes", "bytes_total", stats.forwarded_octets),
        ];
        for (suffix, place) in [("user", "userspace"), ("kernel", "kernel")] {
            for (key, text, name, value) in relayed {
                let value = if suffix == "user" { value } else { 0 };
                self.number(&format!("{key}_{suffix}"), &format!("{text} ({place})"), value).as_metric(
                    name,
                    "counter",
                    format!("type=\"{place}\""),
                );
            }
        }
        for (key, text, _, value) in relayed {
            self.number(key, text, value);
        }
        self.number(
            "zerowaystreams",
            "Total number of streams with no relayed packets",
            stats.zero_way_halves / 2,
        )
        .as_metric("zero_packet_streams_total", "counter", "");
        self.number("onewaystreams", "Total number of 1-way streams", stats.one_way).as_metric(
            "one_way_sessions_total",
            "counter",
            "",
        );
        self.faults(&stats.faults);
        self.durations(numbers);
        self.close();
    }

    /// Sessions by what has ended them.
    fn closed(&mut self, stats: &Stats) {
        for (key, text, reason, value) in [
            ("rejectedsessions", "Total rejected sessions", "rejected", stats.rejected),
            ("timeoutsessions", "Total timed-out sessions via TIMEOUT", "timeout", stats.timed_out),
            (
                "silenttimeoutsessions",
                "Total timed-out sessions via SILENT_TIMEOUT",
                "silent_timeout",
                stats.silent_timed_out,
            ),
            (
                "finaltimeoutsessions",
                "Total timed-out sessions via FINAL_TIMEOUT",
                "final_timeout",
                stats.final_timed_out,
            ),
            (
                "offertimeoutsessions",
                "Total timed-out sessions via OFFER_TIMEOUT",
                "offer_timeout",
                stats.offer_timed_out,
            ),
            ("regularterminatedsessions", "Total regular terminated sessions", "terminated", stats.regular),
            (
                "forcedterminatedsessions",
                "Total forced terminated sessions",
                "force_terminated",
                stats.forced,
            ),
        ] {
            self.number(key, text, value).as_metric(
                "closed_sessions_total",
                "counter",
                format!("reason=\"{reason}\""),
            );
        }
    }

    /// Datagrams that were dropped on arrival.
    fn faults(&mut self, faults: &Faults) {
        let Faults { malformed, strangers, forged, replayed, excessive } = *faults;
        for (key, text, reason, value) in [
            ("malformeddatagrams", "Datagrams dropped as malformed", "malformed", malformed),
            ("strangedatagrams", "Datagrams dropped since they came from strangers", "stranger", strangers),
            ("forgeddatagrams", "Datagrams dropped as not authentic", "forged", forged),
            ("replayeddatagrams", "Datagrams dropped as replayed", "replayed", replayed),
            ("excessivedatagrams", "Datagrams dropped by max-packet-rate", "excessive", excessive),
        ] {
            let labels = format!("reason=\"{reason}\"");
            self.number(key, text, value).as_metric("dropped_datagrams_total", "counter", labels);
        }
    }

    fn durations(&mut self, numbers: &Numbers) {
        let stats = &numbers.stats;
        let (ended, total) = (stats.calls_ended as f64, stats.duration as f64 / 1e6);
        let squared = stats.duration_squared as f64 / 1e6;
        let mean = if ended > 0.0 { total / ended } else { 0.0 };
        let variance = if ended > 0.0 { (squared / ended - mean * mean).abs() } else { 0.0 };
        self.fraction("avgcallduration", "Average call duration", mean, " seconds").as_metric(
            "call_duration_avg",
            "gauge",
            "",
        );
        self.fraction("totalcallsduration", "Total calls duration", total, " seconds").as_metric(
            "call_duration_total",
            "counter",
            "",
        );
        self.fraction("totalcallsduration2", "Total calls duration squared", squared, " seconds squared")
            .as_metric("call_duration2_total", "counter", "");
        let text = "Total calls duration standard deviation";
        self.fraction("totalcallsduration_stddev", text, variance.sqrt(), " seconds");
    }

    /// Of the last whole minute.
    fn interval(&mut self, control: &Control) {
        let minute = lock(&control.callers).interval(Instant::now()).clone();
        self.open("intervalstatistics", "Statistics of the last minute:");
        let (least, most) = minute.sessions.unwrap_or_default();
        self.number("minmanagedsessions", "Min managed sessions", least as u64);
        self.number("maxmanagedsessions", "Max managed sessions", most as u64);
        for ((name, _), count) in COMMANDS.iter().zip(&minute.commands) {
            let Count { count: commands, time, shortest, longest } = count;
            let mean = time.as_secs_f64() / (*commands).max(1) as f64;
            let (least, most) = (shortest.as_secs_f64(), longest.as_secs_f64());
            let text = format!(
                " {:<48}:{least:.6}/{most:.6}/{mean:.6} sec",
                format!("Min/Max/Avg {name} processing delay")
            );
            self.items.push(Item::Line(text));
            self.fraction(&format!("min{name}delay"), "", least, "");
            self.fraction(&format!("max{name}delay"), "", most, "");
            self.fraction(&format!("avg{name}delay"), "", mean, "");
        }
        for ((name, _), count) in COMMANDS.iter().zip(&minute.commands) {
            self.number(&format!("avg{name}requestrate"), "", count.count / INTERVAL.as_secs());
        }
        self.close();
    }

    /// What the sums of measurements tell.
    fn sums(&mut self, key: &'static str, text: &str, [sum, squares]: [f64; 2], samples: u64) {
        let n = samples.max(1) as f64;
        let (mean, mean_square) = (sum / n, squares / n);
        let names: [&'static str; 3] = match key {
            "mos" => ["mos_total", "mos2_total", "mos_samples_total"],
            "jitter" => ["jitter_total", "jitter2_total", "jitter_samples_total"],
            "rtt_e2e" => ["rtt_e2e_total", "rtt_e2e2_total", "rtt_e2e_samples_total"],
            "rtt_dsct" => ["rtt_dsct_total", "rtt_dsct2_total", "rtt_dsct_samples_total"],
            _ => ["packetloss_total", "packetloss2_total", "packetloss_samples_total"],
        };
        self.fraction(names[0], &format!("Sum of all {text} values sampled"), sum, "")
            .as_metric(names[0], "counter", "");
        self.fraction(names[1], &format!("Sum of all {text} square values sampled"), squares, "")
            .as_metric(names[1], "counter", "");
        self.number(names[2], &format!("Total number of {text} samples"), samples)
            .as_metric(names[2], "counter", "");
        self.fraction(&format!("{key}_average"), &format!("Average {text}"), mean, "");
        let deviation = (mean_square - mean * mean).max(0.0).sqrt();
        self.fraction(&format!("{key}_stddev"), &format!("{text} standard deviation"), deviation, "");
    }

    fn voip_metrics(&mut self, quality: &QualityStats) {
        self.open("voip_metrics", "VoIP metrics:");
        let trips = quality.round_trip_samples;
        self.sums("jitter", "jitter (measured)", quality.jitter, quality.samples);
        self.sums("rtt_e2e", "end-to-end round-trip time", quality.round_trip, trips);
        self.sums("rtt_dsct", "discrete round-trip time", quality.round_trip_leg, trips);
        self.sums("packetloss", "packet loss", quality.loss, quality.samples);
        self.close();
    }

    fn control(&mut self, control: &Control) {
        self.open("controlstatistics", "Control statistics:");
        self.items.push(Item::Open { key: "proxies".into(), title: String::new(), list: true });
        let mut head = format!(" {:>20} ", "Proxy");
        COMMANDS.iter().for_each(|(_, short)| _ = write!(head, "| {short:>10} "));
        self.items.push(Item::Line(head));
        let mut totals = [0; COMMANDS.len()];
        let callers: Vec<(String, Caller)> =
            lock(&control.callers).all().map(|(ip, caller)| (ip.to_string(), caller.clone())).collect();
        for (address, caller) in &callers {
            self.open("", "");
            self.word("proxy", address);
            let mut line = format!(" {address:>20} ");
            for (place, ((name, short), count)) in COMMANDS.iter().zip(&caller.commands).enumerate() {
                totals[place] += count.count;
                _ = write!(line, "| {:>10} ", count.count);
                let (short, labels) =
                    (short.to_lowercase(), format!("proxy=\"{address}\",request=\"{name}\""));
                self.number(&format!("{short}count"), "", count.count).as_metric(
                    "requests_total",
                    "counter",
                    labels.clone(),
                );
                self.fraction(&format!("{short}duration"), "", count.time.as_secs_f64(), "").as_metric(
                    "request_seconds_total",
                    "counter",
                    labels,
                );
            }
            self.items.push(Item::Line(line));
            self.number("errorcount", "", caller.errors).as_metric(
                "errors_total",
                "counter",
                format!("proxy=\"{address}\""),
            );
            self.close();
        }
        self.close();
        for ((_, short), total) in COMMANDS.iter().zip(totals) {
            self.number(&format!("total{}count", short.to_lowercase()), "", total);
        }
        let dropped = control.dropped.load(std::sync::atomic::Ordering::Relaxed);
        self.number("droppedmessages", "Messages without a cookie and connections too many", dropped)
            .as_metric("dropped_messages_total", "counter", "");
        self.close();
    }

    /// All interfaces share the ports of the workers.
    fn interfaces(&mut self, control: &Control, numbers: &Numbers) {
        self.items.push(Item::Open { key: "interfaces".into(), title: String::new(), list: true });
        for (name, address) in control.interface_names() {
            self.open("", "");
            self.word("name", &name);
            self.word("address", &address);
            self.open("ports", "");
            let labels = format!("name=\"{name}\",address=\"{address}\"");
            let used = numbers.ports_total - numbers.ports_free;
            self.number("min", "", control.ports.0.into());
            self.number("max", "", control.ports.1.into());
            self.number("used", "", used).as_metric("ports_used", "gauge", labels.clone());
            let share = used as f64 * 100.0 / numbers.ports_total.max(1) as f64;
            let value = format!("{share:.2}");
            let key = "used_pct".to_owned();
            self.items.push(Item::Metric { key, told: None, value, number: None, prometheus: None });
            self.number("free", "", numbers.ports_free).as_metric("ports_free", "gauge", labels.clone());
            self.number("totals", "", numbers.ports_total).as_metric("ports", "gauge", labels);
            self.number("last", "", numbers.port_last.into());
            self.close();
            self.close();
        }
        self.close();
    }

    /// For ng: numbers with a point are strings there.
    fn dictionary(&self) -> Vec<(String, Value)> {
        let mut items = self.items.iter();
        entries(&mut items)
    }

    /// For `list jsonstats`.
    pub(super) fn json(&self) -> String {
        let mut out = String::from("{");
        let mut lists = vec![false];
        let mut first = true;
        for item in &self.items {
            if !matches!(item, Item::Close | Item::Line(_)) && !std::mem::replace(&mut first, false) {
                out.push(',');
            }
            match item {
                Item::Open { key, list, .. } => {
                    if lists.last() == Some(&false) {
                        _ = write!(out, "\"{key}\":");
                    }
                    out.push(if *list { '[' } else { '{' });
                    lists.push(*list);
                    first = true;
                }
                Item::Close => {
                    out.push(if lists.pop() == Some(true) { ']' } else { '}' });
                    first = false;
                }
                Item::Metric { key, value, .. } => _ = write!(out, "\"{key}\":{value}"),
                Item::Line(_) => {}
            }
        }
        out.push('}');
        out
    }

    /// For `list totals`.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for item in &self.items {
            match item {
                Item::Open { title, .. } if !title.is_empty() => _ = write!(out, "\n{title}\n\n"),
                Item::Metric { told: Some((text, value)), .. } => _ = writeln!(out, " {text:<48}:{value}"),
                Item::Line(line) => _ = writeln!(out, "{line}"),
                _ => {}
            }
        }
        out
    }

    /// For Prometheus: all samples of a name stand together under its type.
    pub(super) fn metrics(&self) -> String {
        let named = || {
            self.items.iter().filter_map(|item| match item {
                Item::Metric { told, value, prometheus: Some(prometheus), .. } => {
                    Some((told, value, prometheus))
                }
                _ => None,
            })
        };
        let (mut out, mut seen) = (String::new(), HashSet::new());
        for (told, _, (name, kind, _)) in named().filter(|(_, _, (name, ..))| seen.insert(*name)) {
            let own = HELP.iter().find(|(known, _)| known == name).map(|(_, text)| *text);
            let text = own.or(told.as_ref().map(|(text, _)| &**text)).unwrap_or(name);
            _ = writeln!(out, "# HELP rtpengine_{name} {text}\n# TYPE rtpengine_{name} {kind}");
            for (_, value, (_, _, labels)) in named().filter(|(_, _, (other, ..))| other == name) {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                _ = writeln!(out, "rtpengine_{name}{labels} {value}");
            }
        }
        out
    }
}

/// Up to the end of what has begun.
fn entries<'a>(items: &mut impl Iterator<Item = &'a Item>) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while let Some(item) = items.next() {
        match item {
            Item::Open { key, list: false, .. } => {
                found.push((key.clone(), Value::Dictionary(entries(items))))
            }
            Item::Open { key, list: true, .. } => {
                let members = entries(items).into_iter().map(|(_, value)| value);
                found.push((key.clone(), Value::List(members.collect())));
            }
            Item::Close => break,
            Item::Metric { key, value, number, .. } => {
                let value = match number {
                    Some(number) => Value::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
                    None => Value::Text(serde_json::from_str(value).unwrap_or_else(|_| value.clone())),
                };
                found.push((key.clone(), value));
            }
            Item::Line(_) => {}
        }
    }
    found
}
