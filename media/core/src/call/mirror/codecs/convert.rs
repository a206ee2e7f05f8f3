//! What becomes of each format that one end sends on the way to the other.

use super::list::{Formats, Listed};
use crate::call::plan::{Along, Payload, PayloadMap};
use crate::codec::{Coding, Format};

/// How long the packets of two ends are.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::call::mirror) struct Packing {
    /// Milliseconds per packet of the end that sends, and of the one that hears, where they are known.
    pub(in crate::call::mirror) ptimes: [Option<u16>; 2],
    /// The controller asked for it (ng `ptime`): packets are repacked where the two differ.
    pub(in crate::call::mirror) repacks: bool,
}

impl Packing {
    /// As seen from the other end.
    pub(in crate::call::mirror) fn reversed(self) -> Self {
        Self { ptimes: [self.ptimes[1], self.ptimes[0]], ..self }
    }

    fn differs(self) -> bool {
        let [from, to] = self.ptimes.map(|ptime| ptime.unwrap_or(20));
        self.repacks && from != to
    }
}

/// What becomes of one format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversion<'a> {
    pub(super) from: &'a Listed,
    /// What it is at the other end; `None` where that has nothing like it and it cannot be converted.
    pub(super) to: Option<&'a Listed>,
    /// Whether packets are more than renumbered.
    pub(super) is_made: bool,
    /// The events and the comfort noise that go along with `to`.
    pub(super) events: Option<&'a Listed>,
    pub(super) noise: Option<&'a Listed>,
    /// Keys are heard in the sound and told by events, silence by comfort noise.
    detects: bool,
    hushes: bool,
    /// Events or comfort noise of the end become part of the sound.
    plays: bool,
}

/// What becomes of the formats that the end with `from` sends to the one with `to`. `refused`: what the former did not
/// answer of supplements is none of the latter's either, unless they are converted.
pub(super) fn conversions<'a>(
    from: &'a Formats,
    to: &'a Formats,
    packing: Packing,
    refused: bool,
) -> Vec<Conversion<'a>> {
    from.iter().map(|listed| conversion(listed, from, to, packing, refused)).collect()
}

fn conversion<'a>(
    listed: &'a Listed,
    own: &'a Formats,
    others: &'a Formats,
    packing: Packing,
    refused: bool,
) -> Conversion<'a> {
    let same = match others.by_number(listed.codec.payload_type).filter(|it| it.codec == listed.codec) {
        Some(same) => Some(same),
        None => others
            .by_number(listed.codec.payload_type)
            .filter(|it| it.is_same_stream(listed))
            .or_else(|| others.iter().find(|it| it.is_same_stream(listed))),
    };
    let passes = Conversion {
        from: listed,
        to: same,
        is_made: false,
        events: None,
        noise: None,
        detects: false,
        hushes: false,
        plays: false,
    };
    let preferred = others.preferred();
    let target = match same {
        // What the relay converts to was asked for.
        Some(_) if !listed.is_supplement() && preferred.is_some_and(|it| it.made) => preferred,
        Some(same) => Some(same),
        None => preferred,
    };
    let Some(target) = target.filter(|_| listed.is_convertible()) else { return passes };
    let clock = target.codec.clock;
    let [events, noise] = ["telephone-event", "CN"].map(|name| {
        let theirs = others.supplement(name, clock);
        let ours = own.supplement(name, listed.codec.clock);
        (theirs.filter(|theirs| !refused || ours.is_some() || theirs.made), ours)
    });
    let is_sound = listed.is_sound();
    let detects = is_sound && events.1.is_none() && events.0.is_some_and(|it| it.made);
    let hushes = is_sound && noise.1.is_none() && noise.0.is_some_and(|it| it.made);
    let played = |(theirs, ours): (Option<&Listed>, Option<&Listed>)| {
        is_sound && theirs.is_none() && ours.is_some_and(|it| it.made)
    };
    let plays = played(events) || played(noise);
    let is_made =
        !listed.is_same_stream(target) || (is_sound && packing.differs()) || detects || hushes || plays;
    let (events, noise) = (events.0, noise.0);
    Conversion { from: listed, to: Some(target), is_made, events, noise, detects, hushes, plays }
}

/// What becomes of the payload types that the end with `from` sends.
pub(in crate::call::mirror) fn payloads(from: &Formats, to: &Formats, packing: Packing) -> Vec<PayloadMap> {
    let conversions = conversions(from, to, packing, false);
    let mut maps: Vec<PayloadMap> = conversions.iter().filter_map(|it| payload(it, packing)).collect();
    maps.sort_by_key(|map| map.from);
    maps.dedup_by_key(|map| map.from);
    maps
}

fn payload(conversion: &Conversion<'_>, packing: Packing) -> Option<PayloadMap> {
    let from = &conversion.from.codec;
    let to = conversion.to?;
    let map = |to: &Listed, payload| PayloadMap {
        from: from.payload_type,
        to: to.codec.payload_type,
        from_clock: from.clock,
        to_clock: to.codec.clock,
        payload,
    };
    if from.is_dtmf() {
        let events = if to.codec.is_dtmf() { Some(to) } else { conversion.events };
        let tone = || Some(map(to, Payload::Tone { to: to.format(packing.ptimes[1])? }));
        return events.map(|events| map(events, Payload::Dtmf)).or_else(tone);
    }
    if from.is_comfort_noise() {
        let noise = if to.codec.is_comfort_noise() { Some(to) } else { conversion.noise };
        let along = Along::default();
        let sound = || {
            let from = Format::noise(from.clock);
            Some(map(to, Payload::Transcode { from, to: to.format(packing.ptimes[1])?, along }))
        };
        return noise.map(|noise| map(noise, Payload::ComfortNoise)).or_else(sound);
    }
    if !conversion.is_made {
        return Some(map(to, Payload::Media));
    }
    let formats = (conversion.from.format(packing.ptimes[0])?, to.format(packing.ptimes[1])?);
    let number = |listed: Option<&Listed>| listed.map(|it| it.codec.payload_type);
    let along = Along {
        events: number(conversion.events).filter(|_| conversion.detects),
        noise: number(conversion.noise).filter(|_| conversion.hushes),
    };
    let is_plain = !packing.differs() && !conversion.plays && along == Along::default();
    Some(map(
        to,
        match (formats.0.coding, formats.1.coding) {
            (Coding::Pcmu, Coding::Pcma) if is_plain && from.clock == to.codec.clock => Payload::UlawToAlaw,
            (Coding::Pcma, Coding::Pcmu) if is_plain && from.clock == to.codec.clock => Payload::AlawToUlaw,
            (..) => Payload::Transcode { from: formats.0, to: formats.1, along },
        },
    ))
}
