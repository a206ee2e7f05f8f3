//! The codecs that have one code for so many samples and no more: G.711, G.722, L16.

use super::conceal::Concealer;
use super::{Decode, Encode, Undecodable, g711, g722};

/// How samples are written.
#[derive(Debug, Clone)]
enum Law {
    Ulaw,
    Alaw,
    G722(Box<g722::Decoder>),
    L16,
}

/// Decodes G.711, G.722 and L16, with concealment of losses.
#[derive(Debug, Clone)]
pub struct Decoder {
    law: Law,
    rate: u32,
    concealer: Concealer,
}

impl Decoder {
    fn new(law: Law, rate: u32) -> Self {
        Self { law, rate, concealer: Concealer::new(rate) }
    }

    /// PCMU.
    #[must_use]
    pub fn ulaw(rate: u32) -> Self {
        Self::new(Law::Ulaw, rate)
    }

    /// PCMA.
    #[must_use]
    pub fn alaw(rate: u32) -> Self {
        Self::new(Law::Alaw, rate)
    }

    /// G.722.
    #[must_use]
    pub fn g722() -> Self {
        Self::new(Law::G722(Box::default()), 16_000)
    }

    /// L16, mono (RFC 3551 §4.5.11).
    #[must_use]
    pub fn l16(rate: u32) -> Self {
        Self::new(Law::L16, rate)
    }
}

impl Decode for Decoder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Undecodable> {
        let len = match self.law {
            Law::Ulaw | Law::Alaw => payload.len(),
            Law::G722(_) => payload.len() * 2,
            Law::L16 => payload.len() / 2,
        };
        let out = out.get_mut(..len).filter(|out| !out.is_empty()).ok_or(Undecodable)?;
        match &mut self.law {
            Law::Ulaw => {
                out.iter_mut().zip(payload).for_each(|(out, octet)| *out = g711::decode_ulaw(*octet))
            }
            Law::Alaw => {
                out.iter_mut().zip(payload).for_each(|(out, octet)| *out = g711::decode_alaw(*octet))
            }
            Law::G722(decoder) => {
                for (out, octet) in out.chunks_exact_mut(2).zip(payload) {
                    out.copy_from_slice(&decoder.decode(*octet));
                }
            }
            Law::L16 => {
                let octets = payload.as_chunks::<2>().0;
                out.iter_mut().zip(octets).for_each(|(out, two)| *out = i16::from_be_bytes(*two));
            }
        }
        self.concealer.heard(out);
        Ok(len)
    }

    fn conceal(&mut self, _next: Option<&[u8]>, out: &mut [i16]) {
        self.concealer.conceal(out);
    }
}

/// Encodes G.711, G.722 and L16.
#[derive(Debug, Clone)]
pub enum Encoder {
    /// PCMU at so many Hz.
    Ulaw(u32),
    /// PCMA at so many Hz.
    Alaw(u32),
    /// G.722.
    G722(Box<g722::Encoder>),
    /// L16, mono, at so many Hz.
    L16(u32),
}

impl Encode for Encoder {
    fn rate(&self) -> u32 {
        match self {
            Self::Ulaw(rate) | Self::Alaw(rate) | Self::L16(rate) => *rate,
            Self::G722(_) => 16_000,
        }
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Option<usize> {
        let len = match self {
            Self::Ulaw(_) | Self::Alaw(_) => pcm.len(),
            Self::G722(_) => pcm.len() / 2,
            Self::L16(_) => pcm.len() * 2,
        };
        let out = out.get_mut(..len)?;
        match self {
            Self::Ulaw(_) => out.iter_mut().zip(pcm).for_each(|(out, pcm)| *out = g711::encode_ulaw(*pcm)),
            Self::Alaw(_) => out.iter_mut().zip(pcm).for_each(|(out, pcm)| *out = g711::encode_alaw(*pcm)),
            Self::G722(encoder) => {
                let pairs = pcm.as_chunks::<2>().0;
                out.iter_mut()
                    .zip(pairs)
                    .for_each(|(out, [first, second])| *out = encoder.encode(*first, *second));
            }
            Self::L16(_) => {
                let octets = out.as_chunks_mut::<2>().0;
                octets.iter_mut().zip(pcm).for_each(|(out, pcm)| *out = pcm.to_be_bytes());
            }
        }
        Some(len)
    }
}
