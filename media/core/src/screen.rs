//! Keeps the keys that an end presses from those it speaks to, or says them later (ng `block DTMF` with `DTMF-security`
//! and `DTMF-delay`).
//!
//! A [`Screen`] stands at one line of the end that presses, before anything goes on from it. It hears each packet when it
//! comes ([`Screen::hear`]) and decides what becomes of it when its turn has come ([`Screen::pass`]). Between the two lies
//! ng `delay-buffer`: with it, what was sent before a key was recognised as one is replaced too. All that it makes has payload types
//! of the sender, so what stands behind it works as without it.

mod pressed;
mod trigger;
mod voice;

use std::time::{Duration, Instant};

use self::pressed::{Pressed, Timeline};
use self::trigger::Armed;
pub use self::trigger::{APART, Trigger};
use self::voice::Voice;
use crate::codec::Format;
use crate::dtmf::segment::{Incoming, Relation, Segmenter};
use crate::dtmf::{END_PACKETS, Event, Tone};
use crate::packet::Packet;
use crate::rtp::Header;

/// What becomes of keys (ng `DTMF-security`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They pass.
    #[default]
    Off,
    /// telephone-events do not.
    Drop,
    /// Silence stands in their place.
    Silence,
    /// A tone does.
    Tone,
    /// Other keys do, by chance.
    Random,
    /// This key does (an event code).
    Key(u8),
}

/// What is wished of the keys of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screening {
    /// From now on.
    pub mode: Mode,
    /// What changes that.
    pub trigger: Option<Trigger>,
    /// Of the tone of [`Mode::Tone`], Hz; ng's default is 400.
    pub hertz: u16,
    /// Of whatever sounds in place of keys: dB below full scale, 0 to 63; ng's default is 10.
    pub volume: u8,
    /// Keys that may pass are heard so much later (ng `DTMF-delay`), and silence when they are pressed. Zero for at once.
    pub delay: Duration,
}

impl Default for Screening {
    fn default() -> Self {
        Self { mode: Mode::Off, trigger: None, hertz: 400, volume: 10, delay: Duration::ZERO }
    }
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Sound of a codec that is known here.
    Sound(Format),
    /// A telephone-event, on a clock of so many Hz.
    Event(u32),
    /// Anything else; it passes.
    Other,
}

/// How the line is used by whom a screen stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Payload type and clock of its telephone-events, if it may send them.
    pub events: Option<(u8, u32)>,
    /// Payload type and format of sound that it may send.
    pub sound: Option<(u8, Format)>,
    /// Its packets go on so much later than they come (ng `delay-buffer`).
    pub held: Duration,
}

/// What goes on in the place of some sound.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Put {
    Nothing,
    Silence,
    Tone(Tone),
    /// An event of a key that began at this timestamp of the sender.
    Event {
        began: u32,
        code: u8,
        volume: u8,
    },
}

/// A key that is said later, under way.
#[derive(Debug, Clone, Copy)]
struct Said {
    /// When its sender began it, and when we did.
    began: u32,
    start: u32,
    code: u8,
    volume: u8,
    segmenter: Segmenter,
}

/// See the module.
#[derive(Debug)]
pub struct Screen {
    wish: Screening,
    mode: Mode,
    armed: Option<Armed>,
    /// Keys further apart are no sequence.
    apart: Duration,
    keys: Timeline,
    /// The event that was heard last, with all its packets.
    event: Option<Incoming>,
    /// A key sounds in what was heard last.
    sounding: bool,
    voice: Option<Voice>,
    said: Option<Said>,
    /// What is added to sequence numbers for what was put in and left out.
    shift: u16,
    /// The sound of the packet that went on last was put in here.
    made: bool,
}

impl Screen {
    /// One that does what `wish` says. Keys further `apart` than that are no sequence that could trigger anything.
    #[must_use]
    pub fn new(wish: &Screening, apart: Duration) -> Self {
        let mut screen = Self {
            wish: Screening::default(),
            mode: Mode::Off,
            armed: None,
            apart,
            keys: Timeline::default(),
            event: None,
            sounding: false,
            voice: None,
            said: None,
            shift: 0,
            made: false,
        };
        screen.set(wish);
        screen
    }

    /// Does what `wish` says from now on, also with keys under way.
    pub fn set(&mut self, wish: &Screening) {
        self.wish = wish.clone();
        self.armed = wish.trigger.clone().map(|trigger| Armed::new(trigger, self.apart));
        self.mode = wish.mode;
        self.keys.all(wish.mode);
    }

    /// Whether it does nothing but keep numbers in order.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.wish == Screening::default() && self.said.is_none()
    }

    /// Takes note of a packet that came. `chance` decides about keys by chance.
    pub fn hear(
        &mut self,
        now: Instant,
        header: &Header,
        packet: &Packet,
        content: Content,
        usage: &Usage,
        chance: u8,
    ) {
        if self.armed.as_mut().is_some_and(|armed| armed.is_over(now)) {
            self.end_trigger();
        }
        let Ok(payload) = header.payload(packet.as_slice()) else { return };
        match content {
            Content::Event(clock) => {
                if let Some(event) = Event::parse(payload) {
                    self.hear_event(now, header, event, clock, usage, chance);
                }
            }
            Content::Sound(format) => {
                self.speak(header.payload_type, format);
                // Whoever has events says keys by them.
                if usage.events.is_none() {
                    self.hear_sound(now, header, payload, chance);
                }
            }
            Content::Other => {}
        }
    }

    fn hear_event(
        &mut self,
        now: Instant,
        header: &Header,
        event: Event,
        clock: u32,
        usage: &Usage,
        chance: u8,
    ) {
        let clock = if clock == 0 { 8000 } else { clock };
        let line = self.line_clock(usage).unwrap_or(clock);
        let stale = clock.saturating_mul(5).min(i32::MAX as u32);
        let relation = self.event.map_or(Relation::New, |known| known.relation(header, event, stale));
        let units =
            |total: u64| u32::try_from(total * u64::from(line) / u64::from(clock)).unwrap_or(u32::MAX);
        match (relation, self.event.as_mut()) {
            (Relation::Stale, _) => {}
            (Relation::Same, Some(known)) => {
                let total = known.update(header, event);
                self.keys.newest_lasts(units(total));
            }
            _ => {
                self.event = Some(Incoming::new(header, event));
                let (began, volume) = (header.timestamp, event.volume);
                self.press(
                    now,
                    Pressed::new(event.code, volume, began, units(u64::from(event.duration))),
                    line,
                    chance,
                );
            }
        }
    }

    fn hear_sound(&mut self, now: Instant, header: &Header, payload: &[u8], chance: u8) {
        let Some(mut voice) = self.voice.take() else { return };
        let line = voice.clock();
        voice.listen(payload, |at, sounding| {
            let timestamp = header.timestamp.wrapping_add(at);
            if self.sounding {
                self.keys.newest_ends(timestamp);
            }
            self.sounding = sounding.is_some();
            if let Some(key) = sounding {
                self.press(now, Pressed::new(key.code, key.volume, timestamp, 0), line, chance);
            }
        });
        if self.sounding {
            // It is held at least until the next packet tells.
            self.keys.newest_ends(header.timestamp.wrapping_add(voice.units(payload)));
        }
        self.voice = Some(voice);
    }

    /// A key is pressed; what becomes of it is decided by those before it.
    fn press(&mut self, now: Instant, mut key: Pressed, clock: u32, chance: u8) {
        if let Some(armed) = self.armed.as_mut() {
            let heard = armed.press(now, key.code, key.began, clock, self.mode);
            (key.mode, self.mode) = (heard.now, heard.then);
            if heard.is_over {
                self.armed = None;
            }
        } else {
            key.mode = self.mode;
        }
        // Another than the one that was pressed.
        key.other = if chance % 9 < key.code { chance % 9 } else { chance % 9 + 1 };
        self.keys.push(key);
    }

    fn end_trigger(&mut self) {
        if let Some(armed) = self.armed.take() {
            self.mode = armed.after();
        }
    }

    /// Decides about a packet whose turn has come: how often it goes on, 0 for not at all. It may be another one then. The
    /// number in `header` is the first; those behind it have the numbers behind it.
    pub fn pass(&mut self, packet: &mut Packet, header: &mut Header, content: Content, usage: &Usage) -> u8 {
        self.made = false;
        let times = match content {
            Content::Event(clock) => self.pass_event(packet, header, clock, usage),
            Content::Sound(format) => {
                let units = header.payload(packet.as_slice()).map_or(0, |payload| format.units(payload));
                self.pass_sound(packet, header, units, usage)
            }
            Content::Other => 1,
        };
        header.sequence_number = header.sequence_number.wrapping_add(self.shift);
        header.write(packet.as_mut_slice());
        self.shift = self.shift.wrapping_add(u16::from(times)).wrapping_sub(1);
        times
    }

    /// The samples of the packet that went on last, and their rate, if they were put in here.
    #[must_use]
    pub fn made(&self) -> Option<(&[i16], u32)> {
        self.voice.as_ref().filter(|_| self.made).map(Voice::said)
    }

    fn pass_sound(&mut self, packet: &mut Packet, header: &mut Header, units: u32, usage: &Usage) -> u8 {
        let put = self.place(header.timestamp, usage);
        if let Some(said) = self.said
            && !matches!(put, Put::Event { began, .. } if began == said.began)
        {
            return self.say(packet, header, said, units, true, usage);
        }
        match put {
            Put::Nothing => 1,
            Put::Event { began, code, volume } => {
                let new =
                    Said { began, start: header.timestamp, code, volume, segmenter: Segmenter::default() };
                let said = self.said.unwrap_or(new);
                self.say(packet, header, said, units, false, usage)
            }
            Put::Silence => self.put(packet, header, units, None),
            Put::Tone(tone) => self.put(packet, header, units, Some(tone)),
        }
    }

    /// Makes of a packet one of the event that is said later.
    fn say(
        &mut self,
        packet: &mut Packet,
        header: &mut Header,
        said: Said,
        units: u32,
        end: bool,
        usage: &Usage,
    ) -> u8 {
        self.said = None;
        let Some((payload_type, clock)) = usage.events else { return 1 };
        let line = u64::from(self.line_clock(usage).unwrap_or(clock).max(1));
        let gone = header.timestamp.wrapping_sub(said.start);
        let total = u64::from(gone.saturating_add(units)) * u64::from(clock) / line;
        let mut segmenter = said.segmenter;
        let (offset, duration) = segmenter.place(total, end);
        let event = Event { code: said.code, end, volume: said.volume, duration };
        let timestamp = said.start.wrapping_add(u32::try_from(offset).unwrap_or(0));
        let mut new = Header::new(payload_type, header.sequence_number, timestamp, header.ssrc);
        new.marker = gone == 0;
        if new.start(packet, &event.to_bytes()).is_err() {
            return 0;
        }
        *header = new;
        self.said = (!end).then_some(Said { segmenter, ..said });
        if end { END_PACKETS } else { 1 }
    }

    fn pass_event(&mut self, packet: &mut Packet, header: &mut Header, clock: u32, usage: &Usage) -> u8 {
        let event = header.payload(packet.as_slice()).ok().and_then(Event::parse);
        let Some(event) = event else { return 0 };
        let (mode, other) = match self.keys.of(event.code, header.timestamp) {
            Some(key) => (key.mode, key.other),
            None => (self.mode, 0),
        };
        let code = match mode {
            Mode::Off if self.wish.delay.is_zero() => return 1,
            Mode::Drop => return 0,
            Mode::Off | Mode::Silence | Mode::Tone => {
                return self.pass_as_sound(packet, header, event, clock, usage);
            }
            Mode::Random => other,
            Mode::Key(code) => code,
        };
        let at = header.header_len();
        if let Some(first) = packet.as_mut_slice().get_mut(at) {
            *first = code;
        }
        1
    }

    /// Puts sound in the place of what an event packet adds to those before it.
    fn pass_as_sound(
        &mut self,
        packet: &mut Packet,
        header: &mut Header,
        event: Event,
        clock: u32,
        usage: &Usage,
    ) -> u8 {
        if let Some((payload_type, format)) = usage.sound.filter(|_| self.voice.is_none()) {
            self.speak(payload_type, format);
        }
        let line = self.line_clock(usage).unwrap_or(clock);
        let Some(voice) = self.voice.as_ref() else { return 0 };
        let Some(key) = self.keys.of(event.code, header.timestamp) else { return 0 };
        let duration = u64::from(event.duration) * u64::from(line) / u64::from(clock.max(1));
        let total = header.timestamp.wrapping_sub(key.began).saturating_add(duration as u32);
        // What is long past, behind losses, is not caught up on.
        let longest = line * 60 / 1000;
        let from = key.made.max(total.saturating_sub(longest));
        let units = voice.whole(total.saturating_sub(from));
        if units == 0 {
            return 0;
        }
        key.made = from + units;
        let mut new =
            Header::new(voice.number(), header.sequence_number, key.began.wrapping_add(from), header.ssrc);
        new.marker = false;
        *header = new;
        match self.pass_sound(packet, header, units, usage) {
            // Nothing of the key is to be heard where it lies.
            1 if header.payload_type == new.payload_type && !self.made => {
                self.put(packet, header, units, None)
            }
            times => times,
        }
    }

    /// Makes a packet one of sound of ours.
    fn put(&mut self, packet: &mut Packet, header: &mut Header, units: u32, tone: Option<Tone>) -> u8 {
        let Some(voice) = self.voice.as_mut() else { return 0 };
        let mut new = Header::new(voice.number(), header.sequence_number, header.timestamp, header.ssrc);
        let Some(payload) = voice.say(header.timestamp, units, tone) else { return 0 };
        new.marker = header.marker;
        if new.start(packet, payload).is_err() {
            return 0;
        }
        *header = new;
        self.made = true;
        1
    }

    /// What goes on in the place of sound at a timestamp.
    fn place(&self, timestamp: u32, usage: &Usage) -> Put {
        let Some(clock) = self.line_clock(usage) else { return Put::Nothing };
        let units = |time: Duration| (time.as_millis() as u64 * u64::from(clock) / 1000) as u32;
        let (around, later) = (units(usage.held), units(self.wish.delay));
        let tone = |code: u8, volume: u8| Tone::new(code, volume).map_or(Put::Silence, Put::Tone);
        if later > 0
            && let Some(key) =
                self.keys.at(timestamp.wrapping_sub(later), 0).filter(|key| key.mode == Mode::Off)
        {
            return match usage.events {
                Some(_) => Put::Event { began: key.began, code: key.code, volume: key.volume },
                None => tone(key.code, key.volume),
            };
        }
        let Some(key) = self.keys.at(timestamp, around) else { return Put::Nothing };
        let instead = |code| match usage.events {
            // The key itself is told by events.
            Some(_) => Put::Silence,
            None => tone(code, self.wish.volume),
        };
        match key.mode {
            Mode::Off if later == 0 => Put::Nothing,
            Mode::Drop => Put::Nothing,
            Mode::Off | Mode::Silence => Put::Silence,
            Mode::Tone => Put::Tone(Tone::single(self.wish.hertz, self.wish.volume)),
            Mode::Random => instead(key.other),
            Mode::Key(code) => instead(code),
        }
    }

    /// Sees to it that there is a voice of what the sender speaks.
    fn speak(&mut self, payload_type: u8, format: Format) {
        if self.voice.as_ref().is_none_or(|voice| !voice.is(payload_type, format)) {
            self.voice = Voice::new(payload_type, format);
            self.sounding = false;
        }
    }

    /// The clock of the sender's sound.
    fn line_clock(&self, usage: &Usage) -> Option<u32> {
        self.voice.as_ref().map(Voice::clock).or(usage.sound.map(|(_, format)| format.clock))
    }
}

#[cfg(test)]
mod tests;
