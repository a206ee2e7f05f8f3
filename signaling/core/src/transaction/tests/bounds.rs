//! Bounds, counters and leaks.

use super::*;

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
fn answered_requests_take_no_place_in_it() {
    let mut bed = Bed::with(Protocol::Udp, Config { max_transactions: 1, ..Config::default() });
    for n in 0..100 {
        let (id, request) = bed.server(&request("OPTIONS", &format!("z9hG4bK{n}")));
        bed.respond(id, &request, StatusCode::OK);
    }
    assert_eq!(bed.words(), ["200"; 100]);
    bed.assert_clean();
}

#[test]
fn the_oldest_answers_are_forgotten_when_there_are_too_many() {
    let mut bed = Bed::with(Protocol::Udp, Config { max_bytes: 40_000, ..Config::default() });
    let text = |n: u32| request("OPTIONS", &format!("z9hG4bK{n}"));
    for n in 0..100 {
        let (id, request) = bed.server(&text(n));
        bed.respond(id, &request, StatusCode::OK);
    }
    bed.sent();
    bed.events();
    bed.receive(&text(99));
    assert_eq!((bed.words(), bed.events().len()), (vec!["200".to_owned()], 0));
    bed.receive(&text(0));
    assert_eq!((bed.words(), bed.events().len()), (Vec::new(), 1), "served again");
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
        ..Timers::default()
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
    let (id, invite) = bed.server(&invite());
    bed.client(&request("INVITE", "z9hG4bK9"));
    assert_eq!((bed.table.stats().current, bed.table.stats().waiting), (2, 0));
    bed.receive(&response("200 OK", "INVITE", "z9hG4bK9"));
    bed.respond(id, &invite, StatusCode::OK);
    let stats = bed.table.stats();
    assert_eq!((stats.current, stats.waiting, stats.created, stats.total_local), (2, 2, 2, 1));
    assert_eq!((stats.rpl_received, stats.rpl_sent, stats.rpl_generated, stats.answered[0]), (1, 2, 1, 1));
    assert_eq!(*invite.method(), Method::Invite);
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
                bed.table.cancel(bed.now, clients[rng.random_range(0..clients.len())], &[]);
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

#[test]
fn long_requests_fill_the_table_sooner() {
    let config = Config { max_bytes: 100_000, ..Config::default() };
    let mut bed = Bed::with(Protocol::Udp, config);
    let long = format!("Subject: {}\r\nContent-Length", "x".repeat(15_000));
    for n in 0..20 {
        bed.receive(&request("OPTIONS", &format!("z9hG4bK{n}")).replace("Content-Length", &long));
    }
    assert_eq!(bed.events().len(), 6);
    assert_eq!(bed.table.stats().refused, 14);
    bed.assert_clean();
    bed.events();
    bed.receive(&request("OPTIONS", "z9hG4bKagain"));
    assert_eq!(bed.events().len(), 1, "there is room again");
}
