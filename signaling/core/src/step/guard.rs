//! Before the parser, and right after it: what is not even looked at.

use std::sync::LazyLock;

use bytes::Bytes;
use regex::bytes::{Regex, RegexBuilder};

use crate::event::{Event, Hostility};
use crate::flow::Flow;
use crate::message::{Name, Request};
use crate::settings::Secfilter;
use crate::sources::Admission;
use crate::step::listed::{self, Spared};
use crate::world::World;

/// Whether these bytes are worth parsing. What is refused here is counted and gets no answer, so that nobody can make us
/// work, or shout at a third party, with what is no SIP.
#[must_use]
pub fn admit(world: &World, flow: &Flow, bytes: &Bytes) -> bool {
    let mut stats = world.stats.borrow_mut();
    stats.received += 1;
    // Streams are not even accepted; one of before a reload may be there still.
    if world.acl.denies(flow.remote.ip()) {
        stats.denied += 1;
        return false;
    }
    // CRLF keep-alive (RFC 5626 §4.4.1); over streams the framing answers it.
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        stats.keepalives += 1;
        return false;
    }
    if bytes.len() > world.settings.limits.max_message_size {
        stats.oversized += 1;
        return false;
    }
    drop(stats);
    // Responses are to what we have asked; whatever else is one costs little.
    bytes.starts_with(b"SIP/2.0 ") || is_within_measure(world, flow, bytes)
}

/// Whether a request is dropped for what stands in it, before it costs more than its parsing: any answer would tell a scanner that
/// there is a server. Those of `pike.exempt` are let through.
#[must_use]
pub fn is_hostile(world: &World, flow: &Flow, request: &Request) -> bool {
    let ip = flow.remote.ip().to_canonical();
    let found = match listed::look_up(world, flow, request) {
        Ok(Spared::All) => None,
        Ok(spared) => hostility(&world.settings.secfilter, request, spared == Spared::Agent),
        Err(listed) => Some(listed),
    };
    let Some((why, mut value)) = found else { return false };
    if world.settings.pike.exempt.iter().any(|network| network.contains(ip)) {
        return false;
    }
    world.stats.borrow_mut().scanners += u64::from(why == Hostility::Scanner);
    world.stats.borrow_mut().injections += u64::from(why == Hostility::SqlInjection);
    value.truncate(value.floor_char_boundary(128));
    world.tell(Event::Dropped {
        source: flow.remote,
        method: request.method().to_string(),
        call_id: request.call_id().to_owned(),
        why,
        value,
    });
    true
}

/// What is wrong with a request, and the value that tells it. A `known` User-Agent is none of a scanner.
fn hostility(secfilter: &Secfilter, request: &Request, known: bool) -> Option<(Hostility, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let agent = request.raw(Name::UserAgent);
    if let Some(agent) = agent.filter(|agent| !known && secfilter.user_agents.are_in(agent)) {
        return Some((Hostility::Scanner, text(agent)));
    }
    if !secfilter.sqli {
        return None;
    }
    let headers = [Name::From, Name::To, Name::Contact].into_iter().flat_map(|name| request.raw_all(name));
    let mut values = headers.chain(agent).chain([request.uri_text().as_bytes()]);
    values.find(|value| is_injection(value)).map(|value| (Hostility::SqlInjection, text(value)))
}

/// SQL that follows the end of a quoted value. A quote alone is nothing: people are called O'Brien.
fn is_injection(value: &[u8]) -> bool {
    /// Blanks as they stand in headers and in URIs, and comments in place of them.
    const GAP: &str = r"(?:\s|\+|%20|%09|/\*.*?\*/)";
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        let quote = "(?:'|%27)";
        let pattern = [
            // ' or 1=1
            format!(r"{quote}{GAP}*(?:\){GAP}*)*(?:or|and|\|\||&&)(?:{GAP}|['(%])[^>;]*(?:=|%3d|<|\blike\b)"),
            // ' union select
            format!(r"{quote}.*(?:\b|%20|%09)union{GAP}+(?:all{GAP}+)?select\b"),
            // '; drop table
            format!(
                r"{quote}.*(?:;|%3b){GAP}*(?:drop|insert|update|delete|alter|truncate|create|exec|execute){GAP}"
            ),
            // admin'--
            format!(r"{quote}{GAP}*(?:\){GAP}*)*(?:--|#|%23|/\*)"),
            // ' and sleep(5)
            format!(
                r"{quote}.*(?:\b|%20|%09)(?:sleep|pg_sleep|benchmark|load_file|xp_cmdshell)(?:{GAP})*(?:\(|%28)"
            ),
        ];
        let pattern = RegexBuilder::new(&pattern.join("|")).unicode(false).case_insensitive(true).build();
        // It is the same in every process, and tested: nothing from the network is in it.
        pattern.expect("a pattern of this file")
    });
    memchr::memchr2(b'\'', b'%', value).is_some() && PATTERN.is_match(value)
}

/// Whether its source sends no more than it may. A STUN request counts too: its answer is larger than itself, and its source may
/// be forged.
fn is_within_measure(world: &World, flow: &Flow, bytes: &Bytes) -> bool {
    let ours = || world.settings.listeners.iter().any(|listener| listener.addr.ip() == flow.remote.ip());
    let admission = world.sources.admit(&world.settings.pike, world.now(), flow.remote);
    if admission == Admission::Pass || ours() {
        return true;
    }
    world.stats.borrow_mut().flooded += 1;
    let word = bytes.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
    let method = || String::from_utf8_lossy(&word[..word.len().min(32)]).into_owned();
    match admission {
        Admission::Pass | Admission::Drop => {}
        Admission::Ban => {
            let ban = world.settings.pike.ban;
            world.tell(Event::Flooded { source: flow.remote, method: method(), ban });
        }
        Admission::Slow(user) => {
            world.tell(Event::UserFlooded { source: flow.remote, method: method(), user: user.to_string() });
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_is_told_from_names() {
        for attack in [
            "sip:a'%20or%201=1--@sip.example",
            "\"' OR '1'='1\" <sip:a@b>",
            "<sip:100' union select password from subscriber@b>;tag=1",
            "sip:a%27%20UNION%20ALL%20SELECT%20ha1@b",
            "<sip:bob'; DROP TABLE subscriber;--@b>",
            "admin'--",
            "x') and sleep(5)#",
            "sip:1'/**/or/**/1=1@b",
        ] {
            assert!(is_injection(attack.as_bytes()), "{attack}");
        }
        for name in [
            "\"Conan O'Brien\" <sip:o'brien@sip.example>;tag=a",
            "<sip:%27quoted%27@sip.example>",
            "\"Rock 'n' Roll and more\" <sip:a@b;transport=tcp>;expires=60",
            "sip:union.select@b",
            "sip:a%20b@c",
            "O'Reilly Phone/1.0 (update; drop=no)",
            "\"D'or\" <sip:dor@b>;tag=x",
        ] {
            assert!(!is_injection(name.as_bytes()), "{name}");
        }
    }
}
