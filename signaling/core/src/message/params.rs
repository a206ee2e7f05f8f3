//! Header and URI parameters: `;name`, `;name=token`, `;name="quoted"` (RFC 3261 §25.1 `generic-param`).

use std::borrow::Cow;

use super::scan::{self, find_outside, split_once, trim_str};

/// Parameters, read on demand from the text behind the first semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    text: &'a str,
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, as spelled; compared without case.
    pub name: &'a str,
    /// Its value with quotes if it has some; `None` for a flag such as `lr`.
    pub value: Option<&'a str>,
}

impl<'a> Param<'a> {
    /// The value without quotes and escapes; empty for a flag.
    #[must_use]
    pub fn unquoted(&self) -> Cow<'a, str> {
        self.value.map_or("".into(), scan::unquote)
    }
}

impl<'a> Params<'a> {
    /// `text` is what follows the first semicolon.
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// The parameters as written, without the semicolon before the first.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Each parameter, in order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = Some(self.text);
        std::iter::from_fn(move || {
            loop {
                let text = rest?;
                let (one, more) = match find_outside(text.as_bytes(), true, b';') {
                    Some(at) => (&text[..at], Some(&text[at + 1..])),
                    None => (text, None),
                };
                rest = more;
                let one = trim_str(one);
                if !one.is_empty() {
                    return Some(match split_once(one, b'=') {
                        Some((name, value)) => Param { name: trim_str(name), value: Some(trim_str(value)) },
                        None => Param { name: one, value: None },
                    });
                }
            }
        })
    }

    /// The first parameter `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Param<'a>> {
        self.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// The value of `name`; `None` when it is absent or a flag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.find(name)?.value
    }

    /// Whether `name` is there, with or without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_in_order() {
        let params = Params::new(" lr ; a = \"x;y\" ;;B=2;c=");
        let all: Vec<_> = params.iter().map(|param| (param.name, param.value)).collect();
        assert_eq!(all, [("lr", None), ("a", Some("\"x;y\"")), ("B", Some("2")), ("c", Some(""))]);
        assert_eq!(params.find("A").map(|param| param.unquoted()), Some("x;y".into()));
        assert_eq!(params.get("b"), Some("2"));
        assert!(params.contains("LR") && !params.contains("x"));
    }
}
