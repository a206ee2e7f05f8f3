//! Keys that the environment sets, as containers are configured: `CAUSEWAY_SECTION_KEY`, such as `CAUSEWAY_NETWORK_ADVERTISED`.
//! They count before the file, and for every command alike.

use toml::de::DeValue;

use super::keys::{self, Key};
use super::value::Value;
use super::{Config, ConfigError, refused};

/// What the variables begin with.
const PREFIX: &str = "CAUSEWAY_";

/// The variables of this process that name keys. An empty one is none: so compose files leave out what is not set.
pub(super) fn of_process() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
}

/// Takes up what `variables` say.
///
/// # Errors
/// A value is not allowed. A name that is no key's is a warning: it may be somebody else's.
pub(super) fn apply(
    config: &mut Config,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (name, text) in variables {
        let Some(key) = keys::all().find(|key| variable(key) == name) else {
            config.warnings.push(format!("the environment has {name}, which is no key"));
            continue;
        };
        set(config, key, &text).map_err(|what| ConfigError {
            file: format!("the environment, {name}"),
            place: None,
            what: refused(key, &what),
        })?;
    }
    Ok(())
}

/// The variable of a key.
fn variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.replace('.', "_").to_ascii_uppercase())
}

/// The text as a TOML value where that is one of the kind wanted, else as it is: nobody wants to quote twice.
fn set(config: &mut Config, key: &Key, text: &str) -> Result<(), String> {
    let typed = DeValue::parse(text).ok().and_then(|value| Value::of(value.get_ref()).ok());
    match typed.map(|value| (key.set)(config, &value)) {
        Some(Ok(())) => Ok(()),
        Some(Err(what)) => (key.set)(config, &Value::Text(text.to_owned())).map_err(|_| what),
        None => (key.set)(config, &Value::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse_with(text, "x.toml", variables)
    }

    #[test]
    fn the_environment_counts_before_the_file() {
        let file = "[network]\nadvertised = \"192.0.2.1\"\n[media]\nfirst_port = 20000\n";
        let config = parse(
            file,
            &[
                ("CAUSEWAY_NETWORK_ADVERTISED", "203.0.113.9"),
                ("CAUSEWAY_MEDIA_LAST_PORT", "20063"),
                ("CAUSEWAY_HTTPS_WEBSOCKET", "*:8080"),
                ("CAUSEWAY_SIP_UDP", "5070"),
                ("CAUSEWAY_SIP_ALIASES", "[\"a.example\", \"b.example\"]"),
                ("CAUSEWAY_AUTH_REQUIRED", "false"),
                ("CAUSEWAY_SIP_DOMAIN", "sip.example"),
                ("CAUSEWAY_SIP_SERVER_HEADER", "true"),
            ],
        )
        .unwrap();
        assert_eq!(config.advertised, "203.0.113.9".parse().ok());
        assert_eq!((config.media.first_port, config.media.last_port), (20_000, 20_063));
        assert_eq!(config.websocket, Listen::Every(8080));
        assert_eq!(config.udp, Listen::Every(5070));
        assert_eq!(config.aliases, ["a.example", "b.example"]);
        assert!(!config.auth.required && config.domain.as_deref() == Some("sip.example"));
        assert_eq!(config.server_header.as_deref(), Some("true"), "text that looks like something else");
        assert!(config.warnings.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = parse("", &[("CAUSEWAY_MEDIA_LAST_PORT", "many")]).unwrap_err().to_string();
        assert!(error.starts_with("the environment, CAUSEWAY_MEDIA_LAST_PORT: media.last_port: "), "{error}");
        let config = parse("", &[("CAUSEWAY_MEDIA_LAST_PROT", "1")]).unwrap();
        assert_eq!(config.warnings, ["the environment has CAUSEWAY_MEDIA_LAST_PROT, which is no key"]);
        assert!(parse("", &[("CAUSEWAY_MEDIA_LAST_PORT", "30001")]).is_err(), "checked as a whole");
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        for (place, key) in keys::all().enumerate() {
            assert!(keys::all().take(place).all(|other| variable(other) != variable(key)), "{}", key.name);
        }
    }
}
