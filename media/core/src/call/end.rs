//! One endpoint of a call, as its SDP shows it.

use bytes::Bytes;

use super::codecs::Numbers;
use super::compose::Section;
use super::lines::base_line;
use super::mirror::Mirror;
use super::plan::{DtlsRole, LegId};
use crate::command::{Dtls, Exchange, Keys, LegKind, Manners, Side, TransportProtocol};
use crate::sdp::{Codec, Description, Fingerprint, Media, Setup};

/// One endpoint.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) id: LegId,
    pub(super) kind: LegKind,
    /// All tags it was known by, the latest first: a branch that forked further answers with several.
    pub(super) tags: Vec<String>,
    pub(super) label: Option<String>,
    pub(super) announce: Option<std::net::IpAddr>,
    pub(super) interface: Option<String>,
    /// Whether we made the first offer to it.
    pub(super) controlling: bool,
    /// Our DTLS role, and the certificate of the peer for which it holds.
    pub(super) role: Option<(Vec<Fingerprint>, DtlsRole)>,
    /// ng `asymmetric`, `trust-address`, `received from`: of its latest SDP.
    pub(super) asymmetric: bool,
    /// ng `generate RTCP`.
    pub(super) generates_rtcp: bool,
    pub(super) source: Option<std::net::IpAddr>,
    /// ng `received from` of its latest SDP, whatever its addresses are worth.
    pub(super) signalled_from: Option<std::net::IpAddr>,
    /// ng `media handover`, `NAT-wait`, `pierce NAT`: of its latest SDP.
    pub(super) manners: Manners,
    /// The m= lines of its SDP; never fewer (RFC 3264 §8).
    pub(super) lines: Vec<EndLine>,
    pub(super) numbers: Numbers,
    /// Version in our `o=` line, and the body it stands for.
    pub(super) version: u64,
    pub(super) body: Vec<u8>,
    /// Its latest offer.
    pub(super) offer: Option<Bytes>,
    /// What a browser got as the answer to `offer`: the same for every branch, since it takes the first 1xx as the
    /// answer and no other after it.
    pub(super) answer: Option<StableAnswer>,
    /// ICE of its latest agreed SDP.
    pub(super) ufrag: Option<(String, String)>,
    /// How it sends and hears keys.
    pub(super) keys: Keys,
    /// What a mirrored pair keeps of it.
    pub(super) mirror: Mirror,
}

#[derive(Debug, Clone)]
pub(super) struct StableAnswer {
    pub(super) sdp: Bytes,
    /// The formats of each m= line; empty where it was refused.
    pub(super) told: Vec<Vec<Codec>>,
}

/// An m= line at one end.
#[derive(Debug, Clone)]
pub(super) struct EndLine {
    pub(super) word: String,
    pub(super) protocol: String,
    pub(super) format: String,
    pub(super) mid: Option<String>,
}

impl End {
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| known == tag)
    }

    pub(super) fn note(&mut self, side: &Side, exchange: &Exchange) {
        self.label = side.label.clone().or(self.label.take());
        self.asymmetric = exchange.flags.asymmetric;
        self.generates_rtcp = exchange.flags.generate_rtcp;
        self.manners = exchange.manners;
        self.note_source(exchange);
        self.interface = side.interface.clone().or(self.interface.take());
        self.keys = side.keys;
        if self.announce.is_none() {
            self.announce = side.announce;
        }
    }

    /// Takes over where signalling came from with its latest SDP.
    pub(super) fn note_source(&mut self, exchange: &Exchange) {
        self.signalled_from = exchange.received_from;
        self.source = exchange.received_from.filter(|_| !exchange.flags.trust_address);
    }

    pub(super) fn note_announce(&mut self, side: &Side) {
        self.announce = side.announce.or(self.announce);
        self.interface = side.interface.clone().or(self.interface.take());
        self.label = side.label.clone().or(self.label.take());
        self.keys = side.keys;
    }

    /// Takes over ICE and DTLS of an SDP that is now in force. Returns whether its ICE was restarted.
    pub(super) fn connect(&mut self, description: &Description, wish: Option<Dtls>) -> bool {
        let Some(media) = base_line(description, self.kind).and_then(|at| description.media.get(at)) else {
            return false;
        };
        if self.kind == LegKind::Legacy {
            return false;
        }
        let same = self.role.as_ref().is_some_and(|(known, _)| *known == media.fingerprints);
        if !same {
            // In an answer to us `actpass` is a mistake: such a peer waits, or sends, as it likes; a server copes with both.
            let role = match (media.setup, wish) {
                (Some(Setup::Passive), _) | (Some(Setup::ActPass) | None, Some(Dtls::Active)) => {
                    DtlsRole::Client
                }
                _ => DtlsRole::Server,
            };
            self.role = Some((media.fingerprints.clone(), role));
        }
        let ice = media.ice.as_ref().map(|ice| (ice.ufrag.clone(), ice.pwd.clone()));
        let before = std::mem::replace(&mut self.ufrag, ice);
        matches!((&before, &self.ufrag), (Some(before), Some(now)) if before.0 != now.0 && before.1 != now.1)
    }
}

impl EndLine {
    pub(super) fn of(media: &Media) -> Self {
        Self {
            word: media.media_word.clone(),
            protocol: media.protocol.clone(),
            format: media.formats.first().cloned().unwrap_or_else(|| "0".to_owned()),
            mid: media.mid.clone(),
        }
    }

    /// A line that we begin at an end.
    pub(super) fn towards(media: &Media, kind: LegKind, others: &[Self], exchange: &Exchange) -> Self {
        let free = |mid: &String| !others.iter().any(|other| other.mid.as_ref() == Some(mid));
        let numbers = (others.len()..).map(|number| number.to_string());
        let mid = media.mid.clone().into_iter().chain(numbers).find(free);
        let protocol = match (kind, exchange.transport_protocol) {
            (LegKind::Browser, _) => "UDP/TLS/RTP/SAVPF",
            (LegKind::Legacy, Some(TransportProtocol::RtpAvpf)) => "RTP/AVPF",
            (LegKind::Legacy, None | Some(TransportProtocol::Accept)) if media.protocol == "RTP/AVPF" => {
                "RTP/AVPF"
            }
            (LegKind::Legacy, _) => "RTP/AVP",
        };
        Self {
            protocol: protocol.to_owned(),
            mid: mid.filter(|_| kind == LegKind::Browser),
            ..Self::of(media)
        }
    }

    pub(super) fn section(&self) -> Section {
        let Self { word, protocol, format, mid } = self.clone();
        Section { word, protocol, format, mid, active: None }
    }
}
