//! The directory of recordings: names, metadata, and room.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use media_core::command::Begun;
use serde_json::json;

use super::{RecordingConfig, RecordingMethod, shown};

/// What a recording may be named at most, before its number.
const MAX_NAME: usize = 120;

/// What is to be free at least for a recording to begin.
const SPARE: usize = 64 * 1024;

/// What is known of a recording.
pub(super) struct About {
    pub(super) name: String,
    pub(super) call_id: String,
    tags: Vec<String>,
    begun: Duration,
    pub(super) ended: Option<Duration>,
    pub(super) metadata: Option<String>,
}

impl About {
    pub(super) fn new(recording: u64, begun: &Begun) -> Self {
        Self {
            name: format!("{}-{recording:016x}", harmless(&begun.call_id)),
            call_id: begun.call_id.to_string(),
            tags: begun.tags.clone(),
            begun: begun.at,
            ended: None,
            metadata: begun.metadata.clone(),
        }
    }
}

/// A Call-ID as a file name: percent signs for what is more than a letter, a digit or one of `._@-`.
fn harmless(call_id: &str) -> String {
    let mut name = String::new();
    for (at, octet) in call_id.bytes().enumerate() {
        let plain = octet.is_ascii_alphanumeric() || b"_@-".contains(&octet) || (octet == b'.' && at > 0);
        match plain {
            true => name.push(octet as char),
            false => name.push_str(&format!("%{octet:02x}")),
        }
        if name.len() >= MAX_NAME {
            break;
        }
    }
    name
}

/// Where recordings lie.
pub(super) struct Shelf {
    config: RecordingConfig,
}

impl Shelf {
    pub(super) fn new(config: RecordingConfig) -> Self {
        Self { config }
    }

    /// Makes the directories, and looks whether there is room in them.
    pub(super) fn check(&self) -> std::io::Result<()> {
        for directory in self.directories() {
            fs::create_dir_all(directory)?;
        }
        let probe = self.config.directory.join(".room");
        let written = create(&probe).and_then(|mut file| file.write_all(&[0; SPARE]));
        let removed = fs::remove_file(&probe);
        written.and(removed)
    }

    /// Opens a file of a recording. rtpengine has captures and their metadata in directories of their own.
    pub(super) fn create(&self, name: &str, suffix: &str) -> std::io::Result<File> {
        create(&self.path(name, suffix))
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        let directory = &self.config.directory;
        match suffix {
            ".pcap" => directory.join("pcaps").join(format!("{name}{suffix}")),
            ".txt" => directory.join("metadata").join(format!("{name}{suffix}")),
            _ => directory.join(format!("{name}{suffix}")),
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        let directory = self.config.directory.clone();
        match self.config.method {
            RecordingMethod::Pcap { .. } => vec![directory.join("pcaps"), directory.join("metadata")],
            _ => vec![directory],
        }
    }

    /// Writes what is known of a recording beside it.
    pub(super) fn describe(
        &self,
        about: &About,
        method: RecordingMethod,
        error: Option<&str>,
    ) -> std::io::Result<()> {
        let (suffix, text) = match method {
            RecordingMethod::Pcap { .. } => (".txt", self.text(about, error)),
            _ => (".json", self.json(about, method, error)),
        };
        let path = self.path(&about.name, suffix);
        let fresh = path.with_extension("part");
        match create(&fresh).and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => fs::rename(fresh, path),
            Err(full) => {
                // What was written when the recording began has room, also on a full disk.
                drop(fs::remove_file(fresh));
                write_over(&path, text.as_bytes()).map_err(|_| full)
            }
        }
    }

    /// The path of the capture first, as rtpengine's metadata begin.
    fn text(&self, about: &About, error: Option<&str>) -> String {
        let mut text = format!("{}\n\n", shown(&self.path(&about.name, ".pcap")));
        let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
        let lines = [
            ("call-id", Some(about.call_id.clone())),
            ("tags", Some(about.tags.join(" "))),
            ("call start time", Some(seconds(about.begun))),
            ("call end time", about.ended.map(seconds)),
            ("error", error.map(str::to_owned)),
        ];
        for (name, value) in lines {
            value.iter().for_each(|value| text.push_str(&format!("{name}: {value}\n")));
        }
        about.metadata.iter().for_each(|metadata| text.push_str(&format!("\n{metadata}\n")));
        text
    }

    fn json(&self, about: &About, method: RecordingMethod, error: Option<&str>) -> String {
        let files: Vec<String> =
            suffixes(method).iter().map(|suffix| format!("{}{suffix}", about.name)).collect();
        let seconds = |time: Duration| time.as_millis() as f64 / 1000.0;
        let text = json!({
            "call_id": about.call_id,
            "tags": about.tags,
            "files": files,
            "channels": if method == RecordingMethod::Stereo { json!(["caller", "callee"]) } else { json!(null) },
            "started": seconds(about.begun),
            "ended": about.ended.map(seconds),
            "duration": about.ended.map(|ended| seconds(ended.saturating_sub(about.begun))),
            "metadata": about.metadata,
            "error": error,
        });
        format!("{text:#}\n")
    }

    /// Removes the oldest recordings until the rest is neither too much nor too old. Those in `open` stay.
    pub(super) fn make_room(&self, open: &[&str]) {
        let RecordingConfig { max_octets, max_age, .. } = self.config;
        if max_octets == 0 && max_age.is_zero() {
            return;
        }
        let mut files = self.files();
        files.sort_by_key(|(modified, ..)| *modified);
        let mut sum: u64 = files.iter().map(|(_, len, _)| len).sum();
        let now = SystemTime::now();
        for (modified, len, path) in files {
            let old = !max_age.is_zero() && now.duration_since(modified).is_ok_and(|age| age > max_age);
            let much = max_octets > 0 && sum > max_octets;
            if !old && !much {
                return;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if open.iter().any(|open| name.starts_with(open)) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => sum -= len,
                Err(error) => tracing::warn!(path = shown(&path), %error, "an old recording stays"),
            }
        }
    }

    /// The files of recordings with their times and lengths. Others in the directory are not ours.
    fn files(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let entries = self.directories().into_iter().filter_map(|directory| fs::read_dir(directory).ok());
        let paths = entries.flatten().flatten().map(|entry| entry.path()).filter(|path| is_ours(path));
        let known = paths.filter_map(|path| {
            let about = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some((about.modified().ok()?, about.len(), path))
        });
        known.collect()
    }
}

/// Whether a name is one of [`About::new`]: a number of 16 hexadecimal digits, and a suffix.
fn is_ours(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let suffixes = ["-caller.wav", "-callee.wav", ".wav", ".json", ".pcap", ".txt", ".part"];
    let stem = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    let number = stem.and_then(|stem| stem.rsplit_once('-')).map(|(_, number)| number);
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The files of sound that a recording has.
pub(super) fn suffixes(method: RecordingMethod) -> &'static [&'static str] {
    match method {
        RecordingMethod::Pcap { .. } => &[".pcap"],
        RecordingMethod::Stereo | RecordingMethod::Mixed => &[".wav"],
        RecordingMethod::Separate => &["-caller.wav", "-callee.wav"],
    }
}

/// What people said is for the owner of the process alone.
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes a file that is there anew, in the room that it has.
fn write_over(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(octets)?;
    file.set_len(octets.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_cannot_lead_elsewhere() {
        for (call_id, name) in [
            ("a84b4c76e66710@pc33.example.com", "a84b4c76e66710@pc33.example.com"),
            ("../../etc/passwd", "%2e.%2f..%2fetc%2fpasswd"),
            ("a b\0ü", "a%20b%00%c3%bc"),
        ] {
            assert_eq!(harmless(call_id), name);
        }
        assert!(harmless(&"/".repeat(10_000)).len() <= MAX_NAME + 3);
    }
}
