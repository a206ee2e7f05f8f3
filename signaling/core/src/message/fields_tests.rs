use super::*;
use crate::message::{Message, Request};

const TEXT: &str = "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h1;branch=z9hG4bK1, SIP/2.0/UDP h2\r\n\
    X-Odd :  \"kept\"  as is \t\r\nv: SIP/2.0/TCP h3\r\nRoute: <sip:p1;lr>,<sip:p2,x;lr>\r\nFrom: <sip:a@b>;tag=1\r\n\
    To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";

/// What `edit` makes of [`TEXT`]: each pair says which line becomes which; everything else must stay byte for byte.
fn check(edit: impl FnOnce(&mut Request), changes: &[(&str, &str)]) {
    let Ok(Message::Request(mut request)) = Message::parse(Bytes::from_static(TEXT.as_bytes())) else {
        panic!()
    };
    edit(&mut request);
    let mut expected = TEXT.to_owned();
    for (from, to) in changes {
        assert!(expected.contains(from), "{from}");
        expected = expected.replacen(from, to, 1);
    }
    let bytes = request.to_bytes();
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
    let again = Message::parse(bytes.clone()).expect("what is written can be read");
    assert_eq!(again.to_bytes(), bytes);
}

const VIA: &str = "Via: SIP/2.0/UDP h1;branch=z9hG4bK1, SIP/2.0/UDP h2\r\n";
const ROUTE: &str = "Route: <sip:p1;lr>,<sip:p2,x;lr>\r\n";

#[test]
fn values_are_taken_out_one_by_one() {
    check(|r| assert!(r.remove_first_value(Name::Via)), &[(VIA, "Via: SIP/2.0/UDP h2\r\n")]);
    check(|r| assert!(r.remove_value(Name::Via, 1)), &[(VIA, "Via: SIP/2.0/UDP h1;branch=z9hG4bK1\r\n")]);
    check(|r| assert!(r.remove_value(Name::Via, 2)), &[("v: SIP/2.0/TCP h3\r\n", "")]);
    check(|r| assert!(!r.remove_value(Name::Via, 3)), &[]);
    check(|r| assert!(r.remove_first_value(Name::Route)), &[(ROUTE, "Route: <sip:p2,x;lr>\r\n")]);
    check(
        |r| {
            assert!(r.remove_first_value(Name::Route));
            assert!(r.remove_first_value(Name::Route));
            assert!(!r.remove_first_value(Name::Route));
        },
        &[(ROUTE, "")],
    );
}

#[test]
fn values_are_replaced_in_their_place() {
    check(
        |r| assert!(r.replace_value(Name::Via, 2, "SIP/2.0/TCP h3;received=1.2.3.4")),
        &[("v: SIP/2.0/TCP h3\r\n", "v: SIP/2.0/TCP h3;received=1.2.3.4\r\n")],
    );
    check(
        |r| assert!(r.replace_value(Name::Route, 1, "<sip:z>")),
        &[(ROUTE, "Route: <sip:p1;lr>, <sip:z>\r\n")],
    );
    check(
        |r| r.retain_values(Name::Via, |value| !value.ends_with(b"h1;branch=z9hG4bK1")),
        &[(VIA, "Via: SIP/2.0/UDP h2\r\n")],
    );
    check(|r| r.retain_values(Name::Via, |_| true), &[]);
    check(|r| r.retain_values(Name::Route, |_| false), &[(ROUTE, "")]);
}

#[test]
fn lines_are_added_set_and_removed() {
    check(|r| r.prepend(Name::Via, "SIP/2.0/WSS me"), &[(VIA, &format!("Via: SIP/2.0/WSS me\r\n{VIA}"))]);
    check(
        |r| r.prepend(Name::RecordRoute, "<sip:me;lr>"),
        &[(VIA, &format!("Record-Route: <sip:me;lr>\r\n{VIA}"))],
    );
    check(|r| r.append(Name::Route, "<sip:p3>"), &[(ROUTE, &format!("{ROUTE}Route: <sip:p3>\r\n"))]);
    check(
        |r| r.append(Name::Other("X-New"), "1"),
        &[("Content-Length: 2\r\n", "Content-Length: 2\r\nX-New: 1\r\n")],
    );
    check(
        |r| r.set(Name::Via, "SIP/2.0/UDP z"),
        &[(VIA, "Via: SIP/2.0/UDP z\r\n"), ("v: SIP/2.0/TCP h3\r\n", "")],
    );
    check(|r| r.set(Name::Other("x-odd"), "1"), &[("X-Odd :  \"kept\"  as is \t\r\n", "X-Odd: 1\r\n")]);
    check(|r| assert_eq!(r.remove(Name::Route), 1), &[(ROUTE, "")]);
    check(|r| assert_eq!(r.remove(Name::Path), 0), &[]);
}

#[test]
fn a_value_cannot_break_out_of_its_line() {
    check(
        |r| r.push(Name::Other("X-New"), "a\r\nInjected: 1\r\n\r\nb\0c"),
        &[("Content-Length: 2\r\n", "Content-Length: 2\r\nX-New: a  Injected: 1    b c\r\n")],
    );
}

#[test]
fn a_body_brings_its_length_and_type() {
    check(
        |r| r.set_body("text/plain", Bytes::from_static(b"hello")),
        &[("Length: 2", "Length: 5"), ("hi", "hello")],
    );
    check(
        |r| r.set_body("application/sdp", Bytes::from_static(b"v=0")),
        &[("Length: 2", "Length: 3"), ("text/plain", "application/sdp"), ("hi", "v=0")],
    );
    check(
        |r| r.set_body("", Bytes::new()),
        &[("Content-Type: text/plain\r\n", ""), ("Length: 2", "Length: 0"), ("hi", "")],
    );
}

#[test]
fn another_request_uri_leaves_the_rest_alone() {
    let uri = crate::message::Uri::parse("sip:x@192.0.2.1:5070;transport=ws").unwrap();
    check(|r| r.set_uri(&uri), &[("sip:a@b SIP", "sip:x@192.0.2.1:5070;transport=ws SIP")]);
}
