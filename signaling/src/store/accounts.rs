//! Accounts in memory, so that a REGISTER need not wait for the database, and yet a password that was changed counts at once.
//!
//! Three things tell of a change. This process forgets what it changes itself. The `user` commands, which are processes of
//! their own, make the file of [`Changes`] longer, whose length is looked at before every use. Any other program that writes
//! to the table is seen through the counter that its triggers keep, read every second.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use signaling_core::outside::Account;
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

/// Accounts kept, some 200 bytes each. Any further one is read from the database each time.
const CAPACITY: usize = 200_000;
/// How often the counter in the database is read, while accounts are asked for.
const LOOK: Duration = Duration::from_secs(1);

/// All accounts, or as many as there is room for, as they were at the last change.
#[derive(Debug)]
pub(super) struct Accounts {
    changes: Changes,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What [`Changes`] and the counter said before any of `accounts` was read.
    state: State,
    /// When the counter was read last.
    looked: Option<Instant>,
    accounts: HashMap<(String, String), Account>,
}

/// Two equal ones: nothing has changed between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    file: u64,
    counter: i64,
}

/// What is to be done about an account.
enum Found {
    /// This one; nothing has changed.
    Here(Account),
    /// It must be read. The state before that goes with it.
    Ask(State),
}

impl Accounts {
    /// For the database at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self { changes: Changes(path.with_extension("changes")), known: Mutex::default() }
    }

    /// The account of `username` in `domain`, from memory or from the database. One that does not exist is not remembered,
    /// for anybody can make up names.
    pub(super) async fn get(
        &self,
        pool: &SqlitePool,
        username: &str,
        domain: &str,
    ) -> Result<Option<Account>, sqlx::Error> {
        if self.is_to_look() && counter(pool).await? != self.lock().state.counter {
            self.load(pool).await?;
        }
        let state = match self.find(username, domain) {
            Found::Here(account) => return Ok(Some(account)),
            Found::Ask(state) => state,
        };
        let account = read(pool, username, domain).await?;
        if let Some(account) = &account {
            self.lock().insert(state, account);
        }
        Ok(account)
    }

    /// Reads all accounts, at start and after a change.
    pub(super) async fn load(&self, pool: &SqlitePool) -> Result<(), sqlx::Error> {
        let state = State { file: self.changes.length(), counter: counter(pool).await? };
        let rows =
            sqlx::query("SELECT username, domain, ha1, ha1_sha256, ha1_sha512_256 FROM subscriber LIMIT ?")
                .bind(i64::try_from(CAPACITY).unwrap_or(i64::MAX))
                .fetch_all(pool)
                .await?;
        let accounts = rows.iter().map(|row| account(row).map(|account| (key(&account), account)));
        let accounts = accounts.collect::<Result<_, _>>()?;
        let mut known = self.lock();
        (known.state, known.accounts) = (state, accounts);
        Ok(())
    }

    /// Tells everybody who uses this database that an account has changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn changed(&self) -> std::io::Result<()> {
        let written = self.changes.lengthen();
        self.lock().accounts.clear();
        written
    }

    /// Whether the counter is to be read again; true for one caller at a time.
    fn is_to_look(&self) -> bool {
        let now = Instant::now();
        let mut known = self.lock();
        let due = known.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK);
        if due {
            known.looked = Some(now);
        }
        due
    }

    fn find(&self, username: &str, domain: &str) -> Found {
        let file = self.changes.length();
        let mut known = self.lock();
        if known.state.file != file {
            known.state.file = file;
            known.accounts.clear();
        }
        match known.accounts.get(&(username.to_owned(), domain.to_owned())) {
            Some(account) => Found::Here(account.clone()),
            None => Found::Ask(known.state),
        }
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Remembers an account that was read after `state` was noted, unless something has changed since.
    fn insert(&mut self, state: State, account: &Account) {
        if self.state == state && self.accounts.len() < CAPACITY {
            self.accounts.insert(key(account), account.clone());
        }
    }
}

async fn read(pool: &SqlitePool, username: &str, domain: &str) -> Result<Option<Account>, sqlx::Error> {
    let row = sqlx::query("SELECT username, domain, ha1, ha1_sha256, ha1_sha512_256 FROM subscriber WHERE username = ? AND domain = ?")
        .bind(username)
        .bind(domain)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(account).transpose()
}

fn account(row: &SqliteRow) -> Result<Account, sqlx::Error> {
    Ok(Account {
        username: row.try_get(0)?,
        domain: row.try_get(1)?,
        ha1: row.try_get(2)?,
        ha1_sha256: row.try_get(3)?,
        ha1_sha512_256: row.try_get(4)?,
    })
}

fn key(account: &Account) -> (String, String) {
    (account.username.clone(), account.domain.clone())
}

async fn counter(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT counter FROM subscriber_changes").fetch_one(pool).await?.try_get(0)
}

/// A file beside the database that only grows, by a byte for each change: two changes within one tick of the clock differ too.
#[derive(Debug)]
struct Changes(PathBuf);

impl Changes {
    fn length(&self) -> u64 {
        // None yet: nothing has changed.
        std::fs::metadata(&self.0).map_or(0, |file| file.len())
    }

    fn lengthen(&self) -> std::io::Result<()> {
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&self.0)?.write_all(b".")
    }
}
