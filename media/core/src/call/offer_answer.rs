//! Offer and answer (RFC 3264, RFC 8829 §5): SDP in, SDP for the other end and a plan for the engine out.
//!
//! A [`Session`] is one call as SDP knows it. Its *ends* are the endpoints (a caller, and a callee per branch); a *pair*
//! is two ends that exchange offers and answers. What a pair agreed on stays in force until the next answer: an offer
//! alone changes nothing, so a refused re-INVITE leaves the call as it was.

use bytes::Bytes;

use super::codecs::{self, More};
use super::compose::{Active, Bundle, Compose, Section};
use super::end::{End, EndLine, StableAnswer};
use super::keys;
use super::lines::{answer_direction, base_line, direction, is_usable, passed, usable_lines};
use super::mirror::party::Party;
use super::parties::{Pair, PairLine, Pending, kind_wanted, no_offer, side_of};
use super::plan::{
    DtlsRole, LegId, LegRequest, LinePlan, LocalLeg, MediaKind, MediaPlan, Payload, PayloadMap, Transports,
};
use crate::command::{Cause, Exchange, Failure, Ice, LegKind, RtcpMux};
use crate::sdp::{Codec, Description, MAX_MEDIA, Setup};

/// A call as SDP knows it.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub(super) ends: Vec<End>,
    pub(super) pairs: Vec<Pair>,
    /// Ends that are in no pair.
    pub(super) parties: Vec<Party>,
    pub(super) next_leg: u32,
    /// The next `a=label`.
    pub(super) next_label: u32,
}

/// What came of an offer or an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// For the other end.
    pub sdp: Bytes,
    /// For the engine.
    pub plan: MediaPlan,
    /// For the controller: what had no effect.
    pub warnings: Vec<String>,
}

impl Session {
    /// An offer of `from_tag`: what to send to the other end. On failure nothing has changed.
    pub fn offer(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Outcome, Failure> {
        self.attempt(|next| next.make_offer(exchange, transports))
    }

    /// An answer of `to_tag` to an offer of `from_tag`: what to send to the offerer. On failure nothing has changed.
    pub fn answer(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Outcome, Failure> {
        self.attempt(|next| next.make_answer(exchange, transports))
    }

    pub(super) fn attempt<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut next = self.clone();
        let outcome = run(&mut next);
        match outcome {
            Ok(_) => *self = next,
            // A leg that the engine made on the way keeps its name to itself.
            Err(_) => self.next_leg = next.next_leg,
        }
        outcome
    }

    fn make_offer(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Outcome, Failure> {
        let mut warnings = exchange.warnings.clone();
        let mut description = read(exchange)?;
        let from = self.offerer(exchange, &description)?;
        let kind = self.end(from).map_or(LegKind::Legacy, |end| end.kind);
        let wanted = match super::mirror::passes(exchange, &description) {
            true => LegKind::Legacy,
            false => exchange.receiver.kind.unwrap_or_else(|| kind_wanted(exchange, kind)),
        };
        let (pair, to) = self.answerer(exchange, from, wanted)?;
        let side = side_of(&self.pairs, pair, from)?;
        let to_kind = self.end(to).map_or(LegKind::Legacy, |end| end.kind);
        if super::mirror::is_wanted(exchange, [kind, to_kind]) {
            return self.mirror_offer(exchange, description, pair, side, transports);
        }
        warn_of_mux(exchange, to_kind, &mut warnings);
        if exchange.bundle.reject {
            description.bundles.clear();
        }
        self.note_offer(from, exchange, &description)?;
        let told = self.map_lines(pair, side, &description, [kind, to_kind], exchange)?;
        let local = self.local(from, None, false, transports)?;
        drop(local);
        self.open(pair, side, &told, transports)?;

        let local = self.local(to, Some(exchange), false, transports)?;
        let sections = self.sections_of_offer(pair, side, &description, &told, transports)?;
        let bundle = Bundle::of_offer(exchange.bundle);
        let sdp = self.compose(to, exchange, &local, &description, Setup::ActPass, bundle, &sections)?;
        self.end_mut(to)?.numbers.learn(&told.concat());
        let entry = self.pairs.get_mut(pair).ok_or_else(lost)?;
        entry.pending = Some(Pending { side, description, told });
        Ok(Outcome { sdp, plan: self.plan(pair)?, warnings })
    }

    fn make_answer(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Outcome, Failure> {
        let mut warnings = exchange.warnings.clone();
        let mut description = read(exchange)?;
        let (pair, from) = self.answered_pair(exchange)?;
        let mut pending = self.pairs.get(pair).and_then(|pair| pair.pending.clone()).ok_or_else(no_offer)?;
        if self.pairs.get(pair).is_some_and(|pair| pair.mirrored) {
            return self.mirror_answer(exchange, description, pair, pending, transports);
        }
        if exchange.bundle.reject {
            description.bundles.clear();
            pending.description.bundles.clear();
        }
        let to = *self.pairs.get(pair).and_then(|it| it.ends.get(pending.side)).ok_or_else(lost)?;
        self.end_mut(from)?.note(&exchange.sender, exchange);
        self.end_mut(to)?.note_announce(&exchange.receiver);
        let to_kind = self.end(to).map_or(LegKind::Legacy, |end| end.kind);
        warn_of_mux(exchange, to_kind, &mut warnings);

        let accepted = self.accept(pair, &pending, &description)?;
        self.end_mut(from)?.connect(&description, None);
        let sdp = match self.end(to).and_then(|end| end.answer.clone()) {
            Some(stable) => {
                self.agree(pair, &pending, accepted, Some(&stable.told), exchange.transcoding);
                stable.sdp
            }
            None => {
                self.agree(pair, &pending, accepted, None, exchange.transcoding);
                self.write_answer(pair, &pending, &description, exchange, transports)?
            }
        };
        let offerer_side = pending.side;
        let entry = self.pairs.get_mut(pair).ok_or_else(lost)?;
        let [first, second] = &mut entry.remote;
        let (offerer, answerer) = if pending.side == 0 { (first, second) } else { (second, first) };
        (*offerer, *answerer) = (Some(pending.description), Some(description));
        entry.answered = true;
        let plan = self.plan(pair)?;
        self.pairs.get(pair).map_or(Ok(()), |pair| check_flows(pair, offerer_side, &plan))?;
        Ok(Outcome { sdp, plan, warnings })
    }

    /// What an offer changes at the end that made it, whatever the answer.
    fn note_offer(
        &mut self,
        from: LegId,
        exchange: &Exchange,
        description: &Description,
    ) -> Result<(), Failure> {
        let end = self.end_mut(from)?;
        end.note(&exchange.sender, exchange);
        if exchange.to_tag.is_some() || end.offer.as_ref() != Some(&exchange.sdp) {
            end.answer = None;
            end.offer = Some(exchange.sdp.clone());
        }
        end.lines = description.media.iter().map(EndLine::of).collect();
        description.media.iter().for_each(|media| end.numbers.learn(&media.codecs));
        Ok(())
    }

    /// Pairs the lines of an offer with lines of the other end; the formats to offer for each, in the other end's
    /// numbers.
    fn map_lines(
        &mut self,
        pair: usize,
        side: usize,
        description: &Description,
        [from_kind, to_kind]: [LegKind; 2],
        exchange: &Exchange,
    ) -> Result<Vec<Vec<Codec>>, Failure> {
        let entry = self.pairs.get_mut(pair).ok_or_else(lost)?;
        let [from, to] = [side, 1 - side].map(|side| entry.ends[side]);
        let from_hand = self.ends.iter().find(|end| end.id == from).map(keys::hand).ok_or_else(lost)?;
        let end = self.ends.iter_mut().find(|end| end.id == to).ok_or_else(lost)?;
        let mut told = vec![Vec::new(); entry.lines.len()];
        let mut taken = Vec::new();
        for (index, kind, mut codecs) in usable_lines(description, from_kind, to_kind, More::of(exchange)) {
            let known = entry.lines.iter().position(|line| line.at[side] == index);
            let at = match known {
                Some(at) => at,
                None if end.lines.len() < MAX_MEDIA => {
                    let media = description.media.get(index).ok_or_else(lost)?;
                    end.lines.push(EndLine::towards(media, end.kind, &end.lines, exchange));
                    let mut places = [index; 2];
                    places[1 - side] = end.lines.len() - 1;
                    entry.lines.push(PairLine { kind, at: places, told: Default::default(), active: false });
                    told.push(Vec::new());
                    told.len() - 1
                }
                None => continue,
            };
            // Without a group a browser's further lines would want a transport of their own.
            if exchange.bundle.reject && to_kind == LegKind::Browser && told.iter().any(|it| !it.is_empty()) {
                continue;
            }
            if exchange.transcoding && kind == MediaKind::Audio {
                keys::offered(&mut codecs, from_hand, keys::hand(end));
            }
            end.numbers.assign(&mut codecs, &mut taken);
            if let Some(told) = told.get_mut(at) {
                *told = codecs;
            }
        }
        if told.iter().all(Vec::is_empty) && !entry.answered {
            return Err(refuse("no line and no format that both ends can use"));
        }
        Ok(told)
    }

    // ---- transports ----

    fn local(
        &self,
        leg: LegId,
        exchange: Option<&Exchange>,
        restart_ice: bool,
        transports: &mut dyn Transports,
    ) -> Result<LocalLeg, Failure> {
        let end = self.end(leg).ok_or_else(lost)?;
        let family = exchange.and_then(|exchange| exchange.address_family);
        let interface = end.interface.as_deref();
        transports
            .leg(leg, &LegRequest { kind: end.kind, announce: end.announce, interface, family, restart_ice })
    }

    /// Makes the offerer's own ports ready, so that nothing waits for them when the answer comes.
    fn open(
        &self,
        pair: usize,
        side: usize,
        told: &[Vec<Codec>],
        transports: &mut dyn Transports,
    ) -> Result<(), Failure> {
        let pair = self.pairs.get(pair).ok_or_else(lost)?;
        for (line, _) in pair.lines.iter().zip(told).filter(|(_, told)| !told.is_empty()) {
            transports.media(pair.ends[side], line.at[side], line.kind)?;
        }
        Ok(())
    }

    // ---- writing ----

    fn sections_of_offer(
        &self,
        pair: usize,
        side: usize,
        description: &Description,
        told: &[Vec<Codec>],
        transports: &mut dyn Transports,
    ) -> Result<Vec<Section>, Failure> {
        let pair = self.pairs.get(pair).ok_or_else(lost)?;
        let (from, to) =
            (self.end(pair.ends[side]).ok_or_else(lost)?, self.end(pair.ends[1 - side]).ok_or_else(lost)?);
        let mut sections: Vec<Section> = to.lines.iter().map(EndLine::section).collect();
        for (line, codecs) in pair.lines.iter().zip(told).filter(|(_, codecs)| !codecs.is_empty()) {
            let (source, index) = (line.at[side], line.at[1 - side]);
            let (Some(section), Some(media)) = (sections.get_mut(index), description.media.get(source))
            else {
                continue;
            };
            let extensions = match (from.kind, to.kind) {
                (LegKind::Browser, LegKind::Browser) => passed(&media.extensions),
                _ => Vec::new(),
            };
            section.active = Some(Active {
                source,
                local: transports.media(to.id, index, line.kind)?,
                codecs: codecs.clone(),
                direction: direction(media, from.kind),
                extensions,
            });
        }
        Ok(sections)
    }

    fn write_answer(
        &mut self,
        pair: usize,
        pending: &Pending,
        description: &Description,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Bytes, Failure> {
        let side = pending.side;
        let entry = self.pairs.get(pair).ok_or_else(lost)?;
        let (to, from) = (entry.ends[side], entry.ends[1 - side]);
        let restart = self.end_mut(to)?.connect(&pending.description, exchange.dtls);
        let local = self.local(to, Some(exchange), restart, transports)?;
        let entry = self.pairs.get(pair).ok_or_else(lost)?;
        let (end, from_kind) = (self.end(to).ok_or_else(lost)?, self.end(from).ok_or_else(lost)?.kind);
        let both_browsers = end.kind == LegKind::Browser && from_kind == LegKind::Browser;
        let mut sections: Vec<Section> = end.lines.iter().map(EndLine::section).collect();
        for line in entry.lines.iter().filter(|line| line.active) {
            let (index, source) = (line.at[side], line.at[1 - side]);
            let (Some(offer), Some(media)) =
                (pending.description.media.get(index), description.media.get(source))
            else {
                continue;
            };
            let Some(section) = sections.get_mut(index) else { continue };
            let mut extensions = if both_browsers { passed(&media.extensions) } else { Vec::new() };
            extensions.retain(|extension| offer.extensions.contains(extension));
            section.active = Some(Active {
                source,
                local: transports.media(to, index, line.kind)?,
                codecs: line.told[side].clone(),
                direction: answer_direction(direction(offer, end.kind), direction(media, from_kind)),
                extensions,
            });
        }
        let setup = match end.role {
            Some((_, DtlsRole::Client)) => Setup::Active,
            _ => Setup::Passive,
        };
        let bundle = if pending.description.bundles.is_empty() { Bundle::Off } else { Bundle::Group };
        let sdp = self.compose(to, exchange, &local, description, setup, bundle, &sections)?;
        let entry = self.pairs.get(pair).ok_or_else(lost)?;
        let mut told = vec![Vec::new(); pending.description.media.len()];
        for line in entry.lines.iter().filter(|line| line.active) {
            told.get_mut(line.at[side]).into_iter().for_each(|slot| slot.clone_from(&line.told[side]));
        }
        let end = self.end_mut(to)?;
        if end.kind == LegKind::Browser {
            end.answer = Some(StableAnswer { sdp: sdp.clone(), told });
        }
        Ok(sdp)
    }

    fn compose(
        &mut self,
        to: LegId,
        exchange: &Exchange,
        local: &LocalLeg,
        source: &Description,
        setup: Setup,
        bundle: Bundle,
        sections: &[Section],
    ) -> Result<Bytes, Failure> {
        let end = self.end_mut(to)?;
        let (kind, flags, replace) = (end.kind, exchange.flags, exchange.replace);
        let as_relay = exchange.ice == Some(Ice::ForceRelay);
        let compose = Compose { kind, local, source, setup, flags, replace, bundle, as_relay, sections };
        let body = compose.body();
        // The version stands for the body: phones ignore a changed body under an unchanged version.
        if end.version == 0 || end.body != body || replace.force_increment_sdp_version {
            end.version += 1;
        }
        let mut sdp = b"v=0\r\n".to_vec();
        sdp.extend_from_slice(compose.origin(end.version).as_bytes());
        sdp.extend_from_slice(&body);
        end.body = body;
        Ok(sdp.into())
    }

    // ---- agreement ----

    /// For each pair line what the answerer accepted, in its own numbers; empty where it refused the line.
    fn accept(
        &mut self,
        pair: usize,
        pending: &Pending,
        description: &Description,
    ) -> Result<Vec<Vec<Codec>>, Failure> {
        let entry = self.pairs.get(pair).ok_or_else(lost)?;
        let side = 1 - pending.side;
        let from = entry.ends[side];
        let kind = self.end(from).ok_or_else(lost)?.kind;
        let base = base_line(description, kind);
        let offer = &pending.description;
        let offerer = entry.ends.get(pending.side).and_then(|id| self.end(*id)).ok_or_else(lost)?.kind;
        let offer_base = base_line(offer, offerer);
        let mut accepted = Vec::with_capacity(entry.lines.len());
        let mut offered = 0;
        for (line, told) in entry.lines.iter().zip(pending.told.iter().chain(std::iter::repeat(&Vec::new())))
        {
            let media =
                description.media.get(line.at[side]).filter(|media| !told.is_empty() && !media.is_refused());
            offered += usize::from(media.is_some());
            let usable = media.filter(|_| {
                is_usable(description, line.at[side], base, kind)
                    && (offerer == LegKind::Legacy
                        || is_usable(offer, line.at[pending.side], offer_base, offerer))
            });
            let codecs = usable.map(|media| codecs::agreed(&media.codecs, told)).unwrap_or_default();
            accepted.push(if codecs.iter().any(Codec::is_media) { codecs } else { Vec::new() });
        }
        if offered > 0 && accepted.iter().all(Vec::is_empty) {
            return Err(refuse("the answer has no line that can be relayed, or no format that was offered"));
        }
        let end = self.end_mut(from)?;
        for (line, media) in end.lines.iter_mut().zip(&description.media) {
            line.format = media.formats.first().cloned().unwrap_or_default();
        }
        accepted.iter().for_each(|codecs| end.numbers.learn(codecs));
        Ok(accepted)
    }

    /// Whether a browser that made the offer has other branches to phones, to which its one answer must do as well.
    fn has_other_phones(&self, pair: usize, side: usize) -> bool {
        let legacy = |id: &LegId| self.end(*id).is_some_and(|end| end.kind == LegKind::Legacy);
        let Some(offerer) = self.pairs.get(pair).and_then(|pair| pair.ends.get(side)) else { return false };
        let others =
            self.pairs.iter().enumerate().filter(|(at, other)| *at != pair && other.ends.contains(offerer));
        !legacy(offerer) && others.flat_map(|(_, other)| &other.ends).any(legacy)
    }

    /// Puts what was accepted in force. `stable` is what the offerer was told already, where it was.
    fn agree(
        &mut self,
        pair: usize,
        pending: &Pending,
        accepted: Vec<Vec<Codec>>,
        stable: Option<&[Vec<Codec>]>,
        bridges_keys: bool,
    ) {
        let ids = self.pairs.get(pair).map(|pair| pair.ends);
        let hands = ids.map(|ids| ids.map(|id| self.end(id).map(keys::hand)));
        let Some([Some(first), Some(second)]) = hands else { return };
        let hands = [first, second];
        let between_browsers = hands.iter().all(|(kind, _)| *kind == LegKind::Browser);
        let others = self.has_other_phones(pair, pending.side);
        let Some(entry) = self.pairs.get_mut(pair) else { return };
        let side = pending.side;
        for ((line, codecs), told) in entry.lines.iter_mut().zip(accepted).zip(&pending.told) {
            let index = line.at[side];
            line.told[1 - side].clone_from(told);
            line.told[side] = match (stable, pending.description.media.get(index)) {
                (Some(stable), _) => stable.get(index).cloned().unwrap_or_default(),
                (None, Some(media)) => {
                    let mut answer = codecs::answered(&media.codecs, &codecs, between_browsers, others);
                    if bridges_keys && line.kind == MediaKind::Audio {
                        keys::answered(&mut answer, &media.codecs, hands[1 - side], hands[side]);
                    }
                    answer
                }
                (None, None) => Vec::new(),
            };
            line.active = !codecs.is_empty() && !line.told[side].is_empty();
        }
    }
}

pub(super) fn read(exchange: &Exchange) -> Result<Description, Failure> {
    let description = Description::parse(exchange.sdp.clone()).map_err(|error| refuse(&error.to_string()))?;
    if description.media.is_empty() {
        return Err(refuse("the session description has no m= line"));
    }
    Ok(description)
}

fn warn_of_mux(exchange: &Exchange, to: LegKind, warnings: &mut Vec<String>) {
    let wants =
        exchange.rtcp_mux.iter().any(|it| matches!(it, RtcpMux::Offer | RtcpMux::Require | RtcpMux::Accept));
    if wants && to == LegKind::Legacy {
        warnings.push("rtcp-mux: RTCP has its own port towards plain RTP".to_owned());
    }
}

/// A branch that cannot hear a caller who already has an answer, or say anything to it, is worse than no branch.
fn check_flows(pair: &Pair, offerer: usize, plan: &MediaPlan) -> Result<(), Failure> {
    let carries = |map: &PayloadMap| !map.payload.is_event() && map.payload != Payload::ComfortNoise;
    let deaf = |(line, planned): (&PairLine, &LinePlan)| {
        // It sends the first format of its answer.
        let leading = line.told[offerer].iter().find(|codec| codec.is_media());
        let heard =
            leading.is_some_and(|codec| planned.flows[0].payload(codec.payload_type).is_some_and(carries));
        line.kind == MediaKind::Audio && !(heard && planned.flows[1].payloads.iter().any(carries))
    };
    let mut lines = pair.lines.iter().filter(|line| line.active).zip(&plan.lines);
    match lines.any(deaf) {
        true => Err(refuse("the answer has no format in common with the answer the offerer already got")),
        false => Ok(()),
    }
}

pub(super) fn refuse(reason: &str) -> Failure {
    Failure { cause: Cause::NotAcceptable, reason: reason.to_owned() }
}

/// An end or pair that was there a moment ago: a mistake of this module, kept from being a panic.
pub(super) fn lost() -> Failure {
    Failure { cause: Cause::Internal, reason: "the session lost track of an end".to_owned() }
}
