//! What a source hears over UDP that has not shown that it is there. Whoever forges the address of somebody else makes us send to
//! him, so it is one answer for one request, and no longer than that where it can be.

use super::Proxy;
use crate::flow::{Flow, Protocol};
use crate::message::{Request, Response, terse};

impl Proxy {
    /// Whether the source of a message may be forged.
    pub(super) fn may_be_forged(&self, flow: &Flow) -> bool {
        let world = &self.world;
        flow.protocol == Protocol::Udp
            && world.sources.is_stranger(&world.settings.pike, world.now(), flow.remote)
    }

    /// Cuts an answer to a stranger to what may be said to one ([`terse`]), and where nothing is lost by it to no more than his
    /// request; whether it has no more than he may hear.
    pub(super) fn fits_stranger(&self, request: &Request, response: &mut Response) -> bool {
        let received = request.received_len();
        terse::trim(response, request, received);
        let fits = terse::shorten(response, request, self.stranger_hears(received));
        self.world.stats.borrow_mut().unamplified += u64::from(!fits);
        fits
    }

    /// Whether `answer` to this datagram may be sent where that says it comes from.
    pub(super) fn may_hear(&self, flow: &Flow, datagram: &[u8], answer: &[u8]) -> bool {
        let fits = answer.len() <= self.stranger_hears(datagram.len()) || !self.may_be_forged(flow);
        self.world.stats.borrow_mut().unamplified += u64::from(!fits);
        fits
    }

    /// The longest answer to so many bytes of somebody who may not be there.
    fn stranger_hears(&self, bytes: usize) -> usize {
        bytes.saturating_mul(self.world.settings.limits.stranger_percent) / 100
    }
}
