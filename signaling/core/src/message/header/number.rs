//! Headers that hold a number: Expires, Min-Expires, Retry-After (RFC 3261 §20.19, §20.23, §20.33).

use super::Header;
use crate::message::scan;
use crate::message::{HeaderError, Name};

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
