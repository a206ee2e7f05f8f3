//! Reports to and from both kinds of leg, and feedback between browsers.

use super::*;
use crate::call::plan::MediaKind;
use crate::command::Quality;
use crate::forward::Transmit;
use crate::rtcp::feedback::{append_nack, append_pli, nack_sequence_numbers};
use crate::rtcp::ntp::to_short;
use crate::rtcp::reports::{SenderInfo, begin_compound};
use crate::rtcp::{ReportBlock, RtcpPacket, parse};
use crate::stats::EndedQuality;

/// The network of the bed takes so long one way.
const WAY: Duration = Duration::from_millis(5);

fn heard(bed: &Bed, side: usize) -> impl Iterator<Item = RtcpPacket<'_>> {
    bed.phones[side].heard_rtcp.iter().flat_map(|datagram| parse(datagram).expect("RTCP"))
}

/// The last sender report that a phone heard: SSRC, middle of the NTP time, and its block.
fn last_report(bed: &Bed, side: usize) -> (u32, u32, ReportBlock) {
    heard(bed, side)
        .filter_map(|packet| match packet {
            RtcpPacket::SenderReport(report) => {
                Some((report.ssrc, report.ntp.middle(), report.reports.iter().next()?))
            }
            _ => None,
        })
        .last()
        .expect("a sender report")
}

fn quality(bed: &Bed, side: usize) -> Quality {
    let report = bed.engine.report(bed.now, bed.call, None).expect("the call");
    report.tags[side].medias[0].streams[0].quality.expect("something was heard")
}

/// Both speak for `seconds`.
fn talk_for(bed: &mut Bed, seconds: u64) {
    for number in 0..seconds * 50 {
        for side in 0..2 {
            bed.say(side, 0, &speech(side, number as u8));
        }
        bed.run(Duration::from_millis(20));
    }
}

/// The phone reports: what it sends, and `block` on what it hears.
fn report(bed: &mut Bed, side: usize, block: ReportBlock) {
    let (ssrc, rtp_timestamp) = (bed.phones[side].ssrc, bed.phones[side].timestamp);
    let sent = SenderInfo { rtp_timestamp, packets: 1, octets: 1 };
    let mut packet = Packet::new();
    begin_compound(&mut packet, bed.now, &bed.engine.ntp, ssrc, Some(sent), &[block], "phone").expect("fits");
    bed.send_rtcp(side, packet);
}

fn no_block(ssrc: u32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_sequence: 0,
        jitter: 0,
        last_sr: 0,
        delay_since_last_sr: 0,
    }
}

/// The ends send no RTCP: what we hear ourselves is enough for a score (G.107).
#[test]
fn every_call_has_a_score_of_its_own() {
    for (a, b) in PAIRS {
        let mut bed = Bed::new(a, b, 31);
        bed.connect();
        bed.settle(Duration::from_secs(5));
        talk_for(&mut bed, 30);
        let clear = bed.engine.report(bed.now, bed.call, None).expect("the call").sources;
        assert_eq!(clear.len(), 2);
        assert!(clear.iter().all(|source| source.samples >= 3 && source.lowest.mos > 4.2), "{clear:?}");
        bed.weather = Weather { loss: 15, jitter: 0 };
        talk_for(&mut bed, 30);
        let query = Query { call_id: "call-1".to_owned(), ..Query::default() };
        bed.engine.handle_command(bed.now, &Command::Query(query));
        let lossy = bed.engine.report(bed.now, bed.call, None).expect("the call").sources;
        for (clear, lossy) in clear.iter().zip(&lossy) {
            assert_eq!(clear.ssrc, lossy.ssrc);
            assert!(lossy.lost > 50 && lossy.lowest.mos < 3.6 && lossy.highest.mos > 4.2, "{lossy:?}");
            assert!(lossy.average().mos < clear.average().mos);
        }
        let Reply::Numbers(numbers) = bed.engine.handle_command(bed.now, &Command::Statistics) else {
            panic!("numbers")
        };
        let told = &numbers.stats.quality;
        assert_eq!(told.samples, lossy.iter().map(|source| u64::from(source.samples)).sum::<u64>());
        assert_eq!(numbers.stats.ended.mos.count(), 0, "the call goes on");
        bed.engine.remove_call(bed.now, bed.call);
        let Reply::Numbers(numbers) = bed.engine.handle_command(bed.now, &Command::Statistics) else {
            panic!("numbers")
        };
        let EndedQuality { mos, jitter, loss } = numbers.stats.ended;
        assert_eq!([mos.count(), jitter.count(), loss.count()], [2; 3], "each end once");
        assert!(mos.sum() < 2.0 * 4.4 && loss.sum() > 2.0 * 0.03, "{mos:?} {loss:?}");
        assert_eq!(loss.cumulative().last(), Some(2));
    }
}

#[test]
fn each_end_gets_reports_of_its_own() {
    for (a, b) in PAIRS {
        let mut bed = Bed::new(a, b, 21);
        bed.connect();
        bed.settle(Duration::from_secs(5));
        talk_for(&mut bed, 60);
        for phone in &bed.phones {
            let count = phone.heard_rtcp.len();
            assert!((8..=20).contains(&count), "about every five seconds: {count} in a minute");
            let mut names = Vec::new();
            for datagram in &phone.heard_rtcp {
                let packets: Vec<_> = parse(datagram).expect("RTCP").collect();
                let [RtcpPacket::SenderReport(report), RtcpPacket::SourceDescription(names_of)] = packets[..]
                else {
                    panic!("{packets:?}")
                };
                assert_eq!(report.ssrc, phone.heard[0].header.ssrc);
                assert_eq!(report.octet_count, 160 * report.packet_count);
                let block = report.reports.iter().next().expect("a block");
                assert_eq!((block.ssrc, block.cumulative_lost), (phone.ssrc, 0));
                names.push(names_of[4..].to_vec());
            }
            names.dedup();
            assert_eq!(names.len(), 1, "one CNAME");
        }
    }
}

#[test]
fn two_reports_tell_the_round_trip_in_both_directions() {
    for (a, b) in PAIRS {
        let mut bed = Bed::new(a, b, 22);
        bed.connect();
        bed.settle(Duration::from_secs(5));
        talk_for(&mut bed, 10);
        for side in 0..2 {
            let (ssrc, middle, _) = last_report(&bed, side);
            let since = bed.engine.ntp.at(bed.now).middle().wrapping_sub(middle).wrapping_sub(to_short(WAY));
            let block =
                ReportBlock { jitter: 80, last_sr: middle, delay_since_last_sr: since, ..no_block(ssrc) };
            report(&mut bed, side, block);
        }
        let reported = bed.engine.ntp.at(bed.now).middle();
        talk_for(&mut bed, 15);
        for side in 0..2 {
            let quality = quality(&bed, side);
            let round_trip = quality.round_trip.expect("known").as_micros();
            assert!(round_trip.abs_diff(10_000) < 100, "{round_trip} µs");
            assert_eq!(quality.remote.map(|remote| remote.jitter), Some(Duration::from_millis(10)));
            assert_eq!((quality.lost, quality.ssrc), (0, bed.phones[side].ssrc));
            // What the phone would find out: LSR is its own report, DLSR leaves twice the way.
            let (_, sent, block) = last_report(&bed, side);
            assert_eq!(block.last_sr, reported);
            let way = sent.wrapping_sub(reported).wrapping_sub(block.delay_since_last_sr);
            assert!(way.abs_diff(to_short(WAY)) < 3, "{way}");
        }
    }
}

#[test]
fn lost_packets_show_in_the_report() {
    for (a, b) in PAIRS {
        let mut bed = Bed::new(a, b, 23);
        bed.connect();
        bed.settle(Duration::from_secs(5));
        talk_for(&mut bed, 1);
        for _ in 0..3 {
            bed.phones[0].sequence_number = bed.phones[0].sequence_number.wrapping_add(1);
        }
        talk_for(&mut bed, 8);
        let (_, _, block) = last_report(&bed, 0);
        assert_eq!((block.ssrc, block.cumulative_lost), (bed.phones[0].ssrc, 3));
        assert_eq!(u32::from(block.highest_sequence as u16 <= bed.phones[0].sequence_number), 1);
        assert_eq!(quality(&bed, 0).lost, 3);
        let (_, _, block) = last_report(&bed, 1);
        assert_eq!(block.cumulative_lost, 0, "the loss of one leg is not that of the other");
    }
}

#[test]
fn a_sender_report_carries_the_time_of_capture_over() {
    let mut bed = connected(Browser, Browser);
    talk_for(&mut bed, 1);
    // The media leaves 100 ms after it was captured: only a report can tell.
    let (ssrc, now) = (bed.phones[0].ssrc, bed.now);
    for late in [Duration::ZERO, Duration::from_millis(100)] {
        let rtp_timestamp = bed.phones[0].timestamp.wrapping_add(late.as_millis() as u32 * 8);
        let sent = SenderInfo { rtp_timestamp, packets: 1, octets: 1 };
        let mut packet = Packet::new();
        begin_compound(&mut packet, now, &bed.engine.ntp, ssrc, Some(sent), &[], "b").expect("it fits");
        bed.send_rtcp(0, packet);
        bed.run(Duration::from_millis(10));
    }
    let key = bed.phones[1].key.expect("a leg");
    let last = bed.phones[1].heard.last().expect("a packet").header.timestamp;
    let told = bed.engine.paths.legs[key].line(0).expect("a line").sink.timestamp_at(now + WAY);
    assert_eq!(told, Some(last.wrapping_add(800)));
}

#[test]
fn reports_of_strangers_count_for_nothing() {
    let mut bed = connected(Browser, Legacy);
    talk_for(&mut bed, 1);
    let before = bed.engine.stats().clone();
    let ssrc = bed.phones[1].heard[0].header.ssrc;
    let forged = ReportBlock { fraction_lost: 255, cumulative_lost: 9999, ..no_block(ssrc) };
    let mut packet = Packet::new();
    begin_compound(&mut packet, bed.now, &bed.engine.ntp, 1, None, &[forged], "x").expect("it fits");
    let stranger: SocketAddr = "203.0.113.66:5001".parse().expect("an address");
    // The phone itself has not spoken RTCP yet: nobody else may be the first.
    let mut rtcp = relay_end(&bed, 1);
    rtcp.set_port(rtcp.port() + 1);
    for to in [relay_end(&bed, 0), relay_end(&bed, 1), rtcp] {
        bed.arrive(stranger, to, packet.as_slice());
    }
    // From the browser's own address, but in the clear.
    let (from, to) = (bed.phones[0].address, relay_end(&bed, 0));
    bed.arrive(from, to, packet.as_slice());
    assert_eq!(bed.engine.stats().rtcp_received, before.rtcp_received);
    assert_eq!(bed.engine.stats().dropped, before.dropped + 4);
    assert!((0..2).all(|side| quality(&bed, side).remote.is_none()));
    report(&mut bed, 1, no_block(ssrc));
    bed.run(Duration::from_millis(10));
    assert_eq!(bed.engine.stats().rtcp_received, before.rtcp_received + 1, "the phone is heard");
    assert!(quality(&bed, 1).remote.is_some());
}

fn asked_for(bed: &Bed, side: usize) -> Vec<u32> {
    heard(bed, side)
        .filter_map(|packet| match packet {
            RtcpPacket::Pli(message) => Some(message.media_ssrc),
            _ => None,
        })
        .collect()
}

#[test]
fn a_picture_is_asked_for_at_its_source_and_never_at_a_plain_phone() {
    for (a, feedback, passes) in
        [(Browser, vec![Feedback::Pli], true), (Browser, vec![], false), (Legacy, vec![Feedback::Pli], false)]
    {
        let mut bed = Bed::new(a, Browser, 12);
        bed.feedback = feedback;
        bed.connect();
        bed.settle(Duration::from_secs(5));
        bed.talk(2);
        let mut packet = Packet::new();
        let asked = bed.phones[1].heard[0].header.ssrc;
        append_pli(&mut packet, bed.phones[1].ssrc, asked).expect("it fits");
        // Of something that nobody sends here.
        append_pli(&mut packet, bed.phones[1].ssrc, asked ^ 1).expect("it fits");
        bed.send_rtcp(1, packet);
        bed.run(Duration::from_millis(100));
        let expected = if passes { vec![bed.phones[0].ssrc] } else { vec![] };
        assert_eq!(asked_for(&bed, 0), expected);
        assert!(asked_for(&bed, 1).is_empty());
    }
}

#[test]
fn a_nack_names_the_numbers_of_the_sender() {
    let mut bed = Bed::new(Browser, Browser, 13);
    bed.feedback = vec![Feedback::Nack];
    bed.connect();
    bed.settle(Duration::from_secs(5));
    bed.talk(5);
    let told: Vec<_> = bed.phones[1].heard.iter().map(|heard| heard.header).collect();
    let mut packet = Packet::new();
    let lost = [told[1].sequence_number, told[3].sequence_number];
    append_nack(&mut packet, bed.phones[1].ssrc, told[0].ssrc, &lost).expect("it fits");
    bed.send_rtcp(1, packet);
    bed.run(Duration::from_millis(100));
    let named: Vec<(u32, u32, Vec<u16>)> = heard(&bed, 0)
        .filter_map(|packet| match packet {
            RtcpPacket::Nack(it) => {
                Some((it.sender_ssrc, it.media_ssrc, nack_sequence_numbers(&it).collect()))
            }
            _ => None,
        })
        .collect();
    let last = bed.phones[0].sequence_number;
    let ours = bed.phones[0].heard[0].header.ssrc;
    assert_eq!(named, [(ours, bed.phones[0].ssrc, vec![last.wrapping_sub(3), last.wrapping_sub(1)])]);
}

/// What was lost behind the relay its sender cannot repeat: that would be a replay here.
#[test]
fn video_that_was_sent_is_sent_again() {
    let mut bed = Bed::new(Browser, Browser, 13);
    (bed.media, bed.feedback) = (MediaKind::Video, vec![Feedback::Nack]);
    bed.connect();
    bed.settle(Duration::from_secs(5));
    bed.talk(5);
    let told: Vec<_> = bed.phones[1].heard.iter().map(|heard| heard.header).collect();
    let nacks = |bed: &Bed| heard(bed, 0).filter(|packet| matches!(packet, RtcpPacket::Nack(_))).count();
    let relay = SocketAddr::new(RELAY.parse().expect("an address"), bed.phones[1].relay_port);
    let ask = |bed: &mut Bed, number: u16| {
        let mut packet = Packet::new();
        append_nack(&mut packet, bed.phones[1].ssrc, told[0].ssrc, &[number]).expect("it fits");
        bed.phones[1].srtp.as_mut().expect("keys").protect_rtcp(&mut packet).expect("it fits");
        bed.arrive(bed.phones[1].address, relay, packet.as_slice());
        let sent: Vec<Transmit> = std::iter::from_fn(|| bed.engine.poll_transmit()).collect();
        let again = |sent: &Transmit| {
            let header = Header::parse(sent.packet.as_slice()).ok()?;
            (sent.to == bed.phones[1].address && header.ssrc == told[0].ssrc)
                .then_some(header.sequence_number)
        };
        let numbers: Vec<u16> = sent.iter().filter_map(again).collect();
        (numbers, sent.len())
    };
    let number = told[2].sequence_number;
    assert_eq!(ask(&mut bed, number), (vec![number], 1), "and its sender is not asked");
    assert_eq!(ask(&mut bed, number), (vec![], 0), "not twice at once");
    let (numbers, sent) = ask(&mut bed, number.wrapping_add(100));
    assert_eq!((numbers, sent), (vec![], 1), "what never came its sender is asked for");
    assert_eq!(nacks(&bed), 0);
}

#[test]
fn a_picture_is_asked_for_whenever_a_stream_starts() {
    let mut bed = Bed::new(Browser, Browser, 14);
    bed.media = MediaKind::Video;
    bed.feedback = vec![Feedback::Pli];
    bed.connect();
    bed.settle(Duration::from_secs(5));
    bed.talk(5);
    let expect = |bed: &Bed, count: usize| {
        for side in 0..2 {
            assert_eq!(asked_for(bed, side), vec![bed.phones[side].ssrc; count]);
        }
    };
    expect(&bed, 1);
    assert!(
        bed.phones.iter().flat_map(|phone| &phone.heard).all(|heard| !heard.header.marker),
        "no frame ends"
    );
    let closed = FlowPlan { open: false, ..voice() };
    bed.apply([closed.clone(), closed], false);
    bed.talk(5);
    expect(&bed, 1);
    bed.apply([voice(), voice()], false);
    bed.talk(5);
    expect(&bed, 2);
    // A re-offer that changes nothing asks for nothing.
    bed.apply([voice(), voice()], false);
    bed.talk(5);
    expect(&bed, 2);
}

#[test]
fn a_sender_that_always_starts_is_not_always_asked() {
    let mut bed = Bed::new(Browser, Browser, 16);
    bed.media = MediaKind::Video;
    bed.feedback = vec![Feedback::Pli];
    bed.connect();
    bed.settle(Duration::from_secs(5));
    for _ in 0..50 {
        bed.phones[0].ssrc ^= 1;
        bed.say(0, 0, b"picture");
        bed.run(Duration::from_millis(20));
    }
    assert!((1..=5).contains(&asked_for(&bed, 0).len()), "in one second");
    assert_eq!(bed.phones[1].heard.len(), 50);
}

#[test]
fn a_picture_that_was_sent_before_the_keys_is_asked_for_again() {
    let mut bed = Bed::new(Browser, Browser, 15);
    bed.media = MediaKind::Video;
    bed.feedback = vec![Feedback::Pli];
    bed.connect();
    // Whichever is first speaks into nothing until the other has its keys.
    while bed.phones.iter().any(|phone| phone.srtp.is_none()) {
        bed.say(0, 0, b"picture");
        bed.run(Duration::from_millis(1));
    }
    bed.settle(Duration::from_secs(5));
    bed.talk(3);
    assert_eq!(asked_for(&bed, 0), [bed.phones[0].ssrc]);
}

#[test]
fn browsers_are_told_when_a_stream_ends() {
    let mut bed = connected(Browser, Legacy);
    bed.talk(2);
    let call = bed.call;
    bed.engine.remove_call(bed.now, call);
    bed.run(Duration::from_millis(50));
    let ended: Vec<u32> = heard(&bed, 0)
        .filter_map(|packet| match packet {
            RtcpPacket::Bye(sources) => Some(sources.iter().collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(ended, [bed.phones[0].heard[0].header.ssrc]);
    assert!(bed.phones[1].heard_rtcp.is_empty());
}
