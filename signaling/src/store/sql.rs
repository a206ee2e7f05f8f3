//! One way to speak to three kinds of databases. Statements are written once, with `?` for values; what differs between
//! the three is said by [`Kind`], and stands nowhere else.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

use super::schema::Holds;

/// Connections kept to a server; to a file, that many can read at once.
const CONNECTIONS: u32 = 4;
/// How long a connection is waited for, and a file that another program writes to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one connection to a file keeps of it, in KiB where it is negative (SQLite's `cache_size`).
const CACHE: &str = "-8192";

/// What speaks SQL at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file, read and written by this process.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// A MySQL or MariaDB server.
    MySql,
}

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This file.
    File(PathBuf),
    /// A server, by its URL, which may hold a password.
    Server(Kind, String),
}

impl Place {
    /// Reads a `db_url` of Kamailio: `sqlite:///PATH`, `postgres://USER:PASSWORD@HOST/NAME`, `mysql://...`.
    ///
    /// # Errors
    /// It is none of these. The text names no password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once(':').ok_or("a URL begins with its scheme")?;
        let kind = match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() {
                    return Err("sqlite:// is followed by the path of a file".into());
                }
                return Ok(Self::File(path.into()));
            }
            "postgres" | "postgresql" => Kind::Postgres,
            "mysql" => Kind::MySql,
            _ => return Err(format!("{scheme:?} is no kind of database")),
        };
        let hint = "expected SCHEME://USER:PASSWORD@HOST/NAME, with %XX for special characters in them";
        let name = match kind {
            Kind::Postgres => PgConnectOptions::from_str(url).map(|o| o.get_database().map(str::to_owned)),
            _ => MySqlConnectOptions::from_str(url).map(|o| o.get_database().map(str::to_owned)),
        };
        match name {
            Ok(Some(name)) if !name.is_empty() => Ok(Self::Server(kind, url.to_owned())),
            Ok(_) => Err(format!("it names no database: {hint}")),
            // What is wrong with it may be the password, so that it is not repeated.
            Err(_) => Err(hint.to_owned()),
        }
    }

    /// For people: without the password.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Server(_, url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                format!("{scheme}://{}", host.split('?').next().unwrap_or_default())
            }
        }
    }
}

/// A value on its way to the database. An absent one has a type too, which PostgreSQL asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Characters.
    Text(Option<String>),
    /// A whole number, or a time in seconds since 1970 where the statement says so.
    Int(Option<i64>),
    /// Any number.
    Real(Option<f64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(Some(number))
    }
}

/// A statement with its values.
#[derive(Debug, Clone)]
pub struct Statement {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

impl Statement {
    /// `sql` has a `?` for each of `values`. It holds nothing that came from outside.
    pub fn new(sql: impl Into<Cow<'static, str>>, values: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), values: values.into() }
    }
}

impl Kind {
    /// The expression of a time column for the value `?`, seconds since 1970.
    pub const fn from_unix(self) -> &'static str {
        match self {
            Self::Sqlite => "datetime(?, 'unixepoch')",
            Self::Postgres => "(to_timestamp(?) AT TIME ZONE 'UTC')",
            Self::MySql => "DATE_ADD('1970-01-01', INTERVAL ? SECOND)",
        }
    }

    /// The expression that reads the time `column` as seconds since 1970.
    pub fn to_unix(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST(strftime('%s', {column}) AS INTEGER)"),
            Self::Postgres => format!("CAST(EXTRACT(EPOCH FROM {column}) AS BIGINT)"),
            Self::MySql => format!("TIMESTAMPDIFF(SECOND, '1970-01-01', {column})"),
        }
    }

    /// A name that may be a word of the language.
    pub fn quoted(self, name: &str) -> String {
        if self == Self::MySql { format!("`{name}`") } else { format!("\"{name}\"") }
    }

    /// PostgreSQL numbers its places.
    fn places(self, sql: Cow<'static, str>) -> Cow<'static, str> {
        if self != Self::Postgres || !sql.contains('?') {
            return sql;
        }
        let mut numbered = String::with_capacity(sql.len() + 64);
        for (number, part) in sql.split('?').enumerate() {
            if number > 0 {
                let _ = write!(numbered, "${number}");
            }
            numbered.push_str(part);
        }
        numbered.into()
    }
}

/// The open database; clones share its connections.
#[derive(Debug, Clone)]
pub enum Sql {
    /// See [`Kind::Sqlite`].
    Sqlite(SqlitePool),
    /// See [`Kind::Postgres`].
    Postgres(PgPool),
    /// See [`Kind::MySql`].
    MySql(MySqlPool),
}

/// Does the same with whichever pool it is.
macro_rules! with_pool {
    ($sql:expr, $pool:ident => $body:expr) => {
        match $sql {
            Sql::Sqlite($pool) => $body,
            Sql::Postgres($pool) => $body,
            Sql::MySql($pool) => $body,
        }
    };
}

/// A query with its values bound.
macro_rules! bound {
    ($kind:expr, $statement:expr) => {{
        let Statement { sql, values } = $statement;
        // Nothing from outside is in it: see `Statement::new`.
        let mut query = sqlx::query(AssertSqlSafe($kind.places(sql).into_owned()));
        for value in values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Int(number) => query.bind(number),
                Value::Real(number) => query.bind(number),
            };
        }
        query
    }};
}

impl Sql {
    /// Opens `place`. A file is made when missing, readable by its owner only.
    ///
    /// # Errors
    /// It cannot be opened, or the server does not answer or does not let us in.
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        Self::connect(place).await.with_context(|| format!("database {}", place.name()))
    }

    async fn connect(place: &Place) -> anyhow::Result<Self> {
        match place {
            Place::File(path) => open_file(path).await,
            Place::Server(Kind::Postgres, url) => {
                let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
                let options = PgConnectOptions::from_str(url)?.application_name("causeway");
                // One that cannot connect says why at once, which the pool would not.
                sqlx::Connection::close(sqlx::ConnectOptions::connect(&options).await?).await?;
                Ok(Self::Postgres(pool.connect_lazy_with(options)))
            }
            Place::Server(_, url) => {
                let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
                let options = MySqlConnectOptions::from_str(url)?;
                sqlx::Connection::close(sqlx::ConnectOptions::connect(&options).await?).await?;
                Ok(Self::MySql(pool.connect_lazy_with(options)))
            }
        }
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
            Self::MySql(_) => Kind::MySql,
        }
    }

    /// Executes a statement and returns how many rows it has changed.
    pub async fn execute(&self, statement: Statement) -> Result<u64, sqlx::Error> {
        let kind = self.kind();
        with_pool!(self, pool => Ok(bound!(kind, statement).execute(pool).await?.rows_affected()))
    }

    /// All rows of a query.
    pub async fn fetch(&self, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        let kind = self.kind();
        Ok(match self {
            Self::Sqlite(pool) => rows(bound!(kind, statement).fetch_all(pool).await?, Row::Sqlite),
            Self::Postgres(pool) => rows(bound!(kind, statement).fetch_all(pool).await?, Row::Postgres),
            Self::MySql(pool) => rows(bound!(kind, statement).fetch_all(pool).await?, Row::MySql),
        })
    }

    /// Executes all of `statements` or none, and returns how many rows each has changed. MySQL commits whatever changes a
    /// table's shape by itself.
    pub async fn transact(&self, statements: Vec<Statement>) -> Result<Vec<u64>, sqlx::Error> {
        let kind = self.kind();
        let mut changed = Vec::with_capacity(statements.len());
        match self {
            Self::Sqlite(pool) => {
                // Two that read first and then want to write would be in each other's way for ever.
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                for statement in statements {
                    let done = bound!(kind, statement).execute(&mut *transaction).await?;
                    changed.push(done.rows_affected());
                }
                transaction.commit().await?;
            }
            Self::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                for statement in statements {
                    let done = bound!(kind, statement).execute(&mut *transaction).await?;
                    changed.push(done.rows_affected());
                }
                transaction.commit().await?;
            }
            Self::MySql(pool) => {
                let mut transaction = pool.begin().await?;
                for statement in statements {
                    let done = bound!(kind, statement).execute(&mut *transaction).await?;
                    changed.push(done.rows_affected());
                }
                transaction.commit().await?;
            }
        }
        Ok(changed)
    }

    /// The columns of `table`, in lower case; none when there is no such table.
    pub async fn columns(&self, table: &str) -> Result<Vec<String>, sqlx::Error> {
        let query = match self.kind() {
            Kind::Sqlite => "SELECT name FROM pragma_table_info(?)",
            Kind::Postgres => {
                "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
                 WHERE table_name = ? AND table_schema = ANY (current_schemas(false))"
            }
            Kind::MySql => {
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns
                 WHERE table_name = ? AND table_schema = DATABASE()"
            }
        };
        let rows = self.fetch(Statement::new(query, [table.into()])).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_ascii_lowercase())).collect()
    }

    /// Closes all connections, when what runs on them is done.
    pub async fn close(&self) {
        with_pool!(self, pool => pool.close().await);
    }
}

async fn open_file(path: &Path) -> anyhow::Result<Sql> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Hashes of passwords are worth guessing at: only the owner reads them. SQLite gives its other files the same mode.
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A 200 to REGISTER is a promise over a power cut; NORMAL may lose the last transactions of a WAL.
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
        // Room for what a second of registrations touches: pages are else read again for each row.
        .pragma("cache_size", CACHE)
        .busy_timeout(PATIENCE);
    let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
    Ok(Sql::Sqlite(pool.connect_with(options).await?))
}

fn rows<T>(rows: Vec<T>, of: impl Fn(T) -> Row) -> Vec<Row> {
    rows.into_iter().map(of).collect()
}

/// A row of an answer. An absent value reads as nothing or zero.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    MySql(MySqlRow),
}

/// The same for whichever row it is. Other programs have made these tables too, so that types are not insisted on.
macro_rules! with_row {
    ($row:expr, $inner:ident => $body:expr) => {
        match $row {
            Row::Sqlite($inner) => $body,
            Row::Postgres($inner) => $body,
            Row::MySql($inner) => $body,
        }
    };
}

impl Row {
    /// Column `index` as text.
    pub fn text(&self, index: usize) -> Result<String, sqlx::Error> {
        self.maybe_text(index).map(Option::unwrap_or_default)
    }

    /// Column `index` as a whole number.
    pub fn int(&self, index: usize) -> Result<i64, sqlx::Error> {
        self.maybe_int(index).map(Option::unwrap_or_default)
    }

    /// Column `index` as a number.
    pub fn real(&self, index: usize) -> Result<f64, sqlx::Error> {
        self.maybe_real(index).map(Option::unwrap_or_default)
    }

    /// Column `index`, or nothing, as what it holds.
    pub fn value(&self, index: usize, holds: Holds) -> Result<Value, sqlx::Error> {
        match holds {
            Holds::Text(_) | Holds::Note => self.maybe_text(index).map(Value::Text),
            Holds::Real(_) => self.maybe_real(index).map(Value::Real),
            // MySQL's unsigned numbers come with the sign of as many bits; where PostgreSQL has no such type, they are kept
            // with a sign.
            Holds::Port => {
                self.maybe_int(index).map(|number| Value::Int(number.map(|number| number & 0xffff)))
            }
            Holds::Unsigned => {
                self.maybe_int(index).map(|number| Value::Int(number.map(|number| number & 0xffff_ffff)))
            }
            Holds::Small | Holds::Int | Holds::Long | Holds::Time => self.maybe_int(index).map(Value::Int),
        }
    }

    fn maybe_text(&self, index: usize) -> Result<Option<String>, sqlx::Error> {
        with_row!(self, row => row.try_get_unchecked(index))
    }

    fn maybe_int(&self, index: usize) -> Result<Option<i64>, sqlx::Error> {
        with_row!(self, row => row.try_get_unchecked(index))
    }

    /// Whether it has four bytes or eight is no matter.
    fn maybe_real(&self, index: usize) -> Result<Option<f64>, sqlx::Error> {
        let wide = with_row!(self, row => row.try_get::<Option<f64>, _>(index));
        let narrow = |_| {
            let narrow = with_row!(self, row => row.try_get::<Option<f32>, _>(index));
            narrow.map(|number| number.map(f64::from))
        };
        wide.or_else(narrow)
    }
}

/// Whether the database has taken offence at what it was given, not at being asked at all: it would do so again.
#[must_use]
pub fn is_fault_of_values(kind: Kind, error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => true,
        sqlx::Error::Database(error) => match (kind, error.code()) {
            // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH and their extended codes.
            (Kind::Sqlite, Some(code)) => {
                code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20))
            }
            // Classes "data exception" and "integrity constraint violation" of the standard.
            (_, Some(code)) => {
                code.starts_with("22") || code.starts_with("23") || is_bad_text(error.as_ref())
            }
            (_, None) => false,
        },
        _ => false,
    }
}

/// MySQL's ER_TRUNCATED_WRONG_VALUE_FOR_FIELD, which has a general SQLSTATE: characters that the table's set lacks.
fn is_bad_text(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().as_deref() == Some("HY000") && error.message().starts_with("Incorrect ")
}

/// Opens a SQLite file for one test or check, without making it.
///
/// # Errors
/// As [`Sql::open`]; also when it is not there.
pub async fn open_existing(place: &Place) -> anyhow::Result<Sql> {
    if let Place::File(path) = place
        && !path.exists()
    {
        bail!("database {}: there is no such file", path.display());
    }
    Sql::open(place).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_kamailio_and_their_passwords_are_not_shown() {
        let table = [
            ("sqlite:///etc/kamailio/kamailio.sqlite", "/etc/kamailio/kamailio.sqlite"),
            ("mysql://kamailio:secret@localhost/kamailio", "mysql://localhost/kamailio"),
            (
                "postgres://kamailio:secret@db.lan:5433/kamailio?sslmode=require",
                "postgres://db.lan:5433/kamailio",
            ),
            ("postgresql://u:p%40ss@[2001:db8::1]/k", "postgresql://[2001:db8::1]/k"),
        ];
        for (url, name) in table {
            assert_eq!(Place::parse(url).unwrap().name(), name, "{url}");
        }
        let wrong = [
            "",
            "kamailio",
            "oracle://a:b@c/d",
            "sqlite://",
            "mysql://u:secret@host",
            "mysql://u:secret@ho st/d",
        ];
        for url in wrong {
            let error = Place::parse(url).unwrap_err();
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn places_are_numbered_for_postgres_only() {
        let sql = "SELECT a FROM t WHERE b = ? AND c = ?";
        assert_eq!(Kind::Postgres.places(sql.into()), "SELECT a FROM t WHERE b = $1 AND c = $2");
        assert_eq!(Kind::Sqlite.places(sql.into()), sql);
    }
}
