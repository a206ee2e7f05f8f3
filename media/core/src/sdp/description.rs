//! The typed view of a session description: what offer and answer need to know of it.

use std::net::IpAddr;

use bytes::Bytes;

use super::{Candidate, Codec, Crypto, Fingerprint, Line, Sdp, SdpError, Setup};

/// Most candidates kept of one m= section; a peer that lists more has enough with these.
const MAX_CANDIDATES: usize = 32;
/// Most `a=ssrc` sources kept of one m= section.
const MAX_SSRCS: usize = 16;
/// Most `a=crypto` lines kept of one m= section.
const MAX_CRYPTO: usize = 24;
/// Most fingerprints kept of one m= section.
const MAX_FINGERPRINTS: usize = 8;

/// A session description, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The lines it was read from.
    pub sdp: Sdp,
    /// `o=`, where it can be read.
    pub origin: Option<Origin>,
    /// The mids of each `a=group:BUNDLE` (RFC 9143).
    pub bundles: Vec<Vec<String>>,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// The m= sections.
    pub media: Vec<Media>,
}

/// The `o=` line (RFC 8866 §5.2). Numbers stay text: some phones write longer ones than any integer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// User name.
    pub username: String,
    /// Session id.
    pub session_id: String,
    /// Session version.
    pub version: String,
    /// `IP4` or `IP6` and the address, as written.
    pub address: String,
}

/// What an m= line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `application`, `image`, `text` …
    Other,
}

/// ICE of an m= section (RFC 8839).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ice {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
    /// The candidates that can be used.
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates`
    pub end_of_candidates: bool,
    /// `a=ice-options` has `trickle`.
    pub trickle: bool,
}

/// `a=extmap` (RFC 8285 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtMap {
    /// 1 to 255.
    pub id: u8,
    /// What it is.
    pub uri: String,
}

/// The direction attribute (RFC 8866 §6.7), seen from the end that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both ways; also when nothing is said.
    #[default]
    SendRecv,
    /// It sends.
    SendOnly,
    /// It receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// From an attribute's name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }

    /// Of these two ways.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether it sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether it receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// An m= section, understood. What is not said there but at session level is filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// What it is of.
    pub media_type: MediaType,
    /// The first word of the m= line.
    pub media_word: String,
    /// 0: refused, or bundle-only.
    pub port: u16,
    /// `RTP/AVP` …
    pub protocol: String,
    /// The formats as written.
    pub formats: Vec<String>,
    /// The formats that have a meaning, in order.
    pub codecs: Vec<Codec>,
    /// The literal address in `c=`.
    pub address: Option<IpAddr>,
    /// `a=rtcp` (RFC 3605): port, and address where there is one.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtcp-mux`
    pub rtcp_mux: bool,
    /// `a=bundle-only`: port 0 is no refusal (RFC 9143 §6).
    pub bundle_only: bool,
    /// The direction.
    pub direction: Direction,
    /// `a=mid`
    pub mid: Option<String>,
    /// ICE; `None` without ufrag and pwd of legal length.
    pub ice: Option<Ice>,
    /// `a=fingerprint`
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// SDES keys (RFC 4568).
    pub crypto: Vec<Crypto>,
    /// Sources of `a=ssrc`.
    pub ssrcs: Vec<u32>,
    /// `a=extmap`
    pub extensions: Vec<ExtMap>,
    /// `a=ptime`, milliseconds.
    pub ptime: Option<u16>,
    /// `a=maxptime`, milliseconds.
    pub max_ptime: Option<u16>,
}

impl Media {
    /// Whether the line is refused or removed.
    pub fn is_refused(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// Whether `c=` is all zeros: the hold of RFC 2543. Means nothing when ICE is there.
    pub fn is_zero_address(&self) -> bool {
        self.address.is_some_and(|address| address.is_unspecified())
    }

    /// Whether the protocol is DTLS-SRTP (RFC 5764), or its name before that RFC, as old browsers write it.
    pub fn is_dtls(&self) -> bool {
        let protocol = self.protocol.to_ascii_uppercase();
        protocol.starts_with("UDP/TLS/RTP/SAVP") || (protocol == "RTP/SAVPF" && !self.fingerprints.is_empty())
    }

    /// Whether the protocol is plain RTP.
    pub fn is_plain(&self) -> bool {
        ["RTP/AVP", "RTP/AVPF"].iter().any(|name| self.protocol.eq_ignore_ascii_case(name))
    }
}

impl Description {
    /// Reads a session description.
    pub fn parse(text: Bytes) -> Result<Self, SdpError> {
        let sdp = Sdp::parse(text)?;
        let mut session = Section::default();
        let mut origin = None;
        let mut bundles = Vec::new();
        let mut ice_lite = false;
        for line in sdp.session() {
            match (line.kind, line.attribute()) {
                (b'o', _) => origin = line.text().and_then(Origin::parse),
                (_, Some(("group", value))) => bundles.extend(parse_bundle(value)),
                (_, Some(("ice-lite", _))) => ice_lite = true,
                _ => session.read(line),
            }
        }
        let mut media = Vec::with_capacity(sdp.media_count());
        for index in 0..sdp.media_count() {
            let mut lines = sdp.media(index);
            let m_line = lines.next().and_then(|line| line.text()).and_then(MLine::parse);
            let mut section = session.inherited();
            lines.for_each(|line| section.read(line));
            media.push(section.finish(m_line.ok_or(SdpError::MediaLine(index + 1))?));
            let mut behind = sdp.session_behind(index).peekable();
            if behind.peek().is_some() {
                session = Section::default();
                behind.for_each(|line| session.read(line));
            }
        }
        Ok(Self { sdp, origin, bundles, ice_lite, media })
    }

    /// Whether two m= sections share one transport (RFC 9143).
    pub fn bundled(&self, one: usize, other: usize) -> bool {
        let mid = |index: usize| self.media.get(index).and_then(|media| media.mid.as_ref());
        match (mid(one), mid(other)) {
            (Some(one), Some(other)) => {
                self.bundles.iter().any(|mids| mids.contains(one) && mids.contains(other))
            }
            _ => false,
        }
    }
}

fn parse_bundle(value: &str) -> Option<Vec<String>> {
    let mut words = value.split_ascii_whitespace();
    (words.next()? == "BUNDLE").then(|| words.take(super::MAX_MEDIA).map(str::to_owned).collect())
}

impl Origin {
    /// From the value of an `o=` line.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [username, session_id, version, _, family, address] = words.as_slice() else { return None };
        Some(Self {
            username: (*username).to_owned(),
            session_id: (*session_id).to_owned(),
            version: (*version).to_owned(),
            address: format!("{family} {address}"),
        })
    }
}

/// The parts of an m= line.
struct MLine {
    word: String,
    port: u16,
    protocol: String,
    formats: Vec<String>,
}

impl MLine {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let word = words.next()?.to_owned();
        let port = words.next()?;
        // `49170/2`: a count of ports, used by nobody for RTP (RFC 8866 §5.14).
        let port = port.split_once('/').map_or(port, |(port, _)| port).parse().ok()?;
        let protocol = words.next()?.to_owned();
        let formats: Vec<String> = words.take(256).map(str::to_owned).collect();
        // What is refused may be written in any way.
        (!formats.is_empty() || port == 0).then_some(Self { word, port, protocol, formats })
    }
}

/// What the lines of a section said so far.
#[derive(Debug, Clone, Default)]
struct Section {
    address: Option<IpAddr>,
    rtpmaps: Vec<Codec>,
    fmtps: Vec<(u8, String)>,
    feedback: Vec<(Option<u8>, String)>,
    rtcp: Option<(u16, Option<IpAddr>)>,
    rtcp_mux: bool,
    bundle_only: bool,
    direction: Option<Direction>,
    mid: Option<String>,
    ufrag: Option<String>,
    pwd: Option<String>,
    trickle: bool,
    candidates: Vec<Candidate>,
    end_of_candidates: bool,
    fingerprints: Vec<Fingerprint>,
    own_fingerprints: bool,
    setup: Option<Setup>,
    crypto: Vec<Crypto>,
    ssrcs: Vec<u32>,
    extensions: Vec<ExtMap>,
    ptime: Option<u16>,
    max_ptime: Option<u16>,
}

impl Section {
    /// What m= sections take over from the session level.
    fn inherited(&self) -> Self {
        Self {
            address: self.address,
            direction: self.direction,
            ufrag: self.ufrag.clone(),
            pwd: self.pwd.clone(),
            trickle: self.trickle,
            end_of_candidates: self.end_of_candidates,
            fingerprints: self.fingerprints.clone(),
            setup: self.setup,
            extensions: self.extensions.clone(),
            ptime: self.ptime,
            ..Self::default()
        }
    }

    fn read(&mut self, line: Line<'_>) {
        if line.kind == b'c' {
            self.address = line.text().and_then(parse_connection).or(self.address);
        }
        let Some((name, value)) = line.attribute() else { return };
        match name {
            "rtpmap" => self.rtpmaps.extend(Codec::parse_rtpmap(value)),
            "fmtp" => self.fmtps.extend(parse_numbered(value)),
            "rtcp-fb" => self.read_feedback(value),
            "rtcp" => self.rtcp = parse_rtcp(value),
            "rtcp-mux" | "rtcp-mux-only" => self.rtcp_mux = true,
            "bundle-only" => self.bundle_only = true,
            "mid" => self.mid = Some(value).filter(|mid| is_token(mid)).map(str::to_owned),
            "ssrc" => self.read_ssrc(value),
            "extmap" => self.extensions.extend(parse_extmap(value).filter(|_| self.extensions.len() < 64)),
            "ptime" => self.ptime = parse_milliseconds(value),
            "maxptime" => self.max_ptime = parse_milliseconds(value),
            "crypto" => self.crypto.extend(Crypto::parse(value).filter(|_| self.crypto.len() < MAX_CRYPTO)),
            _ => self.read_transport(name, value),
        }
    }

    fn read_transport(&mut self, name: &str, value: &str) {
        match name {
            "ice-ufrag" => self.ufrag = Some(value).filter(|text| is_ice_text(text, 4)).map(str::to_owned),
            "ice-pwd" => {
                self.pwd = Some(value).filter(|text| is_ice_text(text, LEAST_PWD)).map(str::to_owned)
            }
            "ice-options" => self.trickle = value.split_ascii_whitespace().any(|option| option == "trickle"),
            "candidate" if self.candidates.len() < MAX_CANDIDATES => {
                self.candidates.extend(Candidate::parse(value));
            }
            "end-of-candidates" => self.end_of_candidates = true,
            "fingerprint" => self.read_fingerprint(value),
            "setup" => self.setup = Setup::parse(value),
            _ => self.direction = Direction::parse(name).or(self.direction),
        }
    }

    /// Fingerprints of an m= section take the place of those of the session (RFC 8122 §5).
    fn read_fingerprint(&mut self, value: &str) {
        let Some(fingerprint) = Fingerprint::parse(value) else { return };
        if !std::mem::replace(&mut self.own_fingerprints, true) {
            self.fingerprints.clear();
        }
        if self.fingerprints.len() < MAX_FINGERPRINTS {
            self.fingerprints.push(fingerprint);
        }
    }

    fn read_feedback(&mut self, value: &str) {
        let Some((number, what)) = value.split_once(' ') else { return };
        match number {
            "*" => self.feedback.push((None, what.trim().to_owned())),
            _ => {
                self.feedback.extend(number.parse().ok().map(|number| (Some(number), what.trim().to_owned())))
            }
        }
    }

    fn read_ssrc(&mut self, value: &str) {
        let number = value.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        if let Some(ssrc) = number.filter(|ssrc| self.ssrcs.len() < MAX_SSRCS && !self.ssrcs.contains(ssrc)) {
            self.ssrcs.push(ssrc);
        }
    }

    fn finish(mut self, m_line: MLine) -> Media {
        let codecs = self.codecs(&m_line.formats);
        let ice = self.ufrag.take().zip(self.pwd.take()).map(|(ufrag, pwd)| Ice {
            ufrag,
            pwd,
            candidates: std::mem::take(&mut self.candidates),
            end_of_candidates: self.end_of_candidates,
            trickle: self.trickle,
        });
        let media_type = match m_line.word.as_str() {
            "audio" => MediaType::Audio,
            "video" => MediaType::Video,
            _ => MediaType::Other,
        };
        Media {
            media_type,
            media_word: m_line.word,
            port: m_line.port,
            protocol: m_line.protocol,
            formats: m_line.formats,
            codecs,
            address: self.address,
            rtcp: self.rtcp,
            rtcp_mux: self.rtcp_mux,
            bundle_only: self.bundle_only,
            direction: self.direction.unwrap_or_default(),
            mid: self.mid,
            ice,
            fingerprints: self.fingerprints,
            setup: self.setup,
            crypto: self.crypto,
            ssrcs: self.ssrcs,
            extensions: self.extensions,
            ptime: self.ptime,
            max_ptime: self.max_ptime,
        }
    }

    /// The formats in the order of the m= line, each number once; a dynamic one without `a=rtpmap` has no meaning.
    fn codecs(&self, formats: &[String]) -> Vec<Codec> {
        let mut codecs: Vec<Codec> = Vec::with_capacity(formats.len());
        for number in formats.iter().filter_map(|format| format.parse::<u8>().ok()) {
            if codecs.iter().any(|codec| codec.payload_type == number) {
                continue;
            }
            let mapped = self.rtpmaps.iter().find(|codec| codec.payload_type == number).cloned();
            let Some(mut codec) = mapped.or_else(|| Codec::from_static(number)) else { continue };
            codec.fmtp = self.fmtps.iter().find(|(pt, _)| *pt == number).map(|(_, text)| text.clone());
            let feedback = self.feedback.iter().filter(|(pt, _)| pt.is_none_or(|pt| pt == number));
            codec.feedback = feedback.map(|(_, what)| what.clone()).take(16).collect();
            codecs.push(codec);
        }
        codecs
    }
}

/// `IN IP4 192.0.2.1`, `IN IP4 224.2.1.1/127`; `None` for a host name.
fn parse_connection(text: &str) -> Option<IpAddr> {
    let address = text.split_ascii_whitespace().nth(2)?;
    address.split_once('/').map_or(address, |(address, _)| address).parse().ok()
}

/// `53020`, `53020 IN IP4 192.0.2.1`.
fn parse_rtcp(value: &str) -> Option<(u16, Option<IpAddr>)> {
    let mut words = value.split_ascii_whitespace();
    let port = words.next()?.parse().ok()?;
    Some((port, words.nth(2).and_then(|address| address.parse().ok())))
}

/// `111 minptime=10`.
fn parse_numbered(value: &str) -> Option<(u8, String)> {
    let (number, text) = value.split_once(char::is_whitespace)?;
    Some((number.parse().ok()?, text.trim().to_owned()))
}

/// `3 urn:…`, `3/sendonly urn:…`.
fn parse_extmap(value: &str) -> Option<ExtMap> {
    let mut words = value.split_ascii_whitespace();
    let id = words.next()?;
    let id = id.split_once('/').map_or(id, |(id, _)| id).parse().ok().filter(|id| *id > 0)?;
    Some(ExtMap { id, uri: words.next()?.to_owned() })
}

/// `20`, and `20.0` as some phones write.
fn parse_milliseconds(value: &str) -> Option<u16> {
    let whole = value.trim().split('.').next()?;
    whole.parse().ok().filter(|ms| (1..=1000).contains(ms))
}

fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 8839 §5.4 wants 22 characters of a password; some gateways write 16.
const LEAST_PWD: usize = 16;

/// RFC 8839 §5.4: ice-char, at least 4 or 22 and at most 256 of them.
fn is_ice_text(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Description {
        Description::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn session_level_is_inherited_and_overridden() {
        let fp = |byte: &str| format!("a=fingerprint:sha-256 {}\n", [byte; 32].join(":"));
        let text = format!(
            "v=0\no=- 1 2 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n{}a=setup:actpass\na=inactive\n\
             a=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\nm=audio 9 UDP/TLS/RTP/SAVPF 0\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\nc=IN IP6 2001:db8::1\n{}a=sendrecv\na=rtpmap:96 VP8/90000\n",
            fp("AA"),
            fp("BB")
        );
        let it = parse(&text);
        assert_eq!(it.media[0].fingerprints[0].digest, [0xaa; 32]);
        assert_eq!(it.media[1].fingerprints.len(), 1);
        assert_eq!(it.media[1].fingerprints[0].digest, [0xbb; 32]);
        assert_eq!(
            (it.media[0].direction, it.media[1].direction),
            (Direction::Inactive, Direction::SendRecv)
        );
        assert_eq!(it.media[1].ice.as_ref().unwrap().ufrag, "abcd");
        assert_eq!(it.media[1].address.unwrap().to_string(), "2001:db8::1");
        assert!(it.media[0].is_dtls());
    }

    #[test]
    fn what_phones_write() {
        let it = parse(
            "v=0\no=cisco 123456789012345678901234567890 1 IN IP4 10.0.0.9\na=early\nm=audio  16384/2  RTP/AVP 18  8 0 8 101 \n\
             a=rtpmap:101  telephone-event/8000 \na=fmtp:101  0-15 \na=ptime:20.0\na=rtcp:16400 IN IP4 10.0.0.8\nc=IN IP4 10.0.0.7\n\
             m=application 0 TCP/MRCPv2 1\n",
        );
        let audio = &it.media[0];
        assert_eq!(
            audio.codecs.iter().map(Codec::rtpmap).collect::<Vec<_>>(),
            ["18 G729/8000", "8 PCMA/8000", "0 PCMU/8000", "101 telephone-event/8000"]
        );
        assert_eq!(audio.codecs[3].fmtp.as_deref(), Some("0-15"));
        assert_eq!((audio.port, audio.ptime), (16384, Some(20)));
        assert_eq!(audio.rtcp, Some((16400, Some("10.0.0.8".parse().unwrap()))));
        assert_eq!(audio.address, Some("10.0.0.7".parse().unwrap()));
        assert!(it.media[1].is_refused());
        assert_eq!(it.origin.unwrap().session_id, "123456789012345678901234567890");
    }

    #[test]
    fn bad_m_lines_are_refused() {
        for bad in
            ["m=\n", "m=audio\n", "m=audio x RTP/AVP 0\n", "m=audio 70000 RTP/AVP 0\n", "m=audio 9 RTP/AVP\n"]
        {
            let text = format!("v=0\n{bad}");
            assert_eq!(Description::parse(text.into()), Err(SdpError::MediaLine(1)), "{bad}");
        }
    }

    #[test]
    fn short_ice_credentials_are_none() {
        let it =
            parse("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=ice-ufrag:abc\na=ice-pwd:0123456789012345678901\n");
        assert_eq!(it.media[0].ice, None);
    }
}
