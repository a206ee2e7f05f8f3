//! Recording, and what the relay says to callers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Config, RecordingFormat, Sound};
use super::Key;
use crate::config::value::Value;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "media.announcements",
        allowed: "a list of \"CODE=FILE\", FILE the path of a WAV file at the relay, or \"default\" for a tone; CODE 400 to 699",
        default: "[]",
        about: "What a caller hears, as early media, before a call fails with this code, such as 404 (unknown), 480 (not there) or 486 (busy): 50 seconds at most. The tones are in `sounds` of the data directory.",
        set: |c, v| announcements(v).map(|sounds| c.announcements = sounds),
    },
    Key {
        name: "media.announcements_answered",
        allowed: "a list of user names, user@domain or addresses of callers; \"*\" for all",
        default: "[]",
        about: "Callers that play no early media, as some gateways and carriers do: their call is answered, they hear the announcement, and a BYE whose Reason has the code ends it.",
        set: |c, v| v.list().map(|callers| c.announcements_answered = callers),
    },
    Key {
        name: "recording.users",
        allowed: "a list of user names; \"*\" for all",
        default: "[]",
        about: "Whose calls are recorded, made and taken. Ask the law what has to be said to whom.",
        set: |c, v| v.list().map(|users| c.record_users = users),
    },
    Key {
        name: "recording.feature_code",
        allowed: "up to 8 keys of 0 to 9, * and #; empty for none",
        default: "\"\"",
        about: "Keys that either end presses in a call to have it recorded, and again to end that, such as \"*1\". The other end hears them. Only with the relay of this process.",
        set: |c, v| feature_code(v).map(|code| c.record_code = code),
    },
    Key {
        name: "recording.notice",
        allowed: "\"default\", \"off\" or the path of a WAV file at the relay",
        default: "\"default\"",
        about: "What both ends hear when a recording begins. The default is a tone and an English sentence, a file in `sounds` of the data directory.",
        set: |c, v| sound(v).map(|sound| c.recording_notice = sound),
    },
    Key {
        name: "recording.directory",
        allowed: "a path; empty for `recordings` in the data directory",
        default: "\"\"",
        about: "Where the relay of this process writes recordings, each with its metadata.",
        set: |c, v| v.optional().map(|path| c.recording.directory = path.map(Into::into)),
    },
    Key {
        name: "recording.format",
        allowed: "\"stereo\", \"mixed\", \"separate\" or \"pcap\"",
        default: "\"stereo\"",
        about: "WAV with the caller left and the callee right; both in one channel; a file of each; or a capture of the packets.",
        set: |c, v| {
            let formats = ["stereo", "mixed", "separate", "pcap"];
            v.choice(&formats).map(|place| {
                c.recording.format = match place {
                    0 => RecordingFormat::Stereo,
                    1 => RecordingFormat::Mixed,
                    2 => RecordingFormat::Separate,
                    _ => RecordingFormat::Pcap,
                };
            })
        },
    },
    Key {
        name: "recording.max_size",
        allowed: "0 to 100000000 megabytes; 0 for no limit",
        default: "10000",
        about: "The oldest recordings go when there are more megabytes of them. An hour in stereo is 230.",
        set: |c, v| v.number(0, 100_000_000).map(|size: u64| c.recording.max_octets = size * 1_000_000),
    },
    Key {
        name: "recording.max_days",
        allowed: "0 to 36500 days; 0 for ever",
        default: "90",
        about: "Recordings go when they are so old.",
        set: |c, v| {
            v.number(0, 36_500).map(|days: u32| c.recording.max_age = Duration::from_secs(86_400) * days)
        },
    },
];

fn announcements(value: &Value) -> Result<BTreeMap<u16, Sound>, String> {
    let one = |text: &String| {
        let (code, file) = text.split_once('=').ok_or_else(|| format!("{text:?} has no ="))?;
        let code = code.trim().parse().ok().filter(|code| (400..=699).contains(code));
        let code = code.ok_or_else(|| format!("{text:?} begins with no code that refuses"))?;
        Ok((code, sound(&Value::Text(file.trim().to_owned()))?))
    };
    value.list()?.iter().map(one).collect()
}

fn feature_code(value: &Value) -> Result<String, String> {
    let code = value.text()?;
    match code.len() <= 8 && code.chars().all(|key| key.is_ascii_digit() || "*#".contains(key)) {
        true => Ok(code),
        false => Err(format!("{code:?} cannot be pressed")),
    }
}

pub(super) fn sound(value: &Value) -> Result<Sound, String> {
    Ok(match value.text()?.as_str() {
        "default" => Sound::Own,
        "off" | "" => Sound::Off,
        path => Sound::File(path.to_owned()),
    })
}

impl Config {
    /// Where recordings go.
    #[must_use]
    pub fn recordings(&self) -> std::path::PathBuf {
        self.recording.directory.clone().unwrap_or_else(|| self.data_directory.join("recordings"))
    }
}
