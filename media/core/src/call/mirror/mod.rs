//! Offer and answer in the manner of rtpengine, for controllers that speak its protocol: each end is shown the other's
//! description line by line, with transports of ours in place of the far ones.
//!
//! It is the way of pairs of plain, SDES or DTLS-SRTP ends on ports of their own. A pair with a browser in it goes the way
//! of [`super::offer_answer`], which writes descriptions anew.

mod codecs;
mod line;
pub(super) mod party;
mod sdes;
mod write;

use bytes::Bytes;

pub(super) use self::codecs::LineFormats;
use self::codecs::Packing;
use self::line::{MirrorLine, PacketTime, Passing};
use self::write::{Section, Writer};
use super::agree::{names_private, remote_address};
use super::end::End;
use super::lines::{answer_direction, direction};
use super::offer_answer::{Outcome, Session, lost};
use super::parties::{Pair, Pending};
use super::plan::{
    FlowPlan, Hears, LegId, LegPlan, LegRequest, LineEnd, LinePlan, LocalLeg, MediaKind, MediaPlan,
    PayloadMap, Protection, Transports, decodable,
};
use crate::command::{AddressFamily, Cause, Exchange, Failure, LegKind, MediaEcho, TransportProtocol};
use crate::sdp::{Codec, Crypto, Description, Direction, Media, MediaType};

/// What a mirrored pair keeps of an end.
#[derive(Debug, Clone, Default)]
pub(super) struct Mirror {
    lines: Vec<MirrorLine>,
    /// User name and session name of the first description the end got.
    username: Option<String>,
    session_name: Option<Vec<u8>>,
    /// The version in its `o=` line.
    version: Option<u64>,
    /// The description it got last, but for that version.
    body: Vec<u8>,
}

/// Whether a pair of ends of these kinds is mirrored: the controller leaves it to the SDP what they are, and it is plain.
pub(super) fn is_wanted(exchange: &Exchange, kinds: [LegKind; 2]) -> bool {
    let told = exchange.sender.kind.is_some() || exchange.receiver.kind.is_some();
    !told && kinds == [LegKind::Legacy; 2]
}

/// Whether an offer is of ends that deal with each other themselves, with the relay as a further way.
pub(super) fn passes(exchange: &Exchange, description: &Description) -> bool {
    let told = exchange.sender.kind.is_some() || exchange.receiver.kind.is_some();
    let passes = |media| Passing::settle(None, media, exchange).is_some();
    !told && description.media.iter().any(passes)
}

/// What an m= line carries; `None` for what is not over UDP, which passes as it is.
fn media_kind(media: &Media) -> Option<MediaKind> {
    let rtp = TransportProtocol::parse(&media.protocol).is_some();
    match media.media_type {
        _ if media.media_word == "message" => None,
        _ if !rtp && !media.protocol.to_ascii_lowercase().contains("udp") => None,
        _ if !rtp => Some(MediaKind::Other),
        MediaType::Video => Some(MediaKind::Video),
        MediaType::Audio | MediaType::Other => Some(MediaKind::Audio),
    }
}

/// The direction an end means; zeros in `c=` are a hold where there is no ICE.
fn meant(media: &Media) -> Direction {
    direction(media, if media.ice.is_some() { LegKind::Browser } else { LegKind::Legacy })
}

/// ng `media echo` of a message from `side` of a pair; it stays in force until another is asked for.
fn note_echo(pair: &mut Pair, side: usize, wish: Option<MediaEcho>) {
    let Some(wish) = wish else { return };
    let (sender, receiver) = match wish {
        MediaEcho::Blackhole => (false, false),
        MediaEcho::Forward => (false, true),
        MediaEcho::Backwards => (true, false),
        MediaEcho::Both => (true, true),
    };
    pair.echo = Some(if side == 0 { [sender, receiver] } else { [receiver, sender] });
}

/// An answer under way: what it answers, and the legs of the offerer and the answerer.
#[derive(Clone, Copy)]
struct Answering<'a> {
    exchange: &'a Exchange,
    pending: &'a Pending,
    pair: usize,
    to: LegId,
    from: LegId,
}

/// What an end said, and where it stands in its pair.
struct Said<'a> {
    id: LegId,
    description: &'a Description,
}

impl Session {
    /// An offer within a mirrored pair, whose side `side` makes it.
    pub(super) fn mirror_offer(
        &mut self,
        exchange: &Exchange,
        description: Description,
        pair: usize,
        side: usize,
        transports: &mut dyn Transports,
    ) -> Result<Outcome, Failure> {
        let mut warnings = exchange.warnings.clone();
        if exchange.bundle.offer || exchange.bundle.require {
            warnings.push("BUNDLE: lines of ends that are no browsers have ports of their own".to_owned());
        }
        let entry = self.pairs.get_mut(pair).ok_or_else(lost)?;
        entry.mirrored = true;
        entry.formats.resize_with(description.media.len().max(entry.formats.len()), LineFormats::default);
        note_echo(entry, side, exchange.media_echo);
        let (from, to) = (entry.ends[side], entry.ends[1 - side]);
        self.end_mut(from)?.note(&exchange.sender, exchange);
        let local = self.mirror_legs(exchange, [from, to], &description, transports)?;

        let mut told = Vec::with_capacity(description.media.len());
        let mut sections = Vec::with_capacity(description.media.len());
        for (index, media) in description.media.iter().enumerate() {
            self.label_line(to, index)?;
            self.label_line(from, index)?;
            self.mirror_line(from, index)?.hear_offer(media, exchange);
            let sender = self.mirror_line(from, index)?.clone();
            self.mirror_line(to, index)?.prepare_offer(&sender, media, exchange);
            let times = self.settle_ptimes([from, to], index, media, exchange)?;
            let Some(kind) = media_kind(media) else {
                sections.push(Section::untouched());
                told.push(Vec::new());
                continue;
            };
            let line = self.mirror_line(to, index)?;
            if media.port == 0 {
                sections.push(Section::refused(line.mid.clone()));
                told.push(Vec::new());
                continue;
            }
            let passing = Passing::settle(line.passing, media, exchange);
            line.passing_offered = passing;
            self.mirror_line(from, index)?.passing_offered = passing;
            if let Some(passing) = passing {
                self.mirror_formats(pair, index)?.proposed = Default::default();
                transports.media(from, index, kind)?;
                sections.push(self.passing_section(to, index, media, kind, passing, true, transports)?);
                told.push(media.codecs.clone());
                continue;
            }
            let crypto = self.mirror_line(to, index)?.offer_keys(&sender, exchange, transports);
            let formats = self.mirror_formats(pair, index)?;
            let before = [&formats.agreed[side], &formats.agreed[1 - side]];
            let offered = codecs::offer(before, &media.codecs, kind, &exchange.codec, times);
            for warning in offered.warnings {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            let offered_codecs = offered.told.codecs();
            formats.proposed = in_order(side, offered.offerer, offered.told);
            transports.media(from, index, kind)?;
            let latches = exchange.flags.port_latching;
            if !latches.map_or_else(|| self.uses_ice([from, to], index), Ok)?
                && self.has_moved(pair, side, index, media)
            {
                self.renew_line(to, index, transports)?;
            }
            let mut section = self.mirror_section(to, index, media, kind, true, false, transports)?;
            section.direction = meant(media);
            section.crypto = crypto;
            section.codecs.clone_from(&offered_codecs);
            sections.push(section);
            told.push(offered_codecs);
        }
        let said = Said { id: to, description: &description };
        let sdp = self.mirror_write(&said, exchange, &local, &sections, transports.instance())?;
        let entry = self.pairs.get_mut(pair).ok_or_else(lost)?;
        entry.pending = Some(Pending { side, description, told });
        Ok(Outcome { sdp, plan: self.plan(pair)?, warnings })
    }

    /// An answer within a mirrored pair.
    pub(super) fn mirror_answer(
        &mut self,
        exchange: &Exchange,
        description: Description,
        pair: usize,
        pending: Pending,
        transports: &mut dyn Transports,
    ) -> Result<Outcome, Failure> {
        let warnings = exchange.warnings.clone();
        let entry = self.pairs.get(pair).ok_or_else(lost)?;
        let (to, from) = (entry.ends[pending.side], entry.ends[1 - pending.side]);
        if let Some(entry) = self.pairs.get_mut(pair) {
            note_echo(entry, 1 - pending.side, exchange.media_echo);
        }
        self.end_mut(from)?.note(&exchange.sender, exchange);
        self.end_mut(to)?.note_announce(&exchange.receiver);
        let local = self.mirror_leg(to, None, &pending.description, transports)?;

        let answering = Answering { exchange, pending: &pending, pair, to, from };
        let mut sections = Vec::with_capacity(pending.description.media.len());
        let (mut live, mut offered) = (0, 0);
        for (index, media) in description.media.iter().enumerate().take(pending.description.media.len()) {
            let offer = pending.description.media.get(index).ok_or_else(lost)?;
            let section = match media_kind(offer).filter(|_| media_kind(media).is_some()) {
                Some(kind) => self.answer_line(&answering, index, [offer, media], kind, transports)?,
                None => Section::untouched(),
            };
            offered += usize::from(section.is_active || section.is_lost);
            live += usize::from(section.is_active);
            sections.push(section);
        }
        if offered > 0 && live == 0 {
            let reason =
                "the answer has no line that can be relayed, or no format that was offered".to_owned();
            return Err(Failure { cause: Cause::NotAcceptable, reason });
        }
        let said = Said { id: to, description: &description };
        let sdp = self.mirror_write(&said, exchange, &local, &sections, transports.instance())?;
        let entry = self.pairs.get_mut(pair).ok_or_else(lost)?;
        let side = pending.side;
        entry.remote[1 - side] = Some(description);
        entry.remote[side] = Some(pending.description);
        entry.answered = true;
        Ok(Outcome { sdp, plan: self.plan(pair)?, warnings })
    }

    /// One line of an answer: what the offerer is told of it.
    fn answer_line(
        &mut self,
        answering: &Answering<'_>,
        index: usize,
        [offer, media]: [&Media; 2],
        kind: MediaKind,
        transports: &mut dyn Transports,
    ) -> Result<Section, Failure> {
        let Answering { exchange, pending, pair, to, from } = *answering;
        let line = self.mirror_line(to, index)?;
        let (mid, passing) = (line.mid.clone(), line.passing_offered);
        let passing = passing.filter(|_| media.port != 0 && offer.port != 0);
        for end in [to, from] {
            self.mirror_line(end, index)?.passing = passing;
        }
        if let Some(passing) = passing {
            self.mirror_formats(pair, index)?.agreed = Default::default();
            for end in [to, from] {
                self.mirror_line(end, index)?.mux.agreed = offer.rtcp_mux && media.rtcp_mux;
            }
            let mut section = self.passing_section(to, index, media, kind, passing, false, transports)?;
            section.direction = answer_direction(meant(offer), meant(media));
            return Ok(section);
        }
        let times = self.settle_ptimes([from, to], index, media, exchange)?;
        let formats = self.mirror_formats(pair, index)?;
        let proposed = [&formats.proposed[pending.side], &formats.proposed[1 - pending.side]];
        let (edits, single) = (&exchange.codec, exchange.flags.single_codec);
        let answered = codecs::answer(proposed, &media.codecs, kind, edits, single, times.reversed());
        let codecs = answered.offerer.codecs();
        let common = kind == MediaKind::Other || codecs.iter().any(Codec::is_media);
        if media.port == 0 || offer.port == 0 {
            let format = codecs.first().or(offer.codecs.first()).map(|codec| codec.payload_type.to_string());
            return Ok(Section { format, ..Section::refused(mid) });
        }
        let line = self.mirror_line(from, index)?;
        line.renewed = false;
        let secured = line.hear_answer(media);
        line.settle_ice(media);
        if !common || !secured {
            return Ok(Section { is_lost: true, ..Section::refused(mid) });
        }
        let answerer = line.clone();
        let (crypto, restart) = self.secure_answer(answering, index, &answerer, offer, transports)?;
        transports.media(from, index, kind)?;
        let mut section = self.mirror_section(to, index, media, kind, false, restart, transports)?;
        let protocol = answered_protocol(offer, media, answerer.protocol, exchange);
        section.protocol = protocol.unwrap_or(&offer.protocol).to_owned();
        section.direction = answer_direction(meant(offer), meant(media));
        section.crypto = crypto.into_iter().collect();
        section.codecs = codecs;
        self.mirror_formats(pair, index)?.agreed =
            in_order(pending.side, answered.offerer, answered.answerer);
        Ok(section)
    }

    /// How a line is protected towards the offerer: the key of the answer, where it is not DTLS, and whether ICE restarts.
    fn secure_answer(
        &mut self,
        answering: &Answering<'_>,
        index: usize,
        answerer: &MirrorLine,
        offer: &Media,
        transports: &mut dyn Transports,
    ) -> Result<(Option<Crypto>, bool), Failure> {
        let exchange = answering.exchange;
        let line = self.mirror_line(answering.to, index)?;
        line.prepare_answer(answerer, offer, exchange);
        let crypto = match line.dtls.told || !line.answers_keys(answerer, exchange) {
            true => None,
            false => {
                let other = answerer.keys.agreed.as_ref().map(|(_, theirs)| theirs);
                line.keys.answer(other, &exchange.sdes, transports)
            }
        };
        if crypto.is_none() {
            line.keys.agreed = None;
        }
        Ok((crypto, line.settle_ice(offer)))
    }

    /// Whether a side writes another address or port for a line than it did before.
    fn has_moved(&self, pair: usize, side: usize, index: usize, media: &Media) -> bool {
        let before = self.pairs.get(pair).and_then(|pair| {
            let offered = pair.pending.as_ref().filter(|pending| pending.side == side);
            pair.remote.get(side)?.as_ref().or(offered.map(|pending| &pending.description))
        });
        let before = before.and_then(|said| said.media.get(index));
        let held = |media: &Media| media.address.is_none_or(|address| address.is_unspecified());
        before.is_some_and(|before| {
            // A hold by zeros is no other place.
            let elsewhere = before.address != media.address && !held(before) && !held(media);
            before.port != media.port || elsewhere
        })
    }

    /// Other ports of ours towards an end; once until it answers, since until then it sends to those before.
    fn renew_line(
        &mut self,
        end: LegId,
        index: usize,
        transports: &mut dyn Transports,
    ) -> Result<(), Failure> {
        match std::mem::replace(&mut self.mirror_line(end, index)?.renewed, true) {
            true => Ok(()),
            false => transports.renew(end, index),
        }
    }

    /// Whether an end of a line has ICE, which finds new ways by itself.
    fn uses_ice(&mut self, ends: [LegId; 2], index: usize) -> Result<bool, Failure> {
        let [one, other] = ends;
        let one = self.mirror_line(one, index)?.has_ice();
        Ok(one || self.mirror_line(other, index)?.has_ice())
    }

    /// Gives a line its name for recorders, once.
    fn label_line(&mut self, end: LegId, index: usize) -> Result<(), Failure> {
        let next = self.next_label;
        let line = self.mirror_line(end, index)?;
        if line.label.is_none() {
            line.label = Some(next);
            self.next_label = next.wrapping_add(1);
        }
        Ok(())
    }

    fn mirror_line(&mut self, end: LegId, index: usize) -> Result<&mut MirrorLine, Failure> {
        let lines = &mut self.end_mut(end)?.mirror.lines;
        if lines.len() <= index {
            lines.resize_with(index + 1, MirrorLine::default);
        }
        lines.get_mut(index).ok_or_else(lost)
    }

    fn mirror_formats(&mut self, pair: usize, index: usize) -> Result<&mut LineFormats, Failure> {
        self.pairs.get_mut(pair).and_then(|pair| pair.formats.get_mut(index)).ok_or_else(lost)
    }

    /// Settles how long packets are at both ends; what `from` writes is `media`.
    fn settle_ptimes(
        &mut self,
        [from, to]: [LegId; 2],
        index: usize,
        media: &Media,
        exchange: &Exchange,
    ) -> Result<Packing, Failure> {
        let (sender, receiver) = (self.mirror_line(from, index)?.ptime, self.mirror_line(to, index)?.ptime);
        let [sender, receiver] = PacketTime::settle(sender, receiver, media, exchange);
        self.mirror_line(from, index)?.ptime = sender;
        self.mirror_line(to, index)?.ptime = receiver;
        Ok(packing([sender, receiver]))
    }

    /// Our ends of both legs; the one towards the receiver.
    fn mirror_legs(
        &self,
        exchange: &Exchange,
        [from, to]: [LegId; 2],
        description: &Description,
        transports: &mut dyn Transports,
    ) -> Result<LocalLeg, Failure> {
        self.mirror_leg(from, None, description, transports)?;
        self.mirror_leg(to, exchange.address_family, description, transports)
    }

    /// Our end of a leg, of the address family of the description where none is asked for.
    fn mirror_leg(
        &self,
        leg: LegId,
        family: Option<AddressFamily>,
        description: &Description,
        transports: &mut dyn Transports,
    ) -> Result<LocalLeg, Failure> {
        let end = self.end(leg).ok_or_else(lost)?;
        let written = description.media.iter().find_map(|media| media.address);
        let written = written.map(|it| if it.is_ipv6() { AddressFamily::Ip6 } else { AddressFamily::Ip4 });
        let request = LegRequest {
            kind: end.kind,
            announce: end.announce,
            interface: end.interface.as_deref(),
            family: family.or(written),
            restart_ice: false,
        };
        transports.leg(leg, &request)
    }

    /// The transport lines of a section towards `to`.
    fn mirror_section(
        &mut self,
        to: LegId,
        index: usize,
        media: &Media,
        kind: MediaKind,
        offer: bool,
        restart: bool,
        transports: &mut dyn Transports,
    ) -> Result<Section, Failure> {
        let local = transports.media(to, index, kind)?;
        let line = self.mirror_line(to, index)?;
        let mux = line.tells_mux(offer);
        // An offer may be answered without: both ports stay until then.
        let one_port = mux && (!offer || line.mux.required);
        let ice = match line.ice.told {
            true => Some(transports.line_ice(to, index, line.ice.lite, restart)?),
            false => None,
        };
        let dtls = line.dtls.told.then(|| {
            let setup = if offer { crate::sdp::Setup::ActPass } else { line.setup() };
            let print = transports.fingerprint(line.dtls.hash.as_deref().unwrap_or("sha-256"));
            (setup, print)
        });
        Ok(Section {
            is_untouched: false,
            is_active: true,
            is_rtp: kind != MediaKind::Other,
            protocol: line.protocol.map_or_else(|| media.protocol.clone(), |it| it.as_str().to_owned()),
            port: local.port,
            rtcp_port: if one_port { Some(local.port) } else { local.rtcp_port },
            mux,
            one_port,
            mid: line.mid.clone(),
            ptime: line.ptime.told,
            ice,
            dtls,
            ..Section::untouched()
        })
    }

    /// A section of a line whose datagrams pass: what `media` says, with our ports as a further way.
    fn passing_section(
        &mut self,
        to: LegId,
        index: usize,
        media: &Media,
        kind: MediaKind,
        passing: Passing,
        offer: bool,
        transports: &mut dyn Transports,
    ) -> Result<Section, Failure> {
        let local = transports.media(to, index, kind)?;
        let mut candidates = Vec::new();
        if media.ice.is_some() {
            candidates = transports.line_candidates(to, index)?;
            candidates.iter_mut().for_each(|it| it.priority = passing.priority(it.priority));
        }
        let one_port = !offer && media.rtcp_mux;
        Ok(Section {
            is_untouched: false,
            is_active: true,
            is_rtp: kind != MediaKind::Other,
            passing: Some(passing),
            protocol: media.protocol.clone(),
            port: local.port,
            rtcp_port: if one_port { Some(local.port) } else { local.rtcp_port },
            mux: media.rtcp_mux,
            one_port,
            mid: media.mid.clone(),
            ptime: media.ptime,
            direction: meant(media),
            codecs: media.codecs.clone(),
            candidates,
            ..Section::untouched()
        })
    }

    fn mirror_write(
        &mut self,
        said: &Said<'_>,
        exchange: &Exchange,
        local: &LocalLeg,
        sections: &[Section],
        instance: &str,
    ) -> Result<Bytes, Failure> {
        let end = self.end_mut(said.id)?;
        let lite = end.mirror.lines.iter().any(|line| line.ice.told && line.ice.lite);
        let mark = exchange.flags.loop_protect.then(|| instance.to_owned());
        let writer = Writer { source: said.description, exchange, local, sections, lite, mark };
        Ok(writer.write(&mut end.mirror).into())
    }
}

/// The wanted state of a mirrored pair.
pub(super) fn plan(session: &Session, pair: &Pair) -> Option<MediaPlan> {
    let first = pair.pending.as_ref().map_or(0, |pending| pending.side);
    let sides = [first, 1 - first];
    let ends = [session.end(pair.ends[sides[0]])?, session.end(pair.ends[sides[1]])?];
    let count = sides.iter().filter_map(|side| pair.said(*side)).map(|said| said.media.len()).max()?;
    let lines = (0..count).filter_map(|index| line_plan(pair, index, sides, ends)).collect();
    let legs = ends.map(|end| LegPlan {
        id: end.id,
        kind: LegKind::Legacy,
        ice: None,
        dtls: None,
        controlling: end.controlling,
    });
    Some(MediaPlan { legs, lines, answered: pair.answered })
}

fn line_plan(pair: &Pair, index: usize, sides: [usize; 2], ends: [&End; 2]) -> Option<LinePlan> {
    let said = sides.map(|side| pair.said(side));
    let media = said.map(|said| said.and_then(|said| said.media.get(index)));
    let known = media.iter().flatten().next()?;
    let passing = ends.iter().any(|end| end.mirror.lines.get(index).is_some_and(|it| it.passing.is_some()));
    let kind = if passing { MediaKind::Other } else { media_kind(known)? };
    let live = |media: &Media| media.port != 0;
    if media.iter().flatten().any(|media| !live(media)) {
        return None;
    }
    let formats = pair.formats.get(index);
    let mut line_ends = [
        line_end(ends[0], index, said[0], pair.answered)?,
        line_end(ends[1], index, said[1], pair.answered)?,
    ];
    for (at, end) in line_ends.iter_mut().enumerate() {
        let agreed = formats.filter(|_| pair.answered).map(|it| it.agreed[sides[at]].codecs());
        if let Some(agreed) = agreed.filter(|agreed| !agreed.is_empty()) {
            end.hears = end.hears.and_then(|_| Hears::of(&agreed, end.ptime));
            end.speaks.splice(..0, decodable(&agreed));
        }
    }
    let ptimes = ends.map(|end| end.mirror.lines.get(index).map(|line| line.ptime).unwrap_or_default());
    let same_keys = keys_pass(&line_ends);
    let flow = |from: usize, to: usize| {
        // Checks go on while nothing is said.
        let open = pair.answered && (passing || (line_ends[from].sends && line_ends[to].wants));
        let agreed = formats.map(|it| [&it.agreed[sides[from]], &it.agreed[sides[to]]]);
        let payloads = match agreed.filter(|_| pair.answered && kind != MediaKind::Other) {
            Some([from_formats, to_formats]) => {
                codecs::payloads(from_formats, to_formats, packing([ptimes[from], ptimes[to]]))
            }
            None => Vec::new(),
        };
        // What is converted is a stream of ours, with reports of ours.
        let transparent = payloads.iter().all(PayloadMap::is_untouched) && pair.echo.is_none();
        let unread = transparent && same_keys && payloads.iter().all(|map| map.from == map.to);
        let open = open && pair.echo.is_none();
        FlowPlan { open, payloads, extensions: Vec::new(), transparent, unread }
    };
    let flows = [flow(0, 1), flow(1, 0)];
    let transparent = flows.iter().all(|flow| flow.transparent);
    let echoes = [0, 1].map(|at| {
        let list = &formats?.agreed[sides[at]];
        let echo = pair.answered && kind != MediaKind::Other && pair.echo.is_some_and(|echo| echo[sides[at]]);
        let open = line_ends[at].sends && line_ends[at].wants;
        let payloads = || codecs::payloads(list, list, Packing::default());
        // Who hears itself gets another SSRC than its own, and reports of ours on it.
        echo.then(|| FlowPlan { open, payloads: payloads(), ..FlowPlan::default() })
    });
    let rtcp_passes = transparent && !ends.iter().any(|end| end.generates_rtcp);
    Some(LinePlan { kind, rtcp_passes, ends: line_ends, flows, echoes })
}

/// The lists of the offerer, which is `side`, and of the other, by side.
fn in_order<T>(side: usize, offerer: T, other: T) -> [T; 2] {
    if side == 0 { [offerer, other] } else { [other, offerer] }
}

/// From an end to another.
fn packing(times: [PacketTime; 2]) -> Packing {
    Packing { ptimes: times.map(|it| it.told), repacks: times.iter().any(|it| it.is_chosen) }
}

/// A line at an end that wrote `said`; `answered` tells whether what was written is in force.
fn line_end(end: &End, index: usize, said: Option<&Description>, answered: bool) -> Option<LineEnd> {
    let line = end.mirror.lines.get(index)?;
    let media = said.and_then(|said| said.media.get(index));
    let passes = line.passing.is_some();
    let remote = media.and_then(|media| remote_address(media, end.source));
    let direction = media.map(meant);
    Some(LineEnd {
        index,
        remote: remote.map(|mut remote| {
            if line.mux.agreed {
                remote.rtcp = remote.rtp;
            }
            remote
        }),
        wants: direction.is_some_and(Direction::receives),
        sends: direction.is_some_and(Direction::sends),
        mid: None,
        ssrcs: Vec::new(),
        payload_types: Vec::new(),
        feedback: Vec::new(),
        rtcp_mux: line.mux.agreed,
        ptime: line.ptime.told,
        signalled_from: end.signalled_from,
        is_private: media.is_some_and(names_private),
        learn: !end.asymmetric,
        // Checks come from all the addresses of an end.
        strict_source: !passes,
        hears: media
            .filter(|_| !passes && direction.is_some_and(Direction::receives))
            .and_then(|media| Hears::of(&media.codecs, media.ptime.or(line.ptime.told))),
        speaks: media.map(|media| decodable(&media.codecs)).unwrap_or_default(),
        ear: false,
        manners: end.manners,
        protection: match passes {
            true => Protection::Passed,
            false => media.map(|media| line.protection(media, answered)).unwrap_or_default(),
        },
        ice: said.filter(|_| !passes).zip(media).and_then(|(said, media)| line.remote_ice(said, media)),
    })
}

/// Whether each end has the key of the other: what one protects the other can open, without us.
fn keys_pass([one, other]: &[LineEnd; 2]) -> bool {
    match (&one.protection, &other.protection) {
        (Protection::Sdes { local, remote }, Protection::Sdes { local: to, remote: from }) => {
            local == from && remote == to
        }
        _ => false,
    }
}

/// The protocol of an answer where it is not that of the offer (RFC 3264 §6): the profile that the controller wants; whether
/// media is protected is not its to say any more, since the offerer could not follow. Where it goes along with the
/// answerer, and that chose another than it was `told`, it is the answerer's.
fn answered_protocol(
    offer: &Media,
    answer: &Media,
    told: Option<TransportProtocol>,
    exchange: &Exchange,
) -> Option<&'static str> {
    let [offered, theirs] = [offer, answer].map(|media| TransportProtocol::parse(&media.protocol));
    let class = |it: TransportProtocol| (it.is_srtp(), it.as_str().starts_with("UDP/TLS/"));
    let chosen = match (offered?, exchange.transport_protocol?) {
        (_, TransportProtocol::Accept) => theirs.filter(|_| theirs != told),
        (offered, wish) => Some(wish).filter(|_| class(offered) == class(wish)),
    };
    chosen.map(TransportProtocol::as_str)
}
