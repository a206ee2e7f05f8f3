//! Room for what is new: a request that begins something is refused before it takes a transaction when there is no time for it,
//! or no place, or no future.

use super::Proxy;
use crate::event::Event;
use crate::flow::Flow;
use crate::message::{Method, Request};

impl Proxy {
    /// Tells when overload begins and ends.
    pub(super) fn note_load(&mut self) {
        match (self.refused, self.is_overloaded()) {
            (None, true) => {
                self.refused = Some(0);
                self.world.tell(Event::Overloaded { pending: self.routes.len() });
            }
            (Some(refused), false) => {
                self.refused = None;
                self.world.tell(Event::OverloadEnded { refused });
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Whether a request finds no room.
    pub(super) fn has_no_room(&self, request: &Request) -> bool {
        let full = self.overload.is_late()
            || self.overload.is_too_long(&self.world.accounts)
            || self.stopping.is_some()
            || self.routes.len() >= self.world.settings.limits.max_pending;
        full && request.to_tag().is_none()
            && !matches!(request.method(), Method::Ack | Method::Cancel | Method::Bye | Method::Prack)
            && !self.table.serves(request)
    }

    /// 503 with Retry-After.
    pub(super) fn refuse(&mut self, flow: &Flow, request: Request) {
        self.refused = self.refused.map(|refused| refused + 1);
        self.world.stats.borrow_mut().overload += 1;
        self.table.refuse(flow, request);
    }

    fn is_overloaded(&self) -> bool {
        self.overload.is_overloaded() || self.overload.is_too_long(&self.world.accounts)
    }
}
