//! Keys that the relay has heard of one end, for another that has them as INFO ([`crate::step::dtmf`]).

use std::time::{Duration, Instant};

use super::Proxy;
use crate::dialog::End;
use crate::message::{Method, Name, Response};
use crate::outside::Keys as Way;
use crate::step::dtmf::{DTMF_RELAY, Pressed};
use crate::step::in_dialog;
use crate::transaction::{ClientId, IdSet};

/// How long a key is said to be held: the relay tells that it was pressed, and no more.
const LENGTH: Duration = Duration::from_millis(160);
/// A call that agrees on something is looked at again so much later.
const AGAIN: Duration = Duration::from_millis(250);
/// A key that is older is of no use any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that wait, of all calls of a worker.
const MAX_WAITING: usize = 1024;

/// Keys on their way.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// INFO requests of ours that have no final response yet.
    told: IdSet<ClientId>,
    /// Those that wait until their call has agreed, in their order.
    waiting: Vec<Key>,
    again: Option<Instant>,
}

#[derive(Debug)]
struct Key {
    call_id: String,
    /// Tag of who has pressed it, at the relay.
    tag: String,
    code: u8,
    until: Instant,
}

impl Keys {
    /// When to look at the waiting ones.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.again.filter(|_| !self.waiting.is_empty())
    }

    /// An INFO is over; `false` when it is none of ours.
    pub(super) fn forget(&mut self, client: ClientId) -> bool {
        self.told.remove(&client)
    }
}

impl Proxy {
    /// The relay has heard a key, with its event number of RFC 4733, of the end that it knows by `tag`. Where the other one has
    /// keys as INFO it gets one.
    pub fn handle_key(&mut self, now: Instant, call_id: &str, tag: &str, code: u8) {
        self.world.set_now(now);
        let key = Key { call_id: call_id.to_owned(), tag: tag.to_owned(), code, until: now + PATIENCE };
        self.pass_key(key);
        self.settle();
    }

    /// Says the keys that have waited.
    pub(super) fn pass_waiting_keys(&mut self) {
        let now = self.world.now();
        if self.keys.poll_timeout().is_some_and(|again| again <= now) {
            self.keys.again = None;
            std::mem::take(&mut self.keys.waiting).into_iter().for_each(|key| self.pass_key(key));
        }
    }

    fn pass_key(&mut self, key: Key) {
        let now = self.world.now();
        let Some(to) = self.hearer_of(&key) else { return };
        // The ACK of an INVITE has its number, and a request between the two would take the next one.
        let waits = self.keys.waiting.iter().any(|other| other.call_id == key.call_id);
        if waits || self.is_agreeing(&key.call_id, &to) {
            if key.until > now && self.keys.waiting.len() < MAX_WAITING {
                self.keys.waiting.push(key);
                self.keys.again.get_or_insert(now + AGAIN);
            }
            return;
        }
        let told = self.request_in_name(Method::Info, &key.call_id, &to);
        let Some((mut request, destination, from)) = told else { return };
        if let Some(contact) = in_dialog::contact_of(&self.world, &from) {
            request.push(Name::Contact, contact);
        }
        let body = Pressed { code: key.code, duration: LENGTH }.body();
        request.set_body(DTMF_RELAY, body.into());
        if let Ok(client) = self.table.request(now, request, destination) {
            self.keys.told.insert(client);
        }
    }

    /// The tag of who is to hear of a key as INFO.
    fn hearer_of(&self, key: &Key) -> Option<String> {
        let calls = self.world.calls.borrow();
        calls.of(&key.call_id).find_map(|call| {
            let callee = call.callees.first().filter(|_| call.answered.is_some())?;
            let is_it = |end: &End| end.relayed.as_deref().unwrap_or(&end.tag) == key.tag;
            let to = match (is_it(&call.caller), is_it(callee)) {
                (true, _) => callee,
                (_, true) => &call.caller,
                _ => return None,
            };
            (to.keys == Way::Info).then(|| to.tag.clone())
        })
    }

    /// The response to an INFO of ours; `false` when it is to another request. Whoever does not know what an INFO is has lost
    /// a key, and no more.
    pub(super) fn key_answered(&mut self, client: Option<ClientId>, response: &Response) -> bool {
        let Some(client) = client.filter(|client| self.keys.told.contains(client)) else { return false };
        if response.status().is_final() {
            self.keys.forget(client);
            if !response.status().is_success() {
                let (call_id, code) = (response.call_id(), response.status().code());
                tracing::warn!(call_id, code, "an end refuses a key");
            }
        }
        true
    }
}
