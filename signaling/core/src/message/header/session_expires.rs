//! Session-Expires and Min-SE (RFC 4028 §4, §5).

use super::{Header, decimal, text};
use crate::message::scan::trim_str;
use crate::message::{HeaderError, Name, Params};

/// Who refreshes the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// The client of the request.
    Uac,
    /// Its server.
    Uas,
}

/// The length of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds.
    pub seconds: u32,
    /// Who refreshes it, if that is said.
    pub refresher: Option<Refresher>,
}

impl Header<'_> for SessionExpires {
    const NAME: Name<'static> = Name::SessionExpires;

    fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        let (seconds, params) = split("Session-Expires", value)?;
        let refresher = params.get("refresher").and_then(|who| match who {
            _ if who.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            _ if who.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        });
        Ok(Self { seconds, refresher })
    }
}

/// The shortest session that an element takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinSe(
    /// Seconds.
    pub u32,
);

impl Header<'_> for MinSe {
    const NAME: Name<'static> = Name::MinSe;

    fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        split("Min-SE", value).map(|(seconds, _)| Self(seconds))
    }
}

fn split<'a>(header: &'static str, value: &'a [u8]) -> Result<(u32, Params<'a>), HeaderError> {
    let text = text(header, value)?;
    let (seconds, params) = text.split_once(';').unwrap_or((text, ""));
    let seconds =
        decimal(trim_str(seconds).as_bytes()).ok_or(HeaderError::new(header, "is no number of seconds"))?;
    Ok((seconds, Params::new(params)))
}
