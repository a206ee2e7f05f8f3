//! Serial, parallel and mixed forking, failover, and where a call goes that nobody takes (RFC 3261 §16.6 to §16.8,
//! RFC 3263 §4.3, RFC 5393).

use std::time::Duration;

use signaling_core::event::{Event, Untaken};
use signaling_core::flow::Protocol;
use signaling_core::settings::{Blst, Settings, Tm, Voicemail};

use crate::testbed::{Asked, Bed, Dialog, Phone, Sip, ack_of, browser_sdp, cancel_of, legacy_sdp, settings};

const SECOND: Duration = Duration::from_secs(1);

/// Bob's phones, one for each q, registered; `""` is a contact without one.
fn phones(bed: &mut Bed, qs: &[&str]) -> Vec<Phone> {
    let phones = qs.iter().enumerate().map(|(number, q)| {
        let mut phone = Phone::legacy(bed, "bob", &format!("198.51.100.{}:5060", 20 + number));
        if !q.is_empty() {
            phone.contact_params = format!(";q={q}");
        }
        phone.register(bed);
        phone
    });
    phones.collect()
}

/// Alice calls bob, who has a phone for each q. Returns the bed, alice, her INVITE, and the phones.
fn called(settings: Settings, qs: &[&str]) -> (Bed, Phone, Sip, Vec<Phone>) {
    let mut bed = Bed::with(&["alice", "bob"], settings, Vec::new());
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let phones = phones(&mut bed, qs);
    let invite = alice.invite(&mut bed, "sip:bob@sip.example", "call-1", &legacy_sdp("alice"));
    (bed, alice, invite, phones)
}

/// The INVITE that came to a phone.
#[track_caller]
fn rung(bed: &mut Bed, phone: &Phone) -> Sip {
    bed.expect(&phone.flow, "INVITE ")
}

/// Refuses and takes the ACK.
#[track_caller]
fn refuse(bed: &mut Bed, phone: &Phone, offered: &Sip, code: u16) {
    bed.send(&phone.flow, &phone.reply(offered, code, "No", ""));
    bed.expect(&phone.flow, "ACK ");
}

/// Whether the end of a call that nobody took was told.
fn told_failed(bed: &Bed, wanted: u16) -> bool {
    bed.events.iter().any(|event| matches!(event, Event::CallFailed { code, .. } if *code == wanted))
}

/// What alice hears in the end, acknowledged; nothing is left of the call afterwards.
#[track_caller]
fn ends_with(bed: &mut Bed, alice: &Phone, invite: &Sip, code: u16) -> Sip {
    let refused = bed.receive(&alice.flow);
    assert_eq!(refused.code(), code, "{}", refused.text);
    bed.send(&alice.flow, &ack_of(&invite.text, &refused));
    bed.expect_silence();
    assert_nothing_left(bed);
    refused
}

#[track_caller]
fn assert_nothing_left(bed: &mut Bed) {
    assert!(bed.media.is_clean(), "{:?}", bed.media.open);
    assert_eq!(bed.proxy.calls(), 0);
    bed.advance(SECOND * 60);
    let stats = bed.proxy.transaction_stats();
    assert_eq!((stats.current, stats.created), (0, stats.freed));
}

/// RFC 3261 §16.6: falling q one after the other, equal q together, those without q last.
#[test]
fn contacts_ring_in_the_order_of_their_q() {
    let (mut bed, alice, invite, phones) = called(settings(), &["", "0.5", "1.0", "0.5"]);
    let [none, half, one, other] = &phones[..] else { panic!("four phones") };
    let first = rung(&mut bed, one);
    bed.expect_silence();
    refuse(&mut bed, one, &first, 486);
    let second = [half, other].map(|phone| (phone, rung(&mut bed, phone)));
    bed.expect_silence();
    refuse(&mut bed, second[0].0, &second[0].1, 404);
    bed.expect_silence();
    assert_eq!(bed.media.open.borrow().len(), 1, "the relay keeps what is open");
    refuse(&mut bed, second[1].0, &second[1].1, 480);
    let last = rung(&mut bed, none);
    refuse(&mut bed, none, &last, 500);
    let refused = ends_with(&mut bed, &alice, &invite, 486);
    assert_eq!(refused.tag("To"), one.tag, "the best of all steps");
    let branches = [&first, &second[0].1, &second[1].1, &last].map(|sip| sip.header("Via").to_owned());
    assert!((1..4).all(|at| !branches[..at].contains(&branches[at])), "each is a branch of its own");
}

#[test]
fn without_serial_forking_all_ring_at_once() {
    let tm = Tm { serial_forking: false, ..Tm::default() };
    let (mut bed, _, _, phones) = called(Settings { tm, ..settings() }, &["", "0.5", "1.0"]);
    for phone in &phones {
        rung(&mut bed, phone);
    }
}

/// The browser's one answer lives as long as its call has a branch at the relay: the next one is there before the last one
/// goes.
#[test]
fn the_relay_is_offered_the_next_step_before_it_forgets_the_last() {
    let (mut bed, _, _, phones) = called(settings(), &["1", "0.5"]);
    let offered = rung(&mut bed, &phones[0]);
    refuse(&mut bed, &phones[0], &offered, 486);
    rung(&mut bed, &phones[1]);
    let asked: Vec<(bool, Option<String>)> = bed
        .media
        .log
        .borrow()
        .iter()
        .map(|asked| match asked {
            Asked::Offer(exchange) | Asked::Answer(exchange) => (true, exchange.branch.clone()),
            Asked::Delete { branch, .. } => (false, branch.clone()),
        })
        .collect();
    assert_eq!(asked.len(), 3);
    assert_eq!([asked[0].0, asked[1].0, asked[2].0], [true, true, false]);
    assert_eq!(asked[2].1, asked[0].1, "the first branch is gone, the second one not");
}

/// A contact that rings gives way to the next after `fr_inv_timer_next`, however often it says that it rings; it may still
/// answer.
#[test]
fn a_step_that_rings_in_vain_gives_way_and_may_still_answer() {
    let (mut bed, mut alice, invite, phones) = called(settings(), &["1", "0.5"]);
    let first = rung(&mut bed, &phones[0]);
    for _ in 0..3 {
        bed.send(&phones[0].flow, &phones[0].reply(&first, 180, "Ringing", ""));
        bed.expect(&alice.flow, "SIP/2.0 180 ");
        bed.advance(SECOND * 9);
    }
    bed.expect_silence();
    bed.advance(SECOND * 3);
    let cancel = bed.expect(&phones[0].flow, "CANCEL ");
    assert!(cancel.headers("Reason").is_empty(), "nobody else has answered");
    let second = rung(&mut bed, &phones[1]);
    bed.send(&phones[1].flow, &phones[1].reply(&second, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");

    bed.send(&phones[0].flow, &phones[0].reply(&cancel, 200, "OK", ""));
    bed.send(&phones[0].flow, &phones[0].reply(&first, 200, "OK", &legacy_sdp("bob")));
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&phones[1].flow, "CANCEL ");
    assert_eq!(cancel.header("Reason"), "SIP;cause=200;text=\"Call completed elsewhere\"");
    bed.send(&phones[1].flow, &phones[1].reply(&cancel, 200, "OK", ""));
    bed.send(&phones[1].flow, &phones[1].reply(&second, 487, "Request Terminated", ""));
    bed.expect(&phones[1].flow, "ACK ");
    let mut caller = Dialog::of_caller(&invite, &answered);
    for method in ["ACK", "BYE"] {
        let request = caller.request(&mut alice, method, "", "");
        bed.send(&alice.flow, &request);
        let got = bed.expect(&phones[0].flow, method);
        if method == "BYE" {
            bed.send(&phones[0].flow, &phones[0].reply(&got, 200, "OK", ""));
            bed.expect(&alice.flow, "SIP/2.0 200 ");
        }
    }
    bed.expect_silence();
    assert_nothing_left(&mut bed);
}

/// Silent, ringing and refusing contacts one after the other: the whole stays within `max_inv_lifetime`.
#[test]
fn a_long_search_ends_in_time() {
    let timers = signaling_core::settings::Timers { max_inv_lifetime: SECOND * 70, ..settings().timers };
    let qs = ["1", "0.9", "0.8", "0.7"];
    let (mut bed, alice, invite, phones) = called(Settings { timers, ..settings() }, &qs);
    bed.advance(SECOND * 31);
    for phone in &phones[..2] {
        while bed.try_receive(&phone.flow).is_some_and(|sip| sip.method() == "INVITE") {}
    }
    bed.advance(SECOND * 30);
    rung(&mut bed, &phones[2]);
    bed.advance(SECOND * 40);
    assert!(bed.try_receive(&phones[3].flow).is_none(), "too late for the fourth");
    bed.discard();
    assert_eq!(bed.proxy.calls(), 0);
    assert!(told_failed(&bed, 408));
    assert!(bed.elapsed() < SECOND * 130);
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.discard();
    assert_nothing_left(&mut bed);
}

/// RFC 3261 §16.10: a CANCEL ends the branches that are open and keeps the others from beginning.
#[test]
fn a_cancel_ends_a_serial_search() {
    let (mut bed, alice, invite, phones) = called(settings(), &["1", "0.5", "0.2"]);
    let first = rung(&mut bed, &phones[0]);
    refuse(&mut bed, &phones[0], &first, 486);
    let second = rung(&mut bed, &phones[1]);
    bed.send(&phones[1].flow, &phones[1].reply(&second, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&phones[1].flow, "CANCEL ");
    bed.expect_silence();
    bed.send(&phones[1].flow, &phones[1].reply(&cancel, 200, "OK", ""));
    refuse(&mut bed, &phones[1], &second, 487);
    ends_with(&mut bed, &alice, &invite, 487);
}

/// RFC 3261 §16.7 step 5: after a 6xx no branch begins.
#[test]
fn a_6xx_ends_a_serial_search() {
    for (disable_6xx_block, next) in [(false, false), (true, true)] {
        let tm = Tm { disable_6xx_block, ..Tm::default() };
        let (mut bed, alice, invite, phones) = called(Settings { tm, ..settings() }, &["1", "0.5"]);
        let offered = rung(&mut bed, &phones[0]);
        refuse(&mut bed, &phones[0], &offered, 603);
        if next {
            let offered = rung(&mut bed, &phones[1]);
            refuse(&mut bed, &phones[1], &offered, 486);
        }
        ends_with(&mut bed, &alice, &invite, if next { 486 } else { 603 });
    }
}

/// The early media of a later contact reach a browser by the answer it has: another SDP would be an error to it.
#[test]
fn a_browser_hears_the_next_contact_by_its_one_answer() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::browser(&mut bed, "alice", "198.51.100.7:50000");
    alice.register(&mut bed);
    let phones = phones(&mut bed, &["1", "0.5"]);
    alice.invite(&mut bed, "sip:bob@sip.example", "call-1", &browser_sdp("alice"));
    let first = rung(&mut bed, &phones[0]);
    bed.send(&phones[0].flow, &phones[0].reply(&first, 183, "Progress", &legacy_sdp("bob")));
    assert!(!bed.expect(&alice.flow, "SIP/2.0 183 ").body().is_empty());
    refuse(&mut bed, &phones[0], &first, 486);
    let second = rung(&mut bed, &phones[1]);
    bed.send(&phones[1].flow, &phones[1].reply(&second, 183, "Progress", &legacy_sdp("bob")));
    assert!(bed.expect(&alice.flow, "SIP/2.0 183 ").body().is_empty());
    let answers = bed.media.log.borrow().iter().filter(|asked| matches!(asked, Asked::Answer(_))).count();
    assert_eq!(answers, 2, "the relay has heard both");
    bed.send(&phones[1].flow, &phones[1].reply(&second, 200, "OK", &legacy_sdp("bob")));
    assert!(!bed.expect(&alice.flow, "SIP/2.0 200 ").body().is_empty());
    assert_eq!(bed.media.open.borrow().len(), 1);
}

// RFC 3263 §4.3: several addresses.

/// Alice, and the two servers of pair.example.
fn pair(settings: Settings) -> (Bed, Phone, [Phone; 2]) {
    let mut bed = Bed::with(&["alice"], settings, Vec::new());
    let alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let servers = ["203.0.113.5:5060", "203.0.113.6:5060"].map(|remote| Phone::legacy(&mut bed, "x", remote));
    (bed, alice, servers)
}

fn call_pair(bed: &mut Bed, alice: &mut Phone, call_id: &str) -> Sip {
    alice.invite(bed, "sip:x@pair.example", call_id, &legacy_sdp("alice"))
}

#[test]
fn a_silent_server_is_followed_by_the_next() {
    let (mut bed, mut alice, [first, second]) = pair(settings());
    let invite = call_pair(&mut bed, &mut alice, "call-1");
    let tried = rung(&mut bed, &first);
    bed.advance(SECOND * 29);
    assert!(bed.try_receive(&second.flow).is_none());
    bed.advance(SECOND);
    let offered = rung(&mut bed, &second);
    assert_ne!(tried.header("Via"), offered.header("Via"), "a branch of its own");
    while bed.try_receive(&first.flow).is_some() {}
    refuse(&mut bed, &second, &offered, 404);
    ends_with(&mut bed, &alice, &invite, 404);
}

#[test]
fn a_server_that_has_no_time_is_followed_by_the_next() {
    for (code, followed) in [(503, true), (430, true), (500, false), (486, false)] {
        let (mut bed, mut alice, [first, second]) = pair(settings());
        let invite = call_pair(&mut bed, &mut alice, "call-1");
        let offered = rung(&mut bed, &first);
        refuse(&mut bed, &first, &offered, code);
        if followed {
            let offered = rung(&mut bed, &second);
            refuse(&mut bed, &second, &offered, 503);
        }
        ends_with(&mut bed, &alice, &invite, if followed { 500 } else { code });
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_followed_by_the_next() {
    let (mut bed, mut alice, [first, second]) = pair(settings());
    bed.unreachable.push((Protocol::Udp, first.flow.remote));
    let invite = call_pair(&mut bed, &mut alice, "call-1");
    let offered = rung(&mut bed, &second);
    refuse(&mut bed, &second, &offered, 480);
    ends_with(&mut bed, &alice, &invite, 480);
    bed.unreachable.push((Protocol::Udp, second.flow.remote));
    let invite = call_pair(&mut bed, &mut alice, "call-2");
    ends_with(&mut bed, &alice, &invite, 500);
}

/// A request that is no INVITE must be over within `max_noninv_lifetime`: each server has its share of it.
#[test]
fn a_message_finds_the_second_server_in_time() {
    let (mut bed, mut alice, [first, second]) = pair(settings());
    let request = alice.request("MESSAGE", "sip:x@pair.example", "message-1", "", "hello");
    bed.send(&alice.flow, &request);
    let challenge = bed.receive(&alice.flow);
    let again = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &again);
    bed.expect(&first.flow, "MESSAGE ");
    bed.advance(SECOND * 16);
    let message = bed.expect(&second.flow, "MESSAGE ");
    bed.send(&second.flow, &second.reply(&message, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
}

/// A CANCEL while one server is tried keeps the next one from being tried.
#[test]
fn a_cancelled_call_fails_over_to_nobody() {
    let (mut bed, mut alice, [first, second]) = pair(settings());
    let invite = call_pair(&mut bed, &mut alice, "call-1");
    let offered = rung(&mut bed, &first);
    bed.send(&first.flow, &first.reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&first.flow, "CANCEL ");
    bed.send(&first.flow, &first.reply(&cancel, 200, "OK", ""));
    refuse(&mut bed, &first, &offered, 503);
    assert!(bed.try_receive(&second.flow).is_none());
    ends_with(&mut bed, &alice, &invite, 500);
}

// The destination blocklist.

/// The call ends with 486, acknowledged.
#[track_caller]
fn busy(bed: &mut Bed, alice: &Phone, invite: &Sip, phone: &Phone, offered: &Sip) {
    refuse(bed, phone, offered, 486);
    let refused = bed.expect(&alice.flow, "SIP/2.0 486 ");
    bed.send(&alice.flow, &ack_of(&invite.text, &refused));
}

#[test]
fn a_silent_server_is_avoided_for_a_while_where_that_is_set() {
    for use_dst_blocklist in [false, true] {
        let blst = Blst { use_dst_blocklist, dst_blocklist_expire: SECOND * 120, ..Blst::default() };
        let (mut bed, mut alice, [first, second]) = pair(Settings { blst, ..settings() });
        let invite = call_pair(&mut bed, &mut alice, "call-1");
        bed.advance(SECOND * 30);
        let offered = rung(&mut bed, &second);
        bed.discard();
        busy(&mut bed, &alice, &invite, &second, &offered);
        let invite = call_pair(&mut bed, &mut alice, "call-2");
        let (tried, other) = if use_dst_blocklist { (&second, &first) } else { (&first, &second) };
        let offered = rung(&mut bed, tried);
        assert!(bed.try_receive(&other.flow).is_none());
        busy(&mut bed, &alice, &invite, tried, &offered);
        bed.advance(SECOND * 120);
        call_pair(&mut bed, &mut alice, "call-3");
        rung(&mut bed, &first);
    }
}

/// `blst_503` with Retry-After, its bounds, and its default.
#[test]
fn a_server_that_answers_503_is_left_alone_for_as_long_as_it_asks() {
    let blst = Blst {
        blst_503: true,
        blst_503_def_timeout: SECOND * 5,
        blst_503_min_timeout: SECOND * 10,
        blst_503_max_timeout: SECOND * 60,
        ..Blst::default()
    };
    for (retry_after, seconds) in [
        ("", 5),
        ("Retry-After: 1\r\n", 10),
        ("Retry-After: 30 (busy)\r\n", 30),
        ("Retry-After: 900\r\n", 60),
    ] {
        let (mut bed, mut alice, servers) = pair(Settings { blst, ..settings() });
        let busy = |bed: &mut Bed, alice: &mut Phone, call_id: &str, servers: &[&Phone], headers: &str| {
            let invite = call_pair(bed, alice, call_id);
            for server in servers {
                let offered = rung(bed, server);
                let reply =
                    server.reply(&offered, 503, "Busy", "").replace("CSeq:", &format!("{headers}CSeq:"));
                bed.send(&server.flow, &reply);
                bed.expect(&server.flow, "ACK ");
            }
            let refused = bed.expect(&alice.flow, "SIP/2.0 500 ");
            bed.send(&alice.flow, &ack_of(&invite.text, &refused));
        };
        let [first, second] = &servers;
        busy(&mut bed, &mut alice, "call-1", &[first, second], retry_after);
        let request =
            alice.request("INVITE", "sip:x@pair.example", "call-2", "Contact: <sip:a@198.51.100.7>\r\n", "");
        let (again, refused) = alice.authorize(&mut bed, &request);
        assert_eq!(refused.start_line(), "SIP/2.0 500 Destination blocklisted", "{seconds}");
        bed.send(&alice.flow, &ack_of(&again, &refused));
        bed.advance(SECOND * seconds);
        busy(&mut bed, &mut alice, "call-3", &[first, second], retry_after);
        bed.expect_silence();
    }
}

/// RFC 5626 §7: the flows of one instance lead to one phone, which rings once: over the newest, else over another.
#[test]
fn the_flows_of_one_instance_are_tried_one_after_the_other() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let flows: Vec<Phone> = (1..=2)
        .map(|number| {
            let mut phone = Phone::browser(&mut bed, "bob", &format!("198.51.100.8:5000{number}"));
            phone.contact_params = format!(";reg-id={number};+sip.instance=\"<urn:uuid:bob>\"");
            phone.contact = format!("sip:bob{number}@df7jal23ls0d.invalid;transport=ws");
            phone.register(&mut bed);
            phone
        })
        .collect();
    let invite = alice.invite(&mut bed, "sip:bob@sip.example", "call-1", &legacy_sdp("alice"));
    let offered = rung(&mut bed, &flows[1]);
    bed.expect_silence();
    refuse(&mut bed, &flows[1], &offered, 430);
    let offered = rung(&mut bed, &flows[0]);
    refuse(&mut bed, &flows[0], &offered, 486);
    ends_with(&mut bed, &alice, &invite, 486);
}

// RFC 5393.

#[test]
fn max_breadth_is_shared_by_the_branches() {
    let ask = |max_breadth: &str, qs: &[&str]| {
        let mut bed = Bed::new(&["alice", "bob"]);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
        let phones = phones(&mut bed, qs);
        let more = format!("{max_breadth}Contact: <sip:alice@198.51.100.7:5060>\r\n");
        let request = alice.request("INVITE", "sip:bob@sip.example", "call-1", &more, "");
        bed.send(&alice.flow, &request);
        let challenge = bed.receive(&alice.flow);
        if challenge.code() != 407 {
            return (bed, phones, vec![], challenge.code());
        }
        bed.send(&alice.flow, &ack_of(&request, &challenge));
        let again = alice.with_credentials(&request, &challenge);
        bed.send(&alice.flow, &again);
        let got = phones.iter().filter_map(|phone| bed.try_receive(&phone.flow));
        let shares = got.map(|sip| sip.headers("Max-Breadth").join(",")).collect();
        (bed, phones, shares, 100)
    };
    for (max_breadth, qs, shares) in [
        ("", &["1"][..], &["60"][..]),
        ("", &["1", "1", "1"], &["20", "20", "20"]),
        ("Max-Breadth: 5\r\n", &["1", "1", "1"], &["2", "2", "1"]),
        ("Max-Breadth: 5\r\n", &["1", "0.5"], &["2"]),
        ("Max-Breadth: 900000000000\r\n", &["1"], &["60"]),
        ("Max-Breadth: 2\r\n", &["1", "1", "1"], &["1", "1"]),
    ] {
        assert_eq!(ask(max_breadth, qs).2, shares, "{max_breadth}{qs:?}");
    }
    assert_eq!(ask("Max-Breadth: 0\r\n", &["1"]).3, 440);
    assert_eq!(ask("Max-Breadth: many\r\n", &["1"]).3, 400);
}

/// With less breadth than contacts they ring in turn (RFC 5393 §5.3.3: the proxy may fork serially instead).
#[test]
fn a_narrow_request_forks_serially() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let phones = phones(&mut bed, &["1", "1"]);
    let more = "Max-Breadth: 1\r\nContact: <sip:alice@198.51.100.7:5060>\r\n";
    let request = alice.request("INVITE", "sip:bob@sip.example", "call-1", more, &legacy_sdp("alice"));
    let (again, _) = alice.authorize(&mut bed, &request);
    for phone in &phones {
        let offered = rung(&mut bed, phone);
        assert_eq!(offered.header("Max-Breadth"), "1");
        bed.expect_silence();
        refuse(&mut bed, phone, &offered, 486);
    }
    ends_with(&mut bed, &alice, &Sip { text: again }, 486);
}

/// RFC 5393 §4: a contact that leads back here is a loop, whatever the other branches do.
#[test]
fn a_branch_that_comes_back_is_a_loop() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut mirror = Phone::legacy(&mut bed, "bob", "198.51.100.8:5060");
    mirror.contact = "sip:bob@sip.example:5060".to_owned();
    mirror.register(&mut bed);
    let phone = phones(&mut bed, &[""]).remove(0);
    let request = alice.request("MESSAGE", "sip:bob@sip.example:5060", "message-1", "", "hello");
    bed.send(&alice.flow, &request);
    let challenge = bed.receive(&alice.flow);
    let again = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &again);
    let looped = bed.expect(&mirror.flow, "MESSAGE ");
    let message = bed.expect(&phone.flow, "MESSAGE ");
    let branch = mirror.branch();
    let back = looped.text.replacen("Via:", &format!("Via: {}\r\nVia:", mirror.via(&branch)), 1);
    bed.send(&mirror.flow, &back);
    bed.expect(&mirror.flow, "SIP/2.0 482 Loop Detected");
    bed.send(&mirror.flow, &mirror.reply(&looped, 482, "Loop Detected", ""));
    bed.expect_silence();
    bed.send(&phone.flow, &phone.reply(&message, 200, "OK", ""));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    bed.expect_silence();
}

// Voicemail.

fn with_voicemail() -> Settings {
    let voicemail = Some(Voicemail { host: "203.0.113.9".into(), port: 5070 });
    Settings { voicemail, ..settings() }
}

#[test]
fn a_call_that_nobody_takes_goes_to_voicemail() {
    for (why, code) in [(Untaken::Busy, 486), (Untaken::Offline, 480), (Untaken::NoAnswer, 408)] {
        let (mut bed, mut alice, invite, phones) = called(with_voicemail(), &["1"]);
        let server = Phone::legacy(&mut bed, "voicemail", "203.0.113.9:5070");
        let offered = rung(&mut bed, &phones[0]);
        if why == Untaken::NoAnswer {
            bed.send(&phones[0].flow, &phones[0].reply(&offered, 180, "Ringing", ""));
            bed.expect(&alice.flow, "SIP/2.0 180 ");
            bed.advance(SECOND * 120);
            let cancel = bed.expect(&phones[0].flow, "CANCEL ");
            bed.send(&phones[0].flow, &phones[0].reply(&cancel, 200, "OK", ""));
            refuse(&mut bed, &phones[0], &offered, 487);
        } else {
            refuse(&mut bed, &phones[0], &offered, code);
        }
        let diverted = bed.expect(&server.flow, "INVITE sip:bob@203.0.113.9:5070 SIP/2.0");
        assert!(bed.events.iter().any(
            |event| matches!(event, Event::CallDiverted { aor, why: told, .. } if aor == "bob@sip.example" && *told == why)
        ));
        bed.send(&server.flow, &server.reply(&diverted, 200, "OK", &legacy_sdp("voicemail")));
        let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
        let mut caller = Dialog::of_caller(&invite, &answered);
        for method in ["ACK", "BYE"] {
            let request = caller.request(&mut alice, method, "", "");
            bed.send(&alice.flow, &request);
            let got = bed.expect(&server.flow, method);
            if method == "BYE" {
                bed.send(&server.flow, &server.reply(&got, 200, "OK", ""));
                bed.expect(&alice.flow, "SIP/2.0 200 ");
            }
        }
        bed.expect_silence();
        assert_nothing_left(&mut bed);
    }
}

#[test]
fn an_offline_user_has_voicemail_and_an_unknown_one_has_not() {
    let mut bed = Bed::with(&["alice", "bob"], with_voicemail(), Vec::new());
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let server = Phone::legacy(&mut bed, "voicemail", "203.0.113.9:5070");
    let invite = alice.invite(&mut bed, "sip:bob@sip.example", "call-1", &legacy_sdp("alice"));
    let diverted = bed.expect(&server.flow, "INVITE sip:bob@203.0.113.9:5070 ");
    refuse(&mut bed, &server, &diverted, 404);
    ends_with(&mut bed, &alice, &invite, 404);
    for (method, uri, code) in [
        ("INVITE", "sip:carol@sip.example", 404),
        ("MESSAGE", "sip:bob@sip.example", 480),
        ("OPTIONS", "sip:bob@sip.example", 480),
    ] {
        let more = "Contact: <sip:alice@198.51.100.7:5060>\r\n";
        let request = alice.request(method, uri, &format!("{method}-1"), more, "");
        assert_eq!(alice.authorized(&mut bed, &request).code(), code, "{method}");
    }
    let more = "Contact: <sip:alice@198.51.100.7:5060>\r\nEvent: message-summary\r\n";
    let request = alice.request("SUBSCRIBE", "sip:bob@sip.example", "subscribe-1", more, "");
    bed.send(&alice.flow, &request);
    let challenge = bed.receive(&alice.flow);
    let again = alice.with_credentials(&request, &challenge);
    bed.send(&alice.flow, &again);
    bed.expect(&server.flow, "SUBSCRIBE sip:bob@203.0.113.9:5070 ");
}

/// Refused by the callee himself, given up by the caller, or refused by voicemail too: that is the end.
#[test]
fn not_every_failure_goes_to_voicemail() {
    for code in [603, 403, 404, 302] {
        let (mut bed, alice, invite, phones) = called(with_voicemail(), &["1"]);
        let offered = rung(&mut bed, &phones[0]);
        refuse(&mut bed, &phones[0], &offered, code);
        ends_with(&mut bed, &alice, &invite, code);
    }
    let (mut bed, alice, invite, phones) = called(with_voicemail(), &["1"]);
    let offered = rung(&mut bed, &phones[0]);
    bed.send(&phones[0].flow, &phones[0].reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    bed.send(&alice.flow, &cancel_of(&invite));
    bed.expect(&alice.flow, "SIP/2.0 200 ");
    let cancel = bed.expect(&phones[0].flow, "CANCEL ");
    bed.send(&phones[0].flow, &phones[0].reply(&cancel, 200, "OK", ""));
    refuse(&mut bed, &phones[0], &offered, 486);
    ends_with(&mut bed, &alice, &invite, 486);

    let (mut bed, alice, invite, phones) = called(with_voicemail(), &["1", "0.5"]);
    let server = Phone::legacy(&mut bed, "voicemail", "203.0.113.9:5070");
    for phone in &phones {
        let offered = rung(&mut bed, phone);
        refuse(&mut bed, phone, &offered, 486);
    }
    let diverted = bed.expect(&server.flow, "INVITE ");
    refuse(&mut bed, &server, &diverted, 480);
    ends_with(&mut bed, &alice, &invite, 480);
}

/// A call to elsewhere is not ours to divert.
#[test]
fn a_foreign_callee_has_no_voicemail_here() {
    let (mut bed, mut alice, [first, _]) = pair(with_voicemail());
    let invite = call_pair(&mut bed, &mut alice, "call-1");
    let offered = rung(&mut bed, &first);
    refuse(&mut bed, &first, &offered, 486);
    ends_with(&mut bed, &alice, &invite, 486);
}

/// The gateway stops while a call is on its way from one contact to the next.
#[test]
fn a_shutdown_ends_a_search() {
    let (mut bed, alice, _, phones) = called(settings(), &["1", "0.5"]);
    rung(&mut bed, &phones[0]);
    bed.begin_shutdown();
    bed.expect(&alice.flow, "SIP/2.0 503 ");
    bed.advance(SECOND * 40);
    assert!(bed.try_receive(&phones[1].flow).is_none());
    assert!(bed.media.is_clean());
}

/// A callee whose answer crosses our 408 is not left in a call that nobody is in.
#[test]
fn an_answer_after_the_end_is_hung_up_on() {
    let timers = signaling_core::settings::Timers {
        max_inv_lifetime: SECOND * 20,
        fr_timer: SECOND * 20,
        ..settings().timers
    };
    let (mut bed, alice, _, phones) = called(Settings { timers, ..settings() }, &["1"]);
    let offered = rung(&mut bed, &phones[0]);
    bed.send(&phones[0].flow, &phones[0].reply(&offered, 180, "Ringing", ""));
    bed.expect(&alice.flow, "SIP/2.0 180 ");
    // Cancelled, but the callee hears nothing of it; at 40 s the caller's transaction has lived too long.
    bed.advance(SECOND * 40);
    bed.discard_but(&alice.flow);
    bed.expect(&alice.flow, "SIP/2.0 408 ");
    bed.send(&phones[0].flow, &phones[0].reply(&offered, 200, "OK", &legacy_sdp("bob")));
    bed.expect(&phones[0].flow, "ACK ");
    bed.expect(&phones[0].flow, "BYE ");
    assert!(bed.media.is_clean());
}

/// Over a stream nothing is repeated, and a closed connection is known at once: the other flow rings in its place.
#[test]
fn a_lost_websocket_leaves_the_search_to_the_others() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let mut browser = Phone::browser(&mut bed, "bob", "198.51.100.8:50001");
    browser.contact_params.push_str(";q=1.0");
    browser.register(&mut bed);
    let phone = phones(&mut bed, &["0.5"]).remove(0);
    let invite = alice.invite(&mut bed, "sip:bob@sip.example", "call-1", &legacy_sdp("alice"));
    rung(&mut bed, &browser);
    bed.close(&browser.flow);
    let offered = rung(&mut bed, &phone);
    assert_eq!(phone.flow.protocol, Protocol::Udp);
    refuse(&mut bed, &phone, &offered, 486);
    ends_with(&mut bed, &alice, &invite, 486);
}
