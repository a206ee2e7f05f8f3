//! Authorization, WWW-Authenticate and their proxy twins (RFC 3261 §20.7, §20.44; RFC 7616 §3.3, §3.4).

use std::borrow::Cow;

use super::{Header, text};
use crate::message::scan::{find_unquoted, split_lws, split_once, trim_str, unquote};
use crate::message::{HeaderError, Name};

/// Comma-separated `name=value` pairs behind the scheme `Digest`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct DigestParams<'a>(&'a str);

impl<'a> DigestParams<'a> {
    fn parse(header: &'static str, value: &'a [u8]) -> Result<Self, HeaderError> {
        let text = trim_str(text(header, value)?);
        let (scheme, params) = split_lws(text).unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(HeaderError::new(header, "is not of scheme Digest"));
        }
        Ok(Self(params))
    }

    /// Each parameter, in order, its value without quotes.
    fn iter(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        let mut rest = Some(self.0);
        std::iter::from_fn(move || {
            loop {
                let text = rest?;
                let one = &text[..find_unquoted(text.as_bytes(), b',').unwrap_or(text.len())];
                rest = text.get(one.len() + 1..);
                if let Some((name, value)) = split_once(one, b'=') {
                    return Some((trim_str(name), unquote(trim_str(value))));
                }
            }
        })
    }

    fn get(&self, wanted: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }
}

/// The parameters that a client answers a challenge with. Without `Debug` of the values: they are secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a>(DigestParams<'a>);

/// The parameters of a challenge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge<'a>(DigestParams<'a>);

macro_rules! getters {
    ($type:ident: $($name:ident $text:literal $doc:literal),* $(,)?) => {
        impl<'a> $type<'a> {
            $(#[doc = $doc] #[must_use] pub fn $name(&self) -> Option<Cow<'a, str>> { self.0.get($text) })*
        }

        impl std::fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).field("realm", &self.realm()).finish_non_exhaustive()
            }
        }
    };
}

impl<'a> Credentials<'a> {
    /// Every parameter in order: its name as spelled, its value without quotes.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        self.0.iter()
    }

    /// Whether each of `names` is there, the first of its name not empty. They are looked for in one pass.
    #[must_use]
    pub fn has_all<const COUNT: usize>(&self, names: &[&str; COUNT]) -> bool {
        let mut given = [None; COUNT];
        for (name, value) in self.params() {
            if let Some(at) = names.iter().position(|wanted| name.eq_ignore_ascii_case(wanted)) {
                given[at].get_or_insert(!value.is_empty());
            }
        }
        given.iter().all(|given| *given == Some(true))
    }
}

getters! { Credentials:
    username "username" "The user who claims to be one.",
    realm "realm" "The realm, as challenged.",
    nonce "nonce" "The nonce, as challenged.",
    uri "uri" "The request-URI as the client saw it.",
    response "response" "The proof, hexadecimal.",
    algorithm "algorithm" "`MD5` when absent.",
    cnonce "cnonce" "The client's own nonce; with `qop` only.",
    opaque "opaque" "As challenged.",
    qop "qop" "The quality of protection chosen; absent from RFC 2069 clients.",
    nc "nc" "How often this nonce was used, eight hexadecimal digits; with `qop` only.",
}

getters! { Challenge:
    realm "realm" "Which accounts are meant.",
    nonce "nonce" "What to prove freshness with.",
    opaque "opaque" "To be returned.",
    stale "stale" "`true` when only the nonce was too old.",
    algorithm "algorithm" "`MD5` when absent.",
    qop "qop" "The qualities of protection offered.",
}

macro_rules! digest {
    ($($type:ident $inner:ident $text:literal $doc:literal),*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $type<'a>(
            /// The parameters.
            pub $inner<'a>,
        );

        impl<'a> Header<'a> for $type<'a> {
            const NAME: Name<'static> = Name::$type;

            fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
                DigestParams::parse($text, value).map(|params| Self($inner(params)))
            }
        }
    )*};
}

digest!(
    Authorization Credentials "Authorization" "Credentials for a server or registrar.",
    ProxyAuthorization Credentials "Proxy-Authorization" "Credentials for a proxy.",
    WwwAuthenticate Challenge "WWW-Authenticate" "The challenge of a 401.",
    ProxyAuthenticate Challenge "Proxy-Authenticate" "The challenge of a 407."
);
