//! Where one message of a stream ends and the next begins.

use bytes::{Buf as _, Bytes, BytesMut};

/// One thing found in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// A whole message.
    Message(Bytes),
    /// The double CRLF of RFC 5626 §3.5.1, to be answered by a single one.
    Ping,
}

/// Cuts a stream into messages (RFC 3261 §18.3).
#[derive(Debug)]
pub(crate) struct Framer {
    max: usize,
    /// Bytes looked at in vain for the end of the header.
    searched: usize,
}

impl Framer {
    /// Takes messages of up to `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, searched: 0 }
    }

    /// Takes the next thing off the front of `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// What comes is no SIP or too large: the connection cannot be used any more.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Framed>, &'static str> {
        if self.searched == 0 {
            while buffer.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                if buffer.starts_with(b"\r\n\r\n") {
                    buffer.advance(4);
                    return Ok(Some(Framed::Ping));
                }
                if b"\r\n\r\n".starts_with(buffer) {
                    return Ok(None);
                }
                buffer.advance(1);
            }
        }
        let from = self.searched.saturating_sub(3);
        let Some(end) = buffer[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
            self.searched = buffer.len();
            return self.wait(buffer);
        };
        let header = from + end + 4;
        let length = content_length(&buffer[..header])?;
        let whole = header.checked_add(length).filter(|whole| *whole <= self.max).ok_or("message too large")?;
        if buffer.len() < whole {
            self.searched = header - 1;
            return Ok(None);
        }
        self.searched = 0;
        Ok(Some(Framed::Message(buffer.split_to(whole).freeze())))
    }

    fn wait(&self, buffer: &[u8]) -> Result<Option<Framed>, &'static str> {
        if buffer.len() >= self.max {
            return Err("header too large");
        }
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) if !buffer[..end].windows(4).any(|four| four == b"SIP/") => Err("no SIP"),
            _ => Ok(None),
        }
    }
}

/// The value of Content-Length or `l`. Streams need it (RFC 3261 §20.14), so a message without one ends with its header.
fn content_length(header: &[u8]) -> Result<usize, &'static str> {
    let mut found = None;
    for line in header.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            let value = std::str::from_utf8(line[colon + 1..].trim_ascii()).ok().and_then(|text| text.parse().ok());
            let value = value.ok_or("bad Content-Length")?;
            if found.replace(value).is_some_and(|other: usize| other != value) {
                return Err("two Content-Lengths");
            }
        }
    }
    Ok(found.unwrap_or(0))
}
