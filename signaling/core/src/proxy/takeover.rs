//! A user agent comes back over another connection while a call is being set up: what is pending moves there. (What is
//! answered needs no moving: [`in_dialog::follow`] looks where its ends are whenever something is sent.)

use std::time::{Duration, Instant};

use super::{Proxy, Server};
use crate::flow::{ConnectionId, Destination, Flow};
use crate::fork::Fork;
use crate::location::Peer;
use crate::message::{Method, Name, StatusCode};
use crate::step::{in_dialog, nat};
use crate::transaction::{ClientId, IdMap, ServerId};

/// How long one end of a call that is not answered yet has to come back. The other end is waiting for it.
const EARLY_RETURN: Duration = Duration::from_secs(5);

/// Who is waited for, since when.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    callers: IdMap<ServerId, Instant>,
    callees: IdMap<ClientId, Instant>,
}

impl Awaited {
    /// A transaction has ended.
    pub(super) fn forget_callee(&mut self, id: ClientId) {
        self.callees.remove(&id);
    }

    /// See there.
    pub(super) fn forget_caller(&mut self, id: ServerId) {
        self.callers.remove(&id);
    }
}

impl Proxy {
    /// Before a connection is given up: those who have come back over another one are not on it any more. The old one may
    /// have been silent for a minute before anybody noticed.
    pub(super) fn follow_from(&mut self, connection: ConnectionId) {
        let concerned = |fork: &Fork| {
            fork.incoming.flow.connection == Some(connection)
                || fork.legs.iter().any(|leg| is_over(&leg.target.destination, connection))
        };
        for server in self.relaying(concerned) {
            self.follow(server);
        }
    }

    /// Moves the pending transactions of a request to where its ends are now.
    pub(super) fn follow(&mut self, server: ServerId) {
        self.follow_caller(server);
        self.follow_callees(server);
    }

    /// The responses go to where the caller is.
    pub(super) fn follow_caller(&mut self, server: ServerId) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        if fork.incoming.flow.connection.is_none() {
            return;
        }
        let mut calls = self.world.calls.borrow_mut();
        let tag = fork.incoming.message.from_tag().unwrap_or_default();
        let call = calls.find_mut(fork.incoming.call_id(), tag);
        let Some(end) = call.and_then(|call| call.end_mut(tag)) else { return };
        in_dialog::follow(&self.world, end);
        if let Some(Destination::Flow(flow)) = end.destination.filter(|_| end.routes.is_empty())
            && flow != fork.incoming.flow
        {
            fork.incoming.flow = flow;
            self.table.move_server(server, flow);
            self.awaited.forget_caller(server);
        }
    }

    /// CANCEL, and the ACK to a refusal, go to where the callees are.
    fn follow_callees(&mut self, server: ServerId) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        for leg in fork.legs.iter_mut().filter(|leg| leg.last.is_none()) {
            let Destination::Flow(flow) = leg.target.destination else { continue };
            let (Some(client), Some(aor)) = (leg.client, leg.target.aor.as_deref()) else { continue };
            if flow.connection.is_none() || !leg.target.routes.is_empty() {
                continue;
            }
            let peer =
                Peer { instance: &leg.target.instance, contact: leg.target.uri.as_str(), flow: Some(flow) };
            let key = self.world.location_key(aor);
            let now = self.world.location.flow_of(&key, &peer, self.world.unix_now());
            if let Some(now) = now.filter(|now| *now != flow) {
                (leg.target.destination, leg.target.local) = (Destination::Flow(now), now.local);
                self.table.move_client(client, now);
                self.awaited.forget_callee(client);
            }
        }
    }

    /// A callee speaks over another flow than it was called on: it is there now.
    pub(super) fn heard_on(&mut self, server: ServerId, leg: usize, flow: &Flow) {
        let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { return };
        let leg = &mut fork.legs[leg];
        let Destination::Flow(before) = leg.target.destination else { return };
        if before != *flow && before.protocol.is_websocket() && flow.protocol.is_websocket() {
            (leg.target.destination, leg.target.local) = (Destination::Flow(*flow), flow.local);
            if let Some(client) = leg.client {
                self.table.move_client(client, *flow);
                self.awaited.forget_callee(client);
            }
        }
    }

    /// A browser whose connection is lost has given up the calls that it was making, unless it may come back to them.
    pub(super) fn caller_lost(&mut self, connection: ConnectionId) {
        let is_his = |fork: &Fork| {
            let flow = &fork.incoming.flow;
            flow.protocol.is_websocket() && flow.connection == Some(connection) && !fork.done
        };
        for server in self.relaying(is_his) {
            let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) else { continue };
            if begins_call(fork) && nat::keeps_early(fork.incoming.message.text(Name::UserAgent)) {
                self.awaited.callers.insert(server, self.world.now());
            } else {
                self.give_up(server);
            }
        }
    }

    /// A browser that rings and whose connection is lost may come back and answer: its branch is not failed yet.
    pub(super) fn hold_ringing(&mut self, connection: ConnectionId) {
        let now = self.world.now();
        let calls = self.world.calls.borrow();
        for fork in self.servers.values().filter_map(relayed).filter(|fork| begins_call(fork) && !fork.done) {
            let message = &fork.incoming.message;
            let call = calls.find(fork.incoming.call_id(), message.from_tag().unwrap_or_default());
            for leg in fork.legs.iter().filter(|leg| is_over(&leg.target.destination, connection)) {
                let rings = call.is_some_and(|call| call.callees.iter().any(|end| end.branch == leg.name));
                if rings && leg.last.is_none() && leg.target.keeps_early {
                    self.awaited.callees.extend(leg.client.map(|client| (client, now)));
                }
            }
        }
        drop(calls);
        for client in self.awaited.callees.keys() {
            self.table.hold_client(*client);
        }
    }

    /// Those who were waited for long enough have not come back.
    pub(super) fn end_awaited(&mut self) {
        let now = self.world.now();
        let over = |since: &Instant| now.saturating_duration_since(*since) >= EARLY_RETURN;
        let callers = self.awaited.callers.extract_if(|_, since| over(since)).map(|(id, _)| id);
        for server in callers.collect::<Vec<_>>() {
            let before = self.flow_of_caller(server);
            self.follow_caller(server);
            if self.flow_of_caller(server) == before {
                self.give_up(server);
            }
        }
        let callees = self.awaited.callees.extract_if(|_, since| over(since)).map(|(id, _)| id);
        for client in callees.collect::<Vec<_>>() {
            let Some(&(server, leg)) = self.clients.get(&client) else { continue };
            self.follow_callees(server);
            let Some(Server::Relaying(fork)) = self.servers.get(&server) else { continue };
            let Destination::Flow(flow) = fork.legs[leg].target.destination else { continue };
            if flow.connection.is_some_and(|connection| self.table.is_held(client, connection)) {
                self.table.drop_client(client);
                self.leg_failed(server, leg, StatusCode::TEMPORARILY_UNAVAILABLE, "");
            }
        }
    }

    fn flow_of_caller(&self, server: ServerId) -> Option<Flow> {
        Some(relayed(self.servers.get(&server)?)?.incoming.flow)
    }

    fn give_up(&mut self, server: ServerId) {
        if let Some(Server::Relaying(fork)) = self.servers.get_mut(&server) {
            fork.cancelled = true;
        }
        self.cancel_legs(server, None, &[]);
    }

    fn relaying(&self, wanted: impl Fn(&Fork) -> bool) -> Vec<ServerId> {
        let servers = self.servers.iter();
        servers.filter(|(_, server)| relayed(server).is_some_and(&wanted)).map(|(id, _)| *id).collect()
    }
}

fn relayed(server: &Server) -> Option<&Fork> {
    match server {
        Server::Relaying(fork) => Some(fork),
        _ => None,
    }
}

fn begins_call(fork: &Fork) -> bool {
    *fork.incoming.method() == Method::Invite && !fork.incoming.is_in_dialog()
}

fn is_over(destination: &Destination, connection: ConnectionId) -> bool {
    matches!(destination, Destination::Flow(flow) if flow.connection == Some(connection))
}
