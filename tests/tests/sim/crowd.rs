//! Hours of registrations, and many phones at once: nothing grows.

use std::time::Duration;

use e2e::sim::World;
use e2e::sim::network::Link;
use e2e::sim::phone::{Callee, End};
use signaling_core::event::{Event, Expiry};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Ten hours on a network that loses a fifth: the binding is never gone while its phone lives, and gone when it does not.
#[test]
fn registrations_are_refreshed_and_expire() {
    let mut world = World::of_two(1);
    let browser = world.browser("carol");
    world.act(browser, |phone, now| phone.register(now, 600));
    world.act(0, |phone, now| phone.register(now, 600));
    world.network.sip =
        Link { latency: Duration::from_millis(10), jitter: Duration::from_millis(50), loss: 20, doubled: 2 };
    world.run(SECOND * 5);
    for minute in 0..600 {
        assert_eq!(world.location.count(), (3, 3), "minute {minute}");
        world.run(SECOND * 60);
    }
    assert!(world.phones[0].registration.granted >= 119, "{:?}", world.phones[0].registration);
    assert!(world.phones[browser].registration.granted >= 119);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Expired { .. })));

    world.phones[0].deaf = true;
    world.run(SECOND * 320);
    let count = world.location.count();
    world.run(SECOND * 300);
    assert_eq!((count, world.location.count()), ((3, 3), (2, 2)), "it ran out with its own time, no earlier");
    world.cut(browser);
    assert_eq!(world.location.count(), (1, 1), "a browser is gone with its connection");
    for wanted in [Expiry::TimedOut, Expiry::ConnectionLost] {
        let told = |event: &&Event| matches!(event, Event::Expired { cause, .. } if *cause == wanted);
        assert_eq!(world.events.iter().filter(told).count(), 1, "{wanted:?}");
    }
    world.network.sip = Link::default();
    world.act(1, |phone, now| phone.register(now, 0));
    world.run(SECOND * 60);
    assert_eq!(world.location.count(), (0, 0));
    assert!(world.store.bindings.borrow().is_empty(), "and nothing is kept of them");
    world.assert_nothing_left("registrations");
}

/// A phone that is gone cannot be called; the caller hears it at once.
#[test]
fn nobody_is_called_after_expiry() {
    let mut world = World::of_two(2);
    world.phones[1].deaf = true;
    world.run(HOUR + SECOND * 10);
    world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
    world.run(SECOND * 60);
    assert_eq!(world.phones[0].ends, [End::Refused(480)]);
    world.assert_nothing_left("nobody there");
}

/// Ten thousand phones register, a thousand pairs of them talk at the same time, all hang up and unregister.
#[test]
fn ten_thousand_phones_and_a_thousand_calls() {
    let mut world = World::new(3);
    world.recording = false;
    world.network.sip =
        Link { latency: Duration::from_millis(10), jitter: Duration::from_millis(20), loss: 2, doubled: 1 };
    let phones = 10_000;
    for number in 0..phones {
        let user = format!("user{number}");
        if number % 10 == 9 {
            world.browser(&user)
        } else {
            world.phone(&user)
        };
    }
    world.register_all();
    assert_eq!(world.location.count(), (phones, phones));
    for caller in 0..1000 {
        let callee = format!("user{}", 9000 + caller);
        let id = format!("call-{caller}");
        world.phones[9000 + caller].callee = Callee::Answer(SECOND * 2);
        world.act(caller, |phone, now| phone.invite(now, &callee, &id, Some(SECOND * 30)));
    }
    world.run(SECOND * 15);
    let active = world.phones.iter().filter(|phone| phone.is_active()).count();
    assert_eq!((active, world.proxy.calls()), (2000, 1000), "all at the same time");
    world.run(SECOND * 200);
    let hung_up = world.phones[..1000].iter().filter(|phone| phone.ends == [End::HungUp]).count();
    assert_eq!(hung_up, 1000);
    world.assert_nothing_left("a thousand calls");
    for phone in 0..phones {
        world.act(phone, |phone, now| phone.register(now, 0));
    }
    world.run(SECOND * 100);
    assert_eq!(world.location.count(), (0, 0));
    assert!(world.store.bindings.borrow().is_empty());
    world.assert_nothing_left("ten thousand phones");
}
