//! From and To (RFC 3261 §20.20, §20.39).

use super::{Header, NameAddr};
use crate::message::{HeaderError, Name};

macro_rules! party {
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

        impl<'a> $type<'a> {
            /// The tag, the half of the dialog's identity that this end chose (RFC 3261 §19.3).
            #[must_use]
            pub fn tag(&self) -> Option<&'a str> {
                self.0.params().get("tag").filter(|tag| !tag.is_empty())
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

party!(From "From" "Who the request is from.", To "To" "Whom the request is meant for.");
