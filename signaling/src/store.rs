//! Accounts and registrations in SQLite, under Kamailio's table and column names, so that its tools can read them.

mod accounts;
mod schema;
mod writer;

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use futures_util::future::LocalBoxFuture;
use signaling_core::flow::Protocol;
use signaling_core::outside::{Account, Store, StoredBinding, Unavailable};
use sqlx::Row as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};

use self::accounts::Accounts;
use self::writer::Writer;

/// The bit of a contact behind a NAT in `cflags`: flag 6, which Kamailio's own configuration calls FLB_NATB.
const NATED: i64 = 1 << 6;

/// The open database; clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    pool: SqlitePool,
    mode: DbMode,
    accounts: Arc<Accounts>,
    writer: Arc<Writer>,
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
}

impl Database {
    /// Opens the file at `path`, makes it when missing, and brings its tables up to date. `mode` is for
    /// registrations; accounts are always durable.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or belongs to a newer version of this program.
    pub async fn open(path: &Path, mode: DbMode) -> anyhow::Result<Self> {
        // Hashes of passwords are worth guessing at: only the owner reads them. SQLite gives its other files the same mode.
        let made = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        made.with_context(|| format!("database {}", path.display()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A 200 to REGISTER is a promise over a power cut; NORMAL may lose the last transactions of a WAL.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await
            .with_context(|| format!("database {}", path.display()))?;
        schema::migrate(&pool).await.with_context(|| format!("database {}", path.display()))?;
        let (accounts, writer) = (Accounts::new(path), Writer::start(pool.clone(), mode));
        Ok(Self { pool, mode, accounts: Arc::new(accounts), writer: Arc::new(writer) })
    }

    /// Waits until all that was written is in the main file.
    pub async fn close(&self) {
        self.writer.finish().await;
        self.pool.close().await;
    }

    /// Adds an account, or gives one that is there another password. `ha1` and `ha1b` are as Kamailio computes them; the
    /// `password` column stays empty.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn put_account(&self, account: &Account, ha1b: &str) -> anyhow::Result<()> {
        sqlx::query(
            "INSERT INTO subscriber (username, domain, password, ha1, ha1b, ha1_sha256, ha1_sha512_256)
             VALUES (?, ?, '', ?, ?, ?, ?)
             ON CONFLICT (username, domain) DO UPDATE SET ha1 = excluded.ha1, ha1b = excluded.ha1b,
                ha1_sha256 = excluded.ha1_sha256, ha1_sha512_256 = excluded.ha1_sha512_256",
        )
        .bind(&account.username)
        .bind(&account.domain)
        .bind(&account.ha1)
        .bind(ha1b)
        .bind(&account.ha1_sha256)
        .bind(&account.ha1_sha512_256)
        .execute(&self.pool)
        .await?;
        Ok(self.accounts.changed()?)
    }

    /// The account of `username` in `domain`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn get_account(&self, username: &str, domain: &str) -> Result<Option<Account>, sqlx::Error> {
        self.accounts.get(&self.pool, username, domain).await
    }

    /// Takes all accounts into memory, which the gateway does before it serves.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn load_accounts(&self) -> anyhow::Result<()> {
        Ok(self.accounts.load(&self.pool).await?)
    }

    /// All accounts as (user, domain), sorted.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn accounts(&self) -> anyhow::Result<Vec<(String, String)>> {
        let rows = sqlx::query("SELECT username, domain FROM subscriber ORDER BY domain, username");
        let rows = rows.fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Removes an account and its registrations. Whether it was there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn remove_account(&self, username: &str, domain: &str) -> anyhow::Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let mut removed = 0;
        for table in ["location", "subscriber"] {
            let statement = match table {
                // Registrations may be kept in lower case (`registrar.case_sensitive`).
                "location" => "DELETE FROM location WHERE username = ? COLLATE NOCASE AND domain = ?",
                _ => "DELETE FROM subscriber WHERE username = ? AND domain = ?",
            };
            let done = sqlx::query(statement).bind(username).bind(domain).execute(&mut *transaction).await?;
            removed = done.rows_affected();
        }
        transaction.commit().await?;
        self.accounts.changed()?;
        Ok(removed > 0)
    }

    /// The registrations that are good at `unix_now`, each with its address of record; none in mode 0.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn registrations(&self, unix_now: u64) -> anyhow::Result<Vec<(String, StoredBinding)>> {
        if self.mode == DbMode::Memory {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(
            "SELECT username, domain, ruid, contact, received, socket, path, CAST(strftime('%s', expires) AS INTEGER),
                    q, callid, cseq, user_agent, instance, reg_id, methods,
                    CAST(strftime('%s', last_modified) AS INTEGER)
             FROM location WHERE expires > datetime(?, 'unixepoch') ORDER BY last_modified, id",
        )
        .bind(i64::try_from(unix_now)?)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().filter_map(read_binding).collect())
    }
}

impl DbMode {
    /// The mode with this number; one that is none means 1.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Memory,
            2 => Self::WriteBack,
            _ => Self::WriteThrough,
        }
    }
}

/// The present time in seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Kamailio's `socket` column: the transport, and our address in it if it is known.
fn socket(binding: &StoredBinding) -> String {
    let protocol = binding.protocol.via_token().to_ascii_lowercase();
    binding.local.as_ref().map_or_else(|| protocol.clone(), |local| format!("{protocol}:{local}"))
}

/// A row that another program wrote in a way that is not understood here is left where it is, and out.
fn read_binding(row: &SqliteRow) -> Option<(String, StoredBinding)> {
    let binding = try_read_binding(row);
    if let Err(error) = &binding {
        tracing::warn!(%error, "row of table location not understood");
    }
    binding.ok()
}

fn try_read_binding(row: &SqliteRow) -> anyhow::Result<(String, StoredBinding)> {
    let text = |index: usize| row.try_get::<Option<String>, _>(index).map(Option::unwrap_or_default);
    let number = |index: usize| row.try_get::<i64, _>(index);
    let received = text(4)?;
    let address = received.trim_start_matches("sip:").split(';').next().unwrap_or_default();
    let socket = text(5)?;
    let (protocol, local) = socket.split_once(':').unwrap_or((&socket, ""));
    let protocol = match protocol {
        "udp" => Protocol::Udp,
        "tcp" => Protocol::Tcp,
        "tls" => Protocol::Tls,
        "ws" => Protocol::Ws,
        "wss" => Protocol::Wss,
        other => anyhow::bail!("transport {other:?}"),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range first")]
    let q = (row.try_get::<f64, _>(8)?.clamp(0.0, 1.0) * 1000.0).round() as u16;
    let binding = StoredBinding {
        ruid: text(2)?.into(),
        contact: text(3)?.into(),
        received: address.parse::<SocketAddr>().with_context(|| received.clone())?,
        protocol,
        local: local.parse().ok().map(Arc::new),
        path: text(6)?.into(),
        expires_at: number(7)?.try_into()?,
        last_modified: number(15)?.try_into()?,
        q,
        call_id: text(9)?.into(),
        cseq: number(10)?.try_into()?,
        user_agent: text(11)?.into(),
        instance: text(12)?.into(),
        reg_id: number(13)?.try_into()?,
        methods: number(14)?.try_into()?,
    };
    Ok((format!("{}@{}", text(0)?, text(1)?), binding))
}

impl Store for Database {
    fn account<'a>(
        &'a self,
        username: &'a str,
        domain: &'a str,
    ) -> LocalBoxFuture<'a, Result<Option<Account>, Unavailable>> {
        Box::pin(async move { self.get_account(username, domain).await.map_err(|error| unavailable(&error)) })
    }

    fn save_bindings<'a>(
        &'a self,
        aor: &'a str,
        bindings: &'a [Arc<StoredBinding>],
    ) -> LocalBoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.writer.save(aor, bindings))
    }
}

fn unavailable(error: &sqlx::Error) -> Unavailable {
    Unavailable(format!("database: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(ruid: &str, protocol: Protocol, expires_at: u64) -> StoredBinding {
        StoredBinding {
            ruid: ruid.into(),
            contact: format!("sip:{ruid}@abc.invalid;transport=ws").into(),
            received: "[2001:db8::7]:40000".parse().unwrap(),
            protocol,
            local: Some(Arc::new("[2001:db8::1]:5060".parse().unwrap())),
            path: "<sip:edge.example;lr>,<sip:a@edge.example;lr;ob>".into(),
            expires_at,
            last_modified: 500,
            q: 700,
            call_id: "c@x".into(),
            cseq: u32::MAX,
            user_agent: "JsSIP 3.13.8".into(),
            instance: "<urn:uuid:1>".into(),
            reg_id: 1,
            methods: u32::MAX,
        }
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
        let loaded = database.registrations(1000).await.unwrap();
        let expected = bindings.map(|binding| ("alice@example.com".to_owned(), (*binding).clone()));
        assert_eq!(loaded, expected, "every column comes back");
        assert_eq!(database.registrations(2000).await.unwrap().len(), 1, "those that ran out are not loaded");
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
        assert_eq!(database.registrations(0).await.unwrap().len(), 1);
        save(&[]).await;
        assert_eq!(database.registrations(0).await.unwrap().len(), 0);

        database.put_account(&account("bob", "h"), "b").await.unwrap();
        save(&[binding("c", Protocol::Udp, 2000)]).await;
        assert!(database.remove_account("bob", "example.com").await.unwrap());
        assert!(!database.remove_account("bob", "example.com").await.unwrap());
        assert!(database.registrations(0).await.unwrap().is_empty());
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
        assert_eq!(database.registrations(0).await.unwrap().len(), 2500);
        let (old, new) = (
            [Arc::new(binding("old", Protocol::Udp, 2000))],
            [Arc::new(binding("new", Protocol::Udp, 2000))],
        );
        let (first, second) = futures_util::join!(
            database.save_bindings("u1@example.com", &old),
            database.save_bindings("u1@example.com", &new)
        );
        assert!(first.is_ok() && second.is_ok());
        let rows = database.registrations(0).await.unwrap();
        let of_u1: Vec<_> = rows.iter().filter(|(aor, _)| aor == "u1@example.com").collect();
        assert_eq!(of_u1.len(), 1);
        assert_eq!(&*of_u1[0].1.ruid, "new");
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
            assert_eq!(database.registrations(0).await.unwrap().len(), expected, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn a_password_changed_by_another_process_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let gateway = Database::open(&path, DbMode::default()).await.unwrap();
        let command = Database::open(&path, DbMode::default()).await.unwrap();
        let ha1 =
            async || gateway.get_account("alice", "example.com").await.unwrap().map(|account| account.ha1);
        assert_eq!(ha1().await, None);
        for password in ["one", "two", "three"] {
            command.put_account(&account("alice", password), "b").await.unwrap();
            let expected = Some(account("alice", password).ha1);
            assert_eq!((ha1().await, ha1().await), (expected.clone(), expected));
        }
        assert!(command.remove_account("alice", "example.com").await.unwrap());
        assert_eq!(ha1().await, None);
    }

    #[tokio::test]
    async fn a_password_changed_by_a_foreign_program_counts_soon() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        database.put_account(&account("alice", "old"), "b").await.unwrap();
        let ha1 = async || database.get_account("alice", "example.com").await.unwrap().unwrap().ha1;
        assert_eq!(ha1().await, account("alice", "old").ha1);
        sqlx::query("UPDATE subscriber SET ha1 = 'new'").execute(&database.pool).await.unwrap();
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
