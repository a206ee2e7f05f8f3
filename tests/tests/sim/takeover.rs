//! A browser changes its network in the middle of a call: its WebSocket is another one, its call the same.

use std::time::Duration;

use e2e::sim::World;
use media_core::command::LegKind::{self, Browser, Legacy};

const SECOND: Duration = Duration::from_secs(1);
const PAIRS: [(LegKind, LegKind); 3] = [(Browser, Legacy), (Legacy, Browser), (Browser, Browser)];

/// Alice has called Bob, both speak.
fn talking(alice: LegKind, bob: LegKind) -> World {
    let mut world = World::of_kinds(7, alice, bob);
    world.talk();
    world
}

/// Within the next two seconds both hear most of what the other says.
fn assert_talking(world: &mut World, what: &str) {
    let before: Vec<usize> = world.phones.iter().map(|phone| phone.audio.heard.len()).collect();
    world.run(SECOND * 2);
    for (phone, before) in world.phones.iter().zip(before) {
        let heard = phone.audio.heard.len() - before;
        assert!(heard >= 95, "{what}: {} heard {heard} packets of 100\n{}", phone.user, world.ladder());
    }
}

fn register(world: &mut World, phone: usize) {
    let granted = world.phones[phone].registration.granted;
    world.act(phone, |phone, now| phone.register(now, 3600));
    let done = |world: &World| world.phones[phone].registration.granted > granted;
    assert!(world.run_until(SECOND * 5, done), "{}", world.ladder());
}

/// `phone` offers anew, and hears 200.
fn offer(world: &mut World, phone: usize, direction: &'static str) {
    let answers = world.phones[phone].answers.len();
    world.act(phone, |phone, now| phone.reinvite(now, direction));
    let answered = |world: &World| world.phones[phone].answers.len() > answers;
    assert!(world.run_until(SECOND * 3, answered), "not answered\n{}", world.ladder());
    assert_eq!(world.phones[phone].answers.last(), Some(&("INVITE".to_owned(), 200)));
}

#[test]
fn audio_goes_on_and_so_does_the_dialog() {
    for (alice, bob) in PAIRS {
        let mut world = talking(alice, bob);
        let browsers = [alice, bob].into_iter().enumerate().filter(|(_, kind)| *kind == Browser);
        let browsers: Vec<usize> = browsers.map(|(number, _)| number).collect();
        let mut old = Vec::new();
        for browser in &browsers {
            old.push(world.reopen(*browser));
            assert_talking(&mut world, "between the sockets");
            register(&mut world, *browser);
            assert_talking(&mut world, "on the new socket");
        }
        // The old sockets are still open as far as anybody knows: the other end is heard all the same.
        for phone in 0..2 {
            offer(&mut world, phone, "sendrecv");
        }
        assert_talking(&mut world, "after offers both ways");
        old.into_iter().for_each(|connection| world.time_out(connection));
        assert_talking(&mut world, "after the end of the old socket");
        offer(&mut world, 1 - browsers[0], "sendrecv");
        world.act(1 - browsers[0], |phone, now| phone.hang_up(now));
        world.run(SECOND * 45);
        world.assert_nothing_left("after the call");
    }
}

#[test]
fn another_page_takes_nothing_over() {
    let mut world = talking(Legacy, Browser);
    let other = world.browser("bob");
    world.phones[other].instance = "another".into();
    world.phones[other].contact = "sip:another@x8f2m1c9.invalid;transport=ws".into();
    register(&mut world, other);
    offer(&mut world, 0, "sendrecv");
    assert_talking_pair(&mut world);
    world.cut(1);
    world.act(0, |phone, now| phone.reinvite(now, "sendrecv"));
    world.run(SECOND * 2);
    assert!(world.phones[other].requests.is_empty() && world.phones[other].call.is_none());
    let to_other = |seen: &&e2e::sim::Seen| seen.phone == other && seen.message.method() == Some("INVITE");
    assert_eq!(world.seen.iter().filter(to_other).count(), 0, "{}", world.ladder());
}

fn assert_talking_pair(world: &mut World) {
    let before = [0, 1].map(|side| world.phones[side].audio.heard.len());
    world.run(SECOND * 2);
    assert!([0, 1].iter().all(|side| world.phones[*side].audio.heard.len() >= before[*side] + 95));
}
