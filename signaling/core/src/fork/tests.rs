use super::*;
use crate::flow::{Destination, Protocol};
use crate::message::{Message, Uri};
use crate::settings::Settings;

fn targets(qs: &[u16]) -> Vec<Target> {
    let remote = "192.0.2.9:5060".parse().expect("address");
    let target = |&q: &u16| Target {
        uri: Uri::parse("sip:bob@192.0.2.9").expect("URI"),
        destination: Destination::Address { protocol: Protocol::Udp, remote },
        tcp_for_size: false,
        tcp_failed: false,
        local: remote,
        routes: Vec::new(),
        aor: None,
        prack: true,
        instance: Box::default(),
        keeps_early: true,
        by_token: false,
        q,
        gateway: None,
        alternatives: Vec::new(),
    };
    qs.iter().map(target).collect()
}

fn qs(steps: &VecDeque<Vec<Target>>) -> Vec<Vec<u16>> {
    steps.iter().map(|step| step.iter().map(|target| target.q).collect()).collect()
}

#[test]
fn the_same_q_rings_together_and_falling_q_one_after_the_other() {
    assert_eq!(qs(&steps(targets(&[0, 500, 1000, 500]), true)), [vec![1000], vec![500, 500], vec![0]]);
    assert_eq!(qs(&steps(targets(&[0, 500, 1000]), false)), [vec![0, 500, 1000]]);
    assert!(steps(Vec::new(), true).is_empty());
}

#[test]
fn a_step_is_no_broader_than_allowed() {
    let mut all = steps(targets(&[500, 500, 500, 0]), true);
    assert!(next_step(&mut all, 0).is_none());
    assert_eq!(next_step(&mut all, 2).map(|(step, breadth)| (step.len(), breadth)), Some((2, 2)));
    assert_eq!(qs(&all), [vec![500], vec![0]]);
    assert_eq!(next_step(&mut all, 8).map(|(step, breadth)| (step.len(), breadth)), Some((1, 4)));
    assert_eq!(next_step(&mut all, 8).map(|(step, breadth)| (step.len(), breadth)), Some((1, 8)));
}

/// A fork whose branches have ended with these codes; a negative one was made here.
fn fork(codes: &[i32]) -> Fork {
    let text = "INVITE sip:bob@sip.example SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                To: <sip:bob@sip.example>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n";
    let Ok(Message::Request(message)) = Message::parse(text.as_bytes().to_vec().into()) else {
        panic!("a request")
    };
    let address = "192.0.2.9:5060".parse().expect("address");
    let flow = Flow { protocol: Protocol::Udp, local: address, remote: address, connection: None };
    let incoming = Incoming::of(message, flow, 60);
    #[allow(clippy::disallowed_methods, reason = "an arbitrary origin; nothing depends on it")]
    let mut fork = Fork::new(incoming, Instant::now(), VecDeque::new());
    for (number, code) in codes.iter().enumerate() {
        let status = StatusCode::new(code.unsigned_abs() as u16).expect("a code");
        let mut response = Response::new(status);
        response.push(Name::Contact, format!("<sip:{number}>"));
        response.push(Name::WwwAuthenticate, format!("Digest realm=\"{number}\""));
        fork.unsent.push((0, Refusal { response, local: *code < 0 }));
    }
    fork
}

/// RFC 3261 §16.7 step 6.
#[test]
fn the_best_refusal_is_chosen() {
    let tm = Tm::default();
    for (codes, best) in [
        (&[500, 486][..], 486),
        (&[302, 404], 302),
        (&[404, 604, 302], 604),
        (&[404, 401], 401),
        (&[486, 415], 415),
        (&[404, 484, 407], 407),
        (&[408, 404], 404),
        (&[-408, 480], 480),
        (&[480, -408], 480),
        (&[-503, 503], 503),
        (&[503, 502], 502),
        (&[-408, 500], 408),
        (&[486, 487], 486),
    ] {
        assert_eq!(fork(codes).best(&tm).expect("a response").status().code(), best, "{codes:?}");
    }
    assert!(fork(&[]).best(&tm).is_none());
    let cancelled = Fork { cancelled: true, ..fork(&[486, 487]) };
    assert_eq!(cancelled.best(&tm).expect("a response").status(), StatusCode::REQUEST_TERMINATED);
    let tm = Tm { disable_6xx_block: true, ..tm };
    assert_eq!(fork(&[603, 500]).best(&tm).expect("a response").status().code(), 500);
}

/// RFC 3261 §16.7 step 7, and its like for redirections.
#[test]
fn challenges_and_contacts_of_all_branches_go_back() {
    let tm = Tm::default();
    let best = fork(&[401, 486, 407]).best(&tm).expect("a response");
    assert_eq!(best.raw_all(Name::WwwAuthenticate).count(), 2);
    let best = fork(&[404, 302, 301, 302]).best(&tm).expect("a response");
    assert_eq!(best.values(Name::Contact).collect::<Vec<_>>(), [b"<sip:1>", b"<sip:2>", b"<sip:3>"]);
}

/// `failure_reply_mode`: two stages before the last one.
#[test]
fn a_call_sent_elsewhere_is_judged_by_what_came_there() {
    for (mode, best) in [
        (FailureReplyMode::KeepAll, 401),
        (FailureReplyMode::DropLast, 404),
        (FailureReplyMode::DropAll, 500),
    ] {
        let mut fork = fork(&[404, 401, 500]);
        for (stage, (of, _)) in fork.unsent.iter_mut().enumerate() {
            *of = stage;
        }
        fork.stage = 2;
        let tm = Tm { failure_reply_mode: mode, ..Tm::default() };
        assert_eq!(fork.best(&tm).expect("a response").status().code(), best, "{mode:?}");
    }
}

#[test]
fn every_try_has_its_share_of_a_short_life() {
    let timers = Settings::default().timers;
    let mut call = fork(&[]);
    let target = targets(&[1000]).remove(0);
    let last = call.patience(call.begun, &target, &timers);
    assert_eq!((last.fr_inv_timer, last.restart_fr_on_each_reply), (timers.fr_inv_timer, true));
    call.steps = steps(targets(&[0]), true);
    let first = call.patience(call.begun + Duration::from_secs(10), &target, &timers);
    assert_eq!((first.fr_inv_timer, first.restart_fr_on_each_reply), (timers.fr_inv_timer_next, false));
    assert_eq!(first.max_lifetime, Duration::from_secs(170));
    let late = call.begun + timers.max_inv_lifetime - Duration::from_millis(500);
    assert!(call.next_step(late, &timers).is_none() && call.steps.is_empty(), "too late for another");
}
