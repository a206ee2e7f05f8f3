//! Bindings on their way into the database. Whatever waits is written in one transaction: a hundred phones that register
//! together cost one, and a phone that registers twice meanwhile is written once.
//!
//! While the database does not answer, what changes waits here, the last word of each address of record, and is written when it
//! answers again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signaling_core::outside::{StoredBinding, Unavailable};
use signaling_core::shards::Shards;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::health::{Failure, Health, RETRY};
use super::sql::{Kind, Sql};
use super::{DbMode, location};
use crate::moment::Moment;

/// Addresses of record written in one transaction: what comes within a second fits, so that each page of the file that this
/// touches is written once.
const BATCH: usize = 4000;
/// Addresses of record that may wait; the bindings themselves are those of the table in memory.
const ROOM: usize = 500_000;
/// For so many of those that wait a part keeps room.
const IDLE: usize = 64;
/// How long changes are gathered in mode 2 before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// How long a phone waits in mode 1 until its registration goes on without the database. The tests of what is written wait for
/// the writing, however busy the machine is.
const WAIT: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 3 });
/// How long a transaction may take.
const LIMIT: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 10 });

/// The queue, and the task that empties it.
#[derive(Debug)]
pub(super) struct Writer {
    mode: DbMode,
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    sql: Sql,
    mode: DbMode,
    health: Health,
    waiting: Shards<Waiting>,
    /// How many have begun to wait.
    turns: AtomicU64,
    /// Addresses of record that are being written.
    writing: AtomicUsize,
    /// Wakes the task.
    wake: Notify,
    /// Nothing more is taken, and the task ends as soon as all is written.
    closed: AtomicBool,
    /// Tells of that whoever pauses.
    closing: Notify,
    /// Changes that were not written and never will be.
    lost: AtomicU64,
    /// Since when there has always been something to write.
    behind: Moment,
}

/// The latest bindings of each address of record that has changed since it was written.
type Waiting = HashMap<String, Save>;

#[derive(Debug, Default)]
struct Save {
    bindings: Vec<Arc<StoredBinding>>,
    extent: Extent,
    /// Its place among those that wait.
    turn: u64,
    /// Who waits until they are durable.
    told: Vec<oneshot::Sender<Result<(), Unavailable>>>,
}

/// How much of the rows of an address of record has changed since they were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// When they end, and the request that says so.
    #[default]
    Renewal,
    /// Anything.
    Whole,
}

/// Hears that what was saved is durable.
type Done = oneshot::Receiver<Result<(), Unavailable>>;

impl Writer {
    /// Must be called within a runtime.
    pub(super) fn start(sql: Sql, mode: DbMode) -> Self {
        let health = Health::new(sql.kind(), LIMIT, "registrations are kept in memory and written later");
        let shared = Arc::new(Shared {
            sql,
            mode,
            health,
            waiting: Shards::default(),
            turns: AtomicU64::new(0),
            writing: AtomicUsize::new(0),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            lost: AtomicU64::new(0),
            behind: Moment::default(),
        });
        let task = tokio::spawn(run(Arc::clone(&shared)));
        Self { mode, shared, task: Mutex::new(Some(task)) }
    }

    /// Takes the bindings of `aor`. Mode 1 returns when they are durable, or the database does not answer; mode 2 at once.
    pub(super) async fn save(
        &self,
        aor: &str,
        bindings: &[Arc<StoredBinding>],
        extent: Extent,
    ) -> Result<(), Unavailable> {
        if self.mode == DbMode::Memory {
            return Ok(());
        }
        let done = self.enter(aor, bindings, extent)?;
        self.shared.wake.notify_one();
        let Some(done) = done.filter(|_| !self.shared.health.is_down()) else { return Ok(()) };
        match tokio::time::timeout(WAIT, done).await {
            Ok(written) => written.unwrap_or_else(|_| Err(Unavailable("database: closed".into()))),
            Err(_) => {
                self.shared.health.failed(&format!("no answer within {} s", WAIT.as_secs()));
                Ok(())
            }
        }
    }

    /// Puts bindings in the place of those that wait. Where the phone waits, the end of the writing is told.
    fn enter(
        &self,
        aor: &str,
        bindings: &[Arc<StoredBinding>],
        extent: Extent,
    ) -> Result<Option<Done>, Unavailable> {
        let mut waiting = self.shared.waiting.of(aor);
        // Under the lock: the task that ends looks into every part once more.
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Unavailable("database: closed".into()));
        }
        if waiting.len() >= ROOM / Shards::<Waiting>::COUNT && !waiting.contains_key(aor) {
            self.shared.lose(1, &"too many wait");
            return Ok(None);
        }
        let turn = || self.shared.turns.fetch_add(1, Ordering::Relaxed);
        let save = waiting.entry(aor.to_owned()).or_insert_with(|| Save { turn: turn(), ..Save::default() });
        save.bindings = bindings.to_vec();
        save.extent = save.extent.max(extent);
        Ok((self.mode != DbMode::WriteBack).then(|| {
            let (told, done) = oneshot::channel();
            save.told.push(told);
            done
        }))
    }

    /// Whether all that was taken is written.
    pub(super) fn is_settled(&self) -> bool {
        // On both sides of the other: what is taken meanwhile is seen there, and what could not be written is here again.
        self.shared.count() == 0
            && self.shared.writing.load(Ordering::Acquire) == 0
            && self.shared.count() == 0
    }

    /// Whether the bindings of `aor` wait.
    pub(super) fn waits(&self, aor: &str) -> bool {
        self.shared.waiting.of(aor).contains_key(aor)
    }

    /// Whether the database does not answer.
    pub(super) fn is_down(&self) -> bool {
        self.shared.health.is_down()
    }

    /// Changes that wait, attempts that failed, and changes that will never be written.
    pub(super) fn counts(&self) -> (usize, u64, u64) {
        let shared = &self.shared;
        (shared.count(), shared.health.failures(), shared.lost.load(Ordering::Relaxed))
    }

    /// How long there has been something to write without a pause.
    pub(super) fn behind(&self) -> Duration {
        self.shared.behind.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Returns when everything that was taken is written, or cannot be.
    pub(super) async fn finish(&self) {
        self.shared.close();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "registrations not written");
        }
    }
}

async fn run(shared: Arc<Shared>) {
    let mut first = 0;
    loop {
        shared.wake.notified().await;
        shared.behind.swap(Some(Instant::now()));
        if shared.mode == DbMode::WriteBack {
            shared.pause(GATHER).await;
        }
        // What is entered after this is not, when it is so.
        let mut last = shared.is_closed();
        while let Some(batch) = shared.take(&mut first) {
            let written = shared.write(batch).await;
            shared.writing.store(0, Ordering::Release);
            if written {
                continue;
            }
            if last {
                let left = shared.count();
                return shared.lose(left, &"the gateway ends and the database does not answer");
            }
            // Who closes while the database is gone does not wait for it.
            shared.pause(RETRY).await;
            last = shared.is_closed();
        }
        shared.behind.swap(None);
        if last {
            return;
        }
    }
}

impl Shared {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_one();
        self.wake.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns after `time`, or when it is closed.
    async fn pause(&self, time: Duration) {
        if !self.is_closed() {
            // Which of the two it was is asked by whoever wants to know.
            let _ = tokio::time::timeout(time, self.closing.notified()).await;
        }
    }

    /// Addresses of record that wait.
    fn count(&self) -> usize {
        self.waiting.each().map(|part| part.len()).sum()
    }

    /// The next to be written. The parts have turns, beginning at `first`, so that none waits for ever.
    fn take(&self, first: &mut u64) -> Option<Vec<(String, Save)>> {
        let mut batch = Vec::new();
        for _ in 0..Shards::<Waiting>::COUNT {
            let (mut part, room) = (self.waiting.at(*first), BATCH - batch.len());
            let before = batch.len();
            if part.len() <= room {
                batch.extend(part.drain());
                // The room of a time without a database is given back.
                part.shrink_to(IDLE);
                *first += 1;
            } else {
                let some: Vec<String> = part.keys().take(room).cloned().collect();
                batch.extend(some.into_iter().filter_map(|aor| part.remove_entry(&aor)));
            }
            // Under the lock: whoever looks finds each of them here or there.
            self.writing.fetch_add(batch.len() - before, Ordering::Release);
            if batch.len() == BATCH {
                break;
            }
        }
        // Who comes one after the other does so again and again, and has rows that stand together.
        batch.sort_unstable_by_key(|(_, save)| save.turn);
        (!batch.is_empty()).then_some(batch)
    }

    /// Writes `batch`, or puts it back. Whether the database has answered. What it does not want is told to whoever waits, and
    /// does not keep the others of its batch.
    async fn write(&self, batch: Vec<(String, Save)>) -> bool {
        match self.attempt(&batch).await {
            Ok(()) => tell(batch, &Ok(())),
            Err(Failure::Down(_)) => {
                self.put_back(batch);
                return false;
            }
            Err(Failure::Refused(error)) if batch.len() == 1 => {
                self.lose(1, &error);
                tell(batch, &Err(Failure::Refused(error).unavailable()));
            }
            // It is in one of the halves.
            Err(Failure::Refused(_)) => {
                let mut first = batch;
                let second = first.split_off(first.len() / 2);
                if !Box::pin(self.write(first)).await {
                    self.put_back(second);
                    return false;
                }
                return Box::pin(self.write(second)).await;
            }
        }
        true
    }

    async fn attempt(&self, batch: &[(String, Save)]) -> Result<(), Failure> {
        let kind = self.sql.kind();
        let (renewed, whole): (Vec<_>, Vec<_>) = batch.iter().partition(|(_, save)| self.is_renewal(save));
        let rows = |some: &[&(String, Save)]| {
            location::statements(kind, some.iter().map(|(aor, save)| (&**aor, &*save.bindings)))
        };
        let bindings: Vec<_> = renewed.iter().flat_map(|(_, save)| &save.bindings).collect();
        let mut statements = location::renewals(kind, &bindings);
        let renewals = statements.len();
        statements.extend(rows(&whole));
        let changed = self.health.answer(self.sql.transact(statements)).await?;
        let there: u64 = changed.iter().take(renewals).sum();
        if there < bindings.len() as u64 {
            // Somebody else has taken rows away.
            self.health.answer(self.sql.transact(rows(&renewed))).await?;
        }
        Ok(())
    }

    /// Whether it is enough to renew the rows of `save`, as they were written. Only the embedded database is spared the rest, whose
    /// work is this process's; and where others write too, or something was never written, rows may say something else than is
    /// known here.
    fn is_renewal(&self, save: &Save) -> bool {
        save.extent == Extent::Renewal
            && self.sql.kind() == Kind::Sqlite
            && self.mode != DbMode::DatabaseOnly
            && self.lost.load(Ordering::Relaxed) == 0
    }

    /// For the next attempt, except what is out of date. Nobody waits any longer: the registration goes on from memory.
    fn put_back(&self, batch: Vec<(String, Save)>) {
        for (aor, mut save) in batch {
            let (told, extent) = (std::mem::take(&mut save.told), save.extent);
            let mut waiting = self.waiting.of(&*aor);
            let newest = waiting.entry(aor).or_insert(save);
            newest.extent = newest.extent.max(extent);
            drop(waiting);
            for told in told {
                // Whoever has given up waiting needs no answer.
                let _ = told.send(Ok(()));
            }
        }
    }

    fn lose(&self, count: usize, error: &dyn std::fmt::Display) {
        let before = self.lost.fetch_add(count as u64, Ordering::Relaxed);
        if count > 1 || before == 0 || before.is_power_of_two() {
            tracing::error!(%error, lost = before + count as u64, "registrations not written");
        }
    }
}

fn tell(batch: Vec<(String, Save)>, result: &Result<(), Unavailable>) {
    for told in batch.into_iter().flat_map(|(_, save)| save.told) {
        // Whoever has given up waiting needs no answer.
        let _ = told.send(result.clone());
    }
}

#[cfg(test)]
mod tests {
    use signaling_core::flow::Protocol;
    use signaling_core::outside::{BindingRow, SharedText};
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::*;
    use crate::store::Database;
    use crate::store::sql::Statement;

    fn binding(ruid: &str) -> Arc<StoredBinding> {
        Arc::new(StoredBinding::from(BindingRow {
            ruid,
            // A hundred of these do not fit into pages that are there.
            contact: &format!("sip:{}@192.0.2.7:5060", "x".repeat(400)),
            received: "192.0.2.7:5060".parse().unwrap(),
            protocol: Protocol::Udp,
            local: None,
            path: "",
            expires_at: 2000,
            last_modified: 500,
            q: 1000,
            call_id: "c",
            cseq: 1,
            user_agent: &SharedText::new("Phone".into()),
            instance: "",
            reg_id: 0,
            methods: u32::MAX,
        }))
    }

    /// A disk that is full, one that must not be written, another program that does not let go: phones go on, nothing is lost,
    /// and what could not be written is written when it can be.
    #[tokio::test]
    async fn what_cannot_be_written_now_is_written_later() {
        let execute = async |sql: &Sql, text: &'static str| {
            sql.execute(Statement::new(text, [])).await.unwrap();
        };
        for (shut, open, elsewhere) in [
            ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", false),
            ("PRAGMA query_only = 1", "PRAGMA query_only = 0", false),
            ("BEGIN IMMEDIATE", "ROLLBACK", true),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("x.sqlite");
            Database::open(&path, DbMode::default()).await.unwrap().close().await;
            let connect = async || {
                let options =
                    SqliteConnectOptions::new().filename(&path).busy_timeout(Duration::from_millis(10));
                Sql::Sqlite(SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap())
            };
            let (sql, other) = (connect().await, connect().await);
            let shutting = if elsewhere { &other } else { &sql };
            execute(shutting, shut).await;
            let writer = Writer::start(sql.clone(), DbMode::WriteThrough);
            let names: Vec<String> = (0..100).map(|number| format!("u{number}@example.com")).collect();
            let lists: Vec<_> = names.iter().map(|name| [binding(name)]).collect();
            let saves = names.iter().zip(&lists).map(|(name, list)| writer.save(name, list, Extent::Whole));
            for saved in futures_util::future::join_all(saves).await {
                saved.unwrap();
            }
            let (waiting, failures, lost) = writer.counts();
            assert!(waiting == 100 && failures > 0 && lost == 0, "{shut}: {waiting} {failures} {lost}");
            assert!(writer.behind() > Duration::ZERO, "{shut}");
            execute(shutting, open).await;
            let written = async {
                while writer.counts().0 > 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), written).await.unwrap();
            writer.finish().await;
            assert_eq!(writer.counts().2, 0, "{shut}");
            let rows = location::read_all(&sql, 0, "example.com").await.unwrap();
            assert_eq!(rows.len(), 100, "{shut}");
        }
    }
}
