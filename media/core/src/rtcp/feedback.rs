//! Feedback of RFC 4585 and RFC 5104 for video between browsers: made, and carried from one leg to the other with the
//! SSRCs of that leg. A legacy peer gets none of it: what a plain RTP/AVP phone cannot parse is not sent there.

use super::{Feedback, HEADER_LEN, Malformed, RtcpPacket, header, packet_type, parse};
use crate::packet::{Full, Packet};

/// Octets before the feedback control information: header, sender's SSRC, media SSRC.
const FCI_AT: usize = 12;

/// What was carried over by [`translate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Messages written.
    pub messages: usize,
    /// Whether a picture was asked for (PLI or FIR).
    pub key_frame: bool,
}

/// Where a stream comes from that this host sends under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Its SSRC at the leg that sends it to us.
    pub ssrc: u32,
    /// What is added to a sequence number that we sent to get the one we received: the numbers of a NACK go back so.
    pub sequence_offset: u16,
}

/// Adds to `out` the feedback in the compound packet `datagram` that means something at the other leg: PLI, FIR, NACK.
///
/// `sender_ssrc` is ours on that leg. `map` gives the origin there of the SSRC under which a stream was sent to the
/// peer that now asks; `None` drops the message. Reports, REMB, transport-cc and the rest are about this leg's own
/// path or numbering and are never carried.
///
/// # Errors
/// [`Malformed`]; nothing was written then. Messages that do not fit are left out.
pub fn translate(
    datagram: &[u8],
    out: &mut Packet,
    sender_ssrc: u32,
    mut map: impl FnMut(u32) -> Option<Origin>,
) -> Result<Carried, Malformed> {
    let mut carried = Carried::default();
    for packet in parse(datagram)? {
        let before = out.len();
        let written = match packet {
            RtcpPacket::Pli(message) => map(message.media_ssrc)
                .is_some_and(|origin| append_pli(out, sender_ssrc, origin.ssrc).is_ok()),
            RtcpPacket::Nack(message) => map(message.media_ssrc)
                .is_some_and(|origin| translate_nack(out, message, sender_ssrc, origin).is_ok()),
            RtcpPacket::Fir(message) => translate_fir(out, message, sender_ssrc, &mut map),
            _ => false,
        };
        if written {
            carried.messages += 1;
            carried.key_frame |= !matches!(packet, RtcpPacket::Nack(_));
        } else {
            out.truncate(before);
        }
    }
    Ok(carried)
}

/// FIR names its sources in the entries: SSRC, sequence number, three octets reserved (RFC 5104 §4.3.1.1).
fn translate_fir(
    out: &mut Packet,
    message: Feedback<'_>,
    sender_ssrc: u32,
    map: &mut impl FnMut(u32) -> Option<Origin>,
) -> bool {
    let at = out.len();
    if append_head(out, message, sender_ssrc, 0, 0).is_err() {
        return false;
    }
    for entry in message.fci.as_chunks::<8>().0 {
        let [a, b, c, d, sequence, ..] = *entry;
        let Some(origin) = map(u32::from_be_bytes([a, b, c, d])) else { continue };
        let fits = out.extend_from_slice(&origin.ssrc.to_be_bytes()).is_ok()
            && out.extend_from_slice(&[sequence, 0, 0, 0]).is_ok();
        if !fits {
            return false;
        }
    }
    let len = out.len() - at;
    let head = header(message.raw.count, message.raw.packet_type, len);
    out.as_mut_slice()[at..at + HEADER_LEN].copy_from_slice(&head);
    len > FCI_AT
}

/// The bit mask is relative to the number before it and stays as it is.
fn translate_nack(
    out: &mut Packet,
    message: Feedback<'_>,
    sender_ssrc: u32,
    origin: Origin,
) -> Result<(), Full> {
    let entries = message.fci.as_chunks::<4>().0;
    append_head(out, message, sender_ssrc, origin.ssrc, entries.len() * 4)?;
    for [a, b, mask @ ..] in entries {
        let number = u16::from_be_bytes([*a, *b]).wrapping_add(origin.sequence_offset);
        out.extend_from_slice(&number.to_be_bytes())?;
        out.extend_from_slice(mask)?;
    }
    Ok(())
}

/// Everything before feedback control information of `fci_len` octets.
fn append_head(
    out: &mut Packet,
    message: Feedback<'_>,
    sender_ssrc: u32,
    media_ssrc: u32,
    fci_len: usize,
) -> Result<(), Full> {
    out.extend_from_slice(&header(message.raw.count, message.raw.packet_type, FCI_AT + fci_len))?;
    out.extend_from_slice(&sender_ssrc.to_be_bytes())?;
    out.extend_from_slice(&media_ssrc.to_be_bytes())
}

/// Adds a picture loss indication (RFC 4585 §6.3.1): asks the sender of `media_ssrc` for a key frame.
///
/// # Errors
/// [`Full`] when it does not fit.
pub fn append_pli(out: &mut Packet, sender_ssrc: u32, media_ssrc: u32) -> Result<(), Full> {
    out.extend_from_slice(&header(1, packet_type::PSFB, FCI_AT))?;
    out.extend_from_slice(&sender_ssrc.to_be_bytes())?;
    out.extend_from_slice(&media_ssrc.to_be_bytes())
}

/// Adds a full intra request (RFC 5104 §4.3.1); `sequence` goes up by one with each new request, not with repeats.
///
/// # Errors
/// [`Full`] when it does not fit.
pub fn append_fir(out: &mut Packet, sender_ssrc: u32, media_ssrc: u32, sequence: u8) -> Result<(), Full> {
    out.extend_from_slice(&header(4, packet_type::PSFB, FCI_AT + 8))?;
    for word in [sender_ssrc, 0, media_ssrc, u32::from(sequence) << 24] {
        out.extend_from_slice(&word.to_be_bytes())?;
    }
    Ok(())
}

/// Adds a generic NACK (RFC 4585 §6.2.1) for `lost`, which must be sorted as the numbers follow each other.
///
/// # Errors
/// [`Full`] when it does not fit.
pub fn append_nack(out: &mut Packet, sender_ssrc: u32, media_ssrc: u32, lost: &[u16]) -> Result<(), Full> {
    let Some((first, rest)) = lost.split_first() else { return Ok(()) };
    let at = out.len();
    out.grow(HEADER_LEN)?.fill(0);
    out.extend_from_slice(&sender_ssrc.to_be_bytes())?;
    out.extend_from_slice(&media_ssrc.to_be_bytes())?;
    let (mut base, mut mask) = (*first, 0u16);
    for number in rest {
        match number.wrapping_sub(base) {
            0 => {}
            ahead @ 1..=16 => mask |= 1 << (ahead - 1),
            _ => {
                append_nack_entry(out, base, mask)?;
                (base, mask) = (*number, 0);
            }
        }
    }
    append_nack_entry(out, base, mask)?;
    let head = header(1, packet_type::RTPFB, out.len() - at);
    out.as_mut_slice()[at..at + HEADER_LEN].copy_from_slice(&head);
    Ok(())
}

fn append_nack_entry(out: &mut Packet, base: u16, mask: u16) -> Result<(), Full> {
    out.extend_from_slice(&base.to_be_bytes())?;
    out.extend_from_slice(&mask.to_be_bytes())
}

/// The sequence numbers that a NACK names, at most `17 * fci.len() / 4`.
pub fn nack_sequence_numbers<'a>(message: &Feedback<'a>) -> impl Iterator<Item = u16> + 'a {
    message.fci.as_chunks::<4>().0.iter().flat_map(|[a, b, c, d]| {
        let (base, mask) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        let more = (0..16).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| base.wrapping_add(bit + 1));
        std::iter::once(base).chain(more)
    })
}
