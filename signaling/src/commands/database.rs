//! `causeway db`: makes, checks, saves and fills a database.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::listing::Listing;
use crate::store::schema::{self, Bring, TABLES, Table};
use crate::store::sql::{Kind, Place, Sql, Statement, Value, open_existing};
use crate::store::{Storage, tables, unix_now};

/// The tables that are taken over from a Kamailio; records of calls stay where they are.
const IMPORTED: [&str; 10] = [
    "subscriber",
    "location",
    "dbaliases",
    "speed_dial",
    "domain",
    "domain_attrs",
    "trusted",
    "address",
    "grp",
    "dispatcher",
];

/// `db create`: gives the database every table and column that this program knows of. What is there stays.
///
/// # Errors
/// It does not answer, or has tables of another version.
pub async fn create(storage: &Storage) -> anyhow::Result<String> {
    let sql = Sql::open(&storage.place).await?;
    let name = storage.place.name();
    schema::bring(&sql, Bring::All).await.with_context(|| format!("database {name}"))?;
    sql.close().await;
    Ok(format!("{name} has all tables\n"))
}

/// `db check`: what is wrong with the database. It is not changed.
///
/// # Errors
/// Something is wrong, or it does not answer.
pub async fn check(storage: &Storage) -> anyhow::Result<String> {
    let sql = open_existing(&storage.place).await?;
    let faults = schema::faults(&sql).await?;
    let mut text = format!("{}\n", storage.place.name());
    for table in TABLES.iter().filter(|table| table.name != "version") {
        let columns = sql.columns(table.name).await?;
        if columns.is_empty() {
            continue;
        }
        let count = format!("SELECT COUNT(*) FROM {}", sql.kind().quoted(table.name));
        let rows = sql.fetch(Statement::new(count, [])).await?;
        let count = rows.first().map_or(Ok(0), |row| row.int(0))?;
        text.push_str(&format!("  {:<16}{count} rows", table.name));
        let lacks: Vec<_> =
            table.added.iter().filter(|c| !columns.iter().any(|name| name == c.name)).collect();
        if !lacks.is_empty() {
            text.push_str(&format!(", without {} columns that causeway db create adds", lacks.len()));
        }
        text.push('\n');
    }
    sql.close().await;
    ensure!(faults.is_empty(), "{}: {}", storage.place.name(), faults.join("; "));
    Ok(text)
}

/// `db backup`: all tables as a SQLite file, which `import-kamailio` reads and which can be used as it is. A gateway may run
/// meanwhile.
///
/// # Errors
/// The file is there already or cannot be written, or the database does not answer. Nothing is left of it then.
pub async fn backup(storage: &Storage, file: &Path) -> anyhow::Result<String> {
    ensure!(!file.exists(), "{} is there already", file.display());
    let sql = open_existing(&storage.place).await?;
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let _ = std::fs::remove_file(part);
    let saved = save(&sql, part).await;
    sql.close().await;
    let moved = saved.and_then(|()| Ok(std::fs::rename(part, file)?));
    if let Err(error) = moved {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", part.display()));
        }
        return Err(error.context(format!("backup to {}", file.display())));
    }
    Ok(format!("{} saved to {}\n", storage.place.name(), file.display()))
}

async fn save(sql: &Sql, file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // It holds what passwords can be guessed from.
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    if sql.kind() == Kind::Sqlite {
        let path = file.to_str().context("the name of the file is no text")?;
        sql.execute(Statement::new("VACUUM INTO ?", [path.into()])).await?;
        return Ok(());
    }
    let copy = Sql::open(&Place::File(file.to_owned())).await?;
    schema::bring(&copy, Bring::All).await?;
    let all: Vec<_> = TABLES.iter().filter(|table| table.name != "version").collect();
    tables::copy(sql, &copy, &all, false).await?;
    copy.close().await;
    Ok(())
}

/// `db import-kamailio`: takes the accounts and tables of another database over, all or nothing.
///
/// # Errors
/// One of the two does not answer, or a row is there already and `replace` is not said.
pub async fn import(storage: &Storage, url: &str, replace: bool) -> anyhow::Result<String> {
    let place = match Place::parse(url) {
        Ok(place) => place,
        Err(what) => bail!("the URL of the other database: {what}"),
    };
    ensure!(place != storage.place, "a database is not imported into itself");
    let from = open_existing(&place).await?;
    let to = Sql::open(&storage.place).await?;
    schema::bring(&to, if storage.own { Bring::All } else { Bring::Missing }).await?;
    let wanted: Vec<_> = IMPORTED.iter().filter_map(|name| Table::named(name)).collect();
    let counts = tables::copy(&from, &to, &wanted, replace)
        .await
        .with_context(|| format!("from {} (--replace removes the rows that are there)", place.name()))?;
    from.close().await;
    to.close().await;
    Ok(counts.into_iter().map(|(table, count)| format!("  {table:<16}{count} rows\n")).collect())
}

/// `registrations remove` while no gateway runs: whether there was anything to remove.
///
/// # Errors
/// The database does not answer.
pub async fn remove_registrations(
    storage: &Storage,
    (user, domain): (&str, &str),
    contact: Option<&str>,
) -> anyhow::Result<bool> {
    let sql = open_existing(&storage.place).await?;
    let table = Table::named("location").context("location")?;
    let mut key: Vec<(&str, Value)> = vec![("username", user.into()), ("domain", domain.into())];
    key.extend(contact.map(|contact| ("contact", contact.into())));
    let removed = tables::remove(&sql, table, &key).await?;
    sql.close().await;
    Ok(removed > 0)
}

/// `registrations list` and `show`: the contacts that are good now, as the database has them; of one user only if it is named.
///
/// # Errors
/// The database does not answer.
pub async fn registrations(storage: &Storage, user: Option<(&str, &str)>) -> anyhow::Result<Listing> {
    const COLUMNS: [&str; 9] = [
        "username",
        "domain",
        "contact",
        "received",
        "socket",
        "expires",
        "last_modified",
        "instance",
        "user_agent",
    ];
    let sql = open_existing(&storage.place).await?;
    let table = Table::named("location").context("location")?;
    let filter: Vec<(&str, Value)> = match user {
        Some((user, domain)) => vec![("username", user.into()), ("domain", domain.into())],
        None => Vec::new(),
    };
    let order = "domain, username, id";
    let mut rows = tables::rows(&sql, table, &COLUMNS, &filter, order, usize::MAX >> 1).await?;
    sql.close().await;
    let now = i64::try_from(unix_now())?;
    rows.retain(|row| matches!(row[5], Value::Int(Some(expires)) if expires > now));
    Ok(Listing::new(table, &COLUMNS, rows))
}
