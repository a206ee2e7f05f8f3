//! Timestamps of one clock rate on the time line of another, exactly and for ever.

/// Maps the timestamps of a received stream to those of the stream it is sent as: telephone-events and transcoded audio
/// between Opus at 48000 Hz and G.711 at 8000 Hz, or a mere offset at equal rates.
///
/// The mapping is linear and never drifts: its origin moves along in steps that are whole in both rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMap {
    /// Units of either clock in one common step: 6 and 1 for 48000 and 8000 Hz.
    step_in: u32,
    step_out: u32,
    origin_in: u32,
    origin_out: u32,
}

impl ClockMap {
    /// Beyond this distance, in received units, the origin moves along.
    const FAR: i32 = 1 << 24;

    /// A map between two rates in Hz that sends `origin_in` to `origin_out`. A rate of 0 is taken as 1.
    #[must_use]
    pub const fn new(rate_in: u32, rate_out: u32, origin_in: u32, origin_out: u32) -> Self {
        let (rate_in, rate_out) =
            (if rate_in == 0 { 1 } else { rate_in }, if rate_out == 0 { 1 } else { rate_out });
        let common = greatest_common_divisor(rate_in, rate_out);
        Self { step_in: rate_in / common, step_out: rate_out / common, origin_in, origin_out }
    }

    /// The timestamp at which media of `timestamp` is sent.
    pub fn map(&mut self, timestamp: u32) -> u32 {
        let distance = timestamp.wrapping_sub(self.origin_in).cast_signed();
        if distance > Self::FAR {
            // Whole steps only, so that nothing is rounded away.
            let steps = distance.cast_unsigned() / self.step_in;
            self.origin_in = self.origin_in.wrapping_add(steps * self.step_in);
            self.origin_out = self.origin_out.wrapping_add(steps.wrapping_mul(self.step_out));
        }
        let distance = i64::from(timestamp.wrapping_sub(self.origin_in).cast_signed());
        self.origin_out.wrapping_add(self.scale_signed(distance) as u32)
    }

    /// A duration in received units as one in sent units, rounded down.
    #[must_use]
    pub const fn scale(&self, duration: u64) -> u64 {
        (duration as u128 * self.step_out as u128 / self.step_in as u128) as u64
    }

    fn scale_signed(&self, distance: i64) -> i64 {
        (distance * i64::from(self.step_out)).div_euclid(i64::from(self.step_in))
    }
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_by_the_factor_of_the_clocks() {
        let mut down = ClockMap::new(48_000, 8000, 1000, 5);
        assert_eq!(
            (down.map(1000), down.map(1960), down.map(1005), down.map(40)),
            (5, 165, 5, 5u32.wrapping_sub(160))
        );
        let mut up = ClockMap::new(8000, 48_000, 0, 0);
        assert_eq!((up.map(160), up.map(u32::MAX)), (960, 6u32.wrapping_neg()));
        let mut same = ClockMap::new(8000, 8000, 7, u32::MAX);
        assert_eq!(same.map(8), 0);
        assert_eq!((down.scale(65_535), up.scale(65_535)), (10_922, 393_210));
    }

    #[test]
    fn does_not_drift_in_a_day_of_wraps() {
        for (rate_in, rate_out) in [(48_000u32, 8000u32), (8000, 48_000), (16_000, 44_100)] {
            let mut map = ClockMap::new(rate_in, rate_out, 0xffff_0000, 77);
            for second in 0..86_400 * 3u32 {
                let timestamp = 0xffff_0000u32.wrapping_add(rate_in.wrapping_mul(second));
                let expected = 77u32.wrapping_add(rate_out.wrapping_mul(second));
                assert_eq!(map.map(timestamp), expected, "{rate_in} to {rate_out}, second {second}");
            }
        }
    }

    #[test]
    fn any_rate_and_timestamp_is_survived() {
        for (rate_in, rate_out) in [(0, 0), (1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX - 1)] {
            let mut map = ClockMap::new(rate_in, rate_out, 0, 0);
            for timestamp in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let _any = map.map(timestamp);
            }
            let _any = map.scale(u64::MAX);
        }
    }
}
