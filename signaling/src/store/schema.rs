//! The tables, under the names, columns and versions of Kamailio 5.6, said once and written in the words of each database.
//! `tests/tests/interop_databases.rs` compares every one of them with the files that Debian's Kamailio makes them from.

mod all;

use anyhow::{Context as _, bail};

pub use self::all::TABLES;
use super::sql::{Kind, Sql, Statement, Value};

/// A table.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What Kamailio's table `version` says of it; zero for one that is not Kamailio's.
    pub version: i64,
    /// Its columns but `id`, which every table has.
    pub columns: &'static [Column],
    /// Columns that are not Kamailio's. It reads and writes by name, so that they do not disturb it.
    pub added: &'static [Column],
    /// Its indexes, by name, columns, and whether it is one that only Kamailio's own queries make use of.
    pub indexes: &'static [Index],
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// What it holds when nothing is said, in SQL; `None` for no default.
    pub default: Option<&'static str>,
    /// Whether it may hold nothing.
    pub null: bool,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// At most so many characters.
    Text(u16),
    /// Characters, many.
    Note,
    /// A whole number of 32 bits.
    Int,
    /// The same without sign, where there is such a thing.
    Unsigned,
    /// A whole number of 16 bits, likewise.
    Port,
    /// The same with a sign.
    Small,
    /// A whole number of 64 bits.
    Long,
    /// A number, with so many decimals where that can be said.
    Real(u8),
    /// A point in time, in UTC.
    Time,
}

/// An index.
#[derive(Debug)]
pub struct Index {
    name: &'static str,
    columns: &'static [&'static str],
    unique: bool,
    /// The embedded file does without it: each one costs every REGISTER.
    only_kamailio: bool,
}

/// Counts every change to `subscriber`, whichever program makes it. In the embedded file only: elsewhere a trigger would be a
/// thing that its owner does not expect.
const COUNTER: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS subscriber_changes (counter INTEGER NOT NULL)",
    "INSERT INTO subscriber_changes (counter) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM subscriber_changes)",
    "CREATE TRIGGER IF NOT EXISTS subscriber_inserted AFTER INSERT ON subscriber
        BEGIN UPDATE subscriber_changes SET counter = counter + 1; END",
    "CREATE TRIGGER IF NOT EXISTS subscriber_updated AFTER UPDATE ON subscriber
        BEGIN UPDATE subscriber_changes SET counter = counter + 1; END",
    "CREATE TRIGGER IF NOT EXISTS subscriber_deleted AFTER DELETE ON subscriber
        BEGIN UPDATE subscriber_changes SET counter = counter + 1; END",
];

/// What `user_version` says of an embedded file that has all of the above.
const FILE_VERSION: i64 = 6;

/// How much of its shape a database is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bring {
    /// Everything: it is ours, or its owner has said so.
    All,
    /// Tables that are missing, but nothing is changed in those that are there: they are somebody else's.
    Missing,
}

/// Gives the database the tables it lacks, and with [`Bring::All`] the columns. Either all is done or, but for MySQL, nothing.
///
/// # Errors
/// It belongs to a newer version of this program or has tables of another version of Kamailio.
pub async fn bring(sql: &Sql, bring: Bring) -> anyhow::Result<()> {
    let kind = sql.kind();
    let embedded = kind == Kind::Sqlite && bring == Bring::All;
    if embedded && file_version(sql).await? == FILE_VERSION {
        return Ok(());
    }
    check_versions(sql).await?;
    let mut statements = Vec::new();
    for table in TABLES {
        let present = sql.columns(table.name).await?;
        if present.is_empty() {
            statements.extend(table.create(kind).into_iter().map(plain));
            statements.push(version_row(table));
        } else if bring == Bring::All {
            let missing = table.added.iter().filter(|column| !present.iter().any(|name| name == column.name));
            statements.extend(missing.map(|column| plain(table.add(kind, column))));
        }
    }
    if embedded {
        // The index of earlier versions, which the one of Kamailio's name has the columns of.
        statements.push(plain("DROP INDEX IF EXISTS location_account"));
        statements.push(plain(
            "CREATE INDEX IF NOT EXISTS location_account_contact_idx ON location (username, domain, contact)",
        ));
        statements.extend(COUNTER.iter().map(|statement| plain(*statement)));
        statements.push(plain(format!("PRAGMA user_version = {FILE_VERSION}")));
    }
    if !statements.is_empty() {
        sql.transact(statements).await?;
    }
    Ok(())
}

/// What is wrong with the tables, a line each; none when all is well. Columns of this program's own that are missing are no
/// fault: what they are for is left out.
///
/// # Errors
/// The database does not answer.
pub async fn faults(sql: &Sql) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    if let Err(error) = check_versions(sql).await {
        faults.push(format!("{error:#}"));
    }
    for table in TABLES {
        let present = sql.columns(table.name).await?;
        if present.is_empty() {
            faults.push(format!("table {} is missing", table.name));
            continue;
        }
        let missing = table.columns.iter().filter(|column| !present.iter().any(|name| name == column.name));
        faults.extend(missing.map(|column| format!("table {} has no column {}", table.name, column.name)));
    }
    Ok(faults)
}

async fn file_version(sql: &Sql) -> anyhow::Result<i64> {
    let rows = sql.fetch(Statement::new("PRAGMA user_version", [])).await?;
    Ok(rows.first().context("no user_version")?.int(0)?)
}

/// Refuses tables whose columns mean something else than is known here.
async fn check_versions(sql: &Sql) -> anyhow::Result<()> {
    if sql.kind() == Kind::Sqlite {
        let found = file_version(sql).await?;
        if found > FILE_VERSION {
            bail!("made by a newer version of this program (step {found}, this one knows {FILE_VERSION})");
        }
    }
    if sql.columns("version").await?.is_empty() {
        return Ok(());
    }
    let rows = sql.fetch(Statement::new("SELECT table_name, table_version FROM version", [])).await?;
    for row in rows {
        let (name, found) = (row.text(0)?, row.int(1)?);
        let known = TABLES.iter().find(|table| table.name == name);
        if let Some(table) = known.filter(|table| table.version != found) {
            let wanted = table.version;
            bail!("table {name} has version {found}; {wanted} is what Kamailio 5.6 and this program know");
        }
    }
    Ok(())
}

fn plain(sql: impl Into<std::borrow::Cow<'static, str>>) -> Statement {
    Statement::new(sql, [])
}

/// What Kamailio looks for before it uses a table.
fn version_row(table: &Table) -> Statement {
    Statement::new(
        "INSERT INTO version (table_name, table_version)
         SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM version AS known WHERE known.table_name = ?)",
        [table.name.into(), table.version.into(), table.name.into()],
    )
}

impl Table {
    /// The table of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// All columns but `id`, in their order.
    pub fn all_columns(&self) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().chain(self.added)
    }

    /// The statements that make it, with its indexes.
    #[must_use]
    pub fn create(&self, kind: Kind) -> Vec<String> {
        let mut parts = vec![id(kind).to_owned()];
        parts.extend(self.all_columns().map(|column| column.definition(kind)));
        for index in self.indexes.iter().filter(|index| index.unique) {
            let columns = index.columns(kind);
            parts.push(format!("CONSTRAINT {} UNIQUE ({columns})", index.full_name(self.name, kind)));
        }
        let name = kind.quoted(self.name);
        let mut statements =
            vec![format!("CREATE TABLE IF NOT EXISTS {name} (\n    {}\n)", parts.join(",\n    "))];
        let spared = |index: &Index| kind == Kind::Sqlite && index.only_kamailio;
        let wanted = |index: &&Index| !(index.unique || spared(index));
        for index in self.indexes.iter().filter(wanted) {
            let columns = index.columns(kind);
            statements
                .push(format!("CREATE INDEX {} ON {name} ({columns})", index.full_name(self.name, kind)));
        }
        statements
    }

    fn add(&self, kind: Kind, column: &Column) -> String {
        format!("ALTER TABLE {} ADD COLUMN {}", kind.quoted(self.name), column.definition(kind))
    }
}

impl Index {
    /// Only MySQL has the names of indexes belong to their table.
    fn full_name(&self, table: &str, kind: Kind) -> String {
        if kind == Kind::MySql { self.name.to_owned() } else { format!("{table}_{}", self.name) }
    }

    fn columns(&self, kind: Kind) -> String {
        self.columns.iter().map(|column| kind.quoted(column)).collect::<Vec<_>>().join(", ")
    }
}

impl Column {
    /// A value that is a note and no key, so that the column takes it: a text is cut to its length.
    #[must_use]
    pub fn fitting(&self, value: Value) -> Value {
        match (value, self.holds) {
            (Value::Text(Some(text)), Holds::Text(length))
                if text.len() > length.into() || text.contains('\0') =>
            {
                text.chars().filter(|c| *c != '\0').take(length.into()).collect::<String>().into()
            }
            (value, _) => value,
        }
    }

    /// PostgreSQL has no unsigned numbers: those with the highest bit are kept with a sign.
    #[must_use]
    pub fn signed(&self, kind: Kind, value: Value) -> Value {
        match (kind, self.holds, value) {
            (Kind::Postgres, Holds::Port, Value::Int(Some(number))) if number > i64::from(i16::MAX) => {
                (number - 0x1_0000).into()
            }
            (Kind::Postgres, Holds::Unsigned, Value::Int(Some(number))) if number > i64::from(i32::MAX) => {
                (number - 0x1_0000_0000).into()
            }
            (_, _, value) => value,
        }
    }

    fn definition(&self, kind: Kind) -> String {
        let name = kind.quoted(self.name);
        let holds = self.holds.name(kind);
        let default = self.default.map(|default| format!(" DEFAULT {default}")).unwrap_or_default();
        let null = if self.null { "" } else { " NOT NULL" };
        format!("{name} {holds}{default}{null}")
    }
}

impl Holds {
    fn name(self, kind: Kind) -> String {
        let mysql = kind == Kind::MySql;
        match self {
            Self::Text(length) => format!("VARCHAR({length})"),
            Self::Note if mysql => "MEDIUMTEXT".into(),
            Self::Note => "TEXT".into(),
            Self::Unsigned if mysql => "INT(11) UNSIGNED".into(),
            Self::Port if mysql => "SMALLINT(5) UNSIGNED".into(),
            Self::Int if mysql => "INT(11)".into(),
            Self::Int | Self::Unsigned => "INTEGER".into(),
            Self::Port | Self::Small => "SMALLINT".into(),
            Self::Long => "BIGINT".into(),
            Self::Real(decimals) if mysql => format!("FLOAT(10,{decimals})"),
            Self::Real(_) => "REAL".into(),
            Self::Time if mysql => "DATETIME".into(),
            Self::Time => "TIMESTAMP WITHOUT TIME ZONE".into(),
        }
    }
}

const fn id(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "id INTEGER PRIMARY KEY NOT NULL",
        Kind::Postgres => "id SERIAL PRIMARY KEY NOT NULL",
        Kind::MySql => "id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Database, DbMode};

    /// What the first version of this program made.
    const FIRST: &[&str] = &[
        "CREATE TABLE version (id INTEGER PRIMARY KEY NOT NULL, table_name VARCHAR(32) NOT NULL UNIQUE,
            table_version INTEGER DEFAULT 0 NOT NULL)",
        "CREATE TABLE subscriber (id INTEGER PRIMARY KEY NOT NULL, username VARCHAR(64) DEFAULT '' NOT NULL,
            domain VARCHAR(64) DEFAULT '' NOT NULL, password VARCHAR(64) DEFAULT '' NOT NULL,
            ha1 VARCHAR(128) DEFAULT '' NOT NULL, ha1b VARCHAR(128) DEFAULT '' NOT NULL,
            UNIQUE (username, domain))",
        "INSERT INTO version (table_name, table_version) VALUES ('subscriber', 7)",
        "INSERT INTO subscriber (username, domain, ha1) VALUES ('alice', 'example.com', 'abc')",
        "PRAGMA user_version = 1",
    ];

    async fn file_with(statements: &[&'static str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let sql = Sql::open(&super::super::sql::Place::File(path.clone())).await.unwrap();
        sql.transact(statements.iter().map(|statement| plain(*statement)).collect()).await.unwrap();
        sql.close().await;
        (directory, path)
    }

    /// An account of the first version keeps its MD5 hash, by which alone it can be checked.
    #[tokio::test]
    async fn an_older_file_is_brought_up_to_date() {
        let (_directory, path) = file_with(FIRST).await;
        let database = Database::open(&path, DbMode::default()).await.unwrap();
        let alice = database.get_account("alice", "example.com").await.unwrap().unwrap();
        assert_eq!(
            (alice.ha1.as_str(), alice.ha1_sha256.as_str(), alice.ha1_sha512_256.as_str()),
            ("abc", "", "")
        );
        assert_eq!(faults(database.sql()).await.unwrap(), Vec::<String>::new());
        database.close().await;
        let again = Database::open(&path, DbMode::default()).await.unwrap();
        assert_eq!(again.accounts().await.unwrap().len(), 1, "nothing is done twice");
    }

    #[tokio::test]
    async fn a_newer_file_is_left_alone() {
        let (_directory, path) = file_with(&["PRAGMA user_version = 99"]).await;
        let error = format!("{:#}", Database::open(&path, DbMode::default()).await.unwrap_err());
        assert!(error.contains("x.sqlite") && error.contains("newer version"), "{error}");
    }

    #[tokio::test]
    async fn a_table_of_another_kamailio_is_refused_and_nothing_is_changed() {
        let change = "UPDATE version SET table_version = 6";
        let statements = [FIRST, &[change]].concat();
        let (_directory, path) = file_with(&statements).await;
        let error = format!("{:#}", Database::open(&path, DbMode::default()).await.unwrap_err());
        assert!(error.contains("table subscriber has version 6; 7 is what"), "{error}");
        let sql = Sql::open(&super::super::sql::Place::File(path)).await.unwrap();
        assert!(sql.columns("location").await.unwrap().is_empty());
    }

    #[test]
    fn every_name_stands_once() {
        for (number, table) in TABLES.iter().enumerate() {
            assert!(TABLES[..number].iter().all(|other| other.name != table.name), "{}", table.name);
            let names: Vec<_> = table.all_columns().map(|column| column.name).collect();
            let once: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(names.len(), once.len(), "{}", table.name);
        }
    }
}
