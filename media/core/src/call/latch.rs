//! Symmetric RTP with safe learning: where a legacy end really sends from (RFC 4961), learnt once.
//!
//! Packets in the clear prove nothing, so a stranger who sprays all ports must neither be spoken to ("RTP bleed") nor be heard
//! ("RTP inject"). Five rules keep him out:
//! * Nothing is learnt before the end was told the port: whoever sends there earlier cannot be the end.
//! * A source that fits what signalling said is learnt at once: the address of the SDP, its host, the host that signalling came
//!   from. Any other is on [`PROBATION`] first, and then heard; it is spoken to only where the SDP has a private address, so that
//!   the end must be behind a NAT.
//! * Afterwards packets from elsewhere are dropped; only a source that fits better still wins, for the end that speaks at last.
//! * A new offer or answer lets the end move, but one that goes on speaking where it is keeps its place.
//! * Whoever sent to the port in the call before and has not stopped is not of this one.
//!
//! Packets that a key or ICE vouches for need no probation, and where ICE was agreed it alone decides.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::command::Manners;

/// How long after the first packet its source counts as a guess; and how long the end must have been silent at its place before
/// another takes it, where signalling let it move.
pub const WINDOW: Duration = Duration::from_millis(500);

/// So many packets a source has to send that fits nothing that signalling said.
pub const PROBATION: u8 = 5;

/// A source on probation that pauses for longer gives its place to another. Longer than any packet time in use.
const PAUSE: Duration = Duration::from_millis(100);

/// The source of one port's packets.
#[derive(Debug, Clone, Default)]
pub struct Latch {
    /// What signalling says of the end.
    place: Option<Place>,
    /// Where packets come from.
    learnt: Option<SocketAddr>,
    /// The same, of an end that does not hear where it speaks from (ng `asymmetric`).
    elsewhere: Option<SocketAddr>,
    /// Who may come to be it.
    candidate: Option<Candidate>,
    /// Who sent to the port in the call before.
    former: Option<Former>,
    phase: Phase,
    /// ICE or DTLS showed where the end is: packets teach nothing.
    proved: bool,
    manners: Manners,
}

/// What signalling says of where an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The address in the end's SDP.
    pub announced: SocketAddr,
    /// The host that its signalling came from, where that is known.
    pub signalled_from: Option<IpAddr>,
    /// Whether the SDP has a private address: what is sent there would get nowhere.
    pub is_private: bool,
    /// Whether the address may be learnt from its packets.
    pub learn: bool,
    /// Whether, once learnt, packets from elsewhere are dropped.
    pub strict: bool,
    /// Whether ICE was agreed with the end: then nothing else but the SDP says where it is.
    pub by_ice: bool,
}

/// A source on probation.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    packets: u8,
    since: Instant,
    last: Instant,
}

/// Who sent to the port before this call had it.
#[derive(Debug, Clone, Copy)]
struct Former {
    source: SocketAddr,
    /// It was seen to go on.
    goes_on: bool,
    /// Until then it is told by its first packet that it goes on; set when the latch opens.
    until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// The end's SDP is not known, or it has not been told the port: nothing is accepted.
    #[default]
    Closed,
    /// Waiting for the first packet since offer or answer.
    Open,
    /// It came.
    Choosing {
        /// End of the window.
        until: Instant,
    },
    /// Decided.
    Fixed,
}

/// How well a source fits what signalling said; more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Nothing,
    SignallingHost,
    AnnouncedHost,
    Announced,
}

impl Place {
    fn fit(&self, source: SocketAddr) -> Fit {
        if self.announced == source {
            Fit::Announced
        } else if self.announced.ip() == source.ip() {
            Fit::AnnouncedHost
        } else if self.signalled_from == Some(source.ip()) {
            Fit::SignallingHost
        } else {
            Fit::Nothing
        }
    }
}

impl Latch {
    /// A latch of a port that `former` sent to in the call before.
    pub fn after(former: Option<SocketAddr>) -> Latch {
        let former = former.map(|source| Former { source, goes_on: false, until: None });
        Latch { former, ..Latch::default() }
    }

    /// The end's SDP said `place`. The address learnt before stays in use until a packet decides anew, or is forgotten when
    /// the SDP names another place than before. `told`: the end knows the port, so that its packets may come.
    pub fn signalled(&mut self, now: Instant, place: Place, told: bool) {
        if self.announced() != Some(place.announced) {
            (self.learnt, self.elsewhere) = (None, None);
        }
        self.place = Some(place);
        self.proved = false;
        self.candidate = None;
        if told || self.phase != Phase::Closed {
            self.open(now);
        }
    }

    /// The end was told the port.
    pub fn told(&mut self, now: Instant) {
        if self.phase == Phase::Closed && self.place.is_some() {
            self.open(now);
        }
    }

    fn open(&mut self, now: Instant) {
        if self.phase == Phase::Closed
            && let Some(former) = self.former.as_mut()
        {
            former.until = Some(now + WINDOW);
        }
        self.phase = Phase::Open;
    }

    /// Says what else is wished.
    pub fn set_manners(&mut self, manners: Manners) {
        self.manners = manners;
    }

    /// Where the end is to be sent empty datagrams; nowhere once it has sent something.
    pub fn pierced(&self) -> Option<SocketAddr> {
        self.announced().filter(|_| self.manners.pierce && self.learnt().is_none())
    }

    /// Whether a packet from `source` belongs to the end; learns when it is time to. `vouched`: something else than its source
    /// speaks for the packet, such as the key that opened it.
    pub fn accept(&mut self, now: Instant, source: SocketAddr, vouched: bool) -> bool {
        let Some(place) = self.place.filter(|_| self.phase != Phase::Closed) else {
            self.note_early(source);
            return false;
        };
        if self.learnt() == Some(source) {
            self.go_on(now, source);
            return true;
        }
        if self.manners.handover {
            self.learnt = Some(source);
            return true;
        }
        if let Phase::Choosing { until } = self.phase
            && now >= until
        {
            self.phase = Phase::Fixed;
        }
        if self.admits(now, place, source, vouched) {
            let speaks_here =
                place.is_private || vouched || place.fit(source) > Fit::Nothing || !place.strict;
            match place.learn && speaks_here {
                true => (self.learnt, self.elsewhere) = (Some(source), None),
                false => self.elsewhere = Some(source),
            }
            self.phase = Phase::Open;
            self.go_on(now, source);
            return true;
        }
        self.phase == Phase::Fixed && !place.strict
    }

    /// Whether `source`, which is not the known one, is from now on.
    fn admits(&mut self, now: Instant, place: Place, source: SocketAddr, vouched: bool) -> bool {
        let fit = place.fit(source);
        if self.proved || (fit < Fit::Announced && (place.by_ice || self.is_former(now, source))) {
            return false;
        }
        match self.learnt() {
            // Nobody is spoken to there who is only heard, and what passes unread is judged by the other end.
            None if fit > Fit::Nothing || vouched || !place.learn || !place.strict => true,
            // Where it is known whence the end should come, it has time to.
            None if place.signalled_from.is_some() => self.passes_probation(now, source, WINDOW),
            None => self.passes_probation(now, source, Duration::ZERO),
            Some(known) if fit > place.fit(known) => true,
            Some(_) if self.phase == Phase::Open => vouched || self.passes_probation(now, source, WINDOW),
            Some(_) => false,
        }
    }

    /// The end was heard at its place.
    fn go_on(&mut self, now: Instant, source: SocketAddr) {
        if self.candidate.is_some() {
            self.candidate = None;
        }
        if self.phase == Phase::Open {
            let certain = self.announced() == Some(source);
            self.phase = if certain { Phase::Fixed } else { Phase::Choosing { until: now + WINDOW } };
        }
    }

    /// Counts a packet of a source on probation; whether it has passed, which it cannot before `least`.
    fn passes_probation(&mut self, now: Instant, source: SocketAddr, least: Duration) -> bool {
        let fresh = Candidate { source, packets: 0, since: now, last: now };
        let candidate = self.candidate.get_or_insert(fresh);
        if candidate.source != source {
            if now.saturating_duration_since(candidate.last) <= PAUSE {
                return false;
            }
            *candidate = fresh;
        }
        candidate.packets = candidate.packets.saturating_add(1);
        candidate.last = now;
        candidate.packets >= PROBATION && now.saturating_duration_since(candidate.since) >= least
    }

    /// A packet that came before the end could send one.
    fn note_early(&mut self, source: SocketAddr) {
        if let Some(former) = self.former.as_mut().filter(|former| former.source == source) {
            former.goes_on = true;
        }
    }

    /// Whether `source` sent in the call before and has not stopped: a phone that calls again begins anew.
    fn is_former(&mut self, now: Instant, source: SocketAddr) -> bool {
        let Some(former) = self.former.as_mut().filter(|former| former.source == source) else {
            return false;
        };
        former.goes_on |= former.until.is_some_and(|until| now < until);
        former.goes_on
    }

    /// ICE or DTLS proved that the end is at `address`.
    pub fn fix(&mut self, address: SocketAddr) {
        (self.learnt, self.elsewhere) = (Some(address), None);
        self.phase = Phase::Fixed;
        self.proved = true;
    }

    /// Where to send to: what was learnt, else what the SDP says.
    pub fn target(&self) -> Option<SocketAddr> {
        self.learnt.or(self.announced().filter(|_| !self.manners.wait))
    }

    /// Where packets came from, once some did.
    pub fn learnt(&self) -> Option<SocketAddr> {
        self.elsewhere.or(self.learnt)
    }

    /// What the SDP says.
    pub fn announced(&self) -> Option<SocketAddr> {
        self.place.map(|place| place.announced)
    }

    /// Whether the end is known to be at `source`: it fits better than any other could, or was proved.
    pub fn is_at(&self, source: SocketAddr) -> bool {
        self.announced() == Some(source) || (self.proved && self.learnt == Some(source))
    }

    /// Whether `one` fits what signalling said better than `other`.
    pub fn fits_better(&self, one: SocketAddr, other: SocketAddr) -> bool {
        self.place.is_some_and(|place| place.fit(one) > place.fit(other))
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
    /// The public address of a phone whose SDP has its private one.
    const NAT: &str = "198.51.100.7:900";
    const STRANGER: &str = "203.0.113.9:5";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn place() -> Place {
        let announced = address(SDP);
        Place { announced, signalled_from: None, is_private: false, learn: true, strict: true, by_ice: false }
    }

    /// Of a phone behind a NAT; that the address is not private here does not matter.
    fn private() -> Place {
        Place { is_private: true, ..place() }
    }

    fn signalled(latch: &mut Latch, place: Place) {
        latch.signalled(crate::testing::start(), place, true);
    }

    fn latch() -> Latch {
        let mut latch = Latch::default();
        signalled(&mut latch, place());
        latch
    }

    /// Packets as (milliseconds, source, accepted), then the target.
    fn check(latch: &mut Latch, packets: &[(u64, &str, bool)], target: &str) {
        let start = crate::testing::start();
        for (millis, source, accepted) in packets {
            let now = start + Duration::from_millis(*millis);
            assert_eq!(latch.accept(now, address(source), false), *accepted, "{millis} ms {source}");
        }
        assert_eq!(latch.target(), Some(address(target)));
    }

    /// A stream of `count` packets each 20 ms; how many of them were accepted.
    fn stream(latch: &mut Latch, from: u64, count: u64, source: &str) -> usize {
        let at = |number| crate::testing::start() + Duration::from_millis(from + 20 * number);
        (0..count).filter(|number| latch.accept(at(*number), address(source), false)).count()
    }

    #[test]
    fn nothing_passes_before_the_end_knows_the_port() {
        let now = crate::testing::start();
        let mut latch = Latch::default();
        assert!(!latch.accept(now, address(SDP), true), "before signalling");
        latch.signalled(now, place(), false);
        assert_eq!(stream(&mut latch, 0, 100, STRANGER), 0);
        assert!(!latch.accept(now, address(SDP), true), "before the answer");
        assert_eq!(latch.target(), Some(address(SDP)));
        latch.told(now);
        assert!(latch.accept(now, address(SDP), false));
        assert!(latch.is_fixed());
    }

    #[test]
    fn the_address_of_the_sdp_is_final_at_once() {
        check(&mut latch(), &[(0, SDP, true), (20, STRANGER, false), (40, SDP, true)], SDP);
    }

    #[test]
    fn whoever_fits_nothing_is_on_probation() {
        let mut latch = Latch::default();
        signalled(&mut latch, private());
        assert_eq!(stream(&mut latch, 0, 4, NAT), 0);
        assert_eq!(latch.target(), Some(address(SDP)), "and not spoken to meanwhile");
        assert_eq!(stream(&mut latch, 80, 10, NAT), 10);
        check(&mut latch, &[(600, STRANGER, false), (620, NAT, true)], NAT);
    }

    #[test]
    fn where_the_sdp_has_a_public_address_nobody_else_is_spoken_to() {
        let mut latch = latch();
        assert_eq!(stream(&mut latch, 0, 100, STRANGER), 96, "a carrier may speak from elsewhere");
        assert_eq!(latch.target(), Some(address(SDP)));
        check(&mut latch, &[(2000, SDP, true), (2020, STRANGER, false)], SDP);
        signalled(&mut latch, place());
        assert_eq!(stream(&mut latch, 3000, 100, STRANGER), 75, "the phone is silent");
        assert_eq!(latch.target(), Some(address(SDP)));
    }

    /// One packet for each port, again and again, between those of the phone.
    #[test]
    fn a_spray_neither_passes_probation_nor_keeps_the_phone_from_it() {
        let mut latch = Latch::default();
        signalled(&mut latch, private());
        let sweep = 300;
        let mut heard = 0;
        for millis in (0..2000).step_by(20) {
            if millis % sweep == 0 {
                check(&mut latch, &[(millis, STRANGER, false)], if heard > 0 { NAT } else { SDP });
            }
            heard += stream(&mut latch, millis + 5, 1, NAT);
        }
        assert!(heard >= 85, "{heard} of 100");
    }

    #[test]
    fn the_host_that_signalling_came_from_needs_no_probation() {
        let mut latch = Latch::default();
        let signalled_from = Some(address(NAT).ip());
        signalled(&mut latch, Place { signalled_from, ..place() });
        check(&mut latch, &[(0, STRANGER, false), (20, NAT, true), (40, STRANGER, false)], NAT);
        let mut latch = Latch::default();
        signalled(&mut latch, Place { signalled_from, ..private() });
        assert_eq!(stream(&mut latch, 0, 25, STRANGER), 0, "the end has half a second to come first");
        assert_eq!(stream(&mut latch, 500, 5, STRANGER), 5);
        check(&mut latch, &[(700, NAT, true), (720, STRANGER, false)], NAT);
    }

    #[test]
    fn a_stranger_who_came_first_does_not_keep_the_place_of_the_phone() {
        let mut latch = latch();
        assert_eq!(stream(&mut latch, 0, 10, STRANGER), 6);
        check(
            &mut latch,
            &[
                (5000, "192.0.2.1:9", true),
                (5020, STRANGER, false),
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
            &[(20, "192.0.2.1:4444", true), (40, STRANGER, false), (60, SDP, true), (80, SDP, true)],
            SDP,
        );
    }

    /// Session timers have the SDP repeated every minute or so (RFC 4028).
    #[test]
    fn who_goes_on_speaking_keeps_its_place_when_the_sdp_is_repeated() {
        let mut latch = Latch::default();
        let behind_nat = Place { signalled_from: Some(address(NAT).ip()), ..place() };
        signalled(&mut latch, behind_nat);
        assert_eq!(stream(&mut latch, 0, 10, NAT), 10);
        signalled(&mut latch, behind_nat);
        // A hundred packets between two of the phone, from the best guess there can be: its own host.
        for source in [STRANGER, "198.51.100.7:901"] {
            assert_eq!(stream(&mut latch, 200, 4, source), 0);
            assert!((0..100).all(|_| !latch.accept(
                crate::testing::start() + Duration::from_millis(281),
                address(source),
                false
            )));
            check(&mut latch, &[(290, NAT, true), (291, source, false)], NAT);
        }
    }

    #[test]
    fn a_new_description_lets_a_silent_end_move() {
        let mut latch = Latch::default();
        signalled(&mut latch, private());
        assert_eq!(stream(&mut latch, 0, 20, NAT), 16);
        signalled(&mut latch, private());
        assert_eq!(latch.target(), Some(address(NAT)), "the learnt address stays in use");
        assert_eq!(stream(&mut latch, 1000, 25, "198.51.100.7:902"), 0);
        assert_eq!(stream(&mut latch, 1500, 10, "198.51.100.7:902"), 10);
        signalled(&mut latch, Place { announced: address("192.0.2.1:6000"), ..place() });
        assert_eq!(latch.target(), Some(address("192.0.2.1:6000")));
    }

    #[test]
    fn a_call_that_may_be_handed_over_follows_every_packet() {
        let mut latch = latch();
        latch.set_manners(Manners { handover: true, ..Manners::default() });
        check(&mut latch, &[(0, SDP, true), (900, STRANGER, true)], STRANGER);
        let mut closed = Latch::default();
        closed.set_manners(Manners { handover: true, ..Manners::default() });
        assert!(!closed.accept(crate::testing::start(), address(SDP), false), "not before signalling");
    }

    #[test]
    fn nothing_is_sent_to_a_nat_that_must_open_first() {
        let mut latch = Latch::default();
        signalled(&mut latch, private());
        latch.set_manners(Manners { wait: true, pierce: true, ..Manners::default() });
        assert_eq!((latch.target(), latch.pierced()), (None, Some(address(SDP))));
        assert_eq!(stream(&mut latch, 0, 5, NAT), 1);
        assert_eq!((latch.target(), latch.pierced()), (Some(address(NAT)), None));
    }

    #[test]
    fn who_speaks_from_elsewhere_is_heard_and_spoken_to_where_the_sdp_says() {
        let mut latch = Latch::default();
        signalled(&mut latch, Place { learn: false, ..place() });
        check(
            &mut latch,
            &[
                (0, NAT, true),
                (20, STRANGER, false),
                (900, NAT, true),
                (920, STRANGER, false),
                // Still, whoever fits the SDP better is more likely the end.
                (940, "192.0.2.1:9", true),
                (960, NAT, false),
            ],
            SDP,
        );
        latch.fix(address("192.0.2.1:7"));
        check(&mut latch, &[(980, "192.0.2.1:7", true), (990, NAT, false)], "192.0.2.1:7");
    }

    #[test]
    fn a_key_that_opened_the_packet_vouches_for_it() {
        let mut latch = latch();
        let now = crate::testing::start();
        assert!(latch.accept(now, address(NAT), true));
        assert!(!latch.accept(now, address(STRANGER), true), "strict afterwards");
        assert_eq!(latch.target(), Some(address(NAT)));
    }

    #[test]
    fn where_ice_was_agreed_nothing_else_teaches() {
        let mut latch = Latch::default();
        signalled(&mut latch, Place { by_ice: true, signalled_from: Some(address(NAT).ip()), ..place() });
        assert_eq!(stream(&mut latch, 0, 100, NAT), 0);
        assert_eq!(stream(&mut latch, 0, 100, "192.0.2.1:9"), 0);
        check(&mut latch, &[(0, SDP, true)], SDP);
        latch.fix(address(NAT));
        check(&mut latch, &[(20, NAT, true), (40, SDP, false)], NAT);
    }

    #[test]
    fn a_stream_of_the_call_before_never_belongs_to_this_one() {
        for gap in [0, 3000] {
            // From the very host of the end that is in the call now: two phones behind one NAT.
            let mut latch = Latch::after(Some(address("192.0.2.1:900")));
            let now = crate::testing::start();
            latch.signalled(now, place(), gap == 0);
            assert_eq!(stream(&mut latch, 0, gap / 20, "192.0.2.1:900"), 0);
            latch.told(now + Duration::from_millis(gap));
            assert_eq!(stream(&mut latch, gap, 1000, "192.0.2.1:900"), 0);
            assert_eq!(latch.target(), Some(address(SDP)));
            assert_eq!(stream(&mut latch, gap, 5, "192.0.2.1:902"), 5, "its neighbour is heard");
        }
    }

    #[test]
    fn a_phone_that_calls_again_is_no_stream_of_before() {
        let mut latch = Latch::after(Some(address("192.0.2.1:900")));
        signalled(&mut latch, place());
        assert_eq!(stream(&mut latch, 700, 5, "192.0.2.1:900"), 5);
        let mut latch = Latch::after(Some(address(SDP)));
        signalled(&mut latch, place());
        assert_eq!(stream(&mut latch, 0, 5, SDP), 5, "the SDP names it");
    }
}
