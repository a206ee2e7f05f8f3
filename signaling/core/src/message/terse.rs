//! Answers that are no longer than what they answer, for receivers who may not have asked: whoever forges the address of somebody
//! else has no more sent to him than he sends himself.

use super::{Name, Request, Response, StatusCode};

type Step = fn(&mut Response, &Request, usize);

/// What is left out or said shorter, in this order, until it suffices: first what a client does without, at last what a standard
/// asks for and no client needs to go on.
const STEPS: [Step; 10] = [
    |response, _, _| _ = response.remove(Name::Server),
    // A 405 is none without it (RFC 3261 §21.4.6).
    |response, _, _| {
        if response.status() != StatusCode::METHOD_NOT_ALLOWED {
            response.remove(Name::Allow);
        }
    },
    // Every implementation reads both forms of a name (RFC 3261 §7.3.3).
    |response, _, _| response.compact(),
    |response, _, _| {
        for name in CHALLENGES {
            response.edit_values(name, tight);
        }
    },
    keep_what_fits,
    // A datagram can do without (RFC 3261 §18.3).
    |response, _, _| {
        if response.body().is_empty() {
            response.remove(Name::ContentLength);
        }
    },
    shorten_tag,
    |response, _, _| response.set_status(response.status(), None),
    // `received` and `rport` are wanted (RFC 3581 §4), but it is the next answer, to whoever is there, that tells him where he is.
    |response, request, _| {
        if let Some(via) = request.received_via() {
            response.replace_value(Name::Via, 0, via);
        }
    },
    // A phrase is for people (RFC 3261 §7.2), and when to come back is advice.
    |response, _, _| {
        response.set_status(response.status(), Some(""));
        response.remove(Name::RetryAfter);
    },
];

/// Those of [`STEPS`] after which nothing is missing that a client could use.
const HARMLESS: usize = 3;
const CHALLENGES: [Name<'static>; 2] = [Name::WwwAuthenticate, Name::ProxyAuthenticate];
/// Hexadecimal digits of a To tag that are enough: 32 bits (RFC 3261 §19.3).
const TAG: usize = 8;

/// Shortens `response` to `request` to at most `most` bytes where that takes nothing that a client could use.
pub fn trim(response: &mut Response, request: &Request, most: usize) {
    take(&STEPS[..HARMLESS], response, request, most);
}

/// Shortens `response` to `request` until it has at most `most` bytes; whether it has.
pub fn shorten(response: &mut Response, request: &Request, most: usize) -> bool {
    take(&STEPS, response, request, most);
    response.sent_len() <= most
}

fn take(steps: &[Step], response: &mut Response, request: &Request, most: usize) {
    for step in steps {
        if response.sent_len() <= most {
            return;
        }
        step(response, request, most);
    }
}

/// A challenge without blanks between its parameters, and without the algorithm that is meant when none is named (RFC 3261 §22.4).
fn tight(challenge: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(challenge).ok()?;
    Some(text.replace("\", ", "\",").replace(", ", ",").replace(",algorithm=MD5,", ",").into_bytes())
}

/// As many challenges as there is room for, the most preferred ones, and one at least.
fn keep_what_fits(response: &mut Response, _: &Request, most: usize) {
    for name in CHALLENGES {
        while response.sent_len() > most && response.raw_all(name).count() > 1 {
            let (mut at, last) = (0, response.raw_all(name).count() - 1);
            response.retain_values(name, |_| {
                at += 1;
                at <= last
            });
        }
    }
}

/// A tag of ours with no more than it must have.
fn shorten_tag(response: &mut Response, request: &Request, _: usize) {
    let Some(tag) = response.to_tag().filter(|_| request.to_tag().is_none()) else { return };
    let is_random = tag.len() == 2 * TAG && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let to = response.raw(Name::To).filter(|to| is_random && to.ends_with(tag.as_bytes()));
    if let Some(short) = to.map(|to| to[..to.len() - TAG].to_vec()) {
        response.set(Name::To, short);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Message;
    use crate::message::build::Reply;

    fn request(text: &str) -> Request {
        let mut request = match Message::parse(Bytes::copy_from_slice(text.as_bytes())) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        };
        let source = "198.51.100.66:40000".parse().expect("an address");
        request.stamp_source(source, true).expect("a Via");
        request
    }

    /// Each thing goes only when what goes before it does not suffice.
    #[test]
    fn no_more_is_left_out_than_needed() {
        let request = request(
            "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b\r\nVia: SIP/2.0/UDP c\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
        );
        let whole = Reply::new(&request, StatusCode::SERVICE_UNAVAILABLE)
            .to_tag("0123456789abcdef")
            .header(Name::Allow, "INVITE")
            .header(Name::RetryAfter, "10")
            .header(
                Name::ProxyAuthenticate,
                "Digest realm=\"h\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"",
            )
            .header(Name::ProxyAuthenticate, "Digest realm=\"h\", nonce=\"n\", algorithm=MD5, qop=\"auth\"")
            .header(Name::Server, "Causeway")
            .build();
        let (mut length, mut before) = (whole.sent_len(), None);
        let marks = ["Server:", "Allow:", "From:", "\", nonce", "=MD5", "89abcdef", "rport", "Service"];
        let mut gone = 0;
        while before.is_none() {
            let mut answer = whole.clone();
            let fits = shorten(&mut answer, &request, length);
            let text = String::from_utf8(answer.to_bytes().to_vec()).expect("text");
            assert_eq!(fits, text.len() <= length, "{length}:\n{text}");
            let missing = marks.iter().filter(|mark| !text.contains(**mark)).count();
            let first = marks.iter().take(missing);
            assert!(first.clone().all(|mark| !text.contains(*mark)), "{first:?} go first:\n{text}");
            assert!(missing >= gone, "{text}");
            gone = missing;
            before = (!fits).then_some(text);
            length -= 1;
        }
        let least = before.expect("there is an end");
        assert_eq!(
            least,
            "SIP/2.0 503 \r\nv: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b\r\nv: SIP/2.0/UDP c\r\nf: <sip:a@h>;tag=1\r\n\
             t: <sip:h>;tag=01234567\r\ni: x\r\nCSeq: 1 OPTIONS\r\n\
             Proxy-Authenticate: Digest realm=\"h\",nonce=\"n\",algorithm=SHA-256,qop=\"auth\"\r\n\r\n"
        );
    }

    /// The tag of a dialog is not ours to change, nor is what nothing asks for left out.
    #[test]
    fn what_fits_stays_as_it_is() {
        let request = request(
            "BYE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:h>;tag=0123456789abcdef\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n",
        );
        let whole = Reply::new(&request, StatusCode::OK).header(Name::Server, "Causeway").build();
        let mut same = whole.clone();
        assert!(shorten(&mut same, &request, whole.sent_len()));
        assert_eq!(same.to_bytes(), whole.to_bytes());
        let mut least = whole;
        assert!(!shorten(&mut least, &request, 1));
        assert_eq!(least.to_tag(), Some("0123456789abcdef"));
    }
}
