//! Contact (RFC 3261 §20.10, RFC 5626 §11.1).

use std::borrow::Cow;

use super::{Header, NameAddr, decimal};
use crate::message::scan;
use crate::message::{HeaderError, Name};

/// One Contact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`: all bindings, legal in a REGISTER with Expires 0 only (RFC 3261 §10.2.2).
    Star,
    /// An address.
    Address(NameAddr<'a>),
}

impl<'a> Header<'a> for Contact<'a> {
    const NAME: Name<'static> = Name::Contact;

    fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        if scan::trim(value) == b"*" {
            return Ok(Self::Star);
        }
        NameAddr::parse("Contact", value).map(Self::Address)
    }
}

impl<'a> Contact<'a> {
    /// The address, unless it is `*`.
    #[must_use]
    pub const fn address(&self) -> Option<NameAddr<'a>> {
        match self {
            Self::Star => None,
            Self::Address(address) => Some(*address),
        }
    }

    fn param(&self, name: &str) -> Option<&'a str> {
        self.address()?.params().get(name)
    }

    /// Preference in thousandths, 0 to 1000; `None` when absent or malformed.
    #[must_use]
    pub fn q(&self) -> Option<u16> {
        let (whole, fraction) = self.param("q").map(|text| text.split_once('.').unwrap_or((text, "")))?;
        let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
        let thousandths: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| digits)?;
        match whole {
            "0" | "" => Some(thousandths),
            "1" if thousandths == 0 => Some(1000),
            _ => None,
        }
    }

    /// Lifetime of the binding, seconds. A number too large is the largest; a malformed one counts as absent
    /// (RFC 3261 §20.19).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        decimal(self.param("expires")?.as_bytes())
            .map(|seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// `+sip.instance` without quotes and angle brackets (RFC 5626 §4.1).
    #[must_use]
    pub fn instance(&self) -> Option<Cow<'a, str>> {
        let text = scan::unquote(self.param("+sip.instance")?);
        let strip = |text: &str| text.strip_prefix('<')?.strip_suffix('>').map(str::to_owned);
        match strip(&text) {
            Some(inner) => Some(inner.into()),
            None => Some(text),
        }
    }

    /// `reg-id`, 1 or more (RFC 5626 §4.2).
    #[must_use]
    pub fn reg_id(&self) -> Option<u32> {
        decimal(self.param("reg-id")?.as_bytes()).filter(|&id| id > 0)
    }
}
