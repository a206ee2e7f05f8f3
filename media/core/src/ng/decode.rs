//! Bytes → [`Command`].

use std::time::Duration;

use bytes::Bytes;

use super::flags::{apply_key, normal};
use super::gate::gate;
use super::node::Node;
use super::{DecodeError, Encoding, MAX_COOKIE, MAX_MESSAGE, Message, bencode, play};
use crate::command::{
    Cause, Command, Connect, Delete, Ends, Exchange, Failure, Forward, Gated, Query, Record, Recording,
    Unsubscribe,
};

/// Ends named by one subscription.
const MAX_TAGS: usize = 64;

/// What a message means where it does not say: settings of the whole relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The signalling's address goes before a private one in the SDP (`sip-source`).
    pub sip_source: bool,
    /// We are the DTLS server where we may choose (`dtls-passive`).
    pub dtls_passive: bool,
    /// `delete-delay`
    pub delete_delay: Duration,
}

/// Reads a request. A message that cannot be understood is an error that says how to answer it.
pub fn decode(message: &[u8]) -> Result<Message, DecodeError> {
    decode_with(message, &Defaults::default())
}

/// As [`decode`], with defaults of one's own.
pub fn decode_with(message: &[u8], defaults: &Defaults) -> Result<Message, DecodeError> {
    let end = memchr::memchr(b' ', message.get(..=MAX_COOKIE).unwrap_or(message));
    let (cookie, rest) = match end {
        Some(end) if end > 0 => {
            (message.get(..end).unwrap_or_default(), message.get(end + 1..).unwrap_or_default())
        }
        _ => return Err(DecodeError::NoCookie),
    };
    let cookie = cookie.to_vec();
    match decode_plain(rest, defaults) {
        Ok((command, encoding)) => Ok(Message { cookie, command, encoding }),
        Err((failure, encoding)) => Err(DecodeError::Refused { cookie, encoding, failure }),
    }
}

/// Reads a request without a cookie (`ng-plain`), and says how to answer it.
///
/// # Errors
/// What to answer to one that cannot be understood, and how.
pub fn decode_plain(message: &[u8], defaults: &Defaults) -> Result<(Command, Encoding), (Failure, Encoding)> {
    let encoding = match message.trim_ascii_start().first() {
        Some(b'{') => Encoding::Json,
        _ => Encoding::Bencode,
    };
    let command = read(message, encoding).and_then(|dictionary| command(&dictionary, defaults));
    let refused = |reason| (Failure { cause: Cause::Malformed, reason }, encoding);
    command.map(|command| (command, encoding)).map_err(refused)
}

fn read(bytes: &[u8], encoding: Encoding) -> Result<Node<'_>, String> {
    if bytes.len() > MAX_MESSAGE {
        return Err(format!("the message is longer than {MAX_MESSAGE} octets"));
    }
    let node = match encoding {
        Encoding::Bencode => bencode::decode(bytes).map_err(|error| error.to_string())?,
        Encoding::Json => serde_json::from_slice(bytes)
            .map_err(|error| format!("not JSON: line {} column {}", error.line(), error.column()))
            .map(Node::from_json)?
            .ok_or_else(|| "the message is null".to_owned())?,
    };
    match node {
        Node::Dictionary(_) => Ok(node),
        _ => Err("the message is no dictionary".to_owned()),
    }
}

fn command(dictionary: &Node<'_>, defaults: &Defaults) -> Result<Command, String> {
    let name = text(dictionary, "command")?.ok_or_else(|| missing("command"))?;
    Ok(match normal(&name).as_str() {
        "ping" => Command::Ping,
        "offer" => Command::Offer(Box::new(exchange(dictionary, defaults)?)),
        "answer" => {
            let exchange = exchange(dictionary, defaults)?;
            if exchange.to_tag.is_none() {
                return Err(missing("to-tag"));
            }
            Command::Answer(Box::new(exchange))
        }
        "publish" => Command::Publish(Box::new(exchange(dictionary, defaults)?)),
        "subscribe-request" => Command::SubscribeRequest(Box::new(subscription(dictionary, defaults)?)),
        "subscribe-answer" => Command::SubscribeAnswer(Box::new(subscribed(dictionary, defaults)?)),
        "unsubscribe" => Command::Unsubscribe(Unsubscribe {
            call_id: required(dictionary, "call-id")?,
            to_tag: required(dictionary, "to-tag")?,
            warnings: unknown_keys(dictionary, &["command", "call-id", "from-tag", "to-tag", "via-branch"]),
        }),
        "connect" => Command::Connect(Connect {
            call_id: required(dictionary, "call-id")?,
            from_tag: required(dictionary, "from-tag")?,
            to_tag: required(dictionary, "to-tag")?,
            warnings: unknown_keys(dictionary, &["command", "call-id", "from-tag", "to-tag", "via-branch"]),
        }),
        "delete" => Command::Delete(delete(dictionary, defaults)?),
        "query" => Command::Query(Query {
            call_id: required(dictionary, "call-id")?,
            from_tag: text(dictionary, "from-tag")?,
            to_tag: text(dictionary, "to-tag")?,
        }),
        "list" => {
            let limit = text(dictionary, "limit")?.and_then(|limit| limit.parse().ok());
            Command::List { limit: limit.unwrap_or(32) }
        }
        "statistics" => Command::Statistics,
        "block-DTMF" => Command::Gate(gate(dictionary, Gated::Dtmf, true)?),
        "unblock-DTMF" => Command::Gate(gate(dictionary, Gated::Dtmf, false)?),
        "block-media" => Command::Gate(gate(dictionary, Gated::Media, true)?),
        "unblock-media" => Command::Gate(gate(dictionary, Gated::Media, false)?),
        "silence-media" => Command::Gate(gate(dictionary, Gated::Sound, true)?),
        "unsilence-media" => Command::Gate(gate(dictionary, Gated::Sound, false)?),
        "play-media" => Command::Play(Box::new(play::play(dictionary)?)),
        "stop-media" => Command::StopMedia(play::stop(dictionary)?),
        "start-recording" => Command::Record(record(dictionary, Recording::Start)?),
        "pause-recording" => Command::Record(record(dictionary, Recording::Pause)?),
        "stop-recording" => Command::Record(record(dictionary, Recording::Stop)?),
        "start-forwarding" => Command::Forward(forward(dictionary, true)?),
        "stop-forwarding" => Command::Forward(forward(dictionary, false)?),
        "play-DTMF" => Command::PlayDtmf(play::dtmf(dictionary)?),
        _ => Command::NotImplemented { name: name.chars().take(64).collect() },
    })
}

fn exchange(dictionary: &Node<'_>, defaults: &Defaults) -> Result<Exchange, String> {
    if !matches!(find(dictionary, "sdp"), Some(Node::Text(_))) {
        return Err(missing("sdp"));
    }
    let exchange = wishes(dictionary, defaults)?;
    match exchange.from_tag.is_empty() {
        true => Err(missing("from-tag")),
        false => Ok(exchange),
    }
}

/// A subscribe request: it has no SDP, and names those to be heard in one of several ways.
fn subscription(dictionary: &Node<'_>, defaults: &Defaults) -> Result<Exchange, String> {
    let mut exchange = wishes(dictionary, defaults)?;
    if let Some(tags) = find(dictionary, "from-tags") {
        exchange.from_tags.extend(tags.words());
        exchange.from_tags.truncate(MAX_TAGS);
    }
    let named = exchange.flags.all
        || !exchange.from_tags.is_empty()
        || exchange.sender.label.is_some()
        || !exchange.from_tag.is_empty();
    match named {
        true => Ok(exchange),
        false => Err("the message names nobody: no from-tag, from-tags, label or all".to_owned()),
    }
}

/// A subscribe answer.
fn subscribed(dictionary: &Node<'_>, defaults: &Defaults) -> Result<Exchange, String> {
    if !matches!(find(dictionary, "sdp"), Some(Node::Text(_))) {
        return Err(missing("sdp"));
    }
    let exchange = wishes(dictionary, defaults)?;
    match exchange.to_tag {
        None => Err(missing("to-tag")),
        Some(_) => Ok(exchange),
    }
}

/// All that a message may say of an SDP, and the SDP where it has one.
fn wishes(dictionary: &Node<'_>, defaults: &Defaults) -> Result<Exchange, String> {
    let sdp = match find(dictionary, "sdp") {
        Some(Node::Text(sdp)) => Bytes::copy_from_slice(sdp),
        _ => Bytes::new(),
    };
    let mut exchange = Exchange {
        call_id: required(dictionary, "call-id")?,
        from_tag: text(dictionary, "from-tag")?.unwrap_or_default(),
        to_tag: text(dictionary, "to-tag")?,
        via_branch: text(dictionary, "via-branch")?,
        sdp,
        ..Exchange::default()
    };
    // rtpengine's default; SIP-source-address takes it back.
    exchange.flags.trust_address = !defaults.sip_source;
    exchange.dtls = defaults.dtls_passive.then_some(crate::command::Dtls::Passive);
    for (key, value) in dictionary.entries() {
        apply_key(&mut exchange, &String::from_utf8_lossy(key), value);
    }
    Ok(exchange)
}

fn delete(dictionary: &Node<'_>, defaults: &Defaults) -> Result<Delete, String> {
    let delay = text(dictionary, "delete-delay")?.and_then(|seconds| seconds.parse::<u32>().ok());
    let mut delete = Delete {
        call_id: required(dictionary, "call-id")?,
        from_tag: text(dictionary, "from-tag")?,
        to_tag: text(dictionary, "to-tag")?,
        via_branch: text(dictionary, "via-branch")?,
        delay: delay.map_or(defaults.delete_delay, |seconds| Duration::from_secs(seconds.into())),
        ..Delete::default()
    };
    for word in find(dictionary, "flags").map(Node::words).unwrap_or_default().iter().take(16) {
        match normal(word).as_str() {
            "fast" => delete.fast = true,
            _ => delete
                .warnings
                .push(format!("no effect here: flag {}", word.chars().take(64).collect::<String>())),
        }
    }
    Ok(delete)
}

/// Milliseconds up to ten seconds; more would be a call that nobody can hold.
pub(super) fn delay_buffer(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|ms| *ms <= 10_000).map(Duration::from_millis)
}

fn record(dictionary: &Node<'_>, what: Recording) -> Result<Record, String> {
    let (call_id, metadata) = (required(dictionary, "call-id")?, text(dictionary, "metadata")?);
    Ok(Record { call_id, what, metadata, warnings: unknown_keys(dictionary, &["metadata"]) })
}

fn forward(dictionary: &Node<'_>, on: bool) -> Result<Forward, String> {
    let flags = find(dictionary, "flags").map(Node::words).unwrap_or_default();
    Ok(Forward {
        ends: ends(dictionary)?,
        on,
        all: flags.iter().any(|flag| flag == "all"),
        metadata: text(dictionary, "metadata")?,
        warnings: unknown_keys(dictionary, &["metadata"]),
    })
}

/// The ends that a command means. With flag `all` the tag only says who asks.
pub(super) fn ends(dictionary: &Node<'_>) -> Result<Ends, String> {
    let call_id = required(dictionary, "call-id")?;
    let flags = find(dictionary, "flags").map(Node::words).unwrap_or_default();
    if flags.iter().any(|flag| flag == "all") {
        return Ok(Ends { call_id, ..Ends::default() });
    }
    let address = text(dictionary, "address")?.map(|address| address.parse()).transpose();
    Ok(Ends {
        call_id,
        from_tag: text(dictionary, "from-tag")?,
        label: text(dictionary, "label")?.or(text(dictionary, "from-label")?),
        address: address.map_err(|_| "address is no IP address".to_owned())?,
    })
}

/// A warning for each key that neither names ends nor is in `known`.
pub(super) fn unknown_keys(dictionary: &Node<'_>, known: &[&str]) -> Vec<String> {
    let always =
        ["command", "call-id", "from-tag", "from-label", "label", "address", "flags", "via-branch", "to-tag"];
    let keys = dictionary.entries().iter().take(32).map(|(key, _)| normal(&String::from_utf8_lossy(key)));
    let unknown = keys.filter(|key| !always.contains(&key.as_str()) && !known.contains(&key.as_str()));
    unknown.map(|key| format!("no effect here: {}", key.chars().take(64).collect::<String>())).collect()
}

pub(super) fn find<'n, 'a>(dictionary: &'n Node<'a>, key: &str) -> Option<&'n Node<'a>> {
    let same = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| normal(name) == key);
    dictionary.entries().iter().find(|(name, _)| same(name)).map(|(_, value)| value)
}

/// An optional text; empty is absent.
pub(super) fn text(dictionary: &Node<'_>, key: &str) -> Result<Option<String>, String> {
    let Some(node) = find(dictionary, key) else { return Ok(None) };
    let text = node.text().ok_or_else(|| format!("{key} is no text"))?.into_owned();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

pub(super) fn required(dictionary: &Node<'_>, key: &str) -> Result<String, String> {
    text(dictionary, key)?.ok_or_else(|| missing(key))
}

pub(super) fn missing(key: &str) -> String {
    format!("the message has no {key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Dtls, Ice, TransportProtocol};

    fn json(text: &str) -> Result<Command, DecodeError> {
        decode(format!("7_1 {text}").as_bytes()).map(|message| message.command)
    }

    #[test]
    fn both_encodings_say_the_same() {
        let json = json(
            r#"{"command":"offer","call-id":"c","from-tag":"a","sdp":"v=0\r\n","ICE":"force","via-branch":"b",
            "transport protocol":"UDP/TLS/RTP/SAVPF","flags":["trust address"],"DTLS":"passive","received from":["IP4","192.0.2.9"]}"#,
        );
        let bencode = b"7_1 d3:sdp5:v=0\r\n7:command5:offer7:call id1:c8:from-tag1:a3:ICE5:force10:via-branch1:b\
            18:transport-protocol17:UDP/TLS/RTP/SAVPF4:DTLS7:passive5:flagsl13:trust-addresse13:received-froml3:IP49:192.0.2.9ee";
        let message = decode(bencode).unwrap();
        assert_eq!((message.cookie.as_slice(), message.encoding), (b"7_1".as_slice(), Encoding::Bencode));
        assert_eq!(message.command, json.unwrap());
        let Command::Offer(offer) = message.command else { panic!("an offer") };
        assert_eq!((offer.ice, offer.dtls), (Some(Ice::Force), Some(Dtls::Passive)));
        assert_eq!(offer.transport_protocol, Some(TransportProtocol::UdpTlsRtpSavpf));
        assert_eq!(offer.received_from, Some("192.0.2.9".parse().unwrap()));
        assert_eq!(offer.warnings, [""; 0]);
    }

    #[test]
    fn forwarding() {
        let text = r#""call-id":"c","from-tag":"a","metadata":"m","moon":1"#;
        for (name, on) in [("start forwarding", true), ("stop-forwarding", false)] {
            let Command::Forward(forward) = json(&format!(r#"{{"command":"{name}",{text}}}"#)).unwrap()
            else {
                panic!("{name}")
            };
            assert_eq!((forward.on, forward.all, forward.ends.from_tag.as_deref()), (on, false, Some("a")));
            assert_eq!(forward.metadata.as_deref(), Some("m"));
            assert_eq!(forward.warnings, ["no effect here: moon"]);
            let all = json(&format!(r#"{{"command":"{name}",{text},"flags":["all"]}}"#));
            let Ok(Command::Forward(forward)) = all else { panic!("{name}") };
            assert_eq!((forward.all, forward.ends.from_tag), (true, None));
        }
    }

    #[test]
    fn commands() {
        assert_eq!(json(r#"{"command":"ping"}"#).unwrap(), Command::Ping);
        assert_eq!(json(r#"{"command":"list"}"#).unwrap(), Command::List { limit: 32 });
        assert_eq!(json(r#"{"command":"list","limit":5}"#).unwrap(), Command::List { limit: 5 });
        assert_eq!(json(r#"{"command":"statistics"}"#).unwrap(), Command::Statistics);
        for (name, what, closed) in [
            ("block DTMF", Gated::Dtmf, true),
            ("unblock-DTMF", Gated::Dtmf, false),
            ("block media", Gated::Media, true),
            ("silence media", Gated::Sound, true),
            ("unsilence media", Gated::Sound, false),
        ] {
            let Command::Gate(gate) =
                json(&format!(r#"{{"command":"{name}","call-id":"c","from-tag":"a","moon":"1"}}"#)).unwrap()
            else {
                panic!("{name}")
            };
            assert_eq!((gate.what, gate.closed, gate.from_tag.as_deref()), (what, Some(closed), Some("a")));
            assert_eq!(gate.warnings, ["no effect here: moon"]);
        }
        for name in ["mesh", "moon"] {
            let expected = Command::NotImplemented { name: name.to_owned() };
            assert_eq!(json(&format!(r#"{{"command":"{name}"}}"#)).unwrap(), expected);
        }
        let Command::Delete(delete) =
            json(r#"{"command":"delete","call-id":"c","flags":["fast","x"]}"#).unwrap()
        else {
            panic!("a delete")
        };
        assert_eq!((delete.fast, delete.warnings.len()), (true, 1));
    }

    #[test]
    fn subscriptions() {
        let Command::SubscribeRequest(it) = json(
            r#"{"command":"subscribe request","call-id":"c","from-tags":["a","b"],"flags":["from-tags-d","SIPREC",
            "RTCP mirror"],"set-label":"x","transport protocol":"RTP/SAVP"}"#,
        )
        .unwrap() else {
            panic!("a request")
        };
        assert_eq!(it.from_tags, ["d", "a", "b"]);
        assert!(it.flags.siprec && it.flags.rtcp_mirror && !it.flags.all && it.warnings.is_empty());
        assert_eq!((it.receiver.label.as_deref(), it.sdp.len()), (Some("x"), 0));
        for (text, reason) in [
            (r#"{"command":"subscribe request","call-id":"c"}"#, "names nobody"),
            (r#"{"command":"subscribe answer","call-id":"c","to-tag":"t"}"#, "has no sdp"),
            (r#"{"command":"subscribe answer","call-id":"c","sdp":"v=0"}"#, "has no to-tag"),
            (r#"{"command":"unsubscribe","call-id":"c"}"#, "has no to-tag"),
            (r#"{"command":"publish","call-id":"c","sdp":"v=0"}"#, "has no from-tag"),
            (r#"{"command":"connect","call-id":"c","from-tag":"a"}"#, "has no to-tag"),
        ] {
            assert!(
                matches!(json(text), Err(DecodeError::Refused { failure, .. }) if failure.reason.contains(reason))
            );
        }
    }

    #[test]
    fn recording() {
        for (name, what) in [
            ("start recording", Recording::Start),
            ("pause-recording", Recording::Pause),
            ("stop recording", Recording::Stop),
        ] {
            let text = format!(r#"{{"command":"{name}","call-id":"c","from-tag":"a","metadata":"m","x":1}}"#);
            let (metadata, warnings) = (Some("m".to_owned()), vec!["no effect here: x".to_owned()]);
            let record = Record { call_id: "c".to_owned(), what, metadata, warnings };
            assert_eq!(json(&text).unwrap(), Command::Record(record));
        }
        for (words, record) in [
            (r#""record call":"on""#, Some(true)),
            (r#""record-call":"no""#, Some(false)),
            (r#""flags":["record call"]"#, Some(true)),
            (r#""ptime":20"#, None),
        ] {
            let text = format!(
                r#"{{"command":"offer","call-id":"c","from-tag":"a","sdp":"v=0","metadata":"m",{words}}}"#
            );
            let Command::Offer(offer) = json(&text).unwrap() else { panic!("an offer") };
            assert_eq!((offer.record, offer.metadata.as_deref()), (record, Some("m")), "{words}");
        }
    }

    #[test]
    fn what_is_refused_keeps_its_cookie() {
        for (text, reason) in [
            ("{}", "the message has no command"),
            ("{", "not JSON: line 1 column 1"),
            ("[1]", "bencode has an unexpected octet at 0"),
            ("le", "the message is no dictionary"),
            (r#"{"command":"offer"}"#, "the message has no sdp"),
            (r#"{"command":"offer","sdp":"v=0"}"#, "the message has no call-id"),
            (r#"{"command":"answer","sdp":"v=0","call-id":"c","from-tag":"a"}"#, "the message has no to-tag"),
            (r#"{"command":["ping"]}"#, "command is no text"),
            ("", "bencode ends too early"),
        ] {
            match json(text) {
                Err(DecodeError::Refused { cookie, failure, .. }) => {
                    assert_eq!((cookie.as_slice(), failure.reason.as_str()), (b"7_1".as_slice(), reason));
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        for silent in ["", "cookie", " {}", &"x".repeat(300)] {
            assert_eq!(decode(silent.as_bytes()), Err(DecodeError::NoCookie));
        }
    }

    #[test]
    fn nothing_makes_it_panic() {
        let whole: [&[u8]; 2] = [
            b"c d7:command5:offer7:call-id1:c8:from-tag1:a3:sdp3:v=05:flagsl4:fasteICE5:forcee",
            br#"c {"command":"offer","call-id":"c","from-tag":"a","sdp":"v=0","rtpp-flags":"a=[b c] d=[[ e"}"#,
        ];
        for message in whole {
            for end in 0..message.len() {
                let _ = decode(&message[..end]);
            }
            for at in 0..message.len() {
                for byte in 0..=255 {
                    let mut changed = message.to_vec();
                    changed[at] = byte;
                    let _ = decode(&changed);
                }
            }
        }
        assert!(decode(format!("c {}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(decode(format!("c {{\"a\":{}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(decode(format!("c {}", "d".repeat(MAX_MESSAGE + 1)).as_bytes()).is_err());
    }
}
