//! The tables, and the steps from each version of them to the next.

use anyhow::bail;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

/// One entry per step; the file remembers in `user_version` how many were taken. Entries are only ever appended.
const STEPS: &[&str] = &[
    "
    CREATE TABLE version (
        id INTEGER PRIMARY KEY NOT NULL,
        table_name VARCHAR(32) NOT NULL UNIQUE,
        table_version INTEGER DEFAULT 0 NOT NULL
    );
    CREATE TABLE subscriber (
        id INTEGER PRIMARY KEY NOT NULL,
        username VARCHAR(64) DEFAULT '' NOT NULL,
        domain VARCHAR(64) DEFAULT '' NOT NULL,
        password VARCHAR(64) DEFAULT '' NOT NULL,
        ha1 VARCHAR(128) DEFAULT '' NOT NULL,
        ha1b VARCHAR(128) DEFAULT '' NOT NULL,
        UNIQUE (username, domain)
    );
    CREATE TABLE location (
        id INTEGER PRIMARY KEY NOT NULL,
        ruid VARCHAR(64) DEFAULT '' NOT NULL UNIQUE,
        username VARCHAR(64) DEFAULT '' NOT NULL,
        domain VARCHAR(64) DEFAULT NULL,
        contact VARCHAR(512) DEFAULT '' NOT NULL,
        received VARCHAR(128) DEFAULT NULL,
        path VARCHAR(512) DEFAULT NULL,
        expires TIMESTAMP DEFAULT '2030-05-28 21:32:15' NOT NULL,
        q REAL DEFAULT 1.0 NOT NULL,
        callid VARCHAR(255) DEFAULT 'Default-Call-ID' NOT NULL,
        cseq INTEGER DEFAULT 1 NOT NULL,
        last_modified TIMESTAMP DEFAULT '2000-01-01 00:00:01' NOT NULL,
        flags INTEGER DEFAULT 0 NOT NULL,
        cflags INTEGER DEFAULT 0 NOT NULL,
        user_agent VARCHAR(255) DEFAULT '' NOT NULL,
        socket VARCHAR(64) DEFAULT NULL,
        methods INTEGER DEFAULT NULL,
        instance VARCHAR(255) DEFAULT NULL,
        reg_id INTEGER DEFAULT 0 NOT NULL,
        server_id INTEGER DEFAULT 0 NOT NULL,
        connection_id INTEGER DEFAULT 0 NOT NULL,
        keepalive INTEGER DEFAULT 0 NOT NULL,
        partition INTEGER DEFAULT 0 NOT NULL
    );
    CREATE INDEX location_account ON location (username, domain);
    INSERT INTO version (table_name, table_version) VALUES ('subscriber', 7), ('location', 9);
",
    "
    ALTER TABLE subscriber ADD COLUMN ha1_sha256 VARCHAR(128) DEFAULT '' NOT NULL;
    ALTER TABLE subscriber ADD COLUMN ha1_sha512_256 VARCHAR(128) DEFAULT '' NOT NULL;
",
    "
    CREATE TABLE subscriber_changes (counter INTEGER NOT NULL);
    INSERT INTO subscriber_changes (counter) VALUES (0);
    CREATE TRIGGER subscriber_inserted AFTER INSERT ON subscriber
        BEGIN UPDATE subscriber_changes SET counter = counter + 1; END;
    CREATE TRIGGER subscriber_updated AFTER UPDATE ON subscriber
        BEGIN UPDATE subscriber_changes SET counter = counter + 1; END;
    CREATE TRIGGER subscriber_deleted AFTER DELETE ON subscriber
        BEGIN UPDATE subscriber_changes SET counter = counter + 1; END;
",
];

/// Takes the steps that are missing, each whole or not at all.
pub(super) async fn migrate(pool: &SqlitePool) -> anyhow::Result<()> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let taken: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *transaction).await?.try_get(0)?;
    let taken = usize::try_from(taken)?;
    if taken > STEPS.len() {
        bail!("made by a newer version of this program (step {taken}, this one knows {})", STEPS.len());
    }
    for (number, step) in STEPS.iter().enumerate().skip(taken) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        // A pragma takes no bound values; the number comes from the table above.
        let mark = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", number + 1));
        sqlx::raw_sql(mark).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Database, DbMode};

    /// An account of the first version keeps its MD5 hash, by which alone it can be checked.
    #[tokio::test]
    async fn an_older_file_is_brought_up_to_date() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(super::STEPS[0]).execute(&pool).await.unwrap();
        let row = "INSERT INTO subscriber (username, domain, ha1) VALUES ('alice', 'example.com', 'abc');
                   PRAGMA user_version = 1";
        sqlx::raw_sql(row).execute(&pool).await.unwrap();
        pool.close().await;
        let database = Database::open(&path, DbMode::default()).await.unwrap();
        let alice = database.get_account("alice", "example.com").await.unwrap().unwrap();
        assert_eq!(
            (alice.ha1.as_str(), alice.ha1_sha256.as_str(), alice.ha1_sha512_256.as_str()),
            ("abc", "", "")
        );
    }

    #[tokio::test]
    async fn a_newer_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sqlite");
        let database = Database::open(&path, DbMode::default()).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 99").execute(&database.pool).await.unwrap();
        database.close().await;
        let error = format!("{:#}", Database::open(&path, DbMode::default()).await.unwrap_err());
        assert!(error.contains("newer version"), "{error}");
    }
}
