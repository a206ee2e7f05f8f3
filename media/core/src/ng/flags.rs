//! The flags of offer and answer as one table: spelling, meaning, effect; and the keys, as another.
//!
//! Spaces and hyphens are the same in both; case counts.

use super::node::Node;
use crate::command::{
    AddressFamily, Dtls, Exchange, Ice, IceLite, MediaEcho, RtcpMux, Tos, TransportProtocol,
};

/// One flag.
pub(super) struct Flag {
    /// Its spelling, with hyphens.
    pub(super) name: &'static str,
    /// What it means here.
    #[cfg_attr(not(test), expect(dead_code, reason = "the table documents itself; a test reads it"))]
    pub(super) meaning: &'static str,
    effect: fn(&mut Exchange),
}

const fn flag(name: &'static str, meaning: &'static str, effect: fn(&mut Exchange)) -> Flag {
    Flag { name, meaning, effect }
}

/// Every flag that is known. One whose effect is empty names what this relay always does.
pub(super) const FLAGS: &[Flag] = &[
    flag("trust-address", "send to the address in the SDP", |it| it.flags.trust_address = true),
    flag("SIP-source-address", "a private address in the SDP gives way to the signalling's", |it| {
        it.flags.trust_address = false;
    }),
    flag("asymmetric", "do not learn the sender's address from its packets", |it| it.flags.asymmetric = true),
    flag("symmetric", "learn the sender's address from its packets: the default", |it| {
        it.flags.asymmetric = false
    }),
    flag("strict-source", "after learning, drop what comes from elsewhere: always so", |_| {}),
    flag("media-handover", "the address follows every packet of the sender", |it| it.manners.handover = true),
    flag("NAT-wait", "nothing is sent to the sender of the SDP before it has sent something", |it| {
        it.manners.wait = true;
    }),
    flag("pierce-NAT", "empty datagrams to the sender of the SDP until it sends something", |it| {
        it.manners.pierce = true;
    }),
    flag("passthrough", "datagrams of the ends pass as they are, keys and checks among them", |it| {
        it.passthrough = Some(true);
    }),
    flag("no-passthrough", "they do so no longer", |it| it.passthrough = Some(false)),
    flag("fragment", "further candidates of trickle ICE, and no description", |it| it.flags.fragment = true),
    flag("reject-ICE", "the sender is answered without ICE", |it| it.flags.reject_ice = true),
    flag("ICE-reject", "the same", |it| it.flags.reject_ice = true),
    flag("unidirectional", "what one end alone sends takes the fast way too: always so", |_| {}),
    flag("no-redis-update", "nothing is kept in Redis: always so", |_| {}),
    flag("port-latching", "our ports stay when the sender's change: the default with ICE", |it| {
        it.flags.port_latching = Some(true);
    }),
    flag(
        "no-port-latching",
        "other ports towards the receiver when the sender's change: the default without ICE",
        |it| {
            it.flags.port_latching = Some(false);
        },
    ),
    flag("WebRTC", "the receiver is a browser", |it| {
        it.transport_protocol = Some(TransportProtocol::UdpTlsRtpSavpf);
        it.ice = Some(Ice::Force);
    }),
    flag("trickle-ICE", "announce that later candidates are taken", |it| it.flags.trickle_ice = true),
    flag("generate-mid", "a=mid towards browsers: always so", |_| {}),
    flag("no-rtcp-attribute", "no a=rtcp line", |it| it.flags.no_rtcp_attribute = true),
    flag("full-rtcp-attribute", "a=rtcp with its address", |it| it.flags.full_rtcp_attribute = true),
    flag("original-sendrecv", "directions stand where the sender wrote them", |it| {
        it.flags.original_sendrecv = true;
    }),
    flag("allow-asymmetric-codecs", "map payload types between two numberings: always so", |_| {}),
    flag("no-tls-id", "no a=tls-id: always so", |_| {}),
    flag("strip-extmap", "no a=extmap towards the receiver", |it| it.flags.strip_extmap = true),
    flag("generate-RTCP", "reports of our own in place of those of the ends", |it| {
        it.flags.generate_rtcp = true
    }),
    flag("force", "rtpproxy's word; nothing to force here", |_| {}),
    flag("SDES-off", "no keys in the SDP", |it| it.sdes.off = true),
    flag("SDES-no", "the same", |it| it.sdes.off = true),
    flag("SDES-disable", "the same", |it| it.sdes.off = true),
    flag("SDES-pad", "keys with the padding of base64", |it| it.sdes.pad = true),
    flag("pad-crypto", "the same", |it| it.sdes.pad = true),
    flag("SDES-lifetime", "keys with |2^31", |it| it.sdes.lifetime = true),
    flag("SDES-nonew", "no suites besides those of the sender", |it| it.sdes.no_new = true),
    flag("SDES-unencrypted_srtp", "SRTP without encryption", |it| it.sdes.unencrypted_srtp = Some(true)),
    flag("SDES-encrypted_srtp", "none of that", |it| it.sdes.unencrypted_srtp = Some(false)),
    flag("SDES-unencrypted_srtcp", "SRTCP without encryption", |it| it.sdes.unencrypted_srtcp = Some(true)),
    flag("SDES-encrypted_srtcp", "none of that", |it| it.sdes.unencrypted_srtcp = Some(false)),
    flag("SDES-unauthenticated_srtp", "SRTP that anybody could have sent", |it| {
        it.sdes.unauthenticated_srtp = Some(true);
    }),
    flag("SDES-authenticated_srtp", "none of that", |it| it.sdes.unauthenticated_srtp = Some(false)),
    flag("SDES-static", "what was agreed with the offerer stays", |it| it.sdes.fixed = true),
    flag("OSRTP-offer", "SRTP under the name of plain RTP towards the receiver", |it| it.osrtp.offer = true),
    flag("OSRTP-accept", "accept it from the sender", |it| it.osrtp.accept = true),
    flag("inject-DTMF", "play DTMF is possible: always so", |_| {}),
    flag("record-call", "record the call", |it| it.record = Some(true)),
    flag("loop-protect", "mark the SDP, and leave one alone that has come round", |it| {
        it.flags.loop_protect = true;
    }),
    flag("always-transcode", "answer what the sender has, whatever the receiver takes", |it| {
        it.codec.accept.push("all".to_owned());
    }),
    flag("symmetric-codecs", "each end sends what it was answered: always so", |_| {}),
    flag("asymmetric-codecs", "each end may send another format: always so", |_| {}),
    flag("reorder-codecs", "formats stand in the order of preference: always so", |_| {}),
    flag("single-codec", "answer with the first format alone", |it| it.flags.single_codec = true),
    flag("allow-transcoding", "a subscriber may take other formats than its sources send", |it| {
        it.flags.allow_transcoding = true;
    }),
    flag("all", "a subscription hears all ends", |it| it.flags.all = true),
    flag("SIPREC", "a subscription's lines get a=label", |it| it.flags.siprec = true),
    flag("RTCP-mirror", "a subscriber's reports pass to its source", |it| it.flags.rtcp_mirror = true),
    flag("mirror-RTCP", "the same", |it| it.flags.rtcp_mirror = true),
    flag("egress", "a subscriber hears what passed the relay, not what is blocked: always so", |_| {}),
    flag("debug", "rtpengine logs more; here the log level decides", |_| {}),
    flag("early-media", "media passes before the answer as soon as its SDP is known: always so", |_| {}),
    flag("replace-origin", "our address in o=", |it| it.replace.origin = true),
    flag("replace-origin-full", "the whole o= line is ours", |it| it.replace.origin_full = true),
    flag("replace-username", "the user name in o= as the receiver had it first", |it| {
        it.replace.username = true
    }),
    flag("replace-session-name", "s= as the receiver had it first", |it| it.replace.session_name = true),
    flag("replace-SDP-version", "the version in o= rises when the body changes", |it| {
        it.replace.sdp_version = true
    }),
    flag("replace-sdp-version", "the same", |it| it.replace.sdp_version = true),
    flag("replace-force-increment-sdp-ver", "the version in o= rises every time", |it| {
        (it.replace.sdp_version, it.replace.force_increment_sdp_version) = (true, true);
    }),
    flag("replace-zero-address", "our address in place of 0.0.0.0", |it| it.replace.zero_address = true),
    flag("replace-session-connection", "our address in the session's c=", |it| {
        it.replace.session_connection = true;
    }),
    flag("rtcp-mux-offer", "offer rtcp-mux", |it| it.rtcp_mux.push(RtcpMux::Offer)),
    flag("rtcp-mux-require", "offer rtcp-mux with no fallback", |it| it.rtcp_mux.push(RtcpMux::Require)),
    flag("rtcp-mux-demux", "two ports towards the receiver", |it| it.rtcp_mux.push(RtcpMux::Demux)),
    flag("rtcp-mux-accept", "accept rtcp-mux towards the sender", |it| it.rtcp_mux.push(RtcpMux::Accept)),
    flag("rtcp-mux-reject", "refuse rtcp-mux towards the sender", |it| it.rtcp_mux.push(RtcpMux::Reject)),
    flag("bundle-accept", "the sender's BUNDLE is answered with one: always so with browsers", |it| {
        it.bundle.accept = true;
    }),
    flag("bundle-offer", "the receiver is offered BUNDLE: always so with browsers", |it| {
        it.bundle.offer = true
    }),
    flag("bundle-require", "its further lines are a=bundle-only", |it| it.bundle.require = true),
    flag("bundle-strict", "the same, with port 0", |it| {
        (it.bundle.require, it.bundle.strict) = (true, true);
    }),
    flag("bundle-reject", "no BUNDLE: a browser's further lines are refused", |it| it.bundle.reject = true),
    flag("ICE-remove", "no ICE towards the receiver", |it| it.ice = Some(Ice::Remove)),
    flag("ICE-force", "ICE of ours towards the receiver", |it| it.ice = Some(Ice::Force)),
    flag("RTP/AVP", "the m= protocol towards the receiver", |it| {
        it.transport_protocol = Some(TransportProtocol::RtpAvp)
    }),
    flag("RTP/AVPF", "the same", |it| it.transport_protocol = Some(TransportProtocol::RtpAvpf)),
    flag("RTP/SAVP", "the same", |it| it.transport_protocol = Some(TransportProtocol::RtpSavp)),
    flag("RTP/SAVPF", "the same", |it| it.transport_protocol = Some(TransportProtocol::RtpSavpf)),
    flag("UDP/TLS/RTP/SAVP", "the same", |it| it.transport_protocol = Some(TransportProtocol::UdpTlsRtpSavp)),
    flag("UDP/TLS/RTP/SAVPF", "the same", |it| {
        it.transport_protocol = Some(TransportProtocol::UdpTlsRtpSavpf)
    }),
];

/// What a flag with a value behind its prefix means.
struct Prefix {
    prefix: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the table documents itself; a test reads it"))]
    meaning: &'static str,
    effect: fn(&mut Exchange, String),
}

const fn prefix(prefix: &'static str, meaning: &'static str, effect: fn(&mut Exchange, String)) -> Prefix {
    Prefix { prefix, meaning, effect }
}

impl Prefix {
    fn longest(&self) -> usize {
        if self.prefix.ends_with(':') { MAX_LIST } else { MAX_VALUE }
    }
}

/// The lists of ng's dictionaries, as flags with prefixes. Longer prefixes come before those they begin with.
const PREFIXES: &[Prefix] = &[
    prefix("codec-strip-", "not offered to the receiver", |it, value| it.codec.strip.push(value)),
    prefix("codec-except-", "kept by strip or mask of all", |it, value| it.codec.except.push(value)),
    prefix("codec-offer-", "offered again after strip", |it, value| it.codec.offer.push(value)),
    prefix("codec-mask-", "not offered, but answered", |it, value| it.codec.mask.push(value)),
    prefix("codec-consume-", "not offered, and answered always", |it, value| it.codec.consume.push(value)),
    prefix("codec-accept-", "answered always", |it, value| it.codec.accept.push(value)),
    prefix("codec-set-", "bit rates of formats", |it, value| it.codec.set.push(value)),
    prefix("codec-transcode-", "offered by conversion", |it, value| it.codec.transcode.push(value)),
    prefix("transcode-", "the same", |it, value| it.codec.transcode.push(value)),
    prefix("from-tags-", "whom a subscription hears", |it, value| it.from_tags.push(value)),
    prefix("SDES-order:", "suites that come first, between semicolons", |it, value| {
        it.sdes.order = suites(&value);
    }),
    prefix("SDES-offerer_pref:", "the suites to answer the offerer with, best first", |it, value| {
        it.sdes.offerer_pref = suites(&value);
    }),
    prefix("SDES-no-", "this suite is not offered", |it, value| it.sdes.not.push(value)),
    prefix("SDES-only-", "no other suite is offered", |it, value| it.sdes.only.push(value)),
    prefix("DTLS-fingerprint-", "the hash function of a=fingerprint", |it, value| {
        it.dtls_fingerprint = Some(value.to_ascii_lowercase());
    }),
];

fn suites(list: &str) -> Vec<String> {
    list.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Values of one prefix kept of a message.
const MAX_VALUES: usize = 64;

/// The longest of them: the name of a format or suite, or a list of suites.
const MAX_VALUE: usize = 64;
const MAX_LIST: usize = 512;

/// Keys that rtpengine knows in more than one case.
const CASELESS_KEYS: [&str; 13] = [
    "BUNDLE",
    "DTLS",
    "DTLS-fingerprint",
    "DTLS-reverse",
    "ICE",
    "ICE-lite",
    "OSRTP",
    "SDES",
    "TOS",
    "generate-RTCP",
    "rtcp-mux",
    "sdp-attr",
    "xmlrpc-callback",
];

/// Keys whose value is read elsewhere or says nothing to this relay.
const OTHER_KEYS: [&str; 8] =
    ["call-id", "command", "from-tag", "from-tags", "sdp", "to-tag", "via-branch", "xmlrpc-callback"];

/// Applies one entry of an offer or answer; a warning where it has no effect.
pub(super) fn apply_key(exchange: &mut Exchange, key: &str, value: &Node<'_>) {
    let text = || value.text().unwrap_or_default().into_owned();
    match key_name(key).as_str() {
        "flags" => value.words().iter().for_each(|word| apply_flag(exchange, word)),
        // Whatever else a controller knows is nothing to us.
        "supports" => {
            exchange.knows_load_limit |= value.words().iter().any(|word| normal(word) == "load-limit");
        }
        "rtpp-flags" | "rtpp_flags" => apply_string(exchange, &text()),
        "replace" => apply_prefixed(exchange, "replace", value),
        "rtcp-mux" => apply_prefixed(exchange, "rtcp-mux", value),
        // A list, by rtpengine's manual: its users may have written other things that never had an effect.
        "SDES" if !matches!(value, Node::List(_)) => warn(exchange, "SDES is no list", &text()),
        "SDES" => apply_prefixed(exchange, "SDES", value),
        "OSRTP" => apply_prefixed(exchange, "OSRTP", value),
        "BUNDLE" => apply_prefixed(exchange, "bundle", value),
        "codec" => {
            for (list, words) in value.entries() {
                apply_prefixed(exchange, &format!("codec-{}", normal(&String::from_utf8_lossy(list))), words);
            }
        }
        "sdp-attr" => value.entries().iter().for_each(|(section, edits)| {
            apply_attributes(exchange, &String::from_utf8_lossy(section), edits);
        }),
        "media-echo" => match echo(&text()) {
            Some(echo) => exchange.media_echo = Some(echo),
            None => warn(exchange, "media-echo", &text()),
        },
        "ptime" => exchange.ptime = text().parse().ok().filter(|ms| (1..=1000).contains(ms)),
        "ptime-reverse" => exchange.ptime_reverse = text().parse().ok().filter(|ms| (1..=1000).contains(ms)),
        "delay-buffer" => match super::decode::delay_buffer(&text()) {
            Some(delay) => exchange.delay = Some(delay),
            None => warn(exchange, "delay-buffer", &text()),
        },
        "DTLS-fingerprint" => apply_flag(exchange, &format!("DTLS-fingerprint-{}", text())),
        "DTLS-reverse" => match role(&text()) {
            Some(role) => exchange.dtls_reverse = Some(role),
            None => warn(exchange, "DTLS-reverse", &text()),
        },
        "ICE-lite" => match text().as_str() {
            "off" | "no" => exchange.ice_lite = Some(IceLite::Off),
            "forward" | "offer" => exchange.ice_lite = Some(IceLite::Forward),
            "backward" | "backwards" | "reverse" => exchange.ice_lite = Some(IceLite::Backward),
            "both" => exchange.ice_lite = Some(IceLite::Both),
            other => warn(exchange, "ICE-lite", other),
        },
        "generate-RTCP" => match text().as_str() {
            "on" => exchange.flags.generate_rtcp = true,
            "off" => exchange.flags.generate_rtcp = false,
            other => warn(exchange, "generate-RTCP", other),
        },
        "record-call" => match text().as_str() {
            "on" | "yes" | "1" => exchange.record = Some(true),
            "off" | "no" | "0" => exchange.record = Some(false),
            other => warn(exchange, "record-call", other),
        },
        "metadata" => exchange.metadata = Some(text()),
        "transport-protocol" => apply_transport(exchange, &text()),
        "TOS" => {
            exchange.tos = match text().parse::<i64>() {
                Ok(..=-1) => Tos::Kept,
                Ok(value) => u8::try_from(value).map_or(Tos::Usual, Tos::Value),
                Err(_) => return warn(exchange, "TOS", &text()),
            }
        }
        "drop-traffic" => match text().as_str() {
            "start" => exchange.drop_traffic = Some(true),
            "stop" => exchange.drop_traffic = Some(false),
            other => warn(exchange, "drop-traffic", other),
        },
        "passthrough" => match text().as_str() {
            "on" | "yes" | "enable" => exchange.passthrough = Some(true),
            "off" | "no" | "disable" => exchange.passthrough = Some(false),
            other => warn(exchange, "passthrough", other),
        },
        "ICE" => match ice(&text()) {
            Some(ice) => exchange.ice = Some(ice),
            None => warn(exchange, "ICE", &text()),
        },
        "DTLS" => match role(&text()) {
            Some(role) => exchange.dtls = Some(role),
            None => warn(exchange, "DTLS", &text()),
        },
        _ => apply_address(exchange, key, value),
    }
}

fn apply_address(exchange: &mut Exchange, key: &str, value: &Node<'_>) {
    let text = || value.text().unwrap_or_default().into_owned();
    match key_name(key).as_str() {
        "address-family" => match text().as_str() {
            "IP4" => exchange.address_family = Some(AddressFamily::Ip4),
            "IP6" => exchange.address_family = Some(AddressFamily::Ip6),
            other => warn(exchange, key, other),
        },
        "media-address" => match text().parse() {
            Ok(address) => exchange.receiver.announce = Some(address),
            Err(_) => warn(exchange, key, &text()),
        },
        // `["IP4", "192.0.2.1"]`
        "received-from" => match value.words().last().and_then(|word| word.parse().ok()) {
            Some(address) => exchange.received_from = Some(address),
            None => warn(exchange, key, &text()),
        },
        "direction" => {
            let mut words = value.words().into_iter();
            exchange.sender.interface = words.next();
            exchange.receiver.interface = words.next();
        }
        "from-interface" => exchange.sender.interface = Some(text()),
        "to-interface" | "interface" => exchange.receiver.interface = Some(text()),
        "label" | "from-label" => exchange.sender.label = Some(text()),
        "to-label" | "set-label" => exchange.receiver.label = Some(text()),
        other if OTHER_KEYS.contains(&other) => {}
        _ => warn(exchange, key, ""),
    }
}

/// Applies one word of `flags`; a warning for one that is not known.
pub(super) fn apply_flag(exchange: &mut Exchange, word: &str) {
    let name = normal(word);
    if let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) {
        return (flag.effect)(exchange);
    }
    let valued = PREFIXES.iter().find_map(|it| Some((it, name.strip_prefix(it.prefix)?)));
    match valued {
        // The name of a format or suite is the word's own spelling.
        Some((it, value)) if value.len() <= it.longest() && exchange.values < MAX_VALUES => {
            exchange.values += 1;
            (it.effect)(exchange, value.to_owned());
        }
        Some(_) => warn(exchange, "flag", word),
        // rtpengine writes its abbreviations small as well.
        None => match FLAGS.iter().find(|flag| flag.name.eq_ignore_ascii_case(&name)) {
            Some(flag) => (flag.effect)(exchange),
            None => warn(exchange, "flag", word),
        },
    }
}

fn echo(text: &str) -> Option<MediaEcho> {
    Some(match text {
        "blackhole" | "sinkhole" => MediaEcho::Blackhole,
        "forward" | "fwd" | "fw" => MediaEcho::Forward,
        "backwards" | "backward" | "bkw" | "bk" => MediaEcho::Backwards,
        "both" => MediaEcho::Both,
        _ => return None,
    })
}

fn role(text: &str) -> Option<Dtls> {
    Some(match text {
        "off" | "no" | "disable" => Dtls::Off,
        "passive" => Dtls::Passive,
        "active" => Dtls::Active,
        _ => return None,
    })
}

/// The edits of one section of `sdp-attr`. What has a line end in it would be more than an attribute.
fn apply_attributes(exchange: &mut Exchange, section: &str, edits: &Node<'_>) {
    let harmless = |text: &str| !text.is_empty() && !text.contains(|letter: char| letter.is_control());
    for (what, list) in edits.entries() {
        let Node::List(nodes) = list else { continue };
        for node in nodes {
            let one = node.text().map(std::borrow::Cow::into_owned).filter(|text| harmless(text));
            let pair: Vec<String> = match node {
                Node::List(pair) => pair.iter().filter_map(Node::text).map(|it| it.into_owned()).collect(),
                _ => Vec::new(),
            };
            if exchange.values >= MAX_VALUES {
                return warn(exchange, "sdp-attr", section);
            }
            exchange.values += 1;
            let target = match section {
                "global" | "session" => &mut exchange.sdp_attr.global,
                "audio" => &mut exchange.sdp_attr.audio,
                "video" => &mut exchange.sdp_attr.video,
                _ => return warn(exchange, "sdp-attr", section),
            };
            match (what.as_ref(), one, pair.as_slice()) {
                (b"add", Some(text), _) => target.add.push(text),
                (b"remove", Some(text), _) => target.remove.push(text),
                (b"substitute", _, [from, to]) if harmless(from) && harmless(to) => {
                    target.substitute.push((from.clone(), to.clone()));
                }
                _ => warn(exchange, "sdp-attr", section),
            }
        }
    }
}

/// `replace: [origin]` is the flag `replace-origin`.
fn apply_prefixed(exchange: &mut Exchange, prefix: &str, value: &Node<'_>) {
    for word in value.words() {
        apply_flag(exchange, &format!("{prefix}-{word}"));
    }
}

fn apply_transport(exchange: &mut Exchange, text: &str) {
    match text {
        "accept" => exchange.transport_protocol = Some(TransportProtocol::Accept),
        text if text.contains('/') => apply_flag(exchange, text),
        other => warn(exchange, "transport-protocol", other),
    }
}

fn ice(text: &str) -> Option<Ice> {
    Some(match normal(text).as_str() {
        "remove" => Ice::Remove,
        "force" => Ice::Force,
        "default" => Ice::Default,
        "force-relay" | "force_relay" => Ice::ForceRelay,
        "optional" => Ice::Optional,
        _ => return None,
    })
}

/// The raw flag string of Kamailio's module: words, `key=value`, `key=[several words]`.
fn apply_string(exchange: &mut Exchange, text: &str) {
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = cut_word(rest);
        match word.split_once('=') {
            Some((key, value)) => {
                apply_key(exchange, key, &list(value, 0));
            }
            None => apply_flag(exchange, word),
        }
        rest = after.trim_start();
    }
}

/// A value of a flag string: `[several words]`, `[key=[words] key=word]`, or a word.
fn list(value: &str, depth: usize) -> Node<'_> {
    let inner = value.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
    let Some(mut rest) = inner.map(str::trim_start).filter(|_| depth < 4) else {
        return Node::Text(value.as_bytes().into());
    };
    let (mut entries, mut words) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (word, after) = cut_word(rest);
        match word.split_once('=') {
            Some((key, value)) => entries.push((key.as_bytes().into(), list(value, depth + 1))),
            None => words.push(Node::Text(word.as_bytes().into())),
        }
        rest = after.trim_start();
    }
    if entries.is_empty() { Node::List(words) } else { Node::Dictionary(entries) }
}

/// The next word; white space inside brackets does not end it.
fn cut_word(text: &str) -> (&str, &str) {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            _ if byte.is_ascii_whitespace() && depth == 0 => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

/// Spaces and hyphens are the same.
pub(super) fn normal(name: &str) -> String {
    name.trim().replace(' ', "-")
}

/// The name of a key, those of abbreviations in the case of [`CASELESS_KEYS`].
fn key_name(key: &str) -> String {
    let name = normal(key);
    let known = CASELESS_KEYS.iter().find(|known| known.eq_ignore_ascii_case(&name));
    known.map_or(name, |known| (*known).to_owned())
}

fn warn(exchange: &mut Exchange, what: &str, value: &str) {
    // A message can hold thousands of words; the controller has seen the point after a few.
    if exchange.warnings.len() < 16 {
        let text = format!("{what} {value}");
        let short: String = text.trim().chars().take(80).collect();
        exchange.warnings.push(format!("no effect here: {short}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Bundling, Sdes};

    #[test]
    fn every_flag_is_spelt_once_and_taken_without_a_warning() {
        for (at, flag) in FLAGS.iter().enumerate() {
            assert!(!flag.meaning.is_empty() && !flag.name.contains(' '));
            assert!(!FLAGS[..at].iter().any(|other| other.name == flag.name), "{} twice", flag.name);
            let mut exchange = Exchange::default();
            apply_flag(&mut exchange, &flag.name.replace('-', " "));
            assert_eq!(exchange.warnings, [""; 0], "{}", flag.name);
        }
    }

    #[test]
    fn wishes_for_the_packets_of_a_call() {
        let tos = |text: &str| {
            let mut exchange = Exchange::default();
            apply_string(&mut exchange, text);
            (exchange.tos, exchange.warnings.len())
        };
        for (text, expected) in [
            ("", (Tos::Usual, 0)),
            ("TOS=184", (Tos::Value(184), 0)),
            ("TOS=-1", (Tos::Kept, 0)),
            ("TOS=256", (Tos::Usual, 0)),
            ("TOS=EF", (Tos::Usual, 1)),
        ] {
            assert_eq!(tos(text), expected, "{text}");
        }
        for (text, dropped, passed, warnings) in [
            ("drop-traffic=start passthrough=on", Some(true), Some(true), 0),
            ("drop-traffic=stop no-passthrough", Some(false), Some(false), 0),
            ("drop-traffic=x passthrough=x ICE=optional", None, None, 2),
        ] {
            let mut exchange = Exchange::default();
            apply_string(&mut exchange, text);
            assert_eq!((exchange.drop_traffic, exchange.passthrough), (dropped, passed), "{text}");
            assert_eq!(exchange.warnings.len(), warnings, "{text}");
        }
    }

    #[test]
    fn lists_of_suites_and_what_is_written_small() {
        let mut exchange = Exchange::default();
        apply_string(
            &mut exchange,
            "sdes=[order:AES_256_CM_HMAC_SHA1_80;AES_CM_128_HMAC_SHA1_32; nonew] SDES-offerer_pref:NULL_HMAC_SHA1_80 \
             SDES-UNENCRYPTED_SRTCP SDES-encrypted_srtp \
             trickle-ice ice=optional BUNDLE=[accept strict] generate-rtcp=on nat-wait bundle-reject",
        );
        assert_eq!(exchange.warnings, [""; 0]);
        assert_eq!(exchange.sdes.order, ["AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]);
        assert_eq!(exchange.sdes.offerer_pref, ["NULL_HMAC_SHA1_80"]);
        let Sdes { unencrypted_srtp, unencrypted_srtcp, unauthenticated_srtp, .. } = exchange.sdes;
        assert_eq!(
            [unencrypted_srtp, unencrypted_srtcp, unauthenticated_srtp],
            [Some(false), Some(true), None]
        );
        assert!(exchange.sdes.no_new && exchange.flags.trickle_ice && exchange.flags.generate_rtcp);
        let Bundling { accept, offer, require, strict, reject } = exchange.bundle;
        assert_eq!([accept, offer, require, strict, reject], [true, false, true, true, true]);
        assert_eq!((exchange.ice, exchange.manners.wait), (Some(Ice::Optional), true));
        let long = format!("SDES-order:{}", "X;".repeat(MAX_LIST));
        apply_flag(&mut exchange, &long);
        assert_eq!((exchange.warnings.len(), exchange.sdes.order.len()), (1, 2));
    }

    /// Whatever a message repeats or contradicts, it is read once.
    #[test]
    fn floods_and_circles_of_wishes_end() {
        let mut exchange = Exchange::default();
        let flood = "replace-origin replace=[origin session-connection] replace-origin=[replace=[replace]] sdp-attr=[audio=[\
            substitute=[[a b] [b a] [a a]] remove=[a] add=[a a]]] codec=[strip=[all] offer=[all] except=[all] mask=[all]] ";
        apply_string(&mut exchange, &flood.repeat(2000));
        let edits = &exchange.sdp_attr.audio;
        let edits = edits.add.len() + edits.remove.len() + edits.substitute.len();
        assert!(exchange.replace.origin && edits <= MAX_VALUES && exchange.codec.strip.len() <= MAX_VALUES);
        assert!(exchange.warnings.len() <= 16);
        let deep = format!("codec={}{}", "[strip=".repeat(50_000), "]".repeat(50_000));
        apply_string(&mut exchange, &deep);
    }

    #[test]
    fn attributes_by_section() {
        let words = |words: &[&'static str]| {
            Node::List(words.iter().map(|word| Node::Text(word.as_bytes().into())).collect())
        };
        let key = |key: &'static str| std::borrow::Cow::Borrowed(key.as_bytes());
        let audio = Node::Dictionary(vec![
            (key("add"), words(&["x-one", "x-two:\r\nm=audio"])),
            (key("remove"), words(&["ptime:20"])),
            (key("substitute"), Node::List(vec![words(&["sendrecv", "sendonly"]), words(&["alone"])])),
        ]);
        let mut exchange = Exchange::default();
        let all = Node::Dictionary(vec![(key("audio"), audio.clone()), (key("moon"), audio)]);
        apply_key(&mut exchange, "sdp-attr", &all);
        let audio = &exchange.sdp_attr.audio;
        assert_eq!(
            (audio.add.as_slice(), audio.remove.as_slice()),
            (["x-one".to_owned()].as_slice(), ["ptime:20".to_owned()].as_slice())
        );
        assert_eq!(audio.substitute, [("sendrecv".to_owned(), "sendonly".to_owned())]);
        assert_eq!(exchange.warnings.len(), 3, "{:?}", exchange.warnings);
    }

    #[test]
    fn every_prefix_takes_its_value() {
        for it in PREFIXES {
            assert!(!it.meaning.is_empty());
            let (mut exchange, untouched) =
                (Exchange::default(), Exchange { values: 1, ..Exchange::default() });
            apply_flag(&mut exchange, &format!("{}X", it.prefix));
            assert!(exchange != untouched && exchange.warnings.is_empty(), "{}", it.prefix);
        }
        let mut exchange = Exchange::default();
        (0..10_000).for_each(|n| apply_flag(&mut exchange, &format!("codec-strip-{n}")));
        assert!(exchange.codec.strip.len() <= MAX_VALUES && exchange.warnings.len() <= 16);
    }

    #[test]
    fn the_flag_string_of_a_config_from_the_field() {
        let mut exchange = Exchange::default();
        let text = "force trust-address symmetric replace-origin replace-session-connection ICE=force RTP/SAVPF \
            label=callee rtcp-mux=[offer require] direction=[in out] codec=[transcode=[PCMA PCMU] strip=[EVS]] OSRTP=[accept]";
        apply_string(&mut exchange, text);
        assert!(exchange.flags.trust_address && exchange.replace.origin);
        assert_eq!(exchange.transport_protocol, Some(TransportProtocol::RtpSavpf));
        assert_eq!((exchange.ice, exchange.sender.label.as_deref()), (Some(Ice::Force), Some("callee")));
        assert_eq!(exchange.rtcp_mux, [RtcpMux::Offer, RtcpMux::Require]);
        assert_eq!(exchange.receiver.interface.as_deref(), Some("out"));
        assert_eq!(
            (exchange.codec.transcode.as_slice(), exchange.codec.strip.as_slice()),
            (["PCMA".to_owned(), "PCMU".to_owned()].as_slice(), ["EVS".to_owned()].as_slice())
        );
        assert!(exchange.osrtp.accept);
        assert_eq!(exchange.warnings, [""; 0]);
    }
}
