//! Provisional responses that are made reliable here (RFC 3262 §3), for a caller who requires it of a browser.
//!
//! Each dialog has one response on its way at a time; it is sent again after T1, then after twice as long each time, until
//! its PRACK comes or 64·T1 are over. A 200 waits for the PRACK of a response that had SDP (RFC 3262 §3), for it would
//! otherwise be a second answer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::FutureExt as _;

use super::{Done, Outcome, Proxy, Server};
use crate::flow::Flow;
use crate::message::header::RAck;
use crate::message::{Fields, Method, Request, Response, StatusCode};
use crate::step::{Incoming, Verdict, early_update, in_dialog, media, reliable};
use crate::transaction::{IdMap, ServerId};

/// Dialogs of one INVITE; what more of them say goes back as it comes.
const MAX_DIALOGS: usize = 16;

/// Responses of a dialog that wait for the PRACK of the one before; those beyond it are dropped.
const MAX_WAITING: usize = 4;

/// All of a worker.
#[derive(Debug, Default)]
pub(super) struct Reliable {
    invites: IdMap<ServerId, Invite>,
    /// By [`Incoming::call_id`], From tag and To tag.
    dialogs: HashMap<[String; 3], ServerId>,
    deadlines: BTreeSet<(Instant, ServerId, usize)>,
}

#[derive(Debug)]
struct Invite {
    cseq: u32,
    dialogs: Vec<Dialog>,
    held: Option<Held>,
    /// Whether a final response has gone back.
    done: bool,
}

#[derive(Debug)]
struct Dialog {
    key: [String; 3],
    /// Its branch.
    leg: usize,
    /// Whether that has failed: nothing more is sent, but a PRACK may still come.
    over: bool,
    rseq: u32,
    sent: Option<Sent>,
    waiting: VecDeque<Response>,
}

/// A response that waits for its PRACK.
#[derive(Debug)]
struct Sent {
    response: Response,
    interval: Duration,
    next: Instant,
    end: Instant,
}

/// A 2xx that waits for a PRACK.
#[derive(Debug)]
struct Held {
    leg: usize,
    flow: Flow,
    response: Response,
}

/// What is due.
#[derive(Debug)]
enum Due {
    Again(ServerId, Response),
    /// Its dialog has no PRACK in time.
    GiveUp(ServerId, usize),
}

/// What becomes of a 2xx.
#[derive(Debug, PartialEq, Eq)]
enum Hold {
    /// It may go.
    No,
    /// It waits for a PRACK.
    Kept,
    /// Another one waits already, and is the first.
    Late,
}

impl Reliable {
    /// Takes a response that is to be reliable; returns it when it can be sent now. `first` is the RSeq of a dialog that has
    /// none yet.
    fn send(
        &mut self,
        now: Instant,
        t1: Duration,
        (server, leg): (ServerId, usize),
        call_id: &str,
        response: Response,
        first: u32,
    ) -> Option<Response> {
        let cseq = response.cseq().map_or(0, |cseq| cseq.number);
        let fresh = || Invite { cseq, dialogs: Vec::new(), held: None, done: false };
        let invite = self.invites.entry(server).or_insert_with(fresh);
        let key = key_of(call_id, &response);
        let at = match invite.dialogs.iter().position(|dialog| dialog.key == key) {
            Some(at) => at,
            None if invite.dialogs.len() < MAX_DIALOGS => {
                self.dialogs.insert(key.clone(), server);
                let rseq = first.saturating_sub(1);
                let (sent, waiting) = (None, VecDeque::new());
                invite.dialogs.push(Dialog { key, leg, over: false, rseq, sent, waiting });
                invite.dialogs.len() - 1
            }
            None => return None,
        };
        let dialog = &mut invite.dialogs[at];
        if dialog.waiting.len() < MAX_WAITING {
            dialog.waiting.push_back(response);
        }
        self.advance(now, t1, server, at)
    }

    /// The next response of a dialog, when none is on its way.
    fn advance(&mut self, now: Instant, t1: Duration, server: ServerId, at: usize) -> Option<Response> {
        let invite = self.invites.get_mut(&server)?;
        let dialog = invite.dialogs.get_mut(at)?;
        // None is begun after the final response (RFC 3262 §3).
        if dialog.sent.is_some() || dialog.over || invite.done {
            return None;
        }
        let mut response = dialog.waiting.pop_front()?;
        dialog.rseq = dialog.rseq.wrapping_add(1).max(1);
        reliable::number(&mut response, dialog.rseq);
        let (next, end) = (now + t1, now + t1 * 64);
        dialog.sent = Some(Sent { response: response.clone(), interval: t1, next, end });
        self.deadlines.insert((next, server, at));
        Some(response)
    }

    /// The INVITE that a PRACK is for, if its responses are made reliable here.
    fn invite_of(&self, prack: &Incoming) -> Option<ServerId> {
        self.dialogs.get(&key_of(prack.call_id(), &prack.message)).copied()
    }

    /// Takes a PRACK: the dialog it belongs to, when it fits what was sent (RFC 3262 §3).
    fn acknowledge(&mut self, server: ServerId, prack: &Request) -> Option<usize> {
        let rack = prack.get::<RAck>().ok().flatten()?;
        let invite = self.invites.get_mut(&server)?;
        let to = prack.to_tag()?;
        let at = invite.dialogs.iter().position(|dialog| dialog.key[2] == to)?;
        let dialog = &mut invite.dialogs[at];
        let fits = rack.rseq == dialog.rseq && rack.cseq == invite.cseq && rack.method == Method::Invite;
        let sent = dialog.sent.take_if(|_| fits)?;
        self.deadlines.remove(&(sent.next, server, at));
        Some(at)
    }

    /// Keeps a 2xx whose dialog has SDP on its way that is not acknowledged.
    fn hold(&mut self, server: ServerId, leg: usize, flow: &Flow, response: &Response) -> Hold {
        let Some(invite) = self.invites.get_mut(&server) else { return Hold::No };
        let tag = response.to_tag().unwrap_or_default();
        let describes = |sent: &Sent| media::sdp_of(&sent.response).is_some();
        let waits = |dialog: &Dialog| dialog.key[2] == tag && dialog.sent.as_ref().is_some_and(describes);
        if invite.done || !invite.dialogs.iter().any(waits) {
            return Hold::No;
        }
        if invite.held.as_ref().is_some_and(|held| held.response.to_tag() != Some(tag)) {
            return Hold::Late;
        }
        invite.held = Some(Held { leg, flow: *flow, response: response.clone() });
        Hold::Kept
    }

    /// A branch has failed. Whoever still acknowledges what it has said is right to (RFC 3262 §3).
    pub(super) fn end_leg(&mut self, server: ServerId, leg: usize) {
        let Some(invite) = self.invites.get_mut(&server) else { return };
        for (at, dialog) in invite.dialogs.iter_mut().enumerate().filter(|(_, dialog)| dialog.leg == leg) {
            dialog.over = true;
            dialog.waiting.clear();
            if let Some(sent) = &dialog.sent {
                self.deadlines.remove(&(sent.next, server, at));
            }
        }
    }

    /// The branch of a dialog that has no PRACK in time, and the 2xx that has waited for it.
    fn give_up(&mut self, server: ServerId, at: usize) -> Option<(usize, Option<Held>)> {
        let leg = self.invites.get(&server)?.dialogs.get(at)?.leg;
        Some((leg, self.release(server, at)))
    }

    /// The 2xx of a dialog that waits no more.
    fn release(&mut self, server: ServerId, at: usize) -> Option<Held> {
        let invite = self.invites.get_mut(&server)?;
        let [.., tag] = &invite.dialogs.get(at)?.key;
        invite.held.take_if(|held| held.response.to_tag() == Some(tag))
    }

    /// A final response has gone back: nothing is sent again, but a PRACK may still come (RFC 3262 §3).
    fn finish(&mut self, server: ServerId) -> Option<Held> {
        let invite = self.invites.get_mut(&server)?;
        invite.done = true;
        for (at, dialog) in invite.dialogs.iter_mut().enumerate() {
            dialog.waiting.clear();
            if let Some(sent) = &dialog.sent {
                self.deadlines.remove(&(sent.next, server, at));
            }
        }
        invite.held.take()
    }

    /// The INVITE's transaction is gone.
    fn forget(&mut self, server: ServerId) {
        self.finish(server);
        for dialog in self.invites.remove(&server).into_iter().flat_map(|invite| invite.dialogs) {
            self.dialogs.remove(&dialog.key);
        }
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, ..)| *at)
    }

    fn pop_due(&mut self, now: Instant) -> Option<Due> {
        self.deadlines.first().filter(|(at, ..)| *at <= now)?;
        let (_, server, at) = self.deadlines.pop_first()?;
        let sent = self.invites.get_mut(&server)?.dialogs.get_mut(at)?.sent.as_mut()?;
        if sent.end <= now {
            return Some(Due::GiveUp(server, at));
        }
        sent.interval *= 2;
        sent.next = (now + sent.interval).min(sent.end);
        self.deadlines.insert((sent.next, server, at));
        Some(Due::Again(server, sent.response.clone()))
    }
}

/// The name of the call, From tag and To tag of a response, or of a PRACK.
fn key_of(call_id: &str, message: &Fields) -> [String; 3] {
    let part = |tag: Option<&str>| tag.unwrap_or_default().to_owned();
    [call_id.to_owned(), part(message.from_tag()), part(message.to_tag())]
}

impl Proxy {
    /// A provisional response goes back: as it is, or made reliable.
    pub(super) fn respond_early(&mut self, server: ServerId, leg: usize, response: &Response) {
        let now = self.world.now();
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        let invite = &fork.incoming.message;
        if !reliable::stands_in(invite, &fork.legs[leg].target, response) {
            self.table.respond(now, server, response);
            return;
        }
        // The first reliable response must bring the offer that the INVITE has not (RFC 3262 §5). A browser makes it when
        // its user answers: the caller hears of that 200 and of nothing before.
        if media::sdp_of(invite).is_none() {
            return;
        }
        let t1 = self.world.settings.timers.retr_timer1;
        // RFC 3262 §3: from 1 to 2³¹-1.
        let first = self.world.with_rng(|rng| rand::RngExt::random_range(rng, 1..=i32::MAX.cast_unsigned()));
        let (call_id, response) = (fork.incoming.call_id(), response.clone());
        if let Some(response) = self.reliable.send(now, t1, (server, leg), call_id, response, first) {
            self.table.respond(now, server, &response);
        }
    }

    /// Whether a 2xx has to wait for a PRACK; it comes back to `succeeded` with it.
    pub(super) fn waits_for_prack(
        &mut self,
        server: ServerId,
        leg: usize,
        flow: &Flow,
        response: &Response,
    ) -> bool {
        match self.reliable.hold(server, leg, flow, response) {
            Hold::Kept => return true,
            Hold::Late => {
                self.undo_answer(server, leg, flow, response);
                return true;
            }
            Hold::No => {}
        }
        self.give_up_pracks(server);
        false
    }

    /// A final response ends all that waits for PRACK; a callee who has answered meanwhile is hung up on.
    pub(super) fn give_up_pracks(&mut self, server: ServerId) {
        if let Some(held) = self.reliable.finish(server) {
            self.undo_answer(server, held.leg, &held.flow, &held.response);
        }
    }

    pub(super) fn forget_pracks(&mut self, server: ServerId) {
        self.reliable.forget(server);
    }

    /// Takes a PRACK for a response that was made reliable here; `false` when it is for somebody else.
    pub(super) fn pracked(&mut self, id: ServerId, flow: Flow, request: &Request) -> bool {
        let (now, t1) = (self.world.now(), self.world.settings.timers.retr_timer1);
        let mut incoming = Incoming::new(&self.world, request.clone(), flow);
        in_dialog::note_pass(&self.world, &mut incoming);
        let Some(server) = self.reliable.invite_of(&incoming) else { return false };
        in_dialog::note_sender(&self.world, &incoming);
        let Some(dialog) = self.reliable.acknowledge(server, request) else {
            let response = incoming.answer(&self.world, StatusCode::CALL_DOES_NOT_EXIST, "", &[]);
            self.servers.insert(id, Server::Ended);
            self.table.respond(now, id, &response);
            return true;
        };
        self.answer_prack(id, incoming);
        if let Some(next) = self.reliable.advance(now, t1, server, dialog) {
            self.table.respond(now, server, &next);
        }
        if let Some(held) = self.reliable.release(server, dialog) {
            self.succeeded(server, held.leg, &held.flow, &held.response);
        }
        true
    }

    /// 200 to a PRACK. One with an offer needs the relay.
    fn answer_prack(&mut self, id: ServerId, incoming: Incoming) {
        let browser = early_update::early_browser(&self.world, &incoming);
        let (true, Some(browser)) = (media::sdp_of(&incoming.message).is_some(), browser) else {
            let response = incoming.answer(&self.world, StatusCode::OK, "", &[]);
            self.servers.insert(id, Server::Ended);
            self.table.respond(self.world.now(), id, &response);
            return;
        };
        self.servers.insert(id, Server::Routing(None));
        let world = Rc::clone(&self.world);
        let route = async move {
            let outcome = match early_update::reply(&world, &incoming, &browser).await {
                Ok(response) => Outcome::Reply(Box::new(response)),
                Err((status, reason)) => match early_update::refuse(&world, &incoming, status, reason) {
                    Verdict::Reply(response) => Outcome::Reply(response),
                    _ => Outcome::Absorb,
                },
            };
            Done::Request { server: Some(id), incoming: Box::new(incoming), outcome }
        };
        self.begun.push_back(route.boxed_local());
    }

    /// Sends again what no PRACK has come for, and ends the branch when none has for 64·T1: 504 (RFC 3262 §3 wants a 5xx).
    pub(super) fn repeat_reliable(&mut self) {
        let now = self.world.now();
        while let Some(due) = self.reliable.pop_due(now) {
            match due {
                Due::Again(server, response) => _ = self.table.respond(now, server, &response),
                Due::GiveUp(server, dialog) => self.no_prack(server, dialog),
            }
        }
    }

    /// Other branches are other user agents, which the caller may hear better.
    fn no_prack(&mut self, server: ServerId, dialog: usize) {
        let Some((leg, held)) = self.reliable.give_up(server, dialog) else { return };
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        if fork.done {
            return;
        }
        fork.legs[leg].no_prack = true;
        let client = fork.legs[leg].client;
        match (held, client) {
            (Some(held), _) => self.undo_answer(server, leg, &held.flow, &held.response),
            (None, Some(client)) => _ = self.table.cancel(self.world.now(), client, &[]),
            (None, None) => {}
        }
        self.leg_failed(server, leg, StatusCode::SERVER_TIMEOUT, "No PRACK");
    }
}
