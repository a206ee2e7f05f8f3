//! What the responses of an INVITE say about the call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Proxy, Server};
use crate::dialog::{Call, EarlyOffer, End, Session};
use crate::dispatcher::Load;
use crate::event::{EndCause, Event};
use crate::flow::{Destination, Flow};
use crate::message::header::{Refresher, SessionExpires};
use crate::message::{Method, Name, Response, StatusCode};
use crate::outside::{Keys, LegKind};
use crate::profiles::Membership;
use crate::step::relay::{self, Branch, protocol_of};
use crate::step::{Incoming, ends, hold, in_dialog, media, nat};
use crate::topology::call_id::came_masked;
use crate::transaction::ServerId;

/// The end that watches a session timer hangs up at the latest when it runs out (RFC 4028 §10). We come after it.
pub(super) const GRACE: Duration = Duration::from_secs(32);

impl Proxy {
    /// An INVITE goes to its callees: a call begins.
    pub(super) fn note_call(
        &mut self,
        incoming: &Incoming,
        branches: &[Branch],
        seats: Option<Arc<Membership>>,
    ) {
        if *incoming.method() != Method::Invite || incoming.is_in_dialog() {
            return;
        }
        let message = &incoming.message;
        let kind = branches.iter().find_map(|branch| Some(branch.media.as_ref()?.from.kind));
        let caller = ends::sender(&self.world, incoming, kind);
        let to = message.uri().map(ends::plain).unwrap_or_default();
        let to_user = branches.iter().any(|branch| branch.target.aor.is_some());
        let mut call = ends::call(&self.world, incoming, caller, to, to_user);
        (call.seats, call.toll) = (seats, incoming.toll.clone());
        self.world.stats.borrow_mut().calls += 1;
        let (call_id, from, to) = (call.call_id.clone(), call.from.clone(), call.to.clone());
        let (source, branches) = (incoming.flow.remote, branches.len());
        let (parties, at) = (Arc::clone(&call.parties), call.started_at);
        self.world.tell(Event::CallInvited { call_id, from, to, source, branches, parties, at });
        if call.toll.is_some() {
            self.expect_tolls();
        }
        self.world.calls.borrow_mut().insert(call);
    }

    /// A provisional response: perhaps an early dialog, perhaps the first ringing.
    pub(super) fn note_early(&self, server: ServerId, leg: usize, flow: &Flow, response: &Response) {
        let Some(callee) = self.callee(server, leg, flow, response) else { return };
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        let call_id = fork.incoming.call_id();
        let mut calls = self.world.calls.borrow_mut();
        let Some(call) = calls.find_mut(call_id, response.from_tag().unwrap_or_default()) else { return };
        if !callee.tag.is_empty() {
            call.note_callee(callee);
        }
        let code = response.status().code();
        if matches!(code, 180 | 183) && !std::mem::replace(&mut call.rung, true) {
            self.world.tell(Event::CallRinging { call_id: call_id.to_owned(), code });
        }
    }

    /// The first 2xx: the call is answered, or a dialog renewed.
    pub(super) fn note_answer(
        &self,
        server: ServerId,
        leg: usize,
        flow: &Flow,
        response: &Response,
        load: Option<Load>,
    ) {
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        if !matches!(fork.incoming.method(), Method::Invite | Method::Update) {
            return;
        }
        // An offer in the 2xx is answered in the ACK.
        let asks = fork.legs[leg].session.as_ref().filter(|session| !session.offered);
        let asks = asks.filter(|_| media::sdp_of(response).is_some()).map(|session| session.branch.clone());
        let callee = self.callee(server, leg, flow, response);
        // What the sender of a re-INVITE or UPDATE says of its Contact counts from now on (RFC 6141 §4).
        if fork.incoming.is_in_dialog() {
            in_dialog::renew_target(&self.world, &fork.incoming);
        }
        let (call_id, now) = (fork.incoming.call_id(), self.world.now());
        let mut calls = self.world.calls.borrow_mut();
        let Some(call) = calls.find_mut(call_id, response.from_tag().unwrap_or_default()) else { return };
        if *fork.incoming.method() == Method::Invite {
            let early = response.to_tag().and_then(|tag| call.end(tag)).map(|end| end.early_offer);
            let asks = asks.filter(|_| early != Some(EarlyOffer::Answered));
            (call.offered_in_answer, call.acked) = (asks, None);
        }
        self.note_revived(call, &fork.incoming);
        let session = response.get::<SessionExpires>().ok().flatten();
        let longest = self.world.settings.dialog.default_timeout;
        call.timed = session.is_some();
        call.expires =
            now + session.map_or(longest, |session| Duration::from_secs(session.seconds.into()) + GRACE);
        call.session = session.and_then(|session| timer(now, session, response));
        match callee {
            Some(callee) => {
                let cseq = call.end(&callee.tag).map_or(0, |known| known.cseq);
                let answerer = callee.answerer();
                call.callees.clear();
                call.note_callee(End { said: None, cseq, ..callee });
                call.caller.said = None;
                call.answered = Some(now);
                call.answered_at = self.world.unix_now();
                call.load = load.map(Arc::new);
                let after = now.saturating_duration_since(call.started);
                let (parties, at) = (Arc::clone(&call.parties), call.answered_at);
                let call_id = call_id.to_owned();
                self.world.tell(Event::CallAnswered { call_id, after, parties, answerer, at });
                hold::record(&self.world, call);
            }
            // A target refresh by the answering end (RFC 3261 §12.2.1.2).
            None => {
                let target = nat::contact_uri(response);
                if let Some((end, target)) = response.to_tag().and_then(|tag| call.end_mut(tag)).zip(target) {
                    end.target = target;
                }
                let tag = response.to_tag().unwrap_or_default();
                let said = fork.legs[leg].session.as_ref().and_then(|session| session.said_by(tag));
                hold::play_music(&self.world, call, &fork.incoming.message, tag, said.as_deref());
            }
        }
    }

    /// A call that was taken up again (`revive`) goes on: from now on it is told of.
    fn note_revived(&self, call: &mut Call, incoming: &Incoming) {
        if !std::mem::take(&mut call.revived) {
            return;
        }
        self.world.stats.borrow_mut().calls += 1;
        let (call_id, from, to) = (call.call_id.clone(), call.from.clone(), call.to.clone());
        let (source, parties, at) = (incoming.flow.remote, Arc::clone(&call.parties), call.started_at);
        self.world.tell(Event::CallInvited { call_id, from, to, source, branches: 1, parties, at });
        let (call_id, parties) = (call.call_id.clone(), Arc::clone(&call.parties));
        let answerer = call.callees.first().map(End::answerer).unwrap_or_default();
        self.world.tell(Event::CallAnswered { call_id, after: Duration::ZERO, parties, answerer, at });
    }

    /// The request that was to take a call up again has failed. When the other end knows nothing of the call there is none; else
    /// it goes on as it does, and another request may have more luck.
    pub(super) fn note_not_revived(&self, incoming: &Incoming, status: StatusCode) {
        let gone = matches!(status, StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT);
        let (call_id, tag) = (incoming.call_id(), incoming.message.from_tag().unwrap_or_default());
        let mut calls = self.world.calls.borrow_mut();
        if gone
            && calls.find(call_id, tag).is_some_and(|call| call.revived)
            && let Some(call) = calls.remove(call_id, tag)
        {
            media::delete(&self.world, call_id, &call.caller.tag, None);
        }
    }

    /// A 2xx after the first one. Another dialog is for the caller to acknowledge and to end (RFC 3261 §13.2.2.4), unless he
    /// has hung up meanwhile and forgotten about it. Returns whether he hears of it.
    pub(super) fn note_late(
        &mut self,
        server: ServerId,
        leg: usize,
        flow: &Flow,
        response: &Response,
    ) -> bool {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return false };
        let call_id = fork.incoming.call_id().to_owned();
        let (call_id, tag) = (call_id.as_str(), response.to_tag().unwrap_or_default());
        let from_tag = response.from_tag().unwrap_or_default();
        if fork.answers_for(tag) {
            let mut calls = self.world.calls.borrow_mut();
            if let Some(call) = calls.find_mut(call_id, from_tag).filter(|call| call.is_answerer(tag)) {
                call.ack.note_repeated_answer();
            }
            return true;
        }
        let first = fork.note_late(tag);
        let is_there = self.world.calls.borrow().find(call_id, from_tag).is_some();
        if !is_there && !first {
            // It was ended with the call.
            fork.settle(tag);
        }
        if !is_there || fork.is_settled(tag) {
            self.undo_answer(server, leg, flow, response);
            return false;
        }
        if first && let Some(callee) = self.callee(server, leg, flow, response) {
            let mut calls = self.world.calls.borrow_mut();
            if let Some(call) = calls.find_mut(call_id, from_tag) {
                call.note_callee(callee);
            }
        }
        true
    }

    /// The end that a response to a first INVITE shows; `None` for other requests.
    fn callee(&self, server: ServerId, leg: usize, flow: &Flow, response: &Response) -> Option<End> {
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return None };
        if *fork.incoming.method() != Method::Invite || fork.incoming.is_in_dialog() {
            return None;
        }
        let leg = &fork.legs[leg];
        let websocket = flow.protocol.is_websocket();
        let (reliable, described) = (response.contains(Name::RSeq), media::sdp_of(response).is_some());
        let kind = leg.session.as_ref().map(|session| session.to.kind);
        // Proxies behind us recorded themselves above our own entries; they are visited in reverse order.
        let pass = fork.incoming.pass();
        let behind = ends::record_routes(response);
        let behind = behind.take_while(|route| !relay::is_recorded_here(route.as_bytes(), pass));
        let mut routes: Vec<String> = behind.collect();
        routes.reverse();
        let destination = if protocol_of(&leg.target.destination) == flow.protocol {
            Destination::Flow(*flow)
        } else {
            leg.target.destination
        };
        let (aor, instance) = match &leg.target.aor {
            None if leg.target.by_token => ends::of_edge(&self.world, flow),
            aor => (aor.clone(), leg.target.instance.clone()),
        };
        Some(End {
            tag: response.to_tag().unwrap_or_default().to_owned(),
            address: ends::text(response, Name::To),
            target: nat::contact_uri(response).unwrap_or_default(),
            routes,
            destination: Some(destination),
            lost: None,
            local: leg.target.local,
            protocol: flow.protocol,
            aor,
            instance,
            kind: kind.unwrap_or(if websocket { LegKind::Browser } else { LegKind::Legacy }),
            keys: leg.session.as_ref().map_or(Keys::Agreed, |session| session.to.keys),
            relayed: None,
            cseq: 0,
            branch: leg.name.clone(),
            prack: leg.target.prack,
            said: leg.session.as_ref().and_then(|session| session.said_by(response.to_tag()?)),
            early_offer: match &leg.session {
                Some(session) if !session.offered && reliable && described => EarlyOffer::Made,
                _ => EarlyOffer::None,
            },
            cseq_lag: 0,
            update: response.has_token(Name::Allow, Method::Update.as_str()),
            refer: ends::may_refer(response),
            renewed: false,
            music: false,
            knows_masked: !came_masked(&fork.incoming.message),
            silent: 0,
        })
    }

    /// An answered call is over.
    pub(super) fn end_call(&mut self, call_id: &str, tag: &str, cause: EndCause) {
        let Some(mut call) = self.world.calls.borrow_mut().remove(call_id, tag) else { return };
        self.tell_of_ack(&mut call);
        self.end_late(&call);
        media::delete(&self.world, call_id, &call.caller.tag, None);
        self.count_toll(&call, self.world.now());
        if !call.revived {
            self.world.tell(Event::CallEnded(call.record(self.world.now(), cause)));
        }
    }

    /// Those who have answered too late and whom the caller has not ended yet: with the call he forgets them, and an answer
    /// that nobody acknowledges is repeated for half a minute.
    pub(super) fn end_late(&mut self, call: &Call) {
        for callee in call.callees.iter().skip(1).filter(|_| call.answered.is_some()) {
            self.send_ack(&call.call_id, &call.caller.address, callee, call.cseq);
            self.send_bye(&call.call_id, &call.caller.address, callee, call.caller.next_cseq(), None);
        }
    }

    /// The callee has answered, and the caller does not hear of it: it is acknowledged each time, and hung up on once.
    pub(super) fn undo_answer(&mut self, server: ServerId, leg: usize, flow: &Flow, response: &Response) {
        let Some(callee) = self.callee(server, leg, flow, response) else { return };
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        let first = fork.settle(&callee.tag);
        let message = &fork.incoming.message;
        let (from, cseq) = (ends::text(message, Name::From), message.cseq().map_or(0, |cseq| cseq.number));
        let call_id = fork.incoming.call_id().to_owned();
        self.send_ack(&call_id, &from, &callee, cseq);
        if first {
            self.send_bye(&call_id, &from, &callee, cseq.saturating_add(1), None);
        }
    }
}

/// The session timer that a 2xx begins; `None` where it does not say who refreshes.
fn timer(now: Instant, session: SessionExpires, response: &Response) -> Option<Session> {
    let refresher = match session.refresher? {
        Refresher::Uac => response.from_tag()?,
        Refresher::Uas => response.to_tag()?,
    };
    let interval = Duration::from_secs(session.seconds.into());
    Some(Session { interval, since: now, refresher: refresher.to_owned(), asked: false })
}
