use super::*;

fn row(set: i64, number: u8, priority: i64, attrs: &str) -> Row {
    let destination = format!("sip:192.0.2.{number}:5060");
    Row { set, destination, flags: 0, priority, attrs: attrs.into() }
}

fn dispatcher(rows: Vec<Row>) -> Dispatcher {
    Dispatcher::new(rows, Arc::default(), |row| panic!("{row:?}"))
}

/// The same for one test.
#[allow(clippy::disallowed_methods, reason = "a point from which a test counts")]
fn start() -> Instant {
    Instant::now()
}

fn key(call_id: &str, random: u32) -> Key<'_> {
    Key {
        call_id,
        from: "sip:a@x",
        to: "sip:b@x",
        request_uri: "sip:b@x",
        user: Some("a@x"),
        variables: call_id,
        random,
        now: start(),
    }
}

/// The last numbers of those that were chosen.
fn chosen(of: &Dispatcher, algorithm: Algorithm, key: &Key<'_>) -> String {
    let hosts = of.select(1, algorithm, key).into_iter();
    hosts.map(|gateway| gateway.target.host().trim_start_matches("192.0.2.").to_owned()).collect()
}

fn three() -> Dispatcher {
    dispatcher(vec![
        row(1, 3, 0, "weight=10;rweight=1"),
        row(1, 1, 9, "weight=90"),
        row(1, 2, 5, "duid=b;rweight=1"),
    ])
}

#[test]
fn the_first_is_chosen_and_the_others_follow() {
    let of = three();
    assert_eq!(chosen(&of, Algorithm::Priority, &key("c", 0)), "123", "by falling priority");
    let turns = [0; 4].map(|_| chosen(&of, Algorithm::RoundRobin, &key("c", 0)));
    assert_eq!(turns, ["123", "231", "312", "123"]);
    assert_eq!(chosen(&of, Algorithm::Random, &key("c", 7)), "231");
    for algorithm in [
        Algorithm::CallId,
        Algorithm::From,
        Algorithm::To,
        Algorithm::RequestUri,
        Algorithm::User,
        Algorithm::Variables,
    ] {
        let one = chosen(&of, algorithm, &key("c", 0));
        assert_eq!(one, chosen(&of, algorithm, &key("c", 99)), "{algorithm:?}: the same for the same");
        assert_eq!(one.len(), 3);
    }
    let firsts: std::collections::BTreeSet<_> =
        (0..50).map(|n| chosen(&of, Algorithm::CallId, &key(&n.to_string(), 0))).collect();
    assert_eq!(firsts.len(), 3, "and all have their part");
    assert!(of.select(2, Algorithm::Priority, &key("c", 0)).is_empty());
    assert_eq!(chosen(&of, Algorithm::Parallel, &key("c", 0)), "123");
}

#[test]
fn shares_are_those_of_the_gateways_in_use() {
    let of = three();
    let firsts = |algorithm| {
        let all = (0..100).map(|random| chosen(&of, algorithm, &key("c", random)));
        all.fold([0; 4], |mut counts, order| {
            counts[usize::from(order.as_bytes()[0] - b'0')] += 1;
            counts
        })
    };
    assert_eq!(firsts(Algorithm::Weight), [0, 90, 0, 10]);
    assert_eq!(firsts(Algorithm::RelativeWeight), [0, 0, 50, 50]);
    assert!(of.set_state(1, "sip:192.0.2.3:5060", NewState::parse("i").unwrap()));
    assert_eq!(firsts(Algorithm::RelativeWeight), [0, 0, 100, 0]);
    let turns = [0; 3].map(|_| chosen(&of, Algorithm::RoundRobin, &key("c", 0)));
    assert_eq!(turns, ["12", "21", "12"], "who is out of use has no turn");
}

#[test]
fn calls_go_where_the_fewest_are_and_no_more_than_are_allowed() {
    let of = dispatcher(vec![row(1, 1, 9, "maxload=1"), row(1, 2, 0, "")]);
    let of_load = || chosen(&of, Algorithm::Load, &key("c", 0));
    assert_eq!(of_load(), "12");
    let one = Load::new(&of.sets[&1].gateways[0]);
    assert_eq!(of_load(), "2", "the other has its one call");
    let two = [0; 2].map(|_| Load::new(&of.sets[&1].gateways[1]));
    assert_eq!(of_load(), "2");
    drop(one);
    assert_eq!(of_load(), "12");
    drop(two);
    assert!(of.sets[&1].gateways.iter().all(|gateway| gateway.state.calls() == 0));
}

#[test]
fn who_does_not_answer_is_left_alone_until_he_does() {
    let of = dispatcher(vec![row(1, 1, 0, "")]);
    let settings = Settings {
        ping_interval: Duration::from_secs(10),
        probing_threshold: 2,
        inactive_threshold: 2,
        ..Settings::default()
    };
    let state = &of.sets[&1].gateways[0].state;
    assert_eq!((state.letters().as_str(), state.is_usable()), ("AX", true));
    state.failed(&settings);
    assert_eq!((state.letters().as_str(), state.is_usable()), ("TP", true), "once is not enough");
    state.failed(&settings);
    assert_eq!((state.letters().as_str(), state.is_usable()), ("IP", false));
    state.answered(&settings, Duration::from_millis(10));
    assert_eq!(state.letters(), "IP", "nor is one answer");
    state.unanswered(&settings);
    state.answered(&settings, Duration::from_millis(10));
    assert_eq!(state.letters(), "IP", "they are to be in a row");
    state.answered(&settings, Duration::from_millis(40));
    assert_eq!((state.letters().as_str(), state.is_usable()), ("AX", true));
    let latency = state.latency();
    assert_eq!((latency.count, latency.timeouts, latency.longest), (3, 1, 40.0));
    assert!((latency.average - 20.0).abs() < 0.01 && (latency.deviation - 14.142).abs() < 0.01);
    assert!((latency.estimate - 13.0).abs() < 0.01, "{latency:?}");
    let never = Settings::default();
    (0..9).for_each(|_| state.failed(&never));
    assert_eq!(state.letters(), "AX", "nobody would take it back");
    assert!(of.set_state(1, "all", NewState::parse("dp").unwrap()));
    (0..9).for_each(|_| state.answered(&settings, Duration::ZERO));
    assert_eq!((state.letters().as_str(), state.is_usable()), ("DP", false), "an operator has said so");
    assert!(!of.set_state(1, "sip:other", NewState::parse("a").unwrap()));
    assert!(NewState::parse("zz").is_none() && NewState::parse("").is_none());
}

#[test]
fn what_was_learnt_outlives_its_row_unless_that_says_otherwise() {
    let known = Arc::<Known>::default();
    let read = |flags| {
        let mut rows = vec![row(1, 1, 0, ""), row(1, 2, 0, "")];
        rows[1].flags = flags;
        rows.push(Row { destination: "nonsense".into(), ..row(1, 3, 0, "") });
        let mut refused = 0;
        let of = Dispatcher::new(rows, Arc::clone(&known), |_| refused += 1);
        assert_eq!(refused, 1);
        of
    };
    let of = read(DISABLED);
    assert!(of.set_state(1, "sip:192.0.2.1:5060", NewState::parse("i").unwrap()));
    let letters = |of: &Dispatcher| -> Vec<String> {
        of.sets[&1].gateways.iter().map(|gateway| gateway.state.letters()).collect()
    };
    assert_eq!(letters(&of), ["IX", "DX"]);
    assert_eq!(letters(&read(DISABLED)), ["IX", "DX"]);
    assert_eq!(letters(&read(0)), ["IX", "AX"]);
}

#[test]
fn a_round_of_questions_is_for_one_worker_and_one_answer_at_a_time() {
    let of = three();
    #[allow(clippy::disallowed_methods)]
    let now = Instant::now();
    let every =
        |ping_all| Settings { ping_interval: Duration::from_secs(10), ping_all, ..Settings::default() };
    assert!(of.take_round(now, &Settings::default()).is_empty(), "never");
    assert!(of.take_round(now, &every(false)).is_empty(), "nobody has failed");
    assert!(of.take_round(now, &every(true)).is_empty(), "this round is over");
    let later = now + Duration::from_secs(10);
    let mut open = of.take_round(later, &every(true));
    assert_eq!(open.len(), 3);
    drop(open.remove(0));
    let third = later + Duration::from_secs(10);
    assert_eq!(of.take_round(third, &every(true)).len(), 1, "the others have not answered yet");
    of.known.ask(false);
    assert!(of.take_round(third + Duration::from_secs(10), &every(true)).is_empty());
}

/// Answers of one gateway that take so many milliseconds, the first of them a hundred times: its average.
fn answers(of: &Dispatcher, place: usize, usual: u64, now: &[u64]) {
    let (settings, state) = (Settings::default(), &of.sets[&1].gateways[place].state);
    for millis in std::iter::repeat_n(&usual, 100).chain(now) {
        state.answered(&settings, Duration::from_millis(*millis));
    }
}

/// The example of Kamailio's documentation: priorities of 30, and what its estimates of the latency make of them.
#[test]
fn slow_answers_lower_the_priority() {
    let latencies = [21, 91, 61, 19, 32, 0, 201];
    let row = |(number, latency): (u8, u32)| row(1, number, 30, &format!("latency={latency}"));
    let of = dispatcher((1..).zip(latencies).map(row).collect());
    let turns = [0; 4].map(|_| chosen(&of, Algorithm::Latency, &key("c", 0)));
    assert_eq!(turns, ["1465327", "4615327", "6145327", "1465327"]);
}

/// With `cc` it is not how slow a gateway is, but how much slower than usual.
#[test]
fn congestion_is_what_is_slower_than_usual() {
    let of = dispatcher(vec![row(1, 1, 30, "cc=1"), row(1, 2, 30, "cc=1"), row(1, 3, 30, "")]);
    answers(&of, 0, 400, &[]);
    answers(&of, 1, 10, &[900; 9]);
    answers(&of, 2, 100, &[]);
    assert_eq!(chosen(&of, Algorithm::Latency, &key("c", 0)), "132", "far, not congested; near; congested");
    let of = dispatcher(vec![
        row(1, 1, 0, "rweight=50;weight=50;cc=1"),
        row(1, 2, 0, "rweight=50;weight=50;cc=1"),
    ]);
    let firsts = |algorithm| {
        let all = (0..1000).map(|random| chosen(&of, algorithm, &key("c", random)));
        all.filter(|order| order.starts_with('1')).count()
    };
    assert_eq!(firsts(Algorithm::RelativeWeight), 500);
    // Its estimate is 18 ms above its average: 32 of its 50 are left.
    answers(&of, 0, 20, &[46; 20]);
    assert_eq!(firsts(Algorithm::RelativeWeight), 400);
    answers(&of, 0, 20, &[900; 9]);
    assert_eq!(firsts(Algorithm::RelativeWeight), 0, "more than its weight bears");
    answers(&of, 1, 20, &[900; 3]);
    let share = firsts(Algorithm::RelativeWeight);
    assert!((1..500).contains(&share), "both are: the one with less has more: {share}");
}

#[test]
fn the_highest_priority_takes_turns_before_the_others() {
    let of = dispatcher(vec![row(1, 1, 9, ""), row(1, 2, 9, ""), row(1, 3, 5, ""), row(1, 4, 1, "")]);
    let turns = [0; 3].map(|_| chosen(&of, Algorithm::RoundRobinSerial, &key("c", 0)));
    assert_eq!(turns, ["1234", "2134", "1234"]);
    assert!(of.set_state(1, "sip:192.0.2.1:5060", NewState::parse("i").unwrap()));
    assert!(of.set_state(1, "sip:192.0.2.2:5060", NewState::parse("i").unwrap()));
    assert_eq!(chosen(&of, Algorithm::RoundRobinSerial, &key("c", 0)), "34");
}

#[test]
fn equals_are_drawn_by_their_weights() {
    let of = dispatcher(vec![
        row(1, 1, 9, "weight=75"),
        row(1, 2, 9, "weight=25"),
        row(1, 3, 5, "weight=99"),
        row(1, 4, 1, ""),
    ]);
    let orders: Vec<String> =
        (0..100).map(|random| chosen(&of, Algorithm::PriorityWeight, &key("c", random))).collect();
    let count = |order: &str| orders.iter().filter(|found| *found == order).count();
    assert_eq!((count("1234"), count("2134")), (75, 25), "{orders:?}");
}

/// RFC 7339: who has asked for a third less is passed over by a third of the requests, and for as long as it has said.
#[test]
fn who_asks_for_less_has_less_for_a_while() {
    let of = dispatcher(vec![row(1, 1, 0, ""), row(1, 2, 0, "")]);
    let gateway = &of.sets[&1].gateways[0];
    let said = |oc: &str| {
        let text = format!(
            "SIP/2.0 503 Service Unavailable\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;{oc}\r\n\
             From: <sip:a@x>;tag=a\r\nTo: <sip:b@x>;tag=b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        match crate::message::Message::parse(text.into()).unwrap() {
            crate::message::Message::Response(response) => response,
            request => panic!("{request:?}"),
        }
    };
    let start = start();
    let firsts = |now| {
        let first =
            |random| chosen(&of, Algorithm::Overload, &Key { now, ..key("c", random) }).starts_with('1');
        // Two of each number, for they take turns.
        (0..200).filter(|random| first(random / 2)).count()
    };
    assert_eq!(firsts(start), 100);
    gateway.hears(start, &said("oc"));
    assert_eq!(firsts(start), 100, "it only knows what this is about");
    gateway.hears(start, &said("oc=30;oc-algo=\"loss\";oc-validity=2000;oc-seq=1.1"));
    assert_eq!(firsts(start), 70);
    assert_eq!(firsts(start + Duration::from_secs(2)), 100);
    gateway.hears(start, &said("oc=100"));
    assert_eq!(firsts(start), 0);
    assert_eq!(firsts(start + Duration::from_millis(500)), 100, "half a second unless it says");
    gateway.hears(start, &said("oc=50;oc-validity=0"));
    assert_eq!(firsts(start), 100, "it is over");
    gateway.hears(start, &said("oc=100"));
    of.sets[&1].gateways[1].hears(start, &said("oc=100"));
    assert_eq!(chosen(&of, Algorithm::Overload, &key("c", 0)).len(), 2, "somebody has to take it");
}
