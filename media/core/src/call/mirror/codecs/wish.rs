//! How the lists of ng `codec` name formats: `NAME/CLOCK/CHANNELS/BITRATE/PTIME/PARAMETERS`, all but the name optional.

use super::list::Listed;
use crate::codec::Format;
use crate::sdp::Codec;

/// One entry of such a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish<'a> {
    name: &'a str,
    clock: Option<u32>,
    channels: Option<u8>,
    pub(super) bit_rate: Option<u32>,
    /// `a=fmtp`; `--` stands for `=`, which flag strings cannot carry.
    parameters: Option<String>,
    /// It has more than the first three parts: it asks for a format of its own.
    is_own: bool,
}

/// Whether it is the word for all formats.
pub(super) fn is_everything(name: &str) -> bool {
    name == "all" || name == "full"
}

impl<'a> Wish<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut parts = text.splitn(6, '/');
        let name = parts.next().unwrap_or_default();
        let clock = parts.next().and_then(|part| part.parse().ok());
        let channels = parts.next().and_then(|part| part.parse().ok());
        let rest = parts.clone().next().is_some();
        let bit_rate = parts.next().and_then(|part| part.parse().ok()).filter(|rate| *rate > 0);
        // The packet time is that of the line.
        parts.next();
        // What stands behind a further slash speaks of encoders that are not here.
        let parameters = parts.next().and_then(|part| part.split('/').next()).map(|it| it.replace("--", "="));
        Self {
            name,
            clock,
            channels: channels.or(clock.map(|_| 1)),
            bit_rate,
            parameters: parameters.filter(|it| !it.is_empty() && !it.contains(|c: char| c.is_control())),
            is_own: rest,
        }
    }

    /// Whether it means this format of an SDP.
    pub(super) fn means(&self, codec: &Codec) -> bool {
        !self.is_own && self.is_format_of(codec)
    }

    /// Whether name, clock and channels are this format's.
    pub(super) fn is_format_of(&self, codec: &Codec) -> bool {
        codec.is(self.name)
            && self.clock.is_none_or(|clock| clock == codec.clock)
            && self.channels.is_none_or(|channels| channels == codec.channels)
    }
}

/// The format that is wished for, with its static number or 96; `None` where the relay has no conversion to it.
pub(super) fn made(wish: &Wish<'_>) -> Option<Listed> {
    let usual = [
        ("PCMU", 8000, 1),
        ("PCMA", 8000, 1),
        ("G722", 8000, 1),
        ("opus", 48_000, 2),
        ("L16", 16_000, 1),
        ("CN", 8000, 1),
        ("telephone-event", 8000, 1),
    ];
    let (_, clock, channels) = usual.into_iter().find(|(name, ..)| name.eq_ignore_ascii_case(wish.name))?;
    let clock = wish.clock.filter(|clock| *clock > 0).unwrap_or(clock);
    let mut codec = Codec::new(96, wish.name, clock, wish.channels.unwrap_or(channels));
    codec.fmtp.clone_from(&wish.parameters);
    if codec.fmtp.is_none() && codec.is_dtmf() {
        codec.fmtp = Some("0-15".to_owned());
    }
    let fixed = [0, 8, 9, 13].into_iter().filter_map(Codec::from_static);
    if let Some(fixed) = fixed.into_iter().find(|fixed| fixed.same_format(&codec)) {
        codec.payload_type = fixed.payload_type;
    }
    let is_supplement = super::list::is_supplement(&codec);
    (is_supplement || Format::of(&codec, None).is_some()).then(|| Listed {
        made: true,
        bit_rate: wish.bit_rate,
        ..Listed::new(codec)
    })
}
