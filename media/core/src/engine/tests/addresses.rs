//! Where mirrored pairs meet the relay: interfaces, address families, announced addresses, and whose reports pass.

use std::net::SocketAddr;
use std::time::Duration;

use super::bed::settings;
use super::mirror::{A, B, Ng, rtp, sdp};
use crate::command::{AddressFamily, Exchange};
use crate::engine::{Interface, Settings};
use crate::rtcp::parse_raw;
use crate::sdp::Description;

/// Two networks, each with both families; the second is announced by other addresses.
fn networks() -> Ng {
    let interface = |name: &str, address: &str, advertised: &str| Interface {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        advertised: advertised.parse().unwrap(),
    };
    let interfaces = vec![
        interface("int", "198.51.100.1", "198.51.100.1"),
        interface("int", "2001:db8::1", "2001:db8::1"),
        interface("ext", "198.51.100.2", "203.0.113.200"),
        interface("ext", "2001:db8::2", "2001:db8::200"),
    ];
    Ng::new(Settings { interfaces, ..settings() })
}

fn address(description: &Description) -> String {
    description.media[0].address.expect("an address").to_string()
}

fn v6(sdp: &str) -> String {
    sdp.replace("IN IP4 203.0.113.2", "IN IP6 2001:db8::b")
}

#[test]
fn each_end_is_shown_the_interface_of_its_side() {
    for (family, expected) in [
        (None, "203.0.113.200"),
        (Some(AddressFamily::Ip4), "203.0.113.200"),
        (Some(AddressFamily::Ip6), "2001:db8::200"),
    ] {
        let mut ng = networks();
        let wish = |it: &mut Exchange| {
            it.sender.interface = Some("int".to_owned());
            it.receiver.interface = Some("ext".to_owned());
            it.address_family = family;
        };
        let offer = ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), wish);
        assert_eq!(address(&offer), expected);
        let is_v6 = expected.contains(':');
        let answer = if is_v6 { v6(&sdp(B, "RTP/AVP", "")) } else { sdp(B, "RTP/AVP", "") };
        let answer = ng.exchange(false, A, &answer, |_| {});
        assert_eq!(address(&answer), "198.51.100.1", "the caller's own side and family");
        let b: SocketAddr = if is_v6 { "[2001:db8::b]:5000".parse().unwrap() } else { B.parse().unwrap() };
        assert_eq!(ng.say(A, &rtp(0, 1)), [(ng.ports[B], b, rtp(0, 1))]);
        assert_eq!(ng.send(ng.ports[B], b, &rtp(0, 2)), [(ng.ports[A], A.parse().unwrap(), rtp(0, 2))]);
    }
}

#[test]
fn a_controller_may_announce_any_address() {
    let mut ng = networks();
    let offer = ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), |it| {
        it.receiver.announce = Some("192.0.2.77".parse().unwrap());
    });
    assert_eq!(address(&offer), "192.0.2.77");
}

#[test]
fn reports_pass_or_are_made_here_where_that_is_wished() {
    for generated in [false, true] {
        let mut ng = Ng::new(settings());
        let wish = |it: &mut Exchange| it.flags.generate_rtcp = generated;
        ng.exchange(true, B, &sdp(A, "RTP/AVP", ""), wish);
        ng.exchange(false, A, &sdp(B, "RTP/AVP", ""), wish);
        for number in 0..50 {
            ng.say(A, &rtp(0, number));
            ng.say(B, &rtp(0, number));
            ng.pass(Duration::from_millis(20));
        }
        let report = [0x80, 201, 0, 1, 0, 0, 0x12, 0x34];
        let from = "192.0.2.1:4001".parse().unwrap();
        let passed = ng.send(ng.ports[A] + 1, from, &report);
        assert_eq!(passed.iter().any(|(.., octets)| *octets == report), !generated);
        let mut made = Vec::new();
        for _ in 0..20 {
            made.extend(ng.pass(Duration::from_secs(1)));
        }
        let mut told: Vec<SocketAddr> = made.iter().map(|(_, to, _)| *to).collect();
        told.sort_unstable();
        told.dedup();
        let both: [SocketAddr; 2] = ["192.0.2.1:4001".parse().unwrap(), "203.0.113.2:5001".parse().unwrap()];
        assert_eq!(told, if generated { both.to_vec() } else { vec![] });
        assert!(made.iter().all(|(.., octets)| parse_raw(octets).is_ok()));
    }
}
