//! Counters of a worker: a leaf.

/// Counters of one worker. All only rise; what is running now is counted elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Commands executed.
    pub commands: u64,
    /// Calls begun.
    pub calls_created: u64,
    /// Calls ended.
    pub calls_ended: u64,
    /// Of these, since no media came.
    pub timed_out: u64,
    /// Of these, since nothing came of a call on hold.
    pub silent_timed_out: u64,
    /// Of these, since nobody answered.
    pub offer_timed_out: u64,
    /// Of these, since they were as old as a call may be.
    pub final_timed_out: u64,
    /// Of these, by an operator.
    pub forced: u64,
    /// Of these, by their controller.
    pub regular: u64,
    /// Offers that would have begun a call too many.
    pub rejected: u64,
    /// How long the ended calls were, in microseconds.
    pub duration: u64,
    /// The squares of how long they were, in square milliseconds.
    pub duration_squared: u64,
    /// Halves of streams of ended calls in which neither end was heard.
    pub zero_way_halves: u64,
    /// Streams of ended calls in which only one end was heard.
    pub one_way: u64,
    /// Legs made.
    pub legs_opened: u64,
    /// Legs freed.
    pub legs_closed: u64,
    /// RTP packets received and accepted.
    pub received: u64,
    /// RTP packets sent on.
    pub forwarded: u64,
    /// Octets of these.
    pub forwarded_octets: u64,
    /// RTP packets encoded here, of those sent on.
    pub transcoded: u64,
    /// RTP packets of announcements, music and tones.
    pub played: u64,
    /// RTP packets that never came, where what they said had to be made up.
    pub concealed: u64,
    /// RTP packets that had nowhere to go yet, or could not be protected.
    pub unsendable: u64,
    /// RTCP packets received and accepted.
    pub rtcp_received: u64,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// Datagrams dropped: malformed, not authentic, from strangers.
    pub dropped: u64,
    /// Of these, those that were dropped on arrival, by what was wrong with them.
    pub faults: Faults,
    /// Recordings begun.
    pub recordings: u64,
    /// DTLS handshakes completed.
    pub dtls_connected: u64,
    /// DTLS handshakes failed.
    pub dtls_failed: u64,
    /// Measurements of how streams sound.
    pub quality: QualityStats,
    /// How the streams of answered calls have sounded, each once, when its call has ended.
    pub ended: EndedQuality,
}

/// Measurements by size: how many are no larger than each of `N` bounds, which whoever counts says each time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Histogram<const N: usize> {
    /// Those above the bound before, up to this one.
    counts: [u64; N],
    /// All, also those above the last bound.
    count: u64,
    /// Their sum.
    sum: f64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { counts: [0; N], count: 0, sum: 0.0 }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts one; `bounds` rise.
    pub fn note(&mut self, bounds: &[f64; N], value: f64) {
        if let Some(place) = bounds.iter().position(|bound| value <= *bound) {
            self.counts[place] += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    /// How many there are up to each bound, smaller ones included.
    pub fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        })
    }

    /// How many there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// What they add up to.
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    fn add(&mut self, more: &Self) {
        self.counts.iter_mut().zip(more.counts).for_each(|(sum, more)| *sum += more);
        self.count += more.count;
        self.sum += more.sum;
    }
}

/// How streams of audio have sounded from the first packet to the last.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EndedQuality {
    /// Mean opinion score, by [`EndedQuality::MOS`].
    pub mos: Histogram<9>,
    /// Interarrival jitter at the end, seconds, by [`EndedQuality::JITTER`].
    pub jitter: Histogram<9>,
    /// Share of packets that did not come, 0 to 1, by [`EndedQuality::LOSS`].
    pub loss: Histogram<9>,
}

impl EndedQuality {
    /// From what nobody understands to the best that G.107 has; below 3.6 many users complain.
    pub const MOS: [f64; 9] = [1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 4.0, 4.2, 4.4];
    /// Up to what a playout buffer of ordinary size bears, and beyond.
    pub const JITTER: [f64; 9] = [0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5];
    /// From what nobody hears to what nobody understands.
    pub const LOSS: [f64; 9] = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

    /// Counts a stream.
    pub fn note(&mut self, mos: f64, jitter: f64, loss: f64) {
        self.mos.note(&Self::MOS, mos);
        self.jitter.note(&Self::JITTER, jitter);
        self.loss.note(&Self::LOSS, loss);
    }

    fn add(&mut self, more: &Self) {
        self.mos.add(&more.mos);
        self.jitter.add(&more.jitter);
        self.loss.add(&more.loss);
    }
}

/// What was wrong with a datagram that was dropped on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No datagram of a protocol that is spoken there.
    Malformed,
    /// It came from where no end of a call is known to be.
    Stranger,
    /// Its SRTP tag, or its STUN credentials, are wrong.
    Forged,
    /// SRTP that came before, or is too old to tell (RFC 3711 §3.3.2).
    Replayed,
    /// Its end sends more than one may.
    Excessive,
}

/// How many datagrams had which [`Fault`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// [`Fault::Malformed`].
    pub malformed: u64,
    /// [`Fault::Stranger`].
    pub strangers: u64,
    /// [`Fault::Forged`].
    pub forged: u64,
    /// [`Fault::Replayed`].
    pub replayed: u64,
    /// [`Fault::Excessive`].
    pub excessive: u64,
}

impl Faults {
    /// Counts one.
    pub fn count(&mut self, fault: Fault) {
        *match fault {
            Fault::Malformed => &mut self.malformed,
            Fault::Stranger => &mut self.strangers,
            Fault::Forged => &mut self.forged,
            Fault::Replayed => &mut self.replayed,
            Fault::Excessive => &mut self.excessive,
        } += 1;
    }

    fn add(&mut self, more: &Self) {
        let Self { malformed, strangers, forged, replayed, excessive } = more;
        self.malformed += malformed;
        self.strangers += strangers;
        self.forged += forged;
        self.replayed += replayed;
        self.excessive += excessive;
    }
}

/// Sums of measurements and of their squares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QualityStats {
    /// How many there are.
    pub samples: u64,
    /// Mean opinion scores.
    pub mos: [f64; 2],
    /// Jitter, milliseconds.
    pub jitter: [f64; 2],
    /// Packets lost, per cent.
    pub loss: [f64; 2],
    /// Measurements for which the round trip was known.
    pub round_trip_samples: u64,
    /// From end to end and back, microseconds.
    pub round_trip: [f64; 2],
    /// From us to an end and back, microseconds.
    pub round_trip_leg: [f64; 2],
}

impl QualityStats {
    /// Adds one measurement: its score, jitter, loss, and round trips where they are known (0 where not).
    pub fn note(&mut self, mos: f64, jitter: f64, loss: f64, round_trip: f64, round_trip_leg: f64) {
        let add = |sums: &mut [f64; 2], value: f64| {
            sums[0] += value;
            sums[1] += value * value;
        };
        self.samples += 1;
        add(&mut self.mos, mos);
        add(&mut self.jitter, jitter);
        add(&mut self.loss, loss);
        if round_trip > 0.0 {
            self.round_trip_samples += 1;
            add(&mut self.round_trip, round_trip);
            add(&mut self.round_trip_leg, round_trip_leg);
        }
    }

    fn add(&mut self, more: &Self) {
        let add = |sums: &mut [f64; 2], more: &[f64; 2]| {
            sums[0] += more[0];
            sums[1] += more[1];
        };
        self.samples += more.samples;
        add(&mut self.mos, &more.mos);
        add(&mut self.jitter, &more.jitter);
        add(&mut self.loss, &more.loss);
        self.round_trip_samples += more.round_trip_samples;
        add(&mut self.round_trip, &more.round_trip);
        add(&mut self.round_trip_leg, &more.round_trip_leg);
    }
}

impl Stats {
    /// Adds the counters of another worker.
    pub fn add(&mut self, more: &Self) {
        // Without `..`: a counter that is not added up does not compile.
        let Self {
            commands,
            calls_created,
            calls_ended,
            timed_out,
            silent_timed_out,
            offer_timed_out,
            final_timed_out,
            forced,
            regular,
            rejected,
            duration,
            duration_squared,
            zero_way_halves,
            one_way,
            legs_opened,
            legs_closed,
            received,
            forwarded,
            forwarded_octets,
            transcoded,
            concealed,
            unsendable,
            rtcp_received,
            rtcp_sent,
            dropped,
            faults,
            dtls_connected,
            dtls_failed,
            played,
            recordings,
            quality,
            ended,
        } = more;
        self.commands += commands;
        self.calls_created += calls_created;
        self.calls_ended += calls_ended;
        self.timed_out += timed_out;
        self.silent_timed_out += silent_timed_out;
        self.offer_timed_out += offer_timed_out;
        self.final_timed_out += final_timed_out;
        self.forced += forced;
        self.regular += regular;
        self.rejected += rejected;
        self.duration += duration;
        self.duration_squared += duration_squared;
        self.zero_way_halves += zero_way_halves;
        self.one_way += one_way;
        self.legs_opened += legs_opened;
        self.legs_closed += legs_closed;
        self.received += received;
        self.forwarded += forwarded;
        self.forwarded_octets += forwarded_octets;
        self.transcoded += transcoded;
        self.concealed += concealed;
        self.unsendable += unsendable;
        self.rtcp_received += rtcp_received;
        self.rtcp_sent += rtcp_sent;
        self.dropped += dropped;
        self.faults.add(faults);
        self.dtls_connected += dtls_connected;
        self.dtls_failed += dtls_failed;
        self.played += played;
        self.recordings += recordings;
        self.quality.add(quality);
        self.ended.add(ended);
    }
}

/// What a worker tells of itself: its counters, and what is there now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers {
    /// Counters of ended and running calls.
    pub stats: Stats,
    /// Calls now.
    pub sessions: u64,
    /// Of these, both ends by IPv4, both by IPv6, one by each.
    pub by_family: [u64; 3],
    /// Lines of media now.
    pub media_streams: u64,
    /// Of these, those that are transcoded.
    pub transcoded_media: u64,
    /// Ports that could be opened now.
    pub ports_free: u64,
    /// Ports there are for media.
    pub ports_total: u64,
    /// The port opened last; 0 before the first.
    pub port_last: u16,
}

impl Numbers {
    /// Adds what another worker tells.
    pub fn add(&mut self, more: &Self) {
        self.stats.add(&more.stats);
        self.sessions += more.sessions;
        self.by_family.iter_mut().zip(more.by_family).for_each(|(sum, more)| *sum += more);
        self.media_streams += more.media_streams;
        self.transcoded_media += more.transcoded_media;
        self.ports_free += more.ports_free;
        self.ports_total += more.ports_total;
        self.port_last = self.port_last.max(more.port_last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_no_larger_than_each_bound() {
        let mut one = Histogram::default();
        [0.5, 1.0, 1.5, 9.0].iter().for_each(|value| one.note(&[1.0, 2.0], *value));
        assert_eq!(one.cumulative().collect::<Vec<_>>(), [2, 3]);
        assert_eq!((one.count(), one.sum()), (4, 12.0));
        let mut sum = one;
        sum.add(&one);
        assert_eq!((sum.cumulative().collect::<Vec<_>>(), sum.count(), sum.sum()), (vec![4, 6], 8, 24.0));
    }

    #[test]
    fn bounds_rise() {
        for bounds in [EndedQuality::MOS, EndedQuality::JITTER, EndedQuality::LOSS] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
