use super::*;
use crate::message::Message;
use rand::SeedableRng;

const INVITE: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\nv: SIP/2.0/UDP p;branch=z9hG4bK2;received=192.0.2.1\r\n\
    Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nRecord-Route: <sip:p;lr>\r\nRoute: <sip:q;lr>\r\nTo: Bob <sip:bob@biloxi.com>\r\n\
    f: Alice <sip:alice@atlanta.com>;tag=1\r\nCall-ID: a84b\r\nCSeq: 314159 INVITE\r\nTimestamp: 54\r\nX-Not: copied\r\n\r\n";

fn invite() -> Request {
    match Message::parse(Bytes::from_static(INVITE.as_bytes())) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn s8_2_6_a_response_repeats_what_it_must() {
    let invite = invite();
    let ok = Reply::new(&invite, StatusCode::OK)
        .to_tag("xyz")
        .record_route()
        .header(Name::Contact, "<sip:b@h>")
        .body("application/sdp", Bytes::from_static(b"v=0"))
        .build();
    let expected = "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP p;branch=z9hG4bK2;received=192.0.2.1\r\n\
        Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: Alice <sip:alice@atlanta.com>;tag=1\r\nTo: Bob <sip:bob@biloxi.com>;tag=xyz\r\n\
        Call-ID: a84b\r\nCSeq: 314159 INVITE\r\nRecord-Route: <sip:p;lr>\r\nContact: <sip:b@h>\r\n\
        Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0";
    assert_eq!(text(&ok.to_bytes()), expected);
}

#[test]
fn s7_3_1_what_is_folded_is_repeated_on_one_line() {
    let text_of = "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n ;branch=z9hG4bK1\r\nFrom : <sip:a@h>;tag=1\r\nTo: <sip:h>\r\n\
                   Call-ID:\r\n x\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let Ok(Message::Request(options)) = Message::parse(Bytes::from_static(text_of.as_bytes())) else {
        panic!("a request")
    };
    let ok = Reply::new(&options, StatusCode::OK).build().to_bytes();
    let expected = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a   ;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\n\
                    Call-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(text(&ok), expected);
}

#[test]
fn s8_2_6_1_a_100_has_the_timestamp_and_no_tag() {
    let invite = invite();
    let trying =
        Reply::new(&invite, StatusCode::TRYING).reason("Working\r\nX: y").to_tag("xyz").build().to_bytes();
    let trying = text(&trying);
    assert!(trying.starts_with("SIP/2.0 100 Working  X: y\r\n"), "{trying}");
    assert!(trying.contains("Timestamp: 54\r\n") && !trying.contains("tag=xyz"));
}

#[test]
fn s8_2_6_2_a_tag_that_is_there_stays() {
    let mut request = invite();
    request.set(Name::To, "<sip:bob@biloxi.com>;tag=old");
    let response = Reply::new(&request, StatusCode::OK).to_tag("new").build();
    assert_eq!(response.to_tag(), Some("old"));
}

#[test]
fn s17_1_1_3_and_s9_1_ack_and_cancel_come_from_the_invite() {
    let invite = invite();
    let busy = Reply::new(&invite, StatusCode::BUSY_HERE).to_tag("xyz").build();
    let common = "Max-Forwards: 70\r\nf: Alice <sip:alice@atlanta.com>;tag=1\r\nTo: Bob <sip:bob@biloxi.com>TAG\r\n\
        Call-ID: a84b\r\nCSeq: 314159 METHOD\r\nContent-Length: 0\r\n\r\n";
    for (request, method, tag) in
        [(ack(&invite, &busy, ""), "ACK", ";tag=xyz"), (cancel(&invite, ""), "CANCEL", "")]
    {
        let expected = format!(
            "METHOD sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK2;received=192.0.2.1\r\n\
             Route: <sip:q;lr>\r\n{common}"
        );
        let expected = expected.replace("METHOD", method).replace("TAG", tag);
        assert_eq!(text(&request.to_bytes()), expected);
    }
}

#[test]
fn a_request_of_our_own_can_be_read_again() {
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let (branch, call_id) = (random_branch(&mut rng), random_call_id(&mut rng));
    let via = via(crate::flow::Protocol::Udp, "192.0.2.1:5060", &branch);
    let uri = Uri::parse("sip:bob@biloxi.com").unwrap();
    let bye = NewRequest::new(Method::Bye, &uri, &via, "<sip:a@b>;tag=1", "<sip:c@d>;tag=2", &call_id, 7)
        .header(Name::Reason, "SIP ;cause=408")
        .build();
    let Ok(Message::Request(again)) = Message::parse(bye.to_bytes()) else { panic!("refused") };
    assert_eq!((again.call_id(), again.max_forwards()), (call_id.as_str(), Some(70)));
    assert_eq!(again.top_via().unwrap().cookie_branch(), Some(branch.as_str()));
    assert_eq!(again.cseq().unwrap(), crate::message::header::CSeq { number: 7, method: "BYE" });
    assert_ne!(random_tag(&mut rng), random_tag(&mut rng));
}
