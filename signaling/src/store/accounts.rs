//! Accounts in memory, so that a REGISTER need not wait for the database, and yet a password that was changed counts at once.
//!
//! Three things tell of a change. This process forgets what it changes itself. The `user` commands, which are processes of
//! their own, make the file of [`Changes`] longer, whose length is looked at before every use. Any other program that writes
//! to the table of an embedded file is seen through the counter that its triggers keep, read every second; in the database of a
//! server, where there is none, an account counts for [`FRESH`] and is then read again.
//!
//! What may have changed is not forgotten: while the database does not answer, it is what there is.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use signaling_core::outside::{Account, Unavailable};

use super::health::Health;
use super::sql::{Row, Sql, Statement};

/// Accounts kept, some 200 bytes each. Any further one is read from the database each time.
const CAPACITY: usize = 200_000;
/// How often the counter in the database is read, while accounts are asked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long an account of a server's database counts as it was read.
const FRESH: Duration = Duration::from_secs(5);
/// How long a request waits for the database.
const LIMIT: Duration = Duration::from_secs(2);

/// All accounts, or as many as there is room for, as they were at the last change.
#[derive(Debug)]
pub(super) struct Accounts {
    changes: Changes,
    /// Whether the table has our columns for hashes other than MD5.
    pub(super) has_hashes: bool,
    /// Whether changes are counted in the database.
    has_counter: bool,
    health: Health,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Counts the changes that were noticed.
    generation: u64,
    /// What [`Changes`] and the counter said last.
    file: u64,
    counter: i64,
    /// When the counter was read last.
    looked: Option<Instant>,
    accounts: HashMap<(String, String), Kept>,
}

#[derive(Debug)]
struct Kept {
    account: Account,
    /// [`Known::generation`] before it was read.
    generation: u64,
    read: Instant,
}

impl Accounts {
    /// For the accounts of `sql`. `changes` is the file of [`Changes`].
    pub(super) async fn new(sql: &Sql, changes: PathBuf) -> Result<Self, sqlx::Error> {
        let columns = sql.columns("subscriber").await?;
        let has = |name| columns.iter().any(|column| column == name);
        Ok(Self {
            changes: Changes(changes),
            has_hashes: has("ha1_sha256") && has("ha1_sha512_256"),
            has_counter: !sql.columns("subscriber_changes").await?.is_empty(),
            health: Health::new(sql.kind(), LIMIT, "accounts count as they were read last"),
            known: Mutex::default(),
        })
    }

    /// The account of `username` in `domain`, from memory or from the database. One that does not exist is not remembered,
    /// for anybody can make up names.
    pub(super) async fn get(
        &self,
        sql: &Sql,
        username: &str,
        domain: &str,
    ) -> Result<Option<Account>, Unavailable> {
        self.look(sql).await;
        let (kept, generation) = self.find(username, domain);
        let kept = match kept {
            Some((account, true)) => return Ok(Some(account)),
            kept => kept.map(|(account, _)| account),
        };
        match self.health.ask(sql.fetch(self.one(username, domain))).await {
            Ok(rows) => {
                let account = rows.first().map(|row| self.account(row)).transpose();
                let account = account.map_err(|error| Unavailable(format!("database: {error}")))?;
                self.lock().put(generation, username, domain, account.as_ref());
                Ok(account)
            }
            Err(error) => kept.map(Some).ok_or(error),
        }
    }

    /// Reads all accounts, at start.
    pub(super) async fn load(&self, sql: &Sql) -> Result<(), sqlx::Error> {
        let file = self.changes.length();
        let counter = if self.has_counter { counter(sql).await? } else { 0 };
        let query = Statement::new(format!("{} LIMIT {CAPACITY}", self.select()), []);
        let (rows, read) = (sql.fetch(query).await?, Instant::now());
        let mut known = self.lock();
        known.generation += 1;
        let generation = known.generation;
        let kept = |account: Account| {
            let key = (account.username.clone(), account.domain.clone());
            (key, Kept { account, generation, read })
        };
        let accounts = rows.iter().map(|row| self.account(row).map(kept)).collect::<Result<_, _>>()?;
        (known.file, known.counter, known.accounts) = (file, counter, accounts);
        Ok(())
    }

    /// Tells everybody who uses this database that an account has changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn changed(&self) -> std::io::Result<()> {
        let written = self.changes.lengthen();
        self.lock().generation += 1;
        written
    }

    /// Questions without an answer so far.
    pub(super) fn failures(&self) -> u64 {
        self.health.failures()
    }

    /// Reads the counter when it is time to.
    async fn look(&self, sql: &Sql) {
        if !self.has_counter || !self.is_to_look() {
            return;
        }
        // A failure was told, and what is known goes on counting.
        let Ok(counter) = self.health.ask(counter(sql)).await else { return };
        let mut known = self.lock();
        if known.counter != counter {
            known.counter = counter;
            known.generation += 1;
        }
    }

    /// True for one caller at a time.
    fn is_to_look(&self) -> bool {
        let now = Instant::now();
        let mut known = self.lock();
        let due = known.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK);
        if due {
            known.looked = Some(now);
        }
        due
    }

    /// The account as it is known, with whether it is certain, and the generation.
    fn find(&self, username: &str, domain: &str) -> (Option<(Account, bool)>, u64) {
        let file = self.changes.length();
        let mut known = self.lock();
        if known.file != file {
            known.file = file;
            known.generation += 1;
        }
        let generation = known.generation;
        let kept = known.accounts.get(&(username.to_owned(), domain.to_owned()));
        let certain =
            |kept: &Kept| kept.generation == generation && (self.has_counter || kept.read.elapsed() < FRESH);
        (kept.map(|kept| (kept.account.clone(), certain(kept))), generation)
    }

    fn select(&self) -> &'static str {
        if self.has_hashes {
            "SELECT username, domain, ha1, password, ha1_sha256, ha1_sha512_256 FROM subscriber"
        } else {
            "SELECT username, domain, ha1, password, '', '' FROM subscriber"
        }
    }

    fn one(&self, username: &str, domain: &str) -> Statement {
        let sql = format!("{} WHERE username = ? AND domain = ?", self.select());
        Statement::new(sql, [username.into(), domain.into()])
    }

    /// Where there is a password in clear, it makes the hashes that are not there (Kamailio's `calculate_ha1`).
    fn account(&self, row: &Row) -> Result<Account, sqlx::Error> {
        let mut account = Account {
            username: row.text(0)?,
            domain: row.text(1)?,
            ha1: row.text(2)?,
            ha1_sha256: row.text(4)?,
            ha1_sha512_256: row.text(5)?,
        };
        let password = row.text(3)?;
        if !password.is_empty() {
            let made = Account::of_password(&account.username, &account.domain, &password);
            let fill = |kept: &mut String, made| {
                if kept.is_empty() {
                    *kept = made;
                }
            };
            fill(&mut account.ha1, made.ha1);
            fill(&mut account.ha1_sha256, made.ha1_sha256);
            fill(&mut account.ha1_sha512_256, made.ha1_sha512_256);
        }
        Ok(account)
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Remembers what was read after `generation` was noted.
    fn put(&mut self, generation: u64, username: &str, domain: &str, account: Option<&Account>) {
        let key = (username.to_owned(), domain.to_owned());
        match account {
            Some(account) if self.accounts.len() < CAPACITY || self.accounts.contains_key(&key) => {
                let kept = Kept { account: account.clone(), generation, read: Instant::now() };
                self.accounts.insert(key, kept);
            }
            Some(_) => {}
            None => _ = self.accounts.remove(&key),
        }
    }
}

async fn counter(sql: &Sql) -> Result<i64, sqlx::Error> {
    let rows = sql.fetch(Statement::new("SELECT counter FROM subscriber_changes", [])).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// A file that only grows, by a byte for each change: two changes within one tick of the clock differ too.
#[derive(Debug)]
pub(super) struct Changes(pub(super) PathBuf);

impl Changes {
    pub(super) fn length(&self) -> u64 {
        // None yet: nothing has changed.
        std::fs::metadata(&self.0).map_or(0, |file| file.len())
    }

    pub(super) fn lengthen(&self) -> std::io::Result<()> {
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&self.0)?.write_all(b".")
    }
}
