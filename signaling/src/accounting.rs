//! A record of every call: as rows of Kamailio's `acc`, `missed_calls` and `acc_cdrs`, as JSON lines in a file, and posted to a
//! URL.
//!
//! What begins, is answered and ends is written to the [`journal`] at once, before anybody hears of it, so that a call has its
//! record whatever becomes of this process: at the next start those that were open are closed as such, and records that had
//! not reached every destination go on their way again. From the journal each destination is served by a task of its own, at
//! its own pace.

pub mod journal;
mod post;
pub mod record;
mod rows;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use signaling_core::event::{Answerer, Event, Parties};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::journal::{Destination, Journal};
pub use self::post::Url;
use self::record::{Heard, Record};
use crate::store::sql::Sql;

/// Records that may wait for one destination in memory. Those beyond it wait in the journal, for the next start.
const ROOM: usize = 65_536;
/// How long the relay's report of an answered call is waited for, and how many are at once.
const REPORT: Duration = Duration::from_secs(5);
const REPORTS: usize = 10_000;
/// How often the journal notes that calls are still going on: the end of one that is cut short is known this well.
const ALIVE: Duration = Duration::from_secs(10);
/// Between two tries at a destination that fails, and the longest it becomes.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

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
    journal: Journal,
    /// What the relay has said of calls that are not over yet, or whose record waits for it.
    heard: Mutex<HashMap<String, Heard>>,
    /// Told when the relay has reported something.
    reported: watch::Sender<()>,
    /// Whether there is a relay that reports.
    reports: AtomicBool,
    /// Where records go; `None` once it is closed.
    records: Mutex<Option<mpsc::Sender<Record>>>,
    tasks: Mutex<JoinSet<()>>,
    /// Records that had no room in memory.
    postponed: AtomicU64,
}

impl Accounting {
    /// Starts the tasks, with what the journal at `journal` has left from before; without destinations nothing is recorded.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub async fn start(settings: &Settings, journal: &Path, sql: &Sql) -> anyhow::Result<Self> {
        let mut wanted = Vec::new();
        wanted.extend(settings.db.then_some(Destination::Database));
        wanted.extend(settings.cdr_file.as_ref().map(|_| Destination::File));
        wanted.extend(settings.cdr_url.as_ref().map(|_| Destination::Url));
        if wanted.is_empty() {
            return Ok(Self { inner: None });
        }
        let (journal, left) = Journal::open(journal, &wanted)
            .with_context(|| format!("journal of calls {}", journal.display()))?;
        if !left.is_empty() {
            tracing::info!(records = left.len(), "call records are left from before");
        }
        let (records, incoming) = mpsc::channel(ROOM);
        let inner = Arc::new(Inner {
            journal,
            heard: Mutex::default(),
            reported: watch::Sender::default(),
            reports: AtomicBool::new(false),
            records: Mutex::new(Some(records)),
            tasks: Mutex::default(),
            postponed: AtomicU64::new(0),
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
            destinations.push(inner.serve(Destination::Url, Arc::new(post::Post::new(url)?)));
        }
        for (record, missing) in left {
            for (destination, queue) in &destinations {
                if missing.contains(destination) {
                    inner.hand_over(queue, &record);
                }
            }
        }
        let collector = Arc::clone(&inner);
        inner.lock_tasks().spawn(async move { collector.collect(incoming, destinations).await });
        Ok(Self { inner: Some(inner) })
    }

    /// One that records nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self { inner: None }
    }

    /// Notes what has happened to a call.
    pub fn note(&self, event: &Event) {
        let Some(inner) = &self.inner else { return };
        match event {
            Event::CallInvited { call_id, parties, at, .. } => {
                inner.journal.begin(Record::new(call_id, parties, *at));
            }
            Event::CallAnswered { call_id, parties, answerer, at, .. } => {
                inner.journal.answered(call_id, &parties.from_tag, answerer, *at);
            }
            Event::CallEnded(call) => {
                inner.end(Record::of_answered(call), &call.parties);
            }
            Event::CallFailed { call_id, code, reason, parties, to_tag, started_at, at, .. } => {
                let answerer = Answerer { to_tag: to_tag.clone(), dst_ip: None };
                let record = Record::new(call_id, parties, *started_at);
                inner.end(record.failed(&answerer, *code, reason, *at), parties);
            }
            _ => {}
        }
    }

    /// The codec that the end with `tag` has agreed to.
    pub fn note_codec(&self, call_id: &str, tag: &str, codec: &str) {
        if let Some(inner) = &self.inner
            && inner.journal.is_open(call_id)
        {
            inner.lock_heard().entry(call_id.to_owned()).or_default().codec(tag, codec);
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
            && inner.journal.is_known(call_id)
        {
            inner.lock_heard().entry(call_id.to_owned()).or_default().report(report);
            inner.reported.send_replace(());
        }
    }

    /// Whether anything is recorded.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// Hands over what there is for as long as `limit`; the rest stays in the journal.
    pub async fn finish(&self, limit: Duration) {
        let Some(inner) = &self.inner else { return };
        drop(inner.lock_records().take());
        let mut tasks = std::mem::take(&mut *inner.lock_tasks());
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(records = inner.journal.pending(), "call records are left for the next start");
        }
    }
}

impl Inner {
    fn end(&self, record: Record, parties: &Parties) {
        self.journal.end(&record, &parties.from_tag);
        let queued = self.lock_records().as_ref().is_some_and(|queue| queue.try_send(record).is_ok());
        if !queued {
            self.postpone();
        }
    }

    /// Passes records on as they come; those of answered calls with what the relay has to say, if it says so in time.
    async fn collect(
        self: Arc<Self>,
        mut records: mpsc::Receiver<Record>,
        destinations: Vec<(Destination, mpsc::Sender<Record>)>,
    ) {
        let mut alive = tokio::time::interval(ALIVE);
        let (mut waiting, mut open) = (FuturesUnordered::new(), true);
        while open || !waiting.is_empty() {
            let mut record = tokio::select! {
                record = records.recv(), if open => match record {
                    Some(record) if self.is_to_wait(&record, waiting.len()) => {
                        waiting.push(self.reported(record));
                        continue;
                    }
                    Some(record) => record,
                    None => {
                        open = false;
                        continue;
                    }
                },
                Some(record) = waiting.next() => record,
                _ = alive.tick() => {
                    self.journal.still_alive();
                    let known = self.journal.known();
                    self.lock_heard().retain(|call_id, _| known.contains(call_id));
                    continue;
                }
            };
            if let Some(heard) = self.lock_heard().remove(&record.call_id) {
                record.fill(&heard);
            }
            self.journal.filled(&record);
            for (_, queue) in &destinations {
                self.hand_over(queue, &record);
            }
        }
    }

    fn is_to_wait(&self, record: &Record, waiting: usize) -> bool {
        record.answer.is_some() && waiting < REPORTS && self.reports.load(Ordering::Relaxed)
    }

    /// The same record, when the relay has said what it has to say, or too long has passed.
    async fn reported(&self, record: Record) -> Record {
        let mut reported = self.reported.subscribe();
        let there = async {
            while !self.lock_heard().get(&record.call_id).is_some_and(Heard::is_complete) {
                if reported.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(REPORT, there).await.is_err() {
            tracing::debug!(call_id = record.call_id, "no report of the relay");
        }
        record
    }

    fn hand_over(&self, queue: &mpsc::Sender<Record>, record: &Record) {
        if queue.try_send(record.clone()).is_err() {
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
    fn serve(
        self: &Arc<Self>,
        destination: Destination,
        deliver: Arc<dyn Deliver>,
    ) -> (Destination, mpsc::Sender<Record>) {
        let (queue, mut records) = mpsc::channel::<Record>(ROOM);
        let inner = Arc::clone(self);
        self.lock_tasks().spawn(async move {
            let mut some = Vec::new();
            while records.recv_many(&mut some, deliver.at_once()).await > 0 {
                let mut pause = RETRY;
                let mut told = false;
                while let Err(error) = deliver.deliver(&some).await {
                    if !std::mem::replace(&mut told, true) {
                        let error = format!("{error:#}");
                        tracing::error!(?destination, error, "call records wait for their destination");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                }
                if told {
                    tracing::warn!(?destination, "call records go on");
                }
                for record in some.drain(..) {
                    inner.journal.delivered(&record, destination);
                }
            }
        });
        (destination, queue)
    }

    fn lock_heard(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_records(&self) -> MutexGuard<'_, Option<mpsc::Sender<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
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
        records: &'a [Record],
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
        records: &'a [Record],
    ) -> futures_util::future::BoxFuture<'a, anyhow::Result<()>> {
        let write = || {
            use std::os::unix::fs::OpenOptionsExt as _;
            let mut text = String::new();
            for record in records {
                text.push_str(&serde_json::to_string(record)?);
                text.push('\n');
            }
            let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o640).open(&self.0)?;
            anyhow::Ok(file.write_all(text.as_bytes())?)
        };
        let written = write().with_context(|| format!("acc.cdr_file {}", self.0.display()));
        Box::pin(std::future::ready(written))
    }
}

#[cfg(test)]
mod tests;
