//! What is refused when there is no time or no room, and what is not.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use signaling_core::event::Event;
use signaling_core::flow::{Flow, Inbound, Protocol};
use signaling_core::settings::{Pike, Settings};

use crate::testbed::{Bed, Dialog, Phone, ack_of, legacy_sdp, settings};

const LATE: Duration = Duration::from_secs(2);

/// A message that has waited.
fn send_late(bed: &mut Bed, flow: &Flow, text: &str, waited: Duration) {
    let inbound = Inbound { flow: *flow, bytes: Bytes::copy_from_slice(text.as_bytes()) };
    bed.proxy.handle_delayed(bed.now, waited, inbound);
    bed.drain();
}

/// Messages that all come out late, for some time: the worker does not keep up. One address sends them, and most are a flood.
fn overload(bed: &mut Bed) {
    let mut noise = Phone::legacy(bed, "noise", "198.51.100.99:5060");
    for _ in 0..70 {
        let options = noise.request("OPTIONS", "sip:sip.example", "noise", "", "");
        send_late(bed, &noise.flow, &options, LATE);
        bed.advance(Duration::from_millis(2));
    }
    bed.discard();
    assert!(bed.events.iter().any(|event| matches!(event, Event::Overloaded { .. })));
}

#[test]
fn what_is_new_is_refused_and_what_has_begun_goes_on() {
    let mut bed = Bed::new(&["alice", "bob"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.1:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.2:5060");
    bob.register(&mut bed);
    let invite = alice.invite(&mut bed, &bob.aor(), "call-1", &legacy_sdp("alice"));
    let offered = bed.expect(&bob.flow, "INVITE ");
    overload(&mut bed);

    // The call that rings is answered, acknowledged and ended.
    send_late(&mut bed, &alice.flow, &invite.text, LATE);
    bed.expect(&alice.flow, "SIP/2.0 100 ");
    let ok = bob.reply(&offered, 200, "OK", &legacy_sdp("bob"));
    send_late(&mut bed, &bob.flow, &ok, LATE);
    let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
    let mut dialog = Dialog::of_caller(&invite, &answered);
    for (method, code) in [("ACK", 0), ("BYE", 200)] {
        let request = dialog.request(&mut alice, method, "", "");
        send_late(&mut bed, &alice.flow, &request, LATE);
        let there = bed.expect(&bob.flow, method);
        if code != 0 {
            send_late(&mut bed, &bob.flow, &bob.reply(&there, code, "OK", ""), LATE);
            bed.expect(&alice.flow, "SIP/2.0 200 ");
        }
    }

    // A new one is not, however often it is asked for, and no transaction is spent on it.
    let before = bed.proxy.transaction_stats();
    let again = alice.request("INVITE", &bob.aor(), "call-2", "", &legacy_sdp("alice"));
    let mut tags = Vec::new();
    for _ in 0..3 {
        send_late(&mut bed, &alice.flow, &again, LATE);
        let refused = bed.expect(&alice.flow, "SIP/2.0 503 ");
        assert_eq!(refused.header("Retry-After"), "10");
        assert!(refused.header("Via").contains(";rport=5060"), "{}", refused.text);
        tags.push(refused.tag("To").to_owned());
        bed.send(&alice.flow, &ack_of(&again, &refused));
    }
    assert!(tags.windows(2).all(|two| two[0] == two[1] && !two[0].is_empty()), "{tags:?}");
    let register = bob.register_text(600);
    send_late(&mut bed, &bob.flow, &register, LATE);
    bed.expect(&bob.flow, "SIP/2.0 503 ");
    bed.expect_silence();
    assert_eq!(bed.proxy.transaction_stats().total, before.total);
    assert_eq!((bed.proxy.stats().overload, bed.proxy.stats().strays), (4, 0));

    // What comes out in time is served, and after a second of that all is well.
    for (number, ended) in [(1, false), (2, true)] {
        let options = alice.request("OPTIONS", "sip:sip.example", &format!("back-{number}"), "", "");
        send_late(&mut bed, &alice.flow, &options, Duration::from_millis(5));
        bed.expect(&alice.flow, "SIP/2.0 200 ");
        let told = bed.events.iter().any(|event| matches!(event, Event::OverloadEnded { refused: 4 }));
        assert_eq!(told, ended);
        bed.advance(Duration::from_secs(1));
    }
}

#[test]
fn a_full_worker_refuses_what_is_new() {
    let mut settings = settings();
    settings.limits.max_pending = 0;
    let mut bed = Bed::with(&["alice"], settings, Vec::new());
    let flow = bed.flow(Protocol::Udp, "198.51.100.1:5060");
    let mut alice = Phone::on(flow, "alice", "sip:alice@198.51.100.1".into());
    let options = alice.request("OPTIONS", "sip:sip.example", "full", "", "");
    bed.send(&alice.flow, &options);
    bed.expect(&alice.flow, "SIP/2.0 503 ");
    let ack = alice.request("ACK", "sip:sip.example", "full", "", "");
    bed.send(&alice.flow, &ack);
    bed.expect_silence();
}

/// What a worker that serves 200 requests a second pays for one, and for a refusal.
const SERVE: Duration = Duration::from_millis(5);
const REFUSE: Duration = Duration::from_micros(500);
/// Until then five times as many come, from then on half as many.
const FLOOD: Duration = Duration::from_secs(8);
/// When all has to be as ever.
const NORMAL: Duration = Duration::from_secs(13);
const END: Duration = Duration::from_secs(20);

/// A request of somebody who asks again until he is answered.
struct Asked {
    text: String,
    begun: Duration,
    /// When, and with which code.
    answered: Option<(Duration, u16)>,
}

/// Serves what `asked` ask, in virtual time: what comes while the worker is busy waits.
fn work_off(bed: &mut Bed, flow: &Flow, asked: &mut [Asked]) {
    let mut coming: BTreeSet<(Duration, usize, u32)> =
        asked.iter().enumerate().map(|(number, asked)| (asked.begun, number, 0)).collect();
    let mut queue = VecDeque::new();
    loop {
        while let Some(&(at, number, times)) = coming.first().filter(|(at, ..)| *at <= bed.elapsed()) {
            coming.pop_first();
            if asked[number].answered.is_none() {
                queue.push_back((at, number));
                let again = Duration::from_millis(500 << times.min(3));
                coming.insert((at + again, number, times + 1));
            }
        }
        let Some((at, number)) = queue.pop_front() else {
            let Some((next, ..)) = coming.first() else { return };
            bed.advance(*next - bed.elapsed());
            continue;
        };
        let (waited, begun) = (bed.elapsed() - at, bed.proxy.transaction_stats().total);
        send_late(bed, flow, &asked[number].text, waited);
        // What is asked again costs no more than a refusal.
        bed.advance(if bed.proxy.transaction_stats().total > begun { SERVE } else { REFUSE });
        while let Some(reply) = bed.try_receive(flow) {
            let number: usize = reply.header("Call-ID").parse().expect("a number");
            asked[number].answered.get_or_insert((bed.elapsed(), reply.code()));
        }
    }
}

#[test]
fn five_seconds_after_five_times_the_load_all_is_as_ever() {
    // All of it comes from one address here.
    let pike = Pike { reqs_density_per_unit: 0, ..Pike::default() };
    let mut bed = Bed::with(&[], Settings { pike, ..settings() }, Vec::new());
    let mut phone = Phone::legacy(&mut bed, "load", "198.51.100.99:5060");
    let mut asked = Vec::new();
    let mut begun = Duration::ZERO;
    while begun < END {
        let number = asked.len().to_string();
        let text = phone.request("OPTIONS", "sip:sip.example", &number, "", "");
        asked.push(Asked { text, begun, answered: None });
        begun += if begun < FLOOD { SERVE / 5 } else { 2 * SERVE };
    }
    work_off(&mut bed, &phone.flow, &mut asked);

    let count = |wanted: u16| {
        let flood = asked.iter().take_while(|asked| asked.begun < FLOOD);
        flood.filter(|asked| asked.answered.is_some_and(|(_, code)| code == wanted)).count()
    };
    let (served, refused) = (count(200), count(503));
    // Beside a refusal for each of the others there is time for 111 a second.
    assert!(served > 850 && refused > 6000, "{served} served, {refused} refused");
    for asked in asked.iter().skip_while(|asked| asked.begun < NORMAL) {
        let (at, code) = asked.answered.expect("an answer");
        let took = at - asked.begun;
        assert!(code == 200 && took < Duration::from_millis(500), "{:?}: {code} after {took:?}", asked.begun);
    }
    assert!(bed.events.iter().any(|event| matches!(event, Event::OverloadEnded { .. })));
}

/// Kamailio's pike: a stranger who sends more than a phone does is not heard for five minutes; a phone that has given its password
/// is, from the same address, and so are responses. STUN counts, and is not answered where the answer would be the longer.
#[test]
fn a_flood_is_dropped_and_phones_at_its_address_are_not() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    let options = |number: usize| {
        format!(
            "OPTIONS sip:sip.example SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.66:5060;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:eve@evil.example>;tag=1\r\nTo: <sip:sip.example>\r\nCall-ID: {number}\r\n\
             CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    // One that names its software (RFC 8489 §14.14), and one that does not.
    let stun = *b"\0\x01\0\x10\x21\x12\xa4\x42abcdefghijkl\x80\x22\0\x0canybody, 1.0";
    let short = *b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl";
    for number in 0..8 {
        bed.send(&eve, &options(number));
        bed.expect(&eve, "SIP/2.0 200 ");
    }
    let before = bed.proxy.stats().keepalives;
    bed.send_bytes(&eve, &short);
    bed.expect_silence();
    assert_eq!(bed.proxy.stats().unamplified, 1);
    for _ in 0..7 {
        bed.proxy.handle_inbound(bed.now, Inbound { flow: eve, bytes: Bytes::copy_from_slice(&stun) });
        assert!(bed.proxy.poll_transmit().is_some());
    }
    assert_eq!(bed.proxy.stats().keepalives, before + 7);
    for number in 100..200 {
        bed.send(&eve, &options(number));
    }
    bed.send_bytes(&eve, &stun);
    bed.expect_silence();
    assert_eq!(bed.proxy.stats().flooded, 101);
    let told = bed.events.iter().filter(|event| matches!(event, Event::Flooded { .. })).count();
    assert_eq!(told, 1, "once");
    bed.advance(Duration::from_secs(300));
    bed.send(&eve, &options(300));
    bed.expect(&eve, "SIP/2.0 200 ");

    alice.register(&mut bed);
    let neighbour = bed.flow(Protocol::Udp, "198.51.100.7:6000");
    for number in 400..500 {
        bed.send(&neighbour, &options(number).replace("198.51.100.66:5060", "198.51.100.7:6000"));
    }
    bed.discard();
    for _ in 0..20 {
        assert_eq!(alice.register(&mut bed).code(), 200);
    }
    bed.advance(Duration::from_secs(2));
    bed.send(&neighbour, &options(500).replace("198.51.100.66:5060", "198.51.100.7:6000"));
    bed.expect(&neighbour, "SIP/2.0 200 ");
}

/// The trunk that our calls go to ends as many of them as it likes.
#[test]
fn whoever_has_answered_a_call_is_no_stranger() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.register(&mut bed);
    let trunk = bed.flow(Protocol::Udp, "203.0.113.5:5060");
    let trunk = Phone::on(trunk, "trunk", "sip:trunk@203.0.113.5:5060".into());
    let mut dialogs = Vec::new();
    for number in 0..30 {
        let (uri, call_id) = (format!("sip:{number}@elsewhere.example"), format!("call-{number}"));
        let invite = alice.invite(&mut bed, &uri, &call_id, &legacy_sdp("alice"));
        let offered = bed.expect(&trunk.flow, "INVITE ");
        let answer = trunk.reply(&offered, 200, "OK", &legacy_sdp("trunk"));
        bed.send(&trunk.flow, &answer);
        let answered = bed.expect(&alice.flow, "SIP/2.0 200 ");
        let ack = Dialog::of_caller(&invite, &answered).request(&mut alice, "ACK", "", "");
        bed.send(&alice.flow, &ack);
        bed.expect(&trunk.flow, "ACK ");
        dialogs.push(Dialog::of_callee(&offered, &crate::testbed::Sip { text: answer }));
    }
    let mut phone = trunk.clone();
    for mut dialog in dialogs {
        let bye = dialog.request(&mut phone, "BYE", "", "");
        bed.send(&trunk.flow, &bye);
        bed.expect(&alice.flow, "BYE ");
    }
}
