//! How ends have keys.

use signaling_core::settings::Keys;

use super::Key;
use crate::config::value::Value;

pub(super) const KEYS: &[Key] = &[Key {
    name: "media.dtmf",
    allowed: "a list of \"WHO=HOW\", WHO a user name, user@domain, the address of an end or \"*\" for all others, HOW \"rtp\", \"tone\" or \"info\"",
    default: "[]",
    about: "How ends send and hear keys that do not do it as their SDP says: as telephone-events (RFC 4733) whatever the other end has, as tones in the sound, or as INFO (application/dtmf-relay). Everybody else has telephone-events or tones as agreed, browsers always the first, and INFO passes unless its receiver refuses it. Keys of INFO are pressed at any relay; all else is done by that of this process alone.",
    set: |c, v| ends(v).map(|ends| c.dtmf.ends = ends),
}];

fn ends(value: &Value) -> Result<Vec<(String, Keys)>, String> {
    let one = |text: &String| {
        let (who, how) = text.rsplit_once('=').ok_or_else(|| format!("{text:?} has no ="))?;
        let keys = match how.trim() {
            "rtp" => Keys::Events,
            "tone" => Keys::Tones,
            "info" => Keys::Info,
            other => return Err(format!("{other:?} is no way to have keys")),
        };
        match who.trim() {
            "" => Err(format!("{text:?} names nobody")),
            who => Ok((who.to_owned(), keys)),
        }
    };
    value.list()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::Config;
    use super::*;

    #[test]
    fn ends_are_named_with_their_way() {
        let read = |list: &str| Config::parse(&format!("[media]\ndtmf = {list}\n"), "x");
        let config = read(r#"["carol=info", "192.0.2.7 = rtp", "2001:db8::1=tone", "*=rtp"]"#).unwrap();
        let shown: Vec<_> = config.dtmf.ends.iter().map(|(who, how)| (who.as_str(), *how)).collect();
        let expected = [
            ("carol", Keys::Info),
            ("192.0.2.7", Keys::Events),
            ("2001:db8::1", Keys::Tones),
            ("*", Keys::Events),
        ];
        assert_eq!(shown, expected);
        assert!(Config::parse("", "x").unwrap().dtmf.ends.is_empty());
        for (list, why) in [
            (r#"["carol"]"#, "\"carol\" has no ="),
            (r#"["carol=pulse"]"#, "\"pulse\" is no way"),
            (r#"["=info"]"#, "\"=info\" names nobody"),
        ] {
            let error = read(list).unwrap_err();
            assert!(error.what.starts_with(&format!("media.dtmf: {why}")), "{}", error.what);
        }
    }
}
