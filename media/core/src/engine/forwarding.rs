//! Forwarding: whose sound goes to the operator's receiver, and what of it.

use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;

use super::{Call, Engine};
use crate::call::leg::{Forwarding, LegKey};
use crate::call::plan::MediaKind;
use crate::command::{Cause, Ends, Forward, Forwarded, ForwardedKind, ForwardedSound, Reply};
use crate::rtp::Header;
use crate::sockets::Sockets;

impl Call {
    /// Keeps the controller's words about the call.
    pub(super) fn note_metadata(&mut self, words: Option<&str>) {
        if let Some(words) = words {
            self.metadata = Some(words.into());
        }
    }
}

impl<S: Sockets> Engine<S> {
    /// The next thing for the operator's receiver.
    pub fn poll_forwarded(&mut self) -> Option<Forwarded> {
        self.forwarded.pop_front()
    }

    pub(super) fn forward(&mut self, forward: &Forward) -> Reply {
        let Ends { call_id, from_tag, label, address } = &forward.ends;
        let Some(&key) = self.by_id.get(call_id.as_str()) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        let metadata: Option<Arc<str>> = forward.metadata.as_deref().map(Into::into);
        if from_tag.is_some() || label.is_some() || address.is_some() {
            let legs = match self.ends_meant(&forward.ends) {
                Ok(legs) => legs,
                Err(failure) => return Reply::Error(failure),
            };
            legs.into_iter().for_each(|leg| self.forward_end(leg, forward.on, metadata.clone()));
        } else {
            self.forward_call(key, forward.on, metadata);
            if forward.all && !forward.on {
                self.forward_no_end(key);
            }
        }
        Reply::Done { warnings: forward.warnings.clone() }
    }

    fn forward_call(&mut self, key: usize, on: bool, metadata: Option<Arc<str>>) {
        let id = self.rng.random();
        let Some(call) = self.calls.get_mut(key) else { return };
        call.note_metadata(metadata.as_deref());
        let ended = switch(&mut call.forwarding, on, id, None);
        self.end_forwarding(ended);
    }

    fn forward_end(&mut self, key: LegKey, on: bool, metadata: Option<Arc<str>>) {
        let id = self.rng.random();
        let Some(leg) = self.paths.legs.get_mut(key) else { return };
        let ended = switch(&mut leg.forwarding, on, id, metadata);
        self.end_forwarding(ended);
    }

    /// No end of a call is forwarded for its own sake any more.
    fn forward_no_end(&mut self, key: usize) {
        let legs = self.calls.get(key).map(|call| call.legs.clone()).unwrap_or_default();
        legs.into_iter().for_each(|(_, leg)| self.forward_end(leg, false, None));
    }

    /// Ends the forwarding of a whole call.
    pub(super) fn stop_forwarding(&mut self, key: usize) {
        let ended = self.calls.get_mut(key).and_then(|call| call.forwarding.take());
        self.end_forwarding(ended);
    }

    /// Tells the receiver that a forwarding is over.
    pub(super) fn end_forwarding(&mut self, forwarding: Option<Forwarding>) {
        let ended = forwarding.map(|it| Forwarded { forwarding: it.id, what: ForwardedKind::Ended });
        self.forwarded.extend(ended);
    }

    /// Gives a packet of an end to the receiver, where its sound is forwarded.
    pub(super) fn forward_sound(
        &mut self,
        now: Instant,
        key: LegKey,
        line: usize,
        octets: &[u8],
        header: &Header,
    ) {
        let Some(leg) = self.paths.legs.get(key) else { return };
        let Some(call) = self.calls.get(leg.call) else { return };
        let Some(forwarding) = leg.forwarding.as_ref().or(call.forwarding.as_ref()) else { return };
        let Some(place) = leg.line(line).filter(|line| line.kind == MediaKind::Audio) else { return };
        let known = place.speaks.iter().find(|(number, _)| *number == header.payload_type);
        let (Some((_, format)), Ok(payload)) = (known, header.payload(octets)) else { return };
        let sound = ForwardedSound {
            now,
            call_id: Arc::clone(&call.id),
            metadata: forwarding.metadata.as_ref().or(call.metadata.as_ref()).cloned(),
            header: *header,
            format: *format,
            payload: payload.into(),
        };
        let what = ForwardedKind::Sound(sound);
        self.forwarded.push_back(Forwarded { forwarding: forwarding.id, what });
    }
}

/// Switches a forwarding on or off, with words where there are some; what ended thereby.
fn switch(
    current: &mut Option<Forwarding>,
    on: bool,
    id: u64,
    metadata: Option<Arc<str>>,
) -> Option<Forwarding> {
    if !on {
        return current.take();
    }
    let forwarding = current.get_or_insert(Forwarding { id, metadata: None });
    forwarding.metadata = metadata.or(forwarding.metadata.take());
    None
}
