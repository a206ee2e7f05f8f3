//! Messages made here: responses, ACK and CANCEL *from* a request, and fresh requests.

use bytes::Bytes;
use rand::{Rng, RngExt};

use super::digits::push_hex;
use super::header::Via;
use super::name::Name;
use super::{HeaderError, Method, Request, Response, StatusCode, Uri};

/// A response in the making (RFC 3261 §8.2.6): all Vias, From, To, Call-ID and CSeq come from the request.
#[derive(Debug)]
pub struct Reply<'a> {
    request: &'a Request,
    response: Response,
    tag: Option<&'a str>,
    content: Option<(&'a str, Bytes)>,
}

impl<'a> Reply<'a> {
    /// Answers `request` with `status`. A 100 repeats the Timestamp (RFC 3261 §8.2.6.1).
    #[must_use]
    pub fn new(request: &'a Request, status: StatusCode) -> Self {
        let mut response = Response::new(status);
        for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
            response.copy_from(request, name);
        }
        if status == StatusCode::TRYING {
            response.copy_from(request, Name::Timestamp);
        }
        Self { request, response, tag: None, content: None }
    }

    /// Another reason phrase than the registered one.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.response.set_status(self.response.status(), Some(reason));
        self
    }

    /// The To tag to add where the request has none. Left out of a 100 (RFC 3261 §8.2.6.2).
    #[must_use]
    pub const fn to_tag(mut self, tag: &'a str) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Copies Record-Route, as in every response that makes a dialog (RFC 3261 §12.1.1).
    #[must_use]
    pub fn record_route(mut self) -> Self {
        self.response.copy_from(self.request, Name::RecordRoute);
        self
    }

    /// Adds a header below the others.
    #[must_use]
    pub fn header(mut self, name: Name<'_>, value: impl AsRef<[u8]>) -> Self {
        self.response.push(name, value);
        self
    }

    /// Gives it a body.
    #[must_use]
    pub fn body(mut self, content_type: &'a str, body: Bytes) -> Self {
        self.content = Some((content_type, body));
        self
    }

    /// The response, Content-Length included.
    #[must_use]
    pub fn build(mut self) -> Response {
        let tag = self.tag.filter(|_| self.response.status() != StatusCode::TRYING);
        if let Some(tag) = tag.filter(|_| self.response.to_tag().is_none()) {
            let to = self.response.raw(Name::To).unwrap_or_default();
            let value = [to, b";tag=", tag.as_bytes()].concat();
            self.response.set(Name::To, value);
        }
        match self.content {
            Some((content_type, body)) => self.response.set_body(content_type, body),
            None => self.response.push(Name::ContentLength, "0"),
        }
        self.response
    }
}

/// The ACK to a final response other than 2xx (RFC 3261 §17.1.1.3): the Via, request-URI, Call-ID, From, Route and CSeq
/// number of the INVITE as sent, the To of the response. With them go the headers whose names begin with `extra`.
#[must_use]
pub fn ack(invite: &Request, response: &Response, extra: &str) -> Request {
    let mut ack = hop_by_hop(invite, Method::Ack, extra);
    if let Some(to) = response.raw(Name::To) {
        ack.set(Name::To, to);
    }
    ack
}

/// The CANCEL of a request as sent (RFC 3261 §9.1), and the headers whose names begin with `extra`.
#[must_use]
pub fn cancel(request: &Request, extra: &str) -> Request {
    hop_by_hop(request, Method::Cancel, extra)
}

/// A request that shares the transaction's branch with `request`.
fn hop_by_hop(request: &Request, method: Method, extra: &str) -> Request {
    let fields = super::Fields::made();
    let uri = super::Text::Owned(request.uri_text().as_bytes().into());
    let number = request.cseq().map_or(0, |cseq| cseq.number);
    let cseq = format!("{number} {method}");
    let read = super::ReadUri::default();
    let mut other = Request { method, uri, read, proved_target: false, received_via: None, fields };
    if let Some(via) = request.values(Name::Via).next() {
        other.push(Name::Via, via);
    }
    other.copy_from(request, Name::Route);
    other.push(Name::MaxForwards, "70");
    for name in [Name::From, Name::To, Name::CallId] {
        other.copy_from(request, name);
    }
    other.push(Name::CSeq, cseq);
    if !extra.is_empty() {
        copy_extra(request, &mut other, extra);
    }
    other.push(Name::ContentLength, "0");
    other
}

/// Copies what RFC 3261 says nothing of: a known header either stands in these requests already or has no place there.
fn copy_extra(from: &Request, to: &mut Request, prefix: &str) {
    let starts =
        |name: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    for (name, value) in from.iter().filter(|(name, _)| starts(name)) {
        if matches!(Name::of(&name), Name::Other(_)) {
            to.push(Name::Other(&name), value);
        }
    }
}

/// A request of our own in the making (RFC 3261 §8.1.1).
#[derive(Debug)]
pub struct NewRequest {
    request: Request,
}

impl NewRequest {
    /// A request with Max-Forwards 70. `via` is the whole value (see [`via`]); `from` and `to` are `name-addr` with tag
    /// where one belongs.
    #[must_use]
    pub fn new(method: Method, uri: &Uri, via: &str, from: &str, to: &str, call_id: &str, cseq: u32) -> Self {
        let cseq = format!("{cseq} {method}");
        let mut request = Request::new(method, uri);
        request.push(Name::Via, via);
        request.push(Name::MaxForwards, "70");
        request.push(Name::From, from);
        request.push(Name::To, to);
        request.push(Name::CallId, call_id);
        request.push(Name::CSeq, cseq);
        Self { request }
    }

    /// Adds a header below the others.
    #[must_use]
    pub fn header(mut self, name: Name<'_>, value: impl AsRef<[u8]>) -> Self {
        self.request.push(name, value);
        self
    }

    /// The request with this body, Content-Length included; an empty one is none.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: Bytes) -> Request {
        self.request.set_body(content_type, body);
        self.request
    }

    /// The request without body.
    #[must_use]
    pub fn build(self) -> Request {
        self.body("", Bytes::new())
    }
}

/// A Via value: `SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK...`, with `rport` where the transport is a datagram one
/// (RFC 3581 §3).
#[must_use]
pub fn via(protocol: crate::flow::Protocol, sent_by: &str, branch: &str) -> String {
    let rport = if protocol.is_reliable() { "" } else { ";rport" };
    format!("SIP/2.0/{protocol} {sent_by};branch={branch}{rport}")
}

/// 64 random bits in lower-case letters and digits, for tags (RFC 3261 §19.3 asks for at least 32).
#[must_use]
pub fn random_tag(rng: &mut impl Rng) -> String {
    tag_of(rng.random())
}

/// The tag that is made of `bits`.
#[must_use]
pub fn tag_of(bits: u64) -> String {
    let mut text = String::with_capacity(16);
    push_hex(&mut text, &bits.to_be_bytes());
    text
}

/// A fresh branch, cookie included (RFC 3261 §8.1.1.7).
#[must_use]
pub fn random_branch(rng: &mut impl Rng) -> String {
    format!("{}{}", super::header::MAGIC_COOKIE, random_tag(rng))
}

/// A fresh Call-ID: 128 random bits.
#[must_use]
pub fn random_call_id(rng: &mut impl Rng) -> String {
    format!("{}{}", random_tag(rng), random_tag(rng))
}

/// Removes the topmost Via, as a proxy does with a response on its way back (RFC 3261 §16.7 step 3), and returns the
/// branch it had.
///
/// # Errors
/// When the topmost Via does not parse.
pub fn pop_via(response: &mut Response) -> Result<Option<String>, HeaderError> {
    let branch = response.get::<Via<'_>>()?.and_then(|via| via.branch()).map(str::to_owned);
    response.remove_first_value(Name::Via);
    Ok(branch)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
