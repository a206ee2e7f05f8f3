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
