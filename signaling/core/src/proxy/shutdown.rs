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
            self.refuse_pending(server);
        }
        let calls = self.world.calls.borrow_mut().take_all();
        for call in calls {
            self.end_both(&call, EndCause::Shutdown);
        }
        self.settle();
    }

    /// Ends a call that is forgotten already, for a reason of ours.
    pub(super) fn end_both(&mut self, call: &Call, cause: EndCause) {
        media::delete(&self.world, &call.call_id, &call.caller.tag, None);
        self.hang_up(call);
        self.world.tell(Event::CallEnded(call.record(self.world.now(), cause)));
    }

    /// 503 to an INVITE that has no answer yet.
    fn refuse_pending(&mut self, server: ServerId) {
        let now = self.world.now();
        match self.servers.get_mut(&server) {
            Some(Server::Routing(Some(incoming))) => {
                let response = incoming.answer(&self.world, StatusCode::SERVICE_UNAVAILABLE, "", &[]);
                self.servers.insert(server, Server::Ended);
                self.table.respond(now, server, &response);
            }
            Some(Server::Relaying(fork))
                if !fork.done
                    && *fork.incoming.method() == Method::Invite
                    && !fork.incoming.is_in_dialog() =>
            {
                let response = fork.incoming.answer(&self.world, StatusCode::SERVICE_UNAVAILABLE, "", &[]);
                self.fail(server, &response);
                self.cancel_legs(server, None, &[]);
            }
            _ => {}
        }
    }

    /// BYE to both ends of an answered call.
    fn hang_up(&mut self, call: &Call) {
        let Some(callee) = call.callees.first().filter(|_| call.answered.is_some()) else { return };
        self.send_bye(&call.call_id, &call.caller.address, callee, call.caller.next_cseq());
        self.send_bye(&call.call_id, &callee.address, &call.caller, callee.next_cseq());
        self.end_late(call);
    }

    /// A BYE to one end in the name of the other.
    pub(super) fn send_bye(&mut self, call_id: &str, from: &str, end: &End, cseq: u32) {
        let Some((request, destination)) = self.request_to(Method::Bye, call_id, from, end, cseq) else {
            return;
        };
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
        let via =
            build::via(protocol, &self.world.sent_by(protocol, self.world.local_of(&destination)), &branch);
        let mut request =
            NewRequest::new(method, &uri, &via, from, &end.address, header_call_id(call_id), cseq);
        for route in &end.routes {
            request = request.header(Name::Route, route);
        }
        Some((request.build(), destination))
    }
}
