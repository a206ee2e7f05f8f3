//! Writes the SDP for one end: its own lines by the kind of the end, the far end's lines where they may pass.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::plan::{LocalLeg, LocalMedia, LocalSecure};
use crate::command::{Bundling, Flags, LegKind, Replace};
use crate::sdp::{Candidate, CandidateKind, Codec, Description, Direction, ExtMap, Line, Media, Setup};

/// Attributes that speak of a transport, a numbering or a track of the far end: never passed, written anew where the
/// end needs them.
const OWN_ATTRIBUTES: [&str; 48] = [
    "alt",
    "bundle-only",
    "candidate",
    "connection",
    "crypto",
    "end-of-candidates",
    "extmap",
    "extmap-allow-mixed",
    "fingerprint",
    "fmtp",
    "group",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pacing",
    "ice-pwd",
    "ice-ufrag",
    "identity",
    "inactive",
    "key-mgmt",
    "maxptime",
    "mid",
    "msid",
    "msid-semantic",
    "nortpproxy",
    "oldmediaip",
    "oldmediaport",
    "ptime",
    "recvonly",
    "remote-candidates",
    "rid",
    "rtcp",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp-mux-only",
    "rtcp-rsize",
    "rtpmap",
    "sdpmangled",
    "sendonly",
    "sendrecv",
    "setup",
    "simulcast",
    "ssrc",
    "ssrc-group",
    "sqn",
    "tls-id",
    "x-google-flag",
    "zrtp-hash",
];

/// One SDP to be written.
pub(super) struct Compose<'a> {
    /// The kind of the end that gets it.
    pub(super) kind: LegKind,
    /// Our end of its leg.
    pub(super) local: &'a LocalLeg,
    /// What the far end said.
    pub(super) source: &'a Description,
    /// Our `a=setup`.
    pub(super) setup: Setup,
    /// ng flags.
    pub(super) flags: Flags,
    /// ng `replace`.
    pub(super) replace: Replace,
    /// Whether and how lines share a transport.
    pub(super) bundle: Bundle,
    /// Whether our candidates are those of a relay for the far end.
    pub(super) as_relay: bool,
    /// The m= sections.
    pub(super) sections: &'a [Section],
}

/// How lines share a transport (RFC 9143) in an SDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bundle {
    /// They do not.
    Off,
    /// `a=group:BUNDLE`.
    Group,
    /// Those behind the first are `a=bundle-only`.
    Only,
    /// The same, with port 0 (§6).
    Strict,
}

impl Bundle {
    /// What an offer to a browser says.
    pub(super) fn of_offer(wish: Bundling) -> Self {
        match wish {
            Bundling { reject: true, .. } => Self::Off,
            Bundling { strict: true, .. } => Self::Strict,
            Bundling { require: true, .. } => Self::Only,
            _ => Self::Group,
        }
    }
}

/// One m= section to be written.
pub(super) struct Section {
    /// `audio` …
    pub(super) word: String,
    /// The m= protocol.
    pub(super) protocol: String,
    /// A format to name where the line is refused.
    pub(super) format: String,
    /// `a=mid` towards a browser.
    pub(super) mid: Option<String>,
    /// `None`: port 0.
    pub(super) active: Option<Active>,
}

/// What an m= section that is not refused says.
pub(super) struct Active {
    /// Which section of the source it comes from.
    pub(super) source: usize,
    /// Our ports.
    pub(super) local: LocalMedia,
    /// In the numbers of the end that gets it.
    pub(super) codecs: Vec<Codec>,
    /// The direction.
    pub(super) direction: Direction,
    /// Header extensions that pass.
    pub(super) extensions: Vec<ExtMap>,
}

impl Compose<'_> {
    /// The `o=` line with the given version of ours.
    pub(super) fn origin(&self, version: u64) -> String {
        let own_address = address_words(self.local.address);
        let own = || format!("o=- {} {version} IN {own_address}\r\n", self.local.session_id);
        let Some(origin) = self.source.origin.as_ref() else { return own() };
        if self.kind == LegKind::Browser || self.replace.origin_full {
            return own();
        }
        let username = if self.replace.username { "-" } else { &origin.username };
        let address = if self.replace.origin { &own_address } else { &origin.address };
        let version = if self.replace.sdp_version { version.to_string() } else { origin.version.clone() };
        format!("o={username} {} {version} IN {address}\r\n", origin.session_id)
    }

    /// All that follows the `o=` line.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        self.session(&mut out);
        let mut is_first = true;
        for section in self.sections {
            match &section.active {
                Some(active) => {
                    self.active(&mut out, section, active, is_first);
                    is_first = false;
                }
                None => self.refused(&mut out, section),
            }
        }
        out
    }

    /// The session level, its line types in the order of RFC 8866 §5 whatever the order was.
    fn session(&self, out: &mut Vec<u8>) {
        let name =
            self.source.sdp.session().find(|line| line.kind == b's' && !line.value.trim_ascii().is_empty());
        match name.filter(|_| self.kind == LegKind::Legacy && !self.replace.session_name) {
            Some(line) => keep(out, line),
            None => text(out, "s=-"),
        }
        self.keep_session(out, b'i');
        text(out, &format!("c=IN {}", address_words(self.local.address)));
        self.keep_session(out, b'b');
        match self.source.sdp.session().any(|line| line.kind == b't') {
            true => self.keep_session(out, b't'),
            false => text(out, "t=0 0"),
        }
        if self.kind == LegKind::Browser {
            self.session_of_browser(out);
        }
        self.source.sdp.session().filter(passes).for_each(|line| keep(out, line));
    }

    fn session_of_browser(&self, out: &mut Vec<u8>) {
        let active = self.sections.iter().filter(|section| section.active.is_some());
        let mids: Vec<&str> = active.filter_map(|section| section.mid.as_deref()).collect();
        if self.bundle != Bundle::Off && !mids.is_empty() {
            text(out, &format!("a=group:BUNDLE {}", mids.join(" ")));
        }
        text(out, "a=msid-semantic: WMS *");
        if self.local.secure.as_ref().is_some_and(|secure| secure.lite) {
            text(out, "a=ice-lite");
        }
    }

    fn keep_session(&self, out: &mut Vec<u8>, kind: u8) {
        self.source.sdp.session().filter(|line| line.kind == kind).for_each(|line| keep(out, line));
    }

    fn refused(&self, out: &mut Vec<u8>, section: &Section) {
        text(out, &format!("m={} 0 {} {}", section.word, section.protocol, section.format));
        if let Some(mid) = section.mid.as_ref().filter(|_| self.kind == LegKind::Browser) {
            text(out, &format!("a=mid:{mid}"));
            text(out, "a=inactive");
        }
    }

    fn active(&self, out: &mut Vec<u8>, section: &Section, active: &Active, is_first: bool) {
        let bundle_only = !is_first && self.kind == LegKind::Browser;
        let port = match self.bundle {
            Bundle::Strict if bundle_only => 0,
            _ => active.local.port,
        };
        let mut m_line = format!("m={} {port} {}", section.word, section.protocol);
        active.codecs.iter().for_each(|codec| push(&mut m_line, format_args!(" {}", codec.payload_type)));
        text(out, &m_line);
        let lines = || self.source.sdp.media(active.source).skip(1);
        lines().filter(|line| line.kind == b'i').for_each(|line| keep(out, line));
        text(out, &format!("c=IN {}", address_words(self.local.address)));
        lines().filter(|line| line.kind == b'b').for_each(|line| keep(out, line));
        match (self.kind, &self.local.secure) {
            (LegKind::Browser, Some(secure)) => {
                if bundle_only && matches!(self.bundle, Bundle::Only | Bundle::Strict) {
                    text(out, "a=bundle-only");
                }
                self.transport_of_browser(out, section, active, secure);
            }
            _ => self.rtcp(out, active.local),
        }
        text(out, &format!("a={}", active.direction.as_str()));
        formats(out, &active.codecs);
        if let Some(media) = self.source.media.get(active.source) {
            packet_times(out, media, &active.codecs);
        }
        lines().filter(passes).for_each(|line| keep(out, line));
    }

    fn rtcp(&self, out: &mut Vec<u8>, local: LocalMedia) {
        let Some(port) = local.rtcp_port.filter(|_| !self.flags.no_rtcp_attribute) else { return };
        match self.flags.full_rtcp_attribute {
            true => text(out, &format!("a=rtcp:{port} IN {}", address_words(self.local.address))),
            false => text(out, &format!("a=rtcp:{port}")),
        }
    }

    fn transport_of_browser(
        &self,
        out: &mut Vec<u8>,
        section: &Section,
        active: &Active,
        secure: &LocalSecure,
    ) {
        let LocalSecure { ufrag, pwd, fingerprint, candidates, .. } = secure;
        section.mid.iter().for_each(|mid| text(out, &format!("a=mid:{mid}")));
        candidates.iter().for_each(|it| self.candidate(out, it));
        text(out, "a=end-of-candidates");
        text(out, &format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}"));
        if self.flags.trickle_ice {
            text(out, "a=ice-options:trickle");
        }
        text(out, &format!("a=fingerprint:{fingerprint}\r\na=setup:{}\r\na=rtcp-mux", self.setup));
        for ExtMap { id, uri } in &active.extensions {
            text(out, &format!("a=extmap:{id} {uri}"));
        }
        let (cname, ssrc) = (&self.local.cname, active.local.ssrc);
        text(out, &format!("a=msid:{cname} {cname}-{}\r\na=ssrc:{ssrc} cname:{cname}", section.word));
    }
}

impl Compose<'_> {
    /// Ours, or what a relay has for the far end (ng `ICE: force-relay`): RFC 8839 §5.1 has that say what it stands for, and
    /// its type preference is 0 (RFC 8445 §5.1.2.2).
    fn candidate(&self, out: &mut Vec<u8>, candidate: &Candidate) {
        let Candidate { priority, kind, address, port, .. } = *candidate;
        if !self.as_relay {
            return text(out, &format!("a=candidate:{candidate}"));
        }
        let kind = if kind == CandidateKind::Host { CandidateKind::Relayed } else { kind };
        let candidate = Candidate { priority: priority & 0x00ff_ffff, kind, ..candidate.clone() };
        text(out, &format!("a=candidate:{candidate} raddr {address} rport {port}"));
    }
}

fn formats(out: &mut Vec<u8>, codecs: &[Codec]) {
    for codec in codecs {
        text(out, &format!("a=rtpmap:{}", codec.rtpmap()));
        codec.fmtp.iter().for_each(|fmtp| text(out, &format!("a=fmtp:{} {fmtp}", codec.payload_type)));
        codec.feedback.iter().for_each(|what| text(out, &format!("a=rtcp-fb:{} {what}", codec.payload_type)));
    }
}

/// Whether an attribute of the far end may be seen by this one.
fn passes(line: &Line<'_>) -> bool {
    line.attribute_name().is_some_and(|name| !OWN_ATTRIBUTES.contains(&name))
}

/// `IP4 192.0.2.1`.
pub(super) fn address_words(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("IP4 {address}"),
        IpAddr::V6(address) => format!("IP6 {address}"),
    }
}

pub(super) fn text(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn keep(out: &mut Vec<u8>, line: Line<'_>) {
    if line.kind != 0 {
        out.extend_from_slice(&[line.kind, b'=']);
    }
    out.extend_from_slice(line.value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(arguments);
}

/// `a=ptime` and `a=maxptime` of the far end, which are true of its own formats. To one that the relay makes for it they
/// mean nothing: the relay packs anew, and Opus has no packets of 30 ms (RFC 6716 §2.1.4).
fn packet_times(out: &mut Vec<u8>, media: &Media, codecs: &[Codec]) {
    let own = |codec: &&Codec| media.codecs.iter().any(|own| own.same_format(codec));
    let is_own = codecs.iter().filter(|codec| codec.is_media()).all(|codec| own(&codec));
    let fits = |ms: &&u16| is_own || [10, 20, 40, 60].contains(*ms);
    media.ptime.iter().filter(fits).for_each(|ms| text(out, &format!("a=ptime:{ms}")));
    let fits = |ms: &&u16| is_own || **ms >= 20;
    media.max_ptime.iter().filter(fits).for_each(|ms| text(out, &format!("a=maxptime:{ms}")));
}
