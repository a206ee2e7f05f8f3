//! Users of whom there is no account: they sign in with tokens, or with credentials that are good for a while, and are known by
//! having done so. Whoever calls one who is away is to hear that, and not that there is nobody of this name.
//!
//! All are in memory, and in a table of ours (`causeway_users`), which the gateways of one database share: each looks from time to
//! time who has come to the others. While the database does not answer, they wait here.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use signaling_core::shards::Shards;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::health::{Failure, Health, RETRY};
use super::sql::{Kind, Sql, Statement, Value};

/// More than about this many are not remembered: they are then unknown while they are away.
const ROOM: usize = 500_000;
/// Names that may wait to be written.
const WAITING: usize = 65_536;
/// Names written, or read, at a time.
const BATCH: usize = 500;
/// Between two looks at what other gateways have written.
const LOOK: Duration = Duration::from_secs(2);
/// Rows that are read once more: one with a lower number may have been written later.
const OVERLAP: i64 = 100;
/// How long a transaction may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Longer names and domains have no place in the table.
const LONGEST: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct KnownUsers {
    names: Shards<HashSet<Box<str>>>,
    keeper: OnceLock<Keeper>,
}

/// What keeps the table.
#[derive(Debug)]
struct Keeper {
    /// Who has come; `None` when the gateway ends.
    names: mpsc::Sender<Option<Box<str>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// That it ends: nobody waits then for what others have written.
    ending: Arc<Notify>,
    lost: std::sync::atomic::AtomicU64,
}

impl KnownUsers {
    /// Reads the table, and keeps it from now on. Users that are in `file` alone, a line for each, where earlier versions had them,
    /// are taken over. Must be called within a runtime.
    ///
    /// # Errors
    /// The database does not answer, or the file cannot be read.
    pub(super) async fn begin(self: &Arc<Self>, sql: &Sql, file: &Path) -> anyhow::Result<()> {
        let rows = "SELECT id, username, domain FROM causeway_users ORDER BY id DESC LIMIT ?";
        let room = i64::try_from(ROOM).unwrap_or(i64::MAX);
        let mut last = 0;
        for row in sql.fetch(Statement::new(rows, [Value::from(room)])).await? {
            last = last.max(row.int(0)?);
            self.remember(&format!("{}@{}", row.text(1)?, row.text(2)?));
        }
        self.take_over(sql, file).await.with_context(|| file.display().to_string())?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let ending = Arc::<Notify>::default();
        let task = tokio::spawn(Task::new(sql, Arc::clone(self), last).run(receiver, Arc::clone(&ending)));
        let keeper = Keeper { names: sender, task: Mutex::new(Some(task)), ending, lost: Default::default() };
        anyhow::ensure!(self.keeper.set(keeper).is_ok(), "causeway_users is kept already");
        Ok(())
    }

    async fn take_over(&self, sql: &Sql, file: &Path) -> anyhow::Result<()> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let fresh: Vec<&str> = text.lines().take(ROOM).filter(|name| self.remember(name)).collect();
        for names in fresh.chunks(BATCH) {
            sql.transact(names.iter().filter_map(|name| insert(name)).collect()).await?;
        }
        Ok(std::fs::remove_file(file)?)
    }

    /// Whether `aor` was noted.
    pub(super) fn has(&self, aor: &str) -> bool {
        self.names.of(aor).contains(aor)
    }

    /// Notes it.
    pub(super) fn note(&self, aor: &str) {
        let Some(keeper) = self.keeper.get().filter(|_| self.remember(aor)) else { return };
        if keeper.names.try_send(Some(aor.into())).is_err() {
            let lost = keeper.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::error!(lost, "causeway_users not written: users are known to this process alone");
            }
        }
    }

    /// Whether it was not known, and is from now on.
    fn remember(&self, aor: &str) -> bool {
        let mut names = self.names.of(aor);
        if names.contains(aor) || names.len() >= ROOM / Shards::<()>::COUNT {
            return false;
        }
        names.insert(aor.into())
    }

    /// Writes what there is.
    pub(super) async fn finish(&self) {
        let Some(keeper) = self.keeper.get() else { return };
        let task = keeper.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        keeper.ending.notify_one();
        if keeper.names.send(None).await.is_ok()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "causeway_users not written");
        }
    }
}

/// A row for a user, unless there is one. Two gateways may write one each, which does no harm.
fn insert(aor: &str) -> Option<Statement> {
    let (user, domain) = aor.rsplit_once('@')?;
    let fits = |part: &str| part.chars().count() <= LONGEST && !part.contains('\0');
    let values: [Value; 4] = [user.into(), domain.into(), user.into(), domain.into()];
    let statement = "INSERT INTO causeway_users (username, domain) SELECT ?, ? WHERE NOT EXISTS
        (SELECT 1 FROM causeway_users AS known WHERE known.username = ? AND known.domain = ?)";
    (fits(user) && fits(domain)).then(|| Statement::new(statement, values))
}

/// What writes and reads while the gateway runs.
struct Task {
    sql: Sql,
    health: Health,
    users: Arc<KnownUsers>,
    /// The highest number of a row read.
    last: i64,
    waiting: Vec<Box<str>>,
}

impl Task {
    fn new(sql: &Sql, users: Arc<KnownUsers>, last: i64) -> Self {
        let health = Health::new(sql.kind(), LIMIT, "the table causeway_users is brought up to date later");
        Self { sql: sql.clone(), health, users, last, waiting: Vec::new() }
    }

    async fn run(mut self, mut names: mpsc::Receiver<Option<Box<str>>>, ending: Arc<Notify>) {
        // An embedded file is one gateway's.
        let shared = self.sql.kind() != Kind::Sqlite;
        let (mut some, mut ends) = (Vec::new(), false);
        while !ends {
            let pause = if self.waiting.is_empty() { LOOK } else { RETRY };
            tokio::select! {
                // What comes while the database does not answer waits in the channel, which has an end.
                count = names.recv_many(&mut some, BATCH), if self.waiting.is_empty() => ends = count == 0,
                () = tokio::time::sleep(pause), if shared || !self.waiting.is_empty() => {}
            }
            ends |= some.contains(&None);
            self.waiting.extend(some.drain(..).flatten());
            let written = self.write().await;
            if !written && ends {
                tracing::error!(
                    lost = self.waiting.len(),
                    "causeway_users not written: the database does not answer"
                );
            }
            if shared && written && !ends {
                tokio::select! {
                    () = self.look() => {}
                    () = ending.notified() => {}
                }
            }
        }
    }

    /// Writes those who wait; `false` when the database does not answer.
    async fn write(&mut self) -> bool {
        let statements: Vec<_> = self.waiting.iter().filter_map(|name| insert(name)).collect();
        if !statements.is_empty() {
            match self.health.answer(self.sql.transact(statements)).await {
                Ok(_) => {}
                Err(Failure::Down(_)) => return false,
                Err(Failure::Refused(error)) => {
                    tracing::error!(%error, rows = self.waiting.len(), "rows of causeway_users not written");
                }
            }
        }
        self.waiting.clear();
        true
    }

    /// Remembers who has come to other gateways.
    async fn look(&mut self) {
        let rows = "SELECT id, username, domain FROM causeway_users WHERE id > ? ORDER BY id LIMIT ?";
        let batch = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let values = [Value::from(self.last.saturating_sub(OVERLAP)), Value::from(batch)];
        // What does not answer now is asked again.
        let Ok(rows) = self.health.answer(self.sql.fetch(Statement::new(rows, values))).await else { return };
        for row in rows {
            if let (Ok(id), Ok(user), Ok(domain)) = (row.int(0), row.text(1), row.text(2)) {
                self.last = self.last.max(id);
                self.users.remember(&format!("{user}@{domain}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{Database, DbMode};
    use signaling_core::outside::Store as _;

    #[tokio::test]
    async fn whoever_was_here_once_is_known_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = (directory.path().join("x.sqlite"), directory.path().join("x.users"));
        std::fs::write(&file, "erna@example.com\nalice@example.com\n").unwrap();
        let long = format!("{}@example.com", "x".repeat(300));
        {
            let database = Database::open(&path, DbMode::default()).await.unwrap();
            assert!(!database.is_known_user("erna@example.com"), "a command needs none of them");
            database.keep_known_users().await.unwrap();
            for _ in 0..2 {
                database.note_user("alice@example.com");
                database.note_user("bob@example.com");
                database.note_user(&long);
            }
            assert!(database.keep_known_users().await.is_err(), "once is enough");
            database.close().await;
        }
        assert!(!file.exists(), "the table has them");
        let database = Database::open(&path, DbMode::default()).await.unwrap();
        database.keep_known_users().await.unwrap();
        for (user, known) in [
            ("alice@example.com", true),
            ("bob@example.com", true),
            ("erna@example.com", true),
            ("carol@example.com", false),
            (&long, false),
        ] {
            assert_eq!(database.is_known_user(user), known, "{user}");
        }
        let count = crate::store::sql::Statement::new("SELECT COUNT(*) FROM causeway_users", []);
        assert_eq!(database.sql().fetch(count).await.unwrap()[0].int(0).unwrap(), 3, "each of them once");
    }
}
