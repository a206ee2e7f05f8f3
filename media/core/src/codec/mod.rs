//! Voice codecs behind two small traits, what the SDP says of them, and what carries sound from one to the other.
//!
//! [`Format::of`] reads a payload type's `a=rtpmap` and `a=fmtp`; [`Format::decoder`] and [`Format::encoder`] make the
//! two halves. They allocate when they are made, never per packet.

pub mod conceal;
pub mod g711;
pub mod g722;
pub mod noise;
pub mod opus;
pub mod resample;
pub mod wav;
pub mod waveform;

#[cfg(test)]
mod tests;

use crate::sdp;

/// The payload is none of its codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a payload of this codec")]
pub struct Undecodable;

/// From payloads to samples, in the order of the stream.
pub trait Decode: Send {
    /// Samples per second of what comes out.
    fn rate(&self) -> u32;

    /// Decodes `payload` into `out` and returns how many samples there are.
    ///
    /// # Errors
    /// [`Undecodable`]; also when `out` is too small for it.
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Undecodable>;

    /// Fills `out` with what could have been there. `next` is the payload behind the gap, where it is known: some codecs
    /// repeat the lost in it.
    fn conceal(&mut self, next: Option<&[u8]>, out: &mut [i16]);

    /// Whether after `payload` the sender falls silent until it has something to say (DTX).
    fn pauses(&self, payload: &[u8]) -> bool {
        let _ = payload;
        false
    }
}

/// From samples to payloads.
pub trait Encode: Send {
    /// Samples per second of what goes in.
    fn rate(&self) -> u32;

    /// Encodes one packet's samples into `out` and returns the payload's length; `None` when this one is not to be sent.
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Option<usize>;
}

/// A codec that can be decoded and encoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722, 64 kbit/s.
    G722,
    /// Opus.
    Opus,
    /// Linear samples, mono, at 8000, 16000, 32000 or 48000 Hz.
    L16,
    /// Comfort noise (RFC 3389), which is only decoded: see [`Format::noise`].
    ComfortNoise,
}

/// What a receiver of Opus asks for (RFC 7587 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusParameters {
    /// `useinbandfec`.
    pub fec: bool,
    /// `usedtx`.
    pub dtx: bool,
    /// `cbr`.
    pub constant_bit_rate: bool,
    /// `maxplaybackrate`, Hz.
    pub max_playback_rate: u32,
    /// `maxaveragebitrate`, bits per second.
    pub max_average_bit_rate: u32,
}

impl Default for OpusParameters {
    fn default() -> Self {
        Self {
            fec: false,
            dtx: false,
            constant_bit_rate: false,
            max_playback_rate: 48_000,
            max_average_bit_rate: 510_000,
        }
    }
}

/// A codec with its parameters, and how it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Which codec.
    pub coding: Coding,
    /// RTP clock, Hz.
    pub clock: u32,
    /// Milliseconds of sound per packet that is sent.
    pub ptime: u16,
    /// Of Opus.
    pub opus: OpusParameters,
}

/// What is sent where nobody asked for anything else (RFC 3551 §4.2).
const DEFAULT_PTIME: u16 = 20;

/// The longest payload of plain samples: it must fit a datagram on any path.
const MAX_SAMPLES: u32 = 1280;

/// What can be decoded and encoded, by the names of SDP.
const NAMED: [(&str, Coding); 5] = [
    ("PCMU", Coding::Pcmu),
    ("PCMA", Coding::Pcma),
    ("G722", Coding::G722),
    ("opus", Coding::Opus),
    ("L16", Coding::L16),
];

/// Names in SDP of the formats that are converted; telephone-event and comfort noise besides.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMED.into_iter().map(|(name, _)| name).chain(["telephone-event", "CN"])
}

/// Clocks of G.711 and L16 (RFC 3551 §4.5.11 and §4.5.14 leave them open).
const CLOCKS: [u32; 4] = [8000, 16_000, 32_000, 48_000];

impl Format {
    /// What `codec` says; `None` when it cannot be decoded and encoded here. `ptime` is what the receiver asked for, in
    /// milliseconds; the nearest that the codec can do is taken.
    #[must_use]
    pub fn of(codec: &sdp::Codec, ptime: Option<u16>) -> Option<Self> {
        let coding = NAMED.into_iter().find(|(name, _)| codec.is(name))?.1;
        let fits = match coding {
            Coding::G722 => codec.clock == 8000 && codec.channels == 1,
            Coding::Opus => codec.clock == 48_000,
            Coding::Pcmu | Coding::Pcma | Coding::L16 => CLOCKS.contains(&codec.clock) && codec.channels == 1,
            Coding::ComfortNoise => false,
        };
        let opus = if coding == Coding::Opus { opus_parameters(codec) } else { OpusParameters::default() };
        let ptime = packet_time(coding, codec.clock, ptime.unwrap_or(DEFAULT_PTIME));
        fits.then_some(Self { coding, clock: codec.clock, ptime, opus })
    }

    /// Comfort noise with a clock of `clock` Hz.
    #[must_use]
    pub fn noise(clock: u32) -> Self {
        let (coding, opus) = (Coding::ComfortNoise, OpusParameters::default());
        Self { coding, clock, ptime: DEFAULT_PTIME, opus }
    }

    /// Samples per second, where the codec has only one such rate; `None` for Opus, which takes and gives any.
    #[must_use]
    pub const fn rate(&self) -> Option<u32> {
        match self.coding {
            Coding::Pcmu | Coding::Pcma | Coding::L16 | Coding::ComfortNoise => Some(self.clock),
            Coding::G722 => Some(16_000),
            Coding::Opus => None,
        }
    }

    /// How long the sound of `payload` lasts, in units of the clock.
    #[must_use]
    pub fn units(&self, payload: &[u8]) -> u32 {
        let octets = u32::try_from(payload.len()).unwrap_or(0);
        match self.coding {
            // RFC 3551 §4.5.2: the clock of G.722 is 8000 Hz though its sound has 16000.
            Coding::Pcmu | Coding::Pcma | Coding::G722 => octets,
            Coding::L16 => octets / 2,
            Coding::Opus => opus::units(payload),
            Coding::ComfortNoise => self.clock * u32::from(self.ptime) / 1000,
        }
    }

    /// The longest packet of at most `units` of the clock that the codec can say.
    #[must_use]
    pub fn whole(&self, units: u32) -> u32 {
        let most = self.clock * 60 / 1000;
        match self.coding {
            Coding::Opus | Coding::ComfortNoise => {
                let millis = [60, 40, 20, 10].map(|millis| self.clock * millis / 1000);
                millis.into_iter().find(|fits| *fits <= units).unwrap_or(0)
            }
            Coding::Pcmu | Coding::Pcma | Coding::G722 | Coding::L16 => units.min(most),
        }
    }

    /// A decoder; Opus then gives `rate` Hz. `None` when libopus has none left or not at that rate.
    #[must_use]
    pub fn decoder(&self, rate: u32) -> Option<Box<dyn Decode>> {
        Some(match self.coding {
            Coding::Pcmu => Box::new(waveform::Decoder::ulaw(self.clock)),
            Coding::Pcma => Box::new(waveform::Decoder::alaw(self.clock)),
            Coding::G722 => Box::new(waveform::Decoder::g722()),
            Coding::L16 => Box::new(waveform::Decoder::l16(self.clock)),
            Coding::Opus => Box::new(opus::Decoder::new(rate)?),
            Coding::ComfortNoise => Box::new(noise::Decoder::new(self.clock)),
        })
    }

    /// An encoder; Opus then takes `rate` Hz. `None` as for [`Format::decoder`].
    #[must_use]
    pub fn encoder(&self, rate: u32) -> Option<Box<dyn Encode>> {
        Some(match self.coding {
            Coding::Pcmu => Box::new(waveform::Encoder::Ulaw(self.clock)),
            Coding::Pcma => Box::new(waveform::Encoder::Alaw(self.clock)),
            Coding::G722 => Box::new(waveform::Encoder::G722(Box::default())),
            Coding::L16 => Box::new(waveform::Encoder::L16(self.clock)),
            Coding::Opus => Box::new(opus::Encoder::new(rate, self.opus)?),
            Coding::ComfortNoise => return None,
        })
    }
}

fn opus_parameters(codec: &sdp::Codec) -> OpusParameters {
    let default = OpusParameters::default();
    let number = |name: &str| codec.parameter(name).and_then(|value| value.parse().ok());
    let set = |name: &str| number(name) == Some(1);
    OpusParameters {
        fec: set("useinbandfec"),
        dtx: set("usedtx"),
        constant_bit_rate: set("cbr"),
        max_playback_rate: number("maxplaybackrate").unwrap_or(default.max_playback_rate),
        max_average_bit_rate: number("maxaveragebitrate").unwrap_or(default.max_average_bit_rate),
    }
}

fn packet_time(coding: Coding, clock: u32, wanted: u16) -> u16 {
    let whole = (wanted / 10 * 10).clamp(10, 60);
    match coding {
        // RFC 6716 §2.1.4: there are no frames of 30 and 50 ms.
        Coding::Opus if whole == 30 => 20,
        Coding::Opus if whole == 50 => 40,
        Coding::L16 | Coding::Pcmu | Coding::Pcma => {
            let octets = if coding == Coding::L16 { 2 } else { 1 };
            let most = (MAX_SAMPLES * 1000 / (octets * clock.max(1)) / 10 * 10) as u16;
            whole.min(most.max(10))
        }
        _ => whole,
    }
}
