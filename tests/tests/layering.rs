//! The import rules of the project, proved on the manifests and on the sources.
//!
//! A rule that no machine checks decays; each test here is one sentence of the map of the code in README.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The visible top level, which is fixed; what tools make (`target`, `var`) is ignored by git and stands beside it.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "Makefile",
    "README.md",
    "certs",
    "deploy",
    "media",
    "signaling",
    "tests",
    "web-demo",
];

/// Crates of the outside world. A core that lists one of them does I/O, reads a clock or draws its own randomness.
const OUTSIDE_WORLD: &[&str] = &[
    "async-io",
    "async-std",
    "axum",
    "diesel",
    "getrandom",
    "h2",
    "hickory-resolver",
    "hyper",
    "hyper-util",
    "if-addrs",
    "io-uring",
    "libc",
    "mio",
    "nix",
    "quinn-udp",
    "redis",
    "reqwest",
    "rusqlite",
    "rustix",
    "smol",
    "socket2",
    "sqlx",
    "thread_rng",
    "tokio",
    "tokio-rustls",
    "tokio-tungstenite",
    "tokio-util",
    "tungstenite",
    "ureq",
];

/// The modules of `signaling-core`, lowest first: a module uses those above it in this list, never those below.
const SIGNALING_LAYERS: &[&str] = &[
    "flow",
    "bounded",
    "shards",
    "secret",
    "flow_token",
    "stun",
    "message",
    "stats",
    "digest",
    "token",
    "dispatcher",
    "topology",
    "settings",
    "acl",
    "profiles",
    "secfilter",
    "tolls",
    "tables",
    "sources",
    "guesses",
    "overload",
    "blocklist",
    "event",
    "transaction",
    "alias",
    "gruu",
    "outside",
    "dialog",
    "location",
    "world",
    "step",
    "fork",
    "route",
    "proxy",
];

/// The same for `media-core`.
const MEDIA_LAYERS: &[&str] = &[
    "testing",
    "stats",
    "packet",
    "sockets",
    "demux",
    "rtp",
    "rtcp",
    "srtp",
    "stun",
    "ice",
    "dtls",
    "sdp",
    "codec",
    "dtmf",
    "jitter",
    "transcode",
    "player",
    "screen",
    "tape",
    "command",
    "ng",
    "call",
    "forward",
    "engine",
];

/// What the signaling shell may name of the media half: the relay, the one language of control and what its words carry.
const MEDIA_SEEN_BY_SIGNALING: &[&str] = &[
    "Anyone",
    "Command",
    "Event",
    "EventKind",
    "RecordingConfig",
    "RecordingMethod",
    "Relay",
    "RelayConfig",
    "Reply",
    "command",
    "hep",
    "probe",
    "stats",
];

/// Where the signalling half has locks, and why none of them is one that all workers take for a message: what those share stands
/// in parts (`signaling_core::shards`) or is an atomic.
const LOCKS: &[(&str, &str)] = &[
    ("signaling/core/src/dispatcher.rs", "when rows are read again, and once a round of questions"),
    ("signaling/core/src/dispatcher/state.rs", "a gateway's answer to a question"),
    ("signaling/core/src/shards.rs", "the parts"),
    ("signaling/src/accounting.rs", "its tasks, taken at the start and at the end"),
    ("signaling/src/accounting/journal.rs", "a journal is one worker's"),
    ("signaling/src/control.rs", "an operator's counters"),
    ("signaling/src/control/cfg.rs", "an operator's changes"),
    ("signaling/src/control/ctl.rs", "once for each connection of an operator"),
    ("signaling/src/gateway/shared.rs", "an operator's counters, at the start"),
    ("signaling/src/events/stream.rs", "once for each event that is told, by the task that tells"),
    ("signaling/src/health.rs", "what was found, once for each look and each question"),
    ("signaling/src/media_link/blobs.rs", "once for each sound that a relay elsewhere plays"),
    ("signaling/src/media_link/ng_client.rs", "the order of such sounds, awaited by a task of its own"),
    ("signaling/src/post.rs", "a connection of one task"),
    (
        "signaling/src/queue.rs",
        "between two tasks, behind the journals; and once for each event that somebody wants",
    ),
    ("signaling/src/store/dialogs.rs", "its task, taken at the end"),
    ("signaling/src/store/known_users.rs", "its task, taken at the end"),
    ("signaling/src/store/topos.rs", "its task, taken at the end"),
    ("signaling/src/store/writer.rs", "its task, taken at the end"),
    ("signaling/src/toll_file.rs", "a file that two tasks write, once a second and at the end"),
    ("signaling/src/transport/admission.rs", "once for each connection"),
];

#[test]
fn top_level_is_the_fixed_list() {
    let ignored = ["target", "var"];
    let mut unknown = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') && !ignored.contains(&name.as_str()) && !TOP_LEVEL.contains(&name.as_str())
        {
            unknown.push(name);
        }
    }
    assert!(unknown.is_empty(), "not in the fixed top level: {unknown:?}");
    let absent: Vec<_> = TOP_LEVEL.iter().filter(|name| !root().join(name).exists()).collect();
    assert!(absent.is_empty(), "missing at the top level: {absent:?}");
}

#[test]
fn packages_depend_from_shell_to_core_only() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("signaling-core", &[][..]),
        ("media-core", &[][..]),
        ("media", &["media-core"][..]),
        ("causeway", &["signaling-core", "media"][..]),
        ("e2e", &["signaling-core", "causeway", "media", "media-core"][..]),
    ]);
    let packages = packages();
    assert_eq!(
        packages.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        allowed.keys().copied().collect()
    );
    for (name, dependencies) in &packages {
        for dependency in dependencies.iter().filter(|d| packages.contains_key(*d)) {
            assert!(
                allowed[name.as_str()].contains(&dependency.as_str()),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn cores_list_nothing_of_the_outside_world() {
    let packages = packages();
    for core in ["signaling-core", "media-core"] {
        let found: Vec<_> = packages[core].iter().filter(|d| OUTSIDE_WORLD.contains(&d.as_str())).collect();
        assert!(found.is_empty(), "{core} lists {found:?}");
    }
}

#[test]
fn cores_do_not_bring_in_a_runtime_by_way_of_others() {
    for core in ["signaling-core", "media-core"] {
        let tree = cargo(&["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", core]);
        for line in tree.lines() {
            let name = line.split_whitespace().next().unwrap_or_default();
            assert!(
                !["tokio", "mio", "async-io", "socket2", "sqlx", "rusqlite", "hyper", "axum", "reqwest"]
                    .contains(&name),
                "{core} brings in {name}"
            );
        }
    }
}

#[test]
fn cores_ban_clocks_sockets_and_generators_by_lint() {
    for core in ["signaling/core", "media/core"] {
        let bans = fs::read_to_string(root().join(core).join("clippy.toml")).unwrap();
        for method in [
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "std::net::UdpSocket::bind",
            "std::net::TcpListener::bind",
            "std::net::TcpStream::connect",
            "std::thread::spawn",
            "rand::rng",
        ] {
            assert!(
                bans.contains(&format!("\"{method}\", reason = ")),
                "{core}/clippy.toml does not ban {method} with a reason"
            );
        }
    }
}

#[test]
fn modules_of_signaling_core_keep_their_order() {
    assert_layers("signaling/core", SIGNALING_LAYERS);
}

#[test]
fn modules_of_media_core_keep_their_order() {
    assert_layers("media/core", MEDIA_LAYERS);
}

#[test]
fn signaling_sees_of_media_only_the_relay_and_its_language() {
    let mut wrong = Vec::new();
    for file in sources(&root().join("signaling/src")) {
        let code = code_of(&file);
        for path in paths_from(&code, "media") {
            if !MEDIA_SEEN_BY_SIGNALING.contains(&path.as_str()) {
                wrong.push(format!("{}: media::{path}", shown(&file)));
            }
        }
        if !paths_from(&code, "media_core").is_empty() {
            wrong.push(format!("{}: media_core", shown(&file)));
        }
    }
    assert!(wrong.is_empty(), "signaling reaches into media:\n{}", wrong.join("\n"));
}

#[test]
fn signalling_workers_share_no_lock_for_a_message() {
    let locks = ["Mutex", "RwLock", "Condvar", "Barrier", "ReentrantLock"];
    let files = ["signaling/src", "signaling/core/src"].map(|folder| sources(&root().join(folder))).concat();
    let has_lock = |file: &&PathBuf| {
        let is_test = file.iter().any(|part| part == "tests") || file.ends_with("tests.rs");
        !is_test && words(&without_tests(&code_of(file))).any(|word| locks.contains(&word))
    };
    let mut found: Vec<String> = files.iter().filter(has_lock).map(|file| shown(file)).collect();
    found.retain(|file| !LOCKS.iter().any(|(known, _)| known == file));
    assert!(
        found.is_empty(),
        "locks in {found:?}: should what they guard stand in parts, or is there a reason?"
    );
}

#[test]
fn cores_forbid_unsafe_code() {
    for core in ["signaling/core", "media/core"] {
        let lib = fs::read_to_string(root().join(core).join("src/lib.rs")).unwrap();
        assert!(
            lib.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]"),
            "{core} does not forbid unsafe code"
        );
    }
}

#[test]
fn unsafe_stands_only_in_media_io_each_with_its_reason() {
    let mut wrong = Vec::new();
    for package in
        ["signaling/src", "signaling/core/src", "media/src", "media/core/src", "tests/src", "tests/tests"]
    {
        for file in sources(&root().join(package)) {
            let io = shown(&file).starts_with("media/src/io");
            let text = fs::read_to_string(&file).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for (number, line) in code_of(&file).lines().enumerate() {
                if !words(line).any(|word| word == "unsafe") {
                    continue;
                }
                let reasoned = lines[number.saturating_sub(8)..=number]
                    .iter()
                    .any(|l| l.contains("SAFETY:") || l.contains("# Safety"));
                if !io || !reasoned {
                    wrong.push(format!("{}:{}: {}", shown(&file), number + 1, lines[number].trim()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "unsafe outside media/src/io or without a SAFETY comment:\n{}",
        wrong.join("\n")
    );
}

/// Fails with every use of a module that stands below the user in `layers`. Tests beside the code may use anything.
fn assert_layers(package: &str, layers: &[&str]) {
    let source = root().join(package).join("src");
    let rank = |module: &str| layers.iter().position(|layer| *layer == module);
    let mut wrong = Vec::new();
    for file in sources(&source) {
        let inside = file.strip_prefix(&source).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let Some(own) = rank(module) else {
            wrong.push(format!("{}: module `{module}` has no place in the list of layers", shown(&file)));
            continue;
        };
        let mut code = without_tests(&code_of(&file));
        if inside.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs") {
            code.clear();
        }
        for used in paths_from(&code, "crate") {
            if rank(&used).is_some_and(|other| other > own) {
                wrong.push(format!("{}: `{module}` uses `{used}`, which stands above it", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "layers of {package}, lowest first: {layers:?}\n{}", wrong.join("\n"));
}

/// The names that follow `start::` in `code`, those of a group `start::{a, b::c}` each by itself.
fn paths_from(code: &str, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let needle = format!("{start}::");
    for (at, _) in code.match_indices(&needle) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + needle.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group_heads(group));
        } else {
            found.extend(words(rest).next().map(str::to_owned));
        }
    }
    found
}

/// The first word of every member of a use group, given the text after its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut member) = (0usize, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut member)),
            _ if depth == 0 => member.push(c),
            _ => {}
        }
    }
    heads.push(member);
    heads.iter().filter_map(|member| words(member).next().map(str::to_owned)).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The code up to the tests at the bottom of the file.
fn without_tests(code: &str) -> String {
    code.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

/// The text of a source file with comments and the contents of string literals blanked, line numbers kept.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            string_length(rest)
        } else if let Some(hashes) = raw_string_hashes(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if rest.starts_with("'\"'")
            || rest.starts_with("'\\\"'")
            || rest.starts_with("'{'")
            || rest.starts_with("'}'")
        {
            rest[1..].find('\'').map_or(1, |end| end + 2) + usize::from(rest.starts_with("'\\'"))
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    out
}

/// Bytes of the ordinary string literal at the start of `text`, both quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// How many `#` the raw string at the start of `text` has; `None` when there is no raw string.
fn raw_string_hashes(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Names of the packages of the workspace with what their manifests list, development dependencies left out.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--locked", "--no-deps", "--format-version=1"])).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .filter(|d| d["kind"].as_str() != Some("dev"))
                .map(|d| d["name"].as_str().unwrap().to_owned())
                .collect();
            (package["name"].as_str().unwrap().to_owned(), dependencies)
        })
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every Rust file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn paths_and_comments_are_told_apart() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "use crate::{a, b::{c, d}};\n// crate::x\nlet s = \"crate::y\"; crate::e::f();\nr#\"crate::\"z\"#; '\"'; crate::g\n";
    fs::write(file.path(), text).unwrap();
    let code = code_of(file.path());
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(paths_from(&code, "crate").into_iter().collect::<Vec<_>>(), ["a", "b", "e", "g"]);
}
