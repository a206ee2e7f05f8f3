use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use super::*;
use crate::flow::{Destination, Protocol};
use crate::outside::SharedText;
use crate::settings::MatchingMode;

const NOW: u64 = 1_000_000;
const AOR: &str = "alice@sip.example";
const RULES: Rules = Rules { max_contacts: 3, matching_mode: MatchingMode::Contact, cseq_delay: 20 };

fn flow(protocol: Protocol, port: u16, connection: u64) -> Flow {
    Flow {
        protocol,
        local: "192.0.2.1:5060".parse().expect("address"),
        remote: SocketAddr::from(([198, 51, 100, 7], port)),
        connection: protocol.is_reliable().then_some(ConnectionId(connection)),
    }
}

static USER_AGENT: LazyLock<SharedText> = LazyLock::new(SharedText::default);

/// Its row is named as its contact is.
fn contact(uri: &str, flow: Flow, expires: u64) -> BindingRow<'_> {
    BindingRow {
        ruid: uri,
        contact: uri,
        received: flow.remote,
        protocol: flow.protocol,
        local: None,
        path: "",
        expires_at: NOW + expires,
        last_modified: NOW,
        q: 1000,
        call_id: "c1",
        cseq: 1,
        user_agent: &USER_AGENT,
        instance: "",
        reg_id: 0,
        methods: u32::MAX,
    }
}

fn browser<'a>(instance: &'a str, uri: &'a str, flow: Flow, call_id: &'a str) -> BindingRow<'a> {
    BindingRow { instance, reg_id: 1, call_id, ..contact(uri, flow, 600) }
}

fn register_at(
    location: &Location,
    flow: Flow,
    contacts: Vec<BindingRow<'_>>,
    rules: Rules,
    now: u64,
) -> Result<Updated, Rejected> {
    let (call_id, cseq) = contacts.first().map_or(("c1", 1), |c| (c.call_id, c.cseq));
    let local = Arc::new(flow.local);
    let kept = |contact| BindingRow { local: Some(&local), ..contact };
    let changes = Changes::Each(contacts.into_iter().map(kept).map(StoredBinding::from).collect());
    location.update(Registration { aor: AOR, call_id, cseq, flow, changes, rules }, now)
}

fn register(location: &Location, flow: Flow, contacts: Vec<BindingRow<'_>>) -> Result<Updated, Rejected> {
    register_at(location, flow, contacts, RULES, NOW)
}

fn uris(location: &Location, at: u64) -> Vec<String> {
    location.bindings(AOR, at).into_iter().map(|binding| binding.stored.contact().to_owned()).collect()
}

fn lost(location: &Location, connection: u64, usrloc: Usrloc) -> Vec<Gone> {
    location.connection_lost(ConnectionId(connection), &usrloc, NOW)
}

/// What a store need not write whole.
#[test]
fn a_refresh_is_a_renewal_and_nothing_else_is() {
    let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
    let (one, other) = (contact("sip:a@198.51.100.7", udp, 60), contact("sip:a@198.51.100.8", udp, 120));
    let later = |row, cseq| BindingRow { cseq, expires_at: NOW + 600, ..row };
    let registered = |contacts| register(&location, udp, contacts).unwrap().renewal;
    assert!(!registered(vec![one]));
    assert!(registered(vec![later(one, 2)]));
    assert!(!registered(vec![other]), "a second contact");
    assert!(registered(vec![later(other, 2)]), "with the first one as it was");
    let moved = flow(Protocol::Udp, 5062, 0);
    let elsewhere = BindingRow { received: moved.remote, ..later(one, 3) };
    assert!(!register(&location, moved, vec![elsewhere]).unwrap().renewal, "from another port");
    let gone = BindingRow { expires_at: NOW, ..later(other, 3) };
    assert!(!registered(vec![gone]), "one that goes");
    let after = |cseq, now| {
        let row =
            BindingRow { ruid: "fresh", received: moved.remote, expires_at: now + 60, ..later(one, cseq) };
        register_at(&location, moved, vec![row], RULES, now).unwrap().renewal
    };
    assert!(after(4, NOW), "it keeps the name of its row");
    assert!(!after(5, NOW + 3600), "it had run out before");
}

#[test]
fn contacts_run_out_one_by_one() {
    let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
    let short = contact("sip:a@198.51.100.7", udp, 60);
    let long = contact("sip:a@198.51.100.8", udp, 120);
    register(&location, udp, vec![short, long]).expect("two contacts");
    assert_eq!(uris(&location, NOW), ["sip:a@198.51.100.7", "sip:a@198.51.100.8"]);
    assert_eq!(uris(&location, NOW + 60), ["sip:a@198.51.100.8"]);
    assert_eq!(location.count(), (1, 2));
    let expired = location.expire(NOW + 60);
    assert_eq!((expired.len(), expired[0].cause), (1, Expiry::TimedOut));
    assert_eq!(location.expire(NOW + 60).len(), 0, "each is returned once");
    assert_eq!(location.expire(NOW + 119).len(), 0);
    assert_eq!(location.expire(NOW + 120).len(), 1);
    assert_eq!(location.count(), (0, 0));
}

#[test]
fn an_update_is_applied_whole_or_not_at_all() {
    let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
    let first = BindingRow { cseq: 5, ..contact("sip:a@198.51.100.7", udp, 60) };
    register(&location, udp, vec![first]).expect("first");
    let late = BindingRow { cseq: 4, expires_at: NOW + 900, ..contact("sip:b@198.51.100.9", udp, 60) };
    let stale = BindingRow { cseq: 4, ..first };
    assert_eq!(register(&location, udp, vec![late, stale]).err(), Some(Rejected::OutOfOrder));
    assert_eq!(uris(&location, NOW), ["sip:a@198.51.100.7"]);
    let many = ["sip:x0@198.51.100.7", "sip:x1@198.51.100.7", "sip:x2@198.51.100.7"];
    let many = many.map(|uri| contact(uri, udp, 60)).to_vec();
    assert_eq!(register(&location, udp, many).err(), Some(Rejected::TooManyContacts));
    assert_eq!(uris(&location, NOW), ["sip:a@198.51.100.7"]);
}

#[test]
fn a_repeated_request_is_no_mistake_for_a_while() {
    let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
    let first = contact("sip:a@198.51.100.7", udp, 60);
    register(&location, udp, vec![first]).expect("first");
    let again = |now| register_at(&location, udp, vec![first], RULES, now);
    let updated = again(NOW + 19).expect("a repetition");
    assert!(updated.outcome.registered.is_empty() && updated.bindings.len() == 1);
    assert_eq!(again(NOW + 20).err(), Some(Rejected::OutOfOrder));
}

#[test]
fn an_update_is_undone_unless_overtaken() {
    let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
    register(&location, udp, vec![contact("sip:a@198.51.100.7", udp, 60)]).expect("first");
    let second = register(&location, udp, vec![contact("sip:b@198.51.100.7", udp, 60)]).expect("second");
    location.restore(AOR, second.before, second.version);
    assert_eq!(uris(&location, NOW), ["sip:a@198.51.100.7"]);
    let third = register(&location, udp, vec![contact("sip:c@198.51.100.7", udp, 60)]).expect("third");
    register(&location, udp, vec![contact("sip:d@198.51.100.7", udp, 60)]).expect("fourth");
    location.restore(AOR, third.before, third.version);
    assert_eq!(uris(&location, NOW).len(), 3);
}

#[test]
fn a_contact_leaves_by_expires_0_or_by_the_star() {
    let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
    let a = contact("sip:a@198.51.100.7", udp, 60);
    let b = contact("sip:b@198.51.100.7", udp, 60);
    register(&location, udp, vec![a, b]).expect("registered");
    let gone = BindingRow { expires_at: NOW, cseq: 2, ..a };
    let updated = register(&location, udp, vec![gone]).expect("unregistered");
    let outcome = updated.outcome;
    assert_eq!((outcome.registered.len(), outcome.removed.len(), updated.bindings.len()), (0, 1, 1));
    let everything = Registration {
        aor: AOR,
        call_id: "c1",
        cseq: 3,
        flow: udp,
        changes: Changes::RemoveAll,
        rules: RULES,
    };
    assert_eq!(location.update(everything, NOW).expect("star").outcome.removed.len(), 1);
    assert!(uris(&location, NOW).is_empty());
}

/// Kamailio's `matching_mode`: whether the second registration renews the first (one binding) or stands beside it (two).
#[test]
fn the_matching_mode_says_what_one_contact_is() {
    let udp = flow(Protocol::Udp, 5060, 0);
    let first = contact("sip:a@198.51.100.7", udp, 60);
    let same = BindingRow { cseq: 2, ..first };
    let other_call = BindingRow { call_id: "c2", ..first };
    let other_path = BindingRow { path: "<sip:p.example;lr>", cseq: 2, ..first };
    let other_uri = BindingRow { cseq: 2, ..contact("sip:b@198.51.100.7", udp, 60) };
    use MatchingMode::{CallId, Contact, ContactCallId, ContactPath};
    for (mode, expected) in [
        (Contact, [1, 1, 1, 2]),
        (ContactCallId, [1, 2, 1, 2]),
        (ContactPath, [1, 1, 2, 2]),
        (CallId, [1, 2, 1, 1]),
    ] {
        let rules = Rules { matching_mode: mode, ..RULES };
        let count = [same, other_call, other_path, other_uri].map(|second| {
            let location = Location::new();
            register_at(&location, udp, vec![first], rules, NOW).expect("first");
            register_at(&location, udp, vec![second], rules, NOW).expect("second");
            location.count().1
        });
        assert_eq!(count, expected, "{mode:?}");
    }
}

#[test]
fn the_same_instance_replaces_its_binding() {
    let location = Location::new();
    let (old, new) = (flow(Protocol::Wss, 40001, 1), flow(Protocol::Wss, 40002, 2));
    let first = browser("urn:uuid:1", "sip:x@a.invalid;transport=ws", old, "c1");
    register(&location, old, vec![first]).expect("first page");
    let again = browser("URN:UUID:1", "sip:y@b.invalid;transport=ws", new, "c2");
    let updated = register(&location, new, vec![again]).expect("again");
    assert_eq!((updated.bindings.len(), updated.outcome.replaced.len()), (1, 1));
    assert_eq!(updated.bindings[0].ruid(), "sip:x@a.invalid;transport=ws", "it is the same row");
    assert!(lost(&location, 1, Usrloc::default()).is_empty(), "the old flow holds nothing any more");
    assert_eq!(lost(&location, 2, Usrloc::default()).len(), 1);
    assert!(uris(&location, NOW).is_empty());
}

#[test]
fn a_peer_is_followed_by_its_instance_and_nobody_elses() {
    let location = Location::new();
    let (first, second, other) =
        (flow(Protocol::Wss, 1, 1), flow(Protocol::Wss, 2, 2), flow(Protocol::Wss, 3, 3));
    let uri = "sip:x@a.invalid;transport=ws";
    register(&location, first, vec![browser("urn:uuid:1", uri, first, "c1")]).expect("first");
    register(&location, other, vec![browser("urn:uuid:2", uri, other, "c3")]).expect("another instance");
    let find = |instance, flow| location.flow_of(AOR, &Peer { instance, contact: uri, flow }, NOW);
    assert_eq!(location.instance_on(AOR, &first, NOW).as_deref(), Some("urn:uuid:1"));
    assert_eq!(find("urn:uuid:1", Some(first)), Some(first));
    let outbound = BindingRow { reg_id: 2, ..browser("urn:uuid:1", uri, second, "c2") };
    register(&location, second, vec![outbound]).expect("a second flow");
    assert_eq!(find("urn:uuid:1", Some(first)), Some(first), "the first one is as good as before");
    assert_eq!(find("urn:uuid:1", None), Some(second), "the newest");
    lost(&location, 1, Usrloc::default());
    assert_eq!(find("urn:uuid:1", Some(first)), Some(second));
    lost(&location, 2, Usrloc::default());
    assert_eq!(find("urn:uuid:1", Some(first)), None, "another instance is another phone");
    assert_eq!(find("", Some(first)), Some(other), "without an instance the Contact tells");
}

#[test]
fn a_lost_connection_leaves_phones_that_can_be_dialled() {
    let location = Location::new();
    let (wss, tcp, nated, udp) = (
        flow(Protocol::Wss, 1, 1),
        flow(Protocol::Tcp, 2, 2),
        flow(Protocol::Tcp, 4, 4),
        flow(Protocol::Udp, 3, 0),
    );
    let rules = Rules { max_contacts: 9, ..RULES };
    for (uri, flow) in [
        ("sip:w@a.invalid", wss),
        ("sip:t@198.51.100.7;transport=tcp", tcp),
        ("sip:n@10.0.0.7;transport=tcp", nated),
        ("sip:u@1.2.3.4", udp),
    ] {
        register_at(&location, flow, vec![contact(uri, flow, 60)], rules, NOW).expect("registered");
    }
    let gone = |connection| lost(&location, connection, Usrloc::default()).len();
    assert_eq!([gone(1), gone(2), gone(4)], [1, 0, 1]);
    let left = location.bindings(AOR, NOW);
    assert_eq!(left.len(), 2);
    assert_eq!((left[0].destination(), left[0].is_lost()), (None, false), "dial the Contact");
    assert_eq!(left[1].destination(), Some(Destination::Flow(udp)));
}

#[test]
fn a_lost_binding_is_held_for_a_while() {
    let wss = flow(Protocol::Wss, 1, 1);
    let binding = || browser("urn:uuid:1", "sip:w@a.invalid", wss, "c1");
    let grace = Usrloc { lost_tcp_grace: Duration::from_secs(30), ..Usrloc::default() };
    let location = Location::new();
    register(&location, wss, vec![binding()]).expect("registered");
    let held = lost(&location, 1, grace);
    assert!(held.len() == 1 && held[0].held);
    assert!(location.bindings(AOR, NOW + 29)[0].is_lost());
    assert!(location.expire(NOW + 29).is_empty() && uris(&location, NOW + 30).is_empty());
    let expired = location.expire(NOW + 30);
    assert_eq!((expired.len(), expired[0].cause), (1, Expiry::ConnectionLost));

    register(&location, wss, vec![binding()]).expect("registered");
    lost(&location, 1, grace);
    let back = flow(Protocol::Wss, 2, 2);
    let again = BindingRow { cseq: 2, ..browser("urn:uuid:1", "sip:w@a.invalid", back, "c1") };
    register(&location, back, vec![again]).expect("it is back");
    assert!(location.expire(NOW + 31).is_empty() && location.count() == (1, 1));

    let kept = Usrloc { handle_lost_tcp: false, ..Usrloc::default() };
    assert!(lost(&location, 2, kept).is_empty());
    assert!(location.bindings(AOR, NOW)[0].is_lost(), "it stays for its time, and cannot be reached");
}

#[test]
fn an_expired_binding_names_its_connection_when_nobody_else_needs_it() {
    let (location, tcp) = (Location::new(), flow(Protocol::Tcp, 1, 1));
    let register_as = |aor, expires| {
        let changes = Changes::Each(vec![contact("sip:t@198.51.100.7", tcp, expires).into()]);
        location
            .update(Registration { aor, call_id: "c1", cseq: 1, flow: tcp, changes, rules: RULES }, NOW)
            .expect("registered");
    };
    register_as("alice@sip.example", 60);
    register_as("bob@sip.example", 90);
    let connection = |at| location.expire(at).into_iter().map(|gone| gone.connection).collect::<Vec<_>>();
    assert_eq!(connection(NOW + 60), [None], "bob is on it");
    assert_eq!(connection(NOW + 90), [Some(ConnectionId(1))]);
}

#[test]
fn after_a_restart_phones_are_reachable_and_browsers_are_not() {
    let location = Location::new();
    let (wss, udp) = (flow(Protocol::Wss, 1, 1), flow(Protocol::Udp, 3, 0));
    let local = Arc::new(udp.local);
    let here = BindingRow { local: Some(&local), ..contact("sip:v@1.2.3.4", udp, 60) };
    location.load(
        vec![
            (AOR.into(), contact("sip:w@a.invalid;transport=ws", wss, 60).into()),
            (AOR.into(), contact("sip:u@198.51.100.7", udp, 60).into()),
            (AOR.into(), here.into()),
        ],
        NOW,
    );
    let reachable: Vec<_> = location.bindings(AOR, NOW).iter().map(Binding::destination).collect();
    let phone = Destination::Address { protocol: Protocol::Udp, remote: udp.remote };
    assert_eq!(reachable, [None, Some(phone), Some(Destination::Flow(udp))]);
}

#[test]
fn a_writer_sees_that_it_was_overtaken() {
    let (location, udp) = (Location::new(), flow(Protocol::Udp, 5060, 0));
    let first = register(&location, udp, vec![contact("sip:a@1.2.3.4", udp, 60)]).expect("first");
    assert!(location.is_current(AOR, first.version));
    register(&location, udp, vec![contact("sip:b@1.2.3.4", udp, 60)]).expect("second");
    assert!(!location.is_current(AOR, first.version));
    assert_eq!(location.snapshot(AOR, NOW).0.len(), 2);
}

#[test]
fn what_many_share_is_kept_once_and_given_up_with_the_last() {
    let (mut shared, here) = (Shared::default(), SocketAddr::from(([192, 0, 2, 1], 5060)));
    let (text, local) = (shared.text("JsSIP 3.13.8"), shared.address(here));
    assert!(Arc::ptr_eq(&text, &shared.text("JsSIP 3.13.8")) && Arc::ptr_eq(&local, &shared.address(here)));
    shared.tidy();
    assert_eq!((Arc::strong_count(&text), Arc::strong_count(&local)), (2, 2), "the table's and this one");
    drop((text, local));
    shared.tidy();
    let (text, local) = (shared.text("JsSIP 3.13.8"), shared.address(here));
    assert_eq!((Arc::strong_count(&text), Arc::strong_count(&local)), (2, 2), "they are made again");
}
