//! What is due by the clock: ICE and DTLS of the legs, RTCP reports, calls without media.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::{Call, Engine, EventKind};
use crate::call::leg::{LegKey, Port};
use crate::dtls::DtlsEvent;
use crate::forward::{Transmit, is_key};
use crate::sockets::Sockets;

/// Between two RTCP reports of a leg (RFC 3550 §6.2 asks for 5 s at least, less where bandwidth allows).
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Between two empty datagrams that open an end's way through its NAT.
const PIERCE_INTERVAL: Duration = Duration::from_secs(1);

/// The time to the next report: half to one and a half intervals, so that reports of many legs spread (RFC 3550 §6.3.1).
pub(super) fn report_delay(rng: &mut impl Rng) -> Duration {
    REPORT_INTERVAL / 2 + REPORT_INTERVAL.mul_f64(rng.random())
}

impl<S: Sockets> Engine<S> {
    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, key, serial))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            let current = self
                .paths
                .legs
                .get_mut(key)
                .filter(|leg| leg.serial == serial && leg.scheduled == Some(at))
                .is_some_and(|leg| {
                    leg.scheduled = None;
                    true
                });
            if current {
                self.leg_timeout(now, key);
            }
        }
    }

    fn leg_timeout(&mut self, now: Instant, key: LegKey) {
        if self.end_if_silent(now, key) {
            return;
        }
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        let report = leg.next_report <= now;
        if report {
            leg.next_report = now + report_delay(&mut self.rng);
        }
        let mut failure = None;
        if let Some(secure) = leg.secure.as_mut() {
            secure.ice.handle_timeout(now);
            failure = secure
                .dtls
                .as_mut()
                .filter(|dtls| dtls.poll_timeout().is_some_and(|at| at <= now))
                .and_then(|dtls| dtls.handle_timeout(now));
        }
        self.drive_dtls(now, key, failure.map(DtlsEvent::Failed));
        if report {
            self.measure(now, key);
            self.send_reports(now, key);
        }
        self.tell_unended_keys(now, key);
        self.own_timeouts(now, key);
        self.playouts_due(now, key);
        self.pierce(now, key);
        self.paths.transcoders_due(now, key);
        self.paths.speech_due(now, key);
        self.drive(now, key);
    }

    /// Sends empty datagrams to an end whose NAT is to open, and says when the next are due.
    pub(super) fn pierce(&mut self, now: Instant, key: LegKey) {
        let crate::forward::Paths { legs, pool, out, .. } = &mut self.paths;
        let Some(leg) = legs.get_mut(key) else { return };
        for line in leg.lines.iter_mut().flatten() {
            let Some(left) = line.piercing else { continue };
            if line.pierce_at.is_some_and(|at| at > now) {
                continue;
            }
            let to = |port: &Port| Some((port.socket, port.latch.pierced()?));
            let ports = [&line.rtp, &line.rtcp].into_iter().flatten().filter_map(to);
            let before = out.len();
            out.extend(ports.map(|(socket, to)| Transmit { socket, to, packet: pool.take() }));
            line.piercing = left.checked_sub(1).filter(|left| *left > 0 && out.len() > before);
            line.pierce_at = line.piercing.map(|_| now + PIERCE_INTERVAL);
        }
    }

    /// Keys whose ends were lost: silence is their end.
    fn tell_unended_keys(&mut self, now: Instant, key: LegKey) {
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        for line in 0..lines {
            let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(line));
            let detector = line.and_then(|line| line.keys.as_mut());
            let finished = detector.and_then(|(_, detector)| detector.handle_timeout(now));
            if let Some(finished) = finished.filter(|finished| is_key(finished.code)) {
                self.tell(key, EventKind::Dtmf(finished.code));
            }
        }
    }

    /// Ends the call of a leg when no RTP came for too long; the longer limit counts while nothing is to flow.
    fn end_if_silent(&mut self, now: Instant, key: LegKey) -> bool {
        let Some(call_key) = self.paths.legs.get(key).map(|leg| leg.call) else { return false };
        let Some(call) = self.calls.get(call_key) else { return false };
        if self.end_of(call).is_none_or(|end| now < end) {
            return self.end_deleted(now, call_key, key);
        }
        self.count_timeout(now, call_key);
        self.tell(key, EventKind::MediaTimeout);
        self.remove_call(now, call_key);
        true
    }

    /// Ends what was deleted some time ago; whether the leg is gone with it.
    fn end_deleted(&mut self, now: Instant, call: usize, key: LegKey) -> bool {
        let serial = self.paths.legs.get(key).map(|leg| leg.serial);
        loop {
            let Some(entry) = self.calls.get_mut(call) else { return true };
            let Some(at) = entry.ending.iter().position(|(at, _)| *at <= now) else { break };
            let (_, delete) = entry.ending.remove(at);
            self.delete(now, &delete);
        }
        self.paths.legs.get(key).map(|leg| leg.serial) != serial
    }

    /// Says in the counters why a call ends by itself.
    fn count_timeout(&mut self, now: Instant, key: usize) {
        let Some(call) = self.calls.get(key) else { return };
        let silent = call.last_rtp.checked_add(self.silence_limit(call)).is_some_and(|end| end <= now);
        let stats = &mut self.paths.stats;
        *match (silent, call.answered, call.flowing) {
            (false, ..) => &mut stats.final_timed_out,
            (true, false, _) => &mut stats.offer_timed_out,
            (true, true, true) => &mut stats.timed_out,
            (true, true, false) => &mut stats.silent_timed_out,
        } += 1;
    }

    fn silence_limit(&self, call: &Call) -> Duration {
        match (call.answered, call.flowing) {
            (false, _) => self.settings.offer_timeout,
            (true, true) => self.settings.media_timeout,
            (true, false) => self.settings.silent_timeout,
        }
    }

    /// When a call ends if nothing happens.
    fn end_of(&self, call: &Call) -> Option<Instant> {
        let oldest = Some(self.settings.final_timeout).filter(|limit| !limit.is_zero());
        let oldest = oldest.and_then(|limit| call.begun.checked_add(limit));
        call.last_rtp.checked_add(self.silence_limit(call)).into_iter().chain(oldest).min()
    }

    /// Sets the timer of a leg to the first thing that is due.
    pub(super) fn schedule(&mut self, now: Instant, key: LegKey) {
        let Some(leg) = self.paths.legs.get(key) else { return };
        let keys = leg.lines().filter_map(|(_, line)| line.keys.as_ref()?.1.poll_timeout());
        let routes = leg.lines().flat_map(|(_, line)| &line.routes);
        let transcoders = routes.filter_map(|route| route.transcoding.as_ref()?.poll_timeout());
        let playouts = leg.lines().filter_map(|(_, line)| line.playout.as_ref()?.poll_timeout());
        let speech = leg.lines().filter_map(|(_, line)| line.speech.poll_timeout());
        let pierces = leg.lines().filter_map(|(_, line)| line.pierce_at);
        let due = keys.chain(transcoders).chain(playouts).chain(speech).chain(pierces);
        let mut at = due.fold(leg.next_report, Instant::min);
        if let Some(call) = self.calls.get(leg.call) {
            let deleted = call.ending.iter().map(|(at, _)| *at);
            at = self.end_of(call).into_iter().chain(deleted).fold(at, Instant::min);
        }
        at = self.own_poll_timeout(key).map_or(at, |own| at.min(own));
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        if let Some(secure) = leg.secure.as_mut() {
            let ice = secure.ice.poll_timeout();
            // A client that has no address yet waits for ICE, not for the clock.
            let dtls = secure.dtls.as_ref().and_then(crate::dtls::Dtls::poll_timeout);
            at = [ice, dtls].into_iter().flatten().fold(at, Instant::min);
        }
        // At least a millisecond ahead: what is due now was just done.
        let at = at.max(now + Duration::from_millis(1));
        if leg.scheduled.is_none_or(|scheduled| at < scheduled) {
            leg.scheduled = Some(at);
            self.timers.push(Reverse((at, key, leg.serial)));
        }
    }
}
