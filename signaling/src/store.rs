//! Accounts and registrations in a database, under Kamailio's table and column names, so that one that is there can be used
//! and its tools can read ours. By default it is a file in the data directory; a URL leads to PostgreSQL, MySQL or another file.
//!
//! | module | one line |
//! |---|---|
//! | [`sql`] | one way to speak to three kinds of databases |
//! | [`schema`], [`tables`] | the tables; rows of any of them |
//! | `accounts` | accounts in memory, and how a change is noticed |
//! | `location`, `writer` | bindings as rows, and the queue of those to be written |
//! | [`dialogs`] | the calls that there are, in the table `dialog` |
//! | `topos` | ends of dialogs that are hidden from each other |
//! | `known_users` | who has signed in without an account |
//! | `routing` | the tables that requests are routed by |
//! | `health` | what is done while the database does not answer |

mod accounts;
pub mod dialogs;
mod health;
mod known_users;
mod location;
mod routing;
pub mod schema;
pub mod sql;
pub mod tables;
mod topos;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures_util::future::LocalBoxFuture;
use signaling_core::dispatcher::Known;
use signaling_core::outside::{Account, Store, StoredBinding, Unavailable};
use signaling_core::tables::{Policy, Tables};
use signaling_core::topology::topos::HiddenEnd;

use self::accounts::{Accounts, Changes};
use self::health::Health;
use self::known_users::KnownUsers;
use self::schema::Bring;
use self::sql::{Place, Sql, Statement, Value};
use self::writer::{Extent, Writer};

/// How long a request waits for the registrations that it needs, in mode 3.
const LOOKUP: Duration = Duration::from_secs(2);

/// The open database; clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    sql: Sql,
    mode: DbMode,
    accounts: Arc<Accounts>,
    writer: Arc<Writer>,
    /// Of the reading of registrations in mode 3.
    reads: Arc<Health>,
    tables: Arc<ArcSwap<Tables>>,
    users: Arc<KnownUsers>,
    hidden: topos::Shared,
    /// What is learnt of gateways stays when their rows are read again.
    gateways: Arc<Known>,
    changes: Arc<Changes>,
}

/// Which database, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Where it is.
    pub place: Place,
    /// Whether it is this program's own, to be given whatever tables and columns are missing. In another one only missing
    /// tables are made.
    pub own: bool,
    /// The file by which the commands tell a running gateway of a change.
    pub changes: PathBuf,
    /// When registrations are written.
    pub mode: DbMode,
}

/// When registrations are written (Kamailio's `db_mode` of `usrloc`, by its numbers).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DbMode {
    /// 0: never. They end with the process.
    Memory,
    /// 1: before the phone hears 200, so that it is a promise over a power cut.
    #[default]
    WriteThrough,
    /// 2: within a second or two.
    WriteBack,
    /// 3: as 1, and they are read from the database before each use, for others write to it too.
    DatabaseOnly,
}

/// What a database has not done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Addresses of record whose registrations wait to be written.
    pub waiting: usize,
    /// Reads and writes that had no answer.
    pub failures: u64,
    /// Changes of registrations that will never be written.
    pub lost: u64,
    /// How long there has been something to write without a pause.
    pub behind: Duration,
    /// Whether the last question had an answer.
    pub is_up: bool,
}

impl Storage {
    /// Tells a gateway that runs with this database that a table has changed.
    ///
    /// # Errors
    /// The file by which it is told cannot be written.
    pub fn tell_of_change(&self) -> std::io::Result<()> {
        Changes(self.changes.clone()).lengthen()
    }

    /// A file of this program's own.
    #[must_use]
    pub fn file(path: &Path, mode: DbMode) -> Self {
        let changes = path.with_extension("changes");
        Self { place: Place::File(path.to_owned()), own: true, changes, mode }
    }
}

impl Database {
    /// Opens a file of this program's own: [`Database::connect`] with [`Storage::file`].
    ///
    /// # Errors
    /// As there.
    pub async fn open(path: &Path, mode: DbMode) -> anyhow::Result<Self> {
        Self::connect(&Storage::file(path, mode)).await
    }

    /// Opens a database, makes its file when missing, and brings its tables up to date. The mode is for registrations;
    /// accounts are always durable.
    ///
    /// # Errors
    /// It cannot be opened, is no database, or belongs to a newer version of this program or another one of Kamailio.
    pub async fn connect(storage: &Storage) -> anyhow::Result<Self> {
        let sql = Sql::open(&storage.place).await?;
        let bring = if storage.own { Bring::All } else { Bring::Missing };
        let named = || format!("database {}", storage.place.name());
        schema::bring(&sql, bring).await.with_context(named)?;
        let accounts = Accounts::new(&sql, storage.changes.clone()).await.with_context(named)?;
        let writer = Writer::start(sql.clone(), storage.mode);
        let (accounts, writer) = (Arc::new(accounts), Arc::new(writer));
        let changes = Arc::new(Changes(storage.changes.clone()));
        let reads = Health::new(sql.kind(), LOOKUP, "registrations count as they were read last");
        let (mode, reads) = (storage.mode, Arc::new(reads));
        Ok(Self {
            sql,
            mode,
            accounts,
            writer,
            reads,
            tables: Arc::default(),
            gateways: Arc::default(),
            users: Arc::default(),
            hidden: Arc::default(),
            changes,
        })
    }

    /// Waits until all that was written is in the main file.
    pub async fn close(&self) {
        tokio::join!(self.writer.finish(), self.hidden.finish(), self.users.finish());
        self.sql.close().await;
    }

    /// The tables as they are.
    #[must_use]
    pub const fn sql(&self) -> &Sql {
        &self.sql
    }

    /// Reads the tables that requests are routed by, which count from then on together with `policy`.
    ///
    /// # Errors
    /// The database does not answer. What counted before goes on counting.
    pub async fn reload(&self, policy: Policy) -> anyhow::Result<()> {
        let tables = routing::load(&self.sql, policy, &self.gateways).await?;
        self.tables.store(Arc::new(tables));
        Ok(())
    }

    /// The tables that requests are routed by.
    #[must_use]
    pub fn routing(&self) -> Arc<Tables> {
        self.tables.load_full()
    }

    /// A number that changes with every change that a command has made.
    #[must_use]
    pub fn change(&self) -> u64 {
        self.changes.length()
    }

    /// When registrations are written.
    #[must_use]
    pub const fn mode(&self) -> DbMode {
        self.mode
    }

    /// Whether all registrations are written.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.writer.is_settled()
    }

    /// Whether the registrations of an address of record wait to be written.
    #[must_use]
    pub fn waits(&self, aor: &str) -> bool {
        self.writer.waits(aor)
    }

    /// Whether the database answers. One that has failed to is asked, so that it is seen when it is back.
    pub(crate) async fn answers(&self) -> bool {
        let silent = self.reads.is_down() || self.accounts.is_down() || self.writer.is_down();
        if !silent && self.mode != DbMode::DatabaseOnly {
            return true;
        }
        self.reads.ask(self.sql.fetch(Statement::new("SELECT 1", []))).await.is_ok()
    }

    /// What it has not done.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (waiting, failures, lost) = self.writer.counts();
        let failures = failures + self.accounts.failures() + self.reads.failures();
        let is_up = !(self.writer.is_down() || self.accounts.is_down() || self.reads.is_down());
        Counts { waiting, failures, lost, behind: self.writer.behind(), is_up }
    }

    /// Adds an account, or gives one that is there another password. `ha1` and `ha1b` are as Kamailio computes them; the
    /// `password` column becomes empty, for it would say something else.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn put_account(&self, account: &Account, ha1b: &str) -> anyhow::Result<()> {
        let hashes = if self.accounts.has_hashes { ", ha1_sha256 = ?, ha1_sha512_256 = ?" } else { "" };
        let mut values: Vec<Value> = vec![(&account.ha1).into(), ha1b.into()];
        if self.accounts.has_hashes {
            values.extend([(&account.ha1_sha256).into(), (&account.ha1_sha512_256).into()]);
        }
        let name: [Value; 2] = [(&account.username).into(), (&account.domain).into()];
        let made = Statement::new(
            "INSERT INTO subscriber (username, domain)
             SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM subscriber AS known WHERE known.username = ? AND known.domain = ?)",
            [name.clone(), name.clone()].concat(),
        );
        values.extend(name);
        let changed = format!(
            "UPDATE subscriber SET password = '', ha1 = ?, ha1b = ?{hashes} WHERE username = ? AND domain = ?"
        );
        self.sql.transact(vec![made, Statement::new(changed, values)]).await?;
        Ok(self.accounts.changed()?)
    }

    /// The account of `username` in `domain`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn get_account(
        &self,
        username: &str,
        domain: &str,
    ) -> Result<Option<Arc<Account>>, Unavailable> {
        if self.accounts.look(&self.sql).await && self.accounts.begins_to_reread() {
            let (accounts, sql) = (Arc::clone(&self.accounts), self.sql.clone());
            tokio::spawn(async move { accounts.reread(&sql).await });
        }
        self.accounts.get(&self.sql, username, domain).await
    }

    /// Takes all accounts into memory, which the gateway does before it serves.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn load_accounts(&self) -> anyhow::Result<()> {
        Ok(self.accounts.load(&self.sql).await?)
    }

    /// All accounts as (user, domain), sorted.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn accounts(&self) -> anyhow::Result<Vec<(String, String)>> {
        let query = "SELECT username, domain FROM subscriber ORDER BY domain, username";
        let rows = self.sql.fetch(Statement::new(query, [])).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
    }

    /// Removes an account and its registrations. Whether it was there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn remove_account(&self, username: &str, domain: &str) -> anyhow::Result<bool> {
        let of = |sql: &'static str| Statement::new(sql, [username.into(), domain.into()]);
        let removed = self.sql.transact(vec![
            // Registrations may be kept in lower case (`registrar.case_sensitive`).
            of("DELETE FROM location WHERE LOWER(username) = LOWER(?) AND domain = ?"),
            of("DELETE FROM subscriber WHERE username = ? AND domain = ?"),
        ]);
        let removed = removed.await?;
        self.accounts.changed()?;
        Ok(removed.last().is_some_and(|rows| *rows > 0))
    }

    /// The registrations that are good at `unix_now`, each with its address of record; none in mode 0, nor in mode 3, where they
    /// are read when they are used. Those without a
    /// domain, as Kamailio writes them with `use_domain` 0, are of the domain `home`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn registrations(
        &self,
        unix_now: u64,
        home: &str,
    ) -> anyhow::Result<Vec<(String, StoredBinding)>> {
        if matches!(self.mode, DbMode::Memory | DbMode::DatabaseOnly) {
            return Ok(Vec::new());
        }
        location::read_all(&self.sql, unix_now, home).await
    }

    /// Keeps the ends of dialogs that are hidden from each other from now on, each for `time` after its last use, and returns those
    /// of before.
    ///
    /// # Errors
    /// The database does not answer, or they are kept already.
    pub async fn keep_hidden(&self, time: Duration, unix_now: u64) -> anyhow::Result<Vec<HiddenEnd>> {
        self.hidden.begin(&self.sql, time, unix_now).await
    }

    /// Knows users without an account from now on by what the table of them says, and keeps it.
    ///
    /// # Errors
    /// The database does not answer, or they are kept already.
    pub async fn keep_known_users(&self) -> anyhow::Result<()> {
        self.users.begin(&self.sql, &self.changes.0.with_extension("users")).await
    }

    /// Names the domain of registrations that were written without one, so that they are replaced with the others.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn adopt_registrations(&self, home: &str) -> anyhow::Result<()> {
        let adopt = "UPDATE location SET domain = ? WHERE domain IS NULL OR domain = ''";
        self.sql.execute(Statement::new(adopt, [home.into()])).await?;
        Ok(())
    }
}

impl DbMode {
    /// The mode with this number; one that is none means 1.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Memory,
            2 => Self::WriteBack,
            3 => Self::DatabaseOnly,
            _ => Self::WriteThrough,
        }
    }
}

/// The present time in seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Store for Database {
    fn tables(&self) -> Arc<Tables> {
        self.routing()
    }

    fn account<'a>(
        &'a self,
        username: &'a str,
        domain: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Arc<Account>>, Unavailable>> {
        match self.accounts.certain(username, domain) {
            Some(account) => Box::pin(std::future::ready(Ok(Some(account)))),
            None => Box::pin(self.get_account(username, domain)),
        }
    }

    fn save_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.writer.save(aor, bindings, Extent::Whole))
    }

    fn renew_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.writer.save(aor, bindings, Extent::Renewal))
    }

    fn note_user(&self, aor: &str) {
        self.users.note(aor);
    }

    fn is_known_user(&self, aor: &str) -> bool {
        self.users.has(aor)
    }

    fn save_hidden(&self, end: HiddenEnd) {
        self.hidden.save(end);
    }

    fn forget_hidden(&self, names: Vec<(String, u64)>) {
        self.hidden.forget(names);
    }

    fn hidden<'a>(&'a self, uuid: &'a str) -> LocalBoxFuture<'a, Result<Vec<HiddenEnd>, Unavailable>> {
        Box::pin(async move {
            match self.hidden.time() {
                Some(time) => self.reads.ask(topos::read_one(&self.sql, uuid, time, unix_now())).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn shares_bindings(&self) -> bool {
        self.mode == DbMode::DatabaseOnly
    }

    fn bindings<'a>(
        &'a self,
        aor: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<StoredBinding>>, Unavailable>> {
        Box::pin(async move {
            if self.writer.waits(aor) {
                return Ok(None);
            }
            let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
            let rows = self.reads.ask(location::read_one(&self.sql, aor, now)).await?;
            // One that was written meanwhile is newer than what was read.
            Ok((!self.writer.waits(aor)).then_some(rows))
        })
    }
}

#[cfg(test)]
mod tests {
    use signaling_core::flow::Protocol;
    use signaling_core::outside::{BindingRow, SharedText};

    use super::*;

    fn binding(ruid: &str, protocol: Protocol, expires_at: u64) -> StoredBinding {
        StoredBinding::from(BindingRow {
            ruid,
            contact: &format!("sip:{ruid}@abc.invalid;transport=ws"),
            received: "[2001:db8::7]:40000".parse().unwrap(),
            protocol,
            local: Some(&Arc::new("[2001:db8::1]:5060".parse().unwrap())),
            path: "<sip:edge.example;lr>,<sip:a@edge.example;lr;ob>",
            expires_at,
            last_modified: 500,
            q: 700,
            call_id: "c@x",
            cseq: u32::MAX,
            user_agent: &SharedText::new("JsSIP 3.13.8".into()),
            instance: "<urn:uuid:1>",
            reg_id: 1,
            methods: u32::MAX,
        })
    }

    fn account(username: &str, password: &str) -> Account {
        Account::of_password(username, "example.com", password)
    }

    #[tokio::test]
    async fn accounts_and_registrations_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let bindings = [binding("a", Protocol::Wss, 2000), binding("b", Protocol::Udp, 3000)].map(Arc::new);
        {
            let database = Database::open(&path, DbMode::default()).await.unwrap();
            database.put_account(&account("alice", "old"), "b").await.unwrap();
            database.put_account(&account("alice", "new"), "b").await.unwrap();
            database.save_bindings("alice@example.com", &bindings).await.unwrap();
            database.close().await;
        }
        let database = Database::open(&path, DbMode::default()).await.unwrap();
        let alice = Store::account(&database, "alice", "example.com").await.unwrap().unwrap();
        let new = account("alice", "new");
        let hashes = |account: &Account| {
            [account.ha1.clone(), account.ha1_sha256.clone(), account.ha1_sha512_256.clone()]
        };
        assert_eq!(hashes(&alice), hashes(&new));
        assert!(Store::account(&database, "alice", "example.org").await.unwrap().is_none());
        let loaded = database.registrations(1000, "example.com").await.unwrap();
        let expected = bindings.map(|binding| ("alice@example.com".to_owned(), (*binding).clone()));
        assert_eq!(loaded, expected, "every column comes back");
        assert_eq!(
            database.registrations(2000, "example.com").await.unwrap().len(),
            1,
            "those that ran out are not loaded"
        );
    }

    #[tokio::test]
    async fn saving_replaces_and_removing_forgets() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        let save = async |list: &[StoredBinding]| {
            let list: Vec<_> = list.iter().cloned().map(Arc::new).collect();
            database.save_bindings("bob@example.com", &list).await.unwrap();
        };
        save(&[binding("a", Protocol::Tcp, 2000), binding("b", Protocol::Tls, 2000)]).await;
        save(&[binding("b", Protocol::Ws, 2000)]).await;
        assert_eq!(database.registrations(0, "example.com").await.unwrap().len(), 1);
        save(&[]).await;
        assert_eq!(database.registrations(0, "example.com").await.unwrap().len(), 0);

        database.put_account(&account("bob", "h"), "b").await.unwrap();
        save(&[binding("c", Protocol::Udp, 2000)]).await;
        assert!(database.remove_account("bob", "example.com").await.unwrap());
        assert!(!database.remove_account("bob", "example.com").await.unwrap());
        assert!(database.registrations(0, "example.com").await.unwrap().is_empty());
        assert!(database.accounts().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_waits_is_written_together_and_the_last_word_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let database = Database::open(&path, DbMode::WriteThrough).await.unwrap();
        let names: Vec<String> = (0..2500).map(|n| format!("u{n}@example.com")).collect();
        let lists: Vec<_> = names.iter().map(|name| [Arc::new(binding(name, Protocol::Udp, 2000))]).collect();
        let saves = names.iter().zip(&lists).map(|(name, list)| database.save_bindings(name, list));
        for result in futures_util::future::join_all(saves).await {
            result.unwrap();
        }
        assert_eq!(database.registrations(0, "example.com").await.unwrap().len(), 2500);
        let (old, new) = (
            [Arc::new(binding("old", Protocol::Udp, 2000))],
            [Arc::new(binding("new", Protocol::Udp, 2000))],
        );
        let (first, second) = futures_util::join!(
            database.save_bindings("u1@example.com", &old),
            database.save_bindings("u1@example.com", &new)
        );
        assert!(first.is_ok() && second.is_ok());
        let rows = database.registrations(0, "example.com").await.unwrap();
        let of_u1: Vec<_> = rows.iter().filter(|(aor, _)| aor == "u1@example.com").collect();
        assert_eq!(of_u1.len(), 1);
        assert_eq!(of_u1[0].1.ruid(), "new");
    }

    /// A REGISTER that renews is written as no more than that, even behind the one that it renews; a row that somebody has taken
    /// away comes back whole.
    #[tokio::test]
    async fn a_renewal_changes_nothing_else_and_brings_back_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let database =
            Database::open(&directory.path().join("x.sqlite"), DbMode::WriteThrough).await.unwrap();
        let names: Vec<String> = (0..300).map(|number| format!("u{number}@example.com")).collect();
        let lists = |expires_at: u64| -> Vec<_> {
            names.iter().map(|name| [Arc::new(binding(name, Protocol::Udp, expires_at))]).collect()
        };
        let [first, second, third] = [2000, 3000, 4000].map(lists);
        let saves = names.iter().zip(&first).map(|(name, list)| database.save_bindings(name, list));
        let renewals = names.iter().zip(&second).map(|(name, list)| database.renew_bindings(name, list));
        let both = futures_util::join!(
            futures_util::future::join_all(saves),
            futures_util::future::join_all(renewals)
        );
        assert!(both.0.iter().chain(&both.1).all(Result::is_ok));
        let all = async || database.registrations(0, "example.com").await.unwrap();
        assert!(
            all().await.len() == 300 && all().await.iter().all(|(_, binding)| binding.expires_at() == 3000)
        );

        let execute =
            async |text: &'static str| database.sql().execute(Statement::new(text, [])).await.unwrap();
        assert_eq!(execute("DELETE FROM location WHERE username LIKE 'u1%'").await, 111);
        assert_eq!(execute("UPDATE location SET user_agent = 'theirs'").await, 189);
        let left = names.iter().zip(&third).filter(|(name, _)| !name.starts_with("u1"));
        let renewals = left.map(|(name, list)| database.renew_bindings(name, list));
        assert!(futures_util::future::join_all(renewals).await.iter().all(Result::is_ok));
        let theirs = |(_, binding): &(_, StoredBinding)| {
            (binding.expires_at(), binding.user_agent()) == (4000, "theirs")
        };
        assert!(all().await.len() == 189 && all().await.iter().all(theirs));
        database.renew_bindings(&names[1], &third[1]).await.unwrap();
        let back = all().await.into_iter().find(|(aor, _)| *aor == names[1]);
        assert_eq!(back, Some((names[1].clone(), (*third[1][0]).clone())));
    }

    #[tokio::test]
    async fn what_is_written_later_is_there_after_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        for (mode, expected) in [(DbMode::Memory, 0), (DbMode::WriteBack, 1)] {
            let database = Database::open(&path, mode).await.unwrap();
            database
                .save_bindings("bob@example.com", &[Arc::new(binding("a", Protocol::Udp, 2000))])
                .await
                .unwrap();
            database.close().await;
            assert!(database.save_bindings("bob@example.com", &[]).await.is_ok() == (mode == DbMode::Memory));
            let database = Database::open(&path, DbMode::WriteThrough).await.unwrap();
            assert_eq!(database.registrations(0, "example.com").await.unwrap().len(), expected, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn in_mode_3_what_another_has_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let one = Database::open(&path, DbMode::DatabaseOnly).await.unwrap();
        let other = Database::open(&path, DbMode::WriteThrough).await.unwrap();
        assert!(one.shares_bindings() && !other.shares_bindings());
        let there = async || Store::bindings(&one, "bob@example.com").await.unwrap().unwrap();
        assert!(there().await.is_empty());
        let later = unix_now() + 600;
        let kept = [binding("a", Protocol::Udp, later), binding("b", Protocol::Wss, later)];
        other.save_bindings("bob@example.com", &kept.clone().map(Arc::new)).await.unwrap();
        assert_eq!(there().await, kept);
        let again = binding("a", Protocol::Udp, later + 600);
        one.save_bindings("bob@example.com", &[Arc::new(again.clone())]).await.unwrap();
        assert_eq!(there().await, [again]);
        assert!(one.registrations(0, "example.com").await.unwrap().is_empty(), "none is loaded at start");
        other.save_bindings("bob@example.com", &[Arc::new(binding("c", Protocol::Udp, 1))]).await.unwrap();
        assert!(there().await.is_empty(), "one that has run out");
        one.close().await;
        let gone = Store::bindings(&one, "bob@example.com").await;
        assert!(gone.is_err(), "no answer is an error, soon: {gone:?}");
    }

    #[tokio::test]
    async fn a_password_changed_by_another_process_counts_within_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let gateway = Database::open(&path, DbMode::default()).await.unwrap();
        let command = Database::open(&path, DbMode::default()).await.unwrap();
        let ha1 = async || {
            let account = gateway.get_account("alice", "example.com").await.unwrap();
            account.map(|account| account.ha1.clone())
        };
        let soon = async |expected: Option<String>| {
            let counts = async {
                while ha1().await != expected {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), counts).await.unwrap();
        };
        assert_eq!(ha1().await, None);
        command.put_account(&account("alice", "one"), "b").await.unwrap();
        assert_eq!(ha1().await, Some(account("alice", "one").ha1), "one that is new counts at once");
        for password in ["two", "three"] {
            command.put_account(&account("alice", password), "b").await.unwrap();
            soon(Some(account("alice", password).ha1)).await;
        }
        assert!(command.remove_account("alice", "example.com").await.unwrap());
        soon(None).await;
    }

    #[tokio::test]
    async fn a_password_changed_by_a_foreign_program_counts_soon() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        database.put_account(&account("alice", "old"), "b").await.unwrap();
        let ha1 = async || database.get_account("alice", "example.com").await.unwrap().unwrap().ha1.clone();
        assert_eq!(ha1().await, account("alice", "old").ha1);
        database.sql.execute(Statement::new("UPDATE subscriber SET ha1 = 'new'", [])).await.unwrap();
        let soon = async {
            while ha1().await != "new" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), soon).await.unwrap();
    }

    #[tokio::test]
    async fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        database.put_account(&account("alice", "h"), "b").await.unwrap();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        std::fs::write(&path, "no database at all, just text that is long enough to be looked at").unwrap();
        let error = format!("{:#}", Database::open(&path, DbMode::default()).await.unwrap_err());
        assert!(error.contains("x.sqlite"), "{error}");
    }
}
