//! Every parser of network input gets thousands of inputs that nobody meant: the same ones at each run, in a minute for all.
//! A case that fails here goes as a file into `tests/fuzz/corpus`, and is given for ever after.

use std::time::Duration;

use e2e::fuzz::{TARGETS, corpus, run_for, smoke};

/// `FUZZ_SEED=2 cargo test …` gives other inputs than those of every day, and `FUZZ_SECONDS=60` as many as fit into a minute.
fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seed = std::env::var("FUZZ_SEED").map_or(1, |seed| seed.parse().expect("FUZZ_SEED is a number"));
    match std::env::var("FUZZ_SECONDS") {
        Ok(seconds) => {
            let time = Duration::from_secs(seconds.parse().expect("FUZZ_SECONDS is a number"));
            assert!(run_for(target, seed, time) > 0, "no input in {time:?}");
        }
        Err(_) => smoke(target, seed),
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        /// Every target has its test here, its file for cargo-fuzz, and its corpus.
        #[test]
        fn no_target_is_forgotten() {
            let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            names.sort_unstable();
            let mut here = vec![$(stringify!($name)),*];
            here.sort_unstable();
            assert_eq!(names, here);
            for name in names {
                let folder = corpus(name);
                let file = folder.join("../../fuzz_targets").join(format!("{name}.rs"));
                assert!(folder.is_dir() && file.is_file(), "{}", file.display());
            }
        }
    };
}

targets! {
    sip_message sip_uri sip_alias sip_header sip_digest sip_framer websocket http proxy_protocol jsonrpc proxy dialogue sdp offer ng bencode ng_stream
    datagram stun dtls rtp srtp rtcp telephone_event
}
