//! Payload formats: `a=rtpmap`, `a=fmtp`, `a=rtcp-fb`, and the static payload types of RFC 3551.

/// One payload type of an m= line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// 0 to 127.
    pub payload_type: u8,
    /// Encoding name as written.
    pub name: String,
    /// RTP clock, Hz.
    pub clock: u32,
    /// Channels; 1 when not said.
    pub channels: u8,
    /// The value of `a=fmtp` after the payload type.
    pub fmtp: Option<String>,
    /// The values of `a=rtcp-fb` after the payload type: `nack pli` …
    pub feedback: Vec<String>,
}

impl Codec {
    /// A codec without parameters.
    pub fn new(payload_type: u8, name: &str, clock: u32, channels: u8) -> Self {
        Self { payload_type, name: name.to_owned(), clock, channels, fmtp: None, feedback: Vec::new() }
    }

    /// The value of an `a=rtpmap` line (RFC 8866 §6.6): `111 opus/48000/2`.
    pub fn parse_rtpmap(value: &str) -> Option<Self> {
        let (payload_type, encoding) = value.trim().split_once(char::is_whitespace)?;
        let payload_type = payload_type.parse().ok().filter(|n| *n < 128)?;
        let mut parts = encoding.trim().split('/');
        let name = parts.next().map(str::trim).filter(|name| !name.is_empty() && name.len() <= 64)?;
        let clock = parts.next()?.trim().parse().ok().filter(|hz| (1..=1_000_000).contains(hz))?;
        let channels = parts.next().map_or(Some(1), |n| n.trim().parse().ok())?;
        Some(Self::new(payload_type, name, clock, channels))
    }

    /// A static payload type (RFC 3551 §6).
    pub fn from_static(payload_type: u8) -> Option<Self> {
        let (name, clock, channels) = match payload_type {
            0 => ("PCMU", 8000, 1),
            3 => ("GSM", 8000, 1),
            4 => ("G723", 8000, 1),
            5 => ("DVI4", 8000, 1),
            6 => ("DVI4", 16000, 1),
            7 => ("LPC", 8000, 1),
            8 => ("PCMA", 8000, 1),
            // The clock of G722 is 8000 by an old mistake that became the rule (RFC 3551 §4.5.2).
            9 => ("G722", 8000, 1),
            10 => ("L16", 44100, 2),
            11 => ("L16", 44100, 1),
            12 => ("QCELP", 8000, 1),
            13 => ("CN", 8000, 1),
            14 => ("MPA", 90000, 1),
            15 => ("G728", 8000, 1),
            16 => ("DVI4", 11025, 1),
            17 => ("DVI4", 22050, 1),
            18 => ("G729", 8000, 1),
            25 => ("CelB", 90000, 1),
            26 => ("JPEG", 90000, 1),
            28 => ("nv", 90000, 1),
            31 => ("H261", 90000, 1),
            32 => ("MPV", 90000, 1),
            33 => ("MP2T", 90000, 1),
            34 => ("H263", 90000, 1),
            _ => return None,
        };
        Some(Self::new(payload_type, name, clock, channels))
    }

    /// Whether the name is `name`; names have no case (RFC 4855 §3).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// telephone-event (RFC 4733).
    pub fn is_dtmf(&self) -> bool {
        self.is("telephone-event")
    }

    /// Comfort noise (RFC 3389).
    pub fn is_comfort_noise(&self) -> bool {
        self.is("CN")
    }

    /// Retransmission, redundancy, forward error correction: formats that carry other formats.
    pub fn is_wrapper(&self) -> bool {
        ["rtx", "red", "ulpfec", "flexfec", "flexfec-03", "parityfec"].iter().any(|name| self.is(name))
    }

    /// Audio or video of its own: none of the above.
    pub fn is_media(&self) -> bool {
        !self.is_dtmf() && !self.is_comfort_noise() && !self.is_wrapper()
    }

    /// Whether both name the same format, whatever the numbers. Formats whose parameters change the bit stream
    /// (H.264, VP9, AV1, iLBC) must agree in those.
    pub fn same_format(&self, other: &Self) -> bool {
        self.is(&other.name)
            && self.clock == other.clock
            && self.channels == other.channels
            && self.distinction() == other.distinction()
    }

    fn distinction(&self) -> Vec<String> {
        let parameters: &[&str] = match self.name.to_ascii_lowercase().as_str() {
            // The level (last two digits) may differ between offer and answer (RFC 6184 §8.2.2).
            "h264" => &["packetization-mode", "profile-level-id"],
            "vp9" => &["profile-id"],
            "av1" => &["profile"],
            "ilbc" => &["mode"],
            _ => return Vec::new(),
        };
        parameters.iter().map(|name| self.distinctive(name)).collect()
    }

    fn distinctive(&self, name: &str) -> String {
        match (name, self.parameter(name)) {
            ("profile-level-id", Some(value)) => value.get(..4).unwrap_or(value).to_ascii_lowercase(),
            ("profile-level-id", None) => "4200".to_owned(),
            ("mode", None) => "30".to_owned(),
            (_, Some(value)) => value.to_ascii_lowercase(),
            (_, None) => "0".to_owned(),
        }
    }

    /// A parameter of `a=fmtp`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.fmtp.as_deref()?.split(';');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    }

    /// The value of an `a=rtpmap` line.
    pub fn rtpmap(&self) -> String {
        let Self { payload_type, name, clock, channels, .. } = self;
        if *channels > 1 {
            format!("{payload_type} {name}/{clock}/{channels}")
        } else {
            format!("{payload_type} {name}/{clock}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtpmaps() {
        for (text, expected) in [
            ("111 opus/48000/2", Some("111 opus/48000/2")),
            ("0  PCMU/8000/1 ", Some("0 PCMU/8000")),
            ("101 telephone-event/8000", Some("101 telephone-event/8000")),
            ("128 opus/48000", None),
            ("opus/48000", None),
            ("96 /8000", None),
            ("96 opus", None),
            ("96 opus/0", None),
            ("96 opus/48000/999", None),
            ("", None),
        ] {
            assert_eq!(Codec::parse_rtpmap(text).map(|codec| codec.rtpmap()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn formats_that_are_the_same() {
        let h264 = |fmtp: &str| Codec { fmtp: Some(fmtp.into()), ..Codec::new(96, "H264", 90000, 1) };
        let baseline = h264("packetization-mode=1;profile-level-id=42e01f");
        assert!(baseline.same_format(&h264("profile-level-id=42E034; packetization-mode=1")));
        assert!(!baseline.same_format(&h264("profile-level-id=42e01f")));
        assert!(!baseline.same_format(&h264("packetization-mode=1;profile-level-id=640c1f")));
        assert!(Codec::new(0, "pcmu", 8000, 1).same_format(&Codec::new(97, "PCMU", 8000, 1)));
        assert!(!Codec::new(0, "telephone-event", 8000, 1).same_format(&Codec::new(
            97,
            "telephone-event",
            48000,
            1
        )));
    }
}
