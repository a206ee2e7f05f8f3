//! Cuts messages out of a byte stream: the end of the headers, then Content-Length (RFC 3261 §18.3), and the CRLF
//! keep-alives between messages (RFC 5626 §3.5.1). Bounded, and linear in what arrives.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

use super::error::{ParseError, ParseErrorKind};
use super::header::decimal;
use super::name::{Name, NameId};
use super::{Limits, Message, Response, scan};

/// The answer to [`Frame::Ping`] (RFC 5626 §3.5.1).
pub const PONG: &[u8] = b"\r\n";

/// One thing found in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message(Bytes),
    /// A double CRLF: send [`PONG`].
    Ping,
}

/// The stream cannot be followed any further: answer if possible, then close.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.kind)]
pub struct FramingError(pub ParseError);

impl FramingError {
    /// The refusal to send before closing, if enough of the request has come.
    #[must_use]
    pub fn response(&self, to_tag: &str) -> Option<Response> {
        self.0.response(to_tag)
    }
}

/// The state of one stream.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limits: Limits,
    /// Up to here no end of headers was found: the search goes on from there.
    searched: usize,
    /// Length of the message at the front, once its headers are there.
    length: Option<usize>,
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { buffer: BytesMut::new(), limits, searched: 0, length: None }
    }

    /// The buffer to read into. Read a bounded piece, then call [`Framer::poll_frame`] until it returns `None`: what
    /// stays in the buffer then is at most one message of the limits' size.
    pub const fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Adds bytes that were read elsewhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a part of a message waits for the rest: a shell drops connections that stay so for long.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.buffer.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// The next frame; `Ok(None)` when more bytes are needed.
    ///
    /// # Errors
    /// When a limit is exceeded or no length can be known. The stream is lost then.
    pub fn poll_frame(&mut self) -> Result<Option<Frame>, FramingError> {
        if self.length.is_none() {
            if self.skip_line_ends() {
                return Ok(Some(Frame::Ping));
            }
            self.length = self.find_length()?;
        }
        match self.length {
            Some(length) if self.buffer.len() >= length => {
                (self.length, self.searched) = (None, 0);
                Ok(Some(Frame::Message(self.buffer.split_to(length).freeze())))
            }
            _ => Ok(None),
        }
    }

    /// Drops CRLFs in front; `true` when two of them made a ping. A single one at the end of the buffer stays, for it may
    /// be the first half of a ping.
    fn skip_line_ends(&mut self) -> bool {
        while !self.buffer.is_empty() {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return true;
            }
            let may_become_ping = b"\r\n\r\n".starts_with(&self.buffer);
            if may_become_ping || !matches!(self.buffer[0], b'\r' | b'\n') {
                return false;
            }
            self.buffer.advance(1);
        }
        false
    }

    fn find_length(&mut self) -> Result<Option<usize>, FramingError> {
        let from = self.searched.saturating_sub(3).min(self.buffer.len());
        let Some(end) = memmem::find(&self.buffer[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > self.limits.message { Err(self.endless_head()) } else { Ok(None) };
        };
        if end > self.limits.message {
            return Err(self.endless_head());
        }
        let head = &self.buffer[..end];
        let announced = content_length(head).map_err(|kind| self.refuse(end, kind))?;
        if announced > self.limits.message - end {
            return Err(self.refuse(end, ParseErrorKind::BodyTooLong { limit: self.limits.message }));
        }
        Ok(Some(end + announced))
    }

    /// Headers that do not end within the limit: whatever whole lines are there serve for the refusal.
    fn endless_head(&self) -> FramingError {
        let limit = self.limits.message;
        let seen = &self.buffer[..limit.min(self.buffer.len())];
        match memmem::rfind(seen, b"\r\n") {
            Some(last) => self.refuse(last + 2, ParseErrorKind::MessageTooLong { limit }),
            None => FramingError(ParseError::bare(ParseErrorKind::UriTooLong { limit: self.limits.uri })),
        }
    }

    /// The error `kind`, with the request in the first `end` bytes if it can be answered.
    fn refuse(&self, end: usize, kind: ParseErrorKind) -> FramingError {
        let mut head = BytesMut::from(&self.buffer[..end]);
        head.extend_from_slice(b"\r\n");
        let request = match Message::parse_with(head.freeze(), &self.limits) {
            Ok(Message::Request(request)) => Some(Box::new(request)),
            Ok(Message::Response(_)) => None,
            // A fault found on the way (a URI too long in front of endless headers) is the better explanation.
            Err(error) if matches!(error.kind, ParseErrorKind::UriTooLong { .. }) => {
                return FramingError(error);
            }
            Err(error) => error.request,
        };
        let request = request.filter(|request| *request.method() != super::Method::Ack);
        FramingError(ParseError { kind, request })
    }
}

/// Content-Length in a head that ends with an empty line. A stream needs it (RFC 3261 §20.14).
fn content_length(head: &[u8]) -> Result<usize, ParseErrorKind> {
    let mut length = None;
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line).filter(|&at| at > 0) else { continue };
        let name = scan::trim(&line[..colon]);
        // A folded line begins with white space: what looks like a name there is text.
        if scan::is_lws(line[0]) || NameId::of(name) != Name::ContentLength.id() {
            continue;
        }
        let value = decimal::<usize>(scan::trim(&line[colon + 1..]));
        let value = value.ok_or(super::HeaderError::new("Content-Length", "is no decimal number"))?;
        if length.is_some_and(|length| length != value) {
            return Err(ParseErrorKind::Duplicate("Content-Length"));
        }
        length = Some(value);
    }
    length.ok_or(ParseErrorKind::Missing("Content-Length"))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
