//! How speech sounds to the far end of a stream: the mean opinion score of the E-model (ITU-T G.107), sampled while the
//! stream runs.
//!
//! Loss and jitter are those that we measure ourselves, so there is a score for every call, whether or not an end sends RTCP.
//! What only RTCP tells, the round trip, counts where it is known.

use std::time::Duration;

/// R of a connection without any impairment that a network adds (G.107 §7.7, the default values).
const R0: f64 = 93.2;
/// Delay that a path has besides its network: one packet, and the codecs.
const FIXED_DELAY: Duration = Duration::from_millis(30);
/// Entries of a progression, at most. When they are full every other one goes.
const MAX_PROGRESSION: usize = 20;
/// Sources of one line that are kept apart; those that come later push out the oldest.
const MAX_SOURCES: usize = 4;

/// What a codec adds by itself and how it bears loss (G.107 §7.5; values of ITU-T G.113 appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Equipment impairment factor at no loss, Ie.
    pub equipment: f64,
    /// Packet-loss robustness factor, Bpl.
    pub robustness: f64,
}

impl Impairment {
    /// Of the codec with this encoding name. One that G.113 does not list is taken for G.711 with concealment.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let (equipment, robustness) = match name.to_ascii_uppercase().as_str() {
            "G729" => (10.0, 19.0),
            "G723" => (15.0, 16.1),
            "GSM" => (20.0, 43.0),
            "AMR" => (5.0, 10.0),
            "ILBC" => (10.0, 34.0),
            _ => (0.0, 25.1),
        };
        Self { equipment, robustness }
    }
}

/// The conditions of one direction of a call during a few seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Share of packets that did not come, 0 to 1.
    pub loss: f64,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// From mouth to ear and back over the network, as far as it is known.
    pub round_trip: Option<Duration>,
    /// Of the codec.
    pub impairment: Impairment,
}

impl Conditions {
    /// The mean opinion score, 1 to 4.5 (G.107 annex B), with the reduced set of impairments that a network causes.
    #[must_use]
    pub fn mos(&self) -> f64 {
        // A playout buffer holds back about twice the jitter.
        let delay = self.round_trip.unwrap_or_default() / 2 + 2 * self.jitter + FIXED_DELAY;
        let millis = delay.as_secs_f64() * 1000.0;
        let delayed = 0.024 * millis + 0.11 * (millis - 177.3).max(0.0);
        let Impairment { equipment, robustness } = self.impairment;
        let loss = self.loss.clamp(0.0, 1.0) * 100.0;
        let lossy = equipment + (95.0 - equipment) * loss / (loss + robustness);
        let r = (R0 - delayed - lossy).clamp(0.0, 100.0);
        // Below 6.5 the cubic goes under 1 (G.107 annex B).
        (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Mean opinion score.
    pub mos: f64,
    /// Interarrival jitter, milliseconds.
    pub jitter: f64,
    /// Packets lost, per cent.
    pub loss: f64,
    /// To the far end and back, microseconds.
    pub round_trip: f64,
    /// To the end that sends, and back, microseconds.
    pub round_trip_leg: f64,
    /// Seconds since 1970.
    pub at: u64,
}

/// What was measured of one source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// The source.
    pub ssrc: u32,
    /// How many samples there are.
    pub samples: u32,
    /// The sums of their values.
    pub sum: Sample,
    /// The one with the lowest score.
    pub lowest: Sample,
    /// The one with the highest score.
    pub highest: Sample,
    /// Some of them in order, so many seconds apart.
    pub progression: Vec<Sample>,
    /// Seconds between two of them.
    pub interval: u64,
    /// Packets lost.
    pub lost: u64,
}

impl Progress {
    /// The mean of all samples.
    #[must_use]
    pub fn average(&self) -> Sample {
        let n = f64::from(self.samples.max(1));
        let Sample { mos, jitter, loss, round_trip, round_trip_leg, .. } = self.sum;
        Sample {
            mos: mos / n,
            jitter: jitter / n,
            loss: loss / n,
            round_trip: round_trip / n,
            round_trip_leg: round_trip_leg / n,
            at: 0,
        }
    }

    fn add(&mut self, sample: Sample, lost: u64) {
        if self.samples == 0 || sample.mos < self.lowest.mos {
            self.lowest = sample;
        }
        if self.samples == 0 || sample.mos > self.highest.mos {
            self.highest = sample;
        }
        self.samples = self.samples.saturating_add(1);
        self.sum.mos += sample.mos;
        self.sum.jitter += sample.jitter;
        self.sum.loss += sample.loss;
        self.sum.round_trip += sample.round_trip;
        self.sum.round_trip_leg += sample.round_trip_leg;
        self.lost += lost;
        if self.progression.last().is_none_or(|last| sample.at >= last.at + self.interval) {
            self.progression.push(sample);
        }
        if self.progression.len() >= MAX_PROGRESSION {
            let mut place = 0;
            self.progression.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            let span = |entries: &[Sample]| Some(entries.get(1)?.at.saturating_sub(entries.first()?.at));
            self.interval = span(&self.progression).unwrap_or(self.interval);
        }
    }
}

/// The measurements of one line, and what they are measured from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    sources: Vec<Progress>,
    last: Option<u64>,
    packets: u64,
    lost: u64,
}

impl History {
    /// What was measured, the oldest source first.
    #[must_use]
    pub fn sources(&self) -> &[Progress] {
        &self.sources
    }

    /// Measures what came since the last time: `packets` and `lost` are the totals, `at` is in seconds since 1970. `None` when
    /// nothing came, as nothing is to be told of a silence, and the second time within a second.
    pub fn measure(
        &mut self,
        ssrc: u32,
        (packets, lost): (u64, u64),
        conditions: Conditions,
        round_trip_leg: Option<Duration>,
        at: u64,
    ) -> Option<Sample> {
        let (came, missed) = (packets.saturating_sub(self.packets), lost.saturating_sub(self.lost));
        // Within a second there is too little to tell loss by.
        if came == 0 || self.last == Some(at) {
            return None;
        }
        self.last = Some(at);
        (self.packets, self.lost) = (packets, lost);
        let loss = missed as f64 / (came + missed) as f64;
        let micros = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e6);
        let sample = Sample {
            mos: Conditions { loss, ..conditions }.mos(),
            jitter: conditions.jitter.as_secs_f64() * 1000.0,
            loss: loss * 100.0,
            round_trip: micros(conditions.round_trip),
            round_trip_leg: micros(round_trip_leg),
            at,
        };
        let known = self.sources.iter().position(|source| source.ssrc == ssrc);
        let place = known.unwrap_or_else(|| {
            if self.sources.len() >= MAX_SOURCES {
                self.sources.remove(0);
            }
            self.sources.push(Progress { ssrc, ..Progress::default() });
            self.sources.len() - 1
        });
        self.sources.get_mut(place)?.add(sample, missed);
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(codec: &str, loss: f64, jitter: u64, round_trip: u64) -> Conditions {
        Conditions {
            loss,
            jitter: Duration::from_millis(jitter),
            round_trip: Some(Duration::from_millis(round_trip)),
            impairment: Impairment::of(codec),
        }
    }

    #[test]
    fn scores_are_those_of_the_e_model() {
        for (codec, loss, jitter, round_trip, mos) in [
            // R = 93.2 - 0.72: the best there is on a telephone.
            ("PCMA", 0.0, 0, 0, 4.39),
            ("opus", 0.0, 0, 0, 4.39),
            // R = 82.5: G.729 sounds like this on the best of networks.
            ("G729", 0.0, 0, 0, 4.11),
            // One in ten: R = 92.48 - 95 * 10 / 35.1.
            ("PCMU", 0.1, 0, 0, 3.37),
            // 330 ms one way: R = 93.2 - 7.92 - 16.8.
            ("PCMU", 0.0, 0, 600, 3.53),
            ("PCMU", 0.0, 50, 100, 4.30),
            ("PCMU", 1.0, 0, 0, 1.15),
            ("PCMU", 1.0, 900, 4000, 1.0),
        ] {
            let found = conditions(codec, loss, jitter, round_trip).mos();
            assert!((found - mos).abs() < 0.02, "{codec} {loss} {jitter} {round_trip}: {found}");
        }
    }

    #[test]
    fn nothing_lowers_a_score_but_what_is_worse() {
        let mut last = 5.0;
        for loss in 0..=100 {
            let mos = conditions("PCMU", f64::from(loss) / 100.0, 5, 40).mos();
            assert!((1.0..=4.5).contains(&mos) && mos <= last, "{loss}");
            last = mos;
        }
    }

    #[test]
    fn a_history_is_short_however_long_the_call() {
        let mut history = History::default();
        for n in 1..=10_000u64 {
            let lost = if n > 5000 { (n - 5000) * 10 } else { 0 };
            let sample =
                history.measure(7, (n * 90, lost), conditions("PCMU", 0.0, 2, 30), None, 1000 + n * 5);
            assert!(sample.is_some());
        }
        assert_eq!(history.measure(7, (900_000, 50_000), conditions("PCMU", 0.0, 2, 30), None, 0), None);
        let [progress] = history.sources() else { panic!("one source") };
        assert_eq!((progress.samples, progress.lost), (10_000, 50_000));
        assert!(progress.progression.len() < MAX_PROGRESSION && progress.progression.len() > 8);
        let steps = progress.progression.windows(2).map(|pair| pair[1].at - pair[0].at);
        assert!(steps.clone().all(|step| step >= progress.interval), "{:?}", steps.collect::<Vec<_>>());
        assert!(progress.highest.mos > 4.3 && progress.lowest.mos < 3.4);
        let average = progress.average();
        assert!(average.mos < progress.highest.mos && average.mos > progress.lowest.mos);
        assert!((average.loss - 5.0).abs() < 0.1 && (average.jitter - 2.0).abs() < 1e-6);
    }

    #[test]
    fn sources_are_kept_apart_and_few() {
        let mut history = History::default();
        for ssrc in 1..=9u32 {
            history.measure(
                ssrc,
                (u64::from(ssrc) * 50, 0),
                conditions("PCMU", 0.0, 0, 0),
                None,
                5 + u64::from(ssrc),
            );
        }
        let kept: Vec<u32> = history.sources().iter().map(|source| source.ssrc).collect();
        assert_eq!(kept, [6, 7, 8, 9]);
    }
}
