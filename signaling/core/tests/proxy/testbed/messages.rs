//! SIP as plain text: what was said, and the parts of what is to be said.

use md5::{Digest as _, Md5};

/// A SIP message as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sip {
    /// All of it.
    pub text: String,
}

impl Sip {
    /// The first line.
    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start_line().split(' ').next().unwrap_or_default()
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        self.start_line().split(' ').nth(1).unwrap_or_default()
    }

    /// The code of a response.
    pub fn code(&self) -> u16 {
        self.start_line().split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// The first value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let values = self.headers(name);
        values.first().copied().unwrap_or_else(|| panic!("no {name} in:\n{}", self.text))
    }

    /// All lines of a header, in order, as they stand.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| is_name(field.trim(), name)).map(|(_, value)| value.trim()).collect()
    }

    /// All values of a header whose lines may hold several.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers(name).into_iter().flat_map(|line| line.split(',').map(str::trim)).collect()
    }

    /// The body.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// A parameter's value within a header value.
    pub fn tag(&self, header: &str) -> &str {
        self.header(header).split(";tag=").nth(1).map_or("", |tag| tag.split(';').next().unwrap_or_default())
    }
}

/// Whether a field has this name, be it in its compact form (RFC 3261 §7.3.3).
fn is_name(field: &str, name: &str) -> bool {
    let compact = match name {
        "Via" => "v",
        "From" => "f",
        "To" => "t",
        "Call-ID" => "i",
        "Contact" => "m",
        "Content-Length" => "l",
        "Content-Type" => "c",
        "Supported" => "k",
        _ => name,
    };
    field.eq_ignore_ascii_case(name) || field.eq_ignore_ascii_case(compact)
}

/// The URI of a name-addr.
pub fn uri_of(value: &str) -> &str {
    value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
}

/// The ACK of a negative reply (RFC 3261 §17.1.1.3), or a CANCEL when `method` says so.
pub fn of_invite(method: &str, invite: &str, to: &str) -> String {
    let sip = Sip { text: invite.to_owned() };
    let cseq = sip.header("CSeq").split(' ').next().unwrap_or_default();
    format!(
        "{method} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Content-Length: 0\r\n\r\n",
        sip.uri(),
        sip.header("Via"),
        sip.header("From"),
        sip.header("Call-ID"),
    )
}

/// The ACK of a negative reply.
pub fn ack_of(invite: &str, reply: &Sip) -> String {
    of_invite("ACK", invite, reply.header("To"))
}

/// The CANCEL of an INVITE.
pub fn cancel_of(invite: &Sip) -> String {
    of_invite("CANCEL", &invite.text, invite.header("To"))
}

pub(super) fn content_type(body: &str) -> &'static str {
    match body {
        "" => "",
        body if body.starts_with("Signal") => "Content-Type: application/dtmf-relay\r\n",
        body if body.starts_with("v=0") => "Content-Type: application/sdp\r\n",
        _ => "Content-Type: text/plain\r\n",
    }
}

/// An SDP of a phone. The fake relay only tags it.
pub fn legacy_sdp(who: &str) -> String {
    format!(
        "v=0\r\no={who} 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// An SDP of a browser.
pub fn browser_sdp(who: &str) -> String {
    format!(
        "v=0\r\no={who} 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\na=rtpmap:111 opus/48000/2\r\n"
    )
}

/// A parameter of a challenge.
pub fn quoted(value: &str, name: &str) -> Option<String> {
    let start = value.find(&format!("{name}=\""))? + name.len() + 2;
    value[start..].split('"').next().map(str::to_owned)
}

/// Lower-case hexadecimal MD5.
pub fn md5_hex(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}
