//! What controllers may wish of mirrored pairs beside codecs: keys that pass unread, echoes, NAT, trickled candidates.

use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::bed::settings;
use super::mirror::{A, B, Ng, Sent, context, protect, rtp, sdp, unprotect};
use crate::command::{Cause, Command, Dtls as DtlsWish, Ice, Reply, TransportProtocol};
use crate::ice::Credentials;
use crate::sdp::{Crypto, Description};
use crate::srtp::{MasterKey, Profile, SrtpContext};

const KEYS: [&str; 2] =
    ["d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj", "WnD7c1ksDGs+dIefCEo8omPg4uO8DYIinNGL5yxQ"];

fn keyed(key: &str, more: &str) -> String {
    format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}{more}\n")
}

#[test]
fn what_only_the_other_end_can_open_passes_unread() {
    let mut ng = Ng::new(settings());
    let [a, b] = KEYS.map(|key| keyed(key, ""));
    ng.call([&sdp(A, "RTP/SAVP", &a), &sdp(B, "RTP/SAVP", &b)], |it| it.dtls = Some(DtlsWish::Off));
    let mut right = context(KEYS[0], &Crypto::parse(&b["a=crypto:".len()..]).unwrap());
    let opened = protect(&mut right, &rtp(0, 1));
    assert_eq!(
        ng.say(A, &opened),
        [(ng.ports[B], B.parse().unwrap(), opened)],
        "the same keys, the same octets"
    );
    // A wrong key, or none: B is the one to judge. From elsewhere it is nothing.
    let strange = [rtp(0, 2), vec![0x55; 40]].concat();
    assert_eq!(ng.say(A, &strange), [(ng.ports[B], B.parse().unwrap(), strange.clone())]);
    assert_eq!(ng.send(ng.ports[A], "198.51.100.9:9".parse().unwrap(), &strange), []);
    assert_eq!(
        ng.say(
            B,
            &protect(&mut context(KEYS[1], &Crypto::parse(&a["a=crypto:".len()..]).unwrap()), &rtp(0, 9))
        )[0]
        .1,
        A.parse().unwrap()
    );

    // Where the relay has keys of its own nothing passes that it cannot open.
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/SAVP", &a), &sdp(B, "RTP/AVP", "")], |it| {
        it.transport_protocol = Some(TransportProtocol::RtpAvp);
    });
    assert_eq!(ng.say(A, &strange), []);
}

#[test]
fn identifiers_of_keys_are_spoken_where_they_were_agreed() {
    let mut ng = Ng::new(settings());
    let offer = ng.exchange(true, B, &sdp(A, "RTP/SAVP", &keyed(KEYS[0], "|1:32")), |it| {
        it.dtls = Some(DtlsWish::Off);
    });
    assert_eq!(offer.media[0].crypto[0].mki.as_deref(), Some("1:32"));
    let mut ng = Ng::new(settings());
    let answer = {
        ng.exchange(true, B, &sdp(A, "RTP/SAVP", &keyed(KEYS[0], "|7:4")), |it| {
            (it.dtls, it.transport_protocol) = (Some(DtlsWish::Off), Some(TransportProtocol::RtpAvp));
        });
        ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |it| it.dtls = Some(DtlsWish::Off))
    };
    let profile = Profile::from_sdes_name("AES_CM_128_HMAC_SHA1_80").unwrap();
    let theirs = MasterKey::from_sdes(profile, KEYS[0]).unwrap().with_mki("7:4").unwrap();
    let ours = MasterKey::from_sdes(profile, &answer.media[0].crypto[0].key).unwrap();
    let mut a = SrtpContext::new(&theirs, &ours);
    let packet = protect(&mut a, &rtp(0, 1));
    assert_eq!(packet[packet.len() - 14..packet.len() - 10], [0, 0, 0, 7]);
    assert_eq!(ng.say(A, &packet)[0].2, rtp(0, 1));
    let mut other = packet.clone();
    other[packet.len() - 11] = 8;
    assert_eq!(ng.say(A, &other), [], "the name of another key");
    assert_eq!(unprotect(&mut a, &ng.say(B, &rtp(0, 2))[0].2), rtp(0, 2));
}

#[test]
fn ends_may_hear_themselves() {
    use crate::command::MediaEcho::{Backwards, Blackhole, Both, Forward};
    for (echo, a, b) in
        [(Forward, false, true), (Backwards, true, false), (Both, true, true), (Blackhole, false, false)]
    {
        let mut ng = Ng::new(settings());
        ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |it| it.media_echo = Some(echo));
        for (end, echoes) in [(A, a), (B, b)] {
            let sent = ng.say(end, &rtp(0, 1));
            let back: Vec<_> = sent.iter().map(|(_, to, _)| to.to_string()).collect();
            assert_eq!(back, [end].into_iter().filter(|_| echoes).collect::<Vec<_>>(), "{echo:?}");
            assert!(sent.iter().all(|(_, _, octets)| octets[12..] == rtp(0, 1)[12..]));
            assert!(sent.iter().all(|(_, _, octets)| octets[8..12] != rtp(0, 1)[8..12]), "another SSRC");
        }
    }
}

#[test]
fn a_nat_is_pierced_until_the_end_speaks() {
    let mut ng = Ng::new(settings());
    ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| it.manners.pierce = true);
    let empty = |sent: &[Sent]| {
        sent.iter()
            .all(|(_, to, octets)| octets.is_empty() && to.ip() == A.parse::<SocketAddr>().unwrap().ip())
    };
    let first = ng.sent();
    assert!(first.len() == 2 && empty(&first), "RTP and RTCP at once: {first:?}");
    let again = ng.pass(Duration::from_secs(1));
    assert!(again.len() == 2 && empty(&again), "{again:?}");
    ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |_| {});
    ng.sent();
    ng.say(A, &rtp(0, 1));
    ng.send(ng.ports[A] + 1, "192.0.2.1:4001".parse().unwrap(), &[0x80, 201, 0, 1, 0, 0, 0x12, 0x34]);
    assert_eq!(ng.pass(Duration::from_secs(2)), []);
    // Who never speaks is left alone in the end, and who did not ask always.
    let mut ng = Ng::new(settings());
    ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |_| {});
    assert_eq!(ng.sent(), []);
    ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| it.manners.pierce = true);
    let count: usize = (0..100).map(|_| ng.pass(Duration::from_secs(1)).len()).sum();
    assert!((100..130).contains(&count), "{count}");
}

#[test]
fn a_controllers_defaults_decide_where_it_says_nothing() {
    let offer = |defaults: &crate::ng::Defaults| {
        let lines = "a=setup:actpass\na=fingerprint:sha-256 ".to_owned() + &["AB"; 32].join(":") + "\n";
        let sdp = sdp("10.0.0.1:4000", "UDP/TLS/RTP/SAVP", &lines).replace("\r\n", "\\r\\n");
        let text = format!(
            r#"1 {{"command":"offer","call-id":"ng","from-tag":"a","sdp":"{sdp}","transport protocol":"RTP/AVP","received from":["IP4","192.0.2.1"]}}"#
        );
        crate::ng::decode_with(text.as_bytes(), defaults).expect("a message").command
    };
    for passive in [false, true] {
        let defaults =
            crate::ng::Defaults { dtls_passive: passive, sip_source: passive, ..Default::default() };
        let mut ng = Ng::new(settings());
        assert!(matches!(ng.engine.handle_command(ng.now, &offer(&defaults)), Reply::Sdp { .. }));
        let message = format!(
            r#"2 {{"command":"answer","call-id":"ng","from-tag":"a","to-tag":"b","sdp":"{}"}}"#,
            sdp(B, "RTP/AVP", "").replace("\r\n", "\\r\\n")
        );
        let answer = crate::ng::decode_with(message.as_bytes(), &defaults).expect("a message").command;
        let Reply::Sdp { sdp: answer, .. } = ng.engine.handle_command(ng.now, &answer) else {
            panic!("no SDP")
        };
        let answer = Description::parse(answer).unwrap();
        let expected = if passive { crate::sdp::Setup::Passive } else { crate::sdp::Setup::Active };
        assert_eq!(answer.media[0].setup, Some(expected), "dtls-passive {passive}");
        let report = ng.engine.handle_command(
            ng.now,
            &Command::Query(crate::command::Query { call_id: "ng".to_owned(), ..Default::default() }),
        );
        let Reply::Call { report: Some(report), .. } = report else { panic!("no report") };
        let a = report.tags.iter().find(|tag| tag.tag == "a").unwrap();
        let expected = if passive { "192.0.2.1:4000" } else { "10.0.0.1:4000" };
        assert_eq!(a.medias[0].streams[0].endpoint, expected.parse().ok(), "sip-source {passive}");
    }
}

#[test]
fn an_answer_keeps_the_protocol_of_the_offer_but_for_its_profile() {
    use TransportProtocol::{Accept, RtpAvpf, RtpSavp};
    for (wish, answered, told) in [
        (None, "RTP/AVPF", "RTP/AVP"),
        (Some(Accept), "RTP/AVPF", "RTP/AVPF"),
        (Some(RtpAvpf), "RTP/AVP", "RTP/AVPF"),
        (Some(RtpSavp), "RTP/AVP", "RTP/AVP"),
    ] {
        let mut ng = Ng::new(settings());
        ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |_| {});
        let answer = ng.exchange(false, A, &sdp(B, answered, ""), |it| it.transport_protocol = wish);
        assert_eq!(answer.media[0].protocol, told, "{wish:?}");
    }
}

#[test]
fn candidates_may_come_after_the_description() {
    let mut ng = Ng::new(settings());
    let offer = ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| it.ice = Some(Ice::Force));
    let ours = offer.media[0].ice.clone().expect("ICE");
    let peer: SocketAddr = "203.0.113.77:6000".parse().unwrap();
    let credentials = Credentials::random(&mut StdRng::seed_from_u64(3));
    let lines = format!(
        "a=ice-ufrag:{}\na=ice-pwd:{}\na=ice-options:trickle\na=mid:7\n",
        credentials.ufrag, credentials.pwd
    );
    ng.exchange(false, A, &sdp(B, "RTP/AVP", &lines), |_| {});
    assert!(ng.pass(Duration::from_secs(1)).iter().all(|(_, to, _)| *to != peer), "nobody knows of it yet");
    let fragment = |ufrag: &str| {
        format!(
            "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{}\r\nm=audio 9 RTP/AVP 0\r\na=mid:7\r\n\
             a=candidate:1 1 udp 2130706431 203.0.113.77 6000 typ host\r\n",
            credentials.pwd
        )
    };
    let late = ng.command(false, &fragment("another1"), |it| it.flags.fragment = true);
    assert!(matches!(&late, Reply::Done { warnings } if warnings.len() == 1), "{late:?}");
    let done = ng.command(false, &fragment(&credentials.ufrag), |it| it.flags.fragment = true);
    assert!(matches!(&done, Reply::Done { warnings } if warnings.is_empty()), "{done:?}");
    let checks: Vec<Sent> = (0..20).flat_map(|_| ng.pass(Duration::from_millis(100))).collect();
    let check = checks.iter().find(|(_, to, _)| *to == peer).expect("a check");
    let user = format!("{}:{}", credentials.ufrag, ours.ufrag);
    assert!(check.2.windows(user.len()).any(|part| part == user.as_bytes()));
    assert!(matches!(ng.command(false, "a=candidate", |it| it.flags.fragment = true), Reply::Done { .. }));
    let stranger =
        ng.command(true, &fragment("x"), |it| (it.flags.fragment, it.from_tag) = (true, "z".to_owned()));
    assert!(matches!(stranger, Reply::Error(failure) if failure.cause == Cause::UnknownCall));
}

#[test]
fn our_ports_stay_with_ice_and_where_the_controller_wants_it() {
    let moved = A.replace(":4000", ":4002");
    for (latching, ice) in
        [(Some(true), false), (Some(false), false), (Some(false), true), (None, false), (None, true)]
    {
        let stays = latching.unwrap_or(ice);
        let mut ng = Ng::new(settings());
        let wish = |it: &mut crate::command::Exchange| {
            it.flags.port_latching = latching;
            it.ice = ice.then_some(Ice::Force);
        };
        let offer = |ng: &mut Ng, end: &str| {
            let media = ng.exchange(true, B, &sdp(end, "RTP/AVP", ""), wish).media[0].clone();
            (media.port, media.ice.map(|ice| ice.ufrag))
        };
        let first = offer(&mut ng, A);
        ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |_| {});
        let sockets = ng.sockets.open_count();
        assert_eq!(offer(&mut ng, A), first, "nothing has changed");
        let second = offer(&mut ng, &moved);
        assert_eq!(second.0 == first.0, stays);
        assert_eq!(second.1 == first.1, stays || !ice);
        ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |_| {});
        // What was under way to the old port is not lost.
        for port in [first.0, second.0] {
            let sent = ng.send(port, B.parse().unwrap(), &rtp(0, 1));
            assert_eq!(sent.iter().map(|sent| sent.1.to_string()).collect::<Vec<_>>(), [moved.as_str()]);
        }
        for end in [A, &moved, A, &moved] {
            offer(&mut ng, end);
        }
        assert!(ng.sockets.open_count() <= sockets + 2, "one pair more, however often it moves");
        let delete = crate::command::Delete { call_id: "ng".to_owned(), ..Default::default() };
        ng.engine.handle_command(ng.now, &Command::Delete(delete));
        assert_eq!(ng.sockets.open_count(), Ng::new(settings()).sockets.open_count());
    }
}

#[test]
fn several_sessions_in_one_body_stay_apart() {
    let mut ng = Ng::new(settings());
    let second = sdp("192.0.2.1:4010", "RTP/AVP", "a=x-mine\n").replace("o=- 1 1", "o=- 2 77");
    let both = format!("{}{second}", sdp(A, "RTP/AVP", "a=x-first\n"));
    let text = |ng: &mut Ng, body: &str, versions: bool| match ng
        .command(true, body, |it| it.replace.sdp_version = versions)
    {
        Reply::Sdp { sdp, .. } => String::from_utf8(sdp.to_vec()).expect("text"),
        other => panic!("{other:?}"),
    };
    let told = text(&mut ng, &both, true);
    let kinds: String =
        told.lines().filter_map(|line| line.chars().next()).filter(|kind| *kind != 'a').collect();
    assert_eq!(kinds, "vosctmvosctm", "{told}");
    let at = |what: &str| told.find(what).unwrap_or_else(|| panic!("{what} in {told}"));
    assert!(
        at("a=x-first") < at("o=- 2 1 ") && at("o=- 2 1 ") < at("a=x-mine"),
        "one version for both: {told}"
    );
    assert_eq!(told.matches("c=IN IP4 192.0.2.1").count(), 0, "ours in both: {told}");
    assert_eq!(text(&mut ng, &both, true), told);
    // A change of either is one of the whole.
    let moved = text(&mut ng, &both.replace("a=x-mine", "a=x-other"), true);
    assert!(moved.contains("o=- 1 2 ") && moved.contains("o=- 2 2 "), "{moved}");
    let own = text(&mut ng, &both, false);
    assert!(own.contains("o=- 1 1 ") && own.contains("o=- 2 77 "), "{own}");
}

#[test]
fn who_speaks_from_elsewhere_is_heard_and_not_spoken_to_there() {
    const NAT: &str = "203.0.113.77:999";
    let asymmetric = |it: &mut crate::command::Exchange| it.flags.asymmetric = true;
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], asymmetric);
    ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), asymmetric);
    let to_a = |octets: Vec<u8>, ng: &Ng| vec![(ng.ports[A], A.parse().unwrap(), octets)];
    assert_eq!(ng.send(ng.ports[B], NAT.parse().unwrap(), &rtp(0, 1)), to_a(rtp(0, 1), &ng));
    assert_eq!(ng.send(ng.ports[B], "198.51.100.9:9".parse().unwrap(), &rtp(0, 2)), []);
    assert_eq!(ng.say(A, &rtp(0, 3)), [(ng.ports[B], B.parse().unwrap(), rtp(0, 3))]);
    // Fax: another kind of line, from another place of the same end.
    let image = |end: &str| sdp(end, "x", "").replace("m=audio", "m=image").replace("x 0", "udptl t38");
    let fax = "203.0.113.3:7304";
    let back = |it: &mut crate::command::Exchange| {
        asymmetric(it);
        (it.from_tag, it.to_tag) = ("b".to_owned(), Some("a".to_owned()));
    };
    ng.exchange(true, A, &image(fax), back);
    ng.exchange(false, B, &image(A), back);
    assert_eq!(ng.send(ng.ports[B], NAT.parse().unwrap(), &rtp(0, 4)), to_a(rtp(0, 4), &ng));
    assert_eq!(ng.say(A, b"\0\0\x01"), [(ng.ports[B], fax.parse().unwrap(), b"\0\0\x01".to_vec())]);
}

/// An end with ICE and DTLS of its own, from the middle of its SDP on.
fn own(name: &str, end: &str) -> String {
    let (ip, port) = end.rsplit_once(':').unwrap();
    format!(
        "a=ice-ufrag:{name}{name}\na=ice-pwd:{name}-password-of-22-letters\na=fingerprint:sha-256 {}\na=setup:actpass\na=rtcp-mux\n\
         a=candidate:1 1 udp 2130706431 {ip} {port} typ host\na=candidate:9 1 udp 9 192.0.2.200 9 typ relay raddr {ip} rport {port}\n",
        ["AB"; 32].join(":")
    )
}

fn whole_sdp(reply: Reply) -> String {
    match reply {
        Reply::Sdp { sdp, warnings } if warnings.is_empty() => String::from_utf8(sdp.to_vec()).unwrap(),
        other => panic!("no SDP: {other:?}"),
    }
}

fn port_of(sdp: &str, mark: &str) -> u16 {
    let line =
        sdp.lines().rev().find(|line| line.starts_with("a=candidate") && line.contains(mark)).expect(mark);
    line.split(' ').nth(5).and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn ends_with_ice_may_have_the_relay_as_a_further_way() {
    let both = |end: &str, name: &str, lines: &str| {
        sdp(end, "UDP/TLS/RTP/SAVPF", &format!("{}{lines}", own(name, end)))
    };
    let mut ng = Ng::new(settings());
    let optional = |it: &mut crate::command::Exchange| it.ice = Some(Ice::Optional);
    let offer = whole_sdp(ng.command(true, &both(A, "aa", ""), optional));
    // All that A wrote of itself is there, and below its candidates ours.
    for line in own("aa", A).lines() {
        assert!(offer.contains(&format!("{line}\r\n")), "{line} in {offer}");
    }
    assert_eq!(offer.matches("a=rtcp-mux").count(), 1);
    assert_eq!(offer.matches("a=ice-ufrag").count() + offer.matches("a=fingerprint").count(), 2, "{offer}");
    let to_b = port_of(&offer, " 1 UDP 21139");
    assert!(offer.contains(&format!("m=audio {to_b} UDP/TLS/RTP/SAVPF 0\r\n")), "{offer}");
    let answer = whole_sdp(ng.command(false, &both(B, "bb", ""), optional));
    let to_a = port_of(&answer, " 1 UDP 21139");
    assert!(answer.contains("a=ice-ufrag:bbbb\r\n") && !answer.contains(" 2 UDP "), "{answer}");

    // Checks, handshakes and what is protected pass as they are, also from a further address of an end.
    let check = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let (elsewhere, b) = ("192.0.2.1:4999".parse().unwrap(), B.parse().unwrap());
    for octets in [check.clone(), vec![22, 254, 253, 0], rtp(0, 1)] {
        assert_eq!(ng.send(to_a, elsewhere, &octets), [(to_b, b, octets.clone())]);
        assert_eq!(ng.send(to_b, b, &octets), [(to_a, elsewhere, octets)], "where it was heard last");
    }
    assert_eq!(ng.pass(Duration::from_secs(20)), [], "the relay says nothing of its own");
    // A hold, by a controller that says nothing of ICE any more.
    let held = whole_sdp(ng.command(true, &both(A, "aa", "a=inactive\n"), |_| {}));
    assert!(held.contains("a=ice-ufrag:aaaa") && held.contains("a=inactive"), "{held}");
    ng.command(false, &both(B, "bb", "a=inactive\n"), |_| {});
    assert_eq!(ng.send(to_a, A.parse().unwrap(), &check), [(to_b, b, check.clone())], "consent goes on");
    // And back between the two.
    let again = whole_sdp(ng.command(true, &both(A, "aa", ""), |it| it.passthrough = Some(false)));
    assert!(!again.contains("a=ice-ufrag:aaaa"), "{again}");
    ng.command(false, &both(B, "bb", "").replace("actpass", "passive"), |_| {});
    assert!(ng.send(to_a, A.parse().unwrap(), &check).iter().all(|(.., octets)| *octets != check));
}

#[test]
fn a_relay_by_force_is_the_only_one_and_leaves_the_rest_alone() {
    let text = |end: &str, name: &str| sdp(end, "UDP/TLS/RTP/SAVPF", &own(name, end));
    let mut ng = Ng::new(settings());
    let by_force = |it: &mut crate::command::Exchange| {
        it.ice = Some(Ice::ForceRelay);
        it.replace.origin = true;
    };
    let offer = whole_sdp(ng.command(true, &text(A, "aa"), by_force));
    assert!(offer.starts_with("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n"), "{offer}");
    assert!(offer.contains("m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"), "{offer}");
    assert!(!offer.contains("192.0.2.200"), "no other relay: {offer}");
    let to_b = port_of(&offer, " 1 UDP 16777215 ");
    assert!(offer.contains(" 1 UDP 16777215 ") && offer.contains(" 2 UDP 16777214 "), "{offer}");
    let answer = whole_sdp(ng.command(false, &text(B, "bb"), by_force));
    let to_a = port_of(&answer, " typ relay raddr ");
    let (a, b) = (A.parse().unwrap(), B.parse().unwrap());
    assert_eq!(ng.send(to_a, a, &rtp(0, 1)), [(to_b, b, rtp(0, 1))]);
    assert_eq!(ng.send(to_b, b, &rtp(0, 2)), [(to_a, a, rtp(0, 2))]);
    // An answer without ICE leaves it so: the keys are the ends' own.
    let mut ng = Ng::new(settings());
    let to_b = port_of(&whole_sdp(ng.command(true, &text(A, "aa"), by_force)), " 1 UDP 16777215 ");
    let answer = whole_sdp(ng.command(false, &sdp(B, "UDP/TLS/RTP/SAVPF", ""), by_force));
    assert!(!answer.contains("a=candidate"), "{answer}");
    assert_eq!(ng.send(to_b, b, &rtp(0, 1)).len(), 1);
}

#[test]
fn packets_of_a_call_are_marked_as_its_controller_wishes() {
    use crate::command::Tos;
    let mut ng = Ng::new(settings());
    let tos = |value: Tos| move |it: &mut crate::command::Exchange| it.tos = value;
    let [offer, answer] = [sdp(A, "RTP/AVP", ""), sdp(B, "RTP/AVP", "")];
    ng.exchange(true, B, &offer, tos(Tos::Value(184)));
    assert_eq!(ng.sockets.marks(), [184; 4]);
    ng.exchange(false, A, &answer, tos(Tos::Kept));
    assert_eq!(ng.sockets.marks(), [184; 4]);
    ng.exchange(true, B, &offer.replace("audio 4000", "audio 4002"), tos(Tos::Value(32)));
    assert!(ng.sockets.marks().iter().filter(|mark| **mark == 32).count() >= 4, "ports that are new too");
    ng.exchange(false, A, &answer, tos(Tos::Usual));
    assert!(!ng.sockets.marks().contains(&32), "those that are still in use are as the relay's are");
}

#[test]
fn all_that_a_call_says_may_be_dropped() {
    let drop = |dropped: bool| move |it: &mut crate::command::Exchange| it.drop_traffic = Some(dropped);
    let mut ng = Ng::new(settings());
    let [offer, answer] = [sdp(A, "RTP/AVP", ""), sdp(B, "RTP/AVP", "")];
    ng.exchange(true, B, &offer, drop(true));
    ng.exchange(false, A, &answer, |_| {});
    for end in [A, B] {
        assert_eq!(ng.say(end, &rtp(0, 1)), []);
    }
    ng.exchange(false, A, &answer, drop(false));
    for end in [A, B] {
        assert_eq!(ng.say(end, &rtp(0, 2)).len(), 1);
    }
}

/// ng `query` tells of the lines in the words of the ends.
#[test]
fn a_query_names_media_protocol_and_suite() {
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\n";
    for (protocol, word, lines, suite) in [
        ("RTP/AVP", "audio", "", None),
        ("RTP/SAVP", "audio", key, Some("AES_CM_128_HMAC_SHA1_32")),
        ("RTP/AVPF", "video", "", None),
        ("udptl", "image", "", None),
    ] {
        let mut ng = Ng::new(settings());
        let said = |end: &str| sdp(end, protocol, lines).replace("m=audio", &format!("m={word}"));
        ng.exchange(true, B, &said(A), |it| it.sdes.no_new = true);
        ng.exchange(false, A, &said(B), |_| {});
        let query = crate::command::Query { call_id: "ng".to_owned(), ..Default::default() };
        let Reply::Call { report: Some(report), .. } =
            ng.engine.handle_command(ng.now, &Command::Query(query))
        else {
            panic!("no report")
        };
        for tag in &report.tags {
            let media = &tag.medias[0];
            assert_eq!([media.media_type.as_str(), &media.protocol], [word, protocol], "{}", tag.tag);
            assert_eq!(media.streams[0].crypto_suite.as_deref(), suite, "{}", tag.tag);
        }
    }
}

/// ng `NAT-wait`: where an end is shows its first packet alone.
#[test]
fn an_end_that_is_waited_for_is_sent_nothing_before_it_speaks() {
    let mut ng = Ng::new(settings());
    ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| it.manners.wait = true);
    ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |_| {});
    assert_eq!(ng.say(B, &rtp(0, 1)), [], "A may be anywhere");
    assert_eq!(ng.say(A, &rtp(0, 1)).len(), 1, "and is heard at once");
    assert_eq!(ng.say(B, &rtp(0, 2)).len(), 1);
}
