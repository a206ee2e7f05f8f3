//! Draining: no new calls, while those that there are go on, until none is left and the process can be replaced.

use super::{Proxy, Server};
use crate::message::{Method, Name, Request};

impl Proxy {
    /// Refuses new calls from now on with 503 and Retry-After, or takes them again. Registrations and everything within calls
    /// go on meanwhile.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Calls that would be lost if this worker stopped now: those that it has, and INVITEs that are still on the route.
    #[must_use]
    pub fn unfinished_calls(&self) -> usize {
        let on_the_route = |server: &&Server| matches!(server, Server::Routing(Some(_)));
        self.calls() + self.servers.values().filter(on_the_route).count()
    }

    /// Whether a request would begin a call that outlasts those that there are. One that takes the place of an end of a call
    /// (Replaces, RFC 3891) or joins one (RFC 3911), or comes through here again on its way, belongs to a call that goes on.
    pub(super) fn comes_while_draining(&self, request: &Request) -> bool {
        self.draining
            && *request.method() == Method::Invite
            && request.to_tag().is_none()
            && request.raw(Name::Replaces).is_none()
            && request.raw(Name::Join).is_none()
            && !self.has_call(request.call_id())
            && !self.table.serves(request)
    }
}
