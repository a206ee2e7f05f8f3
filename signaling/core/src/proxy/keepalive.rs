//! OPTIONS within calls, from one end to the other (the keep-alive of Kamailio's `dialog` module): whoever is not there any more,
//! or does not know the call, will not hang up. The numbers that this costs in the dialog are made up for from then on
//! ([`crate::step::renumber`]).

use std::time::Instant;

use super::Proxy;
use crate::event::EndCause;
use crate::message::{Method, Response};
use crate::transaction::ClientId;

/// A question of ours.
#[derive(Debug)]
pub(super) struct Asked {
    call_id: String,
    /// Tag of the end that was asked.
    tag: String,
}

impl Proxy {
    /// When the next calls are looked at; `None` without keep-alive.
    pub(super) fn first_keepalive(world: &crate::world::World) -> Option<Instant> {
        let timer = world.settings.dialog.ka_timer;
        (!timer.is_zero()).then(|| world.now() + timer)
    }

    /// Asks both ends of every call whose turn it is.
    pub(super) fn keep_alive(&mut self) {
        let now = self.world.now();
        let Some(next) = self.next_keepalive.filter(|next| *next <= now) else { return };
        let dialog = self.world.settings.dialog;
        self.next_keepalive = Some(next.max(now) + dialog.ka_timer);
        let mut due = Vec::new();
        self.world.calls.borrow_mut().each(|call| {
            let Some(callee) = call.callees.first().filter(|_| call.answered.is_some()) else { return };
            if call.asked.is_none_or(|asked| asked + dialog.ka_interval <= now) {
                due.push((call.call_id.clone(), [call.caller.tag.clone(), callee.tag.clone()]));
            }
        });
        if due.is_empty() {
            return;
        }
        // An INVITE under way has its own timers, and an ACK has the number of its INVITE.
        let open = self.open_invites();
        due.retain(|(call_id, _)| !open.contains(call_id));
        for (call_id, tags) in due {
            if let Some(call) = self.world.calls.borrow_mut().find_mut(&call_id, &tags[0]) {
                call.asked = Some(now);
            }
            for tag in tags {
                self.ask_end(&call_id, &tag);
            }
        }
    }

    fn ask_end(&mut self, call_id: &str, tag: &str) {
        let asked = self.request_in_name(Method::Options, call_id, tag);
        let Some((request, destination, _)) = asked else { return };
        if let Ok(client) = self.table.request(self.world.now(), request, destination) {
            self.keepalives.insert(client, Asked { call_id: call_id.to_owned(), tag: tag.to_owned() });
        }
    }

    /// Takes the response to a question of ours; `false` when it is to somebody else's request.
    pub(super) fn keepalive_answered(&mut self, client: Option<ClientId>, response: &Response) -> bool {
        let Some(client) = client.filter(|client| self.keepalives.contains_key(client)) else { return false };
        if response.status().is_final()
            && let Some(asked) = self.keepalives.remove(&client)
        {
            // Whoever refuses the question is there to refuse it.
            self.note_keepalive(&asked, !matches!(response.status().code(), 408 | 481));
        }
        true
    }

    /// A question of ours has no answer; `false` when it is somebody else's request. One that could not even be sent says
    /// nothing: a browser may be about to come back.
    pub(super) fn keepalive_failed(&mut self, client: ClientId, sent: bool) -> bool {
        let Some(asked) = self.keepalives.remove(&client) else { return false };
        if sent {
            self.note_keepalive(&asked, false);
        }
        true
    }

    fn note_keepalive(&mut self, asked: &Asked, alive: bool) {
        let limit = self.world.settings.dialog.ka_failed_limit;
        let dead = {
            let mut calls = self.world.calls.borrow_mut();
            let call = calls.find_mut(&asked.call_id, &asked.tag);
            let Some(end) = call.and_then(|call| call.end_mut(&asked.tag)) else { return };
            end.silent = if alive { 0 } else { end.silent.saturating_add(1) };
            end.silent >= limit
        };
        if dead {
            let call = self.world.calls.borrow_mut().remove(&asked.call_id, &asked.tag);
            if let Some(call) = call {
                self.end_both(&call, EndCause::KeepAlive);
            }
        }
    }
}
