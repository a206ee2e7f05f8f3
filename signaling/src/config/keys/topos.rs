//! Topology hiding with a store, under the names of Kamailio's `topos` module.

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "topos.enabled",
        allowed: super::FLAG,
        default: "false",
        about: "Whether the ends of a call are kept from seeing where the other is by leaving out what says it: a request goes out with one Via, without Record-Route, and with a Contact of the gateway's own. What was left out is kept here. [topoh] does the same without keeping anything.",
        set: |c, v| v.flag().map(|flag| c.topos.enabled = flag),
    },
    Key {
        name: "topos.storage",
        allowed: "\"db\" or \"memory\"",
        default: "\"db\"",
        about: "Where: the table topos_d, by which the ends of calls can still hang up on each other after a restart, or memory alone.",
        set: |c, v| {
            c.topos.kept = match &*v.text()? {
                "db" => true,
                "memory" => false,
                _ => return Err("it is no storage".into()),
            };
            Ok(())
        },
    },
    Key {
        name: "topos.branch_expire",
        allowed: "60 to 86400 seconds",
        default: "180",
        about: "How long what a request has lost is kept for its answer, since the last one.",
        set: |c, v| v.seconds(60, 86_400).map(|time| c.topos.params.branch_expire = time),
    },
    Key {
        name: "topos.dialog_expire",
        allowed: "60 to 604800 seconds",
        default: "10800",
        about: "How long what belongs to a dialog is kept in which nobody speaks. Calls that are there are never forgotten.",
        set: |c, v| v.seconds(60, 604_800).map(|time| c.topos.params.dialog_expire = time),
    },
    Key {
        name: "topos.clean_interval",
        allowed: "1 to 3600 seconds",
        default: "60",
        about: "How often it is looked for what is not kept any longer.",
        set: |c, v| v.seconds(1, 3600).map(|time| c.topos.params.clean_interval = time),
    },
];
