//! A strict reader of Prometheus' text format (version 0.0.4): what it takes, Prometheus takes, and so does promtool's linter,
//! which is asked too where it is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// One metric as it was told.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    /// Each sample: its name and labels as written, its value.
    pub(crate) samples: Vec<(String, f64)>,
}

/// What `text` says, by name.
///
/// # Panics
/// It is not as the format and the conventions of names want it.
pub(crate) fn read(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut current, mut helped) = (String::new(), String::new());
    assert!(text.ends_with('\n'), "the last line ends");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, about) = help.split_once(' ').expect(line);
            assert!(!about.trim().is_empty(), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert_eq!(helped, name, "help comes right before the type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} twice");
            name.clone_into(&mut current);
        } else {
            let (sample, value) = line.rsplit_once(' ').expect(line);
            let name = sample.split('{').next().expect("a first part");
            let family = families.get_mut(&current).expect("a type comes first");
            let suffixes =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| name == format!("{current}{suffix}")), "{line}");
            labels(&sample[name.len()..]);
            family.samples.push((sample.to_owned(), value.parse().expect(line)));
        }
    }
    for (name, family) in &families {
        let all: BTreeSet<_> = family.samples.iter().map(|(sample, _)| sample).collect();
        assert_eq!(all.len(), family.samples.len(), "{name}: a sample twice");
    }
    lint(text);
    families
}

/// `{NAME="VALUE",…}`, or nothing.
fn labels(text: &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return assert_eq!(text, "") };
    loop {
        let (name, value) = rest.split_once("=\"").expect(text);
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(!name.is_empty() && name.bytes().all(word), "{text}");
        let mut escaped = false;
        let end = value.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        match &value[end.expect(text) + 1..] {
            "}" => return,
            more => rest = more.strip_prefix(',').expect(text),
        }
    }
}

fn lint(text: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match tool {
        Ok(tool) => tool,
        Err(error) => return assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    };
    tool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = tool.wait_with_output().expect("promtool");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "promtool: {}", String::from_utf8_lossy(&said));
}
