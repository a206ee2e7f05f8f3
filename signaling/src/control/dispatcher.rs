//! `dispatcher.*`: the gateways of the table of that name.

use serde_json::{Value, json};
use signaling_core::dispatcher::{Gateway, NewState};

use super::Control;
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use crate::commands::rows::{Destination, dispatcher_key, dispatcher_row};
use crate::store::schema::Table;
use crate::store::sql::Value as Cell;
use crate::store::tables;

pub(super) fn list(control: &Control) -> Outcome {
    let tables = control.database.routing();
    let sets = &tables.dispatcher.sets;
    let record = |(id, set): (&i64, &signaling_core::dispatcher::Set)| {
        let targets: Vec<Value> = set.gateways.iter().map(|gateway| shown(gateway)).collect();
        json!({ "SET": { "ID": id, "TARGETS": targets } })
    };
    let records: Vec<Value> = sets.iter().map(record).collect();
    Ok(Answer::Value(json!({ "NRSETS": sets.len(), "RECORDS": records })))
}

/// As Kamailio: the attributes where there are any, and behind them how long its answers take.
fn shown(gateway: &Gateway) -> Value {
    let mut shown = json!({
        "URI": gateway.uri,
        "FLAGS": gateway.state.letters(),
        "PRIORITY": gateway.priority,
    });
    let attrs = &gateway.attrs;
    if !attrs.body.is_empty() {
        shown["ATTRS"] = json!({
            "BODY": attrs.body,
            "DUID": attrs.duid,
            "MAXLOAD": attrs.maxload,
            "WEIGHT": attrs.weight,
            "RWEIGHT": attrs.rweight,
            "SOCKET": attrs.socket,
            "SOCKNAME": attrs.sockname,
            "OBPROXY": attrs.obproxy,
        });
    }
    let latency = gateway.state.latency();
    let millis = |number: f64| (number * 1000.0).round() / 1000.0;
    shown["LATENCY"] = json!({
        "AVG": millis(latency.average),
        "STD": millis(latency.deviation),
        "EST": millis(latency.estimate),
        "MAX": millis(latency.longest),
        "TIMEOUT": latency.timeouts,
    });
    if attrs.maxload > 0 {
        shown["RUNTIME"] = json!({ "DLGLOAD": gateway.state.calls() });
    }
    json!({ "DEST": shown })
}

pub(super) async fn reload(control: &Control) -> Outcome {
    take_up(control).await?;
    Ok(Answer::Value(json!("Ok. Dispatcher successfully reloaded.")))
}

async fn take_up(control: &Control) -> Result<(), Fault> {
    let read = control.live.reread(&control.database).await;
    read.map_err(|error| Fault::new(500, format!("Reload Failed: {error:#}")))
}

pub(super) fn set_state(control: &Control, args: Args) -> Outcome {
    let (letters, set, uri) = (args.text(0)?, args.number(1)?, args.text(2)?);
    let state = NewState::parse(&letters).ok_or_else(|| Fault::new(500, "Unknown State Value"))?;
    match control.database.routing().dispatcher.set_state(set, &uri, state) {
        true => Ok(Answer::Value(json!("Ok. Dispatcher state updated."))),
        false => Err(Fault::new(500, "State Update Failed")),
    }
}

pub(super) fn ping_active(control: &Control, args: Args) -> Outcome {
    let tables = control.database.routing();
    let known = &tables.dispatcher.known;
    let before = u8::from(known.is_asking());
    match args.optional_number(0)? {
        None => Ok(Answer::Value(json!({ "OldPingState": before }))),
        Some(new @ 0..=1_u8) => {
            known.ask(new == 1);
            Ok(Answer::Value(json!({ "NewPingState": new, "OldPingState": before })))
        }
        Some(_) => Err(Fault::new(INVALID_PARAMS, "Invalid params: 0 or 1 is wanted")),
    }
}

pub(super) async fn add(control: &Control, args: Args) -> Outcome {
    let new = Destination {
        set: args.number(0)?,
        uri: args.text(1)?,
        flags: args.optional_number(2)?.unwrap_or(0),
        priority: args.optional_number(3)?.unwrap_or(0),
        attrs: args.optional(4)?.unwrap_or_default(),
        description: String::new(),
    };
    let row = dispatcher_row(&new).map_err(|error| Fault::new(500, format!("{error:#}")))?;
    let sql = control.database.sql();
    let added = async {
        let table = Table::named("dispatcher").ok_or_else(|| anyhow::anyhow!("dispatcher"))?;
        let key = dispatcher_key(new.set, &new.uri);
        let there = tables::rows(sql, table, &["setid"], &key, "id", 1).await?;
        anyhow::ensure!(there.is_empty(), "it is there already");
        tables::add(sql, table, &row).await
    };
    added.await.map_err(|error| Fault::new(500, format!("Adding dispatcher dst failed: {error:#}")))?;
    take_up(control).await?;
    Ok(Answer::Value(json!("Ok. Dispatcher destination added.")))
}

pub(super) async fn remove(control: &Control, args: Args) -> Outcome {
    let key: Vec<(&str, Cell)> = dispatcher_key(args.number(0)?, &args.text(1)?);
    let sql = control.database.sql();
    let removed = async {
        let table = Table::named("dispatcher").ok_or_else(|| anyhow::anyhow!("dispatcher"))?;
        tables::remove(sql, table, &key).await
    };
    let removed = removed.await.map_err(|error| Fault::new(500, format!("{error:#}")))?;
    if removed == 0 {
        return Err(Fault::new(500, "Removing dispatcher dst failed"));
    }
    take_up(control).await?;
    Ok(Answer::Value(json!("Ok. Dispatcher destination removed.")))
}
