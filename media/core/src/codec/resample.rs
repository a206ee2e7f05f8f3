//! From one sample rate to another: a polyphase FIR filter, designed once, with no allocation per packet.

/// Transition from pass to stop, as a part of the lower of the two Nyquist frequencies, on either side of it. What folds
/// over stays within it, where speech has next to nothing.
const TRANSITION: f64 = 0.1;

/// Attenuation in the stop band, dB: below the noise of 16-bit samples' upper half, far below that of any voice codec.
const ATTENUATION: f64 = 80.0;

/// The longest filter of one phase; a bound for odd ratios.
const MAX_TAPS: usize = 512;

/// The most phases: those of 44100 to 48000 Hz are 160.
const MAX_PHASES: u32 = 640;

/// Resamples one stream.
#[derive(Debug, Clone)]
pub struct Resampler {
    up: usize,
    down: usize,
    /// For each of the `up` phases `taps` coefficients, for the oldest sample first.
    filter: Vec<f32>,
    taps: usize,
    /// The last `taps` samples, twice, so that they always lie in one piece.
    history: Vec<f32>,
    at: usize,
    /// Where the next output lies behind the newest input, in parts of `up`.
    phase: usize,
}

impl Resampler {
    /// From `from` Hz to `to` Hz; `None` where they are equal or their ratio is too odd.
    #[must_use]
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let common = gcd(from, to);
        if from == to || common == 0 {
            return None;
        }
        let (up, down) = (to / common, from / common);
        if up > MAX_PHASES || down > MAX_PHASES {
            return None;
        }
        // In cycles per sample of the common multiple of both rates.
        let cutoff = 0.5 / f64::from(up.max(down));
        let width = 2.0 * TRANSITION * cutoff;
        let len = ((ATTENUATION - 8.0) / (2.285 * 2.0 * std::f64::consts::PI * width)).ceil() as usize;
        let taps = len.div_ceil(up as usize).clamp(2, MAX_TAPS);
        let filter = design(up as usize, taps, cutoff);
        let (up, down) = (up as usize, down as usize);
        Some(Self { up, down, filter, taps, history: vec![0.0; 2 * taps], at: 0, phase: 0 })
    }

    /// The most samples that `input` of them become.
    #[must_use]
    pub const fn room(&self, input: usize) -> usize {
        input * self.up / self.down + 1
    }

    /// Takes `input` and hands each sample that comes of it to `give`.
    pub fn process(&mut self, input: &[i16], mut give: impl FnMut(i16)) {
        for sample in input {
            let sample = f32::from(*sample);
            self.history[self.at] = sample;
            self.history[self.at + self.taps] = sample;
            self.at = (self.at + 1) % self.taps;
            while self.phase < self.up {
                let filter = &self.filter[self.phase * self.taps..][..self.taps];
                let history = &self.history[self.at..][..self.taps];
                // Eight sums at once, so that they go side by side.
                let mut sums = [0.0f32; 8];
                for (h, f) in history.chunks(8).zip(filter.chunks(8)) {
                    for ((sum, h), f) in sums.iter_mut().zip(h).zip(f) {
                        *sum += h * f;
                    }
                }
                give(sums.iter().sum::<f32>().round().clamp(-32_768.0, 32_767.0) as i16);
                self.phase += self.down;
            }
            self.phase -= self.up;
        }
    }
}

/// A low pass under a Kaiser window, cut into phases, each of them of gain 1.
fn design(up: usize, taps: usize, cutoff: f64) -> Vec<f32> {
    let len = up * taps;
    let beta = 0.1102 * (ATTENUATION - 8.7);
    // Whole, so that the delay is; an even filter ends with a zero.
    let middle = ((len - 1) / 2).max(1) as f64;
    let prototype = |at: usize| {
        let x = at as f64 - middle;
        if x > middle {
            return 0.0;
        }
        let turn = 2.0 * std::f64::consts::PI * cutoff * x;
        let sinc = if x == 0.0 { 1.0 } else { turn.sin() / turn };
        sinc * bessel(beta * (1.0 - (x / middle).powi(2)).max(0.0).sqrt())
    };
    let mut filter = Vec::with_capacity(len);
    for phase in 0..up {
        let start = filter.len();
        // The oldest sample meets the end of the prototype.
        filter.extend((0..taps).rev().map(|tap| prototype(phase + tap * up) as f32));
        let gain: f32 = filter[start..].iter().sum();
        filter[start..].iter_mut().for_each(|tap| *tap /= gain);
    }
    filter
}

/// The modified Bessel function of order zero.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
    while term > sum * 1e-12 {
        term *= (x / (2.0 * n)).powi(2);
        sum += term;
        n += 1.0;
    }
    sum
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
