//! Who may command over HTTPS: names, each with a token of which only the hash is kept.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// The file, one line `NAME HASH` each.
#[derive(Debug, Clone)]
pub struct Tokens {
    path: PathBuf,
}

impl Tokens {
    /// Those of a data directory.
    #[must_use]
    pub fn of(data_directory: &Path) -> Self {
        Self { path: data_directory.join("rpc.tokens") }
    }

    /// Makes a token for `name`, to be shown once: 256 bits, so that nobody guesses it however often he may try.
    ///
    /// # Errors
    /// The name has one or cannot be used, or the file cannot be written.
    pub fn add(&self, name: &str) -> anyhow::Result<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        ensure!((1..=64).contains(&name.len()) && name.chars().all(plain), "{name:?} is no name for a token");
        let mut lines = self.lines()?;
        ensure!(!lines.iter().any(|(known, _)| known == name), "{name} has a token already");
        let random: [u8; 32] = rand::rng().random();
        let token = format!("cw_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random));
        lines.push((name.to_owned(), hash(&token)));
        self.write(&lines)?;
        Ok(token)
    }

    /// The names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn names(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.lines()?.into_iter().map(|(name, _)| name).collect())
    }

    /// Takes a token back, at once.
    ///
    /// # Errors
    /// The name has none, or the file cannot be written.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        let mut lines = self.lines()?;
        let before = lines.len();
        lines.retain(|(known, _)| known != name);
        ensure!(lines.len() < before, "{name} has no token");
        self.write(&lines)
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn owner(&self, token: &str) -> anyhow::Result<Option<String>> {
        let hash = hash(token);
        Ok(self.lines()?.into_iter().find(|(_, known)| *known == hash).map(|(name, _)| name))
    }

    fn lines(&self) -> anyhow::Result<Vec<(String, String)>> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| self.path.display().to_string()),
        };
        let parts = text.lines().filter_map(|line| line.split_once(' '));
        Ok(parts.map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect())
    }

    fn write(&self, lines: &[(String, String)]) -> anyhow::Result<()> {
        let text: String = lines.iter().map(|(name, hash)| format!("{name} {hash}\n")).collect();
        crate::certs::write_secret(&self.path, text.as_bytes())
            .with_context(|| self.path.display().to_string())
    }
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_until_it_is_taken_back_and_is_not_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(directory.path());
        assert_eq!(tokens.owner("cw_x").unwrap(), None, "without a file there is none");
        let [first, second] = ["console", "monitor"].map(|name| tokens.add(name).unwrap());
        assert_ne!(first, second);
        assert_eq!(tokens.owner(&first).unwrap().as_deref(), Some("console"));
        assert_eq!(tokens.owner(&format!("{first}x")).unwrap(), None);
        let text = std::fs::read_to_string(&tokens.path).unwrap();
        assert!(!text.contains(&first[3..]) && text.lines().count() == 2, "{text}");
        assert_eq!(std::fs::metadata(&tokens.path).unwrap().permissions().mode() & 0o777, 0o600);
        for name in ["console", "", "two words", "line\nfeed"] {
            assert!(tokens.add(name).is_err(), "{name}");
        }
        tokens.remove("console").unwrap();
        assert_eq!(
            (tokens.owner(&first).unwrap(), tokens.names().unwrap()),
            (None, vec!["monitor".to_owned()])
        );
        assert!(tokens.remove("console").is_err());
    }
}
