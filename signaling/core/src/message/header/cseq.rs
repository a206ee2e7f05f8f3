//! CSeq (RFC 3261 §20.16).

use super::{Header, decimal, text};
use crate::message::scan::{is_token, split_lws, trim_str};
use crate::message::{HeaderError, Method, Name};

/// Number and method of a request, repeated in its responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The number. RFC 3261 §8.1.1.5 bounds it by 2³¹; senders with the high bit set are seen and taken.
    pub number: u32,
    /// The method's text; see [`CSeq::method`].
    pub method: &'a str,
}

impl CSeq<'_> {
    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        // The parser lets nothing but a token through, and every token is a method.
        Method::parse(self.method).unwrap_or_else(|| Method::Other(self.method.into()))
    }
}

impl<'a> Header<'a> for CSeq<'a> {
    const NAME: Name<'static> = Name::CSeq;

    fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let text = trim_str(text("CSeq", value)?);
        let (number, method) = split_lws(text).ok_or(HeaderError::new("CSeq", "has no method"))?;
        let number =
            decimal(number.as_bytes()).ok_or(HeaderError::new("CSeq", "has no number below 2^32"))?;
        let method = trim_str(method);
        if !is_token(method.as_bytes()) {
            return Err(HeaderError::new("CSeq", "has no method"));
        }
        Ok(Self { number, method })
    }
}
