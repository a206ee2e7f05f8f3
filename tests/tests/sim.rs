//! RFC 3261 §17 and whole calls in virtual time: two phones, the proxy and the relay, with seeded loss and reordering.

use std::time::Duration;

use e2e::sim::network::{Datagram, Weather};
use e2e::sim::phone::Manner;
use e2e::sim::{PROXY, World};
use e2e::sip::Message;

const SECOND: Duration = Duration::from_secs(1);

/// A call from ring to hang-up on a fair network: sound passes, nothing is sent twice, and nothing is left behind.
#[test]
fn a_call_on_a_fair_network() {
    let mut world = World::new(1);
    dial(&mut world);
    assert!(world.run_while(SECOND * 5, |w| w.phones.iter().all(|p| p.established)), "{}", world.ladder());
    assert_eq!(world.phones[0].provisionals, [180]);
    world.run(SECOND * 2);
    for side in 0..2 {
        let (spoken, heard) = (world.phones[1 - side].spoken(), &world.phones[side].heard);
        assert!(heard.len() as u32 >= spoken - 3, "{side}: heard {} of {spoken}", heard.len());
        assert!(heard.windows(2).all(|pair| pair[1] > pair[0]), "{side}: out of order");
    }
    hang_up(&mut world, 0);
    assert!(world.run_while(SECOND * 5, |w| w.phones[1].over), "{}", world.ladder());
    world.run(SECOND * 40);
    assert_eq!(world.times(PROXY, |m| m.method() == Some("INVITE")).len(), 1, "{}", world.ladder());
    assert_eq!(world.relay_sockets(), 0, "ports of the call are free again");
}

/// A hundred networks that lose a tenth of all datagrams and reorder the rest: every call is set up and ended at both ends.
#[test]
fn calls_survive_loss_and_reordering() {
    for seed in 0..100 {
        let weather =
            Weather { loss: 10, delay: Duration::from_millis(10), jitter: Duration::from_millis(80) };
        let mut world = World::with_weather(seed, weather);
        world.phones.iter_mut().for_each(|phone| phone.talking = false);
        dial(&mut world);
        let up = world.run_while(SECOND * 30, |w| w.phones.iter().all(|p| p.established));
        assert!(up, "seed {seed}\n{}", world.ladder());
        hang_up(&mut world, (seed % 2) as usize);
        let over = world.run_while(SECOND * 32, |w| w.phones.iter().all(|p| p.over));
        assert!(over, "seed {seed}\n{}", world.ladder());
        world.run(SECOND * 40);
        assert_eq!(world.phones[1].requests.iter().filter(|m| *m == "INVITE").count(), 1, "seed {seed}");
        assert_eq!(world.relay_sockets(), 0, "seed {seed}\n{}", world.ladder());
    }
}

/// Sound on a lossy network: what is not lost is heard, and nothing else.
#[test]
fn sound_survives_loss() {
    let weather = Weather { loss: 10, delay: Duration::from_millis(10), jitter: Duration::from_millis(30) };
    let mut world = World::with_weather(7, weather);
    dial(&mut world);
    assert!(world.run_while(SECOND * 30, |w| w.phones.iter().all(|p| p.established)), "{}", world.ladder());
    world.run(SECOND * 10);
    for side in 0..2 {
        let (spoken, heard) = (world.phones[1 - side].spoken(), world.phones[side].heard.len() as u32);
        // Two hops of 10 % each leave 81 %.
        assert!(heard > spoken * 70 / 100 && heard <= spoken, "{side}: heard {heard} of {spoken}");
    }
}

/// §17.1.1.2, timer A: an INVITE without any answer goes out at 0, 0.5, 1.5, 3.5, 7.5 and 15.5 s; then 408.
#[test]
fn timer_a_doubles() {
    let mut world = World::new(2);
    world.phones[1].manner = Manner::Silent;
    dial(&mut world);
    world.run(SECOND * 40);
    let times = offsets(&world.times(PROXY, |m| m.method() == Some("INVITE")));
    assert_eq!(times[..6.min(times.len())], [0, 500, 1500, 3500, 7500, 15_500], "{}", world.ladder());
    assert!(times.len() <= 7, "64*T1 allows seven copies: {times:?}");
    assert_eq!(world.phones[0].finals, [("INVITE".to_owned(), 408)], "{}", world.ladder());
}

/// §17.1.2.2, timers E and F: another request goes out with pauses that double up to T2; then 408.
#[test]
fn timer_e_doubles_up_to_t2() {
    let mut world = World::new(3);
    world.phones[1].manner = Manner::Silent;
    let now = world.now();
    world.phones[0].ask(now, "MESSAGE", "bob");
    world.run(SECOND * 40);
    let times = offsets(&world.times(PROXY, |m| m.method() == Some("MESSAGE")));
    assert_eq!(times[..7.min(times.len())], [0, 500, 1500, 3500, 7500, 11_500, 15_500], "{}", world.ladder());
    assert!(times.len() <= 11, "64*T1 allows eleven copies: {times:?}");
    assert_eq!(world.phones[0].finals, [("MESSAGE".to_owned(), 408)], "{}", world.ladder());
}

/// §17.2.1, timers G and H: a refusal whose ACK never comes is repeated with pauses up to T2, and given up.
#[test]
fn timer_g_repeats_a_refusal() {
    let mut world = World::new(4);
    world.phones[1].manner = Manner::Refuses(486);
    let alice = world.phones[0].address;
    // The ACK of the challenge passes, that of the refusal does not.
    let mut acknowledged = 0;
    world.network.lose(move |d| {
        let ack = d.from == alice && is(d, "ACK");
        acknowledged += u32::from(ack);
        ack && acknowledged > 1
    });
    dial(&mut world);
    world.run(SECOND * 60);
    let times = offsets(&world.times(PROXY, |m| m.status() == Some(486)));
    assert_eq!(times[..6.min(times.len())], [0, 500, 1500, 3500, 7500, 11_500], "{}", world.ladder());
    assert!(times.last().is_some_and(|last| *last <= 32_500), "given up after 64*T1: {times:?}");
}

/// §17.1.1.3: the ACK of a refusal gets lost on the way to the callee; each repetition is acknowledged, and the caller
/// hears of it once.
#[test]
fn a_lost_ack_of_a_refusal_is_sent_again() {
    let mut world = World::new(5);
    world.phones[1].manner = Manner::Refuses(603);
    let bob = world.phones[1].address;
    let mut lost = 0;
    world.network.lose(move |d| {
        let hit = d.to == bob && is(d, "ACK") && lost < 3;
        lost += u32::from(hit);
        hit
    });
    dial(&mut world);
    world.run(SECOND * 20);
    let acks = world.times(PROXY, |m| m.method() == Some("ACK"));
    assert_eq!(acks.len(), 4, "{}", world.ladder());
    assert_eq!(world.phones[0].finals, [("INVITE".to_owned(), 603)]);
}

/// §13.3.1.4: the ACK of a 2xx gets lost; the callee repeats its answer, the proxy passes it each time (RFC 6026), the
/// caller acknowledges each time, and the call stands.
#[test]
fn a_lost_ack_of_an_answer_is_sent_again() {
    for lost_at in ["caller", "callee"] {
        let mut world = World::new(6);
        let (alice, bob) = (world.phones[0].address, world.phones[1].address);
        let mut lost = 0;
        let mut challenged = false;
        world.network.lose(move |d| {
            let there = if lost_at == "caller" { d.from == alice } else { d.to == bob };
            if !there || !is(d, "ACK") {
                return false;
            }
            // The first ACK of the caller is that of the challenge.
            if lost_at == "caller" && !challenged {
                challenged = true;
                return false;
            }
            lost += 1;
            lost <= 3
        });
        dial(&mut world);
        let up = world.run_while(SECOND * 20, |w| w.phones.iter().all(|p| p.established));
        assert!(up, "{lost_at}\n{}", world.ladder());
        let answers = world.times(PROXY, |m| m.status() == Some(200) && m.cseq().1 == "INVITE");
        assert_eq!(answers.len(), 4, "{lost_at}\n{}", world.ladder());
        hang_up(&mut world, 1);
        assert!(world.run_while(SECOND * 5, |w| w.phones[0].over), "{lost_at}\n{}", world.ladder());
    }
}

/// The answer itself gets lost between proxy and caller: the callee's repetition brings it.
#[test]
fn a_lost_answer_comes_again() {
    let mut world = World::new(8);
    let alice = world.phones[0].address;
    let mut lost = 0;
    world.network.lose(move |d| {
        let hit = d.to == alice && message(d).is_some_and(|m| m.status() == Some(200)) && lost < 2;
        lost += u32::from(hit);
        hit
    });
    dial(&mut world);
    assert!(world.run_while(SECOND * 20, |w| w.phones.iter().all(|p| p.established)), "{}", world.ladder());
}

/// Every provisional response gets lost: the caller's repeated INVITEs are absorbed, and the callee sees one.
#[test]
fn a_repeated_invite_is_absorbed() {
    let mut world = World::new(9);
    world.phones[1].manner = Manner::Answers(SECOND * 6);
    let alice = world.phones[0].address;
    world
        .network
        .lose(move |d| d.to == alice && message(d).is_some_and(|m| m.status().is_some_and(|s| s < 200)));
    dial(&mut world);
    assert!(world.run_while(SECOND * 20, |w| w.phones.iter().all(|p| p.established)), "{}", world.ladder());
    let repeated = world.times(alice, |m| m.method() == Some("INVITE") && m.cseq().0 == 2);
    assert!(repeated.len() >= 3, "{}", world.ladder());
    assert_eq!(world.phones[1].requests.iter().filter(|m| *m == "INVITE").count(), 1);
}

/// §9: the caller gives up while it rings; the callee is told and the caller gets 487, although datagrams get lost.
#[test]
fn a_cancel_survives_loss() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.phones[1].manner = Manner::Rings;
        dial(&mut world);
        assert!(world.run_while(SECOND * 5, |w| w.phones[0].provisionals == [180]), "{}", world.ladder());
        world.network.weather = Weather { loss: 25, ..Weather::default() };
        let now = world.now();
        world.phones[0].cancel(now);
        world.run(SECOND * 32);
        assert!(
            world.phones[0].finals.contains(&("INVITE".to_owned(), 487)),
            "seed {seed}\n{}",
            world.ladder()
        );
        assert!(world.phones[1].requests.contains(&"CANCEL".to_owned()), "seed {seed}\n{}", world.ladder());
        world.network.weather = Weather::default();
        world.run(SECOND * 40);
        assert_eq!(world.relay_sockets(), 0, "seed {seed}");
    }
}

/// §16.8, timer C: nobody rings for ever. After `fr_inv_timer` (120 s) the callee is cancelled and the caller gets a refusal.
#[test]
fn nobody_rings_for_ever() {
    let mut world = World::new(10);
    world.phones[1].manner = Manner::Rings;
    dial(&mut world);
    world.run(SECOND * 115);
    assert!(world.phones[0].finals.is_empty(), "{}", world.ladder());
    world.run(SECOND * 30);
    assert!(world.phones[1].requests.contains(&"CANCEL".to_owned()), "{}", world.ladder());
    assert!(matches!(world.phones[0].finals[..], [(_, 408 | 480 | 487)]), "{:?}", world.phones[0].finals);
}

/// A BYE and its answer get lost again and again: the call ends all the same.
#[test]
fn a_lost_bye_is_sent_again() {
    let mut world = World::new(11);
    dial(&mut world);
    assert!(world.run_while(SECOND * 5, |w| w.phones.iter().all(|p| p.established)), "{}", world.ladder());
    let mut lost = 0;
    world.network.lose(move |d| {
        let hit = message(d).is_some_and(|m| m.cseq().1 == "BYE") && lost < 4;
        lost += u32::from(hit);
        hit
    });
    hang_up(&mut world, 0);
    assert!(world.run_while(SECOND * 20, |w| w.phones[1].over), "{}", world.ladder());
    assert!(world.run_while(SECOND * 10, |w| w.phones[0].finals.contains(&("BYE".to_owned(), 200))));
    assert_eq!(world.phones[1].requests.iter().filter(|m| *m == "BYE").count(), 1);
}

/// Stopping ends the call at both ends at once.
#[test]
fn stopping_says_bye_to_both() {
    let mut world = World::new(12);
    dial(&mut world);
    assert!(world.run_while(SECOND * 5, |w| w.phones.iter().all(|p| p.established)), "{}", world.ladder());
    world.shut_down();
    let stopped = world.run_while(SECOND * 5, |w| w.is_idle() && w.phones.iter().all(|p| p.over));
    assert!(stopped, "{}", world.ladder());
}

/// The same seed gives the same run, message by message.
#[test]
fn a_run_can_be_repeated() {
    let run = || {
        let weather =
            Weather { loss: 20, delay: Duration::from_millis(10), jitter: Duration::from_millis(80) };
        let mut world = World::with_weather(42, weather);
        dial(&mut world);
        world.run(SECOND * 20);
        world.seen.iter().map(|seen| (seen.at, seen.message.start.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

fn dial(world: &mut World) {
    let now = world.now();
    world.phones[0].dial(now, "bob");
}

fn hang_up(world: &mut World, side: usize) {
    let now = world.now();
    world.phones[side].hang_up(now);
}

/// Milliseconds since the first of them.
fn offsets(times: &[Duration]) -> Vec<u64> {
    let first = times.first().copied().unwrap_or_default();
    times.iter().map(|at| (*at - first).as_millis() as u64).collect()
}

fn message(datagram: &Datagram) -> Option<Message> {
    Message::parse(&datagram.bytes).ok()
}

fn is(datagram: &Datagram, method: &str) -> bool {
    message(datagram).is_some_and(|m| m.method() == Some(method))
}
