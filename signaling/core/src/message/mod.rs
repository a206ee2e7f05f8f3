//! SIP messages, lazy and zero-copy: bytes ↔ [`Message`].
//!
//! Parsing finds the start line, the ends of the header lines and the body, and checks what every element of a network
//! needs (RFC 3261 §8.1.1). Values are parsed when asked for ([`Fields::get`]), from the received bytes. Edits are kept
//! beside the bytes and spliced in by [`Message::to_bytes`]; whatever is not touched goes out as it came.
//!
//! Invariants: a value given to an edit cannot break out of its line; parsing is bounded by [`Limits`] and linear; no
//! input makes it panic.

pub mod build;
pub(crate) mod digits;
mod error;
mod fields;
pub mod framing;
pub mod header;
mod method;
mod name;
mod params;
mod parse;
pub(crate) mod scan;
mod status;
pub mod terse;
pub mod uri;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use bytes::Bytes;

pub use error::{HeaderError, ParseError, ParseErrorKind};
pub use fields::Fields;
pub use method::Method;
pub use name::Name;
pub use params::{Param, Params};
pub use parse::{Limits, peek_begins, peek_call_id, peek_continues};
pub use scan::Values;
pub use status::StatusCode;
pub use uri::{Scheme, Uri, UriError};

/// A request or a response.
#[derive(Debug, Clone)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

impl Message {
    /// Reads one whole message: a datagram, a WebSocket message, or what [`framing`] cut out of a stream. Bytes behind
    /// the body that Content-Length announces are dropped (RFC 3261 §18.3).
    ///
    /// # Errors
    /// When the message is malformed, lacks a mandatory header or exceeds the default [`Limits`].
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        parse::message(bytes, &Limits::default())
    }

    /// [`Message::parse`] with other limits.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse_with(bytes: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        parse::message(bytes, limits)
    }

    /// The bytes to send: the received ones when nothing was changed.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

impl Deref for Message {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        match self {
            Self::Request(request) => request,
            Self::Response(response) => response,
        }
    }
}

/// A request (RFC 3261 §7.1).
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    /// The request-URI as written.
    uri: Text,
    /// The same, once it was read.
    read: ReadUri,
    /// See [`Request::has_proved_target`].
    proved_target: bool,
    /// Where the line of [`Request::received_via`] stands in the source.
    received_via: Option<(u32, u32)>,
    fields: Fields,
}

/// A request-URI that nearly every step of a route asks for. A copy of the message is mostly made to be sent elsewhere, and reads its
/// own when it is asked.
#[derive(Debug, Default)]
struct ReadUri(OnceLock<Result<Uri, UriError>>);

impl Clone for ReadUri {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Text of the start line: offsets into the source, or our own.
#[derive(Debug, Clone)]
enum Text {
    Source { start: u32, end: u32 },
    Fixed(&'static str),
    Owned(Box<[u8]>),
}

impl Text {
    fn get<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Source { start, end } => &source[*start as usize..*end as usize],
            Self::Fixed(text) => text.as_bytes(),
            Self::Owned(text) => text,
        }
    }
}

impl Request {
    /// An empty request with nothing but its request line; [`build::NewRequest`] makes complete ones.
    #[must_use]
    pub fn new(method: Method, uri: &Uri) -> Self {
        let fields = Fields::made();
        let (uri, read) = (Text::Owned(uri.as_str().as_bytes().into()), ReadUri::default());
        Self { method, uri, read, proved_target: false, received_via: None, fields }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The request-URI as written.
    #[must_use]
    pub fn uri_text(&self) -> &str {
        std::str::from_utf8(self.uri.get(&self.fields.source)).unwrap_or_default()
    }

    /// The request-URI.
    ///
    /// # Errors
    /// When it is no URI; the answer is 400, or 416 for a scheme that cannot be served.
    pub fn uri(&self) -> Result<&Uri, UriError> {
        let read = self.read.0.get_or_init(|| Uri::parse(self.uri_text()));
        read.as_ref().map_err(|error| *error)
    }

    /// Puts another request-URI in place.
    pub fn set_uri(&mut self, uri: &Uri) {
        (self.uri, self.read) = (Text::Owned(uri.as_str().as_bytes().into()), ReadUri::default());
        self.fields.edited = true;
    }

    /// Whether the request-URI is one that we have given to its sender in other words, which nobody else could have written
    /// ([`crate::topology`]). Nothing on the wire says so.
    #[must_use]
    pub const fn has_proved_target(&self) -> bool {
        self.proved_target
    }

    /// From now on it has.
    pub fn prove_target(&mut self) {
        self.proved_target = true;
    }

    /// Max-Forwards; `None` when it is absent or no number from 0 to 255 (RFC 3261 §16.3 step 3).
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        self.text(Name::MaxForwards)?.parse().ok()
    }

    /// Notes the source in the topmost Via, as a server transport does on reception: `received` when the host of sent-by
    /// is another address (RFC 3261 §18.2.1), and `rport` filled in when it is there (RFC 3581 §4) or `force_rport` is set,
    /// in which case `received` is always written.
    ///
    /// # Errors
    /// When the topmost Via does not parse.
    pub fn stamp_source(&mut self, source: SocketAddr, force_rport: bool) -> Result<(), HeaderError> {
        if let Some(stamped) = self.top_via()?.stamped(source, force_rport) {
            self.put_stamp(stamped);
        }
        Ok(())
    }

    /// Puts a stamped Via in the place of the topmost one.
    pub(crate) fn put_stamp(&mut self, stamped: String) {
        self.received_via = self.fields.place(Name::Via);
        self.replace_value(Name::Via, 0, stamped);
    }

    /// The topmost Via as it came, where [`Request::stamp_source`] has written something into it.
    #[must_use]
    pub fn received_via(&self) -> Option<&[u8]> {
        let (start, end) = self.received_via?;
        let line = self.fields.source.get(start as usize..end as usize)?;
        Values::new(line, true).next()
    }

    /// How long it was when it came; 0 for one made here.
    #[must_use]
    pub fn received_len(&self) -> usize {
        self.fields.source.len()
    }

    /// How long [`Request::to_bytes`] is.
    #[must_use]
    pub fn sent_len(&self) -> usize {
        let uri = self.uri.get(&self.fields.source);
        self.method.as_str().len() + uri.len() + b"  SIP/2.0\r\n".len() + self.fields.written_len()
    }

    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if !self.fields.edited {
            return self.fields.source.clone();
        }
        let uri = self.uri.get(&self.fields.source);
        let method = self.method.as_str();
        let mut out = Vec::with_capacity(method.len() + uri.len() + 16 + self.fields.written_len());
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        self.fields.write_to(&mut out);
        out.into()
    }
}

impl Deref for Request {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl DerefMut for Request {
    fn deref_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }
}

/// A response (RFC 3261 §7.2).
#[derive(Debug, Clone)]
pub struct Response {
    status: StatusCode,
    reason: Text,
    fields: Fields,
}

impl Response {
    /// An empty response with nothing but its status line; [`build::Reply`] makes complete ones.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self { status, reason: Text::Fixed(status.reason()), fields: Fields::made() }
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The reason phrase.
    #[must_use]
    pub fn reason(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.reason.get(&self.fields.source))
    }

    /// Puts another status in place; `reason` is the registered phrase when `None`.
    pub fn set_status(&mut self, status: StatusCode, reason: Option<&str>) {
        let clean = |reason: &str| {
            reason.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }).collect()
        };
        self.status = status;
        self.reason = reason.map_or(Text::Fixed(status.reason()), |reason| Text::Owned(clean(reason)));
        self.fields.edited = true;
    }

    /// How long [`Response::to_bytes`] is.
    #[must_use]
    pub fn sent_len(&self) -> usize {
        b"SIP/2.0 200 \r\n".len() + self.reason.get(&self.fields.source).len() + self.fields.written_len()
    }

    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if !self.fields.edited {
            return self.fields.source.clone();
        }
        let reason = self.reason.get(&self.fields.source);
        let mut out = Vec::with_capacity(16 + reason.len() + self.fields.written_len());
        out.extend_from_slice(b"SIP/2.0 ");
        out.extend_from_slice(&self.status.digits());
        out.push(b' ');
        out.extend_from_slice(reason);
        out.extend_from_slice(b"\r\n");
        self.fields.write_to(&mut out);
        out.into()
    }
}

impl Deref for Response {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl DerefMut for Response {
    fn deref_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }
}

#[cfg(test)]
mod header_tests;
#[cfg(test)]
mod scaling_tests;
#[cfg(test)]
mod torture_tests;
