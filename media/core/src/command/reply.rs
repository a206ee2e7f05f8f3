//! What the relay answers, and what it tells of its calls.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::rtp::quality::{Conditions, Impairment, Progress};
use crate::stats::Numbers;

/// What the relay answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To [`Command::Ping`](super::Command::Ping).
    Pong,
    /// To an offer or answer: the SDP for the other end.
    Sdp {
        /// The session description to pass on.
        sdp: Bytes,
        /// What had no effect.
        warnings: Vec<String>,
    },
    /// To a subscribe request.
    Subscription(Box<Subscription>),
    /// To a delete or query.
    Call {
        /// What is known of the call; `None` when it was not asked for or is not known.
        report: Option<Box<CallReport>>,
        /// What had no effect, or that there was no such call.
        warnings: Vec<String>,
    },
    /// To what has nothing to tell but that it was done.
    Done {
        /// What had no effect.
        warnings: Vec<String>,
    },
    /// To a [`Command::Play`](super::Command::Play).
    Playing {
        /// How long the sound is, once through.
        duration: Duration,
        /// What had no effect.
        warnings: Vec<String>,
    },
    /// To a list.
    Calls(Vec<String>),
    /// To statistics, from one worker.
    Numbers(Box<Numbers>),
    /// To statistics, of all workers: rtpengine's key names, in order.
    Statistics(Vec<(String, Value)>),
    /// To sessions.
    Sessions(Vec<SessionReport>),
    /// It was not done.
    Error(Failure),
}

impl Reply {
    /// An error reply.
    pub fn error(cause: Cause, reason: impl Into<String>) -> Self {
        Self::Error(Failure { cause, reason: reason.into() })
    }
}

/// A subscription that waits for its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The offer for the subscriber.
    pub sdp: Bytes,
    /// Names the subscription.
    pub to_tag: String,
    /// Whom it hears, in the order of the m= lines.
    pub sources: Vec<SubscribedTag>,
    /// What had no effect.
    pub warnings: Vec<String>,
}

/// An end that a subscription hears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscribedTag {
    /// Its tag.
    pub tag: String,
    /// Its label.
    pub label: Option<String>,
    /// Its lines.
    pub medias: Vec<SubscribedMedia>,
}

/// An m= line that a subscription hears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscribedMedia {
    /// Its place in its own SDP, from 1.
    pub index: usize,
    /// `audio`, `video` …
    pub media_type: String,
    /// `a=label` of the line in the offer, where it has one.
    pub label: Option<String>,
    /// The direction as we have it: `sendonly` is an end that only receives.
    pub mode: &'static str,
}

/// Why a command was not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// Whose fault it is.
    pub cause: Cause,
    /// A sentence for the controller (`error-reason`).
    pub reason: String,
}

/// Whose fault a failure is; the in-process controller chooses the SIP status by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The command lacks something or is unreadable.
    Malformed,
    /// The SDP cannot be used: 488.
    NotAcceptable,
    /// No ports or no room for another call: 503.
    Full,
    /// The same, told to a controller that said it knows the word (ng `supports`): it turns to another relay.
    LoadLimit,
    /// There is no such call, end or offer: 481 or 500.
    UnknownCall,
    /// The relay has no such command.
    NotImplemented,
    /// The relay failed: 500.
    Internal,
}

/// A value of the ng dictionary in a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Integer(i64),
    /// A number that bencode cannot say; there it becomes a string.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A dictionary, in order.
    Dictionary(Vec<(String, Value)>),
}

/// One line about a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionReport {
    /// Its Call-ID.
    pub call_id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Who began it over ng.
    pub proxy: Option<SocketAddr>,
    /// It was deleted and ends soon.
    pub ending: bool,
}

/// What is known of a call (ng `query`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallReport {
    /// Seconds since 1970.
    pub created: u64,
    /// The same, microseconds within that second.
    pub created_micros: u32,
    /// Seconds since 1970 of the last offer or answer.
    pub last_signal: u64,
    /// Who began it over ng.
    pub proxy: Option<SocketAddr>,
    /// It was deleted and ends soon.
    pub ending: bool,
    /// How long it has been.
    pub age: Duration,
    /// One entry per end.
    pub tags: Vec<TagReport>,
    /// How each source has sounded.
    pub sources: Vec<Progress>,
    /// RTP of all streams.
    pub rtp: Counters,
    /// RTCP of all streams.
    pub rtcp: Counters,
}

/// One end of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TagReport {
    /// Its tag; empty when the end has not answered yet.
    pub tag: String,
    /// Its label.
    pub label: Option<String>,
    /// It made the first offer of its pair.
    pub offerer: bool,
    /// The branch of a forked INVITE that it belongs to.
    pub via_branch: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// Tag of the other end.
    pub in_dialogue_with: Option<String>,
    /// One entry per m= line.
    pub medias: Vec<MediaReport>,
}

/// One m= line of an end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MediaReport {
    /// From 1.
    pub index: usize,
    /// `audio`, `video` …
    pub media_type: String,
    /// The m= line's protocol.
    pub protocol: String,
    /// What it sends, as `PCMA/8000`; `None` before the first packet.
    pub codec: Option<String>,
    /// rtpengine's words: `initialized`, `rtcp-mux`, `DTLS-SRTP`, `ICE` …
    pub flags: Vec<String>,
    /// RTP first, then RTCP where it has its own port.
    pub streams: Vec<StreamReport>,
}

/// One port of an m= line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamReport {
    /// The address announced to the end; `None` where there is none yet.
    pub local_address: Option<IpAddr>,
    /// Ours.
    pub local_port: u16,
    /// Where packets go to.
    pub endpoint: Option<SocketAddr>,
    /// What the SDP of the peer said.
    pub advertised_endpoint: Option<SocketAddr>,
    /// `AES_CM_128_HMAC_SHA1_80` …
    pub crypto_suite: Option<String>,
    /// Seconds since 1970; 0 before the first.
    pub last_packet: u64,
    /// rtpengine's words: `RTP`, `RTCP`, `filled`, `confirmed`, `ICE` …
    pub flags: Vec<String>,
    /// What was received.
    pub stats: Counters,
    /// How well; `None` on an RTCP port and before the first packet.
    pub quality: Option<Quality>,
}

/// How well an m= line is heard, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quality {
    /// The SSRC that is received.
    pub ssrc: u32,
    /// Interarrival jitter of what is received (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Packets lost on the way to us, since the call began.
    pub lost: u64,
    /// From us to the peer and back, as its RTCP tells.
    pub round_trip: Option<Duration>,
    /// What the peer's RTCP says of what it is sent.
    pub remote: Option<RemoteQuality>,
}

impl Quality {
    /// The share of packets that did not come, 0 to 1, of a stream of which `received` did.
    #[must_use]
    pub fn loss(&self, received: u64) -> f64 {
        match received + self.lost {
            0 => 0.0,
            sent => self.lost as f64 / sent as f64,
        }
    }

    /// The mean opinion score of the whole stream (ITU-T G.107 annex B), of which `received` packets came. `codec` is its encoding
    /// name, where that is known.
    #[must_use]
    pub fn mos(&self, received: u64, codec: Option<&str>) -> f64 {
        let impairment = Impairment::of(codec.unwrap_or_default());
        let (loss, jitter, round_trip) = (self.loss(received), self.jitter, self.round_trip);
        Conditions { loss, jitter, round_trip, impairment }.mos()
    }
}

/// What a peer's last RTCP report says of what it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoteQuality {
    /// Interarrival jitter.
    pub jitter: Duration,
    /// Packets lost, since the stream began; with duplicates it may be negative.
    pub lost: i32,
    /// Share of packets lost since the report before, in 1/256.
    pub fraction_lost: u8,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
    /// Packets that were dropped.
    pub errors: u64,
}
