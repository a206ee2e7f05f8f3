//! Opus (RFC 6716, RFC 7587) by libopus, mono, at the sample rate of what stands on the other side.

use super::{Decode, Encode, OpusParameters, Undecodable};

/// Sample rates at which libopus works; it resamples to and from its own inside.
pub const RATES: [u32; 5] = [8000, 12_000, 16_000, 24_000, 48_000];

/// Bits per second for speech at a sample rate: with room for in-band error correction, and for the tones of a telephone
/// network, the worst of which stands 27 dB above its noise then.
const fn bit_rate(rate: u32) -> i32 {
    match rate {
        0..=8000 => 28_000,
        8001..=16_000 => 32_000,
        _ => 40_000,
    }
}

/// Share of lost packets, in percent, against which in-band error correction is spread.
const EXPECTED_LOSS: i32 = 10;

/// libopus' effort, of 10: for speech hardly worse than the most, at half the time.
const COMPLEXITY: i32 = 5;

/// How long the sound of a packet lasts, in units of 48000 Hz (RFC 7587 §4.1); 0 for what is none.
#[must_use]
pub fn units(payload: &[u8]) -> u32 {
    let samples = opus::packet::get_nb_samples(payload, 48_000).ok().filter(|_| !payload.is_empty());
    samples.and_then(|samples| u32::try_from(samples).ok()).unwrap_or(0)
}

/// Decodes one stream.
#[derive(Debug)]
pub struct Decoder {
    inner: opus::Decoder,
    rate: u32,
}

impl Decoder {
    /// A decoder that gives mono at `rate`, one of [`RATES`]; `None` when libopus refuses it.
    #[must_use]
    pub fn new(rate: u32) -> Option<Self> {
        Some(Self { inner: opus::Decoder::new(rate, opus::Channels::Mono).ok()?, rate })
    }
}

impl Decode for Decoder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Undecodable> {
        // To libopus an empty packet is a lost one.
        if payload.is_empty() {
            return Err(Undecodable);
        }
        self.inner.decode(payload, out, false).map_err(|_| Undecodable)
    }

    fn conceal(&mut self, next: Option<&[u8]>, out: &mut [i16]) {
        // libopus conceals whole multiples of 2.5 ms.
        let unit = self.rate as usize / 400;
        let whole = out.len() / unit * unit;
        let (concealed, rest) = out.split_at_mut(whole);
        rest.fill(0);
        let next = next.filter(|next| !next.is_empty());
        // What the next packet repeats of this one stands at its end, as long as that packet is.
        let repeated = next.and_then(|next| opus::packet::get_samples_per_frame(next, self.rate).ok());
        let repeated = repeated.filter(|len| *len <= whole && len % unit == 0).unwrap_or(0);
        let (lost, repeated) = concealed.split_at_mut(whole - repeated);
        for (part, payload) in [(lost, None), (repeated, next)] {
            // At most 120 ms at once.
            for piece in part.chunks_mut(unit * 48) {
                let payload = payload.unwrap_or_default();
                if self.inner.decode(payload, piece, !payload.is_empty()).is_err() {
                    piece.fill(0);
                }
            }
        }
    }

    fn pauses(&self, payload: &[u8]) -> bool {
        // A frame of at most one octet is not coded at all (RFC 6716 §3.1, RFC 7587 §3.1.3).
        payload.len() <= 2
    }
}

/// Encodes one stream.
#[derive(Debug)]
pub struct Encoder {
    inner: opus::Encoder,
    rate: u32,
    dtx: bool,
}

impl Encoder {
    /// An encoder of mono at `rate`, one of [`RATES`], as the receiver's `a=fmtp` wants it; `None` when libopus refuses.
    #[must_use]
    pub fn new(rate: u32, parameters: OpusParameters) -> Option<Self> {
        let mut inner = opus::Encoder::new(rate, opus::Channels::Mono, opus::Application::Voip).ok()?;
        let wanted = bit_rate(rate.min(parameters.max_playback_rate));
        let most = parameters.max_average_bit_rate.clamp(6000, 510_000) as i32;
        inner.set_bitrate(opus::Bitrate::Bits(wanted.min(most))).ok()?;
        inner.set_complexity(COMPLEXITY).ok()?;
        inner.set_vbr(!parameters.constant_bit_rate).ok()?;
        inner.set_dtx(parameters.dtx).ok()?;
        inner.set_max_bandwidth(bandwidth(parameters.max_playback_rate)).ok()?;
        if parameters.fec {
            inner.set_inband_fec(true).ok()?;
            inner.set_packet_loss_perc(EXPECTED_LOSS).ok()?;
        }
        Some(Self { inner, rate, dtx: parameters.dtx })
    }
}

const fn bandwidth(rate: u32) -> opus::Bandwidth {
    match rate {
        0..=8000 => opus::Bandwidth::Narrowband,
        8001..=12_000 => opus::Bandwidth::Mediumband,
        12_001..=16_000 => opus::Bandwidth::Wideband,
        16_001..=24_000 => opus::Bandwidth::Superwideband,
        _ => opus::Bandwidth::Fullband,
    }
}

impl Encode for Encoder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Option<usize> {
        let len = self.inner.encode(pcm, out).ok()?;
        // RFC 7587 §3.1.3: what DTX leaves of a frame need not be sent.
        (len > 2 || !self.dtx).then_some(len)
    }
}
