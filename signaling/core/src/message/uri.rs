//! SIP, SIPS, tel and other URIs (RFC 3261 §19.1, RFC 3966): lossless text with offsets into it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::params::Params;
use super::scan;

/// Why a text is no URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("URI: {0}")]
pub struct UriError(pub &'static str);

/// What kind of URI it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966). The number is what [`Uri::user`] returns.
    Tel,
    /// Anything else, kept as it is; a proxy answers 416 when such a request-URI is its own to route.
    Other,
}

/// A URI. `==` compares the text; [`Uri::is_equivalent`] compares by the rules of RFC 3261 §19.1.4.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    text: Box<str>,
    scheme: Scheme,
    user: Option<Span>,
    password: Option<Span>,
    host: Span,
    port: Option<u16>,
    params: Span,
    headers: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Span(u32, u32);

impl Span {
    const fn new(start: usize, end: usize) -> Self {
        Self(start as u32, end as u32)
    }
}

impl Uri {
    /// Reads a URI without brackets around it.
    ///
    /// # Errors
    /// When there is no scheme, or a SIP URI is malformed.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > u16::MAX as usize {
            return Err(UriError("too long"));
        }
        let classes = scan::classes_in(text);
        if classes & scan::NO_URI != 0 {
            return Err(UriError("has a character that does not belong there"));
        }
        let colon = scan::find(text, b':').ok_or(UriError("has no scheme"))?;
        let scheme = scheme(&text[..colon])?;
        let mut uri = Self {
            text: text.into(),
            scheme,
            user: None,
            password: None,
            host: Span::default(),
            port: None,
            params: Span::default(),
            headers: Span::default(),
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => uri.index_sip(colon + 1, classes & scan::PERCENT != 0)?,
            Scheme::Tel => uri.index_tel(colon + 1)?,
            Scheme::Other => {}
        }
        Ok(uri)
    }

    /// `sip:user@host:port`; `user` is escaped where needed. An IPv6 `host` stands in brackets.
    ///
    /// # Errors
    /// When `host` is none.
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Self, UriError> {
        let mut text = String::from("sip:");
        if let Some(user) = user {
            escape_user(user, &mut text);
            text.push('@');
        }
        text.push_str(host);
        if let Some(port) = port {
            text.push_str(&format!(":{port}"));
        }
        Self::parse(&text)
    }

    /// The URI as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its kind.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether it is `sip:` or `sips:`.
    #[must_use]
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The user part as written, without the password; for `tel:` the number. `None` when absent.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.map(|span| self.slice(span))
    }

    /// The user part with `%HH` taken apart; what is not UTF-8 then becomes U+FFFD.
    #[must_use]
    pub fn user_decoded(&self) -> Option<Cow<'_, str>> {
        self.user().map(decode)
    }

    /// The password behind the user's colon.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.map(|span| self.slice(span))
    }

    /// The host as written, brackets of an IPv6 reference included; empty for `tel:` and other schemes.
    #[must_use]
    pub fn host(&self) -> &str {
        self.slice(self.host)
    }

    /// The host as an address, if it is one.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host())
    }

    /// The port, if written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI parameters.
    #[must_use]
    pub fn params(&self) -> Params<'_> {
        Params::new(self.slice(self.params))
    }

    /// The value of URI parameter `name`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().get(name)
    }

    /// The headers behind the question mark, as written.
    #[must_use]
    pub fn headers(&self) -> &str {
        self.slice(self.headers)
    }

    /// The `transport` parameter.
    #[must_use]
    pub fn transport(&self) -> Option<&str> {
        self.param("transport")
    }

    /// Whether the `lr` parameter is there (RFC 3261 §19.1.1).
    #[must_use]
    pub fn is_loose_router(&self) -> bool {
        self.params().contains("lr")
    }

    /// The URI with parameter `name` set; the others stay in order. `value` must be legal in a parameter.
    ///
    /// # Errors
    /// When the result is no URI.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Result<Self, UriError> {
        let value = value.map_or(String::new(), |value| format!("={value}"));
        self.with_params(&format!("{};{name}{value}", self.params_without(name)))
    }

    /// The URI without parameter `name`.
    #[must_use]
    pub fn without_param(&self, name: &str) -> Self {
        if !self.params().contains(name) {
            return self.clone();
        }
        self.with_params(&self.params_without(name)).unwrap_or_else(|_| self.clone())
    }

    /// The URI without headers and without the `method` parameter, as a request-URI has to be (RFC 3261 §19.1.5).
    #[must_use]
    pub fn as_request_uri(&self) -> Self {
        let mut uri = self.without_param("method");
        if uri.headers.0 != uri.headers.1 {
            let end = uri.headers.0 as usize - 1;
            uri = Self::parse(&uri.text[..end]).unwrap_or(uri);
        }
        uri
    }

    /// The URI with another user part (escaped where needed), or none.
    ///
    /// # Errors
    /// When this is no SIP URI.
    pub fn with_user(&self, user: Option<&str>) -> Result<Self, UriError> {
        if !self.is_sip() {
            return Err(UriError("has no user part"));
        }
        let mut text = String::from(&self.text[..=self.text.find(':').unwrap_or(0)]);
        if let Some(user) = user {
            escape_user(user, &mut text);
            text.push('@');
        }
        text.push_str(&self.text[self.host.0 as usize..]);
        Self::parse(&text)
    }

    /// Whether both name the same resource by RFC 3261 §19.1.4; other schemes by text.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        if self.text == other.text {
            // Also with a parameter that is there twice, which §19.1.1 forbids and which compares with nothing.
            return true;
        }
        if self.scheme != other.scheme {
            return false;
        }
        if !self.is_sip() {
            return self.text.eq_ignore_ascii_case(&other.text);
        }
        let same_text = |a: Option<&str>, b: Option<&str>| match (a, b) {
            (Some(a), Some(b)) => unescaped(a).eq(unescaped(b)),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_text(self.user(), other.user())
            && same_text(self.password(), other.password())
            && same_host(self.host(), other.host())
            && self.port == other.port
            && params_match(self.params(), other.params())
            && params_match(other.params(), self.params())
            && headers_match(self.headers(), other.headers())
            && headers_match(other.headers(), self.headers())
    }

    fn slice(&self, span: Span) -> &str {
        &self.text[span.0 as usize..span.1 as usize]
    }

    /// The parameters but `name`, each with its semicolon.
    fn params_without(&self, name: &str) -> String {
        let mut text = String::new();
        for param in self.params().iter().filter(|param| !param.name.eq_ignore_ascii_case(name)) {
            text.push(';');
            text.push_str(param.name);
            if let Some(value) = param.value {
                text.push('=');
                text.push_str(value);
            }
        }
        text
    }

    /// The URI with `params` (each with its semicolon) in place of its own.
    fn with_params(&self, params: &str) -> Result<Self, UriError> {
        if self.scheme == Scheme::Other {
            return Err(UriError("has no parameters"));
        }
        let (start, end) = (self.params.0 as usize, self.params.1 as usize);
        let before = if start == end { start } else { start - 1 };
        let before = self.text[..before].trim_end_matches(';');
        Self::parse(&format!("{before}{params}{}", &self.text[end..]))
    }

    /// `escaped`: there may be escapes in it.
    fn index_sip(&mut self, start: usize, escaped: bool) -> Result<(), UriError> {
        let text: &str = &self.text;
        let mut at = start;
        // Only the user part may hold `;` and `?` in front of an `@`, so that the `@` comes first.
        if let Some(end) = scan::find(&text[start..], b'@').map(|at| start + at) {
            let userinfo = &text[start..end];
            if escaped {
                check_escapes(userinfo)?;
            }
            let user_end = scan::find(userinfo, b':').map_or(end, |at| start + at);
            if user_end == start {
                return Err(UriError("user part is empty"));
            }
            self.user = Some(Span::new(start, user_end));
            self.password = (user_end < end).then(|| Span::new(user_end + 1, end));
            at = end + 1;
        }
        let host_end = host_end(text, at)?;
        self.host = Span::new(at, host_end);
        at = host_end;
        if let Some(rest) = text[at..].strip_prefix(':') {
            let digits = rest.bytes().position(|byte| matches!(byte, b';' | b'?')).unwrap_or(rest.len());
            self.port = Some(port(&rest[..digits]).ok_or(UriError("port is no number from 0 to 65535"))?);
            at += 1 + digits;
        }
        let params_end = scan::find(&text[at..], b'?').map_or(text.len(), |mark| at + mark);
        self.params = match text[at..params_end].strip_prefix(';') {
            Some(_) => Span::new(at + 1, params_end),
            None if at == params_end => Span::new(at, at),
            None => {
                return Err(UriError("host is followed by something else than port, parameters and headers"));
            }
        };
        if escaped {
            check_escapes(&text[at..])?;
        }
        self.headers = Span::new((params_end + 1).min(text.len()), text.len());
        Ok(())
    }

    fn index_tel(&mut self, start: usize) -> Result<(), UriError> {
        let end = scan::find(&self.text[start..], b';').map_or(self.text.len(), |at| start + at);
        if end == start {
            return Err(UriError("number is empty"));
        }
        self.user = Some(Span::new(start, end));
        let after = (end + 1).min(self.text.len());
        self.params = Span::new(after, self.text.len());
        self.headers = Span::new(self.text.len(), self.text.len());
        Ok(())
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({})", self.text)
    }
}

/// A host as it stands in a URI or Via, as an address if it is one.
pub(crate) fn host_ip(host: &str) -> Option<IpAddr> {
    match host.as_bytes().first()? {
        b'[' => ipv6(host[1..].strip_suffix(']')?).map(IpAddr::V6),
        // Most others are names.
        b'0'..=b'9' => host.parse().ok(),
        _ if scan::find(host, b':').is_some() => host.parse().ok(),
        _ => None,
    }
}

/// The end of the host that begins at `start` (RFC 3261 §25.1 `host`; the underscore is wrong but common).
pub(crate) fn host_end(text: &str, start: usize) -> Result<usize, UriError> {
    let rest = text.get(start..).ok_or(UriError("host is missing"))?;
    if let Some(inner) = rest.strip_prefix('[') {
        let close = inner.find(']').ok_or(UriError("IPv6 reference has no end"))?;
        ipv6(&inner[..close]).ok_or(UriError("IPv6 reference is no address"))?;
        return Ok(start + close + 2);
    }
    match rest.bytes().position(|byte| !scan::is_host_byte(byte)).unwrap_or(rest.len()) {
        0 => Err(UriError("host is missing")),
        len => Ok(start + len),
    }
}

/// An IPv6 address. Three colons in front of its IPv4 part mean two: the grammar of RFC 3261 asked for them by mistake
/// (RFC 5118 §4.10).
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| text.contains('.').then(|| text.replacen(":::", "::", 1).parse().ok())?)
}

/// A port: one to five digits up to 65535.
pub(crate) fn port(text: &str) -> Option<u16> {
    let add = |port: u16, byte: u8| {
        port.checked_mul(10)?.checked_add(byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?)
    };
    if text.is_empty() { None } else { text.bytes().try_fold(0, add) }
}

fn scheme(text: &str) -> Result<Scheme, UriError> {
    let mut bytes = text.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if !starts || !bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
        return Err(UriError("has no scheme"));
    }
    Ok(match text {
        _ if text.eq_ignore_ascii_case("sip") => Scheme::Sip,
        _ if text.eq_ignore_ascii_case("sips") => Scheme::Sips,
        _ if text.eq_ignore_ascii_case("tel") => Scheme::Tel,
        _ => Scheme::Other,
    })
}

fn check_escapes(text: &str) -> Result<(), UriError> {
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let bad = bytes.iter().enumerate().any(|(at, &byte)| byte == b'%' && !(is_hex(at + 1) && is_hex(at + 2)));
    if bad { Err(UriError("% is not followed by two hexadecimal digits")) } else { Ok(()) }
}

const fn is_mark(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    match bytes {
        [b'%', high, low, ..] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => None,
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if scan::find(text, b'%').is_none() {
        return text.into();
    }
    String::from_utf8_lossy(&percent_decoded(text)).into_owned().into()
}

/// The bytes of `text` with each `%HH` taken apart; a percent sign that begins no escape stays.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let (bytes, mut at) = (text.as_bytes(), 0);
    let mut plain = Vec::with_capacity(bytes.len());
    while let Some(&byte) = bytes.get(at) {
        match hex_pair(&bytes[at..]) {
            Some(value) => {
                plain.push(value);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

/// Units for comparison: a character that need not be escaped equals its escape; a reserved one does not.
fn unescaped(text: &str) -> impl Iterator<Item = (bool, u8)> + '_ {
    let (bytes, mut at) = (text.as_bytes(), 0);
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        let Some(value) = hex_pair(&bytes[at..]) else {
            at += 1;
            return Some((false, byte));
        };
        at += 3;
        Some((!(value.is_ascii_alphanumeric() || is_mark(value)), value))
    })
}

fn escape_user(user: &str, out: &mut String) {
    for byte in user.bytes() {
        // RFC 3261 §25.1 `user-unreserved`.
        if byte.is_ascii_alphanumeric() || is_mark(byte) || b"&=+$,;?/".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn same_host(a: &str, b: &str) -> bool {
    match (host_ip(a), host_ip(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.eq_ignore_ascii_case(b),
    }
}

/// Beyond so many parameters or headers two URIs are compared by their text alone: what costs the product of two lengths is
/// not for a peer to choose, and no URI in use has a tenth of it.
const COMPARED: usize = 64;

/// Whether every parameter of `a` agrees with `b`: those that RFC 3261 §19.1.4 names must be in both, others only agree.
fn params_match(a: Params<'_>, b: Params<'_>) -> bool {
    if a.iter().take(COMPARED + 1).count() > COMPARED {
        return false;
    }
    a.iter().all(|param| match b.find(param.name) {
        Some(other) => {
            let (left, right) = (param.value.unwrap_or_default(), other.value.unwrap_or_default());
            left.len() == right.len() && left.eq_ignore_ascii_case(right)
                || unescaped(left).map(lower).eq(unescaped(right).map(lower))
        }
        None => !["transport", "user", "ttl", "method", "maddr"]
            .iter()
            .any(|name| param.name.eq_ignore_ascii_case(name)),
    })
}

fn lower((escaped, byte): (bool, u8)) -> (bool, u8) {
    (escaped, byte.to_ascii_lowercase())
}

fn headers_match(a: &str, b: &str) -> bool {
    if a.split('&').take(COMPARED + 1).count() > COMPARED {
        return false;
    }
    let split = |text: &'_ str| -> Vec<(String, String)> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (name.to_ascii_lowercase(), decode(value).into_owned())
            })
            .collect()
    };
    let b = split(b);
    split(a).iter().all(|pair| b.contains(pair))
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
