//! Forwarding (ng `start forwarding`, `stop forwarding`), and what is forwarded.

use std::sync::Arc;
use std::time::Instant;

use super::Ends;
use crate::codec::Format;
use crate::rtp::Header;

/// Has what ends say sent to the operator's receiver, decoded, or no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forward {
    /// Whose sound. With no end named it is that of the whole call, also of ends to come.
    pub ends: Ends,
    /// From now on; else no longer.
    pub on: bool,
    /// ng flag `all`: to end it for the call ends it for those too that were named.
    pub all: bool,
    /// ng `metadata`: words of the controller's, which the receiver gets before the sound.
    pub metadata: Option<String>,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}

/// Something for the receiver.
#[derive(Debug)]
pub struct Forwarded {
    /// Which forwarding; never used again.
    pub forwarding: u64,
    /// What it is.
    pub what: ForwardedKind,
}

/// Something for the receiver.
#[derive(Debug)]
pub enum ForwardedKind {
    /// A packet of sound.
    Sound(ForwardedSound),
    /// It is over.
    Ended,
}

/// A packet of sound, decrypted.
#[derive(Debug)]
pub struct ForwardedSound {
    /// When it came.
    pub now: Instant,
    /// The call.
    pub call_id: Arc<str>,
    /// The controller's words, those about the end before those about the call.
    pub metadata: Option<Arc<str>>,
    /// Of the packet.
    pub header: Header,
    /// How it is coded.
    pub format: Format,
    /// What is behind the header.
    pub payload: Box<[u8]>,
}
