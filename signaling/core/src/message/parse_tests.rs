use super::*;

const INVITE: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8\r\n\
    To: Bob <sip:bob@biloxi.com>\r\n\
    From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
    Call-ID: a84b4c76e66710\r\n\
    CSeq: 314159 INVITE\r\n\
    Max-Forwards: 70\r\n\
    Contact: <sip:alice@pc33.atlanta.com>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 4\r\n\r\nv=0\n";

fn request(text: &str) -> Request {
    match Message::parse(Bytes::copy_from_slice(text.as_bytes())) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?} of {text}"),
    }
}

#[test]
fn what_continues_something_is_told_from_the_start_line() {
    for (start, continues) in [
        ("SIP/2.0 200 OK\r\n", true),
        ("\r\nsip/2.0 200 OK\r\n", true),
        ("ACK sip:a SIP/2.0\r\n", true),
        ("BYE sip:a SIP/2.0\r\n", true),
        ("CANCEL sip:a SIP/2.0\r\n", false),
        ("INVITE sip:a SIP/2.0\r\n", false),
        ("ACKNOWLEDGE sip:a SIP/2.0\r\n", false),
        ("SIP/2.0", false),
        ("", false),
        ("\r\n", false),
    ] {
        assert_eq!(peek_continues(start.as_bytes()), continues, "{start:?}");
    }
}

#[test]
fn what_may_begin_something_has_no_to_tag() {
    for (message, begins) in [
        (INVITE, true),
        ("MESSAGE sip:a SIP/2.0\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\r\n;tag=2", true),
        ("\r\nSUBSCRIBE sip:a SIP/2.0\r\nt : <sip:b>\r\n\r\n", true),
        ("INVITE sip:a SIP/2.0\r\nTopic: ;tag=1\r\nTO: <sip:b>;Tag=2\r\n\r\n", false),
        ("NOTIFY sip:a SIP/2.0\r\nt:<sip:b>;tag=2\r\n\r\n", false),
        ("INVITE sip:a SIP/2.0\r\n", true),
        ("CANCEL sip:a SIP/2.0\r\nTo: <sip:b>\r\n\r\n", false),
        ("ACK sip:a SIP/2.0\r\nTo: <sip:b>\r\n\r\n", false),
        ("SIP/2.0 200 OK\r\nTo: <sip:b>\r\n\r\n", false),
    ] {
        assert_eq!(peek_begins(message.as_bytes()), begins, "{message:?}");
    }
}

#[test]
fn an_untouched_message_is_the_received_one() {
    let request = request(INVITE);
    assert_eq!(request.to_bytes(), INVITE);
    assert_eq!(request.method(), &Method::Invite);
    assert_eq!(request.uri_text(), "sip:bob@biloxi.com");
    assert_eq!(request.call_id(), "a84b4c76e66710");
    assert_eq!(request.from_tag(), Some("1928301774"));
    assert_eq!(request.to_tag(), None);
    assert_eq!(request.max_forwards(), Some(70));
    assert_eq!(request.body(), "v=0\n");
    assert_eq!(peek_call_id(INVITE.as_bytes()), Some(&b"a84b4c76e66710"[..]));
}

fn error(text: &[u8]) -> ParseError {
    Message::parse(Bytes::copy_from_slice(text)).expect_err(&String::from_utf8_lossy(text))
}

/// Lines joined by CRLF, with the headers every request needs around `extra`.
fn with(extra: &str) -> String {
    format!(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{extra}From: <sip:a@b>;tag=1\r\n\
         To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
}

#[test]
fn compact_forms_odd_case_and_folding_are_read_and_kept() {
    let text = "INVITE sip:v@e.com SIP/2.0\r\n\
        v: SIP/2.0/UDP a:5060;branch=z9hG4bK1 , SIP/2.0/TCP b\r\n\
        vIa  :SIP/2.0/TLS\r\n\t[2001:db8::1]:5061\r\n ;branch=z9hG4bK3\r\n\
        f: \"A, B\" <sip:a@b>;tag=1\r\nT:sip:c@d;tag=2\r\ni:x y\r\n"
        .replace("x y", "xy")
        + "cseq:\r\n 7\r\n  INVITE\r\nX-Empty:\r\nSubject: a\r\n b\r\nk: path,gruu\r\nSupported: , timer\r\nl:0\r\n\r\n";
    let request = request(&text);
    assert_eq!(request.to_bytes(), text);
    let hosts: Vec<_> = request.all::<Via<'_>>().map(|via| via.unwrap().host().to_owned()).collect();
    assert_eq!(hosts, ["a", "b", "[2001:db8::1]"]);
    let third = request.all::<Via<'_>>().nth(2).unwrap().unwrap();
    assert_eq!((third.transport(), third.port(), third.branch()), ("TLS", Some(5061), Some("z9hG4bK3")));
    assert_eq!((request.from_tag(), request.to_tag(), request.call_id()), (Some("1"), Some("2"), "xy"));
    assert_eq!(request.from_header().unwrap().display(), "A, B");
    assert_eq!(request.cseq().unwrap().number, 7);
    assert_eq!(request.raw(Name::Other("x-empty")), Some(&b""[..]));
    let supported: Vec<_> = request.values(Name::Supported).collect();
    assert_eq!(supported, [&b"path"[..], b"gruu", b"timer"]);
    assert!(request.has_token(Name::of("supported"), "TIMER"));
    assert_eq!(peek_call_id(text.as_bytes()), Some(&b"xy"[..]));
}

#[test]
fn bytes_behind_the_body_are_dropped_and_those_before_the_start_line_skipped() {
    let text = INVITE.replace("v=0\n", "v=0\nrest");
    assert_eq!(request(&text).to_bytes(), INVITE);
    assert_eq!(request(&format!("\r\n\r\n{INVITE}")).to_bytes(), INVITE);
}

#[test]
fn without_content_length_the_body_is_the_rest_of_the_datagram() {
    let mut request = request(&INVITE.replace("Content-Length: 4\r\n", ""));
    assert_eq!(request.body(), "v=0\n");
    request.ensure_content_length();
    assert!(String::from_utf8_lossy(&request.to_bytes()).contains("\r\nContent-Length: 4\r\n\r\nv=0\n"));
}

#[test]
fn every_fault_has_its_status_and_is_answered_where_that_is_possible() {
    let cases: &[(String, u16, bool)] = &[
        ("".into(), 400, false),
        ("\r\n\r\n".into(), 400, false),
        ("hello\r\n\r\n".into(), 400, false),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400, false),
        ("INVITE sip:a@b SIP/2.0".into(), 400, false),
        (INVITE.replace("sip:bob@biloxi.com SIP", "sip:bob@biloxi.com  SIP"), 400, true),
        (INVITE.replace("sip:bob@biloxi.com SIP", "<sip:bob@biloxi.com> SIP"), 400, true),
        (INVITE.replace("sip:bob@biloxi.com SIP", "sip:bob@biloxi.com; lr SIP"), 400, true),
        (INVITE.replace("biloxi.com SIP/2.0", "biloxi.com SIP/7.0"), 505, true),
        (INVITE.replace("Max-Forwards", "Max Forwards"), 400, true),
        (INVITE.replace("Max-Forwards: 70", "Max-Forwards"), 400, true),
        (INVITE.replace("Max-Forwards: 70", ": 70"), 400, true),
        (INVITE.replace("70\r\n", "70\n"), 400, true),
        (INVITE.replace("70\r\n", "7\r0\r\n"), 400, true),
        (INVITE.replace("70\r\n", "7\0\r\n"), 400, true),
        (INVITE.replace("Length: 4", "Length: 5"), 400, true),
        (INVITE.replace("Length: 4", "Length: -4"), 400, true),
        (INVITE.replace("Length: 4", "Length: 99999999999999999999999"), 400, true),
        (INVITE.replace("Length: 4", "Length: 66000"), 413, true),
        (INVITE.replace("Length: 4", "Length: 4\r\nContent-Length: 3"), 400, true),
        (INVITE.replace("CSeq: 314159 INVITE", "CSeq: 314159 BYE"), 400, true),
        (INVITE.replace("314159", "4294967296"), 400, true),
        (INVITE.replace("314159", "3a"), 400, true),
        (INVITE.replace("Call-ID: ", "X: "), 400, false),
        (INVITE.replace("Via: ", "X: "), 400, false),
        (INVITE.replace("SIP/2.0/UDP", "SIP/1.0/UDP"), 400, true),
        (INVITE.replace("SIP/2.0/UDP", "SIP 2.0 UDP"), 400, false),
        (INVITE.replace("70\r\n", "70\r\nVia: SIP/2.0/UDP\r\n"), 400, true),
        (INVITE.replace("SIP/2.0\r\n", "SIP/7.0\r\n").replace("SIP/2.0/UDP", "SIP/7.0/UDP"), 505, true),
        (INVITE.replace("To: Bob", "To: Bob\r\nTo: Bob"), 400, true),
        (INVITE.replace("To: Bob <sip:bob@biloxi.com>", "To: \"Bob <sip:bob@biloxi.com>"), 400, true),
        (INVITE.replace("To: Bob <sip:bob@biloxi.com>", "To: <sip:bob@biloxi.com"), 400, true),
        (INVITE.replace("Call-ID: a84b", "Call-ID: a 84b"), 400, true),
        (INVITE.replace("INVITE", "ACK").replace("Length: 4", "Length: 5"), 400, false),
        (INVITE.replace("\r\n\r\nv=0\n", ""), 400, true),
        (with(&"X: y\r\n".repeat(256)), 513, true),
        (with(&format!("X: {}\r\n", "y".repeat(20_000))), 513, true),
        (with("").replace("sip:a@b SIP", &format!("sip:{}@b SIP", "a".repeat(5000))), 414, true),
        (with(&format!("X: {}\r\n", "y\r\n ".repeat(20_000))), 513, false),
        (format!("OPTIONS sip:{}@b SIP/2.0\r\n\r\n", "a".repeat(1_000_000)), 414, false),
        ("SIP/2.0 99 x\r\n\r\n".into(), 400, false),
        ("SIP/2.0 700 x\r\n\r\n".into(), 400, false),
        ("SIP/2.0 2000 x\r\n\r\n".into(), 400, false),
        ("SIP/3.0 200 x\r\n\r\n".into(), 505, false),
    ];
    for (text, status, answerable) in cases {
        let error = error(text.as_bytes());
        let start = text.chars().take(400).collect::<String>();
        assert_eq!(error.kind.status().code(), *status, "{error} of {start}");
        let response = error.response("t1");
        assert_eq!(response.is_some(), *answerable, "{error} of {start}");
        if let Some(response) = response {
            let bytes = response.to_bytes();
            assert!(bytes.starts_with(format!("SIP/2.0 {status} ").as_bytes()), "{bytes:?}");
        }
    }
}

#[test]
fn every_truncation_and_every_flipped_byte_is_survived() {
    let text = INVITE.as_bytes();
    for end in 0..text.len() {
        exercise(&text[..end]);
        assert!(Message::parse(Bytes::copy_from_slice(&text[..end])).is_err(), "{end} bytes");
    }
    for at in 0..text.len() {
        for flip in [0xff, 0x20, 0x01, 0x80] {
            let mut bytes = text.to_vec();
            bytes[at] ^= flip;
            exercise(&bytes);
        }
        for byte in *b"\0\r\n \t\",;:<>@%[]()=\\" {
            let mut bytes = text.to_vec();
            bytes[at] = byte;
            exercise(&bytes);
        }
    }
}

#[test]
fn random_bytes_are_survived() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(3);
    let pieces: [&[u8]; 18] = [
        b"INVITE ",
        b"sip:a@b",
        b" SIP/2.0\r\n",
        b"Via: ",
        b"SIP/2.0/UDP h",
        b"From: ",
        b"\r\n",
        b"<",
        b">",
        b"\"",
        b"\\",
        b";tag=",
        b",",
        b"\r\n ",
        b":",
        b"CSeq: 1 INVITE\r\n",
        b"Call-ID: 1\r\n",
        b"\xff",
    ];
    for _ in 0..20_000 {
        let count = rng.random_range(0..40);
        let bytes: Vec<u8> =
            (0..count).flat_map(|_| pieces[rng.random_range(0..pieces.len())].iter().copied()).collect();
        exercise(&bytes);
    }
}

/// Calls everything that a peer's bytes can reach.
fn exercise(bytes: &[u8]) {
    let _ = peek_call_id(bytes);
    let message = match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(message) => message,
        Err(error) => {
            let _ = error.response("tag").map(|response| response.to_bytes());
            return;
        }
    };
    for name in [Name::Via, Name::Contact, Name::Route, Name::Supported, Name::From, Name::Subject] {
        message.values(name).for_each(drop);
    }
    use super::super::header as h;
    message.all::<Via<'_>>().flatten().for_each(|via| {
        drop(via.response_address().map(|to| (to, via.cookie_branch(), via.stamped(to, true))))
    });
    message.all::<h::Contact<'_>>().flatten().for_each(|contact| {
        drop((contact.q(), contact.expires(), contact.instance(), contact.reg_id()));
        let _ = contact
            .address()
            .map(|address| (address.uri().map(|uri| uri.is_equivalent(&uri)), address.display().len()));
    });
    message.all::<h::Route<'_>>().flatten().for_each(|route| drop(route.uri()));
    if let Message::Request(mut request) = message {
        let _ = request.uri().map(|uri| (uri.is_equivalent(uri), uri.as_request_uri().with_param("a", None)));
        let _ = request.stamp_source("192.0.2.1:5060".parse().unwrap(), true);
        request.remove_first_value(Name::Via);
        request.replace_value(Name::Contact, 0, "<sip:x@y>");
        request.retain_values(Name::Route, |_| false);
        request.set_body("text/plain", Bytes::from_static(b"x"));
        let _ = request.to_bytes();
        let _ = super::super::build::cancel(&request, "").to_bytes();
    }
}

#[test]
fn the_call_id_is_found_without_parsing() {
    for (text, expected) in [
        ("X\r\nI : a b \r\n\r\n", Some("a b")),
        ("X\r\ncall-id\t:a@b\r\n\r\n", Some("a@b")),
        ("X\r\nContact: x\r\nCall-Info: y\r\nCALL-ID:z", Some("z")),
        ("X\r\nInfo: y\r\n\r\nCall-ID: body\r\n", None),
        ("Call-ID: startline\r\n\r\n", None),
        ("X\r\nCall-ID:\r\n\r\n", None),
        ("X\r\nCall-ID:\r\n\tfolded\r\nTo: x\r\n", Some("folded")),
        ("\r\n\r\nX\r\nCall-ID: behind-a-ping\r\n\r\n", Some("behind-a-ping")),
        ("\r\n\r\n", None),
        ("", None),
    ] {
        assert_eq!(peek_call_id(text.as_bytes()), expected.map(str::as_bytes), "{text}");
    }
}

#[test]
fn latin_1_in_display_names_is_tolerated_and_kept() {
    let mut text = INVITE.replace("Alice", "\"Jos?\"").into_bytes();
    let at = text.iter().position(|&byte| byte == b'?').unwrap();
    text[at] = 0xe9;
    let Ok(Message::Request(request)) = Message::parse(Bytes::from(text.clone())) else { panic!("refused") };
    assert_eq!(request.from_header().unwrap().display(), "Jos\u{fffd}");
    assert_eq!(request.from_tag(), Some("1928301774"));
    assert_eq!(request.to_bytes(), text);
}

#[test]
fn responses_are_read() {
    for (line, code, reason) in [
        ("SIP/2.0 200 OK", 200, "OK"),
        ("sip/2.0 183 ", 183, ""),
        ("SIP/2.0 404", 404, ""),
        ("SIP/2.0 487 Requ\u{ea}te annul\u{e9}e", 487, "Requ\u{ea}te annul\u{e9}e"),
    ] {
        let text = INVITE.replace("INVITE sip:bob@biloxi.com SIP/2.0", line);
        let Ok(Message::Response(response)) = Message::parse(Bytes::from(text.clone())) else {
            panic!("{line}")
        };
        assert_eq!((response.status().code(), &*response.reason()), (code, reason));
        assert_eq!(response.to_bytes(), text);
    }
}
