use super::*;

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// RFC 3261 §19.1.3 and others: (text, user, password, host, port, parameters, headers).
#[test]
fn parts_are_found() {
    #[rustfmt::skip]
    let cases = [
        ("sip:alice@atlanta.com", Some("alice"), None, "atlanta.com", None, "", ""),
        ("sip:alice:secretword@atlanta.com;transport=tcp", Some("alice"), Some("secretword"), "atlanta.com", None, "transport=tcp", ""),
        ("sips:alice@atlanta.com?subject=project%20x&priority=urgent", Some("alice"), None, "atlanta.com", None, "", "subject=project%20x&priority=urgent"),
        ("sip:+1-212-555-1212:1234@gateway.com;user=phone", Some("+1-212-555-1212"), Some("1234"), "gateway.com", None, "user=phone", ""),
        ("sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com", None, None, "atlanta.com", None, "method=REGISTER", "to=alice%40atlanta.com"),
        ("sip:alice;day=tuesday@atlanta.com", Some("alice;day=tuesday"), None, "atlanta.com", None, "", ""),
        ("SIP:a?b/c@h:5060", Some("a?b/c"), None, "h", Some(5060), "", ""),
        ("sip:[2001:db8::10]:5070;lr", None, None, "[2001:db8::10]", Some(5070), "lr", ""),
        ("sip:[2001:db8::10:5070]", None, None, "[2001:db8::10:5070]", None, "", ""),
        ("sip:u@[::ffff:192.0.2.10]", Some("u"), None, "[::ffff:192.0.2.10]", None, "", ""),
        ("sip:df7jal23ls0d.invalid;transport=ws;alias=192.0.2.1~4711~6", None, None, "df7jal23ls0d.invalid", None, "transport=ws;alias=192.0.2.1~4711~6", ""),
        ("tel:+1-201-555-0123;phone-context=x", Some("+1-201-555-0123"), None, "", None, "phone-context=x", ""),
        ("urn:service:sos", None, None, "", None, "", ""),
        ("sip:%00@h", Some("%00"), None, "h", None, "", ""),
        ("sip:h;", None, None, "h", None, "", ""),
        ("sip:h?", None, None, "h", None, "", ""),
    ];
    for (text, user, password, host, port, params, headers) in cases {
        let uri = uri(text);
        assert_eq!((uri.user(), uri.password()), (user, password), "{text}");
        assert_eq!((uri.host(), uri.port()), (host, port), "{text}");
        assert_eq!((uri.params().as_str(), uri.headers()), (params, headers), "{text}");
        assert_eq!(uri.as_str(), text);
    }
}

#[test]
fn what_is_no_uri_is_refused() {
    for text in [
        "",
        "sip",
        "sip:",
        "sip:@h",
        "sip:u@",
        "sip:h:",
        "sip:h:x",
        "sip:h:65536",
        "sip:h:-1",
        "sip:[::1",
        "sip:[::g]",
        "sip:[2001:db8::1]x",
        "sip:a b@h",
        "sip:h<",
        "sip:\"a\"@h",
        "1sip:h",
        ":h",
        "sip:u@h@x",
        "sip:%4@h",
        "sip:h;a=%zz",
        "sip:2001:db8::10",
        "tel:",
        "sip:h\u{7f}",
        "sip:h\r\n",
    ] {
        assert!(Uri::parse(text).is_err(), "{text:?}");
    }
    assert!(Uri::parse(&format!("sip:{}@h", "a".repeat(70_000))).is_err());
}

/// RFC 3261 §19.1.4, its own examples first.
#[test]
fn uris_are_compared_by_the_rules() {
    let same = [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:[2001:db8::9:1]", "sip:[2001:DB8:0:0:0:0:9:01]"),
        ("tel:+1201", "TEL:+1201"),
        ("sip:h;alias=1;alias=2", "sip:h;alias=1;alias=2"),
    ];
    let different = [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;newparam=6"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a@h", "sip:h"),
        ("sip:a:x@h", "sip:a@h"),
        ("sip:a%3Bb@h", "sip:a;b@h"),
        ("sip:h;user=phone", "sip:h"),
    ];
    for (a, b) in same {
        assert!(uri(a).is_equivalent(&uri(b)) && uri(b).is_equivalent(&uri(a)), "{a} = {b}");
    }
    for (a, b) in different {
        assert!(!uri(a).is_equivalent(&uri(b)) && !uri(b).is_equivalent(&uri(a)), "{a} != {b}");
    }
    // Not transitive: both equal the bare one (§19.1.4).
    assert!(!uri("sip:carol@chicago.com;p=1").is_equivalent(&uri("sip:carol@chicago.com;p=2")));
}

#[test]
fn parameters_and_user_are_edited_in_place() {
    let u = uri("sip:u@h:1;a=1;lr;b?x=y");
    assert_eq!(u.with_param("c", Some("2")).unwrap().as_str(), "sip:u@h:1;a=1;lr;b;c=2?x=y");
    assert_eq!(u.with_param("A", None).unwrap().as_str(), "sip:u@h:1;lr;b;A?x=y");
    assert_eq!(u.without_param("lr").as_str(), "sip:u@h:1;a=1;b?x=y");
    assert_eq!(uri("sip:h").with_param("lr", None).unwrap().as_str(), "sip:h;lr");
    assert_eq!(uri("sip:h;").with_param("lr", None).unwrap().as_str(), "sip:h;lr");
    assert_eq!(uri("sip:h;lr").without_param("lr").as_str(), "sip:h");
    assert_eq!(uri("tel:1;x=y").with_param("a", Some("b")).unwrap().as_str(), "tel:1;x=y;a=b");
    assert_eq!(uri("tel:1").with_param("a", Some("b")).unwrap().as_str(), "tel:1;a=b");
    assert_eq!(u.with_user(Some("a b@c")).unwrap().as_str(), "sip:a%20b%40c@h:1;a=1;lr;b?x=y");
    assert_eq!(u.with_user(None).unwrap().as_str(), "sip:h:1;a=1;lr;b?x=y");
    assert_eq!(uri("sip:u@h;method=INVITE;a?x=y").as_request_uri().as_str(), "sip:u@h;a");
    assert_eq!(Uri::sip(Some("bob"), "[::1]", Some(5060)).unwrap().as_str(), "sip:bob@[::1]:5060");
    assert!(u.with_param("a", Some("b c")).is_err());
    assert!(u.is_loose_router() && uri("sip:h;transport=WS").transport() == Some("WS"));
    assert_eq!(uri("sip:a%20b%C3%A9%FF@h").user_decoded().unwrap(), "a b\u{e9}\u{fffd}");
    assert_eq!(uri("sip:[::1]").host_ip(), Some("::1".parse().unwrap()));
}
