//! Elements of RTP header extensions (RFC 8285), read in place.

use super::{ExtensionBlock, Header};

/// The profile of one-byte elements.
const ONE_BYTE: u16 = 0xbede;

/// The ids that a leg's SDP gave to the elements that are read (`a=extmap`, RFC 8285 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143 §15.1).
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub audio_level: Option<u8>,
}

/// How loud a packet is (RFC 6464 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// Whether the sender holds it for speech.
    pub voice: bool,
    /// Level below overload in dB: 0 is loudest, 127 is silence.
    pub below_overload: u8,
}

impl ExtensionIds {
    /// The media identification of `packet`, whose header was read as `header`.
    #[must_use]
    pub fn mid<'a>(&self, header: &Header, packet: &'a [u8]) -> Option<&'a [u8]> {
        find(header, packet, self.mid?)
    }

    /// The audio level of `packet`, whose header was read as `header`.
    #[must_use]
    pub fn audio_level(&self, header: &Header, packet: &[u8]) -> Option<AudioLevel> {
        let octet = *find(header, packet, self.audio_level?)?.first()?;
        Some(AudioLevel { voice: octet & 0x80 != 0, below_overload: octet & 0x7f })
    }
}

/// The data of the element with `id` in `packet`, whose header was read as `header`.
#[must_use]
pub fn find<'a>(header: &Header, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
    elements(header.extension()?, packet).find(|(element, _)| *element == id).map(|(_, data)| data)
}

/// The elements of an extension as `(id, data)`, up to the first that is cut off. Other profiles than those of RFC 8285
/// have none.
pub fn elements(block: ExtensionBlock, packet: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let form = match block.profile {
        ONE_BYTE => Some(Form::OneByte),
        0x1000..=0x100f => Some(Form::TwoByte),
        _ => None,
    };
    let data = packet.get(block.offset..block.offset + block.len).unwrap_or_default();
    let mut rest = if form.is_some() { data } else { &[] };
    std::iter::from_fn(move || {
        // Zero octets between elements are padding (RFC 8285 §4.2, §4.3).
        while let [0, after @ ..] = rest {
            rest = after;
        }
        let (id, len, after) = match (form?, rest) {
            // Id 15 ends the one-byte form (RFC 8285 §4.2).
            (Form::OneByte, [head, after @ ..]) if head >> 4 != 15 => {
                (head >> 4, usize::from(head & 0x0f) + 1, after)
            }
            (Form::TwoByte, [id, len, after @ ..]) => (*id, usize::from(*len), after),
            _ => return None,
        };
        let (data, after) = after.split_at_checked(len)?;
        rest = after;
        Some((id, data))
    })
}

#[derive(Clone, Copy)]
enum Form {
    OneByte,
    TwoByte,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(profile: u16, elements: &[u8]) -> Vec<u8> {
        let mut p = vec![0x90, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        p.extend_from_slice(&profile.to_be_bytes());
        p.extend_from_slice(&((elements.len() / 4) as u16).to_be_bytes());
        p.extend_from_slice(elements);
        p
    }

    fn all(p: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let header = Header::parse(p).unwrap();
        elements(header.extension().unwrap(), p).map(|(id, data)| (id, data.to_vec())).collect()
    }

    #[test]
    fn one_byte_elements_with_padding() {
        let p = packet(0xbede, &[0x10, 0x8a, 0, 0x22, b'v', b'i', b'd', 0]);
        assert_eq!(all(&p), [(1, vec![0x8a]), (2, b"vid".to_vec())]);
        let ids = ExtensionIds { mid: Some(2), audio_level: Some(1) };
        let header = Header::parse(&p).unwrap();
        assert_eq!(ids.mid(&header, &p), Some(&b"vid"[..]));
        assert_eq!(ids.audio_level(&header, &p), Some(AudioLevel { voice: true, below_overload: 10 }));
        assert_eq!(ExtensionIds::default().mid(&header, &p), None);
    }

    #[test]
    fn two_byte_elements_may_be_empty() {
        let p = packet(0x1000, &[1, 0, 0, 2, 3, b'm', b'i', b'd']);
        assert_eq!(all(&p), [(1, vec![]), (2, b"mid".to_vec())]);
    }

    #[test]
    fn stops_at_what_is_cut_off_reserved_or_unknown() {
        assert_eq!(all(&packet(0xbede, &[0x10, 1, 0x2f, 2])), [(1, vec![1])]);
        assert_eq!(all(&packet(0xbede, &[0xf0, 1, 0x10, 1])), []);
        assert_eq!(all(&packet(0x1000, &[0, 0, 0, 9])), []);
        assert_eq!(all(&packet(0x1000, &[9, 200, 0, 0])), []);
        assert_eq!(all(&packet(0x1234, &[0x10, 1, 0, 0])), []);
    }

    #[test]
    fn every_octet_pair_is_bounded() {
        for profile in [0xbede, 0x1000] {
            for first in 0..=255 {
                for second in [0, 1, 3, 15, 16, 255] {
                    let p = packet(profile, &[first, second, 0x10, 0x31]);
                    assert!(all(&p).len() <= 4);
                }
            }
        }
    }
}
