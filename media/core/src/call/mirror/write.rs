//! Writes the description of one end for the other: its lines in their order, with what speaks of transports, formats and
//! directions taken out and written anew at the end of each section.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Mirror;
use super::line::Passing;
use crate::call::compose::{address_words, keep, push, text};
use crate::call::plan::{LocalIce, LocalLeg};
use crate::command::{AttributeEdits, Exchange, Replace};
use crate::sdp::{
    Candidate, Codec, Crypto, Description, Direction, Fingerprint, Line, Media, MediaType, Origin, Setup,
};

/// Attributes that are replaced in an m= section whose media passes through the relay.
const REPLACED: [&str; 20] = [
    "candidate",
    "crypto",
    "end-of-candidates",
    "fingerprint",
    "fmtp",
    "ice-lite",
    "ice-options",
    "ice-pwd",
    "ice-ufrag",
    "mid",
    "ptime",
    "remote-candidates",
    "rtcp",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp-mux-only",
    "rtpmap",
    "setup",
    "tls-id",
    "zrtp-hash",
];

/// Attributes of the session that speak of a far transport.
const REPLACED_IN_SESSION: [&str; 8] =
    ["candidate", "fingerprint", "ice-lite", "ice-options", "ice-pwd", "ice-ufrag", "setup", "tls-id"];

/// One m= section to be written.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// Nothing of it is ours: it passes as it is.
    pub(super) is_untouched: bool,
    /// Media passes.
    pub(super) is_active: bool,
    /// It has formats and RTCP.
    pub(super) is_rtp: bool,
    /// It was not refused by the one who wrote it, but cannot be relayed.
    pub(super) is_lost: bool,
    /// Of a refused line, where it is not the source's.
    pub(super) format: Option<String>,
    pub(super) protocol: String,
    pub(super) port: u16,
    pub(super) rtcp_port: Option<u16>,
    pub(super) mux: bool,
    /// RTCP has no port of its own.
    pub(super) one_port: bool,
    pub(super) mid: Option<String>,
    pub(super) ptime: Option<u16>,
    pub(super) direction: Direction,
    pub(super) codecs: Vec<Codec>,
    pub(super) crypto: Vec<Crypto>,
    pub(super) dtls: Option<(Setup, Fingerprint)>,
    pub(super) ice: Option<LocalIce>,
    /// The ends deal with each other, and the relay is a further way.
    pub(super) passing: Option<Passing>,
    /// Ours, of such a line.
    pub(super) candidates: Vec<Candidate>,
}

impl Section {
    /// One that passes as it is.
    pub(super) fn untouched() -> Self {
        Self {
            is_untouched: true,
            is_active: false,
            is_rtp: false,
            is_lost: false,
            format: None,
            protocol: String::new(),
            port: 0,
            rtcp_port: None,
            mux: false,
            one_port: false,
            mid: None,
            ptime: None,
            direction: Direction::default(),
            codecs: Vec::new(),
            crypto: Vec::new(),
            dtls: None,
            ice: None,
            passing: None,
            candidates: Vec::new(),
        }
    }

    /// One with port 0.
    pub(super) fn refused(mid: Option<String>) -> Self {
        Self { is_untouched: false, mid, ..Self::untouched() }
    }
}

/// What an `o=` line says before and behind the version, and the version of the sender.
struct Said {
    before: String,
    version: String,
    after: String,
}

/// Where an `o=` line belongs.
struct Place {
    at: usize,
    origin: Said,
}

/// See the module.
pub(super) struct Writer<'a> {
    pub(super) source: &'a Description,
    pub(super) exchange: &'a Exchange,
    pub(super) local: &'a LocalLeg,
    pub(super) sections: &'a [Section],
    /// We are a lite ICE agent towards the end.
    pub(super) lite: bool,
    /// Of ng `loop protect`.
    pub(super) mark: Option<String>,
}

impl Writer<'_> {
    /// The whole description. What the end has got so far decides the version and the names that stay.
    pub(super) fn write(&self, known: &mut Mirror) -> Vec<u8> {
        let mut body = Vec::with_capacity(2048);
        let mut origins = vec![Place { at: 0, origin: self.origin(known, self.source.origin.as_ref()) }];
        self.session(&mut body, self.source.sdp.session(), known);
        edit(&mut body, 0, &self.exchange.sdp_attr.global);
        for (index, section) in self.sections.iter().enumerate() {
            let from = body.len();
            self.section(&mut body, index, section);
            if let Some(edits) = self.edits(index, section) {
                edit(&mut body, from, edits);
            }
            self.session_behind(&mut body, index, known, &mut origins);
        }
        let version = self.version(known, &origins, &body);
        let mut out = b"v=0\r\n".to_vec();
        let mut written = 0;
        for Place { at, origin } in &origins {
            out.extend_from_slice(body.get(written..*at).unwrap_or_default());
            written = *at;
            let version = if self.counts() { &version } else { &origin.version };
            text(&mut out, &format!("o={} {version} {}", origin.before, origin.after));
        }
        out.extend_from_slice(body.get(written..).unwrap_or_default());
        out
    }

    /// Whether the version in `o=` is ours.
    fn counts(&self) -> bool {
        self.replace().sdp_version || self.replace().origin_full || self.source.origin.is_none()
    }

    /// Our version of a description: another than before where it is another description.
    fn version(&self, known: &mut Mirror, origins: &[Place], body: &[u8]) -> String {
        let names = origins.iter().flat_map(|it| [it.origin.before.as_bytes(), it.origin.after.as_bytes()]);
        let whole = names.chain([body]).collect::<Vec<_>>().concat();
        let first = self.source.origin.as_ref().and_then(|origin| origin.version.parse().ok());
        let version = known.version.get_or_insert(first.unwrap_or(self.local.session_id));
        if (!known.body.is_empty() && known.body != whole) || self.replace().force_increment_sdp_version {
            *version = version.wrapping_add(1);
        }
        known.body = whole;
        version.to_string()
    }

    /// What the controller wants changed in a section.
    fn edits(&self, index: usize, section: &Section) -> Option<&AttributeEdits> {
        match self.source.media.get(index)?.media_type {
            _ if section.is_untouched => None,
            MediaType::Audio => Some(&self.exchange.sdp_attr.audio),
            MediaType::Video => Some(&self.exchange.sdp_attr.video),
            MediaType::Other => None,
        }
    }

    /// The beginning of a further session behind a section.
    fn session_behind(&self, out: &mut Vec<u8>, index: usize, known: &mut Mirror, origins: &mut Vec<Place>) {
        let sdp = &self.source.sdp;
        if sdp.session_behind(index).next().is_none() {
            return;
        }
        let line = sdp.session_behind(index).find(|line| line.kind == b'o');
        let origin = line.and_then(|line| Origin::parse(line.text()?));
        text(out, "v=0");
        origins.push(Place { at: out.len(), origin: self.origin(known, origin.as_ref()) });
        self.session(out, sdp.session_behind(index), known);
    }

    fn replace(&self) -> Replace {
        self.exchange.replace
    }

    /// The ends deal with each other on some line.
    fn passes(&self) -> bool {
        self.sections.iter().any(|section| section.passing.is_some())
    }

    /// What the ends wrote of addresses stays.
    fn relays(&self) -> bool {
        self.sections.iter().any(|section| section.passing == Some(Passing::Relay))
    }

    /// What an `o=` line says.
    fn origin(&self, known: &mut Mirror, origin: Option<&Origin>) -> Said {
        let own = format!("IN {}", address_words(self.local.address));
        let Some(origin) = origin.filter(|_| !self.replace().origin_full) else {
            let before = format!("- {}", self.local.session_id);
            return Said { before, version: self.local.session_id.to_string(), after: own };
        };
        let first = known.username.get_or_insert_with(|| origin.username.clone());
        let username = if self.replace().username { first.as_str() } else { origin.username.as_str() };
        let after =
            if self.replace().origin && !self.relays() { own } else { format!("IN {}", origin.address) };
        Said { before: format!("{username} {}", origin.session_id), version: origin.version.clone(), after }
    }

    fn session<'s>(&self, out: &mut Vec<u8>, lines: impl Iterator<Item = Line<'s>>, known: &mut Mirror) {
        let without = (0..self.source.media.len())
            .any(|index| !self.source.sdp.media(index).any(|line| line.kind == b'c'));
        let passes = self.sections.iter().any(|section| section.is_active);
        for line in lines {
            match line.kind {
                b'v' | b'o' => {}
                b's' => {
                    let first = known.session_name.get_or_insert_with(|| line.value.to_vec());
                    let value = if self.replace().session_name { first.as_slice() } else { line.value };
                    keep(out, Line { kind: b's', value });
                }
                b'c' if passes && !self.relays() && (without || self.replace().session_connection) => {
                    self.connection(out, line, self.source.media.first());
                }
                b'a' if self.is_session_replaced(&line) => {}
                _ => keep(out, line),
            }
        }
        self.mark.iter().for_each(|mark| text(out, &format!("a=rtpengine:{mark}")));
        if self.lite {
            text(out, "a=ice-lite");
        }
    }

    fn is_session_replaced(&self, line: &Line<'_>) -> bool {
        let Some(name) = line.attribute_name() else { return false };
        if self.passes() {
            return name == "rtpengine" && self.mark.is_some();
        }
        let bundle = || line.attribute().is_some_and(|(_, value)| value.starts_with("BUNDLE"));
        REPLACED_IN_SESSION.contains(&name)
            || (name == "extmap" && self.exchange.flags.strip_extmap)
            || (Direction::parse(name).is_some() && !self.exchange.flags.original_sendrecv)
            || (name == "group" && bundle())
            || (name == "rtpengine" && self.mark.is_some())
    }

    /// `c=`: ours, but a hold by zeros stays one.
    fn connection(&self, out: &mut Vec<u8>, line: Line<'_>, media: Option<&Media>) {
        let zeros = line.text().and_then(|text| text.split_ascii_whitespace().nth(2)?.parse().ok());
        let hold = zeros.is_some_and(|address: IpAddr| address.is_unspecified())
            && media.is_none_or(|media| media.ice.is_none());
        let address = match (hold && !self.replace().zero_address, self.local.address) {
            (false, address) => address,
            (true, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (true, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        text(out, &format!("c=IN {}", address_words(address)));
    }

    fn section(&self, out: &mut Vec<u8>, index: usize, section: &Section) {
        let Some(media) = self.source.media.get(index) else { return };
        let mut lines = self.source.sdp.media(index);
        let Some(m_line) = lines.next() else { return };
        if section.is_untouched {
            return self.untouched(out, index, m_line);
        }
        self.m_line(out, media, m_line, section);
        for line in lines {
            match line.kind {
                b'c' if section.passing != Some(Passing::Relay) => self.connection(out, line, Some(media)),
                b'a' if self.is_replaced(&line, section) => {}
                _ => keep(out, line),
            }
        }
        section.mid.iter().for_each(|mid| text(out, &format!("a=mid:{mid}")));
        if section.is_active {
            self.own_lines(out, section);
        }
    }

    /// A section of another transport, which the relay has no part in: with the address that the session had for it.
    fn untouched(&self, out: &mut Vec<u8>, index: usize, m_line: Line<'_>) {
        keep(out, m_line);
        let mut lines = self.source.sdp.media(index).skip(1).peekable();
        while let Some(line) = lines.next_if(|line| line.kind == b'i') {
            keep(out, line);
        }
        let has = self.source.sdp.media(index).any(|line| line.kind == b'c');
        if !has && self.source.media.get(index).is_some_and(|media| media.port != 0) {
            self.source.sdp.session().filter(|line| line.kind == b'c').for_each(|line| keep(out, line));
        }
        lines.for_each(|line| keep(out, line));
    }

    fn m_line(&self, out: &mut Vec<u8>, media: &Media, line: Line<'_>, section: &Section) {
        let word = &media.media_word;
        if section.passing == Some(Passing::Relay) {
            return keep(out, line);
        }
        if section.is_active {
            let mut m_line = format!("m={word} {} {}", section.port, section.protocol);
            match section.is_rtp && !section.codecs.is_empty() {
                true => section
                    .codecs
                    .iter()
                    .for_each(|it| push(&mut m_line, format_args!(" {}", it.payload_type))),
                false => media.formats.iter().for_each(|it| push(&mut m_line, format_args!(" {it}"))),
            }
            return text(out, &m_line);
        }
        match &section.format {
            Some(format) => text(out, &format!("m={word} 0 {} {format}", media.protocol)),
            None if section.is_lost => {
                text(out, &format!("m={word} 0 {} {}", media.protocol, media.formats.join(" ")));
            }
            None => keep(out, line),
        }
    }

    fn is_replaced(&self, line: &Line<'_>, section: &Section) -> bool {
        let Some((name, value)) = line.attribute() else { return false };
        if Direction::parse(name).is_some() {
            return !self.exchange.flags.original_sendrecv;
        }
        if let Some(passing) = section.passing {
            return is_replaced_beside(passing, name, value);
        }
        match name {
            // For all formats: it stays true whatever they are.
            "rtcp-fb" => !value.starts_with('*'),
            "extmap" => self.exchange.flags.strip_extmap,
            "ptime" => section.is_active && section.is_rtp,
            _ => REPLACED.contains(&name),
        }
    }

    fn own_lines(&self, out: &mut Vec<u8>, section: &Section) {
        for codec in section.codecs.iter().filter(|_| section.is_rtp) {
            let number = codec.payload_type;
            text(out, &format!("a=rtpmap:{}", codec.rtpmap()));
            codec.fmtp.iter().for_each(|fmtp| text(out, &format!("a=fmtp:{number} {fmtp}")));
            codec.feedback.iter().for_each(|what| text(out, &format!("a=rtcp-fb:{number} {what}")));
        }
        if !self.exchange.flags.original_sendrecv {
            text(out, &format!("a={}", section.direction.as_str()));
        }
        // Towards a relay the ends' own lines say it; an answer says what became of it.
        if section.is_rtp && (section.passing != Some(Passing::Relay) || section.one_port) {
            self.rtcp(out, section);
        }
        section.crypto.iter().for_each(|crypto| text(out, &format!("a=crypto:{crypto}")));
        if let Some((setup, print)) = &section.dtls {
            text(out, &format!("a=setup:{setup}\r\na=fingerprint:{print}"));
        }
        section.ptime.iter().filter(|_| section.is_rtp).for_each(|ms| text(out, &format!("a=ptime:{ms}")));
        if let Some(ice) = &section.ice {
            self.ice(out, section, ice);
        }
        candidates(out, section, &section.candidates);
    }

    fn rtcp(&self, out: &mut Vec<u8>, section: &Section) {
        let flags = self.exchange.flags;
        if let Some(port) = section.rtcp_port.filter(|_| !flags.no_rtcp_attribute) {
            match flags.full_rtcp_attribute {
                true => text(out, &format!("a=rtcp:{port} IN {}", address_words(self.local.address))),
                false => text(out, &format!("a=rtcp:{port}")),
            }
        }
        if section.mux {
            text(out, "a=rtcp-mux");
        }
    }

    fn ice(&self, out: &mut Vec<u8>, section: &Section, ice: &LocalIce) {
        text(out, &format!("a=ice-ufrag:{}\r\na=ice-pwd:{}", ice.ufrag, ice.pwd));
        if self.exchange.flags.trickle_ice {
            text(out, "a=ice-options:trickle");
        }
        candidates(out, section, &ice.candidates);
        if self.exchange.flags.trickle_ice {
            text(out, "a=end-of-candidates");
        }
    }
}

/// Whether an attribute gives way in a section whose ends deal with each other: what we write of formats and directions
/// ourselves, and ways past us where we are to be the only relay.
fn is_replaced_beside(passing: Passing, name: &str, value: &str) -> bool {
    let is_relay = passing == Passing::Relay;
    match name {
        "rtpmap" | "fmtp" | "mid" | "ptime" => true,
        "rtcp-fb" => !value.starts_with('*'),
        "rtcp" | "rtcp-mux" | "rtcp-mux-only" => !is_relay,
        "candidate" => is_relay && value.split_ascii_whitespace().any(|word| word == "relay"),
        _ => false,
    }
}

fn candidates(out: &mut Vec<u8>, section: &Section, all: &[Candidate]) {
    for it in all.iter().filter(|it| it.component == 1 || !section.one_port) {
        let Candidate { foundation, component, priority, address, port, .. } = it;
        // RFC 8839 §5.1: a relayed candidate says where it is relayed from.
        let kind = match section.passing {
            Some(Passing::Relay) => format!("relay raddr {address} rport {port}"),
            _ => "host".to_owned(),
        };
        text(
            out,
            &format!("a=candidate:{foundation} {component} UDP {priority} {address} {port} typ {kind}"),
        );
    }
}

/// Applies edits to the attributes of what was written from `from` on; each line is looked at once.
fn edit(out: &mut Vec<u8>, from: usize, edits: &AttributeEdits) {
    if *edits == AttributeEdits::default() {
        return;
    }
    let section = out.split_off(from);
    for line in section.split_inclusive(|octet| *octet == b'\n') {
        let attribute = line.strip_prefix(b"a=").map(<[u8]>::trim_ascii_end);
        let named = |text: &String| attribute == Some(text.as_bytes());
        match edits.substitute.iter().find(|(from, _)| named(from)) {
            Some((_, to)) => text(out, &format!("a={to}")),
            None if edits.remove.iter().any(named) => {}
            None => out.extend_from_slice(line),
        }
    }
    edits.add.iter().for_each(|attribute| text(out, &format!("a={attribute}")));
}
