//! SIP messages and SDP as the scripted peers see them: read plainly, line by line, by code that shares nothing with the gateway's.

use std::fmt;

use anyhow::{Context, Result, ensure};

/// A message taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Name and value of every header field, in order. Folded lines are not expected from the gateway.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Message {
    /// Takes a message apart; an error says what about it is not SIP.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).context("not UTF-8")?;
        let (head, body) = text.split_once("\r\n\r\n").context("no empty line after the header")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        ensure!(start.starts_with("SIP/2.0 ") || start.ends_with(" SIP/2.0"), "no start line: {start:?}");
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').with_context(|| format!("no colon in {line:?}"))?;
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { start, headers, body: body.to_owned() })
    }

    /// The status code of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        if self.status().is_some() { None } else { self.start.split(' ').next() }
    }

    /// The Request-URI of a request.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        self.method()?;
        self.start.split(' ').nth(1)
    }

    /// The values of all fields of this name, or of its compact form, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| is_named(n, name)).map(|(_, value)| value.as_str())
    }

    /// The value of the first field of this name; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| is_named(n, name)).map_or("", |(_, value)| value)
    }

    /// A parameter of the first field of this name.
    #[must_use]
    pub fn parameter(&self, name: &str, parameter: &str) -> Option<&str> {
        let value = self.header(name);
        let after = value.rsplit_once('>').map_or(value, |(_, after)| after);
        after.split(';').skip(1).find_map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            key.trim().eq_ignore_ascii_case(parameter).then_some(value.trim())
        })
    }

    /// Number and method of CSeq.
    #[must_use]
    pub fn cseq(&self) -> (u32, &str) {
        let (number, method) = self.header("CSeq").split_once(' ').unwrap_or_default();
        (number.parse().unwrap_or_default(), method.trim())
    }

    /// The URI in a field of the form `"name" <uri>;parameters`.
    #[must_use]
    pub fn address(&self, name: &str) -> &str {
        address(self.header(name))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Message {
    /// The message as it goes over the wire, Content-Length computed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.start)?;
        for (name, value) in self.headers.iter().filter(|(name, _)| !is_named(name, "Content-Length")) {
            write!(f, "{name}: {value}\r\n")?;
        }
        write!(f, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body)
    }
}

/// Whether a field is of this name, which the gateway writes in its compact form where a message would not fit into a datagram
/// (RFC 3261 §7.3.3).
fn is_named(field: &str, name: &str) -> bool {
    let compact = |name: &str| {
        Some(match name.to_ascii_lowercase().as_str() {
            "call-id" => "i",
            "contact" => "m",
            "content-encoding" => "e",
            "content-length" => "l",
            "content-type" => "c",
            "from" => "f",
            "subject" => "s",
            "supported" => "k",
            "to" => "t",
            "via" => "v",
            _ => return None,
        })
    };
    field.eq_ignore_ascii_case(name)
        || compact(name).is_some_and(|compact| field.eq_ignore_ascii_case(compact))
}

/// The URI in `"name" <uri>;parameters` or in a bare `uri;parameters`.
#[must_use]
pub fn address(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default(),
    }
}

/// One SDP: session lines, then the lines of each media section, `m=` line first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp {
    /// The lines before the first `m=`.
    pub session: Vec<String>,
    /// The sections.
    pub media: Vec<Vec<String>>,
}

impl Sdp {
    /// Takes an SDP apart and fails for what no SDP may have (RFC 8866 §5): a wrong first line, a line without `x=`,
    /// a line end that is not CRLF.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(text.starts_with("v=0\r\n") && text.ends_with("\r\n"), "no SDP: {text:?}");
        let mut sdp = Self { session: Vec::new(), media: Vec::new() };
        for line in text.strip_suffix("\r\n").unwrap_or(text).split("\r\n") {
            let bytes = line.as_bytes();
            ensure!(
                bytes.len() > 2 && bytes[0].is_ascii_lowercase() && bytes[1] == b'=',
                "not an SDP line: {line:?}"
            );
            ensure!(!line.contains(['\r', '\n']), "a bare line end in {line:?}");
            if line.starts_with("m=") {
                sdp.media.push(Vec::new());
            }
            sdp.media.last_mut().unwrap_or(&mut sdp.session).push(line.to_owned());
        }
        Ok(sdp)
    }

    /// Every line with this start, in the session and in all media.
    pub fn lines<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.session
            .iter()
            .chain(self.media.iter().flatten())
            .map(String::as_str)
            .filter(move |l| l.starts_with(start))
    }

    /// The `m=` line of a section, split at spaces: `audio`, port, protocol, payload types.
    #[must_use]
    pub fn m_line(&self, section: usize) -> Vec<&str> {
        self.media.get(section).map(|lines| lines[0][2..].split(' ').collect()).unwrap_or_default()
    }

    /// The value of an attribute (`rtcp:` with its colon, or `rtcp-mux`) of a section, without `a=` and the name.
    #[must_use]
    pub fn attribute(&self, section: usize, name: &str) -> Option<&str> {
        let lines = self.media.get(section)?;
        lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name))
    }

    /// The direction of a section; `sendrecv` when it says nothing (RFC 3264 §5.1).
    #[must_use]
    pub fn direction(&self, section: usize) -> &str {
        let directions = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
        let own = self.media.get(section).into_iter().flatten();
        let found = own.chain(&self.session).find(|line| directions.contains(&line.as_str()));
        found.map_or("sendrecv", |line| &line[2..])
    }

    /// The payload types of a section with what `a=rtpmap` says of each; static ones may say nothing.
    #[must_use]
    pub fn codecs(&self, section: usize) -> Vec<(u8, String)> {
        let types = self.m_line(section);
        let types = types.iter().skip(3).filter_map(|pt| pt.parse().ok());
        types
            .map(|pt: u8| {
                let map = self.attribute(section, &format!("rtpmap:{pt} ")).map(str::to_owned);
                let fixed = match pt {
                    0 => "PCMU/8000",
                    8 => "PCMA/8000",
                    9 => "G722/8000",
                    _ => "",
                };
                (pt, map.unwrap_or_else(|| fixed.to_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_apart_and_put_together() {
        let text = "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;rport\r\nTo: <sip:b@x>;tag=9\r\n\
                    CSeq: 7 INVITE\r\nContent-Length: 2\r\n\r\nhi";
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (message.method(), message.uri(), message.status()),
            (Some("INVITE"), Some("sip:b@x"), None)
        );
        assert_eq!(message.parameter("via", "branch"), Some("z9hG4bK1"));
        assert_eq!(message.parameter("To", "tag"), Some("9"));
        assert_eq!((message.cseq(), message.address("To")), ((7, "INVITE"), "sip:b@x"));
        assert_eq!(message.to_string(), text);
        assert!(Message::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn an_sdp_is_taken_apart() {
        let text = "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\na=sendonly\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\n\
                    a=rtpmap:101 telephone-event/8000\r\n";
        let sdp = Sdp::parse(text).unwrap();
        assert_eq!(sdp.m_line(0), ["audio", "4000", "RTP/AVP", "0", "101"]);
        assert_eq!(sdp.codecs(0), [(0, "PCMU/8000".to_owned()), (101, "telephone-event/8000".to_owned())]);
        assert_eq!((sdp.direction(0), sdp.attribute(0, "ptime:")), ("sendonly", None));
        for wrong in ["", "v=0\n", "v=0\r\n\r\n", "v=0\r\nx\r\n", "v=0\r\na=x\ny\r\n"] {
            assert!(Sdp::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
