//! WAV files (RIFF): the sound of an announcement, read from octets, and the header of a recording.
//!
//! Linear samples of 8, 16, 24 and 32 bits, 32-bit floats and both laws of G.711 are read; several channels become one.

use super::g711;
use super::resample::Resampler;

/// Samples per second of G.711.
const TELEPHONE_RATE: u32 = 8000;

/// How long the end of a sound fades that is cut, in samples of G.711: a tenth of a second.
const FADE: usize = 800;

/// The lowest and highest sampling rates that are read, Hz.
const RATES: std::ops::RangeInclusive<u32> = 4000..=192_000;

/// The most channels that are mixed.
const MAX_CHANNELS: usize = 8;

/// Why octets are no sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// It does not begin with `RIFF` and `WAVE`.
    #[error("not a WAV file")]
    NotWav,
    /// It ends before its sound begins.
    #[error("the WAV file is incomplete")]
    Incomplete,
    /// A format tag, width, rate or number of channels that is not read.
    #[error("the WAV file has a format that is not read here")]
    Format,
    /// It has no sample.
    #[error("the WAV file is empty")]
    Empty,
}

/// A piece of sound, mono.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    rate: u32,
    samples: Box<[i16]>,
}

impl std::fmt::Debug for Clip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clip").field("rate", &self.rate).field("samples", &self.samples.len()).finish()
    }
}

impl Clip {
    /// Of samples at `rate` Hz.
    #[must_use]
    pub fn new(rate: u32, samples: impl Into<Box<[i16]>>) -> Self {
        Self { rate, samples: samples.into() }
    }

    /// Reads a WAV file.
    ///
    /// # Errors
    /// [`WavError`], whatever the octets are.
    pub fn parse(octets: &[u8]) -> Result<Self, WavError> {
        if octets.get(..4) != Some(b"RIFF") || octets.get(8..12) != Some(b"WAVE") {
            return Err(WavError::NotWav);
        }
        let mut chunks = octets.get(12..).unwrap_or_default();
        let mut layout = None;
        while let Some((name, rest)) = chunks.split_first_chunk::<4>() {
            let Some((len, rest)) = rest.split_first_chunk::<4>() else { break };
            let len = u32::from_le_bytes(*len) as usize;
            // A program that writes to a pipe does not know the length of what it writes.
            let body = rest.get(..len).unwrap_or(rest);
            match name {
                b"fmt " => layout = Some(Layout::parse(body)?),
                b"data" => return layout.ok_or(WavError::Incomplete)?.clip(body),
                _ => {}
            }
            chunks = rest.get(len.saturating_add(len % 2)..).unwrap_or_default();
        }
        Err(WavError::Incomplete)
    }

    /// As a WAV file.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let octets: Vec<u8> = self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        [&header(1, self.rate, len)[..], &octets].concat()
    }

    /// As a WAV file of telephone quality (G.711 µ-law at 8000 Hz) of so many octets at most, for a datagram. What does not fit is
    /// left out, and the rest fades out.
    #[must_use]
    pub fn to_telephone_file(&self, octets: usize) -> Vec<u8> {
        let mut samples = Vec::new();
        match Resampler::new(self.rate, TELEPHONE_RATE) {
            Some(mut resampler) => resampler.process(&self.samples, |sample| samples.push(sample)),
            None => samples.extend_from_slice(&self.samples),
        }
        let room = octets.saturating_sub(HEADER_LEN);
        if samples.len() > room {
            samples.truncate(room);
            let fade = FADE.min(room);
            for (left, sample) in samples.iter_mut().rev().take(fade).enumerate() {
                *sample = (i32::from(*sample) * left as i32 / fade as i32) as i16;
            }
        }
        let octets: Vec<u8> = samples.into_iter().map(g711::encode_ulaw).collect();
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        [&header_of(Sample::Ulaw, 1, TELEPHONE_RATE, len)[..], &octets].concat()
    }

    /// Samples per second.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Its sound.
    #[must_use]
    pub const fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// How long it is, in milliseconds.
    #[must_use]
    pub const fn millis(&self) -> u64 {
        self.samples.len() as u64 * 1000 / self.rate as u64
    }
}

/// How samples lie in the file.
#[derive(Debug, Clone, Copy)]
struct Layout {
    sample: Sample,
    channels: usize,
    rate: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    Bits8,
    Bits16,
    Bits24,
    Bits32,
    Float,
    Alaw,
    Ulaw,
}

impl Sample {
    const fn len(self) -> usize {
        match self {
            Self::Bits8 | Self::Alaw | Self::Ulaw => 1,
            Self::Bits16 => 2,
            Self::Bits24 => 3,
            Self::Bits32 | Self::Float => 4,
        }
    }

    fn read(self, octets: &[u8]) -> i16 {
        match (self, octets) {
            (Self::Bits8, [a]) => (i16::from(*a) - 128) << 8,
            (Self::Alaw, [a]) => g711::decode_alaw(*a),
            (Self::Ulaw, [a]) => g711::decode_ulaw(*a),
            (Self::Bits16, [a, b]) | (Self::Bits24, [_, a, b]) | (Self::Bits32, [_, _, a, b]) => {
                i16::from_le_bytes([*a, *b])
            }
            (Self::Float, [a, b, c, d]) => {
                // A float that is no number is silence.
                (f32::from_le_bytes([*a, *b, *c, *d]) * 32_767.0).clamp(-32_768.0, 32_767.0) as i16
            }
            _ => 0,
        }
    }
}

impl Layout {
    fn parse(fmt: &[u8]) -> Result<Self, WavError> {
        let short = |at: usize| fmt.get(at..at + 2).map(|it| u16::from_le_bytes([it[0], it[1]]));
        let read = |at: usize| short(at).ok_or(WavError::Incomplete);
        let rate = u32::from(read(4)?) | u32::from(read(6)?) << 16;
        // Of an extensible format the tag proper begins its GUID.
        let tag = match read(0)? {
            0xfffe => read(24)?,
            tag => tag,
        };
        let sample = match (tag, read(14)?) {
            (1, 8) => Sample::Bits8,
            (1, 16) => Sample::Bits16,
            (1, 24) => Sample::Bits24,
            (1, 32) => Sample::Bits32,
            (3, 32) => Sample::Float,
            (6, 8) => Sample::Alaw,
            (7, 8) => Sample::Ulaw,
            _ => return Err(WavError::Format),
        };
        let channels = usize::from(read(2)?);
        let fits = RATES.contains(&rate) && (1..=MAX_CHANNELS).contains(&channels);
        fits.then_some(Self { sample, channels, rate }).ok_or(WavError::Format)
    }

    fn clip(self, data: &[u8]) -> Result<Clip, WavError> {
        let frames = data.chunks_exact(self.sample.len() * self.channels);
        let mixed = frames.map(|frame| {
            let sum: i32 =
                frame.chunks_exact(self.sample.len()).map(|it| i32::from(self.sample.read(it))).sum();
            (sum / self.channels as i32) as i16
        });
        let samples: Box<[i16]> = mixed.collect();
        if samples.is_empty() { Err(WavError::Empty) } else { Ok(Clip { rate: self.rate, samples }) }
    }
}

/// The length of [`header`].
pub const HEADER_LEN: usize = 44;

/// The header of a WAV file of 16-bit samples, of which `data` octets follow.
#[must_use]
pub fn header(channels: u16, rate: u32, data: u32) -> [u8; HEADER_LEN] {
    header_of(Sample::Bits16, channels, rate, data)
}

/// The same for samples that are linear, or µ-law.
fn header_of(sample: Sample, channels: u16, rate: u32, data: u32) -> [u8; HEADER_LEN] {
    let width = sample.len() as u16;
    let (frame, tag) = (channels * width, if sample == Sample::Ulaw { 7u16 } else { 1 });
    let mut out = [0; HEADER_LEN];
    let parts: [&[u8]; 13] = [
        b"RIFF",
        &data.saturating_add(HEADER_LEN as u32 - 8).to_le_bytes(),
        b"WAVEfmt ",
        &16u32.to_le_bytes(),
        &tag.to_le_bytes(),
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &rate.saturating_mul(frame.into()).to_le_bytes(),
        &frame.to_le_bytes(),
        &(width * 8).to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
        b"",
    ];
    out.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tag: u16, bits: u16, channels: u16, rate: u32, data: &[u8]) -> Vec<u8> {
        let mut file = header(channels, rate, data.len() as u32).to_vec();
        file[20..22].copy_from_slice(&tag.to_le_bytes());
        file[34..36].copy_from_slice(&bits.to_le_bytes());
        file.extend_from_slice(data);
        file
    }

    #[test]
    fn every_format_is_read() {
        let float = [0.5f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
        for (tag, bits, channels, data, expected) in [
            (1, 16, 1, &[0, 0, 0xff, 0x7f, 0, 0x80][..], &[0, 32_767, -32_768][..]),
            (1, 8, 1, &[0x80, 0xff, 0], &[0, 0x7f00, -0x8000]),
            (1, 24, 1, &[9, 1, 2], &[0x0201]),
            (1, 32, 1, &[9, 9, 1, 2], &[0x0201]),
            (1, 16, 2, &[0, 1, 0, 3], &[0x0200]),
            (3, 32, 1, &float, &[16_383, 0]),
            (6, 8, 1, &[0xd5], &[8]),
            (7, 8, 1, &[0xff], &[0]),
            // The rest of half a frame is none.
            (1, 16, 2, &[0, 1, 0, 3, 7, 7], &[0x0200]),
        ] {
            let clip = Clip::parse(&file(tag, bits, channels, 8000, data)).unwrap();
            assert_eq!((clip.rate(), clip.samples()), (8000, expected), "{tag} {bits} {channels}");
        }
    }

    #[test]
    fn other_chunks_and_a_length_of_a_pipe_are_passed() {
        let plain = file(1, 16, 1, 16_000, &[1, 0].repeat(160));
        let mut file = plain.clone();
        file.splice(36..36, *b"LIST\x03\0\0\0abc\0");
        let clip = Clip::parse(&file).unwrap();
        assert_eq!((clip.samples().len(), clip.millis()), (160, 10));
        let mut piped = plain;
        piped[40..44].fill(0xff);
        assert_eq!(Clip::parse(&piped), Ok(clip.clone()));
        assert_eq!(Clip::parse(&clip.to_file()), Ok(clip));
    }

    #[test]
    fn a_file_for_a_datagram_is_of_telephone_quality_and_fits() {
        let tone: Vec<i16> =
            (0..48_000).map(|at| ((f64::from(at) / 48_000.0 * 6283.2).sin() * 9000.0) as i16).collect();
        for (rate, octets, samples) in
            [(48_000, 60_000, 8000), (8000, 60_000, 48_000), (8000, 10_044, 10_000)]
        {
            let file = Clip::new(rate, tone.clone()).to_telephone_file(octets);
            assert!(file.len() <= octets);
            let clip = Clip::parse(&file).unwrap();
            assert_eq!((clip.rate(), clip.samples().len()), (8000, samples), "{rate} {octets}");
            let loudest = |part: &[i16]| part.iter().map(|it| it.unsigned_abs()).max();
            assert!(loudest(&clip.samples()[..samples / 2]) > Some(8000));
            assert_eq!(
                samples < 48_000 && rate == 8000,
                loudest(&clip.samples()[samples - 40..]) < Some(600)
            );
        }
        assert_eq!(Clip::new(8000, [1; 100]).to_telephone_file(0).len(), HEADER_LEN);
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        let good = file(1, 16, 1, 8000, &[1, 0]);
        for end in 0..good.len() - 1 {
            assert!(Clip::parse(&good[..end]).is_err(), "{end}");
        }
        for (octets, error) in [
            (b"ID3\x03 and then".to_vec(), WavError::NotWav),
            (file(1, 16, 1, 8000, &[]), WavError::Empty),
            (file(1, 12, 1, 8000, &[1, 0]), WavError::Format),
            (file(85, 16, 1, 8000, &[1, 0]), WavError::Format),
            (file(1, 16, 0, 8000, &[1, 0]), WavError::Format),
            (file(1, 16, 1, 0, &[1, 0]), WavError::Format),
        ] {
            assert_eq!(Clip::parse(&octets), Err(error));
        }
        for at in 0..good.len() {
            for octet in 0..=255 {
                let mut changed = good.clone();
                changed[at] = octet;
                let _ = Clip::parse(&changed);
            }
        }
    }
}
