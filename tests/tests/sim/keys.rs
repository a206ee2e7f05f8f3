//! Keys between ends that do not press them alike: as telephone-events, as tones, as INFO.

use std::time::Duration;

use e2e::sim::World;
use media_core::command::LegKind::{self, Browser, Legacy};
use signaling_core::settings::Keys;

const SECOND: Duration = Duration::from_secs(1);

/// How a key is pressed, and how it is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Event,
    Tone,
    Info,
}

/// An end: its kind, whether it has telephone-event, and what the operator knows of it.
type End = (LegKind, bool, Keys);

fn world(seed: u64, ends: [End; 2]) -> World {
    let names = ["alice", "bob"];
    let mut world = World::with(seed, |settings| {
        let rules = names.iter().zip(ends).map(|(name, (.., keys))| ((*name).to_owned(), keys));
        settings.dtmf.ends = rules.filter(|(_, keys)| *keys != Keys::Agreed).collect();
    });
    for (at, (name, (kind, events, _))) in names.into_iter().zip(ends).enumerate() {
        world.add(name, kind);
        world.phones[at].audio.events = events;
    }
    world.register_all();
    world
}

/// What Bob has heard of keys: events, tones, INFO.
fn heard(world: &World) -> [String; 3] {
    const KEYS: &str = "0123456789*#ABCD";
    let bob = &world.phones[1];
    let show = |codes: Vec<u8>| -> String {
        codes.into_iter().filter_map(|code| KEYS.chars().nth(code.into())).collect()
    };
    let signal = |body: &str| body.lines().find_map(|line| line.strip_prefix("Signal=")?.chars().next());
    let infos = bob.requests.iter().filter(|request| request.method() == Some("INFO"));
    [
        show(bob.audio.keys.iter().map(|key| key.code).collect()),
        show(bob.audio.heard_tones()),
        infos.filter_map(|info| signal(&info.body)).collect(),
    ]
}

fn press(world: &mut World, by: By, code: u8, key: char) {
    world.act(0, |phone, now| match by {
        By::Event => phone.audio.press(code),
        By::Tone => phone.audio.press_tone(code),
        By::Info => phone.info(now, key),
    });
    world.run(SECOND);
}

/// Whoever calls, and whatever the two have: each of the six ways from one form to another, and each form as it is.
#[test]
fn keys_are_heard_by_whom_they_are_for() {
    let agreed = Keys::Agreed;
    for (a, by, b, to, refuses) in [
        ((Browser, true, agreed), By::Event, (Legacy, true, agreed), By::Event, false),
        ((Browser, true, agreed), By::Event, (Legacy, false, agreed), By::Tone, false),
        ((Browser, true, agreed), By::Event, (Legacy, true, Keys::Tones), By::Tone, false),
        ((Browser, true, agreed), By::Event, (Legacy, false, Keys::Info), By::Info, false),
        ((Legacy, true, agreed), By::Event, (Legacy, true, Keys::Info), By::Info, false),
        ((Legacy, false, agreed), By::Tone, (Legacy, false, agreed), By::Tone, false),
        ((Legacy, false, agreed), By::Tone, (Legacy, true, Keys::Events), By::Event, false),
        ((Legacy, true, Keys::Tones), By::Tone, (Legacy, true, agreed), By::Event, false),
        ((Legacy, false, agreed), By::Tone, (Legacy, false, Keys::Info), By::Info, false),
        ((Browser, true, agreed), By::Info, (Legacy, true, agreed), By::Info, false),
        ((Browser, true, agreed), By::Info, (Legacy, true, agreed), By::Event, true),
        ((Browser, true, agreed), By::Info, (Legacy, true, Keys::Events), By::Event, false),
        ((Browser, true, agreed), By::Info, (Legacy, false, agreed), By::Tone, true),
        ((Browser, true, agreed), By::Info, (Legacy, true, Keys::Tones), By::Tone, false),
        ((Legacy, true, Keys::Info), By::Info, (Legacy, true, agreed), By::Event, false),
        ((Legacy, false, agreed), By::Info, (Browser, true, agreed), By::Info, false),
    ] {
        for bob_calls in [false, true] {
            let mut world = world(5, [a, b]);
            world.phones[1].manners.no_info = refuses;
            match bob_calls {
                true => world.talk_from(1),
                false => world.talk(),
            }
            world.phones[1].audio.heard.clear();
            for (code, key) in [(5, '5'), (11, '#'), (0, '0')] {
                press(&mut world, by, code, key);
            }
            let what = format!("{a:?} by {by:?} to {b:?}, refuses: {refuses}, Bob calls: {bob_calls}");
            let [events, tones, infos] = heard(&world);
            // A tone has begun before it is known for one, and goes on in the sound where it is told by INFO.
            let leaks = by == By::Tone;
            let expected = |form: By| if form == to { "5#0" } else { "" };
            assert_eq!(events, expected(By::Event), "{what}\n{}", world.ladder());
            assert!(tones == expected(By::Tone) || leaks, "{what}: {tones}");
            assert_eq!(infos, if refuses { "5#0" } else { expected(By::Info) }, "{what}\n{}", world.ladder());
            // Who has pressed it by INFO is content.
            assert!(world.phones[0].answers.iter().all(|(_, code)| *code == 200), "{what}");
            world.act(1, |phone, now| phone.hang_up(now));
            world.run(SECOND * 45);
            world.assert_nothing_left(&what);
        }
    }
}
