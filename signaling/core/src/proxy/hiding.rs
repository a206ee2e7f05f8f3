//! Topology hiding at the edge of the proxy: behind everything else on the way out, before everything else on the way in.

use super::Proxy;
use crate::dialog::header_call_id;
use crate::flow::Outbound;
use crate::message::Message;
use crate::step::relay::{protocol_of, transport_parameter};
use crate::topology::topos::{Changed, Here};

impl Proxy {
    /// A message of ours as it leaves. What is no SIP, such as the answer to a keep-alive, stays.
    pub(super) fn masked(&self, outbound: Outbound) -> Outbound {
        let Some(topoh) = self.world.topoh() else { return outbound };
        let Ok(mut message) = Message::parse_with(outbound.bytes.clone(), &self.parse_limits()) else {
            return outbound;
        };
        match &self.world.topos {
            None => topoh.mask(&mut message),
            Some(topos) => {
                let protocol = protocol_of(&outbound.destination);
                let sent_by = self.world.sent_by(protocol, self.world.local_of(&outbound.destination));
                let here = Here { sent_by: &sent_by, transport: transport_parameter(protocol) };
                self.save(topos.mask(&mut message, here, self.world.unix_now()));
            }
        }
        if topoh.mask_callid {
            topoh.mask_call_id(&mut message);
        }
        Outbound { bytes: message.to_bytes(), ..outbound }
    }

    /// A message that has come, as it would be if nothing were hidden.
    pub(super) fn unmask(&self, message: &mut Message) {
        let Some(topoh) = self.world.topoh() else { return };
        if topoh.mask_callid {
            topoh.unmask_call_id(message);
        }
        if let Some(topos) = &self.world.topos {
            self.save(topos.unmask(message, self.world.unix_now()));
        }
        topoh.unmask(message);
    }

    /// What belongs to calls of this worker is kept, and what has run out is forgotten.
    pub(super) fn tidy_hidden(&mut self) {
        let Some(topos) = self.world.topos.clone() else { return };
        let now = self.world.unix_now();
        if now >= self.next_renewal {
            self.next_renewal = now + topos.params().clean_interval.as_secs();
            let calls = self.world.calls.borrow();
            let answered = calls.iter().filter(|call| call.answered.is_some());
            self.save(topos.renew_calls(answered.map(|call| header_call_id(&call.call_id)), now));
        }
        if topos.is_to_be_cleaned(now) {
            let gone = topos.clean(now);
            if !gone.is_empty() {
                self.world.outside.store.forget_hidden(gone);
            }
        }
    }

    fn save(&self, changed: Changed) {
        for end in changed {
            self.world.outside.store.save_hidden(end);
        }
    }
}
