//! G.722 at 64 kbit/s (ITU-T G.722 §3 to §6): 16 kHz wideband sound in one octet per two samples.
//!
//! Two quadrature mirror filters split the band; 6 bits of ADPCM carry the lower half, 2 bits the upper. The names of
//! the steps are those of the recommendation's block diagrams (figures 4 to 9).

/// Half of the symmetric 24 taps of the mirror filters (table 11).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Decision levels of the 6-bit quantizer (table 14).
const Q6: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// Values of the 4-bit, 2-bit and 6-bit inverse quantizers, by code (tables 17 to 20).
const QM4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];

/// Logarithmic scale factor multipliers of the lower band, by the magnitude of the 4-bit code (table 21), and which
/// magnitude each code has.
const WL: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
const RL4: [usize; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
/// The same of the upper band.
const WH: [i32; 2] = [-214, 798];
const RH2: [usize; 4] = [1, 0, 1, 0];

/// 2048 * 2^(n/32): from the logarithmic to the linear scale factor (table 15).
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// The adaptive predictor and quantizer scale of one sub-band; the encoder and the decoder keep the same.
#[derive(Debug, Clone)]
struct Band {
    /// Predicted signal, and the part of the zeros.
    s: i32,
    sz: i32,
    /// Reconstructed and partially reconstructed signal, the newest first.
    r: [i32; 2],
    p: [i32; 2],
    /// Coefficients of the poles and of the zeros.
    a: [i32; 2],
    b: [i32; 6],
    /// Quantized differences, the newest first.
    d: [i32; 6],
    /// Logarithmic and linear scale factor.
    nb: i32,
    det: i32,
    /// The ceiling of `nb`, and the shift that makes `det` of it.
    ceiling: i32,
    shift: i32,
}

impl Band {
    const fn new(det: i32, ceiling: i32, shift: i32) -> Self {
        Self {
            s: 0,
            sz: 0,
            r: [0; 2],
            p: [0; 2],
            a: [0; 2],
            b: [0; 6],
            d: [0; 6],
            nb: 0,
            det,
            ceiling,
            shift,
        }
    }

    const fn lower() -> Self {
        Self::new(32, 18_432, 8)
    }

    const fn upper() -> Self {
        Self::new(8, 22_528, 10)
    }

    /// LOGSC and SCALE: adapts the quantizer to the magnitude of the code.
    fn scale(&mut self, multiplier: i32) {
        self.nb = (((self.nb * 127) >> 7) + multiplier).clamp(0, self.ceiling);
        let (mantissa, shift) = (ILB[((self.nb >> 6) & 31) as usize], self.shift - (self.nb >> 11));
        self.det = (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2;
    }

    /// Takes the quantized difference `d` and predicts the next sample: PARREC, RECONS, UPPOL, UPZERO, FILTEP, FILTEZ.
    fn predict(&mut self, d: i32) {
        let reconstructed = saturate(self.s + d);
        let partial = saturate(self.sz + d);
        self.adapt_poles(partial);
        self.adapt_zeros(d);
        self.r = [reconstructed, self.r[0]];
        self.p = [partial, self.p[0]];
        self.d = [d, self.d[0], self.d[1], self.d[2], self.d[3], self.d[4]];
        let pole = |coefficient: i32, r: i32| (coefficient * saturate(2 * r)) >> 15;
        let poles = saturate(pole(self.a[0], self.r[0]) + pole(self.a[1], self.r[1]));
        let zeros = self.b.iter().zip(&self.d).rev();
        self.sz = zeros.fold(0, |sum, (b, d)| saturate(sum + ((b * saturate(2 * d)) >> 15)));
        self.s = saturate(poles + self.sz);
    }

    fn adapt_poles(&mut self, partial: i32) {
        let same = |other: i32| (partial < 0) == (other < 0);
        let slope = saturate(4 * self.a[0]);
        let slope = if same(self.p[0]) { (-slope).min(32_767) } else { slope };
        let second = (slope >> 7) + if same(self.p[1]) { 128 } else { -128 } + ((self.a[1] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let first = saturate(if same(self.p[0]) { 192 } else { -192 } + ((self.a[0] * 32_640) >> 15));
        let limit = saturate(15_360 - second);
        self.a = [first.clamp(-limit, limit), second];
    }

    fn adapt_zeros(&mut self, d: i32) {
        let step = if d == 0 { 0 } else { 128 };
        for (b, old) in self.b.iter_mut().zip(&self.d) {
            let towards = if (*old < 0) == (d < 0) { step } else { -step };
            *b = saturate(towards + ((*b * 32_640) >> 15));
        }
    }
}

/// The history of a mirror filter, twice as long as the filter so that it moves only now and then.
#[derive(Debug, Clone)]
struct Mirror {
    x: [i32; 24],
}

impl Mirror {
    /// Takes two values and gives the sums over the even and over the odd places.
    fn turn(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.x.copy_within(2.., 0);
        (self.x[22], self.x[23]) = (first, second);
        let mut sums = (0, 0);
        for (at, pair) in self.x.chunks_exact(2).enumerate() {
            sums.0 += pair[0] * QMF[at];
            sums.1 += pair[1] * QMF[11 - at];
        }
        sums
    }
}

/// Makes octets of 16 kHz samples.
#[derive(Debug, Clone)]
pub struct Encoder {
    mirror: Mirror,
    lower: Band,
    upper: Band,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { mirror: Mirror { x: [0; 24] }, lower: Band::lower(), upper: Band::upper() }
    }
}

impl Encoder {
    /// The octet of two samples.
    pub fn encode(&mut self, first: i16, second: i16) -> u8 {
        let (odd, even) = self.mirror.turn(first.into(), second.into());
        let (low, high) = ((even + odd) >> 14, (even - odd) >> 14);
        self.encode_upper(high) << 6 | self.encode_lower(low)
    }

    fn encode_lower(&mut self, sample: i32) -> u8 {
        let band = &mut self.lower;
        let difference = saturate(sample - band.s);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        let level =
            Q6.iter().position(|level| magnitude < (level * band.det) >> 12).unwrap_or(Q6.len()) as u8;
        // Table 16: the codes count down from the middle; the two outermost negative levels share none of the others.
        let code = match (difference < 0, level) {
            (true, 0..=1) => 63 - level,
            (true, level) => 33 - level,
            (false, level) => 61 - level,
        };
        let quarter = usize::from(code >> 2);
        let d = (band.det * QM4[quarter]) >> 15;
        band.scale(WL[RL4[quarter]]);
        band.predict(d);
        code
    }

    fn encode_upper(&mut self, sample: i32) -> u8 {
        let band = &mut self.upper;
        let difference = saturate(sample - band.s);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        let far = magnitude >= (564 * band.det) >> 12;
        let code = match (difference < 0, far) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        let d = (band.det * QM2[code]) >> 15;
        band.scale(WH[RH2[code]]);
        band.predict(d);
        code as u8
    }
}

/// Makes 16 kHz samples of octets.
#[derive(Debug, Clone)]
pub struct Decoder {
    mirror: Mirror,
    lower: Band,
    upper: Band,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { mirror: Mirror { x: [0; 24] }, lower: Band::lower(), upper: Band::upper() }
    }
}

impl Decoder {
    /// The two samples of an octet.
    pub fn decode(&mut self, octet: u8) -> [i16; 2] {
        let low = self.decode_lower(usize::from(octet & 63));
        let high = self.decode_upper(usize::from(octet >> 6));
        let (first, second) = self.mirror.turn(low + high, low - high);
        [second, first].map(|sum| saturate(sum >> 11) as i16)
    }

    fn decode_lower(&mut self, code: usize) -> i32 {
        let band = &mut self.lower;
        let sample = (band.s + ((band.det * QM6[code]) >> 15)).clamp(-16_384, 16_383);
        let quarter = code >> 2;
        let d = (band.det * QM4[quarter]) >> 15;
        band.scale(WL[RL4[quarter]]);
        band.predict(d);
        sample
    }

    fn decode_upper(&mut self, code: usize) -> i32 {
        let band = &mut self.upper;
        let d = (band.det * QM2[code]) >> 15;
        let sample = (band.s + d).clamp(-16_384, 16_383);
        band.scale(WH[RH2[code]]);
        band.predict(d);
        sample
    }
}
