//! As much of bencode as an ng client needs: writing a flat dictionary, finding strings in one.

/// A value of a request.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Text(&'a [u8]),
    List(&'a [&'a str]),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }
}

/// The dictionary of `entries`. Keys are sorted, as strict readers ask.
pub(super) fn encode(entries: &mut [(&str, Value<'_>)]) -> Vec<u8> {
    entries.sort_by_key(|(key, _)| *key);
    let mut bytes = vec![b'd'];
    for (key, value) in entries {
        string(&mut bytes, key.as_bytes());
        match value {
            Value::Text(text) => string(&mut bytes, text),
            Value::List(items) => {
                bytes.push(b'l');
                items.iter().for_each(|item| string(&mut bytes, item.as_bytes()));
                bytes.push(b'e');
            }
        }
    }
    bytes.push(b'e');
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(text.len().to_string().as_bytes());
    bytes.push(b':');
    bytes.extend_from_slice(text);
}

/// The string of `key` in the dictionary `bytes`; `None` when it is not there or `bytes` is none.
pub(super) fn find<'a>(bytes: &'a [u8], key: &str) -> Option<&'a [u8]> {
    take_string(value_of(bytes, key)?).map(|(value, _)| value)
}

/// The same for a number that is not negative.
pub(super) fn find_integer(bytes: &[u8], key: &str) -> Option<u64> {
    let digits = value_of(bytes, key)?.strip_prefix(b"i")?;
    let end = digits.iter().take(20).position(|byte| *byte == b'e')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// What begins with the value of `key`.
fn value_of<'a>(bytes: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut rest = bytes.strip_prefix(b"d")?;
    while rest.first().is_some_and(|byte| *byte != b'e') {
        let (name, after) = take_string(rest)?;
        if name == key.as_bytes() {
            return Some(after);
        }
        rest = skip(after)?;
    }
    None
}

fn take_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().take(8).position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    bytes[colon + 1..].split_at_checked(length)
}

/// What follows the value at the front. Nesting is counted, not recursed into: its depth is the peer's choice.
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    let (mut rest, mut depth) = (bytes, 0_usize);
    loop {
        rest = match rest.first()? {
            b'd' | b'l' => {
                depth += 1;
                &rest[1..]
            }
            b'e' => {
                depth = depth.checked_sub(1)?;
                &rest[1..]
            }
            b'i' => &rest[rest.iter().position(|byte| *byte == b'e')? + 1..],
            _ => take_string(rest)?.1,
        };
        if depth == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries() {
        let flags = ["a", "bc"];
        let bytes = encode(&mut [("sdp", "v=0".into()), ("flags", Value::List(&flags))]);
        assert_eq!(bytes, b"d5:flagsl1:a2:bce3:sdp3:v=0e");
        let reply = b"d7:createdi12e4:tagsd1:xli1ei2eee6:result2:ok3:sdp3:v=0e";
        assert_eq!(find(reply, "result"), Some(&b"ok"[..]));
        assert_eq!(find(reply, "sdp"), Some(&b"v=0"[..]));
        assert_eq!(find(reply, "x"), None);
        assert_eq!(find(reply, "created"), None);
        assert_eq!(find_integer(reply, "created"), Some(12));
        assert_eq!((find_integer(reply, "sdp"), find_integer(b"d1:xi-1ee", "x")), (None, None));
    }

    #[test]
    fn no_input_panics() {
        let reply = b"d7:createdi12e4:tagsd1:xli1ei2eee6:result2:ok3:sdp3:v=0e";
        for end in 0..reply.len() {
            let _ = find(&reply[..end], "sdp");
            for byte in [0, b'd', b'e', b'i', b':', b'9', 255] {
                let mut changed = reply.to_vec();
                changed[end] = byte;
                let _ = find(&changed, "sdp");
            }
        }
        assert_eq!(find(&[b'd'; 60_000], "sdp"), None);
        assert_eq!(find(b"d99999999999999999999:x", "x"), None);
    }
}
