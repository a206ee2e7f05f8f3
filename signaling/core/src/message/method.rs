//! Request methods (RFC 3261 §7.1 and its extensions).

use std::fmt;

use super::scan;

macro_rules! methods {
    ($($variant:ident $text:literal $rfc:literal),* $(,)?) => {
        /// A request method. Methods are compared with case (RFC 3261 §7.1).
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $text, "` (", $rfc, ").")] $variant,)*
            /// Any other token.
            Other(Box<str>),
        }

        impl Method {
            /// The method as it stands in a request line.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)* Self::Other(text) => text }
            }

            /// `None` when `text` is no token.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ if scan::is_token(text.as_bytes()) => Some(Self::Other(text.into())),
                    _ => None,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE" "RFC 3261",
    Ack "ACK" "RFC 3261",
    Bye "BYE" "RFC 3261",
    Cancel "CANCEL" "RFC 3261",
    Register "REGISTER" "RFC 3261",
    Options "OPTIONS" "RFC 3261",
    Info "INFO" "RFC 6086",
    Update "UPDATE" "RFC 3311",
    Prack "PRACK" "RFC 3262",
    Refer "REFER" "RFC 3515",
    Subscribe "SUBSCRIBE" "RFC 6665",
    Notify "NOTIFY" "RFC 6665",
    Message "MESSAGE" "RFC 3428",
    Publish "PUBLISH" "RFC 3903",
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
