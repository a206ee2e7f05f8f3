//! An event as JSON, as webhooks and readers of the stream get it.

use std::time::Duration;

use serde_json::{Map, Value, json};
use signaling_core::event::{Event, Hostility, Parties};
use signaling_core::profiles::Profile;

use super::kind::Kind;
use crate::accounting::record::Record;
use crate::commands::listing::date;

/// One event on its way.
#[derive(Debug)]
pub struct Told {
    /// Its number since the start of the process.
    pub seq: u64,
    /// What it is about.
    pub kind: Kind,
    /// The same with all that there is to say, one line of JSON.
    pub body: String,
}

/// Its fields, in the order of their names.
pub(super) type Fields = Map<String, Value>;

/// A moment since 1970, to the millisecond (RFC 3339).
pub(super) fn moment(at: Duration) -> String {
    let seconds = date(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), at.subsec_millis())
}

/// Adds pairs to the fields.
macro_rules! say {
    ($fields:ident, $($name:literal: $value:expr),* $(,)?) => {{
        $($fields.insert($name.to_owned(), json!($value));)*
    }};
}

/// What there is to say of `event`.
pub(super) fn fields(event: &Event) -> Fields {
    let mut fields = Fields::new();
    match event {
        Event::CallInvited { call_id, from, to, source, branches, parties, .. } => {
            say!(fields, "call_id": call_id, "from": from, "to": to, "source": source, "branches": branches,
                "dialled": parties.dst_ouser);
        }
        Event::CallRinging { call_id, code } => say!(fields, "call_id": call_id, "code": code),
        Event::CallAnswered { call_id, after, parties, answerer, .. } => {
            call(&mut fields, call_id, parties);
            say!(fields, "after": seconds(*after), "answered_from": answerer.dst_ip);
        }
        Event::CallFailed { call_id, from, to, code, reason, started_at, .. } => {
            say!(fields, "call_id": call_id, "from": from, "to": to, "code": code, "reason": reason,
                "started_at": at(*started_at));
        }
        Event::CallEnded(record) => {
            say!(fields, "call_id": record.call_id, "from": record.from, "to": record.to,
                "started_at": at(record.started_at), "answered_at": at(record.answered_at),
                "duration": seconds(record.duration), "cause": record.cause.as_str());
        }
        Event::Registered { aor, contact, transport, source, expires, .. } => {
            say!(fields, "aor": aor, "contact": contact, "transport": transport.via_token(), "source": source,
                "expires": expires);
        }
        Event::Unregistered { aor, contact, transport, source } => {
            say!(fields, "aor": aor, "contact": contact, "transport": transport.via_token(), "source": source);
        }
        Event::Expired { aor, contact, transport, source, cause } => {
            say!(fields, "aor": aor, "contact": contact, "transport": transport.via_token(), "source": source,
                "cause": cause.as_str());
        }
        Event::RelayDown { relay } | Event::RelayUp { relay } => say!(fields, "relay": relay),
        Event::Overloaded { pending } => say!(fields, "pending": pending),
        Event::OverloadEnded { refused } => say!(fields, "refused": refused),
        alarm => of_alarm(&mut fields, alarm),
    }
    fields
}

/// An answered call that is over, with what the relay has counted of it.
pub(super) fn ended(record: &Record) -> Fields {
    let mut fields = Fields::new();
    say!(fields, "call_id": record.call_id,
        "from": format!("{}@{}", record.src_user, record.src_domain),
        "to": format!("{}@{}", record.dst_ouser, record.dst_domain),
        "started_at": at(record.start), "answered_at": record.answer.map(at),
        "duration": record.duration, "cause": record.cause, "ended_by": record.ended_by,
        "caller": record.src_media, "callee": record.dst_media);
    fields
}

fn call(fields: &mut Fields, call_id: &str, parties: &Parties) {
    say!(fields, "call_id": call_id,
        "from": format!("{}@{}", parties.src_user, parties.src_domain),
        "to": format!("{}@{}", parties.dst_ouser, parties.dst_domain));
}

fn of_alarm(fields: &mut Fields, event: &Event) {
    match event {
        Event::AuthFailed { source, user, method, call_id, reason, .. } => {
            say!(fields, "source": source.ip().to_canonical(), "user": user, "method": method,
                "call_id": call_id, "what": reason.as_str());
        }
        Event::Flooded { source, ban, .. } => {
            say!(fields, "source": source.ip().to_canonical(), "seconds": ban.as_secs(),
                "what": "not heard any more for a while");
        }
        Event::UserFlooded { source, user, .. } => {
            say!(fields, "source": source.ip().to_canonical(), "user": user, "what": "sends too much");
        }
        Event::Dropped { source, method, call_id, why, value } => {
            let what = match why {
                Hostility::Scanner => "scanner",
                Hostility::SqlInjection => "SQL injection",
                Hostility::Listed(kind) => kind.as_str(),
            };
            say!(fields, "source": source.ip().to_canonical(), "method": method, "call_id": call_id,
                "what": what, "value": value);
        }
        Event::Barred { source, method, call_id, user, number, why } => {
            say!(fields, "source": source.ip().to_canonical(), "user": user, "method": method,
                "call_id": call_id, "number": number, "what": why.as_str());
        }
        Event::TollReached { call_id, source, seat: (profile, value), reached } => {
            say!(fields, "source": source.map(|source| source.ip().to_canonical()), "call_id": call_id,
                "what": reached.as_str(), "ended": source.is_none());
            let whose = if *profile == Profile::User { "user" } else { "gateway" };
            fields.insert(whose.to_owned(), json!(value));
        }
        _ => {}
    }
}

fn at(seconds: u64) -> String {
    date(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
