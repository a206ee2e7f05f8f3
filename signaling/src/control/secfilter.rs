//! `secfilter.*`: the lists of who is not heard and what is not called, and what they have found. What is added is in the table for
//! good, and counts at once.

use serde_json::{Map, Value, json};
use signaling_core::secfilter::{Kind, Rule, Side};

use super::Control;
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use super::statistics;
use crate::commands::rows::{SECFILTER, secfilter_row};
use crate::store::schema::Table;
use crate::store::tables;

/// The group of its counters.
pub(super) const GROUP: &str = "secfilter";

fn failed(what: &str, error: &anyhow::Error) -> Fault {
    Fault::new(500, format!("{what}: {error:#}"))
}

async fn take_up(control: &Control) -> Result<(), Fault> {
    let read = control.live.reread(&control.database).await;
    read.map_err(|error| failed("Error loading data from database", &error))
}

pub(super) async fn reload(control: &Control) -> Outcome {
    take_up(control).await?;
    if let Some(countries) = control.countries.clone() {
        let read = tokio::task::spawn_blocking(move || countries.reload()).await;
        let read = read.map_err(anyhow::Error::from).and_then(|read| read);
        read.map_err(|error| failed("Error loading countries", &error))?;
    }
    Ok(Answer::Value(json!("Data reloaded")))
}

pub(super) fn print(control: &Control, args: Args) -> Outcome {
    let tables = control.database.routing();
    let lists = &tables.secfilter;
    let kinds = match args.optional(0)? {
        Some(word) => vec![kind(&word)?],
        None => Kind::ALL.to_vec(),
    };
    let both = |kind: Kind| {
        let mut shown = Map::new();
        shown.insert("blacklisted".into(), json!(lists.entries(Side::Black, kind)));
        if kind != Kind::Destination {
            shown.insert("whitelisted".into(), json!(lists.entries(Side::White, kind)));
        }
        (kind.as_str().to_owned(), Value::Object(shown))
    };
    Ok(Answer::Value(Value::Object(kinds.into_iter().map(both).collect())))
}

fn kind(word: &str) -> Result<Kind, Fault> {
    let words = Kind::ALL.map(Kind::as_str).join(", ");
    let unknown = || Fault::new(INVALID_PARAMS, format!("Invalid params: type is one of {words}"));
    Kind::named(word).ok_or_else(unknown)
}

pub(super) async fn stats(control: &Control) -> Outcome {
    Ok(Answer::Value(Value::Object(statistics::of(control, GROUP).await?)))
}

pub(super) async fn stats_reset(control: &Control) -> Outcome {
    statistics::zero(control, GROUP).await?;
    Ok(Answer::Value(json!("Statistics reset")))
}

/// Adds to a list, or takes from it.
pub(super) async fn change(control: &Control, side: Side, add: bool, args: Args) -> Outcome {
    let kind = kind(&args.text(0)?)?;
    change_rule(control, side, kind, add, &args.text(1)?).await
}

/// The same of destinations.
pub(super) async fn change_destination(control: &Control, add: bool, args: Args) -> Outcome {
    change_rule(control, Side::Black, Kind::Destination, add, &args.text(0)?).await
}

async fn change_rule(control: &Control, side: Side, kind: Kind, add: bool, data: &str) -> Outcome {
    let rule = Rule::new(side, kind, data)
        .map_err(|error| Fault::new(INVALID_PARAMS, format!("Invalid params: {error}")))?;
    let sql = control.database.sql();
    let changed = async {
        let row = secfilter_row(&rule)?;
        let table = Table::named(SECFILTER.table).ok_or_else(|| anyhow::anyhow!(SECFILTER.table))?;
        match add {
            true => {
                let there = tables::rows(sql, table, &["data"], &row, "id", 1).await?;
                anyhow::ensure!(there.is_empty(), "it is there already");
                tables::add(sql, table, &row).await
            }
            false => {
                anyhow::ensure!(tables::remove(sql, table, &row).await? > 0, "it is not there");
                Ok(())
            }
        }
    };
    let (done, failure) = if add {
        ("inserted into", "Error insert values in")
    } else {
        ("removed from", "Error removing values from")
    };
    let list = match (kind, side) {
        (Kind::Destination, _) => "blacklist destinations",
        (_, Side::Black) => "blacklist",
        (_, Side::White) => "whitelist",
    };
    changed.await.map_err(|error| failed(&format!("{failure} the {list}"), &error))?;
    take_up(control).await?;
    Ok(Answer::Value(json!(format!("Values ({}, {}) {done} {list}", kind.as_str(), rule.data))))
}
