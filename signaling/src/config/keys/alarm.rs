//! Alarms.

use aws_lc_rs::hmac;

use super::Key;
use crate::alarms::Kind;
use crate::post::Url;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "alarm.webhook_url",
        allowed: "an http or https URL; empty for none",
        default: "\"\"",
        about: "Where alarms are posted as JSON, each tried for two minutes. Calls wait for none of it.",
        set: |c, v| {
            c.alarm.url = v.optional()?.map(|url| Url::parse(&url)).transpose()?;
            Ok(())
        },
    },
    Key {
        name: "alarm.webhook_secret",
        allowed: "text; empty for none",
        default: "\"\"",
        about: "The key of the signature that they have in X-Causeway-Signature: t=SECONDS,v1=HEX, the HMAC-SHA256 of \"SECONDS.BODY\".",
        set: |c, v| {
            let key = |text: String| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
            v.optional().map(|text| c.alarm.key = text.map(key))
        },
    },
    Key {
        name: "alarm.webhook_interval",
        allowed: "1 to 86400 seconds",
        default: "60",
        about: "An alarm about the same user or source is posted again no sooner than this; the next one says how many there were.",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.alarm.interval = time),
    },
    Key {
        name: "alarm.events",
        allowed: "a list of \"auth_block\", \"flood\", \"secfilter\", \"premium\" and \"toll\"",
        default: "[\"auth_block\", \"flood\", \"secfilter\", \"premium\", \"toll\"]",
        about: "What is posted: blocks for guessed passwords, bans of floods, requests dropped by secfilter, barred and costly numbers, limits of the day. Each is logged and counted in any case.",
        set: |c, v| {
            let kind = |word: &String| Kind::named(word).ok_or_else(|| format!("{word:?} is unknown"));
            c.alarm.kinds = v.list()?.iter().map(kind).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
];
