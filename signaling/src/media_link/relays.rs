//! [`MediaControl`] over several relays: a call goes to one of them by weight and stays there. One that does not answer is left
//! alone for a while, what comes meanwhile goes to the others, and the calls that it carried move there.
//!
//! Names and meanings are those of Kamailio's rtpengine module where it has them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all};
use signaling_core::event::Event;
use signaling_core::outside::{MediaControl, MediaError, MediaExchange};
use signaling_core::shards::Shards;
use tokio::task::AbortHandle;

use super::Report;
use super::in_process::InProcess;
use super::ng_client::{NgClient, Patience, Trouble};
use crate::config::{RelayPlace, RelaySettings, RelaySounds};
use crate::events::{self, hub::Hub};
use crate::moment::Moment;

/// Calls whose relay is remembered; beyond that, where a call goes follows from its Call-ID alone.
const MAX_PLACED: usize = 500_000;
/// Calls that are asked to move at once, and the pause before the next: a relay may have had thousands.
const MOVED_AT_ONCE: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// The relays; clones share them.
#[derive(Clone, Debug)]
pub struct Relays {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    nodes: Vec<Node>,
    settings: RelaySettings,
    /// Which node carries a call.
    placed: Shards<HashMap<Arc<str>, usize>>,
    /// None answers: this has been told.
    none_left: AtomicBool,
    lost: OnceLock<Lost>,
    pinging: OnceLock<AbortHandle>,
    /// Who hears of relays that do not answer, and answer again.
    events: OnceLock<Hub>,
}

/// Who is told of calls whose relay is gone.
struct Lost(Box<dyn Fn(Arc<str>) + Send + Sync>);

impl std::fmt::Debug for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lost")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(pinging) = self.pinging.get() {
            pinging.abort();
        }
    }
}

/// Whether a relay gets the sound of a file and not its name.
fn is_sent_sounds(sounds: RelaySounds, relay: SocketAddr) -> bool {
    match sounds {
        RelaySounds::File => false,
        RelaySounds::Blob => true,
        // An address that can be bound is one of this host.
        RelaySounds::Auto => std::net::UdpSocket::bind((relay.ip(), 0)).is_err(),
    }
}

/// One relay.
#[derive(Debug)]
struct Node {
    name: String,
    set: u32,
    weight: u32,
    link: Link,
    /// When it is tried again, while it is disabled.
    disabled_until: Moment,
    /// Taken out of use by an operator, until he takes it back.
    put_aside: AtomicBool,
    /// Its calls are being moved.
    moving: AtomicBool,
}

#[derive(Debug)]
enum Link {
    InProcess(InProcess),
    Ng(NgClient),
}

/// How a relay is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// Its set.
    pub set: u32,
    /// As in the configuration: `udp:ADDRESS:PORT`, or `in-process`.
    pub url: String,
    /// Its share of the calls of its set.
    pub weight: u32,
    /// How long it is still left alone, as it did not answer; `None` when it does.
    pub disabled: Option<Duration>,
    /// Whether an operator has taken it out of use.
    pub put_aside: bool,
    /// Calls that it carries.
    pub calls: u64,
}

impl Node {
    /// Whether calls go to it: also one that has been left alone for long enough.
    fn is_enabled(&self) -> bool {
        !self.is_put_aside() && self.disabled_for().is_none()
    }

    fn is_put_aside(&self) -> bool {
        self.put_aside.load(Ordering::Relaxed)
    }

    fn disabled_for(&self) -> Option<Duration> {
        let until = self.disabled_until.get();
        until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Whether it was not before.
    fn disable(&self, tout: Duration) -> bool {
        self.disabled_until.swap(Some(Instant::now() + tout)).is_none()
    }

    /// Whether it was disabled.
    fn enable(&self) -> bool {
        self.disabled_until.get().is_some() && self.disabled_until.swap(None).is_some()
    }

    async fn exchange(
        &self,
        offer: bool,
        exchange: MediaExchange,
        patience: Patience,
    ) -> Result<Bytes, Trouble> {
        match &self.link {
            Link::InProcess(relay) => {
                let made = if offer { relay.offer(exchange) } else { relay.answer(exchange) };
                made.await.map_err(Trouble::Refused)
            }
            Link::Ng(client) => client.exchange(offer, exchange, patience).await,
        }
    }
}

impl Relays {
    /// Finds the relays of `settings`; that of this process is started by `in_process`. Must be called within a runtime.
    ///
    /// # Errors
    /// A socket, or the ports of the relay of this process, cannot be opened.
    pub(super) fn start(
        settings: &RelaySettings,
        in_process: impl Fn() -> anyhow::Result<InProcess>,
    ) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for node in &settings.nodes {
            let (name, link) = match node.place {
                RelayPlace::InProcess => ("in-process".to_owned(), Link::InProcess(in_process()?)),
                RelayPlace::Ng(address) => (
                    format!("udp:{address}"),
                    Link::Ng(NgClient::connect(address, is_sent_sounds(settings.sounds, address))?),
                ),
            };
            let (set, weight) = (node.set, node.weight);
            let (put_aside, moving) = (AtomicBool::new(false), AtomicBool::new(false));
            nodes.push(Node {
                name,
                set,
                weight,
                link,
                disabled_until: Moment::default(),
                put_aside,
                moving,
            });
        }
        let settings = settings.clone();
        let (placed, lost, pinging) = (Shards::default(), OnceLock::new(), OnceLock::new());
        let events = OnceLock::new();
        let none_left = AtomicBool::new(false);
        Ok(Self { inner: Arc::new(Inner { nodes, settings, placed, none_left, lost, pinging, events }) })
    }

    /// Each relay as it is now.
    pub(super) fn status(&self) -> Vec<RelayStatus> {
        let mut calls = vec![0; self.inner.nodes.len()];
        for part in self.inner.placed.each() {
            part.values().for_each(|index| calls[*index] += 1);
        }
        let status = |(node, calls): (&Node, u64)| RelayStatus {
            set: node.set,
            url: node.name.clone(),
            weight: node.weight,
            disabled: node.disabled_for(),
            put_aside: node.is_put_aside(),
            calls,
        };
        self.inner.nodes.iter().zip(calls).map(status).collect()
    }

    /// Whether the relay with this URL answers; it is in use again when it does.
    pub(super) async fn ping(&self, url: &str) -> bool {
        let Some(index) = self.inner.nodes.iter().position(|node| node.name == url) else { return false };
        if let Link::InProcess(relay) = &self.inner.nodes[index].link {
            return relay.ping().await;
        }
        self.inner.ping(index).await;
        self.inner.nodes[index].disabled_for().is_none()
    }

    /// Takes the relay with this URL out of use, or back: no call begins there meanwhile, and those that it carries stay until they
    /// agree anew, or with `rtpengine_allow_op` until they end.
    pub(super) fn put_aside(&self, url: &str, aside: bool) {
        for node in self.inner.nodes.iter().filter(|node| node.name == url) {
            if node.put_aside.swap(aside, Ordering::Relaxed) != aside {
                tracing::info!(relay = node.name, aside, "an operator takes a relay out of use, or back");
            }
        }
    }

    /// Ends a whole call; what was counted in it, if the relay of this process has carried it.
    pub(super) fn end(&self, call_id: &str, from_tag: &str) -> Option<Report> {
        let placed = self.inner.placed.of(call_id).get(call_id).copied();
        if let Some(Link::InProcess(relay)) = placed.map(|index| &self.inner.nodes[index].link) {
            self.inner.placed.of(call_id).remove(call_id);
            return Some(Box::pin(relay.end(call_id)));
        }
        self.delete(call_id, from_tag, None);
        None
    }

    /// The relay of this process, if it is among them.
    pub(super) fn in_process(&self) -> Option<&InProcess> {
        self.inner.nodes.iter().find_map(|node| match &node.link {
            Link::InProcess(relay) => Some(relay),
            Link::Ng(_) => None,
        })
    }

    /// Has `events` hear of relays that do not answer, and answer again. To be called once.
    pub(super) fn tell(&self, events: &Hub) {
        if self.inner.events.set(events.clone()).is_err() {
            tracing::error!("events of relays are told twice");
        }
    }

    /// Begins to ping, and tells of calls whose relay is gone. Must be called within a runtime, once.
    pub(super) fn watch(&self, lost: impl Fn(Arc<str>) + Send + Sync + 'static) {
        if self.inner.lost.set(Lost(Box::new(lost))).is_err() {
            return tracing::error!("the relays are watched already");
        }
        let interval = self.inner.settings.ping_interval;
        if !interval.is_zero() {
            let pinging = tokio::spawn(keep_pinging(Arc::downgrade(&self.inner), interval));
            self.inner.pinging.get_or_init(|| pinging.abort_handle());
        }
    }

    async fn exchange(&self, offer: bool, exchange: MediaExchange) -> Result<Bytes, MediaError> {
        let inner = &self.inner;
        let mut tried = Vec::new();
        let mut refusal = MediaError::NoRelay("no relay is left".into());
        while tried.len() < inner.settings.queried_nodes_limit {
            let Some(index) = inner.choose(&exchange.call_id, offer, &tried) else { break };
            let node = &inner.nodes[index];
            let others = offer && inner.other_than(index).is_some();
            let patience = inner.settings.patience(others, node.is_enabled());
            match node.exchange(offer, exchange.clone(), patience).await {
                Ok(sdp) => {
                    inner.answers(index);
                    if offer {
                        inner.place(&exchange, index);
                    }
                    return Ok(sdp);
                }
                Err(Trouble::Refused(error @ MediaError::NotAcceptable(_))) => return Err(error),
                Err(Trouble::Refused(error)) => refusal = error,
                Err(Trouble::Silent) => {
                    refusal = MediaError::NoRelay(format!("{} does not answer", node.name));
                    inner.lose(index);
                }
            }
            // What one relay has offered, no other can agree to.
            if !offer {
                break;
            }
            tried.push(index);
        }
        Err(refusal)
    }
}

impl MediaControl for Relays {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(self.exchange(true, exchange))
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(self.exchange(false, exchange))
    }

    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        match self.inner.link_of(call_id) {
            Some(Link::InProcess(relay)) => relay.play(call_id, tag, file, forever),
            Some(Link::Ng(client)) => client.play(call_id, tag, file, forever),
            None => {}
        }
    }

    fn announce<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        match self.inner.link_of(call_id) {
            Some(Link::InProcess(relay)) => relay.announce(call_id, tag, file),
            Some(Link::Ng(client)) => Box::pin(client.announce(call_id, tag, file)),
            None => Box::pin(std::future::ready(Err(MediaError::NoRelay("no relay is left".into())))),
        }
    }

    fn press<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        code: u8,
        duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        match self.inner.link_of(call_id) {
            Some(Link::InProcess(relay)) => relay.press(call_id, tag, code, duration),
            Some(Link::Ng(client)) => Box::pin(client.press(call_id, tag, code, duration)),
            None => Box::pin(std::future::ready(Err(MediaError::NoRelay("no relay is left".into())))),
        }
    }

    fn stop(&self, call_id: &str, tag: &str) {
        match self.inner.link_of(call_id) {
            Some(Link::InProcess(relay)) => relay.stop(call_id, tag),
            Some(Link::Ng(client)) => client.stop(call_id, tag),
            None => {}
        }
    }

    fn record(&self, call_id: &str, from_tag: &str) {
        match self.inner.link_of(call_id) {
            Some(Link::InProcess(relay)) => relay.record(call_id, from_tag),
            Some(Link::Ng(client)) => client.record(call_id, from_tag),
            None => {}
        }
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        let link = self.inner.link_of(call_id);
        if branch.is_none() {
            self.inner.placed.of(call_id).remove(call_id);
        }
        match link {
            Some(Link::InProcess(relay)) => relay.delete(call_id, from_tag, branch),
            Some(Link::Ng(client)) => client.delete(call_id, from_tag, branch),
            None => {}
        }
    }
}

impl Inner {
    /// The relay that carries a call, or the one that would.
    fn link_of(&self, call_id: &str) -> Option<&Link> {
        let placed = self.placed.of(call_id).get(call_id).copied();
        Some(&self.nodes[placed.or_else(|| self.by_weight(call_id, &[]))?].link)
    }

    /// The relay for an exchange: that of its call, else one by weight. `None` when none is left.
    fn choose(&self, call_id: &str, offer: bool, tried: &[usize]) -> Option<usize> {
        let placed = self.placed.of(call_id).get(call_id).copied().filter(|index| !tried.contains(index));
        // An answer has no choice; an offer begins anew where its relay is gone.
        let stays =
            |index: &usize| !offer || self.nodes[*index].is_enabled() || self.settings.rtpengine_allow_op;
        placed.filter(stays).or_else(|| self.by_weight(call_id, tried))
    }

    /// The enabled node that `call_id` goes to. The set in use comes first, then the others in their order; when all are
    /// disabled, one is asked all the same, for it may be back; but none that was put aside.
    fn by_weight(&self, call_id: &str, tried: &[usize]) -> Option<usize> {
        let mut sets: Vec<u32> = self.nodes.iter().map(|node| node.set).collect();
        sets.sort_by_key(|set| (*set != self.settings.setid_default, *set));
        sets.dedup();
        let untried = |index: &usize| !tried.contains(index) && !self.nodes[*index].is_put_aside();
        let all = || (0..self.nodes.len()).filter(untried);
        let of = |set: u32, enabled: bool| {
            let members = all().filter(move |index| self.nodes[*index].set == set);
            let members = members.filter(move |index| !enabled || self.nodes[*index].is_enabled());
            members.collect::<Vec<_>>()
        };
        let usable = sets.iter().find_map(|set| self.pick(call_id, &of(*set, true)));
        usable.or_else(|| sets.iter().find_map(|set| self.pick(call_id, &of(*set, false))))
    }

    /// One of `members`, by their weights and the Call-ID: the same one each time, also after a restart.
    fn pick(&self, call_id: &str, members: &[usize]) -> Option<usize> {
        let total: u64 = members.iter().map(|index| u64::from(self.nodes[*index].weight)).sum();
        if total == 0 {
            // A node of no weight is for when nobody else is there.
            return members.first().copied();
        }
        let mut at = hash(call_id) % total;
        members.iter().copied().find(|index| {
            let weight = u64::from(self.nodes[*index].weight);
            let here = at < weight;
            at = at.saturating_sub(weight);
            here
        })
    }

    /// A call is carried by a node from now on. Another one that had it may only have been slow, and gives it back.
    fn place(&self, exchange: &MediaExchange, index: usize) {
        let call_id = exchange.call_id.as_str();
        let mut placed = self.placed.of(call_id);
        let room = placed.len() < MAX_PLACED / Shards::<()>::COUNT;
        let before = match placed.get_mut(call_id) {
            Some(known) => Some(std::mem::replace(known, index)).filter(|before| *before != index),
            None if room => placed.insert(call_id.into(), index),
            None => None,
        };
        drop(placed);
        match before.map(|before| &self.nodes[before].link) {
            Some(Link::Ng(client)) => client.delete(call_id, &exchange.offerer_tag, None),
            Some(Link::InProcess(relay)) => relay.delete(call_id, &exchange.offerer_tag, None),
            None => {}
        }
    }

    /// An enabled node besides `index`.
    fn other_than(&self, index: usize) -> Option<usize> {
        (0..self.nodes.len()).find(|other| *other != index && self.nodes[*other].is_enabled())
    }

    fn tell(&self, event: &Event) {
        events::log(event);
        if let Some(hub) = self.events.get() {
            hub.note(event);
        }
    }

    /// A node does not answer: it is left alone, and its calls move.
    fn lose(self: &Arc<Self>, index: usize) {
        let relay = &self.nodes[index];
        if relay.disable(self.settings.rtpengine_disable_tout) {
            self.tell(&Event::RelayDown { relay: relay.name.clone() });
        }
        if self.nodes.iter().any(Node::is_enabled) {
            self.move_calls(index, false);
        } else if !self.none_left.swap(true, Ordering::AcqRel) {
            tracing::error!("no relay answers: calls are refused with 503");
        }
    }

    /// A node answers. One that was disabled may have been restarted: calls that it does not know any more begin anew.
    fn answers(self: &Arc<Self>, index: usize) {
        let relay = &self.nodes[index];
        if relay.enable() {
            self.tell(&Event::RelayUp { relay: relay.name.clone() });
            self.none_left.store(false, Ordering::Release);
            self.move_calls(index, true);
        }
    }

    /// Tells the workers of the calls of a node, all or those that it does not know: they exchange offer and answer anew, and
    /// so find another one, or this one after its restart.
    fn move_calls(self: &Arc<Self>, index: usize, only_unknown: bool) {
        if self.lost.get().is_none() || self.nodes[index].moving.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let placed = |inner: &Self| {
                let mut calls: Vec<Arc<str>> = Vec::new();
                for part in inner.placed.each() {
                    calls.extend(
                        part.iter().filter(|(_, node)| **node == index).map(|(call, _)| call.clone()),
                    );
                }
                calls
            };
            let (calls, node) = (placed(&inner), &inner.nodes[index]);
            if !calls.is_empty() && !only_unknown {
                tracing::warn!(relay = node.name, calls = calls.len(), "calls move to another relay");
            }
            for some in calls.chunks(MOVED_AT_ONCE) {
                let mut gone: Vec<Arc<str>> = some.to_vec();
                if let (true, Link::Ng(client)) = (only_unknown, &node.link) {
                    let known = join_all(some.iter().map(|call_id| client.knows(call_id))).await;
                    gone = some
                        .iter()
                        .zip(known)
                        .filter(|(_, known)| !known)
                        .map(|(id, _)| id.clone())
                        .collect();
                }
                if let Some(Lost(tell)) = inner.lost.get() {
                    gone.into_iter().for_each(tell);
                }
                tokio::time::sleep(PAUSE).await;
            }
            node.moving.store(false, Ordering::Release);
        });
    }

    /// Asks a node whether it is there.
    async fn ping(self: &Arc<Self>, index: usize) {
        let node = &self.nodes[index];
        let Link::Ng(client) = &node.link else { return };
        let others = self.other_than(index).is_some();
        if client.ping(self.settings.patience(others, node.is_enabled())).await {
            self.answers(index);
        } else {
            self.lose(index);
        }
    }
}

async fn keep_pinging(inner: Weak<Inner>, interval: Duration) {
    let mut turns = tokio::time::interval(interval);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        join_all((0..inner.nodes.len()).map(|index| inner.ping(index))).await;
    }
}

/// FNV-1a: the same for the same Call-ID in every process, so that a restart finds the relay of a call.
fn hash(text: &str) -> u64 {
    let mixed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    // Its low bits alone follow the last octets too closely for small sums of weights.
    mixed ^ (mixed >> 32)
}

impl RelaySettings {
    /// How long a relay is waited for. A refusal by its host counts at once where there are others; one that was silent a moment
    /// ago is not waited for to the end.
    fn patience(&self, others: bool, enabled: bool) -> Patience {
        let tries = if enabled { self.rtpengine_retr } else { self.rtpengine_retr.min(2) };
        Patience { tout: self.rtpengine_tout, tries, hurry: others || !enabled }
    }
}

#[cfg(test)]
mod tests;
