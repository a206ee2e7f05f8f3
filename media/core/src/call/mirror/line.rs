//! One m= line of a mirrored end: what we told it of its transport, and what was agreed.

use super::sdes::Keys;
use crate::call::agree::is_target;
use crate::call::plan::{DtlsRole, Protection, RemoteDtls, RemoteIce, Transports};
use crate::command::{Dtls, Exchange, Ice, IceLite, RtcpMux, TransportProtocol};
use crate::sdp::{Crypto, Description, Fingerprint, Media, Setup};

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct MirrorLine {
    /// The protocol of RTP towards this end; `None` for anything else.
    pub(super) protocol: Option<TransportProtocol>,
    /// `a=mid`, the offerer's at both ends.
    pub(super) mid: Option<String>,
    pub(super) ptime: PacketTime,
    /// `a=label` of the line in what a recorder is offered.
    pub(super) label: Option<u32>,
    pub(super) mux: Mux,
    pub(super) keys: Keys,
    pub(super) dtls: DtlsState,
    pub(super) ice: IceState,
    /// Datagrams of the ends pass as they are, by the last answer.
    pub(super) passing: Option<Passing>,
    /// The same by the last offer.
    pub(super) passing_offered: Option<Passing>,
    /// Our ports were changed, and the end has not answered since.
    pub(super) renewed: bool,
    /// ng `OSRTP: accept` of its offer.
    osrtp_accept: bool,
}

/// How a line stands between ends that deal with each other themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// Our candidates stand beside those of the ends (ng `ICE: optional`), or there are none.
    Beside,
    /// They are those of a relay, and all else stays as the ends wrote it (ng `ICE: force-relay`).
    Relay,
}

impl Passing {
    /// What an offer makes of a line.
    pub(super) fn settle(before: Option<Self>, media: &Media, exchange: &Exchange) -> Option<Self> {
        let wanted = match exchange.ice {
            Some(Ice::ForceRelay) => Self::Relay,
            _ => Self::Beside,
        };
        let by_ice = matches!(exchange.ice, Some(Ice::Optional | Ice::ForceRelay)) && media.ice.is_some();
        match exchange.passthrough {
            Some(passes) => passes.then_some(wanted),
            None => Some(wanted).filter(|_| by_ice).or(before),
        }
    }

    /// Type preferences below those of the ends' own (RFC 8445 §5.1.2.1): we are the longer way.
    pub(super) fn priority(self, own: u32) -> u32 {
        let preference = match self {
            Self::Beside => 125,
            Self::Relay => 0,
        };
        (preference << 24) | (own & 0x00ff_ffff)
    }
}

/// How long the packets of a line are at one end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PacketTime {
    /// Milliseconds of audio that the end is told.
    pub(super) told: Option<u16>,
    /// The controller chose it (ng `ptime`, `ptime-reverse`): packets are repacked, and what either end writes is its own
    /// affair.
    pub(super) is_chosen: bool,
}

impl PacketTime {
    /// Takes an offer or answer that `media` of one end makes to the other: their times from then on.
    pub(super) fn settle(sender: Self, receiver: Self, media: &Media, exchange: &Exchange) -> [Self; 2] {
        let mut both = [sender, receiver];
        for end in both.iter_mut().filter(|end| !end.is_chosen) {
            end.told = media.ptime.or(end.told);
        }
        let wishes = [exchange.ptime_reverse, exchange.ptime];
        for (end, wish) in both.iter_mut().zip(wishes) {
            end.told = wish.or(end.told);
            end.is_chosen |= wishes.iter().any(Option::is_some);
        }
        both
    }
}

/// RTP and RTCP on one port (RFC 5761).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mux {
    /// The end's SDP has it.
    heard: bool,
    /// Our offer to the end has it.
    told: bool,
    /// With no fallback.
    pub(super) required: bool,
    /// ng `accept` and `reject` of the end's offer.
    accept: bool,
    reject: bool,
    /// ng `demux` of the offer to the end.
    demuxed: bool,
    /// In force.
    pub(super) agreed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct DtlsState {
    /// The hash function of our fingerprint towards this end.
    pub(super) hash: Option<String>,
    /// Our SDP to the end has a fingerprint.
    pub(super) told: bool,
    /// Our role, and the certificates for which it holds.
    role: Option<(Vec<Fingerprint>, DtlsRole)>,
    /// ng `DTLS-reverse` of the end's offer.
    reverse: Option<Dtls>,
    agreed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct IceState {
    /// Our SDP to the end has it.
    pub(super) told: bool,
    /// We call ourselves a lite agent towards it.
    pub(super) lite: bool,
    /// Whether the end's latest SDP has it.
    heard: Option<bool>,
    /// We made the first offer with ICE.
    pub(super) offered: bool,
    /// The end's credentials in force.
    credentials: Option<(String, String)>,
    /// ng `reject ICE` of its offer.
    rejected: bool,
}

impl MirrorLine {
    /// The other end of one that publishes: it has nothing against anything.
    pub(super) fn willing() -> Self {
        Self { mux: Mux { agreed: true, ..Mux::default() }, ..Self::default() }
    }

    /// What an offer of this end says.
    pub(super) fn hear_offer(&mut self, media: &Media, exchange: &Exchange) {
        self.protocol = TransportProtocol::parse(&media.protocol);
        self.mid.clone_from(&media.mid);
        let wishes = |wish| exchange.rtcp_mux.contains(&wish);
        // One number for both says it as well (RFC 3605).
        self.mux.heard = media.rtcp_mux || media.rtcp.is_some_and(|(port, _)| port == media.port);
        (self.mux.accept, self.mux.reject) = (wishes(RtcpMux::Accept), wishes(RtcpMux::Reject));
        self.keys.heard.clone_from(&media.crypto);
        self.dtls.reverse = exchange.dtls_reverse;
        if matches!(exchange.ice_lite, Some(IceLite::Backward | IceLite::Both)) {
            self.ice.lite = true;
        }
        self.osrtp_accept = exchange.osrtp.accept;
        self.ice.heard = Some(media.ice.is_some());
        self.ice.rejected = exchange.flags.reject_ice;
        self.keys.note(&exchange.sdes);
    }

    /// What an answer of this end says; false when it takes nothing that can protect media that must be.
    pub(super) fn hear_answer(&mut self, media: &Media) -> bool {
        self.mux.agreed = self.mux.told && media.rtcp_mux;
        self.keys.heard.clone_from(&media.crypto);
        self.ice.heard = Some(media.ice.is_some());
        if self.dtls.told && !media.fingerprints.is_empty() {
            self.settle_role(media, false, None);
            self.keys.agreed = None;
            return true;
        }
        self.dtls.agreed = false;
        let keyed = self.keys.take_answer(&media.crypto);
        keyed || !self.is_srtp()
    }

    /// Decides what is offered to this end, which gets the offer of `sender`.
    pub(super) fn prepare_offer(&mut self, sender: &Self, media: &Media, exchange: &Exchange) {
        self.protocol = match (exchange.transport_protocol, sender.protocol) {
            (_, None) => None,
            (Some(TransportProtocol::Accept), theirs) => theirs,
            (Some(wish), _) => Some(wish),
            (None, theirs) => self.protocol.or(theirs),
        };
        self.mid.clone_from(&sender.mid);
        let wishes = |wish| exchange.rtcp_mux.contains(&wish);
        // What was agreed stays so, also where a later offer does not say it again.
        let before = self.mux.agreed;
        let asked = before || media.rtcp_mux || wishes(RtcpMux::Offer) || wishes(RtcpMux::Require);
        self.mux.demuxed = wishes(RtcpMux::Demux);
        self.mux.told = asked && !self.mux.demuxed;
        // What was agreed before needs no fallback either.
        self.mux.required = (wishes(RtcpMux::Require) || self.mux.agreed) && self.mux.told;
        self.keys.off |= exchange.sdes.off;
        self.dtls.told = self.is_srtp() && exchange.dtls != Some(Dtls::Off);
        self.dtls.hash = exchange.dtls_fingerprint.clone().or(self.dtls.hash.take());
        self.ice.told = match exchange.ice {
            Some(Ice::Remove) => false,
            Some(Ice::Force | Ice::ForceRelay | Ice::Optional) => true,
            // Whoever answered once goes on as it did.
            _ => self.ice.heard.unwrap_or(media.ice.is_some()),
        };
        self.ice.offered |= self.ice.told && self.ice.credentials.is_none();
        match exchange.ice_lite {
            Some(IceLite::Forward | IceLite::Both) => self.ice.lite = true,
            Some(IceLite::Off) => self.ice.lite = false,
            _ => {}
        }
    }

    /// Whether keys are offered to this end: SRTP, or plain RTP that may become it (RFC 8643).
    fn offers_keys(&self, sender: &Self, exchange: &Exchange) -> bool {
        let passes =
            exchange.transport_protocol.is_none() && !sender.is_srtp() && !sender.keys.heard.is_empty();
        !self.keys.off && self.protocol.is_some() && (self.is_srtp() || exchange.osrtp.offer || passes)
    }

    /// The keys that this end is offered, by which `sender` speaks to it.
    pub(super) fn offer_keys(
        &mut self,
        sender: &Self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Vec<Crypto> {
        if self.offers_keys(sender, exchange) {
            return self.keys.offer(&sender.keys.heard, &exchange.sdes, transports);
        }
        self.keys.told.clear();
        Vec::new()
    }

    /// Whether this end, which made the offer, is answered with keys where DTLS is out of the question.
    pub(super) fn answers_keys(&self, other: &Self, exchange: &Exchange) -> bool {
        let optional = other.keys.agreed.is_some() || self.osrtp_accept || exchange.osrtp.accept;
        !exchange.sdes.off && (self.is_srtp() || optional)
    }

    /// Decides what this end, whose offer had `offer`, is answered, once `other` has answered.
    pub(super) fn prepare_answer(&mut self, other: &Self, offer: &Media, exchange: &Exchange) {
        let mux = &mut self.mux;
        let accepts = other.mux.agreed || other.mux.demuxed || mux.accept;
        let reject = mux.reject || exchange.rtcp_mux.contains(&RtcpMux::Reject);
        mux.agreed = mux.heard && accepts && !reject;
        self.ice.told = match exchange.ice {
            Some(Ice::Remove) => false,
            Some(Ice::Force | Ice::ForceRelay) => true,
            _ => offer.ice.is_some() && !self.ice.rejected,
        };
        match exchange.ice_lite {
            Some(IceLite::Backward | IceLite::Both) => self.ice.lite = true,
            Some(IceLite::Off) => self.ice.lite = false,
            _ => {}
        }
        self.dtls.told = !offer.fingerprints.is_empty() && self.is_srtp() && exchange.dtls != Some(Dtls::Off);
        self.dtls.agreed = false;
        if self.dtls.told {
            let hash = offer.fingerprints.first().map(|print| print.algorithm.clone());
            self.dtls.hash = exchange.dtls_fingerprint.clone().or(hash);
            self.settle_role(offer, true, exchange.dtls.or(self.dtls.reverse));
            self.keys.agreed = None;
        }
    }

    /// Takes over the certificate of the end. The role stays as long as that does (RFC 8842 §5.5). `answering`: the end made
    /// the offer, and where it leaves the role to us the controller's wish decides.
    fn settle_role(&mut self, media: &Media, answering: bool, wish: Option<Dtls>) {
        self.dtls.agreed = true;
        if self.dtls.role.as_ref().is_some_and(|(known, _)| *known == media.fingerprints) {
            return;
        }
        let role = match media.setup {
            Some(Setup::Active) => DtlsRole::Server,
            Some(Setup::Passive) => DtlsRole::Client,
            _ if answering && wish != Some(Dtls::Passive) => DtlsRole::Client,
            // In an answer to us `actpass` is a mistake: a server copes with whatever such a peer does.
            _ => DtlsRole::Server,
        };
        self.dtls.role = Some((media.fingerprints.clone(), role));
    }

    /// `a=setup` of an answer.
    pub(super) fn setup(&self) -> Setup {
        match self.dtls.role {
            Some((_, DtlsRole::Client)) => Setup::Active,
            _ => Setup::Passive,
        }
    }

    /// Notes the ICE credentials of a description that is now in force; whether they changed (RFC 8445 §9).
    pub(super) fn settle_ice(&mut self, media: &Media) -> bool {
        let now = media.ice.as_ref().map(|ice| (ice.ufrag.clone(), ice.pwd.clone()));
        let before = std::mem::replace(&mut self.ice.credentials, now);
        matches!((&before, &self.ice.credentials), (Some(before), Some(now)) if before != now)
    }

    /// Whether ICE is spoken with the end.
    pub(super) fn has_ice(&self) -> bool {
        self.ice.told || self.ice.heard == Some(true)
    }

    pub(super) fn is_srtp(&self) -> bool {
        self.protocol.is_some_and(TransportProtocol::is_srtp)
    }

    /// How packets are protected; `answered` tells whether that was agreed at all.
    pub(super) fn protection(&self, media: &Media, answered: bool) -> Protection {
        if answered && self.dtls.agreed {
            let role = self.dtls.role.as_ref().map_or(DtlsRole::Undecided, |(_, role)| *role);
            return Protection::Dtls(RemoteDtls { fingerprints: media.fingerprints.clone(), role });
        }
        match self.keys.protection().filter(|_| answered) {
            Some(keys) => keys,
            None if self.is_srtp() => Protection::Awaited,
            None => Protection::None,
        }
    }

    /// The other side of ICE, where both speak it.
    pub(super) fn remote_ice(&self, said: &Description, media: &Media) -> Option<RemoteIce> {
        let ice = media.ice.as_ref().filter(|_| self.ice.told)?;
        let usable =
            |it: &&crate::sdp::Candidate| is_target(it) || (it.component == 2 && it.udp && it.port != 0);
        Some(RemoteIce {
            ufrag: ice.ufrag.clone(),
            pwd: ice.pwd.clone(),
            candidates: ice.candidates.iter().filter(usable).cloned().collect(),
            lite: said.ice_lite,
            end_of_candidates: ice.end_of_candidates || !ice.trickle,
        })
    }

    /// Whether our offer or answer to the end has `a=rtcp-mux`.
    pub(super) fn tells_mux(&self, offer: bool) -> bool {
        if offer { self.mux.told } else { self.mux.agreed }
    }
}
