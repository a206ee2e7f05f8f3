//! Byte scanning shared by the header parsers: whitespace, tokens, and separators outside quotes and brackets.

use memchr::{memchr, memchr2, memchr3};

/// `token` characters (RFC 3261 §25.1).
const TOKEN: u8 = 1;
/// Characters of a host name or an IPv4 address; the underscore is wrong but common.
const HOST: u8 = 1 << 1;
/// Characters that cannot stand in a URI, and would part it from what is around it.
pub(crate) const NO_URI: u8 = 1 << 2;
/// What begins an escape.
pub(crate) const PERCENT: u8 = 1 << 3;

/// What each byte may be part of: every byte of a message is asked for that several times, and one look here is a fifth of the
/// comparisons.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let mark = matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        if byte.is_ascii_alphanumeric() || mark {
            classes[at] |= TOKEN;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            classes[at] |= HOST;
        }
        if byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7f) {
            classes[at] |= NO_URI;
        }
        if byte == b'%' {
            classes[at] |= PERCENT;
        }
        at += 1;
    }
    classes
};

/// Linear whitespace, the CR and LF of a folded line included (RFC 3261 §25.1 `LWS`).
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `token` characters (RFC 3261 §25.1).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// Whether `bytes` is one non-empty `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Characters of a host name or an IPv4 address; the underscore is wrong but common.
pub(crate) fn is_host_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & HOST != 0
}

/// All classes of which `text` has a byte: [`NO_URI`], [`PERCENT`].
pub(crate) fn classes_in(text: &str) -> u8 {
    text.bytes().fold(0, |seen, byte| seen | CLASSES[usize::from(byte)])
}

/// Position of the first `byte`, which is one of ASCII. What is searched is mostly a few characters long: the search of the standard
/// library and that of `memchr` have more to prepare than to do there.
pub(crate) fn find(text: &str, byte: u8) -> Option<usize> {
    text.bytes().position(|other| other == byte)
}

/// What stands before and behind the first `byte`, which is one of ASCII.
pub(crate) fn split_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = find(text, byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Whether there is linear whitespace at neither end.
fn is_trim(bytes: &[u8]) -> bool {
    !bytes.first().is_some_and(|&byte| is_lws(byte)) && !bytes.last().is_some_and(|&byte| is_lws(byte))
}

/// `bytes` without linear whitespace at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    if is_trim(bytes) {
        return bytes;
    }
    let start = bytes.iter().position(|&byte| !is_lws(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| !is_lws(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// `text` without linear whitespace at both ends.
pub(crate) fn trim_str(text: &str) -> &str {
    let bytes = text.as_bytes();
    if is_trim(bytes) {
        return text;
    }
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
    let opening = if in_brackets { b'"' } else { b'<' };
    let mut at = 0;
    loop {
        let found = next(bytes, at, |rest| memchr3(wanted, b'"', opening, rest))?;
        at = match bytes[found] {
            byte if byte == wanted => return Some(found),
            b'"' => end_of_quoted(bytes, found + 1)?,
            _ => next(bytes, found + 1, |rest| memchr(b'>', rest))? + 1,
        };
    }
}

/// The same outside quoted strings alone, for text that mostly has one of both within a few characters.
pub(crate) fn find_unquoted(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = next(bytes, at, |rest| rest.iter().position(|&byte| byte == wanted || byte == b'"'))?;
        if bytes[found] == wanted {
            return Some(found);
        }
        at = end_of_quoted(bytes, found + 1)?;
    }
}

/// Position behind the quote that closes a quoted string, whose text begins at `at`.
fn end_of_quoted(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = next(bytes, at, |rest| memchr2(b'"', b'\\', rest))?;
        if bytes[found] == b'"' {
            return Some(found + 1);
        }
        // What stands behind a backslash means itself.
        at = found + 2;
    }
}

/// Position of what `find` finds from `at` on.
fn next(bytes: &[u8], at: usize, find: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let found = find(rest);
    #[cfg(test)]
    steps::count(found.map_or(rest.len(), |found| found + 1));
    found.map(|found| at + found)
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
    let quoted = text.len() >= 2 && text.as_bytes()[0] == b'"' && text.as_bytes()[text.len() - 1] == b'"';
    let Some(inner) = text.get(1..text.len().saturating_sub(1)).filter(|_| quoted) else {
        return text.into();
    };
    if memchr(b'\\', inner.as_bytes()).is_none() {
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
    fn what_is_wanted_is_found_outside_quotes_and_brackets() {
        for (text, in_brackets, wanted, expected) in [
            ("a,b", true, b',', Some(1)),
            (r#"a="x,\"y,",b"#, true, b',', Some(10)),
            (r#"a="x\\",b"#, true, b',', Some(7)),
            (r#""open, "#, true, b',', None),
            (r#""open\"#, true, b',', None),
            (r#"<a"b,c>,"d,e",f"#, false, b',', Some(7)),
            (r#""a<" <b>;c"#, false, b';', Some(8)),
            ("<a;b", false, b';', None),
            ("a>b;c", false, b';', Some(3)),
            (r#""<" <sip:a@b>"#, true, b'<', Some(4)),
            ("", true, b',', None),
        ] {
            assert_eq!(find_outside(text.as_bytes(), in_brackets, wanted), expected, "{text}");
            if in_brackets {
                assert_eq!(find_unquoted(text.as_bytes(), wanted), expected, "{text}");
            }
        }
    }

    #[test]
    fn quoted_strings_are_unescaped() {
        assert_eq!(unquote(r#""a\"b\\""#), r#"a"b\"#);
        assert_eq!(unquote("token"), "token");
        assert_eq!(unquote("\""), "\"");
    }
}
