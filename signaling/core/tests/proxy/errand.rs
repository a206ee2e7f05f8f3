//! Requests that an operator sends (Kamailio's `tm.t_uac_start` and `tm.t_uac_wait`).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use signaling_core::flow::Protocol;
use signaling_core::proxy::errand::Errand;
use signaling_core::settings::Settings;

use crate::testbed::{Bed, Phone, settings};

const HEADERS: &str =
    "From: <sip:operator@sip.example>\r\nTo: <sip:bob@sip.example>\r\nContent-Type: text/plain\r\n";

/// What was heard: the status, or 0 when there was no answer.
type Heard = Rc<RefCell<Vec<u16>>>;

fn send(bed: &mut Bed, method: &str, uri: &str, next_hop: &str) -> Heard {
    let errand = Errand::read(method, uri, next_hop, HEADERS, "hello").expect("an errand");
    let heard = Heard::default();
    let told = Rc::clone(&heard);
    bed.proxy
        .send_errand(bed.now, &errand, "errand-1", move |response| {
            told.borrow_mut().push(response.map_or(0, |response| response.status().code()));
        })
        .expect("room");
    bed.drain();
    heard
}

#[track_caller]
fn assert_over(bed: &mut Bed) {
    bed.advance(Duration::from_secs(60));
    bed.expect_silence();
    let stats = bed.proxy.transaction_stats();
    assert_eq!((stats.current, stats.created - stats.freed), (0, 0));
}

/// A user's phones have it, be they behind a WebSocket, also of methods that are not for strangers; the answer comes back.
#[test]
fn a_user_is_reached_where_he_is_registered() {
    for (method, browser) in [("MESSAGE", true), ("NOTIFY", false)] {
        let mut bed = Bed::new(&["bob"]);
        let mut bob = match browser {
            true => Phone::browser(&mut bed, "bob", "203.0.113.2:41000"),
            false => Phone::legacy(&mut bed, "bob", "198.51.100.2:5060"),
        };
        bob.register(&mut bed);
        let heard = send(&mut bed, method, "sip:bob@sip.example", "");
        let there = bed.expect(&bob.flow, method);
        assert_eq!((there.body(), there.header("Call-ID")), ("hello", "errand-1"));
        assert!(!there.tag("From").is_empty() && heard.borrow().is_empty());
        bed.send(&bob.flow, &bob.reply(&there, 202, "Accepted", ""));
        assert_eq!(*heard.borrow(), [202]);
        assert_over(&mut bed);
    }
}

/// Of two who might say who sends it the operator goes first.
#[test]
fn who_sends_it_is_said_once() {
    for (more, expected) in [("", "Switchboard"), ("User-Agent: the operator\r\n", "the operator")] {
        let settings = Settings { user_agent_header: Some("Switchboard".into()), ..settings() };
        let mut bed = Bed::with(&["bob"], settings, Vec::new());
        let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.2:5060");
        bob.register(&mut bed);
        let errand = Errand::read("MESSAGE", "sip:bob@sip.example", "", &format!("{HEADERS}{more}"), "hello");
        bed.proxy.send_errand(bed.now, &errand.expect("an errand"), "errand-1", |_| {}).expect("room");
        bed.drain();
        let there = bed.expect(&bob.flow, "MESSAGE");
        assert_eq!(there.headers("User-Agent"), [expected]);
    }
}

#[test]
fn a_next_hop_has_it_whatever_the_uri_says() {
    let mut bed = Bed::new(&[]);
    let elsewhere = bed.flow(Protocol::Udp, "203.0.113.9:5080");
    let heard = send(&mut bed, "OPTIONS", "sip:bob@sip.example", "sip:203.0.113.9:5080");
    let there = bed.expect(&elsewhere, "OPTIONS sip:bob@sip.example SIP/2.0");
    let phone = Phone::legacy(&mut bed, "bob", "203.0.113.9:5080");
    bed.send(&elsewhere, &phone.reply(&there, 200, "OK", ""));
    assert_eq!(*heard.borrow(), [200]);
    // And without one it goes where the URI leads.
    let heard = send(&mut bed, "OPTIONS", "sip:bob@203.0.113.9:5080", "");
    let there = bed.expect(&elsewhere, "OPTIONS sip:bob@203.0.113.9:5080 SIP/2.0");
    bed.send(&elsewhere, &phone.reply(&there, 486, "Busy Here", ""));
    assert_eq!(*heard.borrow(), [486]);
    assert_over(&mut bed);
}

#[test]
fn who_is_not_there_is_told() {
    let mut bed = Bed::new(&["bob"]);
    assert_eq!(*send(&mut bed, "MESSAGE", "sip:nobody@sip.example", "").borrow(), [404]);
    assert_eq!(*send(&mut bed, "MESSAGE", "sip:bob@sip.example", "").borrow(), [480]);
    // One who says nothing.
    let silent = bed.flow(Protocol::Udp, "203.0.113.9:5080");
    let heard = send(&mut bed, "MESSAGE", "sip:bob@203.0.113.9:5080", "");
    bed.expect(&silent, "MESSAGE ");
    bed.advance(Duration::from_secs(60));
    assert_eq!(heard.borrow().len(), 1, "{heard:?}");
    assert!([0, 408].contains(&heard.borrow()[0]), "{heard:?}");
    bed.discard();
    assert_over(&mut bed);
}

#[test]
fn there_is_no_room_without_end() {
    let mut bed = Bed::new(&[]);
    let errand = Errand::read("OPTIONS", "sip:203.0.113.9", "", HEADERS, "").expect("an errand");
    let sent = (0..300).filter(|number| {
        bed.proxy.send_errand(bed.now, &errand, &format!("errand-{number}"), |_| {}).is_ok()
    });
    assert_eq!(sent.count(), 256);
    bed.advance(Duration::from_secs(60));
    assert!(bed.proxy.send_errand(bed.now, &errand, "later", |_| {}).is_ok());
}
