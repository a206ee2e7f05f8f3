//! Every parser of network input gets thousands of inputs that nobody meant: the same ones at each run, in a minute for all.
//! A case that fails here goes as a file into `tests/fuzz/corpus`, and is given for ever after.

use e2e::fuzz::{TARGETS, corpus, smoke};

/// `FUZZ_SEED=2 cargo test …` gives other inputs than those of every day.
fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seed = std::env::var("FUZZ_SEED").map_or(1, |seed| seed.parse().expect("FUZZ_SEED is a number"));
    smoke(target, seed);
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
    sip_message sip_uri sip_alias sip_header sip_digest sip_framer websocket jsonrpc proxy dialogue sdp offer ng ng_stream datagram
    srtp rtcp
    telephone_event
}
