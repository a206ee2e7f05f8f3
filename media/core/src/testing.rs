//! What the tests of several modules share.

use std::time::Instant;

/// Where virtual time begins. Only differences to it mean anything.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made otherwise; nothing waits for it to pass"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// A sine of `hertz` at `rate` samples per second, `amplitude` of 32768.
pub(crate) fn tone(hertz: f64, rate: u32, amplitude: f64, samples: usize) -> Vec<i16> {
    let turn = std::f64::consts::TAU * hertz / f64::from(rate);
    (0..samples).map(|at| (amplitude * (turn * at as f64).sin()) as i16).collect()
}

/// Something like a voice: harmonics of a gliding pitch under two formants, in syllables.
pub(crate) fn voice(rate: u32, samples: usize) -> Vec<i16> {
    let mut phase = 0.0f64;
    let wave = (0..samples).map(|at| {
        let time = at as f64 / f64::from(rate);
        let pitch = 120.0 + 25.0 * (std::f64::consts::TAU * 0.7 * time).sin();
        phase += std::f64::consts::TAU * pitch / f64::from(rate);
        let formants = (1..26).map(|harmonic| {
            let hertz = pitch * f64::from(harmonic);
            let near = |formant: f64, width: f64| (-((hertz - formant) / width).powi(2)).exp();
            (near(500.0, 250.0) + 0.5 * near(1500.0, 300.0) + 0.05) * (phase * f64::from(harmonic)).sin()
        });
        let syllable = (0.5 - 0.5 * (std::f64::consts::TAU * 4.0 * time).cos()).powf(0.7);
        3500.0 * syllable * formants.sum::<f64>()
    });
    wave.map(|sample| sample.clamp(-32_000.0, 32_000.0) as i16).collect()
}

/// How far a sine of `hertz` stands above everything else in `pcm`, dB.
pub(crate) fn tone_above_rest(pcm: &[i16], hertz: f64, rate: u32) -> f64 {
    let turn = std::f64::consts::TAU * hertz / f64::from(rate);
    let (mut ss, mut sc, mut cc, mut xs, mut xc, mut xx) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (at, sample) in pcm.iter().enumerate() {
        let ((s, c), x) = ((turn * at as f64).sin_cos(), f64::from(*sample));
        (ss, sc, cc) = (ss + s * s, sc + s * c, cc + c * c);
        (xs, xc, xx) = (xs + x * s, xc + x * c, xx + x * x);
    }
    // Least squares of a·sin + b·cos.
    let det = ss * cc - sc * sc;
    let (a, b) = ((xs * cc - xc * sc) / det, (xc * ss - xs * sc) / det);
    let signal = a * xs + b * xc;
    10.0 * (signal / (xx - signal).max(1e-9)).log10()
}

/// How far `original` stands above what differs from it in `heard`, dB, at the delay (up to `most` samples) and the gain
/// that fit best; the delay too.
pub(crate) fn likeness(original: &[i16], heard: &[i16], most: usize) -> (f64, usize) {
    let len = original.len().min(heard.len()).saturating_sub(most);
    let at_delay = |delay: usize| {
        let (mut xy, mut xx, mut yy) = (0.0, 1e-9, 1e-9);
        for (x, y) in original[..len].iter().zip(&heard[delay..delay + len]) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
        }
        let explained = xy * xy / xx;
        (10.0 * (explained / (yy - explained).max(1e-9)).log10(), delay)
    };
    (0..most).map(at_delay).max_by(|a, b| a.0.total_cmp(&b.0)).expect("some delay")
}
