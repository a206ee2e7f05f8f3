//! Calls in virtual time: phones, browsers, the proxy and the relay, with seeded loss and reordering.

#[path = "sim/audio.rs"]
mod audio;
#[path = "sim/crowd.rs"]
mod crowd;
#[path = "sim/dialog.rs"]
mod dialog;
#[path = "sim/forking.rs"]
mod forking;
#[path = "sim/keys.rs"]
mod keys;
#[path = "sim/loss.rs"]
mod loss;
#[path = "sim/takeover.rs"]
mod takeover;
#[path = "sim/timers.rs"]
mod timers;
#[path = "sim/transfer.rs"]
mod transfer;
