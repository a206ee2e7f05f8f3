//! Call-IDs that are masked (`mask_callid`): the two ends of a dialog know it by different ones, for some phones put their address in
//! it. Inside the proxy every message has the Call-ID of whoever has begun the dialog.
//!
//! What comes with a mask leaves without one, and the other way round. So that it is known which of the two it was, the topmost Via
//! of a request that has come with a mask says so until the answer has left, and the branch of one that is to leave without says so
//! too, for what repeats the branch (CANCEL, ACK) has nothing else to tell it by.

use std::borrow::Cow;

use super::Topoh;
use crate::message::header::{Header as _, Via};
use crate::message::{Fields, Message, Name, Request};

const LABEL: &str = "topoh call-id";
/// The parameter of the topmost Via of a request that has come with a mask.
const CAME_MASKED: &str = "x-masked";
/// The end of the branch of a request that leaves without a mask.
const LEAVES_PLAIN: &str = ".p";

/// `branch`, for a request whose receiver knows the dialog by its own Call-ID.
#[must_use]
pub fn plain_branch(branch: &str) -> String {
    format!("{branch}{LEAVES_PLAIN}")
}

/// Whether a request has come with a masked Call-ID.
#[must_use]
pub fn came_masked(request: &Fields) -> bool {
    request.top_via().is_ok_and(|via| via.params().contains(CAME_MASKED))
}

impl Topoh {
    /// A message that leaves, as its receiver knows the dialog.
    pub fn mask_call_id(&self, message: &mut Message) {
        match message {
            Message::Request(request) => self.mask_call_id_of(request),
            Message::Response(response) => {
                if came_masked(response) {
                    self.put_mask(response);
                    let via = response.raw(Name::Via).and_then(without_mark);
                    if let Some(via) = via {
                        response.replace_value(Name::Via, 0, via);
                    }
                }
            }
        }
    }

    /// The same for a request.
    pub fn mask_call_id_of(&self, request: &mut Request) {
        let plain = request
            .top_via()
            .is_ok_and(|via| via.branch().is_some_and(|branch| branch.ends_with(LEAVES_PLAIN)));
        if !plain {
            self.put_mask(request);
        }
        // The other end of a dialog that somebody names knows it by the other Call-ID.
        for name in [Name::Replaces, Name::Join] {
            let Some(value) = request.raw(name) else { continue };
            let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
            let (call_id, rest) = value.split_at(end);
            let other = match self.plain_call_id(call_id.trim_ascii()) {
                Cow::Owned(plain) => plain,
                Cow::Borrowed(plain) => self.masked(plain),
            };
            let value = [&other, rest].concat();
            request.set(name, value);
        }
    }

    /// A message that has come, as whoever has begun the dialog knows it.
    pub fn unmask_call_id(&self, message: &mut Message) {
        let Cow::Owned(plain) = self.plain_call_id(message.call_id().as_bytes()) else { return };
        match message {
            Message::Request(request) => {
                request.set(Name::CallId, plain);
                let mark = |via: &[u8]| [via, b";", CAME_MASKED.as_bytes()].concat();
                let marked = request.values(Name::Via).next().map(mark);
                if let Some(marked) = marked {
                    request.replace_value(Name::Via, 0, marked);
                }
            }
            Message::Response(response) => response.set(Name::CallId, plain),
        }
    }

    /// A Call-ID without its mask, if it has one of ours.
    #[must_use]
    pub fn plain_call_id<'a>(&self, call_id: &'a [u8]) -> Cow<'a, [u8]> {
        let plain = || {
            let text = std::str::from_utf8(call_id.strip_prefix(self.callid_prefix.as_bytes())?).ok()?;
            self.key.unwrap(LABEL, text)
        };
        plain().map_or(Cow::Borrowed(call_id), Cow::Owned)
    }

    fn masked(&self, call_id: &[u8]) -> Vec<u8> {
        format!("{}{}", self.callid_prefix, self.key.wrap(LABEL, call_id)).into_bytes()
    }

    fn put_mask(&self, fields: &mut Fields) {
        let masked = self.masked(fields.call_id().as_bytes());
        fields.set(Name::CallId, masked);
    }
}

/// The first Via of a field without the parameter of ours; `None` when it cannot be read.
fn without_mark(field: &[u8]) -> Option<Vec<u8>> {
    let first = crate::message::Values::new(field, true).next()?;
    Via::parse(first).ok()?;
    let mark = [b";", CAME_MASKED.as_bytes()].concat();
    let at = memchr::memmem::find(first, &mark)?;
    Some([&first[..at], &first[at + mark.len()..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn topoh() -> Topoh {
        Topoh { mask_callid: true, ..Topoh::new(Secret([1; 32])) }
    }

    fn parse(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).expect("a message")
    }

    fn invite(call_id: &str, branch: &str, more: &str) -> Message {
        parse(&format!(
            "INVITE sip:bob@198.51.100.8 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\n\
             From: <sip:a@b>;tag=a\r\nTo: <sip:bob@b>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n{more}Content-Length: 0\r\n\r\n"
        ))
    }

    #[test]
    fn what_comes_masked_is_answered_masked() {
        let topoh = topoh();
        let mut left = invite("x@10.1.1.9", "z9hG4bK1", "");
        topoh.mask_call_id(&mut left);
        let seen = left.call_id().to_owned();
        assert!(seen.starts_with("!!:") && !seen.contains("10.1.1.9"), "{seen}");
        let mut came = invite(&seen, "z9hG4bK2;rport", "");
        topoh.unmask_call_id(&mut came);
        assert_eq!(came.call_id(), "x@10.1.1.9");
        assert!(came_masked(&came) && !came_masked(&left));
        let via = came.text(Name::Via).expect("a Via").to_owned();
        let mut answer = parse(&format!(
            "SIP/2.0 200 OK\r\nVia: {via};received=1.2.3.4\r\nFrom: <sip:a@b>;tag=a\r\nTo: <sip:c@b>;tag=b\r\nCall-ID: x@10.1.1.9\r\n\
             CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        ));
        topoh.mask_call_id(&mut answer);
        assert_eq!(answer.call_id(), seen);
        let via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2;rport;received=1.2.3.4";
        assert_eq!(answer.text(Name::Via), Some(via));
        let plain = plain_branch("z9hG4bK3");
        let mut on = invite("x@10.1.1.9", &plain, "");
        topoh.mask_call_id(&mut on);
        assert_eq!(on.call_id(), "x@10.1.1.9");
    }

    #[test]
    fn a_dialog_that_somebody_names_is_named_as_its_other_end_knows_it() {
        let topoh = topoh();
        let mut request = invite("c", "z9hG4bK1", "Replaces: x@10.1.1.9;to-tag=1;from-tag=2\r\n");
        topoh.mask_call_id(&mut request);
        let there = request.text(Name::Replaces).expect("a value").to_owned();
        assert!(there.starts_with("!!:") && there.ends_with(";to-tag=1;from-tag=2"), "{there}");
        let mut back = invite("c", "z9hG4bK1", &format!("Replaces: {there}\r\n"));
        topoh.mask_call_id(&mut back);
        assert_eq!(back.text(Name::Replaces), Some("x@10.1.1.9;to-tag=1;from-tag=2"));
    }

    #[test]
    fn what_others_have_made_is_nobodys_mask() {
        for call_id in ["!!:", "!!:AAAA", "!!:x@y", "x", ""] {
            assert!(matches!(topoh().plain_call_id(call_id.as_bytes()), Cow::Borrowed(_)), "{call_id}");
        }
    }
}
