//! Calls that the gateway joins, because somebody transfers or because an operator says so: the two hear each other.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use e2e::sim::phone::End;
use e2e::sim::{DOMAIN, World};
use media_core::command::LegKind::{self, Browser, Legacy};
use signaling_core::settings::Referral;

const SECOND: Duration = Duration::from_secs(1);

/// Alice, Bob and Carol of these kinds; Alice has called Bob, and both speak.
fn talking(kinds: [LegKind; 3]) -> World {
    let mut world = World::with(7, |settings| settings.refer = Referral::Terminate);
    for (user, kind) in ["alice", "bob", "carol"].into_iter().zip(kinds) {
        world.add(user, kind);
    }
    world.register_all();
    world.seen.clear();
    world.talk();
    world
}

#[test]
fn the_two_who_are_joined_hear_each_other() {
    // Of two browsers the other one calls by itself.
    for number in (0..8).filter(|number| number & 3 != 3) {
        let kinds = [1, 2, 4].map(|bit| if number & bit == 0 { Legacy } else { Browser });
        let mut world = talking(kinds);
        world.act(0, |phone, now| phone.refer(now, "carol"));
        let joined = |world: &World| world.phones[2].audio.heard.len() > 50 && world.phones[0].call.is_none();
        assert!(world.run_until(SECOND * 15, joined), "{kinds:?}: not joined\n{}", world.ladder());
        assert_eq!(world.phones[0].ends, [End::HungUpByPeer], "{kinds:?}");
        let before = [1, 2].map(|phone| world.phones[phone].audio.heard.len());
        world.run(SECOND * 4);
        for (listener, speaker) in [(1, 2), (2, 1)] {
            let heard = &world.phones[listener].audio.heard;
            let fresh = &heard[before[listener - 1]..];
            assert!(fresh.len() >= 190, "{kinds:?}: {} of 200 packets\n{}", fresh.len(), world.ladder());
            let spoken = &world.phones[speaker].audio.spoken;
            assert!(fresh.iter().all(|packet| spoken.contains(packet)), "{kinds:?}: somebody else's voice");
        }
        let side = 1 + number % 2;
        world.act(side, |phone, now| phone.hang_up(now));
        world.run(SECOND * 45);
        world.assert_nothing_left("after the call");
    }
}

/// The operator bridges Alice and Bob.
fn bridge(world: &mut World) {
    world.seen.clear();
    world.phones.iter_mut().for_each(|phone| phone.audio.talking = true);
    let parties = ["alice", "bob"].map(|user| format!("sip:{user}@{DOMAIN}"));
    let now = world.now();
    world.proxy.bridge(now, "bridged", [&parties[0], &parties[1]], None).expect("two who can be called");
    world.run(Duration::ZERO);
}

/// Whether the first has heard what the other said lately.
fn hears(world: &World, listener: usize, from: usize) -> bool {
    let heard = &world.phones[listener].audio.heard[from..];
    heard.len() >= 190 && heard.iter().all(|packet| world.phones[1 - listener].audio.spoken.contains(packet))
}

#[test]
fn two_whom_an_operator_bridges_hear_each_other() {
    for number in 0..8 {
        let kinds = [1, 2].map(|bit| if number & bit == 0 { Legacy } else { Browser });
        let mut world = World::of_kinds(7, kinds[0], kinds[1]);
        bridge(&mut world);
        let joined = |world: &World| world.phones.iter().all(|phone| phone.audio.heard.len() > 50);
        assert!(world.run_until(SECOND * 15, joined), "{kinds:?}: not joined\n{}", world.ladder());
        let before = [0, 1].map(|phone| world.phones[phone].audio.heard.len());
        world.run(SECOND * 4);
        for listener in [0, 1] {
            assert!(hears(&world, listener, before[listener]), "{kinds:?}: {listener}\n{}", world.ladder());
        }
        world.act(number >> 2, |phone, now| phone.hang_up(now));
        world.run(SECOND * 45);
        world.assert_nothing_left("after the call");
    }
}

#[test]
fn any_one_message_of_a_bridge_may_get_lost() {
    let count = Rc::new(Cell::new(0));
    for lost in 0.. {
        let mut world = World::of_two(7);
        count.set(0);
        let counter = Rc::clone(&count);
        world.network.lose(move |_| counter.replace(counter.get() + 1) == lost);
        bridge(&mut world);
        let joined = |world: &World| world.phones.iter().all(|phone| phone.audio.heard.len() > 50);
        assert!(world.run_until(SECOND * 60, joined), "{lost}: not joined\n{}", world.ladder());
        world.act(1, |phone, now| phone.hang_up(now));
        world.run(SECOND * 90);
        world.assert_nothing_left("after the call");
        if lost >= count.get() {
            assert!(lost > 10, "only {lost} messages");
            return;
        }
    }
}

/// Any one message may get lost: the two are joined all the same, and nothing is left.
#[test]
fn any_one_message_of_a_transfer_may_get_lost() {
    let count = Rc::new(Cell::new(0));
    for lost in 0.. {
        let mut world = talking([Legacy; 3]);
        count.set(0);
        let counter = Rc::clone(&count);
        world.network.lose(move |_| counter.replace(counter.get() + 1) == lost);
        world.act(0, |phone, now| phone.refer(now, "carol"));
        let joined = |world: &World| world.phones[2].audio.heard.len() > 50 && world.phones[0].call.is_none();
        assert!(world.run_until(SECOND * 60, joined), "{lost}: not joined\n{}", world.ladder());
        world.act(1, |phone, now| phone.hang_up(now));
        world.run(SECOND * 90);
        world.assert_nothing_left("after the call");
        if lost >= count.get() {
            assert!(lost > 20, "only {lost} messages");
            return;
        }
    }
}
