//! What SRTP costs for one packet, by profile, payload and direction, against rtc-srtp in the same run:
//! `cargo run --release -p media-core --example srtp_bench`.
//!
//! Ours works in place on a copy of the packet, and the copy is part of the time; rtc-srtp allocates its result. Each
//! figure is the best and the median of 15 rounds in ns; both take turns, so that noise hits both alike.
#![expect(clippy::print_stdout, reason = "printing the figures is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures wall time")]

use std::hint::black_box;
use std::time::Instant;

use media_core::packet::Packet;
use media_core::rtp::Header;
use media_core::srtp::{MasterKey, Profile, SrtpContext};
use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::RingCrypto;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

const ROUNDS: usize = 15;
const PACKETS: usize = 2000;

fn main() {
    println!("| profile, payload | ours protect | rtc-srtp | ours unprotect | rtc-srtp |");
    println!("|---|---|---|---|---|");
    for profile in Profile::DTLS {
        for payload in [80, 160, 1100] {
            let [a, b, c, d] = measure(profile, payload);
            println!("| {} {payload} | {a} | {b} | {c} | {d} |", profile.sdes_name());
        }
    }
}

/// Best and median, for ours and the other's protect, ours and the other's unprotect.
fn measure(profile: Profile, payload: usize) -> [String; 4] {
    let (key, salt) = ([1u8; 32], [2u8; 14]);
    let (key, salt) = (&key[..profile.key_len()], &salt[..profile.salt_len()]);
    let master = MasterKey::new(profile, key, salt).expect("right lengths");
    let other = |options: bool| {
        let window = || options.then(|| srtp_replay_protection(128));
        let rtcp = options.then(|| srtcp_replay_protection(128));
        Context::new(key, salt, number(profile), window(), rtcp, &RingCrypto).expect("a usable profile")
    };
    let (mut ours, mut theirs) = (SrtpContext::new(&master, &master), other(false));
    let (mut ours_in, mut theirs_in) = (SrtpContext::new(&master, &master), other(true));

    let mut times: [Vec<f64>; 4] = Default::default();
    let mut packet = Packet::new();
    let mut sequence = 0u16;
    for _ in 0..ROUNDS {
        let plain: Vec<Vec<u8>> = (0..PACKETS)
            .map(|_| {
                sequence = sequence.wrapping_add(1);
                Header::new(0, sequence, 960, 7)
                    .start(&mut packet, &vec![sequence as u8; payload])
                    .expect("fits");
                packet.as_slice().to_vec()
            })
            .collect();
        let sealed: Vec<Vec<u8>> =
            plain.iter().map(|bytes| theirs.encrypt_rtp(bytes).expect("protects").to_vec()).collect();
        round(&mut times[0], &plain, |bytes| {
            packet.fill(bytes).expect("fits");
            ours.protect(&mut packet).expect("protects");
            black_box(packet.as_slice());
        });
        round(&mut times[1], &plain, |bytes| {
            black_box(theirs.encrypt_rtp(bytes).expect("protects"));
        });
        round(&mut times[2], &sealed, |bytes| {
            packet.fill(bytes).expect("fits");
            ours_in.unprotect(&mut packet).expect("unprotects");
            black_box(packet.as_slice());
        });
        round(&mut times[3], &sealed, |bytes| {
            black_box(theirs_in.decrypt_rtp(bytes).expect("unprotects"));
        });
    }
    times.map(|mut all| {
        all.sort_by(f64::total_cmp);
        format!("{:.0} / {:.0}", all[0], all[all.len() / 2])
    })
}

/// Times one pass over the packets, in nanoseconds for each.
fn round(times: &mut Vec<f64>, packets: &[Vec<u8>], mut work: impl FnMut(&[u8])) {
    let start = Instant::now();
    packets.iter().for_each(|bytes| work(bytes));
    times.push(start.elapsed().as_nanos() as f64 / packets.len() as f64);
}

fn number(profile: Profile) -> ProtectionProfile {
    match profile {
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::Aes128CmHmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        other => unreachable!("{other:?} is no profile of DTLS"),
    }
}
