//! Bytes to [`Message`]: one pass over the lines, then the checks of what every element needs.

use bytes::Bytes;
use memchr::memchr;

use super::error::{HeaderError, ParseError, ParseErrorKind};
use super::fields::{Field, Fields};
use super::header::{CSeq, From, Header, To, Via};
use super::name::{Name, NameId};
use super::scan;
use super::{Message, Method, Request, Response, StatusCode, Text};

/// How much a peer may send. Whatever exceeds a limit is refused by name, not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole message. 65,536: the largest datagram.
    pub message: usize,
    /// Bytes of the request-URI. 4,096, well above what any user agent writes.
    pub uri: usize,
    /// Bytes of one header line with its folded parts. 16,384.
    pub line: usize,
    /// Header lines. 256: each costs an entry in the index.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 65_536, uri: 4_096, line: 16_384, headers: 256 }
    }
}

/// The value of the Call-ID header, found without parsing anything else: what a shell hashes to choose the worker.
/// `None` when the header section has none.
#[must_use]
pub fn peek_call_id(bytes: &[u8]) -> Option<&[u8]> {
    // Line ends in front of a message are passed over, as the parser does (RFC 3261 §7.5).
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let mut rest = &bytes[start..];
    while let Some(end) = memchr(b'\n', rest) {
        rest = &rest[end + 1..];
        let value = match rest {
            [b'\r', b'\n', ..] => return None,
            [b'i' | b'I', after @ ..] => scan::trim_start_then_colon(after),
            [first, ..] if first.eq_ignore_ascii_case(&b'c') => match rest.split_at_checked(7) {
                Some((name, after)) if name.eq_ignore_ascii_case(b"call-id") => {
                    scan::trim_start_then_colon(after)
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(value) = value {
            // A line that begins with a blank continues the value (RFC 3261 §7.3.1).
            let is_last = |end: &usize| !matches!(value.get(end + 1), Some(b' ' | b'\t'));
            let end = memchr::memchr_iter(b'\n', value).find(is_last).unwrap_or(value.len());
            return Some(scan::trim(&value[..end])).filter(|value| !value.is_empty());
        }
    }
    None
}

/// Whether a message, not parsed yet, surely belongs to something that has begun: a response, or a request that no dialog
/// and no transaction begins with. CANCEL is not among them, for it must not overtake its INVITE.
#[must_use]
pub fn peek_continues(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let message = &bytes[start..];
    let starts =
        |text: &[u8]| message.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let requests: [&[u8]; 5] = [b"ACK ", b"BYE ", b"PRACK ", b"UPDATE ", b"INFO "];
    starts(b"SIP/2.0 ") || requests.into_iter().any(|method| message.starts_with(method))
}

/// Whether a message, not parsed yet, may begin something under a Call-ID that nobody has used: a request without a To tag that
/// is of no transaction before it.
#[must_use]
pub fn peek_begins(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    if peek_continues(bytes) || bytes[start..].starts_with(b"CANCEL ") {
        return false;
    }
    let mut rest = &bytes[start..];
    while let Some(end) = memchr(b'\n', rest) {
        rest = &rest[end + 1..];
        let value = match rest {
            [b'\r', b'\n', ..] => return true,
            [b't' | b'T', b'o' | b'O', after @ ..] | [b't' | b'T', after @ ..] => {
                scan::trim_start_then_colon(after)
            }
            _ => None,
        };
        if let Some(value) = value {
            let value = &value[..memchr(b'\n', value).unwrap_or(value.len())];
            return !value.windows(5).any(|part| part.eq_ignore_ascii_case(b";tag="));
        }
    }
    true
}

/// Reads one whole message.
pub(super) fn message(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    let skip = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let mut bytes = bytes.slice(skip.ok_or(ParseError::bare(ParseErrorKind::Empty))?..);
    let mut fault = None;
    if bytes.len() > limits.message {
        fault = Some(ParseErrorKind::MessageTooLong { limit: limits.message });
        bytes.truncate(limits.message);
    }
    let line_end = memchr(b'\n', &bytes).filter(|&at| at > 0 && bytes[at - 1] == b'\r');
    let Some(line_end) = line_end else {
        let uri_too_long = bytes.len() > limits.uri && memchr(b'\n', &bytes).is_none();
        let kind = if uri_too_long {
            ParseErrorKind::UriTooLong { limit: limits.uri }
        } else {
            ParseErrorKind::StartLine("it does not end with CRLF")
        };
        return Err(ParseError::bare(kind));
    };
    let start = start_line(&bytes[..line_end - 1], limits).map_err(ParseError::bare)?;
    let mut scanner = Scanner { bytes: &bytes, at: line_end + 1, fields: Vec::with_capacity(16), fault };
    scanner.fault = scanner.fault.or(start.fault.clone());
    let body_start = scanner.scan(limits);
    let Scanner { fields, mut fault, .. } = scanner;
    let mut fields = Fields { source: bytes.clone(), fields, body: Bytes::new(), edited: false };
    match body_start {
        Some(at) => match body_end(&fields, at, limits) {
            Ok(end) => {
                fields.body = bytes.slice(at..end);
                fields.source.truncate(end);
            }
            Err(kind) => fault = fault.or(Some(kind)),
        },
        None => fault = fault.or(Some(ParseErrorKind::NoEndOfHeaders)),
    }
    finish(start, fields, fault)
}

/// A start line, taken apart.
struct StartLine {
    kind: StartKind,
    /// Offsets of the request-URI or the reason phrase.
    text: (usize, usize),
    /// A fault that does not hinder an answer.
    fault: Option<ParseErrorKind>,
}

enum StartKind {
    Request(Method),
    Response(StatusCode),
}

fn start_line(line: &[u8], limits: &Limits) -> Result<StartLine, ParseErrorKind> {
    if line.len() >= 8 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return status_line(line);
    }
    let bad = ParseErrorKind::StartLine;
    let method_end = memchr(b' ', line).ok_or(bad("no request line"))?;
    let version_start =
        memchr::memrchr(b' ', line).filter(|&at| at > method_end).ok_or(bad("no SIP version"))? + 1;
    let method = std::str::from_utf8(&line[..method_end]).ok().and_then(Method::parse);
    let method = method.ok_or(bad("method is no token"))?;
    let text = (method_end + 1, version_start - 1);
    let uri = &line[text.0..text.1];
    let version = &line[version_start..];
    let fault = if uri.len() > limits.uri {
        Some(ParseErrorKind::UriTooLong { limit: limits.uri })
    } else if uri.is_empty()
        || uri.iter().any(|&byte| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7f))
    {
        Some(bad("request-URI has a character that does not belong there"))
    } else if std::str::from_utf8(uri).is_err() {
        Some(bad("request-URI is not UTF-8"))
    } else if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let is_sip = version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
        Some(if is_sip { ParseErrorKind::Version } else { bad("no SIP version") })
    } else {
        None
    };
    Ok(StartLine { kind: StartKind::Request(method), text, fault })
}

fn status_line(line: &[u8]) -> Result<StartLine, ParseErrorKind> {
    let bad = ParseErrorKind::StartLine;
    let after = line[4..].strip_prefix(b"2.0").ok_or(ParseErrorKind::Version)?;
    let code = after.strip_prefix(b" ").and_then(|after| after.get(..3)).ok_or(bad("no status code"))?;
    let code = std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
    let code = code.and_then(|code| code.parse().ok()).and_then(StatusCode::new);
    let code = code.ok_or(bad("status code is not in 100 to 699"))?;
    // `SIP/2.0 200` without the space before an empty phrase is wrong but seen.
    let phrase = match line.get(11) {
        None => 11,
        Some(b' ') => 12,
        Some(_) => return Err(bad("status code is not in 100 to 699")),
    };
    Ok(StartLine { kind: StartKind::Response(code), text: (phrase, line.len()), fault: None })
}

/// Walks over the header lines. A bad line is noted and skipped, so that the rest still serves to answer.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<Field>,
    fault: Option<ParseErrorKind>,
}

impl Scanner<'_> {
    /// Returns where the body begins; `None` when no empty line ends the headers.
    fn scan(&mut self, limits: &Limits) -> Option<usize> {
        let mut number = 0;
        loop {
            number += 1;
            if self.bytes.get(self.at..self.at + 2) == Some(b"\r\n") {
                return Some(self.at + 2);
            }
            let end = self.line_end(number)?;
            if end - self.at > limits.line {
                self.note(ParseErrorKind::LineTooLong { line: number, limit: limits.line });
            } else {
                match field(self.bytes, self.at, end) {
                    Ok(field) => self.keep(field, limits),
                    Err(what) => self.note(ParseErrorKind::HeaderLine { line: number, what }),
                }
            }
            self.at = end;
        }
    }

    /// Beyond the limit only what a refusal is made of is kept, and twice the limit of it at most.
    fn keep(&mut self, field: Field, limits: &Limits) {
        if self.fields.len() < limits.headers {
            return self.fields.push(field);
        }
        let needed = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
        let needed = needed.iter().any(|name| name.id() == field.id);
        if needed && self.fields.len() < limits.headers * 2 {
            self.fields.push(field);
        }
        self.note(ParseErrorKind::TooManyHeaders { limit: limits.headers });
    }

    /// The end of the line that begins at `self.at`, folded lines included (RFC 3261 §7.3.1).
    fn line_end(&mut self, number: usize) -> Option<usize> {
        let mut at = self.at;
        loop {
            let end = at + memchr(b'\n', self.bytes.get(at..)?)? + 1;
            if end < 2 || self.bytes[end - 2] != b'\r' {
                self.note(ParseErrorKind::HeaderLine { line: number, what: "LF without CR" });
            }
            if !matches!(self.bytes.get(end), Some(b' ' | b'\t')) {
                return Some(end);
            }
            at = end;
        }
    }

    fn note(&mut self, kind: ParseErrorKind) {
        self.fault.get_or_insert(kind);
    }
}

/// One header line from `start` to behind its CRLF.
fn field(bytes: &[u8], start: usize, end: usize) -> Result<Field, &'static str> {
    let line = &bytes[start..end];
    let name_len = line.iter().position(|&byte| !scan::is_token_byte(byte)).unwrap_or(line.len());
    let blanks = line[name_len..].iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    let colon = name_len + blanks.unwrap_or_default();
    if name_len == 0 || line.get(colon) != Some(&b':') {
        return Err(if memchr(b':', line).is_none() { "no colon" } else { "name is no token" });
    }
    let name = &line[..name_len];
    let raw = &line[colon + 1..];
    // The line ends with CRLF, and folded parts do: any other CR, and NUL, would mean different things to others.
    // A NUL may stand escaped in a quoted string and nowhere else (RFC 3261 §25.1 `quoted-pair`, RFC 4475 §3.1.1.2).
    for at in memchr::memchr2_iter(0, b'\r', raw) {
        match (raw[at], raw.get(at + 1)) {
            (0, _) if at > 0 && raw[at - 1] == b'\\' => {}
            (0, _) => return Err("NUL in value"),
            (_, Some(b'\n')) => {}
            _ => return Err("CR without LF"),
        }
    }
    let lead = raw.iter().position(|&byte| !scan::is_lws(byte)).unwrap_or(raw.len());
    let tail = raw.iter().rposition(|&byte| !scan::is_lws(byte)).map_or(lead, |at| at + 1);
    let value_start = start + colon + 1;
    Ok(Field {
        id: NameId::of(name),
        owned: None,
        start: start as u32,
        end: end as u32,
        name_end: (start + name_len) as u32,
        value_start: (value_start + lead) as u32,
        value_end: (value_start + tail) as u32,
    })
}

/// Where the body ends, by Content-Length if there is one, else with the message (RFC 3261 §18.3).
fn body_end(fields: &Fields, start: usize, limits: &Limits) -> Result<usize, ParseErrorKind> {
    let present = fields.source.len() - start;
    let Some(announced) = content_length(fields)? else {
        return Ok(start + present);
    };
    if announced > limits.message.saturating_sub(start) {
        return Err(ParseErrorKind::BodyTooLong { limit: limits.message });
    }
    if announced > present {
        return Err(ParseErrorKind::BodyTooShort { present, announced });
    }
    Ok(start + announced)
}

/// The one Content-Length. Two that differ would let a message mean different things to two elements.
fn content_length(fields: &Fields) -> Result<Option<usize>, ParseErrorKind> {
    let mut length = None;
    for value in fields.raw_all(Name::ContentLength) {
        let parsed = super::header::decimal(value);
        let parsed = parsed.ok_or(HeaderError::new("Content-Length", "is no decimal number"))?;
        if length.is_some_and(|length| length != parsed) {
            return Err(ParseErrorKind::Duplicate("Content-Length"));
        }
        length = Some(parsed);
    }
    Ok(length)
}

fn finish(start: StartLine, fields: Fields, fault: Option<ParseErrorKind>) -> Result<Message, ParseError> {
    let text = Text::Source { start: start.text.0 as u32, end: start.text.1 as u32 };
    let checked = check(&fields).and_then(|method| match &start.kind {
        // The Vias below the top one are the way back of a response (RFC 4475 §3.1.2.1).
        StartKind::Request(own) => {
            match fields.values(Name::Via).skip(1).find_map(|via| Via::parse(via).err()) {
                None => Ok(own.as_str() == method),
                Some(error) => Err(error.into()),
            }
        }
        StartKind::Response(_) => Ok(true),
    });
    match start.kind {
        StartKind::Response(status) => {
            if let Some(kind) = fault.or(checked.err()) {
                return Err(ParseError::bare(kind));
            }
            Ok(Message::Response(Response { status, reason: text, fields }))
        }
        StartKind::Request(method) => {
            let mismatch = matches!(checked, Ok(false)).then_some(ParseErrorKind::MethodMismatch);
            let fault = fault.or(checked.err()).or(mismatch);
            let read = super::ReadUri::default();
            let request =
                Request { method, uri: text, read, proved_target: false, received_via: None, fields };
            match fault {
                None => Ok(Message::Request(request)),
                Some(kind) => {
                    let answerable = *request.method() != Method::Ack && has_all(&request);
                    Err(ParseError { kind, request: answerable.then(|| Box::new(request)) })
                }
            }
        }
    }
}

/// The headers without which no element can place a message; Max-Forwards is not among them, for the sake of RFC 2543.
fn check(fields: &Fields) -> Result<&str, ParseErrorKind> {
    let [from, to, call_id, cseq] = singles(fields, [Name::From, Name::To, Name::CallId, Name::CSeq]);
    From::parse(from?)?;
    To::parse(to?)?;
    let call_id = call_id?;
    if call_id.is_empty() || call_id.iter().any(|&byte| byte <= b' ' || byte >= 0x7f) {
        return Err(HeaderError::new("Call-ID", "is no word").into());
    }
    let top = fields.get::<Via<'_>>()?.ok_or(ParseErrorKind::Missing("Via"))?;
    if !top.is_sip_2() {
        return Err(HeaderError::new("Via", "is not of SIP/2.0").into());
    }
    Ok(CSeq::parse(cseq?)?.method)
}

/// The values of fields that stand there once.
fn singles<'a, const COUNT: usize>(
    fields: &'a Fields,
    names: [Name<'static>; COUNT],
) -> [Result<&'a [u8], ParseErrorKind>; COUNT] {
    let ids = names.map(|name| name.id());
    let mut found = names.map(|name| Err(ParseErrorKind::Missing(name.as_str())));
    for field in &fields.fields {
        if let Some(at) = ids.iter().position(|id| *id == field.id) {
            found[at] = match &found[at] {
                Err(ParseErrorKind::Missing(_)) => Ok(field.value(&fields.source)),
                _ => Err(ParseErrorKind::Duplicate(names[at].as_str())),
            };
        }
    }
    found
}

/// Whether a response can be made and finds its way.
fn has_all(fields: &Fields) -> bool {
    [Name::From, Name::To, Name::CallId, Name::CSeq].into_iter().all(|name| fields.contains(name))
        && fields.top_via().is_ok()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
