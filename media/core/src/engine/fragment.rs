//! Candidates that come after the description (RFC 8838).

use std::time::Instant;

use super::Engine;
use crate::call::fragment::Trickled;
use crate::call::leg::LegKey;
use crate::command::{Cause, Exchange, Reply};
use crate::sdp::Candidate;
use crate::sockets::Sockets;

impl<S: Sockets> Engine<S> {
    /// Takes the fragment of the offerer, or of the answerer.
    pub(super) fn fragment(&mut self, now: Instant, exchange: &Exchange, offer: bool) -> Reply {
        let tag = if offer { Some(&exchange.from_tag) } else { exchange.to_tag.as_ref() };
        let call = self.by_id.get(exchange.call_id.as_str()).and_then(|key| self.calls.get(*key));
        let (Some(call), Some(tag)) = (call, tag) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        let trickled = match call.session.trickled(tag, &exchange.sdp) {
            Ok(trickled) => trickled,
            Err(failure) => return Reply::Error(failure),
        };
        let mut warnings = exchange.warnings.clone();
        if trickled.is_empty() {
            warnings.push("the fragment has no candidates of this generation of ICE".to_owned());
        }
        let legs = call.legs.clone();
        for it in trickled {
            let Some((_, key)) = legs.iter().find(|(id, _)| *id == it.leg) else { continue };
            self.take_candidates(*key, &it);
            self.drive(now, *key);
        }
        Reply::Done { warnings }
    }

    fn take_candidates(&mut self, key: LegKey, trickled: &Trickled) {
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        let usable = || trickled.candidates.iter().filter(|it| it.udp && it.port != 0);
        match trickled.line {
            None => {
                let Some(secure) = leg.secure.as_mut() else { return };
                usable()
                    .filter(|it| it.component == 1)
                    .for_each(|it| secure.ice.add_remote_candidate(&it.to_string()));
            }
            Some(index) => {
                let own = leg.line_mut(index).and_then(|line| line.own.as_mut()?.ice.as_mut());
                let agents = own.into_iter().flat_map(|ice| ice.agents.iter_mut());
                for (component, agent) in (1..).zip(agents) {
                    // The agent knows one component only.
                    usable().filter(|it| it.component == component).for_each(|it| {
                        agent.add_remote_candidate(&Candidate { component: 1, ..it.clone() }.to_string());
                    });
                }
            }
        }
    }
}
