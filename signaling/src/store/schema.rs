//! The tables, under the names, columns and versions of Kamailio 5.6, said once and written in the words of each database.
//! `tests/tests/interop_databases.rs` compares every one of them with the files that Debian's Kamailio makes them from.

use anyhow::{Context as _, bail};

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
    /// A whole number of 32 bits.
    Int,
    /// The same without sign, where there is such a thing.
    Unsigned,
    /// A whole number of 16 bits, likewise.
    Port,
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

const fn column(name: &'static str, holds: Holds, default: &'static str) -> Column {
    Column { name, holds, default: Some(default), null: false }
}

const fn text(name: &'static str, length: u16) -> Column {
    column(name, Holds::Text(length), "''")
}

const fn int(name: &'static str) -> Column {
    column(name, Holds::Int, "0")
}

const fn time(name: &'static str) -> Column {
    column(name, Holds::Time, "'2000-01-01 00:00:01'")
}

/// Must be given.
const fn given(name: &'static str, holds: Holds) -> Column {
    Column { name, holds, default: None, null: false }
}

/// May be absent.
const fn maybe(name: &'static str, holds: Holds) -> Column {
    Column { name, holds, default: Some("NULL"), null: true }
}

const fn index(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { name, columns, unique: false, only_kamailio: false }
}

const fn unique(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { name, columns, unique: true, only_kamailio: false }
}

const fn foreign(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { name, columns, unique: false, only_kamailio: true }
}

/// The columns that the articles add to `acc` and `missed_calls`, and that `db_extra` fills.
const SEEN: &[Column] = &[
    text("src_user", 64),
    text("src_domain", 128),
    text("src_ip", 64),
    text("dst_ouser", 64),
    text("dst_user", 64),
    text("dst_domain", 128),
];

const TRANSACTION: &[Column] = &[
    text("method", 16),
    text("from_tag", 128),
    text("to_tag", 128),
    text("callid", 255),
    text("sip_code", 3),
    text("sip_reason", 128),
    given("time", Holds::Time),
];

/// All tables.
pub const TABLES: &[Table] = &[
    Table {
        name: "version",
        version: 1,
        columns: &[given("table_name", Holds::Text(32)), column("table_version", Holds::Unsigned, "0")],
        added: &[],
        indexes: &[unique("table_name_idx", &["table_name"])],
    },
    Table {
        name: "subscriber",
        version: 7,
        columns: &[
            text("username", 64),
            text("domain", 64),
            text("password", 64),
            text("ha1", 128),
            text("ha1b", 128),
        ],
        added: &[text("ha1_sha256", 128), text("ha1_sha512_256", 128)],
        indexes: &[unique("account_idx", &["username", "domain"]), foreign("username_idx", &["username"])],
    },
    Table {
        name: "location",
        version: 9,
        columns: &[
            text("ruid", 64),
            text("username", 64),
            maybe("domain", Holds::Text(64)),
            text("contact", 512),
            maybe("received", Holds::Text(128)),
            maybe("path", Holds::Text(512)),
            column("expires", Holds::Time, "'2030-05-28 21:32:15'"),
            column("q", Holds::Real(2), "1.0"),
            column("callid", Holds::Text(255), "'Default-Call-ID'"),
            column("cseq", Holds::Int, "1"),
            time("last_modified"),
            int("flags"),
            int("cflags"),
            text("user_agent", 255),
            maybe("socket", Holds::Text(64)),
            maybe("methods", Holds::Int),
            maybe("instance", Holds::Text(255)),
            int("reg_id"),
            int("server_id"),
            int("connection_id"),
            int("keepalive"),
            int("partition"),
        ],
        added: &[],
        indexes: &[
            unique("ruid_idx", &["ruid"]),
            index("account_contact_idx", &["username", "domain", "contact"]),
            foreign("expires_idx", &["expires"]),
            foreign("tcpcon_idx", &["connection_id"]),
            foreign("connection_idx", &["server_id", "connection_id"]),
        ],
    },
    Table {
        name: "location_attrs",
        version: 1,
        columns: &[
            text("ruid", 64),
            text("username", 64),
            maybe("domain", Holds::Text(64)),
            text("aname", 64),
            int("atype"),
            text("avalue", 512),
            time("last_modified"),
        ],
        added: &[],
        indexes: &[
            foreign("account_record_idx", &["username", "domain", "ruid"]),
            foreign("last_modified_idx", &["last_modified"]),
        ],
    },
    Table {
        name: "acc",
        version: 5,
        columns: TRANSACTION,
        added: SEEN,
        indexes: &[index("callid_idx", &["callid"])],
    },
    Table {
        name: "missed_calls",
        version: 4,
        columns: TRANSACTION,
        added: SEEN,
        indexes: &[index("callid_idx", &["callid"])],
    },
    Table {
        name: "acc_cdrs",
        version: 2,
        columns: &[
            column("start_time", Holds::Time, "'2000-01-01 00:00:00'"),
            column("end_time", Holds::Time, "'2000-01-01 00:00:00'"),
            column("duration", Holds::Real(3), "0"),
        ],
        added: &[
            text("callid", 255),
            text("from_tag", 128),
            text("to_tag", 128),
            text("src_user", 64),
            text("src_domain", 128),
            text("src_ip", 64),
            text("dst_ouser", 64),
            text("dst_user", 64),
            text("dst_domain", 128),
            text("dst_ip", 64),
            maybe("answer_time", Holds::Time),
            text("sip_code", 3),
            text("sip_reason", 128),
            text("cause", 64),
            text("src_codec", 64),
            text("dst_codec", 64),
            maybe("src_bytes", Holds::Long),
            maybe("dst_bytes", Holds::Long),
            maybe("src_loss", Holds::Real(3)),
            maybe("dst_loss", Holds::Real(3)),
            maybe("src_jitter", Holds::Real(3)),
            maybe("dst_jitter", Holds::Real(3)),
            maybe("src_mos", Holds::Real(2)),
            maybe("dst_mos", Holds::Real(2)),
        ],
        indexes: &[index("start_time_idx", &["start_time"])],
    },
    Table {
        name: "dbaliases",
        version: 1,
        columns: &[
            text("alias_username", 64),
            text("alias_domain", 64),
            text("username", 64),
            text("domain", 64),
        ],
        added: &[],
        indexes: &[
            index("alias_user_idx", &["alias_username"]),
            index("alias_idx", &["alias_username", "alias_domain"]),
            index("target_idx", &["username", "domain"]),
        ],
    },
    Table {
        name: "speed_dial",
        version: 2,
        columns: &[
            text("username", 64),
            text("domain", 64),
            text("sd_username", 64),
            text("sd_domain", 64),
            text("new_uri", 255),
            text("fname", 64),
            text("lname", 64),
            text("description", 64),
        ],
        added: &[],
        indexes: &[unique("speed_dial_idx", &["username", "domain", "sd_domain", "sd_username"])],
    },
    Table {
        name: "domain",
        version: 2,
        columns: &[given("domain", Holds::Text(64)), maybe("did", Holds::Text(64)), time("last_modified")],
        added: &[],
        indexes: &[unique("domain_idx", &["domain"])],
    },
    Table {
        name: "domain_attrs",
        version: 1,
        columns: &[
            given("did", Holds::Text(64)),
            given("name", Holds::Text(32)),
            given("type", Holds::Unsigned),
            given("value", Holds::Text(255)),
            time("last_modified"),
        ],
        added: &[],
        indexes: &[index("domain_attrs_idx", &["did", "name"])],
    },
    Table {
        name: "trusted",
        version: 6,
        columns: &[
            given("src_ip", Holds::Text(50)),
            given("proto", Holds::Text(4)),
            maybe("from_pattern", Holds::Text(64)),
            maybe("ruri_pattern", Holds::Text(64)),
            maybe("tag", Holds::Text(64)),
            int("priority"),
        ],
        added: &[],
        indexes: &[index("peer_idx", &["src_ip"])],
    },
    Table {
        name: "address",
        version: 6,
        columns: &[
            column("grp", Holds::Unsigned, "1"),
            given("ip_addr", Holds::Text(50)),
            column("mask", Holds::Int, "32"),
            column("port", Holds::Port, "0"),
            maybe("tag", Holds::Text(64)),
        ],
        added: &[],
        indexes: &[],
    },
    Table {
        name: "grp",
        version: 2,
        columns: &[text("username", 64), text("domain", 64), text("grp", 64), time("last_modified")],
        added: &[],
        indexes: &[unique("account_group_idx", &["username", "domain", "grp"])],
    },
    Table {
        name: "dispatcher",
        version: 4,
        columns: &[
            int("setid"),
            text("destination", 192),
            int("flags"),
            int("priority"),
            text("attrs", 128),
            text("description", 64),
        ],
        added: &[],
        indexes: &[],
    },
    Table {
        name: "dialog",
        version: 7,
        columns: &[
            given("hash_entry", Holds::Unsigned),
            given("hash_id", Holds::Unsigned),
            given("callid", Holds::Text(255)),
            given("from_uri", Holds::Text(255)),
            given("from_tag", Holds::Text(128)),
            given("to_uri", Holds::Text(255)),
            given("to_tag", Holds::Text(128)),
            given("caller_cseq", Holds::Text(20)),
            given("callee_cseq", Holds::Text(20)),
            maybe("caller_route_set", Holds::Text(512)),
            maybe("callee_route_set", Holds::Text(512)),
            given("caller_contact", Holds::Text(255)),
            given("callee_contact", Holds::Text(255)),
            given("caller_sock", Holds::Text(64)),
            given("callee_sock", Holds::Text(64)),
            given("state", Holds::Unsigned),
            given("start_time", Holds::Unsigned),
            column("timeout", Holds::Unsigned, "0"),
            column("sflags", Holds::Unsigned, "0"),
            column("iflags", Holds::Unsigned, "0"),
            maybe("toroute_name", Holds::Text(32)),
            given("req_uri", Holds::Text(255)),
            maybe("xdata", Holds::Text(512)),
        ],
        added: &[],
        indexes: &[index("hash_idx", &["hash_entry", "hash_id"])],
    },
    Table {
        name: "dialog_vars",
        version: 1,
        columns: &[
            given("hash_entry", Holds::Unsigned),
            given("hash_id", Holds::Unsigned),
            given("dialog_key", Holds::Text(128)),
            given("dialog_value", Holds::Text(512)),
        ],
        added: &[],
        indexes: &[index("hash_idx", &["hash_entry", "hash_id"])],
    },
];

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
const FILE_VERSION: i64 = 4;

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
            Self::Unsigned if mysql => "INT(11) UNSIGNED".into(),
            Self::Port if mysql => "SMALLINT(5) UNSIGNED".into(),
            Self::Int if mysql => "INT(11)".into(),
            Self::Int | Self::Unsigned => "INTEGER".into(),
            Self::Port => "SMALLINT".into(),
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
