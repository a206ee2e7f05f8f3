//! Asks the gateways of the table `dispatcher` whether they are there, by OPTIONS (Kamailio's `ds_ping_interval`).

use std::rc::Rc;
use std::time::Instant;

use futures_util::future::FutureExt as _;

use super::{Done, Proxy};
use crate::dispatcher::{Gateway, Question};
use crate::flow::Destination;
use crate::message::build::{self, NewRequest};
use crate::message::{Method, Request, Response};
use crate::step::{outbound, relay};
use crate::transaction::{ClientId, IdMap};
use crate::world::World;

/// The questions that wait for their answers.
#[derive(Debug)]
pub(super) struct Questions {
    /// With the time of each.
    open: IdMap<ClientId, (Question, Instant)>,
    /// When this worker looks next whether a round is due; `None` for never.
    pub(super) next: Option<Instant>,
}

impl Questions {
    /// None yet.
    pub(super) fn new(world: &World) -> Self {
        let interval = world.settings.dispatcher.ping_interval;
        Self { open: IdMap::default(), next: (!interval.is_zero()).then(|| world.now() + interval) }
    }
}

impl Proxy {
    /// Asks those whose turn it is, if no other worker does.
    pub(super) fn ask_gateways(&mut self) {
        let now = self.world.now();
        let Some(next) = self.questions.next.filter(|next| *next <= now) else { return };
        let settings = &self.world.settings.dispatcher;
        self.questions.next = Some(next.max(now) + settings.ping_interval);
        for question in self.world.tables().dispatcher.take_round(now, settings) {
            let world = Rc::clone(&self.world);
            let find = async move {
                let hop = outbound::next_hops(&world, &question.gateway().target).await.first().copied();
                Done::Question { question, hop }
            };
            self.begun.push_back(find.boxed_local());
        }
    }

    /// The way to a gateway is known: it is asked. Where this worker has no room for that, it says nothing of the gateway.
    pub(super) fn ask_gateway(&mut self, question: Question, hop: Option<Destination>) {
        let now = self.world.now();
        let Some(hop) = hop else {
            return question.gateway().state.unanswered(&self.world.settings.dispatcher);
        };
        let request = self.options(question.gateway(), &hop);
        if let Ok(client) = self.table.request(now, request, hop) {
            self.questions.open.insert(client, (question, now));
        }
    }

    fn options(&self, gateway: &Gateway, hop: &Destination) -> Request {
        let world = &self.world;
        let protocol = relay::protocol_of(hop);
        let branch = world.with_rng(build::random_branch);
        let via = build::via(protocol, &world.sent_by(protocol, world.local_of(hop)), &branch);
        let from = gateway.attrs.ping_from.as_ref().unwrap_or(&world.settings.dispatcher.ping_from);
        let from = format!("<{from}>;tag={}", world.tag());
        let to = format!("<{}>", gateway.uri);
        let call_id = world.with_rng(build::random_call_id);
        let uri = gateway.target.as_request_uri();
        let mut request = NewRequest::new(Method::Options, &uri, &via, &from, &to, &call_id, 10).build();
        world.sign(&mut request);
        request
    }

    /// Takes the response to a question of ours; `false` when it is to another request.
    pub(super) fn question_answered(&mut self, client: Option<ClientId>, response: &Response) -> bool {
        let Some(client) = client.filter(|client| self.questions.open.contains_key(client)) else {
            return false;
        };
        let status = response.status();
        if !status.is_final() {
            return true;
        }
        let settings = &self.world.settings.dispatcher;
        if let Some((question, asked)) = self.questions.open.remove(&client) {
            let after = self.world.now().saturating_duration_since(asked);
            match status.is_success() || settings.reply_codes.contains(&status.code()) {
                true => question.gateway().state.answered(settings, after),
                false => question.gateway().state.unanswered(settings),
            }
        }
        true
    }

    /// A question of ours has no answer; `false` when it is another request.
    pub(super) fn question_failed(&mut self, client: ClientId) -> bool {
        let Some((question, _)) = self.questions.open.remove(&client) else { return false };
        question.gateway().state.unanswered(&self.world.settings.dispatcher);
        true
    }
}
