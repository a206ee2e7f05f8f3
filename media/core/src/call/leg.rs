//! What the engine keeps of one end of a call.
//!
//! `Call → Leg → Line → Route`: a call has legs, a leg has the lines of its SDP, a line knows by its routes where its
//! packets go. Everything a packet needs lies here, decided when offer and answer were exchanged.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::history::History;
use crate::call::latch::Latch;
use crate::call::plan::{Feedback, FlowPlan, Hears, LegId, MediaKind, Payload, PayloadMap};
use crate::call::sink::Sink;
use crate::call::transcoding::Transcoding;
use crate::codec::Format;
use crate::command::{Counters, Gated, LegKind};
use crate::dtls::Dtls;
use crate::dtmf::{Detector, Ear, Injection};
use crate::ice::{Credentials, IceAgent, IceState};
use crate::jitter::Playout;
use crate::packet::Packet;
use crate::player::Player;
use crate::rtcp::ntp::PeerClock;
use crate::rtcp::reports::{LastSenderReport, RemoteView};
use crate::rtp::{Header, ReceiverStats};
use crate::screen::{Content, Screen, Screening, Usage};
use crate::sockets::SocketId;
use crate::srtp::SrtpContext;

/// The slot of a leg in the engine.
pub type LegKey = usize;

/// SSRCs remembered for a transport, to tell its lines apart.
const MAX_SOURCES: usize = 16;

/// One end of a call.
#[derive(Debug)]
pub struct Leg {
    /// Its call's slot.
    pub call: usize,
    /// Its name in the plan.
    pub id: LegId,
    /// Never used again, unlike the slot: tells a timer of this leg from one of its predecessor.
    pub serial: u64,
    /// Its kind.
    pub kind: LegKind,
    /// The address announced to the end.
    pub address: IpAddr,
    /// The address its ports are bound to; unspecified for all.
    pub bind: IpAddr,
    /// For the `o=` line.
    pub session_id: u64,
    /// RTCP CNAME.
    pub cname: String,
    /// ICE and DTLS of a browser leg.
    pub secure: Option<Secure>,
    /// By their place in the leg's SDP.
    pub lines: Vec<Option<Line>>,
    /// When its timer is set to.
    pub scheduled: Option<Instant>,
    /// The end's wall clock, by its sender reports.
    pub clock: PeerClock,
    /// When the next RTCP reports are due.
    pub next_report: Instant,
    /// Datagrams dropped: malformed, from strangers, not authentic.
    pub dropped: u64,
    /// How fast the end sends what was accepted.
    pub rate: Rate,
    /// Whether a first packet was told.
    pub heard: bool,
    /// What of the end's packets is held back.
    pub gates: Gates,
    /// For how long they are (ng `delay-buffer`).
    pub delay: Duration,
    /// What is held back of all ends of the call.
    pub call_gates: Gates,
    /// What becomes of the end's keys, beyond being held back.
    pub screening: Option<Box<Screening>>,
    /// What becomes of those of all ends of the call; it goes before the end's own.
    pub call_screening: Option<Box<Screening>>,
    /// What the end says goes to the operator's receiver, whatever is wished of the call.
    pub forwarding: Option<Forwarding>,
}

/// Sound that goes to the operator's receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Never used again.
    pub id: u64,
    /// The controller's words about it.
    pub metadata: Option<Arc<str>>,
}

/// How fast packets come, as far as it is needed to stop a flood: time is looked at only when many have come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    packets: u32,
    since: Option<Instant>,
}

/// Over which packets are counted.
const RATE_TIME: Duration = Duration::from_secs(1);

impl Rate {
    /// Whether another packet may come, where `most` may in a second; 0: as many as like.
    pub fn admits(&mut self, now: Instant, most: u32) -> bool {
        if self.packets < most || most == 0 {
            self.packets = self.packets.wrapping_add(1);
            return true;
        }
        if self.since.is_some_and(|since| now.saturating_duration_since(since) < RATE_TIME) {
            return false;
        }
        *self = Rate { packets: 1, since: Some(now) };
        true
    }
}

/// What of an end's packets is held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gates {
    /// Telephone-events.
    pub dtmf: bool,
    /// Everything else.
    pub media: bool,
    /// Sound, for which silence goes on.
    pub sound: bool,
}

impl Gates {
    /// Holds a part back, or lets it pass.
    pub fn set(&mut self, what: Gated, closed: bool) {
        match what {
            Gated::Dtmf => self.dtmf = closed,
            Gated::Media => self.media = closed,
            Gated::Sound => self.sound = closed,
        }
    }
}

/// ICE, DTLS and SRTP of a browser leg: one transport for all its lines (BUNDLE, RFC 8843).
#[derive(Debug)]
pub struct Secure {
    /// The shared port.
    pub socket: SocketId,
    /// Its number.
    pub port: u16,
    /// Our ICE credentials.
    pub credentials: Credentials,
    /// The ICE agent.
    pub ice: IceAgent,
    /// What was last told of ICE.
    pub state: IceState,
    /// The DTLS association, once the peer's SDP is known.
    pub dtls: Option<Dtls>,
    /// The association failed or was closed; another begins only with new ICE or DTLS parameters.
    pub dtls_failed: bool,
    /// Protects what is sent and opens what comes, once DTLS is through.
    pub srtp: Option<SrtpContext>,
    /// The nominated address of the peer.
    pub selected: Option<SocketAddr>,
    /// Where its last DTLS record came from.
    pub dtls_source: Option<SocketAddr>,
    /// When the peer last showed, by authentic STUN from there, that it wants what is sent to [`Secure::address`].
    pub consent: Option<Instant>,
    /// Addresses that STUN admitted.
    pub admitted: Vec<SocketAddr>,
    /// Whose packets belong to which line, learnt.
    pub by_ssrc: Vec<(u32, usize)>,
}

/// How long media flows without a sign of consent (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(30);

impl Secure {
    /// Where media goes as long as there is consent.
    pub fn address(&self) -> Option<SocketAddr> {
        self.selected.or(self.dtls_source)
    }

    /// Where media goes at `now`: nowhere when the peer's consent has expired (RFC 7675 §5.1). A host that took over
    /// the address of a browser that vanished must not be flooded with a call's media.
    pub fn target(&self, now: Instant) -> Option<SocketAddr> {
        let consent = self.consent.is_some_and(|at| now.saturating_duration_since(at) < CONSENT);
        self.address().filter(|_| consent)
    }

    /// Takes authentic STUN from `source` as consent if that is where media goes, or could begin to go. Requests count like
    /// responses: they need the same credentials, a lite agent sees nothing else, and some browsers leave checks on a
    /// selected pair unanswered.
    pub fn note_consent(&mut self, now: Instant, source: SocketAddr) {
        if self.address().is_none_or(|address| address == source) {
            self.consent = Some(now);
        }
    }
}

/// One m= line at one end.
#[derive(Debug)]
pub struct Line {
    /// Audio or video.
    pub kind: MediaKind,
    /// What is sent to the end.
    pub sink: Sink,
    /// RTP port of a legacy leg.
    pub rtp: Option<Port>,
    /// RTCP port of a legacy leg.
    pub rtcp: Option<Port>,
    /// The ports before these, to which the end may still send.
    pub former: [Option<Port>; 2],
    /// RTP and RTCP share a port.
    pub rtcp_mux: bool,
    /// The end gets the reports of those it hears, and none of ours.
    pub rtcp_passes: bool,
    /// ICE, DTLS and SRTP on the line's own ports.
    pub own: Option<Box<Own>>,
    /// Loss and jitter of what the end sends.
    pub reception: ReceiverStats,
    /// The end's last sender report.
    pub sender_report: LastSenderReport,
    /// When the end was last asked for a picture on account of a start.
    pub asked_for_picture: Option<Instant>,
    /// How many empty datagrams may still open the end's way through its NAT (ng `pierce NAT`).
    pub piercing: Option<u8>,
    /// When the next one is due.
    pub pierce_at: Option<Instant>,
    /// What the end says of what it is sent.
    pub remote_view: Option<RemoteView>,
    /// How what the end sends sounds.
    pub quality: crate::rtp::quality::History,
    /// The payload type that came last, digits left out.
    pub last_payload_type: Option<u8>,
    /// RTP received.
    pub received: Counters,
    /// RTCP received.
    pub received_rtcp: Counters,
    /// When RTP was last received.
    pub last_rtp: Option<Instant>,
    /// Where its packets go.
    pub routes: Vec<Route>,
    /// `a=mid`.
    pub mid: Option<String>,
    /// SSRCs the end announced.
    pub ssrcs: Vec<u32>,
    /// Payload types the end may send.
    pub payload_types: Vec<u8>,
    /// What the payload types mean by which it sends sound that can be decoded here.
    pub speaks: Vec<(u8, Format)>,
    /// RTCP feedback the end understands.
    pub feedback: Vec<Feedback>,
    /// What the end was sent last, where it may ask for it again: video of a browser that understands NACK.
    pub history: Option<History>,
    /// Who of several branches is heard.
    pub floor: Floor,
    /// Its packets that are held back.
    pub playout: Option<Box<Playout<Held>>>,
    /// Keeps the end's keys from the others.
    pub screen: Option<Box<Screen>>,
    /// Tells the keys the end presses, and the clock it was made for.
    pub keys: Option<(u32, Detector)>,
    /// Tells those that it presses as tones.
    pub ear: Option<Box<Ear>>,
    /// What the relay itself says to the end.
    pub speech: Speech,
}

/// What the relay itself says to an end.
#[derive(Debug, Default)]
pub struct Speech {
    /// In what it can.
    pub hears: Option<Hears>,
    /// Plays a piece of sound: the end then hears nothing else.
    pub player: Option<Box<Player>>,
    /// Whether the end was sent anything of it.
    pub heard: bool,
    /// How often something was played.
    pub count: u32,
    /// Numbers what is played where the packets of others keep their numbers.
    pub sink: Option<Box<Sink>>,
    /// Keys pressed in the place of another end, and which.
    pub injection: Option<Box<(LegKey, Injection)>>,
}

impl Speech {
    /// The end hears something else from now on.
    pub fn set_hears(&mut self, hears: Option<Hears>) {
        self.hears = hears;
        self.player.take_if(|player| !hears.is_some_and(|hears| player.set_format(hears.format)));
        self.injection.take_if(|_| hears.is_none());
    }

    /// When there is something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let player = self.player.as_ref().and_then(|player| player.poll_timeout());
        let keys = self.injection.as_ref().and_then(|injection| injection.1.poll_timeout());
        player.into_iter().chain(keys).min()
    }
}

/// A packet that is held back.
#[derive(Debug)]
pub struct Held {
    /// Decrypted.
    pub packet: Packet,
    /// Its header.
    pub header: Header,
    /// When it came.
    pub arrived: Instant,
}

/// A UDP port of a legacy leg.
#[derive(Debug)]
pub struct Port {
    /// The socket.
    pub socket: SocketId,
    /// Its number.
    pub port: u16,
    /// The family of the socket's address.
    pub is_ipv6: bool,
    /// Where the end sends from.
    pub latch: Latch,
    /// The socket of the same number on an address of the other family, for ICE.
    pub other: Option<SocketId>,
}

impl Port {
    /// Where to send from and to; nowhere as long as the end's address is not known.
    pub fn way(&self) -> Option<(SocketId, SocketAddr)> {
        let to = self.latch.target()?;
        let other = self.other.filter(|_| to.is_ipv6() != self.is_ipv6);
        Some((other.unwrap_or(self.socket), to))
    }
}

/// ICE, DTLS and SRTP of one line on ports of its own.
#[derive(Debug, Default)]
pub struct Own {
    /// Nothing may pass unprotected.
    pub required: bool,
    /// Protects what is sent and opens what comes, once there are keys.
    pub srtp: Option<SrtpContext>,
    /// The DTLS association.
    pub dtls: Option<Dtls>,
    /// It failed or was closed.
    pub dtls_failed: bool,
    /// Where its last record came from.
    pub dtls_source: Option<SocketAddr>,
    /// When that was.
    pub dtls_heard: Option<Instant>,
    /// Sources whose handshake came to nothing: no further one is tried with them.
    pub dtls_refused: Vec<SocketAddr>,
    /// ICE.
    pub ice: Option<OwnIce>,
}

/// ICE on the ports of one line: an agent for RTP and one for RTCP, with the same credentials.
#[derive(Debug)]
pub struct OwnIce {
    /// Ours.
    pub credentials: Credentials,
    /// By component.
    pub agents: [IceAgent; 2],
    /// What each of them selected.
    pub selected: [Option<SocketAddr>; 2],
    /// Our addresses, that of the leg first.
    pub addresses: Vec<IpAddr>,
}

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The talk of a pair: of several that speak to an end one is heard.
    Talk,
    /// A copy for a subscriber, who has no part in the talk.
    Copy,
    /// A subscriber's reports on the copy.
    Reports,
}

/// The way to another leg.
#[derive(Debug)]
pub struct Route {
    /// Which leg.
    pub leg: LegKey,
    /// Which of its lines.
    pub line: usize,
    /// Whether RTP passes now.
    pub open: bool,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether RTCP passes as it is.
    pub rtcp: bool,
    /// Packets keep what they came with, and payload types that are not listed pass.
    pub transparent: bool,
    /// Packets that cannot be opened pass as they are.
    pub unread: bool,
    /// Header extension ids that pass.
    pub extensions: Vec<u8>,
    /// Makes what the other end hears, once a packet came that must be transcoded.
    pub transcoding: Option<Box<Transcoding>>,
    payloads: Vec<PayloadMap>,
    /// Payload type to place in `payloads`, 255 for none.
    table: Box<[u8; 128]>,
}

impl Route {
    /// The route that `flow` describes.
    pub fn new(leg: LegKey, line: usize, flow: &FlowPlan, purpose: Purpose, rtcp: bool) -> Route {
        let mut table = Box::new([u8::MAX; 128]);
        for (at, map) in flow.payloads.iter().enumerate().take(128) {
            if let Some(entry) = table.get_mut(usize::from(map.from)) {
                *entry = at as u8;
            }
        }
        Route {
            leg,
            line,
            open: flow.open,
            purpose,
            rtcp,
            transparent: flow.transparent,
            unread: flow.unread,
            extensions: flow.extensions.clone(),
            transcoding: None,
            payloads: flow.payloads.clone(),
            table,
        }
    }

    /// Octets are not converted: what is left out between them could not be filled.
    pub fn transcode_laws(&mut self, ptime: Option<u16>) {
        self.payloads.iter_mut().for_each(|map| *map = map.transcoded(ptime));
    }

    /// What becomes of a payload type.
    pub fn payload(&self, payload_type: u8) -> Option<PayloadMap> {
        let at = *self.table.get(usize::from(payload_type))?;
        let found = self.payloads.get(usize::from(at)).copied();
        found.or_else(|| self.transparent.then(|| PayloadMap::same(payload_type)))
    }

    /// Payload type and clock of the telephone-events that its sender may send.
    pub fn events(&self) -> Option<(u8, u32)> {
        let is_event = |map: &&PayloadMap| matches!(map.payload, Payload::Dtmf | Payload::Tone { .. });
        self.payloads.iter().find(is_event).map(|map| (map.from, map.from_clock))
    }

    /// Where a timestamp of the sender lies on the time line of what goes out here, before the sink's own offset.
    pub fn timestamp(&self, received: u32) -> Option<u32> {
        match self.transcoding.as_ref().filter(|transcoding| transcoding.current) {
            Some(transcoding) => transcoding.transcoder.timestamp(received),
            None => Some(received),
        }
    }
}

/// Which of several branches an end hears: the one that answered last, and until it sends, the one that does.
#[derive(Debug, Default)]
pub struct Floor {
    /// How many legs have a route to this line.
    pub speakers: usize,
    /// Who is heard.
    pub holder: Option<LegKey>,
    /// Who answered last.
    pub preferred: Option<LegKey>,
    last: Option<Instant>,
}

/// How long the holder of the floor may be silent before another branch is heard.
const FLOOR_SILENCE: Duration = Duration::from_secs(1);

impl Floor {
    /// Whether a packet of `leg` is heard now.
    pub fn admits(&mut self, now: Instant, leg: LegKey) -> bool {
        if self.speakers > 1 && self.holder != Some(leg) {
            let silent = self.last.is_none_or(|last| now.saturating_duration_since(last) > FLOOR_SILENCE);
            if self.holder.is_some() && self.preferred != Some(leg) && !silent {
                return false;
            }
            if self.preferred == Some(leg) {
                self.preferred = None;
            }
        }
        self.holder = Some(leg);
        self.last = Some(now);
        true
    }

    /// `leg` answered.
    pub fn answered(&mut self, leg: LegKey) {
        if self.holder != Some(leg) {
            self.preferred = Some(leg);
        }
    }

    /// `leg` is gone.
    pub fn forget(&mut self, leg: LegKey) {
        if self.holder == Some(leg) {
            self.holder = None;
            self.last = None;
        }
        if self.preferred == Some(leg) {
            self.preferred = None;
        }
    }
}

impl Line {
    /// A line that nothing is known of yet.
    pub fn new(kind: MediaKind, sink: Sink) -> Line {
        Line {
            kind,
            sink,
            rtp: None,
            rtcp: None,
            former: [None, None],
            rtcp_mux: false,
            rtcp_passes: false,
            own: None,
            reception: ReceiverStats::new(0),
            sender_report: LastSenderReport::default(),
            asked_for_picture: None,
            piercing: None,
            pierce_at: None,
            remote_view: None,
            quality: crate::rtp::quality::History::default(),
            last_payload_type: None,
            received: Counters::default(),
            received_rtcp: Counters::default(),
            last_rtp: None,
            routes: Vec::new(),
            mid: None,
            ssrcs: Vec::new(),
            payload_types: Vec::new(),
            speaks: Vec::new(),
            feedback: Vec::new(),
            history: None,
            floor: Floor::default(),
            playout: None,
            screen: None,
            keys: None,
            ear: None,
            speech: Speech::default(),
        }
    }

    /// What a packet of the end is to a screen.
    pub fn content(&self, header: &Header) -> Content {
        let map = self.routes.first().and_then(|route| route.payload(header.payload_type));
        if let Some(map) = map.filter(|map| map.payload.is_event()) {
            return Content::Event(map.from_clock);
        }
        let sound = self.speaks.iter().find(|(number, _)| *number == header.payload_type);
        sound.map_or(Content::Other, |(_, format)| Content::Sound(*format))
    }

    /// The key that begins to sound with a packet of the end, where one listens.
    pub fn hear(&mut self, packet: &Packet, header: &Header) -> Option<u8> {
        let ear = self.ear.as_mut()?;
        let (_, format) = self.speaks.iter().find(|(number, _)| *number == header.payload_type)?;
        ear.hear(*format, header.payload(packet.as_slice()).ok()?)
    }

    /// How the end uses the line; its packets are held back for `held`.
    pub fn usage(&self, held: Duration) -> Usage {
        let events = self.routes.first().and_then(Route::events);
        Usage { events, sound: self.speaks.first().copied(), held }
    }

    /// Whether an end has to be sent empty datagrams.
    pub fn pierced(&self) -> bool {
        [&self.rtp, &self.rtcp].into_iter().flatten().any(|port| port.latch.pierced().is_some())
    }

    /// Whether a packet from `source` to the RTP or RTCP port of a legacy leg is the end's; `authentic`: its key opened it. Who
    /// speaks RTCP must be the host that speaks RTP or the one that the SDP names, and when RTP comes from where the SDP says
    /// RTCP has to as well: a port that the end never uses is not a stranger's.
    pub fn accepts(&mut self, now: Instant, rtcp: bool, source: SocketAddr, authentic: bool) -> bool {
        let Some(speaker) = self.rtp.as_mut() else { return false };
        if !rtcp {
            return speaker.latch.accept(now, source, authentic);
        }
        let heard = speaker.latch.learnt();
        let as_announced = heard.is_some() && heard == speaker.latch.announced();
        let same_host = heard.is_some_and(|heard| heard.ip() == source.ip());
        let Some(port) = self.rtcp.as_mut() else { return false };
        let announced = port.latch.announced();
        let known = match as_announced {
            true => announced == Some(source),
            false => same_host || announced.is_some_and(|address| address.ip() == source.ip()),
        };
        (authentic || known) && port.latch.accept(now, source, authentic || same_host)
    }
}

impl Leg {
    /// What of the end's packets is held back, for its own sake or the call's.
    pub fn held(&self) -> Gates {
        let (own, all) = (self.gates, self.call_gates);
        Gates { dtmf: own.dtmf || all.dtmf, media: own.media || all.media, sound: own.sound || all.sound }
    }

    /// What becomes of the end's keys, for its own sake or the call's.
    pub fn screened(&self) -> Option<&Screening> {
        self.call_screening.as_deref().or(self.screening.as_deref())
    }

    /// The line at `index`.
    pub fn line(&self, index: usize) -> Option<&Line> {
        self.lines.get(index)?.as_ref()
    }

    /// The line at `index`.
    pub fn line_mut(&mut self, index: usize) -> Option<&mut Line> {
        self.lines.get_mut(index)?.as_mut()
    }

    /// All its lines with their places.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter_map(|(index, line)| Some((index, line.as_ref()?)))
    }

    /// The line an RTP packet on the shared transport belongs to (RFC 8843 §9.2): by its SSRC, announced or learnt, else
    /// by its payload type, which BUNDLE makes unique where it matters.
    pub fn line_of(&mut self, ssrc: u32, payload_type: u8) -> Option<usize> {
        let first = self.lines().next()?.0;
        if self.lines().nth(1).is_none() {
            return Some(first);
        }
        let learnt = &self.secure.as_ref()?.by_ssrc;
        if let Some((_, line)) = learnt.iter().find(|(known, _)| *known == ssrc) {
            return Some(*line);
        }
        let announced = self.lines().find(|(_, line)| line.ssrcs.contains(&ssrc));
        let found =
            announced.or_else(|| self.lines().find(|(_, line)| line.payload_types.contains(&payload_type)));
        let index = found?.0;
        let by_ssrc = &mut self.secure.as_mut()?.by_ssrc;
        if by_ssrc.len() >= MAX_SOURCES {
            by_ssrc.remove(0);
        }
        by_ssrc.push((ssrc, index));
        Some(index)
    }
}
