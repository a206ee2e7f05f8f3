//! The response context of a relayed request (RFC 3261 §16.7): its branches, and the best of their answers.

use std::collections::VecDeque;

use crate::flow::Flow;
use crate::message::{Name, Response, StatusCode};
use crate::settings::Tm;
use crate::step::{Incoming, Target, media};
use crate::transaction::ClientId;

/// A relayed request.
#[derive(Debug)]
pub(crate) struct Fork {
    /// The request as it was relayed, before the branches' own changes.
    pub(crate) incoming: Incoming,
    /// One per target.
    pub(crate) legs: Vec<Leg>,
    /// Responses that wait for their turn: one that needs the relay must not be overtaken by a later one.
    pub(crate) waiting: VecDeque<Arrival>,
    /// Whether a response is on its way through the route.
    pub(crate) busy: bool,
    /// The branch that has answered with 2xx.
    pub(crate) answered: Option<usize>,
    /// Whether a final response has gone back.
    pub(crate) done: bool,
    /// Whether the caller has given up.
    pub(crate) cancelled: bool,
    /// The branch whose SDP in a provisional response the caller has seen. To a browser that is the answer, and one of
    /// another branch an error: only this branch's early media pass (FEATURES.md 4.3).
    pub(crate) early: Option<usize>,
}

/// One branch.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Its transaction; `None` when it could not begin.
    pub(crate) client: Option<ClientId>,
    /// The branch parameter, which is its name at the relay.
    pub(crate) name: String,
    /// Where it went.
    pub(crate) target: Target,
    /// Its exchange with the relay; away while a response is on its way through the route.
    pub(crate) session: Option<media::Session>,
    /// Its final response other than 2xx.
    pub(crate) last: Option<Response>,
    /// Whether it has replied, be it with 100.
    pub(crate) heard: bool,
    /// Whether we have cancelled it because nobody answered.
    pub(crate) timed_out: bool,
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) leg: usize,
    pub(crate) flow: Flow,
    pub(crate) response: Response,
}

impl Fork {
    /// Of the final responses the one to send back, when all branches have one (RFC 3261 §16.7 steps 6 and 7).
    pub(crate) fn best(&self, tm: &Tm) -> Option<Response> {
        if self.legs.iter().any(|leg| leg.last.is_none()) {
            return None;
        }
        let responses = self.legs.iter().filter_map(|leg| leg.last.as_ref());
        let mut best = responses.min_by_key(|response| preference(response.status(), tm))?.clone();
        if tm.aggregate_challenges
            && matches!(best.status(), StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
        {
            self.aggregate_challenges(&mut best);
        }
        Some(best)
    }

    /// Every challenge of every branch goes back, so that one more attempt can answer them all.
    fn aggregate_challenges(&self, best: &mut Response) {
        let challenging = |response: &&Response| matches!(response.status().code(), 401 | 407);
        for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
            best.remove(name);
            for response in self.legs.iter().filter_map(|leg| leg.last.as_ref()).filter(challenging) {
                for challenge in response.raw_all(name) {
                    best.push(name, challenge);
                }
            }
        }
    }
}

/// Lower is better: 6xx ends the search, then the lowest class; in the 4xx those that tell the caller how to do better,
/// and last those that tell only that nobody answered.
const fn preference(status: StatusCode, tm: &Tm) -> (u16, u16) {
    match status.code() {
        600.. if !tm.disable_6xx_block => (0, 0),
        401 | 407 => (4, 0),
        415 | 420 | 484 => (4, 1),
        408 | 480 | 487 => (4, 3),
        400..=499 => (4, 2),
        503 => (5, 1),
        _ => (status.class(), 0),
    }
}
