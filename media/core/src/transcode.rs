//! Sound from one codec to another: decode in order, resample, encode, pack anew.
//!
//! A [`Transcoder`] is told packets in order (see [`crate::jitter`]) and hands out packets of one stream of its own, with
//! its own numbers and time line. Where sound is missing, time goes on all the same: what was lost is made up for a
//! moment, what the sender left out is filled, and a longer silence is a leap of the timestamps with a marker behind it.

use std::time::{Duration, Instant};

use crate::codec::resample::Resampler;
use crate::codec::{Decode, Encode, Format};

/// The longest sound of one received packet that is decoded: more than the 120 ms of the longest Opus packet, and than
/// the 240 ms of G.711 or G.722 that fit a datagram.
const LONGEST_MS: u32 = 250;

/// So much of a loss is made up; behind it there is nothing to go by.
const CONCEALED_MS: u32 = 120;

/// A gap as long as this is a hold rather than a loss: nothing is made up.
const LONGEST_LOSS_MS: u32 = 1000;

/// Timestamps that step back so far are those of a sender that began anew.
const OVERLAP_MS: u32 = 500;

/// Timestamps that leap so far are no pause.
const LEAP_MS: u32 = 30_000;

/// In a pause of the sender its silence is made a little after it was due, so that what is only late still finds its place.
const SLACK: Duration = Duration::from_millis(15);

/// A sender that pauses says so again every 400 ms (RFC 7587 §3.1.3); who says nothing for so long is gone.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest payload that is made.
const MAX_PAYLOAD: usize = 1400;

/// The header of a packet that was made; its SSRC and payload type are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The first after a silence (RFC 3551 §4.1).
    pub marker: bool,
    /// Rises by one per packet.
    pub sequence_number: u16,
    /// In units of [`Format::clock`].
    pub timestamp: u32,
}

/// One received packet in its turn.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// How it is coded.
    pub format: Format,
    /// Its RTP timestamp.
    pub timestamp: u32,
    /// Its payload.
    pub payload: &'a [u8],
    /// How many packets before it are lost.
    pub lost: u16,
}

/// A decoder, and what brings its sound to the encoder's rate.
struct Input {
    format: Format,
    decoder: Box<dyn Decode>,
    resampler: Option<Resampler>,
}

/// Where the received stream is.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Timestamp units per second.
    clock: u32,
    /// The timestamp of the first sample that has not come.
    next: u32,
    /// When a packet last came.
    heard: Instant,
}

/// The sender pauses: its silence is made here.
#[derive(Debug, Clone, Copy)]
struct Pause {
    input: usize,
    due: Instant,
    end: Instant,
}

/// Makes one stream of another.
pub struct Transcoder {
    output: Format,
    encoder: Box<dyn Encode>,
    /// Samples of one packet at the encoder's rate.
    frame: usize,
    inputs: Vec<Input>,
    /// Decoded, not yet resampled.
    decoded: Vec<i16>,
    /// At the encoder's rate, not yet sent.
    waiting: Vec<i16>,
    payload: Vec<u8>,
    line: Option<Line>,
    pause: Option<Pause>,
    /// A packet came that could not be decoded.
    broken: bool,
    next: Made,
}

impl std::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcoder")
            .field("output", &self.output)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Transcoder {
    /// From sound like `input` (others may follow) to `output`. `None` when there is no such encoder.
    #[must_use]
    pub fn new(input: Format, output: Format) -> Option<Self> {
        let rate = output.rate().or(input.rate()).unwrap_or(48_000);
        let encoder = output.encoder(rate)?;
        let rate = encoder.rate() as usize;
        let frame = rate * usize::from(output.ptime) / 1000;
        let mut transcoder = Self {
            output,
            encoder,
            frame,
            inputs: Vec::with_capacity(2),
            decoded: Vec::new(),
            waiting: Vec::with_capacity(rate),
            payload: vec![0; MAX_PAYLOAD],
            line: None,
            pause: None,
            broken: false,
            next: Made { marker: true, sequence_number: 0, timestamp: 0 },
        };
        transcoder.input(input)?;
        Some(transcoder)
    }

    /// Begins at the numbers of the first packet that is received: captures of both sides are then easier to compare.
    #[must_use]
    pub fn beginning_at(mut self, sequence_number: u16, timestamp: u32) -> Self {
        self.next = Made { marker: true, sequence_number, timestamp };
        self
    }

    /// What it makes.
    #[must_use]
    pub const fn output(&self) -> Format {
        self.output
    }

    /// Decodes a packet and gives what is then complete.
    pub fn take(&mut self, now: Instant, packet: &Received<'_>, give: &mut dyn FnMut(Made, &[u8])) {
        let Some(at) = self.input(packet.format) else { return };
        let clock = packet.format.clock;
        let pausing = self.pause.take().is_some();
        let missing = packet.lost > 0 || std::mem::take(&mut self.broken);
        let ahead = self.ahead(now, clock, packet.timestamp, give);
        let skip = usize::try_from(-ahead).unwrap_or(0);
        let gap = u32::try_from(ahead).unwrap_or(0);
        if gap > 0 && gap < units(LONGEST_LOSS_MS, clock) && (missing || pausing) {
            let made = gap.min(units(CONCEALED_MS, clock));
            self.fill(at, made, Some(packet.payload).filter(|_| missing && made == gap), give);
            self.leap(gap - made, clock, give);
        } else {
            self.leap(gap, clock, give);
        }
        self.decode(now, at, packet, skip, give);
    }

    /// Tells that a packet at `timestamp` came which is sent on by other means (a telephone-event), and where it belongs:
    /// its number, and its timestamp if that is on the time line of the sound.
    pub fn pass(&mut self, timestamp: u32) -> Made {
        self.pause = None;
        let number = self.next.sequence_number;
        self.next.sequence_number = number.wrapping_add(1);
        let timestamp = self.timestamp(timestamp).unwrap_or(timestamp);
        Made { marker: false, sequence_number: number, timestamp }
    }

    /// What the received timestamp is on the time line of what is made; `None` when it is far from what was received.
    #[must_use]
    pub fn timestamp(&self, received: u32) -> Option<u32> {
        let line = self.line?;
        let ahead = i64::from(received.wrapping_sub(line.next).cast_signed());
        if ahead.unsigned_abs() > u64::from(units(LEAP_MS, line.clock)) {
            return None;
        }
        let scaled = ahead * i64::from(self.output.clock) / i64::from(line.clock);
        let waiting = self.to_clock(self.waiting.len());
        Some(self.next.timestamp.wrapping_add(waiting).wrapping_add(scaled as u32))
    }

    /// Goes on where another transcoder of the same stream was: numbers and time must not leap.
    pub fn follow(&mut self, other: &Self) {
        self.next = Made { marker: true, ..other.next };
    }

    /// Another sender begins: nothing of the time line before means anything.
    pub fn restart(&mut self, now: Instant, give: &mut dyn FnMut(Made, &[u8])) {
        self.pause = None;
        if let Some(line) = self.line.take() {
            let silent =
                now.saturating_duration_since(line.heard).as_millis().min(u128::from(LEAP_MS)) as u32;
            self.leap(units(silent, line.clock), line.clock, give);
        }
        self.next.marker = true;
    }

    /// When [`Transcoder::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pause.map(|pause| pause.due)
    }

    /// Makes the silence of a sender that pauses, as far as it is due.
    pub fn handle_timeout(&mut self, now: Instant, give: &mut dyn FnMut(Made, &[u8])) {
        while let Some(pause) = self.pause.filter(|pause| pause.due <= now) {
            let packet = Duration::from_millis(u64::from(self.output.ptime));
            let due = pause.due + packet;
            self.pause = (due < pause.end).then_some(Pause { due, ..pause });
            let clock = self.inputs.get(pause.input).map_or(8000, |input| input.format.clock);
            self.fill(pause.input, units(u32::from(self.output.ptime), clock), None, give);
        }
    }

    /// The place of the decoder of `format`, made at its first packet. What a decoder can be asked does not matter to it: a
    /// call has no more of them than there are codecs, however often it is renewed.
    fn input(&mut self, format: Format) -> Option<usize> {
        let same = |input: &Input| (input.format.coding, input.format.clock) == (format.coding, format.clock);
        if let Some(at) = self.inputs.iter().position(same) {
            return Some(at);
        }
        let decoder = format.decoder(self.encoder.rate())?;
        let longest = (decoder.rate() * LONGEST_MS / 1000) as usize;
        let resampler = Resampler::new(decoder.rate(), self.encoder.rate());
        if resampler.is_none() && decoder.rate() != self.encoder.rate() {
            return None;
        }
        self.decoded.resize(self.decoded.len().max(longest), 0);
        self.inputs.push(Input { format, decoder, resampler });
        Some(self.inputs.len() - 1)
    }

    /// How far `timestamp` is ahead of what was expected, in its own units; a sender that began anew is where it should be.
    fn ahead(&mut self, now: Instant, clock: u32, timestamp: u32, give: &mut dyn FnMut(Made, &[u8])) -> i64 {
        let Some(line) = self.line else { return 0 };
        let ahead = i64::from(timestamp.wrapping_sub(line.next).cast_signed());
        let plausible = -i64::from(units(OVERLAP_MS, clock))..=i64::from(units(LEAP_MS, clock));
        if line.clock != clock || !plausible.contains(&ahead) {
            self.restart(now, give);
            return 0;
        }
        ahead
    }

    fn decode(
        &mut self,
        now: Instant,
        at: usize,
        packet: &Received<'_>,
        skip: usize,
        give: &mut dyn FnMut(Made, &[u8]),
    ) {
        let clock = packet.format.clock;
        let Some(input) = self.inputs.get_mut(at) else { return };
        let samples = input.decoder.decode(packet.payload, &mut self.decoded);
        self.broken = samples.is_err();
        let samples = samples.unwrap_or(0);
        let rate = input.decoder.rate();
        // What was made already, when the sender was late, is not said twice.
        let skip = (skip as u64 * u64::from(rate) / u64::from(clock)).min(samples as u64) as usize;
        let pauses = samples > 0 && input.decoder.pauses(packet.payload);
        let duration = (samples as u64 * u64::from(clock) / u64::from(rate)) as u32;
        let end = packet.timestamp.wrapping_add(duration);
        let passed =
            self.line.filter(|line| line.next.wrapping_sub(end).cast_signed() > 0).map(|line| line.next);
        self.line = Some(Line { clock, next: passed.unwrap_or(end), heard: now });
        self.append(at, skip, samples, give);
        if pauses {
            let packet = Duration::from_millis(u64::from(self.output.ptime));
            self.pause = Some(Pause { input: at, due: now + packet + SLACK, end: now + LONGEST_PAUSE });
        }
    }

    /// Makes up `gap` units of the received clock.
    fn fill(&mut self, at: usize, gap: u32, next: Option<&[u8]>, give: &mut dyn FnMut(Made, &[u8])) {
        let Some(input) = self.inputs.get_mut(at) else { return };
        let clock = input.format.clock;
        let samples = (u64::from(gap) * u64::from(input.decoder.rate()) / u64::from(clock)) as usize;
        let Some(room) = self.decoded.get_mut(..samples) else { return };
        input.decoder.conceal(next, room);
        if let Some(line) = self.line.as_mut() {
            line.next = line.next.wrapping_add(gap);
        }
        self.append(at, 0, samples, give);
    }

    /// Lets `gap` units of the received clock pass without a packet.
    fn leap(&mut self, gap: u32, clock: u32, give: &mut dyn FnMut(Made, &[u8])) {
        if gap == 0 {
            return;
        }
        if let Some(line) = self.line.as_mut() {
            line.next = line.next.wrapping_add(gap);
        }
        let mut samples = (u64::from(gap) * u64::from(self.encoder.rate()) / u64::from(clock)) as usize;
        // What waits must be said before; silence makes it a whole packet.
        if !self.waiting.is_empty() {
            let silence = self.frame - self.waiting.len() % self.frame;
            self.waiting.resize(self.waiting.len() + silence, 0);
            samples = samples.saturating_sub(silence);
            self.send(give);
        }
        self.next.timestamp = self.next.timestamp.wrapping_add(self.to_clock(samples));
        self.next.marker = true;
    }

    /// Brings `skip..samples` of what was decoded to the encoder's rate.
    fn append(&mut self, at: usize, skip: usize, samples: usize, give: &mut dyn FnMut(Made, &[u8])) {
        let (Some(input), Some(pcm)) = (self.inputs.get_mut(at), self.decoded.get(skip..samples)) else {
            return;
        };
        match &mut input.resampler {
            Some(resampler) => resampler.process(pcm, |sample| self.waiting.push(sample)),
            None => self.waiting.extend_from_slice(pcm),
        }
        self.send(give);
    }

    /// Gives every packet that is complete.
    fn send(&mut self, give: &mut dyn FnMut(Made, &[u8])) {
        let mut sent = 0;
        while let Some(pcm) = self.waiting.get(sent..sent + self.frame) {
            sent += self.frame;
            match self.encoder.encode(pcm, &mut self.payload) {
                Some(len) => {
                    give(self.next, self.payload.get(..len).unwrap_or_default());
                    self.next.sequence_number = self.next.sequence_number.wrapping_add(1);
                    self.next.marker = false;
                }
                None => self.next.marker = true,
            }
            self.next.timestamp = self.next.timestamp.wrapping_add(self.to_clock(self.frame));
        }
        self.waiting.drain(..sent);
    }

    fn to_clock(&self, samples: usize) -> u32 {
        (samples as u64 * u64::from(self.output.clock) / u64::from(self.encoder.rate())) as u32
    }
}

const fn units(millis: u32, clock: u32) -> u32 {
    (millis as u64 * clock as u64 / 1000) as u32
}

#[cfg(test)]
mod tests;
