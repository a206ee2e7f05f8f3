//! What is told about all calls: ng's `statistics`, and how they sound.

use std::time::Instant;

use super::{Engine, report};
use crate::call::leg::LegKey;
use crate::call::plan::MediaKind;
use crate::command::{Reply, SessionReport, Tuning};
use crate::rtp::quality::{Conditions, Impairment};
use crate::sockets::Sockets;
use crate::stats::Numbers;

impl<S: Sockets> Engine<S> {
    /// One line about each call.
    pub(super) fn sessions(&self) -> Vec<SessionReport> {
        let line = |(_, call): (usize, &super::Call)| SessionReport {
            call_id: call.id.to_string(),
            created: call.created,
            proxy: call.proxy,
            ending: !call.ending.is_empty(),
        };
        self.calls.iter().map(line).collect()
    }

    /// Changes settings; what runs is measured by them from now on.
    pub(super) fn tune(&mut self, now: Instant, tuning: &Tuning) -> Reply {
        let settings = &mut self.settings;
        settings.media_timeout = tuning.media_timeout.unwrap_or(settings.media_timeout);
        settings.silent_timeout = tuning.silent_timeout.unwrap_or(settings.silent_timeout);
        settings.offer_timeout = tuning.offer_timeout.unwrap_or(settings.offer_timeout);
        settings.final_timeout = tuning.final_timeout.unwrap_or(settings.final_timeout);
        let first = |(_, call): (usize, &super::Call)| call.legs.first().map(|(_, leg)| *leg);
        let legs: Vec<LegKey> = self.calls.iter().filter_map(first).collect();
        for leg in legs {
            self.schedule(now, leg);
        }
        Reply::Done { warnings: Vec::new() }
    }

    /// Numbers of this worker.
    pub(super) fn numbers(&mut self, now: Instant) -> Numbers {
        let mut by_family = [0; 3];
        for (_, call) in &self.calls {
            let legs = || call.legs.iter().filter_map(|(_, key)| self.paths.legs.get(*key));
            let (v4, v6) = (legs().any(|leg| leg.address.is_ipv4()), legs().any(|leg| leg.address.is_ipv6()));
            match (v4, v6) {
                (true, false) => by_family[0] += 1,
                (false, true) => by_family[1] += 1,
                (true, true) => by_family[2] += 1,
                (false, false) => {}
            }
        }
        Numbers {
            stats: self.paths.stats.clone(),
            sessions: self.calls.len() as u64,
            by_family,
            media_streams: self.paths.legs.iter().map(|(_, leg)| leg.lines().count() as u64).sum(),
            transcoded_media: self.paths.transcoded_media(),
            ports_free: 2 * self.ports.available(now) as u64,
            ports_total: 2 * self.ports.total() as u64,
            port_last: self.ports.last(),
        }
    }

    /// Counts what is to be told of a call that ends now.
    pub(super) fn count_end(&mut self, now: Instant, key: usize) {
        let Some(call) = self.calls.get(key) else { return };
        let stats = &mut self.paths.stats;
        let duration = now.saturating_duration_since(call.begun);
        let (micros, millis) = (duration.as_micros() as u64, duration.as_millis() as u64);
        stats.duration = stats.duration.saturating_add(micros);
        stats.duration_squared = stats.duration_squared.saturating_add(millis.saturating_mul(millis));
        if !call.answered {
            return;
        }
        let legs = || call.legs.iter().filter_map(|(_, key)| self.paths.legs.get(*key));
        for line in legs().flat_map(|leg| leg.lines().map(|(_, line)| line)) {
            // Both ways of a pair are looked at, so what is true of both is counted once by halves.
            for route in &line.routes {
                let other = self.paths.legs.get(route.leg).and_then(|leg| leg.line(route.line));
                let Some(other) = other else { continue };
                match (line.received.packets, other.received.packets) {
                    (0, 0) => stats.zero_way_halves += 1,
                    (1.., 0) => stats.one_way += 1,
                    _ => {}
                }
            }
        }
        for leg in legs() {
            for (index, line) in leg.lines().filter(|(_, line)| line.kind == MediaKind::Audio) {
                let Some(quality) = report::quality(line) else { continue };
                let codec = report::codec_of(call, leg, index, line).map(|codec| codec.name.as_str());
                let packets = line.received.packets;
                let jitter = quality.jitter.as_secs_f64();
                stats.ended.note(quality.mos(packets, codec), jitter, quality.loss(packets));
            }
        }
    }

    /// Measures how every end of a call sounds, now.
    pub(super) fn measure_call(&mut self, now: Instant, key: usize) {
        let Some(call) = self.calls.get(key) else { return };
        let legs: Vec<LegKey> = call.legs.iter().map(|(_, leg)| *leg).collect();
        for leg in legs {
            self.measure(now, leg);
        }
    }

    /// Measures how what a leg sends has sounded since the last time.
    pub(super) fn measure(&mut self, now: Instant, key: LegKey) {
        let at = self.unix(now).as_secs();
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        for index in 0..lines {
            let Some((ssrc, conditions, own)) = self.conditions(key, index) else { continue };
            let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index)) else {
                continue;
            };
            let totals = (line.reception.packets(), line.reception.lost());
            if let Some(sample) = line.quality.measure(ssrc, totals, conditions, own, at) {
                let stats = &mut self.paths.stats.quality;
                let (trip, leg) = (sample.round_trip, sample.round_trip_leg);
                stats.note(sample.mos, sample.jitter, sample.loss, trip, leg);
            }
        }
    }

    /// What is known of the way from a line to whoever hears it, and the round trip to its end.
    fn conditions(
        &self,
        key: LegKey,
        index: usize,
    ) -> Option<(u32, Conditions, Option<std::time::Duration>)> {
        let leg = self.paths.legs.get(key)?;
        let line = leg.line(index)?;
        let ssrc = line.reception.ssrc()?;
        let own = line.remote_view.and_then(|view| view.round_trip);
        let hearer = line.routes.iter().find(|route| route.open);
        let hearer = hearer.and_then(|route| self.paths.legs.get(route.leg)?.line(route.line));
        let other = hearer.and_then(|line| line.remote_view?.round_trip);
        let known = own.is_some() || other.is_some();
        let codec = self.calls.get(leg.call).and_then(|call| report::codec_of(call, leg, index, line));
        let conditions = Conditions {
            loss: 0.0,
            jitter: line.reception.jitter(),
            round_trip: known.then(|| own.unwrap_or_default() + other.unwrap_or_default()),
            impairment: Impairment::of(codec.map_or("", |codec| codec.name.as_str())),
        };
        Some((ssrc, conditions, own))
    }
}
