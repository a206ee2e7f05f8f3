//! Single keys of a configuration: what they were said to be, and another one in which some are said to be something else.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::DeValue;

use super::keys::Key;
use super::value::Value;
use super::{Config, refused};

/// The values of the keys that are set, as they were said. They may be secret, and are not shown with the rest.
#[derive(Clone, Default)]
pub(super) struct Said(BTreeMap<&'static str, Value>);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said")
    }
}

impl Config {
    /// Puts a value in the field of its key, and keeps it as it is.
    pub(super) fn say(&mut self, key: &'static Key, value: Value) -> Result<(), String> {
        (key.set)(self, &value)?;
        self.said.0.insert(key.name, value);
        Ok(())
    }

    /// What a key was said to be, or its default.
    #[must_use]
    pub fn value(&self, key: &Key) -> serde_json::Value {
        match self.said.0.get(key.name) {
            Some(value) => value.json(),
            // A test reads every default.
            None => toml_value(key.default).map_or_else(|_| key.default.into(), |value| value.json()),
        }
    }

    /// This one with other values, each as TOML.
    ///
    /// # Errors
    /// One is not allowed, or they do not go together.
    pub fn with(&self, changes: &[(&'static Key, String)]) -> Result<Self, String> {
        let mut config = self.clone();
        for (key, toml) in changes {
            toml_value(toml).and_then(|value| config.say(key, value)).map_err(|what| refused(key, &what))?;
        }
        config.check()?;
        Ok(config)
    }
}

fn toml_value(text: &str) -> Result<Value, String> {
    let value = DeValue::parse(text).map_err(|error| error.message().replace('\n', ", "))?;
    Value::of(value.get_ref())
}
