//! The calls of a worker: who talks to whom, over what, and how to hang up on both (RFC 3261 §12).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::dispatcher::Load;
use crate::event::{Answerer, CallRecord, EndCause, Parties};
use crate::flow::{ConnectionId, Destination, Flow, Protocol};
use crate::outside::{Keys, LegKind, MediaLeg};
use crate::profiles::Membership;
use crate::tolls::Toll;

/// To-tags remembered per call; a callee that makes more dialogs than that is not followed.
const MAX_CALLEES: usize = 16;

/// The Call-ID that messages of a call have: see [`crate::step::Incoming::call_id`].
#[must_use]
pub fn header_call_id(call_id: &str) -> &str {
    call_id.split_once(' ').map_or(call_id, |(call_id, _)| call_id)
}

/// All calls, by [`Call::call_id`].
#[derive(Debug, Default)]
pub struct Calls {
    by_call_id: HashMap<String, Vec<Call>>,
    /// Calls that have begun here so far.
    begun: u64,
}

/// An INVITE and what became of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its number on this worker, which no other call has had; given by [`Calls::insert`].
    pub serial: u64,
    /// See [`crate::step::Incoming::call_id`].
    pub call_id: String,
    /// What the INVITE was sealed with: see [`crate::step::Incoming::seal`].
    pub seal: String,
    /// Who called, for people.
    pub from: String,
    /// Who was called, for people.
    pub to: String,
    /// The same for accounting.
    pub parties: Arc<Parties>,
    /// The caller.
    pub caller: End,
    /// Every dialog that a callee has begun: the early ones until one answers; then that one comes first, and after it
    /// those that have answered too late and are yet to be ended by the caller.
    pub callees: Vec<End>,
    /// CSeq number of the INVITE, which is that of its ACK.
    pub cseq: u32,
    /// When the INVITE came.
    pub started: Instant,
    /// The same on the wall clock.
    pub started_at: u64,
    /// When it was answered.
    pub answered: Option<Instant>,
    /// The same on the wall clock.
    pub answered_at: u64,
    /// When it ends by itself: nobody has refreshed the session (RFC 4028), or it has become too old.
    pub expires: Instant,
    /// Whether the first ringing was told.
    pub rung: bool,
    /// The branch whose 2xx carried an offer that the ACK must answer (RFC 3261 §13.2.1).
    /// `Some(None)` after a re-INVITE, which has no branch.
    pub offered_in_answer: Option<Option<String>>,
    /// The SDP of the ACK to it, as it came and as it went on: a repeated ACK is not a second answer.
    pub acked: Option<(Bytes, Bytes)>,
    /// The offer within the dialog that has no answer yet: tag of its sender, and the number of its CSeq.
    pub offering: Option<(String, u32)>,
    /// What is known of the ACK to the first 2xx.
    pub ack: AckWatch,
    /// Its session timer, if it has one.
    pub session: Option<Session>,
    /// Whether `expires` is the end of a session that nobody has refreshed, and not that of the longest call.
    pub timed: bool,
    /// What it is counted under, until it is over.
    pub seats: Option<Arc<Membership>>,
    /// It was taken up after a restart, or from another node ([`crate::step::ends::revive`]), and its ends have not agreed on media
    /// since: whoever keeps records has not heard of it.
    pub revived: bool,
    /// What its time counts for, when it goes to the telephone network.
    pub toll: Option<Toll>,
    /// Until when its time was counted.
    pub counted: Option<Instant>,
    /// The call that it is at a gateway of the table `dispatcher`.
    pub load: Option<Arc<Load>>,
    /// When its ends were asked last whether they are there.
    pub asked: Option<Instant>,
}

/// One end of a call, as this proxy reaches it.
#[derive(Debug, Clone)]
pub struct End {
    /// Its tag.
    pub tag: String,
    /// Its From or To as it appears in the dialog, tag included.
    pub address: String,
    /// Its Contact URI, alias removed: the remote target (RFC 3261 §12.1).
    pub target: String,
    /// Proxies between us and it, in the order of Route headers.
    pub routes: Vec<String>,
    /// Where its signalling goes; `None` once the connection is gone.
    pub destination: Option<Destination>,
    /// When its connection was lost, while `destination` is `None`.
    pub lost: Option<Instant>,
    /// Our address towards it.
    pub local: SocketAddr,
    /// The transport towards it.
    pub protocol: Protocol,
    /// Its address of record, when it is a user of ours, or one of a domain behind us whom its registrar has let in.
    pub aor: Option<String>,
    /// The instance of that user (RFC 5626 §4.1): what tells it apart from the user's other phones. Empty when it is not
    /// known.
    pub instance: Box<str>,
    /// Browser or legacy phone.
    pub kind: LegKind,
    /// How it has keys.
    pub keys: Keys,
    /// What the relay knows it by, as its tag and as the branch of its exchanges, where that is not its tag: an agent in the
    /// place of a browser (see [`crate::proxy`]) is another end there.
    pub relayed: Option<Box<str>>,
    /// The highest CSeq number it has used in the dialog.
    pub cseq: u32,
    /// The branch of the INVITE that led to it; empty for the caller.
    pub branch: String,
    /// Whether it may know PRACK (RFC 3262).
    pub prack: bool,
    /// The SDP that it sent last, until the call is answered: what a browser would say again to an UPDATE that it cannot
    /// take yet.
    pub said: Option<Bytes>,
    /// How far the offer of a reliable provisional response of it has come.
    pub early_offer: EarlyOffer,
    /// How many requests this gateway has sent in its name: the other end has seen so many numbers more.
    pub cseq_lag: u32,
    /// Whether it takes UPDATE (RFC 3311), by the Allow of the message that made the dialog.
    pub update: bool,
    /// Whether it may take a REFER (RFC 3515): the message that made the dialog has no Allow, or one that says so.
    pub refer: bool,
    /// Whether PRACK or UPDATE has renewed what its responses had agreed: SDP in later ones is no answer any more.
    pub renewed: bool,
    /// Whether it is on hold and hears music.
    pub music: bool,
    /// Whether it knows the call by a masked Call-ID, where Call-IDs are masked.
    pub knows_masked: bool,
    /// Questions in a row that it has not answered.
    pub silent: u32,
}

/// An offer that a reliable provisional response has made because the INVITE had none (RFC 3262 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum EarlyOffer {
    /// None.
    #[default]
    None,
    /// The PRACK brings the answer.
    Made,
    /// It has.
    Answered,
}

/// A session timer (RFC 4028).
#[derive(Debug, Clone)]
pub struct Session {
    /// How long it lasts without a refresh.
    pub interval: Duration,
    /// The last refresh.
    pub since: Instant,
    /// Tag of the end that refreshes it.
    pub refresher: String,
    /// Whether that end was asked why it has not.
    pub asked: bool,
}

/// Whether the ACK of the answered INVITE has come, for whoever asks why a call ended after 32 seconds.
#[derive(Debug, Clone, Default)]
pub struct AckWatch {
    /// When it went on to the callee first.
    pub passed: Option<Instant>,
    /// Why one could not go on.
    pub stray: Option<String>,
    /// How often the callee has repeated its 2xx since.
    pub repeats: u32,
    /// Whether it was told.
    pub told: bool,
}

impl End {
    /// The end as the relay sees it.
    #[must_use]
    pub fn media_leg(&self) -> MediaLeg {
        let signalling_source = self.destination.map(|destination| match destination {
            Destination::Flow(flow) => flow.remote.ip(),
            Destination::Address { remote, .. } => remote.ip(),
        });
        MediaLeg { kind: self.kind, local: self.local.ip(), signalling_source, keys: self.keys }
    }

    /// What accounting tells of it.
    #[must_use]
    pub fn answerer(&self) -> Answerer {
        Answerer { to_tag: self.tag.clone(), dst_ip: self.media_leg().signalling_source }
    }

    /// The next number for a request in its name (RFC 3261 §12.2.1.1), which is used up by that.
    pub fn take_cseq(&mut self) -> u32 {
        let cseq = self.next_cseq();
        self.cseq_lag = self.cseq_lag.saturating_add(1);
        cseq
    }

    /// The next number for a last request in its name.
    #[must_use]
    pub const fn next_cseq(&self) -> u32 {
        self.cseq.saturating_add(self.cseq_lag).saturating_add(1)
    }

    /// From now on it is reached over `flow`.
    pub fn move_to(&mut self, flow: Flow) {
        (self.destination, self.lost) = (Some(Destination::Flow(flow)), None);
        (self.local, self.protocol) = (flow.local, flow.protocol);
    }

    fn is_lost_since(&mut self, since: Instant, follow: impl Fn(&mut Self)) -> bool {
        follow(self);
        self.lost.is_some_and(|lost| lost <= since)
    }

    fn is_over(&self, connection: ConnectionId) -> bool {
        matches!(self.destination, Some(Destination::Flow(flow)) if flow.connection == Some(connection))
    }
}

impl Call {
    /// The end with this tag.
    #[must_use]
    pub fn end(&self, tag: &str) -> Option<&End> {
        std::iter::once(&self.caller).chain(&self.callees).find(|end| end.tag == tag)
    }

    /// The same, to be changed.
    pub fn end_mut(&mut self, tag: &str) -> Option<&mut End> {
        std::iter::once(&mut self.caller).chain(&mut self.callees).find(|end| end.tag == tag)
    }

    /// Whether `tag` is that of the callee who is in the answered call.
    #[must_use]
    pub fn is_answerer(&self, tag: &str) -> bool {
        self.answered.is_some() && self.callees.first().is_some_and(|callee| callee.tag == tag)
    }

    /// Remembers the dialog that a callee's response has made or renewed.
    pub fn note_callee(&mut self, callee: End) {
        if let Some(known) = self.callees.iter_mut().find(|end| end.tag == callee.tag) {
            let early_offer = known.early_offer.max(callee.early_offer);
            let (said, renewed, cseq) =
                (callee.said.clone().or(known.said.take()), known.renewed, known.cseq);
            *known =
                End { early_offer, said, renewed, cseq, music: known.music, silent: known.silent, ..callee };
        } else if self.callees.len() < MAX_CALLEES {
            self.callees.push(callee);
        }
    }

    /// What is left of an answered call when it is over.
    #[must_use]
    pub fn record(&self, now: Instant, cause: EndCause) -> CallRecord {
        CallRecord {
            call_id: self.call_id.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            started_at: self.started_at,
            answered_at: self.answered_at,
            duration: self.answered.map_or_else(Default::default, |at| now.saturating_duration_since(at)),
            cause,
            parties: Arc::clone(&self.parties),
            answerer: self.callees.first().map(End::answerer).unwrap_or_default(),
        }
    }
}

impl Calls {
    /// Begins a call.
    pub fn insert(&mut self, mut call: Call) {
        self.begun += 1;
        call.serial = self.begun;
        self.by_call_id.entry(call.call_id.clone()).or_default().push(call);
    }

    /// Whether there is any of this Call-ID.
    #[must_use]
    pub fn has(&self, call_id: &str) -> bool {
        self.by_call_id.contains_key(call_id)
    }

    /// The call in which somebody has `tag`.
    #[must_use]
    pub fn find(&self, call_id: &str, tag: &str) -> Option<&Call> {
        self.by_call_id.get(call_id)?.iter().find(|call| call.end(tag).is_some())
    }

    /// The same, to be changed.
    pub fn find_mut(&mut self, call_id: &str, tag: &str) -> Option<&mut Call> {
        self.by_call_id.get_mut(call_id)?.iter_mut().find(|call| call.end(tag).is_some())
    }

    /// Forgets the call in which somebody has `tag`, and returns it.
    pub fn remove(&mut self, call_id: &str, tag: &str) -> Option<Call> {
        let calls = self.by_call_id.get_mut(call_id)?;
        let at = calls.iter().position(|call| call.end(tag).is_some())?;
        let call = calls.swap_remove(at);
        if calls.is_empty() {
            self.by_call_id.remove(call_id);
        }
        Some(call)
    }

    /// Those of one Call-ID.
    pub fn of(&self, call_id: &str) -> impl Iterator<Item = &Call> {
        self.by_call_id.get(call_id).into_iter().flatten()
    }

    /// All calls, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.by_call_id.values().flatten()
    }

    /// Visits every call.
    pub fn each(&mut self, visit: impl FnMut(&mut Call)) {
        self.by_call_id.values_mut().flatten().for_each(visit);
    }

    /// All calls, which are forgotten here.
    pub fn take_all(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.by_call_id).into_values().flatten().collect()
    }

    /// The answered calls of one Call-ID; they are forgotten here.
    pub fn take_answered(&mut self, call_id: &str) -> Vec<Call> {
        let Some(calls) = self.by_call_id.get_mut(call_id) else { return Vec::new() };
        let answered = calls.extract_if(.., |call| call.answered.is_some()).collect();
        if calls.is_empty() {
            self.by_call_id.remove(call_id);
        }
        answered
    }

    /// The answered calls that end by themselves now; they are forgotten here.
    pub fn take_expired(&mut self, now: Instant) -> Vec<Call> {
        let mut expired = Vec::new();
        self.by_call_id.retain(|_, calls| {
            expired.extend(calls.extract_if(.., |call| call.answered.is_some() && call.expires <= now));
            !calls.is_empty()
        });
        expired
    }

    /// The answered calls with a browser that was lost before `since` and that `follow` does not find again; they are
    /// forgotten here.
    pub fn take_lost(&mut self, since: Instant, follow: impl Fn(&mut End)) -> Vec<Call> {
        let mut lost = Vec::new();
        self.by_call_id.retain(|_, calls| {
            lost.extend(calls.extract_if(.., |call| {
                let ends = std::iter::once(&mut call.caller).chain(call.callees.first_mut());
                let mut waiting = ends.filter(|end| end.protocol.is_websocket() && end.destination.is_none());
                call.answered.is_some() && waiting.any(|end| end.is_lost_since(since, &follow))
            }));
            !calls.is_empty()
        });
        lost
    }

    /// Nobody is reached over this connection any more.
    pub fn connection_lost(&mut self, connection: ConnectionId, now: Instant) {
        let ends = self.by_call_id.values_mut().flatten();
        for end in ends.flat_map(|call| std::iter::once(&mut call.caller).chain(&mut call.callees)) {
            if end.is_over(connection) {
                end.destination = None;
                end.lost = Some(now);
            }
        }
    }

    /// Calls now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_call_id.values().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_call_id.is_empty()
    }
}
