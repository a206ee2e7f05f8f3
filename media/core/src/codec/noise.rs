//! Comfort noise (RFC 3389): what is heard while the other end says nothing.

use super::{Decode, Undecodable};

/// Milliseconds of noise that a packet makes by itself; it lasts until the next one.
const PACKET_MS: u32 = 20;

/// Coefficients beyond the order of G.711's appendix II change nothing that is heard.
const MAX_ORDER: usize = 12;

/// The filter must stay stable.
const MOST: f32 = 0.98;

/// Makes noise of the level and the spectrum that a payload says.
#[derive(Debug, Clone)]
pub struct Decoder {
    rate: u32,
    /// Root mean square of what goes into the filter.
    excitation: f32,
    reflection: Vec<f32>,
    memory: [f32; MAX_ORDER + 1],
    random: u32,
}

impl Decoder {
    /// For noise at `rate` samples per second, in silence.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let reflection = Vec::with_capacity(MAX_ORDER);
        Self { rate, excitation: 0.0, reflection, memory: [0.0; MAX_ORDER + 1], random: 0x2545_f491 }
    }

    /// RFC 3389 §3: the level in dBov below 0, then reflection coefficients.
    fn set(&mut self, payload: &[u8]) -> Option<()> {
        let (level, coefficients) = payload.split_first()?;
        // 0 dBov is the loudest square wave.
        let rms = f32::from(i16::MAX) * 10f32.powf(f32::from(level & 0x7f) / -20.0);
        let known = coefficients.iter().take(MAX_ORDER);
        self.reflection.clear();
        self.reflection
            .extend(known.map(|n| (258.0 * (f32::from(*n) - 127.0) / 32_768.0).clamp(-MOST, MOST)));
        // The filter makes of white noise something louder.
        let gain: f32 = self.reflection.iter().map(|k| 1.0 - k * k).product();
        self.excitation = rms * gain.sqrt();
        Some(())
    }

    fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            let mut forward = self.white() * self.excitation;
            for (at, k) in self.reflection.iter().enumerate().rev() {
                forward -= k * self.memory[at];
                self.memory[at + 1] = self.memory[at] + k * forward;
            }
            self.memory[0] = forward;
            *sample = forward.clamp(-32_768.0, 32_767.0) as i16;
        }
    }

    /// Noise of variance 1, nearly normal: the sum of four that are even.
    fn white(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 17;
            self.random ^= self.random << 5;
            sum += (self.random >> 8) as f32 / 8_388_608.0 - 1.0;
        }
        sum * 0.866
    }
}

impl Decode for Decoder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Undecodable> {
        let samples = (self.rate * PACKET_MS / 1000) as usize;
        let out = out.get_mut(..samples).ok_or(Undecodable)?;
        self.set(payload).ok_or(Undecodable)?;
        self.fill(out);
        Ok(samples)
    }

    fn conceal(&mut self, _next: Option<&[u8]>, out: &mut [i16]) {
        self.fill(out);
    }

    fn pauses(&self, _payload: &[u8]) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(pcm: &[i16]) -> f64 {
        let power: f64 = pcm.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>() / pcm.len() as f64;
        20.0 * (power.sqrt() / 32_767.0).log10()
    }

    fn noise(payload: &[u8]) -> Vec<i16> {
        let mut decoder = Decoder::new(8000);
        let mut first = [0; 160];
        assert_eq!(decoder.decode(payload, &mut first), Ok(160));
        let mut rest = vec![0; 16_000];
        decoder.conceal(None, &mut rest);
        rest
    }

    #[test]
    fn it_has_the_level_that_was_said() {
        let spectrum = [0x23, 0x23, 0x34, 0x56, 0xd0, 0xff, 0x00];
        for dbov in [20u8, 40, 60] {
            for coefficients in 0..=spectrum.len() {
                let payload: Vec<u8> = [&[dbov][..], &spectrum[..coefficients]].concat();
                let off = level(&noise(&payload)) + f64::from(dbov);
                // Sharp spectra swing; at the lowest level rounding tells.
                assert!(off.abs() < 2.5, "{dbov} {coefficients}: {off:.1} dB");
            }
        }
        assert!(noise(&[127]).iter().all(|sample| sample.unsigned_abs() <= 1));
    }

    #[test]
    fn it_has_the_spectrum_that_was_said() {
        // The first reflection coefficient is minus the correlation of neighbours.
        for (n, expected) in [(27u8, 0.787), (227, -0.787), (127, 0.0)] {
            let pcm = noise(&[20, n]);
            let dot = |lag: usize| -> f64 {
                pcm.iter().zip(&pcm[lag..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let correlation = dot(1) / dot(0);
            assert!((correlation - expected).abs() < 0.05, "{n}: {correlation}");
        }
    }

    #[test]
    fn what_is_no_noise_is_refused() {
        let mut out = [0; 160];
        assert_eq!(Decoder::new(8000).decode(&[], &mut out), Err(Undecodable));
        assert_eq!(Decoder::new(8000).decode(&[1], &mut out[..159]), Err(Undecodable));
        assert!(Decoder::new(8000).decode(&[255; 1400], &mut out).is_ok());
    }
}
