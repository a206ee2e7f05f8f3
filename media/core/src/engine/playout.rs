//! Packets that are held back: the jitter buffer where the operator wants one, the delay where a controller does.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::Engine;
use crate::call::leg::{Held, LegKey};
use crate::call::plan::MediaKind;
use crate::packet::Packet;
use crate::rtp::Header;
use crate::screen::Screen;
use crate::sockets::Sockets;
use crate::stats::Fault;

/// What a place of the jitter buffer holds, by the packet time that is usual (RFC 3551 §4.2).
const PLACE: Duration = Duration::from_millis(20);

impl<S: Sockets> Engine<S> {
    /// Takes an accepted RTP packet: at once, or when its time has come where the end's packets are held back.
    pub(super) fn rtp_received(
        &mut self,
        now: Instant,
        key: LegKey,
        index: usize,
        packet: Packet,
        header: &mut Header,
    ) {
        if !self.may_send(now, key) {
            return self.drop_at(Fault::Excessive, key, packet);
        }
        let most = PLACE * u32::from(self.settings.jitter_buffer);
        self.screen(now, key, index, &packet, header);
        let Some(leg) = self.paths.legs.get_mut(key) else {
            return self.drop_packet(Fault::Stranger, packet);
        };
        let delay = leg.delay;
        let Some(line) = leg.line_mut(index) else { return self.drop_at(Fault::Malformed, key, packet) };
        let is_held = line.kind == MediaKind::Audio && !(delay.is_zero() && most.is_zero());
        if !is_held && line.playout.is_none() {
            return self.rtp_due(now, now, key, index, packet, header);
        }
        let map = line.routes.first().and_then(|route| route.payload(header.payload_type));
        let stands = map.is_some_and(|map| map.payload.is_event());
        let clock = map.map_or(8000, |map| map.from_clock);
        let held = Held { packet, header: *header, arrived: now };
        let playout = line.playout.get_or_insert_default();
        playout.set(delay, most);
        playout.put(now, header.timestamp, clock, stands, held);
        self.play_out(now, key, index);
        self.schedule(now, key);
    }

    /// Has a screen hear what came, where the end's keys are kept from others. The first packet makes it.
    fn screen(&mut self, now: Instant, key: LegKey, index: usize, packet: &Packet, header: &Header) {
        let apart = self.settings.keys_apart;
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        let held = leg.delay;
        let Some(wish) = leg.screened() else { return };
        let is_there =
            leg.line(index).is_none_or(|line| line.screen.is_some() || line.kind != MediaKind::Audio);
        let new = (!is_there).then(|| Box::new(Screen::new(wish, apart)));
        let Some(line) = leg.line_mut(index) else { return };
        line.screen = new.or(line.screen.take());
        let (content, usage) = (line.content(header), line.usage(held));
        if let Some(screen) = line.screen.as_mut() {
            screen.hear(now, header, packet, content, &usage, self.rng.random());
        }
    }

    /// Does with the keys of an end what is wished from now on.
    pub(super) fn apply_screening(&mut self, key: LegKey) {
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        let wish = leg.screened().cloned().unwrap_or_default();
        let screens = leg.lines.iter_mut().flatten().filter_map(|line| line.screen.as_mut());
        screens.for_each(|screen| screen.set(&wish));
    }

    /// Holds what an end sends for so long from now on.
    pub(super) fn set_delay(&mut self, now: Instant, key: LegKey, delay: Duration) {
        let most = PLACE * u32::from(self.settings.jitter_buffer);
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        leg.delay = delay;
        let playouts = leg.lines.iter_mut().flatten().filter_map(|line| line.playout.as_mut());
        playouts.for_each(|playout| playout.set(delay, most));
        self.playouts_due(now, key);
        self.schedule(now, key);
    }

    /// Lets go what has been held back long enough.
    pub(super) fn playouts_due(&mut self, now: Instant, key: LegKey) {
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        (0..lines).for_each(|index| self.play_out(now, key, index));
    }

    fn play_out(&mut self, now: Instant, key: LegKey, index: usize) {
        loop {
            let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index));
            let Some(playout) = line.and_then(|line| line.playout.as_mut()) else { return };
            let Some(Held { packet, mut header, arrived }) = playout.pop(now) else { return };
            self.rtp_due(now, arrived, key, index, packet, &mut header);
        }
    }
}
