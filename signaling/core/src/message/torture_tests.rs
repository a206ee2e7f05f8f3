//! RFC 4475 and RFC 5118, and what sipx-sip says to the same messages.

use bytes::Bytes;

use super::header::{Authorization, Contact, Route, Via};
use super::*;

#[allow(dead_code, unreachable_pub, reason = "the tests over the network include the file too")]
#[path = "torture/cases.rs"]
mod table;

use table::Case;

fn cases() -> Vec<Case> {
    [table::rfc4475(), table::rfc5118()].concat()
}

fn get(name: &str) -> Message {
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    Message::parse(case.bytes.into()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn request(name: &str) -> Request {
    match get(name) {
        Message::Request(request) => request,
        Message::Response(_) => panic!("{name} is a response"),
    }
}

#[test]
fn every_case_has_its_verdict_and_what_is_accepted_goes_out_as_it_came() {
    let cases = cases();
    assert_eq!((table::rfc4475().len(), table::rfc5118().len()), (49, 12), "all of them");
    for Case { name, parsed: verdict, bytes, .. } in cases {
        let bytes = Bytes::from(bytes);
        let parsed = Message::parse(bytes.clone());
        let status = parsed.as_ref().err().map(|error| error.kind.status().code().to_string());
        let expected = Some(verdict).filter(|verdict| verdict.starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(status.as_deref(), expected, "{name}: {:?}", parsed.err());
        let Ok(message) = parsed else { continue };
        let out = message.to_bytes();
        assert!(bytes.starts_with(&out), "{name}");
        assert_eq!(out.len() == bytes.len(), name != "dblreq", "{name}");
        if let Message::Request(request) = message {
            assert_eq!(request.uri().is_err(), verdict == "uri", "{name}");
            let reply = build::Reply::new(&request, StatusCode::OK).to_tag("t").build();
            assert!(Message::parse(reply.to_bytes()).is_ok(), "{name}: its answer can be read");
        }
    }
}

#[test]
fn wsinv_is_understood() {
    let request = request("wsinv");
    assert_eq!(request.to_tag(), Some("1918181833n"));
    assert_eq!(request.from_tag(), Some("98asjd8"));
    assert_eq!(request.from_header().unwrap().display(), "J Rosenberg \\\"");
    assert_eq!((request.max_forwards(), request.cseq().unwrap().number), (Some(68), 9));
    let vias: Vec<_> = request.all::<Via<'_>>().map(Result::unwrap).collect();
    let seen: Vec<_> = vias.iter().map(|via| (via.transport(), via.host(), via.branch())).collect();
    assert_eq!(
        seen,
        [
            ("UDP", "192.0.2.2", Some("390skdjuw")),
            ("TCP", "spindle.example.com", Some("z9hG4bK9ikj8")),
            ("UDP", "192.168.255.111", Some("z9hG4bK30239")),
        ]
    );
    let contact = request.get::<Contact<'_>>().unwrap().unwrap();
    assert_eq!((contact.q(), contact.address().unwrap().display()), (Some(330), "Quoted string \"\"".into()));
    let route = request.get::<Route<'_>>().unwrap().unwrap().uri().unwrap();
    assert!(route.is_loose_router() && route.params().contains("unknown-no-value"));
}

#[test]
fn other_accepted_cases_are_understood() {
    let intmeth = request("intmeth");
    assert_eq!(intmeth.uri().unwrap().host(), "example.com");
    assert_eq!(intmeth.from_tag(), Some("_token~1'+`*%!-."));
    let esc01 = request("esc01");
    assert_eq!(esc01.uri().unwrap().user_decoded().unwrap(), "sips:user@example.com");
    assert_eq!(esc01.to_header().unwrap().uri().unwrap().user_decoded().unwrap(), "user");
    assert_eq!(request("escnull").all::<Contact<'_>>().flatten().count(), 2);
    let esc02 = request("esc02");
    assert_eq!(esc02.method(), &Method::Other("RE%47IST%45R".into()));
    assert_eq!(esc02.all::<Contact<'_>>().count(), 2);
    assert_eq!(request("lwsdisp").from_header().unwrap().display(), "caller");
    assert_eq!(request("semiuri").uri().unwrap().user(), Some("user;par=u%40example.net"));
    assert_eq!(request("transports").all::<Via<'_>>().flatten().count(), 5);
    assert!(request("badaspec").to_header().unwrap().uri().is_err());
    assert_eq!(request("unkscm").uri().unwrap().scheme(), Scheme::Other);
    assert!(request("regaut01").get::<Authorization<'_>>().is_err());
    assert_eq!(request("zeromf").max_forwards(), Some(0));
    assert_eq!(request("badbranch").top_via().unwrap().cookie_branch(), None);
    let inv2543 = request("inv2543");
    assert_eq!((inv2543.max_forwards(), inv2543.from_tag()), (None, None));
    assert_eq!(request("port-unambiguous").uri().unwrap().port(), Some(5070));
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        assert_eq!(request(name).top_via().unwrap().received(), "2001:db8::9:255".parse().ok(), "{name}");
    }
    assert_eq!(request("port-ambiguous").uri().unwrap().port(), None);
    for name in ["ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons"] {
        assert_eq!(request(name).uri().unwrap().host_ip(), "2001:db8::192.0.2.1".parse().ok(), "{name}");
    }
    let mapped = request("ipv4-mapped-ipv6");
    assert_eq!(mapped.top_via().unwrap().port(), Some(19823));
    let Message::Response(unreason) = get("unreason") else { panic!("a response") };
    assert!(unreason.reason().starts_with("= 2**3 * 5**2 "));
}

/// An independent parser must agree on what is in a message that both accept.
fn agree(bytes: &Bytes, what: &str) -> bool {
    let theirs = sipx_sip::parse_datagram(bytes.clone(), &sipx_sip::Limits::datagram());
    let (Ok(ours), Ok(theirs)) = (Message::parse(bytes.clone()), theirs) else { return false };
    let mut fields = theirs.headers().iter();
    for (name, value) in ours.iter() {
        let field = fields.next().unwrap_or_else(|| panic!("{what}: {name} is not theirs"));
        assert!(
            sipx_sip::HeaderName::parse(&Bytes::from(name.clone().into_owned())) == *field.name(),
            "{what}: {name}"
        );
        assert_eq!(scan::trim(field.raw_value()), value, "{what}: {name}");
    }
    assert!(fields.next().is_none(), "{what}: a header of theirs is not ours");
    assert_eq!(theirs.body(), ours.body(), "{what}");
    if let (Some(theirs), Message::Request(ours)) = (theirs.as_request(), &ours) {
        assert_eq!(theirs.method.as_bytes(), ours.method().as_str().as_bytes(), "{what}");
    }
    true
}

#[test]
fn sipx_sees_the_same_in_the_torture_messages() {
    let both = cases().iter().filter(|case| agree(&case.bytes.clone().into(), case.name)).count();
    assert!(both >= 20, "only {both} are accepted by both");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn token() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9.!%*_+`'~-]{1,12}"
    }

    fn field() -> impl Strategy<Value = (String, String)> {
        let name = prop_oneof![
            token().prop_map(|token| format!("X-{token}")),
            Just("Contact".to_owned()),
            Just("rOuTe".to_owned()),
            Just("k".to_owned()),
            Just("v".to_owned())
        ];
        let value = prop_oneof![
            "[ -~\u{e0}-\u{ff}]{0,30}",
            Just("<sip:a@b;lr>, \"x, \\\" y\" <sip:c@d>;q=0.5".to_owned()),
            Just("a,\r\n b ,\r\n\tc".to_owned()),
        ];
        let via = "SIP/2.0/TCP h;branch=z9hG4bKx, SIP / 2.0/UDP [::1]:5062".to_owned();
        (name, value)
            .prop_map(move |(name, value)| if name == "v" { (name, via.clone()) } else { (name, value) })
    }

    fn message() -> impl Strategy<Value = String> {
        let parts = (token(), prop::collection::vec(field(), 0..12), "[ -~\r\n]{0,40}", token());
        parts.prop_map(|(method, fields, body, tag)| {
            let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            format!(
                "{method} sip:u@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{tag}\r\n{fields}From: <sip:a@b>;tag={tag}\r\n\
                 To: <sip:c@d>\r\nCall-ID: {tag}\r\nCSeq: 1 {method}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_goes_in_comes_out(text in message()) {
            let bytes = Bytes::from(text.clone());
            let message = Message::parse(bytes.clone()).expect("well-formed");
            prop_assert_eq!(message.to_bytes(), bytes.clone());
            agree(&bytes, &text);
        }

        #[test]
        fn an_edit_and_its_inverse_change_nothing_else(text in message(), value in "[!-~]{1,20}") {
            let Message::Request(mut request) = Message::parse(text.clone().into()).expect("well-formed") else {
                panic!("a request")
            };
            request.prepend(Name::Via, format!("SIP/2.0/WSS {value}"));
            request.push(Name::Other("X-Added-Here"), &value);
            let edited = request.to_bytes();
            let added = format!("Via: SIP/2.0/WSS {value}\r\nX-Added-Here: {value}\r\n");
            prop_assert_eq!(edited.len(), text.len() + added.len());
            prop_assert!(request.remove_first_value(Name::Via) || value.contains(','));
            request.remove(Name::Other("x-added-here"));
            if !value.contains([',', '"', '<', '>']) {
                prop_assert_eq!(request.to_bytes(), text);
            }
        }

        #[test]
        fn every_edit_leaves_a_message_that_can_be_read(text in message(), index in 0usize..6, value in ".{0,30}") {
            let Message::Request(mut request) = Message::parse(text.into()).expect("well-formed") else {
                panic!("a request")
            };
            request.replace_value(Name::Contact, index, &value);
            request.remove_value(Name::Route, index);
            request.remove_value(Name::Supported, index);
            request.set(Name::Subject, &value);
            request.set_body("text/plain", Bytes::from(value));
            let bytes = request.to_bytes();
            prop_assert_eq!(Message::parse(bytes.clone()).expect("readable").to_bytes(), bytes);
        }

        #[test]
        fn a_uri_built_from_any_user_has_that_user(user in ".{1,20}", host in "[a-z0-9]{1,10}(\\.[a-z]{2,5})?") {
            let uri = Uri::sip(Some(&user), &host, Some(5062)).expect("escaped");
            let decoded = uri.user_decoded().map(|user| user.into_owned());
            prop_assert_eq!(decoded.as_deref(), Some(user.as_str()));
            prop_assert_eq!((uri.host(), uri.port()), (host.as_str(), Some(5062)));
            prop_assert!(uri.is_equivalent(&Uri::parse(uri.as_str()).expect("its own text")));
        }

        #[test]
        fn no_uri_makes_it_panic(text in "\\PC{0,60}", edit in "\\PC{0,10}") {
            for text in [text.clone(), format!("sip:{text}"), format!("tel:{text}")] {
                if let Ok(uri) = Uri::parse(&text) {
                    prop_assert_eq!(uri.as_str(), &*text);
                    let _ = (uri.with_param(&edit, Some(&edit)), uri.without_param(&edit), uri.with_user(Some(&edit)));
                    let _ = (uri.as_request_uri(), uri.is_equivalent(&uri));
                }
            }
        }
    }
}
