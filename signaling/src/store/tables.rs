//! Rows of any table, as the commands list, add, remove, save and import them.

use anyhow::{Context as _, bail, ensure};

use super::schema::{Column, Holds, Table};
use super::sql::{Row, Sql, Statement, Value};

/// Rows read, and written by one statement, at a time when a table is copied.
const PAGE: i64 = 2000;
const TOGETHER: usize = 16;

/// The rows of `table` that have all of `filter`, with these columns, in the order of `order`, at most `limit`. A time is
/// seconds since 1970.
///
/// # Errors
/// The database does not answer, or the table is not there.
pub async fn rows(
    sql: &Sql,
    table: &Table,
    columns: &[&str],
    filter: &[(&str, Value)],
    order: &str,
    limit: usize,
) -> anyhow::Result<Vec<Vec<Value>>> {
    let columns = columns.iter().map(|name| table.column(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let (filter, values) = condition(sql, filter);
    let query = format!(
        "SELECT {} FROM {} WHERE {filter} ORDER BY {order} LIMIT {limit}",
        selected(sql, &columns),
        sql.kind().quoted(table.name)
    );
    let rows = sql.fetch(Statement::new(query, values)).await.with_context(|| table.name.to_owned())?;
    rows.iter().map(|row| read(row, &columns)).collect()
}

/// Adds a row with these values.
///
/// # Errors
/// The database does not answer or does not want it.
pub async fn add(sql: &Sql, table: &Table, values: &[(&str, Value)]) -> anyhow::Result<()> {
    let columns = values.iter().map(|(name, _)| table.column(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let row = values.iter().map(|(_, value)| value.clone()).collect();
    sql.execute(insert(sql, table, &columns, vec![row])).await.with_context(|| table.name.to_owned())?;
    Ok(())
}

/// Removes the rows that have all of `filter`; how many there were.
///
/// # Errors
/// The database does not answer.
pub async fn remove(sql: &Sql, table: &Table, filter: &[(&str, Value)]) -> anyhow::Result<u64> {
    ensure!(!filter.is_empty(), "a whole table is not removed");
    let (filter, values) = condition(sql, filter);
    let delete = format!("DELETE FROM {} WHERE {filter}", sql.kind().quoted(table.name));
    Ok(sql.execute(Statement::new(delete, values)).await?)
}

/// Copies all rows of `tables` from one database to another, all or none. With `replace` they take the place of those that are
/// there; without, a row that is there ends it. Columns that one of them lacks are left out. How many there were of each.
///
/// # Errors
/// One of them does not answer, or does not want a row.
pub async fn copy(
    from: &Sql,
    to: &Sql,
    tables: &[&'static Table],
    replace: bool,
) -> anyhow::Result<Vec<(&'static str, usize)>> {
    let (mut statements, mut counts) = (Vec::new(), Vec::new());
    for table in tables {
        let (there, here) = (from.columns(table.name).await?, to.columns(table.name).await?);
        if there.is_empty() {
            continue;
        }
        let both =
            |column: &&Column| there.iter().chain(&here).filter(|name| **name == column.name).count() == 2;
        let columns: Vec<_> = table.all_columns().filter(both).collect();
        if replace {
            let all = format!("DELETE FROM {}", to.kind().quoted(table.name));
            statements.push(Statement::new(all, []));
        }
        let rows = everything(from, table, &columns).await.with_context(|| table.name.to_owned())?;
        counts.push((table.name, rows.len()));
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let some = rows.by_ref().take(TOGETHER).collect();
            statements.push(insert(to, table, &columns, some));
        }
    }
    to.transact(statements).await.context("nothing was copied")?;
    Ok(counts)
}

async fn everything(sql: &Sql, table: &Table, columns: &[&Column]) -> anyhow::Result<Vec<Vec<Value>>> {
    let query = format!(
        "SELECT {}, id FROM {} WHERE id > ? ORDER BY id LIMIT {PAGE}",
        selected(sql, columns),
        sql.kind().quoted(table.name)
    );
    let (mut after, mut all) = (i64::MIN, Vec::new());
    loop {
        let rows = sql.fetch(Statement::new(query.clone(), [after.into()])).await?;
        let Some(last) = rows.last() else { return Ok(all) };
        after = last.int(columns.len())?;
        for row in &rows {
            all.push(read(row, columns)?);
        }
    }
}

/// An INSERT of `rows`, each of which has a value for each of `columns`.
#[must_use]
pub fn insert(sql: &Sql, table: &Table, columns: &[&Column], rows: Vec<Vec<Value>>) -> Statement {
    let kind = sql.kind();
    let names: Vec<_> = columns.iter().map(|column| kind.quoted(column.name)).collect();
    let place = |column: &&Column| if column.holds == Holds::Time { kind.from_unix() } else { "?" };
    let places: Vec<_> = columns.iter().map(place).collect();
    let row = format!("({})", places.join(", "));
    let all = vec![row.as_str(); rows.len()].join(", ");
    let text = format!("INSERT INTO {} ({}) VALUES {all}", kind.quoted(table.name), names.join(", "));
    let values = rows.into_iter().flat_map(|row| {
        row.into_iter().zip(columns).map(|(value, column)| column.signed(kind, value)).collect::<Vec<_>>()
    });
    Statement::new(text, values.collect::<Vec<_>>())
}

/// INSERTs of `rows`, many by each.
#[must_use]
pub fn insert_all(sql: &Sql, table: &Table, columns: &[&Column], rows: Vec<Vec<Value>>) -> Vec<Statement> {
    let mut statements = Vec::new();
    in_sizes(rows, |some| statements.push(insert(sql, table, columns, some)));
    statements
}

/// Rows written, or named, by one statement, at most; and the sizes are powers of two, so that the database knows the statements.
const LARGEST: usize = 128;

/// Hands `all` over in portions, as few as can be: each costs a turn to the database and back.
pub(super) fn in_sizes<T>(all: Vec<T>, mut take: impl FnMut(Vec<T>)) {
    let mut left = all.into_iter();
    while let Some(log) = left.len().checked_ilog2() {
        take(left.by_ref().take(LARGEST.min(1 << log)).collect());
    }
}

fn condition(sql: &Sql, filter: &[(&str, Value)]) -> (String, Vec<Value>) {
    let (mut parts, mut values) = (vec!["1 = 1".to_owned()], Vec::new());
    for (name, value) in filter {
        parts.push(format!("{} = ?", sql.kind().quoted(name)));
        values.push(value.clone());
    }
    (parts.join(" AND "), values)
}

fn selected(sql: &Sql, columns: &[&Column]) -> String {
    let kind = sql.kind();
    let expression = |column: &&Column| match column.holds {
        Holds::Time => kind.to_unix(&kind.quoted(column.name)),
        _ => kind.quoted(column.name),
    };
    columns.iter().map(expression).collect::<Vec<_>>().join(", ")
}

fn read(row: &Row, columns: &[&Column]) -> anyhow::Result<Vec<Value>> {
    let value = |(index, column): (usize, &&Column)| row.value(index, column.holds);
    Ok(columns.iter().enumerate().map(value).collect::<Result<_, _>>()?)
}

impl Table {
    /// The column of that name.
    fn column(&self, name: &str) -> anyhow::Result<&'static Column> {
        match self.all_columns().find(|column| column.name == name) {
            Some(column) => Ok(column),
            None => bail!("table {} has no column {name}", self.name),
        }
    }
}
