//! Reads the files of `play media`, off the media threads, and keeps those that are played often.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::SystemTime;

use media_core::command::WavClip;

/// Reads that may wait for the disk.
const MAX_WAITING: usize = 256;

/// The longest file that is read: an hour at 8000 Hz.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// What is kept, in samples: 64 MiB.
const MAX_KEPT: usize = 32 * 1024 * 1024;

/// What to do with a clip, or the reason why there is none.
type Done = Box<dyn FnOnce(Result<Arc<WavClip>, String>) + Send>;

/// What the thread does: each after what was asked before.
enum Job {
    Read(PathBuf, Done),
    Pass(Box<dyn FnOnce() + Send>),
}

/// The outside of the thread that reads. It ends with the last handle.
#[derive(Clone)]
pub(crate) struct Prompts {
    jobs: SyncSender<Job>,
}

impl Prompts {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("media-files".to_owned()).spawn(move || serve(&inbox))?;
        Ok(Self { jobs })
    }

    /// Reads `file`, or has it already; `done` runs on the thread that reads.
    pub(crate) fn read(&self, file: &str, done: Done) {
        match self.jobs.try_send(Job::Read(PathBuf::from(file), done)) {
            Err(TrySendError::Full(Job::Read(_, done))) => {
                done(Err("too many files are waited for".to_owned()));
            }
            Err(TrySendError::Disconnected(Job::Read(_, done))) => {
                done(Err("the relay has stopped".to_owned()));
            }
            _ => {}
        }
    }

    /// Runs `then` once what was to be read before is read: what stops a file must not overtake what plays it.
    pub(crate) fn after(&self, then: Box<dyn FnOnce() + Send>) {
        if let Err(TrySendError::Full(Job::Pass(then)) | TrySendError::Disconnected(Job::Pass(then))) =
            self.jobs.try_send(Job::Pass(then))
        {
            then();
        }
    }
}

/// A clip, and the file as it was when it was read.
struct Kept {
    modified: Option<SystemTime>,
    len: u64,
    clip: Arc<WavClip>,
}

fn serve(inbox: &Receiver<Job>) {
    let mut kept: HashMap<PathBuf, Kept> = HashMap::new();
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Read(file, done) => {
                done(clip(&mut kept, &file).map_err(|reason| format!("{}: {reason}", file.display())));
            }
            Job::Pass(then) => then(),
        }
    }
}

fn clip(kept: &mut HashMap<PathBuf, Kept>, file: &Path) -> Result<Arc<WavClip>, String> {
    let about = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if !about.is_file() {
        // A pipe might never end, or begin.
        return Err("not a file".to_owned());
    }
    if about.len() > MAX_FILE {
        return Err(format!("longer than {MAX_FILE} octets"));
    }
    let modified = about.modified().ok();
    if let Some(known) = kept.get(file).filter(|known| (known.modified, known.len) == (modified, about.len()))
    {
        return Ok(Arc::clone(&known.clip));
    }
    let octets = std::fs::read(file).map_err(|error| error.to_string())?;
    let clip = Arc::new(WavClip::parse(&octets).map_err(|error| error.to_string())?);
    let len = |kept: &Kept| kept.clip.samples().len();
    if kept.values().map(len).sum::<usize>() + clip.samples().len() > MAX_KEPT {
        kept.clear();
    }
    if clip.samples().len() <= MAX_KEPT {
        kept.insert(file.to_owned(), Kept { modified, len: about.len(), clip: Arc::clone(&clip) });
    }
    Ok(clip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompts: &Prompts, file: &Path) -> Result<Arc<WavClip>, String> {
        let (sender, receiver) = std::sync::mpsc::channel();
        prompts.read(&file.to_string_lossy(), Box::new(move |result| drop(sender.send(result))));
        receiver.recv().expect("an answer")
    }

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.wav");
        let write = |samples: usize| {
            let mut octets = media_core::codec::wav::header(1, 8000, 2 * samples as u32).to_vec();
            octets.resize(octets.len() + 2 * samples, 1);
            std::fs::write(&file, octets).expect("written");
        };
        write(80);
        let prompts = Prompts::start().expect("a thread");
        let first = read(&prompts, &file).expect("a clip");
        assert!(Arc::ptr_eq(&first, &read(&prompts, &file).expect("a clip")));
        write(160);
        assert_eq!(read(&prompts, &file).expect("a clip").samples().len(), 160);
    }

    #[test]
    fn what_comes_after_a_file_does_not_overtake_it() {
        let prompts = Prompts::start().expect("a thread");
        let (sender, receiver) = std::sync::mpsc::channel();
        let (first, second) = (sender.clone(), sender);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        prompts.after(Box::new(move || wait.recv().expect("to go on")));
        prompts.read("none.wav", Box::new(move |_| first.send("read").expect("a listener")));
        prompts.after(Box::new(move || second.send("after").expect("a listener")));
        go.send(()).expect("a thread that waits");
        assert_eq!([receiver.recv(), receiver.recv()], [Ok("read"), Ok("after")]);
    }

    #[test]
    fn what_is_no_file_of_sound_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let broken = directory.path().join("broken.wav");
        std::fs::write(&broken, b"RIFF").expect("written");
        let prompts = Prompts::start().expect("a thread");
        for (file, reason) in [
            (directory.path().join("none.wav"), "No such file"),
            (directory.path().to_owned(), "not a file"),
            (broken, "not a WAV file"),
        ] {
            let error = read(&prompts, &file).expect_err("no clip");
            assert!(error.starts_with(&*file.to_string_lossy()) && error.contains(reason), "{error}");
        }
    }
}
