//! Reports and feedback there and back, and everything cut off or damaged.

#![expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]

use std::time::{Duration, Instant};

use super::feedback::{self, Carried, Origin};
use super::ntp::{NtpClock, NtpTime};
use super::reports::{self, LastSenderReport, SenderInfo};
use super::*;
use crate::packet::Packet;
use crate::rtp::{Header, ReceiverStats, SenderStats};

const SECOND: Duration = Duration::from_secs(1);

fn block(ssrc: u32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 12,
        cumulative_lost: -5,
        highest_sequence: 0x1_0002,
        jitter: 44,
        last_sr: 0xabcd_0123,
        delay_since_last_sr: 65_536,
    }
}

fn compound(sent: bool, blocks: &[ReportBlock], cname: &str) -> Packet {
    let now = Instant::now();
    let mut stats = SenderStats::new(8000);
    if sent {
        stats.on_packet(now, 1000, 160);
    }
    let mut packet = Packet::new();
    let clock = NtpClock::new(now, 100 * SECOND);
    reports::begin_compound(
        &mut packet,
        now + SECOND,
        &clock,
        77,
        SenderInfo::new(now + SECOND, &stats),
        blocks,
        cname,
    )
    .unwrap();
    packet
}

#[test]
fn own_sender_report_is_read_back() {
    let blocks = [block(1), block(2)];
    let packet = compound(true, &blocks, "user@host");
    let all: Vec<_> = parse(packet.as_slice()).unwrap().collect();
    let RtcpPacket::SenderReport(report) = all[0] else { panic!("an SR first: {all:?}") };
    assert_eq!(
        (report.ssrc, report.rtp_timestamp, report.packet_count, report.octet_count),
        (77, 9000, 1, 160)
    );
    assert_eq!(report.ntp, NtpTime::from_unix(101 * SECOND));
    assert_eq!(report.reports.iter().collect::<Vec<_>>(), blocks);
    let RtcpPacket::SourceDescription(body) = all[1] else { panic!("then SDES: {all:?}") };
    assert_eq!(body, b"\0\0\0\x4d\x01\x09user@host\0");
    assert_eq!(all.len(), 2);
}

#[test]
fn without_packets_it_is_a_receiver_report() {
    for cname in ["", "x", "ab", "abc", "abcd", &"n".repeat(300)] {
        let mut packet = compound(false, &[block(1)], cname);
        reports::append_bye(&mut packet, 77).unwrap();
        let all: Vec<_> = parse(packet.as_slice()).unwrap().collect();
        assert!(matches!(all[0], RtcpPacket::ReceiverReport { ssrc: 77, .. }));
        assert!(matches!(all[1], RtcpPacket::SourceDescription(_)));
        assert!(matches!(all[2], RtcpPacket::Bye(list) if list.iter().eq([77])));
        assert!(packet.len().is_multiple_of(4));
    }
}

#[test]
fn no_more_than_31_blocks() {
    let packet = compound(true, &[block(9); 40], "x");
    let all: Vec<_> = parse(packet.as_slice()).unwrap().collect();
    assert!(matches!(all[0], RtcpPacket::SenderReport(report) if report.reports.iter().count() == 31));
}

/// Two ends that report to each other over a link of 30 ms each way.
#[test]
fn the_round_trip_is_that_of_the_link() {
    let start = Instant::now();
    let clock = NtpClock::new(start, 1_000_000 * SECOND);
    let link = Duration::from_millis(30);
    let mut sender = SenderStats::new(8000);
    let mut receiver = ReceiverStats::new(8000);
    for n in 0..50u16 {
        let at = start + Duration::from_millis(20) * u32::from(n);
        let header = Header::new(0, n, u32::from(n) * 160, 77);
        sender.on_packet(at, header.timestamp, 160);
        receiver.on_packet(at + link, &header, 160);
    }
    let mut packet = Packet::new();
    let sent_at = start + SECOND;
    reports::begin_compound(&mut packet, sent_at, &clock, 77, SenderInfo::new(sent_at, &sender), &[], "a")
        .unwrap();

    let mut last_sr = LastSenderReport::default();
    let Some(RtcpPacket::SenderReport(report)) = parse(packet.as_slice()).unwrap().next() else { panic!() };
    last_sr.on_sender_report(sent_at + link, &report);
    let answered_at = sent_at + link + 2 * SECOND;
    let block = reports::report_block(answered_at, &mut receiver, &last_sr).unwrap();
    // The other end has another wall clock; only the differences count.
    let theirs = NtpClock::new(start, 5 * SECOND);
    let mut answer = Packet::new();
    reports::begin_compound(&mut answer, answered_at, &theirs, 88, None, &[block], "b").unwrap();

    let Some(RtcpPacket::ReceiverReport { reports, .. }) = parse(answer.as_slice()).unwrap().next() else {
        panic!()
    };
    let view = reports::remote_view(clock.at(answered_at + link), &reports, 77).unwrap();
    let round_trip = view.round_trip.unwrap();
    assert!(round_trip.abs_diff(2 * link) < Duration::from_millis(1), "{round_trip:?}");
    assert_eq!((view.fraction_lost, view.cumulative_lost, view.jitter), (0, 0, 0));
    assert_eq!(reports::remote_view(clock.at(answered_at), &reports, 78), None);
}

// --- feedback ---

/// Every source keeps its name and numbers.
fn same(ssrc: u32) -> Option<Origin> {
    Some(Origin { ssrc, sequence_offset: 0 })
}

/// RR, PLI, NACK, FIR with two entries, REMB, transport-cc: all of a browser's.
fn browser() -> Packet {
    let mut p = compound(false, &[block(1)], "browser");
    feedback::append_pli(&mut p, 5, 100).unwrap();
    feedback::append_nack(&mut p, 5, 100, &[65_534, 65_535, 3, 40, 40, 57]).unwrap();
    feedback::append_fir(&mut p, 5, 100, 9).unwrap();
    p.extend_from_slice(&[0x84, 206, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 101, 1, 0, 0, 0]).unwrap();
    p.extend_from_slice(&[0x8f, 206, 0, 5, 0, 0, 0, 5, 0, 0, 0, 0]).unwrap();
    p.extend_from_slice(b"REMB\x01\x0b\xd0\x90\0\0\0\x64").unwrap();
    p.extend_from_slice(&[0x8f, 205, 0, 4, 0, 0, 0, 5, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    p
}

#[test]
fn all_feedback_is_recognised() {
    let p = browser();
    let all: Vec<_> = parse(p.as_slice()).unwrap().skip(2).collect();
    assert!(matches!(all[0], RtcpPacket::Pli(f) if (f.sender_ssrc, f.media_ssrc) == (5, 100)));
    let RtcpPacket::Nack(nack) = all[1] else { panic!("{all:?}") };
    assert_eq!(feedback::nack_sequence_numbers(&nack).collect::<Vec<_>>(), [65_534, 65_535, 3, 40, 57]);
    assert!(matches!(all[2], RtcpPacket::Fir(f) if f.fci == [0, 0, 0, 100, 9, 0, 0, 0]));
    let RtcpPacket::Remb(remb) = all[4] else { panic!("{all:?}") };
    assert_eq!((remb.bitrate, remb.ssrcs.iter().collect::<Vec<_>>()), (0x3_d090 << 2, vec![100]));
    assert!(matches!(all[5], RtcpPacket::TransportCc(_)));
}

#[test]
fn feedback_is_carried_with_the_ssrcs_of_the_other_leg() {
    let mut out = compound(false, &[], "us");
    let own = out.len();
    let map = |ssrc: u32| (ssrc == 100).then_some(Origin { ssrc: 200, sequence_offset: 3 });
    let carried = feedback::translate(browser().as_slice(), &mut out, 7, map).unwrap();
    assert_eq!(carried, Carried { messages: 3, key_frame: true });
    let all: Vec<_> = parse(&out.as_slice()[own..]).unwrap().collect();
    assert!(matches!(all[0], RtcpPacket::Pli(f) if (f.sender_ssrc, f.media_ssrc) == (7, 200)));
    let RtcpPacket::Nack(nack) = all[1] else { panic!("{all:?}") };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (7, 200));
    assert_eq!(feedback::nack_sequence_numbers(&nack).collect::<Vec<_>>(), [1, 2, 6, 43, 60]);
    assert!(matches!(all[2], RtcpPacket::Fir(f) if f.fci == [0, 0, 0, 200, 9, 0, 0, 0]));
    assert_eq!(all.len(), 3, "the FIR for an unknown source is left out");
}

#[test]
fn nothing_to_carry_writes_nothing() {
    let mut out = Packet::new();
    let carried = feedback::translate(browser().as_slice(), &mut out, 7, |_| None).unwrap();
    assert_eq!((carried, out.len()), (Carried::default(), 0));
    feedback::append_nack(&mut out, 1, 2, &[]).unwrap();
    assert!(out.is_empty());
}

#[test]
fn feedback_that_does_not_fit_is_left_out_whole() {
    let mut out = Packet::new();
    out.grow(crate::packet::MAX_DATAGRAM + crate::packet::TAILROOM - 13).unwrap();
    let before = out.len();
    let carried = feedback::translate(browser().as_slice(), &mut out, 7, same).unwrap();
    assert_eq!((carried.messages, out.len()), (1, before + 12), "only the PLI");
}

// --- bad input ---

#[test]
fn report_blocks_keep_their_sign() {
    for lost in [0, 1, -1, 0x7f_ffff, -0x80_0000] {
        let block = ReportBlock { cumulative_lost: lost, ..block(1) };
        assert_eq!(ReportBlock::from_bytes(&block.to_bytes()), block);
    }
    let beyond = ReportBlock { cumulative_lost: i32::MAX, ..block(1) };
    assert_eq!(ReportBlock::from_bytes(&beyond.to_bytes()).cumulative_lost, 0x7f_ffff);
}

#[test]
fn every_truncation_is_refused_or_shorter() {
    let whole = browser();
    let count = parse(whole.as_slice()).unwrap().count();
    for len in 0..whole.len() {
        if let Ok(packets) = parse(&whole.as_slice()[..len]) {
            assert!(packets.count() < count, "{len} octets");
        }
    }
    assert!(parse(&[]).is_err());
}

#[test]
fn every_changed_octet_is_survived() {
    let whole = browser();
    for at in 0..whole.len() {
        for value in [0, 1, 0x1f, 0x20, 0x7f, 0x80, 0xbf, 0xff] {
            let mut bad = whole.as_slice().to_vec();
            bad[at] = value;
            let mut out = Packet::new();
            let _any = feedback::translate(&bad, &mut out, 7, same);
            assert!(out.is_empty() || parse(out.as_slice()).is_ok(), "what goes out is RTCP");
        }
    }
}

#[test]
fn counts_and_padding_are_checked() {
    // An RR that announces a block it does not have, a BYE without its SSRC, padding longer than the packet.
    assert_eq!(parse(&[0x81, 201, 0, 1, 0, 0, 0, 1]).err(), Some(Malformed::Short));
    assert_eq!(parse(&[0x81, 203, 0, 0]).err(), Some(Malformed::Short));
    assert_eq!(parse(&[0xa0, 201, 0, 1, 0, 0, 0, 9]).err(), Some(Malformed::Short));
    assert_eq!(parse(&[0x40, 201, 0, 1, 0, 0, 0, 1]).err(), Some(Malformed::Version));
    assert!(parse(&[0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4]).is_ok());
    let many = [0x80u8, 203, 0, 0].repeat(MAX_PACKETS + 1);
    assert_eq!(parse(&many).err(), Some(Malformed::TooMany));
    assert_eq!(parse(&many[4..]).unwrap().count(), MAX_PACKETS);
}

#[test]
fn random_octets_are_survived() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    for _ in 0..50_000 {
        let mut bytes = vec![0; (rng.next_u32() % 80) as usize];
        rng.fill_bytes(&mut bytes);
        for (at, value) in
            [(0, 0x80 | (rng.next_u32() as u8 & 0x1f)), (1, 200 + (rng.next_u32() % 8) as u8), (2, 0)]
        {
            if let Some(octet) = bytes.get_mut(at) {
                *octet = value;
            }
        }
        if let Some(octet) = bytes.get_mut(3) {
            *octet %= 20;
        }
        let mut out = Packet::new();
        let _any = feedback::translate(&bytes, &mut out, 7, same);
    }
}
