//! The gateways of the table `dispatcher`, under the names of Kamailio's module.

use regex::Regex;
use signaling_core::dispatcher::{Algorithm, Variables};

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "dispatcher.routes",
        allowed: "a list of \"SETID:PATTERN\"",
        default: "[]",
        about: "Users behind the gateways of a set of the table dispatcher: a request for a user that fits the regular expression goes to one of them under the Request-URI that it has, and to the next when that one does not answer or says 500 or 503. Read again by causeway reload, as algorithm and hash_pvar are.",
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
        allowed: "0 to 15 and 64",
        default: "4",
        about: "How one of a set is chosen, by Kamailio's numbers: 0 hash of the Call-ID, 1 of From, 2 of To, 3 of the Request-URI, 4 one after the other, 5 hash of the proved user, 6 by chance, 7 hash of hash_pvar, 8 by priority, 9 by weight, 10 fewest calls (maxload), 11 by rweight, 12 all at once, 13 by priority, lowered by one for each time that an answer takes as many milliseconds, 14 the highest priority in turns and the others only after it, 15 by priority and among equals by weight, 64 in turns and past those that have asked for less (RFC 7339). With cc=1 in its attrs, 11 and 13 judge a gateway by how much slower than usual it is.",
        set: |c, v| {
            let number = v.number(0, 255)?;
            c.dispatch_algorithm = Algorithm::of(number).ok_or(format!("{number} is no algorithm here"))?;
            Ok(())
        },
    },
    Key {
        name: "dispatcher.hash_pvar",
        allowed: "text with $ci, $fu, $fU, $fd, $tu, $tU, $td, $ru, $rU, $rd, $si, $sp, $au and $ua",
        default: "\"\"",
        about: "What algorithm 7 makes its hash of: the same text has the same gateway.",
        set: |c, v| {
            let read = Variables::parse(&v.text()?);
            c.hash_pvar = read.map_err(|name| format!("{name:?} is no variable here"))?;
            Ok(())
        },
    },
    Key {
        name: "dispatcher.ds_latency_estimator_alpha",
        allowed: "0 to 1000",
        default: "900",
        about: "How much of a thousand what was before counts in the estimate of how long a gateway's answers take.",
        set: |c, v| {
            v.number::<u16>(0, 1000)
                .map(|alpha| c.dispatcher.latency_estimator_alpha = f64::from(alpha) / 1000.0)
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
