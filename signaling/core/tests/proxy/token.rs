//! Who is it, without a stored password: tokens (RFC 8898) and credentials that are good for a while.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use signaling_core::event::{AuthFailure, Event};
use signaling_core::tables::{Policy, Tables};
use signaling_core::token::ephemeral::Ephemeral;
use signaling_core::token::{Invalid, Key, NamedKey, Tokens};

use crate::testbed::{Bed, DOMAIN, Dialog, Phone, Sip, UNIX_START, legacy_sdp};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const SHARED: &str = "shared with the web application";

fn bed(users: &[&str]) -> Bed {
    let bed = Bed::new(users);
    let tokens = Tokens {
        keys: vec![NamedKey { id: None, key: Key::hs256(SECRET).expect("a key") }],
        audience: vec![DOMAIN.to_owned()],
        audience_optional: true,
        user_claim: "sub".to_owned(),
        authz_server: Some("https://login.example/".to_owned()),
        ..Tokens::default()
    };
    let ephemeral = Ephemeral::new(&["another".to_owned(), SHARED.to_owned()]);
    let policy = Policy { tokens: Some(tokens), ephemeral, ..Policy::default() };
    *bed.store.tables.borrow_mut() = Arc::new(Tables { policy, ..Tables::default() });
    bed
}

/// A token for `user`, good for `seconds` after the start of the test.
fn token(user: &str, seconds: u64) -> String {
    let claims = format!(r#"{{"sub": "{user}", "exp": {}}}"#, UNIX_START + seconds);
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes())))
}

fn bearer(name: &str, token: &str) -> String {
    format!("{name}: Bearer {token}\r\n")
}

/// A REGISTER with these lines more.
fn register(bed: &mut Bed, phone: &mut Phone, more: &str) -> Sip {
    let text = phone.register_text(600).replacen("Content-Length", &format!("{more}Content-Length"), 1);
    bed.send(&phone.flow, &text);
    bed.receive(&phone.flow)
}

fn granted(answer: &Sip) -> u64 {
    let contact = answer.header("Contact");
    let expires = contact.split("expires=").nth(1).unwrap_or_default();
    expires.split(';').next().unwrap_or_default().parse().unwrap_or_else(|_| panic!("{}", answer.text))
}

fn refusals(bed: &Bed) -> Vec<AuthFailure> {
    let reason = |event: &Event| match event {
        Event::AuthFailed { reason, .. } => Some(*reason),
        _ => None,
    };
    bed.events.iter().filter_map(reason).collect()
}

/// No account is needed, and the registration ends with the token.
#[test]
fn a_token_registers_until_it_ends() {
    let mut bed = bed(&[]);
    let mut alice = Phone::browser(&mut bed, "alice", "198.51.100.9:40001");
    let first = register(&mut bed, &mut alice, "");
    let challenges = first.headers("WWW-Authenticate");
    assert!(challenges[0].starts_with("Digest "), "what JsSIP reads: {}", first.text);
    assert_eq!(challenges[1], format!("Bearer realm=\"{DOMAIN}\", authz_server=\"https://login.example/\""));
    let good = bearer("Authorization", &token("alice", 200));
    let answer = register(&mut bed, &mut alice, &good);
    assert_eq!((answer.code(), granted(&answer)), (200, 200), "{}", answer.text);
    let whole = bearer("Authorization", &token(&format!("sip:alice@{DOMAIN}"), 5000));
    let answer = register(&mut bed, &mut alice, &whole);
    assert_eq!((answer.code(), granted(&answer)), (200, 600), "{}", answer.text);
    bed.advance(Duration::from_secs(200));
    bed.discard();
    let answer = register(&mut bed, &mut alice, &good);
    assert_eq!(answer.code(), 401, "{}", answer.text);
    assert!(answer.headers("WWW-Authenticate")[1].ends_with(", error=\"invalid_token\""), "{}", answer.text);
    assert_eq!(refusals(&bed), [AuthFailure::Token(Invalid::Expired)]);
}

#[test]
fn a_token_is_of_one_user_and_nothing_else_will_do() {
    let mut bed = bed(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    for (token, code, failure) in [
        (token("bob", 100), 403, AuthFailure::UserMismatch),
        (token("alice@elsewhere.example", 100), 403, AuthFailure::UserMismatch),
        (
            token("alice", 100).replace("eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJub25lIn0"),
            401,
            AuthFailure::Token(Invalid::Algorithm),
        ),
        (format!("{}AA", token("alice", 100)), 401, AuthFailure::Token(Invalid::Malformed)),
        ("nonsense".to_owned(), 401, AuthFailure::Token(Invalid::Malformed)),
    ] {
        let answer = register(&mut bed, &mut alice, &bearer("Authorization", &token));
        assert_eq!(answer.code(), code, "{}", answer.text);
        assert_eq!(refusals(&bed).last(), Some(&failure), "{token}");
    }
    // A password counts as before.
    assert_eq!(alice.register(&mut bed).code(), 200);
}

/// JsSIP puts its token into Authorization of every request; nobody else is to have it.
#[test]
fn a_call_with_a_token_goes_on_without_it() {
    let mut bed = bed(&["bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.register(&mut bed);
    let good = bearer("Authorization", &token("alice", 100));
    let more = format!("{good}Contact: <sip:alice@198.51.100.7:5060>\r\n");
    let text = alice.request("INVITE", &bob.aor(), "call-1", &more, &legacy_sdp("alice"));
    bed.send(&alice.flow, &text);
    let offered = bed.expect(&bob.flow, "INVITE sip:bob@198.51.100.8:5060 SIP/2.0");
    assert!(!offered.text.contains("Bearer"), "{}", offered.text);
    bed.send(&bob.flow, &bob.reply(&offered, 200, "OK", &legacy_sdp("bob")));
    bed.discard_but(&alice.flow);
    let answered = loop {
        let answer = bed.receive(&alice.flow);
        if answer.code() == 200 {
            break answer;
        }
    };
    let mut caller = Dialog::of_caller(&Sip { text }, &answered);
    for method in ["ACK", "BYE"] {
        let request = caller.request(&mut alice, method, &good, "");
        bed.send(&alice.flow, &request);
        let passed = bed.expect(&bob.flow, &format!("{method} "));
        assert!(!passed.text.contains("Bearer"), "{}", passed.text);
    }
    // One that proves nothing, in the header for proxies.
    let bad = bearer("Proxy-Authorization", "a.b.c");
    let request = alice.request("MESSAGE", &bob.aor(), "m-1", &bad, "hi");
    bed.send(&alice.flow, &request);
    let answer = bed.expect(&alice.flow, "SIP/2.0 407 ");
    assert!(answer.headers("Proxy-Authenticate")[1].contains("invalid_token"), "{}", answer.text);
    // That of a user of another domain is not ours to take.
    let foreign = format!(
        "MESSAGE {} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKm2\r\nFrom: <sip:x@elsewhere.example>;tag=x\r\n\
         To: <{}>\r\nCall-ID: m-2\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n{bad}Content-Length: 0\r\n\r\n",
        bob.aor(),
        bob.aor()
    );
    bed.send(&alice.flow, &foreign);
    assert!(bed.expect(&bob.flow, "MESSAGE ").text.contains("Bearer a.b.c"));
}

/// A phone that knows only digest, with a user name that says its own end.
#[test]
fn credentials_that_are_good_for_a_while() {
    let mut bed = bed(&[]);
    let mut phone = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let name = |user: &str, seconds: u64| format!("{}:{user}", UNIX_START + seconds);
    let by = |secret: &str, name: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        STANDARD.encode(hmac::sign(&key, name.as_bytes()))
    };
    let mut attempt = |bed: &mut Bed, name: &str, password: &str| {
        (phone.login, phone.password) = (name.to_owned(), password.to_owned());
        let text = phone.register_text(600);
        phone.authorize(bed, &text).1
    };
    let good = name("alice", 200);
    let answer = attempt(&mut bed, &good, &by(SHARED, &good));
    assert_eq!((answer.code(), granted(&answer)), (200, 200), "{}", answer.text);
    let (other, longer) = (name("bob", 200), name("alice", 9999));
    for (name, password, code) in [
        (&good, by("guessed", &good), 401),
        (&longer, by(SHARED, &good), 401),
        (&other, by(SHARED, &other), 403),
    ] {
        let answer = attempt(&mut bed, name, &password);
        assert_eq!(answer.code(), code, "{name}: {}", answer.text);
    }
    bed.advance(Duration::from_secs(200));
    bed.discard();
    assert_eq!(attempt(&mut bed, &good, &by(SHARED, &good)).code(), 401);
    use AuthFailure::{Ended, UserMismatch, WrongPassword};
    assert_eq!(refusals(&bed), [WrongPassword, WrongPassword, UserMismatch, Ended]);
}

/// Whoever has signed in with a token is somebody while he is away, account or not: 480, and voicemail. Others are nobody: 404.
#[test]
fn a_user_of_tokens_who_is_away_is_not_unknown() {
    let mut bed = bed(&["bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    let call = |bed: &mut Bed, bob: &mut Phone, call_id: &str| {
        let request = bob.request("MESSAGE", &format!("sip:alice@{DOMAIN}"), call_id, "", "hi");
        bob.authorized(bed, &request).code()
    };
    assert_eq!(call(&mut bed, &mut bob, "m1"), 404, "nobody has ever been that");
    let good = bearer("Authorization", &token("alice", 200));
    assert_eq!(register(&mut bed, &mut alice, &good).code(), 200);
    bed.advance(Duration::from_secs(210));
    bed.discard();
    assert_eq!(call(&mut bed, &mut bob, "m2"), 480);
    let request = bob.request("MESSAGE", &format!("sip:carol@{DOMAIN}"), "m3", "", "hi");
    assert_eq!(bob.authorized(&mut bed, &request).code(), 404);
    assert_eq!(bob.register(&mut bed).code(), 200);
    assert_eq!(
        *bed.store.known.borrow(),
        [format!("alice@{DOMAIN}")],
        "whoever has an account is known by that"
    );
}
