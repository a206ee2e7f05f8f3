//! One entry per parser of network input. The smoke test of `make test` and the targets of cargo-fuzz in `tests/fuzz` run
//! the same functions: each takes any bytes, must not panic, and asserts what its parser promises.

pub mod control;
pub mod dialogue;
pub mod media;
pub mod mutate;
pub mod signaling;
pub mod transport;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::torture;

/// A parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its file in `tests/fuzz/fuzz_targets` and of its folder in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Whether its input is text.
    pub text: bool,
    /// Gives it an input.
    pub run: fn(&[u8]),
    /// Inputs of the smoke test, which has a minute for all.
    pub iterations: usize,
}

/// All of them.
pub const TARGETS: [Target; 24] = [
    Target { name: "sip_message", text: true, run: signaling::message, iterations: 12_000 },
    Target { name: "sip_uri", text: true, run: signaling::uri, iterations: 30_000 },
    Target { name: "sip_alias", text: true, run: signaling::alias, iterations: 20_000 },
    Target { name: "sip_header", text: true, run: signaling::header, iterations: 20_000 },
    Target { name: "sip_digest", text: true, run: signaling::digest, iterations: 20_000 },
    Target { name: "sip_framer", text: true, run: signaling::framer, iterations: 10_000 },
    Target { name: "websocket", text: false, run: causeway::transport::fuzz::websocket, iterations: 6_000 },
    Target { name: "http", text: true, run: causeway::transport::fuzz::http, iterations: 3_000 },
    Target {
        name: "proxy_protocol",
        text: false,
        run: causeway::transport::fuzz::proxy_protocol,
        iterations: 10_000,
    },
    Target { name: "jsonrpc", text: true, run: control::jsonrpc, iterations: 20_000 },
    Target { name: "proxy", text: true, run: signaling::proxy, iterations: 6_000 },
    Target { name: "dialogue", text: false, run: dialogue::dialogue, iterations: 800 },
    Target { name: "sdp", text: true, run: media::sdp, iterations: 12_000 },
    Target { name: "offer", text: true, run: media::offer, iterations: 4_000 },
    Target { name: "ng", text: true, run: media::ng, iterations: 20_000 },
    Target { name: "bencode", text: true, run: media::bencode, iterations: 10_000 },
    Target { name: "ng_stream", text: true, run: media::ng_stream, iterations: 6_000 },
    Target { name: "datagram", text: false, run: media::datagram, iterations: 8_000 },
    Target { name: "stun", text: false, run: transport::stun, iterations: 20_000 },
    Target { name: "dtls", text: false, run: transport::dtls, iterations: 400 },
    Target { name: "rtp", text: false, run: transport::rtp, iterations: 20_000 },
    Target { name: "srtp", text: false, run: media::srtp, iterations: 10_000 },
    Target { name: "rtcp", text: false, run: media::rtcp, iterations: 30_000 },
    Target { name: "telephone_event", text: false, run: media::telephone_event, iterations: 30_000 },
];

/// Where the inputs from which all others are made are kept.
#[must_use]
pub fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

/// The inputs from which all others of `target` are made.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = corpus(target.name);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
    if matches!(target.name, "sip_message" | "proxy") {
        // Whoever wrote these knew where to look.
        seeds.extend([torture::rfc4475(), torture::rfc5118()].concat().into_iter().map(|case| case.bytes));
    }
    assert!(!seeds.is_empty(), "{} has a corpus", target.name);
    seeds
}

/// Gives `target` each input of its corpus, then mutations of them: always the same, as all follows from `seed`.
///
/// # Panics
/// When the corpus cannot be read, and wherever the target does.
pub fn smoke(target: &Target, seed: u64) {
    let seeds = seeds(target);
    let mut rng = StdRng::seed_from_u64(seed);
    for input in &seeds {
        attempt(target, input);
    }
    for _ in 0..target.iterations {
        attempt(target, &mutate::mutated(&seeds, target.text, &mut rng));
    }
}

/// The same for as long as `time`; how many inputs that were.
///
/// # Panics
/// As [`smoke`].
pub fn run_for(target: &Target, seed: u64, time: Duration) -> u64 {
    let (seeds, mut rng) = (seeds(target), StdRng::seed_from_u64(seed));
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        attempt(target, &mutate::mutated(&seeds, target.text, &mut rng));
        count += 1;
    }
    count
}

/// Runs the target; a panic is told with the input that made it, to be kept as a file of the corpus.
fn attempt(target: &Target, input: &[u8]) {
    let run = std::panic::AssertUnwindSafe(|| (target.run)(input));
    if let Err(panic) = std::panic::catch_unwind(run) {
        let told = panic.downcast_ref::<String>().cloned();
        let told = told.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        panic!("{}: {}\ninput: {}", target.name, told.unwrap_or_default(), input.escape_ascii());
    }
}
