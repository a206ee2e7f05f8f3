//! Vectors, the other implementation as oracle, and what a stranger or a bad network can do.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::RingCrypto;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::source::MAX_SOURCES;
use super::*;

pub(super) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Two ends of one leg.
fn pair(profile: Profile) -> (SrtpContext, SrtpContext) {
    let mut rng = rng(profile as u64);
    let (a, b) = (MasterKey::generate(profile, &mut rng), MasterKey::generate(profile, &mut rng));
    (SrtpContext::new(&a, &b), SrtpContext::new(&b, &a))
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.fill(bytes).expect("fits");
    packet
}

fn rtp(ssrc: u32, sequence_number: u16, payload: &[u8]) -> Packet {
    let mut packet = Packet::new();
    Header::new(111, sequence_number, 960, ssrc).start(&mut packet, payload).expect("fits");
    packet
}

fn protected(context: &mut SrtpContext, ssrc: u32, sequence_number: u16) -> Packet {
    let mut packet = rtp(ssrc, sequence_number, b"twenty milliseconds");
    context.protect(&mut packet).expect("protects");
    packet
}

/// A receiver report without blocks, and an SDES with a CNAME.
const RTCP: &[u8] = &[0x80, 201, 0, 1, 0, 0, 0, 5, 0x81, 202, 0, 2, 0, 0, 0, 5, 1, 1, b'x', 0];

// --- vectors ---

/// RFC 7714 §16.1.1, §16.2.1 (RTP) with the session keys given there.
#[test]
fn vectors_of_rfc_7714_rtp() {
    let header = "8040f17b8041f8d35501a0b2";
    let plain = "47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
    for (key, sealed) in [
        (
            "000102030405060708090a0b0c0d0e0f",
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
             899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b\
             7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let transform = gcm_with_session_key(key);
        let mut p = packet(&hex::decode([header, plain].concat()).unwrap());
        transform.protect_rtp(&mut p, 12, 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(hex::encode(p.as_slice()), [header, sealed].concat());
        transform.unprotect_rtp(&mut p, 12, 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(hex::encode(p.as_slice()), [header, plain].concat());
    }
}

/// RFC 7714 §17.1 (RTCP, AES-128).
#[test]
fn vector_of_rfc_7714_rtcp() {
    let plain = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
                 deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
    let sealed = "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d\
                  c676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa458\
                  96cf4d2fc5abf87245d9eade800005d4";
    let transform = gcm_with_session_key("000102030405060708090a0b0c0d0e0f");
    let mut p = packet(&hex::decode(plain).unwrap());
    transform.protect_rtcp(&mut p, 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(hex::encode(p.as_slice()), sealed);
    assert_eq!(transform.rtcp_index(p.as_slice()), Ok(0x5d4));
    transform.unprotect_rtcp(&mut p, 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(hex::encode(p.as_slice()), plain);
}

fn gcm_with_session_key(key: &str) -> Transform {
    use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
    let key = hex::decode(key).unwrap();
    let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
    let salt = hex::decode("517569642070726f2071756f").unwrap().try_into().unwrap();
    Transform::Gcm { key: LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap()), salt }
}

// --- the oracle ---

fn oracle(key: &MasterKey) -> Context {
    let profile = match key.profile() {
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::Aes128CmHmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        other => unreachable!("{other:?} is unknown to the oracle"),
    };
    let (key, salt) = key.parts();
    Context::new(key, salt, profile, None, None, &RingCrypto).expect("a usable profile")
}

/// Lengths around the block sizes of AES and SHA-1, CSRCs and extensions, sequence numbers across two wraps.
#[test]
fn agrees_with_rtc_srtp_in_both_directions() {
    for profile in Profile::DTLS {
        let mut rng = rng(41);
        let key = MasterKey::generate(profile, &mut rng);
        let mut ours = SrtpContext::new(&key, &key);
        let (mut theirs_out, mut theirs_in) = (oracle(&key), oracle(&key));
        for n in 0..1200u32 {
            let mut plain = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
            plain[2..4].copy_from_slice(&(n.wrapping_mul(150) as u16).to_be_bytes());
            if n % 3 == 1 {
                plain[0] |= 0x12;
                plain.extend_from_slice(&[1; 8]);
                plain.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 5, 0, 0]);
            }
            let mut payload = vec![0; (n % 300) as usize + 1];
            rng.fill_bytes(&mut payload);
            plain.extend_from_slice(&payload);

            let mut p = packet(&plain);
            ours.protect(&mut p).unwrap();
            assert_eq!(p.len(), plain.len() + profile.rtp_overhead());
            let sealed = theirs_out.encrypt_rtp(&plain).unwrap();
            assert_eq!(p.as_slice(), &sealed[..], "{profile:?}, packet {n}");
            assert_eq!(theirs_in.decrypt_rtp(p.as_slice()).unwrap(), plain);
            ours.unprotect(&mut p).unwrap();
            assert_eq!(p.as_slice(), plain);
        }
        assert_eq!(ours.received_rollover_counter(9), Some(2));
    }
}

#[test]
fn agrees_with_rtc_srtp_on_rtcp() {
    for profile in Profile::DTLS {
        let mut rng = rng(42);
        let key = MasterKey::generate(profile, &mut rng);
        let mut ours = SrtpContext::new(&key, &key);
        let (mut theirs_out, mut theirs_in) = (oracle(&key), oracle(&key));
        for n in 0..200 {
            let mut plain = RTCP.to_vec();
            plain.resize(RTCP.len() + n * 4, n as u8);
            let mut p = packet(&plain);
            ours.protect_rtcp(&mut p).unwrap();
            assert_eq!(p.len(), plain.len() + profile.rtcp_overhead());
            assert_eq!(theirs_in.decrypt_rtcp(p.as_slice()).unwrap(), plain, "{profile:?} {n}");
            let mut p = packet(&theirs_out.encrypt_rtcp(&plain).unwrap());
            ours.unprotect_rtcp(&mut p).unwrap();
            assert_eq!(p.as_slice(), plain);
        }
    }
}

// --- the network ---

#[test]
fn a_replay_is_refused_and_reordering_accepted() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        let all: Vec<Packet> = (0..400).map(|n| protected(&mut a, 1, n)).collect();
        let mut again = Packet::new();
        let mut receive = |b: &mut SrtpContext, n: usize| {
            again.copy_from(&all[n]);
            b.unprotect(&mut again)
        };
        // In groups of a hundred, each backwards.
        for group in (0..400).step_by(100) {
            for n in (group..group + 100).rev() {
                assert_eq!(receive(&mut b, n), Ok(()), "{profile:?} {n}");
            }
        }
        for n in 0..400 {
            assert_eq!(receive(&mut b, n), Err(Error::Replayed));
        }
    }
}

#[test]
fn the_window_ends_after_128_packets() {
    let (mut a, mut b) = pair(Profile::AeadAes128Gcm);
    let all: Vec<Packet> = (0..=256).map(|n| protected(&mut a, 1, n)).collect();
    let mut receive = |n: usize| {
        let mut p = Packet::new();
        p.copy_from(&all[n]);
        b.unprotect(&mut p)
    };
    assert_eq!(receive(200), Ok(()));
    assert_eq!((receive(73), receive(72)), (Ok(()), Err(Error::Replayed)));
    assert_eq!(receive(256), Ok(()));
    assert_eq!((receive(129), receive(128)), (Ok(()), Err(Error::Replayed)));
}

#[test]
fn the_rollover_counter_follows_wraps_and_loss() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        let mut sequence = 30_000u16;
        for n in 0..200u32 {
            sequence = sequence.wrapping_add(3001);
            let mut early = protected(&mut a, 1, sequence);
            let mut late = protected(&mut a, 1, sequence.wrapping_sub(1));
            // Every fifth pair is lost; the later packet of each pair comes first.
            if n % 5 != 0 {
                b.unprotect(&mut early).unwrap();
                b.unprotect(&mut late).unwrap();
                assert!(late.as_slice().ends_with(b"twenty milliseconds"));
            }
        }
        assert_eq!(b.received_rollover_counter(1), Some((30_000 + 200 * 3001) >> 16));
    }
}

#[test]
fn a_packet_from_before_the_first_wrap_is_too_old() {
    let (mut a, mut b) = pair(Profile::Aes128CmHmacSha1_80);
    let mut p = protected(&mut a, 1, 5);
    b.unprotect(&mut p).unwrap();
    let mut p = rtp(1, 0xffff, b"x");
    assert_eq!(a.protect(&mut p), Err(Error::Replayed));
    assert_eq!(p.as_slice(), rtp(1, 0xffff, b"x").as_slice(), "nothing was encrypted");
}

#[test]
fn no_sequence_number_is_encrypted_twice() {
    for profile in Profile::ALL {
        let (mut a, _) = pair(profile);
        protected(&mut a, 1, 7);
        assert_eq!(a.protect(&mut rtp(1, 7, b"something else")), Err(Error::Replayed));
        assert_eq!(a.protect(&mut rtp(2, 7, b"another source")), Ok(()));
    }
}

#[test]
fn counters_survive_a_re_invite_with_the_same_or_a_new_key() {
    let mut rng = rng(9);
    let profile = Profile::Aes128CmHmacSha1_80;
    let keys: Vec<MasterKey> = (0..3).map(|_| MasterKey::generate(profile, &mut rng)).collect();
    let mut a = SrtpContext::new(&keys[0], &keys[1]);
    let mut b = SrtpContext::new(&keys[1], &keys[0]);
    for sequence in [32_000, 64_000, 500] {
        b.unprotect(&mut protected(&mut a, 1, sequence)).unwrap();
    }
    a.update_keys(&keys[0], &keys[1]);
    b.update_keys(&keys[1], &keys[0]);
    b.unprotect(&mut protected(&mut a, 1, 501)).unwrap();
    assert_eq!(a.protect(&mut rtp(1, 501, b"x")), Err(Error::Replayed));
    a.update_keys(&keys[2], &keys[1]);
    assert_eq!(b.unprotect(&mut protected(&mut a, 1, 502)), Err(Error::Authentication));
    b.update_keys(&keys[1], &keys[2]);
    b.unprotect(&mut protected(&mut a, 1, 503)).unwrap();
    assert_eq!(b.received_rollover_counter(1), Some(1));
}

#[test]
fn rtcp_replay_is_refused() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        let mut p = packet(RTCP);
        a.protect_rtcp(&mut p).unwrap();
        let mut again = Packet::new();
        again.copy_from(&p);
        b.unprotect_rtcp(&mut p).unwrap();
        assert_eq!(p.as_slice(), RTCP);
        assert_eq!(b.unprotect_rtcp(&mut again), Err(Error::Replayed));
    }
}

/// What was caught before and around a rollover, sent again at every later time: the guess of the counter (RFC 3711 §3.3.1) may be
/// the one of before or the next one, and in no case is it believed, or changes what is.
#[test]
fn replays_across_rollovers_are_refused_and_change_nothing() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        let mut caught: Vec<Packet> = Vec::new();
        let mut sequence = 65_000u16;
        // The first number of a stream lies in its first half (RFC 3711 §3.3.1), so that the peers agree on 0.
        for start in [1u16, 30_000, 60_000] {
            b.unprotect(&mut protected(&mut a, 1, start)).unwrap();
        }
        for step in 0..6000u32 {
            sequence = sequence.wrapping_add(if step < 1200 { 1 } else { 37 });
            let mut own = protected(&mut a, 1, sequence);
            if step % 150 < 3 {
                let mut copy = Packet::new();
                copy.copy_from(&own);
                caught.push(copy);
            }
            b.unprotect(&mut own).unwrap();
            if step % 100 != 99 {
                continue;
            }
            let before = b.received_rollover_counter(1);
            for replay in &caught {
                let mut again = Packet::new();
                again.copy_from(replay);
                let refused = b.unprotect(&mut again);
                assert!(
                    matches!(refused, Err(Error::Replayed | Error::Authentication)),
                    "{profile:?} {step}: {refused:?}"
                );
            }
            assert_eq!(b.received_rollover_counter(1), before);
        }
        assert_eq!(b.received_rollover_counter(1), Some(3), "{profile:?}");
    }
}

/// Late packets of before a rollover are taken once, those that are older than the window never.
#[test]
fn late_packets_of_before_a_rollover_are_taken_once() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        b.unprotect(&mut protected(&mut a, 1, 33_000)).unwrap();
        let all: Vec<Packet> = (65_400..65_700u32).map(|n| protected(&mut a, 1, n as u16)).collect();
        let mut receive = |at: usize| {
            let mut packet = Packet::new();
            packet.copy_from(&all[at]);
            b.unprotect(&mut packet)
        };
        // 65,400 and then 100 after the wrap.
        assert_eq!((receive(0), receive(236)), (Ok(()), Ok(())));
        for at in 109..136 {
            assert_eq!(receive(at), Ok(()), "{profile:?}: {at} is late, from before the wrap");
            assert_eq!(receive(at), Err(Error::Replayed));
        }
        for at in [0, 50, 108] {
            assert_eq!(receive(at), Err(Error::Replayed), "{profile:?}: {at} is older than the window");
        }
    }
}

#[test]
fn rtcp_may_come_out_of_order_within_the_window() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        let all: Vec<Packet> = (0..300)
            .map(|_| {
                let mut packet = packet(RTCP);
                a.protect_rtcp(&mut packet).unwrap();
                packet
            })
            .collect();
        let mut receive = |at: usize| {
            let mut packet = Packet::new();
            packet.copy_from(&all[at]);
            b.unprotect_rtcp(&mut packet)
        };
        for group in (0..300).step_by(100) {
            for at in (group..group + 100).rev().filter(|at| at % 7 != 0) {
                assert_eq!(receive(at), Ok(()), "{profile:?} {at}");
            }
        }
        for at in (0..300).filter(|at| at % 7 != 0) {
            assert_eq!(receive(at), Err(Error::Replayed), "{profile:?} {at}");
        }
        // What was late and is still within 128 of the highest is taken, what is older is not.
        assert_eq!((receive(294), receive(175), receive(168)), (Ok(()), Ok(()), Err(Error::Replayed)));
    }
}

#[test]
fn rtcp_without_encryption_is_refused() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        let mut p = packet(RTCP);
        a.protect_rtcp(&mut p).unwrap();
        let flag = if profile.salt_len() == 14 { p.len() - 14 } else { p.len() - 4 };
        p.as_mut_slice()[flag] &= 0x7f;
        assert_eq!(b.unprotect_rtcp(&mut p), Err(Error::Unencrypted));
    }
}

#[test]
fn the_last_rtcp_index_ends_the_key() {
    let (mut a, mut b) = pair(Profile::AeadAes256Gcm);
    a.next_rtcp_index = LAST_RTCP_INDEX;
    let mut p = packet(RTCP);
    a.protect_rtcp(&mut p).unwrap();
    b.unprotect_rtcp(&mut p).unwrap();
    assert_eq!(a.protect_rtcp(&mut packet(RTCP)), Err(Error::Exhausted));
}

// --- the stranger ---

#[test]
fn every_flipped_bit_and_every_truncation_is_refused_without_a_trace() {
    for profile in Profile::ALL {
        let (mut a, mut b) = pair(profile);
        let good = protected(&mut a, 1, 100);
        let mut rtcp = packet(RTCP);
        a.protect_rtcp(&mut rtcp).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = packet(good.as_slice());
            bad.as_mut_slice()[bit / 8] ^= 1 << (bit % 8);
            assert!(b.unprotect(&mut bad).is_err(), "{profile:?} bit {bit}");
        }
        for bit in 0..rtcp.len() * 8 {
            let mut bad = packet(rtcp.as_slice());
            bad.as_mut_slice()[bit / 8] ^= 1 << (bit % 8);
            // The packet type and length octets are authenticated too, the version is checked first.
            assert!(b.unprotect_rtcp(&mut bad).is_err(), "{profile:?} bit {bit}");
        }
        for len in 0..good.len() {
            assert!(b.unprotect(&mut packet(&good.as_slice()[..len])).is_err());
        }
        for len in 0..rtcp.len() {
            assert!(b.unprotect_rtcp(&mut packet(&rtcp.as_slice()[..len])).is_err());
        }
        assert_eq!(b.source_count(), 0);
        b.unprotect(&mut packet(good.as_slice())).unwrap();
        b.unprotect_rtcp(&mut packet(rtcp.as_slice())).unwrap();
        assert_eq!(b.source_count(), 2);
    }
}

#[test]
fn forged_packets_never_grow_the_table() {
    let (mut a, mut b) = pair(Profile::Aes128CmHmacSha1_32);
    let mut rng = rng(77);
    let mut genuine = protected(&mut a, 1, 1);
    b.unprotect(&mut genuine).unwrap();
    for n in 0..20_000u32 {
        let mut forged = rtp(n, n as u16, &[0; 40]);
        rng.fill_bytes(&mut forged.as_mut_slice()[12..]);
        assert!(b.unprotect(&mut forged).is_err());
        let mut forged = packet(RTCP);
        forged.as_mut_slice()[4..8].copy_from_slice(&n.to_be_bytes());
        let mut trailer = [0; 14];
        rng.fill_bytes(&mut trailer);
        trailer[0] |= 0x80;
        forged.extend_from_slice(&trailer).unwrap();
        assert_eq!(b.unprotect_rtcp(&mut forged), Err(Error::Authentication));
    }
    assert_eq!(b.source_count(), 1);
}

#[test]
fn random_datagrams_are_refused() {
    let mut rng = rng(5);
    for profile in Profile::ALL {
        let (_, mut b) = pair(profile);
        for _ in 0..20_000 {
            let mut bytes = vec![0; (rng.next_u32() % 120) as usize];
            rng.fill_bytes(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            assert!(b.unprotect(&mut packet(&bytes)).is_err());
            assert!(b.unprotect_rtcp(&mut packet(&bytes)).is_err());
        }
        assert_eq!(b.source_count(), 0);
    }
}

#[test]
fn a_sender_refuses_the_65th_source_and_a_receiver_forgets_the_oldest() {
    let profile = Profile::AeadAes128Gcm;
    let (mut a, mut b) = pair(profile);
    let last = MAX_SOURCES as u32;
    for ssrc in 0..last {
        b.unprotect(&mut protected(&mut a, ssrc, 1)).unwrap();
    }
    assert_eq!(a.protect(&mut rtp(last, 1, b"x")), Err(Error::TooManySources));
    // SSRC 0 is used again, so 1 is the one that was silent longest.
    b.unprotect(&mut protected(&mut a, 0, 2)).unwrap();
    let mut again = a;
    again.sent = Sources::new(WhenFull::Refuse);
    b.unprotect(&mut protected(&mut again, last, 1)).unwrap();
    assert_eq!(b.received_rollover_counter(1), None);
    assert_eq!(b.received_rollover_counter(0), Some(0));
    assert_eq!(b.received.len(), MAX_SOURCES);
}

#[test]
fn a_packet_without_room_for_the_tag_is_refused_whole() {
    let (mut a, _) = pair(Profile::AeadAes128Gcm);
    let mut p = rtp(1, 1, &[0; crate::packet::MAX_DATAGRAM - 12]);
    p.extend_from_slice(&[0; crate::packet::TAILROOM - 15]).unwrap();
    assert_eq!(a.protect(&mut p), Err(Error::Full));
    p.truncate(100);
    assert_eq!(a.protect(&mut p), Ok(()), "nothing was remembered");
}

// --- session parameters of RFC 4568 §6.3 ---

#[test]
fn what_both_ends_do_without_is_left_out_and_nothing_else() {
    const PLAIN: &[u8] = b"twenty milliseconds";
    let shows =
        |packet: &Packet, text: &[u8]| packet.as_slice().windows(text.len()).any(|piece| piece == text);
    for profile in Profile::ALL {
        let aead = matches!(profile, Profile::AeadAes128Gcm | Profile::AeadAes256Gcm);
        let null = profile.sdes_name().starts_with("NULL");
        for parameters in [
            &[][..],
            &["UNENCRYPTED_SRTP"],
            &["UNENCRYPTED_SRTCP"],
            &["UNAUTHENTICATED_SRTP"],
            &["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "WSH=64"],
        ] {
            let mut rng = rng(profile as u64);
            let mut key = || MasterKey::generate(profile, &mut rng).with_parameters(parameters);
            let (Some(one), Some(other)) = (key(), key()) else {
                assert!(aead && !parameters.is_empty(), "{profile:?} {parameters:?}");
                continue;
            };
            let (mut a, mut b) = (SrtpContext::new(&one, &other), SrtpContext::new(&other, &one));
            let has = |name: &str| parameters.contains(&name);
            let mut sent = protected(&mut a, 5, 1);
            assert_eq!(shows(&sent, PLAIN), null || has("UNENCRYPTED_SRTP"), "{profile:?} {parameters:?}");
            let mut forged = packet(sent.as_slice());
            let last = forged.len() - 1;
            forged.as_mut_slice()[last] ^= 1;
            assert_eq!(
                b.unprotect(&mut forged).is_ok(),
                has("UNAUTHENTICATED_SRTP"),
                "{profile:?} {parameters:?}"
            );
            if !has("UNAUTHENTICATED_SRTP") {
                b.unprotect(&mut sent).expect("it is what was sent");
                assert!(sent.as_slice().ends_with(PLAIN));
            }
            let mut report = packet(RTCP);
            a.protect_rtcp(&mut report).expect("protects");
            assert_eq!(
                shows(&report, &RTCP[8..]),
                null || has("UNENCRYPTED_SRTCP"),
                "{profile:?} {parameters:?}"
            );
            let (mut forged, flag) = (packet(report.as_slice()), report.len() - 14);
            forged.as_mut_slice()[if aead { report.len() - 4 } else { flag }] ^= 0x80;
            assert_eq!(b.unprotect_rtcp(&mut forged), Err(Error::Unencrypted), "{profile:?} {parameters:?}");
            b.unprotect_rtcp(&mut report).expect("it is what was sent");
            assert_eq!(report.as_slice(), RTCP);
        }
    }
    let key = MasterKey::generate(Profile::Aes128CmHmacSha1_80, &mut rng(1));
    assert!(
        key.clone().with_parameters(&["KDR=1"]).is_none() && key.clone().with_parameters(&["-X"]).is_none()
    );
    let clear = key.clone().with_parameters(&["UNENCRYPTED_SRTP"]).expect("it is known");
    assert!(!key.is_same(&clear), "a re-offer that turns it on or off counts");
}
