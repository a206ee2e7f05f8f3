//! What the engine keeps of a route that is transcoded.

use std::time::Instant;

use crate::call::plan::PayloadMap;
use crate::jitter::Sequencer;
use crate::packet::Packet;
use crate::rtp::Header;
use crate::transcode::Transcoder;

/// A packet that waits for its turn.
#[derive(Debug)]
pub struct Queued {
    /// Decrypted.
    pub packet: Packet,
    /// Its header.
    pub header: Header,
    /// What becomes of it.
    pub map: PayloadMap,
}

/// The transcoder of a route, and the order of what goes in.
#[derive(Debug)]
pub struct Transcoding {
    /// Received, not yet decoded.
    pub order: Sequencer<Queued>,
    /// Decodes and encodes.
    pub transcoder: Transcoder,
    /// The source that is decoded.
    pub ssrc: Option<u32>,
    /// How the listener calls what is made, and the last payload map by which something was.
    pub map: PayloadMap,
    /// Whether the listener hears what is made here, not packets that need no transcoding.
    pub current: bool,
}

impl Transcoding {
    /// One that has made nothing.
    #[must_use]
    pub fn new(transcoder: Transcoder, map: PayloadMap) -> Self {
        Self { order: Sequencer::default(), transcoder, ssrc: None, map, current: false }
    }

    /// When packets have waited enough, or silence is to be made.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [self.order.poll_timeout(), self.transcoder.poll_timeout()];
        due.into_iter().flatten().min().filter(|_| self.current)
    }
}
