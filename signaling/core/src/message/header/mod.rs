//! Typed headers, one file each. Every type is a view into the field's value and costs nothing until asked for.

mod authenticate;
mod contact;
mod cseq;
mod from_to;
mod name_addr;
mod number;
mod reason;
mod route;
mod session_expires;
mod via;

pub use authenticate::{
    Authorization, Challenge, Credentials, ProxyAuthenticate, ProxyAuthorization, WwwAuthenticate,
};
pub use contact::Contact;
pub use cseq::CSeq;
pub use from_to::{From, To};
pub use name_addr::NameAddr;
pub(crate) use number::decimal;
pub use number::{Expires, MinExpires, RAck, RSeq, RetryAfter};
pub use reason::Reason;
pub use route::{Path, RecordRoute, Route};
pub use session_expires::{MinSe, Refresher, SessionExpires};
pub(crate) use via::MAGIC_COOKIE;
pub use via::Via;

use super::{HeaderError, Name};

/// A header with a parser of its own. [`super::Fields::get`] and [`super::Fields::all`] find its values.
pub trait Header<'a>: Sized {
    /// Its name.
    const NAME: Name<'static>;

    /// Reads one value, without white space around it.
    ///
    /// # Errors
    /// When the value is malformed; the text says what is wrong with it.
    fn parse(value: &'a [u8]) -> Result<Self, HeaderError>;
}

/// `value` as text, for the headers that cannot hold anything but UTF-8.
fn text<'a>(header: &'static str, value: &'a [u8]) -> Result<&'a str, HeaderError> {
    std::str::from_utf8(value).map_err(|_| HeaderError::new(header, "is not UTF-8"))
}
