//! Sounds for a relay on another host, which has not the files: what is in them goes with the command.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use media::command::WavClip;

/// What of a datagram is left for a sound: the rest of the command is short.
const MAX_BLOB: usize = 60_000;

/// Files that are remembered.
const MAX_KEPT: usize = 64;

/// The sounds that were sent.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    kept: Mutex<HashMap<PathBuf, Kept>>,
}

/// A sound, and its file as it was when it was read.
#[derive(Debug)]
struct Kept {
    modified: Option<SystemTime>,
    len: u64,
    blob: Arc<[u8]>,
}

impl Blobs {
    /// What of the sound in `file` is sent, read on a thread that may wait for the disk.
    ///
    /// # Errors
    /// It cannot be read, or is no sound.
    pub(super) async fn read(self: &Arc<Self>, file: &str) -> anyhow::Result<Arc<[u8]>> {
        let (blobs, file) = (Arc::clone(self), PathBuf::from(file));
        tokio::task::spawn_blocking(move || blobs.of(&file).with_context(|| file.display().to_string()))
            .await?
    }

    fn of(&self, file: &Path) -> anyhow::Result<Arc<[u8]>> {
        let about = std::fs::metadata(file)?;
        anyhow::ensure!(about.is_file(), "not a file");
        let (modified, len) = (about.modified().ok(), about.len());
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().get(file).filter(|known| (known.modified, known.len) == (modified, len)) {
            return Ok(Arc::clone(&known.blob));
        }
        let octets = std::fs::read(file)?;
        let clip = WavClip::parse(&octets)?;
        let blob: Arc<[u8]> = match octets.len() <= MAX_BLOB {
            true => octets.into(),
            false => clip.to_telephone_file(MAX_BLOB).into(),
        };
        let mut kept = kept();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(file.to_owned(), Kept { modified, len, blob: Arc::clone(&blob) });
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_short_sound_is_sent_as_it_is_and_a_long_one_as_much_as_fits() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::default());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, rate: u32, seconds: u32| {
            let clip = WavClip::new(rate, vec![1000; (rate * seconds) as usize]);
            std::fs::write(path(name), clip.to_file()).unwrap();
            clip
        };
        let short = write("short.wav", 8000, 2);
        assert_eq!(&*blobs.read(&path("short.wav")).await.unwrap(), &short.to_file()[..]);
        write("long.wav", 16_000, 20);
        let long = blobs.read(&path("long.wav")).await.unwrap();
        let clip = WavClip::parse(&long).unwrap();
        assert!(long.len() <= MAX_BLOB && (7000..8000).contains(&clip.millis()), "{} ms", clip.millis());
        assert!(Arc::ptr_eq(&long, &blobs.read(&path("long.wav")).await.unwrap()), "read once");
        write("long.wav", 8000, 1);
        assert_eq!(blobs.read(&path("long.wav")).await.unwrap().len(), 16_044, "until it changes");
        std::fs::write(path("broken.wav"), b"RIFF").unwrap();
        for (name, why) in
            [("none.wav", "No such file"), ("broken.wav", "not a WAV file"), ("", "not a file")]
        {
            let error = format!("{:#}", blobs.read(&path(name)).await.unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
