//! A call moves to another relay when its own is gone, by re-INVITEs of ours in the names of the two ends.
//!
//! One end is asked for an offer (an INVITE without a body, RFC 3261 §14.1), which the relay that has taken the call over
//! passes on; the other end answers it, and the answer goes back in the ACK (RFC 3725 §4.1). The legacy end is asked first:
//! a browser restarts ICE for an offer with other credentials (RFC 8839 §4.4.3), not for an answer. The numbers that this
//! costs in the dialog are made up for from then on ([`crate::step::renumber`]).

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::FutureExt as _;

use super::{Done, Proxy, Server};
use crate::dialog::{Call, End};
use crate::event::{EndCause, Event};
use crate::flow::Destination;
use crate::message::{Method, Name, Response};
use crate::outside::{LegKind, MediaError, MediaExchange};
use crate::step::{hold, in_dialog, media, nat};
use crate::transaction::{ClientId, IdMap};

/// An end that is not to be had now (491, a browser without its WebSocket) is asked again so much later.
const AGAIN: Duration = Duration::from_secs(3);
/// How often an end is asked, with what comes in between.
const MAX_TRIES: u8 = 5;

/// The calls that are being moved.
#[derive(Debug, Default)]
pub(super) struct Moves {
    moves: HashMap<u64, Move>,
    next: u64,
    /// INVITEs of ours without a final response.
    asked: IdMap<ClientId, u64>,
    /// What answers a 2xx that is repeated.
    acks: IdMap<ClientId, (Destination, Bytes)>,
    /// Which are to be gone on with, and when.
    again: Vec<(Instant, u64)>,
}

#[derive(Debug)]
struct Move {
    call_id: String,
    /// Who is asked for an offer.
    first: End,
    /// Who answers it.
    second: End,
    /// The INVITE to the first that was answered: its transaction and its number.
    offered: Option<(ClientId, u32)>,
    /// The number of the INVITE under way.
    cseq: u32,
    /// What the second is offered, once the relay has made it.
    offer: Option<Bytes>,
    tries: u8,
    /// The first has refused, and the roles have changed.
    swapped: bool,
}

/// What the relay has made of an offer or an answer.
pub(super) struct Made {
    serial: u64,
    result: Result<Bytes, MediaError>,
}

impl Moves {
    /// A transaction has ended.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.asked.remove(&client);
        self.acks.remove(&client);
    }

    /// When the next end is to be asked again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.again.iter().map(|(at, _)| *at).min()
    }

    fn is_moving(&self, call_id: &str) -> bool {
        self.moves.values().any(|it| it.call_id == call_id)
    }
}

impl Proxy {
    /// The relay that carries a call is gone: both ends are asked to exchange offer and answer anew, which another relay
    /// takes up. One that cannot be moved is ended.
    pub fn handle_relay_lost(&mut self, now: Instant, call_id: &str) {
        self.world.set_now(now);
        if self.moves.is_moving(call_id) {
            return;
        }
        let mut pairs = Vec::new();
        self.world.calls.borrow_mut().each(|call| {
            let callee = call.callees.first().filter(|_| call.call_id == call_id && call.answered.is_some());
            pairs.extend(callee.map(|callee| (call.caller.clone(), callee.clone())));
        });
        for (caller, callee) in pairs {
            let caller_first = caller.kind == LegKind::Legacy || callee.kind == LegKind::Browser;
            let (first, second) = if caller_first { (caller, callee) } else { (callee, caller) };
            let serial = self.moves.next;
            self.moves.next += 1;
            let call_id = call_id.to_owned();
            let begun = Move {
                call_id,
                first,
                second,
                offered: None,
                cseq: 0,
                offer: None,
                tries: 0,
                swapped: false,
            };
            self.moves.moves.insert(serial, begun);
            self.go_on(serial);
        }
        self.settle();
    }

    /// Asks those whose time has come.
    pub(super) fn ask_again(&mut self) {
        let now = self.world.now();
        let due: Vec<u64> =
            self.moves.again.extract_if(.., |(at, _)| *at <= now).map(|(_, serial)| serial).collect();
        due.into_iter().for_each(|serial| self.go_on(serial));
    }

    /// Sends the next INVITE of a move.
    fn go_on(&mut self, serial: u64) {
        let Some(moving) = self.moves.moves.get(&serial) else { return };
        let (call_id, asked, other) = match moving.offer {
            None => (moving.call_id.clone(), moving.first.tag.clone(), moving.second.tag.clone()),
            Some(_) => (moving.call_id.clone(), moving.second.tag.clone(), moving.first.tag.clone()),
        };
        if self.is_agreeing(&call_id, &asked) {
            return self.later(serial);
        }
        let Some(moving) = self.moves.moves.get_mut(&serial) else { return };
        moving.tries += 1;
        if moving.tries > MAX_TRIES {
            return self.abandon_move(serial);
        }
        let Some((asked, other, cseq, session)) = self.ends_of_move(&call_id, &asked, &other) else {
            // Hung up meanwhile.
            return self.abandon_move(serial);
        };
        let Some((mut request, destination)) =
            self.request_to(Method::Invite, &call_id, &other.address, &asked, cseq)
        else {
            return self.later(serial);
        };
        if let Some(contact) = in_dialog::contact_of(&self.world, &other) {
            request.push(Name::Contact, contact);
        }
        if let Some(session) = session {
            request.push(Name::SessionExpires, session);
            request.push(Name::Supported, "timer");
        }
        let Some(moving) = self.moves.moves.get_mut(&serial) else { return };
        moving.cseq = cseq;
        if let Some(offer) = &moving.offer {
            request.set_body(media::SDP, offer.clone());
        }
        match self.table.request(self.world.now(), request, destination) {
            Ok(client) => _ = self.moves.asked.insert(client, serial),
            Err(_) => self.later(serial),
        }
    }

    /// Whether an INVITE of a call has no answer yet: it exchanges offer and answer by itself. Or no ACK, which has the number
    /// of its INVITE.
    pub(super) fn is_agreeing(&self, call_id: &str, tag: &str) -> bool {
        let open = self.servers.values().any(|server| {
            let (invite, agreed) = match server {
                Server::Routing(Some(incoming)) => (&**incoming, false),
                Server::Relaying(fork) => (&fork.incoming, fork.done || fork.answered.is_some()),
                Server::Routing(None) | Server::Ended => return false,
            };
            !agreed && *invite.method() == Method::Invite && invite.call_id() == call_id
        });
        let calls = self.world.calls.borrow();
        let unacknowledged = calls.find(call_id, tag).is_some_and(|call| call.ack.passed.is_none());
        open || unacknowledged
    }

    /// The ends as they are now, the number of a request to `asked` in the name of `other`, and what keeps their session
    /// timer (RFC 4028 §7.4).
    fn ends_of_move(
        &self,
        call_id: &str,
        asked: &str,
        other: &str,
    ) -> Option<(End, End, u32, Option<String>)> {
        let mut calls = self.world.calls.borrow_mut();
        let call = calls.find_mut(call_id, asked)?;
        let session = call.session.as_ref().map(|session| {
            let refresher = if session.refresher == asked { "uas" } else { "uac" };
            format!("{};refresher={refresher}", session.interval.as_secs())
        });
        let cseq = call.end_mut(other)?.take_cseq();
        Some((call.end(asked)?.clone(), call.end(other)?.clone(), cseq, session))
    }

    fn later(&mut self, serial: u64) {
        self.moves.again.push((self.world.now() + AGAIN, serial));
    }

    /// Takes the response to an INVITE of ours; `false` when it is to somebody else's request.
    pub(super) fn moved(&mut self, client: Option<ClientId>, response: &Response) -> bool {
        let Some(client) = client else { return false };
        if let Some((destination, ack)) = self.moves.acks.get(&client).cloned() {
            // It has not heard the ACK (RFC 3261 §13.2.2.4).
            if response.status().is_success() {
                self.table.send(destination, ack);
            }
            return true;
        }
        let Some(&serial) = self.moves.asked.get(&client) else { return false };
        if !response.status().is_final() {
            return true;
        }
        match response.status().code() {
            200..=299 => self.agreed(serial, client, response),
            491 => {
                self.moves.asked.remove(&client);
                self.later(serial);
            }
            _ => {
                self.moves.asked.remove(&client);
                self.refused_to_move(serial, response.status().code());
            }
        }
        true
    }

    /// An INVITE of ours has no answer, or could not be sent; `false` when it is somebody else's request.
    pub(super) fn move_failed(&mut self, client: ClientId, sent: bool) -> bool {
        let Some(serial) = self.moves.asked.remove(&client) else { return false };
        match sent {
            // It does not know that it is in a call any more.
            true => self.abandon_move(serial),
            // A browser may be about to come back.
            false => self.later(serial),
        }
        true
    }

    /// A phone that cannot make offers is offered one instead.
    fn refused_to_move(&mut self, serial: u64, code: u16) {
        let Some(moving) = self.moves.moves.get_mut(&serial) else { return };
        tracing::warn!(
            call_id = moving.call_id,
            code,
            offered = moving.offer.is_some(),
            "an end refuses to move to another relay"
        );
        if moving.offer.is_none() && !moving.swapped && !matches!(code, 408 | 481) {
            moving.swapped = true;
            std::mem::swap(&mut moving.first, &mut moving.second);
            return self.go_on(serial);
        }
        self.abandon_move(serial);
    }

    /// A 2xx: with the offer of the first, or the answer of the second.
    fn agreed(&mut self, serial: u64, client: ClientId, response: &Response) {
        // A repeated one finds the relay still thinking.
        if self
            .moves
            .moves
            .get(&serial)
            .is_some_and(|it| it.offered.is_some_and(|(asked, _)| asked == client))
        {
            return;
        }
        let Some(moving) = self.moves.moves.get_mut(&serial) else { return };
        let second = moving.offer.is_some();
        let (end, other) =
            if second { (&mut moving.second, &moving.first) } else { (&mut moving.first, &moving.second) };
        if let Some(target) = nat::contact_uri(response) {
            end.target = target;
        }
        let exchange = |sdp| MediaExchange {
            call_id: moving.call_id.clone(),
            offerer_tag: if second { &other.tag } else { &end.tag }.clone(),
            answerer_tag: Some(if second { &end.tag } else { &other.tag }.clone()),
            branch: None,
            from: end.media_leg(),
            to: other.media_leg(),
            sdp,
        };
        let there = self.world.calls.borrow().find(&moving.call_id, &other.tag).is_some();
        let exchange = media::sdp_of(response).filter(|_| there).map(exchange);
        if second {
            let (call_id, from, end, cseq) =
                (moving.call_id.clone(), other.address.clone(), end.clone(), moving.cseq);
            self.acknowledge_move(client, &call_id, &from, &end, cseq, None);
        } else {
            moving.offered = Some((client, moving.cseq));
        }
        let Some(exchange) = exchange else { return self.abandon_move(serial) };
        let world = Rc::clone(&self.world);
        let made = async move {
            let media = &world.outside.media;
            let result = if second { media.answer(exchange).await } else { media.offer(exchange).await };
            Done::Moved(Made { serial, result })
        };
        self.begun.push_back(made.boxed_local());
    }

    /// The relay has made an SDP for the other end.
    pub(super) fn made(&mut self, made: Made) {
        let Made { serial, result } = made;
        let Some(moving) = self.moves.moves.get_mut(&serial) else { return };
        match result {
            Ok(sdp) if moving.offer.is_none() => {
                (moving.offer, moving.tries) = (Some(sdp), 0);
                self.go_on(serial);
            }
            Ok(sdp) => self.complete(serial, sdp),
            Err(error) => {
                let (call_id, what) = (moving.call_id.clone(), error.to_string());
                self.world.tell(Event::OutsideFailed { call_id, what });
                self.abandon_move(serial);
            }
        }
    }

    /// The first end hears what the second has answered: the call goes on.
    fn complete(&mut self, serial: u64, answer: Bytes) {
        let Some(moving) = self.moves.moves.remove(&serial) else { return };
        if let Some((client, cseq)) = moving.offered {
            let from = &moving.second.address;
            self.acknowledge_move(client, &moving.call_id, from, &moving.first, cseq, Some(answer));
        }
        let now = self.world.now();
        let mut calls = self.world.calls.borrow_mut();
        let Some(call) = calls.find_mut(&moving.call_id, &moving.first.tag) else {
            drop(calls);
            return media::delete(&self.world, &moving.call_id, &moving.first.tag, None);
        };
        for end in [&moving.first, &moving.second] {
            if let Some(known) = call.end_mut(&end.tag) {
                known.target.clone_from(&end.target);
            }
        }
        if let Some(session) = &mut call.session {
            (session.since, session.asked) = (now, false);
            call.expires = now + session.interval + super::calls::GRACE;
        }
        hold::resume(&self.world, call);
        drop(calls);
        self.world.tell(Event::CallReanchored { call_id: moving.call_id });
    }

    /// An ACK, which is kept for as long as its 2xx may be repeated.
    fn acknowledge_move(
        &mut self,
        client: ClientId,
        call_id: &str,
        from: &str,
        end: &End,
        cseq: u32,
        answer: Option<Bytes>,
    ) {
        self.moves.asked.remove(&client);
        let Some((mut request, destination)) = self.request_to(Method::Ack, call_id, from, end, cseq) else {
            return;
        };
        if let Some(answer) = answer {
            request.set_body(media::SDP, answer);
        }
        let bytes = request.to_bytes();
        self.moves.acks.insert(client, (destination, bytes.clone()));
        self.table.send(destination, bytes);
    }

    /// The call cannot be moved: both ends hear a BYE, for they would wait in silence.
    fn abandon_move(&mut self, serial: u64) {
        let Some(moving) = self.moves.moves.remove(&serial) else { return };
        if let Some((client, cseq)) = moving.offered {
            let from = &moving.second.address;
            self.acknowledge_move(client, &moving.call_id, from, &moving.first, cseq, None);
        }
        let call: Option<Call> = self.world.calls.borrow_mut().remove(&moving.call_id, &moving.first.tag);
        match call {
            Some(call) => self.end_both(&call, EndCause::MediaTimeout),
            // Hung up meanwhile.
            None => media::delete(&self.world, &moving.call_id, &moving.first.tag, None),
        }
    }
}
