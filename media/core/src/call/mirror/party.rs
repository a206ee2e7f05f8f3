//! Ends that are in no pair: publishers, whose media is taken for others, and subscribers, who get copies of what others
//! send (ng `publish`, `subscribe request`, `subscribe answer`, `unsubscribe`); and `connect`, which makes pairs of ends
//! that never exchanged offer and answer.

use std::collections::HashSet;

use bytes::Bytes;

use super::codecs::{LineFormats, Packing};
use super::line::{MirrorLine, PacketTime};
use super::write::Section;
use super::{Said, codecs, line_end, meant, media_kind};
use crate::call::compose::{address_words, push};
use crate::call::end::End;
use crate::call::offer_answer::{Session, lost, read, refuse};
use crate::call::parties::Pair;
use crate::call::plan::{
    FlowPlan, Hearing, LegId, LocalLeg, MediaKind, MediaPlan, PartyLine, PartyPlan, Payload, PayloadMap,
    Transports,
};
use crate::codec::Format;
use crate::command::{
    Cause, Connect, Delete, Exchange, Failure, LegKind, SubscribedMedia, SubscribedTag, Subscription,
};
use crate::sdp::{Codec, Description, Direction, MAX_MEDIA, Media};

/// Publishers and subscribers of one call.
const MAX_PARTIES: usize = 128;

/// An end that is in no pair.
#[derive(Debug, Clone)]
pub(in crate::call) struct Party {
    pub(in crate::call) end: LegId,
    /// Whose line it hears on each of its own; empty for a publisher, and `None` where a line is no longer used.
    hears: Vec<Option<(LegId, usize)>>,
    /// What it wrote.
    remote: Option<Description>,
    /// ng `RTCP mirror`.
    rtcp_returns: bool,
    /// By line. Side 0 is a publisher, or whom a subscriber hears; side 1 is the subscriber.
    formats: Vec<LineFormats>,
}

impl Party {
    /// Whether others can hear it.
    pub(in crate::call) fn publishes(&self) -> bool {
        self.hears.is_empty()
    }
}

/// What came of a publication.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Our answer.
    pub sdp: Bytes,
    /// The publisher's.
    pub leg: LegId,
    /// What had no effect.
    pub warnings: Vec<String>,
}

/// What came of connecting two ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Connected {
    /// Of the new pair.
    pub plan: MediaPlan,
    /// Who no longer talks to whom.
    pub parted: Vec<(LegId, LegId)>,
}

/// What an end says, for those who are to hear it.
struct Source<'a> {
    end: &'a End,
    said: &'a Description,
    /// What those it talks to said.
    peer: Option<&'a Description>,
    /// Its SDP is shown to others as it is.
    mirrored: bool,
    /// For each line what it may send.
    spoken: Vec<Vec<Codec>>,
}

impl Source<'_> {
    fn sends(&self, index: usize) -> bool {
        let wants = |peer: &Description| peer.media.get(index).is_none_or(|media| meant(media).receives());
        let media = self.said.media.get(index);
        media.is_some_and(|media| media.port != 0 && meant(media).sends()) && self.peer.is_none_or(wants)
    }
}

impl Session {
    /// A description whose media is taken: our answer to it. On failure nothing has changed.
    pub fn publish(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Published, Failure> {
        self.attempt(|next| next.make_publication(exchange, transports))
    }

    /// Somebody wants copies: the offer for it. On failure nothing has changed.
    pub fn subscribe_request(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Subscription, Failure> {
        self.attempt(|next| next.make_subscription(exchange, transports))
    }

    /// The answer to that offer: whose it is. On failure nothing has changed.
    pub fn subscribe_answer(&mut self, exchange: &Exchange) -> Result<LegId, Failure> {
        self.attempt(|next| next.take_subscription(exchange))
    }

    /// Ends the subscription of this tag; its leg, which is no longer needed.
    pub fn unsubscribe(&mut self, tag: &str) -> Option<LegId> {
        let party = self.party_tagged(tag).filter(|party| !party.publishes())?.end;
        self.parties.retain(|it| it.end != party);
        self.ends.retain(|end| end.id != party);
        Some(party)
    }

    /// Makes a pair of two ends. On failure nothing has changed.
    pub fn connect(&mut self, connect: &Connect) -> Result<Connected, Failure> {
        self.attempt(|next| next.make_connection(connect))
    }

    /// The wanted state of the ends that are in no pair.
    pub fn party_plans(&self) -> Vec<PartyPlan> {
        self.parties.iter().filter_map(|party| self.party_plan(party)).collect()
    }

    /// Who is meant by a delete that names an end in no pair.
    pub(in crate::call) fn party_named(&self, delete: &Delete) -> Option<LegId> {
        let tag = delete.to_tag.as_ref().or(delete.from_tag.as_ref())?;
        self.party_tagged(tag).map(|party| party.end)
    }

    fn party_tagged(&self, tag: &str) -> Option<&Party> {
        self.parties.iter().find(|party| self.end(party.end).is_some_and(|end| end.has_tag(tag)))
    }

    fn party_formats(&mut self, id: LegId, index: usize) -> Result<&mut LineFormats, Failure> {
        let formats = &mut self.party_mut(id)?.formats;
        if formats.len() <= index {
            formats.resize_with(index + 1, LineFormats::default);
        }
        formats.get_mut(index).ok_or_else(lost)
    }

    fn party_mut(&mut self, id: LegId) -> Result<&mut Party, Failure> {
        self.parties.iter_mut().find(|party| party.end == id).ok_or_else(lost)
    }

    /// The party of a tag, made where there is none.
    fn party(&mut self, tag: &String, publishes: bool) -> Result<LegId, Failure> {
        if let Some(party) = self.party_tagged(tag) {
            return match party.publishes() == publishes {
                true => Ok(party.end),
                false => Err(refuse("the tag is that of a publisher or subscriber already")),
            };
        }
        if self.ends.iter().any(|end| end.has_tag(tag)) {
            return Err(refuse("the tag is that of an end that offers and answers"));
        }
        if self.parties.len() >= MAX_PARTIES {
            let reason = format!("a call has at most {MAX_PARTIES} publishers and subscribers");
            return Err(Failure { cause: Cause::Full, reason });
        }
        let end = self.new_end(LegKind::Legacy, Some(tag), !publishes);
        let hears = if publishes { Vec::new() } else { vec![None] };
        let (remote, rtcp_returns, formats) = (None, false, Vec::new());
        self.parties.push(Party { end, hears, remote, rtcp_returns, formats });
        Ok(end)
    }

    // ---- publishing ----

    fn make_publication(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Published, Failure> {
        let description = read(exchange)?;
        let id = self.party(&exchange.from_tag, true)?;
        let end = self.end_mut(id)?;
        end.note(&exchange.sender, exchange);
        end.note_announce(&exchange.receiver);
        let local = self.mirror_leg(id, exchange.address_family, &description, transports)?;
        let mut sections = Vec::with_capacity(description.media.len());
        for (index, media) in description.media.iter().enumerate() {
            self.label_line(id, index)?;
            sections.push(self.published_section(id, index, media, exchange, transports)?);
        }
        if !sections.iter().any(|section| section.is_active) {
            return Err(refuse("no line and no format that can be published"));
        }
        let sources: Vec<Own<'_>> = description.media.iter().map(Own::of).collect();
        let sdp = self.write_own(id, &sources, exchange, &local, &sections, transports)?;
        self.party_mut(id)?.remote = Some(description);
        Ok(Published { sdp, leg: id, warnings: exchange.warnings.clone() })
    }

    fn published_section(
        &mut self,
        id: LegId,
        index: usize,
        media: &Media,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Section, Failure> {
        let line = self.mirror_line(id, index)?;
        line.hear_offer(media, exchange);
        let mid = line.mid.clone();
        self.party_formats(id, index)?.agreed = Default::default();
        let kind = media_kind(media).filter(|kind| *kind != MediaKind::Other && media.port != 0);
        let codecs = kind.map(|kind| published(&media.codecs, kind, &exchange.codec.accept));
        let (Some(kind), Some(codecs)) = (kind, codecs.filter(|codecs| !codecs.is_empty())) else {
            return Ok(Section::refused(mid));
        };
        let line = self.mirror_line(id, index)?;
        // There is no other end whose answer would have to be waited for.
        line.prepare_answer(&MirrorLine::willing(), media, exchange);
        let crypto = match line.dtls.told {
            true => None,
            false => line.keys.answer(None, &exchange.sdes, transports),
        };
        if crypto.is_none() {
            line.keys.agreed = None;
        }
        if line.is_srtp() && !line.dtls.told && crypto.is_none() {
            return Ok(Section::refused(mid));
        }
        let restart = line.settle_ice(media);
        self.party_formats(id, index)?.agreed[0] = codecs::spoken(&codecs);
        let mut section = self.mirror_section(id, index, media, kind, false, restart, transports)?;
        section.protocol.clone_from(&media.protocol);
        section.direction = Direction::new(false, meant(media).sends());
        section.crypto = crypto.into_iter().collect();
        section.codecs = codecs;
        Ok(section)
    }

    // ---- subscribing ----

    fn make_subscription(
        &mut self,
        exchange: &Exchange,
        transports: &mut dyn Transports,
    ) -> Result<Subscription, Failure> {
        let ids = self.sources_wanted(exchange)?;
        for id in &ids {
            let lines = self.source(*id).map_or(0, |source| source.said.media.len());
            (0..lines).try_for_each(|index| self.label_line(*id, index))?;
        }
        let tag = exchange.to_tag.clone().unwrap_or_else(|| transports.fresh_tag());
        let wanted = self.lines_wanted(&ids);
        let subscriber = self.party(&tag, false)?;
        let party = self.party_mut(subscriber)?;
        // RFC 3264 §8: an SDP never has fewer lines than the one before.
        let before = party.hears.len();
        party.hears = wanted.iter().copied().map(Some).collect();
        party.hears.resize(before.max(wanted.len()), None);
        party.rtcp_returns = exchange.flags.rtcp_mirror;
        let hears = party.hears.clone();
        let end = self.end_mut(subscriber)?;
        end.note_announce(&exchange.receiver);
        end.generates_rtcp = exchange.flags.generate_rtcp;

        let view = self.clone();
        let sources: Vec<Source<'_>> = ids.iter().filter_map(|id| view.source(*id)).collect();
        let first = sources.first().ok_or_else(lost)?;
        let local = self.mirror_leg(subscriber, exchange.address_family, first.said, transports)?;
        let mut warnings = exchange.warnings.clone();
        let mut sections = Vec::with_capacity(hears.len());
        for (index, heard) in hears.iter().enumerate() {
            let source = heard.and_then(|(id, line)| Some((find(&sources, id)?, line)));
            let at = (subscriber, index);
            sections.push(match source {
                Some((source, line)) => {
                    self.subscribed_section(at, source, line, exchange, transports, &mut warnings)?
                }
                None => Section::refused(None),
            });
        }
        let alone = sources.len() == 1 && first.mirrored && hears.len() == first.said.media.len();
        let sdp = if alone && !exchange.flags.siprec {
            let said = Said { id: subscriber, description: first.said };
            self.mirror_write(&said, exchange, &local, &sections, transports.instance())?
        } else {
            let own: Vec<Own<'_>> = hears.iter().map(|heard| own_line(&sources, *heard, exchange)).collect();
            // With lines of several ends their names would meet.
            sections.iter_mut().for_each(|section| section.mid = None);
            self.write_own(subscriber, &own, exchange, &local, &sections, transports)?
        };
        let sources = sources.iter().map(|source| told(source, exchange.flags.siprec)).collect();
        Ok(Subscription { sdp, to_tag: tag, sources, warnings })
    }

    /// The ends that a request names: all, those of its tags, or the one of its tag, label or address.
    fn sources_wanted(&self, exchange: &Exchange) -> Result<Vec<LegId>, Failure> {
        let known = |end: &&End| self.source(end.id).is_some();
        let by_tag = |tag: &String| self.ends.iter().filter(known).find(|end| end.has_tag(tag));
        let ids: Vec<LegId> = if exchange.flags.all {
            self.ends.iter().filter(known).map(|end| end.id).collect()
        } else if !exchange.from_tags.is_empty() {
            let mut seen = HashSet::new();
            let ends = exchange.from_tags.iter().map(|tag| by_tag(tag).map(|end| end.id));
            let ends: Option<Vec<LegId>> = ends.collect();
            ends.unwrap_or_default().into_iter().filter(|id| seen.insert(*id)).collect()
        } else if let Some(label) = &exchange.sender.label {
            let named = |end: &&End| end.label.as_ref() == Some(label);
            self.ends.iter().filter(known).find(named).map(|end| end.id).into_iter().collect()
        } else {
            by_tag(&exchange.from_tag).map(|end| end.id).into_iter().collect()
        };
        match ids.is_empty() {
            true => Err(Failure {
                cause: Cause::UnknownCall,
                reason: "the call has no end with media that is meant".to_owned(),
            }),
            false => Ok(ids),
        }
    }

    fn lines_wanted(&self, ids: &[LegId]) -> Vec<(LegId, usize)> {
        let sources = ids.iter().filter_map(|id| self.source(*id));
        let lines = sources.flat_map(|it| (0..it.said.media.len()).map(move |line| (it.end.id, line)));
        lines.take(MAX_MEDIA).collect()
    }

    fn subscribed_section(
        &mut self,
        (to, index): (LegId, usize),
        source: &Source<'_>,
        line: usize,
        exchange: &Exchange,
        transports: &mut dyn Transports,
        warnings: &mut Vec<String>,
    ) -> Result<Section, Failure> {
        let media = source.said.media.get(line).ok_or_else(lost)?;
        let mut sender = MirrorLine::default();
        sender.hear_offer(media, exchange);
        // The keys of a source are its own affair.
        sender.keys = Default::default();
        let own = self.mirror_line(to, index)?;
        own.prepare_offer(&sender, media, exchange);
        let [_, ptime] = PacketTime::settle(PacketTime::default(), own.ptime, media, exchange);
        own.ptime = ptime;
        let kind = media_kind(media).filter(|_| media.port != 0);
        let spoken = source.spoken.get(line).cloned().unwrap_or_default();
        let Some(kind) = kind.filter(|kind| *kind == MediaKind::Other || !spoken.is_empty()) else {
            return Ok(Section::refused(own.mid.clone()));
        };
        let crypto = own.offer_keys(&sender, exchange, transports);
        let formats = self.party_formats(to, index)?;
        let before = [&formats.agreed[0], &formats.agreed[1]];
        let offered = codecs::offer(before, &spoken, kind, &exchange.codec, Packing::default());
        warnings.extend(offered.warnings);
        formats.proposed = [offered.offerer, offered.told];
        let told = formats.proposed[1].codecs();
        let mut section = self.mirror_section(to, index, media, kind, true, false, transports)?;
        section.direction = Direction::new(source.sends(line), false);
        section.crypto = crypto;
        section.codecs = told;
        Ok(section)
    }

    fn take_subscription(&mut self, exchange: &Exchange) -> Result<LegId, Failure> {
        let description = read(exchange)?;
        let tag = exchange.to_tag.as_deref().unwrap_or_default();
        let party = self.party_tagged(tag).filter(|party| !party.publishes()).ok_or_else(|| Failure {
            cause: Cause::UnknownCall,
            reason: "no subscription has this to-tag".to_owned(),
        })?;
        let (id, hears) = (party.end, party.hears.clone());
        let end = self.end_mut(id)?;
        end.asymmetric = exchange.flags.asymmetric;
        end.manners = exchange.manners;
        end.note_source(exchange);
        let mut live = 0;
        for (index, media) in description.media.iter().enumerate().take(hears.len()) {
            let Some(Some((source, line))) = hears.get(index).copied() else { continue };
            let spoken = self.source(source).and_then(|source| source.spoken.get(line).cloned());
            let formats = self.party_formats(id, index)?;
            formats.agreed = Default::default();
            let Some(kind) = media_kind(media).filter(|_| media.port != 0) else { continue };
            let proposed = [&formats.proposed[0], &formats.proposed[1]];
            let single = exchange.flags.single_codec;
            let answered =
                codecs::answer(proposed, &media.codecs, kind, &exchange.codec, single, Packing::default());
            if kind != MediaKind::Other {
                let accepted = answered.answerer.codecs();
                check_codecs(&spoken.unwrap_or_default(), &accepted, exchange.flags.allow_transcoding)?;
            }
            let own = self.mirror_line(id, index)?;
            let [ptime, _] = PacketTime::settle(own.ptime, PacketTime::default(), media, exchange);
            own.ptime = ptime;
            let secured = own.hear_answer(media);
            own.settle_ice(media);
            if secured {
                self.party_formats(id, index)?.agreed = [answered.offerer, answered.answerer];
                live += 1;
            }
        }
        if live == 0 && description.media.iter().any(|media| media.port != 0) {
            return Err(refuse("the answer has no line that can be relayed, or no format that was offered"));
        }
        self.party_mut(id)?.remote = Some(description);
        Ok(id)
    }

    // ---- what others may hear ----

    /// What an end says; `None` where nothing is known of it, and for a subscriber.
    fn source(&self, id: LegId) -> Option<Source<'_>> {
        let end = self.end(id)?;
        if let Some(party) = self.parties.iter().find(|party| party.end == id) {
            let said = party.remote.as_ref().filter(|_| party.publishes())?;
            let spoken = party.formats.iter().map(|line| line.agreed[0].codecs()).collect();
            return Some(Source { end, said, peer: None, mirrored: true, spoken });
        }
        let pairs = self.pairs.iter().filter(|pair| pair.ends.contains(&id));
        let pair = pairs.max_by_key(|pair| pair.answered)?;
        let side = pair.ends.iter().position(|other| *other == id)?;
        let said = pair.said(side)?;
        let spoken = (0..said.media.len()).map(|index| spoken(pair, side, said, index)).collect();
        let peer = pair.remote.get(1 - side)?.as_ref().filter(|_| pair.mirrored && pair.answered);
        Some(Source { end, said, peer, mirrored: pair.mirrored, spoken })
    }

    fn party_plan(&self, party: &Party) -> Option<PartyPlan> {
        let end = self.end(party.end)?;
        let said = party.remote.as_ref();
        let count = said.map_or(0, |said| said.media.len());
        let lines = (0..count).filter_map(|index| match party.hears.get(index) {
            None if party.publishes() => {
                let media = said?.media.get(index)?;
                let taken = !party.formats.get(index)?.agreed[0].codecs().is_empty();
                let kind = media_kind(media).filter(|_| taken)?;
                Some(PartyLine { kind, end: line_end(end, index, said, true)?, hears: None })
            }
            Some(Some(heard)) => self.hearing(party, end, index, *heard),
            _ => None,
        });
        Some(PartyPlan { leg: party.end, controlling: end.controlling, lines: lines.collect() })
    }

    fn hearing(
        &self,
        party: &Party,
        end: &End,
        index: usize,
        (id, line): (LegId, usize),
    ) -> Option<PartyLine> {
        let said = party.remote.as_ref()?;
        let media = said.media.get(index).filter(|media| media.port != 0)?;
        let kind = media_kind(media)?;
        let own = &party.formats.get(index)?.agreed[1];
        let line_end = line_end(end, index, Some(said), true)?;
        let source = self.source(id)?;
        let spoken = source.spoken.get(line)?;
        let payloads = match kind {
            MediaKind::Other => Vec::new(),
            _ => {
                let packing = Packing { ptimes: [None, line_end.ptime], repacks: false };
                codecs::payloads(&codecs::spoken(spoken), own, packing)
            }
        };
        // Octet for octet names and numbers stay; packets made anew have their own.
        let same = |map: &PayloadMap| {
            map.from_clock == map.to_clock && !matches!(map.payload, Payload::Transcode { .. })
        };
        let transparent = source.mirrored && payloads.iter().all(same);
        let open = source.sends(line) && line_end.wants && (kind == MediaKind::Other || !payloads.is_empty());
        let flow = FlowPlan { open, payloads, extensions: Vec::new(), transparent, unread: false };
        let rtcp_passes = transparent && !end.generates_rtcp && !source.end.generates_rtcp;
        let hears = Hearing {
            source: (id, line),
            flow,
            rtcp_passes,
            rtcp_returns: rtcp_passes && party.rtcp_returns,
        };
        Some(PartyLine { kind, end: line_end, hears: Some(hears) })
    }

    // ---- connecting ----

    fn make_connection(&mut self, connect: &Connect) -> Result<Connected, Failure> {
        let unknown = |tag: &str| Failure {
            cause: Cause::UnknownCall,
            reason: format!("no end with media has the tag {}", tag.chars().take(64).collect::<String>()),
        };
        let find = |tag: &str| {
            let ends = self.ends.iter().filter(|end| end.has_tag(tag) && end.kind == LegKind::Legacy);
            ends.filter_map(|end| self.source(end.id)).next().ok_or_else(|| unknown(tag))
        };
        let (from, to) = (find(&connect.from_tag)?, find(&connect.to_tag)?);
        let ends = [from.end.id, to.end.id];
        if ends[0] == ends[1] {
            return Err(refuse("an end cannot be connected to itself"));
        }
        let remote = [Some(from.said.clone()), Some(to.said.clone())];
        let lists = [from.spoken.clone(), to.spoken.clone()];
        let formats = (0..lists.iter().map(Vec::len).max().unwrap_or(0)).map(|line| {
            let list = |at: usize| codecs::spoken(lists[at].get(line).map(Vec::as_slice).unwrap_or_default());
            LineFormats { agreed: [list(0), list(1)], ..LineFormats::default() }
        });
        let formats = formats.collect();
        let one = |pair: &&Pair| pair.ends.iter().any(|id| ends.contains(id));
        let both = |pair: &Pair| pair.ends.iter().all(|id| ends.contains(id));
        let parted = self.pairs.iter().filter(one).filter(|pair| !both(pair));
        let parted = parted.map(|pair| (pair.ends[0], pair.ends[1])).collect();
        let index = match self.pairs.iter().position(both) {
            Some(index) => index,
            None => {
                let (branch, lines, pending) = (None, Vec::new(), None);
                self.pairs.push(Pair {
                    ends,
                    branch,
                    lines,
                    remote,
                    pending,
                    answered: true,
                    mirrored: true,
                    formats,
                    echo: None,
                });
                self.pairs.len() - 1
            }
        };
        // They take part in a talk from now on.
        self.parties.retain(|party| !ends.contains(&party.end));
        Ok(Connected { plan: self.plan(index)?, parted })
    }

    // ---- writing ----

    /// Writes a description that is no other end's.
    fn write_own(
        &mut self,
        to: LegId,
        lines: &[Own<'_>],
        exchange: &Exchange,
        local: &LocalLeg,
        sections: &[Section],
        transports: &mut dyn Transports,
    ) -> Result<Bytes, Failure> {
        let address = address_words(local.address);
        let session = local.session_id;
        let mut frame = format!(
            "v=0\r\no=- {session} {session} IN {address}\r\ns={}\r\nt=0 0\r\n",
            transports.software()
        );
        for Own { word, protocol, formats, label } in lines {
            push(&mut frame, format_args!("m={word} 9 {protocol} {formats}\r\nc=IN {address}\r\n"));
            label.iter().for_each(|label| push(&mut frame, format_args!("a=label:{label}\r\n")));
        }
        let description = Description::parse(frame.into()).map_err(|_| lost())?;
        let mut exchange = exchange.clone();
        // The version is ours too: it stands for the body.
        exchange.replace.sdp_version = true;
        let said = Said { id: to, description: &description };
        self.mirror_write(&said, &exchange, local, sections, transports.instance())
    }
}

/// A line of a description that is no other end's.
struct Own<'a> {
    word: &'a str,
    protocol: &'a str,
    formats: String,
    label: Option<u32>,
}

impl<'a> Own<'a> {
    fn of(media: &'a Media) -> Self {
        let formats = if media.formats.is_empty() { "0".to_owned() } else { media.formats.join(" ") };
        Self { word: &media.media_word, protocol: &media.protocol, formats, label: None }
    }
}

fn own_line<'a>(sources: &[Source<'a>], heard: Option<(LegId, usize)>, exchange: &Exchange) -> Own<'a> {
    let source = heard.and_then(|(id, line)| {
        let source = find(sources, id)?;
        Some((source.end.mirror.lines.get(line), source.said.media.get(line)?))
    });
    match source {
        Some((line, media)) => {
            let label = line.and_then(|line| line.label).filter(|_| exchange.flags.siprec);
            Own { label, ..Own::of(media) }
        }
        None => Own { word: "audio", protocol: "RTP/AVP", formats: "0".to_owned(), label: None },
    }
}

fn find<'s, 'a>(sources: &'s [Source<'a>], id: LegId) -> Option<&'s Source<'a>> {
    sources.iter().find(|source| source.end.id == id)
}

/// What the controller is told of a source.
fn told(source: &Source<'_>, labelled: bool) -> SubscribedTag {
    let medias = source.said.media.iter().enumerate().map(|(index, media)| {
        let line = source.end.mirror.lines.get(index);
        let label = line.and_then(|line| line.label).filter(|_| labelled);
        let direction = meant(media);
        SubscribedMedia {
            index: index + 1,
            media_type: media.media_word.clone(),
            label: label.map(|label| label.to_string()),
            mode: Direction::new(direction.receives(), direction.sends()).as_str(),
        }
    });
    let tag = source.end.tags.first().cloned().unwrap_or_default();
    SubscribedTag { tag, label: source.end.label.clone(), medias: medias.collect() }
}

/// What an end of a pair may send on a line: what was agreed, before that all that it wrote.
fn spoken(pair: &Pair, side: usize, said: &Description, index: usize) -> Vec<Codec> {
    let Some(media) = said.media.get(index) else { return Vec::new() };
    if !pair.answered {
        return media.codecs.clone();
    }
    if pair.mirrored {
        return pair.formats.get(index).map(|line| line.agreed[side].codecs()).unwrap_or_default();
    }
    let line = pair.lines.iter().find(|line| line.active && line.at[side] == index);
    line.map(|line| crate::call::codecs::agreed(&media.codecs, &line.told[side])).unwrap_or_default()
}

/// The one format that is taken of a publisher, and events beside it. `wishes` are preferences (ng `accept`); without one
/// that fits, the first that the relay can turn into others. Pictures it turns into nothing, so the first is as good as any.
fn published(codecs: &[Codec], kind: MediaKind, wishes: &[String]) -> Vec<Codec> {
    let media = |codec: &&Codec| codec.is_media() && !codec.is_comfort_noise();
    let wished =
        wishes.iter().find_map(|wish| codecs.iter().filter(media).find(|it| codecs::means(wish, it)));
    let any = kind == MediaKind::Video || wishes.iter().any(|wish| wish == "any");
    let usable = |codec: &&Codec| any || Format::of(codec, None).is_some();
    let chosen = wished.or_else(|| codecs.iter().filter(media).find(usable));
    let Some(chosen) = chosen.cloned() else { return Vec::new() };
    let events = codecs.iter().find(|codec| codec.is_dtmf() && codec.clock == chosen.clock).cloned();
    std::iter::once(chosen).chain(events).collect()
}

/// Whether a subscriber's answer will do: it takes all that may be sent, or conversions are allowed.
fn check_codecs(spoken: &[Codec], accepted: &[Codec], transcoding: bool) -> Result<(), Failure> {
    let media = |codec: &&Codec| codec.is_media();
    let takes = |codec: &Codec| accepted.iter().any(|it| it.same_format(codec));
    if !accepted.iter().any(|codec| codec.is_media()) {
        return Err(refuse("the answer has no format that was offered"));
    }
    if !transcoding && !spoken.iter().filter(media).all(takes) {
        return Err(refuse(
            "the answer does not take all formats of the source, and allow-transcoding is not there",
        ));
    }
    Ok(())
}
