//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): compound packets read and written, own reports made from statistics, feedback
//! carried from one leg to another.

pub mod feedback;
pub mod ntp;
pub mod reports;

/// Octets of the common header (RFC 3550 §6.4.1).
const HEADER_LEN: usize = 4;

/// The most RTCP packets that are read of one compound packet; a larger one is not made by anybody.
pub const MAX_PACKETS: usize = 32;

/// Packet types (RFC 3550 §12.1, RFC 4585 §9, RFC 3611 §2).
pub mod packet_type {
    /// Sender report.
    pub const SR: u8 = 200;
    /// Receiver report.
    pub const RR: u8 = 201;
    /// Source description.
    pub const SDES: u8 = 202;
    /// Goodbye.
    pub const BYE: u8 = 203;
    /// Application-defined.
    pub const APP: u8 = 204;
    /// Transport layer feedback.
    pub const RTPFB: u8 = 205;
    /// Payload-specific feedback.
    pub const PSFB: u8 = 206;
    /// Extended report.
    pub const XR: u8 = 207;
}

/// Why a datagram is not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A packet is longer than what is left of the datagram, or too short for its type.
    #[error("an RTCP packet is cut off")]
    Short,
    /// The version is not 2.
    #[error("not RTCP version 2")]
    Version,
    /// More than [`MAX_PACKETS`] in one datagram.
    #[error("too many RTCP packets in one datagram")]
    TooMany,
}

/// One RTCP packet of a compound packet, with its own header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPacket<'a> {
    /// Reception report count, source count, subtype or feedback message type (FMT), 0-31.
    pub count: u8,
    /// Packet type; see [`packet_type`].
    pub packet_type: u8,
    /// All octets with the header, without padding.
    pub bytes: &'a [u8],
}

/// What an RTCP packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// SR: what a sender has sent, and what it receives.
    SenderReport(SenderReport<'a>),
    /// RR: what a receiver receives.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// About whom.
        reports: ReportBlocks<'a>,
    },
    /// SDES: the names of sources.
    SourceDescription(&'a [u8]),
    /// BYE: sources that leave.
    Bye(SsrcList<'a>),
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack(Feedback<'a>),
    /// Transport-wide congestion control feedback.
    TransportCc(Feedback<'a>),
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli(Feedback<'a>),
    /// Full intra request (RFC 5104 §4.3.1).
    Fir(Feedback<'a>),
    /// Receiver estimated maximum bit rate.
    Remb(Remb<'a>),
    /// Other feedback of RFC 4585 or RFC 5104, by packet type and FMT.
    OtherFeedback(Feedback<'a>),
    /// XR (RFC 3611).
    ExtendedReport(&'a [u8]),
    /// APP or an unknown packet type.
    Other(RawPacket<'a>),
}

/// A sender report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport<'a> {
    /// Who reports.
    pub ssrc: u32,
    /// When, by the sender's clock.
    pub ntp: ntp::NtpTime,
    /// The same moment as a timestamp of its stream.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packet_count: u32,
    /// Octets of payload sent.
    pub octet_count: u32,
    /// What the sender receives.
    pub reports: ReportBlocks<'a>,
}

/// One reception report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all, 24 bits with sign.
    pub cumulative_lost: i32,
    /// Cycles and highest sequence number.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the last SR, 0 for none.
    pub last_sr: u32,
    /// The delay since that SR in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// Octets of a reception report.
pub const REPORT_BLOCK_LEN: usize = 24;

/// The reception reports of an SR or RR; at most 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [u8]);

/// A list of SSRCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SsrcList<'a>(&'a [u8]);

/// A feedback message (RFC 4585 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The source it is about; 0 where the entries name it (FIR).
    pub media_ssrc: u32,
    /// The whole packet.
    pub raw: RawPacket<'a>,
    /// Feedback control information.
    pub fci: &'a [u8],
}

/// A receiver's estimate of what it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remb<'a> {
    /// The message as feedback.
    pub feedback: Feedback<'a>,
    /// Bits per second; more than fits is the largest number.
    pub bitrate: u64,
    /// The sources it is about.
    pub ssrcs: SsrcList<'a>,
}

/// Reads a compound packet. Every RTCP packet is checked before the first is given, as one that is cut off makes the
/// whole datagram doubtful (RFC 3550 A.2); a reduced-size packet (RFC 5506) begins with any type.
///
/// # Errors
/// [`Malformed`].
pub fn parse(datagram: &[u8]) -> Result<impl Iterator<Item = RtcpPacket<'_>> + Clone, Malformed> {
    Ok(parse_raw(datagram)?.filter_map(|raw| RtcpPacket::parse(raw).ok()))
}

/// As [`parse`], without looking into the packets.
///
/// # Errors
/// [`Malformed`].
pub fn parse_raw(datagram: &[u8]) -> Result<impl Iterator<Item = RawPacket<'_>> + Clone, Malformed> {
    let mut rest = datagram;
    let mut count = 0;
    if rest.is_empty() {
        return Err(Malformed::Short);
    }
    while !rest.is_empty() {
        let (raw, after) = split_first(rest)?;
        RtcpPacket::parse(raw)?;
        rest = after;
        count += 1;
        if count > MAX_PACKETS {
            return Err(Malformed::TooMany);
        }
    }
    let mut rest = datagram;
    Ok(std::iter::from_fn(move || {
        let (raw, after) = split_first(rest).ok()?;
        rest = after;
        Some(raw)
    }))
}

fn split_first(rest: &[u8]) -> Result<(RawPacket<'_>, &[u8]), Malformed> {
    let [first, packet_type, a, b] = *rest.first_chunk::<HEADER_LEN>().ok_or(Malformed::Short)?;
    if first >> 6 != 2 {
        return Err(Malformed::Version);
    }
    let len = (usize::from(u16::from_be_bytes([a, b])) + 1) * 4;
    let (bytes, after) = rest.split_at_checked(len).ok_or(Malformed::Short)?;
    let padding = match bytes.last() {
        Some(count) if first & 0x20 != 0 => usize::from(*count),
        _ => 0,
    };
    let kept = len.checked_sub(padding).filter(|kept| *kept >= HEADER_LEN).ok_or(Malformed::Short)?;
    Ok((RawPacket { count: first & 0x1f, packet_type, bytes: &bytes[..kept] }, after))
}

impl<'a> RtcpPacket<'a> {
    /// Looks into one packet.
    ///
    /// # Errors
    /// [`Malformed::Short`] when it is shorter than its type or count says.
    pub fn parse(raw: RawPacket<'a>) -> Result<Self, Malformed> {
        let body = raw.bytes.get(HEADER_LEN..).ok_or(Malformed::Short)?;
        let count = usize::from(raw.count);
        Ok(match raw.packet_type {
            packet_type::SR => Self::SenderReport(SenderReport::parse(body, count)?),
            packet_type::RR => {
                let (ssrc, rest) = take_u32(body)?;
                Self::ReceiverReport { ssrc, reports: ReportBlocks::parse(rest, count)? }
            }
            packet_type::SDES => Self::SourceDescription(body),
            packet_type::BYE => Self::Bye(SsrcList(body.get(..count * 4).ok_or(Malformed::Short)?)),
            packet_type::RTPFB | packet_type::PSFB => Self::parse_feedback(raw, body)?,
            packet_type::XR => Self::ExtendedReport(body),
            _ => Self::Other(raw),
        })
    }

    fn parse_feedback(raw: RawPacket<'a>, body: &'a [u8]) -> Result<Self, Malformed> {
        let (sender_ssrc, body) = take_u32(body)?;
        let (media_ssrc, fci) = take_u32(body)?;
        let feedback = Feedback { sender_ssrc, media_ssrc, raw, fci };
        Ok(match (raw.packet_type, raw.count) {
            (packet_type::RTPFB, 1) => Self::Nack(feedback),
            (packet_type::RTPFB, 15) => Self::TransportCc(feedback),
            (packet_type::PSFB, 1) => Self::Pli(feedback),
            (packet_type::PSFB, 4) => Self::Fir(feedback),
            (packet_type::PSFB, 15) if fci.starts_with(b"REMB") => Self::Remb(Remb::parse(feedback)?),
            _ => Self::OtherFeedback(feedback),
        })
    }
}

impl<'a> SenderReport<'a> {
    fn parse(body: &'a [u8], count: usize) -> Result<Self, Malformed> {
        let (ssrc, body) = take_u32(body)?;
        let (seconds, body) = take_u32(body)?;
        let (fraction, body) = take_u32(body)?;
        let (rtp_timestamp, body) = take_u32(body)?;
        let (packet_count, body) = take_u32(body)?;
        let (octet_count, body) = take_u32(body)?;
        let ntp = ntp::NtpTime::from_bits(u64::from(seconds) << 32 | u64::from(fraction));
        let reports = ReportBlocks::parse(body, count)?;
        Ok(Self { ssrc, ntp, rtp_timestamp, packet_count, octet_count, reports })
    }
}

impl<'a> ReportBlocks<'a> {
    fn parse(body: &'a [u8], count: usize) -> Result<Self, Malformed> {
        body.get(..count * REPORT_BLOCK_LEN).map(Self).ok_or(Malformed::Short)
    }

    /// The reports in order.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.0.as_chunks::<REPORT_BLOCK_LEN>().0.iter().map(ReportBlock::from_bytes)
    }
}

impl ReportBlock {
    /// Reads a reception report.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; REPORT_BLOCK_LEN]) -> Self {
        let word = |n: usize| {
            u32::from_be_bytes([bytes[n * 4], bytes[n * 4 + 1], bytes[n * 4 + 2], bytes[n * 4 + 3]])
        };
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            // The upper octet is the fraction: shift it out, keep the sign of the 24 bits.
            cumulative_lost: (word(1) << 8).cast_signed() >> 8,
            highest_sequence: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        }
    }

    /// Writes a reception report; a loss beyond 24 bits is brought within.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REPORT_BLOCK_LEN] {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        let mut bytes = [0; REPORT_BLOCK_LEN];
        bytes.chunks_exact_mut(4).zip(words).for_each(|(b, word)| b.copy_from_slice(&word.to_be_bytes()));
        bytes
    }
}

impl<'a> SsrcList<'a> {
    /// The SSRCs in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        self.0.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

impl<'a> Remb<'a> {
    fn parse(feedback: Feedback<'a>) -> Result<Self, Malformed> {
        let [_, _, _, _, count, a, b, c] = *feedback.fci.first_chunk::<8>().ok_or(Malformed::Short)?;
        let ssrcs = feedback.fci.get(8..8 + usize::from(count) * 4).ok_or(Malformed::Short)?;
        let (exponent, mantissa) = (a >> 2, u64::from(u32::from_be_bytes([0, a & 3, b, c])));
        let shifted = u128::from(mantissa) << exponent;
        let bitrate = u64::try_from(shifted).unwrap_or(u64::MAX);
        Ok(Self { feedback, bitrate, ssrcs: SsrcList(ssrcs) })
    }
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Short)?;
    Ok((u32::from_be_bytes(*head), rest))
}

/// The four octets in front of an RTCP packet of `len` octets (a multiple of 4, the header included).
fn header(count: u8, packet_type: u8, len: usize) -> [u8; HEADER_LEN] {
    debug_assert!(len.is_multiple_of(4) && len >= HEADER_LEN);
    let [a, b] = ((len / 4 - 1) as u16).to_be_bytes();
    [0x80 | (count & 0x1f), packet_type, a, b]
}

#[cfg(test)]
mod tests;
