//! Two tables and a network between them that loses, delays and repeats: seeded, in virtual time.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::message::build;

/// A client and a server, and what is on its way between them.
struct Pair {
    client: Table,
    server: Table,
    rng: StdRng,
    loss: f64,
    now: Instant,
    /// By arrival, then by number: to the server, bytes.
    wire: BTreeMap<(Instant, u64), (bool, Bytes)>,
    sent: u64,
}

impl Pair {
    fn new(seed: u64, loss: f64) -> Self {
        let now = Bed::new(Protocol::Udp).start;
        let rng = StdRng::seed_from_u64(seed);
        let (client, server) = (Table::new(Config::default()), Table::new(Config::default()));
        Self { client, server, rng, loss, now, wire: BTreeMap::new(), sent: 0 }
    }

    /// Takes what the tables send. Messages overtake each other, and one in ten comes twice.
    fn collect(&mut self) {
        for to_server in [true, false] {
            while let Some(out) = if to_server { &mut self.client } else { &mut self.server }.poll_transmit()
            {
                let copies = if self.rng.random_bool(0.1) { 2 } else { 1 };
                for _ in 0..copies {
                    self.sent += 1;
                    if !self.rng.random_bool(self.loss) {
                        let at = self.now + Duration::from_millis(self.rng.random_range(1..400));
                        self.wire.insert((at, self.sent), (to_server, out.bytes.clone()));
                    }
                }
            }
        }
    }

    /// Goes to the next thing that happens; `false` when nothing will.
    fn step(&mut self, wake: Option<Instant>) -> bool {
        self.collect();
        let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
        let next = [arrival, self.client.poll_timeout(), self.server.poll_timeout(), wake]
            .into_iter()
            .flatten()
            .min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        if arrival == Some(next)
            && let Some((_, (to_server, bytes))) = self.wire.pop_first()
        {
            let message = Message::parse(bytes).expect("what a table sends can be read");
            let table = if to_server { &mut self.server } else { &mut self.client };
            table.handle_message(self.now, flow(Protocol::Udp), message);
        }
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        true
    }

    fn begin(&mut self, method: &str, branch: &str) {
        let Ok(Message::Request(request)) = Message::parse(Bytes::from(request(method, branch))) else {
            panic!("a request")
        };
        self.client.request(self.now, request, Destination::Flow(flow(Protocol::Udp))).unwrap();
    }

    fn assert_clean(&self) {
        for table in [&self.client, &self.server] {
            assert_eq!(table.stats().created, table.stats().freed);
            assert!(table.is_clean());
        }
    }
}

/// How often the server's user saw the request, and the client's user a final response or a timeout.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    requests: u32,
    finals: u32,
    timeouts: u32,
    /// INVITEs whose failure was never acknowledged.
    unacknowledged: u32,
}

/// One request, answered `after` it came with `status`.
fn exchange(seed: u64, loss: f64, method: &str, status: StatusCode, after: Duration) -> Seen {
    let mut pair = Pair::new(seed, loss);
    let mut seen = Seen::default();
    let mut answer: Option<(Instant, ServerId, Request)> = None;
    pair.begin(method, "z9hG4bKlossy");
    while pair.step(answer.as_ref().map(|(at, ..)| *at)) {
        while let Some(event) = pair.server.poll_event() {
            match event {
                Event::Request { id, request, .. } => {
                    seen.requests += 1;
                    answer = Some((pair.now + after, id, request));
                }
                Event::ServerTimeout { timer: Timer::H, .. } => seen.unacknowledged += 1,
                Event::Ack { .. } => panic!("an ACK to a failure goes no further"),
                _ => {}
            }
        }
        if answer.as_ref().is_some_and(|(at, ..)| *at <= pair.now) {
            let (_, id, request) = answer.take().expect("it is due");
            pair.server.respond(pair.now, id, &Reply::new(&request, status).to_tag("b").build());
        }
        while let Some(event) = pair.client.poll_event() {
            match event {
                Event::Response { id: Some(_), response, .. } if response.status().is_final() => {
                    seen.finals += 1
                }
                Event::Timeout { .. } => seen.timeouts += 1,
                _ => {}
            }
        }
    }
    pair.assert_clean();
    seen
}

#[test]
fn a_fifth_of_all_messages_may_be_lost() {
    for seed in 0..300 {
        for (method, status, after) in [
            ("INVITE", StatusCode::BUSY_HERE, 0),
            ("INVITE", StatusCode::BUSY_HERE, 5000),
            ("OPTIONS", StatusCode::OK, 0),
            ("BYE", StatusCode::OK, 3000),
        ] {
            let seen = exchange(seed, 0.2, method, status, Duration::from_millis(after));
            let expected = Seen { requests: 1, finals: 1, ..Seen::default() };
            assert_eq!(seen, expected, "seed {seed}, {method} answered after {after} ms");
        }
    }
}

#[test]
fn when_all_are_lost_the_client_is_told_once() {
    for method in ["INVITE", "OPTIONS"] {
        let seen = exchange(1, 1.0, method, StatusCode::OK, Duration::ZERO);
        assert_eq!(seen, Seen { timeouts: 1, ..Seen::default() });
    }
}

/// RFC 3261 §13.3.1.4: the users carry a 2xx and its ACK through, the transactions only let them pass.
#[test]
fn a_call_is_established_over_a_lossy_network() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed, 0.2);
        let (mut requests, mut answers, mut acks) = (0, 0, 0);
        let mut repeat: Option<(Instant, Duration, ServerId, Response)> = None;
        pair.begin("INVITE", "z9hG4bKcall");
        while pair.step(repeat.as_ref().map(|(at, ..)| *at)) {
            while let Some(event) = pair.server.poll_event() {
                match event {
                    Event::Request { id, request, .. } => {
                        requests += 1;
                        let ok = Reply::new(&request, StatusCode::OK).to_tag("b").build();
                        repeat = Some((pair.now, Duration::from_millis(500), id, ok));
                    }
                    Event::Ack { .. } => {
                        acks += 1;
                        repeat = None;
                    }
                    _ => {}
                }
            }
            if let Some((at, interval, id, ok)) = repeat.as_mut().filter(|(at, ..)| *at <= pair.now) {
                if !pair.server.respond(pair.now, *id, ok) {
                    repeat = None;
                } else {
                    *at += *interval;
                    *interval = (*interval * 2).min(Duration::from_secs(4));
                }
            }
            while let Some(event) = pair.client.poll_event() {
                let Event::Response { response, .. } = event else { continue };
                if response.status().is_success() {
                    answers += 1;
                    let invite = Message::parse(Bytes::from(request("INVITE", "z9hG4bKack"))).unwrap();
                    let Message::Request(invite) = invite else { panic!("a request") };
                    let ack = build::ack(&invite, &response, "");
                    pair.client.send(Destination::Flow(flow(Protocol::Udp)), ack.to_bytes());
                }
            }
        }
        assert!(requests == 1 && answers >= 1 && acks >= 1, "seed {seed}: {requests} {answers} {acks}");
        pair.assert_clean();
    }
}
