//! `name-addr` and `addr-spec` with parameters: the common shape of From, To, Contact and Route (RFC 3261 §20.10).

use std::borrow::Cow;

use crate::message::scan::{self, find_outside, trim, trim_str};
use crate::message::{HeaderError, Params, Uri, UriError};

/// `"display" <uri>;params` or `uri;params`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    display: &'a [u8],
    uri: &'a str,
    params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value of header `header`.
    ///
    /// # Errors
    /// When brackets or quotes are not closed, or URI or parameters are not UTF-8.
    pub fn parse(header: &'static str, value: &'a [u8]) -> Result<Self, HeaderError> {
        let bad = |what| HeaderError::new(header, what);
        let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"));
        let value = trim(value);
        let Some(open) = find_outside(value, true, b'<') else {
            // Without brackets, parameters belong to the header, not to the URI (RFC 3261 §20).
            let text = utf8(value)?;
            let (uri, params) = scan::split_once(text, b';').unwrap_or((text, ""));
            let uri = trim_str(uri);
            if uri.is_empty()
                || uri.bytes().any(|byte| scan::is_lws(byte) || matches!(byte, b'"' | b'>' | b','))
            {
                return Err(bad("has no URI"));
            }
            return Ok(Self { display: b"", uri, params: Params::new(params) });
        };
        let close =
            value[open..].iter().position(|&byte| byte == b'>').ok_or(bad("has a < without >"))? + open;
        let uri = utf8(&value[open + 1..close])?;
        if uri.is_empty() {
            return Err(bad("has no URI"));
        }
        let rest = trim_str(utf8(&value[close + 1..])?);
        let params = match rest.strip_prefix(';') {
            Some(params) => params,
            None if rest.is_empty() => "",
            None => return Err(bad("has something else than parameters behind >")),
        };
        Ok(Self { display: display(header, &value[..open])?, uri, params: Params::new(params) })
    }

    /// The display name without quotes and escapes; empty when there is none. Old phones write it in Latin-1: what is
    /// not UTF-8 is shown as U+FFFD.
    #[must_use]
    pub fn display(&self) -> Cow<'a, str> {
        match std::str::from_utf8(self.display) {
            Ok(text) => scan::unquote(text),
            Err(_) => scan::unquote(&String::from_utf8_lossy(self.display)).into_owned().into(),
        }
    }

    /// The URI as written.
    #[must_use]
    pub const fn uri_text(&self) -> &'a str {
        self.uri
    }

    /// The URI.
    ///
    /// # Errors
    /// When the text is no URI.
    pub fn uri(&self) -> Result<Uri, UriError> {
        Uri::parse(self.uri)
    }

    /// The value that this was parsed from with another URI, as text. The brackets come with it, for parameters of the URI would
    /// otherwise be the header's.
    #[must_use]
    pub fn with_uri(&self, value: &[u8], uri: &str) -> Vec<u8> {
        let at = (self.uri.as_ptr() as usize).saturating_sub(value.as_ptr() as usize).min(value.len());
        let (before, rest) = value.split_at(at);
        let after = rest.get(self.uri.len()..).unwrap_or_default();
        let bracketed = before.last() == Some(&b'<');
        let (open, close): (&[u8], &[u8]) = if bracketed { (b"", b"") } else { (b"<", b">") };
        [before, open, uri.as_bytes(), close, after].concat()
    }

    /// The header parameters (not those of the URI).
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }
}

/// What stands before the bracket: a quoted string, or tokens. Other characters in unquoted names are wrong but common,
/// and only shown.
fn display<'a>(header: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], HeaderError> {
    let bytes = trim(bytes);
    let quoted = bytes.first() == Some(&b'"');
    if quoted && (bytes.len() < 2 || bytes.last() != Some(&b'"')) {
        return Err(HeaderError::new(header, "has a quote without end"));
    }
    Ok(bytes)
}
