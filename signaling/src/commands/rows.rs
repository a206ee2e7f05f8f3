//! The commands that look after one table each: `domain`, `alias`, `speed-dial`, `address`, `group`, `dispatcher`, `secfilter`, `calls`. A gateway that
//! runs takes the change up within a second.

use anyhow::{Context as _, bail, ensure};
use signaling_core::secfilter::{self, Rule, Side};

use super::listing::Listing;
use crate::store::schema::Table;
use crate::store::sql::{Value, open_existing};
use crate::store::{Database, Storage, tables};

/// A table, as its command shows it.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub table: &'static str,
    /// What is shown of it.
    pub columns: &'static [&'static str],
    /// What tells its rows apart, which is also their order.
    pub key: &'static [&'static str],
}

/// `causeway domain`.
pub const DOMAIN: Kind = Kind { table: "domain", columns: &["domain"], key: &["domain"] };
/// `causeway alias`.
pub const ALIAS: Kind = Kind {
    table: "dbaliases",
    columns: &["alias_username", "alias_domain", "username", "domain"],
    key: &["alias_username", "alias_domain"],
};
/// `causeway speed-dial`.
pub const SPEED_DIAL: Kind = Kind {
    table: "speed_dial",
    columns: &["username", "domain", "sd_username", "new_uri"],
    key: &["username", "domain", "sd_username"],
};
/// `causeway address`.
pub const ADDRESS: Kind = Kind {
    table: "address",
    columns: &["grp", "ip_addr", "mask", "port", "tag"],
    key: &["grp", "ip_addr", "mask", "port"],
};
/// `causeway group`.
pub const GROUP: Kind =
    Kind { table: "grp", columns: &["username", "domain", "grp"], key: &["username", "domain", "grp"] };

/// `causeway dispatcher`.
pub const DISPATCHER: Kind = Kind {
    table: "dispatcher",
    columns: &["setid", "destination", "flags", "priority", "attrs", "description"],
    key: &["setid", "destination"],
};

/// `causeway secfilter`.
pub const SECFILTER: Kind =
    Kind { table: "secfilter", columns: &["action", "type", "data"], key: &["action", "type", "data"] };

/// A row of `secfilter`, which is told from the others by all of it.
///
/// # Errors
/// Its text is too long for its column.
pub fn secfilter_row(rule: &Rule) -> anyhow::Result<Vec<(&'static str, Value)>> {
    ensure!(rule.data.chars().count() <= 64, "an entry may have 64 characters");
    let (action, kind) = rule.numbers();
    Ok(vec![("action", action.into()), ("type", kind.into()), ("data", (&*rule.data).into())])
}

/// `secfilter list`: its rows in words, or those of one kind; what is none of the table's as it is.
///
/// # Errors
/// The database does not answer.
pub async fn secfilter_list(storage: &Storage, kind: Option<secfilter::Kind>) -> anyhow::Result<Listing> {
    let database = Database::connect(storage).await?;
    let order = SECFILTER.key.join(", ");
    let rows =
        tables::rows(database.sql(), SECFILTER.table()?, SECFILTER.columns, &[], &order, usize::MAX >> 1)
            .await?;
    database.close().await;
    let columns = ["list", "kind", "value"];
    let row = |row: Vec<Value>| -> Option<Vec<Value>> {
        let [Value::Int(Some(action)), Value::Int(Some(number)), Value::Text(Some(data))] = &row[..] else {
            return kind.is_none().then_some(row);
        };
        match Rule::of_row(*action, *number, data) {
            Ok(rule) if kind.is_some_and(|kind| kind != rule.kind) => None,
            Ok(rule) => {
                let list = if rule.side == Side::White { "allow" } else { "deny" };
                Some(vec![list.into(), rule.kind.as_str().into(), (&*rule.data).into()])
            }
            Err(_) => kind.is_none().then_some(row),
        }
    };
    Ok(Listing::new(SECFILTER.table()?, &columns, rows.into_iter().filter_map(row).collect()))
}

/// A gateway to be added.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Destination {
    pub set: i64,
    pub uri: String,
    pub flags: i64,
    pub priority: i64,
    pub attrs: String,
    pub description: String,
}

/// What tells a row of `dispatcher` from the others.
#[must_use]
pub fn dispatcher_key(set: i64, uri: &str) -> Vec<(&'static str, Value)> {
    vec![("setid", set.into()), ("destination", uri.into())]
}

/// A row of `dispatcher`.
///
/// # Errors
/// The destination is no SIP URI, or a text is too long for its column.
pub fn dispatcher_row(new: &Destination) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let uri = signaling_core::message::Uri::parse(&new.uri);
    ensure!(uri.is_ok_and(|uri| uri.is_sip()), "{:?} is no SIP URI", new.uri);
    for (name, text, most) in
        [("URI", &new.uri, 192), ("attributes", &new.attrs, 128), ("description", &new.description, 64)]
    {
        ensure!(text.chars().count() <= most, "the {name} may have {most} characters");
    }
    let mut row = dispatcher_key(new.set, &new.uri);
    row.extend([
        ("flags", new.flags.into()),
        ("priority", new.priority.into()),
        ("attrs", new.attrs.as_str().into()),
        ("description", new.description.as_str().into()),
    ]);
    Ok(row)
}

impl Kind {
    fn table(&self) -> anyhow::Result<&'static Table> {
        Table::named(self.table).with_context(|| self.table.to_owned())
    }

    /// All its rows, or those with all of `filter`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(&self, storage: &Storage, filter: &[(&str, Value)]) -> anyhow::Result<Listing> {
        let database = Database::connect(storage).await?;
        let order = self.key.join(", ");
        let rows = tables::rows(database.sql(), self.table()?, self.columns, filter, &order, usize::MAX >> 1)
            .await?;
        database.close().await;
        Ok(Listing::new(self.table()?, self.columns, rows))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// One with the same key is there, or the database does not answer.
    pub async fn add(&self, storage: &Storage, values: &[(&str, Value)]) -> anyhow::Result<()> {
        let database = Database::connect(storage).await?;
        let key: Vec<_> = values.iter().filter(|(name, _)| self.key.contains(name)).cloned().collect();
        let there = tables::rows(database.sql(), self.table()?, self.key, &key, "id", 1).await?;
        ensure!(there.is_empty(), "it is there already");
        tables::add(database.sql(), self.table()?, values).await?;
        database.close().await;
        Ok(storage.tell_of_change()?)
    }

    /// Removes a row.
    ///
    /// # Errors
    /// There is none, or the database does not answer.
    pub async fn remove(&self, storage: &Storage, key: &[(&str, Value)]) -> anyhow::Result<()> {
        let database = Database::connect(storage).await?;
        let removed = tables::remove(database.sql(), self.table()?, key).await?;
        database.close().await;
        if removed == 0 {
            bail!("it is not there");
        }
        Ok(storage.tell_of_change()?)
    }
}

/// `causeway user list`.
pub const USER: Kind =
    Kind { table: "subscriber", columns: &["username", "domain"], key: &["domain", "username"] };

/// `user show`: whether an account is there, and what belongs to it, each list with its name.
///
/// # Errors
/// It is not there, or the database does not answer.
pub async fn user(
    storage: &Storage,
    name: &str,
    domain: &str,
) -> anyhow::Result<Vec<(&'static str, Listing)>> {
    let of: [(&str, Value); 2] = [("username", name.into()), ("domain", domain.into())];
    ensure!(!USER.list(storage, &of).await?.is_empty(), "there is no {name}@{domain}");
    let contacts = super::database::registrations(storage, Some((name, domain))).await?;
    Ok(vec![
        ("registrations", contacts),
        ("aliases", ALIAS.list(storage, &of).await?),
        ("speed_dial", SPEED_DIAL.list(storage, &of).await?),
        ("groups", GROUP.list(storage, &of).await?),
    ])
}

/// Which calls are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls<'a> {
    /// The last so many.
    Last(usize),
    /// Those that a user of ours has missed, likewise.
    Missed(usize),
    /// The one with this Call-ID.
    One(&'a str),
}

/// `calls list` and `show`: the records of calls, the latest first.
///
/// # Errors
/// The database does not answer, or has not the columns of this program.
pub async fn calls(storage: &Storage, which: Calls<'_>) -> anyhow::Result<Listing> {
    const SHORT: &[&str] = &[
        "start_time",
        "src_user",
        "src_domain",
        "dst_user",
        "dst_domain",
        "duration",
        "cause",
        "src_codec",
        "dst_codec",
        "src_mos",
        "dst_mos",
        "callid",
    ];
    const MISSED: &[&str] = &[
        "time",
        "src_user",
        "src_domain",
        "src_ip",
        "dst_ouser",
        "dst_user",
        "dst_domain",
        "sip_code",
        "sip_reason",
        "callid",
    ];
    let (table, columns, filter, limit): (_, Vec<&'static str>, Vec<(&str, Value)>, _) = match which {
        Calls::Last(limit) => ("acc_cdrs", SHORT.to_vec(), Vec::new(), limit),
        Calls::Missed(limit) => ("missed_calls", MISSED.to_vec(), Vec::new(), limit),
        Calls::One(call_id) => {
            let table = Table::named("acc_cdrs").context("acc_cdrs")?;
            let all = table.all_columns().map(|column| column.name).collect();
            ("acc_cdrs", all, vec![("callid", call_id.into())], usize::MAX >> 1)
        }
    };
    let table = Table::named(table).with_context(|| table.to_owned())?;
    let sql = open_existing(&storage.place).await?;
    let rows = tables::rows(&sql, table, &columns, &filter, "id DESC", limit).await?;
    sql.close().await;
    if let Calls::One(call_id) = which {
        ensure!(!rows.is_empty(), "there is no record of {call_id}");
    }
    Ok(Listing::new(table, &columns, rows))
}
