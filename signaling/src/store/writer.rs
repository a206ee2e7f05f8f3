//! Bindings on their way into the database. Whatever waits is written in one transaction: a hundred phones that register
//! together cost one, and a phone that registers twice meanwhile is written once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signaling_core::outside::{StoredBinding, Unavailable};
use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{DbMode, NATED, socket, unavailable};

/// Addresses of record written in one transaction.
const BATCH: usize = 1000;
/// How long changes are gathered in mode 2 before they are written, and how long a database that failed is left alone.
const GATHER: Duration = Duration::from_secs(1);

/// The queue, and the task that empties it.
#[derive(Debug)]
pub(super) struct Writer {
    mode: DbMode,
    waiting: Arc<Mutex<Waiting>>,
    /// Wakes the task; without it the task ends as soon as all is written.
    wake: Mutex<Option<mpsc::Sender<()>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The latest bindings of each address of record that has changed since it was written.
type Waiting = HashMap<String, Save>;

#[derive(Debug, Default)]
struct Save {
    bindings: Vec<Arc<StoredBinding>>,
    /// Who waits until they are durable.
    told: Vec<oneshot::Sender<Result<(), Unavailable>>>,
}

impl Writer {
    /// Must be called within a runtime.
    pub(super) fn start(pool: SqlitePool, mode: DbMode) -> Self {
        let waiting = Arc::new(Mutex::new(Waiting::new()));
        let (wake, woken) = mpsc::channel(1);
        let task = tokio::spawn(run(pool, mode, Arc::clone(&waiting), woken));
        Self { mode, waiting, wake: Mutex::new(Some(wake)), task: Mutex::new(Some(task)) }
    }

    /// Takes the bindings of `aor`. Mode 1 returns when they are durable, mode 2 at once.
    pub(super) async fn save(&self, aor: &str, bindings: &[Arc<StoredBinding>]) -> Result<(), Unavailable> {
        if self.mode == DbMode::Memory {
            return Ok(());
        }
        let Some(wake) = lock(&self.wake).clone() else {
            return Err(Unavailable("database: closed".into()));
        };
        let done = self.enter(aor, bindings);
        // A full channel holds a wake-up already.
        _ = wake.try_send(());
        if self.mode == DbMode::WriteBack {
            return Ok(());
        }
        done.await.unwrap_or_else(|_| Err(Unavailable("database: closed".into())))
    }

    /// Puts bindings in the place of those that wait. In mode 1 the end of the writing is told.
    fn enter(
        &self,
        aor: &str,
        bindings: &[Arc<StoredBinding>],
    ) -> oneshot::Receiver<Result<(), Unavailable>> {
        let (told, done) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        let save = waiting.entry(aor.to_owned()).or_default();
        save.bindings = bindings.to_vec();
        if self.mode == DbMode::WriteThrough {
            save.told.push(told);
        }
        done
    }

    /// Returns when everything that was taken is written.
    pub(super) async fn finish(&self) {
        drop(lock(&self.wake).take());
        let task = lock(&self.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "registrations not written");
        }
    }
}

async fn run(pool: SqlitePool, mode: DbMode, waiting: Arc<Mutex<Waiting>>, mut woken: mpsc::Receiver<()>) {
    loop {
        let last = woken.recv().await.is_none();
        if mode == DbMode::WriteBack && !last {
            // The end of the process is not waited for.
            let _ = tokio::time::timeout(GATHER, until_closed(&mut woken)).await;
        }
        while let Some(batch) = take(&waiting) {
            let Err(error) = write(&pool, &batch).await else {
                tell(batch, &Ok(()));
                continue;
            };
            let error = unavailable(&error);
            tracing::error!(%error, aors = batch.len(), "registrations not written");
            if mode == DbMode::WriteBack && !last {
                put_back(&waiting, batch);
                tokio::time::sleep(GATHER).await;
            } else {
                tell(batch, &Err(error));
            }
        }
        if last {
            return;
        }
    }
}

/// Swallows the wake-ups of those who come meanwhile.
async fn until_closed(woken: &mut mpsc::Receiver<()>) {
    while woken.recv().await.is_some() {}
}

fn take(waiting: &Mutex<Waiting>) -> Option<Vec<(String, Save)>> {
    let mut waiting = lock(waiting);
    let batch = if waiting.len() <= BATCH {
        std::mem::take(&mut *waiting).into_iter().collect()
    } else {
        let some: Vec<String> = waiting.keys().take(BATCH).cloned().collect();
        some.into_iter().filter_map(|aor| waiting.remove_entry(&aor)).collect::<Vec<_>>()
    };
    (!batch.is_empty()).then_some(batch)
}

/// For the next attempt, except what is out of date.
fn put_back(waiting: &Mutex<Waiting>, batch: Vec<(String, Save)>) {
    let mut waiting = lock(waiting);
    for (aor, save) in batch {
        waiting.entry(aor).or_insert(save);
    }
}

fn tell(batch: Vec<(String, Save)>, result: &Result<(), Unavailable>) {
    for told in batch.into_iter().flat_map(|(_, save)| save.told) {
        // Whoever has given up waiting needs no answer.
        let _ = told.send(result.clone());
    }
}

/// Replaces the rows of every address of record in `batch`. The rows travel as JSON, so that two statements, prepared once,
/// do for any number of them.
async fn write(pool: &SqlitePool, batch: &[(String, Save)]) -> Result<(), sqlx::Error> {
    let owners: Vec<(&str, &str)> = batch.iter().map(|(aor, _)| parts(aor)).collect();
    let rows =
        batch.iter().flat_map(|(aor, save)| save.bindings.iter().map(|binding| Row::new(aor, binding)));
    let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    let owners = serde_json::to_string(&owners).map_err(encode)?;
    let rows = serde_json::to_string(&rows.collect::<Vec<_>>()).map_err(encode)?;
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "DELETE FROM location WHERE id IN (
            SELECT location.id FROM json_each(?) AS owner JOIN location
            ON username = owner.value ->> 0 AND domain = owner.value ->> 1)",
    )
    .bind(owners)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT OR REPLACE INTO location (username, domain, ruid, contact, received, socket, path, expires, q,
            callid, cseq, user_agent, instance, reg_id, methods, cflags, last_modified)
         SELECT value ->> 'username', value ->> 'domain', value ->> 'ruid', value ->> 'contact', value ->> 'received',
            value ->> 'socket', value ->> 'path', datetime(value ->> 'expires', 'unixepoch'), value ->> 'q',
            value ->> 'callid', value ->> 'cseq', value ->> 'user_agent', value ->> 'instance', value ->> 'reg_id',
            value ->> 'methods', value ->> 'cflags', datetime(value ->> 'last_modified', 'unixepoch')
         FROM json_each(?)",
    )
    .bind(rows)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

fn parts(aor: &str) -> (&str, &str) {
    aor.rsplit_once('@').unwrap_or(("", aor))
}

/// A row of the table `location`, with the names of its columns; times are seconds since 1970.
#[derive(serde::Serialize)]
struct Row<'a> {
    username: &'a str,
    domain: &'a str,
    ruid: &'a str,
    contact: &'a str,
    received: String,
    socket: String,
    path: Option<&'a str>,
    expires: i64,
    q: f64,
    callid: &'a str,
    cseq: u32,
    user_agent: &'a str,
    instance: Option<&'a str>,
    reg_id: u32,
    methods: u32,
    cflags: i64,
    last_modified: i64,
}

impl<'a> Row<'a> {
    fn new(aor: &'a str, binding: &'a StoredBinding) -> Self {
        let (username, domain) = parts(aor);
        let filled = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        let seconds = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        Self {
            username,
            domain,
            ruid: &binding.ruid,
            contact: &binding.contact,
            received: binding.received_uri(),
            socket: socket(binding),
            path: filled(&binding.path),
            expires: seconds(binding.expires_at),
            q: f64::from(binding.q) / 1000.0,
            callid: &binding.call_id,
            cseq: binding.cseq,
            user_agent: &binding.user_agent,
            instance: filled(&binding.instance),
            reg_id: binding.reg_id,
            methods: binding.methods,
            cflags: if binding.is_nated() { NATED } else { 0 },
            last_modified: seconds(binding.last_modified),
        }
    }
}

/// Nothing that is done under the lock can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
