//! `corex.*` and `pkg.*`: the level of the log, memory, and sockets and names in other words.

use serde_json::{Value, json};

use super::Control;
use super::core::{memory, names, proto};
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use crate::logging;

/// Kamailio's levels: 3 and above debug, 2 and 1 info, 0 warnings, below that errors.
pub(super) fn debug(args: &Args) -> Outcome {
    let fault = |error: anyhow::Error| Fault::new(500, format!("{error:#}"));
    let old = logging::debug().map_err(fault)?;
    let Some(level) = args.optional_number::<i32>(0)? else {
        return Ok(Answer::Value(json!({ "debug": old })));
    };
    if !(-5..=9).contains(&level) {
        return Err(Fault::new(INVALID_PARAMS, "Invalid params: the level lies between -5 and 9"));
    }
    logging::set_debug(level).map_err(fault)?;
    Ok(Answer::Value(json!({ "old": old, "new": logging::debug().map_err(fault)? })))
}

pub(super) fn list_aliases(control: &Control) -> Outcome {
    let row = |name: String| json!({ "PROTO": "*", "ADDR": name, "PORT": 0 });
    Ok(Answer::Value(names(control).into_iter().map(row).collect()))
}

pub(super) fn list_sockets(control: &Control) -> Outcome {
    let advertised = control.config.advertised.map(|address| address.to_string());
    let row = |bound: &crate::transport::Bound| {
        let address = bound.address.ip().to_string();
        json!({
            "PROTO": proto(bound.protocol),
            "NAME": address,
            "ADDRLIST": { "ADDR": address },
            "PORT": bound.address.port().to_string(),
            "MCAST": "no",
            "MHOMED": "no",
            "VIRTUAL": "no",
            "SOCKNAME": "-",
            "ADVERTISE": advertised.as_deref().unwrap_or("-"),
        })
    };
    Ok(Answer::Value(control.bound.iter().map(row).collect()))
}

/// Has the log say how much memory there is.
pub(super) fn log_memory() -> Outcome {
    let memory = memory()?;
    let (total, free, used) = (memory.total, memory.free, memory.used);
    tracing::info!(total, free, used, real_used = memory.real_used, max_used = memory.max_used, "memory");
    Ok(Answer::Value(json!({})))
}

/// One row, for there is one process.
pub(super) fn pkg_stats() -> Outcome {
    let memory = memory()?;
    let row = json!({
        "entry": 0,
        "pid": std::process::id(),
        "rank": 0,
        "used": memory.used,
        "free": memory.free,
        "real_used": memory.real_used,
        "total_size": memory.total,
        "desc": "causeway",
    });
    Ok(Answer::Value(Value::Array(vec![row])))
}
