//! Accounts and registrations in SQLite, under Kamailio's table and column names, so that its tools can read them.

mod schema;

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

/// The bit of a contact behind a NAT in `cflags`: flag 6, which Kamailio's own configuration calls FLB_NATB.
const NATED: i64 = 1 << 6;

/// The open database; clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    pool: SqlitePool,
}

impl Database {
    /// Opens the file at `path`, makes it when missing, and brings its tables up to date.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or belongs to a newer version of this program.
    pub async fn open(path: &Path) -> anyhow::Result<Self> {
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
        Ok(Self { pool })
    }

    /// Waits until all that was written is in the main file.
    pub async fn close(&self) {
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
        Ok(())
    }

    /// The account of `username` in `domain`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn get_account(&self, username: &str, domain: &str) -> Result<Option<Account>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT username, domain, ha1, ha1_sha256, ha1_sha512_256 FROM subscriber WHERE username = ? AND domain = ?",
        )
        .bind(username)
        .bind(domain)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(Account {
                username: row.try_get(0)?,
                domain: row.try_get(1)?,
                ha1: row.try_get(2)?,
                ha1_sha256: row.try_get(3)?,
                ha1_sha512_256: row.try_get(4)?,
            })
        })
        .transpose()
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
        Ok(removed > 0)
    }

    /// The registrations that are good at `unix_now`, each with its address of record.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn registrations(&self, unix_now: u64) -> anyhow::Result<Vec<(String, StoredBinding)>> {
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

    async fn write_bindings(&self, aor: &str, bindings: &[Arc<StoredBinding>]) -> Result<(), sqlx::Error> {
        let (username, domain) = aor.rsplit_once('@').unwrap_or(("", aor));
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM location WHERE username = ? AND domain = ?")
            .bind(username)
            .bind(domain)
            .execute(&mut *transaction)
            .await?;
        for binding in bindings {
            sqlx::query(
                "INSERT OR REPLACE INTO location (username, domain, ruid, contact, received, socket, path, expires, q,
                    callid, cseq, user_agent, instance, reg_id, methods, cflags, last_modified)
                 VALUES (?, ?, ?, ?, ?, ?, ?, datetime(?, 'unixepoch'), ?, ?, ?, ?, ?, ?, ?, ?,
                    datetime(?, 'unixepoch'))",
            )
            .bind(username)
            .bind(domain)
            .bind(&*binding.ruid)
            .bind(&*binding.contact)
            .bind(binding.received_uri())
            .bind(socket(binding))
            .bind(Some(&*binding.path).filter(|path| !path.is_empty()))
            .bind(i64::try_from(binding.expires_at).unwrap_or(i64::MAX))
            .bind(f64::from(binding.q) / 1000.0)
            .bind(&*binding.call_id)
            .bind(i64::from(binding.cseq))
            .bind(&*binding.user_agent)
            .bind(Some(&*binding.instance).filter(|instance| !instance.is_empty()))
            .bind(i64::from(binding.reg_id))
            .bind(i64::from(binding.methods))
            .bind(if binding.is_nated() { NATED } else { 0 })
            .bind(i64::try_from(binding.last_modified).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
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
        Box::pin(async move { self.write_bindings(aor, bindings).await.map_err(|error| unavailable(&error)) })
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
            let database = Database::open(&path).await.unwrap();
            database.put_account(&account("alice", "old"), "b").await.unwrap();
            database.put_account(&account("alice", "new"), "b").await.unwrap();
            database.save_bindings("alice@example.com", &bindings).await.unwrap();
            database.close().await;
        }
        let database = Database::open(&path).await.unwrap();
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
        let database = Database::open(&directory.path().join("x.sqlite")).await.unwrap();
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
    async fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite")).await.unwrap();
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
        let error = format!("{:#}", Database::open(&path).await.unwrap_err());
        assert!(error.contains("x.sqlite"), "{error}");
    }
}
