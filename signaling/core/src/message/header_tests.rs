//! Values of the typed headers, good and bad.

use super::header::*;
use super::{HeaderError, Name};

fn parse<'a, H: Header<'a>>(value: &'a str) -> Result<H, HeaderError> {
    H::parse(value.as_bytes())
}

#[test]
fn via_values() {
    #[rustfmt::skip]
    let good = [
        ("SIP/2.0/UDP h", "UDP", "h", None, None, None),
        ("SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bKasudf", "WSS", "df7jal23ls0d.invalid", None, Some("z9hG4bKasudf"), None),
        ("SIP / 2.0 / TCP first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1", "TCP", "first.example.com", Some(4000), Some("z9hG4bKa7c6a8dlze.1"), None),
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=x;rport", "UDP", "10.0.0.1", Some(5060), None, Some(None)),
        ("SIP/2.0/UDP [::1]:1;rport=99;branch=Z9HG4BKy", "UDP", "[::1]", Some(1), Some("Z9HG4BKy"), Some(Some(99))),
        ("sip/2.0/tls h ;branch=z9hG4bK", "tls", "h", None, None, None),
    ];
    for (text, transport, host, port, branch, rport) in good {
        let via = parse::<Via<'_>>(text).unwrap();
        assert_eq!((via.transport(), via.host(), via.port()), (transport, host, port), "{text}");
        assert_eq!((via.cookie_branch(), via.rport()), (branch, rport), "{text}");
    }
    for text in [
        "",
        "SIP",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2 0/UDP h",
        "SIP/2.0/U@P h",
        "SIP/2.0/UDP h:x",
        "SIP/2.0/UDP h:99999",
        "SIP/2.0/UDP h i",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP ;branch=x",
        "SIP/2.0/UDP h:",
    ] {
        assert!(parse::<Via<'_>>(text).is_err(), "{text}");
    }
    assert!(Via::parse(b"SIP/2.0/UDP \xff").is_err());
    for (text, sip_2) in [("sip / 2.0/UDP h", true), ("SIP/7.0/UDP h", false), ("HTTP/2.0/UDP h", false)] {
        assert_eq!(parse::<Via<'_>>(text).unwrap().is_sip_2(), sip_2, "{text}");
    }
    let address =
        |text| parse::<Via<'_>>(text).unwrap().response_address().map(|address| address.to_string());
    assert_eq!(address("SIP/2.0/UDP 1.2.3.4;received=5.6.7.8;rport=9").as_deref(), Some("5.6.7.8:9"));
    assert_eq!(address("SIP/2.0/UDP name:7;received=5.6.7.8").as_deref(), Some("5.6.7.8:7"));
    assert_eq!(address("SIP/2.0/UDP name"), None);
}

#[test]
fn addresses() {
    for (text, display, uri, tag) in [
        (
            "\"A. G. Bell\" <sip:agb@bell-telephone.com> ;tag=a48s",
            "A. G. Bell",
            "sip:agb@bell-telephone.com",
            Some("a48s"),
        ),
        (
            "Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8",
            "Anonymous",
            "sip:c8oqz84zk7z@privacy.org",
            Some("hyh8"),
        ),
        (
            "sip:+12125551212@server.phone2net.com;tag=887s",
            "",
            "sip:+12125551212@server.phone2net.com",
            Some("887s"),
        ),
        ("<sip:a@b;tag=uri>", "", "sip:a@b;tag=uri", None),
        ("\"<sip:x@y>\" <sip:a@b>;tag=", "<sip:x@y>", "sip:a@b", None),
        ("\"\\\"\\\\\"<tel:1>; x ; TAG = \"q;r\"", "\"\\", "tel:1", Some("\"q;r\"")),
    ] {
        let from = parse::<From<'_>>(text).unwrap();
        assert_eq!((&*from.display(), from.uri_text(), from.tag()), (display, uri, tag), "{text}");
    }
    for text in
        ["", "<", "<>", "<sip:a", "\"a <sip:b>", "a\" <sip:b>x", "sip:a b", ";tag=1", "<sip:a>tag=1", "\""]
    {
        assert!(parse::<To<'_>>(text).is_err(), "{text}");
    }
}

#[test]
fn contacts() {
    let text = "\"Mr. Watson\" <sip:watson@worcester.bell-telephone.com>;q=0.7; expires=3600;reg-id=1;\
        +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
    let contact = parse::<Contact<'_>>(text).unwrap();
    assert_eq!((contact.q(), contact.expires(), contact.reg_id()), (Some(700), Some(3600), Some(1)));
    assert_eq!(contact.instance().as_deref(), Some("urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF"));
    assert_eq!(parse::<Contact<'_>>(" * ").unwrap(), Contact::Star);
    #[rustfmt::skip]
    let qs = [
        ("1", Some(1000)), ("1.0", Some(1000)), ("1.000", Some(1000)), ("0", Some(0)), ("0.", Some(0)), ("0.5", Some(500)), (".25", Some(250)),
        ("0.123", Some(123)), ("0.1234", None), ("1.1", None), ("2", None), ("-1", None), ("x", None), ("0.x", None), ("0.+1", None),
    ];
    for (q, expected) in qs {
        assert_eq!(parse::<Contact<'_>>(&format!("<sip:a>;q={q}")).unwrap().q(), expected, "{q}");
    }
    for (expires, expected) in
        [("0", Some(0)), ("4294967296", Some(u32::MAX)), ("1.5", None), ("-1", None), ("", None)]
    {
        let text = format!("<sip:a>;expires={expires};reg-id=0");
        let contact = parse::<Contact<'_>>(&text).unwrap();
        assert_eq!(
            (contact.expires(), contact.reg_id(), contact.instance()),
            (expected, None, None),
            "{expires}"
        );
    }
}

#[test]
fn numbers() {
    assert_eq!(parse::<Expires>("3600"), Ok(Expires(3600)));
    assert_eq!(parse::<Expires>("99999999999999999999999"), Ok(Expires(u32::MAX)));
    assert_eq!(parse::<RetryAfter>("18000 (in a meeting);duration=3600"), Ok(RetryAfter(18000)));
    assert_eq!(parse::<MinSe>("90;lr"), Ok(MinSe(90)));
    for text in ["", "-1", "+1", "1 2", "x", "1.0"] {
        assert!(parse::<Expires>(text).is_err() && parse::<MinSe>(text).is_err(), "{text}");
    }
    let session = parse::<SessionExpires>("4000 ; refresher=UAC").unwrap();
    assert_eq!(session, SessionExpires { seconds: 4000, refresher: Some(Refresher::Uac) });
    assert_eq!(parse::<SessionExpires>("90;refresher=x").unwrap().refresher, None);
}

#[test]
fn cseq_values() {
    assert_eq!(parse::<CSeq<'_>>("4711\r\n INVITE"), Ok(CSeq { number: 4711, method: "INVITE" }));
    assert_eq!(parse::<CSeq<'_>>("4294967295 X").map(|cseq| cseq.number), Ok(u32::MAX));
    for text in ["", "1", "INVITE", "1INVITE", "-1 A", "4294967296 A", "1 A B", "1 A,"] {
        assert!(parse::<CSeq<'_>>(text).is_err(), "{text}");
    }
}

#[test]
fn reasons() {
    let reason = parse::<Reason<'_>>("SIP ;cause=200 ;text=\"Call completed elsewhere\"").unwrap();
    assert_eq!((reason.protocol, reason.cause()), ("SIP", Some(200)));
    assert_eq!(reason.text().as_deref(), Some("Call completed elsewhere"));
    assert!(parse::<Reason<'_>>(";cause=1").is_err());
}

#[test]
fn credentials() {
    let text = "Digest username=\"bob, \\\"b\\\"\", realm=\"biloxi.com\",\r\n nonce=\"a,b=c\",uri=\"sip:bob@biloxi.com\", \
        qop=auth, nc=00000001, cnonce=\"0a4f113b\", response=\"6629\", opaque=\"\"";
    let credentials = parse::<Authorization<'_>>(text).unwrap().0;
    assert_eq!(credentials.username().as_deref(), Some("bob, \"b\""));
    assert_eq!(credentials.nonce().as_deref(), Some("a,b=c"));
    assert_eq!((credentials.qop().as_deref(), credentials.nc().as_deref()), (Some("auth"), Some("00000001")));
    assert_eq!((credentials.opaque().as_deref(), credentials.algorithm()), (Some(""), None));
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("6629") && !shown.contains("a,b=c"), "{shown}");
    assert!(parse::<ProxyAuthorization<'_>>("Basic QWxhZGRpbg==").is_err());
    assert!(parse::<WwwAuthenticate<'_>>("digest").unwrap().0.realm().is_none());
    assert_eq!(ProxyAuthenticate::NAME, Name::ProxyAuthenticate);
}
