//! Sound from one codec to another: decode in order, resample, encode, pack anew.
//!
//! A [`Transcoder`] is told packets in order (see [`crate::jitter`]) and hands out packets of one stream of its own, with
//! its own numbers and time line. Where sound is missing, time goes on all the same: what was lost is made up for a
//! moment, what the sender left out is filled, and a longer silence is a leap of the timestamps with a marker behind it.
//!
//! Keys and silence are part of sound: events become tones, tones events, and silence comfort noise, where the two ends
//! do not agree on them.

mod along;

use std::time::{Duration, Instant};

pub use self::along::Silence;
use self::along::{Keys, Quiet};
use crate::codec::resample::Resampler;
use crate::codec::{Coding, Decode, Encode, Format};
use crate::dtmf::{Event, Tone};

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

/// Who sent comfort noise need say nothing more until there is sound again (RFC 3389 §4): the call ends before this.
const LONGEST_NOISE: Duration = Duration::from_secs(600);

/// The longest payload that is made.
const MAX_PAYLOAD: usize = 1400;

/// The header of a packet that was made; its SSRC and payload type are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// What the payload is.
    pub kind: Kind,
    /// The first after a silence (RFC 3551 §4.1).
    pub marker: bool,
    /// Rises by one per packet.
    pub sequence_number: u16,
    /// In units of [`Format::clock`].
    pub timestamp: u32,
}

/// What the payload of a packet is that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of the output's codec.
    Sound,
    /// A telephone-event (RFC 4733) on the clock of the output.
    Event,
    /// Comfort noise (RFC 3389).
    Noise,
}

/// What is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Sound, or comfort noise, coded like this.
    Sound(Format),
    /// telephone-events whose durations have a clock of so many Hz.
    Event(u32),
}

/// One received packet in its turn.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// How its payload is to be understood.
    pub content: Content,
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
    /// When the sound of the last packet is over.
    until: Instant,
}

/// A key under way that is heard as tones.
#[derive(Debug, Clone, Copy)]
struct Pressed {
    timestamp: u32,
    code: u8,
    /// So much of it was made, in units of the event's clock.
    made: u32,
}

/// The sender pauses: its silence is made here.
#[derive(Debug, Clone, Copy)]
struct Pause {
    /// Whose silence; `None` for none that any decoder could make.
    input: Option<usize>,
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
    pressed: Option<Pressed>,
    silence: Silence,
    keys: Option<Keys>,
    quiet: Option<Quiet>,
    /// A packet came that could not be decoded.
    broken: bool,
    /// What was received last is a key.
    is_behind_key: bool,
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
            pressed: None,
            silence: Silence::default(),
            keys: None,
            quiet: None,
            broken: false,
            is_behind_key: false,
            next: Made { kind: Kind::Sound, marker: true, sequence_number: 0, timestamp: 0 },
        };
        transcoder.input(input)?;
        Some(transcoder)
    }

    /// Begins at the numbers of the first packet that is received, and without a marker of its own: captures of both sides are
    /// then easier to compare.
    #[must_use]
    pub fn beginning_at(mut self, sequence_number: u16, timestamp: u32) -> Self {
        self.next = Made { kind: Kind::Sound, marker: false, sequence_number, timestamp };
        self
    }

    /// Does about silence what the relay is set to. `keys`: those heard in the sound are told by events; `noise`: silence is
    /// sent as comfort noise.
    #[must_use]
    pub fn with(mut self, silence: &Silence, keys: bool, noise: bool) -> Self {
        let rate = self.encoder.rate();
        self.keys = Some(()).filter(|()| keys).and_then(|()| Keys::new(rate));
        self.quiet = silence.below.filter(|_| noise).map(|below| Quiet::new(below, self.output.ptime));
        self.silence = silence.clone();
        self
    }

    /// What it makes.
    #[must_use]
    pub const fn output(&self) -> Format {
        self.output
    }

    /// Decodes a packet and gives what is then complete.
    pub fn take(&mut self, now: Instant, packet: &Received<'_>, give: &mut dyn FnMut(Made, &[u8])) {
        let format = match packet.content {
            Content::Sound(format) => format,
            Content::Event(clock) => return self.press(now, clock, packet, give),
        };
        let Some(at) = self.input(format) else { return };
        let clock = format.clock;
        let pausing = self.pause.take().is_some();
        // Behind a key a decoder has nothing to go by: what it heard last is what was said before the key.
        let stale = std::mem::take(&mut self.is_behind_key);
        let missing = (packet.lost > 0 || std::mem::take(&mut self.broken)) && !stale;
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
        self.is_behind_key = true;
        let number = self.next.sequence_number;
        self.next.sequence_number = number.wrapping_add(1);
        let timestamp = self.timestamp(timestamp).unwrap_or(timestamp);
        Made { kind: Kind::Sound, marker: false, sequence_number: number, timestamp }
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
        self.pressed = None;
        if let Some(line) = self.line.take() {
            let silent =
                now.saturating_duration_since(line.until).as_millis().min(u128::from(LEAP_MS)) as u32;
            self.leap(units(silent, line.clock), line.clock, give);
        }
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
            let Some(clock) = self.line.map(|line| line.clock) else { return };
            let gap = units(u32::from(self.output.ptime), clock);
            match pause.input {
                Some(input) => self.fill(input, gap, None, give),
                None => self.hush(gap, clock, give),
            }
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
        let Some(input) = self.inputs.get_mut(at) else { return };
        let (clock, is_noise) = (input.format.clock, input.format.coding == Coding::ComfortNoise);
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
        let length = Duration::from_millis(u64::from(duration) * 1000 / u64::from(clock));
        self.line = Some(Line { clock, next: passed.unwrap_or(end), until: now + length });
        self.append(at, skip, samples, give);
        let packet = Duration::from_millis(u64::from(self.output.ptime));
        self.pause = match self.silence.fill_after {
            _ if pauses => {
                let longest = if is_noise { LONGEST_NOISE } else { LONGEST_PAUSE };
                Some(Pause { input: Some(at), due: now + packet + SLACK, end: now + longest })
            }
            Some(delay) if samples > 0 => {
                let input = self.input_of_silence(clock);
                Some(Pause { input, due: now + length + delay, end: now + self.silence.longest })
            }
            _ => None,
        };
    }

    /// The input that fills what a sender leaves out, where the relay is set to fill it by noise.
    fn input_of_silence(&mut self, clock: u32) -> Option<usize> {
        if self.silence.fill.is_empty() {
            return None;
        }
        let at = self.input(Format::noise(clock))?;
        // What it decodes is not heard: it is told the level and the spectrum.
        let room = &mut self.decoded;
        self.inputs.get_mut(at)?.decoder.decode(&self.silence.fill, room).ok()?;
        Some(at)
    }

    /// A key is heard as its tones: of each packet of the event what the ones before did not bring.
    fn press(&mut self, now: Instant, clock: u32, packet: &Received<'_>, give: &mut dyn FnMut(Made, &[u8])) {
        let Some(event) = Event::parse(packet.payload).filter(|_| clock > 0) else { return };
        self.pause = None;
        self.is_behind_key = true;
        let line_clock = self.line.map_or(clock, |line| line.clock);
        let on_line = |units: u32| (u64::from(units) * u64::from(line_clock) / u64::from(clock)) as u32;
        let same = |it: &Pressed| it.timestamp == packet.timestamp && it.code == event.code;
        let made = self.pressed.filter(same).map_or(0, |it| it.made);
        let end = u32::from(event.duration);
        if end <= made {
            return;
        }
        // A first packet of a long event is one behind losses: what is long past is not caught up on.
        let begin = made.max(end.saturating_sub(units(LONGEST_MS, clock)));
        let timestamp = packet.timestamp.wrapping_add(on_line(begin));
        let ahead = self.ahead(now, line_clock, timestamp, give);
        self.pressed = Some(Pressed { timestamp: packet.timestamp, code: event.code, made: end });
        self.leap(u32::try_from(ahead).unwrap_or(0), line_clock, give);
        // Sound that came before it is not taken back.
        let skip = u32::try_from(-ahead).unwrap_or(0).min(on_line(end - begin));
        let rate = self.encoder.rate();
        let at = |units: u32, clock: u32| (u64::from(units) * u64::from(rate) / u64::from(clock)) as u32;
        let (from, to) = (at(begin, clock) + at(skip, line_clock), at(end, clock));
        let tone = Tone::new(event.code, event.volume);
        self.waiting.extend((from..to).map(|at| tone.map_or(0, |tone| tone.sample(at, rate))));
        let next = packet.timestamp.wrapping_add(on_line(end));
        let length = Duration::from_millis(u64::from(end - begin) * 1000 / u64::from(clock));
        self.line = Some(Line { clock: line_clock, next, until: now + length });
        self.send(give);
    }

    /// Makes `gap` units of the received clock of silence.
    fn hush(&mut self, gap: u32, clock: u32, give: &mut dyn FnMut(Made, &[u8])) {
        let samples = (u64::from(gap) * u64::from(self.encoder.rate()) / u64::from(clock)) as usize;
        if let Some(line) = self.line.as_mut() {
            line.next = line.next.wrapping_add(gap);
        }
        self.waiting.resize(self.waiting.len() + samples, 0);
        self.send(give);
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
            let units = self.to_clock(self.frame);
            let said = self.keys.as_mut().and_then(|keys| keys.take(pcm, self.next.timestamp, units));
            let quiet = self.quiet.as_mut().and_then(|quiet| quiet.take(pcm));
            if let Some(said) = said {
                let made =
                    Made { kind: Kind::Event, marker: said.begins, timestamp: said.timestamp, ..self.next };
                for _ in 0..said.times {
                    let sequence_number = self.next.sequence_number;
                    give(Made { sequence_number, ..made }, &said.event.to_bytes());
                    self.next.sequence_number = sequence_number.wrapping_add(1);
                }
            } else if let Some(is_said) = quiet {
                if is_said {
                    give(Made { kind: Kind::Noise, ..self.next }, &self.silence.payload);
                    self.next.sequence_number = self.next.sequence_number.wrapping_add(1);
                }
                self.next.marker = true;
            } else {
                match self.encoder.encode(pcm, &mut self.payload) {
                    Some(len) => {
                        give(self.next, self.payload.get(..len).unwrap_or_default());
                        self.next.sequence_number = self.next.sequence_number.wrapping_add(1);
                        self.next.marker = false;
                    }
                    None => self.next.marker = true,
                }
            }
            self.next.timestamp = self.next.timestamp.wrapping_add(units);
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
