//! Server transactions (RFC 3261 §17.2, RFC 6026).

use super::*;

// §17.2.1 INVITE server transaction

#[test]
fn s17_2_1_an_invite_is_answered_100_at_once_or_after_200_ms_or_never() {
    for (trying, expected) in [
        (Trying::AtOnce, vec![0]),
        (Trying::After(Duration::from_millis(200)), vec![200]),
        (Trying::Never, vec![]),
    ] {
        let mut bed = Bed::with(Protocol::Udp, Config { trying, ..Config::default() });
        bed.server(&invite());
        let sent = bed.run(1000);
        assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), expected);
        assert!(
            sent.iter()
                .all(|(_, text)| text.starts_with("SIP/2.0 100 trying -- your call is important to us\r\n"))
        );
        assert!(sent.iter().all(|(_, text)| !text.contains("To: <sip:bob@example.com>;tag")));
        bed.assert_clean();
    }
}

#[test]
fn s17_2_1_an_answer_within_200_ms_needs_no_100() {
    let trying = Trying::After(Duration::from_millis(200));
    let mut bed = Bed::with(Protocol::Udp, Config { trying, ..Config::default() });
    let (id, request) = bed.server(&invite());
    bed.respond(id, &request, StatusCode::RINGING);
    assert_eq!(bed.words(), ["180"]);
    assert!(bed.run(1000).is_empty());
    bed.assert_clean();
}

#[test]
fn s26_3_2_4_a_challenge_is_said_once_and_again_when_asked() {
    let trying = Trying::After(Duration::from_millis(200));
    let mut bed = Bed::with(Protocol::Udp, Config { trying, ..Config::default() });
    let (id, request) = bed.server(&invite());
    bed.respond(id, &request, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    assert_eq!(bed.words(), ["407"]);
    bed.receive(&invite());
    assert_eq!(bed.words(), ["407"], "it was lost");
    assert!(bed.run(40_000).is_empty(), "a forged source hears no more");
    bed.assert_clean();
}

#[test]
fn s17_2_1_a_challenge_after_100_is_repeated() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    bed.respond(id, &request, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    assert_eq!(bed.words(), ["100", "407"]);
    assert!(bed.run(40_000).len() > 5);
    bed.assert_clean();
}

#[test]
fn s17_2_1_a_repeated_invite_gets_the_last_provisional_byte_for_byte() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    let trying = bed.sent();
    bed.receive(&invite());
    assert_eq!(bed.sent(), trying);
    bed.respond(id, &request, StatusCode::RINGING);
    let ringing = bed.sent();
    bed.receive(&invite());
    assert_eq!(bed.sent(), ringing);
    assert!(bed.events().is_empty());
    bed.assert_clean();
}

#[test]
fn s17_2_1_a_failure_is_repeated_by_timer_g_until_timer_h() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    bed.sent();
    bed.respond(id, &request, StatusCode::BUSY_HERE);
    let sent = bed.run(40_000);
    assert_eq!(
        sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500]
    );
    assert!(sent.iter().all(|(_, text)| *text == sent[0].1));
    assert!(matches!(
        bed.events()[..],
        [Event::ServerTimeout { timer: Timer::H, .. }, Event::ServerTerminated { .. }]
    ));
    bed.assert_clean();
}

#[test]
fn s17_2_1_over_a_stream_there_is_no_timer_g() {
    let mut bed = Bed::new(Protocol::Tls);
    let (id, request) = bed.server(&invite());
    bed.sent();
    bed.respond(id, &request, StatusCode::BUSY_HERE);
    assert_eq!(bed.times(20_000), [0]);
    bed.receive(&ack("z9hG4bK1", "ours"));
    assert!(matches!(bed.events()[..], [Event::ServerTerminated { .. }]), "timer I is zero");
    bed.assert_clean();
}

#[test]
fn s17_2_1_the_ack_stops_it_and_timer_i_absorbs_more_of_them() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    bed.respond(id, &request, StatusCode::BUSY_HERE);
    bed.run(600);
    for _ in 0..3 {
        bed.receive(&ack("z9hG4bK1", "ours"));
    }
    bed.receive(&invite());
    assert!(bed.run(4999).is_empty());
    assert!(bed.events().is_empty());
    bed.run(1);
    assert!(matches!(bed.events()[..], [Event::ServerTerminated { .. }]));
    bed.assert_clean();
}

#[test]
fn a_lost_ack_costs_one_more_round() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    bed.sent();
    bed.respond(id, &request, StatusCode::BUSY_HERE);
    assert_eq!(bed.times(499), [0]);
    // The first ACK is lost; the client answers the retransmission.
    assert_eq!(bed.times(1), [500]);
    bed.receive(&ack("z9hG4bK1", "ours"));
    assert!(bed.run(60_000).is_empty());
    bed.assert_clean();
}

#[test]
fn rfc6026_after_a_2xx_repeated_invites_are_absorbed_and_the_user_repeats_the_2xx() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    bed.sent();
    for _ in 0..3 {
        assert!(bed.respond(id, &request, StatusCode::OK));
    }
    assert_eq!(bed.words(), ["200", "200", "200"]);
    assert!(!bed.respond(id, &request, StatusCode::BUSY_HERE));
    bed.receive(&invite());
    assert!(bed.run(31_999).is_empty() && bed.events().is_empty());
    // An ACK with the INVITE's branch is shown; that of a 2xx has one of its own (§17.1.1.3).
    bed.receive(&ack("z9hG4bK1", "ours"));
    assert!(matches!(bed.events()[..], [Event::Ack { invite: Some(up), .. }] if up == id));
    bed.receive(&ack("z9hG4bKfresh", "ours"));
    assert!(matches!(bed.events()[..], [Event::Ack { invite: None, .. }]));
    bed.run(1);
    assert!(matches!(bed.events()[..], [Event::ServerTerminated { .. }]));
    bed.assert_clean();
}

#[test]
fn an_invite_that_nobody_answers_is_not_kept_forever() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    bed.run(210_000);
    assert!(matches!(bed.events()[..], [Event::ServerTimeout { timer: Timer::Lifetime, .. }]));
    bed.sent();
    assert!(bed.respond(id, &request, StatusCode::REQUEST_TIMEOUT));
    assert_eq!(bed.words(), ["408"]);
    bed.assert_clean();
}

// §17.2.2 other server transactions

#[test]
fn s17_2_2_a_repeated_request_gets_the_last_response_until_timer_j() {
    let mut bed = Bed::new(Protocol::Udp);
    let text = request("OPTIONS", "z9hG4bK1");
    let (id, request) = bed.server(&text);
    bed.receive(&text);
    assert!(bed.sent().is_empty(), "in Trying they are dropped");
    bed.respond(id, &request, StatusCode::OK);
    let first = bed.sent();
    assert!(matches!(bed.events()[..], [Event::ServerTerminated { .. }]), "the response alone is kept");
    assert!(!bed.respond(id, &request, StatusCode::BUSY_HERE));
    for ms in [0, 500, 31_499] {
        bed.run(ms);
        bed.receive(&text);
        assert_eq!(bed.words(), ["200"]);
        assert!(bed.events().is_empty());
    }
    bed.receive(&text);
    assert_eq!(bed.sent()[0].1, first[0].1, "byte for byte");
    bed.run(2000);
    bed.receive(&text);
    assert!(matches!(bed.events()[..], [Event::Request { .. }]), "timer J is over");
    bed.assert_clean();
}

#[test]
fn s17_2_2_a_provisional_response_is_repeated_too() {
    let mut bed = Bed::new(Protocol::Udp);
    let text = request("OPTIONS", "z9hG4bK1");
    let (id, request) = bed.server(&text);
    bed.respond(id, &request, StatusCode::TRYING);
    bed.receive(&text);
    assert_eq!(bed.words(), ["100", "100"]);
    bed.respond(id, &request, StatusCode::OK);
    bed.receive(&text);
    assert_eq!(bed.words(), ["200", "200"]);
    bed.assert_clean();
}

#[test]
fn a_request_that_nobody_answers_ends_with_max_noninv_lifetime() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.server(&request("OPTIONS", "z9hG4bK1"));
    bed.run(32_000);
    assert!(matches!(
        bed.events()[..],
        [Event::ServerTimeout { timer: Timer::Lifetime, .. }, Event::ServerTerminated { .. }]
    ));
    bed.assert_clean();
}
