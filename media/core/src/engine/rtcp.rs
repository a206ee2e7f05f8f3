//! RTCP (RFC 3550 §6): our own reports to each leg, and the feedback that passes between browsers.
//!
//! Reports never pass from one leg to another: what is true of the one path is false of the other. Pictures asked for
//! and packets asked for again do, translated to what the other leg calls the stream.

use std::time::Instant;

use super::Engine;
use super::timer::REPORT_INTERVAL;
use crate::call::leg::{Leg, LegKey};
use crate::call::plan::Feedback;
use crate::forward::Transmit;
use crate::packet::Packet;
use crate::rtcp::feedback::{Origin, translate};
use crate::rtcp::reports::{SenderInfo, begin_compound, remote_view, report_block};
use crate::rtcp::{Malformed, RtcpPacket, parse};
use crate::sockets::Sockets;

impl<S: Sockets> Engine<S> {
    /// Takes an authentic compound packet; `line` is known where the port tells it.
    pub(super) fn rtcp_received(&mut self, now: Instant, key: LegKey, line: Option<usize>, packet: Packet) {
        match self.read_reports(now, key, line, packet.as_slice()) {
            Ok(asks) => {
                self.paths.stats.rtcp_received += 1;
                if asks {
                    self.pass_feedback(now, key, &packet);
                }
                self.paths.pool.put(packet);
            }
            Err(_) => self.drop_at(key, packet),
        }
    }

    /// Notes what the reports of a leg say; true when it asks for a picture or a packet.
    fn read_reports(
        &mut self,
        now: Instant,
        key: LegKey,
        line: Option<usize>,
        datagram: &[u8],
    ) -> Result<bool, Malformed> {
        let packets = parse(datagram)?;
        let arrival = self.ntp.at(now);
        let Some(leg) = self.paths.legs.get_mut(key) else { return Ok(false) };
        let mut asks = false;
        for (index, state) in leg.lines.iter_mut().enumerate() {
            let Some(state) = state.as_mut().filter(|_| line.is_none_or(|line| line == index)) else {
                continue;
            };
            state.received_rtcp.packets += 1;
            state.received_rtcp.bytes += datagram.len() as u64;
            for packet in packets.clone() {
                let reports = match &packet {
                    RtcpPacket::SenderReport(report) => {
                        if state.reception.ssrc() == Some(report.ssrc) {
                            state.sender_report.on_sender_report(now, report);
                        }
                        report.reports
                    }
                    RtcpPacket::ReceiverReport { reports, .. } => *reports,
                    RtcpPacket::Pli(_) | RtcpPacket::Fir(_) | RtcpPacket::Nack(_) => {
                        asks = true;
                        continue;
                    }
                    _ => continue,
                };
                if let Some(view) = remote_view(arrival, &reports, state.sink.ssrc) {
                    state.remote_view = Some(view);
                }
            }
        }
        Ok(asks)
    }

    /// Passes PLI, FIR and NACK of the leg `key` on to those that send what it is about.
    fn pass_feedback(&mut self, now: Instant, key: LegKey, packet: &Packet) {
        let Some(leg) = self.paths.legs.get(key) else { return };
        // Each stream that this leg is sent, and where it comes from.
        let streams: Vec<(u32, LegKey, usize, Origin)> = leg
            .lines()
            .filter_map(|(_, line)| {
                let (from, at, ssrc) = line.sink.source()?;
                let sequence_offset = line.sink.original_sequence(0);
                Some((line.sink.ssrc, from, at, Origin { ssrc, sequence_offset }))
            })
            .collect();
        for (_, from, at, _) in &streams {
            let understands = self.paths.legs.get(*from).and_then(|leg| leg.line(*at)).is_some_and(|line| {
                line.feedback
                    .iter()
                    .any(|feedback| matches!(feedback, Feedback::Nack | Feedback::Pli | Feedback::Fir))
            });
            if !understands {
                continue;
            }
            let mut out = self.paths.pool.take();
            // Reduced size (RFC 5506) is not agreed everywhere: a report goes first (RFC 4585 §3.1).
            let begun = self.begin_report(now, *from, *at, &mut out);
            let carried = begun
                && self.paths.legs.get(*from).and_then(|leg| leg.line(*at)).is_some_and(|line| {
                    let origin = |ssrc: u32| {
                        streams
                            .iter()
                            .find(|(sent, leg, line, _)| *sent == ssrc && leg == from && line == at)
                            .map(|(.., origin)| *origin)
                    };
                    translate(packet.as_slice(), &mut out, line.sink.ssrc, origin)
                        .is_ok_and(|it| it.messages > 0)
                });
            if carried {
                self.send_rtcp(*from, *at, out);
            } else {
                self.paths.pool.put(out);
            }
        }
    }

    /// Sends a report for every line of a leg.
    pub(super) fn send_reports(&mut self, now: Instant, key: LegKey) {
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        for line in 0..lines {
            let mut packet = self.paths.pool.take();
            if self.begin_report(now, key, line, &mut packet) {
                self.send_rtcp(key, line, packet);
            } else {
                self.paths.pool.put(packet);
            }
        }
    }

    /// Writes SR or RR, and SDES; false where there is nothing to report on yet.
    fn begin_report(&mut self, now: Instant, key: LegKey, line: usize, packet: &mut Packet) -> bool {
        let Some(Leg { lines, cname, .. }) = self.paths.legs.get_mut(key) else { return false };
        let Some(line) = lines.get_mut(line).and_then(Option::as_mut) else { return false };
        // RFC 3550 §6.4: who sent within two intervals makes a sender report.
        let sends =
            line.sink.last_sent().is_some_and(|at| now.saturating_duration_since(at) < 2 * REPORT_INTERVAL);
        let sent = line.sink.timestamp_at(now).filter(|_| sends).map(|rtp_timestamp| SenderInfo {
            rtp_timestamp,
            packets: line.sink.packets,
            octets: line.sink.octets,
        });
        let block = report_block(now, &mut line.reception, &line.sender_report);
        if sent.is_none() && block.is_none() {
            return false;
        }
        begin_compound(packet, now, &self.ntp, line.sink.ssrc, sent, block.as_slice(), cname).is_ok()
    }

    fn send_rtcp(&mut self, key: LegKey, index: usize, mut packet: Packet) {
        let Some(leg) = self.paths.legs.get_mut(key) else { return self.paths.pool.put(packet) };
        let way = match leg.secure.as_mut() {
            Some(secure) => {
                let protected =
                    secure.srtp.as_mut().is_some_and(|srtp| srtp.protect_rtcp(&mut packet).is_ok());
                secure.target().filter(|_| protected).map(|to| (secure.socket, to))
            }
            None => leg.line(index).and_then(|line| {
                let port = if line.rtcp_mux { line.rtp.as_ref()? } else { line.rtcp.as_ref()? };
                Some((port.socket, port.latch.target()?))
            }),
        };
        match way {
            Some((socket, to)) => {
                self.paths.stats.rtcp_sent += 1;
                self.paths.out.push_back(Transmit { socket, to, packet });
            }
            None => self.paths.pool.put(packet),
        }
    }
}
