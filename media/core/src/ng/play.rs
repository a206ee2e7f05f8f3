//! The commands by which the relay itself speaks.

use std::time::Duration;

use bytes::Bytes;

use super::decode::{ends, find, missing, required, text, unknown_keys};
use super::node::Node;
use crate::command::{Play, PlayDtmf, Source, StopMedia};
use crate::dtmf::{Digit, code_of};

/// ng's bounds of `duration` and `pause`, milliseconds.
const MILLIS: std::ops::RangeInclusive<u64> = 100..=5000;

pub(super) fn play(dictionary: &Node<'_>) -> Result<Play, String> {
    let source = match (find(dictionary, "file"), find(dictionary, "blob"), find(dictionary, "db-id")) {
        (Some(_), ..) => Source::File(required(dictionary, "file")?),
        (_, Some(Node::Text(octets)), _) => Source::Blob(Bytes::copy_from_slice(octets)),
        (_, Some(_), _) => return Err("blob is no text".to_owned()),
        (.., Some(_)) => Source::Database,
        _ => return Err("the message has none of file, blob and db-id".to_owned()),
    };
    // A negative number plays for ever, as with rtpproxy.
    let times = match number(dictionary, "repeat-times")? {
        None => Some(1),
        Some(times) => u32::try_from(times).ok(),
    };
    let millis = |key| Ok::<_, String>(number(dictionary, key)?.and_then(|it| u64::try_from(it).ok()));
    let known = ["file", "blob", "db-id", "repeat-times", "start-pos", "repeat-duration"];
    Ok(Play {
        ends: ends(dictionary)?,
        source,
        times,
        start: Duration::from_millis(millis("start-pos")?.unwrap_or(0)),
        limit: millis("repeat-duration")?.filter(|limit| *limit > 0).map(Duration::from_millis),
        warnings: unknown_keys(dictionary, &known),
    })
}

pub(super) fn stop(dictionary: &Node<'_>) -> Result<StopMedia, String> {
    Ok(StopMedia { ends: ends(dictionary)?, warnings: unknown_keys(dictionary, &[]) })
}

pub(super) fn dtmf(dictionary: &Node<'_>) -> Result<PlayDtmf, String> {
    let key = match text(dictionary, "code")? {
        Some(code) => code,
        None => text(dictionary, "digit")?.ok_or_else(|| missing("code"))?,
    };
    let code = self::key(&key)?;
    let millis = |key, default: i64| {
        let millis = number(dictionary, key)?.unwrap_or(default).max(0).unsigned_abs();
        Ok::<_, String>(Duration::from_millis(millis.clamp(*MILLIS.start(), *MILLIS.end())))
    };
    // Below full scale, whatever its sign.
    let volume = number(dictionary, "volume")?.unwrap_or(8).unsigned_abs().min(63) as u8;
    let digit = Digit { code, volume, duration: millis("duration", 250)?, pause: millis("pause", 100)? };
    let known = ["code", "digit", "duration", "pause", "volume"];
    Ok(PlayDtmf { ends: ends(dictionary)?, digit, warnings: unknown_keys(dictionary, &known) })
}

/// The event code of a key, or of its number.
pub(super) fn key(text: &str) -> Result<u8, String> {
    let mut characters = text.chars();
    match (characters.next().and_then(code_of), characters.next()) {
        (Some(code), None) => Ok(code),
        // The events behind 9 have numbers of two digits.
        _ => text.parse().ok().filter(|code| *code < 16).ok_or_else(|| format!("{text:?} is no key")),
    }
}

pub(super) fn number(dictionary: &Node<'_>, key: &str) -> Result<Option<i64>, String> {
    let Some(text) = text(dictionary, key)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{key} is no number"))
}

#[cfg(test)]
mod tests {
    use super::super::{DecodeError, decode};
    use super::*;
    use crate::command::Command;

    fn read(text: &str) -> Result<Command, String> {
        match decode(format!("1 {text}").as_bytes()) {
            Ok(message) => Ok(message.command),
            Err(DecodeError::Refused { failure, .. }) => Err(failure.reason),
            Err(DecodeError::NoCookie) => panic!("{text}"),
        }
    }

    #[test]
    fn play_media() {
        let Ok(Command::Play(play)) = read(
            r#"{"command":"play media","call-id":"c","from-tag":"a","label":"l","file":"/x.wav","repeat times":3,
            "start-pos":40,"repeat-duration":"500","to-tag":"b","moon":1}"#,
        ) else {
            panic!("a play")
        };
        assert_eq!(play.source, Source::File("/x.wav".to_owned()));
        assert_eq!((play.times, play.start.as_millis()), (Some(3), 40));
        assert_eq!(play.limit, Some(Duration::from_millis(500)));
        assert_eq!((play.ends.from_tag.as_deref(), play.ends.label.as_deref()), (Some("a"), Some("l")));
        assert_eq!(play.warnings, ["no effect here: moon"]);
        for (more, source, times) in [
            (r#""blob":"RIFF""#, Source::Blob(Bytes::from_static(b"RIFF")), Some(1)),
            (r#""db-id":7,"repeat-times":-1"#, Source::Database, None),
        ] {
            let all = r#""call-id":"c","from-tag":"a","flags":["all"]"#;
            let Ok(Command::Play(play)) = read(&format!(r#"{{"command":"play media",{all},{more}}}"#)) else {
                panic!("{more}")
            };
            assert_eq!((play.source, play.times, play.ends.from_tag), (source, times, None));
        }
    }

    #[test]
    fn play_dtmf_within_its_bounds() {
        for (words, code, volume, duration, pause) in [
            (r#""code":"0""#, 0, 8, 250, 100),
            (r#""code":11,"volume":-5,"duration":120,"pause":110"#, 11, 5, 120, 110),
            (r##""digit":"#","volume":99,"duration":1,"pause":9999"##, 11, 63, 100, 5000),
            (r#""code":"c""#, 14, 8, 250, 100),
        ] {
            let text = format!(r#"{{"command":"play DTMF","call-id":"c","address":"192.0.2.1",{words}}}"#);
            let Ok(Command::PlayDtmf(play)) = read(&text) else { panic!("{words}") };
            let millis = Duration::from_millis;
            let digit = Digit { code, volume, duration: millis(duration), pause: millis(pause) };
            assert_eq!((play.digit, play.warnings.len()), (digit, 0), "{words}");
            assert_eq!(play.ends.address, "192.0.2.1".parse().ok());
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (text, reason) in [
            (r#"{"command":"play media","call-id":"c"}"#, "the message has none of file, blob and db-id"),
            (r#"{"command":"play media","file":"x"}"#, "the message has no call-id"),
            (r#"{"command":"play media","call-id":"c","blob":[]}"#, "blob is no text"),
            (r#"{"command":"play DTMF","call-id":"c"}"#, "the message has no code"),
            (r#"{"command":"play DTMF","call-id":"c","code":"16"}"#, "\"16\" is no key"),
            (r#"{"command":"play DTMF","call-id":"c","code":"1","volume":"x"}"#, "volume is no number"),
            (r#"{"command":"stop media","call-id":"c","address":"x"}"#, "address is no IP address"),
        ] {
            assert_eq!(read(text), Err(reason.to_owned()));
        }
    }
}
