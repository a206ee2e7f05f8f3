//! Who is it: the order of the checks, and who is challenged by what (RFC 3261 §22, RFC 7616, RFC 8760).

use std::sync::Arc;

use signaling_core::digest::{Algorithm, Answer};
use signaling_core::event::{AuthFailure, Event};
use signaling_core::flow::{Flow, Protocol};
use signaling_core::message::Method;
use signaling_core::message::header::{Header as _, WwwAuthenticate};
use signaling_core::outside::Account;
use signaling_core::secret::Secret;
use signaling_core::settings::{Auth, Settings};

use crate::testbed::{Bed, DOMAIN, Phone, Sip, password, quoted, settings};

fn bed(users: &[&str], algorithms: &[Algorithm]) -> Bed {
    let auth = Auth { algorithms: algorithms.to_vec(), secret: Some(Secret([9; 32])), ..Auth::default() };
    // The requests of these tests are shorter than those of phones.
    let mut settings = Settings { auth, ..settings() };
    settings.limits.stranger_percent = 1000;
    Bed::with(users, settings, Vec::new())
}

/// The algorithms of a challenge, in order.
fn offered(challenge: &Sip) -> Vec<String> {
    let values = challenge.headers("WWW-Authenticate");
    let parsed = values.iter().filter_map(|value| WwwAuthenticate::parse(value.as_bytes()).ok());
    parsed.filter_map(|value| Some(value.0.algorithm()?.into_owned())).collect()
}

/// A REGISTER of alice with these header lines; each its own transaction.
fn register(count: u32, more: &str) -> String {
    format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-r{count}\r\n\
         From: <sip:alice@{DOMAIN}>;tag=a\r\nTo: <sip:alice@{DOMAIN}>\r\nCall-ID: auth\r\nCSeq: {count} REGISTER\r\n\
         Contact: <sip:alice@198.51.100.7:5060>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

/// The Authorization line that answers the challenge with this algorithm.
fn answer(challenge: &Sip, algorithm: Algorithm, user: &str, password: &str) -> String {
    let wanted = |value: &&&str| value.contains(&format!("algorithm={},", algorithm.as_str()));
    let values = challenge.headers("WWW-Authenticate");
    let value = values.iter().find(wanted).expect("a challenge with the algorithm");
    let challenge = WwwAuthenticate::parse(value.as_bytes()).expect("a challenge").0;
    let uri = format!("sip:{DOMAIN}");
    let method = &Method::Register;
    let answer = Answer { username: user, password, method, uri: &uri, cnonce: "c0", count: 1 };
    format!("Authorization: {}\r\n", answer.to(&challenge).expect("an answer"))
}

fn challenged(bed: &mut Bed, flow: &Flow, count: u32, more: &str) -> Sip {
    bed.send(flow, &register(count, more));
    bed.expect(flow, "SIP/2.0 401 ")
}

/// RFC 8760 §2.3: the order is that of preference; browsers take MD5 and nothing beside it.
#[test]
fn algorithms_are_offered_in_order_and_to_browsers_md5_alone() {
    let all = [Algorithm::SHA_256, Algorithm::SHA_512_256_SESS, Algorithm::MD5];
    let names: Vec<&str> = all.iter().map(|algorithm| algorithm.as_str()).collect();
    let mut bed = bed(&["alice"], &all);
    let udp = bed.flow(Protocol::Udp, "198.51.100.7:5060");
    let wss = bed.flow(Protocol::Wss, "198.51.100.9:40001");
    assert_eq!(offered(&challenged(&mut bed, &udp, 1, "")), names);
    assert_eq!(offered(&challenged(&mut bed, &udp, 2, "User-Agent: JsSIP 3.13.8\r\n")), ["MD5"]);
    assert_eq!(offered(&challenged(&mut bed, &wss, 3, "")), ["MD5"]);
}

#[test]
fn without_md5_browsers_are_offered_what_there_is() {
    let mut bed = bed(&["alice"], &[Algorithm::SHA_256]);
    let wss = bed.flow(Protocol::Wss, "198.51.100.9:40001");
    assert_eq!(offered(&challenged(&mut bed, &wss, 1, "")), ["SHA-256"]);
}

#[test]
fn every_algorithm_lets_in_who_knows_the_password() {
    let mut bed = bed(&["alice"], &Algorithm::ALL);
    let flow = bed.flow(Protocol::Udp, "198.51.100.7:5060");
    for (index, algorithm) in (1_u32..).zip(Algorithm::ALL) {
        let challenge = challenged(&mut bed, &flow, 10 * index, "");
        let wrong = answer(&challenge, algorithm, "alice", "guess");
        let again = challenged(&mut bed, &flow, 10 * index + 1, &wrong);
        assert!(!again.text.contains("stale"), "{algorithm:?}: {}", again.text);
        let right = answer(&challenge, algorithm, "alice", &password("alice"));
        bed.send(&flow, &register(10 * index + 2, &right));
        bed.expect(&flow, "SIP/2.0 200 ");
    }
}

/// An algorithm that is not in the list does not get in by the back door.
#[test]
fn an_algorithm_that_is_not_offered_is_not_taken() {
    let mut open = bed(&["alice"], &Algorithm::ALL);
    let mut strict = bed(&["alice"], &[Algorithm::SHA_256]);
    let flow = open.flow(Protocol::Udp, "198.51.100.7:5060");
    assert_eq!(strict.flow(Protocol::Udp, "198.51.100.7:5060"), flow);
    // Both have the same key and the same origin, so that the nonce is as good for one as for the other.
    let challenge = challenged(&mut open, &flow, 1, "");
    let md5 = answer(&challenge, Algorithm::MD5, "alice", &password("alice"));
    assert_eq!(offered(&challenged(&mut strict, &flow, 2, &md5)), ["SHA-256"]);
    let sha = answer(&challenge, Algorithm::SHA_256, "alice", &password("alice"));
    strict.send(&flow, &register(3, &sha));
    strict.expect(&flow, "SIP/2.0 200 ");
}

/// An account that Kamailio made has an MD5 hash and no other.
#[test]
fn an_account_with_md5_alone_is_asked_for_md5() {
    let mut bed = bed(&[], &[Algorithm::SHA_256, Algorithm::MD5]);
    let mut account = Account::of_password("alice", DOMAIN, &password("alice"));
    account.ha1_sha256.clear();
    bed.store.accounts.borrow_mut().insert("alice".into(), Arc::new(account));
    let flow = bed.flow(Protocol::Udp, "198.51.100.7:5060");
    let challenge = challenged(&mut bed, &flow, 1, "");
    let sha = answer(&challenge, Algorithm::SHA_256, "alice", &password("alice"));
    let second = challenged(&mut bed, &flow, 2, &sha);
    assert_eq!(offered(&second), ["MD5"]);
    let md5 = answer(&second, Algorithm::MD5, "alice", &password("alice"));
    bed.send(&flow, &register(3, &md5));
    bed.expect(&flow, "SIP/2.0 200 ");
    assert!(!bed.events.iter().any(|event| matches!(event, Event::AuthFailed { .. })));
}

/// Nobody makes the store work with a nonce that he has invented, and what is malformed does not get that far either.
#[test]
fn the_nonce_is_looked_at_before_the_account() {
    let mut bed = bed(&["alice"], &[Algorithm::MD5]);
    let flow = bed.flow(Protocol::Udp, "198.51.100.7:5060");
    let challenge = challenged(&mut bed, &flow, 1, "");
    let nonce = quoted(challenge.header("WWW-Authenticate"), "nonce").expect("a nonce");
    let right = answer(&challenge, Algorithm::MD5, "alice", &password("alice"));
    *bed.store.broken.borrow_mut() = true;
    let other = |c: char| if c == '0' { '1' } else { '0' };
    let forged =
        nonce.chars().enumerate().map(|(at, c)| if at == 20 { other(c) } else { c }).collect::<String>();
    let again = challenged(&mut bed, &flow, 2, &right.replace(&nonce, &forged));
    assert!(!again.text.contains("stale"), "{}", again.text);
    bed.send(&flow, &register(3, &right.replace("nc=00000001", "nc=1")));
    bed.expect(&flow, "SIP/2.0 400 Bad Credentials");
    bed.send(&flow, &register(4, &right));
    bed.expect(&flow, "SIP/2.0 500 ");
    let reasons = bed.events.iter().filter_map(|event| match event {
        Event::AuthFailed { reason, .. } => Some(*reason),
        _ => None,
    });
    assert!(matches!(reasons.collect::<Vec<_>>()[..], [AuthFailure::Malformed]));
}

/// What is different between a wrong password and no such user is for the log alone.
#[test]
fn nobody_learns_who_has_an_account() {
    let texts = ["alice", "carol"].map(|user| {
        let mut bed = bed(&["alice"], &[Algorithm::MD5]);
        let flow = bed.flow(Protocol::Udp, "198.51.100.7:5060");
        let request = |count, more: &str| register(count, more).replace("alice", user);
        bed.send(&flow, &request(1, ""));
        let challenge = bed.receive(&flow);
        let wrong = answer(&challenge, Algorithm::MD5, user, "guess");
        bed.send(&flow, &request(2, &wrong));
        let refusal = bed.receive(&flow);
        let reason = bed.events.iter().find_map(|event| match event {
            Event::AuthFailed { reason, .. } => Some(*reason),
            _ => None,
        });
        (refusal.text.replace(user, "USER"), reason)
    });
    let [(alice, wrong), (carol, unknown)] = texts;
    assert_eq!(alice, carol);
    assert!(matches!((wrong, unknown), (Some(AuthFailure::WrongPassword), Some(AuthFailure::UnknownUser))));
}

/// Nor who has an account that Kamailio has made, which cannot be checked by the better algorithm: not by what is asked for then, and
/// not by when it is enough.
#[test]
fn nobody_learns_whose_account_is_an_old_one() {
    let texts = ["alice", "bob", "carol"].map(|user| {
        let mut bed = bed(&["alice", "bob"], &[Algorithm::SHA_256, Algorithm::MD5]);
        let mut old = Account::of_password("bob", DOMAIN, &password("bob"));
        old.ha1_sha256.clear();
        bed.store.accounts.borrow_mut().insert("bob".into(), Arc::new(old));
        let flow = bed.flow(Protocol::Udp, "198.51.100.7:5060");
        let answers = (0..32).map(|number| {
            let request = |count, more: &str| register(count, more).replace("alice", user);
            bed.send(&flow, &request(2 * number + 1, ""));
            let challenge = bed.receive(&flow);
            let wrong = answer(&challenge, Algorithm::SHA_256, user, "guess");
            bed.send(&flow, &request(2 * number + 2, &wrong));
            bed.advance(std::time::Duration::from_secs(2));
            let refusal = bed.receive(&flow);
            (refusal.start_line().to_owned(), offered(&refusal))
        });
        answers.collect::<Vec<_>>()
    });
    assert_eq!(texts[0], texts[2]);
    assert_eq!(texts[1], texts[2]);
    assert!(texts[0][0] == ("SIP/2.0 401 Unauthorized".into(), vec!["MD5".into()]), "{:?}", texts[0]);
    assert!(texts[0][31].0.starts_with("SIP/2.0 403 "), "{:?}", texts[0]);
}

/// Whoever has shown nothing costs nothing that stays: each copy of his request is challenged as if it were the first, under the same
/// tag (RFC 3261 §8.2.7, §26.3.2.4). What has judged a password is said again and not done again.
#[test]
fn a_challenge_keeps_nothing_and_a_judgement_is_kept() {
    for protocol in [Protocol::Udp, Protocol::Wss] {
        let mut bed = bed(&["alice"], &[Algorithm::MD5]);
        let flow = bed.flow(protocol, "198.51.100.7:5060");
        let first = challenged(&mut bed, &flow, 1, "");
        let second = challenged(&mut bed, &flow, 1, "");
        assert_eq!(first.header("To"), second.header("To"));
        assert!(first.header("To").contains(";tag="), "{}", first.text);
        let other = challenged(&mut bed, &flow, 2, "");
        assert_ne!(first.header("To"), other.header("To"));
        let nonces = [&first, &second].map(|one| quoted(one.header("WWW-Authenticate"), "nonce"));
        assert_ne!(nonces[0], nonces[1], "none of them is kept");
        let (transactions, answered) = (bed.proxy.transaction_stats(), bed.proxy.stats().answered);
        assert_eq!((transactions.total, transactions.answered, transactions.rpl_sent), (0, [0; 5], 3));
        assert_eq!(answered.sum(|code| code == "401"), 3);
        let wrong = answer(&first, Algorithm::MD5, "alice", "guess");
        let refused = challenged(&mut bed, &flow, 3, &wrong);
        let failures =
            |bed: &Bed| bed.events.iter().filter(|e| matches!(e, Event::AuthFailed { .. })).count();
        assert_eq!((failures(&bed), bed.proxy.transaction_stats().answered), (1, [0, 0, 1, 0, 0]));
        if protocol == Protocol::Udp {
            let again = challenged(&mut bed, &flow, 3, &wrong);
            assert_eq!(refused.text, again.text);
            assert_eq!((failures(&bed), bed.proxy.transaction_stats().retransmissions), (1, 1));
        }
        bed.send(&flow, &register(4, &answer(&second, Algorithm::MD5, "alice", &password("alice"))));
        bed.expect(&flow, "SIP/2.0 200 ");
        let stats = bed.proxy.transaction_stats();
        assert_eq!((stats.total, stats.created, stats.freed, stats.current), (2, 2, 2, 0));
        assert_eq!(bed.proxy.stats().accepted_regs, 1);
    }
}

/// A phone that comes back after a restart with the nonce of before is told that it is stale, and asks its user nothing.
#[test]
fn a_nonce_of_before_a_restart_is_stale_and_not_foreign() {
    let mut before = bed(&["alice"], &[Algorithm::MD5]);
    let flow = before.flow(Protocol::Udp, "198.51.100.7:5060");
    let right = {
        let challenge = challenged(&mut before, &flow, 1, "");
        answer(&challenge, Algorithm::MD5, "alice", &password("alice"))
    };
    let wrong = {
        let challenge = challenged(&mut before, &flow, 2, "");
        answer(&challenge, Algorithm::MD5, "alice", "guess")
    };
    // The other seed of the next start.
    let auth = Auth { secret: Some(Secret([9; 32])), ..Auth::default() };
    let mut after = Bed::with_seed(&["alice"], Settings { auth, ..settings() }, [8; 32]);
    after.flow(Protocol::Udp, "198.51.100.7:5060");
    let stale = challenged(&mut after, &flow, 3, &right);
    assert!(stale.header("WWW-Authenticate").ends_with("stale=true"), "{}", stale.text);
    let plain = challenged(&mut after, &flow, 4, &wrong);
    assert!(!plain.text.contains("stale"), "{}", plain.text);
}

/// RFC 3261 §22.3: a proxy looks at its own credentials among those for others, and takes them off.
#[test]
fn the_credentials_for_another_realm_go_on() {
    let mut bed = bed(&["alice", "bob"], &[Algorithm::MD5]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    bob.register(&mut bed);
    let foreign =
        "Digest username=\"alice\", realm=\"elsewhere.example\", nonce=\"n\", uri=\"u\", response=\"00\"";
    let more = format!("Proxy-Authorization: {foreign}\r\nProxy-Authorization: Basic YTpi\r\n");
    let request = alice.request("MESSAGE", &bob.aor(), "m-1", &more, "hi");
    bed.send(&alice.flow, &request);
    let challenge = bed.expect(&alice.flow, "SIP/2.0 407 ");
    let again = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &again);
    let passed = bed.expect(&bob.flow, "MESSAGE ");
    assert_eq!(passed.headers("Proxy-Authorization"), [foreign, "Basic YTpi"]);
}
