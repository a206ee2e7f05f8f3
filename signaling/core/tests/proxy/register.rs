//! Registration (RFC 3261 §10) and authentication (§22).

use std::time::Duration;

use signaling_core::event::{AuthFailure, Event, Expiry};
use signaling_core::flow::Protocol;
use signaling_core::settings::{Auth, Settings};

use crate::testbed::{self, Bed, DOMAIN, Phone, Sip, UNIX_START, quoted};

#[test]
fn a_phone_is_challenged_and_bound() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let request = alice.register_text(600);
    bed.send(&alice.flow, &request);
    let challenge = bed.expect(&alice.flow, "SIP/2.0 401 ");
    assert_eq!(quoted(challenge.header("WWW-Authenticate"), "realm").as_deref(), Some(DOMAIN));
    assert!(!challenge.header("WWW-Authenticate").contains("SHA"), "JsSIP takes nothing but MD5");
    assert!(bed.store.bindings.borrow().is_empty());

    let again = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &again);
    let ok = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_eq!(ok.header("Contact"), "<sip:alice@198.51.100.7:5060>;expires=600");
    assert!(ok.header("Via").contains(";received=198.51.100.7"), "{}", ok.text);
    let saved = bed.store.bindings.borrow()["alice@sip.example"].clone();
    assert_eq!((saved.len(), saved[0].expires_at()), (1, UNIX_START + 600));
    assert!(bed.events.iter().any(|event| matches!(event, Event::Registered { expires: 600, .. })));

    bed.send(&alice.flow, &again);
    assert_eq!(bed.expect(&alice.flow, "SIP/2.0 200 "), ok, "a retransmission gets the same answer");
    bed.expect_silence();
}

#[test]
fn a_laboratory_asks_nobody_for_a_password() {
    let settings = testbed::settings();
    let auth = Auth { required: false, ..settings.auth };
    let mut bed = Bed::with(&[], Settings { auth, ..settings }, Vec::new());
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let request = alice.register_text(600);
    bed.send(&alice.flow, &request);
    let ok = bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert_eq!(ok.header("Contact"), "<sip:alice@198.51.100.7:5060>;expires=600");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    let invite = bob.request("INVITE", "sip:alice@sip.example", "lab", "", "");
    bed.send(&bob.flow, &invite);
    bed.expect(&alice.flow, "INVITE ");
}

#[test]
fn a_browser_gets_its_instance_back() {
    let mut bed = Bed::new(&["bob"]);
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    let ok = bob.register(&mut bed);
    let contact = ok.header("Contact");
    assert!(contact.starts_with("<sip:kbob@df7jal23ls0d.invalid;transport=ws>;expires=600;"), "{contact}");
    assert!(contact.contains(";received=\"sip:203.0.113.9:41000;transport=ws\";"), "{contact}");
    assert!(contact.ends_with(";+sip.instance=\"<urn:uuid:bob>\";reg-id=1"), "{contact}");
    assert_eq!(ok.header("Require"), "outbound");
    bed.close(&bob.flow.clone());
    assert_eq!(bed.location.count(), (0, 0));
    assert!(bed.store.bindings.borrow()["bob@sip.example"].is_empty(), "nor after a restart");
    let lost = |event: &Event| matches!(event, Event::Expired { cause: Expiry::ConnectionLost, .. });
    assert!(bed.events.iter().any(lost));
}

#[test]
fn wrong_passwords_and_unknown_users_look_alike() {
    let mut bed = Bed::new(&["alice"]);
    let mut answers = Vec::new();
    for (user, reason) in [("alice", AuthFailure::WrongPassword), ("mallory", AuthFailure::UnknownUser)] {
        let mut phone = Phone::legacy(&mut bed, user, "198.51.100.66:5060");
        phone.password = "guess".into();
        let request = phone.register_text(600);
        let answer = phone.authorized(&mut bed, &request);
        let nonce = quoted(answer.header("WWW-Authenticate"), "nonce").expect("nonce");
        let tags = [answer.tag("To").to_owned(), nonce, phone.branch()];
        let mut text = answer.text.replace(user, "USER").replace("z9hG4bK-USER-5060-2", "BRANCH");
        for tag in tags {
            text = text.replace(&tag, "RANDOM");
        }
        answers.push(text);
        let told = bed.events.iter().any(|event| {
            matches!(event, Event::AuthFailed { source, user: tried, reason: why, .. }
                if source.to_string() == "198.51.100.66:5060" && tried == user && *why == reason)
        });
        assert!(told, "{:?}", bed.events);
    }
    assert!(answers[0].starts_with("SIP/2.0 401 "));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(bed.location.count(), (0, 0));
}

#[test]
fn a_stale_nonce_costs_a_round_trip_and_no_event() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let request = alice.register_text(600);
    bed.send(&alice.flow, &request);
    let challenge = bed.receive(&alice.flow);
    bed.advance(Duration::from_secs(301));
    let late = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &late);
    let stale = bed.expect(&alice.flow, "SIP/2.0 401 ");
    assert!(stale.header("WWW-Authenticate").contains("stale=true"));
    let again = alice.with_credentials(&request, &stale);
    bed.send(&alice.flow, &again.replace("CSeq: 2 ", "CSeq: 3 "));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    assert!(!bed.events.iter().any(|event| matches!(event, Event::AuthFailed { .. })));
}

#[test]
fn nobody_registers_for_somebody_else() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut mallory = Phone::legacy(&mut bed, "alice", "198.51.100.66:5060");
    let request = mallory.register_text(600).replace("To: <sip:alice@", "To: <sip:bob@");
    let answer = mallory.authorized(&mut bed, &request);
    assert_eq!(answer.code(), 403);
    let mismatch =
        |event: &Event| matches!(event, Event::AuthFailed { reason: AuthFailure::UserMismatch, .. });
    assert!(bed.events.iter().any(mismatch));
    assert_eq!(bed.location.count(), (0, 0));
}

/// One REGISTER with the given Contact and Expires lines; the answer to it.
fn register(bed: &mut Bed, phone: &mut Phone, lines: &str) -> Sip {
    let request = phone.request("REGISTER", &format!("sip:{DOMAIN}"), "reg-1", lines, "");
    phone.authorized(bed, &request)
}

#[test]
fn every_form_of_register_is_understood() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    const B: &str = "<sip:b@198.51.100.8>;expires=3600;q=0.500";
    let cases: [(&str, u16, &[&str]); 13] = [
        ("", 200, &[]),
        ("Contact: <sip:a@198.51.100.7>\r\nExpires: 120\r\n", 200, &["<sip:a@198.51.100.7>;expires=120"]),
        ("m: <sip:b@198.51.100.8>;q=0.5;expires=99999\r\n", 200, &["<sip:a@198.51.100.7>;expires=120", B]),
        ("Contact: <sip:a@198.51.100.7>;expires=5\r\n", 423, &[]),
        ("Contact: *\r\nExpires: 5\r\n", 400, &[]),
        ("Contact: *, <sip:a@198.51.100.7>\r\nExpires: 0\r\n", 400, &[]),
        ("Contact: <mailto:a@b>\r\n", 400, &[]),
        ("Contact: <sip:a@198.51.100.7>;expires=0\r\n", 200, &[B]),
        ("Contact: <sip:a@198.51.100.7>;q=1.5\r\n", 400, &[]),
        ("Contact: <sip:a@198.51.100.7>, <sip:b@[::1>\r\n", 400, &[]),
        ("Contact: <sip:alice@sip.example>\r\n", 403, &[]),
        ("", 200, &[B]),
        ("Contact: *\r\nExpires: 0\r\n", 200, &[]),
    ];
    for (lines, code, contacts) in cases {
        let answer = register(&mut bed, &mut alice, lines);
        assert_eq!(answer.code(), code, "{lines}\n{}", answer.text);
        if code == 200 {
            assert_eq!(answer.headers("Contact"), contacts, "{lines}");
        }
        if code == 423 {
            assert_eq!(answer.header("Min-Expires"), "60");
        }
    }
    assert!(bed.store.bindings.borrow()["alice@sip.example"].is_empty());
}

#[test]
fn a_binding_runs_out() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.register(&mut bed);
    bed.advance(Duration::from_secs(599));
    assert_eq!(bed.location.count(), (1, 1));
    bed.advance(Duration::from_secs(10));
    assert_eq!(bed.location.count(), (0, 0));
    assert!(bed.events.iter().any(|event| matches!(event, Event::Expired { cause: Expiry::TimedOut, .. })));
    assert!(bed.store.bindings.borrow()["alice@sip.example"].is_empty());
}

#[test]
fn a_promise_that_cannot_be_kept_is_not_made() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let request = alice.register_text(600);
    bed.send(&alice.flow, &request);
    let challenge = bed.receive(&alice.flow);
    *bed.store.broken.borrow_mut() = true;
    let again = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &again);
    let answer = bed.expect(&alice.flow, "SIP/2.0 500 ");
    assert!(!answer.text.contains("fire"), "what is wrong inside is nobody's business outside");
    assert!(bed.events.iter().any(|event| matches!(event, Event::OutsideFailed { .. })));
}

#[test]
fn a_foreign_register_goes_nowhere() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::on(bed.flow(Protocol::Tcp, "198.51.100.7:5060"), "alice", "sip:a@b".into());
    let request = alice.register_text(600).replace(DOMAIN, "elsewhere.example");
    bed.send(&alice.flow, &request);
    bed.expect(&alice.flow, "SIP/2.0 403 Not relaying");
}
