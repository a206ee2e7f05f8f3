//! The agent of a transfer: a user agent within this proxy, with a dialog on either side, that passes on what each says. What it
//! says goes through the transactions and the route as if it had come from a network, and what is for it comes out of them the same
//! way; so each of its dialogs is a call like any other.

use bytes::Bytes;

use super::{Proxy, Stage, header_call_id};
use crate::flow::{Destination, Flow};
use crate::message::build::{self, NewRequest, Reply};
use crate::message::header::RecordRoute;
use crate::message::{Fields, Message, Method, Name, Request, Response, StatusCode, Uri};
use crate::step::media;

/// Which dialog of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// That with the transferee.
    Kept,
    /// That with the target.
    Fresh,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Kept => Self::Fresh,
            Self::Fresh => Self::Kept,
        }
    }
}

/// The agent's end of a dialog (RFC 3261 §12).
#[derive(Debug, Default)]
pub(super) struct Leg {
    /// Its own From.
    pub(super) local: String,
    /// The other end's To.
    pub(super) remote: String,
    /// The other end's Contact as it is seen here.
    pub(super) target: String,
    /// The route set.
    pub(super) routes: Vec<String>,
    /// Number of its last request.
    pub(super) cseq: u32,
    /// The last ACK to a 2xx: number of the INVITE and SDP.
    pub(super) acked: Option<(u32, Option<Bytes>)>,
    /// Number of an INVITE that was passed on here, has its 2xx and waits for the ACK from the other side.
    pub(super) unacknowledged: Option<u32>,
}

impl Leg {
    /// The dialog that a 2xx makes.
    pub(super) fn note_dialog(&mut self, response: &Response) {
        if let Some(to) = response.text(Name::To) {
            to.clone_into(&mut self.remote);
        }
        let routes = response.all::<RecordRoute<'_>>().flatten();
        self.routes = routes.map(|route| format!("<{}>", route.uri_text())).collect();
        self.routes.reverse();
        self.note_target(response);
    }

    fn note_target(&mut self, message: &Fields) {
        let contact = message.get::<crate::message::header::Contact<'_>>().ok().flatten();
        if let Some(address) = contact.as_ref().and_then(|contact| contact.address()) {
            address.uri_text().clone_into(&mut self.target);
        }
    }
}

/// A request that an agent has sent.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) transfer: u64,
    side: Side,
    request: Request,
    pub(super) why: Why,
}

/// What for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// To call whoever is called before the target.
    First,
    /// To call the target.
    Target,
    /// To have the transferee talk to it.
    Transferee,
    /// The other side has said it: its request.
    PassedOn(Box<Original>),
    /// To hang up.
    End,
}

/// A request of the other side, compared by its branch.
#[derive(Debug)]
pub(super) struct Original(Request);

impl PartialEq for Original {
    fn eq(&self, other: &Self) -> bool {
        branch(&self.0) == branch(&other.0) && self.0.method() == other.0.method()
    }
}

impl Eq for Original {}

/// The Contact URI of an agent.
pub(super) fn contact(flow: &Flow) -> String {
    format!("sip:{}@{}", super::CONTACT_USER, flow.remote)
}

fn branch(message: &Fields) -> &str {
    message.top_via().ok().and_then(|via| via.branch()).unwrap_or_default()
}

impl super::Transfer {
    fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Kept => &mut self.kept,
            Side::Fresh => &mut self.fresh,
        }
    }

    /// A request of the agent with this number. `None` when the other end's Contact cannot be followed.
    fn request(&mut self, side: Side, method: Method, branch: &str, cseq: u32) -> Option<Request> {
        let (flow, call_id) = (self.flow, header_call_id(&self.call).to_owned());
        let leg = self.leg(side);
        let uri = Uri::parse(&leg.target).ok()?;
        let via = build::via(flow.protocol, &flow.remote.to_string(), branch);
        let mut request = NewRequest::new(method, &uri, &via, &leg.local, &leg.remote, &call_id, cseq);
        for route in &leg.routes {
            request = request.header(Name::Route, route);
        }
        Some(request.header(Name::Contact, format!("<{}>", contact(&flow))).build())
    }
}

/// What an agent says.
impl Proxy {
    /// Sends a request that `fill` completes. `false` when that is not possible.
    pub(super) fn agent_asks(
        &mut self,
        id: u64,
        side: Side,
        method: Method,
        why: Why,
        fill: impl FnOnce(&mut Request),
    ) -> bool {
        let branch = self.world.with_rng(build::random_branch);
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return false };
        let leg = transfer.leg(side);
        leg.cseq = leg.cseq.saturating_add(1);
        let number = leg.cseq;
        let Some(mut request) = transfer.request(side, method, &branch, number) else { return false };
        fill(&mut request);
        self.world.sign(&mut request);
        request.ensure_content_length();
        if why == Why::Target {
            transfer.ringing = Some(request.clone());
        }
        let (flow, bytes) = (transfer.flow, request.to_bytes());
        self.transfers.asked.insert(branch, Asked { transfer: id, side, request, why });
        self.say(flow, &bytes)
    }

    /// Acknowledges a 2xx.
    pub(super) fn acknowledge(&mut self, id: u64, side: Side, number: u32, sdp: Option<Bytes>) {
        let branch = self.world.with_rng(build::random_branch);
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        transfer.leg(side).acked = Some((number, sdp.clone()));
        let Some(mut ack) = transfer.request(side, Method::Ack, &branch, number) else { return };
        if let Some(sdp) = sdp {
            ack.set_body(media::SDP, sdp);
        }
        let flow = transfer.flow;
        self.say(flow, &ack.to_bytes());
    }

    /// Has a message of an agent arrive that belongs to no transfer.
    pub(in super::super) fn say_as_agent(&mut self, flow: Flow, bytes: &Bytes) -> bool {
        self.transfers.used = true;
        self.say(flow, bytes)
    }

    /// Has a message of an agent arrive.
    pub(super) fn say(&mut self, flow: Flow, bytes: &Bytes) -> bool {
        match Message::parse(bytes.clone()) {
            Ok(message) => {
                self.table.handle_message(self.world.now(), flow, message);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "a message of an agent cannot be read");
                false
            }
        }
    }

    fn reply(&mut self, flow: Flow, request: &Request, status: StatusCode) {
        let response = Reply::new(request, status).build();
        self.say(flow, &response.to_bytes());
    }
}

/// What an agent hears.
impl Proxy {
    /// Hands one message to an agent; `false` when there is none. Everything else is for the transport.
    pub(in super::super) fn hear_agents(&mut self) -> bool {
        if !self.transfers.used {
            return false;
        }
        while let Some(outbound) = self.table.poll_transmit() {
            match outbound.destination {
                Destination::Flow(flow) if flow.is_agent() => {
                    self.transfers.heard.push_back((flow, outbound.bytes));
                }
                _ => self.transfers.sent.push_back(outbound),
            }
        }
        let Some((flow, bytes)) = self.transfers.heard.pop_front() else { return false };
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => self.agent_hears(flow, request),
            Ok(Message::Response(response)) => self.agent_answered(&response),
            Err(_) => self.world.stats.borrow_mut().strays += 1,
        }
        true
    }

    fn agent_hears(&mut self, flow: Flow, request: Request) {
        let of = self.transfers.of(request.call_id(), request.to_tag());
        let Some((id, side)) = of else {
            if *request.method() != Method::Ack {
                self.reply(flow, &request, StatusCode::CALL_DOES_NOT_EXIST);
            }
            return;
        };
        let stage = self.transfers.all.get(&id).map(|transfer| transfer.stage);
        match request.method() {
            Method::Ack => self.agent_acknowledged(id, side, &request),
            Method::Bye => {
                self.reply(flow, &request, StatusCode::OK);
                self.hung_up_on_agent(id, side);
            }
            Method::Cancel => {
                self.reply(flow, &request, StatusCode::OK);
                self.cancel_passed_on(flow, &request);
            }
            _ if stage == Some(Stage::Bridged) => self.pass_on(id, side, request),
            _ => self.reply(flow, &request, StatusCode::REQUEST_PENDING),
        }
    }

    fn agent_acknowledged(&mut self, id: u64, side: Side, ack: &Request) {
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        if let Some(number) = transfer.leg(side.other()).unacknowledged.take() {
            self.acknowledge(id, side.other(), number, media::sdp_of(ack));
        }
    }

    /// One of the two has hung up.
    fn hung_up_on_agent(&mut self, id: u64, side: Side) {
        let Some(transfer) = self.transfers.all.get(&id) else { return };
        let number = transfer.fresh.cseq;
        match (transfer.stage, side) {
            (Stage::Calling | Stage::Ending, _) => return self.give_up_transfer(id),
            (Stage::Joining, Side::Kept) => self.leave_target(id, number),
            (Stage::Joining, Side::Fresh) | (Stage::Bridged, _) => {
                self.agent_asks(id, side.other(), Method::Bye, Why::End, |_| {});
            }
        }
        self.end_transfer(id);
    }

    /// Says on the other side what was said on this one.
    fn pass_on(&mut self, id: u64, side: Side, request: Request) {
        let why = Why::PassedOn(Box::new(Original(request.clone())));
        if self.transfers.asked.values().any(|asked| asked.why == why) {
            return;
        }
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        let (flow, method) = (transfer.flow, request.method().clone());
        if matches!(method, Method::Invite | Method::Update) {
            transfer.leg(side).note_target(&request);
        }
        if method == Method::Invite {
            self.reply(flow, &request, StatusCode::TRYING);
        }
        let copied = |onward: &mut Request| {
            if let Some(left) = request.max_forwards() {
                onward.set(Name::MaxForwards, left.to_string());
            }
            copy(&request, onward);
        };
        if !self.agent_asks(id, side.other(), method, why, copied) {
            self.reply(flow, &request, StatusCode::SERVER_INTERNAL_ERROR);
        }
    }

    fn cancel_passed_on(&mut self, flow: Flow, cancel: &Request) {
        let of = |asked: &&Asked| match &asked.why {
            Why::PassedOn(original) => branch(&original.0) == branch(cancel),
            _ => false,
        };
        if let Some(asked) = self.transfers.asked.values().find(of) {
            let cancel = build::cancel(&asked.request, "");
            self.say(flow, &cancel.to_bytes());
        }
    }

    fn agent_answered(&mut self, response: &Response) {
        if self.errand_answered(response) {
            return;
        }
        let status = response.status();
        let method = response.cseq().map_or("", |cseq| cseq.method);
        let of = |asked: &Asked| asked.request.method().as_str() == method;
        let name = branch(response).to_owned();
        let Some(asked) = self.transfers.asked.get(&name).filter(|asked| of(asked)) else {
            return self.acknowledge_again(response);
        };
        if status.is_provisional() {
            match &asked.why {
                Why::Target => {
                    let id = asked.transfer;
                    self.target_rings(id, response);
                }
                Why::PassedOn(original) if status != StatusCode::TRYING => {
                    let (id, original) = (asked.transfer, original.0.clone());
                    self.pass_back(id, &original, response);
                }
                _ => {}
            }
            return;
        }
        let Some(Asked { transfer: id, side, request, why }) = self.transfers.asked.remove(&name) else {
            return;
        };
        let invite = *request.method() == Method::Invite;
        let flow = self.transfers.all.get(&id).map(|transfer| transfer.flow);
        if let Some(flow) = flow.filter(|_| invite && !status.is_success()) {
            let ack = build::ack(&request, response, "");
            self.say(flow, &ack.to_bytes());
        }
        match why {
            Why::First if status.is_success() => self.first_answered(id, response),
            Why::First => self.first_refused(id, response),
            Why::Target if status.is_success() => self.connected(id, response),
            Why::Target => {
                if let Some(transfer) = self.transfers.all.get_mut(&id) {
                    transfer.ringing = None;
                }
                self.not_connected(id, status, &response.reason());
            }
            Why::Transferee => self.joined(id, response),
            Why::PassedOn(original) => {
                if let Some(transfer) = self.transfers.all.get_mut(&id).filter(|_| status.is_success()) {
                    let leg = transfer.leg(side);
                    if matches!(request.method(), Method::Invite | Method::Update) {
                        leg.note_target(response);
                    }
                    leg.unacknowledged = request.cseq().ok().map(|cseq| cseq.number).filter(|_| invite);
                }
                self.pass_back(id, &original.0, response);
            }
            Why::End => {}
        }
    }

    fn target_rings(&mut self, id: u64, response: &Response) {
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        let rings = response.status() != StatusCode::TRYING && transfer.stage == Stage::Calling;
        if rings && !std::mem::replace(&mut transfer.rang, true) {
            self.notify(id, response.status(), &response.reason(), false);
        }
    }

    /// A 2xx that comes again has not heard its ACK.
    fn acknowledge_again(&mut self, response: &Response) {
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        let of = self.transfers.of(response.call_id(), response.from_tag());
        let Some((id, side)) = of.filter(|_| response.status().is_success()) else { return };
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        let acked = transfer.leg(side).acked.clone();
        if let Some((_, sdp)) = acked.filter(|(acked, _)| *acked == number) {
            self.acknowledge(id, side, number, sdp);
        }
    }

    /// Answers a request as the other side has.
    fn pass_back(&mut self, id: u64, original: &Request, response: &Response) {
        let Some(flow) = self.transfers.all.get(&id).map(|transfer| transfer.flow) else { return };
        let mut reply = Reply::new(original, response.status()).reason(&response.reason()).build();
        if matches!(original.method(), Method::Invite | Method::Update) {
            reply.push(Name::Contact, format!("<{}>", contact(&flow)));
        }
        copy(response, &mut reply);
        self.say(flow, &reply.to_bytes());
    }
}

/// Copies what is between the ends, and not of a dialog or a hop.
fn copy(from: &Fields, to: &mut Fields) {
    for (name, value) in from.iter() {
        let ours = matches!(
            Name::of(&name),
            Name::Via
                | Name::MaxForwards
                | Name::MaxBreadth
                | Name::From
                | Name::To
                | Name::CallId
                | Name::CSeq
                | Name::Contact
                | Name::Route
                | Name::RecordRoute
                | Name::Authorization
                | Name::ProxyAuthorization
                | Name::ContentLength
                | Name::ContentType
        );
        if !ours {
            to.push(Name::of(&name), value);
        }
    }
    if let Some(content_type) = from.text(Name::ContentType) {
        to.set_body(content_type, from.body().clone());
    }
}
