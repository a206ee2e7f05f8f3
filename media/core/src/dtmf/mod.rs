//! DTMF as named telephone-events in RTP (RFC 4733): read and written, carried from one clock to another, made, and
//! recognised.

mod detect;
mod ear;
mod generate;
mod inject;
mod listen;
mod rewrite;
pub(crate) mod segment;
mod tone;

pub use detect::{Detector, Finished};
pub use ear::Ear;
pub use generate::{EventGenerator, EventPacket, PACKET_TIME};
pub use inject::{Digit, END_PACKETS, Injection, Said};
pub use listen::{Listener, Sounding};
pub use rewrite::{EventRewriter, Unusable};
pub use tone::Tone;

/// Octets of the payload (RFC 4733 §2.3).
pub const PAYLOAD_LEN: usize = 4;

/// The payload of a telephone-event packet (RFC 4733 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// Event code: 0-9, 10 `*`, 11 `#`, 12-15 `A`-`D`, 16 flash (RFC 4733 §3.2).
    pub code: u8,
    /// The event has ended.
    pub end: bool,
    /// Power of the tone in dBm0 below 0, 0-63.
    pub volume: u8,
    /// Duration so far of this segment, in timestamp units.
    pub duration: u16,
}

impl Event {
    /// Reads a payload; octets behind the first four are ignored, `None` when there are fewer.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [code, flags, a, b] = *payload.first_chunk::<PAYLOAD_LEN>()?;
        let duration = u16::from_be_bytes([a, b]);
        Some(Self { code, end: flags & 0x80 != 0, volume: flags & 0x3f, duration })
    }

    /// The payload; the reserved bit is 0.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; PAYLOAD_LEN] {
        let [a, b] = self.duration.to_be_bytes();
        [self.code, (self.end as u8) << 7 | (self.volume & 0x3f), a, b]
    }

    /// The key of the event, if it is one of a telephone's.
    #[must_use]
    pub const fn digit(self) -> Option<char> {
        digit_of(self.code)
    }
}

/// The key of an event code: `0`-`9`, `*`, `#`, `A`-`D`.
#[must_use]
pub const fn digit_of(code: u8) -> Option<char> {
    match code {
        0..=9 => Some((b'0' + code) as char),
        10 => Some('*'),
        11 => Some('#'),
        12..=15 => Some((b'A' + code - 12) as char),
        _ => None,
    }
}

/// The event code of a key, either case.
#[must_use]
pub const fn code_of(digit: char) -> Option<u8> {
    match digit {
        '0'..='9' => Some(digit as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        'A'..='D' => Some(digit as u8 - b'A' + 12),
        'a'..='d' => Some(digit as u8 - b'a' + 12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_survive_the_round_trip() {
        let event = Event { code: 11, end: true, volume: 10, duration: 800 };
        assert_eq!(event.to_bytes(), [11, 0x8a, 0x03, 0x20]);
        assert_eq!(Event::parse(&event.to_bytes()), Some(event));
        assert_eq!(Event::parse(&[1, 0x4a, 0, 1, 9]).map(Event::to_bytes), Some([1, 0x0a, 0, 1]));
        for len in 0..PAYLOAD_LEN {
            assert_eq!(Event::parse(&[0; PAYLOAD_LEN][..len]), None);
        }
    }

    #[test]
    fn codes_and_keys_are_inverse() {
        for code in 0..=15 {
            assert_eq!(digit_of(code).and_then(code_of), Some(code));
        }
        assert_eq!((digit_of(16), code_of('c'), code_of('x'), code_of('٣')), (None, Some(14), None, None));
    }
}
