//! What a source hears over UDP that has not shown that it is there. Whoever forges the address of somebody else makes us send to
//! him, so it is one answer for one request, and no longer than that where it can be.

use super::Proxy;
use crate::flow::{Flow, Protocol};
use crate::message::{Name, Request, Response, StatusCode};

impl Proxy {
    /// Whether the source of a message may be forged.
    pub(super) fn may_be_forged(&self, flow: &Flow) -> bool {
        let world = &self.world;
        flow.protocol == Protocol::Udp
            && world.sources.is_stranger(&world.settings.pike, world.now(), flow.remote)
    }

    /// Cuts an answer to a stranger to what may be said to one: where it is longer than its request it goes without Server and,
    /// unless it is a 405, without Allow, and in compact form; where it is longer than it may be, with the most preferred of
    /// several challenges, at last without Content-Length, which a datagram can do without (RFC 3261 §18.3); and not at all
    /// (`false`) where that does not help.
    pub(super) fn fits_stranger(&self, request: &Request, response: &mut Response) -> bool {
        let received = request.received_len();
        let most = received.saturating_mul(self.world.settings.limits.stranger_percent) / 100;
        if response.sent_len() > received {
            response.remove(Name::Server);
        }
        if response.sent_len() > received {
            // A 405 is none without it (RFC 3261 §21.4.6).
            if response.status() != StatusCode::METHOD_NOT_ALLOWED {
                response.remove(Name::Allow);
            }
            response.compact();
        }
        for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
            while response.sent_len() > most && response.raw_all(name).count() > 1 {
                let mut left = response.raw_all(name).count() - 1;
                response.retain_values(name, |_| {
                    left = left.saturating_sub(1);
                    left > 0
                });
            }
        }
        if response.sent_len() > most && response.body().is_empty() {
            response.remove(Name::ContentLength);
        }
        let fits = response.sent_len() <= most;
        self.world.stats.borrow_mut().unamplified += u64::from(!fits);
        fits
    }
}
