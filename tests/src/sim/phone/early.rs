//! What some phones do and others do not: PRACK (RFC 3262), UPDATE (RFC 3311), calls without an offer (RFC 3261 §13.2.1),
//! transfers (RFC 3515).

use std::time::Instant;

use super::super::DOMAIN;
use super::{Dialog, Phase, Phone};
use crate::sip::Message;

/// What a phone does otherwise than most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manners {
    /// Requires reliable provisional responses of those it calls.
    pub requires_100rel: bool,
    /// Says nothing of its media in INVITEs; the answer goes into the ACK.
    pub offerless: bool,
    /// When called, answers in a 183 before it answers the call.
    pub early_answer: bool,
    /// Refuses offers of the other end within a call with this code; 0 takes them.
    pub refuses: u16,
    /// Does not know what an INFO is.
    pub no_info: bool,
}

impl Manners {
    pub(super) fn headers(self) -> &'static str {
        if self.requires_100rel { "Require: 100rel\r\nSupported: 100rel\r\n" } else { "" }
    }
}

impl Phone {
    /// Offers its media anew by UPDATE, before the call is answered or after.
    ///
    /// # Panics
    /// When there is no dialog yet.
    pub fn update(&mut self, now: Instant) {
        let sdp = self.audio.offer();
        let call = self.call.as_mut().expect("a call");
        let early = call.dialog.is_none();
        let mut dialog = if early { call.early.take() } else { call.dialog.take() }.expect("a dialog");
        let text = self.within(&mut dialog, "UPDATE", &sdp);
        let Some(call) = self.call.as_mut() else { return };
        *(if early { &mut call.early } else { &mut call.dialog }) = Some(dialog);
        self.start(now, text);
    }

    /// Presses a key by INFO, as JsSIP does.
    pub fn info(&mut self, now: Instant, signal: char) {
        let Some(mut dialog) = self.call.as_mut().and_then(|call| call.dialog.take()) else { return };
        let body = format!("Signal={signal}\r\nDuration=160\r\n");
        let text = self
            .within(&mut dialog, "INFO", &body)
            .replace("Content-Type: application/sdp", "Content-Type: application/dtmf-relay");
        self.call.iter_mut().for_each(|call| call.dialog = Some(dialog.clone()));
        self.start(now, text);
    }

    /// Asks the other end of its call to call `user` instead (RFC 3515).
    pub fn refer(&mut self, now: Instant, user: &str) {
        let Some(mut dialog) = self.call.as_mut().and_then(|call| call.dialog.take()) else { return };
        let more = format!("Refer-To: <sip:{user}@{DOMAIN}>\r\n");
        let text = self.within_with(&mut dialog, "REFER", &more, "");
        self.call.iter_mut().for_each(|call| call.dialog = Some(dialog.clone()));
        self.start(now, text);
    }

    /// Whether a re-INVITE of its own has no final response yet (RFC 3261 §14.2).
    pub(super) fn is_offering(&self) -> bool {
        let open = |client: &super::Client| {
            client.is_invite() && !client.done && client.request.parameter("To", "tag").is_some()
        };
        self.clients.iter().any(open)
    }

    /// Whether the other end is known, though nobody has answered yet.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.phase != Phase::Active && call.early.is_some())
    }

    /// A provisional response: perhaps an early dialog, perhaps one to be acknowledged.
    pub(super) fn progressed(&mut self, now: Instant, code: u16, response: &Message) {
        let Some(call) = self.call.as_mut().filter(|call| call.id == response.header("Call-ID")) else {
            return;
        };
        if code == 100 || response.parameter("To", "tag").is_none() || call.phase != Phase::Calling {
            return;
        }
        let dialog = call.early.take().unwrap_or_else(|| Dialog::of_caller(response, response.cseq().0));
        let rseq: Option<u32> = response.header("RSeq").parse().ok();
        // In order, and each once (RFC 3262 §4).
        let next = rseq.filter(|rseq| call.rseq.is_none_or(|last| *rseq == last + 1));
        call.rseq = next.or(call.rseq);
        call.early = Some(dialog.clone());
        let Some(rseq) = next else { return };
        if !response.body.is_empty() && !self.manners.offerless {
            self.audio.answered(now, &response.body);
        }
        let mut dialog = dialog;
        let more = format!("RAck: {rseq} {} INVITE\r\n", response.cseq().0);
        let prack = self.within_with(&mut dialog, "PRACK", &more, "");
        self.call.iter_mut().for_each(|call| call.early = Some(dialog.clone()));
        self.start(now, prack);
    }

    /// Takes the SDP of a 2xx to INVITE; the answer for the ACK when it was the offer.
    pub(super) fn settle(&mut self, now: Instant, invite: &Message, response: &Message) -> String {
        if invite.body.is_empty() {
            return self.audio.answer(now, &response.body);
        }
        self.audio.answered(now, &response.body);
        String::new()
    }

    /// The SDP for the response to an INVITE: the answer to its offer, or an offer.
    pub(super) fn describe_in_response(&mut self, now: Instant, at: usize) -> String {
        let offer = self.servers[at].request.body.clone();
        if offer.is_empty() { self.audio.offer() } else { self.audio.answer(now, &offer) }
    }

    /// The first word to a caller.
    pub(super) fn ring(&mut self, now: Instant, at: usize) {
        if !self.manners.early_answer {
            return self.respond(now, at, 180, "");
        }
        let answer = self.describe_in_response(now, at);
        self.call.iter_mut().for_each(|call| call.answer = Some(answer.clone()));
        self.respond(now, at, 183, &answer);
    }

    /// Any request that begins and ends nothing. A browser is JsSIP: it knows no PRACK, and no UPDATE before the answer.
    pub(super) fn asked(&mut self, now: Instant, at: usize, method: &str) {
        let offer = self.servers[at].request.body.clone();
        match method {
            "PRACK" if self.protocol.is_websocket() => self.respond(now, at, 405, ""),
            "UPDATE" if self.protocol.is_websocket() && !self.is_active() => self.respond(now, at, 403, ""),
            "UPDATE" if !offer.is_empty() => {
                let answer = self.audio.answer(now, &offer);
                self.respond(now, at, 200, &answer);
            }
            "INFO" if self.manners.no_info => self.respond(now, at, 415, ""),
            _ => self.respond(now, at, 200, ""),
        }
    }
}
