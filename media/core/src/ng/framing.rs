//! Where a message of ng ends in a stream: TCP has no datagrams, so the dictionary itself says it.
//!
//! A message is what it is in a datagram, `cookie SP dictionary`. The end of the dictionary is found octet by octet, each
//! looked at once, however the stream is cut: a peer that sends one octet at a time costs no more than one that does not.

use super::{Encoding, MAX_COOKIE, MAX_MESSAGE};

/// Longest number of octets before the colon of a bencode string.
const MAX_DIGITS: usize = 7;

/// A stream in which no further message can be found. Nothing tells where the next one would begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unframed {
    /// The cookie of the message that broke the stream, if it was read: it can be answered.
    pub cookie: Option<Vec<u8>>,
    /// How its dictionary was written.
    pub encoding: Encoding,
    /// What is wrong.
    pub reason: &'static str,
}

/// Cuts a stream into messages. Keeps at most one message and what was given to it at once.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// How much of `buffer` was looked at.
    at: usize,
    /// Length of the cookie, once its space was seen.
    cookie: Option<usize>,
    state: State,
    depth: usize,
}

/// What is expected next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The cookie, up to its space.
    #[default]
    Cookie,
    /// The first octet of the dictionary.
    Start,
    /// A value of bencode, or the end of a list.
    Value,
    /// The digits of a bencode number.
    Number,
    /// The length of a bencode string, and how many digits it had.
    Length(usize, usize),
    /// So many octets of a bencode string.
    Text(usize),
    /// JSON outside a string.
    Json,
    /// JSON inside a string.
    Quoted,
    /// The octet after a backslash in it.
    Escaped,
}

impl Framer {
    /// Takes what the stream brought.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Whether a message has begun that is not complete.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole message, `None` when more is to come.
    ///
    /// # Errors
    /// [`Unframed`]: the stream is to be closed.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, Unframed> {
        if self.at == 0 {
            // People who type end their lines.
            let blank = self.buffer.iter().take_while(|octet| octet.is_ascii_whitespace()).count();
            self.buffer.drain(..blank);
        }
        while let Some(&octet) = self.buffer.get(self.at) {
            if let State::Text(left) = self.state {
                let skipped = left.min(self.buffer.len() - self.at);
                self.at += skipped;
                self.state = if skipped == left { State::Value } else { State::Text(left - skipped) };
            } else {
                self.at += 1;
                self.state = self.step(octet)?;
            }
            if self.at > MAX_COOKIE + 1 + MAX_MESSAGE {
                return Err(self.broken("the message is too long"));
            }
            if self.depth == 0 && matches!(self.state, State::Value | State::Json) {
                let rest = self.buffer.split_off(self.at);
                let message = std::mem::replace(&mut self.buffer, rest);
                (self.at, self.cookie, self.state) = (0, None, State::Cookie);
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The state after `octet`, which was at `self.at - 1`.
    fn step(&mut self, octet: u8) -> Result<State, Unframed> {
        Ok(match (self.state, octet) {
            (State::Cookie, b' ') => {
                self.cookie = Some(self.at - 1);
                State::Start
            }
            (State::Cookie, _) if self.at > MAX_COOKIE => {
                return Err(self.broken("the message has no cookie"));
            }
            (State::Cookie, _) => State::Cookie,
            (State::Start, octet) if octet.is_ascii_whitespace() => State::Start,
            (State::Start, b'{') => self.open(State::Json),
            (State::Start, b'd') => self.open(State::Value),
            (State::Start, _) => return Err(self.broken("the message is no dictionary")),
            (State::Value, b'd' | b'l') => self.open(State::Value),
            (State::Value, b'e') => self.close(State::Value),
            (State::Value, b'i') => State::Number,
            (State::Value, b'0'..=b'9') => State::Length(usize::from(octet - b'0'), 1),
            (State::Number, b'e') => State::Value,
            (State::Number, b'-' | b'0'..=b'9') => State::Number,
            (State::Length(length, digits), b'0'..=b'9') if digits < MAX_DIGITS => {
                State::Length(length * 10 + usize::from(octet - b'0'), digits + 1)
            }
            (State::Length(0, _), b':') => State::Value,
            (State::Length(length, _), b':') => State::Text(length),
            (State::Json, b'{' | b'[') => self.open(State::Json),
            (State::Json, b'}' | b']') => self.close(State::Json),
            (State::Json, b'"') | (State::Escaped, _) => State::Quoted,
            (State::Quoted, b'\\') => State::Escaped,
            (State::Quoted, b'"') | (State::Json, _) => State::Json,
            (State::Quoted, _) => State::Quoted,
            (State::Value | State::Number | State::Length(..) | State::Text(_), _) => {
                return Err(self.broken("bencode has an unexpected octet"));
            }
        })
    }

    const fn open(&mut self, inside: State) -> State {
        self.depth += 1;
        inside
    }

    const fn close(&mut self, outside: State) -> State {
        self.depth = self.depth.saturating_sub(1);
        outside
    }

    fn broken(&self, reason: &'static str) -> Unframed {
        let cookie = self.cookie.filter(|length| *length > 0);
        let cookie = cookie.and_then(|length| self.buffer.get(..length)).map(<[u8]>::to_vec);
        let json = matches!(self.state, State::Json | State::Quoted | State::Escaped);
        let encoding = if json { Encoding::Json } else { Encoding::Bencode };
        Unframed { cookie, encoding, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a stream that comes in pieces of `size` octets.
    fn messages(stream: &[u8], size: usize) -> (Vec<String>, Result<bool, &'static str>) {
        let mut framer = Framer::default();
        let mut found = Vec::new();
        for piece in stream.chunks(size) {
            framer.push(piece);
            loop {
                match framer.message() {
                    Ok(Some(message)) => found.push(String::from_utf8_lossy(&message).into_owned()),
                    Ok(None) => break,
                    Err(unframed) => return (found, Err(unframed.reason)),
                }
            }
        }
        (found, Ok(framer.is_inside()))
    }

    #[test]
    fn a_stream_is_cut_where_its_dictionaries_end() {
        let one = "1 d7:command4:pinge";
        let two = r#"2 {"command":"of}\"{fer","a":[{}]}"#;
        let three = "3 d1:ai-5e1:bld1:c0:ee1:x4:e:dee";
        let stream = format!("{one}{two}\r\n{three}\n4 d7:com");
        for size in [1, 2, 3, 7, stream.len()] {
            let expected = [one, two, three].map(str::to_owned).to_vec();
            assert_eq!(messages(stream.as_bytes(), size), (expected, Ok(true)), "{size}");
        }
        assert_eq!(messages(one.as_bytes(), 4), (vec![one.to_owned()], Ok(false)));
    }

    #[test]
    fn what_is_no_message_breaks_the_stream() {
        let endless = format!("c d{}", "1:a".repeat(MAX_MESSAGE));
        let strings = format!("c {{\"a\":\"{}", "x".repeat(MAX_MESSAGE + 300));
        for (stream, reason) in [
            ("x".repeat(300), "the message has no cookie"),
            ("c x".to_owned(), "the message is no dictionary"),
            ("c i5e".to_owned(), "the message is no dictionary"),
            ("c d5xe".to_owned(), "bencode has an unexpected octet"),
            ("c d12345678:a".to_owned(), "bencode has an unexpected octet"),
            ("c di5xe".to_owned(), "bencode has an unexpected octet"),
            (endless, "the message is too long"),
            (strings, "the message is too long"),
        ] {
            for size in [1, 4096] {
                assert_eq!(messages(stream.as_bytes(), size).1, Err(reason));
            }
        }
    }

    #[test]
    fn who_broke_the_stream_can_be_told() {
        let mut framer = Framer::default();
        framer.push(b"77_a d3:");
        assert_eq!(framer.message(), Ok(None));
        framer.push(b"abcx");
        let unframed = framer.message().unwrap_err();
        assert_eq!((unframed.cookie.as_deref(), unframed.encoding), (Some(&b"77_a"[..]), Encoding::Bencode));
        let mut framer = Framer::default();
        framer.push(b" d");
        assert_eq!(framer.message(), Ok(None), "a blank before the cookie is nothing");
    }
}
