//! RTCP (RFC 3550 §6): our own reports to each leg, and the feedback that passes between browsers.

use std::time::Instant;

use super::Engine;
use crate::call::leg::LegKey;
use crate::packet::Packet;
use crate::sockets::Sockets;

impl<S: Sockets> Engine<S> {
    /// Takes an authentic compound packet; `line` is known where the port tells it.
    pub(super) fn rtcp_received(&mut self, now: Instant, key: LegKey, line: Option<usize>, packet: Packet) {
        let _ = (now, key, line);
        self.paths.stats.rtcp_received += 1;
        self.paths.pool.put(packet);
    }

    /// Sends a report for every line of a leg.
    pub(super) fn send_reports(&mut self, now: Instant, key: LegKey) {
        let _ = (now, key);
    }
}
