//! A transfer that the gateway carries out: whoever was transferred and whom he was sent to hear each other.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use e2e::sim::World;
use e2e::sim::phone::End;
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
