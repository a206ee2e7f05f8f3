//! Before the parser: what is not even looked at.

use bytes::Bytes;

use crate::world::World;

/// Whether these bytes are worth parsing. What is refused here is counted and gets no answer, so that nobody can make us
/// work, or shout at a third party, with what is no SIP.
#[must_use]
pub fn admit(world: &World, bytes: &Bytes) -> bool {
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
    true
}
