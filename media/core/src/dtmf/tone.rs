//! The two tones of a key (ITU-T Q.23), for ends without telephone-event.

use super::digit_of;

pub(super) const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
pub(super) const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
pub(super) const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];

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
        let amplitude = f64::from(i16::MAX) * 10f64.powf(f64::from(volume) / -20.0) / 2.0;
        Some(Self { frequencies, amplitude })
    }

    /// The sample `at` at `rate` Hz, on the 14 bits that G.711 has.
    #[must_use]
    pub fn sample(&self, at: u32, rate: u32) -> i16 {
        let turn = 2.0 * std::f64::consts::PI * f64::from(at) / f64::from(rate);
        let sum: f64 = self.frequencies.iter().map(|frequency| (turn * frequency).sin()).sum();
        ((self.amplitude * sum) as i32 & !3) as i16
    }
}
