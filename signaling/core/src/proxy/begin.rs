//! What becomes of a request that belongs to nothing that is here.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::FutureExt as _;

use super::{Done, Outcome, Proxy, Server};
use crate::flow::Flow;
use crate::fork;
use crate::message::{Message, Method, Name, Request, Response, StatusCode, Uri};
use crate::route;
use crate::step::{Incoming, Target, Verdict, outbound, relay};
use crate::transaction::{Opening, ServerId};
use crate::world::World;

impl Proxy {
    /// Takes a request that came. Most of those that stand alone are decided at once, and need no transaction.
    pub(super) fn meet(&mut self, flow: Flow, mut request: Request) {
        let now = self.world.now();
        if !stands_alone(&request) {
            return self.table.handle_message(now, flow, Message::Request(request));
        }
        let Some(opening) = self.table.open(now, &flow, &mut request) else { return };
        let mut incoming = Box::new(Incoming::new(&self.world, request, flow));
        incoming.stateless = true;
        let mut route = on_route(Rc::clone(&self.world), incoming, Way::Usual).boxed_local();
        match route.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((incoming, Outcome::Reply(response))) => self.answer(opening, &incoming, *response),
            Poll::Ready((_, Outcome::Absorb)) => {}
            Poll::Ready((incoming, outcome)) => {
                let server = self.serve(opening);
                self.routed(Some(server), *incoming, outcome);
            }
            // `poll_routes` asks again, with a context that is woken.
            Poll::Pending => {
                let server = Some(self.serve(opening));
                let done = route.map(move |(incoming, outcome)| Done::Request { server, incoming, outcome });
                self.routes.push(done.boxed_local());
            }
        }
    }

    /// The transaction of a request that takes time.
    fn serve(&mut self, opening: Opening) -> ServerId {
        let server = self.table.begin(self.world.now(), opening);
        self.servers.insert(server, Server::Routing(None));
        server
    }

    /// Answers a request that was decided at once.
    fn answer(&mut self, opening: Opening, incoming: &Incoming, mut response: Response) {
        let strange = !incoming.trusted && self.may_be_forged(&incoming.flow);
        if strange && !self.fits_stranger(&incoming.message, &mut response) {
            return;
        }
        self.world.stats.borrow_mut().answered.note(response.status());
        // Whoever has shown nothing can have cost nothing, and is asked again, however often he sends it: to keep that for half
        // a minute would be a gift to who floods us (RFC 3261 §26.3.2.4). What has judged a password is said, and counted, once.
        if matches!(response.status().code(), 401 | 407) && !shows_credentials(incoming) {
            self.table.answer_stateless(opening, &response);
        } else {
            self.table.answer(self.world.now(), opening, &response);
        }
    }

    /// Puts a request on the route. `merged`: another transaction of the same request is here.
    pub(super) fn begin(&mut self, server: Option<ServerId>, flow: Flow, request: Request, merged: bool) {
        if let Some(server) = server.filter(|_| *request.method() == Method::Prack)
            && self.pracked(server, flow, &request)
        {
            return;
        }
        if self.is_for_announcement(server, &request) || self.is_for_transfer(server, flow, &request) {
            return;
        }
        let mut incoming = Box::new(Incoming::new(&self.world, request, flow));
        let way = self.way_of(&mut incoming);
        if merged {
            incoming.begin_pass(&self.world);
        }
        // What begins something was refused before; what belongs to a call has as much room again.
        let limits = &self.world.settings.limits;
        if self.routes.len() >= 2 * limits.max_pending {
            let Some(server) = server else { return };
            let headers = [(Name::RetryAfter, limits.retry_after.to_string())];
            let mut response = incoming.answer(&self.world, StatusCode::SERVICE_UNAVAILABLE, "", &headers);
            if self.may_be_forged(&flow) && !self.fits_stranger(&incoming.message, &mut response) {
                return self.table.abandon(server);
            }
            self.table.respond(self.world.now(), server, &response);
            return;
        }
        if let Some(server) = server {
            let invite = *incoming.method() == Method::Invite;
            self.servers.insert(server, Server::Routing(invite.then(|| incoming.clone())));
        }
        let route = on_route(Rc::clone(&self.world), incoming, way);
        let done = route.map(move |(incoming, outcome)| Done::Request { server, incoming, outcome });
        self.begun.push_back(done.boxed_local());
    }

    /// What part of the route is for a request. One that an agent sends outside of dialogs is known by it.
    fn way_of(&self, incoming: &mut Incoming) -> Way {
        if !incoming.flow.is_agent() {
            return Way::Usual;
        }
        if let Some(next_hop) = self.errands.next_hop_of(&incoming.message) {
            incoming.trusted = true;
            return Way::Errand(next_hop);
        }
        if incoming.is_in_dialog() {
            return Way::Usual;
        }
        incoming.user = self.transfers.user_of(&incoming.message);
        if !self.transfers.is_first(&incoming.message) {
            incoming.begin_pass(&self.world);
        }
        Way::Transfer
    }
}

/// What part of the route is for a request.
enum Way {
    /// That for all that others say.
    Usual,
    /// That for a call of an agent.
    Transfer,
    /// The same for a request of an operator; or the place to which he wants it to go.
    Errand(Option<Uri>),
}

/// Whether a request is none of a call and concerns no other: one with a transaction of its own and nothing else.
fn stands_alone(request: &Request) -> bool {
    let of_calls = matches!(
        request.method(),
        Method::Invite | Method::Ack | Method::Cancel | Method::Bye | Method::Prack | Method::Refer
    );
    !of_calls && request.to_tag().is_none()
}

/// Whether a request has come with what may prove who its sender is.
fn shows_credentials(incoming: &Incoming) -> bool {
    let has = |name| incoming.message.contains(name);
    incoming.token.is_some() || has(Name::Authorization) || has(Name::ProxyAuthorization)
}

/// What the route decides, and the branches that this begins with.
async fn on_route(world: Rc<World>, mut incoming: Box<Incoming>, way: Way) -> (Box<Incoming>, Outcome) {
    let verdict = match way {
        Way::Usual => route::request(&world, &mut incoming).await,
        Way::Transfer | Way::Errand(None) => route::transferred(&world, &mut incoming).await,
        Way::Errand(Some(hop)) => outbound::by_way_of(&world, &incoming, &hop).await,
    };
    let outcome = match verdict {
        Verdict::Reply(response) => Outcome::Reply(response),
        Verdict::Absorb => Outcome::Absorb,
        // A piece of memory of its own: most requests go nowhere, and can do with a small one.
        Verdict::Relay(targets) => Box::pin(first_branches(&world, &incoming, targets)).await,
    };
    (incoming, outcome)
}

/// The branches for the targets wanted most; where the relay refuses them all, for the next ones.
async fn first_branches(world: &World, incoming: &Incoming, targets: Vec<Target>) -> Outcome {
    let mut steps = fork::steps(targets, world.settings.tm.serial_forking);
    let mut refusal = (StatusCode::MAX_BREADTH_EXCEEDED, "");
    while let Some((step, breadth)) = fork::next_step(&mut steps, incoming.breadth) {
        match relay::prepare(world, incoming, step, breadth).await {
            Ok(branches) => return Outcome::Relay(branches, steps),
            Err(error) => refusal = error,
        }
    }
    let after = (Name::RetryAfter, world.settings.limits.retry_after.to_string());
    let headers = (refusal.0 == StatusCode::SERVICE_UNAVAILABLE).then_some(after);
    match incoming.refuse_with(world, refusal.0, refusal.1, headers.as_slice()) {
        Verdict::Reply(response) => Outcome::Reply(response),
        Verdict::Relay(_) | Verdict::Absorb => Outcome::Absorb,
    }
}
