//! The packets a browser was sent last, to be sent again when it misses one (RFC 4585 §6.2.1).
//!
//! Retransmission has no stream of its own here (RFC 4588 is not negotiated), so what is sent again is the same SRTP
//! packet, octet for octet: nothing is encrypted twice, and to a receiver that lacks it it is no replay. Its sender
//! could not help: what he sends again under the same number is a replay to us.

use std::time::{Duration, Instant};

use crate::packet::Packet;

/// Packets kept; a second of good video.
const KEPT: usize = 256;

/// A packet is not sent again sooner: the first copy may still be on its way, and nobody can make us shout.
const PAUSE: Duration = Duration::from_millis(30);

/// The last packets of one stream, in buffers that are made once.
#[derive(Debug)]
pub struct History {
    /// By sequence number.
    slots: Vec<Option<Slot>>,
}

#[derive(Debug)]
struct Slot {
    number: u16,
    packet: Packet,
    resent: Option<Instant>,
}

impl Default for History {
    fn default() -> History {
        History { slots: (0..KEPT).map(|_| None).collect() }
    }
}

impl History {
    /// Keeps a packet as it was sent under `number`, in the place of the one sent `KEPT` before it.
    pub fn keep(&mut self, number: u16, packet: &Packet) {
        let slot = &mut self.slots[usize::from(number) % KEPT];
        let slot = slot.get_or_insert_with(|| Slot { number, packet: Packet::new(), resent: None });
        (slot.number, slot.resent) = (number, None);
        slot.packet.copy_from(packet);
    }

    /// Whether the packet of `number` is kept; where it may be sent again now, it is put into `out`.
    pub fn again(&mut self, now: Instant, number: u16, mut out: impl FnMut(&Packet)) -> bool {
        let slot = self.slots[usize::from(number) % KEPT].as_mut().filter(|slot| slot.number == number);
        let Some(slot) = slot else { return false };
        if slot.resent.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE) {
            slot.resent = Some(now);
            out(&slot.packet);
        }
        true
    }

    /// Forgets all: the keys are others.
    pub fn clear(&mut self) {
        self.slots.fill_with(|| None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_sent_last_and_not_too_often() {
        let mut history = History::default();
        let start = crate::testing::start();
        for number in 0..300u16 {
            let mut packet = Packet::new();
            packet.fill(&number.to_be_bytes()).expect("it fits");
            history.keep(number, &packet);
        }
        for (millis, number, known, sent) in [
            (0, 299, true, true),
            (10, 299, true, false),
            (40, 299, true, true),
            (40, 44, true, true),
            (40, 43, false, false),
            (40, 300, false, false),
        ] {
            let mut out = Vec::new();
            let now = start + Duration::from_millis(millis);
            assert_eq!(history.again(now, number, |packet| out.push(packet.as_slice().to_vec())), known);
            let expected = if sent { vec![number.to_be_bytes().to_vec()] } else { vec![] };
            assert_eq!(out, expected, "{number} after {millis} ms");
        }
        history.clear();
        assert!(!history.again(start, 299, |_| panic!("forgotten")));
    }
}
