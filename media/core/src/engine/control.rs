//! Commands, and putting a plan into effect.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::transports::Provider;
use super::{Call, Engine, MAX_CALLS};
use crate::call::history::History;
use crate::call::latch::Place;
use crate::call::leg::{Gates, Leg, LegKey, Purpose, Route};
use crate::call::offer_answer::{Outcome, Session};
use crate::call::plan::{
    self, Feedback, LegId, LegPlan, LineEnd, LinePlan, MediaKind, MediaPlan, Transports,
};
use crate::command::{Cause, Command, Delete, Exchange, Failure, Gate, Gated, Reply, Tos};
use crate::dtls::{Dtls, Fingerprint};
use crate::ice::Credentials;
use crate::sockets::Sockets;
use crate::srtp::DtlsRole;

/// Empty datagrams sent at most to an end that says nothing, one each second.
const PIERCINGS: u8 = 60;

/// Deletes of one call that wait; a further one is done at once.
const MAX_ENDING: usize = 32;

/// What signalling has to do with an end that is put into effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    /// Its SDP has just come.
    pub(super) new: bool,
    /// It knows its port here, so that its packets may come.
    pub(super) told: bool,
}

impl<S: Sockets> Engine<S> {
    /// Executes one command.
    pub fn handle_command(&mut self, now: Instant, command: &Command) -> Reply {
        self.paths.stats.commands += 1;
        match command {
            Command::Ping => Reply::Pong,
            Command::Offer(exchange) => self.exchange(now, exchange, true),
            Command::Answer(exchange) => self.exchange(now, exchange, false),
            Command::Publish(exchange) => self.publish(now, exchange),
            Command::SubscribeRequest(exchange) => self.subscribe_request(now, exchange),
            Command::SubscribeAnswer(exchange) => self.subscribe_answer(now, exchange),
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(now, unsubscribe),
            Command::Connect(connect) => self.connect(now, connect),
            Command::Delete(delete) => self.delete(now, delete),
            Command::Query(query) => self.query(now, query),
            Command::Gate(gate) => self.gate(now, gate),
            Command::Play(play) => self.play(now, play),
            Command::StopMedia(stop) => self.stop_media(stop),
            Command::PlayDtmf(play) => self.play_dtmf(now, play),
            Command::Record(record) => self.record(now, record),
            Command::Forward(forward) => self.forward(forward),
            Command::List { limit } => {
                Reply::Calls(self.calls.iter().take(*limit).map(|(_, call)| call.id.to_string()).collect())
            }
            Command::Statistics => Reply::Numbers(Box::new(self.numbers(now))),
            Command::Sessions => Reply::Sessions(self.sessions()),
            Command::Tune(tuning) => self.tune(now, tuning),
            Command::NotImplemented { name } => {
                Reply::error(Cause::NotImplemented, format!("unknown command: {name}"))
            }
        }
    }

    fn exchange(&mut self, now: Instant, exchange: &Exchange, offer: bool) -> Reply {
        if exchange.flags.fragment {
            return self.fragment(now, exchange, offer);
        }
        if exchange.flags.loop_protect && self.is_own(&exchange.sdp) {
            // It came round: its media passes here already.
            return Reply::Sdp { sdp: exchange.sdp.clone(), warnings: exchange.warnings.clone() };
        }
        let key = match self.call_of(now, exchange, offer) {
            Ok(key) => key,
            Err(failure) => return refusal(exchange, failure),
        };
        let result = self.think(now, key, |session, transports| match offer {
            true => session.offer(exchange, transports),
            false => session.answer(exchange, transports),
        });
        match result {
            Ok(Outcome { sdp, plan, warnings }) => {
                self.apply(now, key, &plan, usize::from(!offer));
                let sender = self.plan_keys(key, &plan).map(|keys| keys[usize::from(!offer)]);
                if let Some((leg, delay)) = sender.zip(exchange.delay) {
                    self.set_delay(now, leg, delay);
                }
                self.apply_parties(now, key, None);
                exchange.drop_traffic.into_iter().for_each(|dropped| self.drop_traffic(key, dropped));
                self.record_by_flag(now, key, exchange);
                Reply::Sdp { sdp, warnings }
            }
            Err(failure) => refusal(exchange, failure),
        }
    }

    /// The call of an exchange, which `begins` one where it is the first. The call lives on for it.
    pub(super) fn call_of(
        &mut self,
        now: Instant,
        exchange: &Exchange,
        begins: bool,
    ) -> Result<usize, Failure> {
        let refused = |cause, reason: &str| Failure { cause, reason: reason.to_owned() };
        let key = match self.by_id.get(exchange.call_id.as_str()) {
            Some(key) => *key,
            None if !begins => return Err(refused(Cause::UnknownCall, "unknown call-id")),
            None if exchange.no_new_call || self.calls.len() >= MAX_CALLS => {
                self.paths.stats.rejected += 1;
                return Err(refused(Cause::Full, "too many calls"));
            }
            None => self.new_call(now, &exchange.call_id),
        };
        let unix = self.unix(now).as_secs();
        let call = self.calls.get_mut(key).ok_or_else(|| refused(Cause::Internal, "the call is gone"))?;
        call.last_signal = unix;
        call.proxy = call.proxy.or(exchange.proxy);
        call.last_rtp = now;
        call.note_metadata(exchange.metadata.as_deref());
        let tos = match exchange.tos {
            Tos::Usual => None,
            Tos::Kept => call.tos,
            Tos::Value(value) => Some(value),
        };
        call.is_tos_new |= tos != call.tos;
        call.tos = tos;
        // Whoever speaks again is not to be deleted, but a branch that is gone stays gone.
        call.ending
            .retain(|(_, delete)| delete.via_branch.is_some() && delete.via_branch != exchange.via_branch);
        Ok(key)
    }

    /// Has the session of a call think; it asks the engine for ports meanwhile, so it cannot be inside the engine. After
    /// a failure nothing is left of what it asked for.
    pub(super) fn think<T>(
        &mut self,
        now: Instant,
        key: usize,
        run: impl FnOnce(&mut Session, &mut dyn Transports) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(call) = self.calls.get_mut(key) else {
            return Err(Failure { cause: Cause::Internal, reason: "the call is gone".to_owned() });
        };
        let mut session = std::mem::take(&mut call.session);
        let result = run(&mut session, &mut Provider { engine: self, call: key, now });
        if let Some(call) = self.calls.get_mut(key) {
            call.session = session;
        }
        if result.is_err() {
            self.after_failure(now, key);
        }
        self.mark_call(key);
        result
    }

    /// Gives the sockets of a call the type of service that is wished of them.
    fn mark_call(&mut self, key: usize) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.tos.is_none() && !std::mem::take(&mut call.is_tos_new) {
            return;
        }
        let (tos, legs) = (call.tos, &self.paths.legs);
        let legs = call.legs.iter().filter_map(|(_, leg)| legs.get(*leg));
        let lines = legs.flat_map(Leg::lines).flat_map(|(_, line)| [&line.rtp, &line.rtcp]).flatten();
        for socket in lines.flat_map(|port| std::iter::once(port.socket).chain(port.other)) {
            self.sockets.mark(socket, tos);
        }
    }

    /// Has nothing go on of what the ends of a call say, also of those to come, or lets it go on again.
    fn drop_traffic(&mut self, key: usize, dropped: bool) {
        let Some(call) = self.calls.get_mut(key) else { return };
        for what in [Gated::Media, Gated::Dtmf] {
            call.gates.set(what, dropped);
            for (_, leg) in &call.legs {
                self.paths.legs.get_mut(*leg).into_iter().for_each(|leg| leg.call_gates.set(what, dropped));
            }
        }
    }

    /// Whether the relay has written a description.
    fn is_own(&self, sdp: &[u8]) -> bool {
        let line = format!("a=rtpengine:{}", self.instance);
        memchr::memmem::find(sdp, line.as_bytes()).is_some()
    }

    pub(super) fn new_call(&mut self, now: Instant, call_id: &str) -> usize {
        let id: std::sync::Arc<str> = call_id.into();
        let unix = self.unix(now);
        let created = unix.as_secs();
        let key = self.calls.insert(Call {
            id: std::sync::Arc::clone(&id),
            session: Session::default(),
            legs: Vec::new(),
            created,
            last_signal: created,
            last_rtp: now,
            flowing: false,
            answered: false,
            begun: now,
            ending: Vec::new(),
            tos: None,
            is_tos_new: false,
            taped: None,
            forwarding: None,
            metadata: None,
            gates: Gates::default(),
            screening: None,
            proxy: None,
            created_micros: unix.subsec_micros(),
        });
        self.by_id.insert(id, key);
        self.paths.stats.calls_created += 1;
        key
    }

    /// A refused exchange leaves nothing behind: neither the legs it made nor, if it was the first, the call.
    fn after_failure(&mut self, now: Instant, key: usize) {
        let Some(call) = self.calls.get(key) else { return };
        let over = call.session.is_empty();
        let orphans: Vec<LegKey> =
            call.legs.iter().filter(|(id, _)| over || !call.session.has(*id)).map(|(_, leg)| *leg).collect();
        for leg in orphans {
            self.remove_leg(now, leg);
        }
        if over {
            self.remove_call(now, key);
        }
    }

    pub(super) fn delete(&mut self, now: Instant, delete: &Delete) -> Reply {
        let Some(&key) = self.by_id.get(delete.call_id.as_str()) else {
            let mut warnings = delete.warnings.clone();
            warnings.push("Call-ID not found or tags didn't match".to_owned());
            return Reply::Call { report: None, warnings };
        };
        if !delete.fast {
            self.measure_call(now, key);
        }
        let report = if delete.fast { None } else { self.report(now, key, None).map(Box::new) };
        let Some(call) = self.calls.get_mut(key) else {
            return Reply::error(Cause::Internal, "the call is gone");
        };
        if !delete.delay.is_zero() && call.ending.len() < MAX_ENDING {
            call.ending.push((now + delete.delay, Delete { delay: Duration::ZERO, ..delete.clone() }));
            if let Some((_, leg)) = call.legs.first().copied() {
                self.schedule(now, leg);
            }
            return Reply::Call { report, warnings: delete.warnings.clone() };
        }
        let gone = call.session.remove(delete);
        let over = call.session.is_empty();
        let keys: Vec<LegKey> =
            call.legs.iter().filter(|(id, _)| over || gone.contains(id)).map(|(_, key)| *key).collect();
        for leg in keys {
            self.remove_leg(now, leg);
        }
        if over {
            let stats = &mut self.paths.stats;
            *if delete.forced { &mut stats.forced } else { &mut stats.regular } += 1;
            self.remove_call(now, key);
        } else {
            self.apply_parties(now, key, None);
            self.recount_speakers(key);
        }
        Reply::Call { report, warnings: delete.warnings.clone() }
    }

    fn gate(&mut self, now: Instant, gate: &Gate) -> Reply {
        let key = self.by_id.get(gate.call_id.as_str()).copied();
        let Some(call) = key.and_then(|key| self.calls.get_mut(key)) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        let whole = gate.from_tag.is_none() && gate.label.is_none() && gate.address.is_none();
        let meant = |id: LegId| {
            let names = call.session.names(id);
            let same = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
            same(&gate.from_tag, &names.tag)
                && same(&gate.label, &names.label)
                && gate.address.is_none_or(|address| call.session.announces(id, address))
        };
        let keys: Vec<LegKey> = call.legs.iter().filter(|(id, _)| meant(*id)).map(|(_, key)| *key).collect();
        if keys.is_empty() {
            return Reply::error(Cause::UnknownCall, "no such end in the call");
        }
        if let Some(closed) = gate.closed.filter(|_| whole) {
            call.gates.set(gate.what, closed);
            if gate.what == Gated::Dtmf {
                call.screening.clone_from(&gate.screening);
            }
        }
        for key in keys {
            gate.delay.into_iter().for_each(|delay| self.set_delay(now, key, delay));
            let Some((leg, closed)) = self.paths.legs.get_mut(key).zip(gate.closed) else { continue };
            let frees_all = gate.all && !closed && gate.screening.is_none();
            match whole {
                false => leg.gates.set(gate.what, closed),
                true => leg.call_gates.set(gate.what, closed),
            }
            if frees_all {
                leg.gates.set(gate.what, false);
            }
            if gate.what != Gated::Dtmf {
                continue;
            }
            match whole {
                false => leg.screening.clone_from(&gate.screening),
                true => leg.call_screening.clone_from(&gate.screening),
            }
            leg.screening.take_if(|_| frees_all);
            self.apply_screening(key);
        }
        Reply::Done { warnings: gate.warnings.clone() }
    }

    /// Ends a call and frees all of it.
    pub(super) fn remove_call(&mut self, now: Instant, key: usize) {
        self.stop_recording(now, key);
        self.stop_forwarding(key);
        self.count_end(now, key);
        let Some(call) = self.calls.get(key) else { return };
        let legs: Vec<LegKey> = call.legs.iter().map(|(_, leg)| *leg).collect();
        for leg in legs {
            self.remove_leg(now, leg);
        }
        let call = self.calls.remove(key);
        self.by_id.remove(&call.id);
        self.paths.stats.calls_ended += 1;
    }

    /// Makes the legs be what `plan` says. `sender` is the place in it of the end whose SDP has just come.
    pub(super) fn apply(&mut self, now: Instant, call: usize, plan: &MediaPlan, sender: usize) {
        let Some(keys) = self.plan_keys(call, plan) else { return };
        if let Some(entry) = self.calls.get_mut(call) {
            entry.answered |= plan.answered;
        }
        for (side, leg) in plan.legs.iter().enumerate() {
            self.apply_leg(now, keys[side], leg);
        }
        let mut before = [0, 1].map(|side| self.take_routes(keys[side], keys[1 - side]));
        for line in &plan.lines {
            for side in 0..2 {
                let transparent = line.flows[1 - side].transparent;
                self.apply_kind(keys[side], line.ends[side].index, line.kind);
                let said = Said { new: side == sender, told: plan.answered || side != sender };
                self.apply_end(now, keys[side], &line.ends[side], line.rtcp_passes, transparent, said);
                self.apply_own(now, keys[side], &line.ends[side], plan.legs[side].controlling);
                self.apply_flow(keys, side, line, &mut before[side]);
                self.apply_echo(keys[side], line, side);
            }
            if plan.answered
                && let Some(heard) = self
                    .paths
                    .legs
                    .get_mut(keys[1 - sender])
                    .and_then(|leg| leg.line_mut(line.ends[1 - sender].index))
            {
                heard.floor.answered(keys[sender]);
            }
        }
        self.recount_speakers(call);
        for key in keys {
            self.drive(now, key);
        }
    }

    fn plan_keys(&self, call: usize, plan: &MediaPlan) -> Option<[LegKey; 2]> {
        let legs = &self.calls.get(call)?.legs;
        let find = |id| legs.iter().find(|(leg, _)| *leg == id).map(|(_, key)| *key);
        Some([find(plan.legs[0].id)?, find(plan.legs[1].id)?])
    }

    fn apply_leg(&mut self, now: Instant, key: LegKey, wanted: &LegPlan) {
        let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut()) else { return };
        if secure.ice.remote_credentials().is_none() {
            // Later the two agents may have settled a conflict otherwise (RFC 8445 §7.3.1.1).
            secure.ice.set_controlling(wanted.controlling);
        }
        if let Some(remote) = &wanted.ice {
            let credentials = Credentials { ufrag: remote.ufrag.clone(), pwd: remote.pwd.clone() };
            if secure.ice.remote_credentials().is_some_and(|known| *known != credentials) {
                // The peer began a new generation without ours having been asked to: same credentials, new checks.
                let own = secure.credentials.clone();
                secure.ice.restart(&own);
            }
            secure.ice.set_remote_credentials(now, &credentials);
            for candidate in &remote.candidates {
                secure.ice.add_remote_candidate(&candidate.to_string());
            }
        }
        if let Some(remote) = &wanted.dtls {
            self.apply_dtls(now, key, remote);
        }
    }

    /// A new association for new fingerprints, a role that was decided the other way, or after a failure; else the one
    /// there is goes on (RFC 8842 §5.5: an unchanged description keeps it).
    fn apply_dtls(&mut self, now: Instant, key: LegKey, remote: &plan::RemoteDtls) {
        let Some(secure) = self.paths.legs.get_mut(key).and_then(|leg| leg.secure.as_mut()) else { return };
        let role = match remote.role {
            plan::DtlsRole::Client => DtlsRole::Client,
            plan::DtlsRole::Server | plan::DtlsRole::Undecided => DtlsRole::Server,
        };
        let fingerprints: Vec<Fingerprint> = remote
            .fingerprints
            .iter()
            .map(|print| Fingerprint { hash: print.algorithm.clone(), digest: print.digest.clone() })
            .collect();
        let keep = secure.dtls.as_ref().is_some_and(|dtls| {
            dtls.role() == role
                && !secure.dtls_failed
                && (dtls.fingerprints().is_empty() || dtls.fingerprints() == fingerprints)
        });
        if !keep {
            secure.dtls = Some(Dtls::new(&self.dtls_config, &self.settings.certificate, role, now));
            secure.dtls_failed = false;
            secure.srtp = None;
        }
        if let Some(dtls) = secure.dtls.as_mut() {
            dtls.set_fingerprints(&fingerprints);
        }
    }

    /// Makes a line carry what was agreed: a call becomes a fax on the line of its sound, and a call again.
    fn apply_kind(&mut self, key: LegKey, index: usize, kind: MediaKind) {
        let Some(line) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index)) else { return };
        line.kind = kind;
        line.sink.set_kind(kind);
    }

    /// Makes a line be what `end` says. `transparent`: what it is sent keeps names and numbers.
    pub(super) fn apply_end(
        &mut self,
        now: Instant,
        key: LegKey,
        end: &LineEnd,
        rtcp_passes: bool,
        transparent: bool,
        said: Said,
    ) {
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        let secure = leg.secure.is_some();
        let Some(line) = leg.line_mut(end.index) else { return };
        let repeats = secure && line.kind == MediaKind::Video && end.feedback.contains(&Feedback::Nack);
        line.history = line.history.take().or_else(|| Some(History::default())).filter(|_| repeats);
        line.mid.clone_from(&end.mid);
        line.ssrcs.clone_from(&end.ssrcs);
        line.payload_types.clone_from(&end.payload_types);
        line.feedback.clone_from(&end.feedback);
        line.rtcp_mux = end.rtcp_mux;
        line.rtcp_passes = rtcp_passes;
        line.speech.set_hears(end.hears);
        line.speaks.clone_from(&end.speaks);
        line.ear = line.ear.take().or_else(|| Some(Box::default())).filter(|_| end.ear);
        line.sink.set_transparent(transparent);
        let Some(remote) = end.remote else { return };
        for (port, address) in [(line.rtp.as_mut(), remote.rtp), (line.rtcp.as_mut(), remote.rtcp)] {
            let Some(port) = port else { continue };
            port.latch.set_manners(end.manners);
            if said.new || port.latch.announced() != Some(address) {
                port.latch.signalled(now, place(end, address), said.told);
            } else if said.told {
                port.latch.told(now);
            }
        }
        line.piercing = line.pierced().then_some(PIERCINGS);
    }

    fn apply_flow(&mut self, keys: [LegKey; 2], side: usize, line: &LinePlan, before: &mut [(usize, Route)]) {
        let (from, to) = (&line.ends[side], &line.ends[1 - side]);
        let flow = &line.flows[side];
        let mut route = Route::new(keys[1 - side], to.index, flow, Purpose::Talk, line.rtcp_passes);
        if self.paths.silence.fill_after.is_some() {
            route.transcode_laws(to.ptime);
        }
        // A re-INVITE that changes nothing is not to be heard.
        let same = before.iter_mut().find(|(index, route)| *index == from.index && route.line == to.index);
        route.transcoding = same.and_then(|(_, route)| route.transcoding.take());
        if !route.open
            && let Some(line) = self.paths.legs.get_mut(keys[1 - side]).and_then(|leg| leg.line_mut(to.index))
        {
            line.sink.interrupt();
        }
        if let Some(line) = self.paths.legs.get_mut(keys[side]).and_then(|leg| leg.line_mut(from.index)) {
            line.routes.push(route);
        }
    }

    /// Has what an end says come back to it, or not.
    fn apply_echo(&mut self, key: LegKey, line: &LinePlan, side: usize) {
        let index = line.ends[side].index;
        let Some(own) = self.paths.legs.get_mut(key).and_then(|leg| leg.line_mut(index)) else { return };
        own.routes.retain(|route| route.leg != key);
        let echo = line.echoes[side].as_ref();
        own.routes.extend(echo.map(|flow| Route::new(key, index, flow, Purpose::Copy, false)));
    }

    /// As [`Engine::forget_routes`], but whoever is heard stays heard: the routes come back at once. Gives them with the
    /// place of their line.
    fn take_routes(&mut self, from: LegKey, to: LegKey) -> Vec<(usize, Route)> {
        let Some(leg) = self.paths.legs.get_mut(from) else { return Vec::new() };
        let lines =
            leg.lines.iter_mut().enumerate().filter_map(|(index, line)| Some((index, line.as_mut()?)));
        let taken = lines.flat_map(|(index, line)| {
            line.routes.extract_if(.., |route| route.leg == to).map(move |route| (index, route))
        });
        taken.collect()
    }

    /// Counts for each line how many legs speak to it, and notes whether any media may flow in the call.
    pub(super) fn recount_speakers(&mut self, call: usize) {
        let Some(entry) = self.calls.get(call) else { return };
        let keys: Vec<LegKey> = entry.legs.iter().map(|(_, key)| *key).collect();
        let mut routes = Vec::new();
        for key in &keys {
            for line in self.paths.legs[*key].lines.iter_mut().flatten() {
                line.floor.speakers = 0;
                let media = line.routes.iter().filter(|route| route.purpose != Purpose::Reports);
                routes.extend(media.map(|route| (route.leg, route.line, route.open)));
            }
        }
        for (leg, line, _) in &routes {
            if let Some(line) = self.paths.legs.get_mut(*leg).and_then(|leg| leg.line_mut(*line)) {
                line.floor.speakers += 1;
            }
        }
        if let Some(entry) = self.calls.get_mut(call) {
            entry.flowing = routes.iter().any(|(_, _, open)| *open);
        }
    }

    /// Ends all calls, for a shutdown.
    pub fn end_all(&mut self, now: Instant) {
        let keys: Vec<usize> = self.calls.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove_call(now, key);
        }
    }
}

/// Where an end is that named `announced` for one of its ports.
fn place(end: &LineEnd, announced: SocketAddr) -> Place {
    Place {
        announced,
        signalled_from: end.signalled_from,
        is_private: end.is_private,
        learn: end.learn,
        strict: end.strict_source,
        by_ice: end.ice.is_some(),
    }
}

/// The reply to an exchange that failed.
fn refusal(exchange: &Exchange, failure: Failure) -> Reply {
    let cause = match failure.cause {
        Cause::Full if exchange.knows_load_limit => Cause::LoadLimit,
        cause => cause,
    };
    Reply::Error(Failure { cause, ..failure })
}
