//! Hears the sender's sound, and makes sound like it.

use crate::codec::{Decode, Encode, Format};
use crate::dtmf::{Listener, Sounding, Tone};

/// The rate of codecs that have none of their own.
const RATE: u32 = 16_000;

/// The longest packet that is listened to, milliseconds.
const LONGEST_MS: u32 = 250;

/// See the module.
pub(super) struct Voice {
    number: u8,
    format: Format,
    decoder: Box<dyn Decode>,
    encoder: Box<dyn Encode>,
    listener: Listener,
    heard: Vec<i16>,
    said: Vec<i16>,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice")
            .field("number", &self.number)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Voice {
    /// For payload type `number`; `None` where there is no such codec.
    pub(super) fn new(number: u8, format: Format) -> Option<Self> {
        let rate = format.rate().unwrap_or(RATE);
        let (decoder, encoder) = (format.decoder(rate)?, format.encoder(rate)?);
        let listener = Listener::new(decoder.rate())?;
        let room = (decoder.rate() * LONGEST_MS / 1000) as usize;
        let (heard, said, payload) = (vec![0; room], Vec::with_capacity(room), vec![0; 2 * room]);
        Some(Self { number, format, decoder, encoder, listener, heard, said, payload })
    }

    pub(super) fn is(&self, number: u8, format: Format) -> bool {
        (self.number, self.format) == (number, format)
    }

    /// Its payload type.
    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// Its RTP clock, Hz.
    pub(super) fn clock(&self) -> u32 {
        self.format.clock.max(1)
    }

    /// How long a payload lasts, in units of the clock.
    pub(super) fn units(&self, payload: &[u8]) -> u32 {
        self.format.units(payload)
    }

    /// The longest packet of at most so many units.
    pub(super) fn whole(&self, units: u32) -> u32 {
        self.format.whole(units)
    }

    /// Hears a payload; `tell` is told at which unit of it another key sounds, or none any more.
    pub(super) fn listen(&mut self, payload: &[u8], mut tell: impl FnMut(u32, Option<Sounding>)) {
        let rate = self.decoder.rate();
        let Ok(samples) = self.decoder.decode(payload, &mut self.heard) else { return };
        let mut before = self.listener.sounding().map(|key| key.code);
        let mut taken = 0;
        // Millisecond by millisecond: where a key begins decides which packets are its.
        for piece in self.heard.get(..samples).unwrap_or_default().chunks((rate / 1000).max(1) as usize) {
            self.listener.listen(piece);
            taken += piece.len() as u64;
            let sounding = self.listener.sounding();
            if sounding.map(|key| key.code) != before {
                before = sounding.map(|key| key.code);
                tell((taken * u64::from(self.format.clock) / u64::from(rate)) as u32, sounding);
            }
        }
    }

    /// The payload of `units` of a tone, or of silence. A tone has its phase by the timestamp, so that packets fit together.
    pub(super) fn say(&mut self, timestamp: u32, units: u32, tone: Option<Tone>) -> Option<&[u8]> {
        let (rate, clock) = (u64::from(self.encoder.rate()), u64::from(self.clock()));
        let samples = (u64::from(units) * rate / clock) as usize;
        let first = (u64::from(timestamp) * rate / clock) as u32;
        if samples == 0 || samples > self.said.capacity() {
            return None;
        }
        self.said.clear();
        let sample =
            |at: usize| tone.map_or(0, |tone| tone.sample(first.wrapping_add(at as u32), rate as u32));
        self.said.extend((0..samples).map(sample));
        let len = self.encoder.encode(&self.said, &mut self.payload)?;
        self.payload.get(..len)
    }

    /// What was said last, and its rate.
    pub(super) fn said(&self) -> (&[i16], u32) {
        (&self.said, self.encoder.rate())
    }
}
