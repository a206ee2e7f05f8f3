//! What an operator asks of a worker and has it do. The shell calls these between two messages.

use std::time::{Duration, Instant};

use super::{Proxy, Server};
use crate::dialog::{Call, End};
use crate::event::{EndCause, Event};
use crate::flow::{Flow, Protocol};
use crate::location::{Changes, Registration, Rules};
use crate::message::header::NameAddr;
use crate::message::{Fields, Message, Method, Name, StatusCode, Uri};
use crate::outside::{BindingRow, StoredBinding};
use crate::profiles::Seat;
use crate::transaction::{Kind, Listed, ServerId};

/// A transaction (Kamailio's `tm.list`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Its place in the table of its worker.
    pub slot: u32,
    /// Its number: no two transactions of a worker have the same one.
    pub serial: u32,
    /// The method; empty as long as nothing was said in it.
    pub method: String,
    /// The value of From, empty likewise.
    pub from: String,
    /// The value of To.
    pub to: String,
    /// The Call-ID.
    pub call_id: String,
    /// The number of CSeq.
    pub cseq: u32,
    /// Whether somebody has asked us; if not, we ask on our own.
    pub is_server: bool,
    /// Whether it is finally answered and lingers.
    pub answered: bool,
    /// Whether its sender has cancelled it.
    pub cancelled: bool,
    /// Branches.
    pub outgoings: usize,
    /// Until the last of its timers goes off.
    pub left: Duration,
}

/// A call (Kamailio's `dlg.list`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// See [`Call::serial`].
    pub serial: u64,
    /// The Call-ID.
    pub call_id: String,
    /// `user@host` of the caller.
    pub from: String,
    /// `user@host` of who was called.
    pub to: String,
    /// The URI of From.
    pub from_uri: String,
    /// The URI of To.
    pub to_uri: String,
    /// How far it has come.
    pub state: State,
    /// Seconds since 1970 at the INVITE.
    pub started_at: u64,
    /// The same at the 200; 0 before.
    pub answered_at: u64,
    /// Since the 200.
    pub duration: Duration,
    /// Until it ends by itself.
    pub left: Duration,
    /// The caller.
    pub caller: DialogEnd,
    /// Who has answered, or rings first.
    pub callee: Option<DialogEnd>,
    /// What it is counted under.
    pub profiles: Vec<Seat>,
}

/// One end of a [`Dialog`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogEnd {
    /// Its tag.
    pub tag: String,
    /// Its Contact URI.
    pub contact: String,
    /// The highest CSeq number it has used.
    pub cseq: u32,
    /// Proxies between us and it.
    pub route_set: String,
    /// Our socket towards it.
    pub socket: (Protocol, std::net::SocketAddr),
}

/// How far a call has come, by Kamailio's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has replied.
    Unconfirmed = 1,
    /// Somebody has.
    Early = 2,
    /// Answered, and no ACK has passed.
    ConfirmedNoAck = 3,
    /// Answered.
    Confirmed = 4,
}

/// A contact that an operator registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContact {
    /// `user@domain`.
    pub aor: String,
    /// The Contact URI, with an address as host.
    pub contact: String,
    /// Its lifetime in seconds.
    pub expires: u32,
    /// Preference in thousandths.
    pub q: u16,
    /// The Path; empty for none.
    pub path: String,
    /// Kamailio's mask of the methods that it allows.
    pub methods: u32,
}

impl Proxy {
    /// All transactions, in no order. One that is relayed counts once, however many branches it has.
    #[must_use]
    pub fn transactions(&self, now: Instant) -> Vec<Transaction> {
        self.world.set_now(now);
        self.table.list().map(|listed| self.transaction(&listed)).collect()
    }

    fn transaction(&self, listed: &Listed) -> Transaction {
        let now = self.world.now();
        let mut shown = Transaction {
            slot: listed.slot,
            serial: listed.serial,
            is_server: matches!(listed.kind, Kind::Server(_)),
            answered: listed.answered,
            left: listed.ends.map_or(Duration::ZERO, |ends| ends.saturating_duration_since(now)),
            ..Transaction::default()
        };
        match listed.kind {
            Kind::Server(id) => match self.servers.get(&id) {
                Some(Server::Relaying(fork)) => {
                    shown.cancelled = fork.cancelled;
                    shown.outgoings = fork.legs.len();
                    shown.describe(&fork.incoming.message);
                }
                Some(Server::Routing(Some(incoming))) => shown.describe(&incoming.message),
                _ => shown.describe_message(listed),
            },
            Kind::Client(_) => {
                shown.outgoings = 1;
                shown.describe_message(listed);
            }
        }
        shown
    }

    /// Those calls that are `wanted`, in no order.
    #[must_use]
    pub fn dialogs(&self, now: Instant, wanted: impl Fn(&Call) -> bool) -> Vec<Dialog> {
        self.world.set_now(now);
        let calls = self.world.calls.borrow();
        calls.iter().filter(|call| wanted(call)).map(|call| Dialog::of(call, now)).collect()
    }

    /// The call with this [`Call::call_id`] in which somebody has `tag`.
    #[must_use]
    pub fn dialog(&self, now: Instant, call_id: &str, tag: &str) -> Option<Dialog> {
        self.world.set_now(now);
        self.world.calls.borrow().find(call_id, tag).map(|call| Dialog::of(call, now))
    }

    /// Ends those calls that are `wanted`: an answered one with a BYE to both ends, one that rings with 487 to its caller and
    /// CANCEL to its callees. How many.
    pub fn end_calls(&mut self, now: Instant, wanted: impl Fn(&Call) -> bool) -> usize {
        self.world.set_now(now);
        let found: Vec<(String, String, bool)> = {
            let calls = self.world.calls.borrow();
            let wanted = calls.iter().filter(|call| wanted(call));
            wanted.map(|c| (c.call_id.clone(), c.caller.tag.clone(), c.answered.is_some())).collect()
        };
        let mut ended = 0;
        for (call_id, tag, answered) in found {
            ended += usize::from(match answered {
                true => self.end_answered(&call_id, &tag),
                false => self.end_ringing(&call_id, &tag),
            });
        }
        self.settle();
        ended
    }

    fn end_answered(&mut self, call_id: &str, tag: &str) -> bool {
        let Some(call) = self.world.calls.borrow_mut().remove(call_id, tag) else { return false };
        self.end_both(&call, EndCause::Command);
        true
    }

    fn end_ringing(&mut self, call_id: &str, tag: &str) -> bool {
        let of_call = |(id, server): (&ServerId, &Server)| match server {
            Server::Relaying(fork) if fork.is_call() && fork.call() == (call_id, tag) => Some(*id),
            _ => None,
        };
        let Some(server) = self.servers.iter().find_map(of_call) else { return false };
        let reason = EndCause::Command.reason();
        self.refuse_pending(server, StatusCode::REQUEST_TERMINATED, Some(&reason))
    }

    /// Answers the INVITE with this Call-ID and CSeq number that is not answered yet with `status`, a refusal, and cancels its
    /// branches (Kamailio's `tm.cancel` and `tm.reply_callid`). An empty `phrase` is the registered one. Whether there is one.
    pub fn refuse_invite(
        &mut self,
        now: Instant,
        call_id: &str,
        cseq: u32,
        status: StatusCode,
        phrase: &str,
    ) -> bool {
        self.world.set_now(now);
        let is_it = |message: &Fields| {
            message.call_id() == call_id && message.cseq().is_ok_and(|found| found.number == cseq)
        };
        let found = self.servers.iter().find_map(|(id, server)| match server {
            Server::Routing(Some(incoming)) if is_it(&incoming.message) => Some(*id),
            Server::Relaying(fork) if is_it(&fork.incoming.message) => Some(*id),
            _ => None,
        });
        let reason = EndCause::Command.reason();
        let refused =
            found.is_some_and(|server| self.refuse_pending_with(server, status, phrase, Some(&reason)));
        self.settle();
        refused
    }

    /// Removes the bindings of `aor`, or the one with this Contact; how many.
    pub fn remove_contacts(&mut self, now: Instant, aor: &str, contact: Option<&str>) -> usize {
        self.world.set_now(now);
        let gone = self.world.location.remove(&self.world.location_key(aor), contact);
        let removed = gone.len();
        self.forget(gone);
        self.settle();
        removed
    }

    /// Registers a contact.
    ///
    /// # Errors
    /// Its URI does not say where it is, or the user has as many contacts as he may.
    pub fn add_contact(&mut self, now: Instant, new: &NewContact) -> Result<(), String> {
        self.world.set_now(now);
        let (binding, flow) = self.binding_of(new)?;
        let (aor, settings) = (self.world.location_key(&new.aor), &self.world.settings);
        let (call_id, cseq) = (binding.call_id().to_owned(), binding.cseq());
        let registration = Registration {
            aor: &aor,
            call_id: &call_id,
            cseq,
            flow,
            changes: Changes::Each(vec![binding]),
            rules: Rules {
                max_contacts: settings.registrar.max_contacts,
                matching_mode: settings.usrloc.matching_mode,
                cseq_delay: settings.usrloc.cseq_delay.as_secs(),
            },
        };
        let updated = self.world.location.update(registration, self.world.unix_now());
        updated.map_err(|rejected| format!("not registered: {rejected:?}"))?;
        let (transport, source) = (flow.protocol, flow.remote);
        let (contact, expires) = (new.contact.clone(), new.expires);
        self.world.tell(Event::Registered {
            aor: aor.clone(),
            contact,
            transport,
            source,
            expires,
            renewed: false,
        });
        self.save_bindings(aor);
        self.settle();
        Ok(())
    }

    fn binding_of(&self, new: &NewContact) -> Result<(StoredBinding, Flow), String> {
        let world = &self.world;
        let uri = Uri::parse(&new.contact).ok().filter(Uri::is_sip).ok_or("the Contact is no SIP URI")?;
        let ip = uri.host_ip().ok_or("the Contact has no address as host")?;
        let protocol = match uri.transport().map(str::to_lowercase).as_deref() {
            None | Some("udp") => Protocol::Udp,
            Some("tcp") => Protocol::Tcp,
            Some("tls") => Protocol::Tls,
            Some(other) => return Err(format!("nobody can be dialled over {other}")),
        };
        let port = uri.port().unwrap_or(if protocol == Protocol::Tls { 5061 } else { 5060 });
        let received = std::net::SocketAddr::new(ip, port);
        let local = world.local_of(&crate::flow::Destination::Address { protocol, remote: received });
        let now = world.unix_now();
        let tag = world.tag();
        let (user_agent, shared_local) = world.share("Causeway control", local);
        let row = BindingRow {
            ruid: &format!("ulcx-{tag}"),
            contact: &new.contact,
            received,
            protocol,
            local: Some(&shared_local),
            path: &new.path,
            expires_at: now + u64::from(new.expires),
            last_modified: now,
            q: new.q,
            call_id: &format!("{tag}@causeway.rpc"),
            cseq: 1,
            user_agent: &user_agent,
            instance: "",
            reg_id: 0,
            methods: new.methods,
        };
        Ok((StoredBinding::from(row), Flow { protocol, local, remote: received, connection: None }))
    }
}

impl Transaction {
    fn describe(&mut self, message: &Fields) {
        let value = |name| {
            let value = message.raw(name).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        (self.from, self.to) = (value(Name::From), value(Name::To));
        self.call_id = message.call_id().to_owned();
        if let Ok(cseq) = message.cseq() {
            self.cseq = cseq.number;
            self.method = cseq.method().to_string();
        }
    }

    /// What was sent in a transaction tells what it is about.
    fn describe_message(&mut self, listed: &Listed) {
        if let Some(message) = listed.message.clone().and_then(|bytes| Message::parse(bytes).ok()) {
            self.describe(&message);
        }
    }

    /// Whether it is an INVITE.
    #[must_use]
    pub fn is_invite(&self) -> bool {
        self.method == Method::Invite.as_str()
    }
}

impl Dialog {
    fn of(call: &Call, now: Instant) -> Self {
        let callee = call.callees.first();
        Self {
            serial: call.serial,
            call_id: crate::dialog::header_call_id(&call.call_id).to_owned(),
            from: call.from.clone(),
            to: call.to.clone(),
            from_uri: uri_of(&call.caller.address),
            to_uri: callee.map_or_else(|| format!("sip:{}", call.to), |callee| uri_of(&callee.address)),
            state: match (call.answered, callee) {
                (Some(_), _) if call.ack.passed.is_some() => State::Confirmed,
                (Some(_), _) => State::ConfirmedNoAck,
                (None, Some(_)) => State::Early,
                (None, None) => State::Unconfirmed,
            },
            started_at: call.started_at,
            answered_at: call.answered_at,
            duration: call.answered.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
            left: call.expires.saturating_duration_since(now),
            caller: DialogEnd::of(&call.caller),
            callee: callee.map(DialogEnd::of),
            profiles: call.seats.as_ref().map_or_else(Vec::new, |seats| seats.seats().to_vec()),
        }
    }
}

impl DialogEnd {
    fn of(end: &End) -> Self {
        Self {
            tag: end.tag.clone(),
            contact: end.target.clone(),
            cseq: end.cseq,
            route_set: end.routes.join(","),
            socket: (end.protocol, end.local),
        }
    }
}

/// The URI of the value of From or To.
fn uri_of(address: &str) -> String {
    NameAddr::parse("address", address.as_bytes())
        .map(|address| address.uri_text().to_owned())
        .unwrap_or_default()
}
