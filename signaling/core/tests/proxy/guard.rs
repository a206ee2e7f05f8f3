//! Whom the proxy does not answer, what it calls malformed, and whoever guesses passwords.

use std::sync::Arc;
use std::time::Duration;

use signaling_core::acl::{self, Acl, Lists};
use signaling_core::digest::Algorithm;
use signaling_core::event::{AuthFailure, Event, Hostility};
use signaling_core::flow::Protocol;
use signaling_core::settings::{Auth, Pike, Sanity, Secfilter, Settings, Words};

use crate::testbed::{Bed, DOMAIN, Phone, Sip, legacy_sdp, settings};

/// OPTIONS to the proxy, each its own transaction; `changes` are made to the text.
fn options(number: u32, changes: &[(&str, &str)]) -> String {
    let text = format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.66:5060;branch=z9hG4bK-{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:eve@evil.example>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: {number}\r\n\
         CSeq: 1 OPTIONS\r\nUser-Agent: Phone/1.0\r\nContent-Length: 0\r\n\r\n"
    );
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to)
    })
}

fn dropped(bed: &Bed) -> Vec<Hostility> {
    let why = |event: &Event| match event {
        Event::Dropped { why, .. } => Some(*why),
        _ => None,
    };
    bed.events.iter().filter_map(why).collect()
}

/// Nothing is done for them: no answer, no transaction, and the store is not asked.
#[test]
fn scanners_hear_nothing() {
    let mut bed = Bed::new(&["alice"]);
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    *bed.store.broken.borrow_mut() = true;
    for (number, name) in (0..).zip(Secfilter::SCANNERS) {
        let agent = format!("User-Agent: {}/0.3", name.to_uppercase());
        bed.send(&eve, &options(number, &[("User-Agent: Phone/1.0", &agent)]));
    }
    // One that does not even parse would be answered 400.
    let scanner = ("User-Agent: Phone/1.0", "User-Agent: friendly-scanner");
    bed.advance(Duration::from_secs(2));
    bed.send(&eve, &options(50, &[scanner, ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE")]));
    bed.expect_silence();
    assert_eq!(bed.proxy.transaction_stats().total, 0);
    assert_eq!(dropped(&bed), [Hostility::Scanner; 16]);
    assert_eq!(bed.proxy.stats().scanners, 16);
    bed.send(&eve, &options(51, &[]));
    bed.expect(&eve, "SIP/2.0 200 Keepalive");
}

#[test]
fn the_list_of_scanners_is_the_operators() {
    let secfilter = Secfilter { user_agents: Words::new(["phone"]).expect("words"), ..Secfilter::default() };
    let exempt = vec!["203.0.113.0/24".parse().expect("a network")];
    let pike = Pike { exempt, ..Pike::default() };
    let mut bed = Bed::with(&[], Settings { secfilter, pike, ..settings() }, Vec::new());
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    bed.send(&eve, &options(1, &[]));
    bed.expect_silence();
    bed.send(&eve, &options(2, &[("User-Agent: Phone/1.0", "User-Agent: friendly-scanner")]));
    bed.expect(&eve, "SIP/2.0 200 ");
    let watchdog = bed.flow(Protocol::Udp, "203.0.113.5:5060");
    bed.send(&watchdog, &options(3, &[("198.51.100.66", "203.0.113.5")]));
    bed.expect(&watchdog, "SIP/2.0 200 ");
}

#[test]
fn sql_goes_no_further() {
    let mut bed = Bed::new(&[]);
    let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    let attacks = [
        ("From: <sip:eve@", "From: <sip:a'%20or%201=1--@"),
        ("To: <sip:", "To: \"'; drop table subscriber; --\" <sip:"),
        ("Call-ID", "Contact: <sip:x%27%20union%20select%20ha1@198.51.100.66>\r\nCall-ID"),
        ("User-Agent: Phone/1.0", "User-Agent: ' OR '1'='1"),
        ("OPTIONS sip:sip.example", "OPTIONS sip:admin'--@sip.example"),
    ];
    for (number, attack) in (0..).zip(attacks) {
        bed.send(&eve, &options(number, &[attack]));
    }
    bed.expect_silence();
    assert_eq!(dropped(&bed), [Hostility::SqlInjection; 5]);
    assert_eq!((bed.proxy.stats().injections, bed.proxy.transaction_stats().total), (5, 0));
    bed.send(&eve, &options(9, &[("From: <sip:eve@", "From: \"Eve O'Brien\" <sip:o'brien@")]));
    bed.expect(&eve, "SIP/2.0 200 ");
    let secfilter = Secfilter { sqli: false, ..Secfilter::default() };
    let mut bed = Bed::with(&[], Settings { secfilter, ..settings() }, Vec::new());
    bed.send(&eve, &options(0, &[attacks[0]]));
    bed.expect(&eve, "SIP/2.0 200 ");
}

/// The answers of Kamailio's `sanity` module, in its words.
#[test]
fn what_is_malformed_is_told_as_kamailio_tells_it() {
    let mut bed = Bed::new(&[]);
    let eve = bed.flow(Protocol::Tcp, "198.51.100.66:5060");
    let table: [(&[(&str, &str)], &str); 15] = [
        (&[("example SIP/2.0", "example SIP/3.0")], "505 Version Not Supported (R-URI)"),
        (&[("OPTIONS sip:sip.example", "OPTIONS xmpp:a@b")], "416 Unsupported URI Scheme in Request URI"),
        (&[("OPTIONS sip:sip.example", "OPTIONS sip:@")], "400 Bad Request URI"),
        (&[("CSeq: 1 OPTIONS", "CSeq: 1 INVITE")], "400 CSeq method does not match request method"),
        (&[("CSeq: 1 OPTIONS", "CSeq: -1 OPTIONS")], "400 CSeq number is illegal"),
        (&[("CSeq: 1 OPTIONS", "CSeq: 4294967296 OPTIONS")], "400 CSeq number is illegal"),
        (&[("CSeq: 1 OPTIONS", "CSeq: 1")], "400 Missing method in CSeq header"),
        (&[("Content-Length: 0", "Content-Length: 10")], "400 Content-Length mis-match"),
        (&[("Content-Length: 0", "Content-Length: x")], "400 Content-Length mis-match"),
        (&[("User-Agent: Phone/1.0", "Expires: soon")], "400 Expires value is illegal"),
        (&[("User-Agent: Phone/1.0", "Expires:")], "400 Missing number in Expires header"),
        (&[("From: <sip:eve@evil.example>", "From: <sip:@>")], "400 Bad From URI"),
        (&[("To: <sip:sip.example>", "To: <sip:@>")], "400 Bad To URI"),
        (&[("tag=1", "tag=1;tag=2")], "400 Multiple Tags in From or To"),
        (&[("User-Agent: Phone/1.0", "Proxy-Require: magic")], "420 Bad Extension"),
    ];
    for (number, (changes, answer)) in (0..).zip(table) {
        bed.send(&eve, &options(number, changes));
        let reply = bed.receive(&eve);
        assert_eq!(reply.start_line(), format!("SIP/2.0 {answer}"), "{changes:?}");
        bed.advance(Duration::from_secs(1));
    }
    let malformed = bed.events.iter().filter(|event| matches!(event, Event::Malformed { .. })).count();
    assert_eq!(malformed, table.len() - 1, "what is asked too much of us is not malformed");
}

/// The bits are those of Kamailio.
#[test]
fn each_check_has_its_bit() {
    let credentials = |of: &str| format!("Authorization: {of}");
    let (empty, basic) =
        (credentials("Digest username=\"\", nonce=\"n\", response=\"r\""), credentials("Basic YTpi"));
    let with = |line: &str| options(1, &[("User-Agent: Phone/1.0", line)]);
    let route = with("Route: <sip:192.0.2.1>");
    let old = options(1, &[("z9hG4bK-", "old-")]);
    let from = options(1, &[("From: <sip:eve@evil.example>", "From: <sip:@>")]);
    let tags = options(1, &[("tag=1", "tag=1;tag=2")]);
    for (bits, uris, request, code) in [
        (0, 7, &with("Expires: soon"), 200),
        (Sanity::EXPIRES, 7, &with("Expires: soon"), 400),
        (0, 7, &with("Proxy-Require: magic"), 200),
        (Sanity::PROXY_REQUIRE, 7, &with("Proxy-Require: magic"), 420),
        (Sanity::PROXY_REQUIRE, 7, &with("Proxy-Require: Known"), 200),
        (0, 7, &from, 200),
        (Sanity::URIS, 7, &from, 400),
        (Sanity::URIS, 5, &from, 200),
        (0, 7, &tags, 200),
        (Sanity::TAGS, 7, &tags, 400),
        (0, 7, &with(&empty), 200),
        (Sanity::AUTHORIZATION, 7, &with(&empty), 400),
        (Sanity::DIGEST, 7, &with(&empty), 400),
        (Sanity::AUTHORIZATION, 7, &with(&basic), 200),
        (Sanity::DIGEST, 7, &with(&basic), 400),
        (0, 7, &old, 200),
        (Sanity::RFC3261, 7, &old, 400),
        (Sanity::RFC3261, 7, &route, 400),
        (Sanity::RFC3261, 7, &with("Route: <sip:192.0.2.1;lr>"), 200),
    ] {
        let sanity = Sanity { default_checks: bits, uri_checks: uris, proxy_require: vec!["known".into()] };
        let mut bed = Bed::with(&[], Settings { sanity, ..settings() }, Vec::new());
        let eve = bed.flow(Protocol::Udp, "198.51.100.66:5060");
        bed.send(&eve, request);
        assert_eq!(bed.receive(&eve).code(), code, "{bits} {uris} {request}");
    }
}

/// One REGISTER with a wrong password; what it hears after its challenge.
fn guess(bed: &mut Bed, user: &str, from: &str) -> Sip {
    let mut phone = Phone::legacy(bed, user, from);
    phone.password = "guess".into();
    let request = phone.register_text(600);
    let request = request.replace("z9hG4bK-", &format!("z9hG4bK-{}-", bed.elapsed().as_millis()));
    let answer = phone.authorized(bed, &request);
    bed.advance(Duration::from_secs(1));
    answer
}

fn failures(bed: &Bed, wanted: AuthFailure) -> usize {
    let is = |event: &&Event| matches!(event, Event::AuthFailed { reason, .. } if *reason == wanted);
    bed.events.iter().filter(is).count()
}

/// The thirty-first credentials are not looked at, be the password right, and be there such a user.
#[test]
fn whoever_guesses_a_password_is_blocked() {
    for (user, wrong) in [("alice", AuthFailure::WrongPassword), ("nobody", AuthFailure::UnknownUser)] {
        let mut bed = Bed::new(&["alice"]);
        for number in 0..30 {
            let port = 6000 + number;
            assert_eq!(guess(&mut bed, user, &format!("198.51.100.66:{port}")).code(), 401, "{number}");
        }
        *bed.store.broken.borrow_mut() = true;
        let blocked = guess(&mut bed, user, "198.51.100.66:7000");
        assert_eq!(blocked.start_line(), "SIP/2.0 403 Blocked Forbidden");
        let elsewhere = guess(&mut bed, user, "203.0.113.9:7000");
        assert_eq!(elsewhere.start_line(), "SIP/2.0 403 Already Blocked Forbidden");
        let mut right = Phone::legacy(&mut bed, user, "203.0.113.9:7001");
        let request = right.register_text(600);
        assert_eq!(
            right.authorized(&mut bed, &request).start_line(),
            "SIP/2.0 403 Already Blocked Forbidden"
        );
        assert_eq!((failures(&bed, wrong), failures(&bed, AuthFailure::BlockedNow)), (30, 1));
        assert_eq!((failures(&bed, AuthFailure::Blocked), bed.proxy.stats().auth_blocked), (2, 3));
        *bed.store.broken.borrow_mut() = false;
        bed.advance(Duration::from_secs(900));
        let code = if user == "alice" { 200 } else { 401 };
        let mut later = Phone::legacy(&mut bed, user, "203.0.113.9:7002");
        let request = later.register_text(600);
        assert_eq!(later.authorized(&mut bed, &request).code(), code, "it ends");
    }
}

/// Else anybody could lock anybody out.
#[test]
fn a_user_is_not_locked_out_where_he_is_known() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    assert_eq!(alice.register(&mut bed).code(), 200);
    for number in 0..32 {
        guess(&mut bed, "alice", &format!("203.0.113.66:{}", 6000 + number));
    }
    assert_eq!(failures(&bed, AuthFailure::Blocked), 1);
    assert_eq!(alice.register(&mut bed).code(), 200, "over the flow that she has proved");
    let mut after_a_restart = Phone::legacy(&mut bed, "alice", "198.51.100.7:5099");
    assert_eq!(after_a_restart.register(&mut bed).code(), 200, "where she is registered");
}

/// One guess a user, and many users.
#[test]
fn an_address_that_guesses_is_blocked() {
    let mut bed = Bed::new(&["alice"]);
    for number in 0..150 {
        let answer = guess(&mut bed, &format!("user{number}"), &format!("198.51.100.66:{}", 6000 + number));
        assert_eq!(answer.code(), 401, "{number}");
    }
    let texts = [6500, 6501].map(|port| {
        guess(&mut bed, &format!("user{port}"), &format!("198.51.100.66:{port}")).start_line().to_owned()
    });
    assert_eq!(texts, ["SIP/2.0 403 Blocked Forbidden", "SIP/2.0 403 Already Blocked Forbidden"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    assert_eq!(alice.register(&mut bed).code(), 200, "elsewhere");
}

/// Whoever forges a victim's address has it sent one answer a request, and no long one.
#[test]
fn a_forged_source_is_sent_one_short_answer() {
    let mut bed = Bed::new(&["alice"]);
    let victim = bed.flow(Protocol::Udp, "198.51.100.66:5060");
    // As short as they can be, and what phones send.
    let short = |method: &str, uri: &str, from: &str, number: u32| {
        format!(
            "{method} {uri} SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK{number}\r\nf:<sip:{from}>;tag=1\r\nt:<sip:{from}>\r\n\
             i:{number}\r\nCSeq:1 {method}\r\n\r\n"
        )
    };
    let mut phone = Phone::legacy(&mut bed, "alice", "198.51.100.66:5060");
    let register = phone.register_text(600).replace(
        "Content-Length",
        "User-Agent: X-Lite release 1103k stamp 53621\r\nAllow: INVITE, ACK, CANCEL, BYE, MESSAGE, OPTIONS, INFO\r\n\
         Supported: path, outbound\r\nContent-Length",
    );
    for (number, (request, answer)) in [
        (short("OPTIONS", "sip:sip.example", "a@b.example", 1), "200"),
        (short("OPTIONS", "sip:sip.example", "a@b.example", 2).replace("CSeq:1", "CSeq:x"), "400"),
        (short("INVITE", "sip:nobody@sip.example", "a@b.example", 3), "404"),
        (short("INVITE", "sip:a@203.0.113.5", "a@b.example", 4), "403"),
        (short("CANCEL", "sip:a@sip.example", "a@b.example", 5), "481"),
        (register.clone(), "401"),
    ]
    .into_iter()
    .enumerate()
    {
        bed.send(&victim, &request);
        let sent = bed.try_receive(&victim).unwrap_or_else(|| panic!("{number}: nothing"));
        assert_eq!(sent.code().to_string(), answer, "{number}");
        assert!(sent.text.len() <= request.len(), "{}\n{request}", sent.text);
        bed.advance(Duration::from_secs(60));
        bed.expect_silence();
    }
    // Of six challenges as many as fit, the most preferred.
    let auth = Auth { algorithms: Algorithm::ALL.to_vec(), ..Auth::default() };
    let mut strict = Bed::with(&["alice"], Settings { auth, ..settings() }, Vec::new());
    strict.send(&victim, &register);
    let sent = strict.expect(&victim, "SIP/2.0 401 ");
    let offered = sent.headers("WWW-Authenticate");
    assert!(
        (1..6).contains(&offered.len()) && offered[0].contains(Algorithm::ALL[0].as_str()),
        "{}",
        sent.text
    );
    assert!(sent.text.len() <= register.len(), "{}", sent.text);
    // A challenge is longer than the shortest request of all.
    bed.send(&victim, &short("REGISTER", "sip:sip.example", "alice@sip.example", 5));
    bed.expect_silence();
    assert_eq!(bed.proxy.stats().unamplified, 1);
}

/// Whoever has an IPv6 network has as many addresses as he likes: they guess together, and the next network is another's.
#[test]
fn a_network_that_guesses_is_blocked() {
    let mut bed = Bed::new(&["alice"]);
    let from = |number: u32| format!("[2001:db8:1:2:{:x}::{number:x}]:5060", number * 7);
    for number in 0..150 {
        let answer = guess(&mut bed, &format!("user{number}"), &from(number));
        assert_eq!(answer.code(), 401, "{number}");
    }
    assert_eq!(guess(&mut bed, "user500", &from(500)).start_line(), "SIP/2.0 403 Blocked Forbidden");
    assert_eq!(guess(&mut bed, "user501", "[2001:db8:1:3::1]:5060").code(), 401, "another network");
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    assert_eq!(alice.register(&mut bed).code(), 200, "elsewhere");
}

/// Requests as they come from phones and from those who look after them, before anybody has asked for a password: each is answered,
/// by no more than itself. The last of each list are as terse as RFC 3261 lets them be.
#[test]
fn what_phones_send_is_answered_by_no_more_than_it_is() {
    let mut terse = Vec::new();
    for (name, request) in phones() {
        let mut bed = Bed::new(&["alice"]);
        let phone = bed.flow(Protocol::Udp, "198.51.100.66:40000");
        bed.send(&phone, &request);
        let answer = bed.try_receive(&phone);
        let length = answer.as_ref().map_or(0, |answer| answer.text.len());
        assert!(length <= request.len(), "{name}: {} to {request}", answer.expect("one").text);
        if let Some(answer) = answer {
            let code = if request.starts_with("OPTIONS") {
                200
            } else if request.starts_with("INVITE") {
                407
            } else {
                401
            };
            assert_eq!(answer.code(), code, "{name}: {}", answer.text);
            assert!(answer.text.contains("qop=\"auth\"") || code == 200, "{name}: {}", answer.text);
        } else {
            assert_eq!(bed.proxy.stats().unamplified, 1, "{name}");
            terse.push(name);
        }
    }
    assert_eq!(terse, ["REGISTER without Contact and Expires"]);
}

/// Over `transport` nothing is known of the sender.
fn phones() -> Vec<(&'static str, String)> {
    let message = |method: &str, uri: &str, via: &str, contact: &str, more: &str| {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@{DOMAIN}>;tag=9fxced76sl\r\n\
             To: <sip:alice@{DOMAIN}>\r\nCall-ID: 3848276298220188511@192.168.1.9\r\nCSeq: 1 {method}\r\n{contact}{more}\r\n"
        )
    };
    let registrar = format!("sip:{DOMAIN}");
    let register = |via: &str, contact: &str, more: &str| message("REGISTER", &registrar, via, contact, more);
    let (plain, rport) =
        ("192.168.1.9:5060;branch=z9hG4bK-1a2b3c4d", "192.168.1.9:5060;branch=z9hG4bK-1a2b3c4d;rport");
    let contact = "Contact: <sip:alice@192.168.1.9:5060>\r\n";
    let end = "Content-Length: 0\r\n";
    vec![
        (
            "X-Lite",
            register(
                "192.168.1.9:26910;branch=z9hG4bK-d87543-0b0dfb4b6d1c5f4b-1--d87543-;rport",
                "Contact: <sip:alice@192.168.1.9:26910;rinstance=9f4ba0f8d9ed0d41>\r\n",
                "Expires: 3600\r\nAllow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, SUBSCRIBE, INFO\r\n\
                 User-Agent: X-Lite release 1011s stamp 41150\r\nContent-Length: 0\r\n",
            ),
        ),
        (
            "Linksys",
            register(
                "192.168.1.9:5060;branch=z9hG4bK-6b0ff5e7",
                "Contact: Alice <sip:alice@192.168.1.9:5060>;expires=3600\r\n",
                "User-Agent: Linksys/PAP2T-5.1.6(LS)\r\nContent-Length: 0\r\n\
                 Allow: ACK, BYE, CANCEL, INFO, INVITE, NOTIFY, OPTIONS, REFER\r\nSupported: x-sipura\r\n",
            ),
        ),
        (
            "baresip",
            register(
                "192.168.1.9:44000;branch=z9hG4bK7f3c2a9d1e5b8046;rport",
                "Contact: <sip:alice-0x55d0c8@192.168.1.9:44000>;expires=3600;+sip.instance=\"<urn:uuid:1a2b3c4d>\"\r\n",
                "User-Agent: baresip v1.0.0 (x86_64/linux)\r\nAllow: INVITE,ACK,BYE,CANCEL,OPTIONS,NOTIFY,INFO,MESSAGE,UPDATE,REFER\r\n\
                 Content-Length: 0\r\n",
            ),
        ),
        (
            "SIPp's REGISTER",
            register(plain, contact, "Expires: 1800\r\nUser-Agent: SIPp/Linux\r\nContent-Length: 0\r\n"),
        ),
        (
            "SIPp's INVITE",
            message(
                "INVITE",
                &format!("sip:service@{DOMAIN}:5060"),
                plain,
                contact,
                "Subject: Performance Test\r\nContent-Type: application/sdp\r\nContent-Length:   0\r\n",
            ),
        ),
        ("an OPTIONS of SIPp", message("OPTIONS", &registrar, plain, contact, end)),
        ("an OPTIONS of 200 octets", message("OPTIONS", &registrar, "192.168.1.9;branch=z9hG4bK1", "", "")),
        ("the same with rport", message("OPTIONS", &registrar, rport, "", end)),
        ("a phone without User-Agent", register(plain, contact, &format!("Expires: 3600\r\n{end}"))),
        ("the same behind a NAT", register(rport, contact, &format!("Expires: 3600\r\n{end}"))),
        ("REGISTER without Contact and Expires", register(rport, "", end)),
    ]
}

/// Nor is it what a callee repeats to a caller who may not be where he says: a few times, until there is an ACK.
#[test]
fn a_forged_caller_is_told_a_few_times_only() {
    for code in [200, 486] {
        let mut bed = Bed::new(&["alice"]);
        let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
        alice.register(&mut bed);
        let mut eve = Phone::legacy(&mut bed, "eve", "198.51.100.66:5060");
        let more = "Contact: <sip:eve@198.51.100.66:5060>\r\n";
        let invite = eve.request("INVITE", "sip:alice@sip.example", "call-1", more, &legacy_sdp("eve"));
        let invite = invite.replace("eve@sip.example", "eve@evil.example");
        bed.send(&eve.flow, &invite);
        bed.expect(&eve.flow, "SIP/2.0 100 ");
        let offered = bed.expect(&alice.flow, "INVITE ");
        let answer = alice.reply(&offered, code, "Said", if code == 200 { "v=0\r\n" } else { "" });
        bed.send(&alice.flow, &answer);
        let first = bed.expect(&eve.flow, &format!("SIP/2.0 {code} "));
        for _ in 0..30 {
            bed.advance(Duration::from_secs(1));
            if code == 200 {
                bed.send(&alice.flow, &answer);
            }
        }
        let again = std::iter::from_fn(|| bed.try_receive(&eve.flow)).filter(|sent| sent.text == first.text);
        assert_eq!(again.count(), 3, "{code}");
    }
}

/// Who is on the list is not heard, whatever he says.
#[test]
fn whoever_is_denied_is_not_heard() {
    let mut bed = Bed::new(&[]);
    let acl = Arc::new(Acl::default());
    bed.proxy = bed.proxy.with_acl(Arc::clone(&acl));
    let [eve, friend] = ["198.51.100.66:5060", "198.51.100.67:5060"].map(|at| bed.flow(Protocol::Udp, at));
    acl.set(Lists {
        deny: acl::read("198.51.100.0/24").expect("a list"),
        allow: acl::read("198.51.100.67").expect("a list"),
    });
    bed.send(&eve, &options(1, &[]));
    bed.send(&eve, "SIP/2.0 200 OK\r\n\r\n");
    bed.expect_silence();
    assert_eq!(bed.proxy.stats().denied, 2);
    bed.send(&friend, &options(2, &[("198.51.100.66", "198.51.100.67")]));
    bed.expect(&friend, "SIP/2.0 200 ");
    acl.set(Lists::default());
    bed.send(&eve, &options(3, &[]));
    bed.expect(&eve, "SIP/2.0 200 ");
}

/// What is said to somebody who is there is said until he has heard it (RFC 3261 §17.2.1).
#[test]
fn a_phone_that_is_known_is_told_again() {
    let mut bed = Bed::new(&["alice"]);
    let mut alice = Phone::legacy(&mut bed, "alice", "198.51.100.7:5060");
    alice.register(&mut bed);
    let request = alice.request("INVITE", "sip:nobody@sip.example", "call-1", "", "");
    let refusal = alice.authorized(&mut bed, &request);
    assert_eq!((refusal.code(), refusal.header("Server")), (404, "Causeway"));
    bed.advance(Duration::from_secs(2));
    bed.expect(&alice.flow, "SIP/2.0 404 ");
}

/// Who runs here, and nothing of what is behind.
#[test]
fn the_server_header_is_as_it_is_set() {
    for server in [None, Some("Acme PBX".to_owned())] {
        let mut bed = Bed::with(&[], Settings { server_header: server.clone(), ..settings() }, Vec::new());
        let peer = bed.flow(Protocol::Tcp, "198.51.100.66:5060");
        bed.send(&peer, &options(1, &[]));
        assert_eq!(bed.receive(&peer).headers("Server"), Vec::from_iter(server.as_deref()));
    }
    let version = env!("CARGO_PKG_VERSION");
    assert!(!Settings::default().server_header.is_some_and(|server| server.contains(version)));
}
