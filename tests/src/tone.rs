//! Sine tones as WAV files, and the ear that knows them again: audio is proved by content, not by counting packets.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::voice::voice;

/// What [`hear`] made of a piece of audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// The strongest frequency, in Hz.
    pub frequency: f64,
    /// Its share of the whole power: near 1 for a clean tone, near 0 for noise.
    pub purity: f64,
    /// Root mean square, full scale being 1.
    pub level: f64,
}

impl Heard {
    /// Whether this is the tone of `frequency` Hz: right pitch within 2 %, clearly there, and little beside it.
    #[must_use]
    pub fn is(&self, frequency: f64) -> bool {
        self.level > AUDIBLE && self.purity > 0.6 && (self.frequency - frequency).abs() <= frequency * 0.02
    }

    /// Whether nothing can be heard.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        self.level < AUDIBLE
    }
}

/// Root mean square below which audio counts as silence: about -46 dB, above the noise floor of G.711.
const AUDIBLE: f64 = 0.005;

/// What a microphone or a file says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sound {
    /// A tone of so many Hz at half of full scale.
    Tone(f64),
    /// [`voice`].
    Voice,
}

impl From<f64> for Sound {
    fn from(frequency: f64) -> Self {
        Self::Tone(frequency)
    }
}

/// Writes `seconds` of a sound as 16-bit mono WAV.
pub fn write_wav(path: &Path, sound: impl Into<Sound>, rate: u32, seconds: u32) -> Result<()> {
    let samples = rate * seconds;
    let mut bytes = Vec::with_capacity(44 + samples as usize * 2);
    let data = samples * 2;
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + data).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend_from_slice(&rate.to_le_bytes());
    bytes.extend_from_slice(&(rate * 2).to_le_bytes());
    bytes.extend_from_slice(b"\x02\0\x10\0data");
    bytes.extend_from_slice(&data.to_le_bytes());
    let mut say = |sample: i16| bytes.extend_from_slice(&sample.to_le_bytes());
    match sound.into() {
        Sound::Tone(frequency) => tone(frequency, rate, samples as usize).for_each(&mut say),
        Sound::Voice => voice(rate, samples as usize).for_each(&mut say),
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// `count` samples of a tone at half of full scale.
pub fn tone(frequency: f64, rate: u32, count: usize) -> impl Iterator<Item = i16> {
    (0..count).map(move |n| ((TAU * frequency * n as f64 / f64::from(rate)).sin() * 16_383.0) as i16)
}

/// The samples of a 16-bit mono WAV file from byte `from` on, and the length of the file. The sizes in its header are not
/// believed: a phone that still records has not written them yet.
pub fn read_wav(path: &Path, from: usize) -> Result<(Vec<i16>, usize)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(bytes.len() < 12 || &bytes[8..12] == b"WAVE", "{} is no WAV file", path.display());
    let start = from.max(WAV_HEADER).min(bytes.len()) & !1;
    let samples = bytes[start..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    Ok((samples, bytes.len()))
}

/// Samples per second of a WAV file; those of telephony while it has no header yet.
pub fn rate_of(path: &Path) -> Result<u32> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let rate = bytes.get(24..28).and_then(|rate| rate.try_into().ok()).map(u32::from_le_bytes);
    Ok(rate.filter(|rate| *rate > 0).unwrap_or(8000))
}

const WAV_HEADER: usize = 44;

/// Finds the strongest frequency between 100 and 3800 Hz in `samples` taken at `rate` Hz.
#[must_use]
pub fn hear(samples: &[i16], rate: u32) -> Heard {
    let samples: Vec<f64> = samples.iter().map(|s| f64::from(*s) / 32_768.0).collect();
    let length = samples.len().max(1) as f64;
    let mean = samples.iter().sum::<f64>() / length;
    let power = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / length;
    // A window keeps a tone between two steps of the search from spilling over all others.
    let windowed: Vec<f64> = samples
        .iter()
        .enumerate()
        .map(|(n, s)| (s - mean) * (0.5 - 0.5 * (TAU * n as f64 / length).cos()))
        .collect();
    let strength = |frequency: f64| goertzel(&windowed, frequency / f64::from(rate));
    // The main lobe of the window is four bins wide, so half a bin never misses a tone.
    let step = (f64::from(rate) / length / 2.0).clamp(0.5, 20.0);
    let best = strongest(&strength, 100.0, 3800.0, step);
    let frequency = strongest(&strength, best - step, best + step, step / 20.0);
    // A sine of amplitude A has power A²/2; the Hann window's mean is 1/2.
    let amplitude = strength(frequency).sqrt() / length * 4.0;
    let purity = if power > 0.0 { (amplitude * amplitude / 2.0 / power).min(1.0) } else { 0.0 };
    Heard { frequency, purity, level: power.sqrt() }
}

fn strongest(strength: &impl Fn(f64) -> f64, low: f64, high: f64, step: f64) -> f64 {
    let count = ((high - low) / step) as usize;
    (0..=count)
        .map(|n| low + n as f64 * step)
        .map(|frequency| (strength(frequency), frequency))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(low, |(_, frequency)| frequency)
}

/// Squared magnitude of one term of the Fourier sum, at `turns` per sample.
pub(crate) fn goertzel(samples: &[f64], turns: f64) -> f64 {
    let coefficient = 2.0 * (TAU * turns).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let next = sample + coefficient * last - before;
        before = last;
        last = next;
    }
    last * last + before * before - coefficient * last * before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_heard_at_its_pitch() {
        for (frequency, rate) in [(300.0, 8000), (440.0, 8000), (997.0, 48_000), (3000.0, 16_000)] {
            let samples: Vec<i16> = tone(frequency, rate, 4000).collect();
            let heard = hear(&samples, rate);
            assert!(heard.is(frequency), "{frequency}: {heard:?}");
            assert!(!heard.is(frequency * 1.05), "{frequency}: {heard:?}");
        }
    }

    #[test]
    fn silence_and_noise_are_no_tone() {
        assert!(hear(&[0; 4000], 8000).is_silence());
        assert!(hear(&[], 8000).is_silence());
        let mut state = 1u32;
        let noise: Vec<i16> = (0..4000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 18) as i16
            })
            .collect();
        let heard = hear(&noise, 8000);
        assert!(heard.purity < 0.2 && !heard.is_silence(), "{heard:?}");
    }

    #[test]
    fn a_wav_file_is_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_wav(file.path(), 440.0, 8000, 1).unwrap();
        let (samples, length) = read_wav(file.path(), 0).unwrap();
        assert_eq!((samples.len(), length), (8000, 16_044));
        assert!(hear(&samples, 8000).is(440.0));
        assert_eq!(read_wav(file.path(), 16_000).unwrap().0.len(), 22);
    }
}
