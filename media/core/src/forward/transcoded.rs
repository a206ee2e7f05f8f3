//! The part of a packet's life that is decoded and encoded.

use std::time::Instant;

use super::Paths;
use crate::call::leg::{LegKey, Line, Route};
use crate::call::plan::{Along, Payload, PayloadMap};
use crate::call::transcoding::{Queued, Transcoding};
use crate::codec::Coding;
use crate::jitter::InOrder;
use crate::packet::Packet;
use crate::rtp::Header;
use crate::transcode::{Content, Kind, Made, Received, Silence, Transcoder};

/// A line of a leg.
type At = (LegKey, usize);

impl Paths {
    /// Whether a packet goes by the route's transcoder, which is made ready for it.
    pub(super) fn by_transcoder(
        &mut self,
        from: At,
        at: usize,
        to: At,
        header: &Header,
        map: &PayloadMap,
    ) -> bool {
        let Self { legs, silence, .. } = self;
        let line = legs.get_mut(from.0).and_then(|leg| leg.line_mut(from.1));
        let Some(route) = line.and_then(|line| line.routes.get_mut(at)) else { return false };
        let current = route.transcoding.as_ref().is_some_and(|transcoding| transcoding.current);
        let (takes, ready) = match map.payload {
            Payload::Transcode { .. } | Payload::Tone { .. } => (true, prepare(route, header, map, silence)),
            // Events and comfort noise take their places in what is made.
            Payload::Dtmf | Payload::ComfortNoise => (current, true),
            _ => (false, true),
        };
        if takes != current {
            route.transcoding.iter_mut().for_each(|transcoding| transcoding.current = takes);
            if let Some(line) = self.legs.get_mut(to.0).and_then(|leg| leg.line_mut(to.1)) {
                line.sink.forget_source();
            }
        }
        takes && ready
    }

    /// Takes a packet for the transcoder of a route, and sends what it makes.
    pub(super) fn transcode(
        &mut self,
        now: Instant,
        (from, at): (At, usize),
        to: At,
        packet: Packet,
        header: Header,
        map: PayloadMap,
    ) -> bool {
        let Some(mut transcoding) = self.route_mut(from, at).and_then(|route| route.transcoding.take())
        else {
            self.pool.put(packet);
            return false;
        };
        if transcoding.ssrc.replace(header.ssrc).is_some_and(|known| known != header.ssrc) {
            transcoding.order.restart().for_each(|queued| self.pool.put(queued.packet));
            let (ssrc, map) = (header.ssrc, transcoding.map);
            let give = &mut |made, payload: &[u8]| self.send_made(now, from, to, ssrc, map, made, payload);
            transcoding.transcoder.restart(now, give);
        }
        let late = transcoding.order.put(now, header.sequence_number, Queued { packet, header, map });
        if let Some(late) = late {
            self.stats.dropped += 1;
            self.pool.put(late.packet);
        }
        self.take_turns(now, from, to, &mut transcoding);
        if let Some(route) = self.route_mut(from, at) {
            route.transcoding = Some(transcoding);
        }
        false
    }

    /// Decodes every packet whose turn it is.
    fn take_turns(&mut self, now: Instant, from: At, to: At, transcoding: &mut Transcoding) {
        while let Some(InOrder { packet: Queued { packet, mut header, map }, lost }) =
            transcoding.order.pop(now)
        {
            let lost = lost.unwrap_or(0);
            self.stats.concealed += u64::from(lost);
            let content = match map.payload {
                Payload::Transcode { from, .. } => Content::Sound(from),
                Payload::Tone { .. } => Content::Event(map.from_clock),
                _ => {
                    let place = transcoding.transcoder.pass(header.timestamp);
                    (header.sequence_number, header.timestamp) = (place.sequence_number, place.timestamp);
                    self.forward(now, from, to, packet, header, map);
                    continue;
                }
            };
            if is_sound(&map) {
                transcoding.map = map;
            }
            let map = transcoding.map;
            if let Ok(payload) = header.payload(packet.as_slice()) {
                let received = Received { content, timestamp: header.timestamp, payload, lost };
                let give = &mut |made, payload: &[u8]| {
                    self.send_made(now, from, to, header.ssrc, map, made, payload);
                };
                transcoding.transcoder.take(now, &received, give);
            }
            self.pool.put(packet);
        }
    }

    /// Does what the transcoders of a leg's routes have to do at `now`.
    pub(crate) fn transcoders_due(&mut self, now: Instant, key: LegKey) {
        let lines = self.legs.get(key).map_or(0, |leg| leg.lines.len());
        for line in 0..lines {
            let from = (key, line);
            let routes =
                self.legs.get(key).and_then(|leg| leg.line(line)).map_or(0, |line| line.routes.len());
            for at in 0..routes {
                self.transcoder_due(now, from, at);
            }
        }
    }

    fn transcoder_due(&mut self, now: Instant, from: At, at: usize) {
        let gated = self.legs.get(from.0).is_some_and(|leg| leg.held().media);
        let Some(route) = self.route_mut(from, at) else { return };
        let due = |transcoding: &mut Box<Transcoding>| transcoding.poll_timeout().is_some_and(|at| at <= now);
        let (to, open) = ((route.leg, route.line), route.open);
        let Some(mut transcoding) = route.transcoding.take_if(due) else { return };
        let listener = self.legs.get(to.0).and_then(|leg| leg.line(to.1));
        // A silence is no reason to take the floor.
        let listens = |line: &Line| line.floor.holder == Some(from.0) && line.speech.player.is_none();
        let heard = open && !gated && listener.is_some_and(listens);
        if heard {
            self.take_turns(now, from, to, &mut transcoding);
        } else {
            transcoding.order.restart().for_each(|queued| self.pool.put(queued.packet));
        }
        let (ssrc, map) = (transcoding.ssrc.unwrap_or(0), transcoding.map);
        let give = &mut |made, payload: &[u8]| {
            if heard {
                self.send_made(now, from, to, ssrc, map, made, payload);
            }
        };
        transcoding.transcoder.handle_timeout(now, give);
        if let Some(route) = self.route_mut(from, at) {
            route.transcoding = Some(transcoding);
        }
    }

    /// Whether a transcoder of the line waits for something but packets.
    pub(super) fn transcoders_wait(&self, key: LegKey, line: usize) -> bool {
        let line = self.legs.get(key).and_then(|leg| leg.line(line));
        line.is_some_and(|line| {
            let mut waits = line.routes.iter().filter_map(|route| route.transcoding.as_ref()?.poll_timeout());
            waits.next().is_some()
        })
    }

    /// How many lines are sent what is encoded here.
    pub(crate) fn transcoded_media(&self) -> u64 {
        let lines = self.legs.iter().flat_map(|(_, leg)| leg.lines());
        let routes = lines.flat_map(|(_, line)| &line.routes);
        routes.filter(|route| route.transcoding.as_ref().is_some_and(|it| it.current)).count() as u64
    }

    fn send_made(
        &mut self,
        now: Instant,
        from: At,
        to: At,
        ssrc: u32,
        map: PayloadMap,
        made: Made,
        payload: &[u8],
    ) {
        let mut packet = self.pool.take();
        let along = along(&map);
        let payload_type = match made.kind {
            Kind::Sound => map.to,
            Kind::Event => along.events.unwrap_or(map.to),
            Kind::Noise => along.noise.unwrap_or(map.to),
        };
        let mut header = Header::new(payload_type, made.sequence_number, made.timestamp, ssrc);
        header.marker = made.marker;
        if header.start(&mut packet, payload).is_err() {
            self.stats.dropped += 1;
            return self.pool.put(packet);
        }
        self.stats.transcoded += 1;
        let map = PayloadMap {
            from: payload_type,
            to: payload_type,
            from_clock: map.to_clock,
            to_clock: map.to_clock,
            payload: if made.kind == Kind::Event { Payload::Dtmf } else { Payload::Media },
        };
        self.forward(now, from, to, packet, header, map);
    }

    fn route_mut(&mut self, from: At, at: usize) -> Option<&mut Route> {
        self.legs.get_mut(from.0)?.line_mut(from.1)?.routes.get_mut(at)
    }
}

/// Sees to it that the route has a transcoder for what `map` says; false when it cannot be had.
fn prepare(route: &mut Route, header: &Header, map: &PayloadMap, silence: &Silence) -> bool {
    let (from, to) = match map.payload {
        Payload::Transcode { from, to, .. } => (from, to),
        Payload::Tone { to } => (to, to),
        _ => return false,
    };
    let wanted = along(map);
    let fits = |it: &Transcoding| {
        let same = it.transcoder.output() == to && it.map.to == map.to;
        same && (!is_sound(map) || along(&it.map) == wanted)
    };
    if route.transcoding.as_deref().is_some_and(fits) {
        return true;
    }
    let Some(transcoder) = Transcoder::new(from, to) else { return false };
    let transcoder = transcoder.with(silence, wanted.events.is_some(), wanted.noise.is_some());
    let mut transcoder = transcoder.beginning_at(header.sequence_number, header.timestamp);
    if let Some(before) = route.transcoding.as_ref() {
        transcoder.follow(&before.transcoder);
    }
    let current = route.transcoding.as_ref().is_some_and(|before| before.current);
    route.transcoding = Some(Box::new(Transcoding { current, ..Transcoding::new(transcoder, *map) }));
    true
}

/// Whether it is more than comfort noise or an event.
fn is_sound(map: &PayloadMap) -> bool {
    matches!(map.payload, Payload::Transcode { from, .. } if from.coding != Coding::ComfortNoise)
}

/// What goes along with what is made of a packet.
fn along(map: &PayloadMap) -> Along {
    match map.payload {
        Payload::Transcode { along, .. } => along,
        _ => Along::default(),
    }
}
