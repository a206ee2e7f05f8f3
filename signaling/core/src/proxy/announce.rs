//! Announcements: a call that is refused with a code that has one is told so in sound, as early media, and then hears the
//! code ([`crate::step::announce`]). Whoever plays no early media is answered first.

mod answered;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::FutureExt as _;

use super::{Done, Proxy, Server};
use crate::message::{Name, Response, StatusCode};
use crate::outside::MediaError;
use crate::step::announce::{self, Way};
use crate::step::{Incoming, media, relay};
use crate::transaction::{IdMap, ServerId};
use crate::world::World;

/// Between the answer and the first word: an end opens its loudspeaker, a browser makes its DTLS association.
const LEAD: Duration = Duration::from_millis(800);
/// What is longer is broken off, well before the relay and the caller's timers give the call up.
const LONGEST: Duration = Duration::from_secs(50);

/// So many are told at once; beyond that the code is told alone.
const MAX_OPEN: usize = 256;

/// Calls that are told why they are refused.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    open: IdMap<ServerId, Announcement>,
    /// Those that were answered.
    calls: answered::Calls,
}

#[derive(Debug)]
struct Announcement {
    incoming: Incoming,
    /// The last word.
    response: Response,
    file: String,
    way: Way,
    /// When it goes on; `None` while the relay is asked.
    due: Option<Instant>,
    /// The sound has begun.
    playing: bool,
}

/// What the relay has said.
pub(super) struct Announced {
    server: ServerId,
    call_id: String,
    from_tag: String,
    what: What,
}

enum What {
    Answered(Result<Bytes, MediaError>),
    Playing(Result<Duration, MediaError>),
}

impl Announcements {
    /// Whether something is announced to the sender of this INVITE.
    pub(super) fn is_open(&self, server: ServerId) -> bool {
        self.open.contains_key(&server)
    }

    /// When the next one goes on.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.open.values().filter_map(|it| it.due).min();
        due.into_iter().chain(self.calls.poll_timeout()).min()
    }
}

impl Proxy {
    /// Has the caller told why he is refused, if there is a sound for that, and then by `response`; `false` when there is none.
    pub(super) fn announce(&mut self, server: ServerId, incoming: &Incoming, response: &Response) -> bool {
        let (early, forgotten) = match self.servers.get(&server) {
            Some(Server::Relaying(fork)) if fork.cancelled || fork.is_open() => return false,
            Some(Server::Relaying(fork)) => {
                (fork.early.is_some(), fork.early.is_some_and(|leg| fork.legs[leg].freed))
            }
            _ if !announce::is_known(&self.world, incoming) => return false,
            _ => (false, false),
        };
        let open = self.announcements.open.len() + self.announcements.calls.len();
        let room = open < MAX_OPEN && self.stopping.is_none();
        let wanted = announce::wanted(&self.world, incoming, response, early, forgotten);
        let Some((file, way)) = wanted.filter(|_| room) else { return false };
        self.world.stats.borrow_mut().announcements += 1;
        let (incoming, response, due) = (incoming.clone(), response.clone(), None);
        let announcement = Announcement { incoming, response, file, way, due, playing: false };
        self.announcements.open.insert(server, announcement);
        match way {
            Way::Known => self.begin_to_play(server),
            Way::Early | Way::Answered => self.ask_for_answer(server),
        }
        true
    }

    fn ask_for_answer(&mut self, server: ServerId) {
        let Some(announcement) = self.announcements.open.get(&server) else { return };
        let (world, incoming) = (Rc::clone(&self.world), announcement.incoming.clone());
        let ask = async move {
            let what = What::Answered(announce::answer(&world, &incoming).await);
            let from_tag = incoming.message.from_tag().unwrap_or_default().to_owned();
            Done::Announced(Announced { server, call_id: incoming.call_id().to_owned(), from_tag, what })
        };
        self.begun.push_back(ask.boxed_local());
    }

    fn begin_to_play(&mut self, server: ServerId) {
        let Some(announcement) = self.announcements.open.get_mut(&server) else { return };
        (announcement.playing, announcement.due) = (true, None);
        let (world, file) = (Rc::clone(&self.world), announcement.file.clone());
        let call_id = announcement.incoming.call_id().to_owned();
        let from_tag = announcement.incoming.message.from_tag().unwrap_or_default().to_owned();
        let play = async move {
            let what = What::Playing(world.outside.media.announce(&call_id, &from_tag, &file).await);
            Done::Announced(Announced { server, call_id, from_tag, what })
        };
        self.begun.push_back(play.boxed_local());
    }

    /// The relay has done what it was asked, or not: then the caller hears the code alone.
    pub(super) fn announced(&mut self, announced: Announced) {
        let Announced { server, call_id, from_tag, what } = announced;
        let now = self.world.now();
        if let What::Playing(playing) = &what
            && self.plays_to_answered(server, playing)
        {
            return;
        }
        let Some(announcement) = self.announcements.open.get_mut(&server) else {
            // He has given up meanwhile.
            if matches!(what, What::Answered(Ok(_))) {
                media::delete(&self.world, &call_id, &from_tag, None);
            }
            return;
        };
        match what {
            What::Answered(Ok(sdp)) if announcement.way == Way::Answered => {
                self.answer_announcement(server, sdp);
            }
            What::Answered(Ok(sdp)) => {
                announcement.due = Some(now + LEAD);
                let status = StatusCode::SESSION_PROGRESS;
                let response = of_nobody(&self.world, &announcement.incoming, status, sdp);
                self.table.respond(now, server, &response);
            }
            What::Playing(Ok(length)) => announcement.due = Some(now + length.min(LONGEST)),
            What::Answered(Err(error)) | What::Playing(Err(error)) => {
                tracing::warn!(call_id, %error, "announcement");
                self.end_announcement(server, None);
            }
        }
    }

    /// Goes on with those whose time has come.
    pub(super) fn go_on_announcing(&mut self) {
        self.go_on_with_answered();
        let now = self.world.now();
        let due = self.announcements.open.iter().filter(|(_, it)| it.due.is_some_and(|due| due <= now));
        let due: Vec<(ServerId, bool)> = due.map(|(server, it)| (*server, it.playing)).collect();
        for (server, playing) in due {
            if playing {
                self.end_announcement(server, None);
            } else {
                self.begin_to_play(server);
            }
        }
    }

    /// The caller hears the last word: that of the announcement, or `status`. `false` when nothing is announced to him.
    pub(super) fn end_announcement(&mut self, server: ServerId, status: Option<StatusCode>) -> bool {
        let Some(announcement) = self.announcements.open.remove(&server) else { return false };
        let Announcement { incoming, response, .. } = announcement;
        media::delete(&self.world, incoming.call_id(), incoming.message.from_tag().unwrap_or_default(), None);
        let response = status.map_or(response, |status| incoming.answer(&self.world, status, "", &[]));
        // What a callee has said is counted where it came through.
        if status.is_some() || !matches!(self.servers.get(&server), Some(Server::Relaying(_))) {
            self.world.stats.borrow_mut().answered.note(response.status());
        }
        self.table.respond(self.world.now(), server, &response);
        true
    }

    /// The transaction is gone.
    pub(super) fn forget_announcement(&mut self, server: ServerId) {
        if let Some(Announcement { incoming, .. }) = self.announcements.open.remove(&server) {
            let from_tag = incoming.message.from_tag().unwrap_or_default();
            media::delete(&self.world, incoming.call_id(), from_tag, None);
        }
    }

    /// Every caller that is being told hears the last word now.
    pub(super) fn end_announcements(&mut self) {
        let open: Vec<ServerId> = self.announcements.open.keys().copied().collect();
        for server in open {
            self.end_announcement(server, None);
        }
        for server in self.announcements.calls.servers() {
            self.hang_up_on_answered(server);
        }
    }
}

/// A response with the relay's answer, in a dialog of its own (RFC 3261 §12.1.1).
fn of_nobody(world: &World, incoming: &Incoming, status: StatusCode, sdp: Bytes) -> Response {
    let protocol = incoming.flow.protocol;
    let here = world.sent_by(protocol, incoming.flow.local);
    let contact = format!("<sip:announcement@{here}{}>", relay::transport_parameter(protocol));
    let headers = [(Name::Contact, contact)];
    let mut response = incoming.answer(world, status, "", &headers);
    response.set_body(media::SDP, sdp);
    response
}
