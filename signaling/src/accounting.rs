//! A record of every call: as rows of Kamailio's `acc`, `missed_calls` and `acc_cdrs`, as JSON lines in a file, and posted to a
//! URL.
//!
//! What begins, is answered and ends is written to a [`journal`] at once, before anybody hears of it, so that a call has its
//! record whatever becomes of this process: at the next start those that were open are closed as such, and records that had
//! not reached every destination go on their way again. From the journal each destination is served by a task of its own, at
//! its own pace, and with whatever has gathered in the meantime: the signalling threads wait for none of it.
//!
//! The journal is handed to the operating system, not to the disk, which is what a call can afford: when the power fails, the
//! calls that were open have no record, nor have those that ended in the last moments. A record in the database is durable.

pub mod journal;
pub mod record;
mod rows;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use signaling_core::event::{Answerer, Event, Parties};
use signaling_core::shards::Shards;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::journal::{Destination, Journal, Left};
use self::record::{Heard, Record};
use crate::events::hub::Hub;
use crate::hep::Hep;
use crate::post::{Pauses, Post, Taken, Url};
use crate::queue::Queue;
use crate::store::sql::Sql;

/// Records that may wait for one destination in memory. Those beyond it wait in the journal, for the next start.
const ROOM: usize = 65_536;
/// How long the relay's report of an answered call is waited for, and how many are at once.
const REPORT: Duration = Duration::from_secs(5);
const REPORTS: usize = 10_000;
/// How long records are gathered before they go on their way, for one is as dear as a hundred together.
const GATHER: Duration = Duration::from_millis(500);
/// How often the journal notes that calls are still going on: the end of one that is cut short is known this well.
const ALIVE: Duration = Duration::from_secs(10);

/// Section `[acc]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Settings {
    pub db: bool,
    pub cdr_file: Option<PathBuf>,
    pub cdr_url: Option<Url>,
}

/// The recorder; clones share it.
#[derive(Debug, Clone)]
pub struct Accounting {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// One for each worker, and those of workers that there were before.
    journals: Box<[Journal]>,
    /// What the relay has said of calls that are not over yet, or whose record waits for it.
    heard: Shards<HashMap<String, Heard>>,
    /// Whether there is a relay that reports.
    reports: AtomicBool,
    /// Told when a call is over.
    over: Notify,
    /// Whether no call is any more.
    closed: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    /// Records that had no room in memory.
    postponed: AtomicU64,
    /// Who hears of calls that are over.
    events: OnceLock<Hub>,
    /// And who hears how they sounded.
    hep: OnceLock<Hep>,
}

/// A destination and what waits for it.
type Served = (Destination, Arc<Queue<Arc<Record>>>);

impl Accounting {
    /// Starts the tasks, with what the journals have left from before: `journal`, and one beside it for each of `workers` but the
    /// first. Without destinations nothing is recorded. Must be called within a runtime.
    ///
    /// # Errors
    /// A journal cannot be read or written.
    pub async fn start(
        settings: &Settings,
        journal: &Path,
        workers: usize,
        sql: &Sql,
    ) -> anyhow::Result<Self> {
        let mut wanted = Vec::new();
        wanted.extend(settings.db.then_some(Destination::Database));
        wanted.extend(settings.cdr_file.as_ref().map(|_| Destination::File));
        wanted.extend(settings.cdr_url.as_ref().map(|_| Destination::Url));
        if wanted.is_empty() {
            return Ok(Self { inner: None });
        }
        let (journals, left) = open_all(journal, workers, &wanted)?;
        if !left.is_empty() {
            tracing::info!(records = left.len(), "call records are left from before");
        }
        let inner = Arc::new(Inner {
            journals,
            heard: Shards::default(),
            reports: AtomicBool::new(false),
            over: Notify::new(),
            closed: watch::Sender::new(false),
            tasks: Mutex::default(),
            postponed: AtomicU64::new(0),
            events: OnceLock::new(),
            hep: OnceLock::new(),
        });
        let mut destinations = Vec::new();
        if settings.db {
            let rows = rows::Rows::new(sql.clone()).await?;
            destinations.push(inner.serve(Destination::Database, Arc::new(rows)));
        }
        if let Some(path) = settings.cdr_file.clone() {
            destinations.push(inner.serve(Destination::File, Arc::new(Lines(path))));
        }
        if let Some(url) = settings.cdr_url.clone() {
            destinations.push(inner.serve(Destination::Url, Arc::new(Posted(Post::new(url)?))));
        }
        for (record, missing) in left {
            for (destination, queue) in &destinations {
                if missing.contains(destination) {
                    inner.hand_over(queue, &record);
                }
            }
        }
        let collector = Arc::clone(&inner);
        inner.lock_tasks().spawn(async move { collector.collect(destinations).await });
        Ok(Self { inner: Some(inner) })
    }

    /// One that records nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self { inner: None }
    }

    /// Has `events` hear of each call that is over, when its record is whole. To be called once.
    pub fn tell(&self, events: &Hub) {
        if let Some(inner) = &self.inner {
            match inner.events.set(events.clone()) {
                Ok(()) => events.expect_records(),
                Err(_) => tracing::error!("records are told twice"),
            }
        }
    }

    /// Has `hep` hear how each call that is over has sounded. To be called once.
    pub fn report(&self, hep: &Hep) {
        if let Some(inner) = &self.inner
            && inner.hep.set(hep.clone()).is_err()
        {
            tracing::error!("calls are reported twice");
        }
    }

    /// Notes what has happened to a call of this worker. Whether it has, so that [`Accounting::flush`] must follow before anybody
    /// hears of it.
    #[must_use]
    pub fn note(&self, worker: usize, event: &Event) -> bool {
        let Some(inner) = &self.inner else { return false };
        let journal = inner.journal(worker);
        match event {
            Event::CallInvited { call_id, parties, at, .. } => {
                inner.heard.of(&**call_id).entry(call_id.clone()).or_default().calls += 1;
                journal.begin(Record::new(call_id, parties, *at));
            }
            Event::CallAnswered { call_id, parties, answerer, at, .. } => {
                journal.answered(call_id, &parties.from_tag, answerer, *at);
            }
            Event::CallEnded(call) => {
                inner.end(journal, Record::of_answered(call), &call.parties);
            }
            Event::CallFailed { call_id, code, reason, parties, to_tag, started_at, at, .. } => {
                let answerer = Answerer { to_tag: to_tag.clone(), dst_ip: None };
                let record = Record::new(call_id, parties, *started_at);
                inner.end(journal, record.failed(&answerer, *code, reason, *at), parties);
            }
            _ => return false,
        }
        true
    }

    /// Hands what was noted of this worker's calls to the operating system, where the end of this process does not reach it.
    pub fn flush(&self, worker: usize) {
        if let Some(inner) = &self.inner {
            inner.journal(worker).flush();
        }
    }

    /// The codec that the end with `tag` has agreed to.
    pub fn note_codec(&self, call_id: &str, tag: &str, codec: &str) {
        if let Some(inner) = &self.inner
            && let Some(heard) = inner.heard.of(call_id).get_mut(call_id)
        {
            heard.codec(tag, codec);
        }
    }

    /// The relay will report on every call that is over.
    pub fn expect_reports(&self) {
        if let Some(inner) = &self.inner {
            inner.reports.store(true, Ordering::Relaxed);
        }
    }

    /// What the relay has counted in a call that is over; `None` when it knows nothing of it.
    pub fn note_report(&self, call_id: &str, report: Option<&media::command::CallReport>) {
        if let Some(inner) = &self.inner
            && let Some(heard) = inner.heard.of(call_id).get_mut(call_id)
        {
            heard.report(report);
        }
    }

    /// Records that are on their way, and records that were set aside because their destination has taken none for too long.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        let journals = || self.inner.iter().flat_map(|inner| &inner.journals);
        (journals().map(Journal::pending).sum(), journals().map(Journal::aside).sum())
    }

    /// Whether anything is recorded.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// Hands over what there is for as long as `limit`; the rest stays in the journal.
    pub async fn finish(&self, limit: Duration) {
        let Some(inner) = &self.inner else { return };
        inner.closed.send_replace(true);
        inner.over.notify_one();
        let mut tasks = std::mem::take(&mut *inner.lock_tasks());
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            let records = inner.journals.iter().map(Journal::pending).sum::<usize>();
            tracing::warn!(records, "call records are left for the next start");
        }
    }
}

impl Inner {
    fn journal(&self, worker: usize) -> &Journal {
        &self.journals[worker % self.journals.len()]
    }

    fn end(&self, journal: &Journal, record: Record, parties: &Parties) {
        let mut record = Arc::new(record);
        if journal.end(&record, &parties.from_tag) {
            return self.over.notify_one();
        }
        // Nobody waits for what the relay may still have to say.
        self.fill(&mut record);
        journal.set_aside(&record);
    }

    /// Passes records on, those that have gathered together; those of answered calls with what the relay has to say, if it
    /// says so in time.
    async fn collect(self: Arc<Self>, destinations: Vec<Served>) {
        let (mut waiting, mut alive) = (Vec::new(), Instant::now());
        loop {
            // What ends after this is not taken, when it is so.
            let closed = *self.closed.borrow();
            let some = self.next(!waiting.is_empty()).await;
            if closed && some.is_empty() && waiting.is_empty() {
                break;
            }
            let mut ready = if closed { Vec::new() } else { self.taken_up() };
            for record in some {
                let to_wait = self.is_to_wait(&record, waiting.len());
                if to_wait { waiting.push((Instant::now() + REPORT, record)) } else { ready.push(record) }
            }
            ready.extend(self.reported(&mut waiting));
            self.pass_on(ready, &destinations);
            if alive.elapsed() >= ALIVE {
                alive = Instant::now();
                self.journals.iter().for_each(Journal::still_alive);
            }
        }
        for (_, queue) in &destinations {
            queue.close();
        }
    }

    /// What has come within [`GATHER`] of the first, or of now when others wait for their reports; nothing after [`ALIVE`].
    async fn next(&self, others_wait: bool) -> Vec<Arc<Record>> {
        let mut closed = self.closed.subscribe();
        let is_closed = *closed.borrow();
        let told =
            others_wait || is_closed || tokio::time::timeout(ALIVE, self.over.notified()).await.is_ok();
        if is_closed && others_wait {
            tokio::time::sleep(GATHER / 10).await;
        } else if told && !is_closed {
            // An end of the wait and an end of the calls are the same to whoever gathers.
            let _ = tokio::time::timeout(GATHER, closed.wait_for(|closed| *closed)).await;
        }
        self.journals.iter().flat_map(Journal::take_fresh).collect()
    }

    /// Records that were set aside and have room again. There may be more of them.
    fn taken_up(&self) -> Vec<Arc<Record>> {
        let mut records = Vec::new();
        for journal in &self.journals {
            match journal.take_up() {
                Ok(some) => records.extend(some),
                Err(error) => tracing::error!(%error, "call records set aside cannot be taken up"),
            }
        }
        if !records.is_empty() {
            tracing::info!(records = records.len(), "call records that were set aside go on");
            self.over.notify_one();
        }
        records
    }

    fn is_to_wait(&self, record: &Record, waiting: usize) -> bool {
        record.answer.is_some() && waiting < REPORTS && self.reports.load(Ordering::Relaxed)
    }

    /// Takes those of which the relay has said what it has to say, or too long has passed.
    fn reported(&self, waiting: &mut Vec<(Instant, Arc<Record>)>) -> Vec<Arc<Record>> {
        let now = Instant::now();
        let is_complete = |call_id: &str| self.heard.of(call_id).get(call_id).is_some_and(Heard::is_complete);
        let ready = waiting.extract_if(.., |(until, record)| *until <= now || is_complete(&record.call_id));
        ready.map(|(_, record)| record).collect()
    }

    fn pass_on(&self, records: Vec<Arc<Record>>, destinations: &[Served]) {
        for mut record in records {
            if self.fill(&mut record) {
                // It is of one of them.
                let _ = self.journals.iter().any(|journal| journal.filled(&record));
            }
            for (_, queue) in destinations {
                self.hand_over(queue, &record);
            }
            if let Some(events) = self.events.get() {
                events.note_record(&record);
            }
            if let Some(hep) = self.hep.get() {
                hep.report(&record);
            }
        }
        // No record is in the database, and open in the journal.
        self.journals.iter().for_each(Journal::flush);
    }

    /// Takes what the relay has said of a call into its record. Whether there was anything.
    fn fill(&self, record: &mut Arc<Record>) -> bool {
        let mut part = self.heard.of(&*record.call_id);
        let Some(heard) = part.get_mut(&record.call_id) else { return false };
        let filled = !heard.is_empty();
        if filled {
            Arc::make_mut(record).fill(heard);
        }
        // The branches of a caller may be calls of one Call-ID.
        heard.calls = heard.calls.saturating_sub(1);
        if heard.calls == 0 {
            part.remove(&record.call_id);
        }
        filled
    }

    fn hand_over(&self, queue: &Queue<Arc<Record>>, record: &Arc<Record>) {
        if !queue.put(Arc::clone(record)) {
            self.postpone();
        }
    }

    fn postpone(&self) {
        let before = self.postponed.fetch_add(1, Ordering::Relaxed);
        if before == 0 || before.is_power_of_two() {
            let records = before + 1;
            tracing::warn!(records, "call records stay in the journal until the next start: too many wait");
        }
    }

    /// A task that delivers records to one destination, each until it is there.
    fn serve(self: &Arc<Self>, destination: Destination, deliver: Arc<dyn Deliver>) -> Served {
        let queue = Arc::new(Queue::new(ROOM));
        let (inner, records) = (Arc::clone(self), Arc::clone(&queue));
        self.lock_tasks().spawn(async move {
            loop {
                let some = records.take(deliver.at_once()).await;
                if some.is_empty() {
                    return;
                }
                insist(destination, &*deliver, &some).await;
                inner.journals.iter().for_each(|journal| journal.delivered(&some, destination));
            }
        });
        (destination, queue)
    }

    fn lock_tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journals of as many workers, and any others that are there, with the records that they have left.
fn open_all(first: &Path, workers: usize, wanted: &[Destination]) -> anyhow::Result<(Box<[Journal]>, Left)> {
    let (mut journals, mut left) = (Vec::new(), Left::new());
    for number in 0.. {
        let path = journal_file(first, number);
        if number >= workers.max(1) && !path.exists() {
            break;
        }
        let opened = Journal::open(&path, wanted);
        let (journal, of_it) = opened.with_context(|| format!("journal of calls {}", path.display()))?;
        journals.push(journal);
        left.extend(of_it);
    }
    left.sort_by_key(|(record, _)| record.end);
    let count = journals.len();
    Ok((journals.into_iter().map(|journal| journal.one_of(count)).collect(), left))
}

/// `calls.journal`, `calls-1.journal`, and so on.
fn journal_file(first: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return first.to_owned();
    }
    let mut name = first.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}."));
    name.push(first.extension().unwrap_or_default());
    first.with_file_name(name)
}

/// Delivers `records`, however often that fails.
async fn insist(destination: Destination, deliver: &dyn Deliver, records: &[Arc<Record>]) {
    let (mut pauses, mut told) = (Pauses::default(), false);
    while let Err(error) = deliver.deliver(records).await {
        if !std::mem::replace(&mut told, true) {
            let error = format!("{error:#}");
            tracing::error!(?destination, error, "call records wait for their destination");
        }
        pauses.wait().await;
    }
    if told {
        tracing::warn!(?destination, "call records go on");
    }
}

/// Brings records somewhere. An error is worth another try.
trait Deliver: Send + Sync {
    /// How many it takes at once.
    fn at_once(&self) -> usize {
        1
    }

    fn deliver<'a>(
        &'a self,
        records: &'a [Arc<Record>],
    ) -> futures_util::future::BoxFuture<'a, anyhow::Result<()>>;
}

/// A file of JSON lines. It is opened for each, so that whoever rotates it need tell nobody.
struct Lines(PathBuf);

impl Deliver for Lines {
    fn at_once(&self) -> usize {
        256
    }

    fn deliver<'a>(
        &'a self,
        records: &'a [Arc<Record>],
    ) -> futures_util::future::BoxFuture<'a, anyhow::Result<()>> {
        let write = || {
            use std::os::unix::fs::OpenOptionsExt as _;
            let mut text = String::new();
            for record in records {
                text.push_str(&serde_json::to_string(&**record)?);
                text.push('\n');
            }
            let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o640).open(&self.0)?;
            anyhow::Ok(file.write_all(text.as_bytes())?)
        };
        let written = write().with_context(|| format!("acc.cdr_file {}", self.0.display()));
        Box::pin(std::future::ready(written))
    }
}

/// A URL to which records are posted, one request each.
struct Posted(Post);

impl Deliver for Posted {
    fn deliver<'a>(
        &'a self,
        records: &'a [Arc<Record>],
    ) -> futures_util::future::BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            for record in records {
                let taken = self.0.send(serde_json::to_vec(&**record)?, &[]).await.context("acc.cdr_url")?;
                if let Taken::Never(status) = taken {
                    tracing::error!(%status, call_id = record.call_id, "call record refused by acc.cdr_url");
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
