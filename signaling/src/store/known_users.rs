//! Users of whom there is no account: they sign in with tokens, or with credentials that are good for a while, and are known by
//! having done so. Whoever calls one who is away is to hear that, and not that there is nobody of this name.
//!
//! A file in the data directory, a line for each, which grows by one when somebody comes for the first time.

use std::collections::HashSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use signaling_core::shards::Shards;

/// More than about this many are not remembered: they are then unknown while they are away.
const ROOM: usize = 500_000;

/// See the module.
#[derive(Debug)]
pub(super) struct KnownUsers {
    path: PathBuf,
    names: Shards<HashSet<Box<str>>>,
}

impl KnownUsers {
    /// Those of the file at `path`; none when it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn open(path: PathBuf) -> std::io::Result<Self> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let names = Shards::<HashSet<Box<str>>>::default();
        for name in text.lines().take(ROOM) {
            names.of(name).insert(name.into());
        }
        Ok(Self { path, names })
    }

    /// Whether `aor` was noted.
    pub(super) fn has(&self, aor: &str) -> bool {
        self.names.of(aor).contains(aor)
    }

    /// Notes it.
    pub(super) fn note(&self, aor: &str) {
        if aor.contains(['\n', '\r']) {
            return;
        }
        let mut names = self.names.of(aor);
        if names.contains(aor) || names.len() >= ROOM / Shards::<()>::COUNT {
            return;
        }
        names.insert(aor.into());
        drop(names);
        // Lines of several threads do not mix: the file is appended to, a line at a time.
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path);
        if let Err(error) = file.and_then(|mut file| file.write_all(format!("{aor}\n").as_bytes())) {
            // Known until the end of this process.
            tracing::warn!(%error, "{} not written", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_here_once_is_known_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.users");
        let users = KnownUsers::open(path.clone()).unwrap();
        for _ in 0..2 {
            users.note("alice@example.com");
            users.note("bob@example.com");
        }
        users.note("no\nname");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "alice@example.com\nbob@example.com\n");
        let again = KnownUsers::open(path).unwrap();
        assert!(
            again.has("alice@example.com") && again.has("bob@example.com") && !again.has("carol@example.com")
        );
        // A directory that is gone is no reason to refuse anybody.
        drop(directory);
        again.note("carol@example.com");
        assert!(again.has("carol@example.com"));
    }
}
