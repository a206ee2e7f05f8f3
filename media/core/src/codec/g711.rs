//! G.711 (ITU-T G.711): µ-law and A-law to linear samples and back, and from the one law to the other in place.

/// 14-bit linear sample of a µ-law octet.
const fn ulaw_to_linear(octet: u8) -> i32 {
    let octet = !octet;
    let exponent = (octet >> 4) & 7;
    let magnitude = ((((octet & 15) as i32) << 1) + 33) << exponent;
    let sample = magnitude - 33;
    if octet & 0x80 != 0 { -sample } else { sample }
}

/// 13-bit linear sample of an A-law octet.
const fn alaw_to_linear(octet: u8) -> i32 {
    let octet = octet ^ 0x55;
    let exponent = (octet >> 4) & 7;
    let mantissa = (octet & 15) as i32;
    let magnitude = match exponent {
        0 => (mantissa << 1) + 1,
        exponent => ((mantissa << 1) + 33) << (exponent - 1),
    };
    if octet & 0x80 != 0 { magnitude } else { -magnitude }
}

const fn expanded(alaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut at = 0usize;
    while at < 256 {
        table[at] = if alaw { alaw_to_linear(at as u8) * 8 } else { ulaw_to_linear(at as u8) * 4 } as i16;
        at += 1;
    }
    table
}

static ULAW: [i16; 256] = expanded(false);
static ALAW: [i16; 256] = expanded(true);

/// For each 14-bit sample, the most negative first, the octet whose own sample is nearest; of two the one further from zero.
const fn compressed(alaw: bool) -> [u8; 16_384] {
    let mut table = [0; 16_384];
    let mut code = 0u8;
    let mut magnitude = 0;
    while magnitude <= 8192 {
        // The codes of either sign rise with the magnitude.
        while code < 127 && 8 * magnitude >= size(code, alaw) + size(code + 1, alaw) {
            code += 1;
        }
        table[8192 - magnitude as usize] = octet(code, alaw) & 0x7f;
        if magnitude < 8192 {
            table[8192 + magnitude as usize] = octet(code, alaw);
        }
        magnitude += 1;
    }
    table[8192] = octet(0, alaw);
    table
}

/// The octet of a code for a positive sample.
const fn octet(code: u8, alaw: bool) -> u8 {
    if alaw { (code | 0x80) ^ 0x55 } else { !code }
}

/// The 16-bit sample of a code.
const fn size(code: u8, alaw: bool) -> i32 {
    let octet = octet(code, alaw);
    if alaw { alaw_to_linear(octet) * 8 } else { ulaw_to_linear(octet) * 4 }
}

static TO_ULAW: [u8; 16_384] = compressed(false);
static TO_ALAW: [u8; 16_384] = compressed(true);

/// For each octet of the one law that of the other, as over samples.
const fn converted(to_alaw: bool) -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = if to_alaw { TO_ALAW[place(ULAW[at])] } else { TO_ULAW[place(ALAW[at])] };
        at += 1;
    }
    table
}

static ULAW_TO_ALAW: [u8; 256] = converted(true);
static ALAW_TO_ULAW: [u8; 256] = converted(false);

/// The place of a sample in the tables: G.711 knows 14 bits.
const fn place(sample: i16) -> usize {
    ((sample as u16 ^ 0x8000) >> 2) as usize
}

/// The 16-bit sample of a PCMU octet.
#[must_use]
pub fn decode_ulaw(octet: u8) -> i16 {
    ULAW[usize::from(octet)]
}

/// The 16-bit sample of a PCMA octet.
#[must_use]
pub fn decode_alaw(octet: u8) -> i16 {
    ALAW[usize::from(octet)]
}

/// The PCMU octet of a 16-bit sample: the nearest of its steps on the 14 bits that count.
#[must_use]
pub fn encode_ulaw(sample: i16) -> u8 {
    TO_ULAW[place(sample)]
}

/// The PCMA octet of a 16-bit sample: the nearest of its steps on the 14 bits that count.
#[must_use]
pub fn encode_alaw(sample: i16) -> u8 {
    TO_ALAW[place(sample)]
}

/// Turns PCMU into PCMA.
pub fn ulaw_to_alaw(payload: &mut [u8]) {
    payload.iter_mut().for_each(|octet| *octet = ULAW_TO_ALAW[usize::from(*octet)]);
}

/// Turns PCMA into PCMU.
pub fn alaw_to_ulaw(payload: &mut [u8]) {
    payload.iter_mut().for_each(|octet| *octet = ALAW_TO_ULAW[usize::from(*octet)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_stays_silence() {
        let mut ulaw = [0xff, 0x7f];
        ulaw_to_alaw(&mut ulaw);
        assert!(ulaw.iter().all(|octet| alaw_to_linear(*octet).abs() == 1), "{ulaw:x?}");
        let mut alaw = [0xd5];
        alaw_to_ulaw(&mut alaw);
        assert!(ulaw_to_linear(alaw[0]).abs() <= 2);
    }

    #[test]
    fn no_sample_moves_further_than_a_step() {
        for octet in 0..=255u8 {
            let before = ulaw_to_linear(octet);
            let mut payload = [octet];
            ulaw_to_alaw(&mut payload);
            let after = alaw_to_linear(payload[0]) * 2;
            assert!((before - after).abs() <= 4 + before.abs() / 16, "{octet:#x}: {before} {after}");
            assert!(before.signum() * after.signum() >= 0, "{octet:#x} changed its sign");
            alaw_to_ulaw(&mut payload);
            let again = ulaw_to_linear(payload[0]);
            assert!((before - again).abs() <= 4 + before.abs() / 16, "{octet:#x}: {before} {again}");
        }
    }

    #[test]
    fn every_octet_survives_the_way_over_samples() {
        for octet in 0..=255u8 {
            assert_eq!(decode_ulaw(encode_ulaw(decode_ulaw(octet))), decode_ulaw(octet), "{octet:#x}");
            assert_eq!(encode_alaw(decode_alaw(octet)), octet);
            if octet != 0x7f {
                assert_eq!(encode_ulaw(decode_ulaw(octet)), octet, "but the negative zero");
            }
        }
    }

    #[test]
    fn no_octet_is_nearer_to_a_sample_than_its_own() {
        for sample in (i16::MIN..=i16::MAX).step_by(4) {
            // Of 16 bits 14 count.
            assert_eq!(
                (encode_ulaw(sample), encode_alaw(sample)),
                (encode_ulaw(sample + 3), encode_alaw(sample + 3))
            );
            let exact = i32::from(sample);
            for (octet, decode) in
                [(encode_ulaw(sample), decode_ulaw as fn(u8) -> i16), (encode_alaw(sample), decode_alaw)]
            {
                let off = |octet: u8| (i32::from(decode(octet)) - exact).abs();
                let nearest = (0..=255).map(off).min();
                assert_eq!(Some(off(octet)), nearest, "{sample} became {octet:#x}");
            }
        }
    }

    #[test]
    fn every_sample_becomes_the_octet_of_its_step() {
        for sample in i16::MIN..=i16::MAX {
            for (decoded, clip) in
                [(decode_ulaw(encode_ulaw(sample)), 32_124), (decode_alaw(encode_alaw(sample)), 32_256)]
            {
                // Of 16 bits 14 count.
                let clipped = i32::from(sample & !3).clamp(-clip, clip);
                let off = (clipped - i32::from(decoded)).abs();
                // Half a step: steps are a 16th of the segment's beginning, at least 8 or 16.
                assert!(off <= 8 + clipped.abs() / 32, "{sample} became {decoded}");
            }
        }
        assert_eq!((encode_ulaw(0), encode_alaw(0)), (0xff, 0xd5));
    }

    #[test]
    fn one_law_becomes_the_other_alike_on_both_sides_of_zero() {
        for octet in 0..=255u8 {
            let (mut ulaw, mut alaw) = ([octet, octet ^ 0x80], [octet, octet ^ 0x80]);
            ulaw_to_alaw(&mut ulaw);
            assert_eq!(ulaw[0], encode_alaw(decode_ulaw(octet)));
            if octet & 0x7f != 0x7f {
                assert_eq!(ulaw[0], ulaw[1] ^ 0x80, "{octet:#x}");
            }
            alaw_to_ulaw(&mut alaw);
            assert_eq!(alaw[0], alaw[1] ^ 0x80, "{octet:#x}");
        }
    }

    #[test]
    fn full_scale_keeps_its_place() {
        let mut payload = [0x80, 0x00];
        ulaw_to_alaw(&mut payload);
        assert_eq!(payload, [0xaa, 0x2a]);
        alaw_to_ulaw(&mut payload);
        assert_eq!(payload, [0x80, 0x00]);
    }
}
