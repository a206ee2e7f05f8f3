//! Lost, doubled and reordered messages: one at a time, then at random.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use e2e::sim::World;
use e2e::sim::network::Link;
use e2e::sim::phone::{Callee, End};
use media_core::command::LegKind::{self, Browser, Legacy};

const SECOND: Duration = Duration::from_secs(1);

/// What happens in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    CallerHangsUp,
    CalleeHangsUp,
    Busy,
    GivenUp,
    /// The caller gives up in the moment of the answer.
    Crossing,
    /// Two phones of one account ring, one answers.
    Forked,
    /// One of the two refuses, the other answers.
    ForkedBusy,
}

const STORIES: [Story; 7] = [
    Story::CallerHangsUp,
    Story::CalleeHangsUp,
    Story::Busy,
    Story::GivenUp,
    Story::Crossing,
    Story::Forked,
    Story::ForkedBusy,
];

/// Plays a story on the network that `prepare` makes; returns the world and the number of SIP datagrams of the call.
fn play(
    story: Story,
    kinds: (LegKind, LegKind),
    seed: u64,
    prepare: impl FnOnce(&mut World),
) -> (World, usize) {
    let mut world = World::of_kinds(seed, kinds.0, kinds.1);
    world.be_fair();
    if matches!(story, Story::Forked | Story::ForkedBusy) {
        let desk = world.phone("bob");
        world.act(desk, |phone, now| phone.register(now, 3600));
        world.run(SECOND);
        let refuses = Callee::Refuse(SECOND, 486);
        world.phones[desk].callee = if story == Story::Forked { Callee::Ring } else { refuses };
    }
    world.phones[1].callee = match story {
        Story::Busy => Callee::Refuse(SECOND, 486),
        Story::GivenUp => Callee::Ring,
        _ => Callee::Answer(SECOND * 2),
    };
    world.seen.clear();
    prepare(&mut world);
    let before = world.network.sip_datagrams;
    world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
    match story {
        Story::GivenUp => {
            world.run(SECOND * 3);
            world.act(0, |phone, now| phone.cancel(now));
        }
        Story::Crossing => {
            world.run_until(SECOND * 60, |world| world.phones[1].is_active());
            world.act(0, |phone, now| phone.cancel(now));
        }
        _ => {}
    }
    let both = |world: &World| world.phones[0].is_active() && world.phones[1].is_active();
    let over = |world: &World| world.phones.iter().all(|phone| phone.call.is_none());
    world.run_until(SECOND * 60, |world| both(world) || over(world));
    if both(&world) && story != Story::Crossing {
        world.run(SECOND * 3);
        let side = usize::from(story == Story::CalleeHangsUp);
        world.act(side, |phone, now| phone.hang_up(now));
    }
    let datagrams = world.play_out(before);
    (world, datagrams)
}

/// How the two ends see the end of the call when no more than one message is lost.
fn ends(story: Story) -> [&'static [End]; 2] {
    match story {
        Story::CallerHangsUp | Story::Forked | Story::ForkedBusy => [&[End::HungUp], &[End::HungUpByPeer]],
        Story::CalleeHangsUp => [&[End::HungUpByPeer], &[End::HungUp]],
        Story::Busy => [&[End::Refused(486)], &[End::Refused(486)]],
        Story::GivenUp => [&[End::Refused(487)], &[End::Cancelled]],
        Story::Crossing => [&[End::HungUp, End::Refused(487)], &[End::HungUpByPeer, End::Cancelled]],
    }
}

/// Every datagram of every story lost once, the first, the second … the last: it ends as if nothing had happened, at both
/// ends, and nothing is left.
#[test]
fn any_one_message_may_get_lost() {
    let mut runs = 0;
    for kinds in [(Legacy, Legacy), (Browser, Legacy), (Legacy, Browser)] {
        for story in STORIES {
            let (world, datagrams) = play(story, kinds, 1, |_| {});
            check(&world, story, "nothing lost");
            assert!(datagrams > 3, "{story:?} {kinds:?}");
            for lost in 0..datagrams {
                let (world, _) = play(story, kinds, 1, |world| {
                    let count = Cell::new(0);
                    world.network.lose(move |_| count.replace(count.get() + 1) == lost);
                });
                check(&world, story, &format!("{story:?} {kinds:?}, datagram {lost} lost"));
                runs += 1;
            }
        }
    }
    assert!(runs > 200, "{runs}");
}

fn check(world: &World, story: Story, what: &str) {
    for (side, expected) in ends(story).into_iter().enumerate() {
        let ends = &world.phones[side].ends;
        assert!(
            ends.len() == 1 && expected.contains(&ends[0]),
            "{what}: {side}: {ends:?}\n{}",
            world.ladder()
        );
    }
    assert!(world.relay.refused.borrow().is_empty(), "{what}: {:?}", world.relay.refused.borrow());
    world.assert_nothing_left(what);
}

/// Each kind of message lost three times in a row, on each side of the proxy.
#[test]
fn a_kind_of_message_may_get_lost_again_and_again() {
    let kinds: [(&str, Story); 9] = [
        ("INVITE", Story::CallerHangsUp),
        ("100", Story::CallerHangsUp),
        ("180", Story::CallerHangsUp),
        ("200 INVITE", Story::CallerHangsUp),
        ("ACK", Story::CallerHangsUp),
        ("BYE", Story::CalleeHangsUp),
        ("200 BYE", Story::CallerHangsUp),
        ("CANCEL", Story::GivenUp),
        ("487", Story::GivenUp),
    ];
    for (kind, story) in kinds {
        for to_proxy in [false, true] {
            let (world, _) = play(story, (Legacy, Legacy), 3, |world| {
                let lost = Rc::new(Cell::new(0));
                world.network.lose(move |flight| {
                    let text = String::from_utf8_lossy(&flight.bytes);
                    let hit = flight.to_proxy == to_proxy && is(&text, kind) && lost.get() < 3;
                    lost.set(lost.get() + u32::from(hit));
                    hit
                });
            });
            check(&world, story, &format!("{kind} lost, to the proxy: {to_proxy}"));
        }
    }
}

/// `INVITE`, `100`, or `200 BYE` with the method of CSeq.
fn is(text: &str, kind: &str) -> bool {
    let (start, method) = kind.split_once(' ').unwrap_or((kind, ""));
    let status = format!("SIP/2.0 {start} ");
    (text.starts_with(&format!("{start} ")) || text.starts_with(&status))
        && (method.is_empty() || text.contains(&format!(" {method}\r\n")))
}

/// A fifth of all datagrams lost, the others late, doubled and out of order, in two hundred networks: every call ends in
/// a defined state at both ends, and nothing is left of it.
#[test]
fn every_call_ends_on_a_bad_network() {
    let mut completed = 0;
    for seed in 0..200 {
        let story = STORIES[seed as usize % STORIES.len()];
        let kinds = [(Legacy, Legacy), (Browser, Legacy), (Legacy, Browser)][(seed / 7 % 3) as usize];
        let (world, _) = play(story, kinds, seed, |world| {
            world.network.sip = Link {
                latency: Duration::from_millis(10),
                jitter: Duration::from_millis(80),
                loss: 20,
                doubled: 5,
            };
        });
        let what = format!("seed {seed} {story:?} {kinds:?}");
        assert_eq!(world.phones[0].ends.len(), 1, "{what}\n{}", world.ladder());
        assert!(world.phones[1].ends.len() <= 1, "{what}\n{}", world.ladder());
        assert!(world.phones.iter().all(|phone| !phone.is_waiting()), "{what}");
        completed += u32::from(ends(story)[0].contains(&world.phones[0].ends[0]));
        world.assert_nothing_left(&what);
    }
    assert!(completed > 190, "nearly all go as if nothing had been lost: {completed}");
}

/// Forty messages in a row are lost, from any message of the call on: whatever becomes of it, nothing is left. Where even
/// the BYE was never heard, the relay's silence ends the call.
#[test]
fn a_gap_in_the_network_leaves_nothing() {
    for story in STORIES {
        for first in 0..20 {
            let (world, _) = play(story, (Legacy, Legacy), 5, |world| {
                let sent = Cell::new(0);
                world.network.lose(move |_| (first..first + 40).contains(&sent.replace(sent.get() + 1)));
            });
            // A phone whose network was gone may still believe in the call; the gateway must not.
            world.assert_gateway_is_clean(&format!("{story:?} {first}"));
        }
    }
}

/// The same seed gives the same run, message by message.
#[test]
fn a_run_can_be_repeated() {
    let run = || {
        let (world, _) = play(Story::Forked, (Legacy, Legacy), 42, |world| {
            world.network.sip = Link { jitter: Duration::from_millis(80), loss: 20, ..Link::default() };
        });
        world.seen.iter().map(|seen| (seen.at, seen.lost, seen.message.start.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// Stopping ends an answered call at both ends at once, on a bad network too, and refuses new ones.
#[test]
fn stopping_says_bye_to_both() {
    for seed in 0..20 {
        let mut world = World::of_two(seed);
        world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
        assert!(
            world.run_until(SECOND * 5, |world| world.phones[0].is_active() && world.phones[1].is_active())
        );
        world.network.sip = Link { latency: Duration::from_millis(10), loss: 20, ..Link::default() };
        world.shut_down();
        assert!(world.run_until(SECOND * 5, |world| world.proxy.is_idle()), "seed {seed}");
        world.run(SECOND * 60);
        let by_peer = world.phones.iter().all(|phone| phone.ends == [End::HungUpByPeer]);
        assert!(by_peer, "seed {seed}\n{}", world.ladder());
        world.assert_nothing_left(&format!("seed {seed}"));
    }
}
