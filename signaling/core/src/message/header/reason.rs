//! Reason (RFC 3326).

use std::borrow::Cow;

use super::{Header, text};
use crate::message::scan::trim_str;
use crate::message::{HeaderError, Name, Params};

/// Why a request was sent: `SIP ;cause=200 ;text="Call completed elsewhere"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason<'a> {
    /// The protocol of the cause, such as `SIP` or `Q.850`.
    pub protocol: &'a str,
    params: Params<'a>,
}

impl<'a> Header<'a> for Reason<'a> {
    const NAME: Name<'static> = Name::Reason;

    fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let text = text("Reason", value)?;
        let (protocol, params) = text.split_once(';').unwrap_or((text, ""));
        let protocol = trim_str(protocol);
        if protocol.is_empty() {
            return Err(HeaderError::new("Reason", "has no protocol"));
        }
        Ok(Self { protocol, params: Params::new(params) })
    }
}

impl<'a> Reason<'a> {
    /// The cause.
    #[must_use]
    pub fn cause(&self) -> Option<u16> {
        super::decimal(self.params.get("cause")?.as_bytes())
    }

    /// The text for people.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        self.params.find("text").map(|param| param.unquoted())
    }
}
