//! Sound, keys and hold in every pairing.

use std::f64::consts::PI;
use std::sync::Arc;
use std::time::Duration;

use e2e::sim::World;
use e2e::sim::network::Link;
use media_core::codec::g711::encode_ulaw;
use media_core::command::LegKind::{self, Browser, Legacy};
use media_core::command::WavClip;

const SECOND: Duration = Duration::from_secs(1);
const PAIRS: [(LegKind, LegKind); 4] =
    [(Legacy, Legacy), (Browser, Legacy), (Legacy, Browser), (Browser, Browser)];

/// Alice calls Bob, both speak, and media flows; returns once each has heard something.
fn talking(seed: u64, alice: LegKind, bob: LegKind) -> World {
    talk(World::of_kinds(seed, alice, bob))
}

fn talk(mut world: World) -> World {
    world.talk();
    world
}

/// All that was spoken since `from` on is heard at the other end, byte for byte and in order.
fn assert_heard(world: &World, side: usize, at_most_missing: usize) {
    let (spoken, heard) = (&world.phones[1 - side].audio.spoken, &world.phones[side].audio.heard);
    let start = spoken.iter().position(|packet| *packet == heard[0]).expect("what is heard was spoken");
    assert!(start <= at_most_missing, "side {side}: {start} packets missing at the start");
    let length = heard.len().min(spoken.len() - start);
    assert_eq!(heard[..length], spoken[start..start + length], "side {side}");
    assert!(spoken.len() - start - length <= 2, "side {side}: only those in flight are missing");
}

fn hang_up(world: &mut World) {
    world.act(1, |phone, now| phone.hang_up(now));
    world.run(SECOND * 45);
    world.assert_nothing_left("after the call");
}

#[test]
fn sound_passes_byte_for_byte_in_every_pairing() {
    for (alice, bob) in PAIRS {
        let mut world = talking(1, alice, bob);
        world.run(SECOND * 20);
        for side in 0..2 {
            assert!(world.phones[side].audio.heard.len() > 900, "{alice:?} {bob:?}");
            assert_heard(&world, side, 60);
            assert_eq!(world.phones[side].audio.not_authentic, 0);
        }
        assert!(world.relay.refused.borrow().is_empty());
        hang_up(&mut world);
    }
}

#[test]
fn ends_without_a_common_codec_hear_each_other() {
    let (opus, pcmu, g722) = ("111 opus/48000/2", "0 PCMU/8000", "9 G722/8000");
    for ((alice, own), (bob, other)) in [
        ((Browser, opus), (Legacy, pcmu)),
        ((Legacy, pcmu), (Browser, opus)),
        ((Browser, opus), (Legacy, g722)),
        ((Browser, pcmu), (Browser, opus)),
        ((Legacy, g722), (Legacy, pcmu)),
    ] {
        let mut world = World::of_kinds(7, alice, bob);
        world.be_fair();
        world.phones[0].audio.only(own, 440.0);
        world.phones[1].audio.only(other, 1000.0);
        world.phones.iter_mut().for_each(|phone| phone.audio.talking = true);
        world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
        let heard = |world: &World| world.phones.iter().all(|phone| phone.audio.heard.len() > 100);
        assert!(world.run_until(SECOND * 15, heard), "{own} to {other}: silence\n{}", world.ladder());
        for (side, hertz) in [(0, 1000.0), (1, 440.0)] {
            let heard = world.phones[side].audio.hears();
            assert!(heard.is(hertz), "{own} to {other}, side {side}: {heard:?}");
        }
        world.act(0, |phone, _| phone.audio.press(5));
        world.run(SECOND);
        let keys: Vec<u8> = world.phones[1].audio.keys.iter().map(|key| key.code).collect();
        assert_eq!(keys, [5], "{own} to {other}");
        hang_up(&mut world);
    }
}

#[test]
fn keys_change_their_clock_on_the_way() {
    for (alice, bob) in PAIRS {
        let mut world = talking(2, alice, bob);
        for (side, code) in [(0, 5), (1, 11), (0, 0)] {
            world.act(side, |phone, _| phone.audio.press(code));
            world.run(SECOND);
        }
        for (side, expected) in [(0, vec![11]), (1, vec![5, 0])] {
            let audio = &world.phones[side].audio;
            let codes: Vec<u8> = audio.keys.iter().map(|key| key.code).collect();
            assert_eq!(codes, expected, "{alice:?} {bob:?} side {side}");
            for key in &audio.keys {
                // 100 ms, in whatever clock this end agreed to.
                assert_eq!(u32::from(key.duration), audio.event_clock / 10, "{alice:?} {bob:?}");
            }
        }
        let clocks = [0, 1].map(|side| world.phones[side].audio.event_clock);
        if (alice, bob) == (Browser, Legacy) {
            assert_eq!(clocks, [48_000, 8000]);
        }
        hang_up(&mut world);
    }
}

#[test]
fn hold_and_resume_survive_loss() {
    for (alice, bob) in PAIRS {
        for holder in 0..2 {
            for seed in 0..5 {
                let mut world = talking(seed, alice, bob);
                world.network.sip = Link {
                    latency: Duration::from_millis(20),
                    jitter: Duration::from_millis(100),
                    loss: 20,
                    doubled: 5,
                };
                for (direction, done) in [("sendonly", 1), ("sendrecv", 2)] {
                    world.act(holder, |phone, now| phone.reinvite(now, direction));
                    let answered = |world: &World| {
                        world.phones[holder].answers.iter().filter(|(m, _)| m == "INVITE").count() >= done
                    };
                    assert!(world.run_until(SECOND * 60, answered), "{}", world.ladder());
                    assert!(world.phones[holder].answers.iter().all(|(_, code)| *code == 200));
                    world.run(SECOND);
                    world.phones.iter_mut().for_each(|phone| phone.audio.heard.clear());
                    world.run(SECOND * 2);
                    let heard = [0, 1].map(|side| world.phones[side].audio.heard.len());
                    // The holder may speak on hold (music), the other may not.
                    let expected = if done == 1 { [false, true] } else { [true, true] };
                    let expected = if holder == 0 { expected } else { [expected[1], expected[0]] };
                    assert_eq!(
                        heard.map(|count| count > 90),
                        expected,
                        "{alice:?} {bob:?} {holder} {heard:?}"
                    );
                }
                world.network.sip = Link::default();
                hang_up(&mut world);
            }
        }
    }
}

/// A tone whose period fits into a packet: every packet of it is the same.
fn music() -> WavClip {
    let sample = |at: u32| ((f64::from(at) * PI / 4.0).sin() * 10_000.0) as i16;
    WavClip::new(8000, (0..8000).map(sample).collect::<Vec<_>>())
}

/// Whoever is held hears the gateway's music and nothing else, the holder nothing; then both hear each other again.
#[test]
fn music_on_hold() {
    for (alice, bob) in PAIRS {
        for holder in 0..2 {
            let mut world = World::with(3, |settings| settings.sounds.music_on_hold = Some("music".into()));
            world.relay.sounds.borrow_mut().push(("music".into(), Arc::new(music())));
            world.add("alice", alice);
            world.add("bob", bob);
            world.register_all();
            let mut world = talk(world);
            let packet: Vec<u8> = music().samples()[..160].iter().map(|it| encode_ulaw(*it)).collect();
            for (direction, done) in [("sendonly", 1), ("sendrecv", 2)] {
                world.act(holder, |phone, now| phone.reinvite(now, direction));
                let answered = |world: &World| world.phones[holder].answers.len() >= done;
                assert!(world.run_until(SECOND * 60, answered), "{}", world.ladder());
                world.run(SECOND);
                world.phones.iter_mut().for_each(|phone| phone.audio.heard.clear());
                world.run(SECOND * 3);
                let heard = [holder, 1 - holder].map(|side| &world.phones[side].audio.heard);
                let music = heard.map(|heard| heard.iter().filter(|it| **it == packet).count());
                let what = format!("{alice:?} {bob:?} {holder} {music:?}");
                match done {
                    1 => {
                        assert!(heard[0].is_empty(), "{what}");
                        assert!(music[1] > 140 && music[1] == heard[1].len(), "{what}");
                    }
                    _ => assert!(music == [0, 0] && heard.iter().all(|it| it.len() > 140), "{what}"),
                }
            }
            assert!(world.relay.unheard.borrow().is_empty(), "{:?}", world.relay.unheard.borrow());
            hang_up(&mut world);
        }
    }
}

/// What is not lost is heard unchanged, and nothing else.
#[test]
fn sound_on_a_lossy_network() {
    let bad =
        Link { latency: Duration::from_millis(10), jitter: Duration::from_millis(30), loss: 10, doubled: 0 };
    for (alice, bob) in PAIRS {
        let mut world = talking(7, alice, bob);
        world.phones.iter_mut().for_each(|phone| phone.audio.heard.clear());
        let before = [0, 1].map(|side| world.phones[side].audio.spoken.len());
        world.network.media = bad;
        world.run(SECOND * 10);
        for side in 0..2 {
            let (spoken, heard) = (&world.phones[1 - side].audio.spoken, &world.phones[side].audio.heard);
            assert!(heard.iter().all(|packet| spoken.contains(packet)), "{alice:?} {bob:?}");
            // Two hops of 10 % each leave 81 %.
            let (said, got) = (spoken.len() - before[1 - side], heard.len());
            assert!(got * 100 > said * 70 && got <= said + 2, "{alice:?} {bob:?}: {got} of {said}");
        }
        world.network.media = Link::default();
        hang_up(&mut world);
    }
}
