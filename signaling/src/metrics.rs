//! What Prometheus reads: every metric once, with name, kind, labels and help, in [`defined`]; and the text that is made of them.
//!
//! Nothing is counted here. Each part counts what it does, and whoever is asked ([`crate::control`]) gathers it.

pub mod defined;
pub mod process;

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from the start of the process.
    Counter,
    /// How much there is now.
    Gauge,
    /// Measurements by size.
    Histogram,
}

impl Kind {
    /// The word of a `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric; its unit, if it has one, is the end of its name, as Prometheus wants it.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, in a sentence.
    pub help: &'static str,
}

/// The text in the making: samples may come in any order, those of a metric stand together.
#[derive(Debug, Default)]
pub struct Exposition(BTreeMap<&'static str, (&'static Metric, String)>);

impl Exposition {
    /// Adds a number, with the values of the labels of `metric`, in their order.
    pub fn add(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        self.sample(metric, "", labels, None, value);
    }

    /// Adds a count.
    pub fn count(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        self.add(metric, labels, value as f64);
    }

    /// Adds measurements: how many are no larger than each of `bounds`, all of them, and their sum.
    pub fn histogram(
        &mut self,
        metric: &'static Metric,
        bounds: &[f64],
        cumulative: impl Iterator<Item = u64>,
        (count, sum): (u64, f64),
    ) {
        for (bound, below) in bounds.iter().zip(cumulative) {
            self.sample(metric, "_bucket", &[], Some(&bound.to_string()), below as f64);
        }
        self.sample(metric, "_bucket", &[], Some("+Inf"), count as f64);
        self.sample(metric, "_sum", &[], None, sum);
        self.sample(metric, "_count", &[], None, count as f64);
    }

    fn sample(
        &mut self,
        metric: &'static Metric,
        suffix: &str,
        labels: &[&str],
        bound: Option<&str>,
        value: f64,
    ) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "labels of {}", metric.name);
        let names = metric.labels.iter().copied().zip(labels.iter().copied());
        let pairs: Vec<String> = names
            .chain(bound.map(|bound| ("le", bound)))
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let (_, lines) = self.0.entry(metric.name).or_insert_with(|| (metric, String::new()));
        let pairs = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let value = if value.is_infinite() { "+Inf".to_owned() } else { value.to_string() };
        // Writing to a text does not fail.
        let _ = writeln!(lines, "{}{suffix}{pairs} {value}", metric.name);
    }

    /// The text, in the order of the names.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (metric, lines) in self.0.values() {
            let Metric { name, kind, help, .. } = metric;
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n{lines}", kind.as_str());
        }
        text
    }
}

/// A label's value as it stands between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    static LINES: Metric =
        Metric { name: "x_lines_total", kind: Kind::Counter, labels: &["what"], help: "Lines." };
    static SIZES: Metric =
        Metric { name: "x_size_bytes", kind: Kind::Histogram, labels: &[], help: "Sizes." };

    #[test]
    fn samples_stand_together_under_help_and_type() {
        let mut all = Exposition::default();
        all.histogram(&SIZES, &[0.5, 2.0], [1, 3].into_iter(), (4, 12.25));
        all.count(&LINES, &["a"], 1);
        all.count(&LINES, &["say \"b\\\"\n"], 18_000_000_000_000);
        let expected = "\
            # HELP x_lines_total Lines.\n# TYPE x_lines_total counter\n\
            x_lines_total{what=\"a\"} 1\n\
            x_lines_total{what=\"say \\\"b\\\\\\\"\\n\"} 18000000000000\n\
            # HELP x_size_bytes Sizes.\n# TYPE x_size_bytes histogram\n\
            x_size_bytes_bucket{le=\"0.5\"} 1\nx_size_bytes_bucket{le=\"2\"} 3\n\
            x_size_bytes_bucket{le=\"+Inf\"} 4\nx_size_bytes_sum 12.25\nx_size_bytes_count 4\n";
        assert_eq!(all.text(), expected);
    }

    /// The rules of promtool's linter, and of <https://prometheus.io/docs/practices/naming/>.
    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut seen = BTreeSet::new();
        for Metric { name, kind, labels, help } in defined::ALL {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("causeway_") || name.starts_with("process_"), "{name}");
            let word = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            };
            assert!(word(name) && labels.iter().all(|label| word(label) && *label != "le"), "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let parts: Vec<&str> = name.split('_').collect();
            for unit in
                ["ms", "us", "sec", "kb", "mb", "milliseconds", "minutes", "percent", "bits", "counter"]
            {
                assert!(!parts.contains(&unit), "{name}: {unit}");
            }
            assert!(!["_bucket", "_count", "_sum"].iter().any(|suffix| name.ends_with(suffix)), "{name}");
        }
    }

    /// Words of a file that are names of metrics, without what a histogram adds.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = words.filter(|word| word.starts_with("causeway_") || word.starts_with("process_"));
        ours.map(|word| word.strip_suffix("_bucket").unwrap_or(word)).collect()
    }

    #[test]
    fn dashboard_and_alerts_name_metrics_that_there_are() {
        let dashboard = include_str!("../../deploy/monitoring/grafana-causeway.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
        assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 30));
        let alerts = include_str!("../../deploy/monitoring/alerts.yml");
        for text in [dashboard, alerts] {
            let named = named(text);
            assert!(named.len() > 10, "{named:?}");
            for name in named {
                assert!(defined::ALL.iter().any(|metric| metric.name == name), "{name} is not there");
            }
        }
    }

    /// Where it is installed.
    #[test]
    fn promtool_takes_the_configuration() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/monitoring");
        for (what, file) in [("rules", "alerts.yml"), ("config", "prometheus.yml")] {
            let mut check = std::process::Command::new("promtool");
            match check.args(["check", what, file]).current_dir(directory).output() {
                Ok(output) => {
                    let said = [output.stdout, output.stderr].concat();
                    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&said));
                }
                Err(error) => return assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
            }
        }
    }
}
