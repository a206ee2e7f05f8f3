//! Users with several phones: serial, parallel and mixed forking, and voicemail, on networks that lose.

use std::cell::Cell;
use std::time::Duration;

use e2e::sim::World;
use e2e::sim::network::Link;
use e2e::sim::phone::{Callee, End};
use media_core::command::LegKind::{self, Browser, Legacy};
use signaling_core::settings::Voicemail;

const SECOND: Duration = Duration::from_secs(1);

/// Where a phone is that registers nothing.
const VOICEMAIL: usize = 4;

/// A story: what bob's three phones (1, 2, 3) do, with which q, and how the caller sees the end.
#[derive(Debug, Clone, Copy)]
struct Story {
    name: &'static str,
    phones: [(&'static str, Callee); 3],
    voicemail: bool,
    /// When the caller gives up, if he does.
    gives_up: Option<Duration>,
    ends: &'static [End],
}

const REFUSES: Callee = Callee::Refuse(SECOND, 486);
const ANSWERS: Callee = Callee::Answer(SECOND);
const STORY: Story = Story {
    name: "",
    phones: [("1", REFUSES), ("0.5", REFUSES), ("0.5", REFUSES)],
    voicemail: false,
    gives_up: None,
    ends: &[End::HungUp],
};

const STORIES: [Story; 9] = [
    Story {
        name: "refused, then answered",
        phones: [("1", REFUSES), ("0.5", ANSWERS), ("0.2", ANSWERS)],
        ..STORY
    },
    Story {
        name: "rings in vain, then answered",
        phones: [("1", Callee::Ring), ("0.5", Callee::Answer(Duration::from_secs(5))), ("0.5", Callee::Ring)],
        ..STORY
    },
    Story {
        name: "silent, then answered",
        phones: [("1", Callee::Silent), ("0.5", ANSWERS), ("", Callee::Ring)],
        ..STORY
    },
    Story { name: "all refuse", ends: &[End::Refused(486)], ..STORY },
    Story {
        name: "declined for all",
        phones: [("1", Callee::Refuse(SECOND, 603)), ("1", Callee::Ring), ("0.5", ANSWERS)],
        ends: &[End::Refused(603)],
        ..STORY
    },
    Story {
        name: "given up while the second rings",
        phones: [("1", REFUSES), ("0.5", Callee::Ring), ("0.2", ANSWERS)],
        gives_up: Some(Duration::from_secs(6)),
        ends: &[End::Refused(487)],
        ..STORY
    },
    Story {
        name: "answered in the moment of giving way",
        phones: [
            ("1", Callee::Answer(Duration::from_secs(30))),
            ("0.5", Callee::Answer(Duration::from_secs(10))),
            ("0.2", ANSWERS),
        ],
        ..STORY
    },
    Story { name: "voicemail answers", voicemail: true, ..STORY },
    Story {
        name: "nobody answers but voicemail",
        phones: [("1", Callee::Ring), ("0.5", Callee::Ring), ("0.5", Callee::Silent)],
        voicemail: true,
        ..STORY
    },
];

/// Plays a story on the network that `prepare` makes; returns the world and the number of SIP datagrams of the call.
fn play(
    story: &Story,
    kinds: (LegKind, LegKind),
    seed: u64,
    prepare: impl FnOnce(&mut World),
) -> (World, usize) {
    let mut world = World::with(seed, |settings| {
        let host = "10.0.1.5".to_owned();
        settings.voicemail = story.voicemail.then_some(Voicemail { host, port: 5060 });
    });
    add(&mut world, "alice", kinds.0);
    for (number, (q, callee)) in story.phones.into_iter().enumerate() {
        // One of the phones is a browser in some worlds: the media of each branch are another matter then.
        let phone = add(&mut world, "bob", if number == 1 { kinds.1 } else { Legacy });
        (world.phones[phone].q, world.phones[phone].callee) = (q, callee);
    }
    world.register_all();
    assert_eq!(add(&mut world, "voicemail", Legacy), VOICEMAIL);
    world.be_fair();
    world.seen.clear();
    prepare(&mut world);
    let before = world.network.sip_datagrams;
    world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
    if let Some(after) = story.gives_up {
        world.run(after);
        world.act(0, |phone, now| phone.cancel(now));
    }
    let over = |world: &World| world.phones.iter().all(|phone| phone.call.is_none());
    let talking = |world: &World| {
        world.phones[0].is_active() && world.phones[1..].iter().any(|phone| phone.is_active())
    };
    world.run_until(SECOND * 300, |world| talking(world) || over(world));
    if talking(&world) {
        world.run(SECOND * 3);
        world.act(0, |phone, now| phone.hang_up(now));
    }
    let datagrams = world.play_out(before);
    (world, datagrams)
}

fn add(world: &mut World, user: &str, kind: LegKind) -> usize {
    match kind {
        Browser => world.browser(user),
        Legacy => world.phone(user),
    }
}

fn check(world: &World, story: &Story, what: &str) {
    let what = format!("{}, {what}", story.name);
    assert_eq!(world.phones[0].ends, story.ends, "{what}\n{}", world.ladder());
    let talked = world.phones[1..].iter().filter(|phone| phone.ends.contains(&End::HungUpByPeer)).count();
    assert_eq!(talked, usize::from(story.ends == [End::HungUp]), "one talks: {what}\n{}", world.ladder());
    assert_eq!(world.phones[VOICEMAIL].ends.is_empty(), !story.voicemail, "{what}\n{}", world.ladder());
    assert!(world.relay.refused.borrow().is_empty(), "{what}: {:?}", world.relay.refused.borrow());
    world.assert_nothing_left(&what);
}

const KINDS: [(LegKind, LegKind); 3] = [(Legacy, Legacy), (Browser, Legacy), (Legacy, Browser)];

/// Every story as it is meant, then with every datagram of it lost once: the end is the same, and nothing is left.
#[test]
fn any_one_message_of_a_search_may_get_lost() {
    for (number, story) in STORIES.iter().enumerate() {
        for kinds in KINDS {
            let (world, _) = play(story, kinds, 1, |_| {});
            check(&world, story, &format!("nothing lost, {kinds:?}"));
        }
        let kinds = KINDS[number % KINDS.len()];
        let (_, datagrams) = play(story, kinds, 1, |_| {});
        for lost in 0..datagrams {
            let (world, _) = play(story, kinds, 1, |world| {
                let count = Cell::new(0);
                world.network.lose(move |_| count.replace(count.get() + 1) == lost);
            });
            check(&world, story, &format!("datagram {lost} lost, {kinds:?}"));
        }
    }
}

/// A fifth of all datagrams lost, the others late, doubled and out of order: every search ends in a defined state at all
/// ends, at most one phone talks, and nothing is left of it.
#[test]
fn every_search_ends_on_a_bad_network() {
    let mut as_meant = 0;
    for seed in 0..108 {
        let story = &STORIES[seed as usize % STORIES.len()];
        let kinds = KINDS[(seed / 9 % 3) as usize];
        let (world, _) = play(story, kinds, seed, |world| {
            world.network.sip = Link {
                latency: Duration::from_millis(10),
                jitter: Duration::from_millis(80),
                loss: 20,
                doubled: 5,
            };
        });
        let what = format!("seed {seed} {} {kinds:?}", story.name);
        assert_eq!(world.phones[0].ends.len(), 1, "{what}\n{}", world.ladder());
        assert!(world.phones.iter().all(|phone| !phone.is_waiting()), "{what}");
        as_meant += u32::from(world.phones[0].ends == story.ends);
        world.assert_nothing_left(&what);
    }
    assert!(as_meant > 95, "nearly all go as if nothing had been lost: {as_meant}");
}

/// The order of a search on the wire: q by q, each step when the one before has failed, or has rung for 30 s.
#[test]
fn a_search_goes_by_q() {
    let (world, _) = play(&STORIES[1], (Legacy, Legacy), 1, |_| {});
    let invited = [1, 2, 3].map(|phone| world.sent_to(phone, |m| m.method() == Some("INVITE"))[0]);
    let ringing = world.sent_to(0, |m| m.status() == Some(180))[0];
    assert_eq!(invited[1], invited[2], "the same q at once");
    assert_eq!(invited[1] - ringing, SECOND * 30, "{}", world.ladder());
    let cancelled = [1, 3].map(|phone| world.sent_to(phone, |m| m.method() == Some("CANCEL"))[0]);
    assert_eq!(cancelled[0], invited[1], "gives way");
    assert!(cancelled[1] - invited[2] >= SECOND * 5, "has lost");
}
