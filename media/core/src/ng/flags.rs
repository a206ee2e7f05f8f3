//! The flags of offer and answer as one table: spelling, meaning, effect; and the keys, as another.
//!
//! Spaces and hyphens are the same in both; case counts.

use super::node::Node;
use crate::command::{AddressFamily, Dtls, Exchange, Ice, RtcpMux, TransportProtocol};

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
    flag("port-latching", "the first packets after signalling teach: always so", |_| {}),
    flag("WebRTC", "the receiver is a browser", |it| {
        it.transport_protocol = Some(TransportProtocol::UdpTlsRtpSavpf);
        it.ice = Some(Ice::Force);
    }),
    flag("trickle-ICE", "announce that later candidates are taken", |it| it.flags.trickle_ice = true),
    flag("generate-mid", "a=mid towards browsers: always so", |_| {}),
    flag("no-rtcp-attribute", "no a=rtcp line", |it| it.flags.no_rtcp_attribute = true),
    flag("full-rtcp-attribute", "a=rtcp with its address", |it| it.flags.full_rtcp_attribute = true),
    flag("original-sendrecv", "directions as the sender wrote them: always so", |_| {}),
    flag("allow-asymmetric-codecs", "map payload types between two numberings: always so", |_| {}),
    flag("no-tls-id", "no a=tls-id: always so", |_| {}),
    flag("strip-extmap", "no header extensions towards plain RTP: always so", |_| {}),
    flag("generate-RTCP", "reports of our own on every leg: always so", |_| {}),
    flag("force", "rtpproxy's word; nothing to force here", |_| {}),
    flag("SDES-off", "no SDES towards the receiver: always so", |_| {}),
    flag("replace-origin", "our address in o=", |it| it.replace.origin = true),
    flag("replace-origin-full", "the whole o= line is ours", |it| it.replace.origin_full = true),
    flag("replace-username", "the user name in o= is -", |it| it.replace.username = true),
    flag("replace-session-name", "s=-", |it| it.replace.session_name = true),
    flag("replace-SDP-version", "the version in o= rises when the body changes", |it| {
        it.replace.sdp_version = true
    }),
    flag("replace-sdp-version", "the same", |it| it.replace.sdp_version = true),
    flag("replace-force-increment-sdp-ver", "the version in o= rises every time", |it| {
        (it.replace.sdp_version, it.replace.force_increment_sdp_version) = (true, true);
    }),
    flag("replace-zero-address", "our address in place of 0.0.0.0: always so", |_| {}),
    flag("replace-session-connection", "our address in the session's c=: always so", |_| {}),
    flag("rtcp-mux-offer", "offer rtcp-mux", |it| it.rtcp_mux.push(RtcpMux::Offer)),
    flag("rtcp-mux-require", "offer rtcp-mux with no fallback", |it| it.rtcp_mux.push(RtcpMux::Require)),
    flag("rtcp-mux-demux", "two ports towards the receiver", |it| it.rtcp_mux.push(RtcpMux::Demux)),
    flag("rtcp-mux-accept", "accept rtcp-mux towards the sender", |it| it.rtcp_mux.push(RtcpMux::Accept)),
    flag("rtcp-mux-reject", "refuse rtcp-mux towards the sender", |it| it.rtcp_mux.push(RtcpMux::Reject)),
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

/// Keys whose value is read elsewhere or says nothing to this relay.
const OTHER_KEYS: [&str; 11] = [
    "call-id",
    "command",
    "from-tag",
    "sdp",
    "supports",
    "to-tag",
    "via-branch",
    "drop-traffic",
    "xmlrpc-callback",
    "TOS",
    "metadata",
];

/// Applies one entry of an offer or answer; a warning where it has no effect.
pub(super) fn apply_key(exchange: &mut Exchange, key: &str, value: &Node<'_>) {
    let text = || value.text().unwrap_or_default().into_owned();
    match normal(key).as_str() {
        "flags" => value.words().iter().for_each(|word| apply_flag(exchange, word)),
        "rtpp-flags" | "rtpp_flags" => apply_string(exchange, &text()),
        "replace" => apply_prefixed(exchange, "replace", value),
        "rtcp-mux" | "RTCP-mux" => apply_prefixed(exchange, "rtcp-mux", value),
        "SDES" => apply_prefixed(exchange, "SDES", value),
        "transport-protocol" => apply_transport(exchange, &text()),
        "ICE" => match ice(&text()) {
            // The kind of the leg decides between the whole of ICE and none of it.
            Some(ice @ (Ice::ForceRelay | Ice::Optional)) => {
                exchange.ice = Some(ice);
                warn(exchange, "ICE", &text());
            }
            Some(ice) => exchange.ice = Some(ice),
            None => warn(exchange, "ICE", &text()),
        },
        "DTLS" => match text().as_str() {
            "off" | "no" | "disable" => exchange.dtls = Some(Dtls::Off),
            "passive" => exchange.dtls = Some(Dtls::Passive),
            "active" => exchange.dtls = Some(Dtls::Active),
            other => warn(exchange, "DTLS", other),
        },
        _ => apply_address(exchange, key, value),
    }
}

fn apply_address(exchange: &mut Exchange, key: &str, value: &Node<'_>) {
    let text = || value.text().unwrap_or_default().into_owned();
    match normal(key).as_str() {
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
    match FLAGS.iter().find(|flag| flag.name == name) {
        Some(flag) => (flag.effect)(exchange),
        None => warn(exchange, "flag", word),
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
                let value = value.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(value);
                apply_key(exchange, key, &Node::Text(value.as_bytes().into()));
            }
            None => apply_flag(exchange, word),
        }
        rest = after.trim_start();
    }
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
        assert_eq!(exchange.warnings, ["no effect here: codec", "no effect here: OSRTP"]);
    }
}
