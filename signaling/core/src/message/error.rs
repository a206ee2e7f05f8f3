//! What can be wrong with a message, and which status says so: one function, [`ParseErrorKind::status`].

use super::build::Reply;
use super::{Request, Response, StatusCode};

/// A header field whose value does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{header}: {what}")]
pub struct HeaderError {
    /// Canonical name of the field.
    pub header: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
}

impl HeaderError {
    pub(crate) const fn new(header: &'static str, what: &'static str) -> Self {
        Self { header, what }
    }
}

/// Why bytes are no SIP message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// Nothing but line ends.
    #[error("empty message")]
    Empty,
    /// More bytes than [`super::Limits::message`].
    #[error("message is longer than {limit} bytes")]
    MessageTooLong {
        /// The limit, bytes.
        limit: usize,
    },
    /// The announced body does not fit [`super::Limits::message`].
    #[error("body is longer than a message of {limit} bytes may carry")]
    BodyTooLong {
        /// The limit, bytes.
        limit: usize,
    },
    /// The request-URI is longer than [`super::Limits::uri`].
    #[error("request-URI is longer than {limit} bytes")]
    UriTooLong {
        /// The limit, bytes.
        limit: usize,
    },
    /// A header line is longer than [`super::Limits::line`].
    #[error("header line {line} is longer than {limit} bytes")]
    LineTooLong {
        /// Line number, the first header being 1.
        line: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// More header lines than [`super::Limits::headers`].
    #[error("more than {limit} header lines")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// The first line is neither a request line nor a status line.
    #[error("start line: {0}")]
    StartLine(&'static str),
    /// The version is not `SIP/2.0`.
    #[error("SIP version is not 2.0")]
    Version,
    /// A header line without name or colon, or with a control character.
    #[error("header line {line}: {what}")]
    HeaderLine {
        /// Line number, the first header being 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// No empty line ends the headers.
    #[error("header section has no end")]
    NoEndOfHeaders,
    /// A mandatory header is absent (RFC 3261 §8.1.1).
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A header that may stand once stands twice.
    #[error("{0} occurs more than once")]
    Duplicate(&'static str),
    /// A header needed to place the message does not parse.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The method of CSeq is not that of the request line (RFC 3261 §8.1.1.5).
    #[error("CSeq names another method than the request line")]
    MethodMismatch,
    /// Fewer body bytes than Content-Length says (RFC 3261 §18.3).
    #[error("body has {present} bytes, Content-Length says {announced}")]
    BodyTooShort {
        /// Bytes there.
        present: usize,
        /// Bytes announced.
        announced: usize,
    },
}

impl ParseErrorKind {
    /// The status that tells a client what was wrong (RFC 3261 §21.4, §21.5).
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::MessageTooLong { .. } | Self::TooManyHeaders { .. } | Self::LineTooLong { .. } => {
                StatusCode::MESSAGE_TOO_LARGE
            }
            Self::BodyTooLong { .. } => StatusCode::REQUEST_ENTITY_TOO_LARGE,
            Self::UriTooLong { .. } => StatusCode::REQUEST_URI_TOO_LONG,
            Self::Version => StatusCode::VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Bytes that are no SIP message, with what could be read of the request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// The first thing found wrong.
    pub kind: ParseErrorKind,
    /// The request as far as it could be read, when that suffices to answer it: Via, From, To, Call-ID and CSeq are
    /// there, and it is no ACK.
    pub request: Option<Box<Request>>,
}

impl ParseErrorKind {
    /// The reason phrase by which Kamailio's `sanity` module tells it.
    const fn phrase(&self) -> Option<&'static str> {
        Some(match self {
            Self::Version => "Version Not Supported (R-URI)",
            Self::Missing(_) => "Missing Required Header in Request",
            Self::MethodMismatch => "CSeq method does not match request method",
            Self::Header(HeaderError { header, what }) => match (header.as_bytes(), what.as_bytes()) {
                (b"CSeq", b"has no method") => "Missing method in CSeq header",
                (b"CSeq", _) => "CSeq number is illegal",
                (b"Content-Length", _) => "Content-Length mis-match",
                _ => return None,
            },
            Self::BodyTooShort { .. } => "Content-Length mis-match",
            _ => return None,
        })
    }
}

impl ParseError {
    pub(crate) const fn bare(kind: ParseErrorKind) -> Self {
        Self { kind, request: None }
    }

    /// The refusal to send back, when one is possible: status by [`ParseErrorKind::status`]. The reason phrase is that of
    /// Kamailio's `sanity` module where it has one, else the fault, so that whoever looks at a trace sees it.
    #[must_use]
    pub fn response(&self, to_tag: &str) -> Option<Response> {
        let request = self.request.as_deref()?;
        let status = self.kind.status();
        let reason = match self.kind.phrase() {
            Some(phrase) => phrase.to_owned(),
            None => format!("{} ({})", status.reason(), self.kind),
        };
        Some(Reply::new(request, status).reason(&reason).to_tag(to_tag).build())
    }
}
