//! Requests that an operator sends (Kamailio's `tm.t_uac_start` and `tm.t_uac_wait`): an agent says them on the route, as a source does
//! that is trusted, so that a user is reached wherever he is registered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Proxy;
use crate::message::build::{self, NewRequest};
use crate::message::header::NameAddr;
use crate::message::{Fields, Method, Name, Request, Response, Uri};

/// Requests of a worker without an answer at a time; more are refused.
const MOST: usize = 256;

/// How much longer than any request the answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The highest number of CSeq (RFC 3261 §8.1.1.5).
const HIGHEST: u32 = (1 << 31) - 1;

/// A request as an operator says it.
#[derive(Debug, Clone)]
pub struct Errand {
    method: Method,
    uri: Uri,
    next_hop: Option<Uri>,
    from: String,
    to: String,
    call_id: Option<String>,
    cseq: u32,
    others: Vec<(String, String)>,
    content_type: String,
    body: Bytes,
}

/// Who is told of the answer; `None` when there is none.
type Told = Box<dyn FnOnce(Option<&Response>)>;

/// Requests without an answer, by branch.
#[derive(Default)]
pub(super) struct Errands {
    open: HashMap<String, Open>,
}

struct Open {
    next_hop: Option<Uri>,
    told: Told,
    until: Instant,
}

impl Errand {
    /// Reads one. `next_hop` and `body` may be empty; `headers` are lines, with From and To among them. Via, Max-Forwards and the
    /// routes are ours to write.
    ///
    /// # Errors
    /// What is wrong, in Kamailio's words where it has any.
    pub fn read(method: &str, uri: &str, next_hop: &str, headers: &str, body: &str) -> Result<Self, String> {
        let parsed = |text: &str| Uri::parse(text).ok().filter(Uri::is_sip);
        let method = match Method::parse(method) {
            None => return Err("Empty method".to_owned()),
            Some(Method::Invite) => return Err("a call is begun by dlg.bridge_dlg".to_owned()),
            Some(Method::Ack | Method::Cancel) => return Err("ACK and CANCEL are of their INVITE".to_owned()),
            Some(method) => method,
        };
        let uri = parsed(uri).ok_or_else(|| format!("Invalid request uri \"{uri}\""))?;
        let next_hop = match next_hop {
            "" => None,
            hop => Some(parsed(hop).ok_or_else(|| format!("Invalid next-hop uri \"{hop}\""))?),
        };
        let mut errand = Self {
            method,
            uri,
            next_hop,
            from: String::new(),
            to: String::new(),
            call_id: None,
            cseq: 10,
            others: Vec::new(),
            content_type: String::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        for (name, value) in fields(headers)? {
            errand.take(name, value)?;
        }
        errand.check()?;
        Ok(errand)
    }

    fn take(&mut self, name: String, value: String) -> Result<(), String> {
        match Name::of(&name) {
            Name::From => self.from = value,
            Name::To => self.to = value,
            Name::CallId => self.call_id = Some(value),
            Name::CSeq => self.cseq = self.number(&value)?,
            Name::ContentType => self.content_type = value,
            Name::ContentLength if !self.body.is_empty() => {
                return Err("Content-Length disallowed".to_owned());
            }
            Name::Via | Name::MaxForwards | Name::Route | Name::RecordRoute | Name::ContentLength => {}
            _ => self.others.push((name, value)),
        }
        Ok(())
    }

    fn number(&self, value: &str) -> Result<u32, String> {
        let (number, method) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        if method.trim() != self.method.as_str() {
            return Err("CSeq method mismatch".to_owned());
        }
        let number = number.parse().ok().filter(|number| *number <= HIGHEST);
        number.ok_or_else(|| "Non-numerical CSeq".to_owned())
    }

    fn check(&self) -> Result<(), String> {
        for (name, value) in [("To", &self.to), ("From", &self.from)] {
            if value.is_empty() {
                return Err(format!("{name} missing"));
            }
            NameAddr::parse(name, value.as_bytes()).map_err(|_| format!("Error in {name}"))?;
        }
        if !self.body.is_empty() && self.content_type.is_empty() {
            return Err("Content-Type missing".to_owned());
        }
        let is_word = |id: &str| !id.is_empty() && !id.contains(' ');
        if self.call_id.as_deref().is_some_and(|id| !is_word(id)) {
            return Err("Invalid headers".to_owned());
        }
        Ok(())
    }

    /// The Call-ID that it is to have.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.call_id.as_deref()
    }

    fn request(&self, call_id: &str, via: &str, tag: &str) -> Request {
        let (method, cseq) = (self.method.clone(), self.cseq);
        let mut request =
            NewRequest::new(method, &self.uri, via, &self.from, &self.to, call_id, cseq).build();
        if request.from_tag().is_none() {
            request.set(Name::From, format!("{};tag={tag}", self.from));
        }
        for (name, value) in &self.others {
            request.push(Name::of(name), value);
        }
        if !self.body.is_empty() {
            request.set_body(&self.content_type, self.body.clone());
        }
        request
    }
}

/// The fields of a block of headers; a line that begins with a blank continues the one before (RFC 3261 §7.3.1).
fn fields(block: &str) -> Result<Vec<(String, String)>, String> {
    let invalid = || "Invalid headers".to_owned();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        if line.chars().any(|sign| sign.is_control() && sign != '\t') {
            return Err(invalid());
        }
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut().ok_or_else(invalid)?;
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(invalid)?;
        let name = name.trim_end();
        // A name is a token, as a method is.
        Method::parse(name).ok_or_else(invalid)?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(fields)
}

impl Errands {
    /// Where the operator wants a request of an agent to go: `None` when it is none of his.
    pub(super) fn next_hop_of(&self, request: &Fields) -> Option<Option<Uri>> {
        Some(self.open.get(branch(request)?)?.next_hop.clone())
    }
}

impl Proxy {
    /// Sends a request of an operator under `call_id`, which counts where the request has none of its own. `told` hears the final
    /// response, or that there was none.
    ///
    /// # Errors
    /// There is no room.
    pub fn send_errand(
        &mut self,
        now: Instant,
        errand: &Errand,
        call_id: &str,
        told: impl FnOnce(Option<&Response>) + 'static,
    ) -> Result<(), &'static str> {
        self.world.set_now(now);
        if self.errands.open.len() >= MOST || self.stopping.is_some() {
            return Err("too many requests wait for an answer");
        }
        let flow = self.agent_towards(errand.next_hop.as_ref().unwrap_or(&errand.uri));
        let branch = self.world.with_rng(build::random_branch);
        let via = build::via(flow.protocol, &flow.remote.to_string(), &branch);
        let mut request = errand.request(errand.call_id().unwrap_or(call_id), &via, &self.world.tag());
        self.world.sign(&mut request);
        let until = now + self.world.settings.timers.max_noninv_lifetime + PATIENCE;
        let next_hop = errand.next_hop.clone();
        self.errands.open.insert(branch.clone(), Open { next_hop, told: Box::new(told), until });
        let said = self.say_as_agent(flow, &request.to_bytes());
        if !said {
            self.errands.open.remove(&branch);
        }
        self.settle();
        if said { Ok(()) } else { Err("the request cannot be read") }
    }

    /// Takes the response to a request of an operator; `false` when it is to somebody else's.
    pub(super) fn errand_answered(&mut self, response: &Response) -> bool {
        let Some(branch) = branch(response).filter(|branch| self.errands.open.contains_key(*branch)) else {
            return false;
        };
        if response.status().is_final()
            && let Some(open) = self.errands.open.remove(branch)
        {
            (open.told)(Some(response));
        }
        true
    }

    /// Gives up requests of which nothing was heard.
    pub(super) fn end_old_errands(&mut self) {
        let now = self.world.now();
        for (_, open) in self.errands.open.extract_if(|_, open| open.until <= now) {
            (open.told)(None);
        }
    }
}

fn branch(message: &Fields) -> Option<&str> {
    message.top_via().ok().and_then(|via| via.branch())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "From: <sip:o@sip.example>\r\nTo: sip:bob@sip.example\r\n";

    #[test]
    fn what_cannot_be_sent_is_refused_with_the_reason() {
        let read = |method: &str, uri: &str, hop: &str, headers: &str, body: &str| {
            Errand::read(method, uri, hop, headers, body).map(|_| ()).unwrap_err()
        };
        let uri = "sip:bob@sip.example";
        let more = |line: &str| format!("{HEADERS}{line}\r\n");
        for (refusal, reason) in [
            (read("", uri, "", HEADERS, ""), "Empty method"),
            (read("INVITE", uri, "", HEADERS, ""), "a call is begun by dlg.bridge_dlg"),
            (read("CANCEL", uri, "", HEADERS, ""), "ACK and CANCEL are of their INVITE"),
            (read("OPTIONS", "bob", "", HEADERS, ""), "Invalid request uri \"bob\""),
            (read("OPTIONS", uri, "x", HEADERS, ""), "Invalid next-hop uri \"x\""),
            (read("OPTIONS", uri, "", "From: sip:a@b\r\n", ""), "To missing"),
            (read("OPTIONS", uri, "", "To: sip:a@b\r\n", ""), "From missing"),
            (read("OPTIONS", uri, "", "To: sip:a@b\r\nFrom: <\r\n", ""), "Error in From"),
            (read("MESSAGE", uri, "", HEADERS, "x"), "Content-Type missing"),
            (read("MESSAGE", uri, "", &more("Content-Length: 1"), "x"), "Content-Length disallowed"),
            (read("MESSAGE", uri, "", &more("CSeq: 1 OPTIONS"), ""), "CSeq method mismatch"),
            (read("MESSAGE", uri, "", &more("CSeq: x MESSAGE"), ""), "Non-numerical CSeq"),
            (read("MESSAGE", uri, "", &more("no header"), ""), "Invalid headers"),
            (read("MESSAGE", uri, "", &more("A b: c"), ""), "Invalid headers"),
            (read("MESSAGE", uri, "", &more("A: b\u{0}c"), ""), "Invalid headers"),
            (read("MESSAGE", uri, "", " a\r\n", ""), "Invalid headers"),
        ] {
            assert_eq!(refusal, reason);
        }
    }

    #[test]
    fn what_is_ours_to_write_is_not_the_operators() {
        let headers = format!(
            "{HEADERS}Via: SIP/2.0/UDP x;branch=z9hG4bKx\r\nMax-Forwards: 1\r\nRoute: <sip:y;lr>\r\nX-A: b\r\n c\r\n\
             CSeq: 7 MESSAGE\r\nCall-ID: mine\r\nContent-Type: text/plain\r\n\r\n"
        );
        let errand = Errand::read("MESSAGE", "sip:bob@sip.example", "", &headers, "hello").unwrap();
        assert_eq!(errand.call_id(), Some("mine"));
        let request = errand.request("mine", "SIP/2.0/UDP 192.0.2.1:9;branch=z9hG4bK1", "t");
        let text = String::from_utf8(request.to_bytes().to_vec()).unwrap();
        assert_eq!(
            text,
            "MESSAGE sip:bob@sip.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <sip:o@sip.example>;tag=t\r\nTo: sip:bob@sip.example\r\nCall-ID: mine\r\nCSeq: 7 MESSAGE\r\n\
             Content-Length: 5\r\nX-A: b c\r\nContent-Type: text/plain\r\n\r\nhello"
        );
    }
}
