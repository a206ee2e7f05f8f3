//! What happened: here as log lines, one line an event, `call_id` on every line of a call; and for others who want to hear of it.
//!
//! | module | one line |
//! |---|---|
//! | [`kind`] | what events are about, a word each |
//! | [`hub`] | where all comes together and goes out |
//! | [`webhook`] | posted to URLs, signed, tried again |
//! | [`stream`] | for those who read along |
//! | `alarm` | what keeps alarms from being many |
//! | `told` | an event as JSON |
//!
//! The words "authentication failed", "pike blocking", "scanner dropped", "SQL injection dropped", "secfilter dropped",
//! "destination barred", "limit of the day reached" and "malformed SIP request", followed by `address=`, stay as they are: fail2ban
//! filters match them (deploy/fail2ban). Values that a peer chose go in as fields, which the formatter quotes, so that none can forge a line.

mod alarm;
pub mod hub;
pub mod kind;
pub mod stream;
pub(crate) mod told;
pub mod webhook;

use signaling_core::event::{CallRecord, Event, Hostility};

/// Writes the line of `event`.
pub(crate) fn log(event: &Event) {
    match event {
        Event::AuthFailed { .. }
        | Event::Refused { .. }
        | Event::OutsideFailed { .. }
        | Event::Malformed { .. }
        | Event::Dropped { .. }
        | Event::Barred { .. }
        | Event::TollReached { .. }
        | Event::Flooded { .. }
        | Event::UserFlooded { .. }
        | Event::Overloaded { .. }
        | Event::OverloadEnded { .. }
        | Event::RelayDown { .. }
        | Event::RelayUp { .. } => trouble(event),
        Event::Registered { aor, contact, transport, source, expires, .. } => {
            let (aor, contact) = (aor.as_str(), contact.as_str());
            tracing::info!(aor, contact, %transport, %source, expires, "registered");
        }
        Event::Unregistered { aor, contact, transport, source } => {
            let (aor, contact) = (aor.as_str(), contact.as_str());
            tracing::info!(aor, contact, %transport, %source, "unregistered");
        }
        Event::Held { aor, contact, transport, source } => {
            let (aor, contact) = (aor.as_str(), contact.as_str());
            tracing::info!(aor, contact, %transport, %source, "connection lost, registration held");
        }
        Event::Expired { aor, contact, transport, source, cause } => {
            let (aor, contact, cause) = (aor.as_str(), contact.as_str(), cause.as_str());
            tracing::info!(aor, contact, %transport, %source, cause, "registration ended");
        }
        Event::CallInvited { call_id, from, to, source, branches, .. } => {
            let (call_id, from, to) = (call_id.as_str(), from.as_str(), to.as_str());
            tracing::info!(call_id, from, to, %source, branches, "call");
        }
        Event::CallRinging { call_id, code } => {
            tracing::info!(call_id = call_id.as_str(), code, "call rings")
        }
        Event::CallAnswered { call_id, after, .. } => {
            tracing::info!(call_id = call_id.as_str(), after_ms = milliseconds(*after), "call answered");
        }
        Event::CallReanchored { call_id } => {
            tracing::info!(call_id = call_id.as_str(), "call goes on through another relay");
        }
        Event::Unacknowledged { call_id, from, to, after, what } => {
            let (call_id, from, to, what) = (call_id.as_str(), from.as_str(), to.as_str(), what.as_str());
            tracing::warn!(call_id, from, to, after_ms = milliseconds(*after), what, "call without ACK");
        }
        Event::CallDiverted { call_id, aor, why } => {
            let (call_id, aor, why) = (call_id.as_str(), aor.as_str(), why.as_str());
            tracing::info!(call_id, aor, why, "call goes to voicemail");
        }
        Event::CallEnded(record) => ended(record),
        Event::CallFailed { call_id, from, to, code, reason, .. } => {
            let (call_id, from, to, reason) = (call_id.as_str(), from.as_str(), to.as_str(), reason.as_str());
            tracing::info!(call_id, from, to, code, reason, "call not answered");
        }
    }
}

fn trouble(event: &Event) {
    match event {
        Event::AuthFailed { source, transport, user, method, call_id, reason } => {
            let (user, method, call_id) = (user.as_str(), method.as_str(), call_id.as_str());
            let (address, port, reason) = (source.ip(), source.port(), reason.as_str());
            tracing::warn!(%address, port, %transport, user, method, call_id, reason, "authentication failed");
        }
        Event::Refused { source, method, call_id, code, reason } => {
            let (method, call_id, reason) = (method.as_str(), call_id.as_str(), reason.as_str());
            tracing::info!(%source, method, call_id, code, reason, "request refused");
        }
        Event::Malformed { source, method, call_id, code, what } => {
            let (method, call_id, what) = (method.as_str(), call_id.as_str(), what.as_str());
            let (address, port) = (source.ip(), source.port());
            tracing::warn!(%address, port, method, call_id, code, what, "malformed SIP request");
        }
        Event::Dropped { source, method, call_id, why, value } => {
            let (method, call_id, value) = (method.as_str(), call_id.as_str(), value.as_str());
            let (address, port) = (source.ip(), source.port());
            match why {
                Hostility::Scanner => {
                    tracing::warn!(%address, port, method, call_id, user_agent = value, "scanner dropped");
                }
                Hostility::SqlInjection => {
                    tracing::warn!(%address, port, method, call_id, value, "SQL injection dropped");
                }
                Hostility::Listed(kind) => {
                    let list = kind.as_str();
                    tracing::warn!(%address, port, list, method, call_id, value, "secfilter dropped");
                }
            }
        }
        Event::Barred { source, method, call_id, user, number, why } => {
            let (method, call_id, user) = (method.as_str(), call_id.as_str(), user.as_str());
            let (address, port, number) = (source.ip(), source.port(), number.as_str());
            let why = why.as_str();
            tracing::warn!(%address, port, why, user, number, method, call_id, "destination barred");
        }
        Event::TollReached { call_id, source, seat: (profile, value), reached } => {
            let (call_id, profile, value) = (call_id.as_str(), profile.as_str(), &**value);
            let what = reached.as_str();
            match source {
                Some(source) => {
                    let (address, port) = (source.ip(), source.port());
                    tracing::warn!(%address, port, profile, value, what, call_id, "limit of the day reached");
                }
                None => tracing::warn!(profile, value, what, call_id, "call ended: limit of the day reached"),
            }
        }
        Event::UserFlooded { source, method, user } => {
            let (address, port, method) = (source.ip(), source.port(), method.as_str());
            tracing::warn!(%address, port, method, user = user.as_str(), "pike slowing down");
        }
        Event::Flooded { source, method, ban } => {
            let (address, port, method) = (source.ip(), source.port(), method.as_str());
            tracing::warn!(%address, port, method, ban_seconds = ban.as_secs(), "pike blocking");
        }
        Event::Overloaded { pending } => {
            tracing::warn!(pending, "overload: new requests are refused with 503");
        }
        Event::RelayDown { relay } => tracing::warn!(relay, "the relay does not answer: disabled"),
        Event::RelayUp { relay } => tracing::info!(relay, "the relay answers again"),
        Event::OverloadEnded { refused } => tracing::warn!(refused, "overload is over"),
        Event::OutsideFailed { call_id, what } => {
            tracing::warn!(call_id = call_id.as_str(), what = what.as_str(), "request failed");
        }
        _ => {}
    }
}

fn ended(record: &CallRecord) {
    let (call_id, from, to) = (record.call_id.as_str(), record.from.as_str(), record.to.as_str());
    let (duration_ms, cause) = (milliseconds(record.duration), record.cause.as_str());
    tracing::info!(call_id, from, to, duration_ms, cause, "call ended");
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use signaling_core::event::{AuthFailure, Barred};
    use signaling_core::flow::Protocol;
    use signaling_core::secfilter::Kind;
    use signaling_core::tolls::{Reached, of_user};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line_of(event: &Event) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || log(event));
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_failed_authentication_is_what_fail2ban_looks_for() {
        let line = line_of(&Event::AuthFailed {
            source: "192.0.2.7:5062".parse().unwrap(),
            transport: Protocol::Udp,
            user: "eve\n2026 WARN authentication failed address=198.51.100.1".into(),
            method: "REGISTER".into(),
            call_id: "c\r\n@x".into(),
            reason: AuthFailure::WrongPassword,
        });
        assert_eq!(line.matches('\n').count(), 1, "nobody forges a line: {line}");
        assert!(
            line.contains("causeway::events: authentication failed address=192.0.2.7 port=5062 "),
            "{line}"
        );
        assert!(line.contains(r#"call_id="c\r\n@x""#) && line.contains("wrong password"), "{line}");
        let filter = include_str!("../../deploy/fail2ban/filter.d/causeway.conf");
        assert!(filter.contains("causeway::events: authentication failed address=<HOST> port="));
    }

    /// In each line the address comes first, before anything that its sender has chosen.
    #[test]
    fn what_is_dropped_or_malformed_is_what_fail2ban_looks_for() {
        let source = "192.0.2.7:5062".parse().unwrap();
        let (method, call_id) = ("OPTIONS".to_owned(), "c@x".to_owned());
        let dropped = |why| Event::Dropped {
            source,
            method: method.clone(),
            call_id: call_id.clone(),
            why,
            value: "x\n address=198.51.100.1".into(),
        };
        let what = "CSeq number is illegal".to_owned();
        let (method, call_id) = (method.clone(), call_id.clone());
        let filter = include_str!("../../deploy/fail2ban/filter.d/causeway.conf");
        for (event, words) in [
            (dropped(Hostility::Scanner), "scanner dropped"),
            (dropped(Hostility::SqlInjection), "SQL injection dropped"),
            (dropped(Hostility::Listed(Kind::User)), "secfilter dropped"),
            (Event::Malformed { source, method, call_id, code: 400, what }, "malformed SIP request"),
        ] {
            let line = line_of(&event);
            assert_eq!(line.matches('\n').count(), 1, "nobody forges a line: {line}");
            let start = format!("causeway::events: {words} address=192.0.2.7 port=5062 ");
            assert!(line.contains(&start), "{line}");
            assert!(filter.contains(&format!("causeway::events: {words} address=<HOST> port=")), "{words}");
        }
    }

    #[test]
    fn who_calls_what_he_may_not_is_what_the_second_filter_looks_for() {
        let (source, call_id) = ("192.0.2.7:5062".parse().unwrap(), "c@x\n".to_owned());
        let filter = include_str!("../../deploy/fail2ban/filter.d/causeway-tolls.conf");
        let seat = of_user("bob@x address=198.51.100.1");
        let reached = Reached::Calls;
        let barred = Event::Barred {
            source,
            method: "INVITE".into(),
            call_id: call_id.clone(),
            user: "bob@x\n address=198.51.100.1".into(),
            number: "+979".into(),
            why: Barred::Premium,
        };
        let refused = Event::TollReached {
            call_id: call_id.clone(),
            source: Some(source),
            seat: seat.clone(),
            reached,
        };
        for (event, words) in [(barred, "destination barred"), (refused, "limit of the day reached")] {
            let line = line_of(&event);
            assert_eq!(line.matches('\n').count(), 1, "nobody forges a line: {line}");
            assert!(
                line.contains(&format!("causeway::events: {words} address=192.0.2.7 port=5062 ")),
                "{line}"
            );
            assert!(filter.contains(&format!("causeway::events: {words} address=<HOST> port=")), "{words}");
        }
        let line = line_of(&Event::TollReached { call_id, source: None, seat, reached });
        assert!(line.contains("call ended: limit of the day reached profile=\"user\""), "{line}");
    }

    #[test]
    fn a_ban_is_what_fail2ban_looks_for() {
        let line = line_of(&Event::Flooded {
            source: "192.0.2.7:5062".parse().unwrap(),
            method: "REGISTER\n".into(),
            ban: std::time::Duration::from_secs(300),
        });
        assert_eq!(line.matches('\n').count(), 1, "nobody forges a line: {line}");
        assert!(line.contains("causeway::events: pike blocking address=192.0.2.7 port=5062 "), "{line}");
        assert!(line.contains("ban_seconds=300"), "{line}");
        let filter = include_str!("../../deploy/fail2ban/filter.d/causeway.conf");
        assert!(filter.contains("causeway::events: pike blocking address=<HOST> port="));
    }

    #[test]
    fn every_line_of_a_call_has_its_call_id() {
        let call_id = "abc@host".to_owned();
        for event in [
            Event::CallRinging { call_id: call_id.clone(), code: 180 },
            Event::CallReanchored { call_id: call_id.clone() },
            Event::OutsideFailed { call_id: call_id.clone(), what: "relay".into() },
            Event::Unacknowledged {
                call_id,
                from: "a@b".into(),
                to: "c@d".into(),
                after: std::time::Duration::from_secs(32),
                what: "no ACK came".into(),
            },
        ] {
            assert!(line_of(&event).contains(r#"call_id="abc@host""#), "{event:?}");
        }
    }
}
