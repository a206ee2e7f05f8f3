//! The calls that there are, as rows of Kamailio's table `dialog`, for those who ask the database for them. The calls themselves
//! are in memory, and end with the gateway: nothing is read from there, and what a gateway that was killed has left is removed at
//! the next start. What becomes of its records is for the journal of accounting.
//!
//! As Kamailio does, a call has its row from its answer to its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signaling_core::event::Event;
use signaling_core::flow::Protocol;
use signaling_core::proxy::control::{Dialog, DialogEnd};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::health::{Health, RETRY};
use super::schema::{Column, Table};
use super::sql::{Sql, Statement, Value};
use super::{tables, unix_now};
use crate::worker::Workers;

/// How long changes are gathered in mode 1.
const GATHER: Duration = Duration::from_millis(100);
/// How long a transaction may take.
const LIMIT: Duration = Duration::from_secs(10);

/// When rows are written (Kamailio's `db_mode` of `dialog`, by its numbers).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DialogMode {
    /// 0: never.
    #[default]
    Off,
    /// 1: at once.
    Realtime,
    /// 2: every `db_update_period`.
    Delayed,
}

/// What keeps the table; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Dialogs {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    changes: mpsc::UnboundedSender<Change>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A call by its Call-ID, its pass included, and the caller's tag.
type Key = (String, String);

#[derive(Debug)]
enum Change {
    Answered {
        worker: usize,
        key: Key,
    },
    Over(Key),
    /// The gateway ends.
    Last,
}

impl Dialogs {
    /// Empties the table and keeps it from now on, unless the mode is 0. `period` is how often all rows are brought up to date. Must
    /// be called within a runtime.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn start(
        mode: DialogMode,
        period: Duration,
        sql: &Sql,
        workers: &Arc<Workers>,
    ) -> anyhow::Result<Self> {
        if mode == DialogMode::Off {
            return Ok(Self::default());
        }
        sql.execute(Statement::new("DELETE FROM dialog", [])).await?;
        let (changes, receiver) = mpsc::unbounded_channel();
        let gather = if mode == DialogMode::Realtime { GATHER } else { period };
        let keeper = Keeper::new(sql.clone(), Arc::clone(workers), gather, period)?;
        let task = tokio::spawn(keeper.run(receiver));
        Ok(Self { inner: Some(Arc::new(Inner { changes, task: Mutex::new(Some(task)) })) })
    }

    /// Notes what has happened to a call of the worker with this number.
    pub(crate) fn note(&self, worker: usize, event: &Event) {
        let Some(inner) = &self.inner else { return };
        let change = match event {
            Event::CallAnswered { call_id, parties, .. } => {
                Change::Answered { worker, key: (call_id.clone(), parties.from_tag.clone()) }
            }
            Event::CallEnded(call) => Change::Over((call.call_id.clone(), call.parties.from_tag.clone())),
            _ => return,
        };
        // Only when the gateway has ended.
        let _ = inner.changes.send(change);
    }

    /// Writes what there is, for as long as `limit`.
    pub(crate) async fn finish(&self, limit: Duration) {
        let Some(inner) = &self.inner else { return };
        let _ = inner.changes.send(Change::Last);
        let task = inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && tokio::time::timeout(limit, task).await.is_err()
        {
            tracing::warn!(
                "table dialog has rows of calls that are over: they are removed at the next start"
            );
        }
    }
}

/// What is in the table, and what is not there yet.
struct Keeper {
    sql: Sql,
    workers: Arc<Workers>,
    health: Health,
    table: (&'static Table, Vec<&'static Column>),
    gather: Duration,
    period: Duration,
    /// Calls that were answered, with their workers.
    fresh: HashMap<Key, usize>,
    /// Rows of calls that are over.
    over: Vec<Place>,
    /// Rows that are there.
    written: HashMap<Key, Row>,
}

/// `hash_entry` and `hash_id`: the worker, and the call's number there.
type Place = (usize, u64);
type Row = (Place, Vec<Value>);

impl Keeper {
    fn new(sql: Sql, workers: Arc<Workers>, gather: Duration, period: Duration) -> anyhow::Result<Self> {
        let table = Table::named("dialog").ok_or_else(|| anyhow::anyhow!("dialog"))?;
        let health = Health::new(sql.kind(), LIMIT, "the table dialog is brought up to date later");
        let table = (table, table.columns.iter().collect());
        let (fresh, over, written) = (HashMap::new(), Vec::new(), HashMap::new());
        Ok(Self { sql, workers, health, table, gather, period, fresh, over, written })
    }

    async fn run(mut self, mut changes: mpsc::UnboundedReceiver<Change>) {
        let (mut some, mut last) = (Vec::new(), false);
        let (mut write_at, mut renew_at) = (None, Instant::now() + self.period);
        loop {
            let wake = write_at.unwrap_or(renew_at).min(renew_at);
            tokio::select! {
                count = changes.recv_many(&mut some, 1024) => last |= count == 0,
                () = tokio::time::sleep_until(wake) => {}
            }
            for change in some.drain(..) {
                last |= matches!(change, Change::Last);
                self.take(change);
            }
            let now = Instant::now();
            if self.is_settled() {
                write_at = None;
            } else if write_at.is_none() {
                write_at = Some(now + self.gather);
            }
            if last || write_at.is_some_and(|at| at <= now) {
                write_at = if self.write().await { None } else { Some(Instant::now() + RETRY) };
            }
            if last {
                return;
            }
            if renew_at <= now {
                renew_at = now + self.period;
                self.renew().await;
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.fresh.is_empty() && self.over.is_empty()
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Answered { worker, key } => _ = self.fresh.insert(key, worker),
            Change::Over(key) => {
                self.fresh.remove(&key);
                self.over.extend(self.written.remove(&key).map(|(place, _)| place));
            }
            Change::Last => {}
        }
    }

    /// Whether the database has answered.
    async fn write(&mut self) -> bool {
        let fresh = self.fresh.clone();
        let Some(rows) = self.rows(fresh.into_iter()).await else { return false };
        let mut statements = self.removals(&self.over);
        statements.extend(self.inserts(rows.values()));
        if !statements.is_empty() && self.health.ask(self.sql.transact(statements)).await.is_err() {
            return false;
        }
        self.over.clear();
        // One that is not there any more has ended, which is told behind this.
        self.fresh.clear();
        self.written.extend(rows);
        true
    }

    /// What has changed in calls that go on: where their ends are, and when they end by themselves.
    async fn renew(&mut self) {
        let all: Vec<_> = self.written.iter().map(|(key, (place, _))| (key.clone(), place.0)).collect();
        let Some(mut rows) = self.rows(all.into_iter()).await else { return };
        rows.retain(|key, row| self.written.get(key).is_some_and(|known| known != row));
        let places: Vec<Place> = rows.values().map(|(place, _)| *place).collect();
        let mut statements = self.removals(&places);
        statements.extend(self.inserts(rows.values()));
        if !statements.is_empty() && self.health.ask(self.sql.transact(statements)).await.is_ok() {
            self.written.extend(rows);
        }
    }

    fn removals(&self, places: &[Place]) -> Vec<Statement> {
        let remove = |(worker, serial): &Place| {
            let values = [number(*worker as u64), number(*serial)];
            Statement::new("DELETE FROM dialog WHERE hash_entry = ? AND hash_id = ?", values)
        };
        places.iter().map(remove).collect()
    }

    fn inserts<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Statement> {
        let rows = rows.map(|(_, row)| row.clone()).collect();
        tables::insert_all(&self.sql, self.table.0, &self.table.1, rows)
    }

    /// The rows of those calls that their workers still have; `None` when one does not answer.
    async fn rows(&self, calls: impl Iterator<Item = (Key, usize)>) -> Option<HashMap<Key, Row>> {
        let mut by_worker: HashMap<usize, Vec<Key>> = HashMap::new();
        for (key, worker) in calls {
            by_worker.entry(worker).or_default().push(key);
        }
        let mut rows = HashMap::new();
        for (worker, keys) in by_worker {
            let answer = self.workers.ask_one(worker, move |proxy, now| {
                let found = keys.into_iter().map(|key| (proxy.dialog(now, &key.0, &key.1), key));
                found.filter_map(|(dialog, key)| Some((key, dialog?))).collect::<Vec<_>>()
            });
            for (key, dialog) in answer.await? {
                let values =
                    self.table.1.iter().map(|column| column.fitting(cell(column.name, worker, &dialog)));
                rows.insert(key, ((worker, dialog.serial), values.collect()));
            }
        }
        Some(rows)
    }
}

fn number(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// A column of `dialog`.
fn cell(name: &str, worker: usize, call: &Dialog) -> Value {
    let callee = call.callee.as_ref();
    let of_callee = |part: fn(&DialogEnd) -> &str| callee.map_or("", part).into();
    let routes =
        |end: &DialogEnd| Value::Text(Some(end.route_set.clone()).filter(|routes| !routes.is_empty()));
    match name {
        "hash_entry" => number(worker as u64),
        "hash_id" => number(call.serial),
        "callid" => (&call.call_id).into(),
        "from_uri" => (&call.from_uri).into(),
        "from_tag" => (&call.caller.tag).into(),
        "to_uri" => (&call.to_uri).into(),
        "to_tag" => of_callee(|end| &end.tag),
        "caller_cseq" => call.caller.cseq.to_string().into(),
        "callee_cseq" => callee.map_or(0, |end| end.cseq).to_string().into(),
        "caller_route_set" => routes(&call.caller),
        "callee_route_set" => callee.map_or(Value::Text(None), routes),
        "caller_contact" => (&call.caller.contact).into(),
        "callee_contact" => of_callee(|end| &end.contact),
        "caller_sock" => socket(&call.caller).into(),
        "callee_sock" => callee.map(socket).unwrap_or_default().into(),
        "state" => i64::from(call.state as u8).into(),
        "start_time" => number(call.answered_at),
        "timeout" => number(unix_now() + call.left.as_secs()),
        "req_uri" => format!("sip:{}", call.to).into(),
        "toroute_name" | "xdata" => Value::Text(None),
        // `sflags` and `iflags`: bits of Kamailio's own.
        _ => 0i64.into(),
    }
}

/// As Kamailio names a socket: a WebSocket is a connection of TCP or TLS.
fn socket(end: &DialogEnd) -> String {
    let (protocol, address) = end.socket;
    let name = match protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp | Protocol::Ws => "tcp",
        Protocol::Tls | Protocol::Wss => "tls",
    };
    format!("{name}:{address}")
}
