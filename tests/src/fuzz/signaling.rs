//! SIP: messages, URIs, headers, digest, streams, and the whole proxy.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use signaling_core::alias::{self, Alias};
use signaling_core::digest::{Algorithm, Answer, Authenticator, Proof, Refusal, ha1};
use signaling_core::flow::Protocol;
use signaling_core::gruu::{self, Gruu};
use signaling_core::message::framing::{Frame, Framer};
use signaling_core::message::header::{
    Authorization, CSeq, Contact, Expires, From, Header, MinExpires, MinSe, NameAddr, Path,
    ProxyAuthorization, Reason, RecordRoute, RetryAfter, Route, SessionExpires, To, Via, WwwAuthenticate,
};
use signaling_core::message::{Fields, Limits, Message, Method, Name, Uri, peek_call_id};
use signaling_core::secret::Secret;

use crate::sim::World;

/// A whole message: what is read can be written, read again and written the same; an edit leaves it readable.
pub fn message(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    let _ = peek_call_id(input);
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => {
            if let Some(response) = error.response("tag") {
                let bytes = response.to_bytes();
                assert!(bytes.len() <= input.len() + 1024, "a refusal is no amplifier");
                // What it repeats of the request (RFC 3261 §8.2.6.2) may be as broken there as here.
                assert!(bytes.starts_with(b"SIP/2.0 ") && bytes.ends_with(b"\r\n\r\n"));
            }
            return;
        }
    };
    let written = message.to_bytes();
    assert!(written.len() <= input.len(), "nothing is added to what was not touched");
    let again = Message::parse(written.clone()).expect("what was read can be read again");
    assert_eq!(again.to_bytes(), written);
    for bytes in [input, &written] {
        assert_eq!(peek_call_id(bytes), Some(message.call_id().as_bytes()), "one call, one worker");
    }
    look_at(&message);
    match message {
        Message::Request(mut request) => {
            let _ = request.uri();
            request.prepend(Name::Via, "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKfuzz");
            request.prepend(Name::RecordRoute, "<sip:192.0.2.1;lr>");
            let _ = request.stamp_source(([192, 0, 2, 7], 5060).into(), true);
            request.set_body("application/sdp", Bytes::from_static(b"v=0\r\n"));
            let edited = Message::parse(request.to_bytes()).expect("an edited request can be read");
            assert_eq!(edited.body().as_ref(), b"v=0\r\n");
            assert_eq!(edited.call_id(), request.call_id());
        }
        Message::Response(mut response) => {
            let vias = response.values(Name::Via).count();
            if response.remove_first_value(Name::Via) {
                assert_eq!(response.values(Name::Via).count(), vias - 1);
            }
        }
    }
}

/// Asks a message for everything that a step may ask for.
fn look_at(fields: &Fields) {
    let _ = (fields.top_via(), fields.from_header(), fields.to_header(), fields.cseq());
    let _ = (fields.call_id(), fields.from_tag(), fields.to_tag(), fields.written_len());
    let (_, _) = (fields.all::<Contact<'_>>().count(), fields.all::<Route<'_>>().count());
    let (_, _) = (fields.all::<RecordRoute<'_>>().count(), fields.all::<Path<'_>>().count());
    let _ = (fields.get::<Expires>(), fields.get::<SessionExpires>(), fields.get::<MinSe>());
    let (_, _) = (fields.all::<Authorization<'_>>().count(), fields.all::<ProxyAuthorization<'_>>().count());
    let _ = fields.has_token(Name::Supported, "timer");
    for (name, value) in fields.iter() {
        assert!(!name.is_empty() && value.len() <= 65_536);
    }
}

/// A URI: written as read, equal to itself, and still one with a parameter added and taken away.
pub fn uri(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(uri) = Uri::parse(text) else { return };
    assert_eq!(uri.as_str(), text);
    assert!(uri.is_equivalent(&uri), "{text}");
    let _ = (uri.user_decoded(), uri.password(), uri.host(), uri.host_ip(), uri.headers(), uri.transport());
    for param in uri.params().iter().take(100) {
        let _ = param.unquoted();
    }
    let _ = Uri::parse(uri.as_request_uri().as_str()).expect("a request-URI is a URI");
    if let Ok(more) = uri.with_param("x-fuzz", Some("1")) {
        assert_eq!(more.param("x-fuzz"), Some("1"), "{text}");
        assert_eq!(more.host(), uri.host());
        let less = more.without_param("x-fuzz");
        assert_eq!(less.param("x-fuzz"), None);
        assert_eq!((less.user(), less.host()), (uri.user(), uri.host()));
    }
}

/// A URI of a Contact or of what comes back of it: an alias put on comes off again, and nothing but aliases does.
pub fn alias(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let plain = alias::strip(text);
    assert_eq!(alias::strip(&plain), plain, "{text}");
    assert!(plain.len() <= text.len());
    let _ = alias::take(text);
    let Ok(uri) = Uri::parse(text) else { return };
    let ours = Alias { protocol: Protocol::Wss, remote: ([192, 0, 2, 7], 40_001).into() };
    assert_eq!(alias::take(&alias::add(text, ours)), Ok(Some((plain, ours))), "{text}");
    let secret = Secret([7; 32]);
    assert!(!matches!(gruu::read(&secret, &uri), Some(Gruu::Temporary { .. })), "nobody knows the secret");
}

/// The first octet says which header, the rest is its value.
pub fn header(input: &[u8]) {
    let Some((which, value)) = input.split_first() else { return };
    match which % 16 {
        0 | 1 => {
            let Ok(via) = Via::parse(value) else { return };
            let _ = (via.branch(), via.cookie_branch(), via.received(), via.rport(), via.response_address());
        }
        2 => {
            let Ok(contact) = Contact::parse(value) else { return };
            let _ = (contact.expires(), contact.instance(), contact.reg_id());
            assert!(contact.q().is_none_or(|q| q <= 1000));
        }
        3 => drop(CSeq::parse(value).map(|cseq| cseq.method())),
        4 => drop(From::parse(value).map(|from| from.tag().map(str::len))),
        5 => drop(To::parse(value).map(|to| to.tag().map(str::len))),
        6 => {
            let Ok(name) = NameAddr::parse("Contact", value) else { return };
            let _ = (name.display(), name.uri());
        }
        7 => drop(Expires::parse(value)),
        8 => drop(SessionExpires::parse(value)),
        9 => drop(MinSe::parse(value)),
        10 => drop(Reason::parse(value).map(|reason| (reason.cause(), reason.text().map(|text| text.len())))),
        11 => drop(Route::parse(value).map(|_| ())),
        12 => drop(RecordRoute::parse(value).map(|_| ())),
        13 => drop(Path::parse(value).map(|_| ())),
        14 => drop(MinExpires::parse(value)),
        _ => drop(RetryAfter::parse(value)),
    }
}

/// Credentials prove nothing without the password, and any challenge can be answered or not, but not panicked about.
pub fn digest(input: &[u8]) {
    let mut judge = Authenticator::new([7; 32], [0; 4], Duration::from_secs(300), 4);
    if let Ok(Authorization(credentials)) = Authorization::parse(input)
        && let Some(Ok(proof)) = Proof::of(&credentials, &credentials.realm().unwrap_or_default())
    {
        let ha1 = ha1(proof.algorithm.hash, "bob", "sip.test", "not in any corpus");
        let nonce = judge.nonce(1_700_000_000, &proof.nonce, "sip.test");
        let verdict = judge.verify(1_700_000_000, &proof, nonce, &Method::Register, &ha1);
        assert!(verdict.is_err(), "nobody knows the password");
    }
    if let Ok(WwwAuthenticate(challenge)) = WwwAuthenticate::parse(input) {
        let (method, uri) = (&Method::Invite, "sip:bob@sip.test");
        let answer =
            Answer { username: "bob", password: "secret", method, uri, cnonce: "0a4f113b", count: 1 };
        if let Some(value) = answer.to(&challenge) {
            assert!(value.len() <= 3 * input.len() + 1024);
            let Authorization(credentials) = Authorization::parse(value.as_bytes()).expect("credentials");
            // The challenge may have offered no qop.
            let realm = challenge.realm().expect("it was answered");
            let refusal = Proof::of(&credentials, &realm).expect("of the same realm").err();
            assert!(refusal.is_none_or(|refusal| refusal == Refusal::Malformed("no qop")), "{value}");
        }
    }
    for made in judge.challenges(1_700_000_000, "sip.test", &Algorithm::ALL, input.len().is_multiple_of(2)) {
        assert!(WwwAuthenticate::parse(made.as_bytes()).is_ok());
    }
}

/// A stream, in pieces of a size that the first octet says: the frames do not depend on it.
pub fn framer(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else { return };
    let limits = Limits { message: 8192, ..Limits::default() };
    let whole = frames(stream, stream.len().max(1), &limits);
    let pieces = frames(stream, usize::from(*size).max(1), &limits);
    // A limit may be met earlier or later within a message, but never before the frames in front of it.
    assert_eq!(whole, pieces);
}

fn frames(stream: &[u8], size: usize, limits: &Limits) -> Vec<Frame> {
    let mut framer = Framer::new(*limits);
    let mut frames = Vec::new();
    for piece in stream.chunks(size) {
        framer.push(piece);
        loop {
            match framer.poll_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    let _ = error.response("tag");
                    return frames;
                }
            }
        }
        assert!(framer.buffer_mut().len() <= limits.message + size, "what waits is bounded");
    }
    frames
}

/// A registered phone says anything at all to the proxy: it goes on, answers a bounded number of messages, and forgets.
pub fn proxy(input: &[u8]) {
    thread_local!(static WORLD: RefCell<Option<(World, usize)>> = const { RefCell::new(None) });
    WORLD.with_borrow_mut(|kept| {
        let (mut world, count) = kept.take().unwrap_or_else(|| (world(), 0));
        let before = world.seen.len();
        world.inject_bytes(0, Bytes::copy_from_slice(input));
        world.run(Duration::from_millis(1));
        let answers = world.seen.len() - before;
        assert!(answers <= 40, "{answers} messages for one");
        if count < 200 {
            *kept = Some((world, count + 1));
            return;
        }
        world.recording = false;
        world.run(Duration::from_secs(400));
        let transactions = world.proxy.transaction_stats();
        assert_eq!((transactions.current, transactions.created - transactions.freed), (0, 0));
        assert!(world.location.count().1 <= 20, "contacts are bounded");
    });
}

/// Alice is about to talk to Bob, who hears nothing.
fn world() -> World {
    let mut world = World::of_two(1);
    world.phones.iter_mut().for_each(|phone| phone.deaf = true);
    world
}
