//! ICE, DTLS and SRTP on the ports of one line: how SIP devices and gateways speak them, without BUNDLE.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Engine, EventKind, Owner, Settings};
use crate::call::latch::Latch;
use crate::call::leg::{LegKey, Line, Own, OwnIce, Port};
use crate::call::plan::{self, LineEnd, LocalIce, Protection};
use crate::command::{Cause, Failure};
use crate::demux::Kind;
use crate::dtls::{Dtls, DtlsConfig, DtlsEvent, Fingerprint};
use crate::forward::Transmit;
use crate::ice::{Credentials, IceAgent, IceEvent};
use crate::packet::Packet;
use crate::sdp::{Candidate, CandidateKind};
use crate::sockets::{SocketUse, Sockets};
use crate::srtp::{DtlsRole, SrtpContext};
use crate::stats::Fault;

/// A handshake in which nothing came for so long makes way for one with another source that fits as well.
const DTLS_PATIENCE: Duration = Duration::from_secs(2);

/// Handshakes with strangers on one line, each of which costs some signatures; the next one to fail ends it.
const MAX_REFUSED: usize = 16;

/// RFC 8445 §5.1.2: type preference 126, local preference 65535 for the first address, 255 less for each further one.
fn priority(address: usize, component: u16) -> u32 {
    let local = 65535 - u32::try_from(address).unwrap_or(0).min(255);
    (126 << 24) | (local << 8) | (256 - u32::from(component))
}

impl<S: Sockets> Engine<S> {
    /// Our ICE on a line whose ports are open; made at the first call.
    pub(super) fn open_own_ice(
        &mut self,
        key: LegKey,
        index: usize,
        lite: bool,
        restart: bool,
    ) -> Result<LocalIce, Failure> {
        let lost = || Failure { cause: Cause::Internal, reason: "no such line".to_owned() };
        let line = self.paths.legs.get(key).and_then(|leg| leg.line(index)).ok_or_else(lost)?;
        if line.own.as_ref().is_none_or(|own| own.ice.is_none()) {
            let addresses = self.open_other_family(key, index).ok_or_else(lost)?;
            let ice = self.make_own_ice(key, index, addresses, lite).ok_or_else(lost)?;
            let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index)).ok_or_else(lost)?;
            line.own.get_or_insert_default().ice = Some(ice);
        } else if restart {
            let credentials = Credentials::random(&mut self.rng);
            let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index));
            let ice = line.and_then(|line| line.own.as_mut()?.ice.as_mut()).ok_or_else(lost)?;
            ice.agents.iter_mut().for_each(|agent| agent.restart(&credentials));
            ice.credentials = credentials;
        }
        self.describe_own_ice(key, index).ok_or_else(lost)
    }

    /// The ports of a line as candidates, on both families where there are two.
    pub(super) fn open_candidates(&mut self, key: LegKey, index: usize) -> Result<Vec<Candidate>, Failure> {
        let lost = || Failure { cause: Cause::Internal, reason: "no such line".to_owned() };
        let addresses = self.open_other_family(key, index).ok_or_else(lost)?;
        let line = self.paths.legs.get(key).and_then(|leg| leg.line(index)).ok_or_else(lost)?;
        candidates(line, &addresses).ok_or_else(lost)
    }

    /// Opens the ports of the same numbers on an interface of the other family, where there is one: our addresses, that
    /// of the leg first.
    fn open_other_family(&mut self, key: LegKey, index: usize) -> Option<Vec<IpAddr>> {
        let leg = self.paths.legs.get(key)?;
        let (address, bind) = (leg.address, leg.bind);
        let name = self.settings.interfaces.iter().find(|it| it.address == bind).map(|it| it.name.clone());
        let fits = |it: &&super::Interface| it.address.is_ipv6() != bind.is_ipv6();
        let named = self.settings.interfaces.iter().filter(fits).find(|it| Some(&it.name) == name.as_ref());
        let Some(other) = named.cloned() else { return Some(vec![address]) };
        let line = leg.line(index)?;
        if line.rtp.as_ref()?.other.is_some() {
            return Some(vec![address, other.advertised]);
        }
        let ports = [line.rtp.as_ref()?.port, line.rtcp.as_ref()?.port];
        let mut opened = Vec::new();
        for (port, rtcp) in ports.into_iter().zip([false, true]) {
            match self.sockets.open(SocketAddr::new(other.address, port), SocketUse::Leg) {
                Ok((socket, _)) => {
                    self.set_owner(socket, Owner::Line { leg: key, line: index, rtcp });
                    opened.push(socket);
                }
                // One family does as well.
                Err(_) => {
                    for socket in opened {
                        self.set_owner(socket, Owner::Nobody);
                        self.sockets.close(socket);
                    }
                    return Some(vec![address]);
                }
            }
        }
        let line = self.paths.legs.get_mut(key)?.line_mut(index)?;
        for (port, socket) in [line.rtp.as_mut(), line.rtcp.as_mut()].into_iter().flatten().zip(opened) {
            port.other = Some(socket);
        }
        Some(vec![address, other.advertised])
    }

    fn make_own_ice(
        &mut self,
        key: LegKey,
        index: usize,
        addresses: Vec<IpAddr>,
        lite: bool,
    ) -> Option<OwnIce> {
        let line = self.paths.legs.get(key)?.line(index)?;
        let ports = [line.rtp.as_ref()?.port, line.rtcp.as_ref()?.port];
        let credentials = Credentials::random(&mut self.rng);
        let lite = lite || self.settings.ice_lite;
        let mut agent = |port: u16| {
            let mut locals = addresses.iter().map(|address| SocketAddr::new(*address, port));
            let agent = IceAgent::new(&credentials, locals.next()?, false, lite, self.rng.random())?;
            let mut agent = agent.with_software(&self.settings.software_id);
            locals.for_each(|local| agent.add_local(local));
            Some(agent)
        };
        let agents = [agent(ports[0])?, agent(ports[1])?];
        Some(OwnIce { credentials, agents, selected: [None; 2], addresses })
    }

    fn describe_own_ice(&self, key: LegKey, index: usize) -> Option<LocalIce> {
        let line = self.paths.legs.get(key)?.line(index)?;
        let ice = line.own.as_ref()?.ice.as_ref()?;
        Some(LocalIce {
            ufrag: ice.credentials.ufrag.clone(),
            pwd: ice.credentials.pwd.clone(),
            candidates: candidates(line, &ice.addresses)?,
        })
    }

    /// Makes protection and ICE of a line be what `end` says.
    pub(super) fn apply_own(&mut self, now: Instant, key: LegKey, end: &LineEnd, controlling: bool) {
        let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(end.index)) else { return };
        if line.own.is_none() && end.protection == Protection::None {
            return;
        }
        if end.protection == Protection::Passed {
            line.own = None;
            return;
        }
        let own = line.own.get_or_insert_default();
        own.required = end.protection != Protection::None;
        match &end.protection {
            Protection::None | Protection::Awaited | Protection::Passed => {
                (own.srtp, own.dtls) = (None, None)
            }
            Protection::Sdes { local, remote } => {
                own.dtls = None;
                match own.srtp.as_mut() {
                    Some(srtp) => srtp.update_keys(local, remote),
                    None => own.srtp = Some(SrtpContext::new(local, remote)),
                }
            }
            Protection::Dtls(remote) => {
                let fresh = own_association(own, remote);
                if let Some(role) = fresh {
                    let config = match end.ice {
                        Some(_) => self.dtls_config.clone(),
                        None => self.dtls_config.cautious(),
                    };
                    own.dtls = Some(Dtls::new(&config, &self.settings.certificate, role, now));
                    (own.dtls_failed, own.srtp) = (false, None);
                    (own.dtls_source, own.dtls_heard) = (None, None);
                    own.dtls_refused.clear();
                }
                if let Some(dtls) = own.dtls.as_mut() {
                    dtls.set_fingerprints(&fingerprints(remote));
                }
            }
        }
        self.apply_own_ice(now, key, end, controlling);
    }

    fn apply_own_ice(&mut self, now: Instant, key: LegKey, end: &LineEnd, controlling: bool) {
        let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(end.index)) else { return };
        let Some(ice) = line.own.as_mut().and_then(|own| own.ice.as_mut()) else { return };
        let Some(remote) = &end.ice else { return };
        let credentials = Credentials { ufrag: remote.ufrag.clone(), pwd: remote.pwd.clone() };
        for (component, agent) in (1..).zip(ice.agents.iter_mut()) {
            if component == 2 && end.rtcp_mux {
                continue;
            }
            if agent.remote_credentials().is_none() {
                agent.set_controlling(controlling || remote.lite);
            } else if agent.remote_credentials() != Some(&credentials) {
                agent.restart(&ice.credentials);
            }
            agent.set_remote_credentials(now, &credentials);
            for candidate in remote.candidates.iter().filter(|it| it.component == component) {
                // The agent knows one component only.
                agent.add_remote_candidate(&Candidate { component: 1, ..candidate.clone() }.to_string());
            }
        }
        let selected = ice.selected;
        for (port, address) in [line.rtp.as_mut(), line.rtcp.as_mut()].into_iter().zip(selected) {
            if let (Some(port), Some(address)) = (port, address) {
                port.latch.fix(address);
            }
        }
    }

    /// Takes STUN and DTLS on a line's own ports.
    pub(super) fn own_datagram(
        &mut self,
        now: Instant,
        key: LegKey,
        index: usize,
        rtcp: bool,
        source: SocketAddr,
        kind: Kind,
        packet: Packet,
    ) {
        let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index));
        let Some(Line { own: Some(own), rtp: Some(port), .. }) = line else {
            return self.drop_at(Fault::Malformed, key, packet);
        };
        let mut event = None;
        let taken = match kind {
            Kind::Stun => own.ice.as_mut().is_some_and(|ice| {
                ice.agents[usize::from(rtcp)].handle_datagram(now, source, packet.as_slice())
            }),
            Kind::Dtls
                if !rtcp && hears_dtls(&self.dtls_config, &self.settings, own, &port.latch, now, source) =>
            {
                own.dtls.as_mut().is_some_and(|dtls| {
                    event = dtls.handle_datagram(now, packet.as_slice()).map(DtlsEvent::Failed);
                    true
                })
            }
            _ => false,
        };
        if !taken {
            let fault = if kind == Kind::Stun { Fault::Forged } else { Fault::Stranger };
            return self.drop_at(fault, key, packet);
        }
        self.paths.pool.put(packet);
        self.drive_own(now, key, index, event);
        self.schedule(now, key);
    }

    /// Takes what ICE and DTLS of a line have to say and to send.
    pub(super) fn drive_own(&mut self, now: Instant, key: LegKey, index: usize, event: Option<DtlsEvent>) {
        self.drive_own_ice(key, index);
        self.drive_own_dtls(now, key, index, event);
    }

    fn drive_own_ice(&mut self, key: LegKey, index: usize) {
        let mut states = Vec::new();
        let crate::forward::Paths { legs, pool, out, .. } = &mut self.paths;
        let Some(line) = legs.get_mut(key).and_then(|leg| leg.line_mut(index)) else { return };
        let Some(ice) = line.own.as_mut().and_then(|own| own.ice.as_mut()) else { return };
        let ports = [line.rtp.as_mut(), line.rtcp.as_mut()];
        for ((agent, selected), port) in ice.agents.iter_mut().zip(&mut ice.selected).zip(ports) {
            let Some(port) = port else { continue };
            while let Some(event) = agent.poll_event() {
                match event {
                    IceEvent::Selected(address) => {
                        *selected = Some(address);
                        port.latch.fix(address);
                    }
                    IceEvent::State(state) => states.push(state),
                }
            }
            while let Some((to, datagram)) = agent.poll_transmit() {
                let other = port.other.filter(|_| to.is_ipv6() != port.is_ipv6);
                let mut packet = pool.take();
                if packet.fill(&datagram).is_ok() {
                    out.push_back(Transmit { socket: other.unwrap_or(port.socket), to, packet });
                }
            }
        }
        states.into_iter().for_each(|state| self.tell(key, EventKind::Ice(state)));
    }

    fn drive_own_dtls(&mut self, now: Instant, key: LegKey, index: usize, mut event: Option<DtlsEvent>) {
        loop {
            if let Some(event) = event.take() {
                let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index));
                let Some(line) = line else { return };
                let Some(own) = line.own.as_mut() else { return };
                let told = match event {
                    DtlsEvent::Connected((send, receive)) => {
                        own.srtp = Some(SrtpContext::new(&send, &receive));
                        // The certificate proved who is there.
                        if let Some((source, port)) = own.dtls_source.zip(line.rtp.as_mut()) {
                            port.latch.fix(source);
                        }
                        self.paths.stats.dtls_connected += 1;
                        Some(EventKind::DtlsConnected)
                    }
                    DtlsEvent::Failed(why) => {
                        if refuse_stranger(&self.dtls_config, &self.settings, own, line.rtp.as_ref(), now) {
                            tracing::debug!(%why, "DTLS with a stranger failed: waiting for the end itself");
                            None
                        } else {
                            (own.dtls_failed, own.srtp) = (true, None);
                            self.paths.stats.dtls_failed += 1;
                            Some(EventKind::DtlsFailed(why))
                        }
                    }
                    DtlsEvent::Closed => {
                        (own.dtls_failed, own.srtp) = (true, None);
                        Some(EventKind::DtlsClosed)
                    }
                };
                told.into_iter().for_each(|told| self.tell(key, told));
            }
            event = self.poll_own_dtls(now, key, index);
            if event.is_none() {
                return;
            }
        }
    }

    fn poll_own_dtls(&mut self, now: Instant, key: LegKey, index: usize) -> Option<DtlsEvent> {
        let crate::forward::Paths { legs, pool, out, .. } = &mut self.paths;
        let line = legs.get_mut(key)?.line_mut(index)?;
        let own = line.own.as_mut()?;
        let port = line.rtp.as_ref()?;
        // With ICE the way is known when it has selected one (RFC 8842 §5.4), else by the SDP.
        let known = match &own.ice {
            Some(ice) if ice.agents[0].remote_credentials().is_some() => ice.selected[0],
            _ => port.latch.target(),
        };
        let to = own.dtls_source.or(known)?;
        let other = port.other.filter(|_| to.is_ipv6() != port.is_ipv6);
        let socket = other.unwrap_or(port.socket);
        let dtls = own.dtls.as_mut()?;
        if dtls.role() == DtlsRole::Client
            && dtls.poll_timeout().is_none()
            && let Some(failure) = dtls.handle_timeout(now)
        {
            return Some(DtlsEvent::Failed(failure));
        }
        dtls.poll(|record| {
            let mut packet = pool.take();
            if packet.fill(record).is_ok() {
                out.push_back(Transmit { socket, to, packet });
            }
        })
    }

    /// Does what is due at the lines of a leg.
    pub(super) fn own_timeouts(&mut self, now: Instant, key: LegKey) {
        let lines = self.paths.legs.get(key).map_or(0, |leg| leg.lines.len());
        for index in 0..lines {
            let line = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index));
            let Some(own) = line.and_then(|line| line.own.as_mut()) else { continue };
            if let Some(ice) = own.ice.as_mut() {
                ice.agents.iter_mut().for_each(|agent| agent.handle_timeout(now));
            }
            let due = own.dtls.as_mut().filter(|dtls| dtls.poll_timeout().is_some_and(|at| at <= now));
            let failure = due.and_then(|dtls| dtls.handle_timeout(now));
            self.drive_own(now, key, index, failure.map(DtlsEvent::Failed));
        }
    }

    /// When the lines of a leg have something to do.
    pub(super) fn own_poll_timeout(&mut self, key: LegKey) -> Option<Instant> {
        let leg = self.paths.legs.get_mut(key)?;
        let owns = leg.lines.iter_mut().flatten().filter_map(|line| line.own.as_mut());
        owns.flat_map(|own| {
            let agents = own.ice.iter_mut().flat_map(|ice| ice.agents.iter_mut());
            let ice = agents.filter(|agent| agent.remote_credentials().is_some());
            let ice = ice.filter_map(IceAgent::poll_timeout).min();
            [ice, own.dtls.as_ref().and_then(Dtls::poll_timeout)]
        })
        .flatten()
        .min()
    }
}

/// Whether a DTLS record from `source` is for the association of a line; another takes the place of one with a stranger.
/// Else whoever sends a ClientHello to the port before the end does would have its call ("DTLS hello race").
fn hears_dtls(
    config: &DtlsConfig,
    settings: &Settings,
    own: &mut Own,
    latch: &Latch,
    now: Instant,
    source: SocketAddr,
) -> bool {
    let Some(dtls) = own.dtls.as_ref().filter(|_| !own.dtls_failed) else { return false };
    match &own.ice {
        Some(ice) if ice.agents[0].remote_credentials().is_some() => {
            if !ice.agents[0].has_proved(source) {
                return false;
            }
        }
        // We have spoken to the address of the SDP: whoever is elsewhere cannot answer.
        _ if dtls.role() == DtlsRole::Client && latch.target() != Some(source) => return false,
        _ => {
            if let Some(known) = own.dtls_source.filter(|known| *known != source) {
                let silent =
                    own.dtls_heard.is_none_or(|at| now.saturating_duration_since(at) >= DTLS_PATIENCE);
                let better =
                    latch.fits_better(source, known) || (silent && !latch.fits_better(known, source));
                if dtls.is_connected() || !better {
                    return false;
                }
                begin_again(config, settings, own, now);
            }
            if own.dtls_refused.contains(&source) {
                return false;
            }
        }
    }
    (own.dtls_source, own.dtls_heard) = (Some(source), Some(now));
    true
}

/// Forgets a handshake that came to nothing with somebody who may not have been the end, so that the end can still have its
/// own; false where it was the end's, or there were too many.
fn refuse_stranger(
    config: &DtlsConfig,
    settings: &Settings,
    own: &mut Own,
    port: Option<&Port>,
    now: Instant,
) -> bool {
    let by_ice = own.ice.as_ref().is_some_and(|ice| ice.agents[0].remote_credentials().is_some());
    let Some(source) = own.dtls_source.filter(|_| !by_ice) else { return false };
    if port.is_none_or(|port| port.latch.is_at(source)) || own.dtls_refused.len() >= MAX_REFUSED {
        return false;
    }
    own.dtls_refused.push(source);
    begin_again(config, settings, own, now);
    true
}

/// A fresh association of the same role and for the same end.
fn begin_again(config: &DtlsConfig, settings: &Settings, own: &mut Own, now: Instant) {
    let Some(before) = own.dtls.take() else { return };
    let mut dtls = Dtls::new(&config.cautious(), &settings.certificate, before.role(), now);
    dtls.set_fingerprints(before.fingerprints());
    own.dtls = Some(dtls);
    (own.dtls_source, own.dtls_heard) = (None, None);
}

/// The ports of a line on these addresses, those of RTP first.
fn candidates(line: &Line, addresses: &[IpAddr]) -> Option<Vec<Candidate>> {
    let ports = [(1, line.rtp.as_ref()?.port), (2, line.rtcp.as_ref()?.port)];
    let candidates = ports.into_iter().flat_map(|(component, port)| {
        addresses.iter().enumerate().map(move |(at, address)| Candidate {
            foundation: foundation(*address),
            component,
            udp: true,
            priority: priority(at, component),
            address: *address,
            port,
            kind: CandidateKind::Host,
        })
    });
    Some(candidates.collect())
}

/// The role of the association that is to be made; `None` where the one there is goes on.
fn own_association(own: &Own, remote: &plan::RemoteDtls) -> Option<DtlsRole> {
    let role = match remote.role {
        plan::DtlsRole::Client => DtlsRole::Client,
        plan::DtlsRole::Server | plan::DtlsRole::Undecided => DtlsRole::Server,
    };
    let keep = own.dtls.as_ref().is_some_and(|dtls| {
        let known = dtls.fingerprints().is_empty() || dtls.fingerprints() == fingerprints(remote);
        dtls.role() == role && !own.dtls_failed && known
    });
    (!keep).then_some(role)
}

fn fingerprints(remote: &plan::RemoteDtls) -> Vec<Fingerprint> {
    let all = remote.fingerprints.iter();
    all.map(|print| Fingerprint { hash: print.algorithm.clone(), digest: print.digest.clone() }).collect()
}

/// One per address (RFC 8445 §5.1.1.3): the same in every SDP, so that a peer finds it frozen or thawed as it should be.
fn foundation(address: IpAddr) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
