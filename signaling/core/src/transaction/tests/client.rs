//! Client transactions (RFC 3261 §17.1, RFC 6026) and CANCEL (§9).

use super::*;

// §17.1.1 INVITE client transaction

#[test]
fn s17_1_1_2_an_unanswered_invite_is_sent_with_doubling_intervals_until_timer_b() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    let sent = bed.run(40_000);
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 500, 1500, 3500, 7500, 15_500]);
    assert!(sent.iter().all(|(_, text)| *text == invite()), "byte for byte");
    let events = bed.events();
    assert!(
        matches!(events[..], [Event::Timeout { id: a, timer: Timer::B }, Event::ClientTerminated { id: b }] if a == id && b == id)
    );
    bed.assert_clean();
}

#[test]
fn s17_1_1_2_over_a_stream_nothing_is_sent_twice() {
    let mut bed = Bed::new(Protocol::Wss);
    bed.client(&invite());
    assert_eq!(bed.times(40_000), [0]);
    assert!(matches!(bed.events()[0], Event::Timeout { timer: Timer::B, .. }));
    bed.assert_clean();
}

#[test]
fn s17_1_1_2_a_provisional_reply_stops_retransmission_and_goes_up() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&invite());
    bed.run(600);
    bed.receive(&response("100 Trying", "INVITE", "z9hG4bK1"));
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    assert!(bed.run(60_000).is_empty());
    assert_eq!(bed.events().len(), 2);
    bed.assert_clean();
}

#[test]
fn s17_1_1_3_a_failure_is_acknowledged_and_each_retransmission_of_it_again() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&invite());
    bed.run(0);
    bed.receive(&response("486 Busy Here", "INVITE", "z9hG4bK1"));
    let first = bed.sent();
    let ack = &first[0].1;
    for part in [
        "ACK sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport\r\n",
        "Route: <sip:p1.example.com;lr>\r\n",
        "From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=b\r\nCall-ID: c1\r\nCSeq: 1 ACK\r\n",
    ] {
        assert!(ack.contains(part), "{ack}");
    }
    assert_eq!(bed.events().len(), 1);
    for _ in 0..3 {
        bed.run(4000);
        bed.receive(&response("486 Busy Here", "INVITE", "z9hG4bK1"));
        assert_eq!(bed.sent()[0].1, *ack);
        assert!(bed.events().is_empty(), "the user sees it once");
    }
    // Timer D: 32 s after the first.
    bed.run(32_000 - 12_000 - 1);
    assert!(bed.events().is_empty());
    bed.run(1);
    assert!(matches!(bed.events()[..], [Event::ClientTerminated { .. }]));
    bed.assert_clean();
}

#[test]
fn timer_d_is_zero_over_a_stream() {
    let mut bed = Bed::new(Protocol::Tcp);
    bed.client(&invite());
    bed.receive(&response("486 Busy Here", "INVITE", "z9hG4bK1"));
    assert_eq!(bed.words(), ["INVITE", "ACK"]);
    assert!(matches!(bed.events()[..], [Event::Response { .. }, Event::ClientTerminated { .. }]));
    bed.assert_clean();
}

#[test]
fn rfc6026_every_2xx_goes_up_until_timer_m_and_none_is_acknowledged_here() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    bed.run(0);
    let ok = response("200 OK", "INVITE", "z9hG4bK1");
    for text in [&ok, &ok, &ok.replace("tag=b", "tag=other-branch")] {
        bed.receive(text);
        assert!(matches!(bed.events()[..], [Event::Response { id: Some(up), .. }] if up == id));
        assert!(bed.run(1000).is_empty());
    }
    bed.receive(&response("486 Busy Here", "INVITE", "z9hG4bK1"));
    assert!(bed.events().is_empty() && bed.sent().is_empty());
    bed.run(29_000);
    assert!(matches!(bed.events()[..], [Event::ClientTerminated { .. }]));
    bed.receive(&ok);
    assert!(matches!(bed.events()[..], [Event::Response { id: None, .. }]), "a stray one is still shown");
    bed.assert_clean();
}

#[test]
fn s16_8_timer_c_starts_again_with_each_provisional_but_100() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&invite());
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.run(100_000);
    bed.receive(&response("100 Trying", "INVITE", "z9hG4bK1"));
    bed.run(19_000);
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.events();
    bed.run(2000);
    assert!(bed.events().is_empty());
    // `max_inv_lifetime` comes before the second timer C, at 180 s.
    bed.run(59_000);
    assert!(matches!(bed.events()[..], [Event::Timeout { timer: Timer::Lifetime, .. }]));
    bed.assert_clean();
}

#[test]
fn s16_8_after_timer_c_the_branch_can_be_cancelled_and_ends_by_487() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.events();
    bed.sent();
    bed.run(120_000);
    assert!(matches!(bed.events()[..], [Event::Timeout { timer: Timer::C, .. }]));
    assert_eq!(bed.table.cancel(bed.now, id, &[]), Cancelled::Yes);
    assert_eq!(bed.words(), ["CANCEL"]);
    bed.receive(&response("200 OK", "CANCEL", "z9hG4bK1"));
    bed.receive(&response("487 Request Terminated", "INVITE", "z9hG4bK1"));
    assert_eq!(bed.words(), ["ACK"]);
    assert!(matches!(bed.events()[..], [Event::Response { .. }]));
    bed.assert_clean();
}

// §9.1 CANCEL

#[test]
fn s9_1_a_cancel_waits_for_the_first_provisional_reply() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    bed.sent();
    let reason = "SIP ;cause=200 ;text=\"Call completed elsewhere\"";
    let more = "Q.850 ;cause=16";
    assert_eq!(bed.table.cancel(bed.now, id, &[reason, more]), Cancelled::Yes);
    assert_eq!(bed.table.cancel(bed.now, id, &[]), Cancelled::No, "one is enough");
    assert!(bed.sent().is_empty());
    bed.receive(&response("100 Trying", "INVITE", "z9hG4bK1"));
    let cancel = &bed.sent()[0].1;
    for part in [
        "CANCEL sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport\r\n",
        "Route: <sip:p1.example.com;lr>\r\n",
        "To: <sip:bob@example.com>\r\n",
        "CSeq: 1 CANCEL\r\n",
        &format!("Reason: {reason}\r\nReason: {more}\r\n"),
    ] {
        assert!(cancel.contains(part), "{cancel}");
    }
    assert_eq!(bed.times(3000), [500, 1500].map(|at| at), "the CANCEL is a transaction of its own");
    bed.assert_clean();
}

#[test]
fn s9_1_without_a_final_reply_a_cancelled_invite_ends_after_64_t1() {
    let mut bed = Bed::new(Protocol::Wss);
    let id = bed.client(&invite());
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.events();
    bed.table.cancel(bed.now, id, &[]);
    bed.receive(&response("200 OK", "CANCEL", "z9hG4bK1"));
    // Ringing on does not keep it alive.
    bed.run(31_000);
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.events();
    bed.run(1000);
    assert!(matches!(
        bed.events()[..],
        [Event::Timeout { timer: Timer::B, .. }, Event::ClientTerminated { .. }]
    ));
    bed.assert_clean();
}

#[test]
fn a_2xx_that_crosses_a_cancel_wins() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.table.cancel(bed.now, id, &[]);
    bed.receive(&response("200 OK", "INVITE", "z9hG4bK1"));
    bed.receive(&response("481 Call/Transaction Does Not Exist", "CANCEL", "z9hG4bK1"));
    let statuses: Vec<_> = bed
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Response { response, .. } => Some(response.status().code()),
            _ => None,
        })
        .collect();
    assert_eq!(statuses, [180, 200]);
    assert_eq!(bed.table.cancel(bed.now, id, &[]), Cancelled::No);
    bed.assert_clean();
}

#[test]
fn a_final_reply_before_any_provisional_one_makes_a_wanted_cancel_moot() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    bed.table.cancel(bed.now, id, &[]);
    bed.receive(&response("486 Busy Here", "INVITE", "z9hG4bK1"));
    assert_eq!(bed.words(), ["INVITE", "ACK"]);
    bed.assert_clean();
}

#[test]
fn s9_2_a_cancel_finds_its_invite() {
    let mut bed = Bed::new(Protocol::Udp);
    let (invite_id, invite_request) = bed.server(&invite());
    bed.receive(&request("CANCEL", "z9hG4bK1"));
    let events = bed.events();
    let [Event::Cancel { id, invite: Some(invite), request: cancel, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*invite, invite_id);
    bed.sent();
    assert!(bed.respond(*id, cancel, StatusCode::OK));
    assert!(bed.respond(invite_id, &invite_request, StatusCode::REQUEST_TERMINATED));
    assert_eq!(bed.words(), ["200", "487"]);
    assert!(matches!(bed.events()[..], [Event::ServerTerminated { id: over }] if over == *id));
    bed.receive(&request("CANCEL", "z9hG4bK1"));
    assert_eq!(bed.words(), ["200"], "retransmitted CANCEL, replayed 200");
    bed.receive(&request("CANCEL", "z9hG4bKother"));
    assert!(matches!(bed.events()[..], [Event::Cancel { invite: None, .. }]));
    bed.assert_clean();
}

// §17.1.2 other client transactions

#[test]
fn s17_1_2_2_intervals_double_up_to_t2_until_timer_f() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&request("OPTIONS", "z9hG4bK1"));
    assert_eq!(bed.times(40_000), [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500]);
    assert!(matches!(
        bed.events()[..],
        [Event::Timeout { timer: Timer::F, .. }, Event::ClientTerminated { .. }]
    ));
    bed.assert_clean();
}

#[test]
fn s17_1_2_2_in_proceeding_the_interval_is_t2() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&request("OPTIONS", "z9hG4bK1"));
    bed.run(100);
    bed.receive(&response("100 Trying", "OPTIONS", "z9hG4bK1"));
    assert_eq!(bed.times(12_000), [500, 4500, 8500]);
    bed.assert_clean();
}

#[test]
fn s17_1_2_2_timer_k_absorbs_repeated_answers() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&request("OPTIONS", "z9hG4bK1"));
    for _ in 0..3 {
        bed.receive(&response("200 OK", "OPTIONS", "z9hG4bK1"));
    }
    assert!(matches!(bed.events()[..], [Event::Response { id: Some(_), .. }]));
    assert_eq!(bed.table.stats().waiting, 1);
    bed.run(5000);
    assert!(matches!(bed.events()[..], [Event::ClientTerminated { .. }]));
    bed.assert_clean();
}

#[test]
fn cancel_b_method_says_what_becomes_of_a_branch_that_has_not_replied() {
    let bed = |cancel_b_method| {
        let mut bed = Bed::with(Protocol::Udp, Config { cancel_b_method, ..Config::default() });
        let id = bed.client(&invite());
        bed.run(600);
        let cancelled = bed.table.cancel(bed.now, id, &[]);
        (bed, cancelled)
    };
    let sent = |bed: &mut Bed| bed.run(4000).iter().map(|(_, text)| word(text)).collect::<Vec<_>>();

    let (mut wait, cancelled) = bed(CancelBMethod::Wait);
    assert_eq!((cancelled, sent(&mut wait)), (Cancelled::Yes, vec!["INVITE".into(), "INVITE".into()]));

    let (mut at_once, cancelled) = bed(CancelBMethod::AtOnce);
    assert_eq!((cancelled, sent(&mut at_once)), (Cancelled::Yes, vec!["CANCEL".to_owned(); 4]));
    at_once.receive(&response("487 Request Terminated", "INVITE", "z9hG4bK1"));
    assert_eq!(at_once.words(), ["ACK"]);

    let (mut stop, cancelled) = bed(CancelBMethod::Stop);
    assert_eq!((cancelled, sent(&mut stop)), (Cancelled::Unheard, vec![]));
    stop.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    assert_eq!(stop.words(), ["CANCEL"], "it was there after all");
    stop.receive(&response("200 OK", "INVITE", "z9hG4bK1"));
    assert!(stop.events().iter().any(
        |event| matches!(event, Event::Response { response, .. } if response.status() == StatusCode::OK)
    ));
    for mut bed in [wait, at_once, stop] {
        bed.assert_clean();
    }
}

#[test]
fn extra_headers_go_into_cancel_and_negative_ack() {
    let mut bed = Bed::with(Protocol::Udp, Config { ac_extra_hdrs: "x-key".into(), ..Config::default() });
    let text = invite().replace("Content-Length", "X-Key-A: 1\r\nX-Other: 2\r\nx-keyb: 3\r\nContent-Length");
    let id = bed.client(&text);
    bed.sent();
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.table.cancel(bed.now, id, &[]);
    bed.receive(&response("487 Request Terminated", "INVITE", "z9hG4bK1"));
    let sent = bed.sent();
    assert_eq!(sent.len(), 2);
    for (_, message) in sent {
        assert!(message.contains("X-Key-A: 1\r\nx-keyb: 3\r\n") && !message.contains("X-Other"), "{message}");
    }
    bed.assert_clean();
}

#[test]
fn without_restart_only_higher_provisional_replies_let_it_ring_on() {
    for (restart_fr_on_each_reply, end) in [(true, 100 + 120), (false, 60 + 120)] {
        let timers = Timers { restart_fr_on_each_reply, ..Timers::default() };
        let timers = Timers { max_inv_lifetime: Duration::from_secs(600), ..timers };
        let mut bed = Bed::with(Protocol::Udp, Config { timers, ..Config::default() });
        bed.client(&invite());
        for status in
            ["100 Trying", "180 Ringing", "182 Queued", "180 Ringing", "183 Session Progress", "180 Ringing"]
        {
            // 20 s apart: the last one of a higher code at 80 s, the last one of all at 100 s.
            bed.receive(&response(status, "INVITE", "z9hG4bK1"));
            bed.run(20_000);
        }
        let ended = bed.start + Duration::from_secs(end + if restart_fr_on_each_reply { 0 } else { 20 });
        assert_eq!(bed.table.poll_timeout(), Some(ended));
    }
}

#[test]
fn a_branch_may_have_a_patience_of_its_own() {
    let mut bed = Bed::new(Protocol::Udp);
    let text = invite();
    let Message::Request(request) = Message::parse(text.into_bytes().into()).unwrap() else { panic!() };
    let patience = Patience {
        fr_timer: Duration::from_secs(5),
        fr_inv_timer: Duration::from_secs(7),
        restart_fr_on_each_reply: false,
        max_lifetime: Duration::from_secs(60),
    };
    bed.table.request_with(bed.now, request, Destination::Flow(bed.flow), patience).unwrap();
    bed.run(4000);
    bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
    bed.events();
    bed.run(6999);
    assert!(bed.events().is_empty());
    bed.run(1);
    assert!(matches!(bed.events()[..], [Event::Timeout { timer: Timer::C, .. }]));
    bed.assert_clean();
}
