//! What users have spent of the day at the telephone network, kept over a restart: a file in the data directory, to which a line is
//! added whenever something has changed. The last line of a user counts.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signaling_core::profiles::{Profile, Seat};
use signaling_core::tolls::{Spent, Tolls};

/// How often it is looked what has changed: so much is lost when the process is killed.
const LOOK: Duration = Duration::from_secs(1);
/// A file that is longer by this than it need be is written anew.
const SLACK: u64 = 1 << 20;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    day: i64,
    profile: String,
    value: Box<str>,
    calls: u32,
    milliseconds: u64,
}

impl Line {
    fn read(text: &str) -> Option<(Seat, Spent)> {
        let Self { day, profile, value, calls, milliseconds } = serde_json::from_str(text).ok()?;
        Some(((Profile::named(&profile)?, value), Spent { day, calls, milliseconds }))
    }
}

/// The file; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct TollFile {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    tolls: Arc<Tolls>,
    /// Open while it is added to.
    file: Option<File>,
    /// Its length, and that to which it may grow.
    length: u64,
    most: u64,
}

impl TollFile {
    /// Takes what the file at `path` says into `tolls`; nothing when there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn open(path: &Path, tolls: &Arc<Tolls>) -> std::io::Result<Self> {
        Ok(Self { inner: Arc::new(Mutex::new(Inner::open(path, tolls)?)) })
    }

    /// Adds what has changed, again and again; never ends.
    pub(crate) async fn follow(self) {
        let (mut ticks, mut told) = (tokio::time::interval(LOOK), false);
        loop {
            ticks.tick().await;
            match self.with(Inner::save).await {
                Ok(()) => told = false,
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::error!(%error, "what was spent today is not written, and ends with the process");
                }
                Err(_) => {}
            }
        }
    }

    /// Writes what there is.
    pub(crate) async fn finish(&self) {
        if let Err(error) = self.with(Inner::finish).await {
            tracing::error!(%error, "what was spent today is not written");
        }
    }

    /// On a thread that carries no connections: a disk may take its time.
    async fn with(&self, act: fn(&mut Inner) -> std::io::Result<()>) -> std::io::Result<()> {
        let inner = Arc::clone(&self.inner);
        let act = move || act(&mut inner.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(act).await.map_err(std::io::Error::other)?
    }
}

impl Inner {
    fn open(path: &Path, tolls: &Arc<Tolls>) -> std::io::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let (mut known, mut bad) = (Vec::new(), 0);
        for line in text.split_inclusive('\n') {
            match Line::read(line) {
                Some(spent) => known.push(spent),
                // A process that was killed may have left half of the last one.
                None => bad += usize::from(line.ends_with('\n')),
            }
        }
        if bad > 0 {
            tracing::error!(lines = bad, "{}: lines that say nothing are left out", path.display());
        }
        tolls.load(known);
        let (path, tolls) = (path.to_owned(), Arc::clone(tolls));
        // What is in it is of earlier processes; the first change writes it anew.
        Ok(Self { path, tolls, file: None, length: text.len() as u64, most: 0 })
    }

    fn save(&mut self) -> std::io::Result<()> {
        let changed = self.tolls.changed();
        if changed.is_empty() {
            return Ok(());
        }
        let text = lines(&changed);
        if self.length + text.len() as u64 > self.most {
            return self.rewrite();
        }
        let added = self.append(&text);
        if added.is_err() {
            // Whatever there is is written the next time.
            (self.file, self.most) = (None, 0);
        }
        added
    }

    fn append(&mut self, text: &str) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(OpenOptions::new().append(true).open(&self.path)?),
        };
        file.write_all(text.as_bytes())?;
        self.length += text.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self) -> std::io::Result<()> {
        self.file = None;
        self.length = write_all(&self.path, &self.tolls)?;
        self.most = 2 * self.length + SLACK;
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        if self.tolls.all().is_empty() { Ok(()) } else { self.rewrite() }
    }
}

/// Writes what is known now, in place of what there was; how much that is.
fn write_all(path: &Path, tolls: &Tolls) -> std::io::Result<u64> {
    let text = lines(&tolls.all());
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)?;
    Ok(text.len() as u64)
}

fn lines(spent: &[(Seat, Spent)]) -> String {
    let mut text = String::new();
    for ((profile, value), spent) in spent {
        let Spent { day, calls, milliseconds } = *spent;
        let line = Line { day, profile: profile.to_string(), value: value.clone(), calls, milliseconds };
        // Text and numbers are always JSON.
        text.push_str(&serde_json::to_string(&line).unwrap_or_default());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use signaling_core::tolls::{Allowance, of_gateway, of_user};

    use super::*;

    fn spend(tolls: &Tolls, seat: &Seat, seconds: u64) {
        tolls.spend(7, seat, Allowance::default(), Duration::from_secs(seconds));
    }

    #[test]
    fn what_was_spent_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tolls.jsonl");
        let (alice, gateway) = (of_user("alice\"\n@x"), of_gateway("sip:192.0.2.9"));
        let tolls = Arc::new(Tolls::default());
        let mut file = Inner::open(&path, &tolls).unwrap();
        file.save().unwrap();
        assert!(!path.exists(), "nothing is spent, nothing is kept");
        for _ in 0..5 {
            spend(&tolls, &alice, 60);
            spend(&tolls, &gateway, 90);
            file.save().unwrap();
        }
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 10, "lines are added");
        // It is killed in the middle of a line.
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let again = Arc::new(Tolls::default());
        let mut file = Inner::open(&path, &again).unwrap();
        let milliseconds =
            |tolls: &Tolls| -> u64 { tolls.list(7).iter().map(|(_, spent)| spent.milliseconds).sum() };
        let lost = milliseconds(&tolls) - milliseconds(&again);
        assert!([60_000, 90_000].contains(&lost), "the last line alone: {lost}");
        spend(&again, &alice, 1);
        file.save().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "written anew");
        // What somebody has spoilt in the middle takes no other line along.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen('\n', "\nnothing\n", 1)).unwrap();
        let spoilt = Arc::new(Tolls::default());
        Inner::open(&path, &spoilt).unwrap();
        assert_eq!(spoilt.list(7), again.list(7));
        // At the end all is written.
        spend(&again, &gateway, 1);
        file.finish().unwrap();
        let last = Arc::new(Tolls::default());
        Inner::open(&path, &last).unwrap();
        assert_eq!(last.list(7), again.list(7));
    }

    /// It grows to a bound, whatever goes on.
    #[test]
    fn the_file_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tolls.jsonl");
        let tolls = Arc::new(Tolls::default());
        let mut file = Inner::open(&path, &tolls).unwrap();
        let mut longest = 0;
        for _ in 0..60 {
            (0..500).for_each(|user| spend(&tolls, &of_user(&format!("user-{user}@sip.example")), 1));
            file.save().unwrap();
            longest = longest.max(std::fs::metadata(&path).unwrap().len());
        }
        let all = lines(&tolls.all()).len() as u64;
        assert!(longest <= 2 * all + SLACK && longest > SLACK, "{longest} {all}");
        // A file that is gone is made again.
        std::fs::remove_file(&path).unwrap();
        file.file = None;
        spend(&tolls, &of_user("user-1@sip.example"), 1);
        assert!(file.save().is_err());
        spend(&tolls, &of_user("user-1@sip.example"), 1);
        file.save().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 500);
    }
}
