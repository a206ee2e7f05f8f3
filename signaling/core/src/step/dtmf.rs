//! Keys in INFO (`application/dtmf-relay` and `application/dtmf`): they pass, or are pressed in the media for an end that has its
//! keys there, or that refuses them.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{Incoming, Verdict};
use crate::message::{Fields, Method, Name, Response, StatusCode};
use crate::outside::{Keys, LegKind};
use crate::world::World;

/// The content type of a key in INFO.
pub const DTMF_RELAY: &str = "application/dtmf-relay";

/// The keys by their event numbers (RFC 4733 §3.2).
const KEYS: &str = "0123456789*#ABCD";

/// How long a key is held whose message does not say so.
const LENGTH: Duration = Duration::from_millis(160);

/// Shorter is not heard by many (ITU-T Q.24), and longer is not meant.
const LENGTHS: [Duration; 2] = [Duration::from_millis(40), Duration::from_secs(8)];

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed {
    /// Its event number, 0 to 15.
    pub code: u8,
    /// How long.
    pub duration: Duration,
}

impl Pressed {
    /// That of an INFO; `None` when that is about something else.
    #[must_use]
    pub fn of(message: &Fields) -> Option<Self> {
        let content_type = message.text(Name::ContentType)?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let body = std::str::from_utf8(message.body()).ok()?;
        let (signal, duration) = if essence.eq_ignore_ascii_case(DTMF_RELAY) {
            let value = |wanted: &str| {
                let pairs = body.lines().filter_map(|line| line.split_once('='));
                let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
                named.next().map(|(_, value)| value.trim())
            };
            (value("Signal")?, value("Duration").and_then(|text| text.parse().ok()))
        } else if essence.eq_ignore_ascii_case("application/dtmf") {
            (body.trim(), None)
        } else {
            return None;
        };
        let duration = duration.map_or(LENGTH, Duration::from_millis);
        Some(Self { code: code_of(signal)?, duration: duration.clamp(LENGTHS[0], LENGTHS[1]) })
    }

    /// The body of an INFO that says so.
    #[must_use]
    pub fn body(&self) -> String {
        let key = KEYS.chars().nth(self.code.into()).unwrap_or_default();
        format!("Signal={key}\r\nDuration={}\r\n", self.duration.as_millis())
    }
}

/// A key, or its number, as some write `*` and `#`.
fn code_of(signal: &str) -> Option<u8> {
    let key = signal.to_ascii_uppercase();
    let by_name = Some(key.as_str()).filter(|key| key.len() == 1).and_then(|key| KEYS.find(key));
    let by_number = || signal.parse().ok().filter(|number| (10..=15).contains(number));
    by_name.or_else(by_number).and_then(|code: usize| u8::try_from(code).ok())
}

/// What an INFO with a key is about: by the names of the relay.
struct Press {
    key: Pressed,
    tag: String,
    /// Its receiver has keys in its media, so that nobody is to be asked.
    at_once: bool,
}

/// The key of an INFO within a call that may be pressed in the media.
fn press_of(world: &World, incoming: &Incoming) -> Option<Press> {
    if *incoming.method() != Method::Info {
        return None;
    }
    let key = Pressed::of(&incoming.message)?;
    let (from, to) = (incoming.message.from_tag()?, incoming.message.to_tag()?);
    let calls = world.calls.borrow();
    let call = calls.find(incoming.call_id(), from).filter(|call| call.answered.is_some())?;
    let (sender, receiver) = (call.end(from)?, call.end(to)?);
    // A page hears of keys by INFO alone.
    let passes = receiver.keys == Keys::Info || receiver.kind == LegKind::Browser;
    let at_once = receiver.keys != Keys::Agreed || sender.keys == Keys::Info;
    let tag = sender.relayed.as_deref().unwrap_or(from).to_owned();
    (!passes).then_some(Press { key, tag, at_once })
}

async fn is_pressed(world: &World, incoming: &Incoming, press: &Press) -> bool {
    let Pressed { code, duration } = press.key;
    let pressed = world.outside.media.press(incoming.call_id(), &press.tag, code, duration).await;
    if let Err(error) = &pressed {
        tracing::warn!(call_id = incoming.call_id(), %error, "a key of INFO cannot be heard");
    }
    pressed.is_ok()
}

/// Answers an INFO whose key its receiver hears in the media.
pub async fn press(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    match press_of(world, incoming).filter(|press| press.at_once) {
        Some(press) if is_pressed(world, incoming, &press).await => {
            let response = incoming.answer(world, StatusCode::OK, "", &[]);
            ControlFlow::Break(Verdict::Reply(Box::new(response)))
        }
        _ => ControlFlow::Continue(()),
    }
}

/// Whether a response may be to an INFO whose receiver does not know what to do with it.
#[must_use]
pub fn is_refusal(incoming: &Incoming, response: &Response) -> bool {
    *incoming.method() == Method::Info && matches!(response.status().code(), 405 | 415 | 501)
}

/// The receiver of an INFO has refused it: its key is pressed in the media, if it has one, and the sender hears that all is well.
pub async fn press_refused(world: &World, incoming: &Incoming, response: &mut Response) {
    if let Some(press) = press_of(world, incoming)
        && is_pressed(world, incoming, &press).await
    {
        response.set_status(StatusCode::OK, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn pressed(content_type: &str, body: &str) -> Option<(u8, u64)> {
        let text = format!(
            "INFO sip:b@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:a@x>;tag=a\r\n\
             To: <sip:b@x>;tag=b\r\nCall-ID: c\r\nCSeq: 2 INFO\r\nMax-Forwards: 70\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let Ok(Message::Request(request)) = Message::parse(text.into()) else { panic!("it is a request") };
        Pressed::of(&request).map(|key| (key.code, key.duration.as_millis() as u64))
    }

    #[test]
    fn every_spelling_of_a_key_is_known() {
        for (body, expected) in [
            ("Signal=5\r\nDuration=160\r\n", Some((5, 160))),
            ("Signal= *\r\nDuration= 250\r\n", Some((10, 250))),
            ("signal=#\nduration=1\n", Some((11, 40))),
            ("Signal=d\r\nDuration=99999\r\n", Some((15, 8000))),
            ("Duration=100\r\nSignal=0", Some((0, 100))),
            ("Signal=10\r\n", Some((10, 160))),
            ("Signal=5\r\nDuration=x\r\n", Some((5, 160))),
            ("Signal=16\r\n", None),
            ("Signal=\r\n", None),
            ("Signal=E\r\n", None),
            ("Signal=\u{663}\r\n", None),
            ("", None),
        ] {
            assert_eq!(pressed("application/dtmf-relay", body), expected, "{body:?}");
        }
        assert_eq!(pressed("application/DTMF", " 7\r\n"), Some((7, 160)));
        assert_eq!(pressed("application/dtmf-relay;x=y", "Signal=1"), Some((1, 160)));
        assert_eq!(pressed("application/media_control+xml", "Signal=1"), None);
        let key = Pressed { code: 11, duration: LENGTH };
        assert_eq!(pressed(DTMF_RELAY, &key.body()), Some((11, 160)));
    }
}
