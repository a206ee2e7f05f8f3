//! The end of everything: both ends of every call hear a BYE.

use std::time::{Duration, Instant};

use super::{Proxy, Server};
use crate::dialog::{Call, End, header_call_id};
use crate::event::{EndCause, Event};
use crate::flow::Destination;
use crate::message::build::{self, NewRequest};
use crate::message::header::NameAddr;
use crate::message::{Method, Name, Request, StatusCode, Uri};
use crate::step::{in_dialog, location, media, outbound, relay};
use crate::topology::call_id::plain_branch;
use crate::transaction::ServerId;

/// How long answers to our BYEs are waited for.
const PATIENCE: Duration = Duration::from_secs(3);

impl Proxy {
    /// Ends every call with a BYE to both ends, those that ring with 503, and refuses what is yet to come.
    pub fn begin_shutdown(&mut self, now: Instant) {
        self.world.set_now(now);
        self.stopping = Some(now + PATIENCE);
        let open: Vec<ServerId> = self.servers.keys().copied().collect();
        for server in open {
            self.refuse_pending(server, StatusCode::SERVICE_UNAVAILABLE, None);
        }
        self.end_announcements();
        let calls = self.world.calls.borrow_mut().take_all();
        for call in calls {
            self.end_both(&call, EndCause::Shutdown);
        }
        self.settle();
    }

    /// Ends a call that is forgotten already, for a reason of ours.
    pub(super) fn end_both(&mut self, call: &Call, cause: EndCause) {
        self.world.stats.borrow_mut().expired_calls += u64::from(cause.is_expiry());
        media::delete(&self.world, &call.call_id, &call.caller.tag, None);
        self.hang_up(call, cause);
        self.count_toll(call, self.world.now());
        self.world.tell(Event::CallEnded(call.record(self.world.now(), cause)));
    }

    /// Refuses an INVITE that has no answer yet, and cancels its branches; `reason` says why (RFC 3326). Whether there was
    /// anything to refuse.
    pub(super) fn refuse_pending(
        &mut self,
        server: ServerId,
        status: StatusCode,
        reason: Option<&str>,
    ) -> bool {
        self.refuse_pending_with(server, status, "", reason)
    }

    /// The same with another reason phrase than the registered one.
    pub(super) fn refuse_pending_with(
        &mut self,
        server: ServerId,
        status: StatusCode,
        phrase: &str,
        reason: Option<&str>,
    ) -> bool {
        let now = self.world.now();
        let headers: Vec<_> = reason.map(|reason| (Name::Reason, reason.to_owned())).into_iter().collect();
        match self.servers.get_mut(&server) {
            Some(Server::Routing(Some(incoming))) => {
                let response = incoming.answer(&self.world, status, phrase, &headers);
                self.servers.insert(server, Server::Ended);
                self.table.respond(now, server, &response);
            }
            Some(Server::Relaying(fork))
                if !fork.done
                    && *fork.incoming.method() == Method::Invite
                    && !fork.incoming.is_in_dialog() =>
            {
                let response = fork.incoming.answer(&self.world, status, phrase, &headers);
                self.fail(server, &response);
                let reasons: Vec<&str> = reason.into_iter().collect();
                self.cancel_legs(server, None, &reasons);
            }
            _ => return false,
        }
        true
    }

    /// BYE to both ends of an answered call.
    fn hang_up(&mut self, call: &Call, cause: EndCause) {
        let Some(callee) = call.callees.first().filter(|_| call.answered.is_some()) else { return };
        let reason = cause.reason();
        let reason = Some(reason.as_str());
        self.send_bye(&call.call_id, &call.caller.address, callee, call.caller.next_cseq(), reason);
        self.send_bye(&call.call_id, &callee.address, &call.caller, callee.next_cseq(), reason);
        self.end_late(call);
    }

    /// A BYE to one end in the name of the other. `reason` says why (RFC 3326).
    pub(super) fn send_bye(&mut self, call_id: &str, from: &str, end: &End, cseq: u32, reason: Option<&str>) {
        let Some((mut request, destination)) = self.request_to(Method::Bye, call_id, from, end, cseq) else {
            return;
        };
        if let Some(reason) = reason {
            request.push(Name::Reason, reason);
        }
        if let Ok(client) = self.table.request(self.world.now(), request, destination) {
            self.byes.insert(client);
        }
    }

    /// An ACK to one end in the name of the other.
    pub(super) fn send_ack(&mut self, call_id: &str, from: &str, end: &End, cseq: u32) {
        if let Some((request, destination)) = self.request_to(Method::Ack, call_id, from, end, cseq) {
            self.table.send(destination, request.to_bytes());
        }
    }

    /// A request within a dialog (RFC 3261 §12.2.1.1). `None` when there is no way to the end any more.
    pub(super) fn request_to(
        &self,
        method: Method,
        call_id: &str,
        from: &str,
        end: &End,
        cseq: u32,
    ) -> Option<(Request, Destination)> {
        let mut end = end.clone();
        in_dialog::follow(&self.world, &mut end);
        let uri = Uri::parse(&end.target).ok()?;
        let uri = location::contact_of_gruu(&self.world, &uri).unwrap_or(uri);
        let destination = match (end.destination, &end.routes[..]) {
            (Some(destination), _) => destination,
            (None, [first, ..]) => {
                let first = NameAddr::parse("Route", first.as_bytes()).ok()?.uri().ok()?;
                // Whoever is to be looked up by name first is not waited for.
                *futures_util::FutureExt::now_or_never(outbound::next_hops(&self.world, &first))?.first()?
            }
            (None, []) => return None,
        };
        let protocol = relay::protocol_of(&destination);
        let branch = self.world.with_rng(build::random_branch);
        let masks = self.world.topoh().is_some_and(|topoh| topoh.mask_callid);
        let branch = if masks && !end.knows_masked { plain_branch(&branch) } else { branch };
        let via =
            build::via(protocol, &self.world.sent_by(protocol, self.world.local_of(&destination)), &branch);
        let mut request =
            NewRequest::new(method, &uri, &via, from, &end.address, header_call_id(call_id), cseq);
        for route in &end.routes {
            request = request.header(Name::Route, route);
        }
        let mut request = request.build();
        self.world.sign(&mut request);
        Some((request, destination))
    }
}
