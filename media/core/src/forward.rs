//! The life of an RTP packet, from the leg that sent it to the legs that hear it.
//!
//! Nothing is decided here: routes, payload types and header extensions were chosen when offer and answer were
//! exchanged, and a transcoder, player or recorder is another kind of route, not a branch in this file.

mod played;
mod screened;
mod transcoded;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;

use crate::call::leg::{Leg, LegKey, Port, Purpose, Route};
use crate::call::plan::{MediaKind, Payload, PayloadMap};
use crate::call::sink::{Sink, Source};
use crate::codec::g711;
use crate::dtmf::{Detector, END_PACKETS, Event, digit_of};
use crate::packet::{Packet, Pool};
use crate::rtp::{self, Header};
use crate::sockets::SocketId;
use crate::stats::Stats;
use crate::transcode::Silence;

/// A datagram to be sent.
#[derive(Debug)]
pub struct Transmit {
    /// From which socket.
    pub socket: SocketId,
    /// To where.
    pub to: SocketAddr,
    /// What.
    pub packet: Packet,
}

/// The legs of a worker, the ways between them, and what is about to leave.
#[derive(Debug)]
pub struct Paths {
    /// All legs, by slot.
    pub legs: Slab<Leg>,
    /// Free buffers.
    pub pool: Pool,
    /// Datagrams to be sent, in order.
    pub out: VecDeque<Transmit>,
    /// Counters.
    pub stats: Stats,
    /// What transcoders do about silence.
    pub silence: Silence,
}

/// What a packet brought besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The call of the leg.
    pub call: usize,
    /// It was the first of its leg.
    pub first: bool,
    /// Keys that were pressed and let go (RFC 4733 event numbers; with a lost end, that of the event before too), or that
    /// begin to sound.
    pub keys: [Option<u8>; 2],
    /// It was a telephone-event: the silence after it has to be watched.
    pub event: bool,
    /// A transcoder waits for something.
    pub waits: bool,
    /// With it a stream (re)starts at a listener, who needs a picture.
    pub starts: bool,
}

impl Paths {
    /// No legs, and `buffers` free buffers; about silence is done what `silence` says.
    pub fn new(buffers: usize, silence: Silence) -> Paths {
        Paths {
            silence,
            legs: Slab::new(),
            pool: Pool::new(buffers),
            out: VecDeque::with_capacity(64),
            stats: Stats::default(),
        }
    }

    /// Takes a packet of line `line` of the leg `from`: authentic (SRTP) or from the right address (RTP), and decrypted.
    /// `None` when its padding is wrong or the leg has no such line. It may have `arrived` some time ago.
    pub fn rtp_received(
        &mut self,
        now: Instant,
        arrived: Instant,
        from: LegKey,
        line: usize,
        packet: Packet,
        header: &mut Header,
    ) -> Option<Heard> {
        if header.payload(packet.as_slice()).is_err() {
            self.stats.dropped += 1;
            self.pool.put(packet);
            return None;
        }
        let mut heard = self.count_received(arrived, from, line, &packet, header);
        let starts = self.screen(now, (from, line), packet, header);
        if let Some(heard) = heard.as_mut() {
            heard.starts = starts;
            heard.waits = self.transcoders_wait(from, line);
        }
        heard
    }

    /// Sends a packet of a line along all its routes. True when a picture (re)starts somewhere with it.
    fn spread(&mut self, now: Instant, from: (LegKey, usize), packet: Packet, header: &Header) -> bool {
        let mut starts = false;
        let line = self.legs.get(from.0).and_then(|leg| leg.line(from.1));
        let routes = line.map_or(0, |line| line.routes.len());
        // The last listener gets the packet itself, those before it a copy: with one, nothing is copied.
        for at in 1..routes {
            let mut copy = self.pool.take();
            copy.copy_from(&packet);
            starts |= self.pass_on(now, from, at - 1, copy, *header);
        }
        match routes {
            0 => self.pool.put(packet),
            routes => starts |= self.pass_on(now, from, routes - 1, packet, *header),
        }
        starts
    }

    /// Takes a datagram of a line that carries no RTP known here, from the right address: it passes untouched, from the
    /// `second` of our ports to that of the other end. The call of the leg.
    pub fn datagram_received(
        &mut self,
        now: Instant,
        (from, line): (LegKey, usize),
        second: bool,
        packet: Packet,
    ) -> Option<usize> {
        let leg = self.legs.get_mut(from)?;
        let call = leg.call;
        let held = leg.held().media;
        let source = leg.line_mut(line)?;
        source.received.packets += 1;
        source.received.bytes += packet.len() as u64;
        source.last_rtp = Some(now);
        self.stats.received += 1;
        let open = |route: &Route| (route.open && !held).then_some((route.leg, route.line));
        let routes = source.routes.len();
        for at in 0..routes {
            let route = self.legs.get(from).and_then(|leg| leg.line(line)?.routes.get(at)).and_then(open);
            let Some((leg, line)) = route.and_then(|(to, line)| Some((self.legs.get_mut(to)?, line))) else {
                continue;
            };
            let mut copy = self.pool.take();
            copy.copy_from(&packet);
            let line = leg.line(line);
            let port = line.and_then(|line| if second { line.rtcp.as_ref() } else { line.rtp.as_ref() });
            match port.and_then(Port::way) {
                Some((socket, to)) => {
                    self.stats.forwarded += 1;
                    self.stats.forwarded_octets += copy.len() as u64;
                    self.out.push_back(Transmit { socket, to, packet: copy });
                }
                None => {
                    self.stats.unsendable += 1;
                    self.pool.put(copy);
                }
            }
        }
        self.pool.put(packet);
        Some(call)
    }

    /// Passes a packet that could not be opened to the ends that have its key, as it is: they judge it. It teaches nothing,
    /// so it must come from where the end is known to be. `at_rtcp`: it came to the RTCP port. The call of the leg, if it passed.
    pub fn pass_unread(
        &mut self,
        (from, line): (LegKey, usize),
        at_rtcp: bool,
        is_rtcp: bool,
        source: SocketAddr,
        packet: &Packet,
    ) -> Option<usize> {
        let leg = self.legs.get(from)?;
        let (call, gates, own) = (leg.call, leg.held(), leg.line(line)?);
        let port = if at_rtcp { own.rtcp.as_ref() } else { own.rtp.as_ref() };
        if port?.latch.target() != Some(source) || gates.media || gates.sound || leg.screened().is_some() {
            return None;
        }
        let payload_type = Header::parse(packet.as_slice()).ok().map(|header| header.payload_type);
        let passes = |route: &&Route| {
            let map = payload_type.and_then(|it| route.payload(it));
            let blocked = |map: PayloadMap| gates.dtmf && map.payload == Payload::Dtmf;
            route.unread && (is_rtcp || (route.open && map.is_some_and(|map| !blocked(map))))
        };
        let mut passed = None;
        for route in own.routes.iter().filter(passes) {
            let Some(line) = self.legs.get(route.leg).and_then(|leg| leg.line(route.line)) else { continue };
            let port = if is_rtcp && !line.rtcp_mux { line.rtcp.as_ref() } else { line.rtp.as_ref() };
            let Some((socket, to)) = port.and_then(Port::way) else { continue };
            let mut copy = self.pool.take();
            copy.copy_from(packet);
            self.stats.forwarded += 1;
            self.out.push_back(Transmit { socket, to, packet: copy });
            passed = Some(call);
        }
        passed
    }

    /// Sends one packet along one route: choose, strip, convert or transcode, renumber, protect, send. True when a picture
    /// (re)starts there with it.
    fn pass_on(
        &mut self,
        now: Instant,
        from: (LegKey, usize),
        at: usize,
        mut packet: Packet,
        mut header: Header,
    ) -> bool {
        let Some((to, line, map)) = self.choose(now, from, at, &mut packet, &mut header) else {
            self.pool.put(packet);
            return false;
        };
        let map = self.say_in_its_law(from, &mut packet, &header, map);
        match self.by_transcoder(from, at, (to, line), &header, &map) {
            true => self.transcode(now, (from, at), (to, line), packet, header, map),
            false => self.forward(now, from, (to, line), packet, header, map),
        }
    }

    /// Sends a packet of the line `from` to the line `to`. True when a picture (re)starts there with it.
    fn forward(
        &mut self,
        now: Instant,
        from: (LegKey, usize),
        (to, line): (LegKey, usize),
        mut packet: Packet,
        mut header: Header,
        map: PayloadMap,
    ) -> bool {
        let Some(leg) = self.legs.get_mut(to) else {
            self.pool.put(packet);
            return false;
        };
        let source = (from.0, from.1, header.ssrc);
        let target = leg.line_mut(line);
        let written = target.and_then(|target| {
            rewrite(&mut target.sink, now, source, &mut packet, &mut header, &map)?;
            Some(played::put_key(target, now, from.0, &map, &mut packet, &mut header))
        });
        let Some(repeated) = written else {
            self.stats.dropped += 1;
            self.pool.put(packet);
            return false;
        };
        let payload = packet.len().saturating_sub(header.header_len());
        let starts = self.dispatch(now, (to, line), packet, header.sequence_number, payload);
        if let Some((said, payload_type)) = repeated {
            for _ in 1..END_PACKETS {
                self.send_event(now, (to, line), said, payload_type);
            }
        }
        starts
    }

    /// Protects and sends a packet that is ready. True when a picture (re)starts with it.
    fn dispatch(
        &mut self,
        now: Instant,
        (to, line): (LegKey, usize),
        packet: Packet,
        number: u16,
        payload: usize,
    ) -> bool {
        let Self { legs, pool, out, stats, .. } = self;
        let Some(leg) = legs.get_mut(to) else {
            pool.put(packet);
            return false;
        };
        match send(now, leg, line, packet) {
            Ok(transmit) => {
                stats.forwarded += 1;
                stats.forwarded_octets += transmit.packet.len() as u64;
                let mut line = leg.line_mut(line);
                if let Some(history) = line.as_mut().and_then(|line| line.history.as_mut()) {
                    history.keep(number, &transmit.packet);
                }
                out.push_back(transmit);
                let Some(line) = line else { return false };
                line.sink.sent(payload);
                line.sink.starts() && line.kind == MediaKind::Video
            }
            Err(packet) => {
                stats.unsendable += 1;
                pool.put(packet);
                false
            }
        }
    }

    /// The other end of a route and what becomes of the payload there, with the header extensions cut to those that
    /// pass; `None` when the packet does not pass.
    fn choose(
        &mut self,
        now: Instant,
        from: (LegKey, usize),
        at: usize,
        packet: &mut Packet,
        header: &mut Header,
    ) -> Option<(LegKey, usize, PayloadMap)> {
        let leg = self.legs.get(from.0)?;
        let (gates, source) = (leg.held(), leg.line(from.1)?);
        let route = source.routes.get(at)?;
        let map = route.payload(header.payload_type).filter(|_| route.open)?;
        let (to, line) = (route.leg, route.line);
        let is_event = map.payload.is_event();
        // Keys are no media to who holds back the one or the other.
        let held = if is_event { gates.dtmf } else { gates.media };
        if held || map.payload == Payload::Told {
            self.legs.get_mut(to)?.line_mut(line)?.sink.interrupt();
            return None;
        }
        if gates.sound && source.kind == MediaKind::Audio && !is_event {
            silence(packet, header)?;
        }
        // Of several branches only the one that is heard also hears; a subscriber is no branch.
        let talk = route.purpose == Purpose::Talk;
        if talk && source.floor.speakers > 1 && source.floor.holder.is_some_and(|holder| holder != to) {
            self.legs.get_mut(to)?.line_mut(line)?.sink.interrupt();
            return None;
        }
        if !route.transparent {
            cut_extensions(packet, header, &route.extensions);
        }
        let target = self.legs.get_mut(to)?.line_mut(line)?;
        if target.speech.player.is_some() {
            target.sink.interrupt();
            return None;
        }
        target.floor.admits(now, from.0).then_some((to, line, map))
    }

    fn count_received(
        &mut self,
        now: Instant,
        from: LegKey,
        line: usize,
        packet: &Packet,
        header: &Header,
    ) -> Option<Heard> {
        let leg = self.legs.get_mut(from)?;
        let (call, heard) = (leg.call, leg.heard);
        let line = leg.line_mut(line)?;
        line.received.packets += 1;
        line.received.bytes += packet.len() as u64;
        line.last_rtp = Some(now);
        let map = line.routes.first().and_then(|route| route.payload(header.payload_type));
        let mut keys = [None; 2];
        let mut event = false;
        let payload = packet.len().saturating_sub(header.header_len());
        match map {
            Some(map) if map.payload.is_event() => {
                line.reception.on_event_packet(now, header, payload);
                event = true;
                keys = pressed(now, header, packet, map.from_clock, &mut line.keys);
            }
            Some(map) => {
                line.last_payload_type = Some(header.payload_type);
                line.reception.set_clock_rate(map.from_clock);
                line.reception.on_packet(now, header, payload);
                keys[0] = line.hear(packet, header);
            }
            None => {}
        }
        leg.heard = true;
        self.stats.received += 1;
        Some(Heard { call, first: !heard, keys, event, waits: false, starts: false })
    }
}

/// The keys that a telephone-event shows to be finished, each once.
fn pressed(
    now: Instant,
    header: &Header,
    packet: &Packet,
    clock: u32,
    keys: &mut Option<(u32, Detector)>,
) -> [Option<u8>; 2] {
    let mut pressed = [None; 2];
    let Some(event) = header.payload(packet.as_slice()).ok().and_then(Event::parse) else { return pressed };
    let (known, detector) = keys.get_or_insert_with(|| (clock, Detector::new(clock)));
    if *known != clock {
        (*known, *detector) = (clock, Detector::new(clock));
    }
    for (slot, finished) in pressed.iter_mut().zip(detector.on_packet(now, header, event)) {
        *slot = is_key(finished.code).then_some(finished.code);
    }
    pressed
}

/// Whether an event is a key of a telephone: flash, tones and line events are not.
pub(crate) fn is_key(code: u8) -> bool {
    digit_of(code).is_some()
}

/// Makes of a packet one of the sink's stream; the length of its payload, `None` when it cannot go on.
fn rewrite(
    sink: &mut Sink,
    now: Instant,
    source: Source,
    packet: &mut Packet,
    header: &mut Header,
    map: &PayloadMap,
) -> Option<usize> {
    let untouched = sink.is_transparent() && map.from_clock == map.to_clock;
    if map.payload == Payload::Dtmf && !untouched {
        sink.renumber_event(now, source, packet, header, map).ok()?;
    } else {
        if matches!(map.payload, Payload::UlawToAlaw | Payload::AlawToUlaw) {
            // The octet that counts the padding is no sound.
            rtp::strip_padding(packet, header).ok()?;
        }
        sink.renumber(now, source, header, map);
        convert(map, packet.as_mut_slice(), header);
        header.write(packet.as_mut_slice());
    }
    Some(packet.len().saturating_sub(header.header_len()))
}

/// Puts silence in the place of sound. Formats whose silence the relay cannot write do not pass.
fn silence(packet: &mut Packet, header: &Header) -> Option<()> {
    // Of a static payload type the number tells (RFC 3551 §6): G.711's zero in either law.
    let zero = match header.payload_type {
        0 => 0xff,
        8 => 0xd5,
        _ => return None,
    };
    packet.as_mut_slice().get_mut(header.header_len()..)?.fill(zero);
    Some(())
}

/// Changes the payload where the two ends name the same sound differently.
fn convert(map: &PayloadMap, packet: &mut [u8], header: &Header) {
    let Some(payload) = packet.get_mut(header.header_len()..) else { return };
    match map.payload {
        Payload::UlawToAlaw => g711::ulaw_to_alaw(payload),
        Payload::AlawToUlaw => g711::alaw_to_ulaw(payload),
        Payload::Media
        | Payload::Dtmf
        | Payload::ComfortNoise
        | Payload::Transcode { .. }
        | Payload::Tone { .. }
        | Payload::Told => {}
    }
}

/// Protects a packet and addresses it; gives it back when there is nowhere to send it to yet.
fn send(now: Instant, leg: &mut Leg, line: usize, mut packet: Packet) -> Result<Transmit, Packet> {
    if let Some(secure) = leg.secure.as_mut() {
        let Some(to) = secure.target(now) else { return Err(packet) };
        let Some(srtp) = secure.srtp.as_mut() else { return Err(packet) };
        return match srtp.protect(&mut packet) {
            Ok(()) => Ok(Transmit { socket: secure.socket, to, packet }),
            Err(_) => Err(packet),
        };
    }
    let Some(line) = leg.line_mut(line) else { return Err(packet) };
    let Some((socket, to)) = line.rtp.as_ref().and_then(Port::way) else { return Err(packet) };
    if let Some(own) = line.own.as_mut().filter(|own| own.required)
        && own.srtp.as_mut().is_none_or(|srtp| srtp.protect(&mut packet).is_err())
    {
        return Err(packet);
    }
    Ok(Transmit { socket, to, packet })
}

/// Leaves of a header extension only the elements in `pass` (RFC 8285); others are overwritten by padding, and with none
/// left to pass the whole block goes.
fn cut_extensions(packet: &mut Packet, header: &mut Header, pass: &[u8]) {
    let Some(block) = header.extension() else { return };
    let two_byte = block.profile & 0xfff0 == 0x1000;
    if pass.is_empty() || (block.profile != 0xbede && !two_byte) {
        return rtp::strip_extension(packet, header);
    }
    let Some(elements) = packet.as_mut_slice().get_mut(block.offset..block.offset + block.len) else {
        return;
    };
    let mut at = 0;
    while at < elements.len() {
        let (id, len) = match (elements[at], two_byte) {
            (0, _) => {
                at += 1;
                continue;
            }
            (id, true) => (id, 2 + elements.get(at + 1).copied().map_or(0, usize::from)),
            (first, false) => (first >> 4, 2 + usize::from(first & 15)),
        };
        let end = (at + len).min(elements.len());
        // Identifier 15 ends a one-byte block (RFC 8285 §4.2): nothing behind it means anything.
        let end = if id == 15 && !two_byte { elements.len() } else { end };
        if !pass.contains(&id) {
            elements[at..end].fill(0);
        }
        at = end;
    }
}
