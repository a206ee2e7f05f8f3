//! Byte scanning shared by the header parsers: whitespace, tokens, and separators outside quotes and brackets.

use memchr::{memchr, memchr2};

/// Linear whitespace, the CR and LF of a folded line included (RFC 3261 §25.1 `LWS`).
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `token` characters (RFC 3261 §25.1).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// Whether `bytes` is one non-empty `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// `bytes` without linear whitespace at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_lws(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| !is_lws(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// `text` without linear whitespace at both ends.
pub(crate) fn trim_str(text: &str) -> &str {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|&byte| !is_lws(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| !is_lws(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// What stands before and behind the first linear whitespace.
pub(crate) fn split_lws(text: &str) -> Option<(&str, &str)> {
    let at = text.bytes().position(is_lws)?;
    Some((&text[..at], &text[at + 1..]))
}

/// What stands behind a colon that only blanks precede.
pub(crate) fn trim_start_then_colon(bytes: &[u8]) -> Option<&[u8]> {
    let colon = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    bytes[colon..].strip_prefix(b":")
}

/// Position of the first `wanted` outside quoted strings and, unless `in_brackets`, outside `<>`.
pub(crate) fn find_outside(bytes: &[u8], in_brackets: bool, wanted: u8) -> Option<usize> {
    let first = memchr(wanted, bytes);
    #[cfg(test)]
    steps::count(first.unwrap_or(bytes.len()));
    let (first, opening) = (first?, if in_brackets { b'"' } else { b'<' });
    // Most values have neither in front of it.
    if memchr2(b'"', opening, &bytes[..first]).is_none() {
        Some(first)
    } else {
        walk(bytes, in_brackets, wanted)
    }
}

fn walk(bytes: &[u8], in_brackets: bool, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        #[cfg(test)]
        steps::count(1);
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        if !bracketed && byte == wanted {
            return Some(at);
        }
        match byte {
            b'"' if !bracketed => quoted = true,
            b'<' => bracketed = !in_brackets,
            b'>' => bracketed = false,
            _ => {}
        }
    }
    None
}

/// The values of a comma-separated field, each trimmed; empty elements are left out (RFC 3261 §7.3.1).
#[derive(Debug, Clone)]
pub struct Values<'a> {
    rest: Option<&'a [u8]>,
    split: bool,
}

impl<'a> Values<'a> {
    pub(crate) const fn new(value: &'a [u8], split: bool) -> Self {
        Self { rest: Some(value), split }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let comma = if self.split { find_outside(rest, false, b',') } else { None };
            let (value, rest) = match comma {
                Some(at) => (&rest[..at], Some(&rest[at + 1..])),
                None => (rest, None),
            };
            self.rest = rest;
            let value = trim(value);
            if !value.is_empty() || !self.split {
                return Some(value);
            }
        }
    }
}

/// The text of a quoted string without its quotes and backslashes; other text as it is (RFC 3261 §25.1).
pub(crate) fn unquote(text: &str) -> std::borrow::Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.into();
    };
    if !inner.contains('\\') {
        return inner.into();
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain.into()
}

/// How many bytes were looked at, for tests that ask whether that grows with the square of the input.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local!(static COUNT: Cell<u64> = const { Cell::new(0) });

    pub(crate) fn count(bytes: usize) {
        COUNT.with(|count| count.set(count.get() + bytes as u64));
    }

    /// The steps that `work` takes.
    pub(crate) fn of(work: impl FnOnce()) -> u64 {
        let before = COUNT.with(Cell::get);
        work();
        COUNT.with(Cell::get) - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_quotes_and_brackets_do_not_split() {
        let value = br#""a, \" b" <sip:x@y;z=1,2>;q=1 , <sip:c> ,, tel:1"#;
        let values: Vec<_> = Values::new(value, true).collect();
        let expected: [&[u8]; 3] = [br#""a, \" b" <sip:x@y;z=1,2>;q=1"#, b"<sip:c>", b"tel:1"];
        assert_eq!(values, expected);
    }

    #[test]
    fn quoted_strings_are_unescaped() {
        assert_eq!(unquote(r#""a\"b\\""#), r#"a"b\"#);
        assert_eq!(unquote("token"), "token");
        assert_eq!(unquote("\""), "\"");
    }
}
