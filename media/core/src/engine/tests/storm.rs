//! Re-offers by the thousand, of every kind: nobody changes his role, no association is lost, and no port leaks.

use std::time::Duration;

use super::bed::settings;
use super::mirror::{A, B, Ng, Secure, dtls_call, protect, rtp, sdp, unprotect};
use crate::command::{Command, Delete, TransportProtocol};
use crate::sdp::Setup;
use crate::srtp::DtlsRole;

/// What a re-offer of A may be: its lines, and whether B's answer holds.
fn re_offers(a: &Secure) -> Vec<(String, &'static str)> {
    let secure = |lines: &str| sdp(A, "UDP/TLS/RTP/SAVP", &format!("{}{lines}", a.lines("actpass")));
    vec![
        (secure(""), ""),
        (secure("a=sendonly\n"), "a=recvonly\n"),
        (secure("a=inactive\n"), "a=inactive\n"),
        (secure("").replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"), ""),
        (secure("").replace("audio 4000", "audio 4002"), ""),
        (secure("").replace("SAVP 0", "SAVP 8 0"), ""),
        (secure("").replace("actpass", "active"), ""),
        (secure("m=video 0 RTP/AVP 31\n"), "m=video 0 RTP/AVP 31\n"),
        (secure("").replace("o=- 1 1", "o=- 1 2"), ""),
    ]
}

#[test]
fn ten_thousand_re_offers_change_neither_role_nor_association_nor_ports() {
    let mut ng = Ng::new(settings());
    let mut a = Secure::new(ng.now, DtlsRole::Server);
    dtls_call(&mut ng, &mut a);
    let (sockets, ports) = (ng.sockets.open_count(), ng.ports.clone());
    let kinds = re_offers(&a);
    for round in 0..10_000 {
        let (offer, answer) = &kinds[round % kinds.len()];
        // Half of them with ports that stay, half with the default.
        let latching = (round < 5_000).then_some(true);
        ng.exchange(true, B, offer, |it| it.flags.port_latching = latching);
        // Now and then nobody answers.
        if round % 7 != 0 {
            let answer = ng.exchange(false, A, &sdp(B, "RTP/AVP", answer), |_| {});
            assert_eq!(answer.media[0].setup, Some(Setup::Active), "{round}");
        }
        match latching {
            Some(_) => assert_eq!((ng.sockets.open_count(), &ng.ports), (sockets, &ports), "{round}"),
            // Those before are listened to for a while.
            None => {
                assert!(ng.ports[A] == ports[A] && ng.sockets.open_count() <= sockets + 2, "{round}");
                // Ports that were given up rest before they are used again.
                ng.pass(Duration::from_secs(3));
            }
        }
    }
    ng.exchange(true, B, &kinds[0].0, |_| {});
    ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |_| {});
    assert_eq!(ng.sent(), [], "no new handshake");
    let srtp = a.srtp.as_mut().unwrap();
    assert_eq!(ng.say(A, &protect(srtp, &rtp(0, 1)))[0].2, rtp(0, 1));
    assert_eq!(unprotect(srtp, &ng.say(B, &rtp(0, 9))[0].2), rtp(0, 9));
}

#[test]
fn re_offers_that_change_protection_or_restart_ice_leak_nothing() {
    let mut ng = Ng::new(settings());
    let mut a = Secure::new(ng.now, DtlsRole::Server);
    dtls_call(&mut ng, &mut a);
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\n";
    let ice = |round: usize| {
        format!(
            "a=ice-ufrag:ufrag{round}\na=ice-pwd:pwd0123456789012345{round:05}\n\
            a=candidate:1 1 UDP 2130706431 192.0.2.1 4000 typ host\n"
        )
    };
    let offer = |round: usize, a: &Secure| match round % 4 {
        0 => sdp(A, "RTP/SAVP", key),
        1 => sdp(A, "UDP/TLS/RTP/SAVP", &a.lines("actpass")),
        2 => sdp(A, "UDP/TLS/RTP/SAVP", &format!("{}{}", a.lines("actpass"), ice(round))),
        _ => sdp(A, "RTP/AVP", ""),
    };
    let mut most = 0;
    for round in 0..2_000 {
        ng.exchange(true, B, &offer(round, &a), |_| {});
        let answer = ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), |_| {});
        let media = &answer.media[0];
        let kinds = [!media.crypto.is_empty(), !media.fingerprints.is_empty(), media.ice.is_some()];
        let expected = [[true, false, false], [false, true, false], [false, true, true], [false; 3]];
        assert_eq!(kinds, expected[round % 4], "{round}");
        ng.pass(Duration::from_millis(1));
        most = most.max(ng.sockets.open_count());
    }
    assert_eq!(ng.sockets.open_count(), most, "what ICE needs is opened once");
    assert_eq!(ng.say(A, &rtp(0, 1))[0].2, rtp(0, 1), "plain at last");
    ng.engine.handle_command(ng.now, &Command::Delete(Delete { call_id: "ng".into(), ..Delete::default() }));
    assert_eq!(ng.sockets.open_count(), Ng::new(settings()).sockets.open_count());
}

/// What a browser's re-offer may be, and whether the phone's answer holds. `generation` is that of its ICE.
fn re_offers_of_a_browser(a: &Secure, generation: usize) -> Vec<(String, &'static str)> {
    let ice = format!(
        "a=mid:0\na=rtcp-mux\na=ice-ufrag:u{generation:05}\na=ice-pwd:pwd0123456789012345{generation:05}\n\
         a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host\n"
    );
    let browser = |lines: &str| sdp(A, "UDP/TLS/RTP/SAVPF", &format!("{ice}{}{lines}", a.lines("actpass")));
    vec![
        (browser(""), ""),
        (browser("a=sendonly\n"), "a=recvonly\n"),
        (browser("a=inactive\n"), "a=inactive\n"),
        (browser("").replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"), ""),
        (browser("").replace("audio 4000", "audio 9"), ""),
        (browser("a=candidate:2 1 udp 1694498815 198.51.100.7 4100 typ srflx\n"), ""),
        (browser("").replace("SAVPF 0", "SAVPF 8 0"), ""),
        (browser("").replace("actpass", "active"), ""),
        (browser("m=video 0 UDP/TLS/RTP/SAVPF 96\n"), ""),
        (browser("").replace("o=- 1 1", "o=- 1 2"), ""),
    ]
}

/// A browser's leg: what it is told stays, but for our half of ICE when it restarts that (RFC 8445 §9).
#[test]
fn ten_thousand_re_offers_of_a_browser_leave_what_it_was_told() {
    let mut ng = Ng::new(settings());
    let a = Secure::new(ng.now, DtlsRole::Server);
    let mut call = |offer: &str, answer: Option<&str>| {
        ng.exchange(true, B, offer, |it| it.transport_protocol = Some(TransportProtocol::RtpAvp));
        let answer = answer.map(|lines| ng.exchange(false, A, &sdp(B, "RTP/AVP", lines), |_| {}));
        ng.pass(Duration::from_millis(1));
        (answer, ng.sockets.open_count(), ng.ports.clone())
    };
    let (first, sockets, ports) = call(&re_offers_of_a_browser(&a, 0)[0].0, Some(""));
    let first = first.expect("an answer").media[0].clone();
    assert_eq!(first.setup, Some(Setup::Passive), "the role is ours to choose");
    let mut ufrag = first.ice.as_ref().expect("ICE").ufrag.clone();
    for round in 0..10_000 {
        // A new generation every 500 rounds, over all kinds of offers.
        let (generation, restart) = (round / 500, round % 500 == 0 && round > 0);
        let kinds = re_offers_of_a_browser(&a, generation);
        let (offer, answer) = &kinds[(round + generation) % kinds.len()];
        // Now and then nobody answers, but not when it matters.
        let (answer, open, now) = call(offer, (restart || round % 7 != 0).then_some(*answer));
        assert_eq!((open, &now), (sockets, &ports), "{round}");
        let Some(answer) = answer else { continue };
        let media = &answer.media[0];
        assert_eq!((media.setup, &media.fingerprints), (first.setup, &first.fingerprints), "{round}");
        let told = &media.ice.as_ref().expect("ICE").ufrag;
        assert_eq!(*told != ufrag, restart, "{round}");
        ufrag.clone_from(told);
    }
}
