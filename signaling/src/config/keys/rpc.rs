//! Control by JSON-RPC, and what else is asked over HTTP.

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "rpc.socket",
        allowed: "a path; empty for `rpc.sock` in the data directory; \"off\" for none",
        default: "\"\"",
        about: "The Unix socket that causeway rpc talks to: JSON-RPC 2.0, a message a line, with the methods of kamcmd. Only the owner of the process can open it.",
        set: |c, v| v.text().map(|path| c.rpc.socket = if path == "off" { None } else { Some(path.into()) }),
    },
    Key {
        name: "rpc.allow",
        allowed: "a list of addresses and networks such as \"192.0.2.0/24\"; empty for none",
        default: "[\"127.0.0.0/8\", \"::1\"]",
        about: "Who may post the same to /rpc of https.listen, with a token of causeway token add.",
        set: |c, v| v.networks().map(|networks| c.rpc.allow = networks),
    },
    Key {
        name: "metrics.listen",
        allowed: "\"off\" or \"ADDRESS:PORT\"",
        default: "\"off\"",
        about: "Where /metrics for Prometheus is served over plain HTTP too, to whoever asks: keep it on loopback, or in a network of your own. On https.listen it needs a token, as /rpc and /events do.",
        set: |c, v| super::door(v).map(|door| c.rpc.metrics = door),
    },
];
