//! `dns.*`: the names of others.

use serde_json::{Value, json};

use super::Control;
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use crate::resolver::{Kind, Record, Records};

/// Asks as a request would: the cache first, then the name servers.
pub(super) async fn lookup(control: &Control, args: Args) -> Outcome {
    let (kind, name) = (args.text(0)?, args.text(1)?);
    let known = Kind::named(&kind).ok_or_else(|| {
        Fault::new(INVALID_PARAMS, format!("Invalid params: type is one of {}", Kind::NAMES.join(", ")))
    })?;
    let found = control.dns.look_up(known, &name).await.map_err(|error| Fault::new(500, error))?;
    if found.records.is_empty() {
        return Err(Fault::new(400, "Not found"));
    }
    let Records { records, expires } = found;
    let records: Vec<Value> =
        records.iter().enumerate().map(|(index, record)| shown(index, record)).collect();
    Ok(Answer::Value(json!({
        "name": name,
        "type": kind.to_uppercase(),
        "permanent": "no",
        "expires": expires,
        "negative_entry": "no",
        "records": records,
    })))
}

fn shown(index: usize, record: &Record) -> Value {
    match record {
        Record::Address(address) => json!({ "rr_idx": index, "rr_ip": address.to_string() }),
        Record::Srv(srv) => json!({
            "rr_idx": index,
            "rr_name": srv.target,
            "rr_port": srv.port,
            "rr_priority": srv.priority,
            "rr_weight": srv.weight,
        }),
        Record::Naptr(naptr) => json!({
            "rr_idx": index,
            "rr_order": naptr.order,
            "rr_preference": naptr.preference,
            "rr_flags": naptr.flags,
            "rr_service": naptr.service,
            "rr_replacement": naptr.replacement,
        }),
    }
}

pub(super) fn delete_all(control: &Control) -> Outcome {
    control.dns.forget();
    Ok(Answer::Value(json!({ "status": "ok" })))
}
