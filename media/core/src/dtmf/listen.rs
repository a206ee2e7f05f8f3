//! Hears keys in sound: the two tones of ITU-T Q.23, as Q.24 has receivers find them.

use super::code_of;
use super::tone::{COLUMNS, KEYS, ROWS};
use crate::codec::resample::Resampler;

/// Samples per second of what is looked at.
const RATE: u32 = 8000;

/// Samples looked at together: short enough for two of them in the shortest key, 40 ms.
const BLOCK: usize = 102;

/// So much of all that is heard must be the two tones: speech has other parts too.
const PURITY: f64 = 0.75;

/// Amplitude of the fainter tone at -36 dBm0.
const FAINTEST: f64 = 250.0;

/// How much stronger the higher tone may be than the lower one, and the other way, as ratios of power: 4 dB and 8 dB.
const TWIST: f64 = 2.6;
const REVERSE_TWIST: f64 = 6.4;

/// How much a tone stands above the others of its group, as a ratio of power.
const DISTINCT: f64 = 6.3;

/// Power of a sine of 0 dBm0, as samples squared: 3.14 dB below the loudest (ITU-T G.711).
const ZERO_DBM0: f64 = 16_140.0 * 16_140.0;

/// A key that sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sounding {
    /// Event code, 0 to 15.
    pub code: u8,
    /// Power in dBm0 below 0.
    pub volume: u8,
}

/// Looks for one frequency (Goertzel).
#[derive(Debug, Clone, Copy)]
struct Probe {
    coefficient: f64,
    one: f64,
    two: f64,
}

impl Probe {
    fn new(hertz: f64) -> Self {
        let turn = std::f64::consts::TAU * hertz / f64::from(RATE);
        Self { coefficient: 2.0 * turn.cos(), one: 0.0, two: 0.0 }
    }

    fn take(&mut self, sample: f64) {
        let next = sample + self.coefficient * self.one - self.two;
        (self.two, self.one) = (self.one, next);
    }

    /// The squared amplitude of its frequency.
    fn power(self) -> f64 {
        let Self { coefficient, one, two } = self;
        let power = one * one + two * two - coefficient * one * two;
        power * 4.0 / (BLOCK * BLOCK) as f64
    }
}

/// Hears the keys in one stream of sound.
#[derive(Debug, Clone)]
pub struct Listener {
    resampler: Option<Resampler>,
    probes: [Probe; 8],
    energy: f64,
    taken: usize,
    /// What the last block was, and what sounds: that takes two blocks, and so does its end.
    last: Option<u8>,
    sounding: Option<Sounding>,
}

impl Listener {
    /// For sound at `rate` Hz; `None` for a rate that cannot be brought to 8000 Hz.
    #[must_use]
    pub fn new(rate: u32) -> Option<Self> {
        let resampler = Resampler::new(rate, RATE);
        let frequencies: Vec<f64> = ROWS.into_iter().chain(COLUMNS).collect();
        let probes = std::array::from_fn(|at| Probe::new(frequencies[at]));
        let listener = Self { resampler, probes, energy: 0.0, taken: 0, last: None, sounding: None };
        (rate == RATE || listener.resampler.is_some()).then_some(listener)
    }

    /// The key that sounds now.
    #[must_use]
    pub const fn sounding(&self) -> Option<Sounding> {
        self.sounding
    }

    /// Takes what goes on.
    pub fn listen(&mut self, pcm: &[i16]) {
        let Some(mut resampler) = self.resampler.take() else {
            return pcm.iter().for_each(|sample| self.take(*sample));
        };
        resampler.process(pcm, |sample| self.take(sample));
        self.resampler = Some(resampler);
    }

    fn take(&mut self, sample: i16) {
        let sample = f64::from(sample);
        self.probes.iter_mut().for_each(|probe| probe.take(sample));
        self.energy += sample * sample;
        self.taken += 1;
        if self.taken == BLOCK {
            self.judge();
        }
    }

    fn judge(&mut self) {
        let powers = self.probes.map(Probe::power);
        let total = std::mem::take(&mut self.energy) / BLOCK as f64;
        self.taken = 0;
        self.probes.iter_mut().for_each(|probe| (probe.one, probe.two) = (0.0, 0.0));
        let heard = key(&powers, total);
        let current = self.sounding.map(|it| it.code);
        if heard != current && self.last != current {
            self.sounding = heard.filter(|_| heard == self.last).map(|code| {
                let below = 10.0 * (ZERO_DBM0 / total.max(1.0)).log10();
                Sounding { code, volume: below.round().clamp(0.0, 63.0) as u8 }
            });
        }
        self.last = heard;
    }
}

/// The key whose tones these are; `total` is the mean power of all that was heard.
fn key(powers: &[f64; 8], total: f64) -> Option<u8> {
    let (rows, columns) = powers.split_at(4);
    let strongest = |group: &[f64]| {
        let (at, most) = group.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let rest = group.iter().enumerate().filter(|(other, _)| *other != at);
        let alone = rest.into_iter().all(|(_, other)| other * DISTINCT <= most);
        alone.then_some((at, most))
    };
    let ((row, low), (column, high)) = (strongest(rows)?, strongest(columns)?);
    // A sine's mean power is half its amplitude squared.
    let pure = (low + high) / 2.0 > total * PURITY;
    let loud = low.min(high) > FAINTEST * FAINTEST;
    let balanced = high <= low * TWIST && low <= high * REVERSE_TWIST;
    let key = KEYS.get(row)?.chars().nth(column)?;
    code_of(key).filter(|_| pure && loud && balanced)
}

#[cfg(test)]
mod tests {
    use super::super::Tone;
    use super::*;

    fn press(code: u8, volume: u8, rate: u32, millis: u32) -> Vec<i16> {
        let tone = Tone::new(code, volume).expect("a key");
        (0..rate * millis / 1000).map(|at| tone.sample(at, rate)).collect()
    }

    /// The keys heard, each once per press.
    fn heard(rate: u32, pcm: &[i16]) -> Vec<Sounding> {
        let mut listener = Listener::new(rate).expect("a rate");
        let (mut keys, mut before) = (Vec::new(), None);
        for packet in pcm.chunks(rate as usize / 100) {
            listener.listen(packet);
            let now = listener.sounding();
            keys.extend(now.filter(|_| before.is_none()));
            before = now;
        }
        keys
    }

    #[test]
    fn every_key_is_heard_once_at_every_rate_and_level() {
        for rate in [8000, 16_000, 48_000] {
            for volume in [3, 10, 25] {
                let mut pcm = Vec::new();
                for code in 0..16 {
                    pcm.extend(press(code, volume, rate, 60));
                    pcm.extend(vec![0; rate as usize / 20]);
                }
                let keys = heard(rate, &pcm);
                let codes: Vec<u8> = keys.iter().map(|key| key.code).collect();
                assert_eq!(codes, (0..16).collect::<Vec<_>>(), "{rate} Hz, {volume} dB");
                // Two tones whose sum peaks at full scale have a power 3 dB below a sine that does, and that has 3.14 dBm0.
                assert!(keys.iter().all(|key| key.volume.abs_diff(volume) <= 1), "{keys:?}");
            }
        }
    }

    #[test]
    fn short_and_broken_tones_are_no_keys() {
        for millis in [5, 10, 15] {
            assert_eq!(heard(8000, &[press(5, 10, 8000, millis), vec![0; 4000]].concat()), []);
        }
        // A short gap does not end it.
        let pcm = [press(5, 10, 8000, 60), vec![0; 20], press(5, 10, 8000, 60), vec![0; 400]].concat();
        assert_eq!(heard(8000, &pcm).len(), 1);
    }

    #[test]
    fn speech_and_single_tones_are_no_keys() {
        assert_eq!(heard(8000, &crate::testing::voice(8000, 80_000)), []);
        for hertz in [350.0, 440.0, 697.0, 1209.0, 1633.0, 2100.0] {
            assert_eq!(heard(8000, &crate::testing::tone(hertz, 8000, 9000.0, 16_000)), [], "{hertz}");
        }
        assert_eq!(heard(8000, &vec![-32_124; 8000]), []);
        assert_eq!(heard(8000, &vec![0; 8000]), []);
    }
}
