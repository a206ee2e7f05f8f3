use super::*;
use crate::message::header::{Authorization, Header, WwwAuthenticate};

const REALM: &str = "example.com";
const ORIGIN: [u8; 4] = [1; 4];

fn authenticator() -> Authenticator {
    Authenticator::new([7; 32], ORIGIN, Duration::from_secs(300), 4)
}

fn challenge(auth: &mut Authenticator, at: u64, algorithm: Algorithm) -> String {
    auth.challenges(at, REALM, &[algorithm], false).remove(0)
}

fn answer(challenge: &str, password: &str, count: u32) -> String {
    let challenge = WwwAuthenticate::parse(challenge.as_bytes()).unwrap().0;
    let method = &Method::Register;
    let answer =
        Answer { username: "bob", password, method, uri: "sip:example.com", cnonce: "0a4f113b", count };
    answer.to(&challenge).unwrap()
}

fn proof(value: &str) -> Result<Proof<'_>, Refusal> {
    Proof::of(&Authorization::parse(value.as_bytes()).unwrap().0, REALM).expect("of this realm")
}

fn judge(auth: &mut Authenticator, at: u64, value: &str) -> Result<(), Refusal> {
    let proof = proof(value)?;
    let ha1 = ha1(proof.algorithm.hash, "bob", REALM, "zanzibar");
    let nonce = auth.nonce(at, &proof.nonce, REALM);
    auth.verify(at, &proof, nonce, &Method::Register, &ha1)
}

/// RFC 7616 §3.9.1 (MD5, SHA-256) and §3.9.2 (SHA-512-256, as its erratum 4897 corrects it, without the hashed name), and
/// RFC 2617 §3.5.
#[test]
fn the_vectors_of_the_rfcs_come_out() {
    let rfc7616 = |algorithm: Algorithm, response: &'static str| {
        (
            algorithm,
            ("Mufasa", "http-auth@example.org", "Circle of Life", "/dir/index.html"),
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            response,
        )
    };
    let cases = [
        rfc7616(Algorithm::MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        rfc7616(Algorithm::SHA_256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        (
            Algorithm::SHA_512_256,
            ("J\u{e4}s\u{f8}n Doe", "api@example.org", "Secret, or not?", "/doe.json"),
            "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
        ),
        (
            Algorithm::MD5,
            ("Mufasa", "testrealm@host.com", "Circle Of Life", "/dir/index.html"),
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        ),
    ];
    for (algorithm, (username, realm, password, uri), nonce, cnonce, response) in cases {
        let challenge = format!(
            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth, auth-int\"",
            algorithm.as_str()
        );
        let challenge = WwwAuthenticate::parse(challenge.as_bytes()).unwrap().0;
        let method = &Method::Other("GET".into());
        let answer = Answer { username, password, method, uri, cnonce, count: 1 };
        let value = answer.to(&challenge).unwrap();
        assert!(value.contains(&format!("response=\"{response}\"")), "{value}");
    }
}

/// RFC 2069 §2.4 as corrected by its errata: no qop.
#[test]
fn a_client_without_qop_is_understood() {
    let ha1 = ha1(HashFunction::Md5, "Mufasa", "testrealm@host.com", "CircleOfLife");
    let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
    let right = response(Algorithm::MD5, &ha1, "GET", "/dir/index.html", nonce, "", None);
    assert_eq!(right, "1949323746fe6a43ef61f9606e7febea");
}

#[test]
fn without_a_count_a_nonce_is_good_for_one_request() {
    let mut auth = authenticator();
    let challenge = challenge(&mut auth, 1000, Algorithm::MD5).replace(", qop=\"auth\"", "");
    let value = answer(&challenge, "zanzibar", 1);
    assert!(!value.contains("nc="), "{value}");
    assert_eq!(judge(&mut auth, 1000, &value), Ok(()));
    assert_eq!(judge(&mut auth, 1000, &value), Err(Refusal::Stale));
}

/// RFC 8760 §2.6: with the newer algorithms qop is not left out.
#[test]
fn only_md5_goes_without_qop() {
    let mut auth = authenticator();
    for algorithm in Algorithm::ALL {
        let challenge = challenge(&mut auth, 1000, algorithm).replace(", qop=\"auth\"", "");
        let verdict = judge(&mut auth, 1000, &answer(&challenge, "zanzibar", 1));
        let expected = if algorithm == Algorithm::MD5 { Ok(()) } else { Err(Refusal::Malformed("no qop")) };
        assert_eq!(verdict, expected, "{algorithm:?}");
    }
}

#[test]
fn a_right_password_is_taken_once_per_count() {
    for algorithm in Algorithm::ALL {
        let mut auth = authenticator();
        let challenge = challenge(&mut auth, 1000, algorithm);
        for (count, expected) in [
            (1, Ok(())),
            (1, Err(Refusal::Stale)),
            (3, Ok(())),
            (2, Ok(())),
            (2, Err(Refusal::Stale)),
            (200, Ok(())),
            (100, Err(Refusal::Stale)),
            (0, Err(Refusal::Stale)),
        ] {
            let value = answer(&challenge, "zanzibar", count);
            assert_eq!(judge(&mut auth, 1001, &value), expected, "{algorithm:?} {count}");
        }
    }
}

/// RFC 7616 §3.3: stale says that the proof is right but for the nonce.
#[test]
fn a_wrong_password_is_never_called_stale() {
    let mut auth = authenticator();
    let challenge = challenge(&mut auth, 1000, Algorithm::MD5);
    for at in [1000, 1300, 1301, 9999] {
        assert_eq!(judge(&mut auth, at, &answer(&challenge, "guess", 1)), Err(Refusal::Wrong));
    }
}

#[test]
fn old_and_future_nonces_and_those_of_other_workers_are_stale() {
    let mut auth = authenticator();
    let own = challenge(&mut auth, 1000, Algorithm::SHA_256);
    let mut other = Authenticator::new([7; 32], [2; 4], Duration::from_secs(300), 4);
    let others = challenge(&mut other, 1000, Algorithm::SHA_256);
    for (at, challenge, count, expected) in [
        (1300, &own, 1, Ok(())),
        (1301, &own, 2, Err(Refusal::Stale)),
        (999, &own, 3, Err(Refusal::Stale)),
        (1000, &others, 1, Err(Refusal::Stale)),
    ] {
        assert_eq!(judge(&mut auth, at, &answer(challenge, "zanzibar", count)), expected, "{at} {count}");
    }
    assert!(auth.challenges(1, REALM, &[Algorithm::MD5], true)[0].ends_with("qop=\"auth\", stale=true"));
}

#[test]
fn a_nonce_that_nobody_with_our_key_made_proves_nothing() {
    let mut auth = authenticator();
    let mut stranger = Authenticator::new([8; 32], ORIGIN, Duration::from_secs(300), 4);
    let forged = challenge(&mut stranger, 1000, Algorithm::MD5);
    assert_eq!(judge(&mut auth, 1000, &answer(&forged, "zanzibar", 1)), Err(Refusal::Wrong));
    let own = challenge(&mut auth, 1000, Algorithm::MD5);
    let own = WwwAuthenticate::parse(own.as_bytes()).unwrap().0.nonce().unwrap();
    assert!(matches!(auth.nonce(1000, &own, REALM), Nonce::Fresh(_)));
    assert_eq!(auth.nonce(1000, &own, "example.org"), Nonce::Foreign, "of another realm");
    for nonce in ["", "00", &own[1..], &own.replace(|c: char| c.is_ascii_digit(), "x"), &format!("{own}00")] {
        assert_eq!(auth.nonce(1000, nonce, REALM), Nonce::Foreign, "{nonce}");
    }
}

#[test]
fn every_nonce_is_another_and_several_challenges_share_one() {
    let mut auth = authenticator();
    let nonce = |text: &str| WwwAuthenticate::parse(text.as_bytes()).unwrap().0.nonce().unwrap().into_owned();
    let two = auth.challenges(1000, REALM, &[Algorithm::SHA_256, Algorithm::MD5], false);
    let names: Vec<_> = two.iter().map(|value| value.contains("algorithm=SHA-256,")).collect();
    assert_eq!(names, [true, false], "in the order of preference");
    assert_eq!(nonce(&two[0]), nonce(&two[1]));
    assert_ne!(nonce(&two[0]), nonce(&challenge(&mut auth, 1000, Algorithm::MD5)));
}

#[test]
fn what_is_forgotten_for_want_of_room_is_stale() {
    let mut auth = authenticator();
    let challenges: Vec<_> = (0..6).map(|at| challenge(&mut auth, 1000 + at, Algorithm::MD5)).collect();
    for challenge in &challenges {
        assert_eq!(judge(&mut auth, 1010, &answer(challenge, "zanzibar", 1)), Ok(()));
    }
    assert_eq!(auth.used.len(), 4);
    assert_eq!(judge(&mut auth, 1010, &answer(&challenges[0], "zanzibar", 1)), Err(Refusal::Stale));
    assert_eq!(judge(&mut auth, 1010, &answer(&challenges[5], "zanzibar", 2)), Ok(()));
}

/// RFC 7616 §3.4: a parameter that is missing or improper is a bad request, and one that was not offered a new challenge.
#[test]
fn half_credentials_are_refused_by_name() {
    let all = "username=\"u\", realm=\"example.com\", nonce=\"n\", uri=\"u\", \
               response=\"0123456789abcdef0123456789ABCDEF\", qop=auth, nc=00000001, cnonce=\"c\"";
    assert!(proof(&format!("Digest {all}")).is_ok());
    for missing in ["username", "nonce", "uri", "response", "nc", "cnonce"] {
        let rest: Vec<_> = all.split(", ").filter(|one| !one.starts_with(&format!("{missing}="))).collect();
        let refusal = proof(&format!("Digest {}", rest.join(", "))).unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_)), "{missing}: {refusal}");
    }
    for (good, bad, offered) in [
        ("nc=00000001", "nc=1", true),
        ("nc=00000001", "nc=+0000001", true),
        ("response=\"01", "response=\"", true),
        ("response=\"01", "response=\"zz", true),
        ("uri=\"u\"", "uri=\"u\", uri=\"v\"", true),
        ("uri=\"u\"", "uri=\"u\", realm=\"other\"", true),
        ("username=\"u\"", "username=\"u\", username*=UTF-8''u", true),
        ("username=\"u\"", "username*=latin1''u", true),
        ("username=\"u\"", "username*=UTF-8''%ff", true),
        ("qop=auth", "qop=auth-int", false),
        ("qop=auth", "qop=auth, algorithm=SHA3", false),
        ("qop=auth", "qop=auth, userhash=true", false),
    ] {
        let value = format!("Digest {}", all.replace(good, bad));
        let refusal = proof(&value).unwrap_err();
        assert_eq!(matches!(refusal, Refusal::Malformed(_)), offered, "{bad}: {refusal}");
    }
}

/// Whatever they lack, and whoever is to judge that.
#[test]
fn credentials_of_another_realm_are_not_ours() {
    for value in ["Digest realm=\"other\"", "Digest username=\"u\", username=\"v\"", "Digest"] {
        let credentials = Authorization::parse(value.as_bytes()).unwrap().0;
        assert!(Proof::of(&credentials, REALM).is_none(), "{value}");
    }
}

/// RFC 7616 §3.4, §3.9.2: a name outside ASCII.
#[test]
fn an_extended_user_name_is_decoded() {
    let value = "Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm=\"example.com\", nonce=\"n\", uri=\"u\", qop=auth, \
                 response=\"01234567890123456789012345678901\", nc=00000001, cnonce=\"c\", userhash=false, x=\"y\"";
    assert_eq!(proof(value).unwrap().username, "J\u{e4}s\u{f8}n Doe");
}

#[test]
fn the_names_of_the_algorithms_are_those_of_the_registry() {
    let names = ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"];
    assert_eq!(Algorithm::ALL.map(Algorithm::as_str), names);
    for (name, algorithm) in names.into_iter().zip(Algorithm::ALL) {
        assert_eq!(Algorithm::parse(Some(&name.to_ascii_lowercase())), Some(algorithm));
    }
    assert_eq!(Algorithm::parse(None), Some(Algorithm::MD5));
    assert_eq!(Algorithm::parse(Some("SHA-1")), None);
}
