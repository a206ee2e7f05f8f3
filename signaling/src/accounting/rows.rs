//! Records as rows of `acc`, `missed_calls` and `acc_cdrs`: an answered call is an INVITE and a BYE in `acc`, one that a user of
//! ours has not answered an INVITE in `missed_calls`, and every one is a row of `acc_cdrs`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::BoxFuture;

use super::Deliver;
use super::record::{EndedBy, Media, Record};
use crate::store::schema::{Column, Table};
use crate::store::sql::{Sql, Value, is_fault_of_values};
use crate::store::tables::insert_all;

/// How long the database may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The tables of records, with the columns that they have in this database.
pub(super) struct Rows {
    sql: Sql,
    acc: (&'static Table, Vec<&'static Column>),
    missed: (&'static Table, Vec<&'static Column>),
    cdrs: (&'static Table, Vec<&'static Column>),
}

impl Rows {
    /// # Errors
    /// The database does not answer.
    pub(super) async fn new(sql: Sql) -> anyhow::Result<Self> {
        let [acc, missed, cdrs] = ["acc", "missed_calls", "acc_cdrs"].map(|name| columns(&sql, name));
        let (acc, missed, cdrs) = (acc.await?, missed.await?, cdrs.await?);
        Ok(Self { sql, acc, missed, cdrs })
    }

    async fn write(&self, records: &[Arc<Record>]) -> Result<(), sqlx::Error> {
        let (mut acc, mut missed, mut cdrs) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            if record.answer.is_some() {
                acc.push(row(&self.acc, |name| transaction(record, "INVITE", name)));
                acc.push(row(&self.acc, |name| transaction(record, "BYE", name)));
            } else if record.missed {
                missed.push(row(&self.missed, |name| transaction(record, "INVITE", name)));
            }
            cdrs.push(row(&self.cdrs, |name| cdr(record, name)));
        }
        let mut statements = Vec::new();
        for ((table, columns), rows) in [(&self.acc, acc), (&self.missed, missed), (&self.cdrs, cdrs)] {
            statements.extend(insert_all(&self.sql, table, columns, rows));
        }
        self.sql.transact(statements).await.map(|_| ())
    }
}

fn row(
    (_, columns): &(&'static Table, Vec<&'static Column>),
    value: impl Fn(&'static str) -> Value,
) -> Vec<Value> {
    columns.iter().map(|column| column.fitting(value(column.name))).collect()
}

impl Deliver for Rows {
    fn at_once(&self) -> usize {
        1000
    }

    fn deliver<'a>(&'a self, records: &'a [Arc<Record>]) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            match tokio::time::timeout(LIMIT, self.write(records)).await {
                Ok(Ok(())) => Ok(()),
                // Whatever the database has against one record, it does not keep the others.
                Ok(Err(error)) if is_fault_of_values(self.sql.kind(), &error) => {
                    for record in records {
                        if let Err(error) = self.write(std::slice::from_ref(record)).await {
                            if !is_fault_of_values(self.sql.kind(), &error) {
                                return Err(error.into());
                            }
                            tracing::error!(%error, call_id = record.call_id, "call record not written");
                        }
                    }
                    Ok(())
                }
                Ok(Err(error)) => Err(error.into()),
                Err(_) => bail!("no answer from the database"),
            }
        })
    }
}

/// The columns of a table that are there: one that Kamailio has made lacks ours.
async fn columns(sql: &Sql, name: &str) -> anyhow::Result<(&'static Table, Vec<&'static Column>)> {
    let table = Table::named(name).with_context(|| name.to_owned())?;
    let there = sql.columns(name).await?;
    let columns = table.all_columns().filter(|column| there.iter().any(|name| name == column.name));
    Ok((table, columns.collect()))
}

/// A column of `acc` or `missed_calls`.
fn transaction(record: &Record, method: &str, name: &str) -> Value {
    let is_bye = method == "BYE";
    // A BYE has the tags of whoever sends it (Kamailio's `detect_direction` 0).
    let turned = is_bye && record.ended_by == EndedBy::Callee;
    let (from, to) = (&record.from_tag, &record.to_tag);
    match name {
        "method" => method.into(),
        "from_tag" => if turned { to } else { from }.into(),
        "to_tag" => if turned { from } else { to }.into(),
        "callid" => (&record.call_id).into(),
        "sip_code" if is_bye => "200".into(),
        "sip_code" => code(record),
        // One that the gateway has ended says why.
        "sip_reason" if is_bye && record.ended_by == EndedBy::Neither => (&record.cause).into(),
        "sip_reason" if is_bye => "OK".into(),
        "sip_reason" => (&record.sip_reason).into(),
        "time" if is_bye => time(record.end),
        "time" => time(record.answer.unwrap_or(record.end)),
        other => party(record, other),
    }
}

/// A column of `acc_cdrs`.
fn cdr(record: &Record, name: &str) -> Value {
    let media = |of: &str| if of.starts_with("src_") { &record.src_media } else { &record.dst_media };
    match name {
        "start_time" => time(record.start),
        "answer_time" => Value::Int(record.answer.and_then(|at| i64::try_from(at).ok())),
        "end_time" => time(record.end),
        "duration" => record.duration.into(),
        "callid" => (&record.call_id).into(),
        "from_tag" => (&record.from_tag).into(),
        "to_tag" => (&record.to_tag).into(),
        "sip_code" => code(record),
        "sip_reason" => (&record.sip_reason).into(),
        "cause" => (&record.cause).into(),
        "dst_ip" => record.dst_ip.map(|ip| ip.to_string()).unwrap_or_default().into(),
        "src_codec" | "dst_codec" => media(name).codec.clone().unwrap_or_default().into(),
        "src_bytes" | "dst_bytes" => {
            Value::Int(media(name).bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
        }
        "src_loss" | "dst_loss" => Value::Real(media(name).loss),
        "src_jitter" | "dst_jitter" => Value::Real(media(name).jitter),
        "src_mos" | "dst_mos" => Value::Real(rounded(media(name))),
        other => party(record, other),
    }
}

/// The columns that all three tables have.
fn party(record: &Record, name: &str) -> Value {
    match name {
        "src_user" => (&record.src_user).into(),
        "src_domain" => (&record.src_domain).into(),
        "src_ip" => record.src_ip.map(|ip| ip.to_string()).unwrap_or_default().into(),
        "dst_ouser" => (&record.dst_ouser).into(),
        "dst_user" => (&record.dst_user).into(),
        "dst_domain" => (&record.dst_domain).into(),
        _ => "".into(),
    }
}

fn code(record: &Record) -> Value {
    if record.sip_code == 0 { "".into() } else { record.sip_code.to_string().into() }
}

fn time(at: u64) -> Value {
    i64::try_from(at).unwrap_or(i64::MAX).into()
}

fn rounded(media: &Media) -> Option<f64> {
    media.mos.map(|mos| (mos * 100.0).round() / 100.0)
}
