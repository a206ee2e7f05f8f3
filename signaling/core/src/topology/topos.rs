//! Topology hiding with a store, under the names of Kamailio's `topos` module: what tells one peer where others are does not go out
//! at all, and is put back when an answer, or a request within the dialog, comes.
//!
//! It sits where [`Topoh`] does. A request leaves with one Via, ours, and without Record-Route; what it has lost waits under the
//! branch of that Via. A Contact leaves as one of ours, with a name in its user part under which the URI behind it is kept, and the
//! Routes from here to there: whoever asks for that name within the same dialog is led there, now and after a restart, for these
//! are for [`crate::outside::Store`] to keep. The names are hashes of what they stand for, so that what is sent again is the same.
//!
//! Proxies of the receiver's own side stay in the Record-Routes that he sees: he needs them to come here. When there is no room, a
//! message is masked by [`Topoh`] in place of that, which needs none.
//!
//! Several servers of one store and one key serve each other's dialogs: a name that is not kept here is looked for in the store. Of
//! Kamailio's two tables only `topos_d` is used. `topos_t` keeps what a request has lost until it is answered, for processes that share
//! no memory; here all workers share it, an answer comes to the server whose Via it carries, and one that comes after a restart finds
//! no transaction that could take it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Topoh, is_ours};
use crate::message::header::NameAddr;
use crate::message::{Fields, Message, Method, Name, Request, Response, Uri, Values};
use crate::shards::Shards;

/// Behind one letter, `a` for who has begun the dialog and `b` for the other end, as Kamailio has it.
const PREFIX: &str = "tpsh-";
/// Requests that may wait for their answers, and names, in each part of the tables.
const MAX: usize = if cfg!(test) { 64 } else { 4096 };
/// Names of one Call-ID: forks, and ends that move.
const MAX_OF_CALL: usize = 64;

/// How long what is kept, by the module's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// What a request has lost, and what belongs to a dialog that is not there yet, or is over (default 180 s).
    pub branch_expire: Duration,
    /// What belongs to a dialog in which nobody has spoken (default 10,800 s). Calls that this process has do not run out.
    pub dialog_expire: Duration,
    /// How often it is looked for what has run out (default 60 s).
    pub clean_interval: Duration,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            branch_expire: Duration::from_secs(180),
            dialog_expire: Duration::from_secs(10_800),
            clean_interval: Duration::from_secs(60),
        }
    }
}

/// One end of a dialog behind the name that the other end knows it by: a row of `topos_d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenEnd {
    /// The name: the user part of the Contact that the other end has seen.
    pub uuid: String,
    /// Call-ID of the dialog.
    pub call_id: String,
    /// Tag of this end.
    pub tag: String,
    /// Tag of the other one; empty as long as it is not known.
    pub peer_tag: String,
    /// The URI of its Contact, as it would be without hiding.
    pub contact: String,
    /// The Routes that lead there from the other end, beginning with ours.
    pub routes: Vec<String>,
    /// When it is forgotten, in seconds since 1970.
    pub until: u64,
}

impl HiddenEnd {
    /// Its Routes as one header value.
    #[must_use]
    pub fn route_text(&self) -> String {
        self.routes.join(", ")
    }

    /// The Routes of such a value.
    #[must_use]
    pub fn routes_of(text: &str) -> Vec<String> {
        let routes = Values::new(text.as_bytes(), true).filter(|route| !route.is_empty());
        routes.map(|route| String::from_utf8_lossy(route).into_owned()).collect()
    }
}

/// Where a message leaves from: the host, port and parameters of a Contact of ours there.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// `host:port`.
    pub sent_by: &'a str,
    /// Such as `;transport=tcp`; empty for UDP.
    pub transport: &'a str,
}

/// What has changed, for the store.
pub type Changed = Vec<HiddenEnd>;

/// See the module. All workers share one. Times are seconds since 1970.
#[derive(Debug)]
pub struct Topos {
    params: Params,
    topoh: Topoh,
    ends: Shards<HashMap<String, Kept>>,
    /// The names of a Call-ID.
    calls: Shards<HashMap<String, Vec<Link>>>,
    branches: Shards<HashMap<String, Stripped>>,
    next_clean: AtomicU64,
}

#[derive(Debug)]
struct Kept {
    end: HiddenEnd,
    /// [`HiddenEnd::until`] as the store has it; 0 when it has nothing.
    saved: u64,
}

#[derive(Debug, Clone)]
struct Link {
    tag: String,
    peer_tag: String,
    uuid: String,
}

/// What a request has lost on its way out.
#[derive(Debug, Clone)]
struct Stripped {
    vias: Vec<Vec<u8>>,
    record_routes: Vec<Vec<u8>>,
    /// The name of its sender.
    uuid: Option<String>,
    until: u64,
}

impl Topos {
    /// One that keeps nothing yet. The key of `topoh` makes the names, and what it is set to masks what there is no room for.
    #[must_use]
    pub fn new(params: Params, topoh: Topoh) -> Self {
        let (ends, calls, branches) = Default::default();
        Self { params, topoh, ends, calls, branches, next_clean: AtomicU64::new(0) }
    }

    /// How long what is kept.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// What masks messages for which there is no room.
    #[must_use]
    pub const fn topoh(&self) -> &Topoh {
        &self.topoh
    }

    /// Takes what the store has kept over a restart.
    pub fn load(&self, rows: impl IntoIterator<Item = HiddenEnd>, now: u64) {
        for end in rows.into_iter().filter(|end| end.until > now) {
            let saved = end.until;
            if self.enter(end.clone(), saved) {
                self.link(&end);
            }
        }
    }

    /// How many names are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.each().map(|part| part.len()).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A message that leaves from `here`, as its receiver is to see it.
    pub fn mask(&self, message: &mut Message, here: Here<'_>, now: u64) -> Changed {
        match message {
            Message::Request(request) => self.mask_request(request, here, now),
            Message::Response(response) => self.mask_response(response, here, now),
        }
    }

    /// What stays behind of a request that leaves, but for its Contact: for those who ask how long it will be.
    pub fn strip(request: &mut Request) {
        let mut top = true;
        request.retain_values(Name::Via, |_| std::mem::take(&mut top));
        request.remove(Name::RecordRoute);
    }

    fn mask_request(&self, request: &mut Request, here: Here<'_>, now: u64) -> Changed {
        let values = |name| request.values(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (mut vias, record_routes) = (values(Name::Via), values(Name::RecordRoute));
        let branch = request.top_via().ok().and_then(|via| Some(via.branch()?.to_owned()));
        let mut changed = Changed::new();
        let end = self.sender(request, &record_routes, now);
        let makes = makes_target(request.method().as_str());
        if *request.method() == Method::Bye {
            self.end_of(request.call_id(), now);
        }
        if !vias.is_empty() {
            vias.remove(0);
        }
        // Requests of our own, and those that repeat the branch of another one, have lost nothing.
        if !vias.is_empty() || !record_routes.is_empty() {
            let uuid = end.as_ref().map(|end| end.uuid.clone());
            let until = now + self.params.branch_expire.as_secs();
            let stripped = Stripped { vias, record_routes, uuid, until };
            if !branch.is_some_and(|branch| self.wait(branch, stripped)) {
                self.topoh.mask_request(request);
                return changed;
            }
        }
        Self::strip(request);
        if *request.method() != Method::Register {
            self.put_contact(request, end, makes, here, now, &mut changed);
        }
        changed
    }

    /// The sender of a request as the receiver is to know him; `None` when he shows no Contact, or nothing leads back to him.
    fn sender(&self, request: &Request, record_routes: &[Vec<u8>], now: u64) -> Option<HiddenEnd> {
        if !makes_target(request.method().as_str()) {
            return None;
        }
        let (tag, peer_tag) = (request.from_tag()?, request.to_tag().unwrap_or_default());
        let known = self.known(request.call_id(), tag, peer_tag, now);
        let (letter, routes) = match known {
            Some((letter, routes)) if record_routes.is_empty() => (letter, routes),
            Some((letter, _)) => (letter, texts(record_routes)),
            None if record_routes.is_empty() => return None,
            None => (if peer_tag.is_empty() { 'a' } else { 'b' }, texts(record_routes)),
        };
        self.end(request, letter, tag, peer_tag, routes)
    }

    fn mask_response(&self, response: &mut Response, here: Here<'_>, now: u64) -> Changed {
        let mut changed = Changed::new();
        let Some(method) = response.cseq().ok().map(|cseq| cseq.method.to_owned()) else { return changed };
        let mut record_routes: Vec<Vec<u8>> =
            response.values(Name::RecordRoute).map(<[u8]>::to_vec).collect();
        let below = record_routes.iter().rposition(|value| is_ours(value)).map_or(0, |last| last + 1);
        let theirs = record_routes.split_off(below);
        if !record_routes.is_empty() {
            response.remove(Name::RecordRoute);
            for value in &theirs {
                response.append(Name::RecordRoute, value);
            }
        }
        // A redirection is for its receiver to follow, and a registration is his own.
        if method == "REGISTER" || response.status().class() > 2 {
            return changed;
        }
        let end = makes_target(&method).then(|| self.responder(response, record_routes, now)).flatten();
        self.put_contact(response, end, makes_target(&method), here, now, &mut changed);
        changed
    }

    /// The sender of a response as the receiver is to know him.
    fn responder(&self, response: &Response, mut ours: Vec<Vec<u8>>, now: u64) -> Option<HiddenEnd> {
        let (tag, peer_tag) = (response.to_tag()?, response.from_tag()?);
        ours.reverse();
        let (letter, routes) = match self.known(response.call_id(), tag, peer_tag, now) {
            Some((letter, routes)) if ours.is_empty() => (letter, routes),
            Some((letter, _)) => (letter, texts(&ours)),
            None if ours.is_empty() => return None,
            None => ('b', texts(&ours)),
        };
        self.end(response, letter, tag, peer_tag, routes)
    }

    fn end(
        &self,
        message: &Fields,
        letter: char,
        tag: &str,
        peer_tag: &str,
        routes: Vec<String>,
    ) -> Option<HiddenEnd> {
        let contact = message.values(Name::Contact).next()?;
        let address = NameAddr::parse("Contact", contact).ok()?;
        let contact = address.uri().ok().filter(Uri::is_sip)?.as_str().to_owned();
        let call_id = message.call_id().to_owned();
        let parts = [&call_id, tag, &contact].into_iter().chain(routes.iter().map(String::as_str));
        let seal = self.topoh.key.seal("topos", parts.map(str::as_bytes));
        let uuid = format!("{letter}{PREFIX}{}", hex::encode(seal));
        let (tag, peer_tag) = (tag.to_owned(), peer_tag.to_owned());
        Some(HiddenEnd { uuid, call_id, tag, peer_tag, contact, routes, until: 0 })
    }

    /// Puts a Contact of ours in the place of that of `end`. One that is no target of a dialog goes out as nothing, and one that
    /// nothing leads to, or for which there is no room, in a mask.
    fn put_contact(
        &self,
        message: &mut Fields,
        end: Option<HiddenEnd>,
        makes_target: bool,
        here: Here<'_>,
        now: u64,
        changed: &mut Changed,
    ) {
        if !makes_target {
            message.remove(Name::Contact);
            return;
        }
        let Some(end) = end else { return self.topoh.mask_contacts(message) };
        let (sent_by, transport) = (here.sent_by, here.transport);
        let uri = format!("sip:{}@{sent_by}{transport}", end.uuid);
        if !self.keep(end, now, changed) {
            return self.topoh.mask_contacts(message);
        }
        let mut first = true;
        message.retain_values(Name::Contact, |_| std::mem::take(&mut first));
        message.edit_values(Name::Contact, |value| {
            Some(NameAddr::parse("Contact", value).ok()?.with_uri(value, &uri))
        });
    }

    /// A message that has come, as it would be without hiding. A request whose Request-URI is a name of its dialog has a proved
    /// target ([`Request::has_proved_target`]).
    pub fn unmask(&self, message: &mut Message, now: u64) -> Changed {
        match message {
            Message::Request(request) => self.unmask_request(request, now),
            Message::Response(response) => self.unmask_response(response, now),
        }
    }

    fn unmask_request(&self, request: &mut Request, now: u64) -> Changed {
        let mut changed = Changed::new();
        let Some(uuid) = name_in(request.uri_text()) else { return changed };
        let found = {
            let mut part = self.ends.of(uuid);
            part.get_mut(uuid).filter(|kept| kept.end.until > now).map(|kept| {
                // What is over, or has not begun, is not renewed.
                if kept.end.until > now + self.params.branch_expire.as_secs() {
                    self.renew(kept, now, &mut changed);
                }
                kept.end.clone()
            })
        };
        let Some(end) = found else { return changed };
        let Ok(uri) = Uri::parse(&end.contact) else { return changed };
        match request.to_tag() {
            // A new dialog with that end, as in a transfer, goes where any request for its Contact goes.
            None => request.set_uri(&uri),
            Some(tag) if tag == end.tag && request.call_id() == end.call_id => {
                request.set_uri(&uri);
                for route in &end.routes {
                    request.append(Name::Route, route);
                }
                request.prove_target();
            }
            Some(_) => {}
        }
        changed
    }

    fn unmask_response(&self, response: &mut Response, now: u64) -> Changed {
        let mut changed = Changed::new();
        let Some(branch) = response.top_via().ok().and_then(|via| Some(via.branch()?.to_owned())) else {
            return changed;
        };
        let found = self.branches.of(&branch).get_mut(&branch).map(|stripped| {
            stripped.until = now + self.params.branch_expire.as_secs();
            stripped.clone()
        });
        let Some(stripped) = found else { return changed };
        for via in &stripped.vias {
            response.append(Name::Via, via);
        }
        let code = response.status().code();
        if (101..300).contains(&code) {
            for value in &stripped.record_routes {
                response.append(Name::RecordRoute, value);
            }
            if let Some((uuid, tag)) = stripped.uuid.zip(response.to_tag()) {
                self.join(&uuid, tag, now, &mut changed);
            }
        }
        changed
    }

    /// The dialog between the end named `uuid` and `peer_tag` is there.
    fn join(&self, uuid: &str, peer_tag: &str, now: u64, changed: &mut Changed) {
        let joined = {
            let mut part = self.ends.of(uuid);
            let Some(kept) = part.get_mut(uuid) else { return };
            if kept.end.peer_tag.is_empty() {
                kept.end.peer_tag = peer_tag.to_owned();
                self.renew(kept, now, changed);
            }
            HiddenEnd { peer_tag: peer_tag.to_owned(), ..kept.end.clone() }
        };
        self.link(&joined);
    }

    /// The calls with these Call-IDs are still there.
    pub fn renew_calls<'c>(&self, call_ids: impl IntoIterator<Item = &'c str>, now: u64) -> Changed {
        let mut changed = Changed::new();
        for call_id in call_ids {
            for uuid in self.names_of(call_id) {
                if let Some(kept) = self.ends.of(&uuid).get_mut(&uuid) {
                    self.renew(kept, now, &mut changed);
                }
            }
        }
        changed
    }

    /// Whether it is time to look for what has run out: true for one caller in each interval.
    #[must_use]
    pub fn is_to_be_cleaned(&self, now: u64) -> bool {
        let due = self.next_clean.load(Ordering::Relaxed);
        let next = now + self.params.clean_interval.as_secs().max(1);
        due <= now
            && self.next_clean.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Forgets what has run out, and returns the names that the store has, and until when it was told to keep each.
    pub fn clean(&self, now: u64) -> Vec<(String, u64)> {
        for mut part in self.branches.each() {
            part.retain(|_, stripped| stripped.until > now);
        }
        let mut gone = Vec::new();
        for mut part in self.ends.each() {
            gone.extend(part.extract_if(|_, kept| kept.end.until <= now).map(|(_, kept)| kept));
        }
        for kept in &gone {
            let mut part = self.calls.of(&kept.end.call_id);
            if let Some(links) = part.get_mut(&kept.end.call_id) {
                links.retain(|link| link.uuid != kept.end.uuid);
                if links.is_empty() {
                    part.remove(&kept.end.call_id);
                }
            }
        }
        gone.into_iter().filter(|kept| kept.saved > 0).map(|kept| (kept.end.uuid, kept.saved)).collect()
    }

    /// The name in a Request-URI, where it is one of ours and nothing is kept under it: another server of the same store may know it.
    #[must_use]
    pub fn lacks<'u>(&self, uri: &'u str) -> Option<&'u str> {
        name_in(uri).filter(|uuid| !self.ends.of(*uuid).contains_key(*uuid))
    }

    /// The letter of an end of a dialog, and the Routes that lead there.
    fn known(&self, call_id: &str, tag: &str, peer_tag: &str, now: u64) -> Option<(char, Vec<String>)> {
        let uuid = {
            let part = self.calls.of(call_id);
            let links = part.get(call_id)?;
            let of_end = |link: &&Link| link.tag == tag;
            let here = links.iter().filter(of_end).rfind(|link| link.peer_tag == peer_tag);
            here.or_else(|| links.iter().rfind(of_end))?.uuid.clone()
        };
        let part = self.ends.of(&uuid);
        let end = &part.get(&uuid).filter(|kept| kept.end.until > now)?.end;
        Some((uuid.chars().next()?, end.routes.clone()))
    }

    fn names_of(&self, call_id: &str) -> Vec<String> {
        let part = self.calls.of(call_id);
        part.get(call_id).into_iter().flatten().map(|link| link.uuid.clone()).collect()
    }

    /// Keeps an end, whose dialog is there when both tags are. Whether there was room.
    fn keep(&self, mut end: HiddenEnd, now: u64, changed: &mut Changed) -> bool {
        let joined = !end.peer_tag.is_empty();
        end.until = now + self.params.branch_expire.as_secs();
        let uuid = end.uuid.clone();
        if !self.has_room(&end) || !self.enter(end.clone(), 0) {
            return false;
        }
        self.link(&end);
        if let Some(kept) = self.ends.of(&uuid).get_mut(&uuid) {
            if joined {
                self.renew(kept, now, changed);
            } else {
                kept.end.until = kept.end.until.max(end.until);
            }
        }
        true
    }

    /// Whether a dialog may have this name too: nobody fills the table by moving about.
    fn has_room(&self, end: &HiddenEnd) -> bool {
        let part = self.calls.of(&end.call_id);
        part.get(&end.call_id)
            .is_none_or(|links| links.len() < MAX_OF_CALL || links.iter().any(|link| link.uuid == end.uuid))
    }

    fn enter(&self, end: HiddenEnd, saved: u64) -> bool {
        let mut part = self.ends.of(&end.uuid);
        if part.contains_key(&end.uuid) {
            return true;
        }
        if part.len() >= MAX {
            return false;
        }
        part.insert(end.uuid.clone(), Kept { end, saved });
        true
    }

    fn link(&self, end: &HiddenEnd) {
        let mut part = self.calls.of(&end.call_id);
        let links = part.entry(end.call_id.clone()).or_default();
        let there = |link: &Link| link.uuid == end.uuid && link.peer_tag == end.peer_tag;
        if links.len() < MAX_OF_CALL && !links.iter().any(there) {
            let (tag, peer_tag, uuid) = (end.tag.clone(), end.peer_tag.clone(), end.uuid.clone());
            links.push(Link { tag, peer_tag, uuid });
        }
    }

    /// It is kept for the time of a dialog from now on. The store hears of it when what it has is out of date by a quarter of that.
    fn renew(&self, kept: &mut Kept, now: u64, changed: &mut Changed) {
        let time = self.params.dialog_expire.as_secs();
        kept.end.until = now + time;
        if kept.end.until >= kept.saved + time / 4 {
            kept.saved = kept.end.until;
            changed.push(kept.end.clone());
        }
    }

    /// A dialog ends; what repeats its last messages still finds it.
    fn end_of(&self, call_id: &str, now: u64) {
        for uuid in self.names_of(call_id) {
            if let Some(kept) = self.ends.of(&uuid).get_mut(&uuid) {
                kept.end.until = kept.end.until.min(now + self.params.branch_expire.as_secs());
            }
        }
    }

    /// Keeps what a request has lost until it is answered. Whether there was room.
    fn wait(&self, branch: String, stripped: Stripped) -> bool {
        let mut part = self.branches.of(&branch);
        let room = part.len() < MAX || part.contains_key(&branch);
        if room {
            part.insert(branch, stripped);
        }
        room
    }
}

/// Whether the Contact of a request of this method, and of responses to it, is where the dialog goes on (RFC 3261 §12.1, RFC 3311,
/// RFC 6665, RFC 3515).
fn makes_target(method: &str) -> bool {
    matches!(method, "INVITE" | "UPDATE" | "SUBSCRIBE" | "NOTIFY" | "REFER")
}

/// A name of ours in the user part of a URI.
fn name_in(uri: &str) -> Option<&str> {
    let user = uri.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("sip:")).and(uri.get(4..))?;
    let (user, _) = user.split_once('@')?;
    let name = user.strip_prefix('a').or_else(|| user.strip_prefix('b'))?;
    name.starts_with(PREFIX).then_some(user)
}

fn texts(values: &[Vec<u8>]) -> Vec<String> {
    values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

#[cfg(test)]
mod tests;
