//! Before the parser: what is not even looked at.

use bytes::Bytes;

use crate::event::Event;
use crate::flow::Flow;
use crate::sources::Admission;
use crate::world::World;

/// Whether these bytes are worth parsing. What is refused here is counted and gets no answer, so that nobody can make us
/// work, or shout at a third party, with what is no SIP.
#[must_use]
pub fn admit(world: &World, flow: &Flow, bytes: &Bytes) -> bool {
    let mut stats = world.stats.borrow_mut();
    stats.received += 1;
    // CRLF keep-alive (RFC 5626 §4.4.1); over streams the framing answers it.
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        stats.keepalives += 1;
        return false;
    }
    if bytes.len() > world.settings.limits.max_message_size {
        stats.oversized += 1;
        return false;
    }
    drop(stats);
    // Responses are to what we have asked; whatever else is one costs little.
    bytes.starts_with(b"SIP/2.0 ") || is_within_measure(world, flow, bytes)
}

/// Whether its source sends no more than it may. A STUN request counts too: its answer is larger than itself, and its source may
/// be forged.
fn is_within_measure(world: &World, flow: &Flow, bytes: &Bytes) -> bool {
    let ours = || world.settings.listeners.iter().any(|listener| listener.addr.ip() == flow.remote.ip());
    let admission = world.sources.admit(&world.settings.pike, world.now(), flow.remote);
    if admission == Admission::Pass || ours() {
        return true;
    }
    world.stats.borrow_mut().flooded += 1;
    if admission == Admission::Ban {
        let word = bytes.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
        let method = String::from_utf8_lossy(&word[..word.len().min(32)]).into_owned();
        world.tell(Event::Flooded { source: flow.remote, method, ban: world.settings.pike.ban });
    }
    false
}
