//! The commands that hold back a part of what ends send.

use std::time::Duration;

use super::decode::{delay_buffer, find, required, text, unknown_keys};
use super::flags::normal;
use super::node::Node;
use super::play::number;
use crate::command::{Gate, Gated, Mode, Screening, Trigger};
use crate::dtmf::code_of;

/// Keys of one trigger.
const MAX_KEYS: usize = 32;

/// The longest `DTMF-delay`, milliseconds.
const MAX_DELAY: i64 = 10_000;

/// Keys that say what becomes of DTMF.
const SECURITY: [&str; 13] = [
    "DTMF-security",
    "DTMF-security-trigger",
    "DTMF-security-trigger-end",
    "trigger",
    "trigger-end",
    "end-trigger",
    "trigger-end-time",
    "trigger-end-digits",
    "frequency",
    "volume",
    "digit",
    "code",
    "DTMF-delay",
];

pub(super) fn gate(dictionary: &Node<'_>, what: Gated, closed: bool) -> Result<Gate, String> {
    let blocks_keys = what == Gated::Dtmf && closed;
    let mut known = vec!["delay-buffer"];
    known.extend(SECURITY.iter().filter(|_| blocks_keys));
    let screening = if blocks_keys { Some(screening(dictionary)?) } else { None };
    // Without anything further they are held back as all else is, or not at all.
    let is_plain = |wish: &Screening| wish.trigger.is_none() && wish.delay.is_zero();
    let closed = match &screening {
        Some(wish) if is_plain(wish) => wish.mode == Mode::Drop,
        Some(_) => false,
        None => closed,
    };
    let screening = screening.filter(|wish| !(is_plain(wish) && matches!(wish.mode, Mode::Off | Mode::Drop)));
    let flags = find(dictionary, "flags").map(Node::words).unwrap_or_default();
    // With `all` the tag only says who asks.
    let all = flags.iter().any(|flag| flag == "all");
    let label = text(dictionary, "label")?.or(text(dictionary, "from-label")?);
    let address = match text(dictionary, "address")?.map(|text| text.parse()) {
        Some(Err(_)) => return Err("address is no IP address".to_owned()),
        address => address.and_then(Result::ok),
    };
    Ok(Gate {
        call_id: required(dictionary, "call-id")?,
        from_tag: text(dictionary, "from-tag")?.filter(|_| !all),
        label: label.filter(|_| !all),
        address: address.filter(|_| !all),
        all,
        what,
        closed: Some(closed),
        screening: screening.map(Box::new),
        delay: text(dictionary, "delay-buffer")?.as_deref().and_then(delay_buffer),
        warnings: unknown_keys(dictionary, &known),
    })
}

/// What `block DTMF` wishes beyond that.
fn screening(dictionary: &Node<'_>) -> Result<Screening, String> {
    let key = match (text(dictionary, "digit")?, text(dictionary, "code")?) {
        (Some(key), _) | (None, Some(key)) => super::play::key(&key)?,
        (None, None) => 0,
    };
    let mode = |name| text(dictionary, name)?.map(|word| mode(&word, key)).transpose();
    let amount = |name| Ok::<_, String>(number(dictionary, name)?.filter(|amount| *amount > 0));
    let keys = match text(dictionary, "trigger")? {
        Some(word) => codes("trigger", &word)?,
        None => Vec::new(),
    };
    let end = match text(dictionary, "trigger-end")?.or(text(dictionary, "end-trigger")?) {
        Some(word) => codes("trigger-end", &word)?,
        None => Vec::new(),
    };
    let trigger = Trigger {
        mode: mode("DTMF-security-trigger")?.unwrap_or(Mode::Drop),
        then: mode("DTMF-security-trigger-end")?.unwrap_or_default(),
        longest: amount("trigger-end-time")?.map(|millis| Duration::from_millis(millis.unsigned_abs())),
        most: amount("trigger-end-digits")?.and_then(|digits| u32::try_from(digits).ok()),
        keys,
        end,
    };
    let trigger = Some(trigger).filter(|trigger| !trigger.keys.is_empty());
    let default = Screening::default();
    let before = if trigger.is_some() { Mode::Off } else { Mode::Drop };
    Ok(Screening {
        mode: mode("DTMF-security")?.unwrap_or(before),
        hertz: amount("frequency")?.and_then(|hertz| u16::try_from(hertz).ok()).unwrap_or(default.hertz),
        // Below full scale, whatever its sign.
        volume: number(dictionary, "volume")?
            .map_or(default.volume, |volume| volume.unsigned_abs().min(63) as u8),
        delay: Duration::from_millis(amount("DTMF-delay")?.unwrap_or(0).min(MAX_DELAY).unsigned_abs()),
        trigger,
    })
}

fn mode(word: &str, key: u8) -> Result<Mode, String> {
    Ok(match normal(word).as_str() {
        "off" => Mode::Off,
        "drop" => Mode::Drop,
        "silence" => Mode::Silence,
        "tone" => Mode::Tone,
        "random" => Mode::Random,
        "zero" => Mode::Key(0),
        "DTMF" => Mode::Key(key),
        _ => {
            return Err(format!(
                "{:?} is no mode of DTMF-security",
                word.chars().take(32).collect::<String>()
            ));
        }
    })
}

fn codes(name: &str, word: &str) -> Result<Vec<u8>, String> {
    let codes: Option<Vec<u8>> = word.chars().take(MAX_KEYS + 1).map(code_of).collect();
    codes.filter(|codes| codes.len() <= MAX_KEYS).ok_or_else(|| format!("{name} is no row of keys"))
}

#[cfg(test)]
mod tests {
    use super::super::{DecodeError, decode};
    use super::*;
    use crate::command::Command;

    fn read(words: &str) -> Result<Gate, String> {
        let text = format!(r#"1 {{"command":"block DTMF","call-id":"c","from-tag":"a"{words}}}"#);
        match decode(text.as_bytes()) {
            Ok(message) => match message.command {
                Command::Gate(gate) => Ok(gate),
                other => panic!("{other:?}"),
            },
            Err(DecodeError::Refused { failure, .. }) => Err(failure.reason),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_needs_no_screen_is_a_gate() {
        for (words, closed) in [
            ("", true),
            (r#","DTMF-security":"drop""#, true),
            (r#","DTMF-security":"off""#, false),
            (r#","DTMF-security":"drop","DTMF-delay":0"#, true),
        ] {
            let gate = read(words).unwrap();
            assert_eq!((gate.closed, gate.screening), (Some(closed), None), "{words}");
        }
    }

    #[test]
    fn modes() {
        for (words, mode) in [
            (r#""silence""#, Mode::Silence),
            (r#""tone""#, Mode::Tone),
            (r#""random""#, Mode::Random),
            (r#""zero","digit":"7""#, Mode::Key(0)),
            (r##""DTMF","digit":"#""##, Mode::Key(11)),
            (r#""DTMF","code":12"#, Mode::Key(12)),
        ] {
            let gate = read(&format!(r#","DTMF-security":{words}"#)).unwrap();
            assert_eq!((gate.closed, gate.warnings.len()), (Some(false), 0));
            assert_eq!(
                gate.screening.map(|it| *it),
                Some(Screening { mode, ..Screening::default() }),
                "{words}"
            );
        }
    }

    #[test]
    fn triggers_and_the_rest() {
        let gate = read(
            r###","trigger":"*1","end trigger":"##","DTMF security trigger":"tone","DTMF-security-trigger-end":"zero",
            "trigger-end-time":5000,"trigger-end-digits":"16","frequency":700,"volume":-20,"DTMF-delay":60,"delay-buffer":5"###,
        )
        .unwrap();
        let trigger = Trigger {
            keys: vec![10, 1],
            mode: Mode::Tone,
            end: vec![11, 11],
            then: Mode::Key(0),
            longest: Some(Duration::from_secs(5)),
            most: Some(16),
        };
        let delay = Duration::from_millis(60);
        let wish = Screening { mode: Mode::Off, trigger: Some(trigger), hertz: 700, volume: 20, delay };
        assert_eq!(gate.screening.map(|it| *it), Some(wish));
        assert_eq!((gate.delay, gate.warnings), (Some(Duration::from_millis(5)), Vec::new()));
        for wrong in [
            r#","DTMF-security":"moon""#,
            r#","trigger":"12x""#,
            r#","trigger":"0123456789012345678901234567890123""#,
            r#","DTMF-security":"DTMF","digit":"z""#,
            r#","DTMF-delay":"soon""#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
