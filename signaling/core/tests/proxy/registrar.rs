//! The parameters of the registrar, Path (RFC 3327), outbound (RFC 5626) and GRUU (RFC 5627).

use std::time::Duration;

use signaling_core::flow::Protocol;
use signaling_core::settings::{OutboundMode, PathMode, Registrar, Settings, Usrloc};

use crate::pair::established;
use crate::testbed::{
    Bed, DOMAIN, Dialog, Phone, Sip, UNIX_START, browser_sdp, legacy_sdp, settings, uri_of,
};
use crate::webrtc::within;

const PATH: &str = "<sip:edge@198.51.100.7:5060;lr>";

/// A bed with another registrar.
fn bed(change: impl FnOnce(&mut Registrar)) -> Bed {
    let mut registrar = Registrar::default();
    change(&mut registrar);
    Bed::with(&["alice", "bob"], Settings { registrar, ..settings() }, Vec::new())
}

/// One REGISTER with the given lines; the answer to it. Each is a registration of its own (its own Call-ID).
fn register(bed: &mut Bed, phone: &mut Phone, lines: &str) -> Sip {
    let call_id = format!("reg-{}", phone.branch());
    let request = phone.request("REGISTER", &format!("sip:{DOMAIN}"), &call_id, lines, "");
    phone.authorized(bed, &request)
}

/// A parameter in quotes.
fn quoted(value: &str, name: &str) -> Option<String> {
    crate::testbed::quoted(value, name)
}

fn alice(bed: &mut Bed) -> Phone {
    Phone::legacy(bed, "alice", "198.51.100.7:5060")
}

/// How long `lines` are granted.
fn granted(bed: &mut Bed, phone: &mut Phone, lines: &str) -> u32 {
    let answer = register(bed, phone, lines);
    let expires = answer.header("Contact").split(";expires=").nth(1).map(|rest| rest.split(';').next());
    expires.flatten().and_then(|expires| expires.parse().ok()).expect("expires")
}

#[test]
fn lifetimes_vary_within_their_range() {
    let mut bed = bed(|registrar| {
        (registrar.default_expires, registrar.default_expires_range) = (1000, 10);
        (registrar.expires_range, registrar.min_expires) = (20, 100);
    });
    let mut alice = alice(&mut bed);
    let mut spread = |lines: &str, range: std::ops::RangeInclusive<u32>| {
        let all: Vec<u32> = (0..20).map(|_| granted(&mut bed, &mut alice, lines)).collect();
        assert!(all.iter().all(|one| range.contains(one)), "{all:?}");
        assert!(all.iter().any(|one| *one != all[0]), "{all:?}");
    };
    spread("Contact: <sip:a@198.51.100.7>\r\n", 900..=1100);
    spread("Contact: <sip:a@198.51.100.7>;expires=500\r\n", 400..=500);
    assert_eq!(granted(&mut bed, &mut alice, "Contact: <sip:a@198.51.100.7>;expires=100\r\n"), 100);
}

#[test]
fn one_contact_too_many_is_503_with_retry_after() {
    let mut bed = bed(|registrar| (registrar.max_contacts, registrar.retry_after) = (2, 30));
    let mut alice = alice(&mut bed);
    register(&mut bed, &mut alice, "Contact: <sip:a@198.51.100.7>, <sip:b@198.51.100.7>\r\n");
    let answer = register(&mut bed, &mut alice, "Contact: <sip:c@198.51.100.7>\r\n");
    assert_eq!((answer.code(), answer.header("Retry-After")), (503, "30"));
    assert!(answer.start_line().ends_with("Too many registered contacts"));
    let answer = register(&mut bed, &mut alice, "Contact: <sip:b@198.51.100.7>\r\n");
    assert_eq!((answer.code(), answer.headers("Contact").len()), (200, 2), "a renewal is none more");
}

#[test]
fn case_counts_when_it_is_told_to() {
    for (case_sensitive, code) in [(false, 200), (true, 404)] {
        let mut bed = bed(|registrar| registrar.case_sensitive = case_sensitive);
        let (mut alice, mut bob) = (alice(&mut bed), Phone::legacy(&mut bed, "bob", "198.51.100.8:5060"));
        alice.register(&mut bed);
        let request = bob.request("MESSAGE", &format!("sip:ALICE@{DOMAIN}"), "m-1", "", "hi");
        bed.send(&bob.flow, &request);
        let challenge = bed.receive(&bob.flow);
        let again = bob.with_credentials(&request, &challenge);
        bed.send(&bob.flow, &again);
        if code == 200 {
            let message = bed.expect(&alice.flow, "MESSAGE ");
            bed.send(&alice.flow, &alice.reply(&message, 200, "OK", ""));
        }
        assert_eq!(bed.receive(&bob.flow).code(), code);
    }
}

#[test]
fn methods_are_heeded_unless_told_otherwise() {
    for (method_filtering, passes) in [(true, false), (false, true)] {
        let mut bed = bed(|registrar| registrar.method_filtering = method_filtering);
        let (mut alice, mut bob) = (alice(&mut bed), Phone::legacy(&mut bed, "bob", "198.51.100.8:5060"));
        register(
            &mut bed,
            &mut alice,
            "Contact: <sip:alice@198.51.100.7:5060>\r\nAllow: INVITE, ACK, BYE\r\n",
        );
        let request = bob.request("MESSAGE", &format!("sip:alice@{DOMAIN}"), "m-1", "", "hi");
        bob.authorize_only(&mut bed, &request);
        if passes {
            bed.expect(&alice.flow, "MESSAGE ");
        } else {
            bed.expect(&bob.flow, "SIP/2.0 405 ");
        }
    }
}

#[test]
fn a_path_is_kept_shown_and_refused_as_its_mode_says() {
    let contact = "Contact: <sip:a@10.0.0.1>\r\n";
    let knows = format!("{contact}Supported: path\r\nPath: {PATH}\r\n");
    let knows_not = format!("{contact}Path: {PATH}\r\n");
    // Mode, then for a phone that knows of Path and one that does not: code, whether it is shown, whether it is used.
    let cases = [
        (PathMode::Off, [(200, false, true), (200, false, true)]),
        (PathMode::Lazy, [(200, true, true), (200, false, true)]),
        (PathMode::Strict, [(200, true, true), (420, true, false)]),
    ];
    for (mode, expected) in cases {
        for (lines, (code, shown, used)) in [&knows, &knows_not].into_iter().zip(expected) {
            let mut bed = bed(|registrar| registrar.path_mode = mode);
            let mut alice = alice(&mut bed);
            let answer = register(&mut bed, &mut alice, lines);
            assert_eq!(answer.code(), code, "{mode:?}");
            assert_eq!(answer.headers("Path"), if shown { vec![PATH] } else { vec![] }, "{mode:?}");
            if code == 420 {
                assert_eq!(answer.header("Unsupported"), "path");
            }
            let kept = bed.location.bindings("alice@sip.example", UNIX_START);
            assert_eq!(kept.iter().any(|binding| binding.stored.path() == PATH), used, "{mode:?}");
        }
    }
    let mut bed = bed(|registrar| registrar.use_path = false);
    let mut alice = alice(&mut bed);
    let answer = register(&mut bed, &mut alice, &knows_not);
    assert_eq!((answer.code(), answer.headers("Path").len()), (200, 0));
    assert_eq!(bed.location.bindings("alice@sip.example", UNIX_START)[0].stored.path(), "");
}

#[test]
fn calls_go_back_along_the_path() {
    let mut bed = bed(|registrar| registrar.path_use_received = true);
    let (mut edge, mut bob) = (alice(&mut bed), Phone::legacy(&mut bed, "bob", "198.51.100.8:5060"));
    let lines = "Contact: <sip:alice@10.0.0.1>\r\nSupported: path\r\n\
                 Path: <sip:198.51.100.7;lr;received=sip:203.0.113.77%3A4000>, <sip:far.example;lr>\r\n";
    let answer = register(&mut bed, &mut edge, lines);
    let received = quoted(answer.header("Contact"), "received");
    assert_eq!(received.as_deref(), Some("sip:203.0.113.77:4000"));
    let request = bob.request("MESSAGE", &format!("sip:alice@{DOMAIN}"), "m-1", "", "hi");
    bob.authorize_only(&mut bed, &request);
    let message = bed.expect(&edge.flow, "MESSAGE sip:alice@10.0.0.1 ");
    let routes = message.values("Route");
    assert_eq!(routes, ["<sip:198.51.100.7;lr;received=sip:203.0.113.77%3A4000>", "<sip:far.example;lr>"]);
}

#[test]
fn outbound_is_a_matter_of_both_sides() {
    const CONTACT: &str = "Contact: <sip:a@198.51.100.7>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"\r\n";
    let supported = format!("{CONTACT}Supported: outbound, path\r\n");
    let behind = |path: &str| format!("{supported}{path}Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n");
    let ob = behind("Path: <sip:t@198.51.100.7;lr;ob>\r\n");
    let two = format!("{supported}Contact: <sip:b@198.51.100.7>\r\n");
    use OutboundMode::{Off, Required, Supported};
    // Mode, whether reg-id counts alone, lines; code, whether Require says outbound, whether reg-id is kept.
    let cases = [
        (Supported, false, supported.clone(), 200, true, true),
        (Supported, false, CONTACT.to_owned(), 200, false, false),
        (Supported, true, CONTACT.to_owned(), 200, false, true),
        (Supported, false, two, 400, false, false),
        (Supported, false, behind(""), 439, false, false),
        (Supported, false, behind("Path: <sip:198.51.100.7;lr>\r\n"), 439, false, false),
        (Supported, false, ob, 200, true, true),
        (Off, false, supported.clone(), 200, false, false),
        (Required, false, CONTACT.to_owned(), 421, true, false),
        (Required, false, supported, 200, true, true),
    ];
    for (mode, alone, lines, code, required, kept) in cases {
        let mut bed = bed(|registrar| {
            (registrar.outbound_mode, registrar.regid_mode, registrar.flow_timer) = (mode, alone, 120);
        });
        let mut alice = alice(&mut bed);
        let answer = register(&mut bed, &mut alice, &lines);
        assert_eq!(answer.code(), code, "{mode:?} {lines}\n{}", answer.text);
        assert_eq!(answer.headers("Require"), if required { vec!["outbound"] } else { vec![] }, "{lines}");
        let timer: Vec<&str> = if required && code == 200 { vec!["120"] } else { vec![] };
        assert_eq!(answer.headers("Flow-Timer"), timer);
        if code == 200 {
            assert_eq!(answer.header("Contact").ends_with(";reg-id=1"), kept, "{lines}");
        }
    }
}

/// A browser registered as the one that `testbed` makes, its two GRUUs.
fn with_gruus(bed: &mut Bed, browser: &mut Phone) -> (String, String) {
    let answer = browser.register(bed);
    let contact = answer.header("Contact").to_owned();
    (quoted(&contact, "pub-gruu").expect("pub-gruu"), quoted(&contact, "temp-gruu").expect("temp-gruu"))
}

/// A MESSAGE from `from` to `uri`: where it arrived, or the code that came back.
fn ask(bed: &mut Bed, from: &mut Phone, to: &[&Phone], uri: &str, id: &str) -> Result<usize, u16> {
    let request = from.request("MESSAGE", uri, id, "", "hi");
    from.authorize_only(bed, &request);
    let arrived = to.iter().position(|phone| match bed.try_receive(&phone.flow) {
        Some(message) => {
            assert_eq!(message.uri(), phone.contact, "it has to find itself there");
            bed.send(&phone.flow, &phone.reply(&message, 200, "OK", ""));
            true
        }
        None => false,
    });
    let code = bed.receive(&from.flow).code();
    bed.expect_silence();
    arrived.ok_or(code)
}

#[test]
fn a_gruu_leads_to_its_instance_alone() {
    let mut bed = bed(|_| {});
    let mut alice = alice(&mut bed);
    let mut first = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    let mut second = Phone::browser(&mut bed, "bob", "203.0.113.10:41001");
    second.contact = "sip:other@x8f2m1c9.invalid;transport=ws".into();
    second.contact_params = ";reg-id=1;+sip.instance=\"<urn:uuid:second>\"".into();
    let (public, temporary) = with_gruus(&mut bed, &mut first);
    assert_eq!(public, format!("sip:bob@{DOMAIN};gr=urn:uuid:bob"));
    assert!(temporary.ends_with(&format!("@{DOMAIN};gr")) && !temporary.contains("bob"), "{temporary}");
    second.register(&mut bed);
    for (number, uri) in [&public, &temporary].into_iter().enumerate() {
        assert_eq!(ask(&mut bed, &mut alice, &[&first, &second], uri, &format!("m-{number}")), Ok(0));
    }
    let (_, more) = with_gruus(&mut bed, &mut first);
    assert_ne!(more, temporary, "each is a fresh one");
    assert_eq!(
        ask(&mut bed, &mut alice, &[&first, &second], &temporary, "m-3"),
        Ok(0),
        "and the old ones stay"
    );

    // A registration of its own, with another Call-ID: the instance has forgotten what it gave out.
    let again = first.register_text(600).replace("Call-ID: reg-", "Call-ID: again-");
    first.authorized(&mut bed, &again);
    assert_eq!(ask(&mut bed, &mut alice, &[&first, &second], &temporary, "m-4"), Err(404));
    assert_eq!(ask(&mut bed, &mut alice, &[&first, &second], &public, "m-5"), Ok(0));

    bed.close(&first.flow.clone());
    assert_eq!(ask(&mut bed, &mut alice, &[&first, &second], &public, "m-6"), Err(480));
    assert_eq!(ask(&mut bed, &mut alice, &[&second], &format!("sip:x@{DOMAIN};gr"), "m-7"), Err(404));
    let nobody = format!("sip:nobody@{DOMAIN};gr=urn:uuid:bob");
    assert_eq!(ask(&mut bed, &mut alice, &[&second], &nobody, "m-8"), Err(404));
}

#[test]
fn gruus_are_for_those_who_ask_and_no_contacts() {
    let mut bed = bed(|_| {});
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    let (public, temporary) = with_gruus(&mut bed, &mut bob);
    for gruu in [&public, &temporary] {
        let answer = register(&mut bed, &mut bob, &format!("Contact: <{gruu}>\r\n"));
        assert_eq!(answer.code(), 403, "{gruu} leads to itself (RFC 5627 §5.1)");
    }
    let answer = register(&mut bed, &mut bob, "");
    assert!(!answer.header("Contact").contains("gruu"), "it has not said that it knows them");
    let mut bed = self::bed(|registrar| registrar.gruu_enabled = false);
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    assert!(!bob.register(&mut bed).text.contains("gruu"));
}

/// JsSIP writes its GRUU into the Contact of its calls.
#[test]
fn a_call_with_a_gruu_as_contact_goes_both_ways_and_survives_a_new_socket() {
    for temporary in [false, true] {
        let mut bed = bed(|_| {});
        let mut alice = alice(&mut bed);
        alice.register(&mut bed);
        let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
        let gruus = with_gruus(&mut bed, &mut bob);
        let registered = bob.contact.clone();
        bob.contact = if temporary { gruus.1 } else { gruus.0 };
        let sdps = [&*browser_sdp("b"), &*legacy_sdp("a")];
        let (mut b, mut a): (Dialog, Dialog) = established(&mut bed, &mut bob, &alice, "call-1", sdps);
        assert_eq!(a.target, bob.contact, "a GRUU needs no alias");
        let in_calls = std::mem::replace(&mut bob.contact, registered);
        within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=1\r\n", ""]);
        bob.flow = bed.flow(Protocol::Wss, "203.0.113.9:42222");
        let request = bob.register_text(600).replace("-42222\r\n", "-41000\r\n");
        bob.cseq += 10;
        bob.authorized(&mut bed, &request);
        within(&mut bed, &mut alice, &bob, &mut a, "INFO", ["Signal=2\r\n", ""]);
        bob.contact = in_calls;
        let bye = b.request(&mut bob, "BYE", "", "");
        bed.send(&bob.flow, &bye);
        bed.expect(&alice.flow, "BYE ");
    }
}

#[test]
fn a_flow_that_fails_leaves_the_other_one() {
    let mut bed = bed(|_| {});
    let mut alice = alice(&mut bed);
    let mut first = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    first.register(&mut bed);
    let mut second = first.clone();
    second.flow = bed.flow(Protocol::Wss, "203.0.113.9:41001");
    second.contact_params = ";reg-id=2;+sip.instance=\"<urn:uuid:bob>\"".into();
    let answer = second.register(&mut bed);
    assert_eq!(answer.headers("Contact").len(), 2, "two flows of one instance");
    let uri = format!("sip:bob@{DOMAIN}");
    assert_eq!(
        ask(&mut bed, &mut alice, &[&first, &second], &uri, "m-1"),
        Ok(1),
        "the newest, and only that"
    );
    bed.close(&second.flow.clone());
    assert_eq!(ask(&mut bed, &mut alice, &[&first, &second], &uri, "m-2"), Ok(0));
}

#[test]
fn a_connection_ends_with_its_last_registration_when_told_to() {
    for close_expired_tcp in [false, true] {
        let usrloc = Usrloc { close_expired_tcp, ..Usrloc::default() };
        let mut bed = Bed::with(&["alice"], Settings { usrloc, ..settings() }, Vec::new());
        let flow = bed.flow(Protocol::Tcp, "198.51.100.7:40000");
        let mut alice = Phone::on(flow, "alice", "sip:alice@198.51.100.7:40000;transport=tcp".into());
        alice.register(&mut bed);
        bed.advance(Duration::from_secs(610));
        let closed = std::iter::from_fn(|| bed.proxy.poll_close()).collect::<Vec<_>>();
        assert_eq!(closed, if close_expired_tcp { vec![flow.connection.expect("TCP")] } else { vec![] });
    }
}

#[test]
fn what_cannot_be_kept_is_undone() {
    let mut bed = bed(|_| {});
    let mut alice = alice(&mut bed);
    alice.register(&mut bed);
    let request =
        alice.request("REGISTER", &format!("sip:{DOMAIN}"), "r-2", "Contact: <sip:b@198.51.100.7>\r\n", "");
    bed.send(&alice.flow, &request);
    let challenge = bed.receive(&alice.flow);
    let again = alice.with_credentials(&request, &challenge);
    bed.store.unsaved.set(true);
    bed.send(&alice.flow, &again);
    bed.expect(&alice.flow, "SIP/2.0 500 ");
    bed.store.unsaved.set(false);
    let answer = register(&mut bed, &mut alice, "");
    assert_eq!(answer.headers("Contact").into_iter().map(uri_of).collect::<Vec<_>>(), [alice.contact]);
}

/// RFC 5626 §7: a flow that cannot be sent to, or whose edge says 430, leaves the next one.
#[test]
fn the_next_flow_is_tried_when_one_fails() {
    let mut bed = bed(|_| {});
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    let mut alice = alice(&mut bed);
    let instance = "+sip.instance=\"<urn:uuid:1>\"";
    for (reg_id, edge) in [(1, "198.51.100.21:5060"), (2, "198.51.100.22:5060")] {
        let lines = format!(
            "Contact: <sip:alice@10.0.0.1>;reg-id={reg_id};{instance}\r\nSupported: outbound, path\r\n\
             Path: <sip:t@{edge};lr;ob>\r\n"
        );
        assert_eq!(register(&mut bed, &mut alice, &lines).headers("Contact").len(), reg_id);
    }
    let edges = ["198.51.100.21:5060", "198.51.100.22:5060"].map(|edge| bed.flow(Protocol::Udp, edge));
    let request = bob.request("MESSAGE", &format!("sip:alice@{DOMAIN}"), "m-1", "", "hi");
    bob.authorize_only(&mut bed, &request);
    let first = bed.expect(&edges[1], "MESSAGE ");
    bed.send(&edges[1], &alice.reply(&first, 430, "Flow Failed", ""));
    let second = bed.expect(&edges[0], "MESSAGE ");
    assert!(second.header("Route").contains("198.51.100.21"));
    bed.send(&edges[0], &alice.reply(&second, 200, "OK", ""));
    bed.expect(&bob.flow, "SIP/2.0 200 ");
    bed.expect_silence();
}

/// RFC 5626 §5.3: the Record-Route of a dialog that is no call carries the flow; whoever brings it back reaches it, as long
/// as it is there.
#[test]
fn a_flow_token_leads_to_its_flow_or_to_430() {
    let mut bed = bed(|_| {});
    let mut alice = alice(&mut bed);
    alice.register(&mut bed);
    // It has not registered: nothing but the token leads back to it.
    let mut bob = Phone::browser(&mut bed, "bob", "203.0.113.9:41000");
    let more = format!("Contact: <{}>\r\nEvent: presence\r\n", bob.contact);
    let request = bob.request("SUBSCRIBE", &alice.aor(), "sub-1", &more, "");
    bob.authorize_only(&mut bed, &request);
    let offered = bed.expect(&alice.flow, "SUBSCRIBE ");
    let accepted = alice.reply(&offered, 200, "OK", "");
    bed.send(&alice.flow, &accepted);
    bed.expect(&bob.flow, "SIP/2.0 200 ");
    let mut dialog = Dialog::of_callee(&offered, &Sip { text: accepted });
    assert_eq!(dialog.routes.len(), 2);
    assert!(dialog.routes[1].contains("@192.0.2.1:8443") && !dialog.routes[1].contains("203.0.113.9"));
    let notify = dialog.request(&mut alice, "NOTIFY", "Event: presence\r\n", "");
    bed.send(&alice.flow, &notify);
    let arrived = bed.expect(&bob.flow, "NOTIFY ");
    bed.send(&bob.flow, &bob.reply(&arrived, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");

    let whole = dialog.routes[1].clone();
    let at = whole.find('@').expect("a token");
    dialog.routes[1].replace_range(at - 1..at, if whole.as_bytes()[at - 1] == b'A' { "B" } else { "A" });
    let forged = dialog.request(&mut alice, "NOTIFY", "Event: presence\r\n", "");
    bed.send(&alice.flow, &forged);
    bed.expect(&alice.flow, "SIP/2.0 407 ");
    dialog.routes[1] = whole;

    bed.close(&bob.flow.clone());
    let notify = dialog.request(&mut alice, "NOTIFY", "Event: presence\r\n", "");
    bed.send(&alice.flow, &notify);
    bed.expect(&alice.flow, "SIP/2.0 430 ");
    bed.expect_silence();
}

/// RFC 3261 §10.2.1: a Contact says where its owner is, and is believed unless the REGISTER shows that a NAT is between.
#[test]
fn a_contact_is_believed_where_there_is_no_nat() {
    let source = "198.51.100.7:5060";
    for (via, contact, reached) in [
        ("198.51.100.7:5060", "sip:alice@198.51.100.7:5062", (Protocol::Udp, "198.51.100.7:5062")),
        ("198.51.100.7", "sip:alice@198.51.100.9", (Protocol::Udp, "198.51.100.9:5060")),
        ("198.51.100.7:5060", "sip:alice@198.51.100.7;transport=tcp", (Protocol::Tcp, "198.51.100.7:5060")),
        // A private address, another sent-by, another port of it: there is a NAT.
        ("198.51.100.7:5060", "sip:alice@10.0.0.5:5062", (Protocol::Udp, source)),
        ("198.51.100.7:5060", "sip:alice@100.64.0.5:5062", (Protocol::Udp, source)),
        ("10.0.0.5:5060", "sip:alice@198.51.100.9:5062", (Protocol::Udp, source)),
        ("198.51.100.7:5062", "sip:alice@198.51.100.9:5062", (Protocol::Udp, source)),
        // Nobody knows.
        ("phone.example:5060", "sip:alice@198.51.100.9:5062", (Protocol::Udp, source)),
        ("198.51.100.7:5060", "sip:alice@elsewhere.example", (Protocol::Udp, source)),
        ("198.51.100.7:5060", "sip:alice@198.51.100.9;transport=ws", (Protocol::Udp, source)),
    ] {
        let mut bed = Bed::new(&["alice", "bob"]);
        let mut alice = Phone::legacy(&mut bed, "alice", source);
        alice.contact = contact.into();
        let register = alice.register_text(600);
        bed.send(&alice.flow, &register);
        let challenge = bed.receive(&alice.flow);
        let again = alice.with_credentials(&register, &challenge);
        let own = format!("SIP/2.0/UDP {source}");
        assert!(again.contains(&own));
        bed.send(&alice.flow, &again.replacen(&own, &format!("SIP/2.0/UDP {via};rport"), 1));
        bed.expect(&alice.flow, "SIP/2.0 200 ");
        let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
        let message = bob.request("MESSAGE", &alice.aor(), "message-1", "", "hello");
        bob.authorize_only(&mut bed, &message);
        let there = bed.flow(reached.0, reached.1);
        assert_eq!(bed.expect(&there, "MESSAGE ").uri(), contact, "{via} {contact}");
    }
}
