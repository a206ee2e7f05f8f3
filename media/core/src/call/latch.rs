//! Symmetric RTP with safe learning: where a legacy end really sends from (RFC 4961), learnt once.
//!
//! A stranger who sends to the port must never take over a call ("RTP bleed"). So an address is learnt only in a short
//! window after signalling, and afterwards packets from elsewhere are dropped until a new offer or answer of that end opens
//! the window again. Only a source that fits the SDP better still wins then: else whoever sprays all ports before the
//! phone speaks, which may be long after signalling, would have its place for good.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::command::Manners;

/// How long after the first packet its source counts as a guess.
pub const WINDOW: Duration = Duration::from_millis(500);

/// The source of one port's packets.
#[derive(Debug, Clone, Default)]
pub struct Latch {
    /// What the SDP says.
    announced: Option<SocketAddr>,
    /// Where packets come from.
    learnt: Option<SocketAddr>,
    /// The same, of an end that does not hear where it speaks from (ng `asymmetric`).
    elsewhere: Option<SocketAddr>,
    phase: Phase,
    learn: bool,
    strict: bool,
    manners: Manners,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// The end's SDP is not known: nothing is accepted.
    #[default]
    Closed,
    /// Waiting for the first packet.
    Open,
    /// The first packet came.
    Choosing {
        /// End of the window.
        until: Instant,
    },
    /// Decided.
    Fixed,
}

/// How well a source fits the SDP; more is better.
fn rank(source: SocketAddr, announced: Option<SocketAddr>) -> u8 {
    match announced {
        Some(announced) if announced == source => 2,
        Some(announced) if announced.ip() == source.ip() => 1,
        _ => 0,
    }
}

impl Latch {
    /// The end's SDP said `announced`. Opens the window again; the address learnt before stays in use until a packet
    /// decides anew, or is forgotten when the SDP names another place than before.
    pub fn signalled(&mut self, announced: SocketAddr, learn: bool, strict: bool) {
        if self.announced != Some(announced) {
            (self.learnt, self.elsewhere) = (None, None);
        }
        self.announced = Some(announced);
        self.learn = learn;
        self.strict = strict;
        self.phase = Phase::Open;
    }

    /// Says what else is wished.
    pub fn set_manners(&mut self, manners: Manners) {
        self.manners = manners;
    }

    /// Where the end is to be sent empty datagrams; nowhere once it has sent something.
    pub fn pierced(&self) -> Option<SocketAddr> {
        self.announced.filter(|_| self.manners.pierce && self.learnt().is_none())
    }

    /// Whether a packet from `source` belongs to the end; learns when it is time to.
    pub fn accept(&mut self, now: Instant, source: SocketAddr) -> bool {
        if self.manners.handover && self.phase != Phase::Closed {
            self.learnt = Some(source);
            return true;
        }
        let mut known = self.learnt();
        match self.phase {
            Phase::Closed => return false,
            Phase::Open => {
                known = Some(source);
                self.phase = Phase::Choosing { until: now + WINDOW };
            }
            Phase::Choosing { until } if now >= until => self.phase = Phase::Fixed,
            Phase::Choosing { .. } | Phase::Fixed => {}
        }
        let fits = known.map_or(0, |known| rank(known, self.announced));
        if rank(source, self.announced) > fits {
            known = Some(source);
        }
        if known.is_some() && known == self.announced {
            self.phase = Phase::Fixed;
        }
        *if self.learn { &mut self.learnt } else { &mut self.elsewhere } = known;
        known == Some(source) || (self.phase == Phase::Fixed && !self.strict)
    }

    /// ICE or DTLS proved that the end is at `address`.
    pub fn fix(&mut self, address: SocketAddr) {
        (self.learnt, self.elsewhere) = (Some(address), None);
        self.phase = Phase::Fixed;
    }

    /// Where to send to: what was learnt, else what the SDP says.
    pub fn target(&self) -> Option<SocketAddr> {
        self.learnt.or(self.announced.filter(|_| !self.manners.wait))
    }

    /// Where packets came from, once some did.
    pub fn learnt(&self) -> Option<SocketAddr> {
        self.elsewhere.or(self.learnt)
    }

    /// What the SDP says.
    pub fn announced(&self) -> Option<SocketAddr> {
        self.announced
    }

    /// Whether an address was learnt for good.
    pub fn is_fixed(&self) -> bool {
        self.phase == Phase::Fixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "192.0.2.1:4000";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn latch() -> Latch {
        let mut latch = Latch::default();
        latch.signalled(address(SDP), true, true);
        latch
    }

    /// Packets as (milliseconds, source, accepted), then the target.
    fn check(latch: &mut Latch, packets: &[(u64, &str, bool)], target: &str) {
        let start = crate::testing::start();
        for (millis, source, accepted) in packets {
            let now = start + Duration::from_millis(*millis);
            assert_eq!(latch.accept(now, address(source)), *accepted, "{millis} ms {source}");
        }
        assert_eq!(latch.target(), Some(address(target)));
    }

    #[test]
    fn nothing_passes_before_signalling() {
        assert!(!Latch::default().accept(crate::testing::start(), address(SDP)));
    }

    #[test]
    fn the_address_of_the_sdp_is_final_at_once() {
        check(&mut latch(), &[(0, SDP, true), (20, "203.0.113.9:5", false), (40, SDP, true)], SDP);
    }

    #[test]
    fn a_phone_behind_nat_is_learnt_and_a_stranger_later_is_not() {
        check(
            &mut latch(),
            &[
                (0, "198.51.100.7:900", true),
                (20, "203.0.113.9:5", false),
                (600, "198.51.100.7:900", true),
                (620, "203.0.113.9:5", false),
            ],
            "198.51.100.7:900",
        );
    }

    #[test]
    fn a_stranger_who_came_first_does_not_keep_the_place_of_the_phone() {
        check(
            &mut latch(),
            &[
                (0, "203.0.113.9:5", true),
                (5000, "192.0.2.1:9", true),
                (5020, "203.0.113.9:5", false),
                (5040, SDP, true),
                (5060, "192.0.2.1:9", false),
            ],
            SDP,
        );
    }

    #[test]
    fn in_the_window_the_better_source_wins() {
        check(
            &mut latch(),
            &[
                (0, "203.0.113.9:5", true),
                (20, "192.0.2.1:4444", true),
                (40, "203.0.113.9:5", false),
                (60, SDP, true),
            ],
            SDP,
        );
    }

    #[test]
    fn a_new_description_opens_the_window_again() {
        let mut latch = latch();
        check(
            &mut latch,
            &[(0, "198.51.100.7:900", true), (700, "198.51.100.7:900", true)],
            "198.51.100.7:900",
        );
        latch.signalled(address(SDP), true, true);
        assert_eq!(latch.target(), Some(address("198.51.100.7:900")), "the learnt address stays in use");
        check(&mut latch, &[(800, "198.51.100.7:902", true)], "198.51.100.7:902");
        latch.signalled(address("192.0.2.1:6000"), true, true);
        assert_eq!(latch.target(), Some(address("192.0.2.1:6000")));
    }

    #[test]
    fn a_call_that_may_be_handed_over_follows_every_packet() {
        let mut latch = latch();
        latch.set_manners(Manners { handover: true, ..Manners::default() });
        check(&mut latch, &[(0, SDP, true), (900, "203.0.113.9:5", true)], "203.0.113.9:5");
        let mut closed = Latch::default();
        closed.set_manners(Manners { handover: true, ..Manners::default() });
        assert!(!closed.accept(crate::testing::start(), address(SDP)), "not before signalling");
    }

    #[test]
    fn nothing_is_sent_to_a_nat_that_must_open_first() {
        let mut latch = latch();
        latch.set_manners(Manners { wait: true, pierce: true, ..Manners::default() });
        assert_eq!((latch.target(), latch.pierced()), (None, Some(address(SDP))));
        check(&mut latch, &[(0, "198.51.100.7:900", true)], "198.51.100.7:900");
        assert_eq!(latch.pierced(), None);
    }

    #[test]
    fn who_speaks_from_elsewhere_is_heard_and_spoken_to_where_the_sdp_says() {
        let mut latch = Latch::default();
        latch.signalled(address(SDP), false, true);
        check(
            &mut latch,
            &[
                (0, "198.51.100.7:900", true),
                (20, "203.0.113.9:5", false),
                (900, "198.51.100.7:900", true),
                (920, "203.0.113.9:5", false),
                // Still, whoever fits the SDP better is more likely the end.
                (940, "192.0.2.1:9", true),
                (960, "198.51.100.7:900", false),
            ],
            SDP,
        );
        latch.fix(address("192.0.2.1:7"));
        check(&mut latch, &[(980, "192.0.2.1:7", true), (990, "198.51.100.7:900", false)], "192.0.2.1:7");
    }
}
