//! From what a pair agreed on to the plan that the engine executes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::codecs;
use super::end::End;
use super::keys;
use super::lines::{base_line, direction, passed};
use super::offer_answer::Session;
use super::parties::{Pair, PairLine};
use super::plan::{
    DtlsRole, Feedback, FlowPlan, Hears, LegPlan, LineEnd, LinePlan, MediaKind, MediaPlan, Protection,
    RemoteAddress, RemoteDtls, RemoteIce, decodable,
};
use crate::command::{Cause, Failure, LegKind};
use crate::sdp::{Candidate, Codec, Description, Media};

impl Session {
    /// The wanted state of a pair.
    pub(super) fn plan(&self, pair: usize) -> Result<MediaPlan, Failure> {
        let lost =
            || Failure { cause: Cause::Internal, reason: "the session lost track of a pair".to_owned() };
        let pair = self.pairs.get(pair).ok_or_else(lost)?;
        if pair.mirrored {
            return super::mirror::plan(self, pair).ok_or_else(lost);
        }
        let first = pair.pending.as_ref().map_or(0, |pending| pending.side);
        let sides = [first, 1 - first];
        let ends = [
            self.end(pair.ends[sides[0]]).ok_or_else(lost)?,
            self.end(pair.ends[sides[1]]).ok_or_else(lost)?,
        ];
        let legs = [leg(ends[0], pair.said(sides[0])), leg(ends[1], pair.said(sides[1]))];
        let told = pair.pending.as_ref().map(|pending| pending.told.as_slice()).unwrap_or_default();
        let lines = pair.lines.iter().enumerate().filter(|(index, line)| match pair.answered {
            true => line.active,
            false => told.get(*index).is_some_and(|codecs| !codecs.is_empty()),
        });
        let lines = lines.map(|(_, line)| line_plan(pair, line, sides, ends)).collect();
        Ok(MediaPlan { legs, lines, answered: pair.answered })
    }
}

fn leg(end: &End, said: Option<&Description>) -> LegPlan {
    let media = said.and_then(|said| Some((said, said.media.get(base_line(said, end.kind)?)?)));
    let media = media.filter(|_| end.kind == LegKind::Browser);
    let ice = media.and_then(|(said, media)| {
        let ice = media.ice.as_ref()?;
        Some(RemoteIce {
            ufrag: ice.ufrag.clone(),
            pwd: ice.pwd.clone(),
            candidates: ice.candidates.iter().filter(|it| is_target(it)).cloned().collect(),
            lite: said.ice_lite,
            end_of_candidates: ice.end_of_candidates || !ice.trickle,
        })
    });
    let dtls = media.map(|(_, media)| RemoteDtls {
        fingerprints: media.fingerprints.clone(),
        role: match &end.role {
            Some((known, role)) if *known == media.fingerprints => *role,
            _ => DtlsRole::Undecided,
        },
    });
    let controlling = end.controlling || ice.as_ref().is_some_and(|ice| ice.lite);
    LegPlan { id: end.id, kind: end.kind, ice, dtls, controlling }
}

/// Component 1 over UDP to an address that can be one host's.
pub(super) fn is_target(candidate: &Candidate) -> bool {
    candidate.component == 1 && candidate.udp && candidate.port != 0 && is_host(candidate.address)
}

fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

fn line_plan(pair: &Pair, line: &PairLine, sides: [usize; 2], ends: [&End; 2]) -> LinePlan {
    let media = sides.map(|side| pair.said(side).and_then(|said| said.media.get(line.at[side])));
    let agreed = [0, 1].map(|at| match media[at] {
        Some(media) if pair.answered => codecs::agreed(&media.codecs, &line.told[sides[at]]),
        _ => Vec::new(),
    });
    let told = sides.map(|side| &line.told[side]);
    let sides_of_line = [0, 1].map(|at| LineEnd {
        speaks: decodable(agreed[at].iter().chain(told[at])),
        ear: pair.answered
            && line.kind == MediaKind::Audio
            && keys::is_heard(&agreed[at], keys::hand(ends[1 - at])),
        ..line_end(line.at[sides[at]], ends[at], media[at], &agreed[at])
    });
    let flow = |from: usize, to: usize| {
        let ptime = media[to].and_then(|it| it.ptime);
        let mut payloads = codecs::payloads(&agreed[from], told[from], &agreed[to], ptime);
        let hands = [from, to].map(|at| keys::hand(ends[at]));
        keys::arrange(&mut payloads, [&agreed[from], told[from], &agreed[to]], hands[0], hands[1], ptime);
        let open =
            pair.answered && sides_of_line[from].sends && sides_of_line[to].wants && !payloads.is_empty();
        let extensions = extensions(media[from], media[to], ends);
        FlowPlan { open, payloads, extensions, transparent: false, unread: false }
    };
    let flows = [flow(0, 1), flow(1, 0)];
    LinePlan { kind: line.kind, rtcp_passes: false, ends: sides_of_line, flows, echoes: [None, None] }
}

fn line_end(index: usize, end: &End, media: Option<&Media>, agreed: &[Codec]) -> LineEnd {
    let legacy = end.kind == LegKind::Legacy;
    let direction = media.map(|media| direction(media, end.kind));
    let listener = media.filter(|_| direction.is_some_and(|direction| direction.receives()));
    LineEnd {
        index,
        remote: media.filter(|_| legacy).and_then(|media| remote_address(media, end.source)),
        wants: direction.is_some_and(|direction| direction.receives()),
        sends: direction.is_some_and(|direction| direction.sends()),
        mid: media.filter(|_| !legacy).and_then(|media| media.mid.clone()),
        ssrcs: media.map(|media| media.ssrcs.clone()).unwrap_or_default(),
        payload_types: media.map(|media| payload_types(media, agreed)).unwrap_or_default(),
        feedback: feedback(agreed),
        rtcp_mux: !legacy,
        ptime: media.and_then(|media| media.ptime),
        signalled_from: end.signalled_from,
        is_private: media.is_some_and(names_private),
        learn: legacy && !end.asymmetric,
        strict_source: true,
        hears: listener
            .and_then(|media| Hears::of(if agreed.is_empty() { &media.codecs } else { agreed }, media.ptime)),
        speaks: Vec::new(),
        ear: false,
        manners: end.manners,
        protection: Protection::None,
        ice: None,
    }
}

/// Before the answer all that was offered may come.
fn payload_types(media: &Media, agreed: &[Codec]) -> Vec<u8> {
    let codecs = if agreed.is_empty() { &media.codecs } else { agreed };
    codecs.iter().map(|codec| codec.payload_type).collect()
}

fn feedback(agreed: &[Codec]) -> Vec<Feedback> {
    let words = [
        ("nack", Feedback::Nack),
        ("nack pli", Feedback::Pli),
        ("ccm fir", Feedback::Fir),
        ("goog-remb", Feedback::Remb),
    ];
    let listed = |word: &str| agreed.iter().any(|codec| codec.feedback.iter().any(|what| what == word));
    words.into_iter().filter(|(word, _)| listed(word)).map(|(_, feedback)| feedback).collect()
}

/// Ids that mean the same, and something that passes, at both ends.
fn extensions(from: Option<&Media>, to: Option<&Media>, ends: [&End; 2]) -> Vec<u8> {
    let (Some(from), Some(to)) = (from, to) else { return Vec::new() };
    if ends.iter().any(|end| end.kind == LegKind::Legacy) {
        return Vec::new();
    }
    let both = passed(&from.extensions).into_iter().filter(|extension| to.extensions.contains(extension));
    both.map(|extension| extension.id).collect()
}

/// Where a legacy end wants its packets. A phone behind NAT writes its private address; packets then go to where its
/// signalling comes from until its own packets teach better.
pub(super) fn remote_address(media: &Media, source: Option<IpAddr>) -> Option<RemoteAddress> {
    let written = media.address.filter(|address| is_host(*address))?;
    let address = match source {
        Some(source) if is_private(written) && !is_private(source) && !source.is_loopback() => source,
        _ => written,
    };
    let port = Some(media.port).filter(|port| *port != 0)?;
    let (rtcp_port, rtcp_address) = match media.rtcp {
        Some((rtcp_port, rtcp_address)) if rtcp_port != 0 => (rtcp_port, rtcp_address),
        _ => (port.checked_add(1)?, None),
    };
    let rtcp_address = rtcp_address.filter(|it| is_host(*it) && address == written).unwrap_or(address);
    Some(RemoteAddress {
        rtp: SocketAddr::new(address, port),
        rtcp: SocketAddr::new(rtcp_address, rtcp_port),
    })
}

/// Whether a line is said to be at an address that cannot be reached from outside.
pub(super) fn names_private(media: &Media) -> bool {
    media.address.is_some_and(is_private)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local() || is_shared(address),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Of a provider's own NAT: 100.64.0.0/10 (RFC 6598 §7).
fn is_shared(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [100, 64..=127, ..])
}
