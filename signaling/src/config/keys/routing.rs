//! Where requests go, under the names of kamailio.cfg. All of it is read again by `causeway reload`.

use regex::Regex;

use super::{FLAG, Key};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "routing.block_3xx",
        allowed: FLAG,
        default: "false",
        about: "Whether a redirection by a callee is kept from the caller, who hears 404 in its place.",
        set: |c, v| v.flag().map(|flag| c.block_3xx = flag),
    },
    Key {
        name: "pstn.gw_ip",
        allowed: "a host name or an address; empty for none",
        default: "\"\"",
        about: "The gateway of the telephone network. Users of ours, and nobody else, reach it by dialling a number.",
        set: |c, v| v.host().map(|host| c.pstn.host = host),
    },
    Key {
        name: "pstn.gw_port",
        allowed: "0 to 65535; 0 for what its name says",
        default: "0",
        about: "Its port.",
        set: |c, v| v.number(0, 65_535).map(|number| c.pstn.port = number),
    },
    Key {
        name: "pstn.setid",
        allowed: "0 to 2147483647; 0 for none",
        default: "0",
        about: "The set of the table dispatcher whose gateways take the place of gw_ip: a number goes to the one whose turn it is (dispatcher.algorithm), and to the next when that one fails.",
        set: |c, v| v.number(0, i64::from(i32::MAX)).map(|number| c.pstn.set = number),
    },
    Key {
        name: "pstn.pattern",
        allowed: "a regular expression",
        default: "\"^(\\\\+|00)[1-9][0-9]{3,20}$\"",
        about: "What a telephone number looks like. Everything else that is dialled is a user.",
        set: |c, v| v.text().and_then(|text| pattern(&text)).map(|pattern| c.pstn.pattern = Some(pattern)),
    },
    Key {
        name: "pstn.groups",
        allowed: "a list of \"GROUP:PATTERN\"",
        default: "[]",
        about: "Who may call which numbers: the first pattern that fits says which group of the table grp the caller must be in, else he hears 403. A number that fits none is for everybody.",
        set: |c, v| {
            let list = v.list()?;
            let groups = list.iter().map(|text| {
                let (group, text) = text.split_once(':').ok_or(format!("{text:?} has no colon"))?;
                Ok((group.to_owned(), pattern(text)?))
            });
            c.pstn.groups = groups.collect::<Result<_, String>>()?;
            Ok(())
        },
    },
];

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|_| format!("{text:?} is no regular expression"))
}
