//! What goes along with sound and is heard in it: keys and silence.

use std::time::Duration;

use crate::dtmf::{Event, Listener, Sounding};

/// What is done about silence, in the whole relay.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// Sound that never goes beyond this (of 32768) is silence, sent as comfort noise to whom the relay offered it (rtpengine's
    /// `silence-detect`); `None`: it is sound.
    pub below: Option<i16>,
    /// That comfort noise (`cn-payload`, RFC 3389 §3).
    pub payload: Vec<u8>,
    /// A sender whose next packet is so late pauses: its silence is made in its place (`dtx-delay`); `None`: only where its
    /// codec says that it pauses.
    pub fill_after: Option<Duration>,
    /// So long (`max-dtx`).
    pub longest: Duration,
    /// By this comfort noise (`dtx-cn-params`); empty for silence.
    pub fill: Vec<u8>,
}

impl Default for Silence {
    fn default() -> Self {
        let longest = Duration::from_secs(30);
        Self { below: None, payload: vec![32], fill_after: None, longest, fill: Vec::new() }
    }
}

/// The end of an event is sent three times (RFC 4733 §2.5.1.4).
const END_PACKETS: u8 = 3;

/// A packet that tells a key, in the place of one of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    /// It is the first of its event.
    pub(super) begins: bool,
    /// How often it is sent.
    pub(super) times: u8,
    pub(super) timestamp: u32,
    pub(super) event: Event,
}

/// Tells by events the keys that are heard in sound.
#[derive(Debug)]
pub(super) struct Keys {
    listener: Listener,
    /// The key that is told, since when, and for how long so far.
    told: Option<(Sounding, u32, u32)>,
}

impl Keys {
    pub(super) fn new(rate: u32) -> Option<Self> {
        Some(Self { listener: Listener::new(rate)?, told: None })
    }

    /// Takes the sound of one packet at `timestamp`, `units` long; what is said in its place.
    pub(super) fn take(&mut self, pcm: &[i16], timestamp: u32, units: u32) -> Option<Said> {
        // Known from what came before: this packet may already be over when the key is.
        let sounding = self.listener.sounding();
        self.listener.listen(pcm);
        let begins = self.told.is_none();
        let (key, since, before) = self.told.or(sounding.map(|key| (key, timestamp, 0)))?;
        // RFC 4733 §2.5.1.3: what is longer than can be said goes on as another segment.
        let fits = before.saturating_add(units) <= u32::from(u16::MAX);
        let (since, duration) = if fits { (since, before + units) } else { (timestamp, units) };
        let ends = sounding.is_none_or(|now| now.code != key.code);
        self.told = (!ends).then_some((key, since, duration));
        let event = Event { code: key.code, end: ends, volume: key.volume, duration: duration as u16 };
        Some(Said { begins, times: if ends { END_PACKETS } else { 1 }, timestamp: since, event })
    }
}

/// Comfort noise is said again so often while silence lasts, for whom the first was lost.
const NOISE_AGAIN_MS: u16 = 400;

/// Finds silence.
#[derive(Debug)]
pub(super) struct Quiet {
    below: u16,
    /// Packets from one comfort noise to the next.
    every: u16,
    /// Silent packets so far.
    packets: u16,
}

impl Quiet {
    pub(super) fn new(below: i16, ptime: u16) -> Self {
        Self { below: below.unsigned_abs(), every: (NOISE_AGAIN_MS / ptime.max(1)).max(1), packets: 0 }
    }

    /// Takes the sound of one packet: `None` where it is sound, else whether comfort noise is due with it.
    pub(super) fn take(&mut self, pcm: &[i16]) -> Option<bool> {
        if pcm.iter().any(|sample| sample.unsigned_abs() > self.below) {
            self.packets = 0;
            return None;
        }
        let is_due = self.packets == 0;
        self.packets = (self.packets + 1) % self.every;
        Some(is_due)
    }
}
