//! RFC 3261 §17 and RFC 6026 in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::flow::{ConnectionId, Destination, Flow, Protocol, SendToken};
use crate::message::build::Reply;
use crate::message::{Message, Method, Name, StatusCode};
use crate::transaction::tests;

/// One table between a client and a server, with a clock that is turned by hand.
struct Bed {
    table: Table,
    start: Instant,
    now: Instant,
    flow: Flow,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn flow(protocol: Protocol) -> Flow {
    let connection = protocol.is_reliable().then_some(ConnectionId(7));
    Flow { protocol, local: addr("192.0.2.1:5060"), remote: addr("192.0.2.9:5062"), connection }
}

impl Bed {
    fn new(protocol: Protocol) -> Self {
        Self::with(protocol, Config::default())
    }

    #[allow(clippy::disallowed_methods, reason = "an arbitrary origin; nothing depends on it")]
    fn with(protocol: Protocol, config: Config) -> Self {
        let start = Instant::now();
        Self { table: Table::new(config), start, now: start, flow: flow(protocol) }
    }

    fn receive(&mut self, text: &str) {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        self.table.handle_message(self.now, self.flow, message);
    }

    /// Runs the clock for `ms`, and notes what is sent when (milliseconds since the start).
    fn run(&mut self, ms: u64) -> Vec<(u64, String)> {
        let end = self.now + Duration::from_millis(ms);
        let mut sent = self.sent();
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.table.handle_timeout(at);
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }

    fn sent(&mut self) -> Vec<(u64, String)> {
        let at = self.now.duration_since(self.start).as_millis() as u64;
        std::iter::from_fn(|| self.table.poll_transmit())
            .map(|out| (at, String::from_utf8(out.bytes.to_vec()).unwrap()))
            .collect()
    }

    fn times(&mut self, ms: u64) -> Vec<u64> {
        self.run(ms).into_iter().map(|(at, _)| at).collect()
    }

    /// First words of what was sent: `INVITE`, `200`.
    fn words(&mut self) -> Vec<String> {
        self.sent().into_iter().map(|(_, text)| word(&text)).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.table.poll_event()).collect()
    }

    fn server(&mut self, text: &str) -> (ServerId, Request) {
        self.receive(text);
        match self.events().pop() {
            Some(Event::Request { id, request, .. } | Event::Cancel { id, request, .. }) => (id, request),
            other => panic!("{other:?}"),
        }
    }

    fn client(&mut self, text: &str) -> ClientId {
        let Message::Request(request) = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
        else {
            panic!("a request")
        };
        self.table.request(self.now, request, Destination::Flow(self.flow)).unwrap()
    }

    fn respond(&mut self, id: ServerId, request: &Request, status: StatusCode) -> bool {
        let response = Reply::new(request, status).to_tag("ours").build();
        self.table.respond(self.now, id, &response)
    }

    /// Nothing is left: the leak test of `tm.stats`.
    fn assert_clean(&mut self) {
        self.run(600_000);
        let stats = self.table.stats();
        assert_eq!((stats.current, stats.waiting), (0, 0), "{stats:?}");
        assert_eq!(stats.created, stats.freed);
        assert!(self.table.is_clean());
    }
}

fn word(text: &str) -> String {
    let mut words = text.split(' ');
    match words.next() {
        Some("SIP/2.0") => words.next().unwrap_or_default().to_owned(),
        other => other.unwrap_or_default().to_owned(),
    }
}

fn request(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nRoute: <sip:p1.example.com;lr>\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn invite() -> String {
    request("INVITE", "z9hG4bK1")
}

fn ack(branch: &str, to_tag: &str) -> String {
    let text = request("ACK", branch);
    text.replace("To: <sip:bob@example.com>", &format!("To: <sip:bob@example.com>;tag={to_tag}"))
}

fn response(status: &str, method: &str, branch: &str) -> String {
    format!(
        "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch={branch};rport\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>;tag=b\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

// ---- §17.1.1 INVITE client transaction ----

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
    assert!(bed.table.cancel(bed.now, id, None));
    assert_eq!(bed.words(), ["CANCEL"]);
    bed.receive(&response("200 OK", "CANCEL", "z9hG4bK1"));
    bed.receive(&response("487 Request Terminated", "INVITE", "z9hG4bK1"));
    assert_eq!(bed.words(), ["ACK"]);
    assert!(matches!(bed.events()[..], [Event::Response { .. }]));
    bed.assert_clean();
}

// ---- §9.1 CANCEL ----

#[test]
fn s9_1_a_cancel_waits_for_the_first_provisional_reply() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    bed.sent();
    let reason = "SIP ;cause=200 ;text=\"Call completed elsewhere\"";
    assert!(bed.table.cancel(bed.now, id, Some(reason)));
    assert!(!bed.table.cancel(bed.now, id, None), "one is enough");
    assert!(bed.sent().is_empty());
    bed.receive(&response("100 Trying", "INVITE", "z9hG4bK1"));
    let cancel = &bed.sent()[0].1;
    for part in [
        "CANCEL sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport\r\n",
        "Route: <sip:p1.example.com;lr>\r\n",
        "To: <sip:bob@example.com>\r\n",
        "CSeq: 1 CANCEL\r\n",
        &format!("Reason: {reason}\r\n"),
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
    bed.table.cancel(bed.now, id, None);
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
    bed.table.cancel(bed.now, id, None);
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
    assert!(!bed.table.cancel(bed.now, id, None));
    bed.assert_clean();
}

#[test]
fn a_final_reply_before_any_provisional_one_makes_a_wanted_cancel_moot() {
    let mut bed = Bed::new(Protocol::Udp);
    let id = bed.client(&invite());
    bed.table.cancel(bed.now, id, None);
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
    let [Event::Cancel { id, invite: Some(invite), request, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*invite, invite_id);
    bed.sent();
    assert!(bed.respond(*id, request, StatusCode::OK));
    assert!(bed.respond(invite_id, &invite_request, StatusCode::REQUEST_TERMINATED));
    assert_eq!(bed.words(), ["200", "487"]);
    bed.receive(&tests::request("CANCEL", "z9hG4bK1"));
    assert_eq!(bed.words(), ["200"], "retransmitted CANCEL, replayed 200");
    bed.receive(&tests::request("CANCEL", "z9hG4bKother"));
    assert!(matches!(bed.events()[..], [Event::Cancel { invite: None, .. }]));
    bed.assert_clean();
}

// ---- §17.1.2 other client transactions ----

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

// ---- §17.2.1 INVITE server transaction ----

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

// ---- §17.2.2 other server transactions ----

#[test]
fn s17_2_2_a_repeated_request_gets_the_last_response_until_timer_j() {
    let mut bed = Bed::new(Protocol::Udp);
    let text = request("OPTIONS", "z9hG4bK1");
    let (id, request) = bed.server(&text);
    bed.receive(&text);
    assert!(bed.sent().is_empty(), "in Trying they are dropped");
    bed.respond(id, &request, StatusCode::OK);
    let first = bed.sent();
    bed.receive(&text);
    assert_eq!(bed.sent(), first);
    assert!(!bed.respond(id, &request, StatusCode::BUSY_HERE));
    bed.run(31_999);
    assert!(bed.events().is_empty());
    bed.run(1);
    assert!(matches!(bed.events()[..], [Event::ServerTerminated { .. }]));
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

// ---- §17.2.3, §17.1.3 matching ----

#[test]
fn s17_2_3_branch_sent_by_and_method_make_the_transaction() {
    let base = request("OPTIONS", "z9hG4bK1");
    for (other, same) in [
        (base.clone(), true),
        (base.replace("192.0.2.9:5062", "192.0.2.9:5063"), false),
        (base.replace("192.0.2.9:5062", "192.0.2.10:5062"), false),
        (base.replace("z9hG4bK1", "z9hG4bK2"), false),
        (request("INFO", "z9hG4bK1"), false),
        (base.replace("Call-ID: c1", "Call-ID: c2"), true),
    ] {
        let mut bed = Bed::new(Protocol::Udp);
        bed.server(&base);
        bed.receive(&other);
        assert_eq!(bed.events().is_empty(), same, "{other}");
        bed.assert_clean();
    }
}

#[test]
fn s17_2_3_an_rfc_2543_client_is_matched_by_the_headers() {
    let mut bed = Bed::new(Protocol::Udp);
    let text = request("INVITE", "1");
    let (id, invite) = bed.server(&text);
    bed.sent();
    bed.receive(&text);
    assert_eq!(bed.words(), ["100"], "a retransmission");
    for (from, to) in [
        ("CSeq: 1", "CSeq: 2"),
        ("tag=a", "tag=x"),
        ("Call-ID: c1", "Call-ID: c2"),
        ("bob@example.com S", "x@example.com S"),
    ] {
        bed.receive(&text.replace(from, to));
        assert!(matches!(bed.events()[..], [Event::Request { .. }]), "{to}");
    }
    bed.sent();
    bed.respond(id, &invite, StatusCode::BUSY_HERE);
    assert_eq!(bed.words(), ["486"]);
    bed.receive(&ack("1", "another"));
    assert!(matches!(bed.events()[..], [Event::Ack { invite: None, .. }]));
    bed.receive(&ack("1", "ours"));
    assert!(bed.events().is_empty(), "absorbed");
    bed.receive(&request("CANCEL", "1"));
    assert!(matches!(bed.events()[..], [Event::Cancel { invite: Some(up), .. }] if up == id));
    bed.assert_clean();
}

#[test]
fn s8_2_2_2_a_request_that_came_by_two_ways_is_marked_as_merged() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.receive(&invite());
    bed.receive(&request("INVITE", "z9hG4bK2"));
    let events = bed.events();
    assert!(matches!(
        events[..],
        [Event::Request { merged: false, .. }, Event::Request { merged: true, .. }]
    ));
    bed.assert_clean();
}

#[test]
fn s17_1_3_a_response_needs_branch_and_method() {
    for (branch, method) in [("z9hG4bKx", "OPTIONS"), ("z9hG4bK1", "CANCEL"), ("", "OPTIONS")] {
        let mut bed = Bed::new(Protocol::Udp);
        bed.client(&request("OPTIONS", "z9hG4bK1"));
        bed.receive(&response("200 OK", method, branch));
        assert!(matches!(bed.events()[..], [Event::Response { id: None, .. }]), "{branch} {method}");
        bed.assert_clean();
    }
}

// ---- §18.2 where responses go ----

#[test]
fn s18_2_2_responses_go_to_the_source_or_to_sent_by() {
    let with = |via: &str, force_rport| {
        let mut bed = Bed::with(Protocol::Udp, Config { force_rport, ..Config::default() });
        bed.receive(&request("OPTIONS", "z9hG4bK1").replace("192.0.2.9:5062;branch=z9hG4bK1;rport", via));
        let Some(Event::Request { id, request, .. }) = bed.table.poll_event() else { panic!("a request") };
        bed.respond(id, &request, StatusCode::OK);
        let out = bed.table.poll_transmit().unwrap();
        let Destination::Flow(flow) = out.destination else { panic!("a flow") };
        (flow.remote.to_string(), String::from_utf8(request.raw(Name::Via).unwrap().to_vec()).unwrap())
    };
    for (via, force, remote, stamped) in [
        ("192.0.2.9:5062;branch=z9hG4bK1", false, "192.0.2.9:5062", "192.0.2.9:5062;branch=z9hG4bK1"),
        ("192.0.2.9;branch=z9hG4bK1", false, "192.0.2.9:5060", "192.0.2.9;branch=z9hG4bK1"),
        (
            "10.0.0.1:7000;branch=z9hG4bK1",
            false,
            "192.0.2.9:7000",
            "10.0.0.1:7000;branch=z9hG4bK1;received=192.0.2.9",
        ),
        (
            "10.0.0.1;rport;branch=z9hG4bK1",
            false,
            "192.0.2.9:5062",
            "10.0.0.1;rport=5062;branch=z9hG4bK1;received=192.0.2.9",
        ),
        (
            "10.0.0.1;branch=z9hG4bK1",
            true,
            "192.0.2.9:5062",
            "10.0.0.1;branch=z9hG4bK1;rport=5062;received=192.0.2.9",
        ),
        // A forged `received` turns nothing away.
        (
            "host.invalid;received=198.51.100.1;branch=z9hG4bK1",
            false,
            "192.0.2.9:5060",
            "host.invalid;branch=z9hG4bK1;received=192.0.2.9",
        ),
    ] {
        assert_eq!(with(via, force), (remote.to_owned(), format!("SIP/2.0/UDP {stamped}")), "{via}");
    }
}

#[test]
fn s18_2_2_a_response_whose_connection_is_gone_opens_one_to_sent_by() {
    let mut bed = Bed::new(Protocol::Tcp);
    let (id, request) = bed.server(&invite());
    bed.respond(id, &request, StatusCode::BUSY_HERE);
    let out = std::iter::from_fn(|| bed.table.poll_transmit()).last().unwrap();
    bed.table.handle_send_failure(bed.now, out.token);
    let again = bed.table.poll_transmit().unwrap();
    let expected = Destination::Address { protocol: Protocol::Tcp, remote: addr("192.0.2.9:5062") };
    assert_eq!((again.destination, again.bytes), (expected, out.bytes));
    bed.table.handle_send_failure(bed.now, again.token);
    assert!(matches!(bed.events()[..], [Event::ServerTransportError { .. }]));
    bed.assert_clean();
}

#[test]
fn s17_1_4_a_request_that_cannot_be_sent_ends_at_once() {
    for method in ["INVITE", "OPTIONS"] {
        let mut bed = Bed::new(Protocol::Tcp);
        bed.client(&request(method, "z9hG4bK1"));
        let token = bed.table.poll_transmit().unwrap().token;
        bed.table.handle_send_failure(bed.now, token);
        assert!(matches!(bed.events()[..], [Event::TransportError { .. }, Event::ClientTerminated { .. }]));
        bed.table.handle_send_failure(bed.now, token);
        bed.table.handle_send_failure(bed.now, SendToken(0));
        assert!(bed.events().is_empty(), "a stale token names nothing");
        bed.assert_clean();
    }
}

#[test]
fn a_closed_connection_ends_the_requests_that_wait_on_it() {
    let mut bed = Bed::new(Protocol::Wss);
    bed.client(&request("OPTIONS", "z9hG4bK1"));
    bed.client(&request("INVITE", "z9hG4bK2"));
    bed.table.handle_flow_closed(ConnectionId(6));
    assert!(bed.events().is_empty());
    bed.table.handle_flow_closed(ConnectionId(7));
    assert_eq!(bed.events().iter().filter(|event| matches!(event, Event::TransportError { .. })).count(), 2);
    bed.assert_clean();
}

// ---- bounds and counters ----

#[test]
fn a_full_table_refuses_with_503() {
    let config = Config { max_transactions: 2, ..Config::default() };
    let mut bed = Bed::with(Protocol::Udp, config);
    for n in 0..5 {
        bed.receive(&request("OPTIONS", &format!("z9hG4bK{n}")));
    }
    assert_eq!(bed.events().len(), 2);
    let sent = bed.sent();
    assert_eq!(sent.len(), 3);
    assert!(
        sent.iter().all(|(_, text)| text.starts_with("SIP/2.0 503 ") && text.contains("Retry-After: 10\r\n"))
    );
    let Message::Request(other) = Message::parse(Bytes::from(request("OPTIONS", "z9hG4bKc"))).unwrap() else {
        panic!()
    };
    let refused = bed.table.request(bed.now, other, Destination::Flow(bed.flow));
    assert_eq!(refused, Err(RequestError::Full));
    assert_eq!(bed.table.stats().refused, 3);
    bed.assert_clean();
}

#[test]
fn a_flood_of_provisional_replies_leaves_no_timers_behind() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&invite());
    for _ in 0..10_000 {
        bed.receive(&response("180 Ringing", "INVITE", "z9hG4bK1"));
        bed.run(1);
        bed.events();
    }
    assert!(bed.table.timer_count() <= 3);
    bed.assert_clean();
}

#[test]
fn a_branch_in_use_cannot_be_used_again() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.client(&invite());
    let Message::Request(again) = Message::parse(Bytes::from(invite())).unwrap() else { panic!("a request") };
    assert_eq!(
        bed.table.request(bed.now, again, Destination::Flow(bed.flow)),
        Err(RequestError::BranchInUse)
    );
    bed.assert_clean();
}

#[test]
fn settings_of_zero_do_not_spin() {
    let zero = Duration::ZERO;
    let timers = Timers {
        retr_timer1: zero,
        retr_timer2: zero,
        fr_timer: Duration::from_millis(50),
        fr_inv_timer: zero,
        max_inv_lifetime: zero,
        max_noninv_lifetime: zero,
        wt_timer: zero,
    };
    let mut bed = Bed::with(Protocol::Udp, Config { timers, ..Config::default() });
    bed.client(&invite());
    bed.client(&request("OPTIONS", "z9hG4bK2"));
    let (id, request) = bed.server(&request("INVITE", "z9hG4bK3"));
    bed.respond(id, &request, StatusCode::BUSY_HERE);
    bed.assert_clean();
}

#[test]
fn the_counters_follow_a_call() {
    let mut bed = Bed::new(Protocol::Udp);
    let (id, request) = bed.server(&invite());
    bed.client(&tests::request("INVITE", "z9hG4bK9"));
    assert_eq!((bed.table.stats().current, bed.table.stats().waiting), (2, 0));
    bed.receive(&response("200 OK", "INVITE", "z9hG4bK9"));
    bed.respond(id, &request, StatusCode::OK);
    let stats = bed.table.stats();
    assert_eq!((stats.current, stats.waiting, stats.created, stats.total_local), (2, 2, 2, 1));
    assert_eq!((stats.rpl_received, stats.rpl_sent, stats.rpl_generated, stats.answered[0]), (1, 2, 1, 1));
    assert_eq!(*request.method(), Method::Invite);
    bed.assert_clean();
}

#[test]
fn random_messages_in_random_order_leave_nothing_behind() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(42);
    let mut bed = Bed::new(Protocol::Udp);
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..20_000 {
        let branch = format!("z9hG4bK{}", rng.random_range(0..20));
        let method = ["INVITE", "OPTIONS", "CANCEL", "ACK", "BYE"][rng.random_range(0..5)];
        let status = ["100 a", "180 b", "200 c", "302 d", "486 e", "603 f"][rng.random_range(0..6)];
        match rng.random_range(0..6) {
            0 | 1 => bed.receive(&request(method, &branch)),
            2 => bed.receive(&response(status, method, &branch)),
            3 if method != "ACK" => {
                let Message::Request(request) =
                    Message::parse(Bytes::from(request(method, &branch))).unwrap()
                else {
                    continue;
                };
                clients.extend(bed.table.request(bed.now, request, Destination::Flow(bed.flow)));
            }
            4 if !servers.is_empty() => {
                let (id, request): &(ServerId, Request) = &servers[rng.random_range(0..servers.len())];
                let code = StatusCode::new(status[..3].parse().unwrap()).unwrap();
                bed.table.respond(bed.now, *id, &Reply::new(request, code).to_tag("ours").build());
            }
            _ if !clients.is_empty() => {
                bed.table.cancel(bed.now, clients[rng.random_range(0..clients.len())], None);
            }
            _ => {}
        }
        bed.run(rng.random_range(0..500));
        for event in bed.events() {
            if let Event::Request { id, request, .. } | Event::Cancel { id, request, .. } = event {
                servers.push((id, request));
            }
        }
        if servers.len() > 50 {
            servers.drain(..25);
        }
        if clients.len() > 50 {
            clients.drain(..25);
        }
    }
    bed.assert_clean();
}
