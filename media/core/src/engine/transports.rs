//! What offer and answer ask the engine for: ports, credentials, certificates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Engine, Owner, Settings, Shared};
use crate::call::latch::Latch;
use crate::call::leg::{Gates, Leg, LegKey, Line, Port, Rate, Secure};
use crate::call::plan::{
    LegId, LegRequest, LocalIce, LocalLeg, LocalMedia, LocalSecure, MediaKind, Transports,
};
use crate::call::sink::Sink;
use crate::command::{AddressFamily, Cause, Failure, LegKind};
use crate::ice::{Credentials, IceAgent, IceState};
use crate::rtcp::ntp::PeerClock;
use crate::sdp::{Candidate, CandidateKind, Fingerprint};
use crate::sockets::{OpenError, SocketId, SocketUse, Sockets};
use crate::srtp::{MasterKey, Profile};

/// Lines of one leg; browsers send two or three, and each costs two sockets.
const MAX_LINES: usize = 32;

/// Pairs tried when others hold the ports, before the call is refused.
const MAX_PORT_TRIES: usize = 64;

/// RFC 8445 §5.1.2: type preference 126, local preference 65535, component 1.
const HOST_PRIORITY: u32 = (126 << 24) | (65535 << 8) | 255;

/// The engine as one call sees it while its session thinks.
pub(super) struct Provider<'a, S> {
    pub(super) engine: &'a mut Engine<S>,
    pub(super) call: usize,
    pub(super) now: Instant,
}

impl<S: Sockets> Transports for Provider<'_, S> {
    fn leg(&mut self, leg: LegId, request: &LegRequest<'_>) -> Result<LocalLeg, Failure> {
        let key = match self.key(leg) {
            Some(key) => key,
            None => self.make_leg(leg, request)?,
        };
        if request.restart_ice {
            self.engine.restart_ice(key);
        }
        self.engine.describe(key).ok_or_else(unknown)
    }

    fn media(&mut self, leg: LegId, index: usize, kind: MediaKind) -> Result<LocalMedia, Failure> {
        let key = self.key(leg).ok_or_else(unknown)?;
        self.engine.open_line(self.now, key, index, kind)
    }

    fn renew(&mut self, leg: LegId, index: usize) -> Result<(), Failure> {
        let key = self.key(leg).ok_or_else(unknown)?;
        self.engine.renew_line(self.now, key, index)
    }

    fn line_ice(&mut self, leg: LegId, index: usize, lite: bool, restart: bool) -> Result<LocalIce, Failure> {
        let key = self.key(leg).ok_or_else(unknown)?;
        self.engine.open_own_ice(key, index, lite, restart)
    }

    fn line_candidates(&mut self, leg: LegId, index: usize) -> Result<Vec<Candidate>, Failure> {
        let key = self.key(leg).ok_or_else(unknown)?;
        self.engine.open_candidates(key, index)
    }

    fn fingerprint(&self, hash: &str) -> Fingerprint {
        let certificate = &self.engine.settings.certificate;
        match certificate.digest_by(hash) {
            Some(digest) => Fingerprint { algorithm: hash.to_ascii_lowercase(), digest },
            None => Fingerprint { algorithm: "sha-256".to_owned(), digest: certificate.digest().to_vec() },
        }
    }

    fn instance(&self) -> &str {
        &self.engine.instance
    }

    fn software(&self) -> &str {
        &self.engine.settings.software_id
    }

    fn fresh_tag(&mut self) -> String {
        format!("{:016x}", self.engine.rng.random::<u64>())
    }

    fn fresh_key(&mut self, profile: Profile) -> MasterKey {
        MasterKey::generate(profile, &mut self.engine.rng)
    }
}

impl<S: Sockets> Provider<'_, S> {
    fn key(&self, leg: LegId) -> Option<LegKey> {
        let call = self.engine.calls.get(self.call)?;
        call.legs.iter().find(|(id, _)| *id == leg).map(|(_, key)| *key)
    }

    fn make_leg(&mut self, id: LegId, request: &LegRequest<'_>) -> Result<LegKey, Failure> {
        let engine = &mut *self.engine;
        let (bind, address) = engine.choose_address(request);
        let secure = match request.kind {
            LegKind::Legacy => None,
            LegKind::Browser => Some(engine.make_secure(bind, address)?),
        };
        let serial = engine.next_serial;
        engine.next_serial += 1;
        let leg = Leg {
            call: self.call,
            id,
            serial,
            kind: request.kind,
            address,
            bind,
            session_id: engine.rng.random::<u64>() >> 2,
            cname: format!("{:016x}", engine.rng.random::<u64>()),
            secure,
            lines: Vec::new(),
            delay: Duration::ZERO,
            scheduled: None,
            clock: PeerClock::default(),
            next_report: self.now + super::timer::report_delay(&mut engine.rng),
            dropped: 0,
            rate: Rate::default(),
            heard: false,
            gates: Gates::default(),
            screening: None,
            forwarding: None,
            call_screening: engine.calls.get(self.call).and_then(|call| call.screening.clone()),
            call_gates: engine.calls.get(self.call).map(|call| call.gates).unwrap_or_default(),
        };
        let ufrag = leg.secure.as_ref().map(|secure| secure.credentials.ufrag.clone());
        let key = engine.paths.legs.insert(leg);
        if let Some(ufrag) = ufrag {
            engine.ufrags.insert(ufrag, key);
        }
        if let Some(call) = engine.calls.get_mut(self.call) {
            call.legs.push((id, key));
        }
        engine.paths.stats.legs_opened += 1;
        Ok(key)
    }
}

fn unknown() -> Failure {
    Failure { cause: Cause::Internal, reason: "no such leg".to_owned() }
}

fn full(reason: impl Into<String>) -> Failure {
    Failure { cause: Cause::Full, reason: reason.into() }
}

impl<S: Sockets> Engine<S> {
    /// The address to bind to and the one to announce: the command's, else the configured interface's, else the one on
    /// the way out.
    fn choose_address(&mut self, request: &LegRequest<'_>) -> (IpAddr, IpAddr) {
        let wants_v6 = match (request.announce, request.family) {
            (Some(announce), _) => Some(announce.is_ipv6()),
            (None, Some(family)) => Some(family == AddressFamily::Ip6),
            (None, None) => None,
        };
        if let Some((bind, advertised)) = interface(&self.settings, request, wants_v6) {
            return (bind, request.announce.unwrap_or(advertised));
        }
        let v6 = wants_v6.unwrap_or(false);
        let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let announce = request.announce.unwrap_or_else(|| {
            // Documentation addresses (RFC 5737, RFC 3849): routed like any other, and nothing is sent.
            let outside: IpAddr = if v6 {
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
            } else {
                Ipv4Addr::new(192, 0, 2, 1).into()
            };
            let loopback = if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
            self.sockets.route_to(SocketAddr::new(outside, 9)).unwrap_or(loopback)
        });
        (any, announce)
    }

    fn make_secure(&mut self, bind: IpAddr, address: IpAddr) -> Result<Secure, Failure> {
        let Shared { socket, port, .. } = self
            .shared
            .iter()
            .find(|shared| shared.bind == bind)
            .copied()
            .ok_or_else(|| full(format!("no media port on {bind}")))?;
        let credentials = self.fresh_credentials();
        let local = SocketAddr::new(address, port);
        let ice = IceAgent::new(&credentials, local, false, self.settings.ice_lite, self.rng.random())
            .ok_or_else(|| full(format!("{address} cannot be announced as a candidate")))?
            .with_software(&self.settings.software_id);
        Ok(Secure {
            socket,
            port,
            credentials,
            ice,
            state: IceState::Checking,
            dtls: None,
            dtls_failed: false,
            srtp: None,
            selected: None,
            dtls_source: None,
            consent: None,
            admitted: Vec::new(),
            by_ssrc: Vec::new(),
        })
    }

    /// Credentials whose ufrag no other leg of this worker has: it is what tells the legs of the shared port apart.
    fn fresh_credentials(&mut self) -> Credentials {
        loop {
            let credentials = Credentials::random(&mut self.rng);
            if !self.ufrags.contains_key(&credentials.ufrag) {
                return credentials;
            }
        }
    }

    /// Begins a new ICE generation at our end. Media flows on over the selected pair until the new one is found.
    fn restart_ice(&mut self, key: LegKey) {
        let credentials = self.fresh_credentials();
        let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut()) else { return };
        // Nothing was heard of the peer yet: there is no session to restart.
        if secure.ice.remote_credentials().is_none() {
            return;
        }
        self.ufrags.remove(&secure.credentials.ufrag);
        self.ufrags.insert(credentials.ufrag.clone(), key);
        secure.ice.restart(&credentials);
        secure.credentials = credentials;
    }

    fn describe(&self, key: LegKey) -> Option<LocalLeg> {
        let leg = self.paths.legs.get(key)?;
        let secure = leg.secure.as_ref().map(|secure| LocalSecure {
            ufrag: secure.credentials.ufrag.clone(),
            pwd: secure.credentials.pwd.clone(),
            lite: self.settings.ice_lite,
            candidates: vec![Candidate {
                foundation: "1".to_owned(),
                component: 1,
                udp: true,
                priority: HOST_PRIORITY,
                address: leg.address,
                port: secure.port,
                kind: CandidateKind::Host,
            }],
            fingerprint: Fingerprint {
                algorithm: "sha-256".to_owned(),
                digest: self.settings.certificate.digest().to_vec(),
            },
        });
        Some(LocalLeg { address: leg.address, session_id: leg.session_id, cname: leg.cname.clone(), secure })
    }

    fn open_line(
        &mut self,
        now: Instant,
        key: LegKey,
        index: usize,
        kind: MediaKind,
    ) -> Result<LocalMedia, Failure> {
        if index >= MAX_LINES {
            return Err(Failure { cause: Cause::NotAcceptable, reason: "too many media lines".to_owned() });
        }
        let leg = self.paths.legs.get(key).ok_or_else(unknown)?;
        let (bind, legacy) = (leg.bind, leg.kind == LegKind::Legacy);
        if leg.line(index).is_none() {
            let ports = if legacy { Some(self.open_pair(now, bind)?) } else { None };
            let sink = Sink::new(self.rng.random(), kind);
            let mut line = Line::new(kind, sink);
            if let Some((rtp, rtcp)) = ports {
                self.set_owner(rtp.socket, Owner::Line { leg: key, line: index, rtcp: false });
                self.set_owner(rtcp.socket, Owner::Line { leg: key, line: index, rtcp: true });
                (line.rtp, line.rtcp) = (Some(rtp), Some(rtcp));
            }
            let lines = &mut self.paths.legs[key].lines;
            if lines.len() <= index {
                lines.resize_with(index + 1, || None);
            }
            lines[index] = Some(line);
        }
        let leg = &self.paths.legs[key];
        let line = leg.line(index).ok_or_else(unknown)?;
        let shared = leg.secure.as_ref().map(|secure| secure.port);
        Ok(LocalMedia {
            port: line.rtp.as_ref().map(|port| port.port).or(shared).unwrap_or(0),
            rtcp_port: line.rtcp.as_ref().map(|port| port.port),
            ssrc: line.sink.ssrc,
        })
    }

    /// Gives a line other ports. What was learnt of the end's addresses stays: it does not move.
    fn renew_line(&mut self, now: Instant, key: LegKey, index: usize) -> Result<(), Failure> {
        let leg = self.paths.legs.get(key).ok_or_else(unknown)?;
        if leg.line(index).is_none_or(|line| line.rtp.is_none()) {
            return Ok(());
        }
        let (mut rtp, mut rtcp) = self.open_pair(now, leg.bind)?;
        self.set_owner(rtp.socket, Owner::Line { leg: key, line: index, rtcp: false });
        self.set_owner(rtcp.socket, Owner::Line { leg: key, line: index, rtcp: true });
        let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index)).ok_or_else(unknown)?;
        for (fresh, known) in [(&mut rtp, &line.rtp), (&mut rtcp, &line.rtcp)] {
            fresh.latch = known.as_ref().map(|port| port.latch.clone()).unwrap_or_default();
        }
        let former = [line.rtp.replace(rtp), line.rtcp.replace(rtcp)];
        let gone = std::mem::replace(&mut line.former, former);
        if let Some(own) = line.own.as_mut() {
            own.ice = None;
        }
        self.close_ports(now, gone);
        Ok(())
    }

    /// Frees a pair of ports.
    fn close_ports(&mut self, now: Instant, [rtp, rtcp]: [Option<Port>; 2]) {
        for port in [rtp.as_ref(), rtcp.as_ref()].into_iter().flatten() {
            for socket in std::iter::once(port.socket).chain(port.other) {
                self.set_owner(socket, Owner::Nobody);
                self.sockets.close(socket);
            }
        }
        if let Some(even) = rtp.as_ref().map(|rtp| rtp.port) {
            let sender = |port: Option<Port>| port.and_then(|port| port.latch.learnt());
            self.ports.give_back(now, even, [sender(rtp), sender(rtcp)]);
        }
    }

    fn open_pair(&mut self, now: Instant, bind: IpAddr) -> Result<(Port, Port), Failure> {
        for _ in 0..MAX_PORT_TRIES {
            let Some(even) = self.ports.take(now) else { break };
            match self.open_both(now, bind, even) {
                Ok(pair) => return Ok(pair),
                Err(OpenError::InUse) => self.ports.put_last(even),
                Err(OpenError::Failed(reason)) => {
                    self.ports.put_last(even);
                    return Err(full(format!("media port {}: {reason}", SocketAddr::new(bind, even))));
                }
            }
        }
        Err(full("no free media ports"))
    }

    fn open_both(&mut self, now: Instant, bind: IpAddr, even: u16) -> Result<(Port, Port), OpenError> {
        let (rtp, _) = self.sockets.open(SocketAddr::new(bind, even), SocketUse::Leg)?;
        match self.sockets.open(SocketAddr::new(bind, even + 1), SocketUse::Leg) {
            Ok((rtcp, _)) => {
                let former = self.ports.take_senders(now, even);
                let port = |socket: SocketId, port: u16, former: Option<SocketAddr>| Port {
                    socket,
                    port,
                    is_ipv6: bind.is_ipv6(),
                    latch: Latch::after(former),
                    other: None,
                };
                Ok((port(rtp, even, former[0]), port(rtcp, even + 1, former[1])))
            }
            Err(error) => {
                self.sockets.close(rtp);
                Err(error)
            }
        }
    }

    /// Frees all that a leg holds, and its routes at other legs.
    pub(super) fn remove_leg(&mut self, now: Instant, key: LegKey) {
        self.send_byes(now, key);
        let Some(leg) = self.paths.legs.try_remove(key) else { return };
        self.end_forwarding(leg.forwarding);
        for line in leg.lines.into_iter().flatten() {
            self.close_ports(now, line.former);
            self.close_ports(now, [line.rtp, line.rtcp]);
        }
        if let Some(secure) = leg.secure {
            self.ufrags.remove(&secure.credentials.ufrag);
            for address in secure.admitted {
                if self.addresses.get(&address) == Some(&key) {
                    self.addresses.remove(&address);
                }
            }
        }
        if let Some(call) = self.calls.get_mut(leg.call) {
            call.legs.retain(|(_, other)| *other != key);
            let others: Vec<LegKey> = call.legs.iter().map(|(_, key)| *key).collect();
            for other in others {
                self.forget_routes(other, key);
            }
        }
        self.paths.stats.legs_closed += 1;
    }

    /// Takes the way from `from` to `to` away, and what `from` remembers of `to`.
    pub(super) fn forget_routes(&mut self, from: LegKey, to: LegKey) {
        let Some(leg) = self.paths.legs.get_mut(from) else { return };
        for line in leg.lines.iter_mut().flatten() {
            line.routes.retain(|route| route.leg != to);
            line.floor.forget(to);
            line.speech.injection.take_if(|injection| injection.0 == to);
        }
    }
}

/// The interface that is named, else the one that has the address to announce: no other would receive what goes there.
fn interface(
    settings: &Settings,
    request: &LegRequest<'_>,
    wants_v6: Option<bool>,
) -> Option<(IpAddr, IpAddr)> {
    let fits = |address: IpAddr| wants_v6.is_none_or(|v6| address.is_ipv6() == v6);
    let named = request.interface.and_then(|name| {
        settings.interfaces.iter().find(|interface| interface.name == name && fits(interface.address))
    });
    let announced = request.announce.and_then(|announce| {
        settings.interfaces.iter().find(|it| it.advertised == announce || it.address == announce)
    });
    let chosen = named
        .or(announced)
        .or_else(|| settings.interfaces.iter().find(|interface| fits(interface.address)))
        .or_else(|| settings.interfaces.first())?;
    Some((chosen.address, chosen.advertised))
}
