//! How options are written: on a command line, and in a file.

use super::declared::{OPTIONS, PRINTED};
use super::{Opt, find};

/// `--long=value`, `--long value`, `-s value`, `-svalue`, `-fE`.
pub(super) fn words(arguments: &[String]) -> Result<Vec<(&'static Opt, String)>, String> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if printed(word).is_some() {
            return Ok(Vec::new());
        }
        let mut next = |opt: &Opt| rest.next().cloned().ok_or_else(|| format!("{} wants a value", opt.long));
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let opt = find(name).ok_or_else(|| format!("there is no option --{name}"))?;
            let value = match value {
                Some(value) => value.to_owned(),
                None if opt.value.is_empty() => String::new(),
                None => next(opt)?,
            };
            found.push((opt, value));
            continue;
        }
        let shorts = word.strip_prefix('-').filter(|shorts| !shorts.is_empty());
        let mut shorts = shorts.ok_or_else(|| format!("{word:?} is no option"))?.chars();
        while let Some(short) = shorts.next() {
            let opt = OPTIONS.iter().find(|opt| opt.short == Some(short));
            let opt = opt.ok_or_else(|| format!("there is no option -{short}"))?;
            if opt.value.is_empty() {
                found.push((opt, String::new()));
                continue;
            }
            let attached = shorts.as_str().to_owned();
            found.push((opt, if attached.is_empty() { next(opt)? } else { attached }));
            break;
        }
    }
    Ok(found)
}

/// The option that a word is, if it is one that has something printed.
pub(super) fn printed(word: &str) -> Option<&'static Opt> {
    PRINTED.iter().find(|opt| {
        let short =
            opt.short.is_some_and(|short| word.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])));
        short || word.strip_prefix("--") == Some(opt.long)
    })
}

/// The keys of one section of a file: `key = value`, comments after `#` or `;` at the beginning of a line.
pub(super) fn config(text: &str, section: &str, file: &str) -> Result<Vec<(&'static Opt, String)>, String> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            inside = name == section;
            continue;
        }
        if !inside {
            continue;
        }
        let at = |reason: &str| format!("{file}:{number}: {reason}");
        let (key, value) = line.split_once('=').ok_or_else(|| at("expected KEY = VALUE"))?;
        let opt = find(key.trim()).ok_or_else(|| at(&format!("there is no key {}", key.trim())))?;
        let value = value.trim();
        match (opt.value.is_empty(), value) {
            (false, value) => found.push((opt, value.to_owned())),
            (true, "true" | "yes" | "1") => found.push((opt, String::new())),
            (true, "false" | "no" | "0") => {}
            (true, _) => return Err(at("expected true or false")),
        }
    }
    Ok(found)
}
