//! Recording (ng `start recording`, `stop recording`, `pause recording`), and what is recorded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::Format;
use crate::rtp::Header;

/// Begins, pauses or ends the recording of a call, all of its ends at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which call.
    pub call_id: String,
    /// Which of the three.
    pub what: Recording,
    /// ng `metadata`: words of the controller's that are kept with the recording.
    pub metadata: Option<String>,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}

/// What a [`Record`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// Begins a recording, or goes on with one that was paused.
    Start,
    /// Leaves out what is said from now on.
    Pause,
    /// Ends it.
    Stop,
}

/// Something for the writer of recordings.
#[derive(Debug)]
pub struct Recorded {
    /// Names the recording; never used again.
    pub recording: u64,
    /// What it is.
    pub what: RecordedKind,
}

/// Something for the writer of recordings.
#[derive(Debug)]
pub enum RecordedKind {
    /// A recording begins.
    Begun(Begun),
    /// The controller's words, which may change.
    Metadata(String),
    /// A packet of an end, decrypted.
    Packet(RecordedPacket),
    /// It is over.
    Ended {
        /// Since 1970.
        at: Duration,
    },
}

/// A recording begins.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The call.
    pub call_id: Arc<str>,
    /// Tags of its ends, as far as they are known, the caller's first.
    pub tags: Vec<String>,
    /// Since 1970.
    pub at: Duration,
    /// The same moment on the clock of the packets.
    pub now: Instant,
    /// The controller's words.
    pub metadata: Option<String>,
}

/// A packet of an end, decrypted.
#[derive(Debug)]
pub struct RecordedPacket {
    /// When it came.
    pub now: Instant,
    /// Since 1970.
    pub at: Duration,
    /// It came from the end that made the call.
    pub caller: bool,
    /// The end.
    pub from: SocketAddr,
    /// Our port.
    pub to: SocketAddr,
    /// Of RTP, its header and how it is coded; `None` for RTCP and for what is not known.
    pub sound: Option<(Header, Format)>,
    /// The packet.
    pub octets: Box<[u8]>,
}
