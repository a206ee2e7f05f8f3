//! Session refreshes of our own, toward ends whose refresher is silent (RFC 4028 §10).
//!
//! The refresher refreshes at half of the interval, and the other end hangs up when it has heard nothing at two thirds of it
//! or a little later. A browser in a tab of the background is late by so much. So between the two the refresher is asked, by an
//! UPDATE in the name of the other end, whether it is there; when it is, the other end is refreshed in its name. The numbers
//! that this costs in the dialog are made up for from then on ([`crate::step::renumber`]).

use std::collections::HashSet;

use super::{Proxy, Server};
use crate::dialog::{Call, End};
use crate::event::EndCause;
use crate::flow::Destination;
use crate::message::{Method, Name, Request, Response};
use crate::transaction::ClientId;

/// Between the half at which a refresher acts and the two thirds at which the other end gives up (RFC 4028 §10).
const DUE: (u32, u32) = (7, 12);

/// An UPDATE of ours.
#[derive(Debug)]
pub(super) struct Refresh {
    call_id: String,
    /// Tag of the end that was asked.
    tag: String,
}

impl Proxy {
    /// Asks the refreshers that are late.
    pub(super) fn refresh_sessions(&mut self) {
        let now = self.world.now();
        let mut late = Vec::new();
        self.world.calls.borrow_mut().each(|call| {
            let Some(session) = call.session.as_mut().filter(|session| !session.asked) else { return };
            if now >= session.since + session.interval * DUE.0 / DUE.1 {
                session.asked = true;
                late.push((call.call_id.clone(), session.refresher.clone()));
            }
        });
        if late.is_empty() {
            return;
        }
        // A re-INVITE is a refresh that has no answer yet, and an ACK has the number of its INVITE.
        let open = self.open_invites();
        late.retain(|(call_id, _)| !open.contains(call_id));
        for (call_id, refresher) in late {
            self.refresh(&call_id, &refresher);
        }
    }

    /// The Call-IDs of the INVITEs that are under way, or answered half a minute ago at most.
    pub(super) fn open_invites(&self) -> HashSet<String> {
        let incoming = self.servers.values().filter_map(|server| match server {
            Server::Routing(incoming) => incoming.as_deref(),
            Server::Relaying(fork) => Some(&fork.incoming),
            Server::Ended => None,
        });
        let invites = incoming.filter(|incoming| *incoming.method() == Method::Invite);
        invites.map(|invite| invite.call_id().to_owned()).collect()
    }

    /// Sends an UPDATE to the end with `tag`, in the name of the other one, when it can take it.
    fn refresh(&mut self, call_id: &str, tag: &str) {
        let Some((request, destination)) = self.refresh_of(call_id, tag) else { return };
        if let Ok(client) = self.table.request(self.world.now(), request, destination) {
            let refresh = Refresh { call_id: call_id.to_owned(), tag: tag.to_owned() };
            self.refreshes.insert(client, refresh);
        }
    }

    fn refresh_of(&self, call_id: &str, tag: &str) -> Option<(Request, Destination)> {
        let session = {
            let calls = self.world.calls.borrow();
            let call = calls.find(call_id, tag)?;
            call.session.clone().filter(|_| call.end(tag).is_some_and(|end| end.update))?
        };
        let (mut request, destination, other) = self.request_in_name(Method::Update, call_id, tag)?;
        let refresher = if session.refresher == tag { "uas" } else { "uac" };
        request.push(Name::SessionExpires, format!("{};refresher={refresher}", session.interval.as_secs()));
        request.push(Name::Supported, "timer");
        if let Some(contact) = crate::step::in_dialog::contact_of(&self.world, &other) {
            request.push(Name::Contact, contact);
        }
        Some((request, destination))
    }

    /// A request to the end with `tag`, in the name of the one it talks to, and that one.
    pub(super) fn request_in_name(
        &self,
        method: Method,
        call_id: &str,
        tag: &str,
    ) -> Option<(Request, Destination, End)> {
        let mut calls = self.world.calls.borrow_mut();
        let (end, other) = pair(calls.find_mut(call_id, tag)?, tag)?;
        let cseq = other.take_cseq();
        let (end, other) = (end.clone(), other.clone());
        drop(calls);
        let (request, destination) = self.request_to(method, call_id, &other.address, &end, cseq)?;
        Some((request, destination, other))
    }

    /// Takes the response to an UPDATE of ours; `false` when it is to somebody else's request.
    pub(super) fn refreshed(&mut self, client: Option<ClientId>, response: &Response) -> bool {
        let Some(client) = client.filter(|client| self.refreshes.contains_key(client)) else { return false };
        if response.status().is_final()
            && let Some(refresh) = self.refreshes.remove(&client)
        {
            match response.status().code() {
                // It does not know the dialog any more (RFC 3261 §12.2.1.2).
                408 | 481 => self.session_is_dead(&refresh),
                _ => self.session_is_alive(&refresh),
            }
        }
        true
    }

    /// An UPDATE of ours has no answer; `false` when it is somebody else's request. One that could not even be sent says
    /// nothing: a browser may be about to come back.
    pub(super) fn refresh_failed(&mut self, client: ClientId, sent: bool) -> bool {
        let Some(refresh) = self.refreshes.remove(&client) else { return false };
        if sent {
            self.session_is_dead(&refresh);
        }
        true
    }

    /// The refresher is there: the session begins anew, and the other end hears of it.
    fn session_is_alive(&mut self, refresh: &Refresh) {
        let now = self.world.now();
        let other = {
            let mut calls = self.world.calls.borrow_mut();
            let Some(call) = calls.find_mut(&refresh.call_id, &refresh.tag) else { return };
            let Some(session) = call.session.as_mut().filter(|session| session.refresher == refresh.tag)
            else {
                return;
            };
            (session.since, session.asked) = (now, false);
            let interval = session.interval;
            call.expires = now + interval + super::calls::GRACE;
            pair(call, &refresh.tag).map(|(_, other)| other.tag.clone())
        };
        if let Some(other) = other {
            self.refresh(&refresh.call_id, &other);
        }
    }

    fn session_is_dead(&mut self, refresh: &Refresh) {
        let call = self.world.calls.borrow_mut().remove(&refresh.call_id, &refresh.tag);
        if let Some(call) = call {
            self.end_both(&call, EndCause::SessionExpired);
        }
    }
}

/// The end with `tag`, and the one it talks to.
fn pair<'a>(call: &'a mut Call, tag: &str) -> Option<(&'a mut End, &'a mut End)> {
    let (caller, callee) = (&mut call.caller, call.callees.first_mut()?);
    match tag {
        _ if caller.tag == tag => Some((caller, callee)),
        _ if callee.tag == tag => Some((callee, caller)),
        _ => None,
    }
}
