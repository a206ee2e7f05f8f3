//! This host's own reports: each leg gets SR or RR and a CNAME made from what it sent and received itself, as no
//! report of one leg is true for another (RFC 3550 §7.1 treats a relay that renumbers as a source of its own).

use std::time::{Duration, Instant};

use super::ntp::{NtpClock, NtpTime, round_trip, to_short};
use super::{HEADER_LEN, REPORT_BLOCK_LEN, ReportBlock, ReportBlocks, SenderReport, header, packet_type};
use crate::packet::{Full, Packet};
use crate::rtp::{ReceiverStats, SenderStats};

/// The most report blocks of one SR or RR.
pub const MAX_BLOCKS: usize = 31;

/// The longest CNAME (RFC 3550 §6.5).
const MAX_CNAME: usize = 255;

/// What a leg must remember of one received stream between reports: the last SR, for LSR and DLSR.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastSenderReport {
    seen: Option<(u32, Instant)>,
}

impl LastSenderReport {
    /// Takes the peer's sender report as it arrives.
    pub const fn on_sender_report(&mut self, now: Instant, report: &SenderReport<'_>) {
        self.seen = Some((report.ntp.middle(), now));
    }

    /// LSR and DLSR of a report made at `now`; both 0 before the first SR.
    #[must_use]
    pub fn at(&self, now: Instant) -> (u32, u32) {
        self.seen.map_or((0, 0), |(middle, at)| (middle, to_short(now.saturating_duration_since(at))))
    }
}

/// The report block on one received stream; `None` before its first packet. The fraction lost counts from the last call.
pub fn report_block(
    now: Instant,
    stats: &mut ReceiverStats,
    last_sr: &LastSenderReport,
) -> Option<ReportBlock> {
    let reception = stats.report()?;
    let (last_sr, delay_since_last_sr) = last_sr.at(now);
    Some(ReportBlock {
        ssrc: reception.ssrc,
        fraction_lost: reception.fraction_lost,
        cumulative_lost: reception.cumulative_lost,
        highest_sequence: reception.highest_sequence,
        jitter: reception.jitter,
        last_sr,
        delay_since_last_sr,
    })
}

/// What the far end says of one of our streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteView {
    /// Share of packets lost since its last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all.
    pub cumulative_lost: i32,
    /// Jitter in timestamp units.
    pub jitter: u32,
    /// The round trip, when the report answers one of our sender reports.
    pub round_trip: Option<Duration>,
}

/// The block on our stream `ssrc` among the `reports` that arrived at `arrival`.
#[must_use]
pub fn remote_view(arrival: NtpTime, reports: &ReportBlocks<'_>, ssrc: u32) -> Option<RemoteView> {
    let block = reports.iter().find(|block| block.ssrc == ssrc)?;
    Some(RemoteView {
        fraction_lost: block.fraction_lost,
        cumulative_lost: block.cumulative_lost,
        jitter: block.jitter,
        round_trip: round_trip(arrival, block.last_sr, block.delay_since_last_sr),
    })
}

/// What a sender report says of one of our streams (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// The timestamp that belongs to the moment of the report.
    pub rtp_timestamp: u32,
    /// Packets sent; the lower 32 bits count.
    pub packets: u64,
    /// Octets of payload sent; the lower 32 bits count.
    pub octets: u64,
}

impl SenderInfo {
    /// The info of a stream at `now`; `None` before its first packet.
    #[must_use]
    pub fn new(now: Instant, sent: &SenderStats) -> Option<Self> {
        let rtp_timestamp = sent.timestamp_at(now).filter(|_| sent.packets() > 0)?;
        Some(Self { rtp_timestamp, packets: sent.packets(), octets: sent.octets() })
    }
}

/// Begins a compound packet: clears `packet` and writes an SR when there is something `sent`, else an RR, with at most [`MAX_BLOCKS`] of `blocks`, then SDES with the CNAME (RFC 3550 §6.1 asks for both in every one).
/// Feedback and BYE may follow.
///
/// # Errors
/// [`Full`] when it does not fit; the packet is then unusable.
pub fn begin_compound(
    packet: &mut Packet,
    now: Instant,
    clock: &NtpClock,
    ssrc: u32,
    sent: Option<SenderInfo>,
    blocks: &[ReportBlock],
    cname: &str,
) -> Result<(), Full> {
    packet.clear();
    let blocks = &blocks[..blocks.len().min(MAX_BLOCKS)];
    let own = if sent.is_some() { 24 } else { 4 };
    let packet_type = if sent.is_some() { packet_type::SR } else { packet_type::RR };
    let len = HEADER_LEN + own + blocks.len() * REPORT_BLOCK_LEN;
    packet.extend_from_slice(&header(blocks.len() as u8, packet_type, len))?;
    packet.extend_from_slice(&ssrc.to_be_bytes())?;
    if let Some(sent) = sent {
        packet.extend_from_slice(&clock.at(now).to_bits().to_be_bytes())?;
        for word in [sent.rtp_timestamp, sent.packets as u32, sent.octets as u32] {
            packet.extend_from_slice(&word.to_be_bytes())?;
        }
    }
    for block in blocks {
        packet.extend_from_slice(&block.to_bytes())?;
    }
    append_cname(packet, ssrc, cname)
}

/// Adds SDES with one CNAME (RFC 3550 §6.5.1), cut to 255 octets.
fn append_cname(packet: &mut Packet, ssrc: u32, cname: &str) -> Result<(), Full> {
    let cname = &cname.as_bytes()[..cname.len().min(MAX_CNAME)];
    // The item, and one zero octet at least, up to the next word.
    let items = (2 + cname.len() + 1).next_multiple_of(4);
    packet.extend_from_slice(&header(1, packet_type::SDES, HEADER_LEN + 4 + items))?;
    packet.extend_from_slice(&ssrc.to_be_bytes())?;
    packet.extend_from_slice(&[1, cname.len() as u8])?;
    packet.extend_from_slice(cname)?;
    packet.grow(items - 2 - cname.len())?.fill(0);
    Ok(())
}

/// Adds a BYE of one source (RFC 3550 §6.6) to a compound packet.
///
/// # Errors
/// [`Full`] when it does not fit.
pub fn append_bye(packet: &mut Packet, ssrc: u32) -> Result<(), Full> {
    packet.extend_from_slice(&header(1, packet_type::BYE, 8))?;
    packet.extend_from_slice(&ssrc.to_be_bytes())
}
