//! The engine between two phones, in virtual time.

mod addresses;
mod attacks;
mod bed;
mod dtmf;
mod forks;
mod forwarding;
mod keys;
mod mirror;
mod play;
mod pubsub;
mod recording;
mod rtcp;
mod screen;
mod speech;
mod storm;
mod transcode;
mod wishes;

use std::net::SocketAddr;
use std::time::Duration;

use rand::{RngExt, SeedableRng};

use self::bed::{Bed, RELAY, Weather, settings, speech, voice};
use crate::call::plan::{Feedback, FlowPlan, LegId, LegRequest, MediaKind, Payload, PayloadMap, Transports};
use crate::command::LegKind::{self, Browser, Legacy};
use crate::command::{Cause, Command, Delete, Query, Reply};
use crate::engine::transports::Provider;
use crate::engine::{EventKind, Interface, Settings};
use crate::ice::{Credentials, IceAgent, IceState};
use crate::packet::Packet;
use crate::rtp::Header;

const PAIRS: [(LegKind, LegKind); 4] =
    [(Browser, Legacy), (Legacy, Browser), (Browser, Browser), (Legacy, Legacy)];

/// What each phone heard is exactly what the other said, in order, as one stream.
fn assert_heard(bed: &Bed, count: u8) {
    for side in 0..2 {
        let expected: Vec<Vec<u8>> = (0..count).map(|number| speech(1 - side, number)).collect();
        assert_eq!(bed.phones[side].payloads(), expected, "what phone {side} heard");
        let headers: Vec<_> = bed.phones[side].heard.iter().map(|heard| heard.header).collect();
        for pair in headers.windows(2) {
            assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
            assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
            assert_eq!(pair[1].ssrc, pair[0].ssrc);
        }
    }
}

#[test]
fn audio_passes_in_all_four_pairings() {
    for (a, b) in PAIRS {
        let mut bed = Bed::new(a, b, 1);
        bed.connect();
        bed.settle(Duration::from_secs(5));
        bed.talk(50);
        assert_heard(&bed, 50);
    }
}

#[test]
fn browsers_connect_over_a_bad_network() {
    for seed in 0..10 {
        let mut bed = Bed::new(Browser, Browser, seed);
        bed.weather = Weather { loss: 20, jitter: 60 };
        bed.connect();
        bed.settle(Duration::from_secs(25));
        bed.weather = Weather::default();
        bed.run(Duration::from_secs(1));
        bed.talk(20);
        assert_heard(&bed, 20);
    }
}

#[test]
fn a_wrong_certificate_gets_no_media() {
    for browser in 0..2 {
        let mut bed = Bed::new(
            if browser == 0 { Browser } else { Legacy },
            if browser == 1 { Browser } else { Legacy },
            4,
        );
        bed.phones[browser].fingerprint[3] ^= 1;
        bed.connect();
        bed.run(Duration::from_secs(10));
        bed.talk(5);
        assert!(bed.phones.iter().all(|phone| phone.heard.is_empty()));
        assert!(
            bed.events.iter().any(|event| matches!(event.kind, EventKind::DtlsFailed(_))),
            "{:?}",
            bed.events
        );
    }
}

/// A browser closes its association before its BYE is here: that is a hang-up and no failure.
#[test]
fn a_browser_that_leaves_has_not_failed() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(2);
    bed.phones[0].dtls.as_mut().expect("an association").close();
    bed.run(Duration::from_secs(1));
    let count =
        |wanted: fn(&EventKind) -> bool| bed.events.iter().filter(|event| wanted(&event.kind)).count();
    assert_eq!(count(|kind| *kind == EventKind::DtlsClosed), 1, "{:?}", bed.events);
    assert_eq!(count(|kind| matches!(kind, EventKind::DtlsFailed(_))), 0, "{:?}", bed.events);
    bed.talk(2);
    assert_heard(&bed, 2);
}

/// The relay's end of a phone.
fn relay_end(bed: &Bed, side: usize) -> SocketAddr {
    SocketAddr::new(RELAY.parse().expect("an address"), bed.phones[side].relay_port)
}

fn connected(a: LegKind, b: LegKind) -> Bed {
    let mut bed = Bed::new(a, b, 11);
    bed.connect();
    bed.settle(Duration::from_secs(5));
    bed
}

#[test]
fn dtls_can_be_held_to_1_2_and_ice_to_lite() {
    for settings in [Settings { dtls_12_only: true, ..settings() }, Settings { ice_lite: true, ..settings() }]
    {
        let mut bed = Bed::with_settings(Browser, Legacy, 2, settings);
        bed.connect();
        bed.settle(Duration::from_secs(5));
        bed.talk(5);
        assert_heard(&bed, 5);
    }
}

#[test]
fn events_tell_how_a_call_comes_up() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(2);
    let kinds: Vec<_> = bed.events.iter().map(|event| (event.leg, event.kind.clone())).collect();
    for expected in [
        (0, EventKind::Ice(IceState::Connected)),
        (0, EventKind::DtlsConnected),
        (0, EventKind::FirstPacket),
        (1, EventKind::FirstPacket),
    ] {
        assert_eq!(kinds.iter().filter(|kind| **kind == expected).count(), 1, "{expected:?} in {kinds:?}");
    }
}

#[test]
fn hold_stops_the_media_and_resume_keeps_keys_and_stream() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(3);
    let closed = FlowPlan { open: false, ..voice() };
    bed.apply([closed.clone(), closed], false);
    bed.talk(3);
    assert_eq!(bed.phones.iter().map(|phone| phone.heard.len()).collect::<Vec<_>>(), [3, 3]);
    // ICE stays alive over a long hold.
    bed.run(Duration::from_secs(60));
    bed.apply([voice(), voice()], false);
    bed.talk(3);
    for phone in &bed.phones {
        assert_eq!(phone.heard.len(), 6);
        let ssrcs: Vec<u32> = phone.heard.iter().map(|heard| heard.header.ssrc).collect();
        assert!(ssrcs.iter().all(|ssrc| *ssrc == ssrcs[0]), "one stream");
    }
    let dtls = bed.events.iter().filter(|event| event.kind == EventKind::DtlsConnected).count();
    assert_eq!(dtls, 1, "the association is kept");
}

#[test]
fn ice_restarts_and_the_call_goes_on() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(3);
    let mut rng = rand::rngs::StdRng::seed_from_u64(5);
    bed.phones[0].credentials = Credentials::random(&mut rng);
    // The browser moved to another network.
    bed.phones[0].address = "192.0.2.1:4999".parse().expect("an address");
    bed.phones[0].selected = None;
    bed.open_leg(0, true);
    bed.apply([voice(), voice()], false);
    bed.run(Duration::from_secs(3));
    bed.talk(3);
    assert_heard_from(&bed, 3, 3);
    let dtls = bed.events.iter().filter(|event| event.kind == EventKind::DtlsConnected).count();
    assert_eq!(dtls, 1, "DTLS is not begun anew");
}

/// After a first talk of `before` packets, another of `count`.
fn assert_heard_from(bed: &Bed, before: usize, count: u8) {
    for side in 0..2 {
        let expected: Vec<Vec<u8>> = (0..count).map(|number| speech(1 - side, number)).collect();
        assert_eq!(bed.phones[side].payloads()[before..], expected, "what phone {side} heard");
    }
}

#[test]
fn a_phone_behind_nat_is_heard_where_it_is() {
    // By a controller that does not tell where signalling comes from it is a stranger at first.
    for (told, heard) in [(true, 10), (false, 6)] {
        let mut bed = Bed::new(Browser, Legacy, 3);
        bed.phones[1].announced = "10.0.0.5:5000".parse().expect("an address");
        bed.phones[1].signalled_from = told.then_some(bed.phones[1].address.ip());
        bed.connect();
        bed.settle(Duration::from_secs(5));
        bed.talk(10);
        assert_eq!(bed.phones[0].heard.len(), heard);
        assert!(bed.phones[1].heard.len() + 1 >= heard, "all but what was sent before the phone spoke");
    }
}

#[test]
fn a_leg_listens_where_it_is_announced() {
    let ip = |text: &str| -> std::net::IpAddr { text.parse().expect("an address") };
    let mut settings = settings();
    settings.interfaces = [("in", "10.0.0.1", "10.0.0.1"), ("out", "10.1.0.1", "203.0.113.5")]
        .map(|(name, address, advertised)| Interface {
            name: name.to_owned(),
            address: ip(address),
            advertised: ip(advertised),
        })
        .to_vec();
    let mut bed = Bed::with_settings(Browser, Legacy, 3, settings);
    for (leg, announce, bind) in [
        (10, "203.0.113.5", "10.1.0.1"),
        (11, "10.1.0.1", "10.1.0.1"),
        (12, "10.0.0.1", "10.0.0.1"),
        (13, "198.51.100.9", "10.0.0.1"),
    ] {
        let request = LegRequest {
            kind: Legacy,
            announce: Some(ip(announce)),
            interface: None,
            family: None,
            restart_ice: false,
        };
        let mut provider = Provider { engine: &mut bed.engine, call: bed.call, now: bed.now };
        let local = provider.leg(LegId(leg), &request).expect("a leg");
        assert_eq!(local.address, ip(announce));
        let key = bed.engine.calls[bed.call].legs.last().expect("a leg").1;
        assert_eq!(bed.engine.paths.legs[key].bind, ip(bind), "{announce}");
    }
}

#[test]
fn a_stranger_cannot_speak_into_a_call() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(3);
    let mut packet = Packet::new();
    Header::new(0, 7, 7, 7).start(&mut packet, b"stolen").expect("it fits");
    let stranger: SocketAddr = "203.0.113.66:5000".parse().expect("an address");
    for side in 0..2 {
        let to = relay_end(&bed, side);
        bed.launch(stranger, to, packet.as_slice().to_vec());
    }
    let dropped = bed.engine.stats().dropped;
    bed.run(Duration::from_millis(100));
    assert_eq!(bed.engine.stats().dropped, dropped + 2);
    let key = bed.phones[1].key.expect("a leg");
    assert_eq!(bed.engine.paths.legs[key].dropped, 1, "counted against the leg it was meant for");
    bed.talk(3);
    assert!(
        bed.phones
            .iter()
            .all(|phone| phone.heard.len() == 6 && !phone.payloads().contains(&b"stolen".to_vec()))
    );
}

#[test]
fn stun_with_a_wrong_password_changes_nothing() {
    let mut bed = connected(Browser, Legacy);
    let key = bed.phones[0].key.expect("a leg");
    let secure = bed.engine.paths.legs[key].secure.as_ref().expect("a browser");
    let mut stolen = secure.credentials.clone();
    stolen.pwd.replace_range(..1, if stolen.pwd.starts_with('A') { "B" } else { "A" });
    let selected = secure.selected;
    let stranger: SocketAddr = "203.0.113.66:5000".parse().expect("an address");
    let mut ice = IceAgent::new(&bed.phones[0].credentials, stranger, true, false, 1).expect("an agent");
    ice.set_remote_credentials(bed.now, &stolen);
    ice.add_remote_candidate(&format!("1 1 udp 1 {RELAY} {} typ host", bed.phones[0].relay_port));
    for _ in 0..20 {
        ice.handle_timeout(bed.now);
        while let Some((to, octets)) = ice.poll_transmit() {
            bed.launch(stranger, to, octets);
        }
        bed.run(Duration::from_millis(100));
    }
    assert!(!bed.engine.addresses.contains_key(&stranger));
    assert_eq!(bed.engine.paths.legs[key].secure.as_ref().expect("a browser").selected, selected);
    assert!(bed.engine.stats().dropped > 0);
}

/// RFC 7675 §5.1.
#[test]
fn media_stops_when_a_browser_vanishes() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(3);
    // Its address still receives, but nobody there speaks ICE.
    bed.phones[0].ice = None;
    bed.run(Duration::from_secs(20));
    bed.say(1, 0, b"still");
    bed.run(Duration::from_millis(100));
    assert_eq!(bed.phones[0].heard.len(), 4, "a short silence of ICE is no end of consent");
    bed.run(Duration::from_secs(15));
    let reports = bed.phones[0].heard_rtcp.len();
    bed.say(1, 0, b"too late");
    bed.run(Duration::from_secs(10));
    assert_eq!((bed.phones[0].heard.len(), bed.phones[0].heard_rtcp.len()), (4, reports));
}

/// Handshake records in the clear under the browser's address, as anybody can write them.
#[test]
fn forged_dtls_ends_no_call() {
    let mut bed = connected(Browser, Legacy);
    let (from, to) = (bed.phones[0].address, relay_end(&bed, 0));
    for number in 0..300u16 {
        let [high, low] = (number + 100).to_be_bytes();
        for body in [
            // A fragment of a message far ahead, an alert (fatal, internal_error), close_notify.
            &[
                22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, high, low, 0, 13, 11, 0, 0, 9, high, low, 0, 0, 0, 0, 0, 1,
                7,
            ][..],
            &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, high, low, 0, 2, 2, 80],
            &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 2, high, low, 0, 2, 1, 0],
        ] {
            bed.arrive(from, to, body);
        }
        bed.drain();
    }
    bed.run(Duration::from_secs(1));
    bed.talk(3);
    assert_heard(&bed, 3);
}

#[test]
fn an_address_comes_back_to_the_leg_that_speaks_ice_there() {
    let mut bed = connected(Browser, Browser);
    let (address, other) = (bed.phones[0].address, bed.phones[1].key.expect("a leg"));
    bed.engine.admit(other, address);
    bed.run(Duration::from_secs(5));
    assert_eq!(bed.engine.addresses.get(&address), bed.phones[0].key.as_ref());
    bed.talk(3);
    assert_heard(&bed, 3);
}

#[test]
fn the_address_in_use_is_not_given_up_for_others() {
    let mut bed = connected(Browser, Legacy);
    let (address, key) = (bed.phones[0].address, bed.phones[0].key.expect("a leg"));
    for port in 0..200 {
        bed.engine.admit(key, SocketAddr::new("203.0.113.7".parse().expect("an address"), 1000 + port));
    }
    assert!(bed.engine.addresses.len() <= 64);
    assert_eq!(bed.engine.addresses.get(&address), Some(&key));
}

#[test]
fn telephone_events_pass_and_are_told_once() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(1);
    let phone = &mut bed.phones[0];
    let timestamp = phone.timestamp.wrapping_add(160);
    for number in 1..=5u16 {
        let phone = &mut bed.phones[0];
        phone.sequence_number = phone.sequence_number.wrapping_add(1);
        let mut header = Header::new(101, phone.sequence_number, timestamp, phone.ssrc);
        header.marker = number == 1;
        let end = if number >= 3 { 0x80 } else { 0 };
        let duration = (number.min(3) * 160).to_be_bytes();
        let mut packet = Packet::new();
        header.start(&mut packet, &[5, end | 10, duration[0], duration[1]]).expect("it fits");
        bed.send_rtp(0, packet);
        bed.run(Duration::from_millis(20));
    }
    bed.run(Duration::from_millis(100));
    let keys: Vec<_> = bed.events.iter().filter(|event| matches!(event.kind, EventKind::Dtmf(_))).collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].kind, EventKind::Dtmf(5));
    let events: Vec<_> =
        bed.phones[1].heard.iter().filter(|heard| heard.header.payload_type == 101).collect();
    assert_eq!(events.len(), 5);
    assert!(
        events.iter().all(|heard| heard.header.timestamp == events[0].header.timestamp),
        "one event, one timestamp"
    );
}

#[test]
fn pcmu_becomes_pcma_where_the_ends_differ() {
    let mut bed = Bed::new(Legacy, Legacy, 8);
    let map = |from, to, payload| PayloadMap { from, to, from_clock: 8000, to_clock: 8000, payload };
    let there = FlowPlan {
        open: true,
        payloads: vec![map(0, 8, Payload::UlawToAlaw)],
        extensions: vec![],
        transparent: false,
        unread: false,
    };
    let back = FlowPlan {
        open: true,
        payloads: vec![map(8, 0, Payload::AlawToUlaw)],
        extensions: vec![],
        transparent: false,
        unread: false,
    };
    bed.connect_with([there, back], true);
    bed.say(0, 0, &[0xff, 0x80, 0x00]);
    bed.say(0, 99, b"not negotiated");
    let mut padded = Packet::new();
    let (number, ssrc) = (bed.phones[0].sequence_number.wrapping_add(1), bed.phones[0].ssrc);
    Header::new(0, number, 0, ssrc).start(&mut padded, &[0x80, 0, 0, 3]).expect("it fits");
    padded.as_mut_slice()[0] |= 0x20;
    bed.send_rtp(0, padded);
    bed.run(Duration::from_millis(50));
    assert_eq!(bed.phones[1].payloads(), [vec![0xd5, 0xaa, 0x2a], vec![0xaa]]);
    assert_eq!(bed.phones[1].heard[0].header.payload_type, 8);
}

#[test]
fn a_call_without_media_ends_and_one_on_hold_stays() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(3);
    bed.apply([FlowPlan { open: false, ..voice() }, FlowPlan { open: false, ..voice() }], false);
    bed.run(Duration::from_secs(600));
    assert_eq!(bed.engine.calls.len(), 1);
    bed.apply([voice(), voice()], false);
    bed.talk(3);
    bed.phones.iter_mut().for_each(|phone| phone.heard.clear());
    bed.run(Duration::from_secs(66));
    assert_eq!(bed.engine.calls.len(), 0);
    assert!(bed.events.iter().any(|event| event.kind == EventKind::MediaTimeout));
}

#[test]
fn nothing_is_left_of_a_call() {
    for (a, b) in PAIRS {
        let mut bed = Bed::new(a, b, 6);
        let sockets = bed.sockets.open_count();
        let free = bed.engine.ports.available(bed.now);
        bed.connect();
        bed.settle(Duration::from_secs(5));
        bed.talk(3);
        let call = bed.call;
        bed.engine.remove_call(bed.now, call);
        bed.run(Duration::from_secs(30));
        let engine = &mut bed.engine;
        assert_eq!(engine.calls.len() + engine.paths.legs.len() + engine.by_id.len(), 0);
        assert_eq!(engine.addresses.len() + engine.ufrags.len(), 0);
        assert!(engine.timers.is_empty(), "timers of the dead run out");
        assert_eq!(bed.sockets.open_count(), sockets);
        assert_eq!(engine.ports.available(bed.now), free, "after they rested");
    }
}

#[test]
fn deleting_what_is_unknown_is_a_warning() {
    let mut bed = Bed::new(Browser, Legacy, 6);
    let delete = Delete { call_id: "nobody".to_owned(), ..Delete::default() };
    let reply = bed.engine.handle_command(bed.now, &Command::Delete(delete));
    assert!(matches!(reply, Reply::Call { report: None, warnings } if !warnings.is_empty()));
}

/// Every truncation, every octet changed and random octets, from an admitted address and from a stranger, on all ports:
/// the call goes on.
#[test]
fn malformed_datagrams_do_no_harm() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(1);
    let samples = samples(&mut bed);
    let stranger: SocketAddr = "203.0.113.66:5000".parse().expect("an address");
    let ends = [
        relay_end(&bed, 0),
        relay_end(&bed, 1),
        SocketAddr::new(RELAY.parse().expect("an address"), bed.phones[1].relay_port + 1),
    ];
    let mut rng = rand::rngs::StdRng::seed_from_u64(9);
    for to in ends {
        let owner = if to == ends[0] { bed.phones[0].address } else { bed.phones[1].address };
        for from in [owner, stranger] {
            for sample in &samples {
                for len in 0..sample.len() {
                    bed.arrive(from, to, &sample[..len]);
                }
                for at in 0..sample.len().min(200) {
                    let mut changed = sample.clone();
                    changed[at] ^= 1 << rng.random_range(0..8);
                    bed.arrive(from, to, &changed);
                }
                bed.drain();
            }
            for _ in 0..2000 {
                let mut octets = vec![0u8; rng.random_range(0..300)];
                rand::Rng::fill_bytes(&mut rng, &mut octets);
                bed.arrive(from, to, &octets);
            }
            bed.drain();
        }
    }
    bed.run(Duration::from_secs(1));
    bed.phones.iter_mut().for_each(|phone| phone.heard.clear());
    bed.talk(3);
    assert_eq!(bed.phones[0].payloads().len(), 3);
    assert_eq!(bed.phones[1].payloads().len(), 3);
}

/// One good datagram of each protocol.
fn samples(bed: &mut Bed) -> Vec<Vec<u8>> {
    let mut rtp = Packet::new();
    Header::new(0, 1, 1, 1).start(&mut rtp, &[0; 160]).expect("it fits");
    let credentials = bed.phones[0].credentials.clone();
    let mut ice = IceAgent::new(&credentials, bed.phones[0].address, true, false, 1).expect("an agent");
    let relay = &bed.engine.paths.legs[bed.phones[0].key.expect("a leg")]
        .secure
        .as_ref()
        .expect("a browser")
        .credentials;
    ice.set_remote_credentials(bed.now, relay);
    ice.add_remote_candidate("1 1 udp 1 192.0.2.9 9 typ host");
    ice.handle_timeout(bed.now);
    let (_, stun) = ice.poll_transmit().expect("a check");
    let config = crate::dtls::DtlsConfig::new(false).expect("a configuration");
    let mut dtls =
        crate::dtls::Dtls::new(&config, &bed::certificate(), crate::srtp::DtlsRole::Client, bed.now);
    dtls.handle_timeout(bed.now);
    let mut hello = Vec::new();
    dtls.poll(|record| hello.push(record.to_vec()));
    let rtcp =
        [0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut samples = vec![rtp.as_slice().to_vec(), stun, rtcp.to_vec()];
    samples.append(&mut hello);
    samples
}

/// RFC 8843 §9.2: audio and video on one transport, told apart by announced SSRC, then by payload type, then by what was
/// learnt.
#[test]
fn bundled_lines_are_told_apart() {
    let mut bed = connected(Browser, Browser);
    let key = bed.phones[0].key.expect("a leg");
    let id = LegId(0);
    let mut provider = Provider { engine: &mut bed.engine, call: bed.call, now: bed.now };
    provider.media(id, 1, MediaKind::Video).expect("a second line");
    let leg = &mut bed.engine.paths.legs[key];
    leg.line_mut(0).expect("audio").payload_types = vec![0, 101];
    let video = leg.line_mut(1).expect("video");
    (video.payload_types, video.ssrcs) = (vec![96], vec![9]);
    for (ssrc, payload_type, line) in
        [(9, 0, Some(1)), (5, 101, Some(0)), (6, 96, Some(1)), (6, 0, Some(1)), (7, 33, None)]
    {
        assert_eq!(leg.line_of(ssrc, payload_type), line, "SSRC {ssrc}, payload type {payload_type}");
    }
    for ssrc in 1000..2000 {
        leg.line_of(ssrc, 96);
    }
    assert!(leg.secure.as_ref().expect("a browser").by_ssrc.len() <= 16, "bounded");
}

#[test]
fn ports_run_out_with_a_word_and_come_back() {
    let small = Settings { port_min: 30_000, port_max: 30_004, ..settings() };
    let mut bed = Bed::with_settings(Legacy, Legacy, 2, small);
    bed.open_leg(0, false);
    let request =
        LegRequest { kind: Legacy, announce: None, interface: None, family: None, restart_ice: false };
    let mut provider = Provider { engine: &mut bed.engine, call: bed.call, now: bed.now };
    provider.leg(LegId(1), &request).expect("a leg");
    let refused = provider.media(LegId(1), 0, MediaKind::Audio).expect_err("one pair only");
    assert_eq!(refused.cause, Cause::Full);
    bed.engine.remove_call(bed.now, bed.call);
    assert_eq!(bed.engine.ports.available(bed.now), 0, "it rests");
    assert_eq!(bed.engine.ports.available(bed.now + crate::call::port_pool::DRAIN), 1);
}
