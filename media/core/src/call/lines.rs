//! Which m= lines can be relayed between which kinds of ends, and what their directions mean.

use super::codecs::{self, More};
use super::plan::MediaKind;
use crate::command::LegKind;
use crate::sdp::{Codec, Description, Direction, ExtMap, Media, MediaType};

/// Header extensions that mean the same at both ends and that the relay need not touch.
const EXTENSIONS: [&str; 3] = [
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "urn:3gpp:video-orientation",
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
];

/// The first line whose transport can be used; lines bundled with it share that transport.
pub(super) fn base_line(description: &Description, kind: LegKind) -> Option<usize> {
    description.media.iter().position(|media| match kind {
        LegKind::Browser => {
            !media.is_refused() && media.ice.is_some() && !media.fingerprints.is_empty() && media.is_dtls()
        }
        LegKind::Legacy => media.is_plain(),
    })
}

/// Whether media of line `index` can be relayed from and to an end of this kind.
pub(super) fn is_usable(description: &Description, index: usize, base: Option<usize>, kind: LegKind) -> bool {
    let (Some(media), Some(base)) = (description.media.get(index), base) else { return false };
    let transport = match kind {
        LegKind::Browser => media.is_dtls() && (index == base || description.bundled(index, base)),
        LegKind::Legacy => media.is_plain(),
    };
    transport && media.media_type != MediaType::Other
}

/// The lines of an offer that pass to the other end, with the formats to offer there, in the offerer's numbers, and `more`
/// that can be made of them.
pub(super) fn usable_lines(
    description: &Description,
    from: LegKind,
    to: LegKind,
    more: More<'_>,
) -> Vec<(usize, MediaKind, Vec<Codec>)> {
    let base = base_line(description, from);
    let all_refused = description.media.iter().all(Media::is_refused);
    let mut lines: Vec<(usize, MediaKind, Vec<Codec>)> = Vec::new();
    for (index, media) in description.media.iter().enumerate() {
        let kind = if media.media_type == MediaType::Audio { MediaKind::Audio } else { MediaKind::Video };
        // Some phones hold with port 0 on their only line.
        let refused =
            media.is_refused() && !(from == LegKind::Legacy && all_refused && kind == MediaKind::Audio);
        let second = kind == MediaKind::Audio && lines.iter().any(|(_, other, _)| *other == MediaKind::Audio);
        let unfit = (second && (from, to) != (LegKind::Browser, LegKind::Browser))
            || (kind == MediaKind::Video && from != to);
        if refused || unfit || !is_usable(description, index, base, from) {
            continue;
        }
        let codecs = codecs::offered(&media.codecs, kind, from, to, more);
        if !codecs.is_empty() {
            lines.push((index, kind, codecs));
        }
    }
    lines
}

/// The direction an end means. `c=0.0.0.0` is the hold of RFC 2543 where there is no ICE; port 0 in a running call too.
pub(super) fn direction(media: &Media, kind: LegKind) -> Direction {
    if kind == LegKind::Legacy && media.port == 0 {
        return Direction::Inactive;
    }
    let reachable = kind == LegKind::Browser || !media.is_zero_address();
    Direction::new(media.direction.sends(), media.direction.receives() && reachable)
}

/// RFC 3264 §6.1: an answer takes nothing that was not offered, whatever the other end wrote.
pub(super) fn answer_direction(offer: Direction, answer: Direction) -> Direction {
    Direction::new(answer.sends() && offer.receives(), answer.receives() && offer.sends())
}

pub(super) fn passed(extensions: &[ExtMap]) -> Vec<ExtMap> {
    extensions.iter().filter(|extension| EXTENSIONS.contains(&extension.uri.as_str())).cloned().collect()
}
