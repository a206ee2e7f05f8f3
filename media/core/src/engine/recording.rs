//! Recordings: which calls are taped, and what the writer gets of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;

use super::Engine;
use crate::call::leg::LegKey;
use crate::call::plan::{LegId, MediaKind};
use crate::command::{
    Begun, Cause, Exchange, Record, Recorded, RecordedKind, RecordedPacket, Recording, Reply,
};
use crate::rtp::Header;
use crate::sockets::Sockets;

/// The recording of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taped {
    id: u64,
    paused: bool,
}

impl<S: Sockets> Engine<S> {
    /// The next thing for the writer of recordings.
    pub fn poll_recorded(&mut self) -> Option<Recorded> {
        self.recorded.pop_front()
    }

    pub(super) fn record(&mut self, now: Instant, record: &Record) -> Reply {
        let Some(&key) = self.by_id.get(record.call_id.as_str()) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        if let Some(call) = self.calls.get_mut(key) {
            call.note_metadata(record.metadata.as_deref());
        }
        match record.what {
            Recording::Start => self.start_recording(now, key, record.metadata.as_deref()),
            Recording::Pause => {
                if let Some(taped) = self.calls.get_mut(key).and_then(|call| call.taped.as_mut()) {
                    taped.paused = true;
                }
            }
            Recording::Stop => self.stop_recording(now, key),
        }
        Reply::Done { warnings: record.warnings.clone() }
    }

    /// Records a call whose offer or answer asks for it.
    pub(super) fn record_by_flag(&mut self, now: Instant, key: usize, exchange: &Exchange) {
        match exchange.record {
            Some(true) => self.start_recording(now, key, exchange.metadata.as_deref()),
            Some(false) => self.stop_recording(now, key),
            None => {}
        }
    }

    fn start_recording(&mut self, now: Instant, key: usize, metadata: Option<&str>) {
        let (id, at) = (self.rng.random(), self.unix(now));
        let Some(call) = self.calls.get_mut(key) else { return };
        let metadata = metadata.map(str::to_owned);
        if let Some(taped) = call.taped.as_mut() {
            taped.paused = false;
            let words = metadata.map(RecordedKind::Metadata);
            let words = words.map(|what| Recorded { recording: taped.id, what });
            return self.recorded.extend(words);
        }
        call.taped = Some(Taped { id, paused: false });
        let tags = call.legs.iter().filter_map(|(leg, _)| call.session.names(*leg).tag).collect();
        let begun = Begun { call_id: Arc::clone(&call.id), tags, at, now, metadata };
        self.recorded.push_back(Recorded { recording: id, what: RecordedKind::Begun(begun) });
        self.paths.stats.recordings += 1;
    }

    pub(super) fn stop_recording(&mut self, now: Instant, key: usize) {
        let at = self.unix(now);
        if let Some(taped) = self.calls.get_mut(key).and_then(|call| call.taped.take()) {
            self.recorded.push_back(Recorded { recording: taped.id, what: RecordedKind::Ended { at } });
        }
    }

    /// Gives a packet of an end, decrypted, to the writer if the call is taped.
    pub(super) fn tape(
        &mut self,
        now: Instant,
        key: LegKey,
        line: usize,
        octets: &[u8],
        header: Option<&Header>,
    ) {
        let Some(leg) = self.paths.legs.get(key) else { return };
        let taped = self.calls.get(leg.call).and_then(|call| call.taped);
        let Some(taped) = taped.filter(|taped| !taped.paused) else { return };
        let Some(place) = leg.line(line) else { return };
        let unknown = SocketAddr::new(leg.address, 0);
        let (from, port) = match (&leg.secure, if header.is_some() { &place.rtp } else { &place.rtcp }) {
            (Some(secure), _) => (secure.address(), secure.port),
            (None, Some(port)) => (port.latch.target(), port.port),
            (None, None) => (None, 0),
        };
        let format = |header: &Header| {
            let known = place.speaks.iter().find(|(number, _)| *number == header.payload_type)?;
            Some((*header, known.1))
        };
        let packet = RecordedPacket {
            now,
            at: self.unix(now),
            caller: leg.id == LegId(0),
            from: from.unwrap_or(unknown),
            to: SocketAddr::new(leg.address, port),
            sound: header.filter(|_| place.kind == MediaKind::Audio).and_then(format),
            octets: octets.into(),
        };
        self.recorded.push_back(Recorded { recording: taped.id, what: RecordedKind::Packet(packet) });
    }
}
