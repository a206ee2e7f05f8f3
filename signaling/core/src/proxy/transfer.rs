//! Transfers that are carried out here (REFER, RFC 3515, RFC 5589), for ends that cannot: carriers refuse a REFER, and many phones do
//! not know it.
//!
//! Whoever sends a REFER to the other end of his call, the *referrer*, hears 202 from us in its place, and in NOTIFY what becomes of
//! it. An agent of ours calls the target in the name of that other end, the *transferee*, on the referrer's account, without an offer
//! (RFC 3725 §4.1, flow I). What the target offers in its 200 is offered to the transferee in the referrer's dialog, whose part
//! the agent takes from then on; the answer goes to the target in the ACK. So the transferee is in a call as before, the target is
//! in another one, and the agent passes on what they say to each other ([`agent`]). Each of the two calls has media of its own, and
//! the relay joins them. When all is done, the referrer is hung up on unless he has done that himself.
//!
//! Of two browsers the transferee does it itself: JsSIP knows how, and its media could not be begun anew.
//!
//! A transfer that fails changes nothing: the call of referrer and transferee is what it was. One whose referrer has left ends it.

mod agent;
mod bridge;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::agent::{Asked, Leg, Side, Why};
pub use self::bridge::NotBridged;
use super::{Proxy, Server};
use crate::dialog::{End, header_call_id};
use crate::flow::{Destination, Flow, Outbound, Protocol};
use crate::message::{Fields, Method, Name, Request, Response, StatusCode, build};
use crate::outside::{Keys, LegKind};
use crate::settings::Referral;
use crate::step::refer::{self, Wish};
use crate::step::{Incoming, in_dialog, media, relay};
use crate::transaction::{ClientId, IdMap, ServerId};

/// Transfers of one worker at a time; more are refused.
const MOST: usize = 1024;

/// How long the NOTIFYs of one may go on (Expires of the subscription), in seconds.
const SUBSCRIPTION: u32 = 180;

/// How much longer than any INVITE a call to a target may stay without an end.
const PATIENCE: Duration = Duration::from_secs(40);

/// What an agent says in Contact.
const CONTACT_USER: &str = "transfer";

/// All of a worker.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    all: HashMap<u64, Transfer>,
    last: u64,
    /// Which leg of which transfer, by Call-ID and the tag of the agent.
    legs: HashMap<(String, String), (u64, Side)>,
    /// Requests of agents, by branch.
    asked: HashMap<String, Asked>,
    /// NOTIFYs under way, and whether they are the last ones.
    notices: IdMap<ClientId, (u64, bool)>,
    /// Whether there ever was one.
    used: bool,
    /// Messages to agents.
    heard: VecDeque<(Flow, Bytes)>,
    /// Messages to everybody else.
    sent: VecDeque<Outbound>,
}

/// One transfer.
#[derive(Debug)]
struct Transfer {
    /// The call of referrer and transferee: see [`Incoming::call_id`].
    call: String,
    /// Where the agent is.
    flow: Flow,
    /// Its tag in the dialog with the target, and what the relay knows it by in a browser's place.
    tag: String,
    /// The user on whose account the target is called.
    user: Option<String>,
    /// Who is called before the target, when the agent has begun it all; `None` once he has answered.
    first: Option<bridge::First>,
    /// The agent in the dialog with the transferee, in the referrer's place.
    kept: Leg,
    /// The agent in the dialog with the target.
    fresh: Leg,
    stage: Stage,
    /// The INVITE to the target, while it has no final response.
    ringing: Option<Request>,
    /// The referrer as he was.
    referrer: End,
    /// Whether he has left.
    gone: bool,
    /// Whether the agent has his place.
    taken: bool,
    transferee: End,
    /// Whether the referrer is told what becomes of it.
    tells: bool,
    /// The number of the REFER, which names its event.
    event: u32,
    /// Whether he was told that the target rings.
    rang: bool,
    /// When to give up waiting for the target.
    until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The target is called.
    Calling,
    /// It has answered, and the transferee is asked to talk to it.
    Joining,
    /// They talk.
    Bridged,
    /// Nobody wants it any more; the INVITE to the target is cancelled.
    Ending,
}

impl Transfers {
    /// What is for the transport.
    pub(super) fn poll_transmit(&mut self) -> Option<Outbound> {
        self.sent.pop_front()
    }

    /// The user on whose account an agent calls.
    pub(super) fn user_of(&self, invite: &Fields) -> Option<String> {
        let key = (invite.call_id().to_owned(), invite.from_tag()?.to_owned());
        let (id, side) = self.legs.get(&key)?;
        let transfer = self.all.get(id)?;
        match side {
            Side::Kept => transfer.first.as_ref()?.user.clone(),
            Side::Fresh => transfer.user.clone(),
        }
    }

    /// Whether this INVITE of an agent begins a call of its own, and not another pass of one.
    pub(super) fn is_first(&self, invite: &Fields) -> bool {
        matches!(self.of(invite.call_id(), invite.from_tag()), Some((_, Side::Kept)))
    }

    fn of(&self, call_id: &str, tag: Option<&str>) -> Option<(u64, Side)> {
        self.legs.get(&(call_id.to_owned(), tag?.to_owned())).copied()
    }
}

impl Proxy {
    /// Takes a REFER that is carried out here, and what a referrer says whose place an agent has; `false` for anything else.
    pub(super) fn is_for_transfer(
        &mut self,
        server: Option<ServerId>,
        flow: Flow,
        request: &Request,
    ) -> bool {
        match (request.method(), server) {
            (Method::Refer, Some(server)) => self.referred(server, flow, request),
            _ if self.transfers.all.is_empty() || flow.is_agent() => false,
            _ if !self.is_of_transfer(flow, request) => false,
            _ => self.said_by_referrer(server, request) || self.transferee_hangs_up(request),
        }
    }

    /// Whether a request is of the dialog between a referrer and his transferee, as the route would ask.
    fn is_of_transfer(&self, flow: Flow, request: &Request) -> bool {
        let tags = [request.from_tag(), request.to_tag()];
        let kept = |tag| matches!(self.transfers.of(request.call_id(), tag), Some((_, Side::Kept)));
        tags.into_iter().any(kept)
            && in_dialog::is_sealed(&self.world, &mut Incoming::new(&self.world, request.clone(), flow))
    }

    fn referred(&mut self, server: ServerId, flow: Flow, request: &Request) -> bool {
        if self.world.settings.refer == Referral::Pass || request.to_tag().is_none() {
            return false;
        }
        let mut incoming = Incoming::new(&self.world, request.clone(), flow);
        if !in_dialog::is_sealed(&self.world, &mut incoming) {
            return false;
        }
        let Some((mut before, transferee, caller)) = self.ends_of(&incoming) else { return false };
        // A browser that is called anew would have to begin its DTLS anew; but then it is one that knows REFER itself.
        let browsers = [before.kind, transferee.kind] == [LegKind::Browser; 2];
        if browsers || (self.world.settings.refer == Referral::Auto && transferee.refer) {
            return false;
        }
        in_dialog::follow(&self.world, &mut before);
        in_dialog::note_sender(&self.world, &incoming);
        let Some((referrer, ..)) = self.ends_of(&incoming) else { return false };
        // Only who speaks from where that user is may call on his account.
        let proved = before.destination == Some(Destination::Flow(flow));
        let user = before.aor.filter(|aor| proved && self.is_local_user(aor));
        let begun = refer::wish(request).and_then(|wish| {
            let transfer = self.transfer(&incoming, referrer, transferee, &caller, user, &wish)?;
            Ok((transfer, wish))
        });
        let now = self.world.now();
        self.servers.insert(server, Server::Ended);
        match begun {
            Err((status, reason)) => {
                let response = incoming.answer(&self.world, status, reason, &[]);
                self.table.respond(now, server, &response);
            }
            Ok((id, wish)) => {
                let mut response = incoming.answer(&self.world, StatusCode::ACCEPTED, "", &[]);
                let transferee = &self.transfers.all[&id].transferee;
                if let Some(contact) = in_dialog::contact_of(&self.world, transferee) {
                    response.push(Name::Contact, contact);
                }
                if wish.silent {
                    response.push(Name::Other("Refer-Sub"), "false");
                }
                self.table.respond(now, server, &response);
                self.notify(id, StatusCode::TRYING, "", false);
                let by = incoming.message.text(Name::ReferredBy);
                let by = by.unwrap_or(without_tag(&self.transfers.all[&id].referrer.address)).to_owned();
                self.call_target(id, Some(by), wish);
            }
        }
        true
    }

    /// The sender of a request within an answered call, the other end, and the tag of the caller.
    fn ends_of(&self, incoming: &Incoming) -> Option<(End, End, String)> {
        let (from, to) = (incoming.message.from_tag()?, incoming.message.to_tag()?);
        let calls = self.world.calls.borrow();
        let call = calls.find(incoming.call_id(), from).filter(|call| call.answered.is_some())?;
        let talk = call.is_answerer(if call.caller.tag == from { to } else { from });
        let ends = call.end(from).cloned().zip(call.end(to).cloned()).filter(|_| talk && from != to);
        ends.map(|(referrer, transferee)| (referrer, transferee, call.caller.tag.clone()))
    }

    fn is_local_user(&self, aor: &str) -> bool {
        aor.rsplit_once('@').is_some_and(|(_, domain)| self.world.local_domain(domain).is_some())
    }

    /// Notes a transfer.
    fn transfer(
        &mut self,
        incoming: &Incoming,
        referrer: End,
        transferee: End,
        caller: &str,
        user: Option<String>,
        wish: &Wish,
    ) -> Result<u64, (StatusCode, &'static str)> {
        let call_id = incoming.message.call_id().to_owned();
        if self.transfers.all.len() >= MOST {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "Too many transfers"));
        }
        if self.transfers.of(&call_id, Some(&referrer.tag)).is_some() {
            return Err((StatusCode::REQUEST_PENDING, ""));
        }
        let flow = self.agent_at(transferee.local.ip());
        let tag = self.world.tag();
        let did = relay::did_of(&self.world, incoming.call_id(), caller);
        let here = self.world.sent_by(flow.protocol, flow.local);
        let mut routes = vec![format!("<sip:{here};lr;did={did}>")];
        routes.extend(transferee.routes.iter().cloned());
        let seen = in_dialog::contact_of(&self.world, &transferee).unwrap_or_default();
        let kept = Leg {
            local: referrer.address.clone(),
            remote: transferee.address.clone(),
            target: seen.trim_matches(['<', '>']).to_owned(),
            routes,
            cseq: referrer.cseq,
            ..Leg::default()
        };
        let fresh = Leg {
            local: format!("{};tag={tag}", without_tag(&transferee.address)),
            remote: format!("<{}>", wish.target),
            target: wish.target.to_string(),
            ..Leg::default()
        };
        self.transfers.used = true;
        self.transfers.last += 1;
        let id = self.transfers.last;
        self.transfers.legs.insert((call_id.clone(), referrer.tag.clone()), (id, Side::Kept));
        self.transfers.legs.insert((call_id, tag.clone()), (id, Side::Fresh));
        let transfer = Transfer {
            call: incoming.call_id().to_owned(),
            flow,
            tag,
            user,
            first: None,
            kept,
            fresh,
            stage: Stage::Calling,
            ringing: None,
            referrer,
            gone: false,
            taken: false,
            transferee,
            tells: !wish.silent,
            event: incoming.message.cseq().map_or(0, |cseq| cseq.number),
            rang: false,
            until: self.world.now() + self.world.settings.timers.max_inv_lifetime + PATIENCE,
        };
        self.transfers.all.insert(id, transfer);
        Ok(id)
    }

    /// An agent is at an address of ours, and at a port where nobody is.
    fn agent_at(&self, ip: IpAddr) -> Flow {
        let listener = self.world.settings.listener(Protocol::Udp, ip);
        let port = listener.map_or(5060, |listener| listener.addr.port());
        Flow::of_agent(SocketAddr::new(ip, port))
    }

    /// The INVITE to the target, in the name of the transferee; `by` tells who wants it.
    fn call_target(&mut self, id: u64, by: Option<String>, wish: Wish) {
        let Some(transfer) = self.transfers.all.get(&id) else { return };
        tracing::info!(call_id = transfer.call, by = transfer.referrer.address, target = %wish.target, "transfer");
        let sent = self.agent_asks(id, Side::Fresh, Method::Invite, Why::Target, |invite| {
            if let Some(by) = by {
                invite.push(Name::ReferredBy, by);
            }
            invite.push(Name::Allow, bridge::ALLOW);
            if let Some((name, dialog)) = wish.dialog {
                // Whoever does not know it would ring once more beside the call that is meant.
                invite.push(Name::Require, name.as_str().to_ascii_lowercase());
                invite.push(name, dialog);
            }
        });
        if !sent {
            self.not_connected(id, StatusCode::BAD_REQUEST, "");
        }
    }

    /// The referrer in a dialog in which an agent has his place, or who hangs up before that.
    fn said_by_referrer(&mut self, server: Option<ServerId>, request: &Request) -> bool {
        let found = self.transfers.of(request.call_id(), request.from_tag());
        let Some((id, Side::Kept)) = found else { return false };
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return false };
        let hangs_up = *request.method() == Method::Bye;
        if request.to_tag() != Some(transfer.transferee.tag.as_str()) || !(transfer.taken || hangs_up) {
            return false;
        }
        let Some(server) = server else { return true };
        transfer.gone |= hangs_up;
        let status = if hangs_up { StatusCode::OK } else { StatusCode::CALL_DOES_NOT_EXIST };
        let response = build::Reply::new(request, status).build();
        self.servers.insert(server, Server::Ended);
        self.table.respond(self.world.now(), server, &response);
        if hangs_up {
            self.take_place(id);
        }
        true
    }

    /// The transferee hangs up on a referrer who is still there: nobody is to be transferred any more. The BYE passes.
    fn transferee_hangs_up(&mut self, request: &Request) -> bool {
        let found = self.transfers.of(request.call_id(), request.to_tag());
        if let Some((id, Side::Kept)) = found.filter(|_| *request.method() == Method::Bye)
            && let Some(transfer) = self.transfers.all.get_mut(&id)
            && !transfer.taken
            && request.from_tag() == Some(transfer.transferee.tag.as_str())
        {
            transfer.gone = true;
            self.give_up_transfer(id);
        }
        false
    }

    /// From now on the agent is what the transferee talks to. `false` when the call is over.
    fn take_place(&mut self, id: u64) -> bool {
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return false };
        let mut calls = self.world.calls.borrow_mut();
        let tag = transfer.referrer.tag.as_str();
        let Some(call) = calls.find_mut(&transfer.call, tag).filter(|call| call.answered.is_some()) else {
            return false;
        };
        let Some(end) = call.end_mut(tag) else { return false };
        if !std::mem::replace(&mut transfer.taken, true) {
            transfer.referrer = end.clone();
            transfer.kept.cseq = end.cseq;
            *end = End {
                target: agent::contact(&transfer.flow),
                routes: Vec::new(),
                destination: Some(Destination::Flow(transfer.flow)),
                lost: None,
                local: transfer.flow.local,
                protocol: transfer.flow.protocol,
                aor: None,
                instance: Box::default(),
                kind: LegKind::Legacy,
                keys: Keys::Agreed,
                relayed: (end.kind == LegKind::Browser).then(|| transfer.tag.as_str().into()),
                update: true,
                refer: false,
                ..end.clone()
            };
        }
        true
    }

    /// The referrer has his place again, if he is there to have it.
    fn give_back_place(&mut self, id: u64) {
        let Some(transfer) = self.transfers.all.get_mut(&id).filter(|transfer| !transfer.gone) else {
            return;
        };
        let mut calls = self.world.calls.borrow_mut();
        let call = calls.find_mut(&transfer.call, &transfer.referrer.tag);
        if let Some(end) = call.and_then(|call| call.end_mut(&transfer.referrer.tag))
            && std::mem::take(&mut transfer.taken)
        {
            let cseq = end.cseq;
            if end.relayed.is_some() {
                media::delete(&self.world, &transfer.call, &transfer.tag, Some(&transfer.tag));
            }
            *end = End { cseq, ..transfer.referrer.clone() };
        }
    }

    /// The target has answered.
    fn connected(&mut self, id: u64, response: &Response) {
        let place = self.take_place(id);
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        transfer.ringing = None;
        transfer.fresh.note_dialog(response);
        let number = transfer.fresh.cseq;
        let wanted = transfer.stage == Stage::Calling && place;
        let offer = media::sdp_of(response);
        if let (true, Some(offer)) = (wanted, offer) {
            transfer.stage = Stage::Joining;
            let asked = self.agent_asks(id, Side::Kept, Method::Invite, Why::Transferee, |invite| {
                invite.set_body(media::SDP, offer);
            });
            if asked {
                return;
            }
        }
        self.leave_target(id, number);
        let offer_missing = StatusCode::NOT_ACCEPTABLE_HERE;
        self.not_connected(id, if wanted { offer_missing } else { StatusCode::REQUEST_TERMINATED }, "");
    }

    /// The transferee has said what it thinks of the target's offer.
    fn joined(&mut self, id: u64, response: &Response) {
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        let (kept, fresh) = (transfer.kept.cseq, transfer.fresh.cseq);
        if response.status().is_success() {
            self.acknowledge(id, Side::Kept, kept, None);
        }
        let answer = media::sdp_of(response).filter(|_| response.status().is_success());
        let Some(answer) = answer else {
            self.leave_target(id, fresh);
            let status = if response.status().is_success() {
                StatusCode::NOT_ACCEPTABLE_HERE
            } else {
                response.status()
            };
            return self.not_connected(id, status, "");
        };
        self.acknowledge(id, Side::Fresh, fresh, Some(answer));
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        transfer.stage = Stage::Bridged;
        if transfer.referrer.kind == LegKind::Browser {
            let branches = [&transfer.referrer.branch, &transfer.transferee.branch];
            // A callee's end has one; without, the whole call would go.
            if let Some(branch) = branches.into_iter().find(|branch| !branch.is_empty()) {
                media::delete(&self.world, &transfer.call, &transfer.referrer.tag, Some(branch));
            }
        }
        if transfer.tells && !transfer.gone {
            self.notify(id, StatusCode::OK, "", true);
        } else {
            self.dismiss(id);
        }
    }

    /// An answer of the target that comes to nothing.
    fn leave_target(&mut self, id: u64, number: u32) {
        self.acknowledge(id, Side::Fresh, number, None);
        self.agent_asks(id, Side::Fresh, Method::Bye, Why::End, |_| {});
    }

    /// The transfer has failed. The call goes on as it was, if its referrer is still there.
    fn not_connected(&mut self, id: u64, status: StatusCode, reason: &str) {
        self.notify(id, status, reason, true);
        self.give_back_place(id);
        let in_call = |transfer: &Transfer| transfer.gone && transfer.taken && transfer.first.is_none();
        if self.transfers.all.get(&id).is_some_and(in_call) {
            self.agent_asks(id, Side::Kept, Method::Bye, Why::End, |_| {});
        }
        self.end_transfer(id);
    }

    /// Nobody is left to be transferred.
    fn give_up_transfer(&mut self, id: u64) {
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        transfer.stage = Stage::Ending;
        if let Some(invite) = &transfer.ringing {
            let (flow, cancel) = (transfer.flow, build::cancel(invite, ""));
            self.say(flow, &cancel.to_bytes());
        }
    }

    /// The referrer is not needed any more.
    fn dismiss(&mut self, id: u64) {
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        if !std::mem::replace(&mut transfer.gone, true) {
            let (call, mut end) = (transfer.call.clone(), transfer.transferee.clone());
            let referrer = transfer.referrer.clone();
            if let Some(known) =
                self.world.calls.borrow().find(&call, &end.tag).and_then(|call| call.end(&end.tag))
            {
                end = known.clone();
            }
            self.send_bye(&call, &end.address, &referrer, end.next_cseq(), None);
        }
    }

    /// Forgets a transfer.
    fn end_transfer(&mut self, id: u64) {
        let Some(transfer) = self.transfers.all.get(&id) else { return };
        if transfer.taken {
            self.dismiss(id);
        }
        let transfers = &mut self.transfers;
        transfers.all.remove(&id);
        transfers.legs.retain(|_, (other, _)| *other != id);
        transfers.asked.retain(|_, asked| asked.transfer != id || asked.why == Why::End);
    }

    /// Tells the referrer what has become of his REFER (RFC 3515 §2.4.4).
    fn notify(&mut self, id: u64, status: StatusCode, reason: &str, last: bool) {
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        if !transfer.tells || transfer.gone {
            return;
        }
        transfer.tells = !last;
        let mut calls = self.world.calls.borrow_mut();
        let tag = transfer.transferee.tag.clone();
        let known = calls.find_mut(&transfer.call, &tag).and_then(|call| call.end_mut(&tag));
        let transferee = known.unwrap_or(&mut transfer.transferee);
        let (address, cseq) = (transferee.address.clone(), transferee.take_cseq());
        drop(calls);
        let (call, referrer, event) = (transfer.call.clone(), transfer.referrer.clone(), transfer.event);
        let contact = in_dialog::contact_of(&self.world, &transfer.transferee);
        let request = self.request_to(Method::Notify, &call, &address, &referrer, cseq);
        let Some((mut request, destination)) = request else { return };
        request.push(Name::Event, format!("refer;id={event}"));
        let state = if last {
            "terminated;reason=noresource".into()
        } else {
            format!("active;expires={SUBSCRIPTION}")
        };
        request.push(Name::SubscriptionState, state);
        if let Some(contact) = contact {
            request.push(Name::Contact, contact);
        }
        let reason = if reason.is_empty() { status.reason() } else { reason };
        let line = format!("SIP/2.0 {status} {reason}\r\n");
        request.set_body("message/sipfrag;version=2.0", line.into());
        if let Ok(client) = self.table.request(self.world.now(), request, destination) {
            self.transfers.notices.insert(client, (id, last));
        }
    }

    /// Takes the response to a NOTIFY, or that there is none; `false` when it is to somebody else's request.
    pub(super) fn noticed(&mut self, client: Option<ClientId>, response: Option<&Response>) -> bool {
        let Some(client) = client.filter(|client| self.transfers.notices.contains_key(client)) else {
            return false;
        };
        if response.is_some_and(|response| response.status().is_provisional()) {
            return true;
        }
        if let Some((id, true)) = self.transfers.notices.remove(&client)
            && self.transfers.all.get(&id).is_some_and(|transfer| transfer.stage == Stage::Bridged)
        {
            self.dismiss(id);
        }
        true
    }

    /// Gives up targets that have neither answered nor refused for longer than an INVITE lives.
    pub(super) fn end_old_transfers(&mut self) {
        let now = self.world.now();
        let waits = |transfer: &Transfer| transfer.stage != Stage::Bridged && transfer.until <= now;
        let old = self.transfers.all.iter().filter(|(_, transfer)| waits(transfer));
        for id in old.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.not_connected(id, StatusCode::REQUEST_TIMEOUT, "");
        }
    }
}

/// A From or To without its parameters.
fn without_tag(address: &str) -> &str {
    let end = match address.rfind('>') {
        Some(at) => at + 1,
        None => address.find(';').unwrap_or(address.len()),
    };
    &address[..end]
}
