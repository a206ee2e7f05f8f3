//! Something like a voice, and the ear that tells how much of it is left. A tone shows that a call carries sound; a codec,
//! a resampler or a gap is heard in speech.

use std::f64::consts::TAU;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::tone::goertzel;
use crate::wait::PATIENCE;

/// Syllables: milliseconds, and the two formants of the vowel in Hz (Peterson and Barney, 1952). No two are alike, so that a
/// piece of it fits at one place alone.
const SYLLABLES: [(u32, f64, f64); 8] = [
    (300, 730.0, 1090.0),
    (180, 270.0, 2290.0),
    (240, 530.0, 1840.0),
    (320, 570.0, 840.0),
    (160, 300.0, 870.0),
    (280, 660.0, 1720.0),
    (220, 490.0, 1350.0),
    (300, 390.0, 1990.0),
];

/// All of them take so many milliseconds; then they begin anew.
const LOOP: u32 = 2000;

/// `count` samples of it at `rate` Hz.
pub fn voice(rate: u32, count: usize) -> impl Iterator<Item = i16> {
    let mut phase = 0.0;
    (0..count).map(move |at| {
        let time = at as f64 / f64::from(rate) % (f64::from(LOOP) / 1000.0);
        let (inside, first, second) = vowel(time * 1000.0);
        let pitch = 120.0 + 25.0 * (TAU * 0.5 * time).sin();
        phase = (phase + pitch / f64::from(rate)) % 1.0;
        let harmonics = (1..28).map(|number| {
            let hertz = pitch * f64::from(number);
            let near = |formant: f64, width: f64| (-((hertz - formant) / width).powi(2)).exp();
            let strength = near(first, 130.0) + 0.6 * near(second, 180.0) + 0.02;
            strength * (TAU * phase * f64::from(number)).sin()
        });
        let loudness = (0.5 - 0.5 * (TAU * inside).cos()).powf(0.7);
        (5000.0 * loudness * harmonics.sum::<f64>()).clamp(-32_000.0, 32_000.0) as i16
    })
}

/// The syllable at so many milliseconds: how much of it is over, 0 to 1, and its formants.
fn vowel(mut time: f64) -> (f64, f64, f64) {
    for (length, first, second) in SYLLABLES {
        if time < f64::from(length) {
            return (time / f64::from(length), first, second);
        }
        time -= f64::from(length);
    }
    (0.0, SYLLABLES[0].1, SYLLABLES[0].2)
}

/// Bands in which the ear listens, Hz: what a telephone carries.
const BANDS: [f64; 12] =
    [300.0, 450.0, 600.0, 750.0, 900.0, 1100.0, 1350.0, 1600.0, 1900.0, 2200.0, 2600.0, 3100.0];

/// Frames of so many milliseconds.
const FRAME: u32 = 20;

/// What is quieter than the loudest by more is silence: 40 dB.
const FLOOR: f64 = 1e-4;

type Frame = [f64; BANDS.len()];

/// How alike a piece of sound and this voice are, wherever in it the piece begins: the correlation of how loud they are over
/// time in each band, in decibels. 1 is the voice itself; something else is near 0.
#[must_use]
pub fn likeness(heard: &[i16], rate: u32) -> f64 {
    let heard = loudness(heard, rate);
    let at_step =
        |said: &Vec<Frame>| (0..said.len()).map(|from| correlation(&heard, said, from)).fold(0.0, f64::max);
    said().iter().map(at_step).fold(0.0, f64::max)
}

/// One loop of the voice; a piece may begin anywhere in a frame, so once for every 2 ms of that.
fn said() -> &'static [Vec<Frame>] {
    static SAID: OnceLock<Vec<Vec<Frame>>> = OnceLock::new();
    SAID.get_or_init(|| {
        let samples: Vec<i16> = voice(8000, 2 * 8 * LOOP as usize).collect();
        let steps = (0..FRAME as usize).step_by(2).map(|milliseconds| 8 * milliseconds);
        steps.map(|from| loudness(&samples[from..from + 8 * LOOP as usize], 8000)).collect()
    })
}

/// By frame and band, in decibels.
fn loudness(samples: &[i16], rate: u32) -> Vec<Frame> {
    let frames = samples.chunks_exact((rate * FRAME / 1000) as usize).map(|frame| {
        let frame: Vec<f64> = frame.iter().map(|sample| f64::from(*sample)).collect();
        BANDS.map(|hertz| goertzel(&frame, hertz / f64::from(rate)))
    });
    let frames: Vec<Frame> = frames.collect();
    let loudest = frames.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    frames.into_iter().map(|frame| frame.map(|power| 10.0 * power.max(loudest * FLOOR).log10())).collect()
}

/// Pearson's, of all that was heard with what is said from a frame on; each band about its own mean, so that a filter on the way
/// does not count.
fn correlation(heard: &[Frame], said: &[Frame], from: usize) -> f64 {
    if heard.len() < 10 {
        return 0.0;
    }
    let said = || said.iter().cycle().skip(from).take(heard.len());
    let count = heard.len() as f64;
    let (mut xy, mut xx, mut yy) = (0.0, f64::MIN_POSITIVE, f64::MIN_POSITIVE);
    for band in 0..BANDS.len() {
        let mean_x = heard.iter().map(|frame| frame[band]).sum::<f64>() / count;
        let mean_y = said().map(|frame| frame[band]).sum::<f64>() / count;
        for (x, y) in heard.iter().zip(said()) {
            let (x, y) = (x[band] - mean_x, y[band] - mean_y);
            (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
        }
    }
    xy / (xx * yy).sqrt()
}

/// A piece that is long enough to be known.
pub(crate) const PIECE: Duration = Duration::from_millis(1200);

/// Waits until a piece that `capture` brings is this voice, by `least`.
pub(crate) async fn heard(
    what: &str,
    least: f64,
    capture: impl AsyncFn() -> Result<(Vec<i16>, u32)>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut best = 0.0;
    while Instant::now() < deadline {
        let (samples, rate) = capture().await?;
        best = likeness(&samples, rate).max(best);
        if best >= least {
            return Ok(());
        }
    }
    bail!("no {what}: {best:.2} of it where {least:.2} was wanted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::{from_ulaw, to_ulaw};
    use crate::tone::tone;

    #[test]
    fn a_voice_is_known_wherever_it_begins_and_whatever_its_rate() {
        for (rate, from) in [(8000, 0), (8000, 3217), (16_000, 20_001), (48_000, 70_000)] {
            let heard: Vec<i16> = voice(rate, from + 2 * rate as usize).skip(from).collect();
            let alike = likeness(&heard, rate);
            assert!(alike > 0.95, "{rate} {from}: {alike}");
        }
        let coded: Vec<i16> = voice(8000, 12_000).map(|sample| from_ulaw(to_ulaw(sample / 4))).collect();
        let alike = likeness(&coded, 8000);
        assert!(alike > 0.93, "{alike}");
    }

    #[test]
    fn what_is_no_voice_or_is_broken_is_not_taken_for_it() {
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 18) as i16
        });
        for (what, heard) in [
            ("a tone", tone(440.0, 8000, 16_000).collect::<Vec<_>>()),
            ("noise", noise.take(16_000).collect()),
            ("silence", vec![0; 16_000]),
            ("nothing", Vec::new()),
            ("faster", voice(8000, 20_000).step_by(5).chain(voice(8000, 20_000).step_by(4)).collect()),
            // Half of it is missing, as with every second packet of 60 ms lost.
            (
                "torn",
                voice(8000, 16_000)
                    .enumerate()
                    .map(|(at, it)| if at / 480 % 2 == 0 { it } else { 0 })
                    .collect(),
            ),
        ] {
            let alike = likeness(&heard, 8000);
            assert!(alike < 0.7, "{what}: {alike}");
        }
    }
}
