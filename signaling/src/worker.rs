//! The signalling threads: each owns one [`Proxy`] and the connections that it serves, and a call lives on the one that has read
//! its first message.

mod owners;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use signaling_core::dialog::header_call_id;
use signaling_core::flow::{ConnectionId, Inbound, SendToken};
use signaling_core::message::{peek_begins, peek_call_id, peek_continues};
use signaling_core::proxy::Proxy;
use signaling_core::topology::Topoh;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Sleep;

use self::owners::{Kept, Owners};
use crate::accounting::Accounting;
use crate::events::{self, hub::Hub};
use crate::hep::Hep;
use crate::store::dialogs::Dialogs;
use crate::transport::{Outbox, Transport, UdpReader};

/// Messages handled before what they caused is sent.
const BATCH: usize = 64;
/// Datagrams read from a socket before messages are handled: more than a batch, so that under load they wait here, where they
/// have an order, and not in the kernel.
const READS: usize = 4 * BATCH;
/// One message in so many is of those that begin something, even while there are always some of a call: nobody can shut the
/// door for others with empty words.
const TURN: usize = 4;
/// Rest after a panic, so that one at every start does not spin.
const RESTART: Duration = Duration::from_millis(100);

/// Which worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerId(pub usize);

/// What a worker is told besides messages. Each follows from something bounded, so the mailbox of these has no bound.
#[derive(Debug)]
enum Notice {
    SendFailed(SendToken),
    Closed(ConnectionId),
    MediaTimedOut(Arc<str>),
    /// An operator asks; see [`Workers::ask`].
    Asked(Question),
    RelayLost(Arc<str>),
    /// An end of a call, named by its tag at the relay, has pressed a key.
    KeyPressed {
        call_id: Arc<str>,
        tag: String,
        code: u8,
    },
    /// End all calls.
    Shutdown,
    /// End the thread, and with it the connections that it still serves.
    Stop,
}

/// What is asked of a worker, between two messages.
struct Question(Box<Ask>);

type Ask = dyn FnOnce(&mut Proxy, Instant) + Send;

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

/// How long a worker has to answer an operator.
const ANSWER: Duration = Duration::from_secs(10);

/// The mailboxes of all workers.
#[derive(Debug)]
pub struct Workers {
    mailboxes: Box<[Mailbox]>,
    owners: Owners,
    /// The next one to be given a connection.
    next_host: AtomicUsize,
    /// When this was made.
    epoch: Instant,
    dropped: AtomicU64,
    /// What takes the masks off Call-IDs, where those are masked.
    masks: OnceLock<Topoh>,
    /// Who is told of every message, if anybody is.
    hep: OnceLock<Hep>,
    /// Messages of each kind that may wait for one worker.
    queue: usize,
    /// Bytes of messages that may wait for one worker.
    bytes: usize,
}

#[derive(Debug)]
struct Mailbox {
    /// What calls that have begun wait for.
    calls: mpsc::Sender<Waiting>,
    /// Everything else.
    inbound: mpsc::Sender<Waiting>,
    /// Bytes that may wait.
    room: Arc<Semaphore>,
    notices: mpsc::UnboundedSender<Notice>,
    /// That of its thread, once it runs.
    runtime: OnceLock<Handle>,
    /// All its calls have ended, after [`Workers::shut_down`].
    is_idle: AtomicBool,
}

/// A message that waits for its worker.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    inbound: Inbound,
    /// Whether its Call-ID is the worker's because of it.
    begins: bool,
    /// Its room, given back with it; that of a worker's own datagrams is given back by hand.
    room: Option<OwnedSemaphorePermit>,
}

/// A worker's end of its mailbox.
#[derive(Debug)]
pub struct Inbox {
    id: WorkerId,
    calls: mpsc::Receiver<Waiting>,
    inbound: mpsc::Receiver<Waiting>,
    notices: mpsc::UnboundedReceiver<Notice>,
    own: Own,
    kept: Kept,
}

/// What a worker has read for itself: most datagrams, and they meet no other thread.
#[derive(Debug, Default)]
struct Own {
    calls: VecDeque<Waiting>,
    inbound: VecDeque<Waiting>,
}

impl Own {
    fn queue(&mut self, of_calls: bool) -> &mut VecDeque<Waiting> {
        if of_calls { &mut self.calls } else { &mut self.inbound }
    }
}

impl Inbox {
    /// The next message, one of calls for choice, and whether it is of them. Its own datagrams and what others have sent take
    /// turns.
    fn poll(&mut self, cx: &mut Context<'_>, turn: usize) -> Option<(bool, Waiting)> {
        let (of_calls, own_first) = (turn % TURN != TURN - 1, (turn / TURN).is_multiple_of(2));
        [of_calls, !of_calls].into_iter().find_map(|of_calls| {
            let own = if own_first { self.own.queue(of_calls).pop_front() } else { None };
            let next = own.or_else(|| self.poll_others(cx, of_calls));
            next.or_else(|| self.own.queue(of_calls).pop_front()).map(|waiting| (of_calls, waiting))
        })
    }

    /// The next message, if there is one.
    pub(crate) fn try_next(&mut self) -> Option<Inbound> {
        self.poll(&mut Context::from_waker(Waker::noop()), 0).map(|(_, waiting)| waiting.inbound)
    }

    fn poll_others(&mut self, cx: &mut Context<'_>, of_calls: bool) -> Option<Waiting> {
        let queue = if of_calls { &mut self.calls } else { &mut self.inbound };
        match queue.poll_recv(cx) {
            Poll::Ready(waiting) => waiting,
            Poll::Pending => None,
        }
    }
}

impl Workers {
    /// Mailboxes for `count` workers, each of which holds `queue` messages of calls and as many others, of `bytes` in all.
    #[must_use]
    pub fn new(count: usize, queue: usize, bytes: usize) -> (Arc<Self>, Vec<Inbox>) {
        let (mut mailboxes, mut inboxes) = (Vec::new(), Vec::new());
        for number in 0..count.max(1) {
            let (calls, call_queue) = mpsc::channel(queue);
            let (inbound, inbound_queue) = mpsc::channel(queue);
            let (notices, notice_queue) = mpsc::unbounded_channel();
            let room = Arc::new(Semaphore::new(bytes));
            let (runtime, is_idle) = (OnceLock::new(), AtomicBool::new(false));
            mailboxes.push(Mailbox { calls, inbound, room, notices, runtime, is_idle });
            let (calls, inbound, notices) = (call_queue, inbound_queue, notice_queue);
            let (own, kept) = (Own::default(), Kept::default());
            inboxes.push(Inbox { id: WorkerId(number), calls, inbound, notices, own, kept });
        }
        let workers = Self {
            owners: Owners::new(mailboxes.len()),
            mailboxes: mailboxes.into(),
            next_host: AtomicUsize::new(0),
            epoch: Instant::now(),
            dropped: AtomicU64::new(0),
            masks: OnceLock::new(),
            hep: OnceLock::new(),
            queue,
            bytes,
        };
        (Arc::new(workers), inboxes)
    }

    /// Who serves the next connection.
    pub(crate) fn next_host(&self) -> WorkerId {
        WorkerId(self.next_host.fetch_add(1, Ordering::Relaxed) % self.mailboxes.len())
    }

    /// The runtime on the thread of `worker`, if that runs.
    pub(crate) fn runtime(&self, worker: WorkerId) -> Option<&Handle> {
        self.mailboxes[worker.0 % self.mailboxes.len()].runtime.get()
    }

    /// Datagrams dropped because their worker was busy.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Hands over a datagram that the worker of `reader` has read; with a full mailbox it is dropped, as a network would, and the
    /// peer sends it again.
    fn deliver_datagram(&self, now: Instant, reader: &mut Inbox, inbound: Inbound) {
        if let Some(hep) = self.hep() {
            hep.received(&inbound.flow, &inbound.bytes);
        }
        let is_free = reader.own.inbound.len() < self.backlog();
        let (owner, begins) = self.owner_of(now, &inbound.bytes, reader.id, is_free);
        let (own, mailbox) = (owner == reader.id.0, &self.mailboxes[owner]);
        let bytes = inbound.bytes.clone();
        let queued = if own {
            self.keep(mailbox, reader, Waiting { since: now, inbound, begins, room: None })
        } else {
            let room = Arc::clone(&mailbox.room).try_acquire_many_owned(size(&inbound));
            room.is_ok_and(|room| {
                let queue = mailbox.queue(&bytes);
                queue.try_send(Waiting { since: now, inbound, begins, room: Some(room) }).is_ok()
            })
        };
        if !queued {
            if begins {
                self.owners.forget(&self.call_id(&bytes));
            }
            let before = self.dropped.fetch_add(1, Ordering::Relaxed);
            if before.is_power_of_two() || before == 0 {
                tracing::warn!(dropped = before + 1, "datagrams dropped: signalling threads are busy");
            }
        }
    }

    /// Keeps a datagram where no other thread looks, within the limits of the mailbox.
    fn keep(&self, mailbox: &Mailbox, reader: &mut Inbox, waiting: Waiting) -> bool {
        let queue = reader.own.queue(peek_continues(&waiting.inbound.bytes));
        let Ok(room) = mailbox.room.try_acquire_many(size(&waiting.inbound)) else { return false };
        if queue.len() >= self.queue {
            return false;
        }
        room.forget();
        queue.push_back(waiting);
        true
    }

    /// Gives back the room of a message that its worker has taken.
    fn taken(&self, worker: WorkerId, waiting: Waiting) -> (Instant, Inbound) {
        if waiting.room.is_none() {
            self.mailboxes[worker.0].room.add_permits(waiting.inbound.bytes.len());
        }
        (waiting.since, waiting.inbound)
    }

    /// Hands over a message of a stream that `host` serves, waiting for room: the peer is slowed down by its own window.
    pub(crate) async fn deliver(&self, host: WorkerId, inbound: Inbound) {
        if let Some(hep) = self.hep() {
            hep.received(&inbound.flow, &inbound.bytes);
        }
        let since = Instant::now();
        let waiting = &self.mailboxes[host.0].inbound;
        let is_free = waiting.max_capacity() - waiting.capacity() < self.backlog();
        let (owner, begins) = self.owner_of(since, &inbound.bytes, host, is_free);
        let mailbox = &self.mailboxes[owner];
        let room = Arc::clone(&mailbox.room).acquire_many_owned(size(&inbound)).await;
        let queued = match room {
            Ok(room) => {
                let queue = mailbox.queue(&inbound.bytes);
                queue.send(Waiting { since, inbound, begins, room: Some(room) }).await.is_ok()
            }
            Err(_) => false,
        };
        // Only when the worker has ended, which happens at the end of the process.
        if !queued {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn send_failed(&self, worker: WorkerId, token: SendToken) {
        if token != SendToken::default() {
            self.notify(&self.mailboxes[worker.0 % self.mailboxes.len()], Notice::SendFailed(token));
        }
    }

    /// Every worker may have calls over a connection.
    pub(crate) fn closed(&self, connection: ConnectionId) {
        for mailbox in &self.mailboxes {
            self.notify(mailbox, Notice::Closed(connection));
        }
    }

    /// The relay has given up a call because no media came.
    pub(crate) fn media_timed_out(&self, call_id: Arc<str>) {
        let owner = self.worker_of(Instant::now(), header_call_id(&call_id).as_bytes());
        self.notify(&self.mailboxes[owner], Notice::MediaTimedOut(call_id.clone()));
    }

    /// The relay has heard a key.
    pub(crate) fn key_pressed(&self, call_id: Arc<str>, tag: String, code: u8) {
        let owner = self.worker_of(Instant::now(), header_call_id(&call_id).as_bytes());
        self.notify(&self.mailboxes[owner], Notice::KeyPressed { call_id, tag, code });
    }

    /// Has every worker answer a question between two messages: their state has no lock. `None` when one does not answer in time.
    /// Who asks bounds how often ([`crate::control`]).
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Proxy, Instant) -> T + Clone + Send + 'static,
    ) -> Option<Vec<T>> {
        let all = (0..self.mailboxes.len()).map(|worker| self.ask_one(worker, question.clone()));
        futures_util::future::join_all(all).await.into_iter().collect()
    }

    /// The same of the worker with this number; `None` when there is none, or it does not answer in time.
    pub(crate) async fn ask_one<T: Send + 'static>(
        &self,
        worker: usize,
        question: impl FnOnce(&mut Proxy, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (told, answer) = oneshot::channel();
        let question = Question(Box::new(move |proxy, now| {
            // Whoever has asked may not wait any more.
            _ = told.send(question(proxy, now));
        }));
        self.notify(self.mailboxes.get(worker)?, Notice::Asked(question));
        tokio::time::timeout(ANSWER, answer).await.ok()?.ok()
    }

    /// Messages that others have put into each mailbox, and the bytes of all that wait, those of its own thread too.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (usize, usize)> {
        let of = |queue: &mpsc::Sender<Waiting>| queue.max_capacity() - queue.capacity();
        self.mailboxes.iter().map(move |mailbox| {
            let bytes = self.bytes.saturating_sub(mailbox.room.available_permits());
            (of(&mailbox.calls) + of(&mailbox.inbound), bytes)
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// The number of the worker that has the calls with this Call-ID.
    pub(crate) fn worker_of_call(&self, call_id: &str) -> usize {
        self.worker_of(Instant::now(), call_id.as_bytes())
    }

    /// The relay that carries a call is gone; another one is there.
    pub(crate) fn relay_lost(&self, call_id: Arc<str>) {
        let owner = self.worker_of(Instant::now(), header_call_id(&call_id).as_bytes());
        self.notify(&self.mailboxes[owner], Notice::RelayLost(call_id.clone()));
    }

    /// Ends all calls; [`Workers::is_idle`] tells when that is done.
    pub fn shut_down(&self) {
        for mailbox in &self.mailboxes {
            self.notify(mailbox, Notice::Shutdown);
        }
    }

    /// Whether all calls of a worker have ended.
    #[must_use]
    pub fn is_idle(&self, worker: WorkerId) -> bool {
        self.mailboxes[worker.0].is_idle.load(Ordering::Acquire)
    }

    /// Ends the threads, with all connections that they serve.
    pub fn stop(&self) {
        for mailbox in &self.mailboxes {
            self.notify(mailbox, Notice::Stop);
        }
    }

    fn notify(&self, mailbox: &Mailbox, notice: Notice) {
        if mailbox.notices.send(notice).is_err() {
            tracing::trace!("notice to a worker that has ended");
        }
    }

    /// The worker of the call that a message belongs to, and whether that is so from now on. What `reader` has read is its own if
    /// it begins something, unless much waits there already. A REGISTER belongs to no call: whoever reads it serves it.
    fn owner_of(&self, now: Instant, message: &[u8], reader: WorkerId, is_free: bool) -> (usize, bool) {
        if message.starts_with(b"REGISTER ") {
            return (reader.0, false);
        }
        let (call_id, second) = (self.call_id(message), self.second(now));
        let call_id = &*call_id;
        match self.owners.find(second, call_id) {
            Some(owner) => (owner, false),
            None if peek_begins(message) => {
                let taker = if is_free { reader.0 } else { self.owners.of_nobody(call_id) };
                self.owners.begin(second, call_id, taker)
            }
            None => (self.owners.of_nobody(call_id), false),
        }
    }

    /// Masks of Call-IDs are taken off from now on, so that what both ends of a call say comes to one worker. To be called once.
    pub fn unmask(&self, masks: Topoh) {
        if self.masks.set(masks).is_err() {
            tracing::error!("masks of Call-IDs are set twice");
        }
    }

    /// `hep` is told of every message from now on. To be called once.
    pub fn trace(&self, hep: Hep) {
        if self.hep.set(hep).is_err() {
            tracing::error!("messages are traced twice");
        }
    }

    /// Who is told of every message.
    pub(crate) fn hep(&self) -> Option<&Hep> {
        self.hep.get()
    }

    /// The Call-ID of a message as whoever has begun the call knows it.
    fn call_id<'m>(&self, message: &'m [u8]) -> Cow<'m, [u8]> {
        let call_id = peek_call_id(message).unwrap_or_default();
        match self.masks.get() {
            Some(masks) => masks.plain_call_id(call_id),
            None => Cow::Borrowed(call_id),
        }
    }

    /// As many messages may wait for a worker that what begins is still its own.
    fn backlog(&self) -> usize {
        BATCH.min(self.queue)
    }

    /// The worker of a call.
    fn worker_of(&self, now: Instant, call_id: &[u8]) -> usize {
        let owner = self.owners.find(self.second(now), call_id);
        owner.unwrap_or_else(|| self.owners.of_nobody(call_id))
    }

    /// The time as [`Owners`] counts it.
    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.epoch).as_secs()).unwrap_or(u32::MAX)
    }
}

impl Mailbox {
    fn queue(&self, message: &[u8]) -> &mpsc::Sender<Waiting> {
        if peek_continues(message) { &self.calls } else { &self.inbound }
    }
}

/// The room that a message takes.
fn size(inbound: &Inbound) -> u32 {
    u32::try_from(inbound.bytes.len()).unwrap_or(u32::MAX)
}

/// Starts a worker's thread. `proxy` is called there, for its futures never leave it.
///
/// A panic is a fault of this program and costs the calls of this one worker: it goes on with a proxy that knows none,
/// rather than taking everybody's calls along or leaving Call-IDs that nobody answers.
///
/// # Errors
/// The operating system gives no thread.
pub fn start(
    mut inbox: Inbox,
    transport: Arc<Transport>,
    accounting: Accounting,
    dialogs: Dialogs,
    hub: Hub,
    proxy: impl Fn(Instant) -> anyhow::Result<Proxy> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
    let own = &transport.workers().mailboxes[inbox.id.0].runtime;
    own.set(runtime.handle().clone()).ok().context("a worker is started once")?;
    let name = format!("signaling-{}", inbox.id.0);
    let work = move || loop {
        let life = AssertUnwindSafe(|| {
            runtime.block_on(live(&mut inbox, &transport, (&accounting, &dialogs, &hub), &proxy))
        });
        match catch_unwind(life) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                return tracing::error!(error = format!("{error:#}"), "signalling thread not started");
            }
            Err(_) => tracing::error!(worker = inbox.id.0, "signalling thread panicked: its calls are lost"),
        }
        std::thread::sleep(RESTART);
    };
    std::thread::Builder::new().name(name).spawn(work).context("thread")
}

/// From the first message to the end of the process.
async fn live(
    inbox: &mut Inbox,
    transport: &Arc<Transport>,
    (accounting, dialogs, hub): (&Accounting, &Dialogs, &Hub),
    proxy: &impl Fn(Instant) -> anyhow::Result<Proxy>,
) -> anyhow::Result<()> {
    let proxy = proxy(Instant::now())?;
    let datagrams = transport.datagrams(inbox.id).context("UDP sockets")?;
    let (outbox, workers) = (Outbox::new(inbox.id), transport.workers());
    let (shutting_down, stopped) = (false, false);
    let mut worker = Worker {
        proxy,
        datagrams,
        inbox,
        workers,
        transport,
        outbox,
        accounting,
        dialogs,
        hub,
        shutting_down,
        stopped,
    };
    let mut alarm = pin!(tokio::time::sleep_until(tokio::time::Instant::now()));
    poll_fn(|cx| worker.poll(cx, alarm.as_mut())).await;
    Ok(())
}

struct Worker<'a> {
    proxy: Proxy,
    datagrams: Vec<UdpReader>,
    inbox: &'a mut Inbox,
    transport: &'a Arc<Transport>,
    /// Datagrams until the end of the turn.
    outbox: Outbox,
    accounting: &'a Accounting,
    dialogs: &'a Dialogs,
    hub: &'a Hub,
    workers: Arc<Workers>,
    shutting_down: bool,
    stopped: bool,
}

impl Worker<'_> {
    /// One turn: take what came in, let time pass, advance what waits on the world, send what all that caused.
    fn poll(&mut self, cx: &mut Context<'_>, mut alarm: Pin<&mut Sleep>) -> Poll<()> {
        let now = Instant::now();
        let mut more = self.read_datagrams(cx, now);
        while let Poll::Ready(Some(notice)) = self.inbox.notices.poll_recv(cx) {
            self.handle_notice(now, notice);
        }
        for turn in 0..BATCH {
            let Some((of_calls, waiting)) = self.inbox.poll(cx, turn) else { break };
            if waiting.begins {
                let call_id = self.workers.call_id(&waiting.inbound.bytes);
                self.inbox.kept.keep(self.workers.second(now), &call_id);
            }
            let (since, inbound) = self.workers.taken(self.inbox.id, waiting);
            if of_calls {
                self.proxy.handle_inbound(now, inbound);
            } else {
                self.proxy.handle_delayed(now, now.saturating_duration_since(since), inbound);
            }
            more |= turn + 1 == BATCH;
        }
        if self.proxy.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.proxy.handle_timeout(now);
        }
        self.proxy.poll_routes(now, cx);
        self.drain();
        let (proxy, workers) = (&self.proxy, &self.workers);
        self.inbox.kept.tidy(workers.second(now), &workers.owners, |call_id| proxy.has_call(call_id));
        if self.shutting_down && self.proxy.is_idle() {
            self.workers.mailboxes[self.inbox.id.0].is_idle.store(true, Ordering::Release);
        }
        if self.stopped {
            return Poll::Ready(());
        }
        if let Some(deadline) = self.proxy.poll_timeout() {
            // One that goes off too early finds nothing to do, once; to set it anew for every message costs more.
            if alarm.is_elapsed() || alarm.deadline() > deadline.into() {
                alarm.as_mut().reset(deadline.into());
            }
            more |= alarm.poll(cx).is_ready();
        }
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Empties the sockets into the mailboxes, this worker's own or others', where what matters most goes first. Whether there
    /// may be more.
    fn read_datagrams(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut more = false;
        for socket in &mut self.datagrams {
            let mut read = 0;
            while read < READS {
                let deliver = |inbound| self.workers.deliver_datagram(now, self.inbox, inbound);
                let Poll::Ready(count) = socket.poll_receive(cx, deliver) else { break };
                read += count;
            }
            more |= read >= READS;
        }
        more
    }

    fn handle_notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::SendFailed(token) => self.proxy.handle_send_failure(now, token),
            Notice::Closed(connection) => self.proxy.handle_flow_closed(now, connection),
            Notice::MediaTimedOut(call_id) => self.proxy.handle_media_timeout(now, &call_id),
            Notice::Asked(Question(question)) => question(&mut self.proxy, now),
            Notice::RelayLost(call_id) => self.proxy.handle_relay_lost(now, &call_id),
            Notice::KeyPressed { call_id, tag, code } => self.proxy.handle_key(now, &call_id, &tag, code),
            Notice::Shutdown => {
                self.shutting_down = true;
                self.proxy.begin_shutdown(now);
            }
            Notice::Stop => self.stopped = true,
        }
    }

    /// What has happened is recorded before anybody hears of it.
    fn drain(&mut self) {
        let mut noted = false;
        while let Some(event) = self.proxy.poll_event() {
            noted |= self.accounting.note(self.inbox.id.0, &event);
            self.dialogs.note(self.inbox.id.0, &event);
            self.hub.note(&event);
            events::log(&event);
        }
        if noted {
            self.accounting.flush(self.inbox.id.0);
        }
        while let Some(outbound) = self.proxy.poll_transmit() {
            self.transport.send(&mut self.outbox, outbound);
        }
        self.transport.flush(&mut self.outbox);
        while let Some(connection) = self.proxy.poll_close() {
            self.transport.close_connection(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use signaling_core::flow::{Flow, Protocol};

    use super::*;

    fn inbound(text: &str) -> Inbound {
        let (local, remote) = (([192, 0, 2, 1], 5060).into(), ([192, 0, 2, 7], 5060).into());
        let flow = Flow { protocol: Protocol::Udp, local, remote, connection: None };
        Inbound { flow, bytes: text.to_owned().into() }
    }

    fn message(method: &str, number: usize) -> Inbound {
        let call = format!("Call-ID: {number}\r\nTo: <sip:a@b>\r\nCSeq: 1 {method}\r\n\r\n");
        inbound(&format!("{method} sip:a@b SIP/2.0\r\n{call}"))
    }

    /// `limits.worker_queue`: so many messages of each kind, whoever has read them; those of calls have a line of their own. A
    /// datagram too many is dropped.
    #[test]
    fn so_many_messages_wait_and_no_more() {
        for readers in [1, 2] {
            let (workers, mut inboxes) = Workers::new(readers, 3, 1 << 20);
            let now = Instant::now();
            for number in 0..400 {
                let method = if number % 2 == 0 { "OPTIONS" } else { "BYE" };
                workers.deliver_datagram(now, &mut inboxes[0], message(method, number));
            }
            let queues = u64::try_from(2 * readers * 3).expect("few");
            assert_eq!(workers.dropped(), 400 - queues);
            let mut taken = 0;
            for inbox in &mut inboxes {
                while inbox.try_next().is_some() {
                    taken += 1;
                }
            }
            assert_eq!(taken, queues);
        }
    }

    /// `limits.worker_queue_bytes`: so many bytes in all; room that was taken is given back with its message.
    #[test]
    fn so_many_bytes_wait_and_no_more() {
        let size = message("OPTIONS", 1).bytes.len();
        let (workers, mut inboxes) = Workers::new(1, 100, 3 * size + 1);
        let inbox = &mut inboxes[0];
        let now = Instant::now();
        for round in 1..=3 {
            (0..5).for_each(|number| workers.deliver_datagram(now, inbox, message("OPTIONS", number)));
            assert_eq!(workers.dropped(), 2 * round);
            let mut taken = 0;
            while let Some((_, waiting)) = inbox.poll(&mut Context::from_waker(Waker::noop()), 0) {
                workers.taken(inbox.id, waiting);
                taken += 1;
            }
            assert_eq!(taken, 3);
        }
    }
}
