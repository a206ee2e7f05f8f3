//! Alarms, and events for other programs.

use aws_lc_rs::hmac;

use super::Key;
use crate::config::value::Value;
use crate::events::kind::{Kind, Kinds};
use crate::events::webhook::Settings;
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
        set: |c, v| key(v).map(|key| c.alarm.key = key),
    },
    Key {
        name: "alarm.webhook_interval",
        allowed: "1 to 86400 seconds",
        default: "60",
        about: "An alarm about the same user or source is told again no sooner than this, wherever alarms go; the next one says how many there were.",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.alarm.interval = time),
    },
    Key {
        name: "alarm.events",
        allowed: "a list of \"auth_block\", \"flood\", \"secfilter\", \"premium\" and \"toll\"",
        default: "[\"auth_block\", \"flood\", \"secfilter\", \"premium\", \"toll\"]",
        about: "What is posted: blocks for guessed passwords, bans of floods, requests dropped by secfilter, barred and costly numbers, limits of the day. Each is logged and counted in any case.",
        set: |c, v| {
            let alarm = |word: &String| {
                let kind = Kind::named(word).filter(|kind| kind.is_alarm());
                kind.ok_or_else(|| format!("{word:?} is unknown"))
            };
            c.alarm.kinds = v.list()?.iter().map(alarm).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Key {
        name: "events.webhooks",
        allowed: "a list of \"URL\" or \"URL KIND KIND…\", http or https",
        default: "[]",
        about: "Where events are posted as JSON, each tried for two minutes: all, or those of these kinds: call_started, call_ringing, call_answered, call_ended (with cause and quality), call_failed, registered, unregistered, registration_expired, relay_down, relay_up, overload, overload_ended, and the alarms of alarm.events. Calls wait for none of it.",
        set: |c, v| {
            let hooks = v.list()?;
            c.webhooks = hooks.iter().map(|hook| webhook(hook)).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Key {
        name: "events.webhook_secret",
        allowed: "text; empty for none",
        default: "\"\"",
        about: "The key of the signature of events, made as that of alarm.webhook_secret.",
        set: |c, v| key(v).map(|key| c.webhook_key = key),
    },
];

fn key(value: &Value) -> Result<Option<hmac::Key>, String> {
    Ok(value.optional()?.map(|text| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())))
}

/// A URL, and what is posted there.
fn webhook(text: &str) -> Result<Settings, String> {
    let mut words = text.split_whitespace();
    let url = Url::parse(words.next().unwrap_or_default())?;
    let kinds: Vec<&str> = words.collect();
    let kinds = if kinds.is_empty() { Kinds::ALL } else { Kinds::named(kinds)? };
    Ok(Settings { name: "events.webhooks", url, key: None, kinds })
}
