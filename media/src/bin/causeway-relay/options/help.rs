//! What is printed of the options: `--help` and the manual page.

use std::fmt::Write as _;

use super::declared::{OPTIONS, PRINTED, SUBSYSTEM};
use super::{Effect, Opt};

/// Every option, in the order in which they are shown.
fn all() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().chain([&SUBSYSTEM]).chain(PRINTED)
}

fn names(opt: &Opt) -> String {
    let short = opt.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let value = if opt.value.is_empty() { String::new() } else { format!("={}", opt.value) };
    format!("{short}--{}{value}", opt.long)
}

fn meaning(opt: &Opt) -> String {
    match opt.effect {
        Effect::Set(_) | Effect::Always => opt.meaning.to_owned(),
        Effect::Warn(reason) => format!("{} (no effect: {reason})", opt.meaning),
        Effect::Refuse(reason) => format!("{} (refused: {reason})", opt.meaning),
    }
}

/// What `--help` prints.
pub(super) fn help() -> String {
    let mut out =
        "Media relay for WebRTC browsers and SIP phones, controlled by rtpengine's ng protocol.\n\n\
        Usage: causeway-relay [OPTION…]\n\n"
            .to_owned();
    for opt in all() {
        let _ = writeln!(out, "  {:38} {}", names(opt), meaning(opt));
    }
    out
}

/// The manual page, for `man -l`.
pub(super) fn manual() -> String {
    let escape = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let mut out = format!(
        ".TH CAUSEWAY-RELAY 8 \"\" \"causeway {}\"\n.SH NAME\ncauseway\\-relay \\- media relay for WebRTC and SIP\n\
         .SH SYNOPSIS\n.B causeway\\-relay\n[OPTION...]\n.SH DESCRIPTION\nRelays media between WebRTC browsers and SIP phones, \
         controlled by the ng protocol of rtpengine. Options are also keys of the file that \\fB\\-\\-config\\-file\\fR names.\n\
         .SH OPTIONS\n",
        env!("CARGO_PKG_VERSION")
    );
    for opt in all() {
        let _ = writeln!(out, ".TP\n.B {}\n{}", escape(&names(opt)), escape(&meaning(opt)));
    }
    out
}
