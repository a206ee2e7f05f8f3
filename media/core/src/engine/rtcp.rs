//! RTCP (RFC 3550 §6): our own reports to each leg, and the feedback that passes between browsers.
//!
//! Reports never pass from one leg to another: what is true of the one path is false of the other. Pictures asked for
//! and packets asked for again do, translated to what the other leg calls the stream.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::timer::REPORT_INTERVAL;
use super::{Engine, EventKind, Rtcp};
use crate::call::leg::{Leg, LegKey, Line};
use crate::call::plan::{Feedback, MediaKind};
use crate::forward::{Paths, Transmit};
use crate::packet::Packet;
use crate::rtcp::feedback::{Origin, append_pli, nack_sequence_numbers, translate};
use crate::rtcp::reports::{RemoteView, SenderInfo, append_bye, begin_compound, remote_view, report_block};
use crate::rtcp::{Malformed, ReportBlocks, RtcpPacket, SenderReport, parse};
use crate::sockets::Sockets;
use crate::stats::Fault;

/// Between two requests for a picture that starts of streams cause. Who still lacks one asks by itself.
const PICTURE_INTERVAL: Duration = Duration::from_millis(250);

impl<S: Sockets> Engine<S> {
    /// Takes an authentic compound packet; `line` is known where the port tells it.
    pub(super) fn rtcp_received(&mut self, now: Instant, key: LegKey, line: Option<usize>, packet: Packet) {
        if !self.may_send(now, key) {
            return self.drop_at(Fault::Excessive, key, packet);
        }
        match self.read_compound(now, key, line, packet.as_slice()) {
            Ok(asks) => {
                self.paths.stats.rtcp_received += 1;
                self.tape(now, key, line.unwrap_or(0), packet.as_slice(), None);
                if self.settings.tell_rtcp {
                    self.tell_rtcp(key, line, packet.as_slice());
                }
                let known = self.paths.legs.get(key).and_then(|leg| leg.line(line?));
                let passes = known.is_some_and(|known| known.routes.iter().any(|route| route.rtcp));
                if let Some(line) = line.filter(|_| passes) {
                    self.pass_compound(now, key, line, &packet);
                } else if asks {
                    self.pass_feedback(now, key, packet.as_slice());
                }
                self.paths.pool.put(packet);
            }
            Err(_) => self.drop_at(Fault::Malformed, key, packet),
        }
    }

    /// Tells of RTCP that has come from an end.
    fn tell_rtcp(&mut self, key: LegKey, line: Option<usize>, octets: &[u8]) {
        let Some(leg) = self.paths.legs.get(key) else { return };
        let place = line.and_then(|line| leg.line(line));
        let port = place.and_then(|line| if line.rtcp_mux { line.rtp.as_ref() } else { line.rtcp.as_ref() });
        let (from, port) = match (&leg.secure, port) {
            (Some(secure), _) => (secure.address(), secure.port),
            (None, Some(port)) => (port.latch.target(), port.port),
            (None, None) => (None, 0),
        };
        let to = SocketAddr::new(leg.address, port);
        let unknown = SocketAddr::new(leg.address, 0);
        let rtcp = Rtcp { from: from.unwrap_or(unknown), to, octets: octets.into() };
        self.tell(key, EventKind::Rtcp(Box::new(rtcp)));
    }

    /// Passes a compound packet to those that hear the line, as it is.
    fn pass_compound(&mut self, now: Instant, key: LegKey, index: usize, packet: &Packet) {
        let line = |paths: &Paths| paths.legs.get(key)?.line(index).map(|line| line.routes.len());
        for at in 0..line(&self.paths).unwrap_or(0) {
            let route = self.paths.legs.get(key).and_then(|leg| leg.line(index)?.routes.get(at));
            let Some((leg, line, passes)) = route.map(|route| (route.leg, route.line, route.rtcp)) else {
                return;
            };
            if !passes {
                continue;
            }
            let mut copy = self.paths.pool.take();
            copy.copy_from(packet);
            self.send_rtcp(now, leg, line, copy);
        }
    }

    /// Notes what the reports of a leg say; true when it asks for a picture or a packet.
    fn read_compound(
        &mut self,
        now: Instant,
        key: LegKey,
        line: Option<usize>,
        datagram: &[u8],
    ) -> Result<bool, Malformed> {
        let packets = parse(datagram)?;
        self.count_rtcp(key, line, datagram.len());
        let mut asks = false;
        for packet in packets {
            match packet {
                RtcpPacket::SenderReport(report) => {
                    self.note_sender_report(now, key, line, &report);
                    self.note_blocks(now, key, line, &report.reports);
                }
                RtcpPacket::ReceiverReport { reports, .. } => self.note_blocks(now, key, line, &reports),
                RtcpPacket::Pli(_) | RtcpPacket::Fir(_) | RtcpPacket::Nack(_) => asks = true,
                _ => {}
            }
        }
        Ok(asks)
    }

    /// Counts a datagram at its line, on a shared transport at the first one.
    fn count_rtcp(&mut self, key: LegKey, line: Option<usize>, len: usize) {
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        let index = line.or_else(|| leg.lines().next().map(|(index, _)| index));
        if let Some(line) = index.and_then(|index| leg.line_mut(index)) {
            line.received_rtcp.packets += 1;
            line.received_rtcp.bytes += len as u64;
        }
    }

    /// Keeps a sender report for LSR and DLSR, and tells the listeners of the stream when it was captured.
    fn note_sender_report(
        &mut self,
        now: Instant,
        key: LegKey,
        wanted: Option<usize>,
        report: &SenderReport<'_>,
    ) {
        let arrival = self.ntp.at(now);
        let Some(Leg { lines, clock, .. }) = self.paths.legs.get_mut(key) else { return };
        let Some((index, line)) = lines
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| wanted.is_none_or(|wanted| wanted == *index))
            .filter_map(|(index, line)| Some((index, line.as_mut()?)))
            .find(|(_, line)| line.reception.ssrc() == Some(report.ssrc))
        else {
            return;
        };
        line.sender_report.on_sender_report(now, report);
        // A sender without a wall clock writes 0 (RFC 3550 §6.4.1).
        if report.ntp.to_bits() == 0 {
            return;
        }
        let Some(captured) = now.checked_sub(clock.age(report.ntp, arrival)) else { return };
        let listeners = line.routes.len();
        for at in 0..listeners {
            let route = self.paths.legs.get(key).and_then(|leg| leg.line(index)?.routes.get(at));
            let Some((to, line, timestamp)) =
                route.map(|route| (route.leg, route.line, route.timestamp(report.rtp_timestamp)))
            else {
                return;
            };
            let Some(timestamp) = timestamp else { continue };
            if let Some(line) = self.paths.legs.get_mut(to).and_then(|leg| leg.line_mut(line)) {
                line.sink.set_reference((key, index, report.ssrc), captured, timestamp);
            }
        }
    }

    /// Keeps what a leg says of the streams it is sent.
    fn note_blocks(&mut self, now: Instant, key: LegKey, wanted: Option<usize>, reports: &ReportBlocks<'_>) {
        let arrival = self.ntp.at(now);
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        for (index, line) in leg.lines.iter_mut().enumerate() {
            let Some(line) = line.as_mut().filter(|_| wanted.is_none_or(|wanted| wanted == index)) else {
                continue;
            };
            if let Some(view) = remote_view(arrival, reports, line.sink.sent_ssrc()) {
                // A report that answers none of ours says nothing new of the round trip.
                let known = line.remote_view.and_then(|known| known.round_trip);
                line.remote_view = Some(RemoteView { round_trip: view.round_trip.or(known), ..view });
            }
        }
    }

    /// Passes PLI, FIR and NACK of the leg `key` on to those that send what it is about.
    fn pass_feedback(&mut self, now: Instant, key: LegKey, datagram: &[u8]) {
        if self.send_again(now, key, datagram) {
            return;
        }
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        for index in 0..lines {
            let Some(stream) = self.stream_to(key, index) else { continue };
            let mut out = self.paths.pool.take();
            // Reduced size (RFC 5506) is not agreed everywhere: a report goes first (RFC 4585 §3.1).
            let begun = self.begin_report(now, stream.leg, stream.line, &mut out);
            let carried = begun
                && translate(datagram, &mut out, stream.asker, |ssrc| {
                    (ssrc == stream.sent_as).then_some(stream.origin)
                })
                .is_ok_and(|it| it.messages > 0);
            if carried {
                self.send_rtcp(now, stream.leg, stream.line, out);
            } else {
                self.paths.pool.put(out);
            }
        }
    }

    /// Sends again what a browser misses and is still kept; true when there is nothing else to ask its senders for.
    /// What is not kept was lost before it came here, and its sender can help.
    fn send_again(&mut self, now: Instant, key: LegKey, datagram: &[u8]) -> bool {
        let Paths { legs, pool, out, .. } = &mut self.paths;
        let (Some(leg), Ok(packets)) = (legs.get_mut(key), parse(datagram)) else { return false };
        let way = leg.secure.as_ref().and_then(|secure| Some((secure.socket, secure.target(now)?)));
        let Some((socket, to)) = way else { return false };
        let mut all = true;
        for packet in packets {
            let RtcpPacket::Nack(message) = packet else {
                all &= !matches!(packet, RtcpPacket::Pli(_) | RtcpPacket::Fir(_));
                continue;
            };
            let line = leg.lines.iter_mut().flatten().find(|line| line.sink.ssrc == message.media_ssrc);
            let Some(history) = line.and_then(|line| line.history.as_mut()) else {
                all = false;
                continue;
            };
            for number in nack_sequence_numbers(&message) {
                all &= history.again(now, number, |kept| {
                    let mut packet = pool.take();
                    packet.copy_from(kept);
                    out.push_back(Transmit { socket, to, packet });
                });
            }
        }
        all
    }

    /// The stream that line `index` of the leg `key` is sent, where its sender can be asked: a browser that agreed to it.
    fn stream_to(&self, key: LegKey, index: usize) -> Option<Stream> {
        let sink = &self.paths.legs.get(key)?.line(index)?.sink;
        let (leg, line, ssrc) = sink.source()?;
        let sender = self.paths.legs.get(leg).filter(|sender| sender.secure.is_some())?.line(line)?;
        // The slot of a leg that is gone may have gone to another call, which has no way here.
        let speaks_here = sender.routes.iter().any(|route| route.leg == key && route.line == index);
        let understands = sender
            .feedback
            .iter()
            .any(|feedback| matches!(feedback, Feedback::Nack | Feedback::Pli | Feedback::Fir));
        (speaks_here && understands).then(|| Stream {
            sent_as: sink.ssrc,
            leg,
            line,
            asker: sender.sink.ssrc,
            origin: Origin { ssrc, sequence_offset: sink.original_sequence(0) },
        })
    }

    /// Asks the sender of `ssrc` on a line for a whole picture (RFC 4585 §6.3.1): somebody begins to see its stream here.
    pub(super) fn ask_for_picture(&mut self, now: Instant, key: LegKey, index: usize, ssrc: u32) {
        let leg = self.paths.legs.get_mut(key).filter(|leg| leg.secure.is_some());
        let Some(line) = leg.and_then(|leg| leg.line_mut(index)) else { return };
        if line.kind != MediaKind::Video || !line.feedback.contains(&Feedback::Pli) {
            return;
        }
        // A sender that changes its SSRC with every packet starts with every packet.
        if line.asked_for_picture.is_some_and(|at| now.saturating_duration_since(at) < PICTURE_INTERVAL) {
            return;
        }
        line.asked_for_picture = Some(now);
        let asker = line.sink.ssrc;
        let mut packet = self.paths.pool.take();
        if self.begin_report(now, key, index, &mut packet) && append_pli(&mut packet, asker, ssrc).is_ok() {
            self.send_rtcp(now, key, index, packet);
        } else {
            self.paths.pool.put(packet);
        }
    }

    /// Sends a report for every line of a leg that has something to report on.
    pub(super) fn send_reports(&mut self, now: Instant, key: LegKey) {
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        for index in 0..lines {
            let line = self.paths.legs.get(key).and_then(|leg| leg.line(index));
            if !line.is_some_and(|line| {
                !line.rtcp_passes && (line.sink.packets > 0 || line.reception.packets() > 0)
            }) {
                continue;
            }
            let mut packet = self.paths.pool.take();
            if self.begin_report(now, key, index, &mut packet) {
                self.send_rtcp(now, key, index, packet);
            } else {
                self.paths.pool.put(packet);
            }
        }
    }

    /// Says BYE to a browser for every stream it was sent (RFC 3550 §6.6). The sockets of a legacy leg close with it, before
    /// anything could still leave; its user agent has got the BYE of SIP.
    pub(super) fn send_byes(&mut self, now: Instant, key: LegKey) {
        let Some(leg) = self.paths.legs.get(key).filter(|leg| leg.secure.is_some()) else { return };
        for index in 0..leg.lines.len() {
            let line = self.paths.legs.get(key).and_then(|leg| leg.line(index));
            let Some(ssrc) = line.filter(|line| line.sink.packets > 0).map(|line| line.sink.ssrc) else {
                continue;
            };
            let mut packet = self.paths.pool.take();
            if self.begin_report(now, key, index, &mut packet) && append_bye(&mut packet, ssrc).is_ok() {
                self.send_rtcp(now, key, index, packet);
            } else {
                self.paths.pool.put(packet);
            }
        }
    }

    /// Writes SR or RR, and SDES.
    fn begin_report(&mut self, now: Instant, key: LegKey, index: usize, packet: &mut Packet) -> bool {
        let Some(Leg { lines, cname, .. }) = self.paths.legs.get_mut(key) else { return false };
        let Some(line) = lines.get_mut(index).and_then(Option::as_mut) else { return false };
        let sent = sender_info(now, line);
        let block = report_block(now, &mut line.reception, &line.sender_report);
        begin_compound(packet, now, &self.ntp, line.sink.sent_ssrc(), sent, block.as_slice(), cname).is_ok()
    }

    fn send_rtcp(&mut self, now: Instant, key: LegKey, index: usize, mut packet: Packet) {
        let Some(leg) = self.paths.legs.get_mut(key) else { return self.paths.pool.put(packet) };
        let way = match leg.secure.as_mut() {
            Some(secure) => {
                let protected =
                    secure.srtp.as_mut().is_some_and(|srtp| srtp.protect_rtcp(&mut packet).is_ok());
                secure.target(now).filter(|_| protected).map(|to| (secure.socket, to))
            }
            None => leg.line_mut(index).and_then(|line| {
                let port = if line.rtcp_mux { line.rtp.as_ref()? } else { line.rtcp.as_ref()? };
                let way = port.way()?;
                if let Some(own) = line.own.as_mut().filter(|own| own.required) {
                    own.srtp.as_mut()?.protect_rtcp(&mut packet).ok()?;
                }
                Some(way)
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

/// A stream that a line is sent, and where it comes from.
struct Stream {
    /// Its SSRC here.
    sent_as: u32,
    /// Who sends it.
    leg: LegKey,
    line: usize,
    /// Our SSRC there.
    asker: u32,
    /// Its names there.
    origin: Origin,
}

/// RFC 3550 §6.4: who sent within two intervals makes a sender report.
fn sender_info(now: Instant, line: &Line) -> Option<SenderInfo> {
    let sent = line.sink.last_sent().filter(|_| line.sink.packets > 0)?;
    let sends = now.saturating_duration_since(sent) < 2 * REPORT_INTERVAL;
    let rtp_timestamp = line.sink.timestamp_at(now).filter(|_| sends)?;
    Some(SenderInfo { rtp_timestamp, packets: line.sink.packets, octets: line.sink.octets })
}
