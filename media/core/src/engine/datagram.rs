//! From a datagram to the leg it belongs to; RTP goes on in [`crate::forward`].

use std::net::SocketAddr;
use std::time::Instant;

use super::{Engine, EventKind, MAX_CHECKS, Owner};
use crate::call::history::History;
use crate::call::leg::LegKey;
use crate::call::plan::MediaKind;
use crate::demux::{Kind, classify, classify_separate};
use crate::dtls::DtlsEvent;
use crate::forward::{Paths, Transmit};
use crate::ice::IceEvent;
use crate::packet::Packet;
use crate::sockets::{SocketId, Sockets};
use crate::srtp::{self, DtlsRole, SrtpContext};
use crate::stats::Fault;
use crate::stun::{self, Route};
use crate::{rtcp, rtp};

/// Addresses one leg may hold on the shared port; the oldest goes first. Mobile browsers change theirs now and then.
const MAX_ADMITTED: usize = 64;

impl<S: Sockets> Engine<S> {
    /// Takes a datagram that came from `source` to `socket`.
    pub fn handle_datagram(&mut self, now: Instant, socket: SocketId, source: SocketAddr, packet: Packet) {
        match self.owner(socket) {
            Owner::Nobody => self.drop_packet(Fault::Stranger, packet),
            Owner::Shared => self.shared_datagram(now, source, packet),
            Owner::Line { leg, line, rtcp } => self.line_datagram(now, leg, line, rtcp, source, packet),
        }
    }

    pub(super) fn drop_packet(&mut self, fault: Fault, packet: Packet) {
        self.paths.stats.dropped += 1;
        self.paths.stats.faults.count(fault);
        self.paths.pool.put(packet);
    }

    /// Counts a datagram against the leg it pretended to belong to.
    pub(crate) fn drop_at(&mut self, fault: Fault, leg: LegKey, packet: Packet) {
        if let Some(leg) = self.paths.legs.get_mut(leg) {
            leg.dropped += 1;
        }
        self.drop_packet(fault, packet);
    }

    /// Whether the end of a leg may send another packet now: one that floods us would flood whoever hears it.
    pub(super) fn may_send(&mut self, now: Instant, key: LegKey) -> bool {
        let most = self.settings.max_packet_rate;
        self.paths.legs.get_mut(key).is_some_and(|leg| leg.rate.admits(now, most))
    }

    fn shared_datagram(&mut self, now: Instant, source: SocketAddr, packet: Packet) {
        let kind = classify(packet.as_slice());
        if kind == Kind::Stun {
            return self.stun(now, source, packet);
        }
        let Some(&key) = self.addresses.get(&source) else {
            return self.drop_packet(Fault::Stranger, packet);
        };
        match kind {
            Kind::Rtp => self.secure_rtp(now, key, packet),
            Kind::Rtcp => self.secure_rtcp(now, key, packet),
            Kind::Dtls => {
                if let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut())
                    && let Some(dtls) = secure.dtls.as_mut()
                {
                    secure.dtls_source = Some(source);
                    let failure = dtls.handle_datagram(now, packet.as_slice());
                    self.paths.pool.put(packet);
                    self.drive_dtls(now, key, failure.map(DtlsEvent::Failed));
                    self.schedule(now, key);
                } else {
                    self.drop_at(Fault::Malformed, key, packet);
                }
            }
            Kind::Stun | Kind::Unknown => self.drop_at(Fault::Malformed, key, packet),
        }
    }

    fn stun(&mut self, now: Instant, source: SocketAddr, packet: Packet) {
        let key = self.stun_leg(packet.as_slice());
        let accepted = key.and_then(|key| {
            let secure = self.paths.legs.get_mut(key)?.secure.as_mut()?;
            secure.ice.handle_datagram(now, source, packet.as_slice()).then_some(key)
        });
        match (key, accepted) {
            (_, Some(key)) => {
                if let Some(transaction) = stun::transaction_id(packet.as_slice()) {
                    self.checks.remove(&transaction);
                }
                self.paths.pool.put(packet);
                // Each time anew: meanwhile the address may have been given up for others, or gone to another leg.
                self.admit(key, source);
                self.drive(now, key);
                if let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut()) {
                    secure.note_consent(now, source);
                }
            }
            (Some(key), None) => self.drop_at(Fault::Forged, key, packet),
            (None, None) => self.drop_packet(Fault::Stranger, packet),
        }
    }

    fn stun_leg(&self, datagram: &[u8]) -> Option<LegKey> {
        match stun::route(datagram)? {
            Route::Request(ufrag) => self.ufrags.get(ufrag).copied(),
            Route::Response(transaction) => self.checks.get(&transaction).copied(),
        }
    }

    fn secure_rtp(&mut self, now: Instant, key: LegKey, mut packet: Packet) {
        let Ok(mut header) = rtp::Header::parse(packet.as_slice()) else {
            return self.drop_at(Fault::Malformed, key, packet);
        };
        let Some(leg) = self.paths.legs.get_mut(key) else {
            return self.drop_packet(Fault::Stranger, packet);
        };
        let srtp = leg.secure.as_mut().and_then(|secure| secure.srtp.as_mut());
        let opened = open_srtp(srtp, Kind::Rtp, &mut packet)
            .and_then(|()| leg.line_of(header.ssrc, header.payload_type).ok_or(Fault::Malformed));
        match opened {
            Ok(line) => self.rtp_received(now, key, line, packet, &mut header),
            Err(fault) => self.drop_at(fault, key, packet),
        }
    }

    fn secure_rtcp(&mut self, now: Instant, key: LegKey, mut packet: Packet) {
        let srtp = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut()?.srtp.as_mut());
        match open_srtp(srtp, Kind::Rtcp, &mut packet) {
            Ok(()) => self.rtcp_received(now, key, None, packet),
            Err(fault) => self.drop_at(fault, key, packet),
        }
    }

    fn line_datagram(
        &mut self,
        now: Instant,
        key: LegKey,
        index: usize,
        is_rtcp: bool,
        source: SocketAddr,
        mut packet: Packet,
    ) {
        let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index)) else {
            return self.drop_packet(Fault::Stranger, packet);
        };
        if line.kind == MediaKind::Other {
            return self.other_datagram(now, key, index, is_rtcp, source, packet);
        }
        let kind = match (is_rtcp, line.rtcp_mux) {
            (true, _) | (false, true) => classify(packet.as_slice()),
            (false, false) => classify_separate(packet.as_slice()),
        };
        if matches!(kind, Kind::Stun | Kind::Dtls) && line.own.is_some() {
            return self.own_datagram(now, key, index, is_rtcp, source, kind, packet);
        }
        let own = line.own.as_mut().filter(|own| own.required);
        let authentic = own.is_some();
        if let Some(own) = own {
            // An attempt to open it may spoil it.
            let unread = line.routes.iter().any(|route| route.unread).then(|| {
                let mut copy = self.paths.pool.take();
                copy.copy_from(&packet);
                copy
            });
            if let Err(fault) = open_srtp(own.srtp.as_mut(), kind, &mut packet) {
                self.unread_datagram(now, key, index, is_rtcp, kind, source, unread);
                return self.drop_at(fault, key, packet);
            }
            unread.into_iter().for_each(|copy| self.paths.pool.put(copy));
        }
        let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index)) else {
            return self.drop_packet(Fault::Stranger, packet);
        };
        // Garbage must not teach an address, so the latch is asked last.
        let header = match kind {
            Kind::Rtp if !is_rtcp => rtp::Header::parse(packet.as_slice()).ok(),
            _ => None,
        };
        let wanted = header.is_some() || (kind == Kind::Rtcp && rtcp::parse_raw(packet.as_slice()).is_ok());
        if !wanted {
            return self.drop_at(Fault::Malformed, key, packet);
        }
        if !line.accepts(now, is_rtcp, source, authentic) {
            return self.drop_at(Fault::Stranger, key, packet);
        }
        match header {
            Some(mut header) => self.rtp_received(now, key, index, packet, &mut header),
            None => self.rtcp_received(now, key, Some(index), packet),
        }
    }

    /// A packet that could not be opened, where the other end may be able to.
    fn unread_datagram(
        &mut self,
        now: Instant,
        key: LegKey,
        index: usize,
        is_rtcp: bool,
        kind: Kind,
        source: SocketAddr,
        unread: Option<Packet>,
    ) {
        let Some(packet) = unread else { return };
        let call = match kind {
            Kind::Rtp | Kind::Rtcp => {
                self.paths.pass_unread((key, index), is_rtcp, kind == Kind::Rtcp, source, &packet)
            }
            _ => None,
        };
        self.paths.pool.put(packet);
        if let Some(call) = call.and_then(|call| self.calls.get_mut(call)) {
            call.last_rtp = now;
        }
    }

    /// A datagram of a line that carries no RTP.
    fn other_datagram(
        &mut self,
        now: Instant,
        key: LegKey,
        index: usize,
        second: bool,
        source: SocketAddr,
        packet: Packet,
    ) {
        let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index));
        if !line.is_some_and(|line| line.accepts(now, second, source, false)) {
            return self.drop_at(Fault::Stranger, key, packet);
        }
        if !self.may_send(now, key) {
            return self.drop_at(Fault::Excessive, key, packet);
        }
        let call = self.paths.datagram_received(now, (key, index), second, packet);
        if let Some(call) = call.and_then(|call| self.calls.get_mut(call)) {
            call.last_rtp = now;
        }
    }

    /// Hands an accepted RTP packet to [`Paths::rtp_received`] and tells what it brought.
    pub(super) fn rtp_due(
        &mut self,
        now: Instant,
        arrived: Instant,
        key: LegKey,
        line: usize,
        packet: Packet,
        header: &mut rtp::Header,
    ) {
        let ssrc = header.ssrc;
        self.tape(now, key, line, packet.as_slice(), Some(header));
        self.forward_sound(now, key, line, packet.as_slice(), header);
        let Some(heard) = self.paths.rtp_received(now, arrived, key, line, packet, header) else { return };
        if let Some(call) = self.calls.get_mut(heard.call) {
            call.last_rtp = call.last_rtp.max(arrived);
        }
        if heard.first {
            self.tell(key, EventKind::FirstPacket);
        }
        heard.keys.into_iter().flatten().for_each(|digit| self.tell(key, EventKind::Dtmf(digit)));
        if heard.event || heard.waits {
            self.schedule(now, key);
        }
        if heard.starts {
            self.ask_for_picture(now, key, line, ssrc);
        }
    }

    /// Takes what ICE and DTLS of a leg have to say and to send, and sets its timer.
    pub(super) fn drive(&mut self, now: Instant, key: LegKey) {
        self.drive_ice(now, key);
        self.drive_dtls(now, key, None);
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        (0..lines).for_each(|index| self.drive_own(now, key, index, None));
        self.pierce(now, key);
        self.schedule(now, key);
    }

    fn drive_ice(&mut self, now: Instant, key: LegKey) {
        loop {
            let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut()) else {
                return;
            };
            match secure.ice.poll_event() {
                Some(IceEvent::Selected(address)) => {
                    secure.selected = Some(address);
                    secure.consent = Some(now);
                    self.admit(key, address);
                }
                Some(IceEvent::State(state)) => {
                    secure.state = state;
                    self.tell(key, EventKind::Ice(state));
                }
                None => break,
            }
        }
        while let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut())
            && let Some((to, datagram)) = secure.ice.poll_transmit()
        {
            let socket = secure.socket;
            if stun::is_request(&datagram)
                && let Some(transaction) = stun::transaction_id(&datagram)
            {
                self.remember_check(transaction, key);
            }
            let mut packet = self.paths.pool.take();
            if packet.fill(&datagram).is_ok() {
                self.paths.out.push_back(Transmit { socket, to, packet });
            }
        }
    }

    fn remember_check(&mut self, transaction: stun::TransactionId, key: LegKey) {
        if self.checks_in_order.len() >= MAX_CHECKS
            && let Some(oldest) = self.checks_in_order.pop_front()
        {
            self.checks.remove(&oldest);
        }
        self.checks.insert(transaction, key);
        self.checks_in_order.push_back(transaction);
    }

    /// From now on datagrams from `address` belong to this leg: it has proved that it knows the leg's ICE password.
    pub(super) fn admit(&mut self, key: LegKey, address: SocketAddr) {
        let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut()) else { return };
        if !secure.admitted.contains(&address) {
            if secure.admitted.len() >= MAX_ADMITTED {
                let spare = secure.admitted.iter().position(|known| secure.address() != Some(*known));
                let oldest = secure.admitted.remove(spare.unwrap_or(0));
                if self.addresses.get(&oldest) == Some(&key) {
                    self.addresses.remove(&oldest);
                }
            }
            secure.admitted.push(address);
        }
        self.addresses.insert(address, key);
    }

    /// `event` is one that came up while a datagram or a timer was handled.
    pub(super) fn drive_dtls(&mut self, now: Instant, key: LegKey, mut event: Option<DtlsEvent>) {
        loop {
            match event.take() {
                Some(DtlsEvent::Connected((send, receive))) => {
                    let Some(leg) = self.paths.legs.get_mut(key) else { return };
                    for line in leg.lines.iter_mut().flatten() {
                        line.sink.interrupt();
                        line.history.iter_mut().for_each(History::clear);
                    }
                    let Some(secure) = leg.secure.as_mut() else { return };
                    secure.srtp = Some(SrtpContext::new(&send, &receive));
                    self.paths.stats.dtls_connected += 1;
                    self.tell(key, EventKind::DtlsConnected);
                }
                Some(DtlsEvent::Failed(why)) => {
                    let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut())
                    else {
                        return;
                    };
                    secure.dtls_failed = true;
                    secure.srtp = None;
                    self.paths.stats.dtls_failed += 1;
                    self.tell(key, EventKind::DtlsFailed(why));
                }
                Some(DtlsEvent::Closed) => {
                    let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut())
                    else {
                        return;
                    };
                    secure.dtls_failed = true;
                    secure.srtp = None;
                    self.tell(key, EventKind::DtlsClosed);
                }
                None => {}
            }
            event = self.poll_dtls(now, key);
            if event.is_none() {
                return;
            }
        }
    }

    fn poll_dtls(&mut self, now: Instant, key: LegKey) -> Option<DtlsEvent> {
        let Paths { legs, pool, out, .. } = &mut self.paths;
        let secure = legs.get_mut(key)?.secure.as_mut()?;
        let to = secure.dtls_source.or(secure.selected);
        let dtls = secure.dtls.as_mut()?;
        // RFC 8842 §5.4: a client waits for ICE; before there is an address a flight would be lost.
        let to = to?;
        if dtls.role() == DtlsRole::Client
            && dtls.poll_timeout().is_none()
            && let Some(failure) = dtls.handle_timeout(now)
        {
            return Some(DtlsEvent::Failed(failure));
        }
        let socket = secure.socket;
        dtls.poll(|record| {
            let mut packet = pool.take();
            if packet.fill(record).is_ok() {
                out.push_back(Transmit { socket, to, packet });
            }
        })
    }
}

/// Authenticates and decrypts a packet; without keys none is authentic.
fn open_srtp(srtp: Option<&mut SrtpContext>, kind: Kind, packet: &mut Packet) -> Result<(), Fault> {
    let srtp = srtp.ok_or(Fault::Forged)?;
    let opened = match kind {
        Kind::Rtp => srtp.unprotect(packet),
        Kind::Rtcp => srtp.unprotect_rtcp(packet),
        Kind::Stun | Kind::Dtls | Kind::Unknown => return Err(Fault::Malformed),
    };
    opened.map_err(|error| match error {
        srtp::Error::Replayed => Fault::Replayed,
        srtp::Error::Malformed => Fault::Malformed,
        _ => Fault::Forged,
    })
}
