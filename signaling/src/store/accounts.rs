//! Accounts in memory, so that a REGISTER need not wait for the database, and yet a password that was changed counts at once.
//!
//! Three things tell of a change. This process forgets what it changes itself. The `user` commands, which are processes of
//! their own, make the file of [`Changes`] longer. Any other program that writes to the table of an embedded file is seen through
//! the counter that its triggers keep; in the database of a server, where there is none, an account counts for [`FRESH`] and is
//! then read again. File and counter are looked at every [`LOOK`], while accounts are asked for, so that a request waits for
//! neither and all workers ask without a lock that they share.
//!
//! What may have changed is not forgotten: while the database does not answer, it is what there is. When it does, all accounts are
//! read again in one piece, which costs a tenth of reading each when it is asked for; whoever is asked for before that is read alone.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use signaling_core::outside::{Account, Unavailable};
use signaling_core::shards::Shards;

use super::health::Health;
use super::sql::{Kind, Row, Sql, Statement};
use crate::moment::Moment;

/// Accounts kept, some 200 bytes each. Any further one is read from the database each time.
const CAPACITY: usize = 200_000;
/// How often it is looked whether anything has changed: an account counts as it was for no longer.
const LOOK: Duration = Duration::from_secs(1);
/// How long an account of a server's database counts as it was read.
const FRESH: Duration = Duration::from_secs(5);
/// Accounts read at a time when all are read again: between two portions the thread serves its calls.
const PORTION: i64 = 200;
/// Reading all again may take one part in so many of the time: whatever else changes meanwhile is read when it is asked for.
const SHARE: u32 = 50;
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
    known: Shards<Known>,
    /// Counts the changes that were noticed.
    generation: AtomicU64,
    /// What [`Changes`] and the counter said last.
    file: AtomicU64,
    counter: AtomicI64,
    /// When they are to be looked at next.
    look: Moment,
    /// Until when all accounts are not read again.
    rest: Moment,
}

#[derive(Debug, Default)]
struct Known {
    /// By domain and user name.
    domains: HashMap<Box<str>, HashMap<Box<str>, Kept>>,
    count: usize,
}

#[derive(Debug)]
struct Kept {
    account: Arc<Account>,
    /// [`Accounts::generation`] before it was read.
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
            known: Shards::default(),
            generation: AtomicU64::new(0),
            file: AtomicU64::new(0),
            counter: AtomicI64::new(0),
            look: Moment::default(),
            rest: Moment::default(),
        })
    }

    /// The account of `username` in `domain`, if it is known for certain now.
    pub(super) fn certain(&self, username: &str, domain: &str) -> Option<Arc<Account>> {
        let now = Instant::now();
        if self.look.get().is_none_or(|due| due <= now) {
            return None;
        }
        let generation = self.generation.load(Ordering::Acquire);
        let part = self.known.of(&(username, domain));
        let kept = part.find(username, domain)?;
        let fresh = self.has_counter || now.saturating_duration_since(kept.read) < FRESH;
        (fresh && kept.generation == generation).then(|| Arc::clone(&kept.account))
    }

    /// The account of `username` in `domain`, from memory or from the database. One that does not exist is not remembered,
    /// for anybody can make up names.
    pub(super) async fn get(
        &self,
        sql: &Sql,
        username: &str,
        domain: &str,
    ) -> Result<Option<Arc<Account>>, Unavailable> {
        if let Some(account) = self.certain(username, domain) {
            return Ok(Some(account));
        }
        let generation = self.generation.load(Ordering::Acquire);
        match self.health.ask(sql.fetch(self.one(username, domain))).await {
            Ok(rows) => {
                let account = rows.first().map(|row| self.account(row)).transpose();
                let account =
                    account.map_err(|error| Unavailable(format!("database: {error}")))?.map(Arc::new);
                self.put(generation, username, domain, account.clone());
                Ok(account)
            }
            Err(error) => {
                let part = self.known.of(&(username, domain));
                let kept = part.find(username, domain).map(|kept| Some(Arc::clone(&kept.account)));
                kept.ok_or(error)
            }
        }
    }

    /// Reads all accounts, at start.
    pub(super) async fn load(&self, sql: &Sql) -> Result<(), sqlx::Error> {
        self.file.store(self.changes.length(), Ordering::Release);
        self.counter.store(if self.has_counter { counter(sql).await? } else { 0 }, Ordering::Release);
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        let query = format!("SELECT {} FROM subscriber LIMIT {CAPACITY}", self.columns());
        let query = Statement::new(query, []);
        for row in sql.fetch(query).await? {
            let account = Arc::new(self.account(&row)?);
            self.put(generation, &account.username, &account.domain, Some(Arc::clone(&account)));
        }
        Ok(())
    }

    /// Whether all accounts are to be read again by whoever asks, now that something has changed.
    pub(super) fn begins_to_reread(&self) -> bool {
        let (now, rest) = (Instant::now(), self.rest.get());
        rest.is_none_or(|rest| rest <= now) && self.rest.replace(rest, Some(now + LIMIT * SHARE))
    }

    /// Reads all accounts again.
    pub(super) async fn reread(&self, sql: &Sql) {
        let began = Instant::now();
        if let Err(error) = self.read_portions(sql).await {
            tracing::debug!(%error, "accounts are read when they are asked for");
        }
        self.rest.swap(Some(Instant::now() + began.elapsed() * SHARE));
    }

    async fn read_portions(&self, sql: &Sql) -> Result<(), Unavailable> {
        let generation = self.generation.load(Ordering::Acquire);
        let query = self.portion(sql.kind());
        let (mut after, mut count) = (i64::MIN, 0);
        while count < CAPACITY {
            let rows = self.health.ask(sql.fetch(Statement::new(query.clone(), [after.into()]))).await?;
            let bad = |error: &dyn std::fmt::Display| Unavailable(format!("database: {error}"));
            let accounts = match sql.kind() {
                Kind::Sqlite => packed(&rows).map_err(|error| bad(&error))?,
                _ => rows.iter().map(fields).collect::<Result<_, _>>().map_err(|error| bad(&error))?,
            };
            if accounts.is_empty() {
                break;
            }
            let last = rows.last().map_or(Ok(after), |row| row.int(6));
            (after, count) = (last.map_err(|error| bad(&error))?, count + accounts.len());
            for account in accounts {
                let account = Arc::new(made(account));
                self.put(generation, &account.username, &account.domain, Some(Arc::clone(&account)));
            }
        }
        Ok(())
    }

    /// The next accounts behind an id. An embedded file gives them in one piece: a row costs more on its way than in its making.
    fn portion(&self, kind: Kind) -> String {
        let columns = self.columns();
        let rows = format!("SELECT {columns}, id FROM subscriber WHERE id > ? ORDER BY id LIMIT {PORTION}");
        if kind != Kind::Sqlite {
            return rows;
        }
        let names = ["username", "domain", "ha1", "password", "ha1_sha256", "ha1_sha512_256"];
        let texts = names.map(|name| format!("CAST({name} AS TEXT)")).join(", ");
        format!("SELECT json_group_array(json_array({texts})), 0, 0, 0, 0, 0, max(id) FROM ({rows})")
    }

    /// Tells everybody who uses this database that an account has changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn changed(&self) -> std::io::Result<()> {
        let written = self.changes.lengthen();
        self.generation.fetch_add(1, Ordering::AcqRel);
        written
    }

    /// Questions without an answer so far.
    pub(super) fn failures(&self) -> u64 {
        self.health.failures()
    }

    /// Whether the database does not answer.
    pub(super) fn is_down(&self) -> bool {
        self.health.is_down()
    }

    /// Looks for changes when it is time to, for one caller at a time; whether there are any.
    pub(super) async fn look(&self, sql: &Sql) -> bool {
        let (now, due) = (Instant::now(), self.look.get());
        if due.is_some_and(|due| due > now) || !self.look.replace(due, Some(now + LOOK)) {
            return false;
        }
        let file = self.changes.length();
        let mut changed = self.file.swap(file, Ordering::AcqRel) != file;
        // A failure was told, and what is known goes on counting.
        if self.has_counter
            && let Ok(counter) = self.health.ask(counter(sql)).await
        {
            changed |= self.counter.swap(counter, Ordering::AcqRel) != counter;
        }
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    /// Remembers what was read after `generation` was noted.
    fn put(&self, generation: u64, username: &str, domain: &str, account: Option<Arc<Account>>) {
        let mut part = self.known.of(&(username, domain));
        match account {
            Some(account) => part.put(Kept { account, generation, read: Instant::now() }),
            None => part.remove(username, domain),
        }
    }

    fn columns(&self) -> &'static str {
        if self.has_hashes {
            "username, domain, ha1, password, ha1_sha256, ha1_sha512_256"
        } else {
            "username, domain, ha1, password, '' AS ha1_sha256, '' AS ha1_sha512_256"
        }
    }

    fn one(&self, username: &str, domain: &str) -> Statement {
        let sql = format!("SELECT {} FROM subscriber WHERE username = ? AND domain = ?", self.columns());
        Statement::new(sql, [username.into(), domain.into()])
    }

    fn account(&self, row: &Row) -> Result<Account, sqlx::Error> {
        fields(row).map(made)
    }
}

/// The columns of an account: user name, domain, MD5 hash, password in clear, the other hashes.
type Fields = [String; 6];

fn fields(row: &Row) -> Result<Fields, sqlx::Error> {
    Ok([row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?, row.text(4)?, row.text(5)?])
}

/// Those of many, in one text.
fn packed(rows: &[Row]) -> anyhow::Result<Vec<Fields>> {
    let Some(row) = rows.first() else { return Ok(Vec::new()) };
    let all: Vec<[Option<String>; 6]> = serde_json::from_str(&row.text(0)?)?;
    Ok(all.into_iter().map(|columns| columns.map(Option::unwrap_or_default)).collect())
}

/// Where there is a password in clear, it makes the hashes that are not there (Kamailio's `calculate_ha1`).
fn made([username, domain, ha1, password, ha1_sha256, ha1_sha512_256]: Fields) -> Account {
    let mut account = Account { username, domain, ha1, ha1_sha256, ha1_sha512_256 };
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
    account
}

impl Known {
    fn find(&self, username: &str, domain: &str) -> Option<&Kept> {
        self.domains.get(domain)?.get(username)
    }

    /// One that there is no room for is not kept.
    fn put(&mut self, kept: Kept) {
        let (username, domain) = (&*kept.account.username, &*kept.account.domain);
        let known = self.find(username, domain).is_some();
        if !known && self.count >= CAPACITY / Shards::<Self>::COUNT {
            return;
        }
        self.count += usize::from(!known);
        let (username, domain) = (Box::from(username), Box::from(domain));
        self.domains.entry(domain).or_default().insert(username, kept);
    }

    fn remove(&mut self, username: &str, domain: &str) {
        let users = self.domains.get_mut(domain);
        self.count -= usize::from(users.is_some_and(|users| users.remove(username).is_some()));
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

#[cfg(test)]
mod tests {
    use crate::store::sql::Statement;
    use crate::store::{Database, DbMode};

    /// Whatever stands in the table, and in more than one portion.
    #[tokio::test]
    async fn accounts_read_again_together_are_those_that_are_read_alone() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        let sql = database.sql();
        let mut names = vec!["plain", "quo\"te", "back\\slash", "ünïcode", "clear", "line\nend", "x'y"];
        let numbered: Vec<String> = (0..450).map(|number| format!("u{number}")).collect();
        names.extend(numbered.iter().map(String::as_str));
        for name in &names {
            let (ha1, password) = if *name == "clear" { ("", "se\"cret") } else { (*name, "") };
            let text =
                "INSERT INTO subscriber (username, domain, ha1, password) VALUES (?, 'example.com', ?, ?)";
            sql.execute(Statement::new(text, [(*name).into(), ha1.into(), password.into()])).await.unwrap();
        }
        let text = "UPDATE subscriber SET password = 12 WHERE username = 'u7'";
        sql.execute(Statement::new(text, [])).await.unwrap();
        database.accounts.reread(sql).await;
        for name in names {
            let rows = sql.fetch(database.accounts.one(name, "example.com")).await.unwrap();
            let alone = database.accounts.account(&rows[0]).unwrap();
            let part = database.accounts.known.of(&(name, "example.com"));
            let kept = &part.find(name, "example.com").expect(name).account;
            let hashes = [(&kept.ha1, &alone.ha1), (&kept.ha1_sha256, &alone.ha1_sha256)];
            assert!(kept.username == name && hashes.into_iter().all(|(one, other)| one == other), "{name}");
            assert_eq!(kept.ha1_sha512_256, alone.ha1_sha512_256);
        }
    }
}
