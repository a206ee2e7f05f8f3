//! Calls that an operator makes between two others (Kamailio's `dlg.bridge_dlg`): an agent calls the first and has him wait on hold;
//! when he has answered, it calls the second in his name and joins the two, as in a transfer whose referrer has left. So neither
//! needs to know REFER.

use std::time::Instant;

use bytes::Bytes;

use super::agent::{Leg, Side, Why, contact};
use super::{MOST, PATIENCE, Proxy, Stage, Transfer};
use crate::dialog::End;
use crate::flow::{Destination, Flow, Protocol};
use crate::message::build::{self, NewRequest};
use crate::message::{Method, Name, Response, StatusCode, Uri};
use crate::outside::LegKind;
use crate::step::refer::Wish;
use crate::step::{Incoming, ends, media};

/// What the first is offered: what any phone speaks, and on hold. Nothing is to be sent to the port, where nobody is.
fn hold(agent: &Flow) -> String {
    let (ip, port) = (agent.remote.ip(), agent.remote.port());
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 0 0 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=sendonly\r\n"
    )
}

/// What an agent allows.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY, MESSAGE";

/// The first of the two, while he is called.
#[derive(Debug)]
pub(super) struct First {
    /// The user on whose account he is called: the other one, where that is one of ours.
    pub(super) user: Option<String>,
    /// Whom he is to talk to.
    other: Uri,
}

/// Why nobody is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotBridged {
    /// One of the two is no SIP URI with a user.
    #[error("not a SIP URI of a user")]
    Uri,
    /// There are as many transfers as there may be, or no new calls are taken.
    #[error("no new call is taken now")]
    Busy,
}

impl Proxy {
    /// Calls the first of `parties` under `call_id`, which nobody may have used, and when he has answered, the second. Each is a URI
    /// and is reached as its user's own calls would reach it; a call to elsewhere is on the account of the other party, which must
    /// then be a user of ours. `offer` is what the first is offered before the second has answered, in place of a hold.
    ///
    /// # Errors
    /// A URI that cannot be called, or no room. What becomes of the calls is in their records.
    pub fn bridge(
        &mut self,
        now: Instant,
        call_id: &str,
        parties: [&str; 2],
        offer: Option<Bytes>,
    ) -> Result<(), NotBridged> {
        self.world.set_now(now);
        if self.transfers.all.len() >= MOST || self.draining || self.stopping.is_some() {
            return Err(NotBridged::Busy);
        }
        let [first, second] = parties.map(party);
        let id = self.begin_bridge(call_id, first.ok_or(NotBridged::Uri)?, second.ok_or(NotBridged::Uri)?)?;
        tracing::info!(call_id, first = parties[0], second = parties[1], "bridge");
        let offer = offer.unwrap_or_else(|| hold(&self.transfers.all[&id].flow).into());
        let sent = self.agent_asks(id, Side::Kept, Method::Invite, Why::First, |invite| {
            invite.push(Name::Allow, ALLOW);
            invite.set_body(media::SDP, offer);
        });
        if !sent {
            self.end_transfer(id);
        }
        self.settle();
        if sent { Ok(()) } else { Err(NotBridged::Uri) }
    }

    /// Notes what is to be.
    fn begin_bridge(&mut self, call_id: &str, first: Uri, second: Uri) -> Result<u64, NotBridged> {
        let flow = self.agent_towards(&first);
        let (own, tag) = (self.world.tag(), self.world.tag());
        let users = [&first, &second].map(|uri| self.user_of_uri(uri));
        let [first_user, second_user] = users;
        let kept = Leg {
            local: format!("<{second}>;tag={own}"),
            remote: format!("<{first}>"),
            target: first.to_string(),
            ..Leg::default()
        };
        let fresh = Leg {
            local: format!("<{first}>;tag={tag}"),
            remote: format!("<{second}>"),
            target: second.to_string(),
            ..Leg::default()
        };
        let agent = self.agent_end(flow, call_id, &kept, &first);
        // Who answers is seen when he has.
        let transferee = End { tag: String::new(), address: kept.remote.clone(), ..agent.clone() };
        self.transfers.used = true;
        self.transfers.last += 1;
        let id = self.transfers.last;
        self.transfers.legs.insert((call_id.to_owned(), own), (id, Side::Kept));
        self.transfers.legs.insert((call_id.to_owned(), tag.clone()), (id, Side::Fresh));
        let transfer = Transfer {
            call: call_id.to_owned(),
            flow,
            tag,
            user: first_user,
            first: Some(First { user: second_user, other: second }),
            kept,
            fresh,
            stage: Stage::Calling,
            ringing: None,
            referrer: agent,
            gone: true,
            taken: true,
            transferee,
            tells: false,
            event: 0,
            rang: false,
            until: self.world.now() + self.world.settings.timers.max_inv_lifetime + PATIENCE,
        };
        self.transfers.all.insert(id, transfer);
        Ok(id)
    }

    /// The agent as an end of the call to the first.
    fn agent_end(&self, flow: Flow, call_id: &str, leg: &Leg, uri: &Uri) -> End {
        let via = build::via(flow.protocol, &flow.remote.to_string(), "");
        let invite = NewRequest::new(Method::Invite, uri, &via, &leg.local, &leg.remote, call_id, 1)
            .header(Name::Contact, format!("<{}>", contact(&flow)))
            .build();
        ends::sender(&self.world, &Incoming::new(&self.world, invite, flow), Some(LegKind::Legacy))
    }

    /// An agent at the address of ours that is nearest to whom it calls.
    pub(in super::super) fn agent_towards(&self, uri: &Uri) -> Flow {
        let bound = self.user_of_uri(uri).and_then(|aor| {
            let bindings =
                self.world.location.bindings(&self.world.location_key(&aor), self.world.unix_now());
            bindings.iter().find_map(|binding| Some(self.world.local_of(&binding.destination()?)))
        });
        let listener = self.world.settings.listeners.first();
        let family = listener.map_or([198, 51, 100, 1].into(), |listener| match listener.addr.is_ipv4() {
            true => [198, 51, 100, 1].into(),
            false => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
        });
        // Any address of elsewhere: towards it the host has its usual one.
        let remote = std::net::SocketAddr::new(uri.host_ip().unwrap_or(family), 5060);
        let usual = || self.world.local_of(&Destination::Address { protocol: Protocol::Udp, remote });
        self.agent_at(bound.unwrap_or_else(usual).ip())
    }

    /// The user of ours whom a URI names.
    fn user_of_uri(&self, uri: &Uri) -> Option<String> {
        let user = uri.user().filter(|user| !user.is_empty())?;
        self.world.local_domain(uri.host()).map(|domain| format!("{user}@{domain}"))
    }

    /// The first has answered: the other one is called in his name.
    pub(super) fn first_answered(&mut self, id: u64, response: &Response) {
        let now = self.world.now();
        let until = now + self.world.settings.timers.max_inv_lifetime + PATIENCE;
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        (transfer.ringing, transfer.until) = (None, until);
        transfer.kept.note_dialog(response);
        let (number, first) = (transfer.kept.cseq, transfer.first.take());
        self.acknowledge(id, Side::Kept, number, None);
        let Some(transfer) = self.transfers.all.get_mut(&id) else { return };
        let tag = response.to_tag().unwrap_or_default();
        let calls = self.world.calls.borrow();
        let answerer = calls.find(&transfer.call, &transfer.referrer.tag).and_then(|call| call.end(tag));
        match (first, answerer) {
            (Some(first), Some(answerer)) if transfer.stage == Stage::Calling => {
                transfer.transferee = answerer.clone();
                drop(calls);
                self.call_target(id, None, Wish { target: first.other, dialog: None, silent: true });
            }
            _ => {
                drop(calls);
                self.not_connected(id, StatusCode::REQUEST_TERMINATED, "");
            }
        }
    }

    /// The first has not.
    pub(super) fn first_refused(&mut self, id: u64, response: &Response) {
        if let Some(transfer) = self.transfers.all.get(&id) {
            let code = response.status().code();
            tracing::info!(
                call_id = transfer.call,
                code,
                "the first of the two to be bridged is not to be had"
            );
        }
        self.end_transfer(id);
    }
}

/// Whom an operator names: a SIP URI with a user, in angle brackets or not.
fn party(text: &str) -> Option<Uri> {
    let text = text.trim();
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    let uri = Uri::parse(inner).ok().filter(|uri| uri.is_sip() && uri.user().is_some())?;
    Some(uri.as_request_uri())
}
