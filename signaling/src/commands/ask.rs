//! Asks the gateway that runs in a data directory, over its control socket, and shows what it says as Kamailio's `kamcmd` does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::listing::{Listing, cell};
use crate::config::Config;
use crate::control::Fault;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody listens on the control socket.
#[derive(Debug, thiserror::Error)]
#[error("no gateway runs in {0}, or its rpc.socket is elsewhere or off")]
pub struct NoGateway(String);

/// Calls a method, and returns its result.
///
/// # Errors
/// [`NoGateway`]; or a [`Fault`], which is what the gateway says.
pub fn call(config: &Config, method: &str, params: &[&str]) -> anyhow::Result<Value> {
    call_with(config, method, params.iter().copied().map(Value::from).collect())
}

/// The same with parameters of any kind.
///
/// # Errors
/// As [`call`].
pub fn call_with(config: &Config, method: &str, params: Vec<Value>) -> anyhow::Result<Value> {
    let directory = || config.data_directory.display().to_string();
    let Some(path) = config.rpc.socket.as_deref() else { return Err(NoGateway(directory()).into()) };
    let Some(stream) = connect(path)? else { return Err(NoGateway(directory()).into()) };
    let request = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
    let mut answer = exchange(stream, &request).with_context(|| path.display().to_string())?;
    match answer.get("error") {
        None => Ok(answer["result"].take()),
        Some(error) => Err(Fault::new(
            error["code"].as_i64().unwrap_or_default(),
            error["message"].as_str().unwrap_or_default(),
        )
        .into()),
    }
}

fn connect(path: &Path) -> anyhow::Result<Option<UnixStream>> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ConnectionRefused | NotFound) => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn exchange(mut stream: UnixStream, request: &Value) -> anyhow::Result<Value> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        bail!("the gateway has closed the connection");
    }
    Ok(serde_json::from_slice(&line)?)
}

/// The result of a method, for people: rows as a table, anything else as a tree.
#[must_use]
pub fn shown(result: &Value) -> String {
    let mut text = String::new();
    tree(&mut text, 0, result);
    text
}

fn tree(text: &mut String, depth: usize, value: &Value) {
    let indent = "\t".repeat(depth);
    match value {
        Value::Array(items) => match Listing::of_objects(items) {
            Some(rows) => {
                for line in rows.show(false).lines() {
                    text.push_str(&format!("{indent}{line}\n"));
                }
            }
            None => items.iter().for_each(|item| tree(text, depth, item)),
        },
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(parts) if !parts.is_empty() => {
                        text.push_str(&format!("{indent}{name}: {{\n"));
                        tree(text, depth + 1, value);
                        text.push_str(&format!("{indent}}}\n"));
                    }
                    Value::Array(items) if !items.is_empty() => {
                        text.push_str(&format!("{indent}{name}: {{\n"));
                        tree(text, depth + 1, value);
                        text.push_str(&format!("{indent}}}\n"));
                    }
                    Value::Object(_) | Value::Array(_) => text.push_str(&format!("{indent}{name}: {{}}\n")),
                    plain => text.push_str(&format!("{indent}{name}: {}\n", cell(plain))),
                }
            }
        }
        plain => text.push_str(&format!("{indent}{}\n", cell(plain))),
    }
}

/// The calls that there are now, for `calls list --live`.
///
/// # Errors
/// As [`call`].
pub fn live_calls(config: &Config, as_json: bool) -> anyhow::Result<String> {
    let calls = call(config, "dlg.list", &[])?;
    if as_json {
        return Ok(format!("{calls:#}\n"));
    }
    let row = |call: &Value| {
        let state = match call["state"].as_u64() {
            Some(1) => "calling",
            Some(2) => "ringing",
            _ => "talking",
        };
        let start = call["init_ts"].as_i64().unwrap_or_default();
        json!({
            "start_time": super::listing::date(start),
            "from": call["from_uri"],
            "to": call["to_uri"],
            "state": state,
            "duration": call["duration"],
            "callid": call["call-id"],
        })
    };
    let rows: Vec<Value> = calls.as_array().into_iter().flatten().map(row).collect();
    Ok(Listing::of_objects(&rows).map_or_else(String::new, |rows| rows.show(false)))
}

/// Rows that the gateway says, for a command that lists them.
///
/// # Errors
/// As [`call`].
pub fn rows(config: &Config, method: &str, as_json: bool) -> anyhow::Result<String> {
    let rows = call(config, method, &[])?;
    if as_json {
        return Ok(format!("{rows:#}\n"));
    }
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Listing::of_objects(rows).map_or_else(String::new, |rows| rows.show(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_parts_is_a_tree_and_rows_are_a_table() {
        for (value, expected) in [
            (json!("a\u{1b}b"), "a\u{fffd}b\n"),
            (json!({ "current": 0, "waiting": 1 }), "current: 0\nwaiting: 1\n"),
            (
                json!([{ "socket": { "proto": "udp", "port": "5060" } }]),
                "socket: {\n\tproto: udp\n\tport: 5060\n}\n",
            ),
            (json!([1, "udp receiver"]), "1\nudp receiver\n"),
            (json!([{ "id": 1, "name": "a" }, { "id": 22, "name": null }]), "id  name\n1   a\n22  -\n"),
            (
                json!({ "list": [], "sub": { "rows": [{ "x": 1 }] } }),
                "list: {}\nsub: {\n\trows: {\n\t\tx\n\t\t1\n\t}\n}\n",
            ),
            (json!({}), ""),
            (json!([]), ""),
        ] {
            assert_eq!(shown(&value), expected, "{value}");
        }
    }
}
