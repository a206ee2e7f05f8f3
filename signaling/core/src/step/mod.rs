//! The steps of a route: one file each, each a verb on a request. A step that has nothing to say lets the request go on
//! (`ControlFlow::Continue`); one that decides breaks off with a [`Verdict`], so that `?` reads as "stop here".

pub mod announce;
pub mod auth;
pub mod barred;
pub mod dial;
pub mod dispatch;
pub mod dtmf;
pub mod early_update;
pub mod edge;
pub mod ends;
pub mod glare;
pub mod guard;
pub mod hold;
pub mod in_dialog;
pub mod limits;
pub mod listed;
pub mod location;
pub mod media;
pub mod nat;
pub mod outbound;
pub mod refer;
pub mod registrar;
pub mod relay;
pub mod reliable;
pub mod renumber;
pub mod sanity;
pub mod session_timer;
pub mod size;
pub mod tolls;
pub mod voicemail;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::dispatcher::Gateway;
use crate::event::Event;
use crate::flow::{Destination, Flow};
use crate::message::build::Reply;
use crate::message::{Method, Name, Request, Response, StatusCode, Uri};
use crate::profiles::Membership;
use crate::tolls::Toll;
use crate::world::World;

/// A request on its way through the route.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The message, changed by the steps.
    pub message: Request,
    /// Where it came from.
    pub flow: Flow,
    /// Whom it says it is from, as [`sanity::check`] has read it: To of a REGISTER, else From.
    pub(crate) claims: Option<Uri>,
    /// The address of record of its sender, once proved.
    pub user: Option<String>,
    /// Until when what has proved that is good, in seconds since 1970; `None` for as long as one likes.
    pub proved_until: Option<u64>,
    /// The token that it came with (RFC 8898).
    pub token: Option<String>,
    /// Whether it came from a source that need not prove anything (tables `address` and `trusted`).
    pub trusted: bool,
    /// Max-Forwards of what it becomes: how many more hops it may take (RFC 3261 §16.6 step 3).
    pub hops: u8,
    /// How many branches it may be in at once from here on (RFC 5393 §5).
    pub breadth: u32,
    /// Names this request as it came, once that was asked for: see [`Incoming::seal`].
    seal: OnceCell<Box<str>>,
    /// Whether no transaction knows it yet, so that each copy of it is to be answered with the same To tag (RFC 3261 §8.2.7).
    pub stateless: bool,
    /// Whether it has been here before, for another target (a spiral, RFC 3261 §6).
    pub spirals: bool,
    /// See [`Incoming::call_id`].
    pub(crate) pass: Option<Box<str>>,
    /// What the call that it begins is counted under.
    pub(crate) seats: Option<Arc<Membership>>,
    /// The same for the day.
    pub(crate) toll: Option<Toll>,
}

/// What is to become of a request.
#[derive(Debug)]
pub enum Verdict {
    /// This answer.
    Reply(Box<Response>),
    /// It goes on to these: to those of the highest `q` at once, to the others when all of them have failed.
    Relay(Vec<Target>),
    /// Silence.
    Absorb,
}

/// One place to send a request to (RFC 3261 §16.5).
#[derive(Debug, Clone)]
pub struct Target {
    /// The Request-URI there.
    pub uri: Uri,
    /// The next hop.
    pub destination: Destination,
    /// Whether the next hop is the first of the alternatives over TCP, for a request too long for a datagram.
    pub tcp_for_size: bool,
    /// Whether that was tried and failed: it goes in datagrams, however long it is.
    pub tcp_failed: bool,
    /// Our address towards it.
    pub local: SocketAddr,
    /// Route headers to put on top: the Path of a binding (RFC 3327).
    pub routes: Vec<String>,
    /// The address of record behind it, when it is a user of ours.
    pub aor: Option<String>,
    /// Whether its end may know PRACK (RFC 3262). A browser does only when its Allow has said so.
    pub prack: bool,
    /// The instance of that user (RFC 5626 §4.1); empty when it is not known.
    pub instance: Box<str>,
    /// Whether a flow token led here, so that nobody is there when the flow is not (RFC 5626 §5.3.1).
    pub by_token: bool,
    /// Whether it keeps a call that is not answered yet when its connection is lost, to come back to it.
    pub keeps_early: bool,
    /// How much it is wanted, in thousandths (RFC 3261 §20.10).
    pub q: u16,
    /// The gateway of the table `dispatcher` that it is; it is judged by what becomes of this.
    pub gateway: Option<Arc<Gateway>>,
    /// Other ways to the same place, best first, each to be tried when those before it have failed: the further addresses
    /// of a name (RFC 3263 §4.3), the further flows of an instance (RFC 5626 §7). These have none of their own.
    pub alternatives: Vec<Target>,
}

impl Target {
    /// `uri` by way of `destination`.
    #[must_use]
    pub fn new(world: &World, uri: Uri, destination: Destination) -> Self {
        Self {
            uri,
            destination,
            tcp_for_size: false,
            tcp_failed: false,
            local: world.local_of(&destination),
            routes: Vec::new(),
            aor: None,
            prack: !relay::protocol_of(&destination).is_websocket(),
            instance: Box::default(),
            by_token: false,
            keeps_early: true,
            q: 1000,
            gateway: None,
            alternatives: Vec::new(),
        }
    }

    /// `uri` by way of the first of `destinations`, or of the next one when that fails; `None` when there are none.
    #[must_use]
    pub fn by_way_of(world: &World, uri: Uri, destinations: Vec<Destination>) -> Option<Self> {
        let mut targets =
            destinations.into_iter().map(|destination| Self::new(world, uri.clone(), destination));
        let first = targets.next()?;
        Some(Self { alternatives: targets.collect(), ..first })
    }
}

impl Target {
    /// It, and each of its alternatives, as ways of their own.
    fn into_ways(mut self) -> impl Iterator<Item = Self> {
        let others = std::mem::take(&mut self.alternatives);
        std::iter::once(self).chain(others)
    }
}

impl Incoming {
    /// A request as it came.
    #[must_use]
    pub fn new(world: &World, message: Request, flow: Flow) -> Self {
        let incoming = Self::of(message, flow, world.settings.limits.max_breadth);
        // Most of these end here.
        if *incoming.method() != Method::Register {
            let _ = incoming.seal(world);
        }
        incoming
    }

    pub(crate) fn of(message: Request, flow: Flow, breadth: u32) -> Self {
        Self {
            message,
            flow,
            claims: None,
            user: None,
            proved_until: None,
            token: None,
            trusted: false,
            hops: 0,
            breadth,
            seal: OnceCell::new(),
            stateless: false,
            spirals: false,
            pass: None,
            seats: None,
            toll: None,
        }
    }

    /// Names this request as it came, to know it again when it comes back (RFC 3261 §16.6 step 8). A step that changes the
    /// request-URI or the Routes of a REGISTER asks for it before: that of any other request is made at once.
    #[must_use]
    pub fn seal(&self, world: &World) -> &str {
        self.seal.get_or_init(|| {
            let message = &self.message;
            let number = message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes();
            let (from, to) = (message.from_tag().unwrap_or_default(), message.to_tag().unwrap_or_default());
            let parts = [message.uri_text(), from, to, message.call_id(), message.method().as_str()];
            let parts = parts.into_iter().map(str::as_bytes).chain([number.as_slice()]);
            world.seal(parts.chain(message.values(Name::Route))).into()
        })
    }

    /// Names the call: the Call-ID, and behind a space the pass that this is, where the call comes through here more than
    /// once (a spiral, or a fork before us). Each pass is a call of its own, with ends and media of its own.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.pass.as_deref().unwrap_or_else(|| self.message.call_id())
    }

    /// What marks the pass; `None` for the first one.
    #[must_use]
    pub fn pass(&self) -> Option<&str> {
        self.pass.as_deref()?.split_once(' ').map(|(_, mark)| mark)
    }

    /// It belongs to the pass with this mark.
    pub fn set_pass(&mut self, mark: Option<&str>) {
        self.pass = mark.map(|mark| format!("{} {mark}", self.message.call_id()).into());
    }

    /// It begins a pass of its own.
    pub fn begin_pass(&mut self, world: &World) {
        self.pass = Some(format!("{} {}", self.message.call_id(), self.seal(world)).into());
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        self.message.method()
    }

    /// Whether it belongs to a dialog (RFC 3261 §12.2): its To has a tag.
    #[must_use]
    pub fn is_in_dialog(&self) -> bool {
        self.message.to_tag().is_some()
    }

    /// An answer in the making, with Server header and a fresh tag.
    #[must_use]
    pub fn answer(
        &self,
        world: &World,
        status: StatusCode,
        reason: &str,
        headers: &[(Name<'_>, String)],
    ) -> Response {
        let tag = if self.stateless { world.tag_of(&self.message) } else { world.tag() };
        let mut reply = Reply::new(&self.message, status).to_tag(&tag);
        if !reason.is_empty() {
            reply = reply.reason(reason);
        }
        for (name, value) in headers {
            reply = reply.header(*name, value);
        }
        if let Some(server) = &world.settings.server_header {
            reply = reply.header(Name::Server, server);
        }
        reply.build()
    }

    /// Refuses it. `reason` is the registered phrase when empty.
    #[must_use]
    pub fn refuse(&self, world: &World, status: StatusCode, reason: &str) -> Verdict {
        self.refuse_with(world, status, reason, &[])
    }

    /// An ACK that leads nowhere is why its callee hangs up in half a minute.
    fn note_stray_ack(&self, world: &World, status: StatusCode, reason: &str) {
        let tag = self.message.from_tag().unwrap_or_default();
        let reason = if reason.is_empty() { status.reason() } else { reason };
        if let Some(call) = world.calls.borrow_mut().find_mut(self.call_id(), tag) {
            call.ack.stray = Some(format!("{} from {}: {reason}", self.message.uri_text(), self.flow.remote));
        }
    }

    /// Refuses it with more headers. An ACK is never answered (RFC 3261 §17).
    #[must_use]
    pub fn refuse_with(
        &self,
        world: &World,
        status: StatusCode,
        reason: &str,
        headers: &[(Name<'_>, String)],
    ) -> Verdict {
        let verdict = self.refuse_silently(world, status, reason, headers);
        // Whoever is asked for a password is not refused yet.
        if !matches!(status.code(), 401 | 407) {
            self.tell_of(world, &verdict, |source, method, call_id, code, reason| Event::Refused {
                source,
                method,
                call_id,
                code,
                reason,
            });
        }
        verdict
    }

    /// Refuses it for being no proper request.
    #[must_use]
    pub fn refuse_malformed(&self, world: &World, status: StatusCode, reason: &str) -> Verdict {
        let verdict = self.refuse_silently(world, status, reason, &[]);
        self.tell_of(world, &verdict, |source, method, call_id, code, what| Event::Malformed {
            source,
            method,
            call_id,
            code,
            what,
        });
        verdict
    }

    /// Tells of a refusal, if anybody hears it.
    fn tell_of(
        &self,
        world: &World,
        verdict: &Verdict,
        event: fn(SocketAddr, String, String, u16, String) -> Event,
    ) {
        if let Verdict::Reply(response) = verdict {
            let (method, call_id) = (self.method().to_string(), self.message.call_id().to_owned());
            let (code, reason) = (response.status().code(), response.reason().into_owned());
            world.tell(event(self.flow.remote, method, call_id, code, reason));
        }
    }

    /// A refusal that nobody is told of but its sender.
    fn refuse_silently(
        &self,
        world: &World,
        status: StatusCode,
        reason: &str,
        headers: &[(Name<'_>, String)],
    ) -> Verdict {
        world.stats.borrow_mut().refused += 1;
        if *self.method() == Method::Ack {
            self.note_stray_ack(world, status, reason);
            return Verdict::Absorb;
        }
        Verdict::Reply(Box::new(self.answer(world, status, reason, headers)))
    }
}

/// `user@domain` of a URI whose host is ours; `None` for foreign and user-less ones.
#[must_use]
pub fn local_aor(world: &World, uri: &Uri) -> Option<String> {
    let user = uri.user_decoded().filter(|user| !user.is_empty())?;
    Some([&*user, "@", &world.local_domain(uri.host())?].concat())
}
