//! The one language of control: what may be asked of the relay, and what it answers.
//!
//! The words are those of rtpengine's ng protocol, typed. Commands come in process (`Relay::execute`) or as bytes
//! through [`crate::ng`]; both doors lead to the same [`Command`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

pub use crate::rtp::quality::{Progress, Sample};
pub use crate::screen::{Mode, Screening, Trigger};

mod forward;
mod play;
mod record;
mod reply;
mod wishes;

pub use forward::{Forward, Forwarded, ForwardedKind, ForwardedSound};
pub use play::{Digit, Ends, Keys, Play, PlayDtmf, Source, StopMedia, WavClip};
pub use record::{Begun, Record, Recorded, RecordedKind, RecordedPacket, Recording};
pub use reply::{
    CallReport, Cause, Counters, Failure, MediaReport, Quality, RemoteQuality, Reply, SessionReport,
    StreamReport, SubscribedMedia, SubscribedTag, Subscription, TagReport, Value,
};
pub use wishes::{AttributeEdits, Bundling, CodecEdits, IceLite, Manners, Osrtp, Sdes, SdpEdits, Tos};

/// What is asked of the relay.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Are you there? Answered with [`Reply::Pong`].
    Ping,
    /// An SDP offer on its way; answered with the SDP for the other end.
    Offer(Box<Exchange>),
    /// The SDP answer to an earlier offer; answered with the SDP for the offerer.
    Answer(Box<Exchange>),
    /// An SDP whose media is taken for others to hear (ng `publish`); answered with ours.
    Publish(Box<Exchange>),
    /// Somebody wants copies of what ends of a call send (ng `subscribe request`); answered with [`Reply::Subscription`].
    SubscribeRequest(Box<Exchange>),
    /// The SDP answer to that; `to_tag` names the subscription.
    SubscribeAnswer(Box<Exchange>),
    /// Ends a subscription.
    Unsubscribe(Unsubscribe),
    /// Has two ends of a call talk to each other (ng `connect`).
    Connect(Connect),
    /// Ends a call, or one branch of it.
    Delete(Delete),
    /// What is known of a call.
    Query(Query),
    /// Holds back what an end sends, or lets it pass again.
    Gate(Gate),
    /// Says a piece of sound to ends of a call.
    Play(Box<Play>),
    /// Stops that.
    StopMedia(StopMedia),
    /// Presses a key for an end.
    PlayDtmf(PlayDtmf),
    /// Records a call, or no longer.
    Record(Record),
    /// Sends what ends say to the operator's receiver, or no longer.
    Forward(Forward),
    /// The Call-IDs of running calls.
    List {
        /// At most so many; ng's default is 32.
        limit: usize,
    },
    /// Counters of the whole relay.
    Statistics,
    /// One line about each running call.
    Sessions,
    /// Changes settings while calls run. Does not come over ng.
    Tune(Tuning),
    /// A command of the ng protocol, or of nobody, that this relay does not execute. Answered with an error.
    NotImplemented {
        /// The command's word as received.
        name: String,
    },
}

impl Command {
    /// Its name in ng.
    pub fn name(&self) -> &str {
        match self {
            Self::Ping => "ping",
            Self::Offer(_) => "offer",
            Self::Answer(_) => "answer",
            Self::Delete(_) => "delete",
            Self::Query(_) => "query",
            Self::Publish(_) => "publish",
            Self::SubscribeRequest(_) => "subscribe request",
            Self::SubscribeAnswer(_) => "subscribe answer",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Connect(_) => "connect",
            Self::Play(_) => "play media",
            Self::StopMedia(_) => "stop media",
            Self::PlayDtmf(_) => "play DTMF",
            Self::Record(record) => match record.what {
                Recording::Start => "start recording",
                Recording::Pause => "pause recording",
                Recording::Stop => "stop recording",
            },
            Self::Forward(forward) if forward.on => "start forwarding",
            Self::Forward(_) => "stop forwarding",
            Self::Gate(gate) => match (gate.what, gate.closed != Some(false)) {
                (Gated::Dtmf, true) => "block DTMF",
                (Gated::Dtmf, false) => "unblock DTMF",
                (Gated::Media, true) => "block media",
                (Gated::Media, false) => "unblock media",
                (Gated::Sound, true) => "silence media",
                (Gated::Sound, false) => "unsilence media",
            },
            Self::List { .. } => "list",
            Self::Statistics => "statistics",
            Self::Sessions => "sessions",
            Self::Tune(_) => "tune",
            Self::NotImplemented { name } => name,
        }
    }

    /// The Call-ID that decides which worker executes the command; `None` when any can.
    pub fn call_id(&self) -> Option<&str> {
        match self {
            Self::Offer(exchange)
            | Self::Answer(exchange)
            | Self::Publish(exchange)
            | Self::SubscribeRequest(exchange)
            | Self::SubscribeAnswer(exchange) => Some(&exchange.call_id),
            Self::Unsubscribe(unsubscribe) => Some(&unsubscribe.call_id),
            Self::Connect(connect) => Some(&connect.call_id),
            Self::Delete(delete) => Some(&delete.call_id),
            Self::Query(query) => Some(&query.call_id),
            Self::Gate(gate) => Some(&gate.call_id),
            Self::Play(play) => Some(&play.ends.call_id),
            Self::StopMedia(stop) => Some(&stop.ends.call_id),
            Self::PlayDtmf(play) => Some(&play.ends.call_id),
            Self::Record(record) => Some(&record.call_id),
            Self::Forward(forward) => Some(&forward.ends.call_id),
            Self::Ping
            | Self::List { .. }
            | Self::Statistics
            | Self::Sessions
            | Self::Tune(_)
            | Self::NotImplemented { .. } => None,
        }
    }
}

/// An SDP offer or answer on its way through the relay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exchange {
    /// Call-ID of the dialog.
    pub call_id: String,
    /// Tag of the end that made the *offer* of this exchange, also in the answer.
    pub from_tag: String,
    /// Tag of the end that answers; always known in an answer.
    pub to_tag: Option<String>,
    /// Names the branch of a forked INVITE; the same value in the offer and its answers.
    pub via_branch: Option<String>,
    /// ng `from-tags`: whom a subscription is to hear.
    pub from_tags: Vec<String>,
    /// The session description as received (RFC 8866).
    pub sdp: Bytes,
    /// The end from which `sdp` comes: the offerer in an offer, the answerer in an answer.
    pub sender: Side,
    /// The end that gets the SDP of the reply.
    pub receiver: Side,
    /// ng `transport-protocol`: the m= protocol towards the receiver. It decides the kind of the receiver's leg where
    /// [`Side::kind`] is not given.
    pub transport_protocol: Option<TransportProtocol>,
    /// ng `ICE`: whether the receiver's SDP has ICE.
    pub ice: Option<Ice>,
    /// ng `TOS`: type of service of what the call's ends are sent.
    pub tos: Tos,
    /// ng `drop-traffic`: nothing that the ends of the call say goes on, from now on or no longer.
    pub drop_traffic: Option<bool>,
    /// ng `passthrough`: datagrams of the ends pass as they are, and what they agree on is their own affair.
    pub passthrough: Option<bool>,
    /// ng `DTLS`: the role the relay takes where it may choose.
    pub dtls: Option<Dtls>,
    /// ng `DTLS-reverse`: the role the relay will take towards the sender of an offer.
    pub dtls_reverse: Option<Dtls>,
    /// ng `DTLS-fingerprint`: the hash function of `a=fingerprint` (RFC 8122 §5) in lower case, as `sha-1`.
    pub dtls_fingerprint: Option<String>,
    /// ng `ICE-lite`.
    pub ice_lite: Option<IceLite>,
    /// ng `SDES`.
    pub sdes: Sdes,
    /// ng `OSRTP`.
    pub osrtp: Osrtp,
    /// ng `codec`.
    pub codec: CodecEdits,
    /// ng `sdp-attr`.
    pub sdp_attr: SdpEdits,
    /// ng `ptime`: milliseconds of audio per packet announced to the receiver.
    pub ptime: Option<u16>,
    /// ng `ptime-reverse`: the same to the sender, in the answer.
    pub ptime_reverse: Option<u16>,
    /// ng `delay-buffer`: what the sender sends goes on so much later.
    pub delay: Option<Duration>,
    /// ng `rtcp-mux`, towards a legacy receiver; browsers always multiplex (RFC 8834 §4.5).
    pub rtcp_mux: Vec<RtcpMux>,
    /// ng `bundle`.
    pub bundle: Bundling,
    /// ng `flags`.
    pub flags: Flags,
    /// ng `replace`.
    pub replace: Replace,
    /// ng `media echo`.
    pub media_echo: Option<MediaEcho>,
    /// ng `media handover`, `NAT-wait` and `pierce NAT`: of the sender's address.
    pub manners: Manners,
    /// ng `address family`: of the addresses announced to the receiver.
    pub address_family: Option<AddressFamily>,
    /// Whether the receiver may be offered codecs behind the sender's that the relay makes of them (of an offer). The answer
    /// shows whether one is needed; without it ends that share no codec are refused.
    pub transcoding: bool,
    /// ng `received from`: where the signalling of the sender came from.
    pub received_from: Option<IpAddr>,
    /// ng `record call`: whether the call is recorded from now on.
    pub record: Option<bool>,
    /// ng `metadata`: words that are kept with the recording.
    pub metadata: Option<String>,
    /// Keys and flags of the message that had no effect, to be returned as `warning`.
    pub warnings: Vec<String>,
    /// The relay has as many calls as it may: no further one begins.
    pub no_new_call: bool,
    /// ng `supports`: the controller knows the result `load limit`.
    pub knows_load_limit: bool,
    /// How many values of lists the message had so far; bounded while it is read.
    pub values: usize,
    /// Who asks, where the command came over a socket.
    pub proxy: Option<SocketAddr>,
}

/// One end of an exchange as the controller knows it. What is `None` follows from the SDP and the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// Its kind, where the controller knows better than the SDP says.
    pub kind: Option<LegKind>,
    /// The address announced to this end (ng `media address` for the receiver).
    pub announce: Option<IpAddr>,
    /// Name of the interface that faces this end (ng `direction`, `from-interface`, `to-interface`).
    pub interface: Option<String>,
    /// ng `label` (sender) and `set-label`/`to-label`: a name for reports.
    pub label: Option<String>,
    /// How it sends and hears keys. Counts where [`Exchange::transcoding`] is set.
    pub keys: Keys,
}

/// What kind of endpoint a leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegKind {
    /// ICE, DTLS-SRTP, rtcp-mux, BUNDLE: a WebRTC browser.
    Browser,
    /// Plain RTP/AVP with its own RTCP port.
    Legacy,
}

/// ng `transport-protocol`: the `proto` field of an m= line (RFC 8866 §5.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    /// RFC 3551.
    RtpAvp,
    /// RFC 4585.
    RtpAvpf,
    /// RFC 3711.
    RtpSavp,
    /// RFC 5124.
    RtpSavpf,
    /// RFC 5764.
    UdpTlsRtpSavp,
    /// RFC 5764 with the feedback profile: what browsers speak.
    UdpTlsRtpSavpf,
    /// As the offer had it.
    Accept,
}

impl TransportProtocol {
    /// The protocols of RTP with their names.
    const NAMES: [(Self, &str); 6] = [
        (Self::RtpAvp, "RTP/AVP"),
        (Self::RtpAvpf, "RTP/AVPF"),
        (Self::RtpSavp, "RTP/SAVP"),
        (Self::RtpSavpf, "RTP/SAVPF"),
        (Self::UdpTlsRtpSavp, "UDP/TLS/RTP/SAVP"),
        (Self::UdpTlsRtpSavpf, "UDP/TLS/RTP/SAVPF"),
    ];

    /// From the m= line; `None` for what is no RTP.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(protocol, _)| *protocol)
    }

    /// As in the m= line; empty for [`TransportProtocol::Accept`].
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(protocol, _)| *protocol == self).map_or("", |(_, name)| name)
    }

    /// Whether media is encrypted (RFC 3711).
    pub fn is_srtp(self) -> bool {
        !matches!(self, Self::RtpAvp | Self::RtpAvpf | Self::Accept)
    }
}

/// ng `ICE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ice {
    /// Strip it.
    Remove,
    /// Replace it by the relay's own.
    Force,
    /// The relay's own when the leg is a browser's.
    Default,
    /// Add the relay as a relay candidate.
    ForceRelay,
    /// Offer it, do without if the other end does.
    Optional,
}

/// ng `DTLS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtls {
    /// No DTLS-SRTP towards the receiver.
    Off,
    /// The relay is the DTLS server.
    Passive,
    /// The relay is the DTLS client.
    Active,
}

/// ng `media echo`: ends hear themselves instead of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaEcho {
    /// Nobody hears anything.
    Blackhole,
    /// The receiver of the SDP hears itself.
    Forward,
    /// Its sender does.
    Backwards,
    /// Both do.
    Both,
}

/// ng `rtcp-mux` (RFC 5761).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpMux {
    /// Offer it even when the sender did not.
    Offer,
    /// Offer it with no fallback.
    Require,
    /// Two ports towards the receiver even when the sender multiplexes.
    Demux,
    /// Accept it towards the sender.
    Accept,
    /// Refuse it towards the sender.
    Reject,
}

/// ng `address family`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// `IP4`.
    Ip4,
    /// `IP6`.
    Ip6,
}

/// ng `flags` that have an effect here. Their spellings are in `ng::flags`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// Send to the address in the SDP, even a private one when the signalling came from a public address.
    pub trust_address: bool,
    /// Do not learn the peer's address from its packets.
    pub asymmetric: bool,
    /// No `a=rtcp` line.
    pub no_rtcp_attribute: bool,
    /// `a=rtcp` with its address.
    pub full_rtcp_attribute: bool,
    /// Announce `trickle` in `a=ice-options`.
    pub trickle_ice: bool,
    /// No `a=extmap` towards the receiver.
    pub strip_extmap: bool,
    /// Directions stand where the sender wrote them.
    pub original_sendrecv: bool,
    /// Answer with the first format alone.
    pub single_codec: bool,
    /// Keep our ports when the sender's change, or open others; `None`: keep them where there is ICE.
    pub port_latching: Option<bool>,
    /// Mark the SDP, and leave one alone that has come round.
    pub loop_protect: bool,
    /// Reports of our own instead of those of the ends.
    pub generate_rtcp: bool,
    /// A subscription hears all ends.
    pub all: bool,
    /// A subscription for a recorder (RFC 7866): its lines get `a=label`.
    pub siprec: bool,
    /// Reports of a subscriber pass to whom it hears.
    pub rtcp_mirror: bool,
    /// A subscriber may take other formats than its sources send.
    pub allow_transcoding: bool,
    /// The sender of an offer is answered without ICE.
    pub reject_ice: bool,
    /// It is no description but a fragment with further candidates (RFC 8840).
    pub fragment: bool,
}

/// ng `replace`. Connection addresses are always replaced; without `origin` the address in `o=` stays the sender's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replace {
    /// The address in `o=`.
    pub origin: bool,
    /// The whole `o=` line, with a session id of the relay's own.
    pub origin_full: bool,
    /// The user name in `o=`.
    pub username: bool,
    /// `s=`.
    pub session_name: bool,
    /// The version in `o=`, so that it rises exactly when the body changes.
    pub sdp_version: bool,
    /// Raise the version with every SDP sent.
    pub force_increment_sdp_version: bool,
    /// `c=` also where it is all zeros (the hold of RFC 2543).
    pub zero_address: bool,
    /// The session's `c=` also where every m= section has its own.
    pub session_connection: bool,
}

impl Replace {
    /// What the in-process controller asks for: nothing of the far end's `o=` line shows.
    pub const ALL: Self = Self {
        origin: true,
        origin_full: true,
        username: true,
        session_name: false,
        sdp_version: true,
        force_increment_sdp_version: false,
        zero_address: true,
        session_connection: true,
    };
}

/// Ends a call, or a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delete {
    /// Which call.
    pub call_id: String,
    /// Without it the whole call ends.
    pub from_tag: Option<String>,
    /// Only the pair of these two tags.
    pub to_tag: Option<String>,
    /// Only this branch of a forked INVITE.
    pub via_branch: Option<String>,
    /// Leave the report out of the reply (ng flag `fast`).
    pub fast: bool,
    /// ng `delete delay`: it ends after so long, if nothing is heard of it meanwhile.
    pub delay: Duration,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
    /// An operator ends it, not the controller: it is counted as such.
    pub forced: bool,
}

/// Settings to be changed while calls run; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tuning {
    /// A call without RTP for so long ends.
    pub media_timeout: Option<Duration>,
    /// The same for a call where no media is to flow.
    pub silent_timeout: Option<Duration>,
    /// The same for a call whose offer nobody has answered.
    pub offer_timeout: Option<Duration>,
    /// A call that is so old ends; zero for never.
    pub final_timeout: Option<Duration>,
}

/// Ends a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Which call.
    pub call_id: String,
    /// Which subscription.
    pub to_tag: String,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}

/// Has two ends of a call talk to each other, and no longer to those they talked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// Which call.
    pub call_id: String,
    /// The one.
    pub from_tag: String,
    /// The other.
    pub to_tag: String,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}

/// Holds back a part of what ends send (ng `block DTMF`, `block media`, `silence media` and their opposites).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Which call.
    pub call_id: String,
    /// Only what this end sends; without it, `label` and `address`, the call, whoever is or will be in it.
    pub from_tag: Option<String>,
    /// Only what the end with this label sends.
    pub label: Option<String>,
    /// Only what ends send whose SDP has this address.
    pub address: Option<IpAddr>,
    /// Of the whole call: what was held back of single ends passes again too.
    pub all: bool,
    /// Which part.
    pub what: Gated,
    /// Held back from now on; else let pass. `None`: as it is.
    pub closed: Option<bool>,
    /// What becomes of keys where they are not just held back (ng `DTMF-security`, `trigger`, `DTMF-delay`).
    pub screening: Option<Box<Screening>>,
    /// ng `delay-buffer`: everything of these ends goes on so much later.
    pub delay: Option<Duration>,
    /// Keys and flags of the message that had no effect.
    pub warnings: Vec<String>,
}

/// What a [`Gate`] holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gated {
    /// Telephone-events.
    Dtmf,
    /// Everything else.
    Media,
    /// Sound: silence takes its place.
    Sound,
}

/// Asks what is known of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Which call.
    pub call_id: String,
    /// Only this end.
    pub from_tag: Option<String>,
    /// Only this other end.
    pub to_tag: Option<String>,
}
