//! What the gateway does on behalf of browsers, and what passes within a dialog, on a network that loses any one datagram:
//! PRACK, UPDATE, calls without an offer, refused offers. Each story ends with both ends hearing each other.

use std::cell::Cell;
use std::time::Duration;

use e2e::sim::World;
use e2e::sim::phone::{Callee, End, Manners};
use media_core::command::LegKind::{self, Browser, Legacy};

const SECOND: Duration = Duration::from_secs(1);

/// What happens in a call from Alice to Bob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// Alice requires reliable provisional responses, Bob rings.
    Required,
    /// The same, and Bob answers the offer while he rings.
    RequiredEarly,
    /// Alice says nothing of her media before the ACK.
    Offerless,
    /// The same, and she requires reliable provisional responses.
    OfferlessRequired,
    /// Alice, in a call, asks Bob for an offer.
    AsksForOffer,
    /// Alice offers anew while Bob, who has answered early, rings.
    EarlyUpdate,
    /// Bob does, who is called.
    EarlyUpdateOfCallee,
    /// Alice offers anew by UPDATE in a call.
    Update,
    /// Both offer anew at once and refuse each other (RFC 3261 §14.1); after a while Alice does it again.
    Glare,
    /// Bob refuses what Alice offers in a call, with this code.
    Refused(u16),
}

/// Who plays it: every browser in these is on one side alone.
const PAIRS: [(LegKind, LegKind); 3] = [(Legacy, Browser), (Browser, Legacy), (Legacy, Legacy)];

/// What phones cannot do that are JsSIP, or what their gateway does not do for phones.
fn is_played(story: Story, (alice, bob): (LegKind, LegKind)) -> bool {
    match story {
        Story::Required | Story::RequiredEarly | Story::OfferlessRequired => {
            (alice, bob) == (Legacy, Browser)
        }
        Story::EarlyUpdate => alice == Legacy,
        Story::EarlyUpdateOfCallee => bob == Legacy,
        _ => true,
    }
}

fn play(story: Story, kinds: (LegKind, LegKind), lost: Option<usize>) -> (World, usize) {
    let mut world = World::of_kinds(11, kinds.0, kinds.1);
    world.be_fair();
    world.phones.iter_mut().for_each(|phone| phone.audio.talking = true);
    world.phones[1].callee = Callee::Answer(SECOND * 3);
    world.phones[0].manners = Manners {
        requires_100rel: matches!(story, Story::Required | Story::RequiredEarly | Story::OfferlessRequired),
        offerless: matches!(story, Story::Offerless | Story::OfferlessRequired),
        ..Manners::default()
    };
    let early = [Story::RequiredEarly, Story::EarlyUpdate, Story::EarlyUpdateOfCallee];
    world.phones[1].manners.early_answer = early.contains(&story);
    let before = world.network.sip_datagrams;
    if let Some(lost) = lost {
        let count = Cell::new(0);
        world.network.lose(move |_| count.replace(count.get() + 1) == lost);
    }
    world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
    if matches!(story, Story::EarlyUpdate | Story::EarlyUpdateOfCallee) {
        let side = usize::from(story == Story::EarlyUpdateOfCallee);
        world.run_until(SECOND * 2, |world| world.phones.iter().all(e2e::sim::phone::Phone::is_early));
        if world.phones[side].is_early() {
            world.act(side, |phone, now| phone.update(now));
        }
    }
    let active = |world: &World| world.phones.iter().all(e2e::sim::phone::Phone::is_active);
    let what = format!("{story:?} {kinds:?} {lost:?}");
    assert!(world.run_until(SECOND * 40, active), "{what}: not answered\n{}", world.ladder());
    world.run(SECOND);
    within(&mut world, story);
    hears(&mut world, &what);
    world.act(1, |phone, now| phone.hang_up(now));
    world.run(SECOND * 45);
    let datagrams = world.network.sip_datagrams - before;
    world.network.lose_nothing();
    world.run(SECOND * 60);
    assert_eq!(world.phones[0].ends, [End::HungUpByPeer], "{what}\n{}", world.ladder());
    assert_eq!(world.phones[1].ends, [End::HungUp], "{what}\n{}", world.ladder());
    assert!(world.relay.refused.borrow().is_empty(), "{what}: {:?}", world.relay.refused.borrow());
    world.assert_nothing_left(&what);
    (world, datagrams)
}

/// What happens once the call is answered.
fn within(world: &mut World, story: Story) {
    let expected = match story {
        Story::AsksForOffer => {
            world.phones[0].manners.offerless = true;
            world.act(0, |phone, now| phone.reinvite(now, "sendrecv"));
            ("INVITE", 200)
        }
        Story::Update => {
            world.act(0, |phone, now| phone.update(now));
            ("UPDATE", 200)
        }
        Story::Glare => {
            for (side, direction) in [(0, "sendonly"), (1, "inactive")] {
                world.act(side, |phone, now| phone.reinvite(now, direction));
                world.phones[side].audio.direction = "sendrecv";
            }
            let settled = |world: &World| world.phones.iter().all(|phone| !phone.is_waiting());
            assert!(world.run_until(SECOND * 40, settled), "{story:?}\n{}", world.ladder());
            // Where one of the two was lost the other end has taken what came later.
            if world.phones.iter().all(|phone| phone.answers.is_empty()) {
                hears(world, "after the glare");
            }
            world.phones[0].answers.clear();
            world.act(0, |phone, now| phone.reinvite(now, "sendrecv"));
            ("INVITE", 200)
        }
        Story::Refused(code) => {
            hears(world, "before the refusal");
            world.phones[1].manners.refuses = code;
            // What is refused would have been silence.
            world.act(0, |phone, now| phone.reinvite(now, "inactive"));
            world.phones[0].audio.direction = "sendrecv";
            ("INVITE", code)
        }
        _ => return,
    };
    let done = |world: &World| {
        world.phones[0].answers.iter().any(|(method, code)| (method.as_str(), *code) == expected)
            || (expected.1 >= 300 && !world.sent_to(0, |m| m.status() == Some(expected.1)).is_empty())
    };
    assert!(world.run_until(SECOND * 40, done), "{story:?}\n{}", world.ladder());
}

/// From now on each hears the other.
fn hears(world: &mut World, what: &str) {
    world.run(SECOND * 2);
    world.phones.iter_mut().for_each(|phone| phone.audio.heard.clear());
    world.run(SECOND * 2);
    let heard = [0, 1].map(|side| world.phones[side].audio.heard.len());
    assert!(heard.iter().all(|count| *count > 90), "{what}: {heard:?}\n{}", world.ladder());
}

const STORIES: [Story; 11] = [
    Story::Required,
    Story::RequiredEarly,
    Story::Offerless,
    Story::OfferlessRequired,
    Story::AsksForOffer,
    Story::EarlyUpdate,
    Story::EarlyUpdateOfCallee,
    Story::Update,
    Story::Glare,
    Story::Refused(488),
    Story::Refused(491),
];

#[test]
fn any_one_message_of_a_dialog_may_get_lost() {
    let mut runs = 0;
    for kinds in PAIRS {
        for story in STORIES.into_iter().filter(|story| is_played(*story, kinds)) {
            let (world, datagrams) = play(story, kinds, None);
            assert!(datagrams > 3, "{story:?} {kinds:?}");
            check(&world, story, kinds);
            for lost in 0..datagrams {
                play(story, kinds, Some(lost));
                runs += 1;
            }
        }
    }
    assert!(runs > 150, "{runs}");
}

/// What the browser must not have seen, and who must have answered.
fn check(world: &World, story: Story, kinds: (LegKind, LegKind)) {
    let to = |side: usize, method: &str| world.sent_to(side, |m| m.method() == Some(method)).len();
    let reliable = |message: &e2e::sip::Message| !message.header("RSeq").is_empty();
    let browser = if kinds.0 == Browser { 0 } else { 1 };
    match story {
        Story::Required | Story::RequiredEarly => {
            assert_eq!((to(1, "PRACK"), world.sent_to(0, reliable).len()), (0, 1), "{}", world.ladder());
            assert!(world.phones[0].answers.contains(&("PRACK".to_owned(), 200)), "{}", world.ladder());
        }
        Story::OfferlessRequired => {
            assert!(
                world.sent_to(0, |m| matches!(m.status(), Some(101..=199))).is_empty(),
                "{}",
                world.ladder()
            );
        }
        Story::EarlyUpdate | Story::EarlyUpdateOfCallee if kinds != (Legacy, Legacy) => {
            assert_eq!(to(browser, "UPDATE"), 0, "{}", world.ladder());
        }
        _ => {}
    }
}
