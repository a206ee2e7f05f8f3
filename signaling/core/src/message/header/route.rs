//! Route, Record-Route and Path (RFC 3261 §20.30, §20.34, RFC 3327).

use super::{Header, NameAddr};
use crate::message::{HeaderError, Name};

macro_rules! route {
    ($($type:ident $text:literal $doc:literal),*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $type<'a>(NameAddr<'a>);

        impl<'a> Header<'a> for $type<'a> {
            const NAME: Name<'static> = Name::$type;

            fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
                NameAddr::parse($text, value).map(Self)
            }
        }

        impl<'a> std::ops::Deref for $type<'a> {
            type Target = NameAddr<'a>;

            fn deref(&self) -> &NameAddr<'a> {
                &self.0
            }
        }
    )*};
}

route!(
    Route "Route" "A proxy the request still has to visit.",
    RecordRoute "Record-Route" "A proxy that stays in the path of the dialog.",
    Path "Path" "A proxy between registrar and user agent."
);
