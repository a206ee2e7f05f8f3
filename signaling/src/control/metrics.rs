//! The counters as Prometheus reads them, at `/metrics` over HTTPS, for those who may use `/rpc`.

use std::fmt::Write as _;

use super::statistics::Counter;
use super::{Control, Fault, statistics};
use crate::alarms::Kind;

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All of them, since the start of the process.
pub(super) async fn metrics(control: &Control) -> Result<String, Fault> {
    let mut text = String::new();
    for counter in statistics::raw(control).await? {
        let about = format!("{} of stats.fetch.", counter.full());
        let kind = if counter.is_gauge { "gauge" } else { "counter" };
        head(&mut text, &name(&counter), kind, &about);
        // Writing to a text does not fail.
        let _ = writeln!(text, "{} {}", name(&counter), counter.value);
    }
    let counts = control.alarms.counts();
    head(&mut text, "causeway_alarms_total", "counter", "Alarms raised, by what they are about.");
    for (kind, count) in Kind::ALL.into_iter().zip(counts.raised) {
        let _ = writeln!(text, "causeway_alarms_total{{kind=\"{}\"}} {count}", kind.as_str());
    }
    for (name, count, about) in [
        ("causeway_alarms_posted_total", counts.posted, "Alarms taken by alarm.webhook_url."),
        (
            "causeway_alarms_lost_total",
            counts.lost,
            "Alarms that alarm.webhook_url has not taken, or that were too many.",
        ),
    ] {
        head(&mut text, name, "counter", about);
        let _ = writeln!(text, "{name} {count}");
    }
    Ok(text)
}

fn head(text: &mut String, name: &str, kind: &str, about: &str) {
    let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
}

/// `causeway_GROUP_NAME`, a counter with `_total` behind it; those that Kamailio has not stand under `causeway` alone.
fn name(counter: &Counter) -> String {
    let group = if counter.group == "causeway" { String::new() } else { format!("{}_", counter.group) };
    let total = if counter.is_gauge { "" } else { "_total" };
    let name = format!("causeway_{group}{}{total}", counter.name);
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}
