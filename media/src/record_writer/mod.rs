//! Writes recordings: a thread of its own, which the disk may stop, never the media.
//!
//! What waits for it is bounded: where the disk does not keep up packets are left out and counted. A recording that cannot
//! be written ends, with a word in the log and in its metadata; the call goes on. So does what there is on the disk: the
//! oldest recordings make room.

mod files;
mod pcap;
mod sound;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use media_core::command::{Begun, Recorded, RecordedKind, RecordedPacket};

use self::files::{About, Shelf};
use self::pcap::Pcap;
use self::sound::Sound;

/// Packets that may wait for the disk: about two seconds of a hundred calls.
const MAX_WAITING: usize = 16_384;

/// How often what was recorded goes to the disk, and old recordings are looked for.
const FLUSH: Duration = Duration::from_secs(5);

/// How calls are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingConfig {
    /// Where recordings go. Made if missing.
    pub directory: PathBuf,
    /// What they are.
    pub method: RecordingMethod,
    /// The oldest go when there are more octets than that; 0 for no limit.
    pub max_octets: u64,
    /// They go when they are so old; zero for never.
    pub max_age: Duration,
}

/// What recordings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingMethod {
    /// Captures of the packets, decrypted.
    Pcap {
        /// With Ethernet headers (rtpengine's `recording-format=eth`), else IP alone (`raw`).
        ethernet: bool,
    },
    /// Sound, 16 bits at 16000 Hz: the caller left, the callee right.
    Stereo,
    /// Both in one channel.
    Mixed,
    /// A file of each.
    Separate,
}

/// What to do once it is known whether something can be recorded.
type Checked = Box<dyn FnOnce(Result<(), String>) + Send>;

enum Job {
    Recorded(Recorded),
    Check(Checked),
    /// Concludes all recordings, and says so.
    Finish(Sender<()>),
}

/// The outside of the thread, which ends with the last handle.
#[derive(Clone)]
pub(crate) struct RecordWriter {
    jobs: Sender<Job>,
    /// Packets on their way to it.
    waiting: Arc<AtomicUsize>,
    /// Packets left out.
    lost: Arc<AtomicUsize>,
}

impl RecordWriter {
    /// Starts the thread.
    pub(crate) fn start(config: RecordingConfig) -> std::io::Result<Self> {
        let (jobs, inbox) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let lost = Arc::new(AtomicUsize::new(0));
        let (counted, told) = (Arc::clone(&waiting), Arc::clone(&lost));
        let writer = move || Writer::new(config).run(&inbox, &counted, &told);
        std::thread::Builder::new().name("media-record".to_owned()).spawn(writer)?;
        Ok(Self { jobs, waiting, lost })
    }

    /// Hands something over, without waiting.
    pub(crate) fn give(&self, recorded: Recorded) {
        if matches!(recorded.what, RecordedKind::Packet(_)) {
            if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        // The thread ends after the last handle, so somebody hears it.
        drop(self.jobs.send(Job::Recorded(recorded)));
    }

    /// Concludes the recordings that are being written; waits for the disk so long at most.
    pub(crate) fn finish(&self, patience: Duration) {
        let (done, finished) = channel();
        if self.jobs.send(Job::Finish(done)).is_ok() && finished.recv_timeout(patience).is_err() {
            tracing::error!("the disk is too slow: the last recordings are not complete");
        }
    }

    /// Looks whether a recording could be written; `done` runs on the thread that writes.
    pub(crate) fn check(&self, done: Checked) {
        if let Err(refused) = self.jobs.send(Job::Check(done))
            && let Job::Check(done) = refused.0
        {
            done(Err("the relay has stopped".to_owned()));
        }
    }
}

/// A recording that is being written.
enum Tape {
    Pcap(Pcap),
    Sound(Box<Sound>),
}

impl Tape {
    fn open(method: RecordingMethod, shelf: &Shelf, name: &str, begun: &Begun) -> std::io::Result<Self> {
        Ok(match method {
            RecordingMethod::Pcap { ethernet } => Self::Pcap(Pcap::open(shelf, name, ethernet)?),
            layout => Self::Sound(Box::new(Sound::open(shelf, name, layout, begun.now)?)),
        })
    }

    fn take(&mut self, packet: &RecordedPacket) -> std::io::Result<()> {
        match self {
            Self::Pcap(pcap) => pcap.take(packet),
            Self::Sound(sound) => sound.take(packet),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Pcap(pcap) => pcap.flush(),
            Self::Sound(sound) => sound.flush(),
        }
    }

    fn finish(self, now: Instant) -> std::io::Result<()> {
        match self {
            Self::Pcap(mut pcap) => pcap.flush(),
            Self::Sound(sound) => sound.finish(now),
        }
    }
}

struct Writer {
    method: RecordingMethod,
    shelf: Shelf,
    open: HashMap<u64, (About, Tape)>,
    /// The packets that were left out when it was last looked.
    lost: usize,
}

impl Writer {
    fn new(config: RecordingConfig) -> Self {
        let method = config.method;
        Self { method, shelf: Shelf::new(config), open: HashMap::new(), lost: 0 }
    }

    fn run(mut self, inbox: &Receiver<Job>, waiting: &AtomicUsize, lost: &AtomicUsize) {
        let mut flushed = Instant::now();
        loop {
            let left = FLUSH.saturating_sub(flushed.elapsed());
            match inbox.recv_timeout(left) {
                Ok(Job::Recorded(Recorded { recording, what })) => {
                    if matches!(what, RecordedKind::Packet(_)) {
                        waiting.fetch_sub(1, Ordering::Relaxed);
                    }
                    self.take(recording, what);
                }
                Ok(Job::Finish(done)) => {
                    self.conclude_all();
                    // Whoever asked waits no longer.
                    let _ = done.send(());
                }
                Ok(Job::Check(done)) => done(self.shelf.check().map_err(|error| error.to_string())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if flushed.elapsed() >= FLUSH {
                self.flush();
                self.note_lost(lost.load(Ordering::Relaxed));
                flushed = Instant::now();
            }
        }
        self.conclude_all();
    }

    fn conclude_all(&mut self) {
        let now = Instant::now();
        for (_, (about, tape)) in std::mem::take(&mut self.open) {
            let result = tape.finish(now);
            self.conclude(about, result);
        }
    }

    fn take(&mut self, recording: u64, what: RecordedKind) {
        match what {
            RecordedKind::Begun(begun) => self.begin(recording, &begun),
            RecordedKind::Metadata(words) => {
                if let Some((about, _)) = self.open.get_mut(&recording) {
                    about.metadata = Some(words);
                }
            }
            RecordedKind::Packet(packet) => {
                let result = self.open.get_mut(&recording).map_or(Ok(()), |(_, tape)| tape.take(&packet));
                self.look(recording, result);
            }
            RecordedKind::Ended { at } => {
                let Some((mut about, tape)) = self.open.remove(&recording) else { return };
                about.ended = Some(at);
                let result = tape.finish(Instant::now());
                self.conclude(about, result);
            }
        }
    }

    fn begin(&mut self, recording: u64, begun: &Begun) {
        let about = About::new(recording, begun);
        self.shelf.make_room(&self.open.values().map(|(about, _)| about.name.as_str()).collect::<Vec<_>>());
        let opened = self.shelf.check().and_then(|()| {
            let tape = Tape::open(self.method, &self.shelf, &about.name, begun)?;
            self.shelf.describe(&about, self.method, None)?;
            Ok(tape)
        });
        match opened {
            Ok(tape) => {
                tracing::info!(call_id = &*begun.call_id, name = about.name, "recording");
                self.open.insert(recording, (about, tape));
            }
            Err(error) => tracing::error!(call_id = &*begun.call_id, %error, "nothing is recorded"),
        }
    }

    /// Ends a recording that cannot be written.
    fn look(&mut self, recording: u64, result: std::io::Result<()>) {
        if let Err(error) = result
            && let Some((about, _)) = self.open.remove(&recording)
        {
            self.conclude(about, Err(error));
        }
    }

    fn conclude(&self, about: About, result: std::io::Result<()>) {
        let error = result.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::error!(call_id = about.call_id, name = about.name, error, "the recording is incomplete");
        }
        if let Err(error) = self.shelf.describe(&about, self.method, error.as_deref()) {
            tracing::error!(call_id = about.call_id, name = about.name, %error, "the recording has no metadata");
        }
    }

    fn flush(&mut self) {
        let broken: Vec<(u64, std::io::Error)> = self
            .open
            .iter_mut()
            .filter_map(|(recording, (_, tape))| Some((*recording, tape.flush().err()?)))
            .collect();
        broken.into_iter().for_each(|(recording, error)| self.look(recording, Err(error)));
        self.shelf.make_room(&self.open.values().map(|(about, _)| about.name.as_str()).collect::<Vec<_>>());
    }

    fn note_lost(&mut self, lost: usize) {
        if lost > self.lost {
            tracing::warn!(packets = lost - self.lost, "left out of recordings: the disk does not keep up");
            self.lost = lost;
        }
    }
}

/// A path of the shelf for people.
fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
