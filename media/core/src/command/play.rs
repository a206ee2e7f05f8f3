//! Sound and keys that the relay itself makes (ng `play media`, `stop media`, `play DTMF`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use crate::codec::wav::Clip as WavClip;
pub use crate::dtmf::Digit;

/// Which ends of a call a command means. With none of the three named, or with ng flag `all`, it means every end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// Which call.
    pub call_id: String,
    /// The end with this tag.
    pub from_tag: Option<String>,
    /// The end with this label.
    pub label: Option<String>,
    /// The end whose SDP had this address.
    pub address: Option<IpAddr>,
}

/// Says a piece of sound to the ends that are meant. Until it is over they hear nothing else, so that nobody has to block
/// the other end's media meanwhile; what is played begins when the way to the end is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Play {
    /// Who hears it.
    pub ends: Ends,
    /// The sound.
    pub source: Source,
    /// ng `repeat-times`: how often it is played; `None` for ever.
    pub times: Option<u32>,
    /// ng `start-pos`: where it begins.
    pub start: Duration,
    /// ng `repeat-duration`: it ends after so long, however often it was played.
    pub limit: Option<Duration>,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}

/// Where the sound of a [`Play`] comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// ng `file`: a WAV file at the relay, read by its shell.
    File(String),
    /// ng `blob`: a WAV file's octets.
    Blob(Bytes),
    /// ng `db-id`: there is no such database.
    Database,
    /// Read already.
    Clip(Arc<WavClip>),
}

/// Stops what is played to the ends that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopMedia {
    /// Who hears it.
    pub ends: Ends,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}

/// How an end sends and hears keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Keys {
    /// As its SDP says. A browser, which makes no tones, has telephone-events (RFC 4733) also where a phone has none: those that it
    /// sends are tones there.
    #[default]
    Agreed,
    /// As telephone-events: it is offered and answered them, and what the other end presses as tones becomes such.
    Events,
    /// As tones: it is offered and answered no telephone-events, and those of the other end become tones.
    Tones,
    /// By other means than media: the other end has telephone-events, and what it presses, also as tones, is told to the
    /// controller; the events go no further.
    Told,
}

/// Presses a key in place of the ends that are meant: those they talk to hear it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayDtmf {
    /// Who is taken to press it.
    pub ends: Ends,
    /// The key.
    pub digit: Digit,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}
