//! Session descriptions (RFC 8866) as an index of lines.
//!
//! Every line is kept byte for byte and in order, whatever a phone wrote: bare LF, no `s=`, attributes before `c=`,
//! doubled spaces, Latin-1. Typed views ([`Description`], [`Codec`], [`Candidate`] …) read the lines they understand;
//! what is written to the other end is made of kept lines and of the relay's own.

mod attribute;
mod codec;
mod crypto;
mod description;

use bytes::Bytes;

pub use attribute::{Candidate, CandidateKind, Fingerprint, Setup};
pub use codec::Codec;
pub use crypto::Crypto;
pub use description::{Description, Direction, ExtMap, Ice, Media, MediaType, Origin};

/// Longest session description, octets.
pub const MAX_SIZE: usize = 64 * 1024;
/// Most lines of a session description.
pub const MAX_LINES: usize = 2_000;
/// Most m= sections.
pub const MAX_MEDIA: usize = 32;

/// Why bytes are not a usable session description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Nothing there.
    #[error("the session description is empty")]
    Empty,
    /// Over [`MAX_SIZE`].
    #[error("the session description is longer than {MAX_SIZE} octets")]
    TooLong,
    /// Over [`MAX_LINES`].
    #[error("the session description has more than {MAX_LINES} lines")]
    TooManyLines,
    /// Over [`MAX_MEDIA`].
    #[error("the session description has more than {MAX_MEDIA} media sections")]
    TooManyMedia,
    /// The first line is not `v=`.
    #[error("the session description does not begin with v=")]
    NoVersion,
    /// An octet that no text has.
    #[error("the session description has a NUL octet")]
    Nul,
    /// An m= line without port, protocol or format.
    #[error("m= line {0} is malformed")]
    MediaLine(usize),
}

/// A session description as received: the octets and where the lines are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp {
    text: Bytes,
    lines: Vec<Span>,
    /// Index in `lines` of each m= line.
    media: Vec<usize>,
}

/// One line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// A line: its type letter and what follows `=`. A line without `x=` has kind 0 and is all value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// `b'm'` of `m=audio …`.
    pub kind: u8,
    /// The octets after `=`, without the line end.
    pub value: &'a [u8],
}

impl<'a> Line<'a> {
    /// The value as text, outer spaces gone; `None` when it is not UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok().map(str::trim)
    }

    /// Name and value of an attribute; the value of a flag (`a=sendrecv`) is empty.
    pub fn attribute(&self) -> Option<(&'a str, &'a str)> {
        if self.kind != b'a' {
            return None;
        }
        let text = self.text()?;
        Some(text.split_once(':').map_or((text, ""), |(name, value)| (name.trim_end(), value.trim_start())))
    }

    /// The attribute's name alone, also where its value is no UTF-8.
    pub fn attribute_name(&self) -> Option<&'a str> {
        if self.kind != b'a' {
            return None;
        }
        let end = memchr::memchr(b':', self.value).unwrap_or(self.value.len());
        std::str::from_utf8(self.value.get(..end)?).ok().map(str::trim)
    }
}

impl Sdp {
    /// Finds the lines. Nothing but the limits, the first line and the m= lines is checked here.
    pub fn parse(text: Bytes) -> Result<Self, SdpError> {
        if text.len() > MAX_SIZE {
            return Err(SdpError::TooLong);
        }
        if memchr::memchr(0, &text).is_some() {
            return Err(SdpError::Nul);
        }
        let mut sdp = Self { text: Bytes::new(), lines: Vec::with_capacity(64), media: Vec::new() };
        let mut start = 0;
        while start < text.len() {
            let rest = text.get(start..).unwrap_or_default();
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            sdp.push(start, line)?;
            start += length + 1;
        }
        sdp.text = text;
        let first = sdp.lines().next().map(|line| line.kind);
        match first {
            None => Err(SdpError::Empty),
            Some(b'v') => Ok(sdp),
            Some(_) => Err(SdpError::NoVersion),
        }
    }

    fn push(&mut self, start: usize, line: &[u8]) -> Result<(), SdpError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        if self.lines.len() == MAX_LINES {
            return Err(SdpError::TooManyLines);
        }
        if line.starts_with(b"m=") {
            if self.media.len() == MAX_MEDIA {
                return Err(SdpError::TooManyMedia);
            }
            self.media.push(self.lines.len());
        }
        // MAX_SIZE keeps both well inside u32.
        self.lines.push(Span { start: start as u32, end: (start + line.len()) as u32 });
        Ok(())
    }

    /// The octets as received.
    pub fn as_bytes(&self) -> &Bytes {
        &self.text
    }

    /// All lines that are not blank.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.view(&self.lines)
    }

    /// The lines before the first m=.
    pub fn session(&self) -> impl Iterator<Item = Line<'_>> {
        let end = self.media.first().copied().unwrap_or(self.lines.len());
        self.view(self.lines.get(..end).unwrap_or_default())
    }

    /// How many m= sections there are.
    pub fn media_count(&self) -> usize {
        self.media.len()
    }

    /// The lines of m= section `index`, the m= line first; none when there is no such section.
    pub fn media(&self, index: usize) -> impl Iterator<Item = Line<'_>> {
        self.view(self.section(index).0)
    }

    /// The lines of a further session description that begins behind m= section `index`, up to its own m= line. RFC 8866 §5
    /// lets several stand in a row; RFC 3264 §5 wants one.
    pub fn session_behind(&self, index: usize) -> impl Iterator<Item = Line<'_>> {
        self.view(self.section(index).1)
    }

    /// An m= section, and the beginning of the session behind it.
    fn section(&self, index: usize) -> (&[Span], &[Span]) {
        let start = self.media.get(index).copied().unwrap_or(self.lines.len());
        let end = self.media.get(index.saturating_add(1)).copied().unwrap_or(self.lines.len());
        let spans = self.lines.get(start..end).unwrap_or_default();
        let next = self.view(spans).position(|line| line.kind == b'v');
        spans.split_at_checked(next.unwrap_or(spans.len())).unwrap_or((spans, &[]))
    }

    fn view<'a>(&'a self, spans: &'a [Span]) -> impl Iterator<Item = Line<'a>> {
        spans.iter().map(|span| {
            let line = self.text.get(span.start as usize..span.end as usize).unwrap_or_default();
            match line {
                [kind, b'=', value @ ..] if kind.is_ascii_lowercase() => Line { kind: *kind, value },
                value => Line { kind: 0, value },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Sdp, SdpError> {
        Sdp::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// What the lines say, joined again.
    fn join(sdp: &Sdp) -> Vec<u8> {
        let mut out = Vec::new();
        let media = |index| sdp.media(index).chain(sdp.session_behind(index));
        for line in sdp.session().chain((0..sdp.media_count()).flat_map(media)) {
            if line.kind != 0 {
                out.extend_from_slice(&[line.kind, b'=']);
            }
            out.extend_from_slice(line.value);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    #[test]
    fn every_line_is_kept() {
        let text = b"v=0\r\no=- 99999999999999999999999 1 IN IP4 10.0.0.1\r\na=tool:J\xfcrgen  \r\nc=IN IP4 10.0.0.1\r\n\
            garbage\r\nt=0 0\r\nm=audio  5004 RTP/AVP 0 \r\na=x-foo: bar \r\nm=video 0 RTP/AVP 31\r\n";
        let sdp = Sdp::parse(Bytes::from_static(text)).unwrap();
        assert_eq!(join(&sdp), text);
        assert_eq!(
            (sdp.session().count(), sdp.media(0).count(), sdp.media(1).count(), sdp.media(2).count()),
            (6, 2, 1, 0)
        );
        let bare: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\r').collect();
        assert_eq!(join(&Sdp::parse(bare.into()).unwrap()), text, "bare LF");
    }

    #[test]
    fn a_session_behind_another_is_no_part_of_its_media() {
        let text =
            "v=0\r\nm=audio 1 RTP/AVP 0\r\na=x\r\nv=0\r\no=- 2 2 IN IP4 10.0.0.1\r\nm=video 2 RTP/AVP 31\r\n";
        let sdp = parse(text).unwrap();
        assert_eq!([sdp.session().count(), sdp.media(0).count(), sdp.media(1).count()], [1, 2, 1]);
        assert_eq!(sdp.session_behind(0).map(|line| line.kind).collect::<Vec<_>>(), [b'v', b'o']);
        assert_eq!((sdp.session_behind(1).count(), sdp.session_behind(7).count()), (0, 0));
        assert_eq!(join(&sdp), text.as_bytes());
    }

    #[test]
    fn limits() {
        assert_eq!(parse(""), Err(SdpError::Empty));
        assert_eq!(parse("\r\n\r\n"), Err(SdpError::Empty));
        assert_eq!(parse("o=x\r\n"), Err(SdpError::NoVersion));
        assert_eq!(parse("v=0\0\r\n"), Err(SdpError::Nul));
        assert_eq!(parse(&format!("v=0\n{}", "a=x\n".repeat(MAX_LINES))), Err(SdpError::TooManyLines));
        assert_eq!(
            parse(&format!("v=0\n{}", "m=audio 1 RTP/AVP 0\n".repeat(33))),
            Err(SdpError::TooManyMedia)
        );
        assert_eq!(parse(&"v=0\n".repeat(MAX_SIZE / 4 + 1)), Err(SdpError::TooLong));
    }
}
