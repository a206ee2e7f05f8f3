//! The media half's core: it decides, the `media` shell does.
//!
//! Nothing here reads a clock, opens a socket or starts a thread: time, bytes and randomness come in as arguments.
#![forbid(unsafe_code)]

// In layer order: a module may use those above it. Blank lines keep rustfmt from sorting them.

pub mod stats;

pub mod packet;

pub mod sockets;

pub mod demux;

pub mod rtp;

pub mod rtcp;

pub mod srtp;

pub mod stun;

pub mod ice;

pub mod dtls;

pub mod sdp;

pub mod codec;

pub mod dtmf;

pub mod jitter;

pub mod transcode;

pub mod player;

pub mod screen;

pub mod tape;

pub mod command;

pub mod ng;

pub mod call;

pub mod forward;

pub mod engine;

#[cfg(test)]
mod testing;
