//! Callers who play no early media: they are answered, hear the sound within a call, and are hung up on with the code for a
//! reason (RFC 3326). We are the user agent server of that call, so its 2xx is repeated until its ACK is here (RFC 3261 §13.3.1.4).

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::FutureExt as _;

use super::{Announced, LEAD, LONGEST, What};
use crate::dialog::End;
use crate::message::{Method, Name, Request, Response, StatusCode, build};
use crate::outside::MediaError;
use crate::proxy::{Done, Proxy, Server};
use crate::step::{announce, ends, media};
use crate::transaction::{IdMap, ServerId};

/// The calls, by the INVITE that began each.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: IdMap<ServerId, Call>,
    /// The same by Call-ID and our tag.
    dialogs: HashMap<(String, String), ServerId>,
}

#[derive(Debug)]
struct Call {
    /// See [`crate::step::Incoming::call_id`].
    call_id: String,
    caller: End,
    /// Call-ID and our tag.
    dialog: (String, String),
    /// Our From, with our tag.
    address: String,
    file: String,
    /// The 200.
    response: Response,
    /// Why the call fails.
    refusal: Response,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The ACK is not here yet: the 200 goes out again, and again after twice the time, until it has taken too long.
    Unheard { again: Instant, interval: Duration, until: Instant },
    /// His end gets ready.
    Lead(Instant),
    /// The relay is asked to play.
    Asked,
    /// It plays until then.
    Playing(Instant),
}

impl Stage {
    fn due(self) -> Option<Instant> {
        match self {
            Self::Unheard { again, until, .. } => Some(again.min(until)),
            Self::Lead(at) | Self::Playing(at) => Some(at),
            Self::Asked => None,
        }
    }
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.open.values().filter_map(|call| call.stage.due()).min()
    }

    pub(super) fn servers(&self) -> Vec<ServerId> {
        self.open.keys().copied().collect()
    }

    fn remove(&mut self, server: ServerId) -> Option<Call> {
        let call = self.open.remove(&server)?;
        self.dialogs.remove(&call.dialog);
        Some(call)
    }
}

impl Proxy {
    /// Answers the caller of an announcement, whose SDP is `sdp`.
    pub(super) fn answer_announcement(&mut self, server: ServerId, sdp: Bytes) {
        let Some(announcement) = self.announcements.open.remove(&server) else { return };
        let super::Announcement { incoming, response: refusal, file, .. } = announcement;
        let mut response = super::of_nobody(&self.world, &incoming, StatusCode::OK, sdp);
        response.copy_from(&incoming.message, Name::RecordRoute);
        let tag = response.to_tag().unwrap_or_default().to_owned();
        let address = response.text(Name::To).unwrap_or_default().to_owned();
        let dialog = (incoming.message.call_id().to_owned(), tag);
        let (now, t1) = (self.world.now(), self.world.settings.timers.retr_timer1);
        let stage = Stage::Unheard { again: now + t1, interval: t1, until: now + t1 * 64 };
        let caller = ends::sender(&self.world, &incoming, None);
        let call_id = incoming.call_id().to_owned();
        let call = Call { call_id, caller, dialog: dialog.clone(), address, file, response, refusal, stage };
        self.world.stats.borrow_mut().answered.note(StatusCode::OK);
        self.table.respond(now, server, &call.response);
        self.announcements.calls.dialogs.insert(dialog, server);
        self.announcements.calls.open.insert(server, call);
    }

    /// Takes a request of a caller who hears an announcement; `false` for anything else.
    pub(in crate::proxy) fn is_for_announcement(
        &mut self,
        server: Option<ServerId>,
        request: &Request,
    ) -> bool {
        let calls = &mut self.announcements.calls;
        if calls.dialogs.is_empty() {
            return false;
        }
        let dialog = (request.call_id().to_owned(), request.to_tag().unwrap_or_default().to_owned());
        let Some(&told) = calls.dialogs.get(&dialog) else { return false };
        let Some(call) = calls.open.get_mut(&told) else { return false };
        if request.from_tag() != Some(call.caller.tag.as_str()) {
            return false;
        }
        let now = self.world.now();
        let Some(server) = server else {
            if matches!(call.stage, Stage::Unheard { .. }) && *request.method() == Method::Ack {
                call.stage = Stage::Lead(now + LEAD);
            }
            return true;
        };
        let status = match request.method() {
            Method::Bye | Method::Info | Method::Options => StatusCode::OK,
            // What was agreed on stays for as long as this lasts.
            Method::Invite | Method::Update => StatusCode::NOT_ACCEPTABLE_HERE,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        let response = build::Reply::new(request, status).build();
        if *request.method() == Method::Bye
            && let Some(call) = calls.remove(told)
        {
            media::delete(&self.world, &call.call_id, &call.caller.tag, None);
        }
        self.servers.insert(server, Server::Ended);
        self.table.respond(now, server, &response);
        true
    }

    /// Goes on with those calls whose time has come.
    pub(super) fn go_on_with_answered(&mut self) {
        let now = self.world.now();
        let open = self.announcements.calls.open.iter_mut();
        let due = open.filter(|(_, call)| call.stage.due().is_some_and(|due| due <= now));
        let due: Vec<ServerId> = due.map(|(server, _)| *server).collect();
        for server in due {
            let Some(call) = self.announcements.calls.open.get_mut(&server) else { continue };
            match call.stage {
                Stage::Unheard { interval, until, .. } if now < until => {
                    let interval = (interval * 2).min(self.world.settings.timers.retr_timer2);
                    call.stage = Stage::Unheard { again: now + interval, interval, until };
                    self.table.respond(now, server, &call.response);
                }
                Stage::Lead(_) => self.play_to_answered(server),
                Stage::Unheard { .. } | Stage::Playing(_) => self.hang_up_on_answered(server),
                Stage::Asked => {}
            }
        }
    }

    fn play_to_answered(&mut self, server: ServerId) {
        let Some(call) = self.announcements.calls.open.get_mut(&server) else { return };
        call.stage = Stage::Asked;
        let (world, file) = (Rc::clone(&self.world), call.file.clone());
        let (call_id, from_tag) = (call.call_id.clone(), call.caller.tag.clone());
        let play = async move {
            let what = What::Playing(world.outside.media.announce(&call_id, &from_tag, &file).await);
            Done::Announced(Announced { server, call_id, from_tag, what })
        };
        self.begun.push_back(play.boxed_local());
    }

    /// The relay plays, or not; `false` when it was asked for somebody who was not answered.
    pub(super) fn plays_to_answered(
        &mut self,
        server: ServerId,
        playing: &Result<Duration, MediaError>,
    ) -> bool {
        let now = self.world.now();
        let Some(call) = self.announcements.calls.open.get_mut(&server) else { return false };
        match playing {
            Ok(length) => call.stage = Stage::Playing(now + (*length).min(LONGEST)),
            Err(error) => {
                tracing::warn!(call_id = call.call_id, %error, "announcement");
                self.hang_up_on_answered(server);
            }
        }
        true
    }

    /// The caller hears the last word.
    pub(super) fn hang_up_on_answered(&mut self, server: ServerId) {
        let Some(call) = self.announcements.calls.remove(server) else { return };
        media::delete(&self.world, &call.call_id, &call.caller.tag, None);
        let reason = announce::reason(&call.refusal);
        self.send_bye(&call.call_id, &call.address, &call.caller, 1, Some(&reason));
    }
}
