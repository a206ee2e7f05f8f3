//! RTP (RFC 3550): the header as a view that is written back in place, header extensions, sequence numbers and the
//! statistics of a receiver and of a sender.

pub mod clock;
pub mod extension;
pub mod quality;
pub mod sequence;
pub mod stats;

pub use stats::{ReceiverStats, SenderStats};

use crate::packet::{Full, Packet};

/// Octets of the fixed header (RFC 3550 §5.1).
pub const FIXED_HEADER_LEN: usize = 12;

/// Why a datagram is not RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the header it announces.
    #[error("shorter than its RTP header")]
    Short,
    /// The version is not 2.
    #[error("not RTP version 2")]
    Version,
    /// The padding count is 0 or larger than the payload.
    #[error("wrong padding count")]
    Padding,
}

/// The header extension of a packet (RFC 3550 §5.3.1): where it is and what its first 16 bits say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionBlock {
    /// "Defined by profile": 0xBEDE one-byte, 0x1000-0x100F two-byte elements (RFC 8285).
    pub profile: u16,
    /// Offset in the packet of the first octet after the four of the extension's own header.
    pub offset: usize,
    /// Octets of the elements, a multiple of 4.
    pub len: usize,
}

/// An RTP header, read from a packet. The five public fields are written back by [`Header::write`].
///
/// Reading it checks all that an SRTP packet shows before decryption; padding is inside the encrypted part and is
/// checked by [`Header::payload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The marker bit: for audio the first packet after silence, for a telephone-event its first (RFC 4733 §2.5.1.1).
    pub marker: bool,
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence_number: u16,
    /// Timestamp in units of the payload type's clock rate.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    padded: bool,
    csrc_count: u8,
    extension: Option<ExtensionBlock>,
    header_len: usize,
}

impl Header {
    /// Reads the header of `packet`.
    ///
    /// # Errors
    /// [`Malformed`] when the version is not 2 or the packet is shorter than its header with CSRCs and extension.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk().ok_or(Malformed::Short)?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let csrc_count = fixed[0] & 0x0f;
        let mut header_len = FIXED_HEADER_LEN + usize::from(csrc_count) * 4;
        let mut extension = None;
        if fixed[0] & 0x10 != 0 {
            let own: &[u8; 4] =
                packet.get(header_len..).and_then(<[u8]>::first_chunk).ok_or(Malformed::Short)?;
            let len = usize::from(u16::from_be_bytes([own[2], own[3]])) * 4;
            let offset = header_len + 4;
            extension = Some(ExtensionBlock { profile: u16::from_be_bytes([own[0], own[1]]), offset, len });
            header_len = offset + len;
        }
        if packet.len() < header_len {
            return Err(Malformed::Short);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            padded: fixed[0] & 0x20 != 0,
            csrc_count,
            extension,
            header_len,
        })
    }

    /// Writes marker, payload type, sequence number, timestamp and SSRC into the fixed header of `packet`, which must
    /// be the one that was read; anything shorter than a fixed header stays as it is.
    pub fn write(&self, packet: &mut [u8]) {
        let Some(fixed) = packet.first_chunk_mut::<FIXED_HEADER_LEN>() else { return };
        fixed[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        fixed[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }

    /// A header without CSRC and extension, marker off, for a packet that this host makes itself.
    #[must_use]
    pub const fn new(payload_type: u8, sequence_number: u16, timestamp: u32, ssrc: u32) -> Self {
        Self {
            marker: false,
            payload_type,
            sequence_number,
            timestamp,
            ssrc,
            padded: false,
            csrc_count: 0,
            extension: None,
            header_len: FIXED_HEADER_LEN,
        }
    }

    /// Makes `packet` a new one with this header (see [`Header::new`]) and `payload`.
    ///
    /// # Errors
    /// [`Full`] when the payload does not fit; the packet then has no payload.
    pub fn start(&self, packet: &mut Packet, payload: &[u8]) -> Result<(), Full> {
        let mut fixed = [0; FIXED_HEADER_LEN];
        fixed[0] = 0x80;
        self.write(&mut fixed);
        packet.fill(&fixed)?;
        packet.extend_from_slice(payload)
    }

    /// Octets of the header with CSRCs and extension: the offset of the payload.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// The header extension, if there is one.
    #[must_use]
    pub const fn extension(&self) -> Option<ExtensionBlock> {
        self.extension
    }

    /// The number of contributing sources, 0-15.
    #[must_use]
    pub const fn csrc_count(&self) -> u8 {
        self.csrc_count
    }

    /// The payload of `packet` (the one that was read, decrypted) without padding.
    ///
    /// # Errors
    /// [`Malformed::Padding`] when the count in the last octet is 0 or exceeds the payload (RFC 3550 §5.1).
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let payload = packet.get(self.header_len..).ok_or(Malformed::Short)?;
        if !self.padded {
            return Ok(payload);
        }
        let count = usize::from(*payload.last().ok_or(Malformed::Padding)?);
        match payload.len().checked_sub(count) {
            Some(kept) if count > 0 => Ok(&payload[..kept]),
            _ => Err(Malformed::Padding),
        }
    }

    /// The contributing sources of `packet` (the one that was read).
    pub fn csrcs<'a>(&self, packet: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
        let end = FIXED_HEADER_LEN + usize::from(self.csrc_count) * 4;
        packet
            .get(FIXED_HEADER_LEN..end)
            .unwrap_or_default()
            .chunks_exact(4)
            .map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]))
    }
}

/// Removes the header extension of `packet` and clears the X bit, as many legacy phones play it as sound otherwise.
/// `header` must be the one read from this packet; it is brought up to date.
pub fn strip_extension(packet: &mut Packet, header: &mut Header) {
    let Some(block) = header.extension.take() else { return };
    packet.remove(block.offset - 4, block.offset + block.len);
    if let Some(first) = packet.as_mut_slice().first_mut() {
        *first &= !0x10;
    }
    header.header_len -= block.len + 4;
}

/// Removes padding and clears the P bit; `header` must be the one read from this packet.
///
/// # Errors
/// [`Malformed::Padding`], with the packet unchanged.
pub fn strip_padding(packet: &mut Packet, header: &mut Header) -> Result<(), Malformed> {
    if header.padded {
        let len = header.header_len + header.payload(packet.as_slice())?.len();
        packet.truncate(len);
        packet.as_mut_slice()[0] &= !0x20;
        header.padded = false;
    }
    Ok(())
}

/// Replaces the payload of `packet` by `payload`, without padding; `header` must be the one read from this packet.
///
/// # Errors
/// [`Full`] when it does not fit; the packet then has no payload.
pub fn set_payload(packet: &mut Packet, header: &mut Header, payload: &[u8]) -> Result<(), Full> {
    packet.truncate(header.header_len);
    if let Some(first) = packet.as_mut_slice().first_mut() {
        *first &= !0x20;
    }
    header.padded = false;
    packet.extend_from_slice(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P, X, two CSRCs, a one-byte extension of two words, payload `abc` and three octets of padding.
    fn full() -> Vec<u8> {
        let mut p = vec![0xb2, 0x80 | 111, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        p.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2]);
        p.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x10, 0x8a, 0x22, b'v', b'i', b'd', 0, 0]);
        p.extend_from_slice(b"abc\0\0\x03");
        p
    }

    fn packet(bytes: &[u8]) -> Packet {
        let mut packet = Packet::new();
        packet.fill(bytes).expect("fits");
        packet
    }

    #[test]
    fn reads_every_part() {
        let p = full();
        let h = Header::parse(&p).unwrap();
        assert_eq!((h.marker, h.payload_type, h.sequence_number), (true, 111, 0x1234));
        assert_eq!((h.timestamp, h.ssrc, h.csrc_count(), h.header_len()), (160, 0xdead_beef, 2, 32));
        assert_eq!(h.csrcs(&p).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(h.extension(), Some(ExtensionBlock { profile: 0xbede, offset: 24, len: 8 }));
        assert_eq!(h.payload(&p), Ok(&b"abc"[..]));
    }

    #[test]
    fn writes_back_only_its_own_fields() {
        let mut p = full();
        let mut h = Header::parse(&p).unwrap();
        (h.marker, h.payload_type, h.sequence_number, h.timestamp, h.ssrc) = (false, 0, 7, 8, 9);
        h.write(&mut p);
        assert_eq!(Header::parse(&p).unwrap(), h);
        assert_eq!(p[0], 0xb2);
        assert_eq!(&p[12..], &full()[12..]);
    }

    #[test]
    fn strips_extension_then_padding() {
        let mut p = packet(&full());
        let mut h = Header::parse(p.as_slice()).unwrap();
        strip_extension(&mut p, &mut h);
        assert_eq!(Header::parse(p.as_slice()).unwrap(), h);
        assert_eq!(h.csrcs(p.as_slice()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(h.payload(p.as_slice()), Ok(&b"abc"[..]));
        strip_padding(&mut p, &mut h).unwrap();
        assert_eq!(Header::parse(p.as_slice()).unwrap(), h);
        assert_eq!(&p.as_slice()[h.header_len()..], b"abc");
        strip_extension(&mut p, &mut h);
        set_payload(&mut p, &mut h, b"longer than before").unwrap();
        assert_eq!(h.payload(p.as_slice()), Ok(&b"longer than before"[..]));
    }

    #[test]
    fn refuses_every_truncation_of_the_header() {
        let p = full();
        for len in 0..32 {
            assert_eq!(Header::parse(&p[..len]), Err(Malformed::Short), "{len} octets");
        }
        for len in 32..p.len() {
            let h = Header::parse(&p[..len]).unwrap();
            // The last octet of the cut packet is not a valid padding count unless it happens to fit.
            let _any = h.payload(&p[..len]);
        }
        assert_eq!(Header::parse(&[0x40; 12]), Err(Malformed::Version));
    }

    #[test]
    fn refuses_wrong_padding() {
        for (count, expected) in
            [(0, Err(Malformed::Padding)), (6, Ok(&b""[..])), (7, Err(Malformed::Padding))]
        {
            let mut p = full();
            *p.last_mut().unwrap() = count;
            let h = Header::parse(&p).unwrap();
            assert_eq!(h.payload(&p), expected, "count {count}");
        }
        let mut bare = full()[..32].to_vec();
        bare[0] = 0xb2;
        assert_eq!(Header::parse(&bare).unwrap().payload(&bare), Err(Malformed::Padding));
    }

    #[test]
    fn no_flipped_octet_panics() {
        let good = full();
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, !good[at]] {
                let mut bad = good.clone();
                bad[at] = value;
                let mut p = packet(&bad);
                if let Ok(mut h) = Header::parse(&bad) {
                    strip_extension(&mut p, &mut h);
                    let _padding = strip_padding(&mut p, &mut h);
                    let _payload = h.payload(p.as_slice());
                }
            }
        }
    }
}
