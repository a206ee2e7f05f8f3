//! Bencode: `i42e`, `4:text`, `l…e`, `d…e`. Strings are raw octets; the order of keys does not matter.

use std::borrow::Cow;

use super::node::Node;

/// Deepest nesting.
const MAX_DEPTH: usize = 16;
/// Most values of a message.
const MAX_NODES: usize = 8192;

/// Why octets are not bencode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BencodeError {
    #[error("bencode ends too early")]
    Truncated,
    #[error("bencode has an unexpected octet at {0}")]
    Unexpected(usize),
    #[error("bencode is nested too deep")]
    TooDeep,
    #[error("bencode has too many values")]
    TooMany,
}

/// Reads one value; what follows it must be white space.
pub(super) fn decode(bytes: &[u8]) -> Result<Node<'_>, BencodeError> {
    let mut reader = Reader { bytes, at: 0, nodes: 0 };
    let node = reader.value(0)?;
    match bytes.get(reader.at..).unwrap_or_default().trim_ascii() {
        [] => Ok(node),
        _ => Err(BencodeError::Unexpected(reader.at)),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes.get(self.at).copied().ok_or(BencodeError::Truncated)
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, BencodeError> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(BencodeError::TooDeep);
        }
        if self.nodes > MAX_NODES {
            return Err(BencodeError::TooMany);
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Node::Integer)
            }
            b'0'..=b'9' => self.string().map(|text| Node::Text(Cow::Borrowed(text))),
            b'l' => {
                let mut nodes = Vec::new();
                self.at += 1;
                while !self.end()? {
                    nodes.push(self.value(depth + 1)?);
                }
                Ok(Node::List(nodes))
            }
            b'd' => {
                let mut entries = Vec::new();
                self.at += 1;
                while !self.end()? {
                    let key = self.string()?;
                    entries.push((Cow::Borrowed(key), self.value(depth + 1)?));
                }
                Ok(Node::Dictionary(entries))
            }
            _ => Err(BencodeError::Unexpected(self.at)),
        }
    }

    /// Takes the `e` of a list or dictionary, if it is there.
    fn end(&mut self) -> Result<bool, BencodeError> {
        let end = self.peek()? == b'e';
        self.at += usize::from(end);
        Ok(end)
    }

    fn number(&mut self, terminator: u8) -> Result<i64, BencodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        // No number has more digits; a longer search would let nested strings cost the square of their length.
        let window = rest.get(..21).unwrap_or(rest);
        let length = memchr::memchr(terminator, window).ok_or(BencodeError::Truncated)?;
        let digits = rest.get(..length).and_then(|digits| std::str::from_utf8(digits).ok());
        let number =
            digits.and_then(|digits| digits.parse().ok()).ok_or(BencodeError::Unexpected(self.at))?;
        self.at += length + 1;
        Ok(number)
    }

    fn string(&mut self) -> Result<&'a [u8], BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(BencodeError::Unexpected(self.at));
        }
        let length = usize::try_from(self.number(b':')?).map_err(|_| BencodeError::Unexpected(self.at))?;
        let end = self.at.checked_add(length).ok_or(BencodeError::Truncated)?;
        let text = self.bytes.get(self.at..end).ok_or(BencodeError::Truncated)?;
        self.at = end;
        Ok(text)
    }
}

/// Appends a string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let node = decode(b"d3:key5:v\xff:e!1:ali-7ei0ee1:bdee").unwrap();
        let entries = node.entries();
        assert_eq!(entries[0].1, Node::Text(Cow::Borrowed(b"v\xff:e!")));
        assert_eq!(entries[1].1, Node::List(vec![Node::Integer(-7), Node::Integer(0)]));
        assert_eq!(entries[2].1.entries(), []);
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "d",
            "d1:a",
            "i",
            "ie",
            "i1",
            "i1x2e",
            "5:abc",
            "99999999999999999999:a",
            "l",
            "x",
            "d1:ai1eei2e",
            "di1ei2ee",
            "-1:a",
            "i99999999999999999999999e",
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(decode("l".repeat(1000).as_bytes()), Err(BencodeError::TooDeep));
        assert_eq!(decode(format!("l{}e", "0:".repeat(MAX_NODES)).as_bytes()), Err(BencodeError::TooMany));
    }
}
