//! The life of an RTP packet, from the leg that sent it to the legs that hear it.
//!
//! Nothing is decided here: routes, payload types and header extensions were chosen when offer and answer were
//! exchanged, and a transcoder, player or recorder is another kind of route, not a branch in this file.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;

use crate::call::leg::{Leg, LegKey};
use crate::call::plan::{Payload, PayloadMap};
use crate::codec::g711;
use crate::packet::{Packet, Pool};
use crate::rtp::{self, Header};
use crate::sockets::SocketId;
use crate::stats::Stats;

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
}

/// What a packet brought besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The call of the leg.
    pub call: usize,
    /// It was the first of its leg.
    pub first: bool,
    /// A key was pressed (RFC 4733 event number).
    pub key: Option<u8>,
}

impl Paths {
    /// No legs, and `buffers` free buffers.
    pub fn new(buffers: usize) -> Paths {
        Paths {
            legs: Slab::new(),
            pool: Pool::new(buffers),
            out: VecDeque::with_capacity(64),
            stats: Stats::default(),
        }
    }

    /// Takes a packet of line `line` of the leg `from`: authentic (SRTP) or from the right address (RTP), and decrypted.
    /// `None` when its padding is wrong or the leg has no such line.
    pub fn rtp_received(
        &mut self,
        now: Instant,
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
        let heard = self.count_received(now, from, line, &packet, header);
        let routes = self.legs.get(from).and_then(|leg| leg.line(line)).map_or(0, |line| line.routes.len());
        // The last listener gets the packet itself, those before it a copy: with one, nothing is copied.
        for at in 1..routes {
            let mut copy = self.pool.take();
            copy.copy_from(&packet);
            self.pass_on(now, (from, line), at - 1, copy, *header);
        }
        match routes {
            0 => self.pool.put(packet),
            routes => self.pass_on(now, (from, line), routes - 1, packet, *header),
        }
        heard
    }

    /// Sends one packet along one route: choose, strip, convert, renumber, protect, send.
    fn pass_on(
        &mut self,
        now: Instant,
        from: (LegKey, usize),
        at: usize,
        mut packet: Packet,
        mut header: Header,
    ) {
        let Some((to, line, map)) = self.choose(now, from, at, &mut packet, &mut header) else {
            return self.pool.put(packet);
        };
        let Self { legs, pool, out, stats } = self;
        let Some(leg) = legs.get_mut(to) else { return pool.put(packet) };
        let Some(sink) = leg.line_mut(line).map(|line| &mut line.sink) else { return pool.put(packet) };
        let source = (from.0, from.1, header.ssrc);
        if map.payload == Payload::Dtmf {
            if sink.renumber_event(now, source, &mut packet, &mut header, &map).is_err() {
                stats.dropped += 1;
                return pool.put(packet);
            }
        } else {
            sink.renumber(now, source, &mut header, &map);
            convert(&map, packet.as_mut_slice(), &header);
            header.write(packet.as_mut_slice());
        }
        sink.sent(packet.len().saturating_sub(header.header_len()));
        match send(leg, line, packet) {
            Ok(transmit) => {
                stats.forwarded += 1;
                out.push_back(transmit);
            }
            Err(packet) => {
                stats.unsendable += 1;
                pool.put(packet);
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
        let source = self.legs.get(from.0)?.line(from.1)?;
        let route = source.routes.get(at)?;
        let map = route.payload(header.payload_type).filter(|_| route.open)?;
        let (to, line) = (route.leg, route.line);
        // Of several branches only the one that is heard also hears.
        if source.floor.speakers > 1 && source.floor.holder.is_some_and(|holder| holder != to) {
            return None;
        }
        cut_extensions(packet, header, &route.extensions);
        let target = self.legs.get_mut(to)?.line_mut(line)?;
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
        let mut key = None;
        let payload = packet.len().saturating_sub(header.header_len());
        match map {
            Some(map) if map.payload == Payload::Dtmf => {
                line.reception.on_event_packet(now, header, payload);
                key = pressed(header, packet, &mut line.last_event);
            }
            Some(map) => {
                line.reception.set_clock_rate(map.from_clock);
                line.reception.on_packet(now, header, payload);
            }
            None => {}
        }
        leg.heard = true;
        self.stats.received += 1;
        Some(Heard { call, first: !heard, key })
    }
}

/// The key of a telephone-event, once for each (RFC 4733 §2.5.1.2: one event, one timestamp).
fn pressed(header: &Header, packet: &Packet, last: &mut Option<u32>) -> Option<u8> {
    let event = *header.payload(packet.as_slice()).ok()?.first()?;
    if *last == Some(header.timestamp) {
        return None;
    }
    *last = Some(header.timestamp);
    (event <= 15).then_some(event)
}

/// Changes the payload where the two ends name the same sound differently.
fn convert(map: &PayloadMap, packet: &mut [u8], header: &Header) {
    let Some(payload) = packet.get_mut(header.header_len()..) else { return };
    match map.payload {
        Payload::UlawToAlaw => g711::ulaw_to_alaw(payload),
        Payload::AlawToUlaw => g711::alaw_to_ulaw(payload),
        Payload::Media | Payload::Dtmf | Payload::ComfortNoise => {}
    }
}

/// Protects a packet and addresses it; gives it back when there is nowhere to send it to yet.
fn send(leg: &mut Leg, line: usize, mut packet: Packet) -> Result<Transmit, Packet> {
    if let Some(secure) = leg.secure.as_mut() {
        let Some(to) = secure.target() else { return Err(packet) };
        let Some(srtp) = secure.srtp.as_mut() else { return Err(packet) };
        return match srtp.protect(&mut packet) {
            Ok(()) => Ok(Transmit { socket: secure.socket, to, packet }),
            Err(_) => Err(packet),
        };
    }
    let port = leg.line(line).and_then(|line| line.rtp.as_ref());
    match port.and_then(|port| Some((port.socket, port.latch.target()?))) {
        Some((socket, to)) => Ok(Transmit { socket, to, packet }),
        None => Err(packet),
    }
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
