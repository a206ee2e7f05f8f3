//! What the tests of several modules share.

use std::time::Instant;

/// Where virtual time begins. Only differences to it mean anything.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made otherwise; nothing waits for it to pass"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
