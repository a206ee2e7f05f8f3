//! Calls, under the names of Kamailio's `dialog` module, and how many there may be. The latter are read again by
//! `causeway reload`.

use super::Key;
use crate::store::dialogs::DialogMode;

/// More calls than this are no limit.
const MANY: i64 = 1_000_000;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "dialog.default_timeout",
        allowed: "60 to 604800 seconds",
        default: "43200",
        about: "The longest call without a session timer (RFC 4028), from its last answered INVITE or UPDATE on; then both ends hear a BYE.",
        set: |c, v| v.seconds(60, 604_800).map(|time| c.dialog.default_timeout = time),
    },
    Key {
        name: "dialog.ka_timer",
        allowed: "0 to 3600 seconds; 0 for never",
        default: "0",
        about: "How often it is looked which calls are to be asked whether they are still there, by OPTIONS from one end to the other.",
        set: |c, v| v.seconds(0, 3600).map(|time| c.dialog.ka_timer = time),
    },
    Key {
        name: "dialog.ka_interval",
        allowed: "5 to 86400 seconds",
        default: "30",
        about: "How often both ends of one call are asked.",
        set: |c, v| v.seconds(5, 86_400).map(|time| c.dialog.ka_interval = time),
    },
    Key {
        name: "dialog.ka_failed_limit",
        allowed: "1 to 100",
        default: "1",
        about: "An end that has left so many questions in a row unanswered, or does not know the call any more, ends it: both hear a BYE.",
        set: |c, v| v.number(1, 100).map(|number| c.dialog.ka_failed_limit = number),
    },
    Key {
        name: "dialog.db_mode",
        allowed: "0, 1 or 2",
        default: "0",
        about: "Whether the table dialog has a row of each answered call, for others to look at: 0 never, 1 at once, 2 every db_update_period. Calls are not read from it; it is emptied at start. There is no 3: calls end with the gateway.",
        set: |c, v| {
            c.dialog_mode = match v.number::<u8>(0, 2)? {
                0 => DialogMode::Off,
                1 => DialogMode::Realtime,
                _ => DialogMode::Delayed,
            };
            Ok(())
        },
    },
    Key {
        name: "dialog.db_update_period",
        allowed: "1 to 3600 seconds",
        default: "60",
        about: "How often these rows are brought up to date.",
        set: |c, v| v.seconds(1, 3600).map(|time| c.db_update_period = time),
    },
    Key {
        name: "dialog.max_calls",
        allowed: "0 to 1000000; 0 for any number",
        default: "0",
        about: "Calls at once; one more is refused with 503 and Retry-After (limits.retry_after).",
        set: |c, v| v.number(0, MANY).map(|number| c.call_limits.all = number),
    },
    Key {
        name: "dialog.max_calls_per_user",
        allowed: "0 to 1000000; 0 for any number",
        default: "0",
        about: "The same of one user, those that he is rung for included: whoever calls him then hears 486, or his voicemail.",
        set: |c, v| v.number(0, MANY).map(|number| c.call_limits.user = number),
    },
    Key {
        name: "dialog.max_calls_per_group",
        allowed: "a list of \"GROUP:NUMBER\"",
        default: "[]",
        about: "The same of what the members of a group of the table grp call.",
        set: |c, v| {
            let groups = v.list()?.into_iter().map(|text| {
                let parts =
                    text.rsplit_once(':').and_then(|(group, number)| Some((group, number.parse().ok()?)));
                let (group, number) = parts.ok_or_else(|| format!("{text:?} is no group with a number"))?;
                Ok((group.to_owned(), number))
            });
            c.call_limits.groups = groups.collect::<Result<_, String>>()?;
            Ok(())
        },
    },
    Key {
        name: "dialog.max_calls_to_gateway",
        allowed: "0 to 1000000; 0 for any number",
        default: "0",
        about: "The same of calls to the gateway of the telephone network (pstn.gw_ip).",
        set: |c, v| v.number(0, MANY).map(|number| c.call_limits.gateway = number),
    },
];
