use aws_lc_rs::hmac;

use super::*;

/// RFC 7515 appendix A.1.1, A.2.1 and A.3.1.
const SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const EC: [&str; 2] =
    ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];
/// The tokens of A.1.1, A.2.1 and A.3.1, all with the claims `iss` "joe" and `exp` 1300819380.
const HS256: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const END: u64 = 1_300_819_380;

fn set() -> Vec<NamedKey> {
    let text = format!(
        r#"{{"keys": [
            {{"kty": "oct", "kid": "h", "alg": "HS256", "k": "{SECRET}"}},
            {{"kty": "RSA", "n": "{RSA_N}", "e": "AQAB"}},
            {{"kty": "EC", "crv": "P-256", "use": "sig", "x": "{}", "y": "{}"}},
            {{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}},
            {{"kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB"}},
            {{"kty": "OKP", "crv": "Ed25519", "x": "AA"}}
        ]}}"#,
        EC[0], EC[1]
    );
    NamedKey::of_set(&text).expect("a set")
}

fn tokens(keys: Vec<NamedKey>) -> Tokens {
    Tokens { keys, audience_optional: true, user_claim: "iss".to_owned(), ..Tokens::default() }
}

/// A token of these claims, signed with [`SECRET`].
fn signed(header: &str, claims: &str) -> String {
    let secret = URL_SAFE_NO_PAD.decode(SECRET).expect("base64");
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes())))
}

#[test]
fn the_vectors_of_rfc_7515_count_until_they_end() {
    let keys = set();
    assert_eq!(keys.len(), 3, "keys for something else are passed over: {keys:?}");
    let tokens = tokens(keys);
    for token in [HS256, RS256, ES256] {
        let joe = Identity { user: "joe".to_owned(), domain: None, until: END };
        assert_eq!(tokens.verify(token, END - 1), Ok(joe));
        assert_eq!(tokens.verify(token, END), Err(Invalid::Expired));
        let lenient = Tokens { leeway: 10, ..tokens.clone() };
        assert!(lenient.verify(token, END + 9).is_ok() && lenient.verify(token, END + 10).is_err());
    }
}

#[test]
fn no_byte_of_a_token_can_be_changed() {
    let tokens = tokens(set());
    for token in [HS256, RS256, ES256] {
        for at in 0..token.len() {
            let mut other = token.as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("text");
            assert!(tokens.verify(&other, 0).is_err(), "{at}: {other}");
            assert!(tokens.verify(&token[..at], 0).is_err(), "{at}");
        }
    }
}

/// RFC 8725 §2.1: the token does not choose how it is verified.
#[test]
fn an_algorithm_is_that_of_the_key() {
    let all = tokens(set());
    let claims = format!(r#"{{"iss": "joe", "exp": {END}}}"#);
    for algorithm in ["none", "None", "NONE", "", "HS512", "RS512", "ES384", "PS256", "hs256"] {
        let header = format!(r#"{{"alg": "{algorithm}"}}"#);
        let token = signed(&header, &claims);
        assert_eq!(all.verify(&token, 0), Err(Invalid::Algorithm), "{algorithm}");
        let (unsigned, _) = token.rsplit_once('.').expect("three parts");
        assert_eq!(all.verify(&format!("{unsigned}."), 0), Err(Invalid::Algorithm), "{algorithm}");
    }
    assert_eq!(all.verify(&signed("{}", &claims), 0), Err(Invalid::Malformed));
    // A public key taken for a secret: the classic. With the public keys alone, HS256 is nobody's.
    let public: Vec<_> = set().into_iter().filter(|key| key.key.algorithm() != "HS256").collect();
    let (header, payload) = (r#"{"alg": "HS256"}"#, URL_SAFE_NO_PAD.encode(&claims));
    let text = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
    for secret in [RSA_N.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(RSA_N).expect("base64")] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let forged = format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes())));
        assert_eq!(tokens(public.clone()).verify(&forged, 0), Err(Invalid::Algorithm));
        assert_eq!(all.verify(&forged, 0), Err(Invalid::Signature));
    }
    assert_eq!(tokens(Vec::new()).verify(HS256, 0), Err(Invalid::Algorithm), "no key, no token");
}

#[test]
fn claims_are_checked() {
    let tokens = Tokens {
        keys: set(),
        issuer: Some("https://app.example".to_owned()),
        audience: vec!["sip.example".to_owned()],
        audience_optional: false,
        user_claim: "sub".to_owned(),
        leeway: 0,
        authz_server: None,
    };
    let judged = |claims: &str| tokens.verify(&signed(r#"{"alg": "HS256", "kid": "h"}"#, claims), 1000);
    let with = |more: &str| judged(&format!(r#"{{"iss": "https://app.example", {more}}}"#));
    let alice = |domain: Option<&str>| {
        Ok(Identity { user: "alice".to_owned(), domain: domain.map(str::to_owned), until: 1001 })
    };
    let table = [
        (r#""aud": "sip.example", "exp": 1001, "sub": "alice""#, alice(None)),
        (r#""aud": "sip.example", "exp": 1001.5, "nbf": 1000, "sub": "alice""#, alice(None)),
        (
            r#""aud": ["x", "sip.example"], "exp": 1001, "sub": "alice@Sip.Example""#,
            alice(Some("sip.example")),
        ),
        (r#""aud": "sip.example", "exp": 1001, "sub": "sip:alice@b""#, alice(Some("b"))),
        (r#""aud": "sip.example", "exp": 1000, "sub": "alice""#, Err(Invalid::Expired)),
        (r#""aud": "sip.example", "exp": -5, "sub": "alice""#, Err(Invalid::Expired)),
        (r#""aud": "sip.example", "exp": "never", "sub": "alice""#, Err(Invalid::Expired)),
        (r#""aud": "sip.example", "sub": "alice""#, Err(Invalid::Expired)),
        (r#""aud": "sip.example", "exp": 1001, "nbf": 1001, "sub": "alice""#, Err(Invalid::NotYet)),
        (r#""aud": "sip.example", "exp": 1001, "nbf": "soon", "sub": "alice""#, Err(Invalid::NotYet)),
        (r#""aud": "mail.example", "exp": 1001, "sub": "alice""#, Err(Invalid::Audience)),
        (r#""aud": ["mail.example"], "exp": 1001, "sub": "alice""#, Err(Invalid::Audience)),
        (r#""exp": 1001, "sub": "alice""#, Err(Invalid::Audience)),
        (r#""aud": "sip.example", "exp": 1001"#, Err(Invalid::User)),
        (r#""aud": "sip.example", "exp": 1001, "sub": 7"#, Err(Invalid::User)),
        (r#""aud": "sip.example", "exp": 1001, "sub": """#, Err(Invalid::User)),
        (r#""aud": "sip.example", "exp": 1001, "exp": 9999, "sub": "alice""#, Err(Invalid::Malformed)),
    ];
    for (claims, expected) in table {
        assert_eq!(with(claims), expected, "{claims}");
    }
    let other = r#"{"iss": "https://evil.example", "aud": "sip.example", "exp": 1001, "sub": "alice"}"#;
    assert_eq!(judged(other), Err(Invalid::Issuer));
    assert_eq!(judged(r#"{"aud": "sip.example", "exp": 1001, "sub": "alice"}"#), Err(Invalid::Issuer));
    assert_eq!(judged("[]"), Err(Invalid::Malformed));
    let good = r#"{"iss": "https://app.example", "aud": "sip.example", "exp": 1001, "sub": "alice"}"#;
    assert_eq!(
        tokens.verify(&signed(r#"{"alg": "HS256", "crit": ["b64"], "b64": false}"#, good), 1000),
        Err(Invalid::Malformed)
    );
    assert_eq!(
        tokens.verify(&signed(r#"{"alg": "HS256", "kid": "other"}"#, good), 1000),
        Err(Invalid::Algorithm),
        "of a key that is gone"
    );
    assert!(tokens.verify(&signed(r#"{"alg": "HS256"}"#, good), 1000).is_ok());
}

#[test]
fn broken_sets_say_what_is_wrong_and_no_secret() {
    let table = [
        ("no JSON: s3cr3t", "no JWK set (line 1, column 2)"),
        (r#"{"keys": []}"#, "no key for HS256, RS256 or ES256 in it"),
        (
            r#"{"keys": [{"kty": "oct", "k": "czNjcjN0"}]}"#,
            "key 1: the secret is shorter than 32 bytes (RFC 7518 section 3.2)",
        ),
        (r#"{"keys": [{"kty": "oct", "k": "s3cr3t!!"}]}"#, "key 1: k is no base64url"),
        (
            r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#,
            "key 1: an RSA key has 2048 bits at least (RFC 7518 section 3.3)",
        ),
        (r#"{"keys": [{"kty": "RSA", "n": "AQAB"}]}"#, "key 1: no e"),
        (
            r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}"#,
            "key 1: no point of P-256",
        ),
    ];
    for (text, expected) in table {
        let error = NamedKey::of_set(text).map(|_| ()).expect_err(text);
        assert_eq!(error, expected, "{text}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }
    assert_eq!(format!("{:?}", Key::hs256(&[7; 32])), r#"Ok(HS256)"#);
}
