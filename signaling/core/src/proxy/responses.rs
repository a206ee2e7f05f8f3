//! Response processing (RFC 3261 §16.7).

use std::rc::Rc;

use futures_util::future::FutureExt as _;

use super::forking::{Failure, retry_after};
use super::{Done, Proxy, Server};
use crate::flow::Flow;
use crate::fork::{Arrival, Refusal};
use crate::message::{Method, Name, Response, StatusCode, build};
use crate::route;
use crate::step::{dtmf, edge, glare, media, nat, relay, renumber, session_timer};
use crate::transaction::{Cancelled, ClientId, ServerId, Timer};

/// Responses of one request that may wait for the relay; provisional ones beyond it are dropped.
const MAX_WAITING: usize = 32;

/// A response that has been through the route.
pub(super) struct Treated {
    server: ServerId,
    leg: usize,
    flow: Flow,
    session: Option<media::Session>,
    response: Response,
    /// Whether its SDP is for the relay alone.
    hidden: bool,
    result: Result<(), (StatusCode, &'static str)>,
}

impl Proxy {
    /// A response came. What belongs to no transaction goes no further (RFC 6026 §8.9).
    pub(super) fn arrived(&mut self, id: Option<ClientId>, flow: Flow, mut response: Response) {
        if let Some(bye) = id.filter(|id| self.byes.contains(id)) {
            if response.status().is_final() {
                self.byes.remove(&bye);
            }
            return;
        }
        if self.refreshed(id, &response)
            || self.keepalive_answered(id, &response)
            || self.question_answered(id, &response)
            || self.noticed(id, Some(&response))
            || self.key_answered(id, &response)
            || self.moved(id, &response)
        {
            return;
        }
        let branch = id.and_then(|id| self.clients.get(&id).copied());
        let Some((server, leg)) = branch else {
            if id.is_none() && self.answers_ping(&response) {
                return;
            }
            self.world.stats.borrow_mut().strays += 1;
            return;
        };
        if let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) {
            fork.legs[leg].heard = true;
            if let Some(gateway) = &fork.legs[leg].target.gateway {
                gateway.hears(self.world.now(), &response);
            }
        }
        self.heard_on(server, leg, &flow);
        // 100 is between neighbours (RFC 3261 §16.7 step 5).
        if response.status() == StatusCode::TRYING {
            return;
        }
        // A phone that has dropped the Vias below ours would have it end here (step 3).
        if build::pop_via(&mut response).is_err() || !response.contains(Name::Via) {
            self.world.stats.borrow_mut().strays += 1;
            return;
        }
        if let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) {
            // While the relay is slow a callee may go on ringing; what matters is the last word.
            if response.status().is_provisional() && fork.waiting.len() >= MAX_WAITING {
                self.world.stats.borrow_mut().strays += 1;
                return;
            }
            renumber::restore(&fork.incoming, &mut response);
            edge::hide_path(&fork.incoming, &mut response);
            fork.waiting.push_back(Arrival { leg, flow, response });
            self.pump(server);
        }
    }

    /// Puts the next response on the route, one at a time; when none waits, looks whether all is over.
    pub(super) fn pump(&mut self, server: ServerId) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        if fork.busy {
            return;
        }
        let Some(Arrival { leg, flow, mut response }) = fork.waiting.pop_front() else {
            return self.conclude(server);
        };
        fork.busy = true;
        let mut session = fork.legs[leg].session.take();
        let status = response.status();
        let to_browser = session.as_ref().is_some_and(|session| session.is_to_browser());
        let mut hidden = false;
        if status.is_provisional() && media::sdp_of(&response).is_some() {
            let seen = *fork.early.get_or_insert(leg);
            if to_browser && seen != leg && fork.legs[seen].last.is_none() {
                response.set_body("", bytes::Bytes::new());
            } else if to_browser && seen != leg {
                // The branch that the browser has heard is over; it hears this one by the same answer.
                hidden = true;
            }
        }
        // A late 2xx is for the caller to end (RFC 3261 §13.2.2.4): the relay has forgotten its branch.
        let late = fork.done && fork.answered != Some(leg);
        // The Contacts of a 200 to REGISTER are a list, and those of its sender.
        let lists = *fork.incoming.method() == Method::Register;
        let next_hop = !lists && nat::is_next_hop(&response, fork.incoming.pass());
        let world = Rc::clone(&self.world);
        let refused = dtmf::is_refusal(&fork.incoming, &response).then(|| fork.incoming.clone());
        let route = async move {
            if let Some(incoming) = refused {
                dtmf::press_refused(&world, &incoming, &mut response).await;
            }
            let media =
                session.as_mut().filter(|_| !late && (status.is_provisional() || status.is_success()));
            let result = route::response(&world, &flow, next_hop, media, &mut response).await;
            Done::Response(Box::new(Treated { server, leg, flow, session, response, hidden, result }))
        };
        self.begun.push_back(route.boxed_local());
    }

    /// Sends a response back, or keeps it until the other branches have theirs.
    pub(super) fn treated(&mut self, treated: Treated) {
        let Treated { server, leg, flow, session, response, hidden, result } = treated;
        self.follow_caller(server);
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        fork.busy = false;
        let status = response.status();
        if status.is_provisional() {
            // Early media that the relay refuses are left out; the call may still succeed.
            let mut response = response;
            if result.is_err() || hidden {
                response.set_body("", bytes::Bytes::new());
            }
            fork.legs[leg].session = session;
            if !fork.done && fork.answered.is_none() {
                self.note_early(server, leg, &flow, &response);
                self.world.stats.borrow_mut().fwd_replies += 1;
                self.respond_early(server, leg, &response);
            }
        } else if status.is_success() {
            match result {
                Ok(()) => {
                    fork.legs[leg].session = session;
                    let mut response = response;
                    session_timer::complete(&fork.incoming.message, &mut response);
                    self.succeeded(server, leg, &flow, &response);
                }
                Err((status, reason)) => {
                    self.undo_answer(server, leg, &flow, &response);
                    self.leg_failed(server, leg, status, reason);
                }
            }
        } else if let Some(refreshed) = session_timer::stand_in(&self.world, &fork.incoming, &response) {
            self.succeeded(server, leg, &flow, &refreshed);
        } else {
            self.refused(server, leg, response, false);
        }
        self.pump(server);
    }

    /// 2xx: at once to the caller, and an end to the other branches (RFC 3261 §16.7 steps 5 and 10).
    pub(super) fn succeeded(&mut self, server: ServerId, leg: usize, flow: &Flow, response: &Response) {
        let now = self.world.now();
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        let invite = *fork.incoming.method() == Method::Invite;
        if fork.legs[leg].no_prack || (fork.done && fork.answered.is_none()) {
            // The caller has heard of a failure by now, or of nothing that he would acknowledge.
            return self.undo_answer(server, leg, flow, response);
        }
        if fork.done && !invite {
            return;
        }
        if self.waits_for_prack(server, leg, flow, response) {
            return;
        }
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        fork.done = true;
        if fork.answered.is_none() {
            fork.answer(leg, response.to_tag().unwrap_or_default());
            let load = fork.legs[leg].load.take();
            glare::release(&self.world, &fork.incoming);
            self.note_trusted(server, flow);
            self.note_answer(server, leg, flow, response, load);
            self.cancel_others(server, leg, response.status());
            self.free_losers(server, leg);
        } else if !self.note_late(server, leg, flow, response) {
            return;
        }
        self.world.stats.borrow_mut().fwd_replies += 1;
        self.table.respond(now, server, response);
    }

    /// Who has answered a call that we have sent there, and whoever a registrar behind us knows, and it, is no stranger who floods.
    fn note_trusted(&self, server: ServerId, flow: &Flow) {
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        let (world, registers) = (&self.world, *fork.incoming.method() == Method::Register);
        let remotes = [
            (fork.is_call() || registers).then_some(flow.remote),
            registers.then_some(fork.incoming.flow.remote),
        ];
        for remote in remotes.into_iter().flatten() {
            world.sources.prove(&world.settings.pike, world.now(), remote, None);
        }
        if registers {
            edge::note_registered(world, &fork.incoming);
        }
    }

    /// The relay keeps the branch that has won.
    fn free_losers(&self, server: ServerId, winner: usize) {
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        if !fork.is_call() {
            return;
        }
        let (call_id, from_tag) = fork.call();
        let losers = fork.legs.iter().enumerate().filter(|(index, leg)| *index != winner && !leg.freed);
        for (_, leg) in losers {
            media::delete(&self.world, call_id, from_tag, Some(&leg.name));
        }
    }

    /// 3xx to 6xx of a branch; `local` when we have made it.
    fn refused(&mut self, server: ServerId, leg: usize, mut response: Response, mut local: bool) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        if fork.legs[leg].last.is_some() {
            return;
        }
        if fork.legs[leg].timed_out && !fork.cancelled && response.status() == StatusCode::REQUEST_TERMINATED
        {
            response.set_status(StatusCode::REQUEST_TIMEOUT, None);
            local = true;
        }
        let status = response.status();
        let retry_after = retry_after(&response);
        self.reliable.end_leg(server, leg);
        fork.legs[leg].last = Some(Refusal { response, local });
        fork.legs[leg].load = None;
        fork.everywhere |= status.class() == 6 && !self.world.settings.tm.disable_6xx_block;
        let (everywhere, method) = (fork.everywhere, fork.incoming.method().clone());
        if status == StatusCode::SERVICE_UNAVAILABLE && !local {
            let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
            self.avoid(&fork.legs[leg], &method, Failure::Unavailable(retry_after));
        }
        if self.fail_over(server, leg) {
            return;
        }
        self.free_failed(server);
        // Nobody anywhere will take it (RFC 3261 §16.7 step 5).
        if everywhere && status.class() == 6 {
            self.cancel_others(server, leg, status);
        }
    }

    /// Cancels the branches that have lost because of `leg`, and says why (RFC 3326): a phone does not show a call that was
    /// answered elsewhere as missed.
    fn cancel_others(&mut self, server: ServerId, leg: usize, status: StatusCode) {
        let text = if status.is_success() { "Call completed elsewhere" } else { status.reason() };
        let reason = format!("SIP;cause={status};text=\"{text}\"");
        let reasons = [reason.as_str()];
        let told = self.world.settings.tm.local_cancel_reason;
        self.cancel_legs(server, Some(leg), if told { &reasons } else { &[] });
    }

    /// A branch ends without a response of its own (RFC 3261 §16.8, §16.9).
    pub(super) fn leg_failed(&mut self, server: ServerId, leg: usize, status: StatusCode, reason: &str) {
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        let status = if fork.cancelled { StatusCode::REQUEST_TERMINATED } else { status };
        let response = fork.incoming.answer(&self.world, status, reason, &[]);
        self.refused(server, leg, response, true);
        self.pump(server);
    }

    /// No response in time. A branch that rings is cancelled; its 487 comes later.
    pub(super) fn timed_out(&mut self, id: ClientId, timer: Timer) {
        let now = self.world.now();
        if self.byes.remove(&id)
            || self.refresh_failed(id, true)
            || self.keepalive_failed(id, true)
            || self.question_failed(id)
            || self.noticed(Some(id), None)
            || self.keys.forget(id)
            || self.move_failed(id, true)
        {
            return;
        }
        let Some(&(server, leg)) = self.clients.get(&id) else { return };
        let rings = matches!(timer, Timer::C | Timer::Lifetime);
        if rings && self.table.cancel(now, id, &[]) != Cancelled::No {
            if let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) {
                fork.legs[leg].timed_out = true;
            }
            return self.pump(server);
        }
        if self.is_quiet(server, timer) {
            return self.table.abandon(server);
        }
        self.note_failed(server, leg, Failure::Timeout);
        self.leg_failed(server, leg, StatusCode::REQUEST_TIMEOUT, "");
    }

    fn note_failed(&self, server: ServerId, leg: usize, failure: Failure) {
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        let silent = fork.legs[leg].last.is_none() && !fork.legs[leg].heard;
        if silent && !fork.cancelled {
            self.avoid(&fork.legs[leg], fork.incoming.method(), failure);
        }
    }

    /// Whether nobody is told that an INVITE to a single contact was never replied to (`noisy_ctimer` off).
    fn is_quiet(&self, server: ServerId, timer: Timer) -> bool {
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return false };
        let alone = matches!(&fork.legs[..], [leg] if !leg.heard && leg.target.alternatives.is_empty());
        let alone = alone && fork.steps.is_empty() && fork.preparing == 0;
        timer == Timer::B && alone && !fork.cancelled && !self.world.settings.tm.noisy_ctimer
    }

    /// A branch cannot be sent to. A browser whose WebSocket is gone is not there now: 480. Whoever brought a token for the
    /// flow may know another one: 430 (RFC 5626 §5.3.1).
    pub(super) fn unreachable(&mut self, id: ClientId) {
        if self.byes.remove(&id)
            || self.refresh_failed(id, false)
            || self.keepalive_failed(id, false)
            || self.question_failed(id)
            || self.noticed(Some(id), None)
            || self.keys.forget(id)
            || self.move_failed(id, false)
        {
            return;
        }
        let Some(&(server, leg)) = self.clients.get(&id) else { return };
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        let target = &fork.legs[leg].target;
        let gone = match relay::protocol_of(&target.destination) {
            _ if target.by_token => StatusCode::FLOW_FAILED,
            protocol if protocol.is_websocket() => StatusCode::TEMPORARILY_UNAVAILABLE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        self.note_failed(server, leg, Failure::Transport);
        self.leg_failed(server, leg, gone, "");
    }
}
