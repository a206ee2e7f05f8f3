//! Forwarding: what the operator's receiver gets.

use super::bed::settings;
use super::mirror::{A, B, Ng, rtp, sdp};
use crate::command::{
    Cause, Command, Delete, Ends, Forward, Forwarded, ForwardedKind, ForwardedSound, Reply,
};

fn call() -> Ng {
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |_| {});
    ng
}

fn forward(ng: &mut Ng, on: bool, tag: Option<&str>, metadata: Option<&str>) -> Reply {
    let ends = Ends { call_id: "ng".to_owned(), from_tag: tag.map(str::to_owned), ..Ends::default() };
    let metadata = metadata.map(str::to_owned);
    let command = Command::Forward(Forward { ends, on, metadata, ..Forward::default() });
    ng.engine.handle_command(ng.now, &command)
}

fn forwarded(ng: &mut Ng) -> Vec<Forwarded> {
    std::iter::from_fn(|| ng.engine.poll_forwarded()).collect()
}

/// Sequence numbers of what is forwarded, with the words that go before.
fn heard(ng: &mut Ng) -> Vec<(u16, Option<String>)> {
    let sounds = forwarded(ng).into_iter().filter_map(|it| match it.what {
        ForwardedKind::Sound(ForwardedSound { header, metadata, payload, call_id, .. }) => {
            assert_eq!((&*payload, &*call_id), (b"hello".as_slice(), "ng"));
            Some((header.sequence_number, metadata.map(|it| it.to_string())))
        }
        ForwardedKind::Ended => None,
    });
    sounds.collect()
}

fn talk(ng: &mut Ng, number: u16) {
    ng.say(A, &rtp(0, number));
    ng.say(B, &rtp(0, number + 1000));
}

const DONE: Reply = Reply::Done { warnings: vec![] };

#[test]
fn a_whole_call_or_one_end_is_forwarded_until_it_is_stopped() {
    let mut ng = call();
    talk(&mut ng, 1);
    assert_eq!(heard(&mut ng), []);
    let words = |text: &str| Some(text.to_owned());
    assert_eq!(forward(&mut ng, true, None, Some("call")), DONE);
    talk(&mut ng, 2);
    assert_eq!(heard(&mut ng), [(2, words("call")), (1002, words("call"))]);
    assert_eq!(forward(&mut ng, true, Some("a"), Some("end")), DONE);
    talk(&mut ng, 3);
    assert_eq!(heard(&mut ng), [(3, words("end")), (1003, words("call"))]);
    assert_eq!(forward(&mut ng, false, None, None), DONE);
    talk(&mut ng, 4);
    assert_eq!(heard(&mut ng), [(4, words("end"))], "the end that was named goes on");
    assert_eq!(forward(&mut ng, false, Some("a"), None), DONE);
    talk(&mut ng, 5);
    assert_eq!(heard(&mut ng), []);
}

#[test]
fn all_ends_with_the_call_and_each_forwarding_is_ended_once() {
    let mut ng = call();
    forward(&mut ng, true, None, None);
    forward(&mut ng, true, None, Some("later words"));
    forward(&mut ng, true, Some("b"), None);
    talk(&mut ng, 1);
    let numbers: Vec<u64> = forwarded(&mut ng).iter().map(|it| it.forwarding).collect();
    let [call, end] = numbers.as_slice() else { panic!("two packets: {numbers:?}") };
    assert_ne!(call, end);
    let delete = Delete { call_id: "ng".to_owned(), ..Delete::default() };
    ng.engine.handle_command(ng.now, &Command::Delete(delete));
    let mut ended: Vec<u64> = forwarded(&mut ng)
        .iter()
        .map(|it| {
            assert!(matches!(it.what, ForwardedKind::Ended));
            it.forwarding
        })
        .collect();
    ended.sort_unstable();
    let mut begun = numbers.clone();
    begun.sort_unstable();
    assert_eq!(ended, begun);
}

#[test]
fn flag_all_stops_the_ends_that_were_named_too() {
    let mut ng = call();
    forward(&mut ng, true, Some("a"), None);
    let ends = Ends { call_id: "ng".to_owned(), ..Ends::default() };
    let stop = Command::Forward(Forward { ends, all: true, ..Forward::default() });
    assert_eq!(ng.engine.handle_command(ng.now, &stop), DONE);
    talk(&mut ng, 1);
    assert_eq!(heard(&mut ng), []);
}

#[test]
fn nobody_is_forwarded_whom_nobody_knows() {
    let mut ng = call();
    assert!(
        matches!(forward(&mut ng, true, Some("x"), None), Reply::Error(it) if it.cause == Cause::UnknownCall)
    );
    let ends = Ends { call_id: "other".to_owned(), ..Ends::default() };
    let command = Command::Forward(Forward { ends, on: true, ..Forward::default() });
    let reply = ng.engine.handle_command(ng.now, &command);
    assert_eq!(reply, Reply::error(Cause::UnknownCall, "unknown call-id"));
}
