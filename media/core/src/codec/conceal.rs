//! What is heard instead of lost sound, for codecs that do not conceal by themselves: the last pitch period again, fading.

/// Of what was heard, so much is kept: the longest period twice.
const HISTORY_MS: usize = 40;
/// Pitch of voices: 66 to 400 Hz.
const LONGEST_PER_SECOND: usize = 66;
const SHORTEST_PER_SECOND: usize = 400;
/// From here on it fades, to nothing here.
const FADE_FROM_MS: usize = 10;
const FADE_TO_MS: usize = 60;
/// Over so much the real sound takes over from the made one.
const JOIN_MS: usize = 4;

/// Conceals the losses of one stream.
#[derive(Debug, Clone)]
pub struct Concealer {
    /// Samples per millisecond.
    unit: usize,
    history: Vec<i16>,
    /// Samples made since the loss began; 0 while nothing is lost.
    made: usize,
    period: usize,
}

impl Concealer {
    /// For sound at `rate` Hz, a whole multiple of 1000.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let unit = (rate as usize / 1000).max(1);
        Self { unit, history: vec![0; HISTORY_MS * unit], made: 0, period: unit }
    }

    /// Takes what was received; right after a loss its beginning is blended with what was made up.
    pub fn heard(&mut self, pcm: &mut [i16]) {
        if self.made > 0 {
            let join = (JOIN_MS * self.unit).min(pcm.len());
            for (at, sample) in pcm.iter_mut().take(join).enumerate() {
                let made = i32::from(self.made_up(self.made + at));
                let (new, part) = (i32::from(*sample), at as i32);
                *sample = ((made * (join as i32 - part) + new * part) / join as i32) as i16;
            }
            self.made = 0;
        }
        let len = self.history.len();
        let newest = &pcm[pcm.len().saturating_sub(len)..];
        self.history.copy_within(newest.len().., 0);
        self.history[len - newest.len()..].copy_from_slice(newest);
    }

    /// Fills `out` with what could have been there.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.made == 0 {
            self.period = self.pitch();
        }
        for (at, sample) in out.iter_mut().enumerate() {
            *sample = self.made_up(self.made + at);
        }
        self.made = (self.made + out.len()).min(FADE_TO_MS * self.unit);
    }

    /// The sample `at` behind the beginning of the loss.
    fn made_up(&self, at: usize) -> i16 {
        let (from, to) = (FADE_FROM_MS * self.unit, FADE_TO_MS * self.unit);
        if at >= to {
            return 0;
        }
        let sample = self.history[self.history.len() - self.period + at % self.period];
        let gain = (to - at.max(from)) as i32;
        (i32::from(sample) * gain / (to - from) as i32) as i16
    }

    /// The distance at which the newest sound is most like what was before it.
    fn pitch(&self) -> usize {
        let rate = self.unit * 1000;
        let (shortest, longest) = (rate / SHORTEST_PER_SECOND, rate / LONGEST_PER_SECOND);
        let len = self.history.len();
        let newest = &self.history[len - longest..];
        let likeness = |lag: usize| {
            let older = &self.history[len - longest - lag..len - lag];
            let (mut product, mut energy) = (0i64, 1i64);
            for (a, b) in newest.iter().zip(older) {
                product += i64::from(*a) * i64::from(*b);
                energy += i64::from(*b) * i64::from(*b);
            }
            product as f64 / (energy as f64).sqrt()
        };
        let best = (shortest..=longest).map(|lag| (likeness(lag), lag));
        best.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(longest, |(_, lag)| lag).max(1)
    }
}
