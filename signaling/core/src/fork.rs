//! The response context of a relayed request (RFC 3261 §16.7): its branches, those yet to come, and the best of their
//! answers.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::dispatcher::Load;
use crate::flow::Flow;
use crate::message::{Method, Name, Response, StatusCode};
use crate::settings::{FailureReplyMode, Timers, Tm};
use crate::step::{Incoming, Target, media};
use crate::transaction::{ClientId, Patience};

/// With less left of a request's life nobody is tried any more.
const TOO_LATE: Duration = Duration::from_secs(1);

/// Dialogs of late 2xx that are remembered of one request.
const MAX_OTHERS: usize = 16;

/// A relayed request.
#[derive(Debug)]
pub(crate) struct Fork {
    /// The request as it was relayed, before the branches' own changes.
    pub(crate) incoming: Incoming,
    /// When that was.
    pub(crate) begun: Instant,
    /// One per target that was tried, in the order of trying.
    pub(crate) legs: Vec<Leg>,
    /// Targets to be tried when those before have failed, each group at once (§16.6).
    pub(crate) steps: VecDeque<Vec<Target>>,
    /// Refusals of targets that could not be tried, with their [`Fork::stage`].
    pub(crate) unsent: Vec<(usize, Refusal)>,
    /// How often a failure has sent the request to other targets than its own.
    pub(crate) stage: usize,
    /// Branches, and decisions on failures, that wait for the world.
    pub(crate) preparing: usize,
    /// Responses that wait for their turn: one that needs the relay must not be overtaken by a later one.
    pub(crate) waiting: VecDeque<Arrival>,
    /// Whether a response is on its way through the route.
    pub(crate) busy: bool,
    /// The branch that has answered with 2xx.
    pub(crate) answered: Option<usize>,
    /// The To tag of that 2xx.
    winner: String,
    /// To tags of other 2xx, and whether they are acknowledged and ended here: the caller does not hear of them.
    others: Vec<(String, bool)>,
    /// Whether a final response has gone back.
    pub(crate) done: bool,
    /// Whether the caller has given up.
    pub(crate) cancelled: bool,
    /// Whether a 6xx forbids to try anybody else (§16.7 step 5).
    pub(crate) everywhere: bool,
    /// The branch whose SDP in a provisional response the caller has seen. To a browser that is the answer, and one of
    /// another branch an error: only this branch's early media pass.
    pub(crate) early: Option<usize>,
}

/// One branch.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Its transaction; `None` when it could not begin.
    pub(crate) client: Option<ClientId>,
    /// The branch parameter, which is its name at the relay.
    pub(crate) name: String,
    /// Where it went; the alternatives are what can still be tried in its place.
    pub(crate) target: Target,
    /// Its exchange with the relay; away while a response is on its way through the route.
    pub(crate) session: Option<media::Session>,
    /// The [`Fork::stage`] it belongs to.
    pub(crate) stage: usize,
    /// Its Max-Breadth (RFC 5393 §5).
    pub(crate) breadth: u32,
    /// Its final response other than 2xx.
    pub(crate) last: Option<Refusal>,
    /// Whether it has replied, be it with 100.
    pub(crate) heard: bool,
    /// Whether we have cancelled it because nobody answered.
    pub(crate) timed_out: bool,
    /// Whether another way to the same place is tried in its stead.
    pub(crate) superseded: bool,
    /// Whether the relay has forgotten it.
    pub(crate) freed: bool,
    /// The call that it is at its gateway, until it is refused or answered.
    pub(crate) load: Option<Load>,
    /// Whether it was given up because the caller does not acknowledge its reliable responses (RFC 3262 §3).
    pub(crate) no_prack: bool,
}

/// A negative final response.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) response: Response,
    /// Whether it was made here: nobody has answered, or nobody could be asked (§16.8, §16.9).
    pub(crate) local: bool,
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) leg: usize,
    pub(crate) flow: Flow,
    pub(crate) response: Response,
}

/// Groups targets by falling `q`; those of one group ring together (RFC 3261 §16.6). Without `serial` all are one group.
pub(crate) fn steps(mut targets: Vec<Target>, serial: bool) -> VecDeque<Vec<Target>> {
    if !serial {
        return VecDeque::from([targets]);
    }
    targets.sort_by_key(|target| Reverse(target.q));
    let mut steps: VecDeque<Vec<Target>> = VecDeque::new();
    for target in targets {
        match steps.back_mut().filter(|step| step[0].q == target.q) {
            Some(step) => step.push(target),
            None => steps.push_back(vec![target]),
        }
    }
    steps
}

/// Takes the next group, or as much of it as `breadth` branches at once allow, the others coming after them, and its part
/// of `breadth` (RFC 5393 §5.3.3). Something is left for later groups where possible: a branch that has rung in vain counts
/// until its final response is there. `None` when nobody is left or no branch is allowed.
pub(crate) fn next_step(steps: &mut VecDeque<Vec<Target>>, breadth: u32) -> Option<(Vec<Target>, u32)> {
    let most = usize::try_from(breadth).unwrap_or(usize::MAX);
    if most == 0 {
        return None;
    }
    let mut step = steps.pop_front()?;
    if step.len() > most {
        steps.push_front(step.split_off(most));
    }
    let (count, groups) = (u32::try_from(step.len()).ok()?, u32::try_from(1 + steps.len()).ok()?);
    Some((step, (breadth / groups).max(count)))
}

impl Fork {
    /// A request that is relayed for the first time.
    pub(crate) fn new(incoming: Incoming, begun: Instant, steps: VecDeque<Vec<Target>>) -> Self {
        Self {
            incoming,
            begun,
            legs: Vec::new(),
            unsent: Vec::new(),
            steps,
            stage: 0,
            preparing: 0,
            waiting: VecDeque::new(),
            busy: false,
            answered: None,
            winner: String::new(),
            others: Vec::new(),
            done: false,
            cancelled: false,
            everywhere: false,
            early: None,
        }
    }

    /// Whether it is an INVITE that begins a call.
    pub(crate) fn is_call(&self) -> bool {
        *self.incoming.method() == Method::Invite && !self.incoming.is_in_dialog()
    }

    /// The Call-ID and the caller's tag, by which the relay knows it.
    pub(crate) fn call(&self) -> (&str, &str) {
        let message = &self.incoming.message;
        (self.incoming.call_id(), message.from_tag().unwrap_or_default())
    }

    /// The first 2xx, with this To tag.
    pub(crate) fn answer(&mut self, leg: usize, tag: &str) {
        (self.answered, self.winner) = (Some(leg), tag.to_owned());
    }

    /// Whether a 2xx with this To tag is the first one again. A request within a dialog has one answer.
    pub(crate) fn answers_for(&self, tag: &str) -> bool {
        !self.is_call() || (self.answered.is_some() && self.winner == tag)
    }

    /// Notes another 2xx; returns whether it is the first one of its dialog.
    pub(crate) fn note_late(&mut self, tag: &str) -> bool {
        let first = !self.others.iter().any(|(known, _)| known == tag);
        if first && self.others.len() < MAX_OTHERS {
            self.others.push((tag.to_owned(), false));
        }
        first
    }

    /// A 2xx of this dialog is ended here; returns whether it is the first one.
    pub(crate) fn settle(&mut self, tag: &str) -> bool {
        self.note_late(tag);
        let known = self.others.iter_mut().find(|(known, _)| known == tag);
        known.is_none_or(|(_, settled)| !std::mem::replace(settled, true))
    }

    /// Whether the dialog is ended here.
    pub(crate) fn is_settled(&self, tag: &str) -> bool {
        self.others.iter().any(|(known, settled)| known == tag && *settled)
    }

    /// Whether somebody else may be tried: nobody has answered, refused for all, or given up.
    pub(crate) fn may_go_on(&self) -> bool {
        !self.done && !self.cancelled && !self.everywhere && self.answered.is_none()
    }

    /// Whether a branch may still answer.
    pub(crate) fn is_open(&self) -> bool {
        self.legs.iter().any(|leg| leg.last.is_none())
    }

    /// The targets to try now, for all before have failed or have rung for long enough, and the Max-Breadth for them.
    pub(crate) fn next_step(&mut self, now: Instant, timers: &Timers) -> Option<(Vec<Target>, u32)> {
        let over = self.legs.iter().all(|leg| leg.last.is_some() || leg.timed_out);
        if !over || self.preparing > 0 || !self.may_go_on() {
            return None;
        }
        if self.life(now, timers) < TOO_LATE {
            self.steps.clear();
        }
        let open = self.legs.iter().filter(|leg| leg.last.is_none());
        let taken: u32 = open.map(|leg| leg.breadth).sum();
        next_step(&mut self.steps, self.incoming.breadth.saturating_sub(taken))
    }

    fn life(&self, now: Instant, timers: &Timers) -> Duration {
        let whole = Patience::of(self.incoming.method(), timers).max_lifetime;
        whole.saturating_sub(now.saturating_duration_since(self.begun))
    }

    /// How long a branch to `target` may take. Whoever is followed by others rings for `fr_inv_timer_next`. A request that
    /// is no INVITE must be over in time whatever is tried, so each try has its share.
    pub(crate) fn patience(&self, now: Instant, target: &Target, timers: &Timers) -> Patience {
        let mut patience = Patience::of(self.incoming.method(), timers);
        patience.max_lifetime = self.life(now, timers);
        if *self.incoming.method() == Method::Invite {
            if !self.steps.is_empty() {
                patience.fr_inv_timer = timers.fr_inv_timer.min(timers.fr_inv_timer_next);
                patience.restart_fr_on_each_reply = false;
            }
        } else {
            let tries = u32::try_from(1 + target.alternatives.len() + self.steps.len()).unwrap_or(u32::MAX);
            patience.fr_timer = patience.fr_timer.min(patience.max_lifetime / tries);
        }
        patience
    }

    /// The next way to where the branch went, when its refusal says that this one is no way (RFC 3263 §4.3, RFC 5626
    /// §5.3.1): nothing was heard, nothing could be sent, or 503 or 430 came back.
    pub(crate) fn alternate(&mut self, leg: usize) -> Option<Target> {
        let may_go_on = self.may_go_on();
        let leg = &mut self.legs[leg];
        let refusal = leg.last.as_ref().filter(|_| may_go_on && !leg.superseded)?;
        let no_way = match refusal.response.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::FLOW_FAILED => true,
            // As Kamailio's configuration for its dispatcher has it: another gateway may do better.
            StatusCode::SERVER_INTERNAL_ERROR if leg.target.gateway.is_some() => true,
            _ => refusal.local && !leg.heard,
        };
        if !no_way || leg.target.alternatives.is_empty() {
            return None;
        }
        let unsent = refusal.local && refusal.response.status() == StatusCode::SERVICE_UNAVAILABLE;
        let mut others = std::mem::take(&mut leg.target.alternatives).into_iter();
        // Datagrams are for whoever refuses TCP (RFC 3261 §18.1.1), not for one who has taken the request over it.
        let next = if leg.target.tcp_for_size && !unsent { others.nth(1)? } else { others.next()? };
        leg.superseded = true;
        Some(Target { alternatives: others.collect(), ..next })
    }

    /// Of the final responses the one to send back, when all branches have one (RFC 3261 §16.7 steps 6 and 7).
    pub(crate) fn best(&self, tm: &Tm) -> Option<Response> {
        if self.is_open() {
            return None;
        }
        let refusals: Vec<&Refusal> = self.counting(tm).collect();
        let preference = |refusal: &&&Refusal| self.preference(refusal, tm);
        let mut best = refusals.iter().min_by_key(preference)?.response.clone();
        match best.status().code() {
            401 | 407 if tm.aggregate_challenges => aggregate_challenges(&mut best, &refusals),
            300..=399 => aggregate_contacts(&mut best, &refusals),
            _ => {}
        }
        Some(best)
    }

    /// The refusals that count.
    fn counting(&self, tm: &Tm) -> impl Iterator<Item = &Refusal> {
        let (stage, mode) = (self.stage, tm.failure_reply_mode);
        let legs = self.legs.iter().filter(|leg| !leg.superseded);
        let sent = legs.filter_map(|leg| Some((leg.stage, leg.last.as_ref()?)));
        let unsent = self.unsent.iter().map(|(stage, refusal)| (*stage, refusal));
        let counts = move |of: usize| match mode {
            FailureReplyMode::KeepAll => true,
            FailureReplyMode::DropLast => of + 1 != stage,
            FailureReplyMode::DropAll => of == stage,
        };
        sent.chain(unsent).filter(move |(of, _)| counts(*of)).map(|(_, refusal)| refusal)
    }

    /// Lower is better: 6xx ends the search, then the lowest class; in the 4xx those that tell the caller how to do better,
    /// and last those that tell only that nobody answered. What somebody has said goes before what we have made up.
    fn preference(&self, refusal: &Refusal, tm: &Tm) -> (u16, u16, bool) {
        let status = refusal.response.status();
        let (class, rank) = match status.code() {
            600.. if !tm.disable_6xx_block => (0, 0),
            // What the caller has asked for.
            487 if self.cancelled => (4, 0),
            401 | 407 => (4, 1),
            415 | 420 | 484 => (4, 2),
            408 | 480 | 487 => (4, 4),
            400..=499 => (4, 3),
            503 => (5, 1),
            _ => (status.class(), 0),
        };
        (class, rank, refusal.local)
    }
}

/// Every challenge of every branch goes back, so that one more attempt can answer them all (§16.7 step 7).
fn aggregate_challenges(best: &mut Response, refusals: &[&Refusal]) {
    let challenging = refusals.iter().filter(|refusal| matches!(refusal.response.status().code(), 401 | 407));
    for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
        best.remove(name);
        for refusal in challenging.clone() {
            for challenge in refusal.response.raw_all(name) {
                best.push(name, challenge);
            }
        }
    }
}

/// The caller hears of every place that a redirection named.
fn aggregate_contacts(best: &mut Response, refusals: &[&Refusal]) {
    let redirecting = refusals.iter().filter(|refusal| refusal.response.status().class() == 3);
    let all = redirecting.flat_map(|refusal| refusal.response.values(Name::Contact)).map(<[u8]>::to_vec);
    let mut known: HashSet<Vec<u8>> = best.values(Name::Contact).map(<[u8]>::to_vec).collect();
    for contact in all {
        if known.insert(contact.clone()) {
            best.append(Name::Contact, contact);
        }
    }
}

#[cfg(test)]
mod tests;
