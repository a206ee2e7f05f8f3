//! Hears the keys that an end presses as tones, in its packets as they come.

use super::Listener;
use crate::codec::{Decode, Format};

/// Samples per second at which it listens: the highest tone is at 1633 Hz (ITU-T Q.23).
const RATE: u32 = 8000;

/// The longest sound of one packet that is heard, in milliseconds: the 240 ms of G.711 that fit a datagram.
const LONGEST_MS: u32 = 250;

/// Listens to one end.
#[derive(Default)]
pub struct Ear {
    hears: Option<(Format, Box<dyn Decode>, Listener)>,
    pcm: Vec<i16>,
    sounding: Option<u8>,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").field("sounding", &self.sounding).finish_non_exhaustive()
    }
}

impl Ear {
    /// Hears a packet coded as `format` says; the event code of a key that begins to sound with it.
    pub fn hear(&mut self, format: Format, payload: &[u8]) -> Option<u8> {
        let same = |known: &Format| (known.coding, known.clock) == (format.coding, format.clock);
        if !self.hears.as_ref().is_some_and(|(known, ..)| same(known)) {
            self.hears = self.tune(format);
        }
        let (_, decoder, listener) = self.hears.as_mut()?;
        let samples = decoder.decode(payload, &mut self.pcm).ok()?;
        listener.listen(self.pcm.get(..samples)?);
        let now = listener.sounding().map(|key| key.code);
        let before = std::mem::replace(&mut self.sounding, now);
        now.filter(|_| now != before)
    }

    fn tune(&mut self, format: Format) -> Option<(Format, Box<dyn Decode>, Listener)> {
        let decoder = format.decoder(RATE)?;
        let listener = Listener::new(decoder.rate())?;
        self.pcm.resize((decoder.rate() * LONGEST_MS / 1000) as usize, 0);
        Some((format, decoder, listener))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tone;
    use super::*;
    use crate::sdp::Codec;

    fn format(rtpmap: &str) -> Format {
        Format::of(&Codec::parse_rtpmap(rtpmap).expect("an rtpmap"), None).expect("a codec")
    }

    /// What is heard of the keys 1 and 11, each 100 ms and a pause of as long, in packets of 20 ms.
    fn heard(ear: &mut Ear, format: Format) -> Vec<u8> {
        let rate = format.rate().unwrap_or(48_000);
        let mut encoder = format.encoder(rate).expect("an encoder");
        let key = |code| {
            let tone = Tone::new(code, 10).expect("a key");
            (0..rate / 5).map(move |at| if at < rate / 10 { tone.sample(at, rate) } else { 0 })
        };
        let pcm: Vec<i16> = key(1).chain(key(11)).collect();
        let mut payload = [0; 1500];
        let packets = pcm.chunks(rate as usize / 50);
        packets
            .filter_map(|packet| {
                let len = encoder.encode(packet, &mut payload)?;
                ear.hear(format, payload.get(..len)?)
            })
            .collect()
    }

    #[test]
    fn keys_are_heard_once_in_every_codec() {
        let mut ear = Ear::default();
        for rtpmap in ["0 PCMU/8000", "8 PCMA/8000", "9 G722/8000", "111 opus/48000/2", "97 L16/16000"] {
            assert_eq!(heard(&mut ear, format(rtpmap)), [1, 11], "{rtpmap}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_not_heard() {
        let mut ear = Ear::default();
        assert_eq!(ear.hear(format("111 opus/48000/2"), &[0xff; 3]), None);
        assert_eq!(ear.hear(format("0 PCMU/8000"), &[0x55; 4000]), None);
        assert_eq!(ear.hear(format("0 PCMU/8000"), &[]), None);
        assert_eq!(heard(&mut ear, format("0 PCMU/8000")), [1, 11]);
    }
}
