//! Request forwarding over time (RFC 3261 §16.6): which branches begin when, and what comes after those that have failed.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::FutureExt as _;

use super::{Done, Proxy, Server};
use crate::dispatcher::Load;
use crate::event::Event;
use crate::flow::Destination;
use crate::fork::{self, Fork, Leg, Refusal};
use crate::message::header::RetryAfter;
use crate::message::{Method, Response, StatusCode};
use crate::route;
use crate::step::relay::{self, Branch};
use crate::step::{Incoming, Target, Verdict, glare, media};
use crate::transaction::ServerId;

/// Branches that were to follow others, ready now.
pub(super) struct Prepared {
    server: ServerId,
    incoming: Incoming,
    result: Result<Vec<Branch>, (StatusCode, &'static str)>,
}

/// Why a destination may be avoided for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It did not reply.
    Timeout,
    /// Nothing could be sent there.
    Transport,
    /// It answered 503, and perhaps said how many seconds it wants to be left alone.
    Unavailable(Option<u32>),
}

impl Proxy {
    /// Begins to relay a request; `steps` are the targets that come after these branches.
    pub(super) fn relay(
        &mut self,
        server: ServerId,
        mut incoming: Incoming,
        branches: Vec<Branch>,
        steps: VecDeque<Vec<Target>>,
    ) {
        let now = self.world.now();
        self.table.send_trying(now, server);
        let seats = incoming.seats.take();
        self.note_call(&incoming, &branches, seats);
        let fork = Fork::new(incoming, now, steps);
        self.servers.insert(server, Server::Relaying(Box::new(fork)));
        self.start(server, branches);
        self.pump(server);
    }

    /// Begins a client transaction for each branch.
    fn start(&mut self, server: ServerId, branches: Vec<Branch>) {
        let now = self.world.now();
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        for branch in branches {
            let Branch { message, target, name, breadth, media: session } = branch;
            let patience = fork.patience(now, &target, &self.world.settings.timers);
            let client = self.table.request_with(now, message, target.destination, patience).ok();
            if let Some(client) = client {
                self.world.stats.borrow_mut().fwd_requests += 1;
                self.clients.insert(client, (server, fork.legs.len()));
            }
            // A full table is this proxy's fault, and 503 of a branch is what says so.
            let last = client.is_none().then(|| {
                let response = fork.incoming.answer(&self.world, StatusCode::SERVICE_UNAVAILABLE, "", &[]);
                Refusal { response, local: true }
            });
            let load = target.gateway.as_ref().filter(|_| fork.is_call()).map(Load::new);
            fork.legs.push(Leg {
                load,
                client,
                name,
                target,
                session,
                stage: fork.stage,
                breadth,
                last,
                heard: false,
                timed_out: false,
                superseded: false,
                freed: false,
                no_prack: false,
            });
        }
    }

    /// Looks whether all is over, and what comes then: the next targets, other ones, or the best of the refusals.
    pub(super) fn conclude(&mut self, server: ServerId) {
        let (now, world) = (self.world.now(), Rc::clone(&self.world));
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        if fork.done || fork.preparing > 0 {
            return;
        }
        if let Some((step, breadth)) = fork.next_step(now, &world.settings.timers) {
            return self.prepare(server, step, breadth);
        }
        let Some(best) = fork.best(&world.settings.tm) else { return };
        if fork.is_call() && fork.may_go_on() {
            return self.ask_elsewhere(server, best);
        }
        self.fail(server, &route::refusal(&world, best));
    }

    /// Tries another way to where a branch has failed to go; `false` when there is none.
    pub(super) fn fail_over(&mut self, server: ServerId, leg: usize) -> bool {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return false };
        let Some(target) = fork.alternate(leg) else { return false };
        let Leg { breadth, target: Target { destination, .. }, .. } = fork.legs[leg];
        if let Destination::Address { remote, .. } = destination
            && target.tcp_failed
        {
            self.world.note_tcp_refusal(remote);
        }
        self.prepare(server, vec![target], breadth);
        true
    }

    /// Makes the branches for more targets.
    fn prepare(&mut self, server: ServerId, targets: Vec<Target>, breadth: u32) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        fork.preparing += 1;
        let (world, incoming) = (Rc::clone(&self.world), fork.incoming.clone());
        let make = async move {
            let result = relay::prepare(&world, &incoming, targets, breadth).await;
            Done::Prepared(Box::new(Prepared { server, incoming, result }))
        };
        self.begun.push_back(make.boxed_local());
    }

    /// The branches are ready; meanwhile they may have become superfluous.
    pub(super) fn prepared(&mut self, prepared: Prepared) {
        let Prepared { server, incoming, result } = prepared;
        let mut wanted = false;
        if let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) {
            fork.preparing -= 1;
            wanted = fork.may_go_on();
        }
        match result {
            Ok(branches) if wanted => self.start(server, branches),
            Ok(branches) => {
                self.forget_branches(&incoming, &branches);
                self.not_sent(server, StatusCode::REQUEST_TERMINATED, "");
            }
            Err((status, reason)) => self.not_sent(server, status, reason),
        }
        self.free_failed(server);
        self.pump(server);
    }

    /// What the relay has prepared for branches that do not begin.
    fn forget_branches(&self, incoming: &Incoming, branches: &[Branch]) {
        if *incoming.method() != Method::Invite || incoming.is_in_dialog() {
            return;
        }
        let from_tag = incoming.message.from_tag().unwrap_or_default();
        for branch in branches {
            media::delete(&self.world, incoming.call_id(), from_tag, Some(&branch.name));
        }
    }

    /// Notes that targets could not be tried.
    fn not_sent(&mut self, server: ServerId, status: StatusCode, reason: &str) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        let status = if fork.cancelled { StatusCode::REQUEST_TERMINATED } else { status };
        let response = fork.incoming.answer(&self.world, status, reason, &[]);
        fork.unsent.push((fork.stage, Refusal { response, local: true }));
    }

    /// The relay may forget the branches that have failed, once others are there: a browser that calls keeps its one answer
    /// only as long as its call has a branch.
    pub(super) fn free_failed(&mut self, server: ServerId) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        if !fork.is_call() || fork.done || !fork.is_open() {
            return;
        }
        let (call_id, from_tag) = {
            let (call_id, from_tag) = fork.call();
            (call_id.to_owned(), from_tag.to_owned())
        };
        for leg in fork.legs.iter_mut().filter(|leg| leg.last.is_some() && !leg.freed) {
            leg.freed = true;
            media::delete(&self.world, &call_id, &from_tag, Some(&leg.name));
        }
    }

    /// Asks the route what becomes of a call that nobody took.
    fn ask_elsewhere(&mut self, server: ServerId, best: Response) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        fork.preparing += 1;
        let (world, incoming, diverted) = (Rc::clone(&self.world), fork.incoming.clone(), fork.stage > 0);
        let ask = async move {
            let verdict = route::failure(&world, &incoming, best, diverted).await;
            Done::Failed { server, verdict }
        };
        self.begun.push_back(ask.boxed_local());
    }

    /// Carries out what the route has decided on a failure.
    pub(super) fn failed(&mut self, server: ServerId, verdict: Verdict) {
        let serial = self.world.settings.tm.serial_forking;
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        fork.preparing -= 1;
        if fork.done {
            return;
        }
        match verdict {
            Verdict::Reply(response) => return self.fail(server, &response),
            Verdict::Absorb => return self.table.abandon(server),
            Verdict::Relay(targets) if fork.may_go_on() && !targets.is_empty() => {
                fork.stage += 1;
                fork.steps = fork::steps(targets, serial);
            }
            Verdict::Relay(_) => self.not_sent(server, StatusCode::TEMPORARILY_UNAVAILABLE, ""),
        }
        self.pump(server);
    }

    /// Ends a relayed request with a negative response.
    pub(super) fn fail(&mut self, server: ServerId, response: &Response) {
        let now = self.world.now();
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        fork.done = true;
        let theirs = fork
            .legs
            .iter()
            .filter_map(|leg| leg.last.as_ref())
            .any(|refusal| !refusal.local && refusal.response.status() == response.status());
        self.world.stats.borrow_mut().fwd_replies += u64::from(theirs);
        self.give_up_pracks(server);
        let announced = self.announces(server, response);
        let Some(Server::Relaying(fork)) = self.servers.get(&server) else { return };
        glare::release(&self.world, &fork.incoming);
        self.note_not_revived(&fork.incoming, response.status());
        if fork.is_call() {
            let (call_id, from_tag) = fork.call();
            if !announced {
                media::delete(&self.world, call_id, from_tag, None);
            }
            let call = self.world.calls.borrow_mut().remove(call_id, from_tag);
            if let Some(call) = call {
                self.world.stats.borrow_mut().failed_calls += 1;
                let (code, reason) = (response.status().code(), response.reason().into_owned());
                let (call_id, from, to) = (call.call_id, call.from, call.to);
                let (parties, started_at, at) = (call.parties, call.started_at, self.world.unix_now());
                let to_tag = response.to_tag().unwrap_or_default().to_owned();
                let event =
                    Event::CallFailed { call_id, from, to, code, reason, parties, to_tag, started_at, at };
                self.world.tell(event);
            }
        }
        if !announced {
            self.table.respond(now, server, response);
        }
    }

    /// Whether the caller of a relayed request is told in sound first.
    fn announces(&mut self, server: ServerId, response: &Response) -> bool {
        let code = response.status().code();
        let incoming = match self.servers.get(&server) {
            Some(Server::Relaying(fork))
                if fork.is_call() && self.world.settings.sounds.announcements.contains_key(&code) =>
            {
                fork.incoming.clone()
            }
            _ => return false,
        };
        self.announce(server, &incoming, response)
    }

    /// Avoids a destination for a while, where that is set. A registered flow is not put on the list: it ends by itself.
    pub(super) fn avoid(&self, leg: &Leg, method: &Method, failure: Failure) {
        if let Some(gateway) = &leg.target.gateway {
            gateway.state.failed(&self.world.settings.dispatcher);
        }
        let blst = &self.world.settings.blst;
        let Destination::Address { protocol, remote } = leg.target.destination else { return };
        let span = match failure {
            Failure::Timeout if blst.methods_add & relay::method_bit(method) == 0 => return,
            Failure::Timeout | Failure::Transport if !blst.use_dst_blocklist => return,
            Failure::Timeout | Failure::Transport => blst.dst_blocklist_expire,
            Failure::Unavailable(_) if !blst.blst_503 => return,
            Failure::Unavailable(None) => blst.blst_503_def_timeout,
            Failure::Unavailable(Some(seconds)) => Duration::from_secs(seconds.into())
                .max(blst.blst_503_min_timeout)
                .min(blst.blst_503_max_timeout),
        };
        if !span.is_zero() {
            self.world.blocklist.add(self.world.now(), protocol, remote, span);
            tracing::info!(%protocol, %remote, seconds = span.as_secs(), "destination blocklisted");
        }
    }
}

/// The seconds of Retry-After, if it can be read.
pub(super) fn retry_after(response: &Response) -> Option<u32> {
    response.get::<RetryAfter>().ok().flatten().map(|RetryAfter(seconds)| seconds)
}
