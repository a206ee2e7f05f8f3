//! NTP time as RTCP writes it, and the round trip that two reports tell (RFC 3550 §4, §6.4.1).

use std::time::{Duration, Instant};

/// Seconds from 1900 to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;

/// Seconds since 1900 with a 32-bit fraction. Wraps in 2036, as the format does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(u64);

impl NtpTime {
    /// From the 64 bits of a report.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits of a report.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The middle 32 bits, in 1/65536 s: what LSR holds.
    #[must_use]
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// From the time since 1970.
    #[must_use]
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().wrapping_add(UNIX_EPOCH);
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds << 32 | fraction)
    }
}

/// The NTP time of every [`Instant`], set once: reports of all legs of a worker run by it, and it never jumps.
#[derive(Debug, Clone, Copy)]
pub struct NtpClock {
    origin: Instant,
    unix_at_origin: Duration,
}

impl NtpClock {
    /// Says that at `now` it is `since_epoch` after 1970.
    #[must_use]
    pub const fn new(now: Instant, since_epoch: Duration) -> Self {
        Self { origin: now, unix_at_origin: since_epoch }
    }

    /// The NTP time of an instant.
    #[must_use]
    pub fn at(&self, instant: Instant) -> NtpTime {
        let unix = match instant.checked_duration_since(self.origin) {
            Some(later) => self.unix_at_origin.saturating_add(later),
            None => self.unix_at_origin.saturating_sub(self.origin.saturating_duration_since(instant)),
        };
        NtpTime::from_unix(unix)
    }
}

/// The wall clock of a peer against ours, fixed by its first sender report: with it the reports of all streams of the
/// peer can be told in our time without pulling its audio and video apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeerClock {
    /// Ours minus the peer's, in the units of [`NtpTime`].
    offset: Option<u64>,
}

impl PeerClock {
    /// A sender report's moment in our time. The first report that comes sets the clock: its moment is `now`, so the
    /// offset holds its time on the way, the same for all streams.
    pub fn to_local(&mut self, theirs: NtpTime, now: NtpTime) -> NtpTime {
        let offset = *self.offset.get_or_insert(now.0.wrapping_sub(theirs.0));
        NtpTime(theirs.0.wrapping_add(offset))
    }

    /// How long before `now` the moment of a report was, for [`crate::rtp::SenderStats::set_reference`]; a moment in the
    /// future or more than a minute ago (a peer that set its clock) begins anew and is `now`.
    pub fn age(&mut self, theirs: NtpTime, now: NtpTime) -> Duration {
        let age = now.0.wrapping_sub(self.to_local(theirs, now).0);
        if age > 60 << 32 {
            self.offset = None;
            self.to_local(theirs, now);
            return Duration::ZERO;
        }
        Duration::from_secs(age >> 32) + Duration::from_nanos(((age & 0xffff_ffff) * 1_000_000_000) >> 32)
    }
}

/// The round trip that a report block tells, if it answers one of our sender reports: arrival minus LSR minus DLSR
/// (RFC 3550 §6.4.1). Nonsense (negative, or beyond a minute) gives `None`.
#[must_use]
pub fn round_trip(arrival: NtpTime, last_sr: u32, delay_since_last_sr: u32) -> Option<Duration> {
    if last_sr == 0 {
        return None;
    }
    let units = arrival.middle().wrapping_sub(last_sr).wrapping_sub(delay_since_last_sr);
    // Some peers round DLSR up: up to 2 ms below zero is zero.
    if units > u32::MAX - 131 {
        return Some(Duration::ZERO);
    }
    (units <= 60 << 16).then(|| Duration::from_nanos(u64::from(units) * 1_000_000_000 / 65_536))
}

/// A duration in the 1/65536 s of DLSR; longer than it can say is the largest.
#[must_use]
pub fn to_short(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos() * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
mod tests {
    use super::*;

    #[test]
    fn unix_time_becomes_ntp_time() {
        let ntp = NtpTime::from_unix(Duration::new(0, 500_000_000));
        assert_eq!(ntp.to_bits(), 2_208_988_800 << 32 | 0x8000_0000);
        assert_eq!(ntp.middle(), 0x7e80_8000);
        let now = Instant::now() + Duration::from_secs(10);
        let clock = NtpClock::new(now, Duration::from_secs(100));
        assert_eq!(clock.at(now + Duration::from_secs(2)), NtpTime::from_unix(Duration::from_secs(102)));
        assert_eq!(clock.at(now - Duration::from_secs(2)), NtpTime::from_unix(Duration::from_secs(98)));
    }

    /// The figure of RFC 3550 §6.4.1: SR at 0xb44db705.20000000, DLSR 5.25 s, arrival 0xb710.8000: 6.125 s.
    #[test]
    fn round_trip_of_rfc_3550() {
        let arrival = NtpTime::from_bits(0xb44d_b710_8000_0000);
        assert_eq!(round_trip(arrival, 0xb705_2000, 0x0005_4000), Some(Duration::from_millis(6125)));
        assert_eq!(round_trip(arrival, 0, 0x0005_4000), None, "no SR received");
        assert_eq!(round_trip(arrival, 0xb710_8000, 60), Some(Duration::ZERO));
        assert_eq!(round_trip(arrival, 0xb710_8000, 66_000), None);
        assert_eq!(to_short(Duration::from_millis(5250)), 0x0005_4000);
        assert_eq!(to_short(Duration::MAX), u32::MAX);
    }

    #[test]
    fn the_peer_clock_keeps_its_streams_together() {
        let mut clock = PeerClock::default();
        let (second, now) = (1u64 << 32, 1000u64 << 32);
        let at = |seconds: u64| NtpTime::from_bits(seconds * second);
        assert_eq!(clock.age(at(5), NtpTime::from_bits(now)), Duration::ZERO);
        let later = NtpTime::from_bits(now + 3 * second);
        assert_eq!(clock.age(at(6), later), Duration::from_secs(2), "sent a second later, came three later");
        assert_eq!(clock.age(at(999), later), Duration::ZERO, "the peer set its clock");
        assert_eq!(clock.to_local(at(999), later), later);
    }
}
