//! The sample file: the reference of all keys, each with its sentence, what is allowed, and its default.

use std::fmt::Write as _;

use super::keys;

/// The text that `causeway config sample` prints. Each key stands commented out with its default, so that the file as it
/// is changes nothing.
#[must_use]
pub fn sample() -> String {
    let mut text = String::from(
        "# Causeway: every key with its default. Uncomment what you change.\n\
         # Check the result with: causeway config check --config FILE\n",
    );
    // The rows of a section may stand in several tables.
    let mut sections: Vec<&str> = Vec::new();
    for key in keys::all() {
        if !sections.contains(&key.section()) {
            sections.push(key.section());
        }
    }
    for section in sections {
        let _ = write!(text, "\n[{section}]\n");
        for key in keys::all().filter(|key| key.section() == section) {
            let _ = writeln!(text, "\n# {}", key.about);
            let _ = writeln!(text, "# Allowed: {}.", key.allowed);
            let _ = writeln!(text, "#{} = {}", key.leaf(), key.default);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn sample_is_valid_as_it_is_and_with_every_key_uncommented() {
        Config::parse(&sample(), "sample").unwrap();
        let uncommented: String = sample()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let defaults = format!("{:?}", Config::defaults().unwrap());
        assert_eq!(format!("{:?}", Config::parse(&uncommented, "sample").unwrap()), defaults);
        for key in keys::all() {
            assert!(uncommented.contains(&format!("\n{} = {}\n", key.leaf(), key.default)), "{}", key.name);
        }
    }

    #[test]
    fn deployed_sample_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/causeway.toml");
        let deployed = std::fs::read_to_string(path).expect("deploy/causeway.toml");
        assert!(deployed == sample(), "make it anew: causeway config sample > deploy/causeway.toml");
    }
}
