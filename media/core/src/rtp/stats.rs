//! What a receiver and a sender know of one synchronisation source (RFC 3550 §6.4, appendices A.1, A.3 and A.8).

use std::time::{Duration, Instant};

use super::Header;
use super::sequence::distance;

/// A forward jump of this many packets or more is a restart of the sender, not loss (RFC 3550 A.1).
const MAX_DROPOUT: i16 = 3000;
/// A packet this far behind or less is late (RFC 3550 A.1).
const MAX_MISORDER: i16 = 100;

/// How a packet stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// The first of its SSRC: of the stream, or after the sender changed its SSRC.
    First,
    /// The highest sequence number so far.
    InOrder,
    /// Behind the highest one: reordered or a duplicate.
    Late,
    /// Far away from all before; the next one in sequence proves a restart (RFC 3550 A.1).
    Jump,
    /// The second in sequence after a jump: counting began anew.
    Restart,
}

/// The statistics of one received stream. When the peer changes its SSRC, the sequence begins anew and the totals go on,
/// so that they tell the whole call.
#[derive(Debug, Clone)]
pub struct ReceiverStats {
    clock_rate: u32,
    source: Option<Source>,
    packets: u64,
    octets: u64,
    lost_before: u64,
    max_jitter: f64,
}

#[derive(Debug, Clone)]
struct Source {
    ssrc: u32,
    /// Extended: cycles in the upper bits (A.1).
    base: u64,
    highest: u64,
    bad_next: Option<u16>,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    last_arrival: Instant,
    last_timestamp: u32,
    /// In timestamp units, unscaled (A.8).
    jitter: f64,
}

/// The part of a report that tells of one source (RFC 3550 §6.4.1), before LSR and DLSR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// The source.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning of this source; negative with duplicates. Within 24 bits.
    pub cumulative_lost: i32,
    /// Cycles and highest sequence number.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
}

impl ReceiverStats {
    /// Nothing received yet; `clock_rate` in Hz is that of the codec's timestamps (0 switches jitter off).
    #[must_use]
    pub const fn new(clock_rate: u32) -> Self {
        Self { clock_rate, source: None, packets: 0, octets: 0, lost_before: 0, max_jitter: 0.0 }
    }

    /// Changes the clock rate, as a re-offer with another codec does; jitter begins anew.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if self.clock_rate != clock_rate {
            self.clock_rate = clock_rate;
            if let Some(source) = &mut self.source {
                source.jitter = 0.0;
            }
        }
    }

    /// Counts a packet that arrived at `now` with `payload_len` octets of payload. Call it once for each packet that
    /// was accepted, before its header is rewritten.
    ///
    /// A telephone-event repeats its timestamp (RFC 4733 §2.5.1.2) and would spoil the jitter: for such packets, count
    /// with [`ReceiverStats::on_event_packet`].
    pub fn on_packet(&mut self, now: Instant, header: &Header, payload_len: usize) -> Arrival {
        let arrival = self.count(now, header, payload_len);
        if matches!(arrival, Arrival::InOrder | Arrival::Late) {
            self.update_jitter(now, header.timestamp);
        } else if let Some(source) = &mut self.source {
            source.last_arrival = now;
            source.last_timestamp = header.timestamp;
        }
        arrival
    }

    /// As [`ReceiverStats::on_packet`], without jitter.
    pub fn on_event_packet(&mut self, now: Instant, header: &Header, payload_len: usize) -> Arrival {
        self.count(now, header, payload_len)
    }

    fn count(&mut self, now: Instant, header: &Header, payload_len: usize) -> Arrival {
        self.packets += 1;
        self.octets += payload_len as u64;
        match &mut self.source {
            Some(source) if source.ssrc == header.ssrc => source.update(header.sequence_number),
            other => {
                let before = other.replace(Source::new(header, now));
                self.lost_before += before.map_or(0, |source| source.lost().max(0).cast_unsigned());
                Arrival::First
            }
        }
    }

    /// RFC 3550 A.8, in floating point: the wrapping difference of timestamps against that of arrivals.
    fn update_jitter(&mut self, now: Instant, timestamp: u32) {
        let Some(source) = &mut self.source else { return };
        if self.clock_rate == 0 {
            return;
        }
        let elapsed = now.saturating_duration_since(source.last_arrival).as_secs_f64();
        let sent = f64::from(timestamp.wrapping_sub(source.last_timestamp).cast_signed());
        let difference = (elapsed * f64::from(self.clock_rate) - sent).abs();
        source.last_arrival = now;
        source.last_timestamp = timestamp;
        // More than ten seconds is a new timestamp base (a switched branch), not jitter.
        if difference < f64::from(self.clock_rate) * 10.0 {
            source.jitter += (difference - source.jitter) / 16.0;
            self.max_jitter = self.max_jitter.max(source.jitter);
        }
    }

    /// The report of the current source, if any; the fraction lost counts from the last call of this method.
    pub fn report(&mut self) -> Option<Reception> {
        let source = self.source.as_mut()?;
        let expected = source.expected();
        let expected_interval = expected - source.expected_prior;
        let received_interval = source.received - source.received_prior;
        source.expected_prior = expected;
        source.received_prior = source.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval * 256).checked_div(expected_interval).unwrap_or(0);
        Some(Reception {
            ssrc: source.ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: source.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: source.highest as u32,
            jitter: source.jitter as u32,
        })
    }

    /// The SSRC that was received last.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    /// Packets received from all sources, duplicates included.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Octets of payload received from all sources.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Packets lost from all sources.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let current = self.source.as_ref().map_or(0, Source::lost);
        self.lost_before + current.max(0).cast_unsigned()
    }

    /// The interarrival jitter of the current source.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        self.to_duration(self.source.as_ref().map_or(0.0, |source| source.jitter))
    }

    /// The highest jitter there was.
    #[must_use]
    pub fn max_jitter(&self) -> Duration {
        self.to_duration(self.max_jitter)
    }

    fn to_duration(&self, units: f64) -> Duration {
        if self.clock_rate == 0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(units / f64::from(self.clock_rate))
    }
}

impl Source {
    fn new(header: &Header, now: Instant) -> Self {
        // One cycle below the first, so that a packet from before it still has an extended number.
        let first = u64::from(header.sequence_number);
        Self {
            ssrc: header.ssrc,
            base: first,
            highest: first,
            bad_next: None,
            received: 1,
            expected_prior: 0,
            received_prior: 0,
            last_arrival: now,
            last_timestamp: header.timestamp,
            jitter: 0.0,
        }
    }

    fn update(&mut self, sequence_number: u16) -> Arrival {
        let ahead = distance(sequence_number, self.highest as u16);
        let arrival = if (1..MAX_DROPOUT).contains(&ahead) {
            self.highest += u64::from(ahead.cast_unsigned());
            Arrival::InOrder
        } else if (-MAX_MISORDER..=0).contains(&ahead) {
            Arrival::Late
        } else if self.bad_next == Some(sequence_number) {
            self.restart(sequence_number);
            Arrival::Restart
        } else {
            self.bad_next = Some(sequence_number.wrapping_add(1));
            return Arrival::Jump;
        };
        self.bad_next = None;
        self.received += 1;
        arrival
    }

    /// Goes on from a new place: what was lost so far stays lost, the gap itself does not count (RFC 3550 A.1).
    fn restart(&mut self, sequence_number: u16) {
        let expected = self.expected();
        let ahead = u64::from(sequence_number.wrapping_sub(self.highest as u16));
        self.highest += ahead;
        // The packet that announced the jump was not counted as received, so it is not expected either.
        self.base = (self.highest + 1).saturating_sub(expected + 1);
    }

    fn expected(&self) -> u64 {
        self.highest + 1 - self.base
    }

    fn lost(&self) -> i64 {
        self.expected().cast_signed() - self.received.cast_signed()
    }
}

/// What this host sends with one SSRC, for its sender reports (RFC 3550 §6.4.1).
#[derive(Debug, Clone)]
pub struct SenderStats {
    clock_rate: u32,
    packets: u64,
    octets: u64,
    last: Option<(Instant, u32)>,
    reference: Option<(Instant, u32)>,
}

impl SenderStats {
    /// Nothing sent yet; `clock_rate` in Hz is that of the codec's timestamps.
    #[must_use]
    pub const fn new(clock_rate: u32) -> Self {
        Self { clock_rate, packets: 0, octets: 0, last: None, reference: None }
    }

    /// Changes the clock rate, as a re-offer with another codec does.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if self.clock_rate != clock_rate {
            self.clock_rate = clock_rate;
            self.reference = None;
        }
    }

    /// Counts a packet that is sent at `now` with `timestamp` and `payload_len` octets of payload.
    pub fn on_packet(&mut self, now: Instant, timestamp: u32, payload_len: usize) {
        self.packets += 1;
        self.octets += payload_len as u64;
        self.last = Some((now, timestamp));
    }

    /// Says that the media captured at `at` has `timestamp`, as a relayed sender report told. It makes the clocks of
    /// a peer's audio and video run together at the far side; without it the time of the last packet is taken.
    pub fn set_reference(&mut self, at: Instant, timestamp: u32) {
        self.reference = Some((at, timestamp));
    }

    /// The timestamp that media captured at `now` would have; `None` before the first packet.
    #[must_use]
    pub fn timestamp_at(&self, now: Instant) -> Option<u32> {
        let (at, timestamp) = self.reference.or(self.last)?;
        let units =
            |duration: Duration| (duration.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000) as u32;
        Some(match now.checked_duration_since(at) {
            Some(later) => timestamp.wrapping_add(units(later)),
            None => timestamp.wrapping_sub(units(at.saturating_duration_since(now))),
        })
    }

    /// Packets sent.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Octets of payload sent.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// When the last packet was sent: who sent within two report intervals makes an SR, others an RR (§6.4).
    #[must_use]
    pub fn last_sent(&self) -> Option<Instant> {
        self.last.map(|(at, _)| at)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    /// Feeds sequence numbers 20 ms and 160 units apart.
    fn feed(stats: &mut ReceiverStats, start: Instant, sequence: &[u16]) -> Vec<Arrival> {
        let first = sequence[0];
        sequence
            .iter()
            .map(|n| {
                let step = u32::from(n.wrapping_sub(first));
                let header = Header::new(0, *n, step.wrapping_mul(160), 7);
                stats.on_packet(start + TICK * (step & 0xfff), &header, 160)
            })
            .collect()
    }

    #[test]
    fn counts_across_the_wrap() {
        let mut stats = ReceiverStats::new(8000);
        feed(&mut stats, Instant::now(), &[0xfffe, 0xffff, 0, 1, 3]);
        let report = stats.report().unwrap();
        assert_eq!((report.ssrc, report.highest_sequence), (7, 0x1_0003));
        assert_eq!((report.cumulative_lost, report.fraction_lost), (1, 256u32.div_euclid(6) as u8));
        assert_eq!((stats.packets(), stats.octets(), stats.lost()), (5, 800, 1));
        assert_eq!(report.jitter, 0);
    }

    #[test]
    fn fraction_lost_is_of_the_interval() {
        let mut stats = ReceiverStats::new(8000);
        let start = Instant::now();
        feed(&mut stats, start, &[1, 2, 4]);
        assert_eq!(stats.report().unwrap().fraction_lost, 64);
        feed(&mut stats, start, &[5, 6, 7, 8]);
        let report = stats.report().unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 1));
        assert_eq!(stats.report().unwrap().fraction_lost, 0, "nothing came since");
    }

    #[test]
    fn duplicates_make_loss_negative_but_not_the_fraction() {
        let mut stats = ReceiverStats::new(8000);
        let arrivals = feed(&mut stats, Instant::now(), &[10, 11, 11, 11]);
        assert_eq!(arrivals, [Arrival::First, Arrival::InOrder, Arrival::Late, Arrival::Late]);
        let report = stats.report().unwrap();
        assert_eq!((report.cumulative_lost, report.fraction_lost), (-2, 0));
        assert_eq!(stats.lost(), 0);
    }

    #[test]
    fn one_stray_packet_changes_nothing_and_two_in_sequence_restart() {
        let mut stats = ReceiverStats::new(8000);
        let arrivals = feed(&mut stats, Instant::now(), &[1, 2, 30_000, 3, 20_000, 20_001, 20_002]);
        assert_eq!(arrivals[2..4], [Arrival::Jump, Arrival::InOrder]);
        assert_eq!(arrivals[4..], [Arrival::Jump, Arrival::Restart, Arrival::InOrder]);
        let report = stats.report().unwrap();
        assert_eq!((report.highest_sequence, report.cumulative_lost), (20_002, 0));
    }

    #[test]
    fn a_backward_restart_is_followed() {
        let mut stats = ReceiverStats::new(8000);
        feed(&mut stats, Instant::now(), &[40_000, 40_001, 5, 6, 7]);
        let report = stats.report().unwrap();
        assert_eq!((report.highest_sequence as u16, report.cumulative_lost), (7, 0));
    }

    #[test]
    fn a_new_ssrc_keeps_the_totals() {
        let mut stats = ReceiverStats::new(8000);
        let now = Instant::now();
        feed(&mut stats, now, &[1, 3]);
        let header = Header::new(0, 900, 0, 8);
        assert_eq!(stats.on_packet(now, &header, 10), Arrival::First);
        assert_eq!(stats.report().unwrap().cumulative_lost, 0);
        assert_eq!((stats.ssrc(), stats.packets(), stats.lost()), (Some(8), 3, 1));
    }

    /// A constant change of 10 ms between packets moves the jitter by 1/16 of the rest each time.
    #[test]
    fn jitter_is_that_of_a_8() {
        let mut stats = ReceiverStats::new(8000);
        let start = Instant::now();
        let mut expected = 0.0;
        for n in 0..50u32 {
            let late = if n % 2 == 1 { Duration::from_millis(10) } else { Duration::ZERO };
            stats.on_packet(start + TICK * n + late, &Header::new(0, n as u16, n * 160, 1), 160);
            if n > 0 {
                expected += (80.0 - expected) / 16.0;
            }
        }
        assert_eq!(stats.report().unwrap().jitter, expected as u32);
        assert!(stats.jitter() > Duration::from_millis(9) && stats.max_jitter() >= stats.jitter());
        // A new timestamp base is no jitter, and neither is an event that repeats its timestamp.
        let before = stats.jitter();
        stats.on_packet(start + TICK * 50, &Header::new(0, 50, 0x8000_0000, 1), 160);
        stats.on_event_packet(start + TICK * 60, &Header::new(101, 51, 0x8000_0000, 1), 4);
        assert_eq!(stats.jitter(), before);
    }

    #[test]
    fn every_order_of_sequence_numbers_is_survived() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        let mut stats = ReceiverStats::new(8000);
        let now = Instant::now();
        for _ in 0..100_000 {
            let random = rng.next_u64();
            let header = Header::new(0, random as u16, (random >> 16) as u32, (random >> 63) as u32);
            stats.on_packet(now, &header, 0);
            if random.is_multiple_of(97) {
                let _report = stats.report();
            }
        }
        assert_eq!(stats.packets(), 100_000);
    }

    #[test]
    fn the_sender_extrapolates_its_timestamp() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut stats = SenderStats::new(48_000);
        assert_eq!(stats.timestamp_at(start), None);
        stats.on_packet(start, u32::MAX, 100);
        assert_eq!(stats.timestamp_at(start + TICK), Some(959));
        stats.set_reference(start, 1_000_000);
        assert_eq!(stats.timestamp_at(start - TICK), Some(1_000_000 - 960));
        assert_eq!((stats.packets(), stats.octets(), stats.last_sent()), (1, 100, Some(start)));
    }
}
