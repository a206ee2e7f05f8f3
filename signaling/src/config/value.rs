//! One TOML value, and how a key reads it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use signaling_core::message::Uri;
use signaling_core::settings::Network;
use toml::de::DeValue;

use super::listen::Listen;

/// A value of one of the kinds that keys take.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Strings in brackets.
    List(Vec<String>),
    /// `true` or `false`.
    Flag(bool),
    /// Anything else, as text for the message.
    Other(String),
}

impl Value {
    /// The value behind TOML's.
    ///
    /// # Errors
    /// A number that does not fit, or a list of something else than text.
    pub(super) fn of(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Ok(Self::Text(text.to_string())),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(Self::Number)
                .map_err(|_| format!("{} is too large", number.as_str())),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(ToOwned::to_owned))
                .collect::<Option<_>>()
                .map(Self::List)
                .ok_or_else(|| "the list holds something else than text".to_owned()),
            DeValue::Boolean(flag) => Ok(Self::Flag(*flag)),
            other => Ok(Self::Other(format!("a {}", other.type_str()))),
        }
    }

    /// The same as JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Other(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::List(items) => items.as_slice().into(),
            Self::Flag(flag) => (*flag).into(),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Number(number) => number.to_string(),
            Self::List(items) => format!("{items:?}"),
            Self::Flag(flag) => flag.to_string(),
            Self::Other(text) => text.clone(),
        }
    }

    /// Text as it is.
    pub(super) fn text(&self) -> Result<String, String> {
        match self {
            Self::Text(text) if !text.chars().any(char::is_control) => Ok(text.clone()),
            _ => Err(format!("{} is not text", self.show())),
        }
    }

    /// A token (RFC 3261 §25.1), or nothing.
    pub(super) fn token(&self) -> Result<String, String> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        let text = self.text()?;
        if text.bytes().all(token) { Ok(text) } else { Err(format!("{text:?} is not a name")) }
    }

    /// A SIP URI; empty means "not set".
    pub(super) fn sip_uri(&self) -> Result<Option<String>, String> {
        let is_sip = |text: &str| Uri::parse(text).is_ok_and(|uri| uri.is_sip());
        match self.optional()? {
            Some(text) if !is_sip(&text) => Err(format!("{text:?} is no SIP URI")),
            text => Ok(text),
        }
    }

    /// Text, where empty means "not set".
    pub(super) fn optional(&self) -> Result<Option<String>, String> {
        Ok(Some(self.text()?).filter(|text| !text.is_empty()))
    }

    /// A host name or an address (the `host` of RFC 3261 §25.1), lower case; empty means "not set".
    pub(super) fn host(&self) -> Result<Option<String>, String> {
        self.optional()?.map(|text| host(&text)).transpose()
    }

    /// A list of hosts.
    pub(super) fn hosts(&self) -> Result<Vec<String>, String> {
        self.list()?.iter().map(|text| host(text)).collect()
    }

    /// A list of text.
    pub(super) fn list(&self) -> Result<Vec<String>, String> {
        match self {
            Self::List(items) => Ok(items.clone()),
            _ => Err(format!("{} is not a list", self.show())),
        }
    }

    /// A whole number from `low` to `high`.
    pub(super) fn number<T: TryFrom<i64>>(&self, low: i64, high: i64) -> Result<T, String> {
        let Self::Number(number) = self else {
            return Err(format!("{} is not a whole number", self.show()));
        };
        if !(low..=high).contains(number) {
            return Err(format!("{number} is out of range"));
        }
        T::try_from(*number).map_err(|_| format!("{number} is out of range"))
    }

    /// Yes or no; Kamailio's 1 and 0 mean the same.
    pub(super) fn flag(&self) -> Result<bool, String> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            Self::Number(0) => Ok(false),
            Self::Number(1) => Ok(true),
            _ => Err(format!("{} is neither true nor false", self.show())),
        }
    }

    /// A bit mask, which Kamailio writes as a signed number of 32 bits.
    pub(super) fn mask(&self) -> Result<u32, String> {
        self.number::<i32>(i32::MIN.into(), i32::MAX.into()).map(i32::cast_unsigned)
    }

    /// A span of time in milliseconds.
    pub(super) fn milliseconds(&self, low: i64, high: i64) -> Result<Duration, String> {
        Ok(Duration::from_millis(self.number(low, high)?))
    }

    /// A span of time in seconds.
    pub(super) fn seconds(&self, low: i64, high: i64) -> Result<Duration, String> {
        Ok(Duration::from_secs(self.number(low, high)?))
    }

    /// A listener: `off`, `*:PORT`, `ADDRESS:PORT`, or a port alone, which is `*:PORT`.
    pub(super) fn listen(&self) -> Result<Listen, String> {
        match self {
            Self::Text(text) => text.parse().map_err(|()| format!("{text:?} is no listener")),
            Self::Number(_) => self.number(0, 65_535).map(Listen::Every),
            _ => Err(format!("{} is not text or a port", self.show())),
        }
    }

    /// An address without port; empty means "not set".
    pub(super) fn address(&self) -> Result<Option<IpAddr>, String> {
        self.optional()?.map(|text| address(&text)).transpose()
    }

    /// A list of addresses.
    pub(super) fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        self.list()?.iter().map(|text| address(text)).collect()
    }

    /// A list of addresses, each with a port or with `default`.
    pub(super) fn endpoints(&self, default: u16) -> Result<Vec<SocketAddr>, String> {
        let endpoint = |text: &String| match text.parse() {
            Ok(endpoint) => Ok(endpoint),
            Err(_) => address(text).map(|ip| SocketAddr::new(ip, default)),
        };
        self.list()?.iter().map(endpoint).collect()
    }

    /// A list of addresses, each with the number of its bits that count or with all of them.
    pub(super) fn networks(&self) -> Result<Vec<Network>, String> {
        let network = |text: &String| text.parse().map_err(|_| format!("{text:?} is no address or network"));
        self.list()?.iter().map(network).collect()
    }

    /// One of `words`; its place in them.
    pub(super) fn choice(&self, words: &[&str]) -> Result<usize, String> {
        let text = self.text()?;
        words.iter().position(|word| *word == text).ok_or_else(|| format!("{text:?} is unknown"))
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address"))
}

/// A host name or an address, lower case, an IPv6 one without brackets.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let named = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if named || bare.parse::<std::net::Ipv6Addr>().is_ok() {
        Ok(bare.to_ascii_lowercase())
    } else {
        Err(format!("{text:?} is not a host name or address"))
    }
}
