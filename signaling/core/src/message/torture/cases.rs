//! The torture messages of RFC 4475 and RFC 5118: one table for the tests of the parser and for those over the network.

/// One message.
#[derive(Debug, Clone)]
pub struct Case {
    /// The name by which the RFC calls it.
    pub name: &'static str,
    /// Its section there.
    pub section: &'static str,
    /// What the parser says: `accept`, `uri` for a Request-URI that is none, or the status of the refusal.
    pub parsed: &'static str,
    /// What a proxy and registrar for example.com answers: a status, `silence` or `forward`.
    pub answer: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The message.
    pub bytes: Vec<u8>,
}

/// RFC 4475.
#[must_use]
pub fn rfc4475() -> Vec<Case> {
    read(include_str!("rfc4475.txt"))
}

/// RFC 5118.
#[must_use]
pub fn rfc5118() -> Vec<Case> {
    read(include_str!("rfc5118.txt"))
}

fn read(table: &'static str) -> Vec<Case> {
    table.split("\n#### ").skip(1).map(case).collect()
}

fn case(text: &'static str) -> Case {
    let (title, message) = text.split_once('\n').expect("a title, then a message");
    let mut words = title.splitn(5, ' ');
    let mut word = || words.next().expect("a title has five parts");
    // The last line end was taken with the next title, except that of the last case.
    let message = message.strip_suffix('\n').unwrap_or(message);
    let (message, end) = match message.strip_suffix("\\-") {
        Some(cut) => (cut, ""),
        None => (message, "\r\n"),
    };
    let bytes = unescape(&format!("{}{end}", message.replace('\n', "\r\n")));
    Case { name: word(), section: word(), parsed: word(), answer: word(), about: word(), bytes }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}
