//! Ends of dialogs that are hidden from each other, as rows of Kamailio's table `topos_d`: the process that comes after this one
//! still leads them to each other.
//!
//! A row is an end: `a_uuid` the name that the other end knows it by, `a_contact` and `a_rr` what it stands for. Rows of Kamailio's
//! own have another `x_context` and are left alone. What waits is written in one transaction, the last word of each name, and while
//! the database does not answer it waits here. Several gateways may share the table: what one of them does not know it reads when it is
//! asked for, and what one forgets stays where another has kept it longer.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use signaling_core::topology::topos::HiddenEnd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::health::{Failure, Health, RETRY};
use super::sql::{Row, Sql, Statement, Value};

/// What says in `x_context` that a row is ours.
const CONTEXT: &str = "causeway";
/// Changes that may wait.
const ROOM: usize = 65_536;
/// Changes written in one transaction.
const BATCH: usize = 500;
/// Rows that are taken over from a process before this one.
const ROWS: i64 = 262_144;
/// Ends of one dialog: forks, and ends that have moved.
const ENDS: i64 = 128;
/// How long a transaction may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What keeps the table, once it was begun.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    inner: OnceLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    changes: mpsc::Sender<Change>,
    task: Mutex<Option<JoinHandle<()>>>,
    lost: std::sync::atomic::AtomicU64,
    /// How long a row is good, in seconds.
    time: u64,
}

#[derive(Debug)]
enum Change {
    Save(HiddenEnd),
    Forget(Vec<(String, u64)>),
    /// The gateway ends.
    Last,
}

impl Hidden {
    /// Keeps the table from now on, and returns what is in it. `time` is how long a row is good. Must be called within a runtime.
    pub(super) async fn begin(
        &self,
        sql: &Sql,
        time: Duration,
        unix_now: u64,
    ) -> anyhow::Result<Vec<HiddenEnd>> {
        let time = time.as_secs();
        let ends = load(sql, time, unix_now).await?;
        let (changes, receiver) = mpsc::channel(ROOM);
        let task = tokio::spawn(run(sql.clone(), time, receiver));
        let inner = Inner { changes, task: Mutex::new(Some(task)), lost: Default::default(), time };
        anyhow::ensure!(self.inner.set(inner).is_ok(), "topos_d is kept already");
        Ok(ends)
    }

    pub(super) fn save(&self, end: HiddenEnd) {
        self.enter(Change::Save(end));
    }

    pub(super) fn forget(&self, names: Vec<(String, u64)>) {
        self.enter(Change::Forget(names));
    }

    /// How long a row is good, in seconds, once the table is kept.
    pub(super) fn time(&self) -> Option<u64> {
        Some(self.inner.get()?.time)
    }

    fn enter(&self, change: Change) {
        let Some(inner) = self.inner.get() else { return };
        if inner.changes.try_send(change).is_err() {
            let lost = inner.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::error!(lost, "topos_d not written: calls may not find their ends after a restart");
            }
        }
    }

    /// Writes what there is.
    pub(super) async fn finish(&self) {
        let Some(inner) = self.inner.get() else { return };
        let task = inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        if inner.changes.send(Change::Last).await.is_ok()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "topos_d not written");
        }
    }
}

/// What is in the table and has not run out; the rest is removed.
async fn load(sql: &Sql, time: u64, unix_now: u64) -> anyhow::Result<Vec<HiddenEnd>> {
    let kind = sql.kind();
    let oldest = seconds(unix_now.saturating_sub(time));
    let gone = format!("DELETE FROM topos_d WHERE x_context = ? AND rectime < {}", kind.from_unix());
    sql.execute(Statement::new(gone, [CONTEXT.into(), oldest])).await?;
    let query = format!(
        "SELECT a_uuid, a_callid, a_tag, b_tag, a_contact, a_rr, {} FROM topos_d WHERE x_context = ?
         ORDER BY id DESC LIMIT ?",
        kind.to_unix("rectime")
    );
    let rows = sql.fetch(Statement::new(query, [CONTEXT.into(), Value::from(ROWS)])).await?;
    Ok(rows.iter().map(|row| read(row, time)).collect::<Result<_, _>>()?)
}

/// The ends of the dialog of which one has this name.
pub(super) async fn read_one(
    sql: &Sql,
    uuid: &str,
    time: u64,
    unix_now: u64,
) -> Result<Vec<HiddenEnd>, sqlx::Error> {
    let kind = sql.kind();
    let query = format!(
        "SELECT a_uuid, a_callid, a_tag, b_tag, a_contact, a_rr, {} FROM topos_d WHERE x_context = ?
         AND a_callid IN (SELECT a_callid FROM topos_d WHERE x_context = ? AND a_uuid = ?) AND rectime > {}
         ORDER BY id LIMIT ?",
        kind.to_unix("rectime"),
        kind.from_unix()
    );
    let oldest = seconds(unix_now.saturating_sub(time));
    let values = [CONTEXT.into(), CONTEXT.into(), uuid.into(), oldest, Value::from(ENDS)];
    let rows = sql.fetch(Statement::new(query, values)).await?;
    rows.iter().map(|row| read(row, time)).collect()
}

fn read(row: &Row, time: u64) -> Result<HiddenEnd, sqlx::Error> {
    Ok(HiddenEnd {
        uuid: row.text(0)?,
        call_id: row.text(1)?,
        tag: row.text(2)?,
        peer_tag: row.text(3)?,
        contact: row.text(4)?,
        routes: HiddenEnd::routes_of(&row.text(5)?),
        until: u64::try_from(row.int(6)?).unwrap_or_default() + time,
    })
}

/// What is to be written, by name.
type Waiting = BTreeMap<String, Word>;

/// The last word of a name.
#[derive(Debug, Clone)]
enum Word {
    Save(HiddenEnd),
    /// It was kept until then; whoever has kept it longer since needs it still.
    Forget(u64),
}

async fn run(sql: Sql, time: u64, mut changes: mpsc::Receiver<Change>) {
    let health = Health::new(sql.kind(), LIMIT, "the table topos_d is brought up to date later");
    let (mut some, mut last) = (Vec::new(), false);
    while !last {
        last = changes.recv_many(&mut some, BATCH).await == 0;
        let mut waiting = Waiting::new();
        for change in some.drain(..) {
            match change {
                Change::Save(end) => _ = waiting.insert(end.uuid.clone(), Word::Save(end)),
                Change::Forget(names) => {
                    for (uuid, until) in names {
                        let is_kept =
                            matches!(waiting.get(&uuid), Some(Word::Save(end)) if end.until > until);
                        if !is_kept {
                            waiting.insert(uuid, Word::Forget(until));
                        }
                    }
                }
                Change::Last => last = true,
            }
        }
        while !waiting.is_empty() {
            match write(&sql, &health, time, &waiting).await {
                Ok(()) => waiting.clear(),
                Err(Failure::Down(_)) if last => {
                    tracing::error!(
                        lost = waiting.len(),
                        "topos_d not written: the database does not answer"
                    );
                    waiting.clear();
                }
                Err(Failure::Down(_)) => tokio::time::sleep(RETRY).await,
                Err(Failure::Refused(error)) => drop_refused(&sql, &health, time, &mut waiting, &error).await,
            }
        }
    }
}

/// Writes one by one what the database does not want together, and gives up what it does not want at all.
async fn drop_refused(sql: &Sql, health: &Health, time: u64, waiting: &mut Waiting, error: &sqlx::Error) {
    let mut done = HashSet::new();
    for (uuid, word) in waiting.iter() {
        let one = BTreeMap::from([(uuid.clone(), word.clone())]);
        match write(sql, health, time, &one).await {
            Ok(()) => _ = done.insert(uuid.clone()),
            Err(Failure::Refused(_)) => {
                tracing::error!(%error, "a row of topos_d not written");
                done.insert(uuid.clone());
            }
            Err(Failure::Down(_)) => break,
        }
    }
    waiting.retain(|uuid, _| !done.contains(uuid));
}

async fn write(sql: &Sql, health: &Health, time: u64, waiting: &Waiting) -> Result<(), Failure> {
    let insert = format!(
        "INSERT INTO topos_d (x_context, a_uuid, a_callid, a_tag, b_tag, a_contact, a_rr, rectime)
         VALUES (?, ?, ?, ?, ?, ?, ?, {})",
        sql.kind().from_unix()
    );
    let mut statements = Vec::with_capacity(2 * waiting.len());
    for (uuid, word) in waiting {
        let delete = "DELETE FROM topos_d WHERE x_context = ? AND a_uuid = ?";
        let end = match word {
            Word::Forget(until) => {
                let delete = format!("{delete} AND rectime <= {}", sql.kind().from_unix());
                let values = [CONTEXT.into(), uuid.into(), seconds(until.saturating_sub(time))];
                statements.push(Statement::new(delete, values));
                continue;
            }
            Word::Save(end) => end,
        };
        statements.push(Statement::new(delete, [CONTEXT.into(), uuid.into()]));
        let values: [Value; 8] = [
            CONTEXT.into(),
            uuid.into(),
            (&end.call_id).into(),
            (&end.tag).into(),
            (&end.peer_tag).into(),
            (&end.contact).into(),
            end.route_text().into(),
            seconds(end.until.saturating_sub(time)),
        ];
        statements.push(Statement::new(insert.clone(), values));
    }
    health.answer(sql.transact(statements)).await.map(|_| ())
}

fn seconds(at: u64) -> Value {
    i64::try_from(at).unwrap_or(i64::MAX).into()
}

/// Shared by all clones of a database.
pub(super) type Shared = Arc<Hidden>;

#[cfg(test)]
mod tests {
    use super::*;
    use signaling_core::outside::Store as _;

    use crate::store::{Database, DbMode, unix_now};

    const TIME: Duration = Duration::from_secs(10_800);

    fn end(uuid: &str, until: u64) -> HiddenEnd {
        HiddenEnd {
            uuid: uuid.into(),
            call_id: "c@x".into(),
            tag: "a".into(),
            peer_tag: "b".into(),
            contact: "sip:alice@10.1.1.9;alias=203.0.113.9~41000~6".into(),
            routes: vec!["<sip:192.0.2.1;r2=on;lr;did=1>".into(), "\"x, y\" <sip:10.1.1.2;lr>".into()],
            until,
        }
    }

    #[tokio::test]
    async fn what_was_hidden_is_found_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let now = 1_800_000_000;
        let kept = [end("atpsh-1", now + 10_800), end("btpsh-2", now + 600)];
        {
            let database = Database::open(&path, DbMode::default()).await.unwrap();
            let foreign =
                "INSERT INTO topos_d (rectime, a_uuid, x_context) VALUES ('2000-01-01', 'atpsh-9', '')";
            database.sql().execute(Statement::new(foreign, [])).await.unwrap();
            assert!(database.keep_hidden(TIME, now).await.unwrap().is_empty());
            database.hidden.save(HiddenEnd { peer_tag: String::new(), ..kept[0].clone() });
            for end in kept.iter().chain([&end("btpsh-3", now + 900), &end("btpsh-4", now + 1)]) {
                database.hidden.save(end.clone());
            }
            let forgotten = [("btpsh-3", now + 900), ("btpsh-never", now), ("btpsh-2", now + 599)];
            database.hidden.forget(forgotten.map(|(uuid, until)| (uuid.to_owned(), until)).into());
            database.close().await;
        }
        let database = Database::open(&path, DbMode::default()).await.unwrap();
        let mut found = database.keep_hidden(TIME, now + 2).await.unwrap();
        found.sort_by(|one, other| one.uuid.cmp(&other.uuid));
        assert_eq!(found, kept);
        let rows = database.sql().fetch(Statement::new("SELECT a_uuid FROM topos_d ORDER BY id", [])).await;
        let names: Vec<_> = rows.unwrap().iter().map(|row| row.text(0).unwrap()).collect();
        assert!(
            names.contains(&"atpsh-9".to_owned()) && names.len() == 3,
            "Kamailio's row is not ours: {names:?}"
        );
    }

    /// Two gateways on one table: what one has written is found by the other, with all that belongs to it, and nothing else.
    #[tokio::test]
    async fn another_gateway_reads_what_it_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let now = unix_now();
        let one = Database::open(&path, DbMode::default()).await.unwrap();
        let other = Database::open(&path, DbMode::default()).await.unwrap();
        assert!(other.hidden("atpsh-1").await.unwrap().is_empty(), "it keeps none");
        for database in [&one, &other] {
            assert!(database.keep_hidden(TIME, now).await.unwrap().is_empty());
        }
        let elsewhere = HiddenEnd { call_id: "other@x".into(), ..end("atpsh-5", now + 10_800) };
        for end in [end("atpsh-1", now + 10_800), end("btpsh-2", now + 10_800), elsewhere] {
            one.hidden.save(end);
        }
        one.close().await;
        let mut found = other.hidden("btpsh-2").await.unwrap();
        found.sort_by(|one, other| one.uuid.cmp(&other.uuid));
        assert_eq!(found, [end("atpsh-1", now + 10_800), end("btpsh-2", now + 10_800)]);
        assert!(other.hidden("btpsh-' OR '1'='1").await.unwrap().is_empty());
        other.close().await;
    }
}
