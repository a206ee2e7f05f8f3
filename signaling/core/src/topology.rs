//! Topology hiding without state, under the names of Kamailio's `topoh` module: what tells one peer where others are goes out
//! enciphered within the message, and is deciphered when it comes back. It works over restarts, and between servers with the same
//! key. [`topos`] is the other way: nothing goes out, and a store remembers.
//!
//! It sits at the edge, behind everything else on the way out ([`crate::proxy::Proxy::poll_transmit`]) and before everything else on
//! the way in; between, messages are as they would be without it. On the way out the Vias below ours, the Record-Routes of others
//! and Contacts are masked; on the way in the Vias and Record-Routes of responses, and the Routes and Request-URIs of requests, are
//! what they were. Whoever changes a masked text has one that is nobody's.
//!
//! Registrations keep their Contacts, and so do redirections, which are for the caller to follow; a GRUU of ours tells no address.

pub mod call_id;
pub mod topos;

use std::borrow::Cow;

use crate::message::header::{Header as _, NameAddr, Via};
use crate::message::{Fields, Message, Method, Name, Request, Response, Uri};
use crate::secret::Secret;

/// Keeps the uses of the key apart.
const VIA: &str = "topoh via";
const URI: &str = "topoh uri";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topoh {
    /// The key; all servers of one have the same (`mask_key`).
    pub key: Secret,
    /// The host of masked Vias and URIs: no address of anybody, for nothing is sent there while the proxy is on the way (default
    /// 127.0.0.8, as Kamailio has it).
    pub mask_ip: String,
    /// The parameter of a URI that carries the masked one (default `line`).
    pub uparam_name: String,
    /// What its value begins with (default `sr-`).
    pub uparam_prefix: String,
    /// The parameter of a Via that carries the masked one (default `branch`).
    pub vparam_name: String,
    /// What its value begins with (default `z9hG4bKsr-`).
    pub vparam_prefix: String,
    /// Whether Call-IDs are masked too ([`call_id`]; default no).
    pub mask_callid: bool,
    /// What a masked Call-ID begins with (default `!!:`).
    pub callid_prefix: String,
}

impl Default for Topoh {
    /// With a key that everybody knows: for names alone.
    fn default() -> Self {
        Self::new(Secret::default())
    }
}

impl Topoh {
    /// The defaults with this key.
    #[must_use]
    pub fn new(key: Secret) -> Self {
        Self {
            key,
            mask_ip: "127.0.0.8".into(),
            uparam_name: "line".into(),
            uparam_prefix: "sr-".into(),
            vparam_name: "branch".into(),
            vparam_prefix: "z9hG4bKsr-".into(),
            mask_callid: false,
            callid_prefix: "!!:".into(),
        }
    }

    /// A message that leaves, as its receiver is to see it.
    pub fn mask(&self, message: &mut Message) {
        match message {
            Message::Request(request) => self.mask_request(request),
            Message::Response(response) => self.mask_response(response),
        }
    }

    /// A request that leaves, our Via on top.
    pub fn mask_request(&self, request: &mut Request) {
        let mut top = true;
        request.edit_values(Name::Via, |via| (!std::mem::take(&mut top)).then(|| self.mask_via(via)));
        request.edit_values(Name::RecordRoute, |value| self.mask_route(value));
        if *request.method() != Method::Register {
            self.mask_contacts(request);
        }
    }

    /// A response that leaves, our Via taken off: those that are left are its receiver's, and so are the Record-Routes below ours.
    fn mask_response(&self, response: &mut Response) {
        let register = response.cseq().is_ok_and(|cseq| cseq.method == "REGISTER");
        if response.values(Name::RecordRoute).any(is_ours) {
            let mut above = true;
            response.edit_values(Name::RecordRoute, |value| {
                above &= !is_ours(value);
                if above { self.mask_route(value) } else { None }
            });
        }
        if !register && response.status().class() < 3 {
            self.mask_contacts(response);
        }
    }

    /// A message that has come, as it would be without masks. What is not ours stays.
    pub fn unmask(&self, message: &mut Message) {
        match message {
            Message::Request(request) => {
                if let Some(uri) = self.plain_uri(request.uri_text()).and_then(|uri| Uri::parse(&uri).ok()) {
                    request.set_uri(&uri);
                    request.prove_target();
                }
                self.unmask_uris(request, Name::Route);
            }
            Message::Response(response) => {
                response.edit_values(Name::Via, |via| match self.plain_via(via) {
                    Cow::Owned(plain) => Some(plain),
                    Cow::Borrowed(_) => None,
                });
                self.unmask_uris(response, Name::RecordRoute);
            }
        }
    }

    /// A Via value without its mask, if it has one of ours.
    #[must_use]
    pub fn plain_via<'a>(&self, value: &'a [u8]) -> Cow<'a, [u8]> {
        let plain = || {
            let via = Via::parse(value).ok()?;
            let text = via.params().get(&self.vparam_name)?.strip_prefix(&*self.vparam_prefix)?;
            self.key.unwrap(VIA, text)
        };
        plain().map_or(Cow::Borrowed(value), Cow::Owned)
    }

    fn mask_via(&self, value: &[u8]) -> Vec<u8> {
        let transport = Via::parse(value).map_or("UDP", |via| via.transport()).to_owned();
        let (ip, text) = (&self.mask_ip, self.key.wrap(VIA, value));
        let (name, prefix) = (&self.vparam_name, &self.vparam_prefix);
        let branch = if name == "branch" { String::new() } else { format!(";branch=z9hG4bK{}", &text[..13]) };
        format!("SIP/2.0/{transport} {ip}{branch};{name}={prefix}{text}").into_bytes()
    }

    /// A Record-Route of somebody else.
    fn mask_route(&self, value: &[u8]) -> Option<Vec<u8>> {
        if is_ours(value) {
            return None;
        }
        let address = NameAddr::parse("Record-Route", value).ok()?;
        Some(format!("<{};lr>", self.mask_uri(address.uri_text())).into_bytes())
    }

    /// Contacts but those that are masked already, or that tell nothing.
    fn mask_contacts(&self, fields: &mut Fields) {
        fields.edit_values(Name::Contact, |value| {
            let address = NameAddr::parse("Contact", value).ok()?;
            let uri = address.uri().ok().filter(Uri::is_sip)?;
            if uri.params().contains("gr") {
                return None;
            }
            Some(address.with_uri(value, &self.mask_uri(address.uri_text())))
        });
    }

    fn mask_uri(&self, uri: &str) -> String {
        let (name, prefix, text) =
            (&self.uparam_name, &self.uparam_prefix, self.key.wrap(URI, uri.as_bytes()));
        format!("sip:{};{name}={prefix}{text}", self.mask_ip)
    }

    fn unmask_uris(&self, fields: &mut Fields, name: Name<'_>) {
        fields.edit_values(name, |value| {
            let address = NameAddr::parse("Route", value).ok()?;
            Some(address.with_uri(value, &self.plain_uri(address.uri_text())?))
        });
    }

    /// The URI behind a masked one; `None` for any other.
    fn plain_uri(&self, uri: &str) -> Option<String> {
        // Cheaper than taking every URI apart.
        if !uri.contains(&*self.uparam_prefix) {
            return None;
        }
        let uri = Uri::parse(uri).ok()?;
        let text = uri.param(&self.uparam_name)?.strip_prefix(&*self.uparam_prefix)?;
        String::from_utf8(self.key.unwrap(URI, text)?).ok()
    }
}

/// Whether a Record-Route is one of ours, be it of another pass of the same request.
fn is_ours(value: &[u8]) -> bool {
    memchr::memmem::find(value, b";did=").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:bob@198.51.100.8:5060 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKcw1;rport, SIP/2.0/TCP 10.1.1.2:5060;branch=z9hG4bK2;received=10.1.1.3\r\n\
        Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK3\r\n\
        Record-Route: <sip:192.0.2.1;lr;did=1>\r\nRecord-Route: <sip:10.1.1.2;lr>\r\n\
        From: <sip:alice@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
        Contact: \"Alice\" <sip:alice@10.1.1.9;alias=10.1.1.9~5060~1>;+sip.ice\r\nContent-Length: 0\r\n\r\n";

    fn parse(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).expect("a message")
    }

    fn text(message: &Message) -> String {
        String::from_utf8(message.to_bytes().to_vec()).expect("text")
    }

    fn masked(topoh: &Topoh, message: &str) -> String {
        let mut message = parse(message);
        topoh.mask(&mut message);
        text(&message)
    }

    fn unmasked(topoh: &Topoh, message: &str) -> String {
        let mut message = parse(message);
        topoh.unmask(&mut message);
        text(&message)
    }

    /// The values of a header, those of one line apart.
    fn values(message: &str, name: Name<'_>) -> Vec<String> {
        let message = parse(message);
        message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn nothing_of_what_is_behind_is_seen() {
        let topoh = Topoh::new(Secret([1; 32]));
        let seen = masked(&topoh, INVITE);
        assert!(!seen.contains("10.1.1.") && !seen.contains("invalid"), "{seen}");
        let (vias, routes) = (values(&seen, Name::Via), values(&seen, Name::RecordRoute));
        assert_eq!(vias[0], "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKcw1;rport");
        assert!(vias[1].starts_with("SIP/2.0/TCP 127.0.0.8;branch=z9hG4bKsr-"), "{seen}");
        assert!(vias[2].starts_with("SIP/2.0/WSS 127.0.0.8;branch=z9hG4bKsr-"), "{seen}");
        assert_eq!(routes[0], "<sip:192.0.2.1;lr;did=1>");
        assert!(routes[1].starts_with("<sip:127.0.0.8;line=sr-") && routes[1].ends_with(";lr>"), "{seen}");
        let contact = &values(&seen, Name::Contact)[0];
        assert!(
            contact.starts_with("\"Alice\" <sip:127.0.0.8;line=sr-") && contact.ends_with(">;+sip.ice"),
            "{seen}"
        );
        assert_eq!(masked(&topoh, INVITE), seen, "what is sent again is the same");
        let register = INVITE.replace("INVITE", "REGISTER");
        assert_eq!(values(&masked(&topoh, &register), Name::Contact), values(INVITE, Name::Contact));
    }

    /// As after a restart, or at another server with the same key.
    #[test]
    fn whoever_has_the_key_sees_what_there_was() {
        let (topoh, later) = (Topoh::new(Secret([1; 32])), Topoh::new(Secret([1; 32])));
        let seen = masked(&topoh, INVITE);
        // What the callee makes of it.
        let (vias, routes) = (values(&seen, Name::Via), values(&seen, Name::RecordRoute));
        let response = format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nRecord-Route: {}\r\nFrom: <sip:alice@sip.example>;tag=a\r\n\
             To: <sip:bob@sip.example>;tag=b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:bob@198.51.100.8>\r\n\r\n",
            vias.join(", "),
            routes.join(", ")
        );
        let heard = unmasked(&later, &response);
        assert_eq!(values(&heard, Name::Via), values(INVITE, Name::Via));
        assert_eq!(values(&heard, Name::RecordRoute), values(INVITE, Name::RecordRoute));
        let contact = values(&seen, Name::Contact)[0].clone();
        let target = contact.split(['<', '>']).nth(1).expect("a URI");
        let bye = format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.8;branch=z9hG4bKb\r\nRoute: {}\r\n\
             From: <sip:bob@sip.example>;tag=b\r\nTo: <sip:alice@sip.example>;tag=a\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n",
            routes.join(", ")
        );
        let heard = unmasked(&later, &bye);
        assert!(heard.starts_with("BYE sip:alice@10.1.1.9;alias=10.1.1.9~5060~1 SIP/2.0\r\n"), "{heard}");
        assert_eq!(values(&heard, Name::Route), ["<sip:192.0.2.1;lr;did=1>", "<sip:10.1.1.2;lr>"]);
        // Another key, and a text that was changed.
        let other = Topoh::new(Secret([2; 32]));
        assert_eq!(unmasked(&other, &bye), bye);
        let at = bye.find("line=sr-").expect("a mask") + 12;
        let (before, after) = bye.split_at(at);
        let changed = if after.starts_with('A') { "B" } else { "A" };
        let forged = format!("{before}{changed}{}", &after[1..]);
        assert!(unmasked(&later, &forged).starts_with(&format!("BYE {}", &forged[4..60])), "{forged}");
    }

    /// The way back to the caller: the proxies behind us are masked, his own are his.
    #[test]
    fn a_caller_sees_his_own_side_as_it_is() {
        let topoh = Topoh::new(Secret([1; 32]));
        let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 10.1.1.2:5060;branch=z9hG4bK2\r\n\
            Record-Route: <sip:10.9.9.9;lr>, <sip:192.0.2.1;r2=on;lr;did=1>, <sip:192.0.2.1;transport=ws;r2=on;lr;did=1>\r\n\
            Record-Route: <sip:10.1.1.2;lr>\r\nFrom: <sip:alice@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>;tag=b\r\n\
            Call-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:bob@10.9.9.8>\r\n\r\n";
        let seen = masked(&topoh, response);
        assert!(!seen.contains("10.9.9."), "{seen}");
        assert_eq!(values(&seen, Name::Via), values(response, Name::Via));
        let routes = values(&seen, Name::RecordRoute);
        assert_eq!(routes[1..], values(response, Name::RecordRoute)[1..]);
        let moved = response.replace("200 OK", "302 Moved");
        assert_eq!(
            values(&masked(&topoh, &moved), Name::Contact),
            ["<sip:bob@10.9.9.8>"],
            "it is for him to follow"
        );
        let gruu = response.replace("<sip:bob@10.9.9.8>", "<sip:bob@sip.example;gr=1>");
        assert_eq!(values(&masked(&topoh, &gruu), Name::Contact), ["<sip:bob@sip.example;gr=1>"]);
    }

    #[test]
    fn the_names_are_the_operators() {
        let topoh = Topoh {
            mask_ip: "10.0.0.1".into(),
            uparam_name: "x".into(),
            uparam_prefix: "y-".into(),
            vparam_name: "v".into(),
            vparam_prefix: "w-".into(),
            ..Topoh::new(Secret([1; 32]))
        };
        let seen = masked(&topoh, INVITE);
        let via = &values(&seen, Name::Via)[1];
        assert!(via.starts_with("SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK") && via.contains(";v=w-"), "{seen}");
        assert!(values(&seen, Name::Contact)[0].contains("<sip:10.0.0.1;x=y-"), "{seen}");
        assert_eq!(topoh.plain_via(via.as_bytes()), values(INVITE, Name::Via)[1].as_bytes());
    }
}
