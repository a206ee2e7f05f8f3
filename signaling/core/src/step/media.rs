//! The only step that touches bodies: it hands offers and answers (RFC 3264) to the relay and puts in what comes back.
//!
//! What a leg is follows from its transport and its SDP. No media is prepared for a request that has not passed
//! authentication, because this step runs on what the route has let through.

use bytes::Bytes;

use super::relay::Branch;
use super::{Incoming, Target};
use crate::dialog::EarlyOffer;
use crate::event::Event;
use crate::flow::Destination;
use crate::message::{Fields, Method, Name, Response, StatusCode};
use crate::outside::{LegKind, MediaError, MediaExchange, MediaLeg};
use crate::world::World;

/// The content type of session descriptions.
pub const SDP: &str = "application/sdp";

/// One offer and answer exchange of a request, on one branch.
#[derive(Debug, Clone)]
pub struct Session {
    /// Call-ID of the dialog.
    pub call_id: String,
    /// Tag of the request's sender.
    pub from_tag: String,
    /// A tag of one of the two, and what the relay knows in its place ([`crate::dialog::End::relayed`]).
    pub relayed: Option<(String, String)>,
    /// The branch of a forking INVITE; `None` once a dialog is there.
    pub branch: Option<String>,
    /// The sender of the request.
    pub from: MediaLeg,
    /// Its receiver.
    pub to: MediaLeg,
    /// Whether the request has carried the offer; if not, a response does (RFC 3261 §13.2.1).
    pub offered: bool,
    /// The last body of a response, by its receiver's tag, as it came and as it went on: a repeated one must not be
    /// answered twice.
    translated: Option<(String, Bytes, Bytes)>,
}

/// Has the relay take the offer of a request (the answer in an ACK, and in a PRACK whose response made the offer) and puts
/// its SDP in place.
pub async fn offer(
    world: &World,
    incoming: &Incoming,
    branch: &mut Branch,
) -> Result<(), (StatusCode, &'static str)> {
    let method = incoming.method().clone();
    if !matches!(method, Method::Invite | Method::Update | Method::Prack | Method::Ack) {
        return Ok(());
    }
    let sdp = sdp_of(&branch.message);
    if *incoming.method() != Method::Invite && sdp.is_none() {
        return Ok(());
    }
    let Some(mut session) = session(world, incoming, branch, sdp.as_ref()) else { return Ok(()) };
    let answers = answers(world, incoming);
    if let Some(sdp) = sdp {
        let result = if answers {
            acknowledge(world, incoming, &session, sdp).await
        } else {
            note_renewal(world, incoming);
            world.stats.borrow_mut().media_offers += 1;
            session.offered = true;
            world.outside.media.offer(session.exchange(session.to_tag(incoming), true, sdp)).await
        };
        match result {
            Ok(sdp) => branch.message.set_body(SDP, sdp),
            Err(error) => return Err(refusal(world, &session.call_id, &error)),
        }
    }
    branch.media = (!answers).then_some(session);
    Ok(())
}

/// Whether the SDP of a request is the answer to an offer that a response has made.
fn answers(world: &World, incoming: &Incoming) -> bool {
    let made = || {
        let calls = world.calls.borrow();
        let to = incoming.message.to_tag()?;
        Some(calls.find(incoming.call_id(), to)?.end(to)?.early_offer == EarlyOffer::Made)
    };
    match incoming.method() {
        Method::Ack => true,
        Method::Prack => made() == Some(true),
        _ => false,
    }
}

/// An offer in an early dialog (RFC 3311 §5.1, RFC 3262 §5): the responses to the INVITE have nothing more to agree on.
fn note_renewal(world: &World, incoming: &Incoming) {
    let tags = [incoming.message.from_tag(), incoming.message.to_tag()].map(Option::unwrap_or_default);
    let mut calls = world.calls.borrow_mut();
    let call = calls.find_mut(incoming.call_id(), tags[0]).filter(|call| call.answered.is_none());
    let callees = call.into_iter().flat_map(|call| &mut call.callees);
    callees.filter(|end| tags.contains(&end.tag.as_str())).for_each(|end| end.renewed = true);
}

/// Takes an offer for an end that cannot take it now, and has it answer as it has before: `said` is its last description.
pub async fn answer_again(
    world: &World,
    incoming: &Incoming,
    offer: Bytes,
    said: Bytes,
) -> Result<Bytes, (StatusCode, &'static str)> {
    let Some(session) = session_of_dialog(world, incoming) else {
        return Err((StatusCode::CALL_DOES_NOT_EXIST, ""));
    };
    note_renewal(world, incoming);
    let to_tag = session.to_tag(incoming);
    let media = &world.outside.media;
    world.stats.borrow_mut().media_offers += 1;
    let refuse = |error: MediaError| refusal(world, &session.call_id, &error);
    media.offer(session.exchange(to_tag.clone(), true, offer)).await.map_err(refuse)?;
    let mut exchange = session.exchange(to_tag, true, said);
    (exchange.from, exchange.to) = (session.to, session.from);
    media.answer(exchange).await.map_err(refuse)
}

/// The answer in a PRACK, or in an ACK, which comes again with every repeated 2xx.
async fn acknowledge(
    world: &World,
    incoming: &Incoming,
    session: &Session,
    sdp: Bytes,
) -> Result<Bytes, MediaError> {
    let (call_id, from_tag) = (&session.call_id, &session.from_tag);
    let known = world.calls.borrow().find(call_id, from_tag).and_then(|call| call.acked.clone());
    if let Some((_, translated)) = known.filter(|(raw, _)| *raw == sdp) {
        return Ok(translated);
    }
    let to_tag = session.to_tag(incoming);
    let exchange = session.exchange(to_tag.clone(), false, sdp.clone());
    let translated = world.outside.media.answer(exchange).await?;
    let mut calls = world.calls.borrow_mut();
    if let Some(call) = calls.find_mut(call_id, from_tag) {
        call.acked = Some((sdp, translated.clone()));
        if let Some(end) = to_tag.as_deref().and_then(|tag| call.end_mut(tag))
            && *incoming.method() == Method::Prack
        {
            end.early_offer = EarlyOffer::Answered;
        }
    }
    Ok(translated)
}

/// Has the relay take the SDP of a response: the answer, or the offer when the request had none.
pub async fn answer(
    world: &World,
    session: &mut Session,
    response: &mut Response,
) -> Result<(), (StatusCode, &'static str)> {
    let Some(sdp) = sdp_of(response) else { return Ok(()) };
    let tag = response.to_tag().unwrap_or_default().to_owned();
    let settled = is_settled(world, &session.call_id, &tag);
    if let Some((_, _, translated)) =
        session.translated.as_ref().filter(|(to, raw, _)| *to == tag && (settled || *raw == sdp))
    {
        response.set_body(SDP, translated.clone());
        return Ok(());
    }
    let mut exchange = session.exchange(Some(tag.clone()), session.offered, sdp.clone());
    (exchange.from, exchange.to) = (session.to, session.from);
    let result = if session.offered {
        world.outside.media.answer(exchange).await
    } else {
        exchange.from.kind = kind_of(&sdp, session.to.kind);
        world.stats.borrow_mut().media_offers += 1;
        world.outside.media.offer(exchange).await
    };
    let translated = result.map_err(|error| refusal(world, &session.call_id, &error))?;
    session.translated = Some((tag, sdp, translated.clone()));
    response.set_body(SDP, translated);
    Ok(())
}

/// Whether the dialog of a callee has agreed on its media by other means than the responses of the INVITE: their SDP is a
/// repetition for whoever has missed it, and whatever it says is in force already.
fn is_settled(world: &World, call_id: &str, tag: &str) -> bool {
    let calls = world.calls.borrow();
    let end = calls.find(call_id, tag).and_then(|call| call.end(tag));
    end.is_some_and(|end| end.renewed || end.early_offer == EarlyOffer::Answered)
}

/// Frees a whole call, or one branch of it. `from_tag` is the caller's.
pub fn delete(world: &World, call_id: &str, from_tag: &str, branch: Option<&str>) {
    world.stats.borrow_mut().media_deletes += 1;
    world.outside.media.delete(call_id, from_tag, branch);
}

/// The SDP of a message, if that is what its body is.
#[must_use]
pub fn sdp_of(message: &Fields) -> Option<Bytes> {
    let content_type = message.text(Name::ContentType)?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    (essence.eq_ignore_ascii_case(SDP) && !message.body().is_empty()).then(|| message.body().clone())
}

impl Session {
    /// Whether the sender of the request is a browser, to whom the first SDP is the answer.
    #[must_use]
    pub fn is_to_browser(&self) -> bool {
        self.from.kind == LegKind::Browser
    }

    /// The SDP that the end with this tag has sent in a response.
    #[must_use]
    pub fn said_by(&self, tag: &str) -> Option<Bytes> {
        self.translated.as_ref().filter(|(to, ..)| to == tag).map(|(_, raw, _)| raw.clone())
    }

    /// The other end's tag, as far as the request knows it.
    fn to_tag(&self, incoming: &Incoming) -> Option<String> {
        incoming.message.to_tag().map(str::to_owned)
    }

    /// From the sender to the receiver; `by_sender` says whose offer it is.
    fn exchange(&self, to_tag: Option<String>, by_sender: bool, sdp: Bytes) -> MediaExchange {
        let known = |tag: String| match &self.relayed {
            Some((own, relayed)) if *own == tag => relayed.clone(),
            _ => tag,
        };
        let (from_tag, to_tag) = (known(self.from_tag.clone()), to_tag.map(known));
        let (offerer_tag, answerer_tag) =
            if by_sender { (from_tag, to_tag) } else { (to_tag.unwrap_or_default(), Some(from_tag)) };
        let (call_id, branch) = (self.call_id.clone(), self.branch.clone());
        MediaExchange { call_id, offerer_tag, answerer_tag, branch, from: self.from, to: self.to, sdp }
    }
}

/// Who exchanges what. `None` when the request belongs to no call of ours.
fn session(world: &World, incoming: &Incoming, branch: &Branch, sdp: Option<&Bytes>) -> Option<Session> {
    if incoming.is_in_dialog() {
        return session_of_dialog(world, incoming);
    }
    let call_id = incoming.call_id().to_owned();
    let from_tag = incoming.message.from_tag().unwrap_or_default().to_owned();
    let (from, to) = (caller_leg(world, incoming, sdp), callee_leg(world, &branch.target));
    let branch = Some(branch.name.clone());
    Some(Session { call_id, from_tag, relayed: None, branch, from, to, offered: false, translated: None })
}

/// The same within a dialog.
fn session_of_dialog(world: &World, incoming: &Incoming) -> Option<Session> {
    let call_id = incoming.call_id().to_owned();
    let from_tag = incoming.message.from_tag()?.to_owned();
    let to_tag = incoming.message.to_tag()?;
    let calls = world.calls.borrow();
    let call = calls.find(&call_id, to_tag)?;
    let (sender, receiver) = (call.end(&from_tag)?, call.end(to_tag)?);
    let early = [&sender.branch, &receiver.branch].into_iter().find(|branch| !branch.is_empty());
    let relayed: Option<(String, String)> = [sender, receiver]
        .into_iter()
        .find_map(|end| Some((end.tag.clone(), end.relayed.as_deref()?.to_owned())));
    let branch = match incoming.method() {
        // Answers the offer of the 2xx, whose branch it was.
        Method::Ack => call.offered_in_answer.clone()?,
        _ if call.answered.is_none() => early.cloned(),
        _ => relayed.as_ref().map(|(_, branch)| branch.clone()),
    };
    let (from, to) = (sender.media_leg(), receiver.media_leg());
    Some(Session { call_id, from_tag, relayed, branch, from, to, offered: false, translated: None })
}

/// The sender of a request that begins a call.
pub(crate) fn caller_leg(world: &World, incoming: &Incoming, sdp: Option<&Bytes>) -> MediaLeg {
    let flow = &incoming.flow;
    let by_transport = kind_by_transport(flow.protocol.is_websocket());
    let kind = sdp.map_or(by_transport, |sdp| kind_of(sdp, by_transport));
    let source = Some(flow.remote.ip());
    let keys = world.settings.dtmf.of(incoming.user.as_deref(), source);
    MediaLeg { kind, local: flow.local.ip(), signalling_source: source, keys }
}

fn callee_leg(world: &World, target: &Target) -> MediaLeg {
    let (websocket, source) = match target.destination {
        Destination::Flow(flow) => (flow.protocol.is_websocket(), flow.remote.ip()),
        Destination::Address { protocol, remote } => (protocol.is_websocket(), remote.ip()),
    };
    let keys = world.settings.dtmf.of(target.aor.as_deref(), Some(source));
    let kind = kind_by_transport(websocket);
    MediaLeg { kind, local: target.local.ip(), signalling_source: Some(source), keys }
}

const fn kind_by_transport(websocket: bool) -> LegKind {
    if websocket { LegKind::Browser } else { LegKind::Legacy }
}

/// DTLS-SRTP and ICE together make a browser, over whatever transport it has come. An SDP that shows neither is a plain
/// phone's; without any media line the transport decides.
fn kind_of(sdp: &[u8], by_transport: LegKind) -> LegKind {
    let has = |text: &str| memchr::memmem::find(sdp, text.as_bytes()).is_some();
    if has("\na=fingerprint:") && has("a=ice-ufrag:") || has(" UDP/TLS/RTP/SAVPF ") {
        LegKind::Browser
    } else if has("\nm=") {
        LegKind::Legacy
    } else {
        by_transport
    }
}

/// What the sender of an SDP hears when the relay will not have it.
fn refusal(world: &World, call_id: &str, error: &MediaError) -> (StatusCode, &'static str) {
    world.stats.borrow_mut().media_refusals += 1;
    // That no relay answers whoever looks for them tells once.
    if !matches!(error, MediaError::NoRelay(_)) {
        world.tell(Event::OutsideFailed { call_id: call_id.to_owned(), what: error.to_string() });
    }
    match error {
        MediaError::NotAcceptable(_) => (StatusCode::NOT_ACCEPTABLE_HERE, ""),
        MediaError::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "Relay is full"),
        MediaError::NoRelay(_) => (StatusCode::SERVICE_UNAVAILABLE, "No relay"),
        MediaError::Unavailable(_) => (StatusCode::SERVER_INTERNAL_ERROR, "Relay unavailable"),
    }
}
