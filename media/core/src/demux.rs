//! What a datagram on a shared port is, told by its first octets (RFC 7983, RFC 5761).

/// The protocols that share one media port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// STUN: first octet 0-3 (RFC 7983 §7).
    Stun,
    /// DTLS: first octet 20-63.
    Dtls,
    /// RTP or SRTP: first octet 128-191.
    Rtp,
    /// RTCP or SRTCP: first octet 128-191, second octet 192-223 (RFC 5761 §4).
    Rtcp,
    /// ZRTP (16-19), a TURN channel (64-79), or nothing known: to be counted and dropped.
    Unknown,
}

/// Tells the kind of `datagram` by its first octet, and RTCP from RTP by its second.
///
/// Only a hint: each protocol still checks the whole datagram. Use [`classify_separate`] for a port that RTCP does not
/// share, where RTP payload types 64-95 with the marker are what they seem to be.
#[must_use]
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [0..=3, ..] => Kind::Stun,
        [20..=63, ..] => Kind::Dtls,
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

/// As [`classify`], for an RTP port with a separate RTCP port: never [`Kind::Rtcp`].
#[must_use]
pub fn classify_separate(datagram: &[u8]) -> Kind {
    match classify(datagram) {
        Kind::Rtcp => Kind::Rtp,
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_octet_has_the_kind_of_rfc_7983() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Kind::Stun,
                20..=63 => Kind::Dtls,
                128..=191 => Kind::Rtp,
                _ => Kind::Unknown,
            };
            assert_eq!(classify(&[first, 0]), expected, "first octet {first}");
        }
    }

    #[test]
    fn the_second_octet_tells_rtcp() {
        for second in 0..=255u8 {
            let rtcp = (192..=223).contains(&second);
            assert_eq!(classify(&[0x80, second]), if rtcp { Kind::Rtcp } else { Kind::Rtp }, "{second}");
            assert_eq!(classify_separate(&[0x80, second]), Kind::Rtp);
        }
    }

    #[test]
    fn too_short_is_unknown() {
        assert_eq!(classify(&[]), Kind::Unknown);
        assert_eq!(classify(&[0x80]), Kind::Unknown);
        assert_eq!(classify(&[1]), Kind::Stun);
    }
}
