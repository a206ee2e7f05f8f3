//! Topology hiding at the edge of the proxy: behind everything else on the way out, before everything else on the way in.

use std::rc::Rc;

use futures_util::future::FutureExt as _;

use super::{Done, Proxy, Reading};
use crate::dialog::header_call_id;
use crate::event::Event;
use crate::flow::{Inbound, Outbound};
use crate::message::Message;
use crate::outside::Unavailable;
use crate::step::relay::{protocol_of, transport_parameter};
use crate::topology::topos::{Changed, Here, HiddenEnd};

/// Requests of one worker that may wait for what the store knows of a name: whoever invents names has so many looked for at once.
const MOST_SOUGHT: usize = 64;

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

    /// A request for a name that another server may have given is put aside until the store has said whose it is; `None` for any
    /// other, and when too many wait already.
    pub(super) fn seek(&mut self, inbound: &Inbound, message: &Message) -> Option<()> {
        let Message::Request(request) = message else { return None };
        let topos = self.world.topos.as_ref().filter(|_| request.to_tag().is_some())?;
        let uuid = topos.lacks(request.uri_text()).filter(|_| self.sought < MOST_SOUGHT)?.to_owned();
        self.sought += 1;
        let (world, inbound) = (Rc::clone(&self.world), inbound.clone());
        let ask = async move {
            let ends = world.outside.store.hidden(&uuid).await;
            Done::Sought { inbound, ends }
        };
        self.begun.push_back(ask.boxed_local());
        Some(())
    }

    /// What the store has said of a name: the request goes on, whatever it is.
    pub(super) fn sought(&mut self, inbound: Inbound, ends: Result<Vec<HiddenEnd>, Unavailable>) {
        self.sought -= 1;
        match ends {
            Ok(ends) => {
                if let Some(topos) = &self.world.topos {
                    topos.load(ends, self.world.unix_now());
                }
            }
            Err(error) => {
                let what = format!("hidden ends: {error}");
                self.world.tell(Event::OutsideFailed { call_id: String::new(), what });
            }
        }
        self.read(inbound, Reading::Again);
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
