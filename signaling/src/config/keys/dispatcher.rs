//! The gateways of the table `dispatcher`, under the names of Kamailio's module.

use regex::Regex;
use signaling_core::dispatcher::Algorithm;

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "dispatcher.routes",
        allowed: "a list of \"SETID:PATTERN\"",
        default: "[]",
        about: "Users behind the gateways of a set of the table dispatcher: a request for a user that fits the regular expression goes to one of them under the Request-URI that it has, and to the next when that one does not answer or says 500 or 503. Read again by causeway reload, as algorithm is.",
        set: |c, v| {
            let routes = v.list()?.into_iter().map(|text| {
                let parts = text.split_once(':').and_then(|(set, text)| Some((set.parse().ok()?, text)));
                let (set, pattern) = parts.ok_or_else(|| format!("{text:?} is no number with a pattern"))?;
                let pattern =
                    Regex::new(pattern).map_err(|_| format!("{pattern:?} is no regular expression"))?;
                Ok((set, pattern))
            });
            c.dispatched = routes.collect::<Result<_, String>>()?;
            Ok(())
        },
    },
    Key {
        name: "dispatcher.algorithm",
        allowed: "0 to 6 and 8 to 13",
        default: "4",
        about: "How one of a set is chosen, by Kamailio's numbers: 0 hash of the Call-ID, 1 of From, 2 of To, 3 of the Request-URI, 4 one after the other, 5 hash of the proved user, 6 by chance, 8 by priority, 9 by weight, 10 fewest calls (maxload), 11 by rweight, 12 all at once, 13 soonest answers.",
        set: |c, v| {
            let number = v.number(0, 255)?;
            c.dispatch_algorithm = Algorithm::of(number).ok_or(format!("{number} is no algorithm here"))?;
            Ok(())
        },
    },
    Key {
        name: "dispatcher.ds_ping_interval",
        allowed: "0 to 3600 seconds; 0 for never",
        default: "0",
        about: "How often gateways are asked by OPTIONS whether they are there. Without it none is put out of use for not answering.",
        set: |c, v| v.seconds(0, 3600).map(|time| c.dispatcher.ping_interval = time),
    },
    Key {
        name: "dispatcher.ds_ping_from",
        allowed: "a SIP URI",
        default: "\"sip:dispatcher@localhost\"",
        about: "Whom the OPTIONS are from; the attribute ping_from of a gateway goes before it.",
        set: |c, v| {
            c.dispatcher.ping_from = v.sip_uri()?.ok_or("it is empty")?;
            Ok(())
        },
    },
    Key {
        name: "dispatcher.ds_probing_mode",
        allowed: "0 or 1",
        default: "0",
        about: "Who is asked: 0 for those that have failed, 1 for all.",
        set: |c, v| v.number(0, 1).map(|mode: u8| c.dispatcher.ping_all = mode == 1),
    },
    Key {
        name: "dispatcher.ds_probing_threshold",
        allowed: "1 to 100",
        default: "1",
        about: "So many failures in a row put a gateway out of use.",
        set: |c, v| v.number(1, 100).map(|number| c.dispatcher.probing_threshold = number),
    },
    Key {
        name: "dispatcher.ds_inactive_threshold",
        allowed: "1 to 100",
        default: "1",
        about: "So many answers in a row take it back.",
        set: |c, v| v.number(1, 100).map(|number| c.dispatcher.inactive_threshold = number),
    },
    Key {
        name: "dispatcher.ds_ping_reply_codes",
        allowed: "a list of codes such as \"404\"",
        default: "[]",
        about: "What counts as an answer beside 2xx.",
        set: |c, v| {
            let codes = v.list()?.into_iter().map(|text| match text.parse() {
                Ok(code @ 100..=699) => Ok(code),
                _ => Err(format!("{text:?} is no code")),
            });
            c.dispatcher.reply_codes = codes.collect::<Result<_, String>>()?;
            Ok(())
        },
    },
];
