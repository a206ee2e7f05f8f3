use super::*;

fn row(set: i64, number: u8, priority: i64, attrs: &str) -> Row {
    let destination = format!("sip:192.0.2.{number}:5060");
    Row { set, destination, flags: 0, priority, attrs: attrs.into() }
}

fn dispatcher(rows: Vec<Row>) -> Dispatcher {
    Dispatcher::new(rows, Arc::default(), |row| panic!("{row:?}"))
}

fn key(call_id: &str, random: u32) -> Key<'_> {
    Key { call_id, from: "sip:a@x", to: "sip:b@x", request_uri: "sip:b@x", user: Some("a@x"), random }
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
    for algorithm in
        [Algorithm::CallId, Algorithm::From, Algorithm::To, Algorithm::RequestUri, Algorithm::User]
    {
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
