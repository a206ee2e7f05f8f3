//! What an offer or answer decided, as data: the engine opens, connects and forwards by it and reads no SDP.
//!
//! A [`MediaPlan`] is the whole wanted state of one pair of legs, not a change: what is equal to the plan before
//! stays untouched (same fingerprint and ufrag: neither DTLS nor ICE restarts).

use std::net::{IpAddr, SocketAddr};

use crate::codec::Format;
use crate::command::{AddressFamily, Failure, LegKind, Manners};
use crate::sdp::{Candidate, Codec, Fingerprint};
use crate::srtp::{MasterKey, Profile};

/// Names a leg within its call; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u32);

/// What the session needs of the engine, which owns sockets, ICE agents and certificates.
pub trait Transports {
    /// Our end of a leg. The first call makes it; later calls return the same, with fresh ICE credentials when
    /// `request.restart_ice` is set.
    fn leg(&mut self, leg: LegId, request: &LegRequest<'_>) -> Result<LocalLeg, Failure>;

    /// Our ports for one m= line of a leg. `index` is the place of the line in the SDP of *that* leg (0 is the first);
    /// the same `(leg, index)` gets the same ports and SSRC every time. On a browser leg all lines share one port.
    fn media(&mut self, leg: LegId, index: usize, kind: MediaKind) -> Result<LocalMedia, Failure>;

    /// Other ports for one m= line of a legacy leg, with an ICE of their own, from now on. Those before are listened to until the
    /// next change.
    fn renew(&mut self, leg: LegId, index: usize) -> Result<(), Failure>;

    /// Our ICE on the ports of one m= line of a legacy leg, opened before. The first call makes it; later calls return the
    /// same, with fresh credentials when `restart` is set. `lite`: only answer checks (RFC 8445 §2.5), whatever the setting.
    fn line_ice(&mut self, leg: LegId, index: usize, lite: bool, restart: bool) -> Result<LocalIce, Failure>;

    /// The ports of one m= line of a legacy leg as candidates, for a line whose ICE is between the ends.
    fn line_candidates(&mut self, leg: LegId, index: usize) -> Result<Vec<Candidate>, Failure>;

    /// The fingerprint of our certificate by a hash function (RFC 8122 §5), SHA-256 where it is not known.
    fn fingerprint(&self, hash: &str) -> Fingerprint;

    /// What the relay calls itself in `a=rtpengine` (ng `loop protect`).
    fn instance(&self) -> &str;

    /// What the relay calls its software: `s=` of a description that is its own.
    fn software(&self) -> &str;

    /// A fresh tag for an end that the controller gave none.
    fn fresh_tag(&mut self) -> String;

    /// A fresh key for `a=crypto`.
    fn fresh_key(&mut self, profile: Profile) -> MasterKey;
}

/// Our ICE on the ports of one m= line.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalIce {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
    /// Of both components, the address of `c=` first.
    pub candidates: Vec<Candidate>,
}

/// What is wanted of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegRequest<'a> {
    /// Its kind; never changes during the life of a leg.
    pub kind: LegKind,
    /// The address to announce, where the controller gave one.
    pub announce: Option<IpAddr>,
    /// The interface to use, where the controller named one.
    pub interface: Option<&'a str>,
    /// The address family to announce, where the controller gave one.
    pub family: Option<AddressFamily>,
    /// Whether a restart of ICE is under way and fresh credentials are needed (RFC 8445 §9). Set for the exchange's
    /// SDP that opens or answers the restart, and only there.
    pub restart_ice: bool,
}

/// Our end of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalLeg {
    /// The address to announce.
    pub address: IpAddr,
    /// Session id for the `o=` line: random, constant for the leg.
    pub session_id: u64,
    /// RTCP CNAME, also the name of the media stream towards a browser: random, constant for the leg.
    pub cname: String,
    /// ICE and DTLS of a browser leg; `None` for a legacy leg.
    pub secure: Option<LocalSecure>,
}

/// ICE and DTLS of our end.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalSecure {
    /// `a=ice-ufrag`, at least 4 characters.
    pub ufrag: String,
    /// `a=ice-pwd`, at least 22 characters.
    pub pwd: String,
    /// Whether our agent is a lite one (RFC 8445 §2.5).
    pub lite: bool,
    /// All our candidates.
    pub candidates: Vec<Candidate>,
    /// Of our certificate.
    pub fingerprint: Fingerprint,
}

impl std::fmt::Debug for LocalIce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalIce").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LocalSecure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalSecure").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Our ports for one m= line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMedia {
    /// RTP.
    pub port: u16,
    /// RTCP where it is not multiplexed; legacy legs always have one.
    pub rtcp_port: Option<u16>,
    /// Synchronization source of all that we send to this end on this line.
    pub ssrc: u32,
}

/// The wanted state of one pair of legs.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaPlan {
    /// The two ends: the one that made the latest offer, then the one that got it.
    pub legs: [LegPlan; 2],
    /// The media lines that both ends know. Lines one end refused, or never saw, are not here: their ports may go.
    pub lines: Vec<LinePlan>,
    /// False between an offer and its answer.
    pub answered: bool,
}

/// One end of the pair.
#[derive(Debug, Clone, PartialEq)]
pub struct LegPlan {
    /// Which leg.
    pub id: LegId,
    /// Its kind.
    pub kind: LegKind,
    /// The other side of ICE; `None` on a legacy leg and before the end's first SDP.
    pub ice: Option<RemoteIce>,
    /// The other side of DTLS; `None` on a legacy leg and before the end's first SDP.
    pub dtls: Option<RemoteDtls>,
    /// Whether we are the controlling ICE agent (RFC 8445 §6.1.1): we made the first offer, or the other side is lite.
    pub controlling: bool,
}

/// The other side of ICE, as its latest SDP says.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteIce {
    /// `a=ice-ufrag`. Another value than in the plan before (with another `pwd`) is a restart (RFC 8445 §9).
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// Component 1 over UDP, with literal addresses only.
    pub candidates: Vec<Candidate>,
    /// Whether the other side is a lite agent.
    pub lite: bool,
    /// Whether no further candidates follow (RFC 8838 §8.2).
    pub end_of_candidates: bool,
}

impl std::fmt::Debug for RemoteIce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteIce")
            .field("ufrag", &self.ufrag)
            .field("lite", &self.lite)
            .finish_non_exhaustive()
    }
}

/// The other side of DTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDtls {
    /// The peer's certificate must match one of them (RFC 8122 §5).
    pub fingerprints: Vec<Fingerprint>,
    /// Our role; constant for the life of the association. Before the answer to our offer (`setup:actpass`) this is
    /// [`DtlsRole::Undecided`]: be ready as a server (RFC 8842 §5.3).
    pub role: DtlsRole,
}

/// Our role in the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We send the ClientHello (`setup:active`).
    Client,
    /// We wait for it (`setup:passive`).
    Server,
    /// The answer will tell.
    Undecided,
}

/// One media line that both ends know.
#[derive(Debug, Clone, PartialEq)]
pub struct LinePlan {
    /// What it carries.
    pub kind: MediaKind,
    /// Whether reports of the ends pass to the other instead of ours.
    pub rtcp_passes: bool,
    /// This line at both ends, in the order of [`MediaPlan::legs`].
    pub ends: [LineEnd; 2],
    /// `flows[0]`: what comes from `ends[0]` and goes to `ends[1]`; `flows[1]` the other way. Empty before the answer.
    pub flows: [FlowPlan; 2],
    /// What each end says comes back to it (ng `media echo`).
    pub echoes: [Option<FlowPlan>; 2],
}

/// The wanted state of an end that is in no pair: it publishes, or it is sent copies of what others say.
#[derive(Debug, Clone, PartialEq)]
pub struct PartyPlan {
    /// Which leg.
    pub leg: LegId,
    /// Whether we are the controlling ICE agent: we made the offer.
    pub controlling: bool,
    /// Its lines; those that are not here are silent.
    pub lines: Vec<PartyLine>,
}

/// A line of an end that is in no pair.
#[derive(Debug, Clone, PartialEq)]
pub struct PartyLine {
    /// What it carries.
    pub kind: MediaKind,
    /// The line at the end.
    pub end: LineEnd,
    /// What the end hears there; a publisher hears nothing.
    pub hears: Option<Hearing>,
}

/// What a subscriber is sent on a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Hearing {
    /// Whose line, and its place in the SDP of that leg.
    pub source: (LegId, usize),
    /// What becomes of its packets.
    pub flow: FlowPlan,
    /// Whether reports of the source pass to the subscriber instead of ours.
    pub rtcp_passes: bool,
    /// Whether reports of the subscriber pass to the source (ng `RTCP mirror`).
    pub rtcp_returns: bool,
}

/// What kind of media a line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
    /// Anything over UDP that is not RTP, as T.38: datagrams pass untouched.
    Other,
}

/// How a line with ports of its own is protected.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Protection {
    /// Plain RTP.
    #[default]
    None,
    /// SRTP, with keys that are not known yet: nothing passes.
    Awaited,
    /// The ends' own affair: every datagram passes as it is.
    Passed,
    /// SRTP with the keys of `a=crypto`.
    Sdes {
        /// We send with it.
        local: MasterKey,
        /// The end sends with it.
        remote: MasterKey,
    },
    /// SRTP with keys of DTLS.
    Dtls(RemoteDtls),
}

/// A line at one end.
#[derive(Debug, Clone, PartialEq)]
pub struct LineEnd {
    /// Its place in this end's SDP, the `index` of [`Transports::media`].
    pub index: usize,
    /// Where a legacy end wants its packets; `None` on a browser leg (ICE tells) and while unknown.
    pub remote: Option<RemoteAddress>,
    /// Whether the end wants to get media now (its own direction, hold taken into account).
    pub wants: bool,
    /// Whether the end may send media now.
    pub sends: bool,
    /// `a=mid` at a browser leg.
    pub mid: Option<String>,
    /// SSRCs the end announced; empty when it did not.
    pub ssrcs: Vec<u32>,
    /// Payload types the end may send on this line: tells bundled lines apart where the SSRC is not known.
    pub payload_types: Vec<u8>,
    /// RTCP feedback that this end understands.
    pub feedback: Vec<Feedback>,
    /// Whether RTP and RTCP share a port at this end (RFC 5761).
    pub rtcp_mux: bool,
    /// Milliseconds of audio per packet the end asked for.
    pub ptime: Option<u16>,
    /// The host that the end's signalling came from, where the controller told it.
    pub signalled_from: Option<IpAddr>,
    /// Whether its SDP has a private address, so that it must be behind a NAT.
    pub is_private: bool,
    /// Whether the peer's address may be learnt from its packets (legacy legs).
    pub learn: bool,
    /// Whether, once learnt, packets from elsewhere are dropped.
    pub strict_source: bool,
    /// In what the relay itself can speak to the end; `None` when the end wants no sound, or none that is known here.
    pub hears: Option<Hears>,
    /// What the payload types mean by which it sends sound that can be decoded here.
    pub speaks: Vec<(u8, Format)>,
    /// Whether keys that it presses as tones are told.
    pub ear: bool,
    /// What else is wished of the peer's address.
    pub manners: Manners,
    /// How a legacy leg's line is protected.
    pub protection: Protection,
    /// The other side of ICE on a legacy leg's own ports.
    pub ice: Option<RemoteIce>,
}

/// In what the relay itself can speak to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hears {
    /// Of sound.
    pub payload_type: u8,
    /// Its codec: the first of the end's that is known here.
    pub format: Format,
    /// Payload type and clock of telephone-event (RFC 4733).
    pub events: Option<(u8, u32)>,
}

impl Hears {
    /// What an end with `codecs` hears, packed as it asked for.
    pub fn of(codecs: &[Codec], ptime: Option<u16>) -> Option<Self> {
        let sound = codecs.iter().find_map(|codec| Some((codec.payload_type, Format::of(codec, ptime)?)));
        let (payload_type, format) = sound?;
        let events = || codecs.iter().filter(|codec| codec.is("telephone-event"));
        let same = events().find(|codec| codec.clock == format.clock);
        let events = same.or_else(|| events().next()).map(|codec| (codec.payload_type, codec.clock));
        Some(Self { payload_type, format, events })
    }
}

/// The payload types among `codecs` that can be decoded here.
pub fn decodable<'a>(codecs: impl IntoIterator<Item = &'a Codec>) -> Vec<(u8, Format)> {
    let known = codecs.into_iter().filter_map(|codec| Some((codec.payload_type, Format::of(codec, None)?)));
    known.collect()
}

/// Where a legacy end wants its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress {
    /// RTP.
    pub rtp: SocketAddr,
    /// RTCP: `a=rtcp`, or the RTP port plus one, or the same with rtcp-mux.
    pub rtcp: SocketAddr,
}

/// RTCP feedback (RFC 4585, RFC 5104).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// Generic NACK.
    Nack,
    /// Picture loss indication.
    Pli,
    /// Full intra request.
    Fir,
    /// Receiver estimated maximum bit rate (`goog-remb`).
    Remb,
}

/// What happens to packets on the way from one end to the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlowPlan {
    /// Whether packets pass at all now: the one sends and the other wants.
    pub open: bool,
    /// One entry per payload type that passes; others are dropped. Sorted by `from`, each `from` once.
    pub payloads: Vec<PayloadMap>,
    /// Header extension ids that pass (same id at both ends); all others are stripped. Empty: strip the whole header
    /// extension.
    pub extensions: Vec<u8>,
    /// Packets keep their SSRC, numbers, times and extensions, and payload types that are not listed pass as they are.
    pub transparent: bool,
    /// The other end has the key that protects them, and nothing of them changes on the way: what cannot be opened here
    /// is for that end to judge.
    pub unread: bool,
}

impl FlowPlan {
    /// What becomes of payload type `payload_type`.
    pub fn payload(&self, payload_type: u8) -> Option<&PayloadMap> {
        let at = self.payloads.binary_search_by_key(&payload_type, |map| map.from).ok()?;
        self.payloads.get(at)
    }
}

/// What becomes of one payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadMap {
    /// As received.
    pub from: u8,
    /// As sent on.
    pub to: u8,
    /// Clock of the received payload, Hz.
    pub from_clock: u32,
    /// Clock of the sent payload, Hz. It differs for telephone-event (rescale duration and timestamp, RFC 4733 §2.3) and
    /// for what is transcoded.
    pub to_clock: u32,
    /// What it is.
    pub payload: Payload,
}

impl PayloadMap {
    /// The same conversion by way of a transcoder, in packets of `ptime` milliseconds, where octets could be converted.
    #[must_use]
    pub fn transcoded(self, ptime: Option<u16>) -> Self {
        let numbers = match self.payload {
            Payload::UlawToAlaw => [0, 8],
            Payload::AlawToUlaw => [8, 0],
            _ => return self,
        };
        let law = |number, clock| Some(Codec { clock, ..Codec::from_static(number)? });
        let format = |number, clock, ptime| Format::of(&law(number, clock)?, ptime);
        let from = format(numbers[0], self.from_clock, None);
        match from.zip(format(numbers[1], self.to_clock, ptime)) {
            Some((from, to)) => {
                Self { payload: Payload::Transcode { from, to, along: Along::default() }, ..self }
            }
            None => self,
        }
    }

    /// Whether packets keep all but their payload type.
    pub fn is_untouched(&self) -> bool {
        let is_same = matches!(self.payload, Payload::Media | Payload::Dtmf | Payload::ComfortNoise);
        is_same && self.from_clock == self.to_clock
    }

    /// What passes as it is.
    pub fn same(payload_type: u8) -> Self {
        Self {
            from: payload_type,
            to: payload_type,
            from_clock: 8000,
            to_clock: 8000,
            payload: Payload::Media,
        }
    }
}

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Audio or video, passed untouched.
    Media,
    /// telephone-event (RFC 4733).
    Dtmf,
    /// Comfort noise (RFC 3389).
    ComfortNoise,
    /// PCMU in, PCMA out: octet for octet.
    UlawToAlaw,
    /// PCMA in, PCMU out.
    AlawToUlaw,
    /// Decoded and encoded again: the two ends share no codec.
    Transcode {
        /// As received.
        from: Format,
        /// As sent, packed as the receiver asked for.
        to: Format,
        /// What is said of the sound by other means.
        along: Along,
    },
    /// telephone-event, heard as tones in the sound of this format.
    Tone {
        /// As sent.
        to: Format,
    },
    /// telephone-event whose keys are told to the controller, and that goes no further.
    Told,
}

impl Payload {
    /// Whether it is telephone-event, whatever becomes of it.
    #[must_use]
    pub fn is_event(&self) -> bool {
        matches!(self, Self::Dtmf | Self::Tone { .. } | Self::Told)
    }
}

/// What is said of transcoded sound by other means, because the sender has not got them: their payload types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Along {
    /// Keys that are heard in it (RFC 4733).
    pub events: Option<u8>,
    /// Silence (RFC 3389).
    pub noise: Option<u8>,
}
