//! Who is meant: the ends of a call and the pairs of them that exchange offers and answers, by tag and branch.

use std::net::IpAddr;

use super::codecs::Numbers;
use super::end::End;
use super::mirror::party::Party;
use super::offer_answer::{Session, lost};
use super::plan::{LegId, MediaKind};
use crate::command::{Cause, Delete, Dtls, Exchange, Failure, Ice, Keys, LegKind, TransportProtocol};
use crate::sdp::{Codec, Description, Media};

/// Most ends of one call: a caller and its branches.
const MAX_ENDS: usize = 32;

/// What an end is called, for reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Its tag, once known.
    pub tag: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Tag of the end it talks to.
    pub peer: Option<String>,
    /// It made the first offer to that end.
    pub offerer: bool,
    /// The branch of that offer.
    pub branch: Option<String>,
}

/// Two ends. Side 0 made the first offer.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) ends: [LegId; 2],
    pub(super) branch: Option<String>,
    pub(super) lines: Vec<PairLine>,
    /// What each side said in the exchange that is in force.
    pub(super) remote: [Option<Description>; 2],
    /// The latest offer: kept after its answer too, since more answers may follow (183, then 200).
    pub(super) pending: Option<Pending>,
    pub(super) answered: bool,
    /// Whether each is shown the other's description in the manner of rtpengine.
    pub(super) mirrored: bool,
    /// The formats of each line of a mirrored pair.
    pub(super) formats: Vec<super::mirror::LineFormats>,
    /// ng `media echo`: whether each side hears itself; nobody hears the other then.
    pub(super) echo: Option<[bool; 2]>,
}

/// An offer that waits for its answer.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// Who made it.
    pub(super) side: usize,
    pub(super) description: Description,
    /// For each pair line the formats offered to the other side; empty where the line does not pass.
    pub(super) told: Vec<Vec<Codec>>,
}

/// A line that both ends of a pair have.
#[derive(Debug, Clone)]
pub(super) struct PairLine {
    pub(super) kind: MediaKind,
    /// Its place at each end.
    pub(super) at: [usize; 2],
    /// What each end was told last in the exchange in force.
    pub(super) told: [Vec<Codec>; 2],
    /// Whether both accepted it.
    pub(super) active: bool,
}

impl Pair {
    /// What a side said: agreed, or before the first answer offered.
    pub(super) fn said(&self, side: usize) -> Option<&Description> {
        let offered = self.pending.as_ref().filter(|pending| pending.side == side).map(|it| &it.description);
        self.remote.get(side)?.as_ref().or(offered)
    }

    pub(super) fn is_known_by(&self, branch: &str) -> bool {
        self.branch.as_deref() == Some(branch)
    }
}

impl Session {
    /// Forgets the pairs that `delete` names (all, if it names neither branch nor to-tag) and returns the legs that
    /// belong to no pair any more.
    pub fn remove(&mut self, delete: &Delete) -> Vec<LegId> {
        if let Some(party) = self.party_named(delete) {
            self.parties.retain(|it| it.end != party);
            self.ends.retain(|end| end.id != party);
            return vec![party];
        }
        let named: Vec<LegId> = match (&delete.via_branch, &delete.to_tag) {
            (_, Some(tag)) if self.pairs.iter().any(|pair| self.is_end(pair.ends, tag)) => {
                self.ends.iter().filter(|end| end.has_tag(tag)).map(|end| end.id).collect()
            }
            (Some(branch), _) => {
                self.pairs.iter().filter(|pair| pair.is_known_by(branch)).map(|pair| pair.ends[1]).collect()
            }
            (None, Some(_)) => Vec::new(),
            (None, None) => self.ends.iter().map(|end| end.id).collect(),
        };
        self.pairs.retain(|pair| !pair.ends.iter().any(|id| named.contains(id)));
        self.parties.retain(|party| !named.contains(&party.end));
        let (pairs, parties) = (&self.pairs, &self.parties);
        let needed = |id: LegId| {
            pairs.iter().any(|pair| pair.ends.contains(&id)) || parties.iter().any(|party| party.end == id)
        };
        let (kept, gone) = self.ends.drain(..).partition(|end: &End| needed(end.id));
        self.ends = kept;
        gone.into_iter().map(|end| end.id).collect()
    }

    /// Whether nobody is left who could be heard: the call is over.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && !self.parties.iter().any(Party::publishes)
    }

    /// Whether the session knows a leg: one that a refused exchange made is of no use.
    pub fn has(&self, leg: LegId) -> bool {
        self.end(leg).is_some()
    }

    /// Whether an end wrote this address in its SDP.
    pub fn announces(&self, leg: LegId, address: IpAddr) -> bool {
        let wrote = |said: &Description| said.media.iter().any(|media| media.address == Some(address));
        let mut pairs = self.pairs.iter().filter_map(|pair| {
            let side = pair.ends.iter().position(|id| *id == leg)?;
            pair.said(side)
        });
        pairs.any(wrote)
    }

    /// What an end is called.
    pub fn names(&self, leg: LegId) -> Names {
        let Some(end) = self.end(leg) else { return Names::default() };
        let pair = self.pairs.iter().filter(|pair| pair.ends.contains(&leg)).max_by_key(|pair| pair.answered);
        let peer = pair.and_then(|pair| pair.ends.iter().find(|id| **id != leg)).and_then(|id| self.end(*id));
        Names {
            tag: end.tags.first().cloned(),
            label: end.label.clone(),
            peer: peer.and_then(|peer| peer.tags.first().cloned()),
            offerer: pair.is_some_and(|pair| pair.ends[0] == leg),
            branch: pair.and_then(|pair| pair.branch.clone()),
        }
    }

    /// Whether an end is or was known by a tag.
    pub fn is_called(&self, leg: LegId, tag: &str) -> bool {
        self.end(leg).is_some_and(|end| end.has_tag(tag))
    }

    /// What an end wrote last of its line `index`.
    pub fn said_of(&self, leg: LegId, index: usize) -> Option<&Media> {
        let said = self.pairs.iter().filter_map(|pair| {
            let side = pair.ends.iter().position(|id| *id == leg)?;
            pair.said(side)?.media.get(index)
        });
        said.last()
    }

    /// What an end calls a payload type of its line `index`.
    pub fn codec(&self, leg: LegId, index: usize, payload_type: u8) -> Option<&Codec> {
        let said = self.pairs.iter().filter_map(|pair| {
            let side = pair.ends.iter().position(|id| *id == leg)?;
            pair.said(side)?.media.get(index)?.codecs.iter().find(|codec| codec.payload_type == payload_type)
        });
        said.last()
    }

    pub(super) fn end(&self, id: LegId) -> Option<&End> {
        self.ends.iter().find(|end| end.id == id)
    }

    pub(super) fn end_mut(&mut self, id: LegId) -> Result<&mut End, Failure> {
        self.ends.iter_mut().find(|end| end.id == id).ok_or_else(lost)
    }

    fn is_end(&self, ends: [LegId; 2], tag: &str) -> bool {
        ends.iter().any(|id| self.end(*id).is_some_and(|end| end.has_tag(tag)))
    }

    pub(super) fn add_end(
        &mut self,
        kind: LegKind,
        tag: Option<&String>,
        controlling: bool,
    ) -> Result<LegId, Failure> {
        if self.ends.len() - self.parties.len().min(self.ends.len()) >= MAX_ENDS {
            return Err(Failure {
                cause: Cause::Full,
                reason: format!("a call has at most {MAX_ENDS} ends"),
            });
        }
        Ok(self.new_end(kind, tag, controlling))
    }

    /// An end that nothing is known of yet.
    pub(super) fn new_end(&mut self, kind: LegKind, tag: Option<&String>, controlling: bool) -> LegId {
        let id = LegId(self.next_leg);
        self.next_leg = self.next_leg.wrapping_add(1);
        self.ends.push(End {
            id,
            kind,
            tags: tag.into_iter().cloned().collect(),
            label: None,
            announce: None,
            interface: None,
            controlling,
            role: None,
            asymmetric: false,
            generates_rtcp: false,
            source: None,
            signalled_from: None,
            manners: Default::default(),
            lines: Vec::new(),
            numbers: Numbers::default(),
            version: 0,
            body: Vec::new(),
            offer: None,
            answer: None,
            ufrag: None,
            keys: Keys::default(),
            mirror: Default::default(),
        });
        id
    }

    /// The end that makes the offer.
    pub(super) fn offerer(
        &mut self,
        exchange: &Exchange,
        description: &Description,
    ) -> Result<LegId, Failure> {
        let known = self.ends.iter().find(|end| end.has_tag(&exchange.from_tag)).map(|end| end.id);
        match known {
            Some(id) => Ok(id),
            None => {
                let kind = match super::mirror::passes(exchange, description) {
                    true => LegKind::Legacy,
                    false => exchange.sender.kind.unwrap_or_else(|| kind_of(description)),
                };
                self.add_end(kind, Some(&exchange.from_tag), false)
            }
        }
    }

    /// The pair of this offer and the end that gets it, which is of the kind `wanted` if it is made now.
    pub(super) fn answerer(
        &mut self,
        exchange: &Exchange,
        from: LegId,
        wanted: LegKind,
    ) -> Result<(usize, LegId), Failure> {
        let other = |pair: &Pair| pair.ends.iter().copied().find(|id| *id != from);
        let found = self.pairs.iter().position(|pair| {
            let Some(other) = other(pair).and_then(|id| self.end(id)).filter(|_| pair.ends.contains(&from))
            else {
                return false;
            };
            match (&exchange.to_tag, &exchange.via_branch) {
                (Some(tag), _) if other.has_tag(tag) => true,
                (_, Some(branch)) => pair.is_known_by(branch),
                (Some(_), None) => other.tags.is_empty() && pair.branch.is_none(),
                (None, None) => pair.branch.is_none(),
            }
        });
        let (index, to) = match found {
            Some(index) => (index, self.pairs.get(index).and_then(other).ok_or_else(lost)?),
            None => {
                let to = self.add_end(wanted, exchange.to_tag.as_ref(), true)?;
                let branch = exchange.via_branch.clone();
                let (lines, remote, pending) = (Vec::new(), [None, None], None);
                self.pairs.push(Pair {
                    ends: [from, to],
                    branch,
                    lines,
                    remote,
                    pending,
                    answered: false,
                    mirrored: false,
                    formats: Vec::new(),
                    echo: None,
                });
                (self.pairs.len() - 1, to)
            }
        };
        self.end_mut(to)?.note_announce(&exchange.receiver);
        Ok((index, to))
    }

    /// The pair whose offer this answers and the end that answers. The end's tag is learnt.
    pub(super) fn answered_pair(&mut self, exchange: &Exchange) -> Result<(usize, LegId), Failure> {
        let tag = exchange.to_tag.as_ref();
        let candidates = self.pairs.iter().enumerate().filter_map(|(index, pair)| {
            let side = pair.pending.as_ref()?.side;
            let offerer = self.end(*pair.ends.get(side)?)?;
            let answerer = self.end(*pair.ends.get(1 - side)?)?;
            offerer.has_tag(&exchange.from_tag).then_some((index, pair, answerer))
        });
        let rank = |(_, pair, answerer): &(usize, &Pair, &End)| {
            let by_branch = exchange.via_branch.as_ref().is_some_and(|branch| pair.is_known_by(branch));
            let by_tag = tag.is_some_and(|tag| answerer.has_tag(tag));
            let open = exchange.via_branch.is_none() && (answerer.tags.is_empty() || pair.branch.is_none());
            // A branch named is a branch meant; then the tag; then the only one that can be meant.
            (by_branch as u8 * 4) + (by_tag as u8 * 2) + open as u8
        };
        let best = candidates.max_by_key(|it| (rank(it), std::cmp::Reverse(it.0))).filter(|it| rank(it) > 0);
        let (index, from) = best.map(|(index, _, answerer)| (index, answerer.id)).ok_or_else(no_offer)?;
        if let Some(tag) = tag {
            let end = self.end_mut(from)?;
            end.tags.retain(|known| known != tag);
            end.tags.insert(0, tag.clone());
            end.tags.truncate(MAX_ENDS);
        }
        Ok((index, from))
    }
}

/// What kind of end writes such a description. DTLS without ICE is no browser.
fn kind_of(description: &Description) -> LegKind {
    let secure = |media: &Media| media.is_dtls() && !media.is_refused() && media.ice.is_some();
    if description.media.iter().any(secure) { LegKind::Browser } else { LegKind::Legacy }
}

/// What kind of end the controller asks for.
pub(super) fn kind_wanted(exchange: &Exchange, from: LegKind) -> LegKind {
    use TransportProtocol::{RtpSavpf, UdpTlsRtpSavp, UdpTlsRtpSavpf};
    match (exchange.transport_protocol, exchange.ice, exchange.dtls) {
        (_, Some(Ice::Remove), _) | (_, _, Some(Dtls::Off)) => LegKind::Legacy,
        (Some(UdpTlsRtpSavp | UdpTlsRtpSavpf), ..) | (Some(RtpSavpf), Some(Ice::Force), _) => {
            LegKind::Browser
        }
        (Some(TransportProtocol::Accept) | None, ..) => from,
        _ => LegKind::Legacy,
    }
}

pub(super) fn side_of(pairs: &[Pair], pair: usize, end: LegId) -> Result<usize, Failure> {
    pairs.get(pair).and_then(|pair| pair.ends.iter().position(|id| *id == end)).ok_or_else(lost)
}

pub(super) fn no_offer() -> Failure {
    Failure { cause: Cause::UnknownCall, reason: "there is no offer that this could answer".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let mut session = Session::default();
        let caller = session.add_end(LegKind::Browser, Some(&"a".to_owned()), false).unwrap();
        for (branch, tag) in [("1", "b"), ("2", "c")] {
            let callee = session.add_end(LegKind::Legacy, Some(&tag.to_owned()), true).unwrap();
            let (lines, remote, pending) = (Vec::new(), [None, None], None);
            let branch = Some(branch.to_owned());
            session.pairs.push(Pair {
                ends: [caller, callee],
                branch,
                lines,
                remote,
                pending,
                answered: tag == "c",
                mirrored: false,
                formats: Vec::new(),
                echo: None,
            });
        }
        session
    }

    fn delete(from_tag: &str, to_tag: Option<&str>, branch: Option<&str>) -> Delete {
        Delete {
            from_tag: Some(from_tag.to_owned()),
            to_tag: to_tag.map(str::to_owned),
            via_branch: branch.map(str::to_owned),
            ..Delete::default()
        }
    }

    #[test]
    fn a_delete_ends_what_it_names() {
        for (to_tag, branch, gone, over) in [
            (None, Some("1"), vec![1], false),
            (Some("c"), None, vec![2], false),
            (Some("unknown"), Some("2"), vec![2], false),
            (Some("unknown"), None, vec![], false),
            (None, Some("9"), vec![], false),
            (Some("a"), None, vec![0, 1, 2], true),
            (None, None, vec![0, 1, 2], true),
        ] {
            let mut session = session();
            let legs: Vec<u32> =
                session.remove(&delete("a", to_tag, branch)).into_iter().map(|leg| leg.0).collect();
            assert_eq!((legs, session.is_empty()), (gone, over), "{to_tag:?} {branch:?}");
        }
    }

    #[test]
    fn the_last_branch_takes_the_caller_along() {
        let mut session = session();
        assert_eq!(session.remove(&delete("a", None, Some("1"))), [LegId(1)]);
        assert_eq!(session.remove(&delete("a", None, Some("2"))), [LegId(0), LegId(2)]);
        assert!(session.is_empty());
    }

    #[test]
    fn names_prefer_the_answered_peer() {
        let names = session().names(LegId(0));
        assert_eq!((names.tag.as_deref(), names.peer.as_deref()), (Some("a"), Some("c")));
        assert_eq!(session().names(LegId(9)), Names::default());
    }

    #[test]
    fn a_call_has_a_bounded_number_of_ends() {
        let mut session = session();
        while session.ends.len() < MAX_ENDS {
            session.add_end(LegKind::Legacy, None, true).unwrap();
        }
        assert_eq!(session.add_end(LegKind::Legacy, None, true).unwrap_err().cause, Cause::Full);
    }
}
