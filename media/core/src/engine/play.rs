//! Commands that make the relay itself speak: `play media`, `stop media`, `play DTMF`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::Engine;
use crate::call::leg::{LegKey, Line};
use crate::call::plan::{Hears, LegId, MediaKind};
use crate::codec::Coding;
use crate::codec::wav::Clip;
use crate::command::{Cause, Ends, Failure, Play, PlayDtmf, Reply, Source, StopMedia};
use crate::dtmf::{Digit, Injection, Tone};
use crate::player::{Piece, Player};
use crate::sockets::Sockets;
use crate::transcode::{Kind, Made};

/// An end that sent nothing for so long has no stream of sound in which a key could stand.
const SILENT: Duration = Duration::from_millis(200);

impl<S: Sockets> Engine<S> {
    pub(super) fn play(&mut self, now: Instant, play: &Play) -> Reply {
        let clip = match clip(&play.source) {
            Ok(clip) => clip,
            Err(reason) => return Reply::error(Cause::Malformed, reason),
        };
        let keys = match self.ends_meant(&play.ends) {
            Ok(keys) => keys,
            Err(failure) => return Reply::Error(failure),
        };
        let piece = Piece {
            clip: Arc::clone(&clip),
            start: play.start,
            times: play.times.map(|times| times.max(1)),
            limit: play.limit,
        };
        let heard = keys.into_iter().filter(|key| self.play_to(now, *key, &piece)).count();
        if heard == 0 {
            return Reply::error(
                Cause::NotAcceptable,
                "no such end wants sound in a codec that is known here",
            );
        }
        Reply::Playing { duration: Duration::from_millis(clip.millis()), warnings: play.warnings.clone() }
    }

    /// Begins to play a piece to an end; false when that cannot hear it.
    fn play_to(&mut self, now: Instant, key: LegKey, piece: &Piece) -> bool {
        let (sequence_number, timestamp) = (self.rng.random(), self.rng.random());
        let first = Made { kind: Kind::Sound, marker: true, sequence_number, timestamp };
        let Some((line, hears)) = self.listener(key) else { return false };
        let Some(player) = Player::new(now, piece.clone(), hears.format, first) else { return false };
        line.speech.count = line.speech.count.wrapping_add(1);
        line.speech.heard = false;
        line.speech.player = Some(Box::new(player)).filter(|player| player.poll_timeout().is_some());
        self.paths.speech_due(now, key);
        // A report of the sender places the beginning of what is said (RFC 3550 §6.4.1); an end that hears nothing else of us
        // would wait for it as long as it is.
        if let Some(leg) = self.paths.legs.get_mut(key) {
            leg.next_report = now;
        }
        self.schedule(now, key);
        true
    }

    pub(super) fn stop_media(&mut self, stop: &StopMedia) -> Reply {
        let keys = match self.ends_meant(&stop.ends) {
            Ok(keys) => keys,
            Err(failure) => return Reply::Error(failure),
        };
        for key in keys {
            let lines = self.paths.legs.get_mut(key).into_iter().flat_map(|leg| leg.lines.iter_mut());
            lines.flatten().for_each(|line| line.speech.player = None);
        }
        Reply::Done { warnings: stop.warnings.clone() }
    }

    pub(super) fn play_dtmf(&mut self, now: Instant, play: &PlayDtmf) -> Reply {
        let keys = match self.ends_meant(&play.ends) {
            Ok(keys) => keys,
            Err(failure) => return Reply::Error(failure),
        };
        let mut heard = 0;
        for key in keys {
            let Some(leg) = self.paths.legs.get(key) else { continue };
            let routes: Vec<(LegKey, bool)> = leg
                .lines()
                .filter(|(_, line)| line.kind == MediaKind::Audio)
                .flat_map(|(_, line)| {
                    let speaks = line.last_rtp.is_some_and(|at| now.saturating_duration_since(at) < SILENT);
                    line.routes.iter().filter(|route| route.open).map(move |route| (route.leg, speaks))
                })
                .collect();
            for (to, speaks) in routes {
                heard += usize::from(self.press(now, key, to, speaks, play.digit));
            }
        }
        match heard {
            0 => Reply::error(Cause::NotAcceptable, "nobody hears that end now"),
            _ => Reply::Done { warnings: play.warnings.clone() },
        }
    }

    /// Presses a key of the leg `from` towards the leg `to`; false when that cannot hear it.
    fn press(&mut self, now: Instant, from: LegKey, to: LegKey, speaks: bool, digit: Digit) -> bool {
        let timestamp = self.rng.random();
        let Some((line, hears)) = self.listener(to) else { return false };
        let in_band = hears.events.is_none();
        let g711 = matches!(hears.format.coding, Coding::Pcmu | Coding::Pcma);
        if in_band && !(g711 && speaks) {
            let Some(tone) = Tone::new(digit.code, digit.volume) else { return false };
            let clip = Arc::new(tone.clip(millis(digit.duration), millis(digit.pause)));
            let piece = Piece { clip, start: Duration::ZERO, times: Some(1), limit: None };
            return match line.speech.player.as_mut() {
                Some(player) => player.append(piece),
                None => self.play_to(now, to, &piece),
            };
        }
        let clock = hears.format.clock;
        let known = line.speech.injection.as_ref().is_some_and(|known| known.0 == from);
        if !known {
            let newest = line.sink.timestamp_at(now).unwrap_or(timestamp);
            line.speech.injection = Some(Box::new((from, Injection::new(now, in_band, clock, newest))));
        }
        let pressed = line.speech.injection.as_mut().is_some_and(|injection| injection.1.push(digit));
        self.schedule(now, to);
        pressed
    }

    /// The line on which an end hears the relay, and how.
    fn listener(&mut self, key: LegKey) -> Option<(&mut Line, Hears)> {
        let lines = self.paths.legs.get_mut(key)?.lines.iter_mut().flatten();
        let mut audio = lines.filter(|line| line.kind == MediaKind::Audio);
        audio.find_map(|line| line.speech.hears.map(|hears| (line, hears)))
    }

    /// The legs of the ends that a command means.
    pub(super) fn ends_meant(&self, ends: &Ends) -> Result<Vec<LegKey>, Failure> {
        let failure = |reason: &str| Failure { cause: Cause::UnknownCall, reason: reason.to_owned() };
        let call = self.by_id.get(ends.call_id.as_str()).and_then(|key| self.calls.get(*key));
        let call = call.ok_or_else(|| failure("unknown call-id"))?;
        let tagged = |id: LegId| ends.from_tag.as_ref().is_none_or(|tag| call.session.is_called(id, tag));
        let labelled = |id: LegId| ends.label.is_none() || call.session.names(id).label == ends.label;
        let placed = |key: LegKey| {
            ends.address.is_none_or(|address| {
                let lines = self.paths.legs.get(key).into_iter().flat_map(|leg| leg.lines());
                let mut ports = lines.filter_map(|(_, line)| line.rtp.as_ref()?.latch.announced());
                ports.any(|announced| announced.ip() == address)
            })
        };
        let meant = call.legs.iter().filter(|(id, key)| tagged(*id) && labelled(*id) && placed(*key));
        let keys: Vec<LegKey> = meant.map(|(_, key)| *key).collect();
        if keys.is_empty() { Err(failure("no such end in the call")) } else { Ok(keys) }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn clip(source: &Source) -> Result<Arc<Clip>, String> {
    match source {
        Source::Clip(clip) => Ok(Arc::clone(clip)),
        Source::Blob(octets) => Clip::parse(octets).map(Arc::new).map_err(|error| error.to_string()),
        Source::File(_) => Err("files are read by the relay's shell".to_owned()),
        Source::Database => Err("db-id: there is no database of media here".to_owned()),
    }
}
