//! What the relay itself says: pieces of sound to an end, and keys in the place of a sender's sound.

use std::time::Instant;

use super::{Paths, rewrite, send};
use crate::call::leg::{Leg, LegKey, Line};
use crate::call::plan::{Payload, PayloadMap};
use crate::call::sink::Sink;
use crate::codec::{Coding, g711};
use crate::dtmf::{END_PACKETS, Said};
use crate::packet::Packet;
use crate::rtp::Header;
use crate::transcode::Made;

/// The place of a leg in the name of a source that is none: the relay itself.
const RELAY: LegKey = LegKey::MAX;

impl Paths {
    /// Says what is due at `now` to an end.
    pub(crate) fn speech_due(&mut self, now: Instant, key: LegKey) {
        let lines = self.legs.get(key).map_or(0, |leg| leg.lines.len());
        for line in 0..lines {
            self.player_due(now, key, line);
            self.keys_due(now, key, line);
        }
    }

    fn player_due(&mut self, now: Instant, key: LegKey, at: usize) {
        loop {
            let Some(leg) = self.legs.get_mut(key) else { return };
            let open = is_open(now, leg, at);
            let Some(line) = leg.line_mut(at) else { return };
            let due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
            let Some(mut player) = line.speech.player.take_if(|player| due(player.poll_timeout())) else {
                return;
            };
            if !open && !line.speech.heard {
                // Whoever has picked up hears it from the beginning, once the keys are agreed on.
                player.rewind();
                player.wait(now);
                line.speech.player = Some(player);
                return;
            }
            if let Some((made, payload)) = player.next(now) {
                self.send_played(now, key, at, made, payload);
            }
            let Some(line) = self.legs.get_mut(key).and_then(|leg| leg.line_mut(at)) else { return };
            line.speech.player = Some(player).filter(|player| player.poll_timeout().is_some());
        }
    }

    fn send_played(&mut self, now: Instant, key: LegKey, at: usize, made: Made, payload: &[u8]) {
        let Self { legs, pool, out, stats, .. } = self;
        let Some(leg) = legs.get_mut(key) else { return };
        let Some(line) = leg.line_mut(at) else { return };
        let Some(hears) = line.speech.hears else { return };
        let source = (RELAY, at, line.speech.count);
        let mut packet = pool.take();
        let mut header = Header::new(hears.payload_type, made.sequence_number, made.timestamp, source.2);
        header.marker = made.marker;
        let clock = hears.format.clock;
        let map = PayloadMap { from_clock: clock, to_clock: clock, ..PayloadMap::same(hears.payload_type) };
        let written = header.start(&mut packet, payload).is_ok();
        let sink = speaker(line);
        let sent = written.then(|| rewrite(sink, now, source, &mut packet, &mut header, &map)).flatten();
        let Some(payload) = sent else {
            stats.dropped += 1;
            return pool.put(packet);
        };
        match send(now, leg, at, packet) {
            Ok(transmit) => {
                stats.played += 1;
                out.push_back(transmit);
                if let Some(line) = leg.line_mut(at) {
                    line.speech.heard = true;
                    speaker(line).sent(payload);
                }
            }
            Err(packet) => {
                stats.unsendable += 1;
                pool.put(packet);
            }
        }
    }

    /// Makes the next packet of a key whose sender says nothing in which it could stand.
    fn keys_due(&mut self, now: Instant, key: LegKey, at: usize) {
        let Some(line) = self.legs.get_mut(key).and_then(|leg| leg.line_mut(at)) else { return };
        let Some(hears) = line.speech.hears else {
            line.speech.injection = None;
            return;
        };
        let Some((_, injection)) = line.speech.injection.as_deref_mut() else { return };
        if injection.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        let timestamp = injection.next_timestamp();
        let said = injection.event(now, timestamp, hears.format.clock / 50, true);
        let over = injection.is_over();
        if over {
            line.speech.injection = None;
        }
        if let Some((said, payload_type)) = said.zip(hears.events.map(|(number, _)| number)) {
            let times = if said.event.end { END_PACKETS } else { 1 };
            (0..times).for_each(|_| self.send_event(now, (key, at), said, payload_type));
        }
    }

    /// Sends a packet of an event behind everything that was sent before.
    pub(super) fn send_event(
        &mut self,
        now: Instant,
        (to, at): (LegKey, usize),
        said: Said,
        payload_type: u8,
    ) {
        let mut packet = self.pool.take();
        let Some(line) = self.legs.get_mut(to).and_then(|leg| leg.line_mut(at)) else {
            return self.pool.put(packet);
        };
        let clock = line.speech.hears.map_or(8000, |hears| hears.format.clock);
        let (ssrc, number) = line.sink.insert(now, said.timestamp, clock);
        let mut header = Header::new(payload_type, number, said.timestamp, ssrc);
        header.marker = said.marker;
        match header.start(&mut packet, &said.event.to_bytes()) {
            Ok(()) => {
                self.dispatch(now, (to, at), packet, number, said.event.to_bytes().len());
            }
            Err(_) => self.pool.put(packet),
        }
    }
}

/// What numbers the packets that are played to an end: its sink, but where that leaves others' numbers as they are one of
/// their own.
fn speaker(line: &mut Line) -> &mut Sink {
    if !line.sink.is_transparent() {
        return &mut line.sink;
    }
    let (ssrc, kind) = (line.sink.ssrc, line.kind);
    line.speech.sink.get_or_insert_with(|| Box::new(Sink::new(ssrc, kind)))
}

/// Whether something can be sent to an end now.
fn is_open(now: Instant, leg: &Leg, at: usize) -> bool {
    if let Some(secure) = &leg.secure {
        return secure.srtp.is_some() && secure.target(now).is_some();
    }
    let Some(line) = leg.line(at) else { return false };
    let keys = line.own.as_ref().is_none_or(|own| !own.required || own.srtp.is_some());
    keys && line.rtp.as_ref().is_some_and(|port| port.way().is_some())
}

/// Puts a key that is pressed for the sender in the place of its sound, in a packet that is otherwise ready to go. What
/// must be sent behind it, with its payload type.
pub(super) fn put_key(
    line: &mut Line,
    now: Instant,
    from: LegKey,
    map: &PayloadMap,
    packet: &mut Packet,
    header: &mut Header,
) -> Option<(Said, u8)> {
    let (sender, injection) = line.speech.injection.as_deref_mut()?;
    let sound = matches!(map.payload, Payload::Media | Payload::UlawToAlaw | Payload::AlawToUlaw);
    let hears = line.speech.hears.filter(|_| *sender == from && sound)?;
    let coding = Some(hears.format.coding).filter(|_| header.payload_type == hears.payload_type);
    let mut said = None;
    if injection.is_in_band() {
        let encode = match coding {
            Some(Coding::Pcmu) => g711::encode_ulaw,
            Some(Coding::Pcma) => g711::encode_alaw,
            _ => return None,
        };
        let timestamps = (0..).map(|at| header.timestamp.wrapping_add(at));
        let sound = packet.as_mut_slice().get_mut(header.header_len()..)?;
        for (octet, timestamp) in sound.iter_mut().zip(timestamps) {
            *octet = injection.sample(timestamp).map_or(*octet, encode);
        }
    } else {
        let (payload_type, _) = hears.events?;
        let len = packet.len().saturating_sub(header.header_len());
        let units = match coding {
            // An octet is a unit of the clock.
            Some(Coding::Pcmu | Coding::Pcma | Coding::G722) => u32::try_from(len).unwrap_or(0),
            _ => hears.format.clock * u32::from(hears.format.ptime) / 1000,
        };
        said = injection.event(now, header.timestamp, units, false).map(|said| (said, payload_type));
        if let Some((said, payload_type)) = said {
            let mut event = Header::new(payload_type, header.sequence_number, said.timestamp, header.ssrc);
            event.marker = said.marker;
            event.start(packet, &said.event.to_bytes()).ok()?;
            *header = event;
        }
    }
    if injection.is_over() {
        line.speech.injection = None;
    }
    said.filter(|(said, _)| said.event.end)
}
