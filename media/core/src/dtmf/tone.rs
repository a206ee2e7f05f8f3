//! The two tones of a key (ITU-T Q.23), for ends without telephone-event.

use super::digit_of;
use crate::codec::wav::Clip;

pub(super) const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
pub(super) const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
pub(super) const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];

/// One decibel, as a ratio of amplitudes; rtpengine's digits, so that both relays make the same samples.
const DECIBEL: f64 = 1.122_018;

/// What a key sounds like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    frequencies: [f64; 2],
    amplitude: f64,
}

impl Tone {
    /// The key with event code `code`, its two tones together `volume` dB below full scale; `None` for what is no key.
    #[must_use]
    pub fn new(code: u8, volume: u8) -> Option<Self> {
        let key = digit_of(code)?;
        let (row, column) = KEYS.iter().enumerate().find_map(|(row, keys)| Some((row, keys.find(key)?)))?;
        let frequencies = [*ROWS.get(row)?, *COLUMNS.get(column)?];
        let amplitude = f64::from(i16::MAX) / DECIBEL.powi(volume.into()) / 2.0;
        Some(Self { frequencies, amplitude })
    }

    /// One tone of `hertz`, `volume` dB below full scale.
    #[must_use]
    pub fn single(hertz: u16, volume: u8) -> Self {
        let amplitude = f64::from(i16::MAX) / DECIBEL.powi(volume.into()) / 2.0;
        Self { frequencies: [f64::from(hertz); 2], amplitude }
    }

    /// The sample `at` at `rate` Hz.
    #[must_use]
    pub fn sample(&self, at: u32, rate: u32) -> i16 {
        let turn = 2.0 * std::f64::consts::PI * f64::from(at) / f64::from(rate);
        let sum: f64 = self.frequencies.iter().map(|frequency| (turn * frequency).sin()).sum();
        (self.amplitude * sum) as i16
    }

    /// `millis` of it and `pause` of silence behind.
    #[must_use]
    pub fn clip(&self, millis: u32, pause: u32) -> Clip {
        const RATE: u32 = 16_000;
        let samples = |millis: u32| millis * (RATE / 1000);
        let tone = (0..samples(millis)).map(|at| self.sample(at, RATE));
        Clip::new(RATE, tone.chain((0..samples(pause)).map(|_| 0)).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The strength of one frequency in samples at 8000 Hz (Goertzel).
    fn power(samples: &[i16], frequency: f64) -> f64 {
        let turn = 2.0 * std::f64::consts::PI * frequency / 8000.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (at, sample) in samples.iter().enumerate() {
            re += f64::from(*sample) * (turn * at as f64).cos();
            im += f64::from(*sample) * (turn * at as f64).sin();
        }
        re.hypot(im) * 2.0 / samples.len() as f64
    }

    #[test]
    fn each_key_has_its_two_tones_and_no_other() {
        for (code, frequencies) in [
            (1, [697.0, 1209.0]),
            (5, [770.0, 1336.0]),
            (0, [941.0, 1336.0]),
            (11, [941.0, 1477.0]),
            (14, [852.0, 1633.0]),
        ] {
            let tone = Tone::new(code, 8).unwrap();
            let samples: Vec<i16> = (0..8000).map(|at| tone.sample(at, 8000)).collect();
            let expected = 32_767.0 * 10f64.powf(-0.4) / 2.0;
            for frequency in ROWS.into_iter().chain(COLUMNS) {
                let power = power(&samples, frequency);
                match frequencies.contains(&frequency) {
                    true => {
                        assert!((power - expected).abs() < expected / 100.0, "{code} {frequency}: {power}")
                    }
                    false => assert!(power < 10.0, "{code} {frequency}: {power}"),
                }
            }
        }
        assert_eq!(Tone::new(16, 8), None);
    }

    #[test]
    fn it_never_clips() {
        let tone = Tone::new(14, 0).unwrap();
        assert!((0..8000).all(|at| tone.sample(at, 8000).unsigned_abs() < 32_767));
    }
}
