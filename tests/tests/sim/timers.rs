//! The timers of RFC 3261 §17 and RFC 6026 as the wire shows them, at their exact moments: nothing takes time here.

use std::time::Duration;

use e2e::sim::World;
use e2e::sim::phone::{Callee, End};
use e2e::sip::Message;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Pauses that double from T1 on, without end: timer A.
const DOUBLING: [u64; 6] = [0, 500, 1500, 3500, 7500, 15_500];
/// Pauses that double up to T2: timers E and G.
const UP_TO_T2: [u64; 10] = [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500];

fn offsets(times: &[Duration]) -> Vec<u64> {
    let first = times.first().copied().unwrap_or_default();
    times.iter().map(|at| (*at - first).as_millis() as u64).collect()
}

fn method(method: &str) -> impl Fn(&Message) -> bool {
    move |message| message.method() == Some(method)
}

fn status(code: u16) -> impl Fn(&Message) -> bool {
    move |message| message.status() == Some(code)
}

/// Alice calls, Bob behaves as told.
fn called(seed: u64, callee: Callee) -> World {
    let mut world = World::of_two(seed);
    world.phones[1].callee = callee;
    world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
    world
}

/// The last message that a phone sent or got.
fn last(world: &World, phone: usize, to_proxy: bool, wanted: impl Fn(&Message) -> bool) -> String {
    let seen = world.seen.iter().rev().filter(|seen| seen.phone == phone && seen.to_proxy == to_proxy);
    seen.map(|seen| &seen.message).find(|message| wanted(message)).expect("it was seen").to_string()
}

/// §17.1.1.2: timer A doubles, timer B (`fr_timer`, 30 s) ends it with 408.
#[test]
fn a_and_b() {
    let mut world = called(1, Callee::Silent);
    world.run(SECOND * 60);
    let times = world.sent_to(1, method("INVITE"));
    assert_eq!(offsets(&times), DOUBLING, "{}", world.ladder());
    let refused = world.sent_to(0, status(408));
    assert_eq!(refused[0] - times[0], SECOND * 30);
    assert_eq!(world.phones[0].ends, [End::Refused(408)]);
    world.assert_nothing_left("A and B");
}

/// §16.8, timer C (`fr_inv_timer`, 120 s) begins anew with each 1xx, but nobody rings beyond `max_inv_lifetime`.
#[test]
fn c() {
    let mut world = called(2, Callee::Ring);
    world.run(SECOND * 119);
    assert!(world.sent_to(1, method("CANCEL")).is_empty());
    world.run(SECOND * 40);
    let ringing = world.sent_to(0, status(180))[0];
    assert_eq!(world.sent_to(1, method("CANCEL"))[0] - ringing, SECOND * 120);
    assert_eq!(world.phones[1].ends, [End::Cancelled]);
    assert_eq!(world.phones[0].ends, [End::Refused(408)]);
    world.run(SECOND * 60);
    world.assert_nothing_left("C");
}

/// §17.1.1.2: for 64·T1 after a refusal each repetition of it is acknowledged (timer D), and the caller hears it once.
#[test]
fn d() {
    let mut world = called(3, Callee::Refuse(SECOND, 486));
    world.run(SECOND * 2);
    let refusal = last(&world, 1, true, status(486));
    for (after, acknowledged) in [(SECOND, true), (SECOND * 29, true), (SECOND * 5, false)] {
        let before = world.sent_to(1, method("ACK")).len();
        world.run(after);
        world.inject(1, &refusal);
        world.run(MILLISECOND);
        assert_eq!(world.sent_to(1, method("ACK")).len() > before, acknowledged, "{}", world.ladder());
    }
    assert_eq!(world.sent_to(0, status(486)).len(), 1);
    world.run(SECOND * 60);
    world.assert_nothing_left("D");
}

/// §17.1.2.2: timer E doubles up to T2, timer F (`fr_timer`) ends it with 408.
#[test]
fn e_and_f() {
    let mut world = World::of_two(4);
    world.phones[1].deaf = true;
    world.act(0, |phone, now| phone.ask(now, "MESSAGE", "bob", "message-1"));
    world.run(SECOND * 60);
    let times = world.sent_to(1, method("MESSAGE"));
    assert_eq!(offsets(&times), UP_TO_T2, "{}", world.ladder());
    assert_eq!(world.sent_to(0, status(408))[0] - times[0], SECOND * 30);
    assert_eq!(world.phones[0].answers, [("MESSAGE".to_owned(), 408)]);
    world.assert_nothing_left("E and F");
}

/// §17.1.2.2: after a provisional response timer E is T2.
#[test]
fn e_after_a_provisional_response() {
    let mut world = World::of_two(5);
    world.phones[1].deaf = true;
    world.act(0, |phone, now| phone.ask(now, "MESSAGE", "bob", "message-1"));
    world.run(SECOND);
    let message = Message::parse(last(&world, 1, false, method("MESSAGE")).as_bytes()).expect("SIP");
    let mut trying =
        Message { start: "SIP/2.0 183 Wait".to_owned(), headers: Vec::new(), body: String::new() };
    let copied = ["Via", "From", "To", "Call-ID", "CSeq"];
    trying.headers =
        message.headers.iter().filter(|(name, _)| copied.contains(&name.as_str())).cloned().collect();
    world.inject(1, &trying.to_string());
    world.run(SECOND * 60);
    let offsets = offsets(&world.sent_to(1, method("MESSAGE")));
    assert_eq!(offsets[..5], [0, 500, 1500, 5500, 9500], "{}", world.ladder());
    assert!(offsets.windows(2).skip(2).all(|pair| pair[1] - pair[0] == 4000), "{offsets:?}");
}

/// §17.2.1: a refusal is repeated up to T2 (timer G) until timer H (`fr_timer`) gives it up.
#[test]
fn g_and_h() {
    let mut world = called(6, Callee::Refuse(SECOND, 603));
    world.run(MILLISECOND * 500);
    world.network.lose(|flight| flight.to_proxy && flight.bytes.starts_with(b"ACK "));
    world.run(SECOND * 90);
    let times = world.sent_to(0, status(603));
    assert_eq!(offsets(&times), UP_TO_T2, "{}", world.ladder());
    world.assert_nothing_left("G and H");
}

/// §17.2.1: the ACK ends timer G; for T4 (timer I) repeated ACKs are absorbed, then the transaction is gone.
#[test]
fn i() {
    let mut world = called(7, Callee::Refuse(SECOND, 603));
    world.run(SECOND * 2);
    assert_eq!(world.sent_to(0, status(603)).len(), 1);
    let (ack, before) = (last(&world, 0, true, method("ACK")), world.seen.len());
    for _ in 0..6 {
        world.inject(0, &ack);
        world.run(SECOND);
    }
    assert_eq!(world.seen.len(), before + 6, "nothing answers or repeats an ACK\n{}", world.ladder());
    world.run(SECOND * 60);
    world.assert_nothing_left("I");
}

/// §17.2.2: as long as its client may repeat a request it gets the same response (timer J), and the callee hears it once.
#[test]
fn j() {
    let mut world = World::of_two(8);
    world.act(0, |phone, now| phone.ask(now, "MESSAGE", "bob", "message-1"));
    world.run(SECOND);
    let (request, reply) = (last(&world, 0, true, method("MESSAGE")), last(&world, 0, false, status(200)));
    for after in [SECOND, SECOND * 15, SECOND * 14] {
        world.run(after);
        world.inject(0, &request);
        world.run(MILLISECOND);
        assert_eq!(last(&world, 0, false, |message| message.status().is_some()), reply);
        assert_eq!(world.phones[1].requests.len(), 1, "{}", world.ladder());
    }
    assert_eq!(world.sent_to(0, status(200)).len(), 4);
    world.run(SECOND * 60);
    world.assert_nothing_left("J");
}

/// §17.1.2.2: repeated responses to another request are absorbed for T4 (timer K), and dropped after it.
#[test]
fn k() {
    let mut world = World::of_two(9);
    world.act(0, |phone, now| phone.ask(now, "MESSAGE", "bob", "message-1"));
    world.run(SECOND);
    let reply = last(&world, 1, true, status(200));
    for _ in 0..8 {
        world.inject(1, &reply);
        world.run(SECOND);
    }
    assert_eq!(world.sent_to(0, status(200)).len(), 1, "{}", world.ladder());
    world.run(SECOND * 60);
    world.assert_nothing_left("K");
}

/// RFC 6026 §7.1: for 64·T1 after a 2xx repeated INVITEs are absorbed (timer L): neither the callee nor the caller hears
/// of them.
#[test]
fn l() {
    let mut world = called(10, Callee::Answer(SECOND));
    world.run(SECOND * 2);
    let invite = last(&world, 0, true, method("INVITE"));
    let before = world.seen.len();
    for after in [SECOND, SECOND * 15, SECOND * 13] {
        world.run(after);
        world.inject(0, &invite);
        world.run(MILLISECOND);
    }
    assert_eq!(world.seen.len(), before + 3, "{}", world.ladder());
    world.act(0, |phone, now| phone.hang_up(now));
    world.run(SECOND * 60);
    world.assert_nothing_left("L");
}

/// RFC 6026 §7.2: for 64·T1 each repeated 2xx goes to the caller (timer M), whose ACKs pass end to end; later ones are
/// dropped (§16.7 as RFC 6026 §8.7 has it).
#[test]
fn m() {
    let mut world = called(11, Callee::Answer(SECOND));
    world.run(SECOND * 2);
    let answer = last(&world, 1, true, status(200));
    for (after, passes) in [(SECOND, true), (SECOND * 15, true), (SECOND * 13, true), (SECOND * 5, false)] {
        world.run(after);
        let before = [world.sent_to(0, status(200)).len(), world.sent_to(1, method("ACK")).len()];
        world.inject(1, &answer);
        world.run(MILLISECOND);
        let now = [world.sent_to(0, status(200)).len(), world.sent_to(1, method("ACK")).len()];
        let more = usize::from(passes);
        assert_eq!(now, before.map(|count| count + more), "after {after:?}\n{}", world.ladder());
    }
    world.act(1, |phone, now| phone.hang_up(now));
    world.run(SECOND * 60);
    world.assert_nothing_left("M");
}

/// §13.3.1.4: without any ACK the callee repeats its 2xx end to end for 64·T1, then hangs up.
#[test]
fn an_answer_is_never_acknowledged() {
    let mut world = called(12, Callee::Answer(SECOND));
    world.run(MILLISECOND * 500);
    world.network.lose(|flight| flight.bytes.starts_with(b"ACK "));
    world.run(SECOND * 40);
    let answered = |message: &Message| message.status() == Some(200) && message.cseq().1 == "INVITE";
    assert_eq!(offsets(&world.sent_to(0, answered))[..10], UP_TO_T2, "{}", world.ladder());
    assert_eq!((world.phones[0].ends[0], world.phones[1].ends[0]), (End::HungUpByPeer, End::NoAck));
    world.run(SECOND * 60);
    world.assert_nothing_left("no ACK");
}

/// §17.2.1: the first answer to an INVITE is a 100, and a repeated INVITE gets the last provisional response again.
#[test]
fn a_repeated_invite_is_absorbed() {
    let mut world = called(13, Callee::Ring);
    world.run(SECOND);
    let invite = last(&world, 0, true, method("INVITE"));
    world.inject(0, &invite);
    world.run(SECOND);
    assert_eq!(world.sent_to(0, status(180)).len(), 2, "{}", world.ladder());
    assert_eq!(world.sent_to(1, method("INVITE")).len(), 1);
    let first = world.seen.iter().rev().find(|seen| seen.message.status() == Some(100)).expect("a 100");
    assert!(!first.message.header("To").contains(";tag="), "a 100 makes no dialog");
    world.act(0, |phone, now| phone.cancel(now));
    world.run(SECOND * 60);
    world.assert_nothing_left("given up");
}
