//! The published attacks on relays: RTP bleed and RTP inject, the DTLS hello race, forged STUN, RTCP and SRTP, replays, floods,
//! and streams that outlive their call. What is wrong is dropped and counted, nobody else is spoken to, and calls go on.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::bed::{Bed, RELAY, settings, speech};
use super::mirror::{A, B, Ng, Secure, Sent, context, protect, rtp, sdp};
use super::relay_end;
use crate::command::LegKind::{Browser, Legacy};
use crate::command::{Cause, Command, Delete, Dtls as DtlsWish, Exchange, Ice, Reply, TransportProtocol};
use crate::engine::{EventKind, Settings};
use crate::ice::{Credentials, IceAgent};
use crate::sdp::Description;
use crate::srtp::{DtlsRole, MasterKey, Profile};
use crate::stats::Faults;

const STRANGER: &str = "198.51.100.66:7000";
/// The receiver report of somebody.
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0x12, 0x34];

fn stranger() -> SocketAddr {
    STRANGER.parse().unwrap()
}

/// RTP that is longer than any tag.
fn speak(number: u16) -> Vec<u8> {
    [rtp(0, number), vec![7; 100]].concat()
}

fn faults(ng: &Ng) -> Faults {
    ng.engine.stats().faults
}

/// One packet to each port there is, as `sprayrtp` and `rtpbleed` do; what the relay sends then.
fn spray(ng: &mut Ng, source: SocketAddr, octets: &[u8]) -> Vec<Sent> {
    let ports = 30_000..30_102u16;
    let open: Vec<u16> = ports.filter(|port| ng.sockets.at_family(*port, false).is_some()).collect();
    open.into_iter().flat_map(|port| ng.send(port, source, octets)).collect()
}

fn plain(end: &str) -> String {
    sdp(end, "RTP/AVP", "")
}

/// Both ends are heard by each other, and only by each other.
fn assert_talks(ng: &mut Ng, number: u16) {
    let (a, b): (SocketAddr, SocketAddr) = (A.parse().unwrap(), B.parse().unwrap());
    assert_eq!(ng.say(A, &rtp(0, number)), [(ng.ports[B], b, rtp(0, number))]);
    assert_eq!(ng.say(B, &rtp(0, number)), [(ng.ports[A], a, rtp(0, number))]);
}

/// CVE-2017-14114, CVE-2017-14099, CVE-2025-53399.
#[test]
fn a_spray_over_all_ports_hears_nothing_and_is_not_heard() {
    let mut ng = Ng::new(settings());
    let early = "192.0.2.1:4999".parse().unwrap();
    ng.exchange(true, B, &plain(A), |_| {});
    for source in [stranger(), early, A.parse().unwrap()] {
        // Even from the caller's own address: it does not know the port yet.
        for _ in 0..20 {
            assert_eq!(spray(&mut ng, source, &rtp(0, 1)), []);
            assert_eq!(spray(&mut ng, source, &REPORT), []);
        }
    }
    ng.exchange(false, A, &plain(B), |_| {});
    let before = faults(&ng).strangers;
    for round in 0..4 {
        assert_eq!(spray(&mut ng, stranger(), &rtp(0, round)), [], "before the first real packet");
    }
    assert_talks(&mut ng, 1);
    for round in 0..200 {
        for octets in [&rtp(0, round)[..], &REPORT] {
            assert_eq!(spray(&mut ng, stranger(), octets), []);
        }
        assert_talks(&mut ng, 2 + round);
        ng.now += Duration::from_millis(20);
    }
    // The shared port and two pairs.
    assert!(faults(&ng).strangers >= before + 4 * 5 + 200 * 5, "{:?}", faults(&ng));
}

/// A caller that only listens, as to early media, is the one that is robbed most easily.
#[test]
fn a_silent_phone_of_known_address_is_not_robbed_by_any_number_of_packets() {
    let mut ng = Ng::new(settings());
    ng.call([&plain(A), &plain(B)], |_| {});
    let a: SocketAddr = A.parse().unwrap();
    for number in 0..500 {
        let sent = spray(&mut ng, stranger(), &rtp(0, number));
        assert!(sent.iter().all(|(_, to, _)| *to != stranger()), "{sent:?}");
        assert_eq!(ng.say(B, &rtp(0, number))[0].1, a);
        ng.now += Duration::from_millis(20);
    }
    // It speaks at last: from then on nobody else does.
    assert_talks(&mut ng, 600);
    assert_eq!(ng.send(ng.ports[A], stranger(), &rtp(0, 1)), []);
}

#[test]
fn packets_from_the_host_of_a_phone_but_another_port_are_dropped() {
    let mut ng = Ng::new(settings());
    ng.call([&plain(A), &plain(B)], |_| {});
    assert_talks(&mut ng, 1);
    let neighbour: SocketAddr = "192.0.2.1:4002".parse().unwrap();
    for number in 2..200 {
        assert_eq!(ng.send(ng.ports[A], neighbour, &rtp(0, number)), []);
        // The port for reports is one that the phone has not used so far.
        assert_eq!(ng.send(ng.ports[A] + 1, neighbour, &REPORT), []);
        assert_talks(&mut ng, number);
    }
    assert_eq!(faults(&ng).strangers, 2 * 198);
    let own = "192.0.2.1:4001".parse().unwrap();
    assert_eq!(ng.send(ng.ports[A] + 1, own, &REPORT).len(), 1, "the phone's own are heard");
}

/// Session timers repeat offer and answer; each time the window to learn opens.
#[test]
fn a_repeated_offer_gives_a_talking_phone_away_to_nobody() {
    let behind_nat: SocketAddr = "203.0.113.77:999".parse().unwrap();
    let from_nat = |it: &mut Exchange| {
        it.flags.trust_address = false;
        it.received_from = Some(behind_nat.ip());
    };
    let private = plain("10.0.0.5:5000");
    let mut ng = Ng::new(settings());
    ng.exchange(true, B, &plain(A), |_| {});
    ng.exchange(false, A, &private, from_nat);
    assert_eq!(ng.send(ng.ports[B], behind_nat, &rtp(0, 0)).len(), 1);
    for round in 1..50 {
        ng.exchange(true, B, &plain(A), |_| {});
        ng.exchange(false, A, &private, from_nat);
        // Also a neighbour behind the same NAT.
        for source in [stranger(), "203.0.113.77:1000".parse().unwrap()] {
            for number in 0..30 {
                assert_eq!(ng.send(ng.ports[B], source, &rtp(0, number)), []);
            }
            ng.now += Duration::from_millis(1);
        }
        assert_eq!(ng.send(ng.ports[B], behind_nat, &rtp(0, round)).len(), 1);
        assert_eq!(ng.say(A, &rtp(0, round))[0].1, behind_nat);
        ng.now += Duration::from_secs(90);
    }
}

/// What ES2025-01 found: packets without a valid tag taught where an end is.
#[test]
fn on_srtp_legs_only_what_the_key_opens_teaches() {
    let mut ng = Ng::new(settings());
    let offer = ng.exchange(true, B, &plain(A), |it| {
        it.transport_protocol = Some(TransportProtocol::RtpSavp);
        it.dtls = Some(DtlsWish::Off);
    });
    let ours = &offer.media[0].crypto[0];
    let key =
        MasterKey::generate(Profile::from_sdes_name(&ours.suite).unwrap(), &mut StdRng::seed_from_u64(5));
    let key = key.to_sdes();
    let answer = sdp(B, "RTP/SAVP", &format!("a=crypto:{} {} inline:{key}\n", ours.tag, ours.suite));
    ng.exchange(false, A, &answer, |_| {});
    let mut b = context(&key, ours);
    let moved: SocketAddr = "203.0.113.99:6000".parse().unwrap();
    let forged = protect(
        &mut context(&MasterKey::generate(b.profile(), &mut StdRng::seed_from_u64(6)).to_sdes(), ours),
        &rtp(0, 1),
    );
    for number in 0..100 {
        for source in [stranger(), B.parse().unwrap(), moved] {
            assert_eq!(ng.send(ng.ports[B], source, &speak(number)), []);
            assert_eq!(ng.send(ng.ports[B], source, &forged), []);
        }
        assert_eq!(ng.say(A, &rtp(0, number))[0].1, B.parse().unwrap(), "spoken to where the SDP says");
    }
    assert_eq!(faults(&ng).forged, 600);
    let first = protect(&mut b, &rtp(0, 1));
    assert_eq!(ng.send(ng.ports[B], moved, &first).len(), 1, "authentic, so learnt at once");
    assert_eq!(ng.say(A, &rtp(0, 200))[0].1, moved);
    // Caught on the way and sent again, from anywhere.
    for source in [stranger(), moved, B.parse().unwrap()] {
        assert_eq!(ng.send(ng.ports[B], source, &first), []);
    }
    assert_eq!(faults(&ng).replayed, 3);
    assert_eq!(ng.say(A, &rtp(0, 201))[0].1, moved);
    assert_eq!(ng.send(ng.ports[B], moved, &protect(&mut b, &rtp(0, 2))).len(), 1);
}

/// A client's first flight.
fn hello(ng: &Ng) -> (Secure, Vec<Vec<u8>>) {
    let mut client = Secure::new(ng.now, DtlsRole::Client);
    let mut records = Vec::new();
    assert!(client.dtls.handle_timeout(ng.now).is_none());
    client.dtls.poll(|record| records.push(record.to_vec()));
    (client, records)
}

/// Passes records between a client at `source` and the relay until nothing is left to say.
fn shake(ng: &mut Ng, client: &mut Secure, source: SocketAddr, mut records: Vec<Vec<u8>>) {
    for _ in 0..20 {
        let port = ng.ports[A];
        let answers: Vec<Sent> = records.iter().flat_map(|record| ng.send(port, source, record)).collect();
        records = answers
            .into_iter()
            .flat_map(|(_, to, record)| {
                assert_eq!(to, source, "nobody else is answered");
                client.take(ng.now, &record)
            })
            .collect();
        if records.is_empty() {
            return;
        }
    }
}

/// A is the DTLS client of a call without ICE, B a plain phone.
fn dtls_call(ng: &mut Ng, a: &mut Secure) -> Description {
    let offer = sdp(A, "UDP/TLS/RTP/SAVP", &a.lines("active"));
    let [_, answer] = ng.call([&offer, &plain(B)], |it| {
        it.transport_protocol = Some(TransportProtocol::RtpAvp);
    });
    a.expect(&answer);
    answer
}

/// ES2023-01 to 03 (CVE-2023-49786, CVE-2023-51443): whoever says hello first has the call.
#[test]
fn a_stranger_who_says_hello_first_does_not_keep_the_end_from_its_call() {
    let mut ng = Ng::new(settings());
    let (mut a, hello_of_a) = hello(&ng);
    let answer = dtls_call(&mut ng, &mut a);
    ng.sent();
    // One who goes through with it, and one who only begins.
    for (at, completes) in [(0u16, true), (1, true), (2, false)] {
        let source = SocketAddr::new(stranger().ip(), 7000 + at);
        let (mut thief, records) = hello(&ng);
        thief.expect(&answer);
        let sizes: usize = records.iter().map(Vec::len).sum();
        let answers: Vec<Sent> =
            records.iter().flat_map(|record| ng.send(ng.ports[A], source, record)).collect();
        let answered: usize = answers.iter().map(|(.., record)| record.len()).sum();
        assert!(answered <= sizes, "{answered} octets for {sizes} to an address that nothing has proved");
        if completes {
            let next = answers.iter().flat_map(|(.., record)| thief.take(ng.now, record)).collect();
            shake(&mut ng, &mut thief, source, next);
        }
        assert!(thief.srtp.is_none() || !ng.events().contains(&EventKind::DtlsConnected));
        // Whatever keys he has, they open nothing.
        assert_eq!(ng.send(ng.ports[A], source, &rtp(0, 1)), []);
    }
    assert_eq!(ng.engine.stats().dtls_failed, 0);
    shake(&mut ng, &mut a, A.parse().unwrap(), hello_of_a);
    let srtp = a.srtp.as_mut().expect("an association");
    assert!(ng.events().contains(&EventKind::DtlsConnected));
    let own = protect(srtp, &rtp(0, 1));
    assert_eq!(ng.say(A, &own)[0].2, rtp(0, 1));
    // And afterwards none gets between.
    let (_, records) = hello(&ng);
    let answers: Vec<Sent> =
        records.iter().flat_map(|record| ng.send(ng.ports[A], stranger(), record)).collect();
    assert_eq!(answers, []);
    let own = protect(a.srtp.as_mut().unwrap(), &rtp(0, 2));
    assert_eq!(ng.say(A, &own)[0].2, rtp(0, 2));
}

/// Each handshake costs signatures.
#[test]
fn handshakes_with_strangers_are_few() {
    let mut ng = Ng::new(settings());
    let (mut a, _) = hello(&ng);
    let answer = dtls_call(&mut ng, &mut a);
    let mut completed = 0;
    for at in 0..40u16 {
        let source = SocketAddr::new(stranger().ip(), 7000 + at);
        let (mut thief, records) = hello(&ng);
        thief.expect(&answer);
        let answers: Vec<Sent> =
            records.iter().flat_map(|record| ng.send(ng.ports[A], source, record)).collect();
        let next = answers.iter().flat_map(|(.., record)| thief.take(ng.now, record)).collect();
        shake(&mut ng, &mut thief, source, next);
        completed += usize::from(thief.srtp.is_some());
        ng.now += Duration::from_secs(3);
    }
    assert_eq!(completed, 17);
    assert_eq!(ng.engine.stats().dtls_failed, 1, "the end is told at last");
}

/// The certificate is the only proof that DTLS has: none announced, none believed.
#[test]
fn without_a_fingerprint_there_is_no_media() {
    let mut ng = Ng::new(settings());
    let (mut a, hello_of_a) = hello(&ng);
    let offer = sdp(A, "UDP/TLS/RTP/SAVP", "a=setup:active\n");
    ng.exchange(true, B, &offer, |it| it.transport_protocol = Some(TransportProtocol::RtpAvp));
    let answer = ng.exchange(false, A, &plain(B), |_| {});
    if !answer.media[0].fingerprints.is_empty() {
        a.expect(&answer);
        shake(&mut ng, &mut a, A.parse().unwrap(), hello_of_a);
    }
    assert!(!ng.events().contains(&EventKind::DtlsConnected));
    let spoken = a.srtp.as_mut().map_or_else(|| speak(1), |srtp| protect(srtp, &speak(1)));
    assert_eq!(ng.say(A, &spoken), []);
    assert_eq!(ng.say(B, &speak(1)), []);
}

/// On ports of its own and with ICE, an end is where its checks come from.
#[test]
fn where_ice_was_agreed_dtls_and_rtp_of_others_are_dropped_unanswered() {
    let mut ng = Ng::new(settings());
    let (a, records) = hello(&ng);
    let credentials = Credentials::random(&mut StdRng::seed_from_u64(3));
    let ice = format!("a=ice-ufrag:{}\na=ice-pwd:{}\n", credentials.ufrag, credentials.pwd);
    let offer = sdp(A, "UDP/TLS/RTP/SAVP", &(a.lines("active") + &ice));
    ng.exchange(true, B, &offer, |it| {
        it.transport_protocol = Some(TransportProtocol::RtpAvp);
        it.ice = Some(Ice::Remove);
    });
    ng.exchange(false, A, &plain(B), |_| {});
    ng.sent();
    for source in [stranger(), A.parse().unwrap()] {
        let sent: Vec<Sent> =
            records.iter().flat_map(|record| ng.send(ng.ports[A], source, record)).collect();
        assert_eq!(sent, [], "{source} has proved nothing");
        assert_eq!(ng.send(ng.ports[A], source, &rtp(0, 1)), []);
    }
    assert!(faults(&ng).strangers >= 2, "{:?}", faults(&ng));
}

/// STUN of all classes, DTLS, RTP and RTCP of somebody who knows a leg's ufrag, but not its password, to the shared port: not
/// one octet comes back, so there is nothing to be amplified.
#[test]
fn the_shared_port_answers_nobody_without_credentials() {
    let mut bed = Bed::new(Browser, Legacy, 7);
    bed.connect();
    bed.settle(Duration::from_secs(5));
    let (to, key) = (relay_end(&bed, 0), bed.phones[0].key.unwrap());
    let ours = bed.engine.paths.legs[key].secure.as_ref().unwrap().credentials.clone();
    let wrong = Credentials { pwd: "0123456789012345678901".to_owned(), ..ours.clone() };
    let mut thief = IceAgent::new(&bed.phones[0].credentials, stranger(), true, false, 1).unwrap();
    thief.set_remote_credentials(bed.now, &wrong);
    thief.add_remote_candidate(&format!("1 1 udp 1 {RELAY} {} typ host", to.port()));
    thief.handle_timeout(bed.now);
    let (_, check) = thief.poll_transmit().unwrap();
    let (_, hello) = hello(&Ng::new(settings()));
    let mut datagrams = vec![check.clone(), rtp(0, 1), REPORT.to_vec()];
    datagrams.extend(hello);
    // The classes request, indication, success and error of the methods Binding and Allocate.
    for kind in [[0, 1], [0, 0x11], [1, 1], [1, 0x11], [0, 3], [0, 0x13], [1, 3], [1, 0x13]] {
        let mut changed = check.clone();
        changed[..2].copy_from_slice(&kind);
        datagrams.push(changed.clone());
        datagrams.push(changed[..20].to_vec());
        let mut bare = changed[..20].to_vec();
        bare[2..4].fill(0);
        datagrams.push(bare);
    }
    // Without MESSAGE-INTEGRITY, without FINGERPRINT, and with both cut short.
    datagrams.extend((20..check.len()).step_by(4).map(|len| {
        let mut cut = check[..len].to_vec();
        cut[2..4].copy_from_slice(&u16::try_from(len - 20).unwrap().to_be_bytes());
        cut
    }));
    bed.run(Duration::from_millis(100));
    let (dropped, selected) = (bed.engine.stats().dropped, bed.phones[0].selected);
    for datagram in &datagrams {
        bed.arrive(stranger(), to, datagram);
        let answer = bed.engine.poll_transmit().filter(|it| it.to == stranger());
        assert!(answer.is_none(), "an answer to {}", hex::encode(datagram));
    }
    assert_eq!(bed.engine.stats().dropped, dropped + datagrams.len() as u64);
    assert!(bed.engine.stats().faults.forged >= 1 && bed.engine.stats().faults.strangers >= 3);
    assert_eq!(bed.phones[0].selected, selected);
    bed.talk(5);
    assert!(bed.phones.iter().all(|phone| phone.payloads().len() == 5));
}

/// Records in the clear under the browser's own address, before its handshake and during it.
#[test]
fn forged_records_do_not_keep_a_handshake_from_its_end() {
    for seed in 0..6 {
        let mut bed = Bed::new(Browser, Legacy, seed);
        bed.connect();
        let (from, to) = (bed.phones[0].address, relay_end(&bed, 0));
        let mut rng = StdRng::seed_from_u64(seed);
        let done = |bed: &Bed| bed.phones[0].srtp.is_some();
        for _ in 0..3000 {
            if done(&bed) {
                break;
            }
            let mut noise = vec![0; 40];
            rng.fill_bytes(&mut noise);
            for head in [
                // Alerts, a fragment from nowhere, application data, a change of cipher, noise as a handshake.
                &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, 9, 0, 2, 2, 80][..],
                &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, 9, 0, 2, 1, 0],
                &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, 7, 0, 13, 11, 0, 0, 9, 0, 3, 0, 0, 0, 0, 0, 1, 7],
                &[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 6, 0, 2, 1, 1],
                &[20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, 5, 0, 1, 1],
                &[&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, 4, 0, 40][..], &noise].concat(),
            ] {
                bed.arrive(from, to, head);
            }
            bed.drain();
            bed.run(Duration::from_millis(2));
        }
        assert!(done(&bed), "seed {seed}: {:?}", bed.events);
        bed.settle(Duration::from_secs(5));
        bed.talk(3);
        assert!(bed.phones.iter().all(|phone| phone.payloads().len() == 3), "seed {seed}");
    }
}

fn delete(ng: &mut Ng) {
    ng.engine.handle_command(ng.now, &Command::Delete(Delete { call_id: "ng".into(), ..Delete::default() }));
}

/// A phone that never hears of the end of its call, and calls that have its port afterwards.
#[test]
fn a_stream_that_outlives_its_call_never_reaches_another() {
    // Two pairs: each call has the ports of the one before.
    let mut ng = Ng::new(Settings { port_min: 30_000, port_max: 30_005, ..settings() });
    let stale: SocketAddr = "203.0.113.2:777".parse().unwrap();
    let behind_nat = |it: &mut Exchange| {
        it.flags.trust_address = false;
        it.received_from = Some(stale.ip());
    };
    ng.exchange(true, B, &plain(A), |_| {});
    ng.exchange(false, A, &plain("10.0.0.5:5000"), behind_nat);
    assert_eq!(ng.send(ng.ports[B], stale, &rtp(0, 0)).len(), 1, "it belongs to the first call");
    let port = ng.ports[B];
    delete(&mut ng);
    let mut reused = 0;
    for call in 0..6u16 {
        // Its stream goes on all the time, 20 ms apart.
        let to_dead = |ng: &mut Ng, millis: u64| {
            for number in 0..millis / 20 {
                let open = ng.sockets.at_family(port, false).is_some();
                if open {
                    let sent = ng.send(port, stale, &rtp(0, number as u16));
                    assert_eq!(sent, [], "call {call} hears the stale stream");
                }
                ng.now += Duration::from_millis(20);
            }
        };
        to_dead(&mut ng, 5000);
        ng.exchange(true, B, &plain(A), |_| {});
        reused += usize::from(ng.ports[B] == port);
        to_dead(&mut ng, 100);
        // The other phone of that office: same public address.
        ng.exchange(false, A, &plain("10.0.0.6:6000"), behind_nat);
        to_dead(&mut ng, 3000);
        let told: SocketAddr = "203.0.113.2:6000".parse().unwrap();
        assert_eq!(ng.say(A, &rtp(0, 1))[0].1, told, "and it hears nothing");
        let neighbour: SocketAddr = "203.0.113.2:888".parse().unwrap();
        assert_eq!(ng.send(ng.ports[B], neighbour, &rtp(0, 5)).len(), 1, "the end itself is heard");
        to_dead(&mut ng, 1000);
        delete(&mut ng);
        ng.now += Duration::from_secs(5);
        assert_eq!(ng.sent(), []);
        if ng.ports[B] == port {
            // The neighbour had it last; the first one is no more than a stranger behind the same NAT from here on.
            break;
        }
    }
    assert!(reused > 0, "the port came back");
}

/// Of one end's packets no more go on than one may send; the other end is not held back.
#[test]
fn a_flood_of_an_end_is_cut_at_the_limit() {
    let mut bed = Bed::with_settings(Browser, Legacy, 3, Settings { max_packet_rate: 100, ..settings() });
    bed.connect();
    bed.settle(Duration::from_secs(5));
    for second in 0..3u8 {
        for _ in 0..100u8 {
            for number in 0..10 {
                bed.say(0, 0, &speech(0, number));
            }
            bed.run(Duration::from_millis(10));
        }
        bed.say(1, 0, &speech(1, second));
    }
    bed.run(Duration::from_millis(100));
    let heard = bed.phones[1].payloads().len();
    assert!((200..=500).contains(&heard), "{heard} of 3000 in three seconds");
    assert_eq!(bed.phones[0].payloads(), [0, 1, 2].map(|number| speech(1, number)));
    assert_eq!(bed.engine.stats().faults.excessive as usize, 3000 - heard);
}

/// Who calls a stranger's stream its own: every datagram dropped on arrival has one reason.
#[test]
fn every_drop_is_counted_by_what_was_wrong() {
    let mut bed = Bed::new(Browser, Legacy, 5);
    bed.connect();
    bed.settle(Duration::from_secs(5));
    bed.talk(2);
    let (browser, phone) = (relay_end(&bed, 0), relay_end(&bed, 1));
    let own = bed.phones[0].address;
    let before = (bed.engine.stats().dropped, bed.engine.stats().faults);
    bed.arrive(stranger(), phone, &rtp(0, 1));
    bed.arrive(stranger(), browser, &rtp(0, 1));
    bed.arrive(own, browser, &speak(1));
    bed.arrive(own, browser, &[0x80, 0]);
    let mut packet = crate::packet::Packet::new();
    packet.fill(&rtp(0, 77)).unwrap();
    bed.phones[0].srtp.as_mut().unwrap().protect(&mut packet).unwrap();
    bed.arrive(own, browser, packet.as_slice());
    bed.arrive(own, browser, packet.as_slice());
    let stats = bed.engine.stats();
    assert_eq!(stats.dropped, before.0 + 5);
    let expected = Faults {
        malformed: before.1.malformed + 1,
        strangers: before.1.strangers + 2,
        forged: before.1.forged + 1,
        replayed: before.1.replayed + 1,
        excessive: 0,
    };
    assert_eq!(stats.faults, expected);
}

/// A controller that knows the word turns to another relay, and does not take this one for broken.
#[test]
fn a_full_relay_says_load_limit_to_whoever_knows_the_word() {
    for (knows, cause) in [(false, Cause::Full), (true, Cause::LoadLimit)] {
        let mut ng = Ng::new(settings());
        let full = |it: &mut Exchange| (it.no_new_call, it.knows_load_limit) = (true, knows);
        let Reply::Error(failure) = ng.command(true, &plain(A), full) else { panic!("a call too many") };
        assert_eq!(failure.cause, cause);
        let mut ng = Ng::new(Settings { port_min: 30_000, port_max: 30_003, ..settings() });
        let knowing = |it: &mut Exchange| it.knows_load_limit = knows;
        let replies = [ng.command(true, &plain(A), knowing), ng.command(false, &plain(B), knowing)];
        let failures = replies.iter().filter(|reply| matches!(reply, Reply::Error(it) if it.cause == cause));
        assert_eq!(failures.count(), 1, "no ports for both ends: {replies:?}");
    }
}
