//! Headers that hold a number: Expires, Min-Expires, Retry-After (RFC 3261 §20.19, §20.23, §20.33), RSeq and RAck
//! (RFC 3262 §7).

use super::Header;
use crate::message::scan;
use crate::message::{HeaderError, Method, Name};

/// Decimal digits and nothing else, as any unsigned type; `None` when there are none, or too many for the type.
pub(crate) fn decimal<T: TryFrom<u64>>(value: &[u8]) -> Option<T> {
    if value.is_empty() {
        return None;
    }
    let add = |sum: u64, &byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    value.iter().try_fold(0, add)?.try_into().ok()
}

/// Seconds; more than 2³²-1 is that (RFC 3261 §20.19).
fn seconds(header: &'static str, value: &[u8]) -> Result<u32, HeaderError> {
    let digits = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    if digits == 0 || digits != value.len() {
        return Err(HeaderError::new(header, "is no number of seconds"));
    }
    Ok(decimal(value).unwrap_or(u32::MAX))
}

macro_rules! number {
    ($($type:ident $text:literal $doc:literal),*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $type(
            /// Seconds.
            pub u32,
        );

        impl Header<'_> for $type {
            const NAME: Name<'static> = Name::$type;

            fn parse(value: &[u8]) -> Result<Self, HeaderError> {
                seconds($text, value).map(Self)
            }
        }
    )*};
}

number!(Expires "Expires" "How long something lasts.", MinExpires "Min-Expires" "The shortest lifetime granted.");

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(
    /// Seconds.
    pub u32,
);

impl Header<'_> for RetryAfter {
    const NAME: Name<'static> = Name::RetryAfter;

    /// A comment or parameter may follow the number (RFC 3261 §20.33); neither has a use here.
    fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        let end = value.iter().position(|&byte| byte == b';' || byte == b'(').unwrap_or(value.len());
        seconds("Retry-After", scan::trim(&value[..end])).map(Self)
    }
}

/// Numbers a reliable provisional response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RSeq(
    /// The number, 1 to 2³²-1.
    pub u32,
);

impl Header<'_> for RSeq {
    const NAME: Name<'static> = Name::RSeq;

    fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        decimal(value).map(Self).ok_or(HeaderError::new("RSeq", "is no number below 2^32"))
    }
}

/// Which reliable provisional response a PRACK acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// Its RSeq.
    pub rseq: u32,
    /// The number of its CSeq.
    pub cseq: u32,
    /// The method of its CSeq.
    pub method: Method,
}

impl Header<'_> for RAck {
    const NAME: Name<'static> = Name::RAck;

    fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        let bad = || HeaderError::new("RAck", "is not two numbers and a method");
        let mut parts = super::text("RAck", value)?.split_ascii_whitespace();
        let mut number = || parts.next().and_then(|part| decimal(part.as_bytes())).ok_or_else(bad);
        let (rseq, cseq) = (number()?, number()?);
        let method = parts.next().and_then(Method::parse).ok_or_else(bad)?;
        if parts.next().is_some() { Err(bad()) } else { Ok(Self { rseq, cseq, method }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rack_is_two_numbers_and_a_method() {
        let rack = |text: &'static str| RAck::parse(text.as_bytes()).ok();
        let good = RAck { rseq: 776_656, cseq: 1, method: Method::Invite };
        assert_eq!(rack("776656 1 INVITE"), Some(good.clone()));
        assert_eq!(rack("776656\t 1   INVITE"), Some(good));
        for wrong in [
            "",
            "1",
            "1 2",
            "1 2 ",
            "x 1 INVITE",
            "1 -1 INVITE",
            "1 1 IN,VITE",
            "1 1 INVITE x",
            "4294967296 1 X",
        ] {
            assert_eq!(rack(wrong), None, "{wrong:?}");
        }
        assert_eq!(RSeq::parse(b"4294967295"), Ok(RSeq(u32::MAX)));
        assert!(RSeq::parse(b"4294967296").is_err() && RSeq::parse(b"").is_err());
    }
}
